//! Pooling of all rows and columns of an `HWC` image to one value for each channel, in f32.
//!
//! The lanes of a vector are channels. An average sums blocks of about the square root of the pixel
//! count, then the blocks: the rounding error grows with that root and not with the count. Blocks
//! depend only on the geometry, and tasks divide the channels, so no split changes a bit. A NaN in
//! a channel makes its result NaN.

mod reference;

pub use reference::global_pool_f32_reference;

use super::pool_f32::Pooling;
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, check_len, split};

/// Channels of a task's unit: four AVX-512 registers, 256 bytes of each pixel.
const GROUP: usize = 64;

/// A global pooling, ready to run.
#[derive(Clone, Debug)]
pub struct GlobalPoolF32 {
    isa: Isa,
    pooling: Pooling,
    pixels: usize,
    channels: usize,
    block: usize,
}

impl GlobalPoolF32 {
    /// Prepares the pooling of `[H, W, C]`, given as `input`, to `[C]`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous input.
    pub fn prepare(isa: Isa, pooling: Pooling, input: [usize; 3]) -> Result<Self, KernelError> {
        let [height, width, channels] = input;
        let len = height
            .checked_mul(width)
            .and_then(|n| n.checked_mul(channels))
            .unwrap_or(usize::MAX);
        check_len("global pooling input", len)?;
        let pixels = height * width;
        Ok(Self {
            isa,
            pooling,
            pixels,
            channels,
            block: pixels.isqrt(),
        })
    }
}

// SAFETY: a task reads the whole image of `prepare` and writes its own channels.
unsafe impl PreparedOp for GlobalPoolF32 {
    fn kernel_name(&self) -> &'static str {
        match self.pooling {
            Pooling::Max => kernel_name!(self.isa, "global_max_pool_f32_row"),
            Pooling::Average => kernel_name!(self.isa, "global_average_pool_f32_row"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.pixels * self.channels]
    }

    fn output_len(&self) -> usize {
        self.channels
    }

    fn tasks(&self, threads: usize) -> usize {
        let work_ns = self.pixels.saturating_mul(self.channels) / 8;
        split::tasks(threads, self.channels.div_ceil(GROUP), work_ns)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let groups = split::range(task, tasks, self.channels.div_ceil(GROUP));
        let channels = groups.start * GROUP..(groups.end * GROUP).min(self.channels);
        let pool = Pool {
            op: self,
            channels,
            input: inputs[0],
            output,
        };
        // SAFETY: the caller's contract; each task has its own channels.
        unsafe { dispatch(self.isa, pool) }
    }
}

/// Some channels to pool. They exist; `input` and `output` are those of [`PreparedOp::run`].
struct Pool<'a> {
    op: &'a GlobalPoolF32,
    channels: std::ops::Range<usize>,
    input: *const f32,
    output: *mut f32,
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut channel = self.channels.start;
        // SAFETY: channels and lanes lie in every pixel and in the output; `V` fits the CPU.
        unsafe {
            while channel + 4 * V::LANES <= self.channels.end {
                let values = self.pool::<V, 4>(channel, V::LANES);
                for (i, value) in values.into_iter().enumerate() {
                    value.store(self.output.add(channel + i * V::LANES));
                }
                channel += 4 * V::LANES;
            }
            while channel < self.channels.end {
                let lanes = V::LANES.min(self.channels.end - channel);
                let [value] = self.pool::<V, 1>(channel, lanes);
                value.store_first(self.output.add(channel), lanes);
                channel += lanes;
            }
        }
    }
}

impl Pool<'_> {
    /// `N` vectors of channels from `channel` on. If `N` is 1, only `lanes` channels exist.
    ///
    /// # Safety
    /// The channels exist; `V` fits the CPU.
    #[inline(always)]
    unsafe fn pool<V: Vector, const N: usize>(&self, channel: usize, lanes: usize) -> [V; N] {
        let op = self.op;
        let average = op.pooling == Pooling::Average;
        let start = if average { 0.0 } else { f32::NEG_INFINITY };
        // SAFETY: pixel and channels are inside the input.
        unsafe {
            let mut totals = [V::broadcast(start); N];
            let mut pixel = 0;
            while pixel < op.pixels {
                let end = op.pixels.min(pixel + op.block);
                let mut sums = [V::broadcast(start); N];
                while pixel < end {
                    let from = self.input.add(pixel * op.channels + channel);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let x = if N == 1 {
                            V::load_first(from, lanes)
                        } else {
                            V::load(from.add(i * V::LANES))
                        };
                        *sum = if average {
                            sum.add(x)
                        } else {
                            sum.max_or_nan(x)
                        };
                    }
                    pixel += 1;
                }
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total = if average {
                        total.add(sum)
                    } else {
                        total.max_or_nan(sum)
                    };
                }
            }
            if average {
                for total in &mut totals {
                    *total = total.div(total.like(op.pixels as f32));
                }
            }
            totals
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    #[test]
    fn every_shape_equals_the_reference() {
        let mut shapes: Vec<[usize; 3]> = (1..=70).map(|c| [3, 5, c]).collect();
        shapes.extend([[1, 1, 40], [1, 7, 129], [10, 10, 200], [61, 67, 20]]);
        for shape in shapes {
            let input = harness::numbers(shape[2] as u64, shape.iter().product());
            for pooling in [Pooling::Max, Pooling::Average] {
                let expected = global_pool_f32_reference(pooling, shape, &input);
                // A term passes through at most one block and all block sums; inputs are below 4.
                let root = ((shape[0] * shape[1]) as f64).sqrt();
                let tolerance = match pooling {
                    Pooling::Max => 0.0,
                    Pooling::Average => (2.0 * root + 4.0) * 4.0 * 2.0_f64.powi(-24),
                };
                for isa in Isa::available() {
                    let op = GlobalPoolF32::prepare(isa, pooling, shape).unwrap();
                    let got = harness::run(&op, &[&input]);
                    harness::assert_close(&got, &expected, |_| tolerance);
                }
            }
        }
    }

    #[test]
    fn nan_stays_in_its_channel() {
        for isa in Isa::available() {
            for pooling in [Pooling::Max, Pooling::Average] {
                let op = GlobalPoolF32::prepare(isa, pooling, [4, 4, 20]).unwrap();
                let mut input = harness::numbers(5, 4 * 4 * 20);
                input[3 * 20 + 17] = f32::NAN;
                for (channel, v) in harness::run(&op, &[&input]).iter().enumerate() {
                    assert_eq!(v.is_nan(), channel == 17, "{pooling:?} on {isa}");
                }
            }
        }
    }

    #[test]
    fn empty_and_enormous_inputs_are_refused() {
        for shape in [[0, 4, 4], [usize::MAX, 2, 2], [1 << 31, 1 << 31, 1]] {
            let error = GlobalPoolF32::prepare(Isa::Portable, Pooling::Max, shape).unwrap_err();
            assert_eq!(error.kind(), "geometry");
        }
    }
}
