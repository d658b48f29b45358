//! Import of the small models in `fixtures/import` (written by `scripts/make-import-fixtures.py`)
//! in every format, and of damaged copies of them.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]

use std::io::Write;
use std::path::{Path, PathBuf};

use dermal::Hint;
use dermal::graph::Graph;
use dermal::import::{ImportError, ImportOptions, Imported, Limits, import};
use tempfile::NamedTempFile;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/import")
        .join(name)
}

fn with_config(config: Option<PathBuf>) -> ImportOptions {
    ImportOptions {
        config,
        ..ImportOptions::default()
    }
}

fn load(name: &str, config: Option<&str>) -> Result<Imported, ImportError> {
    let options = with_config(config.map(fixture));
    import(&fixture(name), &options, &mut |_| {})
}

fn import_bytes(bytes: &[u8], options: &ImportOptions) -> Result<Imported, ImportError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    import(file.path(), options, &mut |_| {})
}

fn outline(graph: &Graph) -> Vec<(String, &'static str, Vec<usize>)> {
    graph
        .nodes()
        .iter()
        .map(|n| (n.name.clone(), n.op.name(), n.shape.dims().to_vec()))
        .collect()
}

/// The formats in which the one model is saved.
const FORMATS: [(&str, Option<&str>); 3] = [
    ("nested.keras", None),
    ("nested.h5", None),
    ("nested.weights.h5", Some("nested.json")),
];

#[test]
fn every_format_gives_the_same_graph() {
    let expected: [(&str, &str, &[usize]); 18] = [
        ("photo", "Input", &[9, 9, 3]),
        ("patient", "Input", &[3]),
        ("backbone/rescale", "ScaleShift", &[9, 9, 3]),
        ("backbone/stem", "Conv", &[5, 5, 4]),
        ("backbone/stem/activation", "Activation", &[5, 5, 4]),
        ("backbone/pool", "MaxPool", &[4, 4, 4]),
        (
            "backbone/block/separable/depthwise",
            "DepthwiseConv",
            &[4, 4, 4],
        ),
        ("backbone/block/separable", "Conv", &[4, 4, 4]),
        ("backbone/block/bn", "ScaleShift", &[4, 4, 4]),
        ("multiply", "ScaleShift", &[4, 4, 4]),
        ("average", "GlobalAveragePool", &[4]),
        ("shared", "Gemm", &[3]),
        ("shared/activation", "Activation", &[3]),
        ("shared:1", "Gemm", &[3]),
        ("shared:1/activation", "Activation", &[3]),
        ("join", "Concat", &[7]),
        ("head", "Gemm", &[2]),
        ("head/activation", "Softmax", &[2]),
    ];
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(name, op, shape)| ((*name).to_owned(), *op, shape.to_vec()))
        .collect();
    expected.sort();
    for (name, config) in FORMATS {
        let imported = load(name, config).unwrap();
        let mut got = outline(&imported.graph);
        got.sort();
        assert_eq!(got, expected, "{name}");
        let output = imported.graph.node(imported.graph.output());
        assert_eq!(output.name, "head/activation", "{name}");
    }
}

