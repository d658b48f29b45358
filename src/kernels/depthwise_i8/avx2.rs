//! Square windows on AVX2: products of two taps at a time, in 16 bits (`vpmaddwd`).
//!
//! Two taps of a channel lie next to each other in a 32-bit lane, so that one instruction
//! multiplies both exactly and adds them. The pair is a column's bytes of two rows, interleaved
//! once for the up to `K` pixels over it; the last row, which has no partner, pairs neighbouring
//! columns instead: 5 products instead of 9 for 3x3, 13 instead of 25 for 5x5.
//!
//! Eight channels of four pixels are summed in registers: LLVM reorders integer sums, and eight
//! pixels spilled so many registers that they took 1.6 times as long. The requantization is that of
//! `requantize`: clamping after rounding is the same as before it, since the bounds are whole,
//! and [`Packed::new`] refuses multipliers whose results a conversion to integers would overflow.
//! Sums that go through a curve are requantized by `requantize` itself.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_adds_epi16, _mm_loadl_epi64, _mm_max_epu8, _mm_min_epu8, _mm_packs_epi32,
    _mm_packus_epi16, _mm_set1_epi8, _mm_set1_epi16, _mm_storel_epi64, _mm_unpacklo_epi8,
    _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16,
    _mm256_cvtps_epi32, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_mul_ps, _mm256_storeu_si256,
};

use super::super::vector::F32x8;
use super::super::{Avx2, SlidingWindow};
use super::{DepthwiseI8, TapRows};

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
    /// Packs the weights if the window is one of those that have a tile, and no multiplier is too
    /// large for it.
    pub(super) fn new(_: Avx2, op: &DepthwiseI8) -> Option<Self> {
        let SlidingWindow {
            kernel,
            strides,
            dilations,
            ..
        } = op.window;
        let [k, _] = kernel;
        let square = matches!(kernel, [3, 3] | [5, 5])
            && matches!(strides, [1, 1] | [2, 2])
            && dilations == [1, 1];
        let fits = |(&bias, &multiplier): (&i32, &f32)| {
            let sum = f64::from(bias).abs() + (k * k * 255 * 128) as f64;
            sum * f64::from(multiplier) < LARGEST
        };
        if !square || !op.bias.iter().zip(&op.multipliers).all(fits) {
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
        Some(Self {
            weights: packed,
            bounds: op.to_byte.byte_bounds(),
            zero_point: op.to_byte.zero_point().into(),
        })
    }

    /// Computes one row of output.
    ///
    /// # Safety
    /// The row exists; the contract is that of [`DepthwiseI8::rows`], and `op` is that of
    /// [`Packed::new`].
    pub(super) unsafe fn row(
        &self,
        op: &DepthwiseI8,
        row: usize,
        input: *const u8,
        output: *mut u8,
    ) {
        // SAFETY: the token that `new` asked for proves AVX2; the rest is the caller's.
        unsafe {
            match (op.window.kernel[0], op.window.strides[0]) {
                (3, 1) => run::<3, 1>(self, op, row, input, output),
                (3, _) => run::<3, 2>(self, op, row, input, output),
                (5, 1) => run::<5, 1>(self, op, row, input, output),
                _ => run::<5, 2>(self, op, row, input, output),
            }
        }
    }
}

/// Where the taps of a few neighbouring output pixels lie.
struct Tile<'a, const K: usize> {
    packed: &'a Packed,
    op: &'a DepthwiseI8,
    rows: TapRows<K>,
    /// The input column under the first tap of the first pixel, plus the padding to its left.
    column: usize,
    /// Channel 0 of the first pixel.
    output: *mut u8,
}

/// See [`Packed::row`].
///
/// # Safety
/// As [`Packed::row`], and the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn run<const K: usize, const S: usize>(
    packed: &Packed,
    op: &DepthwiseI8,
    row: usize,
    input: *const u8,
    output: *mut u8,
) {
    let [columns, channels] = [op.output[1], op.window.input[2]];
    let rows = TapRows::<K>::under(op, row, input);
    let tile = |column: usize| Tile {
        packed,
        op,
        rows: rows.at_column(op, column * S),
        column: column * S,
        output: output.wrapping_add(column * channels),
    };
    // As in f32: what does not fill a tile is covered by one that starts earlier.
    let mut column = 0;
    while column < columns {
        let left = columns - column;
        // SAFETY: each branch starts a tile of P pixels at most at `columns - P`.
        unsafe {
            if left > 1 && columns >= 4 {
                let start = column.min(columns - 4);
                tile(start).run::<S, 4>();
                column = start + 4;
            } else {
                tile(column).run::<S, 1>();
                column += 1;
            }
        }
    }
}

