//! Arguments of `worker`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::serve::{LogArgs, parse_count, parse_seconds, parse_seconds_or_none};
use super::{EngineArgs, parse_bytes};

/// `dermal worker`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal worker model.safetensors --redis redis://cache:6379
  DERMAL_REDIS=rediss://:secret@cache.example.org dermal worker model.safetensors --threads 2

Takes jobs that `dermal serve --redis` put into Redis (`POST /jobs`) for the same model, one at a
time, and puts the answers there. Run as many as there is work for, on any machines. A worker that
dies loses nothing: after `--visibility` seconds another takes its job. SIGTERM lets it finish its
job; SIGHUP or a changed file loads the model again. docs/serving.md explains everything.")]
pub struct WorkerArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(env = "DERMAL_MODEL", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Where jobs come from: `redis://[user:password@]host[:port][/number]`, or `rediss://` for TLS.
    /// Better in DERMAL_REDIS: the list of processes shows options
    #[arg(long, value_name = "URL", env = "DERMAL_REDIS", hide_env_values = true)]
    pub redis: String,
    /// Certificates (PEM) of the authority that signed that of Redis, for `rediss://`
    /// [default: public authorities]
    #[arg(long, value_name = "FILE", env = "DERMAL_REDIS_CA", value_hint = ValueHint::FilePath)]
    pub redis_ca: Option<PathBuf>,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Seconds after which a job belongs to another worker if this one says nothing; it says
    /// something every third of that
    #[arg(long, value_name = "S", env = "DERMAL_VISIBILITY", default_value = "30", value_parser = parse_seconds)]
    pub visibility: f64,
    /// How often a job is given to a worker before it is given up as a dead letter
    #[arg(long, value_name = "N", env = "DERMAL_MAX_DELIVERIES", default_value = "3", value_parser = parse_count)]
    pub max_deliveries: usize,
    /// Seconds that Redis keeps an answer for a photo that comes again; 0 shares none
    #[arg(long, value_name = "S", env = "DERMAL_CACHE_EXPIRY", default_value = "3600", value_parser = parse_seconds_or_none)]
    pub cache_expiry: f64,
    /// Memory that the process may take: `512MB` [default: the cgroup's limit, at most 512MB]
    #[arg(long, value_name = "BYTES", env = "DERMAL_BUDGET", value_parser = parse_bytes, help_heading = "Limits")]
    pub budget: Option<u64>,
    /// Largest photo, in bytes of its file
    #[arg(long, value_name = "BYTES", env = "DERMAL_MAX_UPLOAD", default_value = "10MB", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_upload: u64,
    /// Most pixels of a photo
    #[arg(long, value_name = "N", env = "DERMAL_MAX_PIXELS", default_value = "50000000", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    pub max_pixels: u64,
    /// Seconds that one job may be computed
    #[arg(long, value_name = "S", env = "DERMAL_TIMEOUT", default_value = "60", value_parser = parse_seconds, help_heading = "Limits")]
    pub timeout: f64,
    /// Seconds that the job at hand may take after SIGTERM
    #[arg(long, value_name = "S", env = "DERMAL_GRACE", default_value = "25", value_parser = parse_seconds, help_heading = "Limits")]
    pub grace: f64,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}
