//! The few system calls that no safe wrapper covers.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Turns -1 into the error it stands for.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// CLOCK_MONOTONIC in nanoseconds: a few instructions of the vDSO, without std's checked arithmetic.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; the clock always exists on Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// An eventfd: a loop's doorbell.
pub(crate) struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    pub fn new() -> io::Result<EventFd> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(EventFd { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is eight readable bytes. A full counter (EAGAIN) means that the bell rings already.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub fn drain(&self) {
        let mut count = [0u8; 8];
        // SAFETY: `count` is eight writable bytes.
        unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// epoll_pwait2(2), which waits to the nanosecond; before Linux 5.11 epoll_wait(2), which counts in milliseconds (see
/// [`whole_ms`]). `at` is room for `max` events.
pub(crate) fn epoll_wait(
    fd: RawFd,
    at: *mut libc::epoll_event,
    max: libc::c_int,
    at_most: Option<Duration>,
    never_late: bool,
) -> io::Result<libc::c_int> {
    static ROUNDED: AtomicBool = AtomicBool::new(false);
    if !ROUNDED.load(Ordering::Relaxed) {
        // The kernel's own timespec: two times 64 bits on every machine.
        let time = at_most.map(|wait| [wait.as_secs().min(3600) as i64, i64::from(wait.subsec_nanos())]);
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // By its number: C libraries have had a name for it only for a few years.
        // SAFETY: `at` is room for `max` events (the caller's promise); the time is null or valid; there is no mask.
        let n = unsafe { libc::syscall(libc::SYS_epoll_pwait2, fd, at, max, time, no_mask, 0usize) };
        match check(n as libc::c_int) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                ROUNDED.store(true, Ordering::Relaxed);
            }
            n => return n,
        }
    }
    // SAFETY: `at` is room for `max` events (the caller's promise).
    check(unsafe { libc::epoll_wait(fd, at, max, whole_ms(at_most, never_late)) })
}

/// A wait in whole milliseconds; -1 is for ever. Rounded up, since a loop that wakes too early only waits again; but
/// down for a precise timer: its last part of a millisecond is spun through at 0 ms, rather than be late by it.
fn whole_ms(at_most: Option<Duration>, never_late: bool) -> libc::c_int {
    let Some(wait) = at_most else { return -1 };
    let ms = if never_late { wait.as_millis() } else { wait.as_nanos().div_ceil(1_000_000) };
    ms.min(60_000) as libc::c_int
}

/// Lets this thread's waits end when they should, not up to 50 us later.
pub(crate) fn no_timer_slack() {
    // SAFETY: no pointers. A refusal leaves the slack as it was.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
}

/// Nanoseconds for which this thread was on a core or waited in line for one; without the wait where the kernel does not
/// tell it.
pub fn thread_busy_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut numbers = told.split_ascii_whitespace().map_while(|number| number.parse::<u64>().ok());
    if let (Some(ran), Some(waited)) = (numbers.next(), numbers.next()) {
        return ran + waited;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; the clock always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// read(2) of a socket into memory that nobody else uses.
pub(crate) fn recv_into(fd: RawFd, at: std::ptr::NonNull<u8>, len: usize) -> io::Result<usize> {
    // SAFETY: the caller (the epoll driver) passes a taken buffer of at least `len` bytes without leases.
    let n = unsafe { libc::recv(fd, at.as_ptr().cast(), len, libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// sendmsg(2) that never blocks nor raises SIGPIPE.
pub(crate) fn send_message(fd: RawFd, message: &libc::msghdr) -> io::Result<usize> {
    // SAFETY: the header points at vectors of live segments, kept by the send operation it belongs to.
    let n = unsafe { libc::sendmsg(fd, message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// A pipe whose ends never block; the first is read, the second written.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` is room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    Ok((own(ends[0]), own(ends[1])))
}

/// Makes room in a pipe for `bytes`, in whole pages.
pub(crate) fn set_pipe_size(pipe: &OwnedFd, bytes: usize) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as libc::c_int) }).map(drop)
}

/// Lets calls on a socket return at once, splice(2) among them: its own flag speaks for the pipe only.
pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK != 0 {
        return Ok(());
    }
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// splice(2) between a socket and a pipe, whichever way; neither may block. Zero: the socket's peer has ended. To a socket
/// that takes no more it raises SIGPIPE, which Rust's programs ignore.
pub(crate) fn splice(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    let (nowhere, flags) = (std::ptr::null_mut(), libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK);
    loop {
        // SAFETY: null offsets are what pipes and sockets need; no other pointers.
        let n = unsafe { libc::splice(from, nowhere, to, nowhere, len, flags) };
        if n >= 0 {
            return Ok(n as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether a receive would get something now.
pub(crate) fn has_bytes(fd: RawFd) -> bool {
    let mut byte = 0u8;
    // SAFETY: room for the one byte that is asked for.
    let n = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    n > 0
}

/// shutdown(2); an error means that the connection is gone already.
pub(crate) fn shutdown(fd: RawFd, how: libc::c_int) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, how) };
}

/// accept4(2) with CLOEXEC, and NONBLOCK where asked.
pub(crate) fn accept(fd: RawFd, nonblocking: bool) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: null addresses are allowed: the peer's address is asked for later, where it is wanted.
    let fd = check(unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes ownership of a descriptor that the kernel has just made for us.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller got the number from the call that made it and gives it to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_milliseconds_are_never_too_late_for_a_precise_timer_and_never_a_spin_for_others() {
        let waits =
            [(0, 0, 0), (1, 0, 1), (300, 0, 1), (999, 0, 1), (1000, 1, 1), (1001, 1, 2), (5300, 5, 6)];
        for (us, down, up) in waits {
            let wait = Some(Duration::from_micros(us));
            assert_eq!((whole_ms(wait, true), whole_ms(wait, false)), (down, up), "{us} us");
        }
        assert_eq!((whole_ms(None, true), whole_ms(None, false)), (-1, -1));
        assert_eq!(whole_ms(Some(Duration::MAX), true), 60_000);
    }

    #[test]
    fn a_thread_that_works_is_busy_and_one_that_sleeps_is_not() {
        let work = std::thread::spawn(|| {
            let (begin, before) = (monotonic_ns(), thread_busy_ns());
            // By the clock: a thread that is kept waiting for a core is as busy as one that has it.
            while monotonic_ns() - begin < 50_000_000 {}
            thread_busy_ns() - before
        });
        let busy = work.join().unwrap();
        assert!(busy > 25_000_000, "{busy} ns of work");
        let rest = std::thread::spawn(|| {
            let before = thread_busy_ns();
            std::thread::sleep(Duration::from_millis(100));
            thread_busy_ns() - before
        });
        let busy = rest.join().unwrap();
        assert!(busy < 50_000_000, "{busy} ns while asleep");
    }
}
