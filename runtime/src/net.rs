//! Sockets towards upstreams, and the process's descriptor limit.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::conn::Address;
use crate::sys::check;

/// A socket that may connect to `address`: CLOEXEC, and TCP_NODELAY for TCP.
pub(crate) fn upstream_socket(address: &Address) -> io::Result<(Socket, SockAddr)> {
    match address {
        Address::Ip(ip) => {
            let socket = Socket::new(Domain::for_address(*ip), socket_type(), None)?;
            socket.set_tcp_nodelay(true)?;
            Ok((socket, SockAddr::from(*ip)))
        }
        Address::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, socket_type(), None)?;
            Ok((socket, SockAddr::unix(path)?))
        }
    }
}

fn socket_type() -> Type {
    let kind = Type::STREAM.cloexec();
    // io_uring waits for a blocking socket by itself and would give up at once on one that is not.
    if crate::task::current().polls_itself() { kind.nonblocking() } else { kind }
}

/// The limit on open descriptors: none is numbered as high.
pub fn fd_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok(limit.rlim_cur)
}

/// Raises the soft limit on open descriptors to the hard one. Returns the soft limit before and after.
pub fn raise_fd_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let before = limit.rlim_cur;
    if before < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is valid for reading.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok((before, limit.rlim_cur))
}
