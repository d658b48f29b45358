//! BatchNormalization, Normalization and Rescaling: all become `x * scale + shift`, folded in f64.

use super::super::attributes::{Attributes, numbers};
use super::super::functional::{Builder, LayerCall};
use crate::graph::NodeId;
use crate::import::ImportError;

/// `keras.config.epsilon()`, the floor of Normalization's standard deviation.
const EPSILON: f64 = 1e-7;

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`
pub(super) fn batch(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let shape = builder.shape(input).clone();
    let c = shape.channels();
    let attributes = Attributes::new(call.layer);
    attributes.last_axis("axis", shape.rank())?;
    let epsilon = attributes.number("epsilon")?.unwrap_or(1e-3);
    let gamma = if attributes.flag("scale", true)? {
        widen(builder.read(call.layer, "gamma", &[c])?.as_slice())
    } else {
        vec![1.0; c]
    };
    let beta = if attributes.flag("center", true)? {
        widen(builder.read(call.layer, "beta", &[c])?.as_slice())
    } else {
        vec![0.0; c]
    };
    let mean = widen(builder.read(call.layer, "moving_mean", &[c])?.as_slice());
    let variance = widen(
        builder
            .read(call.layer, "moving_variance", &[c])?
            .as_slice(),
    );
    attributes.must_be_off("renorm")?;
    // How batch statistics are gathered in training.
    attributes.ignore(&["momentum", "renorm_momentum", "fused", "synchronized"]);
    attributes.finish()?;
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(g, v)| g / (v + epsilon).sqrt())
        .collect();
    let shift: Vec<f64> = beta
        .iter()
        .zip(&mean)
        .zip(&scale)
        .map(|((b, m), s)| b - m * s)
        .collect();
    builder.scale_shift(call, None, input, &scale, &shift)
}

/// `(x - mean) / max(sqrt(variance), 1e-7)`, or its inverse.
pub(super) fn normalization(
    builder: &mut Builder,
    call: &LayerCall,
) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let shape = builder.shape(input).clone();
    let c = shape.channels();
    let attributes = Attributes::new(call.layer);
    // A null axis means one mean for everything.
    attributes.last_axis("axis", shape.rank())?;
    let [mean, variance] = if attributes.get("mean").is_some() {
        let read = |name: &str| {
            let value = attributes.get(name);
            match value.and_then(numbers) {
                Some(list) if list.len() == 1 || list.len() == c => Ok(list),
                _ => attributes.refuse(
                    name,
                    value.unwrap_or(&serde_json::Value::Null),
                    &format!("1 or {c} numbers"),
                ),
            }
        };
        [read("mean")?, read("variance")?]
    } else {
        attributes.ignore(&["mean", "variance"]);
        let mut read = |name: &str| {
            let stored = builder.stored_shape(call.layer, name)?;
            let expected = if stored.is_empty() { vec![] } else { vec![c] };
            Ok::<_, ImportError>(widen(builder.read(call.layer, name, &expected)?.as_slice()))
        };
        [read("mean")?, read("variance")?]
    };
    let invert = attributes.flag("invert", false)?;
    attributes.finish()?;
    let n = mean.len().max(variance.len());
    let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
    let (scale, shift): (Vec<f64>, Vec<f64>) = (0..n)
        .map(|i| {
            let deviation = at(&variance, i).sqrt().max(EPSILON);
            let mean = at(&mean, i);
            if invert {
                (deviation, mean)
            } else {
                (1.0 / deviation, -mean / deviation)
            }
        })
        .unzip();
    builder.scale_shift(call, None, input, &scale, &shift)
}

/// `x * scale + offset`
pub(super) fn rescaling(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let scale = attributes.numbers("scale")?.unwrap_or(vec![1.0]);
    let offset = attributes.numbers("offset")?.unwrap_or(vec![0.0]);
    attributes.finish()?;
    builder.scale_shift(call, None, input, &scale, &offset)
}
