//! Where a request came from, as the upstream is told: X-Forwarded-For, -Proto and -Host, Forwarded (RFC 7239), Via.
//!
//! These fields are made anew for every request. What the peer said in them counts only if the peer is a trusted hop:
//! then ours is added to it; otherwise it is gone. So the fields an upstream sees hold nothing a stranger wrote.
//! The texts about the peer are made once for a connection ([`HopLines`]), so that the common request costs a few
//! copies. On the line: `claim` while the head is read, [`client_address`] before policies, [`put_fields`] in `send`.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::sink::{Inline, Sink};

/// How the request came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Version of the request as received, for `Via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// The peers whose word counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedHops(Box<[IpNet]>);

impl TrustedHops {
    /// Trusts the addresses within `nets`.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        Self(nets.into_iter().collect())
    }

    /// Whether `ip` is one of them. IPv4 addresses mapped into IPv6 count as IPv4.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

/// A field by which a peer says where the request came from. None of these is forwarded as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// X-Forwarded-For
    For,
    /// X-Forwarded-Proto
    Proto,
    /// X-Forwarded-Host
    Host,
    /// Forwarded
    Forwarded,
    /// X-Request-Id
    RequestId,
    /// X-Ringway-Attempt: which try of the request this is, over all hops that retry.
    Attempt,
    /// The same of a call of gRPC, less one: grpc-previous-rpc-attempts.
    PreviousAttempts,
    /// X-Forwarded-Port, -Server, -Prefix, -Scheme and -Ssl, X-Real-IP: never made here; from a trusted hop they pass as any other
    /// field, from others they are dropped.
    Other,
}

/// Which claim the field `name` makes, in any case. Told by length and last byte before anything is compared.
#[inline]
pub fn claim(name: &[u8]) -> Option<Claim> {
    let last = name.last()? | 0x20;
    let (whole, claim): (&[u8], Claim) = match (name.len(), last) {
        (15, b'r') => (b"x-forwarded-for", Claim::For),
        (17, b'o') => (b"x-forwarded-proto", Claim::Proto),
        (16, b't') if name[12] | 0x20 == b'h' => (b"x-forwarded-host", Claim::Host),
        (9, b'd') => (b"forwarded", Claim::Forwarded),
        (12, b'd') => (b"x-request-id", Claim::RequestId),
        (17, b't') => (b"x-ringway-attempt", Claim::Attempt),
        (26, b's') => (b"grpc-previous-rpc-attempts", Claim::PreviousAttempts),
        (16, b't') => (b"x-forwarded-port", Claim::Other),
        (18, b'r') => (b"x-forwarded-server", Claim::Other),
        (18, b'x') => (b"x-forwarded-prefix", Claim::Other),
        (18, b'e') => (b"x-forwarded-scheme", Claim::Other),
        (15, b'l') => (b"x-forwarded-ssl", Claim::Other),
        (9, b'p') => (b"x-real-ip", Claim::Other),
        _ => return None,
    };
    name.eq_ignore_ascii_case(whole).then_some(claim)
}

/// What a trusted hop claimed. Left empty for any other peer.
#[derive(Clone, Debug, Default)]
pub struct Claims<'a> {
    forwarded_for: Lines<'a>,
    forwarded: Lines<'a>,
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    attempt: u32,
}

/// Which try of a request this is, told to the next hop from the second on and believed only from trusted ones.
pub const ATTEMPT: &[u8] = b"X-Ringway-Attempt";
/// How many tries of a call there were before (gRFC A6).
pub const PREVIOUS_ATTEMPTS: &[u8] = b"grpc-previous-rpc-attempts";
/// More tries are not told apart.
const ATTEMPTS_MAX: u32 = 1000;

/// What is no small number says nothing.
fn number(value: &[u8]) -> u32 {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).map_or(0, |number: u32| number.min(ATTEMPTS_MAX))
}

/// Values of a field that may be repeated, in order. Their number is bounded by the head's.
type Lines<'a> = SmallVec<[&'a [u8]; 2]>;

