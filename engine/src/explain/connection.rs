//! What comes before requests: which listener, what it speaks, and where bytes and datagrams go.

use super::{Canonical, Explanation, Outcome, Request, Scheme, canonical_path, query, services};
use crate::balance::Address;
use crate::proxy_protocol::Form;
use crate::routing::RouteQuery;
use crate::snapshot::{ActionPlan, ListenerPlan, Mode, Snapshot, Split, TcpPlan, UdpPlan};

use super::render::duration;
use super::services::Carries;

/// By the port of the URL; for a connection by its name; else the only one, or the first with a route that matches.
pub(super) fn choose<'s>(
    snapshot: &'s Snapshot,
    request: &Request,
    canonical: Canonical<'_>,
) -> (Option<&'s ListenerPlan>, String) {
    let udp = request.scheme == Scheme::Udp;
    let listeners: Vec<&ListenerPlan> = snapshot.listeners.iter().filter(|one| one.is_udp() == udp).collect();
    let port_of = |listener: &ListenerPlan| match &listener.address {
        Address::Ip(address) => Some(address.port()),
        Address::Unix(_) => None,
    };
    if let Some(port) = request.port()
        && let Some(listener) = listeners.iter().find(|listener| port_of(listener) == Some(port))
    {
        return (Some(listener), format!("it has port {port}"));
    }
    if !request.scheme.is_request()
        && let Some(listener) = listeners.iter().find(|listener| *listener.name == *request.authority)
    {
        return (Some(listener), "it has this name".to_owned());
    }
    let aside = request.port().map_or_else(String::new, |port| format!("none has port {port}; "));
    if let [only] = &listeners[..] {
        return (Some(only), format!("{aside}it is the only one"));
    }
    if !request.scheme.is_request() {
        let fits = |listener: &&&ListenerPlan| match listener.mode {
            Mode::Tcp(_) | Mode::Auto { .. } => request.scheme == Scheme::Tcp,
            Mode::Passthrough => {
                request.scheme == Scheme::Tls && by_name(snapshot, listener, request).is_some()
            }
            Mode::Http | Mode::Udp(_) => false,
        };
        return match listeners.iter().find(fits) {
            Some(listener) => (Some(listener), format!("{aside}it is the first that carries this")),
            None => (listeners.first().copied(), format!("{aside}none carries this; it is the first")),
        };
    }
    let matches = |listener: &ListenerPlan| {
        canonical_path(listener, request, canonical)
            .is_ok_and(|path| listener.router.route(&query(request, &path), &request.headers[..]).is_ok())
    };
    let as_said = |listener: &ListenerPlan| match request.scheme {
        Scheme::Https => listener.tls.is_some() || matches!(listener.mode, Mode::Passthrough),
        Scheme::Http => listener.tls.is_none(),
        _ => true,
    };
    let all = || listeners.iter().copied().filter(|listener| matches(listener));
    match all().find(|listener| as_said(listener)).or_else(|| all().next()) {
        Some(listener) => (Some(listener), format!("{aside}it is the first with a route that matches")),
        None => (
            listeners.first().copied(),
            format!("{aside}no listener has a route that matches; it is the first"),
        ),
    }
}

/// What a listener speaks before what is explained comes, where that is more than HTTP.
pub(super) fn speaks(listener: &ListenerPlan, request: &Request) -> Vec<String> {
    let mut told = Vec::new();
    if !listener.proxy_protocol.is_empty() {
        told.push("PROXY protocol first, from those who must speak it".to_owned());
    }
    if let Some(rate) = &listener.limits.client_rate {
        told.push(format!("connections from {}; beyond that they are reset", rate.told()));
    }
    if let Mode::Auto { detect_ms, opaque_ports, .. } = &listener.mode {
        let ports = if opaque_ports.is_empty() { "" } else { ", and whatever comes to an opaque port" };
        told.push(format!(
            "detects: what begins like HTTP is HTTP; the rest, who is silent for {}{ports} are bytes",
            duration(*detect_ms)
        ));
    }
    if matches!(listener.mode, Mode::Passthrough) {
        told.push("TLS is passed through: by the name it asks for, without decrypting".to_owned());
    }
    if let Some(tls) =
        listener.tls.as_ref().filter(|_| request.scheme.is_tls() || request.scheme == Scheme::Unsaid)
    {
        let name = request.host();
        let alpn = if listener.mode.serves_http() { "; HTTP/2 or HTTP/1.1 by ALPN" } else { "" };
        told.push(match (tls.certificate_for(name), name) {
            (Some((file, true)), Some(name)) => {
                format!("TLS with the certificate {}, which is for {name}{alpn}", file.display())
            }
            (Some((file, _)), Some(name)) => {
                format!(
                    "TLS with the certificate {}, the first one, since none is for {name}{alpn}",
                    file.display()
                )
            }
            (Some((file, _)), None) => {
                format!(
                    "TLS with the certificate {}, the first one, for who asks for no name{alpn}",
                    file.display()
                )
            }
            (None, _) => "TLS: refused until the authority has given a certificate".to_owned(),
        });
        if !tls.asks.is_empty() {
            let header = if tls.client_cert_header { ", told upstream" } else { "" };
            told.push(format!("the client {}{header}", tls.asks));
        }
    }
    told
}

