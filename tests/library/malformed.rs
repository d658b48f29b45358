//! Files that lie: each is refused with one clear error and exit code 2, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "files of a test need no atomic writes"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::{self, dermal, json, names, refused, repo, run, stdout};
use tempfile::TempDir;

const PHOTO: &str = "fixtures/images/mel_08.jpg";

fn import_refused(source: &Path) -> String {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out.safetensors");
    let text = refused([
        "import".as_ref(),
        source.as_os_str(),
        "-o".as_ref(),
        out.as_ref(),
    ]);
    let shown = source.display();
    assert!(names(dir.path()).is_empty(), "left behind: {shown}");
    text
}

fn model_refused(model: &Path) -> String {
    refused([
        "predict".as_ref(),
        PHOTO.as_ref(),
        "--model".as_ref(),
        model.as_os_str(),
    ])
}

#[test]
fn photos_that_cannot_be_read_are_refused() {
    let folder = "fixtures/golden/preprocess";
    for (file, expected) in [
        ("bad_bomb.png", "100000x100000 pixels"),
        ("bad_checksum.png", "damaged"),
        ("bad_empty.jpg", "the file is empty"),
        ("bad_gif.jpg", "it is a GIF"),
        ("bad_page.jpg", "a web page"),
        ("bad_text.jpg", "no known image format"),
        ("bad_truncated.bmp", "BMP file is truncated"),
        ("bad_truncated.jpg", "JPEG file is truncated"),
        ("bad_truncated.png", "PNG file is truncated"),
        ("bad_truncated.webp", "WebP file is truncated"),
        ("bad_truncated_header.jpg", "JPEG file is truncated"),
        ("no_such.jpg", "there is no file"),
    ] {
        let dir = TempDir::new().unwrap();
        let map = dir.path().join("map.png");
        let path = format!("{folder}/{file}");
        let text = refused(["predict", &path, "--gradcam", map.to_str().unwrap()]);
        assert!(text.contains(expected), "{file}: {text}");
        assert!(text.contains(file), "{text}");
        assert!(names(dir.path()).is_empty(), "left behind: {file}");
    }
}

