//! Requests that an endpoint sees as calls of gRPC, though they came as JSON or gRPC-Web.
//!
//! On the line this stands between policies and sending: [`put_on`] reads the whole body (a message is made of all of it)
//! and says what the request is for the endpoint; the answer is told back as it arrives, or, where it is one document,
//! once it is whole, since only its end says how it went.

use std::future::poll_fn;
use std::time::Duration;

use ringway_runtime::{Lease, Nanos, now};

use super::seen::Web;
use super::{Exchange, Next, Stop, decide, own_answer};
use crate::body::{Broken, Incoming};
use crate::grpc;
use crate::grpc_json::{self, Call, Mode, NoCall, Problem};
use crate::grpc_web::{self, Form};
use crate::http1::{ChunkLimits, Known, Method, Trailers};
use crate::local_reply::RouteReply;
use crate::outgoing::{CallHead, Told};
use crate::reason::Reason;
use crate::snapshot::ForwardPlan;
use crate::worker::Scratch;

/// Bytes of a body that is read whole, whatever the configuration allows.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// How long it may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A request as a call, and how its answer is told.
pub(super) struct Guise {
    path: Option<String>,
    content_type: String,
    /// Its messages.
    body: Lease,
    answer: Answer,
}

enum Answer {
    Web { response: grpc_web::Response, content_type: String, fields: String },
    Json(Box<grpc_json::Response>),
}

/// What [`put_on`] came to.
pub(super) enum Dressed {
    /// The request goes as it is.
    Plain,
    /// As a call.
    Call(Box<Guise>),
    /// It was answered.
    Answered(Next),
}

/// Looks whether the request becomes a call, and makes it one.
pub(super) async fn put_on(
    x: &mut Exchange<'_>,
    scratch: &Scratch,
    to: &ForwardPlan,
    limits: ChunkLimits,
    rest: &mut Option<Lease>,
) -> Result<Dressed, Stop> {
    let content_type = x.request().known(Known::ContentType).unwrap_or_default();
    if grpc::is_call(content_type) {
        return Ok(Dressed::Plain);
    }
    if let Some(origins) = &to.grpc_web {
        if let Some((form, suffix)) = grpc_web::form(content_type) {
            let suffix = String::from_utf8_lossy(suffix).into_owned();
            return web(x, origins, form, &suffix, limits, rest).await.map(Dressed::Call);
        }
        if let Some(next) = preflight(x, origins, rest) {
            return Ok(Dressed::Answered(next));
        }
    }
    match &to.grpc_json {
        Some(transcoder) => json(x, scratch, transcoder, limits, rest).await,
        None => Ok(Dressed::Plain),
    }
}

async fn web(
    x: &mut Exchange<'_>,
    origins: &[Box<str>],
    form: Form,
    suffix: &str,
    limits: ChunkLimits,
    rest: &mut Option<Lease>,
) -> Result<Box<Guise>, Stop> {
    let text = if form == Form::Text { "-text" } else { "" };
    let content_type = format!("application/grpc-web{text}{suffix}");
    let fields = allowed(x, origins).map(|allowed| format!("{allowed}{EXPOSED}")).unwrap_or_default();
    x.seen.grpc = true;
    x.seen.web = Some(Box::new(Web { content_type: content_type.clone(), fields: fields.clone() }));
    let body = whole_body(x, limits, rest).await?;
    let body = match form {
        Form::Binary => body,
        Form::Text => grpc_web::decode_text(&body).ok_or_else(|| Stop::from(Reason::CallMalformed))?,
    };
    Ok(Box::new(Guise {
        path: None,
        content_type: format!("application/grpc{suffix}"),
        body: Lease::copy_of(&body),
        answer: Answer::Web { response: grpc_web::Response::new(form), content_type, fields },
    }))
}

/// What a page is told, where its origin may call.
fn allowed(x: &Exchange<'_>, origins: &[Box<str>]) -> Option<String> {
    let request = x.request();
    let origin = request.get(b"origin").and_then(|origin| std::str::from_utf8(origin).ok())?;
    match grpc_web::may_call(origins, origin) {
        true if origins.iter().any(|one| **one == *"*") => Some("access-control-allow-origin: *\r\n".into()),
        true => Some(format!("access-control-allow-origin: {origin}\r\nvary: origin\r\n")),
        false => None,
    }
}

