//! `services.X.health` and `services.X.eject`

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::model::{CheckBy, Eject, EjectMode, Health, HttpCheck, ServiceProtocol};
use crate::units::{Problem, quoted};

use super::fields::Fields;
use super::{Sink, hosts};

/// Bounds on how often checks run, and how long one may take.
const CHECK_MIN: Duration = Duration::from_millis(50);
const CHECK_MAX: Duration = Duration::from_secs(3600);
/// Of the name a check asks about.
const GRPC_NAME_BYTES_MAX: usize = 256;
/// Of a path that is asked for.
const PATH_BYTES_MAX: usize = 2048;
/// Of what a body must contain.
const BODY_BYTES_MAX: usize = 256;
/// Ranges of statuses.
const STATUSES_MAX: usize = 32;
/// The kinds of checks.
const KINDS: [&str; 3] = ["http", "grpc", "tcp"];
/// Ejection looks every 25 ms; what is much shorter than this means nothing.
const EJECT_MIN: Duration = Duration::from_millis(100);

pub(super) fn health(fields: &Fields<'_>, protocol: ServiceProtocol, sink: &mut Sink) -> Option<Health> {
    let health = fields.object("health", sink)?;
    let (interval, timeout) = (health.duration("interval", sink), health.duration("timeout", sink));
    for (name, value) in [("interval", interval), ("timeout", timeout)] {
        if value < CHECK_MIN || value > CHECK_MAX {
            let message = format!("`{name}` of a check is from 50ms to 1h");
            let node = health.node(name).or(fields.node("health"));
            node.into_iter()
                .for_each(|node| sink.problem(node, Problem::new("out-of-range", message.clone())));
        }
    }
    let said: Vec<&str> = KINDS.into_iter().filter(|kind| health.has(kind)).collect();
    let kind = match said[..] {
        [kind] => kind,
        [] => {
            let diagnostic = Diagnostic::error("missing-field", health.place, "a check says what it asks");
            sink.push(diagnostic.help("write `http: { path: /healthz }`, `grpc: \"\"` or `tcp: {}`"));
            return None;
        }
        [one, other, ..] => {
            let message = format!("a check asks one thing: here `{one}` and `{other}`");
            sink.push(Diagnostic::error("conflict", health.key_place(other), message));
            one
        }
    };
    let by = match kind {
        "http" => CheckBy::Http(http(&health.object("http", sink)?, sink)),
        "tcp" => {
            health.object("tcp", sink)?;
            CheckBy::Tcp
        }
        _ => {
            if protocol == ServiceProtocol::Http1 {
                let message = "the service speaks HTTP/1.1, and calls of gRPC need HTTP/2";
                let diagnostic = Diagnostic::error("conflict", health.key_place("grpc"), message);
                sink.push(diagnostic.help("write `protocol: http2`"));
            }
            CheckBy::Grpc(health.parsed("grpc", sink, |_, text| grpc_name(text)).unwrap_or_default())
        }
    };
    Some(Health {
        by,
        interval,
        jitter: health.share("jitter", sink),
        timeout,
        healthy: health.integer("healthy", sink),
        unhealthy: health.integer("unhealthy", sink),
    })
}

fn http(fields: &Fields<'_>, sink: &mut Sink) -> HttpCheck {
    let mut statuses = Vec::new();
    for (text, node) in fields.texts("status", sink) {
        match statuses_of(text) {
            Ok(range) => statuses.push(range),
            Err(problem) => sink.problem(node, problem),
        }
    }
    if let Some(node) = fields.node("status")
        && (statuses.is_empty() || statuses.len() > STATUSES_MAX)
    {
        let message =
            format!("a check takes 1 to {STATUSES_MAX} statuses or ranges, here {}", statuses.len());
        sink.problem(node, Problem::new("out-of-range", message));
    }
    if !fields.has("status") {
        statuses.push((200, 299));
    }
    HttpCheck {
        path: fields.parsed("path", sink, |_, text| path(text)).unwrap_or_default(),
        statuses,
        body: fields.parsed("body", sink, |_, text| body(text)),
        host: fields.parsed("host", sink, |_, text| hosts::authority(text)),
    }
}

/// `200`, `200-299`
fn statuses_of(text: &str) -> Result<(u16, u16), Problem> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        text.trim().parse::<u16>().ok().filter(|status| text.trim().len() == 3 && (200..600).contains(status))
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(Problem::new("bad-status", format!("{} is no status that ends a response", quoted(text)))
            .help("write `200` or `200-399`; 200 to 599")),
    }
}

