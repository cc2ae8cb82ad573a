//! Tree to [`Config`], with every problem at once: the second of the two passes.
//!
//! Each part reads its mapping through [`fields::Fields`], reports into the [`Sink`] and goes on with something that
//! will do. A [`Config`] comes out only if there was no error, so what stood in for a wrong value is never run.

mod acme;
mod address;
mod arrivals;
mod balancing;
mod breaking;
mod faults;
pub mod fields;
mod fleets;
mod grpc;
mod headers;
mod health;
mod hosts;
pub(crate) mod keys;
mod limits;
mod listeners;
pub(crate) mod near;
mod overlap;
mod paths;
mod protocols;
mod reach;
mod references;
mod retries;
mod routes;
mod services;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::describe::tables;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::files::Files;
use crate::model::{
    AccessLog, Admin, AdminWrites, Backend, Buffers, Config, LogFormat, LogTo, Role, RouteId, Runtime,
    ServiceId,
};
use crate::tree::{Node, Value};
use crate::units::{Problem, quoted};

pub(crate) use address::{endpoint_text, text as listen_text};
use fields::Fields;
pub(crate) use health::multiple_text;
pub(crate) use keys::key_text;
pub(crate) use paths::{pattern_text as path_text, text as segments_text};
pub(crate) use protocols::HTTP_ONLY;
pub(crate) use retries::condition_text;
pub(crate) use tls::parsed as certificate;

/// Diagnostics kept of one file; the rest is counted.
pub const KEPT_MAX: usize = 1000;

/// Takes diagnostics.
#[derive(Debug, Default)]
pub struct Sink {
    /// What came, in the order it was found.
    pub diagnostics: Vec<Diagnostic>,
    /// How many came after [`KEPT_MAX`].
    pub dropped: usize,
    errors: usize,
    /// Reads the files that the configuration names.
    pub files: Files,
    /// What limits name as their fleet, and where.
    fleets_named: Vec<(String, Place)>,
}

impl Sink {
    /// For the file at `path`.
    pub fn of(path: &std::path::Path) -> Sink {
        Sink { files: Files::beside(path), ..Sink::default() }
    }

    /// One more.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.diagnostics.len() < KEPT_MAX {
            self.diagnostics.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// What is wrong with a value.
    pub fn problem(&mut self, node: &Node, problem: Problem) {
        let mut diagnostic = Diagnostic::error(problem.code, node.place, problem.message);
        diagnostic.help = problem.help;
        diagnostic.related = node.written.map(|place| (place, "it is written here".to_owned()));
        self.push(diagnostic);
    }

    /// Errors so far.
    fn errors(&self) -> usize {
        self.errors
    }

    /// Whether no configuration can come of it.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether further diagnostics are only counted: costly suggestions are not worth it any more.
    pub fn is_full(&self) -> bool {
        self.diagnostics.len() >= KEPT_MAX
    }
}

/// A decoded thing with the place diagnostics about it point at.
#[derive(Debug)]
struct Placed<T> {
    value: T,
    place: Place,
    /// Nothing in it was wrong: it may be compared with others.
    sound: bool,
}

/// Decodes a whole file. `None` if there was an error.
pub fn decode(tree: &Node, sink: &mut Sink) -> Option<Config> {
    if tree.value == Value::Null {
        let diagnostic = Diagnostic::error("empty", tree.place, "the configuration is empty");
        sink.push(diagnostic.help("it needs at least `listeners`"));
        return None;
    }
    let fields = Fields::open(tree, &tables::CONFIG, sink)?;
    let role = fields.chosen("role", &[Role::Gateway, Role::Sidecar], sink);
    let runtime = runtime(&fields, role, sink);
    let (admin, admin_place) = admin(&fields, sink);
    let access_log = access_log(&fields, sink);
    let drain_timeout = fields.duration("drain_timeout", sink);
    let overload = breaking::overload(&fields, sink);
    let zone = balancing::zone(&fields, sink);

    let services = services::services(&fields, sink);
    let mut limits = limits::Limits::decode(&fields, sink);
    let routes = routes::routes(&fields, &services, &mut limits, sink);
    let mut accounts = acme::Accounts::decode(&fields, sink);
    let listeners = listeners::listeners(&fields, &services, &routes, &mut accounts, sink);
    let acme = accounts.finish(&listeners, sink);
    let fleets = fleets::fleets(&fields, sink);

    overlap::check(&listeners, &admin, admin_place, sink);
    reach::check(&listeners, &routes, sink);
    references::check(&fields, &services, &routes, &listeners, sink);
    let rate_limits = limits.finish(sink);

    if sink.has_errors() {
        return None;
    }
    Some(Config {
        role,
        runtime,
        admin,
        access_log,
        drain_timeout,
        overload,
        zone,
        acme,
        fleets,
        rate_limits,
        listeners: listeners.into_iter().map(|listener| listener.value).collect(),
        services: services.into_iter().map(|service| service.value).collect(),
        routes: routes.into_iter().map(|route| route.value).collect(),
        files: sink.files.read_files(),
    })
}

