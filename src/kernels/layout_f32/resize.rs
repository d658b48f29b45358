//! Resizing rows and columns of an `HWC` image, with half-pixel centres and without antialias, as
//! in `tf.image.resize` and Keras' `UpSampling2D`.

use super::super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::super::{Isa, KernelError, PreparedOp, check_len, split};

/// How a resize reads between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// Pixel `floor((i + 0.5) * in / out)`.
    Nearest,
    /// Two taps for each axis around `(i + 0.5) * in / out - 0.5`; the border is repeated.
    Bilinear,
}

/// The two input positions of an output position, and the weight of the second.
#[derive(Clone, Copy, Debug)]
struct Taps {
    first: usize,
    second: usize,
    weight: f32,
}

/// A resize, ready to run.
#[derive(Clone, Debug)]
pub struct ResizeF32 {
    isa: Isa,
    resizing: Resizing,
    input: [usize; 3],
    rows: Vec<Taps>,
    columns: Vec<Taps>,
}

impl ResizeF32 {
    /// Prepares the resize of an image of shape `input` to `size` rows and columns.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous input or output.
    pub fn prepare(
        isa: Isa,
        resizing: Resizing,
        input: [usize; 3],
        size: [usize; 2],
    ) -> Result<Self, KernelError> {
        for (what, [h, w]) in [
            ("resize input", [input[0], input[1]]),
            ("resize output", size),
        ] {
            let len = h.checked_mul(w).and_then(|n| n.checked_mul(input[2]));
            check_len(what, len.unwrap_or(usize::MAX))?;
        }
        let axis = |axis: usize| {
            let (from, to) = (input[axis], size[axis]);
            (0..to).map(|i| taps(resizing, i, from, to)).collect()
        };
        Ok(Self {
            isa,
            resizing,
            input,
            rows: axis(0),
            columns: axis(1),
        })
    }
}

/// Exact, in integers: `(2 i + 1) from / (2 to)` is the position, and the remainder of the division
/// is the fraction. Products of two extents may exceed 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "quotients are below the extents, and the weight is rounded to f32"
)]
fn taps(resizing: Resizing, i: usize, from: usize, to: usize) -> Taps {
    let twice = 2 * to as u128;
    let position = (2 * i as u128 + 1) * from as u128;
    match resizing {
        Resizing::Nearest => {
            let first = (position / twice) as usize;
            Taps {
                first,
                second: first,
                weight: 0.0,
            }
        }
        Resizing::Bilinear => {
            // Minus half a pixel; plus one pixel, so that it stays positive.
            let shifted = position + to as u128;
            let (whole, part) = ((shifted / twice) as usize, shifted % twice);
            Taps {
                first: whole.saturating_sub(1),
                second: whole.min(from - 1),
                weight: (part as f64 / twice as f64) as f32,
            }
        }
    }
}

// SAFETY: a task writes its own rows; the places that it reads lie inside the image of `prepare`.
unsafe impl PreparedOp for ResizeF32 {
    fn kernel_name(&self) -> &'static str {
        match self.resizing {
            Resizing::Nearest => kernel_name!(self.isa, "resize_nearest_f32_row"),
            Resizing::Bilinear => kernel_name!(self.isa, "resize_bilinear_f32_row"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.input.iter().product()]
    }

    fn output_len(&self) -> usize {
        self.rows.len() * self.columns.len() * self.input[2]
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.rows.len(), self.output_len())
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let rows = Part {
            op: self,
            rows: split::range(task, tasks, self.rows.len()),
            input: inputs[0],
            output,
        };
        // SAFETY: the caller's contract; each task has its own rows.
        unsafe {
            match self.resizing {
                Resizing::Nearest => rows.nearest(),
                Resizing::Bilinear => dispatch(self.isa, rows),
            }
        }
    }
}

/// Some rows of output. They exist; `input` and `output` are those of [`PreparedOp::run`].
struct Part<'a> {
    op: &'a ResizeF32,
    rows: std::ops::Range<usize>,
    input: *const f32,
    output: *mut f32,
}

