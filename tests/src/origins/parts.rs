//! Behaviours to start origins with. Each is named after what it does wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Behaviour, Connection};
use crate::escape::text;
use crate::wire::Broken;

/// Answers each request with 200 and what it saw, as text: request line, fields, empty line, body.
pub fn echoes(connection: &mut Connection) -> Result<(), Broken> {
    loop {
        let seen = connection.request()?;
        let mut body = seen.head.start.clone();
        for (name, value) in &seen.head.fields {
            body.push_str(&format!("\n{name}: {value}"));
        }
        body.push_str("\n\n");
        body.push_str(&text(&seen.body));
        connection.answer(body)?;
    }
}

/// Answers each request with this body.
pub fn says(body: &'static str) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        connection.answer(body)?;
    }
}

/// Answers each request with its own target as the body.
pub fn says_target(connection: &mut Connection) -> Result<(), Broken> {
    loop {
        let seen = connection.request()?;
        connection.answer(seen.head.start.split(' ').nth(1).unwrap_or_default())?;
    }
}

/// Answers with so many bytes of `x`, in a body of known length.
pub fn says_bytes(count: usize) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n"))?;
        let piece = [b'x'; 64 * 1024];
        let mut left = count;
        while left > 0 {
            let now = left.min(piece.len());
            connection.send(&piece[..now])?;
            left -= now;
        }
    }
}

/// Answers each request with exactly these bytes.
pub fn sends(bytes: &'static [u8]) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        connection.send(bytes)?;
    }
}

/// Answers the first request with exactly these bytes and ends the connection.
pub fn sends_and_closes(bytes: &'static [u8]) -> impl Behaviour {
    move |connection| {
        connection.request()?;
        connection.send(bytes)
    }
}

/// Answers the first request with exactly these bytes and resets the connection a moment after.
pub fn sends_and_resets(bytes: &'static [u8]) -> impl Behaviour {
    move |connection| {
        connection.request()?;
        connection.send(bytes)?;
        // A reset may overtake unread bytes; leave them the time to be read.
        std::thread::sleep(Duration::from_millis(50));
        connection.reset()
    }
}

/// Sends these bytes of an answer and then nothing more.
pub fn sends_and_stalls(bytes: &'static [u8]) -> impl Behaviour {
    move |connection| {
        connection.request()?;
        connection.send(bytes)?;
        connection.until_ended()
    }
}

/// Reads requests and never answers.
pub fn stalls(connection: &mut Connection) -> Result<(), Broken> {
    connection.request()?;
    connection.until_ended()
}

/// Accepts and reads nothing at all.
pub fn never_reads(connection: &mut Connection) -> Result<(), Broken> {
    connection.shrink_window();
    connection.stall();
    Ok(())
}

/// Accepts and ends the connection at once.
pub fn hangs_up(_connection: &mut Connection) -> Result<(), Broken> {
    Ok(())
}

/// Resets as soon as the head of a request has come.
pub fn resets_on_request(connection: &mut Connection) -> Result<(), Broken> {
    connection.request_head()?;
    connection.reset()
}

/// Sends bytes nobody asked for after a whole response, while the connection idles.
pub fn talks_while_idle(connection: &mut Connection) -> Result<(), Broken> {
    connection.request()?;
    connection.answer("first")?;
    std::thread::sleep(Duration::from_millis(30));
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")?;
    connection.until_ended()
}

/// Answers with keep-alive and closes at once: what is pooled is stale.
pub fn closes_after_each(connection: &mut Connection) -> Result<(), Broken> {
    connection.request()?;
    connection.answer("once")
}

/// Answers the first request on a connection, then ends it as soon as a second one has come.
pub fn closes_on_second_request(connection: &mut Connection) -> Result<(), Broken> {
    connection.request()?;
    connection.answer("first on this connection")?;
    connection.request_head().map(|_| ())
}

/// Answers as soon as the head is there, and never reads the body.
pub fn answers_before_the_upload(connection: &mut Connection) -> Result<(), Broken> {
    connection.request_head()?;
    connection
        .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")?;
    connection.half_close();
    connection.stall();
    Ok(())
}

/// Answers as soon as the head is there, then reads the body all the same.
pub fn answers_early_and_reads_on(connection: &mut Connection) -> Result<(), Broken> {
    loop {
        let seen = connection.request_head()?;
        connection.answer("early")?;
        let length = seen.head.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut read = 0;
        while read < length {
            read += connection.read_some()?.len();
        }
    }
}

/// Asks for the body with a 100, then answers with what came.
pub fn says_continue(connection: &mut Connection) -> Result<(), Broken> {
    connection.request_head()?;
    connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
    let body = connection.read_some()?;
    connection.answer(body)
}

/// Refuses the body by a final status, without a 100.
pub fn refuses_the_body(connection: &mut Connection) -> Result<(), Broken> {
    connection.request_head()?;
    connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
    connection.until_ended()
}

/// Switches to another protocol when asked and then echoes bytes.
pub fn tunnels(connection: &mut Connection) -> Result<(), Broken> {
    loop {
        let seen = connection.request()?;
        let Some(protocol) = seen.head.get("upgrade") else {
            connection.answer("no tunnel")?;
            continue;
        };
        connection.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        ))?;
        loop {
            let bytes = connection.read_some()?;
            connection.send(bytes)?;
        }
    }
}

/// Answers an upgrade with an ordinary response.
pub fn rejects_upgrades(connection: &mut Connection) -> Result<(), Broken> {
    loop {
        connection.request()?;
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
    }
}

/// Waits this long before each answer.
pub fn takes(pause: Duration, body: &'static str) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        std::thread::sleep(pause);
        connection.answer(body)?;
    }
}

/// What a [`scripted`] origin answers next.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Exactly these bytes.
    pub bytes: Vec<u8>,
    /// And then this.
    pub then: Then,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The connection stays.
    #[default]
    Stay,
    /// FIN.
    Close,
}

/// An answer that can be changed while the origin runs.
pub type Script = Arc<Mutex<Answer>>;

/// Answers each request with what the script holds at that time.
pub fn scripted(script: Script) -> impl Behaviour {
    move |connection| loop {
        connection.request()?;
        let answer = script.lock().map_or_else(|p| p.into_inner().clone(), |answer| answer.clone());
        connection.send(&answer.bytes)?;
        if answer.then == Then::Close {
            return Ok(());
        }
    }
}

/// Answers by path, for origins that must do several things: exact targets, else 404.
pub fn by_target(answers: BTreeMap<&'static str, &'static [u8]>) -> impl Behaviour {
    move |connection| loop {
        let seen = connection.request()?;
        let target = seen.head.start.split(' ').nth(1).unwrap_or_default();
        let answer = answers.get(target).copied();
        connection.send(answer.unwrap_or(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))?;
    }
}
