//! A configuration as the admin API shows it: what was written, with every default filled in and nothing secret.
//!
//! The result has the fields and forms of the file, so that (where nothing is redacted) it loads as the same
//! configuration again.

mod arrivals;
mod balancing;
mod breaking;
mod faults;
mod fleets;
mod health;
mod limits;
mod protocols;
mod retries;

use serde_json::{Map, Value, json};

use crate::decode::{listen_text, path_text, segments_text};
use crate::model::{
    AccessLog, Action, AdminWrites, Backend, Config, ErrorFormat, Forward, HeaderOps, HostPattern,
    HostPolicy, Listener, LogFormat, LogTo, PathTemplate, Role, Route, Service, ServiceProtocol, ValueMatch,
};
use crate::units::{duration_text, size_text};

/// What stands for a value that is not shown.
pub const REDACTED: &str = "[redacted]";

/// The whole configuration.
pub fn config_as_json(config: &Config) -> Value {
    let services: Map<String, Value> =
        config.services.iter().map(|service| (service.name.clone(), service_as_json(service))).collect();
    let mut shown = settings_as_json(config);
    limits::shared(config, &mut shown);
    shown.insert(
        "listeners".into(),
        config.listeners.iter().map(|one| listener_as_json(one, config)).collect(),
    );
    shown.insert("services".into(), Value::Object(services));
    shown.insert("routes".into(), config.routes.iter().map(|route| route_as_json(route, config)).collect());
    Value::Object(shown)
}

