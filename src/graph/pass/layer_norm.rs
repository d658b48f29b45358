//! Recognises layer normalization where it is written out, as exporters did before ONNX had an
//! operator for it: `(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + shift`.

use super::chain::{either, function, plain, scaled, two};
use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{BinaryOp, Graph, GraphError, NodeId, Op, ReduceKind};
use crate::tensor::Tensor;

/// Replaces the chain by one node, and moves what scales and shifts it into that node.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn recognize_layer_norm(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        if let Some((x, epsilon)) = normalized(&draft, id) {
            let name = draft.node(id).name.clone();
            let one = |value: f32| Tensor::from_f32([1], &[value]).ok();
            let (Some(one), Some(zero)) = (one(1.0), one(0.0)) else {
                continue;
            };
            let scale = draft.store(id, &format!("{name}.scale"), one);
            let shift = draft.store(id, &format!("{name}.shift"), zero);
            let node = draft.node_mut(id);
            node.op = Op::LayerNormalization {
                scale,
                shift,
                epsilon,
            };
            node.inputs = vec![x];
        } else {
            absorb(&mut draft, id);
        }
    }
    draft.finish()
}

/// The input and the epsilon of a normalization along the last axis that ends here.
fn normalized(draft: &Draft, id: NodeId) -> Option<(NodeId, f32)> {
    let (centred, variance) = quotient(draft, id)?;
    let centred = plain(draft, centred);
    let x = centred_of(draft, centred)?;
    let (mean, 1.0, epsilon) = scaled(draft, plain(draft, variance))? else {
        return None;
    };
    let square = mean_of(draft, plain(draft, mean))?;
    let of_square = plain(draft, square_of(draft, plain(draft, square))?);
    // Some exporters subtract the mean twice.
    let same = of_square == centred || centred_of(draft, of_square) == Some(x);
    let fits = draft.node(id).shape == draft.node(x).shape;
    (same && fits && (0.0..f32::INFINITY).contains(&epsilon)).then_some((x, epsilon))
}

/// Numerator and variance of `a / sqrt(v)`, or of `a * (1 / sqrt(v))`.
fn quotient(draft: &Draft, id: NodeId) -> Option<(NodeId, NodeId)> {
    if let Some([a, b]) = two(draft, id, BinaryOp::Div) {
        let (variance, Activation::Sqrt) = function(draft, plain(draft, b))? else {
            return None;
        };
        return Some((a, variance));
    }
    let sides = either(draft, id, BinaryOp::Mul).into_iter().flatten();
    let mut found = sides.filter_map(|[a, b]| {
        let (inner, outer) = function(draft, plain(draft, b))?;
        let variance = match outer {
            Activation::Pow { exponent: -0.5 } => inner,
            Activation::Reciprocal => match function(draft, plain(draft, inner))? {
                (variance, Activation::Sqrt) => variance,
                _ => return None,
            },
            _ => return None,
        };
        Some((a, variance))
    });
    found.next()
}

/// The `x` of `x - mean(x)`.
fn centred_of(draft: &Draft, id: NodeId) -> Option<NodeId> {
    let [x, mean] = two(draft, id, BinaryOp::Sub)?;
    let of = plain(draft, mean_of(draft, plain(draft, mean))?);
    let same =
        plain(draft, x) == of && draft.node(x).shape.channels() == draft.node(of).shape.channels();
    same.then_some(x)
}

/// The input of a mean along the last axis.
fn mean_of(draft: &Draft, id: NodeId) -> Option<NodeId> {
    let Op::Reduce {
        kind: ReduceKind::Mean,
        axes,
        ..
    } = &draft.node(id).op
    else {
        return None;
    };
    let x = draft.node(id).inputs[0];
    (axes[..] == [draft.node(x).shape.rank() - 1]).then_some(x)
}

fn square_of(draft: &Draft, id: NodeId) -> Option<NodeId> {
    match function(draft, id) {
        Some((x, Activation::Pow { exponent: 2.0 })) => Some(x),
        Some(_) => None,
        None => {
            let [a, b] = two(draft, id, BinaryOp::Mul)?;
            (a == b).then_some(a)
        }
    }
}

