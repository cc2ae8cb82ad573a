//! Small changes of a file as it is written: every byte that has nothing to do with them stays, comments included.
//!
//! The text is changed at the places that the parser knows, then read again: what comes out must be the configuration
//! that was, with this change and no other, or nothing is changed. So a form that is not understood here is refused and
//! never damaged. Pure.

use crate::expand::Env;
use crate::load::load_str;
use crate::model::{Action, Config, FAULTS_MAX, Fault, labels_text};
use crate::time;
use crate::tree::{self, Entry, Node, Value};
use crate::units::{duration_text, quoted, share_text};

/// What is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The weights of a route's `to`, each with its service's name, or with that and its subset: `orders[version=v2]`. Where
    /// a service is there more than once, one after the other.
    Weights(Vec<(String, u32)>),
    /// A fault more, before those that are there.
    AddFault(Fault),
    /// Faults that are not over end at this time, in seconds since 1970.
    EndFaults(u64),
}

/// A piece of the text, and what stands there instead.
struct Change {
    from: usize,
    to: usize,
    with: String,
}

/// The text of a file with `edit` made to one of its routes.
///
/// # Errors
/// Why it can't be made, and what to do instead.
pub fn edit(name: &str, text: &str, env: &Env<'_>, route: &str, edit: &Edit) -> Result<String, String> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let before = load_str(name, body, env).map_err(|report| report.render())?.config;
    let (wanted, weights) = expected(before, route, edit)?;
    let tree = tree::parse(body).map_err(|diagnostic| diagnostic.message)?;
    let found = find(&tree, route)?;
    let mut changes = match edit {
        Edit::Weights(_) => reweigh(body, found, &weights)?,
        Edit::AddFault(fault) => vec![add_fault(body, found, fault)?],
        Edit::EndFaults(now) => end_faults(found, *now)?,
    };
    changes.sort_by_key(|change| std::cmp::Reverse(change.from));
    let mut edited = body.to_owned();
    for Change { from, to, with } in changes {
        if edited.get(from..to).is_none() {
            return Err(by_hand("its place in the file is not clear"));
        }
        edited.replace_range(from..to, &with);
    }
    match load_str(name, &edited, env) {
        Ok(loaded) if loaded.config == wanted => Ok(format!("{mark}{edited}")),
        _ => Err(by_hand("it is written in a form that can't be changed without touching more")),
    }
}

fn by_hand(why: &str) -> String {
    format!("{why}: edit the file by hand; it is reloaded by itself")
}

/// What the file must say afterwards, and the weights of the route's `to` in its order, where they are what changes.
fn expected(mut config: Config, route: &str, edit: &Edit) -> Result<(Config, Vec<u32>), String> {
    let names: Vec<String> = config.services.iter().map(|service| service.name.clone()).collect();
    let found = config.routes.iter_mut().find(|one| one.name == route);
    let found = found.ok_or_else(|| format!("the file has no route {}", quoted(route)))?;
    let mut weights = Vec::new();
    match edit {
        Edit::Weights(wanted) => {
            let Action::Forward(forward) = &mut found.action else {
                return Err(format!("the route {} goes to no service", quoted(route)));
            };
            if forward.split.len() < 2 {
                let help = "list the services in its `to` first, with weights";
                return Err(format!("the route {} goes to one service: {help}", quoted(route)));
            }
            let mut left = wanted.clone();
            for part in &mut forward.split {
                let service = names.get(part.service.0 as usize).map(String::as_str).unwrap_or_default();
                let whole = match part.subset.is_empty() {
                    true => service.to_owned(),
                    false => format!("{service}[{}]", labels_text(&part.subset)),
                };
                let exact = left.iter().position(|(name, _)| *name == whole);
                let place = exact.or_else(|| left.iter().position(|(name, _)| name == service));
                let place = place.ok_or_else(|| format!("it goes to {whole} too: say its weight"))?;
                part.weight = left.remove(place).1;
                weights.push(part.weight);
            }
            if let Some((name, _)) = left.first() {
                return Err(format!("{} is not in the `to` of the route", quoted(name)));
            }
        }
        Edit::AddFault(_) if found.faults.len() >= FAULTS_MAX => {
            return Err(format!("the route has {FAULTS_MAX} faults already: take some out"));
        }
        Edit::AddFault(fault) => found.faults.insert(0, fault.clone()),
        Edit::EndFaults(now) => {
            let mut ended = false;
            for fault in found.faults.iter_mut().filter(|fault| fault.until > *now) {
                (fault.until, ended) = (*now, true);
            }
            if !ended {
                return Err(format!("the route {} has no fault in the file that is not over", quoted(route)));
            }
        }
    }
    Ok((config, weights))
}

