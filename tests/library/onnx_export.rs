//! Models as ONNX files and back: the same graph, the same weights, the same answers, without
//! Python. `scripts/onnx_export_check.py` asks other runtimes.
//!
//! Every model of `fixtures/import/onnx` and `fixtures/keras` that can be imported, and the demo
//! model in each type of weights.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "what is left out is for people")]

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use dermal::Hint;
use dermal::artifact::{
    self, Head, InputKind, InputSpec, Manifest, Model, Preprocessing, Provenance,
};
use dermal::compress::{WeightSettings, weights_only};
use dermal::engine::{Engine, Options};
use dermal::export;
use dermal::graph::pass::{self, Answer};
use dermal::graph::{Conv2d, Dense, DepthwiseConv2d, Graph, Node, NodeId, Op};
use dermal::import::{Import, ImportOptions, import};
use dermal::kernels::Isa;
use dermal::predict::{Limits, PhotoInput, decode};
use dermal::quantize::weights::WeightType;
use dermal::quantize::{Calibration, Calibrator, Int8Options, to_int8};

use super::common::{self, repo};

fn plain() -> export::Options {
    export::Options::default()
}

/// A model of an importer's graph, whatever its input is.
fn model(imported: Graph) -> Model {
    let (graph, answer) = pass::split_head(imported).unwrap();
    let graph = pass::flatten_output(graph).unwrap();
    let n = graph.node(graph.output()).shape.len();
    let head = match answer {
        Answer::Softmax => Head::Softmax,
        Answer::Sigmoid if n == 1 => Head::BinarySigmoid,
        Answer::Sigmoid => Head::MultiLabelSigmoid,
        _ => Head::Probabilities,
    };
    let graph = pass::optimize(graph).unwrap();
    let spec = |node: &Node| InputSpec {
        name: node.name.clone(),
        kind: match node.shape.hwc() {
            Some(shape @ [_, _, 1 | 3]) => InputKind::Image {
                preprocessing: Preprocessing::preset("raw", shape).unwrap(),
            },
            _ => InputKind::Vector { default: None },
        },
    };
    let inputs = graph.inputs().map(|(_, node)| spec(node)).collect();
    let labels = (0..n).map(|i| format!("class {i}")).collect();
    let manifest = Manifest::new(inputs, labels, head, Provenance::default());
    Model { graph, manifest }
}

/// The model as an ONNX file, and that file as a model.
fn there_and_back(folder: &Path, before: &Model) -> Result<Model, String> {
    let path = folder.join("model.onnx");
    let file = export::onnx(before, plain()).map_err(|e| format!("{}: {e}", e.kind()))?;
    file.write(&path, &mut |_, _| {}).unwrap();
    assert_eq!(path.metadata().unwrap().len(), file.bytes());
    let imported = import(&path, &ImportOptions::default(), &mut |_| {});
    let imported = imported.map_err(|e| format!("imported again: {e}"))?;
    assert_eq!(
        imported.stated.head.as_deref(),
        Some(before.manifest.head.option())
    );
    Ok(model(imported.graph))
}

/// A node without the names of its weights.
fn nameless(op: &Op) -> Op {
    let mut op = op.clone();
    if let Some(kernel) = op.kernel_mut() {
        kernel.tensor = String::new();
        kernel.scale = kernel.scale.take().map(|_| String::new());
    }
    match &mut op {
        Op::Conv2d(Conv2d { bias, .. })
        | Op::DepthwiseConv2d(DepthwiseConv2d { bias, .. })
        | Op::Dense(Dense { bias, .. }) => *bias = bias.take().map(|_| String::new()),
        Op::ScaleShift { scale, shift } | Op::LayerNormalization { scale, shift, .. } => {
            (*scale, *shift) = Default::default();
        }
        Op::Constant { tensor: key } | Op::PRelu { alpha: key } => *key = String::new(),
        Op::GlobalPool { keep_dims, .. } => *keep_dims = false,
        _ => {}
    }
    op
}

/// The extents of more than one element: the others do not say where elements are.
fn extents(node: &Node) -> Vec<usize> {
    let dims = node.shape.dims().iter().copied();
    dims.filter(|&extent| extent != 1).collect()
}

