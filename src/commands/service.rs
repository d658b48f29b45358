//! What `serve` and `worker` share: allocator, log, threads, memory budget, Redis.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{Context, Result};

use crate::cli::{LogFormat, LogLevel};
use crate::memory::limit::memory_limit_bytes;
use crate::report::{self, LogForm};
use crate::serve::{Redis, ServeError};

/// The server's memory if nothing else limits it: as much as a free host has.
const DEFAULT_BUDGET_BYTES: u64 = 512_000_000;

/// Settings for glibc's allocator. glibc returns freed memory to the system only for blocks that it
/// mapped one by one. It raises the size from which it maps blocks to that of the largest freed
/// block, so after some photos it would keep tens of megabytes. With a fixed threshold, the memory
/// of every photo and upload is returned at once. Two arenas are enough for the two threads that
/// use large blocks.
const ALLOCATOR: &str = "glibc.malloc.mmap_threshold=262144:glibc.malloc.trim_threshold=262144:glibc.malloc.arena_max=2";

/// glibc reads the settings from this variable once, before `main`.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Sets up the allocator, the log and the threads of this process.
pub(super) fn set_up(format: Option<LogFormat>, level: LogLevel) {
    set_up_allocator();
    let form = match format {
        None => LogForm::default(),
        Some(LogFormat::Pretty) => LogForm::Pretty,
        Some(LogFormat::Json) => LogForm::Json,
    };
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    report::start_log(form, level);
    // Candle only computes gradients of a small head; more threads would cost more memory than they
    // save time. An error means that the thread pool exists already.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global();
}

/// Starts this program again with [`ALLOCATOR`], in the same process, unless that was done already.
/// If it cannot be done, the server still runs, but keeps more memory.
fn set_up_allocator() {
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
    // `exec` returns only if it fails.
    let _ = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(TUNABLES, tunables)
        .exec();
}

/// The memory budget: the given one, or else the cgroup's limit, at most 512 MB.
pub(super) fn budget_bytes(asked: Option<u64>) -> u64 {
    let limit = memory_limit_bytes().unwrap_or(DEFAULT_BUDGET_BYTES);
    asked.unwrap_or(limit.min(DEFAULT_BUDGET_BYTES))
}

/// Reads the address of Redis. No message repeats the URL, because it may contain a password.
pub(super) fn redis(url: &str, ca: Option<&Path>) -> Result<Redis> {
    let Some(ca) = ca else {
        return Redis::from_url(url).context("cannot use `--redis` (or DERMAL_REDIS)");
    };
    let pem = std::fs::read(ca).map_err(|source| ServeError::RedisCaFile {
        path: ca.to_owned(),
        source,
    })?;
    Redis::with_ca(url, pem).context("cannot use `--redis` with `--redis-ca`")
}
