//! Every choice of a server, as data. `commands` fills it from the command line and environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::kernels::Isa;

/// How a server runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The artifact; `None` is the embedded demo model.
    pub model: Option<PathBuf>,
    /// Where to listen.
    pub bind: SocketAddr,
    /// Whether the model is loaded at start, and not at the first photo.
    pub preload: bool,
    /// Whether heat maps are made.
    pub gradcam: bool,
    /// Bytes of memory that the process may take.
    pub budget_bytes: u64,
    /// Largest body of a request, in bytes.
    pub max_upload_bytes: u64,
    /// Most pixels of a photo.
    pub max_pixels: u64,
    /// Requests that may wait while one is computed.
    pub queue: usize,
    /// Threads that share one photo's work.
    pub threads: usize,
    /// The tier of kernels.
    pub isa: Isa,
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
    /// Jobs that are kept, waiting or answered.
    pub max_jobs: usize,
    /// How long a job's answer is kept.
    pub job_expiry: Duration,
    /// Whether the log has clients' addresses.
    pub log_addresses: bool,
}
