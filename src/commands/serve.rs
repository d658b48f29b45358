//! `dermal serve`: the command line and environment to a [`serve::Config`], and the process around
//! the server.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::failure;
use super::session::EngineChoice;
use crate::cli::{LogFormat, LogLevel, ServeArgs};
use crate::memory::limit::memory_limit_bytes;
use crate::report::{self, LogForm};
use crate::serve::{self, Config};

/// The promise of this program: a server of 512 MB.
const DEFAULT_BUDGET_BYTES: u64 = 512_000_000;

/// Longest file of keys.
const MAX_KEYS_BYTES: u64 = 1 << 20;

/// Shortest key: below, guessing is quick.
const LEAST_KEY_CHARS: usize = 8;

/// glibc gives freed blocks back to the system only if they were mapped one by one, and raises the
/// size from which it does so to that of the largest block freed: after some photos it would keep
/// tens of megabytes. Fixed, every photo and upload goes back at once. Two arenas are one for each
/// thread that takes large blocks.
const ALLOCATOR: &str = "glibc.malloc.mmap_threshold=262144:glibc.malloc.trim_threshold=262144:glibc.malloc.arena_max=2";

/// The variable in which glibc reads them, once, before `main`.
const TUNABLES: &str = "GLIBC_TUNABLES";

pub(super) fn run(args: &ServeArgs) -> Result<()> {
    let config = config(args)?;
    settle_allocator();
    let form = match args.log_format {
        None => LogForm::default(),
        Some(LogFormat::Pretty) => LogForm::Pretty,
        Some(LogFormat::Json) => LogForm::Json,
    };
    let level = match args.log_level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    report::start_log(form, level);
    // Candle's gradients of a small head: its threads would cost more memory than they save time.
    // An error means that the pool is there already.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global();
    serve::run(config).context("cannot serve")
}

/// Starts this program again with [`ALLOCATOR`], unless it was. It stays the same process. Where it
/// cannot be, the server still runs, and keeps more memory.
fn settle_allocator() {
    let set = std::env::var_os(TUNABLES).unwrap_or_default();
    if !cfg!(target_env = "gnu")
        || set
            .to_string_lossy()
            .contains("glibc.malloc.mmap_threshold")
    {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut tunables = OsString::from(ALLOCATOR);
    if !set.is_empty() {
        tunables.push(":");
        tunables.push(set);
    }
    // Returns only if it fails.
    let _ = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(TUNABLES, tunables)
        .exec();
}

fn config(args: &ServeArgs) -> Result<Config> {
    let choice = EngineChoice::new(&args.engine)?;
    let bind = SocketAddr::new(
        args.bind
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |b| b.ip),
        args.bind.and_then(|b| b.port).unwrap_or(args.port),
    );
    // Flags of the command line before variables.
    let preload = if args.lazy {
        false
    } else {
        args.preload || args.preload_model.unwrap_or(true)
    };
    let gradcam = !args.no_gradcam && args.enable_gradcam.unwrap_or(true);
    let limit = memory_limit_bytes().unwrap_or(DEFAULT_BUDGET_BYTES);
    Ok(Config {
        model: args.model.clone(),
        bind,
        preload,
        gradcam,
        budget_bytes: args.budget.unwrap_or(limit.min(DEFAULT_BUDGET_BYTES)),
        max_upload_bytes: args.max_upload,
        max_pixels: args.max_pixels,
        queue: args.queue,
        threads: choice.threads,
        isa: choice.isa,
        deadline: Duration::from_secs_f64(args.timeout),
        grace: Duration::from_secs_f64(args.grace),
        api_keys: keys(args)?,
        cors_origins: args.cors_origin.clone(),
        rate_limit: args.rate_limit,
        trusted_proxies: args.trusted_proxies,
        cache_bytes: args.cache,
        max_connections: args.max_connections,
        max_jobs: args.max_jobs,
        job_expiry: Duration::from_secs_f64(args.job_expiry),
        log_addresses: args.log_addresses,
    })
}

/// The keys of the command line, the environment and the file.
fn keys(args: &ServeArgs) -> Result<Vec<String>> {
    let mut keys: Vec<String> = args.api_key.iter().map(|k| k.trim().to_owned()).collect();
    // `DERMAL_API_KEYS=` means that there are none.
    keys.retain(|key| !key.is_empty());
    if let Some(path) = &args.api_keys_file {
        let found = keys_in(path)?;
        if found.is_empty() {
            return Err(failure(
                format!("`{}` has no keys", path.display()),
                "write one key a line, or leave `--api-keys-file` out",
            ));
        }
        keys.extend(found);
    }
    match keys
        .iter()
        .find(|key| key.chars().count() < LEAST_KEY_CHARS)
    {
        // The key itself stays out of every log.
        Some(_) => Err(failure(
            format!("an API key has fewer than {LEAST_KEY_CHARS} characters"),
            "make one with `openssl rand -hex 16`",
        )),
        None => Ok(keys),
    }
}

fn keys_in(path: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot read the keys in `{}`", path.display());
    if path.metadata().with_context(context)?.len() > MAX_KEYS_BYTES {
        return Err(failure(
            format!("`{}` is too long for a file of keys", path.display()),
            "write one key a line",
        ));
    }
    let text = std::fs::read_to_string(path).with_context(context)?;
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}
