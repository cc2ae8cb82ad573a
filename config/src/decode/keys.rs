//! Keys of requests: `client_ip`, `header:x-user`, or a list of such.

use crate::diagnostic::Place;
use crate::model::KeySource;
use crate::tree::{Node, Value};
use crate::units::{Problem, integer, quoted};

use super::fields::{Fields, text_of};
use super::near::nearest;
use super::{Sink, headers};

/// Parts of one key.
const PARTS_MAX: usize = 8;
/// Of a name within a part.
const NAME_BYTES_MAX: usize = 256;
const FORM: &str = "write one of `client_ip`, `client_ip/24/56`, `header:NAME`, `cookie:NAME`, `query:NAME`, `path`, \
                    `path_template`, `method`, `host`, `route`, or a list of such";
/// Words that need nothing after them.
const WORDS: [&str; 6] = ["client_ip", "path", "path_template", "method", "host", "route"];
const NAMED: [&str; 3] = ["header", "cookie", "query"];
/// What comes with authentication.
const LATER: [&str; 2] = ["consumer", "claim"];

/// The key that a field tells; empty where it is absent, or wrong (which was reported).
pub(super) fn keys(fields: &Fields<'_>, name: &str, sink: &mut Sink) -> Vec<KeySource> {
    let Some(node) = fields.node(name) else { return Vec::new() };
    let items: &[Node] = match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() || items.len() > PARTS_MAX {
        let message = format!("a key has 1 to {PARTS_MAX} parts, here {}", items.len());
        sink.problem(node, Problem::new("out-of-range", message));
        return Vec::new();
    }
    let mut keys: Vec<(KeySource, Place)> = Vec::with_capacity(items.len());
    for item in items {
        let Some(text) = text_of(item, "what requests are told apart by", sink) else { continue };
        match key(text) {
            Ok(key) if keys.iter().any(|(known, _)| *known == key) => {
                sink.problem(item, Problem::new("duplicate-key", format!("{} is there twice", quoted(text))));
            }
            Ok(key) => keys.push((key, item.place)),
            Err(problem) => sink.problem(item, problem),
        }
    }
    keys.into_iter().map(|(key, _)| key).collect()
}

/// One part.
pub(super) fn key(text: &str) -> Result<KeySource, Problem> {
    let (word, rest) = text.split_once(':').unzip();
    if let (Some(word), Some(name)) = (word, rest) {
        return named(text, word, name);
    }
    if let Some(bits) = text.strip_prefix("client_ip/") {
        return prefixes(text, bits);
    }
    Ok(match text {
        "client_ip" => KeySource::ClientIp { v4_bits: 32, v6_bits: 64 },
        "path" => KeySource::Path,
        "path_template" => KeySource::PathTemplate,
        "method" => KeySource::Method,
        "host" => KeySource::Host,
        "route" => KeySource::Route,
        _ if LATER.contains(&text) => return Err(later(text)),
        _ => return Err(unknown(text)),
    })
}

fn named(text: &str, word: &str, name: &str) -> Result<KeySource, Problem> {
    if LATER.contains(&word) {
        return Err(later(word));
    }
    if !NAMED.contains(&word) {
        return Err(unknown(text));
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let message = format!("the name in {} has 1 to {NAME_BYTES_MAX} bytes", quoted(text));
        return Err(Problem::new("bad-key", message));
    }
    match word {
        "header" => headers::name(name).map(KeySource::Header),
        "cookie" if !headers::is_token(name) => {
            Err(Problem::new("bad-key", format!("{} is no name of a cookie", quoted(name))))
        }
        "cookie" => Ok(KeySource::Cookie(name.to_owned())),
        _ => Ok(KeySource::Query(name.to_owned())),
    }
}

/// `24/56`
fn prefixes(text: &str, bits: &str) -> Result<KeySource, Problem> {
    let not = || {
        let message = format!("{} is no pair of prefix lengths", quoted(text));
        Problem::new("bad-key", message).help("write the bits of IPv4 and of IPv6, as in `client_ip/24/56`")
    };
    let (v4, v6) = bits.split_once('/').ok_or_else(not)?;
    let v4_bits = integer(v4, 1, 32).map_err(|_| not())? as u8;
    let v6_bits = integer(v6, 1, 128).map_err(|_| not())? as u8;
    Ok(KeySource::ClientIp { v4_bits, v6_bits })
}

fn later(word: &str) -> Problem {
    let message = format!("`{word}` is not available in this version: nobody is authenticated yet");
    Problem::new("not-available", message).help(FORM)
}

fn unknown(text: &str) -> Problem {
    let problem = Problem::new("bad-key", format!("{} is nothing requests are told apart by", quoted(text)));
    match nearest(text, WORDS.into_iter()) {
        Some(word) => problem.help(format!("did you mean `{word}`?")),
        None => problem.help(FORM),
    }
}

/// As it is written.
pub(crate) fn key_text(key: &KeySource) -> String {
    match key {
        KeySource::ClientIp { v4_bits: 32, v6_bits: 64 } => "client_ip".to_owned(),
        KeySource::ClientIp { v4_bits, v6_bits } => format!("client_ip/{v4_bits}/{v6_bits}"),
        KeySource::Header(name) => format!("header:{name}"),
        KeySource::Cookie(name) => format!("cookie:{name}"),
        KeySource::Query(name) => format!("query:{name}"),
        KeySource::Path => "path".to_owned(),
        KeySource::PathTemplate => "path_template".to_owned(),
        KeySource::Method => "method".to_owned(),
        KeySource::Host => "host".to_owned(),
        KeySource::Route => "route".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "client_ip",
            "client_ip/24/56",
            "header:x-user",
            "cookie:sid",
            "query:user id",
            "path",
            "path_template",
            "method",
            "host",
            "route",
        ] {
            assert_eq!(key_text(&key(text).unwrap()), text);
        }
        assert_eq!(key("header:X-User").unwrap(), KeySource::Header("x-user".to_owned()));
    }

    #[test]
    fn what_tells_nobody_apart_is_refused_with_a_remedy() {
        for (text, code, part) in [
            ("client", "bad-key", "client_ip"),
            ("cookies:a", "bad-key", "cookie:NAME"),
            ("header:", "bad-key", ""),
            ("header:a b", "bad-header", ""),
            ("cookie:a;b", "bad-key", ""),
            ("client_ip/33/64", "bad-key", "client_ip/24/56"),
            ("client_ip/0/64", "bad-key", ""),
            ("client_ip/24", "bad-key", ""),
            ("consumer", "not-available", "client_ip"),
            ("claim:sub", "not-available", ""),
            ("", "bad-key", ""),
        ] {
            let problem = key(text).unwrap_err();
            assert!(problem.code == code || code == "bad-header", "{text}: {problem:?}");
            assert!(problem.help.unwrap_or_default().contains(part), "{text}");
        }
    }
}
