//! How each Keras layer is imported, with a file for each family.
//!
//! [`LAYERS`] is the only list: a layer that it does not name is refused by class and path.

use super::call::{Builder, LayerCall};
use super::config::{LayerConfig, is_fixed_dropout, place};
use super::order::{Order, is_channels_first, names_first_axis};
use crate::graph::NodeId;
use crate::import::error::ImportError;
use crate::import::ops::SupportedOp;

mod activation;
mod attention;
mod conv;
mod merge;
mod normalization;
mod operation;
mod pool;
mod shape;
mod window;

type Emit = fn(&mut Builder, &LayerCall) -> Result<NodeId, ImportError>;

struct Family {
    op: SupportedOp,
    emit: Emit,
}

const fn op(name: &'static str, becomes: &'static str, limits: &'static str) -> SupportedOp {
    SupportedOp {
        format: "keras",
        name,
        becomes,
        limits,
    }
}

const fn family(
    class: &'static str,
    becomes: &'static str,
    limits: &'static str,
    emit: Emit,
) -> Family {
    Family {
        op: op(class, becomes, limits),
        emit,
    }
}

/// Layers that read `data_format`.
const NHWC: &str = "channels_last or channels_first";
/// A layer that is called with several tensors by name.
const ATTENTION: &str = "MultiHeadAttention";
const NO_NODE: &str = "nothing (training only)";

/// Built-in layers that do nothing at inference. Each was checked against Keras.
const IDENTITIES: &[&str] = &[
    "ActivityRegularization",
    "AlphaDropout",
    "AugMix",
    "CutMix",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "MaxNumBoundingBoxes",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHeight",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "Solarization",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "StochasticDepth",
];

const LAYERS: &[Family] = &[
    family("Activation", "Activation or Softmax", "", activation::named),
    family("Add", "Add", "", merge::binary),
    family("Average", "Add, ScaleShift", "", merge::average),
    family("AveragePooling2D", "AveragePool", NHWC, pool::window),
    family(
        "BatchNormalization",
        "ScaleShift",
        "last axis, no renorm",
        normalization::batch,
    ),
    family(
        "CenterCrop",
        "Crop",
        "input at least the crop",
        shape::center_crop,
    ),
    family("Concatenate", "Concat", "", merge::concatenate),
    family("Conv2D", "Conv", NHWC, conv::conv2d),
    family("Cropping2D", "Crop", NHWC, shape::crop),
    family("Dense", "Gemm", "", conv::dense),
    family("DepthwiseConv2D", "DepthwiseConv", NHWC, conv::depthwise),
    family("ELU", "Activation", "", activation::elu),
    family("Flatten", "Reshape", NHWC, shape::flatten),
    family(
        "GlobalAveragePooling1D",
        "ReduceMean",
        "of tokens",
        pool::of_tokens,
    ),
    family(
        "GlobalAveragePooling2D",
        "GlobalAveragePool",
        NHWC,
        pool::global,
    ),
    family(
        "GlobalMaxPooling1D",
        "ReduceMax",
        "of tokens",
        pool::of_tokens,
    ),
    family("GlobalMaxPooling2D", "GlobalMaxPool", NHWC, pool::global),
    family(
        "GroupNormalization",
        "LayerNormalization, Transpose",
        "last axis",
        normalization::group,
    ),
    family(
        "LayerNormalization",
        "LayerNormalization",
        "the last axis or axes, no rms_scaling",
        normalization::layer,
    ),
    family(
        "LayerScale",
        "ScaleShift",
        "of ConvNeXt",
        normalization::layer_scale,
    ),
    family("LeakyReLU", "Activation", "", activation::leaky_relu),
    family("MaxPooling2D", "MaxPool", NHWC, pool::window),
    family("Maximum", "Max", "", merge::binary),
    family("Minimum", "Min", "", merge::binary),
    family(
        "MultiHeadAttention",
        "Gemm, MatMul, Softmax, Transpose",
        "all tokens, no masks, no gate",
        attention::multi_head,
    ),
    family("Multiply", "Mul", "", merge::binary),
    family(
        "Normalization",
        "ScaleShift",
        "last axis",
        normalization::normalization,
    ),
    family("PReLU", "PRelu", "", activation::prelu),
    family("Permute", "Transpose", "", shape::permute),
    family(
        "RMSNormalization",
        "ReduceMean, Div, ScaleShift",
        "last axis",
        normalization::root_mean_square,
    ),
    family(
        "RandomCrop",
        NO_NODE,
        "of the input's own size",
        shape::random_crop,
    ),
    family("ReLU", "Activation", "", activation::relu),
    family("Rescaling", "ScaleShift", "", normalization::rescaling),
    family("Reshape", "Reshape", "", shape::reshape),
    family(
        "Resizing",
        "Resize",
        "bilinear or nearest, no antialias, no cropping or padding",
        shape::resizing,
    ),
    family(
        "SeparableConv2D",
        "DepthwiseConv, Conv",
        NHWC,
        conv::separable,
    ),
    family("Softmax", "Softmax", "one axis", activation::softmax),
    family("Subtract", "Sub", "", merge::binary),
    family(
        "SyncBatchNormalization",
        "ScaleShift",
        "last axis",
        normalization::batch,
    ),
    family(
        "UnitNormalization",
        "ReduceL2, Div",
        "last axis",
        normalization::unit,
    ),
    family(
        "UpSampling2D",
        "Resize",
        "bilinear or nearest",
        shape::up_sampling,
    ),
    family("ZeroPadding2D", "Pad", NHWC, shape::pad),
];

