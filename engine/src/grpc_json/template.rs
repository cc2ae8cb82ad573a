//! Path templates of `google.api.http`: `/v1/{name=shelves/*/books/**}:publish`. Pure.
//!
//! ```text
//! template = "/" segments [ ":" verb ]     segments = segment { "/" segment }
//! segment  = "*" | "**" | literal | variable      variable = "{" field { "." field } [ "=" segments ] "}"
//! ```
//!
//! `*` is one segment, `**` is any number and comes last. Of several that match, the one with the more literal segments
//! wins, from the left.

use std::cmp::Ordering;

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    variables: Vec<Variable>,
    verb: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Literal(String),
    One,
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    field: Vec<String>,
    from: usize,
    to: usize,
}

/// What a variable stands for in a path: its field, and the text, percent-decoded.
pub type Capture = (Vec<String>, String);

/// Pieces of one template.
const PIECES_MAX: usize = 64;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(text: &str) -> Result<Template, String> {
        let rest = text.strip_prefix('/').ok_or("it does not begin with `/`")?;
        // A verb stands after the last slash that is not within a variable.
        let (rest, verb) = match (rest.rfind(':'), rest.rfind(['/', '}'])) {
            (Some(colon), last) if last.is_none_or(|last| colon > last) => {
                (&rest[..colon], Some(rest[colon + 1..].to_owned()))
            }
            _ => (rest, None),
        };
        if verb.as_deref().is_some_and(|verb| !is_literal(verb)) {
            return Err("what follows `:` is no verb".into());
        }
        let mut template = Template { pieces: Vec::new(), variables: Vec::new(), verb };
        let mut rest = rest;
        loop {
            rest = match rest.strip_prefix('{') {
                Some(inner) => {
                    let (inner, after) = inner.split_once('}').ok_or("a `{` is not closed")?;
                    template.variable(inner)?;
                    after
                }
                None => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    template.piece(&rest[..end])?;
                    &rest[end..]
                }
            };
            match rest.strip_prefix('/') {
                Some(after) => rest = after,
                None if rest.is_empty() => break,
                None => return Err(format!("`{rest}` follows a variable")),
            }
        }
        let last = template.pieces.len() - 1;
        if template.pieces[..last].contains(&Piece::Rest) {
            return Err("`**` is not the last segment".into());
        }
        Ok(template)
    }

    fn variable(&mut self, text: &str) -> Result<(), String> {
        let (field, segments) = text.split_once('=').unwrap_or((text, "*"));
        let field: Vec<String> = field.split('.').map(str::to_owned).collect();
        let named = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !field.iter().all(named) {
            return Err(format!("`{text}` names no field"));
        }
        if self.variables.iter().any(|other| other.field == field) {
            return Err(format!("the field `{}` is there twice", field.join(".")));
        }
        let from = self.pieces.len();
        segments.split('/').try_for_each(|segment| self.piece(segment))?;
        self.variables.push(Variable { field, from, to: self.pieces.len() });
        Ok(())
    }

    fn piece(&mut self, text: &str) -> Result<(), String> {
        if self.pieces.len() == PIECES_MAX {
            return Err(format!("it has more than {PIECES_MAX} segments"));
        }
        self.pieces.push(match text {
            "*" => Piece::One,
            "**" => Piece::Rest,
            literal if is_literal(literal) => Piece::Literal(literal.to_owned()),
            other => return Err(format!("`{other}` is no segment")),
        });
        Ok(())
    }

    /// The fields its variables name.
    pub fn fields(&self) -> impl Iterator<Item = &[String]> {
        self.variables.iter().map(|variable| &variable.field[..])
    }

    /// What its variables stand for in this path; `None`: it does not match.
    pub fn matches(&self, path: &str) -> Option<Vec<Capture>> {
        let path = path.strip_prefix('/')?;
        let path = match &self.verb {
            Some(verb) => path.strip_suffix(verb.as_str())?.strip_suffix(':')?,
            None => path,
        };
        let segments: Vec<&str> = path.split('/').collect();
        let rest = self.pieces.last() == Some(&Piece::Rest);
        let single = self.pieces.len() - usize::from(rest);
        if segments.len() < single || (!rest && segments.len() > single) {
            return None;
        }
        let fits = |(piece, segment): (&Piece, &&str)| match piece {
            Piece::Literal(literal) => decoded(segment, false).is_some_and(|text| text == *literal),
            Piece::One => !segment.is_empty(),
            Piece::Rest => true,
        };
        if !self.pieces.iter().zip(&segments).all(fits) {
            return None;
        }
        let capture = |variable: &Variable| {
            let to = if rest && variable.to == self.pieces.len() { segments.len() } else { variable.to };
            let text = segments.get(variable.from..to.max(variable.from))?.join("/");
            let several = variable.to - variable.from > 1 || self.pieces[variable.from] == Piece::Rest;
            Some((variable.field.clone(), decoded(&text, several)?))
        };
        self.variables.iter().map(capture).collect()
    }

    /// Which of two that match the same path is meant: `Less` is this one.
    pub fn before(&self, other: &Template) -> Ordering {
        let by_pieces = self.pieces.iter().map(rank).cmp(other.pieces.iter().map(rank));
        other.verb.is_some().cmp(&self.verb.is_some()).then(by_pieces)
    }

    /// Whether they match the same paths.
    pub fn is_same(&self, other: &Template) -> bool {
        self.pieces == other.pieces && self.verb == other.verb
    }
}

