//! HTTP/2 with prior knowledge: the same behaviour for each stream, and gRPC by echo.
//!
//! A short answer that is due at once is given where the stream is accepted; every other stream has a task. A gRPC
//! request (by its content type) is answered with its own messages and `grpc-status: 0`; one that fails with a status,
//! with 14, unavailable. Failures concern the stream: a reset is a RST_STREAM, and the connection goes on.
//!
//! Invariant: at most [`STREAMS_MAX`] streams a connection, and of a request no more than [`MESSAGES_MAX`] is kept.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use ringway_runtime::{Lease, Nanos, Stream, TokioIo, spawn};

use super::behaviour::{Failure, Plan, Wish};
use super::origin::Origin;
use super::response::BLOCK;

/// What a connection begins with that speaks HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves the connection until either side has enough. `first` is what has arrived already.
pub async fn serve(stream: Stream, origin: Rc<Origin>, first: Lease) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_MAX);
    let handshake = builder.handshake::<_, Bytes>(TokioIo::after(first, stream));
    let Ok(mut connection) = handshake.await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if is_short(&origin, &request) {
            origin.tally.requests.add(1);
            // What fails here fails because the client is gone.
            let _ = answer_at_once(&origin, &request, &mut respond);
        } else {
            let origin = origin.clone();
            spawn(async move {
                let _ = exchange(&origin, request, respond).await;
            });
        }
    }
}

/// Whether the answer is known, due, and small enough to be left to h2's own buffer.
fn is_short(origin: &Origin, request: &Request<RecvStream>) -> bool {
    origin.is_plain
        && origin.behaviour.size <= BLOCK.len()
        && request.body().is_end_stream()
        && request.uri().query().is_none()
        && !is_grpc(request)
}

fn answer_at_once(
    origin: &Origin,
    request: &Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let size = origin.behaviour.size;
    let is_empty = size == 0 || request.method() == Method::HEAD;
    let mut send = respond.send_response(head(200, size), is_empty)?;
    if !is_empty {
        send.send_data(Bytes::from_static(&BLOCK[..size]), true)?;
    }
    Ok(())
}

/// One stream: the request whole, the wait, the answer.
async fn exchange(
    origin: &Rc<Origin>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let is_grpc = is_grpc(&request);
    let (parts, mut body) = request.into_parts();
    let messages = receive(&mut body, is_grpc).await?;
    origin.tally.requests.add(1);
    let wish = match parts.uri.query().map(Wish::read) {
        None => Wish::default(),
        Some(Ok(wish)) => wish,
        Some(Err(why)) => return say(&mut respond, 400, why + "\n"),
    };
    let (plan, due) = origin.plan(&wish);
    if let Some(due) = due {
        origin.clock.until(due).await;
    }
    if plan.failure.is_some() {
        origin.tally.failed.add(1);
    }
    match plan.failure {
        Some(Failure::Reset) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Some(Failure::Hang) => poll_fn(|cx| respond.poll_reset(cx)).await.map(drop),
        _ if is_grpc => answer_grpc(origin, &mut respond, &plan, messages).await,
        _ => answer(origin, &mut respond, &plan, parts.method == Method::HEAD).await,
    }
}

async fn answer(
    origin: &Origin,
    respond: &mut SendResponse<Bytes>,
    plan: &Plan,
    is_head: bool,
) -> Result<(), h2::Error> {
    let status = match plan.failure {
        Some(Failure::Status(status)) => status,
        _ => plan.status,
    };
    let truncated = plan.failure == Some(Failure::Truncate);
    let size = if is_head || matches!(status, 204 | 304) { 0 } else { plan.size };
    let mut send = respond.send_response(head(status, plan.size), size == 0 && !truncated)?;
    let mut sent = 0;
    let end = if truncated { size / 2 } else { size };
    while sent < end {
        let room = room(&mut send, end - sent).await?;
        // The pattern goes on where it was cut.
        let from = sent % 16;
        let part = room.min(end - sent).min(BLOCK.len() - 16);
        sent += part;
        send.send_data(Bytes::from_static(&BLOCK[from..from + part]), sent == size)?;
    }
    if truncated {
        cut(origin, send).await;
    }
    Ok(())
}

