//! The two ways to talk to the kernel, and how one is chosen.
//!
//! Both keep the same promises to [`crate::conn`]: `arm` delivers what arrives until paused, ended or starved; `send`
//! runs the connection's one send operation to its end; `await_readable` and
//! `await_writable` tell a splice when to go on; `close` lets nothing in flight be freed under the kernel.

mod epoll;
mod uring;

use std::io;
use std::rc::Rc;

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::listener::Listening;
use crate::sys::EventFd;
use crate::turn::Core;
use crate::udp::Watched;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// io_uring if its self-test passes, with as many of its flags as the kernel takes; else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// `io_uring (defer_taskrun)`, `io_uring (coop_taskrun)` or `epoll`.
    pub driver: &'static str,
    /// Why io_uring was passed over, if it was.
    pub refused: Option<String>,
}

pub(crate) enum Driver {
    Uring(Box<uring::Uring>),
    Epoll(Box<epoll::Epoll>),
}

/// Climbs down the ladder: io_uring with deferred task work, io_uring with cooperative task work, epoll.
pub(crate) fn open(
    choice: Choice,
    bell: &EventFd,
    regions: &[Rc<crate::buffers::Region>; 2],
) -> io::Result<(Driver, Picked)> {
    let mut refused = None;
    if choice != Choice::Epoll {
        for flags in [uring::Flags::DeferTaskrun, uring::Flags::CoopTaskrun] {
            match uring::Uring::open(flags, bell, regions) {
                Ok(ring) => {
                    let picked = Picked { driver: flags.name(), refused: None };
                    return Ok((Driver::Uring(Box::new(ring)), picked));
                }
                Err(error) => refused = Some(format!("{}: {error}", flags.name())),
            }
        }
        if choice == Choice::IoUring {
            let why = refused.unwrap_or_default();
            return Err(io::Error::other(format!("io_uring was asked for but does not work here: {why}")));
        }
    }
    let epoll = epoll::Epoll::open(bell)?;
    Ok((Driver::Epoll(Box::new(epoll)), Picked { driver: "epoll", refused }))
}

impl Driver {
    pub fn register(&mut self, conn: &Conn) -> io::Result<()> {
        match self {
            Driver::Uring(_) => Ok(()),
            Driver::Epoll(epoll) => epoll.register(conn),
        }
    }

    /// Buffers of each pool that are the kernel's to fill.
    pub fn provided(&self) -> [usize; 2] {
        match self {
            Driver::Uring(ring) => ring.provided(),
            Driver::Epoll(_) => [0, 0],
        }
    }
}

/// Delivers what arrives on `conn` from now on. The epoll driver may deliver at once.
pub(crate) fn arm(core: &Core, conn: &Rc<Conn>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.arm(conn),
        Driver::Epoll(epoll) => epoll.arm(core, conn),
    }
}

/// Delivers no more; what `conn` is armed for falls when that is done.
pub(crate) fn disarm(core: &Core, conn: &Rc<Conn>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.disarm(conn),
        Driver::Epoll(_) => conn.rx.borrow_mut().armed = false,
    }
}

/// Wakes who waits to receive, once, when there is something to read; where there is already, in the next turn.
pub(crate) fn await_readable(core: &Core, conn: &Rc<Conn>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.await_readable(conn),
        Driver::Epoll(epoll) => epoll.await_readable(conn),
    }
}

/// Wakes who waits to send, once, when `conn` takes more again.
pub(crate) fn await_writable(core: &Core, conn: &Rc<Conn>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.await_writable(conn),
        // Each edge wakes.
        Driver::Epoll(_) => {}
    }
}

/// Runs the send operation that `conn` holds.
pub(crate) fn send(core: &Core, conn: &Rc<Conn>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.send(conn),
        Driver::Epoll(epoll) => epoll.send(core, conn),
    }
}

/// Connects `conn`'s socket.
pub(crate) fn connect(core: &Core, conn: &Rc<Conn>, address: socket2::SockAddr) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.connect(conn, address),
        Driver::Epoll(epoll) => epoll.connect(conn, &address),
    }
}

/// The stream is gone: ends what is in flight, then closes the descriptor.
pub(crate) fn close(core: &Core, conn: &Rc<Conn>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.close(core, conn),
        Driver::Epoll(epoll) => epoll.close(core, conn),
    }
}

/// Accepts on `listening` until paused.
pub(crate) fn arm_accept(core: &Core, listening: &Rc<Listening>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.arm_accept(listening),
        Driver::Epoll(epoll) => epoll.arm_accept(listening),
    }
}

/// Stops accepting; `listening.armed` falls when that is done.
pub(crate) fn pause_accept(core: &Core, listening: &Rc<Listening>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.pause_accept(listening),
        Driver::Epoll(epoll) => epoll.pause_accept(listening),
    }
}

/// Says once when something has come to a socket for datagrams.
pub(crate) fn watch(core: &Core, watched: &Rc<Watched>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.watch(watched),
        Driver::Epoll(epoll) => epoll.watch(watched),
    }
}

/// Stops watching; `watched.armed` falls when that is done.
pub(crate) fn unwatch(core: &Core, watched: &Rc<Watched>) {
    match &mut *core.driver.borrow_mut() {
        Driver::Uring(ring) => ring.unwatch(watched),
        Driver::Epoll(epoll) => epoll.unwatch(watched),
    }
}

/// Hands what was asked for to the kernel, waits until something happened or from `now` to `until` (where that is not
/// later: does not wait), and brings what happened to connections and listeners. With `never_late`, a wait that can't
/// be exact rather ends too early.
pub(crate) fn turn(core: &Core, now: Nanos, until: Option<Nanos>, never_late: bool) -> io::Result<()> {
    let wait = until.map(|until| until.since(now));
    let uring = matches!(&*core.driver.borrow(), Driver::Uring(_));
    if uring { uring::turn(core, wait) } else { epoll::turn(core, wait, never_late) }
}

/// Operation kinds in the upper half of an operation's number; the place is in the lower.
pub(crate) mod kind {
    pub const IGNORED: u64 = 0;
    pub const RECV: u64 = 1 << 32;
    pub const SEND: u64 = 2 << 32;
    pub const CONNECT: u64 = 3 << 32;
    pub const ACCEPT: u64 = 4 << 32;
    pub const BELL: u64 = 5 << 32;
    pub const CANCEL: u64 = 6 << 32;
    pub const CANCEL_ACCEPT: u64 = 7 << 32;
    pub const READY: u64 = 8 << 32;
    pub const CANCEL_READY: u64 = 9 << 32;
    pub const READABLE: u64 = 10 << 32;
    pub const WRITABLE: u64 = 11 << 32;
    pub const OF: u64 = !0 << 32;
}
