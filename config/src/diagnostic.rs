//! What is wrong, where, and what to do about it.
//!
//! A [`Diagnostic`] is one problem with its place; a [`Report`] is every problem of one file with the file's text, and
//! renders for people (`file:line:column: error: ...`, the source line, carets) and for machines (JSON).

use std::fmt;
use std::sync::Arc;

use crate::model::ReadFile;

use serde::Serialize;
use serde_json::{Value, json};

/// Diagnostics printed of one file; the rest is counted.
pub const PRINTED_MAX: usize = 100;
/// Characters of a source line shown around the place.
const SHOWN_COLUMNS: usize = 120;

/// Every code a diagnostic may have, and what it means. They stay as they are from version to version.
pub const CODES: &[(&str, &str)] = &[
    ("bad-address", "not an address of the kind that belongs there"),
    ("bad-certificate", "a file without a certificate that can be used"),
    ("bad-choice", "not one of the words that belong there"),
    ("bad-descriptor", "a file that describes no such services"),
    ("bad-duration", "not a whole number with a unit of time"),
    ("bad-header", "not a header's name or value"),
    ("bad-host", "not a host name or pattern"),
    ("bad-key", "a file without the certificate's private key"),
    ("bad-method", "not a method"),
    ("bad-multiple", "not a multiple such as `3x`"),
    ("bad-name", "not a name"),
    ("bad-network", "not a network"),
    ("bad-path", "not a path or pattern"),
    ("bad-rate", "not a rate"),
    ("bad-share", "not a percentage"),
    ("bad-size", "not a whole number with a unit of size"),
    ("bad-status", "not a status, or a range of them"),
    ("bad-time", "not a point in time"),
    ("bad-url", "not a URL of the kind that belongs there"),
    ("bad-variable", "`${...}` that is not closed or not a name"),
    ("certificate-pending", "warning: a certificate has not come yet"),
    ("certificate-validity", "warning: a certificate is not valid now, or not for long"),
    ("conflict", "two things that don't go together"),
    ("double-slash", "warning: a path that comes only where slashes are not merged"),
    ("duplicate-endpoint", "warning: an endpoint is in a service twice"),
    ("duplicate-key", "a key is there twice"),
    ("duplicate-name", "two things have the same name"),
    ("duplicate-route", "two routes match the same on a listener"),
    ("empty", "nothing is configured"),
    ("empty-list", "a list needs an entry"),
    ("empty-subset", "no endpoint has the labels a subset asks for"),
    ("fault-over", "warning: the time of a fault is over"),
    ("forbidden-header", "a header that is made for each hop"),
    ("insecure", "warning: something is not verified"),
    ("key-log", "warning: session secrets are written to a file"),
    ("lower-case-method", "warning: a method in lower case is another method"),
    ("many-keys", "warning: clients choose how many keys a limit has"),
    ("missing-field", "a field must be there"),
    ("never-reached", "warning: a limit that another one is always below"),
    ("never-passes", "a limit that some requests can never pass"),
    ("no-effect", "warning: nothing comes of it"),
    ("no-routes", "warning: every request will be answered 404"),
    ("nothing-to-split", "warning: a key that decides nothing"),
    ("not-available", "has a meaning in a later version"),
    ("not-utf8", "the file is not UTF-8"),
    ("out-of-range", "beyond the bounds"),
    ("overlap", "two listeners would take each other's connections"),
    ("repeated", "warning: an entry is in a list twice"),
    ("syntax", "not YAML"),
    ("terms", "an authority's terms must be agreed to"),
    ("too-large", "the file or a value has too many bytes"),
    ("too-many", "a list or mapping has too many entries"),
    ("undefined-variable", "the environment has no such variable"),
    ("unknown-account", "no such account of `acme`"),
    ("unknown-field", "no such field"),
    ("unknown-fleet", "no such fleet in `fleets`"),
    ("unknown-limit", "no such limit in `rate_limits`"),
    ("unknown-route", "no such route"),
    ("unknown-service", "no such service"),
    ("unreachable-route", "warning: another route takes all its requests"),
    ("unreadable", "the file can't be read"),
    ("unused-account", "warning: no certificate is asked of the account"),
    ("unused-fleet", "warning: no limit is counted in the fleet"),
    ("unused-limit", "warning: no route has the limit"),
    ("unused-route", "warning: no listener serves the route"),
    ("unused-service", "warning: no route leads to the service"),
    ("upper-case-host", "warning: hosts are matched in lower case"),
    ("wrong-type", "a value of another kind belongs there"),
];

/// Where something stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Place {
    /// The file's first character.
    pub const START: Place = Place { line: 1, column: 1, start: 0, end: 0 };
}

