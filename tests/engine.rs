//! The engine against the reference on whole networks: every op, every tier, every thread count.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use dermal::activation::Activation;
use dermal::engine::{Engine, Options};
use dermal::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, Kernel, KernelLayout, NodeId, Op,
    Padding, PoolKind, ReduceKind, ResizeKind, Slice, Window, pass,
};
use dermal::kernels::Isa;
use dermal::quantize::{Calibrator, Int8Options, equalize, to_int8};
use dermal::reference::Reference;
use dermal::tensor::{Shape, Tensor};

/// Counts the allocations of a thread, if the thread asks for it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending no longer has a counter.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Seeded numbers in -1..1.
struct Noise(u32);

impl Noise {
    fn take(&mut self, len: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize % n
    }
}

struct Builder {
    graph: Graph,
    noise: Noise,
    images: Vec<NodeId>,
}

const ACTIVATIONS: [Activation; 11] = [
    Activation::Linear,
    Activation::Relu,
    Activation::Relu6,
    Activation::Silu,
    Activation::HardSwish,
    Activation::Sigmoid,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Gelu,
    Activation::Erf,
    Activation::Neg,
    Activation::Abs,
];

impl Builder {
    fn tensor(&mut self, shape: &[usize], scale: f32) -> String {
        let key = format!("t{}", self.graph.tensors.len());
        let values: Vec<f32> = self
            .noise
            .take(shape.iter().product())
            .iter()
            .map(|v| v * scale)
            .collect();
        let tensor = Tensor::from_f32(Shape::new(shape), &values).unwrap();
        self.graph.tensors.insert(key.clone(), tensor);
        key
    }

    fn window(&mut self) -> Window {
        let mut pair = |most: usize| [1 + self.noise.below(most), 1 + self.noise.below(most)];
        let (kernel, strides, dilations) = (pair(4), pair(2), pair(2));
        let side = |noise: &mut Noise, axis: usize| noise.below(kernel[axis]);
        let noise = &mut self.noise;
        let padding = Padding {
            top: side(noise, 0),
            left: side(noise, 1),
            bottom: side(noise, 0),
            right: side(noise, 1),
        };
        Window {
            kernel,
            strides,
            dilations,
            padding,
        }
    }

    fn activation(&mut self) -> Activation {
        ACTIVATIONS[self.noise.below(ACTIVATIONS.len())]
    }