impl<'a> Claims<'a> {
    /// Takes note of one field. Of X-Forwarded-Proto, -Host and X-Request-Id the first counts.
    pub fn note(&mut self, claim: Claim, value: &'a [u8]) {
        match claim {
            Claim::For => self.forwarded_for.push(value),
            Claim::Forwarded => self.forwarded.push(value),
            Claim::Proto => _ = self.proto.get_or_insert(value),
            Claim::Host => _ = self.host.get_or_insert(value),
            Claim::RequestId => _ = self.request_id.get_or_insert(value),
            Claim::Attempt => self.attempt = self.attempt.max(number(value)),
            Claim::PreviousAttempts => self.attempt = self.attempt.max(number(value) + 1),
            Claim::Other => {}
        }
    }

    /// Which try this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.max(1)
    }

    /// The request id, where it is one that may be kept.
    pub fn request_id(&self) -> Option<&'a [u8]> {
        self.request_id.filter(|id| crate::request_id::may_keep(id))
    }

    /// The scheme the client used, where the hop said so.
    pub fn scheme(&self) -> Option<Scheme> {
        let proto = self.proto?;
        [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|scheme| proto.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }

    /// The host the client asked for, where the hop said one that can be a host.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.host.filter(|host| is_host(host))
    }
}

/// The address policies and logs go by: the nearest one that is not a trusted hop.
///
/// Walks X-Forwarded-For from its end as long as whoever wrote an entry is trusted, [`HOPS_MAX`] entries at most. An
/// entry that is no address ends the walk at the hop that wrote it.
pub fn client_address(peer: IpAddr, claims: &Claims<'_>, trusted: &TrustedHops) -> IpAddr {
    let mut client = peer.to_canonical();
    for entry in entries(&claims.forwarded_for).rev().take(HOPS_MAX) {
        if !trusted.trusts(client) {
            break;
        }
        let Some(ip) = entry_address(entry) else { break };
        client = ip;
    }
    client
}

/// Text of a peer's address, made once for a connection.
#[derive(Clone, Copy, Debug)]
pub struct PeerText {
    text: Inline<IP_TEXT_BYTES_MAX>,
    kind: PeerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerKind {
    V4,
    V6,
    Unknown,
}

impl PeerText {
    /// The text of `ip`; `unknown` for a peer without an address (a Unix socket).
    pub fn new(ip: Option<IpAddr>) -> Self {
        let mut text = Inline::new();
        let kind = match ip.map(|ip| ip.to_canonical()) {
            Some(ip) => {
                put_ip(&mut text, ip);
                if ip.is_ipv4() { PeerKind::V4 } else { PeerKind::V6 }
            }
            None => {
                text.put(b"unknown");
                PeerKind::Unknown
            }
        };
        Self { text, kind }
    }

    /// `192.0.2.1`, `2001:db8::1` or `unknown`
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// What every request of one connection says about its last hop, made once.
#[derive(Clone, Copy, Debug)]
pub struct HopLines {
    /// X-Forwarded-Proto and X-Forwarded-For as whole lines, then Forwarded up to its host.
    text: Inline<HOP_LINES_BYTES_MAX>,
    scheme: Scheme,
    /// Where in `text` the value of X-Forwarded-For is.
    address: (u8, u8),
    /// Where in `text` the element of Forwarded begins.
    element: u8,
}

impl HopLines {
    /// The lines for requests that come from `peer` over `scheme`.
    pub fn new(peer: &PeerText, scheme: Scheme) -> Self {
        let mut text = Inline::new();
        let at = |text: &Inline<HOP_LINES_BYTES_MAX>| text.as_bytes().len() as u8;
        text.put(b"X-Forwarded-Proto: ");
        text.put(scheme.as_str().as_bytes());
        text.put(b"\r\nX-Forwarded-For: ");
        let address_start = at(&text);
        text.put(peer.as_bytes());
        let address = (address_start, at(&text));
        text.put(b"\r\nForwarded: ");
        let element = at(&text);
        put_element_for(&mut text, peer.as_bytes(), peer.kind);
        text.put(b";proto=");
        text.put(scheme.as_str().as_bytes());
        Self { text, scheme, address, element }
    }

