//! The dot-product tier in plain loops: it computes the same as `avx512_bf16`, so that every CPU
//! can test it.
//!
//! Same tiles, same rounded rows, same layout of weights; only the order of additions in a row may
//! differ.

use half::bf16;

use super::{Tier, TileArgs, TileFn, names};
use crate::tensor::PANEL;

/// The tile functions of `$panels` panels for 1 to 8 rows.
macro_rules! tiles {
    ($panels:literal: $($rows:literal)*) => { &[$(tile::<$rows, $panels> as TileFn),*] };
}

pub(in crate::kernels) static TIER: Tier = Tier {
    tiles: &[
        tiles!(1: 1 2 3 4 5 6 7 8),
        tiles!(2: 1 2 3 4 5 6 7 8),
        tiles!(3: 1 2 3 4 5 6 7 8),
    ],
    half: &[],
    single_row: tile::<1, 1>,
    weight_bytes: size_of::<u16>(),
    round_rows: Some(round_row),
    names: names!("bf16dot", "8x48", "reference"),
};

/// See [`super::RoundFn`].
unsafe fn round_row(from: *const f32, to: *mut u16, len: usize) {
    for i in 0..len {
        // SAFETY: the caller's lengths.
        unsafe { to.add(i).write(bf16::from_f32(*from.add(i)).to_bits()) };
    }
}

unsafe fn tile<const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    assert_eq!(args.runs, 1, "rounded rows are one run");
    assert!(args.channels > (PANELS - 1) * PANEL && args.channels <= PANELS * PANEL);
    let k = args.run_len;
    let value = |bits: u16| bf16::from_bits(bits).to_f32();
    for i in 0..ROWS {
        for channel in 0..args.channels {
            let (panel, lane) = (channel / PANEL, channel % PANEL);
            // SAFETY: the caller keeps the contract of `TileArgs` and of `Tier::round_rows`.
            unsafe {
                let row = (*args.pointers.add(i)).cast::<u16>();
                let weight = args.panels.cast::<u16>().add(panel * k * PANEL + lane);
                let mut sum = *args.bias.add(channel);
                for t in 0..k {
                    sum += value(*row.add(t)) * value(weight.add(t * PANEL).read_unaligned());
                }
                if k % 2 == 1 {
                    // The second of the last pair, whose weight is zero.
                    sum += value(*row.add(k)) * 0.0;
                }
                sum = sum.max(args.clamp.low).min(args.clamp.high);
                let at = i * args.stride + channel;
                if !args.residual.is_null() {
                    sum += *args.residual.add(at);
                    sum = sum.max(args.post.low).min(args.post.high);
                }
                args.out.add(at).write(sum);
            }
        }
    }
}
