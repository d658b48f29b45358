//! Operations of two quantized values, literally.

use super::{Arithmetic, BinaryI8Params};
use crate::kernels::requantize::ToByte;

/// The result's bytes.
///
/// # Panics
/// If the parameters do not fit together.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "multipliers are rounded to f32"
)]
pub fn binary_i8_reference(params: &BinaryI8Params, a: &[u8], b: &[u8]) -> Vec<u8> {
    let rank = params.a.rank().max(params.b.rank());
    let full = |s: &crate::tensor::Shape| {
        let mut dims = vec![1; rank - s.rank()];
        dims.extend_from_slice(s.dims());
        dims
    };
    let (a_dims, b_dims) = (full(&params.a), full(&params.b));
    let dims: Vec<_> = (0..rank).map(|i| a_dims[i].max(b_dims[i])).collect();
    let at = |dims: &[usize], index: &[usize]| {
        let step = |flat: usize, (&d, &i): (&usize, &usize)| flat * d + if d == 1 { 0 } else { i };
        dims.iter().zip(index).fold(0, step)
    };
    let (qa, qb, to) = (params.a_quantization, params.b_quantization, params.output);
    let to_byte = ToByte::of(params.activation, to).expect("a clamp");
    let ma = (f64::from(qa.scale) / f64::from(to.scale)) as f32;
    let mb = (f64::from(qb.scale) / f64::from(to.scale)) as f32;
    let mab = qa.scale * qb.scale / to.scale;
    let mut output = Vec::new();
    for flat in 0..dims.iter().product() {
        let mut rest: usize = flat;
        let mut index = vec![0; rank];
        for axis in (0..rank).rev() {
            index[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        let x = i32::from(a[at(&a_dims, &index)]) - i32::from(qa.zero_point);
        let y = i32::from(b[at(&b_dims, &index)]) - i32::from(qb.zero_point);
        let steps = match params.arithmetic {
            Arithmetic::Add => x as f32 * ma + y as f32 * mb,
            Arithmetic::Sub => x as f32 * ma - y as f32 * mb,
            Arithmetic::Mul => (x * y) as f32 * mab,
            Arithmetic::Max => (x as f32 * ma).max(y as f32 * mb),
            Arithmetic::Min => (x as f32 * ma).min(y as f32 * mb),
            Arithmetic::Div => panic!("quantized values are not divided"),
        };
        output.push(to_byte.one(steps));
    }
    output
}
