//! Maximum and average pooling of a quantized `HWC` image.
//!
//! Taps outside the input are skipped, never read. A maximum is the largest byte; if the result has
//! another quantization, a table converts it. An average sums the `n` taps inside in 32-bit
//! integers, and is requantized by a multiplier that depends on the count:
//!
//! ```text
//! q = round_half_even(clamp(float(sum - n * zero_in) * (scale_in / (scale_out * n)))) + zero_out
//! ```

mod reference;

pub use reference::pool_i8_reference;

use super::pool_f32::Pooling;
use super::requantize::{ToByte, check, multiplier};
use super::table_i8::{self, Table};
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, SlidingWindow, byte_words, split};
use crate::activation::Activation;
use crate::quantization::Quantization;

/// Channels that are pooled at a time: one AVX2 register of bytes.
const BLOCK: usize = 32;

/// The parameters of a pooling of a quantized image.
#[derive(Clone, Copy, Debug)]
pub struct PoolI8Params {
    /// The largest byte or the mean.
    pub pooling: Pooling,
    /// The input and the taps.
    pub window: SlidingWindow,
    /// Quantization of the input.
    pub input: Quantization,
    /// Quantization of the result.
    pub output: Quantization,
}

/// A pooling of a quantized image, ready to run.
#[derive(Clone, Debug)]
pub struct PoolI8 {
    isa: Isa,
    params: PoolI8Params,
    output: [usize; 2],
    /// The table for a maximum whose result has another quantization.
    table: Option<Table>,
    to_byte: ToByte,
}

impl PoolI8 {
    /// Prepares a pooling.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the window does not fit the input, a position of it has all
    /// its taps in the padding, the sum of its taps could leave 32 bits, or a scale is impossible.
    pub fn prepare(isa: Isa, params: &PoolI8Params) -> Result<Self, KernelError> {
        let PoolI8Params {
            pooling,
            window,
            input,
            output: to,
        } = *params;
        let output = window.output()?;
        check("input quantization", input)?;
        let to_byte = ToByte::of(Activation::Linear, to)?;
        let refuse = |rule| KernelError::Geometry {
            what: "pooling window",
            got: format!("{window:?}"),
            rule,
        };
        for axis in [0, 1] {
            if (0..output[axis]).any(|at| window.taps(axis, at).0.is_empty()) {
                return Err(refuse("each of its positions must touch the input"));
            }
        }
        let taps = window.kernel[0].saturating_mul(window.kernel[1]);
        if taps > MAX_TAPS {
            return Err(refuse("the sum of its taps must fit into 32 bits"));
        }
        if pooling == Pooling::Average {
            multiplier("scales", &[input.scale], &[to.scale, taps as f32])?;
        }
        let table = pooling == Pooling::Max && input != to;
        Ok(Self {
            isa,
            params: *params,
            output,
            table: table.then(|| Table::of(Activation::Linear, input, to)),
            to_byte,
        })
    }
}

/// Bytes whose sum is below 2^31.
pub(super) const MAX_TAPS: usize = (1 << 31) / 256;

// SAFETY: `prepare` checked the window; a task writes its own rows of the output.
unsafe impl PreparedOp for PoolI8 {
    fn kernel_name(&self) -> &'static str {
        match self.params.pooling {
            Pooling::Max => kernel_name!(self.isa, "max_pool_i8_any"),
            Pooling::Average => kernel_name!(self.isa, "average_pool_i8_any"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.params.window.input.iter().product())]
    }

    fn output_len(&self) -> usize {
        byte_words(self.output[0] * self.output[1] * self.params.window.input[2])
    }

    fn tasks(&self, threads: usize) -> usize {
        let taps: usize = self.params.window.kernel.iter().product();
        let len = self.output_len() * 4;
        split::tasks(threads, self.output[0], len.saturating_mul(taps) / 16)
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
            input: inputs[0].cast(),
            output: output.cast(),
        };
        // SAFETY: the caller's contract; each task has its own rows.
        unsafe { dispatch(self.isa, rows) }
    }
}

