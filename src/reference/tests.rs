//! The reference compared with sums done by hand, and its gradients with finite differences.

use candle_core::Var;

use super::*;
use crate::graph::Epilogue;
use crate::tensor::{Shape, Tensor as Weights};

fn weights(graph: &mut Graph, key: &str, shape: &[usize], values: &[f32]) -> Kernel {
    let tensor = Weights::from_f32(Shape::new(shape), values).unwrap();
    graph.tensors.insert(key.to_owned(), tensor);
    Kernel::plain(key)
}

/// Values without a pattern, in -1..1, and far from the kinks of activations.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let v = (state >> 8) as f32 / 8_388_608.0 - 1.0;
        v + 0.01f32.copysign(v)
    };
    (0..len).map(|_| next()).collect()
}

fn window(kernel: [usize; 2], strides: [usize; 2], pad: [usize; 4]) -> Window {
    let [top, left, bottom, right] = pad;
    let padding = Padding {
        top,
        left,
        bottom,
        right,
    };
    Window {
        kernel,
        strides,
        dilations: [1, 1],
        padding,
    }
}

fn one_op(shape: &[usize], make: impl FnOnce(&mut Graph) -> Op) -> Graph {
    let mut graph = Graph::new("one op");
    let x = graph.push_input("x", Shape::new(shape)).unwrap();
    let op = make(&mut graph);
    graph.push("y", op, &[x]).unwrap();
    graph
}

fn run(graph: &Graph, x: &[f32]) -> Vec<f32> {
    Reference::new(graph)
        .run(&BTreeMap::from([("x", x)]))
        .unwrap()
}

fn conv(window: Window, groups: usize, filters: usize, kernel: Kernel) -> Op {
    let epilogue = Epilogue::default();
    Op::Conv2d(Conv2d {
        window,
        groups,
        filters,
        kernel,
        bias: None,
        epilogue,
    })
}

