//! A TLS session on a connection: what arrives is decrypted into leases, what is sent is encrypted into drafts.
//!
//! Bytes are copied once each way besides rustls's own: out of its buffer of what it decrypted, and out of the records it
//! made. Invariant: whatever rustls has to say is handed to the kernel before anybody waits. A close without
//! `close_notify` is the end like any other here; who expects more bytes than came notices by its own framing.

use std::cell::{Cell, Ref, RefCell};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ringway_runtime::{Draft, Lease, SendList, Stream as Raw};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};
use smallvec::SmallVec;

use super::ClientIdentity;

/// A TLS session on a connection.
pub(crate) struct Stream {
    raw: Raw,
    session: RefCell<Connection>,
    /// What arrived and waits until what was decrypted before it is taken: rustls holds no more than a record or two.
    arrived: Cell<Option<Lease>>,
    /// The peer has said that nothing more comes.
    ended: Cell<bool>,
    /// We have.
    closed: Cell<bool>,
    broken: Cell<Option<ErrorKind>>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Failed {
    /// What rustls objects to; its alert was sent.
    Tls(rustls::Error),
    /// The connection ended or its deadline passed.
    Io(io::Error),
}

impl Failed {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Failed::Io(error) if error.kind() == ErrorKind::TimedOut => "tls_handshake_timeout",
            Failed::Io(_) => "tls_handshake_ended",
            Failed::Tls(rustls::Error::AlertReceived(_)) => "tls_handshake_refused",
            Failed::Tls(rustls::Error::NoCertificatesPresented) => "tls_client_certificate_missing",
            Failed::Tls(rustls::Error::InvalidCertificate(_)) => "tls_client_certificate_invalid",
            Failed::Tls(rustls::Error::General(why)) if why == NOTHING_TO_SHOW => "tls_certificate_pending",
            Failed::Tls(_) => "tls_handshake_failed",
        }
    }
}

/// What rustls says where a listener has no certificate for the name yet; it has no better name for that, and a test asks
/// it (`server.rs`).
pub(super) const NOTHING_TO_SHOW: &str = "no server certificate chain resolved";

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

impl Stream {
    /// Shakes hands with a client, of whom `first` has arrived already. By the connection's deadline.
    pub async fn accept(
        raw: Raw,
        config: &Arc<ServerConfig>,
        first: Option<Lease>,
    ) -> Result<Stream, Failed> {
        let session = ServerConnection::new(config.clone()).map_err(Failed::Tls)?;
        Stream::shake_hands(raw, Connection::Server(session), first).await
    }

    /// Shakes hands with an endpoint. By the connection's deadline.
    pub async fn connect(
        raw: Raw,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Stream, Failed> {
        let session = ClientConnection::new(config.clone(), name).map_err(Failed::Tls)?;
        Stream::shake_hands(raw, Connection::Client(session), None).await
    }

    async fn shake_hands(raw: Raw, mut session: Connection, first: Option<Lease>) -> Result<Stream, Failed> {
        // What is written is handed over at once, whatever its size.
        session.set_buffer_limit(None);
        let stream = Stream {
            raw,
            session: RefCell::new(session),
            arrived: Cell::new(first),
            ended: Cell::new(false),
            closed: Cell::new(false),
            broken: Cell::new(None),
        };
        loop {
            stream.take_in().map_err(Failed::Tls)?;
            stream.hand_over();
            if !stream.session.borrow().is_handshaking() {
                return Ok(stream);
            }
            let lease = stream.raw.recv().await?;
            if lease.is_end() {
                return Err(Failed::Io(ErrorKind::UnexpectedEof.into()));
            }
            stream.arrived.set(Some(lease));
        }
    }

    /// The connection beneath.
    pub fn raw(&self) -> &Raw {
        &self.raw
    }

    /// What was agreed on.
    pub fn session(&self) -> Ref<'_, Connection> {
        self.session.borrow()
    }

    /// The handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.session.borrow().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Who the client is by its certificate, where it showed one; it was verified in the handshake.
    pub fn client(&self) -> Option<ClientIdentity> {
        let session = self.session.borrow();
        session.peer_certificates().and_then(|chain| chain.first()).map(ClientIdentity::of)
    }

    /// The name that the client asked for.
    pub fn server_name(&self) -> Option<String> {
        match &*self.session.borrow() {
            Connection::Server(session) => session.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        }
    }