#[test]
fn a_bomb_is_refused_from_its_header() {
    // In one run with a good photo, so that the document has the peak of both.
    let bomb = "fixtures/golden/preprocess/bad_bomb.png";
    let output = run(["predict", PHOTO, bomb, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["images"][0]["error"].is_null());
    assert!(document["images"][1]["error"]["kind"].is_string());
    // The pixels would take 30 GB. A run with only the good photo gives the reference.
    let alone = json(["predict", PHOTO, "--json"])["peak_rss_bytes"].clone();
    let (both, alone) = (
        document["peak_rss_bytes"].as_u64().unwrap(),
        alone.as_u64().unwrap(),
    );
    assert!(both < alone + (8 << 20), "{both} against {alone} bytes");
}

#[test]
fn every_kind_of_pixel_is_accepted() {
    for file in [
        "jpeg_cmyk.jpg",
        "jpeg_ycck.jpg",
        "jpeg_gray.jpg",
        "jpeg_progressive_420.jpg",
        "gray.png",
        "gray_16_bit.png",
        "gray_2_bit.png",
        "one_bit.png",
        "la.png",
        "la_16_bit.png",
        "palette.png",
        "palette_transparent.png",
        "rgb_16_bit.png",
        "rgba.png",
        "rgba_16_bit.png",
        "palette.bmp",
        "rgba.webp",
        "jpeg_1x1.jpg",
    ] {
        stdout(["predict", &format!("fixtures/golden/preprocess/{file}")]);
    }
}

#[test]
fn files_as_they_really_arrive_are_refused_as_models() {
    let dir = TempDir::new().unwrap();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let onnx = b"\x08\x07\x12\x07pytorch\x1a\x051.8.1:\x00";
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty.keras", b"", ""),
        ("lfs.keras", lfs.as_bytes(), "a git-LFS pointer"),
        (
            "page.h5",
            b"<!DOCTYPE html><html>Sign in</html>",
            "a web page",
        ),
        ("pickle.h5", b"\x80\x02}q\x00.", "ickle"),
        ("model.onnx", onnx, "ONNX"),
        (
            "saved_model.pb",
            b"\x08\x01\x12\xe3\xed\x07\n\x9f\x15\x12",
            "",
        ),
        (
            "noise.keras",
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a",
            "",
        ),
        ("zip.keras", b"PK\x03\x04", ""),
    ];
    for (name, bytes, expected) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        for text in [import_refused(&path), model_refused(&path)] {
            assert!(
                text.contains(name) && text.contains(expected),
                "{name}: {text}"
            );
        }
    }
    for path in [dir.path().to_owned(), dir.path().join("missing.keras")] {
        for text in [import_refused(&path), model_refused(&path)] {
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}

/// The error names the reason, and nothing is written.
#[test]
fn keras_files_that_are_of_no_use_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let packed = dir.path().join("packed.zip");
    let mut archive = zip::ZipWriter::new(fs::File::create(&packed).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("my/final.keras", options).unwrap();
    archive.write_all(b"PK").unwrap();
    archive.finish().unwrap();
    let graph = dir.path().join("saved_model.pb");
    fs::write(&graph, b"\x08\x01\x12\xe3\xed\x07\n\x9f\x15\x12").unwrap();
    let refused = |name: &str| repo("fixtures/keras/refused").join(name);
    for (path, says) in [
        (
            refused("weight_nan.keras"),
            &["weight `kernel` (`layers/dense/vars/0`) is NaN at element 11"][..],
        ),
        (refused("weight_infinite.keras"), &["is inf at element 11"]),
        (
            refused("keras_int8.keras"),
            &["has int8 weights", "dermal quantize"],
        ),
        (
            refused("lambda_activation.keras"),
            &["a Python lambda", "never run"],
        ),
        (
            refused("two_outputs.keras"),
            &["the model has 2 outputs", "`--output-name NAME`", "[192]"],
        ),
        (packed, &["`my/final.keras`", "unzip it"]),
        (graph, &["SavedModel", "model.save("]),
    ] {
        let text = {
            let dir = TempDir::new().unwrap();
            let out = dir.path().join("out.safetensors");
            let text = common::refused([
                "import".as_ref(),
                path.as_os_str(),
                "-o".as_ref(),
                out.as_ref(),
            ]);
            assert!(!out.exists());
            text
        };
        for part in says {
            assert!(text.contains(part), "{}: {text}", path.display());
        }
    }
}

#[test]
fn shared_broken_files_are_refused() {
    let folder = std::env::var_os("DERMAL_SHARED_DATA")
        .map_or_else(|| repo("../shared/data"), PathBuf::from)
        .join("broken");
    let Ok(entries) = folder.read_dir() else {
        eprintln!("SKIPPED: no {}", folder.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        import_refused(&path);
        model_refused(&path);
    }
}

/// An artifact of the small fixture model, which needs no extra input.
fn artifact(dir: &Path) -> PathBuf {
    let out = dir.join("model.safetensors");
    stdout([
        "import",
        "fixtures/import/nested.keras",
        "-o",
        out.to_str().unwrap(),
        "--labels",
        "a,b",
        "--input-default",
        "patient=1,2,3",
    ]);
    out
}

#[test]
fn truncated_models_are_refused() {
    let dir = TempDir::new().unwrap();
    let artifact = artifact(dir.path());
    for source in [
        artifact.clone(),
        repo("fixtures/import/nested.keras"),
        repo("fixtures/import/nested.h5"),
    ] {
        let bytes = fs::read(&source).unwrap();
        let short = dir.path().join("short");
        for eighth in 0..8 {
            fs::write(&short, &bytes[..bytes.len() * eighth / 8]).unwrap();
            if source == artifact {
                model_refused(&short);
            } else {
                import_refused(&short);
            }
        }
    }
}

/// A flipped bit may hit a weight, which no check can notice; it must never cause a crash or a
/// hang.
#[test]
fn flipped_bits_never_crash() {
    let dir = TempDir::new().unwrap();
    let artifact = artifact(dir.path());
    let flipped = dir.path().join("flipped");
    let out = dir.path().join("out.safetensors");
    for source in [
        artifact.clone(),
        repo("fixtures/import/nested.keras"),
        repo("fixtures/import/nested.h5"),
    ] {
        let bytes = fs::read(&source).unwrap();
        // Every byte at the start, where headers are, then some bytes across the file.
        let spread = (0..24).map(|i| i * bytes.len() / 24);
        for (i, at) in (0..24).map(|i| i * 3).chain(spread).enumerate() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (i % 8);
            fs::write(&flipped, &damaged).unwrap();
            let mut command = dermal();
            if source == artifact {
                command.args(["predict", PHOTO, "--model"]).arg(&flipped);
            } else {
                command.arg("import").arg(&flipped).arg("-o").arg(&out);
            }
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            let case = format!("{} bit {} of byte {at}: {text}", source.display(), i % 8);
            assert!(matches!(output.status.code(), Some(0 | 2)), "{case}");
            assert!(!text.contains("panicked"), "{case}");
            if output.status.code() == Some(2) {
                assert!(
                    text.contains("error: ") && text.contains("hint: "),
                    "{case}"
                );
                assert!(!out.exists(), "{case}");
            }
            let _ = fs::remove_file(&out);
        }
    }
}

#[test]
fn a_failed_import_leaves_the_old_file_alone() {
    let dir = TempDir::new().unwrap();
    let out = artifact(dir.path());
    let before = fs::read(&out).unwrap();
    let path = out.to_str().unwrap();
    for options in [
        ["--labels", "a,b,c"],
        ["--labels", "a,a"],
        ["--input-default", "patient=1"],
        ["--input-default", "nobody=1"],
        ["--preprocess", "keras-xceptoin"],
    ] {
        let text = refused(
            ["import", "fixtures/import/nested.keras", "-o", path]
                .into_iter()
                .chain(options),
        );
        if options[0] == "--preprocess" {
            assert!(text.contains("keras-xception"), "{text}");
        }
    }
    assert_eq!(fs::read(&out).unwrap(), before);
    assert_eq!(names(dir.path()), ["model.safetensors"]);
}

#[test]
fn the_same_import_gives_the_same_bytes() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [a, b] = dirs.each_ref().map(|dir| artifact(dir.path()));
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn a_zip_bomb_is_refused_before_it_is_inflated() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = dir.path().join("bomb.keras");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&bomb).unwrap());
    let deflated = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("config.json", deflated).unwrap();
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..300 {
        archive.write_all(&spaces).unwrap();
    }
    archive.finish().unwrap();
    assert!(
        bomb.metadata().unwrap().len() < 1 << 20,
        "300 MB in a small file"
    );
    let out = dir.path().join("out.safetensors");
    refused([
        "import",
        bomb.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ]);
    assert!(!out.exists());
}

