//! A connection: what arrived and waits to be taken, what is being sent, one deadline.
//!
//! The state is the drivers' and the [`Stream`]'s in turn, on one thread. Receive: `idle -> armed -> (data: queued)`,
//! paused when the queue is long, starved when no buffer was free. Send: at most one operation with the kernel; what is
//! sent meanwhile joins behind it. A deadline that passes makes whoever waits return `TimedOut` and decide: a new
//! deadline goes on waiting, dropping the stream cancels what is in flight, so that the kernel gives its leases back.
//!
//! Invariant: a connection's place (and with it every buffer in flight) is kept until the kernel has returned every
//! operation on it; only then is the descriptor closed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::buffers::{Draft, Lease, Region};
use crate::clock::Nanos;
use crate::driver;
use crate::segment::SendList;
use crate::sending::{SendOp, Tx};
use crate::sys;
use crate::task::current;
use crate::turn::Core;
use crate::wheel::TimerId;

/// Leases that wait on a connection before its receive is paused.
pub(crate) const QUEUE_MAX: usize = 16;
/// The same where buffers are scarce.
const QUEUE_SCARCE_MAX: usize = 2;

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix-domain socket's path; empty for a peer without a name.
    Unix(PathBuf),
}

/// Which of a worker's two pools a connection receives into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Downstream = 0,
    Upstream = 1,
}

pub(crate) struct Conn {
    pub fd: RawFd,
    owned: Cell<Option<OwnedFd>>,
    pub place: Cell<u32>,
    pub side: Side,
    pub rx: RefCell<Rx>,
    pub tx: RefCell<Tx>,
    timer: TimerId,
    timed_out: Cell<bool>,
    /// The stream was dropped.
    pub dropped: Cell<bool>,
    /// epoll: an edge was seen and not used up.
    pub readable: Cell<bool>,
    /// epoll: the turn in which it was last read.
    pub read_in: Cell<u64>,
}

#[derive(Default)]
pub(crate) struct Rx {
    first: Option<Lease>,
    rest: VecDeque<Lease>,
    /// The driver will deliver what arrives.
    pub armed: bool,
    /// The driver was asked to stop delivering and has not confirmed it.
    pub pausing: bool,
    /// Waits in the worker's line for a free buffer.
    pub starved: bool,
    /// Nothing is to be delivered: a [`crate::Splice`] reads.
    pub stopped: bool,
    /// The driver will tell when there is something to read.
    pub watched: bool,
    pub end: bool,
    /// epoll: an end or error was signalled; read until it shows.
    pub hung_up: bool,
    pub error: i32,
    waker: Option<Waker>,
}

