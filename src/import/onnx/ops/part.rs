//! Parts of values, and values of parts: slicing, splitting, picking, joining, padding.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::super::view::View;
use crate::graph::{NodeId, Op, Padding};
use crate::import::error::ImportError;
use crate::import::select;
use crate::tensor::Shape;

/// A value with one axis in the middle of three: what lies around it, it, and what lies inside.
struct Middle {
    id: NodeId,
    /// Axes of the file in the order in which they lie in the value.
    order: Vec<usize>,
}

/// The order in which the axes of a value lie. Where their parts lie apart it has to be arranged
/// anyway: images as the graph has them, all else as the file does.
fn order_of(x: &View) -> Vec<usize> {
    x.order().unwrap_or_else(|| match x.rank() {
        4 => vec![0, 2, 3, 1],
        rank => (0..rank).collect(),
    })
}

/// Arranges a value as `[outer, axis, inner]`.
fn middle(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    axis: usize,
) -> Result<Middle, ImportError> {
    let order = order_of(x);
    let at = order.iter().position(|&a| a == axis).unwrap_or(0);
    let groups = [&order[..at], &order[at..=at], &order[at + 1..]];
    let id = importer.arrange(&call.site, x, &groups)?;
    Ok(Middle { id, order })
}

/// Appends `len` elements of an axis from `start` on.
fn cut(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    (axis, start, len): (usize, usize, usize),
) -> Result<View, ImportError> {
    let extent = x.extent(axis);
    if start == 0 && len == extent {
        return Ok(x.clone());
    }
    let Middle { id, order } = middle(importer, call, x, axis)?;
    let crop = Padding {
        left: start,
        right: extent.saturating_sub(start.saturating_add(len)),
        ..Padding::default()
    };
    let id = importer.push(call, suffix, Op::Crop(crop), &[id])?;
    let mut dims = x.dims();
    dims[axis] = len;
    Ok(View::ordered(id, &dims, &order))
}

/// Appends a choice of elements of an axis in any order.
fn pick(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    axis: usize,
    picked: &[usize],
) -> Result<View, ImportError> {
    let &[first, ..] = picked else {
        return Err(call.place().invalid("it picks nothing"));
    };
    if picked.windows(2).all(|w| w[1] == w[0] + 1) {
        return cut(importer, call, suffix, x, (axis, first, picked.len()));
    }
    let mut order = order_of(x);
    order.retain(|&a| a != axis);
    let outer: Vec<&[usize]> = if x.rank() == 4 && x.extent(0) == 1 {
        order.retain(|&a| a != 0);
        order.chunks(1).collect()
    } else {
        vec![&order]
    };
    let last = [axis];
    let groups: Vec<&[usize]> = outer.into_iter().chain([&last[..]]).collect();
    let id = importer.arrange(&call.site, x, &groups)?;
    let id = select::pick_channels(&mut importer.graph, &call.site, suffix, id, picked)?;
    order.push(axis);
    let mut dims = x.dims();
    dims[axis] = picked.len();
    Ok(View::ordered(id, &dims, &order))
}

/// The positions `start..end` by `step` on an axis of `len`, as Python has them.
pub(in crate::import::onnx) fn positions(
    start: i64,
    end: i64,
    step: i64,
    len: usize,
) -> Option<Vec<usize>> {
    let length = i64::try_from(len).ok().filter(|&n| n < 1 << 24)?;
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let resolve = |v: i64| {
        let from_front = if v < 0 { v.saturating_add(length) } else { v };
        from_front.clamp(low, high)
    };
    let (mut at, end) = (resolve(start), resolve(end));
    let mut list = Vec::new();
    while step != 0 && (if step > 0 { at < end } else { at > end }) {
        list.push(usize::try_from(at).ok()?);
        at = at.saturating_add(step);
    }
    (step != 0).then_some(list)
}

