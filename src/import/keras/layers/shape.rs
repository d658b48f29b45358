//! Layers that move elements around: padding, cropping, reshaping, resizing.

use serde_json::Value;

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall};
use super::super::order::{Order, is_channels_first};
use crate::graph::{NodeId, Op, Padding, ResizeKind};
use crate::import::error::ImportError;
use crate::tensor::Shape;

fn padding([[top, bottom], [left, right]]: [[usize; 2]; 2]) -> Padding {
    Padding {
        top,
        left,
        bottom,
        right,
    }
}

pub(super) fn pad(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let op = Op::Pad(padding(attributes.border("padding")?));
    attributes.finish()?;
    builder.push(call, None, op, &[input])
}

pub(super) fn crop(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let op = Op::Crop(padding(attributes.border("cropping")?));
    attributes.finish()?;
    builder.push(call, None, op, &[input])
}

/// Crops the middle. Keras resizes an input that is smaller; that is refused.
pub(super) fn center_crop(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let [h, w, _] = builder.shape(input).hwc().unwrap_or([1, 1, 1]);
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let cut = |name: &str, len: usize| match len.checked_sub(attributes.count(name)?) {
        Some(cut) => Ok([cut / 2, cut - cut / 2]),
        None => attributes.refuse(
            name,
            attributes.get(name).unwrap_or(&Value::Null),
            &format!("at most the input's {len}"),
        ),
    };
    let border = [cut("height", h)?, cut("width", w)?];
    attributes.finish()?;
    builder.push(call, None, Op::Crop(padding(border)), &[input])
}

/// Does nothing if it crops to the size of its input. Otherwise versions of Keras differ in
/// prediction: Keras 2 crops the middle and resizes it, Keras 3 does not change the photo.
pub(super) fn random_crop(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let [h, w, _] = builder.shape(input).hwc().unwrap_or([1, 1, 1]);
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    for (name, extent) in [("height", h), ("width", w)] {
        if attributes.count(name)? != extent {
            let given = attributes.get(name).unwrap_or(&Value::Null);
            return attributes.refuse(name, given, &format!("the input's own {extent}"));
        }
    }
    // How random numbers are made.
    attributes.ignore(&["seed", "rng_type", "force_generator"]);
    attributes.finish()?;
    Ok(input)
}

pub(super) fn flatten(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    attributes.finish()?;
    let len = builder.shape(input).len();
    // Keras moves the channels of a channels_first map to its end before it flattens.
    let first = builder.channels_first && is_channels_first(call.layer);
    let input = match (first, builder.shape(input).rank()) {
        (true, 3) => builder.as_map(&call.site, input)?,
        (true, rank) if rank != 1 => {
            let format = Value::from("channels_first");
            return attributes.refuse("data_format", &format, "`channels_last`, unless of a map");
        }
        _ => input,
    };
    let flat = builder
        .graph
        .reshape(&call.site, None, input, [len].into())?;
    if !first
        && builder.is_map(input)
        && let Some([h, w, c]) = builder.shape(input).hwc()
        && c > 1
        && h * w > 1
    {
        builder.set_order(flat, Order::Flat([h, w, c]));
    }
    Ok(flat)
}

/// Fills in the one `-1` of a target shape.
pub(super) fn target_shape(target: &[Value], len: usize) -> Option<Shape> {
    let mut dims = Vec::with_capacity(target.len());
    let mut open = None;
    for (i, extent) in target.iter().enumerate() {
        match extent.as_i64()? {
            -1 if open.is_none() => {
                open = Some(i);
                dims.push(1);
            }
            n => dims.push(usize::try_from(n).ok()?),
        }
    }
    if let Some(i) = open {
        let others = Shape::new(&dims).checked_len()?;
        if others == 0 || !len.is_multiple_of(others) {
            return None;
        }
        dims[i] = len / others;
    }
    (Shape::new(&dims).checked_len()? == len).then(|| Shape::new(&dims))
}

pub(super) fn reshape(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let from = builder.shape(input).clone();
    let target = attributes.get("target_shape").unwrap_or(&Value::Null);
    let fitted = target.as_array().and_then(|t| target_shape(t, from.len()));
    let Some(shape) = fitted else {
        return attributes.refuse("target_shape", target, &format!("a shape that fits {from}"));
    };
    attributes.finish()?;
    builder.graph.reshape(&call.site, None, input, shape)
}

pub(super) fn permute(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let dims = attributes.get("dims").unwrap_or(&Value::Null);
    // Keras counts from 1, the batch axis being 0.
    let permutation = dims.as_array().and_then(|dims| {
        dims.iter()
            .map(|d| usize::try_from(d.as_u64()?.checked_sub(1)?).ok())
            .collect::<Option<Vec<_>>>()
    });
    let Some(permutation) = permutation else {
        return attributes.refuse("dims", dims, "axes counted from 1");
    };
    attributes.finish()?;
    if builder.channels_first {
        match (builder.order(input), permutation.as_slice()) {
            (Order::Map, [1, 2, 0]) => return builder.renamed(call, input, Order::File),
            (Order::File, [2, 0, 1]) if builder.shape(input).rank() == 3 => {
                return builder.renamed(call, input, Order::Map);
            }
            _ => {}
        }
    }
    let input = builder.in_file_order(&call.site, input)?;
    builder.push(call, None, Op::Transpose { permutation }, &[input])
}

fn resize_kind(attributes: &Attributes) -> Result<ResizeKind, ImportError> {
    match attributes.get("interpolation") {
        None => Ok(ResizeKind::Bilinear),
        Some(Value::String(s)) if s == "bilinear" => Ok(ResizeKind::Bilinear),
        Some(Value::String(s)) if s == "nearest" => Ok(ResizeKind::Nearest),
        Some(other) => attributes.refuse("interpolation", other, "`bilinear` or `nearest`"),
    }
}

pub(super) fn up_sampling(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let [h, w, _] = builder.shape(input).hwc().unwrap_or([1, 1, 1]);
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let [v, u] = attributes.pair("size", Some([2, 2]))?;
    let kind = match attributes.get("interpolation") {
        // Unlike Resizing, UpSampling2D repeats by default.
        None => ResizeKind::Nearest,
        Some(_) => resize_kind(&attributes)?,
    };
    attributes.finish()?;
    let size = [h.saturating_mul(v), w.saturating_mul(u)];
    builder.push(call, None, Op::Resize { kind, size }, &[input])
}

pub(super) fn resizing(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let size = [attributes.count("height")?, attributes.count("width")?];
    let kind = resize_kind(&attributes)?;
    for option in ["crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"] {
        attributes.must_be_off(option)?;
    }
    // Only used with `pad_to_aspect_ratio`.
    attributes.ignore(&["fill_mode", "fill_value"]);
    attributes.finish()?;
    builder.push(call, None, Op::Resize { kind, size }, &[input])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn open_extents_are_filled_in_where_they_divide() {
        let shape = |target: Value| target_shape(target.as_array().unwrap(), 24);
        assert_eq!(shape(json!([2, -1])), Some([2, 12].into()));
        assert_eq!(shape(json!([2, 3, 4])), Some([2, 3, 4].into()));
        assert_eq!(shape(json!([5, -1])), None);
        assert_eq!(shape(json!([-1, -1])), None);
        assert_eq!(shape(json!([0, -1])), None);
        assert_eq!(shape(json!([25])), None);
    }
}
