//! Field names the engine acts on, told apart once when a head is parsed.
//!
//! A name is folded to lower case as two overlapping words and compared with constants of its own length, so an
//! ordinary browser header costs a dozen instructions to be found to be none of these. Folding sets bit 5, which for
//! token characters maps only letters onto letters and nothing but `-` onto `-`; so equality of words is equality of
//! names.

use super::connection::is_token;

/// A field name the engine knows, or [`Known::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub enum Known {
    #[default]
    Other,
    Host,
    Connection,
    KeepAlive,
    ProxyConnection,
    TransferEncoding,
    ContentLength,
    Te,
    Trailer,
    Upgrade,
    Http2Settings,
    Expect,
    MaxForwards,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    Forwarded,
    Via,
    XRequestId,
    Traceparent,
    Date,
    Server,
    Age,
    Location,
    RetryAfter,
    ProxyAuthenticate,
    ProxyAuthorization,
    Authorization,
    WwwAuthenticate,
    Cookie,
    SetCookie,
    ContentType,
    ContentEncoding,
    ContentRange,
    CacheControl,
    Range,
    UserAgent,
    Referer,
}

impl Known {
    /// How many there are.
    pub(crate) const COUNT: usize = Known::Referer as usize + 1;

    /// The field of this name, case-insensitively. `name` is a token.
    #[inline]
    pub fn of(name: &[u8]) -> Known {
        classify(name)
    }

    /// Fields that belong to one connection (RFC 9110 §7.6.1), proxy credentials (§11.7) and what goes with `h2c`.
    pub const HOP: KnownSet = KnownSet::EMPTY
        .with(Known::Connection)
        .with(Known::KeepAlive)
        .with(Known::ProxyConnection)
        .with(Known::TransferEncoding)
        .with(Known::Te)
        .with(Known::Upgrade)
        .with(Known::Http2Settings)
        .with(Known::ProxyAuthenticate)
        .with(Known::ProxyAuthorization);
}

/// A set of [`Known`] fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KnownSet(u64);

const _: () = assert!(Known::COUNT <= 64);

impl KnownSet {
    /// No field.
    pub const EMPTY: KnownSet = KnownSet(0);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, known: Known) -> KnownSet {
        KnownSet(self.0 | 1 << known as u8)
    }

    /// What is in either.
    #[must_use]
    pub(super) const fn and(self, other: KnownSet) -> KnownSet {
        KnownSet(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub(super) const fn common(self, other: KnownSet) -> KnownSet {
        KnownSet(self.0 & other.0)
    }

    /// Whether it is in the set.
    #[inline]
    pub const fn has(self, known: Known) -> bool {
        self.0 >> known as u8 & 1 != 0
    }

    /// Whether the two share a field.
    #[inline]
    pub const fn meets(self, other: KnownSet) -> bool {
        self.0 & other.0 != 0
    }
}

const FOLD: u64 = 0x2020_2020_2020_2020;

/// The folded words of a name of 4 bytes and more: all of it up to 16 bytes, both its ends beyond.
#[inline]
pub(super) const fn words(name: &[u8]) -> (u64, u64) {
    let (first, last) = raw_words(name);
    (first | FOLD, last | FOLD)
}

#[inline]
const fn raw_words(name: &[u8]) -> (u64, u64) {
    match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                let (first, last) = (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64);
                (first | last << 32, first | last << 32)
            }
            _ => (0, 0),
        },
    }
}

/// What is to be known of a field name as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub known: Known,
    /// It holds `_`. No known name does.
    pub underscore: bool,
}

