//! Why an operation cannot be prepared.

use crate::hint::{Arguments, Hint, named};
use crate::tensor::{DType, Shape};

/// Why an operation cannot be prepared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KernelError {
    /// The shape of a weight tensor does not match the geometry.
    #[error("{what}: expected shape {expected}, got {got}")]
    TensorShape {
        /// The tensor: `weights`, `bias`.
        what: &'static str,
        /// The shape that the geometry needs.
        expected: Shape,
        /// The shape of the tensor.
        got: Shape,
    },
    /// A weight tensor has an element type that the kernel does not read.
    #[error("{what}: expected {expected}, got {got}")]
    TensorDType {
        /// The tensor: `weights`, `bias`.
        what: &'static str,
        /// The type that the kernel reads.
        expected: DType,
        /// The type of the tensor.
        got: DType,
    },
    /// The geometry is impossible: a zero extent, a window that does not fit, an overflow.
    #[error("{what} is {got}, but {rule}")]
    Geometry {
        /// The attribute.
        what: &'static str,
        /// Its value.
        got: String,
        /// What it must satisfy.
        rule: &'static str,
    },
}

impl Hint for KernelError {
    fn kind(&self) -> &'static str {
        match self {
            Self::TensorShape { .. } => "tensor_shape",
            Self::TensorDType { .. } => "tensor_dtype",
            Self::Geometry { .. } => "geometry",
        }
    }

    fn hint(&self) -> String {
        "import the model again with this version".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::TensorShape {
                what,
                expected,
                got,
            } => named!(what, %expected, %got),
            Self::TensorDType {
                what,
                expected,
                got,
            } => named!(what, %expected, %got),
            Self::Geometry { what, got, rule } => named!(what, got, rule),
        }
    }
}
