//! The loops around the register tiles: chunks of panels, blocks of rows, tiles; the split into
//! tasks; the conversion of the sums.
//!
//! A chunk is as many weight panels as half the second-level cache holds; it is multiplied with one
//! block of rows after the other. A block's activations are first copied together (with the windows
//! of a convolution unrolled), and widened if the tier needs that. Tiles then read them from the
//! first-level cache at consecutive addresses. If rows are contiguous already and the tier reads
//! bytes, they are read in place. The sums of a few panels are made at a time, and requantized
//! while they are in the cache.

use super::super::gemm_f32::Source;
use super::super::grid::Grid;
use super::super::requantize::{self, Bounds, Curved, multiplier, of_product};
use super::super::table_i8::{self, Table};
use super::super::vector::{Kernel, Vector, dispatch};
use super::super::{Isa, KernelError, byte_words, check_tensor, check_typed};
use super::{Rows, STEP, Tier, TileArgs};
use crate::activation::Activation;
use crate::activation::curve::Curve;
use crate::quantization::Quantization;
use crate::tensor::{AlignedF32, DType, PANEL, Tensor};

/// Bytes of weights in a chunk: half of a 512 KiB second-level cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Panels whose sums are made before they are requantized.
const FINISH_PANELS: usize = 6;

/// A task with fewer multiply-adds is not worth a hand-over: some 50 us of one core.
const TASK_MACS: usize = 5_000_000;

/// Blocks that a task should have. Below that, panels are split further and not rows.
const TASK_BLOCKS: usize = 4;

/// Longest reduction whose sum cannot leave 32 bits: `k * 255 * 127 + bias < 2^31` with a bias of
/// at most 2^30.
const MAX_K: usize = 33_000;

/// The conversion of the sums.
#[derive(Clone, Debug)]
pub(in crate::kernels) enum Finish {
    /// To bytes: clamped, perhaps with a residual, perhaps through a table.
    U8 {
        /// The quantization of the requantized sum.
        output: Quantization,
        /// A clamp (`Linear`, `Relu`, `Relu6`) or, without a residual, a curve.
        activation: Activation,
        /// Input 1's quantization, and the clamp after adding it.
        residual: Option<(Quantization, Activation)>,
        /// Applied to the byte: from `output`'s integers to the stored ones.
        table: Option<Box<Table>>,
    },
    /// To real numbers: `activation(sum * input_scale * weight_scale)`.
    F32 {
        /// Any activation.
        activation: Activation,
    },
}

/// The parameters of a product.
pub(in crate::kernels) struct GemmParams<'a> {
    pub(in crate::kernels) source: Source<u8>,
    /// The scale of the input; its zero point is in the source's padding and in the bias.
    pub(in crate::kernels) input_scale: f32,
    pub(in crate::kernels) filters: usize,
    /// `[groups * ceil(n / 16), ceil(k / 4), 16, 4]` i8.
    pub(in crate::kernels) weights: &'a Tensor,
    /// `[filters rounded up to 16]` f32.
    pub(in crate::kernels) weight_scale: &'a Tensor,
    /// `[filters rounded up to 16]` i32.
    pub(in crate::kernels) bias: &'a Tensor,
    pub(in crate::kernels) finish: Finish,
}

/// A matrix product with the rows of a [`Source`], per group, prepared to run.
pub(in crate::kernels) struct Gemm {
    isa: Isa,
    tier: &'static Tier,
    source: Source<u8>,
    weights: Tensor,
    /// Whole panels per group.
    bias: Vec<i32>,
    /// For each channel, in whole panels per group: the factor from sums to steps of the result, or
    /// to real numbers.
    multipliers: AlignedF32,
    n: usize,
    store: Store,
    blocks: usize,
    chunk_panels: usize,
}

