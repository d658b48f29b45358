//! Register tiles: a few rows of A times one to three 16-channel weight panels, in f32.
//!
//! Weights are f32, binary16, bfloat16, or i8 with a scale for each channel, in one layout, `[n /
//! 16][k][16]`. They are converted exactly as they are loaded, and everything after that is f32:
//! results of 16-bit weights equal those of the widened weights to the last bit. Sums of integer
//! weights are scaled once, at the end. The conversion is hidden behind the multiplications (Zen 3:
//! two `vcvtph2ps` beside twelve `vfmadd`), so widening a block once for all its tiles would gain
//! nothing, and would take scratch for every thread. The exception is bf16 on CPUs that multiply it
//! (`avx512_bf16`): there the inputs are rounded to bf16, too.
//!
//! A tile is up to `rows` rows by `panels * 16` output channels. Rows are given by pointers, as a
//! list of *runs* (stretches of contiguous input floats), so that one kernel serves dense layers
//! (one run), 1x1 convolutions (one run) and k x k convolutions (a run per tap, or per kernel row)
//! alike. The weights of a panel are read once, front to back. Sums stay in registers for the
//! whole reduction and start from the bias; every element of the result is accumulated in the
//! same order whichever tile computes it, so results do not depend on how a call was split.
//!
//! Why these sizes: AVX2 has 16 registers. 12 of them hold 6 x 16 sums, two the weights, one the
//! broadcast input (two FMA ports with a latency of 4 need 8 chains in flight). AVX-512 has 32: 8 x
//! 48 sums, three weights, a broadcast (taller tiles need more row pointers than there are general
//! registers). SSE2, to which the portable tier is compiled on x86-64, has 16 of four lanes: 2 x 16
//! sums, four weights, the inputs and a product.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(test)]
pub(super) mod bf16_dot_reference;
mod blocked;
mod portable;
mod source;

pub(super) use blocked::{Epilogue, Gemm, Matrix};
pub(super) use source::Source;

use super::{Isa, PreparedOp};
use crate::tensor::{DType, PANEL};

/// An operation that is a [`Gemm`] under another name.
pub(super) trait MatrixOp: Send + Sync {
    /// The product, which does all the work.
    fn gemm(&self) -> &Gemm;

    /// See [`PreparedOp::kernel_name`].
    fn name(&self) -> &'static str;
}

// SAFETY: `Gemm::prepare` checked the geometry; a task is a rectangle of the grid, which covers
// the output once.
unsafe impl<T: MatrixOp> PreparedOp for T {
    fn kernel_name(&self) -> &'static str {
        self.name()
    }

    fn input_lens(&self) -> Vec<usize> {
        self.gemm().input_lens()
    }

    fn output_len(&self) -> usize {
        self.gemm().output_len()
    }

    fn scratch_len(&self) -> usize {
        self.gemm().scratch_len()
    }

    fn tasks(&self, threads: usize) -> usize {
        self.gemm().tasks(threads)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        scratch: *mut f32,
    ) {
        // SAFETY: the caller keeps the trait's contract, which is that of `Gemm::run`.
        unsafe { self.gemm().run(task, tasks, inputs, output, scratch) }
    }
}

/// The bounds of a clamp, the activation that tiles apply in registers. NaN passes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clamp {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Clamp {
    /// Changes nothing.
    pub(super) const NONE: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };
}

/// What one call of a [`TileFn`] computes.
///
/// For each row `i` of the tile and each channel `j < channels`:
/// `sum = scale[j] * (bias[j] + Σ_run Σ_t pointers[run][i][t] * panels[run * run_len + t][j])`, then
/// `out[i * stride + j] = post(clamp(sum) + residual[i * stride + j])`, or `clamp(sum)` without a
/// residual.
pub(super) struct TileArgs {
    /// `runs` times as many pointers as the tile has rows, each to `run_len` floats.
    pub(super) pointers: *const *const f32,
    /// Runs of a row.
    pub(super) runs: usize,
    /// Floats of a run.
    pub(super) run_len: usize,
    /// The first panel, `runs * run_len` rows of 16 weights of the tier's type, at any address;
    /// the next panel follows it.
    pub(super) panels: *const (),
    /// One value per channel of the tile, whole panels.
    pub(super) bias: *const f32,
    /// The same; null for 1, with weights that are not integers.
    pub(super) scale: *const f32,
    /// Element `[0, 0]` of the result.
    pub(super) out: *mut f32,
    /// Element `[0, 0]` of the residual, which has the result's stride; null for none.
    pub(super) residual: *const f32,
    /// Floats from a row of the result to the next.
    pub(super) stride: usize,
    /// Channels of the result: from 1 to 16 a panel. No other element is read or written.
    pub(super) channels: usize,
    /// Applied to the biased sum.
    pub(super) clamp: Clamp,
    /// Applied after the residual.
    pub(super) post: Clamp,
}

