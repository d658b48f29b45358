//! `dermal bench`: how long one photo takes on this machine.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::session::{EngineChoice, load_model};
use crate::cli::BenchArgs;
use crate::engine::{Engine, StepTime};
use crate::graph::{Graph, NodeId};
use crate::memory::measure;
use crate::report::{self, Align, Progress, SCHEMA_VERSION, Table, bar};
use crate::units::{Bytes, Millis};

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    model: String,
    threads: usize,
    isa: &'static str,
    runs: usize,
    latency_ms: Latency,
    gmac_per_s: f64,
    arena_bytes: usize,
    rss_bytes: Option<u64>,
    peak_rss_bytes: Option<u64>,
    /// The index of the largest output: equal models do equal work.
    top1_index: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Row>,
}

#[derive(Serialize)]
struct Latency {
    min: f64,
    median: f64,
    p90: f64,
    p99: f64,
    max: f64,
    mean: f64,
}

#[derive(Serialize)]
struct Row {
    node: String,
    op: &'static str,
    kernel: &'static str,
    median_ms: f64,
    gmac_per_s: f64,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let (model, name) = load_model(args.model.as_deref())?;
    let choice = EngineChoice::new(&args.engine)?;
    let mut engine = choice.engine(&model.graph, Vec::new())?;
    let runs = args.runs as usize;
    let mut times = Vec::with_capacity(runs);
    let mut steps: Vec<Vec<StepTime>> = Vec::new();
    let warm_up = runs.div_ceil(10);
    let mut progress = Progress::items("measuring");
    for run in 0..warm_up + runs {
        fill_inputs(&model.graph, &mut engine);
        let started = Instant::now();
        let profile = if args.profile {
            engine.run_profiled()
        } else {
            Vec::new()
        };
        if !args.profile {
            engine.run();
        }
        if run >= warm_up {
            times.push(started.elapsed().as_secs_f64() * 1e3);
            steps.push(profile);
        }
        progress.set(run as u64, (warm_up + runs) as u64);
    }
    drop(progress);
    let latency = Latency::of(&mut times);
    let macs = model.graph.total_stats().macs as f64;
    let output = engine.output().iter().enumerate();
    let report = Report {
        schema_version: SCHEMA_VERSION,
        model: name,
        threads: choice.threads,
        isa: choice.isa.name(),
        runs,
        gmac_per_s: macs / latency.median / 1e6,
        latency_ms: latency,
        arena_bytes: engine.memory_bytes(),
        rss_bytes: measure::rss_bytes(),
        peak_rss_bytes: measure::peak_rss_bytes(),
        top1_index: output
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(i, _)| i),
        profile: if args.profile {
            profile(&model.graph, &steps)
        } else {
            Vec::new()
        },
    };
    if args.json {
        return Ok(report::print_json(&report)?);
    }
    print(&report)
}

/// Seeded noise in -1..1 (SplitMix64, Steele et al. 2014): times must not depend on denormals.
fn fill_inputs(graph: &Graph, engine: &mut Engine) {
    let inputs: Vec<NodeId> = graph.inputs().map(|(id, _)| id).collect();
    let mut state = 1u64;
    for id in inputs {
        for value in engine.input_mut(id) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *value = ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0;
        }
    }
}

impl Latency {
    /// Of at least one time; sorts them.
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

/// Linear interpolation between closest ranks, as NumPy's default.
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

fn profile(graph: &Graph, runs: &[Vec<StepTime>]) -> Vec<Row> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let row = |(i, step): (usize, &StepTime)| {
        let mut times: Vec<f64> = runs
            .iter()
            .map(|run| run[i].time.as_secs_f64() * 1e3)
            .collect();
        times.sort_by(f64::total_cmp);
        let median_ms = quantile(&times, 0.5);
        let node = graph.node(step.node);
        Row {
            node: node.name.clone(),
            op: node.op.name(),
            kernel: step.kernel,
            median_ms,
            gmac_per_s: graph.stats(step.node).macs as f64 / median_ms.max(1e-6) / 1e6,
        }
    };
    first.iter().enumerate().map(row).collect()
}

fn print(report: &Report) -> Result<()> {
    let mut fields = Table::fields();
    let l = &report.latency_ms;
    fields.row(["model", &report.model]);
    fields.row([
        "engine",
        &format!("{} threads, {}", report.threads, report.isa),
    ]);
    fields.row(["runs", &report.runs.to_string()]);
    fields.row([
        "latency",
        &format!(
            "median {}, p90 {}, p99 {}",
            Millis(l.median),
            Millis(l.p90),
            Millis(l.p99)
        ),
    ]);
    fields.row(["range", &format!("{} to {}", Millis(l.min), Millis(l.max))]);
    fields.row(["speed", &format!("{:.1} GMAC/s", report.gmac_per_s)]);
    fields.row(["arena", &Bytes(report.arena_bytes as u64).to_string()]);
    let shown = |b: Option<u64>| b.map_or("unavailable".to_owned(), |b| Bytes(b).to_string());
    fields.row([
        "memory",
        &format!(
            "RSS {}, peak {}",
            shown(report.rss_bytes),
            shown(report.peak_rss_bytes)
        ),
    ]);
    report::print(fields.to_string())?;
    if report.profile.is_empty() {
        return Ok(());
    }
    let total: f64 = report.profile.iter().map(|row| row.median_ms).sum();
    let most = report
        .profile
        .iter()
        .map(|row| row.median_ms)
        .fold(0.0, f64::max);
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("kernel", Align::Left),
        ("time", Align::Right),
        ("share", Align::Right),
        ("GMAC/s", Align::Right),
        ("", Align::Left),
    ]);
    for row in &report.profile {
        #[expect(clippy::cast_possible_truncation, reason = "a fraction for a bar")]
        let part = (row.median_ms / most) as f32;
        table.row([
            row.node.as_str(),
            row.kernel,
            &Millis(row.median_ms).to_string(),
            &format!("{:.1} %", 100.0 * row.median_ms / total),
            &format!("{:.1}", row.gmac_per_s),
            &bar(part, 20),
        ]);
    }
    Ok(report::print(format!("\n{table}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
