//! A cgroup that limits the memory and the CPU time of a child process, without swap.
//!
//! Version 2 (`memory.max`, `memory.swap.max`, `cpu.max`) or version 1 (`memory.limit_in_bytes`,
//! `memory.memsw.limit_in_bytes`, `cpu.cfs_quota_us`), whichever this host has. The group is made
//! inside this process's own group, or, if that is not allowed, in one around it. Dropping a
//! [`Sandbox`] kills the processes that are left in it and removes it. [`remove`] does the same by
//! the folders' names, for a guard process that outlives the process that made the sandbox.
//!
//! Sources: the kernel's `cgroup-v2.rst`, `cgroup-v1/memory.rst` and `scheduler/sched-bwc.rst`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup::groups;

use crate::hint::{Arguments, Hint, named};

/// Period of the CPU quota: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// Smallest quota that the kernel takes.
const MIN_QUOTA_US: u64 = 1_000;

/// Why no sandbox could be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No hierarchy with the memory controller, or none that may be written.
    #[error("no cgroup can be made: {0}")]
    NotAvailable(String),
    /// A limit was refused.
    #[error("cannot write `{value}` to `{}`", path.display())]
    Limit {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Hint for SandboxError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotAvailable(_) => "cgroup_not_available",
            Self::Limit { .. } => "cgroup_limit_refused",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotAvailable(_) => {
                "run it as root, or in a cgroup that is delegated to this user".to_owned()
            }
            Self::Limit { .. } => "check that this user may write to the cgroup, and \
                that the limit is not below what it uses"
                .to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NotAvailable(reason) => named!(reason),
            Self::Limit { path, value, .. } => named!(path, value),
        }
    }
}

/// A group of processes that may not use more than its limits. See the module's documentation.
#[derive(Debug)]
pub struct Sandbox {
    v2: bool,
    /// The group with the memory controller.
    memory: PathBuf,
    /// The group with the CPU controller: the same in version 2; `None` if there is none.
    cpu: Option<PathBuf>,
}

impl Sandbox {
    /// A group with `limit_bytes` of memory and, if given, `cpu_share` CPUs' worth of time.
    ///
    /// # Errors
    /// [`SandboxError`] if the host has no cgroups that this user may make; nothing is left behind.
    pub fn new(limit_bytes: u64, cpu_share: Option<f64>) -> Result<Self, SandboxError> {
        let name = format!("dermal-prove-{}", std::process::id());
        Self::below(Path::new("/"), &name, limit_bytes, cpu_share)
    }

    fn below(
        root: &Path,
        name: &str,
        limit_bytes: u64,
        cpu_share: Option<f64>,
    ) -> Result<Self, SandboxError> {
        let mut reasons = Vec::new();
        // Version 1 groups come first where both are mounted: they then have the controller.
        let mut groups = groups(root, "memory");
        groups.sort_by_key(|group| group.v2);
        for group in groups {
            for folder in &group.folders {
                let memory = folder.join(name);
                match make(folder, &memory, memory_file(group.v2)) {
                    Ok(()) => {
                        let mut sandbox = Self {
                            v2: group.v2,
                            memory,
                            cpu: None,
                        };
                        sandbox.limit_memory(limit_bytes)?;
                        if let Some(share) = cpu_share {
                            sandbox.limit_cpu(root, name, share)?;
                        }
                        return Ok(sandbox);
                    }
                    Err(error) => reasons.push(format!("{}: {error}", folder.display())),
                }
            }
        }
        reasons.truncate(2);
        Err(SandboxError::NotAvailable(if reasons.is_empty() {
            "there is no cgroup file system".to_owned()
        } else {
            reasons.join("; ")
        }))
    }

    fn limit_memory(&self, bytes: u64) -> Result<(), SandboxError> {
        let bytes = bytes.to_string();
        if self.v2 {
            put(&self.memory.join("memory.max"), &bytes)?;
            // Absent if the kernel has no swap at all.
            return put_if_there(&self.memory.join("memory.swap.max"), "0");
        }
        put(&self.memory.join("memory.limit_in_bytes"), &bytes)?;
        // Memory and swap together: the same number leaves no swap.
        put_if_there(&self.memory.join("memory.memsw.limit_in_bytes"), &bytes)
    }

    fn limit_cpu(&mut self, root: &Path, name: &str, share: f64) -> Result<(), SandboxError> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive share of CPUs; a huge one saturates"
        )]
        let quota = ((share * PERIOD_US as f64) as u64).max(MIN_QUOTA_US);
        if self.v2 {
            self.cpu = Some(self.memory.clone());
            return put(
                &self.memory.join("cpu.max"),
                &format!("{quota} {PERIOD_US}"),
            );
        }
        let groups = groups(root, "cpu");
        let folders = groups.into_iter().filter(|group| !group.v2);
        for folder in folders.flat_map(|group| group.folders) {
            let cpu = folder.join(name);
            if make(&folder, &cpu, "cpu.cfs_quota_us").is_ok() {
                self.cpu = Some(cpu.clone());
                put(&cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                return put(&cpu.join("cpu.cfs_quota_us"), &quota.to_string());
            }
        }
        Err(SandboxError::NotAvailable(
            "no group with a CPU quota may be made".to_owned(),
        ))
    }

    /// The version of the host's cgroups.
    #[must_use]
    pub fn version(&self) -> u8 {
        if self.v2 { 2 } else { 1 }
    }

    /// Its folders, for [`enter`] and [`remove`].
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.memory.clone()];
        folders.extend(self.cpu.clone().filter(|cpu| *cpu != self.memory));
        folders
    }

    /// Processes in the group that the kernel killed because the limit was reached. Version 1 has
    /// this counter since Linux 4.13.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        let file = if self.v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = fs::read_to_string(self.memory.join(file)).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
        line.trim().parse().ok()
    }

    /// High-water mark of all that was charged to the group: its memory, and those pages of files
    /// that it was the first to read. Version 2 has it since Linux 5.19.
    #[must_use]
    pub fn peak_charged_bytes(&self) -> Option<u64> {
        let file = if self.v2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        let text = fs::read_to_string(self.memory.join(file)).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        remove(&self.folders());
    }
}

