//! Batches of datagrams between the kernel and memory of ours: recvmmsg and sendmsg with their control messages.

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::ptr::null_mut;

use socket2::SockAddr;

use crate::sys::check;

/// Room for one datagram, or for what the kernel puts together of several.
const ROOM: usize = 64 << 10;
/// Room for control messages: a destination and a segment size.
const CONTROL: usize = 128;

/// Where a datagram was sent to: the address and the interface it came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Ours.
    pub ip: IpAddr,
    /// Number of the interface.
    pub interface: u32,
}

/// A datagram, or several of one size.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// What it holds.
    pub bytes: &'a [u8],
    /// Who sent it; `None` on a connected socket.
    pub from: Option<SocketAddr>,
    /// Where it was sent to, where that was asked for.
    pub to: Option<Local>,
    /// Each holds these many bytes, the last one fewer: several came together.
    pub segment: Option<u16>,
    /// It was longer than there was room for, and what is here is its beginning.
    pub cut: bool,
}

/// Memory for a batch of datagrams.
pub struct Batch {
    memory: Box<[u8]>,
    slots: Box<[Slot]>,
    filled: usize,
}

struct Slot {
    address: libc::sockaddr_storage,
    control: [u64; CONTROL / 8],
    vector: libc::iovec,
    len: usize,
    flags: libc::c_int,
    address_len: libc::socklen_t,
    control_len: usize,
}

impl Batch {
    /// Room for `count` at once, each of up to 64 KiB; memory is taken when first used.
    pub fn new(count: usize) -> Batch {
        let slot = |_| Slot {
            // SAFETY: all of these are plain numbers and pointers, for which zeros are values.
            address: unsafe { zeroed() },
            control: [0; CONTROL / 8],
            vector: libc::iovec { iov_base: null_mut(), iov_len: 0 },
            len: 0,
            flags: 0,
            address_len: 0,
            control_len: 0,
        };
        Batch {
            memory: vec![0; count * ROOM].into_boxed_slice(),
            slots: (0..count).map(slot).collect(),
            filled: 0,
        }
    }

    /// What came, in its order.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.slots
            .iter()
            .take(self.filled)
            .enumerate()
            .map(|(place, slot)| slot.datagram(&self.memory[place * ROOM..]))
    }

    /// Takes as many as have come and fit.
    pub(super) fn recv(&mut self, fd: RawFd) -> io::Result<()> {
        self.filled = 0;
        let mut messages: [MaybeUninit<libc::mmsghdr>; COUNT_MAX] = [MaybeUninit::uninit(); COUNT_MAX];
        let count = self.slots.len().min(COUNT_MAX);
        for (place, slot) in self.slots.iter_mut().take(count).enumerate() {
            slot.vector =
                libc::iovec { iov_base: self.memory[place * ROOM..].as_mut_ptr().cast(), iov_len: ROOM };
            // SAFETY: a message header is plain numbers and pointers, for which zeros are values.
            let mut message: libc::mmsghdr = unsafe { zeroed() };
            message.msg_hdr.msg_name = (&raw mut slot.address).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_hdr.msg_iov = &raw mut slot.vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL;
            messages[place].write(message);
        }
        // SAFETY: the first `count` headers are written, and what they point at (addresses, vectors, control, memory) is
        // this batch's, borrowed for writing for the length of the call.
        let got = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr().cast(), count as u32, libc::MSG_DONTWAIT, null_mut())
        };
        let got = check(got)? as usize;
        for (slot, message) in self.slots.iter_mut().zip(&messages[..got]) {
            // SAFETY: the first `got` of the `count` headers that were written.
            let message = unsafe { message.assume_init_ref() };
            slot.len = message.msg_len as usize;
            slot.flags = message.msg_hdr.msg_flags;
            slot.address_len = message.msg_hdr.msg_namelen;
            slot.control_len = message.msg_hdr.msg_controllen;
        }
        self.filled = got;
        Ok(())
    }
}

/// Headers in one call.
const COUNT_MAX: usize = 64;

