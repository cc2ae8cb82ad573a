//! One check by the gRPC health protocol: one call of `grpc.health.v1.Health/Check`.

use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use prost::Message;
use ringway_engine::Check;
use ringway_engine::tls::Offer;

use super::probe::{Tasks, connect, text};
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

/// Asks an endpoint whether a service of it is well.
///
/// # Errors
/// It is not, or did not say; for a person.
pub async fn ask(check: &Check, service: &str) -> Result<(), String> {
    let connected = connect(check, Offer::Http2).await?;
    let tasks = Tasks::default();
    let handshake = http2::handshake(tasks.executor(), TokioIo::new(connected.wire)).await;
    let (mut sender, connection) = handshake.map_err(text)?;
    tasks.executor().execute(async { drop(connection.await) });
    let uri = format!("{}://{}/grpc.health.v1.Health/Check", connected.scheme, check.authority);
    let request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "ringway-health")
        .header("grpc-timeout", format!("{}m", check.health.timeout_ms))
        .body(grpc::framed(&HealthCheckRequest { service: service.to_owned() }))
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