/// For each axis that is sliced the positions: attributes before opset 10, inputs since.
pub(in crate::import::onnx) fn slices(
    call: &Call,
    dims: &[usize],
) -> Result<Vec<(usize, Vec<usize>)>, ImportError> {
    let missing = || call.place().invalid("it has no `starts` or `ends`");
    let starts = call.list("starts", 1)?.ok_or_else(missing)?;
    let ends = call.list("ends", 2)?.ok_or_else(missing)?;
    let count = starts.len();
    let named = call.list("axes", 3)?;
    let steps = call.list("steps", 4)?.unwrap_or_else(|| vec![1; count]);
    let axes = match named {
        Some(axes) => axes,
        None => (0..).take(count).collect(),
    };
    if ends.len() != count || steps.len() != count || axes.len() != count {
        return Err(call
            .place()
            .invalid("its starts, ends, axes and steps differ in number"));
    }
    call.axes(&axes, dims.len())?;
    let mut list = Vec::with_capacity(count);
    for i in 0..count {
        let axis = call.axis(axes[i], dims.len())?;
        let picked = positions(starts[i], ends[i], steps[i], dims[axis]);
        let Some(picked) = picked else {
            return Err(call
                .place()
                .refused("steps", steps[i], "a number that is not 0"));
        };
        list.push((axis, picked));
    }
    Ok(list)
}

pub(super) fn slice<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = call.view(0)?.clone();
    let slices = slices(call, &x.dims())?;
    for (i, (axis, picked)) in slices.iter().enumerate() {
        let suffix = (i + 1 < slices.len()).then(|| format!("axis{axis}"));
        x = pick(importer, call, suffix.as_deref(), &x, *axis, picked)?;
    }
    Ok(vec![Value::View(x)])
}

/// The lengths of the parts: an attribute before opset 13, an input since, or equal ones.
pub(in crate::import::onnx) fn parts(
    call: &Call,
    extent: usize,
) -> Result<Vec<usize>, ImportError> {
    let given = call.list("split", 1)?;
    let number = call.attributes.optional_int("num_outputs")?;
    let lengths: Option<Vec<usize>> = if let Some(list) = given {
        list.iter().map(|&n| n.try_into().ok()).collect()
    } else {
        let n = number.map_or(Some(call.outputs), |n| n.try_into().ok());
        // The last part may be shorter.
        n.filter(|&n| n > 0 && n <= extent.max(1)).map(|n| {
            let each = extent.div_ceil(n);
            let start = |i: usize| (i * each).min(extent);
            (0..n).map(|i| start(i + 1) - start(i)).collect()
        })
    };
    let sum = |list: &Vec<usize>| list.iter().try_fold(0usize, |n, &d| n.checked_add(d));
    lengths
        .filter(|list| sum(list) == Some(extent) && list.len() >= call.outputs)
        .filter(|list| list.iter().all(|&n| n > 0))
        .ok_or_else(|| {
            let expected = format!("parts of an axis of {extent}");
            call.place().refused("split", "other lengths", expected)
        })
}

pub(super) fn split<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let axis = call.axis(call.attributes.int("axis", 0)?, x.rank())?;
    let mut start = 0;
    let mut outputs = Vec::new();
    for (i, len) in parts(call, x.extent(axis))?.into_iter().enumerate() {
        let suffix = i.to_string();
        let part = cut(importer, call, Some(&suffix), &x, (axis, start, len))?;
        outputs.push(Value::View(part));
        start += len;
    }
    Ok(outputs)
}

/// The positions that a list of indices names on an axis of `len`, of which some may count from
/// the end.
pub(in crate::import::onnx) fn indices(
    call: &Call,
    given: &[i64],
    len: usize,
) -> Result<Vec<usize>, ImportError> {
    given.iter().map(|&index| call.axis(index, len)).collect()
}

pub(super) fn gather<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let axis = call.axis(call.attributes.int("axis", 0)?, x.rank())?;
    let constant = call.constant(1, "indices")?;
    let given = constant
        .ints()
        .ok_or_else(|| call.place().invalid("its indices are too many"))?;
    let picked = indices(call, &given, x.extent(axis))?;
    let y = pick(importer, call, None, &x, axis, &picked)?;
    // The indices' own axes take the place of the one they picked from.
    let mut dims = y.dims();
    dims.splice(axis..=axis, constant.dims().iter().copied());
    let y = importer.reshape(&call.site, &y, &dims)?;
    Ok(vec![Value::View(y)])
}

