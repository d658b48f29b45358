//! The loops around the register tiles: chunks of panels, tiles, panels; the split into tasks.
//!
//! A chunk is as many weight panels as half the second-level cache holds. It is multiplied with one
//! tile of rows after the other: weights come from memory once and then from the second-level
//! cache, a tile's inputs come from the first-level cache, and the result is written along its
//! rows. While a tile is computed, the lines that the next one will read and write are fetched; the
//! processor cannot predict them, since rows of a result are far apart. (Measured on Zen 3: the
//! other order, a panel at a time with a block of rows, is 3 to 10 % slower, and up to 25 % without
//! the fetches.)
//!
//! The division of the result's rows into tiles is fixed when the operation is prepared, and a
//! task is a range of whole tiles by a range of whole panels. Each element of the result is
//! therefore computed by the same instructions whatever the number of tasks.

use super::super::activation_f32;
use super::super::grid::Grid;
use super::super::{Isa, KernelError, check_tensor, check_typed};
use super::source::Source;
use super::{Clamp, RoundFn, Tier, TileArgs, Weight, prefetch};
use crate::activation::Activation;
use crate::tensor::{AlignedF32, DType, PANEL, Tensor};

/// Bytes of weights in a chunk: half of a 512 KiB second-level cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Most lines of input to fetch for the next tile during each panel. If there are more, the inputs
/// are large for the work done on them, and fetching them in bursts costs more than it saves.
const PANEL_LINES: usize = 24;

/// Floats of a cache line.
const LINE: usize = 16;

/// A task with fewer multiply-adds is not worth a hand-over: some 50 us of one core.
const TASK_MACS: usize = 2_500_000;

/// The same for a single row, which takes as long as reading 1 MB of weights from memory.
const SINGLE_ROW_TASK_MACS: usize = 250_000;

/// Tiles that a task should have. Below that, panels are split further and not rows, since each
/// task reads its weights once for every block.
const TASK_TILES: usize = 8;

/// The epilogue: `post(activation(sum + bias) + residual)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::kernels) struct Epilogue {
    pub(in crate::kernels) activation: Activation,
    pub(in crate::kernels) residual: Option<Activation>,
}

/// The matrix of a product: weights, and the numbers of each of its columns.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Matrix<'a> {
    /// All output channels.
    pub(in crate::kernels) filters: usize,
    /// `[groups * panels, k, 16]`.
    pub(in crate::kernels) weights: &'a Tensor,
    /// `[filters rounded up to 16]`, only for integer weights.
    pub(in crate::kernels) scale: Option<&'a Tensor>,
    /// `[filters rounded up to 16]`.
    pub(in crate::kernels) bias: Option<&'a Tensor>,
}

/// A matrix product with the rows of a [`Source`], per group, prepared to run.
pub(in crate::kernels) struct Gemm {
    isa: Isa,
    tier: &'static Tier,
    source: Source,
    weights: Tensor,
    /// Whole panels per group; divided by the scale, if there is one.
    bias: AlignedF32,
    /// As long as the bias.
    scale: Option<AlignedF32>,
    /// Output channels of a group.
    n: usize,
    epilogue: Epilogue,
    /// The epilogue's activations as clamps, unless one of them is not a clamp.
    clamps: Option<[Clamp; 2]>,
    /// Tiles of the rows; their heights differ by at most one.
    tiles: usize,
    /// Panels that are multiplied with all tiles before the next ones are read.
    chunk_panels: usize,
}

