//! Arguments of the commands around the server: `serve` and `probe`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::{EngineArgs, parse_bytes};

/// `dermal serve`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal serve model.safetensors
  dermal serve model.safetensors --port 9000 --budget 512MB --lazy
  DERMAL_API_KEYS=secret dermal serve model.safetensors --rate-limit 2
  DERMAL_REDIS=redis://cache:6379 dermal serve model.safetensors    # jobs for `dermal worker`
  curl -F image=@photo.jpg 'http://localhost:8080/predict?gradcam=1'

What stands on the command line counts before what stands in the environment. SIGTERM stops the
server when accepted requests are answered; SIGHUP or a changed file loads the model again.
docs/serving.md explains everything.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct ServeArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(env = "DERMAL_MODEL", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Address to listen on, with or without port [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS", env = "DERMAL_BIND", value_parser = parse_bind)]
    pub bind: Option<BindAddress>,
    /// Port to listen on where `--bind` has none; 0 takes a free one
    #[arg(long, value_name = "N", env = "PORT", default_value = "8080")]
    pub port: u16,
    /// Load the model at start (the default)
    #[arg(long, overrides_with = "lazy")]
    pub preload: bool,
    /// Load the model at the first photo
    #[arg(long, overrides_with = "preload")]
    pub lazy: bool,
    /// `PRELOAD_MODEL=false` is `--lazy`.
    #[arg(long, env = "PRELOAD_MODEL", hide = true, value_parser = parse_switch)]
    pub preload_model: Option<bool>,
    /// Make no heat maps
    #[arg(long)]
    pub no_gradcam: bool,
    /// `ENABLE_GRADCAM=false` is `--no-gradcam`.
    #[arg(long, env = "ENABLE_GRADCAM", hide = true, value_parser = parse_switch)]
    pub enable_gradcam: Option<bool>,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Memory that the process may take: `512MB` [default: the cgroup's limit, at most 512MB]
    #[arg(long, value_name = "BYTES", env = "DERMAL_BUDGET", value_parser = parse_bytes, help_heading = "Limits")]
    pub budget: Option<u64>,
    /// Largest upload
    #[arg(long, value_name = "BYTES", env = "DERMAL_MAX_UPLOAD", default_value = "10MB", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_upload: u64,
    /// Most pixels of a photo
    #[arg(long, value_name = "N", env = "DERMAL_MAX_PIXELS", default_value = "50000000", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    pub max_pixels: u64,
    /// Requests that may wait; more are told to come back
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_QUEUE",
        default_value = "16",
        value_parser = parse_count,
        help_heading = "Limits"
    )]
    pub queue: usize,
    /// While more requests come than can be answered: how long one may wait, in times of one answer;
    /// more are told to come back
    #[arg(long, value_name = "N", env = "DERMAL_OVERLOAD_WAIT", default_value = "1", value_parser = parse_seconds, help_heading = "Limits")]
    pub overload_wait: f64,
    /// Seconds in which a request must be answered
    #[arg(long, value_name = "S", env = "DERMAL_TIMEOUT", default_value = "60", value_parser = parse_seconds, help_heading = "Limits")]
    pub timeout: f64,
    /// Seconds that accepted requests may take after SIGTERM
    #[arg(long, value_name = "S", env = "DERMAL_GRACE", default_value = "25", value_parser = parse_seconds, help_heading = "Limits")]
    pub grace: f64,
    /// Open connections; idle ones are closed for new ones
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_MAX_CONNECTIONS",
        default_value = "1024",
        value_parser = parse_count,
        help_heading = "Limits"
    )]
    pub max_connections: usize,
    /// Answers that are kept for photos that come again: bytes, or 0
    #[arg(long, value_name = "BYTES", env = "DERMAL_CACHE", default_value = "4MB", value_parser = parse_bytes_or_none, help_heading = "Limits")]
    pub cache: u64,
    /// Jobs that are kept, waiting or answered [default: 16; with Redis 64 that wait or run]
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_MAX_JOBS",
        value_parser = parse_count,
        help_heading = "Limits"
    )]
    pub max_jobs: Option<usize>,
    /// Seconds that a job's answer is kept
    #[arg(long, value_name = "S", env = "DERMAL_JOB_EXPIRY", default_value = "600", value_parser = parse_seconds, help_heading = "Limits")]
    pub job_expiry: f64,
    /// Redis for jobs and answers that replicas share: `redis://[user:password@]host[:port][/number]`,
    /// or `rediss://` for TLS. Better in DERMAL_REDIS: the list of processes shows options
    #[arg(
        long,
        value_name = "URL",
        env = "DERMAL_REDIS",
        hide_env_values = true,
        help_heading = "Redis"
    )]
    pub redis: Option<String>,
    /// Certificates (PEM) of the authority that signed that of Redis, for `rediss://`
    /// [default: public authorities]
    #[arg(long, value_name = "FILE", env = "DERMAL_REDIS_CA", value_hint = ValueHint::FilePath, help_heading = "Redis")]
    pub redis_ca: Option<PathBuf>,
    /// Seconds that a job may wait in Redis for a worker, and its photo with it
    #[arg(long, value_name = "S", env = "DERMAL_JOB_WAIT", default_value = "3600", value_parser = parse_seconds, help_heading = "Redis")]
    pub job_wait: f64,
    /// Answers of jobs that Redis keeps; those that would expire first go first
    #[arg(long, value_name = "BYTES", env = "DERMAL_JOB_ANSWERS", default_value = "64MB", value_parser = parse_bytes, help_heading = "Redis")]
    pub job_answers: u64,
    /// Seconds that Redis keeps an answer for a photo that comes again; 0 shares none
    #[arg(long, value_name = "S", env = "DERMAL_CACHE_EXPIRY", default_value = "3600", value_parser = parse_seconds_or_none, help_heading = "Redis")]
    pub cache_expiry: f64,
    /// A key of which requests must show one (repeatable); better in DERMAL_API_KEYS or a file
    #[arg(
        long,
        value_name = "KEY",
        env = "DERMAL_API_KEYS",
        hide_env_values = true,
        value_delimiter = ',',
        help_heading = "Access"
    )]
    pub api_key: Vec<String>,
    /// A file with one key a line; `#` starts a comment
    #[arg(long, value_name = "FILE", env = "DERMAL_API_KEYS_FILE", value_hint = ValueHint::FilePath, help_heading = "Access")]
    pub api_keys_file: Option<PathBuf>,
    /// Requests a second that one client may make in the long run [default: no limit]
    #[arg(long, value_name = "N", env = "DERMAL_RATE_LIMIT", value_parser = parse_seconds, help_heading = "Access")]
    pub rate_limit: Option<f64>,
    /// Proxies in front of the server whose X-Forwarded-For is believed
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_TRUSTED_PROXIES",
        default_value = "0",
        help_heading = "Access"
    )]
    pub trusted_proxies: usize,
    /// An origin whose pages may call this server (repeatable), or `*`
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "DERMAL_CORS_ORIGINS",
        value_delimiter = ',',
        help_heading = "Access"
    )]
    pub cors_origin: Vec<String>,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
    /// Log clients' addresses
    #[arg(long, env = "DERMAL_LOG_ADDRESSES", value_parser = parse_switch, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", help_heading = "Log")]
    pub log_addresses: bool,
}

