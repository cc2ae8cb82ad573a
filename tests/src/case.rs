//! Wire texts: cases in which the bytes stand next to what is expected of them.
//!
//! A file begins with the configuration its cases share; `== title` begins a case. `C` is the client, `O` the
//! origin, `>` what one sends, `<` what one sees:
//!
//! ```text
//! == a field nominated by Connection is not forwarded
//! to: web              listener (default web)
//! C> GET / HTTP/1.1    sent with CRLF after it; `C>|` sends without. Escapes: \r \n \t \0 \xNN \\ \{300*text}
//! C> Host: a.example
//! C> Connection: x-a
//! C> X-A: 1
//! C>
//! C: half-closes       sends FIN after that
//! O< GET / HTTP/1.1    the origin sees this request and exactly these fields (the forwarding ones, such as Via and
//! O< Host: a.example   X-Forwarded-For, are compared only where they are written down), any order; `?Name: value`
//! O<| body             may be there or not; `*` in a value is anything, `!` not this. A body, decoded. `O<+ X: 1` is
//! O> HTTP/1.1 200 OK   a trailer field. `O>` is the answer (default: 200 with "ok"), written as `C>`; `O: closes`
//! O>                   ends the connection after it
//! C< 200 keep          status; then `keep` (another request is answered on the connection), `close` (the connection
//! C< Date: *           ends, without one byte more), `cut` (of a 2xx the body breaks off), `head` (no body, whatever the
//! C< !Keep-Alive       fields say). A field that must be there, one that must not, the body, trailers
//! C<| ok
//! ```
//!
//! `C< closed` expects the end without a byte, `C< closed|400` either. Several `C<` statuses are several responses.
//! Without `O<` the origin must see nothing; `O: nothing whole` allows a request that never becomes complete,
//! `O: anything` is not looked at, `O: dropped` expects the proxy to end the connection after the answer.

use crate::escape::{text, unescape};
use crate::origins::parts::{Answer, Then};

/// A file of cases.
#[derive(Debug, Default)]
pub struct Script {
    /// YAML.
    pub config: String,
    /// In the order written.
    pub cases: Vec<Case>,
}

/// One of them.
#[derive(Debug)]
pub struct Case {
    /// A sentence.
    pub title: String,
    /// Line of the title in its file.
    pub line: usize,
    /// Name of the listener.
    pub to: String,
    /// What the client sends.
    pub sends: Vec<u8>,
    /// It sends FIN then.
    pub half_closes: bool,
    /// What the origin must see.
    pub requests: Vec<Expected>,
    /// What it may see besides.
    pub besides: Besides,
    /// The proxy must end the connection the answer went through.
    pub dropped: bool,
    /// What the origin answers.
    pub answer: Answer,
    /// What the client must get.
    pub replies: Vec<Reply>,
}

/// What an origin may see apart from what is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Besides {
    /// Nothing.
    Nothing,
    /// Requests that never become whole.
    Parts,
    /// Anything.
    Anything,
}

/// A message as it must be seen.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Its first line (of requests).
    pub start: String,
    /// Names (with `?` or `!` in front) and patterns.
    pub fields: Vec<(String, String)>,
    /// Body, if it matters.
    pub body: Option<Vec<u8>>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
}

/// A response as it must be seen.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// One of these; 0 is an end without a byte.
    pub statuses: Vec<u16>,
    /// What follows it.
    pub then: After,
    /// The body breaks off, if it is a 2xx.
    pub cut: bool,
    /// No body, whatever the fields say.
    pub head: bool,
    /// Fields, body, trailers.
    pub message: Expected,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// Not looked at.
    #[default]
    Unsaid,
    /// It serves another request.
    Keep,
    /// It ends, without one byte more.
    Close,
}

impl Script {
    /// Reads a file of cases.
    pub fn parse(file: &str) -> Result<Script, String> {
        let mut script = Script::default();
        let mut answered = false;
        for (index, line) in file.lines().enumerate() {
            let at = |problem: String| format!("line {}: {problem}", index + 1);
            if let Some(title) = line.strip_prefix("== ") {
                script.cases.push(Case::new(title, index + 1));
                answered = false;
            } else if let Some(case) = script.cases.last_mut() {
                case.read(line, &mut answered).map_err(at)?;
            } else {
                script.config.push_str(line);
                script.config.push('\n');
            }
        }
        for case in &script.cases {
            if case.replies.is_empty() || case.sends.is_empty() {
                return Err(format!("line {}: a case needs `C>` and `C<`", case.line));
            }
        }
        Ok(script)
    }
}

