//! Does the demo do what it advertises? One check for each thing, all of them made.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::Ports;
use super::client::{self, Response};

/// For the gateway to be ready, and for a reload to be seen.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Enough for one in ten to be seen: the chance of missing it is below 10⁻²².
const SPLIT_TRIES: usize = 500;

/// What failed, a line for each.
pub fn all(ports: &Ports, path: &Path) -> Result<(), String> {
    wait("the gateway is not ready", || client::get(ports.admin, "/readyz").is_ok_and(|r| r.status == 200))?;
    let results = [
        ("a routed request", routed(ports)),
        ("the weighted split", split(ports)),
        ("the redirect", redirected(ports)),
        ("the smuggling attempt", refused(ports)),
        ("the live reload", reloaded(ports, path)),
        ("the bad reload", kept(ports, path)),
        ("/workers", page(ports, "/workers", "\"workers\"")),
        ("/metrics", page(ports, "/metrics", "process_open_fds")),
    ];
    let failed: Vec<String> = results
        .into_iter()
        .filter_map(|(what, result)| {
            result.err().map(|why| format!("the demo's check failed: {what}: {why}"))
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn routed(ports: &Ports) -> Result<(), String> {
    let response = get(ports.gateway, "/v1/orders/7")?;
    expect(response.status == 200 && response.body.contains("orders: GET /v1/orders/7"), &response)
}

fn split(ports: &Ports) -> Result<(), String> {
    let (mut orders, mut next) = (0, 0);
    for _ in 0..SPLIT_TRIES {
        let response = get(ports.gateway, "/split")?;
        expect(response.status == 200, &response)?;
        if response.body.contains("orders-next: ") {
            next += 1;
        } else {
            orders += 1;
        }
        if orders > 0 && next > 0 {
            return Ok(());
        }
    }
    Err(format!("{orders} went to orders, {next} to orders-next"))
}

fn redirected(ports: &Ports) -> Result<(), String> {
    let response = get(ports.gateway, "/old/page")?;
    let location = response.head.lines().find_map(|line| line.strip_prefix("location: "));
    expect(response.status == 308 && location.is_some_and(|to| to.ends_with("/new/page")), &response)
}

/// Refused, and the connection closed: reading ends although nothing asked for it to close.
fn refused(ports: &Ports) -> Result<(), String> {
    let request = "POST /v1/orders/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                   0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let response = client::send(ports.gateway, request).map_err(|error| error.to_string())?;
    expect(response.status == 400 && !response.body.contains("smuggled"), &response)
}

fn reloaded(ports: &Ports, path: &Path) -> Result<(), String> {
    edit(path, |text| text.replace("body: ok", "body: reloaded"))?;
    wait("the new answer never came", || {
        client::get(ports.gateway, "/healthz").is_ok_and(|response| response.body.contains("reloaded"))
    })
}

/// A bad file shows in /readyz, what runs stays; the good one ends it.
fn kept(ports: &Ports, path: &Path) -> Result<(), String> {
    let good = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let readyz = |wanted: bool| {
        client::get(ports.admin, "/readyz")
            .is_ok_and(|response| response.status == 200 && response.body.contains("ruotes") == wanted)
    };
    edit(path, |text| format!("{text}\nruotes: []\n"))?;
    wait("/readyz never told of the bad file", || readyz(true))?;
    let response = get(ports.gateway, "/healthz")?;
    expect(response.body.contains("reloaded"), &response)?;
    edit(path, |_| good.clone())?;
    wait("/readyz still tells of the bad file", || readyz(false))
}

fn page(ports: &Ports, path: &str, expected: &str) -> Result<(), String> {
    let response = get(ports.admin, path)?;
    expect(response.status == 200 && response.body.contains(expected), &response)
}

fn edit(path: &Path, change: impl Fn(&str) -> String) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    fs::write(path, change(&text)).map_err(|error| error.to_string())
}

fn get(port: u16, path: &str) -> Result<Response, String> {
    client::get(port, path).map_err(|error| error.to_string())
}

fn expect(holds: bool, response: &Response) -> Result<(), String> {
    let line = response.head.lines().next().unwrap_or_default();
    let body = response.body.lines().next().unwrap_or_default();
    if holds { Ok(()) } else { Err(format!("the answer was `{line}`, `{body:.100}`")) }
}

fn wait(otherwise: &str, until: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !until() {
        if Instant::now() >= deadline {
            return Err(otherwise.to_owned());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
