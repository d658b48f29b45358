//! The project's rules that a compiler does not check: which room may use which, who prints, where
//! `unsafe` is, who writes files, how long a file may be, which words the text avoids.
//! ARCHITECTURE.md states the rules; the tests here check both against the code.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `src`, and the rooms that it may name. `*` is all of them. A permission that no
/// file uses is a violation, too.
const ROOMS: &[(&str, &[&str])] = &[
    ("activation", &[]),
    ("storage", &[]),
    ("tensor", &["storage"]),
    ("quantization", &[]),
    ("units", &[]),
    ("hint", &[]),
    ("text", &[]),
    ("file", &[]),
    ("random", &[]),
    ("panel", &["tensor"]),
    ("kernels", &["tensor", "activation", "quantization"]),
    ("graph", &["tensor", "activation", "panel", "quantization"]),
    (
        "engine",
        &[
            "graph",
            "kernels",
            "tensor",
            "activation",
            "quantization",
            "random",
        ],
    ),
    ("reference", &["graph", "tensor", "activation"]),
    (
        "layer_check",
        &["engine", "reference", "graph", "quantization"],
    ),
    (
        "import",
        &[
            "graph",
            "tensor",
            "activation",
            "quantization",
            "artifact",
            "predict",
            "file",
            "text",
        ],
    ),
    ("diff", &["artifact", "graph", "tensor"]),
    (
        "export",
        &[
            "artifact",
            "graph",
            "tensor",
            "activation",
            "quantization",
            "file",
        ],
    ),
    ("artifact", &["graph", "storage", "tensor", "text", "file"]),
    ("memory", &[]),
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
        &["engine", "artifact", "graph", "text", "random"],
    ),
    (
        "explain",
        &[
            "predict",
            "reference",
            "graph",
            "tensor",
            "activation",
            "text",
        ],
    ),
    (
        "classifier",
        &[
            "artifact", "engine", "explain", "graph", "kernels", "predict",
        ],
    ),
    (
        "evaluate",
        &[
            "classifier",
            "explain",
            "predict",
            "engine",
            "artifact",
            "graph",
            "text",
            "random",
        ],
    ),
    (
        "compress",
        &[
            "evaluate", "predict", "quantize", "engine", "memory", "artifact", "graph", "tensor",
            "text", "units",
        ],
    ),
    (
        "serve",
        &[
            "classifier",
            "predict",
            "explain",
            "memory",
            "artifact",
            "kernels",
            "file",
            "text",
        ],
    ),
    ("probe", &["text"]),
    ("readiness", &["memory", "units", "text"]),
    (
        "estimate",
        &[
            "serve",
            "readiness",
            "memory",
            "classifier",
            "explain",
            "predict",
            "engine",
            "artifact",
            "graph",
            "tensor",
            "units",
        ],
    ),
    ("prove", &["estimate", "probe", "memory", "artifact"]),
    (
        "survey",
        &[
            "readiness",
            "prove",
            "estimate",
            "evaluate",
            "memory",
            "classifier",
            "predict",
            "engine",
            "artifact",
            "file",
            "text",
        ],
    ),
    ("report", &["text"]),
    // Plain value types only: what an option may be.
    (
        "cli",
        &["artifact", "explain", "graph", "predict", "units", "text"],
    ),
    ("commands", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Files outside `kernels` that contain `unsafe`: the memory maps.
const UNSAFE: [&str; 2] = ["storage.rs", "import/mod.rs"];

/// Files that may ask which features are on: the list of modules, and the backing for files and
/// threads.
const FEATURES: [&str; 3] = ["lib.rs", "storage.rs", "kernels/threads.rs"];

/// Files outside `file/` that open a file for writing, and which one: never a file that a user
/// asked for.
const WRITERS: [(&str, &str); 4] = [
    (
        "memory/sandbox.rs",
        "the kernel's control files of a cgroup",
    ),
    (
        "memory/measure.rs",
        "the kernel's `clear_refs` of this process",
    ),
    (
        "prove/private_copies.rs",
        "copies of program and model that a proof runs, and removes",
    ),
    (
        "import/keras/hdf5.rs",
        "options of the HDF5 reader, which only reads",
    ),
];

/// Most lines of a file without a reason.
const MAX_LINES: usize = 800;

/// Longer files, and the reason why each is one file.
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

/// The test that shows each "Never" of ARCHITECTURE.md, in its order: a file below the root and the
/// name of a test in it.
const NEVER: [(&str, &str); 10] = [
    (
        "tests/library/import_structure.rs",
        "what_cannot_be_reproduced_is_refused_by_name",
    ),
    (
        "tests/library/import_structure.rs",
        "what_cannot_be_reproduced_is_refused_by_name",
    ),
    (
        "tests/library/malformed.rs",
        "a_zip_bomb_is_refused_before_it_is_inflated",
    ),
    ("tests/tidy.rs", "only_the_file_room_writes_files"),
    ("tests/engine.rs", "a_run_allocates_nothing"),
    ("tests/tidy.rs", "unsafe_lives_in_named_places"),
    ("tests/tidy.rs", "only_the_report_prints_and_nobody_exits"),
    (
        "tests/engine.rs",
        "random_networks_agree_with_the_reference_on_every_tier_and_thread_count",
    ),
    ("tests/library/passes.rs", "outputs_do_not_move"),
    (
        "src/memory/measure.rs",
        "fields_are_found_by_their_whole_name",
    ),
];

/// The lowest room, which all others may use: what every error answers.
const GROUND: &str = "hint";

/// Images that the text avoids, and the field's own word for each. The plural is avoided, too.
const IMAGES: [(&str, &str); 7] = [
    ("purse", "admission budget"),
    ("guest", "request"),
    ("cage", "sandbox, cgroup"),
    ("desk", "worker, inference thread"),
    ("keeper", "guard"),
    ("doorplate", "name"),
    ("house", "project"),
];

/// Folders of text that people read.
const TEXTS: [&str; 8] = [
    "src", "tests", "benches", "examples", "scripts", "docs", "deploy", "fixtures",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A source file below `src`.
struct Source {
    /// Its path below `src`.
    name: String,
    /// The whole text.
    text: String,
    /// The same number of lines, without comments, texts, and code that is only compiled for tests.
    code: String,
}

impl Source {
    /// The folder or file directly below `src`.
    fn room(&self) -> &str {
        self.name.split(['/', '.']).next().unwrap()
    }

    /// Whether it is only compiled for unit tests, which may look around: `tests.rs`, `tests/`.
    fn is_test(&self) -> bool {
        self.name.ends_with("tests.rs") || self.name.contains("/tests/")
    }

    /// Lines of code with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(i, line)| (i + 1, line))
    }
}

fn sources() -> Vec<Source> {
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
    let src = root().join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    files.sort();
    assert!(files.len() > 100, "sources not found");
    files
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            Source {
                name: path
                    .strip_prefix(&src)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                code: without_tests(&without_texts(&text)),
                text,
            }
        })
        .collect()
}

