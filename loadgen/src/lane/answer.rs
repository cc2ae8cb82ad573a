//! Reading an HTTP/1.1 answer: head by httparse, then its body's end (RFC 9112 §6.3). Pure.
//!
//! Invariant: an answer whose end can't be told for sure is an error, never guessed.

use std::mem::MaybeUninit;

use super::chunks::Chunks;

/// Fields of a head at most.
const FIELDS_MAX: usize = 128;
/// Bytes of a head at most.
pub const HEAD_MAX: usize = 64 << 10;

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Bytes of the head.
    pub len: usize,
    /// How the body ends.
    pub body: Body,
    /// Whether the connection may be used again.
    pub keeps_alive: bool,
}

/// How a body ends.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// After so many more bytes.
    Length(u64),
    /// With its last chunk.
    Chunked(Chunks),
    /// With the connection.
    UntilEnd,
}

/// The answer breaks its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Reads a head; `None` if it is not whole yet.
pub fn head(bytes: &[u8], to_head: bool) -> Result<Option<Head>, Broken> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
        .map_err(|_| Broken)?;
    let httparse::Status::Complete(len) = parsed else {
        return if bytes.len() > HEAD_MAX { Err(Broken) } else { Ok(None) };
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Err(Broken) };
    if !(100..=999).contains(&status) || len > HEAD_MAX {
        return Err(Broken);
    }
    let mut length = None;
    let mut chunked = false;
    let mut keeps_alive = minor == 1;
    for field in response.headers.iter() {
        match field.name.len() {
            10 if field.name.eq_ignore_ascii_case("connection") => {
                keeps_alive = stays(field.value, keeps_alive);
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let value = number(field.value).ok_or(Broken)?;
                if length.replace(value).is_some_and(|earlier| earlier != value) {
                    return Err(Broken);
                }
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Broken);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    let body = match (chunked, length) {
        _ if to_head || matches!(status, 100..=199 | 204 | 304) => Body::Length(0),
        (true, Some(_)) => return Err(Broken),
        (true, None) => Body::Chunked(Chunks::new()),
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::UntilEnd,
    };
    Ok(Some(Head { status, len, body, keeps_alive }))
}

fn stays(value: &[u8], otherwise: bool) -> bool {
    let mut stays = otherwise;
    for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        stays |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    stays
}

fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, Broken> {
        head(text.as_bytes(), false)
    }

    #[test]
    fn the_end_of_a_body_is_told_by_its_head() {
        let sized = read("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").unwrap().unwrap();
        assert!(matches!(sized.body, Body::Length(12)) && sized.keeps_alive);
        let chunked = read("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nConnection: x, close\r\n\r\n");
        let chunked = chunked.unwrap().unwrap();
        assert!(matches!(chunked.body, Body::Chunked(_)) && !chunked.keeps_alive);
        assert!(matches!(read("HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap().body, Body::UntilEnd));
        assert!(matches!(
            read("HTTP/1.1 304 N\r\ncontent-length: 9\r\n\r\n").unwrap().unwrap().body,
            Body::Length(0)
        ));
        assert!(!read("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap().keeps_alive);
        assert!(read("HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
    }

    #[test]
    fn an_answer_whose_end_is_in_doubt_is_refused() {
        for fields in [
            "content-length: 1\r\ncontent-length: 2",
            "content-length: +1",
            "content-length: 1, 1",
            "content-length: 9999999999999999999",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
        ] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).is_err(), "{fields}");
        }
        assert!(read("HTTP/2 200\r\n\r\n").is_err());
        assert!(read(&format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_MAX))).is_err());
    }
}
