//! What long-running commands do around themselves: allocator, log, threads, budget.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cli::{LogFormat, LogLevel};
use crate::memory::limit::memory_limit_bytes;
use crate::report::{self, LogForm};
use crate::serve::Redis;

/// The promise of this program: a server of 512 MB.
const DEFAULT_BUDGET_BYTES: u64 = 512_000_000;

/// glibc gives freed blocks back to the system only if they were mapped one by one, and raises the
/// size from which it does so to that of the largest block freed: after some photos it would keep
/// tens of megabytes. Fixed, every photo and upload goes back at once. Two arenas are one for each
/// thread that takes large blocks.
const ALLOCATOR: &str = "glibc.malloc.mmap_threshold=262144:glibc.malloc.trim_threshold=262144:glibc.malloc.arena_max=2";

/// The variable in which glibc reads them, once, before `main`.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Settles the allocator, the log and the threads of this process.
pub(super) fn settle(format: Option<LogFormat>, level: LogLevel) {
    settle_allocator();
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
    // Candle's gradients of a small head: its threads would cost more memory than they save time.
    // An error means that the pool is there already.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global();
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

/// The budget: as asked for, else the cgroup's limit, at most 512 MB.
pub(super) fn budget_bytes(asked: Option<u64>) -> u64 {
    let limit = memory_limit_bytes().unwrap_or(DEFAULT_BUDGET_BYTES);
    asked.unwrap_or(limit.min(DEFAULT_BUDGET_BYTES))
}

/// Where Redis is. The URL is in no message: it may hold a password.
pub(super) fn redis(url: &str, ca: Option<&Path>) -> Result<Redis> {
    let Some(ca) = ca else {
        return Redis::from_url(url).context("cannot use `--redis` (or DERMAL_REDIS)");
    };
    let pem = std::fs::read(ca).with_context(|| {
        format!(
            "cannot read `--redis-ca` (or DERMAL_REDIS_CA) `{}`",
            ca.display()
        )
    })?;
    Redis::with_ca(url, pem).context("cannot use `--redis` with `--redis-ca`")
}
