//! Runs the binary as users do, and checks the form of every failure.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part, and a failed unwrap is a failed test"
)]

pub(crate) mod head;
pub(crate) mod real;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// A path in the repository.
pub(crate) fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The binary, without colours.
pub(crate) fn dermal() -> Command {
    let mut command = Command::cargo_bin("dermal").unwrap();
    command.env("NO_COLOR", "1").current_dir(repo("."));
    // Far longer than any test needs, so that an endless loop fails instead of hanging.
    command.timeout(std::time::Duration::from_mins(2));
    command
}

/// Runs the binary.
pub(crate) fn run<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Output {
    dermal().args(args).output().unwrap()
}

/// Standard output of a run that must succeed.
pub(crate) fn stdout<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> String {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON document of a run that must succeed.
pub(crate) fn json<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> serde_json::Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// Standard error of a run that must fail in the promised form: exit code 2, nothing on standard
/// output, one `error:` first, a hint about the next step last, no panic.
pub(crate) fn refused<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> String {
    let args: Vec<_> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
    let output = run(&args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let case = format!("{args:?}\n{text}");
    assert_eq!(output.status.code(), Some(2), "{case}");
    assert!(output.stdout.is_empty(), "{case}");
    assert!(!text.contains("panicked"), "{case}");
    let lines = |start: &str| text.lines().filter(|l| l.starts_with(start)).count();
    assert_eq!(lines("error: "), 1, "{case}");
    assert!(lines("hint: ") >= 1, "{case}");
    let last_error = text.find("error: ").unwrap();
    assert!(text[last_error..].contains("\nhint: "), "{case}");
    text
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
