//! What each fuzz target does with an input, and which promises it checks. libFuzzer runs these
//! functions on new inputs (`fuzz/`), the tests on the kept ones (`tests/library/fuzz_corpus.rs`).
//!
//! A target panics if a promise is broken. Promises of every target: no panic, and every refusal has
//! a kind, a message and a hint. Of a model that is accepted: it can be written and read again, and
//! the file does not change by it; its plan is no larger than its values together; its answer to a
//! small photo is finite or an error that has a name; what is exported can be imported.

use std::cell::OnceCell;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use dermal::artifact::{self, FieldMapping, Model, Preprocessing, VectorInput};
use dermal::engine::{Engine, Options};
use dermal::graph::Graph;
use dermal::import::{Import, ImportError, ImportOptions, import, labels};
use dermal::predict::selftest;
use dermal::text::{self, Aliases};
use dermal::{Hint, Limits, export};

/// A name, and what is done with an input.
type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: [Target; 7] = [
    ("photo", photo),
    ("keras", keras),
    ("h5", h5),
    ("artifact", artifact),
    ("yaml", yaml),
    ("onnx", onnx),
    ("tflite", tflite),
];

/// Models above this are only read: an execution must take milliseconds.
const MAX_MACS: u64 = 20_000_000;

/// Elements of all values together.
const MAX_VALUES: usize = 1 << 20;

/// A folder of this thread that goes with it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a folder for temporary files");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

thread_local! {
    static SCRATCH: OnceCell<Scratch> = const { OnceCell::new() };
}

fn with_scratch(run: impl FnOnce(&Scratch)) {
    SCRATCH.with(|scratch| {
        run(scratch
            .get_or_init(|| Scratch(tempfile::tempdir().expect("a folder for temporary files"))));
    });
}

/// A refusal says what is wrong and what to do.
fn named(error: &dyn Hint) {
    assert!(!error.kind().is_empty());
    assert!(!error.to_string().is_empty());
    assert!(!error.hint().is_empty(), "no hint: {error}");
}

/// Photos: JPEG, PNG, WebP, BMP.
pub fn photo(bytes: &[u8]) {
    let limits = Limits {
        max_pixels: 1 << 19,
        max_memory_bytes: 32 << 20,
        ..Limits::default()
    };
    let cost = dermal::predict::decode::cost(bytes, &limits);
    match dermal::predict::decode::decode(bytes, &limits) {
        Ok(photo) => {
            let cost = cost.as_ref();
            let cost = cost.expect("a photo that is decoded has a cost");
            let pixels = photo.width() * photo.height();
            assert_eq!(cost.width * cost.height, pixels as u64);
            assert_eq!(photo.pixels().len(), pixels * 3);
            assert!(photo.alpha().is_none_or(|alpha| alpha.len() == pixels));
        }
        Err(error) => named(&error),
    }
    if let Err(error) = cost {
        named(&error);
    }
}

/// `.keras`. An input that is not a zip is the entries of one: `config.json`, a zero, and
/// `model.weights.h5`, so that mutations are not all found by checksums.
pub fn keras(bytes: &[u8]) {
    if bytes.starts_with(b"PK") {
        return model("model.keras", bytes);
    }
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let weights = bytes.get(end + 1..).unwrap_or_default();
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [
        ("config.json", &bytes[..end]),
        ("model.weights.h5", weights),
    ] {
        archive.start_file(name, stored).expect("a zip in memory");
        archive.write_all(content).expect("a zip in memory");
    }
    let archive = archive.finish().expect("a zip in memory").into_inner();
    model("model.keras", &archive);
}

/// `.h5` with its configuration.
pub fn h5(bytes: &[u8]) {
    model("model.h5", bytes);
}

/// ONNX.
pub fn onnx(bytes: &[u8]) {
    model("model.onnx", bytes);
}

/// TFLite.
pub fn tflite(bytes: &[u8]) {
    model("model.tflite", bytes);
}

/// An artifact. An input that starts with `{` is the parts of one, with zeros between them: graph,
/// manifest, the entries of the tensors, and the tensors. A header may so become longer, and the
/// JSON in its texts is mutated without escapes.
pub fn artifact(bytes: &[u8]) {
    let model = if bytes.starts_with(b"{") {
        artifact::load_bytes(&artifact_of_parts(bytes))
    } else {
        artifact::load_bytes(bytes)
    };
    match model {
        Ok(model) => with_scratch(|scratch| accepted(&model, scratch)),
        Err(error) => named(&error),
    }
}

