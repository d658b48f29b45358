//! Estimates compared with the kernel's own counters, and verdicts tested in a cgroup that kills.
//!
//! On the demo with three types of weights, and on the real models that exist
//! (`scripts/fetch-real-models.sh`, `scripts/app_models.py`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test, also in the helpers; measurements are for people"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

/// Two proofs at the same time would share CPUs, and on a small machine memory.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn dermal(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dermal"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn prove(model: Option<&Path>, args: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["estimate"];
    all.extend(model.map(|path| path.to_str().unwrap()));
    all.extend(["--prove", "--json", "--threads", "1"]);
    all.extend(args);
    let (code, stdout, stderr) = dermal(&all);
    let document = serde_json::from_str(&stdout);
    (
        code,
        document.unwrap_or_else(|error| panic!("{error}: {stderr}")),
    )
}

fn cgroups_are_there(test: &str) -> bool {
    let (_, document) = prove(None, &["--budget", "1GB", "--max-pixels", "100000"]);
    let kind = &document["proof"]["confinement"]["kind"];
    if kind == "cgroup" {
        return true;
    }
    println!("SKIPPED: {test}: no cgroup may be made here ({kind})");
    false
}

/// The demo in every type, and real models if they exist.
fn models(folder: &Path) -> Vec<Option<PathBuf>> {
    let root = root();
    let mut models = vec![None];
    let half = folder.join("half.safetensors");
    let bytes = folder.join("bytes.safetensors");
    let demo = root.join("models/demo.safetensors");
    let photos = root.join("fixtures/images");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (demo, photos) = (text(&demo), text(&photos));
    for (out, rest) in [
        (&half, vec!["--to", "fp16"]),
        (
            &bytes,
            vec!["--to", "int8", "--calibrate", &photos, "--photos", "8"],
        ),
    ] {
        let out_text = text(out);
        let mut args = vec!["quantize", &demo, "-o", &out_text, "--json"];
        args.extend(rest);
        let (code, _, stderr) = dermal(&args);
        assert_eq!(code, Some(0), "{stderr}");
        models.push(Some(out.clone()));
    }
    for name in ["sklesion", "mobilenetv2", "resnet50"] {
        models.extend(imported(name, folder).map(Some));
    }
    models
}