/// Where what is explained goes by its listener alone; `None`: requests are served, and this is one.
pub(super) fn outcome(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    listener: &ListenerPlan,
    request: &Request,
) -> Option<Outcome> {
    let close = |reason: &str| Some(Outcome::Close { reason: reason.to_owned() });
    let serves = || if request.scheme.is_request() { None } else { Some(Outcome::Requests) };
    match (&listener.mode, request.scheme) {
        (Mode::Http, Scheme::Http) if listener.tls.is_some() => {
            let reason = "plain HTTP where TLS is spoken (plain_http_on_tls)".to_owned();
            Some(Outcome::Refuse { status: 400, reason })
        }
        (Mode::Http, Scheme::Tls) if listener.tls.is_none() => close("no TLS is spoken here: it is no HTTP"),
        (Mode::Http, _) => serves(),
        (Mode::Auto { opaque, .. }, Scheme::Tcp) => Some(bytes(explanation, snapshot, listener, opaque)),
        (Mode::Auto { opaque, .. }, Scheme::Tls | Scheme::Https) if listener.tls.is_none() => {
            Some(bytes(explanation, snapshot, listener, opaque))
        }
        (Mode::Auto { .. }, _) => serves(),
        (Mode::Tcp(to), _) => Some(bytes(explanation, snapshot, listener, to)),
        (Mode::Passthrough, Scheme::Http | Scheme::Tcp) => {
            close("no TLS, where its name says where to go (tls_hello_malformed)")
        }
        (Mode::Passthrough, _) => match by_name(snapshot, listener, request) {
            Some((route, split)) => {
                explanation.route = Some(super::contender(snapshot, route, "by the name asked for".into()));
                let to = TcpPlan { split: split.clone(), proxy_protocol: None };
                Some(bytes(explanation, snapshot, listener, &to))
            }
            None => close("no route is for the name asked for (tls_name_not_routed)"),
        },
        (Mode::Udp(to), _) => Some(datagrams(explanation, snapshot, to)),
    }
}

/// The route for the name that TLS asks for.
fn by_name<'s>(
    snapshot: &'s Snapshot,
    listener: &ListenerPlan,
    request: &Request,
) -> Option<(crate::routing::RouteId, &'s Split)> {
    let name = request.host().unwrap_or_default().to_ascii_lowercase();
    let query = RouteQuery { host: name.as_bytes(), path: b"/", query: b"", method: b"CONNECT" };
    let nothing: &[(String, String)] = &[];
    let matched = listener.router.route(&query, nothing).ok()?;
    match &snapshot.route(matched.route).action {
        ActionPlan::Forward(to) => Some((matched.route, &to.split)),
        _ => None,
    }
}

fn bytes(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    listener: &ListenerPlan,
    to: &TcpPlan,
) -> Outcome {
    let form = to.proxy_protocol.map(|form| match form {
        Form::V1 => "v1",
        Form::V2 => "v2",
    });
    explanation.policies.extend(form.map(|form| format!("PROXY protocol {form} first, to the endpoint")));
    explanation.policies.push(format!(
        "bytes: both ways, until both sides have ended or nothing has moved for {}",
        duration(listener.timeouts.tunnel_idle_ms)
    ));
    explanation.services = services::shares(snapshot, &to.split, Carries::Bytes, None);
    Outcome::Carry
}

fn datagrams(explanation: &mut Explanation, snapshot: &Snapshot, to: &UdpPlan) -> Outcome {
    if let Some(rate) = &to.client_rate {
        explanation.policies.push(format!("datagrams from {}; beyond that they are dropped", rate.told()));
    }
    if let Some(pace) = &to.rate {
        explanation
            .policies
            .push(format!("datagrams of all clients: {}; beyond that they are dropped", pace.told()));
    }
    explanation.policies.push(format!(
        "datagrams: by session, which ends after {} of silence; at most {} at once on a worker",
        duration(to.idle_ms),
        to.sessions_max
    ));
    explanation.services = services::shares(snapshot, &to.split, Carries::Datagrams, None);
    Outcome::Carry
}