    /// A random op on a random image; nothing if it does not fit.
    fn grow(&mut self) {
        let x = self.images[self.noise.below(self.images.len())];
        let [h, w, c] = self.graph.node(x).shape.hwc().unwrap();
        let window = self.window();
        let [kh, kw] = window.kernel;
        let spread = 1.0 / ((kh * kw * c) as f32).sqrt();
        let mut inputs = vec![x];
        let op = match self.noise.below(26) {
            0..=2 => {
                let groups = if c % 2 == 0 {
                    1 + self.noise.below(2)
                } else {
                    1
                };
                let filters = groups * (1 + self.noise.below(20));
                let kernel =
                    Kernel::plain(self.tensor(&[kh, kw, c / groups, filters], 2.0 * spread));
                let bias = Some(self.tensor(&[filters], 0.1));
                let epilogue = Epilogue::default();
                Op::Conv2d(Conv2d {
                    window,
                    groups,
                    filters,
                    kernel,
                    bias,
                    epilogue,
                })
            }
            3 | 4 => {
                let multiplier = 1 + self.noise.below(2);
                let kernel = Kernel::plain(self.tensor(&[kh, kw, c * multiplier], 1.0));
                let bias = Some(self.tensor(&[c * multiplier], 0.1));
                let activation = Activation::Linear;
                Op::DepthwiseConv2d(DepthwiseConv2d {
                    window,
                    multiplier,
                    kernel,
                    bias,
                    activation,
                })
            }
            5 => Op::ScaleShift {
                scale: self.tensor(&[c], 1.5),
                shift: self.tensor(&[c], 0.2),
            },
            6 => Op::Activation(self.activation()),
            7 => {
                let kind = [PoolKind::Max, PoolKind::Average][self.noise.below(2)];
                Op::Pool2d {
                    kind,
                    window: Window {
                        dilations: [1, 1],
                        ..window
                    },
                }
            }
            8 | 9 => {
                // Another image of the same shape, or one value for each channel.
                let shape = self.graph.node(x).shape.clone();
                let same = self.images.iter().rev();
                let other = same
                    .copied()
                    .find(|&y| y != x && self.graph.node(y).shape == shape);
                let pooled = Op::GlobalPool {
                    kind: PoolKind::Average,
                    keep_dims: true,
                };
                let name = format!("n{}", self.graph.nodes().len());
                let other = other.unwrap_or_else(|| self.graph.push(name, pooled, &[x]).unwrap());
                inputs.push(other);
                let kinds = [BinaryOp::Add, BinaryOp::Mul, BinaryOp::Sub, BinaryOp::Max];
                let kind = kinds[self.noise.below(kinds.len())];
                Op::Binary {
                    kind,
                    activation: self.activation(),
                }
            }
            13 => {
                let cut = Padding {
                    top: 1,
                    left: 0,
                    bottom: 0,
                    right: 1,
                };
                Op::Crop(cut)
            }
            14 => Op::Transpose {
                permutation: vec![1, 0, 2],
            },
            15 => Op::Reshape {
                shape: [w, h, c].into(),
            },
            16 => {
                inputs.push(x);
                let axis = self.noise.below(3);
                Op::Concat { axis }
            }
            17 => Op::Softmax { axis: None },
            18 => Op::Softmax {
                axis: Some(self.noise.below(3)),
            },
            19 => Op::LayerNormalization {
                scale: self.tensor(&[c], 1.0),
                shift: self.tensor(&[1], 0.2),
                // Equal channels would show nothing but the roundings in front.
                epsilon: 1.0,
            },
            20 => {
                // Means of pixels, image row by image row: values do not grow.
                let mut push = |op: Op| {
                    let name = format!("n{}", self.graph.nodes().len());
                    self.graph.push(name, op, &[x]).unwrap()
                };
                let permutation = vec![0, 2, 1];
                let share = push(Op::Softmax { axis: None });
                inputs = vec![share, push(Op::Transpose { permutation })];
                Op::MatMul
            }
            21 => {
                let mut slice = Slice::whole(&self.graph.node(x).shape);
                let axis = self.noise.below(3);
                slice.starts[axis] = self.noise.below(slice.ends[axis]);
                slice.steps[axis] = 1 + self.noise.below(2);
                Op::Slice(slice)
            }
            22 => {
                let axis = self.noise.below(3);
                let extent = [h, w, c][axis];
                let indices = (0..extent.min(5)).map(|_| self.noise.below(extent));
                let indices = indices.collect();
                Op::Gather { axis, indices }
            }
            23 => {
                let kinds = [
                    ReduceKind::Mean,
                    ReduceKind::Sum,
                    ReduceKind::Max,
                    ReduceKind::L2,
                ];
                Op::Reduce {
                    kind: kinds[self.noise.below(4)],
                    axes: vec![self.noise.below(3)],
                    keep_dims: true,
                }
            }
            24 => {
                // A constant of the value's shape, or one that broadcasts to it.
                let whole = self.noise.below(2) == 0;
                let tensor = if whole {
                    self.tensor(&[h, w, c], 0.5)
                } else {
                    self.tensor(&[w, 1], 0.5)
                };
                let name = format!("n{}", self.graph.nodes().len());
                let constant = Op::Constant { tensor };
                inputs.push(self.graph.push(name, constant, &[]).unwrap());
                Op::Binary {
                    kind: [BinaryOp::Add, BinaryOp::Mul][self.noise.below(2)],
                    activation: self.activation(),
                }
            }
            10 => Op::Pad(window.padding),
            11 => {
                let kind = [ResizeKind::Nearest, ResizeKind::Bilinear][self.noise.below(2)];
                Op::Resize {
                    kind,
                    size: [h.min(9) + 1, w.min(9) + 2],
                }
            }
            _ => Op::PRelu {
                alpha: self.tensor(&[c], 0.3),
            },
        };
        let name = format!("n{}", self.graph.nodes().len());
        if let Ok(id) = self.graph.push(name, op, &inputs) {
            if self.graph.node(id).shape.len() > 20_000 {
                return;
            }
            self.images.push(id);
        }
    }
}

