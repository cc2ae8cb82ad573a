//! gRPC-Web: what browsers, which see no trailers, make of gRPC. Pure.
//!
//! The messages are the same; trailers come as a last frame in the body, and the text form is base64 over all of it.
//! Source: `PROTOCOL-WEB.md` in the gRPC repository's `doc` folder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Binary,
    /// In base64.
    Text,
}

/// The form of a request of this content type, and its suffix (`+proto`); `None`: it is no gRPC-Web.
pub fn form(content_type: &[u8]) -> Option<(Form, &[u8])> {
    const TYPE: &[u8] = b"application/grpc-web";
    let begins = content_type.get(..TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(TYPE));
    let rest = content_type.get(TYPE.len()..).filter(|_| begins)?;
    let (form, rest) = match rest.get(..5) {
        Some(text) if text.eq_ignore_ascii_case(b"-text") => (Form::Text, rest.get(5..)?),
        _ => (Form::Binary, rest),
    };
    let suffix = rest.split(|byte| matches!(byte, b';' | b' ')).next().unwrap_or_default();
    let legal = suffix.is_empty() || (suffix[0] == b'+' && suffix[1..].iter().all(u8::is_ascii_alphanumeric));
    legal.then_some((form, suffix))
}

/// Whether a page of this origin may call; `*` among those named is anybody.
pub fn may_call(origins: &[Box<str>], origin: &str) -> bool {
    origins.iter().any(|one| **one == *"*" || one.eq_ignore_ascii_case(origin))
}

/// What a body in base64 holds. Pieces that were encoded one by one, each with its padding, may follow each other.
/// `None`: it is no base64.
pub fn decode_text(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let mut rest = body.trim_ascii();
    while !rest.is_empty() {
        let padded = memchr::memchr(b'=', rest).map_or(rest.len(), |at| at.next_multiple_of(4).max(4));
        let (piece, after) = rest.split_at_checked(padded)?;
        STANDARD.decode_vec(piece, &mut out).ok()?;
        rest = after;
    }
    Some(out)
}

/// A response's body on its way to a browser.
#[derive(Debug)]
pub struct Response {
    form: Form,
    /// Bytes that don't make three yet.
    left: Vec<u8>,
}

impl Response {
    /// Before its first byte.
    pub fn new(form: Form) -> Response {
        Response { form, left: Vec::new() }
    }

    /// Takes bytes of messages.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.form {
            Form::Binary => out.extend_from_slice(bytes),
            Form::Text => {
                self.left.extend_from_slice(bytes);
                let whole = self.left.len() / 3 * 3;
                encode(&self.left[..whole], out);
                self.left.drain(..whole);
            }
        }
    }

    /// The end: trailers become the last frame.
    pub fn finish<'a>(&mut self, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
        let mut lines = Vec::new();
        for (name, value) in trailers {
            lines.extend(name.iter().map(u8::to_ascii_lowercase));
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
        let mut frame = vec![TRAILERS];
        frame.extend((lines.len() as u32).to_be_bytes());
        frame.extend(lines);
        self.push(&frame, out);
        encode(&std::mem::take(&mut self.left), out);
    }
}

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(STANDARD.encode(bytes).into_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_are_told_by_content_type() {
        assert_eq!(form(b"application/grpc-web"), Some((Form::Binary, &b""[..])));
        assert_eq!(form(b"application/grpc-web+proto; x=y"), Some((Form::Binary, &b"+proto"[..])));
        assert_eq!(form(b"Application/Grpc-Web-Text+proto"), Some((Form::Text, &b"+proto"[..])));
        for other in ["application/grpc", "application/grpc-webx", "application/grpc-web+a\r\nb", "text/html"]
        {
            assert_eq!(form(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn who_may_call_is_named_or_anybody() {
        let origins = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<Box<str>>>();
        assert!(may_call(&origins(&["https://a.example", "https://b.example"]), "https://B.example"));
        assert!(!may_call(&origins(&["https://a.example"]), "https://a.example.evil"));
        assert!(may_call(&origins(&["*"]), "https://anybody.example"));
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let trailers = [(&b"Grpc-Status"[..], &b"0"[..])];
        let mut out = Vec::new();
        Response::new(Form::Binary).finish(trailers.into_iter(), &mut out);
        assert_eq!(out, b"\x80\0\0\0\x10grpc-status: 0\r\n");
    }

    proptest! {
        #[test]
        fn text_comes_back_however_it_is_cut(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
        ) {
            let (mut out, mut response) = (Vec::new(), Response::new(Form::Text));
            for piece in &pieces {
                response.push(piece, &mut out);
            }
            response.finish(std::iter::empty(), &mut out);
            let expected = [pieces.concat(), b"\x80\0\0\0\0".to_vec()].concat();
            prop_assert_eq!(decode_text(&out), Some(expected));
            // As some clients send it: each piece with its own padding.
            let padded: Vec<u8> = pieces.iter().flat_map(|piece| STANDARD.encode(piece).into_bytes()).collect();
            prop_assert_eq!(decode_text(&padded), Some(pieces.concat()));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode_text(&bytes), form(&bytes));
        }
    }
}
