//! A limit on what a target may allocate: twice the input and 64 MB, as the importers promise.
//! libFuzzer's own limit looks once a second, and misses short peaks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Limited;

static NOW: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

fn take(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if now > LIMIT.load(Ordering::Relaxed) {
        // The message and the backtrace need memory, too.
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        let place = std::backtrace::Backtrace::force_capture();
        eprintln!("more than twice the input and 64 MB: {bytes} bytes at\n{place}");
        // libFuzzer keeps the input.
        std::process::abort();
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// Runs a target on an input of `len` bytes within the limit.
pub fn limited(len: usize, target: impl FnOnce()) {
    let now = NOW.load(Ordering::Relaxed);
    LIMIT.store(now + 2 * len + (64 << 20), Ordering::Relaxed);
    target();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}
