//! Admission control: how many requests may be in the server, and how many bytes they may take.
//!
//! A request takes a [`QueueSlot`] before its body is read, and a [`Reservation`] for the bytes of
//! its body. All reservations come from one upload budget, so whatever clients send, it never takes
//! more memory than was set aside for it. Decoding has a budget of its own, which one photo at a time
//! may use in full; `predict::decode::cost` reads from a photo's header what it will take. A client
//! that finds the queue full is told when to come back.
//!
//! `budget` splits the process's memory, `heat_map` says what a heat map takes, `overload` notices
//! that more requests come than can be answered.

mod budget;
mod heat_map;
mod overload;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(in crate::serve) use budget::{
    BASE_BYTES, MIN_DECODE_BYTES, MemorySplit, TYPICAL_PICTURE_BYTES,
};
pub use budget::{ExpectedRequests, MemorySettings, least_budget};
pub(in crate::serve) use heat_map::HeatMapCost;
pub(in crate::serve) use overload::{Caller, InFlight, OverloadDetector};

/// Reservations are multiples of this many bytes, because semaphores count in 32 bits.
const UNIT_BYTES: u64 = 1024;

/// The queue of a server and its upload budget.
#[derive(Debug)]
pub(in crate::serve) struct Admission {
    in_flight: Arc<AtomicUsize>,
    max_in_flight: usize,
    /// Free units of the upload budget.
    free: Arc<Semaphore>,
    total_units: u32,
}

/// The place of one request in the server. Dropping it makes room for another.
#[derive(Debug)]
pub(in crate::serve) struct QueueSlot {
    in_flight: Arc<AtomicUsize>,
    /// How many requests were in the server before this one.
    pub ahead: usize,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Bytes of the upload budget. Dropping it gives them back.
#[derive(Debug)]
pub(in crate::serve) struct Reservation {
    permit: OwnedSemaphorePermit,
}

impl Reservation {
    pub(in crate::serve) fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT_BYTES
    }

    /// Gives back all but `bytes`. A reservation never grows.
    pub(in crate::serve) fn shrink_to(&mut self, bytes: u64) {
        let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        let excess = self.permit.num_permits().saturating_sub(units);
        drop(self.permit.split(excess));
    }
}

/// Units of the upload budget that heat maps must leave free for bodies.
fn units_for_bodies(total_units: u32) -> u32 {
    total_units.div_ceil(4)
}

/// The smallest upload budget that has room for `pictures` bytes of heat maps while bodies hold
/// `bodies` bytes.
fn least_upload_budget(bodies: u64, pictures: u64) -> u64 {
    if pictures == 0 {
        bodies
    } else {
        // Two units more, because budget and share are rounded to whole units.
        bodies
            .saturating_add(pictures)
            .saturating_mul(4)
            .div_ceil(3)
            .saturating_add(2 * UNIT_BYTES)
    }
}

impl Admission {
    /// Admits `queue` waiting requests and one that is served; their bodies and heat maps share
    /// `budget_bytes`.
    pub(in crate::serve) fn new(queue: usize, budget_bytes: u64) -> Self {
        let units = u32::try_from(budget_bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            in_flight: Arc::new(AtomicUsize::new(0)),
            max_in_flight: queue + 1,
            free: Arc::new(Semaphore::new(units as usize)),
            total_units: units,
        }
    }

