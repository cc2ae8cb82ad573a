//! One mapping, read against its description.
//!
//! Opening it reports what is unknown, repeated or missing; each getter reports what is wrong with its field and goes
//! on with the default, so that one pass finds everything. Bounds and defaults come from `describe`.

use std::time::Duration;

use crate::describe::{Absent, Field, Kind, Object};
use crate::diagnostic::{Diagnostic, Place};
use crate::tree::{Entry, Node, Value};
use crate::units::{self, Problem, quoted};

use super::Sink;
use super::near::nearest;

/// Texts in one list: hosts, methods, networks, names.
const TEXTS_MAX: usize = 10_000;

/// The fields of one mapping.
pub struct Fields<'n> {
    object: &'static Object,
    /// Where the mapping begins.
    pub place: Place,
    present: Vec<(&'static Field, &'n Entry)>,
}

impl<'n> Fields<'n> {
    /// Opens `node` as `object`. `None`: it is no mapping, which was reported.
    pub fn open(node: &'n Node, object: &'static Object, sink: &mut Sink) -> Option<Fields<'n>> {
        let entries = map_of(node, "a mapping", sink)?;
        let mut fields = Fields { object, place: node.place, present: Vec::with_capacity(entries.len()) };
        // A field that was likely meant by an unknown one is not told to be missing as well.
        let mut meant = Vec::new();
        for entry in entries {
            meant.extend(fields.add(entry, sink));
        }
        for field in object.fields {
            if matches!(field.absent, Absent::Required)
                && !fields.has(field.name)
                && !meant.contains(&field.name)
            {
                let message = format!("{} lacks `{}`", article(object), field.name);
                sink.push(Diagnostic::error("missing-field", node.place, message).help(format!(
                    "`{}` is {}",
                    field.name,
                    field.kind.words()
                )));
            }
        }
        Some(fields)
    }

    /// Takes an entry in. The outcome is what an unknown field was likely meant to be.
    fn add(&mut self, entry: &'n Entry, sink: &mut Sink) -> Option<&'static str> {
        let name = key_of(entry, sink)?;
        let Some(field) = self.object.field(name) else {
            let near = nearest(name, self.object.fields.iter().map(|field| field.name));
            sink.push(unknown_field(self.object, name, near, entry.key.place));
            return near;
        };
        match self.present.iter().find(|(present, _)| present.name == name) {
            Some((_, first)) => sink.push(duplicate_key(name, entry.key.place, first.key.place)),
            None => self.present.push((field, entry)),
        }
        None
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// The field's value as it stands.
    pub fn node(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The place of the field's name; the mapping's where it is absent.
    pub fn key_place(&self, name: &str) -> Place {
        self.entry(name).map_or(self.place, |entry| entry.key.place)
    }

    /// The place of the field's value; the mapping's where it is absent.
    pub fn value_place(&self, name: &str) -> Place {
        self.node(name).map_or(self.place, |node| node.place)
    }

    fn entry(&self, name: &str) -> Option<&'n Entry> {
        debug_assert!(self.object.field(name).is_some(), "{name} is not described in {}", self.object.name);
        self.present.iter().find(|(field, _)| field.name == name).map(|(_, entry)| *entry)
    }

    /// A field by a reader of its own: `None` if absent without default, or wrong (which was reported).
    pub fn parsed<T>(
        &self,
        name: &str,
        sink: &mut Sink,
        read: impl Fn(&'static Kind, &str) -> Result<T, Problem>,
    ) -> Option<T> {
        let field = self.object.field(name)?;
        if let Some(node) = self.node(name) {
            let text = text_of(node, &field.kind.words(), sink)?;
            match read(&field.kind, text) {
                Ok(value) => return Some(value),
                Err(problem) => sink.problem(node, problem),
            }
        }
        match field.absent {
            Absent::Default(text) => read(&field.kind, text).ok(),
            _ => None,
        }
    }

    /// Any text.
    pub fn text(&self, name: &str, sink: &mut Sink) -> Option<&'n str> {
        let field = self.object.field(name)?;
        text_of(self.node(name)?, &field.kind.words(), sink)
    }

    /// `true` or `false`.
    pub fn boolean(&self, name: &str, sink: &mut Sink) -> bool {
        let read = |_: &Kind, text: &str| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => {
                let problem =
                    Problem::new("wrong-type", format!("{} is neither `true` nor `false`", quoted(text)));
                Err(match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" | "1" => problem.help("did you mean `true`?"),
                    "no" | "off" | "n" | "false" | "0" => problem.help("did you mean `false`?"),
                    _ => problem,
                })
            }
        };
        self.parsed(name, sink, read).unwrap_or_default()
    }

    /// A whole number; `None` is the word before it (`none`, `auto`) or absence.
    pub fn integer_or(&self, name: &str, sink: &mut Sink) -> Option<u64> {
        let read = |kind: &Kind, text: &str| match kind {
            Kind::Or(word, _) if text == *word => Ok(None),
            Kind::Or(_, Kind::Integer(min, max)) | Kind::Integer(min, max) => {
                units::integer(text, *min, *max).map(Some)
            }
            _ => Ok(None),
        };
        self.parsed(name, sink, read).flatten()
    }

    /// A whole number that is required or has a default; it fits `T` by the bounds of its description.
    pub fn integer<T: TryFrom<u64> + Default>(&self, name: &str, sink: &mut Sink) -> T {
        self.integer_or(name, sink).and_then(|value| T::try_from(value).ok()).unwrap_or_default()
    }

    /// A size in bytes; `None` is `none` or absence.
    pub fn size_or(&self, name: &str, sink: &mut Sink) -> Option<u64> {
        let read = |kind: &Kind, text: &str| match kind {
            Kind::Or(word, _) if text == *word => Ok(None),
            Kind::Or(_, Kind::Size(min, max)) | Kind::Size(min, max) => {
                units::size(text, *min, *max).map(Some)
            }
            _ => Ok(None),
        };
        self.parsed(name, sink, read).flatten()
    }

    /// A size that has a default; it fits by the bounds of its description.
    pub fn size(&self, name: &str, sink: &mut Sink) -> u32 {
        self.size_or(name, sink).and_then(|value| u32::try_from(value).ok()).unwrap_or_default()
    }

    /// A duration; `None` is `none` or absence.
    pub fn duration_or(&self, name: &str, sink: &mut Sink) -> Option<Duration> {
        let read = |kind: &Kind, text: &str| match kind {
            Kind::Or(word, _) if text == *word => Ok(None),
            _ => units::duration(text).map(Some),
        };
        self.parsed(name, sink, read).flatten()
    }

    /// A duration that has a default.
    pub fn duration(&self, name: &str, sink: &mut Sink) -> Duration {
        self.duration_or(name, sink).unwrap_or_default()
    }

    /// A rate, a second; `None` is `none` or absence.
    pub fn rate_or(&self, name: &str, sink: &mut Sink) -> Option<u32> {
        let read = |kind: &Kind, text: &str| match kind {
            Kind::Or(word, _) if text == *word => Ok(None),
            Kind::Or(_, Kind::ByteRate) => units::byte_rate(text).map(Some),
            _ => units::rate(text).map(Some),
        };
        self.parsed(name, sink, read).flatten()
    }

    /// A share in parts per million; `None` if it is absent without default, or wrong.
    pub fn share_or(&self, name: &str, sink: &mut Sink) -> Option<u32> {
        let read = |kind: &Kind, text: &str| match kind {
            Kind::Or(word, _) if text == *word => Ok(None),
            _ => units::share(text).map(Some),
        };
        self.parsed(name, sink, read).flatten()
    }

    /// A share that has a default, in parts per million.
    pub fn share(&self, name: &str, sink: &mut Sink) -> u32 {
        self.share_or(name, sink).unwrap_or_default()
    }

    /// The place of the word among those described.
    pub fn choice(&self, name: &str, sink: &mut Sink) -> Option<usize> {
        self.parsed(name, sink, |kind, text| match kind {
            Kind::Choice { now, later } => {
                if let Some(index) = now.iter().position(|word| *word == text) {
                    return Ok(index);
                }
                let list = kind.words();
                if later.contains(&text) {
                    let message = format!("`{text}` is not available in this version");
                    return Err(Problem::new("not-available", message).help(format!("write one of {list}")));
                }
                let help = match nearest(text, now.iter().copied()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("write one of {list}"),
                };
                Err(Problem::new("bad-choice", format!("{} is not among {list}", quoted(text))).help(help))
            }
            _ => Ok(0),
        })
    }

    /// The word at the chosen place, as a value: `values` in the order of the description.
    pub fn chosen<T: Copy + Default>(&self, name: &str, values: &[T], sink: &mut Sink) -> T {
        self.choice(name, sink).and_then(|index| values.get(index).copied()).unwrap_or_default()
    }

    /// The field as a mapping with fields of its own.
    pub fn object(&self, name: &str, sink: &mut Sink) -> Option<Fields<'n>> {
        let object = match &self.object.field(name)?.kind {
            Kind::Object(object) | Kind::Or(_, Kind::Object(object)) => object,
            _ => return None,
        };
        Fields::open(self.node(name)?, object, sink)
    }

    /// The field as a mapping; an empty one, so that defaults are read, if it is absent or wrong.
    pub fn object_or_default(&self, name: &str, object: &'static Object, sink: &mut Sink) -> Fields<'n> {
        self.object(name, sink).unwrap_or(Fields {
            object,
            place: self.value_place(name),
            present: Vec::new(),
        })
    }

    /// The field as a list of at most `max`; empty if it is absent or wrong.
    pub fn list(&self, name: &str, max: usize, sink: &mut Sink) -> &'n [Node] {
        let Some(node) = self.node(name) else { return &[] };
        let items = list_of(node, "a list", sink);
        if too_many(node, name, items.len(), max, sink) { &[] } else { items }
    }

    /// The texts of a list.
    pub fn texts(&self, name: &str, sink: &mut Sink) -> Vec<(&'n str, &'n Node)> {
        let words = match self.object.field(name).map(|field| &field.kind) {
            Some(Kind::List(kind) | Kind::Or(_, Kind::List(kind))) => kind.words(),
            _ => String::new(),
        };
        let items = self.list(name, TEXTS_MAX, sink);
        items.iter().filter_map(|item| Some((text_of(item, &words, sink)?, item))).collect()
    }

    /// The keys and values of a mapping whose keys the user chose; repeated keys are reported and left out.
    pub fn named(&self, name: &str, max: usize, sink: &mut Sink) -> Vec<(&'n str, &'n Entry)> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let Some(entries) = map_of(node, "a mapping of names to values", sink) else { return Vec::new() };
        if too_many(node, name, entries.len(), max, sink) {
            return Vec::new();
        }
        let mut seen = std::collections::HashMap::with_capacity(entries.len());
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(key) = key_of(entry, sink) else { continue };
            match seen.get(key) {
                Some(first) => sink.push(duplicate_key(key, entry.key.place, *first)),
                None => {
                    seen.insert(key, entry.key.place);
                    named.push((key, entry));
                }
            }
        }
        named
    }
}

