//! `dermal quantize`: a smaller and faster artifact, and what it costs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::own_process::peak_rss_of_bench;
use super::report_file::ReportFile;
use super::session::{EngineChoice, self_test};
use super::{Outcome, failure};
use crate::artifact::{self, Model, QuantizationRecord};
use crate::cli::{NumberType, QuantizeArgs, RangeChoice};
use crate::engine::{Engine, Options, Plan};
use crate::evaluate::dataset::StreamOptions;
use crate::file::{atomic, sha256_of_file};
use crate::graph::{Graph, NodeId};
use crate::memory::measure;
use crate::predict::{Limits as PhotoLimits, PhotoInput};
use crate::quantize::weights::{WeightType, convert};
use crate::quantize::{LayerError, RangeMethod, histogram_bytes, separate_tables, speed_ratio};
use crate::report::{self, Progress, SCHEMA_VERSION};
use crate::suggest::nearest;
use crate::tensor::DType;
use crate::units::{Bytes, Millis};

mod document;
mod photos;
mod search;

use document::Reader;
use photos::Photos;
use search::{Found, Limits, Search};

/// Runs of each engine that latency is the median of, interleaved.
const TIMED_RUNS: usize = 15;

/// Least memory that decoding a photo is given on each thread.
const LEAST_DECODE_BYTES: u64 = 24 << 20;

pub(super) fn run(args: &QuantizeArgs) -> Result<Outcome> {
    let started = Instant::now();
    let file = args.report.as_deref().map(ReportFile::new).transpose()?;
    weights_only_is_for_int8(args)?;
    atomic::check(&args.output)
        .with_context(|| format!("cannot write `{}`", args.output.display()))?;
    refuse_same_file(&args.model, &args.output)?;
    let base = artifact::load(&args.model)
        .with_context(|| format!("cannot load model `{}`", args.model.display()))?;
    let base = float_base(args, base)?;
    let choice = EngineChoice::new(&args.engine)?;
    let mut bar = Progress::bytes("hashing");
    let base_sha256 = sha256_of_file(&args.model, &mut |done, all| bar.set(done, all))
        .with_context(|| format!("cannot read `{}`", args.model.display()))?;
    drop(bar);
    let record = QuantizationRecord {
        to: name_of(args.to).to_owned(),
        base_sha256,
        method: None,
        photos: None,
        weights_only: false,
        equalization: None,
        bias_correction: false,
        kept_float: args.keep_float.clone(),
        mean_abs_dp: None,
        logit_sqnr_db: None,
    };
    let made = match args.to {
        NumberType::Fp16 => weights_only(args, &base, WeightType::F16, record)?,
        NumberType::Bf16 => weights_only(args, &base, WeightType::BF16, record)?,
        NumberType::Int8 if args.weights_only => {
            let record = QuantizationRecord {
                weights_only: true,
                ..record
            };
            weights_only(args, &base, WeightType::I8, record)?
        }
        NumberType::Int8 => int8(args, &base, &choice, started, record)?,
    };
    let mut model = Model {
        graph: made.graph,
        manifest: artifact::Manifest {
            quantization: Some(made.record),
            // It is of the other file.
            evidence: None,
            ..base.manifest.clone()
        },
    };
    model.manifest.self_test = self_test(&model);
    let mut bar = Progress::bytes("writing");
    let bytes = artifact::write_with_progress(&args.output, &model, &mut |done, all| {
        bar.set(done, all);
    })
    .with_context(|| format!("cannot write `{}`", args.output.display()))?;
    drop(bar);
    let latency = latencies(&base.graph, &model.graph, &choice)?;
    let report = Report {
        schema_version: SCHEMA_VERSION,
        model: args.model.display().to_string(),
        output: args.output.display().to_string(),
        to: name_of(args.to),
        weights_only: args.weights_only,
        bytes_before: args.model.metadata().map(|m| m.len()).ok(),
        bytes_after: bytes,
        threads: choice.threads,
        isa: choice.isa.name(),
        latency_ms_before: latency[0],
        latency_ms_after: latency[1],
        peak_rss_bytes_before: peak_rss_of_bench(&args.model, choice.threads),
        peak_rss_bytes_after: peak_rss_of_bench(&args.output, choice.threads),
        peak_rss_bytes: measure::peak_rss_bytes(),
        seconds: started.elapsed().as_secs_f64(),
        calibration: made.calibration,
        layers: made.layers,
    };
    if let Some(file) = &file {
        file.write(&document::of(&report, Reader::File))?;
    }
    if args.json {
        report::print_json(&report)?;
    } else {
        report::print(document::of(&report, Reader::Terminal).to_text())?;
        report::note(&format!(
            "wrote {} in {}",
            report.output,
            Millis(report.seconds * 1e3)
        ));
    }
    Ok(if report.missed() {
        Outcome::No
    } else {
        Outcome::Yes
    })
}