    fn address(&self) -> &[u8] {
        &self.text.as_bytes()[usize::from(self.address.0)..usize::from(self.address.1)]
    }

    fn element(&self) -> &[u8] {
        &self.text.as_bytes()[usize::from(self.element)..]
    }
}

/// Writes the fields for the upstream, each a whole line. `host` is what the client asked for (Host, or what stands
/// for it), already free of control characters, as every field value is. `claims` is given where the peer is a
/// trusted hop.
#[inline]
pub fn put_fields(
    sink: &mut impl Sink,
    hop: &HopLines,
    host: &[u8],
    received: Received,
    claims: Option<&Claims<'_>>,
) {
    if let Some(claims) = claims {
        return put_after_claims(sink, hop, host, received, claims);
    }
    sink.put(hop.text.as_bytes());
    if can_be_quoted(host) {
        sink.put(b";host=\"");
        sink.put(host);
        sink.put(b"\"\r\nX-Forwarded-Host: ");
        sink.put(host);
    }
    sink.put(match received {
        Received::Http11 => b"\r\nVia: 1.1 ringway\r\n",
        Received::Http10 => b"\r\nVia: 1.0 ringway\r\n",
        Received::Http2 => b"\r\nVia: 2.0 ringway\r\n",
    });
}

/// The line to add after a message's own Via fields, which pass as they are (RFC 9110 §7.6.3: the order of lines is
/// the order of hops). [`put_fields`] writes it for requests.
pub fn via_line(received: Received) -> &'static [u8] {
    match received {
        Received::Http11 => b"Via: 1.1 ringway\r\n",
        Received::Http10 => b"Via: 1.0 ringway\r\n",
        Received::Http2 => b"Via: 2.0 ringway\r\n",
    }
}

/// How often a request has been through Ringway, by one Via value. Beyond [`PASSES_MAX`] over all values it goes in
/// a loop.
pub fn passes(via: &[u8]) -> usize {
    via.split(|&b| b == b',')
        .filter(|hop| {
            let mut words = hop.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
            words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(b"ringway"))
        })
        .count()
}

/// Entries of X-Forwarded-For looked at for the client's address.
pub const HOPS_MAX: usize = 32;

/// Times a request may pass through Ringway: gateway, sidecar and sidecar for each of a few services.
pub const PASSES_MAX: usize = 10;

/// Eight groups of four digits and seven colons.
const IP_TEXT_BYTES_MAX: usize = 39;

const HOP_LINES_BYTES_MAX: usize = "X-Forwarded-Proto: https\r\nX-Forwarded-For: \r\n".len()
    + "Forwarded: for=\"[]\";proto=https".len()
    + 2 * IP_TEXT_BYTES_MAX;

#[cold]
fn put_after_claims(
    sink: &mut impl Sink,
    hop: &HopLines,
    host: &[u8],
    received: Received,
    claims: &Claims<'_>,
) {
    let scheme = claims.scheme().unwrap_or(hop.scheme);
    sink.put(b"X-Forwarded-Proto: ");
    sink.put(scheme.as_str().as_bytes());
    sink.put(b"\r\nX-Forwarded-For: ");
    put_list(sink, &claims.forwarded_for);
    sink.put(hop.address());
    sink.put(b"\r\nForwarded: ");
    if claims.forwarded.is_empty() {
        // A hop that speaks only X-Forwarded-For: say the same in both, whichever the upstream reads.
        for entry in entries(&claims.forwarded_for) {
            put_entry_as_element(sink, entry);
            sink.put(b", ");
        }
    } else {
        put_list(sink, &claims.forwarded);
    }
    sink.put(hop.element());
    if can_be_quoted(host) {
        sink.put(b";host=\"");
        sink.put(host);
        sink.put(b"\"");
    }
    let first_host = claims.host().unwrap_or(host);
    if can_be_quoted(first_host) {
        sink.put(b"\r\nX-Forwarded-Host: ");
        sink.put(first_host);
    }
    sink.put(b"\r\n");
    sink.put(via_line(received));
}

