//! `dermal quantize`.

use super::*;

fn demo() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("models/demo.safetensors")
        .to_str()
        .unwrap()
        .to_owned()
}

fn table() -> String {
    fixture("labels.csv").to_str().unwrap().to_owned()
}

fn quantize(out: &Path, args: &[&str]) -> Ran {
    let demo = demo();
    let mut all = vec!["quantize", &demo, "-o", out.to_str().unwrap()];
    all.extend(args);
    dermal(all)
}

#[test]
fn fp16_and_bf16_need_no_photos() {
    let folder = tempfile::tempdir().unwrap();
    for to in ["fp16", "bf16"] {
        let out = folder.path().join(format!("{to}.safetensors"));
        let ran = quantize(&out, &["--to", to, "--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let json = ran.json();
        assert_eq!(json["schema_version"], 1);
        assert!(json["bytes_after"].as_u64() < json["bytes_before"].as_u64());
        assert!(json["layers"][0]["sqnr_db"].as_f64().unwrap() > 40.0);
        let photo = photo("bcc_03.jpg");
        let predicted = dermal(["predict", out.to_str().unwrap(), &photo, "--json"]);
        assert_eq!(predicted.json()["images"][0]["top1"], "bcc");
        // 16-bit weights can be quantized again only with the option for it.
        let next = folder.path().join("next.safetensors");
        let again = [
            "quantize",
            out.to_str().unwrap(),
            "-o",
            next.to_str().unwrap(),
            "--to",
            "fp16",
        ];
        dermal(again).refuses(&["16-bit weights already", "--again"]);
        let told = dermal(again.iter().chain(&["--again"]));
        assert_eq!(told.code, Some(0), "{}", told.stderr);
    }
}

#[test]
fn int8_is_calibrated_on_photos_and_says_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("int8.safetensors");
    let table = table();
    let args = [
        "--to",
        "int8",
        "--calibrate",
        &table,
        "--photos",
        "35",
        "--json",
    ];
    let ran = quantize(&out, &args);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = ran.json();
    let seen = &json["calibration"];
    assert_eq!(seen["photos"], 35);
    assert!(seen["agreement"].as_f64().unwrap() > 0.9, "{seen}");
    assert!(seen["trials"].as_array().unwrap().len() >= 2);
    assert_eq!(json["bytes_after"], out.metadata().unwrap().len());
    let first = std::fs::read(&out).unwrap();
    // The same photos and options make the same bytes, and replace a file as a whole.
    assert_eq!(quantize(&out, &args).code, Some(0));
    assert_eq!(std::fs::read(&out).unwrap(), first);
    assert_eq!(listing(folder.path()), ["int8.safetensors"]);

    let path = out.to_str().unwrap();
    let shown = dermal(["inspect", path]);
    assert!(shown.stdout.contains("int8"), "{}", shown.stdout);
    assert!(shown.stdout.contains("35 photos"), "{}", shown.stdout);
    let map = folder.path().join("map.png");
    let photo = photo("bcc_03.jpg");
    let drawn = dermal(["predict", path, &photo, "--gradcam", map.to_str().unwrap()]);
    assert_eq!(drawn.code, Some(0), "{}", drawn.stderr);
    assert!(map.metadata().unwrap().len() > 1000);
    let other = folder.path().join("other.safetensors");
    dermal([
        "quantize",
        path,
        "-o",
        other.to_str().unwrap(),
        "--to",
        "fp16",
    ])
    .refuses(&["INT8 already", "f32 file"]);
}

#[test]
fn an_accuracy_that_was_not_reached_is_exit_code_1_with_the_best_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("int8.safetensors");
    let table = table();
    // There is no time to look for layers to keep in float. `minmax` loses accuracy of the demo
    // model on all its photos.
    let args = [
        "--to",
        "int8",
        "--calibrate",
        &table,
        "--method",
        "minmax",
        "--max-drop",
        "0pp",
        "--max-minutes",
        "0.0001",
        "--json",
    ];
    let ran = quantize(&out, &args);
    let json = ran.json();
    let seen = &json["calibration"];
    let lost = seen["top1_before"].as_f64().unwrap() - seen["top1_after"].as_f64().unwrap();
    assert_eq!(seen["held"], lost <= 0.0, "{seen}");
    assert_eq!(ran.code, Some(i32::from(lost > 0.0)), "{}", ran.stderr);
    assert_eq!(seen["out_of_time"], true);
    assert_eq!(dermal(["inspect", out.to_str().unwrap()]).code, Some(0));
}

