//! `diff`: finds each of 100 planted differences of 10 kinds, and none between equal models.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use dermal::activation::Activation;
use dermal::artifact::{self, Head, InputKind, Model};
use dermal::compress::{WeightSettings, weights_only};
use dermal::diff::{Difference, diff};
use dermal::graph::{Graph, Node, NodeId, Op};
use dermal::quantize::weights::WeightType;
use dermal::tensor::{DType, Tensor};

use super::common;

fn demo() -> Model {
    artifact::embedded().unwrap()
}

/// The graph with other nodes and weights.
fn rebuilt(graph: &Graph, nodes: Vec<Node>, tensors: BTreeMap<String, Tensor>) -> Graph {
    Graph::from_parts(graph.name.clone(), nodes, graph.output(), tensors).unwrap()
}

/// Changes one number of a float tensor.
fn with_other_number(model: &Model, key: &str, at: usize) -> Model {
    let mut tensors = model.graph.tensors.clone();
    let tensor = &tensors[key];
    let mut values = tensor.as_f32().unwrap().to_vec();
    values[at] += 0.01 + values[at].abs() / 16.0;
    let tensor = Tensor::from_f32(tensor.shape().clone(), &values).unwrap();
    tensors.insert(key.to_owned(), tensor);
    let graph = rebuilt(&model.graph, model.graph.nodes().to_vec(), tensors);
    Model {
        graph,
        manifest: model.manifest.clone(),
    }
}

/// Nodes with a kernel, and the keys of their kernel and bias.
fn weighted(model: &Model) -> Vec<(String, String, Option<String>)> {
    let nodes = model.graph.nodes().iter();
    let with_kernel = nodes.filter_map(|node| {
        let kernel = node.op.kernel()?.tensor.clone();
        let bias = match &node.op {
            Op::Conv2d(conv) => conv.bias.clone(),
            Op::DepthwiseConv2d(conv) => conv.bias.clone(),
            Op::Dense(dense) => dense.bias.clone(),
            _ => None,
        };
        Some((node.name.clone(), kernel, bias))
    });
    with_kernel.collect()
}

/// A node that is changed by `change`, as the `n`th that it fits.
fn with_other_node(model: &Model, n: usize, change: &dyn Fn(&mut Node) -> bool) -> Model {
    let mut nodes = model.graph.nodes().to_vec();
    let fitting: Vec<usize> = (0..nodes.len())
        .filter(|&i| change(&mut nodes[i].clone()))
        .collect();
    change(&mut nodes[fitting[n % fitting.len()]]);
    Model {
        graph: rebuilt(&model.graph, nodes, model.graph.tensors.clone()),
        manifest: model.manifest.clone(),
    }
}

fn with_recipe(model: &Model, n: usize) -> Model {
    let mut model = model.clone();
    for spec in &mut model.manifest.inputs {
        let InputKind::Image { preprocessing } = &mut spec.kind else {
            continue;
        };
        match n {
            0..=3 => preprocessing.scale *= 1.0 + 1e-6 * (n + 1) as f64,
            4..=6 => preprocessing.mean[n - 4] += 0.5,
            7 | 8 => preprocessing.std[n - 7] *= 1.01,
            _ => preprocessing.background = Some([1, 2, 3]),
        }
    }
    model
}

/// The lists that have entries.
fn found(difference: &Difference) -> Vec<&'static str> {
    let Difference {
        graph,
        weights,
        inputs,
        labels,
        head,
        ..
    } = difference;
    let lists = [
        ("graph", graph.len()),
        ("weights", weights.len()),
        ("inputs", inputs.len()),
        ("labels", labels.len()),
        ("head", head.len()),
    ];
    let full = lists.into_iter().filter(|(_, len)| *len > 0);
    full.map(|(name, _)| name).collect()
}

/// A difference that is put into a model: the list that must say it, and all that this list must
/// name. Nothing else may be said.
struct Planted {
    what: String,
    model: Model,
    list: &'static str,
    places: Vec<String>,
}

