//! From what was asked to a plan: everything that can be wrong is found here, before any load.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{Load, Message, Spacing, Spin, Switch};
use crate::plan::{Expect, Pacing, Plan, ProxyHeader, Request, Requests};
use crate::scenario::{Arrivals as Written, Phase, Scenario};
use crate::schedule::{Arrivals, Schedule, Stretch};
use crate::target::{Elsewhere, Protocol, Target};
use crate::{grpc, report, tls};

/// Bytes of a body at most.
const BODY_MAX: u64 = 16 << 20;
/// Connections where nothing is said.
const CONNECTIONS: u32 = 64;
/// Descriptors that the process needs besides its connections: each thread's ring and doorbell, files, the terminal.
const DESCRIPTORS_BESIDE: u64 = 64;

/// When requests go, as it was asked for.
pub enum Pace<'a> {
    /// At a rate.
    Rate(f64, Spacing),
    /// As fast as answers come.
    Saturate,
    /// By a scenario's phases.
    Phases(&'a Scenario),
}

/// The plan of `run`, `saturate` and of each step of `find`.
pub fn plan(url: &str, message: &Message, load: &Load, pace: &Pace<'_>) -> Result<Plan, String> {
    let elsewhere = elsewhere(load);
    let target = Target::new(url, message.h2, elsewhere.as_ref())?;
    let request = request(&target, message)?;
    let expect = expect(&target, message)?;
    assemble(target, Requests::Same(request), expect, load, pace, None)
}

/// The plan of a scenario.
pub fn scenario(file: &Path, h2: bool, load: &Load) -> Result<Plan, String> {
    let scenario = Scenario::load(file)?;
    let target = Target::new(&scenario.target, h2, elsewhere(load).as_ref())?;
    if !matches!(target.protocol, Protocol::Http1 | Protocol::Http2) {
        return Err("a scenario's target is http: or https:".into());
    }
    let stretches = Pace::Phases(&scenario);
    let pacing = pacing(&stretches, load);
    let connections = scenario.connections;
    let pace = pacing?;
    assemble_with(target, Requests::Mix(scenario), Expect::default(), load, pace, connections)
}

fn elsewhere(load: &Load) -> Option<Elsewhere> {
    let unix = load.unix.clone().map(Elsewhere::Unix);
    unix.or_else(|| load.connect_to.clone().map(Elsewhere::HostPort))
}

fn assemble(
    target: Target,
    requests: Requests,
    expect: Expect,
    load: &Load,
    pace: &Pace<'_>,
    connections: Option<u32>,
) -> Result<Plan, String> {
    let pacing = pacing(pace, load)?;
    assemble_with(target, requests, expect, load, pacing, connections)
}

fn assemble_with(
    target: Target,
    requests: Requests,
    expect: Expect,
    load: &Load,
    pace: Pacing,
    connections: Option<u32>,
) -> Result<Plan, String> {
    let cpus = match &load.cores {
        None => Vec::new(),
        Some(cores) => cores.usable()?,
    };
    let connections = load.connections.or(connections).unwrap_or(CONNECTIONS);
    let threads = load.threads.unwrap_or(cpus.len().max(1) as u32);
    if threads > connections {
        return Err(format!(
            "{threads} threads can't share {connections} connections: each needs one at least"
        ));
    }
    let depth = depth(&target, load)?;
    if load.timeout.is_zero() {
        return Err("--timeout 0s: no answer could come".into());
    }
    let tls = target.tls.then(|| tls::Asked {
        insecure: load.insecure,
        authorities: load.cacert.clone(),
        identity: load.cert.clone().zip(load.key.clone()),
        resume: load.resumption == Switch::On,
        alpn: match target.protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 | Protocol::Grpc => vec![b"h2".to_vec()],
            Protocol::Tcp => Vec::new(),
        },
        groups: load.tls_groups.clone(),
        ciphers: load.tls_ciphers.clone(),
    });
    if let Some(tls) = &tls {
        tls::client(tls)?;
        tls::server_name(load.server_name.as_deref().unwrap_or(&target.host))?;
    }
    for file in [&load.out, &load.html, &load.hgrm, &load.hlog].into_iter().flatten() {
        report::json::writable(file)?;
    }
    let plan = Plan {
        label: load.label.clone(),
        target,
        requests,
        expect,
        pace,
        warmup: load.warmup,
        connections,
        depth,
        threads,
        cpus,
        timeout: load.timeout,
        new_connections: load.connection_per_request,
        tls,
        server_name: load.server_name.clone(),
        proxy_header: load.proxy_protocol.map(|version| ProxyHeader { version, source: load.proxy_source }),
        driver: load.backend.into(),
        spins: match load.spin {
            Spin::On => true,
            Spin::Off => false,
            Spin::Auto => (threads as usize) < ringway_runtime::usable_cpus().len(),
        },
        seed: load.seed,
    };
    enough_descriptors(&plan)?;
    plan.target.probe()?;
    Ok(plan)
}

