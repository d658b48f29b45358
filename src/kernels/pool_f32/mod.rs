//! Maximum and average pooling of an `HWC` image in f32.
//!
//! The lanes of a vector are channels; four vectors of one pixel are pooled at a time. Taps outside
//! the input are skipped, never read. An average divides by the number of taps inside (Keras'
//! rule). A NaN under a window makes its result NaN.

mod reference;

pub use reference::pool_f32_reference;

use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, SlidingWindow, split};

/// The result of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest element; padding never wins.
    Max,
    /// The mean of the elements inside the input.
    Average,
}

/// A pooling, ready to run.
#[derive(Clone, Debug)]
pub struct PoolF32 {
    isa: Isa,
    window: SlidingWindow,
    pooling: Pooling,
    output: [usize; 2],
}

impl PoolF32 {
    /// Prepares a pooling.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the window does not fit the input, or a position of it has
    /// all its taps in the padding.
    pub fn prepare(isa: Isa, pooling: Pooling, window: SlidingWindow) -> Result<Self, KernelError> {
        let output = window.output()?;
        for axis in [0, 1] {
            if let Some(at) = (0..output[axis]).find(|&at| window.taps(axis, at).0.is_empty()) {
                return Err(KernelError::Geometry {
                    what: "pooling window",
                    got: format!("{window:?}"),
                    rule: if at == 0 {
                        "its first position must touch the input"
                    } else {
                        "each of its positions must touch the input"
                    },
                });
            }
        }
        Ok(Self {
            isa,
            window,
            pooling,
            output,
        })
    }
}

// SAFETY: `prepare` checked the window; a task writes its own rows of the output.
unsafe impl PreparedOp for PoolF32 {
    fn kernel_name(&self) -> &'static str {
        match self.pooling {
            Pooling::Max => kernel_name!(self.isa, "max_pool_f32_any"),
            Pooling::Average => kernel_name!(self.isa, "average_pool_f32_any"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.window.input.iter().product()]
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.window.input[2]
    }

    fn tasks(&self, threads: usize) -> usize {
        let taps: usize = self.window.kernel.iter().product();
        let work_ns = self.output_len().saturating_mul(taps) / 8;
        split::tasks(threads, self.output[0], work_ns)
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
            rows: split::range(task, tasks, self.output[0]),
            input: inputs[0],
            output,
        };
        // SAFETY: the caller's contract; each task has its own rows.
        unsafe {
            match self.pooling {
                Pooling::Max => dispatch(self.isa, Walk(rows, Largest)),
                Pooling::Average => dispatch(self.isa, Walk(rows, Mean)),
            }
        }
    }
}

/// How elements under a window become one. Implementations must be `inline(always)`.
trait Pool: Copy {
    /// The start value.
    const START: f32;
    fn add<V: Vector>(self, sum: V, x: V) -> V;
    fn finish<V: Vector>(self, sum: V, taps: f32) -> V;
}

#[derive(Clone, Copy)]
struct Largest;

impl Pool for Largest {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn add<V: Vector>(self, sum: V, x: V) -> V {
        sum.max_or_nan(x)
    }

    #[inline(always)]
    fn finish<V: Vector>(self, sum: V, _taps: f32) -> V {
        sum
    }
}

#[derive(Clone, Copy)]
struct Mean;

impl Pool for Mean {
    const START: f32 = 0.0;

    #[inline(always)]
    fn add<V: Vector>(self, sum: V, x: V) -> V {
        sum.add(x)
    }

    #[inline(always)]
    fn finish<V: Vector>(self, sum: V, taps: f32) -> V {
        sum.div(sum.like(taps))
    }
}

/// Some rows of output. `rows` lie in the output; `input` and `output` are those of
/// [`PreparedOp::run`].
struct Part<'a> {
    op: &'a PoolF32,
    rows: std::ops::Range<usize>,
    input: *const f32,
    output: *mut f32,
}

struct Walk<'a, P>(Part<'a>, P);

impl<P: Pool> Kernel for Walk<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self(Part { op, .. }, pool) = self;
        let window = &op.window;
        let [_, width, channels] = window.input;
        for row in self.0.rows.clone() {
            let (taps_y, y) = window.taps(0, row);
            for column in 0..op.output[1] {
                let (taps_x, x) = window.taps(1, column);
                let taps = Taps {
                    // SAFETY: `prepare` checked that there is a tap, and it is in the input.
                    first: unsafe { self.0.input.add((y * width + x) * channels) },
                    counts: [taps_y.len(), taps_x.len()],
                    steps: [
                        window.dilations[0] * width * channels,
                        window.dilations[1] * channels,
                    ],
                };
                let mut channel = 0;
                // SAFETY: pixel and channels lie in the output; `V` fits the CPU.
                unsafe {
                    let to = self.0.output.add((row * op.output[1] + column) * channels);
                    while channel + 4 * V::LANES <= channels {
                        for (i, value) in taps.pool::<V, P, 4>(pool, channel).iter().enumerate() {
                            value.store(to.add(channel + i * V::LANES));
                        }
                        channel += 4 * V::LANES;
                    }
                    while channel + V::LANES <= channels {
                        let [value] = taps.pool::<V, P, 1>(pool, channel);
                        value.store(to.add(channel));
                        channel += V::LANES;
                    }
                    if channel < channels {
                        let lanes = channels - channel;
                        taps.pool_first::<V, P>(pool, channel, lanes)
                            .store_first(to.add(channel), lanes);
                    }
                }
            }
        }
    }
}

