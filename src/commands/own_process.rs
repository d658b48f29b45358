//! Peak memory of a model, measured in a separate process: this process holds more than the model.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::artifact::Model;
use crate::graph::NodeId;

/// `VmHWM` of `dermal predict` with this model on this photo; `None` if it cannot be measured.
pub(super) fn peak_rss_of_predict(
    model_path: &Path,
    photo: &Path,
    model: &Model,
    extra: &[(NodeId, Vec<f32>)],
) -> Option<u64> {
    let mut command = program("predict")?;
    for (id, values) in extra {
        let numbers: Vec<String> = values.iter().map(ToString::to_string).collect();
        let name = &model.graph.node(*id).name;
        command.args(["--input", &format!("{name}={}", numbers.join(","))]);
    }
    command.arg("--").arg(model_path).arg(photo);
    peak_rss(command)
}

/// `VmHWM` of `dermal bench` with one measured run: the program, the weights and the values of one
/// photo, without a photo; `None` if it cannot be measured.
pub(super) fn peak_rss_of_bench(model_path: &Path, threads: usize) -> Option<u64> {
    let mut command = program("bench")?;
    command.args(["--runs", "1", "--threads", &threads.to_string(), "--"]);
    command.arg(model_path);
    peak_rss(command)
}

/// This program, ready to run a subcommand that answers in JSON.
fn program(subcommand: &str) -> Option<Command> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command
        .args([subcommand, "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    Some(command)
}

fn peak_rss(mut command: Command) -> Option<u64> {
    let output = command.output().ok()?;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    document.get("peak_rss_bytes")?.as_u64()
}
