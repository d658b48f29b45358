//! Kernels of steps on bytes.

use super::context::{Boxed, Context, LowerError, arithmetic, boxed, pooling, sides};
use crate::graph::{Conv2d, Dense, DepthwiseConv2d, Epilogue, Kernel, Op};
use crate::kernels::SlidingWindow;
use crate::kernels::binary_i8::{BinaryI8, BinaryI8Params};
use crate::kernels::concat_i8::ConcatI8;
use crate::kernels::conv_i8::{ConvI8, ConvI8Output, ConvI8Params};
use crate::kernels::convert_i8::{DequantizeI8, QuantizeI8};
use crate::kernels::depthwise_i8::{DepthwiseI8, DepthwiseI8Params};
use crate::kernels::global_pool_i8::{GlobalPoolI8, GlobalPoolI8Params, Output};
use crate::kernels::pad_i8::PadI8;
use crate::kernels::pool_i8::{PoolI8, PoolI8Params};
use crate::kernels::table_i8::{Table, TableI8};
use crate::quantization::Quantization;
use crate::tensor::Tensor;

/// The kernel of a step that reads or makes bytes.
pub(super) fn prepare(context: &Context) -> Boxed {
    let &Context { isa, node, .. } = context;
    match &node.op {
        Op::Conv2d(conv) => convolution(context, conv),
        Op::Dense(dense) => matrix_product(context, dense),
        Op::DepthwiseConv2d(conv) => depthwise(context, conv),
        Op::Quantize => boxed(QuantizeI8::prepare(
            isa,
            context.input(0).len(),
            made(context)?,
        )),
        Op::Dequantize => boxed(DequantizeI8::prepare(
            isa,
            context.input(0).len(),
            stored(context, 0)?,
        )),
        Op::Activation(activation) => boxed(TableI8::prepare(
            isa,
            *activation,
            context.input(0).len(),
            stored(context, 0)?,
            made(context)?,
        )),
        Op::Binary { kind, activation } => boxed(BinaryI8::prepare(
            isa,
            &BinaryI8Params {
                arithmetic: arithmetic(*kind),
                a: context.input(0).clone(),
                b: context.input(1).clone(),
                a_quantization: stored(context, 0)?,
                b_quantization: stored(context, 1)?,
                output: made(context)?,
                activation: *activation,
            },
        )),
        Op::Concat { axis } => {
            let inputs = 0..node.inputs.len();
            let inputs: Result<Vec<_>, LowerError> = inputs
                .map(|i| Ok((context.input(i).clone(), stored(context, i)?)))
                .collect();
            boxed(ConcatI8::prepare(isa, &inputs?, *axis, made(context)?))
        }
        Op::Pool2d { kind, window } => boxed(PoolI8::prepare(
            isa,
            &PoolI8Params {
                pooling: pooling(*kind),
                window: context.sliding(window)?,
                input: stored(context, 0)?,
                output: made(context)?,
            },
        )),
        Op::GlobalPool { kind, .. } => boxed(GlobalPoolI8::prepare(
            isa,
            &GlobalPoolI8Params {
                pooling: pooling(*kind),
                shape: context.image()?,
                input: stored(context, 0)?,
                output: node.quantization.map_or(Output::F32, Output::U8),
            },
        )),
        Op::Pad(padding) => boxed(PadI8::prepare(
            isa,
            context.image()?,
            sides(*padding),
            stored(context, 0)?.zero_point,
        )),
        _ => Err(LowerError::NoIntegerKernel),
    }
}

/// The quantization of an input that must be bytes.
fn stored(context: &Context, i: usize) -> Result<Quantization, LowerError> {
    let input = context.graph.node(context.node.inputs[i]);
    input.quantization.ok_or(LowerError::NoIntegerKernel)
}

/// The quantization of the node's own bytes.
fn made(context: &Context) -> Result<Quantization, LowerError> {
    context.node.quantization.ok_or(LowerError::NoIntegerKernel)
}

fn scale(context: &Context, kernel: &Kernel) -> Result<Tensor, LowerError> {
    let key = kernel.scale.as_ref();
    context.tensor(key.ok_or_else(|| LowerError::NotPacked(kernel.tensor.clone()))?)
}

fn bias(context: &Context, bias: Option<&String>) -> Result<Tensor, LowerError> {
    // Even if the layer has no bias, the zero point contributes one.
    context.tensor(bias.ok_or(LowerError::NoIntegerKernel)?)
}

/// The table in which the step's activation looks bytes up, if it has one.
fn table(context: &Context) -> Result<Option<Box<Table>>, LowerError> {
    if context.step.sum.is_none() {
        return Ok(None);
    }
    let last = context.graph.node(context.step.node);
    match (&last.op, context.node.quantization, last.quantization) {
        (Op::Activation(activation), Some(from), Some(to)) => {
            Ok(Some(Box::new(Table::of(*activation, from, to))))
        }
        _ => Err(LowerError::NoIntegerKernel),
    }
}

fn output(context: &Context, epilogue: Epilogue) -> Result<ConvI8Output, LowerError> {
    let Some(output) = context.node.quantization else {
        return Ok(ConvI8Output::F32 {
            activation: epilogue.activation,
        });
    };
    let residual = match epilogue.residual {
        Some(post) => Some((stored(context, 1)?, post)),
        None => None,
    };
    Ok(ConvI8Output::U8 {
        output,
        activation: epilogue.activation,
        residual,
        table: table(context)?,
    })
}

fn convolution(context: &Context, conv: &Conv2d) -> Boxed {
    let params = ConvI8Params {
        window: context.sliding(&conv.window)?,
        groups: conv.groups,
        filters: conv.filters,
        input: stored(context, 0)?,
        weights: context.tensor(&conv.kernel.tensor)?,
        weight_scale: scale(context, &conv.kernel)?,
        bias: bias(context, conv.bias.as_ref())?,
        output: output(context, conv.epilogue)?,
    };
    boxed(ConvI8::prepare(context.isa, &params))
}

fn depthwise(context: &Context, conv: &DepthwiseConv2d) -> Boxed {
    let params = DepthwiseI8Params {
        window: context.sliding(&conv.window)?,
        weights: context.tensor(&conv.kernel.tensor)?,
        weight_scale: scale(context, &conv.kernel)?,
        bias: bias(context, conv.bias.as_ref())?,
        input: stored(context, 0)?,
        input_activation: context.input_activation(),
        output: made(context)?,
        activation: conv.activation,
        table: table(context)?.map(|table| *table),
    };
    boxed(DepthwiseI8::prepare(context.isa, &params))
}

/// A dense layer is a 1x1 convolution of an image of one column.
fn matrix_product(context: &Context, dense: &Dense) -> Boxed {
    let features = context.input(0).channels();
    let params = ConvI8Params {
        window: SlidingWindow {
            input: [context.input(0).len() / features, 1, features],
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            padding: [0; 4],
        },
        groups: 1,
        filters: dense.units,
        input: stored(context, 0)?,
        weights: context.tensor(&dense.kernel.tensor)?,
        weight_scale: scale(context, &dense.kernel)?,
        bias: bias(context, dense.bias.as_ref())?,
        output: output(context, dense.epilogue)?,
    };
    boxed(ConvI8::prepare(context.isa, &params))
}
