//! Square windows in tiles of a few pixels: the parts that all instruction sets share.
//!
//! A row of output is cut into tiles of four pixels, a tile into vectors of channels. A constant
//! marks tiles at the edges of the image, and channels that do not fill a vector, so that the
//! others check nothing.

use super::super::SlidingWindow;
use super::DepthwiseI8;

/// The weights of a window in the order of an instruction set's tiles, and such a tile.
pub(super) trait Weights: Sized {
    /// Channels of a vector.
    const LANES: usize;

    /// Computes `n` channels of `P` pixels. Without `EDGE` all taps lie inside the image and `n`
    /// is `LANES`.
    ///
    /// # Safety
    /// The CPU has the instructions; the channels exist, and `P` pixels can be written.
    unsafe fn vector<const K: usize, const S: usize, const P: usize, const EDGE: bool>(
        tile: &Tile<'_, Self, K>,
        channel: usize,
        n: usize,
    );
}

/// A few neighbouring output pixels.
pub(super) struct Tile<'a, W, const K: usize> {
    pub(super) weights: &'a W,
    pub(super) op: &'a DepthwiseI8,
    /// For each row of taps, channel 0 of the column under the first tap of the first pixel (which
    /// must not be read if it is outside), and the bytes to the next column. Rows outside the image
    /// are one pixel of zero points, repeated.
    pub(super) rows: [(*const u8, usize); K],
    /// The input column under the first tap of the first pixel, plus the padding to its left.
    pub(super) column: usize,
    /// Channel 0 of the first pixel.
    pub(super) output: *mut u8,
}

/// Whether the window has tiles: 3x3 or 5x5, with stride 1 or 2.
pub(super) fn has_tiles(window: &SlidingWindow) -> bool {
    matches!(window.kernel, [3, 3] | [5, 5])
        && matches!(window.strides, [1, 1] | [2, 2])
        && window.dilations == [1, 1]
}

/// Computes one row of output.
///
/// # Safety
/// The CPU has the instructions of `W`, the row exists, the window has tiles; the rest is the
/// contract of [`DepthwiseI8::rows`].
#[inline(always)]
pub(super) unsafe fn row<W: Weights>(
    weights: &W,
    op: &DepthwiseI8,
    row: usize,
    input: *const u8,
    output: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (op.window.kernel[0], op.window.strides[0]) {
            (3, 1) => tiles::<W, 3, 1>(weights, op, row, input, output),
            (3, _) => tiles::<W, 3, 2>(weights, op, row, input, output),
            (5, 1) => tiles::<W, 5, 1>(weights, op, row, input, output),
            _ => tiles::<W, 5, 2>(weights, op, row, input, output),
        }
    }
}

/// See [`row`].
///
/// # Safety
/// As there, for a window of `K x K` at every `S`th pixel.
#[inline(always)]
unsafe fn tiles<W: Weights, const K: usize, const S: usize>(
    weights: &W,
    op: &DepthwiseI8,
    row: usize,
    input: *const u8,
    output: *mut u8,
) {
    let [height, width, channels] = op.window.input;
    let columns = op.output[1];
    let rows: [_; K] = std::array::from_fn(|ky| {
        let y = (row * S + ky).wrapping_sub(op.window.padding[0]);
        if y < height {
            (input.wrapping_add(y * width * channels), channels)
        } else {
            (op.outside.as_ptr(), 0)
        }
    });
    let tile = |column: usize| Tile {
        weights,
        op,
        rows: rows.map(|(start, step)| {
            let x = (column * S).wrapping_sub(op.window.padding[1]);
            (start.wrapping_add(x.wrapping_mul(step)), step)
        }),
        column: column * S,
        output: output.wrapping_add(column * channels),
    };
    // As in f32, a rest that does not fill a tile is covered by a tile that starts earlier.
    let mut column = 0;
    while column < columns {
        let left = columns - column;
        // SAFETY: each branch starts a tile of P pixels at most at `columns - P`.
        unsafe {
            if left > 1 && columns >= 4 {
                let start = column.min(columns - 4);
                tile(start).run::<S, 4>();
                column = start + 4;
            } else {
                tile(column).run::<S, 1>();
                column += 1;
            }
        }
    }
}

impl<W: Weights, const K: usize> Tile<'_, W, K> {
    /// Writes `P` pixels.
    ///
    /// # Safety
    /// `P` pixels can be written, and the CPU has the instructions of `W`.
    #[inline(always)]
    unsafe fn run<const S: usize, const P: usize>(&self) {
        let window = &self.op.window;
        let (padding, span) = (window.padding[1], (P - 1) * S + K);
        let channels = window.input[2];
        let inside = self.column >= padding && self.column + span <= window.input[1] + padding;
        let mut channel = 0;
        // SAFETY: vectors end at the last channel or are cut off there.
        unsafe {
            if inside {
                while channel + W::LANES <= channels {
                    W::vector::<K, S, P, false>(self, channel, W::LANES);
                    channel += W::LANES;
                }
            }
            while channel < channels {
                let n = W::LANES.min(channels - channel);
                W::vector::<K, S, P, true>(self, channel, n);
                channel += W::LANES;
            }
        }
    }

    /// Channel `channel` of tap column `j` in row `ky`. For a column outside the image, with
    /// `EDGE`, this is the pixel of zero points.
    #[inline(always)]
    pub(super) fn tap<const EDGE: bool>(&self, ky: usize, j: usize, channel: usize) -> *const u8 {
        let (start, step) = self.rows[ky];
        if EDGE {
            // Columns to the left wrap around to far beyond the last.
            let x = (self.column + j).wrapping_sub(self.op.window.padding[1]);
            if x >= self.op.window.input[1] {
                return self.op.outside.as_ptr().wrapping_add(channel);
            }
        }
        start.wrapping_add(j * step).wrapping_add(channel)
    }

    /// Channel `channel` of output pixel `pixel`.
    #[inline(always)]
    pub(super) fn place(&self, pixel: usize, channel: usize) -> *mut u8 {
        let channels = self.op.window.input[2];
        self.output.wrapping_add(pixel * channels + channel)
    }
}