const EXPOSED: &str = "access-control-expose-headers: grpc-status, grpc-message, grpc-status-details-bin\r\n";

/// A page asks whether it may call.
fn preflight(x: &mut Exchange<'_>, origins: &[Box<str>], rest: &mut Option<Lease>) -> Option<Next> {
    if x.request.method != Method::Options || x.request().get(b"access-control-request-method").is_none() {
        return None;
    }
    let allowed = allowed(x, origins)?;
    let request = x.request();
    let asked =
        request.get(b"access-control-request-headers").unwrap_or(b"content-type, x-grpc-web, x-user-agent");
    let mut fields = allowed.into_bytes();
    fields.extend_from_slice(b"access-control-allow-methods: POST\r\naccess-control-allow-headers: ");
    fields.extend_from_slice(asked);
    fields.extend_from_slice(b"\r\naccess-control-max-age: 600\r\n");
    let own = RouteReply { fields: &fields, ..own_answer(204) };
    Some(x.answer(Some(Reason::Responded), own, rest.take()))
}

async fn json(
    x: &mut Exchange<'_>,
    scratch: &Scratch,
    transcoder: &grpc_json::Transcoder,
    limits: ChunkLimits,
    rest: &mut Option<Lease>,
) -> Result<Dressed, Stop> {
    x.seen.grpc = true;
    let request = x.request();
    let path = std::str::from_utf8(decide::path_of(&request, scratch)).unwrap_or_default().to_owned();
    let method = std::str::from_utf8(request.method()).unwrap_or_default().to_owned();
    let call: Call<'_> = match transcoder.find(&method, &path) {
        Ok(call) => call,
        Err(NoCall::Path) => return Err(Reason::RouteNotFound.into()),
        Err(NoCall::Method(allow)) => {
            x.seen.allows(&allow);
            return Err(Reason::MethodNotAllowed.into());
        }
    };
    let mode = call.mode(request.get(b"accept").unwrap_or_default());
    let query = request.query().unwrap_or_default().to_vec();
    let body = whole_body(x, limits, rest).await?;
    match call.messages(&query, &body) {
        Ok(messages) => Ok(Dressed::Call(Box::new(Guise {
            path: Some(call.path()),
            content_type: "application/grpc".into(),
            body: Lease::copy_of(&messages),
            answer: Answer::Json(Box::new(call.response(mode))),
        }))),
        Err(problem) => {
            Ok(Dressed::Answered(x.answer_problem(&problem, Some(Reason::CallMalformed), rest.take())))
        }
    }
}

/// The request's whole body; what comes after it is in `rest`.
async fn whole_body(
    x: &mut Exchange<'_>,
    limits: ChunkLimits,
    rest: &mut Option<Lease>,
) -> Result<Vec<u8>, Stop> {
    let limits = ChunkLimits { body_bytes_max: limits.body_bytes_max.min(BODY_BYTES_MAX), ..limits };
    if let crate::http1::BodyFraming::Length(bytes) = x.request.framing
        && bytes > limits.body_bytes_max
    {
        return Err(Reason::BodyTooLarge.into());
    }
    if x.request.expect_continue {
        x.client.send_head(Lease::copy_of(b"HTTP/1.1 100 Continue\r\n\r\n"), false);
        x.request.expect_continue = false;
    }
    let mut incoming = Incoming::of_request(x.request.framing, limits, rest.take(), x.client);
    x.body_taken = true;
    x.client.set_deadline(now().after(BODY_WITHIN));
    let mut body = Vec::new();
    let read = loop {
        match poll_fn(|cx| incoming.poll_next(cx, x.client)).await {
            Ok(Some(data)) => body.extend_from_slice(&data),
            Ok(None) => break Ok(()),
            Err(Broken::Refused(refusal)) => break Err(refusal.into()),
            Err(Broken::TimedOut) => break Err(Reason::BodyRateTooLow.into()),
            Err(Broken::Ended | Broken::Reset) => break Err(Stop::Cut(Reason::ClientGone)),
        }
    };
    x.client.set_deadline(Nanos::NEVER);
    x.seen.body_in = incoming.received;
    read?;
    *rest = incoming.rest();
    // What is left is the next request's, whatever the framing said.
    x.request.framing = crate::http1::BodyFraming::None;
    x.body_taken = false;
    Ok(body)
}

