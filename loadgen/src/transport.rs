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
    /// What rustls has not taken yet: it takes no more while what it decrypted lies there.
    arrived: Option<Lease>,
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
        let mut tls = Tls { stream, session, arrived: None, ended: false };
        while tls.session.is_handshaking() {
            tls.hand_over()?;
            let lease = tls.stream.recv().await?;
            if lease.is_end() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            tls.arrived = Some(lease);
            tls.take_in()?;
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

    /// Decrypts what has arrived, until there is something to take or all of it is in.
    fn take_in(&mut self) -> io::Result<()> {
        let Some(mut lease) = self.arrived.take() else { return Ok(()) };
        while !lease.is_empty() {
            let mut bytes: &[u8] = &lease;
            let taken = self.session.read_tls(&mut bytes)?;
            lease.advance(taken);
            match self.session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => break,
                Ok(_) => {}
                Err(error) => {
                    // The alert that says why.
                    let _ = self.hand_over();
                    return Err(invalid(error));
                }
            }
        }
        self.arrived = (!lease.is_empty()).then_some(lease);
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
            if self.arrived.is_none() {
                let Poll::Ready(lease) = self.stream.poll_recv(cx)? else { return Poll::Pending };
                if lease.is_end() {
                    return Poll::Ready(Ok(lease));
                }
                self.arrived = Some(lease);
            }
            self.take_in()?;
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::TcpListener;
    use std::time::Duration;

    use ringway_runtime::{Address, Gauges, Options, Runtime};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// A full record and a short one: what rustls refuses to take more beside.
    const PIECES: [usize; 2] = [16 << 10, 100];
    const TIMES: usize = 200;

    fn server() -> ServerConfig {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["bench.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let chain = vec![CertificateDer::from(cert.der().to_vec())];
        builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }

    #[test]
    fn records_of_all_sizes_arrive_whole_however_many_come_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        let peer = std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let mut session = ServerConnection::new(Arc::new(server())).unwrap();
            session.set_buffer_limit(None);
            while session.is_handshaking() {
                session.complete_io(&mut socket).unwrap();
            }
            for piece in PIECES.repeat(TIMES) {
                session.writer().write_all(&vec![7; piece]).unwrap();
            }
            while session.wants_write() {
                session.write_tls(&mut socket).unwrap();
            }
            // Until the client has all of it and hangs up.
            let _ = socket.read(&mut [0; 1]);
        });
        let asked = crate::tls::Asked { insecure: true, ..Default::default() };
        let config = crate::tls::client(&asked).unwrap();
        let runtime = Runtime::new(&Options::default(), Arc::new(Gauges::default())).unwrap();
        let done = runtime.block_on(async move {
            let deadline = Nanos::precise().after(Duration::from_secs(10));
            let stream = Stream::connect(&address, deadline).await.unwrap();
            let name = crate::tls::server_name("bench.test").unwrap();
            let mut tls = Tls::connect(stream, &config, &name).await.unwrap();
            let mut received = 0;
            while received < PIECES.iter().sum::<usize>() * TIMES {
                let lease = poll_fn(|cx| tls.poll_recv(cx)).await.expect("more of it");
                assert!(!lease.is_end() && lease.iter().all(|byte| *byte == 7));
                received += lease.len();
            }
            assert_eq!(received, PIECES.iter().sum::<usize>() * TIMES);
        });
        done.unwrap();
        peer.join().unwrap();
    }
}
