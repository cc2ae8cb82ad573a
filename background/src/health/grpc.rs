//! One check by the gRPC health protocol: a connection, TLS where the service speaks it, and one call of
//! `grpc.health.v1.Health/Check`.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use prost::Message;
use ringway_engine::Check;
use ringway_engine::balance::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::grpc;

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
    let (mut sender, _tasks) = grpc::connect(stream).await?;
    let request = Request::post(format!("{scheme}://{}/grpc.health.v1.Health/Check", check.authority))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "ringway-health")
        .header("grpc-timeout", format!("{}m", check.health.timeout_ms))
        .body(grpc::framed(&HealthCheckRequest { service: check.health.grpc.to_string() }))
        .map_err(text)?;
    judge(sender.send_request(request).await.map_err(text)?).await
}

async fn judge(response: Response<Incoming>) -> Result<(), String> {
    let answer: HealthCheckResponse = grpc::message(response).await?;
    match answer.status {
        SERVING => Ok(()),
        0 => Err("it says UNKNOWN".into()),
        2 => Err("it says NOT_SERVING".into()),
        3 => Err("it says SERVICE_UNKNOWN".into()),
        other => Err(format!("it says {other}, which means nothing")),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
