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
    layout: Cell<Layout>,
    free: RefCell<Vec<NonNull<u8>>>,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { layout: Cell::new(Layout::new::<()>()), free: RefCell::new(Vec::with_capacity(KEPT_MAX)) }
    }
}

impl Slots {
    /// Runs the future that `make` returns in a slot. The future is built in place.
    #[inline]
    pub fn run<F: Future>(&self, make: impl FnOnce() -> F) -> Running<'_, F> {
        let place = self.take(Layout::new::<F>()).cast::<F>();
        // SAFETY: the place has F's layout and belongs to nobody else.
        unsafe { place.as_ptr().write(make()) };
        Running { place, slots: self }
    }

    #[inline]
    fn take(&self, wanted: Layout) -> NonNull<u8> {
        if self.layout.get() == wanted
            && let Some(place) = self.free.borrow_mut().pop()
        {
            return place;
        }
        if self.layout.get().size() == 0 {
            self.layout.set(wanted);
        }
        let layout = Layout::from_size_align(wanted.size().max(1), wanted.align()).unwrap_or(wanted);
        // SAFETY: the size is not zero.
        let place = unsafe { alloc(layout) };
        NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout))
    }

    #[inline]
    fn give_back(&self, place: NonNull<u8>, layout: Layout) {
        let mut free = self.free.borrow_mut();
        if layout == self.layout.get() && free.len() < KEPT_MAX {
            free.push(place);
            return;
        }
        let layout = Layout::from_size_align(layout.size().max(1), layout.align()).unwrap_or(layout);
        // SAFETY: the place was made by `take` with this layout.
        unsafe { dealloc(place.as_ptr(), layout) };
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let layout = self.layout.get();
        for place in self.free.borrow_mut().drain(..) {
            // SAFETY: only places of this layout are kept, each made by `take`; none is in use, since a running
            // future borrows the slots.
            unsafe { dealloc(place.as_ptr(), layout) };
        }
    }
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
        self.slots.give_back(self.place.cast(), Layout::new::<F>());
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
}
