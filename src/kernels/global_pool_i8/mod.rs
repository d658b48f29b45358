//! Pooling of all rows and columns of a quantized `HWC` image to one value for each channel.
//!
//! An average sums the `n` pixels in 32-bit integers, exactly, so the order changes no bit:
//!
//! ```text
//! to u8   q = round_half_even(clamp(float(sum - n * zero_in) * (scale_in / (scale_out * n)))) + zero_out
//! to f32  x = float(sum - n * zero_in) * (scale_in / n)
//! ```
//!
//! A maximum is the largest byte, then [`Quantization::dequantize`], and [`Quantization::quantize`]
//! if the result has another quantization. A result in f32 is useful because a head in float often
//! follows.

mod reference;

pub use reference::global_pool_i8_reference;

use super::pool_f32::Pooling;
use super::pool_i8::{MAX_TAPS, mean_multiplier, start};
use super::requantize::{ToByte, check, multiplier};
use super::table_i8::Table;
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, byte_words, check_len, split};
use crate::activation::Activation;
use crate::quantization::Quantization;

/// Channels of a task's unit: one AVX2 register, half a cache line of each pixel.
const GROUP: usize = 32;

/// The type of a stored result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// Bytes of this quantization.
    U8(Quantization),
    /// Real numbers.
    F32,
}

/// The parameters of a global pooling of a quantized image.
#[derive(Clone, Copy, Debug)]
pub struct GlobalPoolI8Params {
    /// The largest byte or the mean.
    pub pooling: Pooling,
    /// Rows, columns and channels of the input.
    pub shape: [usize; 3],
    /// Quantization of the input.
    pub input: Quantization,
    /// The type of the `[C]` results.
    pub output: Output,
}

/// A global pooling of a quantized image, ready to run.
#[derive(Clone, Debug)]
pub struct GlobalPoolI8 {
    isa: Isa,
    params: GlobalPoolI8Params,
    pixels: usize,
    channels: usize,
    multiplier: f32,
    /// The table for a largest byte, and the rule for a mean.
    to_u8: Option<(Table, ToByte)>,
}

impl GlobalPoolI8 {
    /// Prepares the pooling of `[H, W, C]` to `[C]`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous input, for so many pixels that their
    /// sum could leave 32 bits, and for an impossible scale.
    pub fn prepare(isa: Isa, params: &GlobalPoolI8Params) -> Result<Self, KernelError> {
        let [height, width, channels] = params.shape;
        let len = height
            .checked_mul(width)
            .and_then(|n| n.checked_mul(channels))
            .unwrap_or(usize::MAX);
        check_len("global pooling input", len)?;
        check("input quantization", params.input)?;
        let pixels = height * width;
        if pixels > MAX_TAPS {
            return Err(KernelError::Geometry {
                what: "global pooling input",
                got: format!("{:?}", params.shape),
                rule: "the sum of its pixels must fit into 32 bits",
            });
        }
        let (from, to) = (params.input, params.output);
        let to_u8 = match to {
            Output::U8(to) => {
                let to_byte = ToByte::of(Activation::Linear, to)?;
                multiplier("scales", &[from.scale], &[to.scale, pixels as f32])?;
                Some((Table::of(Activation::Linear, from, to), to_byte))
            }
            Output::F32 => None,
        };
        let to_scale = match to {
            Output::U8(to) => to.scale,
            Output::F32 => 1.0,
        };
        Ok(Self {
            isa,
            params: *params,
            pixels,
            channels,
            multiplier: mean_multiplier(from.scale, to_scale, pixels),
            to_u8,
        })
    }
}

