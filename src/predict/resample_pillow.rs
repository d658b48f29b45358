//! Pillow's resampling of 8-bit images, bit for bit.
//!
//! Pillow (`Image.resize`) resamples in two passes, columns first, each with weights in fixed point
//! and a result rounded to 8 bits. A pass that would not change the size is skipped. That is the
//! order of Pillow 2.7 to 12. Pillow 13 does rows first if a picture loses much more height than
//! width (12.3: only if it is over 100 times as tall as wide), which moves some of its pixels by
//! one level. Photos of ordinary shape are the same in all versions.
//!
//! Downscaling widens the kernel (antialiasing). NEAREST is another algorithm: it steps through the
//! source by adding in `f64`, and the rounding errors are part of the result.
//!
//! Rows are resampled when the second pass needs them, and kept in a ring of as many rows as the
//! kernel is high. So memory is a few input rows, and not an intermediate image.
//!
//! Reference: <https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters>; written
//! from the description of the algorithm, checked against Pillow by `tests/library/preprocess_golden.rs`.

use std::f64::consts::PI;

use super::geometry::Axis;
use super::source::Source;

/// Fraction bits of a weight: 32 minus 8 for the pixel and 2 for overshoot of negative lobes.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// A kernel with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Bilinear,
    Bicubic,
    Lanczos,
}

impl Kernel {
    /// Radius in source pixels at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

/// Keys' cubic convolution with a = -0.5, in Horner's form.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    // `libm`, not the platform's: the same bits on every system.
    libm::sin(x) / x
}

/// Weights of one axis: output `i` is the sum of `weights[i][k] * source[first[i] + k]`.
struct Taps {
    /// Most weights of one output.
    longest: usize,
    /// First source element and number of weights of each output.
    bounds: Vec<(usize, usize)>,
    /// `longest` weights for each output, in fixed point.
    weights: Vec<i32>,
}

impl Taps {
    /// Taps of the outputs that `axis.keep` names; the source is `len` long.
    ///
    /// Pixels outside `axis.from` but inside the photo contribute at its edges, as in Pillow's
    /// `resize(box=...)`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "lengths of photos; truncation toward zero is the algorithm's"
    )]
    fn new(kernel: Kernel, axis: &Axis, len: usize) -> Self {
        let scale = axis.from.len / axis.to as f64;
        let filter_scale = scale.max(1.0);
        let support = kernel.support() * filter_scale;
        let longest = support.ceil() as usize * 2 + 1;
        let inverse = 1.0 / filter_scale;
        let mut bounds = Vec::with_capacity(axis.keep.len);
        let mut weights = vec![0; axis.keep.len * longest];
        let mut exact = vec![0.0; longest];
        for (i, fixed) in weights.chunks_exact_mut(longest).enumerate() {
            let center = axis.from.start + ((axis.keep.start + i) as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5).max(0.0) as usize).min(len);
            let n = end - first;
            let mut sum = 0.0;
            for (k, weight) in exact[..n].iter_mut().enumerate() {
                *weight = kernel.weight(((k + first) as f64 - center + 0.5) * inverse);
                sum += *weight;
            }
            for (fixed, weight) in fixed.iter_mut().zip(&exact[..n]) {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                let scaled = weight * f64::from(1 << PRECISION_BITS);
                *fixed = (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32;
            }
            bounds.push((first, n));
        }
        Self {
            longest,
            bounds,
            weights,
        }
    }

    fn of(&self, i: usize) -> (usize, &[i32]) {
        let (first, n) = self.bounds[i];
        (first, &self.weights[i * self.longest..][..n])
    }
}

/// The 8-bit value of a sum in fixed point.
#[expect(clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resamples one row of `C` channels.
fn horizontal<const C: usize>(taps: &Taps, row: &[u8], output: &mut [u8]) {
    let pixels = row.as_chunks::<C>().0;
    for (i, out) in output.as_chunks_mut::<C>().0.iter_mut().enumerate() {
        let (first, weights) = taps.of(i);
        let mut sums = [HALF; C];
        for (pixel, &weight) in pixels[first..first + weights.len()].iter().zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(value) * weight;
            }
        }
        *out = sums.map(clip8);
    }
}

