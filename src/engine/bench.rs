//! How long a graph takes on this machine: runs it on the same noise repeatedly and times each run.

use std::time::Instant;

use super::{Engine, EngineError, Options, StepTime};
use crate::graph::{Graph, NodeId};
use crate::random::SplitMix64;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Number of measured runs, at least 1. A tenth as many run before, to warm up.
    pub measured: usize,
    /// Whether to time each step, too. That makes a run a little slower.
    pub profile: bool,
}

/// The result of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Wall time of one run.
    pub latency: Latency,
    /// Multiply-adds a second, in billions, at the median latency.
    pub gmac_per_s: f64,
    /// Bytes of the arena and of all threads' scratch.
    pub arena_bytes: usize,
    /// The index of the largest output. It shows that equal models did equal work.
    pub top1_index: usize,
    /// The steps in order, if they were timed.
    pub profile: Vec<StepLatency>,
}

/// Wall times in milliseconds. Quantiles interpolate between the closest ranks, as NumPy does.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// Half of the runs took at most this long.
    pub median: f64,
    /// 90 % of the runs took at most this long.
    pub p90: f64,
    /// 99 % of the runs took at most this long.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// The time of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLatency {
    /// The node that it computes.
    pub node: NodeId,
    /// The kernel that computes it.
    pub kernel: &'static str,
    /// Median over the runs, including the wait for the slowest thread.
    pub median_ms: f64,
    /// Multiply-adds a second, in billions.
    pub gmac_per_s: f64,
}

/// Runs `graph` on noise and measures it. `progress` gets the number of runs that are done, and the
/// number of all runs.
///
/// # Errors
/// [`EngineError`] if the graph cannot be run.
pub fn measure(
    graph: &Graph,
    options: &Options,
    runs: Runs,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Measurement, EngineError> {
    let mut engine = Engine::new(graph, options)?;
    let measured = runs.measured.max(1);
    let warm_up = measured.div_ceil(10);
    let mut times = Vec::with_capacity(measured);
    let mut steps: Vec<Vec<StepTime>> = Vec::new();
    for run in 0..warm_up + measured {
        fill_inputs(graph, &mut engine);
        let started = Instant::now();
        let profile = if runs.profile {
            engine.run_profiled()
        } else {
            engine.run();
            Vec::new()
        };
        if run >= warm_up {
            times.push(started.elapsed().as_secs_f64() * 1e3);
            steps.push(profile);
        }
        progress(run, warm_up + measured);
    }
    let latency = Latency::of(&mut times);
    let output = engine.output().iter().enumerate();
    Ok(Measurement {
        latency,
        gmac_per_s: graph.total_stats().macs as f64 / latency.median / 1e6,
        arena_bytes: engine.memory_bytes(),
        top1_index: output
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(index, _)| index),
        profile: profile(graph, &steps),
    })
}

/// Seeded noise in -1..1, so that denormals do not change the times.
fn fill_inputs(graph: &Graph, engine: &mut Engine) {
    let inputs: Vec<NodeId> = graph.inputs().map(|(id, _)| id).collect();
    let mut random = SplitMix64::new(1);
    for id in inputs {
        for value in engine.input_mut(id) {
            *value = 2.0 * random.unit_f32() - 1.0;
        }
    }
}

impl Latency {
    /// Quantiles of at least one time; sorts the times.
    fn of(times: &mut [f64]) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |q: f64| quantile(times, q);
        Self {
            min: at(0.0),
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
            mean: times.iter().sum::<f64>() / times.len() as f64,
        }
    }
}

/// Linear interpolation between the closest ranks, as NumPy does by default.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let low = at as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - at.floor())
}

fn profile(graph: &Graph, runs: &[Vec<StepTime>]) -> Vec<StepLatency> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let step = |(i, step): (usize, &StepTime)| {
        let times = runs.iter().map(|run| run[i].time.as_secs_f64() * 1e3);
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        let median_ms = quantile(&times, 0.5);
        StepLatency {
            node: step.node,
            kernel: step.kernel,
            median_ms,
            gmac_per_s: graph.stats(step.node).macs as f64 / median_ms.max(1e-6) / 1e6,
        }
    };
    first.iter().enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::tensor::Shape;

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0, .5, .9, 1])
        let values = [1.0, 2.0, 4.0, 8.0];
        let got = [0.0, 0.5, 0.9, 1.0].map(|q| quantile(&values, q));
        assert!(
            got.iter()
                .zip([1.0, 3.0, 6.8, 8.0])
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
    }

    #[test]
    fn every_run_is_counted_and_every_step_named() {
        let mut graph = Graph::new("test");
        let input = graph.push_input("input", [4, 4, 3].into()).unwrap();
        let shape = Shape::new(&[48]);
        let flat = graph.push("flat", Op::Reshape { shape }, &[input]).unwrap();
        graph
            .push("softmax", Op::Softmax { axis: None }, &[flat])
            .unwrap();
        let mut calls = Vec::new();
        let runs = Runs {
            measured: 11,
            profile: true,
        };
        let measured = measure(&graph, &Options::default(), runs, &mut |done, all| {
            calls.push((done, all));
        })
        .unwrap();
        assert_eq!(calls.len(), 13, "11 and two to warm up");
        assert_eq!(calls[12], (12, 13));
        let steps = measured.profile.iter().map(|step| step.node);
        assert!(
            steps.eq(Engine::new(&graph, &Options::default())
                .unwrap()
                .plan()
                .steps
                .iter()
                .map(|step| step.node))
        );
        let latency = measured.latency;
        assert!(latency.min <= latency.median && latency.p99 <= latency.max);
    }
}