impl TileArgs {
    /// The same tile for its panel `panel` alone, of panels with `panel_bytes`.
    fn panel(&self, panel: usize, panel_bytes: usize) -> Self {
        let skip = panel * PANEL;
        Self {
            panels: self.panels.wrapping_byte_add(panel * panel_bytes),
            bias: self.bias.wrapping_add(skip),
            scale: if self.scale.is_null() {
                self.scale
            } else {
                self.scale.wrapping_add(skip)
            },
            out: self.out.wrapping_add(skip),
            residual: if self.residual.is_null() {
                self.residual
            } else {
                self.residual.wrapping_add(skip)
            },
            channels: (self.channels - skip).min(PANEL),
            ..*self
        }
    }
}

/// Computes one tile.
///
/// # Safety
/// Every pointer of [`TileArgs`] is valid for the extent documented there, for as many rows and
/// panels as the function is meant for, and the CPU has the function's instruction set.
pub(super) type TileFn = unsafe fn(&TileArgs);

/// Rounds `len` floats to the nearest bfloat16, ties to even, and writes their bits.
///
/// # Safety
/// The first pointer is valid for `len` floats, the second for `len` words, they do not overlap,
/// and the CPU has the function's instruction set.
pub(super) type RoundFn = unsafe fn(*const f32, *mut u16, usize);

/// The type of stored weights. Sums, biases and activations are f32 for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    F32,
    F16,
    BF16,
    I8,
}

impl Weight {
    /// `None` for a type in which no weights are stored.
    pub(super) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::BF16),
            DType::I8 => Some(Self::I8),
            DType::I32 => None,
        }
    }
}

/// [`Tier::names`] of a weight type, a tile and a tier.
macro_rules! names {
    ($weight:literal, $tile:literal, $isa:literal) => {
        [
            concat!("conv_", $weight, "_", $tile, "_", $isa),
            concat!("conv1x1_", $weight, "_", $tile, "_", $isa),
            concat!("dense_", $weight, "_", $tile, "_", $isa),
            concat!("dense_", $weight, "_1x16_", $isa),
        ]
    };
}
use names;

/// The tile functions of a tier for a type of weights.
pub(super) struct Tier {
    /// `[panels - 1][rows - 1]`; all inner slices have the same length.
    tiles: &'static [&'static [TileFn]],
    /// `[rows - 1]` for one panel of at most eight channels, if a separate function pays off; else
    /// empty.
    half: &'static [TileFn],
    /// One row by one panel, with several partial sums: for a single row, where the latency of
    /// one chain of additions would be the limit.
    single_row: TileFn,
    /// Bytes of a weight.
    weight_bytes: usize,
    /// If present, the tiles read rows that this function wrote: pointers of [`TileArgs`] point to
    /// the bits of `k` bfloat16, and a zero after them if `k` is odd, on a boundary of four bytes;
    /// there is one run.
    round_rows: Option<RoundFn>,
    /// Names of the convolution, 1x1 convolution, dense and single-row dense kernels.
    pub(super) names: [&'static str; 4],
}

impl Tier {
    /// The tier of `isa` for a type of weights.
    pub(super) fn of(isa: Isa, weight: Weight) -> &'static Self {
        match isa {
            Isa::Portable => portable::tier(weight),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => avx2::tier(token, weight),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => match (weight, token.bf16()) {
                (Weight::BF16, Some(bf16)) => avx512_bf16::tier(bf16),
                _ => avx512::tier(token, weight),
            },
        }
    }

    /// Bytes of a panel of `k` rows.
    pub(super) fn panel_bytes(&self, k: usize) -> usize {
        k * PANEL * self.weight_bytes
    }

    /// Rows of the largest tile.
    pub(super) fn rows(&self) -> usize {
        self.tiles[0].len()
    }

    /// Panels of the largest tile.
    pub(super) fn panels(&self) -> usize {
        self.tiles.len()
    }

    /// The function for tiles of exactly `rows` rows and `panels` panels, with `channels` channels
    /// in use.
    pub(super) fn tile(&self, rows: usize, panels: usize, channels: usize) -> TileFn {
        match self.half.get(rows - 1) {
            Some(&half) if channels <= PANEL / 2 => half,
            _ => self.tiles[panels - 1][rows - 1],
        }
    }

    /// The function for a result of a single row, one panel a call.
    pub(super) fn single_row(&self) -> TileFn {
        self.single_row
    }
}

/// How far ahead weights are fetched, in weights: 32 rows, some 200 cycles of a tile, hide the
/// latency of the third-level cache. Past a panel's end this is the start of the next panel.
/// Measured on Zen 3: 5 to 10 % on layers of 8x8 and 7x7 pixels, which use each weight least often.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only vector tiers use it")
)]
const AHEAD: usize = 512;

/// Asks for the cache line of `at`, which may be any address.
#[inline]
fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch of a bad address does nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Copies the `len` channels of an incomplete panel.
///
/// # Safety
/// `from` holds `len` floats, `to` has room for them, and they do not overlap.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only vector tiers use it")
)]
#[inline]
unsafe fn copy_head(from: *const f32, to: *mut f32, len: usize) {
    // SAFETY: the caller's bounds.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}
