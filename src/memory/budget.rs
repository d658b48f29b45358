//! How many CPUs this process may use: its affinity mask and its cgroup's quota.
//!
//! Sources: `Cpus_allowed_list` in proc_pid_status(5); `cpu.max` in the kernel's
//! `cgroup-v2.rst`; `cpu.cfs_quota_us` and `cpu.cfs_period_us` in its `sched-bwc.rst`.
//! Limits of enclosing groups hold too, so every level up to the mount is read.

use std::fs;
use std::path::Path;

use super::cgroup;

/// What limits this process's CPU time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuBudget {
    /// CPUs in the affinity mask.
    pub affinity: usize,
    /// CPUs' worth of time that the cgroup grants, if it has a quota: 0.5 is half of one CPU.
    pub quota: Option<f64>,
}

impl CpuBudget {
    /// The budget of this process. Without `/proc` the standard library's answer is taken.
    #[must_use]
    pub fn detect() -> Self {
        let fallback = || std::thread::available_parallelism().map_or(1, usize::from);
        let affinity = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| {
                let list = status
                    .lines()
                    .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
                count_cpus(list.trim())
            })
            .unwrap_or_else(fallback);
        Self {
            affinity,
            quota: cgroup_quota(Path::new("/")),
        }
    }

    /// Threads that can run all the time: the quota rounded down, so that none is throttled, and
    /// at least one.
    #[must_use]
    pub fn threads(self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |quota| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a quota is positive, and a huge one saturates"
            )]
            let whole = quota as usize;
            whole
        });
        self.affinity.min(quota).max(1)
    }
}

/// CPUs in a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<usize> {
    let mut count: usize = 0;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (count > 0).then_some(count)
}

/// The smallest quota that holds for this process; `root` is `/` but in tests.
fn cgroup_quota(root: &Path) -> Option<f64> {
    let groups = cgroup::groups(root, "cpu");
    let quotas = groups.iter().flat_map(|group| {
        let quota = if group.v2 { quota_v2 } else { quota_v1 };
        group.folders.iter().filter_map(move |folder| quota(folder))
    });
    quotas.reduce(f64::min)
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut fields = text.split_whitespace();
    let quota: f64 = fields.next()?.parse().ok()?; // `max` is not a number: no quota
    let period: f64 = fields.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let read = |name| -> Option<f64> {
        fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    // -1 means no quota.
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A folder with files that stands for the root of a file system.
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

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn cpu_lists_are_counted() {
        for (list, count) in [
            ("0", Some(1)),
            ("0-1", Some(2)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-1", None),
            ("a", None),
        ] {
            assert_eq!(count_cpus(list), count, "{list}");
        }
    }

    #[test]
    fn the_tightest_quota_on_the_way_up_holds() {
        let root = root(&[
            ("proc/self/cgroup", "0::/app/web\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/app/web/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/app/cpu.max", "150000 100000\n"),
        ]);
        assert_eq!(cgroup_quota(root.path()), Some(1.5));
    }

    #[test]
    fn version_1_groups_are_read() {
        let root = root(&[
            (
                "proc/self/cgroup",
                "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n",
            ),
            (
                "proc/self/mountinfo",
                "35 30 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(cgroup_quota(root.path()), Some(0.5));
    }

    #[test]
    fn no_quota_is_none() {
        let unlimited = root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(cgroup_quota(unlimited.path()), None);
        assert_eq!(cgroup_quota(root(&[]).path()), None);
    }

    #[test]
    fn threads_are_never_throttled_and_never_none() {
        let threads = |affinity, quota| CpuBudget { affinity, quota }.threads();
        assert_eq!(threads(8, None), 8);
        assert_eq!(threads(8, Some(2.0)), 2);
        assert_eq!(threads(8, Some(1.9)), 1);
        assert_eq!(threads(8, Some(0.1)), 1);
        assert_eq!(threads(2, Some(1e30)), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_agrees_with_the_standard_library() {
        let ours = CpuBudget::detect().threads();
        assert_eq!(
            ours,
            usize::from(std::thread::available_parallelism().unwrap())
        );
    }
}
