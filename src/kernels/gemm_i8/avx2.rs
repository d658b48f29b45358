//! Tiles of up to 3 x 16 in AVX2: 16-bit products summed in pairs.
//!
//! Twelve registers hold the sums of 3 x 16 channels, each channel's in two lanes (of `t mod 4`
//! in 0, 1 and in 2, 3), which are added at the end. One holds weights, three the activations.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
    _mm256_hadd_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_permute4x64_epi64,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{Rows, STEP, Tier, TileArgs, TileFn};
use crate::kernels::Avx2;
use crate::tensor::PANEL;

/// Lanes of 32 bits; a panel's sums take two registers once they are added up.
const LANES: usize = 8;

/// Registers that a panel's sums take before: four channels each.
const QUARTERS: usize = 4;

static TIER: Tier = Tier {
    rows_are: Rows::Words,
    tiles: &[&[tile::<1> as TileFn, tile::<2>, tile::<3>]],
    block_rows: 12,
    copy,
    names: [
        "conv_i8_3x16_avx2",
        "conv1x1_i8_3x16_avx2",
        "dense_i8_3x16_avx2",
    ],
};

/// The token proves that the functions of this tier may be called.
pub(super) fn tier(_: Avx2) -> &'static Tier {
    &TIER
}

/// Widens bytes to 16 bits.
///
/// # Safety
/// That of [`Tier::copy`].
#[target_feature(enable = "avx2")]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut i = 0;
    // SAFETY: the caller's bounds: `i` and the elements up to 16 after it lie below `len`.
    unsafe {
        while i + 16 <= len {
            let bytes = _mm_loadu_si128(from.add(i).cast());
            _mm256_storeu_si256(to.add(2 * i).cast(), _mm256_cvtepu8_epi16(bytes));
            i += 16;
        }
        while i < len {
            let wide = u16::from(*from.add(i)).to_le_bytes();
            to.add(2 * i).cast::<[u8; 2]>().write(wide);
            i += 1;
        }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn tile<const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs` for `ROWS` rows of 16-bit activations
    // and one panel.
    unsafe {
        let rows = args.rows.cast::<[*const i64; ROWS]>().read();
        let mut sums = [[_mm256_setzero_si256(); QUARTERS]; ROWS];
        let mut weights = args.panels;
        for step in 0..args.steps {
            let mut x = [_mm256_setzero_si256(); ROWS];
            for (x, row) in x.iter_mut().zip(rows) {
                *x = _mm256_set1_epi64x(row.add(step).read_unaligned());
            }
            for quarter in 0..QUARTERS {
                let bytes = _mm_loadu_si128(weights.add(quarter * 16).cast());
                let w = _mm256_cvtepi8_epi16(bytes);
                for (sums, x) in sums.iter_mut().zip(x) {
                    sums[quarter] = _mm256_add_epi32(sums[quarter], _mm256_madd_epi16(x, w));
                }
            }
            weights = weights.add(PANEL * STEP);
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let to = args.sums.add(i * args.stride);
            for half in 0..2 {
                let channels = add_pairs(sums[2 * half], sums[2 * half + 1]);
                let bias = _mm256_loadu_si256(args.bias.add(half * LANES).cast());
                let sum = _mm256_add_epi32(channels, bias);
                _mm256_storeu_si256(to.add(half * LANES).cast(), sum);
            }
        }
    }
}

/// Eight channels in order from two registers of four channels' pairs each.
#[target_feature(enable = "avx2")]
#[inline]
fn add_pairs(low: __m256i, high: __m256i) -> __m256i {
    // The horizontal add works in halves of a register: channels 0 1 4 5 | 2 3 6 7.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}
