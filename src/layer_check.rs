//! Compares the engine with the reference, node by node, on one photo. A wrong kernel, weight or
//! window shows at its node.
//!
//! In: a graph, the values of its inputs. Out: for each step of the engine's plan, the difference
//! of its value from the reference's, computed twice. In the first, the reference reads the values
//! that the engine's step read, so an error shows only at its own node. In the second, the
//! reference starts from the photo, so errors add up as they do in use.
//!
//! The reference computes in real numbers, in another order. Differences of f32 models are
//! rounding, some 1e-6 of the largest value. Weights in halves or bytes are taken as they are
//! stored, so their own rounding is not a difference. But kernels for bfloat16 on CPUs that
//! multiply it natively also round their inputs. In a quantized model, the numbers that the
//! engine's bytes represent are compared with the reference's real numbers, clamped to the range of
//! the bytes. Up to half a step of the node's scale is rounding, and more if a table follows the
//! sum.
//!
//! Both read the same graph, so a layer that was imported wrongly shows no difference here. Compare
//! the least and the largest value of each node with the framework's own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{Engine, EngineError, Options};
use crate::graph::{Graph, NodeId};
use crate::hint::{Arguments, Hint};
use crate::quantization::Quantization;
use crate::reference::{Reference, ReferenceError};

/// Why layers cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum LayerCheckError {
    /// The engine cannot run the graph.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The reference cannot compute a value.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl Hint for LayerCheckError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.kind(),
            Self::Reference(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Reference(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Engine(error) => error.arguments(),
            Self::Reference(error) => error.arguments(),
        }
    }
}

/// The difference of one node's value from the reference's. Differences are absolute, in the
/// value's own unit; the difference from a NaN is infinite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerDifference {
    /// The step of the plan, from 0.
    pub step: usize,
    /// The node.
    pub node: String,
    /// Its op.
    pub op: &'static str,
    /// The kernel that computed it.
    pub kernel: &'static str,
    /// The source layers that the node stands for.
    pub layers: Vec<String>,
    /// Largest difference, with a reference that read the values that the engine's step read.
    pub difference: f32,
    /// The same as a share of the reference's largest magnitude.
    pub relative: f32,
    /// The element of the largest difference, counted row by row.
    pub element: usize,
    /// The engine's value there.
    pub engine: f32,
    /// The reference's value there.
    pub reference: f32,
    /// Largest difference from a reference that started from the photo.
    pub from_photo: f32,
    /// The engine's least value.
    pub least: f32,
    /// The engine's largest value.
    pub largest: f32,
    /// The distance between two neighbouring bytes, for a value in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
}

/// Runs the graph on the values of its inputs and compares every step, the largest relative
/// difference first. `options.keep` is not used: the steps are those of a plain prediction.
///
/// # Errors
/// [`LayerCheckError`] if one side cannot run the graph.
///
/// # Panics
/// If `inputs` are not those of the graph.
pub fn check_layers(
    graph: &Graph,
    inputs: &[(NodeId, Vec<f32>)],
    options: &Options,
) -> Result<Vec<LayerDifference>, LayerCheckError> {
    let options = Options {
        keep: Vec::new(),
        ..options.clone()
    };
    let mut engine = Engine::new(graph, &options)?;
    let reference = Reference::new(graph);
    // Values of a reference that started from the photo, kept as long as a later step reads them.
    let mut from_photo = BTreeMap::new();
    for (id, values) in inputs {
        engine.input_mut(*id).copy_from_slice(values);
        from_photo.insert(*id, reference.tensor(*id, values)?);
    }
    let plan = engine.plan().clone();
    let kernels: Vec<&'static str> = engine.kernel_names().collect();
    let mut differences = Vec::with_capacity(plan.steps.len());
    for (index, (step, kernel)) in plan.steps.iter().zip(kernels).enumerate() {
        let node = graph.node(step.node);
        // Read before the step runs, because its result may overwrite an input.
        let mut read = BTreeMap::new();
        let mut read_from_photo = BTreeMap::new();
        for &id in &step.inputs {
            read.insert(id, reference.tensor(id, &engine.value(id))?);
            if let Some(value) = from_photo.get(&id) {
                read_from_photo.insert(id, value.clone());
            }
        }
        engine.run_step(index);
        let got = engine.value(step.node);
        let value = |read: &BTreeMap<NodeId, _>| -> Result<Vec<f32>, LayerCheckError> {
            let value = reference.values(read, step.node)?;
            Ok(storable(value, node.quantization))
        };
        let (own, chained) = (value(&read)?, value(&read_from_photo)?);
        let (element, difference) = largest_difference(&got, &own);
        let magnitude = own.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
        let bound = |pick: fn(f32, f32) -> f32| got.iter().copied().reduce(pick).unwrap_or(0.0);
        differences.push(LayerDifference {
            step: index,
            node: node.name.clone(),
            op: node.op.name(),
            kernel,
            layers: node.layers.iter().map(|layer| layer.name.clone()).collect(),
            difference,
            relative: share(difference, magnitude),
            element,
            engine: got[element],
            reference: own[element],
            from_photo: largest_difference(&got, &chained).1,
            least: bound(f32::min),
            largest: bound(f32::max),
            scale: node.quantization.map(|map| map.scale),
        });
        from_photo.insert(step.node, reference.tensor(step.node, &chained)?);
        for value in &plan.values {
            if value.last == Some(index) {
                from_photo.remove(&value.node);
            }
        }
    }
    differences.sort_by(|a, b| {
        let larger = b.relative.total_cmp(&a.relative);
        larger.then(a.step.cmp(&b.step))
    });
    Ok(differences)
}

