//! What goes with `balance`, where endpoints stand, and subsets.

use std::collections::{BTreeMap, BTreeSet};

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{
    Balance, Balancing, Endpoint, KeySource, Labels, Part, Position, Service, ServiceId, Sticky, labels_text,
};
use crate::units::{Problem, quoted};

use super::fields::{Fields, text_of};
use super::{Placed, Sink, headers, keys, name};

/// Labels of one endpoint.
const LABELS_MAX: usize = 32;
/// Bytes of a label's value.
const LABEL_BYTES_MAX: usize = 128;
/// Subsets of one service that routes and listeners go to. The service as a whole is one more view of it.
const SUBSETS_MAX: usize = 63;
/// Bytes of `sticky.secret`.
const SECRET_BYTES_MAX: usize = 1024;
/// The least load at which a key's endpoint may be passed over: at 100% rounding alone would do it.
const HASH_LOAD: (u64, u64) = (101, 1000);

/// What goes with a service's `balance`.
pub(super) fn balancing(fields: &Fields<'_>, balance: Balance, sink: &mut Sink) -> Balancing {
    let is_hashed = matches!(balance, Balance::RingHash | Balance::Maglev);
    for name in ["hash_by", "hash_load"] {
        if fields.has(name) && !is_hashed {
            let message = format!("`{name}` is for `balance: ring_hash` and `maglev`");
            sink.push(Diagnostic::error("conflict", fields.key_place(name), message));
        }
    }
    if is_hashed && !fields.has("hash_by") {
        let message = "a balance by hash needs to know of what";
        let diagnostic = Diagnostic::error("missing-field", fields.key_place("balance"), message);
        sink.push(diagnostic.help("add `hash_by`, as in `hash_by: cookie:session` or `hash_by: client_ip`"));
    }
    let hash_by = keys::keys(fields, "hash_by", sink);
    if let Some(node) = fields.node("hash_by")
        && hash_by.iter().any(|key| matches!(key, KeySource::Route | KeySource::PathTemplate))
    {
        let message = "`route` and `path_template` are the same for all requests of a route";
        let problem = Problem::new("bad-key", message);
        sink.problem(node, problem.help("hash what tells requests apart, as in `cookie:session` or `path`"));
    }
    let hash_load = fields.parsed("hash_load", sink, |_, text| match text {
        "none" => Ok(None),
        _ => percent(text).map(Some),
    });
    Balancing {
        hash_by,
        hash_load: hash_load.flatten(),
        slow_start: fields.duration_or("slow_start", sink),
        panic: fields.share("panic", sink),
        sticky: sticky(fields, sink),
    }
}

/// `125%`
fn percent(text: &str) -> Result<u16, Problem> {
    let (least, most) = HASH_LOAD;
    let number = text.strip_suffix('%').and_then(|digits| crate::units::integer(digits, 0, u64::MAX).ok());
    let help = format!("write `{least}%` to `{most}%`, or `none`");
    match number {
        None => {
            Err(Problem::new("bad-share", format!("{} is not a whole percentage", quoted(text))).help(help))
        }
        Some(number) if number < least || number > most => {
            Err(Problem::new("out-of-range", format!("{} is out of range", quoted(text))).help(help))
        }
        Some(number) => Ok(u16::try_from(number).unwrap_or(u16::MAX)),
    }
}

fn sticky(service: &Fields<'_>, sink: &mut Sink) -> Option<Sticky> {
    let fields = service.object("sticky", sink)?;
    let cookie = fields.parsed("cookie", sink, |_, text| match headers::is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(Problem::new("bad-name", format!("{} can't be a cookie's name", quoted(text)))),
    });
    let secret = fields.parsed("secret", sink, |_, text| match text.len() <= SECRET_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => Err(Problem::new("out-of-range", format!("a secret has at most {SECRET_BYTES_MAX} bytes"))),
    });
    let ttl = fields.duration_or("ttl", sink);
    Some(Sticky { cookie: cookie?, ttl, secret: secret.unwrap_or_default() })
}

/// `split_by` of a route.
pub(super) fn split_by(route: &Fields<'_>, split: &[Part], sink: &mut Sink) -> Vec<KeySource> {
    let keys = keys::keys(route, "split_by", sink);
    if route.has("split_by") && route.has("to") && split.len() == 1 {
        let message = "`split_by` has nothing to split: `to` is one service";
        sink.push(Diagnostic::warning("nothing-to-split", route.key_place("split_by"), message));
    }
    keys
}

