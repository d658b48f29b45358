//! `dermal bench`: how long one photo takes on this machine.

use super::{Context, Result};
use serde::Serialize;

use super::engine_options;
use crate::artifact::ModelSource;
use crate::cli::BenchArgs;
use crate::engine::bench::{self, Latency, Runs, StepLatency};
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
    /// The index of the largest output. It shows that equal models did equal work.
    top1_index: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Row>,
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
    let source = ModelSource::of(args.model.as_deref());
    let model = source.load()?;
    let options = engine_options(&args.engine)?;
    let runs = Runs {
        measured: args.runs as usize,
        profile: args.profile,
    };
    let mut progress = Progress::items("measuring");
    let measured = bench::measure(&model.graph, &options, runs, &mut |done, all| {
        progress.set(done as u64, all as u64);
    })
    .context("cannot run the model")?;
    drop(progress);
    let row = |step: &StepLatency| {
        let node = model.graph.node(step.node);
        Row {
            node: node.name.clone(),
            op: node.op.name(),
            kernel: step.kernel,
            median_ms: step.median_ms,
            gmac_per_s: step.gmac_per_s,
        }
    };
    let report = Report {
        schema_version: SCHEMA_VERSION,
        model: source.to_string(),
        threads: options.threads,
        isa: options.isa.name(),
        runs: runs.measured,
        latency_ms: measured.latency,
        gmac_per_s: measured.gmac_per_s,
        arena_bytes: measured.arena_bytes,
        rss_bytes: measure::rss_bytes(),
        peak_rss_bytes: measure::peak_rss_bytes(),
        top1_index: measured.top1_index,
        profile: measured.profile.iter().map(row).collect(),
    };
    if args.json {
        return Ok(report::print_json(&report)?);
    }
    print(&report)
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