    /// Admits a request; `None` if the queue is full.
    pub(in crate::serve) fn admit(&self) -> Option<QueueSlot> {
        let ahead = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.max_in_flight).then_some(n + 1)
            })
            .ok()?;
        Some(QueueSlot {
            in_flight: Arc::clone(&self.in_flight),
            ahead,
        })
    }

    /// Reserves bytes for a body. Waits in line for at most `timeout`; `None` if they do not become
    /// free in that time, or exceed the whole budget.
    pub(in crate::serve) async fn reserve(
        &self,
        bytes: u64,
        timeout: Duration,
    ) -> Option<Reservation> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        if units > self.total_units {
            return None;
        }
        let acquire = Arc::clone(&self.free).acquire_many_owned(units);
        let permit = tokio::time::timeout(timeout, acquire).await.ok()?.ok()?;
        Some(Reservation { permit })
    }

    /// Reserves bytes for a heat map; `None` if they are not free at this moment.
    pub(in crate::serve) fn reserve_picture(&self, bytes: u64) -> Option<Reservation> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let free = self.free.available_permits() as u64;
        if u64::from(units) + u64::from(units_for_bodies(self.total_units)) > free {
            return None;
        }
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units);
        Some(Reservation {
            permit: permit.ok()?,
        })
    }

    /// Most bytes that all heat maps together may hold.
    pub(in crate::serve) fn max_picture_bytes(&self) -> u64 {
        u64::from(self.total_units - units_for_bodies(self.total_units)) * UNIT_BYTES
    }

    /// Requests that wait or are served.
    pub(in crate::serve) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether the queue is more than three quarters full: heat maps are left out then, so that
    /// predictions go on.
    pub(in crate::serve) fn is_nearly_full(&self) -> bool {
        self.in_flight() * 4 > self.max_in_flight * 3
    }

    /// Bytes that are reserved.
    pub(in crate::serve) fn reserved_bytes(&self) -> u64 {
        let free = self.free.available_permits() as u64;
        (u64::from(self.total_units) - free) * UNIT_BYTES
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
    fn the_queue_has_a_limit() {
        let admission = Admission::new(1, 1 << 20);
        let first = admission.admit().unwrap();
        let second = admission.admit().unwrap();
        assert_eq!((first.ahead, second.ahead), (0, 1));
        assert!(admission.admit().is_none());
        assert!(admission.is_nearly_full());
        drop(first);
        assert_eq!(admission.in_flight(), 1);
        assert!(!admission.is_nearly_full());
        assert!(admission.admit().is_some());
    }

    #[test]
    fn bytes_are_given_back_and_the_budget_is_never_exceeded() {
        block_on(async {
            let admission = Admission::new(9, 10_000);
            let soon = Duration::from_millis(5);
            assert!(admission.reserve(10_001, soon).await.is_none());
            let first = admission.reserve(6000, soon).await.unwrap();
            assert_eq!(admission.reserved_bytes(), 6 * 1024);
            assert!(admission.reserve(6000, soon).await.is_none());
            let small = admission.reserve(3000, soon).await.unwrap();
            drop((first, small));
            assert_eq!(admission.reserved_bytes(), 0);
        });
    }

    #[test]
    fn pictures_leave_room_for_bodies_and_give_back_what_they_do_not_take() {
        block_on(async {
            let soon = Duration::from_millis(5);
            let admission = Admission::new(9, 100 << 10);
            assert_eq!(admission.max_picture_bytes(), 75 << 10);
            assert!(admission.reserve_picture(76 << 10).is_none());
            let mut first = admission.reserve_picture(60 << 10).unwrap();
            assert!(admission.reserve_picture(16 << 10).is_none());
            let second = admission.reserve_picture(15 << 10).unwrap();
            assert!(admission.reserve_picture(1).is_none());
            let body = admission.reserve(25 << 10, soon).await.unwrap();
            assert!(admission.reserve(1, soon).await.is_none());
            first.shrink_to(10_000);
            assert_eq!(first.bytes(), 10 << 10);
            assert_eq!(admission.reserved_bytes(), 50 << 10);
            first.shrink_to(1 << 20);
            assert_eq!(first.bytes(), 10 << 10, "it never grows");
            drop((second, body));
            first.shrink_to(0);
            assert_eq!(admission.reserved_bytes(), 0);
        });
    }

    #[test]
    fn the_least_upload_budget_is_enough_and_hardly_less_would_be() {
        block_on(async {
            for (body, picture, count) in [(10_000, 3000, 4), (1, 1_000_000, 1), (90_001, 1, 7)] {
                let admits = |budget: u64| async move {
                    let admission = Admission::new(9, budget);
                    let mut held = Vec::new();
                    for _ in 0..count {
                        held.push(admission.reserve(body, Duration::ZERO).await);
                    }
                    for _ in 0..count {
                        held.push(admission.reserve_picture(picture));
                    }
                    held.iter().all(Option::is_some)
                };
                let units = |bytes: u64| bytes.next_multiple_of(UNIT_BYTES) * count;
                let least = least_upload_budget(units(body), units(picture));
                assert!(admits(least).await, "{body} {picture} {count}: {least}");
                let less = least - 6 * UNIT_BYTES;
                assert!(!admits(less).await, "{body} {picture} {count}: {less}");
            }
        });
    }
}
