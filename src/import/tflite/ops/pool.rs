//! Pooling by windows.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::window::{Slots, window};
use crate::graph::{Op, PoolKind};
use crate::import::error::ImportError;

/// `MAX_POOL_2D`, `AVERAGE_POOL_2D`: padding never counts.
pub(super) fn pool<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let slots = Slots {
        padding: 0,
        strides: [2, 1],
        dilations: None,
    };
    let kernel = [
        call.options.positive(4, "filter_height", 0)?,
        call.options.positive(3, "filter_width", 0)?,
    ];
    let (x, [h, w, _]) = importer.image(call, call.view(0)?)?;
    let window = window(call, &slots, kernel, [h, w])?;
    let kind = if call.op == "MAX_POOL_2D" {
        PoolKind::Max
    } else {
        PoolKind::Average
    };
    let id = importer.push(call, None, Op::Pool2d { kind, window }, &[x])?;
    let y = importer.of_image(id);
    let y = importer.fused(call, &y, call.fused(5)?)?;
    Ok(vec![Value::View(y)])
}
