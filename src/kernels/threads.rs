//! The threads that share a program's calls.
//!
//! With the feature `threads` (on by default) they are rayon's. Without it, as in a browser, there
//! is only the caller's thread. This is the only module that asks for the feature.

use crate::hint::{Arguments, Hint, named};

/// The threads that share a program's calls: the caller's and `count - 1` others, which sleep
/// between runs.
pub struct Threads {
    #[cfg(feature = "threads")]
    pool: Option<rayon::ThreadPool>,
    count: usize,
}

/// Why there are fewer threads than requested.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ThreadsError(pub(crate) String);

impl Hint for ThreadsError {
    fn kind(&self) -> &'static str {
        "threads"
    }

    fn hint(&self) -> String {
        "ask for fewer with `--threads`, or end other programs".to_owned()
    }

    fn arguments(&self) -> Arguments {
        let Self(problem) = self;
        named!(problem)
    }
}

#[cfg(feature = "threads")]
impl Threads {
    /// `count` threads, including the caller's; 0 counts as 1.
    ///
    /// # Errors
    /// If the operating system refuses more threads.
    pub fn new(count: usize) -> Result<Self, ThreadsError> {
        let count = count.max(1);
        let pool = (count > 1).then(|| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count - 1)
                .thread_name(|i| format!("engine-{}", i + 1))
                .build()
        });
        let pool = pool.transpose();
        let pool = pool.map_err(|error| ThreadsError(error.to_string()))?;
        Ok(Self { pool, count })
    }

    /// Threads that can run at the same time: the CPUs of this process's affinity mask, within its
    /// cgroup's quota. 1 if the system does not say it.
    #[must_use]
    pub fn available() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Calls `own` on this thread, and at the same time `other` on every other thread, with its
    /// number, from 1. Returns when all have returned, and panics if one of them did. `Program`
    /// relies on the fact that no two threads get the same number.
    pub(super) fn share(&self, other: impl Fn(usize) + Sync, own: impl FnOnce()) {
        let Some(pool) = &self.pool else {
            return own();
        };
        pool.in_place_scope(|scope| {
            let other = &other;
            scope.spawn_broadcast(move |_, context| other(context.index() + 1));
            own();
        });
    }
}

#[cfg(not(feature = "threads"))]
impl Threads {
    /// The caller's thread; 0 counts as 1.
    ///
    /// # Errors
    /// If `count` is more than 1.
    pub fn new(count: usize) -> Result<Self, ThreadsError> {
        if count > 1 {
            let text = "this build has the caller's thread only (feature `threads`)";
            return Err(ThreadsError(text.to_owned()));
        }
        Ok(Self { count: 1 })
    }

    /// 1: without the feature `threads` there is only the caller's thread.
    #[must_use]
    pub fn available() -> usize {
        1
    }

    /// Calls `own` on this thread. There is no other.
    #[expect(clippy::unused_self, reason = "as with threads")]
    pub(super) fn share(&self, _other: impl Fn(usize) + Sync, own: impl FnOnce()) {
        own();
    }
}

impl Threads {
    /// Their number, including the caller's.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(all(test, feature = "threads"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_thread_has_a_number_of_its_own() {
        for count in [0, 1, 2, 5] {
            let threads = Threads::new(count).unwrap();
            assert_eq!(threads.count(), count.max(1));
            let calls: Vec<_> = (0..threads.count()).map(|_| AtomicUsize::new(0)).collect();
            for round in 1..=10 {
                let mark = |thread: usize| {
                    calls[thread].fetch_add(1, Ordering::Relaxed);
                };
                threads.share(mark, || mark(0));
                assert!(calls.iter().all(|n| n.load(Ordering::Relaxed) == round));
            }
        }
    }
}