impl<const K: usize> Tile<'_, K> {
    /// Writes `P` pixels.
    ///
    /// # Safety
    /// `P` pixels can be written, and the CPU has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run<const S: usize, const P: usize>(&self) {
        let window = &self.op.window;
        let (padding, span) = (window.padding[1], (P - 1) * S + K);
        let channels = window.input[2];
        let inside = self.column >= padding && self.column + span <= window.input[1] + padding;
        let mut channel = 0;
        // SAFETY: vectors end at the last channel or are cut off there.
        unsafe {
            if inside {
                while channel + LANES <= channels {
                    self.vector::<S, P, false>(channel, LANES);
                    channel += LANES;
                }
            }
            while channel < channels {
                self.vector::<S, P, true>(channel, LANES.min(channels - channel));
                channel += LANES;
            }
        }
    }

    /// Eight bytes of tap column `j`, which are at `from` if it lies inside the image. Without
    /// `EDGE` it does, and `lanes` is eight.
    ///
    /// # Safety
    /// The first `lanes` channels from `channel` exist.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load<const EDGE: bool>(
        &self,
        mut from: *const u8,
        j: usize,
        channel: usize,
        lanes: usize,
    ) -> __m128i {
        // SAFETY: a column inside the image has the channels, and so has the pixel outside.
        unsafe {
            if EDGE {
                // Columns to the left wrap around, to far beyond the last.
                let x = (self.column + j).wrapping_sub(self.op.window.padding[1]);
                if x >= self.op.window.input[1] {
                    from = self.op.outside.as_ptr().add(channel);
                }
                if lanes < LANES {
                    let mut bytes = [0_u8; LANES];
                    std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), lanes);
                    return _mm_loadl_epi64(bytes.as_ptr().cast());
                }
            }
            _mm_loadl_epi64(from.cast())
        }
    }

    /// `lanes` channels of `P` pixels.
    ///
    /// # Safety
    /// As [`Tile::run`], and the channels exist.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn vector<const S: usize, const P: usize, const EDGE: bool>(
        &self,
        channel: usize,
        lanes: usize,
    ) {
        let op = self.op;
        let low = _mm_set1_epi8(op.low.cast_signed());
        let interleaved = |a: __m128i, b: __m128i| -> __m256i {
            _mm256_cvtepu8_epi16(_mm_max_epu8(_mm_unpacklo_epi8(a, b), low))
        };
        // SAFETY: bias, multipliers and weights are filled up to 16 channels; the channels of
        // pixels inside or outside can be read, those of `P` pixels written.
        unsafe {
            let mut weights = self.packed.weights.as_ptr().add(channel * pairs(K) * 2);
            let mut next = || {
                let pair = _mm256_loadu_si256(weights.cast());
                weights = weights.add(2 * LANES);
                pair
            };
            let bias = _mm256_loadu_si256(op.bias.as_ptr().add(channel).cast());
            let mut sums = [bias; P];
            // Adds column `x`, which is column `$j`, to the pixels that have tap `kx` there.
            // Written out, because the sums must not be indexed at run time.
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
                let (above, above_step) = self.rows.0[ky];
                let (below, below_step) = self.rows.0[ky + 1];
                let above = above.wrapping_add(channel);
                let below = below.wrapping_add(channel);
                macro_rules! column {
                    ($($j:literal)*) => {$(
                        if $j < (P - 1) * S + K {
                            let a = self.load::<EDGE>(above.wrapping_add($j * above_step), $j, channel, lanes);
                            let b = self.load::<EDGE>(below.wrapping_add($j * below_step), $j, channel, lanes);
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
            let (start, step) = self.rows.0[K - 1];
            let from = start.wrapping_add(channel);
            macro_rules! column {
                ($($j:literal)*) => {$(
                    if $j + 1 < (P - 1) * S + K {
                        let at = from.wrapping_add($j * step);
                        let left = self.load::<EDGE>(at, $j, channel, lanes);
                        let at = at.wrapping_add(step);
                        let right = self.load::<EDGE>(at, $j + 1, channel, lanes);
                        let x = interleaved(left, right);
                        for i in 0..K / 2 {
                            add!(x, $j, 2 * i, taps[i]);
                        }
                        add!(x, $j, K - 2, taps[K / 2]);
                    }
                )*};
            }
            column!(0 1 2 3 4 5 6 7 8 9);
            let to = |pixel: usize| self.output.add(pixel * op.window.input[2] + channel);
            let multipliers = op.multipliers.as_ptr().add(channel);
            if op.to_byte.curve().is_some() {
                for (pixel, sum) in sums.into_iter().enumerate() {
                    let mut all = [0; 16];
                    _mm256_storeu_si256(all.as_mut_ptr().cast(), sum);
                    op.to_byte
                        .sums::<F32x8>(&all, multipliers, to(pixel), lanes);
                }
                return;
            }
            let multipliers = _mm256_loadu_ps(multipliers);
            let [least, most] = self.packed.bounds;
            let least = _mm_set1_epi8(least.cast_signed());
            let most = _mm_set1_epi8(most.cast_signed());
            let zero_point = _mm_set1_epi16(self.packed.zero_point);
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
                let to = to(pixel);
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
}
