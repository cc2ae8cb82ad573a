//! An ACME authority (RFC 8555) of the tests' own, over HTTPS: it verifies signatures and nonces, really looks for the
//! proofs at the gateway's listeners, and signs what was asked for. How it behaves can be changed while it runs.

mod jws;
mod look;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tls::Authority;
use jws::{Refused, Signed, refused};
pub use look::shows_proof;

/// How often a proof is looked for, each time on a connection of its own: workers must know of it, not only one.
const LOOKS: usize = 8;

/// How it behaves.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Connections are closed without an answer.
    pub down: bool,
    /// Every order is refused.
    pub refuses_orders: bool,
    /// So many requests are told that their nonce is bad.
    pub bad_nonces: usize,
    /// How long certificates live, in seconds.
    pub life_s: u64,
    /// Where `http-01` is looked for.
    pub http: Option<SocketAddr>,
    /// Where `tls-alpn-01` is looked for.
    pub tls: Option<SocketAddr>,
    /// Accounts must be bound to this one elsewhere: its id and key.
    pub external: Option<(String, Vec<u8>)>,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        let life_s = 90 * 24 * 3600;
        Behaviour {
            down: false,
            refuses_orders: false,
            bad_nonces: 0,
            life_s,
            http: None,
            tls: None,
            external: None,
        }
    }
}

/// What it has seen and done.
#[derive(Debug, Default)]
pub struct Seen {
    /// Paths of requests that were signed well, in order.
    pub requests: Vec<String>,
    /// Contacts of accounts.
    pub contacts: Vec<String>,
    /// Certificates issued: their names, and when.
    pub issued: Vec<(Vec<String>, Instant)>,
    /// Paths at which `http-01` was looked for.
    pub looked_at: Vec<String>,
    /// What no log may say: thumbprints of accounts' keys.
    pub thumbprints: Vec<String>,
}

/// The running authority.
pub struct AcmeServer {
    address: SocketAddr,
    folder: TempDir,
    ca: Arc<Authority>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    seen: Seen,
    nonces: Vec<String>,
    count: u64,
    accounts: Vec<jws::Key>,
    orders: Vec<Order>,
}

struct Order {
    names: Vec<String>,
    authorizations: Vec<Authorization>,
    certificate: Option<String>,
}

#[derive(Clone)]
struct Authorization {
    name: String,
    token: String,
    status: &'static str,
    error: Option<Value>,
}

impl AcmeServer {
    /// Listens on a free port.
    pub fn start(behaviour: Behaviour) -> AcmeServer {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = Arc::new(Authority::new(folder.path(), "ca"));
        ca.issue("acme", &["localhost"]);
        let config = ca.server("acme", &["http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { behaviour, ..State::default() }));
        let (served, signer) = (state.clone(), ca.clone());
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (config, state, ca) = (config.clone(), served.clone(), signer.clone());
                std::thread::spawn(move || serve(socket, config, address, &state, &ca));
            }
        });
        AcmeServer { address, folder, ca, state }
    }

    /// URL of its directory.
    pub fn directory(&self) -> String {
        format!("{}/directory", base(self.address))
    }

    /// The certificate of whoever signed its own and signs those it issues.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A client that trusts what it issues.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.ca.client(alpn, None)
    }

    /// Changes how it behaves.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.state).behaviour);
    }

    /// What it has seen so far.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.state).seen)
    }

    /// Knows nobody any more.
    pub fn forget_accounts(&self) {
        lock(&self.state).accounts.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}

fn base(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

/// What is answered.
struct Answer {
    status: u16,
    location: Option<String>,
    content_type: &'static str,
    body: String,
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, location: None, content_type: "application/json", body: body.to_string() }
}

/// One request and its answer.
fn serve(
    mut socket: TcpStream,
    config: Arc<ServerConfig>,
    address: SocketAddr,
    state: &Arc<Mutex<State>>,
    ca: &Authority,
) -> Option<()> {
    if lock(state).behaviour.down {
        return None;
    }
    socket.set_read_timeout(Some(crate::wait::PATIENCE)).ok()?;
    let mut session = ServerConnection::new(config).ok()?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).ok()?;
    }
    let mut stream = BufReader::new(StreamOwned::new(session, socket));
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let (method, path) = line.trim_end().strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut length = 0;
    loop {
        let mut field = String::new();
        stream.read_line(&mut field).ok()?;
        let Some((name, value)) = field.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let answer = match (method.as_str(), path.as_str()) {
        ("GET", "/directory") => directory(address),
        ("HEAD", "/nonce") => answer(200, &json!({})),
        ("POST", path) => {
            post(path, &body, address, state, ca).unwrap_or_else(|Refused { status, kind, detail }| {
                let body = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
                Answer { content_type: "application/problem+json", ..answer(status, &body) }
            })
        }
        _ => answer(405, &json!({})),
    };
    let nonce = lock(state).nonce();
    let mut head = format!(
        "HTTP/1.1 {} Answer\r\nContent-Type: {}\r\nContent-Length: {}\r\nReplay-Nonce: {nonce}\r\nConnection: close\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    if let Some(location) = answer.location {
        head.push_str(&format!("Location: {location}\r\n"));
    }
    head.push_str("\r\n");
    if method != "HEAD" {
        head.push_str(&answer.body);
    }
    let mut stream = stream.into_inner();
    stream.write_all(head.as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn directory(address: SocketAddr) -> Answer {
    let base = base(address);
    answer(
        200,
        &json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"),
            "meta": { "termsOfService": format!("{base}/terms") },
        }),
    )
}

