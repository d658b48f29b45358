//! Operations that move f32 values: copy, pad, crop, concatenate, transpose, slice, gather, resize.
//!
//! All except the bilinear resize move bits and are the same on every tier. `memcpy` moves the
//! rows. Rows too short for its call overhead (few channels) rarely reach it.

mod concat;
mod constant;
mod frame;
mod reference;
mod resize;
mod slice;
mod strided;
mod transpose;

pub use concat::{ConcatF32, CopyF32};
pub use constant::ConstantF32;
pub use frame::{CropF32, PadF32};
pub use reference::{
    concat_reference, crop_reference, gather_reference, pad_reference, resize_f32_reference,
    slice_reference, transpose_reference,
};
pub use resize::{ResizeF32, Resizing};
pub use slice::{GatherF32, SliceF32, Stride};
pub use transpose::TransposeF32;
