//! The tiles of a depthwise convolution, on any vector.

use super::super::activation_f32::{Clamp, Function};
use super::super::vector::{Kernel, Vector, dispatch, dispatch_vectors};
use super::super::{Isa, SlidingWindow};

/// The tile for a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// 3x3 taps next to each other, stride 1 or 2 both ways.
    Square3,
    /// 5x5 taps next to each other, stride 1 or 2 both ways.
    Square5,
    /// Any taps.
    Any,
    /// Any taps, and several output channels for an input channel.
    Multiplied,
}

/// See [`Form`].
pub(super) fn form(window: &SlidingWindow, multiplier: usize) -> Form {
    let square = window.dilations == [1, 1] && matches!(window.strides, [1, 1] | [2, 2]);
    match (multiplier, square, window.kernel) {
        (1, true, [3, 3]) => Form::Square3,
        (1, true, [5, 5]) => Form::Square5,
        (1, _, _) => Form::Any,
        _ => Form::Multiplied,
    }
}

/// Some rows of output to compute. The contract is that of [`super::DepthwiseF32::rows`]; the
/// module's documentation describes `weights` and `bias`.
pub(super) struct Rows<'a> {
    pub(super) window: &'a SlidingWindow,
    pub(super) multiplier: usize,
    /// Output columns.
    pub(super) columns: usize,
    pub(super) weights: *const f32,
    pub(super) bias: *const f32,
    /// 0 for ReLU on load, minus infinity for none.
    pub(super) input_low: f32,
    pub(super) clamp: Clamp,
    pub(super) first_row: usize,
    pub(super) count: usize,
    pub(super) input: *const f32,
    pub(super) output: *mut f32,
}

impl Rows<'_> {
    /// Computes them.
    ///
    /// # Safety
    /// As [`super::DepthwiseF32::rows`].
    pub(super) unsafe fn run(self, isa: Isa) {
        let form = match (isa, form(self.window, self.multiplier)) {
            // Without vector registers for the sums, the square tiles gain nothing.
            (Isa::Portable, Form::Square3 | Form::Square5) => Form::Any,
            (_, form) => form,
        };
        // SAFETY: the caller's contract is that of every `Walk`.
        unsafe {
            match (form, self.window.strides[0]) {
                (Form::Square3, 1) => dispatch_vectors(isa, Walk(self, Square::<3, 1>)),
                (Form::Square3, _) => dispatch_vectors(isa, Walk(self, Square::<3, 2>)),
                (Form::Square5, 1) => dispatch_vectors(isa, Walk(self, Square::<5, 1>)),
                (Form::Square5, _) => dispatch_vectors(isa, Walk(self, Square::<5, 2>)),
                (Form::Any, _) => dispatch(isa, Walk(self, Any)),
                (Form::Multiplied, _) => dispatch(isa, Walk(self, Multiplied)),
            }
        }
    }
}

/// Rows, and how to compute their tiles.
struct Walk<'a, C>(Rows<'a>, C);

impl<C: Compute> Kernel for Walk<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller keeps the contract of `rows`, and `V` fits the CPU.
        unsafe { self.0.walk::<V, C>() }
    }
}

/// The work for one row of taps, for a few neighbouring output pixels and all channels.
struct Tile<'a> {
    window: &'a SlidingWindow,
    multiplier: usize,
    /// The place where the first of `tap_rows` rows of taps reads the input in column 0 of the
    /// image.
    input: *const f32,
    /// The input column under the first tap of the first pixel, plus the padding to its left.
    column: usize,
    /// Weights of the first of `tap_rows` rows of taps.
    weights: *const f32,
    /// Rows of taps inside the input.
    tap_rows: usize,
    bias: *const f32,
    output: *mut f32,
    /// Output channels.
    n: usize,
    /// `n` rounded up to 16: floats between the weights of two taps.
    padded: usize,
    input_low: f32,
    clamp: Clamp,
}

