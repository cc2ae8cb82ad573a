//! Path patterns and the paths made from them. Pure.
//!
//! A pattern is kept in the canonical form that request paths have when they are matched: `%41` is `A`, `%2f` is
//! `%2F`. So a literal here is compared byte by byte.

use crate::model::{PathPattern, PathTemplate, Segment};
use crate::units::{Problem, quoted};

use super::near::nearest;

/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 4 << 10;
/// Pieces between slashes.
const SEGMENTS_MAX: usize = 64;

/// `routes[].path`
pub fn pattern(text: &str) -> Result<PathPattern, Problem> {
    let segments = segments(text)?;
    let parameters = segments.iter().any(|segment| matches!(segment, Segment::Parameter(_)));
    let rest = segments.last() == Some(&Segment::Rest);
    if parameters {
        return Ok(PathPattern::Template(segments));
    }
    let literals: Vec<&str> = segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Literal(literal) => Some(literal.as_str()),
            _ => None,
        })
        .collect();
    Ok(match (rest, literals.is_empty()) {
        (true, true) => PathPattern::Any,
        (true, false) => PathPattern::Prefix(format!("/{}", literals.join("/"))),
        _ => PathPattern::Exact(format!("/{}", literals.join("/"))),
    })
}

/// `rewrite.path`, `redirect.path`: what it takes from the match must be in the route's own pattern.
pub fn template(text: &str, pattern: &PathPattern) -> Result<PathTemplate, Problem> {
    let segments = segments(text)?;
    let (has_rest, parameters) = match pattern {
        PathPattern::Any | PathPattern::Prefix(_) => (true, Vec::new()),
        PathPattern::Exact(_) => (false, Vec::new()),
        PathPattern::Template(own) => (
            own.last() == Some(&Segment::Rest),
            own.iter()
                .filter_map(|segment| match segment {
                    Segment::Parameter(name) => Some(name.as_str()),
                    _ => None,
                })
                .collect(),
        ),
    };
    for segment in &segments {
        match segment {
            Segment::Rest if !has_rest => {
                let message = "`/**` stands for what the route's own `**` matched, but its path has none";
                return Err(Problem::new("bad-path", message));
            }
            Segment::Parameter(name) if !parameters.contains(&name.as_str()) => {
                let problem =
                    Problem::new("bad-path", format!("the route's path has no parameter `{{{name}}}`"));
                return Err(match nearest(name, parameters.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean `{{{near}}}`?")),
                    None => problem,
                });
            }
            _ => {}
        }
    }
    Ok(PathTemplate(segments))
}

/// Whether a pattern has an encoded slash: it matches only where the route lets them pass.
pub fn has_encoded_slash(text: &str) -> bool {
    text.to_ascii_uppercase().contains("%2F")
}

/// Whether an empty piece stands between slashes: such paths come only where slashes are not merged.
pub fn has_double_slash(text: &str) -> bool {
    text.contains("//")
}

/// `/` alone is one empty literal; a slash at the end makes an empty last one.
fn segments(text: &str) -> Result<Vec<Segment>, Problem> {
    let bad = |message: String| Problem::new("bad-path", message);
    let Some(rest) = text.strip_prefix('/') else {
        let problem = bad(format!("{} does not begin with `/`", quoted(text)));
        let plain = !text.is_empty() && !text.contains("://");
        return Err(if text.starts_with(['~', '^']) {
            problem.help(
                "there are no regular expressions: `/a` is exact, `/a/**` a prefix, `/a/{id}` a template",
            )
        } else if plain {
            problem.help(format!("did you mean {}?", quoted(&format!("/{text}"))))
        } else {
            problem
        });
    };
    if text.len() > PATTERN_BYTES_MAX {
        return Err(bad(format!("a path has at most {PATTERN_BYTES_MAX} bytes")));
    }
    let pieces: Vec<&str> = rest.split('/').collect();
    if pieces.len() > SEGMENTS_MAX {
        return Err(bad(format!("a path has at most {SEGMENTS_MAX} pieces between slashes")));
    }
    let mut segments: Vec<Segment> = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let segment = segment(piece)?;
        match &segment {
            Segment::Rest if index + 1 < pieces.len() => {
                let help = "for one piece write a parameter: `/{name}/`";
                return Err(bad("`**` stands only at the end".into()).help(help));
            }
            Segment::Parameter(name) if segments.contains(&segment) => {
                return Err(bad(format!("the parameter `{{{name}}}` is there twice")));
            }
            _ => segments.push(segment),
        }
    }
    Ok(segments)
}

