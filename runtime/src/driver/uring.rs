//! io_uring: accepts and receives stay armed, buffers are the kernel's to pick, one enter a turn.
//!
//! Needs Linux 6.0 for multishot receives into a ring of provided buffers (6.1 for deferred task work). Each of the
//! two pools keeps up to [`Group::PROVIDED_MAX`] buffers in its ring, refilled each turn from the pool's stack, so
//! that a quiet worker touches the same few pages again.
//!
//! Invariant: what the kernel may write or read is alive until its completion: provided buffers belong to the
//! region, which outlives the ring; a send's lists and vectors are in its connection's boxed operation; a connect's
//! address is kept in `connects` until it completes.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{self, BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::{Driver, kind};
use crate::buffers::Region;
use crate::conn::{Conn, retire};
use crate::gauges::Gauges;
use crate::listener::Listening;
use crate::sys::EventFd;
use crate::turn::Core;
use crate::udp::Watched;

const ENTRIES: u32 = 1024;
const COMPLETIONS: u32 = 8192;
/// The buffer group of the self-test; the two pools are 0 and 1.
const TRIAL: u16 = 2;

/// Rungs of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    DeferTaskrun,
    CoopTaskrun,
}

impl Flags {
    pub fn name(self) -> &'static str {
        match self {
            Flags::DeferTaskrun => "io_uring (defer_taskrun)",
            Flags::CoopTaskrun => "io_uring (coop_taskrun)",
        }
    }
}

pub(crate) struct Uring {
    ring: IoUring,
    groups: [Group; 2],
    /// Addresses of connects under way, by place.
    connects: HashMap<u32, Box<socket2::SockAddr>>,
    completed: Vec<(u64, i32, u32)>,
    /// Whether completions are run only when asked for.
    deferred: bool,
}

