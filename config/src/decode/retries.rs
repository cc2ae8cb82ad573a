//! `retries`, `hedge` and `mirror` of routes, `retry_budget` of services.

use std::time::Duration;

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{GRPC_CODES, Hedge, HedgeAfter, Mirror, Part, Retries, RetryBudget, RetryWhen, Service};
use crate::units::{self, Problem, quoted};

use super::fields::Fields;
use super::near::nearest;
use super::{Placed, Sink, routes};

/// Words of `when` that stand for themselves.
const WORDS: [(&str, RetryWhen); 5] = [
    ("connect", RetryWhen::Connect),
    ("reset", RetryWhen::Reset),
    ("timeout", RetryWhen::Timeout),
    ("gateway", RetryWhen::Gateway),
    ("5xx", RetryWhen::ServerErrors),
];

/// `retries` of a route whose exchanges take `timeout` at most.
pub(super) fn retries(route: &Fields<'_>, timeout: Option<Duration>, sink: &mut Sink) -> Option<Retries> {
    let fields = route.object("retries", sink)?;
    let retries = Retries {
        attempts: fields.integer("attempts", sink),
        when: when(&fields, sink),
        per_try_timeout: fields.duration_or("per_try_timeout", sink),
        backoff: fields.duration("backoff", sink),
        backoff_max: fields.duration("backoff_max", sink),
        buffer: fields.size("buffer", sink),
        unsafe_too: fields.boolean("unsafe", sink),
    };
    if retries.backoff > retries.backoff_max
        && let Some(node) = fields.node("backoff").or(fields.node("backoff_max"))
    {
        let problem = Problem::new("out-of-range", "`backoff` is more than `backoff_max`");
        sink.problem(
            node,
            problem.help("the first wait is up to `backoff`, no wait is up to more than `backoff_max`"),
        );
    }
    if let (Some(each), Some(all)) = (retries.per_try_timeout, timeout)
        && each >= all
    {
        let message = "one try may take as long as the whole exchange: there is no time for another";
        let diagnostic = Diagnostic::warning("no-time", fields.value_place("per_try_timeout"), message);
        sink.push(diagnostic.related(route.value_place("timeout"), "the exchange ends then"));
    }
    Some(retries)
}

fn when(fields: &Fields<'_>, sink: &mut Sink) -> Vec<RetryWhen> {
    let mut when: Vec<RetryWhen> = Vec::new();
    for (text, node) in fields.texts("when", sink) {
        match condition(text) {
            Ok(one) if when.contains(&one) => {
                let message = format!("{} is there already", quoted(text));
                sink.push(Diagnostic::warning("repeated", node.place, message));
            }
            Ok(one) => when.push(one),
            Err(problem) => sink.problem(node, problem),
        }
    }
    routes::not_empty(fields, "when", "to retry nothing leave out `retries`", sink);
    if !fields.has("when") {
        when.extend([RetryWhen::Connect, RetryWhen::Reset]);
    }
    when
}

fn condition(text: &str) -> Result<RetryWhen, Problem> {
    if let Some((_, one)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*one);
    }
    let unknown = || Problem::new("unknown-condition", format!("{} is nothing to retry after", quoted(text)));
    if let Some(name) = text.strip_prefix("grpc:") {
        let lower = name.to_ascii_lowercase();
        return match GRPC_CODES.iter().position(|code| *code == lower) {
            Some(place) => Ok(RetryWhen::Grpc(place as u8 + 1)),
            None if lower == "ok" => Err(unknown().help("a call that ends with OK did not fail")),
            None => Err(match nearest(&lower, GRPC_CODES.into_iter()) {
                Some(near) => unknown().help(format!("did you mean `grpc:{near}`?")),
                None => unknown()
                    .help(format!("codes are {}", GRPC_CODES.map(|code| format!("`{code}`")).join(", "))),
            }),
        };
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return match text.parse() {
            Ok(status @ 400..=599) => Ok(RetryWhen::Status(status)),
            _ => Err(unknown().help("a status that says that something failed: 400 to 599")),
        };
    }
    let names = WORDS.iter().map(|(word, _)| *word);
    Err(match nearest(text, names) {
        Some(near) => unknown().help(format!("did you mean `{near}`?")),
        None if GRPC_CODES.contains(&text.to_ascii_lowercase().as_str()) => {
            unknown().help(format!("did you mean `grpc:{}`?", text.to_ascii_lowercase()))
        }
        None => unknown().help(
            "write `connect`, `reset`, `timeout`, `gateway`, `5xx`, a status (`503`) or a code of gRPC \
             (`grpc:unavailable`)",
        ),
    })
}