fn weights_only_is_for_int8(args: &QuantizeArgs) -> Result<()> {
    if !args.weights_only || args.to == NumberType::Int8 {
        return Ok(());
    }
    Err(failure(
        format!(
            "`--weights-only` says nothing new with `--to {}`",
            name_of(args.to)
        ),
        "leave it out: values stay f32 beside 16-bit weights anyway",
    ))
}

fn name_of(to: NumberType) -> &'static str {
    match to {
        NumberType::Fp16 => "fp16",
        NumberType::Bf16 => "bf16",
        NumberType::Int8 => "int8",
    }
}

fn refuse_same_file(model: &Path, output: &Path) -> Result<()> {
    let same = match (model.canonicalize(), output.canonicalize()) {
        (Ok(model), Ok(output)) => model == output,
        _ => false,
    };
    if same {
        return Err(failure(
            format!(
                "`{}` would replace the model it is made from",
                output.display()
            ),
            "give another name with `-o`: the f32 file is needed to try other settings",
        ));
    }
    Ok(())
}

/// The model with f32 weights, or a refusal.
fn float_base(args: &QuantizeArgs, base: Model) -> Result<Model> {
    let holds = |wanted: &[DType]| {
        let kernels = base
            .graph
            .nodes()
            .iter()
            .filter_map(|node| node.op.kernel());
        let mut tensors = kernels.filter_map(|kernel| base.graph.tensors.get(&kernel.tensor));
        tensors.any(|tensor| wanted.contains(&tensor.dtype()))
    };
    let shown = args.model.display();
    if holds(&[DType::I8]) {
        return Err(failure(
            format!("`{shown}` is INT8 already"),
            "quantize the f32 file it was made from; `dermal inspect` shows its origin",
        ));
    }
    if !holds(&[DType::F16, DType::BF16]) {
        return Ok(base);
    }
    if !args.again {
        return Err(failure(
            format!("`{shown}` has 16-bit weights already"),
            "quantize the f32 file it was made from, which loses less; or add `--again`",
        ));
    }
    let graph = crate::quantize::weights::widen(&base.graph)?;
    Ok(Model { graph, ..base })
}

/// What a conversion made.
struct Made {
    graph: Graph,
    record: QuantizationRecord,
    calibration: Option<CalibrationReport>,
    layers: Vec<LayerError>,
}

fn weights_only(
    args: &QuantizeArgs,
    base: &Model,
    to: WeightType,
    record: QuantizationRecord,
) -> Result<Made> {
    let given = [
        (args.calibrate.is_some(), "--calibrate"),
        (args.max_drop.is_some(), "--max-drop"),
        (args.max_minutes.is_some(), "--max-minutes"),
    ];
    if let Some((_, option)) = given.into_iter().find(|(given, _)| *given) {
        return Err(failure(
            format!("`{option}` does nothing where activations stay in f32"),
            format!(
                "leave `{option}` out: no photos are needed; or choose `--to int8` without \
                 `--weights-only`"
            ),
        ));
    }
    let keep: Vec<&str> = args.keep_float.iter().map(String::as_str).collect();
    let converted = convert(&base.graph, to, &keep)?;
    let mut layers: Vec<LayerError> = converted
        .errors
        .iter()
        .map(|error| LayerError {
            node: error.node.clone(),
            layer: error.node.clone(),
            op: "weights",
            sqnr_db: error.sqnr_db,
        })
        .collect();
    layers.sort_by(|a, b| {
        let key = |e: &LayerError| e.sqnr_db.unwrap_or(f64::INFINITY);
        key(a).total_cmp(&key(b))
    });
    Ok(Made {
        graph: converted.graph,
        record,
        calibration: None,
        layers,
    })
}

