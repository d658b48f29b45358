//! Tiles of up to 8 x 48 in AVX-512. Half weights are converted on load.

use std::arch::x86_64::{
    __m512, __mmask16, _mm_loadu_si128, _mm256_loadu_si256, _mm512_add_ps, _mm512_castsi512_ps,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
};

use half::{bf16, f16};

use super::{AHEAD, Clamp, Tier, TileArgs, TileFn, Weight, names, prefetch};
use crate::kernels::Avx512;
use crate::tensor::PANEL;

/// The tile functions of `$panels` panels for 1 to 8 rows.
macro_rules! tiles {
    ($weight:ty, $panels:literal: $($rows:literal)*) => {
        &[$(tile::<$weight, $rows, $panels> as TileFn),*]
    };
}

/// The tier for weights of type `$weight`, which kernel names call `$name`.
macro_rules! tier {
    ($weight:ty, $name:literal) => {
        Tier {
            tiles: &[
                tiles!($weight, 1: 1 2 3 4 5 6 7 8),
                tiles!($weight, 2: 1 2 3 4 5 6 7 8),
                tiles!($weight, 3: 1 2 3 4 5 6 7 8),
            ],
            half: &[],
            single_row: single_row::<$weight>,
            weight_bytes: size_of::<$weight>(),
            round_rows: None,
            names: names!($name, "8x48", "avx512"),
        }
    };
}

static F32: Tier = tier!(f32, "f32");
static F16: Tier = tier!(f16, "f16");
static BF16: Tier = tier!(bf16, "bf16");
static I8: Tier = tier!(i8, "f32_w8");

/// The token proves that the functions of this tier may be called.
pub(super) fn tier(_: Avx512, weight: Weight) -> &'static Tier {
    match weight {
        Weight::F32 => &F32,
        Weight::F16 => &F16,
        Weight::BF16 => &BF16,
        Weight::I8 => &I8,
    }
}

/// A type that weights are stored in.
trait Load: Copy {
    /// Sixteen weights as f32, exactly.
    ///
    /// # Safety
    /// `from` holds sixteen weights, at any address, and the CPU has AVX-512 F.
    unsafe fn load(from: *const Self) -> __m512;
}

impl Load for f32 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's sixteen weights.
        unsafe { _mm512_loadu_ps(from) }
    }
}

impl Load for f16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's sixteen weights.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }
}

impl Load for bf16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's sixteen weights.
        let bits = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(from.cast()) });
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
    }
}

impl Load for i8 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller's sixteen weights.
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe {
            _mm_loadu_si128(from.cast())
        }))
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn tile<W: Load, const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    let panel_len = args.runs * args.run_len * PANEL;
    // SAFETY: the caller keeps the contract of `TileArgs`: `PANELS` times 16 floats of bias,
    // `runs` times `ROWS` pointers to `run_len` floats, and `PANELS` panels of `panel_len`
    // weights one after the other.
    unsafe {
        let mut bias = [_mm512_setzero_ps(); PANELS];
        for (p, b) in bias.iter_mut().enumerate() {
            *b = _mm512_loadu_ps(args.bias.add(p * PANEL));
        }
        let mut sums = [bias; ROWS];
        let mut weights = args.panels.cast::<W>();
        for run in 0..args.runs {
            let pointers = args.pointers.add(run * ROWS).cast::<[*const f32; ROWS]>();
            let rows = pointers.read();
            for t in 0..args.run_len {
                let mut w = [_mm512_setzero_ps(); PANELS];
                for (p, w) in w.iter_mut().enumerate() {
                    prefetch(weights.wrapping_add(p * panel_len + AHEAD));
                    *w = W::load(weights.add(p * panel_len));
                }
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    let x = _mm512_set1_ps(*row.add(t));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm512_fmadd_ps(x, w, *sum);
                    }
                }
                weights = weights.add(PANEL);
            }
        }
        store(sums, args);
    }
}