impl Uring {
    /// Makes a ring and tries it: a receive into a provided buffer and a wake must come back.
    pub fn open(flags: Flags, bell: &EventFd, regions: &[Rc<Region>; 2]) -> io::Result<Uring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETIONS).setup_clamp().setup_submit_all();
        match flags {
            Flags::DeferTaskrun => builder.setup_single_issuer().setup_defer_taskrun(),
            Flags::CoopTaskrun => builder.setup_coop_taskrun(),
        };
        let ring = builder.build(ENTRIES)?;
        let groups = [Group::register(&ring, 0, &regions[0])?, Group::register(&ring, 1, &regions[1])?];
        let mut uring = Uring {
            ring,
            groups,
            connects: HashMap::new(),
            completed: Vec::with_capacity(COMPLETIONS as usize),
            deferred: flags == Flags::DeferTaskrun,
        };
        uring.self_test()?;
        uring.watch_bell(bell);
        Ok(uring)
    }

    #[expect(clippy::disallowed_methods, reason = "the kernel is the owner that cannot be named")]
    fn self_test(&mut self) -> io::Result<()> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        io::Write::write_all(&mut &theirs, b"ping")?;
        drop(theirs);
        // Buffers of its own: what a failed test leaves with the kernel is never anybody's again.
        let region = Region::pool(64, 4);
        std::mem::forget(region.clone());
        let mut group = Group::register(&self.ring, TRIAL, &region)?;
        group.refill();
        self.push(opcode::RecvMulti::new(Fd(ours.as_raw_fd()), TRIAL).build());
        let mut answers = Vec::new();
        for _ in 0..8 {
            self.enter(Some(Duration::from_secs(1)))?;
            answers.append(&mut self.completed);
            if answers.len() >= 2 {
                break;
            }
        }
        self.ring.submitter().unregister_buf_ring(TRIAL)?;
        match answers.iter().map(|a| a.1).collect::<Vec<_>>()[..] {
            [4, 0] => Ok(()),
            ref other => Err(io::Error::other(format!("its self-test came to {other:?}"))),
        }
    }

    fn watch_bell(&mut self, bell: &EventFd) {
        let poll = opcode::PollAdd::new(Fd(bell.as_raw_fd()), libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(kind::BELL));
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: whatever the entry points at is kept until its completion (see the module's invariant).
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it over and go on. An error here (EBUSY: too many completions wait) passes
            // once they are taken, at the latest in the next turn.
            if self.ring.submit().is_err() {
                self.collect();
            }
        }
    }

    pub fn arm(&mut self, conn: &Conn) {
        conn.rx.borrow_mut().armed = true;
        let recv = opcode::RecvMulti::new(Fd(conn.fd), conn.side as u16);
        self.push(recv.build().user_data(kind::RECV | u64::from(conn.place.get())));
    }

    fn pause(&mut self, conn: &Conn) {
        conn.rx.borrow_mut().pausing = true;
        self.cancel(kind::RECV, kind::CANCEL, conn.place.get());
    }

    pub fn disarm(&mut self, conn: &Conn) {
        let rx = conn.rx.borrow();
        let stops = rx.armed && !rx.pausing;
        drop(rx);
        if stops {
            self.pause(conn);
        }
    }

    pub fn await_readable(&mut self, conn: &Conn) {
        if !std::mem::replace(&mut conn.rx.borrow_mut().watched, true) {
            self.await_ready(conn, libc::POLLIN, kind::READABLE);
        }
    }

    pub fn await_writable(&mut self, conn: &Conn) {
        if !std::mem::replace(&mut conn.tx.borrow_mut().watched, true) {
            self.await_ready(conn, libc::POLLOUT, kind::WRITABLE);
        }
    }

    fn await_ready(&mut self, conn: &Conn, events: libc::c_short, what: u64) {
        let poll = opcode::PollAdd::new(Fd(conn.fd), events as u32).build();
        self.push(poll.user_data(what | u64::from(conn.place.get())));
    }

    fn cancel(&mut self, what: u64, as_what: u64, place: u32) {
        let place = u64::from(place);
        let cancel = opcode::AsyncCancel::new(what | place).build().user_data(as_what | place);
        self.push(cancel.flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// A cancel found nothing. Mostly the operation had just ended; but one that the kernel is about to try again is
    /// out of its sight for a moment, and would otherwise go on.
    fn cancel_again(&mut self, conn: &Conn) {
        let (rx, tx) = (conn.rx.borrow(), conn.tx.borrow());
        let place = conn.place.get();
        if rx.armed && rx.pausing {
            self.cancel(kind::RECV, kind::CANCEL, place);
        }
        if conn.dropped.get() && tx.op.is_some() {
            self.cancel(kind::SEND, kind::CANCEL, place);
        }
        if conn.dropped.get() && tx.connecting {
            self.cancel(kind::CONNECT, kind::CANCEL, place);
        }
        if conn.dropped.get() && rx.watched {
            self.cancel(kind::READABLE, kind::CANCEL, place);
        }
        if conn.dropped.get() && tx.watched {
            self.cancel(kind::WRITABLE, kind::CANCEL, place);
        }
    }

    pub fn send(&mut self, conn: &Conn) {
        let mut tx = conn.tx.borrow_mut();
        let Some(op) = &mut tx.op else { return };
        let flags = libc::MSG_NOSIGNAL;
        let entry = if op.prepare() == 1 {
            let run = op.iov[0];
            let len = run.iov_len.min(1 << 30) as u32;
            opcode::Send::new(Fd(conn.fd), run.iov_base.cast(), len).flags(flags).build()
        } else {
            opcode::SendMsg::new(Fd(conn.fd), &raw const op.message).flags(flags as u32).build()
        };
        drop(tx);
        self.push(entry.user_data(kind::SEND | u64::from(conn.place.get())));
    }

    pub fn connect(&mut self, conn: &Conn, address: socket2::SockAddr) {
        let place = conn.place.get();
        let address = Box::new(address);
        let entry = opcode::Connect::new(Fd(conn.fd), address.as_ptr().cast(), address.len()).build();
        self.connects.insert(place, address);
        self.push(entry.user_data(kind::CONNECT | u64::from(place)));
    }

    pub fn close(&mut self, core: &Core, conn: &Rc<Conn>) {
        let (sending, connecting, awaiting) = {
            let tx = conn.tx.borrow();
            (tx.op.is_some(), tx.connecting, tx.watched)
        };
        // No shutdown(2): it would send a FIN before a close that is meant as a reset.
        if sending {
            self.cancel(kind::SEND, kind::CANCEL, conn.place.get());
        }
        if connecting {
            self.cancel(kind::CONNECT, kind::CANCEL, conn.place.get());
        }
        if awaiting {
            self.cancel(kind::WRITABLE, kind::CANCEL, conn.place.get());
        }
        if conn.rx.borrow().watched {
            self.cancel(kind::READABLE, kind::CANCEL, conn.place.get());
        }
        self.disarm(conn);
        self.retire(core, conn);
    }

    fn retire(&mut self, core: &Core, conn: &Rc<Conn>) {
        if let Some(fd) = retire(core, conn) {
            self.close_fd(fd);
        }
    }

    fn close_fd(&mut self, fd: OwnedFd) {
        let close = opcode::Close::new(Fd(fd.into_raw_fd())).build().user_data(kind::IGNORED);
        self.push(close.flags(squeue::Flags::SKIP_SUCCESS));
    }

    pub fn arm_accept(&mut self, listening: &Listening) {
        listening.armed.set(true);
        listening.stopping.set(false);
        let (fd, flags, nowhere) = (Fd(listening.fd()), libc::SOCK_CLOEXEC, std::ptr::null_mut());
        let accept = match listening.singly.get() {
            true => opcode::Accept::new(fd, nowhere, std::ptr::null_mut()).flags(flags).build(),
            false => opcode::AcceptMulti::new(fd).flags(flags).build(),
        };
        self.push(accept.user_data(kind::ACCEPT | u64::from(listening.place)));
    }

    pub fn pause_accept(&mut self, listening: &Listening) {
        if listening.armed.get() && !listening.stopping.replace(true) {
            self.cancel(kind::ACCEPT, kind::CANCEL_ACCEPT, listening.place);
        }
    }

    pub fn watch(&mut self, watched: &Watched) {
        let poll = opcode::PollAdd::new(Fd(watched.fd()), libc::POLLIN as u32).build();
        self.push(poll.user_data(kind::READY | u64::from(watched.place)));
    }

    pub fn unwatch(&mut self, watched: &Watched) {
        self.cancel(kind::READY, kind::CANCEL_READY, watched.place);
    }

    /// One `io_uring_enter`: submits, waits for a completion (`None`: for ever), collects.
    fn enter(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        let result = match at_most {
            // Collected already, when the submission queue was full: nothing new need come to end the wait.
            _ if !self.completed.is_empty() => self.submit_without_waiting(),
            Some(Duration::ZERO) => self.submit_without_waiting(),
            None => self.ring.submit_and_wait(1).map(drop),
            Some(wait) => {
                let wait = types::Timespec::from(wait);
                let args = types::SubmitArgs::new().timespec(&wait);
                self.ring.submitter().submit_with_args(1, &args).map(drop)
            }
        };
        match result {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(error) => return Err(error),
        }
        self.collect();
        Ok(())
    }

    fn submit_without_waiting(&mut self) -> io::Result<()> {
        let (pending, overflown) = {
            let mut queue = self.ring.submission();
            queue.sync();
            (queue.len() as u32, queue.cq_overflow())
        };
        if pending == 0 && !self.deferred && !overflown {
            return Ok(());
        }
        let get_events = 1; // IORING_ENTER_GETEVENTS: deferred completions run here
        // SAFETY: no argument is passed; what the submitted entries point at is kept alive (module invariant).
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(pending, 0, get_events, None) }.map(drop)
    }

    fn collect(&mut self) {
        for entry in self.ring.completion() {
            self.completed.push((entry.user_data(), entry.result(), entry.flags()));
        }
    }
}

