//! The send half of a connection: one operation with the kernel, and what joins behind it.
//!
//! The operation is boxed, since the kernel knows the addresses of its vectors and lists; it is used again for other
//! connections (see [`Core::recycle`](crate::turn::Core::recycle)). Invariant: a list and its vectors stay as they are
//! until the kernel is done with them; what is sent meanwhile goes to `more`.

use std::task::Waker;

use crate::segment::SendList;

#[derive(Default)]
pub(crate) struct Tx {
    pub op: Option<Box<SendOp>>,
    pub error: i32,
    pub sent: u64,
    /// A connect is under way.
    pub connecting: bool,
    /// The driver will tell when it may be written to.
    pub watched: bool,
    pub waker: Option<Waker>,
    /// Who waits wants to be woken once no more than this is unsent.
    pub low: usize,
}

impl Tx {
    pub fn unsent(&self) -> usize {
        self.op.as_ref().map_or(0, |op| op.list.len() - op.done + op.more.len())
    }

    /// After a part was sent.
    pub fn wake_if_low(&mut self) {
        if self.low > 0 && self.unsent() <= self.low {
            self.wake();
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One send with the kernel, at an address that does not move.
pub(crate) struct SendOp {
    pub list: SendList,
    pub more: SendList,
    /// Bytes of `list` that are sent.
    pub done: usize,
    /// Runs of `list` that are sent whole, and bytes of the next one. Kept so that a list of very many runs, sent
    /// [`IOV_MAX`] at a time, is gone through once.
    sent_runs: usize,
    skip: usize,
    pub iov: [libc::iovec; IOV_MAX],
    pub message: libc::msghdr,
}

impl SendOp {
    pub fn new() -> Box<SendOp> {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: all zeros is a valid msghdr: null pointers with zero lengths.
        let message = unsafe { std::mem::zeroed() };
        Box::new(SendOp {
            list: SendList::new(),
            more: SendList::new(),
            done: 0,
            sent_runs: 0,
            skip: 0,
            iov: [empty; IOV_MAX],
            message,
        })
    }

    /// Points the vectors at what is left of the list; returns how many are used.
    pub fn prepare(&mut self) -> usize {
        let mut skip = self.skip;
        let mut used = 0;
        for segment in &self.list.segments()[self.sent_runs..] {
            let left = &segment.bytes()[skip..];
            skip = 0;
            self.iov[used] = libc::iovec { iov_base: left.as_ptr().cast_mut().cast(), iov_len: left.len() };
            used += 1;
            if used == IOV_MAX {
                break;
            }
        }
        self.message.msg_iov = self.iov.as_mut_ptr();
        self.message.msg_iovlen = used;
        used
    }

    /// Counts `n` more bytes as sent; what waited joins once the list is through. Whether anything is left to send.
    pub fn advance(&mut self, n: usize) -> bool {
        self.done += n;
        if self.done < self.list.len() {
            self.skip += n;
            for segment in &self.list.segments()[self.sent_runs..] {
                let len = segment.bytes().len();
                if self.skip < len {
                    break;
                }
                self.skip -= len;
                self.sent_runs += 1;
            }
            return true;
        }
        self.begin_list();
        std::mem::swap(&mut self.list, &mut self.more);
        !self.list.is_empty()
    }

    /// Ready for another list.
    pub fn begin_list(&mut self) {
        self.list.clear();
        self.done = 0;
        self.sent_runs = 0;
        self.skip = 0;
    }

    /// Runs not yet sent whole.
    pub fn runs_left(&self) -> usize {
        self.list.segments().len() - self.sent_runs + self.more.segments().len()
    }
}

/// Vectors in one send.
pub(crate) const IOV_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Lease;

    #[test]
    fn a_list_of_many_runs_is_sent_whole_whatever_the_kernel_takes_at_a_time() {
        for step in [1, 2, 3, 7, 30, 64, 1000] {
            let mut op = SendOp::new();
            let mut expected = Vec::new();
            for number in 0..200u8 {
                let run = vec![number; 1 + usize::from(number % 4)];
                expected.extend_from_slice(&run);
                op.list.push(Lease::copy_of(&run));
            }
            op.more.push(&b"more"[..]);
            expected.extend_from_slice(b"more");
            let mut sent = Vec::new();
            loop {
                let used = op.prepare();
                let mut vectors = Vec::new();
                for run in &op.iov[..used] {
                    // SAFETY: `prepare` points at runs of the list, which is not touched meanwhile.
                    vectors.extend_from_slice(unsafe {
                        std::slice::from_raw_parts(run.iov_base.cast::<u8>(), run.iov_len)
                    });
                }
                let taken = vectors.len().min(step);
                sent.extend_from_slice(&vectors[..taken]);
                if !op.advance(taken) {
                    break;
                }
            }
            assert_eq!(sent, expected, "{step} at a time");
            assert_eq!(op.runs_left(), 0);
        }
    }
}
