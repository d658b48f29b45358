//! Square windows on AVX2: products of two taps at a time, in 16 bits (`vpmaddwd`).
//!
//! Two taps of a channel lie next to each other in a 32-bit lane, so that one instruction
//! multiplies both exactly and adds them. The pair is a column's bytes of two rows, interleaved
//! once for the up to `K` pixels over it. The last row has no partner, so it pairs neighbouring
//! columns instead. This takes 5 products instead of 9 for 3x3, and 13 instead of 25 for 5x5.
//!
//! Eight channels of four pixels are summed in registers. With eight pixels, LLVM reordered the
//! integer sums and spilled so many registers that it took 1.6 times as long. The requantization is
//! that of `requantize`: clamping after rounding gives the same as clamping before it, since the
//! bounds are whole, and [`Packed::pack`] refuses multipliers whose results would overflow a
//! conversion to integers. Sums that go through a curve are requantized by `requantize` itself.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_adds_epi16, _mm_loadl_epi64, _mm_max_epu8, _mm_min_epu8, _mm_packs_epi32,
    _mm_packus_epi16, _mm_set1_epi8, _mm_set1_epi16, _mm_storel_epi64, _mm_unpacklo_epi8,
    _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16,
    _mm256_cvtps_epi32, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_mul_ps, _mm256_storeu_si256,
};

use super::super::Avx2;
use super::super::vector::F32x8;
use super::square::{self, Tile, Weights, has_tiles};
use super::{DepthwiseI8, PackedWindow};

/// Channels of a register.
const LANES: usize = 8;

/// Products of two taps that a square window of `k` taps takes.
const fn pairs(k: usize) -> usize {
    k / 2 * k + k / 2 + 1
}

/// The weights of a square window in the order in which its tiles use them.
pub(super) struct Packed {
    /// `[channels / 8, pairs, 8, 2]`.
    weights: Vec<i16>,
    /// Bounds of the result's bytes.
    bounds: [u8; 2],
    zero_point: i16,
}

/// The largest result before the zero point that is still far from overflowing an `i32`.
const LARGEST: f64 = (1 << 30) as f64;

impl Packed {
    /// Packs the weights if the window has a tile and no multiplier is too large for it.
    pub(super) fn pack(_: Avx2, op: &DepthwiseI8) -> Option<Box<dyn PackedWindow>> {
        let [k, _] = op.window.kernel;
        let fits = |(&bias, &multiplier): (&i32, &f32)| {
            let sum = f64::from(bias).abs() + (k * k * 255 * 128) as f64;
            sum * f64::from(multiplier) < LARGEST
        };
        if !has_tiles(&op.window) || !op.bias.iter().zip(&op.multipliers).all(fits) {
            return None;
        }
        let padded = op.bias.len();
        let weights = op.weights.bytes();
        #[expect(clippy::cast_possible_wrap, reason = "weights are stored as bytes")]
        let weight = |ky: usize, kx: usize, channel: usize| {
            i16::from(weights[(ky * k + kx) * padded + channel] as i8)
        };
        let mut packed = Vec::with_capacity(padded * pairs(k) * 2);
        for block in (0..padded).step_by(LANES) {
            let channels = block..block + LANES;
            for ky in (0..k - 1).step_by(2) {
                for kx in 0..k {
                    let two = |c| [weight(ky, kx, c), weight(ky + 1, kx, c)];
                    packed.extend(channels.clone().flat_map(two));
                }
            }
            for kx in (0..k - 1).step_by(2) {
                let two = |c| [weight(k - 1, kx, c), weight(k - 1, kx + 1, c)];
                packed.extend(channels.clone().flat_map(two));
            }
            let last = |c| [0, weight(k - 1, k - 1, c)];
            packed.extend(channels.clone().flat_map(last));
        }
        Some(Box::new(Self {
            weights: packed,
            bounds: op.to_byte.byte_bounds(),
            zero_point: op.to_byte.zero_point().into(),
        }))
    }
}

impl PackedWindow for Packed {
    fn kernel_name(&self, op: &DepthwiseI8) -> &'static str {
        match op.window.kernel {
            [3, 3] => "depthwise_i8_3x3_avx2",
            _ => "depthwise_i8_5x5_avx2",
        }
    }

    unsafe fn row(&self, op: &DepthwiseI8, row: usize, input: *const u8, output: *mut u8) {
        // SAFETY: the token that `pack` asked for proves AVX2; the rest is the caller's.
        unsafe { run(self, op, row, input, output) }
    }
}

/// See [`PackedWindow::row`].
///
/// # Safety
/// As there, and the CPU has AVX2.
#[target_feature(enable = "avx2,fma")]
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