/// The mapping of a route, written where it stands.
fn find<'t>(tree: &'t Node, name: &str) -> Result<(&'t Node, &'t [Entry]), String> {
    let lost = || by_hand("the route's place in the file is not clear");
    let Value::Map(root) = &tree.value else { return Err(lost()) };
    let Some(Node { value: Value::List(routes), .. }) = value(root, "routes") else { return Err(lost()) };
    for (index, node) in routes.iter().enumerate() {
        let Value::Map(entries) = &node.value else { continue };
        let matches = match value(entries, "name").map(|node| &node.value) {
            Some(Value::Text(text)) => text == name,
            _ => format!("route-{}", index + 1) == name,
        };
        if matches {
            return Ok((direct(node)?, entries));
        }
    }
    Err(lost())
}

fn value<'t>(entries: &'t [Entry], name: &str) -> Option<&'t Node> {
    entries.iter().find(|entry| is_called(entry, name)).map(|entry| &entry.value)
}

fn is_called(entry: &Entry, name: &str) -> bool {
    matches!(&entry.key.value, Value::Text(key) if key == name)
}

/// What comes through an alias or a merge is written elsewhere, and maybe for others too.
fn direct(node: &Node) -> Result<&Node, String> {
    match node.written {
        None => Ok(node),
        Some(place) => Err(by_hand(&format!("it is written elsewhere, on line {}", place.line))),
    }
}

/// A text that stands in the file as it is.
fn literal(node: &Node) -> Result<&Node, String> {
    match &direct(node)?.value {
        Value::Text(text) if text.contains("${") => Err(by_hand("its value comes from a variable")),
        Value::Text(_) => Ok(node),
        _ => Err(by_hand("its place in the file is not clear")),
    }
}

fn is_flow(text: &str, node: &Node) -> bool {
    matches!(text.as_bytes().get(node.place.start as usize), Some(b'{' | b'['))
}

fn insert(at: usize, with: String) -> Change {
    Change { from: at, to: at, with }
}

fn replace(node: &Node, with: String) -> Change {
    Change { from: node.place.start as usize, to: node.place.end as usize, with }
}

fn reweigh(text: &str, (_, route): (&Node, &[Entry]), weights: &[u32]) -> Result<Vec<Change>, String> {
    let lost = || by_hand("its `to` is written in a form that is not clear");
    let to = direct(value(route, "to").ok_or_else(lost)?)?;
    let Value::List(items) = &to.value else { return Err(lost()) };
    let mut changes = Vec::new();
    for (item, weight) in items.iter().zip(weights) {
        direct(item)?;
        let entries = match &item.value {
            Value::Text(_) => &[][..],
            Value::Map(entries) => entries,
            _ => return Err(lost()),
        };
        let service = if entries.is_empty() { item } else { value(entries, "service").ok_or_else(lost)? };
        literal(service)?;
        let is_now = |node: &Node| node.value == Value::Text(weight.to_string());
        let written = service.place.start as usize..service.place.end as usize;
        changes.extend(match value(entries, "weight") {
            Some(node) if is_now(node) => None,
            Some(node) => Some(replace(literal(node)?, weight.to_string())),
            None if *weight == 1 => None,
            None if entries.is_empty() => {
                let name = text.get(written).ok_or_else(lost)?;
                Some(replace(service, format!("{{ service: {name}, weight: {weight} }}")))
            }
            None if is_flow(text, item) => Some(insert(written.end, format!(", weight: {weight}"))),
            None => {
                let entry = entries.iter().find(|entry| is_called(entry, "service")).ok_or_else(lost)?;
                Some(line_after(text, entry, &format!("weight: {weight}"))?)
            }
        });
    }
    Ok(changes)
}