fn pacing(pace: &Pace<'_>, load: &Load) -> Result<Pacing, String> {
    let random = |poisson: bool| match poisson {
        true => Arrivals::Poisson { seed: load.seed },
        false => Arrivals::Constant,
    };
    if load.duration.is_zero() {
        return Err("--duration 0s: there would be nothing to measure".into());
    }
    let (stretches, arrivals) = match pace {
        Pace::Saturate => return Ok(Pacing::Closed(load.duration)),
        Pace::Rate(rate, spacing) => {
            (vec![steady(*rate, load.duration)], random(*spacing == Spacing::Poisson))
        }
        Pace::Phases(scenario) => {
            (scenario.phases.iter().map(stretch).collect(), random(scenario.arrivals == Written::Poisson))
        }
    };
    // The warm-up goes at the rate that the measured part begins with.
    let first = stretches.first().map_or(0.0, |first| first.from.max(first.to.min(1.0)));
    let all: Vec<Stretch> = std::iter::once(steady(first, load.warmup)).chain(stretches).collect();
    let requests: f64 = all.iter().map(|one| (one.from + one.to) / 2.0 * one.length.as_secs_f64()).sum();
    if requests < 1.0 {
        return Err(
            "at this rate not one request is due in the whole run: ask for more, or for longer".into()
        );
    }
    Ok(Pacing::Open(Arc::new(Schedule::new(&all, arrivals))))
}

fn stretch(phase: &Phase) -> Stretch {
    Stretch { from: phase.from_rate, to: phase.to_rate, length: phase.duration }
}

fn steady(rate: f64, length: Duration) -> Stretch {
    Stretch { from: rate, to: rate, length }
}

fn depth(target: &Target, load: &Load) -> Result<u32, String> {
    let (name, depth) = match target.protocol {
        Protocol::Http1 => ("--pipeline", load.pipeline),
        Protocol::Http2 | Protocol::Grpc => ("--streams", load.streams),
        Protocol::Tcp => ("", 1),
    };
    if target.protocol != Protocol::Http1 && load.pipeline > 1 {
        return Err("--pipeline goes with HTTP/1.1".into());
    }
    if !matches!(target.protocol, Protocol::Http2 | Protocol::Grpc) && load.streams > 1 {
        return Err("--streams goes with HTTP/2 (--h2) and gRPC".into());
    }
    if load.connection_per_request && depth > 1 {
        return Err(format!("--connection-per-request leaves nothing for {name} to share"));
    }
    Ok(depth)
}

fn request(target: &Target, message: &Message) -> Result<Request, String> {
    let mut headers = Vec::new();
    for header in &message.headers {
        let Some((name, value)) = header.split_once(':') else {
            return Err(format!("-H '{header}': write 'name: value'"));
        };
        check_header(name.trim(), value.trim())?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if target.protocol != Protocol::Tcp && (message.payload.is_some() || message.echo) {
        return Err("--payload and --echo go with tcp: and tls:".into());
    }
    let data = message.data.as_deref().map(data).transpose()?;
    match target.protocol {
        Protocol::Grpc => {
            let (Some(set), data) = (&message.proto_set, data.unwrap_or_else(|| b"{}".to_vec())) else {
                return Err("gRPC needs --proto-set FILE: a descriptor set, as protoc --include_imports \
                            --descriptor_set_out=FILE makes it"
                    .into());
            };
            let json = String::from_utf8(data).map_err(|_| "--data is not text")?;
            let body = grpc::request(set, &target.path, &json)?;
            Ok(Request { method: "POST".into(), path: target.path.clone(), headers, body })
        }
        Protocol::Tcp => {
            let body = match (data, message.payload) {
                (Some(data), None) if !data.is_empty() => data,
                (None, Some(size)) if size > 0 => pattern(size),
                _ => return Err("TCP needs something to send: --payload 64B, or --data TEXT".into()),
            };
            Ok(Request { body, ..Request::default() })
        }
        Protocol::Http1 | Protocol::Http2 => {
            let otherwise = if data.is_some() { "POST" } else { "GET" };
            let method = message.method.clone().unwrap_or_else(|| otherwise.to_owned());
            check_method(&method)?;
            Ok(Request { method, path: target.path.clone(), headers, body: data.unwrap_or_default() })
        }
    }
}

/// A method is a token (RFC 9110 §9.1).
fn check_method(method: &str) -> Result<(), String> {
    if method.eq_ignore_ascii_case("CONNECT") || method.is_empty() || !method.bytes().all(is_token) {
        return Err(format!("--method {method}: this can't be sent"));
    }
    Ok(())
}

/// A field's name is a token, its value has no control characters (RFC 9110 §5); framing is the generator's.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("header: `{name}` is not a field name"));
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(format!("header {name}: its value has a control character"));
    }
    const OURS: [&str; 5] = ["content-length", "transfer-encoding", "connection", "upgrade", "te"];
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(format!("header {name}: the generator sets it itself"));
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes that show where one was lost or doubled.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| b"0123456789abcdefghijklmnopqrstuvwxyz"[n % 36]).collect()
}