/// The taps of one window inside the input.
struct Taps {
    /// Channel 0 of the first.
    first: *const f32,
    counts: [usize; 2],
    /// Floats between taps.
    steps: [usize; 2],
}

impl Taps {
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^24 taps do not fit into a value"
    )]
    fn count(&self) -> f32 {
        (self.counts[0] * self.counts[1]) as f32
    }

    /// `N` vectors from `channel` on.
    ///
    /// # Safety
    /// The channels exist; `V` fits the CPU.
    #[inline(always)]
    unsafe fn pool<V: Vector, P: Pool, const N: usize>(&self, pool: P, channel: usize) -> [V; N] {
        // SAFETY: all taps are inside the input, and so are the channels.
        unsafe {
            let mut sums = [V::broadcast(P::START); N];
            for ky in 0..self.counts[0] {
                for kx in 0..self.counts[1] {
                    let from = self
                        .first
                        .add(ky * self.steps[0] + kx * self.steps[1] + channel);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = pool.add(*sum, V::load(from.add(i * V::LANES)));
                    }
                }
            }
            for sum in &mut sums {
                *sum = pool.finish(*sum, self.count());
            }
            sums
        }
    }

    /// Like [`Taps::pool`], for one vector with only the first `lanes` channels.
    ///
    /// # Safety
    /// As [`Taps::pool`].
    #[inline(always)]
    unsafe fn pool_first<V: Vector, P: Pool>(&self, pool: P, channel: usize, lanes: usize) -> V {
        // SAFETY: as in `pool`.
        unsafe {
            let mut sum = V::broadcast(P::START);
            for ky in 0..self.counts[0] {
                for kx in 0..self.counts[1] {
                    let from = self
                        .first
                        .add(ky * self.steps[0] + kx * self.steps[1] + channel);
                    sum = pool.add(sum, V::load_first(from, lanes));
                }
            }
            pool.finish(sum, self.count())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    fn check(pooling: Pooling, window: SlidingWindow, seed: u64) {
        let input = harness::numbers(seed, window.input.iter().product());
        let expected = pool_f32_reference(pooling, &window, &input);
        // Each tap is rounded at most once, and the quotient once; inputs are below 4.
        let taps: usize = window.kernel.iter().product();
        let tolerance = match pooling {
            Pooling::Max => 0.0,
            Pooling::Average => (taps + 1) as f64 * 4.0 * 2.0_f64.powi(-24),
        };
        for isa in Isa::available() {
            let op = PoolF32::prepare(isa, pooling, window).unwrap();
            harness::assert_close(&harness::run(&op, &[&input]), &expected, |_| tolerance);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn any_window_equals_the_reference(
            input in [1_usize..12, 1_usize..12, 1_usize..50],
            kernel in [1_usize..5, 1_usize..5],
            strides in [1_usize..4, 1_usize..4],
            dilations in [1_usize..3, 1_usize..3],
            padding in [0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4],
            seed in 0_u64..1000,
        ) {
            let window = SlidingWindow { input, kernel, strides, dilations, padding };
            let fits = PoolF32::prepare(Isa::Portable, Pooling::Max, window).is_ok();
            prop_assume!(fits);
            check(Pooling::Max, window, seed);
            check(Pooling::Average, window, seed);
        }
    }

    fn window(padding: [usize; 4]) -> SlidingWindow {
        SlidingWindow {
            input: [5, 5, 33],
            kernel: [3, 3],
            strides: [2, 2],
            dilations: [1, 1],
            padding,
        }
    }

    #[test]
    fn every_channel_count_is_pooled() {
        for channels in 1..=70 {
            let window = SlidingWindow {
                input: [4, 5, channels],
                ..window([0, 0, 1, 1])
            };
            check(Pooling::Max, window, 1);
            check(Pooling::Average, window, 2);
        }
    }

    #[test]
    fn a_window_without_a_tap_inside_is_refused() {
        for isa in Isa::available() {
            for padding in [[3, 0, 0, 0], [0, 0, 0, 5]] {
                let error = PoolF32::prepare(isa, Pooling::Average, window(padding)).unwrap_err();
                assert_eq!(error.kind(), "geometry");
            }
        }
    }

    #[test]
    fn nan_makes_its_windows_nan() {
        for isa in Isa::available() {
            for pooling in [Pooling::Max, Pooling::Average] {
                let op = PoolF32::prepare(isa, pooling, window([0; 4])).unwrap();
                let mut input = harness::numbers(1, 5 * 5 * 33);
                input[(2 * 5 + 1) * 33 + 32] = f32::NAN;
                let got = harness::run(&op, &[&input]);
                let hit: Vec<_> = (0..got.len()).filter(|&i| got[i].is_nan()).collect();
                assert_eq!(hit, [32, 2 * 33 + 32], "{pooling:?} on {isa}");
            }
        }
    }
}