/// Kills every process in groups and removes the groups. Waits up to two seconds, until the kernel
/// has released the killed processes.
pub fn remove(folders: &[PathBuf]) {
    for _ in 0..100 {
        let mut left = false;
        for folder in folders {
            for id in processes(folder) {
                kill(id);
            }
            left |= fs::remove_dir(folder).is_err() && folder.exists();
        }
        if !left {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processes(folder: &Path) -> Vec<i32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn kill(id: i32) {
    if let Some(id) = rustix::process::Pid::from_raw(id) {
        // An error means that the process has ended already.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

fn memory_file(v2: bool) -> &'static str {
    if v2 {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    }
}

/// Makes the group `folder` in `parent`, and checks that it has the controller of `file`.
fn make(parent: &Path, folder: &Path, file: &str) -> io::Result<()> {
    fs::create_dir(folder)?;
    if folder.join(file).exists() {
        return Ok(());
    }
    // In version 2 the parent must hand controllers down, which it may only without processes of
    // its own (or as the root).
    let handed = put_raw(&parent.join("cgroup.subtree_control"), "+memory +cpu");
    if handed.is_ok() && folder.join(file).exists() {
        return Ok(());
    }
    fs::remove_dir(folder)?;
    handed?;
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("its groups have no `{file}`"),
    ))
}

/// Writes to a file of the kernel's, which must be one `write` to a file that is there.
fn put_raw(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

fn put(path: &Path, value: &str) -> Result<(), SandboxError> {
    put_raw(path, value).map_err(|source| SandboxError::Limit {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

fn put_if_there(path: &Path, value: &str) -> Result<(), SandboxError> {
    if path.exists() {
        put(path, value)
    } else {
        Ok(())
    }
}

/// Makes the process `id` (0 is the caller) a member of groups, by their folders.
///
/// # Errors
/// The kernel's refusal.
pub fn enter(folders: &[PathBuf], id: u32) -> io::Result<()> {
    folders
        .iter()
        .try_for_each(|folder| put_raw(&folder.join("cgroup.procs"), &id.to_string()))
}

/// Limits the address space of this process and of those it starts (`RLIMIT_AS`).
///
/// # Errors
/// The kernel's refusal.
pub fn limit_address_space(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    Ok(setrlimit(Resource::As, limit)?)
}

/// Has the kernel kill this process, and what it becomes by `exec`, when the one that started it is
/// gone (`PR_SET_PDEATHSIG`, on Linux).
///
/// # Errors
/// The kernel's refusal, or that process `parent` is gone already.
#[cfg(target_os = "linux")]
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let id = getppid().map_or(0, |id| id.as_raw_nonzero().get());
    if u32::try_from(id) == Ok(parent) {
        Ok(())
    } else {
        Err(io::Error::other(
            "the process that started this one is gone",
        ))
    }
}

/// Elsewhere nothing is done.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_parent: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    /// A file system without a kernel behind it: folders stay empty, so no controller appears.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }
        root
    }

    #[test]
    fn without_cgroups_there_is_a_reason_and_nothing_is_left() {
        let none = root(&[]);
        let error = Sandbox::below(none.path(), "x", 1 << 28, None).unwrap_err();
        assert_eq!(error.kind(), "cgroup_not_available");
        assert!(
            error.to_string().contains("no cgroup file system"),
            "{error}"
        );

        let without_controller = root(&[
            ("proc/self/cgroup", "0::/app\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/app/cgroup.procs", "1\n"),
        ]);
        let error = Sandbox::below(without_controller.path(), "x", 1 << 28, None).unwrap_err();
        assert_eq!(error.kind(), "cgroup_not_available");
        let app = without_controller.path().join("sys/fs/cgroup/app");
        assert!(!app.join("x").exists());
        assert!(!app.parent().unwrap().join("x").exists());
    }

    /// On hosts that allow it, the real thing: a limit that holds, and a folder that goes away.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_sandbox_holds_and_goes_away() {
        let name = format!("dermal-test-{}", std::process::id());
        let sandbox = match Sandbox::below(Path::new("/"), &name, 100 << 20, Some(0.5)) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                println!("SKIPPED: a_sandbox_holds_and_goes_away: {error}");
                return;
            }
        };
        let folders = sandbox.folders();
        assert!(folders.iter().all(|folder| folder.exists()));
        assert_eq!(sandbox.oom_kills(), Some(0));
        let mut sleeper = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        enter(&folders, sleeper.id()).unwrap();
        assert_eq!(processes(&folders[0]).len(), 1);
        drop(sandbox);
        assert!(!sleeper.wait().unwrap().success(), "it was killed");
        assert!(folders.iter().all(|folder| !folder.exists()));
    }
}
