//! `dermal predict`.

use std::fs;

use serde_json::json;

use super::{dermal, listing, photo};

#[test]
fn a_table_shows_the_likeliest_classes_first() {
    let ran = dermal(["predict", &photo("nv_00.jpg"), "--top", "2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows: Vec<_> = ran.stdout.lines().filter(|l| l.contains('%')).collect();
    assert_eq!(rows.len(), 2, "{}", ran.stdout);
    assert!(rows[0].starts_with("nv "), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn json_has_every_class_sorted_and_names_its_units() {
    let ran = dermal(["predict", &photo("mel_01.jpg"), "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["schema_version"], 1);
    let image = &report["images"][0];
    assert_eq!(image["top1"], "mel");
    let classes = image["predictions"].as_array().unwrap();
    assert_eq!(classes.len(), 7);
    let probabilities: Vec<_> = classes
        .iter()
        .map(|c| c["probability"].as_f64().unwrap())
        .collect();
    assert!(
        probabilities.is_sorted_by(|a, b| a >= b),
        "{probabilities:?}"
    );
    let sum: f64 = probabilities.iter().sum();
    // Seven probabilities, each rounded to f32.
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    for part in ["decode", "preprocess", "inference", "total"] {
        assert!(image["timing_ms"][part].as_f64().unwrap() > 0.0, "{part}");
    }
    #[cfg(target_os = "linux")]
    assert!(report["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn threads_and_tiers_agree_on_the_class() {
    let answer = |args: &[&str]| {
        let photo = photo("bcc_01.jpg");
        let line = ["predict", &photo, "--json"].into_iter();
        let report = dermal(line.chain(args.iter().copied())).json();
        report["images"][0]["top1"].clone()
    };
    let plain = answer(&["--isa", "portable", "--threads", "1"]);
    assert_eq!(answer(&["--threads", "2"]), plain);
    assert_eq!(answer(&[]), plain);
    dermal(["predict", &photo("bcc_01.jpg"), "--isa", "sse9"]).refuses(&["sse9", "portable"]);
}

#[test]
fn a_heat_map_has_the_size_of_the_photo() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (png, npy) = (at("h.png"), at("h.npy"));
    let input = photo("nv_00.jpg");
    let ran = dermal([
        "predict",
        &input,
        "--gradcam",
        &png,
        "--raw-map",
        &npy,
        "--class",
        "mel",
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let map = &ran.json()["images"][0]["gradcam"];
    assert_eq!(map["class"], "mel");
    assert_eq!(map["method"], "gradcam");
    assert_eq!(map["path"], png.as_str());
    assert_eq!(
        image::image_dimensions(&png).unwrap(),
        image::image_dimensions(&input).unwrap()
    );
    assert!(fs::read(&npy).unwrap().starts_with(b"\x93NUMPY"));
    assert_eq!(listing(folder.path()), ["h.npy", "h.png"]);
}

#[test]
fn one_bad_photo_of_a_folder_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["nv_00.jpg", "mel_01.jpg"] {
        fs::copy(photo(name), folder.path().join(name)).unwrap();
    }
    fs::File::create(folder.path().join("empty.png")).unwrap();
    fs::File::create(folder.path().join("notes.txt")).unwrap();
    let given = folder.path().to_str().unwrap();
    let ran = dermal(["predict", given]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("empty.png"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 of 3 photos"), "{}", ran.stderr);
    let report = dermal(["predict", given, "--json"]).json();
    let images = report["images"].as_array().unwrap();
    let failed: Vec<_> = images.iter().map(|i| i.get("error").is_some()).collect();
    assert_eq!(failed, [true, false, false], "sorted by name");
    let gone = folder.path().join("gone.jpg");
    let gone = gone.to_str().unwrap();
    let report = dermal(["predict", &photo("nv_00.jpg"), gone, "--json"]).json();
    let message = format!("cannot classify `{gone}`: there is no file `{gone}`");
    let expected = json!({
        "kind": "no_such_file",
        "message": message,
        "hint": "check the path",
        "arguments": {"path": gone},
    });
    assert_eq!(report["images"][1]["error"], expected);
}

#[test]
fn several_heat_maps_need_several_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (a, b) = (photo("nv_00.jpg"), photo("mel_01.jpg"));
    dermal(["predict", &a, &b, "--gradcam", &at("one.png")]).refuses(&["{stem}"]);
    assert!(listing(folder.path()).is_empty());
    let ran = dermal(["predict", &a, &b, "--gradcam", &at("map_{stem}.png")]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(listing(folder.path()), ["map_mel_01.png", "map_nv_00.png"]);
    dermal(["predict", &a, &a, "--gradcam", &at("{stem}.png")]).refuses(&["two photos"]);
}

#[test]
fn refusals_name_the_next_step() {
    let input = photo("nv_00.jpg");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let png = at("h.png");
    dermal(["predict", "no-such.jpg"]).refuses(&["no-such.jpg", "hint: "]);
    dermal(["predict", folder.path().to_str().unwrap()]).refuses(&["no photos", "hint: "]);
    let map = ["predict", &input, "--gradcam", &png];
    let with = |more: [&'static str; 2]| dermal(map.into_iter().chain(more));
    with(["--class", "wart"]).refuses(&["no class `wart`", "mel"]);
    with(["--layer", "nope"]).refuses(&["no layer `nope`", "--layers"]);
    with(["--input", "age=1"]).refuses(&["no input `age`", "hint: "]);
    with(["--max-pixels", "100"]).refuses(&["hint: "]);
    assert!(listing(folder.path()).is_empty(), "no partial output");
    dermal(["predict", &input, "--gradcam", &at("none/h.png")]).refuses(&["mkdir -p"]);
    let old = dermal(["predict", &input, "--model", &input]);
    assert_eq!(old.code, Some(2));
    assert!(old.stderr.contains("a picture"), "{}", old.stderr);
    let keras = super::fixture("import/nested.keras");
    dermal(["predict", keras.to_str().unwrap(), &input]).refuses(&["dermal import"]);
}

#[cfg(unix)]
#[test]
fn a_file_name_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"\xff\n.jpg"));
    fs::copy(photo("nv_00.jpg"), &path).unwrap();
    let ran = dermal(["predict".as_ref(), path.as_os_str(), "--json".as_ref()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["images"][0]["top1"], "nv");
}

#[test]
fn a_folded_layer_of_a_written_model_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("map.npy");
    // A convolution whose batch normalization and activation are folded into it.
    let ran = dermal([
        "predict",
        "fixtures/images/mel_00.jpg",
        "--layer",
        "stem_conv",
        "--raw-map",
        map.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["images"][0]["gradcam"]["layer"], "stem_conv");
    assert!(map.exists());
}
