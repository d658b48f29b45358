//! `dermal predict`: photos in, classes and heat maps out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::failure;
use super::fields::{Fields, FieldsRecord};
use super::session::{EngineChoice, load_model};
use crate::artifact::Model;
use crate::cli::{self, PredictArgs};
use crate::engine::Engine;
use crate::explain::{self, Colormap, HeatMap, Method, Overlay, Score, Target};
use crate::file::atomic;
use crate::graph::NodeId;
use crate::memory::measure;
use crate::predict::{
    ExtraInput, Limits, Photo, PredictError, Prediction, Predictor, decode, resolve_inputs,
};
use crate::report::{self, Align, Progress, SCHEMA_VERSION, Table, bar, percent};
use crate::units::Millis;

/// Classes shown for one photo unless `--top` says otherwise.
const DEFAULT_TOP: usize = 5;

pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let (photos, from_folder) = list_photos(&args.images)?;
    let several = photos.len() > 1 || from_folder;
    let outputs = Outputs::plan(args, &photos, several)?;
    let (model, model_name) = load_model(args.model.as_deref())?;
    let mut session = Session::new(args, model)?;
    if !args.json {
        session.fields.warn();
    }
    let mut records = Vec::with_capacity(photos.len());
    let mut progress = Progress::items("photos");
    for (i, path) in photos.iter().enumerate() {
        let record = session.classify(path, &outputs, i);
        progress.set(i as u64 + 1, photos.len() as u64);
        match record {
            Ok(record) if several && !args.json => {
                progress.suspend(|| report::print(format!("{}\n", record.line())))?;
                records.push(record);
            }
            Ok(record) => records.push(record),
            Err(error) if several => {
                progress.suspend(|| print_error(&error));
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
            model: model_name,
            fields: session.fields.record(),
            images: records,
            peak_rss_bytes: measure::peak_rss_bytes(),
        })?;
    } else if let ([record], false) = (records.as_slice(), several) {
        let top = args.top.map_or(DEFAULT_TOP, std::num::NonZero::get);
        report::print(record.table(top))?;
    }
    match failed {
        0 => Ok(()),
        n => Err(failure(
            format!("{n} of {} photos could not be classified", photos.len()),
            "the lines above say why; the other answers are complete",
        )),
    }
}