/// Some rows of output. `rows` lie in the output; `input` and `output` are those of
/// [`PreparedOp::run`].
struct Part<'a> {
    op: &'a PoolI8,
    rows: std::ops::Range<usize>,
    input: *const u8,
    output: *mut u8,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let op = self.op;
        let window = &op.params.window;
        let [_, width, channels] = window.input;
        let row_len = op.output[1] * channels;
        for row in self.rows.clone() {
            let (taps_y, y) = window.taps(0, row);
            // SAFETY: the row lies in the output.
            let row_start = unsafe { self.output.add(row * row_len) };
            for column in 0..op.output[1] {
                let (taps_x, x) = window.taps(1, column);
                let taps = Taps {
                    // SAFETY: `prepare` checked that there is a tap, and it is in the input.
                    first: unsafe { self.input.add((y * width + x) * channels) },
                    counts: [taps_y.len(), taps_x.len()],
                    steps: [
                        window.dilations[0] * width * channels,
                        window.dilations[1] * channels,
                    ],
                };
                let mut channel = 0;
                while channel < channels {
                    let lanes = BLOCK.min(channels - channel);
                    // SAFETY: pixel and channels lie in the output and under the taps; `V` fits
                    // the CPU.
                    unsafe {
                        let to = row_start.add(column * channels + channel);
                        match (op.params.pooling, lanes) {
                            (Pooling::Max, BLOCK) => taps.max::<true>(channel, BLOCK, to),
                            (Pooling::Max, _) => taps.max::<false>(channel, lanes, to),
                            (Pooling::Average, BLOCK) => {
                                taps.average::<V, true>(op, channel, BLOCK, to);
                            }
                            (Pooling::Average, _) => {
                                taps.average::<V, false>(op, channel, lanes, to);
                            }
                        }
                    }
                    channel += lanes;
                }
            }
            if let Some(table) = &op.table {
                // SAFETY: the row was just written.
                unsafe {
                    table_i8::map(op.isa, table, row_start.cast_const(), row_start, row_len);
                }
            }
        }
    }
}

/// The taps of one window inside the input.
struct Taps {
    /// Channel 0 of the first.
    first: *const u8,
    counts: [usize; 2],
    /// Bytes between taps.
    steps: [usize; 2],
}

impl Taps {
    /// Calls `each` with the channels under every tap; `lanes` is a `WHOLE` block or less.
    ///
    /// # Safety
    /// The channels exist.
    #[inline(always)]
    unsafe fn each<const WHOLE: bool>(
        &self,
        channel: usize,
        lanes: usize,
        mut each: impl FnMut(&[u8; BLOCK]),
    ) {
        for ky in 0..self.counts[0] {
            for kx in 0..self.counts[1] {
                // SAFETY: all taps are inside the input, and so are the channels.
                unsafe {
                    let offset = ky * self.steps[0] + kx * self.steps[1] + channel;
                    let from = self.first.add(offset);
                    if WHOLE {
                        each(&from.cast::<[u8; BLOCK]>().read_unaligned());
                    } else {
                        let mut block = [0; BLOCK];
                        std::ptr::copy_nonoverlapping(from, block.as_mut_ptr(), lanes);
                        each(&block);
                    }
                }
            }
        }
    }

    /// # Safety
    /// The channels exist, and `lanes` bytes can be written.
    #[inline(always)]
    unsafe fn max<const WHOLE: bool>(&self, channel: usize, lanes: usize, to: *mut u8) {
        let mut largest = [0_u8; BLOCK];
        // SAFETY: promised by the caller.
        unsafe {
            self.each::<WHOLE>(channel, lanes, |block| {
                for (largest, &byte) in largest.iter_mut().zip(block) {
                    *largest = byte.max(*largest);
                }
            });
            std::ptr::copy_nonoverlapping(largest.as_ptr(), to, lanes);
        }
    }

    /// # Safety
    /// The channels exist, `lanes` bytes can be written, and `V` fits the CPU.
    #[inline(always)]
    unsafe fn average<V: Vector, const WHOLE: bool>(
        &self,
        op: &PoolI8,
        channel: usize,
        lanes: usize,
        to: *mut u8,
    ) {
        let n = self.counts[0] * self.counts[1];
        let PoolI8Params { input, output, .. } = op.params;
        let multipliers = [mean_multiplier(input.scale, output.scale, n); 16];
        let mut sums = [[start(n, input.zero_point); 16]; BLOCK / 16];
        // SAFETY: promised by the caller.
        unsafe {
            self.each::<WHOLE>(channel, lanes, |block| {
                for (sum, &byte) in sums.as_flattened_mut().iter_mut().zip(block) {
                    *sum += i32::from(byte);
                }
            });
            for (i, sums) in sums.iter().enumerate() {
                let lanes = lanes.saturating_sub(16 * i).min(16);
                let to = to.wrapping_add(16 * i);
                op.to_byte.sums::<V>(sums, multipliers.as_ptr(), to, lanes);
            }
        }
    }
}

/// `scale_in / (scale_out * n)`, rounded once.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
pub(super) fn mean_multiplier(from: f32, to: f32, n: usize) -> f32 {
    (f64::from(from) / (f64::from(to) * n as f64)) as f32
}

/// `-n * zero_point`, the start of a sum of `n` bytes.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "`prepare` checked `n` against MAX_TAPS"
)]
pub(super) fn start(n: usize, zero_point: u8) -> i32 {
    -(n as i32) * i32::from(zero_point)
}

#[cfg(test)]
mod tests;