/// Eight bytes, or the first `lanes` of them.
///
/// # Safety
/// The bytes exist, without `EDGE` all of them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load<const EDGE: bool>(from: *const u8, lanes: usize) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        if EDGE && lanes < LANES {
            let mut bytes = [0_u8; LANES];
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), lanes);
            return _mm_loadl_epi64(bytes.as_ptr().cast());
        }
        _mm_loadl_epi64(from.cast())
    }
}

/// `lanes` channels of `P` pixels.
///
/// # Safety
/// That of [`Weights::vector`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn vector<const K: usize, const S: usize, const P: usize, const EDGE: bool>(
    tile: &Tile<'_, Packed, K>,
    channel: usize,
    lanes: usize,
) {
    let op = tile.op;
    let low = _mm_set1_epi8(op.low.cast_signed());
    let interleaved = |a: __m128i, b: __m128i| -> __m256i {
        _mm256_cvtepu8_epi16(_mm_max_epu8(_mm_unpacklo_epi8(a, b), low))
    };
    // SAFETY: bias, multipliers and weights are filled up to 16 channels; the channels of
    // pixels inside or outside can be read, those of `P` pixels written.
    unsafe {
        let mut weights = tile.weights.weights.as_ptr().add(channel * pairs(K) * 2);
        let mut next = || {
            let pair = _mm256_loadu_si256(weights.cast());
            weights = weights.add(2 * LANES);
            pair
        };
        let bias = _mm256_loadu_si256(op.bias.as_ptr().add(channel).cast());
        let mut sums = [bias; P];
        // Adds column `x`, which is column `$j`, to the pixels that have tap `kx` there. Written
        // out, because the sums must not be indexed at run time.
        macro_rules! add {
            ($x:ident, $j:literal, $kx:expr, $weights:expr) => {
                if $j >= $kx && ($j - $kx) % S == 0 && ($j - $kx) / S < P {
                    let sum = &mut sums[($j - $kx) / S];
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16($x, $weights));
                }
            };
        }
        let mut ky = 0;
        while ky + 1 < K {
            let mut taps = [bias; K];
            for tap in &mut taps {
                *tap = next();
            }
            macro_rules! column {
                ($($j:literal)*) => {$(
                    if $j < (P - 1) * S + K {
                        let a = load::<EDGE>(tile.tap::<EDGE>(ky, $j, channel), lanes);
                        let b = load::<EDGE>(tile.tap::<EDGE>(ky + 1, $j, channel), lanes);
                        let x = interleaved(a, b);
                        for kx in 0..K {
                            add!(x, $j, kx, taps[kx]);
                        }
                    }
                )*};
            }
            column!(0 1 2 3 4 5 6 7 8 9 10);
            ky += 2;
        }
        let mut taps = [bias; K];
        for tap in &mut taps[..=K / 2] {
            *tap = next();
        }
        macro_rules! column {
            ($($j:literal)*) => {$(
                if $j + 1 < (P - 1) * S + K {
                    let left = load::<EDGE>(tile.tap::<EDGE>(K - 1, $j, channel), lanes);
                    let right = load::<EDGE>(tile.tap::<EDGE>(K - 1, $j + 1, channel), lanes);
                    let x = interleaved(left, right);
                    for i in 0..K / 2 {
                        add!(x, $j, 2 * i, taps[i]);
                    }
                    add!(x, $j, K - 2, taps[K / 2]);
                }
            )*};
        }
        column!(0 1 2 3 4 5 6 7 8 9);
        let multipliers = op.multipliers.as_ptr().add(channel);
        if op.to_byte.curve().is_some() {
            for (pixel, sum) in sums.into_iter().enumerate() {
                let mut all = [0; 16];
                _mm256_storeu_si256(all.as_mut_ptr().cast(), sum);
                op.to_byte
                    .sums::<F32x8>(&all, multipliers, tile.place(pixel, channel), lanes);
            }
            return;
        }
        let multipliers = _mm256_loadu_ps(multipliers);
        let [least, most] = tile.weights.bounds;
        let least = _mm_set1_epi8(least.cast_signed());
        let most = _mm_set1_epi8(most.cast_signed());
        let zero_point = _mm_set1_epi16(tile.weights.zero_point);
        for (pixel, sum) in sums.into_iter().enumerate() {
            let steps = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), multipliers);
            let steps = _mm256_cvtps_epi32(steps);
            let halves = _mm_packs_epi32(
                _mm256_castsi256_si128(steps),
                _mm256_extracti128_si256::<1>(steps),
            );
            let moved = _mm_adds_epi16(halves, zero_point);
            let bytes = _mm_packus_epi16(moved, moved);
            let bytes = _mm_min_epu8(_mm_max_epu8(bytes, least), most);
            let to = tile.place(pixel, channel);
            if EDGE && lanes < LANES {
                let mut all = [0_u8; LANES];
                _mm_storel_epi64(all.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(all.as_ptr(), to, lanes);
            } else {
                _mm_storel_epi64(to.cast(), bytes);
            }
        }
    }
}