/// Blanks out comments and everything in quotes, character by character, and keeps the lines.
fn without_texts(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let at = |i: usize| characters.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut i = 0;
    while i < characters.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < characters.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= characters.len() {
                        break;
                    }
                }
            }
            // Raw texts: r"...", r#"..."#, br#"..."#.
            'r' if (at(i + 1) == '"' || (at(i + 1) == '#' && matches!(at(i + 2), '"' | '#')))
                && (i == 0
                    || !word(at(i - 1))
                    || (at(i - 1) == 'b' && !word(at(i.saturating_sub(2))))) =>
            {
                i += 1;
                let mut hashes = 0;
                while at(i) == '#' {
                    (hashes, i) = (hashes + 1, i + 1);
                }
                i += 1;
                while i < characters.len()
                    && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#'))
                {
                    i += 1;
                }
                i += 1 + hashes;
            }
            '"' => {
                i += 1;
                while i < characters.len() && at(i) != '"' {
                    i += 1 + usize::from(at(i) == '\\');
                }
                i += 1;
            }
            // A character, not a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += 1 + usize::from(at(i + 1) == '\\') + 1;
                while i < characters.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            _ => {
                out.push(at(i));
                i += 1;
                continue;
            }
        }
        let end = i.min(characters.len());
        out.extend(
            characters[start..end]
                .iter()
                .map(|&c| if c == '\n' { c } else { ' ' }),
        );
    }
    out
}