fn post(
    path: &str,
    body: &[u8],
    address: SocketAddr,
    state: &Arc<Mutex<State>>,
    ca: &Authority,
) -> Result<Answer, Refused> {
    let base = base(address);
    let (signed, account) = {
        let mut state = lock(state);
        let accounts: Vec<jws::Key> = state.accounts.clone();
        let find = |kid: &str| {
            let number: usize = kid.strip_prefix(&format!("{base}/account/"))?.parse().ok()?;
            accounts.get(number).cloned()
        };
        let signed = jws::verified(body, &format!("{base}{path}"), find)?;
        let nonce = state.nonces.iter().position(|nonce| *nonce == signed.nonce);
        nonce.map(|at| state.nonces.remove(at)).ok_or_else(|| refused(400, "badNonce", "not one of ours"))?;
        if state.behaviour.bad_nonces > 0 {
            state.behaviour.bad_nonces -= 1;
            return Err(refused(400, "badNonce", "not this time"));
        }
        state.seen.requests.push(path.to_owned());
        let account = signed.key.thumbprint();
        (signed, account)
    };
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let number = |text: &str| text.parse::<usize>().map_err(|_| refused(404, "malformed", "no such thing"));
    match parts.as_slice() {
        ["account"] => new_account(&base, &signed, &mut lock(state)),
        ["order"] => new_order(&base, &signed, &mut lock(state)),
        ["order", order] => {
            let order = number(order)?;
            Ok(answer(200, &lock(state).order_as_json(&base, order)?))
        }
        ["authorization", order, one] => {
            let (order, one) = (number(order)?, number(one)?);
            Ok(answer(200, &lock(state).authorization_as_json(&base, order, one)?))
        }
        ["challenge", kind, order, one] => {
            let (kind, order, one) = ((*kind).to_owned(), number(order)?, number(one)?);
            let (behaviour, looked_for) = {
                let state = lock(state);
                (state.behaviour.clone(), state.authorization(order, one)?.clone())
            };
            let shown = challenge_as_json(&base, &looked_for, &kind, order, one);
            let state = state.clone();
            // As authorities do: the answer is that it will be looked for.
            std::thread::spawn(move || {
                let expected = format!("{}.{account}", looked_for.token);
                let found = (0..LOOKS).try_for_each(|_| match kind.as_str() {
                    "http-01" => look::http(behaviour.http, &looked_for.name, &looked_for.token, &expected),
                    _ => look::tls(behaviour.tls, &looked_for.name, &expected),
                });
                let mut state = lock(&state);
                state.seen.looked_at.push(look::path(&looked_for.token));
                let Some(order) = state.orders.get_mut(order) else { return };
                let Some(authorization) = order.authorizations.get_mut(one) else { return };
                match found {
                    Ok(()) => authorization.status = "valid",
                    // It says what it wanted to see, as real ones do.
                    Err(why) => {
                        authorization.status = "invalid";
                        let detail = format!("{why}; expected {expected}");
                        let kind = "urn:ietf:params:acme:error:unauthorized";
                        authorization.error = Some(json!({ "type": kind, "detail": detail }));
                    }
                }
            });
            Ok(answer(200, &shown))
        }
        ["finalize", order] => {
            let order = number(order)?;
            let mut state = lock(state);
            let names =
                state.orders.get(order).ok_or_else(|| refused(404, "malformed", "no order"))?.names.clone();
            if state.status(order) != "ready" {
                return Err(refused(403, "orderNotReady", "names are not proven"));
            }
            let request = jws::decoded(signed.payload["csr"].as_str().unwrap_or_default())?;
            let pem = ca.sign(&request, &names, Duration::from_secs(state.behaviour.life_s));
            let pem = pem.map_err(|why| refused(400, "badCSR", &why))?;
            state.orders[order].certificate = Some(pem);
            state.seen.issued.push((names, Instant::now()));
            Ok(answer(200, &state.order_as_json(&base, order)?))
        }
        ["certificate", order] => {
            let order = number(order)?;
            let state = lock(state);
            let pem = state.orders.get(order).and_then(|order| order.certificate.clone());
            let body = pem.ok_or_else(|| refused(404, "malformed", "no certificate"))?;
            let content_type = "application/pem-certificate-chain";
            Ok(Answer { status: 200, location: None, content_type, body })
        }
        _ => Err(refused(404, "malformed", "no such thing")),
    }
}