/// 64 kB that are a million numbers.
#[test]
fn a_configuration_of_too_many_values_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = dir.path().join("bomb.keras");
    let mut archive = zip::ZipWriter::new(fs::File::create(&bomb).unwrap());
    let deflated = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("config.json", deflated).unwrap();
    let numbers = format!("{{\"a\": [{}0]}}", "0,".repeat(1_000_000));
    archive.write_all(numbers.as_bytes()).unwrap();
    archive.start_file("model.weights.h5", deflated).unwrap();
    archive.finish().unwrap();
    let text = import_refused(&bomb);
    assert!(text.contains("more than 500000 values"), "{text}");
    // Weights that unpack to a thousand times their size.
    let mut archive = zip::ZipWriter::new(fs::File::create(&bomb).unwrap());
    let nested = fs::File::open(repo("fixtures/import/nested.keras")).unwrap();
    let mut nested = zip::ZipArchive::new(nested).unwrap();
    let config = nested.by_name("config.json").unwrap();
    archive.raw_copy_file(config).unwrap();
    archive.start_file("model.weights.h5", deflated).unwrap();
    for _ in 0..40 {
        archive.write_all(&vec![0; 1 << 20]).unwrap();
    }
    archive.finish().unwrap();
    let text = import_refused(&bomb);
    assert!(text.contains("the limit is 16777216"), "{text}");
}

