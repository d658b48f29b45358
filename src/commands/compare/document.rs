//! The report for people, on the terminal or as a file with plots and the photos whose class
//! changed.

use std::path::Path;

use super::thumbnail;
use crate::evaluate::comparison::{FlipKind, Verdict};
use crate::evaluate::statistics::Estimate;
use crate::evaluate::trial::{ModelReport, TrialReport};
use crate::report::Align;
use crate::report::document::plot::{self, Bar, Reliability};
use crate::report::document::{Block, Card, Document, Grid, Tone};
use crate::units::{Bytes, Millis};

/// Number of flips in the table on a terminal.
const SHOWN_FLIPS: usize = 12;

/// Number of flips with a picture in a file; each takes some 10 kB.
const SHOWN_PICTURES: usize = 500;

/// Where the report will be read.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    /// Now, on a terminal.
    Terminal,
    /// Later, from a file. These are the paths of the flips' photos.
    File { photos: &'a [&'a Path] },
}

pub(super) fn of(report: &TrialReport, reader: Reader<'_>) -> Document {
    let in_file = matches!(reader, Reader::File { .. });
    let mut blocks = Vec::new();
    let verdict = report.comparison.as_ref().map(|comparison| Block::Verdict {
        tone: match comparison.verdict {
            verdict if verdict.passes() => Tone::Good,
            Verdict::Worse => Tone::Bad,
            _ => Tone::Plain,
        },
        word: comparison.verdict.to_string(),
        sentence: comparison.sentence.clone(),
    });
    // A reader of a terminal sees the last line, a reader of a file the first.
    if in_file {
        blocks.extend(verdict.clone());
    }
    blocks.push(Block::Text(photos(report)));
    blocks.push(Block::Heading("Side by side".to_owned()));
    blocks.push(Block::Table(summary(report)));
    blocks.push(Block::Heading("Each class".to_owned()));
    if in_file {
        blocks.push(class_bars(report));
    }
    blocks.push(Block::Table(classes(report)));
    if in_file {
        plots(report, &mut blocks);
    }
    if let Some(comparison) = &report.comparison {
        let mut text = format!(
            "agreement {}, McNemar p = {:.3}, mean |dp| {:.4} (largest {:.3})",
            interval(&comparison.agreement),
            comparison.mcnemar_p,
            comparison.drift.mean_abs_dp,
            comparison.drift.max_abs_dp
        );
        if let Some(maps) = &report.heat_maps {
            text.push_str(&format!(
                "; heat maps of {} photos correlate: median {:.3}, worst {:.3}",
                maps.photos, maps.median_correlation, maps.worst_correlation
            ));
        }
        blocks.push(Block::Heading("What changed".to_owned()));
        blocks.push(Block::Text(text));
        flips(report, reader, &mut blocks);
        groups(report, &mut blocks);
    }
    if in_file {
        blocks.push(Block::Heading("How to read this".to_owned()));
        blocks.push(Block::Text(notes(report)));
    } else {
        blocks.extend(verdict);
    }
    Document {
        title: title(report),
        subtitle: format!(
            "dermal {}, {} threads, {}",
            env!("CARGO_PKG_VERSION"),
            report.threads,
            report.isa
        ),
        blocks,
    }
}

fn title(report: &TrialReport) -> String {
    let name = |model: &ModelReport| {
        let path = Path::new(&model.path);
        path.file_name()
            .map_or(model.path.clone(), |n| n.to_string_lossy().into_owned())
    };
    match report.models.as_slice() {
        [base, candidate] => format!("{} against {}", name(candidate), name(base)),
        models => models.iter().map(name).collect(),
    }
}

fn photos(report: &TrialReport) -> String {
    let mut text = format!("{} photos from {}", report.photos, report.source);
    if report.filtered_out > 0 {
        text.push_str(&format!(" ({} rows filtered out)", report.filtered_out));
    }
    if !report.left_out.is_empty() {
        text.push_str(&format!(", {} left out", report.left_out.len()));
    }
    text
}

/// The heading of each model's column.
fn names(report: &TrialReport) -> &'static [&'static str] {
    match report.models.len() {
        1 => &["95 % interval"],
        _ => &["base", "candidate"],
    }
}

