//! What is sent: a short list of byte runs, each kept alive until the kernel is done with it.

use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::buffers::Lease;

/// Runs a list holds without a heap allocation.
const INLINE: usize = 4;

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
}

impl Segment {
    /// The bytes. Their address is stable for as long as the segment lives, wherever it moves.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Segment::Lease(lease) => lease,
            Segment::Static(bytes) => bytes,
            Segment::Local(bytes) => bytes,
            Segment::Shared(bytes) => bytes,
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

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
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
