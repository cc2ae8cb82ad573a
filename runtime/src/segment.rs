//! What is sent: a short list of byte runs, each kept alive until the kernel is done with it.

use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::buffers::Lease;

/// Runs a list holds without a heap allocation.
const INLINE: usize = 4;

/// Lists up to this size are gathered into one run where possible.
const GATHER_MAX: usize = 4 << 10;

/// One run of bytes.
#[derive(Debug)]
pub enum Segment {
    /// What arrived or was drafted.
    Lease(Lease),
    /// Text of the program.
    Static(&'static [u8]),
    /// Bytes of this worker.
    Local(Rc<[u8]>),
    /// Bytes of a snapshot, shared by all workers.
    Shared(Arc<[u8]>),
    /// A few bytes made on the spot, such as a chunk's head.
    Few(Few),
}

/// Up to [`Few::MAX`] bytes, held in place.
#[derive(Clone, Copy, Debug)]
pub struct Few {
    bytes: [u8; Few::MAX],
    len: u8,
}

impl Few {
    /// How many at most.
    pub const MAX: usize = 22;

    /// A copy of `bytes`. Panics beyond [`Few::MAX`].
    pub fn new(bytes: &[u8]) -> Few {
        let mut few = Few { bytes: [0; Few::MAX], len: bytes.len() as u8 };
        few.bytes[..bytes.len()].copy_from_slice(bytes);
        few
    }
}

impl Segment {
    /// The bytes. Their address is stable for as long as the segment is not moved.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Segment::Lease(lease) => lease,
            Segment::Static(bytes) => bytes,
            Segment::Local(bytes) => bytes,
            Segment::Shared(bytes) => bytes,
            Segment::Few(few) => &few.bytes[..few.len as usize],
        }
    }
}

impl From<Lease> for Segment {
    fn from(lease: Lease) -> Segment {
        Segment::Lease(lease)
    }
}

impl From<&'static [u8]> for Segment {
    fn from(bytes: &'static [u8]) -> Segment {
        Segment::Static(bytes)
    }
}

/// Byte runs to be sent in order, whole.
#[derive(Debug, Default)]
pub struct SendList {
    segments: SmallVec<[Segment; INLINE]>,
    bytes: usize,
}

impl SendList {
    /// An empty list.
    pub fn new() -> SendList {
        SendList::default()
    }

    /// Adds a run at the end; runs of no bytes are left out.
    pub fn push(&mut self, segment: impl Into<Segment>) {
        let segment = segment.into();
        let len = segment.bytes().len();
        if len > 0 {
            self.bytes += len;
            self.segments.push(segment);
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// The runs' bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(Segment::bytes)
    }

    /// The runs themselves, in order.
    pub fn into_segments(self) -> impl Iterator<Item = Segment> {
        self.segments.into_iter()
    }

    /// How many runs.
    pub fn runs(&self) -> usize {
        self.segments.len()
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies short runs behind the first where its buffer has room: one run is cheaper for the kernel to take than
    /// several, by more than copying so little costs.
    pub fn gather(&mut self) {
        if self.bytes > GATHER_MAX {
            return;
        }
        if let [Segment::Lease(first), rest @ ..] = &mut self.segments[..]
            && !rest.is_empty()
        {
            let joined = rest.iter().take_while(|run| first.append(run.bytes())).count();
            self.segments.drain(1..=joined);
        }
    }

    pub(crate) fn append(&mut self, mut more: SendList) {
        self.bytes += more.bytes;
        self.segments.append(&mut more.segments);
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn clear(&mut self) {
        self.segments.clear();
        self.bytes = 0;
    }
}

impl<S: Into<Segment>> From<S> for SendList {
    fn from(segment: S) -> SendList {
        let mut list = SendList::new();
        list.push(segment);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Draft;

    #[test]
    fn short_lists_become_one_run_and_keep_their_order() {
        let mut head = Draft::sized(64);
        head.put(b"head;");
        let mut list = SendList::from(head.into_lease());
        list.push(Lease::copy_of(b"body;"));
        list.push(&b"end"[..]);
        list.gather();
        assert_eq!(list.segments().len(), 1);
        assert_eq!(list.segments()[0].bytes(), b"head;body;end");
        assert_eq!(list.len(), 13);
    }

    #[test]
    fn a_run_that_does_not_fit_stays_where_it_is() {
        let mut list = SendList::from(Lease::copy_of(b"full"));
        list.push(&b"more"[..]);
        list.gather();
        assert_eq!(list.segments().iter().map(|s| s.bytes().len()).collect::<Vec<_>>(), [4, 4]);
    }
}
