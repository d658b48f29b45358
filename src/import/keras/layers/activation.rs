//! Activations: as layers, by name, and as the `activation` of another layer.

use serde_json::{Map, Value};

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall};
use super::super::config::{LayerConfig, is_keras_module};
use super::super::order::{Order, in_map_order, is_channels_first};
use crate::activation::Activation;
use crate::graph::{NodeId, Op};
use crate::import::error::{ImportError, LAMBDA};
use crate::import::functions::{self, narrow};

/// An elementwise function, or softmax, which is not elementwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Elementwise(Activation),
    Softmax,
}

/// The functions of `keras.activations`; `None` for an unknown name.
pub(super) fn by_name(name: &str, keras2: bool) -> Option<Function> {
    let activation = match name {
        "linear" => Activation::Linear,
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        // The default of `keras.activations.leaky_relu`, not that of the layer.
        "leaky_relu" => Activation::LeakyRelu { slope: 0.2 },
        "sigmoid" => Activation::Sigmoid,
        "hard_sigmoid" if keras2 => Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        "hard_sigmoid" => Activation::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        "swish" | "silu" => Activation::Silu,
        "hard_swish" | "hard_silu" => Activation::HardSwish,
        "tanh" => Activation::Tanh,
        // CELU and ELU are one function at alpha 1.
        "elu" | "celu" => Activation::Elu { alpha: 1.0 },
        "selu" => Activation::Selu,
        "gelu" => Activation::Gelu,
        "softplus" => Activation::Softplus,
        "softsign" => Activation::Softsign,
        "exponential" => Activation::Exp,
        "mish" => Activation::Mish,
        "softmax" => return Some(Function::Softmax),
        _ => return None,
    };
    Some(Function::Elementwise(activation))
}

fn push(
    builder: &mut Builder,
    call: &LayerCall,
    suffix: Option<&str>,
    function: Function,
    input: NodeId,
) -> Result<NodeId, ImportError> {
    let op = match function {
        Function::Elementwise(Activation::Linear) => return Ok(input),
        Function::Elementwise(activation) => Op::Activation(activation),
        Function::Softmax => Op::Softmax { axis: None },
    };
    builder.push(call, suffix, op, &[input])
}

/// Appends the `activation` of a layer, if it has one, as `<name>/activation`.
pub(super) fn of_layer(
    builder: &mut Builder,
    call: &LayerCall,
    attributes: &Attributes,
    input: NodeId,
) -> Result<NodeId, ImportError> {
    let Some(value) = attributes.get("activation") else {
        return Ok(input);
    };
    let function = parse(value, attributes, call.layer, builder.keras2)?;
    if function == Function::Softmax && is_channels_first(call.layer) {
        // It would run along the columns.
        return attributes.refuse(
            "activation",
            value,
            "none along an axis of a channels_first map",
        );
    }
    push(builder, call, Some("activation"), function, input)
}

/// A name, `{"class_name": "function", "config": "relu"}`, or a serialised activation layer.
fn parse(
    value: &Value,
    attributes: &Attributes,
    layer: &LayerConfig,
    keras2: bool,
) -> Result<Function, ImportError> {
    const EXPECTED: &str = "a built-in activation";
    let refuse = || attributes.refuse("activation", value, EXPECTED);
    match value {
        Value::String(name) => match by_name(name, keras2) {
            Some(function) => Ok(function),
            None => refuse(),
        },
        Value::Object(map) => {
            let class = map.get("class_name").and_then(Value::as_str).unwrap_or("");
            if is_lambda(class, map) {
                return attributes.refuse("activation", &LAMBDA.into(), EXPECTED);
            }
            // A foreign function may have the name of a built-in one.
            let custom = map
                .get("module")
                .and_then(Value::as_str)
                .is_some_and(|m| m != "builtins" && !is_keras_module(m));
            match map.get("config") {
                _ if custom => refuse(),
                Some(Value::String(name)) if class == "function" => match by_name(name, keras2) {
                    Some(function) => Ok(function),
                    None => refuse(),
                },
                Some(Value::Object(config)) => {
                    layer_function(class, config, layer, keras2)?.map_or_else(refuse, Ok)
                }
                _ => refuse(),
            }
        }
        _ => refuse(),
    }
}

/// The byte code of a lambda, with its defaults and closure, in the two forms that Keras 3 writes:
/// inside a layer, and anywhere else.
fn is_lambda(class: &str, map: &Map<String, Value>) -> bool {
    let code = map.get("value").and_then(|value| value.get(0));
    class == "__lambda__" || (class.is_empty() && code.is_some_and(Value::is_string))
}

/// An activation layer given as the `activation` of another layer.
fn layer_function(
    class: &str,
    config: &Map<String, Value>,
    owner: &LayerConfig,
    keras2: bool,
) -> Result<Option<Function>, ImportError> {
    let layer = LayerConfig {
        class: class.to_owned(),
        name: "activation".into(),
        path: format!("{}/activation", owner.path),
        operation: false,
        attributes: config.clone(),
        calls: Vec::new(),
        model: None,
        shared_id: None,
    };
    let attributes = Attributes::new(&layer);
    let activation = match class {
        "ReLU" => relu_function(&attributes)?,
        "LeakyReLU" => leaky_relu_function(&attributes)?,
        "ELU" => elu_function(&attributes)?,
        "Softmax" => {
            // A conv or dense layer's output ends in channels, whatever its rank.
            match attributes.get("axis") {
                None => {}
                Some(v) if *v == -1 => {}
                Some(v) => return attributes.refuse("axis", v, "-1"),
            }
            attributes.finish()?;
            return Ok(Some(Function::Softmax));
        }
        "Activation" => {
            let name = attributes.text("activation")?.unwrap_or("linear");
            attributes.finish()?;
            return Ok(by_name(name, keras2));
        }
        _ => return Ok(None),
    };
    attributes.finish()?;
    Ok(Some(Function::Elementwise(activation)))
}

