//! The bounds of the elements of a value, whatever the photo.
//!
//! Interval arithmetic over a plain graph, in `f64`. Sums of weights are not bounded: a convolution
//! or dense layer may give any number. The bounds suffice to tell a probability, which an
//! activation or a softmax bounds, from a raw score. Not here: rounding, which may carry an `f32`
//! past a bound by a few units in the last place.

use super::{BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, NodeId, Op, ReduceKind};
use crate::activation::Activation;
use crate::quantization::Quantization;
use crate::tensor::Tensor;

/// Inclusive bounds; infinite if there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// No element is smaller.
    pub low: f64,
    /// No element is larger.
    pub high: f64,
}

/// How far bounds computed from `f32` weights may differ from the exact ones: the mean of three
/// sigmoids is multiplied by 0.33333334.
const ROUNDING: f64 = 1e-6;

impl Range {
    /// Any number.
    pub const ALL: Self = Self {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };

    /// A probability.
    pub const UNIT: Self = Self {
        low: 0.0,
        high: 1.0,
    };

    /// The bounds of a graph's output.
    #[must_use]
    pub fn of(graph: &Graph, id: NodeId) -> Self {
        let mut ranges: Vec<Self> = Vec::with_capacity(id.0 + 1);
        for node in &graph.nodes()[..=id.0] {
            let inputs: Vec<Self> = node.inputs.iter().map(|&NodeId(i)| ranges[i]).collect();
            ranges.push(match (&node.op, node.quantization) {
                (Op::Quantize, Some(map)) => of_bytes(inputs[0], map),
                _ => of_op(graph, &node.op, &inputs),
            });
        }
        ranges[id.0]
    }

    /// Whether every element is a probability: from 0 to 1.
    #[must_use]
    pub fn is_probability(self) -> bool {
        self.low >= -ROUNDING && self.high <= 1.0 + ROUNDING
    }

    /// Whether there is no bound on either side.
    #[must_use]
    pub fn is_unbounded(self) -> bool {
        self == Self::ALL
    }

    fn new(low: f64, high: f64) -> Self {
        // NaN, such as infinity minus infinity, gives no bound.
        if low <= high {
            Self { low, high }
        } else {
            Self::ALL
        }
    }

