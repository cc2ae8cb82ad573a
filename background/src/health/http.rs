//! One check by HTTP: GET, by HTTP/1.1 or HTTP/2; a status that is well, and a body with the text that is looked for.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringway_engine::Check;
use ringway_engine::snapshot::HttpCheckPlan;

use super::probe::{Tasks, connect, offer_of, text};

/// Of a body that is looked through.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Of a response's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Asks, and judges the answer.
///
/// # Errors
/// It is not well, or did not say; for a person.
pub async fn ask(check: &Check, plan: &HttpCheckPlan) -> Result<(), String> {
    let connected = connect(check, offer_of(check)).await?;
    let host = plan.host.as_deref().unwrap_or(&check.authority);
    let tasks = Tasks::default();
    let io = TokioIo::new(connected.wire);
    let request = Request::get("/").header("user-agent", "ringway-health").header("accept", "*/*");
    let response = if connected.http2 {
        let uri = format!("{}://{host}{}", connected.scheme, plan.path);
        let request = request.uri(uri).body(Empty::<Bytes>::new()).map_err(text)?;
        let mut handshake = http2::Builder::new(tasks.executor());
        handshake.max_header_list_size(HEAD_BYTES_MAX as u32);
        let (mut sender, connection) = handshake.handshake(io).await.map_err(text)?;
        tasks.executor().execute(async { drop(connection.await) });
        sender.send_request(request).await.map_err(text)?
    } else {
        let request = request.uri(&*plan.path).header("host", host).header("connection", "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(text)?;
        let mut handshake = http1::Builder::new();
        handshake.max_buf_size(HEAD_BYTES_MAX);
        let (mut sender, connection) = handshake.handshake(io).await.map_err(text)?;
        tasks.executor().execute(async { drop(connection.await) });
        sender.send_request(request).await.map_err(text)?
    };
    judge(response, plan).await
}

async fn judge(response: Response<Incoming>, plan: &HttpCheckPlan) -> Result<(), String> {
    let status = response.status();
    if !plan.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status.as_u16())) {
        return Err(format!("HTTP status {status}"));
    }
    let Some(wanted) = &plan.body else { return Ok(()) };
    let (mut body, mut read) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(text)?.into_data() else { continue };
        // What is looked for may lie across two pieces.
        let from = read.len().saturating_sub(wanted.len());
        read.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - read.len())]);
        if contains(&read[from..], wanted.as_bytes()) {
            return Ok(());
        }
        if read.len() == BODY_BYTES_MAX {
            let kib = BODY_BYTES_MAX >> 10;
            return Err(format!("HTTP status {status}, but the first {kib} KiB of its body lack {wanted:?}"));
        }
    }
    Err(format!("HTTP status {status}, but its body lacks {wanted:?}"))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
