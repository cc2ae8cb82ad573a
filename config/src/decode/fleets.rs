//! `fleets`. What is wrong with a URL is told without showing it: there may be a password in it.

use std::time::Duration;

use crate::describe::tables;
use crate::diagnostic::{Diagnostic, Place};
use crate::model::{Fleet, FleetStore, Redis, RedisAt, Rls, Secret};
use crate::units::{Problem, quoted};

use super::fields::Fields;
use super::near::nearest;
use super::{Sink, address, hosts, name, tls};

/// Fleets of one file.
const FLEETS_MAX: usize = 100;
/// Bounds on `timeout`.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(1);
/// Of `prefix`, `domain`, users and passwords.
const PREFIX_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 128;
const SECRET_BYTES_MAX: usize = 1024;
const REDIS_PORT: u16 = 6379;
const URL_FORM: &str =
    "write `redis://host:6379/0`, `redis://user:password@host:6379/0` or `unix:/run/redis.sock`";

/// Every fleet without an error in it, sorted by name. After all that may name one: those names are looked up here.
pub(super) fn fleets(config: &Fields<'_>, sink: &mut Sink) -> Vec<Fleet> {
    let (mut fleets, mut names) = (Vec::new(), Vec::new());
    for (key, entry) in config.named("fleets", FLEETS_MAX, sink) {
        if let Err(problem) = name(key) {
            sink.problem(&entry.key, problem);
        }
        // References hold also where something in it is wrong.
        names.push((key, entry.key.place));
        let Some(fields) = Fields::open(&entry.value, &tables::FLEET, sink) else { continue };
        fleets.extend(fleet(key, &fields, entry.key.place, sink));
    }
    let used = std::mem::take(&mut sink.fleets_named);
    for (text, place) in &used {
        if names.iter().any(|(name, _)| name == text) {
            continue;
        }
        let message = format!("there is no {} in `fleets`", quoted(text));
        let diagnostic = Diagnostic::error("unknown-fleet", *place, message);
        sink.push(match nearest(text, names.iter().map(|(name, _)| *name)) {
            Some(near) => diagnostic.suggest(Some(near)),
            None => diagnostic.help("add it: `fleets: { main: { redis: redis://host:6379 } }`"),
        });
    }
    for (name, place) in names {
        if !used.iter().any(|(used, _)| used == name) && !sink.has_errors() {
            let diagnostic =
                Diagnostic::warning("unused-fleet", place, format!("no limit is counted in `{name}`"));
            sink.push(diagnostic.help("a limit names it: `rate_limit: { rate: 100/s, fleet: NAME }`"));
        }
    }
    fleets.sort_by(|one: &Fleet, other| one.name.cmp(&other.name));
    fleets
}

/// `fleet` of a limit: which of `fleets` it is counted in. Whether it is there is looked at when all are known.
pub(super) fn named(limit: &Fields<'_>, sink: &mut Sink) -> Option<String> {
    let text = limit.text("fleet", sink)?;
    sink.fleets_named.push((text.to_owned(), limit.value_place("fleet")));
    Some(text.to_owned())
}

fn fleet(name: &str, fields: &Fields<'_>, place: Place, sink: &mut Sink) -> Option<Fleet> {
    let before = sink.errors();
    let store = match (fields.has("redis"), fields.has("rls")) {
        (true, false) => redis(fields, sink).map(FleetStore::Redis),
        (false, true) => rls(fields, sink).map(FleetStore::Rls),
        (both, _) => {
            let message = if both {
                "it is either `redis` or `rls`"
            } else {
                "neither `redis` nor `rls` says who counts"
            };
            let code = if both { "conflict" } else { "missing-field" };
            let diagnostic = Diagnostic::error(code, place, message);
            sink.push(diagnostic.help("write `redis: redis://host:6379`, or `rls: host:8081`"));
            None
        }
    };
    let timeout = fields.duration("timeout", sink);
    if timeout < TIMEOUT_MIN || timeout > TIMEOUT_MAX {
        let problem = Problem::new("out-of-range", "`timeout` of a fleet is from 1ms to 1s");
        fields.node("timeout").into_iter().for_each(|node| sink.problem(node, problem.clone()));
    }
    (sink.errors() == before).then_some(Fleet { name: name.to_owned(), store: store?, timeout })
}

fn redis(fields: &Fields<'_>, sink: &mut Sink) -> Option<Redis> {
    excluded(fields, &["domain"], "rls", sink);
    let mut redis = fields.parsed("redis", sink, |_, text| url(text))?;
    let password = fields.parsed("password", sink, |_, text| match text.len() {
        1..=SECRET_BYTES_MAX => Ok(Secret::new(text.as_bytes().to_vec())),
        _ => Err(Problem::new("bad-url", format!("a password has 1 to {SECRET_BYTES_MAX} bytes"))),
    });
    if password.is_some() && redis.password.is_some() {
        let message = "the URL has a password too";
        sink.push(Diagnostic::error("conflict", fields.key_place("password"), message));
    }
    redis.password = password.or(redis.password);
    if redis.user.is_some() && redis.password.is_none() {
        let message = "a user without a password can't be told to Redis";
        let diagnostic = Diagnostic::error("missing-field", fields.key_place("redis"), message);
        sink.push(diagnostic.help("add `password: ${REDIS_PASSWORD}`"));
    }
    redis.prefix = fields.parsed("prefix", sink, |_, text| prefix(text)).unwrap_or_default();
    let ca = tls::authorities(fields, sink);
    match &mut redis.at {
        RedisAt::Tcp { tls: Some(trusted), .. } => *trusted = ca,
        _ if fields.has("ca") => {
            let message = "`ca` means nothing without TLS";
            let diagnostic = Diagnostic::error("conflict", fields.key_place("ca"), message);
            sink.push(diagnostic.help("write `rediss://`, with two `s`"));
        }
        _ => {}
    }
    Some(redis)
}