/// Computes a tile. Implementations must be `inline(always)`.
trait Compute {
    /// Writes `P` pixels.
    ///
    /// # Safety
    /// The rows of taps lie inside the input, and `P` pixels can be written. Columns may lie
    /// outside.
    unsafe fn tile<V: Vector, const P: usize>(tile: &Tile<'_>);
}

impl Rows<'_> {
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn walk<V: Vector, C: Compute>(&self) {
        let [_, width, channels] = self.window.input;
        let n = channels * self.multiplier;
        let padded = n.next_multiple_of(16);
        for row in self.first_row..self.first_row + self.count {
            let (taps, y) = self.window.taps(0, row);
            // SAFETY: row `y` and the weights of row `taps.start` are inside if there are taps, and
            // `wrapping_add` may leave the memory if there are none.
            let (input, weights, output) = unsafe {
                (
                    self.input.wrapping_add(y * width * channels),
                    self.weights
                        .wrapping_add(taps.start * self.window.kernel[1] * padded),
                    self.output.add((row - self.first_row) * self.columns * n),
                )
            };
            let tile = |column: usize| Tile {
                window: self.window,
                multiplier: self.multiplier,
                input,
                column: column * self.window.strides[1],
                weights,
                tap_rows: taps.len(),
                bias: self.bias,
                output: output.wrapping_add(column * n),
                n,
                padded,
                input_low: self.input_low,
                clamp: self.clamp,
            };
            // A rest that does not fill a tile is covered by a tile that starts earlier. A few
            // pixels are computed twice, which takes less time than one pixel at a time.
            let mut column = 0;
            while column < self.columns {
                let left = self.columns - column;
                // SAFETY: each branch starts a tile of P pixels at most at `columns - P`.
                unsafe {
                    if left >= 8 {
                        C::tile::<V, 8>(&tile(column));
                        column += 8;
                    } else if left > 4 && self.columns >= 8 {
                        C::tile::<V, 8>(&tile(self.columns - 8));
                        column = self.columns;
                    } else if left > 1 && self.columns >= 4 {
                        let start = column.min(self.columns - 4);
                        C::tile::<V, 4>(&tile(start));
                        column = start + 4;
                    } else {
                        C::tile::<V, 1>(&tile(column));
                        column += 1;
                    }
                }
            }
        }
    }
}

impl Tile<'_> {
    /// Which of `taps` columns, from the tile's first, lie inside the image.
    #[inline(always)]
    fn inside(&self, taps: usize) -> (usize, usize) {
        let padding = self.window.padding[1];
        let start = padding.saturating_sub(self.column).min(taps);
        let end = (self.window.input[1] + padding)
            .saturating_sub(self.column)
            .min(taps);
        (start, end)
    }

    /// The input under tap column `tap` of the first pixel, first row of taps, channel 0. It must
    /// not be read if the column is outside.
    #[inline(always)]
    fn input_at(&self, tap: usize) -> *const f32 {
        let channels = self.window.input[2];
        self.input
            .wrapping_add((self.column + tap) * channels)
            .wrapping_sub(self.window.padding[1] * channels)
    }

    /// # Safety
    /// The sums' pixels and the first `lanes` channels from `channel` can be written.
    #[inline(always)]
    unsafe fn finish<V: Vector, const P: usize>(&self, channel: usize, sums: [V; P], lanes: usize) {
        for (pixel, sum) in sums.into_iter().enumerate() {
            let value = self.clamp.eval(sum);
            // SAFETY: promised by the caller.
            unsafe {
                let to = self.output.add(pixel * self.n + channel);
                if lanes == V::LANES {
                    value.store(to);
                } else {
                    value.store_first(to, lanes);
                }
            }
        }
    }
}

/// `K x K` taps next to each other, stride `S` both ways.
struct Square<const K: usize, const S: usize>;

