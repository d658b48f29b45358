//! What all handlers share, and the way of one question through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::admission::{Admission, Lease, Ticket};
use super::ask::{Ask, Subject};
use super::body::too_large;
use super::cache::Cache;
use super::config::Config;
use super::desk::{Desk, Given};
use super::division::{Claims, Division};
use super::error::{ApiError, ServeError};
use super::jobs::{Jobs, Queue};
use super::keys::{Keys, Rates};
use super::load::{Load, Patience};
use super::metrics::count;
use super::picture::Price;
use super::pool::overloaded;
use super::session::Answer;
use super::store::Store;
use crate::memory::measure;
use crate::predict::{Limits, decode};

/// Bytes of a request's body besides the photo: boundaries, fields.
pub(super) const OVERHEAD_BYTES: u64 = 64 << 10;

/// How long a request waits for bytes to be set aside.
pub(super) const LEASE_PATIENCE: Duration = Duration::from_secs(5);

/// The state of a server.
#[derive(Debug)]
pub(super) struct App {
    pub config: Arc<Config>,
    pub limits: Limits,
    pub admission: Admission,
    pub desk: Arc<Desk>,
    pub keys: Keys,
    pub rates: Option<Rates>,
    /// Jobs of this process; none where there is a queue.
    pub jobs: Jobs,
    /// Jobs in Redis.
    pub queue: Option<Queue>,
    pub draining: AtomicBool,
    pub started: Instant,
}

/// A request that was let in: its place in the queue, and the bytes set aside for its body.
#[derive(Debug)]
pub(super) struct Entry {
    _ticket: Ticket,
    _lease: Lease,
    pub until: Instant,
    load: Arc<Load>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.load.answered();
    }
}

/// An answer, and how it came about.
#[derive(Debug)]
pub(super) struct Served {
    pub answer: Arc<Answer>,
    pub cached: bool,
    /// A heat map was asked for and left out.
    pub shed: Option<Shed>,
    /// What the heat map's picture takes.
    pub picture: Option<Lease>,
}

/// Why a heat map is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shed {
    /// There is too much to do, or no memory for its picture at this moment.
    Crowded,
    /// Its picture would take more memory than is ever to be had.
    TooLarge,
}

impl From<Shed> for ApiError {
    fn from(shed: Shed) -> Self {
        match shed {
            Shed::Crowded => Self::busy(
                "heat_map_shed",
                "heat maps are left out while the server has too much to do",
                2,
            ),
            Shed::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "heat_map_too_large",
                "the heat map's picture would take more memory than is set aside",
            )
            .hint("ask for a smaller `max_side`, or scale the photo down"),
        }
    }
}