impl Gemm {
    pub(in crate::kernels) fn prepare(
        isa: Isa,
        source: Source,
        matrix: Matrix<'_>,
        epilogue: Epilogue,
    ) -> Result<Self, KernelError> {
        let (filters, weights) = (matrix.filters, matrix.weights);
        let groups = source.groups();
        let n = filters / groups;
        if n == 0 || !filters.is_multiple_of(groups) {
            return Err(KernelError::Geometry {
                what: "filters",
                got: filters.to_string(),
                rule: "it must be a positive multiple of the groups",
            });
        }
        if source.rows().checked_mul(filters).is_none() {
            return Err(KernelError::Geometry {
                what: "filters",
                got: filters.to_string(),
                rule: "the output must be addressable",
            });
        }
        let panels = n.div_ceil(PANEL);
        let expected = [groups.saturating_mul(panels), source.k(), PANEL];
        let tier = Weight::of(weights.dtype())
            .filter(|weight| matrix.scale.is_some() == (*weight == Weight::I8))
            .map(|weight| Tier::of(isa, weight));
        let Some(tier) = tier else {
            return Err(KernelError::TensorDType {
                what: "weights",
                expected: DType::F32,
                got: weights.dtype(),
            });
        };
        check_typed("weights", weights, weights.dtype(), &expected)?;
        // Each group starts a panel of its own.
        let padded = |tensor: Option<&Tensor>, what| {
            let mut padded = AlignedF32::zeroed(groups * panels * PANEL);
            if let Some(tensor) = tensor {
                check_tensor(what, tensor, &[filters.next_multiple_of(PANEL)])?;
                let values = tensor.as_f32().unwrap_or_default();
                let to = padded.as_mut_slice().chunks_exact_mut(panels * PANEL);
                for (to, from) in to.zip(values.chunks(n)) {
                    to[..n].copy_from_slice(&from[..n]);
                }
            }
            Ok::<_, KernelError>(padded)
        };
        let mut bias = padded(matrix.bias, "bias")?;
        let mut scale = match matrix.scale {
            Some(_) => Some(padded(matrix.scale, "scale")?),
            None => None,
        };
        if let Some(scale) = &mut scale {
            let pairs = bias.as_mut_slice().iter_mut().zip(scale.as_mut_slice());
            for (bias, scale) in pairs {
                // A channel of zeros has no scale, but may have a bias.
                if *scale == 0.0 {
                    *scale = 1.0;
                }
                *bias /= *scale;
            }
        }
        let gemm = Self {
            isa,
            tier,
            weights: weights.clone(),
            bias,
            scale,
            n,
            epilogue,
            clamps: clamps(epilogue),
            tiles: 0,
            chunk_panels: 0,
            source,
        };
        Ok(gemm.on_tier(tier))
    }

    /// The product computed by `tier`, which must be for the weights' type.
    pub(in crate::kernels) fn on_tier(self, tier: &'static Tier) -> Self {
        let panel_bytes = tier.panel_bytes(self.source.k());
        Self {
            tier,
            tiles: self.source.rows().div_ceil(tier.rows()),
            chunk_panels: (CHUNK_BYTES / panel_bytes / tier.panels()).max(1) * tier.panels(),
            ..self
        }
    }

    fn filters(&self) -> usize {
        self.n * self.source.groups()
    }

    fn group_panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    pub(in crate::kernels) fn is_single_row(&self) -> bool {
        self.source.rows() == 1
    }

    pub(in crate::kernels) fn tier(&self) -> &'static Tier {
        self.tier
    }

    pub(in crate::kernels) fn source(&self) -> &Source {
        &self.source
    }

    pub(in crate::kernels) fn input_lens(&self) -> Vec<usize> {
        let mut lens = vec![self.source.input_len()];
        if self.epilogue.residual.is_some() {
            lens.push(self.output_len());
        }
        lens
    }

    pub(in crate::kernels) fn output_len(&self) -> usize {
        self.source.rows() * self.filters()
    }

    /// Two pointer tables (for this tile and the next), and up to a word of alignment. If rows are
    /// rounded, also these rows and a table of pointers to them.
    pub(in crate::kernels) fn scratch_len(&self) -> usize {
        let rows = self.tier.rows();
        let [more_words, more_floats] = match self.tier.round_rows {
            Some(_) => [rows, rows * self.rounded_len()],
            None => [0, 0],
        };
        let words = 2 * self.table_len() + more_words + 1;
        words * size_of::<usize>() / size_of::<f32>() + more_floats
    }

    /// Floats that take as much room as a rounded row.
    fn rounded_len(&self) -> usize {
        self.source.k().div_ceil(2)
    }

    /// Most pointers of a tile.
    fn table_len(&self) -> usize {
        self.tier.rows() * self.source.max_runs()
    }

    pub(in crate::kernels) fn tasks(&self, threads: usize) -> usize {
        let macs = self.source.rows() * self.source.k() * self.filters();
        let task_macs = if self.is_single_row() {
            SINGLE_ROW_TASK_MACS
        } else {
            TASK_MACS
        };
        self.grid().tasks(threads, macs, task_macs)
    }

    fn grid(&self) -> Grid {
        Grid {
            rows: self.tiles,
            group_panels: self.group_panels(),
            groups: self.source.groups(),
            task_rows: TASK_TILES,
        }
    }

    /// First row of a tile.
    fn tile_start(&self, tile: usize) -> usize {
        let rows = self.source.rows();
        tile * (rows / self.tiles) + tile.min(rows % self.tiles)
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
        let tiles = part.rows.clone();
        let call = Call {
            gemm: self,
            input: inputs[0],
            residual: match self.epilogue.residual {
                Some(_) => inputs[1],
                None => std::ptr::null(),
            },
            output,
            weights: self.weights.bytes().as_ptr().cast(),
        };
        let misaligned = scratch as usize % align_of::<*const f32>() / size_of::<f32>();
        // SAFETY: `scratch_len` counts a word more than the tables for this.
        let table: *mut *const f32 = unsafe { scratch.add(misaligned) }.cast();
        let tables = [table, table.wrapping_add(self.table_len())];
        let rounded = table.wrapping_add(2 * self.table_len());
        for (group, panels) in grid.chunks(&part, self.chunk_panels) {
            let work = Work {
                group,
                panels,
                last: tiles.end - 1,
            };
            for (i, tile) in tiles.clone().enumerate() {
                let tables = [tables[i % 2], tables[1 - i % 2], rounded];
                // SAFETY: the caller's pointers; each table has room for a tile, and `scratch_len`
                // counts rounded rows after them if the tier rounds.
                unsafe { call.tile(tile, i == 0, &work, tables) };
            }
        }
    }
}

