//! Kernels of steps that compute in f32.

use super::context::{Boxed, Context, LowerError, arithmetic, boxed, pooling, sides};
use crate::graph::{
    Conv2d, Dense, DepthwiseConv2d, Kernel, KernelLayout, Op, ReduceKind, ResizeKind, Slice,
};
use crate::kernels::activation_f32::ActivationF32;
use crate::kernels::conv_f32::{ConvF32, ConvParams};
use crate::kernels::dense_f32::{DenseF32, DenseParams};
use crate::kernels::depthwise_f32::{DepthwiseF32, DepthwiseParams};
use crate::kernels::elementwise_f32::{
    BinaryF32, BinaryParams, PReluF32, ScaleShiftF32, ScaleShiftParams,
};
use crate::kernels::global_pool_f32::GlobalPoolF32;
use crate::kernels::layer_norm_f32::{LayerNormF32, LayerNormParams};
use crate::kernels::layout_f32::{
    ConcatF32, ConstantF32, CropF32, GatherF32, PadF32, ResizeF32, Resizing, SliceF32, Stride,
    TransposeF32,
};
use crate::kernels::mat_mul_f32::MatMulF32;
use crate::kernels::pool_f32::PoolF32;
use crate::kernels::reduce_f32::{ReduceF32, Reduction};
use crate::kernels::softmax_f32::SoftmaxF32;
use crate::tensor::{Shape, Tensor};

/// The kernel of a step whose values are all f32.
pub(super) fn prepare(context: &Context) -> Boxed {
    let &Context {
        graph, isa, node, ..
    } = context;
    if let Op::Constant { tensor } = &node.op {
        return boxed(ConstantF32::prepare(isa, &context.tensor(tensor)?));
    }
    let x = context.input(0);
    match &node.op {
        Op::Conv2d(conv) => convolution(context, conv),
        Op::DepthwiseConv2d(conv) => depthwise(context, conv),
        Op::Dense(dense) => matrix_product(context, dense),
        Op::ScaleShift { scale, shift } => boxed(ScaleShiftF32::prepare(
            isa,
            &ScaleShiftParams {
                len: x.len(),
                channels: x.channels(),
                scale: context.tensor(scale)?,
                shift: context.tensor(shift)?,
            },
        )),
        Op::Activation(activation) => boxed(ActivationF32::prepare(isa, *activation, x.len())),
        Op::PRelu { alpha } => boxed(PReluF32::prepare(isa, x, &context.tensor(alpha)?)),
        Op::Softmax { axis } => {
            let axis = axis.unwrap_or(x.rank().saturating_sub(1));
            let (outer, rest) = x.dims().split_at(axis.min(x.rank()));
            let (columns, inner) = rest.split_first().unwrap_or((&1, &[]));
            let extents = [outer.iter().product(), *columns, inner.iter().product()];
            boxed(SoftmaxF32::prepare_along(isa, extents))
        }
        Op::MatMul => boxed(MatMulF32::prepare(isa, x, context.input(1))),
        Op::LayerNormalization {
            scale,
            shift,
            epsilon,
        } => boxed(LayerNormF32::prepare(
            isa,
            &LayerNormParams {
                rows: x.len() / x.channels(),
                columns: x.channels(),
                scale: context.tensor(scale)?,
                shift: context.tensor(shift)?,
                epsilon: *epsilon,
            },
        )),
        Op::Reduce { kind, axes, .. } => boxed(ReduceF32::prepare(isa, reduction(*kind), x, axes)),
        Op::Slice(slice) => boxed(SliceF32::prepare(isa, x, &strides(slice))),
        Op::Gather { axis, indices } => boxed(GatherF32::prepare(isa, x, *axis, indices)),
        Op::Binary { kind, activation } => boxed(BinaryF32::prepare(
            isa,
            &BinaryParams {
                arithmetic: arithmetic(*kind),
                a: x.clone(),
                b: context.input(1).clone(),
                activation: *activation,
            },
        )),
        Op::Concat { axis } => {
            let shapes: Vec<Shape> = node
                .inputs
                .iter()
                .map(|&input| graph.node(input).shape.clone())
                .collect();
            boxed(ConcatF32::prepare(isa, &shapes, *axis))
        }
        Op::Pool2d { kind, window } => boxed(PoolF32::prepare(
            isa,
            pooling(*kind),
            context.sliding(window)?,
        )),
        Op::GlobalPool { kind, .. } => boxed(GlobalPoolF32::prepare(
            isa,
            pooling(*kind),
            context.image()?,
        )),
        Op::Pad(padding) => boxed(PadF32::prepare(isa, context.image()?, sides(*padding))),
        Op::Crop(cropping) => boxed(CropF32::prepare(isa, context.image()?, sides(*cropping))),
        Op::Transpose { permutation } => boxed(TransposeF32::prepare(isa, x, permutation)),
        Op::Resize { kind, size } => {
            let resizing = match kind {
                ResizeKind::Nearest => Resizing::Nearest,
                ResizeKind::Bilinear => Resizing::Bilinear,
            };
            boxed(ResizeF32::prepare(isa, resizing, context.image()?, *size))
        }
        // The plan makes no steps for these.
        Op::Input | Op::Reshape { .. } | Op::Constant { .. } | Op::Quantize | Op::Dequantize => {
            Err(LowerError::NotImage(node.shape.clone()))
        }
    }
}

