//! What each Keras layer becomes in the graph: a file a family.
//!
//! [`LAYERS`] is the one list: what it does not name is refused by class and path.

use crate::graph::NodeId;
use crate::import::ImportError;

use super::attributes::Attributes;
use super::config::LayerConfig;
use super::functional::{Builder, LayerCall};

mod activation;
mod conv;
mod merge;
mod normalization;
mod operation;
mod pool;
mod shape;

/// A layer class that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedLayer {
    /// Its class in Keras; `tf.*` and `keras.ops.*` are functions called on tensors.
    pub class: &'static str,
    /// What it becomes.
    pub becomes: &'static str,
    /// What of it is not supported, or empty.
    pub limits: &'static str,
}

type Emit = fn(&mut Builder, &LayerCall) -> Result<NodeId, ImportError>;

struct Family {
    layer: SupportedLayer,
    emit: Emit,
}

const fn family(
    class: &'static str,
    becomes: &'static str,
    limits: &'static str,
    emit: Emit,
) -> Family {
    Family {
        layer: SupportedLayer {
            class,
            becomes,
            limits,
        },
        emit,
    }
}

const NHWC: &str = "channels_last";
const NO_NODE: &str = "nothing (training only)";

/// Built-in layers that do nothing at inference; checked one by one against Keras.
const IDENTITIES: &[&str] = &[
    "ActivityRegularization",
    "AlphaDropout",
    "AugMix",
    "CutMix",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
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
    "SpatialDropout2D",
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
        "GlobalAveragePooling2D",
        "GlobalAveragePool",
        NHWC,
        pool::global,
    ),
    family("GlobalMaxPooling2D", "GlobalMaxPool", NHWC, pool::global),
    family("LeakyReLU", "Activation", "", activation::leaky_relu),
    family("MaxPooling2D", "MaxPool", NHWC, pool::window),
    family("Maximum", "Max", "", merge::binary),
    family("Minimum", "Min", "", merge::binary),
    family("Multiply", "Mul", "", merge::binary),
    family(
        "Normalization",
        "ScaleShift",
        "last axis",
        normalization::normalization,
    ),
    family("PReLU", "PRelu", "", activation::prelu),
    family("Permute", "Transpose", "", shape::permute),
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
    family("Softmax", "Softmax", "last axis", activation::softmax),
    family("Subtract", "Sub", "", merge::binary),
    family(
        "SyncBatchNormalization",
        "ScaleShift",
        "last axis",
        normalization::batch,
    ),
    family(
        "UpSampling2D",
        "Resize",
        "bilinear or nearest",
        shape::up_sampling,
    ),
    family("ZeroPadding2D", "Pad", NHWC, shape::pad),
];

/// The classes that [`crate::import::import`] knows, in alphabetical order, then the functions.
#[must_use]
pub fn supported_layers() -> Vec<SupportedLayer> {
    let identities = IDENTITIES.iter().map(|class| SupportedLayer {
        class,
        becomes: NO_NODE,
        limits: "",
    });
    let inlined = ["Functional", "Sequential"].map(|class| SupportedLayer {
        class,
        becomes: "its layers",
        limits: "no subclasses of Model",
    });
    let input = SupportedLayer {
        class: "InputLayer",
        becomes: "Input",
        limits: "",
    };
    let mut list: Vec<_> = LAYERS
        .iter()
        .map(|f| f.layer)
        .chain(identities)
        .chain(inlined)
        .chain([input])
        .collect();
    list.sort_unstable_by_key(|l| l.class);
    list.extend(operation::supported());
    list
}

/// A variable of a layer, in the order in which Keras stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) trainable: bool,
}

/// The variables of a layer that is no model.
pub(super) fn variables(layer: &LayerConfig) -> Result<Vec<Variable>, ImportError> {
    if layer.operation {
        return Ok(Vec::new());
    }
    let attributes = Attributes::new(layer);
    let mut list = Vec::new();
    let mut add = |name, trainable| list.push(Variable { name, trainable });
    match layer.class.as_str() {
        "Conv2D" | "Dense" => add("kernel", true),
        "DepthwiseConv2D" => add("depthwise_kernel", true),
        "SeparableConv2D" => {
            add("depthwise_kernel", true);
            add("pointwise_kernel", true);
        }
        "BatchNormalization" | "SyncBatchNormalization" => {
            if attributes.flag("scale", true)? {
                add("gamma", true);
            }
            if attributes.flag("center", true)? {
                add("beta", true);
            }
            add("moving_mean", false);
            add("moving_variance", false);
        }
        "Normalization" if attributes.get("mean").is_none() => {
            add("mean", false);
            add("variance", false);
            add("count", false);
        }
        "PReLU" => add("alpha", true),
        _ => {}
    }
    let may_have_bias = matches!(
        layer.class.as_str(),
        "Conv2D" | "Dense" | "DepthwiseConv2D" | "SeparableConv2D"
    );
    if may_have_bias && attributes.flag("use_bias", true)? {
        list.push(Variable {
            name: "bias",
            trainable: true,
        });
    }
    Ok(list)
}

/// Whether the class can be imported at all: asked for every layer before weights are looked for.
pub(super) fn check_class(layer: &LayerConfig) -> Result<(), ImportError> {
    let class = layer.class.as_str();
    let known = if layer.operation || operation::is_function(class) {
        operation::is_supported(layer)
    } else {
        layer.model.is_some()
            || class == "InputLayer"
            || IDENTITIES.contains(&class)
            || LAYERS.iter().any(|f| f.layer.class == class)
    };
    if known {
        return Ok(());
    }
    Err(ImportError::UnsupportedLayer {
        path: layer.path.clone(),
        class: operation::shown_class(layer),
    })
}

/// Whether the layer reads the keyword arguments of its calls.
pub(super) fn takes_call_arguments(layer: &LayerConfig) -> bool {
    layer.operation || operation::is_function(&layer.class)
}

/// Appends the layer's nodes; returns the one with its output.
pub(super) fn emit(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let class = call.layer.class.as_str();
    if takes_call_arguments(call.layer) {
        return operation::emit(builder, call);
    }
    if IDENTITIES.contains(&class) {
        // Their attributes only matter in training.
        return call.input();
    }
    match LAYERS.iter().find(|f| f.layer.class == class) {
        Some(family) => (family.emit)(builder, call),
        None => Err(ImportError::UnsupportedLayer {
            path: call.layer.path.clone(),
            class: class.to_owned(),
        }),
    }
}
