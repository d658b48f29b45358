//! Keras files: `.keras`, `.h5` with configuration, `.h5` of weights with a JSON beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::archive::{self, Archive};
use super::builder::{GraphBuilder, Site};
use super::bytes::SourceBytes;
use super::error::{ImportError, Place, UnsupportedOperator, invalid};
use super::input_size::InputSizes;
use super::options::{ImportOptions, Imported, LabelsFile, Progress};
use super::sniff::KerasFile;
use crate::graph::NodeId;

mod attributes;
mod call;
mod compile;
mod config;
mod functional;
mod hdf5;
mod layers;
mod order;
mod variables;
mod weights;

pub(super) use layers::supported_ops;

use call::Builder;
use config::{LayerConfig, ModelConfig, Root};
use functional::Walker;
use hdf5::Hdf5Weights;
use order::Order;
use weights::Layout;

/// Most bytes of a file of class names.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// The content of the container.
struct Parts {
    root: Root,
    source: Hdf5Weights,
    layout: Layout,
    version: Option<String>,
    container: &'static str,
    labels: Option<LabelsFile>,
}

/// Imports from the bytes of a file and the facts about its container.
pub(super) fn import(
    container: KerasFile,
    bytes: &SourceBytes,
    path: &str,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let file_bytes = bytes.as_ref().len() as u64;
    // A zip is read twice: once for its checksums, once for the weights.
    let total_bytes = match container {
        KerasFile::Archive(_) | KerasFile::Packed { .. } => file_bytes * 2,
        KerasFile::Hdf5 => file_bytes,
    };
    let mut report = |done: u64| {
        progress(Progress {
            done_bytes: done.min(total_bytes),
            total_bytes,
        });
    };
    let parts = parts_of(container, bytes, path, options, &mut report)?;
    check_layers(&parts.root.model)?;
    let weights = weights::resolve(&parts.root.model, &parts.source, parts.layout)?;
    let keras2 = match major(parts.version.as_deref()) {
        Some(major) => major < 3,
        None => !parts.root.keras3_style,
    };
    let checked = total_bytes - file_bytes;
    let mut loaded = |bytes: u64| report(checked + bytes);
    let graph = GraphBuilder::new(&parts.root.name, &options.limits, &mut loaded);
    let mut builder = Builder::new(graph, keras2, &parts.source, &weights);
    builder.channels_first = order::has_channels_first(&parts.root.model);
    let outputs = build(&mut builder, &parts.root.model, options)?;
    let asked = options.output.as_deref();
    let (graph, chosen) = builder.graph.finish(&outputs, asked, "the model")?;
    weights::check_unused(&parts.source, parts.layout, &weights)?;
    report(total_bytes);
    let version = parts.version.unwrap_or_else(|| {
        let guess = if keras2 { "2" } else { "3" };
        guess.into()
    });
    let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    Ok(Imported {
        graph,
        loss: parts
            .root
            .losses
            .as_ref()
            .and_then(|losses| losses.of(chosen, &names)),
        source_format: format!("keras {version} ({})", parts.container),
        source_bytes: file_bytes,
        labels: parts.labels,
        preset: None,
        recipe: None,
        likely_preset: None,
        stated: super::options::Stated::default(),
        also_read: Vec::new(),
    })
}

