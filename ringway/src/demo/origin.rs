//! A service to stand behind the demo's gateway: HTTP/1.1 with keep-alive, a thread for each connection, bounded.
//!
//! Not a server for anything else: it trusts that what reaches it passed the gateway, yet bounds what it reads.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Connections at once; one more is closed.
const CONNECTIONS_MAX: usize = 256;
const HEAD_MAX: u64 = 64 * 1024;
const BODY_MAX: u64 = 16 * 1024 * 1024;
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Listens on loopback from now on, until the process ends. Returns the port, for 0 was asked for in tests.
pub fn start(name: &'static str, port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = listener.local_addr()?.port();
    thread::Builder::new().name(format!("demo-{name}")).spawn(move || accept(name, &listener))?;
    Ok(port)
}

fn accept(name: &'static str, listener: &TcpListener) {
    let here = Arc::new(());
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if Arc::strong_count(&here) > CONNECTIONS_MAX {
            continue;
        }
        let one = Arc::clone(&here);
        // Without a thread the connection closes, which is an answer too.
        let _ = thread::Builder::new().name(format!("demo-{name}")).spawn(move || {
            let _ = converse(name, &stream);
            drop(one);
        });
    }
}

/// Requests and responses until either side has enough.
fn converse(name: &str, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let kept = skip_body(&mut reader, &head)?;
        let body = format!("{name}: {}\n", head.first_line);
        let connection = if kept { "" } else { "Connection: close\r\n" };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nServer: demo\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{connection}\r\n",
            body.len()
        );
        if !head.first_line.starts_with("HEAD ") {
            response.push_str(&body);
        }
        (&*stream).write_all(response.as_bytes())?;
        if !kept {
            break;
        }
    }
    Ok(())
}

struct Head {
    /// Method and target.
    first_line: String,
    body: Body,
    close: bool,
}

enum Body {
    Length(u64),
    Chunked,
}

/// `None`: the peer is done.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut reader = reader.take(HEAD_MAX);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let first_line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut head = Head { first_line, body: Body::Length(0), close: false };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(head)) };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => {
                head.body = Body::Length(value.parse().map_err(|_| io::ErrorKind::InvalidData)?);
            }
            ("transfer-encoding", _) => head.body = Body::Chunked,
            ("connection", value) => head.close = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// Reads the body and forgets it. Whether the connection can be used again.
fn skip_body(reader: &mut impl BufRead, head: &Head) -> io::Result<bool> {
    let skipped = match head.body {
        Body::Length(length) if length > BODY_MAX => false,
        Body::Length(length) => io::copy(&mut reader.take(length), &mut io::sink())? == length,
        Body::Chunked => skip_chunks(&mut reader.take(BODY_MAX))?,
    };
    Ok(skipped && !head.close)
}

/// Whether the last chunk and the trailers were seen.
fn skip_chunks(reader: &mut impl BufRead) -> io::Result<bool> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Ok(size) = u64::from_str_radix(line.trim_end(), 16) else { return Ok(false) };
        if size == 0 {
            break;
        }
        // The line break behind the chunk goes with it.
        io::copy(&mut (&mut *reader).take(size.saturating_add(2)), &mut io::sink())?;
    }
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if line.trim_end().is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converse_with(requests: &str) -> String {
        let port = start("hello", 0).expect("an origin");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.write_all(requests.as_bytes()).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("half-closed");
        let mut responses = String::new();
        stream.read_to_string(&mut responses).expect("responses");
        responses
    }

    #[test]
    fn requests_on_one_connection_are_answered_in_order_bodies_skipped() {
        let responses = converse_with(
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
             POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
             HEAD /c HTTP/1.1\r\nHost: x\r\n\r\n\
             GET /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n\
             GET /never HTTP/1.1\r\nHost: x\r\n\r\n",
        );
        assert_eq!(responses.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{responses}");
        for body in ["hello: POST /a\n", "hello: POST /b\n", "hello: GET /d\n"] {
            assert!(responses.contains(body), "{responses}");
        }
        assert!(!responses.contains("hello: HEAD") && !responses.contains("never"), "{responses}");
    }

    #[test]
    fn nonsense_ends_the_connection() {
        assert_eq!(converse_with("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), "");
    }
}
