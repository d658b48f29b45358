//! The HTTP server: photos in, classes and heat maps out, inside a budget of memory.
//!
//! In: a [`Config`]. Out: answers, until the process is told to stop. One thread speaks HTTP, one
//! owns the model (`pool`); what a request may cost is settled before its photo is decoded
//! (`admission`), so that memory cannot run out however many come. Photos are never written to
//! disk or log, and no path from a request is ever opened. Where there is a Redis (`store`),
//! replicas share answers (`cache`) and jobs (`jobs`), which a [`work`]er answers.
//!
//! Not here: the command line and the log's format (`commands`), TLS (the platform's proxy).

mod admission;
mod app;
mod ask;
mod body;
mod cache;
mod config;
mod connection;
mod desk;
mod division;
mod document;
mod error;
mod health;
mod jobs;
mod json;
mod keys;
mod load;
mod metrics;
mod page;
mod picture;
mod pool;
mod predict;
mod protocol;
mod random;
mod router;
mod session;
mod store;
mod tensors;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

pub use config::{Config, DEFAULT_JOBS, ModelConfig, WorkerConfig};
pub use division::{Claims, Guests, least_budget};
pub use error::ServeError;
pub use store::Redis;
pub use worker::work;

use app::App;
use connection::Connections;
use desk::Desk;
use metrics::count;

/// How often the model's file is looked at.
const LOOK_AT_FILE: Duration = Duration::from_secs(2);

/// How often a stopping server looks whether it is done.
const LOOK_AT_WORK: Duration = Duration::from_millis(20);

/// How long connections may take to end once the last answer is made.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, and then until accepted requests are answered or the grace is
/// over. SIGHUP or a changed file loads the model again.
///
/// # Errors
/// [`ServeError`] if it cannot start; a model that cannot be loaded is no such error, but a server
/// that is alive and not ready.
pub fn run(config: Config) -> Result<(), ServeError> {
    // One thread does all I/O: it is a small part of the work, and a second one would need memory
    // of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), ServeError> {
    let on = |kind| signal(kind).map_err(ServeError::Start);
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let hang_up = on(SignalKind::hangup())?;
    let address = config.bind;
    // First the address: who asks too early is told to wait, not refused.
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
        router::router(&app),
        Arc::clone(&app),
        Arc::clone(&connections),
        stopped,
    ));
    let reloading = tokio::spawn(reload(
        Arc::clone(&app.desk),
        app.config.model.path.clone(),
        hang_up,
    ));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(inside = app.admission.inside(), "stopping");
    let asked = Instant::now();
    app.draining.store(true, Ordering::Release);
    reloading.abort();
    let is_quiet = || app.admission.inside() == 0 && app.jobs.open_count() == 0;
    let wait = |until: Instant| until.checked_duration_since(Instant::now());
    let last = asked + grace.saturating_sub(CLOSE_PATIENCE.min(grace / 2));
    while !is_quiet() && wait(last).is_some() {
        tokio::time::sleep(LOOK_AT_WORK).await;
    }
    app.jobs.cancel_all();
    // Receivers live in the tasks of connections.
    let _ = stop.send(true);
    let _ = accepting.await;
    let closed = Instant::now() + CLOSE_PATIENCE.min(grace / 2);
    while connections.count() > 0 && wait(closed).is_some() {
        tokio::time::sleep(LOOK_AT_WORK).await;
    }
    tracing::info!(
        left = connections.count(),
        ms = asked.elapsed().as_secs_f64() * 1e3,
        "stopped"
    );
    Ok(())
}

/// Loads the model again on SIGHUP, and when its file has changed and stays as it is.
async fn reload(desk: Arc<Desk>, path: Option<PathBuf>, mut hang_up: Signal) {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some((modified, metadata.len()))
    };
    let look = || path.as_deref().and_then(stamp);
    let mut loaded = look();
    let mut last = loaded;
    let mut tick = tokio::time::interval(LOOK_AT_FILE);
    loop {
        let asked = tokio::select! {
            _ = hang_up.recv() => true,
            _ = tick.tick() => false,
        };
        let now = look();
        // A file that is being copied changes from look to look.
        let changed = now.is_some() && now != loaded && now == last;
        last = now;
        if asked || changed {
            tracing::info!(asked, "loading the model again");
            loaded = now;
            count(&desk.metrics.reloads);
            desk.pool.load();
        }
    }
}
