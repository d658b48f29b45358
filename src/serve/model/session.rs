//! A classifier, and what requests need to know about it. Only the inference thread uses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::artifact::{self, Head, InputKind};
use crate::classifier::{self, Classifier, ClassifierError, HeatMaps};
use crate::explain::Overlay;
use crate::file::blake3_of_file;
use crate::predict::selftest::SelfTestError;
use crate::predict::{
    ExtraInput, FieldInputs, InputValues, Limits, Photo, PredictError, decode, fields,
};
use crate::serve::answer::{Answer, HeatMap};
use crate::serve::config::ModelConfig;
use crate::serve::error::{ApiError, short};
use crate::serve::question::{HeatMapRequest, OPTIONS, Question, Subject};

/// What requests need to know about the loaded model, for every thread.
#[derive(Clone, Debug, Serialize)]
pub(in crate::serve) struct ModelInfo {
    /// Names the model in answers: its file's name and the start of its content's hash.
    pub id: String,
    /// BLAKE3 hash of the artifact, in hexadecimal.
    pub content: String,
    /// The name without the hash, as paths of the Open Inference Protocol have it.
    pub name: String,
    pub labels: Vec<String>,
    /// Rows and columns of the model's input.
    pub input_size: [usize; 2],
    /// Inputs besides the photo.
    pub extra_inputs: Vec<ExtraInputInfo>,
    /// Fields of a patient that the model's mapping knows.
    pub fields: Vec<FieldInfo>,
    /// How outputs become probabilities.
    pub head: Head,
    /// `int8`, `fp16`, `bf16`, or `f32`.
    pub precision: String,
    /// Whether a heat map can be made.
    pub gradcam: bool,
    pub source_format: String,
    pub source_sha256: String,
    pub multiply_adds: u64,
    /// `matched`, or `absent` if the artifact has no self-test.
    pub self_test: &'static str,
}

/// An input besides the photo.
#[derive(Clone, Debug, Serialize)]
pub(in crate::serve) struct ExtraInputInfo {
    pub name: String,
    pub len: usize,
    /// Whether a request may leave it out.
    pub optional: bool,
}

/// A field of a patient.
#[derive(Clone, Debug, Serialize)]
pub(in crate::serve) struct FieldInfo {
    pub name: String,
    /// Which values it takes, in words.
    pub takes: String,
}

/// Why a model cannot be served.
#[derive(Clone, Debug)]
pub(in crate::serve) struct LoadFailure {
    /// A stable name, which clients see.
    pub kind: &'static str,
    /// The error and its causes, for the log only.
    pub detail: String,
}

impl LoadFailure {
    fn new(kind: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut detail = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !detail.ends_with(&text) {
                detail.push_str(": ");
                detail.push_str(&text);
            }
            source = cause.source();
        }
        Self { kind, detail }
    }
}

/// Most classes that an error lists.
const MAX_NAMED_CLASSES: usize = 50;

/// How many characters of the artifact's hash are part of the model's id.
const ID_HASH_CHARS: usize = 12;

/// Looks for the cached answer about a photo that was just decoded.
pub(super) type FindCached<'a> = &'a mut dyn FnMut(&Photo) -> Option<Arc<Answer>>;

/// See the module's documentation.
pub(super) struct Session {
    classifier: Classifier,
    labels: Arc<[String]>,
    pub info: ModelInfo,
    limits: Limits,
}

