//! Shared by padding, cropping and joining for every element type: they move bytes.
//!
//! Geometry is checked in elements and stored in bytes. The operations themselves are in
//! `layout_f32`, `pad_i8` and `concat_i8`.

mod frame;
mod join;

pub(super) use frame::Frame;
pub(super) use join::Join;

/// Nanoseconds to move this many bytes from the second- or third-level cache.
pub(super) fn move_ns(bytes: usize) -> usize {
    bytes / 16
}
