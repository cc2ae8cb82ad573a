//! Listening sockets from the service manager (systemd socket activation).
//!
//! The protocol: descriptors from 3 on are ours, `LISTEN_FDS` many, if `LISTEN_PID` is this process. Here because
//! taking a raw descriptor needs `unsafe`. Called once, at start, before anything else opens descriptors by number.

use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// More than this is a mistake, not a set of listeners.
const SOCKETS_MAX: RawFd = 1024;

/// The stream sockets handed over, listening, close-on-exec. Empty when there are none, and from the second call on:
/// a descriptor has one owner. What is handed over and not a listening stream socket is closed.
pub fn inherited_sockets() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok();
    let count =
        handed_over(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), std::process::id());
    if count == 0 || TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    (FIRST..FIRST + count).filter_map(take).filter(is_listening_stream).collect()
}

/// How many are for this process.
fn handed_over(pid: Option<&str>, count: Option<&str>, me: u32) -> RawFd {
    let mine = pid.and_then(|pid| pid.parse::<u32>().ok()) == Some(me);
    let count = count.and_then(|count| count.parse::<RawFd>().ok()).unwrap_or(0);
    if mine { count.clamp(0, SOCKETS_MAX) } else { 0 }
}

/// Owns a descriptor that is open, and keeps it from children.
fn take(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_SETFD takes an int and touches no memory; on a descriptor that is not open it fails with EBADF.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    if set == -1 {
        return None;
    }
    // SAFETY: the descriptor is open (F_SETFD succeeded) and nothing else owns it: LISTEN_PID names this process, so
    // the service manager gave it this range, and `inherited_sockets` takes each of them once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn is_listening_stream(fd: &OwnedFd) -> bool {
    option(fd, libc::SO_ACCEPTCONN) == Some(1) && option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
}

/// An option of the socket that is an int; `None` for what is no socket.
fn option(fd: &OwnedFd, name: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = mem::size_of_val(&value) as libc::socklen_t;
    let (out, length) = (&raw mut value, &raw mut length);
    // SAFETY: `out` points to `length` writable bytes that live through the call, and the kernel writes no more.
    let got = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, out.cast(), length) };
    (got == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_what_is_for_this_process_is_taken() {
        assert_eq!(handed_over(Some("7"), Some("2"), 7), 2);
        assert_eq!(handed_over(Some("8"), Some("2"), 7), 0);
        assert_eq!(handed_over(None, Some("2"), 7), 0);
        assert_eq!(handed_over(Some("7"), None, 7), 0);
        assert_eq!(handed_over(Some("7"), Some("-1"), 7), 0);
        assert_eq!(handed_over(Some("7"), Some("99999"), 7), SOCKETS_MAX);
        assert_eq!(handed_over(Some("7"), Some("many"), 7), 0);
    }

    #[test]
    fn only_listening_stream_sockets_are_kept() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = tcp.local_addr().expect("an address");
        let client = std::net::TcpStream::connect(address).expect("a connection");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let file = std::fs::File::open("/dev/null").expect("a file");
        let path = std::env::temp_dir().join(format!("ringway-activation-{}", std::process::id()));
        let unix = UnixListener::bind(&path).expect("a listener");
        std::fs::remove_file(&path).expect("removed");
        assert!(is_listening_stream(&tcp.into()));
        assert!(is_listening_stream(&unix.into()));
        assert!(!is_listening_stream(&client.into()));
        assert!(!is_listening_stream(&udp.into()));
        assert!(!is_listening_stream(&file.into()));
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_not_taken() {
        assert!(take(1 << 20).is_none());
    }

    #[test]
    fn a_taken_descriptor_is_closed_on_exec_and_owned() {
        use std::os::fd::IntoRawFd;
        let raw = TcpListener::bind("127.0.0.1:0").expect("a listener").into_raw_fd();
        let fd = take(raw).expect("taken");
        // SAFETY: F_GETFD touches no memory.
        assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
    }
}
