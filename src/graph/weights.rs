//! The real numbers that a node's stored weights represent, whatever their type and layout.
//!
//! In: floats, half floats or integers with scales, plain or packed (see [`KernelLayout`]). Out:
//! f32 in the plain layouts. For code that analyses weights; kernels read them as they are stored.

use super::{Graph, Kernel, KernelLayout, Node};
use crate::hint::{Arguments, Hint, named};
use crate::panel;
use crate::tensor::{DType, Tensor};

/// A weight tensor is absent, or does not have what its node needs.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("node `{node}`: weight `{key}` is missing or not a float tensor")]
pub struct WeightError {
    /// The node.
    pub node: String,
    /// The tensor's key.
    pub key: String,
}

impl Hint for WeightError {
    fn kind(&self) -> &'static str {
        "weight"
    }

    fn hint(&self) -> String {
        "the file is damaged: copy it again, or import its source again".to_owned()
    }

    fn arguments(&self) -> Arguments {
        let Self { node, key } = self;
        named!(node, key)
    }
}

/// A kernel in its plain layout, and the bias for it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainKernel {
    /// The weights, rows of one weight for each output channel.
    pub weights: Vec<f32>,
    /// One number for each output channel, or one for all.
    pub bias: Option<Vec<f32>>,
}

/// The weights of one node.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    graph: &'a Graph,
    node: &'a Node,
}

impl<'a> Weights<'a> {
    /// The weights of `node`, which is one of `graph`'s.
    #[must_use]
    pub fn of(graph: &'a Graph, node: &'a Node) -> Self {
        Self { graph, node }
    }

    fn missing(&self, key: &str) -> WeightError {
        WeightError {
            node: self.node.name.clone(),
            key: key.to_owned(),
        }
    }

