//! What becomes of a request on a route that speaks gRPC for others: whether it is a call, and which.

use super::{Explanation, Outcome, Request};
use crate::grpc;
use crate::grpc_json::{Mode, NoCall, Transcoder, http_status};
use crate::grpc_web::{self, Form};
use crate::snapshot::ForwardPlan;

/// Tells of the translation; `Some`: it ends here.
pub(super) fn outcome(
    explanation: &mut Explanation,
    to: &ForwardPlan,
    request: &Request,
    path: &[u8],
) -> Option<Outcome> {
    let content_type = request.header("content-type").unwrap_or_default();
    if (to.grpc_web.is_some() || to.grpc_json.is_some()) && grpc::is_call(content_type.as_bytes()) {
        explanation.policies.push("gRPC: a call already, which passes as it is".to_owned());
        return None;
    }
    if let Some(origins) = &to.grpc_web {
        if let Some((form, _)) = grpc_web::form(content_type.as_bytes()) {
            let form = if form == Form::Text { "the text form" } else { "the binary form" };
            let cors = cors(origins, request);
            explanation.policies.push(format!("gRPC-Web in {form}: becomes a call of gRPC; {cors}"));
            return None;
        }
        let asks = request.method == "OPTIONS" && request.header("access-control-request-method").is_some();
        if let Some(origin) =
            request.header("origin").filter(|origin| asks && grpc_web::may_call(origins, origin))
        {
            explanation.policies.push(format!("CORS: the page of {origin} is told that it may call"));
            return Some(Outcome::Respond { status: 204 });
        }
        let reason = match asks {
            true => format!("CORS: {}", cors(origins, request)),
            false => "gRPC-Web: not for this content type (application/grpc-web)".to_owned(),
        };
        explanation.policies.push(reason);
    }
    json(explanation, to.grpc_json.as_deref()?, request, &String::from_utf8_lossy(path))
}

fn cors(origins: &[Box<str>], request: &Request) -> String {
    match request.header("origin") {
        None => "no Origin, so nothing is said about who may read the answer".to_owned(),
        Some(origin) if grpc_web::may_call(origins, origin) => {
            format!("the page of {origin} may read the answer")
        }
        Some(origin) => {
            format!("{origin} is not among the route's origins, so its page may not read the answer")
        }
    }
}

fn json(
    explanation: &mut Explanation,
    transcoder: &Transcoder,
    request: &Request,
    path: &str,
) -> Option<Outcome> {
    let call = match transcoder.find(&request.method, path) {
        Ok(call) => call,
        Err(NoCall::Path) => {
            let reason = "no call of the route's services has this path".to_owned();
            return Some(Outcome::Refuse { status: 404, reason });
        }
        Err(NoCall::Method(allow)) => {
            let reason = format!("calls have this path, but not this method; Allow: {allow}");
            return Some(Outcome::Refuse { status: 405, reason });
        }
    };
    let answer = match call.mode(request.header("accept").unwrap_or_default().as_bytes()) {
        Mode::Document => "one JSON document",
        Mode::Lines => "lines of JSON",
        Mode::Events => "Server-Sent Events",
    };
    let (path, kind, binding) = (call.path(), call.kind(), call.binding());
    explanation.policies.push(format!("JSON: becomes the call {path} ({kind}), by `{binding}`"));
    let mut fields: Vec<String> =
        call.captures().map(|(field, text)| format!("{field} is `{text}` from the path")).collect();
    if call.body() != Some("*") {
        let names = request.query.split('&').filter(|pair| !pair.is_empty());
        let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
        fields.extend(names.map(|pair| format!("{} is from the query", name(pair))));
    }
    fields.push(match call.body() {
        None => "there is no body".to_owned(),
        Some("*") => "all others are from the body".to_owned(),
        Some(field) => format!("{field} is the body"),
    });
    explanation.policies.push(format!("JSON fields: {}", fields.join(", ")));
    explanation.policies.push(format!("JSON answer: {answer}"));
    // Whatever the body: it can't mend what path and query say.
    let problem = call.messages(request.query.as_bytes(), b"").err()?;
    Some(Outcome::Refuse { status: http_status(problem.code), reason: problem.message })
}
