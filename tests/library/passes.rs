//! Passes do not change any output, and record the layers that they fold away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use dermal::activation::Activation;
use dermal::engine::{Engine, Options};
use dermal::graph::pass::{self, Level};
use dermal::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, Kernel, NodeId, Op, Padding,
    PoolKind, SourceLayer, Stage, Window,
};
use dermal::reference::Reference;
use dermal::tensor::{Shape, Tensor};

/// A graph under construction with seeded weights.
struct Builder {
    graph: Graph,
    state: u32,
    last: NodeId,
}

impl Builder {
    fn new(shape: &[usize]) -> Self {
        let mut graph = Graph::new("built");
        let last = graph.push_input("image", Shape::new(shape)).unwrap();
        Self {
            graph,
            state: 1,
            last,
        }
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        let mut next = || {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            (self.state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn tensor(&mut self, key: &str, shape: &[usize]) -> String {
        let values = self.values(shape.iter().product());
        self.constant(key, shape, &values)
    }

    fn constant(&mut self, key: &str, shape: &[usize], values: &[f32]) -> String {
        let tensor = Tensor::from_f32(Shape::new(shape), values).unwrap();
        self.graph.tensors.insert(key.to_owned(), tensor);
        key.to_owned()
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        let id = self.graph.push(name, op, inputs).unwrap();
        let layer = SourceLayer {
            name: name.to_owned(),
            class: "Layer".to_owned(),
            stage: Stage::Output,
        };
        self.graph.layers_mut(id).push(layer);
        self.last = id;
        id
    }

    fn conv(&mut self, name: &str, kernel: usize, filters: usize, bias: bool) -> NodeId {
        let c = self.graph.node(self.last).shape.channels();
        let key = self.tensor(&format!("{name}.kernel"), &[kernel, kernel, c, filters]);
        let bias = bias.then(|| self.tensor(&format!("{name}.bias"), &[filters]));
        let window = same(kernel);
        let conv = Conv2d {
            window,
            groups: 1,
            filters,
            kernel: Kernel::plain(key),
            bias,
            epilogue: Epilogue::default(),
        };
        self.push(name, Op::Conv2d(conv), &[self.last])
    }

    fn depthwise(&mut self, name: &str) -> NodeId {
        let c = self.graph.node(self.last).shape.channels();
        let key = self.tensor(&format!("{name}.kernel"), &[3, 3, c]);
        let conv = DepthwiseConv2d {
            window: same(3),
            multiplier: 1,
            kernel: Kernel::plain(key),
            bias: None,
            activation: Activation::Linear,
        };
        self.push(name, Op::DepthwiseConv2d(conv), &[self.last])
    }

    fn dense(&mut self, name: &str, units: usize) -> NodeId {
        let k = self.graph.node(self.last).shape.channels();
        let key = self.tensor(&format!("{name}.kernel"), &[k, units]);
        let kernel = Kernel::plain(key);
        let dense = Dense {
            units,
            kernel,
            bias: None,
            epilogue: Epilogue::default(),
        };
        self.push(name, Op::Dense(dense), &[self.last])
    }

    fn batch_norm(&mut self, name: &str) -> NodeId {
        let c = self.graph.node(self.last).shape.channels();
        let scale = self.tensor(&format!("{name}.scale"), &[c]);
        let shift = self.tensor(&format!("{name}.shift"), &[c]);
        self.push(name, Op::ScaleShift { scale, shift }, &[self.last])
    }

    fn affine(&mut self, name: &str, scale: f32, shift: f32) -> NodeId {
        let scale = self.constant(&format!("{name}.scale"), &[1], &[scale]);
        let shift = self.constant(&format!("{name}.shift"), &[1], &[shift]);
        self.push(name, Op::ScaleShift { scale, shift }, &[self.last])
    }

    fn activate(&mut self, name: &str, activation: Activation) -> NodeId {
        self.push(name, Op::Activation(activation), &[self.last])
    }

    fn binary(&mut self, name: &str, kind: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.push(
            name,
            Op::Binary {
                kind,
                activation: Activation::Linear,
            },
            &[a, b],
        )
    }

    /// The output for a fixed image.
    fn output(&mut self, graph: &Graph) -> Vec<f32> {
        self.state = 77;
        let image = self.values(self.graph.node(NodeId(0)).shape.len());
        let inputs = BTreeMap::from([("image", image.as_slice())]);
        Reference::new(graph).run(&inputs).unwrap()
    }
}

fn same(kernel: usize) -> Window {
    let p = kernel / 2;
    let padding = Padding {
        top: p,
        left: p,
        bottom: p,
        right: p,
    };
    Window {
        kernel: [kernel; 2],
        strides: [1; 2],
        dilations: [1; 2],
        padding,
    }
}

/// A network with every pattern that the passes look for: two residual blocks (one with the
/// activation after the sum), squeeze and excite, hard swish written out, padding before a
/// convolution and before a max pooling, and a softmax head.
fn network() -> Builder {
    let mut b = Builder::new(&[8, 8, 3]);
    let pad = Padding {
        top: 1,
        left: 1,
        bottom: 1,
        right: 1,
    };
    b.push("stem_pad", Op::Pad(pad), &[b.last]);
    b.conv("stem", 1, 8, false);
    b.batch_norm("stem_bn");
    let stem = b.activate("stem_relu", Activation::Relu);
    b.push("pool_pad", Op::Pad(pad), &[stem]);
    let window = Window {
        strides: [2, 2],
        padding: Padding::default(),
        ..same(3)
    };
    let pooled = b.push(
        "pool",
        Op::Pool2d {
            kind: PoolKind::Max,
            window,
        },
        &[b.last],
    );
    b.conv("a1", 3, 8, true);
    b.batch_norm("a1_bn");
    b.activate("a1_relu", Activation::Silu);
    b.depthwise("a2");
    b.batch_norm("a2_bn");
    b.conv("a3", 1, 8, false);
    let a3 = b.batch_norm("a3_bn");
    b.binary("a_add", BinaryOp::Add, pooled, a3);
    let a = b.activate("a_out", Activation::Relu);
    let gate = Op::GlobalPool {
        kind: PoolKind::Average,
        keep_dims: true,
    };
    b.push("se_squeeze", gate, &[a]);
    b.conv("se_reduce", 1, 4, true);
    let x = b.last;
    b.affine("se_plus3", 1.0, 3.0);
    b.activate("se_relu6", Activation::Relu6);
    let sixth = b.affine("se_sixth", 1.0 / 6.0, 0.0);
    b.binary("se_swish", BinaryOp::Mul, x, sixth);
    b.conv("se_expand", 1, 8, true);
    let gate = b.activate("se_gate", Activation::Sigmoid);
    let excited = b.binary("se_excite", BinaryOp::Mul, a, gate);
    b.conv("shortcut", 1, 16, true);
    let shortcut = b.batch_norm("shortcut_bn");
    b.last = excited;
    b.conv("b1", 3, 16, true);
    let b1 = b.activate("b1_relu", Activation::Relu);
    b.binary("b_add", BinaryOp::Add, shortcut, b1);
    let mean = Op::GlobalPool {
        kind: PoolKind::Average,
        keep_dims: false,
    };
    b.push("mean", mean, &[b.last]);
    b.dense("head", 5);
    b.push("probabilities", Op::Softmax { axis: None }, &[b.last]);
    b
}

fn close(a: &[f32], b: &[f32], what: &str) {
    let range = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (x, y) in a.iter().zip(b) {
        // Folding rounds each weight once more: a relative error of an ulp for each layer.
        assert!(
            (x - y).abs() <= 64.0 * f32::EPSILON * range,
            "{what}: {x} against {y}"
        );
    }
}

#[test]
fn outputs_do_not_move() {
    type Pass = fn(Graph) -> Result<Graph, dermal::graph::GraphError>;
    let passes: [(&str, Pass, usize, Option<Level>); 6] = [
        ("recognize_hard_swish", pass::recognize_hard_swish, 3, None),
        ("fold_padding", pass::fold_padding, 2, None),
        (
            "fold_scale_shift",
            pass::fold_scale_shift,
            5,
            Some(Level::Folded),
        ),
        ("fuse_activation", pass::fuse_activation, 6, None),
        ("fuse_residual", pass::fuse_residual, 2, Some(Level::Fused)),
        ("pack_weights", pass::pack_weights, 0, Some(Level::Packed)),
    ];
    let imported = pass::rewrite(network().graph, Level::Imported).unwrap();
    assert_eq!(imported.nodes(), network().graph.nodes(), "as it came");
    let mut builder = network();
    let (mut graph, answer) = pass::split_head(builder.graph.clone()).unwrap();
    assert_eq!(answer, pass::Answer::Softmax);
    let before = builder.output(&graph);
    for (name, pass, fewer, level) in passes {
        let nodes = graph.nodes().len();
        graph = pass(graph).unwrap();
        assert_eq!(
            nodes - graph.nodes().len(),
            fewer,
            "nodes that {name} removes"
        );
        close(&before, &builder.output(&graph), name);
        if let Some(level) = level {
            let rewritten = pass::rewrite(network().graph, level).unwrap();
            assert_eq!(rewritten.nodes(), graph.nodes(), "{level:?}");
        }
    }
    let whole = pass::optimize(pass::split_head(network().graph).unwrap().0).unwrap();
    assert_eq!(
        whole.nodes(),
        graph.nodes(),
        "`optimize` is these passes in this order"
    );
}

#[test]
fn a_removed_head_says_what_it_was() {
    let mut b = Builder::new(&[4]);
    b.dense("head", 1);
    b.activate("probability", Activation::Sigmoid);
    b.push("flat", Op::Reshape { shape: [1].into() }, &[b.last]);
    let (graph, answer) = pass::split_head(b.graph).unwrap();
    assert_eq!(answer, pass::Answer::Sigmoid);
    assert_eq!(graph.node(graph.output()).shape, [1].into());
    assert!(
        !graph
            .nodes()
            .iter()
            .any(|node| matches!(node.op, Op::Activation(_)))
    );

    let mut b = Builder::new(&[2, 2, 3]);
    b.push("each", Op::Softmax { axis: None }, &[b.last]);
    b.push(
        "mean",
        Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims: false,
        },
        &[b.last],
    );
    assert_eq!(
        pass::split_head(b.graph).unwrap().1,
        pass::Answer::Probabilities
    );

    let mut b = Builder::new(&[2, 2, 3]);
    b.conv("head", 1, 5, true);
    b.push(
        "mean",
        Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims: true,
        },
        &[b.last],
    );
    let (graph, answer) = pass::split_head(b.graph).unwrap();
    assert_eq!(answer, pass::Answer::Logits);
    assert_eq!(graph.node(graph.output()).shape, [5].into());
}

#[test]
fn folded_layers_keep_their_name_and_their_place() {
    let (graph, _) = pass::split_head(network().graph).unwrap();
    let graph = pass::optimize(graph).unwrap();
    let stage = |layer: &str| {
        let found = graph.find_layer(layer);
        assert_eq!(found.len(), 1, "{layer}");
        found[0].1.clone()
    };
    assert!(matches!(stage("stem"), Stage::BeforeAffine { .. }));
    assert_eq!(stage("stem_bn"), Stage::BeforeActivation);
    assert_eq!(stage("stem_relu"), Stage::Output);
    assert_eq!(stage("a3_bn"), Stage::BeforeResidual);
    assert_eq!(stage("a_add"), Stage::BeforePostActivation);
    assert_eq!(stage("a_out"), Stage::Output);
    assert_eq!(stage("b1_relu"), Stage::BeforeResidual);
    assert_eq!(stage("b1"), Stage::BeforeActivation);
    assert_eq!(stage("probabilities"), Stage::Output);
}

#[test]
fn weights_that_two_nodes_share_are_not_changed_for_one() {
    let mut b = Builder::new(&[4, 4, 3]);
    let x = b.last;
    b.conv("one", 1, 3, true);
    let normalized = b.batch_norm("norm");
    let shared = match &b.graph.node(NodeId(1)).op {
        Op::Conv2d(conv) => conv.clone(),
        _ => unreachable!("node 1 is the convolution"),
    };
    let plain = b.push("two", Op::Conv2d(shared), &[x]);
    b.binary("sum", BinaryOp::Mul, normalized, plain);
    let before = b.output(&b.graph.clone());
    let graph = pass::optimize(b.graph.clone()).unwrap();
    close(&before, &b.output(&graph), "shared weights");
}

/// Exporters store equal tensors once, and packing fills some readers' vectors up.
#[test]
fn a_tensor_that_ops_of_both_kinds_read_stays_what_it_is_for_each() {
    let mut b = Builder::new(&[2, 2, 5]);
    let shared = b.tensor("shared", &[5]);
    let kernel = Kernel::plain(b.tensor("kernel", &[5, 5]));
    let dense = Op::Dense(Dense {
        units: 5,
        kernel,
        bias: Some(shared.clone()),
        epilogue: Epilogue::default(),
    });
    let x = b.push("dense", dense, &[b.last]);
    let alpha = shared.clone();
    let x = b.push("prelu", Op::PRelu { alpha }, &[x]);
    let norm = Op::LayerNormalization {
        scale: shared.clone(),
        shift: shared.clone(),
        epsilon: 1e-3,
    };
    let x = b.push("norm", norm, &[x]);
    let constant = b.push("constant", Op::Constant { tensor: shared }, &[]);
    let add = Op::Binary {
        kind: BinaryOp::Add,
        activation: Activation::Linear,
    };
    b.push("sum", add, &[x, constant]);
    let image = b.values(20);
    let named = BTreeMap::from([("image", image.as_slice())]);
    let before = Reference::new(&b.graph).run(&named).unwrap();
    let packed = pass::rewrite(b.graph, Level::Packed).unwrap();
    assert_eq!(packed.tensors["shared"].shape().dims(), [16]);
    assert_eq!(Reference::new(&packed).run(&named).unwrap(), before);
    let mut engine = Engine::new(&packed, &Options::default()).unwrap();
    let (id, _) = packed.inputs().next().unwrap();
    engine.input_mut(id).copy_from_slice(&image);
    engine.run();
    for (got, expected) in engine.output().iter().zip(&before) {
        assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
    }
}
