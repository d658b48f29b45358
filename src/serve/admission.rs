//! Who may come in: a bounded number of requests, and a bounded number of bytes.
//!
//! A request takes a [`Ticket`] before its body is read, and bytes for its body from one purse, so
//! that what clients send can never add up to more than was set aside for it. What decoding a photo
//! takes is another purse of which one photo at a time has all; `predict::decode::cost` reads a
//! photo's price from its header. Whoever finds the queue full is told when to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which the purse counts: semaphores count in 32 bits.
const UNIT_BYTES: u64 = 1024;

/// The door of a server.
#[derive(Debug)]
pub(super) struct Admission {
    inside: Arc<AtomicUsize>,
    most: usize,
    purse: Arc<Semaphore>,
    purse_units: u32,
}

/// Somebody is inside. Leaves when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    inside: Arc<AtomicUsize>,
    /// How many were inside before.
    pub ahead: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Bytes that are set aside until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// A door for `queue` waiting requests beside one that is served, whose bodies take
    /// `purse_bytes` in all.
    pub(super) fn new(queue: usize, purse_bytes: u64) -> Self {
        let units = u32::try_from(purse_bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            inside: Arc::new(AtomicUsize::new(0)),
            most: queue + 1,
            purse: Arc::new(Semaphore::new(units as usize)),
            purse_units: units,
        }
    }

    /// Comes in, unless it is full.
    pub(super) fn enter(&self) -> Option<Ticket> {
        let ahead = self
            .inside
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.most).then_some(n + 1)
            })
            .ok()?;
        Some(Ticket {
            inside: Arc::clone(&self.inside),
            ahead,
        })
    }

    /// Sets bytes aside, waiting in line for at most `patience`; `None` if they are not to be had.
    pub(super) async fn lease(&self, bytes: u64, patience: Duration) -> Option<Lease> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        if units > self.purse_units {
            return None;
        }
        let acquire = Arc::clone(&self.purse).acquire_many_owned(units);
        let permit = tokio::time::timeout(patience, acquire).await.ok()?.ok()?;
        Some(Lease { _permit: permit })
    }

    /// Requests inside.
    pub(super) fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    /// Whether so many are inside that heat maps are left out for the sake of predictions.
    pub(super) fn is_crowded(&self) -> bool {
        self.inside() * 4 > self.most * 3
    }

    /// Bytes set aside.
    pub(super) fn leased_bytes(&self) -> u64 {
        let free = self.purse.available_permits() as u64;
        (u64::from(self.purse_units) - free) * UNIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn only_so_many_come_in() {
        let door = Admission::new(1, 1 << 20);
        let first = door.enter().unwrap();
        let second = door.enter().unwrap();
        assert_eq!((first.ahead, second.ahead), (0, 1));
        assert!(door.enter().is_none());
        assert!(door.is_crowded());
        drop(first);
        assert_eq!(door.inside(), 1);
        assert!(!door.is_crowded());
        assert!(door.enter().is_some());
    }

    #[test]
    fn bytes_are_given_back_and_never_overdrawn() {
        block_on(async {
            let door = Admission::new(9, 10_000);
            let soon = Duration::from_millis(5);
            assert!(door.lease(10_001, soon).await.is_none());
            let first = door.lease(6000, soon).await.unwrap();
            assert_eq!(door.leased_bytes(), 6 * 1024);
            assert!(door.lease(6000, soon).await.is_none());
            let small = door.lease(3000, soon).await.unwrap();
            drop((first, small));
            assert_eq!(door.leased_bytes(), 0);
        });
    }
}