/// The classes that the importer knows, in alphabetical order, then the functions.
pub(in crate::import) fn supported_ops() -> Vec<SupportedOp> {
    let identities = IDENTITIES.iter().map(|class| op(class, NO_NODE, ""));
    let inlined =
        ["Functional", "Sequential"].map(|class| op(class, "its layers", "no subclasses of Model"));
    let others = [
        op("FixedDropout", NO_NODE, "with the options of Dropout"),
        op("InputLayer", "Input", ""),
        op("Pipeline", "its layers", ""),
    ];
    let mut list: Vec<_> = LAYERS
        .iter()
        .map(|f| f.op)
        .chain(identities)
        .chain(inlined)
        .chain(others)
        .collect();
    list.sort_unstable_by_key(|op| op.name);
    let functions = operation::supported().map(|[name, becomes, limits]| op(name, becomes, limits));
    list.extend(functions);
    list
}

/// Whether the class can be imported at all. This is checked for every layer before weights are
/// looked for.
pub(super) fn check_class(layer: &LayerConfig) -> Result<(), ImportError> {
    let class = layer.class.as_str();
    let known = if layer.operation || operation::is_function(class) {
        operation::is_supported(layer)
    } else {
        layer.model.is_some()
            || class == "InputLayer"
            || is_fixed_dropout(class, &layer.attributes)
            || IDENTITIES.contains(&class)
            || LAYERS.iter().any(|f| f.op.name == class)
    };
    if known {
        return Ok(());
    }
    Err(place(&layer.path, &operation::shown_class(layer)).unsupported())
}

/// In which order a layer wants its inputs, in a model with `channels_first` layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// As they are in the file.
    FileOrder,
    /// Any, if all have the same: its function does not know axes.
    AnyOrder,
    /// A map in the order of its `data_format`.
    Format,
    /// A map if `axis` names the first one.
    ChannelAxis,
    /// It sees to that itself.
    Own,
}

