//! A process that outlives a proof and cleans up after it.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::ProveError;
use crate::memory::sandbox;

/// A guard process. When the process that started it is gone, however that ended, it removes
/// cgroups (with the processes that still run in them) and a folder. Dropping this makes it do so
/// now.
pub(super) struct Guard {
    child: Child,
}

impl Guard {
    /// `None` if there is nothing to remove.
    pub(super) fn start(
        program: &Path,
        groups: &[PathBuf],
        folder: Option<&Path>,
    ) -> Result<Option<Self>, ProveError> {
        if groups.is_empty() && folder.is_none() {
            return Ok(None);
        }
        let mut command = super::part(program, "guard");
        if let Some(folder) = folder {
            command.arg("--folder").arg(folder);
        }
        // A separate process group: Ctrl-C ends this program's group, and the guard must work after
        // that.
        let child = command
            .args(groups)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ProveError::Guard)?;
        Ok(Some(Self { child }))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The guard process waits until `until` ends, because the holder of the other end of this pipe
/// closed it or is gone. Then it removes cgroups and a folder.
pub fn stand_guard(mut until: impl Read, groups: &[PathBuf], folder: Option<&Path>) {
    let _ = io::copy(&mut until, &mut io::sink());
    sandbox::remove(groups);
    if let Some(folder) = folder {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_when_the_pipe_ends() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("copies");
        std::fs::create_dir(&folder).unwrap();
        std::fs::File::create(folder.join("model")).unwrap();
        stand_guard(io::empty(), &[], Some(&folder));
        assert!(!folder.exists());
    }
}
