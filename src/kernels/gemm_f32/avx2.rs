//! Tiles of up to 6 x 16 in AVX2 with fused multiply-add. Half weights are converted on load.

use std::arch::x86_64::{
    __m256, _mm_loadl_epi64, _mm_loadu_si128, _mm256_add_ps, _mm256_broadcast_ss,
    _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32,
    _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

use half::{bf16, f16};

use super::{AHEAD, Clamp, Tier, TileArgs, TileFn, Weight, copy_head, names, prefetch};
use crate::kernels::Avx2;
use crate::tensor::PANEL;

/// Lanes of a register; a panel takes two.
const LANES: usize = 8;

/// The tier for weights of type `$weight`, which kernel names call `$name`.
macro_rules! tier {
    ($weight:ty, $name:literal) => {
        Tier {
            tiles: &[&[
                tile::<$weight, 1> as TileFn,
                tile::<$weight, 2>,
                tile::<$weight, 3>,
                tile::<$weight, 4>,
                tile::<$weight, 5>,
                tile::<$weight, 6>,
            ]],
            half: &[
                half::<$weight, 1> as TileFn,
                half::<$weight, 2>,
                half::<$weight, 3>,
                half::<$weight, 4>,
                half::<$weight, 5>,
                half::<$weight, 6>,
            ],
            single_row: single_row::<$weight>,
            weight_bytes: size_of::<$weight>(),
            round_rows: None,
            names: names!($name, "6x16", "avx2"),
        }
    };
}

static F32: Tier = tier!(f32, "f32");
static F16: Tier = tier!(f16, "f16");
static BF16: Tier = tier!(bf16, "bf16");
static I8: Tier = tier!(i8, "f32_w8");

/// The token proves that the functions of this tier may be called.
pub(super) fn tier(_: Avx2, weight: Weight) -> &'static Tier {
    match weight {
        Weight::F32 => &F32,
        Weight::F16 => &F16,
        Weight::BF16 => &BF16,
        Weight::I8 => &I8,
    }
}

/// A type that weights are stored in.
trait Load: Copy {
    /// Eight weights as f32, exactly.
    ///
    /// # Safety
    /// `from` holds eight weights, at any address, and the CPU has the instructions of [`Avx2`].
    unsafe fn load(from: *const Self) -> __m256;
}

impl Load for f32 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's eight weights.
        unsafe { _mm256_loadu_ps(from) }
    }
}

impl Load for f16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's eight weights.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }
}

impl Load for bf16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's eight weights.
        let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(from.cast()) });
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }
}

impl Load for i8 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(from: *const Self) -> __m256 {
        // SAFETY: the caller's eight weights, which are all that is read.
        let bytes = unsafe { _mm_loadl_epi64(from.cast()) };
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
    }
}

/// One step of the reduction for all rows. It is a macro, because sums only stay in registers if
/// this is inlined, and `inline(always)` cannot be combined with `target_feature`.
macro_rules! step {
    ($sums:ident, $rows:ident, $t:expr, $weights:expr) => {{
        let w = $weights;
        prefetch(w.wrapping_add(AHEAD));
        let w = [W::load(w), W::load(w.add(LANES))];
        for (sum, row) in $sums.iter_mut().zip(&$rows) {
            let x = _mm256_broadcast_ss(&*row.add($t));
            sum[0] = _mm256_fmadd_ps(x, w[0], sum[0]);
            sum[1] = _mm256_fmadd_ps(x, w[1], sum[1]);
        }
    }};
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<W: Load, const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs`: a bias of 16 floats, `runs` times
    // `ROWS` pointers to `run_len` floats, and a panel of `runs * run_len` rows of 16 weights.
    unsafe {
        let bias = [
            _mm256_loadu_ps(args.bias),
            _mm256_loadu_ps(args.bias.add(LANES)),
        ];
        let mut sums = [bias; ROWS];
        let mut weights = args.panels.cast::<W>();
        for run in 0..args.runs {
            let pointers = args.pointers.add(run * ROWS).cast::<[*const f32; ROWS]>();
            let rows = pointers.read();
            let mut t = 0;
            while t + 4 <= args.run_len {
                for u in 0..4 {
                    step!(sums, rows, t + u, weights.add(u * PANEL));
                }
                weights = weights.add(4 * PANEL);
                t += 4;
            }
            while t < args.run_len {
                step!(sums, rows, t, weights);
                weights = weights.add(PANEL);
                t += 1;
            }
        }
        store(sums, args);
    }
}

/// A panel of at most eight channels: half the registers and half the arithmetic, with two
/// partial sums over `t mod 2` so that there are still twelve chains of additions.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn half<W: Load, const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs`, as in `tile`.
    unsafe {
        let mut partial = [
            [_mm256_loadu_ps(args.bias); ROWS],
            [_mm256_setzero_ps(); ROWS],
        ];
        let mut weights = args.panels.cast::<W>();
        for run in 0..args.runs {
            let pointers = args.pointers.add(run * ROWS).cast::<[*const f32; ROWS]>();
            let rows = pointers.read();
            let mut t = 0;
            while t + 2 <= args.run_len {
                for (u, sums) in partial.iter_mut().enumerate() {
                    let w = weights.add(u * PANEL);
                    prefetch(w.wrapping_add(AHEAD));
                    let w = W::load(w);
                    for (sum, row) in sums.iter_mut().zip(&rows) {
                        *sum = _mm256_fmadd_ps(_mm256_broadcast_ss(&*row.add(t + u)), w, *sum);
                    }
                }
                weights = weights.add(2 * PANEL);
                t += 2;
            }
            if t < args.run_len {
                let w = W::load(weights);
                for (sum, row) in partial[0].iter_mut().zip(&rows) {
                    *sum = _mm256_fmadd_ps(_mm256_broadcast_ss(&*row.add(t)), w, *sum);
                }
                weights = weights.add(PANEL);
            }
        }
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        for (i, sum) in sums.iter_mut().enumerate() {
            sum[0] = _mm256_add_ps(partial[0][i], partial[1][i]);
        }
        store(sums, args);
    }
}