fn artifact_of_parts(bytes: &[u8]) -> Vec<u8> {
    let mut parts = bytes.splitn(4, |&byte| byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (graph, manifest, entries) = (text(), text(), text());
    let metadata = serde_json::json!({
        "dermal.format": artifact::FORMAT_VERSION,
        "dermal.graph": graph,
        "dermal.manifest": manifest,
    });
    let comma = if entries.is_empty() { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{metadata}{comma}{entries}}}");
    // Tensors start on a 64-byte boundary.
    while !(header.len() + 8).is_multiple_of(64) {
        header.push(' ');
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend(parts.next().unwrap_or_default());
    file
}

/// Text that people write: recipes, mappings of fields, labels, settings in YAML, JSON and TOML.
pub fn yaml(bytes: &[u8]) {
    for name in ["labels.txt", "labels.json", "labels.yaml", "labels"] {
        if let Err(error) = labels::from_bytes(bytes, Path::new(name)) {
            named(&error);
        }
    }
    let Ok(source) = text::decode(bytes.to_vec(), Path::new("text")) else {
        return;
    };
    for aliases in [Aliases::Refuse, Aliases::Expand] {
        if let Err(error) = text::yaml(&source, aliases) {
            assert!(!error.to_string().is_empty());
        }
    }
    if let Err(error) = text::json(&source) {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = text::toml(&source) {
        assert!(!error.to_string().is_empty());
    }
    match Preprocessing::from_yaml(&source, [24, 32, 3]) {
        Ok(recipe) => {
            let again = Preprocessing::from_yaml(&recipe.to_yaml(), [24, 32, 3]);
            assert_eq!(again.expect("a recipe that was written"), recipe);
        }
        Err(error) => named(&error),
    }
    let inputs = [("age", 1), ("site", 4)].map(|(name, len)| VectorInput {
        name,
        len,
        has_default: false,
    });
    if let Err(error) = FieldMapping::from_yaml(&source, &inputs) {
        named(&error);
    }
    let _ = FieldMapping::from_json(&source, &inputs);
}

/// Imports a file, and checks what is promised about the result.
fn model(name: &str, bytes: &[u8]) {
    with_scratch(|scratch| {
        let path = scratch.write(name, bytes);
        let graph = match import(&path, &ImportOptions::default(), &mut |_| {}) {
            Ok(imported) => imported.graph,
            Err(error) => {
                if let ImportError::Io { path, source } = &error {
                    // Only a file that cannot be mapped, or weights in files that do not exist.
                    assert!(!path.is_empty() && !source.to_string().is_empty());
                }
                return named(&error);
            }
        };
        if !is_small(&graph) {
            return;
        }
        drop(graph);
        let made = match Import::new(&path).run(&mut |_, _, _| {}) {
            Ok(made) => made,
            Err(error) => return named(&error),
        };
        for warning in &made.warnings {
            assert!(!warning.to_string().is_empty() && !warning.hint().is_empty());
        }
        accepted(&made.model, scratch);
        let exported = match export::onnx(&made.model, export::Options::default()) {
            Ok(exported) => exported,
            Err(error) => return named(&error),
        };
        let path = scratch.path("exported.onnx");
        let written = exported.write(&path, &mut |_, _| {});
        written.expect("a folder for temporary files");
        let again = Import::new(&path).run(&mut |_, _, _| {});
        let again = again.expect("an exported file can be imported");
        assert_eq!(again.model.manifest.labels, made.model.manifest.labels);
    });
}

/// Whether a model computes in a few milliseconds.
fn is_small(graph: &Graph) -> bool {
    let values: usize = graph.nodes().iter().map(|node| node.shape.len()).sum();
    values <= MAX_VALUES && graph.total_stats().macs <= MAX_MACS
}

/// The promises about a model that is valid.
fn accepted(model: &Model, scratch: &Scratch) {
    let path = scratch.path("artifact.safetensors");
    let bytes = artifact::write(&path, model).expect("a valid model can be written");
    assert_eq!(artifact::encoded_bytes(model).ok(), Some(bytes));
    let first = std::fs::read(&path).expect("it was written");
    let again = artifact::load_bytes(&first).expect("what was written can be read");
    artifact::write(&path, &again).expect("what was read can be written");
    assert!(
        std::fs::read(&path).expect("it was written") == first,
        "an artifact that was read and written has other bytes"
    );
    if !is_small(&model.graph) {
        return;
    }
    let engine = match Engine::new(&model.graph, &Options::portable(1)) {
        Ok(engine) => engine,
        Err(error) => return named(&error),
    };
    let values = model.graph.nodes().iter().map(|node| node.shape.len());
    // Each value may start on a boundary of 64 bytes.
    let bound: usize = values.map(|len| len + 64).sum();
    assert!(
        engine.plan().arena_len <= bound,
        "{} floats for {bound}",
        engine.plan().arena_len
    );
    match dermal::predict::Predictor::new(model, engine) {
        Ok(mut predictor) => match selftest::record(model, &mut predictor) {
            Ok(record) => {
                let sound = |p: &f32| (0.0..=1.0).contains(p);
                assert!(record.probabilities.iter().all(sound), "{record:?}");
            }
            Err(error) => named(&error),
        },
        Err(error) => named(&error),
    }
}
