//! `dermal worker`: answers the jobs that servers put into Redis, on any number of machines.
//!
//! A worker answers one job at a time. While it computes, it renews the job, so that no other worker
//! takes it, however long it takes. A worker that dies or hangs renews nothing, and after the visibility
//! time another worker takes its job. An error that every worker would meet (a damaged photo, an unknown
//! class) is the answer to the job. An error of the machine is tried again, until the job was given out
//! too often.
//!
//! While Redis cannot be reached, the worker waits for it. When it is told to stop, it takes no new job,
//! finishes the current one, and gives it back if the grace period is too short.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use redis::aio::MultiplexedConnection;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::admission::{
    BASE_BYTES, Caller, HeatMapCost, MIN_DECODE_BYTES, OverloadDetector, TYPICAL_PICTURE_BYTES,
};
use super::answer::{AnswerFormat, Omission};
use super::cache::Cache;
use super::config::WorkerConfig;
use super::error::{ApiError, ServeError};
use super::http::body::too_large;
use super::http::document::document;
use super::http::request::RequestId;
use super::jobs::{JobRequest, JobStart, Queue, TakenJob, expired};
use super::model::{self, ModelInfo, ModelService, Phase};
use super::question::{Question, QuestionBuilder, Subject};
use super::random::random;
use super::store::{RedisState, Store, jitter};
use crate::predict::{Limits, decode};

/// How long a worker waits for a new job before it looks for abandoned ones again.
const BLOCK: Duration = Duration::from_secs(1);

/// How much longer than [`BLOCK`] the reply to a blocking read may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after an error of Redis.
const PAUSE: Duration = Duration::from_millis(200);

/// How often a job is renewed within its visibility time, so that two renewals may be lost.
const RENEWALS: u32 = 3;

/// Least time for which a worker counts as alive after its last report.
const MIN_ALIVE: Duration = Duration::from_secs(10);

/// How many times its size a picture takes at most while its answer is sent to Redis. The JSON is a third
/// larger than the PNG, and exists in the command, in the packet and in the connection's buffer.
const COPIES_WHILE_SENDING: u64 = 6;

/// How much of a job's id is logged: enough to find the job, too little to fetch its answer.
const LOGGED_ID_CHARS: usize = 8;

/// How long a worker waits at its start until the model is loaded.
const LOAD_TIMEOUT: Duration = Duration::from_mins(10);

/// Answers jobs until SIGTERM or SIGINT. SIGHUP or a changed file loads the model again.
///
/// # Errors
/// [`ServeError`] if it cannot start. Unlike a server, a worker whose model cannot be loaded ends.
pub fn work(config: WorkerConfig) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    runtime.block_on(run(config))
}

async fn run(config: WorkerConfig) -> Result<(), ServeError> {
    config.model.check_exists()?;
    let on = |kind| signal(kind).map_err(ServeError::Start);
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let hang_up = on(SignalKind::hangup())?;
    // The photo exists twice: as it came from Redis, and in the question.
    let held = BASE_BYTES + 2 * config.max_upload_bytes;
    let decode_bytes = config.budget_bytes.saturating_sub(held);
    // Room for a small photo, and for a picture of the usual size while it is sent.
    let least = MIN_DECODE_BYTES.max(TYPICAL_PICTURE_BYTES * COPIES_WHILE_SENDING);
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
    // Jobs wait in Redis, so there is never overload here.
    let overload = OverloadDetector::new(f64::INFINITY);
    let service = ModelService::start(&config.model, limits, cache, overload)?;
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
        service: Arc::clone(&service),
        limits,
        config,
        name,
        stopping,
    };
    let path = worker.config.model.path.clone();
    let reloading = tokio::spawn(model::watch(service, path, hang_up));
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
    // It ends by itself within the grace period, unless Redis does not answer.
    let done = tokio::time::timeout(grace + REPLY_TIMEOUT, working).await;
    tracing::info!(ms = asked.elapsed().as_secs_f64() * 1e3, "stopped");
    done.unwrap_or(Ok(()))
}