/// A random network of about `size` ops whose answer depends on its last three values.
fn network(seed: u32, size: usize) -> Graph {
    let mut graph = Graph::new("random");
    let image = graph.push_input("image", [11, 9, 3].into()).unwrap();
    let mut b = Builder {
        graph,
        noise: Noise(seed),
        images: vec![image],
    };
    for _ in 0..size {
        b.grow();
    }
    let tail: Vec<NodeId> = b.images.iter().rev().take(3).copied().collect();
    let mut pooled = Vec::new();
    for (i, x) in tail.into_iter().enumerate() {
        let op = Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims: false,
        };
        pooled.push(b.graph.push(format!("pool{i}"), op, &[x]).unwrap());
    }
    let side = b.graph.push_input("side", [5].into()).unwrap();
    pooled.push(side);
    let joined = b
        .graph
        .push("join", Op::Concat { axis: 0 }, &pooled)
        .unwrap();
    let k = b.graph.node(joined).shape.channels();
    let kernel = Kernel::plain(b.tensor(&[k, 7], 1.0));
    let dense = Dense {
        units: 7,
        kernel,
        bias: None,
        epilogue: Epilogue::default(),
    };
    b.graph.push("logits", Op::Dense(dense), &[joined]).unwrap();
    b.graph
}

fn inputs(graph: &Graph, seed: u32) -> BTreeMap<String, Vec<f32>> {
    let mut noise = Noise(seed);
    let named = graph
        .inputs()
        .map(|(_, node)| (node.name.clone(), node.shape.len()));
    named.map(|(name, len)| (name, noise.take(len))).collect()
}

fn fill(engine: &mut Engine, graph: &Graph, inputs: &BTreeMap<String, Vec<f32>>) {
    for (id, node) in graph.inputs() {
        engine.input_mut(id).copy_from_slice(&inputs[&node.name]);
    }
}

fn close(got: &[f32], expected: &[f32], what: &str) {
    let range = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        // Sums of some hundred f32 terms, some twenty ops deep.
        assert!(
            (a - b).abs() <= 2e-5 * range,
            "{what} [{i}]: {a}, expected {b}"
        );
    }
}

#[test]
fn random_networks_agree_with_the_reference_on_every_tier_and_thread_count() {
    for seed in 0..60 {
        let plain = network(seed, 4 + seed as usize % 25);
        let inputs = inputs(&plain, seed + 1000);
        let named: BTreeMap<&str, &[f32]> = inputs
            .iter()
            .map(|(name, v)| (name.as_str(), v.as_slice()))
            .collect();
        let expected = Reference::new(&plain).run(&named).unwrap();
        let graph = pass::optimize(plain).unwrap();
        for isa in Isa::available() {
            let mut first: Option<Vec<f32>> = None;
            for threads in [1, 2, 3] {
                let what = format!("seed {seed}, {isa}, {threads} threads");
                let mut engine = Engine::new(
                    &graph,
                    &Options {
                        threads,
                        isa,
                        keep: vec![],
                    },
                )
                .unwrap();
                // Twice: the second run finds the arena full of the first one's values.
                for _ in 0..2 {
                    fill(&mut engine, &graph, &inputs);
                    engine.run();
                    close(engine.output(), &expected, &what);
                    let same = first.get_or_insert_with(|| engine.output().to_vec());
                    assert_eq!(
                        engine.output(),
                        same.as_slice(),
                        "{what}: not the same bits"
                    );
                }
            }
        }
    }
}

/// The noise that quantization adds to the signal, in decibels.
fn sqnr_db(exact: &[f32], got: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v) * f64::from(v)).sum()
    };
    let signal = power(&mut exact.iter().copied());
    let noise = power(&mut exact.iter().zip(got).map(|(a, b)| a - b));
    10.0 * (signal / noise.max(1e-30)).log10()
}

