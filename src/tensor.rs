//! Shapes, element types and read-only tensors.
//!
//! A [`Tensor`] is a dtype, a shape and bytes. The bytes are owned, static or a range of a file's
//! bytes, so that weights of a loaded artifact are used in place. Cloning a tensor never copies its
//! bytes. Storage that this module allocates starts on a 64-byte boundary (one cache line, one
//! AVX-512 register), which the artifact format also promises for a mapped file.
//!
//! Not here: arithmetic. That is `kernels/` (fast) and `reference/` (candle).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use crate::hint::{Arguments, Hint, named};
pub use crate::storage::ALIGNMENT;
use crate::storage::FileBytes;

/// Channels in one packed weight panel: the lanes of one AVX-512 f32 register.
pub const PANEL: usize = 16;

/// Most axes of a value. Window attention reshapes to six; with the batch axis that a source has and
/// a graph does not, seven.
pub const MAX_RANK: usize = 8;

/// Element type of a [`Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Two's complement 32 bits.
    I32,
    /// Two's complement 8 bits.
    I8,
}

impl DType {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I32 => "i32",
            Self::I8 => "i8",
        })
    }
}

/// Extents of a tensor, outermost first. An activation is `[H, W, C]` or `[C]`: the engine runs
/// one image at a time, so there is no batch axis.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape from its extents.
    #[must_use]
    pub fn new(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }

    /// The extents.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements; `None` if it overflows.
    #[must_use]
    pub fn checked_len(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Number of elements, saturating.
    #[must_use]
    pub fn len(&self) -> usize {
        self.checked_len().unwrap_or(usize::MAX)
    }

    /// Whether an extent is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last extent (channels), 1 for a scalar.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// `[H, W, C]` of a rank-3 shape.
    #[must_use]
    pub fn hwc(&self) -> Option<[usize; 3]> {
        self.0.as_slice().try_into().ok()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

/// One cache line of floats: the unit in which [`AlignedF32`] allocates.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A zeroed, 64-byte aligned buffer of `f32`.
#[derive(Clone)]
pub struct AlignedF32 {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedF32 {
    /// A buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self {
            lines: bytemuck::zeroed_vec(len.div_ceil(16)),
            len,
        }
    }

    /// The elements.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// The elements, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[derive(Clone)]
enum Storage {
    F32(Arc<AlignedF32>),
    Bytes(Arc<Vec<u8>>),
    Static(&'static [u8]),
    File(FileBytes),
}

impl Storage {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice(v.as_slice()),
            Self::Bytes(v) => v,
            Self::Static(v) => v,
            Self::File(bytes) => bytes,
        }
    }
}

/// A read-only tensor. See the module's documentation.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    storage: Storage,
    range: Range<usize>,
}

/// Why bytes do not make a tensor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TensorError {
    /// The byte count is not shape times element size.
    #[error("shape {shape} of {dtype} takes {expected} bytes, got {got}")]
    ByteCount {
        /// The tensor's shape.
        shape: Shape,
        /// Its element type.
        dtype: DType,
        /// Bytes that shape and dtype need.
        expected: usize,
        /// Given bytes.
        got: usize,
    },
    /// The range leaves its storage.
    #[error("bytes {start}..{end} lie outside a storage of {len} bytes")]
    Range {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// Bytes of the storage.
        len: usize,
    },
    /// The first byte is not aligned to the element size.
    #[error("tensor data at byte {offset} is not aligned for {dtype}")]
    Alignment {
        /// Offset in its storage.
        offset: usize,
        /// The element type.
        dtype: DType,
    },
}

impl Hint for TensorError {
    fn kind(&self) -> &'static str {
        match self {
            Self::ByteCount { .. } => "byte_count",
            Self::Range { .. } => "range",
            Self::Alignment { .. } => "alignment",
        }
    }

    fn hint(&self) -> String {
        "the file is damaged: copy it again, or import its source again".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::ByteCount {
                shape,
                dtype,
                expected,
                got,
            } => named!(%shape, %dtype, expected, got),
            Self::Range { start, end, len } => named!(start, end, len),
            Self::Alignment { offset, dtype } => named!(offset, %dtype),
        }
    }
}

impl Tensor {
    /// An f32 tensor that owns a copy of `values`.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if `values` does not fill `shape`.
    pub fn from_f32(shape: impl Into<Shape>, values: &[f32]) -> Result<Self, TensorError> {
        let mut buffer = AlignedF32::zeroed(values.len());
        buffer.as_mut_slice().copy_from_slice(values);
        Self::from_aligned(shape, buffer)
    }

