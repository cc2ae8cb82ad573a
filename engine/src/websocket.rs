//! The handshake of a WebSocket, as far as a translation between HTTP versions has to take part in it (RFC 6455 §4,
//! RFC 8441 §5). Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

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