fn rls(fields: &Fields<'_>, sink: &mut Sink) -> Option<Rls> {
    excluded(fields, &["password", "ca", "prefix"], "redis", sink);
    let domain = fields.parsed("domain", sink, |_, text| match text.len() {
        1..=DOMAIN_BYTES_MAX if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(Problem::new("bad-name", format!("a domain has 1 to {DOMAIN_BYTES_MAX} characters"))),
    });
    let (host, port) = fields.parsed("rls", sink, |_, text| {
        let bad = || Problem::new("bad-address", format!("{} is no host and port", quoted(text)));
        if text.contains("://") {
            return Err(bad().help("write it without a scheme: `limits.internal:8081`"));
        }
        let (host, port) = host_and_port(text)?;
        Ok((host, port.ok_or_else(|| bad().help("add the port: `limits.internal:8081`"))?))
    })?;
    Some(Rls { host, port, domain: domain? })
}

/// Reports fields that belong to the other kind.
fn excluded(fields: &Fields<'_>, names: &[&str], kind: &str, sink: &mut Sink) {
    for name in names.iter().filter(|name| fields.has(name)) {
        let message = format!("`{name}` has a meaning with `{kind}` only");
        sink.push(Diagnostic::error("conflict", fields.key_place(name), message));
    }
}

fn prefix(text: &str) -> Result<String, Problem> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:/{}".contains(c);
    match text.len() {
        1..=PREFIX_BYTES_MAX if text.chars().all(legal) => Ok(text.to_owned()),
        _ => Err(Problem::new("bad-name", format!("{} is no prefix for keys", quoted(text)))
            .help(format!("1 to {PREFIX_BYTES_MAX} letters, digits and `-_.:/{{}}`"))),
    }
}

/// Where Redis is, by its URL: `prefix` is still to be filled in.
fn url(text: &str) -> Result<Redis, Problem> {
    let bad = |message: &str| Problem::new("bad-url", message).help(URL_FORM);
    let redis = |at| Redis { at, user: None, password: None, database: 0, prefix: String::new() };
    if text.starts_with("unix:") {
        return match address::listen(text)? {
            crate::model::Address::Unix(path) => Ok(redis(RedisAt::Unix(path))),
            crate::model::Address::Ip(_) => Err(bad("that is no socket's path")),
        };
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("that is no URL of a Redis"))?;
    let tls = match scheme {
        "redis" | "valkey" => None,
        "rediss" | "valkeys" => Some(None),
        _ => return Err(bad("the URL of a Redis begins with `redis://` or `rediss://`")),
    };
    if rest.contains(['?', '#']) || rest.chars().any(|c| c.is_control() || c == ' ') {
        return Err(bad("the URL of a Redis has no spaces, no `?` and no `#` in it"));
    }
    let (user_info, rest) = rest.rsplit_once('@').map_or((None, rest), |(info, rest)| (Some(info), rest));
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) =
        host_and_port(place).map_err(|_| bad("the URL of the Redis has no good host and port"))?;
    let database = match database {
        "" => 0,
        number => {
            crate::units::integer(number, 0, 1 << 20).map_err(|_| bad("a database is a number, from 0"))?
        }
    };
    let mut redis = redis(RedisAt::Tcp { host, port: port.unwrap_or(REDIS_PORT), tls });
    redis.database = database as u32;
    if let Some(info) = user_info {
        let (user, password) = info.split_once(':').map_or((info, None), |(user, word)| (user, Some(word)));
        let decoded =
            |text: &str| decoded(text).ok_or_else(|| bad("user or password is not well percent-encoded"));
        redis.user = Some(decoded(user)?).filter(|user| !user.is_empty());
        redis.password = match password {
            Some(word) if !word.is_empty() => Some(Secret::new(decoded(word)?.into_bytes())),
            _ => None,
        };
    }
    Ok(redis)
}

/// `name`, `name:80`, `[::1]:80`
fn host_and_port(text: &str) -> Result<(String, Option<u16>), Problem> {
    let text = hosts::authority(text)?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (text.as_str(), None),
    };
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

/// Percent-decoded, within bounds.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?)
            .ok()
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok().filter(|text| text.len() <= SECRET_BYTES_MAX && !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_urls() {
        let one = url("redis://app:p%40ss@cache.internal:6380/3").unwrap();
        assert_eq!(one.user.as_deref(), Some("app"));
        assert_eq!(one.password.as_ref().unwrap().bytes(), b"p@ss");
        assert_eq!(one.url(), "redis://app@cache.internal:6380/3");
        assert_eq!(url("rediss://[::1]").unwrap().url(), "rediss://[::1]:6379/0");
        assert_eq!(url("valkey://:word@h").unwrap().url(), "redis://h:6379/0");
        assert_eq!(url("unix:/run/redis.sock").unwrap().url(), "unix:/run/redis.sock");
        for bad in [
            "",
            "h",
            "http://h",
            "redis://",
            "redis://h:x",
            "redis://h/x",
            "redis://a b",
            "redis://u:%zz@h",
            "unix:x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_message_about_a_url_has_its_password_in_it() {
        for bad in [
            "redis://u:hunter2@",
            "redis://u:hunter2%@h",
            "redis://u:hunter2@h/x",
            "rdis://u:hunter2@h",
            "redis://u:hunter2@h:x?y",
        ] {
            let problem = url(bad).unwrap_err();
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }
}
