//! The peak memory of a model: of a process of its own, since this one holds both.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::artifact::Model;
use crate::graph::NodeId;

/// `VmHWM` of `dermal predict` with this model on this photo; `None` where it cannot be had.
pub(super) fn peak_rss_bytes(
    model_path: &str,
    photo: &Path,
    model: &Model,
    extra: &[(NodeId, Vec<f32>)],
) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command
        .args(["predict", "--json", "--model", model_path])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    for (id, values) in extra {
        let numbers: Vec<String> = values.iter().map(ToString::to_string).collect();
        let name = &model.graph.node(*id).name;
        command.args(["--input", &format!("{name}={}", numbers.join(","))]);
    }
    let output = command.arg("--").arg(photo).output().ok()?;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    document.get("peak_rss_bytes")?.as_u64()
}