/// What a node computes from the inputs: operators, shapes and the bytes of all weights that lead
/// to it. Names do not count, nor does the order of nodes.
fn fingerprint(graph: &Graph, id: NodeId, known: &mut HashMap<NodeId, u64>) -> u64 {
    if let Some(&found) = known.get(&id) {
        return found;
    }
    let node = graph.node(id);
    // Reshapes that follow each other are one, and one to the same shape is none: a file says where
    // elements are, and not in how many steps.
    if matches!(node.op, Op::Reshape { .. }) {
        let mut from = node.inputs[0];
        while matches!(graph.node(from).op, Op::Reshape { .. }) {
            from = graph.node(from).inputs[0];
        }
        let before = fingerprint(graph, from, known);
        if extents(graph.node(from)) == extents(node) {
            return before;
        }
        let mut hasher = DefaultHasher::new();
        (before, extents(node)).hash(&mut hasher);
        return hasher.finish();
    }
    let mut hasher = DefaultHasher::new();
    format!(
        "{:?} {:?} {:?}",
        nameless(&node.op),
        extents(node),
        node.quantization
    )
    .hash(&mut hasher);
    if matches!(node.op, Op::Input) {
        node.name.hash(&mut hasher);
    }
    for key in node.op.tensors() {
        let tensor = &graph.tensors[key];
        format!("{:?} {:?}", tensor.dtype(), tensor.shape()).hash(&mut hasher);
        tensor.bytes().hash(&mut hasher);
    }
    for &input in &node.inputs {
        fingerprint(graph, input, known).hash(&mut hasher);
    }
    let found = hasher.finish();
    known.insert(id, found);
    found
}

fn same(a: &Graph, b: &Graph) -> bool {
    let of = |graph: &Graph| fingerprint(graph, graph.output(), &mut HashMap::new());
    let count = |graph: &Graph| {
        let mut census = census(graph);
        census.remove("Reshape");
        census
    };
    of(a) == of(b) && count(a) == count(b)
}

/// Operators and their number.
fn census(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut census = BTreeMap::new();
    for node in graph.nodes() {
        *census.entry(node.op.name()).or_default() += 1;
    }
    census
}

/// Whether a graph has what photo classifiers made of convolutions do not have: its axes are moved,
/// and an import may find another way to the same order.
fn moves_axes(graph: &Graph) -> bool {
    let census = census(graph);
    let moving = [
        "Constant",
        "Gather",
        "LayerNormalization",
        "MatMul",
        "Transpose",
    ];
    moving.iter().any(|op| census.contains_key(op))
}

/// A pattern without symmetry, 0.02 to 1.
fn fill(values: &mut [f32], pattern: usize) {
    for (i, value) in values.iter_mut().enumerate() {
        *value = ((i * (7919 + pattern) + i * i * 31) % 1000) as f32 / 1000.0 + 0.02;
    }
}

fn outputs(graph: &Graph) -> Vec<f32> {
    let options = Options {
        threads: 1,
        isa: Isa::detect(),
        keep: vec![],
    };
    let mut engine = Engine::new(graph, &options).unwrap();
    let inputs: Vec<NodeId> = graph.inputs().map(|(id, _)| id).collect();
    for id in inputs {
        let values = engine.input_mut(id);
        fill(values, 0);
    }
    engine.run();
    engine.output().to_vec()
}

/// The largest distance of two answers, as a share of the largest number.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = a.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-6);
    let pairs = a.iter().zip(b);
    pairs.fold(0f32, |m, (x, y)| m.max((x - y).abs() / most))
}

fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if path
            .extension()
            .is_some_and(|e| endings.iter().any(|w| e == *w))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// How the weights of a model are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Single,
    Half,
    /// Everything that has an integer kernel, with ranges of a few patterns.
    Integers,
}

