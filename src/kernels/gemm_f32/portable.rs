//! Tiles of up to 2 x 16 in plain Rust, shaped so that the compiler vectorises them.

use super::{Clamp, Tier, TileArgs, TileFn};
use crate::tensor::PANEL;

pub(super) static TIER: Tier = Tier {
    tiles: &[&[tile::<1> as TileFn, tile::<2>]],
    single_row: tile::<1>,
    names: [
        "conv_f32_2x16_portable",
        "conv1x1_f32_2x16_portable",
        "dense_f32_2x16_portable",
        "dense_f32_1x16_portable",
    ],
};

unsafe fn tile<const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs`: a bias of 16 floats, `runs` times
    // `ROWS` pointers to `run_len` floats, a panel of `runs * run_len` rows of 16 floats, and
    // `ROWS` rows of `channels` floats at distance `stride` in the result and the residual.
    unsafe {
        let mut sums = [args.bias.cast::<[f32; PANEL]>().read_unaligned(); ROWS];
        let mut weights = args.panels.cast::<[f32; PANEL]>();
        for run in 0..args.runs {
            let pointers = args.pointers.add(run * ROWS).cast::<[*const f32; ROWS]>();
            let rows = pointers.read();
            for t in 0..args.run_len {
                let w = weights.read_unaligned();
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = *row.add(t);
                    for (s, w) in sum.iter_mut().zip(w) {
                        *s += x * w;
                    }
                }
                weights = weights.add(1);
            }
        }
        for (i, sum) in sums.iter_mut().enumerate() {
            clamp(sum, args.clamp);
            if !args.residual.is_null() {
                let residual = args.residual.add(i * args.stride);
                for (j, s) in sum.iter_mut().enumerate().take(args.channels) {
                    *s += *residual.add(j);
                }
                clamp(sum, args.post);
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
