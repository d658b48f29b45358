//! TensorFlow's `tf.image.resize` without antialiasing: half-pixel centres, in `f32`.
//!
//! Each output reads only two rows and two columns, however much the photo shrinks. Keras' data
//! pipelines train with this.
//!
//! Reference: <https://www.tensorflow.org/api_docs/python/tf/image/resize>; checked against
//! TensorFlow by `tests/library/preprocess_golden.rs`.

use super::geometry::Axis;
use super::source::Source;

/// The position of an output between two source elements.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between {
    lower: usize,
    upper: usize,
    /// Weight of `upper`.
    fraction: f32,
}

/// The crop comes before the resize, so elements outside `axis.from` do not contribute.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths of photos; clamped to the axis"
)]
fn between(axis: &Axis) -> Vec<Between> {
    // f32 as in TensorFlow: the rounding of positions is part of the result.
    let from = axis.whole_pixels();
    let scale = from.len as f32 / axis.to as f32;
    (axis.keep.start..axis.keep.start + axis.keep.len)
        .map(|i| {
            let position = (i as f32 + 0.5) * scale - 0.5;
            let floor = position.floor();
            let last = from.len - 1;
            let clamp = |v: f32| from.start + (v.max(0.0) as usize).min(last);
            Between {
                lower: clamp(floor),
                upper: clamp(position.ceil()),
                fraction: position - floor,
            }
        })
        .collect()
}

/// Resamples bilinearly, and passes each row of the input to `emit`, top to bottom, as floats with
/// `source.channels()` for each pixel, on the scale of the pixels.
pub(super) fn bilinear(
    source: &Source<'_>,
    [rows, columns]: &[Axis; 2],
    mut emit: impl FnMut(usize, &[f32]),
) {
    let channels = source.channels();
    let across = between(columns);
    let out_len = columns.keep.len * channels;
    let interpolate = |row: &[u8], output: &mut [f32]| {
        for (out, at) in output.chunks_exact_mut(channels).zip(&across) {
            let left = &row[at.lower * channels..][..channels];
            let right = &row[at.upper * channels..][..channels];
            for ((out, &l), &r) in out.iter_mut().zip(left).zip(right) {
                let (l, r) = (f32::from(l), f32::from(r));
                *out = l + (r - l) * at.fraction;
            }
        }
    };
    let mut scratch = Vec::new();
    // The two most recent rows, with the source row that they come from: enlarging reuses both.
    let mut top = (usize::MAX, vec![0.0; out_len]);
    let mut bottom = (usize::MAX, vec![0.0; out_len]);
    let mut output = vec![0.0; out_len];
    for (y, at) in between(rows).into_iter().enumerate() {
        if bottom.0 == at.lower && top.0 != at.lower {
            std::mem::swap(&mut top, &mut bottom);
        }
        for (wanted, made) in [(at.lower, &mut top), (at.upper, &mut bottom)] {
            if made.0 != wanted {
                interpolate(source.row(wanted, &mut scratch), &mut made.1);
                made.0 = wanted;
            }
        }
        for ((out, &t), &b) in output.iter_mut().zip(&top.1).zip(&bottom.1) {
            *out = t + (b - t) * at.fraction;
        }
        emit(y, &output);
    }
}

/// Resamples with the nearest pixel; `emit` gets bytes.
pub(super) fn nearest(
    source: &Source<'_>,
    [rows, columns]: &[Axis; 2],
    mut emit: impl FnMut(usize, &[u8]),
) {
    let channels = source.channels();
    let from_columns = nearest_indices(columns);
    let mut scratch = Vec::new();
    let mut output = vec![0; columns.keep.len * channels];
    for (y, from) in nearest_indices(rows).into_iter().enumerate() {
        let row = source.row(from, &mut scratch);
        for (out, &x) in output.chunks_exact_mut(channels).zip(&from_columns) {
            out.copy_from_slice(&row[x * channels..][..channels]);
        }
        emit(y, &output);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths of photos; clamped to the axis"
)]
fn nearest_indices(axis: &Axis) -> Vec<usize> {
    let from = axis.whole_pixels();
    let scale = from.len as f32 / axis.to as f32;
    (axis.keep.start..axis.keep.start + axis.keep.len)
        .map(|i| {
            let position = ((i as f32 + 0.5) * scale).floor() as usize;
            from.start + position.min(from.len - 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::geometry::{Part, Span};

    #[test]
    fn positions_are_those_of_half_pixel_centres() {
        let axis = Axis {
            from: Part {
                start: 3.0,
                len: 2.0,
            },
            to: 4,
            keep: Span { start: 0, len: 4 },
        };
        let got: Vec<_> = between(&axis)
            .iter()
            .map(|b| (b.lower, b.upper, b.fraction))
            .collect();
        // Positions -0.25, 0.25, 0.75, 1.25 of two elements that start at 3.
        assert_eq!(
            got,
            [(3, 3, 0.75), (3, 4, 0.25), (3, 4, 0.75), (4, 4, 0.25)]
        );
        assert_eq!(nearest_indices(&axis), [3, 3, 4, 4]);
    }
}