#[test]
fn quantized_random_networks_give_the_same_bits_everywhere_and_keep_the_function() {
    let mut ratios = Vec::new();
    for seed in 0..40 {
        let graph = pass::optimize(network(seed, 4 + seed as usize % 25)).unwrap();
        let samples: Vec<_> = (0..6)
            .map(|i| inputs(&graph, 2000 + 50 * i + seed))
            .collect();
        let mut calibrator = Calibrator::new(&graph, &Options::default()).unwrap();
        for sample in &samples {
            let separate = calibrator.graph().clone();
            fill(calibrator.engine_mut(), &separate, sample);
            calibrator.observe().unwrap();
        }
        let calibration = calibrator.finish().unwrap();
        let balanced = equalize(&calibration, 0.5).unwrap();
        // Balancing channels changes no answer.
        let named: BTreeMap<&str, &[f32]> = samples[0]
            .iter()
            .map(|(name, v)| (name.as_str(), v.as_slice()))
            .collect();
        let exact = Reference::new(&graph).run(&named).unwrap();
        let same = Reference::new(&balanced).run(&named).unwrap();
        close(&same, &exact, &format!("seed {seed}: balanced"));
        let int8 = to_int8(&calibration, &Int8Options::default()).unwrap();
        assert!(int8.is_quantized() || graph.ids().all(|id| graph.node(id).op.kernel().is_none()));
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                let options = Options {
                    threads,
                    isa,
                    keep: vec![],
                };
                let mut engine = Engine::new(&int8, &options).unwrap();
                for _ in 0..2 {
                    fill(&mut engine, &int8, &samples[0]);
                    engine.run();
                }
                let got = engine.output().to_vec();
                // Ops without an integer kernel stay in float, and may round differently on another
                // tier. Without such ops the bytes must be the same.
                if float_ops(&int8) {
                    let expected = first.get_or_insert_with(|| got.clone());
                    assert!(sqnr_db(expected, &got) > 25.0, "seed {seed}, {isa}");
                } else {
                    let expected = first.get_or_insert_with(|| got.clone());
                    assert_eq!(*expected, got, "seed {seed}, {isa}, {threads} threads");
                }
            }
        }
        ratios.push(sqnr_db(&exact, &first.unwrap()));
    }
    ratios.sort_by(f64::total_cmp);
    // 8 bits give some 35 dB in each layer; a chain of twenty layers leaves 20.
    assert!(ratios[ratios.len() / 2] > 22.0, "{ratios:?}");
    assert!(ratios[2] > 10.0, "{ratios:?}");
}

/// Whether an op computes in floats on values that came from bytes and go back to bytes, or the
/// graph ends in an op whose last bits differ between tiers.
fn float_ops(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| {
        node.quantization.is_none()
            && !matches!(
                node.op,
                Op::Input | Op::Dequantize | Op::Reshape { .. } | Op::Concat { .. }
            )
            && !node
                .op
                .kernel()
                .is_some_and(|kernel| kernel.layout == KernelLayout::Panel16x4)
    })
}

#[test]
fn kept_values_are_those_of_the_reference() {
    for seed in 0..20 {
        let graph = pass::optimize(network(seed, 15)).unwrap();
        let inputs = inputs(&graph, seed);
        let named: BTreeMap<&str, &[f32]> = inputs
            .iter()
            .map(|(name, v)| (name.as_str(), v.as_slice()))
            .collect();
        let keep: Vec<NodeId> = graph
            .ids()
            .filter(|&id| !matches!(graph.node(id).op, Op::Input))
            .collect();
        let expected = Reference::new(&graph).run_all(&named, &keep).unwrap();
        let options = Options {
            keep: keep.clone(),
            ..Options::default()
        };
        let mut engine = Engine::new(&graph, &options).unwrap();
        fill(&mut engine, &graph, &inputs);
        engine.run();
        for (&id, expected) in keep.iter().zip(&expected) {
            let name = &graph.node(id).name;
            close(
                &engine.value(id),
                expected,
                &format!("seed {seed}, `{name}`"),
            );
        }
    }
}

#[test]
fn a_run_allocates_nothing() {
    let graph = pass::optimize(network(5, 25)).unwrap();
    let inputs = inputs(&graph, 1);
    let mut engine = Engine::new(&graph, &Options::default()).unwrap();
    fill(&mut engine, &graph, &inputs);
    engine.run();
    fill(&mut engine, &graph, &inputs);
    let before = ALLOCATIONS.with(Cell::get);
    engine.run();
    assert_eq!(
        ALLOCATIONS.with(Cell::get),
        before,
        "allocations during a run"
    );
}

#[test]
fn the_arena_is_no_larger_than_all_values_together() {
    let graph = pass::optimize(network(9, 25)).unwrap();
    let engine = Engine::new(&graph, &Options::default()).unwrap();
    let plan = engine.plan();
    let all: usize = graph
        .nodes()
        .iter()
        .map(|n| n.shape.len().next_multiple_of(16))
        .sum();
    let (_, most) = plan.worst_moment().unwrap();
    assert!(
        most <= plan.arena_len && plan.arena_len < all,
        "{most} {} {all}",
        plan.arena_len
    );
}

