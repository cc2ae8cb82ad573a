//! An allocator that counts, for tests that hold the request path to its promise: no allocation once warm.
//!
//! A test's binary installs it as its `#[global_allocator]`. What threads allocate counts, except that of threads
//! which said [`ignore_this_thread`]: clients and origins of the test. It stands here because an allocator takes
//! `unsafe`; nothing that is shipped uses it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

/// The system's allocator, counted.
pub struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
/// Whether the next counted allocation leaves its backtrace.
static ARMED: AtomicBool = AtomicBool::new(false);
static FIRST: Mutex<Option<String>> = Mutex::new(None);

thread_local! {
    /// Constant at start and without a destructor, so that reaching it never allocates.
    static IGNORED: Cell<bool> = const { Cell::new(false) };
}

/// Allocations and reallocations of all threads that are not ignored, since the process began.
pub fn counted() -> u64 {
    COUNT.load(SeqCst)
}

/// What this thread allocates does not count from now on.
pub fn ignore_this_thread() {
    IGNORED.set(true);
}

/// The next allocation that counts leaves its backtrace for [`first`].
pub fn arm() {
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = None;
    ARMED.store(true, SeqCst);
}

/// Stops waiting; where the first allocation after [`arm`] came from, if there was one.
pub fn first() -> Option<String> {
    ARMED.store(false, SeqCst);
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[inline]
fn count() {
    if IGNORED.get() {
        return;
    }
    COUNT.fetch_add(1, SeqCst);
    if ARMED.load(SeqCst) && ARMED.swap(false, SeqCst) {
        // A backtrace allocates itself.
        IGNORED.set(true);
        let trace = Backtrace::force_capture().to_string();
        *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
        IGNORED.set(false);
    }
}

// SAFETY: every call is handed on as it came to the system's allocator, which keeps the promises of the trait.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `GlobalAlloc::realloc`; the place came from the system's allocator.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`; the place came from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}
