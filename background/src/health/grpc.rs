//! One check by the gRPC health protocol: one call of `grpc.health.v1.Health/Check`.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper::rt::Executor;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use ringway_engine::tls::Offer;
use ringway_engine::{Check, grpc};

use super::probe::{Tasks, connect, text};

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
        .body(Full::new(framed(&HealthCheckRequest { service: service.to_owned() })))
        .map_err(text)?;
    judge(sender.send_request(request).await.map_err(text)?).await
}

async fn judge(response: Response<Incoming>) -> Result<(), String> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("HTTP status {}", head.status));
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
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
