//! Elementwise operations in f32: of two values with NumPy's broadcasting, and of a value with
//! constants (scale and shift, PReLU).
//!
//! An activation that is a clamp is applied in registers. Any other activation follows on the block
//! just written, while it is in the first-level cache. Operand 0 may be overwritten if it has the
//! result's shape.

mod binary;
pub(super) mod broadcast;
mod reference;
mod scale_shift;

pub use binary::{Arithmetic, BinaryF32, BinaryParams, PReluF32};
pub use reference::{binary_f32_reference, scale_shift_f32_reference};
pub use scale_shift::{ScaleShiftF32, ScaleShiftParams};
