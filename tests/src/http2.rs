//! HTTP/2 from both sides: a client and an origin on the `h2` crate for what is well-behaved, and raw frames for what
//! is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use crate::wait::PATIENCE;

/// What came back on a stream.
#[derive(Debug, Default)]
pub struct Answer {
    /// Of its head.
    pub status: u16,
    /// Of its head.
    pub headers: HeaderMap,
    /// All of it, or what came before it broke off.
    pub body: Vec<u8>,
    /// After it.
    pub trailers: Option<HeaderMap>,
    /// Why it broke off.
    pub broken: Option<h2::Error>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// One trailer's value.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A client's connection.
pub struct Session {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

impl Session {
    /// Connects by prior knowledge.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Session {
        Session::over(async move { tokio::net::TcpStream::connect(address).await.expect("connecting") })
    }

    /// On whatever connection this makes.
    #[track_caller]
    pub fn over<T>(connect: impl Future<Output = T>) -> Session
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let send = runtime.block_on(async {
            let (send, connection) = h2::client::Builder::new()
                .enable_push(false)
                .handshake(connect.await)
                .await
                .expect("a handshake");
            tokio::spawn(async move {
                let _ = connection.await;
            });
            send
        });
        Session { runtime, send }
    }

    /// Asks and waits for the whole answer.
    #[track_caller]
    pub fn ask(&self, request: Request<()>, body: &[&[u8]], trailers: Option<HeaderMap>) -> Answer {
        let body: Vec<Bytes> = body.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let send = self.send.clone();
        self.runtime.block_on(async move {
            let asked = ask(send, request, body, trailers);
            tokio::time::timeout(PATIENCE, asked).await.expect("an answer in time")
        })
    }

    /// GET of a path at `http://a.example`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("http://a.example{path}")).body(()).expect("a request");
        self.ask(request, &[], None)
    }

    /// Whether the peer allows RFC 8441.
    pub fn allows_extended_connect(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Runs something with the connection's handle.
    pub fn run<T>(&self, with: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
        self.runtime.block_on(with(self.send.clone()))
    }
}

async fn ask(
    send: SendRequest<Bytes>,
    request: Request<()>,
    body: Vec<Bytes>,
    trailers: Option<HeaderMap>,
) -> Answer {
    let mut answer = Answer::default();
    let mut send = match send.ready().await {
        Ok(send) => send,
        Err(error) => return Answer { broken: Some(error), ..answer },
    };
    let ended = body.is_empty() && trailers.is_none();
    let (response, mut stream) = match send.send_request(request, ended) {
        Ok(sent) => sent,
        Err(error) => return Answer { broken: Some(error), ..answer },
    };
    if !ended {
        let count = body.len();
        for (place, piece) in body.into_iter().enumerate() {
            let last = place + 1 == count && trailers.is_none();
            let _ = stream.send_data(piece, last);
        }
        if let Some(trailers) = trailers {
            let _ = stream.send_trailers(trailers);
        }
    }
    match response.await {
        Err(error) => answer.broken = Some(error),
        Ok(response) => {
            answer.status = response.status().as_u16();
            answer.headers = response.headers().clone();
            answer.broken = read(response.into_body(), &mut answer.body, &mut answer.trailers).await.err();
        }
    }
    answer
}

async fn read(
    mut stream: RecvStream,
    body: &mut Vec<u8>,
    trailers: &mut Option<HeaderMap>,
) -> Result<(), h2::Error> {
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    *trailers = stream.trailers().await?;
    Ok(())
}

/// A request as an origin saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Method, URI and fields.
    pub head: Arc<Request<()>>,
    /// All of it.
    pub body: Vec<u8>,
    /// After it.
    pub trailers: Option<HeaderMap>,
}

/// How an origin answers one request.
#[derive(Debug, Default)]
pub struct Reply {
    /// Status and fields.
    pub head: Response<()>,
    /// In these pieces.
    pub body: Vec<Vec<u8>>,
    /// After it.
    pub trailers: Option<HeaderMap>,
    /// Reset instead of an end.
    pub reset: Option<h2::Reason>,
    /// Before the head.
    pub after: Duration,
}

