//! HTTP/1.1 as bytes: heads, framing, chunked bodies, and writing heads. No I/O, no clock.
//!
//! On the line this is `read head`, `read response head` and every body in between. RFC 9110 and
//! RFC 9112 are taken strictly, because what two parsers read differently is how requests are smuggled. Either a message
//! is unambiguous or it is a [`Refusal`]. A second reader, `httparse`, is held beside this one in tests (`oracle.rs`).
//!
//! The invariant: a head that was parsed owns no bytes, only offsets ([`Span`]) into the buffer it arrived in, and its
//! lists are reused, so that parsing allocates nothing once they have grown to the largest head seen.
//!
//! ```text
//! request.rs, response.rs   the two heads          fields.rs, known.rs   header fields, names classified once
//! tokens.rs                 lines taken apart      oracle.rs             a second reader, in tests
//! framing.rs                how long a body is     connection.rs         what belongs to one hop only
//! authority.rs              Host and its like      arrival.rs            heads that arrive in pieces
//! diagnose.rs               why tokenising failed  refusal.rs            every refusal, its reason and status
//! chunked.rs, trailers.rs   bodies                 write.rs              heads going out
//! ```

mod arrival;
mod authority;
mod chunked;
mod connection;
mod diagnose;
mod fields;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod known;
#[cfg(test)]
mod oracle;
mod refusal;
mod request;
mod response;
mod tokens;
mod trailers;
#[cfg(test)]
mod wire_tests;
mod write;

pub use authority::{Authority, authority};
pub use chunked::{
    CHUNK_END, CHUNK_EXTENSION_BYTES_MAX, ChunkLimits, Decoder, LAST_CHUNK, LAST_CHUNK_HEAD, Step, chunk_head,
};
pub use fields::{FIELDS_MAX, Field, Fields, Span};
pub use known::{Known, KnownSet};
pub use refusal::Refusal;
pub use request::{METHOD_BYTES_MAX, Method, Request, RequestHead, TargetForm};
pub use response::{Response, ResponseFraming, ResponseHead};
pub use trailers::Trailers;
pub use write::{HeadWriter, Overflow};

/// Bounds on one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head, the empty line included.
    pub head_bytes_max: u32,
    /// Header fields, at most [`FIELDS_MAX`] whatever is said here.
    pub fields_max: u16,
    /// Bytes of the request target.
    pub target_bytes_max: u32,
    /// Names with `_` are ordinary; otherwise they are marked to be dropped ([`Field::dropped`]).
    pub underscores: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { head_bytes_max: 32 << 10, fields_max: 100, target_bytes_max: 8 << 10, underscores: false }
    }
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing wrong so far; more bytes are needed. Call again with the same bytes and more after them.
    Partial,
    /// The head is these many bytes; what follows is the body or the next message.
    Complete(usize),
}

/// The version that a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2; the reader of HTTP/1.1 never finds it.
    Http2,
}

/// How a request's body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyFraming {
    /// There is none: neither Content-Length nor Transfer-Encoding.
    #[default]
    None,
    /// Exactly these many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// All that comes until its stream ends (HTTP/2, without Content-Length).
    UntilEnd,
}
