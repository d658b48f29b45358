//! A graph as text for people, or as JSON: every node with its attributes, tensors and layers.
//!
//! The attributes are those of the artifact, under the names of `docs/artifact-format.md`. They are
//! read from a node's JSON, so a new op needs no code here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Graph, Node, NodeId, Stage};
use crate::tensor::{DType, Shape};

/// Columns at which attributes are wrapped.
const COLUMNS: usize = 80;

/// The indent of the lines that belong to a node.
const INDENT: &str = "    ";

/// A graph to print. [`Display`](fmt::Display) writes text. As JSON it is the artifact's
/// `dermal.graph`, plus `tensors` with the type and shape of each.
#[derive(Clone, Debug, Serialize)]
pub struct Dump<'a> {
    name: &'a str,
    output: NodeId,
    nodes: &'a [Node],
    tensors: BTreeMap<&'a str, TensorType<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct TensorType<'a> {
    dtype: DType,
    shape: &'a Shape,
}

/// A graph to print.
#[must_use]
pub fn dump(graph: &Graph) -> Dump<'_> {
    Dump {
        name: &graph.name,
        output: graph.output(),
        nodes: graph.nodes(),
        tensors: graph
            .tensors
            .iter()
            .map(|(key, tensor)| {
                let shape = tensor.shape();
                let dtype = tensor.dtype();
                (key.as_str(), TensorType { dtype, shape })
            })
            .collect(),
    }
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = self.nodes.get(self.output.0).map_or("", |n| &n.name);
        let count = self.nodes.len();
        writeln!(f, "graph `{}`: {count} nodes, output `{output}`", self.name)?;
        for node in self.nodes {
            writeln!(f)?;
            self.node(f, node)?;
        }
        Ok(())
    }
}

impl Dump<'_> {
    /// `name: Conv [8, 8, 4] <- x, y`, then a line for each kind of detail that it has.
    fn node(&self, f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
        write!(f, "{}: {} {}", node.name, node.op.name(), node.shape)?;
        let inputs = node.inputs.iter().filter_map(|id| self.nodes.get(id.0));
        let inputs: Vec<&str> = inputs.map(|input| input.name.as_str()).collect();
        if !inputs.is_empty() {
            write!(f, " <- {}", inputs.join(", "))?;
        }
        writeln!(f)?;
        if let Some(map) = node.quantization {
            let (scale, zero_point) = (map.scale, map.zero_point);
            writeln!(f, "{INDENT}u8 scale={scale:e} zero_point={zero_point}")?;
        }
        let keys: BTreeSet<&str> = node.op.tensors().into_iter().collect();
        let (tensors, numbers): (Vec<_>, Vec<_>) = attributes(node)
            .into_iter()
            .partition(|(_, value)| keys.contains(value.as_str()));
        let numbers = numbers
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        wrapped(f, numbers)?;
        for (name, key) in tensors {
            write!(f, "{INDENT}{name}={key}")?;
            match self.tensors.get(key.as_str()) {
                Some(TensorType { dtype, shape }) => writeln!(f, " ({dtype} {shape})")?,
                None => writeln!(f, " (missing)")?,
            }
        }
        for layer in &node.layers {
            let stage = stage(&layer.stage);
            writeln!(f, "{INDENT}layer {} ({}): {stage}", layer.name, layer.class)?;
        }
        Ok(())
    }
}

/// The op's attributes by path, such as `window.kernel`, in the order of their names.
fn attributes(node: &Node) -> Vec<(String, String)> {
    fn walk(path: &str, value: &Value, to: &mut Vec<(String, String)>) {
        match value {
            Value::Null => {}
            Value::Object(map) => {
                for (name, value) in map {
                    let path = match path {
                        "" => name.clone(),
                        _ => format!("{path}.{name}"),
                    };
                    walk(&path, value, to);
                }
            }
            Value::String(text) => to.push((path.to_owned(), text.clone())),
            other => to.push((path.to_owned(), other.to_string())),
        }
    }
    let mut found = Vec::new();
    // Ops contain numbers and names, which JSON can express; infinities become null and are left
    // out.
    if let Ok(Value::Object(mut op)) = serde_json::to_value(&node.op) {
        op.remove("op");
        walk("", &Value::Object(op), &mut found);
    }
    found.sort();
    found
}

/// Where in the node a layer's own output is, in words.
fn stage(stage: &Stage) -> String {
    match stage {
        Stage::Output => "the output".to_owned(),
        Stage::BeforePostActivation => "before the activation after the residual".to_owned(),
        Stage::BeforeResidual => "before the residual".to_owned(),
        Stage::BeforeActivation => "before the activation".to_owned(),
        Stage::BeforeAffine { scale, shift } => format!("before `{scale}` and `{shift}`"),
        Stage::Folded => "inside, in integers".to_owned(),
    }
}