/// All but listeners, services and routes.
pub(crate) fn settings_as_json(config: &Config) -> Map<String, Value> {
    let runtime = &config.runtime;
    let settings = json!({
        "role": match config.role { Role::Gateway => "gateway", Role::Sidecar => "sidecar" },
        "runtime": {
            "workers": runtime.workers.map_or(json!("auto"), |workers| json!(workers)),
            "backend": match runtime.backend {
                Backend::Auto => "auto",
                Backend::IoUring => "io_uring",
                Backend::Epoll => "epoll",
            },
            "pin": runtime.pin,
            "buffers": { "size": size_text(u64::from(runtime.buffers.size)), "count": runtime.buffers.count },
        },
        "admin": {
            "address": config.admin.address.to_string(),
            "writes": match config.admin.writes {
                AdminWrites::Local => "local",
                AdminWrites::Any => "any",
                AdminWrites::None => "none",
            },
        },
        "access_log": config.access_log.as_ref().map_or(json!("none"), access_log_as_json),
        "drain_timeout": duration_text(config.drain_timeout),
        "overload": breaking::overload(&config.overload),
    });
    let mut settings = match settings {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if let (Some(memory), Some(Value::Object(shown))) = (runtime.memory, settings.get_mut("runtime")) {
        shown.insert("memory".into(), json!(size_text(memory)));
    }
    if let Some(zone) = &config.zone {
        settings.insert("zone".into(), json!(zone));
    }
    if !config.acme.is_empty() {
        let accounts = config.acme.iter().map(|one| (one.name.clone(), protocols::acme(one)));
        settings.insert("acme".into(), Value::Object(accounts.collect()));
    }
    if !config.fleets.is_empty() {
        let fleets = config.fleets.iter().map(|one| (one.name.clone(), fleets::fleet(one)));
        settings.insert("fleets".into(), Value::Object(fleets.collect()));
    }
    settings
}

fn access_log_as_json(log: &AccessLog) -> Value {
    json!({
        "format": match log.format { LogFormat::Json => "json", LogFormat::Common => "common" },
        "to": match &log.to { LogTo::Stdout => "stdout".to_owned(), LogTo::File(path) => path.display().to_string() },
        "ring": size_text(u64::from(log.ring)),
    })
}

/// One listener.
pub(crate) fn listener_as_json(listener: &Listener, config: &Config) -> Value {
    let routes: Vec<&str> = listener
        .routes
        .iter()
        .filter_map(|id| config.routes.get(id.0 as usize))
        .map(|route| route.name.as_str())
        .collect();
    let strings = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    let limits = &listener.limits;
    let timeouts = &listener.timeouts;
    let mut socket = Map::new();
    socket.insert("backlog".into(), json!(listener.socket.backlog));
    if let Some(bytes) = listener.socket.receive_buffer {
        socket.insert("receive_buffer".into(), json!(size_text(u64::from(bytes))));
    }
    if let Some(bytes) = listener.socket.send_buffer {
        socket.insert("send_buffer".into(), json!(size_text(u64::from(bytes))));
    }
    let mut shown = json!({
        "name": listener.name,
        "address": listen_text(&listener.address),
        "routes": routes,
        "proxy_protocol": strings(&listener.proxy_protocol),
        "trusted_hops": strings(&listener.trusted_hops),
        "limits": {
            "connections": limits.connections,
            "connection_rate": limits.connection_rate.map_or("none".to_owned(), |rate| format!("{rate}/s")),
            "head": size_text(u64::from(limits.head)),
            "headers": limits.headers,
            "target": size_text(u64::from(limits.target)),
            "body": limits.body.map_or("none".to_owned(), size_text),
            "requests": limits.requests.map_or(json!("none"), |requests| json!(requests)),
        },
        "timeouts": {
            "head": duration_text(timeouts.head),
            "idle": duration_text(timeouts.idle),
            "min_rate": match timeouts.min_rate {
                0 => "none".to_owned(),
                rate => format!("{}/s", size_text(u64::from(rate))),
            },
            "handshake": duration_text(timeouts.handshake),
            "tunnel_idle": duration_text(timeouts.tunnel_idle),
            "linger": duration_text(timeouts.linger),
        },
        "socket": socket,
        "upgrades": listener.upgrades,
        "underscores": listener.underscores,
        "merge_slashes": listener.merge_slashes,
        "connect": listener.connect,
        "trace": listener.trace,
        "errors": match listener.errors { ErrorFormat::Problem => "problem", ErrorFormat::Text => "text" },
        "http2": protocols::listener_http2(&listener.http2),
    });
    if let (Some(rate), Value::Object(shown)) = (&limits.client_rate, &mut shown["limits"]) {
        shown.insert("client_rate".into(), arrivals::client_rate(rate));
    }
    if let Value::Object(shown) = &mut shown {
        protocols::listener(listener, config, shown);
    }
    shown
}

/// One service, without its name.
pub(crate) fn service_as_json(service: &Service) -> Value {
    let endpoints: Vec<Value> = service.endpoints.iter().map(balancing::endpoint).collect();
    let mut shown = json!({
        "endpoints": endpoints,
        "protocol": match service.protocol {
            ServiceProtocol::Http1 => "http1",
            ServiceProtocol::Http2 => "http2",
            ServiceProtocol::Auto => "auto",
        },
        "authority": service.authority,
        "host": match service.host { HostPolicy::Preserve => "preserve", HostPolicy::Service => "service" },
        "timeouts": {
            "connect": duration_text(service.timeouts.connect),
            "response_head": duration_text(service.timeouts.response_head),
            "idle": duration_text(service.timeouts.idle),
        },
        "pool": {
            "idle": service.pool.idle,
            "idle_timeout": duration_text(service.pool.idle_timeout),
        },
        "breaker": breaking::breaker(&service.breaker),
        "http2": protocols::bounds(&service.http2),
        "retry_budget": retries::budget(&service.retry_budget),
    });
    if let (Value::Object(shown), Some(one)) = (&mut shown, &service.concurrency) {
        shown.insert("concurrency".into(), breaking::concurrency(one));
    }
    if let Value::Object(shown) = &mut shown {
        balancing::balancing(service, shown);
    }
    shown["http2"]["keep_alive"] = json!(service.http2_keep_alive.map_or("none".to_owned(), duration_text));
    if let (Value::Object(shown), Some(health)) = (&mut shown, &service.health) {
        shown.insert("health".into(), health::health(health));
    }
    if let (Value::Object(shown), Some(eject)) = (&mut shown, &service.eject) {
        shown.insert("eject".into(), health::eject(eject));
    }
    if let (Value::Object(shown), Some(tls)) = (&mut shown, &service.tls) {
        shown.insert("tls".into(), protocols::service_tls(tls));
    }
    shown
}

/// One route. Conditions that hold for anything are left out, as they can't be written.
pub(crate) fn route_as_json(route: &Route, config: &Config) -> Value {
    let mut shown = Map::new();
    shown.insert("name".into(), json!(route.name));
    if !route.hosts.is_empty() {
        let text = |host: &HostPattern| match host {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Suffix(host) => format!("*.{host}"),
        };
        shown.insert("hosts".into(), json!(route.hosts.iter().map(text).collect::<Vec<_>>()));
    }
    shown.insert("path".into(), json!(path_text(&route.path)));
    if !route.methods.is_empty() {
        shown.insert("methods".into(), json!(route.methods));
    }
    if !route.headers.is_empty() {
        shown.insert("headers".into(), conditions(&route.headers));
    }
    if !route.query.is_empty() {
        shown.insert("query".into(), conditions(&route.query));
    }
    action(&route.action, config, &mut shown);
    limits::of_route(route, config, &mut shown);
    for (name, ops) in
        [("request_headers", &route.request_headers), ("response_headers", &route.response_headers)]
    {
        if *ops != HeaderOps::default() {
            shown.insert(name.into(), header_ops(ops));
        }
    }
    shown.insert("priority".into(), json!(breaking::priority(route.priority)));
    shown.insert("encoded_slashes".into(), json!(route.encoded_slashes));
    match route.body_limit {
        None => {}
        Some(u64::MAX) => drop(shown.insert("body_limit".into(), json!("none"))),
        Some(bytes) => drop(shown.insert("body_limit".into(), json!(size_text(bytes)))),
    }
    if !route.faults.is_empty() {
        shown.insert("faults".into(), route.faults.iter().map(faults::fault).collect());
    }
    Value::Object(shown)
}

fn action(action: &Action, config: &Config, shown: &mut Map<String, Value>) {
    match action {
        Action::Forward(forward) => forward_as_json(forward, config, shown),
        Action::Respond(respond) => {
            let value = json!({ "status": respond.status, "body": respond.body, "content_type": respond.content_type });
            shown.insert("respond".into(), value);
        }
        Action::Redirect(redirect) => {
            let mut value = Map::new();
            value.insert("status".into(), json!(redirect.status));
            for (name, text) in [("scheme", &redirect.scheme), ("host", &redirect.host)] {
                if let Some(text) = text {
                    value.insert(name.into(), json!(text));
                }
            }
            if let Some(port) = redirect.port {
                value.insert("port".into(), json!(port));
            }
            if let Some(PathTemplate(segments)) = &redirect.path {
                value.insert("path".into(), json!(segments_text(segments)));
            }
            shown.insert("redirect".into(), Value::Object(value));
        }
    }
}

fn forward_as_json(forward: &Forward, config: &Config, shown: &mut Map<String, Value>) {
    shown.insert("to".into(), balancing::split(&forward.split, config));
    if !forward.split_by.is_empty() {
        shown.insert("split_by".into(), balancing::keys(&forward.split_by));
    }
    let mut rewrite = Map::new();
    if let Some(PathTemplate(segments)) = &forward.rewrite_path {
        rewrite.insert("path".into(), json!(segments_text(segments)));
    }
    if let Some(host) = &forward.rewrite_host {
        rewrite.insert("host".into(), json!(host));
    }
    if !rewrite.is_empty() {
        shown.insert("rewrite".into(), Value::Object(rewrite));
    }
    if let Some(web) = &forward.grpc_web {
        shown.insert("grpc_web".into(), json!({ "origins": web.origins }));
    }
    if let Some(one) = &forward.grpc_json {
        let value = json!({
            "descriptor": one.descriptor,
            "services": one.services,
            "unknown_fields": if one.ignore_unknown { "ignore" } else { "reject" },
            "print_defaults": one.print_defaults,
            "proto_names": one.proto_names,
        });
        shown.insert("grpc_json".into(), value);
    }
    retries::route(forward, config, shown);
    shown.insert("timeout".into(), json!(forward.timeout.map_or("none".to_owned(), duration_text)));
}

fn conditions(conditions: &[ValueMatch]) -> Value {
    let shown = |one: &ValueMatch| match &one.value {
        Some(value) => json!(shown_value(&one.name, value)),
        None => json!("*"),
    };
    Value::Object(conditions.iter().map(|one| (one.name.clone(), shown(one))).collect())
}

fn header_ops(ops: &HeaderOps) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Value {
        Value::Object(
            pairs.iter().map(|(name, value)| (name.clone(), json!(shown_value(name, value)))).collect(),
        )
    };
    json!({ "remove": ops.remove, "set": pairs(&ops.set), "add": pairs(&ops.add) })
}

fn shown_value<'v>(name: &str, value: &'v str) -> &'v str {
    if is_credential(name) { REDACTED } else { value }
}

/// Whether a header or parameter of this name likely carries a credential.
pub fn is_credential(name: &str) -> bool {
    const PARTS: [&str; 9] = [
        "authorization",
        "authentication",
        "cookie",
        "token",
        "secret",
        "password",
        "passwd",
        "credential",
        "session",
    ];
    let name = name.to_ascii_lowercase().replace('_', "-");
    PARTS.iter().any(|part| name.contains(part)) || name.ends_with("key") || name.ends_with("auth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_known() {
        for name in
            ["Authorization", "cookie", "set-cookie", "x-api-key", "X-Auth-Token", "client_secret", "apikey"]
        {
            assert!(is_credential(name), "{name}");
        }
        for name in ["x-tenant", "accept", "q", "content-type"] {
            assert!(!is_credential(name), "{name}");
        }
    }
}
