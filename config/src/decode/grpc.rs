//! `routes[].grpc_web` and `routes[].grpc_json`.

use prost_reflect::DescriptorPool;

use crate::descriptor;
use crate::diagnostic::Diagnostic;
use crate::model::{Forward, GrpcJson, GrpcWeb, Service, ServiceProtocol};
use crate::units::{Problem, quoted};

use super::fields::Fields;
use super::near::nearest;
use super::{Placed, Sink};

/// Whose pages may call by gRPC-Web.
pub(super) fn web(route: &Fields<'_>, sink: &mut Sink) -> Option<GrpcWeb> {
    let fields = route.object("grpc_web", sink)?;
    let mut origins = Vec::new();
    for (text, node) in fields.texts("origins", sink) {
        let host = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let legal = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
        };
        if text == "*" || host.is_some_and(|(_, host)| legal(host)) {
            origins.push(text.to_ascii_lowercase());
        } else {
            let problem = Problem::new("bad-host", format!("{} is no origin", quoted(text)));
            sink.problem(node, problem.help("write scheme and host: `https://app.example`"));
        }
    }
    Some(GrpcWeb { origins })
}

/// The services that are called by JSON.
pub(super) fn json(route: &Fields<'_>, sink: &mut Sink) -> Option<GrpcJson> {
    let fields = route.object("grpc_json", sink)?;
    let ignore_unknown = fields.chosen("unknown_fields", &[false, true], sink);
    let print_defaults = fields.boolean("print_defaults", sink);
    let proto_names = fields.boolean("proto_names", sink);
    let names = fields.texts("services", sink);
    let node = fields.node("descriptor")?;
    let text = fields.text("descriptor", sink)?;
    let path = sink.files.path(text);
    let read = descriptor::read(&path, &mut sink.files).and_then(|bytes| {
        let pool = DescriptorPool::decode(&bytes[..]).map_err(|error| {
            let message = format!("{} holds no descriptor set: {error}", path.display());
            Problem::new("bad-descriptor", message)
        })?;
        Ok((bytes, pool))
    });
    let (descriptor_set, pool) = match read {
        Ok(read) => read,
        Err(problem) => {
            sink.problem(node, problem);
            return None;
        }
    };
    if names.is_empty() && fields.has("services") {
        sink.problem(node, Problem::new("empty-list", "no service can be called"));
    }
    for (name, node) in &names {
        if pool.get_service_by_name(name).is_none() {
            let known: Vec<String> = pool.services().map(|service| service.full_name().to_owned()).collect();
            let message = format!("{} describes no service {}", path.display(), quoted(name));
            let problem = Problem::new("unknown-service", message);
            sink.problem(
                node,
                match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("there are: {}", known.join(", "))),
                },
            );
        }
    }
    let services = names.into_iter().map(|(name, _)| name.to_owned()).collect();
    Some(GrpcJson { descriptor: path, descriptor_set, services, ignore_unknown, print_defaults, proto_names })
}

/// What goes with neither.
pub(super) fn check(route: &Fields<'_>, forward: &Forward, services: &[Placed<Service>], sink: &mut Sink) {
    let given = ["grpc_web", "grpc_json"].into_iter().find(|name| route.has(name));
    let Some(name) = given else { return };
    for part in &forward.split {
        let Some(service) = services.get(part.service.0 as usize).map(|one| &one.value) else { continue };
        if service.protocol == ServiceProtocol::Http1 {
            let message = format!("the service `{}` speaks HTTP/1.1, and gRPC needs HTTP/2", service.name);
            let diagnostic = Diagnostic::error("conflict", route.key_place(name), message);
            sink.push(diagnostic.help(format!("give `{}` `protocol: http2`", service.name)));
        }
    }
    if route.has("grpc_json") && forward.rewrite_path.is_some() {
        let message = "the path of a call is that of its method and can't be rewritten";
        sink.push(Diagnostic::error("conflict", route.key_place("grpc_json"), message));
    }
}