#[test]
fn memory_does_not_grow_with_the_number_of_photos() {
    let folder = tempfile::tempdir().unwrap();
    let table = table();
    let peak = |photos: &str| {
        let out = folder.path().join("int8.safetensors");
        let args = [
            "--to",
            "int8",
            "--calibrate",
            &table,
            "--photos",
            photos,
            "--threads",
            "1",
            "--json",
        ];
        let ran = quantize(&out, &args);
        ran.json()["peak_rss_bytes"].as_u64().unwrap() as f64 / 1e6
    };
    let (few, many) = (peak("20"), peak("200"));
    assert!(
        many - few < 5.0,
        "{few} MB with 20 photos, {many} MB with 200"
    );
}

#[test]
fn bad_input_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("int8.safetensors");
    let table = table();
    quantize(&out, &["--to", "int8"]).refuses(&["INT8 needs photos", "--calibrate"]);
    quantize(
        &out,
        &[
            "--to",
            "int8",
            "--calibrate",
            &table,
            "--max-memory",
            "20MB",
        ],
    )
    .refuses(&["calibration may need", "--max-memory", "histograms"]);
    quantize(
        &out,
        &[
            "--to",
            "int8",
            "--calibrate",
            &table,
            "--keep-float",
            "blok1_dwconv",
        ],
    )
    .refuses(&[
        "there is no layer `blok1_dwconv`",
        "did you mean `block1_dwconv`?",
    ]);
    quantize(&out, &["--to", "fp16", "--calibrate", &table]).refuses(&["does nothing"]);
    quantize(&out, &["--to", "int8", "--calibrate", "nowhere"]).refuses(&["nowhere"]);
    let demo = demo();
    dermal(["quantize", &demo, "-o", &demo, "--to", "fp16"]).refuses(&["would replace the model"]);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    quantize(
        &out,
        &["--to", "int8", "--calibrate", empty.to_str().unwrap()],
    )
    .refuses(&["empty"]);
    // A corrupt photo is named; `--max-bad` allows some to be left out.
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    for name in ["bcc_03.jpg", "mel_05.jpg", "nv_04.jpg"] {
        std::fs::copy(photo(name), photos.join(name)).unwrap();
    }
    std::fs::copy(fixture("labels.csv"), photos.join("torn.jpg")).unwrap();
    let photos = photos.to_str().unwrap();
    quantize(&out, &["--to", "int8", "--calibrate", photos]).refuses(&["torn.jpg", "--max-bad"]);
    assert_eq!(listing(folder.path()), ["empty", "photos"]);
    let allowed = quantize(
        &out,
        &[
            "--to",
            "int8",
            "--calibrate",
            photos,
            "--max-bad",
            "1",
            "--json",
        ],
    );
    assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
    assert_eq!(allowed.json()["calibration"]["photos"], 3);
}

