//! What a run does, as it was decided before any load; and what a thread makes of it once, so that sending costs little.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use ringway_runtime::{Lease, Segment};

use crate::lane::Failure;
use crate::run::record::{Job, Kind};
use crate::scenario::{Scenario, Text};
use crate::schedule::Schedule;
use crate::target::{Protocol, Target};

/// A run.
pub struct Plan {
    /// A name for the run.
    pub label: Option<String>,
    /// Where to.
    pub target: Target,
    /// What is sent.
    pub requests: Requests,
    /// What a good answer is.
    pub expect: Expect,
    /// When it is sent.
    pub pace: Pacing,
    /// Time before the measured part.
    pub warmup: Duration,
    /// Connections of all threads.
    pub connections: u32,
    /// Requests on their way on one connection.
    pub depth: u32,
    /// Threads.
    pub threads: u32,
    /// CPUs to pin the threads to, one after another; empty: not pinned.
    pub cpus: Vec<usize>,
    /// How long an answer may take, counted from sending.
    pub timeout: Duration,
    /// A connection for each request.
    pub new_connections: bool,
    /// TLS, where it is spoken.
    pub tls: Option<crate::tls::Asked>,
    /// The name asked for in TLS instead of the URL's host.
    pub server_name: Option<String>,
    /// The PROXY header each connection begins with.
    pub proxy_header: Option<ProxyHeader>,
    /// How to talk to the kernel.
    pub driver: ringway_runtime::Choice,
    /// Whether to look for work rather than sleep just before a request is due.
    pub spins: bool,
    /// Of the random parts.
    pub seed: u64,
}

/// When requests go.
pub enum Pacing {
    /// By a schedule.
    Open(Arc<Schedule>),
    /// Each after the answer to the one before, for so long.
    Closed(Duration),
}

/// What is sent.
pub enum Requests {
    /// The same each time.
    Same(Request),
    /// By weight.
    Mix(Scenario),
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Method; empty for bytes over TCP.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Fields, Host and lengths not among them.
    pub headers: Vec<(String, String)>,
    /// Body, a gRPC message with its frame, or the bytes sent over TCP.
    pub body: Vec<u8>,
}

/// What a good answer is.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Statuses; without them 200 to 399.
    pub statuses: Option<Vec<u16>>,
    /// Length of the body in bytes.
    pub length: Option<u64>,
    /// SHA-256 of the body.
    pub sha256: Option<[u8; 32]>,
    /// TCP: the answer is what was sent.
    pub echo: bool,
}

/// The PROXY protocol towards the target.
#[derive(Clone, Copy, Debug)]
pub struct ProxyHeader {
    /// 1 or 2.
    pub version: u8,
    /// Whom to claim to be; without it, who we are.
    pub source: Option<std::net::SocketAddr>,
}

impl Plan {
    /// Kinds of request.
    pub fn parts(&self) -> usize {
        match &self.requests {
            Requests::Same(_) => 1,
            Requests::Mix(scenario) => scenario.requests.len(),
        }
    }

    /// Connections of thread `number`.
    pub fn connections_of(&self, number: u32) -> u32 {
        self.connections / self.threads + u32::from(number < self.connections % self.threads)
    }
}

/// A plan as one thread uses it.
pub struct Prepared {
    /// The plan.
    pub plan: Arc<Plan>,
    /// HTTP/1.1 heads and bodies that are the same each time.
    ready: Vec<Option<Rc<[u8]>>>,
    /// The same for HTTP/2.
    parts: Vec<Option<(http::Request<()>, bytes::Bytes)>>,
    /// Kinds of request that are HEAD.
    heads: Vec<bool>,
    statuses: Vec<Option<Vec<u16>>>,
    checks_body: bool,
}

/// A request as HTTP/2 and gRPC send it.
pub struct Parts {
    /// Head.
    pub head: http::Request<()>,
    /// Body.
    pub body: bytes::Bytes,
}