/// `zone` of the file, or of an endpoint.
pub(super) fn zone(fields: &Fields<'_>, sink: &mut Sink) -> Option<String> {
    // `${ZONE:-}` is nothing where the environment says nothing.
    let zone =
        fields.parsed("zone", sink, |_, text| if text.is_empty() { Ok(String::new()) } else { name(text) });
    zone.filter(|zone| !zone.is_empty())
}

/// Where an endpoint stands.
pub(super) fn position(fields: &Fields<'_>, sink: &mut Sink) -> Position {
    Position {
        priority: fields.integer("priority", sink),
        zone: zone(fields, sink),
        labels: labels(fields, "labels", sink),
    }
}

/// Names and values, sorted by name.
pub(super) fn labels(fields: &Fields<'_>, field: &str, sink: &mut Sink) -> Labels {
    let mut labels = Labels::new();
    for (key, entry) in fields.named(field, LABELS_MAX, sink) {
        if let Err(problem) = name(key) {
            sink.problem(&entry.key, problem);
        }
        let Some(value) = text_of(&entry.value, "a label's value", sink) else { continue };
        if value.len() > LABEL_BYTES_MAX || value.contains(|c: char| c.is_control()) {
            let message =
                format!("a label's value has at most {LABEL_BYTES_MAX} bytes, none of them control");
            sink.problem(&entry.value, Problem::new("out-of-range", message));
        }
        labels.push((key.to_owned(), value.to_owned()));
    }
    labels.sort();
    labels
}

/// `subset` of a part of a split. One that no endpoint is in is an error: it would answer 503 to everybody.
pub(super) fn subset(
    part: &Fields<'_>,
    service: ServiceId,
    services: &[Placed<Service>],
    sink: &mut Sink,
) -> Labels {
    let subset = labels(part, "subset", sink);
    let Some(service) = services.get(service.0 as usize).map(|placed| &placed.value) else { return subset };
    if subset.is_empty() || service.endpoints.is_empty() {
        return subset;
    }
    if !service.endpoints.iter().any(|endpoint| is_in(endpoint, &subset)) {
        let message =
            format!("no endpoint of `{}` has the labels {}", service.name, quoted(&labels_text(&subset)));
        let diagnostic = Diagnostic::error("empty-subset", part.value_place("subset"), message);
        sink.push(diagnostic.help(match known(service, &subset) {
            Some(values) => values,
            None => "write them as `labels` of its endpoints".to_owned(),
        }));
    }
    subset
}

fn is_in(endpoint: &Endpoint, subset: &Labels) -> bool {
    subset.iter().all(|label| endpoint.position.labels.contains(label))
}

/// What else the first label of a subset is among the endpoints.
fn known(service: &Service, subset: &Labels) -> Option<String> {
    const TOLD_MAX: usize = 5;
    let (name, _) = subset.first()?;
    let labels = service.endpoints.iter().flat_map(|endpoint| &endpoint.position.labels);
    let mut values: Vec<String> =
        labels.filter(|(label, _)| label == name).map(|(_, value)| quoted(value)).collect();
    values.sort();
    values.dedup();
    values.truncate(TOLD_MAX);
    (!values.is_empty()).then(|| format!("`{name}` is {} there", values.join(", ")))
}

/// Subsets of a service, over the whole file, are few enough.
pub(super) fn count_subsets(parts: &[&Part], services: &[Placed<Service>], sink: &mut Sink) {
    let mut by_service: BTreeMap<ServiceId, BTreeSet<&Labels>> = BTreeMap::new();
    for part in parts.iter().filter(|part| !part.subset.is_empty()) {
        by_service.entry(part.service).or_default().insert(&part.subset);
    }
    for (service, subsets) in by_service {
        if let Some(service) = services.get(service.0 as usize)
            && subsets.len() > SUBSETS_MAX
        {
            let message = format!(
                "{} subsets of `{}` are in use; at most {SUBSETS_MAX} are taken",
                subsets.len(),
                service.value.name
            );
            sink.push(Diagnostic::error("too-many", service.place, message));
        }
    }
}

/// For the table, which says the same.
const _: () = assert!(tables::SUBSET_LABELS_MAX == LABELS_MAX);
