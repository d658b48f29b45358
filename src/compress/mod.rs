//! Makes a model smaller and faster, and measures what that costs.
//!
//! [`weights_only`] rounds weights and needs no photos. [`int8`] also computes in integers: it
//! observes the model on photos, tries several methods and keeps those that a measurement shows to
//! help. If a largest loss of accuracy is given, it leaves layers in float until it holds. Both
//! return a whole model with a record of how it was made.
//!
//! ```
//! use std::path::Path;
//!
//! use dermal::compress::{Int8Settings, int8};
//! use dermal::evaluate::dataset::{Dataset, Labels};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = dermal::artifact::embedded()?;
//! let labels = Labels::Required(&model.manifest.labels);
//! let mut photos = Dataset::open(Path::new("fixtures/labels.csv"), labels, &[])?;
//! photos.thin_out(14);
//! // At most half a point of top-1 accuracy may be lost on these photos.
//! let settings = Int8Settings { max_drop: Some(0.005), ..Int8Settings::default() };
//! let made = int8(&model, photos, &settings, &mut |_| {})?;
//! assert!(made.model.graph.is_quantized() && !made.missed());
//! let path = std::env::temp_dir().join(format!("int8-{}.safetensors", std::process::id()));
//! dermal::artifact::write(&path, &made.model)?;
//! # std::fs::remove_file(path)?;
//! # Ok(())
//! # }
//! ```
//!
//! In: a model with f32 weights and, for integers, a
//! [`Dataset`](crate::evaluate::dataset::Dataset). The calibration itself, from
//! numbers to numbers, is in [`crate::quantize`]. Not here: files of models (`artifact`).

use crate::artifact::{Model, QuantizationRecord};
use crate::predict::selftest;
use crate::quantize::LayerError;
use crate::quantize::weights::{WeightType, convert, widen};
use crate::tensor::DType;

mod error;
mod int8;
mod latency;
mod memory;
mod photos;
mod search;

pub use error::CompressError;
pub use int8::{CalibrationReport, Int8Settings, TrialScore, int8};
pub use latency::latencies_ms;

/// A smaller model and what it cost.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The model. Its manifest has a record of how it was made, and a new self-test. Evidence about
    /// the original model is left out.
    pub model: Model,
    /// The results on the photos; absent if none were needed.
    pub calibration: Option<CalibrationReport>,
    /// The error of each layer, worst first.
    pub layers: Vec<LayerError>,
}

impl Quantized {
    /// Whether a largest loss of accuracy was given that does not hold.
    #[must_use]
    pub fn missed(&self) -> bool {
        let held = self.calibration.as_ref().and_then(|seen| seen.held);
        held == Some(false)
    }
}

/// How to treat 16-bit weights, which have already lost precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// Refuse them.
    Refuse,
    /// Widen them to f32.
    Widen,
}

/// The model with f32 weights, which [`weights_only`] and [`int8`] need.
///
/// # Errors
/// [`CompressError::AlreadyInt8`], and [`CompressError::HalfWeights`] if 16-bit weights are
/// refused.
pub fn float_weights(model: Model, halves: Halves) -> Result<Model, CompressError> {
    match check_float(&model) {
        Err(CompressError::HalfWeights) if halves == Halves::Widen => Ok(Model {
            graph: widen(&model.graph)?,
            ..model
        }),
        Err(error) => Err(error),
        Ok(()) => Ok(model),
    }
}

fn check_float(model: &Model) -> Result<(), CompressError> {
    let graph = &model.graph;
    let kernels = graph.nodes().iter().filter_map(|node| node.op.kernel());
    let tensors = kernels.filter_map(|kernel| graph.tensors.get(&kernel.tensor));
    let dtypes: Vec<DType> = tensors.map(crate::tensor::Tensor::dtype).collect();
    if dtypes.contains(&DType::I8) {
        return Err(CompressError::AlreadyInt8);
    }
    if dtypes.contains(&DType::F16) || dtypes.contains(&DType::BF16) {
        return Err(CompressError::HalfWeights);
    }
    Ok(())
}

