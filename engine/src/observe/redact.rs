//! What a log line leaves out: credentials within URIs.
//!
//! Two places hold them: userinfo before a host, and parameters whose name says that their value is a secret. Names
//! are compared as the upstream will read them, after percent-decoding, by their letters only and in any case, so
//! `%74oken`, `X-Api-Key`, `client_secret` and `token[]` are all found. Where a value's end is in doubt the farther
//! one counts: rather too much is left out than a secret's second half left in.

use crate::sink::Sink;

/// Writes a request target, or any URI or reference, without its credentials.
pub fn put_uri(sink: &mut impl Sink, uri: &[u8]) {
    let rest = put_authority(sink, uri);
    put_parameters(sink, rest);
}

/// Stands for what was left out.
pub const REDACTED: &[u8] = b"[redacted]";

/// Parameter names of secrets, as [`letters`] leaves them.
const SECRET_NAMES: [&[u8]; 11] = [
    b"auth",
    b"authorization",
    b"code",
    b"jwt",
    b"key",
    b"otp",
    b"pass",
    b"passphrase",
    b"pwd",
    b"session",
    b"sig",
];

/// And what such names end in.
const SECRET_ENDINGS: [&[u8]; 11] = [
    b"accesskey",
    b"apikey",
    b"assertion",
    b"credential",
    b"password",
    b"passwd",
    b"privatekey",
    b"secret",
    b"sessionid",
    b"signature",
    b"token",
];

/// Letters of a name that are looked at. A longer name is taken for a secret's.
const NAME_LETTERS_MAX: usize = 64;

/// Writes what comes before the path, without userinfo, and gives back the rest.
fn put_authority<'a>(sink: &mut impl Sink, uri: &'a [u8]) -> &'a [u8] {
    let Some(start) = authority_start(uri) else { return uri };
    let end = find(&uri[start..], b"/?#").map_or(uri.len(), |at| start + at);
    let Some(at) = memchr::memrchr(b'@', &uri[start..end]) else { return uri };
    sink.put(&uri[..start]);
    sink.put(REDACTED);
    sink.put(&uri[start + at..end]);
    &uri[end..]
}

/// Where an authority would begin: after `//`, or at once where there is neither path nor scheme (authority-form).
fn authority_start(uri: &[u8]) -> Option<usize> {
    match uri {
        [b'/', b'/', ..] => Some(2),
        [b'/', ..] => None,
        _ => {
            let before_path = &uri[..find(uri, b"/?#").unwrap_or(uri.len())];
            let scheme = before_path.ends_with(b":") && uri[before_path.len()..].starts_with(b"//");
            Some(if scheme { before_path.len() + 2 } else { 0 })
        }
    }
}

/// Writes path and query, with the values of secret parameters left out. Parameters stand after any of `? & ; #`.
fn put_parameters(sink: &mut impl Sink, mut rest: &[u8]) {
    let mut in_path = true;
    let mut in_parameter = false;
    while !rest.is_empty() {
        let stops: &[u8] = if in_path { b"?&;#/" } else { b"?&;#" };
        let end = find(rest, stops).unwrap_or(rest.len());
        let mut next = end;
        match memchr::memchr(b'=', &rest[..end]) {
            Some(equals) if in_parameter && is_secret(&rest[..equals]) => {
                sink.put(&rest[..=equals]);
                sink.put(REDACTED);
                // Most origins split at `&` only: whatever else is there may belong to the value.
                next = memchr::memchr(b'&', rest).unwrap_or(rest.len());
            }
            _ => sink.put(&rest[..end]),
        }
        let Some((stop, after)) = rest[next..].split_first() else { return };
        sink.put(&[*stop]);
        in_path &= !matches!(stop, b'?' | b'#');
        in_parameter = *stop != b'/';
        rest = after;
    }
}

fn find(bytes: &[u8], any_of: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| any_of.contains(byte))
}

fn is_secret(name: &[u8]) -> bool {
    let mut place = [0; NAME_LETTERS_MAX];
    letters(name, &mut place).is_none_or(|letters| {
        SECRET_NAMES.contains(&letters) || SECRET_ENDINGS.iter().any(|ending| letters.ends_with(ending))
    })
}