#[test]
fn every_format_gives_the_same_weights() {
    let first = load("nested.keras", None).unwrap().graph;
    for (name, config) in &FORMATS[1..] {
        let other = load(name, *config).unwrap().graph;
        assert_eq!(
            first.tensors.keys().collect::<Vec<_>>(),
            other.tensors.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (key, tensor) in &first.tensors {
            assert_eq!(tensor.bytes(), other.tensors[key].bytes(), "{name}: {key}");
        }
    }
    // The script numbers all weights in the order of the model: the stem's kernel comes first (k/97
    // + 0.01), its bias after 3 * 3 * 3 * 4 = 108 numbers.
    let near = |key: &str, index: usize, k: f32| {
        let got = first.tensors[key].as_f32().unwrap()[index];
        assert!(
            (got - (k % 97.0 / 97.0 + 0.01)).abs() < 1e-6,
            "{key}: {got}"
        );
    };
    near("backbone/stem/kernel", 0, 0.0);
    near("backbone/stem/kernel", 107, 107.0);
    near("backbone/stem/bias", 3, 111.0);
    near("backbone/block/separable/depthwise_kernel", 0, 112.0);
    near("backbone/block/separable/pointwise_kernel", 15, 163.0);
}

#[test]
fn layers_are_named_by_their_paths() {
    let graph = load("nested.keras", None).unwrap().graph;
    let at = |name: &str| {
        let found = graph.find_layer(name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        graph.node(found[0].0).name.clone()
    };
    // A layer's output is after its activation; training-only layers are at their input.
    assert_eq!(at("backbone/stem"), "backbone/stem/activation");
    assert_eq!(at("separable"), "backbone/block/separable");
    assert_eq!(at("backbone/block/dropout"), "backbone/block/bn");
    assert_eq!(at("backbone"), "backbone/block/bn");
    assert_eq!(at("backbone/inner_input"), "photo");
    assert_eq!(at("shared:1"), "shared:1/activation");
    assert_eq!(at("head"), "head/activation");
}

#[test]
fn the_format_and_progress_are_told() {
    let mut seen = Vec::new();
    let path = fixture("nested.keras");
    let options = ImportOptions::default();
    let imported = import(&path, &options, &mut |p| seen.push(p)).unwrap();
    let version = imported.source_format.strip_prefix("keras 3.").unwrap();
    assert!(version.ends_with(" (.keras)"), "{version}");
    let last = seen.last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
    assert!(seen.windows(2).all(|w| w[0].done_bytes <= w[1].done_bytes));
}

#[test]
fn weights_alone_ask_for_the_layers() {
    let error = load("nested.weights.h5", None).unwrap_err();
    assert_eq!(error.kind(), "needs_config");
    assert!(error.hint().contains("--config"));
    let error = load("nested.keras", Some("nested.json")).unwrap_err();
    assert_eq!(error.kind(), "config_twice");
}

/// Applies an edit to the JSON and imports the weights with it.
fn edited(from: &str, to: &str) -> ImportError {
    let json = std::fs::read_to_string(fixture("nested.json")).unwrap();
    assert!(json.contains(from), "{from} is not in nested.json");
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(json.replace(from, to).as_bytes()).unwrap();
    let options = with_config(Some(file.path().to_owned()));
    import(&fixture("nested.weights.h5"), &options, &mut |_| {}).unwrap_err()
}

#[test]
fn what_cannot_be_reproduced_is_refused_by_name() {
    struct Case {
        from: &'static str,
        to: &'static str,
        kind: &'static str,
        says: &'static str,
    }
    let case = |from, to, kind, says| Case {
        from,
        to,
        kind,
        says,
    };
    for c in [
        case(
            r#""class_name": "Rescaling""#,
            r#""class_name": "Lambda""#,
            "unsupported_layer",
            "layer `backbone/rescale` (Lambda) is not supported",
        ),
        case(
            r#""class_name": "MaxPooling2D""#,
            r#""class_name": "MyPooling""#,
            "unsupported_layer",
            "layer `backbone/pool` (MyPooling) is not supported",
        ),
        case(
            r#""data_format": "channels_last""#,
            r#""data_format": "channels_middle""#,
            "unsupported_value",
            "`data_format` is `channels_middle`, expected `channels_last` or `channels_first`",
        ),
        case(
            r#""activation": "tanh""#,
            r#""activation": "my_tanh""#,
            "unsupported_value",
            "layer `shared` (Dense): `activation` is `my_tanh`, expected a built-in activation",
        ),
        case(
            r#""padding": "same""#,
            r#""padding": "causal""#,
            "unsupported_value",
            "`padding` is `causal`",
        ),
        case(
            r#""use_bias": true"#,
            r#""brand_new_option": 3, "use_bias": true"#,
            "unsupported_value",
            "`brand_new_option` is `3`, expected no such attribute",
        ),
        case(
            r#""units": 2"#,
            r#""units": 5"#,
            "weight_shape",
            "layer `head` (Dense): weight `kernel`: expected [7, 5], got [7, 2]",
        ),
        case(
            r#""pool_size": [2, 2]"#,
            r#""pool_size": [0, 2]"#,
            "unsupported_value",
            "`pool_size` is `[0,2]`",
        ),
        case(
            r#""pool_size": [2, 2]"#,
            r#""pool_size": [50, 2]"#,
            "graph",
            "layer `backbone/pool` (MaxPooling2D) does not fit its inputs",
        ),
        case(
            r#""keras_history": ["average", 0, 0]"#,
            r#""keras_history": ["nobody", 0, 0]"#,
            "config",
            "its input `nobody` is never computed",
        ),
        case(
            r#""keras_history": ["average", 0, 0]"#,
            r#""keras_history": ["head", 0, 0]"#,
            "config",
            "is never computed",
        ),
        case(
            r#""batch_shape": [null, 9, 9, 3]"#,
            r#""batch_shape": [null, null, null, 3]"#,
            "input_size",
            "input `photo` has shape [None, None, 3]: rows and columns are not known",
        ),
        case(
            r#""output_layers": ["head", 0, 0]"#,
            r#""output_layers": [["head", 0, 0], ["join", 0, 0]]"#,
            "outputs",
            "the model has 2 outputs (head, join), expected 1",
        ),
        case(
            r#""center": true"#,
            r#""center": false"#,
            "unused_weights",
            "belongs to no layer of the model",
        ),
        case(
            r#""use_bias": false"#,
            r#""use_bias": true"#,
            "missing_weights",
            "layer `backbone/block/separable` (SeparableConv2D): weight `bias` is missing",
        ),
    ] {
        let error = edited(c.from, c.to);
        assert_eq!(error.kind(), c.kind, "{}: {error}", c.to);
        assert!(
            error.to_string().contains(c.says),
            "expected `{}`, got `{error}`",
            c.says
        );
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn an_open_input_takes_the_size_that_is_given() {
    let json = std::fs::read_to_string(fixture("nested.json")).unwrap();
    let open = json.replace("[null, 9, 9, 3]", "[null, null, null, 3]");
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(open.as_bytes()).unwrap();
    let size = |input_size| ImportOptions {
        input_size,
        ..with_config(Some(file.path().to_owned()))
    };
    let path = fixture("nested.weights.h5");
    let imported = import(&path, &size(Some([12, 10])), &mut |_| {}).unwrap();
    let (_, photo) = imported.graph.inputs().next().unwrap();
    assert_eq!(photo.shape.dims(), [12, 10, 3]);
    // A size that the model does not leave open is an error and is not ignored.
    let fixed = ImportOptions {
        input_size: Some([12, 10]),
        ..ImportOptions::default()
    };
    let error = import(&fixture("nested.keras"), &fixed, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), "input_size");
}

#[test]
fn limits_are_kept() {
    let tight = |limits| ImportOptions {
        limits,
        ..ImportOptions::default()
    };
    for limits in [
        Limits {
            max_file_bytes: 1000,
            ..Limits::default()
        },
        Limits {
            max_config_bytes: 1000,
            ..Limits::default()
        },
        Limits {
            max_weight_bytes: 100,
            ..Limits::default()
        },
    ] {
        for name in ["nested.keras", "nested.h5"] {
            let options = tight(limits.clone());
            let error = import(&fixture(name), &options, &mut |_| {}).unwrap_err();
            assert_eq!(error.kind(), "too_large", "{name} {limits:?}: {error}");
        }
    }
}

#[test]
fn truncated_files_are_refused() {
    for (name, config) in FORMATS {
        let options = with_config(config.map(fixture));
        let bytes = std::fs::read(fixture(name)).unwrap();
        for i in 0..300 {
            let len = bytes.len() * i / 300;
            let error = import_bytes(&bytes[..len], &options);
            assert!(error.is_err(), "{name} cut to {len} of {}", bytes.len());
        }
    }
}

/// A flipped bit may not be noticed in an `.h5`, which has no checksums; it must not cause a panic
/// or a hang.
#[test]
fn flipped_bytes_never_panic() {
    for (name, config) in FORMATS {
        let options = with_config(config.map(fixture));
        let original = std::fs::read(fixture(name)).unwrap();
        let mut bytes = original.clone();
        let step = (original.len() / 500).max(1);
        for at in (0..original.len()).step_by(step) {
            for mask in [0x01, 0x80, 0xff] {
                bytes[at] ^= mask;
                if let Ok(imported) = import_bytes(&bytes, &options) {
                    assert_eq!(imported.graph.inputs().count(), 2, "{name} at {at}");
                }
                bytes[at] = original[at];
            }
        }
    }
}

#[test]
fn a_flipped_weight_in_a_keras_file_is_found() {
    let mut bytes = std::fs::read(fixture("nested.keras")).unwrap();
    // The stem's kernel starts with 0/97 + 0.01, 1/97 + 0.01, ...
    let pattern: Vec<u8> = (0..4u8)
        .flat_map(|k| (f64::from(k) / 97.0 + 0.01).to_bits().to_le_bytes())
        .collect();
    let as_f32: Vec<u8> = pattern
        .chunks(8)
        .flat_map(|b| {
            #[expect(clippy::cast_possible_truncation, reason = "as Keras stored it")]
            let value = f64::from_le_bytes(b.try_into().unwrap()) as f32;
            value.to_le_bytes()
        })
        .collect();
    let at = bytes
        .windows(as_f32.len())
        .position(|w| w == as_f32)
        .expect("the kernel lies uncompressed in the file");
    bytes[at + 2] ^= 0x10;
    let error = import_bytes(&bytes, &ImportOptions::default()).unwrap_err();
    assert_eq!(error.kind(), "archive");
    assert!(error.hint().contains("damaged"));
}

#[test]
fn files_as_they_really_arrive_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = import(folder.path(), &ImportOptions::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), "format");
    let missing = folder.path().join("none.keras");
    let error = import(&missing, &ImportOptions::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), "io");
    let error = import_bytes(b"", &ImportOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is empty, not a model file that can be imported")
    );
    std::fs::create_dir(folder.path().join("variables")).unwrap();
    std::fs::File::create(folder.path().join("saved_model.pb")).unwrap();
    let error = import(folder.path(), &ImportOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("SavedModel"));
}

