//! Observes a graph's values while it runs on photos.
//!
//! Memory does not grow with the number of photos: each value has a histogram and sums of fixed
//! size.

use std::collections::BTreeMap;

use super::histogram::{Histogram, RangeMethod};
use super::{QuantizeError, separate_tables};
use crate::activation::Activation;
use crate::engine::{Engine, Options};
use crate::graph::{Graph, NodeId};
use crate::quantization::Quantization;

/// Statistics of each channel (last axis) of a value.
#[derive(Clone, Debug, Default)]
pub struct ChannelStats {
    /// Sums.
    sum: Vec<f64>,
    /// Largest magnitudes.
    reach: Vec<f32>,
}

impl ChannelStats {
    fn add(&mut self, values: &[f32], channels: usize) {
        if self.sum.is_empty() {
            self.sum = vec![0.0; channels];
            self.reach = vec![0.0; channels];
        }
        // Sums of a photo in f32 lanes would lose digits on large maps, so rows are summed in f64.
        for row in values.chunks_exact(channels) {
            for ((sum, reach), &v) in self.sum.iter_mut().zip(&mut self.reach).zip(row) {
                *sum += f64::from(v);
                *reach = reach.max(v.abs());
            }
        }
    }
}

/// Statistics of one value.
#[derive(Clone, Debug)]
pub struct ValueStats {
    histogram: Histogram,
    channels: ChannelStats,
    elements: u64,
}

impl ValueStats {
    /// The map of the bytes by a method. `then` is the function that a table applies to the bytes
    /// (`Linear`: none). `None` if an element was not finite.
    #[must_use]
    pub fn quantization(&self, method: RangeMethod, then: Activation) -> Option<Quantization> {
        self.histogram.quantization(method, then)
    }

    /// The least and the largest element.
    #[must_use]
    pub fn range(&self) -> (f32, f32) {
        self.histogram.range()
    }

    /// The mean of each channel.
    #[must_use]
    pub fn channel_means(&self) -> Vec<f64> {
        let sums = &self.channels.sum;
        let each = self.elements as f64 / sums.len().max(1) as f64;
        sums.iter().map(|sum| sum / each.max(1.0)).collect()
    }

    /// The largest magnitude of each channel.
    #[must_use]
    pub fn channel_reach(&self) -> &[f32] {
        &self.channels.reach
    }
}

/// Statistics of all values of a graph.
#[derive(Clone, Debug)]
pub struct Calibration {
    graph: Graph,
    values: BTreeMap<String, ValueStats>,
    photos: usize,
}

impl Calibration {
    /// The observed graph: the model's, with activations that become tables as separate nodes.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The statistics of a node's value, if it was ever stored.
    #[must_use]
    pub fn value(&self, node: &str) -> Option<&ValueStats> {
        self.values.get(node)
    }

    /// The number of photos.
    #[must_use]
    pub fn photos(&self) -> usize {
        self.photos
    }
}

/// An engine whose values are observed. Fill its inputs and call [`Calibrator::observe`] for each
/// photo.
pub struct Calibrator {
    graph: Graph,
    engine: Engine,
    values: Vec<Option<ValueStats>>,
    photos: usize,
}

impl Calibrator {
    /// For a model with float weights.
    ///
    /// # Errors
    /// [`QuantizeError`] if it is quantized already or cannot be run.
    pub fn new(graph: &Graph, options: &Options) -> Result<Self, QuantizeError> {
        if graph.is_quantized() {
            return Err(QuantizeError::AlreadyQuantized);
        }
        let graph = separate_tables(graph)?;
        let engine = Engine::new(&graph, options)?;
        Ok(Self {
            values: vec![None; graph.nodes().len()],
            graph,
            engine,
            photos: 0,
        })
    }

    /// The graph that runs: the model's, with activations that become tables as separate nodes. Its
    /// inputs have the model's names and order, but their own ids.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The engine, to fill its inputs (nodes of [`Calibrator::graph`]).
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Runs on the current inputs, and observes the values.
    ///
    /// # Errors
    /// [`QuantizeError::Value`] if a value is not finite. Of that photo only the values before it
    /// are counted.
    pub fn observe(&mut self) -> Result<(), QuantizeError> {
        // Later steps may overwrite inputs, so inputs come first.
        let inputs: Vec<NodeId> = self.graph.inputs().map(|(id, _)| id).collect();
        for id in inputs {
            self.watch(id)?;
        }
        for index in 0..self.engine.plan().steps.len() {
            self.engine.run_step(index);
            self.watch(self.engine.plan().steps[index].node)?;
        }
        self.photos += 1;
        Ok(())
    }

    fn watch(&mut self, id: NodeId) -> Result<(), QuantizeError> {
        let node = self.graph.node(id);
        let values = self.engine.value(id);
        if !values.iter().all(|v| v.is_finite()) {
            return Err(QuantizeError::Value {
                layer: node.name.clone(),
            });
        }
        let stats = self.values[id.0].get_or_insert_with(|| ValueStats {
            histogram: Histogram::new(),
            channels: ChannelStats::default(),
            elements: 0,
        });
        stats.histogram.add(&values);
        stats.channels.add(&values, node.shape.channels());
        stats.elements += values.len() as u64;
        Ok(())
    }

    /// The statistics.
    ///
    /// # Errors
    /// [`QuantizeError::NothingObserved`] without a photo.
    pub fn finish(self) -> Result<Calibration, QuantizeError> {
        if self.photos == 0 {
            return Err(QuantizeError::NothingObserved);
        }
        let names = self.graph.nodes().iter().map(|node| node.name.clone());
        let values = names.zip(self.values);
        Ok(Calibration {
            values: values
                .filter_map(|(name, stats)| Some((name, stats?)))
                .collect(),
            photos: self.photos,
            graph: self.graph,
        })
    }
}
