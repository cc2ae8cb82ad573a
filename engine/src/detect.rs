//! What a client speaks, by the bytes it begins with. Pure.
//!
//! For listeners where it may be anything (`protocol: auto`). What begins like a request of HTTP is one, well-formed or
//! not: it is judged as HTTP and never carried elsewhere as bytes, or a malformed request could get past every rule.

use rustls::server::Acceptor;

use crate::http2::PREFACE;
use crate::tls::ALPN_PROOF;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// More is needed; it may become HTTP.
    LikelyHttp,
    /// More is needed.
    Unclear,
    /// A TLS handshake.
    Tls,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// A request of HTTP/1.
    Http1,
    /// Something else.
    Opaque,
}

/// Looks at the first bytes of a connection.
pub fn spoken(bytes: &[u8]) -> Spoken {
    match bytes {
        [] | [HANDSHAKE] => return Spoken::Unclear,
        [HANDSHAKE, 3, ..] => return Spoken::Tls,
        _ => {}
    }
    if bytes.starts_with(PREFACE_LINE) {
        return Spoken::Http2;
    }
    if PREFACE_LINE.starts_with(bytes) {
        return Spoken::LikelyHttp;
    }
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Spoken::Http1;
    }
    if METHODS.iter().any(|method| method.starts_with(bytes)) {
        return Spoken::LikelyHttp;
    }
    by_first_line(bytes)
}

/// A method nobody knows: `TOKEN target HTTP/1.1` is a request all the same.
fn by_first_line(bytes: &[u8]) -> Spoken {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let whole = line.len() < bytes.len();
    let method_len =
        line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).count();
    let is_method = match line.get(method_len) {
        Some(byte) => *byte == b' ' && method_len > 0,
        None => !whole,
    };
    if !is_method || method_len > METHOD_BYTES_MAX || line.len() > LINE_BYTES_MAX {
        return Spoken::Opaque;
    }
    match whole {
        true if memchr::memmem::find(line, b" HTTP/").is_some() => Spoken::Http1,
        true => Spoken::Opaque,
        false => Spoken::Unclear,
    }
}

const HANDSHAKE: u8 = 22;
const PREFACE_LINE: &[u8] = PREFACE.split_at(16).0;
const METHOD_BYTES_MAX: usize = 32;
/// A first line longer than this is no request's.
const LINE_BYTES_MAX: usize = 8 << 10;
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * HTTP/",
];

/// What a ClientHello asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// More is needed.
    Partial,
    /// It is whole.
    Whole {
        /// The name asked for (SNI), lower case.
        name: Option<String>,
        /// It offers `acme-tls/1` alone: it wants a proof of the name, and no service.
        wants_proof: bool,
    },
    /// It is none.
    Malformed,
}

/// Bytes within which a ClientHello must end.
pub const HELLO_BYTES_MAX: usize = 64 << 10;

/// Reads the ClientHello at the start of `bytes`, which are all that was received so far.
pub fn hello(mut bytes: &[u8]) -> Hello {
    let too_long = bytes.len() >= HELLO_BYTES_MAX;
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        if !matches!(acceptor.read_tls(&mut bytes), Ok(read) if read > 0) {
            return Hello::Malformed;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let name = hello.server_name().map(str::to_ascii_lowercase);
                let wants_proof = hello.alpn().is_some_and(|alpn| alpn.eq([ALPN_PROOF]));
                return Hello::Whole { name, wants_proof };
            }
            Ok(None) => {}
            Err(_) => return Hello::Malformed,
        }
    }
    if too_long { Hello::Malformed } else { Hello::Partial }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_is_told_by_how_it_begins() {
        for (bytes, expected) in [
            (&b""[..], Spoken::Unclear),
            (b"\x16", Spoken::Unclear),
            (b"\x16\x03\x01\x02", Spoken::Tls),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Spoken::Http2),
            (b"PRI * HT", Spoken::LikelyHttp),
            (b"GE", Spoken::LikelyHttp),
            (b"GET ", Spoken::Http1),
            (b"GET \0\0", Spoken::Http1),
            (b"BREW /pot HTTP/1.1\r\n", Spoken::Http1),
            (b"BREW /pot", Spoken::Unclear),
            (b"BREW /pot\r\n", Spoken::Opaque),
            (b"EHLO mail.example\r\n", Spoken::Opaque),
            (b"PING\r\n", Spoken::Opaque),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Spoken::Opaque),
            (b"*1\r\n$4\r\nPING\r\n", Spoken::Opaque),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Spoken::Opaque),
        ] {
            assert_eq!(spoken(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_hello_tells_its_name_however_it_is_cut() {
        let roots = rustls::RootCertStore::empty();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from("A.example").unwrap();
        let said = |alpn: &[&str]| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
            let mut client = rustls::ClientConnection::new(config.into(), name.clone()).unwrap();
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            bytes
        };
        for (alpn, wants_proof) in
            [(&["acme-tls/1"][..], true), (&["acme-tls/1", "h2"], false), (&["h2"], false), (&[], false)]
        {
            let expected = Hello::Whole { name: Some("a.example".into()), wants_proof };
            assert_eq!(hello(&said(alpn)), expected, "{alpn:?}");
        }
        let mut bytes = said(&["h2"]);
        for cut in 1..bytes.len() {
            assert_eq!(hello(&bytes[..cut]), Hello::Partial, "{cut}");
        }
        bytes[5] = 77;
        assert_eq!(hello(&bytes), Hello::Malformed);
    }

    proptest! {
        #[test]
        fn what_is_http_once_never_becomes_bytes(rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            for start in [&b"GET "[..], b"POST ", b"PRI * HTTP/2.0\r\n"] {
                let bytes = [start, &rest].concat();
                prop_assert!(matches!(spoken(&bytes), Spoken::Http1 | Spoken::Http2));
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = (spoken(&bytes), hello(&bytes));
        }
    }
}
