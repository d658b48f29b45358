//! Pooling by windows, and over all rows and columns.

use super::super::call::{Call, Outputs};
use super::super::importer::Importer;
use super::window::{image_of, pair, result_of, rounded_up, window};
use crate::graph::{Op, Padding, PoolKind, Window};
use crate::import::error::ImportError;

/// `MaxPool`, `AveragePool`
pub(super) fn pool<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    if call.outputs_read > 1 {
        return Err(call.refused(
            "the positions of the maxima are used",
            "only the maxima themselves are supported: rebuild this part of the model",
        ));
    }
    let (mut x, [h, w, _]) = image_of(importer, call, call.view(0)?)?;
    let kernel = pair(call, "kernel_shape", None)?;
    let mut window = window(call, kernel, [h, w])?;
    check_padding(call, &window)?;
    let kind = if call.op == "MaxPool" {
        call.attributes.must_be("storage_order", 0)?;
        PoolKind::Max
    } else {
        PoolKind::Average
    };
    let counts_padding =
        kind == PoolKind::Average && call.attributes.flag("count_include_pad", false)?;
    let ceil = call.attributes.flag("ceil_mode", false)?;
    let whole = if ceil {
        rounded_up(window, [h, w])
    } else {
        window
    };
    let explicit = window.padding;
    window = whole;
    if counts_padding && !explicit.is_zero() {
        // Zeros of the input are counted, those of a window's padding are not: the padding that
        // the file names becomes input, what rounding up adds does not.
        x = importer.push(call, Some("pad"), Op::Pad(explicit), &[x])?;
        window.padding = Padding {
            top: 0,
            left: 0,
            bottom: whole.padding.bottom - explicit.bottom,
            right: whole.padding.right - explicit.right,
        };
    }
    let id = importer.push(call, None, Op::Pool2d { kind, window }, &[x])?;
    result_of(importer, call, id)
}

/// A window that lies in the padding as a whole has no value.
fn check_padding(call: &Call, window: &Window) -> Result<(), ImportError> {
    let p = window.padding;
    let span = |axis: usize| (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    if p.top.max(p.bottom) >= span(0) || p.left.max(p.right) >= span(1) {
        let shown = format!("{:?}", [p.top, p.left, p.bottom, p.right]);
        return Err(call
            .place()
            .refused("pads", shown, "less than the kernel on each side"));
    }
    Ok(())
}

/// `GlobalAveragePool`, `GlobalMaxPool`
pub(super) fn global<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let kind = if call.op == "GlobalMaxPool" {
        PoolKind::Max
    } else {
        PoolKind::Average
    };
    let (x, _) = image_of(importer, call, call.view(0)?)?;
    let op = Op::GlobalPool {
        kind,
        keep_dims: true,
    };
    let id = importer.push(call, None, op, &[x])?;
    result_of(importer, call, id)
}
