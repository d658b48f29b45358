//! `Softmax` and `LogSoftmax`.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::arithmetic::two;
use super::reduce::log_sum_exp;
use crate::graph::{BinaryOp, Op};
use crate::import::error::ImportError;

/// Over one axis; over all from the axis on, before opset 13.
pub(super) fn softmax<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let flattens = importer.opset < 13;
    let default = if flattens { 1 } else { -1 };
    let axis = call.attributes.int("axis", default)?;
    let rank = x.rank();
    let over: Vec<usize> = if flattens && axis == 1 && rank == 1 {
        vec![0]
    } else {
        let axis = call.axis(axis, rank)?;
        let last = if flattens { rank } else { axis + 1 };
        (axis..last).collect()
    };
    if call.op == "LogSoftmax" && !call.is_answer {
        // As the model's answer it stands for the probabilities; elsewhere it is `x - log(sum(e^x))`.
        let sum = log_sum_exp(importer, call, "sum", &x, &over)?;
        let y = two(importer, call, None, BinaryOp::Sub, &x, &sum)?;
        return Ok(vec![Value::View(y)]);
    }
    let (id, lies) = importer.innermost(call, &x, &over)?;
    let id = importer.push(call, None, Op::Softmax { axis: None }, &[id])?;
    let y = lies.of(id);
    Ok(vec![Value::View(y)])
}
