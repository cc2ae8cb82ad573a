//! `routes`

use std::collections::HashMap;

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{
    Action, Forward, HeaderOps, HostPattern, Part, PathPattern, PathTemplate, Redirect, Respond, Route,
    Service, ServiceId,
};
use crate::tree::{Node, Value};
use crate::units::{Problem, quoted};

use super::fields::{Fields, text_of};
use super::headers::{self, Way};
use super::limits::Limits;
use super::near::nearest;
use super::{Placed, Sink, balancing, breaking, faults, grpc, hosts, name, paths, retries, service_id};

/// Routes of one file.
const ROUTES_MAX: usize = 100_000;
/// Services in one split.
const SPLIT_MAX: usize = 1000;
/// Bytes of `respond.body`.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Ways to say what a route does; it has exactly one.
const ACTIONS: [&str; 3] = ["to", "respond", "redirect"];

/// Every route that is a mapping, also where something in it is wrong.
pub(super) fn routes(
    config: &Fields<'_>,
    services: &[Placed<Service>],
    limits: &mut Limits,
    sink: &mut Sink,
) -> Vec<Placed<Route>> {
    let mut routes: Vec<Placed<Route>> = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, node) in config.list("routes", ROUTES_MAX, sink).iter().enumerate() {
        let Some(fields) = Fields::open(node, &tables::ROUTE, sink) else { continue };
        let errors = sink.errors();
        let place = fields.value_place("name");
        let name = fields
            .parsed("name", sink, |_, text| name(text))
            .unwrap_or_else(|| format!("route-{}", index + 1));
        match names.get(&name).and_then(|first| routes.get(*first)) {
            Some(first) => {
                let diagnostic =
                    Diagnostic::error("duplicate-name", place, format!("two routes are named `{name}`"));
                sink.push(diagnostic.related(first.place, "the first is here"));
            }
            None => {
                names.insert(name.clone(), routes.len());
            }
        }
        let value = route(name, &fields, services, limits, sink);
        routes.push(Placed { value, place, sound: sink.errors() == errors });
    }
    routes
}

fn route(
    name: String,
    fields: &Fields<'_>,
    services: &[Placed<Service>],
    limits: &mut Limits,
    sink: &mut Sink,
) -> Route {
    let path = path(fields, sink);
    let action = action(fields, &path, services, sink);
    Route {
        rate_limits: limits.of_route(&name, fields, sink),
        concurrency_limits: limits.at_once(&name, fields, sink),
        name,
        hosts: hosts(fields, sink),
        methods: methods(fields, sink),
        headers: headers::conditions(fields, "headers", headers::name, sink),
        query: headers::conditions(fields, "query", |text| Ok(text.to_owned()), sink),
        action,
        request_headers: request_headers(fields, sink),
        response_headers: headers::ops(fields, "response_headers", Way::Downstream, sink),
        encoded_slashes: fields.boolean("encoded_slashes", sink),
        body_limit: body_limit(fields, sink),
        priority: breaking::priority(fields, sink),
        faults: faults::faults(fields, sink),
        path,
    }
}

fn path(fields: &Fields<'_>, sink: &mut Sink) -> PathPattern {
    let pattern = fields.parsed("path", sink, |_, text| paths::pattern(text));
    if let (Some(_), Some(node)) = (&pattern, fields.node("path"))
        && let Value::Text(text) = &node.value
    {
        if paths::has_encoded_slash(text) && !fields.boolean("encoded_slashes", &mut Sink::default()) {
            let problem = Problem::new("bad-path", "`%2F` in a path never passes here");
            sink.problem(node, problem.help("write `encoded_slashes: true` on this route"));
        }
        if paths::has_double_slash(text) {
            let message = "`//` comes only where a listener has `merge_slashes: false`";
            sink.push(Diagnostic::warning("double-slash", node.place, message));
        }
    }
    pattern.unwrap_or(PathPattern::Any)
}

fn hosts(fields: &Fields<'_>, sink: &mut Sink) -> Vec<HostPattern> {
    let mut patterns = Vec::new();
    for (text, node) in fields.texts("hosts", sink) {
        match hosts::pattern(text) {
            Ok((pattern, changed)) => {
                if changed {
                    let message = format!("{} is matched in lower case", quoted(text));
                    let diagnostic = Diagnostic::warning("upper-case-host", node.place, message);
                    sink.push(diagnostic.help(format!("write `{}`", text.to_ascii_lowercase())));
                }
                if patterns.contains(&pattern) {
                    repeated(text, node, sink);
                } else {
                    patterns.push(pattern);
                }
            }
            Err(problem) => sink.problem(node, problem),
        }
    }
    not_empty(fields, "hosts", "to match any host leave it out", sink);
    patterns
}

