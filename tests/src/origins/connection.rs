//! One connection of an origin: what behaviours are written with.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use super::{Behaviour, Seen, Shared};
use crate::wire::{Broken, Wire};

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    id: usize,
    wire: Wire,
    shared: Arc<Shared>,
}

impl Connection {
    pub(super) fn serve(id: usize, socket: Socket, shared: Arc<Shared>, behaviour: &impl Behaviour) {
        let mut connection = Connection { id, wire: Wire::new(socket, None), shared };
        let end = behaviour(&mut connection);
        let Connection { wire, shared, .. } = connection;
        // The clone goes first: the last descriptor closed is the one that sends FIN or RST.
        drop(shared.change(|state| state.open.remove(&id)));
        drop(wire);
        shared.change(|state| {
            state.ended.insert(id);
            if let Err(Broken::Malformed(why)) = end {
                state.malformed.push(why);
            }
        });
    }

    /// Which connection this is, counted from 0.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Reads a whole request. `Ended` when the proxy closes between requests.
    pub fn request(&mut self) -> Result<Seen, Broken> {
        let (mut seen, index) = self.logged_head()?;
        let framing = seen.head.framing()?;
        let read = self.wire.body(framing, &mut seen.body);
        if let Ok(trailers) = &read {
            seen.trailers.clone_from(trailers);
            seen.whole = true;
        }
        self.shared.change(|state| {
            if let Some(logged) = state.seen.get_mut(index) {
                logged.clone_from(&seen);
            }
        });
        read.map(|_| seen)
    }

    /// Reads only a request's head; its body is left unread.
    pub fn request_head(&mut self) -> Result<Seen, Broken> {
        self.logged_head().map(|(seen, _)| seen)
    }

    fn logged_head(&mut self) -> Result<(Seen, usize), Broken> {
        let head = self.wire.head()?;
        let seen = Seen { connection: self.id, head, ..Seen::default() };
        let index = self.shared.change(|state| {
            state.seen.push(seen.clone());
            state.seen.len() - 1
        });
        Ok((seen, index))
    }

    /// Writes it all.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        self.wire.send(bytes.as_ref())
    }

    /// Sends a 200 with this body.
    pub fn answer(&mut self, body: impl AsRef<[u8]>) -> Result<(), Broken> {
        let body = body.as_ref();
        let mut message = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        message.extend_from_slice(body);
        self.send(message)
    }

    /// Whatever has come; `Ended` at the end.
    pub fn read_some(&mut self) -> Result<Vec<u8>, Broken> {
        if self.wire.buffered().is_empty() {
            self.wire.fill()?;
        }
        Ok(self.wire.take_buffered())
    }

    /// Reads and forgets until the proxy ends the connection.
    pub fn until_ended(&mut self) -> Result<(), Broken> {
        let mut unread = Vec::new();
        self.wire.to_end(&mut unread)
    }

    /// Makes the coming end of the connection an RST.
    pub fn reset(&mut self) -> Result<(), Broken> {
        self.wire.socket.set_linger(Some(Duration::ZERO)).map_err(|_| Broken::Reset)
    }

    /// Sends FIN; reading goes on.
    pub fn half_close(&mut self) {
        let _ = self.wire.socket.shutdown(Shutdown::Write);
    }

    /// Makes the receive buffer small, so that the proxy soon notices an origin that doesn't read.
    pub fn shrink_window(&mut self) {
        let _ = self.wire.socket.set_recv_buffer_size(4096);
    }

    /// Waits, reading nothing, until the origin is dropped.
    pub fn stall(&mut self) {
        let mut state = self.shared.lock();
        while !self.shared.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            state = match self.shared.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}
