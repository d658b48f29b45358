//! Copies of program and model that only the server of a proof reads.
//!
//! The kernel charges a page of a file to the cgroup that reads it first. Pages of program and
//! model that are cached already, because this process has read them, would cost the server
//! nothing; in a fresh container the server reads them first. So the server runs from copies whose
//! pages were dropped from the cache (`POSIX_FADV_DONTNEED`). The copies lie on a disk: files of a
//! `tmpfs` are memory themselves, and stay charged to the process that wrote them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, StatVfsMountFlags, fadvise};

/// Folders that are tried after the system's own folder for temporary files, which may be a
/// `tmpfs`.
const FOLDERS: [&str; 2] = ["/var/tmp", "."];

/// Why there are no private copies.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("no folder for copies of program and model: {0}")]
    NoFolder(String),
    #[error("cannot copy `{}`: {source}", path.display())]
    Copy { path: PathBuf, source: io::Error },
}

/// The copies. Dropping them removes them.
pub(super) struct PrivateCopies {
    _folder: OwnFolder,
    program: PathBuf,
    model: Option<PathBuf>,
}

impl PrivateCopies {
    /// Copies both into a folder.
    pub(super) fn new(
        folder: OwnFolder,
        program: &Path,
        model: Option<&Path>,
    ) -> Result<Self, CopyError> {
        let copy = |from: &Path, name: &str| {
            let to = folder.0.join(name);
            copy_uncached(from, &to).map_err(|source| CopyError::Copy {
                path: from.to_owned(),
                source,
            })?;
            Ok(to)
        };
        Ok(Self {
            program: copy(program, "dermal")?,
            model: match model {
                Some(model) => Some(copy(model, "model.safetensors")?),
                None => None,
            },
            _folder: folder,
        })
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn model(&self) -> Option<&Path> {
        self.model.as_deref()
    }
}

/// A folder that is removed on drop.
pub(super) struct OwnFolder(PathBuf);

impl Drop for OwnFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl OwnFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A new folder that is not in memory and may contain programs.
    pub(super) fn on_a_disk() -> Result<Self, CopyError> {
        let mut reasons = Vec::new();
        let own = std::env::temp_dir();
        for parent in std::iter::once(own.as_path()).chain(FOLDERS.map(Path::new)) {
            let shown = parent.display();
            if !parent.is_dir() {
                reasons.push(format!("there is no `{shown}`"));
                continue;
            }
            if is_memory(parent) {
                reasons.push(format!("`{shown}` is in memory"));
                continue;
            }
            if !may_hold_programs(parent) {
                reasons.push(format!("`{shown}` is mounted with `noexec`"));
                continue;
            }
            // Only its owner may read it. If the name exists already, the folder belongs to another
            // process.
            let folder = parent.join(format!("dermal-prove-{}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) => reasons.push(format!("`{shown}`: {error}")),
            }
        }
        Err(CopyError::NoFolder(reasons.join(", ")))
    }
}

/// Whether files in a folder are memory: `tmpfs` and `ramfs`, by their numbers in statfs(2).
fn is_memory(folder: &Path) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    let Ok(found) = rustix::fs::statfs(folder) else {
        return false;
    };
    // The type of the field, and so its sign, depends on the platform; the numbers have 32 bits.
    let kind = i128::from(found.f_type) & i128::from(u32::MAX);
    [TMPFS, RAMFS].contains(&kind)
}

/// Whether programs in a folder may run.
fn may_hold_programs(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// Copies a file and drops the copy's pages. For that they must be on the disk.
fn copy_uncached(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let file = File::open(to)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_equal_and_go_away() {
        let around = tempfile::tempdir().unwrap();
        let program = around.path().join("program");
        crate::file::atomic::write(&program, |file| file.write_all(b"#!")).unwrap();
        let folder = match OwnFolder::on_a_disk() {
            Ok(folder) => folder,
            // If every folder is in memory.
            Err(CopyError::NoFolder(why)) => {
                assert!(why.contains("memory"), "{why}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let path = folder.path().to_owned();
        let copies = PrivateCopies::new(folder, &program, None).unwrap();
        assert_eq!(fs::read(copies.program()).unwrap(), b"#!");
        assert!(copies.model().is_none());
        drop(copies);
        assert!(!path.exists());
    }

    #[test]
    fn files_in_memory_are_known() {
        assert!(!is_memory(Path::new("/no/such/folder")));
        if fs::read_to_string("/proc/mounts").is_ok_and(|m| m.contains(" /dev/shm tmpfs ")) {
            assert!(is_memory(Path::new("/dev/shm")));
        }
    }
}
