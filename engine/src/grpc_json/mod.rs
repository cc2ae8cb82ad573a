//! JSON for services that speak gRPC: which call a request is, its message, and its answer as JSON. Pure.
//!
//! Calls are known from a descriptor set: by their `google.api.http` annotations, and each as `POST /pkg.Service/Method`.
//! What is not named by the path is in the query or, as the annotation says, in the body. Answers of one message are a
//! document; those of several are lines of JSON or, for who accepts them, Server-Sent Events. `google.api.HttpBody` has no
//! special meaning here.

mod problem;
mod request;
mod response;
mod template;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor, Value};

pub use problem::{Problem, http_status};
pub use response::{Mode, Response};
pub use template::Template;

/// How a route translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Fields that a message does not have are passed over; otherwise they are a problem.
    pub ignore_unknown: bool,
    /// Fields that have their default are written too.
    pub print_defaults: bool,
    /// Names as in the proto file rather than in lowerCamelCase.
    pub proto_names: bool,
}

/// The calls of a route.
#[derive(Clone, Debug)]
pub struct Transcoder {
    calls: Vec<MethodDescriptor>,
    /// The more literal ones first.
    bindings: Vec<Binding>,
    options: Options,
}

/// One way to ask for a call.
#[derive(Clone, Debug)]
struct Binding {
    method: String,
    /// As written.
    path: String,
    template: Template,
    call: usize,
    body: Body,
    response_body: Option<FieldDescriptor>,
}

/// What a request's body is.
#[derive(Clone, Debug)]
enum Body {
    /// There is none.
    None,
    /// All fields that the path does not name.
    All,
    /// This field.
    Field(FieldDescriptor),
}

/// Why a request is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// No template matches its path.
    Path,
    /// One does, for these methods.
    Method(String),
}

/// A request as a call.
#[derive(Clone, Debug)]
pub struct Call<'t> {
    transcoder: &'t Transcoder,
    binding: &'t Binding,
    captures: Vec<template::Capture>,
}

/// The extension of methods that holds their annotation.
const HTTP: &str = "google.api.http";

impl Transcoder {
    /// The calls of these services (`pkg.Service`) in a descriptor set.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(descriptor_set: &[u8], services: &[String], options: Options) -> Result<Transcoder, String> {
        let pool =
            DescriptorPool::decode(descriptor_set).map_err(|error| format!("no descriptor set: {error}"))?;
        let mut transcoder = Transcoder { calls: Vec::new(), bindings: Vec::new(), options };
        for name in services {
            let service =
                pool.get_service_by_name(name).ok_or_else(|| format!("there is no service `{name}`"))?;
            for method in service.methods() {
                transcoder.add(&pool, method)?;
            }
        }
        transcoder.bindings.sort_by(|one, other| one.template.before(&other.template));
        Ok(transcoder)
    }

    fn add(&mut self, pool: &DescriptorPool, method: MethodDescriptor) -> Result<(), String> {
        let call = self.calls.len();
        let path = path_of(&method);
        let in_method = |error: String| format!("`{}`: {error}", method.full_name());
        let template = Template::parse(&path).map_err(in_method)?;
        self.bindings.push(Binding {
            method: "POST".into(),
            path,
            template,
            call,
            body: Body::All,
            response_body: None,
        });
        if let Some(extension) = pool.get_extension_by_name(HTTP) {
            let options = method.options();
            if options.has_extension(&extension)
                && let Value::Message(rule) = &*options.get_extension(&extension)
            {
                self.add_rule(rule, &method, call).map_err(in_method)?;
                if let Some(Value::List(more)) = rule.get_field_by_name("additional_bindings").as_deref() {
                    for rule in more {
                        let Value::Message(rule) = rule else { continue };
                        self.add_rule(rule, &method, call).map_err(in_method)?;
                    }
                }
            }
        }
        self.calls.push(method);
        Ok(())
    }

    fn add_rule(
        &mut self,
        rule: &DynamicMessage,
        method: &MethodDescriptor,
        call: usize,
    ) -> Result<(), String> {
        let Some((http_method, text)) = pattern_of(rule) else {
            return Err("its annotation has no path".into());
        };
        let template = Template::parse(&text).map_err(|error| format!("`{text}`: {error}"))?;
        let (input, output) = (method.input(), method.output());
        for field in template.fields() {
            request::field_at(&input, field)
                .ok_or_else(|| format!("`{text}`: the request has no field `{}`", field.join(".")))?;
        }
        let body = match text_of(rule, "body").as_str() {
            "" => Body::None,
            "*" => Body::All,
            name => Body::Field(
                input
                    .get_field_by_name(name)
                    .ok_or_else(|| format!("the request has no field `{name}` for a body"))?,
            ),
        };
        let response_body = match text_of(rule, "response_body").as_str() {
            "" => None,
            name => Some(
                output
                    .get_field_by_name(name)
                    .ok_or_else(|| format!("the response has no field `{name}`"))?,
            ),
        };
        let twice = self
            .bindings
            .iter()
            .find(|other| other.method == http_method && other.template.is_same(&template));
        if let Some(other) = twice {
            let other = self.calls.get(other.call).map_or("the same method", MethodDescriptor::full_name);
            return Err(format!("`{http_method} {text}` is that of `{other}` too"));
        }
        self.bindings.push(Binding { method: http_method, path: text, template, call, body, response_body });
        Ok(())
    }

    /// The call that a request asks for.
    ///
    /// # Errors
    /// There is none for its path, or none for its method.
    pub fn find(&self, method: &str, path: &str) -> Result<Call<'_>, NoCall> {
        let mut allow: Vec<&str> = Vec::new();
        for binding in &self.bindings {
            let Some(captures) = binding.template.matches(path) else { continue };
            if binding.method == method {
                return Ok(Call { transcoder: self, binding, captures });
            }
            if !allow.contains(&binding.method.as_str()) {
                allow.push(&binding.method);
            }
        }
        Err(if allow.is_empty() { NoCall::Path } else { NoCall::Method(allow.join(", ")) })
    }
}

