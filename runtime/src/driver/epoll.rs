//! epoll: edges are remembered, reads and writes are tried at once.
//!
//! For hosts where io_uring is missing or blocked. A connection is registered once, edge-triggered; an armed
//! connection is read when an edge says so, a bounded number of buffers at a time; reading goes on when the reader
//! has taken what it was given.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use super::{Driver, kind};
use crate::conn::{Conn, retire};
use crate::listener::Listening;
use crate::sys::{self, EventFd, check};
use crate::turn::Core;
use crate::udp::Watched;

const EVENTS: usize = 1024;
/// Buffers read from one connection before others have their turn.
const READS_MAX: usize = 4;

pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// Connections that had their reads in this turn and are asked for more: in the next one.
    again: Vec<Rc<Conn>>,
}

const EDGE: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
const ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const ONCE: u32 = (libc::EPOLLIN | libc::EPOLLONESHOT) as u32;

impl Epoll {
    pub fn open(bell: &EventFd) -> io::Result<Epoll> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut epoll = Epoll { fd, events: Vec::with_capacity(EVENTS), again: Vec::new() };
        epoll.control(libc::EPOLL_CTL_ADD, bell.as_raw_fd(), libc::EPOLLIN as u32, kind::BELL)?;
        Ok(epoll)
    }

    fn control(&mut self, what: libc::c_int, fd: RawFd, events: u32, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: number };
        // SAFETY: `event` is a valid epoll_event for the length of the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd, &raw mut event) }).map(drop)
    }

    pub fn register(&mut self, conn: &Conn) -> io::Result<()> {
        let number = kind::RECV | u64::from(conn.place.get());
        self.control(libc::EPOLL_CTL_ADD, conn.fd, EDGE, number)
    }

    pub fn arm(&mut self, core: &Core, conn: &Rc<Conn>) {
        conn.rx.borrow_mut().armed = true;
        if !conn.readable.get() {
            return;
        }
        // A reader that is as quick as its peer would never let its task end otherwise.
        if conn.read_in.get() == core.turn() {
            self.again.push(conn.clone());
        } else {
            read(core, conn);
        }
    }

    pub fn await_readable(&mut self, conn: &Rc<Conn>) {
        // Else an edge will wake.
        if conn.readable.get() && !std::mem::replace(&mut conn.rx.borrow_mut().watched, true) {
            self.again.push(conn.clone());
        }
    }

    pub fn send(&mut self, core: &Core, conn: &Rc<Conn>) {
        write(core, conn);
    }

    pub fn connect(&mut self, conn: &Conn, address: &socket2::SockAddr) {
        match socket2::SockRef::from(&Borrowed(conn)).connect(address) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            result => {
                let mut tx = conn.tx.borrow_mut();
                tx.connecting = false;
                tx.error = result.err().and_then(|e| e.raw_os_error()).unwrap_or(0);
            }
        }
    }

    pub fn close(&mut self, core: &Core, conn: &Rc<Conn>) {
        {
            let mut rx = conn.rx.borrow_mut();
            rx.armed = false;
            rx.watched = false;
        }
        let mut tx = conn.tx.borrow_mut();
        tx.connecting = false;
        if let Some(op) = tx.op.take() {
            core.recycle(op);
        }
        drop(tx);
        drop(retire(core, conn));
    }

    pub fn arm_accept(&mut self, listening: &Listening) {
        let number = kind::ACCEPT | u64::from(listening.place);
        let what = if listening.known.replace(true) { libc::EPOLL_CTL_MOD } else { libc::EPOLL_CTL_ADD };
        match self.control(what, listening.fd(), ONCE, number) {
            Ok(()) => listening.armed.set(true),
            Err(error) => listening.fail(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    pub fn pause_accept(&mut self, listening: &Listening) {
        if listening.armed.replace(false) {
            // Fails only for a descriptor that is not registered, and an armed one is.
            let _ = self.control(libc::EPOLL_CTL_MOD, listening.fd(), 0, 0);
        }
    }
}

impl Epoll {
    pub fn watch(&mut self, watched: &Watched) {
        let number = kind::READY | u64::from(watched.place);
        let what = if watched.known.replace(true) { libc::EPOLL_CTL_MOD } else { libc::EPOLL_CTL_ADD };
        // Fails only where the kernel has no memory for it; the socket is then silent.
        let _ = self.control(what, watched.fd(), ONCE, number);
    }

    pub fn unwatch(&mut self, watched: &Watched) {
        watched.armed.set(false);
        let _ = self.control(libc::EPOLL_CTL_DEL, watched.fd(), 0, 0);
    }
}

/// See [`super::turn`].
pub(crate) fn turn(core: &Core, at_most: Option<Duration>, never_late: bool) -> io::Result<()> {
    let (mut events, mut again) = {
        let mut driver = core.driver.borrow_mut();
        let Driver::Epoll(epoll) = &mut *driver else { return Ok(()) };
        let at_most = if epoll.again.is_empty() { at_most } else { Some(Duration::ZERO) };
        wait(epoll, at_most, never_late)?;
        (std::mem::take(&mut epoll.events), std::mem::take(&mut epoll.again))
    };
    core.turn_begins();
    for conn in again.drain(..).filter(|conn| !conn.dropped.get()) {
        conn.rx.borrow_mut().watched = false;
        read(core, &conn);
        conn.rx.borrow_mut().wake();
    }
    for event in &events {
        let (number, events) = (event.u64, event.events);
        happened(core, number, events);
    }
    events.clear();
    if let Driver::Epoll(epoll) = &mut *core.driver.borrow_mut() {
        epoll.events = events;
        again.append(&mut epoll.again);
        epoll.again = again;
    }
    Ok(())
}

fn wait(epoll: &mut Epoll, at_most: Option<Duration>, never_late: bool) -> io::Result<()> {
    let room = epoll.events.spare_capacity_mut();
    let (at, max) = (room.as_mut_ptr().cast(), room.len() as libc::c_int);
    let n = match sys::epoll_wait(epoll.fd.as_raw_fd(), at, max, at_most, never_late) {
        Ok(n) => n as usize,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        Err(error) => return Err(error),
    };
    // SAFETY: the kernel wrote the first `n` events.
    unsafe { epoll.events.set_len(n) };
    Ok(())
}

fn happened(core: &Core, number: u64, events: u32) {
    let place = number as u32;
    match number & kind::OF {
        kind::RECV => {
            let Some(conn) = core.conns.borrow().get(place).cloned() else { return };
            if events & (libc::EPOLLOUT as u32 | ENDED) != 0 {
                writable(core, &conn);
            }
            if events & (libc::EPOLLIN as u32 | ENDED) != 0 {
                conn.readable.set(true);
                conn.rx.borrow_mut().hung_up |= events & ENDED != 0;
                read(core, &conn);
                conn.rx.borrow_mut().wake();
            }
        }
        kind::ACCEPT => {
            let Some(listening) = core.listeners.borrow().get(place).cloned() else { return };
            listening.armed.set(false);
            listening.accept_some(core);
        }
        kind::READY => {
            let watched = core.watched.borrow().get(place).cloned();
            if let Some(watched) = watched {
                watched.tell(core);
            }
        }
        kind::BELL => core.remote.drain(&mut core.tasks.borrow_mut()),
        _ => {}
    }
}

fn writable(core: &Core, conn: &Rc<Conn>) {
    let connecting = conn.tx.borrow().connecting;
    if connecting {
        let error = socket2::SockRef::from(&Borrowed(conn)).take_error();
        let mut tx = conn.tx.borrow_mut();
        tx.connecting = false;
        tx.error = match error {
            Ok(error) => error.and_then(|e| e.raw_os_error()).unwrap_or(0),
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        };
        tx.wake();
        return;
    }
    write(core, conn);
}

/// Reads into free buffers until nothing is left, the queue is long or others should have their turn.
fn read(core: &Core, conn: &Rc<Conn>) {
    if !conn.rx.borrow().armed {
        return;
    }
    let region = &core.regions[conn.side as usize];
    conn.read_in.set(core.turn());
    for _ in 0..READS_MAX {
        let mut rx = conn.rx.borrow_mut();
        if !rx.armed {
            return;
        }
        if rx.is_full(region) {
            rx.armed = false;
            return;
        }
        let Some(id) = region.take() else {
            rx.armed = false;
            core.starve(conn, &mut rx);
            return;
        };
        let result = sys::recv_into(conn.fd, region.address(id), region.size() as usize);
        match result {
            Ok(n) if n > 0 => {
                rx.deliver(region.lease(id, n as u32), region);
                if n < region.size() as usize && !rx.hung_up {
                    conn.readable.set(false);
                    return;
                }
            }
            other => {
                region.put_back(id);
                match other {
                    Ok(_) => rx.end = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        conn.readable.set(false);
                        return;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => rx.error = error.raw_os_error().unwrap_or(libc::EIO),
                }
                rx.armed = false;
                return;
            }
        }
    }
    // More may wait: the reader's next receive goes on.
    conn.rx.borrow_mut().armed = false;
}

fn write(core: &Core, conn: &Rc<Conn>) {
    let mut tx = conn.tx.borrow_mut();
    while let Some(op) = &mut tx.op {
        op.prepare();
        match sys::send_message(conn.fd, &op.message) {
            Ok(n) => {
                let more = op.advance(n);
                tx.sent += n as u64;
                if more {
                    continue;
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    tx.wake_if_low();
                    return;
                }
                io::ErrorKind::Interrupted => continue,
                _ => tx.error = error.raw_os_error().unwrap_or(libc::EIO),
            },
        }
        if let Some(op) = tx.op.take() {
            core.recycle(op);
        }
    }
    tx.wake();
}

/// A connection's descriptor for the length of a call.
struct Borrowed<'a>(&'a Conn);

impl std::os::fd::AsFd for Borrowed<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the connection keeps its descriptor open while it is in its place, and the borrow is shorter.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0.fd) }
    }
}