/// The messages back, or why not.
async fn answer_grpc(
    origin: &Origin,
    respond: &mut SendResponse<Bytes>,
    plan: &Plan,
    messages: Option<Bytes>,
) -> Result<(), h2::Error> {
    let refused = match (&messages, plan.failure) {
        (_, Some(Failure::Status(_))) => Some((14, "unavailable on purpose")),
        (None, _) => Some((8, "messages of more than 16 MiB")),
        (Some(messages), _) if !are_framed(messages) => Some((13, "the body is not made of whole messages")),
        _ => None,
    };
    let mut head = Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some((status, why)) = refused {
        head.headers_mut().insert("grpc-status", HeaderValue::from(status));
        head.headers_mut().insert("grpc-message", HeaderValue::from_static(why));
        return respond.send_response(head, true).map(drop);
    }
    let mut messages = messages.unwrap_or_default();
    let truncated = plan.failure == Some(Failure::Truncate);
    if truncated {
        messages.truncate(messages.len() / 2);
    }
    let mut send = respond.send_response(head, false)?;
    while !messages.is_empty() {
        let room = room(&mut send, messages.len()).await?;
        send.send_data(messages.split_to(room.min(messages.len())), false)?;
    }
    if truncated {
        cut(origin, send).await;
        return Ok(());
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}

/// Reads the body to its end; keeps it if it is to be echoed. `None`: it was too much to keep.
async fn receive(body: &mut RecvStream, is_kept: bool) -> Result<Option<Bytes>, h2::Error> {
    let mut kept = Some(BytesMut::new());
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if let Some(bytes) = &mut kept
            && is_kept
        {
            if bytes.len() + data.len() > MESSAGES_MAX {
                kept = None;
            } else {
                bytes.extend_from_slice(&data);
            }
        }
    }
    Ok(kept.map(BytesMut::freeze))
}

/// Waits until the client takes more, and returns how much.
async fn room(send: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, h2::Error> {
    send.reserve_capacity(wanted.min(STEP));
    loop {
        match poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(0)) => {}
            Some(room) => return room,
            None => return Err(Reason::CANCEL.into()),
        }
    }
}

/// Ends a stream in the middle. A reset discards what h2 still holds, so what was written is given time to leave.
async fn cut(origin: &Origin, mut send: SendStream<Bytes>) {
    origin.clock.until(Nanos::precise().after(CUT_AFTER)).await;
    send.send_reset(Reason::INTERNAL_ERROR);
}

/// A short answer in words.
fn say(respond: &mut SendResponse<Bytes>, status: u16, text: String) -> Result<(), h2::Error> {
    respond.send_response(head(status, text.len()), false)?.send_data(Bytes::from(text), true)
}

fn head(status: u16, size: usize) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status != 204 {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    head
}

