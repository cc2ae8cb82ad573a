//! Datagrams: sockets that are asked for when the kernel says that something has come.
//!
//! A socket's readiness is watched once at a time; a batch of what has come is then taken (recvmmsg), segments that the
//! kernel put together (GRO) among them, and the socket is watched anew, so that others have their turn. What is sent
//! collects in an [`Outbox`] and leaves at once (sendmmsg), put together where it can be (GSO). Nothing in flight belongs
//! to the kernel, so nothing has to be kept alive for it but the descriptor while it is watched.

mod batch;
mod outbox;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::driver;
use crate::listener::{BoundSocket, SocketOptions};
use crate::task::current;
use crate::turn::Core;

pub use batch::{Batch, Datagram, Local};
pub use outbox::{Outbox, Sent};

/// Binds a socket for datagrams. `AddrInUse` where another process holds the address, unless `ours`.
pub fn bind_udp(address: SocketAddr, options: &SocketOptions, ours: bool) -> io::Result<BoundSocket> {
    if options.shared && !ours {
        drop(bound(address, false)?);
    }
    let socket = bound(address, options.shared)?;
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    // Where to a datagram was sent, so that its answer leaves from there, also where any address is listened on.
    batch::ask_for_destination(socket.as_raw_fd(), address.is_ipv6())?;
    batch::ask_for_segments(socket.as_raw_fd());
    Ok(BoundSocket::of(socket.into()))
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec().nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// A descriptor whose readiness is watched.
pub(crate) struct Watched {
    socket: OwnedFd,
    pub place: u32,
    /// The driver will say when something has come.
    pub armed: Cell<bool>,
    /// epoll: the descriptor is registered.
    pub known: Cell<bool>,
    ready: Cell<bool>,
    dropped: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Watched {
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Something has come, or the watch has ended.
    pub fn tell(&self, core: &Core) {
        self.armed.set(false);
        self.ready.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.retire(core);
    }

    /// Frees the place of a dropped socket that is no longer watched.
    pub fn retire(&self, core: &Core) {
        if self.dropped.get() && !self.armed.get() {
            core.watched.borrow_mut().remove(self.place);
        }
    }
}

/// A socket for datagrams of this worker.
pub struct UdpSocket {
    watched: Rc<Watched>,
    core: Rc<Core>,
}

impl UdpSocket {
    /// Takes over a bound socket. Panics outside of an event loop.
    pub fn new(bound: BoundSocket) -> UdpSocket {
        UdpSocket::adopt(bound.into_fd())
    }

    /// A socket that speaks with this peer only: what others send to it is refused by the kernel, and a peer that is not
    /// there shows as an error.
    pub fn connect(peer: SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM.cloexec().nonblocking(), None)?;
        socket.connect(&SockAddr::from(peer))?;
        batch::ask_for_segments(socket.as_raw_fd());
        Ok(UdpSocket::adopt(socket.into()))
    }

    fn adopt(socket: OwnedFd) -> UdpSocket {
        let core = current();
        let place = core.watched.borrow_mut().vacant();
        let watched = Rc::new(Watched {
            socket,
            place,
            armed: Cell::new(false),
            known: Cell::new(false),
            ready: Cell::new(false),
            dropped: Cell::new(false),
            waker: Cell::new(None),
        });
        core.watched.borrow_mut().fill(place, watched.clone());
        UdpSocket { watched, core }
    }

    /// Takes what has come into `batch`, waiting for at least one datagram. An error that a peer brought about (nobody
    /// there) is told once; the socket goes on.
    pub async fn recv(&self, batch: &mut Batch) -> io::Result<()> {
        poll_fn(|cx| self.poll_recv(cx, batch)).await
    }

    /// See [`UdpSocket::recv`].
    pub fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        // Watching tells of what is left, too: no need to ask until there is nothing more.
        if self.watched.ready.replace(false) {
            match batch.recv(self.watched.fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
        if !self.watched.armed.replace(true) {
            driver::watch(&self.core, &self.watched);
        }
        self.watched.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// As [`UdpSocket::recv`], without waiting: `WouldBlock`.
    pub fn try_recv(&self, batch: &mut Batch) -> io::Result<()> {
        batch.recv(self.watched.fd())
    }

    /// Sends all that waits in `outbox`. What fails is lost, as datagrams are: `lost` is told why, and how many
    /// datagrams. An error that a peer brought about is told here or by receiving, once.
    pub fn send(&self, outbox: &mut Outbox, lost: impl FnMut(&io::Error, usize)) -> Sent {
        outbox.send(self.watched.fd(), lost)
    }

    /// Nothing new is heard from now on, and no other socket of this address misses anything for it; what has come
    /// already can be received, and what is sent leaves as before.
    ///
    /// The socket is connected to its own address: the kernel gives it only what comes from there, which is nothing.
    pub fn stop_hearing(&self) -> io::Result<()> {
        let mut own = self.local()?;
        if own.ip().is_unspecified() {
            own.set_ip(if own.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() });
        }
        socket2::SockRef::from(&self.watched.socket).connect(&SockAddr::from(own))
    }

    /// Our own end.
    pub fn local(&self) -> io::Result<SocketAddr> {
        let address = socket2::SockRef::from(&self.watched.socket).local_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.watched.dropped.set(true);
        if self.watched.armed.get() {
            driver::unwatch(&self.core, &self.watched);
        }
        self.watched.retire(&self.core);
    }
}
