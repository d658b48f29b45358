//! No command writes over a file that it reads: every option that names a file to write is aimed at
//! every file that the same command reads, under every name that such a file can have.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, ValueHint};

use super::{dermal, fixture, listing, photo};

/// What the command does with an option's path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    Reads,
    Writes,
    /// A folder of pages or settings, from which the command reads no file.
    MakesFiles,
}

/// Every option and argument of every command that takes a path, by its id.
pub(super) const PATHS: [(&str, &str, Role); 37] = [
    ("import", "source", Role::Reads),
    ("import", "output", Role::Writes),
    ("import", "labels", Role::Reads),
    ("import", "preprocess", Role::Reads),
    ("import", "config", Role::Reads),
    ("import", "fields", Role::Reads),
    ("quantize", "model", Role::Reads),
    ("quantize", "output", Role::Writes),
    ("quantize", "calibrate", Role::Reads),
    ("quantize", "fields", Role::Reads),
    ("quantize", "report", Role::Writes),
    ("predict", "images", Role::Reads),
    ("predict", "model", Role::Reads),
    ("predict", "fields", Role::Reads),
    ("predict", "gradcam", Role::Writes),
    ("predict", "raw_map", Role::Writes),
    ("compare", "base", Role::Reads),
    ("compare", "candidate", Role::Reads),
    ("compare", "fixtures", Role::Reads),
    ("compare", "fields", Role::Reads),
    ("compare", "report", Role::Writes),
    ("diff", "first", Role::Reads),
    ("diff", "second", Role::Reads),
    ("export", "model", Role::Reads),
    ("export", "output", Role::Writes),
    ("inspect", "model", Role::Reads),
    ("inspect", "check_layers", Role::Reads),
    ("bench", "model", Role::Reads),
    ("estimate", "model", Role::Reads),
    ("check", "config", Role::Reads),
    ("man", "dir", Role::MakesFiles),
    ("serve", "model", Role::Reads),
    ("serve", "api_keys_file", Role::Reads),
    ("serve", "redis_ca", Role::Reads),
    ("worker", "model", Role::Reads),
    ("worker", "redis_ca", Role::Reads),
    ("probe", "images", Role::Reads),
];

#[test]
fn every_option_with_a_path_is_known_to_read_or_to_write() {
    let mut unknown = Vec::new();
    let mut seen = Vec::new();
    for command in dermal::cli::Cli::command().get_subcommands() {
        if command.is_hide_set() {
            continue;
        }
        for argument in command.get_arguments() {
            let path = matches!(
                argument.get_value_hint(),
                ValueHint::FilePath | ValueHint::AnyPath | ValueHint::DirPath
            );
            let key = (command.get_name(), argument.get_id().as_str());
            let known = PATHS.iter().any(|&(c, a, _)| (c, a) == key);
            if path {
                seen.push((key.0.to_owned(), key.1.to_owned()));
            }
            if path && !known {
                unknown.push(format!("{} {}", key.0, key.1));
            }
        }
    }
    assert!(unknown.is_empty(), "add to PATHS: {}", unknown.join(", "));
    for (command, id, _) in PATHS {
        let is_there = seen
            .iter()
            .any(|(c, a)| (c.as_str(), a.as_str()) == (command, id));
        assert!(is_there, "{command} has no path `{id}`: take it off PATHS");
    }
}

/// A folder with every file that the commands read.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let copy = |from: &Path, to: &str| {
            let to = files.at(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        };
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.safetensors");
        copy(&demo, "model.safetensors");
        copy(&demo, "candidate.safetensors");
        copy(&fixture("import/nested.keras"), "model.keras");
        copy(Path::new(&photo("nv_00.jpg")), "photo.jpg");
        copy(Path::new(&photo("nv_00.jpg")), "photos/nv/a.jpg");
        copy(Path::new(&photo("mel_08.jpg")), "photos/mel/b.jpg");
        for (name, text) in [
            (
                "table.csv",
                "file,label\nphotos/nv/a.jpg,nv\nphotos/mel/b.jpg,mel\n",
            ),
            ("labels.txt", "yes\nno\n"),
            ("recipe.yaml", "preset: unit\n"),
            ("config.json", "{}\n"),
            ("fields.yaml", "version: 1\n"),
        ] {
            fs::write(files.at(name), text).unwrap();
        }
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Other names of a file, each with `ending` if one is given.
    fn names_of(&self, file: &Path, ending: Option<&str>) -> Vec<PathBuf> {
        let end = |name: &str| self.at(&format!("{name}{}", ending.unwrap_or_default()));
        let mut names = Vec::new();
        if ending.is_none() {
            let inside = file.strip_prefix(self.0.path()).unwrap();
            names.extend([
                file.to_owned(),
                self.0.path().join("photos/../.").join(inside),
            ]);
        }
        #[cfg(unix)]
        {
            let [link, hard] = [end("link"), end("hard")];
            for name in [&link, &hard] {
                let _ = fs::remove_file(name);
            }
            std::os::unix::fs::symlink(file, &link).unwrap();
            fs::hard_link(file, &hard).unwrap();
            names.extend([link, hard]);
        }
        names
    }
}

