//! `dermal import`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{dermal, fixture, listing, photo};

#[test]
fn a_model_is_imported_to_the_same_bytes_twice_and_then_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source = fixture("import/nested.keras");
    let import = |out: &str| {
        dermal([
            "import",
            source.to_str().unwrap(),
            "-o",
            out,
            "--labels",
            "yes,no",
            "--preprocess",
            "raw",
            "--input-default",
            "patient=0,1,0.5",
        ])
    };
    let (a, b) = (at("a.safetensors"), at("b.safetensors"));
    let ran = import(&a);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stderr, "", "everything was given: no warning");
    assert_eq!(import(&b).code, Some(0));
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    assert_eq!(listing(folder.path()), ["a.safetensors", "b.safetensors"]);

    let answer = |more: &[&str]| {
        let photo = photo("nv_00.jpg");
        let line = ["predict", &a, &photo, "--json"].into_iter();
        let report = dermal(line.chain(more.iter().copied())).json();
        report["images"][0]["predictions"].clone()
    };
    let plain = answer(&[]);
    assert_eq!(plain, answer(&["--input", "patient=0,1,0.5"]));
    assert_ne!(plain, answer(&["--input", "patient=9,-9,9"]));
}

#[test]
fn what_was_not_given_is_said_loudly() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let source = fixture("import/nested.h5");
    let ran = dermal([
        "import".as_ref(),
        source.as_os_str(),
        "-o".as_ref(),
        out.as_os_str(),
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("warning: no labels given"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("class_0, class_1"), "{}", ran.stdout);
}

#[test]
fn a_refused_import_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let out = path.to_str().unwrap();
    fs::copy(fixture("labels.csv"), &path).unwrap();
    let source = fixture("import/nested.keras");
    let source = source.to_str().unwrap();
    let weights = fixture("import/nested.weights.h5");
    let weights = weights.to_str().unwrap();
    for (args, says) in [
        (&[source, "--labels", "a"][..], "1 labels"),
        (&[source, "--labels", "a,a"], "twice"),
        (
            &[source, "--preprocess", "keras-exception"],
            "keras-xception",
        ),
        (&[source, "--input-default", "pat=1"], "no input `pat`"),
        (
            &[source, "--input-default", "patient=1"],
            "expected 3 values",
        ),
        (&[weights], "--config"),
        (&[&photo("nv_00.jpg")], "hint: "),
        (&["no-such.keras"], "no-such.keras"),
    ] {
        let line = ["import", "-o", out]
            .into_iter()
            .chain(args.iter().copied());
        let ran = dermal(line);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{args:?}: {}", ran.stderr);
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(fixture("labels.csv")).unwrap(),
            "{args:?}"
        );
        assert_eq!(listing(folder.path()), ["m.safetensors"], "{args:?}");
    }
}

#[test]
fn supported_layers_are_listed() {
    let ran = dermal(["import", "--list-ops"]);
    assert_eq!(ran.code, Some(0));
    for layer in [
        "SeparableConv2D",
        "BatchNormalization",
        "Dense",
        "GlobalAveragePool",
    ] {
        assert!(ran.stdout.contains(layer), "{layer}");
    }
    for format in ["keras", "onnx", "tflite"] {
        let rows = ran
            .stdout
            .lines()
            .filter(|line| line.trim_start().starts_with(format));
        assert!(rows.count() > 50, "{format}");
    }
}

/// An ONNX file in `folder`, with its data if it has some.
fn onnx(folder: &Path, name: &str) -> PathBuf {
    let data = format!("{name}.data");
    let from = |name: &str| fixture("import/onnx").join(name);
    if from(&data).exists() {
        fs::copy(from(&data), folder.join(&data)).unwrap();
    }
    fs::copy(from(name), folder.join(name)).unwrap();
    folder.join(name)
}

