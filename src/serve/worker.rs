//! `dermal worker`: answers the jobs that servers put into Redis, on any number of machines.
//!
//! One job at a time, as a server has one photo at a time. While a job is computed its time is
//! renewed, so that nobody else takes it over, however long it takes; a worker that dies or hangs
//! renews nothing, and after the visibility time another takes its job. An error that every worker
//! would meet (a damaged photo, an unknown class) is the job's answer; one of the machine is tried
//! again, until the job was given out too often.
//!
//! When Redis is away the worker waits for it. When it is told to stop it takes no new job, finishes
//! its own, and gives back what the grace is too short for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use redis::aio::MultiplexedConnection;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::app::{Served, Shed};
use super::ask::{Ask, Asked, Subject};
use super::cache::Cache;
use super::config::WorkerConfig;
use super::desk::{Desk, Given};
use super::division::{BASE_BYTES, LEAST_DECODE_BYTES, PICTURE_BYTES};
use super::document::document;
use super::error::{ApiError, ServeError};
use super::jobs::{Begun, Question, Queue, Taken, expired};
use super::load::{Load, Patience};
use super::picture::Price;
use super::pool::Phase;
use super::predict::Form;
use super::random::random;
use super::router::RequestId;
use super::session::ModelInfo;
use super::store::{Link, Store, jitter};
use crate::predict::{Limits, decode};

/// How long a worker waits for a job before it looks around again.
const BLOCK: Duration = Duration::from_secs(1);

/// A reply on the connection that blocks may take so much longer.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a failure of Redis.
const PAUSE: Duration = Duration::from_millis(200);

/// A job's time is renewed so often in its visibility time: two signs of life may be lost.
const SIGNS_OF_LIFE: u32 = 3;

/// Least time for which a worker counts as alive after its last word.
const ALIVE: Duration = Duration::from_secs(10);

/// Times that a picture is held at most while its answer goes to Redis: JSON, which is a third more,
/// as it is, in the command, in the packet and in the connection's buffer, or the PNG with the first.
const SENDING: u64 = 6;

/// Characters of a job's name in the log: enough to find it, too few to fetch its answer.
const LOGGED_ID_CHARS: usize = 8;

/// How long a worker looks for the model at its start.
const LOAD_PATIENCE: Duration = Duration::from_mins(10);

/// Works until SIGTERM or SIGINT. SIGHUP or a changed file loads the model again.
///
/// # Errors
/// [`ServeError`] if it cannot start: unlike a server, a worker without a model is of no use.
pub fn work(config: WorkerConfig) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    runtime.block_on(run(config))
}

