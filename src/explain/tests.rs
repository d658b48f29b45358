//! Maps by hand, on a network small enough to see where the class lies.

use std::collections::BTreeMap;

use super::*;
use crate::activation::Activation;
use crate::graph::Graph;
use crate::graph::{
    BinaryOp, Conv2d, Dense, Epilogue, Kernel, Op, Padding, PoolKind, SourceLayer, Stage, Window,
    pass,
};
use crate::predict::Region;
use crate::reference::Reference;
use crate::tensor::{Shape, Tensor as Weights};

fn weights(graph: &mut Graph, key: &str, shape: &[usize], values: &[f32]) -> String {
    graph.tensors.insert(
        key.to_owned(),
        Weights::from_f32(Shape::new(shape), values).unwrap(),
    );
    key.to_owned()
}

fn push(graph: &mut Graph, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
    let id = graph.push(name, op, inputs).unwrap();
    let stage = Stage::Output;
    let layer = SourceLayer {
        name: format!("net/{name}"),
        class: "Layer".to_owned(),
        stage,
    };
    graph.layers_mut(id).push(layer);
    id
}

/// Class 0 counts red, class 1 counts green; a side input adds to both. Batch normalization
/// doubles red and halves green, so folding is not the identity.
fn network() -> Graph {
    let mut g = Graph::new("colours");
    let image = g.push_input("image", [6, 6, 3].into()).unwrap();
    let side = g.push_input("side", [2].into()).unwrap();
    let kernel = weights(
        &mut g,
        "conv.kernel",
        &[1, 1, 3, 2],
        &[1., 0., 0., 1., 0., 0.],
    );
    let padding = Padding::default();
    let window = Window {
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        padding,
    };
    let conv = Conv2d {
        window,
        groups: 1,
        filters: 2,
        kernel: Kernel::plain(kernel),
        bias: None,
        epilogue: Epilogue::default(),
    };
    let x = push(&mut g, "conv", Op::Conv2d(conv), &[image]);
    let scale = weights(&mut g, "bn.scale", &[2], &[2.0, 0.5]);
    let shift = weights(&mut g, "bn.shift", &[2], &[0.25, -0.25]);
    let x = push(&mut g, "bn", Op::ScaleShift { scale, shift }, &[x]);
    let x = push(&mut g, "relu", Op::Activation(Activation::Relu), &[x]);
    let mean = Op::GlobalPool {
        kind: PoolKind::Average,
        keep_dims: false,
    };
    let x = push(&mut g, "mean", mean, &[x]);
    let kernel = weights(&mut g, "side.kernel", &[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    let epilogue = Epilogue::default();
    let dense = |kernel| Dense {
        units: 2,
        kernel: Kernel::plain(kernel),
        bias: None,
        epilogue,
    };
    let y = push(&mut g, "side_dense", Op::Dense(dense(kernel)), &[side]);
    let sum = Op::Binary {
        kind: BinaryOp::Mul,
        activation: Activation::Linear,
    };
    let x = push(&mut g, "gate", sum, &[x, y]);
    let kernel = weights(&mut g, "head.kernel", &[2, 2], &[3.0, -1.0, -1.0, 3.0]);
    push(&mut g, "head", Op::Dense(dense(kernel)), &[x]);
    g
}

/// Black, except for a red patch at rows 1..3, columns 3..5, and a green one at rows 4..6, columns
/// 0..2.
fn picture() -> Vec<f32> {
    let mut pixels = vec![0.0; 6 * 6 * 3];
    for (rows, columns, channel) in [(1..3, 3..5, 0), (4..6, 0..2, 1)] {
        for row in rows {
            for column in columns.clone() {
                pixels[(row * 6 + column) * 3 + channel] = 1.0;
            }
        }
    }
    pixels
}

fn map_of(target: &Target, method: Method, output: usize) -> HeatMap {
    let image = picture();
    let inputs = BTreeMap::from([("image", image.as_slice()), ("side", &[1.0, 2.0])]);
    let keep = target.keep();
    let values = Reference::new(target.graph())
        .run_all(&inputs, &keep)
        .unwrap();
    let values: BTreeMap<NodeId, Vec<f32>> = keep.into_iter().zip(values).collect();
    explain(
        target,
        method,
        Score {
            output,
            negated: false,
        },
        &|id| Cow::Borrowed(values[&id].as_slice()),
    )
    .unwrap()
}

fn hottest(map: &HeatMap) -> (usize, usize) {
    let cells = map.intensity.iter().enumerate();
    let most = cells.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    (most / map.width, most % map.width)
}

#[test]
fn the_hottest_cell_lies_in_the_planted_patch() {
    let target = Target::find(&network(), None).unwrap();
    assert_eq!(target.layer(), "net/relu");
    for method in [
        Method::GradCam,
        Method::GradCamPlusPlus,
        Method::LayerCam,
        Method::HiResCam,
    ] {
        let (row, column) = hottest(&map_of(&target, method, 0));
        assert!(
            (1..3).contains(&row) && (3..5).contains(&column),
            "{method:?}: red"
        );
        let (row, column) = hottest(&map_of(&target, method, 1));
        assert!(
            (4..6).contains(&row) && (0..2).contains(&column),
            "{method:?}: green"
        );
    }
}

#[test]
fn gradcam_is_the_sum_done_by_hand() {
    let map = map_of(&Target::find(&network(), None).unwrap(), Method::GradCam, 0);
    // Mean gradients: 3 * 1 / 36 for red; -1 * 2 / 36 for green, whose gate is 2.
    let red = 2.25 * 3.0 / 36.0;
    let green = -0.25 * 2.0 / 36.0;
    let black = 0.25 * 3.0 / 36.0;
    let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
    assert!(close(map.raw[6 + 3], red));
    assert!(close(map.raw[4 * 6], black + green));
    assert!(close(map.raw[0], black));
    assert!(close(map.intensity[6 + 3], 1.0) && close(map.intensity[0], 0.25 / 2.25));
}

#[test]
fn eigencam_is_the_first_singular_component() {
    // Singular values 5 (channel 0 alone) and 1.
    let activation = [3.0, 0.0, 4.0, 0.0, 0.0, 1.0];
    let map = Method::EigenCam.map(&activation, &[], 2);
    let error = map
        .iter()
        .zip([3.0, 4.0, 0.0])
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(error < 1e-4, "{map:?}");
}

#[test]
fn gradcam_plus_plus_weighs_as_in_the_paper() {
    // One channel, A = [1, 3], G = [2, 0]: a = 4 / (8 + 4 * 8) = 0.1, weight 0.1 * 2.
    let map = Method::GradCamPlusPlus.map(&[1.0, 3.0], &[2.0, 0.0], 1);
    assert!(
        (map[0] - 0.2).abs() < 1e-6 && (map[1] - 0.6).abs() < 1e-6,
        "{map:?}"
    );
}

#[test]
fn layers_inside_fused_nodes_are_read_as_if_they_had_never_been_fused() {
    let plain = network();
    let fused = pass::optimize(plain.clone()).unwrap();
    assert!(fused.nodes().len() < plain.nodes().len());
    for layer in ["conv", "bn", "relu"] {
        let expected = map_of(
            &Target::find(&plain, Some(layer)).unwrap(),
            Method::GradCam,
            0,
        );
        let target = Target::find(&fused, Some(layer)).unwrap();
        let got = map_of(&target, Method::GradCam, 0);
        for (a, b) in expected.raw.iter().zip(&got.raw) {
            assert!((a - b).abs() < 1e-6, "{layer}: {a} against {b}");
        }
        assert_eq!(target.layer(), layer);
    }
}

#[test]
fn wrong_layers_are_named_with_what_was_meant() {
    let find = |layer| Target::find(&network(), Some(layer)).unwrap_err();
    let unknown = find("relo");
    assert!(
        unknown.to_string().contains("did you mean `net/relu`"),
        "{unknown}"
    );
    assert_eq!(find("head").kind(), "not_spatial");
    assert_eq!(find("side_dense").kind(), "not_spatial");
    let mut flat = Graph::new("flat");
    let x = flat.push_input("x", [4].into()).unwrap();
    flat.push("y", Op::Softmax { axis: None }, &[x]).unwrap();
    assert_eq!(Target::find(&flat, None).unwrap_err().kind(), "no_map");
}

/// Attention among the pixels of `network`'s map of six rows, six columns and two channels.
fn with_attention(back_to_a_map: bool) -> Graph {
    let mut g = Graph::new("attention");
    let image = g.push_input("image", [6, 6, 2].into()).unwrap();
    let map = push(&mut g, "relu", Op::Activation(Activation::Relu), &[image]);
    let reshape = |dims: &[usize]| Op::Reshape {
        shape: Shape::new(dims),
    };
    let transpose = |permutation: &[usize]| Op::Transpose {
        permutation: permutation.to_vec(),
    };
    let heads = push(&mut g, "heads", reshape(&[36, 2, 1]), &[map]);
    let query = push(&mut g, "query", transpose(&[1, 0, 2]), &[heads]);
    let half = Op::Activation(Activation::Tanh);
    let query = push(&mut g, "scaled", half, &[query]);
    let key = push(&mut g, "key", transpose(&[1, 2, 0]), &[heads]);
    let scores = push(&mut g, "scores", Op::MatMul, &[query, key]);
    let share = Op::Softmax { axis: None };
    let share = push(&mut g, "share", share, &[scores]);
    let mixed = push(&mut g, "mixed", Op::MatMul, &[share, query]);
    let last = push(&mut g, "back", transpose(&[1, 0, 2]), &[mixed]);
    let last = if back_to_a_map {
        let last = push(&mut g, "map", reshape(&[6, 6, 2]), &[last]);
        push(&mut g, "gelu", Op::Activation(Activation::Gelu), &[last])
    } else {
        last
    };
    push(&mut g, "flat", reshape(&[72]), &[last]);
    g
}

#[test]
fn heads_and_tokens_are_no_map_until_they_are_rows_and_columns_again() {
    for (back_to_a_map, layer) in [(false, "net/relu"), (true, "net/gelu")] {
        let target = Target::find(&with_attention(back_to_a_map), None).unwrap();
        assert_eq!(target.layer(), layer);
        assert_eq!(target.size(), [6, 6]);
    }
}

#[test]
fn a_map_without_support_is_blank() {
    let map = HeatMap::new(1, 3, vec![-1.0, 0.0, f32::NAN]);
    assert!(map.is_blank());
    assert_eq!(HeatMap::new(1, 2, vec![1.0, 4.0]).intensity, [0.25, 1.0]);
}

#[test]
fn the_overlay_blends_inside_the_region_only() {
    let map = HeatMap::new(1, 2, vec![0.0, 1.0]);
    let photo = vec![100; 3 * 4 * 2];
    let region = Region {
        left: 0.0,
        top: 1.0,
        width: 4.0,
        height: 1.0,
    };
    let style = Overlay {
        colormap: Colormap::Jet,
        alpha: 0.5,
    };
    let mut drawn = photo.clone();
    overlay(&mut drawn, [4, 2], &map, region, style);
    assert_eq!(drawn[..12], photo[..12], "the row above the region");
    // jet(0) is (0, 0, 127) and jet(1) is (127, 0, 0) in matplotlib.
    assert_eq!(drawn[12..15], [50, 50, 114]);
    assert_eq!(drawn[21..24], [114, 50, 50]);
}

#[test]
fn colours_are_matplotlibs() {
    for (map, at, color) in [
        (Colormap::Jet, 0.5, [124, 255, 121]),
        (Colormap::Viridis, 0.0, [68, 1, 84]),
        (Colormap::Viridis, 1.0, [253, 231, 36]),
        (Colormap::Turbo, 0.5, [164, 252, 59]),
    ] {
        assert_eq!(map.color(at), color, "{map:?} at {at}");
    }
}

#[test]
fn a_png_reads_back() {
    let pixels: Vec<u8> = (0..3 * 5 * 4).collect();
    let mut png = Vec::new();
    write_png(&mut png, &pixels, [5, 4]).unwrap();
    let read = image::load_from_memory(&png).unwrap().to_rgb8();
    assert_eq!(
        (read.width(), read.height(), read.into_raw()),
        (5, 4, pixels)
    );
}

#[test]
fn npy_is_what_numpy_writes() {
    // numpy.save of numpy.array([[1, 2, 3]], dtype="<f4").
    let bytes = npy_bytes(1, 3, &[1.0, 2.0, 3.0]);
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert_eq!(
        &bytes[10..69],
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }"
    );
    assert_eq!(bytes[127], b'\n');
    assert_eq!(bytes.len(), 128 + 12);
    assert_eq!(bytes[128..132], 1.0f32.to_le_bytes());
}

/// A map of 3 x 2 places and 3 channels, and the nodes after it.
fn headed(push_head: impl FnOnce(&mut Graph, NodeId)) -> Target {
    let mut graph = Graph::new("headed");
    let image = graph.push_input("image", [3, 2, 3].into()).unwrap();
    let map = push(
        &mut graph,
        "map",
        Op::Activation(Activation::Relu),
        &[image],
    );
    push_head(&mut graph, map);
    Target::find(&graph, Some("map")).unwrap()
}

fn dense(graph: &mut Graph, input: NodeId, units: usize, activation: Activation) -> NodeId {
    let name = format!("dense{}", graph.nodes().len());
    let k = graph.node(input).shape.channels();
    let number = |i: usize| ((i * 37 + units) % 19) as f32 / 7.0 - 1.1;
    let kernel: Vec<f32> = (0..k * units).map(number).collect();
    let kernel = weights(graph, &format!("{name}.kernel"), &[k, units], &kernel);
    let bias: Vec<f32> = (0..units).map(|i| number(i) / 3.0).collect();
    let bias = weights(graph, &format!("{name}.bias"), &[units], &bias);
    let dense = Dense {
        units,
        kernel: Kernel::plain(kernel),
        bias: Some(bias),
        epilogue: Epilogue {
            activation,
            residual: None,
        },
    };
    push(graph, &name, Op::Dense(dense), &[input])
}

fn global_mean(graph: &mut Graph, input: NodeId, keep_dims: bool) -> NodeId {
    let kind = PoolKind::Average;
    push(graph, "mean", Op::GlobalPool { kind, keep_dims }, &[input])
}

/// The largest difference between the closed form and candle over all outputs, relative to the
/// largest gradient; `None` if the closed form does not apply.
fn distance_from_candle(target: &Target) -> Option<f32> {
    let graph = target.graph();
    let values: Vec<f32> = (0..graph.node(target.node()).shape.len())
        .map(|i| (i * 5 % 11) as f32 / 4.0)
        .collect();
    let values = |_| Cow::Borrowed(values.as_slice());
    let outputs = graph.node(graph.output()).shape.len();
    let mut most = 0.0_f32;
    for output in 0..outputs {
        let got = closed::gradient(target, output, &values).ok()?;
        let expected = reference::gradient(graph, target.node(), &[], output, &values).unwrap();
        let scale = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        assert!(
            scale > 0.0,
            "a gradient that is zero everywhere shows nothing"
        );
        let pairs = got.iter().zip(&expected);
        most = pairs.fold(most, |most, (a, b)| most.max((a - b).abs() / scale));
    }
    Some(most)
}

#[test]
fn the_closed_form_of_one_dense_layer_is_candles_gradient_bit_by_bit() {
    for keep_dims in [false, true] {
        let target = headed(|graph, map| {
            let mean = global_mean(graph, map, keep_dims);
            dense(graph, mean, 5, Activation::Linear);
        });
        assert_eq!(distance_from_candle(&target), Some(0.0), "{keep_dims}");
    }
    // The demo model, at the layer of its heat maps.
    let model = crate::artifact::embedded().unwrap();
    let target = Target::find(&model.graph, None).unwrap();
    assert_eq!(distance_from_candle(&target), Some(0.0));
}

#[test]
fn the_closed_form_goes_through_several_dense_layers() {
    for hidden in [
        Activation::Linear,
        Activation::Relu,
        Activation::Tanh,
        Activation::Sigmoid,
    ] {
        let target = headed(|graph, map| {
            let window = Window {
                kernel: [3, 2],
                strides: [1, 1],
                dilations: [1, 1],
                padding: Padding::default(),
            };
            let kind = PoolKind::Average;
            let mean = push(graph, "mean", Op::Pool2d { kind, window }, &[map]);
            let shape = Shape::new(&[3]);
            let flat = push(graph, "flatten", Op::Reshape { shape }, &[mean]);
            let x = dense(graph, flat, 8, hidden);
            let x = dense(graph, x, 6, hidden);
            dense(graph, x, 4, Activation::Linear);
        });
        let distance = distance_from_candle(&target).unwrap();
        assert!(distance < 1e-5, "{hidden:?}: {distance}");
    }
}

#[test]
fn heads_that_are_no_mean_with_dense_layers_are_left_to_candle() {
    let obstacle = |target: &Target| {
        let ones = vec![1.0; target.graph().node(target.node()).shape.len()];
        match closed::gradient(target, 0, &|_| Cow::Borrowed(ones.as_slice())) {
            Err(Obstacle::Node(id)) => target.graph().node(id).name.clone(),
            _ => String::new(),
        }
    };
    let max = |graph: &mut Graph, map| {
        let kind = PoolKind::Max;
        let keep_dims = false;
        push(graph, "max", Op::GlobalPool { kind, keep_dims }, &[map])
    };
    let flat = |graph: &mut Graph, map| {
        let shape = Shape::new(&[18]);
        push(graph, "flatten", Op::Reshape { shape }, &[map])
    };
    let heads: [(&str, Target); 5] = [
        (
            "max",
            headed(|graph, map| {
                let x = max(graph, map);
                dense(graph, x, 4, Activation::Linear);
            }),
        ),
        (
            "flatten",
            headed(|graph, map| {
                let x = flat(graph, map);
                dense(graph, x, 4, Activation::Linear);
            }),
        ),
        (
            "dense2",
            headed(|graph, map| {
                let x = dense(graph, map, 4, Activation::Linear);
                global_mean(graph, x, false);
            }),
        ),
        (
            "dense3",
            headed(|graph, map| {
                let x = global_mean(graph, map, false);
                let x = dense(graph, x, 4, Activation::Gelu);
                dense(graph, x, 4, Activation::Linear);
            }),
        ),
        ("gate", Target::find(&network(), None).unwrap()),
    ];
    for (node, target) in heads {
        assert_eq!(obstacle(&target), node);
    }
}
