//! Whether the server is alive, healthy and ready, and what it uses. These routes never wait for the
//! model, however busy it is.
//!
//! | Path | 200 | 503 |
//! |---|---|---|
//! | `/livez` | the process answers | never |
//! | `/health` | nothing is wrong | the model cannot be loaded, or is being loaded at the start |
//! | `/readyz` | photos are answered | as `/health`; also while the server stops |
//!
//! A deployment that waits for `/health` or `/readyz` therefore never replaces a working server by one
//! whose model cannot be loaded. A lazy server is healthy until its first photo shows that its model
//! cannot be loaded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::serve::app::App;
use crate::serve::error::ErrorKind;
use crate::serve::jobs::QueueStats;
use crate::serve::metrics::Gauge;
use crate::serve::model::Phase;
use crate::serve::store::RedisState;

/// A stable name of what is wrong, and a sentence about it.
type Problem = (&'static str, String);

/// What is wrong with the server, if anything is. Otherwise a sentence about its state.
fn health_of(app: &App) -> Result<&'static str, Problem> {
    match app.model.inference.phase() {
        // Photos are answered without Redis, so a replica without it stays in service.
        Phase::Ready(_) if matches!(redis_state(app), Some(RedisState::Down(..))) => {
            Ok("ready, except for jobs: Redis cannot be used")
        }
        Phase::Ready(_) => Ok("ready"),
        Phase::Unloaded => Ok("ready: the model is loaded at the first photo"),
        // Nothing is wrong yet, and requests wait until it is loaded.
        Phase::Loading { after: None } if !app.config.model.preload => {
            Ok("ready: the model is being loaded")
        }
        Phase::Loading { after: None } => Err(("loading", "the model is being loaded".to_owned())),
        // The log has paths and details; clients do not see them.
        Phase::Failed(failure)
        | Phase::Loading {
            after: Some(failure),
        } => Err((
            failure.kind,
            format!("the model cannot be served: {}", describe(failure.kind)),
        )),
    }
}

/// Why the server does not take photos, if it does not. Otherwise a sentence about its state.
pub(super) fn readiness(app: &App) -> Result<&'static str, Problem> {
    if app.is_draining() {
        return Err(("stopping", "the server is stopping".to_owned()));
    }
    health_of(app)
}

/// Whether Redis can be reached, if the server uses it.
fn redis_state(app: &App) -> Option<RedisState> {
    app.queue.as_ref().map(|queue| queue.store.state())
}

/// Counts of the shared queue, if Redis gives them.
async fn queue_stats(app: &App) -> Option<QueueStats> {
    let (queue, info) = app.queue.as_ref().zip(app.model.inference.info())?;
    queue.stats(&info.content).await
}

fn describe(kind: &str) -> &'static str {
    match kind {
        "model_unreadable" => "its file is missing, damaged or not an artifact",
        "self_test" => {
            "the answer to its self-test is not the one that was stored when the artifact was made"
        }
        "model_not_finite" => "it answers NaN, so its weights are damaged",
        _ => "it cannot be run",
    }
}

fn unavailable((kind, message): Problem) -> Response {
    let document = json!({ "error": { "kind": kind, "message": message } });
    with_kind(
        (StatusCode::SERVICE_UNAVAILABLE, Json(document)).into_response(),
        kind,
    )
}

/// Remembers the kind of error for the log.
fn with_kind(mut response: Response, kind: &'static str) -> Response {
    response.extensions_mut().insert(ErrorKind(kind));
    response
}

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok"
}

/// `GET /readyz`: photos are answered.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match readiness(&app) {
        Ok(text) => text.into_response(),
        Err(problem) => unavailable(problem),
    }
}

/// `GET /health`: nothing is wrong. With `?verbose=1` a document, with the same status.
pub(super) async fn health(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose=1" || p == "verbose"));
    let health = health_of(&app);
    if !verbose {
        return match health {
            Ok(_) => "ok".into_response(),
            Err(problem) => unavailable(problem),
        };
    }
    let redis = redis_state(&app);
    let (status, message) = match readiness(&app) {
        Ok(text) if matches!(redis, Some(RedisState::Down(..))) => ("degraded", text.to_owned()),
        Ok(text) => ("ok", text.to_owned()),
        Err((_, message)) => ("degraded", message),
    };
    let redis = match redis {
        None => Value::Null,
        Some(RedisState::Connecting) => json!({ "status": "connecting" }),
        Some(RedisState::Up) => {
            let stats = queue_stats(&app).await;
            json!({
                "status": "up",
                "jobs_open": stats.map(|s| s.open),
                "workers": stats.map(|s| s.workers),
                "dead_letters": stats.map(|s| s.dead),
            })
        }
        Some(RedisState::Down(since, kind)) => json!({
            "status": "down",
            "kind": kind,
            "seconds": since.elapsed().as_secs(),
        }),
    };
    let info = app.model.inference.info();
    let document = Json(json!({
        "status": status,
        "model_loaded": info.is_some(),
        "message": message,
        "model": info.as_ref().map(|info| &info.id),
        "gradcam_enabled": app.config.model.gradcam,
        "uptime_seconds": app.started.elapsed().as_secs(),
        "requests_inside": app.admission.in_flight(),
        "jobs_open": app.jobs.open_count(),
        "redis": redis,
    }));
    match health {
        Ok(_) => document.into_response(),
        Err((kind, _)) => with_kind(
            (StatusCode::SERVICE_UNAVAILABLE, document).into_response(),
            kind,
        ),
    }
}

