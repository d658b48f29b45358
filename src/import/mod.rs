//! Model files to a [`Graph`].
//!
//! In: the path of an untrusted file. Out: a plain graph (nothing folded, nothing fused) whose
//! weights are f32 tensors in the layouts of [`crate::graph`], with the source's layers named on
//! its nodes. Every file is hostile until proven otherwise: sizes are checked before anything is
//! allocated, nesting is bounded, no code in a file is ever run, and what cannot be reproduced
//! exactly is refused by layer and attribute.
//!
//! The format is found from the content, never from the extension. [`Import`] joins a graph with
//! labels, recipe and head to a model that runs; the readers of formats know the graph alone. Not
//! here: writing (`artifact`).

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::graph::{Graph, GraphError};
use crate::tensor::Shape;

pub mod head;
mod keras;
pub mod labels;
mod model;
mod scaling;
mod sniff;

pub use keras::{SupportedLayer, supported_layers};
pub use model::{Import, Made, ModelError, Stage, Warning};

/// Bounds on what an untrusted file may make the importer allocate.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the source file.
    pub max_file_bytes: u64,
    /// Bytes of the JSON that describes the layers.
    pub max_config_bytes: u64,
    /// Bytes of all weights together, as f32.
    pub max_weight_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest classifier of keras.applications (ConvNeXtXLarge) is 1.4 GB.
            max_file_bytes: 4 << 30,
            // EfficientNetV2L, a thousand layers, takes 1.3 MB.
            max_config_bytes: 64 << 20,
            max_weight_bytes: 2 << 30,
        }
    }
}

/// What the file itself does not say.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `model.to_json()`, for an `.h5` that holds weights only.
    pub config: Option<PathBuf>,
    /// Rows and columns of an image input that the model leaves open (`[None, None, 3]`).
    pub input_size: Option<[usize; 2]>,
    /// Bounds on allocation.
    pub limits: Limits,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes checked or read so far.
    pub done_bytes: u64,
    /// Bytes there are to check and read.
    pub total_bytes: u64,
}

