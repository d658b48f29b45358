//! Conv2D, DepthwiseConv2D, SeparableConv2D, Dense.

use serde_json::Value;

use super::super::attributes::Attributes;
use super::super::functional::{Builder, LayerCall};
use super::activation;
use crate::activation::Activation;
use crate::graph::{Conv2d, Dense, DepthwiseConv2d, Epilogue, Kernel, NodeId, Op, Padding, Window};
use crate::import::ImportError;

/// Reads strides, dilation and padding; `same` is resolved for an input of `h x w`.
pub(super) fn window(
    attributes: &Attributes,
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    hw: [usize; 2],
) -> Result<Window, ImportError> {
    let padding = match attributes.get("padding") {
        None => Padding::default(),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("valid") => Padding::default(),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("same") => {
            let [top, bottom] = same(hw[0], kernel[0], strides[0], dilations[0]);
            let [left, right] = same(hw[1], kernel[1], strides[1], dilations[1]);
            Padding {
                top,
                left,
                bottom,
                right,
            }
        }
        Some(other) => return attributes.refuse("padding", other, "`same` or `valid`"),
    };
    Ok(Window {
        kernel,
        strides,
        dilations,
        padding,
    })
}

/// TensorFlow's rule: as much as makes `ceil(len / stride)` outputs, the odd one after.
/// <https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2>
fn same(len: usize, kernel: usize, stride: usize, dilation: usize) -> [usize; 2] {
    let span = (kernel - 1).saturating_mul(dilation).saturating_add(1);
    let reach = (len.div_ceil(stride) - 1)
        .saturating_mul(stride)
        .saturating_add(span);
    let total = reach.saturating_sub(len);
    [total / 2, total - total / 2]
}

/// `[h, w, c]` of the input, or of zeros that the graph will refuse with a better message.
fn hwc(builder: &Builder, input: NodeId) -> [usize; 3] {
    builder.shape(input).hwc().unwrap_or([1, 1, 1])
}

fn bias(
    builder: &mut Builder,
    call: &LayerCall,
    attributes: &Attributes,
    n: usize,
) -> Result<Option<String>, ImportError> {
    if !attributes.flag("use_bias", true)? {
        return Ok(None);
    }
    builder.weight(call, "bias", &[n], &[n]).map(Some)
}

pub(super) fn conv2d(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let [h, w, c] = hwc(builder, input);
    let attributes = Attributes::new(call.layer);
    attributes.channels_last()?;
    let filters = attributes.count("filters")?;
    let groups = attributes.count_or("groups", 1)?;
    let kernel = attributes.pair("kernel_size", None)?;
    let strides = attributes.pair("strides", Some([1, 1]))?;
    let dilations = attributes.pair("dilation_rate", Some([1, 1]))?;
    let window = window(&attributes, kernel, strides, dilations, [h, w])?;
    let [kh, kw] = kernel;
    let shape = [kh, kw, c / groups, filters];
    let kernel = builder.weight(call, "kernel", &shape, &shape)?;
    let op = Op::Conv2d(Conv2d {
        window,
        groups,
        filters,
        kernel: Kernel::plain(kernel),
        bias: bias(builder, call, &attributes, filters)?,
        epilogue: Epilogue::default(),
    });
    let id = builder.push(call, None, op, &[input])?;
    let id = activation::of_layer(builder, call, &attributes, id)?;
    attributes.finish()?;
    Ok(id)
}

fn depthwise_op(
    builder: &mut Builder,
    call: &LayerCall,
    attributes: &Attributes,
    input: NodeId,
) -> Result<DepthwiseConv2d, ImportError> {
    let [h, w, c] = hwc(builder, input);
    attributes.channels_last()?;
    let multiplier = attributes.count_or("depth_multiplier", 1)?;
    let kernel = attributes.pair("kernel_size", None)?;
    let strides = attributes.pair("strides", Some([1, 1]))?;
    let dilations = attributes.pair("dilation_rate", Some([1, 1]))?;
    let window = window(attributes, kernel, strides, dilations, [h, w])?;
    let [kh, kw] = kernel;
    // Output channel c * multiplier + m lies at the same offset in both shapes.
    let kernel = builder.weight(
        call,
        "depthwise_kernel",
        &[kh, kw, c, multiplier],
        &[kh, kw, c.saturating_mul(multiplier)],
    )?;
    Ok(DepthwiseConv2d {
        window,
        multiplier,
        kernel: Kernel::plain(kernel),
        bias: None,
        activation: Activation::Linear,
    })
}

pub(super) fn depthwise(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let mut op = depthwise_op(builder, call, &attributes, input)?;
    let [_, _, c] = hwc(builder, input);
    let channels = c.saturating_mul(op.multiplier);
    op.bias = bias(builder, call, &attributes, channels)?;
    let id = builder.push(call, None, Op::DepthwiseConv2d(op), &[input])?;
    let id = activation::of_layer(builder, call, &attributes, id)?;
    // Keras 2 repeats attributes of Conv2D that a depthwise layer does not use.
    attributes.ignore(&["groups", "filters"]);
    attributes.finish()?;
    Ok(id)
}

pub(super) fn separable(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    let op = depthwise_op(builder, call, &attributes, input)?;
    let depthwise = builder.push(call, Some("depthwise"), Op::DepthwiseConv2d(op), &[input])?;
    let channels = builder.shape(depthwise).channels();
    let filters = attributes.count("filters")?;
    if attributes.count_or("groups", 1)? != 1 {
        let value = attributes.get("groups").unwrap_or(&Value::Null);
        return attributes.refuse("groups", value, "1");
    }
    let shape = [1, 1, channels, filters];
    let kernel = builder.weight(call, "pointwise_kernel", &shape, &shape)?;
    let op = Op::Conv2d(Conv2d {
        window: Window {
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            padding: Padding::default(),
        },
        groups: 1,
        filters,
        kernel: Kernel::plain(kernel),
        bias: bias(builder, call, &attributes, filters)?,
        epilogue: Epilogue::default(),
    });
    let id = builder.push(call, None, op, &[depthwise])?;
    let id = activation::of_layer(builder, call, &attributes, id)?;
    attributes.finish()?;
    Ok(id)
}

pub(super) fn dense(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let channels = builder.shape(input).channels();
    let attributes = Attributes::new(call.layer);
    let units = attributes.count("units")?;
    let shape = [channels, units];
    let kernel = builder.weight(call, "kernel", &shape, &shape)?;
    let op = Op::Dense(Dense {
        units,
        kernel: Kernel::plain(kernel),
        bias: bias(builder, call, &attributes, units)?,
        epilogue: Epilogue::default(),
    });
    let id = builder.push(call, None, op, &[input])?;
    let id = activation::of_layer(builder, call, &attributes, id)?;
    attributes.finish()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_that_of_tensorflow() {
        for (len, kernel, stride, dilation, expected) in [
            (224, 3, 2, 1, [0, 1]),
            (225, 3, 2, 1, [1, 1]),
            (7, 7, 1, 1, [3, 3]),
            (8, 4, 1, 1, [1, 2]),
            (8, 1, 2, 1, [0, 0]),
            (9, 3, 1, 2, [2, 2]),
            (5, 2, 3, 1, [0, 0]),
            (1, 3, 2, 1, [1, 1]),
        ] {
            assert_eq!(
                same(len, kernel, stride, dilation),
                expected,
                "length {len}, kernel {kernel}, stride {stride}, dilation {dilation}"
            );
        }
    }
}
