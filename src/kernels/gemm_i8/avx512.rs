//! Tiles of up to 8 x 48 in AVX-512 with VNNI, whose `vpdpbusd` adds four exact products of bytes
//! to each 32-bit sum.

use std::arch::x86_64::{
    _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use super::{Rows, STEP, Tier, TileArgs, TileFn};
use crate::kernels::Avx512Vnni;
use crate::tensor::PANEL;

/// The tile functions of `$panels` panels for 1 to 8 rows.
macro_rules! tiles {
    ($panels:literal: $($rows:literal)*) => { &[$(tile::<$rows, $panels> as TileFn),*] };
}

static TIER: Tier = Tier {
    rows_are: Rows::Bytes,
    tiles: &[
        tiles!(1: 1 2 3 4 5 6 7 8),
        tiles!(2: 1 2 3 4 5 6 7 8),
        tiles!(3: 1 2 3 4 5 6 7 8),
    ],
    block_rows: 8,
    copy,
    names: [
        "conv_i8_8x48_avx512vnni",
        "conv1x1_i8_8x48_avx512vnni",
        "dense_i8_8x48_avx512vnni",
    ],
};

/// The token proves that the functions of this tier may be called.
pub(super) fn tier(_: Avx512Vnni) -> &'static Tier {
    &TIER
}

/// # Safety
/// That of [`Tier::copy`].
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's bounds; scratch never overlaps an input.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    let panel_len = args.steps * PANEL * STEP;
    // SAFETY: the caller keeps the contract of `TileArgs` for `ROWS` rows of bytes and `PANELS`
    // panels of `panel_len` bytes one after the other.
    unsafe {
        let mut bias = [_mm512_setzero_si512(); PANELS];
        for (p, bias) in bias.iter_mut().enumerate() {
            *bias = _mm512_loadu_si512(args.bias.add(p * PANEL).cast());
        }
        let rows = args.rows.cast::<[*const i32; ROWS]>().read();
        let mut sums = [bias; ROWS];
        for step in 0..args.steps {
            let mut w = [_mm512_setzero_si512(); PANELS];
            for (p, w) in w.iter_mut().enumerate() {
                *w = _mm512_loadu_si512(args.panels.add(p * panel_len + step * 64).cast());
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = _mm512_set1_epi32(row.add(step).read_unaligned());
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = _mm512_dpbusd_epi32(*sum, x, w);
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (p, sum) in sums.into_iter().enumerate() {
                let to = args.sums.add(i * args.stride + p * PANEL);
                _mm512_storeu_si512(to.cast(), sum);
            }
        }
    }
}
