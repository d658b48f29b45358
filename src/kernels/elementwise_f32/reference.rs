//! Elementwise operations, literally.

use super::Arithmetic;
use crate::tensor::Shape;

/// `a op b` in f64, before the activation. Panics if the shapes cannot be combined.
#[must_use]
pub fn binary_f32_reference(
    arithmetic: Arithmetic,
    (a_shape, a): (&Shape, &[f32]),
    (b_shape, b): (&Shape, &[f32]),
) -> Vec<f64> {
    let rank = a_shape.rank().max(b_shape.rank());
    let full = |s: &Shape| {
        let mut dims = vec![1; rank - s.rank()];
        dims.extend_from_slice(s.dims());
        dims
    };
    let (a_dims, b_dims) = (full(a_shape), full(b_shape));
    let dims: Vec<_> = (0..rank).map(|i| a_dims[i].max(b_dims[i])).collect();
    let len: usize = dims.iter().product();
    let at = |dims: &[usize], index: &[usize]| {
        let step = |flat: usize, (&d, &i): (&usize, &usize)| flat * d + if d == 1 { 0 } else { i };
        dims.iter().zip(index).fold(0, step)
    };
    let mut output = Vec::with_capacity(len);
    for flat in 0..len {
        let mut rest = flat;
        let mut index = vec![0; rank];
        for axis in (0..rank).rev() {
            index[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        let x = f64::from(a[at(&a_dims, &index)]);
        let y = f64::from(b[at(&b_dims, &index)]);
        output.push(match arithmetic {
            Arithmetic::Add => x + y,
            Arithmetic::Sub => x - y,
            Arithmetic::Mul => x * y,
            Arithmetic::Div => x / y,
            Arithmetic::Max => x.max(y),
            Arithmetic::Min => x.min(y),
        });
    }
    output
}

/// `x * scale + shift` in f64; `scale` and `shift` have one value for all channels or one for each.
#[must_use]
pub fn scale_shift_f32_reference(
    x: &[f32],
    channels: usize,
    scale: &[f32],
    shift: &[f32],
) -> Vec<f64> {
    let pick = |v: &[f32], i: usize| f64::from(if v.len() == 1 { v[0] } else { v[i % channels] });
    x.iter()
        .enumerate()
        .map(|(i, &x)| f64::from(x) * pick(scale, i) + pick(shift, i))
        .collect()
}
