//! Elements of an axis again, in the same or in the reverse order: repeating, mirroring, reversing,
//! stretching. Each is a choice of indices along one axis.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::part::picked;
use crate::import::error::ImportError;
use crate::import::view::View;

/// The largest extent of a result's axis.
const MAX_EXTENT: usize = 1 << 16;

/// Appends the elements with these indices of each axis; axes that stay as they are are left out.
fn all_picked<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    x: &View,
    choices: Vec<(usize, Vec<usize>)>,
) -> Result<Outputs<'a>, ImportError> {
    let mut y = x.clone();
    let count = choices.len();
    for (i, (axis, indices)) in choices.into_iter().enumerate() {
        if indices.is_empty() || indices.len() > MAX_EXTENT {
            let (n, expected) = (indices.len(), "1 to 65536 elements of each axis");
            return Err(call.place().refused("extent", n, expected));
        }
        let suffix = (i + 1 < count).then(|| format!("axis{axis}"));
        y = picked(importer, call, suffix.as_deref(), &y, (axis, indices))?;
    }
    Ok(vec![Value::View(y)])
}

/// Whole numbers from 0 up, as many as `n`.
fn counts(call: &Call, index: usize, what: &str, n: usize) -> Result<Vec<usize>, ImportError> {
    let given = call.ints(index, what)?;
    let count = |&n: &i64| usize::try_from(n).ok().filter(|&n| n <= MAX_EXTENT);
    let list: Option<Vec<usize>> = given.iter().map(count).collect();
    list.filter(|list| list.len() == n).ok_or_else(|| {
        let expected = format!("{n} numbers from 0 to 65536");
        call.place().refused(what, format!("{given:?}"), expected)
    })
}

/// `TILE`: all of an axis several times.
pub(super) fn tile<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let times = counts(call, 1, "multiples", x.rank())?;
    let mut choices = Vec::new();
    for (axis, &times) in times.iter().enumerate().filter(|(_, times)| **times != 1) {
        let extent = x.extent(axis);
        let all = extent.saturating_mul(times).min(MAX_EXTENT + 1);
        choices.push((axis, (0..all).map(|i| i % extent).collect()));
    }
    all_picked(importer, call, x, choices)
}

/// `BROADCAST_TO`: axes of one element stretched.
pub(super) fn broadcast_to<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let shape = call.ints(1, "shape")?;
    let target = counts(call, 1, "shape", shape.len())?;
    let x = call.view(0)?;
    let dims = x.dims();
    let x = x.with_rank(target.len());
    if x.rank() != target.len() {
        let expected = format!("at least {} axes", dims.len());
        return Err(call
            .place()
            .refused("shape", format!("{shape:?}"), expected));
    }
    let mut choices = Vec::new();
    for (axis, &extent) in target.iter().enumerate() {
        match x.extent(axis) {
            same if same == extent => {}
            1 => choices.push((axis, vec![0; extent])),
            _ => {
                let expected = format!("a shape that {dims:?} is broadcast to");
                return Err(call
                    .place()
                    .refused("shape", format!("{shape:?}"), expected));
            }
        }
    }
    all_picked(importer, call, &x, choices)
}

/// `REVERSE_V2`
pub(super) fn reverse<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let axes = call.axes(&call.ints(1, "axes")?, x.rank())?;
    let choices = axes
        .into_iter()
        .filter(|&axis| x.extent(axis) > 1)
        .map(|axis| (axis, (0..x.extent(axis)).rev().collect()))
        .collect();
    all_picked(importer, call, x, choices)
}

/// `MIRROR_PAD`: before the first and after the last element the axis is seen in a mirror, which
/// stands on that element (`REFLECT`) or beside it (`SYMMETRIC`).
pub(super) fn mirror_pad<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let sides = counts(call, 1, "paddings", 2 * x.rank())?;
    let on_edge = match call.options.byte(0)? {
        0 => 1,
        1 => 0,
        other => {
            let expected = "0 (REFLECT) or 1 (SYMMETRIC)";
            return Err(call.place().refused("mode", other, expected));
        }
    };
    let mut choices = Vec::new();
    for (axis, side) in sides.chunks_exact(2).enumerate() {
        let (extent, before, after) = (x.extent(axis), side[0], side[1]);
        if before == 0 && after == 0 {
            continue;
        }
        if before.max(after) + on_edge > extent {
            let expected = format!("at most {} for axis {axis}", extent - on_edge);
            let shown = format!("[{before}, {after}]");
            return Err(call.place().refused("paddings", shown, expected));
        }
        let mirrored = (on_edge..before + on_edge).rev();
        let behind = (extent - after - on_edge..extent - on_edge).rev();
        let indices = mirrored.chain(0..extent).chain(behind).collect();
        choices.push((axis, indices));
    }
    all_picked(importer, call, x, choices)
}
