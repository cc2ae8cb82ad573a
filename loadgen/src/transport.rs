//! A connection to the target: plain, or with TLS on it.
//!
//! Both hand on what arrives as leases. Invariant of the TLS side: whatever rustls has to say is sent before anybody
//! waits, and a close without `close_notify` is an error only to who still expects bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use ringway_runtime::{Draft, Lease, Nanos, SendList, Stream, Wire};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// A connection to the target.
pub enum Transport {
    /// As it is.
    Plain(Stream),
    /// Through TLS.
    Tls(Box<Tls>),
}

/// A TLS session on a stream.
pub struct Tls {
    stream: Stream,
    session: ClientConnection,
    /// The peer has ended the stream.
    ended: bool,
}

impl Tls {
    /// Shakes hands. `InvalidData` is what rustls objects to.
    pub async fn connect(
        stream: Stream,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> io::Result<Tls> {
        let mut session = ClientConnection::new(config.clone(), name.clone()).map_err(invalid)?;
        // What is written is handed over at once, whatever its size.
        session.set_buffer_limit(None);
        let mut tls = Tls { stream, session, ended: false };
        while tls.session.is_handshaking() {
            tls.hand_over()?;
            let lease = tls.stream.recv().await?;
            if lease.is_end() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            tls.take_in(&lease)?;
        }
        tls.hand_over()?;
        Ok(tls)
    }

    /// Whether the handshake resumed an earlier session.
    pub fn resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What ALPN came to.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes)?;
            if let Err(error) = self.session.process_new_packets() {
                // The alert that says why.
                let _ = self.hand_over();
                return Err(invalid(error));
            }
        }
        Ok(())
    }

    /// Sends what rustls wants to send.
    fn hand_over(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            let mut draft = self.stream.draft();
            while self.session.wants_write() && draft.room() > 0 {
                let taken = self.session.write_tls(&mut Room(&mut draft))?;
                if taken == 0 {
                    break;
                }
            }
            self.stream.send(draft.into_lease());
        }
        Ok(())
    }

    fn decrypted(&mut self) -> io::Result<Option<Lease>> {
        let mut draft = self.stream.draft();
        while draft.room() > 0 {
            match self.session.reader().read(draft.spare()) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => draft.written(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok((!draft.is_empty()).then(|| draft.into_lease()))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        loop {
            if let Some(lease) = self.decrypted()? {
                return Poll::Ready(Ok(lease));
            }
            if self.ended {
                return Poll::Ready(Ok(Lease::copy_of(b"")));
            }
            let Poll::Ready(lease) = self.stream.poll_recv(cx)? else { return Poll::Pending };
            if lease.is_end() {
                return Poll::Ready(Ok(lease));
            }
            self.take_in(&lease)?;
            self.hand_over()?;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(bytes)?;
        self.hand_over()
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

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Wire for Transport {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        match self {
            Transport::Plain(stream) => Stream::poll_recv(stream, cx),
            Transport::Tls(tls) => tls.poll_recv(cx),
        }
    }

    fn send(&mut self, list: SendList) {
        match self {
            Transport::Plain(stream) => Stream::send(stream, list),
            Transport::Tls(tls) => {
                // An error here has ended the stream, and shows in what is received.
                let _ = list.iter().try_for_each(|run| tls.send(run));
            }
        }
    }

    fn poll_flushed_to(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        self.stream().poll_flushed_to(cx, bytes)
    }

    fn draft(&self) -> Draft {
        self.stream().draft()
    }

    fn shutdown_write(&mut self) {
        if let Transport::Tls(tls) = self {
            tls.session.send_close_notify();
            let _ = tls.hand_over();
        }
        self.stream().shutdown_write();
    }

    fn set_deadline(&mut self, deadline: Nanos) {
        self.stream().set_deadline(deadline);
    }
}

impl Transport {
    fn stream(&self) -> &Stream {
        match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(tls) => &tls.stream,
        }
    }
}
