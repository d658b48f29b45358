//! The control groups that this process is in: which folders hold their files.
//!
//! Sources: proc_pid_cgroup(5), proc_pid_mountinfo(5), the kernel's `cgroup-v2.rst`.

use std::fs;
use std::path::{Path, PathBuf};

/// A group that this process is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Whether it is of version 2.
    pub(super) v2: bool,
    /// Its folder and those of the groups around it, up to the mount.
    pub(super) folders: Vec<PathBuf>,
}

/// The groups of this process that may hold files of `controller`; `root` is `/` but in tests.
pub(super) fn groups(root: &Path, controller: &str) -> Vec<Group> {
    let read = |name| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (own, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut found = Vec::new();
    for line in own.lines() {
        // `hierarchy:controllers:path`; the v2 hierarchy is 0 and names no controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let v2 = id == "0" && controllers.is_empty();
        if !v2 && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let folders = group_folders(root, &mounts, v2, controller, path);
        if !folders.is_empty() {
            found.push(Group { v2, folders });
        }
    }
    found
}

/// The folder of a group and those of the groups around it. `controller` is that of version 1.
fn group_folders(
    root: &Path,
    mounts: &str,
    v2: bool,
    controller: &str,
    path: &str,
) -> Vec<PathBuf> {
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): `id parent dev root mountpoint options [tags] - type source opts`
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        let kind = right.next().unwrap_or_default();
        let options = right.nth(1).unwrap_or_default();
        let wanted = if v2 {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|name| name == controller)
        };
        let mut left = left.split(' ').skip(3);
        let (Some(mount_root), Some(mount_point)) = (left.next(), left.next()) else {
            continue;
        };
        if !wanted {
            continue;
        }
        // Inside a container the mount shows the container's group as its root; a path that does
        // not start with that root (or leads out of it) is looked up from the mount itself.
        let below = Path::new(path)
            .strip_prefix(mount_root)
            .ok()
            .filter(|p| !p.components().any(|c| c.as_os_str() == ".."))
            .unwrap_or(Path::new(""));
        let top = root.join(mount_point.trim_start_matches('/'));
        return below.ancestors().map(|part| top.join(part)).collect();
    }
    Vec::new()
}
