//! What went wrong, as a problem document (RFC 9457): a request that does not fit its message, or a status that the
//! service gave.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value, json};

use crate::grpc;
use crate::reason::phrase;

/// A status of gRPC to be told in JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Of gRPC.
    pub code: u8,
    /// For a person.
    pub message: String,
    /// Further messages, as JSON.
    pub details: Vec<Value>,
    /// The service said so, with a status; else this is what its answer, or the request, looks like from here.
    pub of_service: bool,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

impl Problem {
    /// A request that is no message.
    pub fn invalid(message: impl Into<String>) -> Problem {
        Problem { code: 3, message: message.into(), details: Vec::new(), of_service: false }
    }

    /// An answer that is no message.
    pub fn internal(message: impl Into<String>) -> Problem {
        Problem { code: grpc::INTERNAL, message: message.into(), details: Vec::new(), of_service: false }
    }

    /// An answer whose HTTP status says that no call was made.
    pub fn of_status(status: u16) -> Problem {
        Problem {
            code: grpc::code_of(status, ""),
            message: format!("the service answers with the HTTP status {status}"),
            details: Vec::new(),
            of_service: true,
        }
    }

    /// What a call ended with: the values of `grpc-status`, `grpc-message` and `grpc-status-details-bin`. `None`: well.
    pub fn of_call(
        status: Option<&[u8]>,
        message: Option<&[u8]>,
        details: Option<&[u8]>,
        pool: &DescriptorPool,
    ) -> Option<Problem> {
        let code = status.map_or(Some(grpc::UNKNOWN), grpc::code).unwrap_or(grpc::UNKNOWN);
        if code == 0 {
            return None;
        }
        let message = message.map(grpc::message).unwrap_or_default();
        let details = details.and_then(status_of).map(|status| status.details).unwrap_or_default();
        Some(Problem {
            code,
            message: String::from_utf8_lossy(&message).into_owned(),
            details: details.iter().take(DETAILS_MAX).map(|any| detail(any, pool)).collect(),
            of_service: true,
        })
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let status = http_status(self.code);
        let name = grpc::CODES.get(usize::from(self.code)).copied().unwrap_or("UNKNOWN");
        let mut document = Map::new();
        document.insert("type".into(), json!("about:blank"));
        document.insert("title".into(), json!(phrase(status)));
        document.insert("status".into(), json!(status));
        document.insert("detail".into(), json!(self.message));
        document.insert("code".into(), json!(name));
        if !self.details.is_empty() {
            document.insert("details".into(), json!(self.details));
        }
        Value::Object(document)
    }
}

/// Details that are told.
const DETAILS_MAX: usize = 32;

fn status_of(details: &[u8]) -> Option<Status> {
    let bytes = STANDARD_NO_PAD.decode(details).or_else(|_| STANDARD.decode(details)).ok()?;
    Status::decode(&bytes[..]).ok()
}

/// As JSON where its type is known, else in base64.
fn detail(any: &prost_types::Any, pool: &DescriptorPool) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let known = pool
        .get_message_by_name(name)
        .and_then(|descriptor| DynamicMessage::decode(descriptor, &any.value[..]).ok())
        .and_then(|message| serde_json::to_value(message).ok());
    match known {
        Some(Value::Object(mut object)) => {
            object.insert("@type".into(), json!(any.type_url));
            Value::Object(object)
        }
        Some(value) => json!({ "@type": any.type_url, "value": value }),
        None => json!({ "@type": any.type_url, "value": STANDARD.encode(&any.value) }),
    }
}

/// The status of HTTP that says what a code of gRPC says (`google.rpc.Code`).
pub fn http_status(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