/// The name before a colon, or `None` if it is not a token. Cheap for known names and for those of letters and `-`.
#[inline]
pub(super) fn read(name: &[u8]) -> Option<Name> {
    let known = classify(name);
    let raw = raw_words(name);
    if known != Known::Other && (no_control(raw.0, raw.1) || !(4..=16).contains(&name.len())) {
        return Some(Name { known, underscore: false });
    }
    let plain = match name.len() {
        0..4 => false,
        4..=16 => letters_or_dashes([raw.0, raw.1]),
        NAME_BYTES_BEYOND.. => return None,
        _ => {
            let (chunks, _) = name.as_chunks::<8>();
            let mut words = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
            words.all(|word| letters_or_dashes([word])) && letters_or_dashes([raw.1])
        }
    };
    if plain { Some(Name { known: Known::Other, underscore: false }) } else { read_odd(name) }
}

/// Names this long are refused: their length would not fit a field's record.
pub(super) const NAME_BYTES_BEYOND: usize = 1 << 16;

/// Byte by byte: short names, and names with digits or signs in them.
#[inline(never)]
fn read_odd(name: &[u8]) -> Option<Name> {
    let underscore = name.contains(&b'_');
    let token = !name.is_empty() && name.iter().all(|b| is_token(*b));
    token.then_some(Name { known: Known::Other, underscore })
}

/// No byte below 0x20. Of words that fold to a known name that makes them the name: CR alone would fold to `-`, and
/// 0x12 to `2`.
#[inline]
fn no_control(first: u64, last: u64) -> bool {
    (first | first >> 1) & (last | last >> 1) & FOLD == FOLD
}

/// All bytes are letters or `-`. No sum carries into the next byte: bit 7 is taken out first, and asked about last.
#[inline]
fn letters_or_dashes<const N: usize>(words: [u64; N]) -> bool {
    const ONE: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    words.iter().fold(HIGH, |good, word| {
        let low = word & !HIGH;
        let folded = low | FOLD;
        let letters = (folded + (0x80 - b'a' as u64) * ONE) & !(folded + (0x7f - b'z' as u64) * ONE);
        let others_than_dash = (low ^ (b'-' as u64 * ONE)) + 0x7f * ONE;
        good & (letters | !others_than_dash) & !word
    }) == HIGH
}

macro_rules! one_of {
    ($words:expr; $($name:literal => $known:ident),+) => {{
        let given = $words;
        $(
            const { assert!($name.len() <= 16) };
            if given == const { words($name) } {
                return Known::$known;
            }
        )+
        Known::Other
    }};
}

macro_rules! long_one_of {
    ($given:expr, $words:expr; $($name:literal => $known:ident),+) => {{
        $(
            if $words == const { words($name) } && $given.eq_ignore_ascii_case($name) {
                return Known::$known;
            }
        )+
        Known::Other
    }};
}

