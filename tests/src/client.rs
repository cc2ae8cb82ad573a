//! A client that writes what it is told, byte for byte, and reads responses strictly.

use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::escape::visible;
use crate::wait::PATIENCE;
use crate::wire::{Broken, Head, Wire};

/// One connection to the proxy.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// Status line and fields.
    pub head: Head,
    /// Decoded.
    pub body: Vec<u8>,
    /// After the last chunk.
    pub trailers: Vec<(String, String)>,
    /// 1xx heads that came before it.
    pub interim: Vec<Head>,
    /// The end of the connection ended the body, as its head announced.
    pub until_close: bool,
    /// The body broke off; what came of it is in `body`.
    pub broken: Option<Broken>,
}

impl Response {
    /// A field's values joined by `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in body {:?}", self.text()))
    }

    /// The `reason` of a local reply.
    #[track_caller]
    pub fn reason(&self) -> String {
        let reason = self.json()["reason"].as_str().unwrap_or_default().to_owned();
        assert!(!reason.is_empty(), "a local reply without a reason: {:?}", self.text());
        reason
    }

    /// Whether the connection ended within the body.
    pub fn is_cut(&self) -> bool {
        matches!(self.broken, Some(Broken::Cut | Broken::Reset))
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{:?}\n{}", self.head, self.text());
        assert_eq!(self.broken, None, "the body broke off");
        self
    }
}

/// Which body a response may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Whatever its head says.
    Get,
    /// None, whatever its head says.
    Head,
    /// None where it succeeds: what follows is the tunnel (RFC 9110 §9.3.6).
    Connect,
}

impl Client {
    /// Connects over TCP.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|e| panic!("connecting to {address}: {e}"))
    }

    /// As [`Client::connect`]; a refusal is an error.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Client> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        Ok(Client { wire: Wire::new(socket, Some(PATIENCE)) })
    }

    /// Connects from this address of the machine's, on any port.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of our own");
        socket.connect(&address.into()).expect("connecting");
        socket.set_tcp_nodelay(true).expect("no delay");
        Client { wire: Wire::new(socket, Some(PATIENCE)) }
    }

    /// Connects with a receive buffer so small that the peer soon notices who doesn't read.
    #[track_caller]
    pub fn connect_with_small_window(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small receive buffer");
        socket.connect(&address.into()).expect("connecting");
        Client { wire: Wire::new(socket, Some(PATIENCE)) }
    }

    /// Connects to a Unix-domain listener.
    #[track_caller]
    pub fn connect_unix(path: &Path) -> Client {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.connect(&SockAddr::unix(path).expect("a path")).expect("connecting");
        Client { wire: Wire::new(socket, Some(PATIENCE)) }
    }

    /// How long a read waits (10 s unless said otherwise).
    pub fn patience(&mut self, patience: Duration) -> &mut Client {
        self.wire.socket.set_read_timeout(Some(patience)).expect("a read time-out");
        self
    }

    /// Its own address.
    pub fn local_address(&self) -> SocketAddr {
        self.wire.socket.local_addr().ok().and_then(|a| a.as_socket()).expect("a TCP address")
    }

    /// Writes it all.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.try_send(bytes).unwrap_or_else(|e| panic!("sending: {e}"));
        self
    }

    /// As [`Client::send`]; a closed connection is an error.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        self.wire.send(bytes.as_ref())
    }

    /// Writes in pieces of `size` bytes with a pause after each. Errors where the peer closed.
    pub fn send_in_pieces(&mut self, bytes: &[u8], size: usize, pause: Duration) -> Result<(), Broken> {
        for piece in bytes.chunks(size) {
            self.wire.send(piece)?;
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }

    /// Sends a bare GET and reads the response.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")).response()
    }

    /// Reads the next final response.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response(To::Get).unwrap_or_else(|e| panic!("no response: {e}{}", self.rest()))
    }

    /// Reads the next final response to a HEAD.
    #[track_caller]
    pub fn response_to_head(&mut self) -> Response {
        self.try_response(To::Head).unwrap_or_else(|e| panic!("no response: {e}{}", self.rest()))
    }

    /// Reads the next final response to CONNECT.
    #[track_caller]
    pub fn response_to_connect(&mut self) -> Response {
        self.try_response(To::Connect).unwrap_or_else(|e| panic!("no response: {e}{}", self.rest()))
    }

    fn rest(&self) -> String {
        let rest = self.wire.buffered();
        if rest.is_empty() { String::new() } else { format!("; unread: {}", visible(rest)) }
    }

    /// Reads the next final response. An error is one of its head; a broken body is told in the response.
    pub fn try_response(&mut self, to: To) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let response = self.next_message(to)?;
            if response.status >= 200 || response.status == 101 {
                return Ok(Response { interim, ..response });
            }
            interim.push(response.head);
        }
    }

    /// Reads the next response, a 1xx one too.
    pub fn next_message(&mut self, to: To) -> Result<Response, Broken> {
        let head = self.wire.head()?;
        let status = status_of(&head.start)?;
        let mut response = Response { status, ..Response::default() };
        let has_body = match to {
            To::Get => status >= 200 && status != 204 && status != 304,
            To::Head => false,
            To::Connect => status >= 300,
        };
        if has_body {
            let framing = head.framing()?;
            response.until_close = framing.is_none();
            let read = match framing {
                None => self.wire.to_end(&mut response.body).map(|()| Vec::new()),
                framing => self.wire.body(framing, &mut response.body),
            };
            match read {
                Ok(trailers) => response.trailers = trailers,
                Err(broken) => response.broken = Some(broken),
            }
        }
        Ok(Response { head, ..response })
    }

    /// Reads `count` raw bytes, as through a tunnel.
    #[track_caller]
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.wire.buffered().len() < count {
            if let Err(error) = self.wire.fill() {
                panic!("wanted {count} bytes: {error}{}", self.rest());
            }
        }
        let mut taken = self.wire.take_buffered();
        let rest = taken.split_off(count);
        assert!(rest.is_empty(), "more than expected: {}", visible(&rest));
        taken
    }

    /// Everything up to the end of the connection, and how it ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Broken) {
        let mut bytes = Vec::new();
        let end = self.wire.to_end(&mut bytes).err().unwrap_or(Broken::Ended);
        (bytes, end)
    }

    /// Fails unless the connection ends now, without one more byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let started = Instant::now();
        let (bytes, end) = self.read_to_end();
        assert!(bytes.is_empty(), "bytes before the end: {}", visible(&bytes));
        assert_ne!(end, Broken::Timeout, "still not closed after {:?}", started.elapsed());
    }

    /// Sends FIN; reading goes on.
    pub fn half_close(&mut self) -> &mut Client {
        let _ = self.wire.socket.shutdown(Shutdown::Write);
        self
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        self.wire.socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
}

fn status_of(line: &str) -> Result<u16, Broken> {
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    let status = status.filter(|s| s.len() == 3).and_then(|s| s.parse().ok());
    status
        .filter(|s| (100..600).contains(s))
        .ok_or_else(|| Broken::Malformed(format!("status line {line:?}")))
}