struct Worker {
    config: WorkerConfig,
    limits: Limits,
    service: Arc<ModelService>,
    queue: Queue,
    /// Its name in the consumer group.
    name: String,
    stopping: watch::Receiver<bool>,
}

impl Worker {
    async fn run(&self) -> Result<(), ServeError> {
        let until = Instant::now() + LOAD_TIMEOUT;
        if self.service.inference.loaded(until).await.is_err() {
            let detail = match self.service.inference.phase() {
                Phase::Failed(failure) => failure.detail,
                _ => "loading takes too long".to_owned(),
            };
            return Err(ServeError::Model(detail));
        }
        let mut reader = None;
        let mut cursor = "0-0".to_owned();
        let mut model = None;
        while !*self.stopping.borrow() {
            // Another model may have been loaded meanwhile.
            model = self.service.inference.info().or(model);
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

    /// How long a report of being alive holds.
    fn alive_for(&self) -> Duration {
        self.config.visibility.max(MIN_ALIVE)
    }

    /// An abandoned job of another worker, or a new one.
    async fn next(
        &self,
        model: &str,
        reader: &mut Option<MultiplexedConnection>,
        cursor: &mut String,
    ) -> Result<Option<TakenJob>, ApiError> {
        let me = (model, self.name.as_str());
        self.queue.alive(me, self.alive_for()).await?;
        let visibility = self.config.visibility;
        if let Some(taken) = self.queue.claim(me, visibility, cursor).await? {
            return Ok(Some(taken));
        }
        if reader.is_none() {
            let redis = self.queue.store.redis();
            let made = redis.connect(BLOCK + REPLY_TIMEOUT).await;
            *reader = Some(made.map_err(|_| ApiError::internal())?);
        }
        let Some(connection) = reader else {
            return Ok(None);
        };
        // Never cancelled: a job that Redis gives out meanwhile would wait for the visibility time.
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
        if self.queue.store.state() != RedisState::Up {
            tokio::select! {
                () = self.queue.store.wait() => {}
                _ = stopping.wait_for(|&stop| stop) => {}
            }
        }
    }

    async fn job(&self, taken: TakenJob, model: &ModelInfo) {
        let limits = (self.config.max_deliveries, self.config.max_upload_bytes);
        // If Redis fails, the job stays pending and is claimed after the visibility time.
        let Ok(start) = self.queue.begin(&taken, &self.name, limits).await else {
            return;
        };
        match start {
            JobStart::Gone => tracing::debug!(job = short(&taken), "cancelled or answered already"),
            JobStart::Lost("expired") => self.finish(&taken, &Err(expired()), None).await,
            JobStart::Lost(_) => {
                let error = too_large(self.config.max_upload_bytes);
                self.finish(&taken, &Err(error), None).await;
            }
            JobStart::Dead { deliveries, error } => {
                let reason = if error.is_empty() {
                    "worker_died"
                } else {
                    &error
                };
                self.give_up(&taken, deliveries - 1, reason).await;
            }
            JobStart::Run {
                deliveries,
                question,
                photo,
            } => {
                let started = Instant::now();
                let Ok(request) = serde_json::from_str::<JobRequest>(&question) else {
                    self.give_up(&taken, deliveries, "question_unreadable")
                        .await;
                    return;
                };
                let answering = self.answer(&request, photo, model);
                let outcome = tokio::select! {
                    outcome = answering => outcome,
                    () = self.renew(&taken, model) => {
                        tracing::info!(job = short(&taken), "cancelled, or given to another worker");
                        return;
                    }
                    () = self.out_of_grace() => {
                        tracing::info!(job = short(&taken), "given back: the grace period is over");
                        let _ = self.queue.release(&taken, &self.name, "").await;
                        return;
                    }
                };
                let kind = outcome.as_ref().err().map(|error| error.kind);
                tracing::info!(
                    request_id = request.request_id,
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
        request: &JobRequest,
        photo: Vec<u8>,
        model: &ModelInfo,
    ) -> Result<String, ApiError> {
        let builder = QuestionBuilder::from_options(&request.options)?;
        let format = AnswerFormat {
            top: builder.top,
            png: false,
        };
        let subject = Subject::Photo(photo.into());
        let mut question = builder.finish(subject, self.config.model.gradcam)?;
        let omitted = self.omit_heat_map(&question)?;
        if omitted.is_some() {
            question.heat_map = None;
        }
        let until = Instant::now() + self.config.deadline;
        let mut served = self.service.answer(question, Caller::Job, until).await?;
        if served.answer.model != model.id {
            // Another model was loaded after the job was taken.
            return Err(ApiError::unavailable(
                "other_model",
                "another model answered",
            ));
        }
        served.heat_map_omitted = omitted;
        let id = RequestId(request.request_id.as_str().into());
        Ok(document(served, format, &id)?.into_text())
    }

    /// Whether the heat map must be left out because there is no memory for its picture. The memory is that
    /// of one job, which is decoded, drawn on and sent, one after the other.
    fn omit_heat_map(&self, question: &Question) -> Result<Option<Omission>, ApiError> {
        let (Subject::Photo(photo), Some(map)) = (&question.subject, &question.heat_map) else {
            return Ok(None);
        };
        let photo_cost = decode::cost(photo, &self.limits)?;
        let cost = HeatMapCost::of_photo(&photo_cost, map.max_side);
        let drawing = cost.drawing_bytes.saturating_add(cost.png_bytes);
        let most = drawing.max(cost.png_bytes.saturating_mul(COPIES_WHILE_SENDING));
        Ok((most > self.limits.max_memory_bytes).then_some(Omission::TooLarge))
    }

    /// Renews a job until it no longer belongs to this worker.
    async fn renew(&self, taken: &TakenJob, model: &ModelInfo) {
        loop {
            tokio::time::sleep(self.config.visibility / RENEWALS).await;
            let me = (model.content.as_str(), self.name.as_str());
            let _ = self.queue.alive(me, self.alive_for()).await;
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

    /// Stores an answer or a final error. After any other error the next worker tries again.
    async fn settle(&self, taken: &TakenJob, deliveries: u64, outcome: Result<String, ApiError>) {
        match &outcome {
            Err(error) if is_transient(error) => {
                if deliveries >= self.config.max_deliveries as u64 {
                    self.give_up(taken, deliveries, error.kind).await;
                } else {
                    let _ = self.queue.release(taken, &self.name, error.kind).await;
                }
            }
            _ => self.finish(taken, &outcome, None).await,
        }
    }

    async fn give_up(&self, taken: &TakenJob, deliveries: u64, reason: &str) {
        tracing::error!(
            job = short(taken),
            deliveries,
            reason,
            "a job was given up and is now a dead letter"
        );
        let error = ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "job_given_up",
            format!("workers failed at this job {deliveries} times"),
        )
        .hint("send another photo; the workers' log has the reason");
        self.finish(taken, &Err(error), Some(reason)).await;
    }

    /// Stores the result of a job. Waits for Redis if it cannot be reached, but no longer than the
    /// visibility time.
    async fn finish(
        &self,
        taken: &TakenJob,
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
                        "already answered, cancelled or expired: this answer is dropped"
                    );
                    return;
                }
                // The worker that claims the job computes it again.
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

fn short(taken: &TakenJob) -> &str {
    taken.id.get(..LOGGED_ID_CHARS).unwrap_or_default()
}

/// Whether another attempt, or another worker, may succeed.
fn is_transient(error: &ApiError) -> bool {
    error.status.is_server_error() && error.status != StatusCode::NOT_IMPLEMENTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_the_machine_are_tried_again() {
        let gradcam = ApiError::new(StatusCode::NOT_IMPLEMENTED, "gradcam_disabled", "");
        for (error, transient) in [
            (ApiError::internal(), true),
            (ApiError::unavailable("deadline", ""), true),
            (ApiError::bad("unknown_class", ""), false),
            (gradcam, false),
        ] {
            assert_eq!(is_transient(&error), transient, "{}", error.kind);
        }
    }
}
