//! The few system calls that no safe wrapper covers.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

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
    // SAFETY: the caller got the number from a completed accept and gives it to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
