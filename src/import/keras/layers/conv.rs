//! Conv2D, DepthwiseConv2D, SeparableConv2D, Dense.

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall};
use super::super::order::{Order, in_map_order};
use super::activation;
use super::window::window;
use crate::activation::Activation;
use crate::graph::{Conv2d, Dense, DepthwiseConv2d, Epilogue, Kernel, NodeId, Op, Padding, Window};
use crate::import::error::ImportError;

/// `[h, w, c]` of the input, or zeros: the graph then refuses the node with a better message.
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
    attributes.data_format()?;
    let filters = attributes.count("filters")?;
    let groups = attributes.count_or("groups", 1)?;
    let kernel = attributes.pair("kernel_size", None)?;
    let strides = attributes.pair("strides", Some([1, 1]))?;
    let dilations = attributes.pair("dilation_rate", Some([1, 1]))?;
    let window = window(&attributes, kernel, strides, dilations, [h, w])?;
    let [kh, kw] = kernel;
    let shape = [kh, kw, c / groups, filters];
    let bias = bias(builder, call, &attributes, filters)?;
    let op = if groups == c && c > 1 && filters.is_multiple_of(c) {
        // Each channel is a group, as ConvNeXt writes its depthwise layers. The filters of a channel
        // lie at the same offsets in both shapes.
        let kernel = builder.weight(call, "kernel", &shape, &[kh, kw, filters])?;
        Op::DepthwiseConv2d(DepthwiseConv2d {
            window,
            multiplier: filters / c,
            kernel: Kernel::plain(kernel),
            bias,
            activation: Activation::Linear,
        })
    } else {
        let kernel = builder.weight(call, "kernel", &shape, &shape)?;
        Op::Conv2d(Conv2d {
            window,
            groups,
            filters,
            kernel: Kernel::plain(kernel),
            bias,
            epilogue: Epilogue::default(),
        })
    };
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
    attributes.data_format()?;
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
        let value = attributes.get("groups").unwrap_or(&serde_json::Value::Null);
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
    // Along the last axis of the file; a map has its channels there only in the graph.
    let input = match builder.order(input) {
        Order::Map => builder.in_file_order(&call.site, input)?,
        Order::File | Order::Flat(_) => input,
    };
    let channels = builder.shape(input).channels();
    let attributes = Attributes::new(call.layer);
    let units = attributes.count("units")?;
    let shape = [channels, units];
    let kernel = match builder.order(input) {
        // A map that was flattened in the file's order: the rows move instead.
        Order::Flat([h, w, c]) => builder.made_of(call, "kernel_hwc", &shape, |builder| {
            let stored = builder.read(call, "kernel", &shape)?;
            Ok(in_map_order(stored.as_slice(), [c, h, w], units))
        })?,
        _ => builder.weight(call, "kernel", &shape, &shape)?,
    };
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
