//! Elementwise operations of two quantized values, with NumPy's broadcasting.
//!
//! With `a`, `b` the bytes minus their zero points and each multiplier a quotient of scales
//! (that of a product is rounded after each operation, as in `requantize`):
//!
//! ```text
//! add, sub   x = a * (scale_a / scale) +- b * (scale_b / scale)
//! mul        x = (a * b) * (scale_a * scale_b / scale)
//! max, min   x = the larger or smaller of a * (scale_a / scale) and b * (scale_b / scale)
//! q = round_half_even(clamp(x)) + zero_point
//! ```
//!
//! `a`, `b` and `a * b` are exact; every other step is one IEEE operation, the same on each tier.
//! The clamp combines the activation's bounds and the byte's. Division stays in f32. Operand 0 may
//! be overwritten if it has the result's shape.

mod reference;

pub use reference::binary_i8_reference;

use super::elementwise_f32::Arithmetic;
use super::elementwise_f32::broadcast::Broadcast;
use super::requantize::{ToByte, check, multiplier, of_product};
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, byte_words, split};
use crate::activation::Activation;
use crate::quantization::Quantization;
use crate::tensor::Shape;

/// The parameters of an operation of two quantized values.
#[derive(Clone, Debug)]
pub struct BinaryI8Params {
    /// The operation; not `Div`.
    pub arithmetic: Arithmetic,
    /// Shape of operand 0.
    pub a: Shape,
    /// Shape of operand 1.
    pub b: Shape,
    /// Quantization of operand 0.
    pub a_quantization: Quantization,
    /// Quantization of operand 1.
    pub b_quantization: Quantization,
    /// Quantization of the result.
    pub output: Quantization,
    /// Applied to the result: `Linear`, `Relu` or `Relu6`.
    pub activation: Activation,
}

/// The numbers of the module's formulas.
#[derive(Clone, Debug)]
struct Numbers {
    zeros: [f32; 2],
    multipliers: [f32; 2],
    to_byte: ToByte,
}

impl Numbers {
    fn of(params: &BinaryI8Params) -> Result<Self, KernelError> {
        let (a, b) = (params.a_quantization, params.b_quantization);
        check("operand 0's quantization", a)?;
        check("operand 1's quantization", b)?;
        let to_byte = ToByte::of(params.activation, params.output)?;
        let by = [params.output.scale];
        let multipliers = match params.arithmetic {
            Arithmetic::Mul => {
                multiplier("scales", &[a.scale, b.scale], &by)?;
                [of_product(a.scale, b.scale, params.output.scale); 2]
            }
            Arithmetic::Add | Arithmetic::Sub | Arithmetic::Max | Arithmetic::Min => [
                multiplier("scales", &[a.scale], &by)?,
                multiplier("scales", &[b.scale], &by)?,
            ],
            Arithmetic::Div => {
                return Err(KernelError::Geometry {
                    what: "operation",
                    got: "Div".to_owned(),
                    rule: "quantized values are not divided; keep the node in float",
                });
            }
        };
        Ok(Self {
            zeros: [a, b].map(|q| f32::from(q.zero_point)),
            multipliers,
            to_byte,
        })
    }
}

/// An elementwise operation of two quantized values, ready to run.
#[derive(Clone, Debug)]
pub struct BinaryI8 {
    isa: Isa,
    arithmetic: Arithmetic,
    geometry: Broadcast,
    numbers: Numbers,
}

impl BinaryI8 {
    /// Prepares the operation.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the shapes cannot be combined, or are empty or enormous; for
    /// a division; for an activation that is not a clamp; for impossible scales.
    pub fn prepare(isa: Isa, params: &BinaryI8Params) -> Result<Self, KernelError> {
        Ok(Self {
            isa,
            arithmetic: params.arithmetic,
            geometry: Broadcast::new(&params.a, &params.b)?,
            numbers: Numbers::of(params)?,
        })
    }
}