/// Words on as many indented lines as they need.
fn wrapped(f: &mut fmt::Formatter<'_>, words: impl Iterator<Item = String>) -> fmt::Result {
    let mut column = 0;
    for word in words {
        let len = word.chars().count();
        if column == 0 {
            write!(f, "{INDENT}{word}")?;
            column = INDENT.len() + len;
        } else if column + 1 + len > COLUMNS {
            write!(f, "\n{INDENT}{word}")?;
            column = INDENT.len() + len;
        } else {
            write!(f, " {word}")?;
            column += 1 + len;
        }
    }
    if column > 0 { writeln!(f) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::graph::pass::{self, Level};
    use crate::graph::{Conv2d, Epilogue, Kernel, Op, Padding, SourceLayer, Window};
    use crate::tensor::Tensor;

    /// A convolution, its normalization and its activation, as an importer makes them.
    fn imported() -> Graph {
        let mut graph = Graph::new("net");
        let mut tensor = |key: &str, shape: &[usize]| {
            let values = vec![0.5; shape.iter().product()];
            let tensor = Tensor::from_f32(Shape::new(shape), &values).unwrap();
            graph.tensors.insert(key.to_owned(), tensor);
        };
        tensor("k", &[3, 3, 3, 4]);
        tensor("bn/scale", &[4]);
        tensor("bn/shift", &[4]);
        let mut last = graph.push_input("photo", [8, 8, 3].into()).unwrap();
        let conv = Op::Conv2d(Conv2d {
            window: Window {
                kernel: [3, 3],
                strides: [2, 2],
                dilations: [1, 1],
                padding: Padding::default(),
            },
            groups: 1,
            filters: 4,
            kernel: Kernel::plain("k"),
            bias: None,
            epilogue: Epilogue::default(),
        });
        let affine = Op::ScaleShift {
            scale: "bn/scale".into(),
            shift: "bn/shift".into(),
        };
        let relu = Op::Activation(Activation::Relu);
        for (name, class, op) in [
            ("conv", "Conv2D", conv),
            ("bn", "BatchNormalization", affine),
            ("relu", "ReLU", relu),
        ] {
            last = graph.push(name, op, &[last]).unwrap();
            graph.layers_mut(last).push(SourceLayer {
                name: name.to_owned(),
                class: class.to_owned(),
                stage: Stage::Output,
            });
        }
        graph
    }

    fn text(level: Level) -> String {
        dump(&pass::rewrite(imported(), level).unwrap()).to_string()
    }

    #[test]
    fn every_level_shows_what_the_passes_did() {
        assert_eq!(
            text(Level::Imported),
            "graph `net`: 4 nodes, output `relu`\n\n\
             photo: Input [8, 8, 3]\n\n\
             conv: Conv [3, 3, 4] <- photo\n    \
             epilogue.activation.kind=linear filters=4 groups=1 kernel.layout=plain\n    \
             window.dilations=[1,1] window.kernel=[3,3] window.padding.bottom=0\n    \
             window.padding.left=0 window.padding.right=0 window.padding.top=0\n    \
             window.strides=[2,2]\n    \
             kernel.tensor=k (f32 [3, 3, 3, 4])\n    \
             layer conv (Conv2D): the output\n\n\
             bn: ScaleShift [3, 3, 4] <- conv\n    \
             scale=bn/scale (f32 [4])\n    \
             shift=bn/shift (f32 [4])\n    \
             layer bn (BatchNormalization): the output\n\n\
             relu: Activation [3, 3, 4] <- bn\n    \
             kind=relu\n    \
             layer relu (ReLU): the output\n"
        );
        let folded = text(Level::Folded);
        assert!(
            folded.contains("logits: Reshape [36] <- relu\n    to=[36]\n"),
            "{folded}"
        );
        assert!(folded.contains("bias=conv.bias (f32 [4])"), "{folded}");
        let conv = "layer conv (Conv2D): before `bn/scale` and `bn/shift`";
        assert!(folded.contains(conv), "{folded}");
        let fused = text(Level::Fused);
        assert!(fused.contains("epilogue.activation.kind=relu"), "{fused}");
        let layer = "layer bn (BatchNormalization): before the activation";
        assert!(fused.contains(layer), "{fused}");
        let packed = text(Level::Packed);
        assert!(packed.contains("kernel.layout=panel16"), "{packed}");
        assert!(packed.contains("(f32 [1, 27, 16])"), "{packed}");
    }

    #[test]
    fn json_is_the_graph_of_the_artifact_and_its_tensors() {
        let graph = imported();
        let json = serde_json::to_value(dump(&graph)).unwrap();
        let nodes: Vec<Node> = serde_json::from_value(json["nodes"].clone()).unwrap();
        assert_eq!(nodes, graph.nodes());
        assert_eq!(json["output"], 3);
        assert_eq!(json["tensors"]["k"]["dtype"], "f32");
        assert_eq!(
            json["tensors"]["k"]["shape"],
            serde_json::json!([3, 3, 3, 4])
        );
    }

    #[test]
    fn no_line_of_attributes_is_longer_than_a_terminal() {
        for level in Level::ALL {
            for line in text(level).lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
            }
        }
    }
}
