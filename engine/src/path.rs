//! One canonical path: what routing matches, policies see and upstreams get is the same string.
//!
//! Made so that no two readers of a request can disagree about where it leads: unreserved characters decoded and all
//! others left (or made) percent-encoded in upper case (RFC 3986 §6.2.2), dot segments removed, also encoded ones
//! (§5.2.4), repeated slashes merged if asked, and whatever an upstream may read as a separator or an end refused.
//! Canonical paths are canonical: doing it twice changes nothing.
//!
//! Nearly every path is canonical as it came. That is found out by a table walk of one load a byte ([`CLEAN`]), and
//! costs no copy.

/// What may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// `%2F` stays, undecoded; otherwise it is refused.
    pub encoded_slashes: bool,
}

impl Default for PathOptions {
    fn default() -> PathOptions {
        PathOptions { merge_slashes: true, encoded_slashes: false }
    }
}

/// Where the canonical path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonical {
    /// The path given is canonical; nothing was written.
    AsGiven,
    /// It is in `out`.
    Rewritten,
}

/// Why a path was refused: 400, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathRefusal {
    /// It does not begin with `/`.
    NotAbsolute,
    /// `..` above the root.
    ClimbsAboveRoot,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%00`
    EncodedNul,
    /// `\` or `%5C`
    Backslash,
    /// `%2F` where it is not allowed.
    EncodedSlash,
    /// `..` or `.` beside `%2F`, or before `;`: some upstreams take it for a dot segment.
    HiddenDotSegment,
    /// Control characters, spaces, bytes beyond ASCII, `#` or `?`.
    ForbiddenByte,
}

impl PathRefusal {
    /// The rule's name: snake_case, stable.
    pub const fn reason(self) -> &'static str {
        match self {
            PathRefusal::NotAbsolute => "path_not_absolute",
            PathRefusal::ClimbsAboveRoot => "path_climbs_above_root",
            PathRefusal::BadEscape => "bad_percent_escape",
            PathRefusal::EncodedNul => "encoded_nul",
            PathRefusal::Backslash => "backslash_in_path",
            PathRefusal::EncodedSlash => "encoded_slash",
            PathRefusal::HiddenDotSegment => "hidden_dot_segment",
            PathRefusal::ForbiddenByte => "forbidden_byte_in_path",
        }
    }

    /// 400
    pub const fn status(self) -> u16 {
        400
    }

    /// One sentence for a person, with the section of the RFC.
    pub const fn detail(self) -> &'static str {
        match self {
            PathRefusal::NotAbsolute => "The path does not begin with a slash (RFC 9112 §3.2.1).",
            PathRefusal::ClimbsAboveRoot => "The path's dot segments lead above the root (RFC 3986 §5.2.4).",
            PathRefusal::BadEscape => {
                "A % in the path is not followed by two hexadecimal digits (RFC 3986 §2.1)."
            }
            PathRefusal::EncodedNul => "The path holds an encoded NUL (RFC 3986 §7.3).",
            PathRefusal::Backslash => "The path holds a backslash (RFC 3986 §7.3).",
            PathRefusal::EncodedSlash => {
                "The path holds an encoded slash, which this route does not allow (RFC 3986 §2.2)."
            }
            PathRefusal::HiddenDotSegment => {
                "The path hides a dot segment behind an encoded slash or a semicolon (RFC 3986 §7.3)."
            }
            PathRefusal::ForbiddenByte => {
                "The path holds a byte that must be percent-encoded (RFC 3986 §3.3)."
            }
        }
    }
}

impl std::fmt::Display for PathRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for PathRefusal {}

/// Makes a path (without query) canonical. `out` is cleared and written only where the answer is
/// [`Canonical::Rewritten`]; it keeps its room from call to call.
///
/// # Errors
/// The first thing in it that makes it ambiguous.
#[inline]
pub fn canonical(raw: &[u8], options: PathOptions, out: &mut Vec<u8>) -> Result<Canonical, PathRefusal> {
    if is_clean(raw, options) { Ok(Canonical::AsGiven) } else { rewrite(raw, options, out) }
}

/// The canonical form of `raw`, whichever of the two it is in.
///
/// # Errors
/// As [`canonical`].
#[inline]
pub fn canonical_of<'a>(
    raw: &'a [u8],
    options: PathOptions,
    out: &'a mut Vec<u8>,
) -> Result<&'a [u8], PathRefusal> {
    match canonical(raw, options, out)? {
        Canonical::AsGiven => Ok(raw),
        Canonical::Rewritten => Ok(out),
    }
}

/// Whether a query (without `?`) can be forwarded as it is: printable ASCII, no space, no `#`. A parsed head's can.
pub fn query_is_clean(query: &[u8]) -> bool {
    query.iter().all(|b| matches!(b, b'!'..=b'~') && *b != b'#')
}