// SAFETY: a task writes its own bytes of the output; `prepare` derived the places that it reads
// from the operands' shapes.
unsafe impl PreparedOp for BinaryI8 {
    fn kernel_name(&self) -> &'static str {
        match self.arithmetic {
            Arithmetic::Add => kernel_name!(self.isa, "add_i8_row"),
            Arithmetic::Sub => kernel_name!(self.isa, "sub_i8_row"),
            Arithmetic::Mul => kernel_name!(self.isa, "mul_i8_row"),
            Arithmetic::Max => kernel_name!(self.isa, "max_i8_row"),
            Arithmetic::Min => kernel_name!(self.isa, "min_i8_row"),
            Arithmetic::Div => unreachable!("`prepare` refuses it"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        self.geometry.lens.map(byte_words).to_vec()
    }

    fn output_len(&self) -> usize {
        byte_words(self.geometry.len)
    }

    fn in_place(&self) -> bool {
        self.geometry.first_is_whole
    }

    fn tasks(&self, threads: usize) -> usize {
        let lines = split::byte_lines(self.geometry.len);
        split::tasks(threads, lines, self.geometry.len / 2)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        macro_rules! run {
            ($combine:expr) => {
                dispatch(
                    self.isa,
                    Part {
                        op: self,
                        combine: $combine,
                        range: split::bytes(task, tasks, self.geometry.len),
                        operands: [inputs[0].cast(), inputs[1].cast()],
                        output: output.cast(),
                    },
                )
            };
        }
        // SAFETY: the caller's contract; each task has its own bytes.
        unsafe {
            match self.arithmetic {
                Arithmetic::Add => run!(Add),
                Arithmetic::Sub => run!(Sub),
                Arithmetic::Mul => run!(Mul),
                Arithmetic::Max => run!(Max),
                Arithmetic::Min => run!(Min),
                Arithmetic::Div => unreachable!("`prepare` refuses it"),
            }
        }
    }
}

/// Turns two bytes without their zero points into steps of the result. Implementations must be
/// `inline(always)`.
trait Combine: Copy {
    fn combine<V: Vector>(self, operands: [V; 2], multipliers: [V; 2]) -> V;
}

macro_rules! combine {
    ($($name:ident: |[$a:ident, $b:ident], [$ma:ident, $mb:ident]| $body:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        impl Combine for $name {
            #[inline(always)]
            fn combine<V: Vector>(self, [$a, $b]: [V; 2], [$ma, $mb]: [V; 2]) -> V {
                $body
            }
        }
    )*};
}

combine! {
    Add: |[a, b], [ma, mb]| a.mul(ma).add(b.mul(mb));
    Sub: |[a, b], [ma, mb]| a.mul(ma).sub(b.mul(mb));
    Mul: |[a, b], [m, _unused]| a.mul(b).mul(m);
    Max: |[a, b], [ma, mb]| a.mul(ma).max(b.mul(mb));
    Min: |[a, b], [ma, mb]| a.mul(ma).min(b.mul(mb));
}

/// Some bytes of a result, with the contract of [`PreparedOp::run`].
struct Part<'a, C> {
    op: &'a BinaryI8,
    combine: C,
    range: std::ops::Range<usize>,
    operands: [*const u8; 2],
    output: *mut u8,
}

impl<C: Combine> Kernel for Part<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let geometry = &self.op.geometry;
        let steps = geometry.steps;
        let mut at = self.range.start;
        let (mut row, mut offset) = (at / geometry.inner, at % geometry.inner);
        while at < self.range.end {
            let starts = geometry.starts(row);
            let len = (self.range.end - at).min(geometry.inner - offset);
            // SAFETY: the bytes lie in the result, and in the operands at the geometry's offsets.
            unsafe {
                let a = self.operands[0].add(starts[0] + offset * steps[0]);
                let b = self.operands[1].add(starts[1] + offset * steps[1]);
                let to = self.output.add(at);
                match steps {
                    [_, 0] => self.line::<V, true, false>(a, b, to, len),
                    [0, _] => self.line::<V, false, true>(a, b, to, len),
                    _ => self.line::<V, true, true>(a, b, to, len),
                }
            }
            at += len;
            row += 1;
            offset = 0;
        }
    }
}

impl<C: Combine> Part<'_, C> {
    /// `len` bytes, of operands that advance (`A`, `B`) or stand still.
    ///
    /// # Safety
    /// The bytes exist; `V` fits the CPU.
    #[inline(always)]
    unsafe fn line<V: Vector, const A: bool, const B: bool>(
        &self,
        a: *const u8,
        b: *const u8,
        to: *mut u8,
        len: usize,
    ) {
        let Numbers {
            zeros,
            multipliers,
            to_byte,
        } = &self.op.numbers;
        let mut at = 0;
        // SAFETY: promised by the caller; a vector is read before it is written.
        unsafe {
            let zeros = zeros.map(|z| V::broadcast(z));
            let multipliers = multipliers.map(|m| V::broadcast(m));
            // Only used if an operand stands still; then it is that byte.
            let still = [V::broadcast(f32::from(*a)), V::broadcast(f32::from(*b))];
            while at < len {
                let lanes = V::LANES.min(len - at);
                let load = |from: *const u8| {
                    if lanes == V::LANES {
                        V::load_u8(from)
                    } else {
                        V::load_first_u8(from, lanes)
                    }
                };
                let x = if A { load(a.add(at)) } else { still[0] };
                let y = if B { load(b.add(at)) } else { still[1] };
                let steps = self
                    .combine
                    .combine([x.sub(zeros[0]), y.sub(zeros[1])], multipliers);
                let bytes = to_byte.numbers(steps);
                if lanes == V::LANES {
                    bytes.store_u8(to.add(at));
                } else {
                    bytes.store_first_u8(to.add(at), lanes);
                }
                at += lanes;
            }
        }
    }
}

#[cfg(test)]
mod tests;
