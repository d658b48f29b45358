//! Register tiles: a few rows of u8 activations times 16-channel panels of i8 weights, exactly.
//!
//! Every sum is an exact 32-bit integer, so all tiers agree bit for bit. The weights of a panel are
//! `[ceil(k / 4), 16, 4]`: the four weights that a channel multiplies with four neighbouring
//! activations lie side by side, as one AVX-512 VNNI instruction reads them (and NEON's dot
//! product). AVX2 has no exact instruction for bytes, since `vpmaddubsw` saturates at 16 bits. It
//! widens both sides to 16 bits and uses `vpmaddwd`: weights are widened when they are loaded,
//! activations once for each block of rows.
//!
//! Zero points: `Σ (a - z) w = Σ a w - z Σ w`. The second term is a constant of the channel and
//! part of the i32 bias, so the kernels need no zero points; padding reads `z`.
//!
//! [`super::requantize`] has the rule that turns a sum into a byte.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocked;
mod portable;

pub(super) use blocked::{Finish, Gemm, GemmParams};

use super::Isa;

/// Neighbouring activations that one channel processes in a step.
pub(super) const STEP: usize = 4;

/// How a tier keeps the activations of a block of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// As bytes, in place if rows are whole steps.
    Bytes,
    /// Widened to 16 bits.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only vector tiers use it")
    )]
    Words,
}

/// One tile: `sums[i][j] = bias[j] + Σ_t rows[i][t] * panels[t][j]`, all exact.
struct TileArgs {
    /// As many pointers as the tile has rows, each to `steps * 4` activations.
    rows: *const *const u8,
    /// Steps of the reduction.
    steps: usize,
    /// The first panel, `steps` times 64 bytes; the next one follows it.
    panels: *const i8,
    /// One value a channel, whole panels.
    bias: *const i32,
    /// Sum `[0, 0]`.
    sums: *mut i32,
    /// Sums from a row to the next.
    stride: usize,
}

/// Computes one tile.
///
/// # Safety
/// Every pointer of [`TileArgs`] is valid for the extent documented there, for as many rows and
/// panels as the function is meant for, and the CPU has the function's instruction set.
type TileFn = unsafe fn(&TileArgs);

/// The tile functions of a tier.
struct Tier {
    rows_are: Rows,
    /// `[panels - 1][rows - 1]`; all inner slices have the same length.
    tiles: &'static [&'static [TileFn]],
    /// Rows whose activations are kept at a time: a whole number of tiles.
    block_rows: usize,
    /// Copies `len` activations, widened if the tier needs that.
    ///
    /// # Safety
    /// `from` holds `len` bytes, `to` has room for as many elements of the tier's kind, and the
    /// CPU has the tier's instruction set.
    copy: unsafe fn(from: *const u8, to: *mut u8, len: usize),
    /// Names of the convolution, 1x1 convolution and dense kernels.
    names: [&'static str; 3],
}

impl Tier {
    fn of(isa: Isa) -> &'static Self {
        match isa {
            Isa::Portable => &portable::TIER,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => avx2::tier(token),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => match token.vnni() {
                Some(vnni) => avx512::tier(vnni),
                None => avx2::tier(token.avx2()),
            },
        }
    }

    /// Bytes of one activation in a block.
    fn element(&self) -> usize {
        match self.rows_are {
            Rows::Bytes => 1,
            Rows::Words => 2,
        }
    }

    /// Rows of the largest tile.
    fn rows(&self) -> usize {
        self.tiles[0].len()
    }

    /// Panels of the largest tile.
    fn panels(&self) -> usize {
        self.tiles.len()
    }
}

#[cfg(test)]
mod tests;
