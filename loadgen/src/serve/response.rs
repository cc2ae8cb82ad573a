//! Answers as bytes, made before they are asked for: head and body in one run where the body is short, head and
//! shared blocks where it is long. Pure.
//!
//! A body repeats `0123456789abcdef`, so that whoever reads it can tell a wrong byte, and a hash can be known before.

use std::rc::Rc;

use http::StatusCode;
use ringway_runtime::{Few, Segment, SendList};

use super::request::{Persistence, Refusal};

/// What an answer is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Bytes of its body.
    pub size: usize,
    /// To HEAD: no body, whatever the size says.
    pub is_head: bool,
    /// The connection afterwards.
    pub persistence: Persistence,
    /// In chunks, if the client knows them.
    pub chunked: bool,
}

/// An answer, to be sent any number of times.
#[derive(Clone, Debug)]
pub struct Response {
    /// The head, and a short body.
    first: Rc<[u8]>,
    head_length: usize,
    rest: Rest,
}

/// What is left of a long body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    left: usize,
    chunked: bool,
    /// The last chunk is still to come.
    unfinished: bool,
}

impl Response {
    /// Makes an answer.
    pub fn new(answer: &Answer) -> Response {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let bodiless = matches!(answer.status, 204 | 304);
        let chunked = answer.chunked && !answer.persistence.is_old() && !bodiless;
        let mut text = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain\r\n",
            answer.status,
            status.canonical_reason().unwrap_or("Unknown")
        );
        match (bodiless, chunked) {
            (true, _) => {}
            (false, true) => text.push_str("Transfer-Encoding: chunked\r\n"),
            (false, false) => text.push_str(&format!("Content-Length: {}\r\n", answer.size)),
        }
        text.push_str(match answer.persistence {
            Persistence::Keep => "\r\n",
            Persistence::KeepOld => "Connection: keep-alive\r\n\r\n",
            Persistence::Close | Persistence::CloseOld => "Connection: close\r\n\r\n",
        });
        let mut first = text.into_bytes();
        let head_length = first.len();
        let mut rest = Rest { left: 0, chunked: false, unfinished: false };
        if !answer.is_head && !bodiless {
            rest = Rest { left: answer.size, chunked, unfinished: chunked };
        }
        if rest.left <= SHORT_MAX {
            // One run is the cheapest to send.
            rest.take(|piece| first.extend_from_slice(piece.bytes()));
        }
        Response { first: first.into(), head_length, rest }
    }

    /// What becomes of a request that is refused: the reason in words, and the connection closes.
    pub fn refusing(refusal: &Refusal) -> Rc<[u8]> {
        let reason = StatusCode::from_u16(refusal.status).ok().and_then(|status| status.canonical_reason());
        let (status, reason, why) = (refusal.status, reason.unwrap_or("Unknown"), refusal.why);
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
            why.len() + 1
        )
        .into_bytes()
        .into()
    }

    /// The same answer without its second half: of the body, or of the head where there is none.
    pub fn truncated(&self) -> Response {
        let first = &self.first[..];
        let kept = match first.len() {
            length if self.rest.left > 0 => length,
            length if length > self.head_length => self.head_length + (length - self.head_length) / 2,
            length => length / 2,
        };
        let rest = Rest { left: self.rest.left / 2, chunked: self.rest.chunked, unfinished: false };
        Response { first: first[..kept].into(), head_length: self.head_length.min(kept), rest }
    }

    /// Adds the head, and a short body; returns what is left.
    #[inline]
    pub fn begin(&self, list: &mut SendList) -> Rest {
        list.push(Segment::Local(self.first.clone()));
        self.rest
    }
}

impl Rest {
    /// Nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left == 0 && !self.unfinished
    }

    /// Takes the next megabyte off, run by run. Nothing is copied: all blocks are the same one.
    pub fn take(&mut self, mut run: impl FnMut(Segment)) {
        for _ in 0..BLOCKS_AT_ONCE {
            let part = self.left.min(BLOCK.len());
            if part == 0 {
                break;
            }
            self.left -= part;
            if self.chunked {
                run(Segment::Few(Few::new(format!("{part:x}\r\n").as_bytes())));
            }
            run(Segment::Static(&BLOCK[..part]));
            if self.chunked {
                run(Segment::Static(b"\r\n"));
            }
        }
        if self.left == 0 && std::mem::take(&mut self.unfinished) {
            run(Segment::Static(b"0\r\n\r\n"));
        }
    }
}

/// What bodies are made of, over and over.
pub static BLOCK: [u8; 64 << 10] = {
    let mut block = [0; 64 << 10];
    let mut at = 0;
    while at < block.len() {
        block[at] = b"0123456789abcdef"[at % 16];
        at += 1;
    }
    block
};

const BLOCKS_AT_ONCE: usize = 16;
/// Bodies up to this size are kept behind their head.
const SHORT_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Answer =
        Answer { status: 200, size: 20, is_head: false, persistence: Persistence::Keep, chunked: false };

    fn text(response: &Response) -> String {
        let mut list = SendList::new();
        let mut rest = response.begin(&mut list);
        let mut bytes = response.first.to_vec();
        while !rest.is_empty() {
            rest.take(|run| bytes.extend_from_slice(run.bytes()));
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_short_answer_is_one_run() {
        let response = Response::new(&PLAIN);
        assert_eq!(
            text(&response),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n0123456789abcdef0123"
        );
        assert!(response.rest.is_empty());
    }

    #[test]
    fn head_tells_the_length_of_a_body_that_does_not_come() {
        let head = text(&Response::new(&Answer { is_head: true, ..PLAIN }));
        assert!(head.contains("Content-Length: 20\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let none = text(&Response::new(&Answer { status: 204, ..PLAIN }));
        assert!(!none.contains("Content-Length") && none.ends_with("\r\n\r\n"), "{none}");
    }

    #[test]
    fn chunks_are_for_those_who_know_them() {
        let chunked = Answer { chunked: true, ..PLAIN };
        let answer = text(&Response::new(&chunked));
        assert!(answer.ends_with("chunked\r\n\r\n14\r\n0123456789abcdef0123\r\n0\r\n\r\n"), "{answer}");
        let old = text(&Response::new(&Answer { persistence: Persistence::CloseOld, ..chunked }));
        assert!(old.contains("Content-Length: 20\r\nConnection: close\r\n"), "{old}");
        let empty = text(&Response::new(&Answer { size: 0, ..chunked }));
        assert!(empty.ends_with("\r\n\r\n0\r\n\r\n"), "{empty}");
    }

    #[test]
    fn a_truncated_answer_stops_in_the_middle() {
        let half = text(&Response::new(&PLAIN).truncated());
        assert!(half.contains("Content-Length: 20\r\n") && half.ends_with("\r\n0123456789"), "{half}");
        let head = text(&Response::new(&Answer { size: 0, ..PLAIN }).truncated());
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("\r\n\r\n"), "{head}");
        let long = text(&Response::new(&Answer { size: 2_000_000, chunked: true, ..PLAIN }).truncated());
        assert!(long.len() > 1_000_000 && long.len() < 1_010_000 && !long.ends_with("0\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn a_body_repeats_its_sixteen_bytes_at_any_size(size in 0usize..3_000_000) {
            let answer = text(&Response::new(&Answer { size, ..PLAIN }));
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            prop_assert_eq!(body.len(), size);
            prop_assert!(body.bytes().enumerate().all(|(at, byte)| byte == b"0123456789abcdef"[at % 16]));
        }
    }
}
