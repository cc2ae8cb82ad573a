//! A request's head: parsed, judged, and kept as offsets.
//!
//! [`RequestHead`] is what one connection reuses for all its requests; [`Request`] is the head beside its bytes, for
//! everybody who reads it. Once [`RequestHead::parse`] said [`Progress::Complete`], the request is legal: one authority
//! (HTTP/1.0 may lack it), one framing, no byte out of place.
//!
//! Order of judgement: the target's length, then syntax from the first byte to the last, then what fields mean. It is
//! the same however the head was cut into pieces.

use crate::path::{self, PathOptions, PathRefusal};

use super::arrival::Arrival;
use super::fields::{Field, Fields, Span};
use super::{
    Authority, BodyFraming, Known, KnownSet, Limits, Progress, Refusal, Version, authority, connection,
    diagnose, framing, tokens,
};

/// Longest method; a longer one is 501.
pub const METHOD_BYTES_MAX: usize = 64;

/// Methods with a meaning here; all others are forwarded as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each is the method of that name")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110 §9.1).
    #[inline]
    pub fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"PUT" => Method::Put,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }

    /// Sending it twice means the same as once (RFC 9110 §9.2.2).
    #[inline]
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch | Method::Connect | Method::Other)
    }
}

/// Forms of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, CONNECT only.
    Authority,
    /// `*`, OPTIONS only; also an absolute target of OPTIONS without path and query (RFC 9112 §3.2.4).
    Asterisk,
}

/// A request's head without its bytes. Reused from request to request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Which method.
    pub method: Method,
    /// The target's form.
    pub form: TargetForm,
    /// HTTP/1.0 or 1.1.
    pub version: Version,
    /// Where the body ends.
    pub framing: BodyFraming,
    /// The client wants to keep the connection (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body.
    pub expect_continue: bool,
    /// The client understands trailers (`TE: trailers`).
    pub accepts_trailers: bool,
    /// The protocols asked for, where Connection says `upgrade` (RFC 9110 §7.8); a list.
    pub upgrade: Option<Span>,
    /// Max-Forwards of OPTIONS and TRACE.
    pub max_forwards: Option<u64>,
    /// What the authority consists of; `None`: an HTTP/1.0 request without Host.
    pub authority: Option<Authority>,
    /// The path is canonical as it is, whatever the options; `false` says nothing.
    pub path_is_clean: bool,
    /// Its header fields.
    pub fields: Fields,
    method_span: Span,
    target_span: Span,
    authority_span: Span,
    path_span: Span,
    query_span: Option<Span>,
    arrival: Arrival,
}

