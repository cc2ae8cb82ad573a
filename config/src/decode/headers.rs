//! Header names and values, conditions on them and changes to them.

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{HeaderOps, ValueMatch};
use crate::units::{Problem, quoted};

use super::Sink;
use super::fields::{Fields, text_of};

/// Frames the message or speaks of this hop only (RFC 9110 §7.6.1): made anew for each hop, never set by hand.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Bytes of a header's value.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// Which way headers go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the endpoint.
    Upstream,
    /// To the client.
    Downstream,
}

/// A token (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A header's name, made lower case.
pub fn name(text: &str) -> Result<String, Problem> {
    if !is_token(text) {
        return Err(Problem::new("bad-header", format!("{} is not a header name", quoted(text))));
    }
    Ok(text.to_ascii_lowercase())
}

/// A header's value. What was wrong with it is told without showing it: it may be a secret.
pub fn value(text: &str) -> Result<String, Problem> {
    if text.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        let problem = Problem::new("bad-header", "a header's value can't hold control characters");
        return Err(if text.ends_with('\n') {
            problem.help("it ends in a line feed: write it on one line, or with `|-`")
        } else {
            problem
        });
    }
    if text.len() > VALUE_BYTES_MAX {
        return Err(Problem::new(
            "bad-header",
            format!("a header's value has at most {VALUE_BYTES_MAX} bytes"),
        ));
    }
    if text.trim_matches([' ', '\t']) != text {
        return Err(Problem::new("bad-header", "a header's value neither begins nor ends with a space"));
    }
    Ok(text.to_owned())
}

fn changeable(text: &str, way: Way) -> Result<String, Problem> {
    let name = name(text)?;
    if OURS.contains(&name.as_str()) {
        let message = format!("`{name}` is made for each hop and can't be changed");
        return Err(Problem::new("forbidden-header", message));
    }
    if name == "host" && way == Way::Upstream {
        return Err(Problem::new("forbidden-header", "`host` can't be changed here")
            .help("write `rewrite: { host: ... }`, or `host: service` on the service"));
    }
    Ok(name)
}

/// `request_headers` or `response_headers`
pub fn ops(route: &Fields<'_>, field: &str, way: Way, sink: &mut Sink) -> HeaderOps {
    let fields = route.object_or_default(field, &tables::HEADER_OPS, sink);
    let mut remove = Vec::new();
    for (text, node) in fields.texts("remove", sink) {
        match changeable(text, way) {
            Ok(name) => remove.push(name),
            Err(problem) => sink.problem(node, problem),
        }
    }
    HeaderOps { remove, set: pairs(&fields, "set", way, sink), add: pairs(&fields, "add", way, sink) }
}

fn pairs(fields: &Fields<'_>, field: &str, way: Way, sink: &mut Sink) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (key, entry) in fields.named(field, sink) {
        let name = match changeable(key, way) {
            Ok(name) => name,
            Err(problem) => {
                sink.problem(&entry.key, problem);
                continue;
            }
        };
        let Some(text) = text_of(&entry.value, "a header value", sink) else { continue };
        match value(text) {
            Ok(_) if pairs.iter().any(|(other, _)| *other == name) => {
                let message = format!("`{name}` is there twice (case does not matter)");
                sink.push(Diagnostic::error("duplicate-key", entry.key.place, message));
            }
            Ok(value) => pairs.push((name, value)),
            Err(problem) => sink.problem(&entry.value, problem),
        }
    }
    pairs
}

/// `headers` or `query` of a route: all must hold; `"*"` is any value.
pub fn conditions(
    route: &Fields<'_>,
    field: &str,
    read: impl Fn(&str) -> Result<String, Problem>,
    sink: &mut Sink,
) -> Vec<ValueMatch> {
    let mut conditions: Vec<ValueMatch> = Vec::new();
    for (key, entry) in route.named(field, sink) {
        let name = match read(key) {
            Ok(name) => name,
            Err(problem) => {
                sink.problem(&entry.key, problem);
                continue;
            }
        };
        let Some(text) = text_of(&entry.value, "a value", sink) else { continue };
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            sink.problem(
                &entry.value,
                Problem::new("bad-header", "a condition can't hold control characters"),
            );
            continue;
        }
        if conditions.iter().any(|other| other.name == name) {
            let message = format!("{} is there twice (case does not matter)", quoted(&name));
            sink.push(Diagnostic::error("duplicate-key", entry.key.place, message));
            continue;
        }
        conditions.push(ValueMatch { name, value: (text != "*").then(|| text.to_owned()) });
    }
    conditions
}
