//! Datagrams that have come, a batch at a time: recvmmsg with its control messages.
//!
//! Invariant: what was longer than its room is counted and never handed out, so that nobody forwards a beginning.

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::ptr::null_mut;

use socket2::SockAddr;

use crate::sys::check;

/// Room for control messages: a destination and a segment size.
const CONTROL: usize = 128;
/// Headers in one call.
pub(super) const COUNT_MAX: usize = 64;

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
    /// Each holds these many bytes, the last one perhaps fewer: several came together.
    pub segment: Option<u16>,
}

impl Datagram<'_> {
    /// How many came together.
    pub fn count(&self) -> usize {
        self.segment.map_or(1, |size| self.bytes.len().div_ceil(usize::from(size)))
    }
}

/// Memory for a batch of datagrams.
pub struct Batch {
    memory: Box<[u8]>,
    /// Bytes of it for each slot.
    room: usize,
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
    /// Room for `count` at once (64 at most), each of up to `room` bytes: 64 KiB hold any datagram, and what the kernel
    /// puts together of several. Memory is taken when first used.
    pub fn new(count: usize, room: usize) -> Batch {
        assert!(count <= COUNT_MAX, "one call takes them all");
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
            memory: vec![0; count * room].into_boxed_slice(),
            room,
            slots: (0..count).map(slot).collect(),
            filled: 0,
        }
    }

    /// What came whole, in its order.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.filled()
            .zip(self.memory.chunks(self.room))
            .filter(|(slot, _)| !slot.is_cut())
            .map(|(slot, memory)| slot.datagram(memory))
    }

    /// How many were longer than their room. They are lost.
    pub fn cut(&self) -> usize {
        self.filled().filter(|slot| slot.is_cut()).count()
    }

    fn filled(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().take(self.filled)
    }

    /// Takes as many as have come and fit.
    pub(super) fn recv(&mut self, fd: RawFd) -> io::Result<()> {
        self.filled = 0;
        let mut messages: [MaybeUninit<libc::mmsghdr>; COUNT_MAX] = [MaybeUninit::uninit(); COUNT_MAX];
        let count = self.slots.len();
        let rooms = self.memory.chunks_mut(self.room);
        for ((message, slot), room) in messages.iter_mut().zip(&mut self.slots).zip(rooms) {
            slot.vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            // SAFETY: a message header is plain numbers and pointers, for which zeros are values.
            let header = message.write(unsafe { zeroed() });
            header.msg_hdr.msg_name = (&raw mut slot.address).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut slot.vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL;
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

impl Slot {
    fn is_cut(&self) -> bool {
        self.flags & libc::MSG_TRUNC != 0
    }

    fn datagram<'a>(&self, memory: &'a [u8]) -> Datagram<'a> {
        let mut datagram = Datagram {
            bytes: &memory[..self.len],
            from: address_of(&self.address, self.address_len),
            to: None,
            segment: None,
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
                    // Ours also where it was sent to many.
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into();
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