/// The numbers, clamped to the range of the bytes.
fn storable(mut values: Vec<f32>, quantization: Option<Quantization>) -> Vec<f32> {
    if let Some(map) = quantization {
        let (low, high) = (map.dequantize(0), map.dequantize(u8::MAX));
        for value in &mut values {
            *value = value.clamp(low, high);
        }
    }
    values
}

/// The first element with the largest difference, and that difference.
fn largest_difference(got: &[f32], expected: &[f32]) -> (usize, f32) {
    let pairs = got.iter().zip(expected).enumerate();
    pairs.fold((0, 0.0), |worst, (element, (&got, &expected))| {
        let same = got == expected || (got.is_nan() && expected.is_nan());
        let difference = match (got - expected).abs() {
            _ if same => 0.0,
            difference if difference.is_nan() => f32::INFINITY,
            difference => difference,
        };
        if difference > worst.1 {
            (element, difference)
        } else {
            worst
        }
    })
}

fn share(difference: f32, magnitude: f32) -> f32 {
    if difference == 0.0 {
        0.0
    } else {
        difference / magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact;
    use crate::kernels::Isa;
    use crate::random::SplitMix64;

    fn noise(graph: &Graph) -> Vec<(NodeId, Vec<f32>)> {
        let mut random = SplitMix64::new(7);
        let mut values = |len| (0..len).map(|_| random.unit_f32()).collect();
        let inputs = graph.inputs();
        inputs
            .map(|(id, node)| (id, values(node.shape.len())))
            .collect()
    }

    #[test]
    fn an_intact_model_differs_by_rounding() {
        let graph = artifact::embedded().unwrap().graph;
        for isa in Isa::available() {
            let options = Options {
                isa,
                ..Options::default()
            };
            let found = check_layers(&graph, &noise(&graph), &options).unwrap();
            assert_eq!(
                found.len(),
                Engine::new(&graph, &options).unwrap().plan().steps.len()
            );
            assert!(found.is_sorted_by(|a, b| a.relative >= b.relative));
            // Sums of some 1,000 products: 1,000 roundings of 6e-8 at the very worst.
            assert!(found[0].relative < 6e-5, "{isa}: {:?}", found[0]);
            assert!(
                found
                    .iter()
                    .all(|d| d.from_photo < 1e-2 && d.scale.is_none())
            );
        }
    }

    #[test]
    fn numbers_that_no_longer_agree_are_named_at_their_own_place() {
        let (element, difference) = largest_difference(&[1.0, 2.0, f32::NAN], &[1.0, 4.0, 0.0]);
        assert_eq!((element, difference), (2, f32::INFINITY));
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.5, 2.25]), (0, 0.5));
        assert_eq!(largest_difference(&[f32::NAN], &[f32::NAN]), (0, 0.0));
        assert_eq!(share(0.0, 0.0), 0.0);
        assert_eq!(share(1.0, 0.0), f32::INFINITY);
    }

    #[test]
    fn bytes_hold_no_more_than_their_range() {
        let map = Quantization {
            scale: 0.5,
            zero_point: 10,
        };
        let values = storable(vec![-9.0, 0.2, 1e6], Some(map));
        assert_eq!(values, [-5.0, 0.2, 122.5]);
        assert_eq!(storable(vec![-9.0], None), [-9.0]);
    }
}