/// What the entries of all lists are about.
fn places(difference: &Difference) -> Vec<String> {
    let Difference {
        graph,
        weights,
        inputs,
        labels,
        head,
        ..
    } = difference;
    let changes = [graph, inputs, labels, head].into_iter().flatten();
    let changes = changes.map(|change| change.what.clone());
    let weights = weights
        .iter()
        .map(|w| format!("{} of `{}`", w.part, w.node));
    changes.chain(weights).collect()
}

/// The name of the first node that is not the same.
fn other_node(a: &Model, b: &Model) -> String {
    let mut pairs = a.graph.nodes().iter().zip(b.graph.nodes());
    let (node, _) = pairs.find(|(a, b)| a != b).unwrap();
    format!("node `{}`", node.name)
}

#[test]
fn a_hundred_planted_differences_of_ten_kinds_are_found() {
    let base = demo();
    let layers = weighted(&base);
    let mut planted: Vec<Planted> = Vec::new();
    let mut plant = |what: String, model: Model, list: &'static str, places: &[String]| {
        let places = places.to_vec();
        planted.push(Planted {
            what,
            model,
            list,
            places,
        });
    };
    for n in 0..10 {
        let (name, kernel, _) = &layers[n % layers.len()];
        // The first channel of a panel is never padding.
        let rows = base.graph.tensors[kernel].shape().len() / 16;
        let at = (n * 37 % rows) * 16;
        let model = with_other_number(&base, kernel, at);
        let place = format!("kernel of `{name}`");
        plant(format!("{place}, {at}"), model, "weights", &[place]);

        let with_bias: Vec<_> = layers.iter().filter(|l| l.2.is_some()).collect();
        let (name, _, bias) = with_bias[n % with_bias.len()];
        let model = with_other_number(&base, bias.as_ref().unwrap(), n % 4);
        let place = format!("bias of `{name}`");
        plant(format!("{place}, {}", n % 4), model, "weights", &[place]);

        let mut model = base.clone();
        let i = n % model.manifest.labels.len();
        model.manifest.labels[i].push_str(&"x".repeat(n + 1));
        plant(
            format!("label {n}"),
            model,
            "labels",
            &[format!("label {i}")],
        );

        let mut model = base.clone();
        let count = model.manifest.labels.len();
        let mut swapped = [n % count, (n + 1 + n / count) % count];
        model.manifest.labels.swap(swapped[0], swapped[1]);
        swapped.sort_unstable();
        let places = swapped.map(|i| format!("label {i}"));
        plant(
            format!("labels in another order {n}"),
            model,
            "labels",
            &places,
        );

        let field = ["scale", "mean", "std", "background"][[0, 0, 0, 0, 1, 1, 1, 2, 2, 3][n]];
        let place = format!("preprocessing `{field}`");
        plant(
            format!("recipe {n}"),
            with_recipe(&base, n),
            "inputs",
            &[place],
        );

        let mut model = base.clone();
        model.manifest.inputs[0].name.push_str(&"_".repeat(n + 1));
        plant(format!("input {n}"), model, "inputs", &["input 1".into()]);

        let mut model = base.clone();
        model.manifest.head = [Head::MultiLabelSigmoid, Head::Probabilities][n % 2];
        plant(format!("head {n}"), model, "head", &["head".into()]);

        let model = with_other_node(&base, n, &|node| {
            let slot = match &mut node.op {
                Op::Conv2d(conv) => &mut conv.epilogue.activation,
                Op::DepthwiseConv2d(conv) => &mut conv.activation,
                Op::Activation(activation) | Op::Binary { activation, .. } => activation,
                _ => return false,
            };
            *slot = Activation::LeakyRelu {
                slope: 0.125 + n as f32 / 100.0,
            };
            true
        });
        let place = other_node(&base, &model);
        plant(format!("activation {n}"), model, "graph", &[place]);

        // A node more, which does nothing, behind one of the last four.
        let mut nodes = base.graph.nodes().to_vec();
        let at = nodes.len() - 1 - n % 4;
        let name = format!("planted {n}");
        let node = Node {
            name: name.clone(),
            op: Op::Activation(Activation::Linear),
            inputs: vec![NodeId(at)],
            shape: nodes[at].shape.clone(),
            quantization: None,
            layers: vec![],
        };
        nodes.push(node);
        let graph = rebuilt(&base.graph, nodes, base.graph.tensors.clone());
        let manifest = base.manifest.clone();
        let model = Model { graph, manifest };
        let place = format!("node `{name}`");
        plant(format!("a node more {n}"), model, "graph", &[place]);

        // One kernel in 16 bits: the numbers may stay, the type does not.
        let (name, kernel, _) = &layers[n % layers.len()];
        let mut tensors = base.graph.tensors.clone();
        let tensor = &tensors[kernel];
        let halves = tensor.as_f32().unwrap().iter();
        let halves = halves.flat_map(|&v| half::f16::from_f32(v).to_le_bytes());
        let half = Tensor::from_bytes(DType::F16, tensor.shape().clone(), halves.collect());
        tensors.insert(kernel.clone(), half.unwrap());
        let graph = rebuilt(&base.graph, base.graph.nodes().to_vec(), tensors);
        let manifest = base.manifest.clone();
        let model = Model { graph, manifest };
        let place = format!("kernel of `{name}`");
        plant(format!("type of {name} {n}"), model, "weights", &[place]);
    }
    assert_eq!(planted.len(), 100);
    let mut missed = Vec::new();
    for Planted {
        what,
        model,
        list,
        places: expected,
    } in &planted
    {
        for difference in [diff(&base, model), diff(model, &base)] {
            if found(&difference) != [*list] || places(&difference) != *expected {
                missed.push(format!("{what}: found {:?}", places(&difference)));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn equal_models_have_no_difference() {
    let base = demo();
    assert!(diff(&base, &base.clone()).is_none());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.safetensors");
    let mut copy = demo();
    // How a model was made does not count.
    copy.manifest.provenance.source_file = "another".into();
    copy.manifest.self_test = None;
    artifact::write(&path, &copy).unwrap();
    let difference = diff(&base, &artifact::load(&path).unwrap());
    assert!(difference.is_none(), "{difference:?}");
    assert_eq!(difference.sizes[0], difference.sizes[1]);
}

#[test]
fn the_layer_that_rounding_hurts_most_comes_first() {
    let base = demo();
    let small = weights_only(&base, WeightType::BF16, &WeightSettings::default()).unwrap();
    let difference = diff(&base, &small.model);
    assert_eq!(found(&difference), ["weights"]);
    let shares: Vec<f64> = difference
        .weights
        .iter()
        .filter_map(|w| w.relative)
        .collect();
    assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
    // bf16 has 8 bits: half a step of the largest number.
    assert!(shares[0] > 0.0 && shares[0] <= 1.0 / 256.0, "{}", shares[0]);
}

#[test]
fn a_source_and_its_artifact_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.safetensors");
    let source = common::repo("fixtures/import/nested.keras");
    let (out, source) = (out.to_str().unwrap(), source.to_str().unwrap());
    let made = common::run([
        "import",
        source,
        "-o",
        out,
        "--labels",
        "a,b",
        "--preprocess",
        "unit",
    ]);
    assert_eq!(made.status.code(), Some(0));
    let document = common::json(["diff", source, out, "--json"]);
    assert_eq!(document["same"], true);
    assert_eq!(
        document["not_compared"],
        serde_json::json!(["labels", "preprocessing"])
    );
    let demo = common::repo("models/demo.safetensors");
    let demo = demo.to_str().unwrap();
    let other = common::run(["diff", demo, out]);
    assert_eq!(other.status.code(), Some(1));
    let text = String::from_utf8(other.stdout).unwrap();
    assert!(text.starts_with("the models differ in "), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let text = common::refused(["diff", demo, "no-such-file"]);
    assert!(text.contains("no-such-file"), "{text}");
}