/// A command line that reads `input` by the argument `reads` and writes `output` by `writes`.
fn line(
    files: &Files,
    command: &str,
    reads: &str,
    input: &Path,
    writes: &str,
    output: &Path,
) -> Vec<String> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let file = |name: &str| text(&files.at(name));
    let or = |id: &str, name: &str| if reads == id { text(input) } else { file(name) };
    let mut line = vec![command.to_owned()];
    match command {
        "import" => line.push(or("source", "model.keras")),
        "export" => line.push(or("model", "model.safetensors")),
        "quantize" => {
            line.push(or("model", "model.safetensors"));
            line.extend(["--to".into(), "int8".into()]);
            line.extend(["--calibrate".into(), or("calibrate", "table.csv")]);
            if writes != "output" {
                line.extend(["-o".into(), file("new.safetensors")]);
            }
        }
        "predict" => line.extend([or("model", "model.safetensors"), or("images", "photo.jpg")]),
        "compare" => line.extend([
            or("base", "model.safetensors"),
            or("candidate", "candidate.safetensors"),
            "--fixtures".into(),
            or("fixtures", "table.csv"),
        ]),
        _ => panic!("{command}"),
    }
    let positional = [
        "source",
        "model",
        "images",
        "base",
        "candidate",
        "calibrate",
        "fixtures",
    ];
    if !positional.contains(&reads) {
        line.extend([format!("--{reads}"), text(input)]);
    }
    line.extend([format!("--{}", writes.replace('_', "-")), text(output)]);
    line
}

/// The file for each argument that names a file to read.
fn input_of(id: &str) -> &'static [&'static str] {
    match id {
        "source" => &["model.keras"],
        "labels" => &["labels.txt"],
        "preprocess" => &["recipe.yaml"],
        "config" => &["config.json"],
        "fields" => &["fields.yaml"],
        "model" | "base" => &["model.safetensors"],
        "candidate" => &["candidate.safetensors"],
        // The table, and a photo that it names.
        "calibrate" | "fixtures" => &["table.csv", "photos/mel/b.jpg"],
        "images" => &["photo.jpg", "photos/nv/a.jpg"],
        other => panic!("{other}"),
    }
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let files = Files::new();
    let mut tried = 0;
    for (command, writes, role) in PATHS {
        if role != Role::Writes {
            continue;
        }
        let ending = (writes == "report").then_some(".html");
        for (_, reads, role) in PATHS.into_iter().filter(|path| path.0 == command) {
            if role != Role::Reads {
                continue;
            }
            for &victim in input_of(reads) {
                let victim_path = files.at(victim);
                let before = fs::read(&victim_path).unwrap();
                // A photo is read through its table or folder.
                let given = match victim {
                    "photos/mel/b.jpg" => files.at("table.csv"),
                    "photos/nv/a.jpg" => files.at("photos/nv"),
                    _ => victim_path.clone(),
                };
                for output in files.names_of(&victim_path, ending) {
                    let line = line(&files, command, reads, &given, writes, &output);
                    let there = listing(files.0.path());
                    let ran = dermal(&line);
                    if victim == "photos/nv/a.jpg" {
                        // A folder may hold any number of photos, so one file cannot take the maps.
                        ran.refuses(&["is one file, but there are several photos"]);
                    } else {
                        ran.refuses(&["would replace", victim, "never writes over"]);
                    }
                    assert_eq!(fs::read(&victim_path).unwrap(), before, "{line:?}");
                    assert_eq!(listing(files.0.path()), there, "{line:?}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 80, "{tried} cases");
}

#[test]
fn a_result_is_attached_only_to_a_model_that_is_not_compared_with_itself() {
    let files = Files::new();
    let text = |name: &str| files.at(name).to_str().unwrap().to_owned();
    let [model, table] = [text("model.safetensors"), text("table.csv")];
    let before = fs::read(&model).unwrap();
    let compare = |more: &[&str]| {
        let line = ["compare", &model, &model, "--fixtures", &table, "--attach"];
        dermal(line.iter().chain(more))
    };
    compare(&[]).refuses(&["would replace the model in use"]);
    assert_eq!(fs::read(&model).unwrap(), before);
    let ran = dermal([
        "compare",
        &model,
        "--fixtures",
        &table,
        "--attach",
        "--max-bad",
        "0",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_ne!(fs::read(&model).unwrap(), before);
}

#[test]
fn two_outputs_never_share_a_file() {
    let files = Files::new();
    let text = |name: &str| files.at(name).to_str().unwrap().to_owned();
    let both = text("both.html");
    dermal([
        "quantize",
        &text("model.safetensors"),
        "-o",
        &both,
        "--to",
        "fp16",
        "--report",
        &both,
    ])
    .refuses(&["named by `-o` and by `--report`"]);
    dermal([
        "predict",
        &text("photo.jpg"),
        "--gradcam",
        &text("map"),
        "--raw-map",
        &text("photos/../map"),
    ])
    .refuses(&["named by `--gradcam` and by `--raw-map`"]);
}

#[test]
fn the_same_import_may_replace_its_last_result() {
    let files = Files::new();
    let text = |name: &str| files.at(name).to_str().unwrap().to_owned();
    let line = [
        "import",
        &text("model.keras"),
        "-o",
        &text("out.safetensors"),
        "--labels",
        &text("labels.txt"),
        "--preprocess",
        "raw",
    ];
    for _ in 0..2 {
        let ran = dermal(line);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
}