impl Slot {
    fn datagram<'a>(&self, memory: &'a [u8]) -> Datagram<'a> {
        let mut datagram = Datagram {
            bytes: &memory[..self.len.min(ROOM)],
            from: address_of(&self.address, self.address_len),
            to: None,
            segment: None,
            cut: self.flags & libc::MSG_TRUNC != 0,
        };
        // SAFETY: zeros are a header's values; what it points at is this slot's control memory.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_control = self.control.as_ptr().cast_mut().cast();
        header.msg_controllen = self.control_len.min(CONTROL);
        // SAFETY: the header's control memory and its length are those that the kernel filled.
        let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        while !at.is_null() {
            // SAFETY: within the control memory, by the macros that made it.
            let message = unsafe { at.read_unaligned() };
            // SAFETY: as above.
            let data = unsafe { libc::CMSG_DATA(at) };
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // SAFETY: the kernel wrote a whole one.
                    let info: libc::in_pktinfo = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into();
                    datagram.to = Some(Local { ip, interface: info.ipi_ifindex as u32 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    // SAFETY: the kernel wrote a whole one.
                    let info: libc::in6_pktinfo =
                        unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                    let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                    datagram.to = Some(Local { ip, interface: info.ipi6_ifindex });
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    // SAFETY: the kernel wrote a whole int.
                    let size: libc::c_int = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                    datagram.segment = u16::try_from(size).ok().filter(|size| self.len > usize::from(*size));
                }
                _ => {}
            }
            // SAFETY: `at` is a message of this header's.
            at = unsafe { libc::CMSG_NXTHDR(&raw const header, at) };
        }
        datagram
    }
}

fn address_of(storage: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    if len == 0 {
        return None;
    }
    // SAFETY: socket2's storage is the kernel's under another name.
    let storage = unsafe { (&raw const *storage).cast::<socket2::SockAddrStorage>().read() };
    // SAFETY: the kernel wrote `len` bytes of it.
    let address = unsafe { SockAddr::new(storage, len) };
    address.as_socket()
}

/// See [`super::UdpSocket::send`].
pub(super) fn send(
    fd: RawFd,
    bytes: &[u8],
    to: Option<SocketAddr>,
    from: Option<Local>,
    segment: Option<u16>,
) -> io::Result<bool> {
    let to = to.map(SockAddr::from);
    let mut control = [0u64; CONTROL / 8];
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: zeros are a header's values.
    let mut header: libc::msghdr = unsafe { zeroed() };
    if let Some(to) = &to {
        header.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_namelen = to.len();
    }
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL;
    let mut used = 0;
    match from.map(|from| (from.ip, from.interface)) {
        Some((IpAddr::V4(ip), interface)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: interface as libc::c_int,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += put(&mut control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some((IpAddr::V6(ip), interface)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                ipi6_ifindex: interface,
            };
            used += put(&mut control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if let Some(size) = segment {
        used += put(&mut control, used, libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }
    header.msg_controllen = used;
    if used == 0 {
        header.msg_control = null_mut();
    }
    loop {
        // SAFETY: the header and all it points at live until the call is over, and are only read.
        let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::ENOBUFS) => return Ok(false),
            _ => return Err(error),
        }
    }
}

/// Writes a control message at `at` bytes and returns how many it takes.
fn put<T>(
    control: &mut [u64; CONTROL / 8],
    at: usize,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
) -> usize {
    let len = size_of::<T>() as u32;
    // SAFETY: arithmetic only.
    let space = unsafe { libc::CMSG_SPACE(len) } as usize;
    assert!(at + space <= CONTROL, "there is room for all that is sent");
    // SAFETY: `at` is within the control memory, and the spaces before it are multiples of its alignment.
    let place = unsafe { control.as_mut_ptr().cast::<u8>().add(at) }.cast::<libc::cmsghdr>();
    // SAFETY: zeros are a header's values.
    let mut message: libc::cmsghdr = unsafe { zeroed() };
    message.cmsg_level = level;
    message.cmsg_type = kind;
    // SAFETY: arithmetic only.
    message.cmsg_len = unsafe { libc::CMSG_LEN(len) } as usize;
    // SAFETY: within the control memory, checked above.
    unsafe { place.write(message) };
    // SAFETY: as above.
    let data = unsafe { libc::CMSG_DATA(place) };
    // SAFETY: there is space for the value behind its header.
    unsafe { data.cast::<T>().write_unaligned(value) };
    space
}

/// Has the kernel say where datagrams were sent to.
pub(super) fn ask_for_destination(fd: RawFd, v6: bool) -> io::Result<()> {
    match v6 {
        true => set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        false => set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
    }
}

/// Has the kernel put datagrams of one size together, where it can.
pub(super) fn ask_for_segments(fd: RawFd) {
    let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
}

fn set(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a readable int for the length of the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) }).map(drop)
}
