//! Keras files: `.keras`, `.h5` with configuration, `.h5` of weights with a JSON beside it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use serde_json::Value;

use super::sniff::Container;
use super::{ImportError, ImportOptions, Progress};
use crate::graph::{Graph, NodeId};
use crate::tensor::Shape;

mod archive;
mod attributes;
mod config;
mod functional;
mod hdf5;
mod layers;
mod weights;

pub use layers::{SupportedLayer, supported_layers};

use archive::SourceBytes;
use config::{LayerConfig, ModelConfig, Root, invalid};
use functional::Builder;
use hdf5::{Hdf5Weights, WeightSource};
use weights::Layout;

/// What the container gave.
struct Parts {
    root: Root,
    source: Hdf5Weights,
    layout: Layout,
    version: Option<String>,
    container: &'static str,
}

pub(super) fn import(
    map: Mmap,
    container: Container,
    path: &str,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Graph, String), ImportError> {
    let map = Arc::new(map);
    let file_bytes = map.len() as u64;
    // A `.keras` is gone through twice: once for its checksums, once for the weights.
    let total_bytes = match container {
        Container::Zip => file_bytes * 2,
        Container::Hdf5 => file_bytes,
    };
    let mut report = |done: u64| {
        progress(Progress {
            done_bytes: done.min(total_bytes),
            total_bytes,
        });
    };
    let parts = match container {
        Container::Zip => from_archive(&map, path, options, &mut report)?,
        Container::Hdf5 => from_hdf5(&map, path, options)?,
    };
    check_classes(&parts.root.model)?;
    let weights = weights::resolve(&parts.root.model, &parts.source, parts.layout)?;
    let keras2 = match major(parts.version.as_deref()) {
        Some(major) => major < 3,
        None => !parts.root.keras3_style,
    };
    let checked = total_bytes - file_bytes;
    let mut loaded = |bytes: u64| report(checked + bytes);
    let mut builder = Builder::new(
        &parts.root.name,
        keras2,
        &parts.source,
        &weights,
        &options.limits,
        &mut loaded,
    );
    build(&mut builder, &parts.root.model, options)?;
    let graph = builder.graph;
    weights::check_unused(&parts.source, parts.layout, &weights)?;
    report(total_bytes);
    let version = parts.version.unwrap_or_else(|| {
        let guess = if keras2 { "2" } else { "3" };
        guess.into()
    });
    Ok((graph, format!("keras {version} ({})", parts.container)))
}

fn from_archive(
    map: &Arc<Mmap>,
    path: &str,
    options: &ImportOptions,
    checked: &mut dyn FnMut(u64),
) -> Result<Parts, ImportError> {
    if options.config.is_some() {
        return Err(ImportError::ConfigTwice { path: path.into() });
    }
    let archive = archive::open(map, &options.limits, checked)?;
    let root = config::parse(&archive.config, "`config.json`")?;
    let source = Hdf5Weights::open(archive.weights, &options.limits)?;
    let layout = Layout::find(&source)?.ok_or_else(|| ImportError::Hdf5 {
        place: "zip entry `model.weights.h5`".into(),
        message: "it has no group `layers`".into(),
    })?;
    let version = archive
        .metadata
        .and_then(|json| serde_json::from_slice::<Value>(&json).ok())
        .and_then(|v| v.get("keras_version")?.as_str().map(clean_version));
    Ok(Parts {
        root,
        source,
        layout,
        version,
        container: ".keras",
    })
}