/// What [`import`] makes.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model.
    pub graph: Graph,
    /// Format and version: `keras 3.3.3 (.keras)`.
    pub source_format: String,
    /// Size of the source file.
    pub source_bytes: u64,
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is something else than a Keras model.
    #[error("`{path}` is {found}, not a Keras model file")]
    Format {
        /// The file.
        path: String,
        /// What its content says it is.
        found: &'static str,
        /// The next step.
        hint: &'static str,
    },
    /// A bound of [`Limits`] is passed.
    #[error("{what}: {got} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        got: u64,
        /// The bound.
        limit: u64,
    },
    /// The zip archive is damaged or incomplete.
    #[error("{place}: {message}")]
    Archive {
        /// Where: `entry config.json`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The HDF5 file is damaged or unlike what Keras writes.
    #[error("{place}: {message}")]
    Hdf5 {
        /// Where: `dataset layers/dense/vars/0`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// An `.h5` without the model's configuration.
    #[error("`{path}` holds weights only, not the layers")]
    NeedsConfig {
        /// The file.
        path: String,
    },
    /// `ImportOptions::config` is given for a file that has its own.
    #[error("`{path}` carries its own configuration, so a second one must not be given")]
    ConfigTwice {
        /// The file.
        path: String,
    },
    /// The configuration is not what Keras writes.
    #[error("{place}: {message}")]
    Config {
        /// Where: ``layer `head` (Dense)``.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A layer class that the importer does not know, or will not run.
    #[error("layer `{path}` ({class}) is not supported")]
    UnsupportedLayer {
        /// Names of enclosing models and the layer.
        path: String,
        /// Its class.
        class: String,
    },
    /// An attribute whose value is not implemented.
    #[error("layer `{path}` ({class}): `{attribute}` is `{value}`, expected {expected}")]
    UnsupportedValue {
        /// The layer.
        path: String,
        /// Its class.
        class: String,
        /// The attribute.
        attribute: String,
        /// Its value.
        value: Box<str>,
        /// What is supported.
        expected: Box<str>,
    },
    /// A weight that the layer needs is not in the file.
    #[error("layer `{path}` ({class}): weight `{weight}` is missing{looked_for}")]
    MissingWeights {
        /// The layer.
        path: String,
        /// Its class.
        class: String,
        /// The weight.
        weight: String,
        /// Where it was looked for, as `: no dataset ...`.
        looked_for: String,
    },
    /// A weight has another shape than the layer asks for.
    #[error("layer `{path}` ({class}): weight `{weight}`: expected {expected}, got {got}")]
    WeightShape {
        /// The layer.
        path: String,
        /// Its class.
        class: String,
        /// The weight.
        weight: String,
        /// What the layer needs.
        expected: Shape,
        /// What the file has.
        got: Shape,
    },
    /// Weights in the file belong to no layer.
    #[error("weight `{weight}` in the file belongs to no layer of the model")]
    UnusedWeights {
        /// The dataset.
        weight: String,
    },
    /// An input whose shape is not known, or not the one asked for.
    #[error("input `{input}` has shape {shape}: {message}")]
    InputSize {
        /// The input.
        input: String,
        /// Its shape, `None` for open extents.
        shape: String,
        /// What is wrong.
        message: String,
    },
    /// The model has more than one output.
    #[error("the model has {} outputs ({}), expected 1", names.len(), names.join(", "))]
    Outputs {
        /// Their names.
        names: Vec<String>,
    },
    /// A layer does not fit its inputs.
    #[error("layer `{path}` ({class}) does not fit its inputs")]
    Graph {
        /// The layer.
        path: String,
        /// Its class.
        class: String,
        /// What does not fit.
        #[source]
        source: Box<GraphError>,
    },
}

impl ImportError {
    /// A stable name of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Format { .. } => "format",
            Self::TooLarge { .. } => "too_large",
            Self::Archive { .. } => "archive",
            Self::Hdf5 { .. } => "hdf5",
            Self::NeedsConfig { .. } => "needs_config",
            Self::ConfigTwice { .. } => "config_twice",
            Self::Config { .. } => "config",
            Self::UnsupportedLayer { .. } => "unsupported_layer",
            Self::UnsupportedValue { .. } => "unsupported_value",
            Self::MissingWeights { .. } => "missing_weights",
            Self::WeightShape { .. } => "weight_shape",
            Self::UnusedWeights { .. } => "unused_weights",
            Self::InputSize { .. } => "input_size",
            Self::Outputs { .. } => "outputs",
            Self::Graph { .. } => "graph",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the path and its permissions",
            Self::Format { hint, .. } => hint,
            Self::TooLarge { .. } => {
                "if the file is trustworthy, raise the limit; otherwise do not import it"
            }
            Self::Archive { .. } | Self::Hdf5 { .. } => {
                "the file looks damaged or truncated: copy it again, or save the model again"
            }
            Self::NeedsConfig { .. } => {
                "give the layers with `--config model.json`, written by \
                 `open('model.json', 'w').write(model.to_json())`"
            }
            Self::ConfigTwice { .. } => "leave out `--config`",
            Self::Config { .. } => "save the model again with Keras",
            Self::UnsupportedLayer { class, .. } if class == "Lambda" => {
                "a Lambda holds Python code, which is never run: rebuild the model with a layer \
                 such as `Rescaling` in its place, load the weights, and save again"
            }
            Self::UnsupportedLayer { .. } | Self::UnsupportedValue { .. } => {
                "`dermal import --list-ops` shows what is supported; custom code is never run: \
                 rebuild the model with built-in layers and save again"
            }
            Self::MissingWeights { .. } | Self::WeightShape { .. } | Self::UnusedWeights { .. } => {
                "the weights do not belong to this configuration: save both from the same model"
            }
            Self::InputSize { .. } => {
                "give rows and columns with `--input-size HxW`, as they were in training"
            }
            Self::Outputs { .. } => {
                "save a model with the one output you need: \
                 `keras.Model(model.inputs, model.outputs[0])`"
            }
            Self::Graph { .. } => "check that the file loads in Keras",
        }
    }
}

/// Reads a Keras `.keras` or `.h5` file. `progress` is called now and then.
///
/// # Errors
/// [`ImportError`] names the file, layer, attribute or weight that stands in the way.
pub fn import(
    path: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let shown = path.display().to_string();
    let io = |source| ImportError::Io {
        path: shown.clone(),
        source,
    };
    if path.is_dir() {
        return Err(sniff::directory(path, shown));
    }
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(ImportError::Format {
            path: shown,
            found: "not a regular file",
            hint: "give the path of a `.keras` or `.h5` file",
        });
    }
    let source_bytes = metadata.len();
    if source_bytes == 0 {
        return Err(ImportError::Format {
            path: shown,
            found: "empty",
            hint: "the download or save did not finish: get the file again",
        });
    }
    if source_bytes > options.limits.max_file_bytes {
        return Err(ImportError::TooLarge {
            what: format!("`{shown}`"),
            got: source_bytes,
            limit: options.limits.max_file_bytes,
        });
    }
    // SAFETY: the map is read-only and private to this call. Another process that truncates the
    // file meanwhile can make reads fault, as with any mapped file; it cannot break memory safety
    // of what has been copied out.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    let format = sniff::sniff(&map, shown.clone())?;
    let (graph, source_format) = keras::import(map, format, &shown, options, progress)?;
    Ok(Imported {
        graph,
        source_format,
        source_bytes,
    })
}
