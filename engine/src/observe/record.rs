//! One exchange as a line of the access log; `carried` is the same for what is no exchange.
//!
//! Invariant: a record becomes exactly one line of printable ASCII, bounded in length, without credentials, whatever
//! its client sent. The line is written into a buffer that is used again and again; nothing is allocated once that
//! has grown. Header fields that carry credentials are not in a record at all.

mod carried;

use super::escape::{put_json, put_quoted};
use super::redact::put_uri;
use crate::date::{Moment, four_digits, two_digits};
use crate::sink::{Inline, Sink, put_decimal};

pub use carried::CarriedRecord;

/// What is known of an exchange when it is over. Texts that don't apply are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// When its first byte came, in microseconds since 1970.
    pub at_us: u64,
    /// Listener.
    pub listener: &'a str,
    /// Address policies go by.
    pub client: &'a [u8],
    /// Address of the last hop.
    pub peer: &'a [u8],
    /// As received.
    pub method: &'a [u8],
    /// As received; credentials in it are left out.
    pub target: &'a [u8],
    /// `HTTP/1.1`
    pub protocol: &'static str,
    /// As received; userinfo in it is left out.
    pub host: &'a [u8],
    /// Sent, or standing for why none was.
    pub status: u16,
    /// Why the exchange ended other than by the upstream's own answer.
    pub reason: &'static str,
    /// Route.
    pub route: &'a str,
    /// Service.
    pub service: &'a str,
    /// Address of the endpoint.
    pub endpoint: &'a [u8],
    /// Request id.
    pub request_id: &'a [u8],
    /// Of the request, its head included.
    pub bytes_in: u64,
    /// Of the response, its head included.
    pub bytes_out: u64,
    /// Of the response's body alone.
    pub body_out: u64,
    /// First byte of the request to the last of the response.
    pub duration_us: u64,
    /// Request sent to response head read.
    pub upstream_head_us: Option<u64>,
    /// Tries beyond the first.
    pub retries: u32,
    /// Referer; credentials in it are left out.
    pub referer: &'a [u8],
    /// User-Agent.
    pub user_agent: &'a [u8],
    /// How a call of gRPC ended.
    pub grpc_status: Option<u8>,
    /// The limit that refused, or would have.
    pub limit: &'a str,
    /// The subject of the client's verified certificate; its fingerprint where it has none.
    pub client_cert: &'a [u8],
}

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object.
    Json,
    /// Common log format with referer and user agent ("combined"), then reason, request id and milliseconds.
    Common,
}

/// Writes lines of one form, with the time's text kept for a second.
#[derive(Clone, Debug)]
pub struct LineWriter {
    format: LineFormat,
    second: u64,
    /// `2026-01-31T12:00:00` or `31/Jan/2026:12:00:00 +0000`
    time: Inline<26>,
}

impl LineWriter {
    /// Of this form.
    pub fn new(format: LineFormat) -> Self {
        Self { format, second: 0, time: time_text(format, 0) }
    }

    /// Appends the line of `record` to `line`, its LF included.
    pub fn put(&mut self, line: &mut Vec<u8>, record: &Record<'_>) {
        self.look_at_time(record.at_us);
        match self.format {
            LineFormat::Json => put_json_line(line, self.time.as_bytes(), record),
            LineFormat::Common => put_common_line(line, self.time.as_bytes(), record),
        }
    }

    /// Appends the line of what was carried, its LF included.
    pub fn put_carried(&mut self, line: &mut Vec<u8>, record: &CarriedRecord<'_>) {
        self.look_at_time(record.at_us);
        match self.format {
            LineFormat::Json => carried::put_json(line, self.time.as_bytes(), record),
            LineFormat::Common => carried::put_common(line, self.time.as_bytes(), record),
        }
    }

    fn look_at_time(&mut self, at_us: u64) {
        let second = at_us / 1_000_000;
        if second != self.second {
            self.second = second;
            self.time = time_text(self.format, second);
        }
    }
}

/// Bytes of one text from a client that are logged; what is beyond becomes `...`.
pub const FIELD_BYTES_MAX: usize = 2048;

/// No line is longer: a dozen texts at up to six bytes for each of theirs, names and numbers.
pub const LINE_BYTES_MAX: usize = 12 * FIELD_BYTES_MAX * 6 + 1024;

fn time_text(format: LineFormat, second: u64) -> Inline<26> {
    let moment = Moment::from_unix(second);
    let mut text = Inline::new();
    let year = four_digits(moment.year);
    let day = two_digits(moment.day);
    match format {
        LineFormat::Json => {
            text.put(&year);
            text.put(b"-");
            text.put(&two_digits(moment.month));
            text.put(b"-");
            text.put(&day);
            text.put(b"T");
        }
        LineFormat::Common => {
            text.put(&day);
            text.put(b"/");
            text.put(moment.month_name());
            text.put(b"/");
            text.put(&year);
            text.put(b":");
        }
    }
    text.put(&two_digits(moment.hour));
    text.put(b":");
    text.put(&two_digits(moment.minute));
    text.put(b":");
    text.put(&two_digits(moment.second));
    if format == LineFormat::Common {
        text.put(b" +0000");
    }
    text
}