impl<const K: usize, const S: usize> Compute for Square<K, S> {
    #[inline(always)]
    unsafe fn tile<V: Vector, const P: usize>(tile: &Tile<'_>) {
        if P == 1 {
            // SAFETY: the caller's contract.
            return unsafe { Multiplied::tile::<V, 1>(tile) };
        }
        let columns = (P - 1) * S + K;
        let inside = tile.inside(columns);
        let mut channel = 0;
        // SAFETY: the caller's contract; vectors end at `n` or are cut off there.
        unsafe {
            if inside == (0, columns) {
                while channel + V::LANES <= tile.n {
                    Self::vector::<V, P, false>(tile, channel, V::LANES, inside);
                    channel += V::LANES;
                }
            }
            while channel < tile.n {
                let lanes = V::LANES.min(tile.n - channel);
                Self::vector::<V, P, true>(tile, channel, lanes, inside);
                channel += V::LANES;
            }
        }
    }
}

impl<const K: usize, const S: usize> Square<K, S> {
    /// `lanes` channels from `channel` on. Without `EDGE` all columns are inside and `lanes` is
    /// whole.
    ///
    /// # Safety
    /// As [`Compute::tile`].
    #[inline(always)]
    unsafe fn vector<V: Vector, const P: usize, const EDGE: bool>(
        tile: &Tile<'_>,
        channel: usize,
        lanes: usize,
        (inside_start, inside_end): (usize, usize),
    ) {
        let [_, width, channels] = tile.window.input;
        let mut input = tile.input_at(0).wrapping_add(channel);
        // SAFETY: weights and bias are filled up to 16 channels, so that whole vectors of them
        // can be read; columns outside the image are not read.
        unsafe {
            let mut weights = tile.weights.wrapping_add(channel);
            let mut sums = [V::load(tile.bias.add(channel)); P];
            let low = V::broadcast(tile.input_low);
            for _ in 0..tile.tap_rows {
                let mut taps = [low; K];
                for (kx, tap) in taps.iter_mut().enumerate() {
                    *tap = V::load(weights.add(kx * tile.padded));
                }
                // One column of the input: it is loaded once and lies under up to K taps of as many
                // pixels. Written out, because the sums must not be indexed at run time.
                macro_rules! column {
                    ($($j:literal)*) => {$(
                        if $j < (P - 1) * S + K
                            && (!EDGE || ($j >= inside_start && $j < inside_end))
                        {
                            let from = input.wrapping_add($j * channels);
                            let x = if EDGE && lanes < V::LANES {
                                V::load_first(from, lanes)
                            } else {
                                V::load(from)
                            };
                            let x = x.at_least(low);
                            for kx in 0..K {
                                if $j >= kx && ($j - kx) % S == 0 && ($j - kx) / S < P {
                                    let sum = &mut sums[($j - kx) / S];
                                    *sum = x.fma(taps[kx], *sum);
                                }
                            }
                        }
                    )*};
                }
                column!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
                input = input.wrapping_add(width * channels);
                weights = weights.wrapping_add(K * tile.padded);
            }
            tile.finish(channel, sums, if EDGE { lanes } else { V::LANES });
        }
    }
}

/// Any taps, one output channel for each input channel.
struct Any;

impl Compute for Any {
    #[inline(always)]
    unsafe fn tile<V: Vector, const P: usize>(tile: &Tile<'_>) {
        let window = tile.window;
        let span = (P - 1) * window.strides[1] + (window.kernel[1] - 1) * window.dilations[1] + 1;
        let whole = tile.inside(span) == (0, span);
        let mut channel = 0;
        // SAFETY: the caller's contract; vectors end at `n` or are cut off there.
        unsafe {
            while channel + V::LANES <= tile.n && whole {
                Self::vector::<V, P>(tile, channel, 0..window.kernel[1]);
                channel += V::LANES;
            }
            // Pixel by pixel at the edge and for the last channels.
            for pixel in 0..P {
                let taps = tile.pixel_taps(pixel);
                let mut channel = channel;
                while channel < tile.n {
                    let lanes = V::LANES.min(tile.n - channel);
                    Multiplied::vector::<V>(tile, pixel, channel, lanes, taps.clone());
                    channel += V::LANES;
                }
            }
        }
    }
}