// SAFETY: a task reads the whole image of `prepare` and writes its own channels.
unsafe impl PreparedOp for GlobalPoolI8 {
    fn kernel_name(&self) -> &'static str {
        match self.params.pooling {
            Pooling::Max => kernel_name!(self.isa, "global_max_pool_i8_row"),
            Pooling::Average => kernel_name!(self.isa, "global_average_pool_i8_row"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.pixels * self.channels)]
    }

    fn output_len(&self) -> usize {
        match self.params.output {
            Output::U8(_) => byte_words(self.channels),
            Output::F32 => self.channels,
        }
    }

    fn tasks(&self, threads: usize) -> usize {
        let work_ns = self.pixels.saturating_mul(self.channels) / 16;
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
        let pool = Pool {
            op: self,
            channels: groups.start * GROUP..(groups.end * GROUP).min(self.channels),
            input: inputs[0].cast(),
            output,
        };
        // SAFETY: the caller's contract; each task has its own channels.
        unsafe { dispatch(self.isa, pool) }
    }
}

/// Some channels to pool. They exist; `input` and `output` are those of [`PreparedOp::run`].
struct Pool<'a> {
    op: &'a GlobalPoolI8,
    channels: std::ops::Range<usize>,
    input: *const u8,
    output: *mut f32,
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let op = self.op;
        let mut channel = self.channels.start;
        while channel < self.channels.end {
            let lanes = GROUP.min(self.channels.end - channel);
            // SAFETY: the channels lie in every pixel and in the output; `V` fits the CPU.
            unsafe {
                match op.params.pooling {
                    Pooling::Max => self.max(channel, lanes),
                    Pooling::Average => self.average::<V>(channel, lanes),
                }
            }
            channel += lanes;
        }
    }
}

impl Pool<'_> {
    /// Calls `each` with the channels of every pixel.
    ///
    /// # Safety
    /// The channels exist.
    #[inline(always)]
    unsafe fn each(&self, channel: usize, lanes: usize, mut each: impl FnMut(&[u8; GROUP])) {
        for pixel in 0..self.op.pixels {
            // SAFETY: pixel and channels are inside the input.
            unsafe {
                let from = self.input.add(pixel * self.op.channels + channel);
                if lanes == GROUP {
                    each(&from.cast::<[u8; GROUP]>().read_unaligned());
                } else {
                    let mut block = [0; GROUP];
                    std::ptr::copy_nonoverlapping(from, block.as_mut_ptr(), lanes);
                    each(&block);
                }
            }
        }
    }

    /// # Safety
    /// The channels exist.
    #[inline(always)]
    unsafe fn max(&self, channel: usize, lanes: usize) {
        let op = self.op;
        let mut largest = [0_u8; GROUP];
        // SAFETY: promised by the caller.
        unsafe {
            self.each(channel, lanes, |block| {
                for (largest, &byte) in largest.iter_mut().zip(block) {
                    *largest = byte.max(*largest);
                }
            });
        }
        for (i, &byte) in largest.iter().enumerate().take(lanes) {
            // SAFETY: the channel exists in the output.
            unsafe {
                match &op.to_u8 {
                    Some((table, _)) => {
                        let to = self.output.cast::<u8>().add(channel + i);
                        *to = table.values()[usize::from(byte)];
                    }
                    None => *self.output.add(channel + i) = op.params.input.dequantize(byte),
                }
            }
        }
    }

    /// # Safety
    /// The channels exist, and `V` fits the CPU.
    #[inline(always)]
    unsafe fn average<V: Vector>(&self, channel: usize, lanes: usize) {
        let op = self.op;
        let mut sums = [[start(op.pixels, op.params.input.zero_point); 16]; GROUP / 16];
        // SAFETY: promised by the caller.
        unsafe {
            self.each(channel, lanes, |block| {
                for (sum, &byte) in sums.as_flattened_mut().iter_mut().zip(block) {
                    *sum += i32::from(byte);
                }
            });
            if let Some((_, to_byte)) = &op.to_u8 {
                let multipliers = [op.multiplier; 16];
                for (i, sums) in sums.iter().enumerate() {
                    let lanes = lanes.saturating_sub(16 * i).min(16);
                    let to = self.output.cast::<u8>().wrapping_add(channel + 16 * i);
                    to_byte.sums::<V>(sums, multipliers.as_ptr(), to, lanes);
                }
            } else {
                for (i, &sum) in sums.as_flattened().iter().enumerate().take(lanes) {
                    *self.output.add(channel + i) = sum as f32 * op.multiplier;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