/// A zip of fixture files and texts.
fn zip_of(files: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// As Teachable Machine exports it: `keras_model.h5` and `labels.txt`; also if the folder was
/// packed again, on Windows or macOS.
#[test]
fn a_model_packed_with_its_labels_is_read_as_it_is() {
    let model = std::fs::read(fixture("nested.h5")).unwrap();
    let expected = outline(&load("nested.h5", None).unwrap().graph);
    let labels: &[u8] = b"0 Benign\n1 Malignant\n";
    for (folder, others) in [
        ("", &[][..]),
        (
            "converted_keras/",
            &["__MACOSX/converted_keras/._keras_model.h5"][..],
        ),
        ("converted_keras\\", &["desktop.ini"][..]),
    ] {
        let names = ["keras_model.h5", "labels.txt"].map(|name| format!("{folder}{name}"));
        let mut files = vec![(names[0].as_str(), model.as_slice()), (&names[1], labels)];
        files.extend(others.iter().map(|name| (*name, &b"x"[..])));
        for method in [
            zip::CompressionMethod::Stored,
            zip::CompressionMethod::Deflated,
        ] {
            let bytes = zip_of(&files, method);
            let imported = import_bytes(&bytes, &ImportOptions::default()).unwrap();
            assert_eq!(outline(&imported.graph), expected, "{names:?}");
            assert_eq!(imported.labels.unwrap().bytes, labels, "{names:?}");
            assert_eq!(imported.source_bytes, bytes.len() as u64);
        }
    }
    let alone = zip_of(&[("a/best.hdf5", &model)], zip::CompressionMethod::Stored);
    let imported = import_bytes(&alone, &ImportOptions::default()).unwrap();
    assert_eq!(imported.labels, None);
    // A damaged model inside names the entry.
    let cut = zip_of(
        &[("keras_model.h5", &model[..5000])],
        zip::CompressionMethod::Stored,
    );
    let error = import_bytes(&cut, &ImportOptions::default()).unwrap_err();
    assert_eq!(error.kind(), "hdf5", "{error}");
}

#[test]
fn what_else_a_zip_holds_is_named() {
    let keras = std::fs::read(fixture("nested.keras")).unwrap();
    let weights = std::fs::read(fixture("nested.weights.h5")).unwrap();
    let json = std::fs::read(fixture("nested.json")).unwrap();
    let method = zip::CompressionMethod::Stored;
    for (files, found, hint) in [
        (
            &[("final_model.keras", keras.as_slice())][..],
            "holds a Keras file, `final_model.keras`",
            "unzip it, and import `final_model.keras`",
        ),
        (
            &[
                ("my/model.weights.h5", weights.as_slice()),
                ("my/config.json", json.as_slice()),
            ],
            "the parts of a `.keras` file in a folder, `my/config.json`",
            "without the folder",
        ),
        (
            &[
                ("my/saved_model.pb", b"x"),
                ("my/variables/variables.index", b"x"),
            ],
            "a TensorFlow SavedModel, `my/saved_model.pb`",
            "model.save(",
        ),
    ] {
        let error = import_bytes(&zip_of(files, method), &ImportOptions::default()).unwrap_err();
        assert_eq!(error.kind(), "format");
        assert!(error.to_string().contains(found), "{error}");
        assert!(error.hint().contains(hint), "{}", error.hint());
    }
}

#[test]
fn an_output_is_chosen_by_its_name() {
    let two = r#""output_layers": [["head", 0, 0], ["average", 0, 0], ["average", 0, 0]]"#;
    let json = std::fs::read_to_string(fixture("nested.json")).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    let edited = json.replace(r#""output_layers": ["head", 0, 0]"#, two);
    assert_ne!(edited, json);
    file.write_all(edited.as_bytes()).unwrap();
    let choose = |output: Option<&str>| {
        let options = ImportOptions {
            output: output.map(str::to_owned),
            ..with_config(Some(file.path().to_owned()))
        };
        import(&fixture("nested.weights.h5"), &options, &mut |_| {})
    };
    let error = choose(None).unwrap_err();
    assert_eq!(error.kind(), "outputs");
    let hint = error.hint();
    for listed in [
        "`--output-name NAME`",
        "`head` [2]",
        "`average` [4]",
        "`average:1` [4]",
    ] {
        assert!(hint.contains(listed), "{hint}");
    }
    let error = choose(Some("heads")).unwrap_err();
    assert_eq!(error.to_string(), "the model has no output `heads`");
    assert!(error.hint().contains("`head` [2]"));
    let whole = choose(Some("head")).unwrap().graph;
    assert_eq!(
        outline(&whole),
        outline(&load("nested.keras", None).unwrap().graph)
    );
    // Nodes, inputs and weights that only the other output needs are not in the graph.
    let part = choose(Some("average")).unwrap().graph;
    assert_eq!(part.inputs().count(), 1);
    assert_eq!(part.node(part.output()).name, "average");
    assert!(!part.tensors.contains_key("head/kernel"));
    // A name is checked even if there is only one output.
    let options = ImportOptions {
        output: Some("tail".into()),
        ..ImportOptions::default()
    };
    let error = import(&fixture("nested.keras"), &options, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), "outputs");
}

/// The files of `import/` use each other in one direction, so that a second format can use its
/// parts without the first.
#[test]
fn the_files_of_the_importer_form_no_circle() {
    let uses = uses_of_the_importer();
    assert!(uses.len() > 25, "{}", uses.len());
    let mut left: Vec<&String> = uses.keys().collect();
    // Files that use none of the remaining ones are removed, until none are left.
    loop {
        let before = left.len();
        let kept: Vec<&String> = left
            .iter()
            .copied()
            .filter(|file| uses[*file].iter().any(|used| left.contains(&used)))
            .collect();
        left = kept;
        if left.is_empty() {
            break;
        }
        assert!(left.len() < before, "in a circle or above one: {left:?}");
    }
    let neutral = uses
        .iter()
        .filter(|(file, _)| !file.starts_with("keras") && *file != "mod");
    for (file, used) in neutral {
        let keras = used.iter().find(|used| used.starts_with("keras"));
        assert_eq!(keras, None, "{file}");
        let text = std::fs::read_to_string(importer().join(format!("{file}.rs"))).unwrap();
        assert!(!text.contains("serde_json"), "{file} reads JSON");
    }
}

fn importer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import")
}

