//! Facts in a file besides the graph: the loss of its training, and how the graph scales the photo
//! at its start.

use crate::graph::{Conv2d, Graph, NodeId, Op};
use crate::tensor::Tensor;

/// The loss with which a model was trained, according to its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name in the source, such as `binary_crossentropy`.
    pub name: String,
    /// The kind of outputs that it expects.
    pub kind: LossKind,
    /// Whether it takes logits, so that the model may leave out softmax or sigmoid.
    pub from_logits: bool,
}

/// What a loss assumes about a model's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Independent yes or no for each output.
    Binary,
    /// One of the classes.
    Categorical,
    /// Something else, such as a squared error.
    Other,
}

/// The scaling of the photo at the start of a model, channel by channel: `x * scale + shift`.
#[derive(Clone, Debug, PartialEq)]
pub struct InputScaling {
    /// A factor for each channel.
    pub scale: Vec<f64>,
    /// The number added to each channel.
    pub shift: Vec<f64>,
}

/// The scaling at the photo's input of a graph as it was imported, before passes fold it away:
/// `Rescaling`, `Normalization`, a batch normalization or arithmetic, whatever its name and however
/// deep the models are nested. Cropping, padding, resizing and another order of the channels do not
/// matter. `None` if the photo goes through other operations first, or also through them on another
/// path, or is scaled in different ways.
#[must_use]
pub fn input_scaling(graph: &Graph) -> Option<InputScaling> {
    let (photo, node) = graph
        .inputs()
        .find(|(_, node)| node.shape.hwc().is_some())?;
    let start = InputScaling {
        scale: vec![1.0; node.shape.channels()],
        shift: vec![0.0; node.shape.channels()],
    };
    let readers = live_readers(graph);
    let mut found: Option<InputScaling> = None;
    let mut waiting = vec![(photo, start.clone())];
    // A node is looked at once for each path; scaling nodes usually have one reader.
    for _ in 0..graph.nodes().len() {
        let Some((id, so_far)) = waiting.pop() else {
            break;
        };
        for &reader in &readers[id.0] {
            match step(graph, reader, &so_far) {
                Some(next) => waiting.push((reader, next)),
                None if so_far == start => return None,
                None if found.as_ref().is_some_and(|found| *found != so_far) => return None,
                None => found = Some(so_far.clone()),
            }
        }
    }
    found
}

/// The scaling after `reader`, if it changes a pixel's value in no other way.
fn step(graph: &Graph, reader: NodeId, x: &InputScaling) -> Option<InputScaling> {
    match &graph.node(reader).op {
        Op::ScaleShift { scale, shift } => {
            let values = |key: &String| graph.tensors.get(key).and_then(Tensor::as_f32);
            let (scale, shift) = (values(scale)?, values(shift)?);
            let at = |values: &[f32], c: usize| {
                let value = values.get(if values.len() == 1 { 0 } else { c });
                value.map(|&v| f64::from(v))
            };
            let mut next = x.clone();
            for c in 0..x.scale.len() {
                let (a, b) = (at(scale, c)?, at(shift, c)?);
                next.scale[c] *= a;
                next.shift[c] = next.shift[c] * a + b;
            }
            Some(next)
        }
        Op::Conv2d(conv) => {
            let order = picked_channels(graph, conv)?;
            let picked = |list: &[f64]| -> Option<Vec<f64>> {
                order.iter().map(|&i| list.get(i).copied()).collect()
            };
            Some(InputScaling {
                scale: picked(&x.scale)?,
                shift: picked(&x.shift)?,
            })
        }
        Op::Pad(_) | Op::Crop(_) | Op::Resize { .. } | Op::Quantize | Op::Dequantize => {
            Some(x.clone())
        }
        _ => None,
    }
}

/// For each node, the nodes that read it and lead to the output.
fn live_readers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut live = vec![false; graph.nodes().len()];
    let mut readers = vec![Vec::new(); live.len()];
    live[graph.output().0] = true;
    for id in graph.ids().rev() {
        if live[id.0] {
            for input in &graph.node(id).inputs {
                live[input.0] = true;
                readers[input.0].push(id);
            }
        }
    }
    readers
}