impl Call<'_> {
    fn method(&self) -> &MethodDescriptor {
        &self.transcoder.calls[self.binding.call]
    }

    /// The path of the call in gRPC: `/pkg.Service/Method`.
    pub fn path(&self) -> String {
        path_of(self.method())
    }

    /// `GET /items/{name}`: what it was asked for by.
    pub fn binding(&self) -> String {
        format!("{} {}", self.binding.method, self.binding.path)
    }

    /// `unary`, `server streaming`, `client streaming` or `both streaming`.
    pub fn kind(&self) -> &'static str {
        match (self.method().is_client_streaming(), self.method().is_server_streaming()) {
            (false, false) => "unary",
            (false, true) => "server streaming",
            (true, false) => "client streaming",
            (true, true) => "both streaming",
        }
    }

    /// Fields that the path names, each with its text.
    pub fn captures(&self) -> impl Iterator<Item = (String, &str)> {
        self.captures.iter().map(|(field, text)| (field.join("."), text.as_str()))
    }

    /// Which fields are in the body: `None`: there is none, `*`: all that the path does not name.
    pub fn body(&self) -> Option<&str> {
        match &self.binding.body {
            Body::None => None,
            Body::All => Some("*"),
            Body::Field(field) => Some(field.name()),
        }
    }

    /// Its messages, each behind its length, from the query (without `?`) and the body.
    ///
    /// # Errors
    /// What does not fit the message.
    pub fn messages(&self, query: &[u8], body: &[u8]) -> Result<Vec<u8>, Problem> {
        request::messages(self, query, body)
    }

    /// How it is answered to who accepts these content types.
    pub fn mode(&self, accept: &[u8]) -> Mode {
        const EVENTS: &[u8] = b"text/event-stream";
        match self.method().is_server_streaming() {
            false => Mode::Document,
            true if accept.windows(EVENTS.len()).any(|part| part.eq_ignore_ascii_case(EVENTS)) => {
                Mode::Events
            }
            true => Mode::Lines,
        }
    }

    /// Its answer, before the first byte.
    pub fn response(&self, mode: Mode) -> Response {
        let method = self.method();
        let pool = method.parent_pool().clone();
        Response::new(
            mode,
            method.output(),
            self.binding.response_body.clone(),
            self.transcoder.options,
            pool,
        )
    }
}

fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// The HTTP method and the template of a rule.
fn pattern_of(rule: &DynamicMessage) -> Option<(String, String)> {
    for name in ["get", "put", "post", "delete", "patch"] {
        let text = text_of(rule, name);
        if !text.is_empty() {
            return Some((name.to_ascii_uppercase(), text));
        }
    }
    match rule.get_field_by_name("custom").as_deref() {
        Some(Value::Message(custom)) => Some((text_of(custom, "kind"), text_of(custom, "path")))
            .filter(|(kind, path)| !kind.is_empty() && !path.is_empty()),
        _ => None,
    }
}

fn text_of(message: &DynamicMessage, field: &str) -> String {
    match message.get_field_by_name(field).as_deref() {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
