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
    permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT_BYTES
    }

    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        let over = self.permit.num_permits().saturating_sub(units);
        drop(self.permit.split(over));
    }
}

/// Units of a purse that pictures leave alone.
fn floor(purse_units: u32) -> u32 {
    purse_units.div_ceil(4)
}

/// The smallest purse from which `pictures` bytes can be had while `bodies` bytes are out.
pub(super) fn purse_for(bodies: u64, pictures: u64) -> u64 {
    if pictures == 0 {
        bodies
    } else {
        // A unit more, as each purse is cut to whole ones.
        bodies
            .saturating_add(pictures)
            .saturating_mul(4)
            .div_ceil(3)
            .saturating_add(2 * UNIT_BYTES)
    }
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
        Some(Lease { permit })
    }

    /// Sets bytes aside for a picture, if they are to be had at this moment.
    pub(super) fn lease_picture(&self, bytes: u64) -> Option<Lease> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let free = self.purse.available_permits() as u64;
        if u64::from(units) + u64::from(floor(self.purse_units)) > free {
            return None;
        }
        let permit = Arc::clone(&self.purse).try_acquire_many_owned(units);
        Some(Lease {
            permit: permit.ok()?,
        })
    }

    /// Most bytes that all pictures together can have.
    pub(super) fn most_picture_bytes(&self) -> u64 {
        u64::from(self.purse_units - floor(self.purse_units)) * UNIT_BYTES
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

    #[test]
    fn pictures_leave_room_for_bodies_and_give_back_what_they_do_not_take() {
        block_on(async {
            let soon = Duration::from_millis(5);
            let door = Admission::new(9, 100 << 10);
            assert_eq!(door.most_picture_bytes(), 75 << 10);
            assert!(door.lease_picture(76 << 10).is_none());
            let mut first = door.lease_picture(60 << 10).unwrap();
            assert!(door.lease_picture(16 << 10).is_none());
            let second = door.lease_picture(15 << 10).unwrap();
            assert!(door.lease_picture(1).is_none());
            let body = door.lease(25 << 10, soon).await.unwrap();
            assert!(door.lease(1, soon).await.is_none());
            first.shrink_to(10_000);
            assert_eq!(first.bytes(), 10 << 10);
            assert_eq!(door.leased_bytes(), 50 << 10);
            first.shrink_to(1 << 20);
            assert_eq!(first.bytes(), 10 << 10, "it never grows");
            drop((second, body));
            first.shrink_to(0);
            assert_eq!(door.leased_bytes(), 0);
        });
    }

    #[test]
    fn the_smallest_purse_is_enough_and_hardly_less_would_be() {
        block_on(async {
            for (body, picture, count) in [(10_000, 3000, 4), (1, 1_000_000, 1), (90_001, 1, 7)] {
                let admits = |purse: u64| async move {
                    let door = Admission::new(9, purse);
                    let mut held = Vec::new();
                    for _ in 0..count {
                        held.push(door.lease(body, Duration::ZERO).await);
                    }
                    for _ in 0..count {
                        held.push(door.lease_picture(picture));
                    }
                    held.iter().all(Option::is_some)
                };
                let units = |bytes: u64| bytes.next_multiple_of(UNIT_BYTES) * count;
                let least = purse_for(units(body), units(picture));
                assert!(admits(least).await, "{body} {picture} {count}: {least}");
                let less = least - 6 * UNIT_BYTES;
                assert!(!admits(less).await, "{body} {picture} {count}: {less}");
            }
        });
    }
}