/// The channels that a convolution picks, if it does nothing else: RGB becomes BGR this way.
fn picked_channels(graph: &Graph, conv: &Conv2d) -> Option<Vec<usize>> {
    let window = conv.window;
    let alone = window.kernel == [1, 1] && window.strides == [1, 1] && window.padding.is_zero();
    if !alone || conv.groups != 1 || conv.bias.is_some() {
        return None;
    }
    let weights = graph.tensors.get(&conv.kernel.tensor)?.as_f32()?;
    (0..conv.filters)
        .map(|column| {
            let mut ones = Vec::new();
            for (row, weights) in weights.chunks_exact(conv.filters).enumerate() {
                match weights[column] {
                    0.0 => {}
                    1.0 => ones.push(row),
                    _ => return None,
                }
            }
            match ones.as_slice() {
                [row] => Some(*row),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::graph::{Kernel, PoolKind};
    use crate::tensor::{Shape, Tensor};

    fn scaled(
        graph: &mut Graph,
        input: NodeId,
        name: &str,
        scale: &[f32],
        shift: &[f32],
    ) -> NodeId {
        let keys = ["scale", "shift"].map(|part| format!("{name}/{part}"));
        for (key, values) in keys.iter().zip([scale, shift]) {
            let tensor = Tensor::from_f32([values.len()], values).unwrap();
            graph.tensors.insert(key.clone(), tensor);
        }
        let [scale, shift] = keys;
        graph
            .push(name, Op::ScaleShift { scale, shift }, &[input])
            .unwrap()
    }

    fn photo() -> (Graph, NodeId) {
        let mut graph = Graph::new("m");
        let id = graph.push_input("photo", Shape::new(&[4, 4, 3])).unwrap();
        (graph, id)
    }

    #[test]
    fn scaling_at_the_input_is_composed() {
        let (mut graph, mut x) = photo();
        let bgr = [0., 0., 1., 0., 1., 0., 1., 0., 0.];
        let tensor = Tensor::from_f32([1, 1, 3, 3], &bgr).unwrap();
        graph.tensors.insert("pick".into(), tensor);
        x = scaled(&mut graph, x, "first", &[0.5], &[1.0, 2.0, 3.0]);
        let pick = Op::Conv2d(Conv2d {
            window: crate::graph::Window {
                kernel: [1, 1],
                strides: [1, 1],
                dilations: [1, 1],
                padding: crate::graph::Padding::default(),
            },
            groups: 1,
            filters: 3,
            kernel: Kernel::plain("pick"),
            bias: None,
            epilogue: crate::graph::Epilogue::default(),
        });
        x = graph.push("bgr", pick, &[x]).unwrap();
        x = scaled(&mut graph, x, "second", &[2.0], &[-1.0]);
        let pool = Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims: false,
        };
        graph.push("pool", pool, &[x]).unwrap();
        let found = input_scaling(&graph).unwrap();
        assert_eq!(found.scale, [1.0, 1.0, 1.0]);
        assert_eq!(found.shift, [5.0, 3.0, 1.0]);
    }

    #[test]
    fn nothing_is_found_behind_other_operations_or_beside_them() {
        let (mut graph, x) = photo();
        let y = graph
            .push("exp", Op::Activation(Activation::Exp), &[x])
            .unwrap();
        scaled(&mut graph, y, "late", &[0.1], &[0.0]);
        assert_eq!(input_scaling(&graph), None);
        let (mut graph, x) = photo();
        let y = scaled(&mut graph, x, "one", &[0.1], &[0.0]);
        let add = Op::Binary {
            kind: crate::graph::BinaryOp::Add,
            activation: Activation::Linear,
        };
        graph.push("sum", add, &[x, y]).unwrap();
        assert_eq!(input_scaling(&graph), None);
    }
}