fn add_fault(text: &str, (node, route): (&Node, &[Entry]), fault: &Fault) -> Result<Change, String> {
    let fault = fault_text(fault);
    let Some(faults) = value(route, "faults") else {
        // After what names the route; else after the first thing that is simple enough.
        let simple = |entry: &&Entry| literal(&entry.value).is_ok() && !spans_lines(text, &entry.value);
        let named = route.iter().find(|entry| is_called(entry, "name")).filter(simple);
        let anchor = named.or_else(|| route.iter().find(simple));
        let anchor = anchor.ok_or_else(|| by_hand("the route is written in a form that is not clear"))?;
        if is_flow(text, node) {
            return Ok(insert(anchor.value.place.end as usize, format!(", faults: [ {fault} ]")));
        }
        return line_after(text, anchor, &format!("faults: [ {fault} ]"));
    };
    let Value::List(items) = &direct(faults)?.value else {
        return Err(by_hand("its `faults` are written in a form that is not clear"));
    };
    let first = items.first().map(|item| item.place.start as usize);
    if is_flow(text, faults) {
        let comma = if first.is_some() { "," } else { " " };
        return Ok(insert(faults.place.start as usize + 1, format!(" {fault}{comma}")));
    }
    let first = first.ok_or_else(|| by_hand("its `faults` are written in a form that is not clear"))?;
    let begin = text.get(..first).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let lead = text.get(begin..first).unwrap_or_default();
    if lead.trim() != "-" {
        return Err(by_hand("its `faults` are written in a form that is not clear"));
    }
    Ok(insert(begin, format!("{lead}{fault}{}", line_end(text))))
}

fn end_faults((_, route): (&Node, &[Entry]), now: u64) -> Result<Vec<Change>, String> {
    let lost = || by_hand("its `faults` are written in a form that is not clear");
    let faults = direct(value(route, "faults").ok_or_else(lost)?)?;
    let Value::List(items) = &faults.value else { return Err(lost()) };
    let mut changes = Vec::new();
    for item in items {
        let Value::Map(entries) = &direct(item)?.value else { return Err(lost()) };
        let until = literal(value(entries, "until").ok_or_else(lost)?)?;
        let Value::Text(written) = &until.value else { return Err(lost()) };
        if time::parse(written).map_err(|_| lost())? > now {
            changes.push(replace(until, time::text(now)));
        }
    }
    Ok(changes)
}

/// A line of its own after that of `entry`, in the same column.
fn line_after(text: &str, entry: &Entry, line: &str) -> Result<Change, String> {
    let unclear = || by_hand("the route is written in a form that is not clear");
    let end = entry.value.place.end as usize;
    let rest = text.get(end..).ok_or_else(unclear)?;
    let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let tail = rest.trim();
    if spans_lines(text, &entry.value) || !(tail.is_empty() || tail.starts_with('#')) {
        return Err(unclear());
    }
    let indent = " ".repeat(entry.key.place.column as usize - 1);
    let at = end + rest.trim_end_matches('\r').len();
    Ok(insert(at, format!("{}{indent}{line}", line_end(text))))
}