#[test]
fn an_onnx_file_becomes_a_model_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let source = onnx(folder.path(), "x_metadata.onnx");
    let output = folder.path().join("m.safetensors");
    let ran = dermal([
        "import",
        source.to_str().unwrap(),
        "-o",
        output.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for says in [
        "onnx opset 17 (dermal 1)",
        "photo, unit",
        "benign, malignant",
    ] {
        assert!(ran.stdout.contains(says), "{says}: {}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
    let photo = fixture("golden/preprocess/rgba.png");
    let ran = dermal(["predict", output.to_str().unwrap(), photo.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("malignant"), "{}", ran.stdout);
}

#[test]
fn the_weights_beside_an_onnx_file_are_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let source = onnx(folder.path(), "x_external.onnx");
    let data = folder.path().join("x_external.onnx.data");
    let before = fs::read(&data).unwrap();
    let ran = dermal([
        "import",
        source.to_str().unwrap(),
        "-o",
        data.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(2), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("x_external.onnx.data"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read(&data).unwrap(), before);

    fs::remove_file(&data).unwrap();
    let ran = dermal([
        "import",
        source.to_str().unwrap(),
        "-o",
        folder.path().join("m.safetensors").to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(2));
    let says = "weights are in `x_external.onnx.data`: the file is not there";
    assert!(ran.stderr.contains(says), "{}", ran.stderr);
    assert!(ran.stderr.contains("external_data=False"), "{}", ran.stderr);
}

#[test]
fn the_weights_beside_an_onnx_file_are_part_of_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let source = onnx(folder.path(), "x_external.onnx");
    let data = folder.path().join("x_external.onnx.data");
    let output = folder.path().join("m.safetensors");
    let [source_arg, output_arg] = [&source, &output].map(|path| path.to_str().unwrap());
    // What `cat x_external.onnx x_external.onnx.data | sha256sum` says.
    let of_both = || {
        let both = folder.path().join("both");
        let bytes = [fs::read(&source).unwrap(), fs::read(&data).unwrap()].concat();
        fs::write(&both, bytes).unwrap();
        dermal::file::sha256_of_file(&both, &mut |_, _| {}).unwrap()
    };
    let recorded = || {
        let ran = dermal([
            "import",
            source_arg,
            "-o",
            output_arg,
            "--preprocess",
            "unit",
        ]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let ran = dermal(["inspect", output_arg, "--json"]);
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        document["provenance"]["source_sha256"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = recorded();
    assert_eq!(before, of_both());
    // The sign of one weight.
    let mut bytes = fs::read(&data).unwrap();
    bytes[3] ^= 0x80;
    fs::write(&data, bytes).unwrap();
    let after = recorded();
    assert_ne!(after, before);
    assert_eq!(after, of_both());
}

/// A Keras file like `fixture`, with `change` applied to its configuration.
fn variant(folder: &Path, fixture_name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let source = fs::File::open(fixture(fixture_name)).unwrap();
    let mut source = zip::ZipArchive::new(source).unwrap();
    let path = folder.join("variant.keras");
    let mut target = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut change = Some(change);
    for i in 0..source.len() {
        let mut entry = source.by_index(i).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let name = entry.name().unwrap().into_owned();
        if name == "config.json" {
            let mut config = serde_json::from_slice(&bytes).unwrap();
            change.take().unwrap()(&mut config);
            bytes = serde_json::to_vec(&config).unwrap();
        }
        target.start_file(name, options).unwrap();
        target.write_all(&bytes).unwrap();
    }
    target.finish().unwrap();
    path
}

/// The one model of `fixture_name` with another activation of its last dense layer.
fn with_activation(folder: &Path, fixture_name: &str, activation: &str) -> PathBuf {
    variant(folder, fixture_name, |config| {
        last_layer(config)["config"]["activation"] = activation.into();
    })
}

fn last_layer(config: &mut Value) -> &mut Value {
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers.last_mut().unwrap()
}

/// A Sequential model of four logits, then layers given by class and configuration.
fn with_tail(folder: &Path, tail: &[(&str, Value)]) -> PathBuf {
    variant(folder, "keras/head_sequential.keras", |config| {
        let layers = config["config"]["layers"].as_array_mut().unwrap();
        let softmax = layers.pop().unwrap();
        for (i, (class, settings)) in tail.iter().enumerate() {
            let mut layer = softmax.clone();
            layer["class_name"] = (*class).into();
            let old = layer["config"].take();
            let mut settings = settings.clone();
            settings["name"] = format!("tail_{i}").into();
            settings["dtype"] = old["dtype"].clone();
            layer["config"] = settings;
            layers.push(layer);
        }
    })
}

/// Imports `source` and classifies a photo: the probabilities by class, in the order of labels.
fn answers(source: &Path, more: &[&str]) -> Result<Vec<f64>, String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let (source, out) = (source.to_str().unwrap(), out.to_str().unwrap());
    let line = ["import", source, "-o", out, "--preprocess", "unit"];
    let ran = dermal(line.iter().chain(more));
    if ran.code != Some(0) {
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
        assert!(listing(folder.path()).is_empty());
        return Err(ran.stderr);
    }
    assert!(ran.stdout.contains("answer"), "{}", ran.stdout);
    let report = dermal(["predict", out, &photo("nv_00.jpg"), "--json"]).json();
    let classes = report["images"][0]["predictions"].as_array().unwrap();
    let mut by_index: Vec<(u64, f64)> = classes
        .iter()
        .map(|class| {
            let index = class["index"].as_u64().unwrap();
            (index, class["probability"].as_f64().unwrap())
        })
        .collect();
    by_index.sort_by_key(|pair| pair.0);
    Ok(by_index.into_iter().map(|pair| pair.1).collect())
}

fn close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: {got:?}");
    for (g, e) in got.iter().zip(expected) {
        assert!(
            (g - e).abs() < 2e-6,
            "{what}: {got:?}, expected {expected:?}"
        );
    }
}

#[test]
fn one_output_is_never_a_hundred_percent_of_one_class() {
    let folder = tempfile::tempdir().unwrap();
    // The logit of a model that ends in a sigmoid, from which the others' answers follow.
    let p = answers(&fixture("keras/head_sigmoid.keras"), &[]).unwrap()[1];
    let logit = (p / (1.0 - p)).ln();
    let make = |activation| with_activation(folder.path(), "keras/head_sigmoid.keras", activation);
    let linear = make("linear");
    let refusal = answers(&linear, &[]).unwrap_err();
    for part in ["do not say how", "--head sigmoid", "--head probabilities"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    let both = [1.0 - p, p];
    let two = ["--head", "sigmoid", "--labels", "benign,malignant"];
    close(&answers(&linear, &two).unwrap(), &both, "linear");
    close(
        &answers(&linear, &["--head", "multi-sigmoid"]).unwrap(),
        &[p],
        "one label",
    );
    let refusal = answers(&linear, &["--head", "softmax"]).unwrap_err();
    assert!(refusal.contains("always 1"), "{refusal}");
    let refusal = answers(&linear, &["--head", "sigmoid", "--labels", "malignant"]).unwrap_err();
    assert!(refusal.contains("two classes"), "{refusal}");

    let refusal = answers(&make("softmax"), &[]).unwrap_err();
    assert!(refusal.contains("always 1"), "{refusal}");
    let refusal = answers(&make("softmax"), &["--head", "sigmoid"]).unwrap_err();
    assert!(refusal.contains("always 1"), "{refusal}");

    let hard = (logit / 6.0 + 0.5).clamp(0.0, 1.0);
    let source = make("hard_sigmoid");
    close(
        &answers(&source, &[]).unwrap(),
        &[1.0 - hard, hard],
        "hard sigmoid",
    );
    let one = answers(&source, &["--labels", "malignant"]).unwrap();
    close(&one, &[hard], "hard sigmoid with one label");
    let refusal = answers(&source, &["--head", "sigmoid"]).unwrap_err();
    assert!(refusal.contains("--head probabilities"), "{refusal}");

    for (activation, between) in [
        ("tanh", "from -1 to 1"),
        ("relu", "at 0 or above"),
        ("softplus", "at 0 or above"),
        ("exponential", "at 0 or above"),
        ("elu", "at -1 or above"),
        ("relu6", "from 0 to 6"),
        ("softsign", "from -1 to 1"),
    ] {
        let refusal = answers(&make(activation), &[]).unwrap_err();
        assert!(refusal.contains(between), "{activation}: {refusal}");
        assert!(refusal.contains("--head "), "{activation}: {refusal}");
    }
    let tanh = logit.tanh();
    let q = 1.0 / (1.0 + (-tanh).exp());
    let got = answers(&make("tanh"), &["--head", "sigmoid"]).unwrap();
    close(&got, &[1.0 - q, q], "a sigmoid of tanh, as asked for");
    // Both classes of the sigmoid itself, requested explicitly.
    let got = answers(
        &fixture("keras/head_sigmoid.keras"),
        &["--head", "probabilities"],
    );
    close(&got.unwrap(), &both, "a sigmoid taken as it is");
}

#[test]
fn several_outputs_get_the_head_that_the_graph_or_the_user_says() {
    let folder = tempfile::tempdir().unwrap();
    let source = "keras/head_linear.keras";
    let soft = answers(&with_activation(folder.path(), source, "softmax"), &[]).unwrap();
    let sigmoids = answers(&with_activation(folder.path(), source, "sigmoid"), &[]).unwrap();
    let linear = fixture(source);
    close(&answers(&linear, &[]).unwrap(), &soft, "assumed");
    close(
        &answers(&linear, &["--head", "softmax"]).unwrap(),
        &soft,
        "asked",
    );
    let got = answers(&linear, &["--head", "multi-sigmoid"]).unwrap();
    close(&got, &sigmoids, "a sigmoid each");
    let refusal = answers(&linear, &["--head", "sigmoid"]).unwrap_err();
    assert!(refusal.contains("multi-sigmoid"), "{refusal}");
    // The import states the assumption, and does not make it if the user gives the head.
    let out = folder.path().join("m.safetensors");
    let import = |more: &[&str]| {
        let line = [
            "import",
            linear.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ];
        dermal(line.iter().chain(more))
    };
    let ran = import(&[]);
    assert!(ran.stderr.contains("is assumed"), "{}", ran.stderr);
    assert!(ran.stdout.contains("assumed"), "{}", ran.stdout);
    let ran = import(&["--head", "softmax"]);
    assert!(!ran.stderr.contains("is assumed"), "{}", ran.stderr);
    let inspected = dermal(["inspect", out.to_str().unwrap(), "--json"]).json();
    assert_eq!(inspected["head"], "softmax");
    let options = inspected["provenance"]["options"].as_array().unwrap();
    assert!(options.contains(&"--head softmax".into()), "{options:?}");

    let activation = |name: &str| ("Activation", serde_json::json!({ "activation": name }));
    let rescaling = |scale: f64, offset: f64| {
        let settings = serde_json::json!({ "scale": scale, "offset": offset });
        ("Rescaling", settings)
    };
    let tail = |layers: &[(&str, Value)]| with_tail(folder.path(), layers);
    let four = answers(&tail(&[activation("softmax")]), &[]).unwrap();
    assert!((four.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    let each = answers(&tail(&[activation("sigmoid")]), &[]).unwrap();
    let rest: Vec<f64> = each.iter().map(|p| 1.0 - p).collect();
    let got = answers(&tail(&[activation("sigmoid"), rescaling(-1.0, 1.0)]), &[]);
    close(&got.unwrap(), &rest, "1 - p made in the graph");
    let halves: Vec<f64> = four.iter().map(|p| p / 2.0 + 0.25).collect();
    let got = answers(&tail(&[activation("softmax"), rescaling(0.5, 0.25)]), &[]);
    close(&got.unwrap(), &halves, "smoothed in the graph");
    let refusal = answers(&tail(&[activation("softmax"), rescaling(100.0, 0.0)]), &[]);
    assert!(refusal.unwrap_err().contains("from 0 to 100"));
    let got = answers(&tail(&[activation("sigmoid"), rescaling(2.0, -1.0)]), &[]);
    assert!(got.unwrap_err().contains("from -1 to 1"));
    // A temperature before the softmax is part of the model.
    let got = answers(&tail(&[rescaling(0.0, 1.0), activation("softmax")]), &[]);
    close(&got.unwrap(), &[0.25; 4], "a temperature without end");
    // An output that is not a probability is noticed at import, even if the user says that it is
    // one.
    let percent = tail(&[activation("softmax"), rescaling(100.0, 0.0)]);
    let refusal = answers(&percent, &["--head", "probabilities"]).unwrap_err();
    assert!(refusal.contains("not a probability"), "{refusal}");
    let refusal = answers(
        &tail(&[activation("softmax")]),
        &["--head", "multi-sigmoid"],
    );
    assert!(refusal.unwrap_err().contains("ends in a softmax already"));
}

/// Imports a model of seven classes with a label file, and reads the labels back.
fn labels_of(name: &str, content: &[u8]) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let [file, out] = [name, "m.safetensors"].map(|name| folder.path().join(name));
    fs::write(&file, content).unwrap();
    imported_labels(file.to_str().unwrap(), &out)
}

fn imported_labels(labels: &str, out: &Path) -> Result<Vec<String>, String> {
    let source = fixture("keras/head_linear.keras");
    let (source, out) = (source.to_str().unwrap(), out.to_str().unwrap());
    let ran = dermal([
        "import", source, "-o", out, "--head", "softmax", "--labels", labels,
    ]);
    if ran.code != Some(0) {
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
        return Err(ran.stderr);
    }
    let report = dermal(["inspect", out, "--json"]).json();
    let labels = report["labels"].as_array().unwrap().iter();
    Ok(labels
        .map(|label| label.as_str().unwrap().to_owned())
        .collect())
}

#[test]
fn label_files_of_every_kind_are_read_or_refused_by_name() {
    let utf16: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(
            "akiec\r\nbcc\r\nnævus\r\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        )
        .collect();
    for (name, content, expected) in [
        (
            "bom.txt",
            &b"\xEF\xBB\xBFakiec\r\nbcc\r\nbkl\r\n"[..],
            ["akiec", "bcc", "bkl"],
        ),
        (
            "shuffled.txt",
            b"2 bkl\n0 akiec\n1 bcc\n",
            ["akiec", "bcc", "bkl"],
        ),
        (
            "list.json",
            br#"["akiec", "bcc", "bkl"]"#,
            ["akiec", "bcc", "bkl"],
        ),
        (
            "class_indices.json",
            br#"{"bkl": 2, "akiec": 0, "bcc": 1}"#,
            ["akiec", "bcc", "bkl"],
        ),
        (
            "index.json",
            br#"{"2": "bkl", "0": "akiec", "1": "bcc"}"#,
            ["akiec", "bcc", "bkl"],
        ),
        (
            "list.yaml",
            b"- akiec\n- bcc\n- bkl\n",
            ["akiec", "bcc", "bkl"],
        ),
        (
            "data.yaml",
            b"nc: 3\nnames:\n  0: akiec\n  1: bcc\n  2: bkl\n",
            ["akiec", "bcc", "bkl"],
        ),
        ("one.txt", b"akiec, bcc, bkl\n", ["akiec", "bcc", "bkl"]),
        ("utf16.txt", &utf16, ["akiec", "bcc", "n\u{e6}vus"]),
        (
            "python.txt",
            b"['akiec', 'bcc', 'bkl']",
            ["akiec", "bcc", "bkl"],
        ),
    ] {
        let got = labels_of(name, content).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(got, expected, "{name}");
    }
    for (name, content, says) in [
        (
            "labels.npy",
            &b"\x93NUMPY\x01\x00v\x00{}"[..],
            "NumPy array",
        ),
        ("labels.pkl", b"\x80\x04\x95", "pickle, which is never read"),
        (
            "latin1.txt",
            b"akiec\nbcc\nn\xE6vus\n",
            "line 3 is not UTF-8",
        ),
        (
            "from1.txt",
            b"1 akiec\n2 bcc\n3 bkl\n",
            "outputs count from 0",
        ),
        (
            "twice.json",
            br#"{"0": "a", "0": "b", "1": "c", "2": "d"}"#,
            "key `0` is given twice",
        ),
        (
            "short.json",
            b"[\n \"akiec\",\n \"bcc\"]\n",
            "2 labels were given: akiec, bcc",
        ),
        ("empty.txt", b"", "empty"),
    ] {
        let refusal = labels_of(name, content).unwrap_err();
        assert!(refusal.contains(says), "{name}: {refusal}");
        assert!(
            refusal.contains(name) || refusal.contains("labels were given"),
            "{refusal}"
        );
    }
    let out = std::env::temp_dir().join("never-written.safetensors");
    for missing in [
        "nolabels.txt",
        "folder/labels",
        "labels.json",
        "v1,v2.txt",
        "C:\\labels",
    ] {
        let refusal = imported_labels(missing, &out).unwrap_err();
        assert!(refusal.contains("there is no file"), "{missing}: {refusal}");
    }
    let refusal = imported_labels(std::env::temp_dir().to_str().unwrap(), &out).unwrap_err();
    assert!(refusal.contains("is a folder"), "{refusal}");
    assert!(!out.exists());
}

#[test]
fn pixels_that_are_scaled_twice_or_never_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    // Has Rescaling(1 / 255) or the like at its input.
    let inside = fixture("import/nested.keras");
    let outside = fixture("keras/head_softmax.keras");
    let out = folder.path().join("m.safetensors");
    let recipe = folder.path().join("own.yaml");
    fs::write(&recipe, "scale: 1/255\n").unwrap();
    let warned = |source: &Path, preprocess: Option<&str>| {
        let line = [
            "import",
            source.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ];
        let more = preprocess.into_iter().flat_map(|p| ["--preprocess", p]);
        let ran = dermal(line.into_iter().chain(more));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stderr
    };
    for preset in [
        "unit",
        "signed-unit",
        "keras-mobilenet-v2",
        "imagenet-torchvision",
    ] {
        let text = warned(&inside, Some(preset));
        assert!(
            text.contains(&format!("`{preset}` scales the pixels")),
            "{text}"
        );
        assert!(text.contains("--preprocess raw"), "{text}");
        assert!(
            !warned(&outside, Some(preset)).contains("scale"),
            "{preset}"
        );
    }
    let text = warned(&inside, Some(recipe.to_str().unwrap()));
    assert!(text.contains("`own.yaml` scales the pixels"), "{text}");
    for preset in [Some("raw"), Some("keras-efficientnet"), None] {
        assert!(!warned(&inside, preset).contains("scale"), "{preset:?}");
    }
    assert!(warned(&outside, None).contains("does not scale them itself"));
}

#[test]
fn a_recipe_that_is_no_file_is_named_and_a_fraction_is_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source = fixture("keras/head_softmax.keras");
    let import = |recipe: &str| {
        let out = at("m.safetensors");
        dermal([
            "import",
            source.to_str().unwrap(),
            "-o",
            &out,
            "--preprocess",
            recipe,
        ])
    };
    import("nofile.yaml").refuses(&["there is no file `nofile.yaml`", "hint: "]);
    import("/no/such/preset").refuses(&["there is no file", "hint: "]);
    for (text, says) in [
        (&b"rescale: 1/255\n"[..], "`scale`"),
        (b"preset: \xFF\n", "recipe.yaml"),
        (b"scale: 1/0\n", "scale"),
        (b"scale: 1 / 2 / 3\n", "scale"),
    ] {
        fs::write(at("recipe.yaml"), text).unwrap();
        import(&at("recipe.yaml")).refuses(&[says, "hint: "]);
    }
    fs::write(
        at("recipe.yaml"),
        "scale: 1/255\nmean: [1/2, 0.5, 0.5]\nstd: 1/4\n",
    )
    .unwrap();
    let ran = import(&at("recipe.yaml"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = dermal(["inspect", &at("m.safetensors"), "--json"]).json();
    let recipe = &report["inputs"][0]["preprocessing"];
    assert_eq!(recipe["scale"], 1.0 / 255.0);
    assert_eq!(recipe["mean"], serde_json::json!([0.5, 0.5, 0.5]));
    assert_eq!(recipe["std"], serde_json::json!([0.25, 0.25, 0.25]));
}

#[test]
fn a_dry_run_says_what_is_in_a_file_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dry = |source: &std::path::Path| {
        let output = super::command()
            .args(["import".as_ref(), source.as_os_str()])
            .args(["--dry-run", "--json"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        super::Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let keras = fixture("import/nested.keras");
    let ran = dry(&keras);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["importable"], true);
    assert_eq!(report["warnings"][0]["kind"], "no_labels");
    // The size is that of the file that would be written.
    let out = folder.path().join("made.safetensors");
    let (source, made) = (keras.to_str().unwrap(), out.to_str().unwrap());
    assert_eq!(dermal(["import", source, "-o", made]).code, Some(0));
    let bytes = out.metadata().unwrap().len();
    assert_eq!(report["model"]["artifact_bytes"], bytes);
    std::fs::remove_file(&out).unwrap();

    let ran = dry(&fixture("import/onnx/refused_unknown.onnx"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["importable"], false);
    assert_eq!(report["problem"]["kind"], "unsupported_operators");
    let listed = report["unsupported"].as_array().unwrap();
    let counts: Vec<_> = listed.iter().map(|o| (&o["name"], &o["count"])).collect();
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert_eq!(
        (counts[1].0, counts[1].1),
        (&"custom.Mystery".into(), &2.into())
    );

    dry(&fixture("README.md")).refuses(&["README.md", "hint: "]);
    assert_eq!(super::listing(folder.path()), Vec::<String>::new());
}

/// Each way in which a model can be quantized already, and what the other commands make of it.
#[test]
fn a_quantized_model_works_with_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let photo = photo("nv_00.jpg");
    for (way, source_says) in [
        ("qdq_channel", ", int8"),
        ("op", ", int8"),
        ("dynamic_i8", ", int8 weights; values are not rounded"),
    ] {
        let source = fixture(&format!("import/onnx_quantized/classifier_{way}.onnx"));
        let model = at(&format!("{way}.safetensors"));
        let labels = "a,b,c,d,e,f,g";
        let ran = dermal([
            "import",
            source.to_str().unwrap(),
            "-o",
            &model,
            "--labels",
            labels,
            "--preprocess",
            "imagenet-torchvision",
            "--head",
            "softmax",
        ]);
        assert_eq!(ran.code, Some(0), "{way}: {}", ran.stderr);
        assert!(ran.stdout.contains(source_says), "{way}: {}", ran.stdout);
        let report = dermal(["inspect", &model, "--json"]).json();
        let text = report.to_string();
        assert!(text.contains(source_says), "{way}: {text}");
        let map = at("map.png");
        let report = dermal(["predict", &model, &photo, "--gradcam", &map, "--json"]).json();
        let classes = report["images"][0]["predictions"].as_array().unwrap();
        assert_eq!(classes.len(), 7, "{way}");
        assert!(fs::metadata(&map).unwrap().len() > 100, "{way}");
        assert_eq!(
            dermal(["estimate", &model, "--json"]).code,
            Some(0),
            "{way}"
        );
        let again = at("again.safetensors");
        let ran = dermal(["quantize", &model, "-o", &again, "--to", "fp16"]);
        assert_eq!(ran.code, Some(2), "{way}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("the model is INT8 already"),
            "{way}: {}",
            ran.stderr
        );
    }
}