fn methods(fields: &Fields<'_>, sink: &mut Sink) -> Vec<String> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let mut methods: Vec<String> = Vec::new();
    for (text, node) in fields.texts("methods", sink) {
        if !headers::is_token(text) {
            sink.problem(node, Problem::new("bad-method", format!("{} is not a method", quoted(text))));
        } else if methods.iter().any(|method| method == text) {
            repeated(text, node, sink);
        } else {
            let upper = text.to_ascii_uppercase();
            if upper != text && KNOWN.contains(&upper.as_str()) {
                let message = format!("the method `{text}` is not `{upper}`: case matters");
                sink.push(
                    Diagnostic::warning("lower-case-method", node.place, message).suggest(Some(&upper)),
                );
            }
            methods.push(text.to_owned());
        }
    }
    not_empty(fields, "methods", "to match any method leave it out", sink);
    methods
}

fn repeated(text: &str, node: &Node, sink: &mut Sink) {
    sink.push(Diagnostic::warning("repeated", node.place, format!("{} is there already", quoted(text))));
}

/// An empty list of conditions looks like "none" and means "any": it is refused.
pub(super) fn not_empty(fields: &Fields<'_>, name: &str, help: &str, sink: &mut Sink) {
    if let Some(node) = fields.node(name)
        && node.value == Value::List(Vec::new())
    {
        sink.problem(node, Problem::new("empty-list", format!("`{name}` is empty")).help(help));
    }
}

/// `none` lifts the listener's limit.
fn body_limit(fields: &Fields<'_>, sink: &mut Sink) -> Option<u64> {
    if !fields.has("body_limit") {
        return None;
    }
    Some(fields.size_or("body_limit", sink).unwrap_or(u64::MAX))
}

fn request_headers(fields: &Fields<'_>, sink: &mut Sink) -> HeaderOps {
    only_with_to(fields, "request_headers", sink);
    headers::ops(fields, "request_headers", Way::Upstream, sink)
}

fn only_with_to(fields: &Fields<'_>, name: &str, sink: &mut Sink) {
    if fields.has(name) && !fields.has("to") && ACTIONS.iter().any(|action| fields.has(action)) {
        let message = format!("`{name}` is for requests that are forwarded; this route has no `to`");
        sink.push(Diagnostic::error("conflict", fields.key_place(name), message));
    }
}

fn action(fields: &Fields<'_>, path: &PathPattern, services: &[Placed<Service>], sink: &mut Sink) -> Action {
    let present: Vec<&str> = ACTIONS.into_iter().filter(|name| fields.has(name)).collect();
    match present[..] {
        [] => {
            let diagnostic = Diagnostic::error("missing-field", fields.place, "the route does nothing");
            sink.push(diagnostic.help("give it one of `to`, `respond` and `redirect`"));
        }
        [first, second, ..] => {
            let message = format!("a route does one thing, but has `{first}` and `{second}`");
            let diagnostic = Diagnostic::error("conflict", fields.key_place(second), message);
            sink.push(diagnostic.related(fields.key_place(first), format!("`{first}` is here")));
        }
        [_] => {}
    }
    only_with_to(fields, "rewrite", sink);
    only_with_to(fields, "timeout", sink);
    for name in ["split_by", "retries", "hedge", "mirror"] {
        only_with_to(fields, name, sink);
    }
    only_with_to(fields, "grpc_web", sink);
    only_with_to(fields, "grpc_json", sink);
    // Each is decoded wherever it is, so that all that is wrong with it is told.
    let respond = respond(fields, sink);
    let redirect = redirect(fields, path, sink);
    let forward = Action::Forward(forward(fields, path, services, sink));
    respond.or(redirect).unwrap_or(forward)
}

fn forward(
    fields: &Fields<'_>,
    path: &PathPattern,
    services: &[Placed<Service>],
    sink: &mut Sink,
) -> Forward {
    let rewrite = fields.object("rewrite", sink);
    let (rewrite_path, rewrite_host) = match &rewrite {
        Some(rewrite) => {
            if !rewrite.has("path") && !rewrite.has("host") {
                let diagnostic =
                    Diagnostic::error("missing-field", rewrite.place, "`rewrite` rewrites nothing");
                sink.push(diagnostic.help("give it `path` or `host`"));
            }
            (new_path(rewrite, path, sink), rewrite.parsed("host", sink, |_, text| hosts::authority(text)))
        }
        None => (None, None),
    };
    let (split, timeout) = (split(fields, services, sink), fields.duration_or("timeout", sink));
    let forward = Forward {
        split_by: balancing::split_by(fields, &split, sink),
        mirror: retries::mirror(fields, &split, services, sink),
        retries: retries::retries(fields, timeout, sink),
        hedge: retries::hedge(fields, sink),
        split,
        rewrite_path,
        rewrite_host,
        grpc_web: grpc::web(fields, sink),
        grpc_json: grpc::json(fields, sink),
        timeout,
    };
    grpc::check(fields, &forward, services, sink);
    forward
}

