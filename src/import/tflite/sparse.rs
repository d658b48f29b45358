//! Sparse weights: the numbers that are not zero, and where they stand.
//!
//! A tensor is stored level by level, each level an axis or a part of one (a block). A level is
//! either dense, or lists for each element of the level before it the indices that are there.
//!
//! Source: `SparsityParameters` of the schema, and
//! <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/internal/utils/sparsity_format_converter.h>.

use super::flatbuffer::{Table, Vector};
use crate::import::error::ImportError;
use crate::import::view::{len_of, strides_of};

/// Bytes of a tensor that is spelled out. The largest one seen has 100 kB.
const MAX_DENSE: usize = 32 << 20;

/// Axes and blocks of them.
const MAX_LEVELS: usize = 12;

enum Level<'a> {
    Dense(usize),
    Sparse {
        segments: Vector<'a>,
        indices: Vector<'a>,
    },
}

/// Why a tensor cannot be spelled out.
type Wrong = &'static str;

const DAMAGED: Wrong = "is sparse, and does not say where its numbers stand";

/// The elements of a tensor of `dims`, each of `size` bytes, in row-major order.
pub(super) fn densified(
    table: Table,
    dims: &[usize],
    size: usize,
    stored: &[u8],
) -> Result<Vec<u8>, Wrong> {
    let read = || -> Result<_, ImportError> {
        let levels = table.tables(2, "levels", MAX_LEVELS)?;
        let levels: Vec<Level> = levels.map(|t| level(t?)).collect::<Result<_, _>>()?;
        Ok((table.vector(0, 4)?, table.vector(1, 4)?, levels))
    };
    let (order, blocks, levels) = read().map_err(|_| DAMAGED)?;
    let indices = |list: Vector| -> Vec<usize> {
        let wanted = list.ints().take(MAX_LEVELS + 1);
        wanted
            .map(|i| usize::try_from(i).unwrap_or(usize::MAX))
            .collect()
    };
    let (order, blocks) = (indices(order), indices(blocks));
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let is_order = sorted.iter().copied().eq(0..levels.len());
    if !is_order || dims.len() + blocks.len() != levels.len() {
        return Err(DAMAGED);
    }
    let bytes = len_of(dims).and_then(|len| len.checked_mul(size));
    let bytes = bytes.filter(|&n| n <= MAX_DENSE);
    let bytes = bytes.ok_or("is sparse, and too large to be spelled out")?;
    let len = bytes / size.max(1);
    // By how many elements an index of each level moves: that of a block by one row of its axis,
    // that of the axis by as many rows as the block has.
    let strides = strides_of(dims);
    let mut steps = vec![0; levels.len()];
    for (axis, &stride) in strides.iter().enumerate() {
        let mut step = stride;
        if let Some(block) = blocks.iter().position(|&of| of == axis) {
            let at = order.iter().position(|&o| o == dims.len() + block);
            let at = at.ok_or(DAMAGED)?;
            let Level::Dense(extent) = levels[at] else {
                return Err("is sparse inside of blocks, which is not read");
            };
            steps[at] = stride;
            step = stride.checked_mul(extent).ok_or(DAMAGED)?;
        }
        let at = order.iter().position(|&o| o == axis).ok_or(DAMAGED)?;
        steps[at] = step;
    }
    let mut dense = vec![0u8; bytes];
    let mut walk = Walk {
        levels: &levels,
        steps: &steps,
        stored,
        size,
        dense: &mut dense,
        // Each step stands for an element, or leads to one.
        left: len.saturating_mul(2).saturating_add(1024),
    };
    walk.level(0, 0, 0).ok_or(DAMAGED)?;
    Ok(dense)
}

fn level(table: Table) -> Result<Level, ImportError> {
    if table.i8(0, 0)? == 0 {
        let extent = usize::try_from(table.i32(1, 0)?).unwrap_or(0);
        return Ok(Level::Dense(extent));
    }
    // `Int32Vector`, `Uint16Vector`, `Uint8Vector`
    let list = |kind: usize, value: usize| {
        let size = match table.i8(kind, 0)? {
            1 => 4,
            2 => 2,
            _ => 1,
        };
        let list = table.table(value)?;
        list.map_or(Ok(Vector::EMPTY), |list| list.vector(0, size))
    };
    Ok(Level::Sparse {
        segments: list(2, 3)?,
        indices: list(4, 5)?,
    })
}

struct Walk<'w, 'a> {
    levels: &'w [Level<'a>],
    steps: &'w [usize],
    stored: &'w [u8],
    size: usize,
    dense: &'w mut [u8],
    /// Steps that may still be made.
    left: usize,
}

impl Walk<'_, '_> {
    /// Walks through one level below element `from` of the level before it. `to` is the element of
    /// the tensor that the indices so far lead to. There are at most [`MAX_LEVELS`] calls inside of
    /// each other.
    fn level(&mut self, level: usize, from: usize, to: usize) -> Option<()> {
        let levels = self.levels;
        let Some(this) = levels.get(level) else {
            let stored = self.stored.get(from.checked_mul(self.size)?..)?;
            let start = to.checked_mul(self.size)?;
            let into = self.dense.get_mut(start..start.checked_add(self.size)?)?;
            into.copy_from_slice(stored.get(..self.size)?);
            return Some(());
        };
        let step = self.steps[level];
        match this {
            Level::Dense(extent) => {
                for i in 0..*extent {
                    self.left = self.left.checked_sub(1)?;
                    let below = from.checked_mul(*extent)?.checked_add(i)?;
                    self.level(level + 1, below, to.checked_add(i.checked_mul(step)?)?)?;
                }
            }
            Level::Sparse { segments, indices } => {
                let bound = |i: usize| usize::try_from(segments.index(i)?).ok();
                for at in bound(from)?..bound(from + 1)? {
                    self.left = self.left.checked_sub(1)?;
                    let i = usize::try_from(indices.index(at)?).ok()?;
                    self.level(level + 1, at, to.checked_add(i.checked_mul(step)?)?)?;
                }
            }
        }
        Some(())
    }
}
