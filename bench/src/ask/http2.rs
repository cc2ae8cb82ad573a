//! HTTP/2 by prior knowledge, frame by frame: as little of RFC 9113 as a short request and its answer need.

use std::io::{Read, Result, Write};
use std::net::TcpStream;

use super::wrong;
use crate::identity::NAME;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What we allow, and say so by not saying anything (RFC 9113 §6.5.2).
const FRAME_MAX: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED_OR_PRIORITY: u8 = 0x28;

/// A connection with the streams it has had.
pub struct Connection {
    stream: TcpStream,
    next: u32,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Connection {
    /// Says the preface and settings that change nothing.
    pub fn begin(stream: TcpStream) -> Result<Connection> {
        let mut connection = Connection { stream, next: 1 };
        connection.stream.write_all(PREFACE)?;
        connection.say(SETTINGS, 0, 0, &[])?;
        Ok(connection)
    }

    /// The body of a 200.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        let asked = self.next;
        self.next += 2;
        self.say(HEADERS, END_STREAM | END_HEADERS, asked, &fields(path)?)?;
        let mut body = Vec::new();
        loop {
            let frame = self.hear()?;
            let is_ours = frame.stream == asked;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.say(SETTINGS, ACK, 0, &[])?,
                PING if frame.flags & ACK == 0 => self.say(PING, ACK, 0, &frame.payload)?,
                RST_STREAM | GOAWAY => {
                    return Err(wrong(format!("it ended the stream: {:?}", frame.payload)));
                }
                HEADERS | DATA if is_ours && frame.flags & PADDED_OR_PRIORITY != 0 => {
                    return Err(wrong("padding and priorities are not read here"));
                }
                HEADERS if is_ours && !is_200(&frame.payload) => return Err(wrong("its answer is no 200")),
                DATA if is_ours => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if is_ours && matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Ok(body);
            }
        }
    }

    fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }

    fn hear(&mut self) -> Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > FRAME_MAX {
            return Err(wrong(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })
    }
}

/// The request's field section in HPACK (RFC 7541): method and scheme are in the static table, path and authority are
/// literals that nobody needs to remember.
fn fields(path: &str) -> Result<Vec<u8>> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(4, path), (1, NAME)] {
        // A length below 127 is one byte.
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 127);
        block.extend_from_slice(&[name, length.ok_or_else(|| wrong("a path too long for one byte"))?]);
        block.extend_from_slice(value.as_bytes());
    }
    Ok(block)
}

/// Whether a field section begins with `:status: 200`, which is in the static table, after updates of the dynamic
/// table's size if there are any.
fn is_200(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_in_hpack_and_a_200_is_known() {
        let expected = [&[0x82, 0x86, 4, 3][..], b"/1k", &[1, 10], b"bench.test"].concat();
        assert_eq!(fields("/1k").unwrap(), expected);
        assert!(is_200(&[0x88, 0x5f]) && is_200(&[0x20, 0x88]));
        assert!(!is_200(&[0x8d]) && !is_200(&[]));
        assert!(fields(&"/".repeat(200)).is_err());
    }

    #[test]
    fn answers_are_read_from_among_other_frames_and_only_a_200_is_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = Connection { stream: listener.accept().unwrap().0, next: 2 };
        let proxy = std::thread::spawn(move || {
            let mut preface = [0; 24];
            far.stream.read_exact(&mut preface).unwrap();
            assert_eq!((preface.as_slice(), far.hear().unwrap().kind), (PREFACE, SETTINGS));
            let asked = far.hear().unwrap();
            assert_eq!((asked.kind, asked.flags, asked.stream), (HEADERS, END_STREAM | END_HEADERS, 1));
            far.say(SETTINGS, 0, 0, &[]).unwrap();
            far.say(HEADERS, END_HEADERS, 1, &[0x88]).unwrap();
            far.say(DATA, 0, 1, b"one").unwrap();
            far.say(DATA, END_STREAM, 1, b"two").unwrap();
            let agreed = far.hear().unwrap();
            assert_eq!((agreed.kind, agreed.flags), (SETTINGS, ACK));
            assert_eq!(far.hear().unwrap().stream, 3);
            far.say(HEADERS, END_STREAM | END_HEADERS, 3, &[0x8d]).unwrap();
        });
        let mut near = Connection::begin(near).unwrap();
        assert_eq!(near.get("/1k").unwrap(), b"onetwo");
        assert!(near.get("/1k").is_err());
        proxy.join().unwrap();
    }
}