/// Resamples with a kernel, and passes each row of the input to `emit`, top to bottom, as bytes
/// with `source.channels()` for each pixel.
pub(super) fn resample(
    kernel: Kernel,
    source: &Source<'_>,
    [rows, columns]: &[Axis; 2],
    mut emit: impl FnMut(usize, &[u8]),
) {
    let channels = source.channels();
    let across =
        (!columns.is_unchanged(source.width())).then(|| Taps::new(kernel, columns, source.width()));
    let down =
        (!rows.is_unchanged(source.height())).then(|| Taps::new(kernel, rows, source.height()));
    let out_len = columns.keep.len * channels;
    let mut scratch = Vec::new();
    let mut make = |y: usize, output: &mut [u8]| {
        let row = source.row(y, &mut scratch);
        match &across {
            None => output.copy_from_slice(&row[columns.keep.start * channels..][..out_len]),
            Some(taps) if channels == 1 => horizontal::<1>(taps, row, output),
            Some(taps) => horizontal::<3>(taps, row, output),
        }
    };
    let mut output = vec![0; out_len];
    let Some(down) = down else {
        for y in 0..rows.keep.len {
            make(rows.keep.start + y, &mut output);
            emit(y, &output);
        }
        return;
    };
    // Row y of the first pass is stored at y % longest. No output needs two rows with the same
    // place, and the first row that an output needs never moves up.
    let mut ring = vec![0; down.longest * out_len];
    let mut made_to = down.bounds.first().map_or(0, |b| b.0);
    let mut sums = vec![0; out_len];
    for y in 0..rows.keep.len {
        let (first, weights) = down.of(y);
        made_to = made_to.max(first);
        while made_to < first + weights.len() {
            make(
                made_to,
                &mut ring[made_to % down.longest * out_len..][..out_len],
            );
            made_to += 1;
        }
        sums.fill(HALF);
        for (k, &weight) in weights.iter().enumerate() {
            let row = &ring[(first + k) % down.longest * out_len..][..out_len];
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        for (out, &sum) in output.iter_mut().zip(&sums) {
            *out = clip8(sum);
        }
        emit(y, &output);
    }
}

/// Resamples with NEAREST; `emit` as in [`resample`].
pub(super) fn nearest(
    source: &Source<'_>,
    [rows, columns]: &[Axis; 2],
    mut emit: impl FnMut(usize, &[u8]),
) {
    let channels = source.channels();
    let from_columns = nearest_indices(columns, source.width());
    let mut scratch = Vec::new();
    let mut output = vec![0; columns.keep.len * channels];
    for (y, from) in nearest_indices(rows, source.height())
        .into_iter()
        .enumerate()
    {
        let row = source.row(from, &mut scratch);
        for (out, &x) in output.chunks_exact_mut(channels).zip(&from_columns) {
            out.copy_from_slice(&row[x * channels..][..channels]);
        }
        emit(y, &output);
    }
}

/// The source index of each kept output. The position is advanced by addition, as in Pillow,
/// because the rounding error decides ties.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions lie inside the photo"
)]
fn nearest_indices(axis: &Axis, len: usize) -> Vec<usize> {
    let step = axis.from.len / axis.to as f64;
    let mut position = axis.from.start + step * 0.5;
    let mut indices = Vec::with_capacity(axis.keep.len);
    for i in 0..axis.keep.start + axis.keep.len {
        if i >= axis.keep.start {
            indices.push((position as usize).min(len - 1));
        }
        position += step;
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::geometry::{Part, Span};

    fn axis(len: usize, to: usize) -> Axis {
        Axis {
            from: Part {
                start: 0.0,
                len: len as f64,
            },
            to,
            keep: Span { start: 0, len: to },
        }
    }

    #[test]
    fn weights_of_an_output_add_up_to_one() {
        for kernel in [Kernel::Bilinear, Kernel::Bicubic, Kernel::Lanczos] {
            for (len, to) in [(600, 254), (1, 7), (7, 1), (5184, 300), (13, 29)] {
                let taps = Taps::new(kernel, &axis(len, to), len);
                for i in 0..to {
                    let (first, weights) = taps.of(i);
                    assert!(first + weights.len() <= len);
                    let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
                    let off = (sum - (1 << PRECISION_BITS)).unsigned_abs();
                    // Each weight is rounded by at most a half.
                    assert!(
                        off <= weights.len() as u64 / 2 + 1,
                        "{kernel:?} {len} to {to}: output {i} is off by {off}"
                    );
                }
            }
        }
    }

    #[test]
    fn halving_two_pixels_averages_them() {
        // Bilinear at scale 2 has support 2: two pixels have a weight of one half each.
        let taps = Taps::new(Kernel::Bilinear, &axis(2, 1), 2);
        assert_eq!(taps.of(0), (0, &[1 << 21, 1 << 21][..]));
        let mut output = [0];
        horizontal::<1>(&taps, &[10, 21], &mut output);
        assert_eq!(output, [16]);
    }
}
