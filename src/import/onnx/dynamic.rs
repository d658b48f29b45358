//! Models that quantize while they run: whether their scales cancel out.
//!
//! `DynamicQuantizeLinear` makes integers `y` of a value, and finds a scale `s` and a zero point for
//! each photo. An exporter multiplies the sums over `y` with `s` again, so that the result is a real
//! number. Only then may `s` be 1 and `y` the value itself (`ops::quantized`): everything that reads
//! them is followed here, by name, until `s` has met its own integers.
//!
//! Source: <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>.

use std::collections::{HashMap, HashSet};

use super::order::place_of;
use super::proto::{Graph, Node};
use crate::import::error::ImportError;

/// What a value is made of, beside the photo. The number is that of the node that quantizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Integers, or sums over them: real numbers by the scale.
    Steps(usize),
    /// The scale, perhaps times that of weights.
    Scale(usize),
    Zero(usize),
}

/// Operators that move or retype integers.
const MOVING: &[&str] = &[
    "Cast",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Checks the nodes of `order`, each of which comes after those that it reads.
pub(super) fn check(graph: &Graph, order: &[usize], outputs: &[&str]) -> Result<(), ImportError> {
    let mut kinds: HashMap<&str, Kind> = HashMap::new();
    let outputs: HashSet<&str> = outputs.iter().copied().collect();
    for &index in order {
        let node = &graph.nodes[index];
        if node.op == "DynamicQuantizeLinear" && matches!(node.domain, "" | "ai.onnx") {
            let made = [Kind::Steps(index), Kind::Scale(index), Kind::Zero(index)];
            kinds.extend(node.outputs.iter().copied().zip(made));
            continue;
        }
        let read: Vec<Option<Kind>> = node.inputs.iter().map(|i| kinds.get(i).copied()).collect();
        if read.iter().all(Option::is_none) {
            continue;
        }
        match result(node, &read) {
            Made::Like(kind) => kinds.extend(node.outputs.iter().map(|&output| (output, kind))),
            Made::RealNumbers => {}
            Made::Unknown => return Err(refused(node, index)),
        }
    }
    if outputs.iter().any(|output| kinds.contains_key(output)) {
        let last = order.last().copied().unwrap_or(0);
        return Err(refused(&graph.nodes[last], last));
    }
    Ok(())
}

/// What a node makes of such values.
enum Made {
    Like(Kind),
    /// The scale has cancelled out.
    RealNumbers,
    Unknown,
}

fn result(node: &Node, read: &[Option<Kind>]) -> Made {
    match (node.op, read) {
        (
            "ConvInteger" | "MatMulInteger",
            [Some(Kind::Steps(x)), None, Some(Kind::Zero(z)), ..],
        ) if x == z && read[3..].iter().all(Option::is_none) => Made::Like(Kind::Steps(*x)),
        (
            "DequantizeLinear",
            [
                Some(Kind::Steps(x)),
                Some(Kind::Scale(s)),
                Some(Kind::Zero(z)),
            ],
        ) if x == s && s == z => Made::RealNumbers,
        ("Mul", [Some(Kind::Scale(s)), None] | [None, Some(Kind::Scale(s))]) => {
            Made::Like(Kind::Scale(*s))
        }
        (
            "Mul",
            [Some(Kind::Scale(s)), Some(Kind::Steps(x))]
            | [Some(Kind::Steps(x)), Some(Kind::Scale(s))],
        ) if s == x => Made::RealNumbers,
        (op, [Some(kind @ (Kind::Steps(_) | Kind::Scale(_))), rest @ ..])
            if MOVING.contains(&op) && rest.iter().all(Option::is_none) =>
        {
            Made::Like(*kind)
        }
        _ => Made::Unknown,
    }
}

fn refused(node: &Node, index: usize) -> ImportError {
    ImportError::Unrepresentable {
        place: place_of(node, index),
        message:
            "its scale is found for each photo by `DynamicQuantizeLinear`, and the scale does not \
                  cancel out"
                .into(),
        hint: "quantize the float model with fixed scales (`quantize_static` of \
               onnxruntime.quantization), or import the float model and run `dermal quantize`"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &'static str, inputs: &[&'static str], outputs: &[&'static str]) -> Node<'static> {
        Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            ..Node::default()
        }
    }

    fn checked(nodes: Vec<Node<'static>>, output: &str) -> bool {
        let order: Vec<usize> = (0..nodes.len()).collect();
        let graph = Graph {
            nodes,
            ..Graph::default()
        };
        check(&graph, &order, &[output]).is_ok()
    }

    /// What onnxruntime.quantization writes, and then something else.
    fn product(rest: Vec<Node<'static>>) -> Vec<Node<'static>> {
        let mut nodes = vec![
            node("DynamicQuantizeLinear", &["x"], &["q", "s", "z"]),
            node("Mul", &["s", "ws"], &["sw"]),
            node("ConvInteger", &["q", "w", "z", "wz"], &["sum"]),
            node("Cast", &["sum"], &["cast"]),
        ];
        nodes.extend(rest);
        nodes
    }

    #[test]
    fn a_scale_that_meets_its_own_integers_cancels_out() {
        let rest = vec![
            node("Mul", &["cast", "sw"], &["real"]),
            node("Add", &["real", "bias"], &["y"]),
        ];
        assert!(checked(product(rest), "y"));
        let plain = vec![
            node("DynamicQuantizeLinear", &["x"], &["q", "s", "z"]),
            node("DequantizeLinear", &["q", "s", "z"], &["y"]),
        ];
        assert!(checked(plain, "y"));
    }

    #[test]
    fn any_other_use_of_it_is_refused() {
        for rest in [
            // Integers as the answer, or with a bias of their own.
            vec![],
            vec![node("Add", &["cast", "bias"], &["cast2"])],
            // The scale twice, the scale of another value, the scale as a value.
            vec![node("Mul", &["sw", "sw"], &["y"])],
            vec![
                node("DynamicQuantizeLinear", &["v"], &["q2", "s2", "z2"]),
                node("Mul", &["cast", "s2"], &["y"]),
            ],
            vec![node("Add", &["s", "x"], &["y"])],
            vec![node("ConvInteger", &["q", "w"], &["y"])],
            vec![node("MatMulInteger", &["q", "w", "zero"], &["y"])],
        ] {
            let output = rest.last().map_or("cast", |node| node.outputs[0]);
            assert!(!checked(product(rest), output), "{output}");
        }
    }
}
