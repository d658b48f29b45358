//! Tiles of up to 2 x 16 on any CPU: four lanes at a time, in whatever registers every CPU of
//! the target has.

use super::{Clamp, Tier, TileArgs, TileFn};
use crate::tensor::PANEL;

pub(super) static TIER: Tier = Tier {
    tiles: &[&[tile::<1> as TileFn, tile::<2>]],
    half: &[],
    single_row: tile::<1>,
    names: [
        "conv_f32_2x16_portable",
        "conv1x1_f32_2x16_portable",
        "dense_f32_2x16_portable",
        "dense_f32_1x16_portable",
    ],
};

/// Lanes of a [`Lanes`].
const LANES: usize = 4;

/// Four sums. Named SSE registers on x86-64, where they belong to every CPU: the compiler takes
/// arrays apart into 64 scalars instead of four registers, at a third of the speed.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Lanes(std::arch::x86_64::__m128);

#[cfg(target_arch = "x86_64")]
impl Lanes {
    /// # Safety
    /// `from` holds four floats.
    #[inline]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's four floats; SSE is part of x86-64.
        Self(unsafe { std::arch::x86_64::_mm_loadu_ps(from) })
    }

    /// `self + x * w`, rounded twice.
    #[inline]
    fn add_product(self, x: f32, w: Self) -> Self {
        use std::arch::x86_64::{_mm_add_ps, _mm_mul_ps, _mm_set1_ps};
        // SAFETY: SSE is part of x86-64.
        Self(unsafe { _mm_add_ps(self.0, _mm_mul_ps(_mm_set1_ps(x), w.0)) })
    }

    #[inline]
    fn to_array(self) -> [f32; LANES] {
        bytemuck::cast(self.0)
    }
}

/// Four sums, in the form that the compiler likes best elsewhere.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
struct Lanes([f32; LANES]);

#[cfg(not(target_arch = "x86_64"))]
impl Lanes {
    /// # Safety
    /// `from` holds four floats.
    #[inline]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's four floats.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    /// `self + x * w`, rounded twice.
    #[inline]
    fn add_product(self, x: f32, w: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + x * w.0[i]))
    }

    #[inline]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }
}

unsafe fn tile<const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs`: a bias of 16 floats, `runs` times
    // `ROWS` pointers to `run_len` floats, a panel of `runs * run_len` rows of 16 floats, and
    // `ROWS` rows of `channels` floats at distance `stride` in the result and the residual.
    unsafe {
        let load = |from: *const f32| {
            [
                Lanes::load(from),
                Lanes::load(from.add(LANES)),
                Lanes::load(from.add(2 * LANES)),
                Lanes::load(from.add(3 * LANES)),
            ]
        };
        let mut sums = [load(args.bias); ROWS];
        let mut weights = args.panels;
        for run in 0..args.runs {
            let pointers = args.pointers.add(run * ROWS).cast::<[*const f32; ROWS]>();
            let rows = pointers.read();
            for t in 0..args.run_len {
                let w = load(weights);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = *row.add(t);
                    for (s, w) in sum.iter_mut().zip(w) {
                        *s = s.add_product(x, w);
                    }
                }
                weights = weights.add(PANEL);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let mut sum: [f32; PANEL] = bytemuck::cast(sum.map(Lanes::to_array));
            clamp(&mut sum, args.clamp);
            if !args.residual.is_null() {
                let residual = args.residual.add(i * args.stride);
                for (j, s) in sum.iter_mut().enumerate().take(args.channels) {
                    *s += *residual.add(j);
                }
                clamp(&mut sum, args.post);
            }
            let out = args.out.add(i * args.stride);
            std::ptr::copy_nonoverlapping(sum.as_ptr(), out, args.channels);
        }
    }
}

/// Unlike `f32::max` and `min`, lets NaN through, as the other tiers do.
#[inline]
fn clamp(sums: &mut [f32; PANEL], clamp: Clamp) {
    for s in sums {
        let raised = if clamp.low > *s { clamp.low } else { *s };
        *s = if clamp.high < raised {
            clamp.high
        } else {
            raised
        };
    }
}