/// A single row: four partial sums over `t mod 4`, eight chains of additions in flight.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn single_row<W: Load>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs` for one row and one panel.
    unsafe {
        let zero = [_mm256_setzero_ps(); 2];
        let bias = [
            _mm256_loadu_ps(args.bias),
            _mm256_loadu_ps(args.bias.add(LANES)),
        ];
        let mut partial = [bias, zero, zero, zero];
        let mut weights = args.panels.cast::<W>();
        for run in 0..args.runs {
            let row = *args.pointers.add(run);
            let mut t = 0;
            while t + 4 <= args.run_len {
                for (u, sums) in partial.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*row.add(t + u));
                    let w = weights.add(u * PANEL);
                    prefetch(w.wrapping_add(AHEAD));
                    sums[0] = _mm256_fmadd_ps(x, W::load(w), sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, W::load(w.add(LANES)), sums[1]);
                }
                weights = weights.add(4 * PANEL);
                t += 4;
            }
            while t < args.run_len {
                let x = _mm256_broadcast_ss(&*row.add(t));
                partial[0][0] = _mm256_fmadd_ps(x, W::load(weights), partial[0][0]);
                partial[0][1] = _mm256_fmadd_ps(x, W::load(weights.add(LANES)), partial[0][1]);
                weights = weights.add(PANEL);
                t += 1;
            }
        }
        let sums = [[
            _mm256_add_ps(
                _mm256_add_ps(partial[0][0], partial[1][0]),
                _mm256_add_ps(partial[2][0], partial[3][0]),
            ),
            _mm256_add_ps(
                _mm256_add_ps(partial[0][1], partial[1][1]),
                _mm256_add_ps(partial[2][1], partial[3][1]),
            ),
        ]];
        store(sums, args);
    }
}

/// The epilogue: scale, clamp, residual, clamp, and the store of the tile's channels.
///
/// # Safety
/// `args.scale` is null or holds 16 floats; `args.out` and, unless null, `args.residual` hold `ROWS` rows of `args.channels` floats at
/// distance `args.stride`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn store<const ROWS: usize>(sums: [[__m256; 2]; ROWS], args: &TileArgs) {
    let mut sums = sums;
    if !args.scale.is_null() {
        // SAFETY: the caller's scales.
        let scale = unsafe { [0, LANES].map(|j| _mm256_loadu_ps(args.scale.add(j))) };
        for row in &mut sums {
            *row = [
                _mm256_mul_ps(row[0], scale[0]),
                _mm256_mul_ps(row[1], scale[1]),
            ];
        }
    }
    let mut sums = clamp(sums, args.clamp);
    let channels = args.channels;
    // SAFETY: the caller's bounds; whole registers are only used where all their lanes are
    // channels of the tile.
    unsafe {
        if !args.residual.is_null() {
            for (i, row) in sums.iter_mut().enumerate() {
                let residual = args.residual.add(i * args.stride);
                if channels == PANEL {
                    row[0] = _mm256_add_ps(row[0], _mm256_loadu_ps(residual));
                    row[1] = _mm256_add_ps(row[1], _mm256_loadu_ps(residual.add(LANES)));
                } else {
                    let mut head = [0.0; PANEL];
                    copy_head(residual, head.as_mut_ptr(), channels);
                    row[0] = _mm256_add_ps(row[0], _mm256_loadu_ps(head.as_ptr()));
                    row[1] = _mm256_add_ps(row[1], _mm256_loadu_ps(head.as_ptr().add(LANES)));
                }
            }
            sums = clamp(sums, args.post);
        }
        for (i, row) in sums.iter().enumerate() {
            let out = args.out.add(i * args.stride);
            if channels == PANEL {
                _mm256_storeu_ps(out, row[0]);
                _mm256_storeu_ps(out.add(LANES), row[1]);
            } else if channels == LANES {
                // Half panels are common (728 = 45.5 x 16), and a masked store is slow on AMD.
                _mm256_storeu_ps(out, row[0]);
            } else {
                let mut head = [0.0; PANEL];
                _mm256_storeu_ps(head.as_mut_ptr(), row[0]);
                _mm256_storeu_ps(head.as_mut_ptr().add(LANES), row[1]);
                copy_head(head.as_ptr(), out, channels);
            }
        }
    }
}

/// The operand order lets NaN through: `min` and `max` return their second operand then.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn clamp<const ROWS: usize>(mut sums: [[__m256; 2]; ROWS], clamp: Clamp) -> [[__m256; 2]; ROWS] {
    let (low, high) = (_mm256_set1_ps(clamp.low), _mm256_set1_ps(clamp.high));
    for row in &mut sums {
        for lane in row {
            *lane = _mm256_min_ps(high, _mm256_max_ps(low, *lane));
        }
    }
    sums
}
