//! One check by the gRPC health protocol: a connection, TLS where the service speaks it, and one call of
//! `grpc.health.v1.Health/Check`.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper::rt::Executor;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use ringway_engine::Check;
use ringway_engine::balance::Address;
use ringway_engine::grpc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Bytes of an answer; a good one has about ten.
const ANSWER_BYTES_MAX: usize = 4096;
/// Before a message: a flag and its length.
const PREFIX: usize = 5;
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks an endpoint whether it is well, within the check's time.
///
/// # Errors
/// It is not, or did not say; for a person.
pub async fn ask(check: &Check) -> Result<(), String> {
    let within = Duration::from_millis(check.health.timeout_ms);
    match tokio::time::timeout(within, connect_and_call(check)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} ms", check.health.timeout_ms)),
    }
}

async fn connect_and_call(check: &Check) -> Result<(), String> {
    match &check.address {
        Address::Ip(address) => over_tls(check, TcpStream::connect(address).await.map_err(text)?).await,
        Address::Unix(path) => over_tls(check, UnixStream::connect(path).await.map_err(text)?).await,
    }
}

async fn over_tls(
    check: &Check,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(), String> {
    let Some(tls) = &check.tls else { return call(check, "http", stream).await };
    let (config, name) = tls.for_http2(&check.address).ok_or("its certificate could name nobody")?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    call(check, "https", stream.map_err(|error| format!("TLS: {error}"))?).await
}

async fn call(
    check: &Check,
    scheme: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(), String> {
    // Whatever hyper begins for it ends with this check, however it ends.
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let handshake = http2::handshake(Within(Arc::downgrade(&tasks)), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(text)?;
    Within(Arc::downgrade(&tasks)).execute(async { drop(connection.await) });
    let request = Request::post(format!("{scheme}://{}/grpc.health.v1.Health/Check", check.authority))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "ringway-health")
        .header("grpc-timeout", format!("{}m", check.health.timeout_ms))
        .body(Full::new(framed(&HealthCheckRequest { service: check.health.grpc.to_string() })))
        .map_err(text)?;
    judge(sender.send_request(request).await.map_err(text)?).await
}

async fn judge(response: Response<Incoming>) -> Result<(), String> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("HTTP status {}", head.status));
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(text)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status =
        |fields: &HeaderMap| fields.get("grpc-status").and_then(|value| grpc::code(value.as_bytes()));
    // Where nothing but a status comes, it stands in the head.
    match status(&trailers).or_else(|| status(&head.headers)) {
        Some(0) => {}
        Some(code) => {
            let name = grpc::CODES.get(usize::from(code)).unwrap_or(&"UNKNOWN");
            return Err(format!("the call ended with {name}"));
        }
        None => return Err("the call ended without a status".into()),
    }
    let body = body.to_bytes();
    let message = body.get(PREFIX..).ok_or("an answer without a message")?;
    let answer =
        HealthCheckResponse::decode(message).map_err(|error| format!("its answer can't be read: {error}"))?;
    match answer.status {
        SERVING => Ok(()),
        0 => Err("it says UNKNOWN".into()),
        2 => Err("it says NOT_SERVING".into()),
        3 => Err("it says SERVICE_UNKNOWN".into()),
        other => Err(format!("it says {other}, which means nothing")),
    }
}

fn framed(message: &impl Message) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.encoded_len() as u32);
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs what it is given as long as its check goes on.
#[derive(Clone)]
struct Within(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Within {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        }
    }
}
