//! Receive buffers: a fixed number per worker and side, lent out and given back.
//!
//! A [`Region`] is memory cut into equal buffers, each with a count of the leases on it. At zero the buffer returns
//! to the free stack (last in, first out, so that a quiet worker touches few pages). Memory of a lease's own size
//! (a head that spans buffers, a body moved off a scarce pool) is a region of one buffer, freed with its last lease.
//!
//! Invariant: bytes of a buffer are written only while no lease on it exists (by the kernel, or by a [`Draft`]),
//! or beyond the end of the only lease ([`Lease::append`]). A lease on a pool's buffer is made only while buffers are
//! not scarce ([`Region::is_scarce`]), so an eighth of each pool is always on its way round: nobody's half-received
//! head, stalled upload or unread response can hold it back.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use bytes::Bytes;

/// Memory cut into buffers of one size.
pub(crate) struct Region {
    base: NonNull<u8>,
    size: u32,
    leases: Box<[Cell<u16>]>,
    free: RefCell<Vec<u16>>,
    /// With fewer free ones buffers are scarce.
    reserve: usize,
    /// Not a pool: freed with its last lease.
    own: bool,
    /// Memory of someone else's, which is kept and given back; it is never written.
    kept: Option<Bytes>,
}

const PAGE: usize = 4096;

impl Region {
    /// A pool of `count` buffers of `size` bytes. The memory is reserved here and used when first touched.
    pub fn pool(size: u32, count: u16) -> Rc<Region> {
        let base = reserve(size as usize * count as usize, PAGE);
        let free = (0..count).rev().collect();
        Rc::new(Region {
            base,
            size,
            leases: zeroed(count),
            free: RefCell::new(free),
            reserve: count as usize / 8,
            own: false,
            kept: None,
        })
    }

    fn own(size: u32) -> Rc<Region> {
        let base = reserve(size as usize, 8);
        Rc::new(Region {
            base,
            size,
            leases: zeroed(1),
            free: RefCell::new(Vec::new()),
            reserve: 0,
            own: true,
            kept: None,
        })
    }

    /// Bytes of someone else's, as a region of one buffer that is full.
    fn around(bytes: Bytes) -> Rc<Region> {
        let base = NonNull::from(&bytes[..]).cast();
        let size = u32::try_from(bytes.len()).expect("pieces are far below 4 GiB");
        Rc::new(Region {
            base,
            size,
            leases: zeroed(1),
            free: RefCell::new(Vec::new()),
            reserve: 0,
            own: true,
            kept: Some(bytes),
        })
    }

    pub fn size(&self) -> u32 {
        self.size
    }

    pub fn free(&self) -> usize {
        self.free.borrow().len()
    }

    pub fn count(&self) -> usize {
        self.leases.len()
    }

    /// Few are free. What arrives now is copied into memory of its own, so that the reserve goes round and round
    /// however many bytes wait for someone slow.
    #[inline]
    pub fn is_scarce(&self) -> bool {
        self.free.borrow().len() < self.reserve
    }

    /// Takes a free buffer for the kernel or a draft to write.
    pub fn take(&self) -> Option<u16> {
        self.free.borrow_mut().pop()
    }

    /// Gives back a buffer that was taken and never leased.
    pub fn put_back(&self, id: u16) {
        debug_assert_eq!(self.leases[id as usize].get(), 0);
        self.free.borrow_mut().push(id);
    }

    pub fn address(&self, id: u16) -> NonNull<u8> {
        debug_assert!((id as usize) < self.leases.len());
        // SAFETY: `id` is below the number of buffers, so the offset stays within the region's allocation.
        unsafe { self.base.add(id as usize * self.size as usize) }
    }

    /// The first lease on buffer `id`, whose first `len` bytes are written.
    pub fn lease(self: &Rc<Region>, id: u16, len: u32) -> Lease {
        debug_assert!(len <= self.size);
        debug_assert_eq!(self.leases[id as usize].get(), 0);
        self.leases[id as usize].set(1);
        Lease { region: self.clone(), id, start: 0, end: len }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.kept.is_some() {
            return;
        }
        let align = if self.own { 8 } else { PAGE };
        let layout = layout(self.size as usize * self.leases.len(), align);
        // SAFETY: `base` came from `reserve` with this layout, and no lease is left (each holds an Rc of the region).
        unsafe { dealloc(self.base.as_ptr(), layout) }
    }
}