impl RequestHead {
    /// Parses the head at the start of `bytes`. On [`Progress::Partial`], call again with the same bytes and more after
    /// them (they may have moved). One empty line before the request is skipped and counted in the head's length.
    ///
    /// # Errors
    /// The first rule broken, as early as it is certain. What follows in `bytes` cannot be trusted then.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Refusal> {
        let window = bytes.get(..limits.head_bytes_max as usize).unwrap_or(bytes);
        if !self.arrival.is_due(window) && bytes.len() == window.len() {
            return Ok(Progress::Partial);
        }
        let skipped = match window {
            [b'\r' | b'\n', ..] => match skip_empty_line(window)? {
                Some(skipped) => skipped,
                None => return Ok(Progress::Partial),
            },
            _ => 0,
        };
        match self.read(window, skipped, limits)? {
            Some(length) => Ok(Progress::Complete(length)),
            None => self.go_on(window, skipped, limits),
        }
    }

    /// Forgets a head that will not be completed; keeps the room.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.arrival = Arrival::default();
    }

    /// The head that was parsed came on a stream of HTTP/2, which says itself whether a body follows.
    ///
    /// # Errors
    /// A length was announced and no body follows.
    pub fn read_from_stream(&mut self, bodyless: bool) -> Result<(), Refusal> {
        self.version = Version::Http2;
        let tunnel = self.method == Method::Connect || self.upgrade.is_some();
        self.framing = match self.framing {
            BodyFraming::Length(bytes) if bodyless && bytes > 0 => return Err(Refusal::BadContentLength),
            framing if bodyless || tunnel => framing,
            BodyFraming::None => BodyFraming::UntilEnd,
            framing => framing,
        };
        self.expect_continue &= !bodyless;
        Ok(())
    }

    /// Reads and judges a head. `None`: it is not complete, or malformed.
    #[inline]
    fn read(&mut self, bytes: &[u8], from: usize, limits: &Limits) -> Result<Option<usize>, Refusal> {
        let Some(line) = tokens::request_line(bytes, from) else { return Ok(None) };
        if line.target.len > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        let Some(length) = self.fields.read(bytes, line.end, limits)? else { return Ok(None) };
        self.arrival = Arrival::default();
        self.version = line.version;
        self.method = Method::of(line.method.of(bytes));
        self.method_span = line.method;
        self.target_span = line.target;
        self.read_host(bytes)?;
        self.read_target(bytes, line.target.of(bytes))?;
        self.framing = framing::of_request(bytes, &self.fields, self.version)?;
        let options = connection::read(bytes, &mut self.fields)?;
        self.keep_alive = options.persists(self.version);
        self.expect_continue = false;
        self.accepts_trailers = false;
        self.upgrade = None;
        self.max_forwards = None;
        if self.fields.present().meets(SELDOM) {
            self.read_seldom(bytes, options)?;
        }
        Ok(Some(length))
    }

    /// What has come is not a complete, legal head: says why not, or waits for more.
    #[cold]
    #[inline(never)]
    fn go_on(&mut self, window: &[u8], skipped: usize, limits: &Limits) -> Result<Progress, Refusal> {
        diagnose::request(window, skipped, limits)?;
        let space_after = |from: usize| {
            let rest = window.get(from..).unwrap_or_default();
            rest.iter().position(|b| *b == b' ').map(|place| from + place)
        };
        let sooner = match space_after(skipped) {
            None => skipped + METHOD_BYTES_MAX + 1,
            Some(method_end) if space_after(method_end + 1).is_none() => {
                method_end + 1 + limits.target_bytes_max as usize + 1
            }
            Some(_) => usize::MAX,
        };
        self.arrival.went_on(window, sooner, limits)
    }

    /// Host (RFC 9112 §3.2): exactly one, well-formed; HTTP/1.0 may have none.
    #[inline]
    fn read_host(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(field) = self.fields.known(Known::Host) else {
            self.authority = None;
            self.authority_span = Span::default();
            return if self.version == Version::Http10 { Ok(()) } else { Err(Refusal::MissingHost) };
        };
        if self.fields.repeated().has(Known::Host) {
            return Err(Refusal::RepeatedHost);
        }
        self.authority_span = field.value();
        self.authority = authority(field.value().of(bytes));
        if self.authority.is_none() { Err(Refusal::BadHost) } else { Ok(()) }
    }

    #[inline]
    fn read_target(&mut self, bytes: &[u8], target: &[u8]) -> Result<(), Refusal> {
        if target.first() == Some(&b'/') && self.method != Method::Connect {
            self.form = TargetForm::Origin;
            return self.read_path_and_query(target, 0);
        }
        self.read_other_target(bytes, target)
    }

    /// `from`: where in the target path and query begin.
    #[inline]
    fn read_path_and_query(&mut self, target: &[u8], from: usize) -> Result<(), Refusal> {
        let start = self.target_span.start as usize + from;
        let rest = target.get(from..).unwrap_or_default();
        let walked = path::walk(rest);
        self.path_is_clean = walked.clean;
        let path_len = walked.query_at.unwrap_or(rest.len());
        self.path_span = Span::new(start, path_len);
        self.query_span = walked.query_at.map(|at| Span::new(start + at + 1, rest.len() - at - 1));
        // A clean path holds none.
        let unclear = if walked.clean { rest.get(path_len..).unwrap_or_default() } else { rest };
        if unclear.iter().fold(false, |found, byte| found | (*byte == b'#')) {
            return Err(Refusal::BadTarget);
        }
        Ok(())
    }

    #[cold]
    fn read_other_target(&mut self, bytes: &[u8], target: &[u8]) -> Result<(), Refusal> {
        self.path_is_clean = false;
        self.path_span = Span { len: 0, ..self.target_span };
        self.query_span = None;
        if self.method == Method::Connect {
            self.form = TargetForm::Authority;
            let found = authority(target).filter(|found| found.port.is_some()).ok_or(Refusal::BadTarget)?;
            let host_port = self.authority.and_then(|host| host.port).or(found.port);
            return self.settle_authority(bytes, self.target_span, found, host_port);
        }
        if target == b"*" && self.method == Method::Options {
            self.form = TargetForm::Asterisk;
            self.path_span = self.target_span;
            return Ok(());
        }
        self.form = TargetForm::Absolute;
        let (scheme_len, default_port) = match target {
            [scheme @ .., _] if has_prefix(scheme, b"http://") => (7, 80),
            [scheme @ .., _] if has_prefix(scheme, b"https://") => (8, 443),
            _ => return Err(Refusal::BadTarget),
        };
        let rest = target.get(scheme_len..).unwrap_or_default();
        let authority_len = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let text = rest.get(..authority_len).unwrap_or_default();
        let found = authority(text).ok_or(Refusal::BadTarget)?;
        let span = Span::new(self.target_span.start as usize + scheme_len, authority_len);
        self.settle_authority(bytes, span, found, Some(default_port))?;
        self.read_path_and_query(target, scheme_len + authority_len)?;
        if self.method == Method::Options && self.path_span.len == 0 && self.query_span.is_none() {
            self.form = TargetForm::Asterisk;
        }
        Ok(())
    }

    /// The target names an authority: it replaces Host's, which must say the same (RFC 9112 §3.2.2 is less strict).
    fn settle_authority(
        &mut self,
        bytes: &[u8],
        span: Span,
        found: Authority,
        default_port: Option<u16>,
    ) -> Result<(), Refusal> {
        if let Some(host) = self.authority
            && !found.same(span.of(bytes), &host, self.authority_span.of(bytes), default_port)
        {
            return Err(Refusal::AuthorityDiffers);
        }
        self.authority = Some(found);
        self.authority_span = span;
        Ok(())
    }

    fn read_seldom(&mut self, bytes: &[u8], options: connection::Options) -> Result<(), Refusal> {
        let repeated = self.fields.repeated();
        if let Some(expect) = self.fields.known(Known::Expect) {
            if repeated.has(Known::Expect) || !expect.value().of(bytes).eq_ignore_ascii_case(b"100-continue")
            {
                return Err(Refusal::ExpectationFailed);
            }
            self.expect_continue = self.version == Version::Http11 && self.framing != BodyFraming::None;
        }
        if let Some(upgrade) = self.fields.known(Known::Upgrade)
            && options.upgrade
            && self.version == Version::Http11
            && !repeated.has(Known::Upgrade)
        {
            self.upgrade = Some(upgrade.value());
        }
        if let Some(te) = self.fields.known(Known::Te) {
            let mut codings = te.value().of(bytes).split(|b| *b == b',').map(<[u8]>::trim_ascii);
            self.accepts_trailers = codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
        }
        if let Some(field) = self.fields.known(Known::MaxForwards)
            && matches!(self.method, Method::Options | Method::Trace)
        {
            let number =
                framing::decimal(field.value().of(bytes)).filter(|_| !repeated.has(Known::MaxForwards));
            self.max_forwards = Some(number.ok_or(Refusal::BadMaxForwards)?);
        }
        Ok(())
    }
}

