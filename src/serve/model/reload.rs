//! Loads the model again when its file changes, or on SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;

use super::ModelService;
use crate::serve::metrics::count;

/// How often the model's file is checked for changes.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Loads the model again on SIGHUP, and when its file has changed and then stayed the same for one
/// [`CHECK_EVERY`].
pub(in crate::serve) async fn watch(
    service: Arc<ModelService>,
    path: Option<PathBuf>,
    mut hang_up: Signal,
) {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some((modified, metadata.len()))
    };
    let current = || path.as_deref().and_then(stamp);
    let mut loaded = current();
    let mut last = loaded;
    let mut tick = tokio::time::interval(CHECK_EVERY);
    loop {
        let by_signal = tokio::select! {
            _ = hang_up.recv() => true,
            _ = tick.tick() => false,
        };
        let now = current();
        // A file that is still being copied differs from one check to the next.
        let changed = now.is_some() && now != loaded && now == last;
        last = now;
        if by_signal || changed {
            tracing::info!(asked = by_signal, "loading the model again");
            loaded = now;
            count(&service.metrics.reloads);
            service.inference.load();
        }
    }
}
