//! Arguments of the commands around the server: `serve` and `probe`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::EngineArgs;
use super::environment::hint;
use super::size::{parse_bytes, parse_bytes_or_none, parse_pixels};

/// `dermal serve`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal serve model.safetensors
  dermal serve model.safetensors --port 9000 --budget 512MB --lazy
  DERMAL_API_KEYS=secret dermal serve model.safetensors --rate-limit 2
  DERMAL_REDIS=redis://cache:6379 dermal serve model.safetensors    # jobs for `dermal worker`
  curl -F image=@photo.jpg 'http://localhost:8080/predict?gradcam=1'

Command-line options override environment variables, which override defaults; an empty variable counts
as not set. SIGTERM stops the server once the accepted requests are answered. SIGHUP, or a change of the
file, loads the model again. docs/serving.md explains everything.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct ServeArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(env = "DERMAL_MODEL", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Address to listen on, with or without a port [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS", env = "DERMAL_BIND", value_parser = parse_bind)]
    pub bind: Option<BindAddress>,
    /// Port to listen on, if `--bind` has none; 0 picks a free one
    #[arg(long, value_name = "N", env = "PORT", default_value = "8080", value_parser = parse_port)]
    pub port: u16,
    /// Load the model at start (the default)
    #[arg(long, overrides_with = "lazy")]
    pub preload: bool,
    /// Load the model at the first photo: starts faster, but the first photo waits
    #[arg(long, overrides_with = "preload")]
    pub lazy: bool,
    /// `PRELOAD_MODEL=false` is `--lazy`.
    #[arg(long, env = "PRELOAD_MODEL", hide = true, value_parser = parse_switch)]
    pub preload_model: Option<bool>,
    /// Switch heat maps off, which saves memory
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
    /// Largest upload; a larger one is refused
    #[arg(long, value_name = "BYTES", env = "DERMAL_MAX_UPLOAD", default_value = "10MB", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_upload: u64,
    /// Most pixels of a photo; a larger one is refused
    #[arg(long, value_name = "PIXELS", env = "DERMAL_MAX_PIXELS", default_value = "50MP", value_parser = parse_pixels, help_heading = "Limits")]
    pub max_pixels: u64,
    /// Requests that may wait while one is answered; more are told to come back later (429)
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_QUEUE",
        default_value = "16",
        value_parser = parse_count,
        help_heading = "Limits"
    )]
    pub queue: usize,
    /// During overload, how long a request may wait, as a multiple of the time that one answer takes.
    /// Others are told to come back later (429)
    #[arg(long, value_name = "N", env = "DERMAL_OVERLOAD_WAIT", default_value = "1", value_parser = parse_seconds, help_heading = "Limits")]
    pub overload_wait: f64,
    /// Seconds within which a request must be answered
    #[arg(long, value_name = "S", env = "DERMAL_TIMEOUT", default_value = "60", value_parser = parse_seconds, help_heading = "Limits")]
    pub timeout: f64,
    /// Seconds that accepted requests may still take after SIGTERM
    #[arg(long, value_name = "S", env = "DERMAL_GRACE", default_value = "25", value_parser = parse_seconds, help_heading = "Limits")]
    pub grace: f64,
    /// Most open connections; idle ones are closed to make room
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_MAX_CONNECTIONS",
        default_value = "1024",
        value_parser = parse_count,
        help_heading = "Limits"
    )]
    pub max_connections: usize,
    /// Memory for the cache of answers, used when the same photo comes again; 0 switches it off
    #[arg(long, value_name = "BYTES", env = "DERMAL_CACHE", default_value = "4MB", value_parser = parse_bytes_or_none, help_heading = "Limits")]
    pub cache: u64,
    /// Most jobs that are kept, waiting or answered [default: 16; with Redis 64 that wait or run]
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_MAX_JOBS",
        value_parser = parse_count,
        help_heading = "Limits"
    )]
    pub max_jobs: Option<usize>,
    /// Seconds that the answer of a job is kept
    #[arg(long, value_name = "S", env = "DERMAL_JOB_EXPIRY", default_value = "600", value_parser = parse_seconds, help_heading = "Limits")]
    pub job_expiry: f64,
    /// Redis in which replicas share jobs and answers: `redis://[user:password@]host[:port][/number]`,
    /// or `rediss://` for TLS. DERMAL_REDIS is safer: everybody on the machine can see options
    #[arg(
        long,
        value_name = "URL",
        env = "DERMAL_REDIS",
        hide_env_values = true,
        help_heading = "Redis"
    )]
    pub redis: Option<String>,
    /// Certificates (PEM) of the authority that signed the certificate of Redis, for `rediss://`
    /// [default: public authorities]
    #[arg(long, value_name = "FILE", env = "DERMAL_REDIS_CA", value_hint = ValueHint::FilePath, help_heading = "Redis")]
    pub redis_ca: Option<PathBuf>,
    /// Seconds that a job, and its photo, may wait in Redis for a worker
    #[arg(long, value_name = "S", env = "DERMAL_JOB_WAIT", default_value = "3600", value_parser = parse_seconds, help_heading = "Redis")]
    pub job_wait: f64,
    /// Memory of Redis for the answers of jobs; when it is full, the ones that expire first are removed
    #[arg(long, value_name = "BYTES", env = "DERMAL_JOB_ANSWERS", default_value = "64MB", value_parser = parse_bytes, help_heading = "Redis")]
    pub job_answers: u64,
    /// Seconds that the shared cache in Redis keeps an answer; 0 switches it off
    #[arg(long, value_name = "S", env = "DERMAL_CACHE_EXPIRY", default_value = "3600", value_parser = parse_seconds_or_none, help_heading = "Redis")]
    pub cache_expiry: f64,
    /// A key; every request must show one of the keys (repeatable). DERMAL_API_KEYS or a file is safer
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
    /// Requests a second that one client may make on average [default: no limit]
    #[arg(long, value_name = "N", env = "DERMAL_RATE_LIMIT", value_parser = parse_seconds, help_heading = "Access")]
    pub rate_limit: Option<f64>,
    /// Number of proxies in front of the server whose X-Forwarded-For can be trusted
    #[arg(
        long,
        value_name = "N",
        env = "DERMAL_TRUSTED_PROXIES",
        default_value = "0",
        help_heading = "Access"
    )]
    pub trusted_proxies: usize,
    /// An origin whose web pages may call this server (repeatable), or `*` for any
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
    /// Log the addresses of clients
    #[arg(long, env = "DERMAL_LOG_ADDRESSES", value_parser = parse_switch, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", help_heading = "Log")]
    pub log_addresses: bool,
}

