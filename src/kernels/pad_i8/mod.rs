//! A frame of zero points around a quantized `HWC` image: their real value is 0.
//!
//! The result has the input's quantization.

use super::layout::Frame;
use super::vector::kernel_name;
use super::{Isa, KernelError, PreparedOp, byte_words};

/// A frame around a quantized image, ready to run.
#[derive(Clone, Debug)]
pub struct PadI8 {
    isa: Isa,
    frame: Frame,
    zero_point: u8,
}

impl PadI8 {
    /// Prepares the padding of an image of shape `input` by rows above, columns to the left,
    /// rows below and columns to the right.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value.
    pub fn prepare(
        isa: Isa,
        input: [usize; 3],
        padding: [usize; 4],
        zero_point: u8,
    ) -> Result<Self, KernelError> {
        Ok(Self {
            isa,
            frame: Frame::around(input, padding, size_of::<u8>())?,
            zero_point,
        })
    }
}

// SAFETY: a task writes its own rows of the outer image, and reads the inner one.
unsafe impl PreparedOp for PadI8 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "pad_i8_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.frame.inner_len())]
    }

    fn output_len(&self) -> usize {
        byte_words(self.frame.outer_len())
    }

    fn tasks(&self, threads: usize) -> usize {
        self.frame.pad_tasks(threads)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let (from, to) = (inputs[0].cast(), output.cast());
        // SAFETY: the caller's contract.
        unsafe { self.frame.pad([task, tasks], from, to, self.zero_point) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::harness::{self, Operand};

    #[test]
    fn frames_hold_the_zero_point() {
        for [h, w, c] in [[1, 1, 1], [3, 4, 5], [7, 2, 16], [5, 6, 33]] {
            let input = harness::bytes(9, h * w * c);
            for frame in [[0, 0, 0, 0], [1, 2, 3, 4], [0, 1, 0, 1], [2, 0, 0, 5]] {
                let [top, left, bottom, right] = frame;
                let mut expected = Vec::new();
                for y in 0..h + top + bottom {
                    for x in 0..w + left + right {
                        for channel in 0..c {
                            let y = y.checked_sub(top).filter(|&y| y < h);
                            let x = x.checked_sub(left).filter(|&x| x < w);
                            expected.push(match (y, x) {
                                (Some(y), Some(x)) => input[(y * w + x) * c + channel],
                                _ => 77,
                            });
                        }
                    }
                }
                let op = PadI8::prepare(Isa::Portable, [h, w, c], frame, 77).unwrap();
                let got = harness::run_bytes(&op, &[Operand::Bytes(&input)], expected.len());
                harness::assert_bytes(&got, &expected, &frame);
            }
        }
    }

    #[test]
    fn impossible_frames_are_refused() {
        for frame in [[usize::MAX, 1, 1, 1], [1 << 40, 1 << 40, 0, 0]] {
            assert!(PadI8::prepare(Isa::Portable, [3, 3, 3], frame, 0).is_err());
        }
        assert!(PadI8::prepare(Isa::Portable, [0, 3, 3], [1; 4], 0).is_err());
    }
}