/// Whether the configuration can run with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but hardly as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable and machine-readable, one of [`CODES`]: `unknown-field`.
    pub code: &'static str,
    /// Where. `None`: the file itself (it cannot be read).
    pub place: Option<Place>,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place that has to do with it, and how.
    pub related: Option<(Place, String)>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        let message = message.into();
        Diagnostic { severity: Severity::Error, code, place: Some(place), message, help: None, related: None }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, place, message) }
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// With "did you mean", if there is something near.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<&str>) -> Diagnostic {
        if let Some(suggestion) = suggestion {
            self.help = Some(format!("did you mean `{suggestion}`?"));
        }
        self
    }

    /// With a second place.
    #[must_use]
    pub fn related(mut self, place: Place, message: impl Into<String>) -> Diagnostic {
        self.related = Some((place, message.into()));
        self
    }

    /// For `check --json`.
    pub fn to_json(&self, file: &str) -> Value {
        let related = self.related.as_ref().map(|(place, message)| {
            json!({ "line": place.line, "column": place.column, "span": [place.start, place.end], "message": message })
        });
        json!({
            "severity": self.severity,
            "code": self.code,
            "file": file,
            "line": self.place.map(|place| place.line),
            "column": self.place.map(|place| place.column),
            "span": self.place.map(|place| [place.start, place.end]),
            "message": self.message,
            "help": self.help,
            "related": related,
        })
    }
}

/// The text diagnostics speak of. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the user named it.
    pub name: Arc<str>,
    /// What was read.
    pub text: Arc<str>,
}

impl Source {
    /// A source by its name.
    pub fn new(name: &str, text: &str) -> Source {
        Source { name: name.into(), text: text.into() }
    }

    /// One diagnostic as people read it, ending in a line feed.
    pub fn render(&self, diagnostic: &Diagnostic) -> String {
        let name = printable(&self.name);
        let severity = diagnostic.severity;
        let message = printable(&diagnostic.message);
        let mut out = match diagnostic.place {
            Some(place) => format!("{name}:{}:{}: {severity}: {message}\n", place.line, place.column),
            None => format!("{name}: {severity}: {message}\n"),
        };
        if let Some(place) = diagnostic.place {
            out.push_str(&self.excerpt(place));
        }
        if let Some(help) = &diagnostic.help {
            out.push_str(&format!("  help: {}\n", printable(help)));
        }
        if let Some((place, message)) = &diagnostic.related {
            out.push_str(&format!("  {name}:{}:{}: {}\n", place.line, place.column, printable(message)));
        }
        out
    }

    /// The source line with carets beneath; nothing where the line is empty or gone.
    fn excerpt(&self, place: Place) -> String {
        let Some(line) = self.text.lines().nth(place.line as usize - 1) else { return String::new() };
        if line.trim().is_empty() {
            return String::new();
        }
        let characters: Vec<char> = without_secrets(line);
        let at = (place.column as usize - 1).min(characters.len());
        let width = self.caret_width(place).min(characters.len() - at).max(1);
        let from = if characters.len() <= SHOWN_COLUMNS { 0 } else { at.saturating_sub(SHOWN_COLUMNS / 2) };
        let to = characters.len().min(from + SHOWN_COLUMNS);
        let width = width.min((to.max(at + 1)) - at);

        let lead = if from > 0 { "..." } else { "" };
        let trail = if to < characters.len() { "..." } else { "" };
        let shown: String = characters[from..to].iter().map(|&c| shown_char(c)).collect();
        let pad: String = characters[from..at].iter().map(|&c| if c == '\t' { '\t' } else { ' ' }).collect();
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(lead.len());
        format!(
            "  {number} | {lead}{shown}{trail}\n  {margin} | {indent}{pad}{carets}\n",
            carets = "^".repeat(width)
        )
    }

    /// Characters of the place within its first line.
    fn caret_width(&self, place: Place) -> usize {
        let spanned = self.text.get(place.start as usize..place.end as usize).unwrap_or("");
        spanned.lines().next().unwrap_or("").trim_end().chars().count()
    }
}

/// Every problem of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub source: Source,
    /// By place.
    pub diagnostics: Vec<Diagnostic>,
    /// Further ones that were not kept.
    pub dropped: usize,
    /// Every other file that was read, or could not be.
    pub files: Vec<ReadFile>,
}

impl Report {
    /// How many errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// How many warnings.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }

    /// As people read it: at most [`PRINTED_MAX`] diagnostics, errors before warnings where not all fit.
    pub fn render(&self) -> String {
        let mut shown: Vec<&Diagnostic> = self.diagnostics.iter().collect();
        if shown.len() > PRINTED_MAX {
            shown.sort_by_key(|diagnostic| diagnostic.severity != Severity::Error);
            shown.truncate(PRINTED_MAX);
        }
        let mut out: String = shown.iter().map(|diagnostic| self.source.render(diagnostic)).collect();
        let left = self.diagnostics.len() - shown.len() + self.dropped;
        if left > 0 {
            out.push_str(&format!("{}: and {left} more\n", printable(&self.source.name)));
        }
        out
    }

    /// For `check --json`: `{file, ok, errors, warnings, diagnostics: [...]}`.
    pub fn to_json(&self) -> Value {
        let list: Vec<Value> = self.diagnostics.iter().map(|one| one.to_json(&self.source.name)).collect();
        json!({
            "file": &*self.source.name,
            "ok": self.errors() == 0,
            "errors": self.errors(),
            "warnings": self.warnings(),
            "dropped": self.dropped,
            "diagnostics": list,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl std::error::Error for Report {}

/// A line's characters; `*` in place of each one of a password: in a URL, or after `password:`.
fn without_secrets(line: &str) -> Vec<char> {
    let mut out: Vec<char> = line.chars().collect();
    let mut at = 0;
    while at < out.len() {
        let rest = &out[at..];
        let (from, to) = if rest.starts_with(&[':', '/', '/']) {
            let end = rest.iter().position(|c| c.is_whitespace()).unwrap_or(rest.len());
            let sign = rest[..end].iter().rposition(|c| *c == '@').unwrap_or(0);
            let colon = rest[3..sign.max(3)].iter().position(|c| *c == ':').map_or(sign, |colon| colon + 4);
            (colon, sign)
        } else if rest.starts_with(&['p', 'a', 's', 's', 'w', 'o', 'r', 'd', ':']) {
            let from = rest[9..].iter().position(|c| *c != ' ').map_or(rest.len(), |space| space + 9);
            let variable = rest[from..].starts_with(&['$', '{']);
            (from, if variable { from } else { rest.len() })
        } else {
            (0, 0)
        };
        out[at..][from.min(to)..to].fill('*');
        at += to.max(1);
    }
    out
}

/// Terminals obey control characters, so none of the file's reach them.
fn printable(text: &str) -> String {
    text.chars().map(shown_char).collect()
}

fn shown_char(c: char) -> char {
    if c == '\t' || !c.is_control() { c } else { char::REPLACEMENT_CHARACTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, place: Place) -> String {
        Source::new("a.yaml", text).render(&Diagnostic::error("syntax", place, "no"))
    }

    #[test]
    fn carets_stand_under_what_is_meant() {
        let place = Place { line: 2, column: 4, start: 7, end: 10 };
        assert_eq!(
            rendered("a:\n\tb: cde f\n", place),
            "a.yaml:2:4: error: no\n  2 | \tb: cde f\n    | \t  ^^^\n"
        );
    }

    #[test]
    fn places_beyond_the_text_do_no_harm() {
        for line in [1, 2, 9] {
            let place = Place { line, column: 900, start: 5, end: 4000 };
            assert!(rendered("a: b", place).starts_with("a.yaml:"));
        }
    }

    #[test]
    fn long_lines_are_cropped_around_the_place() {
        let text = format!("{}bad{}", "x".repeat(5000), "y".repeat(5000));
        let out = rendered(&text, Place { line: 1, column: 5001, start: 5000, end: 5003 });
        let lines: Vec<&str> = out.lines().collect();
        let caret = lines[2].find('^').unwrap();
        assert_eq!(&lines[1][caret..caret + 3], "bad");
        assert!(lines[1].len() < 200);
    }

    #[test]
    fn passwords_are_not_shown() {
        for (line, shown) in [
            ("a: redis://u:pw@h:1/0", "a: redis://u:**@h:1/0"),
            ("a: redis://:p@w@h b://c", "a: redis://:***@h b://c"),
            ("{ a: redis://h:1, password: ab }", "{ a: redis://h:1, password: ****"),
            ("password: ${WORD} # x", "password: ${WORD} # x"),
            ("a: redis://u@h", "a: redis://u@h"),
        ] {
            assert_eq!(without_secrets(line).iter().collect::<String>(), shown);
        }
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let out = rendered("a: \u{1b}[31mred", Place::START);
        assert!(!out.contains('\u{1b}'));
    }

    #[test]
    fn json_carries_everything() {
        let one = Diagnostic::error("unknown-field", Place::START, "x").suggest(Some("y"));
        let value = one.to_json("f");
        assert_eq!(value["code"], "unknown-field");
        assert_eq!(value["help"], "did you mean `y`?");
        assert_eq!(value["line"], 1);
    }
}