fn from_hdf5(map: &Arc<Mmap>, path: &str, options: &ImportOptions) -> Result<Parts, ImportError> {
    let bytes = SourceBytes::Mapped(Arc::clone(map), 0..map.len());
    let source = Hdf5Weights::open(bytes, &options.limits)?;
    let one = |group: &str, attribute: &str| -> Result<Option<String>, ImportError> {
        Ok(source
            .strings(group, attribute)?
            .and_then(|list| list.into_iter().next()))
    };
    let embedded = one("", "model_config")?;
    let (root, container) = match (&embedded, &options.config) {
        (Some(_), Some(_)) => return Err(ImportError::ConfigTwice { path: path.into() }),
        (Some(json), None) => {
            check_config_size(json.len() as u64, options)?;
            let root = config::parse(json.as_bytes(), "attribute `model_config`")?;
            (root, ".h5")
        }
        (None, Some(config)) => {
            let json = read_config(config, options)?;
            let place = format!("`{}`", config.display());
            (config::parse(&json, &place)?, "weights .h5 with JSON")
        }
        (None, None) => return Err(ImportError::NeedsConfig { path: path.into() }),
    };
    let layout = Layout::find(&source)?.ok_or_else(|| ImportError::Hdf5 {
        place: format!("`{path}`"),
        message: "it has neither `layer_names` nor a group `layers`, so Keras did not write it"
            .into(),
    })?;
    let version = match one("", "keras_version")? {
        Some(version) => Some(version),
        None => one("model_weights", "keras_version")?,
    };
    // The formulas are those of the version that wrote the layers.
    let version = root.version.clone().or(version).map(|v| clean_version(&v));
    Ok(Parts {
        root,
        source,
        layout,
        version,
        container,
    })
}

/// A version goes into names and messages, so it is short and plain: `2.4.0`, `2.2.4-tf`.
fn clean_version(version: &str) -> String {
    version
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
        .take(24)
        .collect()
}

fn major(version: Option<&str>) -> Option<u32> {
    version?.split('.').next()?.parse().ok()
}

fn check_config_size(got: u64, options: &ImportOptions) -> Result<(), ImportError> {
    let limit = options.limits.max_config_bytes;
    if got <= limit {
        return Ok(());
    }
    Err(ImportError::TooLarge {
        what: "the model's configuration".into(),
        got,
        limit,
    })
}

fn read_config(path: &Path, options: &ImportOptions) -> Result<Vec<u8>, ImportError> {
    let io = |source| ImportError::Io {
        path: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let mut json = Vec::new();
    file.take(options.limits.max_config_bytes.saturating_add(1))
        .read_to_end(&mut json)
        .map_err(io)?;
    check_config_size(json.len() as u64, options)?;
    Ok(json)
}

fn check_classes(model: &ModelConfig) -> Result<(), ImportError> {
    for layer in &model.layers {
        layers::check_class(layer)?;
        if let Some(model) = &layer.model {
            check_classes(model)?;
        }
    }
    Ok(())
}

fn build<'a>(
    builder: &mut Builder<'a>,
    model: &'a ModelConfig,
    options: &ImportOptions,
) -> Result<(), ImportError> {
    if model.outputs.len() > 1 {
        return Err(ImportError::Outputs {
            names: model.outputs.iter().map(|t| t.layer.clone()).collect(),
        });
    }
    let mut sizes = InputSizes {
        asked: options.input_size,
        used: false,
    };
    let mut inputs = Vec::new();
    if model.inputs.is_empty() {
        inputs.push(implied_input(builder, model, &mut sizes)?);
    }
    for input in &model.inputs {
        let layer = model
            .layers
            .iter()
            .find(|l| l.name == input.layer && l.class == "InputLayer")
            .ok_or_else(|| {
                invalid(
                    "the model",
                    format!("its input `{}` is no InputLayer", input.layer),
                )
            })?;
        let shape = sizes.shape(&layer.name, input_shape(layer).as_deref())?;
        inputs.push(builder.push_input(layer, shape)?);
    }
    if let (Some([h, w]), false) = (options.input_size, sizes.used) {
        let first = inputs.first().map(|&id| builder.graph.node(id));
        return Err(ImportError::InputSize {
            input: first.map_or_else(String::new, |n| n.name.clone()),
            shape: first.map_or_else(String::new, |n| n.shape.to_string()),
            message: format!("it is fixed, so a size of {h}x{w} must not be given"),
        });
    }
    let outputs = builder.model(model, "", &inputs, "the model")?;
    let [output] = outputs.as_slice() else {
        return Err(ImportError::Outputs {
            names: outputs
                .iter()
                .map(|&id| builder.graph.node(id).name.clone())
                .collect(),
        });
    };
    builder
        .graph
        .set_output(*output)
        .map_err(|e| invalid("the model", e.to_string()))
}