/// The photos to classify, and whether a folder was given.
fn list_photos(given: &[PathBuf]) -> Result<(Vec<PathBuf>, bool)> {
    let mut photos = Vec::new();
    let mut from_folder = false;
    for path in given {
        if !path.is_dir() {
            photos.push(path.clone());
            continue;
        }
        from_folder = true;
        let context = || format!("cannot read folder `{}`", path.display());
        let mut inside = Vec::new();
        for entry in path.read_dir().with_context(context)? {
            let file = entry.with_context(context)?.path();
            if decode::has_photo_extension(&file) && file.is_file() {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(failure(
                format!("folder `{}` has no photos", path.display()),
                format!("photos end in .{}", decode::PHOTO_EXTENSIONS.join(", .")),
            ));
        }
        inside.sort();
        photos.append(&mut inside);
    }
    Ok((photos, from_folder))
}

/// Where heat maps go, a place for each photo.
struct Outputs {
    gradcam: Option<Vec<PathBuf>>,
    raw_map: Option<Vec<PathBuf>>,
}

impl Outputs {
    /// Every path is known, distinct and writable before the first photo is read.
    fn plan(args: &PredictArgs, photos: &[PathBuf], several: bool) -> Result<Self> {
        let plan = |option: &str, out: &Option<PathBuf>, extension: &str| {
            let Some(out) = out else { return Ok(None) };
            let paths = output_paths(option, out, extension, photos, several)?;
            for path in &paths {
                atomic::check(path)
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
            }
            anyhow::Ok(Some(paths))
        };
        let outputs = Self {
            gradcam: plan("--gradcam", &args.gradcam, "png")?,
            raw_map: plan("--raw-map", &args.raw_map, "npy")?,
        };
        outputs.spare(photos, args.model.as_deref())?;
        Ok(outputs)
    }

    /// Refuses outputs that would replace a photo, the model, or each other.
    fn spare(&self, photos: &[PathBuf], model: Option<&Path>) -> Result<()> {
        let real = |path: &Path| path.canonicalize().ok();
        let read: BTreeSet<PathBuf> = photos
            .iter()
            .map(PathBuf::as_path)
            .chain(model)
            .filter_map(real)
            .collect();
        let mut written = BTreeSet::new();
        for path in self.gradcam.iter().chain(&self.raw_map).flatten() {
            if real(path).is_some_and(|real| read.contains(&real)) {
                return Err(failure(
                    format!("the heat map would replace `{}`", path.display()),
                    "give another file name: photos and models are never written over",
                ));
            }
            if !written.insert(path) {
                return Err(failure(
                    format!(
                        "`{}` is named by `--gradcam` and by `--raw-map`",
                        path.display()
                    ),
                    "give the picture and the numbers different names",
                ));
            }
        }
        Ok(())
    }
}

fn output_paths(
    option: &str,
    out: &Path,
    extension: &str,
    photos: &[PathBuf],
    several: bool,
) -> Result<Vec<PathBuf>> {
    let text = out.to_string_lossy();
    let has_stem = text.contains("{stem}");
    if !several && !has_stem && !out.is_dir() {
        return Ok(vec![out.to_owned()]);
    }
    if !has_stem && !out.is_dir() {
        return Err(failure(
            format!("`{option} {text}` is one file, but there are several photos"),
            format!(
                "give an existing folder, or a name with `{{stem}}`: `maps/{{stem}}.{extension}`"
            ),
        ));
    }
    let one = |photo: &PathBuf| {
        let stem = photo.file_stem().unwrap_or(OsStr::new("photo"));
        if has_stem {
            return PathBuf::from(text.replace("{stem}", &stem.to_string_lossy()));
        }
        let mut name = stem.to_owned();
        name.push(".");
        name.push(extension);
        out.join(name)
    };
    let paths: Vec<PathBuf> = photos.iter().map(one).collect();
    let mut seen = BTreeSet::new();
    match paths.iter().find(|path| !seen.insert(*path)) {
        Some(path) => Err(failure(
            format!("two photos would write the heat map `{}`", path.display()),
            "photos of the same name need separate calls",
        )),
        None => Ok(paths),
    }
}

/// A model, its engine, and what is asked of it.
struct Session {
    model: Model,
    predictor: Predictor<Engine>,
    limits: Limits,
    extra: Vec<(NodeId, Vec<f32>)>,
    fields: Fields,
    explanation: Option<Explanation>,
}

/// What kind of heat map is asked for.
struct Explanation {
    target: Target,
    method: Method,
    class: Option<usize>,
    style: Overlay,
}

impl Session {
    fn new(args: &PredictArgs, model: Model) -> Result<Self> {
        let choice = EngineChoice::new(&args.engine)?;
        let explanation = (args.gradcam.is_some() || args.raw_map.is_some())
            .then(|| Explanation::new(args, &model))
            .transpose()?;
        let keep = explanation.as_ref().map_or(Vec::new(), |e| e.target.keep());
        let graph = explanation
            .as_ref()
            .map_or(&model.graph, |e| e.target.graph())
            .clone();
        let model = Model {
            graph,
            manifest: model.manifest,
        };
        let mut given: Vec<ExtraInput> = args
            .input
            .iter()
            .map(|input| ExtraInput {
                name: input.name.clone(),
                values: input.values.clone(),
            })
            .collect();
        let fields = Fields::of(args.fields.as_deref(), &args.field, &model, &given)?;
        given.extend(fields.made.inputs.iter().cloned());
        let extra = resolve_inputs(&model, &given)?;
        let engine = choice.engine(&model.graph, keep)?;
        let predictor = Predictor::new(&model, engine)?;
        let mut limits = Limits::default();
        limits.max_pixels = args.max_pixels.unwrap_or(limits.max_pixels);
        limits.max_bytes = args.max_bytes.unwrap_or(limits.max_bytes);
        Ok(Self {
            model,
            predictor,
            limits,
            extra,
            fields,
            explanation,
        })
    }

    fn classify(&mut self, path: &Path, outputs: &Outputs, index: usize) -> Result<Record> {
        let started = Instant::now();
        let context = || format!("cannot classify `{}`", path.display());
        let (photo, prediction) = self
            .predictor
            .predict_file(path, &self.limits, &self.extra)
            .with_context(context)?;
        let mut record = Record::new(path, &photo, &prediction, &self.model.manifest.labels);
        if let Some(explanation) = &self.explanation {
            let since = Instant::now();
            let at = |paths: &Option<Vec<PathBuf>>| paths.as_ref().map(|p| p[index].clone());
            let files = [at(&outputs.gradcam), at(&outputs.raw_map)];
            record.gradcam = Some(
                self.explain(explanation, photo, &prediction, files)
                    .with_context(context)?,
            );
            record.timing_ms.gradcam = Some(milliseconds(since));
        }
        record.timing_ms.total = milliseconds(started);
        Ok(record)
    }

    fn explain(
        &self,
        explanation: &Explanation,
        photo: Photo,
        prediction: &Prediction,
        [png, npy]: [Option<PathBuf>; 2],
    ) -> Result<GradcamRecord> {
        let manifest = &self.model.manifest;
        let class = explanation.class.unwrap_or_else(|| prediction.top1());
        let score = Score::of_class(class, manifest.head);
        let Explanation {
            target,
            method,
            style,
            ..
        } = explanation;
        let engine = self.predictor.runner();
        let map = explain::explain(target, *method, score, &|id| engine.value(id))?;
        if let Some(path) = &png {
            let size = [pixels(photo.width()), pixels(photo.height())];
            let region = self.predictor.region(&photo);
            let mut drawn = photo.into_pixels();
            explain::overlay(&mut drawn, size, &map, region, *style);
            let encode = |file: &mut dyn Write| {
                explain::write_png(file, &drawn, size).map_err(std::io::Error::other)
            };
            atomic::write(path, encode)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        if let Some(path) = &npy {
            let bytes = explain::npy_bytes(map.height, map.width, &map.raw);
            atomic::write(path, |file| file.write_all(&bytes))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(GradcamRecord::new(
            explanation,
            class,
            &map,
            [png, npy],
            &manifest.labels,
        ))
    }
}

fn pixels(count: usize) -> u32 {
    // Limits keep photos far below 2^32 pixels a side.
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

impl Explanation {
    fn new(args: &PredictArgs, model: &Model) -> Result<Self> {
        let labels = &model.manifest.labels;
        let class = args
            .class
            .as_deref()
            .map(|name| class_index(labels, name))
            .transpose()?;
        let method = match args.method.unwrap_or_default() {
            cli::Method::Gradcam => Method::GradCam,
            cli::Method::GradcamPlusPlus => Method::GradCamPlusPlus,
            cli::Method::Layercam => Method::LayerCam,
            cli::Method::Eigencam => Method::EigenCam,
            cli::Method::Hirescam => Method::HiResCam,
        };
        if class.is_some() && !method.needs_gradient() {
            return Err(failure(
                format!(
                    "`--method {}` knows no classes, so `--class` does nothing",
                    method.name()
                ),
                "leave one of them out",
            ));
        }
        let colormap = match args.colormap.unwrap_or_default() {
            cli::Colormap::Jet => Colormap::Jet,
            cli::Colormap::Turbo => Colormap::Turbo,
            cli::Colormap::Viridis => Colormap::Viridis,
        };
        let alpha = args.alpha.unwrap_or(Overlay::default().alpha);
        let target = Target::find(&model.graph, args.layer.as_deref())?;
        Ok(Self {
            target,
            method,
            class,
            style: Overlay { colormap, alpha },
        })
    }
}

fn class_index(labels: &[String], name: &str) -> Result<usize> {
    labels
        .iter()
        .position(|label| label == name)
        .ok_or_else(|| {
            failure(
                format!("the model has no class `{name}`"),
                format!("its classes are {}", labels.join(", ")),
            )
        })
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    model: String,
    /// How extra inputs were made from fields; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<FieldsRecord>,
    images: Vec<Record>,
    /// `VmHWM` of this process.
    peak_rss_bytes: Option<u64>,
}

/// What is said about one photo.
#[derive(Serialize)]
struct Record {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top1: Option<String>,
    /// Every class, likeliest first.
    predictions: Vec<ClassRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradcam: Option<GradcamRecord>,
    timing_ms: TimingRecord,
}

#[derive(Serialize)]
struct ErrorRecord {
    kind: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Serialize)]
struct ClassRecord {
    class: String,
    index: usize,
    probability: f32,
}

#[derive(Serialize)]
struct GradcamRecord {
    layer: String,
    /// Absent for methods that know no classes.
    class: Option<String>,
    method: &'static str,
    /// The picture.
    path: Option<String>,
    raw_map_path: Option<String>,
    /// Rows and columns of the map before it is enlarged.
    map_size: [usize; 2],
    /// Whether nothing on the map speaks for the class.
    blank: bool,
}

#[derive(Default, Serialize)]
struct TimingRecord {
    decode: f64,
    preprocess: f64,
    inference: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradcam: Option<f64>,
    total: f64,
}

impl GradcamRecord {
    fn new(
        explanation: &Explanation,
        class: usize,
        map: &HeatMap,
        [png, npy]: [Option<PathBuf>; 2],
        labels: &[String],
    ) -> Self {
        let shown = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
        Self {
            layer: explanation.target.layer().to_owned(),
            class: explanation
                .method
                .needs_gradient()
                .then(|| labels[class].clone()),
            method: explanation.method.name(),
            path: shown(png),
            raw_map_path: shown(npy),
            map_size: [map.height, map.width],
            blank: map.is_blank(),
        }
    }
}

impl Record {
    fn new(path: &Path, photo: &Photo, prediction: &Prediction, labels: &[String]) -> Self {
        let ranked = prediction.ranked();
        let class = |&(index, probability): &(usize, f32)| ClassRecord {
            class: labels[index].clone(),
            index,
            probability,
        };
        let predictions: Vec<ClassRecord> = ranked.iter().map(class).collect();
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Self {
            path: path.display().to_string(),
            error: None,
            width: Some(photo.width()),
            height: Some(photo.height()),
            top1: predictions.first().map(|first| first.class.clone()),
            predictions,
            gradcam: None,
            timing_ms: TimingRecord {
                decode: ms(prediction.timing.decode),
                preprocess: ms(prediction.timing.preprocess),
                inference: ms(prediction.timing.inference),
                ..TimingRecord::default()
            },
        }
    }

    fn failed(path: &Path, error: &anyhow::Error) -> Self {
        let kind = error
            .chain()
            .find_map(|cause| cause.downcast_ref().map(PredictError::kind));
        Self {
            path: path.display().to_string(),
            error: Some(ErrorRecord {
                kind: kind.unwrap_or("heat_map"),
                message: format!("{error:#}"),
                hint: super::hint(error),
            }),
            width: None,
            height: None,
            top1: None,
            predictions: Vec::new(),
            gradcam: None,
            timing_ms: TimingRecord::default(),
        }
    }

    /// One line for people who look at several photos.
    fn line(&self) -> String {
        let best = self.predictions.first();
        let best = best.map(|b| format!("{:<12} {:>8}", b.class, percent(b.probability)));
        format!(
            "{}  {}",
            best.unwrap_or_default(),
            report::printable(&self.path)
        )
    }

    fn table(&self, top: usize) -> String {
        let mut table = Table::new(&[
            ("class", Align::Left),
            ("probability", Align::Right),
            ("", Align::Left),
        ]);
        for class in self.predictions.iter().take(top) {
            let p = class.probability;
            table.row([class.class.as_str(), &percent(p), &bar(p, 30)]);
        }
        let mut text = format!("{}\n\n{table}", report::printable(&self.path));
        let hidden = self.predictions.len().saturating_sub(top);
        if hidden > 0 {
            let all = self.predictions.len();
            text.push_str(&format!("({hidden} more with `--top {all}`)\n"));
        }
        if let Some(map) = &self.gradcam {
            text += &map.text();
        }
        let t = &self.timing_ms;
        let parts = [
            ("decode", Some(t.decode)),
            ("preprocess", Some(t.preprocess)),
            ("inference", Some(t.inference)),
            ("heat map", t.gradcam),
        ];
        let shown = parts
            .into_iter()
            .filter_map(|(name, ms)| Some((name, Millis(ms?))));
        let shown: Vec<String> = shown.map(|(name, ms)| format!("{name} {ms}")).collect();
        text += &format!("\n{} ({})\n", Millis(t.total), shown.join(", "));
        text
    }
}

impl GradcamRecord {
    fn text(&self) -> String {
        let of = self
            .class
            .as_ref()
            .map_or(String::new(), |class| format!(" of `{class}`"));
        let mut text = String::new();
        for path in self.path.iter().chain(&self.raw_map_path) {
            text += &format!(
                "\nheat map{of}: {} ({} at `{}`, {} x {})",
                report::printable(path),
                self.method,
                report::printable(&self.layer),
                self.map_size[0],
                self.map_size[1],
            );
        }
        text.push('\n');
        if self.blank {
            text += "The map is blank: nothing at this layer speaks for the class.\n";
        }
        text
    }
}

fn print_error(error: &anyhow::Error) {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    report::print_failure(&causes, super::hint(error).as_deref());
}