fn new_path(fields: &Fields<'_>, pattern: &PathPattern, sink: &mut Sink) -> Option<PathTemplate> {
    fields.parsed("path", sink, |_, text| paths::template(text, pattern))
}

/// `to`: a service, or services with weights.
pub(super) fn split(fields: &Fields<'_>, services: &[Placed<Service>], sink: &mut Sink) -> Vec<Part> {
    let Some(node) = fields.node("to") else { return Vec::new() };
    let items = match &node.value {
        Value::Text(text) => {
            return service(text, node, services, sink).map(Part::whole).into_iter().collect();
        }
        Value::Map(_) => std::slice::from_ref(node),
        Value::List(_) => fields.list("to", SPLIT_MAX, sink),
        _ => {
            text_of(node, "a service's name, or a list of services and weights", sink);
            return Vec::new();
        }
    };
    let mut split: Vec<Part> = Vec::with_capacity(items.len());
    let mut sound = true;
    for item in items {
        let part = match &item.value {
            // `to: [orders]` can mean one thing only.
            Value::Text(text) => service(text, item, services, sink).map(Part::whole),
            _ => Fields::open(item, &tables::SPLIT, sink).and_then(|part| {
                let weight = part.integer("weight", sink);
                let node = part.node("service")?;
                let text = part.text("service", sink)?;
                let service = service(text, node, services, sink)?;
                Some(Part { service, weight, subset: balancing::subset(&part, service, services, sink) })
            }),
        };
        match part {
            Some(part) if split.iter().any(|other| other.is_same(&part)) => {
                let message = "the service is in this split already";
                sink.push(Diagnostic::error("duplicate-name", item.place, message));
            }
            Some(part) => split.push(part),
            None => sound = false,
        }
    }
    if sound && split.iter().map(|part| u64::from(part.weight)).sum::<u64>() == 0 {
        let problem = Problem::new("out-of-range", "the weights add up to nothing");
        sink.problem(node, problem.help("give at least one service a weight above 0"));
    }
    split
}

pub(super) fn service(
    text: &str,
    node: &Node,
    services: &[Placed<Service>],
    sink: &mut Sink,
) -> Option<ServiceId> {
    if let Ok(index) = services.binary_search_by(|service| service.value.name.as_str().cmp(text)) {
        return Some(service_id(index));
    }
    let problem = Problem::new("unknown-service", format!("there is no service {}", quoted(text)));
    let names = services.iter().map(|service| service.value.name.as_str());
    let near = if sink.is_full() { None } else { nearest(text, names) };
    sink.problem(
        node,
        match near {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None if services.is_empty() => problem.help("`services` has none"),
            None => problem,
        },
    );
    None
}

fn respond(route: &Fields<'_>, sink: &mut Sink) -> Option<Action> {
    let fields = route.object("respond", sink)?;
    let status = fields.integer("status", sink);
    let body = fields.parsed("body", sink, |_, text| {
        if text.len() > BODY_BYTES_MAX {
            return Err(Problem::new(
                "out-of-range",
                format!("a fixed body has at most {BODY_BYTES_MAX} bytes"),
            ));
        }
        Ok(text.to_owned())
    });
    let body = body.unwrap_or_default();
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        let message = format!("a response with status {status} has no body");
        sink.push(Diagnostic::error("conflict", fields.key_place("body"), message));
    }
    let content_type =
        fields.parsed("content_type", sink, |_, text| headers::value(text)).unwrap_or_default();
    Some(Action::Respond(Respond { status, body, content_type }))
}

fn redirect(route: &Fields<'_>, pattern: &PathPattern, sink: &mut Sink) -> Option<Action> {
    let fields = route.object("redirect", sink)?;
    if !["path", "scheme", "host", "port"].into_iter().any(|name| fields.has(name)) {
        let diagnostic =
            Diagnostic::error("missing-field", fields.place, "the redirect leads to where it came from");
        sink.push(diagnostic.help("give it at least one of `path`, `scheme`, `host` and `port`"));
    }
    let host = fields.parsed("host", sink, |_, text| {
        hosts::name(text)?;
        Ok(text.to_ascii_lowercase())
    });
    let scheme =
        fields.choice("scheme", sink).map(|index| if index == 0 { "http" } else { "https" }.to_owned());
    Some(Action::Redirect(Redirect {
        status: fields.chosen("status", &[301, 302, 303, 307, 308], sink),
        scheme,
        host,
        port: fields.integer_or("port", sink).and_then(|port| u16::try_from(port).ok()),
        path: new_path(&fields, pattern, sink),
    }))
}