/// What is logged, and how.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Form of the log on stderr [default: pretty on a terminal, else json]
    #[arg(
        long,
        value_name = "FORM",
        env = "DERMAL_LOG_FORMAT",
        help_heading = "Log"
    )]
    pub log_format: Option<LogFormat>,
    /// What is logged
    #[arg(
        long,
        value_name = "LEVEL",
        env = "DERMAL_LOG_LEVEL",
        default_value = "info",
        help_heading = "Log"
    )]
    pub log_level: LogLevel,
}

/// `dermal probe`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal probe https://skin.example.org
  dermal probe http://localhost:8080 --images photos/ --minutes 30 --rps 2
  DERMAL_PROBE_KEY=secret dermal probe https://skin.example.org --json

Reads health and memory, sends photos one after the other and several at once, asks for a heat map,
and with `--minutes` goes on and watches the memory. The exit status is 1 if something is not
healthy, 2 if the server could not be asked. docs/serving.md explains the verdict.")]
pub struct ProbeArgs {
    /// The server: `https://host` or `http://host:port`
    pub url: String,
    /// Photos to send [default: a made-up one]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub images: Option<PathBuf>,
    /// Requests one after the other, and as many again at once
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count)]
    pub requests: usize,
    /// Requests at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = parse_count)]
    pub parallel: usize,
    /// Go on for so many minutes and watch the memory
    #[arg(long, value_name = "N", value_parser = parse_seconds)]
    pub minutes: Option<f64>,
    /// Requests a second while it goes on
    #[arg(long, value_name = "N", default_value = "1", requires = "minutes", value_parser = parse_seconds)]
    pub rps: f64,
    /// Seconds that the first answer may take: a platform may have to wake the server
    #[arg(long, value_name = "S", default_value = "120", value_parser = parse_seconds)]
    pub patience: f64,
    /// Memory may grow by so much an hour, over the last four fifths of `--minutes`
    #[arg(long, value_name = "BYTES", default_value = "1MB", value_parser = parse_bytes)]
    pub max_growth: u64,
    /// A key that the server asks for
    #[arg(
        long,
        value_name = "KEY",
        env = "DERMAL_PROBE_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// The address.
    pub ip: std::net::IpAddr,
    /// The port, if it was given.
    pub port: Option<u16>,
}