#[test]
fn weights_alone_need_no_photos_and_take_a_quarter() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("w8.safetensors");
    let report = folder.path().join("report.html");
    let args = [
        "--to",
        "int8",
        "--weights-only",
        "--json",
        "--report",
        report.to_str().unwrap(),
    ];
    let ran = quantize(&out, &args);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = ran.json();
    assert_eq!(json["weights_only"], true);
    let bytes = |key: &str| json[key].as_f64().unwrap();
    assert!(
        bytes("bytes_after") < 0.45 * bytes("bytes_before"),
        "{json}"
    );
    // Most of the process is the program, so only the sign of the difference is certain.
    assert!(bytes("peak_rss_bytes_after") < bytes("peak_rss_bytes_before") + 1e6);
    let page = std::fs::read_to_string(report).unwrap();
    for part in ["weights only", "<svg", "SQNR", "smaller"] {
        assert!(page.contains(part), "{part}");
    }
    let path = out.to_str().unwrap();
    let shown = dermal(["inspect", path]);
    assert!(
        shown.stdout.contains("int8, weights only"),
        "{}",
        shown.stdout
    );
    let compared = dermal([
        "compare",
        &demo(),
        path,
        "--fixtures",
        &table(),
        "--margin",
        "3pp",
        "--json",
    ]);
    let json = compared.json();
    let agreement = json["comparison"]["agreement"]["value"].as_f64().unwrap();
    assert!(agreement > 0.97, "{agreement}");
    assert!(json["heat_maps"]["median_correlation"].as_f64().unwrap() > 0.97);
    quantize(&out, &["--to", "fp16", "--weights-only"]).refuses(&["does nothing with"]);
    dermal(["quantize", path, "-o", "x", "--to", "fp16"]).refuses(&["INT8 already"]);
}

/// A process that dies at any moment leaves no file, or the whole file. The next run removes the
/// partial file beside it.
#[test]
fn a_killed_run_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("half.safetensors");
    let demo = demo();
    let args = [
        "quantize",
        &demo,
        "-o",
        out.to_str().unwrap(),
        "--to",
        "fp16",
    ];
    let (mut gone, mut whole) = (0, 0);
    for delay in (0..40).map(|i| i * 3) {
        let _ = std::fs::remove_file(&out);
        let mut child = command()
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if out.exists() {
            whole += 1;
            let shown = dermal(["inspect", out.to_str().unwrap()]);
            assert_eq!(shown.code, Some(0), "after {delay} ms: {}", shown.stderr);
        } else {
            gone += 1;
        }
    }
    assert!(
        gone > 0,
        "no run was killed before it wrote ({whole} files)"
    );
    assert_eq!(dermal(args).code, Some(0));
    assert_eq!(listing(folder.path()), ["half.safetensors"]);
}

/// A limit on the size of files simulates a full disk: both fail in the middle of a write.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("half.safetensors");
    std::fs::write(&out, "the old one").unwrap();
    let ran = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_dermal"))
        .args([
            "quantize",
            &demo(),
            "-o",
            out.to_str().unwrap(),
            "--to",
            "fp16",
        ])
        .output()
        .unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot write"), "{stderr}");
    assert_eq!(std::fs::read(&out).unwrap(), b"the old one");
    assert_eq!(listing(folder.path()), ["half.safetensors"]);
    // If the folder does not allow writing, the error comes before any work is done.
    let nowhere = Path::new("/proc/half.safetensors");
    quantize(nowhere, &["--to", "fp16"]).refuses(&["/proc"]);
}

/// A network on which other tools lose ten points: depthwise convolutions, squeeze-and-excite,
/// SiLU.
#[test]
fn a_limit_of_half_a_point_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("int8.safetensors");
    let table = table();
    let args = [
        "--to",
        "int8",
        "--calibrate",
        &table,
        "--max-drop",
        "0.5pp",
        "--json",
    ];
    let ran = quantize(&out, &args);
    assert_eq!(ran.code, Some(0), "{} {}", ran.stdout, ran.stderr);
    let compared = dermal([
        "compare",
        &demo(),
        out.to_str().unwrap(),
        "--fixtures",
        &table,
        "--allow-inconclusive",
        "--json",
    ]);
    let json = compared.json();
    let [before, after] = [0, 1].map(|i| json["models"][i]["evaluation"]["top1"]["value"].clone());
    let lost = before.as_f64().unwrap() - after.as_f64().unwrap();
    assert!(lost <= 0.005, "{before} to {after}");
    assert!(json["models"][1]["bytes"].as_u64() < json["models"][0]["bytes"].as_u64());
}
