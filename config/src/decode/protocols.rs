//! What is spoken beside HTTP/1.1, and what of a listener's fields goes together.

use crate::describe::tables;
use crate::diagnostic::Diagnostic;
use crate::model::{
    Action, Detect, HeaderOps, Http2, ListenerHttp2, ListenerProtocol, PathPattern, ProxyProtocol, Route,
    RouteId, Service, Tcp, Tls, Udp,
};
use crate::tree::{Node, Value};
use crate::units::{self, Problem};

use super::fields::{Fields, text_of};
use super::{Placed, Sink, arrivals, routes};

/// Fields of a listener that mean nothing where it does not speak HTTP.
pub(crate) const HTTP_ONLY: &[&str] = &[
    "routes",
    "http2",
    "trusted_hops",
    "upgrades",
    "underscores",
    "merge_slashes",
    "connect",
    "trace",
    "errors",
];
/// Fields of a listener that mean nothing where there are no connections.
const STREAM_ONLY: &[&str] = &["tcp", "tls", "protocol", "detect", "proxy_protocol", "limits", "timeouts"];
/// Ports in one list.
const PORTS_MAX: usize = 1000;

/// Whether requests are served, or connections carried as they are.
pub(super) fn is_http(listener: &Fields<'_>) -> bool {
    !listener.has("udp") && (!listener.has("tcp") || is_auto(listener.node("protocol")))
}

/// The same of a listener that was not opened yet.
pub(super) fn is_http_node(listener: &Node) -> bool {
    let Value::Map(entries) = &listener.value else { return true };
    let named = |name: &str| entries.iter().find(|entry| entry.key.value == Value::Text(name.to_owned()));
    named("udp").is_none() && (named("tcp").is_none() || is_auto(named("protocol").map(|entry| &entry.value)))
}

fn is_auto(protocol: Option<&Node>) -> bool {
    protocol.is_some_and(|node| node.value == Value::Text("auto".to_owned()))
}

/// `streams`, `window` and `connection_window`.
pub(super) fn bounds(fields: &Fields<'_>, sink: &mut Sink) -> Http2 {
    let window = fields.size("window", sink);
    let connection_window = fields.size("connection_window", sink);
    if let Some(node) = fields.node("window")
        && window > connection_window
    {
        let message = "one stream's window is larger than that of its connection";
        sink.problem(node, Problem::new("out-of-range", message));
    }
    Http2 { streams: fields.integer("streams", sink), window, connection_window }
}

/// `http2` of a listener.
pub(super) fn listener_http2(listener: &Fields<'_>, sink: &mut Sink) -> ListenerHttp2 {
    let fields = listener.object_or_default("http2", &tables::LISTENER_HTTP2, sink);
    let rate = |name, sink: &mut Sink| fields.rate_or(name, sink).unwrap_or(u32::MAX);
    ListenerHttp2 {
        bounds: bounds(&fields, sink),
        unsent: fields.size("unsent", sink),
        resets: rate("resets", sink),
        control_frames: rate("control_frames", sink),
        empty_frames: rate("empty_frames", sink),
        continuations: fields.integer("continuations", sink),
        stream_errors: fields.integer("stream_errors", sink),
        keep_alive: fields.duration_or("keep_alive", sink),
    }
}

/// `tcp` of a listener.
pub(super) fn tcp(listener: &Fields<'_>, services: &[Placed<Service>], sink: &mut Sink) -> Option<Tcp> {
    let fields = listener.object("tcp", sink)?;
    let proxy_protocols = [ProxyProtocol::None, ProxyProtocol::V1, ProxyProtocol::V2];
    Some(Tcp {
        split: routes::split(&fields, services, sink),
        proxy_protocol: fields.chosen("proxy_protocol", &proxy_protocols, sink),
    })
}

/// `udp` of a listener.
pub(super) fn udp(listener: &Fields<'_>, services: &[Placed<Service>], sink: &mut Sink) -> Option<Udp> {
    let fields = listener.object("udp", sink)?;
    for name in HTTP_ONLY.iter().chain(STREAM_ONLY).filter(|name| listener.has(name)) {
        let message = format!("`{name}` means nothing where datagrams are carried");
        sink.push(Diagnostic::error("conflict", listener.key_place(name), message));
    }
    Some(Udp {
        split: routes::split(&fields, services, sink),
        idle: fields.duration("idle", sink),
        sessions: fields.integer("sessions", sink),
        rate: arrivals::rate(&fields, "rate", sink),
        client_rate: arrivals::client_rate(&fields, sink),
    })
}