/// Form of a server's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

/// What a server logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed
    Error,
    /// And what may be wrong
    Warn,
    /// And each photo
    Info,
    /// And each probe
    Debug,
}

/// As [`parse_bytes`], or 0 for none.
fn parse_bytes_or_none(text: &str) -> Result<u64, String> {
    match text.trim() {
        "0" => Ok(0),
        text => parse_bytes(text),
    }
}

/// Environments have many words for it.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000) => Ok(count),
        _ => Err("expected 1 to 100000".to_owned()),
    }
}

/// As [`parse_seconds`], or 0 for none.
pub(super) fn parse_seconds_or_none(text: &str) -> Result<f64, String> {
    match text.trim() {
        "0" => Ok(0.0),
        text => parse_seconds(text),
    }
}

pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("expected a positive number".to_owned()),
    }
}

/// `127.0.0.1`, `[::1]:8080`, `0.0.0.0:$PORT` with the number filled in.
fn parse_bind(text: &str) -> Result<BindAddress, String> {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Ok(BindAddress {
            ip: address.ip(),
            port: Some(address.port()),
        });
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let ip = bare
        .parse()
        .map_err(|_| "expected an IP address, with or without a port: 0.0.0.0:8080".to_owned())?;
    Ok(BindAddress { ip, port: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_switches_are_read_and_refused() {
        let bind = |text: &str| parse_bind(text).ok().map(|b| (b.ip.to_string(), b.port));
        let at = |ip: &str, port| Some((ip.to_owned(), port));
        assert_eq!(bind("127.0.0.1"), at("127.0.0.1", None));
        assert_eq!(bind("127.0.0.1:80"), at("127.0.0.1", Some(80)));
        assert_eq!(bind("[::1]:80"), at("::1", Some(80)));
        assert_eq!(bind("::"), at("::", None));
        for bad in ["localhost", "1.2.3.4:", "1.2.3.4:99999", ""] {
            assert_eq!(bind(bad), None, "{bad}");
        }
        assert_eq!(parse_switch("True"), Ok(true));
        assert_eq!(parse_switch("off"), Ok(false));
        assert!(parse_switch("").is_err());
        assert_eq!(parse_bytes_or_none("0"), Ok(0));
        assert!(parse_seconds("nan").is_err() && parse_seconds("-1").is_err());
    }
}