/// Measures of the models side by side.
fn summary(report: &TrialReport) -> Grid {
    let mut columns = vec![("", Align::Left)];
    columns.extend(names(report).iter().map(|name| (*name, Align::Left)));
    let mut grid = Grid::new(&columns);
    let mut row = |name: &str, cell: &dyn Fn(&ModelReport) -> String| {
        let cells = report.models.iter().map(cell);
        grid.row(std::iter::once(name.to_owned()).chain(cells));
    };
    row("file", &|m| m.path.clone());
    row("top-1", &|m| interval(&m.evaluation.top1));
    row("balanced accuracy", &|m| {
        interval(&m.evaluation.balanced_accuracy)
    });
    row("macro F1", &|m| interval(&m.evaluation.macro_f1));
    row("ECE, 15 bins", &|m| number(&m.evaluation.ece_15_bins));
    row("Brier", &|m| number(&m.evaluation.brier));
    row("size", &|m| shown(m.bytes));
    row("peak RSS of predict", &|m| shown(m.peak_rss_bytes));
    row(&format!("latency, {} threads", report.threads), &|m| {
        Millis(m.latency_ms).to_string()
    });
    grid
}

fn shown(bytes: Option<u64>) -> String {
    bytes.map_or("unavailable".to_owned(), |b| Bytes(b).to_string())
}

/// Sensitivity and more of each class, one line for each model.
fn classes(report: &TrialReport) -> Grid {
    let at = report.models[0].evaluation.options.specificity;
    let operating = format!("sens. at spec. {at}");
    let mut columns = vec![("class", Align::Left)];
    if report.models.len() > 1 {
        columns.push(("", Align::Left));
    }
    columns.extend([
        ("n", Align::Right),
        ("sensitivity", Align::Left),
        ("specificity", Align::Left),
        ("precision", Align::Left),
        (operating.as_str(), Align::Left),
        ("AUC", Align::Left),
    ]);
    let mut grid = Grid::new(&columns);
    let share = |e: Option<&Estimate>| e.map_or("-".to_owned(), interval);
    for (class, label) in report.labels.iter().enumerate() {
        for (i, model) in report.models.iter().enumerate() {
            let row = &model.evaluation.classes[class];
            let mut cells = vec![if i == 0 { label.clone() } else { String::new() }];
            if report.models.len() > 1 {
                cells.push(names(report)[i].to_owned());
            }
            let operating = row.operating_point.as_ref().map(|p| &p.sensitivity);
            cells.extend([
                row.support.to_string(),
                share(row.sensitivity.as_ref()),
                share(row.specificity.as_ref()),
                share(row.precision.as_ref()),
                share(operating),
                row.auc.as_ref().map_or("-".to_owned(), number),
            ]);
            grid.row(cells);
        }
    }
    grid
}

fn class_bars(report: &TrialReport) -> Block {
    let groups: Vec<(String, Vec<Bar>)> = report
        .labels
        .iter()
        .enumerate()
        .map(|(class, label)| {
            let of = |model: &ModelReport| {
                let estimate = model.evaluation.classes[class].sensitivity;
                Bar {
                    value: estimate.map(|e| e.value),
                    interval: estimate.and_then(|e| e.low.zip(e.high)),
                }
            };
            (label.clone(), report.models.iter().map(of).collect())
        })
        .collect();
    let series = match report.models.len() {
        1 => &["sensitivity"][..],
        _ => names(report),
    };
    Block::Plot {
        caption: "Sensitivity: the share of a class's photos that the model finds. The thin line \
                  is its 95 % interval."
            .to_owned(),
        svg: plot::bars("sensitivity of each class", series, &groups, 1.0, &percent),
    }
}

fn plots(report: &TrialReport, blocks: &mut Vec<Block>) {
    let named = |i: usize| match report.models.len() {
        1 => "model",
        _ => names(report)[i],
    };
    blocks.push(Block::Heading("Confusion".to_owned()));
    for (i, model) in report.models.iter().enumerate() {
        blocks.push(Block::Plot {
            caption: format!(
                "{}: photos with a label (rows) by the class that the model gave them (columns). \
                 Shading is the share of the row.",
                named(i)
            ),
            svg: plot::confusion(
                &format!("confusion matrix of {}", named(i)),
                &report.labels,
                &model.evaluation.confusion,
            ),
        });
    }
    let series: Vec<Reliability> = report
        .models
        .iter()
        .enumerate()
        .map(|(i, model)| {
            let n = model.evaluation.n as f64;
            let bins = model.evaluation.reliability.iter().filter_map(|bin| {
                let accuracy = bin.accuracy.as_ref()?.value;
                Some((bin.confidence?, accuracy, bin.n as f64 / n))
            });
            Reliability {
                name: named(i).to_owned(),
                bins: bins.collect(),
            }
        })
        .collect();
    blocks.push(Block::Heading("Does it know when it is wrong?".to_owned()));
    blocks.push(Block::Plot {
        caption:
            "Each dot is one of 15 bins of confidence; its area is the share of the photos in \
                  it. On the diagonal a model is right as often as it says; above it, more often."
                .to_owned(),
        svg: plot::reliability("reliability diagram", &series),
    });
}