/// `detect` of a listener.
pub(super) fn detect(listener: &Fields<'_>, sink: &mut Sink) -> Detect {
    let fields = listener.object_or_default("detect", &tables::DETECT, sink);
    let timeout = fields.duration("timeout", sink);
    let mut opaque_ports = Vec::new();
    for node in fields.list("opaque_ports", PORTS_MAX, sink) {
        let Some(text) = text_of(node, "a port", sink) else { continue };
        match units::integer(text, 1, u64::from(u16::MAX)) {
            Ok(port) => opaque_ports.extend(u16::try_from(port)),
            Err(problem) => sink.problem(node, problem),
        }
    }
    Detect { timeout, opaque_ports }
}

/// Fields that contradict each other, or mean nothing beside each other.
pub(super) fn check(
    listener: &Fields<'_>,
    protocol: ListenerProtocol,
    tls: &Option<Tls>,
    tcp: &Option<Tcp>,
    served: &[RouteId],
    routes: &[Placed<Route>],
    sink: &mut Sink,
) {
    let passthrough = *tls == Some(Tls::Passthrough);
    let auto = protocol == ListenerProtocol::Auto;
    if auto && tcp.is_none() && !listener.has("tcp") {
        let message = "`protocol: auto` needs to know where bytes go that are not HTTP";
        let diagnostic = Diagnostic::error("missing-field", listener.key_place("protocol"), message);
        sink.push(diagnostic.help("add `tcp: { to: NAME }`"));
    }
    if auto && passthrough {
        let message = "`protocol: auto` looks into connections, which `tls: passthrough` does not";
        sink.push(Diagnostic::error("conflict", listener.key_place("tls"), message));
    }
    if !auto && listener.has("detect") {
        let message = "`detect` has a meaning with `protocol: auto` only";
        sink.push(Diagnostic::error("conflict", listener.key_place("detect"), message));
    }
    if tcp.is_some() && passthrough {
        let message = "`tls: passthrough` sends connections where routes say; `tcp` sends them to one place";
        let diagnostic = Diagnostic::error("conflict", listener.key_place("tcp"), message);
        sink.push(diagnostic.help("leave out `tls`: bytes under TLS are bytes"));
    }
    if tcp.is_some() && !auto {
        for name in HTTP_ONLY.iter().filter(|name| listener.has(name)) {
            let message = format!("`{name}` means nothing where connections are carried as bytes");
            sink.push(Diagnostic::error("conflict", listener.key_place(name), message));
        }
    }
    if passthrough {
        for id in served {
            let Some(route) = routes.get(id.0 as usize) else { continue };
            if !goes_by_name(&route.value) {
                let message = format!(
                    "the route `{}` asks for more than a name, and `tls: passthrough` sees nothing else",
                    route.value.name
                );
                let diagnostic = Diagnostic::error("conflict", route.place, message);
                let diagnostic = diagnostic.related(listener.key_place("tls"), "nothing is decrypted here");
                sink.push(
                    diagnostic.help("such a route has `hosts`, `to` and a `priority`, and nothing else"),
                );
            }
        }
    }
}

fn goes_by_name(route: &Route) -> bool {
    let plain = matches!(&route.action, Action::Forward(forward)
        if forward.rewrite_path.is_none() && forward.rewrite_host.is_none()
            && forward.retries.is_none() && forward.hedge.is_none() && forward.mirror.is_none()
            && forward.timeout.is_none() && forward.split_by.is_empty());
    plain
        && route.rate_limits.is_empty()
        && route.concurrency_limits.is_empty()
        && route.path == PathPattern::Any
        && route.methods.is_empty()
        && route.headers.is_empty()
        && route.query.is_empty()
        && route.faults.is_empty()
        && route.request_headers == HeaderOps::default()
        && route.response_headers == HeaderOps::default()
}
