//! Datagrams on their way out: collected, then sent by one sendmmsg.
//!
//! Datagrams of one size that follow each other to one address become one message, which the kernel (or the card) takes
//! apart again (GSO). Invariant: what was put in leaves once, in its order, with the borders it came with, or is told
//! as lost.

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use socket2::SockAddr;

use super::batch::{COUNT_MAX, Datagram, Local};
use crate::sys::check;

/// Bytes that wait at most. Any datagram fits.
const BYTES_MAX: usize = 64 << 10;
/// Datagrams in one message (older kernels' UDP_MAX_SEGMENTS).
const SEGMENTS_MAX: usize = 64;
/// Longer ones are not put together: the kernel takes apart only what fits the way's MTU, usually 1500 with headers.
const SEGMENT_BYTES_MAX: usize = 1452;
/// The longest message: what IPv4 can say of its length, less headers.
const MESSAGE_BYTES_MAX: usize = 65_507;
/// Room for control messages: where from, and the size of segments.
const CONTROL: usize = 64;

/// Datagrams that wait to be sent by one socket.
#[derive(Default)]
pub struct Outbox {
    /// Of all messages, one after another.
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

/// A datagram, or several that leave together.
#[derive(Clone, Copy)]
struct Message {
    to: Option<SocketAddr>,
    from: Option<Local>,
    /// Where its bytes begin.
    at: usize,
    len: usize,
    /// Bytes of each datagram; the last one may be shorter.
    segment: usize,
}

impl Outbox {
    /// Puts a datagram (or what came together) behind those that wait: for the socket's peer, or `to` an address, `from`
    /// where it was sent to. `false`: there is no room until they are sent.
    pub fn push(&mut self, datagram: &Datagram<'_>, to: Option<SocketAddr>, from: Option<Local>) -> bool {
        let (at, len) = (self.bytes.len(), datagram.bytes.len());
        if at + len > BYTES_MAX {
            return false;
        }
        let message = Message { to, from, at, len, segment: datagram.segment.map_or(len, usize::from) };
        let full = self.messages.len() == COUNT_MAX;
        match self.messages.last_mut() {
            Some(last) if last.takes(&message) => last.len += len,
            _ if full => return false,
            _ => self.messages.push(message),
        }
        self.bytes.extend_from_slice(datagram.bytes);
        true
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// See [`super::UdpSocket::send`].
    pub(super) fn send(&mut self, fd: RawFd, mut lost: impl FnMut(&io::Error, usize)) -> Sent {
        let mut sent = Sent::default();
        let mut left = &self.messages[..];
        while let [first, others @ ..] = left {
            match send_some(fd, &self.bytes, left) {
                Ok(count) => {
                    left[..count].iter().for_each(|message| sent.add(message));
                    left = &left[count..];
                    continue;
                }
                // The card or the way does not take segments of this size.
                Err(error) if first.count() > 1 && is_about_segments(&error) => {
                    for one in first.apart() {
                        match send_some(fd, &self.bytes, &[one]) {
                            Ok(_) => sent.add(&one),
                            Err(error) => lost(&error, 1),
                        }
                    }
                }
                Err(error) => lost(&error, first.count()),
            }
            left = others;
        }
        self.bytes.clear();
        self.messages.clear();
        sent
    }
}

/// What left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many.
    pub datagrams: usize,
    /// What they held.
    pub bytes: usize,
}

impl Sent {
    fn add(&mut self, message: &Message) {
        self.datagrams += message.count();
        self.bytes += message.len;
    }
}

impl Message {
    fn count(&self) -> usize {
        self.len.div_ceil(self.segment.max(1)).max(1)
    }

    /// Whether `next` may leave with it: after whole segments only, and only the last one may be shorter.
    fn takes(&self, next: &Message) -> bool {
        let fits = next.segment == self.segment || next.count() == 1 && next.len < self.segment;
        fits && (next.to, next.from) == (self.to, self.from)
            && next.len > 0
            && self.segment <= SEGMENT_BYTES_MAX
            && self.len.is_multiple_of(self.segment)
            && self.count() + next.count() <= SEGMENTS_MAX
            && self.len + next.len <= MESSAGE_BYTES_MAX
    }

    /// Each of its datagrams.
    fn apart(self) -> impl Iterator<Item = Message> {
        let end = self.at + self.len;
        (self.at..end).step_by(self.segment).map(move |at| {
            let len = self.segment.min(end - at);
            Message { at, len, segment: len, ..self }
        })
    }
}

fn is_about_segments(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO))
}

/// What a header points at.
struct Parts {
    address: Option<SockAddr>,
    vector: libc::iovec,
    control: [u64; CONTROL / 8],
    control_len: usize,
}

/// Sends the first few, one at least; returns how many. An error is about the first one.
fn send_some(fd: RawFd, bytes: &[u8], messages: &[Message]) -> io::Result<usize> {
    let mut parts: [MaybeUninit<Parts>; COUNT_MAX] = [const { MaybeUninit::uninit() }; COUNT_MAX];
    let mut headers: [MaybeUninit<libc::mmsghdr>; COUNT_MAX] = [MaybeUninit::uninit(); COUNT_MAX];
    let count = messages.len().min(COUNT_MAX);
    for ((parts, header), message) in parts.iter_mut().zip(&mut headers).zip(messages) {
        header.write(parts.write(Parts::of(message, bytes)).header());
    }
    loop {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the first `count` headers are written; what they point at (addresses, vectors, control, bytes) lives in
        // `parts` and `bytes` until the call is over, and is only read.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr().cast(), count as u32, flags) };
        match check(sent) {
            Ok(sent) => return Ok(sent as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Parts {
    fn of(message: &Message, bytes: &[u8]) -> Parts {
        let bytes = &bytes[message.at..message.at + message.len];
        let mut parts = Parts {
            address: message.to.map(SockAddr::from),
            vector: libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() },
            control: [0; CONTROL / 8],
            control_len: 0,
        };
        match message.from.map(|from| (from.ip, from.interface)) {
            // Which way the answer takes is for the routes to say.
            Some((IpAddr::V4(ip), _)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                parts.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            // An address of one link means nothing without it.
            Some((IpAddr::V6(ip), interface)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: if ip.is_unicast_link_local() { interface } else { 0 },
                };
                parts.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        if message.count() > 1 {
            parts.put(libc::SOL_UDP, libc::UDP_SEGMENT, message.segment as u16);
        }
        parts
    }

    /// Adds a control message.
    fn put<T>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let len = size_of::<T>() as u32;
        // SAFETY: arithmetic only.
        let space = unsafe { libc::CMSG_SPACE(len) } as usize;
        assert!(self.control_len + space <= CONTROL, "there is room for all that is sent");
        // SAFETY: within the control memory; the spaces before it are multiples of its alignment.
        let place = unsafe { self.control.as_mut_ptr().cast::<u8>().add(self.control_len) };
        let place = place.cast::<libc::cmsghdr>();
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
        self.control_len += space;
    }

    /// A header that points here: it is good while these parts neither move nor end.
    fn header(&mut self) -> libc::mmsghdr {
        // SAFETY: zeros are a header's values.
        let mut header: libc::mmsghdr = unsafe { zeroed() };
        let message = &mut header.msg_hdr;
        if let Some(to) = &self.address {
            message.msg_name = to.as_ptr().cast_mut().cast();
            message.msg_namelen = to.len();
        }
        message.msg_iov = &raw mut self.vector;
        message.msg_iovlen = 1;
        if self.control_len > 0 {
            message.msg_control = self.control.as_mut_ptr().cast();
            message.msg_controllen = self.control_len;
        }
        header
    }
}
