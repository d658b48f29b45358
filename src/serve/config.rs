//! Every choice of a server or worker, as data. `commands` fills it from the command line and
//! environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::store::Redis;
use crate::kernels::Isa;

/// Jobs that one process keeps: each may hold a photo.
pub const DEFAULT_JOBS: usize = 16;

/// Which model, and how it runs.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The artifact; `None` is the embedded demo model.
    pub path: Option<PathBuf>,
    /// Whether the model is loaded at start, and not at the first photo.
    pub preload: bool,
    /// Whether heat maps are made.
    pub gradcam: bool,
    /// Threads that share one photo's work.
    pub threads: usize,
    /// The tier of kernels.
    pub isa: Isa,
}

/// How a server runs.
#[derive(Clone, Debug)]
pub struct Config {
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
    /// While more requests come than can be answered: how long one may wait, in times of one answer.
    pub overload_wait: f64,
    /// Longest time from a request's first byte to its answer.
    pub deadline: Duration,
    /// Longest time that a stopping server waits for accepted requests.
    pub grace: Duration,
    /// Keys of which a request must show one; none are needed where this is empty.
    pub api_keys: Vec<String>,
    /// Origins whose pages may call this server.
    pub cors_origins: Vec<String>,
    /// Requests a second that one client may make in the long run; none is no limit.
    pub rate_limit: Option<f64>,
    /// Proxies in front of the server that append to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// Bytes of answers that are kept for photos that come again; 0 keeps none.
    pub cache_bytes: u64,
    /// Open connections.
    pub max_connections: usize,
    /// Jobs that are kept, waiting or answered; with Redis those that wait or run anywhere.
    pub max_jobs: usize,
    /// How long a job's answer is kept.
    pub job_expiry: Duration,
    /// What replicas and workers share; jobs stay in this process without.
    pub redis: Option<Redis>,
    /// How long a job may wait in Redis for its answer, and its photo with it.
    pub job_wait: Duration,
    /// Bytes of jobs' answers that Redis keeps.
    pub job_answers_bytes: u64,
    /// How long Redis keeps an answer for a photo that comes again.
    pub cache_expiry: Duration,
    /// Whether the log has clients' addresses.
    pub log_addresses: bool,
}

/// How a worker runs: a process that answers the jobs of servers through Redis.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The model.
    pub model: Arc<ModelConfig>,
    /// Where jobs come from.
    pub redis: Redis,
    /// Bytes of memory that the process may take.
    pub budget_bytes: u64,
    /// Largest photo, in bytes of its file.
    pub max_upload_bytes: u64,
    /// Most pixels of a photo.
    pub max_pixels: u64,
    /// Longest time that a job may be computed.
    pub deadline: Duration,
    /// How long a job belongs to a worker that says nothing.
    pub visibility: Duration,
    /// How often a job is given to a worker before it is given up.
    pub max_deliveries: usize,
    /// How long Redis keeps an answer for a photo that comes again.
    pub cache_expiry: Duration,
    /// Longest time that a stopping worker takes to finish its job.
    pub grace: Duration,
}
