//! HTTP/1.1 requests as bytes: heads, and bodies that are counted and forgotten. Pure.
//!
//! Strict where leniency would hide a client's mistake: what is ambiguous is refused, and the connection ends with it.

use std::mem::MaybeUninit;
use std::ops::Range;

/// What the origin needs to know of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head.
    pub length: usize,
    /// Where the query is in those.
    pub query: Option<Range<usize>>,
    /// HEAD: the answer has no body.
    pub is_head: bool,
    /// What happens to the connection.
    pub persistence: Persistence,
    /// What follows the head.
    pub body: Body,
    /// The client waits for `100 Continue` before it sends the body.
    pub awaits_continue: bool,
}

/// What happens to a connection after an exchange, and in which version that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1: it is kept.
    Keep,
    /// HTTP/1.1, asked to close.
    Close,
    /// HTTP/1.0, asked to keep it.
    KeepOld,
    /// HTTP/1.0: it closes.
    CloseOld,
}

impl Persistence {
    /// The connection is used again.
    pub fn is_kept(self) -> bool {
        matches!(self, Persistence::Keep | Persistence::KeepOld)
    }

    /// The client speaks HTTP/1.0, and does not know chunks.
    pub fn is_old(self) -> bool {
        matches!(self, Persistence::KeepOld | Persistence::CloseOld)
    }
}

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes, perhaps none.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Why a request is not answered as asked. The connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status that says so.
    pub status: u16,
    /// The same in words.
    pub why: &'static str,
}

/// Reads a head that begins with `bytes`; `None` while it is not all there.
pub fn read(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
        Ok(_) => return Err(refusal(431, "the head is longer than 64 KiB")),
        Err(httparse::Error::TooManyHeaders) => return Err(refusal(431, "more than 128 header fields")),
        Err(httparse::Error::Version) => return Err(refusal(505, "neither HTTP/1.0 nor HTTP/1.1")),
        Err(_) => return Err(refusal(400, "not a request's head")),
    };
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    if method == "CONNECT" {
        return Err(refusal(501, "this is an origin, not a proxy"));
    }
    let fields = Fields::gather(request.headers)?;
    let old = request.version == Some(0);
    if !old && fields.hosts != 1 {
        return Err(refusal(400, "HTTP/1.1 needs exactly one Host"));
    }
    let body = match (fields.length, fields.chunked) {
        (Some(_), true) => return Err(refusal(400, "both Content-Length and Transfer-Encoding")),
        (None, true) if old => return Err(refusal(400, "Transfer-Encoding in HTTP/1.0")),
        (None, true) => Body::Chunked,
        (length, false) => Body::Length(length.unwrap_or(0)),
    };
    if matches!(body, Body::Length(BODY_TOO_LONG..)) {
        return Err(TOO_LONG);
    }
    let persistence = match (old, fields.close, fields.keep) {
        (false, false, _) => Persistence::Keep,
        (false, true, _) => Persistence::Close,
        (true, false, true) => Persistence::KeepOld,
        (true, ..) => Persistence::CloseOld,
    };
    Ok(Some(Head {
        length,
        query: query(method, path, bytes),
        is_head: method == "HEAD",
        persistence,
        body,
        awaits_continue: fields.awaits_continue && !old && body != Body::Length(0),
    }))
}

/// Where the query stands in `bytes`, which begin with `method`, one space and `path`.
fn query(method: &str, path: &str, bytes: &[u8]) -> Option<Range<usize>> {
    let mark = memchr::memchr(b'?', path.as_bytes())?;
    let begin = method.len() + 1 + mark + 1;
    let end = method.len() + 1 + path.len();
    (end <= bytes.len()).then_some(begin..end)
}

#[derive(Default)]
struct Fields {
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    awaits_continue: bool,
}

impl Fields {
    /// The few fields that matter here. A name's length rules most of them out.
    fn gather(headers: &[httparse::Header<'_>]) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                4 if is("host") => fields.hosts += 1,
                6 if is("expect") => {
                    if !header.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(refusal(417, "only 100-continue can be expected"));
                    }
                    fields.awaits_continue = true;
                }
                10 if is("connection") => {
                    for token in header.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                        fields.close |= token.eq_ignore_ascii_case(b"close");
                        fields.keep |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if is("content-length") => {
                    let length =
                        decimal(header.value).ok_or(refusal(400, "Content-Length is not a number"))?;
                    if fields.length.replace(length).is_some() {
                        return Err(refusal(400, "more than one Content-Length"));
                    }
                }
                17 if is("transfer-encoding") => {
                    if !header.value.eq_ignore_ascii_case(b"chunked") || fields.chunked {
                        return Err(refusal(501, "the only transfer coding known is chunked"));
                    }
                    fields.chunked = true;
                }
                _ => {}
            }
        }
        Ok(fields)
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let fits = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A chunked body on its way past. Not the reader that the lanes use: what proves them must not share their mistakes.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    at: At,
    /// Of the chunk's size line: its digits. Of a trailer: the bytes of its line.
    seen: u32,
    /// Bytes left of the chunk.
    left: u64,
    /// Bytes of the body.
    total: u64,
    /// Bytes of extensions and trailers.
    extra: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerEnd,
    Done,
}