fn zeroed(count: u16) -> Box<[Cell<u16>]> {
    (0..count).map(|_| Cell::new(0)).collect()
}

fn layout(bytes: usize, align: usize) -> Layout {
    match Layout::from_size_align(bytes.max(1), align) {
        Ok(layout) => layout,
        Err(_) => handle_alloc_error(Layout::new::<u8>()),
    }
}

fn reserve(bytes: usize, align: usize) -> NonNull<u8> {
    let layout = layout(bytes, align);
    // SAFETY: the layout's size is never zero.
    let ptr = unsafe { alloc_zeroed(layout) };
    NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Bytes that arrived, or were drafted, on loan. Cheap to split and to share within the worker. Dropping the last
/// lease on a buffer gives the buffer back.
pub struct Lease {
    region: Rc<Region>,
    id: u16,
    start: u32,
    end: u32,
}

impl Lease {
    /// Memory of its own size holding a copy of `bytes`. At most 4 GiB.
    pub fn copy_of(bytes: &[u8]) -> Lease {
        let mut draft = Draft::sized(bytes.len());
        draft.put(bytes);
        draft.into_lease()
    }

    /// Bytes of someone else's (h2 hands out such), not copied. At most 4 GiB.
    pub fn of_bytes(bytes: Bytes) -> Lease {
        let len = bytes.len() as u32;
        Region::around(bytes).lease(0, len)
    }

    /// A lease of no bytes: how the end of a stream is told.
    pub fn is_end(&self) -> bool {
        self.start == self.end
    }

    /// Another lease on a part of the same bytes. Panics if `range` is not within them.
    pub fn slice(&self, range: Range<usize>) -> Lease {
        assert!(range.start <= range.end && range.end <= self.len());
        let count = &self.region.leases[self.id as usize];
        count.set(count.get().checked_add(1).expect("fewer than 65536 leases on a buffer"));
        Lease {
            region: self.region.clone(),
            id: self.id,
            start: self.start + range.start as u32,
            end: self.start + range.end as u32,
        }
    }

    /// Forgets the first `n` bytes. Panics if there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len());
        self.start += n as u32;
    }

    /// Forgets all but the first `n` bytes. Panics if there are fewer.
    pub fn truncate(&mut self, n: usize) {
        assert!(n <= self.len());
        self.end = self.start + n as u32;
    }

    /// Whether the bytes sit in a pool that others may be waiting for.
    pub fn is_pooled(&self) -> bool {
        !self.region.own
    }

    /// These bytes with `more` behind them, in memory of their own that grows by doubling: a head that arrives in
    /// pieces gives its pool buffers back. At most 4 GiB.
    pub fn joined(mut self, more: &[u8]) -> Lease {
        if !self.is_pooled() && self.append(more) {
            return self;
        }
        let len = self.len() + more.len();
        let mut draft = Draft::sized((2 * len).max(256));
        draft.put(&self);
        draft.put(more);
        draft.into_lease()
    }

    /// Appends `bytes` behind these in the same buffer if this is the only lease on it and they fit.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        let sole = self.region.leases[self.id as usize].get() == 1 && self.region.kept.is_none();
        if !sole || ((self.region.size - self.end) as usize) < bytes.len() {
            return false;
        }
        let at = self.region.address(self.id);
        // SAFETY: `end + bytes.len()` is within the buffer, checked above.
        let at = unsafe { at.add(self.end as usize) };
        // SAFETY: this is the only lease on the buffer, so no reader overlaps the bytes from `end` on, and `bytes`
        // belongs to another buffer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) };
        self.end += bytes.len() as u32;
        true
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: leases are made with `end` within the buffer, and `address` is valid for the region's life.
        let ptr = unsafe { self.region.address(self.id).add(self.start as usize) };
        // SAFETY: bytes from start to end were written before the lease was made (or by `append`, which moves `end`
        // after writing), and are never written while a lease exists.
        unsafe { std::slice::from_raw_parts(ptr.as_ptr(), (self.end - self.start) as usize) }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let count = &self.region.leases[self.id as usize];
        let left = count.get() - 1;
        count.set(left);
        if left == 0 && !self.region.own {
            self.region.free.borrow_mut().push(self.id);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({} bytes)", self.len())
    }
}

/// Room of a draft that no pool's buffer is left for; most heads fit.
const SPARE_DRAFT: usize = 4096;