/// The text between `use` and `;`.
fn use_statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("pub(super) ").unwrap_or(line);
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let mut so_far = match (open.take(), line.strip_prefix("use ")) {
            (Some(so_far), _) => so_far + line,
            (None, Some(first)) => first.to_owned(),
            (None, None) => continue,
        };
        if so_far.ends_with(';') {
            so_far.pop();
            found.push(so_far);
        } else {
            open = Some(so_far);
        }
    }
    found
}

/// For each file of the importer (`keras/layers/conv`), the files that it names in `use` lines.
fn uses_of_the_importer() -> std::collections::BTreeMap<String, Vec<String>> {
    fn walk(folder: &Path, prefix: &str, into: &mut Vec<(String, PathBuf)>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(&path, &format!("{prefix}{stem}/"), into);
            } else {
                into.push((format!("{prefix}{stem}"), path));
            }
        }
    }
    let mut files = Vec::new();
    walk(&importer(), "", &mut files);
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let known = |path: &[&str]| {
        // The longest beginning of a path that is a file or a folder.
        (1..=path.len()).rev().find_map(|n| {
            let name = path[..n].join("/");
            let folder = format!("{name}/mod");
            [name, folder].into_iter().find(|name| names.contains(name))
        })
    };
    let mut uses = std::collections::BTreeMap::new();
    for (name, path) in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        // The module path that `super` counts from.
        let module: Vec<&str> = name.split('/').filter(|part| *part != "mod").collect();
        let mut used = Vec::new();
        for path in use_statements(text) {
            let path = path.as_str();
            let mut at = module.clone();
            let mut rest = path;
            if let Some(inside) = path.strip_prefix("crate::import::") {
                at.clear();
                rest = inside;
            } else if path.starts_with("super::") {
                while let Some(above) = rest.strip_prefix("super::") {
                    at.pop();
                    rest = above;
                }
            } else if path.contains("::")
                && known(&[&at[..], &[path.split("::").next().unwrap()]].concat()).is_none()
            {
                continue;
            }
            for item in rest.trim_start_matches('{').split(',') {
                let parts: Vec<&str> = item
                    .trim()
                    .split("::")
                    .map(|part| part.trim_matches(['{', '}', ' ']))
                    .collect();
                let full = [&at[..], &parts[..]].concat();
                if let Some(found) = known(&full).filter(|found| found != name) {
                    used.push(found);
                }
                if !rest.starts_with('{') {
                    break;
                }
            }
        }
        uses.insert(name.clone(), used);
    }
    uses
}

