//! The house's rules that a compiler does not check: which room may use which, who prints, where
//! `unsafe` lives, how long a file may be.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `src`, and the rooms that it may name. `*` is all of them.
const ROOMS: [(&str, &[&str]); 26] = [
    ("activation", &[]),
    ("tensor", &[]),
    ("quantization", &[]),
    ("units", &[]),
    ("suggest", &[]),
    ("file", &[]),
    ("panel", &["tensor"]),
    (
        "kernels",
        &["tensor", "activation", "panel", "quantization"],
    ),
    ("graph", &["tensor", "activation", "panel", "quantization"]),
    (
        "engine",
        &["graph", "kernels", "tensor", "activation", "quantization"],
    ),
    (
        "reference",
        &["graph", "tensor", "activation", "panel", "quantization"],
    ),
    ("import", &["graph", "tensor", "activation"]),
    (
        "artifact",
        &["graph", "tensor", "activation", "suggest", "file"],
    ),
    ("memory", &["engine", "graph"]),
    (
        "quantize",
        &[
            "engine",
            "graph",
            "kernels",
            "panel",
            "tensor",
            "activation",
            "quantization",
        ],
    ),
    (
        "predict",
        &["engine", "artifact", "graph", "tensor", "suggest"],
    ),
    (
        "explain",
        &[
            "predict",
            "engine",
            "reference",
            "graph",
            "tensor",
            "activation",
            "suggest",
        ],
    ),
    (
        "evaluate",
        &[
            "predict", "engine", "artifact", "graph", "tensor", "suggest",
        ],
    ),
    (
        "serve",
        &[
            "predict", "explain", "memory", "engine", "artifact", "graph", "kernels", "file",
        ],
    ),
    ("probe", &[]),
    ("readiness", &["memory", "artifact", "units", "suggest"]),
    ("report", &["units"]),
    ("cli", &[]),
    ("commands", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Files outside of `kernels` that hold `unsafe`: tensors of aligned bytes, and the memory maps.
const UNSAFE: [&str; 3] = ["tensor.rs", "artifact/file.rs", "import/mod.rs"];

/// Longest file without a reason, in lines.
const MAX_LINES: usize = 800;

/// Longer files, and why they are one file.
const LONG: [(&str, &str); 2] = [
    (
        "import/keras/layers/operation.rs",
        "one flat list of Keras operations, read from top to bottom",
    ),
    (
        "kernels/vector.rs",
        "one trait and its three implementations, method by method alike",
    ),
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    files.sort();
    assert!(files.len() > 100, "sources not found");
    files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
            (name.to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// Lines of code with their numbers: no comments, and nothing after the tests begin.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap()))
}

/// Names that follow each `crate::` in a line, those in braces too.
fn rooms_named(line: &str) -> Vec<&str> {
    let word = |s: &'_ str| s.find(|c: char| !c.is_alphanumeric() && c != '_');
    let mut rooms = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split(',').collect(),
            None => vec![rest],
        };
        for item in list {
            let item = item.trim();
            rooms.push(&item[..word(item).unwrap_or(item.len())]);
        }
    }
    rooms
}

fn report(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn arrows_between_rooms_point_down() {
    let mut violations = Vec::new();
    for (file, text) in sources() {
        // Unit tests may look around: they are in files of their own in the larger rooms.
        if file.ends_with("tests.rs") {
            continue;
        }
        let room = file.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            violations.push(format!("src/{file}: `{room}` is not in the table of rooms"));
            continue;
        };
        for (number, line) in code(&text) {
            for named in rooms_named(line) {
                let known = ROOMS.iter().any(|(name, _)| *name == named);
                let fine = named == room || allowed.contains(&"*") || allowed.contains(&named);
                if known && !fine {
                    violations.push(format!(
                        "src/{file}:{number}: `{room}` may not use `{named}`: {}",
                        line.trim()
                    ));
                }
            }
        }
    }
    report(&violations);
}

#[test]
fn only_the_report_prints_and_nobody_exits() {
    let mut violations = Vec::new();
    for (file, text) in sources() {
        for (number, line) in code(&text) {
            let prints = ["print!", "println!", "eprint!", "eprintln!", "dbg!"]
                .iter()
                .any(|name| line.contains(name));
            let streams = line.contains("stdout()") || line.contains("stderr()");
            let exits = line.contains("process::exit");
            if exits || ((prints || streams) && !file.starts_with("report/")) {
                violations.push(format!("src/{file}:{number}: {}", line.trim()));
            }
        }
    }
    report(&violations);
}

#[test]
fn unsafe_lives_in_named_places() {
    let mut violations = Vec::new();
    for (file, text) in sources() {
        if file.starts_with("kernels/") || UNSAFE.contains(&file.as_str()) {
            continue;
        }
        for (number, line) in code(&text) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "unsafe") {
                violations.push(format!("src/{file}:{number}: {}", line.trim()));
            }
        }
    }
    report(&violations);
}

#[test]
fn long_files_have_a_reason() {
    let mut violations = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_LINES && !LONG.iter().any(|(name, _)| *name == file) {
            violations.push(format!("src/{file}: {lines} lines, at most {MAX_LINES}"));
        }
    }
    for (file, _) in LONG {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let lines = fs::read_to_string(path).map_or(0, |text| text.lines().count());
        if lines <= MAX_LINES {
            violations.push(format!("src/{file} is short now: take it off the list"));
        }
    }
    report(&violations);
}

#[test]
fn the_reader_of_lines_sees_violations() {
    assert_eq!(rooms_named("use crate::graph::{Graph, Op};"), ["graph"]);
    assert_eq!(
        rooms_named("use crate::{cli, report::Table};"),
        ["cli", "report"]
    );
    assert_eq!(
        rooms_named("let x = crate::engine::Plan::new();"),
        ["engine"]
    );
    assert!(rooms_named("use super::engine;").is_empty());
}