    /// See [`Link::poll_recv`](crate::link::Link::poll_recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        loop {
            if let Some(lease) = self.decrypted() {
                return Poll::Ready(Ok(lease));
            }
            if self.ended.get() {
                return Poll::Ready(Ok(Lease::copy_of(b"")));
            }
            if let Some(kind) = self.broken.get() {
                return Poll::Ready(Err(kind.into()));
            }
            if !self.has_arrived() {
                let Poll::Ready(lease) = self.raw.poll_recv(cx)? else { return Poll::Pending };
                if lease.is_end() {
                    return Poll::Ready(Ok(lease));
                }
                self.arrived.set(Some(lease));
            }
            let taken = self.take_in();
            self.hand_over();
            if taken.is_err() {
                self.broken.set(Some(ErrorKind::InvalidData));
            }
        }
    }

    /// Nothing but what keeps the session going has arrived: tickets, key updates.
    pub fn is_quiet(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        while self.raw.has_received() && !self.has_arrived() {
            let Poll::Ready(Ok(lease)) = self.raw.poll_recv(&mut cx) else { return false };
            self.arrived.set(Some(lease));
            if self.take_in().is_err() {
                return false;
            }
            self.hand_over();
        }
        let state = self.session.borrow_mut().process_new_packets();
        let silent =
            state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed());
        silent && !self.has_arrived() && self.raw.is_quiet()
    }

    /// Encrypts and sends.
    pub fn send(&self, mut list: SendList) {
        // One run is one allocation less for rustls.
        list.gather();
        let mut session = self.session.borrow_mut();
        let mut runs: SmallVec<[IoSlice<'_>; 16]> = list.iter().map(IoSlice::new).collect();
        let mut left = &mut runs[..];
        while !left.is_empty() {
            match session.writer().write_vectored(left) {
                Ok(written) if written > 0 => IoSlice::advance_slices(&mut left, written),
                // A session that takes no more has ended, which shows in what is received.
                _ => break,
            }
        }
        drop(session);
        self.hand_over();
    }

    /// Says that nothing more comes from us.
    pub fn close(&self) {
        if !self.closed.replace(true) {
            self.session.borrow_mut().send_close_notify();
            self.hand_over();
        }
    }

    /// Decrypts what has arrived, until there is something to take or all of it is in.
    fn take_in(&self) -> Result<(), rustls::Error> {
        let Some(mut lease) = self.arrived.take() else { return Ok(()) };
        let session = &mut *self.session.borrow_mut();
        while !lease.is_empty() {
            let mut bytes: &[u8] = &lease;
            match session.read_tls(&mut bytes) {
                Ok(taken) => lease.advance(taken),
                // Beside a whole record that nobody has taken it takes no more.
                Err(_) if session.process_new_packets()?.plaintext_bytes_to_read() > 0 => break,
                Err(error) => return Err(rustls::Error::General(error.to_string())),
            }
            match session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => break,
                Ok(_) => {}
                Err(error) => {
                    // The alert that says why.
                    hand_over(&self.raw, session);
                    return Err(error);
                }
            }
        }
        self.arrived.set((!lease.is_empty()).then_some(lease));
        Ok(())
    }

    fn has_arrived(&self) -> bool {
        let arrived = self.arrived.take();
        let has = arrived.is_some();
        self.arrived.set(arrived);
        has
    }

    /// Sends what rustls wants to send.
    fn hand_over(&self) {
        hand_over(&self.raw, &mut self.session.borrow_mut());
    }

    fn decrypted(&self) -> Option<Lease> {
        let mut session = self.session.borrow_mut();
        let mut draft: Option<Draft> = None;
        loop {
            let mut reader = session.reader();
            let draft = match &mut draft {
                Some(draft) if draft.room() == 0 => break,
                Some(draft) => draft,
                // A draft is taken only when there is something to put into it.
                None => match io::BufRead::fill_buf(&mut reader) {
                    Ok([]) => {
                        self.ended.set(true);
                        return None;
                    }
                    Ok(_) => draft.insert(self.raw.draft()),
                    Err(_) => return None,
                },
            };
            match session.reader().read(draft.spare()) {
                Ok(0) => {
                    self.ended.set(true);
                    break;
                }
                Ok(bytes) => draft.written(bytes),
                Err(_) => break,
            }
        }
        draft.map(Draft::into_lease)
    }
}

fn hand_over(raw: &Raw, session: &mut Connection) {
    while session.wants_write() {
        let mut draft = raw.draft();
        while session.wants_write() && draft.room() > 0 {
            match session.write_tls(&mut Room(&mut draft)) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        raw.send(draft.into_lease());
    }
}

/// A draft's free room, to be written by rustls.
struct Room<'a>(&'a mut Draft);

impl Write for Room<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0.room());
        self.0.put(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
