//! The limits a request meets, in the order in which they are asked.

use super::Request;
use crate::http1::{self, RequestHead};
use crate::key::{KeyInput, KeyPart, KeyPlan};
use crate::limits::limiter::What;
use crate::snapshot::{LimitPlan, MissingKey, RouteLimit, RoutePlan, Snapshot};

/// One line for each, with the request's key.
pub(super) fn policies(
    snapshot: &Snapshot,
    route: &RoutePlan,
    request: &Request,
    path: &[u8],
) -> Vec<String> {
    let mut text = format!("{} {}", request.method, request.path);
    if !request.query.is_empty() {
        text.extend(["?", &request.query]);
    }
    text.extend([" HTTP/1.1\r\nHost: ", &request.authority, "\r\n"]);
    for (name, value) in request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    let mut head = RequestHead::default();
    let parsed = head.parse(text.as_bytes(), &http1::Limits::default()).is_ok();
    let request = http1::Request { bytes: text.as_bytes(), head: &head };
    let input = parsed.then_some(KeyInput { request, path, client: None });
    let told = |of: &RouteLimit| line(&snapshot.limits[of.limit.0 as usize], of, input.as_ref());
    route.limits.iter().map(told).collect()
}

/// The parts with the request's values; whose client it is is not known here.
fn key(plan: &KeyPlan, input: Option<&KeyInput<'_>>) -> String {
    let part = |part: &KeyPart| {
        let word = part.word();
        let value = match (part, input) {
            (KeyPart::ClientIp { .. }, _) | (_, None) => return word,
            (_, Some(input)) => KeyPlan::new([part.clone()]).values(input).and_then(|mut all| all.pop()),
        };
        value.map_or_else(|| format!("{word} (absent)"), |(_, value)| format!("{word} = {value}"))
    };
    plan.parts().iter().map(part).collect::<Vec<_>>().join(", ")
}

fn line(plan: &LimitPlan, of: &RouteLimit, input: Option<&KeyInput<'_>>) -> String {
    let what = match plan.spec.what {
        What::Rate(rate) => {
            let (count, seconds) = plan.quota;
            let period = match seconds {
                1 => "a second".to_owned(),
                60 => "a minute".to_owned(),
                3600 => "an hour".to_owned(),
                86_400 => "a day".to_owned(),
                other => format!("in {other}s"),
            };
            format!("rate limit {}: {count} {period}, {} at once", plan.name, rate.burst())
        }
        What::AtOnce(most) => format!("concurrency limit {}: {most} at once", plan.name),
    };
    let fleet = plan.fleet.as_ref().map_or_else(String::new, |fleet| format!(" in the fleet {fleet}"));
    let per = if of.key.is_empty() { "all requests together".to_owned() } else { key(&of.key, input) };
    let missing = match plan.missing {
        _ if of.key.is_empty() => "",
        MissingKey::Together => "; those that lack it together",
        MissingKey::Pass => "; those that lack it are not limited",
        MissingKey::Deny => "; those that lack it are refused",
    };
    let costs = match &*of.costs {
        [(_, 1)] => String::new(),
        costs => {
            let cost = |(method, cost): &(Box<[u8]>, u32)| match &**method {
                b"" => format!("{cost}"),
                method => format!("{} {cost}", String::from_utf8_lossy(method)),
            };
            format!("; costs {}", costs.iter().map(cost).collect::<Vec<_>>().join(", "))
        }
    };
    let header = of.cost_header.as_ref().map_or_else(String::new, |name| {
        format!("; {} of the response tells the cost", String::from_utf8_lossy(name))
    });
    let then = if plan.dry_run { "; counted only (dry_run)" } else { "; else 429" };
    format!("{what}{fleet}, by {per}{missing}{costs}{header}{then}")
}
