//! A response's head, as an upstream sent it: parsed and judged as strictly as a request's.
//!
//! A refusal here is the caller's 502, and the connection is never used again. Where the body ends depends on the
//! request's method (RFC 9112 §6.3), so parsing is given it. 101 and other interim responses are legal heads without a
//! body; what they mean is for the exchange to say.

use super::arrival::Arrival;
use super::fields::{Field, Fields, Span};
use super::{
    Known, KnownSet, Limits, Method, Progress, Refusal, Version, connection, diagnose, framing, tokens,
};

/// How a response's body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResponseFraming {
    /// There is none: HEAD, 1xx, 204, 304, 2xx to CONNECT.
    #[default]
    None,
    /// Exactly these many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// All that comes until the connection is closed.
    UntilClose,
}

/// A response's head without its bytes. Reused from response to response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// HTTP/1.0 or 1.1.
    pub version: Version,
    /// Where the body ends.
    pub framing: ResponseFraming,
    /// Content-Length as given, also where there is no body (HEAD, 304), to be passed on.
    pub content_length: Option<u64>,
    /// The connection may carry another message once the body has ended.
    pub keep_alive: bool,
    /// The protocols named, where Connection says `upgrade`; a list.
    pub upgrade: Option<Span>,
    /// Its header fields.
    pub fields: Fields,
    reason_span: Span,
    arrival: Arrival,
}

impl ResponseHead {
    /// Parses the head at the start of `bytes`, the answer to a request of this method. On [`Progress::Partial`], call
    /// again with the same bytes and more after them.
    ///
    /// # Errors
    /// The first rule broken. The connection cannot be trusted then.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8], request: Method, limits: &Limits) -> Result<Progress, Refusal> {
        let window = bytes.get(..limits.head_bytes_max as usize).unwrap_or(bytes);
        if !self.arrival.is_due(window) && bytes.len() == window.len() {
            return Ok(Progress::Partial);
        }
        if matches!(window, [b'\r' | b'\n', ..]) {
            return Err(Refusal::BadStatusLine);
        }
        match self.read(window, request, limits)? {
            Some(length) => Ok(Progress::Complete(length)),
            None => self.go_on(window, limits),
        }
    }

    /// Forgets a head that will not be completed; keeps the room.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.arrival = Arrival::default();
    }

    /// Reads and judges a head. `None`: it is not complete, or malformed.
    #[inline]
    fn read(&mut self, bytes: &[u8], request: Method, limits: &Limits) -> Result<Option<usize>, Refusal> {
        let Some(line) = tokens::status_line(bytes) else { return Ok(None) };
        let Some(length) = self.fields.read(bytes, line.end, limits)? else { return Ok(None) };
        self.arrival = Arrival::default();
        if !(100..600).contains(&line.status) {
            return Err(Refusal::BadStatus);
        }
        self.status = line.status;
        self.version = line.version;
        self.reason_span = line.reason;
        self.read_framing(bytes, request)?;
        let options = connection::read(bytes, &mut self.fields)?;
        self.keep_alive = options.persists(self.version) && self.framing != ResponseFraming::UntilClose;
        self.upgrade = match self.fields.known(Known::Upgrade) {
            Some(upgrade) if options.upgrade && !self.fields.repeated().has(Known::Upgrade) => {
                Some(upgrade.value())
            }
            _ => None,
        };
        Ok(Some(length))
    }

    /// What has come is not a complete, legal head: says why not, or waits for more.
    #[cold]
    #[inline(never)]
    fn go_on(&mut self, window: &[u8], limits: &Limits) -> Result<Progress, Refusal> {
        diagnose::response(window, limits)?;
        self.arrival.went_on(window, usize::MAX, limits)
    }

    #[inline]
    fn read_framing(&mut self, bytes: &[u8], request: Method) -> Result<(), Refusal> {
        self.content_length = None;
        let chunked = self.fields.present().has(Known::TransferEncoding);
        if self.fields.repeated().meets(FRAMING) {
            return Err(match self.fields.repeated().has(Known::ContentLength) {
                true => Refusal::RepeatedContentLength,
                false => Refusal::RepeatedTransferEncoding,
            });
        }
        if let Some(field) = self.fields.known(Known::ContentLength) {
            if chunked {
                return Err(Refusal::BothLengthAndChunked);
            }
            self.content_length = Some(framing::content_length(field.value().of(bytes))?);
        } else if let Some(field) = self.fields.known(Known::TransferEncoding) {
            if self.version == Version::Http10 {
                return Err(Refusal::TransferEncodingOnHttp10);
            }
            framing::transfer_encoding(field.value().of(bytes))?;
        }
        let bodiless_status = matches!(self.status, 100..200 | 204);
        if bodiless_status && (chunked || self.content_length.is_some_and(|length| length > 0)) {
            return Err(Refusal::FramingForbidden);
        }
        let tunnel = request == Method::Connect && matches!(self.status, 200..300);
        self.framing = if bodiless_status || self.status == 304 || request == Method::Head || tunnel {
            ResponseFraming::None
        } else if let Some(length) = self.content_length {
            ResponseFraming::Length(length)
        } else if chunked {
            ResponseFraming::Chunked
        } else {
            ResponseFraming::UntilClose
        };
        Ok(())
    }
}

const FRAMING: KnownSet = KnownSet::EMPTY.with(Known::ContentLength).with(Known::TransferEncoding);

/// A parsed head beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The buffer the head was parsed from.
    pub bytes: &'a [u8],
    /// The head.
    pub head: &'a ResponseHead,
}

impl<'a> Response<'a> {
    /// As sent; may be empty, may hold bytes beyond ASCII.
    #[inline]
    pub fn reason(&self) -> &'a [u8] {
        self.head.reason_span.of(self.bytes)
    }

    /// Name, value and field, of every field.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8], &'a Field)> + use<'a> {
        let bytes = self.bytes;
        self.head.fields.as_slice().iter().map(move |f| (f.name().of(bytes), f.value().of(bytes), f))
    }

    /// The value of a known field, the last one where there are several; costs no scan.
    #[inline]
    pub fn known(&self, known: Known) -> Option<&'a [u8]> {
        self.head.fields.known(known).map(|field| field.value().of(self.bytes))
    }

    /// The value of the first field of this name, case-insensitively; a scan.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.head.fields.named(self.bytes, name).map(|field| field.value().of(self.bytes))
    }
}