/// A single row: eight partial sums over `t mod 8`, enough for two ports with a latency of 4.
#[target_feature(enable = "avx512f")]
unsafe fn single_row<W: Load>(args: &TileArgs) {
    const CHAINS: usize = 8;
    // SAFETY: the caller keeps the contract of `TileArgs` for one row and one panel.
    unsafe {
        let mut partial = [_mm512_setzero_ps(); CHAINS];
        partial[0] = _mm512_loadu_ps(args.bias);
        let mut weights = args.panels.cast::<W>();
        for run in 0..args.runs {
            let row = *args.pointers.add(run);
            let mut t = 0;
            while t + CHAINS <= args.run_len {
                for (u, sum) in partial.iter_mut().enumerate() {
                    prefetch(weights.wrapping_add(u * PANEL + AHEAD));
                    let w = W::load(weights.add(u * PANEL));
                    *sum = _mm512_fmadd_ps(_mm512_set1_ps(*row.add(t + u)), w, *sum);
                }
                weights = weights.add(CHAINS * PANEL);
                t += CHAINS;
            }
            while t < args.run_len {
                let w = W::load(weights);
                partial[0] = _mm512_fmadd_ps(_mm512_set1_ps(*row.add(t)), w, partial[0]);
                weights = weights.add(PANEL);
                t += 1;
            }
        }
        let mut sum = partial[0];
        for part in &partial[1..] {
            sum = _mm512_add_ps(sum, *part);
        }
        store([[sum]], args);
    }
}

/// The epilogue: scale, clamp, residual, clamp, and the store of the tile's channels.
///
/// # Safety
/// `args.scale` is null or holds `PANELS` times 16 floats; `args.out` and, unless null, `args.residual` hold `ROWS` rows of `args.channels` floats at
/// distance `args.stride`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn store<const ROWS: usize, const PANELS: usize>(
    sums: [[__m512; PANELS]; ROWS],
    args: &TileArgs,
) {
    let mut sums = sums;
    if !args.scale.is_null() {
        for row in &mut sums {
            for (p, sum) in row.iter_mut().enumerate() {
                // SAFETY: the caller's scales.
                *sum = _mm512_mul_ps(*sum, unsafe { _mm512_loadu_ps(args.scale.add(p * PANEL)) });
            }
        }
    }
    let mut sums = clamp(sums, args.clamp);
    let mut masks: [__mmask16; PANELS] = [0; PANELS];
    for (p, mask) in masks.iter_mut().enumerate() {
        *mask = match args.channels.saturating_sub(p * PANEL) {
            left @ 0..PANEL => (1 << left) - 1,
            _ => !0,
        };
    }
    // SAFETY: the caller's bounds; lanes past `channels` are masked out, and a masked lane is
    // neither read nor written. The offsets may pass the end of a row only by `wrapping_add`.
    unsafe {
        if !args.residual.is_null() {
            for (i, row) in sums.iter_mut().enumerate() {
                let residual = args.residual.add(i * args.stride);
                for (p, sum) in row.iter_mut().enumerate() {
                    let at = residual.wrapping_add(p * PANEL);
                    *sum = _mm512_add_ps(*sum, _mm512_maskz_loadu_ps(masks[p], at));
                }
            }
            sums = clamp(sums, args.post);
        }
        for (i, row) in sums.iter().enumerate() {
            let out = args.out.add(i * args.stride);
            for (p, sum) in row.iter().enumerate() {
                _mm512_mask_storeu_ps(out.wrapping_add(p * PANEL), masks[p], *sum);
            }
        }
    }
}

/// The operand order lets NaN through: `min` and `max` return their second operand then.
#[target_feature(enable = "avx512f")]
#[inline]
fn clamp<const ROWS: usize, const PANELS: usize>(
    mut sums: [[__m512; PANELS]; ROWS],
    clamp: Clamp,
) -> [[__m512; PANELS]; ROWS] {
    let (low, high) = (_mm512_set1_ps(clamp.low), _mm512_set1_ps(clamp.high));
    for row in &mut sums {
        for lane in row {
            *lane = _mm512_min_ps(high, _mm512_max_ps(low, *lane));
        }
    }
    sums
}
