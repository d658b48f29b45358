//! `x * scale + shift` along the last axis.

use super::super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::super::{Isa, KernelError, PreparedOp, check_len, check_tensor, split};
use crate::tensor::{AlignedF32, PANEL, Tensor};

/// Shortest table of scales and shifts: a few channels are repeated, so that they fill vectors.
const TABLE: usize = 256;

/// The parameters of a scale and shift.
#[derive(Clone, Debug)]
pub struct ScaleShiftParams {
    /// Elements of the value.
    pub len: usize,
    /// Extent of its last axis; `len` is a multiple of it.
    pub channels: usize,
    /// f32: one for all channels, or one for each, possibly padded to a multiple of 16.
    pub scale: Tensor,
    /// Like `scale`.
    pub shift: Tensor,
}

/// A scale and shift, ready to run.
#[derive(Clone)]
pub struct ScaleShiftF32 {
    isa: Isa,
    len: usize,
    /// Length of both tables, a multiple of the channels.
    period: usize,
    scale: AlignedF32,
    shift: AlignedF32,
}

impl ScaleShiftF32 {
    /// Prepares the operation. The constants are copied (they are few).
    ///
    /// # Errors
    /// [`KernelError`] if the lengths or the tensors' shapes or dtypes do not fit.
    pub fn prepare(isa: Isa, params: &ScaleShiftParams) -> Result<Self, KernelError> {
        let (len, channels) = (params.len, params.channels);
        check_len("scale and shift", len)?;
        if channels == 0 || !len.is_multiple_of(channels) {
            return Err(KernelError::Geometry {
                what: "channels of scale and shift",
                got: format!("{channels} of {len} elements"),
                rule: "the elements must be a multiple of the channels",
            });
        }
        let period = channels * TABLE.div_ceil(channels).min(len / channels);
        let table = |what, tensor: &Tensor| {
            let dims = tensor.shape().dims();
            let padded = channels.next_multiple_of(PANEL);
            let fits = dims.len() == 1 && [1, channels, padded].contains(&dims[0]);
            let expected = if fits { dims[0] } else { channels };
            check_tensor(what, tensor, &[expected]).map(|()| {
                let values = tensor.as_f32().unwrap_or_default();
                let mut table = AlignedF32::zeroed(period);
                for (i, slot) in table.as_mut_slice().iter_mut().enumerate() {
                    *slot = values[if values.len() == 1 { 0 } else { i % channels }];
                }
                table
            })
        };
        Ok(Self {
            isa,
            len,
            period,
            scale: table("scale", &params.scale)?,
            shift: table("shift", &params.shift)?,
        })
    }
}

// SAFETY: a task reads and writes its own elements; `prepare` checked that scale and shift match
// them.
unsafe impl PreparedOp for ScaleShiftF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "scale_shift_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.len]
    }

    fn output_len(&self) -> usize {
        self.len
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, split::lines(self.len), self.len / 4)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = Part {
            op: self,
            range: split::elements(task, tasks, self.len),
            input: inputs[0],
            output,
        };
        // SAFETY: the caller's contract; each task has its own elements.
        unsafe { dispatch(self.isa, part) }
    }
}

/// Some elements. They exist; `input` and `output` are those of [`PreparedOp::run`].
struct Part<'a> {
    op: &'a ScaleShiftF32,
    range: std::ops::Range<usize>,
    input: *const f32,
    output: *mut f32,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let op = self.op;
        let (scale, shift) = (op.scale.as_slice().as_ptr(), op.shift.as_slice().as_ptr());
        let mut at = self.range.start;
        let mut offset = at % op.period;
        while at < self.range.end {
            let end = self.range.end.min(at + op.period - offset);
            // SAFETY: elements up to `end` exist, in the tables up to the period; a vector is
            // read before it is written.
            unsafe {
                while at + V::LANES <= end {
                    let x = V::load(self.input.add(at));
                    x.fma(V::load(scale.add(offset)), V::load(shift.add(offset)))
                        .store(self.output.add(at));
                    at += V::LANES;
                    offset += V::LANES;
                }
                if at < end {
                    let n = end - at;
                    let x = V::load_first(self.input.add(at), n);
                    let scale = V::load_first(scale.add(offset), n);
                    let shift = V::load_first(shift.add(offset), n);
                    x.fma(scale, shift).store_first(self.output.add(at), n);
                    at = end;
                }
            }
            offset = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scale_shift_f32_reference;
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_f32([values.len()], values).unwrap()
    }

    #[test]
    fn channels_scalars_and_padding_equal_the_reference() {
        let thin = if harness::is_emulated() { 7 } else { 1 };
        for channels in (1..=40).chain([255, 256, 257, 700]).step_by(thin) {
            for pixels in [1, 2, 5, 300] {
                let len = pixels * channels;
                let x = harness::numbers(1, len);
                for (scales, shifts) in [
                    (channels, channels),
                    (1, channels),
                    (channels, 1),
                    (channels.next_multiple_of(16), 1),
                    (1, 1),
                ] {
                    let scale = harness::numbers(2, scales);
                    let shift = harness::numbers(3, shifts);
                    let expected = scale_shift_f32_reference(&x, channels, &scale, &shift);
                    let params = ScaleShiftParams {
                        len,
                        channels,
                        scale: tensor(&scale),
                        shift: tensor(&shift),
                    };
                    for isa in Isa::available() {
                        let op = ScaleShiftF32::prepare(isa, &params).unwrap();
                        let got = harness::run(&op, &[&x]);
                        // A product below 16 and a sum below 20, each rounded once.
                        harness::assert_close(&got, &expected, |_| {
                            (16.0 + 32.0) * 2.0_f64.powi(-24)
                        });
                    }
                }
            }
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused() {
        let good = ScaleShiftParams {
            len: 60,
            channels: 20,
            scale: tensor(&[1.0; 20]),
            shift: tensor(&[1.0; 32]),
        };
        let kind = |params| {
            let error = ScaleShiftF32::prepare(Isa::Portable, &params).err();
            error.map(|e| e.kind())
        };
        assert_eq!(kind(good.clone()), None);
        let scale = tensor(&[1.0; 19]);
        assert_eq!(
            kind(ScaleShiftParams {
                scale,
                ..good.clone()
            }),
            Some("tensor_shape")
        );
        assert_eq!(
            kind(ScaleShiftParams {
                channels: 0,
                ..good.clone()
            }),
            Some("geometry")
        );
        assert_eq!(kind(ScaleShiftParams { len: 61, ..good }), Some("geometry"));
    }
}
