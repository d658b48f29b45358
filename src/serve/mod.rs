//! The HTTP server: photos in, classes and heat maps out, within a memory budget.
//!
//! In: a [`ServerConfig`]. Out: answers, until the process is told to stop. One thread speaks HTTP
//! (`http`, `routes`), another owns the model (`model`). Admission control (`admission`) reserves memory
//! for a request before its body is read and before its photo is decoded, so that memory cannot run out
//! however many requests come. Photos are never written to disk or to the log, and no path from a
//! request is ever opened. With a Redis (`store`), replicas share answers (`cache`) and jobs (`jobs`),
//! which workers answer ([`work`]).
//!
//! Arrows between the modules point down: `routes` -> `app` -> `model`, `jobs`, `http` -> `cache` ->
//! `answer`, `question`, `admission`, `store` -> `error`.
//!
//! Not here: the command line and the format of the log (`commands`), TLS (the platform's proxy).

mod admission;
mod answer;
mod app;
mod cache;
mod config;
mod error;
mod http;
mod jobs;
mod metrics;
mod model;
mod question;
mod random;
mod routes;
mod store;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub use admission::{ExpectedRequests, MemorySettings, least_budget};
pub use config::{DEFAULT_JOBS, ModelConfig, ServerConfig, WorkerConfig};
pub use error::ServeError;
pub use store::Redis;
pub use worker::work;

use app::App;
use http::connection::{self, Connections};

/// How often a stopping server checks whether it is done.
const CHECK_DONE_EVERY: Duration = Duration::from_millis(20);

/// How long connections may take to close once the last answer is made.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then answers the requests that were accepted, but no longer than the
/// grace period. SIGHUP or a changed file loads the model again.
///
/// # Errors
/// [`ServeError`] if the server cannot start. A model file that exists but cannot be loaded is not an
/// error: the server stays alive and reports that it is not ready.
pub fn run(config: ServerConfig) -> Result<(), ServeError> {
    // One thread does all I/O. It is a small part of the work, and a second thread would need more
    // memory.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    runtime.block_on(serve(config))
}

async fn serve(config: ServerConfig) -> Result<(), ServeError> {
    config.model.check_exists()?;
    let on = |kind| signal(kind).map_err(ServeError::Start);
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let hang_up = on(SignalKind::hangup())?;
    let address = config.bind;
    // The server listens before it loads the model, so that early clients are told to wait and are not
    // refused.
    let bind = |source| ServeError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let grace = config.grace;
    let app = App::new(config)?;
    tracing::info!(
        %address,
        model = app.config.model.path.as_deref().map(|p| p.display().to_string()),
        budget_bytes = app.config.budget_bytes,
        decode_bytes = app.limits.max_memory_bytes,
        threads = app.config.model.threads,
        kernels = app.config.model.isa.name(),
        redis = app.config.redis.as_ref().map(Redis::address),
        "listening"
    );
    let connections = Arc::new(Connections::default());
    let (stop, stopped) = watch::channel(false);
    let accepting = tokio::spawn(connection::accept(
        listener,
        routes::router(&app),
        (app.config.max_connections, Arc::clone(&app.model.metrics)),
        Arc::clone(&connections),
        stopped,
    ));
    let reloading = tokio::spawn(model::watch(
        Arc::clone(&app.model),
        app.config.model.path.clone(),
        hang_up,
    ));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(inside = app.admission.in_flight(), "stopping");
    let asked = Instant::now();
    app.draining.store(true, Ordering::Release);
    reloading.abort();
    let is_quiet = || app.admission.in_flight() == 0 && app.jobs.open_count() == 0;
    let wait = |until: Instant| until.checked_duration_since(Instant::now());
    let last = asked + grace.saturating_sub(CLOSE_TIMEOUT.min(grace / 2));
    while !is_quiet() && wait(last).is_some() {
        tokio::time::sleep(CHECK_DONE_EVERY).await;
    }
    app.jobs.cancel_all();
    // An error means that no connection is left to tell.
    let _ = stop.send(true);
    let _ = accepting.await;
    let closed = Instant::now() + CLOSE_TIMEOUT.min(grace / 2);
    while connections.count() > 0 && wait(closed).is_some() {
        tokio::time::sleep(CHECK_DONE_EVERY).await;
    }
    tracing::info!(
        left = connections.count(),
        ms = asked.elapsed().as_secs_f64() * 1e3,
        "stopped"
    );
    Ok(())
}
