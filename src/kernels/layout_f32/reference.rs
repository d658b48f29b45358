//! The moves as their definitions say, element by element.

use super::{Resizing, Stride};
use crate::tensor::Shape;

/// The element of an `HWC` image, 0 outside.
fn at(input: &[f32], [h, w, c]: [usize; 3], y: isize, x: isize, channel: usize) -> f32 {
    match (usize::try_from(y), usize::try_from(x)) {
        (Ok(y), Ok(x)) if y < h && x < w => input[(y * w + x) * c + channel],
        _ => 0.0,
    }
}

fn build([h, w, c]: [usize; 3], mut element: impl FnMut(usize, usize, usize) -> f32) -> Vec<f32> {
    let mut output = Vec::with_capacity(h * w * c);
    for y in 0..h {
        for x in 0..w {
            for channel in 0..c {
                output.push(element(y, x, channel));
            }
        }
    }
    output
}

/// Zeros around an image: rows above, columns left, rows below, columns right.
#[must_use]
#[expect(clippy::cast_possible_wrap, reason = "tests are small")]
pub fn pad_reference(input: &[f32], shape: [usize; 3], padding: [usize; 4]) -> Vec<f32> {
    let [top, left, bottom, right] = padding;
    let [h, w, c] = shape;
    build([h + top + bottom, w + left + right, c], |y, x, channel| {
        let (y, x) = (y as isize - top as isize, x as isize - left as isize);
        at(input, shape, y, x, channel)
    })
}

/// An image without rows above, columns left, rows below, columns right.
#[must_use]
#[expect(clippy::cast_possible_wrap, reason = "tests are small")]
pub fn crop_reference(input: &[f32], shape: [usize; 3], cropping: [usize; 4]) -> Vec<f32> {
    let [top, left, bottom, right] = cropping;
    let [h, w, c] = shape;
    build([h - top - bottom, w - left - right, c], |y, x, channel| {
        at(
            input,
            shape,
            (y + top) as isize,
            (x + left) as isize,
            channel,
        )
    })
}

/// Joins values along an axis.
#[must_use]
pub fn concat_reference(shapes: &[Shape], inputs: &[&[f32]], axis: usize) -> Vec<f32> {
    let outer: usize = shapes[0].dims()[..axis].iter().product();
    let mut output = Vec::new();
    for i in 0..outer {
        for (shape, input) in shapes.iter().zip(inputs) {
            let chunk: usize = shape.dims()[axis..].iter().product();
            output.extend_from_slice(&input[i * chunk..][..chunk]);
        }
    }
    output
}

/// Permutes axes: output axis `i` is input axis `permutation[i]`.
#[must_use]
pub fn transpose_reference(input: &[f32], shape: &Shape, permutation: &[usize]) -> Vec<f32> {
    let dims = shape.dims();
    let mut output = Vec::with_capacity(input.len());
    for flat in 0..input.len() {
        // The output's index, then the input's.
        let mut rest = flat;
        let mut index = vec![0; dims.len()];
        for &axis in permutation.iter().rev() {
            index[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        output.push(input[index.iter().zip(dims).fold(0, |f, (i, d)| f * d + i)]);
    }
    output
}

/// The elements that `strides`, one for each axis, take.
#[must_use]
pub fn slice_reference(input: &[f32], shape: &Shape, strides: &[Stride]) -> Vec<f32> {
    let dims = shape.dims();
    let mut output = Vec::new();
    for (flat, &x) in input.iter().enumerate() {
        let mut rest = flat;
        let taken = (0..dims.len()).rev().all(|axis| {
            let at = rest % dims[axis];
            rest /= dims[axis];
            let Stride { start, end, step } = strides[axis];
            at >= start && at < end && (at - start).is_multiple_of(step)
        });
        if taken {
            output.push(x);
        }
    }
    output
}

/// The elements `indices` along `axis`.
#[must_use]
pub fn gather_reference(input: &[f32], shape: &Shape, axis: usize, indices: &[usize]) -> Vec<f32> {
    let inner: usize = shape.dims()[axis + 1..].iter().product();
    let mut output = Vec::new();
    for outer in input.chunks(shape.dims()[axis] * inner) {
        for &index in indices {
            output.extend_from_slice(&outer[index * inner..][..inner]);
        }
    }
    output
}

/// Resizes an image, in f64.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions are clamped to the image"
)]
pub fn resize_f32_reference(
    input: &[f32],
    [h, w, c]: [usize; 3],
    [rows, columns]: [usize; 2],
    resizing: Resizing,
) -> Vec<f64> {
    let position = |i: usize, from: usize, to: usize| (i as f64 + 0.5) * from as f64 / to as f64;
    let pixel = |y: f64, x: f64, channel: usize| {
        let y = (y.max(0.0) as usize).min(h - 1);
        let x = (x.max(0.0) as usize).min(w - 1);
        f64::from(input[(y * w + x) * c + channel])
    };
    let mut output = Vec::with_capacity(rows * columns * c);
    for row in 0..rows {
        for column in 0..columns {
            let (y, x) = (position(row, h, rows), position(column, w, columns));
            for channel in 0..c {
                output.push(match resizing {
                    Resizing::Nearest => pixel(y.floor(), x.floor(), channel),
                    Resizing::Bilinear => {
                        let (y, x) = (y - 0.5, x - 0.5);
                        let (y0, x0) = (y.floor(), x.floor());
                        let (fy, fx) = (y - y0, x - x0);
                        let above =
                            pixel(y0, x0, channel) * (1.0 - fx) + pixel(y0, x0 + 1.0, channel) * fx;
                        let below = pixel(y0 + 1.0, x0, channel) * (1.0 - fx)
                            + pixel(y0 + 1.0, x0 + 1.0, channel) * fx;
                        above * (1.0 - fy) + below * fy
                    }
                });
            }
        }
    }
    output
}
