//! ONNX models whose weights are bfloat16: the numbers are those of the file, and weights stay 16
//! bits. Models are `fixtures/import/onnx_bfloat16`, written by `scripts/onnx_bfloat16_models.py`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dermal::engine::{Engine, Options};
use dermal::graph::{Graph, pass};
use dermal::import::{ImportOptions, import};
use dermal::kernels::Isa;
use dermal::tensor::DType;

use super::common::repo;

fn load(name: &str) -> Graph {
    let path = repo("fixtures/import/onnx_bfloat16").join(format!("{name}.onnx"));
    let imported = import(&path, &ImportOptions::default(), &mut |_| {}).unwrap();
    pass::optimize(imported.graph).unwrap()
}

fn answer(graph: &Graph) -> Vec<f32> {
    // Tiers that multiply bfloat16 natively would round the photo, too.
    let options = Options {
        threads: 1,
        isa: Isa::Portable,
        keep: vec![],
    };
    let mut engine = Engine::new(graph, &options).unwrap();
    let (id, _) = graph.inputs().next().unwrap();
    for (i, value) in engine.input_mut(id).iter_mut().enumerate() {
        *value = (i * 7919 % 1000) as f32 / 500.0 - 1.0;
    }
    engine.run();
    engine.output().to_vec()
}

#[test]
fn numbers_in_bfloat16_are_those_of_the_file() {
    let expected = answer(&load("f32"));
    assert_eq!(expected.len(), 5);
    assert!(expected.iter().all(|v| v.abs() > 1e-3), "{expected:?}");
    for name in ["weights", "weights_in_ints", "whole"] {
        assert_eq!(answer(&load(name)), expected, "{name}");
    }
}

#[test]
fn weights_in_bfloat16_stay_16_bits() {
    for name in ["weights", "whole"] {
        let graph = load(name);
        let kernels = graph.nodes().iter().filter_map(|node| node.op.kernel());
        let types: Vec<DType> = kernels.map(|k| graph.tensors[&k.tensor].dtype()).collect();
        assert_eq!(types, [DType::BF16; 2], "{name}");
    }
}
