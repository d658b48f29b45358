//! Which values, inputs and weights may be bytes together.
//!
//! A value is f32 or, with a `quantization`, u8. An op computes on one kind: integers if its inputs
//! are bytes, real numbers if they are f32. `Quantize` and `Dequantize` nodes stand between.

use super::{BinaryOp, Graph, KernelLayout, Node, Op};
use crate::hint::{Arguments, Hint, named};
use crate::quantization::Quantization;
use crate::tensor::DType;

/// Why storage forms do not match.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum StorageError {
    /// A scale that is not a positive normal number.
    #[error("scale {0} is not a positive number")]
    Scale(f32),
    /// A value should be bytes.
    #[error("{0} must be quantized here")]
    NotQuantized(&'static str),
    /// A value should be f32.
    #[error("{0} must not be quantized here")]
    Quantized(&'static str),
    /// The op only moves bytes, so its result must have the input's quantization.
    #[error("the result's quantization {got:?} must be the input's, {expected:?}")]
    Changed {
        /// The input's.
        expected: Quantization,
        /// The node's.
        got: Quantization,
    },
    /// The element type of a weight tensor does not match its layout.
    #[error("tensor `{tensor}`: expected {expected}, got {got}")]
    Tensor {
        /// The key.
        tensor: String,
        /// The type that the layout needs.
        expected: &'static str,
        /// The type of the tensor.
        got: DType,
    },
}

impl Hint for StorageError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Scale(_) => "bad_scale",
            Self::NotQuantized(_) => "not_quantized",
            Self::Quantized(_) => "quantized",
            Self::Changed { .. } => "quantization_changed",
            Self::Tensor { .. } => "tensor_dtype",
        }
    }

    fn hint(&self) -> String {
        "the file is damaged, or another program wrote it: quantize the f32 file again".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Scale(scale) => named!(scale),
            Self::NotQuantized(what) | Self::Quantized(what) => named!(what),
            Self::Changed { expected, got } => named!()
                .text("expected", &format_args!("{expected:?}"))
                .text("got", &format_args!("{got:?}")),
            Self::Tensor {
                tensor,
                expected,
                got,
            } => named!(tensor, expected, %got),
        }
    }
}

pub(super) fn check(graph: &Graph, node: &Node) -> Result<(), StorageError> {
    if let Some(own) = node.quantization
        && !own.is_valid()
    {
        return Err(StorageError::Scale(own.scale));
    }
    let inputs: Vec<Option<Quantization>> = node
        .inputs
        .iter()
        .map(|&input| graph.node(input).quantization)
        .collect();
    tensors(graph, node)?;
    let all_real = || match (inputs.iter().any(Option::is_some), node.quantization) {
        (true, _) => Err(StorageError::Quantized("an input")),
        (_, Some(_)) => Err(StorageError::Quantized("the result")),
        _ => Ok(()),
    };
    let all_bytes = || match (inputs.iter().all(Option::is_some), node.quantization) {
        (false, _) => Err(StorageError::NotQuantized("every input")),
        (_, None) => Err(StorageError::NotQuantized("the result")),
        _ => Ok(()),
    };
    let first = inputs.first().copied().flatten();
    match &node.op {
        Op::Input => all_real(),
        Op::Quantize => match (first, node.quantization) {
            (Some(_), _) => Err(StorageError::Quantized("the input")),
            (None, None) => Err(StorageError::NotQuantized("the result")),
            (None, Some(_)) => Ok(()),
        },
        Op::Dequantize => match (first, node.quantization) {
            (None, _) => Err(StorageError::NotQuantized("the input")),
            (_, Some(_)) => Err(StorageError::Quantized("the result")),
            (Some(_), None) => Ok(()),
        },
        Op::Conv2d(_) | Op::Dense(_) | Op::DepthwiseConv2d(_) => {
            let integers = node
                .op
                .kernel()
                .is_some_and(|kernel| kernel.layout == KernelLayout::Panel16x4);
            match (integers, node.quantization) {
                (false, _) => all_real(),
                (true, Some(_)) => all_bytes(),
                // A depthwise result is never the answer; matrix products may end in real numbers,
                // alone.
                (true, None) if inputs.len() > 1 || matches!(node.op, Op::DepthwiseConv2d(_)) => {
                    Err(StorageError::NotQuantized("the result"))
                }
                (true, None) if first.is_none() => Err(StorageError::NotQuantized("the input")),
                (true, None) => Ok(()),
            }
        }
        _ if first.is_none() => all_real(),
        Op::Binary {
            kind: BinaryOp::Div,
            ..
        } => all_real(),
        Op::Binary { .. } | Op::Concat { .. } | Op::Activation(_) | Op::Pool2d { .. } => {
            all_bytes()
        }
        // The mean of a map may end in real numbers, because heads read it.
        Op::GlobalPool { .. } => Ok(()),
        Op::Reshape { .. } | Op::Pad(_) => {
            all_bytes()?;
            match (first, node.quantization) {
                (Some(expected), Some(got)) if expected != got => {
                    Err(StorageError::Changed { expected, got })
                }
                _ => Ok(()),
            }
        }
        _ => all_real(),
    }
}

/// Integer layouts have i8 with i32 biases. The others have floats, or i8 with a scale for each
/// channel, except in packed depthwise kernels; their biases are floats.
fn tensors(graph: &Graph, node: &Node) -> Result<(), StorageError> {
    if matches!(node.op, Op::Constant { .. } | Op::LayerNormalization { .. }) {
        let stored = node.op.tensors().into_iter();
        let stored = stored.filter_map(|key| Some((key, graph.tensors.get(key)?.dtype())));
        let mut others = stored.filter(|(_, dtype)| *dtype != DType::F32);
        return others.next().map_or(Ok(()), |(key, got)| {
            Err(StorageError::Tensor {
                tensor: key.to_owned(),
                expected: "f32",
                got,
            })
        });
    }
    let Some(kernel) = node.op.kernel() else {
        return Ok(());
    };
    let integers = kernel.layout == KernelLayout::Panel16x4;
    let is_matrix = matches!(node.op, Op::Conv2d(_) | Op::Dense(_));
    for (position, key) in node.op.tensors().into_iter().enumerate() {
        let Some(tensor) = graph.tensors.get(key) else {
            continue;
        };
        let dtype = tensor.dtype();
        let is_scale = kernel.scale.as_deref() == Some(key);
        let (good, expected) = match (integers, is_scale, position) {
            (_, true, _) => (dtype == DType::F32, "f32"),
            (true, false, 0) => (dtype == DType::I8, "i8"),
            (true, false, _) => (dtype == DType::I32, "i32"),
            (false, false, 0) if kernel.scale.is_some() => (
                dtype == DType::I8 && (is_matrix || kernel.layout == KernelLayout::Plain),
                "i8 in a packed matrix, as there is a scale",
            ),
            (false, ..) => (
                matches!(dtype, DType::F32 | DType::F16 | DType::BF16),
                "a float type",
            ),
        };
        if !good {
            return Err(StorageError::Tensor {
                tensor: key.to_owned(),
                expected,
                got: dtype,
            });
        }
    }
    Ok(())
}
