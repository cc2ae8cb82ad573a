//! What calls of gRPC need on both sides of hyper: a message in its frame, and what came of a call.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::rt::Executor;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use ringway_engine::grpc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// Bytes of an answer; a good one has about ten, or some dozen for each descriptor.
const ANSWER_BYTES_MAX: usize = 4096;
/// Before a message: a flag and its length.
const PREFIX: usize = 5;

/// The tasks of a connection: they end when it is dropped.
pub type Tasks = Arc<Mutex<JoinSet<()>>>;

/// A connection over `stream`. Whatever hyper begins for it ends with the tasks.
///
/// # Errors
/// The other side speaks no HTTP/2; for a person.
pub async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(SendRequest<Full<Bytes>>, Tasks), String> {
    let tasks = Tasks::default();
    let handshake = http2::handshake(Within(Arc::downgrade(&tasks)), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
    Within(Arc::downgrade(&tasks)).execute(async { drop(connection.await) });
    Ok((sender, tasks))
}

/// A message as it is sent.
pub fn framed(message: &impl Message) -> Full<Bytes> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.encoded_len() as u32);
    framed.put_slice(&message.encode_to_vec());
    Full::new(framed.freeze())
}

/// The message of a response, where the call ended well.
///
/// # Errors
/// It did not; for a person.
pub async fn message<M: Message + Default>(response: Response<Incoming>) -> Result<M, String> {
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
    M::decode(message).map_err(|error| format!("its answer can't be read: {error}"))
}

/// Runs what it is given as long as its tasks are kept.
#[derive(Clone)]
struct Within(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Within {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that have ended are let go.
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}
