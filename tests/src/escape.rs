//! Bytes as text and back, one character for each byte, so that nothing is lost in a comparison or a message.

/// Each byte as the character of that number (ISO 8859-1).
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Bytes as one would write them in a wire text: `\r`, `\n`, `\x00`; long ones are shortened.
pub fn visible(bytes: &[u8]) -> String {
    const SHOWN: usize = 600;
    let mut out = String::new();
    for &byte in bytes.iter().take(SHOWN) {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n\n"),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    if bytes.len() > SHOWN {
        out.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    out
}

/// Turns `\r \n \t \0 \\ \xNN` and `\{300*text}` into bytes; other characters stand for their Latin-1 byte.
pub fn unescape(written: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = written;
    while let Some(at) = rest.find('\\') {
        plain(&rest[..at], &mut out)?;
        rest = &rest[at + 1..];
        let kind = rest.chars().next().ok_or("a lone backslash at the end")?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let digits = rest.get(..2).ok_or("\\x needs two digits")?;
                out.push(u8::from_str_radix(digits, 16).map_err(|e| format!("\\x{digits}: {e}"))?);
                rest = &rest[2..];
            }
            '{' => {
                let end = rest.find('}').ok_or("\\{ without }")?;
                let (count, what) = rest[..end].split_once('*').ok_or("\\{ needs count*text")?;
                let count: usize = count.parse().map_err(|e| format!("\\{{{count}: {e}"))?;
                out.extend(unescape(what)?.repeat(count));
                rest = &rest[end + 1..];
            }
            other => return Err(format!("unknown escape \\{other}")),
        }
    }
    plain(rest, &mut out)?;
    Ok(out)
}

fn plain(written: &str, out: &mut Vec<u8>) -> Result<(), String> {
    for character in written.chars() {
        out.push(u8::try_from(u32::from(character)).map_err(|_| format!("{character:?} is not a byte"))?);
    }
    Ok(())
}

/// Whether `text` matches `pattern`, in which `*` stands for anything and a leading `!` turns it around.
pub fn matches(pattern: &str, text: &str) -> bool {
    if let Some(not) = pattern.strip_prefix('!') {
        return !matches(not, text);
    }
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return text.ends_with(piece);
        }
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_the_bytes_they_name() {
        assert_eq!(unescape(r"a\r\n\x80\{3*xy}\0").unwrap(), b"a\r\n\x80xyxyxy\0");
        assert!(unescape(r"\q").is_err());
        assert!(unescape("\u{20ac}").is_err());
    }

    #[test]
    fn a_star_stands_for_anything_and_a_bang_turns_around() {
        assert!(matches("a*c", "abc") && matches("*", "") && matches("a*b*c", "a1b2c"));
        assert!(!matches("a*c", "ab") && !matches("a", "ab"));
        assert!(matches("!a*", "b") && !matches("!a*", "ab"));
    }
}
