//! Take a trained image classifier to a small server without Python.
//!
//! A [`Model`] is one `.safetensors` file: weights, graph, class names, and how a photo becomes the
//! model's input. A [`Classifier`] runs it. It uses the weights in the mapped file without a copy.
//! Everything else lies in one block of memory that is planned before the first photo. A prediction
//! does not depend on the number of threads.
//!
//! # Predict, and see where the model looked
//!
//! ```
//! use dermal::{Classifier, Method, Overlay, Photo};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut classifier = Classifier::embedded()?; // or `Classifier::open("model.safetensors")?`
//! let photo = Photo::open("fixtures/images/bcc_03.jpg")?;
//! let answer = classifier.predict(&photo)?;
//! assert_eq!(answer.label(), "bcc");
//!
//! let map = answer.heat_map(Method::GradCam, None)?;
//! let png = answer.draw(photo, &map, Overlay::default()).png()?;
//! # assert!(png.starts_with(b"\x89PNG"));
//! # Ok(())
//! # }
//! ```
//!
//! A photo can also be made of a file's bytes ([`Photo::from_bytes`]) or of pixels ([`Photo::new`]),
//! a classifier of an artifact's bytes ([`Classifier::from_bytes`]) or of a model in memory
//! ([`Classifier::new`]).
//!
//! # Make it smaller
//!
//! FP16 and BF16 need no photos. `compress::int8` measures the model on photos, and leaves layers
//! in float until accuracy stays within a margin.
//!
//! ```
//! use dermal::compress::{WeightSettings, weights_only};
//! use dermal::quantize::weights::WeightType;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("dermal-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let base = dermal::artifact::embedded()?;
//! let halves = weights_only(&base, WeightType::F16, &WeightSettings::default())?;
//! let bytes = dermal::artifact::write(&folder.join("fp16.safetensors"), &halves.model)?;
//! assert!(bytes < dermal::artifact::embedded_bytes().len() as u64);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Is it still as good?
//!
//! ```
//! use std::path::Path;
//!
//! use dermal::evaluate::dataset::{Dataset, Labels};
//! use dermal::evaluate::trial::{NamedModel, TrialOptions, compare_models};
//! # use dermal::compress::{WeightSettings, weights_only};
//! # use dermal::quantize::weights::WeightType;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let base = dermal::artifact::embedded()?;
//! # let halves = weights_only(&base, WeightType::F16, &WeightSettings::default())?;
//! let labels = base.manifest.labels.clone();
//! let mut photos = Dataset::open(Path::new("fixtures/labels.csv"), Labels::Required(&labels), &[])?;
//! photos.thin_out(14); // every 15th, so that this example is fast
//! let base = NamedModel::new("f32", base);
//! let candidate = NamedModel::new("fp16", halves.model);
//! let trial = compare_models(base, candidate, photos, &TrialOptions::default(), &mut |_| {})?;
//! let comparison = trial.report().comparison.as_ref().ok_or("two models were given")?;
//! println!("{}", comparison.sentence);
//! assert_eq!(comparison.agreement.value, 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! By default all features of the `dermal` program are on. With `default-features = false` there is
//! only the compute core: it reads artifacts, classifies photos and draws heat maps, on the
//! caller's thread, without candle and without mapping files.
//!
//! | Feature | Adds |
//! |---|---|
//! | `mmap` | artifact files are mapped, not read into memory ([`storage`]) |
//! | `threads` | several threads share the work of one photo ([`kernels::Threads`]) |
//! | `gradients` | heat maps of models that do not end in a global mean and dense layers (`reference`, `layer_check`) |
//! | `import` | files of frameworks in (`import`), ONNX files out (`export`) |
//! | `quantize`, `compress` | FP16, BF16 and INT8 weights; smaller models within a margin of accuracy |
//! | `evaluate` | labelled photos, metrics, the verdict on two models |
//! | `estimate` | the kernel's counters and limits; how much memory a model will take (`memory`) |
//! | `serve`, `probe` | the HTTP server; a check of a deployed server |
//! | `readiness` | rules for a project before it is deployed |
//! | `prove` | a model on a platform: estimated, proved, checked (`estimate`, `prove`, `survey`) |
//! | `cli` | the program: all of these, the command line and its reports (`cli`, `commands`, `report`) |
//!
//! `ARCHITECTURE.md` in the repository has the map: the stages, the modules, and which may use
//! which.

pub mod activation;
pub mod artifact;
pub mod classifier;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod commands;
#[cfg(feature = "compress")]
pub mod compress;
pub mod diff;
pub mod engine;
#[cfg(feature = "prove")]
pub mod estimate;
#[cfg(feature = "evaluate")]
pub mod evaluate;
pub mod explain;
#[cfg(feature = "import")]
pub mod export;
pub mod file;
pub mod graph;
pub mod hint;
#[cfg(feature = "import")]
pub mod import;
pub mod kernels;
#[cfg(feature = "gradients")]
pub mod layer_check;
#[cfg(feature = "estimate")]
pub mod memory;
pub mod panel;
pub mod predict;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "prove")]
pub mod prove;
pub mod quantization;
#[cfg(feature = "quantize")]
pub mod quantize;
pub mod random;
#[cfg(feature = "readiness")]
pub mod readiness;
#[cfg(feature = "gradients")]
pub mod reference;
#[cfg(not(feature = "gradients"))]
#[path = "reference/absent.rs"]
pub mod reference;
#[cfg(feature = "cli")]
pub mod report;
#[cfg(feature = "serve")]
pub mod serve;
pub mod storage;
#[cfg(feature = "prove")]
pub mod survey;
pub mod tensor;
pub mod text;
pub mod units;

pub use artifact::Model;
pub use classifier::{Answer, Classifier, ClassifierError, HeatMaps};
pub use explain::{Colormap, HeatMap, Method, Overlay, Picture};
pub use hint::Hint;
pub use predict::{ExtraInput, Limits, Photo, Prediction};
