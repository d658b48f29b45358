//! Padding and cropping of `HWC` images.

use super::super::{Isa, KernelError, PreparedOp, check_len, split, vector::kernel_name};
use super::move_ns;

/// A frame of zeros around an image, ready to run.
#[derive(Clone, Debug)]
pub struct PadF32 {
    isa: Isa,
    input: [usize; 3],
    padding: [usize; 4],
    output: [usize; 3],
}

impl PadF32 {
    /// Prepares the padding of an image of shape `input` by rows above, columns to the left,
    /// rows below and columns to the right.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value.
    pub fn prepare(isa: Isa, input: [usize; 3], padding: [usize; 4]) -> Result<Self, KernelError> {
        let [top, left, bottom, right] = padding;
        let grown = |len: usize, before, after| {
            len.checked_add(before)
                .and_then(|n| n.checked_add(after))
                .unwrap_or(usize::MAX)
        };
        let output = [
            grown(input[0], top, bottom),
            grown(input[1], left, right),
            input[2],
        ];
        check_image("padding input", input)?;
        check_image("padding output", output)?;
        Ok(Self {
            isa,
            input,
            padding,
            output,
        })
    }
}

fn check_image(what: &'static str, shape: [usize; 3]) -> Result<(), KernelError> {
    let len = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    check_len(what, len.unwrap_or(usize::MAX))
}

// SAFETY: a task writes its own rows, and reads rows only where the input has them.
unsafe impl PreparedOp for PadF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "pad_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.input.iter().product()]
    }

    fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.output[0], move_ns(self.output_len()))
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let [height, width, channels] = self.input;
        let [top, left, _, right] = self.padding;
        let (row_len, inner) = (self.output[1] * channels, width * channels);
        for row in split::range(task, tasks, self.output[0]) {
            // SAFETY: the row lies in the output, each task has its own rows, and an input row
            // is read only where there is one.
            unsafe {
                let to = output.add(row * row_len);
                match row.checked_sub(top).filter(|&y| y < height) {
                    Some(y) => {
                        to.write_bytes(0, left * channels);
                        let middle = to.add(left * channels);
                        middle.copy_from_nonoverlapping(inputs[0].add(y * inner), inner);
                        middle.add(inner).write_bytes(0, right * channels);
                    }
                    None => to.write_bytes(0, row_len),
                }
            }
        }
    }
}

/// An image without its frame, ready to run.
#[derive(Clone, Debug)]
pub struct CropF32 {
    isa: Isa,
    input: [usize; 3],
    cropping: [usize; 4],
    output: [usize; 3],
}

impl CropF32 {
    /// Prepares the cropping of an image of shape `input` by rows above, columns to the left,
    /// rows below and columns to the right.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if nothing would be left, or for an enormous input.
    pub fn prepare(isa: Isa, input: [usize; 3], cropping: [usize; 4]) -> Result<Self, KernelError> {
        let [top, left, bottom, right] = cropping;
        let cut = |len: usize, before, after| {
            len.checked_sub(before)?
                .checked_sub(after)
                .filter(|&n| n > 0)
        };
        check_image("cropping input", input)?;
        let (Some(rows), Some(columns)) = (cut(input[0], top, bottom), cut(input[1], left, right))
        else {
            return Err(KernelError::Geometry {
                what: "cropping",
                got: format!("{cropping:?} of {input:?}"),
                rule: "a row and a column must be left",
            });
        };
        Ok(Self {
            isa,
            input,
            cropping,
            output: [rows, columns, input[2]],
        })
    }
}

// SAFETY: a task writes its own rows; `prepare` checked that the rectangle lies in the input.
unsafe impl PreparedOp for CropF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "crop_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.input.iter().product()]
    }

    fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.output[0], move_ns(self.output_len()))
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let [_, width, channels] = self.input;
        let [top, left, ..] = self.cropping;
        let row_len = self.output[1] * channels;
        for row in split::range(task, tasks, self.output[0]) {
            // SAFETY: `prepare` checked that the rectangle lies in the input; the row lies in the
            // output, and each task has its own rows.
            unsafe {
                let from = inputs[0].add(((row + top) * width + left) * channels);
                output
                    .add(row * row_len)
                    .copy_from_nonoverlapping(from, row_len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{crop_reference, pad_reference};
    use super::*;
    use crate::kernels::harness;

    #[test]
    fn frames_are_added_and_removed() {
        for shape in [[1, 1, 1], [3, 4, 5], [7, 2, 16], [5, 6, 33]] {
            let input = harness::numbers(9, shape.iter().product());
            for frame in [[0, 0, 0, 0], [1, 2, 3, 4], [0, 1, 0, 1], [2, 0, 0, 5]] {
                let pad = PadF32::prepare(Isa::Portable, shape, frame).unwrap();
                let padded = harness::run(&pad, &[&input]);
                harness::assert_bits(&padded, &pad_reference(&input, shape, frame));
                let crop = CropF32::prepare(Isa::Portable, pad.output, frame).unwrap();
                let cropped = harness::run(&crop, &[&padded]);
                harness::assert_bits(&cropped, &crop_reference(&padded, pad.output, frame));
                harness::assert_bits(&cropped, &input);
            }
        }
    }

    #[test]
    fn impossible_frames_are_refused() {
        for frame in [[usize::MAX, 1, 1, 1], [1 << 40, 1 << 40, 0, 0]] {
            assert!(PadF32::prepare(Isa::Portable, [3, 3, 3], frame).is_err());
            assert!(CropF32::prepare(Isa::Portable, [3, 3, 3], frame).is_err());
        }
        assert!(CropF32::prepare(Isa::Portable, [3, 3, 3], [1, 0, 2, 0]).is_err());
        assert!(PadF32::prepare(Isa::Portable, [0, 3, 3], [1; 4]).is_err());
    }
}