impl Form {
    /// The model in this form; `None` if it has nothing that could be.
    fn of(self, model: Model) -> Option<Model> {
        match self {
            Self::Single => Some(model),
            Self::Half => {
                let halves = weights_only(&model, WeightType::F16, &WeightSettings::default());
                halves.ok().map(|halves| halves.model)
            }
            Self::Integers => {
                let mut calibrator = Calibrator::new(&model.graph, &Options::default()).ok()?;
                let inputs: Vec<NodeId> = calibrator.graph().inputs().map(|(id, _)| id).collect();
                for pattern in 0..4 {
                    for &id in &inputs {
                        fill(calibrator.engine_mut().input_mut(id), pattern);
                    }
                    calibrator.observe().ok()?;
                }
                integers(&model, &calibrator.finish().ok()?)
            }
        }
    }
}

fn integers(model: &Model, ranges: &Calibration) -> Option<Model> {
    Some(Model {
        graph: to_int8(ranges, &Int8Options::default()).ok()?,
        manifest: model.manifest.clone(),
    })
}

/// Exports and imports every file twice. `first` says whether the first way back must already give
/// the same graph; the second one must, too. The graphs of `but` may differ; their answers must not.
fn all_come_back(folder: &str, endings: &[&str], (form, first): (Form, bool), but: &[&str]) {
    let temporary = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut refused = BTreeSet::new();
    let mut done = 0;
    for path in files(&repo(folder), endings) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Files that are there to be refused, or that need options.
        let Ok(imported) = import(&path, &ImportOptions::default(), &mut |_| {}) else {
            continue;
        };
        let once = model(imported.graph);
        // More than four: an ONNX file does not say then which axis has the channels.
        let too_many = |(_, node): (NodeId, &Node)| matches!(node.shape.dims(), [_, _, channels] if *channels > 4);
        if once.graph.inputs().any(too_many) {
            refused.insert(format!("{name}: more channels than a photo has"));
            continue;
        }
        let Some(once) = form.of(once) else { continue };
        let differs = but.contains(&name.as_str()) || moves_axes(&once.graph);
        let twice = match there_and_back(temporary.path(), &once) {
            Ok(model) => model,
            // What only files of Keras have: no ONNX file could bring it here.
            Err(error) if error.contains("not supported") || error.starts_with("not_in_onnx") => {
                refused.insert(format!("{name}: {error}"));
                continue;
            }
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        done += 1;
        if first && !differs && !same(&once.graph, &twice.graph) {
            let (a, b) = (census(&once.graph), census(&twice.graph));
            wrong.push(format!("{name}: another graph: {a:?}, then {b:?}"));
        }
        let apart = distance(&outputs(&once.graph), &outputs(&twice.graph));
        // Sums of up to a few hundred terms in another order; integers are exact.
        let most = if form == Form::Integers && !differs {
            0.0
        } else {
            1e-5
        };
        if apart.is_nan() || apart > most {
            wrong.push(format!("{name}: the answers are {apart} apart"));
        }
        match there_and_back(temporary.path(), &twice) {
            Ok(thrice) if same(&twice.graph, &thrice.graph) => {}
            Ok(_) if differs => {}
            Ok(thrice) => {
                let (a, b) = (census(&twice.graph), census(&thrice.graph));
                wrong.push(format!("{name}: the second way: {a:?}, then {b:?}"));
            }
            Err(error) => wrong.push(format!("{name}: the second way: {error}")),
        }
    }
    eprintln!("{folder}, {form:?}: {done} models came back");
    for line in &refused {
        eprintln!("refused: {line}");
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(done > 30, "models not found");
    assert!(refused.len() <= 15, "{refused:#?}");
}

/// Files whose graphs come back in another form, which gives the same answers.
const OTHERS: &[&str] = &[
    // A map of scales and shifts becomes `Mul` and `Add`: no operator of ONNX does both.
    "a_constant_all.onnx",
    "a_constant_map.onnx",
    "a_constant_rows.onnx",
    "a_constant_width.onnx",
    // Spelled out, since opset 17 does not have them.
    "f_gelu.onnx",
    "f_gelu_tanh.onnx",
    "f_mish.onnx",
    // The import folds an affine map into the convolution in front of it, one each time.
    "x_bn_taken_apart.onnx",
    // A bias that is a value is an operator of its own.
    "d_gemm_added_value.onnx",
    // Rows or columns lie in another order than in the file.
    "a_order_differs.onnx",
    "r_sum_11.onnx",
    "s_reshape_mixes.onnx",
];

/// The same for models in integers.
const OTHERS_IN_INTEGERS: &[&str] = &[
    // A function of real numbers behind a product: the import fuses both, and then computes both in
    // real numbers.
    "r_l1_all_18.onnx",
    "r_l1_channels_18.onnx",
    "r_l1_map_18.onnx",
    // Two moves are one.
    "s_patches_merged.onnx",
    // Two rectifiers in a row, around a change of type, are one.
    "y_if_true.onnx",
];

#[test]
fn every_onnx_fixture_comes_back_as_it_was() {
    for form in [Form::Single, Form::Half, Form::Integers] {
        let mut others = OTHERS.to_vec();
        if form == Form::Integers {
            others.extend(OTHERS_IN_INTEGERS);
        }
        all_come_back("fixtures/import/onnx", &["onnx"], (form, true), &others);
    }
}

#[test]
fn every_keras_fixture_comes_back_as_it_was_from_then_on() {
    for form in [Form::Single, Form::Half, Form::Integers] {
        all_come_back(
            "fixtures/keras",
            &["keras", "h5"],
            (form, false),
            &["merges.keras"],
        );
    }
}

/// The demo model in integers, with the ranges of its own pictures.
fn demo_in_integers() -> Model {
    let demo = artifact::embedded().unwrap();
    let input = PhotoInput::of(&demo).unwrap();
    let mut calibrator = Calibrator::new(&demo.graph, &Options::default()).unwrap();
    let (id, _) = calibrator.graph().inputs().next().unwrap();
    for path in files(&repo("fixtures/images"), &["jpg"]).iter().step_by(20) {
        let photo = decode::read(path, &Limits::default()).unwrap();
        let values = calibrator.engine_mut().input_mut(id);
        input.prepare(&photo, values).unwrap();
        calibrator.observe().unwrap();
    }
    integers(&demo, &calibrator.finish().unwrap()).unwrap()
}

#[test]
fn the_demo_model_in_integers_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo_in_integers();
    let back = there_and_back(folder.path(), &demo).unwrap();
    assert!(same(&demo.graph, &back.graph));
    assert_eq!(outputs(&demo.graph), outputs(&back.graph));
}

