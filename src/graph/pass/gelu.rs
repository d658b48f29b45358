//! Recognises GELU where it is written out: `x * 0.5 * (1 + erf(x / sqrt(2)))`, or with a tanh in
//! place of the error function, in any order of the factors.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::chain::{close, either, function, scaled};
use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{BinaryOp, Graph, GraphError, NodeId, Op};

/// Replaces the last node of a written-out GELU by the function.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn recognize_gelu(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        if let Some((x, function)) = gelu(&draft, id) {
            let node = draft.node_mut(id);
            node.op = Op::Activation(function);
            node.inputs = vec![x];
        }
    }
    draft.finish()
}

/// The input of a GELU that ends here. Its factor 0.5 may come last, or be part of either side of
/// the product.
fn gelu(draft: &Draft, id: NodeId) -> Option<(NodeId, Activation)> {
    let (product, last) = match scaled(draft, id) {
        Some((product, scale, 0.0)) => (product, scale),
        Some(_) => return None,
        None => (id, 1.0),
    };
    let sides = either(draft, product, BinaryOp::Mul).into_iter().flatten();
    let mut found = sides.filter_map(|[side, gate]| {
        let (gate, factor, function) = gate_of(draft, gate)?;
        let (x, own) = match scaled(draft, side) {
            Some((x, scale, 0.0)) if side != gate => (x, scale),
            _ => (side, 1.0),
        };
        (x == gate && close(last * factor * own, 0.5)).then_some((x, function))
    });
    found.next()
}

/// The input of `factor * (1 + erf(x / sqrt(2)))` or of its approximation, and the factor.
fn gate_of(draft: &Draft, id: NodeId) -> Option<(NodeId, f32, Activation)> {
    let (curve, factor, shift) = scaled(draft, id)?;
    if !close(shift, f64::from(factor)) || factor <= 0.0 {
        return None;
    }
    match function(draft, curve)? {
        (inner, Activation::Erf) => {
            let (x, scale, 0.0) = scaled(draft, inner)? else {
                return None;
            };
            close(scale, FRAC_1_SQRT_2).then_some((x, factor, Activation::Gelu))
        }
        (inner, Activation::Tanh) => {
            let x = tanh_input(draft, inner)?;
            Some((x, factor, Activation::GeluTanh))
        }
        _ => None,
    }
}

/// The `x` of `sqrt(2 / pi) * (x + 0.044715 * x^3)`.
fn tanh_input(draft: &Draft, id: NodeId) -> Option<NodeId> {
    let (sum, scale, 0.0) = scaled(draft, id)? else {
        return None;
    };
    if !close(scale, FRAC_2_SQRT_PI * FRAC_1_SQRT_2) {
        return None;
    }
    let sides = either(draft, sum, BinaryOp::Add).into_iter().flatten();
    let mut found = sides.filter_map(|[x, part]| {
        let (cube, factor, 0.0) = scaled(draft, part)? else {
            return None;
        };
        (close(factor, 0.044_715) && is_cube(draft, cube, x)).then_some(x)
    });
    found.next()
}

fn is_cube(draft: &Draft, id: NodeId, x: NodeId) -> bool {
    let is_power = function(draft, id)
        .is_some_and(|(of, f)| of == x && matches!(f, Activation::Pow { exponent: 3.0 }));
    let mut products = either(draft, id, BinaryOp::Mul).into_iter().flatten();
    is_power
        || products.any(|[square, other]| {
            let of_two = either(draft, square, BinaryOp::Mul)[0];
            other == x && of_two == Some([x, x])
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::tensor::Tensor;

    struct Net(Graph, usize);

    impl Net {
        fn push(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
            self.1 += 1;
            self.0.push(format!("n{}", self.1), op, inputs).unwrap()
        }

        fn map(&mut self, x: NodeId, scale: f32, shift: f32) -> NodeId {
            let keys = [("scale", scale), ("shift", shift)].map(|(name, value)| {
                let key = format!("{name}{}", self.1);
                let tensor = Tensor::from_f32([1], &[value]).unwrap();
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
    }

    /// What becomes of a graph that `build` makes of an input.
    fn ops(build: impl FnOnce(&mut Net, NodeId) -> NodeId) -> Vec<Op> {
        let mut net = Net(Graph::new("net"), 0);
        let x = net.0.push_input("x", [4].into()).unwrap();
        let y = build(&mut net, x);
        net.0.set_output(y).unwrap();
        let graph = recognize_gelu(net.0).unwrap();
        graph.nodes()[1..].iter().map(|n| n.op.clone()).collect()
    }

    #[test]
    fn every_order_of_the_factors_is_one_function() {
        let root = 0.707_106_77;
        let gelu = [Op::Activation(Activation::Gelu)];
        for order in 0..3 {
            let found = ops(|net, x| {
                let inner = net.map(x, root, 0.0);
                let erf = net.push(Op::Activation(Activation::Erf), &[inner]);
                let factor = if order == 1 { 0.5 } else { 1.0 };
                let gate = net.map(erf, factor, factor);
                let side = if order == 2 { net.map(x, 0.5, 0.0) } else { x };
                let product = net.two(BinaryOp::Mul, gate, side);
                if order == 0 {
                    net.map(product, 0.5, 0.0)
                } else {
                    product
                }
            });
            assert_eq!(found, gelu, "{order}");
        }
        let found = ops(|net, x| {
            let square = net.two(BinaryOp::Mul, x, x);
            let cube = net.two(BinaryOp::Mul, square, x);
            let part = net.map(cube, 0.044_715, 0.0);
            let sum = net.two(BinaryOp::Add, x, part);
            let inner = net.map(sum, 0.797_884_6, 0.0);
            let tanh = net.push(Op::Activation(Activation::Tanh), &[inner]);
            let gate = net.map(tanh, 1.0, 1.0);
            let half = net.map(x, 0.5, 0.0);
            net.two(BinaryOp::Mul, half, gate)
        });
        assert_eq!(found, [Op::Activation(Activation::GeluTanh)]);
    }

    #[test]
    fn what_differs_in_a_number_or_an_operand_stays() {
        for (root, half, own) in [
            (0.7, 0.5, true),
            (0.707_106_77, 0.6, true),
            (0.707_106_77, 0.5, false),
        ] {
            let found = ops(|net, x| {
                let other = net.push(Op::Activation(Activation::Relu), &[x]);
                let inner = net.map(if own { x } else { other }, root, 0.0);
                let erf = net.push(Op::Activation(Activation::Erf), &[inner]);
                let gate = net.map(erf, 1.0, 1.0);
                let product = net.two(BinaryOp::Mul, x, gate);
                net.map(product, half, 0.0)
            });
            assert!(found.len() > 3, "{root} {half} {own}");
        }
    }
}