impl Any {
    /// # Safety
    /// As [`Compute::tile`], and all taps and lanes are inside.
    #[inline(always)]
    unsafe fn vector<V: Vector, const P: usize>(
        tile: &Tile<'_>,
        channel: usize,
        taps: std::ops::Range<usize>,
    ) {
        let window = tile.window;
        let [_, width, channels] = window.input;
        let step = window.strides[1] * channels;
        // SAFETY: weights and bias are filled up to 16 channels; all taps are inside.
        unsafe {
            let mut sums = [V::load(tile.bias.add(channel)); P];
            let low = V::broadcast(tile.input_low);
            for ky in 0..tile.tap_rows {
                let row = tile
                    .input_at(0)
                    .wrapping_add(ky * window.dilations[0] * width * channels + channel);
                let weights = tile
                    .weights
                    .add(ky * window.kernel[1] * tile.padded + channel);
                for kx in taps.clone() {
                    let weight = V::load(weights.add(kx * tile.padded));
                    let from = row.wrapping_add(kx * window.dilations[1] * channels);
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        let x = V::load(from.wrapping_add(pixel * step)).at_least(low);
                        *sum = x.fma(weight, *sum);
                    }
                }
            }
            tile.finish(channel, sums, V::LANES);
        }
    }
}

impl Tile<'_> {
    /// The taps of a row that lie inside the image for pixel `pixel` of the tile.
    #[inline(always)]
    fn pixel_taps(&self, pixel: usize) -> std::ops::Range<usize> {
        let window = self.window;
        let (dilation, padding) = (window.dilations[1], window.padding[1]);
        let column = self.column + pixel * window.strides[1];
        let end = (window.input[1] + padding)
            .saturating_sub(column)
            .div_ceil(dilation)
            .min(window.kernel[1]);
        padding.saturating_sub(column).div_ceil(dilation).min(end)..end
    }
}

/// Any taps, several output channels for an input channel.
struct Multiplied;

impl Compute for Multiplied {
    #[inline(always)]
    unsafe fn tile<V: Vector, const P: usize>(tile: &Tile<'_>) {
        for pixel in 0..P {
            let taps = tile.pixel_taps(pixel);
            let mut channel = 0;
            while channel < tile.n {
                let lanes = V::LANES.min(tile.n - channel);
                // SAFETY: the caller's contract; vectors are cut off at `n`.
                unsafe { Self::vector::<V>(tile, pixel, channel, lanes, taps.clone()) };
                channel += V::LANES;
            }
        }
    }
}

impl Multiplied {
    /// `lanes` output channels of one pixel.
    ///
    /// # Safety
    /// As [`Compute::tile`], and `taps` are inside.
    #[inline(always)]
    unsafe fn vector<V: Vector>(
        tile: &Tile<'_>,
        pixel: usize,
        channel: usize,
        lanes: usize,
        taps: std::ops::Range<usize>,
    ) {
        let window = tile.window;
        let [_, width, channels] = window.input;
        // SAFETY: weights and bias are filled up to 16 channels; `taps` and the first `lanes`
        // channels are inside.
        unsafe {
            let mut sum = V::load(tile.bias.add(channel));
            let low = V::broadcast(tile.input_low);
            for ky in 0..tile.tap_rows {
                for kx in taps.clone() {
                    let tap = ky * window.kernel[1] + kx;
                    let weight = V::load(tile.weights.add(tap * tile.padded + channel));
                    let from = tile
                        .input_at(pixel * window.strides[1] + kx * window.dilations[1])
                        .wrapping_add(ky * window.dilations[0] * width * channels);
                    let x = if tile.multiplier == 1 {
                        V::load_first(from.add(channel), lanes)
                    } else {
                        let mut gathered = [0.0; 16];
                        for (lane, value) in gathered.iter_mut().enumerate().take(lanes) {
                            *value = *from.add((channel + lane) / tile.multiplier);
                        }
                        V::load(gathered.as_ptr())
                    };
                    sum = x.at_least(low).fma(weight, sum);
                }
            }
            let value = tile.clamp.eval(sum);
            let to = tile.output.add(pixel * tile.n + channel);
            value.store_first(to, lanes);
        }
    }
}