/// In the form in which it goes on the line.
fn path(text: &str) -> Result<String, Problem> {
    let sound = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match sound && text.len() <= PATH_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => {
            let message = format!("{} is no path that can be asked for", quoted(text));
            Err(Problem::new("bad-path", message)
                .help("it begins with `/`; what is not ASCII is percent-encoded"))
        }
    }
}

fn body(text: &str) -> Result<String, Problem> {
    match (1..=BODY_BYTES_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => {
            let message = format!("a body is looked for 1 to {BODY_BYTES_MAX} bytes, here {}", text.len());
            Err(Problem::new("out-of-range", message))
        }
    }
}

/// `package.Service`, or nothing.
fn grpc_name(text: &str) -> Result<String, Problem> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    match text.len() <= GRPC_NAME_BYTES_MAX && text.chars().all(sound) {
        true => Ok(text.to_owned()),
        false => {
            let message = format!("{} is no name of a service of gRPC", quoted(text));
            Err(Problem::new("bad-name", message)
                .help("for instance `shop.Accounts`, or `\"\"` for the whole server"))
        }
    }
}

pub(super) fn eject(fields: &Fields<'_>, sink: &mut Sink) -> Option<Eject> {
    let eject = fields.object("eject", sink)?;
    let [interval, base, max] = ["interval", "base", "max"].map(|name| {
        let value = eject.duration(name, sink);
        if let Some(node) = eject.node(name)
            && value < EJECT_MIN
        {
            sink.problem(node, Problem::new("out-of-range", format!("`{name}` is at least 100ms")));
        }
        value
    });
    if base > max {
        let message = "the first ejection would last longer than any may";
        let place = if eject.has("base") { eject.value_place("base") } else { eject.value_place("max") };
        sink.push(Diagnostic::error("out-of-range", place, message).help("make `max` at least `base`"));
    }
    let judged = Eject {
        consecutive: eject.integer("consecutive", sink),
        success: eject.share("success", sink),
        latency: eject.parsed("latency", sink, |_, text| multiple(text)),
        interval,
        base,
        max,
        share: eject.share("share", sink),
        requests: eject.integer("requests", sink),
        mode: eject.chosen("mode", &[EjectMode::Enforce, EjectMode::Observe], sink),
    };
    if judged.consecutive == 0 && judged.success == 0 && judged.latency.is_none() {
        let message = "no endpoint is ever ejected by this: it is judged by nothing";
        sink.push(
            Diagnostic::warning("no-effect", eject.place, message)
                .help("leave `consecutive` or `success` out"),
        );
    }
    Some(judged)
}

/// `3x`, `1.5x`, in hundredths: more than 1 and at most 1000 times.
fn multiple(text: &str) -> Result<u32, Problem> {
    let not = || {
        Problem::new("bad-multiple", format!("{} is no multiple", quoted(text)))
            .help("write `3x` or `1.5x`: more than `1x`, at most `1000x`")
    };
    let number = text.strip_suffix('x').ok_or_else(not)?;
    let (whole, parts) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, max: usize| {
        (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 4) || !digits(parts, 2) {
        return Err(not());
    }
    let hundredths = whole.parse::<u32>().map_err(|_| not())? * 100
        + format!("{parts:0<2}").parse::<u32>().map_err(|_| not())?;
    if (101..=100_000).contains(&hundredths) { Ok(hundredths) } else { Err(not()) }
}

/// As it is written.
pub(crate) fn multiple_text(hundredths: u32) -> String {
    match (hundredths / 100, hundredths % 100) {
        (whole, 0) => format!("{whole}x"),
        (whole, parts) => format!("{whole}.{}x", format!("{parts:02}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_read_back() {
        for (text, hundredths) in [("3x", 300), ("1.5x", 150), ("1.25x", 125), ("1000x", 100_000)] {
            assert_eq!(multiple(text), Ok(hundredths));
            assert_eq!(multiple_text(hundredths), text);
        }
        for text in ["3", "x", "1x", "0.5x", "-3x", "1.255x", "1001x", "3 x", "", "99999x", "1.x"] {
            assert!(multiple(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statuses_and_paths_are_those_that_can_come() {
        assert_eq!(statuses_of("200"), Ok((200, 200)));
        assert_eq!(statuses_of("200-399"), Ok((200, 399)));
        for text in ["100", "600", "20", "0200", "399-200", "-", "200-", "2xx"] {
            assert!(statuses_of(text).is_err(), "{text}");
        }
        assert!(path("/healthz?deep=1").is_ok());
        for text in ["", "healthz", "/a b", "/a#b", "/\u{e9}", "/a\r\nx"] {
            assert!(path(text).is_err(), "{text}");
        }
    }
}