/// `GET /memory`.
pub(super) async fn memory(State(app): State<Arc<App>>) -> Json<Value> {
    let memory = app.memory();
    let mb = |bytes: Option<u64>| bytes.map(|b| (b as f64 / 1e4).round() / 100.0);
    let percent = memory
        .rss
        .map(|rss| (rss as f64 * 1e4 / memory.limit as f64).round() / 100.0);
    Json(json!({
        "rss_mb": mb(memory.rss),
        "vms_mb": mb(memory.virtual_size),
        "percent": percent,
        "peak_rss_mb": mb(memory.peak),
        "limit_mb": mb(Some(memory.limit)),
        "rss_bytes": memory.rss,
        "anonymous_rss_bytes": memory.anonymous,
        "vms_bytes": memory.virtual_size,
        "peak_rss_bytes": memory.peak,
        "limit_bytes": memory.limit,
        "uploads_leased_bytes": app.admission.reserved_bytes(),
        "cache_bytes": app.model.cache.bytes(),
        "model_loaded": app.model.inference.info().is_some(),
        "gradcam_enabled": app.config.model.gradcam,
    }))
}

/// `GET /version`.
pub(super) async fn version(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "name": "dermal",
        "version": env!("CARGO_PKG_VERSION"),
        "kernels": app.config.model.isa.name(),
        "threads": app.config.model.threads,
        "model": app.model.inference.info().as_deref(),
    }))
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let memory = app.memory();
    let stats = queue_stats(&app).await;
    let up = redis_state(&app).map(|state| f64::from(u8::from(state == RedisState::Up)));
    let bytes = |value: Option<u64>| value.map(|b| b as f64);
    let gauge = |name, help, value| Gauge { name, help, value };
    let gauges = [
        gauge(
            "dermal_ready",
            "1 if photos are answered.",
            Some(f64::from(u8::from(readiness(&app).is_ok()))),
        ),
        gauge(
            "dermal_requests_inside",
            "Requests that wait or are computed.",
            Some(app.admission.in_flight() as f64),
        ),
        gauge(
            "dermal_jobs_open",
            "Jobs that wait or are computed.",
            Some(app.jobs.open_count() as f64),
        ),
        gauge("dermal_redis_up", "1 if Redis can be used.", up),
        gauge(
            "dermal_queue_jobs_open",
            "Jobs for this model that wait or run, on any machine.",
            stats.map(|s| s.open as f64),
        ),
        gauge(
            "dermal_queue_workers",
            "Workers with this model.",
            stats.map(|s| s.workers as f64),
        ),
        gauge(
            "dermal_queue_dead_letters",
            "Jobs for this model that were given up.",
            stats.map(|s| s.dead as f64),
        ),
        gauge(
            "dermal_uploads_leased_bytes",
            "Bytes reserved for uploads and pictures.",
            Some(app.admission.reserved_bytes() as f64),
        ),
        gauge(
            "dermal_cache_bytes",
            "Bytes of answers in the cache.",
            Some(app.model.cache.bytes() as f64),
        ),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            bytes(memory.rss),
        ),
        gauge(
            "process_virtual_memory_bytes",
            "Address space.",
            bytes(memory.virtual_size),
        ),
        gauge(
            "dermal_peak_resident_memory_bytes",
            "Largest resident memory since the start.",
            bytes(memory.peak),
        ),
        gauge(
            "dermal_memory_budget_bytes",
            "Memory that the server may use.",
            Some(memory.limit as f64),
        ),
        gauge(
            "dermal_uptime_seconds",
            "Time since the start.",
            Some(app.started.elapsed().as_secs_f64()),
        ),
        gauge(
            "dermal_stopping",
            "1 once the server was told to stop.",
            Some(f64::from(u8::from(app.draining.load(Ordering::Acquire)))),
        ),
    ];
    let text = app.model.metrics.text(&gauges, &app.model.cache.lookups());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