/// A convolution, then attention among its pixels, and a classifier.
fn attention_network() -> Graph {
    let mut graph = Graph::new("attention");
    let image = graph.push_input("image", [8, 6, 3].into()).unwrap();
    let mut b = Builder {
        graph,
        noise: Noise(11),
        images: vec![image],
    };
    let window = Window {
        kernel: [3, 3],
        strides: [1, 1],
        dilations: [1, 1],
        padding: Padding::default(),
    };
    let conv = Op::Conv2d(Conv2d {
        window,
        groups: 1,
        filters: 8,
        kernel: Kernel::plain(b.tensor(&[3, 3, 3, 8], 0.3)),
        bias: None,
        epilogue: Epilogue::default(),
    });
    let norm = Op::LayerNormalization {
        scale: b.tensor(&[8], 1.0),
        shift: b.tensor(&[8], 0.2),
        epsilon: 1e-5,
    };
    let positions = Op::Constant {
        tensor: b.tensor(&[24, 8], 0.5),
    };
    let dense = |b: &mut Builder, k, units| {
        Op::Dense(Dense {
            units,
            kernel: Kernel::plain(b.tensor(&[k, units], 0.5)),
            bias: None,
            epilogue: Epilogue::default(),
        })
    };
    let (narrow, wide) = (dense(&mut b, 8, 8), dense(&mut b, 8, 5));
    let mut push = |name: &str, op: Op, inputs: &[NodeId]| b.graph.push(name, op, inputs).unwrap();
    let add = |activation| Op::Binary {
        kind: BinaryOp::Add,
        activation,
    };
    let map = push("conv", conv, &[image]);
    let shape = Shape::new(&[24, 8]);
    let tokens = push("tokens", Op::Reshape { shape }, &[map]);
    let positions = push("positions", positions, &[]);
    let tokens = push("sum", add(Activation::Linear), &[tokens, positions]);
    let unit = push("norm", norm, &[tokens]);
    let query = push("query", narrow, &[unit]);
    let permutation = vec![1, 0];
    let key = push("key", Op::Transpose { permutation }, &[unit]);
    let scores = push("scores", Op::MatMul, &[query, key]);
    let share = push("share", Op::Softmax { axis: None }, &[scores]);
    let mixed = push("mixed", Op::MatMul, &[share, unit]);
    let joined = push("joined", add(Activation::Linear), &[mixed, tokens]);
    let mean = Op::Reduce {
        kind: ReduceKind::Mean,
        axes: vec![0],
        keep_dims: false,
    };
    let mean = push("mean", mean, &[joined]);
    push("logits", wide, &[mean]);
    b.graph
}

#[test]
fn attention_stays_in_f32_beside_integers() {
    let graph = pass::optimize(attention_network()).unwrap();
    let mut calibrator = Calibrator::new(&graph, &Options::default()).unwrap();
    for seed in 0..8 {
        let separate = calibrator.graph().clone();
        fill(
            calibrator.engine_mut(),
            &separate,
            &inputs(&graph, 60 + seed),
        );
        calibrator.observe().unwrap();
    }
    let int8 = to_int8(&calibrator.finish().unwrap(), &Int8Options::default()).unwrap();
    let mut in_f32 = 0;
    for node in int8.nodes() {
        let plain = matches!(
            node.op,
            Op::MatMul
                | Op::LayerNormalization { .. }
                | Op::Softmax { .. }
                | Op::Reduce { .. }
                | Op::Constant { .. }
        );
        if plain {
            in_f32 += 1;
            let values = node.inputs.iter().map(|&input| int8.node(input));
            assert!(
                values.chain([node]).all(|node| node.quantization.is_none()),
                "{}",
                node.name
            );
        }
    }
    assert_eq!(in_f32, 6);
    let weighted = int8.nodes().iter().filter_map(|node| node.op.kernel());
    assert!(
        weighted
            .map(|kernel| kernel.layout)
            .all(|layout| layout == KernelLayout::Panel16x4)
    );
    let sample = inputs(&graph, 60);
    let named: BTreeMap<&str, &[f32]> = sample
        .iter()
        .map(|(name, v)| (name.as_str(), v.as_slice()))
        .collect();
    let exact = Reference::new(&graph).run(&named).unwrap();
    let mut engine = Engine::new(&int8, &Options::default()).unwrap();
    fill(&mut engine, &int8, &sample);
    engine.run();
    let ratio = sqnr_db(&exact, engine.output());
    assert!(ratio > 20.0, "{ratio} dB");
}