impl Chunks {
    /// The last chunk and the trailers are past.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes what belongs to the body off the front of `bytes`; returns how much that was.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut passed = 0;
        while passed < bytes.len() && !self.is_done() {
            if self.at == At::Data {
                let part = self.left.min((bytes.len() - passed) as u64);
                self.left -= part;
                passed += part as usize;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            self.step(bytes[passed])?;
            passed += 1;
        }
        Ok(passed)
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.at = match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() && self.seen < SIZE_DIGITS_MAX => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left * 16 + u64::from(digit);
                self.seen += 1;
                At::Size
            }
            (At::Size, b'\r') if self.seen > 0 => At::SizeEnd,
            (At::Size, b';' | b' ' | b'\t') if self.seen > 0 => At::Extension,
            (At::Extension, b'\r') => At::SizeEnd,
            (At::SizeEnd, b'\n') => self.sized()?,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::TrailerEnd, b'\n') if self.seen == 0 => At::Done,
            (At::TrailerEnd, b'\n') => {
                self.seen = 0;
                At::Trailer
            }
            (At::Extension | At::Trailer, _) if byte != b'\n' => {
                self.extra += 1;
                self.seen += 1;
                if self.extra as usize > HEAD_MAX {
                    return Err(refusal(431, "extensions and trailers of more than 64 KiB"));
                }
                self.at
            }
            _ => return Err(refusal(400, "the chunked body is malformed")),
        };
        Ok(())
    }

    /// A chunk's size is known.
    fn sized(&mut self) -> Result<At, Refusal> {
        self.seen = 0;
        self.total = self.total.saturating_add(self.left);
        match self.left {
            _ if self.total >= BODY_TOO_LONG => Err(TOO_LONG),
            0 => Ok(At::Trailer),
            _ => Ok(At::Data),
        }
    }
}

const fn refusal(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

/// Bytes of a head at most, and of what else a client may send around a body.
pub const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
/// A body of as many bytes is refused.
const BODY_TOO_LONG: u64 = (1 << 30) + 1;
const TOO_LONG: Refusal = refusal(413, "the body is longer than 1 GiB");
const SIZE_DIGITS_MAX: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        read(text.as_bytes()).expect("a good head").expect("a whole head")
    }

    fn status(text: &str) -> u16 {
        read(text.as_bytes()).expect_err("a refusal").status
    }

    #[test]
    fn a_head_tells_its_length_its_query_and_its_body() {
        let text =
            "POST /a?size=1&x HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n";
        let head = head(&format!("{text}rest"));
        assert_eq!(head.length, text.len());
        assert_eq!(&text[head.query.clone().unwrap()], "size=1&x");
        assert_eq!((head.body, head.awaits_continue, head.is_head), (Body::Length(12), true, false));
        assert_eq!(read(&text.as_bytes()[..40]), Ok(None));
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        let of = |rest: &str| head(&format!("GET / HTTP/1.{rest}Host: x\r\n\r\n")).persistence;
        assert_eq!(of("1\r\n"), Persistence::Keep);
        assert_eq!(of("1\r\nconnection: TE, close\r\n"), Persistence::Close);
        assert_eq!(of("0\r\n"), Persistence::CloseOld);
        assert_eq!(of("0\r\nConnection: Keep-Alive\r\n"), Persistence::KeepOld);
    }

    #[test]
    fn what_is_ambiguous_or_too_much_is_refused() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        assert_eq!(status(&with("Content-Length: 1\r\nTransfer-Encoding: chunked")), 400);
        assert_eq!(status(&with("Content-Length: 1\r\nContent-Length: 1")), 400);
        for bad in ["-1", "+1", "1 1", "1,1", "", "0x1", "9999999999999999999"] {
            assert_eq!(status(&with(&format!("Content-Length: {bad}"))), 400, "{bad}");
        }
        assert_eq!(status(&with("Content-Length: 1073741825")), 413);
        assert_eq!(status(&with("Transfer-Encoding: gzip, chunked")), 501);
        assert_eq!(status(&with("Host: y")), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status(&with("Expect: miracles")), 417);
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/3.0\r\n\r\n"), 505);
        assert_eq!(status(&with(&"a: b\r\n".repeat(200))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_MAX))), 431);
        assert_eq!(status("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
    }

    #[test]
    fn a_malformed_chunked_body_is_refused() {
        for bad in [
            "g\r\n",
            "\r\n",
            "1\n",
            "1\r\nab",
            "1\r\na\n",
            "0\r\n\n",
            "0\r\na\n",
            "1\rx",
            "ffffffffffffffff\r\n",
        ] {
            let mut chunks = Chunks::default();
            assert_eq!(chunks.pass(bad.as_bytes()).unwrap_err().status, 400, "{bad:?}");
        }
        assert_eq!(Chunks::default().pass(b"40000001\r\n").unwrap_err().status, 413);
        let endless = format!("1;{}", "a".repeat(HEAD_MAX + 1));
        assert_eq!(Chunks::default().pass(endless.as_bytes()).unwrap_err().status, 431);
    }

    proptest! {
        #[test]
        fn a_chunked_body_ends_where_it_ends_however_it_is_cut(
            sizes in prop::collection::vec(1usize..300, 0..6), cut in 1usize..400, trailers in 0usize..3,
        ) {
            let mut body = String::new();
            for size in sizes {
                body.push_str(&format!("{size:x};a=b\r\n{}\r\n", "y".repeat(size)));
            }
            body.push_str("0\r\n");
            body.push_str(&"a: b\r\n".repeat(trailers));
            body.push_str("\r\n");
            let all = format!("{body}GET / ");
            let (mut chunks, mut passed) = (Chunks::default(), 0);
            for piece in all.as_bytes().chunks(cut) {
                passed += chunks.pass(piece).unwrap();
            }
            prop_assert!(chunks.is_done());
            prop_assert_eq!(passed, body.len());
        }

        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[b"GET /?", &bytes[..]].concat());
            let _ = Chunks::default().pass(&bytes);
        }
    }
}