impl Guise {
    /// What the endpoint sees in place of the request's own line.
    pub fn head(&self) -> CallHead<'_> {
        CallHead {
            path: self.path.as_ref().map(String::as_bytes),
            content_type: self.content_type.as_bytes(),
        }
    }

    /// Its messages.
    pub fn body(&self) -> Lease {
        self.body.slice(0..self.body.len())
    }

    /// Its messages as a body, and what comes after the request.
    pub fn incoming(&self, rest: Option<Lease>) -> Incoming {
        let body = self.body.slice(0..self.body.len());
        let bytes = match rest {
            None => body,
            Some(rest) => body.joined(&rest),
        };
        Incoming::ready(self.body.len() as u64, bytes)
    }

    /// Whether the answer is one document, told once it is whole.
    pub fn is_document(&self) -> bool {
        matches!(&self.answer, Answer::Json(response) if response.mode() == Mode::Document)
    }

    /// What the client sees in place of the response's own fields.
    pub fn told(&self) -> Told<'_> {
        match &self.answer {
            Answer::Web { content_type, fields, .. } => {
                Told { content_type: content_type.as_bytes(), fields: fields.as_bytes(), hides_grpc: false }
            }
            Answer::Json(response) => Told {
                content_type: response.mode().content_type().as_bytes(),
                fields: b"",
                hides_grpc: true,
            },
        }
    }

    /// Takes data of the answer and returns what is told of it.
    pub fn push(&mut self, data: &[u8]) -> Result<Lease, Problem> {
        let mut out = Vec::new();
        match &mut self.answer {
            Answer::Web { response, .. } => response.push(data, &mut out),
            Answer::Json(response) => response.push(data, &mut out)?,
        }
        Ok(Lease::copy_of(&out))
    }

    /// The end of the answer, and what is told of it. `head` has fields like trailers where there is nothing else.
    pub fn finish(&mut self, trailers: Option<&Trailers>, head: &[(Vec<u8>, Vec<u8>)]) -> Lease {
        let mut out = Vec::new();
        let said = fields_of(trailers, head);
        match &mut self.answer {
            Answer::Web { response, .. } => {
                let pairs = said.iter().map(|(name, value)| (&name[..], &value[..]));
                response.finish(pairs, &mut out);
            }
            Answer::Json(response) => {
                let problem = ended(response, &said);
                response.finish(problem.as_ref(), &mut out);
            }
        }
        Lease::copy_of(&out)
    }

    /// The end of an answer that can't be told on.
    pub fn give_up(&mut self, problem: &Problem) -> Lease {
        let mut out = Vec::new();
        if let Answer::Json(response) = &mut self.answer {
            response.finish(Some(problem), &mut out);
        }
        Lease::copy_of(&out)
    }

    /// What the call ended with, for a document.
    pub fn problem(&self, trailers: Option<&Trailers>, head: &[(Vec<u8>, Vec<u8>)]) -> Option<Problem> {
        match &self.answer {
            Answer::Web { .. } => None,
            Answer::Json(response) => ended(response, &fields_of(trailers, head)),
        }
    }
}

/// Trailers, or where there are none the head's fields that stand for them.
fn fields_of(trailers: Option<&Trailers>, head: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    match trailers.filter(|trailers| !trailers.is_empty()) {
        Some(trailers) => trailers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        None => head.to_vec(),
    }
}

fn ended(response: &grpc_json::Response, said: &[(Vec<u8>, Vec<u8>)]) -> Option<Problem> {
    let of = |wanted: &[u8]| {
        said.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| &value[..])
    };
    response.ended(of(b"grpc-status"), of(b"grpc-message"), of(b"grpc-status-details-bin"))
}

impl Exchange<'_> {
    /// Answers with what went wrong in a call. Without a reason it is what the service says.
    pub(super) fn answer_problem(
        &mut self,
        problem: &Problem,
        reason: Option<Reason>,
        rest: Option<Lease>,
    ) -> Next {
        let body = problem.to_json().to_string();
        self.seen.grpc_status = Some(problem.code);
        let own = RouteReply {
            content_type: b"application/problem+json",
            body: body.as_bytes(),
            ..own_answer(grpc_json::http_status(problem.code))
        };
        self.answer(reason, own, rest)
    }
}
