//! The chunked transfer coding, read only to find its end and count its bytes (RFC 9112 §7.1). Pure.

/// Where the reader is; called by what it expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// A trailer field or the last line; `empty` while nothing of the line has come.
    Trailer {
        empty: bool,
    },
    TrailerLf {
        empty: bool,
    },
    End,
}

/// Reads a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    state: State,
    /// Bytes of framing seen, so that endless framing has a bound.
    framing: u32,
}

/// Bytes of framing without data in between that are taken at most.
const FRAMING_MAX: u32 = 64 << 10;

/// The body breaks its coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Chunks {
    /// At a body's begin.
    pub fn new() -> Chunks {
        Chunks { state: State::Size { value: 0, digits: 0 }, framing: 0 }
    }

    /// Reads on in `bytes`, hands data to `each`, and returns how many bytes belong to the body and whether it is whole.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(usize, bool), Broken> {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Data { left } = &mut self.state {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                each(&bytes[at..at + take]);
                at += take;
                *left -= take as u64;
                self.framing = 0;
                if *left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.framing += 1;
            if self.framing > FRAMING_MAX {
                return Err(Broken);
            }
            self.state = self.step(bytes[at])?;
            at += 1;
            if self.state == State::End {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&self, byte: u8) -> Result<State, Broken> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
                State::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeLf { value },
            (State::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => State::Extension { value },
            (State::Extension { value }, b'\r') => State::SizeLf { value },
            (State::Extension { value }, b'\t' | b' '..=b'~' | 0x80..) => State::Extension { value },
            (State::SizeLf { value: 0 }, b'\n') => State::Trailer { empty: true },
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::Trailer { empty }, b'\r') => State::TrailerLf { empty },
            (State::Trailer { .. }, b'\t' | b' '..=b'~' | 0x80..) => State::Trailer { empty: false },
            (State::TrailerLf { empty: true }, b'\n') => State::End,
            (State::TrailerLf { empty: false }, b'\n') => State::Trailer { empty: true },
            _ => return Err(Broken),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Broken> {
        let (mut chunks, mut data, mut at) = (Chunks::new(), Vec::new(), 0);
        for piece in bytes.chunks(step) {
            let (taken, end) = chunks.read(piece, |bytes| data.extend_from_slice(bytes))?;
            at += taken;
            if end {
                return Ok((data, at, true));
            }
        }
        Ok((data, at, false))
    }

    #[test]
    fn a_body_is_found_whole_however_it_is_cut() {
        let body = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nA: b\r\n\r\nHTTP/1.1";
        for step in 1..body.len() {
            let (data, at, end) = whole(body, step).unwrap();
            assert_eq!((data.as_slice(), at, end), (&b"hello world"[..], body.len() - 8, true));
        }
    }

    #[test]
    fn what_breaks_the_coding_is_refused() {
        for bad in [
            "\r\n",
            "g\r\n",
            "5\nhello",
            "1\r\nab\r\n",
            "5\r\nhello0\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
            "1\r\na\r\r",
        ] {
            assert!(whole(bad.as_bytes(), 100).is_err(), "{bad:?}");
        }
        assert!(whole(format!("0\r\n{}", "a: b\r\n".repeat(20_000)).as_bytes(), 4096).is_err());
    }
}
