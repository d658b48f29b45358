//! The report for people: on the terminal, or as a file with plots.

use std::path::Path;

use super::{CalibrationReport, QuantizeReport};
use crate::quantize::LayerError;
use crate::report::Align;
use crate::report::document::plot::{self, Bar};
use crate::report::document::{Block, Document, Grid, Tone};
use crate::units::{Bytes, Millis};

/// Number of layers in the table of errors on a terminal.
const SHOWN_LAYERS: usize = 8;

/// Number of layers in the plot of errors.
const PLOTTED_LAYERS: usize = 40;

/// Where the report will be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// Now, on a terminal.
    Terminal,
    /// Later, from a file.
    File,
}

pub(super) fn of(report: &QuantizeReport, reader: Reader) -> Document {
    let in_file = reader == Reader::File;
    let name = |path: &str| {
        let path = Path::new(path);
        path.file_name().map(|n| n.to_string_lossy().into_owned())
    };
    let mut blocks = Vec::new();
    let limit = report.calibration.as_ref().and_then(limit);
    if in_file {
        blocks.extend(limit.clone());
    }
    blocks.push(Block::Table(summary(report)));
    if let Some(seen) = &report.calibration {
        blocks.push(Block::Heading("Calibration".to_owned()));
        blocks.push(Block::Text(calibration(seen)));
        if in_file {
            blocks.push(Block::Text(
                "Everything that was tried, on the same photos:".to_owned(),
            ));
            blocks.push(Block::Table(trials(seen)));
        }
    }
    if !report.layers.is_empty() {
        blocks.push(Block::Heading("Layers, worst first".to_owned()));
        if in_file {
            blocks.push(error_bars(&report.layers));
        }
        let most = if in_file { usize::MAX } else { SHOWN_LAYERS };
        blocks.push(Block::Table(layers(&report.layers, most)));
    }
    if !in_file {
        blocks.extend(limit);
    }
    let to = if report.weights_only {
        format!("{}, weights only", report.to)
    } else {
        report.to.to_owned()
    };
    Document {
        title: format!(
            "{} as {to}",
            name(&report.model).unwrap_or_else(|| report.model.clone())
        ),
        subtitle: format!(
            "dermal {}, {} threads, {}, in {}",
            env!("CARGO_PKG_VERSION"),
            report.threads,
            report.isa,
            Millis(report.seconds * 1e3)
        ),
        blocks,
    }
}

/// The result of `--max-drop`.
fn limit(seen: &CalibrationReport) -> Option<Block> {
    let held = seen.held?;
    let (tone, word, sentence) = if held {
        (
            Tone::Good,
            "held",
            "the accuracy limit holds on these photos",
        )
    } else {
        (
            Tone::Bad,
            "missed",
            "the accuracy limit does NOT hold: this is the best file that was found",
        )
    };
    let more = if seen.out_of_time {
        "; `--max-minutes` ended the search"
    } else {
        ""
    };
    Some(Block::Verdict {
        tone,
        word: word.to_owned(),
        sentence: format!("{sentence}{more}"),
    })
}

