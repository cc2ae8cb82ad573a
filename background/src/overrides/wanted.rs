//! What an operator asks to change, read from JSON, strictly. Pure.

use std::time::Duration;

use ringway_config::model::{Abort, FAULT_DELAY_MAX, Fault, ValueMatch};
use ringway_config::units::{self, Problem, duration_text};
use serde_json::{Map, Value};

use crate::standing::ByHand;

/// Header conditions of a fault.
const HEADERS_MAX: usize = 16;
/// Services in a split.
const WEIGHTS_MAX: usize = 1000;
/// The largest weight, as in a file.
const WEIGHT_MAX: u64 = 1_000_000;
/// Characters of a name, an address or a header's value.
const TEXT_MAX: usize = 1024;

/// A change, before it is known whether there is what is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What.
    pub change: Change,
    /// For how long.
    pub within: Duration,
    /// Who asks, as it says.
    pub by: Option<String>,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// How an endpoint stands.
    Endpoint {
        /// Name of its service.
        service: String,
        /// As it is shown.
        endpoint: String,
        /// What is to be.
        order: ByHand,
    },
    /// Weights of a route's services.
    Split {
        /// Name of the route.
        route: String,
        /// In the order of its `to`, as far as a service is there more than once.
        weights: Vec<(String, u32)>,
    },
    /// A fault on a route.
    Fault {
        /// Name of the route.
        route: String,
        /// Its `until` is still to be set.
        fault: Fault,
    },
}

/// Reads a body; `kind` is the end of the path it was sent to.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn read(kind: &str, body: &[u8]) -> Result<Wanted, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let Value::Object(map) = value else { return Err("the body is not a JSON object".into()) };
    let mut fields = Fields { map };
    let change = match kind {
        "endpoint" => endpoint(&mut fields)?,
        "split" => split(&mut fields)?,
        "fault" => fault(&mut fields)?,
        other => return Err(format!("there is nothing like `{other}` to change")),
    };
    let within = fields.text("for")?.ok_or("`for` says for how long, as in `10m`: it is needed")?;
    let wanted = Wanted {
        change,
        within: units::duration(&within).map_err(|problem| said("for", problem))?,
        by: fields.text("by")?.map(|by| by.chars().filter(|c| !c.is_control()).take(64).collect()),
    };
    fields.end()?;
    Ok(wanted)
}

fn endpoint(fields: &mut Fields) -> Result<Change, String> {
    let order = match &*fields.needed("order")? {
        "eject" => ByHand::Eject,
        "drain" => ByHand::Drain,
        "pin" => ByHand::Pin,
        _ => return Err("`order` is `eject`, `drain` or `pin`".into()),
    };
    Ok(Change::Endpoint { service: fields.needed("service")?, endpoint: fields.needed("endpoint")?, order })
}

fn split(fields: &mut Fields) -> Result<Change, String> {
    const FORM: &str = "`weights` is a list of `{ \"service\": NAME, \"weight\": NUMBER }`";
    let Some(Value::Array(list)) = fields.map.remove("weights") else { return Err(FORM.into()) };
    if list.is_empty() || list.len() > WEIGHTS_MAX {
        return Err(FORM.into());
    }
    let entry = |entry: Value| {
        let Value::Object(map) = entry else { return Err(FORM.to_owned()) };
        let mut fields = Fields { map };
        let service = fields.needed("service")?;
        let weight = fields.map.remove("weight").and_then(|weight| weight.as_u64());
        let weight = weight.filter(|weight| *weight <= WEIGHT_MAX);
        fields.end()?;
        let weight = weight.and_then(|weight| u32::try_from(weight).ok());
        Ok((service, weight.ok_or_else(|| format!("a weight is a whole number, 0 to {WEIGHT_MAX}"))?))
    };
    let weights = list.into_iter().map(entry).collect::<Result<Vec<_>, String>>()?;
    if weights.iter().all(|(_, weight)| *weight == 0) {
        return Err("the weights add up to nothing; give at least one service a weight above 0".into());
    }
    Ok(Change::Split { route: fields.needed("route")?, weights })
}

fn fault(fields: &mut Fields) -> Result<Change, String> {
    let delay = fields.parsed("delay", units::duration)?;
    if delay.is_some_and(|delay| delay > FAULT_DELAY_MAX) {
        return Err(format!("`delay` is at most {}", duration_text(FAULT_DELAY_MAX)));
    }
    let abort = fields.parsed("abort", Abort::read)?;
    if delay.is_none() && abort.is_none() {
        return Err("a fault does something; give it `delay` or `abort`".into());
    }
    let share = fields.parsed("share", units::share)?.unwrap_or(1_000_000);
    let fault = Fault { delay, abort, share, headers: headers(fields)?, until: 0 };
    Ok(Change::Fault { route: fields.needed("route")?, fault })
}

