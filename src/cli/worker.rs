//! Arguments of `worker`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::EngineArgs;
use super::serve::{LogArgs, parse_count, parse_seconds, parse_seconds_or_none};
use super::size::{parse_bytes, parse_pixels};

/// `dermal worker`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal worker model.safetensors --redis redis://cache:6379
  DERMAL_REDIS=rediss://:secret@cache.example.org dermal worker model.safetensors --threads 2

Answers the jobs for the same model that `dermal serve --redis` puts into Redis (`POST /jobs`), one at a
time. Run as many workers as you need, on any machines. If a worker dies, no job is lost: another worker
takes its job after `--visibility` seconds. SIGTERM lets a worker finish its job. SIGHUP, or a change of
the file, loads the model again. docs/serving.md explains everything.")]
pub struct WorkerArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(env = "DERMAL_MODEL", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// The Redis that jobs are in: `redis://[user:password@]host[:port][/number]`, or `rediss://` for
    /// TLS. DERMAL_REDIS is safer: everybody on the machine can see options
    #[arg(long, value_name = "URL", env = "DERMAL_REDIS", hide_env_values = true)]
    pub redis: String,
    /// Certificates (PEM) of the authority that signed the certificate of Redis, for `rediss://`
    /// [default: public authorities]
    #[arg(long, value_name = "FILE", env = "DERMAL_REDIS_CA", value_hint = ValueHint::FilePath)]
    pub redis_ca: Option<PathBuf>,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Seconds after which another worker takes a job that this one no longer renews; a live worker
    /// renews three times as often
    #[arg(long, value_name = "S", env = "DERMAL_VISIBILITY", default_value = "30", value_parser = parse_seconds)]
    pub visibility: f64,
    /// How often a job is given to a worker before it becomes a dead letter
    #[arg(long, value_name = "N", env = "DERMAL_MAX_DELIVERIES", default_value = "3", value_parser = parse_count)]
    pub max_deliveries: usize,
    /// Seconds that the shared cache in Redis keeps an answer; 0 switches it off
    #[arg(long, value_name = "S", env = "DERMAL_CACHE_EXPIRY", default_value = "3600", value_parser = parse_seconds_or_none)]
    pub cache_expiry: f64,
    /// Memory that the process may take: `512MB` [default: the cgroup's limit, at most 512MB]
    #[arg(long, value_name = "BYTES", env = "DERMAL_BUDGET", value_parser = parse_bytes, help_heading = "Limits")]
    pub budget: Option<u64>,
    /// Largest photo, in bytes of its file
    #[arg(long, value_name = "BYTES", env = "DERMAL_MAX_UPLOAD", default_value = "10MB", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_upload: u64,
    /// Most pixels of a photo; a larger one is refused
    #[arg(long, value_name = "PIXELS", env = "DERMAL_MAX_PIXELS", default_value = "50MP", value_parser = parse_pixels, help_heading = "Limits")]
    pub max_pixels: u64,
    /// Seconds that computing one job may take
    #[arg(long, value_name = "S", env = "DERMAL_TIMEOUT", default_value = "60", value_parser = parse_seconds, help_heading = "Limits")]
    pub timeout: f64,
    /// Seconds that the current job may still take after SIGTERM
    #[arg(long, value_name = "S", env = "DERMAL_GRACE", default_value = "25", value_parser = parse_seconds, help_heading = "Limits")]
    pub grace: f64,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}