impl Drop for Uring {
    /// Closes may still wait to be handed over.
    fn drop(&mut self) {
        let _ = self.ring.submit();
    }
}

/// See [`super::turn`].
pub(crate) fn turn(core: &Core, at_most: Option<Duration>) -> io::Result<()> {
    let mut completed = {
        let mut driver = core.driver.borrow_mut();
        let Driver::Uring(ring) = &mut *driver else { return Ok(()) };
        ring.groups[0].refill();
        ring.groups[1].refill();
        ring.enter(at_most)?;
        std::mem::take(&mut ring.completed)
    };
    core.turn_begins();
    for &(number, result, flags) in &completed {
        complete(core, number, result, flags);
    }
    completed.clear();
    let mut driver = core.driver.borrow_mut();
    let Driver::Uring(ring) = &mut *driver else { return Ok(()) };
    completed.append(&mut ring.completed);
    ring.completed = completed;
    Ok(())
}

impl Uring {
    pub fn provided(&self) -> [usize; 2] {
        [usize::from(self.groups[0].provided), usize::from(self.groups[1].provided)]
    }
}

fn complete(core: &Core, number: u64, result: i32, flags: u32) {
    let place = number as u32;
    let conn = || core.conns.borrow().get(place).cloned();
    match number & kind::OF {
        kind::RECV => {
            if let Some(conn) = conn() {
                received(core, &conn, result, flags);
            }
        }
        kind::SEND => {
            if let Some(conn) = conn() {
                sent(core, &conn, result);
            }
        }
        kind::READABLE => {
            if let Some(conn) = conn() {
                conn.readable.set(true);
                let mut rx = conn.rx.borrow_mut();
                rx.watched = false;
                rx.wake();
                drop(rx);
                retire_at(core, &conn);
            }
        }
        kind::WRITABLE => {
            if let Some(conn) = conn() {
                let mut tx = conn.tx.borrow_mut();
                tx.watched = false;
                tx.wake();
                drop(tx);
                retire_at(core, &conn);
            }
        }
        kind::CONNECT => {
            if let Some(conn) = conn() {
                connected(core, &conn, result);
            }
        }
        kind::CANCEL if result == -libc::ENOENT => {
            if let (Some(conn), Driver::Uring(ring)) = (conn(), &mut *core.driver.borrow_mut()) {
                ring.cancel_again(&conn);
            }
        }
        kind::ACCEPT => {
            let listening = core.listeners.borrow().get(place).cloned();
            if let Some(listening) = listening {
                listening.accepted(core, result, cqueue::more(flags));
                listening.retire(core);
            }
        }
        kind::CANCEL_ACCEPT if result == -libc::ENOENT => {
            let listening = core.listeners.borrow().get(place).cloned();
            if let (Some(listening), Driver::Uring(ring)) = (listening, &mut *core.driver.borrow_mut())
                && listening.armed.get()
                && listening.stopping.replace(false)
            {
                ring.pause_accept(&listening);
            }
        }
        kind::READY => {
            let watched = core.watched.borrow().get(place).cloned();
            if let Some(watched) = watched {
                watched.tell(core);
            }
        }
        kind::CANCEL_READY if result == -libc::ENOENT => {
            let watched = core.watched.borrow().get(place).cloned();
            if let (Some(watched), Driver::Uring(ring)) = (watched, &mut *core.driver.borrow_mut())
                && watched.armed.get()
            {
                ring.unwatch(&watched);
            }
        }
        kind::BELL => {
            core.remote.drain(&mut core.tasks.borrow_mut());
            if !cqueue::more(flags)
                && let Driver::Uring(ring) = &mut *core.driver.borrow_mut()
            {
                ring.watch_bell(core.remote.event());
            }
        }
        _ => {}
    }
}

