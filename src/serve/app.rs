//! The state that all handlers share, and the path of one question through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::admission::{
    Admission, Caller, HeatMapCost, MemorySettings, MemorySplit, OverloadDetector, QueueSlot,
    Reservation,
};
use super::answer::{Omission, Served};
use super::cache::Cache;
use super::config::ServerConfig;
use super::error::{ApiError, ServeError};
use super::http::access::{ApiKeys, RateLimiter};
use super::http::body::too_large;
use super::jobs::{LocalJobs, Queue};
use super::metrics::count;
use super::model::{ModelService, overloaded};
use super::question::{Question, Subject};
use super::store::Store;
use crate::memory::measure;
use crate::predict::{Limits, decode};

/// Bytes of a request's body besides the photo: boundaries and fields.
pub(super) const OVERHEAD_BYTES: u64 = 64 << 10;

/// How long a request waits until the bytes for it are free.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a server.
#[derive(Debug)]
pub(super) struct App {
    pub config: Arc<ServerConfig>,
    pub limits: Limits,
    pub admission: Admission,
    pub model: Arc<ModelService>,
    pub keys: ApiKeys,
    pub rates: Option<RateLimiter>,
    /// Jobs of this process; unused if there is a queue.
    pub jobs: LocalJobs,
    /// Jobs in Redis.
    pub queue: Option<Queue>,
    /// Whether the server was told to stop.
    pub draining: AtomicBool,
    pub started: Instant,
}

/// A request that was admitted: its place in the queue, and the bytes reserved for its body.
#[derive(Debug)]
pub(super) struct Admitted {
    _slot: QueueSlot,
    _body: Reservation,
    pub until: Instant,
    overload: Arc<OverloadDetector>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.overload.answered();
    }
}

