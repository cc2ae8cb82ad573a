//! Text to a tree with places: the first of the two passes.
//!
//! serde-saphyr parses; what it hands over is kept as it was written. Scalars stay the text of the source (`1.10`,
//! `no` and `010` are not numbers or booleans here), duplicate keys stay in, every node knows its place. Meaning is
//! the second pass's business (`decode`). Whatever the text says, a tree is bounded by the constants below.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options, Spanned};

use crate::diagnostic::{Diagnostic, Place};

/// Bytes of a configuration file.
pub const INPUT_BYTES_MAX: usize = 16 << 20;
/// Lists and mappings inside each other.
pub const DEPTH_MAX: usize = 32;
/// Scalars, lists and mappings of one file.
pub const NODES_MAX: usize = 2_000_000;
/// What all aliases (`*name`) of one file may expand to, in scalars, lists and mappings.
pub const ALIAS_NODES_MAX: usize = 200_000;
/// Aliases that stand within what other aliases stand for.
pub const ALIAS_DEPTH_MAX: usize = 4;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it is used.
    pub place: Place,
    /// Where it is written, if that is elsewhere: it came through an alias or a merge (`<<`).
    pub written: Option<Place>,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text: quotes and escapes are resolved, plain scalars are as written.
    Text(String),
    /// `[a, b]` or `- a`
    List(Vec<Node>),
    /// `{a: b}` or `a: b`, in the order written, duplicates included.
    Map(Vec<Entry>),
    /// Was reported already; whoever meets it stays silent.
    Broken,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Mostly text; the decoder says so where it is not.
    pub key: Node,
    /// What it is set to.
    pub value: Node,
}