fn retire_at(core: &Core, conn: &Rc<Conn>) {
    if let Driver::Uring(ring) = &mut *core.driver.borrow_mut() {
        ring.retire(core, conn);
    }
}

fn received(core: &Core, conn: &Rc<Conn>, result: i32, flags: u32) {
    let mut driver = core.driver.borrow_mut();
    let Driver::Uring(ring) = &mut *driver else { return };
    let group = &mut ring.groups[conn.side as usize];
    let lease = cqueue::buffer_select(flags).map(|id| {
        group.took(id);
        group.region.lease(id, result.max(0) as u32)
    });
    let mut rx = conn.rx.borrow_mut();
    match result {
        1.. if !conn.dropped.get() => {
            if let Some(lease) = lease {
                rx.deliver(lease, &group.region);
            }
        }
        0 => rx.end = true,
        _ if result == -libc::ENOBUFS && !conn.dropped.get() => core.starve(conn, &mut rx),
        _ if result == -libc::ECANCELED || result > 0 => {}
        _ => rx.error = -result,
    }
    let more = cqueue::more(flags);
    if !more {
        rx.armed = false;
        rx.pausing = false;
    }
    rx.wake();
    let full = rx.armed && !rx.pausing && rx.is_full(&group.region);
    drop(rx);
    if full {
        ring.pause(conn);
    }
    if !more {
        ring.retire(core, conn);
    }
}