impl App {
    /// Must be called on a thread of the runtime.
    pub(super) fn new(config: ServerConfig) -> Result<Arc<Self>, ServeError> {
        let config = Arc::new(config);
        let max_jobs = match config.redis {
            None => config.max_jobs,
            Some(_) => 0,
        };
        let settings = MemorySettings {
            cache_bytes: config.cache_bytes,
            max_upload_bytes: config.max_upload_bytes,
            queue: config.queue as u64,
            max_jobs: max_jobs as u64,
        };
        let split = MemorySplit::of(config.budget_bytes, &settings).map_err(|needed| {
            ServeError::Budget {
                budget: config.budget_bytes,
                needed,
            }
        })?;
        let limits = Limits {
            max_pixels: config.max_pixels,
            max_bytes: config.max_upload_bytes,
            max_memory_bytes: split.decode,
        };
        let store = config.redis.clone().map(Store::start);
        let shared = store.clone().zip(Some(config.cache_expiry));
        let shared = shared.filter(|(_, expiry)| !expiry.is_zero());
        let cache = Cache::new(config.cache_bytes, shared);
        let overload = OverloadDetector::new(config.overload_wait);
        let admission = Admission::new(config.queue, split.uploads);
        let max_picture_bytes = admission.max_picture_bytes();
        Ok(Arc::new(Self {
            admission,
            model: ModelService::start(&config.model, limits, cache, overload)?,
            keys: ApiKeys::new(&config.api_keys),
            rates: config.rate_limit.map(RateLimiter::new),
            jobs: LocalJobs::new(config.max_jobs, config.job_expiry, max_picture_bytes / 2),
            queue: store.map(Queue::new),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            limits,
            config,
        }))
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Seconds until the requests in the server are answered, for `Retry-After`.
    fn retry_after(&self) -> u64 {
        let seconds = self.model.overload.mean_seconds() * self.admission.in_flight() as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a cast from float saturates"
        )]
        let seconds = seconds.ceil() as u64;
        seconds.clamp(1, 60)
    }

    /// Admits a request, and reserves memory for its body of `length` bytes.
    pub(super) async fn admit(&self, length: Option<u64>) -> Result<Admitted, ApiError> {
        let until = Instant::now() + self.config.deadline;
        self.refuse_while_draining()?;
        let now = Instant::now();
        self.model.overload.arrived(now);
        // Checked here before the body is read, and again when it is.
        if self.model.overload.would_wait_too_long(now) {
            return Err(overloaded());
        }
        let Some(slot) = self.admission.admit() else {
            return Err(ApiError::busy(
                "queue_full",
                "too many requests are waiting already",
                self.retry_after(),
            ));
        };
        // A request that would wait past its deadline is better sent again later.
        let wait = self.model.overload.mean_seconds() * slot.ahead as f64;
        if wait > self.config.deadline.as_secs_f64() {
            return Err(ApiError::busy(
                "queue_full",
                "answering the requests ahead would take too long",
                self.retry_after(),
            ));
        }
        let body = self.reserve_body(length).await?;
        Ok(Admitted {
            _slot: slot,
            _body: body,
            until,
            overload: Arc::clone(&self.model.overload),
        })
    }

    pub(super) fn refuse_while_draining(&self) -> Result<(), ApiError> {
        if self.is_draining() {
            return Err(ApiError::unavailable("stopping", "the server is stopping"));
        }
        Ok(())
    }

    /// Reserves memory for a body of `length` bytes; without a length for the largest allowed one.
    pub(super) async fn reserve_body(&self, length: Option<u64>) -> Result<Reservation, ApiError> {
        // JSON has four bytes for three of the photo.
        let limit = self.config.max_upload_bytes / 3 * 4 + OVERHEAD_BYTES;
        let bytes = length.unwrap_or(self.config.max_upload_bytes);
        if bytes > limit {
            return Err(too_large(self.config.max_upload_bytes));
        }
        self.reserve(bytes).await
    }

    /// Reserves bytes of the upload budget; waits for them for [`RESERVE_TIMEOUT`].
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reservation, ApiError> {
        let reserved = self.admission.reserve(bytes, RESERVE_TIMEOUT).await;
        reserved.ok_or_else(|| {
            ApiError::busy(
                "memory_full",
                "the memory for uploads is in use",
                self.retry_after(),
            )
        })
    }

    /// Answers a question, from the cache or with the model. The heat map is left out when there is no
    /// room for its picture.
    pub(super) async fn serve(
        &self,
        mut question: Question,
        caller: Caller,
        until: Instant,
    ) -> Result<Served, ApiError> {
        let mut picture = None;
        let mut omitted = None;
        if let Subject::Photo(photo) = &question.subject {
            let cost = decode::cost(photo, &self.limits)?;
            if let Some(map) = &question.heat_map {
                match self.reserve_picture(HeatMapCost::of_photo(&cost, map.max_side)) {
                    Ok(reservation) => picture = Some(reservation),
                    Err(why) => omitted = Some(why),
                }
            }
        }
        if let Some(why) = omitted {
            count(&self.model.metrics.heat_maps_shed);
            if question.heat_map_only {
                if caller == Caller::Client && why == Omission::Busy {
                    self.model.overload.turned_away();
                }
                return Err(why.into());
            }
            question.heat_map = None;
        }
        let mut served = self.model.answer(question, caller, until).await?;
        served.heat_map_omitted = omitted;
        // The reservation assumes noise; the picture of a real photo takes about half of it.
        if let (Some(mut reservation), Some(map)) = (picture, &served.answer.heat_map) {
            reservation.shrink_to(map.png.len() as u64);
            served.picture = Some(reservation);
        }
        Ok(served)
    }

    fn reserve_picture(&self, cost: HeatMapCost) -> Result<Reservation, Omission> {
        if cost.drawing_bytes > self.limits.max_memory_bytes
            || cost.png_bytes > self.admission.max_picture_bytes()
        {
            return Err(Omission::TooLarge);
        }
        if self.admission.is_nearly_full() {
            return Err(Omission::Busy);
        }
        let reservation = self.admission.reserve_picture(cost.png_bytes);
        reservation.ok_or(Omission::Busy)
    }

    /// The memory of the process, for `/memory` and `/metrics`.
    pub(super) fn memory(&self) -> MemoryCounters {
        MemoryCounters {
            rss: measure::rss_bytes(),
            anonymous: measure::anonymous_rss_bytes(),
            peak: measure::peak_rss_bytes(),
            virtual_size: measure::virtual_bytes(),
            limit: self.config.budget_bytes,
        }
    }
}

/// In bytes; `None` for a counter that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryCounters {
    pub rss: Option<u64>,
    pub anonymous: Option<u64>,
    pub peak: Option<u64>,
    pub virtual_size: Option<u64>,
    pub limit: u64,
}
