//! Padding and cropping of `HWC` images.

use super::super::layout::Frame;
use super::super::{Isa, KernelError, PreparedOp, byte_words, vector::kernel_name};

/// A frame of zeros around an image, ready to run.
#[derive(Clone, Debug)]
pub struct PadF32 {
    isa: Isa,
    frame: Frame,
}

impl PadF32 {
    /// Prepares the padding of an image of shape `input` by rows above, columns to the left,
    /// rows below and columns to the right.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value.
    pub fn prepare(isa: Isa, input: [usize; 3], padding: [usize; 4]) -> Result<Self, KernelError> {
        let frame = Frame::around(input, padding, size_of::<f32>())?;
        Ok(Self { isa, frame })
    }
}

// SAFETY: a task writes its own rows of the outer image, and reads the inner one.
unsafe impl PreparedOp for PadF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "pad_f32_row")
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
        // SAFETY: the caller's contract. Four bytes of zero are the float 0.
        unsafe {
            self.frame
                .pad([task, tasks], inputs[0].cast(), output.cast(), 0);
        }
    }
}

/// An image without its frame, ready to run.
#[derive(Clone, Debug)]
pub struct CropF32 {
    isa: Isa,
    frame: Frame,
}

impl CropF32 {
    /// Prepares the cropping of an image of shape `input` by rows above, columns to the left,
    /// rows below and columns to the right.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if nothing would be left, or for an enormous input.
    pub fn prepare(isa: Isa, input: [usize; 3], cropping: [usize; 4]) -> Result<Self, KernelError> {
        let frame = Frame::inside(input, cropping, size_of::<f32>())?;
        Ok(Self { isa, frame })
    }
}

// SAFETY: a task writes its own rows of the inner image, and reads the outer one.
unsafe impl PreparedOp for CropF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "crop_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.frame.outer_len())]
    }

    fn output_len(&self) -> usize {
        byte_words(self.frame.inner_len())
    }

    fn tasks(&self, threads: usize) -> usize {
        self.frame.crop_tasks(threads)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            self.frame
                .crop([task, tasks], inputs[0].cast(), output.cast());
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
                let [h, w, c] = shape;
                let outer = [h + frame[0] + frame[2], w + frame[1] + frame[3], c];
                let crop = CropF32::prepare(Isa::Portable, outer, frame).unwrap();
                let cropped = harness::run(&crop, &[&padded]);
                harness::assert_bits(&cropped, &crop_reference(&padded, outer, frame));
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
