//! One request on one connection, for the demo's checks of itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const RESPONSE_MAX: u64 = 4 * 1024 * 1024;

/// As text, the way it arrived.
#[derive(Debug)]
pub struct Response {
    /// 200
    pub status: u16,
    /// Status line and header fields.
    pub head: String,
    /// What is behind the head, chunks and all.
    pub body: String,
}

/// `GET path`
pub fn get(port: u16, path: &str) -> io::Result<Response> {
    send(port, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
}

/// Sends bytes as they are and reads until the other side closes.
pub fn send(port: u16, request: &str) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(RESPONSE_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not a response: {:.60}", text));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(invalid)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    Ok(Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