/// A buffer being written by this worker: heads it makes itself.
pub struct Draft {
    region: Rc<Region>,
    id: u16,
    len: u32,
}

impl Draft {
    /// A draft in a pool's buffer, or in memory of its own where few are left.
    pub(crate) fn from_pool(region: &Rc<Region>) -> Draft {
        let id = if region.is_scarce() { None } else { region.take() };
        match id {
            Some(id) => Draft { region: region.clone(), id, len: 0 },
            None => Draft::sized(SPARE_DRAFT.min(region.size as usize)),
        }
    }

    /// A draft with room for `bytes` in memory of its own. Panics beyond 4 GiB.
    pub fn sized(bytes: usize) -> Draft {
        let size = u32::try_from(bytes.max(1)).expect("drafts are far below 4 GiB");
        Draft { region: Region::own(size), id: 0, len: 0 }
    }

    /// Room left.
    pub fn room(&self) -> usize {
        (self.region.size - self.len) as usize
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Nothing written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were written by `put` or vouched for by `written`.
        unsafe { std::slice::from_raw_parts(self.region.address(self.id).as_ptr(), self.len as usize) }
    }

    /// The room left, to be written and then counted with [`Draft::written`]. It starts as zeros or as what an
    /// earlier exchange of this worker left; bytes that are not counted are never sent.
    pub fn spare(&mut self) -> &mut [u8] {
        let room = self.room();
        // SAFETY: `len` is within the buffer.
        let ptr = unsafe { self.region.address(self.id).add(self.len as usize) };
        // SAFETY: within the buffer; initialised, since `reserve` hands out zeroed memory; no lease exists on it.
        unsafe { std::slice::from_raw_parts_mut(ptr.as_ptr(), room) }
    }

    /// Counts `n` bytes of the spare room as written. Panics beyond the room.
    pub fn written(&mut self, n: usize) {
        assert!(n <= self.room());
        self.len += n as u32;
    }

    /// Appends `bytes`. Panics if they don't fit.
    pub fn put(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room());
        // SAFETY: `len` is within the buffer.
        let at = unsafe { self.region.address(self.id).add(self.len as usize) };
        // SAFETY: the room was checked; nobody else holds a lease on a draft's buffer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) };
        self.len += bytes.len() as u32;
    }

    /// Done: what was written, as a lease.
    pub fn into_lease(self) -> Lease {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never used again nor dropped, so the Rc is moved out exactly once.
        let region = unsafe { std::ptr::read(&this.region) };
        region.lease(this.id, this.len)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.region.own {
            self.region.put_back(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lease_gives_the_buffer_back() {
        let pool = Region::pool(4096, 2);
        let id = pool.take().unwrap();
        let a = pool.lease(id, 10);
        let b = a.slice(2..4);
        drop(a);
        assert_eq!(pool.free(), 1);
        assert_eq!(b.len(), 2);
        drop(b);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn bytes_of_others_are_kept_and_never_written() {
        let bytes = Bytes::from(vec![1, 2, 3, 4]);
        let mut lease = Lease::of_bytes(bytes.clone());
        assert_eq!(lease.as_ptr(), bytes.as_ptr());
        lease.truncate(2);
        assert!(!lease.append(&[9]));
        let joined = lease.slice(0..1).joined(&[7]);
        drop(lease);
        assert_eq!(&*joined, [1, 7]);
        assert_eq!(&bytes[..], [1, 2, 3, 4]);
        assert!(Lease::of_bytes(Bytes::new()).is_end());
    }

    #[test]
    fn a_shared_buffer_is_never_appended_to() {
        let pool = Region::pool(16, 1);
        let mut draft = Draft::from_pool(&pool);
        draft.put(b"abc");
        let mut a = draft.into_lease();
        assert!(a.append(b"def"));
        assert_eq!(&*a, b"abcdef");
        let b = a.slice(0..1);
        assert!(!a.append(b"g"));
        drop(b);
        assert!(a.append(b"ghijklmnop"));
        assert!(!a.append(b"q"));
    }

    #[test]
    fn a_draft_takes_own_memory_when_the_pool_is_dry() {
        let pool = Region::pool(64, 1);
        let first = Draft::from_pool(&pool);
        let mut second = Draft::from_pool(&pool);
        second.spare()[..3].copy_from_slice(b"xyz");
        second.written(3);
        assert!(!second.into_lease().is_pooled());
        drop(first);
        assert_eq!(pool.free(), 1);
    }
}