impl Session {
    /// Loads the model, plans it and runs its self-test.
    pub(super) fn load(config: &ModelConfig, limits: Limits) -> Result<Self, LoadFailure> {
        let unreadable =
            |error: &(dyn std::error::Error + 'static)| LoadFailure::new("model_unreadable", error);
        let options = Classifier::options()
            .threads(config.threads)
            .isa(config.isa)
            .heat_maps(if config.gradcam {
                HeatMaps::IfPossible
            } else {
                HeatMaps::Off
            });
        let (classifier, name, hash) = if let Some(path) = &config.path {
            let classifier = options.open(path);
            let hash = blake3_of_file(path).map_err(|e| unreadable(&e))?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            (classifier, stem.into_owned(), hash)
        } else {
            let hash = blake3::hash(artifact::embedded_bytes()).to_hex();
            (options.embedded(), "demo".to_owned(), hash.to_string())
        };
        let mut classifier = classifier.map_err(|error| match &error {
            ClassifierError::Load(_) | ClassifierError::Bytes(_) => unreadable(&error),
            _ => LoadFailure::new("model_not_runnable", &error),
        })?;
        // For the embedded model the version of the program says more than a hash.
        let id = match &config.path {
            Some(_) => format!("{name}@{}", &hash[..ID_HASH_CHARS]),
            None => format!("{name}@{}", env!("CARGO_PKG_VERSION")),
        };
        let self_test = match classifier.self_test() {
            Ok(true) => "matched",
            Ok(false) => "absent",
            Err(SelfTestError::Run(error @ PredictError::NotFinite { .. })) => {
                return Err(LoadFailure::new("model_not_finite", &error));
            }
            Err(error) => return Err(LoadFailure::new("self_test", &error)),
        };
        Ok(Self {
            info: ModelInfo::new(&classifier, (id, name, hash), self_test),
            labels: classifier.labels().into(),
            classifier,
            limits,
        })
    }

    /// Answers a question. Work stops between two stages once `client_left` says so. `find_cached` is
    /// called after a photo is decoded and before it is computed.
    pub(super) fn answer(
        &mut self,
        question: Question,
        client_left: &dyn Fn() -> bool,
        find_cached: FindCached<'_>,
    ) -> Result<Arc<Answer>, ApiError> {
        let (extra, made) = self.extra(&question)?;
        let stop = || ApiError::bad("client_gone", "the client went away");
        let mut decoded = None;
        let mut decode = Duration::ZERO;
        let answer = match question.subject {
            Subject::Tensor(values) => {
                let expected = self.classifier.photo_input().len();
                if values.len() != expected {
                    return Err(ApiError::bad(
                        "wrong_tensor_length",
                        format!("expected {expected} numbers, got {}", values.len()),
                    ));
                }
                self.classifier.predict_prepared(&values, &extra)?
            }
            Subject::Photo(bytes) => {
                let started = Instant::now();
                let photo = decode::decode(&bytes, &self.limits)?;
                drop(bytes);
                decode = started.elapsed();
                if client_left() {
                    return Err(stop());
                }
                if let Some(answer) = find_cached(&photo) {
                    return Ok(answer);
                }
                self.classifier
                    .predict_with(decoded.insert(photo), &extra)?
            }
        };
        let size = decoded.as_ref().map(|p| [p.width(), p.height()]);
        let since = Instant::now();
        let heat_map = match (question.heat_map, decoded) {
            (Some(wanted), Some(photo)) if !client_left() => {
                Some(heat_map(&answer, &wanted, photo)?)
            }
            _ => None,
        };
        let mut prediction = answer.into_prediction();
        prediction.timing.decode = decode;
        Ok(Arc::new(Answer {
            model: self.info.id.clone(),
            prediction,
            labels: Arc::clone(&self.labels),
            photo: size,
            missing_fields: made.missing,
            used_fields: made.used,
            gradcam_ms: heat_map
                .as_ref()
                .map_or(0.0, |_| since.elapsed().as_secs_f64() * 1e3),
            heat_map,
        }))
    }

    /// Values of the inputs besides the photo, and which fields they were made from.
    fn extra(&self, question: &Question) -> Result<(InputValues, FieldInputs), ApiError> {
        let mut given: Vec<ExtraInput> = question.inputs.clone();
        let mapping = self.classifier.model().manifest.fields.as_ref();
        let made = fields::resolve(mapping, &question.fields, &given).map_err(|error| {
            // A model without fields: the name is most likely a misspelt option.
            let error = ApiError::from(error);
            if mapping.is_none() {
                let known = OPTIONS.join(", ");
                error.hint(format!("options are {known}; this model takes no fields"))
            } else {
                error
            }
        })?;
        given.extend(made.inputs.iter().cloned());
        Ok((self.classifier.inputs(&given)?, made))
    }
}

fn heat_map(
    answer: &classifier::Answer<'_>,
    wanted: &HeatMapRequest,
    photo: Photo,
) -> Result<HeatMap, ApiError> {
    let labels = answer.labels();
    let class = match &wanted.class {
        Some(name) => class_index(labels, name)?,
        None => answer.prediction().top1(),
    };
    let map = answer.heat_map(wanted.method, Some(class))?;
    let style = Overlay {
        colormap: wanted.colormap,
        alpha: wanted.alpha,
    };
    let picture = answer.draw_at_most(photo, &map, style, wanted.max_side);
    let png = picture.png().map_err(|error| {
        tracing::error!(%error, "the heat map cannot be encoded");
        ApiError::internal()
    })?;
    Ok(HeatMap {
        png: png.into(),
        size: picture.size(),
        map_size: [map.height, map.width],
        layer: answer.layer().unwrap_or_default().to_owned(),
        class: wanted
            .method
            .needs_gradient()
            .then(|| labels[class].clone()),
        method: wanted.method.name(),
        blank: map.is_blank(),
    })
}

fn class_index(labels: &[String], name: &str) -> Result<usize, ApiError> {
    labels
        .iter()
        .position(|label| label == name)
        .ok_or_else(|| {
            let named = &labels[..labels.len().min(MAX_NAMED_CLASSES)];
            let more = if named.len() < labels.len() {
                ", ... (`/version` has all)"
            } else {
                ""
            };
            ApiError::bad(
                "unknown_class",
                format!("the model has no class `{}`", short(name)),
            )
            .hint(format!("its classes are {}{more}", named.join(", ")))
        })
}

impl ModelInfo {
    fn new(
        classifier: &Classifier,
        (id, name, content): (String, String, String),
        self_test: &'static str,
    ) -> Self {
        let model = classifier.model();
        let manifest = &model.manifest;
        let [height, width, _] = classifier.photo_input().shape();
        let mapping = manifest.fields.as_ref();
        let mapped = |input: &str| {
            mapping.is_some_and(|m| m.inputs.iter().any(|mapped| mapped.name == input))
        };
        let extra_inputs = manifest
            .inputs
            .iter()
            .zip(model.graph.inputs())
            .filter_map(|(spec, (_, node))| match &spec.kind {
                InputKind::Image { .. } => None,
                InputKind::Vector { default } => Some(ExtraInputInfo {
                    name: spec.name.clone(),
                    len: node.shape.len(),
                    optional: default.is_some() || mapped(&spec.name),
                }),
            })
            .collect();
        let mut known: Vec<FieldInfo> = Vec::new();
        for part in mapping
            .iter()
            .flat_map(|m| &m.inputs)
            .flat_map(|i| &i.parts)
        {
            if !known.iter().any(|field| field.name == part.field()) {
                known.push(FieldInfo {
                    name: part.field().to_owned(),
                    takes: fields::takes(part),
                });
            }
        }
        let precision = manifest.quantization.as_ref();
        Self {
            id,
            content,
            name,
            labels: manifest.labels.clone(),
            input_size: [height, width],
            extra_inputs,
            fields: known,
            head: manifest.head,
            // A file that was quantized before its import has no record of it.
            precision: precision
                .map_or_else(|| model.graph.precision().to_owned(), |q| q.to.clone()),
            gradcam: classifier.target().is_some(),
            source_format: manifest.provenance.source_format.clone(),
            source_sha256: manifest.provenance.source_sha256.clone(),
            multiply_adds: model.graph.total_stats().macs,
            self_test,
        }
    }
}