/// A real model, if it exists.
fn imported(name: &str, folder: &Path) -> Option<PathBuf> {
    let source = root().join(format!(".cache/models/{name}.keras"));
    if !source.exists() {
        println!("SKIPPED: estimate of {name}: it is not in .cache/models");
        return None;
    }
    let out = folder.join(format!("{name}.safetensors"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (code, _, stderr) = dermal(&["import", &text(&source), "-o", &text(&out)]);
    assert_eq!(code, Some(0), "{stderr}");
    Some(out)
}

/// At most 10 % of a peak off, and never more than 3 % too low; half of them at most 5 % off.
/// `scripts/estimate_errors.py` measures more models, sizes and loads (docs/estimating.md).
#[cfg(target_os = "linux")]
#[test]
fn estimates_agree_with_the_kernel() {
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let mut errors = Vec::new();
    for model in models(folder.path()) {
        let loads = [("on", "2000000"), ("off", "12000000"), ("on", "12000000")];
        // Every load for the demo, the one with most terms for the others.
        for (gradcam, pixels) in &loads[if model.is_none() { 0 } else { 2 }..] {
            let args = [
                "--budget",
                "4GB",
                "--gradcam",
                gradcam,
                "--concurrency",
                "4",
                "--max-pixels",
                pixels,
            ];
            let (code, document) = prove(model.as_deref(), &args);
            assert_eq!(code, Some(0), "{:#}", document["proof"]);
            let drain = &document["proof"]["drain"];
            assert_eq!(drain["answered"], 4, "{drain}");
            assert_eq!(drain["exit_code"], 0, "{drain}");
            assert!(document["proof"]["health_ms"].as_f64().unwrap() > 0.0);
            the_group_pays_for_program_and_model(&document["proof"]);
            for row in document["proof"]["rows"].as_array().unwrap() {
                let moment = row["moment"].as_str().unwrap();
                // Small and without a photo: the question is whether photos fit.
                if matches!(moment, "idle" | "loaded") {
                    continue;
                }
                let error = row["error_percent"].as_f64().unwrap();
                let name = model.as_deref().and_then(Path::file_stem);
                let line = format!(
                    "{:?} gradcam {gradcam}, {pixels} pixels, {moment}: {error:+.1} % ({} of {})",
                    name.unwrap_or("demo".as_ref()),
                    row["predicted_bytes"],
                    row["measured_bytes"]
                );
                println!("{line}");
                errors.push((error, line));
            }
        }
    }
    errors.sort_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
    let median = errors[errors.len() / 2].0.abs();
    println!("median of {}: {median:.2} %", errors.len());
    assert!(median <= 5.0);
    let wrong: Vec<&str> = errors
        .iter()
        .filter(|(error, _)| !(-3.0..=10.0).contains(error))
        .map(|(_, line)| line.as_str())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A cgroup is charged at least the resident memory of its only process, except for pages of the C
/// library and others that this machine shares.
#[cfg(target_os = "linux")]
fn the_group_pays_for_program_and_model(proof: &Value) {
    const SHARED_LIBRARIES: u64 = 5_000_000;
    if proof["confinement"]["kind"] != "cgroup" {
        return;
    }
    let rows = proof["rows"].as_array().unwrap().iter();
    let resident = rows.map(|row| row["measured_bytes"].as_u64().unwrap());
    let resident = resident.max().unwrap();
    match proof["peak_charged_bytes"].as_u64() {
        Some(charged) => assert!(
            charged + SHARED_LIBRARIES >= resident,
            "{charged} charged, {resident} resident"
        ),
        None => assert!(proof["shared_pages_because"].is_string(), "{proof:#}"),
    }
}

/// The demo for photos of 1600 pixels: its values take more than the server assumes, so only the
/// kernel can stop it.
fn hungry(folder: &Path) -> PathBuf {
    let model = dermal::artifact::embedded().unwrap();
    let (input, node) = model.graph.inputs().next().unwrap();
    let channels = node.shape.hwc().unwrap()[2];
    let shape = dermal::tensor::Shape::new(&[1600, 1600, channels]);
    let graph = model.graph.with_input_shape(input, &shape).unwrap();
    let path = folder.join("hungry.safetensors");
    let mut manifest = model.manifest;
    manifest.self_test = None;
    dermal::artifact::write(&path, &dermal::artifact::Model { graph, manifest }).unwrap();
    path
}

/// A load that is said to fit survives at that limit. A load that is said not to fit is killed by
/// the kernel or turned away by the server.
#[cfg(target_os = "linux")]
#[test]
fn verdicts_agree_with_a_cgroup_that_kills() {
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !cgroups_are_there("verdicts_agree_with_a_cgroup_that_kills") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hungry = hungry(folder.path());
    let mut cases = vec![
        (None, &["on", "off"][..], "refused"),
        (Some(hungry.as_path()), &["off"], "killed"),
    ];
    let real = imported("mobilenetv2", folder.path());
    cases.extend(
        real.iter()
            .map(|path| (Some(path.as_path()), &["on"][..], "refused")),
    );
    for (model, heat_maps, ends) in cases {
        for gradcam in heat_maps {
            let load = ["--concurrency", "4", "--gradcam", gradcam];
            let (_, document) = prove(model, &[&load[..], &["--budget", "4GB"]].concat());
            let peak = document["peak"]["charged_bytes"].as_u64().unwrap();
            let must_fit = document["peak"]["unreclaimable_bytes"].as_u64().unwrap();
            let admission = document["limit"]["admission_bytes"].as_u64().unwrap();
            // It fits up to 90 %; the number of the program's pages varies a little each time.
            let fits = (peak * 100).div_ceil(88).max(admission);
            let does_not_fit = must_fit.max(admission) * 97 / 100;
            for (limit, verdict, survives) in
                [(fits, "fits", true), (does_not_fit, "does_not_fit", false)]
            {
                let budget = limit.to_string();
                let (code, document) = prove(model, &[&load[..], &["--budget", &budget]].concat());
                assert_eq!(document["limit"]["verdict"], verdict, "{limit}");
                let proof = &document["proof"];
                assert_eq!(proof["survived"], survives, "{proof:#}");
                assert_eq!(code, Some(i32::from(!survives)));
                if !survives {
                    let last = proof["rows"].as_array().unwrap().last().unwrap();
                    assert_eq!(last["outcome"], ends, "{proof:#}");
                    let killed = ends == "killed";
                    assert_eq!(
                        proof["oom_kills"].as_u64().unwrap() >= 1,
                        killed,
                        "{proof:#}"
                    );
                    assert_eq!(last["message"].is_string(), !killed, "{proof:#}");
                }
            }
        }
    }
}

/// Folders and groups named after a process.
#[cfg(target_os = "linux")]
fn left_behind(id: u32) -> Vec<PathBuf> {
    fn walk(folder: &Path, name: &str, found: &mut Vec<PathBuf>, depth: usize) {
        let Ok(entries) = folder.read_dir() else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() == name {
                found.push(entry.path());
            } else if depth > 0 {
                walk(&entry.path(), name, found, depth - 1);
            }
        }
    }
    let mut found = Vec::new();
    let name = format!("dermal-prove-{id}");
    walk(Path::new("/sys/fs/cgroup"), &name, &mut found, 5);
    found
}

/// Processes whose command line contains a text.
#[cfg(target_os = "linux")]
fn processes(text: &str) -> Vec<String> {
    let entries = Path::new("/proc")
        .read_dir()
        .unwrap()
        .filter_map(Result::ok);
    let lines = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(text)).collect()
}

/// If a proof is killed in the middle, without a chance to clean up, nothing is left: no group, no
/// server, no file.
#[cfg(target_os = "linux")]
#[test]
fn a_proof_that_is_killed_leaves_nothing_behind() {
    use std::time::{Duration, Instant};

    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let model = temporary.path().join("killed.safetensors");
    std::fs::copy(root().join("models/demo.safetensors"), &model).unwrap();
    let model = model.to_str().unwrap();
    // Once with a group, and once if none can be made: the server must end in both cases.
    for platform in [&["--platform", "render-free"][..], &[]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dermal"))
            .args(["estimate", "--prove", "--max-pixels", "30000000", model])
            .args(platform)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The server's command line has the model's path, or that of a private copy. Seeing it once
        // is enough: a process that starts itself again has no command line for a moment.
        let copies = format!("dermal-prove-{}", child.id());
        let all = || [processes(model), processes(&copies)].concat();
        let serves = |seen: &[String]| seen.iter().any(|line| line.contains(" serve "));
        let since = Instant::now();
        let mut seen = all();
        while !serves(&seen) && since.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(5));
            seen = all();
        }
        assert!(serves(&seen), "{seen:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let since = Instant::now();
        let gone = || all().is_empty() && left_behind(child.id()).is_empty();
        while !gone() && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(all(), Vec::<String>::new());
        assert_eq!(left_behind(child.id()), Vec::<PathBuf>::new());
        assert_eq!(temporary.path().read_dir().unwrap().count(), 1);
        assert!(!Path::new("/var/tmp").join(&copies).exists());
    }
}

#[test]
fn impossible_questions_are_refused() {
    for (args, says) in [
        (vec!["--budget", "0"], "expected a size such as 512MB"),
        (vec!["--budget", "-5"], "expected a size such as 512MB"),
        (
            vec!["--budget", "512 bananas"],
            "expected a size such as 512MB",
        ),
        (vec!["--budget", "10EB"], "expected a size such as 512MB"),
        (vec!["--budget", "1TB"], "expected a size such as 512MB"),
        (
            vec!["--platform", "render-fre"],
            "did you mean `render-free`?",
        ),
        (
            vec!["--platform", "x", "--budget", "1GB"],
            "cannot be used with",
        ),
        (vec!["--concurrency", "0"], "0"),
        (vec!["--max-pixels", "0"], "0"),
        (vec!["--gradcam", "maybe"], "maybe"),
        (
            vec!["missing.safetensors"],
            "cannot load model `missing.safetensors`",
        ),
    ] {
        let (code, stdout, stderr) = dermal(&[&["estimate"], &args[..]].concat());
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert_eq!(stdout, "", "{args:?}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
}
