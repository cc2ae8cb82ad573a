//! gRPC with tonic at both ends: all four kinds of calls, deadlines, statuses with details; and its service by JSON.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost::Message;
use ringway_tests::{Gateway, wait};
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const PROTO: &str = r#"
syntax = "proto3";
package notes;
import "google/api/annotations.proto";
message Note { string text = 1; uint32 count = 2; }
service Notes {
  rpc Get(Note) returns (Note) { option (google.api.http) = { get: "/notes/{text}" }; }
  rpc Watch(Note) returns (stream Note) { option (google.api.http) = { get: "/notes/{text}:watch" }; }
  rpc Join(stream Note) returns (Note) { option (google.api.http) = { post: "/join" body: "*" }; }
  rpc Talk(stream Note) returns (stream Note);
  rpc Late(Note) returns (Note);
}
"#;

const TEXT: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  notes: { endpoints: [ "{{origin}}" ], protocol: http2 }
routes:
  - { name: late, path: /notes.Notes/Late, to: notes, timeout: 300ms }
  - { name: notes, path: /**, to: notes, grpc_json: { descriptor: "{{proto}}", services: [ notes.Notes ] } }
"#;

#[derive(Clone, PartialEq, Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint32, tag = "2")]
    count: u32,
}

fn note(text: &str, count: u32) -> Note {
    Note { text: text.to_owned(), count }
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

const AS_ASKED: &str = "as asked: 100% \u{e9}";

fn details() -> Vec<u8> {
    let any =
        Any { type_url: "type.googleapis.com/notes.Note".into(), value: note("why", 3).encode_to_vec() };
    let code = Code::FailedPrecondition as i32;
    RpcStatus { code, message: AS_ASKED.into(), details: vec![any] }.encode_to_vec()
}

fn reversed(note: Note) -> Note {
    Note { text: note.text.chars().rev().collect(), ..note }
}

/// The note reversed, and what the deadline was said to be; `fail` fails.
async fn get(request: Request<Note>) -> Result<Response<Note>, Status> {
    let told = request.metadata().get("grpc-timeout").cloned();
    let asked = request.into_inner();
    if asked.text == "fail" {
        return Err(Status::with_details(Code::FailedPrecondition, AS_ASKED, details().into()));
    }
    let mut response = Response::new(reversed(asked));
    if let Some(told) = told {
        response.metadata_mut().insert("x-timeout", told);
    }
    Ok(response)
}

/// The note as often as it counts; after the third it fails.
async fn watch(request: Request<Note>) -> Result<Response<BoxStream<Note>>, Status> {
    let asked = request.into_inner();
    let notes = (0..asked.count).map(move |n| match n {
        3.. => Err(Status::out_of_range("no more")),
        n => Ok(note(&asked.text, n)),
    });
    Ok(Response::new(Box::pin(tokio_stream::iter(notes))))
}

/// All notes in one.
async fn join(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let mut notes = request.into_inner();
    let mut texts = Vec::new();
    while let Some(one) = notes.message().await? {
        texts.push(one.text);
    }
    Ok(Response::new(note(&texts.join(","), texts.len() as u32)))
}

/// Each note reversed, as it comes.
async fn talk(request: Request<Streaming<Note>>) -> Result<Response<BoxStream<Note>>, Status> {
    Ok(Response::new(Box::pin(request.into_inner().map(|one| one.map(reversed)))))
}

async fn late(request: Request<Note>) -> Result<Response<Note>, Status> {
    tokio::time::sleep(wait::PATIENCE).await;
    Ok(Response::new(request.into_inner()))
}

/// A function as one of tonic's services.
struct By<F>(F);

impl<F, R, A, Fut> Service<Request<R>> for By<F>
where
    F: FnMut(Request<R>) -> Fut,
    Fut: Future<Output = Result<Response<A>, Status>> + Send + 'static,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = BoxFuture<Response<A>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

/// The service `notes.Notes`.
#[derive(Clone)]
struct Notes;

impl Service<http::Request<Body>> for Notes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default());
            let method = request.uri().path().to_owned();
            Ok(match method.strip_prefix("/notes.Notes/") {
                Some("Get") => grpc.unary(By(get), request).await,
                Some("Watch") => grpc.server_streaming(By(watch), request).await,
                Some("Join") => grpc.client_streaming(By(join), request).await,
                Some("Talk") => grpc.streaming(By(talk), request).await,
                Some("Late") => grpc.unary(By(late), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// A server, a gateway before it, and what the client runs on.
struct Bench {
    gateway: Gateway,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Bench {
        let runtime = Runtime::new().unwrap();
        let incoming = {
            let _inside = runtime.enter();
            TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
        };
        let origin = incoming.local_addr().unwrap().to_string();
        runtime.spawn(Server::builder().serve_with_incoming(Notes, incoming));
        let folder = tempfile::tempdir().unwrap();
        let proto = folder.path().join("notes.proto");
        std::fs::write(&proto, PROTO).unwrap();
        let proto = proto.display().to_string();
        let gateway = Gateway::start_with(TEXT, &[("origin", &origin), ("proto", &proto)]);
        Bench { gateway, runtime, _folder: folder }
    }

    /// A client through the gateway, which does as it is told.
    fn with_client<T>(&self, act: impl AsyncFnOnce(Client) -> T) -> T {
        let address = self.gateway.address("web");
        self.runtime.block_on(async move {
            let channel =
                Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
            let client = Client(tonic::client::Grpc::new(channel));
            tokio::time::timeout(wait::PATIENCE, act(client)).await.expect("an end in time")
        })
    }
}

/// A client through the gateway.
struct Client(tonic::client::Grpc<Channel>);

impl Client {
    /// Ready for a call.
    async fn ready(&mut self) -> &mut tonic::client::Grpc<Channel> {
        self.0.ready().await.unwrap();
        &mut self.0
    }
}

fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

fn path(method: &str) -> PathAndQuery {
    format!("/notes.Notes/{method}").parse().unwrap()
}

async fn all(mut stream: Streaming<Note>) -> (Vec<Note>, Option<Status>) {
    let mut notes = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(one)) => notes.push(one),
            Ok(None) => return (notes, None),
            Err(status) => return (notes, Some(status)),
        }
    }
}

#[test]
fn all_four_kinds_go_through_with_tonic() {
    let bench = Bench::start();
    bench.with_client(async |mut client| {
        let response =
            client.ready().await.unary(Request::new(note("abc", 7)), path("Get"), codec()).await.unwrap();
        assert_eq!(response.into_inner(), note("cba", 7));
        let large = "x".repeat(3 << 20);
        let response =
            client.ready().await.unary(Request::new(note(&large, 0)), path("Get"), codec()).await.unwrap();
        assert_eq!(response.into_inner().text.len(), 3 << 20);

        let request = Request::new(note("a", 2));
        let response = client.ready().await.server_streaming(request, path("Watch"), codec()).await.unwrap();
        assert_eq!(all(response.into_inner()).await.0, [note("a", 0), note("a", 1)]);
        // A status after messages.
        let request = Request::new(note("a", 9));
        let response = client.ready().await.server_streaming(request, path("Watch"), codec()).await.unwrap();
        let (notes, status) = all(response.into_inner()).await;
        let status = status.expect("a status");
        assert_eq!((notes.len(), status.code(), status.message()), (3, Code::OutOfRange, "no more"));

        let notes = tokio_stream::iter(["x", "y", "z"].map(|text| note(text, 0)));
        let response =
            client.ready().await.client_streaming(Request::new(notes), path("Join"), codec()).await.unwrap();
        assert_eq!(response.into_inner(), note("x,y,z", 3));

        // Each side waits for the other, so nothing may be held back.
        let (say, said) = tokio::sync::mpsc::channel(1);
        let request = Request::new(ReceiverStream::new(said));
        say.send(note("ab", 0)).await.unwrap();
        let mut answers =
            client.ready().await.streaming(request, path("Talk"), codec()).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap(), Some(note("ba", 0)));
        for n in 1..50 {
            say.send(note("cd", n)).await.unwrap();
            assert_eq!(answers.message().await.unwrap(), Some(note("dc", n)));
        }
        drop(say);
        assert_eq!(answers.message().await.unwrap(), None);

        let status =
            client.ready().await.unary(Request::new(note("", 0)), path("Other"), codec()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
    });
    wait::until_true("the calls to be counted", || {
        let count = |status| {
            let labels = [("route", "notes"), ("grpc_status", status)];
            bench.gateway.metrics().sum("ringway_grpc_calls_total", &labels)
        };
        (count("OK"), count("OUT_OF_RANGE"), count("UNIMPLEMENTED")) == (5.0, 1.0, 1.0)
    });
}

#[test]
fn statuses_keep_their_details_and_deadlines_are_kept() {
    let bench = Bench::start();
    bench.with_client(async |mut client| {
        let status = client
            .ready()
            .await
            .unary(Request::new(note("fail", 0)), path("Get"), codec())
            .await
            .unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, AS_ASKED));
        assert_eq!(status.details(), details());

        let mut request = Request::new(note("a", 0));
        request.set_timeout(Duration::from_secs(10));
        let response = client.ready().await.unary(request, path("Get"), codec()).await.unwrap();
        let told = response.metadata().get("x-timeout").expect("a deadline").to_str().unwrap().to_owned();
        let (digits, unit) = told.split_at(told.len() - 1);
        let nanos: u64 = match unit {
            "n" => 1,
            "u" => 1_000,
            "m" => 1_000_000,
            unit => panic!("{unit}"),
        };
        let told = Duration::from_nanos(digits.parse::<u64>().unwrap() * nanos);
        assert!((Duration::from_secs(9)..=Duration::from_secs(10)).contains(&told), "{told:?}");

        // The route's bound, of which the server is told: whoever looks at its clock first says that it is over.
        let began = Instant::now();
        let status =
            client.ready().await.unary(Request::new(note("a", 0)), path("Late"), codec()).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        assert!((Duration::from_millis(250)..Duration::from_secs(3)).contains(&began.elapsed()));
    });
}

#[test]
fn the_service_is_called_by_json() {
    let bench = Bench::start();
    let mut client = bench.gateway.connect();
    let response = client.get("/notes/abc?count=7").expect(200);
    assert_eq!(response.json(), serde_json::json!({ "text": "cba", "count": 7 }));
    let lines = client.get("/notes/a:watch?count=2").expect(200);
    assert_eq!(lines.text(), "{\"text\":\"a\"}\n{\"text\":\"a\",\"count\":1}\n");
    let mut post = |path: &str, body: &str| {
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.response().expect(200)
    };
    let joined = post("/join", r#"[{"text": "x"}, {"text": "y"}]"#);
    assert_eq!(joined.json(), serde_json::json!({ "text": "x,y", "count": 2 }));
    let talked = post("/notes.Notes/Talk", "{\"text\": \"ab\"}\n{\"text\": \"cd\"}");
    assert_eq!(talked.text(), "{\"text\":\"ba\"}\n{\"text\":\"dc\"}\n");
    // A status with details is a problem with details.
    let problem = client.get("/notes/fail").expect(400).json();
    assert_eq!((&problem["code"], &problem["detail"]), (&"FAILED_PRECONDITION".into(), &AS_ASKED.into()));
    let detail = serde_json::json!({ "@type": "type.googleapis.com/notes.Note", "text": "why", "count": 3 });
    assert_eq!(problem["details"], serde_json::json!([detail]), "{problem}");
    assert_eq!(client.get("/notes/z").expect(200).json()["text"], "z");
}