async fn run(config: WorkerConfig) -> Result<(), ServeError> {
    let on = |kind| signal(kind).map_err(ServeError::Start);
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let hang_up = on(SignalKind::hangup())?;
    // A photo as it came from Redis and as it is kept.
    let held = BASE_BYTES + 2 * config.max_upload_bytes;
    let decode_bytes = config.budget_bytes.saturating_sub(held);
    // A small photo, and a picture of the usual size on its way.
    let least = LEAST_DECODE_BYTES.max(PICTURE_BYTES * SENDING);
    if decode_bytes < least {
        return Err(ServeError::Budget {
            budget: config.budget_bytes,
            needed: held + least,
        });
    }
    let limits = Limits {
        max_pixels: config.max_pixels,
        max_bytes: config.max_upload_bytes,
        max_memory_bytes: decode_bytes,
    };
    let store = Store::start(config.redis.clone());
    let shared =
        (!config.cache_expiry.is_zero()).then(|| (Arc::clone(&store), config.cache_expiry));
    let cache = Cache::new(0, shared);
    // Jobs wait in Redis, where nobody counts them.
    let load = Load::new(f64::INFINITY);
    let desk = Desk::open(&config.model, limits, cache, load)?;
    let name = format!("{}-{:016x}", std::process::id(), random());
    tracing::info!(
        worker = name,
        redis = config.redis.address(),
        model = config
            .model
            .path
            .as_deref()
            .map(|p| p.display().to_string()),
        budget_bytes = config.budget_bytes,
        decode_bytes,
        threads = config.model.threads,
        kernels = config.model.isa.name(),
        "working"
    );
    let grace = config.grace;
    let (stop, stopping) = watch::channel(false);
    let worker = Worker {
        queue: Queue::new(store),
        desk: Arc::clone(&desk),
        limits,
        config,
        name,
        stopping,
    };
    let path = worker.config.model.path.clone();
    let reloading = tokio::spawn(super::reload(desk, path, hang_up));
    let mut working = std::pin::pin!(worker.run());
    let done = tokio::select! {
        done = working.as_mut() => Some(done),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    reloading.abort();
    if let Some(done) = done {
        return done;
    }
    let asked = Instant::now();
    tracing::info!("stopping");
    let _ = stop.send(true);
    // It ends by itself within the grace, but for a Redis that does not answer.
    let done = tokio::time::timeout(grace + REPLY_PATIENCE, working).await;
    tracing::info!(ms = asked.elapsed().as_secs_f64() * 1e3, "stopped");
    done.unwrap_or(Ok(()))
}

struct Worker {
    config: WorkerConfig,
    limits: Limits,
    desk: Arc<Desk>,
    queue: Queue,
    /// In the group of workers.
    name: String,
    stopping: watch::Receiver<bool>,
}

impl Worker {
    async fn run(&self) -> Result<(), ServeError> {
        let until = Instant::now() + LOAD_PATIENCE;
        if self.desk.pool.loaded(until).await.is_err() {
            let detail = match self.desk.pool.phase() {
                Phase::Failed(failure) => failure.detail,
                _ => "loading takes too long".to_owned(),
            };
            return Err(ServeError::Model(detail));
        }
        let mut reader = None;
        let mut cursor = "0-0".to_owned();
        let mut model = None;
        while !*self.stopping.borrow() {
            // It may have been swapped.
            model = self.desk.pool.info().or(model);
            let Some(info) = &model else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            match self.next(&info.content, &mut reader, &mut cursor).await {
                Ok(Some(taken)) => self.job(taken, info).await,
                Ok(None) => {}
                Err(_) => self.wait_for_redis().await,
            }
        }
        if let Some(info) = model {
            let leave = self.queue.leave(&info.content, &self.name);
            let _ = tokio::time::timeout(PAUSE, leave).await;
        }
        Ok(())
    }

    fn holds(&self) -> Duration {
        self.config.visibility.max(ALIVE)
    }

    /// A job that another worker left, or a new one.
    async fn next(
        &self,
        model: &str,
        reader: &mut Option<MultiplexedConnection>,
        cursor: &mut String,
    ) -> Result<Option<Taken>, ApiError> {
        let me = (model, self.name.as_str());
        self.queue.alive(me, self.holds()).await?;
        let visibility = self.config.visibility;
        if let Some(taken) = self.queue.claim(me, visibility, cursor).await? {
            return Ok(Some(taken));
        }
        if reader.is_none() {
            let redis = self.queue.store.redis();
            let made = redis.connect(BLOCK + REPLY_PATIENCE).await;
            *reader = Some(made.map_err(|_| ApiError::internal())?);
        }
        let Some(connection) = reader else {
            return Ok(None);
        };
        // Not to be cut short: what Redis has given out meanwhile would wait for the visibility time.
        match self.queue.next(me, BLOCK, connection).await {
            Ok(taken) => Ok(taken),
            Err(error) => {
                *reader = None;
                tracing::debug!(%error, "the connection for new jobs failed");
                Err(ApiError::internal())
            }
        }
    }

    async fn wait_for_redis(&self) {
        tokio::time::sleep(PAUSE.mul_f64(0.5 + jitter())).await;
        let mut stopping = self.stopping.clone();
        if self.queue.store.link() != Link::Up {
            tokio::select! {
                () = self.queue.store.wait() => {}
                _ = stopping.wait_for(|&stop| stop) => {}
            }
        }
    }

    async fn job(&self, taken: Taken, model: &ModelInfo) {
        let limits = (self.config.max_deliveries, self.config.max_upload_bytes);
        // Without Redis it stays pending, and is claimed when its time is over.
        let Ok(begun) = self.queue.begin(&taken, &self.name, limits).await else {
            return;
        };
        match begun {
            Begun::Gone => tracing::debug!(job = short(&taken), "cancelled or answered already"),
            Begun::Lost("expired") => self.finish(&taken, &Err(expired()), None).await,
            Begun::Lost(_) => {
                let error = super::body::too_large(self.config.max_upload_bytes);
                self.finish(&taken, &Err(error), None).await;
            }
            Begun::Dead { deliveries, error } => {
                let reason = if error.is_empty() {
                    "worker_died"
                } else {
                    &error
                };
                self.give_up(&taken, deliveries - 1, reason).await;
            }
            Begun::Run {
                deliveries,
                question,
                photo,
            } => {
                let started = Instant::now();
                let Ok(question) = serde_json::from_str::<Question>(&question) else {
                    self.give_up(&taken, deliveries, "question_unreadable")
                        .await;
                    return;
                };
                let answering = self.answer(&question, photo, model);
                let outcome = tokio::select! {
                    outcome = answering => outcome,
                    () = self.keep(&taken, model) => {
                        tracing::info!(job = short(&taken), "cancelled, or given to another worker");
                        return;
                    }
                    () = self.out_of_grace() => {
                        tracing::info!(job = short(&taken), "given back: there is no time left");
                        let _ = self.queue.release(&taken, &self.name, "").await;
                        return;
                    }
                };
                let kind = outcome.as_ref().err().map(|error| error.kind);
                tracing::info!(
                    request_id = question.request_id,
                    job = short(&taken),
                    deliveries,
                    error = kind,
                    ms = started.elapsed().as_secs_f64() * 1e3,
                    "job"
                );
                self.settle(&taken, deliveries, outcome).await;
            }
        }
    }

    async fn answer(
        &self,
        question: &Question,
        photo: Vec<u8>,
        model: &ModelInfo,
    ) -> Result<String, ApiError> {
        let asked = Asked::from_options(&question.options)?;
        let form = Form {
            top: asked.top,
            png: false,
        };
        let mut ask = asked.finish(Subject::Photo(photo.into()), self.config.model.gradcam)?;
        let shed = self.shed(&ask)?;
        if shed.is_some() {
            ask.heat_map = None;
        }
        let until = Instant::now() + self.config.deadline;
        let Given { answer, cached } = self.desk.answer(ask, Patience::Job, until).await?;
        if answer.model != model.id {
            // Swapped between taking the job and answering it.
            return Err(ApiError::unavailable(
                "other_model",
                "another model answered",
            ));
        }
        let served = Served {
            answer,
            cached,
            shed,
            picture: None,
        };
        let id = RequestId(question.request_id.as_str().into());
        Ok(document(served, form, &id)?.into_text())
    }

    /// Whether there is no memory for the picture that is asked for: one job at a time is decoded, then
    /// drawn on, then sent.
    fn shed(&self, ask: &Ask) -> Result<Option<Shed>, ApiError> {
        let (Subject::Photo(photo), Some(map)) = (&ask.subject, &ask.heat_map) else {
            return Ok(None);
        };
        let cost = decode::cost(photo, &self.limits)?;
        let price = Price::of_photo(&cost, map.max_side);
        let drawing = price.drawing_bytes.saturating_add(price.png_bytes);
        let most = drawing.max(price.png_bytes.saturating_mul(SENDING));
        Ok((most > self.limits.max_memory_bytes).then_some(Shed::TooLarge))
    }

    /// Renews a job's time for as long as it is this worker's.
    async fn keep(&self, taken: &Taken, model: &ModelInfo) {
        loop {
            tokio::time::sleep(self.config.visibility / SIGNS_OF_LIFE).await;
            let me = (model.content.as_str(), self.name.as_str());
            let _ = self.queue.alive(me, self.holds()).await;
            if let Ok(false) = self.queue.renew(taken, &self.name).await {
                return;
            }
        }
    }

    async fn out_of_grace(&self) {
        let mut stopping = self.stopping.clone();
        let stop = stopping.wait_for(|&stop| stop).await.is_ok();
        if stop {
            tokio::time::sleep(self.config.grace).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Stores an answer or a final error; another error is tried again by whoever comes next.
    async fn settle(&self, taken: &Taken, deliveries: u64, outcome: Result<String, ApiError>) {
        match &outcome {
            Err(error) if is_passing(error) => {
                if deliveries >= self.config.max_deliveries as u64 {
                    self.give_up(taken, deliveries, error.kind).await;
                } else {
                    let _ = self.queue.release(taken, &self.name, error.kind).await;
                }
            }
            _ => self.finish(taken, &outcome, None).await,
        }
    }

    async fn give_up(&self, taken: &Taken, deliveries: u64, reason: &str) {
        tracing::error!(
            job = short(taken),
            deliveries,
            reason,
            "a job is given up: a dead letter"
        );
        let error = ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "job_given_up",
            format!("workers failed at it {deliveries} times"),
        )
        .hint("send another photo; the operator's log has the reason");
        self.finish(taken, &Err(error), Some(reason)).await;
    }

    /// Stores what became of a job, as long as it makes sense to wait for a Redis that is away.
    async fn finish(
        &self,
        taken: &Taken,
        outcome: &Result<String, ApiError>,
        given_up: Option<&str>,
    ) {
        let until = Instant::now() + self.config.visibility;
        loop {
            match self.queue.finish(taken, outcome, given_up).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::info!(
                        job = short(taken),
                        "answered by another worker, cancelled or expired: this answer is dropped"
                    );
                    return;
                }
                // Whoever claims the job computes it again.
                Err(_) if Instant::now() >= until || *self.stopping.borrow() => {
                    tracing::warn!(job = short(taken), "an answer could not be stored");
                    return;
                }
                Err(_) => {
                    tokio::time::timeout_at(until.into(), self.wait_for_redis())
                        .await
                        .unwrap_or_default();
                }
            }
        }
    }
}

fn short(taken: &Taken) -> &str {
    taken.id.get(..LOGGED_ID_CHARS).unwrap_or_default()
}

/// Whether another try, or another worker, may do better.
fn is_passing(error: &ApiError) -> bool {
    error.status.is_server_error() && error.status != StatusCode::NOT_IMPLEMENTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_the_machine_are_tried_again() {
        let gradcam = ApiError::new(StatusCode::NOT_IMPLEMENTED, "gradcam_disabled", "");
        for (error, passing) in [
            (ApiError::internal(), true),
            (ApiError::unavailable("deadline", ""), true),
            (ApiError::bad("unknown_class", ""), false),
            (gradcam, false),
        ] {
            assert_eq!(is_passing(&error), passing, "{}", error.kind);
        }
    }
}
