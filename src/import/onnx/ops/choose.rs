//! `Where` with a constant condition.

use std::rc::Rc;

use super::super::call::{Call, Outputs, Value};
use super::super::constant::Constant;
use super::super::importer::{Broadcast, Importer};
use super::arithmetic::two;
use super::shape::expanded;
use crate::graph::BinaryOp;
use crate::import::error::ImportError;
use crate::import::view::broadcast;

/// Masks are filled with minus infinity; the least number does the same to a softmax, and 0 times it
/// is 0.
fn finite<'a>(call: &Call<'_, 'a>, constant: &Constant<'a>) -> Result<Constant<'a>, ImportError> {
    let most = f64::from(f32::MAX);
    let wrong = || {
        call.place()
            .invalid("a constant of it has too many elements")
    };
    let values = constant.values().ok_or_else(wrong)?;
    if values.iter().all(|value| value.abs() <= most) {
        return Ok(constant.clone());
    }
    // What is no number stays that, and is refused by name.
    let bounded = values.iter().map(|value| value.clamp(-most, most));
    Ok(Constant::new(
        constant.dims().to_vec(),
        constant.kind,
        bounded.collect(),
    ))
}

/// One of two, as a constant says for each element.
pub(super) fn choose<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let condition = Rc::clone(call.constant(0, "condition")?);
    let flags = condition
        .values()
        .ok_or_else(|| call.place().invalid("its condition has too many elements"))?;
    let dims = [call.input(1)?.dims(), call.input(2)?.dims()];
    let all = broadcast(&dims[0], &dims[1]).and_then(|both| broadcast(&both, condition.dims()));
    let all = all.ok_or_else(|| call.place().invalid("its shapes do not go together"))?;
    // Each side is 0 where it is not chosen, and the sum is what is chosen.
    let mut sides = Vec::new();
    for (index, wanted) in [(1, true), (2, false)] {
        let side = match call.input(index)? {
            Value::Constant(constant) => {
                let finite = finite(call, constant)?;
                importer.stored(call, &format!("input{index}"), &finite)?
            }
            _ => importer.value(call, index)?,
        };
        let side = expanded(importer, call, &side, &all)?;
        let scale = |at: usize| f64::from(u8::from((flags[at] != 0.0) == wanted));
        let suffix = format!("side{index}");
        let map: Broadcast = (condition.dims(), &scale, &|_| 0.0);
        sides.push(importer.affine(call, Some(&suffix), &side, map)?);
    }
    let y = two(importer, call, None, BinaryOp::Add, &sides[0], &sides[1])?;
    Ok(vec![Value::View(y)])
}
