//! `dermal quantize`: makes a smaller and faster artifact, and says what that costs.

use std::time::{Duration, Instant};

use super::{Context, Result};
use serde::Serialize;

use super::fields::read_field_mapping;
use super::own_process::peak_rss_of_bench;
use super::report_file::ReportFile;
use super::spare::spare_photos;
use super::watch::Watcher;
use super::{CommandError, Outcome, engine_options, row_filters};
use crate::artifact::{self, Model};
use crate::cli::{NumberType, QuantizeArgs, RangeChoice};
use crate::compress::{
    self, CalibrationReport, Halves, Int8Settings, Quantized, WeightSettings, latencies_ms,
};
use crate::engine;
use crate::evaluate::dataset::{Dataset, Labels};
use crate::file::{Guard, sha256_of_file};
use crate::memory::measure;
use crate::quantize::weights::WeightType;
use crate::quantize::{LayerError, RangeMethod, speed_ratio};
use crate::report::{self, Progress, SCHEMA_VERSION};
use crate::units::Millis;

mod document;

use document::Reader;

/// If INT8 is faster than f32 by less than this factor, it is hardly faster.
const WORTH_IT: f64 = 1.1;

pub(super) fn run(args: &QuantizeArgs) -> Result<Outcome> {
    let started = Instant::now();
    let mut guard = Guard::new();
    guard.reads("the model", &args.model)?;
    guard.may_read("the field mapping", args.fields.as_ref())?;
    let output = guard
        .writes("-o", &args.output)
        .with_context(|| format!("cannot write `{}`", args.output.display()))?;
    let file = args.report.as_deref();
    let file = file.map(|path| ReportFile::new(path, &mut guard));
    let file = file.transpose()?;
    weights_only_is_for_int8(args)?;
    let base = artifact::load(&args.model)
        .with_context(|| format!("cannot load model `{}`", args.model.display()))?;
    if let Some(photos) = &args.calibrate {
        spare_photos(&mut guard, photos, &base.manifest.labels)?;
    }
    let halves = if args.again {
        Halves::Widen
    } else {
        Halves::Refuse
    };
    let base = compress::float_weights(base, halves)
        .with_context(|| format!("cannot quantize `{}`", args.model.display()))?;
    let options = engine_options(&args.engine)?;
    let mut bar = Progress::bytes("hashing");
    let base_sha256 = sha256_of_file(&args.model, &mut |done, all| bar.set(done, all));
    let base_sha256 = base_sha256.map_err(|source| CommandError::Read {
        path: args.model.clone(),
        source,
    })?;
    drop(bar);
    let made = match args.to {
        NumberType::Fp16 => weights_only(args, &base, WeightType::F16, base_sha256)?,
        NumberType::Bf16 => weights_only(args, &base, WeightType::BF16, base_sha256)?,
        NumberType::Int8 if args.weights_only => {
            weights_only(args, &base, WeightType::I8, base_sha256)?
        }
        NumberType::Int8 => int8(args, &base, &options, started, base_sha256)?,
    };
    let mut bar = Progress::bytes("writing");
    let bytes = artifact::write_with_progress(output.path(), &made.model, &mut |done, all| {
        bar.set(done, all);
    })
    .with_context(|| format!("cannot write `{}`", args.output.display()))?;
    drop(bar);
    let latency = latencies_ms(&base.graph, &made.model.graph, &options)?;
    let missed = made.missed();
    let report = QuantizeReport {
        schema_version: SCHEMA_VERSION,
        model: args.model.display().to_string(),
        output: args.output.display().to_string(),
        to: name_of(args.to),
        weights_only: args.weights_only,
        bytes_before: args.model.metadata().map(|m| m.len()).ok(),
        bytes_after: bytes,
        threads: options.threads,
        isa: options.isa.name(),
        latency_ms_before: latency[0],
        latency_ms_after: latency[1],
        peak_rss_bytes_before: peak_rss_of_bench(&args.model, options.threads),
        peak_rss_bytes_after: peak_rss_of_bench(&args.output, options.threads),
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
    Ok(if missed { Outcome::No } else { Outcome::Yes })
}

fn weights_only_is_for_int8(args: &QuantizeArgs) -> Result<(), CommandError> {
    if !args.weights_only || args.to == NumberType::Int8 {
        return Ok(());
    }
    Err(CommandError::WeightsOnly {
        to: name_of(args.to),
    })
}

fn name_of(to: NumberType) -> &'static str {
    match to {
        NumberType::Fp16 => "fp16",
        NumberType::Bf16 => "bf16",
        NumberType::Int8 => "int8",
    }
}