/// Reports a list or mapping that has more than it may.
fn too_many(node: &Node, name: &str, count: usize, max: usize, sink: &mut Sink) -> bool {
    if count > max {
        let message = format!("`{name}` has {count} entries; at most {max} are taken");
        sink.problem(node, Problem::new("too-many", message));
    }
    count > max
}

/// The node as text, or a report of what it is instead.
pub fn text_of<'n>(node: &'n Node, words: &str, sink: &mut Sink) -> Option<&'n str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => {
            wrong_type(node, words, sink);
            None
        }
    }
}

/// The node as a list, or a report of what it is instead.
pub fn list_of<'n>(node: &'n Node, words: &str, sink: &mut Sink) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        _ => {
            wrong_type(node, words, sink);
            &[]
        }
    }
}

fn map_of<'n>(node: &'n Node, words: &str, sink: &mut Sink) -> Option<&'n [Entry]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => {
            wrong_type(node, words, sink);
            None
        }
    }
}

fn wrong_type(node: &Node, words: &str, sink: &mut Sink) {
    let found = match &node.value {
        Value::Broken => return,
        Value::Null => "nothing".to_owned(),
        Value::Text(text) => quoted(text),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    };
    let mut problem = Problem::new("wrong-type", format!("expected {words}, found {found}"));
    if words == "a list" && matches!(node.value, Value::Text(_)) {
        problem = problem.help(format!("write it as a list: `[ {} ]`", found.trim_matches('`')));
    }
    if words == "a list" && matches!(node.value, Value::Map(_)) {
        problem = problem.help("begin each entry with `- `");
    }
    sink.problem(node, problem);
}

