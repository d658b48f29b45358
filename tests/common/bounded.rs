//! Imports of hostile files within bounds: their memory is counted by the allocator of the test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dermal::import::{ImportError, ImportOptions, Imported, import};

/// Counts bytes that are allocated, and their peak.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
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
static ALLOCATOR: Counting = Counting;

/// One test at a time, or their memory could not be told apart.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

/// Imports a file within twice its size and 64 MB, and five seconds.
pub(crate) fn bounded(path: &Path) -> Result<Imported, ImportError> {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let started = Instant::now();
    let result = import(path, &ImportOptions::default(), &mut |_| {});
    let file = std::fs::metadata(path).map_or(0, |m| m.len());
    let limit = usize::try_from(file).unwrap() * 2 + (64 << 20);
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(peak <= limit, "{}: {peak} bytes", path.display());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{}",
        path.display()
    );
    result
}