fn weights_only(
    args: &QuantizeArgs,
    base: &Model,
    to: WeightType,
    base_sha256: String,
) -> Result<Quantized> {
    let given = [
        (args.calibrate.is_some(), "--calibrate"),
        (args.max_drop.is_some(), "--max-drop"),
        (args.max_minutes.is_some(), "--max-minutes"),
    ];
    if let Some((_, option)) = given.into_iter().find(|(given, _)| *given) {
        return Err(CommandError::NothingToCalibrate { option }.into());
    }
    let settings = WeightSettings {
        keep_float: args.keep_float.clone(),
        base_sha256,
    };
    Ok(compress::weights_only(base, to, &settings)?)
}

fn int8(
    args: &QuantizeArgs,
    base: &Model,
    options: &engine::Options,
    started: Instant,
    base_sha256: String,
) -> Result<Quantized> {
    warn_if_slow(options);
    let photos = photos(args, base)?;
    let mapping = match &args.fields {
        Some(file) => Some(read_field_mapping(file, &base.vector_inputs())?),
        None => None,
    };
    let settings = Int8Settings {
        engine: options.clone(),
        method: match args.method {
            RangeChoice::Minmax => RangeMethod::MinMax,
            RangeChoice::Percentile => RangeMethod::Percentile {
                percent: args.percentile,
            },
            RangeChoice::Mse => RangeMethod::Mse,
        },
        keep_float: args.keep_float.clone(),
        max_drop: args.max_drop,
        until: args
            .max_minutes
            .map(|minutes| started + Duration::from_secs_f64(minutes * 60.0)),
        max_memory_bytes: args.max_memory,
        mapping,
        inputs: args.input.clone(),
        max_bad: args.max_bad,
        base_sha256,
        ..Int8Settings::default()
    };
    let mut watcher = Watcher::default();
    let made = compress::int8(base, photos, &settings, &mut |event| watcher.show(event))?;
    Ok(made)
}

fn warn_if_slow(options: &engine::Options) {
    let ratio = speed_ratio(options.isa);
    if ratio < WORTH_IT {
        report::warn(
            &format!(
                "on this CPU ({}) a matrix product in INT8 takes {:.2} times as long as in f32",
                options.isa.name(),
                1.0 / ratio
            ),
            Some(
                "the file will be a quarter of the size, but hardly faster here; `--to fp16` loses less",
            ),
        );
    }
}

/// The photos of `--calibrate`.
fn photos(args: &QuantizeArgs, base: &Model) -> Result<Dataset> {
    let Some(path) = &args.calibrate else {
        return Err(CommandError::NoCalibration.into());
    };
    let labels = &base.manifest.labels;
    let labels = if args.max_drop.is_some() {
        Labels::Required(labels)
    } else {
        Labels::Optional(labels)
    };
    let mut photos = Dataset::open(path, labels, &row_filters(&args.filter)?)
        .with_context(|| format!("cannot use the photos of `{}`", path.display()))?;
    if let Some(wanted) = args.photos {
        photos.thin_out(wanted.get());
    }
    if photos.samples.is_empty() {
        return Err(CommandError::EmptySet {
            path: path.clone(),
            wanted: "typical photos with `--calibrate`",
        }
        .into());
    }
    Ok(photos)
}

/// The document of `--json`.
#[derive(Serialize)]
struct QuantizeReport {
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
    /// Of a separate process that runs one inference.
    peak_rss_bytes_before: Option<u64>,
    peak_rss_bytes_after: Option<u64>,
    /// Of the conversion itself.
    peak_rss_bytes: Option<u64>,
    seconds: f64,
    calibration: Option<CalibrationReport>,
    /// Worst first.
    layers: Vec<LayerError>,
}