/// A layer that is not named here gets what the file says, which is always right.
fn wants(layer: &LayerConfig) -> Wants {
    let class = layer.class.as_str();
    if layer.operation || operation::is_function(class) {
        return Wants::FileOrder;
    }
    match class {
        "AveragePooling2D"
        | "CenterCrop"
        | "Conv2D"
        | "Cropping2D"
        | "DepthwiseConv2D"
        | "GlobalAveragePooling2D"
        | "GlobalMaxPooling2D"
        | "MaxPooling2D"
        | "RandomCrop"
        | "Resizing"
        | "SeparableConv2D"
        | "UpSampling2D"
        | "ZeroPadding2D" => Wants::Format,
        "BatchNormalization"
        | "LayerNormalization"
        | "Normalization"
        | "SyncBatchNormalization" => Wants::ChannelAxis,
        "Concatenate" | "Dense" | "Flatten" | "PReLU" | "Permute" => Wants::Own,
        "Activation" if !activation::is_softmax(layer) => Wants::AnyOrder,
        "Rescaling" if normalization::is_scalar(layer) => Wants::AnyOrder,
        "Add" | "Average" | "ELU" | "LeakyReLU" | "Maximum" | "Minimum" | "Multiply" | "ReLU"
        | "Subtract" => Wants::AnyOrder,
        _ if IDENTITIES.contains(&class) || is_fixed_dropout(class, &layer.attributes) => {
            Wants::AnyOrder
        }
        _ => Wants::FileOrder,
    }
}

/// Whether the layer reads the keyword arguments of its calls.
pub(super) fn takes_call_arguments(layer: &LayerConfig) -> bool {
    layer.operation || operation::is_function(&layer.class) || layer.class == ATTENTION
}

/// Appends the layer's nodes, with its inputs in the order that it wants; returns the one with its
/// output.
pub(super) fn emit(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    if !builder.channels_first {
        return emit_as_given(builder, call);
    }
    let site = &call.site;
    let given = call.inputs();
    let first = is_channels_first(call.layer);
    let wants = wants(call.layer);
    let ids = match wants {
        Wants::Own => given,
        Wants::AnyOrder => builder.in_one_order(call, &given)?,
        Wants::FileOrder | Wants::Format | Wants::ChannelAxis => {
            let mut ids = Vec::with_capacity(given.len());
            for id in given {
                let rank = builder.shape(id).rank();
                let map = match wants {
                    Wants::Format => first,
                    Wants::ChannelAxis => rank == 3 && names_first_axis(call.layer, rank),
                    _ => false,
                };
                ids.push(if map {
                    builder.as_map(site, id)?
                } else {
                    builder.in_file_order(site, id)?
                });
            }
            ids
        }
    };
    let mut ids = ids.into_iter();
    let args = call.args.iter().map(|arg| arg.with(&mut ids)).collect();
    let mut kwargs = Vec::with_capacity(call.kwargs.len());
    for (key, operand) in &call.kwargs {
        let mut nodes = Vec::new();
        operand.nodes(&mut nodes);
        for id in &mut nodes {
            *id = builder.in_file_order(site, *id)?;
        }
        kwargs.push((key.clone(), operand.with(&mut nodes.into_iter())));
    }
    let call = LayerCall {
        layer: call.layer,
        site: site.clone(),
        args,
        kwargs,
    };
    let inputs = call.inputs();
    let made = emit_as_given(builder, &call)?;
    if inputs.contains(&made) || builder.orders.knows(made) {
        return Ok(made);
    }
    let order = match wants {
        Wants::AnyOrder | Wants::ChannelAxis => {
            inputs.first().map_or(Order::File, |&id| builder.order(id))
        }
        Wants::Format if first => Order::Map,
        _ => Order::File,
    };
    // A pool over all rows and columns leaves a vector.
    if order != Order::Map || builder.shape(made).rank() == 3 {
        builder.set_order(made, order);
    }
    Ok(made)
}

fn emit_as_given(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let class = call.layer.class.as_str();
    if call.layer.operation || operation::is_function(class) {
        return operation::emit(builder, call);
    }
    if IDENTITIES.contains(&class) || is_fixed_dropout(class, &call.layer.attributes) {
        // Their attributes only matter in training.
        return call.input();
    }
    match LAYERS.iter().find(|f| f.op.name == class) {
        Some(family) => (family.emit)(builder, call),
        None => Err(call.site.place.unsupported()),
    }
}