fn spans_lines(text: &str, node: &Node) -> bool {
    text.get(node.place.start as usize..node.place.end as usize).is_none_or(|written| written.contains('\n'))
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// `{ delay: 2s, share: 10%, until: 2026-12-01T00:00:00Z }`
fn fault_text(fault: &Fault) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut parts = Vec::new();
    parts.extend(fault.delay.map(|delay| format!("delay: {}", duration_text(delay))));
    parts.extend(fault.abort.map(|abort| format!("abort: {}", abort.text())));
    if fault.share != 1_000_000 {
        parts.push(format!("share: {}", share_text(fault.share)));
    }
    if !fault.headers.is_empty() {
        let one = |header: &crate::model::ValueMatch| {
            format!("{}: {}", text(&header.name), text(header.value.as_deref().unwrap_or("*")))
        };
        let headers: Vec<String> = fault.headers.iter().map(one).collect();
        parts.push(format!("headers: {{ {} }}", headers.join(", ")));
    }
    parts.push(format!("until: {}", time::text(fault.until)));
    format!("{{ {} }}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Abort, ValueMatch};

    const HEAD: &str = "# Ours.\nlisteners: [ { name: a, address: 127.0.0.1:0 } ]  # one\n\
        services: { a: { endpoints: [ 127.0.0.1:1 ] }, b: { endpoints: [ { address: 127.0.0.1:2, labels: { x: y } } ] } }\nroutes:\n";

    fn edited(routes: &str, what: &Edit) -> Result<String, String> {
        let text = format!("{HEAD}{routes}");
        let edited = edit("test.yaml", &text, &|_| Some("3".into()), "r", what)?;
        Ok(edited.strip_prefix(HEAD).expect("the rest is as it was").to_owned())
    }

    fn weights(a: u32, b: u32) -> Edit {
        Edit::Weights(vec![("b".into(), b), ("a".into(), a)])
    }

    fn fault() -> Edit {
        Edit::AddFault(Fault {
            delay: Some(Duration::from_secs(2)),
            abort: Some(Abort::Grpc(14)),
            share: 5_000,
            headers: vec![ValueMatch { name: "x-chaos".into(), value: Some("a \"b\": #1".into()) }],
            until: 1_700_000_000,
        })
    }

    const FAULT: &str = "{ delay: 2s, abort: grpc:unavailable, share: 0.5%, \
        headers: { \"x-chaos\": \"a \\\"b\\\": #1\" }, until: 2023-11-14T22:13:20Z }";

    #[test]
    fn weights_change_where_they_stand_and_nothing_else_does() {
        for (before, after) in [
            (
                "  - { name: r, to: [ { service: a, weight: 95 }, { service: b, weight: 5 } ] } # split\n",
                "  - { name: r, to: [ { service: a, weight: 80 }, { service: b, weight: 20 } ] } # split\n",
            ),
            (
                "  - name: r # the one\n    to:\n      - service: a # main\n        weight: 95 # most\n      - { service: b, weight: 20 }\n",
                "  - name: r # the one\n    to:\n      - service: a # main\n        weight: 80 # most\n      - { service: b, weight: 20 }\n",
            ),
            (
                "  - name: r\n    to:\n      - service: a # main\n      - { service: \"b\" }\n",
                "  - name: r\n    to:\n      - service: a # main\n        weight: 80\n      - { service: \"b\", weight: 20 }\n",
            ),
            (
                "  - { name: r, to: [ { subset: { x: y }, service: b }, a ] }\n",
                "  - { name: r, to: [ { subset: { x: y }, service: b, weight: 20 }, { service: a, weight: 80 } ] }\n",
            ),
            (
                "  - { name: r, to: [ a, b ] }\n",
                "  - { name: r, to: [ { service: a, weight: 80 }, { service: b, weight: 20 } ] }\n",
            ),
            (
                "  - name: r\n    to:\n      - a\n      - b   # new\n",
                "  - name: r\n    to:\n      - { service: a, weight: 80 }\n      - { service: b, weight: 20 }   # new\n",
            ),
        ] {
            assert_eq!(edited(before, &weights(80, 20)).as_deref(), Ok(after));
        }
    }

    #[test]
    fn a_fault_comes_first_and_nothing_else_changes() {
        for (before, after) in [
            ("  - { name: r, to: a } # x\n", "  - { name: r, faults: [ FAULT ], to: a } # x\n"),
            ("  - name: r # x\n    to: a\n", "  - name: r # x\n    faults: [ FAULT ]\n    to: a\n"),
            ("  - to: a\n    name: \"r\"", "  - to: a\n    name: \"r\"\n    faults: [ FAULT ]"),
            ("  - { name: r, to: a, faults: [] }\n", "  - { name: r, to: a, faults: [ FAULT ] }\n"),
            (
                "  - { name: r, to: a, faults: [ { delay: 1s, until: 2020-01-01T00:00:00Z } ] }\n",
                "  - { name: r, to: a, faults: [ FAULT, { delay: 1s, until: 2020-01-01T00:00:00Z } ] }\n",
            ),
            (
                "  - name: r\n    faults: # of callers\n      # old\n      - delay: 1s\n        until: 2020-01-01T00:00:00Z\n    to: a\n",
                "  - name: r\n    faults: # of callers\n      # old\n      - FAULT\n      - delay: 1s\n        until: 2020-01-01T00:00:00Z\n    to: a\n",
            ),
            ("  - name: r\r\n    to: a\r\n", "  - name: r\r\n    faults: [ FAULT ]\r\n    to: a\r\n"),
        ] {
            let after = after.replace("FAULT", FAULT);
            assert_eq!(edited(before, &fault()).as_deref(), Ok(&*after));
        }
    }

    #[test]
    fn a_route_without_a_name_is_known_by_its_place() {
        let text = format!("{HEAD}  - {{ path: /x, to: a }}\n  - {{ to: b }}\n");
        let edited = edit("test.yaml", &text, &|_| None, "route-2", &fault()).unwrap();
        assert!(edited.ends_with(&format!("  - {{ to: b, faults: [ {FAULT} ] }}\n")), "{edited}");
    }

    #[test]
    fn faults_end_where_they_stand() {
        let before = "  - { name: r, to: a, faults: [ { delay: 1s, until: 2020-01-01T00:00:00Z }, { abort: 503, until: \"2023-11-14T22:13:20Z\" } ] }\n";
        let after = before.replace("\"2023-11-14T22:13:20Z\"", "2022-04-15T14:16:39Z");
        assert_eq!(edited(before, &Edit::EndFaults(1_650_032_199)), Ok(after));
        assert!(edited(before, &Edit::EndFaults(1_800_000_000)).unwrap_err().contains("no fault"));
    }

    proptest::proptest! {
        #[test]
        fn a_text_that_is_cut_anywhere_is_answered(from in 0usize..400, length in 0usize..40, put in "[ \\n\\-{}:,#\"&*]{0,3}") {
            let text = format!(
                "{HEAD}  - name: r # x\n    faults:\n      - {{ delay: 1s, until: 2020-01-01T00:00:00Z }}\n    to:\n      \
                 - service: a # main\n      - {{ service: b, weight: 2 }}\n"
            );
            let (from, to) = (from.min(text.len()), (from + length).min(text.len()));
            let text = format!("{}{put}{}", &text[..from], &text[to..]);
            for what in [weights(8, 2), fault(), Edit::EndFaults(1_500_000_000)] {
                let _ = edit("test.yaml", &text, &|_| None, "r", &what);
            }
        }
    }

    #[test]
    fn what_is_written_elsewhere_or_computed_is_refused() {
        for (routes, what, expected) in [
            ("  - { name: r, to: [ { service: a, weight: \"${W}\" }, b ] }\n", weights(8, 2), "variable"),
            (
                "  - { name: x, to: &to [ a, b ] }\n  - { name: r, path: /x, to: *to }\n",
                weights(8, 2),
                "elsewhere",
            ),
            ("  - { name: r, to: a }\n", weights(8, 2), "one service"),
            ("  - { name: r, respond: { status: 204 } }\n", weights(8, 2), "no service"),
            ("  - { name: other, to: a }\n", weights(8, 2), "no route `r`"),
            ("  - { name: r, to: [ a, b ] }\n", Edit::Weights(vec![("a".into(), 1)]), "goes to b too"),
        ] {
            let why = edited(routes, &what).unwrap_err();
            assert!(why.contains(expected), "{routes}: {why}");
        }
    }
}