fn flips(report: &TrialReport, reader: Reader<'_>, blocks: &mut Vec<Block>) {
    if report.flips.is_empty() {
        blocks.push(Block::Text("no photo changed its class".to_owned()));
        return;
    }
    let most = match reader {
        Reader::Terminal => SHOWN_FLIPS,
        Reader::File { .. } => usize::MAX,
    };
    let mut grid = Grid::new(&[
        ("changed", Align::Left),
        ("label", Align::Left),
        ("base", Align::Left),
        ("candidate", Align::Left),
        ("", Align::Left),
    ]);
    for flip in report.flips.iter().take(most) {
        grid.row([
            flip.file.as_str(),
            &flip.truth,
            &flip.base,
            &flip.candidate,
            word(flip.kind),
        ]);
    }
    blocks.push(Block::Table(grid));
    if report.flips.len() > most {
        let more = report.flips.len() - most;
        blocks.push(Block::Text(format!(
            "({more} more with `--json` or `--report`)"
        )));
    }
    let Reader::File { photos } = reader else {
        return;
    };
    let cards = report
        .flips
        .iter()
        .zip(photos)
        .take(SHOWN_PICTURES)
        .map(|(flip, path)| Card {
            jpeg: thumbnail::jpeg(path),
            title: flip.file.clone(),
            tone: match flip.kind {
                FlipKind::RightToWrong => Tone::Bad,
                FlipKind::WrongToRight => Tone::Good,
                FlipKind::WrongToWrong => Tone::Plain,
            },
            lines: vec![
                format!("{}: {}", word(flip.kind), flip.truth),
                format!("{} → {}", flip.base, flip.candidate),
            ],
        });
    blocks.push(Block::Gallery(cards.collect()));
    if report.flips.len() > SHOWN_PICTURES {
        blocks.push(Block::Text(format!(
            "Pictures of the first {SHOWN_PICTURES} only."
        )));
    }
}

fn word(kind: FlipKind) -> &'static str {
    match kind {
        FlipKind::RightToWrong => "lost",
        FlipKind::WrongToRight => "won",
        FlipKind::WrongToWrong => "wrong either way",
    }
}

fn groups(report: &TrialReport, blocks: &mut Vec<Block>) {
    for by in &report.groups {
        let mut grid = Grid::new(&[
            (by.column.as_str(), Align::Left),
            ("n", Align::Right),
            ("base", Align::Right),
            ("candidate", Align::Right),
            ("difference", Align::Left),
            ("", Align::Left),
        ]);
        for group in &by.groups {
            let flag = match (group.flagged, group.loss_is_clear) {
                (true, true) => "loses more than the margin",
                (true, false) => "loses more than the margin (may be chance)",
                _ => "",
            };
            grid.row([
                group.group.clone(),
                group.n.to_string(),
                percent(group.base_top1.value),
                percent(group.candidate_top1.value),
                points(&group.difference),
                flag.to_owned(),
            ]);
        }
        blocks.push(Block::Heading(format!("By {}", by.column)));
        blocks.push(Block::Table(grid));
    }
}

/// Explanations for the reader of a file.
fn notes(report: &TrialReport) -> String {
    let mut text = "Intervals are 95 %: Wilson for shares, a seeded bootstrap over photos for the \
                    rest."
        .to_owned();
    if let Some(comparison) = &report.comparison {
        text.push_str(&format!(
           " Equivalent means: two one-sided tests at {:.0} % find the difference of top-1 \
             within {} percentage points either way (Tango's intervals for paired shares). McNemar's p \
             is exact and two-sided. Latency is a median over the same photos; the models take turns.",
            100.0 * comparison.criteria.alpha,
            100.0 * comparison.criteria.margin
        ));
    }
    text.push_str(" Accuracy on these photos says nothing about photos of another kind.");
    text
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `81.3 % (75.3 to 86.2)`.
fn interval(estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!(
            "{:.1} % ({:.1} to {:.1})",
            100.0 * estimate.value,
            100.0 * low,
            100.0 * high
        ),
        _ => percent(estimate.value),
    }
}

fn points(estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!(
            "{:+.1} ({:+.1} to {:+.1})",
            100.0 * estimate.value,
            100.0 * low,
            100.0 * high
        ),
        _ => format!("{:+.1}", 100.0 * estimate.value),
    }
}

fn number(estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{:.3} ({low:.3} to {high:.3})", estimate.value),
        _ => format!("{:.3}", estimate.value),
    }
}