/// `true` only for canonical paths; `false` for few of them (a segment that begins with a dot, an escape).
#[inline]
fn is_clean(raw: &[u8], options: PathOptions) -> bool {
    let table = if options.merge_slashes { &CLEAN } else { &CLEAN_UNMERGED };
    let mut state = START;
    for byte in raw {
        state = table[usize::from(state & 3)][usize::from(*byte)];
    }
    state == INSIDE || state == SLASH
}

/// Nothing read.
const START: u8 = 0;
/// After a byte of a segment.
const INSIDE: u8 = 1;
/// After a slash.
const SLASH: u8 = 2;
/// Something to look at more closely.
const UNCLEAR: u8 = 3;

static CLEAN: [[u8; 256]; 4] = walk(true);
static CLEAN_UNMERGED: [[u8; 256]; 4] = walk(false);

const fn walk(merge_slashes: bool) -> [[u8; 256]; 4] {
    let mut table = [[UNCLEAR; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b == b'/' {
            table[START as usize][byte] = SLASH;
            table[INSIDE as usize][byte] = SLASH;
            table[SLASH as usize][byte] = if merge_slashes { UNCLEAR } else { SLASH };
        } else if is_pchar(b) {
            table[INSIDE as usize][byte] = INSIDE;
            table[SLASH as usize][byte] = if b == b'.' { UNCLEAR } else { INSIDE };
        }
        byte += 1;
    }
    table
}

const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` without escapes (RFC 3986 §3.3)
const fn is_pchar(b: u8) -> bool {
    is_unreserved(b)
        || matches!(
            b,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

#[cold]
#[inline(never)]
fn rewrite(raw: &[u8], options: PathOptions, out: &mut Vec<u8>) -> Result<Canonical, PathRefusal> {
    out.clear();
    out.reserve(raw.len());
    let [b'/', rest @ ..] = raw else { return Err(PathRefusal::NotAbsolute) };
    out.push(b'/');
    // Where in `out` the segment being read begins; the byte before it is a slash, always.
    let mut segment = 1;
    let mut bytes = rest.iter();
    while let Some(byte) = bytes.next() {
        match *byte {
            b'/' => end_segment(out, &mut segment, options, true)?,
            b'%' => {
                let (high, low) = (hex(bytes.next())?, hex(bytes.next())?);
                match high << 4 | low {
                    0 => return Err(PathRefusal::EncodedNul),
                    b'\\' => return Err(PathRefusal::Backslash),
                    b'/' if !options.encoded_slashes => return Err(PathRefusal::EncodedSlash),
                    decoded if is_unreserved(decoded) => out.push(decoded),
                    decoded => push_encoded(out, decoded),
                }
            }
            b'\\' => return Err(PathRefusal::Backslash),
            0..=b' ' | 0x7f.. | b'#' | b'?' => return Err(PathRefusal::ForbiddenByte),
            plain if is_pchar(plain) => out.push(plain),
            // Printable, but not allowed bare: `"<>[]^`{|}`. Some clients send them so.
            other => push_encoded(out, other),
        }
    }
    end_segment(out, &mut segment, options, false)?;
    Ok(if out == raw { Canonical::AsGiven } else { Canonical::Rewritten })
}

fn end_segment(
    out: &mut Vec<u8>,
    segment: &mut usize,
    options: PathOptions,
    slash_follows: bool,
) -> Result<(), PathRefusal> {
    match out.get(*segment..).unwrap_or_default() {
        b"." => out.truncate(*segment),
        b".." => {
            let above = out.get(..*segment - 1).unwrap_or_default();
            let parent = above.iter().rposition(|b| *b == b'/').ok_or(PathRefusal::ClimbsAboveRoot)? + 1;
            out.truncate(parent);
        }
        [] if options.merge_slashes => {}
        text => {
            if hides_dots(text) {
                return Err(PathRefusal::HiddenDotSegment);
            }
            if slash_follows {
                out.push(b'/');
            }
        }
    }
    *segment = out.len();
    Ok(())
}

/// Whether a reader that decodes `%2F` or cuts parameters off would find a dot segment in this one.
fn hides_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        let at = rest.windows(3).position(|window| window == b"%2F");
        let piece = rest.get(..at.unwrap_or(rest.len())).unwrap_or_default();
        if matches!(piece, b"." | b".." | [b'.', b';', ..] | [b'.', b'.', b';', ..]) {
            return true;
        }
        match at {
            None => return false,
            Some(at) => rest = rest.get(at + 3..).unwrap_or_default(),
        }
    }
}

fn hex(digit: Option<&u8>) -> Result<u8, PathRefusal> {
    match digit {
        Some(b @ b'0'..=b'9') => Ok(b - b'0'),
        Some(b @ (b'a'..=b'f' | b'A'..=b'F')) => Ok((b | 0x20) - b'a' + 10),
        _ => Err(PathRefusal::BadEscape),
    }
}

fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: PathOptions = PathOptions { merge_slashes: true, encoded_slashes: false };
    const UNMERGED: PathOptions = PathOptions { merge_slashes: false, encoded_slashes: false };
    const SLASHES: PathOptions = PathOptions { merge_slashes: true, encoded_slashes: true };

    fn made(raw: &str, options: PathOptions) -> Result<String, &'static str> {
        let mut out = b"left over".to_vec();
        let path = canonical_of(raw.as_bytes(), options, &mut out).map_err(PathRefusal::reason)?;
        Ok(String::from_utf8_lossy(path).into_owned())
    }

    #[test]
    fn clean_paths_are_not_touched() {
        let mut out = Vec::new();
        for path in [
            "/",
            "/a",
            "/a/",
            "/v1/orders/7",
            "/a.b/c..d/e.",
            "/a;b=c,d/e:f@g!$&'()*+",
            "/-_~",
            "/.well-known/x",
            "/...",
            "/a%20b",
            "/caf%C3%A9",
            "/.a/..b/a..",
        ] {
            assert_eq!(canonical(path.as_bytes(), STRICT, &mut out), Ok(Canonical::AsGiven), "{path}");
        }
    }

    #[test]
    fn other_paths_become_canonical() {
        for (raw, expected) in [
            ("/%61%2d%2E%5f%7E", "/a-._~"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/.", "/"),
            ("/a/..", "/"),
            ("/./a", "/a"),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/a|b{c}\"<>^`[]", "/a%7Cb%7Bc%7D%22%3C%3E%5E%60%5B%5D"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/%3f%23%25", "/%3F%23%25"),
        ] {
            assert_eq!(made(raw, STRICT).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn slashes_stay_where_merging_is_off() {
        assert_eq!(made("//a///b//", UNMERGED).as_deref(), Ok("//a///b//"));
        assert_eq!(made("/a//../b", UNMERGED).as_deref(), Ok("/a/b"));
        assert_eq!(made("//..", UNMERGED).as_deref(), Ok("/"));
        assert_eq!(made("//../..", UNMERGED), Err("path_climbs_above_root"));
    }

    #[test]
    fn encoded_slashes_stay_encoded_where_they_are_allowed() {
        assert_eq!(made("/a%2fb", SLASHES).as_deref(), Ok("/a%2Fb"));
        assert_eq!(made("/a%2Fb/../c", SLASHES).as_deref(), Ok("/c"));
        for hidden in
            ["/a/..%2fb", "/a%2f..", "/a%2F.%2fb", "/%2e%2e%2fb", "/a/..;/b", "/a/..;x", "/.;", "/a%2F..;b"]
        {
            assert_eq!(made(hidden, SLASHES), Err("hidden_dot_segment"), "{hidden}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for (raw, reason) in [
            ("", "path_not_absolute"),
            ("a", "path_not_absolute"),
            ("*", "path_not_absolute"),
            ("/..", "path_climbs_above_root"),
            ("/a/../../b", "path_climbs_above_root"),
            ("/%2e%2e/b", "path_climbs_above_root"),
            ("//../b", "path_climbs_above_root"),
            ("/%", "bad_percent_escape"),
            ("/%4", "bad_percent_escape"),
            ("/%g0", "bad_percent_escape"),
            ("/%0g", "bad_percent_escape"),
            ("/%%41", "bad_percent_escape"),
            ("/a%00b", "encoded_nul"),
            ("/a\\b", "backslash_in_path"),
            ("/a%5cb", "backslash_in_path"),
            ("/a%2fb", "encoded_slash"),
            ("/a%2Fb", "encoded_slash"),
            ("/a b", "forbidden_byte_in_path"),
            ("/a\tb", "forbidden_byte_in_path"),
            ("/a\0b", "forbidden_byte_in_path"),
            ("/a\x7fb", "forbidden_byte_in_path"),
            ("/caf\u{e9}", "forbidden_byte_in_path"),
            ("/a?b", "forbidden_byte_in_path"),
            ("/a#b", "forbidden_byte_in_path"),
            ("/a/..;/b", "hidden_dot_segment"),
        ] {
            assert_eq!(made(raw, STRICT), Err(reason), "{raw:?}");
        }
    }

    #[test]
    fn queries_are_printable_ascii() {
        assert!(query_is_clean(b"a=b&c=%00?/\\\"{}|^`<>"));
        for bad in ["a b", "a#b", "a\tb", "\u{e9}", "\0"] {
            assert!(!query_is_clean(bad.as_bytes()), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn canonical_paths_are_idempotent(
            raw in "(/(\\.|\\.\\.|%2e|%2E%2e|%2f|[a-z;%./|]{0,4}|%[0-9a-fA-F]{2}|[ -~]{0,3})){0,8}",
            merge_slashes in proptest::bool::ANY,
            encoded_slashes in proptest::bool::ANY,
        ) {
            crate::http1::fuzzing::canonical_path_with(raw.as_bytes(), PathOptions { merge_slashes, encoded_slashes });
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            crate::http1::fuzzing::canonical_path(&raw);
        }
    }
}