    fn hull(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    /// The bounds of `f` of both, if it is monotone in each of them.
    fn corners(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let corners = [
            f(self.low, other.low),
            f(self.low, other.high),
            f(self.high, other.low),
            f(self.high, other.high),
        ];
        if corners.iter().any(|v| v.is_nan()) {
            return Self::ALL;
        }
        let low = corners.iter().copied().fold(f64::INFINITY, f64::min);
        let high = corners.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self::new(low, high)
    }
}

/// A product in which zero times infinity is zero: no element is infinite.
fn times(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

fn of_op(graph: &Graph, op: &Op, inputs: &[Range]) -> Range {
    let first = inputs.first().copied().unwrap_or(Range::ALL);
    match op {
        Op::Conv2d(Conv2d { epilogue, .. }) | Op::Dense(Dense { epilogue, .. }) => {
            of_epilogue(epilogue, inputs.last().copied().unwrap_or(Range::ALL))
        }
        Op::DepthwiseConv2d(DepthwiseConv2d { activation, .. }) => {
            of_activation(*activation, Range::ALL)
        }
        Op::ScaleShift { scale, shift } => {
            let values = |key: &String| graph.tensors.get(key).and_then(Tensor::as_f32);
            match (values(scale), values(shift)) {
                (Some(scale), Some(shift)) => of_scale_shift(first, scale, shift),
                _ => Range::ALL,
            }
        }
        Op::Activation(activation) => of_activation(*activation, first),
        Op::PRelu { .. } if first.low >= 0.0 => first,
        Op::Input
        | Op::Quantize
        | Op::PRelu { .. }
        | Op::MatMul
        | Op::LayerNormalization { .. } => Range::ALL,
        Op::Constant { tensor } => of_constant(graph, tensor),
        Op::Reduce { kind, .. } => match kind {
            ReduceKind::Mean | ReduceKind::Max => first,
            // How many are joined is not known here: they keep their sign.
            ReduceKind::Sum if first.low >= 0.0 => Range::new(0.0, f64::INFINITY),
            ReduceKind::Sum if first.high <= 0.0 => Range::new(f64::NEG_INFINITY, 0.0),
            ReduceKind::Sum => Range::ALL,
            ReduceKind::L2 => Range::new(0.0, f64::INFINITY),
        },
        Op::Softmax { .. } => Range::UNIT,
        Op::Binary { kind, activation } => {
            let second = inputs.get(1).copied().unwrap_or(Range::ALL);
            of_activation(*activation, of_binary(*kind, first, second))
        }
        Op::Concat { .. } => inputs.iter().copied().fold(first, Range::hull),
        Op::Pad(padding) if !padding.is_zero() => first.hull(Range::new(0.0, 0.0)),
        // Padding never enters a pooled maximum or mean.
        Op::Pool2d { .. }
        | Op::GlobalPool { .. }
        | Op::Pad(_)
        | Op::Crop(_)
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice(_)
        | Op::Gather { .. }
        | Op::Dequantize
        | Op::Resize { .. } => first,
    }
}

/// The bounds after rounding to bytes. They bound any number, but that is their own doing: without
/// other bounds it is none.
fn of_bytes(x: Range, map: Quantization) -> Range {
    if x.is_unbounded() {
        return x;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "values are f32; infinities stay infinite"
    )]
    let at = |v: f64| f64::from(map.dequantize(map.quantize(v as f32)));
    Range::new(at(x.low), at(x.high))
}

fn of_constant(graph: &Graph, key: &str) -> Range {
    let values = graph.tensors.get(key).and_then(Tensor::as_f32);
    let points = values.unwrap_or_default().iter().map(|&v| f64::from(v));
    let points = points.map(|v| Range::new(v, v));
    points.reduce(Range::hull).unwrap_or(Range::ALL)
}

fn of_epilogue(epilogue: &Epilogue, residual: Range) -> Range {
    let sum = of_activation(epilogue.activation, Range::ALL);
    match epilogue.residual {
        None => sum,
        Some(post) => of_activation(post, of_binary(BinaryOp::Add, sum, residual)),
    }
}

fn of_scale_shift(x: Range, scale: &[f32], shift: &[f32]) -> Range {
    let channels = scale.len().max(shift.len());
    let at = |values: &[f32], c: usize| {
        let value = if values.len() == 1 {
            values.first()
        } else {
            values.get(c)
        };
        value.map_or(f64::NAN, |&v| f64::from(v))
    };
    let ranges = (0..channels).map(|c| {
        let (scale, shift) = (at(scale, c), at(shift, c));
        let a = times(x.low, scale) + shift;
        let b = times(x.high, scale) + shift;
        Range::new(a.min(b), a.max(b))
    });
    ranges.reduce(Range::hull).unwrap_or(Range::ALL)
}

fn of_binary(kind: BinaryOp, a: Range, b: Range) -> Range {
    match kind {
        BinaryOp::Add => Range::new(a.low + b.low, a.high + b.high),
        BinaryOp::Sub => Range::new(a.low - b.high, a.high - b.low),
        BinaryOp::Mul => a.corners(b, times),
        BinaryOp::Div if b.low > 0.0 || b.high < 0.0 => a.corners(b, |a, b| a / b),
        BinaryOp::Div => Range::ALL,
        BinaryOp::Max => Range::new(a.low.max(b.low), a.high.max(b.high)),
        BinaryOp::Min => Range::new(a.low.min(b.low), a.high.min(b.high)),
    }
}

fn of_activation(activation: Activation, x: Range) -> Range {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the functions are defined on f32; infinities stay infinite"
    )]
    let at = |v: f64| f64::from(activation.apply(v as f32));
    match activation {
        Activation::Linear => x,
        Activation::Relu
        | Activation::Relu6
        | Activation::Sigmoid
        | Activation::HardSigmoid { alpha: 0.0.., .. }
        | Activation::Tanh
        | Activation::Elu { alpha: 0.0.. }
        | Activation::Selu
        | Activation::Softplus
        | Activation::Exp
        | Activation::Erf => Range::new(at(x.low), at(x.high)),
        Activation::LeakyRelu { slope } if slope > 0.0 => Range::new(at(x.low), at(x.high)),
        Activation::HardSigmoid { .. } => Range::UNIT,
        Activation::Softsign => {
            let at = |v: f64| if v.is_infinite() { v.signum() } else { at(v) };
            Range::new(at(x.low), at(x.high))
        }
        Activation::ReluGeneral {
            max_value,
            negative_slope: 0.0,
            threshold,
        } => {
            let most = max_value.map_or(f64::INFINITY, f64::from);
            let least = f64::from(threshold).min(0.0);
            Range::new(least.min(most), x.high.max(0.0).min(most))
        }
        // They dip below zero, none by as much as a half, and then rise from zero.
        Activation::Silu
        | Activation::HardSwish
        | Activation::Gelu
        | Activation::GeluTanh
        | Activation::Mish => {
            let low = if x.low >= 0.0 { at(x.low) } else { -0.5 };
            Range::new(low, at(x.high.max(0.0)))
        }
        Activation::Sqrt | Activation::Log | Activation::Pow { exponent: 0.0.. }
            if x.low >= 0.0 =>
        {
            Range::new(at(x.low), at(x.high))
        }
        Activation::Pow { exponent } if exponent > 0.0 && exponent % 2.0 == 0.0 => {
            let away = at(x.low.abs().max(x.high.abs()));
            Range::new(0.0, away)
        }
        Activation::Reciprocal if x.low > 0.0 || x.high < 0.0 => Range::new(at(x.high), at(x.low)),
        Activation::Neg => Range::new(-x.high, -x.low),
        Activation::Abs if x.low >= 0.0 => x,
        Activation::Abs => Range::new((-x.high).max(0.0), x.high.max(-x.low)),
        Activation::Sin | Activation::Cos => Range::new(-1.0, 1.0),
        Activation::Elu { .. }
        | Activation::LeakyRelu { .. }
        | Activation::ReluGeneral { .. }
        | Activation::Sqrt
        | Activation::Reciprocal
        | Activation::Pow { .. }
        | Activation::Log => Range::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Kernel, Padding, PoolKind};

    /// A graph with one dense layer of two outputs, which may be any number.
    fn scores() -> (Graph, NodeId) {
        let mut graph = Graph::new("test");
        let x = graph.push_input("x", [3].into()).unwrap();
        let weights = Tensor::from_f32([3, 2], &[0.5; 6]).unwrap();
        graph.tensors.insert("w".into(), weights);
        let dense = Dense {
            units: 2,
            kernel: Kernel::plain("w"),
            bias: None,
            epilogue: Epilogue::default(),
        };
        let id = graph.push("scores", Op::Dense(dense), &[x]).unwrap();
        (graph, id)
    }

    fn scale_shift(graph: &mut Graph, name: &str, x: NodeId, scale: f32, shift: f32) -> NodeId {
        let one = |v: f32| Tensor::from_f32([1], &[v]).unwrap();
        let [a, b] = [format!("{name}/a"), format!("{name}/b")];
        graph.tensors.insert(a.clone(), one(scale));
        graph.tensors.insert(b.clone(), one(shift));
        let op = Op::ScaleShift { scale: a, shift: b };
        graph.push(name, op, &[x]).unwrap()
    }

    #[test]
    fn activations_bound_what_they_bound() {
        let inf = f64::INFINITY;
        for (activation, low, high) in [
            (Activation::Linear, -inf, inf),
            (Activation::Relu, 0.0, inf),
            (Activation::Relu6, 0.0, 6.0),
            (Activation::Sigmoid, 0.0, 1.0),
            (
                Activation::HardSigmoid {
                    alpha: 0.2,
                    beta: 0.5,
                },
                0.0,
                1.0,
            ),
            (Activation::Tanh, -1.0, 1.0),
            (Activation::Softsign, -1.0, 1.0),
            (Activation::Softplus, 0.0, inf),
            (Activation::Exp, 0.0, inf),
            (Activation::Elu { alpha: 1.5 }, -1.5, inf),
            (Activation::LeakyRelu { slope: 0.1 }, -inf, inf),
            (Activation::Silu, -0.5, inf),
            (
                Activation::ReluGeneral {
                    max_value: Some(1.0),
                    negative_slope: 0.0,
                    threshold: 0.0,
                },
                0.0,
                1.0,
            ),
        ] {
            let (mut graph, scores) = scores();
            let op = Op::Activation(activation);
            let id = graph.push("head", op, &[scores]).unwrap();
            assert_eq!(Range::of(&graph, id), Range { low, high }, "{activation:?}");
        }
    }

    #[test]
    fn every_activation_stays_inside_its_bounds() {
        let all = [
            Activation::Relu,
            Activation::Relu6,
            Activation::LeakyRelu { slope: 0.2 },
            Activation::LeakyRelu { slope: -0.2 },
            Activation::Sigmoid,
            Activation::HardSigmoid {
                alpha: -0.2,
                beta: 0.5,
            },
            Activation::Silu,
            Activation::HardSwish,
            Activation::Tanh,
            Activation::Elu { alpha: 1.0 },
            Activation::Elu { alpha: -1.0 },
            Activation::Selu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Softplus,
            Activation::Softsign,
            Activation::Exp,
            Activation::Mish,
            Activation::Erf,
            Activation::Sqrt,
            Activation::Reciprocal,
            Activation::Pow { exponent: 2.0 },
            Activation::Pow { exponent: 3.0 },
            Activation::Pow { exponent: 0.5 },
            Activation::Pow { exponent: -1.0 },
            Activation::Neg,
            Activation::Abs,
            Activation::Log,
            Activation::Sin,
            Activation::Cos,
            Activation::ReluGeneral {
                max_value: Some(2.0),
                negative_slope: 0.0,
                threshold: -1.0,
            },
            Activation::ReluGeneral {
                max_value: None,
                negative_slope: 0.5,
                threshold: 1.0,
            },
        ];
        for activation in all {
            for (low, high) in [(-40i16, 40i16), (-5, -1), (-3, 2), (0, 3), (1, 9)] {
                let [low, high] = [low, high].map(f64::from);
                let bounds = of_activation(activation, Range { low, high });
                for step in 0..=200 {
                    let x = low + (high - low) * f64::from(step) / 200.0;
                    #[expect(clippy::cast_possible_truncation, reason = "as the kernels take it")]
                    let y = f64::from(activation.apply(x as f32));
                    if y.is_nan() {
                        // Not defined there, and nothing is said of it.
                        assert_eq!(bounds, Range::ALL, "{activation:?} at {x}");
                        continue;
                    }
                    let inside = bounds.low - 1e-6 <= y && y <= bounds.high + 1e-6;
                    assert!(inside, "{activation:?} at {x}: {y} is not in {bounds:?}");
                }
            }
        }
    }

    #[test]
    fn arithmetic_on_probabilities_is_followed() {
        let (mut graph, scores) = scores();
        let sigmoid = Op::Activation(Activation::Sigmoid);
        let p = graph.push("p", sigmoid.clone(), &[scores]).unwrap();
        let q = graph.push("q", sigmoid, &[scores]).unwrap();
        let binary = |kind| Op::Binary {
            kind,
            activation: Activation::Linear,
        };
        let sum = graph.push("sum", binary(BinaryOp::Add), &[p, q]).unwrap();
        assert_eq!(Range::of(&graph, sum).high, 2.0);
        let mean = scale_shift(&mut graph, "mean", sum, 0.5, 0.0);
        assert!(Range::of(&graph, mean).is_probability());
        let rest = scale_shift(&mut graph, "rest", p, -1.0, 1.0);
        let both = graph.push("both", Op::Concat { axis: 0 }, &[rest, p]);
        assert!(Range::of(&graph, both.unwrap()).is_probability());
        let product = graph.push("product", binary(BinaryOp::Mul), &[p, q]);
        assert!(Range::of(&graph, product.unwrap()).is_probability());
        let gated = graph.push("gated", binary(BinaryOp::Mul), &[scores, p]);
        assert!(Range::of(&graph, gated.unwrap()).is_unbounded());
        let odds = graph.push("odds", binary(BinaryOp::Div), &[p, rest]);
        assert!(Range::of(&graph, odds.unwrap()).is_unbounded());
        let percent = scale_shift(&mut graph, "percent", p, 100.0, 0.0);
        let percent = Range::of(&graph, percent);
        assert_eq!((percent.low, percent.high), (0.0, 100.0));
        assert!(!percent.is_probability() && !percent.is_unbounded());
        let third = scale_shift(&mut graph, "third", sum, 0.500_000_06, 0.0);
        assert!(Range::of(&graph, third).is_probability(), "rounding");
    }

    #[test]
    fn pooling_keeps_bounds_and_padding_adds_zero() {
        let mut graph = Graph::new("test");
        let x = graph.push_input("x", [4, 4, 2].into()).unwrap();
        let p = graph.push("p", Op::Softmax { axis: None }, &[x]).unwrap();
        let high = scale_shift(&mut graph, "high", p, 1.0, 2.0);
        let pad = Op::Pad(Padding {
            top: 1,
            ..Padding::default()
        });
        let padded = graph.push("padded", pad, &[high]).unwrap();
        let pool = |keep_dims| Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims,
        };
        let pooled = graph.push("pooled", pool(false), &[high]).unwrap();
        let bounds = |id| {
            let range = Range::of(&graph, id);
            (range.low, range.high)
        };
        assert_eq!(bounds(pooled), (2.0, 3.0));
        assert_eq!(bounds(padded), (0.0, 3.0));
    }
}
