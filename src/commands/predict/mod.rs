//! `dermal predict`: photos in, classes and heat maps out.

use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Context, Result};

use super::fields::Fields;
use super::{CommandError, engine_options};
use crate::artifact::ModelSource;
use crate::classifier::{Classifier, HeatMaps};
use crate::cli::PredictArgs;
use crate::explain::{self, HeatMap, Method, Overlay, Picture};
use crate::file::{Output, open_regular};
use crate::memory::measure;
use crate::predict::{InputValues, Limits, PredictError, decode};
use crate::report::{self, Progress, SCHEMA_VERSION};

use outputs::Outputs;
use record::{Document, GradcamRecord, Record, ms};

mod outputs;
mod record;

/// Number of classes shown for one photo without `--top`.
const DEFAULT_TOP: usize = 5;

pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let (model, images) = model_and_images(args)?;
    let (photos, from_folder) = list_photos(images)?;
    let several = photos.len() > 1 || from_folder;
    let outputs = Outputs::plan(args, model, &photos, several)?;
    let source = ModelSource::of(model);
    let mut question = Question::new(args, &source)?;
    if !args.json {
        question.fields.warn();
    }
    let mut records = Vec::with_capacity(photos.len());
    let mut progress = Progress::items("photos");
    for (i, path) in photos.iter().enumerate() {
        let record = question
            .answer(path, outputs.of(i))
            .with_context(|| format!("cannot classify `{}`", path.display()));
        progress.set(i as u64 + 1, photos.len() as u64);
        match record {
            Ok(record) if several && !args.json => {
                progress.suspend(|| report::print(format!("{}\n", record.line())))?;
                records.push(record);
            }
            Ok(record) => records.push(record),
            Err(error) if several => {
                progress.suspend(|| report::print_failure(&error.causes(), &error.hint()));
                records.push(Record::failed(path, &error));
            }
            Err(error) => return Err(error),
        }
    }
    drop(progress);
    let failed = records
        .iter()
        .filter(|record| record.error.is_some())
        .count();
    if args.json {
        report::print_json(&Document {
            schema_version: SCHEMA_VERSION,
            model: source.to_string(),
            fields: question.fields.record(),
            images: records,
            peak_rss_bytes: measure::peak_rss_bytes(),
        })?;
    } else if let ([record], false) = (records.as_slice(), several) {
        let top = args.top.map_or(DEFAULT_TOP, std::num::NonZero::get);
        report::print(record.table(top))?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(CommandError::Unclassified {
            failed,
            photos: photos.len(),
        }
        .into()),
    }
}

/// Whether a file begins like an artifact: with the length of a JSON header, and the header.
fn is_artifact(path: &Path) -> bool {
    let mut start = [0; 9];
    // A pipe's first bytes could not be read again.
    let Ok(Some(mut file)) = open_regular(path) else {
        return false;
    };
    let read = file.read_exact(&mut start);
    let [length @ .., brace] = start;
    let shorter = |file: Metadata| u64::from_le_bytes(length) < file.len();
    read.is_ok() && brace == b'{' && path.metadata().is_ok_and(shorter)
}

/// How names of models end. Formats that cannot be imported yet get an error that says so.
const MODEL_ENDINGS: [&str; 8] = [
    "safetensors",
    "keras",
    "h5",
    "hdf5",
    "onnx",
    "tflite",
    "pt",
    "pth",
];

/// The model, if one is named, and what is to be classified. The model is the first argument, as with
/// every command, and known by its beginning or the ending of its name.
fn model_and_images(args: &PredictArgs) -> Result<(Option<&Path>, &[PathBuf]), CommandError> {
    let is_model = |path: &&PathBuf| {
        if is_artifact(path) {
            return true;
        }
        let ending = path.extension().and_then(|end| end.to_str());
        ending.is_some_and(|end| {
            MODEL_ENDINGS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(end))
        })
    };
    let first = args.images.first().filter(is_model);
    let (model, images) = match (&args.model, first) {
        (Some(old), None) => {
            report::warn(
                "`--model` is deprecated, and the next release removes it",
                Some(&format!("write `dermal predict {} IMAGE`", old.display())),
            );
            (Some(old.as_path()), args.images.as_slice())
        }
        (None, Some(model)) => (Some(model.as_path()), &args.images[1..]),
        (None, None) => (None, args.images.as_slice()),
        (Some(old), Some(model)) => {
            return Err(CommandError::TwoModels {
                old: old.clone(),
                model: model.clone(),
            });
        }
    };
    if images.is_empty() {
        return Err(CommandError::NoPhoto);
    }
    Ok((model, images))
}

