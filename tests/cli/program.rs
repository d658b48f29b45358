//! Behaviour that belongs to no single command.

use std::io::Read;
use std::process::Stdio;

use super::{command, dermal, fixture, listing, photo};

#[test]
fn the_long_version_tells_the_tiers_of_this_cpu() {
    let ran = dermal(["--version"]);
    assert_eq!(ran.code, Some(0));
    let expected = concat!("dermal ", env!("CARGO_PKG_VERSION"), "\n");
    assert!(ran.stdout.starts_with(expected), "{}", ran.stdout);
    assert!(ran.stdout.contains("portable"), "{}", ran.stdout);
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (args, says) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["predict"], "IMAGE"),
        (&["import", "model.keras"], "--output"),
        (&["predict", "a.jpg", "--layer", "x"], "--gradcam"),
        (&["predict", "a.jpg", "--alpha", "0.5"], "--gradcam"),
        (&["predict", "a.jpg", "--json", "--top", "3"], "--top"),
        (&["bench", "--runs", "0"], "--runs"),
        (&["predict", "a.jpg", "--input", "p=1,x"], "finite number"),
    ] {
        let ran = dermal(args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn every_command_has_help_and_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    assert_eq!(dermal(["man", "--dir", dir]).code, Some(0));
    let pages = listing(folder.path());
    let help = dermal(["--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<&str> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|&name| name != "help")
        .collect();
    assert_eq!(commands.len(), 15, "{commands:?}");
    for name in commands {
        let help = dermal([name, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Usage: dermal"), "{name}");
        assert!(pages.contains(&format!("dermal-{name}.1")), "{pages:?}");
    }
    assert!(pages.contains(&"dermal.1".to_owned()));
    assert!(dermal(["man"]).stdout.contains(".TH dermal 1"));
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = dermal(["completions", shell]);
        assert_eq!(ran.code, Some(0));
        assert!(ran.stdout.contains("predict"), "{shell}");
    }
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let mut child = command()
        .args(["inspect", "--layers", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command().arg("inspect").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot write to standard output"));
}

#[test]
fn a_bench_counts_its_runs_and_measures_something() {
    let ran = dermal(["bench", "--runs", "3", "--threads", "1", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["runs"], 3);
    assert_eq!(report["threads"], 1);
}

/// The README's table of exit statuses, with a run that ends with each of them.
#[test]
fn the_table_of_exit_statuses_is_true() {
    let readme = std::fs::read_to_string(fixture("../README.md")).unwrap();
    let (_, table) = readme.split_once("| Exit status | Meaning |").unwrap();
    let stated: Vec<i32> = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| "))
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    let demo = fixture("../models/demo.safetensors");
    let (demo, photos) = (demo.to_str().unwrap(), fixture("labels.csv"));
    let photos = photos.to_str().unwrap();
    let compare = [
        "compare",
        demo,
        demo,
        "--heat-maps",
        "0",
        "--fixtures",
        photos,
    ];
    let photo = photo("bcc_03.jpg");
    for (args, code) in [
        (&["predict", photo.as_str()][..], 0),
        (&["estimate", "--budget", "20MB"], 1),
        (&["predict", "nothing.jpg"], 2),
        // 210 photos are too few for a margin of one point, even if no photo changed.
        (&compare, 3),
    ] {
        let ran = dermal(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(stated.contains(&code), "{stated:?}");
    }
    assert_eq!(stated, [0, 1, 2, 3]);
}

/// The model is the first argument of every command; `--model` still works, with a warning.
#[test]
fn the_model_is_named_first() {
    let demo = fixture("../models/demo.safetensors");
    let (demo, photo) = (demo.to_str().unwrap(), photo("bcc_03.jpg"));
    let new = dermal(["predict", demo, &photo, "--json"]);
    assert_eq!((new.code, new.stderr.as_str()), (Some(0), ""));
    let old = dermal(["predict", &photo, "--model", demo, "--json"]);
    assert_eq!(old.code, Some(0));
    assert!(old.stderr.contains("`dermal predict "), "{}", old.stderr);
    assert_eq!(
        new.json()["images"][0]["top1"],
        old.json()["images"][0]["top1"]
    );
    dermal(["predict", demo]).refuses(&["no photo is given", "dermal predict MODEL IMAGE"]);
    dermal(["predict", demo, &photo, "--model", demo]).refuses(&["two models are named"]);
}

#[test]
fn a_small_number_is_asked_for_its_unit() {
    for (args, says) in [
        (["estimate", "--budget", "512"], "512MB"),
        (["estimate", "--max-pixels", "12"], "12MP"),
        (["serve", "--budget", "512"], "512MB"),
    ] {
        let ran = dermal(args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
    }
}
