//! Bytes as text that can't break out: into a JSON string, or between quotes in a log line.
//!
//! Invariant: what comes out is printable ASCII, whatever goes in. So a line stays a line for every reader, and a
//! terminal that shows it obeys nothing in it. Runs of plain bytes are copied whole.

use crate::sink::Sink;

/// Writes `bytes` for the inside of a JSON string. Characters beyond ASCII become `\uXXXX`; bytes that are no UTF-8
/// become the text `\xNN`, with its backslash escaped as JSON wants it.
#[inline]
pub fn put_json(sink: &mut impl Sink, bytes: &[u8]) {
    put_plain_runs(sink, bytes, put_json_special);
}

/// Writes `bytes` for the inside of a quoted string in a common log line: `\"`, `\\`, and `\xNN` for whatever is not
/// printable ASCII.
#[inline]
pub fn put_quoted(sink: &mut impl Sink, bytes: &[u8]) {
    put_plain_runs(sink, bytes, |sink, special| {
        for &byte in special {
            match byte {
                b'"' | b'\\' => sink.put(&[b'\\', byte]),
                _ => sink.put(&[b'\\', b'x', digit(byte >> 4), digit(byte)]),
            }
        }
    });
}

/// Copies runs of plain bytes and hands over the runs between them.
#[inline]
fn put_plain_runs<S: Sink>(sink: &mut S, mut bytes: &[u8], special: impl Fn(&mut S, &[u8])) {
    loop {
        let plain = bytes.iter().position(|&b| !PLAIN[usize::from(b)]).unwrap_or(bytes.len());
        if plain > 0 {
            sink.put(&bytes[..plain]);
        }
        bytes = &bytes[plain..];
        if bytes.is_empty() {
            return;
        }
        let odd = bytes.iter().position(|&b| PLAIN[usize::from(b)]).unwrap_or(bytes.len());
        special(sink, &bytes[..odd]);
        bytes = &bytes[odd..];
    }
}

#[cold]
fn put_json_special(sink: &mut impl Sink, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => sink.put(b"\\\""),
                '\\' => sink.put(b"\\\\"),
                '\n' => sink.put(b"\\n"),
                '\r' => sink.put(b"\\r"),
                '\t' => sink.put(b"\\t"),
                _ => {
                    for &unit in character.encode_utf16(&mut [0; 2]).iter() {
                        let [high, low] = unit.to_be_bytes();
                        sink.put(&[b'\\', b'u', digit(high >> 4), digit(high), digit(low >> 4), digit(low)]);
                    }
                }
            }
        }
        for &byte in chunk.invalid() {
            sink.put(&[b'\\', b'\\', b'x', digit(byte >> 4), digit(byte)]);
        }
    }
}

fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value & 0xf)]
}

/// Printable ASCII without `"` and `\`.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ' as usize;
    while byte < 0x7f {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        put_json(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_escapes_what_could_break_out() {
        assert_eq!(json(b"plain text 1/2"), "plain text 1/2");
        assert_eq!(json(b"a\"b\\c\r\n\t\0\x1b\x7f"), r#"a\"b\\c\r\n\t\u0000\u001b\u007f"#);
        assert_eq!(json("é\u{2028}😀".as_bytes()), r"\u00e9\u2028\ud83d\ude00");
        assert_eq!(json(b"x\xff\xc3y"), r"x\\xff\\xc3y");
    }

    #[test]
    fn quoted_text_escapes_what_could_break_out() {
        let mut out = Vec::new();
        put_quoted(&mut out, b"a\"b\\c\n\xc3\xa9");
        assert_eq!(out, br#"a\"b\\c\x0a\xc3\xa9"#);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_json(text: String) {
            let quoted = format!("\"{}\"", json(text.as_bytes()));
            prop_assert!(quoted.bytes().all(|b| (b' '..0x7f).contains(&b)));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_a_json_string(bytes: Vec<u8>) {
            let quoted = format!("\"{}\"", json(&bytes));
            prop_assert!(serde_json::from_str::<String>(&quoted).is_ok());
        }
    }
}