/// A condition as it is written.
pub(crate) fn condition_text(when: RetryWhen) -> String {
    match when {
        RetryWhen::Status(status) => status.to_string(),
        RetryWhen::Grpc(code) => {
            let name = GRPC_CODES.get(usize::from(code).wrapping_sub(1));
            format!("grpc:{}", name.copied().unwrap_or("unknown"))
        }
        word => WORDS
            .iter()
            .find(|(_, one)| *one == word)
            .map_or_else(String::new, |(text, _)| (*text).to_owned()),
    }
}

/// `hedge` of a route.
pub(super) fn hedge(route: &Fields<'_>, sink: &mut Sink) -> Option<Hedge> {
    let fields = route.object("hedge", sink)?;
    let after = fields.parsed("after", sink, |_, text| after(text))?;
    Some(Hedge { after, at_least: fields.duration("at_least", sink) })
}

fn after(text: &str) -> Result<HedgeAfter, Problem> {
    if !text.ends_with('%') {
        return units::duration(text).map(HedgeAfter::Time);
    }
    match units::share(text)? {
        share @ 500_000..1_000_000 => Ok(HedgeAfter::Share(share)),
        _ => Err(Problem::new("out-of-range", format!("{} is out of range", quoted(text)))
            .help("from `50%`, which asks twice every other time, to less than `100%`")),
    }
}

/// `mirror` of a route whose own requests go to `split`.
pub(super) fn mirror(
    route: &Fields<'_>,
    split: &[Part],
    services: &[Placed<Service>],
    sink: &mut Sink,
) -> Option<Mirror> {
    let fields = route.object("mirror", sink)?;
    let service = fields.node("service").zip(fields.text("service", sink));
    let service = service.and_then(|(node, text)| routes::service(text, node, services, sink));
    let (share, concurrency) = (fields.share("share", sink), fields.integer("concurrency", sink));
    let body = fields.size("body", sink);
    let service = service?;
    if split.iter().any(|part| part.service == service) {
        let message = "copies go where the requests go: it gets each of them twice";
        sink.push(Diagnostic::warning("mirror-to-itself", fields.value_place("service"), message));
    }
    Some(Mirror { service, share, concurrency, body })
}

/// `retry_budget` of a service.
pub(super) fn budget(service: &Fields<'_>, sink: &mut Sink) -> RetryBudget {
    let fields = service.object_or_default("retry_budget", &tables::RETRY_BUDGET, sink);
    RetryBudget { share: fields.share("share", sink), floor: fields.rate_or("floor", sink).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_back_as_they_are_written() {
        for text in ["connect", "reset", "timeout", "gateway", "5xx", "429", "599", "grpc:unavailable"] {
            assert_eq!(condition(text).map(condition_text), Ok(text.to_owned()));
        }
        assert_eq!(condition("grpc:UNAVAILABLE"), Ok(RetryWhen::Grpc(14)));
    }

    #[test]
    fn what_is_no_condition_is_told_what_would_be() {
        let help = |text: &str| condition(text).unwrap_err().help.unwrap_or_default();
        assert_eq!(help("conect"), "did you mean `connect`?");
        assert_eq!(help("grpc:unavailble"), "did you mean `grpc:unavailable`?");
        assert_eq!(help("unavailable"), "did you mean `grpc:unavailable`?");
        assert!(help("200").contains("400 to 599"));
        assert!(help("grpc:ok").contains("did not fail"));
        assert!(help("whatever happens").contains("`gateway`"));
    }

    #[test]
    fn hedges_come_after_a_time_or_most_answers() {
        assert_eq!(after("95%"), Ok(HedgeAfter::Share(950_000)));
        assert_eq!(after("50ms"), Ok(HedgeAfter::Time(Duration::from_millis(50))));
        for bad in ["100%", "10%", "x", "95"] {
            assert!(after(bad).is_err(), "{bad}");
        }
    }
}