impl Rx {
    pub fn queued(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// As much waits as may; less where buffers are scarce.
    #[inline]
    pub fn is_full(&self, region: &Region) -> bool {
        let queued = self.queued();
        queued >= QUEUE_SCARCE_MAX && (queued >= QUEUE_MAX || region.is_scarce())
    }

    /// Whether the driver may be asked to deliver.
    #[inline]
    pub fn may_arm(&self, region: &Region) -> bool {
        !self.armed && !self.starved && !self.stopped && !self.end && self.error == 0 && !self.is_full(region)
    }

    /// Takes what arrived; small pieces join the one before them, so that a trickle pins one buffer. Where buffers
    /// are scarce it waits in memory of its own.
    pub fn deliver(&mut self, lease: Lease, region: &Region) {
        if self.first.is_none() {
            self.first = Some(if region.is_scarce() { Lease::copy_of(&lease) } else { lease });
            return;
        }
        let last = self.rest.back_mut().or(self.first.as_mut());
        if let Some(last) = last
            && lease.len() <= JOIN_MAX
            && last.append(&lease)
        {
            return;
        }
        self.rest.push_back(if region.is_scarce() { Lease::copy_of(&lease) } else { lease });
    }

    fn take(&mut self) -> Option<Lease> {
        let lease = self.first.take()?;
        self.first = self.rest.pop_front();
        Some(lease)
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn wait(&mut self, cx: &Context<'_>) {
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }
}

/// Arrivals up to this size are copied behind the one before them rather than kept in a buffer of their own.
const JOIN_MAX: usize = 1024;

/// A connected byte stream of this worker: TCP or Unix-domain. Dropping it closes the connection; what was not yet
/// flushed is lost.
pub struct Stream {
    pub(crate) conn: Rc<Conn>,
    pub(crate) core: Rc<Core>,
}

impl Conn {
    pub fn new(core: &Core, fd: OwnedFd, side: Side) -> Rc<Conn> {
        let place = core.conns.borrow_mut().vacant();
        let timer = core.wheel.borrow_mut().add(crate::wheel::Owner::Conn(place));
        let conn = Rc::new(Conn {
            fd: fd.as_raw_fd(),
            owned: Cell::new(Some(fd)),
            place: Cell::new(place),
            side,
            rx: RefCell::default(),
            tx: RefCell::default(),
            timer,
            timed_out: Cell::new(false),
            dropped: Cell::new(false),
            readable: Cell::new(true),
            read_in: Cell::new(u64::MAX),
        });
        core.conns.borrow_mut().fill(place, conn.clone());
        conn
    }

    /// The deadline passed.
    pub fn fire(&self) {
        self.timed_out.set(true);
        self.rx.borrow_mut().wake();
        self.tx.borrow_mut().wake();
    }

    pub fn has_timed_out(&self) -> bool {
        self.timed_out.get()
    }

    /// Whether the kernel still holds an operation.
    pub fn in_flight(&self) -> bool {
        let rx = self.rx.borrow();
        let tx = self.tx.borrow();
        rx.armed || rx.watched || tx.op.is_some() || tx.connecting || tx.watched
    }

    pub fn take_fd(&self) -> Option<OwnedFd> {
        self.owned.take()
    }
}

/// Frees the place of a dropped connection once nothing is in flight. Returns its descriptor, to be closed.
pub(crate) fn retire(core: &Core, conn: &Rc<Conn>) -> Option<OwnedFd> {
    if !conn.dropped.get() || conn.in_flight() {
        return None;
    }
    let fd = conn.take_fd()?;
    core.wheel.borrow_mut().remove(conn.timer);
    core.conns.borrow_mut().remove(conn.place.get());
    Some(fd)
}

impl Stream {
    pub(crate) fn adopt(core: &Rc<Core>, fd: OwnedFd, side: Side) -> io::Result<Stream> {
        let conn = Conn::new(core, fd, side);
        let stream = Stream { conn, core: core.clone() };
        core.driver.borrow_mut().register(&stream.conn)?;
        Ok(stream)
    }

    /// Connects over TCP or to a Unix-domain socket, as an upstream. Ends with `TimedOut` at the deadline.
    pub async fn connect(address: &Address, deadline: Nanos) -> io::Result<Stream> {
        let core = current();
        let (socket, address) = crate::net::upstream_socket(address)?;
        let stream = Stream::adopt(&core, socket.into(), Side::Upstream)?;
        stream.set_deadline(deadline);
        stream.conn.tx.borrow_mut().connecting = true;
        driver::connect(&core, &stream.conn, address);
        poll_fn(|cx| stream.poll_connected(cx)).await?;
        Ok(stream)
    }

    fn poll_connected(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut tx = self.conn.tx.borrow_mut();
        if self.conn.timed_out.get() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if tx.connecting {
            tx.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match std::mem::take(&mut tx.error) {
            0 => Poll::Ready(Ok(())),
            error => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
        }
    }

    /// The next bytes that arrived. An empty lease ([`Lease::is_end`]) is the peer's FIN, as often as it is asked.
    /// `TimedOut` once the deadline has passed and nothing is left to take.
    pub async fn recv(&self) -> io::Result<Lease> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`Stream::recv`].
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        if let Some(ready) = self.take_received() {
            return Poll::Ready(ready);
        }
        if self.arm()
            && let Some(ready) = self.take_received()
        {
            return Poll::Ready(ready);
        }
        self.conn.rx.borrow_mut().wait(cx);
        Poll::Pending
    }

    /// Ready when the peer has reset the connection (or another error ended it), whatever bytes wait before that.
    /// A FIN is no reason.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.arm();
        let mut rx = self.conn.rx.borrow_mut();
        if rx.error != 0 {
            return Poll::Ready(());
        }
        rx.wait(cx);
        Poll::Pending
    }