/// The photos to classify, and whether a folder was given.
fn list_photos(given: &[PathBuf]) -> Result<(Vec<PathBuf>, bool), CommandError> {
    let mut photos = Vec::new();
    let mut from_folder = false;
    for path in given {
        if !path.is_dir() {
            photos.push(path.clone());
            continue;
        }
        from_folder = true;
        let folder = path.clone();
        let mut inside = match decode::photos_in_folder(path) {
            Ok(inside) if inside.is_empty() => return Err(CommandError::EmptyFolder { folder }),
            Ok(inside) => inside,
            Err(source) => return Err(CommandError::ReadFolder { folder, source }),
        };
        photos.append(&mut inside);
    }
    Ok((photos, from_folder))
}

/// The options that hold for every photo, and the model that answers.
struct Question {
    classifier: Classifier,
    limits: Limits,
    inputs: InputValues,
    fields: Fields,
    heat_map: Option<HeatMapQuestion>,
}

/// The kind of heat map to draw.
struct HeatMapQuestion {
    method: Method,
    class: Option<usize>,
    style: Overlay,
}

impl Question {
    fn new(args: &PredictArgs, source: &ModelSource) -> Result<Self> {
        let wanted = args.gradcam.is_some() || args.raw_map.is_some();
        let options = engine_options(&args.engine)?;
        let classifier = Classifier::options()
            .threads(options.threads)
            .isa(options.isa)
            .heat_maps(if wanted {
                HeatMaps::At(args.layer.clone())
            } else {
                HeatMaps::Off
            })
            .build(source.load()?)?;
        let heat_map = wanted
            .then(|| HeatMapQuestion::new(args, &classifier))
            .transpose()?;
        let mut given = args.input.clone();
        let fields = Fields::of(
            args.fields.as_deref(),
            &args.field,
            classifier.model(),
            &given,
        )?;
        given.extend(fields.made.inputs.iter().cloned());
        let limits = Limits::default();
        Ok(Self {
            inputs: classifier.inputs(&given)?,
            limits: Limits {
                max_pixels: args.max_pixels.unwrap_or(limits.max_pixels),
                max_bytes: args.max_bytes.unwrap_or(limits.max_bytes),
                ..limits
            },
            classifier,
            fields,
            heat_map,
        })
    }

    /// Classifies one photo, and writes its heat map as picture and numbers.
    fn answer(&mut self, path: &Path, files: [Option<&Output>; 2]) -> Result<Record> {
        let started = Instant::now();
        let photo = decode::read(path, &self.limits).map_err(PredictError::from)?;
        let decode = started.elapsed();
        let answer = self.classifier.predict_with(&photo, &self.inputs)?;
        let mut record = Record::new(path, &photo, &answer);
        record.timing_ms.decode = ms(decode);
        if let Some(wanted) = &self.heat_map {
            let since = Instant::now();
            let map = answer.heat_map(wanted.method, wanted.class)?;
            write(files, &map, || answer.draw(photo, &map, wanted.style))?;
            record.gradcam = Some(GradcamRecord::new(wanted, &answer, &map, files));
            record.timing_ms.gradcam = Some(ms(since.elapsed()));
        }
        record.timing_ms.total = ms(started.elapsed());
        Ok(record)
    }
}

/// Writes a heat map as picture, as numbers, or both, as the options say.
fn write(
    [png, npy]: [Option<&Output>; 2],
    map: &HeatMap,
    draw: impl FnOnce() -> Picture,
) -> Result<()> {
    let context = |output: &Output| format!("cannot write `{}`", output.path().display());
    if let Some(output) = png {
        let picture = draw();
        output
            .write(|file| file.write_all(&picture.png()?))
            .with_context(|| context(output))?;
    }
    if let Some(output) = npy {
        let bytes = explain::npy_bytes(map.height, map.width, &map.raw);
        output
            .write(|file| file.write_all(&bytes))
            .with_context(|| context(output))?;
    }
    Ok(())
}

impl HeatMapQuestion {
    fn new(args: &PredictArgs, classifier: &Classifier) -> Result<Self> {
        let method = args.method.unwrap_or_default();
        if args.class.is_some() && !method.needs_gradient() {
            return Err(CommandError::ClassWithoutGradient {
                method: method.name(),
            }
            .into());
        }
        let class = args.class.as_deref();
        let style = Overlay::default();
        Ok(Self {
            method,
            class: class.map(|name| classifier.class_index(name)).transpose()?,
            style: Overlay {
                colormap: args.colormap.unwrap_or(style.colormap),
                alpha: args.alpha.unwrap_or(style.alpha),
            },
        })
    }
}
