//! Tiles of up to 8 x 48 of bfloat16 products, two a lane and instruction, summed in f32.
//!
//! `vdpbf16ps` multiplies pairs along `k`. Two rows of a panel are 64 bytes side by side, and one
//! `vpermw` turns them into pairs, so this tier reads the same layout as all others. The inputs are
//! rounded to bfloat16 once for each tile and chunk of panels. They then lie in scratch, with the
//! runs of a row joined, so that pairs never straddle two runs.
//!
//! Results differ from those of other tiers by the rounding of the inputs, at most 2^-8 of each
//! product, and by numbers below 2^-126, which the instructions treat as zero.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _mm256_loadu_si256, _mm256_mask_storeu_epi16,
    _mm512_add_ps, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32,
    _mm512_setzero_ps,
};

use super::avx512::store;
use super::{AHEAD, Tier, TileArgs, TileFn, names, prefetch};
use crate::kernels::Avx512Bf16;
use crate::tensor::PANEL;

/// The tile functions of `$panels` panels for 1 to 8 rows.
macro_rules! tiles {
    ($panels:literal: $($rows:literal)*) => { &[$(tile::<$rows, $panels> as TileFn),*] };
}

static TIER: Tier = Tier {
    tiles: &[
        tiles!(1: 1 2 3 4 5 6 7 8),
        tiles!(2: 1 2 3 4 5 6 7 8),
        tiles!(3: 1 2 3 4 5 6 7 8),
    ],
    half: &[],
    single_row,
    weight_bytes: size_of::<u16>(),
    round_rows: Some(round_row),
    names: names!("bf16dot", "8x48", "avx512bf16"),
};

/// The token proves that the functions of this tier may be called.
pub(super) fn tier(_: Avx512Bf16) -> &'static Tier {
    &TIER
}

/// For each lane, its word of the first row and its word of the second.
const PAIRS: [u16; 2 * PANEL] = {
    let mut words = [0; 2 * PANEL];
    let mut lane: u16 = 0;
    while lane < 16 {
        words[2 * lane as usize] = lane;
        words[2 * lane as usize + 1] = 16 + lane;
        lane += 1;
    }
    words
};

/// The words as pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn pairs(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and any bits are a value of either.
    unsafe { std::mem::transmute(words) }
}

/// Two rows of a panel as pairs.
///
/// # Safety
/// `weights` holds 32 words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn two_rows(weights: *const u16, order: __m512i) -> __m512bh {
    // SAFETY: the caller's 32 words.
    let words = unsafe { _mm512_loadu_si512(weights.cast()) };
    pairs(_mm512_permutexvar_epi16(order, words))
}

/// The last row of an odd number, each weight paired with zero.
///
/// # Safety
/// `weights` holds 16 words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn last_row(weights: *const u16) -> __m512bh {
    // SAFETY: the caller's 16 words.
    pairs(_mm512_cvtepu16_epi32(unsafe {
        _mm256_loadu_si256(weights.cast())
    }))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn tile<const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    let k = args.run_len;
    let panel_len = k * PANEL;
    // SAFETY: the caller keeps the contract of `TileArgs` for rows that `round_row` wrote: one run,
    // `ROWS` pointers to `k` words, one more if `k` is odd; `PANELS` panels of `panel_len` words one
    // after the other, `PANELS` times 16 floats of bias.
    unsafe {
        let order = _mm512_loadu_si512(PAIRS.as_ptr().cast());
        let mut bias = [_mm512_setzero_ps(); PANELS];
        for (p, b) in bias.iter_mut().enumerate() {
            *b = _mm512_loadu_ps(args.bias.add(p * PANEL));
        }
        let mut sums = [bias; ROWS];
        let mut weights = args.panels.cast::<u16>();
        let rows = args.pointers.cast::<[*const i32; ROWS]>().read();
        for t in 0..k / 2 {
            let mut w = [pairs(order); PANELS];
            for (p, w) in w.iter_mut().enumerate() {
                prefetch(weights.wrapping_add(p * panel_len + AHEAD));
                *w = two_rows(weights.add(p * panel_len), order);
            }
            add_products(&mut sums, &rows, t, w);
            weights = weights.add(2 * PANEL);
        }
        if k % 2 == 1 {
            let mut w = [pairs(order); PANELS];
            for (p, w) in w.iter_mut().enumerate() {
                *w = last_row(weights.add(p * panel_len));
            }
            add_products(&mut sums, &rows, k / 2, w);
        }
        store(sums, args);
    }
}

/// Adds the products of pair `t` of each row.
///
/// # Safety
/// Each row has more than `t` pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn add_products<const ROWS: usize, const PANELS: usize>(
    sums: &mut [[__m512; PANELS]; ROWS],
    rows: &[*const i32; ROWS],
    t: usize,
    w: [__m512bh; PANELS],
) {
    for (sums, row) in sums.iter_mut().zip(rows) {
        // SAFETY: the caller's pair.
        let x = pairs(_mm512_set1_epi32(unsafe { *row.add(t) }));
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = _mm512_dpbf16_ps(*sum, x, w);
        }
    }
}

/// A single row: eight partial sums over pairs `t mod 8`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn single_row(args: &TileArgs) {
    const CHAINS: usize = 8;
    let k = args.run_len;
    // SAFETY: as in `tile`, for one row and one panel.
    unsafe {
        let order = _mm512_loadu_si512(PAIRS.as_ptr().cast());
        let mut partial = [_mm512_setzero_ps(); CHAINS];
        partial[0] = _mm512_loadu_ps(args.bias);
        let weights = args.panels.cast::<u16>();
        let row = (*args.pointers).cast::<i32>();
        let whole = k / 2 / CHAINS * CHAINS;
        for t in (0..whole).step_by(CHAINS) {
            for (u, sum) in partial.iter_mut().enumerate() {
                let w = weights.add((t + u) * 2 * PANEL);
                prefetch(w.wrapping_add(AHEAD));
                let x = pairs(_mm512_set1_epi32(*row.add(t + u)));
                *sum = _mm512_dpbf16_ps(*sum, x, two_rows(w, order));
            }
        }
        for t in whole..k / 2 {
            let x = pairs(_mm512_set1_epi32(*row.add(t)));
            let w = two_rows(weights.add(t * 2 * PANEL), order);
            partial[0] = _mm512_dpbf16_ps(partial[0], x, w);
        }
        if k % 2 == 1 {
            let x = pairs(_mm512_set1_epi32(*row.add(k / 2)));
            let w = last_row(weights.add((k - 1) * PANEL));
            partial[0] = _mm512_dpbf16_ps(partial[0], x, w);
        }
        let mut sum = partial[0];
        for part in &partial[1..] {
            sum = _mm512_add_ps(sum, *part);
        }
        store([[sum]], args);
    }
}

/// Rounds a run of a row; see [`super::RoundFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn round_row(from: *const f32, to: *mut u16, len: usize) {
    let mut done = 0;
    while done < len {
        let mask = match len - done {
            left @ 0..PANEL => (1 << left) - 1,
            _ => !0,
        };
        // SAFETY: lanes past `len` are masked out, and a masked lane is neither read nor written;
        // both register types are 256 bits of any value.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, from.add(done));
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm256_mask_storeu_epi16(to.add(done).cast(), mask, halves);
        }
        done += PANEL;
    }
}
