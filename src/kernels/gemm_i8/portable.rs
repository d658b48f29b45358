//! Tiles of up to 4 x 16 in plain Rust.

use super::{Rows, STEP, Tier, TileArgs, TileFn};
use crate::tensor::PANEL;

pub(super) static TIER: Tier = Tier {
    rows_are: Rows::Bytes,
    tiles: &[&[tile::<1> as TileFn, tile::<2>, tile::<3>, tile::<4>]],
    block_rows: 8,
    copy,
    names: [
        "conv_i8_4x16_portable",
        "conv1x1_i8_4x16_portable",
        "dense_i8_4x16_portable",
    ],
};

/// # Safety
/// That of [`Tier::copy`].
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's bounds; scratch never overlaps an input.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}

unsafe fn tile<const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs` for `ROWS` rows and one panel.
    unsafe {
        let bias = args.bias.cast::<[i32; PANEL]>().read_unaligned();
        let rows = args.rows.cast::<[*const u8; ROWS]>().read();
        let mut sums = [bias; ROWS];
        for step in 0..args.steps {
            let weights = args.panels.add(step * PANEL * STEP);
            let weights = weights.cast::<[[i8; STEP]; PANEL]>().read_unaligned();
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = row.add(step * STEP).cast::<[u8; STEP]>().read_unaligned();
                for (sum, weights) in sums.iter_mut().zip(&weights) {
                    for (&x, &w) in x.iter().zip(weights) {
                        *sum += i32::from(x) * i32::from(w);
                    }
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let to = args.sums.add(i * args.stride);
            to.cast::<[i32; PANEL]>().write_unaligned(sums);
        }
    }
}