impl App {
    /// To be called on the runtime.
    pub(super) fn new(config: Config) -> Result<Arc<Self>, ServeError> {
        let config = Arc::new(config);
        let max_jobs = match config.redis {
            None => config.max_jobs,
            Some(_) => 0,
        };
        let claims = Claims {
            cache_bytes: config.cache_bytes,
            max_upload_bytes: config.max_upload_bytes,
            queue: config.queue as u64,
            max_jobs: max_jobs as u64,
        };
        let division =
            Division::of(config.budget_bytes, &claims).map_err(|needed| ServeError::Budget {
                budget: config.budget_bytes,
                needed,
            })?;
        let limits = Limits {
            max_pixels: config.max_pixels,
            max_bytes: config.max_upload_bytes,
            max_memory_bytes: division.decode,
        };
        let store = config.redis.clone().map(Store::start);
        let shared = store.clone().zip(Some(config.cache_expiry));
        let shared = shared.filter(|(_, expiry)| !expiry.is_zero());
        let cache = Cache::new(config.cache_bytes, shared);
        let load = Load::new(config.overload_wait);
        let admission = Admission::new(config.queue, division.uploads);
        let most_picture_bytes = admission.most_picture_bytes();
        Ok(Arc::new(Self {
            admission,
            desk: Desk::open(&config.model, limits, cache, load)?,
            keys: Keys::new(&config.api_keys),
            rates: config.rate_limit.map(Rates::new),
            jobs: Jobs::new(config.max_jobs, config.job_expiry, most_picture_bytes / 2),
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

    /// Seconds until the queue has moved on enough for another try.
    fn retry_after(&self) -> u64 {
        let seconds = self.desk.load.mean_seconds() * self.admission.inside() as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a cast from float saturates"
        )]
        let seconds = seconds.ceil() as u64;
        seconds.clamp(1, 60)
    }

    /// Lets a request in whose body has `length` bytes, as far as it says so.
    pub(super) async fn enter(&self, length: Option<u64>) -> Result<Entry, ApiError> {
        let until = Instant::now() + self.config.deadline;
        self.refuse_while_draining()?;
        let now = Instant::now();
        self.desk.load.arrived(now);
        // Before its body is read; looked at again when it is.
        if self.desk.load.would_wait(now) {
            return Err(overloaded());
        }
        let Some(ticket) = self.admission.enter() else {
            return Err(ApiError::busy(
                "queue_full",
                "too many requests wait already",
                self.retry_after(),
            ));
        };
        // Whoever would wait past the deadline had better try later.
        let wait = self.desk.load.mean_seconds() * ticket.ahead as f64;
        if wait > self.config.deadline.as_secs_f64() {
            return Err(ApiError::busy(
                "queue_full",
                "the requests ahead would take too long",
                self.retry_after(),
            ));
        }
        let lease = self.lease_body(length).await?;
        Ok(Entry {
            _ticket: ticket,
            _lease: lease,
            until,
            load: Arc::clone(&self.desk.load),
        })
    }

    pub(super) fn refuse_while_draining(&self) -> Result<(), ApiError> {
        if self.is_draining() {
            return Err(ApiError::unavailable("stopping", "the server is stopping"));
        }
        Ok(())
    }

    /// Sets bytes for a body aside. One without a length gets as many as a body may have.
    pub(super) async fn lease_body(&self, length: Option<u64>) -> Result<Lease, ApiError> {
        // JSON takes four bytes for three.
        let limit = self.config.max_upload_bytes / 3 * 4 + OVERHEAD_BYTES;
        let bytes = length.unwrap_or(self.config.max_upload_bytes);
        if bytes > limit {
            return Err(too_large(self.config.max_upload_bytes));
        }
        let lease = self.admission.lease(bytes, LEASE_PATIENCE).await;
        lease.ok_or_else(|| self.memory_full())
    }

    pub(super) fn memory_full(&self) -> ApiError {
        ApiError::busy(
            "memory_full",
            "the uploads that wait take all the memory set aside for them",
            self.retry_after(),
        )
    }

    /// Puts a question to the model, or finds its answer in the cache.
    pub(super) async fn serve(
        &self,
        mut ask: Ask,
        patience: Patience,
        until: Instant,
    ) -> Result<Served, ApiError> {
        let mut picture = None;
        let mut shed = None;
        if let Subject::Photo(photo) = &ask.subject {
            let cost = decode::cost(photo, &self.limits)?;
            if let Some(map) = &ask.heat_map {
                match self.lease_picture(Price::of_photo(&cost, map.max_side)) {
                    Ok(lease) => picture = Some(lease),
                    Err(why) => shed = Some(why),
                }
            }
        }
        if let Some(why) = shed {
            count(&self.desk.metrics.heat_maps_shed);
            if ask.picture_only {
                if patience == Patience::Client && why == Shed::Crowded {
                    self.desk.load.sent_away();
                }
                return Err(why.into());
            }
            ask.heat_map = None;
        }
        let Given { answer, cached } = self.desk.answer(ask, patience, until).await?;
        // Noise is rare: a photo's picture takes about half of its price.
        match (&mut picture, &answer.heat_map) {
            (Some(lease), Some(map)) => lease.shrink_to(map.png.len() as u64),
            _ => picture = None,
        }
        Ok(Served {
            answer,
            cached,
            shed,
            picture,
        })
    }

    fn lease_picture(&self, price: Price) -> Result<Lease, Shed> {
        if price.drawing_bytes > self.limits.max_memory_bytes
            || price.png_bytes > self.admission.most_picture_bytes()
        {
            return Err(Shed::TooLarge);
        }
        if self.admission.is_crowded() {
            return Err(Shed::Crowded);
        }
        let lease = self.admission.lease_picture(price.png_bytes);
        lease.ok_or(Shed::Crowded)
    }

    /// Memory as `/memory` and the metrics show it.
    pub(super) fn memory(&self) -> Memory {
        Memory {
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
pub(super) struct Memory {
    pub rss: Option<u64>,
    pub anonymous: Option<u64>,
    pub peak: Option<u64>,
    pub virtual_size: Option<u64>,
    pub limit: u64,
}

/// The status that a model's state means.
pub(super) fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
        .hint("`/openapi.json` lists what there is; `/docs` shows it")
}
