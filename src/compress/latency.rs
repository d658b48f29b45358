//! How long one inference takes, before and after.

use std::time::Instant;

use super::CompressError;
use crate::engine::{self, Engine};
use crate::graph::Graph;

/// Runs of each engine; the latency is their median.
const TIMED_RUNS: usize = 15;

/// Median latency of one inference of both graphs, in milliseconds. The graphs take turns, so that
/// other work on the machine slows both.
///
/// # Errors
/// [`CompressError::Engine`] if one cannot be run.
pub fn latencies_ms(
    before: &Graph,
    after: &Graph,
    options: &engine::Options,
) -> Result<[f64; 2], CompressError> {
    let mut engines = [Engine::new(before, options)?, Engine::new(after, options)?];
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..=TIMED_RUNS {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            let started = Instant::now();
            engine.run();
            // The first run of each graph reads its weights from the file.
            if run > 0 {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}