/// Eight bits with a sign are added up in 16 by runtimes on CPUs of x86 without VNNI, where they
/// do not fit.
#[test]
fn integer_layers_have_weights_without_a_sign() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let demo = demo_in_integers();
    let file = export::onnx(&demo, plain()).unwrap();
    file.write(&path, &mut |_, _| {}).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // Of a `TensorProto`: the type, which is 2 for `UINT8` and 3 for `INT8`, and then the name.
    let count = |kind: u8, ending: &str| {
        let at = |i: usize| bytes[i..].starts_with(&[0x10, kind, 0x42]);
        let name = |i: usize| {
            let len = usize::from(bytes[i + 3]);
            bytes
                .get(i + 4..i + 4 + len)
                .is_some_and(|name| name.ends_with(ending.as_bytes()))
        };
        (0..bytes.len() - 4).filter(|&i| at(i) && name(i)).count()
    };
    let layers = demo
        .graph
        .nodes()
        .iter()
        .filter(|n| n.op.kernel().is_some());
    assert_eq!(count(2, "/weight"), layers.count());
    assert_eq!(count(3, "/weight"), 0);
    // A zero point of its own for each: ONNX Runtime refuses files that share one, if it is asked
    // to compute weights with a sign exactly.
    assert_eq!(count(2, "/weight"), count(2, "/weight/zero_point"));
}

