//! Plays wire texts against the binary: each case once with its bytes in one piece and once in many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::case::{After, Besides, Case, Expected, Reply, Script};
use crate::client::{Client, Response, To};
use crate::escape::{matches, text, visible};
use crate::gateway::{Gateway, fill_in};
use crate::origins::parts::{self, Answer};
use crate::origins::{Origin, Seen, State};
use crate::wire::Broken;

/// How long is waited for a part of a request that the origin may see or not.
const LATE: Duration = Duration::from_millis(60);

/// Fields the proxy adds to each request; compared only where a case names them.
const ADDED: [&str; 6] =
    ["via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// Plays every case of a file; panics with all that failed.
#[track_caller]
pub fn play(file: &str) {
    let script = Script::parse(file).unwrap_or_else(|e| panic!("{e}"));
    let answer = Arc::new(Mutex::new(Answer::default()));
    let origin = Origin::start(parts::scripted(Arc::clone(&answer)));
    let gateway = Gateway::start_with(&script.config, &[("origin", &origin.endpoint())]);
    let only = std::env::var("RINGWAY_TEST_CASE").unwrap_or_default();
    let stage = Stage { origin, gateway, answer };
    let mut failures = Vec::new();
    let played: Vec<&Case> = script.cases.iter().filter(|case| case.title.contains(&only)).collect();
    for case in &played {
        for pieces in [Pieces::One, Pieces::Many] {
            if let Err(why) = stage.play(case, pieces) {
                let sent = visible(&case.sends);
                failures.push(format!("line {}: {} ({pieces:?})\n{sent}\n  => {why}", case.line, case.title));
                break;
            }
        }
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {} cases failed\n\n{}", played.len(), failures.join("\n\n"));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pieces {
    One,
    Many,
}

struct Stage {
    origin: Origin,
    gateway: Gateway,
    answer: Arc<Mutex<Answer>>,
}

impl Stage {
    fn play(&self, case: &Case, pieces: Pieces) -> Result<(), String> {
        self.answer.lock().map_err(|e| e.to_string())?.clone_from(&case.answer);
        self.origin.forget();
        let mut client =
            Client::try_connect(self.gateway.address(&case.to)).map_err(|e| format!("connecting: {e}"))?;
        client.patience(Duration::from_secs(4));
        let size = match pieces {
            Pieces::One => case.sends.len(),
            Pieces::Many => case.sends.len().div_ceil(1500),
        };
        // A refused request may be answered, and the connection ended, before the last byte is written.
        let _ = client.send_in_pieces(&case.sends, size, Duration::ZERO);
        if case.half_closes {
            client.half_close();
        }
        for reply in &case.replies {
            self.check_reply(case, reply, &mut client)?;
        }
        self.check_origin(case)
    }

    fn check_reply(&self, case: &Case, reply: &Reply, client: &mut Client) -> Result<(), String> {
        let to = if reply.head { To::Head } else { To::Get };
        let response = match client.next_message(to) {
            Ok(response) => response,
            Err(Broken::Ended | Broken::Reset) if reply.statuses.contains(&0) => return Ok(()),
            Err(broken) => return Err(format!("wanted {:?}, but: {broken}", reply.statuses)),
        };
        let got = || format!("got {:?} {:?}", response.head, text(&response.body));
        if !reply.statuses.contains(&response.status) {
            return Err(format!("wanted {:?}, {}", reply.statuses, got()));
        }
        // An error is whole; what is cut is a response that had begun.
        let cut = reply.cut && response.status < 300;
        if cut != response.is_cut() || (!cut && response.broken.is_some()) {
            return Err(format!("cut: wanted {cut}, is {:?}", response.broken));
        }
        let mut values = self.gateway.values().clone();
        check_response(&response, &reply.message, &mut values).map_err(|why| format!("{why}, {}", got()))?;
        if case.requests.is_empty() && response.status >= 400 {
            check_local_reply(&response, reply).map_err(|why| format!("{why}, {}", got()))?;
        }
        match reply.then {
            After::Unsaid => Ok(()),
            After::Keep => probe(client).map_err(|why| format!("after the response: {why}")),
            After::Close => match client.read_to_end() {
                (bytes, Broken::Ended | Broken::Reset) if bytes.is_empty() => Ok(()),
                (bytes, end) => Err(format!("wanted the end, got {:?} and {end}", visible(&bytes))),
            },
        }
    }

    fn check_origin(&self, case: &Case) -> Result<(), String> {
        let (wanted, bound) = (case.requests.len(), Duration::from_secs(2));
        self.origin.wait(bound, |state| state.seen.iter().filter(|seen| seen.whole).count() >= wanted);
        let seen = self.origin.seen();
        if let Some(why) = self.origin.malformed().first() {
            return Err(format!("the origin got what is not HTTP: {why}"));
        }
        if case.dropped {
            let on = seen.last().map(|seen| seen.connection).ok_or("the origin saw nothing")?;
            if !self.origin.wait(bound, |state| state.ended.contains(&on)) {
                return Err("the connection to the origin was kept".into());
            }
        }
        if case.besides == Besides::Parts {
            // What the origin sees late of this case would be counted for the next.
            let ended = |seen: &Seen, state: &State| state.ended.contains(&seen.connection);
            self.origin.wait(LATE, |state| state.seen.iter().any(|seen| ended(seen, state)));
        }
        if case.besides == Besides::Anything {
            return Ok(());
        }
        let whole: Vec<&Seen> = seen.iter().filter(|seen| seen.whole).collect();
        if whole.len() != wanted || (case.besides == Besides::Nothing && seen.len() != wanted) {
            return Err(format!("the origin must see {wanted} requests, saw {seen:#?}"));
        }
        let mut values = self.gateway.values().clone();
        for (seen, expected) in whole.into_iter().zip(&case.requests) {
            check_request(seen, expected, &mut values)
                .map_err(|why| format!("origin: {why}; it saw {:?} {:?}", seen.head, text(&seen.body)))?;
        }
        Ok(())
    }
}

fn probe(client: &mut Client) -> Result<(), String> {
    client.try_send("GET /-/probe HTTP/1.1\r\nHost: probe.test\r\n\r\n").map_err(|e| e.to_string())?;
    let response = client.try_response(To::Get).map_err(|e| e.to_string())?;
    if response.status == 200 && response.text() == "0" {
        return Ok(());
    }
    Err(format!("a second request got {:?} {}", response.head, response.text()))
}

fn check_request(
    seen: &Seen,
    expected: &Expected,
    values: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let start = fill_in(&expected.start, values);
    if !matches(&start, &seen.head.start) {
        return Err(format!("wanted {start}"));
    }
    let mut known: Vec<String> = ADDED.iter().map(|name| (*name).to_owned()).collect();
    for (name, _) in &expected.fields {
        let (name, optional) = name.strip_prefix('?').map_or((name.as_str(), false), |name| (name, true));
        let (name, absent) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
        known.push(name.to_ascii_lowercase());
        let wanted =
            expected.fields.iter().filter(|(n, _)| n.trim_start_matches('?').eq_ignore_ascii_case(name));
        let wanted: Vec<String> = wanted.map(|(_, value)| fill_in(value, values)).collect();
        match seen.head.get(name) {
            Some(value) if absent => return Err(format!("{name}: {value} must not be there")),
            Some(value) if !matches(&wanted.join(", "), &value) => {
                return Err(format!("wanted {name}: {}, is {value}", wanted.join(", ")));
            }
            None if !optional && !absent => return Err(format!("{name} is missing")),
            _ => {}
        }
    }
    if let Some((name, value)) =
        seen.head.fields.iter().find(|(n, _)| !known.contains(&n.to_ascii_lowercase()))
    {
        return Err(format!("{name}: {value} must not be forwarded"));
    }
    check_body(&seen.body, &seen.trailers, expected)
}

fn check_response(
    response: &Response,
    expected: &Expected,
    values: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for (name, pattern) in &expected.fields {
        let pattern = fill_in(pattern, values);
        if let Some(name) = name.strip_prefix('!') {
            if let Some(value) = response.header(name) {
                return Err(format!("{name}: {value} must not be there"));
            }
        } else if !response.head.all(name).any(|value| matches(&pattern, value)) {
            return Err(format!("wanted {name}: {pattern}"));
        }
    }
    if expected.body.is_none() && expected.trailers.is_empty() {
        return Ok(());
    }
    check_body(&response.body, &response.trailers, expected)
}

fn check_body(body: &[u8], trailers: &[(String, String)], expected: &Expected) -> Result<(), String> {
    let wanted = expected.body.clone().unwrap_or_default();
    if body != wanted {
        return Err(format!("wanted the body {:?}, is {:?}", text(&wanted), text(body)));
    }
    let lower = |fields: &[(String, String)]| -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
    };
    if lower(trailers) != lower(&expected.trailers) {
        return Err(format!("wanted trailers {:?}, are {trailers:?}", expected.trailers));
    }
    Ok(())
}

/// A refusal says why in a form machines read, unless the case expects another.
fn check_local_reply(response: &Response, reply: &Reply) -> Result<(), String> {
    let names_type = reply.message.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if names_type || reply.head || reply.message.body.is_some() {
        return Ok(());
    }
    if response.header("content-type").as_deref() != Some("application/problem+json") {
        return Err("wanted application/problem+json".into());
    }
    let problem: serde_json::Value = serde_json::from_slice(&response.body).map_err(|e| e.to_string())?;
    let has_reason = problem["reason"].as_str().is_some_and(|reason| !reason.is_empty());
    if !has_reason || problem["status"] != response.status {
        return Err("wanted a reason and the status in the body".into());
    }
    Ok(())
}
