//! Square windows on AVX-512 with VNNI: four taps of a channel at a time (`vpdpbusd`).
//!
//! The bytes of up to four rows under one column of taps lie next to each other in a channel's
//! 32-bit lane. They are put there once for the up to `K` pixels over the column. A 3x3 window
//! takes 3 instructions of products instead of 9, a 5x5 window 10 instead of 25. Sums are exact, so
//! the bytes are those of every other tier.

use std::arch::x86_64::{
    __m512i, __mmask16, _mm_loadu_si128, _mm_maskz_loadu_epi8, _mm512_cvtepu8_epi32,
    _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_max_epu8, _mm512_or_si512, _mm512_set1_epi8,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};

use super::super::Avx512Vnni;
use super::super::vector::F32x16;
use super::square::{self, Tile, Weights, has_tiles};
use super::{DepthwiseI8, PackedWindow};

/// Channels of a register.
const LANES: usize = 16;

/// Taps of one instruction.
const STEP: usize = 4;

/// The weights of a square window in the order in which its tiles use them.
pub(super) struct Packed {
    /// `[channels / 16, ceil(k / 4), k, 16, 4]`: rows of taps in fours, then columns.
    weights: Vec<u8>,
}

impl Packed {
    /// Packs the weights if the window has a tile.
    pub(super) fn pack(_: Avx512Vnni, op: &DepthwiseI8) -> Option<Box<dyn PackedWindow>> {
        if !has_tiles(&op.window) {
            return None;
        }
        let [k, _] = op.window.kernel;
        let padded = op.bias.len();
        let weights = op.weights.bytes();
        let weight = |ky: usize, kx: usize, channel: usize| {
            if ky < k {
                weights[(ky * k + kx) * padded + channel]
            } else {
                0
            }
        };
        let mut packed = Vec::with_capacity(padded * k.div_ceil(STEP) * STEP * k);
        for block in (0..padded).step_by(LANES) {
            for top in (0..k).step_by(STEP) {
                for kx in 0..k {
                    for channel in block..block + LANES {
                        packed.extend((top..top + STEP).map(|ky| weight(ky, kx, channel)));
                    }
                }
            }
        }
        Some(Box::new(Self { weights: packed }))
    }
}

impl PackedWindow for Packed {
    fn kernel_name(&self, op: &DepthwiseI8) -> &'static str {
        match op.window.kernel {
            [3, 3] => "depthwise_i8_3x3_avx512vnni",
            _ => "depthwise_i8_5x5_avx512vnni",
        }
    }

    unsafe fn row(&self, op: &DepthwiseI8, row: usize, input: *const u8, output: *mut u8) {
        // SAFETY: the token that `pack` asked for proves the instructions; the rest is the caller's.
        unsafe { run(self, op, row, input, output) }
    }
}

/// See [`PackedWindow::row`].
///
/// # Safety
/// As there, and the CPU has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn run(packed: &Packed, op: &DepthwiseI8, row: usize, input: *const u8, output: *mut u8) {
    // SAFETY: the caller's promise; only windows that have tiles are packed.
    unsafe { square::row(packed, op, row, input, output) }
}

impl Weights for Packed {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn vector<const K: usize, const S: usize, const P: usize, const EDGE: bool>(
        tile: &Tile<'_, Self, K>,
        channel: usize,
        n: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { vector::<K, S, P, EDGE>(tile, channel, n) }
    }
}

/// Sixteen bytes, or those of `lanes`, a 32-bit lane each.
///
/// # Safety
/// The bytes exist, without `EDGE` all of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load<const EDGE: bool>(from: *const u8, lanes: __mmask16) -> __m512i {
    // SAFETY: the caller's promise; masked bytes are not touched.
    let bytes = unsafe {
        if EDGE {
            _mm_maskz_loadu_epi8(lanes, from.cast())
        } else {
            _mm_loadu_si128(from.cast())
        }
    };
    _mm512_cvtepu8_epi32(bytes)
}

/// `n` channels of `P` pixels.
///
/// # Safety
/// That of [`Weights::vector`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn vector<const K: usize, const S: usize, const P: usize, const EDGE: bool>(
    tile: &Tile<'_, Packed, K>,
    channel: usize,
    n: usize,
) {
    let op = tile.op;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bit 16 falls off by design"
    )]
    let lanes = ((1_u32 << n) - 1) as __mmask16;
    let low = _mm512_set1_epi8(op.low.cast_signed());
    // SAFETY: bias, multipliers and weights are filled up to 16 channels; the channels of
    // pixels inside or outside can be read, those of `P` pixels written.
    unsafe {
        let bias = _mm512_loadu_si512(op.bias.as_ptr().add(channel).cast());
        let mut sums = [bias; P];
        let per_channel = K.div_ceil(STEP) * K * STEP;
        let mut weights = tile.weights.weights.as_ptr().add(channel * per_channel);
        let mut top = 0;
        while top < K {
            let mut taps = [_mm512_setzero_si512(); K];
            for tap in &mut taps {
                *tap = _mm512_loadu_si512(weights.cast());
                weights = weights.add(LANES * STEP);
            }
            // Written out, because the sums must not be indexed at run time.
            macro_rules! column {
                ($($j:literal)*) => {$(
                    if $j < (P - 1) * S + K {
                        let mut x = load::<EDGE>(tile.tap::<EDGE>(top, $j, channel), lanes);
                        if top + 1 < K {
                            let y = load::<EDGE>(tile.tap::<EDGE>(top + 1, $j, channel), lanes);
                            x = _mm512_or_si512(x, _mm512_slli_epi32::<8>(y));
                        }
                        if top + 2 < K {
                            let y = load::<EDGE>(tile.tap::<EDGE>(top + 2, $j, channel), lanes);
                            x = _mm512_or_si512(x, _mm512_slli_epi32::<16>(y));
                        }
                        if top + 3 < K {
                            let y = load::<EDGE>(tile.tap::<EDGE>(top + 3, $j, channel), lanes);
                            x = _mm512_or_si512(x, _mm512_slli_epi32::<24>(y));
                        }
                        // Bytes of rows that do not exist meet weights of zero.
                        let x = _mm512_max_epu8(x, low);
                        for pixel in 0..P {
                            let first = pixel * S;
                            if $j >= first && $j - first < K {
                                let tap = taps[$j - first];
                                sums[pixel] = _mm512_dpbusd_epi32(sums[pixel], x, tap);
                            }
                        }
                    }
                )*};
            }
            column!(0 1 2 3 4 5 6 7 8 9 10);
            top += STEP;
        }
        let multipliers = op.multipliers.as_ptr().add(channel);
        for (pixel, sum) in sums.into_iter().enumerate() {
            let mut all = [0; LANES];
            _mm512_storeu_si512(all.as_mut_ptr().cast(), sum);
            op.to_byte
                .sums::<F32x16>(&all, multipliers, tile.place(pixel, channel), n);
        }
    }
}
