//! Reusable places for futures: what an exchange needs is taken when one begins and given back when it ends.
//!
//! A connection's task stays small while it idles, because the large future of an exchange lives in a slot only
//! while it runs. After warm-up a slot is reused and nothing is allocated.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Empty slots kept for reuse; more than these are freed.
const KEPT_MAX: usize = 256;

/// Slots for futures of one type (others work, but are allocated each time).
pub struct Slots {
    /// The layout of every slot kept; that of the first future run.
    layout: Cell<Option<Layout>>,
    free: RefCell<Vec<NonNull<u8>>>,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { layout: Cell::new(None), free: RefCell::new(Vec::with_capacity(KEPT_MAX)) }
    }
}

impl Slots {
    /// Runs the future that `make` returns in a slot. The future is built in place.
    #[inline]
    pub fn run<F: Future>(&self, make: impl FnOnce() -> F) -> Running<'_, F> {
        let place = self.take(slot_of::<F>()).cast::<F>();
        // SAFETY: the place has F's layout and belongs to nobody else.
        unsafe { place.as_ptr().write(make()) };
        Running { place, slots: self }
    }

    #[inline]
    fn take(&self, wanted: Layout) -> NonNull<u8> {
        match self.layout.get() {
            Some(layout) if layout == wanted => {
                if let Some(place) = self.free.borrow_mut().pop() {
                    return place;
                }
            }
            Some(_) => {}
            None => self.layout.set(Some(wanted)),
        }
        // SAFETY: the size is not zero (`slot_of`).
        let place = unsafe { alloc(wanted) };
        NonNull::new(place).unwrap_or_else(|| handle_alloc_error(wanted))
    }

    #[inline]
    fn give_back(&self, place: NonNull<u8>, layout: Layout) {
        let mut free = self.free.borrow_mut();
        if self.layout.get() == Some(layout) && free.len() < KEPT_MAX {
            free.push(place);
            return;
        }
        // SAFETY: the place was made by `take` with this layout.
        unsafe { dealloc(place.as_ptr(), layout) };
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let Some(layout) = self.layout.get() else { return };
        for place in self.free.borrow_mut().drain(..) {
            // SAFETY: only places of this layout are kept, each made by `take`; none is in use, since a running
            // future borrows the slots.
            unsafe { dealloc(place.as_ptr(), layout) };
        }
    }
}

/// The layout of a slot for `F`; never of size zero, which the allocator does not take.
const fn slot_of<F>() -> Layout {
    if size_of::<F>() == 0 {
        // SAFETY: an alignment is a power of two, and as a size it does not overflow when rounded up to itself.
        return unsafe { Layout::from_size_align_unchecked(align_of::<F>(), align_of::<F>()) };
    }
    Layout::new::<F>()
}

/// A future in its slot.
pub struct Running<'a, F: Future> {
    place: NonNull<F>,
    slots: &'a Slots,
}

impl<F: Future> Future for Running<'_, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the place holds a live F from `run` until drop, and only this value refers to it.
        let future = unsafe { &mut *self.place.as_ptr() };
        // SAFETY: the future is never moved out of its place before it is dropped there.
        let future = unsafe { Pin::new_unchecked(future) };
        future.poll(cx)
    }
}

impl<F: Future> Drop for Running<'_, F> {
    fn drop(&mut self) {
        // SAFETY: the place holds a live F, dropped once, here.
        unsafe { std::ptr::drop_in_place(self.place.as_ptr()) };
        self.slots.give_back(self.place.cast(), slot_of::<F>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_slot_is_reused() {
        let slots = Slots::default();
        let mut places = Vec::new();
        for i in 0..3u64 {
            let mut running = slots.run(|| async move { std::hint::black_box(i) });
            places.push(running.place.cast::<u8>());
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(Pin::new(&mut running).poll(&mut cx), Poll::Ready(i));
        }
        assert!(places.iter().all(|p| *p == places[0]));
    }

    #[test]
    fn a_slot_of_a_future_without_size_is_never_given_to_a_larger_one() {
        let slots = Slots::default();
        drop(slots.run(std::future::pending::<()>));
        let large = [7u8; 4096];
        for _ in 0..3 {
            let mut running = slots.run(|| async move {
                std::future::ready(()).await;
                large
            });
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(Pin::new(&mut running).poll(&mut cx), Poll::Ready(large));
        }
    }

    #[test]
    fn a_maker_that_panics_leaves_the_slots_usable() {
        let slots = Slots::default();
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(slots.run(|| -> std::future::Ready<()> { panic!("no future") }));
        }));
        assert!(made.is_err());
        let mut running = slots.run(|| std::future::ready(()));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut running).poll(&mut cx), Poll::Ready(()));
    }
}
