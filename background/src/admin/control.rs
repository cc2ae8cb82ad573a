//! The part of the admin API that changes things, and shows what is changed: services, overrides, drift.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::guard::{self, Writes};
use super::{Sources, not_allowed, pretty, pretty_with, problem};
use crate::overrides::{Override, Overrides, Refused, Wanted, as_json, read};

/// Bytes of a body.
const BODY_MAX: usize = 64 * 1024;
/// A body that is slower is not waited for.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is changed by hand, as the API needs it. Nothing of it is called on the background thread itself, for it may
/// have to wait for the engine.
pub trait Control: Send + Sync {
    /// Every service with its endpoints.
    fn services(&self) -> Vec<Value>;
    /// What differs from the file.
    fn drift(&self) -> Value;
    /// All changes that hold.
    fn list(&self) -> Vec<Override>;
    /// Makes a change.
    fn add(&self, wanted: Wanted, peer: SocketAddr) -> Result<Override, Refused>;
    /// Ends one.
    fn remove(&self, id: u64, peer: SocketAddr) -> Result<Override, Refused>;
}

/// Who asks, and where.
#[derive(Clone, Copy)]
pub struct Ends {
    /// Who is connected.
    pub peer: SocketAddr,
    /// Where.
    pub local: SocketAddr,
}

/// The answer to a request about this part; `None`: it is about another.
pub async fn answer(
    request: Request<Incoming>,
    sources: &Sources,
    ends: Ends,
) -> Result<Response<Full<Bytes>>, Request<Incoming>> {
    let path = request.uri().path().to_owned();
    let below = path.strip_prefix('/').unwrap_or_default();
    let (first, rest) = below.split_once('/').unwrap_or((below, ""));
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    Ok(match (first, rest) {
        ("services", name) if is_read => services(sources, name).await,
        ("config", "drift") if is_read => match beside(sources, |control| control.drift()).await {
            Some(drift) => pretty(&drift),
            None => ending(),
        },
        ("overrides", "") if is_read => match beside(sources, |control| control.list()).await {
            Some(list) => pretty(&json!({ "overrides": as_json(&list) })),
            None => ending(),
        },
        ("overrides", "endpoint" | "split" | "fault") if *request.method() == Method::POST => {
            add(rest, request, sources, ends).await
        }
        ("overrides", id) if *request.method() == Method::DELETE && id.parse::<u64>().is_ok() => {
            remove(id.parse().unwrap_or_default(), &request, sources, ends).await
        }
        ("overrides", "endpoint" | "split" | "fault") => not_allowed("POST"),
        ("overrides", id) if id.parse::<u64>().is_ok() => not_allowed("DELETE"),
        ("services", _) | ("overrides", "") | ("config", "drift") => not_allowed("GET, HEAD"),
        _ => return Err(request),
    })
}

async fn services(sources: &Sources, name: &str) -> Response<Full<Bytes>> {
    let Some(services) = beside(sources, |control| control.services()).await else { return ending() };
    if name.is_empty() {
        return pretty(&json!({ "services": services }));
    }
    match services.iter().find(|service| service["name"] == name) {
        Some(service) => pretty(service),
        None => problem(StatusCode::NOT_FOUND, "There is no such service; /services lists those there are."),
    }
}

async fn add(kind: &str, request: Request<Incoming>, sources: &Sources, ends: Ends) -> Response<Full<Bytes>> {
    if let Err(refused) = may_write(&request, sources, ends) {
        return refused;
    }
    let body = Limited::new(request.into_body(), BODY_MAX).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "The body is cut, or has more than 64 KiB.");
        }
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "The body did not come in time."),
    };
    let wanted = match read(kind, &body) {
        Ok(wanted) => wanted,
        Err(why) => return problem(StatusCode::UNPROCESSABLE_ENTITY, &why),
    };
    let added = beside(sources, move |control| control.add(wanted, ends.peer)).await;
    told(StatusCode::CREATED, added)
}

async fn remove(
    id: u64,
    request: &Request<Incoming>,
    sources: &Sources,
    ends: Ends,
) -> Response<Full<Bytes>> {
    if let Err(refused) = may_write(request, sources, ends) {
        return refused;
    }
    let removed = beside(sources, move |control| control.remove(id, ends.peer)).await;
    told(StatusCode::OK, removed)
}

#[expect(clippy::result_large_err, reason = "a response, sent at once")]
fn may_write(
    request: &Request<Incoming>,
    sources: &Sources,
    ends: Ends,
) -> Result<(), Response<Full<Bytes>>> {
    let writes = Writes::read(&sources.status.config());
    guard::check(writes, ends.local, request.method(), request.headers())
        .map_err(|(status, detail)| problem(status, detail))
}

fn told(status: StatusCode, made: Option<Result<Override, Refused>>) -> Response<Full<Bytes>> {
    match made {
        Some(Ok(one)) => pretty_with(status, &one.to_json()),
        Some(Err(Refused::Unknown(why))) => problem(StatusCode::NOT_FOUND, &why),
        Some(Err(Refused::Impossible(why))) => problem(StatusCode::CONFLICT, &why),
        None => ending(),
    }
}

fn ending() -> Response<Full<Bytes>> {
    problem(StatusCode::SERVICE_UNAVAILABLE, "The process is ending.")
}

/// Does what may have to wait for the engine on another thread. `None`: the runtime ends.
async fn beside<T: Send + 'static>(
    sources: &Sources,
    what: impl FnOnce(&dyn Control) -> T + Send + 'static,
) -> Option<T> {
    let control = Arc::clone(&sources.control);
    tokio::task::spawn_blocking(move || what(&*control)).await.ok()
}

/// What is asked of `overrides` goes there; the rest is put together here.
pub struct Running<S, D> {
    /// What is changed by hand.
    pub overrides: Overrides,
    /// Every service, with what is changed.
    pub services: S,
    /// What differs from the file, with what is changed.
    pub drift: D,
}

impl<S, D> Control for Running<S, D>
where
    S: Fn(&[Override]) -> Vec<Value> + Send + Sync,
    D: Fn(&[Override]) -> Value + Send + Sync,
{
    fn services(&self) -> Vec<Value> {
        (self.services)(&self.overrides.list())
    }

    fn drift(&self) -> Value {
        (self.drift)(&self.overrides.list())
    }

    fn list(&self) -> Vec<Override> {
        self.overrides.list()
    }

    fn add(&self, wanted: Wanted, peer: SocketAddr) -> Result<Override, Refused> {
        self.overrides.add(wanted, peer)
    }

    fn remove(&self, id: u64, peer: SocketAddr) -> Result<Override, Refused> {
        self.overrides.remove(id, peer)
    }
}