    /// A tensor's numbers as they are stored.
    ///
    /// # Errors
    /// [`WeightError`] if it is absent or has integers.
    pub fn floats(&self, key: &str) -> Result<Vec<f32>, WeightError> {
        let stored = self.graph.tensors.get(key);
        let stored = stored.ok_or_else(|| self.missing(key))?;
        let bytes = stored.bytes();
        Ok(match stored.dtype() {
            DType::F32 => stored.as_f32().unwrap_or_default().to_vec(),
            DType::F16 => halves(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            DType::BF16 => halves(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
            DType::I8 | DType::I32 => return Err(self.missing(key)),
        })
    }

    /// A matrix kernel as `[k, groups * n]`, and its bias.
    ///
    /// # Errors
    /// [`WeightError`] if a tensor is absent or does not fit.
    pub fn matrix(
        &self,
        kernel: &Kernel,
        [groups, k, n]: [usize; 3],
        bias: Option<&String>,
    ) -> Result<PlainKernel, WeightError> {
        let weights = match (kernel.layout, &kernel.scale) {
            (KernelLayout::Plain, None) => self.floats(&kernel.tensor)?,
            (KernelLayout::Plain, Some(scale)) => {
                let stored = self.integers(&kernel.tensor)?;
                self.times(
                    stored.iter().map(|&w| f32::from(w)).collect(),
                    scale,
                    groups * n,
                )?
            }
            (KernelLayout::Panel16, None) => {
                panel::unpack(&self.floats(&kernel.tensor)?, groups, k, n)
            }
            (KernelLayout::Panel16, Some(scale)) => {
                self.scaled(&kernel.tensor, scale, [groups, k, n])?
            }
            (KernelLayout::Panel16x4, _) => {
                let stored = self.integers(&kernel.tensor)?;
                let plain = panel::unpack_i8(stored, groups, k, n);
                return self.real(kernel, &plain, groups * n, bias);
            }
        };
        let bias = self.optional(bias, groups * n)?;
        Ok(PlainKernel { weights, bias })
    }

    /// A depthwise kernel as `[rows, n]`, and its bias.
    ///
    /// # Errors
    /// As [`Weights::matrix`].
    pub fn rows(
        &self,
        kernel: &Kernel,
        [rows, n]: [usize; 2],
        bias: Option<&String>,
    ) -> Result<PlainKernel, WeightError> {
        if kernel.layout != KernelLayout::Panel16x4 {
            let stored = match &kernel.scale {
                None => self.floats(&kernel.tensor)?,
                Some(scale) => {
                    let stored = self.integers(&kernel.tensor)?;
                    self.times(stored.iter().map(|&w| f32::from(w)).collect(), scale, n)?
                }
            };
            let weights = cut(&stored, rows, n).ok_or_else(|| self.missing(&kernel.tensor))?;
            let bias = self.optional(bias, n)?;
            return Ok(PlainKernel { weights, bias });
        }
        let stored = self.integers(&kernel.tensor)?;
        let plain = cut(stored, rows, n).ok_or_else(|| self.missing(&kernel.tensor))?;
        self.real(kernel, &plain, n, bias)
    }

    /// The plain matrix of packed i8 weights with a scale for each channel.
    fn scaled(
        &self,
        key: &str,
        scale: &str,
        [groups, k, n]: [usize; 3],
    ) -> Result<Vec<f32>, WeightError> {
        let stored = self.integers(key)?;
        let stored: Vec<f32> = stored.iter().map(|&w| f32::from(w)).collect();
        self.times(panel::unpack(&stored, groups, k, n), scale, groups * n)
    }

    /// Rows of `n` integers times the scales of their channels.
    fn times(&self, mut rows: Vec<f32>, scale: &str, n: usize) -> Result<Vec<f32>, WeightError> {
        let scales = self.floats(scale)?;
        for row in rows.chunks_exact_mut(n) {
            for (weight, scale) in row.iter_mut().zip(&scales) {
                *weight *= scale;
            }
        }
        Ok(rows)
    }

    fn integers(&self, key: &str) -> Result<&'a [i8], WeightError> {
        let stored = self.graph.tensors.get(key).and_then(Tensor::as_i8);
        stored.ok_or_else(|| self.missing(key))
    }

    /// The real numbers that rows of `n` integer weights and the i32 bias represent.
    #[expect(clippy::cast_possible_truncation, reason = "rounded once, from f64")]
    fn real(
        &self,
        kernel: &Kernel,
        plain: &[i8],
        n: usize,
        bias: Option<&String>,
    ) -> Result<PlainKernel, WeightError> {
        let key = kernel.scale.as_ref().unwrap_or(&kernel.tensor);
        let scales = self.floats(key)?;
        let input = self.node.inputs.first().map(|&id| self.graph.node(id));
        let input = input.and_then(|input| input.quantization);
        let (Some(scales), Some(input)) = (scales.get(..n), input) else {
            return Err(self.missing(key));
        };
        let mut sums = vec![0_i64; n];
        for row in plain.chunks_exact(n) {
            for (sum, &w) in sums.iter_mut().zip(row) {
                *sum += i64::from(w);
            }
        }
        let weights = plain.chunks_exact(n).flat_map(|row| {
            let scaled = row.iter().zip(scales);
            scaled.map(|(&w, &scale)| f32::from(w) * scale)
        });
        let weights = weights.collect();
        let Some(bias) = bias else {
            return Ok(PlainKernel {
                weights,
                bias: None,
            });
        };
        let stored = self.graph.tensors.get(bias).and_then(Tensor::as_i32);
        let stored = stored.ok_or_else(|| self.missing(bias))?;
        let real = stored.iter().zip(&sums).zip(scales);
        let real = real.map(|((&b, &sum), &scale)| {
            let units = i64::from(b) + i64::from(input.zero_point) * sum;
            (units as f64 * f64::from(input.scale) * f64::from(scale)) as f32
        });
        Ok(PlainKernel {
            weights,
            bias: Some(real.collect()),
        })
    }

    /// `n` numbers, or one number for all channels.
    ///
    /// # Errors
    /// As [`Weights::matrix`].
    pub fn vector(&self, key: &str, n: usize) -> Result<Vec<f32>, WeightError> {
        let stored = self.floats(key)?;
        if stored.len() == 1 {
            return Ok(stored);
        }
        cut(&stored, 1, n).ok_or_else(|| self.missing(key))
    }

    fn optional(&self, key: Option<&String>, n: usize) -> Result<Option<Vec<f32>>, WeightError> {
        key.map(|key| self.vector(key, n)).transpose()
    }
}

/// The first `n` of each row: packing may have padded rows with zeros.
fn cut<T: Copy>(stored: &[T], rows: usize, n: usize) -> Option<Vec<T>> {
    let width = stored.len() / rows.max(1);
    if n > width {
        return None;
    }
    let rows = stored.chunks_exact(width.max(1));
    Some(rows.flat_map(|row| &row[..n]).copied().collect())
}

fn halves(bytes: &[u8], convert: impl Fn([u8; 2]) -> f32) -> Vec<f32> {
    let pairs = bytes.as_chunks::<2>().0;
    pairs.iter().map(|&pair| convert(pair)).collect()
}
