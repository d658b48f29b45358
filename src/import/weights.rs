//! The source of weights: named arrays of numbers in a file.

use super::error::ImportError;

/// How an array's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    /// Whole numbers: counters, states of random generators, quantized weights.
    Integer,
    Other,
}

/// Named arrays of numbers.
pub(super) trait WeightSource {
    /// Extents of an array; `None` if there is none with this name.
    fn shape(&self, name: &str) -> Option<&[usize]>;
    /// How its elements are stored.
    fn element(&self, name: &str) -> Option<Element>;
    /// Reads an array of floating-point numbers as f32, in row-major order, into a buffer of its
    /// length.
    fn read(&self, name: &str, into: &mut [f32]) -> Result<(), ImportError>;
}