fn segment(piece: &str) -> Result<Segment, Problem> {
    let bad = |message: String| Problem::new("bad-path", message);
    if piece == "**" {
        return Ok(Segment::Rest);
    }
    if piece.contains('*') {
        let problem = bad(format!("`*` stands only in `/**` at the end, not in {}", quoted(piece)));
        return Err(problem.help("one piece of any text is a parameter, `{name}`; everything below is `/**`"));
    }
    if let Some(name) = piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}')) {
        let mut bytes = name.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            let problem = bad(format!("{} is not a parameter", quoted(piece)));
            return Err(problem.help("names are letters, digits, `_` and `-`: `{order_id}`"));
        }
        return Ok(Segment::Parameter(name.to_owned()));
    }
    if piece.contains(['{', '}']) {
        let problem =
            bad(format!("a parameter is a whole piece between slashes, not a part of {}", quoted(piece)));
        return Err(problem.help("write `/{name}/`; a brace of the path itself is `%7B` or `%7D`"));
    }
    literal(piece).map(Segment::Literal)
}

/// A piece in canonical form.
fn literal(piece: &str) -> Result<String, Problem> {
    let bad = |message: String| Problem::new("bad-path", message);
    let bytes = piece.as_bytes();
    let mut out = String::with_capacity(piece.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = piece.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let signed = bytes.get(at + 1).is_some_and(|b| *b == b'+');
                let Some(decoded) = digits.filter(|_| !signed) else {
                    return Err(bad(format!("{} has a bad `%` sequence", quoted(piece)))
                        .help("a `%` itself is `%25`"));
                };
                match decoded {
                    0 => return Err(bad("`%00` never passes".into())),
                    b'\\' => return Err(bad("a backslash never passes".into())),
                    b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(char::from(b)),
                    b => out.push_str(&format!("%{b:02X}")),
                }
                at += 3;
            }
            b'?' | b'#' => {
                let problem = bad(format!("a path has no {}", quoted(&char::from(byte).to_string())));
                return Err(if byte == b'?' {
                    problem.help("conditions on the query stand in `query`")
                } else {
                    problem
                });
            }
            b'\\' => return Err(bad("a backslash never passes".into())),
            0..=b' ' | 0x7f.. => {
                let message = format!("{} has a character that paths have only encoded", quoted(piece));
                return Err(bad(message).help(encoded(&piece[at..])));
            }
            _ => {
                out.push(char::from(byte));
                at += 1;
            }
        }
    }
    if out == "." || out == ".." {
        return Err(bad(format!("{} is resolved before matching and never stays", quoted(piece))));
    }
    Ok(out)
}

fn encoded(rest: &str) -> String {
    let first = rest.chars().next().map(String::from).unwrap_or_default();
    let encoded: String = first.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("write it as `{encoded}`")
}

/// The text of segments, as written in a configuration.
pub fn text(segments: &[Segment]) -> String {
    let mut out = String::new();
    for segment in segments {
        out.push('/');
        match segment {
            Segment::Literal(literal) => out.push_str(literal),
            Segment::Parameter(name) => out.push_str(&format!("{{{name}}}")),
            Segment::Rest => out.push_str("**"),
        }
    }
    out
}

/// The text of a pattern, as written in a configuration.
pub fn pattern_text(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Any => "/**".to_owned(),
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(path) => format!("{path}/**"),
        PathPattern::Template(segments) => text(segments),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_paths() {
        assert_eq!(pattern("/**"), Ok(PathPattern::Any));
        assert_eq!(pattern("/"), Ok(PathPattern::Exact("/".into())));
        assert_eq!(pattern("/a/"), Ok(PathPattern::Exact("/a/".into())));
        assert_eq!(pattern("/a/b/**"), Ok(PathPattern::Prefix("/a/b".into())));
        let template = pattern("/a/{id}/**").unwrap();
        let segments = vec![Segment::Literal("a".into()), Segment::Parameter("id".into()), Segment::Rest];
        assert_eq!(template, PathPattern::Template(segments));
        assert_eq!(pattern("/%41%2f%7e"), Ok(PathPattern::Exact("/A%2F~".into())));
        for bad in [
            "", "a", "/a/**/b", "/a*", "/*", "/{id", "/x{id}", "/{}", "/{1}", "/{a}/{a}", "/a?b", "/a b",
            "/ä", "/%0", "/%zz", "/%+1", "/%00", "/a\\b", "/a/../b", "/./", "/%2e%2e", "/a\nb",
        ] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn new_paths_take_only_what_the_pattern_matched() {
        let prefix = pattern("/a/**").unwrap();
        assert!(template("/b/**", &prefix).is_ok());
        assert!(template("/b", &prefix).is_ok());
        assert!(template("/b/{id}", &prefix).is_err());
        assert!(template("/b/**", &pattern("/a").unwrap()).is_err());
        let own = pattern("/a/{id}").unwrap();
        assert!(template("/b/{id}", &own).is_ok());
        assert_eq!(template("/b/{idd}", &own).unwrap_err().help.unwrap(), "did you mean `{id}`?");
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_canonical_patterns_stay(text in "/?(a|/|\\{|\\}|b|\\*|%41|%2f|%|\\.|\\PC){0,20}") {
            if let Ok(first) = pattern(&text) {
                prop_assert_eq!(pattern(&pattern_text(&first)), Ok(first));
            }
        }
    }
}