/// The ASCII letters of `name` after percent-decoding, in lower case; `None` if there are too many.
fn letters<'a>(mut name: &[u8], place: &'a mut [u8; NAME_LETTERS_MAX]) -> Option<&'a [u8]> {
    let mut count = 0;
    while let Some((&first, after)) = name.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (first, &name[1..]),
            },
            _ => (first, after),
        };
        name = after;
        if byte.is_ascii_alphabetic() {
            *place.get_mut(count)? = byte.to_ascii_lowercase();
            count += 1;
        }
    }
    Some(&place[..count])
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redacted(uri: &str) -> String {
        let mut out = Vec::new();
        put_uri(&mut out, uri.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn userinfo_is_left_out_in_every_form() {
        for (uri, expected) in [
            ("http://user:pw@host/a?b=c", "http://[redacted]@host/a?b=c"),
            ("https://user@host", "https://[redacted]@host"),
            ("http://a@b:pw@host:80/", "http://[redacted]@host:80/"),
            ("//user:pw@host/x", "//[redacted]@host/x"),
            ("user:pw@host:443", "[redacted]@host:443"),
            ("user:pw@host?x=1", "[redacted]@host?x=1"),
        ] {
            assert_eq!(redacted(uri), expected);
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        for uri in [
            "/",
            "*",
            "",
            "host:443",
            "/users/@me?page=2&sort=keyword",
            "https://example.com/@user/post",
            "/a?monkey=1&zipcode=2&design=x&unsigned=1&keys",
            "/a;v=1/b;w=2?c=d;e=f#g=h",
            "/token=1/key=2",
            "/a?token",
            "/a?=x&&=",
        ] {
            assert_eq!(redacted(uri), uri);
        }
    }

    #[test]
    fn values_of_secret_parameters_are_left_out() {
        for (uri, expected) in [
            ("/a?token=abc", "/a?token=[redacted]"),
            ("/a?x=1&access_token=abc&y=2", "/a?x=1&access_token=[redacted]&y=2"),
            ("/a?API-Key=abc&apikey=d", "/a?API-Key=[redacted]&apikey=[redacted]"),
            ("/a?%74oken=abc", "/a?%74oken=[redacted]"),
            ("/a?user[password]=a&token[0]=b", "/a?user[password]=[redacted]&token[0]=[redacted]"),
            ("/a?token=a;b?c#d=e&f=g", "/a?token=[redacted]&f=g"),
            ("/a?x=1;token=abc", "/a?x=1;token=[redacted]"),
            ("/cb?next=/b?code=abc&z=1", "/cb?next=/b?code=[redacted]&z=1"),
            ("/cb#access_token=abc", "/cb#access_token=[redacted]"),
            ("/a;token=ab/cd/e?x=1&y=2", "/a;token=[redacted]&y=2"),
            ("/a?X-Amz-Signature=abc&X-Amz-Date=1", "/a?X-Amz-Signature=[redacted]&X-Amz-Date=1"),
            ("/a?token=", "/a?token=[redacted]"),
            ("/a?a=1&amp;token=abc", "/a?a=1&amp;token=[redacted]"),
        ] {
            assert_eq!(redacted(uri), expected);
        }
    }

    #[test]
    fn a_name_too_long_to_judge_is_judged_a_secret() {
        let uri = format!("/a?{}=abc", "x".repeat(NAME_LETTERS_MAX + 1));
        assert!(redacted(&uri).ends_with("=[redacted]"));
    }

    /// Any spelling of a name that a secret goes by.
    fn spelled(name: &str) -> impl Strategy<Value = String> + use<> {
        let letters: Vec<char> = name.chars().collect();
        proptest::collection::vec(0..4u8, letters.len()).prop_map(move |ways| {
            let spell = |(letter, way): (&char, &u8)| match way {
                0 => letter.to_string(),
                1 => letter.to_ascii_uppercase().to_string(),
                2 => format!("%{:02x}", *letter as u32),
                _ => format!("{letter}_"),
            };
            letters.iter().zip(&ways).map(spell).collect()
        })
    }

    fn secret_name() -> impl Strategy<Value = String> {
        let names = [
            "token",
            "access_token",
            "api_key",
            "apikey",
            "password",
            "secret",
            "key",
            "sig",
            "signature",
            "code",
        ];
        proptest::sample::select(names.to_vec()).prop_flat_map(spelled)
    }

    proptest! {
        #[test]
        fn no_secret_passes(
            before in "(http://[a-z]{1,4})?/[a-z/;=.]{0,12}[?&;#]([a-z]{0,4}(=[a-z/?;]{0,4})?&){0,3}",
            name in secret_name(),
            value in "[A-Z0-9/+=?;.#-]{0,6}SESAME[A-Z0-9/+=?;.#-]{0,6}",
            after in "(&[a-z]{0,4}=[a-z]{0,4}){0,2}",
        ) {
            let text = redacted(&format!("{before}{name}={value}{after}"));
            prop_assert!(!text.contains("SESAME"), "{}", text);
        }

        #[test]
        fn no_password_before_a_host_passes(
            scheme in "([a-z]{1,5}:)?//", user in "[a-z:@]{0,6}", rest in "([/?#][a-z@/]{0,8})?",
        ) {
            let text = redacted(&format!("{scheme}{user}SESAME@host{rest}"));
            prop_assert!(!text.contains("SESAME"), "{}", text);
        }

        #[test]
        fn any_bytes_are_written_or_left_out(uri in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Vec::new();
            put_uri(&mut out, &uri);
            prop_assert!(out.len() <= uri.len() + REDACTED.len() * (uri.len() + 1));
        }
    }
}
