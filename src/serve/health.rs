//! Is it alive, is it ready, what does it use: answered without the model, however busy that is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::app::App;
use super::error::ErrorKind;
use super::jobs::Stats;
use super::metrics::Gauge;
use super::pool::Phase;
use super::store::Link;

/// What the readiness of a server is called, and why it is not ready.
pub(super) fn readiness(app: &App) -> Result<&'static str, (&'static str, String)> {
    if app.is_draining() {
        return Err(("stopping", "the server is stopping".to_owned()));
    }
    match app.desk.pool.phase() {
        // Photos are answered without Redis, so a replica without it is not taken out of service.
        Phase::Ready(_) if matches!(link(app), Some(Link::Down(..))) => {
            Ok("ready, but for jobs: Redis cannot be used")
        }
        Phase::Ready(_) => Ok("ready"),
        Phase::Waiting => Ok("ready: the model is loaded at the first photo"),
        Phase::Loading => Err(("loading", "the model is being loaded".to_owned())),
        // The operator's log has paths and details.
        Phase::Failed(failure) => Err((
            failure.kind,
            format!("the model cannot be served: {}", describe(failure.kind)),
        )),
    }
}

/// Whether Redis is there, if there should be one.
fn link(app: &App) -> Option<Link> {
    app.queue.as_ref().map(|queue| queue.store.link())
}

/// Numbers of the shared queue, if they are to be had.
async fn queue_stats(app: &App) -> Option<Stats> {
    let (queue, info) = app.queue.as_ref().zip(app.desk.pool.info())?;
    queue.stats(&info.content).await
}

fn describe(kind: &str) -> &'static str {
    match kind {
        "model_unreadable" => "its file is missing, damaged or no artifact",
        "self_test" => "it does not compute what it computed where it was made",
        _ => "it cannot be run",
    }
}

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok"
}

/// `GET /readyz`.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match readiness(&app) {
        Ok(text) => text.into_response(),
        Err((kind, message)) => {
            let document = json!({ "error": { "kind": kind, "message": message } });
            let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(document)).into_response();
            response.extensions_mut().insert(ErrorKind(kind));
            response
        }
    }
}

/// `GET /health`: `ok`, or with `?verbose=1` what a person wants to know.
pub(super) async fn health(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose=1" || p == "verbose"));
    if !verbose {
        return "ok".into_response();
    }
    let link = link(&app);
    let (status, message) = match readiness(&app) {
        Ok(text) if matches!(link, Some(Link::Down(..))) => ("degraded", text.to_owned()),
        Ok(text) => ("ok", text.to_owned()),
        Err((_, message)) => ("degraded", message),
    };
    let redis = match link {
        None => Value::Null,
        Some(Link::New) => json!({ "status": "connecting" }),
        Some(Link::Up) => {
            let stats = queue_stats(&app).await;
            json!({
                "status": "up",
                "jobs_open": stats.map(|s| s.open),
                "workers": stats.map(|s| s.workers),
                "dead_letters": stats.map(|s| s.dead),
            })
        }
        Some(Link::Down(since, kind)) => json!({
            "status": "down",
            "kind": kind,
            "seconds": since.elapsed().as_secs(),
        }),
    };
    let info = app.desk.pool.info();
    Json(json!({
        "status": status,
        "model_loaded": info.is_some(),
        "message": message,
        "model": info.as_ref().map(|info| &info.id),
        "gradcam_enabled": app.config.model.gradcam,
        "uptime_seconds": app.started.elapsed().as_secs(),
        "requests_inside": app.admission.inside(),
        "jobs_open": app.jobs.open_count(),
        "redis": redis,
    }))
    .into_response()
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
        "uploads_leased_bytes": app.admission.leased_bytes(),
        "cache_bytes": app.desk.cache.bytes(),
        "model_loaded": app.desk.pool.info().is_some(),
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
        "model": app.desk.pool.info().as_deref(),
    }))
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let memory = app.memory();
    let stats = queue_stats(&app).await;
    let up = link(&app).map(|link| f64::from(u8::from(link == Link::Up)));
    let bytes = |value: Option<u64>| value.map(|b| b as f64);
    let gauge = |name, help, value| Gauge { name, help, value };
    let gauges = [
        gauge(
            "dermal_ready",
            "1 if photos are taken.",
            Some(f64::from(u8::from(readiness(&app).is_ok()))),
        ),
        gauge(
            "dermal_requests_inside",
            "Requests that wait or are computed.",
            Some(app.admission.inside() as f64),
        ),
        gauge(
            "dermal_jobs_open",
            "Jobs that wait or are computed.",
            Some(app.jobs.open_count() as f64),
        ),
        gauge("dermal_redis_up", "1 if Redis can be used.", up),
        gauge(
            "dermal_queue_jobs_open",
            "Jobs for this model that wait or are computed anywhere.",
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
            "Bytes set aside for uploads and pictures.",
            Some(app.admission.leased_bytes() as f64),
        ),
        gauge(
            "dermal_cache_bytes",
            "Bytes of answers that are kept.",
            Some(app.desk.cache.bytes() as f64),
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
            "Memory that the server keeps within.",
            Some(memory.limit as f64),
        ),
        gauge(
            "dermal_uptime_seconds",
            "Time since the start.",
            Some(app.started.elapsed().as_secs_f64()),
        ),
        gauge(
            "dermal_stopping",
            "1 once the server is told to stop.",
            Some(f64::from(u8::from(app.draining.load(Ordering::Acquire)))),
        ),
    ];
    let text = app.desk.metrics.text(&gauges, &app.desk.cache.looks());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