/// `batch_shape` is Keras 3, `batch_input_shape` Keras 2; both include the batch axis.
fn input_shape(layer: &LayerConfig) -> Option<Vec<Option<usize>>> {
    ["batch_shape", "batch_input_shape"]
        .iter()
        .find_map(|key| config::open_shape(layer.attributes.get(*key)?))
}

/// A Sequential without an `InputLayer`: the shape stands with the first layer, or with the model.
fn implied_input(
    builder: &mut Builder,
    model: &ModelConfig,
    sizes: &mut InputSizes,
) -> Result<NodeId, ImportError> {
    let mut first = model.layers.first();
    let mut shape = None;
    while let Some(layer) = first
        && shape.is_none()
    {
        shape = input_shape(layer).or_else(|| layer.model.as_ref()?.built_for.clone());
        first = match &layer.model {
            Some(model) => match model.inputs.first() {
                Some(input) => model.layers.iter().find(|l| l.name == input.layer),
                None => model.layers.first(),
            },
            None => None,
        };
    }
    let Some(first) = model.layers.first() else {
        return Err(invalid("the model", "it has no layers".into()));
    };
    let shape = shape.or_else(|| model.built_for.clone());
    let shape = sizes.shape(&first.name, shape.as_deref())?;
    // The name that Keras 2 gives to such an input.
    let named = LayerConfig {
        class: "InputLayer".into(),
        name: format!("{}_input", first.name),
        path: format!("{}_input", first.name),
        operation: false,
        attributes: Default::default(),
        calls: Vec::new(),
        model: None,
        shared_id: None,
    };
    builder.push_input(&named, shape)
}

/// Completes open input shapes.
struct InputSizes {
    asked: Option<[usize; 2]>,
    used: bool,
}

impl InputSizes {
    /// The shape without the batch axis.
    fn shape(
        &mut self,
        input: &str,
        batch_shape: Option<&[Option<usize>]>,
    ) -> Result<Shape, ImportError> {
        let refuse = |shape: String, message: &str| ImportError::InputSize {
            input: input.to_owned(),
            shape,
            message: message.to_owned(),
        };
        let Some([_, open @ ..]) = batch_shape else {
            return Err(refuse(
                "unknown".into(),
                "the file does not say for which input the model was built",
            ));
        };
        let shown = open
            .iter()
            .map(|d| d.map_or_else(|| "None".to_owned(), |n| n.to_string()))
            .collect::<Vec<_>>()
            .join(", ");
        let shown = format!("[{shown}]");
        match *open {
            [Some(h), Some(w), Some(c)] => {
                if let Some(asked) = self.asked
                    && asked == [h, w]
                {
                    self.used = true;
                }
                Ok([h, w, c].into())
            }
            [h, w, Some(c)] => {
                let Some([asked_h, asked_w]) = self.asked else {
                    return Err(refuse(shown, "rows and columns are not known"));
                };
                if h.is_some_and(|h| h != asked_h) || w.is_some_and(|w| w != asked_w) {
                    let message = format!("it does not fit a size of {asked_h}x{asked_w}");
                    return Err(refuse(shown, &message));
                }
                self.used = true;
                Ok([asked_h, asked_w, c].into())
            }
            _ => match open.iter().copied().collect::<Option<Vec<_>>>() {
                Some(dims) if !dims.is_empty() => Ok(Shape::new(&dims)),
                _ => Err(refuse(shown, "its extents must be fixed")),
            },
        }
    }
}
