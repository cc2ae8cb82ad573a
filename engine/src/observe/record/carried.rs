//! A connection's bytes, or a session's datagrams, as a line of the access log. What is said of lines in general holds.

use super::{put_json_time, put_milliseconds, put_number, put_text, put_word};
use crate::sink::{Sink, put_decimal};

/// What is known of it when it is over. Texts that don't apply are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct CarriedRecord<'a> {
    /// When it began, in microseconds since 1970.
    pub at_us: u64,
    /// Listener.
    pub listener: &'a str,
    /// Address policies go by.
    pub client: &'a [u8],
    /// Address of the last hop.
    pub peer: &'a [u8],
    /// `TCP` or `UDP`
    pub protocol: &'static str,
    /// The name the client's TLS asked for.
    pub server_name: &'a [u8],
    /// Why it ended, where neither side simply ended it.
    pub reason: &'static str,
    /// Service.
    pub service: &'a str,
    /// Address of the endpoint.
    pub endpoint: &'a [u8],
    /// From the client to the endpoint.
    pub bytes_in: u64,
    /// From the endpoint to the client.
    pub bytes_out: u64,
    /// All of it.
    pub duration_us: u64,
    /// The subject of the client's verified certificate; its fingerprint where it has none.
    pub client_cert: &'a [u8],
}

pub(super) fn put_json(line: &mut Vec<u8>, time: &[u8], record: &CarriedRecord<'_>) {
    put_json_time(line, time, record.at_us);
    put_text(line, b",\"listener\":\"", record.listener.as_bytes());
    put_text(line, b",\"client\":\"", record.client);
    put_text(line, b",\"peer\":\"", record.peer);
    put_text(line, b",\"protocol\":\"", record.protocol.as_bytes());
    put_text(line, b",\"server_name\":\"", record.server_name);
    put_text(line, b",\"reason\":\"", record.reason.as_bytes());
    put_text(line, b",\"service\":\"", record.service.as_bytes());
    put_text(line, b",\"endpoint\":\"", record.endpoint);
    put_number(line, b",\"bytes_in\":", record.bytes_in);
    put_number(line, b",\"bytes_out\":", record.bytes_out);
    line.put(b",\"duration_ms\":");
    put_milliseconds(line, record.duration_us);
    put_text(line, b",\"client_cert\":\"", record.client_cert);
    line.put(b"}\n");
}

/// The columns of an exchange, so that what parses one parses the other: in place of the request protocol, name and
/// endpoint, a status of 0, no referer, no user agent, no request id.
pub(super) fn put_common(line: &mut Vec<u8>, time: &[u8], record: &CarriedRecord<'_>) {
    put_word(line, record.client);
    line.put(b" - - [");
    line.put(time);
    line.put(b"] \"");
    put_word(line, record.protocol.as_bytes());
    line.put(b" ");
    put_word(line, record.server_name);
    line.put(b" ");
    put_word(line, record.endpoint);
    line.put(b"\" 0 ");
    put_decimal(line, record.bytes_out);
    line.put(b" \"-\" \"-\" ");
    put_word(line, record.reason.as_bytes());
    line.put(b" - ");
    put_milliseconds(line, record.duration_us);
    line.put(b"\n");
}