fn summary(report: &QuantizeReport) -> Grid {
    let mut grid = Grid::new(&[
        ("", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
        ("", Align::Right),
    ]);
    if let Some(before) = report.bytes_before {
        grid.row([
            "file".to_owned(),
            Bytes(before).to_string(),
            Bytes(report.bytes_after).to_string(),
            times(
                before as f64 / report.bytes_after as f64,
                "smaller",
                "larger",
            ),
        ]);
    }
    if let (Some(before), Some(after)) = (report.peak_rss_bytes_before, report.peak_rss_bytes_after)
    {
        grid.row([
            "peak RSS of one inference".to_owned(),
            Bytes(before).to_string(),
            Bytes(after).to_string(),
            times(before as f64 / after as f64, "smaller", "larger"),
        ]);
    }
    let (before, after) = (report.latency_ms_before, report.latency_ms_after);
    grid.row([
        format!("latency, {} threads, {}", report.threads, report.isa),
        Millis(before).to_string(),
        Millis(after).to_string(),
        times(before / after, "faster", "slower"),
    ]);
    if let Some(seen) = &report.calibration {
        let difference = seen.top1_before.zip(seen.top1_after);
        grid.row([
            format!("top-1, {} photos", seen.scored_photos),
            share(seen.top1_before),
            share(seen.top1_after),
            difference.map_or(String::new(), |(a, b)| {
                format!("{:+.2} points", 100.0 * (b - a))
            }),
        ]);
    }
    grid
}

fn share(share: Option<f64>) -> String {
    share.map_or("no labels".to_owned(), |s| format!("{:.2} %", 100.0 * s))
}

/// `3.9x smaller`.
fn times(ratio: f64, more: &str, less: &str) -> String {
    if ratio >= 1.0 {
        format!("{ratio:.1}x {more}")
    } else {
        format!("{:.1}x {less}", 1.0 / ratio)
    }
}

fn calibration(seen: &CalibrationReport) -> String {
    let mut lines = vec![format!(
        "calibrated on {} photos ({}), ranges by {}",
        seen.photos, seen.source, seen.method
    )];
    let mut helped = Vec::new();
    if seen.equalization.is_some() {
        helped.push("balancing channels");
    }
    if seen.bias_correction {
        helped.push("correcting biases");
    }
    lines.push(if helped.is_empty() {
        "neither balancing channels nor correcting biases helped, so the file has neither"
            .to_owned()
    } else {
        format!("what helped here: {}", helped.join(", "))
    });
    lines.push(format!(
        "probabilities moved by {:.4} on average; {:.1} % of {} photos keep their class",
        seen.mean_abs_dp,
        100.0 * seen.agreement,
        seen.scored_photos
    ));
    if !seen.kept_float.is_empty() {
        lines.push(format!("in float: {}", seen.kept_float.join(", ")));
    }
    if !seen.left_out.is_empty() {
        lines.push(format!("left out: {} photos", seen.left_out.len()));
    }
    lines.join("\n")
}

fn trials(seen: &CalibrationReport) -> Grid {
    let mut grid = Grid::new(&[
        ("tried", Align::Left),
        ("mean |dp|", Align::Right),
        ("same class", Align::Right),
        ("top-1", Align::Right),
        ("photos", Align::Right),
    ]);
    for trial in &seen.trials {
        grid.row([
            trial.what.clone(),
            format!("{:.5}", trial.mean_abs_dp),
            share(Some(trial.agreement)),
            share(trial.top1),
            trial.photos.to_string(),
        ]);
    }
    grid
}

fn decibel(db: f64) -> String {
    format!("{db:.1} dB")
}

fn layers(errors: &[LayerError], most: usize) -> Grid {
    let mut grid = Grid::new(&[
        ("worst layers", Align::Left),
        ("op", Align::Left),
        ("SQNR", Align::Right),
    ]);
    for layer in errors.iter().take(most) {
        grid.row([
            layer.layer.clone(),
            layer.op.to_owned(),
            layer.sqnr_db.map_or("exact".to_owned(), decibel),
        ]);
    }
    grid
}

fn error_bars(errors: &[LayerError]) -> Block {
    let shown = &errors[..errors.len().min(PLOTTED_LAYERS)];
    let known = shown.iter().filter_map(|layer| layer.sqnr_db);
    let most = known.fold(1.0, f64::max);
    let groups: Vec<(String, Vec<Bar>)> = shown
        .iter()
        .map(|layer| {
            let bar = Bar {
                value: layer.sqnr_db.map(|db| db.max(0.0)),
                interval: None,
            };
            (layer.layer.clone(), vec![bar])
        })
        .collect();
    Block::Plot {
        caption: format!(
            "Signal to quantization noise ratio of each layer's output, the {} worst of {} layers: 20 dB \
             is an error of a tenth, 40 dB of a hundredth.",
            shown.len(),
            errors.len()
        ),
        svg: plot::bars("error of each layer", &["SQNR"], &groups, most, &decibel),
    }
}