impl Prepared {
    /// Renders what does not change.
    pub fn new(plan: &Arc<Plan>) -> Prepared {
        let (ready, heads, statuses) = match &plan.requests {
            Requests::Same(request) => {
                let bytes = match request.method.as_str() {
                    "" => request.body.clone(),
                    _ => written(plan, request),
                };
                (
                    vec![Some(Rc::from(bytes))],
                    vec![request.method == "HEAD"],
                    vec![plan.expect.statuses.clone()],
                )
            }
            Requests::Mix(scenario) => {
                let constant = |part: usize| {
                    is_constant(scenario, part)
                        .then(|| Rc::from(written(plan, &rendered(scenario, part, plan.seed, 0))))
                };
                let of = |part: usize| {
                    let template = &scenario.requests[part];
                    template.statuses.clone().or_else(|| plan.expect.statuses.clone())
                };
                let parts = 0..scenario.requests.len();
                (
                    parts.clone().map(constant).collect(),
                    scenario.requests.iter().map(|template| template.method == "HEAD").collect(),
                    parts.map(of).collect(),
                )
            }
        };
        let checks_body = plan.expect.length.is_some() || plan.expect.sha256.is_some();
        let http2 = matches!(plan.target.protocol, Protocol::Http2 | Protocol::Grpc);
        let of = |part: usize| match &plan.requests {
            Requests::Same(request) => parts(plan, request),
            Requests::Mix(scenario) if is_constant(scenario, part) => {
                parts(plan, &rendered(scenario, part, plan.seed, 0))
            }
            Requests::Mix(_) => None,
        };
        let parts = (0..ready.len()).map(|part| if http2 { of(part) } else { None }).collect();
        Prepared { plan: plan.clone(), ready, parts, heads, statuses, checks_body }
    }

    /// Which kind of request a job is.
    #[inline]
    pub fn part_of(&self, job: &Job) -> usize {
        match &self.plan.requests {
            Requests::Same(_) => 0,
            Requests::Mix(scenario) => scenario.pick(self.plan.seed, job.index),
        }
    }

    /// The request's bytes in HTTP/1.1, or as they are over TCP.
    #[inline]
    pub fn http1(&self, job: &Job, part: usize) -> Segment {
        match &self.ready[part] {
            Some(bytes) => Segment::Local(bytes.clone()),
            None => Segment::Lease(Lease::copy_of(&written(&self.plan, &self.request(job, part)))),
        }
    }

    /// The request by its parts.
    pub fn request(&self, job: &Job, part: usize) -> Request {
        match &self.plan.requests {
            Requests::Same(request) => request.clone(),
            Requests::Mix(scenario) => rendered(scenario, part, self.plan.seed, job.index),
        }
    }

    /// The request in HTTP/2; in gRPC with its own fields.
    pub fn http2(&self, job: &Job, part: usize) -> Parts {
        match &self.parts[part] {
            Some((head, body)) => {
                let mut copy = http::Request::new(());
                *copy.method_mut() = head.method().clone();
                *copy.uri_mut() = head.uri().clone();
                *copy.headers_mut() = head.headers().clone();
                *copy.version_mut() = http::Version::HTTP_2;
                Parts { head: copy, body: body.clone() }
            }
            None => {
                let request = self.request(job, part);
                let (head, body) = parts(&self.plan, &request).unwrap_or_default();
                Parts { head, body }
            }
        }
    }

    /// Whether the answer has no body whatever its head says.
    #[inline]
    pub fn is_head(&self, part: usize) -> bool {
        self.heads[part]
    }

    /// Whether bodies are looked at.
    pub fn digest(&self) -> Option<Digest> {
        self.plan.expect.sha256.is_some().then(Digest::new)
    }

    /// Whether the bytes that came over TCP are the right ones.
    pub fn judge_bytes(&self, digest: Option<Digest>) -> Result<(), Failure> {
        let right = self
            .plan
            .expect
            .sha256
            .is_none_or(|wanted| digest.is_some_and(|digest| digest.finish() == wanted));
        if right { Ok(()) } else { Err(Failure { kind: Kind::Body, status: None }) }
    }