/// Opening a pipe waits until somebody writes into it.
#[test]
fn pipes_and_devices_are_refused_as_models() {
    let dir = TempDir::new().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [&pipe, Path::new("/dev/zero")] {
        for text in [import_refused(path), model_refused(path)] {
            assert!(text.contains("regular file"), "{text}");
        }
        let path = path.to_str().unwrap();
        for command in ["inspect", "export", "estimate"] {
            let out = dir.path().join("out");
            let mut arguments = vec![command, path];
            if command == "export" {
                arguments.extend(["-o", out.to_str().unwrap()]);
            }
            assert!(refused(arguments).contains("regular file"));
        }
        refused(["diff", "models/demo.safetensors", path]);
    }
}

#[test]
fn photos_and_models_are_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let photo = dir.path().join("photo.jpg");
    std::fs::copy("fixtures/images/mel_00.jpg", &photo).unwrap();
    let model = dir.path().join("model.safetensors");
    std::fs::copy("models/demo.safetensors", &model).unwrap();
    let before = std::fs::read(&photo).unwrap();
    let photo_name = photo.to_str().unwrap();
    refused(["predict", photo_name, "--gradcam", photo_name]);
    let model_name = model.to_str().unwrap();
    refused([
        "predict",
        photo_name,
        "--model",
        model_name,
        "--raw-map",
        model_name,
    ]);
    let map = dir.path().join("map");
    let map = map.to_str().unwrap();
    refused(["predict", photo_name, "--gradcam", map, "--raw-map", map]);
    assert_eq!(std::fs::read(&photo).unwrap(), before);
}

/// Runs the program with 1.5 GB of address space, so that a larger allocation fails. Before these
/// texts were bounded, they took 2 GB and more.
#[cfg(target_os = "linux")]
fn refused_in_little_memory(args: &[&std::ffi::OsStr]) -> String {
    let started = std::time::Instant::now();
    let mut command = assert_cmd::Command::new("sh");
    let output = command
        .args(["-c", "ulimit -v 1500000; exec \"$@\"", "sh"])
        .arg(dermal().get_program())
        .args(args)
        .env("NO_COLOR", "1")
        // Without this, threads reserve 64 MB each and never use it.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RAYON_NUM_THREADS", "2")
        .current_dir(repo("."))
        .timeout(std::time::Duration::from_mins(2))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let shown: String = text.chars().take(2_000).collect();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {shown}");
    assert!(
        text.contains("error: ") && text.contains("hint: "),
        "{shown}"
    );
    assert!(text.len() < 2_000, "the message repeats its input: {shown}");
    assert!(
        started.elapsed().as_secs() < 60,
        "{args:?} took {:?}",
        started.elapsed()
    );
    text
}

