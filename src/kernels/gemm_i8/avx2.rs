//! Tiles of up to 6 x 8 in AVX2: 16-bit products summed in pairs.
//!
//! Half a panel at a time, so that the sums of six rows fit: twelve of the sixteen registers, each
//! with four channels in two lanes (of `t mod 4` in 0, 1 and in 2, 3), which are added at the end.
//! Two more hold weights, one an activation, one a product. A tile of 3 x 16 would widen twice as
//! many weights for as many products, and would have no register for the product.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
    _mm256_hadd_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_permute4x64_epi64,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{Rows, STEP, Tier, TileArgs, TileFn};
use crate::kernels::Avx2;
use crate::tensor::PANEL;

/// Channels of a tile; their sums take one register once they are added up.
const LANES: usize = 8;

/// Registers that these sums take before: four channels each.
const QUARTERS: usize = 2;

static TIER: Tier = Tier {
    rows_are: Rows::Words,
    tiles: &[&[
        tile::<1> as TileFn,
        tile::<2>,
        tile::<3>,
        tile::<4>,
        tile::<5>,
        tile::<6>,
    ]],
    block_rows: 12,
    copy,
    names: [
        "conv_i8_6x8_avx2",
        "conv1x1_i8_6x8_avx2",
        "dense_i8_6x8_avx2",
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

/// Both halves of one panel, one after the other.
#[target_feature(enable = "avx2")]
unsafe fn tile<const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs` for `ROWS` rows of 16-bit activations
    // and one panel, whose halves lie at channels 0 and 8.
    unsafe {
        let rows = args.rows.cast::<[*const i64; ROWS]>().read();
        for half in 0..PANEL / LANES {
            let weights = args.panels.add(half * LANES * STEP);
            let sums = half_tile(rows, weights, args.steps);
            let bias = _mm256_loadu_si256(args.bias.add(half * LANES).cast());
            for (i, [low, high]) in sums.into_iter().enumerate() {
                let sum = _mm256_add_epi32(add_pairs(low, high), bias);
                let to = args.sums.add(i * args.stride + half * LANES);
                _mm256_storeu_si256(to.cast(), sum);
            }
        }
    }
}

/// The sums of eight channels, whose weights are 32 of every 64 bytes.
///
/// # Safety
/// Each row is valid for reads of `steps * 4` 16-bit activations, `weights` of `steps` times 32
/// bytes, 64 apart.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn half_tile<const ROWS: usize>(
    rows: [*const i64; ROWS],
    weights: *const i8,
    steps: usize,
) -> [[__m256i; QUARTERS]; ROWS] {
    let mut sums = [[_mm256_setzero_si256(); QUARTERS]; ROWS];
    for step in 0..steps {
        // SAFETY: the caller's bounds.
        unsafe {
            let at = weights.add(step * PANEL * STEP);
            let w = [at, at.add(16)]
                .map(|quarter| _mm256_cvtepi8_epi16(_mm_loadu_si128(quarter.cast())));
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = _mm256_set1_epi64x(row.add(step).read_unaligned());
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, w));
                }
            }
        }
    }
    sums
}

/// Eight channels in order from two registers of four channels' pairs each.
#[target_feature(enable = "avx2")]
#[inline]
fn add_pairs(low: __m256i, high: __m256i) -> __m256i {
    // The horizontal add works in halves of a register: channels 0 1 4 5 | 2 3 6 7.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}