/// Whether an `Activation` could be a softmax, which runs along an axis.
pub(super) fn is_softmax(layer: &LayerConfig) -> bool {
    let value = layer.attributes.get("activation");
    value.is_some_and(|value| value.to_string().to_lowercase().contains("softmax"))
}

pub(super) fn named(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let function = match attributes.get("activation") {
        Some(value) => parse(value, &attributes, call.layer, builder.keras2)?,
        None => Function::Elementwise(Activation::Linear),
    };
    attributes.finish()?;
    push(builder, call, None, function, input)
}

fn relu_function(attributes: &Attributes) -> Result<Activation, ImportError> {
    let max_value = attributes.number("max_value")?.map(narrow);
    // `negative_slope` was `alpha` in the functional form of Keras 2.
    let negative_slope = narrow(attributes.number("negative_slope")?.unwrap_or(0.0));
    let threshold = narrow(attributes.number("threshold")?.unwrap_or(0.0));
    Ok(functions::relu(max_value, negative_slope, threshold))
}

pub(super) fn relu(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let attributes = Attributes::new(call.layer);
    let activation = relu_function(&attributes)?;
    attributes.finish()?;
    builder.push(call, None, Op::Activation(activation), &[call.input()?])
}

fn leaky_relu_function(attributes: &Attributes) -> Result<Activation, ImportError> {
    let slope = match attributes.number("negative_slope")? {
        Some(slope) => slope,
        None => attributes.number("alpha")?.unwrap_or(0.3),
    };
    Ok(Activation::LeakyRelu {
        slope: narrow(slope),
    })
}

pub(super) fn leaky_relu(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let attributes = Attributes::new(call.layer);
    let activation = leaky_relu_function(&attributes)?;
    attributes.finish()?;
    builder.push(call, None, Op::Activation(activation), &[call.input()?])
}

fn elu_function(attributes: &Attributes) -> Result<Activation, ImportError> {
    Ok(Activation::Elu {
        alpha: narrow(attributes.number("alpha")?.unwrap_or(1.0)),
    })
}

pub(super) fn elu(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let attributes = Attributes::new(call.layer);
    let activation = elu_function(&attributes)?;
    attributes.finish()?;
    builder.push(call, None, Op::Activation(activation), &[call.input()?])
}

pub(super) fn softmax(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let rank = builder.shape(input).rank();
    let attributes = Attributes::new(call.layer);
    let axis = match attributes.get("axis") {
        None => rank.saturating_sub(1),
        Some(value) => {
            let one = match value.as_array().map(Vec::as_slice) {
                Some([one]) => one,
                _ => value,
            };
            match super::super::attributes::axis(one, rank) {
                Some(axis) => axis,
                None => {
                    return attributes.refuse("axis", value, "one axis other than the batch axis");
                }
            }
        }
    };
    attributes.finish()?;
    builder.push(call, None, Op::softmax(axis, rank), &[input])
}

/// Alpha has the shape of the input, with 1 for each axis in `shared_axes`.
pub(super) fn prelu(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    // A vector that was a map has its slopes in the file's order.
    let input = match builder.order(input) {
        Order::Flat(_) => builder.in_file_order(&call.site, input)?,
        _ => input,
    };
    let attributes = Attributes::new(call.layer);
    let mut shape = builder.shape(input).dims().to_vec();
    if builder.is_map(input) {
        shape.rotate_right(1);
    }
    if let Some(value) = attributes.get("shared_axes") {
        for shared in value.as_array().into_iter().flatten() {
            // Counted with the batch axis.
            let axis = super::super::attributes::axis(shared, shape.len());
            match axis.and_then(|i| shape.get_mut(i)) {
                Some(extent) => *extent = 1,
                None => return attributes.refuse("shared_axes", value, "axes of the input"),
            }
        }
    }
    attributes.finish()?;
    let alpha = match (builder.is_map(input), <[usize; 3]>::try_from(&shape[..])) {
        (true, Ok([c, h, w])) => builder.made_of(call, "alpha_hwc", &[h, w, c], |builder| {
            let stored = builder.read(call, "alpha", &shape)?;
            Ok(in_map_order(stored.as_slice(), [c, h, w], 1))
        })?,
        _ => builder.weight(call, "alpha", &shape, &shape)?,
    };
    let id = builder.push(call, None, Op::PRelu { alpha }, &[input])?;
    builder.set_order(id, builder.order(input));
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_sigmoid_differs_between_keras_2_and_3() {
        let value = |keras2| match by_name("hard_sigmoid", keras2) {
            Some(Function::Elementwise(a)) => a.apply(1.0),
            other => panic!("{other:?}"),
        };
        assert!((value(true) - 0.7).abs() < 1e-6);
        assert!((value(false) - 2.0 / 3.0).abs() < 1e-6);
    }
}