/// The unit of work of a task: all its tiles by some panels of a group.
struct Work {
    group: usize,
    panels: std::ops::Range<usize>,
    /// The task's last tile.
    last: usize,
}

/// The memory of one call.
struct Call<'a> {
    gemm: &'a Gemm,
    input: *const f32,
    residual: *const f32,
    output: *mut f32,
    weights: *const (),
}

impl Call<'_> {
    /// Tile `tile` of the rows by the panels of `work`. The first table holds the tile's pointers
    /// unless this is the `first` tile; the second gets those of the next one; after the third is
    /// room for rounded rows.
    ///
    /// # Safety
    /// The pointers are those of `PreparedOp::run`; each table has room for a tile's pointers, the
    /// third, where the tier rounds, for a pointer and `rounded_len` floats for each row.
    unsafe fn tile(
        &self,
        tile: usize,
        first: bool,
        work: &Work,
        [table, next_table, rounded]: [*mut *const f32; 3],
    ) {
        let gemm = self.gemm;
        let (group, panels) = (work.group, work.panels.clone());
        let (source, tier, n) = (&gemm.source, gemm.tier, gemm.n);
        let stride = gemm.filters();
        let start = gemm.tile_start(tile);
        let rows = start..gemm.tile_start(tile + 1);
        let ahead = if tile < work.last {
            rows.end..gemm.tile_start(tile + 2)
        } else {
            0..0
        };
        // SAFETY: each table has room for a tile.
        unsafe {
            if first {
                source.fill(self.input, group, rows.clone(), table);
            }
            source.fill(self.input, group, ahead.clone(), next_table);
        }
        let mut runs = source.runs(rows.clone());
        let mut pointers = table;
        if let Some(round) = tier.round_rows {
            // SAFETY: the table was filled above; the caller's room for rounded rows.
            unsafe { self.round(round, rows.len(), runs, table, rounded) };
            (pointers, runs) = (rounded, 1);
        }
        // Taps of larger windows were read by the tile before, all but a few.
        let lines = match ahead.len() * source.k().div_ceil(LINE) {
            lines if source.taps() == 1 && lines <= PANEL_LINES * panels.len() => lines,
            _ => 0,
        };
        let panel_bytes = tier.panel_bytes(source.k());
        let [clamp, post] = gemm.clamps.unwrap_or([Clamp::NONE; 2]);
        let fused_residual = gemm.clamps.is_some() && !self.residual.is_null();
        let first_panel = group * gemm.group_panels();
        let mut panel = panels.start;
        while panel < panels.end {
            let width = tier.panels().min(panels.end - panel);
            let channel = (panel - first_panel) * PANEL;
            let offset = start * stride + group * n + channel;
            let done = panel - panels.start;
            let fetch = lines * done / panels.len()..lines * (done + width) / panels.len();
            // SAFETY: `lines` is not zero only where the next tile has one run for each row.
            unsafe { self.fetch(ahead.clone(), group * n + channel, fetch, next_table) };
            // SAFETY: the table was filled above; `prepare` checked that the weights hold `k`
            // rows of 16 for every panel and bias and scale 16 for each; `offset` is the tile's first
            // element in an output of `rows * filters`.
            unsafe {
                let args = TileArgs {
                    pointers,
                    runs,
                    run_len: source.k() / runs,
                    panels: self.weights.byte_add(panel * panel_bytes),
                    bias: gemm.bias.as_slice().as_ptr().add(panel * PANEL),
                    scale: match &gemm.scale {
                        Some(scale) => scale.as_slice().as_ptr().add(panel * PANEL),
                        None => std::ptr::null(),
                    },
                    out: self.output.add(offset),
                    residual: if fused_residual {
                        self.residual.add(offset)
                    } else {
                        std::ptr::null()
                    },
                    stride,
                    channels: (width * PANEL).min(n - channel),
                    clamp,
                    post,
                };
                if gemm.is_single_row() {
                    for p in 0..width {
                        tier.single_row()(&args.panel(p, panel_bytes));
                    }
                } else {
                    tier.tile(rows.len(), width, args.channels)(&args);
                }
            }
            panel += width;
        }
        if gemm.clamps.is_none() {
            let first = (panels.start - first_panel) * PANEL;
            let last = ((panels.end - first_panel) * PANEL).min(n);
            // SAFETY: these elements were written above, by this task.
            unsafe { self.finish(rows, group * n + first..group * n + last) };
        }
    }

    /// Rounds the inputs of a tile, and writes pointers to them.
    ///
    /// # Safety
    /// `table` holds `runs` times `rows` pointers to `k / runs` floats; `rounded` has room for a
    /// pointer and `rounded_len` floats for each row, and overlaps nothing else.
    unsafe fn round(
        &self,
        round: RoundFn,
        rows: usize,
        runs: usize,
        table: *const *const f32,
        rounded: *mut *const f32,
    ) {
        let k = self.gemm.source.k();
        // SAFETY: the caller's bounds; a row takes `k` words, and one more if that is odd.
        unsafe {
            let first = rounded.add(self.gemm.tier.rows()).cast::<f32>();
            for i in 0..rows {
                let row = first.add(i * self.gemm.rounded_len());
                let words = row.cast::<u16>();
                for run in 0..runs {
                    let from = *table.add(run * rows + i);
                    round(from, words.add(run * (k / runs)), k / runs);
                }
                if k % 2 == 1 {
                    words.add(k).write(0);
                }
                rounded.add(i).write(row);
            }
        }
    }

    /// Fetches the result's and residual's lines at `channel` of rows `rows`, and lines `lines`
    /// of these rows' inputs, counted through all of them.
    ///
    /// # Safety
    /// `table` holds the pointer of each row unless `lines` is empty.
    unsafe fn fetch(
        &self,
        rows: std::ops::Range<usize>,
        channel: usize,
        lines: std::ops::Range<usize>,
        table: *const *const f32,
    ) {
        for row in rows {
            let offset = row * self.gemm.filters() + channel;
            prefetch(self.output.wrapping_add(offset));
            if !self.residual.is_null() {
                prefetch(self.residual.wrapping_add(offset));
            }
        }
        let row_lines = self.gemm.source.k().div_ceil(LINE);
        for line in lines {
            // SAFETY: the caller's table.
            let row = unsafe { *table.add(line / row_lines) };
            prefetch(row.wrapping_add(line % row_lines * LINE));
        }
    }

    /// The epilogue if it is not a clamp, on rows that are still in the cache.
    ///
    /// # Safety
    /// Rows and channels lie in the output, were written, and belong to this task.
    unsafe fn finish(&self, rows: std::ops::Range<usize>, channels: std::ops::Range<usize>) {
        let gemm = self.gemm;
        let stride = gemm.filters();
        // Whole rows are one stretch of memory.
        let (count, len) = if channels.len() == stride {
            (1, rows.len() * stride)
        } else {
            (rows.len(), channels.len())
        };
        for i in 0..count {
            let offset = (rows.start + i) * stride + channels.start;
            // SAFETY: the stretch belongs to this task; the residual has the output's shape
            // and does not overlap it.
            let row = unsafe { std::slice::from_raw_parts_mut(self.output.add(offset), len) };
            activation_f32::apply(gemm.isa, gemm.epilogue.activation, row);
            if let Some(post) = gemm.epilogue.residual {
                // SAFETY: as above.
                let residual =
                    unsafe { std::slice::from_raw_parts(self.residual.add(offset), len) };
                for (x, r) in row.iter_mut().zip(residual) {
                    *x += r;
                }
                activation_f32::apply(gemm.isa, post, row);
            }
        }
    }
}

/// The epilogue's two activations as clamps; `None` if one of them is not a clamp.
fn clamps(epilogue: Epilogue) -> Option<[Clamp; 2]> {
    let clamp = |activation| match activation {
        Activation::Linear => Some(Clamp::NONE),
        Activation::Relu => Some(Clamp {
            low: 0.0,
            high: f32::INFINITY,
        }),
        Activation::Relu6 => Some(Clamp {
            low: 0.0,
            high: 6.0,
        }),
        _ => None,
    };
    Some([
        clamp(epilogue.activation)?,
        clamp(epilogue.residual.unwrap_or_default())?,
    ])
}