fn from_archive(
    mut archive: Archive,
    path: &str,
    options: &ImportOptions,
    checked: &mut dyn FnMut(u64),
) -> Result<Parts, ImportError> {
    if options.config.is_some() {
        return Err(ImportError::ConfigTwice { path: path.into() });
    }
    if !archive.has("model.weights.h5") {
        let message = if archive.has("model.weights.npz") {
            "its weights are `model.weights.npz`, which is not supported: save it with h5py installed"
        } else {
            "it has no `model.weights.h5`"
        };
        return Err(ImportError::Archive {
            place: "the zip archive".into(),
            message: message.into(),
        });
    }
    let metadata = if archive.has("metadata.json") {
        Some(archive.small("metadata.json", 1 << 20)?)
    } else {
        None
    };
    let config = archive.small("config.json", options.limits.max_config_bytes)?;
    // The HDF5 file may also hold the optimizer's state, twice the weights for Adam.
    let limit = options.limits.max_weight_bytes.saturating_mul(4);
    let weights = archive.large("model.weights.h5", limit, checked)?;
    let root = config::parse(&config, "`config.json`")?;
    let source = Hdf5Weights::open(weights, &options.limits)?;
    let layout = Layout::find(&source)?.ok_or_else(|| ImportError::Hdf5 {
        place: archive::place("model.weights.h5"),
        message: "it has no group `layers`".into(),
    })?;
    let version = metadata
        .and_then(|json| serde_json::from_slice::<Value>(&json).ok())
        .and_then(|v| v.get("keras_version")?.as_str().map(clean_version));
    Ok(Parts {
        root,
        source,
        layout,
        version,
        container: ".keras",
        labels: None,
    })
}

/// An `.h5` in a zip, with the names of its classes.
fn from_packed(
    mut archive: Archive,
    model: &str,
    labels: Option<String>,
    options: &ImportOptions,
    checked: &mut dyn FnMut(u64),
) -> Result<Parts, ImportError> {
    let labels = match labels {
        Some(name) => {
            let bytes = archive.small(&name, MAX_LABEL_BYTES)?;
            Some(LabelsFile { name, bytes })
        }
        None => None,
    };
    let limit = options.limits.max_weight_bytes.saturating_mul(4);
    let bytes = archive.large(model, limit, checked)?;
    let mut parts = from_hdf5(bytes, model, options)?;
    parts.labels = labels;
    parts.container = ".h5 in a zip";
    Ok(parts)
}

fn from_hdf5(
    bytes: SourceBytes,
    path: &str,
    options: &ImportOptions,
) -> Result<Parts, ImportError> {
    let source = Hdf5Weights::open(bytes, &options.limits)?;
    let one = |group: &str, attribute: &str| -> Result<Option<String>, ImportError> {
        Ok(source
            .strings(group, attribute)?
            .and_then(|list| list.into_iter().next()))
    };
    let embedded = one("", "model_config")?;
    let (mut root, container) = match (&embedded, &options.config) {
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
    if let Some(training) = one("", "training_config")? {
        check_config_size(training.len() as u64, options)?;
        root.losses = root.losses.or_else(|| compile::losses_of_text(&training));
    }
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
        labels: None,
    })
}

/// A version is part of names and messages, so it is short and plain: `2.4.0`, `2.2.4-tf`.
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

/// Refuses models that no weights could save: unknown classes, and layers that Keras has quantized.
fn check_layers(model: &ModelConfig) -> Result<(), ImportError> {
    for layer in &model.layers {
        layers::check_class(layer)?;
        if let Some(form) = attributes::quantization(layer) {
            return Err(ImportError::Quantized {
                place: layer.place(),
                form,
            });
        }
        if let Some(model) = &layer.model {
            check_layers(model)?;
        }
    }
    Ok(())
}

