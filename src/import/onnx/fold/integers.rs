//! Constants between real numbers and integers of 8 bits.

use std::rc::Rc;

use super::super::call::Call;
use super::super::constant::{Constant, Form, Kind, strides_of};
use super::super::importer::Importer;
use super::super::ops::quantized;
use super::array;
use crate::import::error::ImportError;
use crate::import::quantized::Integers;

/// Integers with their scales, which are not spelled out.
pub(super) fn dequantized<'a>(call: &Call<'_, 'a>) -> Result<Constant<'a>, ImportError> {
    let x = call.constant(0, "input")?;
    let scale = call.constant(1, "scale")?;
    let zero_point = call.optional_constant(2, "zero point")?;
    call.attributes.must_be("block_size", 0)?;
    call.attributes.ignore(&["output_dtype"]);
    let rank = x.dims().len();
    let axis = call.attributes.int("axis", 1)?;
    let axis = if scale.len() == 1 {
        0
    } else {
        call.axis(axis, rank)?
    };
    let real = x.dequantized(scale, zero_point.map(Rc::as_ref), axis);
    real.ok_or_else(|| {
        let shown = format!("{:?}", scale.dims());
        let expected = format!(
            "one, or one for each index of axis {axis} of {:?}",
            x.dims()
        );
        call.place().refused("scale", shown, expected)
    })
}

/// Numbers rounded to integers of 8 bits, with one scale or one for each index of an axis.
pub(super) fn quantized<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let integers = quantized::integers(call, 2)?;
    call.attributes.must_be("block_size", 0)?;
    call.attributes.ignore(&["saturate", "precision"]);
    let mut x = array(importer, call, 0)?;
    let list = |index: usize, default: f64| -> Result<Vec<f64>, ImportError> {
        let constant = call.optional_constant(index, "map")?;
        Ok(constant
            .map_or(Some(vec![default]), |c| c.values())
            .unwrap_or_default())
    };
    let (scales, zeros) = (list(1, 1.0)?, list(2, 0.0)?);
    let axis = call.attributes.int("axis", 1)?;
    let (stride, n) = if scales.len() == 1 {
        (1, 1)
    } else {
        let axis = call.axis(axis, x.dims.len())?;
        (strides_of(&x.dims)[axis], x.dims[axis])
    };
    if scales.len() != n || (zeros.len() != n && zeros.len() != 1) {
        let expected = format!("one, or one for each index of axis {axis} of {:?}", x.dims);
        return Err(call
            .place()
            .refused("scale", format!("{} numbers", scales.len()), expected));
    }
    let (low, high) = match integers {
        Integers::U8 => (0.0, 255.0),
        Integers::I8 => (-128.0, 127.0),
    };
    for (at, value) in x.values.iter_mut().enumerate() {
        let index = at / stride % n;
        let zero = zeros[if zeros.len() == 1 { 0 } else { index }];
        // As ONNX defines it: the quotient is rounded, then moved.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the file's arithmetic is f32"
        )]
        let steps = (*value as f32 / scales[index] as f32).round_ties_even();
        *value = (f64::from(steps) + zero).clamp(low, high);
    }
    x.kind = Kind::Int;
    let mut constant = x.constant();
    constant.form = Some(match integers {
        Integers::U8 => Form::U8,
        Integers::I8 => Form::I8,
    });
    Ok(constant)
}