fn sent(core: &Core, conn: &Rc<Conn>, result: i32) {
    let mut driver = core.driver.borrow_mut();
    let Driver::Uring(ring) = &mut *driver else { return };
    let mut tx = conn.tx.borrow_mut();
    let Some(op) = &mut tx.op else { return };
    let go_on = match result {
        0.. => op.advance(result as usize),
        _ => result == -libc::EINTR || result == -libc::EAGAIN,
    };
    tx.sent += result.max(0) as u64;
    if go_on && !conn.dropped.get() {
        tx.wake_if_low();
        drop(tx);
        ring.send(conn);
        return;
    }
    if result < 0 {
        tx.error = -result;
    }
    if let Some(op) = tx.op.take() {
        core.recycle(op);
    }
    tx.wake();
    drop(tx);
    if conn.dropped.get() {
        ring.retire(core, conn);
    }
}

fn connected(core: &Core, conn: &Rc<Conn>, result: i32) {
    let mut driver = core.driver.borrow_mut();
    let Driver::Uring(ring) = &mut *driver else { return };
    ring.connects.remove(&conn.place.get());
    let mut tx = conn.tx.borrow_mut();
    tx.connecting = false;
    tx.error = if result < 0 { -result } else { 0 };
    tx.wake();
    drop(tx);
    ring.retire(core, conn);
}

/// A ring of buffers of one pool that the kernel may fill.
struct Group {
    region: Rc<Region>,
    entries: NonNull<BufRingEntry>,
    tail: u16,
    provided: u16,
    provided_max: u16,
}

impl Group {
    /// Entries of the ring; a power of two.
    const ENTRIES: u16 = 256;
    /// Buffers offered at once: enough for one turn's arrivals, few enough to stay in the cache.
    const PROVIDED_MAX: u16 = 128;

    fn register(ring: &IoUring, id: u16, region: &Rc<Region>) -> io::Result<Group> {
        let bytes = Self::ENTRIES as usize * size_of::<BufRingEntry>();
        // SAFETY: an anonymous mapping of fresh pages, nothing else is touched.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let entries = match NonNull::new(memory) {
            Some(memory) if memory.as_ptr() != libc::MAP_FAILED => memory.cast::<BufRingEntry>(),
            _ => return Err(io::Error::last_os_error()),
        };
        let provided_max = Self::PROVIDED_MAX.min(region.count() as u16 / 2);
        let group = Group { region: region.clone(), entries, tail: 0, provided: 0, provided_max };
        // SAFETY: the ring's memory is mapped until the group is dropped, which is after the io_uring is.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                group.entries.as_ptr() as u64,
                Self::ENTRIES,
                id,
                0,
            )?;
        }
        Ok(group)
    }

    /// A completion named buffer `_id`: it is no longer the kernel's.
    fn took(&mut self, _id: u16) {
        self.provided -= 1;
    }

    /// Offers free buffers up to the bound.
    fn refill(&mut self) {
        if self.provided >= self.provided_max {
            return;
        }
        let before = self.tail;
        while self.provided < self.provided_max {
            let Some(id) = self.region.take() else { break };
            let place = usize::from(self.tail & (Self::ENTRIES - 1));
            // SAFETY: `place` is below the number of entries of the mapping.
            let entry = unsafe { self.entries.add(place) };
            // SAFETY: the kernel reads an entry only between head and tail, and this one is beyond the tail.
            let entry = unsafe { &mut *entry.as_ptr() };
            entry.set_addr(self.region.address(id).as_ptr() as u64);
            entry.set_len(self.region.size());
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            self.provided += 1;
        }
        if self.tail != before {
            self.publish();
        }
    }

    fn publish(&self) {
        // SAFETY: the ring's first entry is mapped; its tail field is where the kernel looks.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is aligned, mapped and shared with the kernel, which only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let bytes = Self::ENTRIES as usize * size_of::<BufRingEntry>();
        // SAFETY: mapped by `register` with this length; the io_uring, a field before this one, is closed by now.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), bytes) };
    }
}

impl Core {
    /// Puts a connection into the line for a free buffer.
    pub(crate) fn starve(&self, conn: &Rc<Conn>, rx: &mut crate::conn::Rx) {
        if !rx.starved {
            rx.starved = true;
            Gauges::add(&self.gauges.buffers_starved, 1);
            self.starved[conn.side as usize].borrow_mut().push_back(conn.clone());
        }
    }
}