/// A list that is written once and referred to 9,000 times.
#[cfg(target_os = "linux")]
fn aliases() -> String {
    format!(
        "mean: &a [{}]\nstd: [{}]\n",
        "0, ".repeat(9_000),
        "*a, ".repeat(9_000)
    )
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_of_yaml_are_refused_in_little_memory() {
    let dir = TempDir::new().unwrap();
    let bomb = dir.path().join("bomb.yaml");
    let out = dir.path().join("out.safetensors");
    for (text, says) in [
        (aliases(), "an anchor"),
        ("[".repeat(60_000), "nested deeper than"),
        ("- ".repeat(30_000), "nested deeper than"),
        (format!("scale: \"{}\"", "9".repeat(60_000)), "a number"),
        (format!("{}: 1", "k".repeat(900)), "unknown field `kkk"),
        ("<<: [{}]".to_owned(), "a merge key"),
        ("x".repeat(1 << 20), "more than 65536 bytes"),
        ("\0".to_owned(), "expected UTF-8"),
    ] {
        fs::write(&bomb, &text).unwrap();
        for args in [
            [
                "import".as_ref(),
                "fixtures/import/nested.keras".as_ref(),
                "--preprocess".as_ref(),
                bomb.as_os_str(),
                "-o".as_ref(),
                out.as_os_str(),
            ],
            [
                "predict".as_ref(),
                PHOTO.as_ref(),
                "--fields".as_ref(),
                bomb.as_os_str(),
                "--field".as_ref(),
                "age=3".as_ref(),
            ],
        ] {
            let error = refused_in_little_memory(&args);
            assert!(error.contains("bomb.yaml"), "{error}");
            if args[0] == "import" {
                assert!(error.contains(says), "{says}: {error}");
            }
        }
    }
    assert_eq!(names(dir.path()), ["bomb.yaml"]);
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_of_tables_are_refused_in_little_memory() {
    let dir = TempDir::new().unwrap();
    let table = dir.path().join("bomb.csv");
    let header = "file,label\n";
    for (text, says) in [
        (",".repeat(60 << 20), "more than 1000 columns"),
        (
            format!("{header}{}", ",".repeat(60 << 20)),
            "line 2: more than 1000 columns",
        ),
        (
            format!("{header}{}", "\"\n\",".repeat(15 << 20)),
            "more than 1000 columns",
        ),
        (format!("file\n{}", "a\n".repeat(31 << 20)), "too many rows"),
        (format!("{header}{},nv", "a".repeat(60 << 20)), ""),
        (format!("{header}\"{}", "a".repeat(60 << 20)), ""),
    ] {
        fs::write(&table, text).unwrap();
        let args = ["compare", "models/demo.safetensors", "--fixtures"];
        let mut args = args.map(std::ffi::OsStr::new).to_vec();
        args.push(table.as_os_str());
        let error = refused_in_little_memory(&args);
        assert!(error.contains(says), "{says}: {error}");
    }
    // A terabyte; nothing of it is read.
    fs::File::create(&table).unwrap().set_len(1 << 40).unwrap();
    let args = ["compare", "models/demo.safetensors", "--fixtures"];
    let mut args = args.map(std::ffi::OsStr::new).to_vec();
    args.push(table.as_os_str());
    refused_in_little_memory(&args);
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_of_models_are_refused_in_little_memory() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out.safetensors");
    let keras = |config: &str| {
        let path = dir.path().join("bomb.keras");
        let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, text) in [("config.json", config), ("metadata.json", "{}")] {
            archive.start_file(name, options).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        path
    };
    let layers = "{\"class_name\": \"Dense\", \"config\": {\"name\": \"a\"}},".repeat(200_000);
    let sequential = "{\"class_name\": \"Sequential\", \"config\": {\"layers\": [";
    for config in [
        "[".repeat(1 << 20),
        format!("{{\"class_name\": \"{}\"}}", "x".repeat(8 << 20)),
        format!("{sequential}{layers}{{}}]}}}}"),
    ] {
        let path = keras(&config);
        refused_in_little_memory(&[
            "import".as_ref(),
            path.as_ref(),
            "-o".as_ref(),
            out.as_ref(),
        ]);
    }
    // The sizes in an HDF5 file: every dimension now claims a trillion.
    let h5 = fs::read(repo("fixtures/import/nested.h5")).unwrap();
    let path = dir.path().join("bomb.h5");
    let mut tried = 0;
    for (at, window) in h5.windows(16).enumerate().step_by(8) {
        // A dataspace: two dimensions of a weight of this model, each eight bytes.
        let [rows, columns] =
            [&window[..8], &window[8..]].map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        if !(1..=64).contains(&rows) || !(1..=64).contains(&columns) {
            continue;
        }
        let mut bomb = h5.clone();
        bomb[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        fs::write(&path, &bomb).unwrap();
        let mut command = assert_cmd::Command::new("sh");
        let output = command
            .args(["-c", "ulimit -v 1500000; exec \"$@\"", "sh"])
            .arg(dermal().get_program())
            .args([
                "import".as_ref(),
                path.as_os_str(),
                "-o".as_ref(),
                out.as_os_str(),
            ])
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir(repo("."))
            .timeout(std::time::Duration::from_mins(1))
            .output()
            .unwrap();
        // A value on which no weight depends may be anything.
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "byte {at}: {output:?}"
        );
        tried += usize::from(output.status.code() == Some(2));
        let _ = fs::remove_file(&out);
        if tried == 8 {
            break;
        }
    }
    assert!(tried > 0, "no dimension was found");
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_of_artifacts_and_photos_are_refused_in_little_memory() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("bomb");
    let with_header = |length: u64, header: &str| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes
    };
    let wide = format!("{{{}\"z\":0}}", "\"a\":[0],".repeat(800_000));
    for bytes in [
        with_header(u64::MAX, "{}"),
        with_header(1 << 40, "{}"),
        with_header(6 << 20, &"[".repeat(6 << 20)),
        with_header(wide.len() as u64, &wide),
    ] {
        fs::write(&file, bytes).unwrap();
        refused_in_little_memory(&["inspect".as_ref(), file.as_ref()]);
    }
    let jpeg = fs::read(repo("fixtures/golden/preprocess/jpeg_progressive_444.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC2]).unwrap();
    let mut huge = jpeg.clone();
    huge[frame + 5..frame + 9].fill(0xFF);
    // Below the limit on pixels, but each coefficient of a progressive file is kept.
    let mut deep = jpeg.clone();
    deep[frame + 5..frame + 9].copy_from_slice(&[0x1B, 0x58, 0x1B, 0x58]);
    // The last scan repeated, each one a pass over all coefficients.
    let scan = jpeg.windows(2).rposition(|w| w == [0xFF, 0xDA]).unwrap();
    let mut scans = jpeg[..jpeg.len() - 2].to_vec();
    for _ in 0..20_000 {
        scans.extend(&jpeg[scan..jpeg.len() - 2]);
    }
    for (bytes, says) in [
        (huge, "65535x65535 pixels"),
        (deep, "bytes of memory"),
        (scans, ""),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = refused_in_little_memory(&["predict".as_ref(), file.as_ref()]);
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_missing_file_is_called_missing() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out.safetensors");
    let import = |recipe: &str| {
        refused([
            "import".as_ref(),
            "fixtures/import/nested.keras".as_ref(),
            "--preprocess".as_ref(),
            recipe.as_ref(),
            "-o".as_ref(),
            out.as_os_str(),
        ])
    };
    for recipe in ["/nofile.yaml", "nofile.yml", "folder/recipe", "recipe.json"] {
        let text = import(recipe);
        assert!(
            text.contains(&format!("there is no file `{recipe}`")),
            "{text}"
        );
        assert!(text.contains("hint: check the path"), "{text}");
        assert!(!text.contains("there is no preprocessing preset"), "{text}");
    }
    let text = import("xception");
    assert!(text.contains("did you mean `keras-xception`?"), "{text}");
    let text = import(&"y".repeat(10_000));
    assert!(text.len() < 2_000, "{text}");
    let text = refused(["predict", PHOTO, "--fields", "/nofile.yaml"]);
    assert!(text.contains("there is no file `/nofile.yaml`"), "{text}");
    assert!(text.contains("hint: check the path"), "{text}");
}