impl Part<'_> {
    /// # Safety
    /// As the type says.
    unsafe fn nearest(self) {
        let [_, width, channels] = self.op.input;
        let columns = &self.op.columns;
        for row in self.rows {
            let y = self.op.rows[row].first;
            for (column, taps) in columns.iter().enumerate() {
                // SAFETY: taps lie in the input, the pixel in the output.
                unsafe {
                    let from = self.input.add((y * width + taps.first) * channels);
                    self.output
                        .add((row * columns.len() + column) * channels)
                        .copy_from_nonoverlapping(from, channels);
                }
            }
        }
    }
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let [_, width, channels] = self.op.input;
        let columns = &self.op.columns;
        for row in self.rows.clone() {
            let y = self.op.rows[row];
            for (column, x) in columns.iter().enumerate() {
                // SAFETY: taps lie in the input, the pixel in the output, channels in both; `V`
                // fits the CPU.
                unsafe {
                    let at = |y: usize, x: usize| self.input.add((y * width + x) * channels);
                    let corners = [
                        at(y.first, x.first),
                        at(y.first, x.second),
                        at(y.second, x.first),
                        at(y.second, x.second),
                    ];
                    let to = self.output.add((row * columns.len() + column) * channels);
                    let [x_weight, y_weight] = [V::broadcast(x.weight), V::broadcast(y.weight)];
                    let mut channel = 0;
                    while channel < channels {
                        let lanes = V::LANES.min(channels - channel);
                        let mut value = [x_weight; 4];
                        for (value, corner) in value.iter_mut().zip(corners) {
                            *value = if lanes == V::LANES {
                                V::load(corner.add(channel))
                            } else {
                                V::load_first(corner.add(channel), lanes)
                            };
                        }
                        let [a, b, c, d] = value;
                        let above = b.sub(a).fma(x_weight, a);
                        let below = d.sub(c).fma(x_weight, c);
                        let value = below.sub(above).fma(y_weight, above);
                        if lanes == V::LANES {
                            value.store(to.add(channel));
                        } else {
                            value.store_first(to.add(channel), lanes);
                        }
                        channel += lanes;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::resize_f32_reference;
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    #[test]
    fn sizes_up_and_down_equal_the_reference() {
        for shape in [[1, 1, 3], [4, 5, 17], [7, 3, 8], [9, 9, 1], [6, 10, 33]] {
            for size in [[1, 1], [2, 2], [8, 10], [5, 7], [13, 4], [18, 27]] {
                let input = harness::numbers(2, shape.iter().product());
                for resizing in [Resizing::Nearest, Resizing::Bilinear] {
                    let expected = resize_f32_reference(&input, shape, size, resizing);
                    // Each of three interpolations rounds a difference below 8, and a sum; the
                    // weights are rounded, too.
                    let tolerance = match resizing {
                        Resizing::Nearest => 0.0,
                        Resizing::Bilinear => 3.0 * (8.0 + 8.0 + 8.0 + 4.0) * 2.0_f64.powi(-24),
                    };
                    for isa in Isa::available() {
                        let op = ResizeF32::prepare(isa, resizing, shape, size).unwrap();
                        let got = harness::run(&op, &[&input]);
                        harness::assert_close(&got, &expected, |_| tolerance);
                    }
                }
            }
        }
    }

    #[test]
    fn nearest_doubling_repeats_and_bilinear_doubling_mixes_by_quarters() {
        let input = [0.0, 4.0];
        let run = |resizing| {
            let op = ResizeF32::prepare(Isa::detect(), resizing, [1, 2, 1], [1, 4]).unwrap();
            harness::run(&op, &[&input])
        };
        assert_eq!(run(Resizing::Nearest), [0.0, 0.0, 4.0, 4.0]);
        // tf.image.resize([0, 4], 4, 'bilinear')
        assert_eq!(run(Resizing::Bilinear), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn empty_and_enormous_sizes_are_refused() {
        for (shape, size) in [
            ([0, 1, 1], [1, 1]),
            ([1, 1, 1], [0, 1]),
            ([1, 1, 4], [1 << 40, 1 << 40]),
        ] {
            let error =
                ResizeF32::prepare(Isa::Portable, Resizing::Nearest, shape, size).unwrap_err();
            assert_eq!(error.kind(), "geometry");
        }
    }
}
