//! Any window: sixteen channels of one pixel at a time, in plain integers. LLVM turns them into the
//! vectors of the instruction set.

use super::super::vector::{Kernel, Vector};
use super::DepthwiseI8;
use crate::tensor::PANEL;

/// One row of output. It exists; the contract is that of [`DepthwiseI8::rows`].
pub(super) struct Row<'a> {
    pub(super) op: &'a DepthwiseI8,
    pub(super) y: usize,
    pub(super) input: *const u8,
    pub(super) output: *mut u8,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let [_, columns, channels] = self.op.output();
        for column in 0..columns {
            let mut channel = 0;
            while channel < channels {
                let lanes = PANEL.min(channels - channel);
                // SAFETY: pixel and channels lie in the output; `V` fits the CPU.
                unsafe {
                    let sums = self.sums(column, channel, lanes);
                    let multipliers = self.op.multipliers.as_ptr().add(channel);
                    let to = self.output.add(column * channels + channel);
                    self.op.to_byte.sums::<V>(&sums, multipliers, to, lanes);
                }
                channel += lanes;
            }
        }
    }
}

impl Row<'_> {
    /// The sums of `lanes` channels of a pixel.
    ///
    /// # Safety
    /// The channels exist.
    #[inline(always)]
    unsafe fn sums(&self, column: usize, channel: usize, lanes: usize) -> [i32; PANEL] {
        let op = self.op;
        let window = &op.window;
        let [height, width, channels] = window.input;
        let padded = op.bias.len();
        let weights = op.weights.bytes().as_ptr().cast::<i8>();
        // SAFETY: bias and weights are filled up to 16 channels; `from` is a pixel of the input
        // or the one outside, which have the channels.
        unsafe {
            let mut sums = op
                .bias
                .as_ptr()
                .add(channel)
                .cast::<[i32; PANEL]>()
                .read_unaligned();
            for ky in 0..window.kernel[0] {
                let y = self.y * window.strides[0] + ky * window.dilations[0];
                let y = y.wrapping_sub(window.padding[0]);
                for kx in 0..window.kernel[1] {
                    let x = column * window.strides[1] + kx * window.dilations[1];
                    let x = x.wrapping_sub(window.padding[1]);
                    // A column left of the first, or a row above it, wraps around to far beyond the
                    // last.
                    let from = if y < height && x < width {
                        self.input.add((y * width + x) * channels + channel)
                    } else {
                        op.outside.as_ptr().add(channel)
                    };
                    let mut bytes = [0_u8; PANEL];
                    if lanes == PANEL {
                        bytes = from.cast::<[u8; PANEL]>().read_unaligned();
                    } else {
                        std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), lanes);
                    }
                    let tap = weights.add((ky * window.kernel[1] + kx) * padded + channel);
                    let tap = tap.cast::<[i8; PANEL]>().read_unaligned();
                    for lane in 0..PANEL {
                        let x = i32::from(bytes[lane].max(op.low));
                        sums[lane] += x * i32::from(tap[lane]);
                    }
                }
            }
            sums
        }
    }
}
