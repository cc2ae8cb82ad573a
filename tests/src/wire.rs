//! Reading HTTP/1.1 messages strictly, from either side: one socket and what was read beyond.
//!
//! Nothing is forgiven: a bare LF, a malformed field or chunk is `Malformed`, so that whatever the proxy writes is
//! checked each time something is read.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use socket2::Socket;

use crate::escape::{text, visible};

/// Why a message could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing came in time.
    Timeout,
    /// The other side ended the connection between messages.
    Ended,
    /// It ended the connection within one.
    Cut,
    /// It reset the connection.
    Reset,
    /// What came is not HTTP/1.1.
    Malformed(String),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Timeout => f.write_str("timed out"),
            Broken::Ended => f.write_str("connection ended"),
            Broken::Cut => f.write_str("connection ended within a message"),
            Broken::Reset => f.write_str("connection reset"),
            Broken::Malformed(why) => write!(f, "malformed: {why}"),
        }
    }
}

/// The start line and the fields, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line.
    pub start: String,
    /// Names as written, values without surrounding white space.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a field joined by `, `; `None` when it is absent.
    pub fn get(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.all(name).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether a list field has this member.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(member))
    }

    /// Its body's framing.
    pub fn framing(&self) -> Result<Option<Framing>, Broken> {
        let malformed = |why: &str| Err(Broken::Malformed(format!("{why} in {:?}", self.fields)));
        let length = self.get("content-length");
        match (self.get("transfer-encoding"), length) {
            (Some(_), Some(_)) => malformed("both lengths"),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            (Some(_), None) => malformed("unknown transfer coding"),
            (None, Some(length)) if length.bytes().all(|b| b.is_ascii_digit()) => match length.parse() {
                Ok(length) => Ok(Some(Framing::Length(length))),
                Err(_) => malformed("bad Content-Length"),
            },
            (None, Some(_)) => malformed("bad Content-Length"),
            (None, None) => Ok(None),
        }
    }
}

/// How a body says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// A connected socket and the bytes read from it that nobody took yet.
#[derive(Debug)]
pub struct Wire {
    /// The socket.
    pub socket: Socket,
    buffered: Vec<u8>,
}

impl Wire {
    /// Reads give up after `patience`, if any.
    pub fn new(socket: Socket, patience: Option<Duration>) -> Wire {
        socket.set_read_timeout(patience).expect("a read time-out");
        socket.set_write_timeout(patience).expect("a write time-out");
        Wire { socket, buffered: Vec::new() }
    }

    /// Bytes read but not taken.
    pub fn buffered(&self) -> &[u8] {
        &self.buffered
    }

    /// Takes what is buffered.
    pub fn take_buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffered)
    }

    /// Writes all of it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        (&self.socket).write_all(bytes).map_err(|error| broken(error.kind()))
    }

    /// Reads once. `Ended` at the end of the stream.
    pub fn fill(&mut self) -> Result<usize, Broken> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match (&self.socket).read(&mut chunk) {
                Ok(0) => return Err(Broken::Ended),
                Ok(n) => {
                    self.buffered.extend_from_slice(&chunk[..n]);
                    return Ok(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error.kind())),
            }
        }
    }

    /// Reads a head. `Ended` only before its first byte.
    pub fn head(&mut self) -> Result<Head, Broken> {
        while self.buffered.is_empty() {
            self.fill()?;
        }
        let start = text(&self.line()?);
        Ok(Head { start, fields: self.fields()? })
    }

    /// Reads fields up to and with the empty line.
    fn fields(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(field(&line)?);
        }
    }

    /// Reads a body into `body`, so that what came of a broken one is there too. Returns the trailer fields.
    pub fn body(
        &mut self,
        framing: Option<Framing>,
        body: &mut Vec<u8>,
    ) -> Result<Vec<(String, String)>, Broken> {
        match framing {
            None => Ok(Vec::new()),
            Some(Framing::Length(length)) => self.exactly(length, body).map(|()| Vec::new()),
            Some(Framing::Chunked) => loop {
                let line = self.line()?;
                let size = chunk_size(&line)?;
                if size == 0 {
                    return self.fields();
                }
                self.exactly(size, body)?;
                if !self.line()?.is_empty() {
                    return Err(Broken::Malformed("no CRLF after a chunk".into()));
                }
            },
        }
    }

    /// Reads to the end of the stream; an orderly end is what is expected.
    pub fn to_end(&mut self, body: &mut Vec<u8>) -> Result<(), Broken> {
        loop {
            body.append(&mut self.buffered);
            match self.fill() {
                Ok(_) => {}
                Err(Broken::Ended) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    fn exactly(&mut self, mut count: u64, into: &mut Vec<u8>) -> Result<(), Broken> {
        loop {
            let taken = self.buffered.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            into.extend(self.buffered.drain(..taken));
            count -= taken as u64;
            if count == 0 {
                return Ok(());
            }
            self.fill().map_err(within)?;
        }
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Result<Vec<u8>, Broken> {
        let mut searched = 0;
        loop {
            if let Some(at) =
                self.buffered[searched..].iter().position(|&b| b == b'\n').map(|at| at + searched)
            {
                let mut line: Vec<u8> = self.buffered.drain(..=at).collect();
                line.pop();
                if line.pop() != Some(b'\r') || line.contains(&b'\r') {
                    return Err(Broken::Malformed(format!("bare CR or LF: {}", visible(&line))));
                }
                return Ok(line);
            }
            searched = self.buffered.len();
            self.fill().map_err(within)?;
        }
    }
}

fn field(line: &[u8]) -> Result<(String, String), Broken> {
    let malformed = || Broken::Malformed(format!("field {}", visible(line)));
    let colon = line.iter().position(|&b| b == b':').ok_or_else(malformed)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let is_control = |b: &u8| (*b < 0x20 && *b != b'\t') || *b == 0x7f;
    if name.is_empty() || !name.iter().all(is_token) || value.iter().any(is_control) {
        return Err(malformed());
    }
    Ok((text(name), text(value).trim_matches([' ', '\t']).to_owned()))
}

fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 || line.get(digits).is_some_and(|&b| b != b';') {
        return Err(Broken::Malformed(format!("chunk size {}", visible(line))));
    }
    u64::from_str_radix(&text(&line[..digits]), 16).map_err(|e| Broken::Malformed(e.to_string()))
}

fn broken(kind: ErrorKind) -> Broken {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::Timeout,
        _ => Broken::Reset,
    }
}

fn within(broken: Broken) -> Broken {
    if broken == Broken::Ended { Broken::Cut } else { broken }
}