/// Blanks out each item after `#[cfg(test)]`, and keeps the lines. Needs code without texts.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..start]);
        let end = start + item_length(&rest[start..]);
        out.extend(
            rest[start..end]
                .chars()
                .map(|c| if c == '\n' { c } else { ' ' }),
        );
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Bytes of the item at the start of `code`, including attributes: up to its `;`, its last `}`, or
/// the `,` after a field or argument.
fn item_length(code: &str) -> usize {
    let (mut depth, mut in_attribute) = (0_usize, 0_usize);
    let mut before = ' ';
    for (i, c) in code.char_indices() {
        match c {
            '[' if before == '#' || in_attribute > 0 => in_attribute += 1,
            ']' if in_attribute > 0 => in_attribute -= 1,
            _ if in_attribute > 0 => {}
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                // The end of the enclosing item.
                let Some(outer) = depth.checked_sub(1) else {
                    return i;
                };
                depth = outer;
                if depth == 0 && c == '}' {
                    return i + 1;
                }
            }
            ';' | ',' if depth == 0 => return i + 1,
            _ => {}
        }
        before = c;
    }
    code.len()
}

/// Names that follow each `crate::`, including those in braces, with the line of each, from 1.
fn rooms_named(code: &str) -> Vec<(usize, &str)> {
    let name = |at: usize| {
        let rest = &code[at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    };
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    let mut rooms = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let after = at + found.len();
        if !code[after..].starts_with('{') {
            rooms.push((line(at), name(after)));
            continue;
        }
        // The items of the braces, without those in inner braces.
        let (mut depth, mut begins) = (0, false);
        for (i, c) in code[after..].char_indices() {
            match c {
                '{' => (depth, begins) = (depth + 1, depth == 0),
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ',' => begins = depth == 1,
                _ if c.is_whitespace() => {}
                _ if begins => {
                    rooms.push((line(after + i), name(after + i)));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn report(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn arrows_between_rooms_point_down() {
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        // Unit tests may use other rooms: the larger rooms have them in separate files.
        if source.is_test() {
            continue;
        }
        let (file, room) = (&source.name, source.room());
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            violations.push(format!("src/{file}: `{room}` is not in the table of rooms"));
            continue;
        };
        for (number, named) in rooms_named(&source.code) {
            let known = ROOMS.iter().any(|(name, _)| *name == named);
            let fine = [room, GROUND].contains(&named)
                || allowed.contains(&"*")
                || allowed.contains(&named);
            if known && !fine {
                violations.push(format!(
                    "src/{file}:{number}: `{room}` may not use `{named}`"
                ));
            }
            used.insert((room.to_owned(), named.to_owned()));
        }
    }
    for (room, allowed) in ROOMS {
        for named in allowed.iter().filter(|&&named| named != "*") {
            if !used.contains(&((*room).to_owned(), (*named).to_owned())) {
                violations.push(format!("`{room}` may use `{named}` and does not"));
            }
        }
    }
    report(&violations);
}

/// The library does the work of a command, so that another command that needs it calls the library.
#[test]
fn no_command_asks_another() {
    // Parts of commands that are not subcommands.
    const SHARED: [&str; 10] = [
        "dry_run",
        "dump",
        "fields",
        "layers",
        "own_process",
        "plan",
        "report_file",
        "service",
        "spare",
        "watch",
    ];
    let sources = sources();
    let part = |source: &Source| {
        let below = source.name.strip_prefix("commands/")?;
        let part = below.split(['/', '.']).next()?;
        Some(part.to_owned()).filter(|part| part != "mod" && !SHARED.contains(&part.as_str()))
    };
    let commands: BTreeSet<String> = sources.iter().filter_map(part).collect();
    assert!(commands.len() > 5, "commands not found");
    let mut violations = Vec::new();
    for source in &sources {
        let Some(own) = part(source) else { continue };
        // How a file names its siblings among the commands.
        let up = match source.name.matches('/').count() {
            1 => "super::",
            _ if source.name.ends_with("/mod.rs") => "super::",
            _ => "super::super::",
        };
        for (number, line) in source.lines() {
            let asked = commands
                .iter()
                .filter(|other| **other != own)
                .find(|other| {
                    [format!("{up}{other}::"), format!("commands::{other}::")]
                        .iter()
                        .any(|path| line.contains(path.as_str()))
                });
            if let Some(other) = asked {
                violations.push(format!("src/{}:{number}: asks `{other}`", source.name));
            }
        }
    }
    report(&violations);
}

#[test]
fn readers_of_formats_know_only_the_graph() {
    // These join a graph with labels, recipe and head into a model; a new format does not.
    const PIPELINE: [&str; 4] = [
        "import/head.rs",
        "import/labels/mod.rs",
        "import/model.rs",
        "import/scaling.rs",
    ];
    let mut violations = Vec::new();
    for source in sources() {
        let file = source.name.as_str();
        let tests = source.is_test();
        if source.room() != "import" || tests || PIPELINE.contains(&file) {
            continue;
        }
        for (number, named) in rooms_named(&source.code) {
            if ["artifact", "predict", "engine"].contains(&named) {
                violations.push(format!("src/{file}:{number}: a reader uses `{named}`"));
            }
        }
    }
    report(&violations);
}

#[test]
fn commands_write_only_what_a_guard_lets_them() {
    // A `file::Output` comes from a `Guard`, which knows the files that the command reads.
    let mut violations = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            let writes = ["atomic::write", "atomic::check", "artifact::write(path"];
            if source.room() == "commands" && writes.iter().any(|name| line.contains(name)) {
                violations.push(format!("src/{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    report(&violations);
}

#[test]
fn rooms_do_not_lean_on_each_other() {
    // A room with `*` is above all others; no other room may reach itself again.
    fn reaches(from: &str, wanted: &str, seen: &mut BTreeSet<String>) -> bool {
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == from) else {
            return false;
        };
        allowed.iter().any(|&next| {
            next == wanted || (seen.insert(next.to_owned()) && reaches(next, wanted, seen))
        })
    }
    let circles: Vec<_> = ROOMS
        .iter()
        .filter(|(room, _)| reaches(room, room, &mut BTreeSet::new()))
        .map(|(room, _)| format!("`{room}` may use itself through others"))
        .collect();
    report(&circles);
}

#[test]
fn the_map_shows_every_room() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let violations: Vec<_> = ROOMS
        .iter()
        .filter(|(room, _)| *room != "lib")
        .filter(|(room, _)| {
            let (folder, file) = (format!("`{room}/`"), format!("{room}.rs"));
            !map.contains(&folder) && !map.contains(&file)
        })
        .map(|(room, _)| format!("ARCHITECTURE.md does not show `{room}`"))
        .collect();
    report(&violations);
}

#[test]
fn only_the_report_prints_and_nobody_exits() {
    let mut violations = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            let prints = ["print!", "println!", "eprint!", "eprintln!", "dbg!"]
                .iter()
                .any(|name| line.contains(name));
            let streams = line.contains("stdout()") || line.contains("stderr()");
            let exits = line.contains("process::exit") || line.contains("process::abort");
            if exits || ((prints || streams) && source.room() != "report") {
                violations.push(format!("src/{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    report(&violations);
}

#[test]
fn unsafe_lives_in_named_places() {
    let mut violations = Vec::new();
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut holders = BTreeSet::new();
    for source in sources() {
        for (number, line) in source.lines() {
            if !words(line).any(|word| word == "unsafe") {
                continue;
            }
            holders.insert(source.name.clone());
            if source.room() != "kernels" && !UNSAFE.contains(&source.name.as_str()) {
                violations.push(format!("src/{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    for file in UNSAFE {
        if !holders.contains(file) {
            violations.push(format!(
                "src/{file} holds no `unsafe`: take it off the list"
            ));
        }
        if !map.contains(&format!("`{file}`")) {
            violations.push(format!(
                "ARCHITECTURE.md does not say that {file} holds `unsafe`"
            ));
        }
    }
    report(&violations);
}

#[test]
fn features_are_asked_for_in_named_places() {
    let mut violations = Vec::new();
    let mut asking = BTreeSet::new();
    for source in sources() {
        for (number, line) in source.lines() {
            if words(line).any(|word| word == "feature") && line.contains("cfg") {
                if !FEATURES.contains(&source.name.as_str()) {
                    violations.push(format!("src/{}:{number}: {}", source.name, line.trim()));
                }
                asking.insert(source.name.clone());
            }
        }
    }
    for file in FEATURES.iter().filter(|file| !asking.contains(**file)) {
        violations.push(format!(
            "src/{file} asks for no feature: take it off the list"
        ));
    }
    report(&violations);
}

#[test]
fn only_the_file_room_writes_files() {
    const OPENERS: [&str; 7] = [
        "File::create",
        "File::options",
        "OpenOptions",
        "fs::write",
        "fs::rename",
        "fs::copy",
        "NamedTempFile",
    ];
    let mut violations = Vec::new();
    for source in sources() {
        if source.is_test() {
            continue;
        }
        let listed = WRITERS.iter().any(|(file, _)| *file == source.name);
        let mut writes = false;
        for (number, line) in source.lines() {
            if OPENERS.iter().any(|opener| line.contains(opener))
                && !line.trim().starts_with("use ")
            {
                writes = true;
                if source.room() != "file" && !listed {
                    violations.push(format!("src/{}:{number}: {}", source.name, line.trim()));
                }
            }
        }
        if listed && !writes {
            violations.push(format!(
                "src/{} writes nothing: take it off the list",
                source.name
            ));
        }
    }
    report(&violations);
}

#[test]
fn long_files_have_a_reason() {
    let mut violations = Vec::new();
    for Source { name, text, .. } in sources() {
        let lines = text.lines().count();
        if lines > MAX_LINES && !LONG.iter().any(|(long, _)| *long == name) {
            violations.push(format!("src/{name}: {lines} lines, at most {MAX_LINES}"));
        }
    }
    for (file, _) in LONG {
        let path = root().join("src").join(file);
        let lines = fs::read_to_string(path).map_or(0, |text| text.lines().count());
        if lines <= MAX_LINES {
            violations.push(format!("src/{file} is short now: take it off the list"));
        }
    }
    report(&violations);
}

/// Every text of the project: its path below the root, and its lines.
fn texts() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for folder in TEXTS {
        walk(&root().join(folder), &mut files);
    }
    let at_root = root().read_dir().unwrap().map(|e| e.unwrap().path());
    files.extend(at_root.filter(|path| path.is_file()));
    let mut texts = Vec::new();
    for path in files {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if ["rs", "md", "py", "sh", "yaml", "yml", "toml", "js"].contains(&ending) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            texts.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(texts.len() > 300, "texts not found");
    texts
}

/// The images of [`IMAGES`] in a line. A word that is quoted alone is data: `"guest"`.
fn images(line: &str) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for (at, word) in word_places(line) {
        let quoted = line[..at].ends_with('"') && line[at + word.len()..].starts_with('"');
        let word = word.to_lowercase();
        let image = IMAGES.iter().find(|(image, _)| {
            word.strip_prefix(image)
                .is_some_and(|s| s.is_empty() || s == "s")
        });
        found.extend(image.filter(|_| !quoted));
    }
    found
}

/// Whether a line says "is no photo" where plain English says "is not a photo".
fn denies_with_no(line: &str) -> bool {
    ["is", "are", "was", "were"].iter().any(|verb| {
        let phrase = format!(" {verb} no ");
        line.match_indices(&phrase).any(|(at, found)| {
            let before = line[..at].split(' ').next_back().unwrap_or("");
            let after = &line[at + found.len()..];
            let end = after.find(|c: char| !c.is_alphabetic());
            let next = &after[..end.unwrap_or(after.len())];
            // A comparison ends in "er": "is no larger than".
            let compares = next.ends_with("er") || next == "more" || next == "less";
            // At the start of a line, the word before is on the line above.
            let starts = !before.contains(char::is_alphabetic);
            let there = before.to_lowercase().ends_with("there");
            !starts && !there && !next.is_empty() && !compares
        })
    })
}

/// Words of letters, with the byte at which each begins.
fn word_places(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

#[test]
fn the_text_uses_plain_words() {
    let mut violations = Vec::new();
    for (name, text) in texts() {
        // These lines list the words themselves.
        if name == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", number + 1);
            for (image, term) in images(line) {
                violations.push(format!("{place}: `{image}`: write {term}"));
            }
            if denies_with_no(line) {
                violations.push(format!("{place}: write `is not a ...`: {}", line.trim()));
            }
        }
    }
    report(&violations);
}

#[test]
fn the_reader_of_words_sees_what_is_there() {
    assert_eq!(images("// Guests wait.").len(), 1);
    assert_eq!(images("a full purse, and its keeper").len(), 2);
    assert!(images("[\"root\", \"guest\"]").is_empty());
    assert!(images("the warehouse is in-flight").is_empty());
    assert!(denies_with_no("this file is no photo"));
    for fine in [
        "there is no photo",
        "There are no photos",
        "it is no longer read",
        "the file is no larger than the limit",
        "this is not a photo",
        "the answer is no: worse",
        "`ENABLE=false` is `--no-gradcam`",
    ] {
        assert!(!denies_with_no(fine), "{fine}");
    }
}

#[test]
fn each_never_is_shown_by_a_test() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let stated = map
        .split_once("## Never")
        .unwrap()
        .1
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    assert_eq!(stated, NEVER.len(), "the list of what shows each Never");
    let missing: Vec<_> = NEVER
        .iter()
        .enumerate()
        .filter(|(_, (file, test))| {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            !text.contains(&format!("fn {test}("))
        })
        .map(|(i, (file, test))| format!("Never {}: {file} has no test `{test}`", i + 1))
        .collect();
    report(&missing);
}

#[test]
fn the_reader_of_code_sees_what_is_there() {
    let names = |code| -> Vec<&str> {
        let named = rooms_named(code);
        named.into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(names("use crate::graph::{Graph, Op};"), ["graph"]);
    assert_eq!(
        names("use crate::{cli, report::{Table, Align},\n  units};"),
        ["cli", "report", "units"]
    );
    assert_eq!(names("let x = crate::engine::Plan::new();"), ["engine"]);
    assert!(names("use super::engine;").is_empty());

    let code = |text: &str| without_tests(&without_texts(text));
    assert_eq!(code("a /* b /* c */ \n */ d"), "a              \n    d");
    assert_eq!(
        code("a(\"crate::x // \\\"\"); // b"),
        "a(                );     "
    );
    assert_eq!(code("r#\"a\"b\"# c").trim_start(), "c");
    assert_eq!(
        code("fn a<'b>(c: '{') {}").trim_end(),
        "fn a<'b>(c:    ) {}"
    );
    assert_eq!(
        code("let quote = '\\''; x").trim_end(),
        "let quote =     ; x"
    );
    // The text after the tests is code again.
    let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod b { fn c() { } }\nfn d() {}";
    assert_eq!(
        code(text).split_whitespace().collect::<Vec<_>>().join(" "),
        "fn a() {} fn d() {}"
    );
}