pub(super) fn concat<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut views = Vec::new();
    for i in 0..call.inputs.len() {
        views.push(call.view(i)?.clone());
    }
    let Some(first) = views.first() else {
        return Err(call.place().invalid("it has no inputs"));
    };
    let rank = first.rank();
    let given = call.attributes.optional_int("axis")?;
    let axis = call.axis(given.unwrap_or(1), rank)?;
    let mut dims = first.dims();
    for view in &views[1..] {
        let same = |a: usize| a == axis || view.extent(a) == dims[a];
        if view.rank() != rank || !(0..rank).all(same) {
            let message = format!(
                "shapes {:?} and {:?} do not join",
                first.dims(),
                view.dims()
            );
            return Err(call.place().invalid(message));
        }
    }
    let single = dims[0] == 1 && axis != 0;
    let order: Vec<usize> = match rank {
        4 if single => vec![2, 3, 1],
        _ => {
            let mut order = order_of(first);
            order.retain(|&a| a != 0 || !single);
            order
        }
    };
    dims[axis] = views.iter().map(|view| view.extent(axis)).sum();
    let groups: Vec<&[usize]> = order.chunks(1).collect();
    let mut inputs = Vec::new();
    for view in &views {
        inputs.push(importer.arrange(&call.site, view, &groups)?);
    }
    let y = if let [only] = inputs.as_slice() {
        *only
    } else {
        let axis = order.iter().position(|&a| a == axis).unwrap_or(0);
        importer.push(call, None, Op::Concat { axis }, &inputs)?
    };
    Ok(vec![Value::View(View::ordered(y, &dims, &order))])
}

/// Zeros before and after: attributes before opset 11, inputs since. Negative numbers cut.
pub(super) fn pad<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = call.view(0)?.clone();
    let rank = x.rank();
    let mode = call.attributes.text("mode")?;
    let amounts = call.list("pads", 1)?.unwrap_or_default();
    let value = match call.attributes.optional_float("value")? {
        Some(value) => f64::from(value),
        None => match call.optional_constant(2, "value")? {
            Some(constant) => constant.single().unwrap_or(0.0),
            None => 0.0,
        },
    };
    let axes = match call.list("axes", 3)? {
        Some(axes) => axes,
        None => (0..).take(rank).collect(),
    };
    call.axes(&axes, rank)?;
    if amounts.len() != axes.len() * 2 {
        let shown = format!("{amounts:?}");
        return Err(call
            .place()
            .refused("pads", shown, "two numbers for each axis"));
    }
    let mut border = vec![[0i64; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        border[call.axis(axis, rank)?] = [amounts[i], amounts[i + axes.len()]];
    }
    if border.iter().flatten().any(|&n| n > 0) {
        match mode.as_deref() {
            None | Some("constant") if value == 0.0 => {}
            None | Some("constant") => return Err(call.place().refused("value", value, "0")),
            Some(other) => return Err(call.place().refused("mode", other, "`constant`")),
        }
    }
    // Rows and columns are padded together, so that a convolution can take it over.
    if rank == 4 && x.extent(0) == 1 {
        let amount = |n: i64| usize::try_from(n).unwrap_or(0);
        let padding = Padding {
            top: amount(border[2][0]),
            left: amount(border[3][0]),
            bottom: amount(border[2][1]),
            right: amount(border[3][1]),
        };
        if !padding.is_zero() {
            let (id, _) = importer.image(call, &x)?;
            let alone = border[..2].iter().flatten().all(|&n| n == 0)
                && border[2..].iter().flatten().all(|&n| n >= 0);
            let suffix = (!alone).then_some("border");
            let id = importer.push(call, suffix, Op::Pad(padding), &[id])?;
            x = importer.of_image(id);
            for amount in border[2..].iter_mut().flatten() {
                *amount = (*amount).min(0);
            }
        }
    }
    for (axis, &[before, after]) in border.iter().enumerate() {
        let suffix = format!("axis{axis}");
        let [grown, cut_off] = [[before, after], [-before, -after]]
            .map(|pair| pair.map(|n| usize::try_from(n).unwrap_or(0)));
        if cut_off != [0, 0] {
            let left = x
                .extent(axis)
                .saturating_sub(cut_off[0].saturating_add(cut_off[1]));
            let part = (axis, cut_off[0], left);
            x = cut(importer, call, Some(&format!("{suffix}/cut")), &x, part)?;
        }
        if grown != [0, 0] {
            let Middle { id, order } = middle(importer, call, &x, axis)?;
            let padding = Padding {
                left: grown[0],
                right: grown[1],
                ..Padding::default()
            };
            let id = importer.push(call, Some(&suffix), Op::Pad(padding), &[id])?;
            let mut dims = x.dims();
            dims[axis] = importer.graph.shape(id).dims()[1];
            x = View::ordered(id, &dims, &order);
        }
    }
    Ok(vec![Value::View(x)])
}

