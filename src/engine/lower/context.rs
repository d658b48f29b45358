//! What both kinds of kernels need to know about a step: shapes, tensors, windows.

use crate::activation::Activation;
use crate::engine::plan::Step;
use crate::graph::{BinaryOp, Graph, Node, Padding, PoolKind, Window};
use crate::hint::{Arguments, Hint, named};
use crate::kernels::elementwise_f32::Arithmetic;
use crate::kernels::pool_f32::Pooling;
use crate::kernels::{Isa, KernelError, PreparedOp, SlidingWindow};
use crate::tensor::{Shape, Tensor};

/// Why a node has no kernel.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// Its weights are not packed.
    #[error("tensor `{0}` is not in the packed layout; import the model again")]
    NotPacked(String),
    /// A tensor is missing.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// An input is not an image, but should be.
    #[error("expected an input of shape [H, W, C], got {0}")]
    NotImage(Shape),
    /// There is no integer kernel for the op.
    #[error("there is no 8-bit kernel for it; quantize the model again with this version")]
    NoIntegerKernel,
    /// A kernel refused its parameters.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Hint for LowerError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotPacked(_) => "not_packed",
            Self::MissingTensor(_) => "missing_tensor",
            Self::NotImage(_) => "not_image",
            Self::NoIntegerKernel => "no_integer_kernel",
            Self::Kernel(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        "import the model again with this version".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NotPacked(tensor) | Self::MissingTensor(tensor) => named!(tensor),
            Self::NotImage(shape) => named!(%shape),
            Self::Kernel(error) => error.arguments(),
            Self::NoIntegerKernel => named!(),
        }
    }
}

pub(super) type Boxed = Result<Box<dyn PreparedOp>, LowerError>;

/// Boxes what a kernel's `prepare` returned.
pub(super) fn boxed<T: PreparedOp + 'static>(op: Result<T, KernelError>) -> Boxed {
    Ok(Box::new(op?))
}

/// A step, and the places to look up the names in its node.
pub(super) struct Context<'a> {
    pub(super) graph: &'a Graph,
    pub(super) step: &'a Step,
    pub(super) isa: Isa,
    /// The node that defines the computation: the one before, if the step ends in a table.
    pub(super) node: &'a Node,
}

impl<'a> Context<'a> {
    pub(super) fn new(graph: &'a Graph, step: &'a Step, isa: Isa) -> Self {
        Self {
            graph,
            step,
            isa,
            node: graph.node(step.sum.unwrap_or(step.node)),
        }
    }

    /// Shape of an input as the node sees it. The stored value may have another shape with as many
    /// elements, because a reshape only renames.
    pub(super) fn input(&self, i: usize) -> &'a Shape {
        &self.graph.node(self.node.inputs[i]).shape
    }

    /// Rows, columns and channels of input 0.
    pub(super) fn image(&self) -> Result<[usize; 3], LowerError> {
        let shape = self.input(0);
        shape
            .hwc()
            .ok_or_else(|| LowerError::NotImage(shape.clone()))
    }

    pub(super) fn tensor(&self, key: &str) -> Result<Tensor, LowerError> {
        let tensor = self.graph.tensors.get(key).cloned();
        tensor.ok_or_else(|| LowerError::MissingTensor(key.to_owned()))
    }

    /// A window over input 0.
    pub(super) fn sliding(&self, window: &Window) -> Result<SlidingWindow, LowerError> {
        Ok(SlidingWindow {
            input: self.image()?,
            kernel: window.kernel,
            strides: window.strides,
            dilations: window.dilations,
            padding: sides(window.padding),
        })
    }

    /// The function that a depthwise convolution applies to each element that it loads.
    pub(super) fn input_activation(&self) -> Activation {
        match self.step.relu_on_input {
            Some(_) => Activation::Relu,
            None => Activation::Linear,
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