#[test]
fn a_convolution_is_the_sum_done_by_hand() {
    // 2x3 image, one channel; 2x2 window, stride 2, one column of padding on the right.
    let graph = one_op(&[2, 3, 1], |g| {
        let kernel = weights(g, "k", &[2, 2, 1, 1], &[1.0, 10.0, 100.0, 1000.0]);
        conv(window([2, 2], [2, 2], [0, 0, 0, 1]), 1, 1, kernel)
    });
    assert_eq!(
        run(&graph, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        [5421.0, 603.0]
    );
}

#[test]
fn groups_see_only_their_channels() {
    let graph = one_op(&[1, 1, 4], |g| {
        // Output 0 and 1 read channels 0 and 1; output 2 and 3 read channels 2 and 3.
        let kernel = weights(
            g,
            "k",
            &[1, 1, 2, 4],
            &[1.0, 2.0, 3.0, 4.0, 10., 20., 30., 40.],
        );
        conv(window([1, 1], [1, 1], [0; 4]), 2, 4, kernel)
    });
    assert_eq!(
        run(&graph, &[1.0, 2.0, 3.0, 4.0]),
        [21.0, 42.0, 129.0, 172.0]
    );
}

#[test]
fn a_depthwise_multiplier_orders_outputs_as_keras_does() {
    let graph = one_op(&[1, 1, 2], |g| {
        let kernel = weights(g, "k", &[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let bias = None;
        let window = window([1, 1], [1, 1], [0; 4]);
        let activation = Activation::Linear;
        Op::DepthwiseConv2d(DepthwiseConv2d {
            window,
            multiplier: 2,
            kernel,
            bias,
            activation,
        })
    });
    assert_eq!(run(&graph, &[10.0, 100.0]), [10.0, 20.0, 300.0, 400.0]);
}

#[test]
fn an_average_counts_no_padding_and_a_maximum_never_is_padding() {
    let pooled = |kind| {
        let window = window([2, 2], [2, 2], [1, 1, 0, 0]);
        run(
            &one_op(&[3, 1, 1], |_| Op::Pool2d { kind, window }),
            &[-1.0, -2.0, -4.0],
        )
    };
    assert_eq!(pooled(PoolKind::Average), [-1.0, -3.0]);
    assert_eq!(pooled(PoolKind::Max), [-1.0, -2.0]);
}

#[test]
fn resizing_reads_half_pixels() {
    let resized = |kind, size| {
        run(
            &one_op(&[1, 2, 1], |_| Op::Resize { kind, size }),
            &[0.0, 8.0],
        )
    };
    assert_eq!(resized(ResizeKind::Nearest, [1, 4]), [0.0, 0.0, 8.0, 8.0]);
    assert_eq!(resized(ResizeKind::Bilinear, [1, 4]), [0.0, 2.0, 6.0, 8.0]);
}

#[test]
fn activations_are_their_definition() {
    let kinds = [
        Activation::Relu,
        Activation::Relu6,
        Activation::ReluGeneral {
            max_value: Some(1.5),
            negative_slope: 0.1,
            threshold: 0.5,
        },
        Activation::LeakyRelu { slope: 0.3 },
        Activation::Sigmoid,
        Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Activation::Silu,
        Activation::HardSwish,
        Activation::Tanh,
        Activation::Elu { alpha: 0.7 },
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
        Activation::Pow { exponent: 3.0 },
        Activation::Pow { exponent: -0.5 },
        Activation::Neg,
        Activation::Abs,
        Activation::Log,
        Activation::Sin,
        Activation::Cos,
    ];
    let x: Vec<f32> = (-40..=40).map(|i| i as f32 / 5.0 + 0.01).collect();
    for kind in kinds {
        let graph = one_op(&[x.len()], |_| Op::Activation(kind));
        for (&x, y) in x.iter().zip(run(&graph, &x)) {
            let expected = kind.apply(x);
            if expected.is_nan() {
                assert!(y.is_nan(), "{kind:?}({x}) = {y}");
                continue;
            }
            let error = (y - expected).abs() / expected.abs().max(1.0);
            // A few roundings of f32, each half an ulp.
            assert!(
                error < 8.0 * f32::EPSILON,
                "{kind:?}({x}) = {y}, expected {expected}"
            );
        }
    }
}

fn reduce(kind: ReduceKind) -> Op {
    Op::Reduce {
        kind,
        axes: vec![0, 2],
        keep_dims: false,
    }
}

/// Columns 1 and 3 of rows 1 to 3 of a value of five rows and six columns.
fn every_other() -> Slice {
    let slice = Slice::whole(&[5, 6].into());
    let mut slice = slice.along(0, 1, 4).along(1, 1, 5);
    slice.steps[1] = 2;
    slice
}

/// Two heads of attention over four tokens: every value depends on each of them several times.
fn attention() -> Graph {
    let mut graph = Graph::new("attention");
    let x = graph.push_input("x", [4, 6].into()).unwrap();
    let mut push = |name: &str, op: Op, inputs: &[NodeId]| graph.push(name, op, inputs).unwrap();
    let shape = [4, 2, 3].into();
    let heads = push("heads", Op::Reshape { shape }, &[x]);
    let transpose = |permutation: &[usize]| Op::Transpose {
        permutation: permutation.to_vec(),
    };
    let query = push("query", transpose(&[1, 0, 2]), &[heads]);
    let key = push("key", transpose(&[1, 2, 0]), &[heads]);
    let scores = push("scores", Op::MatMul, &[query, key]);
    let weights = push("weights", Op::Softmax { axis: None }, &[scores]);
    let mixed = push("mixed", Op::MatMul, &[weights, query]);
    let back = push("back", transpose(&[1, 0, 2]), &[mixed]);
    let shape = [4, 6].into();
    push("y", Op::Reshape { shape }, &[back]);
    graph
}

#[test]
fn rows_are_normalized_as_done_by_hand() {
    let graph = one_op(&[2, 2], |g| {
        weights(g, "gamma", &[2], &[1.0, 10.0]);
        weights(g, "beta", &[1], &[0.5]);
        Op::LayerNormalization {
            scale: "gamma".into(),
            shift: "beta".into(),
            epsilon: 3.0,
        }
    });
    // Means 2 and 5, variances 1 and 1, and 1 + 3 has the root 2.
    assert_eq!(run(&graph, &[1.0, 3.0, 6.0, 4.0]), [0.0, 5.5, 1.0, -4.5]);
}

#[test]
fn matrices_multiply_and_stacks_broadcast() {
    let mut graph = Graph::new("product");
    let x = graph.push_input("x", [2, 1, 2].into()).unwrap();
    weights(&mut graph, "w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let constant = Op::Constant { tensor: "w".into() };
    let w = graph.push("w", constant, &[]).unwrap();
    graph.push("y", Op::MatMul, &[x, w]).unwrap();
    // [1, 0] and [10, 100] times [[1, 2], [3, 4]].
    assert_eq!(
        run(&graph, &[1.0, 0.0, 10.0, 100.0]),
        [1.0, 2.0, 310.0, 420.0]
    );
}

#[test]
fn reductions_and_parts_are_those_done_by_hand() {
    let of = |op: Op, x: &[f32]| run(&one_op(&[1, 2, 3], |_| op), x);
    let x = [1.0, 2.0, 3.0, -4.0, 0.0, 4.0];
    let over = |kind, axes: &[usize]| Op::Reduce {
        kind,
        axes: axes.to_vec(),
        keep_dims: true,
    };
    assert_eq!(of(over(ReduceKind::Mean, &[2]), &x), [2.0, 0.0]);
    assert_eq!(of(over(ReduceKind::Sum, &[0, 1]), &x), [-3.0, 2.0, 7.0]);
    assert_eq!(of(over(ReduceKind::Max, &[1, 2]), &x), [4.0]);
    let squares = [3.0, 0.0, 4.0, 5.0, 12.0, 0.0];
    assert_eq!(of(over(ReduceKind::L2, &[2]), &squares), [5.0, 13.0]);
    let mut slice = Slice::whole(&[1, 2, 3].into()).along(1, 1, 2);
    slice.steps[2] = 2;
    assert_eq!(of(Op::Slice(slice), &x), [-4.0, 4.0]);
    let indices = vec![1, 0, 1];
    let gather = Op::Gather { axis: 2, indices };
    assert_eq!(of(gather, &x), [2.0, 1.0, 2.0, 0.0, -4.0, 0.0]);
    let zeros = run(
        &one_op(&[2, 2], |_| Op::Softmax { axis: Some(0) }),
        &[7.0, 0.0, 7.0, 0.0],
    );
    assert_eq!(zeros, [0.5; 4]);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let pool = window([3, 3], [2, 2], [1, 0, 0, 1]);
    let cases: Vec<(&str, Graph)> = vec![
        (
            "strided conv",
            one_op(&[5, 6, 4], |g| {
                let k = weights(g, "k", &[3, 3, 2, 6], &noise(108, 1));
                conv(window([3, 3], [2, 1], [1, 0, 0, 2]), 2, 6, k)
            }),
        ),
        (
            "depthwise",
            one_op(&[5, 5, 3], |g| {
                let kernel = weights(g, "k", &[3, 3, 6], &noise(54, 2));
                let window = window([3, 3], [1, 2], [1, 1, 1, 1]);
                let activation = Activation::Silu;
                let bias = None;
                Op::DepthwiseConv2d(DepthwiseConv2d {
                    window,
                    multiplier: 2,
                    kernel,
                    bias,
                    activation,
                })
            }),
        ),
        (
            "dense",
            one_op(&[4, 3], |g| {
                let kernel = weights(g, "k", &[3, 5], &noise(15, 3));
                let epilogue = Epilogue {
                    activation: Activation::Gelu,
                    residual: None,
                };
                Op::Dense(Dense {
                    units: 5,
                    kernel,
                    bias: None,
                    epilogue,
                })
            }),
        ),
        (
            "max",
            one_op(&[5, 5, 2], |_| Op::Pool2d {
                kind: PoolKind::Max,
                window: pool,
            }),
        ),
        (
            "mean",
            one_op(&[5, 5, 2], |_| Op::Pool2d {
                kind: PoolKind::Average,
                window: pool,
            }),
        ),
        (
            "global max",
            one_op(&[3, 4, 2], |_| Op::GlobalPool {
                kind: PoolKind::Max,
                keep_dims: false,
            }),
        ),
        ("softmax", one_op(&[7], |_| Op::Softmax { axis: None })),
        (
            "crop",
            one_op(&[4, 4, 2], |_| {
                Op::Crop(Padding {
                    top: 1,
                    left: 0,
                    bottom: 1,
                    right: 2,
                })
            }),
        ),
        (
            "transpose",
            one_op(&[2, 3, 4], |_| Op::Transpose {
                permutation: vec![2, 0, 1],
            }),
        ),
        (
            "bilinear",
            one_op(&[3, 2, 2], |_| Op::Resize {
                kind: ResizeKind::Bilinear,
                size: [4, 5],
            }),
        ),
        (
            "nearest",
            one_op(&[3, 2, 2], |_| Op::Resize {
                kind: ResizeKind::Nearest,
                size: [4, 5],
            }),
        ),
        (
            "prelu",
            one_op(&[2, 2, 3], |g| {
                weights(g, "a", &[3], &[0.1, 0.2, 0.3]);
                Op::PRelu { alpha: "a".into() }
            }),
        ),
        (
            "softmax over rows",
            one_op(&[3, 4], |_| Op::Softmax { axis: Some(0) }),
        ),
        (
            "layer normalization",
            one_op(&[3, 6], |g| {
                weights(g, "gamma", &[6], &noise(6, 4));
                weights(g, "beta", &[6], &noise(6, 5));
                Op::LayerNormalization {
                    scale: "gamma".into(),
                    shift: "beta".into(),
                    epsilon: 1e-3,
                }
            }),
        ),
        (
            "reduce mean",
            one_op(&[2, 3, 4], |_| reduce(ReduceKind::Mean)),
        ),
        (
            "reduce sum",
            one_op(&[2, 3, 4], |_| reduce(ReduceKind::Sum)),
        ),
        (
            "reduce max",
            one_op(&[2, 3, 4], |_| reduce(ReduceKind::Max)),
        ),
        ("reduce l2", one_op(&[2, 3, 4], |_| reduce(ReduceKind::L2))),
        ("slice", one_op(&[5, 6], |_| Op::Slice(every_other()))),
        (
            "gather",
            one_op(&[4, 3], |_| Op::Gather {
                axis: 0,
                indices: vec![3, 1, 3],
            }),
        ),
        ("attention", attention()),
        ("erf", one_op(&[9], |_| Op::Activation(Activation::Erf))),
        (
            "square",
            one_op(&[9], |_| Op::Activation(Activation::Pow { exponent: 2.0 })),
        ),
        (
            "hard swish",
            one_op(&[9], |_| Op::Activation(Activation::HardSwish)),
        ),
        (
            "relu general",
            one_op(&[9], |_| {
                Op::Activation(Activation::ReluGeneral {
                    max_value: Some(0.9),
                    negative_slope: 0.2,
                    threshold: 0.05,
                })
            }),
        ),
    ];
    for (name, graph) in cases {
        let (id, node) = graph.inputs().next().unwrap();
        let x = noise(node.shape.len(), 99);
        let y_len = graph.node(graph.output()).shape.len();
        // A random direction in the output makes one number of it.
        let direction = noise(y_len, 7);
        let value = |x: &[f32]| -> f64 {
            let y = run(&graph, x);
            y.iter()
                .zip(&direction)
                .map(|(&y, &d)| f64::from(y) * f64::from(d))
                .sum()
        };
        let reference = Reference::new(&graph);
        let start = Var::from_tensor(&reference.tensor(id, &x).unwrap()).unwrap();
        let given = BTreeMap::from([(id, start.as_tensor().clone())]);
        let y = reference
            .evaluate(&given, &[graph.output()])
            .unwrap()
            .remove(0);
        let along = Tensor::new(direction.as_slice(), &Device::Cpu).unwrap();
        let loss = (y.flatten_all().unwrap() * along)
            .unwrap()
            .sum_all()
            .unwrap();
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&start).unwrap().flatten_all().unwrap();
        let gradient: Vec<f32> = gradient.to_vec1().unwrap();
        for i in 0..x.len() {
            const STEP: f32 = 1.0 / 256.0;
            let moved = |step: f32| {
                let mut x = x.clone();
                x[i] += step;
                value(&x)
            };
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * f64::from(STEP));
            // Truncation is of the order STEP^2, rounding of the order EPSILON / STEP.
            let error = (f64::from(gradient[i]) - expected).abs();
            assert!(
                error < 2e-3,
                "{name}[{i}]: {} expected {expected}",
                gradient[i]
            );
        }
    }
}

#[test]
fn a_given_value_cuts_off_what_lies_before_it() {
    let mut graph = Graph::new("cut");
    let x = graph.push_input("x", [2].into()).unwrap();
    let a = graph
        .push("a", Op::Activation(Activation::Exp), &[x])
        .unwrap();
    let b = graph
        .push("b", Op::Activation(Activation::Relu), &[a])
        .unwrap();
    let reference = Reference::new(&graph);
    let given = BTreeMap::from([(a, reference.tensor(a, &[-1.0, 5.0]).unwrap())]);
    let value = reference.evaluate(&given, &[b]).unwrap().remove(0);
    assert_eq!(value.to_vec1::<f32>().unwrap(), [0.0, 5.0]);
    let missing = reference.evaluate(&BTreeMap::new(), &[b]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "input `x` is needed, but no value was given for it"
    );
}