fn put_list(sink: &mut impl Sink, lines: &[&[u8]]) {
    for line in lines.iter().filter(|line| !line.trim_ascii().is_empty()) {
        sink.put(line.trim_ascii());
        sink.put(b", ");
    }
}

/// The members of a list field over all its lines, in order, without blanks around them. Empty members don't count
/// (RFC 9110 §5.6.1).
fn entries<'a>(lines: &[&'a [u8]]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    lines
        .iter()
        .flat_map(|line| line.split(|&b| b == b','))
        .map(|entry| entry.trim_ascii())
        .filter(|entry| !entry.is_empty())
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`
fn entry_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let ip = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            if !port.is_empty() {
                is_port(port.strip_prefix(':')?)?;
            }
            IpAddr::V6(ip.parse().ok()?)
        }
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => {
                is_port(port)?;
                IpAddr::V4(ip.parse().ok()?)
            }
            _ => text.parse().ok()?,
        },
    };
    Some(ip.to_canonical())
}

fn is_port(text: &str) -> Option<()> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    (digits && text.parse::<u16>().is_ok()).then_some(())
}

fn put_entry_as_element(sink: &mut impl Sink, entry: &[u8]) {
    let peer = PeerText::new(entry_address(entry));
    put_element_for(sink, peer.as_bytes(), peer.kind);
}

/// `for=192.0.2.1`, `for="[2001:db8::1]"` or `for=unknown` (RFC 7239 §6).
fn put_element_for(sink: &mut impl Sink, text: &[u8], kind: PeerKind) {
    let quotes: (&[u8], &[u8]) = match kind {
        PeerKind::V6 => (b"for=\"[", b"]\""),
        PeerKind::V4 | PeerKind::Unknown => (b"for=", b""),
    };
    sink.put(quotes.0);
    sink.put(text);
    sink.put(quotes.1);
}

/// Whether `host` may stand in a quoted string as it is. No valid host can't; a field that decides who is believed is
/// worth a second look.
#[inline]
fn can_be_quoted(host: &[u8]) -> bool {
    // Without an early end, so that it is done sixteen bytes at a time.
    let unfit = host.iter().fold(false, |unfit, b| unfit | (*b == b'"') | (*b == b'\\'));
    !host.is_empty() && !unfit
}

/// Whether a claimed `host` can be one: visible ASCII, a single one, nothing that would need quoting.
fn is_host(host: &[u8]) -> bool {
    can_be_quoted(host) && host.iter().all(|&b| b.is_ascii_graphic() && b != b',')
}

fn put_ip(sink: &mut impl Sink, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    sink.put(b".");
                }
                crate::sink::put_decimal(sink, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => put_ipv6(sink, ip.segments()),
    }
}

/// Lower case, no leading zeros, the longest run of two or more zero groups (the first of equals) as `::`
/// (RFC 5952 §4).
fn put_ipv6(sink: &mut impl Sink, groups: [u16; 8]) {
    let (gap, gap_len) = longest_zeros(&groups);
    let mut at = 0;
    while at < groups.len() {
        if gap_len >= 2 && at == gap {
            sink.put(b"::");
            at += gap_len;
            continue;
        }
        if at > 0 && !(gap_len >= 2 && at == gap + gap_len) {
            sink.put(b":");
        }
        let digits = [12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(groups[at] >> shift & 0xf)]);
        let zeros = digits[..3].iter().take_while(|&&digit| digit == b'0').count();
        sink.put(&digits[zeros..]);
        at += 1;
    }
}

/// Start and length of the longest run of zeros.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), 0);
    for (at, &group) in groups.iter().enumerate() {
        run = if group == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (at + 1 - run, run);
        }
    }
    best
}

#[cfg(test)]
mod tests;