fn int8(
    args: &QuantizeArgs,
    base: &Model,
    choice: &EngineChoice,
    started: Instant,
    record: QuantizationRecord,
) -> Result<Made> {
    let ratio = speed_ratio(choice.isa);
    if ratio < 1.1 {
        report::warn(
            &format!(
                "on this CPU ({}) a matrix product in INT8 takes {:.2} times as long as in f32",
                choice.isa.name(),
                1.0 / ratio
            ),
            Some(
                "the file will be a quarter of the size, but hardly faster here; `--to fp16` loses less",
            ),
        );
    }
    let method = match args.method {
        RangeChoice::Minmax => RangeMethod::MinMax,
        RangeChoice::Percentile => RangeMethod::Percentile {
            percent: args.percentile,
        },
        RangeChoice::Mse => RangeMethod::Mse,
    };
    let keep_float = kept_nodes(&base.graph, &args.keep_float)?;
    let threads = choice.threads;
    let mut photos = Photos::open(
        args,
        base,
        StreamOptions {
            threads,
            limits: PhotoLimits::default(),
        },
    )?;
    if let Some(most) = args.max_memory {
        let limits = photo_limits(base, choice, most)?;
        *photos.limits() = limits;
    }
    let options = Options {
        threads,
        isa: choice.isa,
        keep: Vec::new(),
    };
    let until = args
        .max_minutes
        .map(|minutes| started + Duration::from_secs_f64(minutes * 60.0));
    let limits = Limits {
        method,
        keep_float,
        max_drop: args.max_drop,
        until,
    };
    let found = Search::new(base, &mut photos, options, limits).run()?;
    let record = QuantizationRecord {
        method: Some(format!("{:?}", args.method).to_lowercase()),
        photos: Some(photos.len() - photos.bad().len()),
        equalization: found.equalization,
        bias_correction: found.bias_correction,
        kept_float: found.kept.clone(),
        mean_abs_dp: Some(found.score.mean_abs_dp),
        logit_sqnr_db: logit_sqnr(&found),
        ..record
    };
    let calibration = CalibrationReport::of(args, &photos, &found);
    Ok(Made {
        graph: found.graph,
        record,
        calibration: Some(calibration),
        layers: found.errors,
    })
}

fn logit_sqnr(found: &Found) -> Option<f64> {
    let output = &found.graph.node(found.graph.output()).name;
    let own = found.errors.iter().find(|e| e.node == *output);
    own.and_then(|e| e.sqnr_db)
}

/// The nodes with weights that stand for layers which the user wants in float.
fn kept_nodes(graph: &Graph, names: &[String]) -> Result<BTreeSet<String>> {
    let graph = separate_tables(graph)?;
    let mut kept = BTreeSet::new();
    for name in names {
        let found: Vec<NodeId> = graph.find_layer(name).into_iter().map(|f| f.0).collect();
        let weighted: Vec<NodeId> = found
            .iter()
            .copied()
            .filter(|&id| graph.node(id).op.kernel().is_some())
            .collect();
        if weighted.is_empty() {
            let layers: Vec<&str> = graph
                .nodes()
                .iter()
                .filter(|node| node.op.kernel().is_some())
                .flat_map(|node| node.layers.iter().map(|layer| layer.name.as_str()))
                .collect();
            let what = if found.is_empty() {
                "there is no layer"
            } else {
                "there are no weights in layer"
            };
            let nearest = nearest(name, &layers)
                .map_or(String::new(), |near| format!("did you mean `{near}`? "));
            return Err(failure(
                format!("{what} `{name}`"),
                format!("{nearest}`dermal inspect MODEL --layers` lists all"),
            ));
        }
        kept.extend(weighted.iter().map(|&id| graph.node(id).name.clone()));
    }
    Ok(kept)
}

/// What photos may cost so that the whole stays below `most` bytes, or a refusal that says what
/// the rest needs.
fn photo_limits(base: &Model, choice: &EngineChoice, most: u64) -> Result<PhotoLimits> {
    let graph = separate_tables(&base.graph)?;
    let weights: u64 = graph.tensors.values().map(|t| t.bytes().len() as u64).sum();
    let largest = graph.tensors.values().map(|t| t.bytes().len() as u64).max();
    let arena = (Plan::new(&graph, &[]).arena_len * size_of::<f32>()) as u64;
    let threads = choice.threads as u64;
    let waiting = (PhotoInput::of(base)?.len() * size_of::<f32>()) as u64 * (2 * threads + 1);
    let parts = [
        ("this process now", measure::rss_bytes().unwrap_or(16 << 20)),
        ("f32 weights (the file, mapped)", weights),
        ("balanced f32 weights", weights),
        ("two INT8 candidates", weights / 2),
        (
            "conversion of the largest layer",
            largest.unwrap_or(0) * 5 / 2,
        ),
        ("values of a photo, twice", arena * 2),
        ("histograms", histogram_bytes(graph.nodes().len()) * 2),
        ("photos that wait", waiting),
    ];
    let fixed: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let each = most.saturating_sub(fixed) / threads;
    if each < LEAST_DECODE_BYTES {
        let list: Vec<String> = parts
            .iter()
            .map(|(what, bytes)| format!("{what} {}", Bytes(*bytes)))
            .collect();
        let least = fixed + LEAST_DECODE_BYTES * threads;
        return Err(failure(
            format!(
                "calibration may need {} and `--max-memory` is {} ({}; decoding {} a thread)",
                Bytes(least),
                Bytes(most),
                list.join(", "),
                Bytes(LEAST_DECODE_BYTES),
            ),
            format!(
                "allow {} or more, or quantize on a larger machine: the file runs anywhere",
                Bytes(least)
            ),
        ));
    }
    let defaults = PhotoLimits::default();
    Ok(PhotoLimits {
        max_bytes: defaults.max_bytes.min(each / 4),
        max_memory_bytes: defaults.max_memory_bytes.min(each - each / 4),
        ..defaults
    })
}