/// Repeats that are none.
pub(super) fn tile<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = call.view(0)?.clone();
    let repeats = call.list("repeats", 1)?.unwrap_or_default();
    if repeats.len() != x.rank() || repeats.iter().any(|&n| !(1..=64).contains(&n)) {
        let shown = format!("{repeats:?}");
        return Err(call
            .place()
            .refused("repeats", shown, "1 to 64 for each axis"));
    }
    for (axis, &n) in repeats.iter().enumerate() {
        if n == 1 {
            continue;
        }
        let Middle { id, order } = middle(importer, call, &x, axis)?;
        let copies = vec![id; usize::try_from(n).unwrap_or(1)];
        let suffix = format!("axis{axis}");
        let id = importer.push(call, Some(&suffix), Op::Concat { axis: 1 }, &copies)?;
        let mut dims = x.dims();
        dims[axis] = importer.graph.shape(id).dims()[1];
        x = View::ordered(id, &dims, &order);
    }
    Ok(vec![Value::View(x)])
}

/// Means, maxima and sums over axes.
pub(super) fn reduce<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    use crate::graph::PoolKind;
    use crate::import::reduce::reduce;

    let x = call.view(0)?.clone();
    let dims = x.dims();
    let keep = call.attributes.flag("keepdims", true)?;
    let nothing = call.attributes.flag("noop_with_empty_axes", false)?;
    let axes = match call.list("axes", 1)? {
        Some(axes) if !axes.is_empty() => call.axes(&axes, dims.len())?,
        _ if nothing => return Ok(vec![Value::View(x)]),
        _ => (0..dims.len()).collect(),
    };
    let kind = if call.op == "ReduceMax" {
        PoolKind::Max
    } else {
        PoolKind::Average
    };
    let count: usize = axes.iter().map(|&a| dims[a]).product();
    let mut left = dims.clone();
    for &axis in &axes {
        left[axis] = 1;
    }
    let mut y = if axes == [2, 3] && dims.len() == 4 && dims[0] == 1 {
        // A global pool, which heat maps know.
        let (id, _) = importer.image(call, &x)?;
        let op = Op::GlobalPool {
            kind,
            keep_dims: keep,
        };
        let id = importer.push(call, None, op, &[id])?;
        View::ordered(id, &left, &[1])
    } else if count == 1 {
        x
    } else {
        let stored = x.stored();
        let extents: Vec<usize> = stored.iter().map(|s| s.atom.extent).collect();
        let over: Vec<usize> = (0..stored.len())
            .filter(|&i| axes.contains(&stored[i].axis))
            .collect();
        let mut id =
            importer
                .graph
                .reshape(&call.site, Some("axes"), x.id, Shape::new(&extents))?;
        // The whole value at once: a map of one column and one channel.
        let keep_one = over.len() == extents.len();
        id = reduce(&mut importer.graph, &call.site, id, (kind, &over), keep_one)?;
        let kept = stored.iter().filter(|s| !axes.contains(&s.axis));
        x.kept(id, kept)
    };
    if call.op == "ReduceSum" {
        y = importer.scaled(call, Some("sum"), &y, count as f64, 0.0)?;
    }
    if !keep {
        let rest: Vec<usize> = (0..dims.len())
            .filter(|a| !axes.contains(a))
            .map(|a| dims[a])
            .collect();
        y = importer.reshape(&call.site, &y, &rest)?;
    }
    Ok(vec![Value::View(y)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_pick_what_python_picks() {
        assert_eq!(positions(0, i64::MAX, 1, 3), Some(vec![0, 1, 2]));
        assert_eq!(positions(-2, i64::MAX, 1, 3), Some(vec![1, 2]));
        assert_eq!(positions(-1, i64::MIN, -1, 3), Some(vec![2, 1, 0]));
        assert_eq!(positions(5, 0, 1, 3), Some(vec![]));
        assert_eq!(positions(0, 3, 0, 3), None);
        assert_eq!(positions(0, 3, i64::MAX, 3), Some(vec![0]));
    }
}