fn new_account(base: &str, signed: &Signed, state: &mut State) -> Result<Answer, Refused> {
    if signed.payload["termsOfServiceAgreed"] != json!(true) {
        return Err(refused(403, "userActionRequired", "the terms are not agreed to"));
    }
    if let Some((id, key)) = &state.behaviour.external {
        let url = format!("{base}/account");
        jws::verify_binding(&signed.payload["externalAccountBinding"], id, key, &signed.key, &url)?;
    }
    state.seen.contacts.extend(signed.payload["contact"][0].as_str().map(str::to_owned));
    state.seen.thumbprints.push(signed.key.thumbprint());
    state.accounts.push(signed.key.clone());
    let location = Some(format!("{base}/account/{}", state.accounts.len() - 1));
    Ok(Answer { location, ..answer(201, &json!({ "status": "valid" })) })
}

fn new_order(base: &str, signed: &Signed, state: &mut State) -> Result<Answer, Refused> {
    if state.behaviour.refuses_orders {
        return Err(refused(429, "rateLimited", "too many certificates\nfor this week"));
    }
    let identifiers = signed.payload["identifiers"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> = identifiers
        .iter()
        .filter(|one| one["type"] == "dns")
        .filter_map(|one| Some(one["value"].as_str()?.to_owned()))
        .collect();
    let count = state.orders.len();
    let authorization = |(at, name): (usize, &String)| Authorization {
        name: name.clone(),
        token: jws::encoded(format!("token-{count}-{at}-of-{name}").as_bytes()),
        status: "pending",
        error: None,
    };
    let authorizations = names.iter().enumerate().map(authorization).collect();
    state.orders.push(Order { names, authorizations, certificate: None });
    let location = Some(format!("{base}/order/{count}"));
    Ok(Answer { location, ..answer(201, &state.order_as_json(base, count)?) })
}

fn challenge_as_json(base: &str, of: &Authorization, kind: &str, order: usize, one: usize) -> Value {
    let url = format!("{base}/challenge/{kind}/{order}/{one}");
    let mut shown = json!({ "type": kind, "url": url, "token": of.token, "status": of.status });
    if let (Some(error), Value::Object(shown)) = (&of.error, &mut shown) {
        shown.insert("error".into(), error.clone());
    }
    shown
}

impl State {
    fn nonce(&mut self) -> String {
        self.count += 1;
        let nonce = jws::encoded(format!("nonce {}", self.count).as_bytes());
        self.nonces.push(nonce.clone());
        nonce
    }

    fn authorization(&self, order: usize, one: usize) -> Result<&Authorization, Refused> {
        let found = self.orders.get(order).and_then(|order| order.authorizations.get(one));
        found.ok_or_else(|| refused(404, "malformed", "no such authorization"))
    }

    fn status(&self, order: usize) -> &'static str {
        let order = &self.orders[order];
        let any = |status| order.authorizations.iter().any(|one| one.status == status);
        match order.certificate {
            Some(_) => "valid",
            None if any("invalid") => "invalid",
            None if any("pending") => "pending",
            None => "ready",
        }
    }

    fn order_as_json(&self, base: &str, number: usize) -> Result<Value, Refused> {
        let order = self.orders.get(number).ok_or_else(|| refused(404, "malformed", "no such order"))?;
        let urls = (0..order.names.len()).map(|one| format!("{base}/authorization/{number}/{one}"));
        let mut shown = json!({
            "status": self.status(number),
            "authorizations": urls.collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/{number}"),
        });
        if let (Some(_), Value::Object(shown)) = (&order.certificate, &mut shown) {
            shown.insert("certificate".into(), json!(format!("{base}/certificate/{number}")));
        }
        Ok(shown)
    }

    fn authorization_as_json(&self, base: &str, order: usize, one: usize) -> Result<Value, Refused> {
        let found = self.authorization(order, one)?;
        let challenges =
            ["http-01", "tls-alpn-01"].map(|kind| challenge_as_json(base, found, kind, order, one));
        let identifier = json!({ "type": "dns", "value": found.name });
        Ok(json!({ "status": found.status, "identifier": identifier, "challenges": challenges }))
    }
}