/// Models as people publish them, in a folder that is not part of the project.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DERMAL_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

#[test]
fn published_keras_2_models_are_imported() {
    let options = ImportOptions::default();
    if let Some(path) = shared("models/ham7_cnn28std.h5") {
        let imported = import(&path, &options, &mut |_| {}).unwrap();
        assert_eq!(imported.source_format, "keras 2.11.0 (.h5)");
        let output = imported.graph.node(imported.graph.output());
        assert_eq!(output.shape.dims(), [7]);
        assert_eq!(
            imported.graph.tensors["dense/kernel"].shape().dims(),
            [2304, 64]
        );
    }
    // Sequential > Sequential > Functional, weights of the inner ones in one list.
    if let Some(path) = shared("models/bin_tm_mobilenetv2_035_nested.h5") {
        let imported = import(&path, &options, &mut |_| {}).unwrap();
        let graph = &imported.graph;
        assert_eq!(graph.node(graph.output()).shape.dims(), [2]);
        let found = graph.find_layer("sequential_1/model1/out_relu");
        assert_eq!(graph.node(found[0].0).shape.dims(), [7, 7, 1280]);
        let input = graph.inputs().next().unwrap().1;
        assert_eq!(input.name, "sequential_1_input");
    }
}

#[test]
fn published_onnx_models_are_imported_or_refused_by_name() {
    let options = ImportOptions::default();
    for (name, format, input) in [
        (
            "cifar100edge",
            "onnx opset 14 (pytorch 1.13.0, TorchScript)",
            [32, 32, 3],
        ),
        (
            "cnn_mnist",
            "onnx opset 11 (pytorch 2.2.1, TorchScript)",
            [28, 28, 1],
        ),
        ("ham7_cnn28std", "onnx opset", [28, 28, 3]),
        (
            "meso",
            "onnx opset 15 (tf2onnx 1.14.0 8f8d49)",
            [256, 256, 3],
        ),
        (
            "mohtashim_cnn",
            "onnx opset 17 (pytorch 2.1.0, TorchScript)",
            [120, 120, 3],
        ),
    ] {
        let Some(path) = shared(&format!("models/{name}.onnx")) else {
            continue;
        };
        let imported = import(&path, &options, &mut |_| {}).unwrap();
        let found = &imported.source_format;
        assert!(found.starts_with(format), "{name}: {found}");
        let graph = &imported.graph;
        assert_eq!(
            graph.inputs().next().unwrap().1.shape.dims(),
            input,
            "{name}"
        );
        let transposes = graph.nodes().iter().filter(|n| n.op.name() == "Transpose");
        assert_eq!(transposes.count(), 0, "{name}");
    }
    for name in [
        "missing_external_data_resnet50_1class",
        "ecosan",
        "xray_effb0_noext",
    ] {
        let Some(path) = shared(&format!("broken/{name}.onnx")) else {
            continue;
        };
        let error = import(&path, &options, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), "external_data", "{name}: {error}");
        let hint = error.hint();
        assert!(hint.contains("external_data=False"), "{name}: {hint}");
    }
}

#[test]
fn files_of_other_kinds_are_told_apart() {
    for (name, found) in [
        ("broken/lfs_pointer_skin_cancer_model.keras", "git-LFS"),
        ("broken/notmodel1652_skin_cancer_cnn.h5", "web page"),
        ("broken/junk1343_best_model.pth", "PyTorch"),
        ("models/skin9_squeezenet1_1.pth", "PyTorch"),
    ] {
        let Some(path) = shared(name) else { continue };
        let error = import(&path, &ImportOptions::default(), &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), "format", "{name}: {error}");
        assert!(error.to_string().contains(found), "{name}: {error}");
    }
}