/// Median latency of both graphs, run in turn.
fn latencies(before: &Graph, after: &Graph, choice: &EngineChoice) -> Result<[f64; 2]> {
    let mut engines = [
        choice.engine(before, Vec::new())?,
        choice.engine(after, Vec::new())?,
    ];
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..=TIMED_RUNS {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            let time = timed(engine);
            if run > 0 {
                times.push(time);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

fn timed(engine: &mut Engine) -> f64 {
    let started = Instant::now();
    engine.run();
    started.elapsed().as_secs_f64() * 1e3
}

/// A candidate that was tried.
#[derive(Serialize)]
struct Trial {
    what: String,
    mean_abs_dp: f64,
    agreement: f64,
    top1: Option<f64>,
    photos: usize,
}

/// What the photos showed.
#[derive(Serialize)]
struct CalibrationReport {
    photos: usize,
    source: String,
    left_out: Vec<String>,
    method: String,
    equalization: Option<f64>,
    bias_correction: bool,
    kept_float: Vec<String>,
    mean_abs_dp: f64,
    agreement: f64,
    scored_photos: usize,
    top1_before: Option<f64>,
    top1_after: Option<f64>,
    max_drop: Option<f64>,
    /// Whether `--max-drop` was held; absent without it.
    held: Option<bool>,
    out_of_time: bool,
    trials: Vec<Trial>,
}

impl CalibrationReport {
    fn of(args: &QuantizeArgs, photos: &Photos<'_>, found: &Found) -> Self {
        let drop = found
            .score
            .float_top1
            .zip(found.score.top1)
            .map(|(a, b)| a - b);
        let held = args
            .max_drop
            .map(|most| drop.is_some_and(|drop| drop <= most + 1e-12));
        Self {
            photos: photos.len() - photos.bad().len(),
            source: photos.dataset.layout.to_string(),
            left_out: photos.bad().to_vec(),
            method: format!("{:?}", args.method).to_lowercase(),
            equalization: found.equalization,
            bias_correction: found.bias_correction,
            kept_float: found.kept.clone(),
            mean_abs_dp: found.score.mean_abs_dp,
            agreement: found.score.agreement,
            scored_photos: found.score.photos,
            top1_before: found.score.float_top1,
            top1_after: found.score.top1,
            max_drop: args.max_drop,
            held,
            out_of_time: found.out_of_time,
            trials: found
                .trials
                .iter()
                .map(|(what, score)| Trial {
                    what: what.clone(),
                    mean_abs_dp: score.mean_abs_dp,
                    agreement: score.agreement,
                    top1: score.top1,
                    photos: score.photos,
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    model: String,
    output: String,
    to: &'static str,
    weights_only: bool,
    bytes_before: Option<u64>,
    bytes_after: u64,
    threads: usize,
    isa: &'static str,
    latency_ms_before: f64,
    latency_ms_after: f64,
    /// Of a process of its own, for one inference.
    peak_rss_bytes_before: Option<u64>,
    peak_rss_bytes_after: Option<u64>,
    /// Of the conversion itself.
    peak_rss_bytes: Option<u64>,
    seconds: f64,
    calibration: Option<CalibrationReport>,
    /// Worst first.
    layers: Vec<LayerError>,
}

impl Report {
    /// Whether an accuracy was asked for and not reached.
    fn missed(&self) -> bool {
        let held = self.calibration.as_ref().and_then(|c| c.held);
        held == Some(false)
    }
}