impl Gemm {
    pub(in crate::kernels) fn prepare(
        isa: Isa,
        params: GemmParams<'_>,
    ) -> Result<Self, KernelError> {
        let GemmParams {
            source,
            input_scale,
            filters,
            weights,
            weight_scale,
            bias,
            finish,
        } = params;
        let refuse = |what, got: String, rule| Err(KernelError::Geometry { what, got, rule });
        let groups = source.groups();
        let n = filters / groups;
        if n == 0 || !filters.is_multiple_of(groups) {
            return refuse(
                "filters",
                filters.to_string(),
                "it must be a positive multiple of the groups",
            );
        }
        if source.rows().checked_mul(filters).is_none() {
            return refuse(
                "filters",
                filters.to_string(),
                "the output must be addressable",
            );
        }
        let k = source.k();
        if k > MAX_K {
            return refuse("reduction", k.to_string(), "sums must fit into 32 bits");
        }
        let panels = n.div_ceil(PANEL);
        let expected = [groups.saturating_mul(panels), k.div_ceil(STEP), PANEL, STEP];
        check_typed("weights", weights, DType::I8, &expected)?;
        let channels = filters.next_multiple_of(PANEL);
        check_tensor("weight scale", weight_scale, &[channels])?;
        check_typed("bias", bias, DType::I32, &[channels])?;
        let (step, store) = store(finish, input_scale)?;
        let mut padded_bias = vec![0; groups * panels * PANEL];
        let mut multipliers = AlignedF32::zeroed(groups * panels * PANEL);
        let scales = weight_scale.as_f32().unwrap_or_default();
        let biases = bias.as_i32().unwrap_or_default();
        for group in 0..groups {
            let (from, to) = (group * n, group * panels * PANEL);
            for i in 0..n {
                let (scale, bias) = (scales[from + i], biases[from + i]);
                if !scale.is_finite() || bias.unsigned_abs() > 1 << 30 {
                    return refuse(
                        "channel",
                        format!("scale {scale}, bias {bias}"),
                        "scales are finite and biases at most 2^30",
                    );
                }
                padded_bias[to + i] = bias;
                multipliers.as_mut_slice()[to + i] = of_product(input_scale, scale, step);
            }
        }
        let tier = Tier::of(isa);
        let panel_bytes = k.div_ceil(STEP) * STEP * PANEL;
        let group_panels = FINISH_PANELS / tier.panels() * tier.panels();
        Ok(Self {
            isa,
            tier,
            weights: weights.clone(),
            bias: padded_bias,
            multipliers,
            n,
            store,
            blocks: source.rows().div_ceil(tier.block_rows),
            chunk_panels: (CHUNK_BYTES / panel_bytes / group_panels).max(1) * group_panels,
            source,
        })
    }