fn reduction(kind: ReduceKind) -> Reduction {
    match kind {
        ReduceKind::Mean => Reduction::Mean,
        ReduceKind::Sum => Reduction::Sum,
        ReduceKind::Max => Reduction::Max,
        ReduceKind::L2 => Reduction::L2,
    }
}

fn strides(slice: &Slice) -> Vec<Stride> {
    let bounds = slice.starts.iter().zip(&slice.ends).zip(&slice.steps);
    let strides = bounds.map(|((&start, &end), &step)| Stride { start, end, step });
    strides.collect()
}

fn optional(context: &Context, key: Option<&String>) -> Result<Option<Tensor>, LowerError> {
    key.map(|key| context.tensor(key)).transpose()
}

fn packed(context: &Context, kernel: &Kernel) -> Result<Tensor, LowerError> {
    match kernel.layout {
        KernelLayout::Panel16 => context.tensor(&kernel.tensor),
        KernelLayout::Plain | KernelLayout::Panel16x4 => {
            Err(LowerError::NotPacked(kernel.tensor.clone()))
        }
    }
}

fn convolution(context: &Context, conv: &Conv2d) -> Boxed {
    let params = ConvParams {
        window: context.sliding(&conv.window)?,
        groups: conv.groups,
        filters: conv.filters,
        weights: packed(context, &conv.kernel)?,
        scale: optional(context, conv.kernel.scale.as_ref())?,
        bias: optional(context, conv.bias.as_ref())?,
        activation: conv.epilogue.activation,
        residual: conv.epilogue.residual,
    };
    boxed(ConvF32::prepare(context.isa, &params))
}

fn depthwise(context: &Context, conv: &DepthwiseConv2d) -> Boxed {
    let params = DepthwiseParams {
        window: context.sliding(&conv.window)?,
        multiplier: conv.multiplier,
        weights: packed(context, &conv.kernel)?,
        bias: optional(context, conv.bias.as_ref())?,
        input_activation: context.input_activation(),
        activation: conv.activation,
    };
    boxed(DepthwiseF32::prepare(context.isa, &params))
}

fn matrix_product(context: &Context, dense: &Dense) -> Boxed {
    let features = context.input(0).channels();
    let params = DenseParams {
        rows: context.input(0).len() / features,
        features,
        units: dense.units,
        weights: packed(context, &dense.kernel)?,
        scale: optional(context, dense.kernel.scale.as_ref())?,
        bias: optional(context, dense.bias.as_ref())?,
        activation: dense.epilogue.activation,
        residual: dense.epilogue.residual,
    };
    boxed(DenseF32::prepare(context.isa, &params))
}
