//! `${VAR}` and `${VAR:-default}` in values, after parsing.
//!
//! What a variable holds is never parsed as YAML and never expanded again. `$${` is a literal `${`; a `$` before
//! anything else is just that. Keys are not expanded.

use crate::decode::Sink;
use crate::diagnostic::{Diagnostic, Place};
use crate::tree::{Node, Value};

/// Looks up a variable of the environment.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Bytes that one value may have after expansion.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// Expands every value of the tree in place. What can't be is reported and becomes [`Value::Broken`].
pub fn expand(node: &mut Node, env: &Env<'_>, sink: &mut Sink) {
    match &mut node.value {
        Value::Text(text) => {
            if !text.contains("${") {
                return;
            }
            match expand_text(text, env) {
                Ok(expanded) => *text = expanded,
                Err(problem) => {
                    sink.push(problem.diagnostic(node.place));
                    node.value = Value::Broken;
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| expand(item, env, sink)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| expand(&mut entry.value, env, sink)),
        Value::Null | Value::Broken => {}
    }
}

/// Why a text can't be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `${` without `}`.
    Unclosed,
    /// Not a name.
    BadName(String),
    /// No such variable, and no default.
    Undefined(String),
    /// A default with a variable in it.
    Nested,
    /// Longer than a value may be.
    TooLong,
}

impl Problem {
    fn diagnostic(&self, place: Place) -> Diagnostic {
        let error = |code, message: String| Diagnostic::error(code, place, message);
        match self {
            Problem::Unclosed => error("bad-variable", "`${` is not closed".into())
                .help("add `}`, or write `$${` for a literal `${`"),
            Problem::BadName(name) => {
                let message = format!("{} is not a variable's name", crate::units::quoted(name));
                error("bad-variable", message)
                    .help("names are letters, digits and `_`; `$${` is a literal `${`")
            }
            Problem::Undefined(name) => {
                error("undefined-variable", format!("the environment has no variable `{name}`"))
                    .help(format!("set it, or give a default: `${{{name}:-default}}`"))
            }
            Problem::Nested => error("bad-variable", "a default can't have variables in it".into()),
            Problem::TooLong => {
                error("too-large", format!("the value has more than {EXPANDED_BYTES_MAX} bytes"))
            }
        }
    }
}

/// Expands one text.
pub fn expand_text(text: &str, env: &Env<'_>) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let end = after.find('}').ok_or(Problem::Unclosed)?;
            out.push_str(&variable(&after[..end], env)?);
            rest = &after[end + 1..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
        if out.len() > EXPANDED_BYTES_MAX {
            return Err(Problem::TooLong);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// `NAME` or `NAME:-default`; as in the shell, the default also stands for an empty variable.
fn variable(inner: &str, env: &Env<'_>) -> Result<String, Problem> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Problem::BadName(name.to_owned()));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(Problem::Nested);
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Problem::Undefined(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${PORT}".into()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<String, Problem> {
        expand_text(text, &env)
    }

    #[test]
    fn variables_defaults_and_literals() {
        assert_eq!(expanded("127.0.0.1:${PORT}"), Ok("127.0.0.1:8080".into()));
        assert_eq!(expanded("${NOPE:-x:-y}${EMPTY:-z}${EMPTY}"), Ok("x:-yz".into()));
        assert_eq!(expanded("$${PORT} $PORT $ $$"), Ok("${PORT} $PORT $ $$".into()));
        assert_eq!(expanded("${NOPE}"), Err(Problem::Undefined("NOPE".into())));
        assert_eq!(expanded("a ${PORT"), Err(Problem::Unclosed));
        assert_eq!(expanded("${1X}"), Err(Problem::BadName("1X".into())));
        assert_eq!(expanded("${A:-${B}}"), Err(Problem::Nested));
    }

    #[test]
    fn what_a_variable_holds_is_not_expanded_again() {
        assert_eq!(expanded("${TRICKY}"), Ok("${PORT}".into()));
    }

    proptest! {
        #[test]
        fn text_without_variables_stays(text in "[^$]{0,60}") {
            prop_assert_eq!(expanded(&text), Ok(text));
        }

        #[test]
        fn expansion_without_literals_is_done_once(text in "([a-z:/. ]|\\$\\{PORT\\}|\\$\\{NOPE:-d\\}){0,20}") {
            let once = expanded(&text).unwrap();
            prop_assert_eq!(expanded(&once), Ok(once.clone()));
        }

        #[test]
        fn any_text_is_answered(text in "(\\$|\\{|\\}|:-|[A-Z]|\\PC){0,40}") {
            let _ = expanded(&text);
        }
    }
}
