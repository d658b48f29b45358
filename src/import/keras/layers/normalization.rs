//! BatchNormalization, Normalization, Rescaling and LayerScale become `x * scale + shift`, folded in
//! f64. The others take mean and deviation from each value anew.

use super::super::attributes::{Attributes, numbers};
use super::super::call::{Builder, LayerCall};
use super::super::config::LayerConfig;
use super::super::order::names_first_axis;
use crate::activation::Activation;
use crate::graph::{BinaryOp, NodeId, Op, ReduceKind};
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

/// Checks that `axis` names the channels: the last axis, or the first one of a `channels_first` map.
fn channel_axis(
    builder: &Builder,
    call: &LayerCall,
    attributes: &Attributes,
    input: NodeId,
) -> Result<(), ImportError> {
    let rank = builder.shape(input).rank();
    if builder.is_map(input) && names_first_axis(call.layer, rank) {
        attributes.ignore(&["axis"]);
        return Ok(());
    }
    attributes.last_axis("axis", rank)
}

/// Whether a `Rescaling` does the same to every element.
pub(super) fn is_scalar(layer: &LayerConfig) -> bool {
    let one = |name: &str| match layer.attributes.get(name) {
        None => true,
        Some(value) => numbers(value).is_some_and(|list| list.len() == 1),
    };
    one("scale") && one("offset")
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`
pub(super) fn batch(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let shape = builder.shape(input).clone();
    let c = shape.channels();
    let attributes = Attributes::new(call.layer);
    channel_axis(builder, call, &attributes, input)?;
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
    channel_axis(builder, call, &attributes, input)?;
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
    let mut axes = listed.and_then(|listed| axes::axes(&listed, rank));
    if builder.is_map(input) && axes.as_deref() == Some(&[0]) {
        // The channels of a channels_first map, which are last in the graph.
        axes = Some(vec![rank - 1]);
    }
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

/// A constant of one number, as `<name>/<part>`.
fn one(
    builder: &mut Builder,
    call: &LayerCall,
    part: &str,
    value: f32,
) -> Result<String, ImportError> {
    let key = format!("{}/{part}", call.site.constants);
    let mut list = AlignedF32::zeroed(1);
    list.as_mut_slice().fill(value);
    let place = &call.site.place;
    builder.graph.insert(place, key.clone(), &[1], list)?;
    Ok(key)
}

/// Over groups of channels, with all that lies in front of the channels.
pub(super) fn group(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let shape = builder.shape(input).clone();
    let channels = shape.channels();
    let attributes = Attributes::new(call.layer);
    attributes.last_axis("axis", shape.rank())?;
    let given = attributes.number("groups")?.unwrap_or(32.0);
    let divides = |n: &usize| *n > 0 && channels.is_multiple_of(*n);
    // -1 stands for a group a channel.
    let groups = if given < 0.0 {
        Some(channels)
    } else {
        attributes.count_or("groups", 32).ok().filter(divides)
    };
    let Some(groups) = groups else {
        let value = attributes.get("groups").cloned().unwrap_or(32.into());
        let expected = format!("a divisor of {channels} channels");
        return attributes.refuse("groups", &value, &expected);
    };
    let mut read = |name: &str, used: bool, otherwise: f64| {
        if used {
            return Ok(widen(builder.read(call, name, &[channels])?.as_slice()));
        }
        Ok::<_, ImportError>(vec![otherwise])
    };
    let affine = Affine {
        scale: read("gamma", attributes.flag("scale", true)?, 1.0)?,
        shift: read("beta", attributes.flag("center", true)?, 0.0)?,
    };
    let epsilon = narrow(attributes.number("epsilon")?.unwrap_or(1e-3));
    attributes.finish()?;
    let op = Op::LayerNormalization {
        scale: one(builder, call, "unit/scale", 1.0)?,
        shift: one(builder, call, "unit/shift", 0.0)?,
        epsilon,
    };
    // A group's elements side by side: all rows and columns of some channels.
    let (pixels, depth) = (shape.len() / channels, channels / groups);
    let mut x = input;
    let turn = |builder: &mut Builder, x, from: [usize; 3]| {
        let name = if from[0] == pixels {
            "groups"
        } else {
            "pixels"
        };
        let apart = (builder.graph).reshape(&call.site, Some(name), x, Shape::new(&from))?;
        let op = Op::Transpose {
            permutation: vec![1, 0, 2],
        };
        builder.push(call, Some(&format!("{name}/transpose")), op, &[apart])
    };
    let is_turned = pixels > 1 && groups > 1;
    if is_turned {
        x = turn(builder, x, [pixels, groups, depth])?;
    }
    let rows = Shape::new(&[groups, pixels * depth]);
    let rows = (builder.graph).reshape(&call.site, Some("rows"), x, rows)?;
    x = builder.push(call, Some("unit"), op, &[rows])?;
    if is_turned {
        x = turn(builder, x, [groups, pixels, depth])?;
    }
    x = (builder.graph).reshape(&call.site, Some("shape"), x, shape)?;
    builder.affine(call, x, &affine)
}

/// Appends a reduction over the last axis, which stays.
fn over_channels(
    builder: &mut Builder,
    call: &LayerCall,
    name: &str,
    kind: ReduceKind,
    input: NodeId,
) -> Result<NodeId, ImportError> {
    let op = Op::Reduce {
        kind,
        axes: vec![builder.shape(input).rank() - 1],
        keep_dims: true,
    };
    builder.push(call, Some(name), op, &[input])
}

/// `x / sqrt(mean(x^2) + epsilon) * scale`
pub(super) fn root_mean_square(
    builder: &mut Builder,
    call: &LayerCall,
) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let shape = builder.shape(input).clone();
    let channels = shape.channels();
    let attributes = Attributes::new(call.layer);
    attributes.last_axis("axis", shape.rank())?;
    let epsilon = attributes.number("epsilon")?.unwrap_or(1e-6);
    attributes.finish()?;
    let scale = widen(builder.read(call, "scale", &[channels])?.as_slice());
    let binary = |kind| Op::Binary {
        kind,
        activation: Activation::Linear,
    };
    let square = builder.push(call, Some("square"), binary(BinaryOp::Mul), &[input, input])?;
    let mean = over_channels(builder, call, "mean", ReduceKind::Mean, square)?;
    let shifted = Affine::scalar(1.0, epsilon);
    let mean = (builder.graph).affine(&call.site, Some("shifted"), mean, &shifted)?;
    let root = Op::Activation(Activation::Sqrt);
    let root = builder.push(call, Some("root"), root, &[mean])?;
    let unit = builder.push(call, Some("unit"), binary(BinaryOp::Div), &[input, root])?;
    let affine = Affine {
        scale,
        shift: vec![0.0],
    };
    builder.affine(call, unit, &affine)
}

/// Divided by the length of the vector along the last axis.
pub(super) fn unit(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let rank = builder.shape(input).rank();
    let attributes = Attributes::new(call.layer);
    attributes.last_axis("axis", rank)?;
    attributes.finish()?;
    let norm = over_channels(builder, call, "norm", ReduceKind::L2, input)?;
    // A vector of zeros stays that.
    let positive = Affine::scalar(1.0, 1e-12);
    let norm = (builder.graph).affine(&call.site, Some("positive"), norm, &positive)?;
    let op = Op::Binary {
        kind: BinaryOp::Div,
        activation: Activation::Linear,
    };
    builder.push(call, None, op, &[input, norm])
}