/// How weights are rounded.
#[derive(Clone, Debug, Default)]
pub struct WeightSettings {
    /// Layers that stay in f32.
    pub keep_float: Vec<String>,
    /// SHA-256 of the base's file in hexadecimal, for the record: `file::sha256_of_file`.
    pub base_sha256: String,
}

/// Rounds the f32 weights of `base`. Values stay in f32, so no photos are needed.
///
/// # Errors
/// [`CompressError`] for a model whose weights are not f32, for weights that the type cannot hold,
/// and for layers that do not exist.
pub fn weights_only(
    base: &Model,
    to: WeightType,
    settings: &WeightSettings,
) -> Result<Quantized, CompressError> {
    check_float(base)?;
    let keep: Vec<&str> = settings.keep_float.iter().map(String::as_str).collect();
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
    let name = match to {
        WeightType::F16 => "fp16",
        WeightType::BF16 => "bf16",
        WeightType::I8 => "int8",
    };
    let record = QuantizationRecord {
        weights_only: to == WeightType::I8,
        kept_float: settings.keep_float.clone(),
        ..record(name, &settings.base_sha256)
    };
    Ok(Quantized {
        model: made_from(base, converted.graph, record),
        calibration: None,
        layers,
    })
}

/// A record without the parts that need photos.
fn record(to: &str, base_sha256: &str) -> QuantizationRecord {
    QuantizationRecord {
        to: to.to_owned(),
        base_sha256: base_sha256.to_owned(),
        method: None,
        photos: None,
        weights_only: false,
        equalization: None,
        bias_correction: false,
        kept_float: Vec::new(),
        mean_abs_dp: None,
        logit_sqnr_db: None,
    }
}

/// A model like `base` with another graph.
fn made_from(base: &Model, graph: crate::graph::Graph, record: QuantizationRecord) -> Model {
    let mut made = Model {
        graph,
        manifest: base.manifest.quantized(record),
    };
    // A model without an answer to the generated photo has no self-test.
    made.manifest.self_test = selftest::record_portably(&made).ok();
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact;
    use crate::hint::Hint;

    #[test]
    fn weights_are_rounded_once() {
        let base = artifact::embedded().unwrap();
        let settings = WeightSettings {
            base_sha256: "ab".repeat(32),
            ..WeightSettings::default()
        };
        let half = weights_only(&base, WeightType::F16, &settings).unwrap();
        let record = half.model.manifest.quantization.as_ref().unwrap();
        assert_eq!((record.to.as_str(), record.weights_only), ("fp16", false));
        assert_eq!(record.base_sha256, settings.base_sha256);
        assert!(half.model.manifest.self_test.is_some());
        assert!(!half.missed() && half.calibration.is_none());
        let errors: Vec<f64> = half.layers.iter().filter_map(|l| l.sqnr_db).collect();
        assert!(errors.is_sorted(), "worst first");

        let again = weights_only(&half.model, WeightType::I8, &settings).unwrap_err();
        assert_eq!(again.kind(), "half_weights");
        let error = float_weights(half.model.clone(), Halves::Refuse).unwrap_err();
        assert_eq!(error.kind(), "half_weights");
        let wide = float_weights(half.model, Halves::Widen).unwrap();
        let bytes = weights_only(&wide, WeightType::I8, &settings).unwrap();
        let error = float_weights(bytes.model, Halves::Widen).unwrap_err();
        assert_eq!(error.kind(), "already_int8");
    }

    #[test]
    fn a_layer_that_is_not_there_is_named() {
        let base = artifact::embedded().unwrap();
        let settings = WeightSettings {
            keep_float: vec!["no_such_layer".to_owned()],
            ..WeightSettings::default()
        };
        let error = weights_only(&base, WeightType::F16, &settings).unwrap_err();
        assert!(error.to_string().contains("no_such_layer"), "{error}");
    }
}
