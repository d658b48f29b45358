//! Why an operation cannot be prepared.

use crate::hint::{Arguments, Hint, named};
use crate::tensor::{DType, Shape};

/// Why an operation cannot be prepared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KernelError {
    /// A weight tensor has another shape than the geometry asks for.
    #[error("{what}: expected shape {expected}, got {got}")]
    TensorShape {
        /// Which tensor: `weights`, `bias`.
        what: &'static str,
        /// What the geometry asks for.
        expected: Shape,
        /// What it is.
        got: Shape,
    },
    /// A weight tensor has an element type that the kernel does not read.
    #[error("{what}: expected {expected}, got {got}")]
    TensorDType {
        /// Which tensor: `weights`, `bias`.
        what: &'static str,
        /// What the kernel reads.
        expected: DType,
        /// What it is.
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
