//! The constants of a file: small ones in memory, weights as a way to read those of the graph.
//!
//! A weight is never copied as a whole. It is written element by element from the bytes of the
//! artifact (see [`Initializer::write`]): an index says which stored element comes next, because
//! the graph's weights are packed for its kernels and a file has them as its operators want them.

use std::fmt;
use std::io::{self, Write};

use half::{bf16, f16};
use serde::Serialize;

use super::wire::Message;
use crate::graph::KernelLayout;
use crate::tensor::{DType, PANEL, Tensor};

/// Inputs whose weights an integer panel keeps side by side ([`KernelLayout::Panel16x4`]).
const STEP: usize = 4;

/// The bit of an i8's sign: turning it adds 128, so that the result is a u8 with the zero point 128.
pub(super) const SIGN: u8 = 0x80;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// Types of elements, by their numbers in `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Element {
    /// Floats of 32 bits.
    #[serde(rename = "float32")]
    F32 = 1,
    /// Bytes.
    #[serde(rename = "uint8")]
    U8 = 2,
    /// Bytes with a sign.
    #[serde(rename = "int8")]
    I8 = 3,
    /// Whole numbers of 32 bits.
    #[serde(rename = "int32")]
    I32 = 6,
    /// Whole numbers of 64 bits.
    #[serde(rename = "int64")]
    I64 = 7,
    /// Floats of 16 bits.
    #[serde(rename = "float16")]
    F16 = 10,
    /// Floats of 64 bits.
    #[serde(rename = "float64")]
    F64 = 11,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::F64 => "float64",
        })
    }
}

impl Element {
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// Says which stored element an element of the file is.
pub(super) type Index<'g> = Box<dyn Fn(usize) -> usize + 'g>;

/// Where the elements come from.
pub(super) enum Data<'g> {
    /// Little-endian bytes.
    Inline(Vec<u8>),
    /// The graph's tensor.
    Stored {
        tensor: &'g Tensor,
        index: Index<'g>,
    },
}

/// A constant of the file.
pub(super) struct Initializer<'g> {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) element: Element,
    pub(super) data: Data<'g>,
}

impl Initializer<'_> {
    fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of its elements.
    pub(super) fn data_bytes(&self) -> u64 {
        (self.len() as u64).saturating_mul(self.element.bytes() as u64)
    }

    /// Its `TensorProto` up to the elements, which follow and are its last field.
    pub(super) fn head(&self) -> Message {
        let mut message = Message::default();
        for &extent in &self.dims {
            message.int(1, i64::try_from(extent).unwrap_or(i64::MAX));
        }
        message.int(2, self.element.number());
        message.bytes(8, self.name.as_bytes());
        message.head(9, self.data_bytes());
        message
    }

    /// Writes the elements.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (tensor, index) = match &self.data {
            Data::Inline(bytes) => return out.write_all(bytes),
            Data::Stored { tensor, index } => (tensor, index),
        };
        let stored = tensor.bytes();
        let width = tensor.dtype().bytes();
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + 8);
        for i in 0..self.len() {
            let start = index(i) * width;
            let bytes = &stored[start..start + width];
            match (tensor.dtype(), self.element, bytes) {
                (DType::BF16, Element::F16, &[a, b]) => {
                    let value = f16::from_f32(bf16::from_le_bytes([a, b]).to_f32());
                    buffer.extend(value.to_le_bytes());
                }
                // The upper half of a float is one with zeros below.
                (DType::BF16, Element::F32, &[a, b]) => buffer.extend([0, 0, a, b]),
                (DType::I8, Element::U8, &[byte]) => buffer.push(byte ^ SIGN),
                _ => buffer.extend_from_slice(bytes),
            }
            if buffer.len() >= BUFFER_BYTES {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
        out.write_all(&buffer)
    }
}

/// How a matrix `[k, groups * n]` is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) layout: KernelLayout,
    pub(super) groups: usize,
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Matrix {
    /// Elements that are stored, padding included.
    pub(super) fn stored_len(self) -> usize {
        let Self { groups, k, n, .. } = self;
        match self.layout {
            KernelLayout::Plain => groups * k * n,
            KernelLayout::Panel16 => groups * n.div_ceil(PANEL) * k * PANEL,
            KernelLayout::Panel16x4 => groups * n.div_ceil(PANEL) * k.div_ceil(STEP) * PANEL * STEP,
        }
    }

    /// Where row `row` of output `column` (groups follow one another) is.
    pub(super) fn at(self, row: usize, column: usize) -> usize {
        let Self { groups, k, n, .. } = self;
        let (group, channel) = (column / n, column % n);
        let panel = group * n.div_ceil(PANEL) + channel / PANEL;
        match self.layout {
            KernelLayout::Plain => row * groups * n + column,
            KernelLayout::Panel16 => (panel * k + row) * PANEL + channel % PANEL,
            KernelLayout::Panel16x4 => {
                let step = panel * k.div_ceil(STEP) + row / STEP;
                (step * PANEL + channel % PANEL) * STEP + row % STEP
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel;

    #[test]
    fn elements_are_found_in_every_layout() {
        for (groups, k, n) in [(1, 1, 1), (1, 5, 17), (2, 4, 3), (3, 6, 20)] {
            let plain: Vec<i8> = (0..127).cycle().take(groups * k * n).collect();
            let floats: Vec<f32> = plain.iter().map(|&v| f32::from(v)).collect();
            let packed = panel::pack(&floats, groups, k, n);
            let integers = panel::pack_i8(&plain, groups, k, n);
            let of = |layout| Matrix {
                layout,
                groups,
                k,
                n,
            };
            for row in 0..k {
                for column in 0..groups * n {
                    let expected = plain[row * groups * n + column];
                    let at = of(KernelLayout::Panel16).at(row, column);
                    assert_eq!(packed.as_slice()[at], f32::from(expected));
                    assert_eq!(
                        integers[of(KernelLayout::Panel16x4).at(row, column)],
                        expected
                    );
                }
            }
            assert_eq!(
                of(KernelLayout::Panel16).stored_len(),
                packed.as_slice().len()
            );
            assert_eq!(of(KernelLayout::Panel16x4).stored_len(), integers.len());
        }
    }

    #[test]
    fn bfloat16_becomes_the_nearest_half_or_the_same_float() {
        let values = [1.0f32, -0.15625, 65_280.0];
        let bytes = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes());
        let tensor = Tensor::from_bytes(DType::BF16, [3], bytes.collect()).unwrap();
        for element in [Element::F16, Element::F32] {
            let initializer = Initializer {
                name: "w".into(),
                dims: vec![3],
                element,
                data: Data::Stored {
                    tensor: &tensor,
                    index: Box::new(|i| 2 - i),
                },
            };
            let mut out = Vec::new();
            initializer.write(&mut out).unwrap();
            let expected: Vec<u8> = match element {
                Element::F16 => values
                    .iter()
                    .rev()
                    .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                    .collect(),
                _ => values.iter().rev().flat_map(|&v| v.to_le_bytes()).collect(),
            };
            assert_eq!(out, expected);
            assert_eq!(initializer.data_bytes(), out.len() as u64);
        }
    }
}
