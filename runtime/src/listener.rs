//! Listening sockets: one for each worker and listener, sharing the port by SO_REUSEPORT.
//!
//! Accepting stays armed while there is room; [`Listener::pause`] leaves new connections in the backlog. Closing
//! first serves what the kernel has accepted already ([`Listener::close`]).
//!
//! Invariant: a listener's place and its socket are kept until the kernel has ended the accept, so that what it still
//! accepts never comes to a listener that took the place, nor an accept to a socket that took the number.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::conn::{Address, Side, Stream, address_of};
use crate::driver;
use crate::gauges::Gauges;
use crate::sys;
use crate::task::current;
use crate::turn::Core;

/// Connections taken at once from a backlog before others have their turn.
const ACCEPTS_MAX: usize = 64;

/// Connections taken from a backlog that is about to be closed: as many as it usually holds. More than that are new ones
/// that would keep it open for ever.
const DRAINED_MAX: usize = 4096;

/// Held while a backlog is drained.
static DRAINING: Mutex<()> = Mutex::new(());

/// Options of a listening socket; accepted ones inherit the buffer sizes and TCP_NODELAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// listen(2) backlog.
    pub backlog: u32,
    /// SO_RCVBUF in bytes.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF in bytes.
    pub send_buffer: Option<u32>,
    /// SO_REUSEPORT: several sockets share the address.
    pub shared: bool,
}

/// A bound, listening socket, not yet any worker's. May be sent to another thread.
#[derive(Debug)]
pub struct BoundSocket {
    socket: OwnedFd,
}