    fn take_received(&self) -> Option<io::Result<Lease>> {
        let mut rx = self.conn.rx.borrow_mut();
        if let Some(lease) = rx.take() {
            return Some(Ok(lease));
        }
        if rx.error != 0 {
            return Some(Err(io::Error::from_raw_os_error(rx.error)));
        }
        if rx.end {
            return Some(Ok(Lease::copy_of(b"")));
        }
        self.conn.timed_out.get().then(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Asks the driver to deliver what arrives. Whether something may have been delivered at once.
    fn arm(&self) -> bool {
        if !self.conn.rx.borrow().may_arm(self.core.region(self.conn.side)) {
            return false;
        }
        driver::arm(&self.core, &self.conn);
        true
    }

    /// Begins to receive before anyone asks, so that a FIN or stray bytes on an idle connection are noticed.
    pub fn watch(&self) {
        self.arm();
    }

    /// Bytes of a buffer it receives into: a lease as long was cut there, most likely with more to come.
    pub fn buffer_size(&self) -> usize {
        self.core.region(self.conn.side).size() as usize
    }

    /// Stops receiving, for a [`crate::Splice`]. What arrives before the driver has stopped is received as ever.
    pub fn stop_receiving(&self) {
        self.conn.rx.borrow_mut().stopped = true;
        driver::disarm(&self.core, &self.conn);
    }

    /// Nothing more will be received, and nothing waits to be taken.
    pub fn has_stopped(&self) -> bool {
        let rx = self.conn.rx.borrow();
        rx.stopped && !rx.armed && rx.queued() == 0 && !rx.end && rx.error == 0
    }

    /// Receives again.
    pub fn resume_receiving(&self) {
        self.conn.rx.borrow_mut().stopped = false;
    }

    /// Nothing has arrived, and neither has an end: an idle connection that may be used again.
    pub fn is_quiet(&self) -> bool {
        let rx = self.conn.rx.borrow();
        rx.queued() == 0 && !rx.end && rx.error == 0 && self.conn.tx.borrow().error == 0
    }

    /// Whether the peer's FIN has arrived, bytes before it taken or not.
    pub fn has_ended(&self) -> bool {
        self.conn.rx.borrow().end
    }

    /// Whether bytes wait to be taken.
    pub fn has_received(&self) -> bool {
        self.conn.rx.borrow().queued() > 0
    }

    /// Starts to send; returns at once. Lists sent one after another arrive in order. An error shows in
    /// [`Stream::flushed`], and soon in [`Stream::recv`] too.
    pub fn send(&self, list: impl Into<SendList>) {
        let mut list = list.into();
        if list.is_empty() {
            return;
        }
        list.gather();
        let mut tx = self.conn.tx.borrow_mut();
        if tx.error != 0 {
            return;
        }
        if let Some(op) = &mut tx.op {
            op.more.append(list);
            return;
        }
        let mut op = self.core.spare_ops.borrow_mut().pop().unwrap_or_else(SendOp::new);
        op.list = list;
        tx.op = Some(op);
        drop(tx);
        driver::send(&self.core, &self.conn);
    }

    /// Waits until the kernel has taken everything sent so far.
    pub async fn flushed(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flushed(cx)).await
    }

    /// Waits until no more than `bytes` are left to be taken by the kernel.
    pub async fn flushed_to(&self, bytes: usize) -> io::Result<()> {
        poll_fn(|cx| self.poll_flushed_to(cx, bytes)).await
    }

    /// See [`Stream::flushed`].
    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed_to(cx, 0)
    }

    /// See [`Stream::flushed_to`].
    pub fn poll_flushed_to(&self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        let mut tx = self.conn.tx.borrow_mut();
        if tx.error == 0 && tx.unsent() <= bytes {
            return Poll::Ready(Ok(()));
        }
        if self.conn.timed_out.get() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if tx.error != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(tx.error)));
        }
        tx.waker = Some(cx.waker().clone());
        tx.low = bytes;
        Poll::Pending
    }

    /// Bytes the kernel has taken, ever: tells a slow peer from a stalled one.
    pub fn sent(&self) -> u64 {
        self.conn.tx.borrow().sent
    }

    /// Bytes not yet taken by the kernel.
    pub fn unsent(&self) -> usize {
        self.conn.tx.borrow().unsent()
    }

    /// Whether more than `bytes` bytes or `runs` runs are not yet taken by the kernel. Runs cost memory too, and may be
    /// of one byte each.
    #[inline]
    pub fn is_behind(&self, bytes: usize, runs: usize) -> bool {
        let tx = self.conn.tx.borrow();
        tx.op
            .as_ref()
            .is_some_and(|op| op.list.len() - op.done + op.more.len() > bytes || op.runs_left() > runs)
    }

    /// Sets the one deadline anew; [`Nanos::NEVER`] unsets it. Costs a store when it moves later.
    #[inline]
    pub fn set_deadline(&self, deadline: Nanos) {
        self.conn.timed_out.set(false);
        self.core.wheel.borrow_mut().set(self.conn.timer, deadline);
    }

    /// Sends FIN after what the kernel has taken; what is not [`flushed`](Stream::flushed) yet is cut off.
    pub fn shutdown_write(&self) {
        sys::shutdown(self.conn.fd, libc::SHUT_WR);
    }

    /// Makes the close a reset (RST): the peer must not take what it got for whole.
    pub fn reset_on_close(&self) {
        let socket = socket2::SockRef::from(self);
        let _ = socket.set_linger(Some(std::time::Duration::ZERO));
    }

    /// A buffer to write a head into.
    pub fn draft(&self) -> Draft {
        self.core.draft()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> io::Result<Address> {
        address_of(&socket2::SockRef::from(self).peer_addr()?)
    }

    /// Our own end.
    pub fn local(&self) -> io::Result<Address> {
        address_of(&socket2::SockRef::from(self).local_addr()?)
    }
}

pub(crate) fn address_of(address: &socket2::SockAddr) -> io::Result<Address> {
    match address.as_socket() {
        Some(ip) => Ok(Address::Ip(ip)),
        None => Ok(Address::Unix(address.as_pathname().map(PathBuf::from).unwrap_or_default())),
    }
}

impl std::os::fd::AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the connection keeps its descriptor open until after the stream is dropped, and the borrow ends
        // before that.
        unsafe { BorrowedFd::borrow_raw(self.conn.fd) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conn.dropped.set(true);
        {
            let mut rx = self.conn.rx.borrow_mut();
            rx.first = None;
            rx.rest = VecDeque::new();
            rx.waker = None;
        }
        self.conn.tx.borrow_mut().waker = None;
        driver::close(&self.core, &self.conn);
    }
}