fn headers(fields: &mut Fields) -> Result<Vec<ValueMatch>, String> {
    const FORM: &str = "`headers` is an object of names and values; the value `*` is any";
    let headers = match fields.map.remove("headers") {
        None => return Ok(Vec::new()),
        Some(Value::Object(headers)) if headers.len() <= HEADERS_MAX => headers,
        Some(_) => return Err(FORM.into()),
    };
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let condition = |(name, value): (String, Value)| match value {
        Value::String(value)
            if !name.is_empty()
                && name.chars().all(token)
                && value.len() <= TEXT_MAX
                && !value.chars().any(char::is_control) =>
        {
            Ok(ValueMatch { name: name.to_ascii_lowercase(), value: (value != "*").then_some(value) })
        }
        _ => Err(FORM.to_owned()),
    };
    headers.into_iter().map(condition).collect()
}

/// What is left to be read.
struct Fields {
    map: Map<String, Value>,
}

impl Fields {
    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.map.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= TEXT_MAX => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` is not a text")),
        }
    }

    fn needed(&mut self, name: &str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| format!("`{name}` is needed"))
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, String> {
        let text = self.text(name)?;
        text.map(|text| read(&text).map_err(|problem| said(name, problem))).transpose()
    }

    fn end(&self) -> Result<(), String> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("unknown field {}", units::quoted(name))),
        }
    }
}

fn said(name: &str, problem: Problem) -> String {
    match problem.help {
        None => format!("`{name}`: {}", problem.message),
        Some(help) => format!("`{name}`: {}; {help}", problem.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read() {
        let body =
            br#"{ "service": "s", "endpoint": "127.0.0.1:1", "order": "drain", "for": "10m", "by": "me\n" }"#;
        let wanted = read("endpoint", body).unwrap();
        assert_eq!((wanted.within, wanted.by.as_deref()), (Duration::from_secs(600), Some("me")));
        let order = ByHand::Drain;
        let change = Change::Endpoint { service: "s".into(), endpoint: "127.0.0.1:1".into(), order };
        assert_eq!(wanted.change, change);

        let body = br#"{ "route": "r", "weights": [ { "service": "a", "weight": 9 }, { "service": "b", "weight": 0 } ], "for": "1h" }"#;
        let weights = vec![("a".into(), 9), ("b".into(), 0)];
        assert_eq!(read("split", body).unwrap().change, Change::Split { route: "r".into(), weights });

        let body = br#"{ "route": "r", "delay": "2s", "abort": "grpc:unavailable", "share": "10%",
            "headers": { "X-Chaos": "1", "y": "*" }, "for": "5m" }"#;
        let Change::Fault { fault, .. } = read("fault", body).unwrap().change else { panic!() };
        assert_eq!((fault.delay, fault.abort), (Some(Duration::from_secs(2)), Some(Abort::Grpc(14))));
        assert_eq!((fault.share, fault.headers[0].name.as_str()), (100_000, "x-chaos"));
        assert_eq!(fault.headers[1].value, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (kind, body, expected) in [
            ("fault", "", "not JSON"),
            ("fault", "[]", "not a JSON object"),
            ("fault", r#"{ "route": "r", "delay": "2s" }"#, "`for`"),
            ("fault", r#"{ "route": "r", "delay": "2s", "for": "25h" }"#, "more than 24h"),
            ("fault", r#"{ "route": "r", "delay": "2", "for": "1m" }"#, "did you mean `2s`"),
            ("fault", r#"{ "route": "r", "delay": "10m", "for": "1m" }"#, "at most 5m"),
            ("fault", r#"{ "route": "r", "delay": 2, "for": "1m" }"#, "not a text"),
            ("fault", r#"{ "route": "r", "for": "1m" }"#, "give it `delay` or `abort`"),
            ("fault", r#"{ "delay": "2s", "for": "1m" }"#, "`route` is needed"),
            ("fault", r#"{ "route": "r", "delay": "2s", "for": "1m", "untl": "x" }"#, "unknown field `untl`"),
            (
                "fault",
                r#"{ "route": "r", "delay": "2s", "for": "1m", "headers": { "a b": "1" } }"#,
                "headers",
            ),
            ("split", r#"{ "route": "r", "weights": [], "for": "1m" }"#, "`weights` is a list"),
            ("split", r#"{ "route": "r", "weights": [{"service":"a","weight":-1}], "for": "1m" }"#, "0 to"),
            ("split", r#"{ "route": "r", "weights": [{"service":"a","weight":0}], "for": "1m" }"#, "nothing"),
            ("endpoint", r#"{ "service": "s", "endpoint": "e", "order": "stop", "for": "1m" }"#, "`eject`"),
            ("other", "{}", "`other`"),
        ] {
            let said = read(kind, body.as_bytes()).unwrap_err();
            assert!(said.contains(expected), "{body}: {said}");
        }
    }
}