impl BoundSocket {
    pub(crate) fn of(socket: OwnedFd) -> BoundSocket {
        BoundSocket { socket }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// The address really bound (port 0 resolved).
    pub fn local(&self) -> io::Result<Address> {
        bound_address(&self.socket)
    }

    /// Another handle on the same socket (for Unix-domain listeners, which cannot share an address otherwise).
    pub fn duplicate(&self) -> io::Result<BoundSocket> {
        Ok(BoundSocket { socket: self.socket.try_clone()? })
    }
}

/// The address that a socket is bound to.
pub fn bound_address(socket: &OwnedFd) -> io::Result<Address> {
    address_of(&socket2::SockRef::from(socket).local_addr()?)
}

/// Binds and listens. `AddrInUse` where another process holds the address, even one that would share it: a bind
/// without SO_REUSEPORT is tried first unless `ours` says that a socket of this process holds it already.
pub fn bind(address: &Address, options: &SocketOptions, ours: bool) -> io::Result<BoundSocket> {
    if options.shared && !ours {
        drop(bound(address, false)?);
    }
    let socket = bound(address, options.shared)?;
    configure(&socket, address, options)?;
    socket.listen(options.backlog.min(i32::MAX as u32) as i32)?;
    Ok(BoundSocket { socket: socket.into() })
}

/// Takes over a listening socket that a supervisor has bound.
pub fn adopt(fd: OwnedFd, options: &SocketOptions) -> io::Result<BoundSocket> {
    let bound = BoundSocket { socket: fd };
    let address = bound.local()?;
    let socket = socket2::SockRef::from(&bound.socket);
    configure(&socket, &address, options)?;
    Ok(bound)
}

fn bound(address: &Address, shared: bool) -> io::Result<Socket> {
    match address {
        Address::Ip(ip) => {
            let socket = Socket::new(Domain::for_address(*ip), Type::STREAM.cloexec(), None)?;
            socket.set_reuse_address(true)?;
            if ip.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            if shared {
                socket.set_reuse_port(true)?;
            }
            socket.bind(&SockAddr::from(*ip))?;
            Ok(socket)
        }
        Address::Unix(path) => {
            remove_stale(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            Ok(socket)
        }
    }
}

/// A socket file that nobody listens on any more is in the way; one that is served is in use.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is there"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn configure(socket: &Socket, address: &Address, options: &SocketOptions) -> io::Result<()> {
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if matches!(address, Address::Ip(_)) {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(())
}

/// The state that the driver and the [`Listener`] share.
pub(crate) struct Listening {
    socket: OwnedFd,
    pub place: u32,
    pub armed: Cell<bool>,
    /// io_uring: the accept was asked to end and has not confirmed it.
    pub stopping: Cell<bool>,
    /// The listener was dropped.
    dropped: Cell<bool>,
    /// epoll: registered already.
    pub known: Cell<bool>,
    /// Accept one, then wait to be asked again.
    pub singly: Cell<bool>,
    queue: RefCell<VecDeque<io::Result<OwnedFd>>>,
    waker: Cell<Option<Waker>>,
}

impl Listening {
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// io_uring: an accept completed.
    pub fn accepted(&self, core: &Core, result: i32, more: bool) {
        if !more {
            self.armed.set(false);
        }
        match result {
            0.. => self.queue.borrow_mut().push_back(Ok(sys::own(result))),
            _ if matches!(-result, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR) => {}
            _ => self.refused(core, -result),
        }
        self.wake();
    }

    /// epoll: the backlog has something.
    pub fn accept_some(&self, core: &Core) {
        let max = if self.singly.get() { 1 } else { ACCEPTS_MAX };
        for _ in 0..max {
            match sys::accept(self.fd(), true) {
                Ok(fd) => self.queue.borrow_mut().push_back(Ok(fd)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR | libc::ECONNABORTED) => continue,
                    code => {
                        self.refused(core, code.unwrap_or(libc::EIO));
                        break;
                    }
                },
            }
        }
        self.wake();
    }

    /// Frees the place, and with it the socket, of a dropped listener whose accept has ended.
    pub fn retire(&self, core: &Core) {
        if self.dropped.get() && !self.armed.get() {
            core.listeners.borrow_mut().remove(self.place);
        }
    }

    fn refused(&self, core: &Core, code: i32) {
        if matches!(code, libc::EMFILE | libc::ENFILE) {
            Gauges::add(&core.gauges.fd_limit_hits, 1);
        }
        self.fail(code);
    }

    pub fn fail(&self, code: i32) {
        self.queue.borrow_mut().push_back(Err(io::Error::from_raw_os_error(code)));
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A listening socket of this worker.
pub struct Listener {
    listening: Rc<Listening>,
    core: Rc<Core>,
}

impl Listener {
    /// Starts to listen on this worker. Panics outside of an event loop.
    pub fn new(bound: BoundSocket) -> io::Result<Listener> {
        let core = current();
        let nonblocking = matches!(&*core.driver.borrow(), driver::Driver::Epoll(_));
        socket2::SockRef::from(&bound.socket).set_nonblocking(nonblocking)?;
        let place = core.listeners.borrow_mut().vacant();
        let listening = Rc::new(Listening {
            socket: bound.socket,
            place,
            armed: Cell::new(false),
            stopping: Cell::new(false),
            dropped: Cell::new(false),
            known: Cell::new(false),
            singly: Cell::new(false),
            queue: RefCell::default(),
            waker: Cell::new(None),
        });
        core.listeners.borrow_mut().fill(place, listening.clone());
        Ok(Listener { listening, core })
    }

    /// The next connection. After an error (no descriptor left, for one) wait before asking again.
    pub async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// See [`Listener::accept`].
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        if let Some(taken) = self.listening.queue.borrow_mut().pop_front() {
            return Poll::Ready(taken.and_then(|fd| Stream::adopt(&self.core, fd, Side::Downstream)));
        }
        if !self.listening.armed.get() {
            driver::arm_accept(&self.core, &self.listening);
            if let Some(Err(error)) = self.listening.queue.borrow_mut().pop_front() {
                return Poll::Ready(Err(error));
            }
        }
        self.listening.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Takes connections one by one from now on, or as they come. Near a limit none is taken from the backlog then
    /// that can't be served.
    pub fn accept_singly(&self, singly: bool) {
        if self.listening.singly.replace(singly) != singly && singly {
            self.pause();
        }
    }

    /// Leaves new connections in the backlog until [`Listener::accept`] is asked again.
    pub fn pause(&self) {
        driver::pause_accept(&self.core, &self.listening);
    }

    /// Stops listening and returns the connections that clients saw accepted, from the backlog too.
    pub async fn close(self) -> Vec<Stream> {
        self.pause();
        poll_fn(|cx| {
            if !self.listening.armed.get() {
                return Poll::Ready(());
            }
            self.listening.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        self.drain_backlog();
        let queue = std::mem::take(&mut *self.listening.queue.borrow_mut());
        queue
            .into_iter()
            .flatten()
            .filter_map(|fd| Stream::adopt(&self.core, fd, Side::Downstream).ok())
            .collect()
    }

    /// Takes what the backlog holds, without waiting.
    fn drain_backlog(&self) {
        // Handles of a shared socket share its O_NONBLOCK too. Without the lock a loop could take the flag from under
        // another one, which would then wait in accept(2), and its whole worker with it.
        let _alone = DRAINING.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket2::SockRef::from(&self.listening.socket);
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        let nonblocking = matches!(&*self.core.driver.borrow(), driver::Driver::Epoll(_));
        for _ in 0..DRAINED_MAX {
            match sys::accept(self.listening.fd(), nonblocking) {
                Ok(fd) => self.listening.queue.borrow_mut().push_back(Ok(fd)),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ECONNABORTED)) => {}
                Err(_) => break,
            }
        }
        // The accepts of other handles wait in the kernel, which they would not with the flag.
        let _ = socket.set_nonblocking(nonblocking);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.dropped.set(true);
        driver::pause_accept(&self.core, &self.listening);
        self.listening.retire(&self.core);
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listening.socket.as_fd()
    }
}
