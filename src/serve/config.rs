//! All settings of a server or worker. `commands` fills them from the command line and the environment.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::ServeError;
use super::store::Redis;
use crate::kernels::Isa;

/// Most jobs that one process keeps. Each may hold a photo.
pub const DEFAULT_JOBS: usize = 16;

/// Which model, and how it runs.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The artifact; `None` is the embedded demo model.
    pub path: Option<PathBuf>,
    /// Whether the model is loaded at the start (or else at the first photo).
    pub preload: bool,
    /// Whether heat maps are made.
    pub gradcam: bool,
    /// Threads that share the work on one photo.
    pub threads: usize,
    /// The instruction set of the kernels.
    pub isa: Isa,
}

impl ModelConfig {
    /// Refuses a path at which there is no file. Such a server would never become ready, while a file
    /// that cannot be loaded may be replaced by one that can.
    pub(super) fn check_exists(&self) -> Result<(), ServeError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let is_folder = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => true,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                false
            }
            _ => return Ok(()),
        };
        Err(ServeError::NoModel {
            path: path.clone(),
            is_folder,
        })
    }
}

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The model.
    pub model: Arc<ModelConfig>,
    /// Where to listen.
    pub bind: SocketAddr,
    /// Bytes of memory that the process may take.
    pub budget_bytes: u64,
    /// Largest body of a request, in bytes.
    pub max_upload_bytes: u64,
    /// Most pixels of a photo.
    pub max_pixels: u64,
    /// Requests that may wait while one is computed.
    pub queue: usize,
    /// During overload: how long a request may wait, in answer times.
    pub overload_wait: f64,
    /// Longest time from a request's first byte to its answer.
    pub deadline: Duration,
    /// Longest time that a stopping server waits for accepted requests.
    pub grace: Duration,
    /// API keys; a request must show one of them. If there are none, no request needs a key.
    pub api_keys: Vec<String>,
    /// Origins whose pages may call this server.
    pub cors_origins: Vec<String>,
    /// Requests a second that one client may make on average; `None` means no limit.
    pub rate_limit: Option<f64>,
    /// Proxies in front of the server that append to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// Bytes of answers that the cache keeps; 0 switches it off.
    pub cache_bytes: u64,
    /// Most open connections.
    pub max_connections: usize,
    /// Most jobs that are kept, waiting or answered. With Redis: most jobs that wait or run anywhere.
    pub max_jobs: usize,
    /// How long a job's answer is kept.
    pub job_expiry: Duration,
    /// The Redis that replicas and workers share. Without it jobs stay in this process.
    pub redis: Option<Redis>,
    /// How long a job and its photo may wait in Redis.
    pub job_wait: Duration,
    /// Bytes of job answers that Redis keeps.
    pub job_answers_bytes: u64,
    /// How long the shared cache keeps an answer.
    pub cache_expiry: Duration,
    /// Whether the log contains the addresses of clients.
    pub log_addresses: bool,
}

/// Settings of a worker: a process that answers jobs from Redis.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The model.
    pub model: Arc<ModelConfig>,
    /// The Redis that the jobs are in.
    pub redis: Redis,
    /// Bytes of memory that the process may take.
    pub budget_bytes: u64,
    /// Largest photo, in bytes of its file.
    pub max_upload_bytes: u64,
    /// Most pixels of a photo.
    pub max_pixels: u64,
    /// Longest time that computing one job may take.
    pub deadline: Duration,
    /// How long a job belongs to a worker that does not renew it.
    pub visibility: Duration,
    /// How often a job is given to a worker before it becomes a dead letter.
    pub max_deliveries: usize,
    /// How long the shared cache keeps an answer.
    pub cache_expiry: Duration,
    /// Longest time that a stopping worker may take to finish its job.
    pub grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;

    #[test]
    fn only_a_path_without_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::File::create(folder.path().join("empty")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("nothing"), folder.path().join("link"))
            .unwrap();
        let check = |name: Option<&str>| {
            let model = ModelConfig {
                path: name.map(|name| folder.path().join(name)),
                preload: true,
                gradcam: true,
                threads: 1,
                isa: Isa::detect(),
            };
            model.check_exists()
        };
        assert!(check(Some("empty")).is_ok() && check(None).is_ok());
        for name in ["nothing", "link", "none/nothing", "empty/below", "."] {
            let error = check(Some(name)).unwrap_err();
            assert_eq!(error.kind(), "no_model", "{name}");
            assert_eq!(error.to_string().contains("folder"), name == ".", "{error}");
        }
    }
}
