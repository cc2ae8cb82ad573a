//! `routes[].faults`

use std::time::{SystemTime, UNIX_EPOCH};

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{Abort, FAULT_DELAY_MAX, FAULT_UNTIL_MAX, FAULTS_MAX, Fault};
use crate::time;
use crate::units::{Problem, duration_text};

use super::Sink;
use super::fields::Fields;
use super::headers;

/// The faults of a route. What is over is kept, so that it is shown, and said.
pub(super) fn faults(route: &Fields<'_>, sink: &mut Sink) -> Vec<Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let nodes = route.list("faults", FAULTS_MAX, sink);
    nodes
        .iter()
        .filter_map(|node| {
            let fields = Fields::open(node, &tables::FAULT, sink)?;
            fault(&fields, now, sink)
        })
        .collect()
}

fn fault(fields: &Fields<'_>, now: u64, sink: &mut Sink) -> Option<Fault> {
    let delay = fields.duration_or("delay", sink);
    let abort = fields.parsed("abort", sink, |_, text| Abort::read(text));
    if !fields.has("delay") && !fields.has("abort") {
        let diagnostic = Diagnostic::error("missing-field", fields.place, "the fault does nothing");
        sink.push(diagnostic.help("give it `delay` or `abort`"));
    }
    if let Some(node) = fields.node("delay")
        && delay.is_some_and(|delay| delay > FAULT_DELAY_MAX)
    {
        let message = format!("a fault delays by at most {}", duration_text(FAULT_DELAY_MAX));
        sink.problem(node, Problem::new("out-of-range", message));
    }
    let share = fields.share("share", sink);
    let headers = headers::conditions(fields, "headers", headers::name, sink);
    let until = fields.parsed("until", sink, |_, text| time::parse(text))?;
    let last = now.saturating_add(FAULT_UNTIL_MAX.as_secs());
    if let Some(node) = fields.node("until")
        && until > last
    {
        let problem = Problem::new("out-of-range", "a fault ends within 30 days, so that none is forgotten");
        sink.problem(node, problem.help(format!("write at most `{}`", time::text(last))));
    }
    if until <= now {
        let message = "the fault is over: it has no effect any more";
        let diagnostic = Diagnostic::warning("fault-over", fields.value_place("until"), message);
        sink.push(diagnostic.help("take it out, or give it a later `until`"));
    }
    Some(Fault { delay, abort, share, headers, until })
}