/// Reads `text` as one YAML document. Nothing at all (or only comments) is [`Value::Null`].
pub fn parse(text: &str) -> Result<Node, Box<Diagnostic>> {
    if text.len() > INPUT_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {INPUT_BYTES_MAX} are read", text.len());
        return Err(Box::new(Diagnostic::error("too-large", Place::START, message)));
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(root) => Ok(node(root, text)),
        Err(error) => Err(Box::new(syntax_error(&error, text))),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX + 1,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_total_scalar_bytes: INPUT_BYTES_MAX,
            max_recorded_anchor_events: ALIAS_NODES_MAX * 2,
            max_recorded_anchor_bytes: INPUT_BYTES_MAX,
            enforce_alias_anchor_ratio: false,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_NODES_MAX,
            max_replay_stack_depth: ALIAS_DEPTH_MAX,
        },
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// A syntax error stands by itself: nothing after it can be judged.
fn syntax_error(error: &serde_saphyr::Error, text: &str) -> Diagnostic {
    let place = match error.location() {
        Some(location) if location.span().byte_offset().is_some() => place(&location, text),
        Some(location) => place_in(text, location.line(), location.column()),
        None => Place::START,
    };
    let render = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
    let mut message = error.render_with_options(render);
    // The place is in the diagnostic already.
    let end = [" at line ", "\n"].iter().filter_map(|cut| message.find(cut)).min().unwrap_or(message.len());
    message.truncate(end);
    let message = message.trim_start_matches("error: ").to_owned();
    let diagnostic = Diagnostic::error("syntax", place, message);
    let line = text.lines().nth(place.line as usize - 1).unwrap_or("");
    if diagnostic.message.starts_with("tabs disallowed") {
        return diagnostic.help("indent with spaces");
    }
    if diagnostic.message.starts_with("while parsing a block") {
        return diagnostic.help("fields of one mapping, and the `- ` of one list, begin in the same column");
    }
    if line.contains("${") || line.contains("/{") {
        return diagnostic
            .help("within `{ }` and `[ ]` a text with braces, brackets or commas stands in quotes");
    }
    diagnostic
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let used = place(&raw.referenced, text);
    let defined = place(&raw.defined, text);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(value) => Value::Text(value),
        // What the parser took for a number or a boolean is the source's own text again; only an explicitly
        // tagged one (`!!int "5"`) is not plain there.
        Raw::Typed(value) => match text.get(defined.start as usize..defined.end as usize).map(str::trim) {
            Some(plain) if !plain.is_empty() && !plain.starts_with(['"', '\'', '!', '&', '|', '>']) => {
                Value::Text(plain.to_owned())
            }
            _ => Value::Text(value),
        },
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => {
            let entry = |(key, value)| Entry { key: node(key, text), value: node(value, text) };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { value, place: used, written: (defined != used).then_some(defined) }
}

fn place(location: &serde_saphyr::Location, text: &str) -> Place {
    if location.line() == 0 {
        return Place::START;
    }
    let fit = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let start = location.span().byte_offset().unwrap_or(0).min(text.len() as u64);
    let end = (start + location.span().byte_len().unwrap_or(0)).min(text.len() as u64);
    Place { line: fit(location.line()), column: fit(location.column()), start: fit(start), end: fit(end) }
}

/// The place of a byte.
pub(crate) fn place_at(text: &str, byte: usize) -> Place {
    let before = text.get(..byte.min(text.len())).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let fit = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Place { line: fit(line), column: fit(column), start: fit(before.len()), end: fit(before.len()) }
}

/// The place of a line and a column.
fn place_in(text: &str, line: u64, column: u64) -> Place {
    let index = |value: u64| usize::try_from(value.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines_before = text.split_inclusive('\n').take(index(line)).map(str::len).sum::<usize>();
    let in_line = text[lines_before..].chars().take(index(column)).map(char::len_utf8).sum::<usize>();
    place_at(text, lines_before + in_line)
}

/// A node as the parser shows it, before its own text is looked up.
enum Raw {
    Null,
    Text(String),
    /// A number or a boolean to the parser.
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> String {
        match parse(&format!("key: {text}\n")).unwrap().value {
            Value::Map(entries) => match &entries[0].value.value {
                Value::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_scalars_stay_as_written() {
        let written = [
            "1.10", "no", "010", "0x1F", "1e3", "+5", ".inf", "-.INF", ".nan", "true", "yes", "1_000", "5.",
            "-0",
        ];
        for text in written {
            assert_eq!(scalar(text), text);
        }
        assert_eq!(scalar("99999999999999999999999999999"), "99999999999999999999999999999");
        assert_eq!(scalar("010   # comment"), "010");
        assert_eq!(scalar("&a 010"), "010");
        assert_eq!(scalar("!!int \"5\""), "5");
        assert_eq!(scalar("!!int 0x10"), "0x10");
        assert_eq!(scalar("\"a\\tb\""), "a\tb");
    }

    #[test]
    fn places_are_those_of_the_source_in_characters_and_bytes() {
        let text = "ä: {b: cd}\n";
        let Value::Map(outer) = parse(text).unwrap().value else { panic!() };
        let Value::Map(inner) = &outer[0].value.value else { panic!() };
        let place = inner[0].value.place;
        assert_eq!((place.line, place.column), (1, 8));
        assert_eq!(&text[place.start as usize..place.end as usize], "cd");
    }

    #[test]
    fn duplicate_keys_are_passed_on() {
        let Value::Map(entries) = parse("a: 1\nb: 2\na: 3\n").unwrap().value else { panic!() };
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[2].key.place.line, 3);
    }

    #[test]
    fn aliases_and_merges_keep_both_places() {
        let text = "a: &x 010\nb: *x\nc: &m {d: 1}\ne:\n  <<: *m\n  f: 2\n";
        let Value::Map(entries) = parse(text).unwrap().value else { panic!() };
        let alias = &entries[1].value;
        assert_eq!(alias.value, Value::Text("010".into()));
        assert_eq!((alias.place.line, alias.written.unwrap().line), (2, 1));
        let Value::Map(merged) = &entries[3].value.value else { panic!() };
        assert_eq!(merged.len(), 2);
    }

    #[test]
    fn alias_bombs_and_deep_nests_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let row = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{row}]\n"));
        }
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(10_000)).is_err());
        assert!(parse(&format!("{}x{}", "[".repeat(40), "]".repeat(40))).is_err());
    }

    #[test]
    fn nests_within_aliases_within_nests_do_not_exhaust_the_stack() {
        let mut text = format!("a0: &a0 {}{}\n", "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
        for level in 1..100 {
            let (open, close) = ("[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
            text.push_str(&format!("a{level}: &a{level} {open}*a{}{close}\n", level - 1));
        }
        let _ = parse(&text);
    }

    #[test]
    fn a_syntax_error_has_a_place_and_one_line() {
        for text in
            ["a: [1, 2\nb: 3\n", "a: b: c\n", "a: \"x\n", "a: 1\n---\nb: 2\n", "a: *nope\n", "}", "&a [*a]"]
        {
            let error = parse(text).unwrap_err();
            assert!(!error.message.contains('\n'), "{error:?}");
        }
    }
}
