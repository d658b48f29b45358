//! `dermal serve`: turns the command line and environment into a [`serve::ServerConfig`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Result};

use super::{CommandError, engine_options, service};
use crate::cli::ServeArgs;
use crate::serve::{self, DEFAULT_JOBS, ModelConfig, ServeError, ServerConfig};

/// Most jobs that wait or run with Redis. Together their photos take at most 640 MB.
const DEFAULT_JOBS_SHARED: usize = 64;

/// Longest file of keys.
const MAX_KEYS_BYTES: u64 = 1 << 20;

/// Shortest key. A shorter one can be guessed quickly.
const MIN_KEY_CHARS: usize = 8;

pub(super) fn run(args: &ServeArgs) -> Result<()> {
    let config = config(args)?;
    service::set_up(args.log.log_format, args.log.log_level);
    serve::run(config).context("cannot serve")
}

fn config(args: &ServeArgs) -> Result<ServerConfig> {
    let choice = engine_options(&args.engine)?;
    let bind = SocketAddr::new(
        args.bind
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |b| b.ip),
        args.bind.and_then(|b| b.port).unwrap_or(args.port),
    );
    // Command-line flags override environment variables.
    let preload = if args.lazy {
        false
    } else {
        args.preload || args.preload_model.unwrap_or(true)
    };
    let gradcam = !args.no_gradcam && args.enable_gradcam.unwrap_or(true);
    // A blank URL means that there is no Redis.
    let url = args.redis.as_deref().filter(|url| !url.trim().is_empty());
    let ca = args.redis_ca.as_deref();
    let redis = url.map(|url| service::redis(url, ca)).transpose()?;
    let max_jobs = match (args.max_jobs, &redis) {
        (Some(jobs), _) => jobs,
        (None, None) => DEFAULT_JOBS,
        (None, Some(_)) => DEFAULT_JOBS_SHARED,
    };
    Ok(ServerConfig {
        model: Arc::new(ModelConfig {
            path: args.model.clone(),
            preload,
            gradcam,
            threads: choice.threads,
            isa: choice.isa,
        }),
        bind,
        budget_bytes: service::budget_bytes(args.budget),
        max_upload_bytes: args.max_upload,
        max_pixels: args.max_pixels,
        queue: args.queue,
        overload_wait: args.overload_wait,
        deadline: Duration::from_secs_f64(args.timeout),
        grace: Duration::from_secs_f64(args.grace),
        api_keys: keys(args)?,
        cors_origins: args.cors_origin.clone(),
        rate_limit: args.rate_limit,
        trusted_proxies: args.trusted_proxies,
        cache_bytes: args.cache,
        max_connections: args.max_connections,
        max_jobs,
        job_expiry: Duration::from_secs_f64(args.job_expiry),
        redis,
        job_wait: Duration::from_secs_f64(args.job_wait),
        job_answers_bytes: args.job_answers,
        cache_expiry: Duration::from_secs_f64(args.cache_expiry),
        log_addresses: args.log_addresses,
    })
}

/// The keys from the command line, the environment and the file.
fn keys(args: &ServeArgs) -> Result<Vec<String>> {
    let mut keys: Vec<String> = args.api_key.iter().map(|k| k.trim().to_owned()).collect();
    // `DERMAL_API_KEYS=a,` has one key.
    keys.retain(|key| !key.is_empty());
    if let Some(path) = &args.api_keys_file {
        let found = keys_in(path)?;
        if found.is_empty() {
            return Err(CommandError::NoKeys { path: path.clone() }.into());
        }
        keys.extend(found);
    }
    match keys.iter().find(|key| key.chars().count() < MIN_KEY_CHARS) {
        Some(_) => Err(CommandError::ShortKey {
            least: MIN_KEY_CHARS,
        }
        .into()),
        None => Ok(keys),
    }
}

fn keys_in(path: &Path) -> Result<Vec<String>> {
    let unreadable = |source| ServeError::KeysFile {
        path: path.to_owned(),
        source,
    };
    if path.metadata().map_err(unreadable)?.len() > MAX_KEYS_BYTES {
        return Err(CommandError::KeysTooLong {
            path: path.to_owned(),
        }
        .into());
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}