    pub(in crate::kernels) fn kernel_name(&self) -> &'static str {
        let [conv, pointwise, dense] = self.tier.names;
        match (self.source.is_pointwise(), self.source.rows()) {
            (true, 1) => dense,
            (true, _) => pointwise,
            _ => conv,
        }
    }

    fn filters(&self) -> usize {
        self.n * self.source.groups()
    }

    fn group_panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    fn steps(&self) -> usize {
        self.source.k().div_ceil(STEP)
    }

    pub(in crate::kernels) fn input_lens(&self) -> Vec<usize> {
        let mut lens = vec![byte_words(self.source.input_len())];
        if matches!(&self.store, Store::U8(store) if store.residual.is_some()) {
            lens.push(self.output_len());
        }
        lens
    }

    pub(in crate::kernels) fn output_len(&self) -> usize {
        let len = self.source.rows() * self.filters();
        match self.store {
            Store::U8(_) => byte_words(len),
            Store::F32(_) => len,
        }
    }

    /// Whether rows of the input can serve as rows of tiles in place.
    fn in_place(&self) -> bool {
        self.tier.rows_are == Rows::Bytes
            && self.source.is_pointwise()
            && self.source.k().is_multiple_of(STEP)
    }

    /// Bytes of a block's activations.
    fn block_bytes(&self) -> usize {
        if self.in_place() {
            0
        } else {
            self.tier.block_rows * self.steps() * STEP * self.tier.element()
        }
    }

    /// Pointers to a block's rows; to the runs of one row.
    fn tables(&self) -> usize {
        self.tier.block_rows + self.source.max_runs()
    }

    /// Alignment, pointers, sums, activations.
    pub(in crate::kernels) fn scratch_len(&self) -> usize {
        let sums = self.tier.block_rows * FINISH_PANELS * PANEL;
        let pointers = (self.tables() + 1) * size_of::<usize>();
        byte_words(pointers) + sums + byte_words(self.block_bytes())
    }

    pub(in crate::kernels) fn tasks(&self, threads: usize) -> usize {
        let macs = self.source.rows() * self.source.k() * self.filters();
        self.grid().tasks(threads, macs, TASK_MACS)
    }

    fn grid(&self) -> Grid {
        Grid {
            rows: self.blocks,
            group_panels: self.group_panels(),
            groups: self.source.groups(),
            task_rows: TASK_BLOCKS,
        }
    }

    /// # Safety
    /// That of `PreparedOp::run`.
    pub(in crate::kernels) unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        scratch: *mut f32,
    ) {
        let grid = self.grid();
        let Some(part) = grid.part(task, tasks) else {
            return;
        };
        let misaligned = scratch as usize % align_of::<*const u8>() / size_of::<f32>();
        let sums_at = byte_words((self.tables() + 1) * size_of::<usize>());
        let sums_len = self.tier.block_rows * FINISH_PANELS * PANEL;
        // SAFETY: `scratch_len` counts pointers, one more for their alignment, sums, activations.
        let call = unsafe {
            Call {
                gemm: self,
                input: inputs[0].cast(),
                residual: inputs.get(1).map_or(std::ptr::null(), |r| r.cast()),
                output,
                weights: self.weights.bytes().as_ptr().cast(),
                pointers: scratch.add(misaligned).cast(),
                sums: scratch.add(sums_at).cast(),
                activations: scratch.add(sums_at + sums_len).cast(),
            }
        };
        for (group, chunk) in grid.chunks(&part, self.chunk_panels) {
            for block in part.rows.clone() {
                // SAFETY: the caller's pointers, the scratch's parts as above.
                unsafe { call.block(block, group, chunk.clone()) };
            }
        }
    }
}

/// The memory of one call.
struct Call<'a> {
    gemm: &'a Gemm,
    input: *const u8,
    residual: *const u8,
    output: *mut f32,
    weights: *const i8,
    /// A block's rows, then the runs of one row.
    pointers: *mut *const u8,
    sums: *mut i32,
    activations: *mut u8,
}