fn is_grpc(request: &Request<RecvStream>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether `bytes` are whole messages: each a flag, four bytes of length, and as many bytes.
fn are_framed(mut bytes: &[u8]) -> bool {
    while let Some((frame, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
        match rest.get(length..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    bytes.is_empty()
}

const STREAMS_MAX: u32 = 1000;
/// Bytes of a stream, and of a connection, that may arrive before they are looked at.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const HEADERS_MAX: u32 = 64 << 10;
/// Bytes of a gRPC request's messages at most.
const MESSAGES_MAX: usize = 16 << 20;
/// Bytes of an answer that are asked room for at a time.
const STEP: usize = 256 << 10;
/// From half an answer to its reset.
const CUT_AFTER: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::behaviour::{Behaviour, Stall};
    use crate::serve::delay::Delay;
    use crate::serve::{Server, start};
    use h2::client::SendRequest;
    use ringway_runtime::{Gauges, Options, Runtime};
    use std::sync::Arc;

    struct Got {
        status: u16,
        headers: HeaderMap,
        body: Vec<u8>,
        trailers: Option<HeaderMap>,
        error: Option<h2::Error>,
    }

    /// Runs `test` with a client of a server that behaves so.
    fn with<F: Future<Output = ()> + 'static>(
        behaviour: Behaviour,
        test: impl FnOnce(SendRequest<Bytes>) -> F + 'static,
    ) {
        let running = start(&Server { behaviour, ..Server::default() }).unwrap();
        let address = running.address.clone();
        let runtime = Runtime::new(&Options::default(), Arc::new(Gauges::default())).unwrap();
        let run = runtime.block_on(async move {
            let deadline = Nanos::precise().after(Duration::from_secs(10));
            let stream = Stream::connect(&address, deadline).await.expect("a connection");
            let (client, connection) =
                h2::client::handshake(TokioIo::new(stream)).await.expect("a handshake");
            spawn(async move {
                let _ = connection.await;
            });
            test(client).await;
        });
        run.unwrap();
    }

    async fn ask(client: &SendRequest<Bytes>, request: Request<()>, body: &[u8]) -> Got {
        let mut client = client.clone().ready().await.expect("ready");
        let (response, mut send) = client.send_request(request, body.is_empty()).expect("sent");
        if !body.is_empty() {
            send.send_data(Bytes::copy_from_slice(body), true).expect("sent");
        }
        let mut got = Got { status: 0, headers: HeaderMap::new(), body: vec![], trailers: None, error: None };
        match response.await {
            Err(error) => got.error = Some(error),
            Ok(response) => {
                got.status = response.status().as_u16();
                got.headers = response.headers().clone();
                let mut body = response.into_body();
                while let Some(data) = body.data().await {
                    match data {
                        Ok(data) => {
                            body.flow_control().release_capacity(data.len()).expect("released");
                            got.body.extend_from_slice(&data);
                        }
                        Err(error) => {
                            got.error = Some(error);
                            return got;
                        }
                    }
                }
                got.trailers = body.trailers().await.expect("trailers or none");
            }
        }
        got
    }

    fn get(target: &str) -> Request<()> {
        Request::get(format!("http://x{target}")).body(()).unwrap()
    }

    fn grpc() -> Request<()> {
        Request::post("http://x/a.B/C").header("content-type", "application/grpc+proto").body(()).unwrap()
    }

    fn pattern(size: usize) -> Vec<u8> {
        b"0123456789abcdef".iter().copied().cycle().take(size).collect()
    }

    #[test]
    fn short_and_long_answers_come_whole_on_one_connection() {
        with(Behaviour { size: 100, ..Behaviour::default() }, |client| async move {
            for _ in 0..50 {
                let got = ask(&client, get("/"), b"").await;
                assert_eq!((got.status, got.body), (200, pattern(100)));
            }
            assert!(ask(&client, get("/?size=3000001"), b"").await.body == pattern(3_000_001));
            let got = ask(&client, get("/?status=404&size=3"), b"").await;
            assert_eq!((got.status, got.body), (404, pattern(3)));
            assert_eq!(ask(&client, get("/?size=9GiB"), b"").await.status, 400);
            let head = Request::head("http://x/").body(()).unwrap();
            let got = ask(&client, head, b"").await;
            assert_eq!((&got.headers["content-length"], got.body.len()), (&HeaderValue::from(100), 0));
            let post = Request::post("http://x/").body(()).unwrap();
            assert_eq!(ask(&client, post, &pattern(300_000)).await.body, pattern(100));
        });
    }

    #[test]
    fn streams_wait_beside_each_other_not_behind() {
        let behaviour = Behaviour { delay: Delay::read("30ms").unwrap(), ..Behaviour::default() };
        with(behaviour, |client| async move {
            let begin = Nanos::precise();
            let mut client = client.ready().await.expect("ready");
            let mut all = Vec::new();
            for _ in 0..10 {
                client = client.ready().await.expect("ready");
                all.push(client.send_request(get("/"), true).expect("sent").0);
            }
            for response in all {
                assert_eq!(response.await.expect("an answer").status(), 200);
            }
            let took = Nanos::precise().since(begin);
            assert!((30..150).contains(&took.as_millis()), "{took:?}");
        });
    }

    #[test]
    fn a_grpc_message_comes_back_with_status_0() {
        with(Behaviour::default(), |client| async move {
            let message = [&[0, 0, 0, 0, 5][..], b"hello"].concat();
            let got = ask(&client, grpc(), &message).await;
            assert_eq!((got.status, got.body), (200, message.clone()));
            assert_eq!(got.headers["content-type"], "application/grpc");
            assert_eq!(got.trailers.expect("trailers")["grpc-status"], "0");
            let got = ask(&client, grpc(), &message[..8]).await;
            assert_eq!(got.headers["grpc-status"], "13");
        });
    }

    #[test]
    fn a_grpc_call_that_fails_is_unavailable() {
        with(Behaviour { fail: 1.0, ..Behaviour::default() }, |client| async move {
            let got = ask(&client, grpc(), &[0, 0, 0, 0, 0]).await;
            assert_eq!((got.status, &got.headers["grpc-status"]), (200, &HeaderValue::from(14)));
            assert_eq!(ask(&client, get("/"), b"").await.status, 503);
        });
    }

    #[test]
    fn a_reset_or_half_an_answer_ends_its_stream_and_not_the_connection() {
        let failing = |fail_with| Behaviour { fail: 1.0, fail_with, size: 100_000, ..Behaviour::default() };
        with(failing(Failure::Reset), |client| async move {
            for _ in 0..3 {
                let error = ask(&client, get("/"), b"").await.error.expect("an error");
                assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
            }
        });
        with(failing(Failure::Truncate), |client| async move {
            for _ in 0..3 {
                let got = ask(&client, get("/"), b"").await;
                assert_eq!((got.status, got.body.len()), (200, 50_000));
                assert!(got.error.expect("an error").is_reset());
            }
        });
    }

    #[test]
    fn a_stall_holds_streams_back_too() {
        let stall = Some(Stall::read("150ms every 300ms").unwrap());
        with(Behaviour { stall, ..Behaviour::default() }, |client| async move {
            let (begin, mut longest) = (Nanos::precise(), Duration::ZERO);
            while Nanos::precise().since(begin) < Duration::from_millis(500) {
                let asked = Nanos::precise();
                ask(&client, get("/"), b"").await;
                longest = longest.max(Nanos::precise().since(asked));
            }
            assert!((130..250).contains(&longest.as_millis()), "{longest:?}");
        });
    }

    #[test]
    fn messages_are_whole_or_they_are_not() {
        assert!(
            are_framed(b"") && are_framed(&[0, 0, 0, 0, 0]) && are_framed(&[1, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0])
        );
        assert!(
            !are_framed(&[0, 0, 0, 0])
                && !are_framed(&[0, 255, 255, 255, 255])
                && !are_framed(&[0, 0, 0, 0, 1])
        );
    }
}