    /// Whether a whole answer is a good one.
    #[inline]
    pub fn judge(
        &self,
        part: usize,
        status: u16,
        length: u64,
        digest: Option<Digest>,
    ) -> Result<(), Failure> {
        let wanted = match &self.statuses[part] {
            None => (200..400).contains(&status),
            Some(statuses) => statuses.contains(&status),
        };
        if !wanted {
            return Err(Failure { kind: Kind::Status, status: Some(status) });
        }
        if !self.checks_body {
            return Ok(());
        }
        let expect = &self.plan.expect;
        let right_length = expect.length.is_none_or(|wanted| wanted == length);
        let right_digest = match (expect.sha256, digest) {
            (Some(wanted), Some(digest)) => wanted == digest.finish(),
            _ => true,
        };
        if right_length && right_digest {
            return Ok(());
        }
        Err(Failure { kind: Kind::Body, status: Some(status) })
    }
}

fn is_constant(scenario: &Scenario, part: usize) -> bool {
    let template = &scenario.requests[part];
    let headers = template.headers.iter().map(|(_, value)| value);
    headers.chain([&template.path, &template.body]).all(Text::is_constant)
}

/// Request number `index` of a scenario, of this kind.
fn rendered(scenario: &Scenario, part: usize, seed: u64, index: u64) -> Request {
    let template = &scenario.requests[part];
    let values = scenario.values(seed, index);
    let bytes = |text: &Text| {
        let mut bytes = Vec::new();
        text.render(&values, &mut bytes);
        bytes
    };
    // Both were found to be text when the scenario was read.
    let string = |text: &Text| String::from_utf8(bytes(text)).unwrap_or_default();
    Request {
        method: template.method.clone(),
        path: string(&template.path),
        headers: template.headers.iter().map(|(name, value)| (name.clone(), string(value))).collect(),
        body: bytes(&template.body),
    }
}

/// A request in HTTP/1.1 (RFC 9112 §3).
fn written(plan: &Plan, request: &Request) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 + request.body.len());
    let own_host = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let mut put = |text: &str| bytes.extend_from_slice(text.as_bytes());
    put(&format!("{} {} HTTP/1.1\r\n", request.method, request.path));
    if !own_host {
        put(&format!("host: {}\r\n", plan.target.authority));
    }
    for (name, value) in &request.headers {
        put(&format!("{name}: {value}\r\n"));
    }
    if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
        put(&format!("content-length: {}\r\n", request.body.len()));
    }
    if plan.new_connections {
        put("connection: close\r\n");
    }
    put("\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}

/// A request in HTTP/2 (RFC 9113 §8.3). What it is made of was checked when it was read.
fn parts(plan: &Plan, request: &Request) -> Option<(http::Request<()>, bytes::Bytes)> {
    let grpc = plan.target.protocol == Protocol::Grpc;
    let scheme = if plan.target.tls { "https" } else { "http" };
    let host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let authority = host.map_or(plan.target.authority.as_str(), |(_, host)| host.as_str());
    let mut head = http::Request::builder()
        .version(http::Version::HTTP_2)
        .method(request.method.as_str())
        .uri(format!("{scheme}://{authority}{}", request.path));
    for (name, value) in request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        head = head.header(name.to_ascii_lowercase(), value);
    }
    if grpc {
        head = head.header("te", "trailers").header("content-type", "application/grpc");
    } else if !request.body.is_empty() {
        head = head.header("content-length", request.body.len());
    }
    Some((head.body(()).ok()?, bytes::Bytes::from(request.body.clone())))
}

/// SHA-256 as a body goes by.
pub struct Digest(digest::Context);

impl Digest {
    fn new() -> Digest {
        Digest(digest::Context::new(&digest::SHA256))
    }

    /// Takes more of the body in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(self.0.finish().as_ref());
        sum
    }
}
