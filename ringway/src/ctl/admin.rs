//! The admin API as a client sees it: one request on one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use crate::cli::ctl::At;
use crate::end::{Code, Failure};
use crate::files;

/// Connecting, and each read and write.
const PATIENCE: Duration = Duration::from_secs(10);
/// A large configuration has many endpoints.
const RESPONSE_MAX: u64 = 64 << 20;
/// Where it is unless said otherwise.
const DEFAULT: &str = "127.0.0.1:9901";

/// A gateway's admin address.
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// As the arguments say it.
    pub fn find(at: &At) -> Result<Admin, Failure> {
        let address = match (&at.admin, &at.config) {
            (Some(address), _) => resolve(address)?,
            (None, Some(path)) => files::load(path)?.config.admin.address,
            (None, None) => resolve(DEFAULT)?,
        };
        // Whoever listens everywhere listens here too.
        let reachable = match address.ip().is_unspecified() {
            true if address.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], address.port())),
            true => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())),
            false => address,
        };
        Ok(Admin { address: reachable })
    }

    /// What a page says.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None)
    }

    /// Asks for a change.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask("POST", path, Some(&body.to_string()))
    }

    /// Ends one.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask("DELETE", path, None)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Value, Failure> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if let Some(body) = body {
            let length = body.len();
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        let (status, body) = self.exchange(&request).map_err(|error| self.unreachable(&error))?;
        let value: Value = serde_json::from_str(&body)
            .map_err(|_| self.strange(&format!("status {status}, and no JSON")))?;
        if (200..300).contains(&status) {
            return Ok(value);
        }
        if let Some(reason) = value["reason"].as_str() {
            return Err(self.strange(&format!("it serves traffic, and answers `{reason}`")));
        }
        let detail = value["detail"].as_str().unwrap_or("it says no, and not why");
        let code = match status {
            403 | 415 | 421 => Code::Forbidden,
            404 | 409 | 413 | 422 => Code::Data,
            _ => Code::Protocol,
        };
        Err(Failure::new(code, detail))
    }

    fn exchange(&self, request: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(RESPONSE_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not an answer of HTTP");
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(invalid)?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Ok((status.ok_or_else(invalid)?, body.to_owned()))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let address = self.address;
        match error.kind() {
            io::ErrorKind::InvalidData => self.strange(&error.to_string()),
            io::ErrorKind::ConnectionRefused => Failure::new(
                Code::Unavailable,
                format!(
                    "nothing listens on {address}\n  Is the gateway running? Say where its admin API is with --admin \
                     HOST:PORT, or with -c and its file"
                ),
            ),
            _ => Failure::new(
                Code::Unavailable,
                format!("the admin API on {address} can't be reached: {error}"),
            ),
        }
    }

    fn strange(&self, what: &str) -> Failure {
        let message = format!("what listens on {} is no admin API of Ringway: {what}", self.address);
        Failure::new(Code::Protocol, message)
    }
}

fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| Failure::new(Code::Usage, format!("`{text}` is no address; it looks like {DEFAULT}")))
}