fn rank(piece: &Piece) -> u8 {
    match piece {
        Piece::Literal(_) => 0,
        Piece::One => 1,
        Piece::Rest => 2,
    }
}

fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;@%".contains(&byte))
}

/// Percent-decoded; of several segments, a slash that is encoded stays so. `None`: what is decoded is no UTF-8.
pub fn decoded(text: &str, several: bool) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) if !(several && (high, low) == (2, 15)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn captured(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        let captures = Template::parse(template).unwrap().matches(path)?;
        Some(captures.into_iter().map(|(field, text)| (field.join("."), text)).collect())
    }

    #[test]
    fn paths_are_taken_apart_as_templates_say() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(captured("/v1/a", "/v1/a"), Some(vec![]));
        assert_eq!(captured("/v1/a", "/v1/a/"), None);
        assert_eq!(captured("/v1/{id}", "/v1/x%20y"), Some(vec![pair("id", "x y")]));
        assert_eq!(captured("/v1/{id}", "/v1/a%2Fb"), Some(vec![pair("id", "a/b")]));
        assert_eq!(captured("/v1/{id}", "/v1/"), None);
        assert_eq!(
            captured("/v1/{name=shelves/*/books/**}:publish", "/v1/shelves/1/books/a/b%2Fc:publish"),
            Some(vec![pair("name", "shelves/1/books/a/b%2Fc")])
        );
        assert_eq!(captured("/v1/{name=**}", "/v1"), Some(vec![pair("name", "")]));
        assert_eq!(captured("/v1/{a.b}/c/{d}", "/v1/1/c/2"), Some(vec![pair("a.b", "1"), pair("d", "2")]));
        assert_eq!(captured("/v1/*/x", "/v1/any/x"), Some(vec![]));
        assert_eq!(captured("/v1/a:go", "/v1/a"), None);
    }

    #[test]
    fn what_is_no_template_is_told() {
        for bad in [
            "",
            "v1",
            "/",
            "/v1//a",
            "/{",
            "/{a",
            "/{}",
            "/{a=}",
            "/**/b",
            "/{a=**}/b",
            "/{a}b",
            "/a b",
            "/{a}/{a}",
            "/a:",
            "/a:b/c:d e",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn literal_segments_win() {
        let parse = |text| Template::parse(text).unwrap();
        assert_eq!(parse("/v1/a/b").before(&parse("/v1/{x}/b")), Ordering::Less);
        assert_eq!(parse("/v1/{x}").before(&parse("/v1/{x=**}")), Ordering::Less);
        assert_eq!(parse("/v1/{x=**}:go").before(&parse("/v1/{x}")), Ordering::Less);
        assert!(parse("/v1/{x}").is_same(&parse("/v1/{y}")));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(template in "[/{}=*:.a-z%0-9]{0,30}", path in "[/:%a-z0-9]{0,30}") {
            if let Ok(template) = Template::parse(&template) {
                let _ = template.matches(&path);
            }
        }
    }
}
