//! WebSockets, as far as a proxy has to take part in them: the handshake, for translation between HTTP versions (RFC 6455
//! §4, RFC 8441 §5), and where frames end, so that one can be closed politely. Pure.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What every server appends to the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What Sec-WebSocket-Accept says to this key.
pub fn accept_of(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

/// A key of these sixteen bytes.
pub fn key_of(nonce: u128) -> String {
    STANDARD.encode(nonce.to_be_bytes())
}

/// The key in a request's head; empty where there is none.
pub fn key_in(head: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"sec-websocket-key:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let is_key = |line: &&[u8]| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    lines.find(is_key).map_or(b"", |line| line.get(NAME.len()..).unwrap_or_default().trim_ascii())
}

/// Where frames begin and end in what goes one way (RFC 6455 §5.2). What is in them is nobody's business here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    have: u8,
    /// Bytes of the payload that are still to come.
    left: u64,
    closed: bool,
}

/// Two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;
/// A frame that closes.
const CLOSE: u8 = 0x8;
/// 1001: going away (RFC 6455 §7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

impl Frames {
    /// These bytes went by.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.left.min(bytes.len() as u64);
            self.left -= skipped;
            bytes = &bytes[skipped as usize..];
            let Some((first, rest)) = bytes.split_first() else { return };
            self.head[usize::from(self.have)] = *first;
            self.have += 1;
            bytes = rest;
            if let Some(length) = length_of(&self.head[..usize::from(self.have)]) {
                self.closed |= self.head[0] & 0xf == CLOSE;
                (self.left, self.have) = (length, 0);
            }
        }
    }

    /// The frame that ends it for the one side or the other, where one may be sent now: between two others, and only
    /// once. Those towards an endpoint are masked.
    pub fn going_away(&self, mask: Option<u32>) -> Option<Vec<u8>> {
        if self.closed || self.have > 0 || self.left > 0 {
            return None;
        }
        let mut frame = vec![0x80 | CLOSE, GOING_AWAY.len() as u8];
        let Some(mask) = mask else {
            frame.extend(GOING_AWAY);
            return Some(frame);
        };
        frame[1] |= 0x80;
        let mask = mask.to_be_bytes();
        frame.extend(mask);
        frame.extend(GOING_AWAY.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        Some(frame)
    }
}

/// The payload's length, once the head is whole.
fn length_of(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (bytes, length) = match second & 0x7f {
        126 => (2, head.get(2..4)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))),
        127 => (8, head.get(2..10)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))),
        short => (0, u64::from(short)),
    };
    (head.len() == 2 + bytes + mask).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let mut bytes = b"\x81\x02hi\x82\xfe\x01\x00mask".to_vec();
        bytes.extend([7; 256]);
        bytes.extend(b"\x82\x7f\0\0\0\0\0\x01\0\0");
        bytes.extend(vec![8; 65536]);
        bytes.extend(b"\x89\x80mask\x81\x00");
        let ends = [4, 268, 268 + 10 + 65536, 268 + 10 + 65536 + 6, bytes.len()];
        for size in [1, 3, 1000, bytes.len()] {
            let mut frames = Frames::default();
            let mut at = 0;
            for piece in bytes.chunks(size) {
                frames.pass(piece);
                at += piece.len();
                assert_eq!(
                    frames.going_away(None).is_some(),
                    ends.contains(&at),
                    "at {at} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn a_close_is_sent_once_and_masked_towards_endpoints() {
        let mut frames = Frames::default();
        assert_eq!(frames.going_away(None).as_deref(), Some(&b"\x88\x02\x03\xe9"[..]));
        assert_eq!(
            frames.going_away(Some(0x0102_0304)).as_deref(),
            Some(&b"\x88\x82\x01\x02\x03\x04\x02\xeb"[..])
        );
        frames.pass(b"\x88\x02\x03\xe8");
        assert_eq!(frames.going_away(None), None);
    }

    #[test]
    fn the_example_of_the_rfc_holds() {
        assert_eq!(accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_found_whatever_its_case() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nSEC-WebSocket-Key:  abc \r\n\r\n";
        assert_eq!(key_in(head), b"abc");
        assert_eq!(key_in(b"GET / HTTP/1.1\r\n\r\n"), b"");
        assert_eq!(key_of(0).len(), 24);
    }
}
