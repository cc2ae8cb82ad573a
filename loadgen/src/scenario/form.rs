//! The YAML of a scenario, as it is written: fields and their places, not yet what they mean.
//!
//! Invariant: whatever the text says, what comes out is bounded by the constants below.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
pub(super) use serde_saphyr::Spanned as At;

/// Bytes of a scenario file.
pub(super) const INPUT_BYTES_MAX: usize = 32 << 20;

/// The whole file. All is optional and text here, so that everything that is missing or wrong can be told at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    pub target: Option<At<String>>,
    pub connections: Option<At<String>>,
    pub rate: Option<At<String>>,
    pub duration: Option<At<String>>,
    pub arrivals: Option<At<String>>,
    pub phases: Option<At<Vec<At<PhaseForm>>>>,
    #[serde(default)]
    pub headers: Pairs<At<String>>,
    #[serde(default)]
    pub variables: Pairs<At<VariableForm>>,
    pub requests: Option<At<Vec<At<RequestForm>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhaseForm {
    pub ramp: Option<At<String>>,
    pub steady: Option<At<String>>,
    pub spike: Option<At<String>>,
    pub r#for: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VariableForm {
    pub csv: Option<At<String>>,
    pub range: Option<At<String>>,
    pub order: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestForm {
    pub name: Option<At<String>>,
    pub weight: Option<At<String>>,
    pub method: Option<At<String>>,
    pub path: Option<At<String>>,
    #[serde(default)]
    pub headers: Pairs<At<String>>,
    pub body: Option<At<String>>,
    pub body_file: Option<At<String>>,
    pub expect: Option<ExpectForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectForm {
    pub status: Option<At<Statuses>>,
}

/// A mapping in the order written, with the places of its keys.
pub(super) struct Pairs<T>(pub Vec<(At<String>, T)>);

/// `200` or `[200, 404]`.
pub(super) struct Statuses(pub Vec<String>);

/// Reads the text as one YAML document. The error begins with its place.
pub(super) fn parse(text: &str) -> Result<Form, String> {
    if text.len() > INPUT_BYTES_MAX {
        return Err(format!("1:1: the file has {} bytes; at most {INPUT_BYTES_MAX} are read", text.len()));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            flow_nesting_limit: 16,
            max_nodes: 500_000,
            max_events: 1_000_000,
            max_total_scalar_bytes: INPUT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 4,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Form>(text, options).map_err(|error| syntax_error(&error))
}

fn syntax_error(error: &serde_saphyr::Error) -> String {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
    let render = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
    let message = error.render_with_options(render);
    // The place stands before it already.
    let end = [" at line ", "\n"].iter().filter_map(|cut| message.find(cut)).min().unwrap_or(message.len());
    format!("{line}:{column}: {}", message[..end].trim_start_matches("error: "))
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Pairs(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

struct PairsVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a mapping such as { name: value }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusesVisitor)
    }
}

struct StatusesVisitor;

impl<'de> Visitor<'de> for StatusesVisitor {
    type Value = Statuses;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a status such as 200, or a list such as [200, 404]")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<Statuses, E> {
        Ok(Statuses(vec![status.to_string()]))
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<Statuses, E> {
        Ok(Statuses(vec![status.to_string()]))
    }

    fn visit_str<E: Error>(self, status: &str) -> Result<Statuses, E> {
        Ok(Statuses(vec![status.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
        let mut statuses = Vec::new();
        while let Some(status) = list.next_element()? {
            statuses.push(status);
        }
        Ok(Statuses(statuses))
    }
}