impl Call<'_> {
    /// A block of rows by the panels of a chunk.
    ///
    /// # Safety
    /// The pointers are those of `PreparedOp::run` and `Gemm::run`'s scratch.
    unsafe fn block(&self, block: usize, group: usize, panels: std::ops::Range<usize>) {
        let gemm = self.gemm;
        let tier = gemm.tier;
        let first_row = block * tier.block_rows;
        let rows = first_row..(first_row + tier.block_rows).min(gemm.source.rows());
        // SAFETY: the scratch has room for a block's pointers and activations.
        unsafe { self.gather(rows.clone(), group) };
        let panel_bytes = gemm.steps() * STEP * PANEL;
        let mut start = panels.start;
        while start < panels.end {
            let finished = start..panels.end.min(start + FINISH_PANELS);
            let stride = finished.len() * PANEL;
            let mut panel = finished.start;
            while panel < finished.end {
                let width = tier.panels().min(finished.end - panel);
                let mut row = 0;
                while row < rows.len() {
                    let height = tier.rows().min(rows.len() - row);
                    let at = row * stride + (panel - finished.start) * PANEL;
                    // SAFETY: `gather` set the pointers; `prepare` checked that the weights hold
                    // `steps` times 64 bytes for every panel and the bias 16 values; the sums
                    // have room for a block by `FINISH_PANELS` panels.
                    unsafe {
                        tier.tiles[width - 1][height - 1](&TileArgs {
                            rows: self.pointers.add(row),
                            steps: gemm.steps(),
                            panels: self.weights.add(panel * panel_bytes),
                            bias: gemm.bias.as_ptr().add(panel * PANEL),
                            sums: self.sums.add(at),
                            stride,
                        });
                    }
                    row += height;
                }
                panel += width;
            }
            // SAFETY: these sums were just written.
            unsafe { self.finish(rows.clone(), group, finished.clone(), stride) };
            start = finished.end;
        }
    }

    /// Sets the pointers to the block's rows, and copies the rows together unless they are in
    /// place.
    ///
    /// # Safety
    /// As [`Call::block`].
    unsafe fn gather(&self, rows: std::ops::Range<usize>, group: usize) {
        let gemm = self.gemm;
        // SAFETY: the table holds `block_rows` pointers, then `max_runs`.
        unsafe {
            if gemm.in_place() {
                return gemm.source.fill(self.input, group, rows, self.pointers);
            }
            let runs_table = self.pointers.add(gemm.tier.block_rows);
            let element = gemm.tier.element();
            let row_bytes = gemm.steps() * STEP * element;
            for (i, row) in rows.enumerate() {
                let to = self.activations.add(i * row_bytes);
                self.pointers.add(i).write(to);
                let runs = gemm.source.runs(row..row + 1);
                let run_len = gemm.source.k() / runs;
                gemm.source
                    .fill(self.input, group, row..row + 1, runs_table);
                for run in 0..runs {
                    let from = *runs_table.add(run);
                    (gemm.tier.copy)(from, to.add(run * run_len * element), run_len);
                }
                // The rest of the last step is multiplied by weights of zero, so it may have any
                // value.
            }
        }
    }

    /// Converts a block's sums to results.
    ///
    /// # Safety
    /// The sums are there, `[rows][stride]`, and the output's elements belong to this task.
    unsafe fn finish(
        &self,
        rows: std::ops::Range<usize>,
        group: usize,
        panels: std::ops::Range<usize>,
        stride: usize,
    ) {
        let gemm = self.gemm;
        let first = (panels.start - group * gemm.group_panels()) * PANEL;
        let channels = (panels.len() * PANEL).min(gemm.n - first);
        let multipliers = &gemm.multipliers.as_slice()[panels.start * PANEL..];
        for (i, row) in rows.enumerate() {
            let offset = row * gemm.filters() + group * gemm.n + first;
            // SAFETY: the caller's sums; `offset` and `channels` lie in the output (and residual)
            // of `rows * filters` elements.
            unsafe {
                let sums = self.sums.add(i * stride);
                match &gemm.store {
                    Store::U8(store) => {
                        let to = self.output.cast::<u8>().add(offset);
                        let requantize = Requantize {
                            sums,
                            multipliers: multipliers.as_ptr(),
                            store,
                            residual: self.residual.wrapping_add(offset),
                            to,
                            len: channels,
                        };
                        dispatch(gemm.isa, requantize);
                        if let Some(table) = &store.table {
                            let written = std::slice::from_raw_parts_mut(to, channels);
                            table_i8::apply(gemm.isa, table, written);
                        }
                    }
                    Store::F32(activation) => {
                        let to = self.output.add(offset);
                        let dequantize = Dequantize {
                            sums,
                            multipliers: multipliers.as_ptr(),
                            to,
                            len: channels,
                        };
                        dispatch(gemm.isa, dequantize);
                        let written = std::slice::from_raw_parts_mut(to, channels);
                        for x in written {
                            *x = activation.apply(*x);
                        }
                    }
                }
            }
        }
    }
}

/// [`Finish`] as numbers, all checked.
enum Store {
    U8(Box<StoreU8>),
    F32(Activation),
}

struct StoreU8 {
    /// From real numbers to steps; without it sums come in steps.
    curve: Option<Curve>,
    bounds: Bounds,
    residual: Option<Residual>,
    zero_point: f32,
    table: Option<Box<Table>>,
}