#[inline]
fn classify(name: &[u8]) -> Known {
    match name.len() {
        2 if name.eq_ignore_ascii_case(b"te") => Known::Te,
        3 if name.eq_ignore_ascii_case(b"via") => Known::Via,
        3 if name.eq_ignore_ascii_case(b"age") => Known::Age,
        4 => one_of!(words(name); b"host" => Host, b"date" => Date),
        5 => one_of!(words(name); b"range" => Range),
        6 => one_of!(words(name); b"cookie" => Cookie, b"server" => Server, b"expect" => Expect),
        7 => one_of!(words(name); b"referer" => Referer, b"upgrade" => Upgrade, b"trailer" => Trailer),
        8 => one_of!(words(name); b"location" => Location),
        9 => one_of!(words(name); b"forwarded" => Forwarded),
        10 => one_of!(words(name); b"connection" => Connection, b"user-agent" => UserAgent,
            b"set-cookie" => SetCookie, b"keep-alive" => KeepAlive),
        11 => one_of!(words(name); b"traceparent" => Traceparent, b"retry-after" => RetryAfter),
        12 => one_of!(words(name); b"content-type" => ContentType, b"x-request-id" => XRequestId,
            b"max-forwards" => MaxForwards),
        13 => one_of!(words(name); b"cache-control" => CacheControl, b"authorization" => Authorization,
            b"content-range" => ContentRange),
        14 => one_of!(words(name); b"content-length" => ContentLength, b"http2-settings" => Http2Settings),
        15 => one_of!(words(name); b"x-forwarded-for" => XForwardedFor),
        16 => {
            one_of!(words(name); b"x-forwarded-host" => XForwardedHost, b"content-encoding" => ContentEncoding,
            b"proxy-connection" => ProxyConnection, b"www-authenticate" => WwwAuthenticate)
        }
        17 => {
            let ends = words(name);
            long_one_of!(name, ends; b"transfer-encoding" => TransferEncoding, b"x-forwarded-proto" => XForwardedProto)
        }
        18 if name.eq_ignore_ascii_case(b"proxy-authenticate") => Known::ProxyAuthenticate,
        19 if name.eq_ignore_ascii_case(b"proxy-authorization") => Known::ProxyAuthorization,
        _ => Known::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Name, read};

    const ALL: &[(&str, Known)] = &[
        ("te", Known::Te),
        ("via", Known::Via),
        ("age", Known::Age),
        ("host", Known::Host),
        ("date", Known::Date),
        ("range", Known::Range),
        ("cookie", Known::Cookie),
        ("server", Known::Server),
        ("expect", Known::Expect),
        ("referer", Known::Referer),
        ("upgrade", Known::Upgrade),
        ("trailer", Known::Trailer),
        ("location", Known::Location),
        ("forwarded", Known::Forwarded),
        ("connection", Known::Connection),
        ("user-agent", Known::UserAgent),
        ("set-cookie", Known::SetCookie),
        ("keep-alive", Known::KeepAlive),
        ("traceparent", Known::Traceparent),
        ("retry-after", Known::RetryAfter),
        ("content-type", Known::ContentType),
        ("x-request-id", Known::XRequestId),
        ("max-forwards", Known::MaxForwards),
        ("cache-control", Known::CacheControl),
        ("authorization", Known::Authorization),
        ("content-range", Known::ContentRange),
        ("content-length", Known::ContentLength),
        ("http2-settings", Known::Http2Settings),
        ("x-forwarded-for", Known::XForwardedFor),
        ("x-forwarded-host", Known::XForwardedHost),
        ("content-encoding", Known::ContentEncoding),
        ("proxy-connection", Known::ProxyConnection),
        ("www-authenticate", Known::WwwAuthenticate),
        ("transfer-encoding", Known::TransferEncoding),
        ("x-forwarded-proto", Known::XForwardedProto),
        ("proxy-authenticate", Known::ProxyAuthenticate),
        ("proxy-authorization", Known::ProxyAuthorization),
    ];

    #[test]
    fn every_known_name_is_told_in_any_case() {
        assert_eq!(ALL.len() + 1, Known::COUNT);
        for (name, known) in ALL {
            assert_eq!(Known::of(name.as_bytes()), *known, "{name}");
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), *known, "{name}");
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another() {
        const TOKEN: &[u8] = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for (name, known) in ALL {
            for place in 0..name.len() {
                for byte in TOKEN {
                    let mut other = name.as_bytes().to_vec();
                    other[place] = *byte;
                    let same = other.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(Known::of(&other) == *known, same, "{}", String::from_utf8_lossy(&other));
                }
            }
        }
    }

    #[test]
    fn a_name_read_is_a_token_and_its_underscores_are_found() {
        let texts = ALL.iter().map(|(name, _)| name.as_bytes().to_vec());
        for clean in texts.chain((1..40).map(|length| vec![b'^'; length])).chain([b"if-none-match".to_vec()])
        {
            assert_eq!(read(&clean), Some(Name { known: Known::of(&clean), underscore: false }));
            for place in 0..clean.len() {
                for byte in 0..=255 {
                    let mut name = clean.clone();
                    name[place] = byte;
                    let token = byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
                    let expected = Name { known: Known::of(&name), underscore: byte == b'_' };
                    assert_eq!(read(&name), token.then_some(expected), "{}", name.escape_ascii());
                }
            }
        }
        assert_eq!(read(b""), None);
    }
}
