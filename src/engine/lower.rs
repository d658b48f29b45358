//! From a step of the plan to the kernel that computes it.

use super::lower_i8;
use super::plan::Step;
use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Graph, Kernel, KernelLayout, Op, Padding, PoolKind,
    ResizeKind, Window,
};
use crate::kernels::activation_f32::ActivationF32;
use crate::kernels::conv_f32::{ConvF32, ConvParams};
use crate::kernels::dense_f32::{DenseF32, DenseParams};
use crate::kernels::depthwise_f32::{DepthwiseF32, DepthwiseParams};
use crate::kernels::elementwise_f32::{
    Arithmetic, BinaryF32, BinaryParams, PReluF32, ScaleShiftF32, ScaleShiftParams,
};
use crate::kernels::global_pool_f32::GlobalPoolF32;
use crate::kernels::layout_f32::{ConcatF32, CropF32, PadF32, ResizeF32, Resizing, TransposeF32};
use crate::kernels::pool_f32::{PoolF32, Pooling};
use crate::kernels::softmax_f32::SoftmaxF32;
use crate::kernels::{Isa, KernelError, PreparedOp, SlidingWindow};
use crate::tensor::{Shape, Tensor};

/// Why a node has no kernel.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// Its weights are not packed.
    #[error("tensor `{0}` is not in the packed layout; import the model again")]
    NotPacked(String),
    /// A tensor is not there.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// An input that should be an image is not.
    #[error("expected an input of shape [H, W, C], got {0}")]
    NotImage(Shape),
    /// There is no integer kernel for the op.
    #[error("there is no 8-bit kernel for it; quantize the model again with this version")]
    NoIntegerKernel,
    /// A kernel refused its parameters.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

pub(super) type Boxed = Result<Box<dyn PreparedOp>, LowerError>;

/// Boxes what a kernel's `prepare` returned.
pub(super) fn boxed<T: PreparedOp + 'static>(op: Result<T, KernelError>) -> Boxed {
    Ok(Box::new(op?))
}

/// The kernel of a step on a tier.
pub(super) fn prepare(graph: &Graph, step: &Step, isa: Isa) -> Boxed {
    let node = graph.node(step.node);
    let reads_bytes = (step.inputs.iter()).any(|&id| graph.node(id).quantization.is_some());
    if reads_bytes || node.quantization.is_some() {
        return lower_i8::prepare(graph, step, isa);
    }
    let context = Context { graph, step, isa };
    let x = context.input();
    match &node.op {
        Op::Conv2d(conv) => context.conv(conv),
        Op::DepthwiseConv2d(conv) => context.depthwise(conv),
        Op::Dense(dense) => context.dense(dense),
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
        Op::Softmax => {
            let columns = x.channels();
            boxed(SoftmaxF32::prepare(isa, x.len() / columns, columns))
        }
        Op::Binary { kind, activation } => boxed(BinaryF32::prepare(
            isa,
            &BinaryParams {
                arithmetic: arithmetic(*kind),
                a: x.clone(),
                b: context.input_at(1).clone(),
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
        // The plan makes no steps of these.
        Op::Input | Op::Reshape { .. } | Op::Quantize | Op::Dequantize => {
            Err(LowerError::NotImage(node.shape.clone()))
        }
    }
}

pub(super) fn arithmetic(kind: BinaryOp) -> Arithmetic {
    match kind {
        BinaryOp::Add => Arithmetic::Add,
        BinaryOp::Sub => Arithmetic::Sub,
        BinaryOp::Mul => Arithmetic::Mul,
        BinaryOp::Div => Arithmetic::Div,
        BinaryOp::Max => Arithmetic::Max,
        BinaryOp::Min => Arithmetic::Min,
    }
}

pub(super) fn pooling(kind: PoolKind) -> Pooling {
    match kind {
        PoolKind::Max => Pooling::Max,
        PoolKind::Average => Pooling::Average,
    }
}

pub(super) fn sides(p: Padding) -> [usize; 4] {
    [p.top, p.left, p.bottom, p.right]
}

struct Context<'a> {
    graph: &'a Graph,
    step: &'a Step,
    isa: Isa,
}

impl<'a> Context<'a> {
    /// Shape of an input as the node sees it. What is stored may have another (reshapes only
    /// rename), with as many elements.
    fn input_at(&self, i: usize) -> &'a Shape {
        let node = self.graph.node(self.step.node);
        &self.graph.node(node.inputs[i]).shape
    }

    fn input(&self) -> &'a Shape {
        self.input_at(0)
    }

    fn image(&self) -> Result<[usize; 3], LowerError> {
        self.input()
            .hwc()
            .ok_or_else(|| LowerError::NotImage(self.input().clone()))
    }

    fn tensor(&self, key: &str) -> Result<Tensor, LowerError> {
        let tensor = self.graph.tensors.get(key).cloned();
        tensor.ok_or_else(|| LowerError::MissingTensor(key.to_owned()))
    }

    fn optional(&self, key: Option<&String>) -> Result<Option<Tensor>, LowerError> {
        key.map(|key| self.tensor(key)).transpose()
    }

    fn packed(&self, kernel: &Kernel) -> Result<Tensor, LowerError> {
        match kernel.layout {
            KernelLayout::Panel16 => self.tensor(&kernel.tensor),
            KernelLayout::Plain | KernelLayout::Panel16x4 => {
                Err(LowerError::NotPacked(kernel.tensor.clone()))
            }
        }
    }

    fn sliding(&self, window: &Window) -> Result<SlidingWindow, LowerError> {
        Ok(SlidingWindow {
            input: self.image()?,
            kernel: window.kernel,
            strides: window.strides,
            dilations: window.dilations,
            padding: sides(window.padding),
        })
    }

    fn conv(&self, conv: &Conv2d) -> Boxed {
        let params = ConvParams {
            window: self.sliding(&conv.window)?,
            groups: conv.groups,
            filters: conv.filters,
            weights: self.packed(&conv.kernel)?,
            scale: self.optional(conv.kernel.scale.as_ref())?,
            bias: self.optional(conv.bias.as_ref())?,
            activation: conv.epilogue.activation,
            residual: conv.epilogue.residual,
        };
        boxed(ConvF32::prepare(self.isa, &params))
    }

    fn depthwise(&self, conv: &DepthwiseConv2d) -> Boxed {
        let input_activation = match self.step.relu_on_input {
            Some(_) => Activation::Relu,
            None => Activation::Linear,
        };
        let params = DepthwiseParams {
            window: self.sliding(&conv.window)?,
            multiplier: conv.multiplier,
            weights: self.packed(&conv.kernel)?,
            bias: self.optional(conv.bias.as_ref())?,
            input_activation,
            activation: conv.activation,
        };
        boxed(DepthwiseF32::prepare(self.isa, &params))
    }

    fn dense(&self, dense: &Dense) -> Boxed {
        let features = self.input().channels();
        let params = DenseParams {
            rows: self.input().len() / features,
            features,
            units: dense.units,
            weights: self.packed(&dense.kernel)?,
            scale: self.optional(dense.kernel.scale.as_ref())?,
            bias: self.optional(dense.bias.as_ref())?,
            activation: dense.epilogue.activation,
            residual: dense.epilogue.residual,
        };
        boxed(DenseF32::prepare(self.isa, &params))
    }
}
