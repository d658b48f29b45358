//! A process that outlives a proof, to remove what the proof made.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::server::part;
use crate::memory::cage;

/// Removes cgroups, and what still runs in them, when the process that started it is gone, however
/// it went. Dropping it makes it do so now.
pub(super) struct Keeper {
    child: Child,
}

impl Keeper {
    /// `None` where there is nothing to remove.
    pub(super) fn start(groups: Vec<PathBuf>) -> Result<Option<Self>> {
        if groups.is_empty() {
            return Ok(None);
        }
        let mut command = part("keep");
        // A process group of its own: Ctrl-C reaches this program's, and then it has work to do.
        let child = command
            .args(groups)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the process that tidies up")?;
        Ok(Some(Self { child }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the keeper does: waits until stdin ends, that is until whoever holds its other end is done
/// or gone.
pub(in crate::commands) fn keep(groups: &[PathBuf]) {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    cage::remove(groups);
}