fn runtime(config: &Fields<'_>, role: Role, sink: &mut Sink) -> Runtime {
    let fields = config.object_or_default("runtime", &tables::RUNTIME, sink);
    let workers = fields.integer_or("workers", sink).and_then(|workers| u16::try_from(workers).ok());
    let pin = fields.boolean("pin", sink);
    let backend = fields.chosen("backend", &[Backend::Auto, Backend::IoUring, Backend::Epoll], sink);
    let buffers = fields.object_or_default("buffers", &tables::BUFFERS, sink);
    let size = buffers.size("size", sink);
    if !size.is_power_of_two()
        && let Some(node) = buffers.node("size")
    {
        let near = crate::units::size_text(u64::from(size.next_power_of_two()));
        let problem = Problem::new("out-of-range", "a buffer's size is a power of two");
        sink.problem(node, problem.help(format!("did you mean `{near}`?")));
    }
    let sidecar = role == Role::Sidecar;
    Runtime {
        workers: if sidecar && !fields.has("workers") { Some(1) } else { workers },
        backend,
        pin: if sidecar && !fields.has("pin") { false } else { pin },
        buffers: Buffers { size, count: buffers.integer("count", sink) },
        memory: fields.size_or("memory", sink),
    }
}

/// The admin API and the place of its address.
fn admin(config: &Fields<'_>, sink: &mut Sink) -> (Admin, Place) {
    let fields = config.object_or_default("admin", &tables::ADMIN, sink);
    let address = fields.parsed("address", sink, |_, text| address::ip(text));
    let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let writes = fields.chosen("writes", &[AdminWrites::Local, AdminWrites::Any, AdminWrites::None], sink);
    if writes == AdminWrites::Any && !address.ip().is_loopback() {
        let message = "whoever reaches the admin address may change what runs: it has no authentication";
        sink.push(Diagnostic::warning("insecure", fields.value_place("writes"), message));
    }
    (Admin { address, writes }, fields.value_place("address"))
}

fn access_log(config: &Fields<'_>, sink: &mut Sink) -> Option<AccessLog> {
    match &config.node("access_log")?.value {
        Value::Text(text) if text == "none" => return None,
        _ => {}
    }
    let fields = config.object("access_log", sink)?;
    let to = fields.parsed("to", sink, |_, text| match text {
        "stdout" => Ok(LogTo::Stdout),
        path if path.contains('\0') => Err(Problem::new("bad-path", "a file's path has no NUL in it")),
        path if path.contains('/') && !path.ends_with('/') => Ok(LogTo::File(PathBuf::from(path))),
        other => Err(Problem::new(
            "bad-choice",
            format!("{} is neither `stdout` nor a file's path", quoted(other)),
        )
        .help(match near::nearest(other, ["stdout"].into_iter()) {
            Some(_) => "did you mean `stdout`?".to_owned(),
            None => format!("did you mean `./{}`?", other.trim_end_matches('/')),
        })),
    });
    Some(AccessLog {
        format: fields.chosen("format", &[LogFormat::Json, LogFormat::Common], sink),
        to: to.unwrap_or(LogTo::Stdout),
        ring: fields.size("ring", sink),
    })
}

/// A name that logs, metrics and reloads know a thing by.
fn name(text: &str) -> Result<String, Problem> {
    const NAME_BYTES_MAX: usize = 128;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if text.is_empty() || !text.chars().all(legal) {
        let problem = Problem::new("bad-name", format!("{} is not a name", quoted(text)));
        return Err(problem.help("names are letters, digits and `-_.:/`"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(Problem::new("bad-name", format!("a name has at most {NAME_BYTES_MAX} characters")));
    }
    Ok(text.to_owned())
}

fn service_id(index: usize) -> ServiceId {
    ServiceId(u32::try_from(index).unwrap_or(u32::MAX))
}

fn route_id(index: usize) -> RouteId {
    RouteId(u32::try_from(index).unwrap_or(u32::MAX))
}
