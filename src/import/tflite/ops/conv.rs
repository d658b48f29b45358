//! `CONV_2D` and `DEPTHWISE_CONV_2D`.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::batches::Source;
use super::window::Slots;
use crate::activation::Activation;
use crate::graph::{Conv2d, DepthwiseConv2d, Epilogue, NodeId, Op};
use crate::import::error::ImportError;
use crate::tensor::Shape;

/// The four extents of a kernel.
fn extents(call: &Call, dims: &[usize]) -> Result<[usize; 4], ImportError> {
    match *dims {
        [a, b, c, d] if a * b * c * d > 0 => Ok([a, b, c, d]),
        _ => {
            let shown = format!("{dims:?}");
            Err(call.place().refused("kernel", shown, "four axes"))
        }
    }
}

fn finished<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    (source, id): (&Source, NodeId),
    activation: usize,
) -> Result<Outputs<'a>, ImportError> {
    let y = source.result(importer, id);
    let y = importer.fused(call, &y, call.fused(activation)?)?;
    Ok(vec![Value::View(y)])
}

/// Kernels `OHWI` become `HWIO`.
pub(super) fn conv<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let slots = Slots {
        padding: 0,
        strides: [2, 1],
        dilations: Some([5, 4]),
    };
    // The type of a bias that is an integer.
    call.options.ignore(&[6]);
    let weights = call.constant(1, "kernel")?.clone();
    let x = Source::of(importer, call)?;
    let c = x.channels();
    let [filters, kh, kw, depth] = extents(call, weights.dims())?;
    let groups = c / depth;
    if !c.is_multiple_of(depth) || groups == 0 || !filters.is_multiple_of(groups) {
        return Err(ImportError::WeightShape {
            place: call.place().clone(),
            weight: "kernel".into(),
            expected: Shape::new(&[filters, kh, kw, c]),
            got: Shape::new(weights.dims()),
        });
    }
    let window = x.window(call, &slots, [kh, kw])?;
    let bias = match call.optional_constant(2, "bias")?.cloned() {
        Some(bias) => Some(importer.vector(call, "bias", &bias, filters)?),
        None => None,
    };
    let k = kh * kw * depth;
    let shape = [kh, kw, depth, filters];
    let source = |i: usize| i % filters * k + i / filters;
    let kernel = importer.kernel(call, (&weights, "HWIO"), &shape, &source)?;
    let op = Op::Conv2d(Conv2d {
        window,
        groups,
        filters,
        kernel,
        bias,
        epilogue: Epilogue::default(),
    });
    let id = importer.push(call, None, op, &[x.id])?;
    finished(importer, call, (&x, id), 3)
}

/// Kernels `[1, rows, columns, channels]` lie as the graph's do.
pub(super) fn depthwise<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let slots = Slots {
        padding: 0,
        strides: [2, 1],
        dilations: Some([6, 5]),
    };
    // The kernel's extent says it as well, and LiteRT believes that.
    call.options.ignore(&[3]);
    let weights = call.constant(1, "kernel")?.clone();
    let x = Source::of(importer, call)?;
    let c = x.channels();
    let [one, kh, kw, filters] = extents(call, weights.dims())?;
    if one != 1 || !filters.is_multiple_of(c) {
        return Err(ImportError::WeightShape {
            place: call.place().clone(),
            weight: "kernel".into(),
            expected: Shape::new(&[1, kh, kw, c]),
            got: Shape::new(weights.dims()),
        });
    }
    let window = x.window(call, &slots, [kh, kw])?;
    let bias = match call.optional_constant(2, "bias")?.cloned() {
        Some(bias) => Some(importer.vector(call, "bias", &bias, filters)?),
        None => None,
    };
    let shape = [kh, kw, filters];
    let kernel = importer.kernel(call, (&weights, "HWC"), &shape, &|i| i)?;
    let op = Op::DepthwiseConv2d(DepthwiseConv2d {
        window,
        multiplier: filters / c,
        kernel,
        bias,
        activation: Activation::Linear,
    });
    let id = importer.push(call, None, op, &[x.id])?;
    finished(importer, call, (&x, id), 4)
}