impl Case {
    fn new(title: &str, line: usize) -> Case {
        Case {
            title: title.into(),
            line,
            to: "web".into(),
            sends: Vec::new(),
            half_closes: false,
            requests: Vec::new(),
            besides: Besides::Nothing,
            dropped: false,
            answer: Answer {
                bytes: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
                then: Then::Stay,
            },
            replies: Vec::new(),
        }
    }

    fn read(&mut self, line: &str, answered: &mut bool) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(listener) = line.strip_prefix("to: ") {
            self.to = listener.into();
        } else if let Some(sent) = line.strip_prefix("C>") {
            self.sends.extend(sent_bytes(sent)?);
        } else if let Some(sent) = line.strip_prefix("O>") {
            if !std::mem::replace(answered, true) {
                self.answer.bytes.clear();
            }
            self.answer.bytes.extend(sent_bytes(sent)?);
        } else if let Some(seen) = line.strip_prefix("O<") {
            match seen_part(seen)? {
                Part::Line(start) => self.requests.push(Expected { start, ..Expected::default() }),
                part => self.requests.last_mut().ok_or("a field before its request line")?.add(part),
            }
        } else if let Some(seen) = line.strip_prefix("C<") {
            match seen_part(seen)? {
                Part::Line(start) => self.replies.push(Reply::parse(&start)?),
                part => self.replies.last_mut().ok_or("a field before its status")?.message.add(part),
            }
        } else {
            match line {
                "C: half-closes" => self.half_closes = true,
                "O: closes" => self.answer.then = Then::Close,
                "O: dropped" => self.dropped = true,
                "O: nothing" => self.besides = Besides::Nothing,
                "O: nothing whole" => self.besides = Besides::Parts,
                "O: anything" => self.besides = Besides::Anything,
                other => return Err(format!("what is {other:?}?")),
            }
        }
        Ok(())
    }
}

impl Expected {
    fn add(&mut self, part: Part) {
        match part {
            Part::Field(name, value) => self.fields.push((name, value)),
            Part::Trailer(name, value) => self.trailers.push((name, value)),
            Part::Body(bytes) => self.body.get_or_insert_default().extend(bytes),
            Part::Line(_) => {}
        }
    }
}

impl Reply {
    fn parse(line: &str) -> Result<Reply, String> {
        let mut words = line.split(' ');
        let mut reply = Reply::default();
        for status in words.next().unwrap_or_default().split('|') {
            reply.statuses.push(match status {
                "closed" => 0,
                digits => digits.parse().map_err(|_| format!("status {digits:?}"))?,
            });
        }
        for word in words {
            match word {
                "keep" => reply.then = After::Keep,
                "close" => reply.then = After::Close,
                "cut" => reply.cut = true,
                "head" => reply.head = true,
                other => return Err(format!("what is {other:?}?")),
            }
        }
        Ok(reply)
    }
}

enum Part {
    Line(String),
    Field(String, String),
    Trailer(String, String),
    Body(Vec<u8>),
}

fn seen_part(written: &str) -> Result<Part, String> {
    if let Some(body) = written.strip_prefix('|') {
        return Ok(Part::Body(unescape(body.strip_prefix(' ').unwrap_or(body))?));
    }
    if let Some(trailer) = written.strip_prefix("+ ") {
        let (name, value) = trailer.split_once(": ").ok_or("a trailer needs `name: value`")?;
        return Ok(Part::Trailer(name.into(), text(&unescape(value)?)));
    }
    let line = text(&unescape(written.trim_start())?);
    let is_name = |name: &str| !name.contains([' ', '/', '|']);
    match line.split_once(':') {
        Some((name, value)) if is_name(name) => Ok(Part::Field(name.into(), value.trim_start().into())),
        None if line.starts_with('!') => Ok(Part::Field(line, String::new())),
        _ => Ok(Part::Line(line)),
    }
}

fn sent_bytes(written: &str) -> Result<Vec<u8>, String> {
    if let Some(raw) = written.strip_prefix('|') {
        return unescape(raw);
    }
    let mut bytes = unescape(written.strip_prefix(' ').unwrap_or(written))?;
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}