#[test]
fn the_demo_model_comes_back_with_labels_recipe_and_weights() {
    let demo = artifact::embedded().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.onnx");
    let file = export::onnx(&demo, plain()).unwrap();
    assert_eq!(file.transposes(), 0);
    file.write(&path, &mut |_, _| {}).unwrap();
    let made = Import::new(&path).run(&mut |_, _, _| {}).unwrap();
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
    let back = &made.model.manifest;
    assert_eq!(back.labels, demo.manifest.labels);
    // The preset's name only informs people; its numbers are the recipe.
    let recipe = |manifest: &Manifest| {
        let mut inputs = manifest.inputs.clone();
        for spec in &mut inputs {
            if let InputKind::Image { preprocessing } = &mut spec.kind {
                preprocessing.preset = None;
            }
        }
        inputs
    };
    assert_eq!(recipe(back), recipe(&demo.manifest));
    assert_eq!(back.head, demo.manifest.head);
    assert!(same(&demo.graph, &made.model.graph));
    let names = |graph: &Graph| -> BTreeSet<String> {
        let weighted = graph.nodes().iter().filter(|n| n.op.kernel().is_some());
        weighted.map(|node| node.name.clone()).collect()
    };
    assert_eq!(names(&demo.graph), names(&made.model.graph));
    // The layer of the heat map is still there under its name.
    assert!(!made.model.graph.find_layer("top_activation").is_empty());
}

#[test]
fn sixteen_bits_stay_sixteen_bits_in_the_file() {
    let demo = artifact::embedded().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let single = export::onnx(&demo, plain()).unwrap().bytes();
    for weight_type in [WeightType::F16, WeightType::BF16] {
        let halves = weights_only(&demo, weight_type, &WeightSettings::default()).unwrap();
        let file = export::onnx(&halves.model, plain()).unwrap();
        assert!(
            file.bytes() < single * 6 / 10,
            "{} of {single}",
            file.bytes()
        );
        assert_eq!(file.rounded().is_empty(), weight_type == WeightType::F16);
        let back = there_and_back(folder.path(), &halves.model).unwrap();
        let apart = distance(&outputs(&halves.model.graph), &outputs(&back.graph));
        assert!(apart < 1e-5, "{weight_type:?}: {apart}");
    }
}

#[test]
fn a_file_never_replaces_the_model_it_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let demo = artifact::embedded().unwrap();
    artifact::write(&path, &demo).unwrap();
    let before = std::fs::read(&path).unwrap();
    let text = common::refused([
        "export".as_ref(),
        path.as_os_str(),
        "-o".as_ref(),
        path.as_os_str(),
    ]);
    assert!(text.contains("would replace the model"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let output = folder.path().join("model.onnx");
    let args = [
        "export".as_ref(),
        path.as_os_str(),
        "-o".as_ref(),
        output.as_os_str(),
        "--json".as_ref(),
    ];
    let document = common::json(args);
    assert_eq!(document["bytes"], output.metadata().unwrap().len());
    assert_eq!(document["opset"], export::OPSET);
    assert_eq!(document["outputs"][0]["shape"], serde_json::json!([1, 7]));
    assert_eq!(document["inputs"][0]["type"], "float32");
}

#[test]
fn recipes_that_onnx_cannot_say_are_refused_by_name() {
    let demo = artifact::embedded().unwrap();
    let size = demo.graph.inputs().next().unwrap().1.shape.hwc().unwrap();
    let options = export::Options {
        with_preprocessing: true,
    };
    for (text, refused) in [
        ("filter: pillow_bilinear", true),
        ("filter: pillow_lanczos\nresize: fit", true),
        ("filter: pillow_nearest", true),
        ("filter: tensorflow_bilinear\nscale: 1/255", false),
        (
            "filter: tensorflow_nearest\nresize: crop_to_aspect\nchannels: bgr",
            false,
        ),
        ("filter: tensorflow_bilinear\nshort_side: 300", false),
    ] {
        let mut model = demo.clone();
        model.manifest.inputs[0].kind = InputKind::Image {
            preprocessing: Preprocessing::from_yaml(text, size).unwrap(),
        };
        match export::onnx(&model, options) {
            Ok(file) => {
                assert!(!refused, "{text}");
                let input = file.inputs()[0].to_string();
                assert_eq!(input, "photo [1, height, width, 3] uint8");
            }
            Err(error) => {
                assert!(refused, "{text}: {error}");
                assert_eq!(error.kind(), "preprocessing_not_in_onnx");
                assert!(error.to_string().contains("filter"), "{error}");
            }
        }
    }
}
