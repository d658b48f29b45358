//! How much memory this process's cgroup may use.
//!
//! Sources: `memory.max` and `memory.current` in the kernel's `cgroup-v2.rst`;
//! `memory.limit_in_bytes` and `memory.usage_in_bytes` in its `memory.rst` (version 1). Limits of
//! enclosing groups hold too.

use std::fs;
use std::path::Path;

use super::cgroup;

/// Version 1 says "no limit" with a number near 2^63, rounded down to pages.
const NO_LIMIT: u64 = 1 << 60;

/// The smallest limit that holds for this process; `None` if there is none, or none can be read.
#[must_use]
pub fn memory_limit_bytes() -> Option<u64> {
    limit(Path::new("/"))
}

/// As [`memory_limit_bytes`]; `root` is `/` but in tests.
fn limit(root: &Path) -> Option<u64> {
    let groups = cgroup::groups(root, "memory");
    let limits = groups.iter().flat_map(|group| {
        let file = if group.v2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        group.folders.iter().filter_map(move |folder| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            // `max` is not a number: no limit.
            text.trim().parse().ok().filter(|&b: &u64| b < NO_LIMIT)
        })
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::File::create(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_holds() {
        let v2 = root(&[
            ("proc/self/cgroup", "0::/app/web\n"),
            (
                "proc/self/mountinfo",
                "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/app/web/memory.max", "max\n"),
            ("sys/fs/cgroup/app/memory.max", "536870912\n"),
        ]);
        assert_eq!(limit(v2.path()), Some(512 << 20));
    }

    #[test]
    fn version_1_has_a_number_for_no_limit() {
        let with = |text: &str| {
            let group = root(&[
                ("proc/self/cgroup", "5:memory:/x\n4:cpu:/y\n"),
                (
                    "proc/self/mountinfo",
                    "35 30 0:30 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                ),
                ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", text),
            ]);
            limit(group.path())
        };
        assert_eq!(with("512000000\n"), Some(512_000_000));
        assert_eq!(with("9223372036854771712\n"), None);
        assert_eq!(limit(root(&[]).path()), None);
    }
}
