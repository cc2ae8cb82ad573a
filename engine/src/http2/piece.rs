//! What is on its way out on a stream: `h2` holds the pieces, and a [`Meter`] knows how much of them is left.
//!
//! `h2` takes whatever it is given and sends as the peer's windows allow. Each piece tells the meter as it moves into the
//! connection's own buffer, or is dropped; so a stream can be asked what a connection can be asked: how much is unsent,
//! and when it is less. Invariant: what the meters count is what the pieces hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use bytes::Buf;
use ringway_runtime::Segment;

/// How much of one stream is on its way out.
#[derive(Default)]
pub(super) struct Meter {
    unsent: Cell<usize>,
    runs: Cell<usize>,
    sent: Cell<u64>,
    /// Of whom to wake once no more than this is left.
    low: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    /// All streams of the connection together, and how much may wait on them.
    connection: Rc<Cell<usize>>,
    connection_max: usize,
}

impl Meter {
    /// A stream of the connection whose streams count their bytes in `connection`; beyond `connection_max` all are behind.
    pub fn of(connection: Rc<Cell<usize>>, connection_max: usize) -> Rc<Meter> {
        Rc::new(Meter { connection, connection_max, ..Meter::default() })
    }

    /// Bytes not yet taken by the connection.
    pub fn unsent(&self) -> usize {
        self.unsent.get()
    }

    /// Pieces not yet taken.
    pub fn runs(&self) -> usize {
        self.runs.get()
    }

    /// Bytes taken by the connection, ever.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Whether more waits on the connection's streams together than may.
    pub fn connection_is_behind(&self) -> bool {
        self.connection.get() > self.connection_max
    }

    /// Wakes `waker` once no more than `low` bytes are left.
    pub fn wake_at(&self, low: usize, waker: &Waker) {
        self.low.set(low);
        let mut kept = self.waker.borrow_mut();
        match &*kept {
            Some(kept) if kept.will_wake(waker) => {}
            _ => *kept = Some(waker.clone()),
        }
    }

    fn took(&self, bytes: usize) {
        self.unsent.set(self.unsent.get() - bytes);
        self.connection.set(self.connection.get() - bytes);
        if self.unsent.get() <= self.low.get()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

/// Bytes on their way out.
pub(super) struct Piece {
    segment: Segment,
    at: usize,
    meter: Rc<Meter>,
}

impl Piece {
    pub fn new(segment: Segment, meter: &Rc<Meter>) -> Piece {
        let bytes = segment.bytes().len();
        meter.unsent.set(meter.unsent.get() + bytes);
        meter.runs.set(meter.runs.get() + 1);
        meter.connection.set(meter.connection.get() + bytes);
        Piece { segment, at: 0, meter: meter.clone() }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.segment.bytes().len() - self.at
    }

    fn chunk(&self) -> &[u8] {
        self.segment.bytes().get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "no further than its end");
        self.at += bytes;
        self.meter.sent.set(self.meter.sent.get() + bytes as u64);
        self.meter.took(bytes);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.meter.runs.set(self.meter.runs.get() - 1);
        self.meter.took(self.remaining());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meters_count_what_the_pieces_hold() {
        let connection = Rc::new(Cell::new(0));
        let (one, other) = (Meter::of(connection.clone(), 5), Meter::of(connection.clone(), 5));
        let mut piece = Piece::new(Segment::Static(b"abcdef"), &one);
        let dropped = Piece::new(Segment::Static(b"xyz"), &other);
        piece.advance(2);
        assert_eq!((piece.chunk(), one.unsent(), one.sent(), connection.get()), (&b"cdef"[..], 4, 2, 7));
        assert!(one.connection_is_behind());
        drop(dropped);
        assert!(!one.connection_is_behind());
        assert_eq!((other.unsent(), other.runs(), other.sent(), connection.get()), (0, 0, 0, 4));
        piece.advance(4);
        drop(piece);
        assert_eq!((one.unsent(), one.runs(), one.sent(), connection.get()), (0, 0, 6, 0));
    }
}