/// Fields that ordinary requests do without.
const SELDOM: KnownSet =
    KnownSet::EMPTY.with(Known::Expect).with(Known::Upgrade).with(Known::Te).with(Known::MaxForwards);

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// One CRLF before a request is skipped (RFC 9112 §2.2). `None`: not there yet as a whole.
#[cold]
fn skip_empty_line(window: &[u8]) -> Result<Option<usize>, Refusal> {
    match window {
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Refusal::EmptyLines),
        [b'\r', b'\n', _, ..] => Ok(Some(2)),
        [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', ..] => Err(Refusal::BareCr),
        _ => Err(Refusal::BareLf),
    }
}

/// A parsed head beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The buffer the head was parsed from.
    pub bytes: &'a [u8],
    /// The head.
    pub head: &'a RequestHead,
}

impl<'a> Request<'a> {
    /// As sent.
    #[inline]
    pub fn method(&self) -> &'a [u8] {
        self.head.method_span.of(self.bytes)
    }

    /// As sent, in whatever form.
    #[inline]
    pub fn target(&self) -> &'a [u8] {
        self.head.target_span.of(self.bytes)
    }

    /// As sent, not canonical; `/` where an absolute target has none, `*` of the asterisk form, empty for CONNECT.
    #[inline]
    pub fn path(&self) -> &'a [u8] {
        match (self.head.path_span.of(self.bytes), self.head.form) {
            ([], TargetForm::Absolute) => b"/",
            ([], TargetForm::Asterisk) => b"*",
            (path, _) => path,
        }
    }

    /// The canonical path, in the bytes themselves or in `out`. For targets with a path: the origin and absolute forms.
    ///
    /// # Errors
    /// As [`path::canonical`].
    #[inline]
    pub fn canonical_path<'b>(
        &self,
        options: PathOptions,
        out: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], PathRefusal>
    where
        'a: 'b,
    {
        if self.head.path_is_clean { Ok(self.path()) } else { path::canonical_of(self.path(), options, out) }
    }

    /// Without `?`; `None` where there is no `?`.
    #[inline]
    pub fn query(&self) -> Option<&'a [u8]> {
        self.head.query_span.map(|span| span.of(self.bytes))
    }

    /// `host[:port]` as sent, from an absolute target or CONNECT's, else from Host; empty if `head.authority` is `None`.
    #[inline]
    pub fn authority(&self) -> &'a [u8] {
        self.head.authority_span.of(self.bytes)
    }

    /// The authority without its port.
    #[inline]
    pub fn host(&self) -> &'a [u8] {
        let host_len = self.head.authority.map_or(0, |authority| authority.host_len);
        Span { len: host_len, ..self.head.authority_span }.of(self.bytes)
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

    /// The protocols an upgrade asks for, in order; none unless Connection says `upgrade`.
    pub fn upgrades(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let list = self.head.upgrade.map_or(&b""[..], |span| span.of(self.bytes));
        list.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|protocol| !protocol.is_empty())
    }
}