fn key_of<'n>(entry: &'n Entry, sink: &mut Sink) -> Option<&'n str> {
    match &entry.key.value {
        Value::Text(key) => Some(key),
        _ => {
            sink.push(Diagnostic::error("wrong-type", entry.key.place, "a key must be plain text"));
            None
        }
    }
}

fn duplicate_key(name: &str, again: Place, first: Place) -> Diagnostic {
    let message = format!("{} is there twice", quoted(name));
    Diagnostic::error("duplicate-key", again, message).related(first, "the first is here")
}

/// Fields that were elsewhere once: object, name, and what is written in their place.
const MOVED: &[(&str, &str, &str)] = &[(
    "pool",
    "connections",
    "`breaker: { endpoint: { connections: 1024 } }` on the service, which counts for all workers together",
)];

fn unknown_field(object: &Object, name: &str, near: Option<&str>, place: Place) -> Diagnostic {
    if object.later.contains(&name) {
        let message = format!("unknown field `{name}` in {}", article(object));
        return Diagnostic::error("unknown-field", place, message)
            .help(format!("`{name}` is not available in this version"));
    }
    let message = format!("unknown field {} in {}", quoted(name), article(object));
    if let Some((_, _, to)) = MOVED.iter().find(|(of, field, _)| (*of, *field) == (object.name, name)) {
        return Diagnostic::error("unknown-field", place, message).help(format!("write {to}"));
    }
    let diagnostic = Diagnostic::error("unknown-field", place, message);
    match near {
        Some(near) => diagnostic.suggest(Some(near)),
        None => diagnostic.help(format!("there are {}", some_names(object))),
    }
}

fn article(object: &Object) -> String {
    match object.name {
        "config" => "the file".to_owned(),
        name @ ("breaker" | "endpoint_breaker" | "concurrency" | "overload" | "runtime" | "buffers"
        | "admin" | "access_log" | "limits" | "socket" | "pool" | "respond" | "redirect"
        | "rewrite" | "tls" | "clients" | "http2" | "tcp" | "udp" | "detect" | "external_account"
        | "retries" | "hedge" | "mirror" | "retry_budget") => {
            format!("`{name}`")
        }
        "acme_account" => "an account of `acme`".to_owned(),
        "listener_certificate" => "a certificate".to_owned(),
        "listener_timeouts" | "service_timeouts" => "`timeouts`".to_owned(),
        "service_tls" => "`tls`".to_owned(),
        "service_http2" => "`http2`".to_owned(),
        "header_ops" => "header changes".to_owned(),
        "endpoint" => "an endpoint".to_owned(),
        "split" => "a split's part".to_owned(),
        name => format!("a {name}"),
    }
}

fn some_names(object: &Object) -> String {
    let names: Vec<String> = object.fields.iter().map(|field| format!("`{}`", field.name)).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