/// The second line of the rule.
struct Residual {
    zero_point: f32,
    multiplier: f32,
    bounds: Bounds,
}

/// The rule for a row of sums: `len` sums, as many multipliers (readable in whole vectors, like the
/// sums), bytes of residual (if there is one) and of output.
struct Requantize<'a> {
    sums: *const i32,
    multipliers: *const f32,
    store: &'a StoreU8,
    residual: *const u8,
    to: *mut u8,
    len: usize,
}

impl Kernel for Requantize<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let store = self.store;
        // SAFETY: the caller's promise.
        let curved = unsafe { Curved::<V>::of(store.curve.as_ref()) };
        let mut i = 0;
        // SAFETY: sums and multipliers are filled up to whole panels, a multiple of every
        // vector; bytes are read and written up to `len`.
        unsafe {
            while i < self.len {
                let lanes = V::LANES.min(self.len - i);
                let sum = V::load_i32(self.sums.add(i));
                let x = sum.mul(V::load(self.multipliers.add(i)));
                let x = match &curved {
                    Some(curved) => curved.apply(x),
                    None => x,
                };
                let mut x = store.bounds.clamp(x);
                if let Some(residual) = &store.residual {
                    let from = self.residual.add(i);
                    let bytes = if lanes == V::LANES {
                        V::load_u8(from)
                    } else {
                        V::load_first_u8(from, lanes)
                    };
                    let steps = bytes.sub(x.like(residual.zero_point));
                    let scaled = steps.mul(x.like(residual.multiplier));
                    x = residual.bounds.clamp(x.add(scaled));
                }
                // Rounding first: half a step and the zero point together could round once more.
                let q = x.round().add(x.like(store.zero_point));
                if lanes == V::LANES {
                    q.store_u8(self.to.add(i));
                } else {
                    q.store_first_u8(self.to.add(i), lanes);
                }
                i += V::LANES;
            }
        }
    }
}

/// `to = sums * multipliers`, under the same contract.
struct Dequantize {
    sums: *const i32,
    multipliers: *const f32,
    to: *mut f32,
    len: usize,
}

impl Kernel for Dequantize {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut i = 0;
        // SAFETY: as for `Requantize`.
        unsafe {
            while i < self.len {
                let lanes = V::LANES.min(self.len - i);
                let x = V::load_i32(self.sums.add(i)).mul(V::load(self.multipliers.add(i)));
                x.store_first(self.to.add(i), lanes);
                i += V::LANES;
            }
        }
    }
}

/// The unit of the result, and the rest of the conversion.
fn store(finish: Finish, input_scale: f32) -> Result<(f32, Store), KernelError> {
    let input = Quantization {
        scale: input_scale,
        zero_point: 0,
    };
    requantize::check("input", input)?;
    match finish {
        Finish::U8 {
            output,
            activation,
            residual,
            table,
        } => {
            requantize::check("output", output)?;
            let curve = match residual {
                None => Curve::of(activation, output.scale),
                Some(_) => None,
            };
            let clamp = match curve {
                Some(_) => Activation::Linear,
                None => activation,
            };
            let (bounds, residual) = match residual {
                None => (Bounds::of(clamp, output)?, None),
                Some((from, post)) => {
                    requantize::check("residual", from)?;
                    let multiplier = multiplier("residual scale", &[from.scale], &[output.scale])?;
                    let residual = Residual {
                        zero_point: f32::from(from.zero_point),
                        multiplier,
                        bounds: Bounds::of(post, output)?,
                    };
                    (Bounds::unlimited(activation, output)?, Some(residual))
                }
            };
            let unit = if curve.is_some() { 1.0 } else { output.scale };
            let store = StoreU8 {
                curve,
                bounds,
                residual,
                zero_point: f32::from(output.zero_point),
                table,
            };
            Ok((unit, Store::U8(Box::new(store))))
        }
        Finish::F32 { activation } => Ok((1.0, Store::F32(activation))),
    }
}
