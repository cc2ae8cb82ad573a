//! A rate limit service as Envoy asks it: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! The service has the limits; it is told a domain, what a request is counted by as a descriptor, and how many requests
//! are to come (`hits_addend`). The limit's own rate is what the node falls back to. Asks share a connection of HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use prost::Message;
use ringway_config::model;
use tokio::net::TcpStream;

use super::store::{Answer, Question, REFUSED_NS_MAX, hex};
use crate::grpc;

const METHOD: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;
/// A refusal holds for this long where the service doesn't say.
const REFUSED_NS: u64 = 1_000_000_000;

// The messages, as far as they are used here; `google.protobuf.Duration` among them.

#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<RateLimitDescriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RateLimitDescriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct RateLimitResponse {
    #[prost(int32, tag = "1")]
    overall_code: i32,
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<DescriptorStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct DescriptorStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(uint32, tag = "3")]
    limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    duration_until_reset: Option<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A connection that has answered. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _tasks: grpc::Tasks,
    authority: Arc<str>,
    domain: Arc<str>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there; for a person.
    pub async fn open(rls: &model::Rls) -> Result<Connection, String> {
        let stream =
            TcpStream::connect((rls.host.as_str(), rls.port)).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, tasks) = grpc::connect(stream).await?;
        let (authority, domain) = (rls.authority().into(), rls.domain.as_str().into());
        Ok(Connection { sender, _tasks: tasks, authority, domain })
    }

    /// One ask, as long as it takes; the service is told that nobody waits longer than `timeout`.
    ///
    /// # Errors
    /// No answer that means anything; for a person.
    pub async fn ask(&mut self, question: &Question, timeout: Duration) -> Result<Answer, String> {
        let request = Request::post(format!("http://{}/{METHOD}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "ringway")
            .header("grpc-timeout", format!("{}m", timeout.as_millis().max(1)))
            .body(grpc::framed(&asked(&self.domain, question)))
            .map_err(|error| error.to_string())?;
        let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
        answered(&grpc::message(response).await?, question.want)
    }
}

fn asked(domain: &str, question: &Question) -> RateLimitRequest {
    let entry = |(part, value): &(String, String)| {
        let value = if is_credential(part) {
            hex(digest::digest(&digest::SHA256, value.as_bytes()).as_ref())
        } else {
            value.clone()
        };
        Entry { key: part.clone(), value }
    };
    let limit = Entry { key: "limit".into(), value: question.limit.to_string() };
    let entries = std::iter::once(limit).chain(question.bucket.parts().iter().map(entry)).collect();
    RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: vec![RateLimitDescriptor { entries }],
        hits_addend: question.want,
    }
}

/// Values of this part are no business of the service's.
fn is_credential(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    ["header:authorization", "header:proxy-authorization", "header:cookie"].contains(&part.as_str())
        || part.starts_with("cookie:")
}

fn answered(response: &RateLimitResponse, want: u32) -> Result<Answer, String> {
    match response.overall_code {
        OK => {
            let left = response.statuses.iter().map(|status| status.limit_remaining).min();
            Ok(Answer::Granted { tokens: want, left: left.unwrap_or(0) })
        }
        OVER_LIMIT => {
            let over = response.statuses.iter().filter(|status| status.code == OVER_LIMIT);
            let span = |span: &Span| {
                let (seconds, nanos) = (u64::try_from(span.seconds).ok()?, u64::try_from(span.nanos).ok()?);
                Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
            };
            let told = over.filter_map(|status| span(status.duration_until_reset.as_ref()?)).max();
            Ok(Answer::Refused { more_ns: told.unwrap_or(REFUSED_NS).clamp(1, REFUSED_NS_MAX) })
        }
        other => Err(format!("it says {other}, which means nothing")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::Bucket;
    use super::*;

    fn status(code: i32, reset: Option<(i64, i32)>) -> DescriptorStatus {
        let span = reset.map(|(seconds, nanos)| Span { seconds, nanos });
        DescriptorStatus { code, limit_remaining: 7, duration_until_reset: span }
    }

    #[test]
    fn answers_are_taken_for_what_they_say() {
        let answer = |overall_code, statuses| answered(&RateLimitResponse { overall_code, statuses }, 5);
        assert_eq!(answer(1, vec![status(1, None)]), Ok(Answer::Granted { tokens: 5, left: 7 }));
        assert_eq!(answer(1, vec![]), Ok(Answer::Granted { tokens: 5, left: 0 }));
        let refused = |more_ns| Ok(Answer::Refused { more_ns });
        assert_eq!(answer(2, vec![status(2, Some((2, 5)))]), refused(2_000_000_005));
        assert_eq!(answer(2, vec![status(2, None)]), refused(REFUSED_NS));
        assert_eq!(answer(2, vec![status(2, Some((-1, 0)))]), refused(REFUSED_NS));
        assert_eq!(answer(2, vec![status(2, Some((i64::MAX, 0)))]), refused(REFUSED_NS_MAX));
        assert!(answer(0, vec![]).is_err());
    }

    #[test]
    fn a_descriptor_says_what_is_counted_and_by_what() {
        let question = Question {
            limit: "api".into(),
            bucket: Bucket::Parts(Arc::new([
                ("client_ip".to_owned(), "192.0.2.1".to_owned()),
                ("header:Authorization".to_owned(), "Bearer word".to_owned()),
                ("cookie:session".to_owned(), String::new()),
            ])),
            interval_ns: 1,
            burst: 9,
            least: 1,
            want: 4,
        };
        let request = asked("edge", &question);
        let entries: Vec<(&str, &str)> = request.descriptors[0]
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
            .collect();
        assert_eq!(entries[..2], [("limit", "api"), ("client_ip", "192.0.2.1")]);
        assert!(entries[2].0 == "header:Authorization" && entries[2].1.len() == 64, "{entries:?}");
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(entries[3], ("cookie:session", of_nothing));
        assert_eq!((request.domain.as_str(), request.hits_addend), ("edge", 4));
    }
}
