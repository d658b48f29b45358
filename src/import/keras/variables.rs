//! The variables of each layer, in the order in which Keras stores them.

use super::attributes::Attributes;
use super::config::LayerConfig;
use crate::import::error::ImportError;

/// A variable of a layer, in the order in which Keras stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) trainable: bool,
    /// The layer inside this one that it belongs to, or empty.
    pub(super) part: &'static str,
}

/// Kernel and bias of each layer inside a `MultiHeadAttention`: the part, and the variables' names.
const ATTENTION: [(&str, [&str; 2]); 4] = [
    ("query_dense", ["query_kernel", "query_bias"]),
    ("key_dense", ["key_kernel", "key_bias"]),
    ("value_dense", ["value_kernel", "value_bias"]),
    ("output_dense", ["output_kernel", "output_bias"]),
];

/// The variables of a layer that is not a model.
pub(super) fn variables(layer: &LayerConfig) -> Result<Vec<Variable>, ImportError> {
    if layer.operation {
        return Ok(Vec::new());
    }
    let attributes = Attributes::new(layer);
    let mut list = Vec::new();
    let mut add = |name, trainable| {
        list.push(Variable {
            name,
            trainable,
            part: "",
        });
    };
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
        "GroupNormalization" | "LayerNormalization" => {
            if attributes.flag("scale", true)? {
                add("gamma", true);
            }
            if attributes.flag("center", true)? {
                add("beta", true);
            }
        }
        "LayerScale" => add("layer_scale", true),
        "MultiHeadAttention" => {
            let bias = attributes.flag("use_bias", true)?;
            let parts = ATTENTION.iter().flat_map(|&(part, names)| {
                let names = names.into_iter().take(1 + usize::from(bias));
                names.map(move |name| Variable {
                    name,
                    trainable: true,
                    part,
                })
            });
            return Ok(parts.collect());
        }
        "PReLU" => add("alpha", true),
        "RMSNormalization" => add("scale", true),
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
            part: "",
        });
    }
    Ok(list)
}