/// Moves a scale and a shift into the layer normalization before it, if nobody else reads that.
fn absorb(draft: &mut Draft, id: NodeId) {
    let Op::ScaleShift { scale, shift } = &draft.node(id).op else {
        return;
    };
    let before = draft.node(id).inputs[0];
    let Op::LayerNormalization {
        scale: inner_scale,
        shift: inner_shift,
        epsilon,
    } = &draft.node(before).op
    else {
        return;
    };
    if !draft.only_feeds(before, id) {
        return;
    }
    let n = draft.node(id).shape.channels();
    let values = |key: &str| -> Option<Vec<f32>> {
        let values = draft.tensors.get(key)?.as_f32()?;
        match values {
            [one] => Some(vec![*one; n]),
            all if all.len() == n => Some(all.to_vec()),
            _ => None,
        }
    };
    let lists = [scale, shift, inner_scale, inner_shift].map(|key| values(key));
    let [
        Some(scale),
        Some(shift),
        Some(inner_scale),
        Some(inner_shift),
    ] = lists
    else {
        return;
    };
    let epsilon = *epsilon;
    let all = (0..n).map(|i| {
        let [scale, shift, by, plus] =
            [scale[i], shift[i], inner_scale[i], inner_shift[i]].map(f64::from);
        (by * scale, plus * scale + shift)
    });
    #[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
    let (scales, shifts): (Vec<f32>, Vec<f32>) = all
        .map(|(scale, shift)| (scale as f32, shift as f32))
        .unzip();
    let tensors = [scales, shifts].map(|list| Tensor::from_f32([n], &list).ok());
    let [Some(scales), Some(shifts)] = tensors else {
        return;
    };
    let name = draft.node(id).name.clone();
    let x = draft.node(before).inputs[0];
    let scale = draft.store(id, &format!("{name}.scale"), scales);
    let shift = draft.store(id, &format!("{name}.shift"), shifts);
    let node = draft.node_mut(id);
    node.op = Op::LayerNormalization {
        scale,
        shift,
        epsilon,
    };
    node.inputs = vec![x];
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Net(Graph, usize);

    impl Net {
        fn push(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
            self.1 += 1;
            self.0.push(format!("n{}", self.1), op, inputs).unwrap()
        }

        fn map(&mut self, x: NodeId, scale: &[f32], shift: &[f32]) -> NodeId {
            let keys = [("scale", scale), ("shift", shift)].map(|(name, values)| {
                let key = format!("{name}{}", self.1);
                let tensor = Tensor::from_f32([values.len()], values).unwrap();
                self.0.tensors.insert(key.clone(), tensor);
                key
            });
            let [scale, shift] = keys;
            self.push(Op::ScaleShift { scale, shift }, &[x])
        }

        fn two(&mut self, kind: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
            let activation = Activation::Linear;
            self.push(Op::Binary { kind, activation }, &[a, b])
        }

        fn mean(&mut self, x: NodeId, axis: usize) -> NodeId {
            let op = Op::Reduce {
                kind: ReduceKind::Mean,
                axes: vec![axis],
                keep_dims: true,
            };
            self.push(op, &[x])
        }
    }

    /// The chain over an axis of `[3, 3]`; with a second subtraction, and with a reciprocal.
    fn chain(axis: usize, twice: bool, reciprocal: bool) -> Graph {
        let mut net = Net(Graph::new("net"), 0);
        let x = net.0.push_input("x", [3, 3].into()).unwrap();
        let mean = net.mean(x, axis);
        let centred = net.two(BinaryOp::Sub, x, mean);
        let again = if twice {
            net.two(BinaryOp::Sub, x, mean)
        } else {
            centred
        };
        let square = net.two(BinaryOp::Mul, again, again);
        let variance = net.mean(square, axis);
        let more = net.map(variance, &[1.0], &[1e-6]);
        let root = net.push(Op::Activation(Activation::Sqrt), &[more]);
        let unit = if reciprocal {
            let inverse = net.push(Op::Activation(Activation::Reciprocal), &[root]);
            net.two(BinaryOp::Mul, centred, inverse)
        } else {
            net.two(BinaryOp::Div, centred, root)
        };
        let scaled = net.map(unit, &[1.0, 2.0, 3.0], &[0.0]);
        let y = net.map(scaled, &[1.0], &[0.5, 0.25, 0.125]);
        net.0.set_output(y).unwrap();
        net.0
    }

    #[test]
    fn a_chain_along_the_last_axis_is_one_node_with_its_scale_and_shift() {
        for (twice, reciprocal) in [(false, false), (true, false), (false, true)] {
            let graph = recognize_layer_norm(chain(1, twice, reciprocal)).unwrap();
            let [_, node] = graph.nodes() else {
                panic!("{} nodes", graph.nodes().len());
            };
            let Op::LayerNormalization {
                scale,
                shift,
                epsilon,
            } = &node.op
            else {
                panic!("{:?}", node.op);
            };
            let list = |key: &str| graph.tensors[key].as_f32().unwrap().to_vec();
            assert_eq!(list(scale), [1.0, 2.0, 3.0]);
            assert_eq!(list(shift), [0.5, 0.25, 0.125]);
            assert!((epsilon - 1e-6).abs() < 1e-12);
        }
    }

    #[test]
    fn a_chain_along_another_axis_stays() {
        let graph = recognize_layer_norm(chain(0, false, false)).unwrap();
        assert_eq!(graph.nodes().len(), chain(0, false, false).nodes().len());
    }
}