fn data(text: &str) -> Result<Vec<u8>, String> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.as_bytes().to_vec()) };
    let size = std::fs::metadata(file).map_err(|error| format!("{file}: {error}"))?.len();
    if size > BODY_MAX {
        return Err(format!("{file}: larger than {} MiB", BODY_MAX >> 20));
    }
    std::fs::read(file).map_err(|error| format!("{file}: {error}"))
}

fn expect(target: &Target, message: &Message) -> Result<Expect, String> {
    if target.protocol == Protocol::Tcp && !message.status.is_empty() {
        return Err("--status goes with HTTP".into());
    }
    let sha256 = message.body_sha256.as_deref().map(|hex| {
        let bytes: Option<Vec<u8>> =
            (0..hex.len() / 2).map(|n| u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()).collect();
        let whole = bytes.filter(|_| hex.len() == 64).and_then(|bytes| bytes.try_into().ok());
        whole.ok_or_else(|| format!("--body-sha256 {hex}: 64 hexadecimal digits are needed"))
    });
    Ok(Expect {
        statuses: (!message.status.is_empty()).then(|| message.status.clone()),
        length: message.body_length.map(|length| length as u64),
        sha256: sha256.transpose()?,
        echo: message.echo,
    })
}

fn enough_descriptors(plan: &Plan) -> Result<(), String> {
    let needed = u64::from(plan.connections) + 4 * u64::from(plan.threads) + DESCRIPTORS_BESIDE;
    let (_, limit) = ringway_runtime::raise_fd_limit().map_err(|error| error.to_string())?;
    if needed > limit {
        return Err(format!(
            "{} connections need {needed} file descriptors and this process may have {limit}: raise the limit \
             (ulimit -n {needed}) or ask for fewer",
            plan.connections
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn planned(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("ringway-load").chain(line.split_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(run) => plan(&run.url, &run.message, &run.load, &Pace::Rate(run.rate, run.arrivals)),
            Command::Saturate(run) => plan(&run.url, &run.message, &run.load, &Pace::Saturate),
            _ => panic!("not planned here"),
        }
    }

    #[test]
    fn bad_input_is_a_clear_error_before_any_load() {
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", there.local_addr().unwrap());
        let tcp = url.replace("http", "tcp");
        for (line, why) in [
            (format!("run {url} --rate 0"), "above 0"),
            (format!("run {url} --rate 1/h --duration 10s"), "not one request"),
            (format!("run {url} --rate 1 --duration 0s"), "nothing to measure"),
            (format!("run {url} --rate 1 --connections 999999"), "file descriptors"),
            (format!("run {url} --rate 1 --cores 900"), "core 900"),
            (format!("run {url} --rate 1 --cores x"), "1-3,5"),
            (format!("run {url} --rate 1 --streams 4"), "--h2"),
            (format!("run {url} --rate 1 --threads 9 -c 4"), "each needs one"),
            (format!("run {url} --rate 1 -H content-length:5"), "sets it itself"),
            (format!("run {url} --rate 1 -H nonsense"), "name: value"),
            (format!("run {url} --rate 1 --body-sha256 abc"), "64 hexadecimal"),
            (format!("run {url} --rate 1 --echo"), "tcp:"),
            (format!("run {url} --rate 1 --out /no/such/folder/a.json"), "/no/such/folder"),
            (format!("run {url} --rate 1 --h2 --pipeline 2"), "HTTP/1.1"),
            (format!("run {tcp} --rate 1"), "--payload"),
            (format!("saturate {} ", url.replace("http", "grpc")), "--proto-set"),
            ("run http://127.0.0.1:1/ --rate 1".into(), "can't connect"),
            ("run nowhere --rate 1".into(), "write it whole"),
        ] {
            let refused = planned(&line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(refused.contains(why), "{line}: {refused}");
        }
        let plan = planned(&format!("saturate {url} -c 10 --threads 3 --cores 0")).unwrap();
        assert_eq!([0, 1, 2].map(|number| plan.connections_of(number)), [4, 3, 3]);
    }
}
