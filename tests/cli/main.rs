//! The program as a user runs it: exit codes, stdout and stderr of each command.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "files of a test need no atomic writes"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

mod check;
mod check_corpus;
mod compare;
mod dump;
mod estimate;
mod fields;
mod formats;
mod import;
mod inspect;
mod layers;
mod missing;
mod overwrite;
mod plan;
mod predict;
mod program;
mod quantize;
mod snapshots;

/// The results of a run.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The JSON document on stdout.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Checks that a run was refused: exit code 2, nothing on stdout, and each of `parts` on
    /// stderr.
    fn refuses(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        // A busy machine may be warned about first: INT8 can measure slower than f32 there.
        let mut lines = self.stderr.lines();
        assert!(
            lines.any(|line| line.starts_with("error: ")),
            "{}",
            self.stderr
        );
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "`{part}` is not in {}",
                self.stderr
            );
        }
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dermal"));
    command.stdin(Stdio::null());
    command
}

fn dermal<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let output = command().args(args).output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn photo(name: &str) -> String {
    fixture("images").join(name).to_str().unwrap().to_owned()
}

/// Names in a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