/// Options of the log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Format of the log on stderr [default: pretty on a terminal, otherwise json]
    #[arg(
        long,
        value_name = "FORM",
        env = "DERMAL_LOG_FORMAT",
        help_heading = "Log"
    )]
    pub log_format: Option<LogFormat>,
    /// How much is logged
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

Waits until the server is ready, sends photos one after the other and then several at once, and asks for a
heat map. With `--minutes` it goes on sending photos and watches the memory. The exit status is 0 if the
server is healthy, 1 if it is not, 2 if it could not be asked. docs/serving.md explains each check.")]
pub struct ProbeArgs {
    /// The server: `https://host` or `http://host:port`
    pub url: String,
    /// Folder with photos to send [default: one generated photo]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub images: Option<PathBuf>,
    /// How many photos to send one after the other, and as many again several at once
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count)]
    pub requests: usize,
    /// How many photos to send at the same time
    #[arg(long, value_name = "N", default_value = "4", value_parser = parse_count)]
    pub parallel: usize,
    /// Go on for this many minutes and watch the memory
    #[arg(long, value_name = "N", value_parser = parse_seconds)]
    pub minutes: Option<f64>,
    /// Photos a second during those minutes
    #[arg(long, value_name = "N", default_value = "1", requires = "minutes", value_parser = parse_seconds)]
    pub rps: f64,
    /// Seconds that the server may take to become ready; a platform may have to wake it up
    #[arg(long, value_name = "S", default_value = "120", value_parser = parse_seconds)]
    pub patience: f64,
    /// How much the memory may grow in an hour, measured over the last four fifths of `--minutes`
    #[arg(long, value_name = "BYTES", default_value = "1MB", value_parser = parse_bytes)]
    pub max_growth: u64,
    /// The API key, if the server needs one
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

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Coloured text for people
    Pretty,
    /// One JSON object a line
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Errors only
    Error,
    /// Also warnings
    Warn,
    /// Also each photo
    Info,
    /// Also each health check
    Debug,
}

/// Reads a boolean in any of the words that environments use.
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

/// Like [`parse_seconds`], but accepts 0.
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

/// Reads the number of a port.
fn parse_port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| match hint(text) {
        Some(hint) => format!("expected a number from 0 to 65535; {hint}"),
        None => "expected a number from 0 to 65535".to_owned(),
    })
}

/// Reads an address such as `127.0.0.1` or `[::1]:8080`.
fn parse_bind(text: &str) -> Result<BindAddress, String> {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Ok(BindAddress {
            ip: address.ip(),
            port: Some(address.port()),
        });
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse().map_err(|_| {
        let expected = "expected an IP address, with or without a port: 0.0.0.0:8080";
        match hint(text) {
            Some(hint) => format!("{expected}; {hint}"),
            None => expected.to_owned(),
        }
    })?;
    Ok(BindAddress { ip, port: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_refused() {
        for (text, port) in [
            ("8080", 8080),
            (" 8080\r\n", 8080),
            ("0", 0),
            ("65535", 65535),
        ] {
            assert_eq!(parse_port(text), Ok(port), "{text:?}");
        }
        for (text, says) in [
            ("65536", "from 0 to 65535"),
            ("-1", "from 0 to 65535"),
            ("http", "from 0 to 65535"),
            ("$PORT", "no shell replaced `$PORT`"),
            ("\"8080\"", "the quotes are part of the value"),
        ] {
            let error = parse_port(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = parse_bind("0.0.0.0:${PORT}").unwrap_err();
        assert!(error.contains("no shell replaced"), "{error}");
    }

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