/// An origin that speaks HTTP/2 by prior knowledge. Dropping it ends it.
pub struct Origin {
    _runtime: Runtime,
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl Origin {
    /// Answers each request as `reply` says.
    pub fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Origin {
        Origin::start_with(&h2::server::Builder::new(), reply)
    }

    /// The same with these settings.
    pub fn start_with(
        builder: &h2::server::Builder,
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Origin {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (seen, reply, builder) = (Arc::new(Mutex::new(Vec::new())), Arc::new(reply), builder.clone());
        let listener =
            runtime.block_on(async { tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port") });
        let address = listener.local_addr().expect("an address");
        let into = Arc::clone(&seen);
        runtime.spawn(async move {
            let mut count = 0;
            while let Ok((socket, _)) = listener.accept().await {
                let (connection, seen, reply, builder) =
                    (count, Arc::clone(&into), Arc::clone(&reply), builder.clone());
                count += 1;
                tokio::spawn(async move {
                    let Ok(mut connected) = builder.handshake::<_, Bytes>(socket).await else { return };
                    while let Some(Ok((request, respond))) = connected.accept().await {
                        let (seen, reply) = (Arc::clone(&seen), Arc::clone(&reply));
                        tokio::spawn(answer(connection, request, respond, seen, reply));
                    }
                });
            }
        });
        Origin { _runtime: runtime, address, seen }
    }

    /// What it saw so far, of requests that came whole.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("no holder panics").clone()
    }
}

async fn answer(
    connection: usize,
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    seen: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<impl Fn(&Asked) -> Reply>,
) {
    let (parts, stream) = request.into_parts();
    let mut asked = Asked {
        connection,
        head: Arc::new(Request::from_parts(parts, ())),
        body: Vec::new(),
        trailers: None,
    };
    if read(stream, &mut asked.body, &mut asked.trailers).await.is_err() {
        return;
    }
    seen.lock().expect("no holder panics").push(asked.clone());
    let reply = reply(&asked);
    tokio::time::sleep(reply.after).await;
    let bare = reply.body.is_empty() && reply.trailers.is_none() && reply.reset.is_none();
    let Ok(mut stream) = respond.send_response(reply.head, bare) else { return };
    if bare {
        return;
    }
    let count = reply.body.len();
    for (place, piece) in reply.body.into_iter().enumerate() {
        let last = place + 1 == count && reply.trailers.is_none() && reply.reset.is_none();
        let _ = stream.send_data(piece.into(), last);
    }
    match (reply.reset, reply.trailers) {
        (Some(reason), _) => stream.send_reset(reason),
        (None, Some(trailers)) => drop(stream.send_trailers(trailers)),
        (None, None) => {}
    }
}

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Frames as they are written, well-behaved or not.
pub struct Raw {
    socket: TcpStream,
}

/// Types of frames.
#[allow(missing_docs, reason = "each is the frame of that name")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// GOAWAY's code for who costs too much.
pub const ENHANCE_YOUR_CALM: u32 = 11;

impl Raw {
    /// Connects and sends the preface and these settings.
    #[track_caller]
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Raw {
        let socket = TcpStream::connect(address).expect("connecting");
        socket.set_read_timeout(Some(PATIENCE)).expect("a bound");
        socket.set_nodelay(true).expect("no delay");
        let mut raw = Raw { socket };
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [id.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
            .collect();
        raw.frame(kind::SETTINGS, 0, 0, &payload);
        raw
    }

    /// Bytes as they are. A peer that has closed is noticed by reading.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// One frame. Whether it could be written.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let len = payload.len() as u32;
        let mut bytes = len.to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.send(&bytes)
    }

    /// HEADERS with a whole head.
    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], ended: bool) -> bool {
        self.frame(kind::HEADERS, if ended { 5 } else { 4 }, stream, &block(fields))
    }

    /// The next frame; `None` at the end of the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; len];
        self.socket.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads on until a frame of this type on this stream.
    #[track_caller]
    pub fn expect(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self
                .read()
                .unwrap_or_else(|| panic!("the connection ended before a frame {kind} on {stream}"));
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
        }
    }

    /// Reads to GOAWAY and returns its code; `None`: the connection ended without.
    pub fn goaway(&mut self) -> Option<u32> {
        loop {
            let frame = self.read()?;
            if frame.kind == kind::GOAWAY {
                let code = frame.payload.get(4..8)?;
                return Some(u32::from_be_bytes([code[0], code[1], code[2], code[3]]));
            }
        }
    }
}

/// Fields in HPACK, each literal and not indexed (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn integer(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(number as u8);
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push((number % 128) as u8 | 128);
        number /= 128;
    }
    block.push(number as u8);
}

/// The pseudo-header fields of a GET.
pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
