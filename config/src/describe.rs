//! The one description of what may be written: fields, types, bounds, defaults, meanings.
//!
//! The decoder looks up bounds and defaults here and refuses what is not described; the JSON Schema and the reference
//! are printed from it. So the three cannot disagree. The tables themselves are in [`tables`].

pub mod tables;

/// A mapping with fixed fields.
#[derive(Debug)]
pub struct Object {
    /// Its name in the schema: `listener`.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// In the order they are told of.
    pub fields: &'static [Field],
    /// Names that have a meaning in the design but not in this version.
    pub later: &'static [&'static str],
}

/// One field of an [`Object`].
#[derive(Debug)]
pub struct Field {
    /// As written.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// What happens when it is not there.
    pub absent: Absent,
    /// What it means.
    pub about: &'static str,
}

/// What happens when a field is not there.
#[derive(Debug)]
pub enum Absent {
    /// That is an error.
    Required,
    /// As if this were written.
    Default(&'static str),
    /// Something that can't be written, told in words.
    Means(&'static str),
}

/// What may stand as a value.
#[derive(Debug)]
pub enum Kind {
    /// Text of a form told in words.
    Text(&'static str),
    /// `true` or `false`
    Boolean,
    /// A whole number within bounds.
    Integer(u64, u64),
    /// `250ms`, `5s`, `1m`, `1h`; not 0, at most a day.
    Duration,
    /// `16KiB`, `1MiB`, `100B`, within bounds in bytes.
    Size(u64, u64),
    /// `100/s`, `60/min`, `7200/h`
    Rate,
    /// `100/s`, `5/min`, `1000/h`, `10000/day`
    Quota,
    /// `100B/s`, `1KiB/s`
    ByteRate,
    /// `20%`, `0.5%`, at most all.
    Share,
    /// One of these words.
    Choice {
        /// Those that work.
        now: &'static [&'static str],
        /// Those that have a meaning in the design but not in this version.
        later: &'static [&'static str],
    },
    /// The word, or a value of the kind.
    Or(&'static str, &'static Kind),
    /// A list.
    List(&'static Kind),
    /// A mapping whose keys the user chooses.
    Map(&'static Kind),
    /// A mapping with fixed fields.
    Object(&'static Object),
    /// Either form: text of the first kind or something of the second.
    Either(&'static Kind, &'static Kind),
}

impl Object {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Kind {
    /// In words, for messages and the reference.
    pub fn words(&self) -> String {
        match self {
            Kind::Text(form) => (*form).to_owned(),
            Kind::Boolean => "`true` or `false`".to_owned(),
            Kind::Integer(min, max) => format!("a whole number, {min} to {max}"),
            Kind::Duration => "a duration (`250ms`, `5s`, `1m`, `1h`)".to_owned(),
            Kind::Size(min, max) => {
                format!(
                    "a size (`16KiB`), {} to {}",
                    crate::units::size_text(*min),
                    crate::units::size_text(*max)
                )
            }
            Kind::Rate => "a rate (`100/s`, `60/min`)".to_owned(),
            Kind::Quota => "how many in a time (`100/s`, `5/min`, `1000/h`, `10000/day`)".to_owned(),
            Kind::ByteRate => "bytes a second (`100B/s`, `1KiB/s`)".to_owned(),
            Kind::Share => "a share (`20%`, `0.5%`)".to_owned(),
            Kind::Choice { now, .. } => {
                let quoted: Vec<String> = now.iter().map(|word| format!("`{word}`")).collect();
                quoted.join(", ")
            }
            Kind::Or(word, kind) => format!("`{word}` or {}", kind.words()),
            Kind::List(kind) => format!("a list of: {}", kind.words()),
            Kind::Map(kind) => format!("a mapping of names to: {}", kind.words()),
            Kind::Object(object) => format!("a mapping ({})", object.name.replace('_', " ")),
            Kind::Either(one, other) => format!("{}, or {}", one.words(), other.words()),
        }
    }
}
