//! How far each layer of a quantized graph is from the float graph's, on the same photos.
//!
//! Both graphs run side by side, a step at a time, so that no more than two arenas are in memory.
//! The measure is the signal to quantization noise ratio, `10 log10(Σ x² / Σ (x - y)²)` in
//! decibels: 6 dB are one bit. Noise adds up from layer to layer, as it does in use.

use std::collections::BTreeMap;

use serde::Serialize;

use super::QuantizeError;
use crate::engine::{Engine, Options};
use crate::graph::{Graph, NodeId, Stage};

/// The error of one layer's output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerError {
    /// The node.
    pub node: String,
    /// The source layer whose output it is, or the node's name.
    pub layer: String,
    /// Its op.
    pub op: &'static str,
    /// Signal to quantization noise ratio, dB; `None` if there is no noise at all.
    pub sqnr_db: Option<f64>,
}

/// Sums for one pair of values.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    signal: f64,
    noise: f64,
}

/// Two graphs run side by side.
pub struct ErrorMeter {
    float: Engine,
    quantized: Engine,
    /// For each step of the quantized graph, the float graph's step that makes the same value.
    pairs: Vec<Option<usize>>,
    labels: Vec<(String, String, &'static str)>,
    sums: Vec<Sums>,
}

impl ErrorMeter {
    /// For a float graph and one made from it. Values with the same node name are compared.
    ///
    /// # Errors
    /// [`QuantizeError::Engine`] if one cannot be run.
    pub fn new(float: &Graph, quantized: &Graph, options: &Options) -> Result<Self, QuantizeError> {
        let float_engine = Engine::new(float, options)?;
        let engine = Engine::new(quantized, options)?;
        let steps = float_engine.plan().steps.iter().enumerate();
        let by_name: BTreeMap<&str, usize> = steps
            .map(|(index, step)| (float.node(step.node).name.as_str(), index))
            .collect();
        let steps = &engine.plan().steps;
        let nodes = || steps.iter().map(|step| quantized.node(step.node));
        let pairs = nodes()
            .map(|node| by_name.get(node.name.as_str()).copied())
            .collect();
        let labels = nodes().map(|node| {
            let mut layers = node.layers.iter();
            let own = layers.find(|layer| layer.stage == Stage::Output);
            let layer = own.map_or_else(|| node.name.clone(), |layer| layer.name.clone());
            (node.name.clone(), layer, node.op.name())
        });
        Ok(Self {
            labels: labels.collect(),
            sums: vec![Sums::default(); steps.len()],
            pairs,
            float: float_engine,
            quantized: engine,
        })
    }

    /// Sets an input of both graphs.
    pub fn set_input(&mut self, float: NodeId, quantized: NodeId, values: &[f32]) {
        self.float.input_mut(float).copy_from_slice(values);
        self.quantized.input_mut(quantized).copy_from_slice(values);
    }

    /// Runs both graphs on the current inputs.
    pub fn observe(&mut self) {
        let mut done = 0;
        for index in 0..self.pairs.len() {
            self.quantized.run_step(index);
            let Some(pair) = self.pairs[index] else {
                continue;
            };
            while done <= pair {
                self.float.run_step(done);
                done += 1;
            }
            let x = self.float.value(self.float.plan().steps[pair].node);
            let y = self
                .quantized
                .value(self.quantized.plan().steps[index].node);
            let sums = &mut self.sums[index];
            for (&x, &y) in x.iter().zip(y.iter()) {
                let (x, y) = (f64::from(x), f64::from(y));
                sums.signal += x * x;
                sums.noise += (x - y) * (x - y);
            }
        }
    }

    /// The errors of all values that both graphs store, worst first.
    #[must_use]
    pub fn finish(self) -> Vec<LayerError> {
        let rows = self.labels.into_iter().zip(self.pairs).zip(self.sums);
        let mut errors: Vec<LayerError> = rows
            .filter(|((_, pair), _)| pair.is_some())
            .map(|(((node, layer, op), _), sums)| LayerError {
                node,
                layer,
                op,
                sqnr_db: (sums.noise > 0.0).then(|| 10.0 * (sums.signal / sums.noise).log10()),
            })
            .collect();
        errors.sort_by(|a, b| {
            let key = |e: &LayerError| e.sqnr_db.unwrap_or(f64::INFINITY);
            key(a).total_cmp(&key(b))
        });
        errors
    }
}