    /// An f32 tensor over `buffer`, without a copy.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if `buffer` does not fill `shape`.
    pub fn from_aligned(shape: impl Into<Shape>, buffer: AlignedF32) -> Result<Self, TensorError> {
        let bytes = buffer.len * 4;
        Self::new(
            DType::F32,
            shape.into(),
            Storage::F32(Arc::new(buffer)),
            0..bytes,
        )
    }

    /// A tensor of any dtype that owns `bytes` (little endian).
    ///
    /// # Errors
    /// [`TensorError`] if `bytes` does not fill `shape`.
    pub fn from_bytes(
        dtype: DType,
        shape: impl Into<Shape>,
        bytes: Vec<u8>,
    ) -> Result<Self, TensorError> {
        let range = 0..bytes.len();
        Self::new(dtype, shape.into(), Storage::Bytes(Arc::new(bytes)), range)
    }

    /// A tensor over a range of a file's bytes, without a copy.
    ///
    /// # Errors
    /// [`TensorError`] if the range leaves the file, does not fill `shape`, or is misaligned.
    pub fn from_file(
        dtype: DType,
        shape: impl Into<Shape>,
        file: FileBytes,
        range: Range<usize>,
    ) -> Result<Self, TensorError> {
        Self::new(dtype, shape.into(), Storage::File(file), range)
    }

    /// A tensor over a range of static bytes (the embedded model), without a copy.
    ///
    /// # Errors
    /// [`TensorError`] if the range leaves `bytes`, does not fill `shape`, or is misaligned.
    pub fn from_static(
        dtype: DType,
        shape: impl Into<Shape>,
        bytes: &'static [u8],
        range: Range<usize>,
    ) -> Result<Self, TensorError> {
        Self::new(dtype, shape.into(), Storage::Static(bytes), range)
    }

    fn new(
        dtype: DType,
        shape: Shape,
        storage: Storage,
        range: Range<usize>,
    ) -> Result<Self, TensorError> {
        let len = storage.bytes().len();
        let slice = storage
            .bytes()
            .get(range.clone())
            .ok_or(TensorError::Range {
                start: range.start,
                end: range.end,
                len,
            })?;
        let expected = shape.len().saturating_mul(dtype.bytes());
        if slice.len() != expected {
            return Err(TensorError::ByteCount {
                shape,
                dtype,
                expected,
                got: slice.len(),
            });
        }
        if !(slice.as_ptr() as usize).is_multiple_of(dtype.bytes()) {
            return Err(TensorError::Alignment {
                offset: range.start,
                dtype,
            });
        }
        Ok(Self {
            dtype,
            shape,
            storage,
            range,
        })
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The raw little-endian bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.storage.bytes()[self.range.clone()]
    }

    /// The elements of an f32 tensor; `None` for another dtype.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        (self.dtype == DType::F32).then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// The elements of an i32 tensor; `None` for another dtype.
    #[must_use]
    pub fn as_i32(&self) -> Option<&[i32]> {
        (self.dtype == DType::I32).then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// The elements of an i8 tensor; `None` for another dtype.
    #[must_use]
    pub fn as_i8(&self) -> Option<&[i8]> {
        (self.dtype == DType::I8).then(|| bytemuck::cast_slice(self.bytes()))
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocated_storage_is_aligned_and_zeroed() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let buffer = AlignedF32::zeroed(len);
            assert_eq!(buffer.as_slice().len(), len);
            assert!((buffer.as_slice().as_ptr() as usize).is_multiple_of(ALIGNMENT));
            assert!(buffer.as_slice().iter().all(|&v| v == 0.0));
        }
    }

    #[test]
    fn a_tensor_refuses_bytes_that_do_not_fill_its_shape() {
        let got = Tensor::from_f32([2, 3], &[0.0; 5]).unwrap_err();
        assert_eq!(
            got.to_string(),
            "shape [2, 3] of f32 takes 24 bytes, got 20"
        );
        let huge = Tensor::from_bytes(DType::I8, [usize::MAX, 2], vec![0; 4]);
        assert!(matches!(huge, Err(TensorError::ByteCount { .. })));
    }

    #[test]
    fn a_tensor_refuses_a_range_outside_its_storage() {
        static BYTES: [u8; 8] = [0; 8];
        let got = Tensor::from_static(DType::I8, [4], &BYTES, 6..10).unwrap_err();
        assert_eq!(
            got,
            TensorError::Range {
                start: 6,
                end: 10,
                len: 8
            }
        );
    }
}