/// All layers of a file that are not supported, by class.
pub(super) fn unsupported(
    container: KerasFile,
    bytes: &SourceBytes,
    path: &str,
    options: &ImportOptions,
) -> Result<Vec<UnsupportedOperator>, ImportError> {
    let parts = match parts_of(container, bytes, path, options, &mut |_| {}) {
        Ok(parts) => parts,
        // A class from outside of Keras ends the reading of the layers.
        Err(ImportError::UnsupportedLayer { place }) => {
            return Ok(vec![UnsupportedOperator {
                name: place.class,
                note: "not a layer of Keras",
                count: 1,
                example: place.name,
            }]);
        }
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    collect_unsupported(&parts.root.model, &mut found);
    Ok(found.into_values().collect())
}

fn collect_unsupported(model: &ModelConfig, found: &mut BTreeMap<String, UnsupportedOperator>) {
    for layer in &model.layers {
        if let Err(ImportError::UnsupportedLayer { place }) = layers::check_class(layer) {
            let entry = found.entry(place.class.clone());
            let operator = entry.or_insert(UnsupportedOperator {
                name: place.class,
                note: "",
                count: 0,
                example: place.name,
            });
            operator.count += 1;
        }
        if let Some(model) = &layer.model {
            collect_unsupported(model, found);
        }
    }
}

/// Layers, weights and labels of a file.
fn parts_of(
    container: KerasFile,
    bytes: &SourceBytes,
    path: &str,
    options: &ImportOptions,
    report: &mut dyn FnMut(u64),
) -> Result<Parts, ImportError> {
    match container {
        KerasFile::Archive(archive) => from_archive(archive, path, options, report),
        KerasFile::Hdf5 => from_hdf5(bytes.clone(), path, options),
        KerasFile::Packed {
            archive,
            model,
            labels,
        } => from_packed(archive, &model, labels, options, report),
    }
}

/// Builds the graph, and returns its outputs, each with a unique name.
fn build<'a>(
    builder: &mut Builder<'a>,
    model: &'a ModelConfig,
    options: &ImportOptions,
) -> Result<Vec<(String, NodeId)>, ImportError> {
    let mut sizes = InputSizes::new(options.input_size);
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
                    format!("its input `{}` is not an InputLayer", input.layer),
                )
            })?;
        let shape = input_shape(layer);
        inputs.push(push_input(
            builder,
            model,
            (&layer.place(), &layer.name),
            (&layer.name, shape.as_deref()),
            &mut sizes,
        )?);
    }
    sizes.check_used(inputs.first().map(|&id| builder.graph.node(id)))?;
    let mut values = Walker::new(builder).model(model, "", &inputs, "the model")?;
    for id in &mut values {
        let name = builder.graph.node(*id).name.clone();
        let site = Site {
            place: config::place(&name, "InputLayer"),
            constants: name.clone(),
            name,
        };
        *id = builder.in_file_order(&site, *id)?;
    }
    let mut names: Vec<String> = Vec::with_capacity(values.len());
    for (i, &id) in values.iter().enumerate() {
        let named = model.outputs.get(i);
        let name = named.map_or_else(|| builder.graph.node(id).name.clone(), |o| o.key.clone());
        let count = names
            .iter()
            .filter(|n| **n == name || n.starts_with(&format!("{name}:")))
            .count();
        names.push(match count {
            0 => name,
            n => format!("{name}:{n}"),
        });
    }
    Ok(names.into_iter().zip(values).collect())
}

/// `batch_shape` is Keras 3, `batch_input_shape` Keras 2; both include the batch axis.
fn input_shape(layer: &LayerConfig) -> Option<Vec<Option<usize>>> {
    ["batch_shape", "batch_input_shape"]
        .iter()
        .find_map(|key| config::open_shape(layer.attributes.get(*key)?))
}

/// A Sequential without an `InputLayer`: the first layer or the model has the shape.
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
    // The name that Keras 2 gives to such an input.
    let name = format!("{}_input", first.name);
    let place = config::place(&name, "InputLayer");
    push_input(
        builder,
        model,
        (&place, &name),
        (&first.name, shape.as_deref()),
        sizes,
    )
}

/// Appends an input, named in the graph and in errors. Photos are stored channels last.
fn push_input(
    builder: &mut Builder,
    model: &ModelConfig,
    (place, name): (&Place, &str),
    (shown, shape): (&str, Option<&[Option<usize>]>),
    sizes: &mut InputSizes,
) -> Result<NodeId, ImportError> {
    let turned = shape.and_then(|shape| order::photo_with_channels_last(model, shape));
    let shape = sizes.shape(shown, turned.as_deref().or(shape))?;
    let id = builder.graph.push_input(place, name, shape)?;
    if turned.is_some() {
        builder.set_order(id, Order::Map);
    }
    Ok(id)
}
