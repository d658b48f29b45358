//! BatchNormalization, Normalization, Rescaling and LayerScale become `x * scale + shift`, folded in
//! f64. LayerNormalization takes mean and deviation from each value anew.

use super::super::attributes::{Attributes, numbers};
use super::super::call::{Builder, LayerCall};
use crate::graph::{NodeId, Op};
use crate::import::affine::Affine;
use crate::import::axes;
use crate::import::error::ImportError;
use crate::import::functions::narrow;
use crate::tensor::{AlignedF32, Shape};

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
    let mut read = |name: &str| builder.read(call, name, &[c]);
    let gamma = attributes.flag("scale", true)?.then(|| read("gamma"));
    let gamma = gamma.transpose()?;
    let beta = attributes.flag("center", true)?.then(|| read("beta"));
    let beta = beta.transpose()?;
    let (mean, variance) = (read("moving_mean")?, read("moving_variance")?);
    attributes.must_be_off("renorm")?;
    // How batch statistics are collected in training.
    attributes.ignore(&["momentum", "renorm_momentum", "fused", "synchronized"]);
    attributes.finish()?;
    let folded = Affine::batch_norm(
        gamma.as_ref().map(AlignedF32::as_slice),
        beta.as_ref().map(AlignedF32::as_slice),
        mean.as_slice(),
        variance.as_slice(),
        epsilon,
    );
    builder.affine(call, input, &folded)
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
            Ok::<_, ImportError>(widen(builder.read(call, name, &expected)?.as_slice()))
        };
        [read("mean")?, read("variance")?]
    };
    let invert = attributes.flag("invert", false)?;
    attributes.finish()?;
    let folded = Affine::standardize(&mean, &variance, EPSILON, invert);
    builder.affine(call, input, &folded)
}

/// `x * scale + offset`
pub(super) fn rescaling(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let scale = attributes.numbers("scale")?.unwrap_or(vec![1.0]);
    let offset = attributes.numbers("offset")?.unwrap_or(vec![0.0]);
    attributes.finish()?;
    let affine = Affine {
        scale,
        shift: offset,
    };
    builder.affine(call, input, &affine)
}

/// Over the last axes, which become one: as many as `axis` names.
pub(super) fn layer(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let shape = builder.shape(input).clone();
    let rank = shape.rank();
    let attributes = Attributes::new(call.layer);
    let given = attributes.get("axis").cloned().unwrap_or((-1).into());
    let listed: Option<Vec<i64>> = match &given {
        serde_json::Value::Array(items) => items.iter().map(serde_json::Value::as_i64).collect(),
        one => one.as_i64().map(|axis| vec![axis]),
    };
    let axes = listed.and_then(|listed| axes::axes(&listed, rank));
    let last = |axes: &Vec<usize>| axes.iter().copied().eq(rank - axes.len()..rank);
    let Some(axes) = axes.filter(last) else {
        return attributes.refuse("axis", &given, "the last axis, or the last ones");
    };
    let (outer, inner) = shape.dims().split_at(rank - axes.len());
    let n = Shape::new(inner).len();
    let mut vector = |variable: &'static str, used: bool, otherwise: f32| {
        if used {
            return builder.weight(call, variable, inner, &[n]);
        }
        let key = format!("{}/{variable}", call.site.constants);
        let mut one = AlignedF32::zeroed(1);
        one.as_mut_slice().fill(otherwise);
        let place = &call.site.place;
        builder.graph.insert(place, key.clone(), &[1], one)?;
        Ok(key)
    };
    let scale = vector("gamma", attributes.flag("scale", true)?, 1.0)?;
    let shift = vector("beta", attributes.flag("center", true)?, 0.0)?;
    let epsilon = narrow(attributes.number("epsilon")?.unwrap_or(1e-3));
    attributes.must_be_off("rms_scaling")?;
    attributes.finish()?;
    let op = Op::LayerNormalization {
        scale,
        shift,
        epsilon,
    };
    if inner.len() == 1 {
        return builder.push(call, None, op, &[input]);
    }
    let rows = Shape::new(&[outer, &[n]].concat());
    let rows = (builder.graph).reshape(&call.site, Some("rows"), input, rows)?;
    let unit = builder.push(call, Some("unit"), op, &[rows])?;
    builder.graph.reshape(&call.site, None, unit, shape)
}

/// `x * gamma`, as ConvNeXt ends its blocks.
pub(super) fn layer_scale(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let n = attributes.count("projection_dim")?;
    let scale = builder.read(call, "layer_scale", &[n])?;
    // What training began with.
    attributes.ignore(&["init_values"]);
    attributes.finish()?;
    let affine = Affine {
        scale: widen(scale.as_slice()),
        shift: vec![0.0],
    };
    builder.affine(call, input, &affine)
}