fn put_json_line(line: &mut Vec<u8>, time: &[u8], record: &Record<'_>) {
    put_json_time(line, time, record.at_us);
    put_text(line, b",\"listener\":\"", record.listener.as_bytes());
    put_text(line, b",\"client\":\"", record.client);
    put_text(line, b",\"peer\":\"", record.peer);
    put_text(line, b",\"method\":\"", record.method);
    put_redacted(line, b",\"target\":\"", record.target);
    put_text(line, b",\"protocol\":\"", record.protocol.as_bytes());
    put_redacted(line, b",\"host\":\"", record.host);
    put_number(line, b",\"status\":", u64::from(record.status));
    put_text(line, b",\"reason\":\"", record.reason.as_bytes());
    put_text(line, b",\"route\":\"", record.route.as_bytes());
    put_text(line, b",\"service\":\"", record.service.as_bytes());
    put_text(line, b",\"endpoint\":\"", record.endpoint);
    put_text(line, b",\"request_id\":\"", record.request_id);
    put_number(line, b",\"bytes_in\":", record.bytes_in);
    put_number(line, b",\"bytes_out\":", record.bytes_out);
    line.put(b",\"duration_ms\":");
    put_milliseconds(line, record.duration_us);
    if let Some(us) = record.upstream_head_us {
        line.put(b",\"upstream_head_ms\":");
        put_milliseconds(line, us);
    }
    put_number(line, b",\"retries\":", u64::from(record.retries));
    put_redacted(line, b",\"referer\":\"", record.referer);
    put_text(line, b",\"user_agent\":\"", record.user_agent);
    put_text(line, b",\"limit\":\"", record.limit.as_bytes());
    if let Some(code) = record.grpc_status {
        line.put(b",\"grpc_status\":");
        put_decimal(line, u64::from(code));
    }
    put_text(line, b",\"client_cert\":\"", record.client_cert);
    line.put(b"}\n");
}

/// `{"time":"2026-01-31T12:00:00.123456Z"`
fn put_json_time(line: &mut Vec<u8>, time: &[u8], at_us: u64) {
    line.put(b"{\"time\":\"");
    line.put(time);
    put_fraction(line, at_us % 1_000_000);
    line.put(b"Z\"");
}

/// `before` opens the quotes of a text that is left out if empty.
fn put_text(line: &mut Vec<u8>, before: &[u8], text: &[u8]) {
    if !text.is_empty() {
        line.put(before);
        let mut field = Field::new(line, LineFormat::Json);
        field.put(text);
        field.end();
        line.put(b"\"");
    }
}

fn put_redacted(line: &mut Vec<u8>, before: &[u8], uri: &[u8]) {
    if !uri.is_empty() {
        line.put(before);
        let mut field = Field::new(line, LineFormat::Json);
        put_uri(&mut field, uri);
        field.end();
        line.put(b"\"");
    }
}

fn put_number(line: &mut Vec<u8>, before: &[u8], number: u64) {
    line.put(before);
    put_decimal(line, number);
}

fn put_milliseconds(line: &mut Vec<u8>, us: u64) {
    put_decimal(line, us / 1000);
    let rest = (us % 1000) as u16;
    line.put(b".");
    line.put(&four_digits(rest)[1..]);
}

/// `.123456`
fn put_fraction(line: &mut Vec<u8>, us: u64) {
    line.put(b".");
    line.put(&four_digits((us / 100) as u16));
    line.put(&two_digits((us % 100) as u8));
}

fn put_common_line(line: &mut Vec<u8>, time: &[u8], record: &Record<'_>) {
    put_word(line, record.client);
    line.put(b" - - [");
    line.put(time);
    line.put(b"] \"");
    let mut request = Field::new(line, LineFormat::Common);
    if record.method.is_empty() {
        request.put(b"-");
    } else {
        request.put(record.method);
        request.put(b" ");
        put_uri(&mut request, record.target);
        request.end();
        line.put(b" ");
        line.put(record.protocol.as_bytes());
    }
    line.put(b"\" ");
    put_decimal(line, u64::from(record.status));
    line.put(b" ");
    put_decimal(line, record.body_out);
    line.put(b" \"");
    let mut referer = Field::new(line, LineFormat::Common);
    put_uri(&mut referer, if record.referer.is_empty() { b"-" } else { record.referer });
    referer.end();
    line.put(b"\" \"");
    let mut agent = Field::new(line, LineFormat::Common);
    agent.put(if record.user_agent.is_empty() { b"-" } else { record.user_agent });
    agent.end();
    line.put(b"\" ");
    put_word(line, record.reason.as_bytes());
    line.put(b" ");
    put_word(line, record.request_id);
    line.put(b" ");
    put_milliseconds(line, record.duration_us);
    line.put(b"\n");
}

/// A text between blanks: addresses, names and ids, none of which has one. `-` stands for none.
fn put_word(line: &mut Vec<u8>, word: &[u8]) {
    let mut field = Field::new(line, LineFormat::Common);
    field.put(if word.is_empty() { b"-" } else { word });
    field.end();
}

/// Escapes into a line, up to [`FIELD_BYTES_MAX`].
struct Field<'a> {
    line: &'a mut Vec<u8>,
    format: LineFormat,
    left: usize,
    cut: bool,
}

impl<'a> Field<'a> {
    fn new(line: &'a mut Vec<u8>, format: LineFormat) -> Self {
        Self { line, format, left: FIELD_BYTES_MAX, cut: false }
    }

    fn end(self) {
        if self.cut {
            self.line.put(b"...");
        }
    }
}

impl Sink for Field<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.cut |= taken < bytes.len();
        match self.format {
            LineFormat::Json => put_json(self.line, &bytes[..taken]),
            LineFormat::Common => put_quoted(self.line, &bytes[..taken]),
        }
    }
}

#[cfg(test)]
mod tests;
