//! Parts of values, and values of parts: slicing, splitting, picking, joining.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::Constant;
use super::super::importer::Importer;
use crate::graph::{NodeId, Op, Padding, Slice};
use crate::import::error::ImportError;
use crate::import::select;
use crate::import::view::View;

/// A value with one axis in the middle of three: what lies around it, it, and what lies inside.
pub(super) struct Middle {
    pub(super) id: NodeId,
    /// Axes of the file in the order in which they lie in the value.
    pub(super) order: Vec<usize>,
}

/// The order in which the axes of a value lie. Where their parts lie apart it has to be arranged
/// anyway: images as the graph has them, all else as the file does.
pub(super) fn order_of(x: &View) -> Vec<usize> {
    x.order().unwrap_or_else(|| match x.rank() {
        4 => vec![0, 2, 3, 1],
        rank => (0..rank).collect(),
    })
}

/// Arranges a value as `[outer, axis, inner]`.
pub(super) fn middle(
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
pub(super) fn cut(
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

/// Numbers of a matrix of zeros and ones that picks channels.
const MAX_PICKED: usize = 1 << 16;

/// Appends a choice of elements of an axis in any order.
pub(super) fn pick(
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
    let mut dims = x.dims();
    let size = dims[axis].saturating_mul(picked.len());
    let mut order = order_of(x);
    // Channels of an image are picked by a product, which has integer kernels.
    let channels = x.rank() == 4 && dims[0] == 1 && order.last() == Some(&axis);
    if channels && size <= MAX_PICKED {
        order.retain(|&a| a != 0);
        let groups: Vec<&[usize]> = order.chunks(1).collect();
        let id = importer.arrange(&call.site, x, &groups)?;
        let id = select::pick_channels(&mut importer.graph, &call.site, suffix, id, picked)?;
        dims[axis] = picked.len();
        return Ok(View::ordered(id, &dims, &order));
    }
    let Middle { id, order } = middle(importer, call, x, axis)?;
    let step = picked[1].saturating_sub(first);
    let even = step > 0 && picked.windows(2).all(|w| w[1] == w[0] + step);
    let op = if even {
        let last = picked[picked.len() - 1];
        let mut slice = Slice::whole(importer.graph.shape(id)).along(1, first, last + 1);
        slice.steps[1] = step;
        Op::Slice(slice)
    } else {
        let indices = picked.to_vec();
        Op::Gather { axis: 1, indices }
    };
    let id = importer.push(call, suffix, op, &[id])?;
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

/// Elements of several axes at once, by constant coordinates.
pub(super) fn gather_nd<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let constant = call.constant(1, "indices")?;
    let picks = coordinates(call, &x.dims(), constant)?;
    let indexed: Vec<usize> = (0..picks.indexed).collect();
    let mut rest = order_of(&x);
    rest.retain(|axis| !indexed.contains(axis));
    let id = importer.arrange(&call.site, &x, &[&indexed, &rest])?;
    let op = Op::Gather {
        axis: 0,
        indices: picks.flat,
    };
    let id = importer.push(call, None, op, &[id])?;
    // The picked elements are one axis, in front of the others as they lie.
    let mut dims = vec![importer.graph.shape(id).dims()[0]];
    dims.extend(&x.dims()[picks.indexed..]);
    let order: Vec<usize> = std::iter::once(0)
        .chain(rest.iter().map(|axis| axis - picks.indexed + 1))
        .collect();
    let y = View::ordered(id, &dims, &order);
    let y = importer.reshape(&call.site, &y, &picks.dims)?;
    Ok(vec![Value::View(y)])
}

/// What `GatherND` picks.
pub(in crate::import::onnx) struct Coordinates {
    /// Axes in front that are indexed, batch axes included.
    pub(in crate::import::onnx) indexed: usize,
    /// For each pick the position in those axes taken together.
    pub(in crate::import::onnx) flat: Vec<usize>,
    /// Extents of the result.
    pub(in crate::import::onnx) dims: Vec<usize>,
}

/// The picks of `GatherND` from a value of `dims`.
pub(in crate::import::onnx) fn coordinates(
    call: &Call,
    dims: &[usize],
    indices: &Constant,
) -> Result<Coordinates, ImportError> {
    let batch = call.attributes.int("batch_dims", 0)?;
    let shown = format!("{:?}", indices.dims());
    let wrong = || {
        let expected = format!("coordinates in {dims:?}");
        call.place().refused("indices", shown.clone(), expected)
    };
    let (&width, outer) = indices.dims().split_last().ok_or_else(wrong)?;
    let batch = usize::try_from(batch).ok().filter(|&b| b <= outer.len());
    let batch = batch.ok_or_else(wrong)?;
    let indexed = batch + width;
    let fits = width > 0 && indexed <= dims.len() && outer[..batch] == dims[..batch];
    let given = indices.ints().filter(|_| fits).ok_or_else(wrong)?;
    let of_batch = dims[..batch].iter().product::<usize>().max(1);
    let each = given.len() / width / of_batch;
    let mut flat = Vec::with_capacity(given.len() / width);
    for (i, pick) in given.chunks_exact(width).enumerate() {
        let mut at = i / each.max(1);
        for (&index, &extent) in pick.iter().zip(&dims[batch..]) {
            at = at * extent + call.axis(index, extent)?;
        }
        flat.push(at);
    }
    let mut result = outer.to_vec();
    result.extend(&dims[indexed..]);
    Ok(Coordinates {
        indexed,
        flat,
        dims: result,
    })
}

pub(super) fn concat<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut views = Vec::new();
    let mut of_photo = None;
    for i in 0..call.inputs.len() {
        let input = call.input(i)?;
        // An empty constant adds nothing, and no value of the graph is empty.
        if matches!(input, Value::Constant(c) if c.len() == 0) {
            continue;
        }
        if matches!(input, Value::View(_)) {
            of_photo = of_photo.or(Some(views.len()));
        }
        views.push(importer.value(call, i)?);
    }
    // A constant can be laid out in any way: a value of the photo says in which.
    let Some(first) = of_photo.map(|at| views[at].clone()) else {
        return Err(call.place().invalid("it has no inputs"));
    };
    let rank = first.rank();
    let given = call.attributes.optional_int("axis")?;
    let axis = call.axis(given.unwrap_or(1), rank)?;
    let mut dims = first.dims();
    for view in &views {
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
    let order: Vec<usize> = if rank == 4 && single && lies_as_image(&first) {
        vec![2, 3, 1]
    } else {
        let mut order = order_of(&first);
        order.retain(|&a| a != 0 || !single);
        order
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

/// Whether `[1, C, H, W]` of the file lies as `[H, W, C]` in the graph, or in no order of its axes
/// at all. An axis of one element lies anywhere.
fn lies_as_image(x: &View) -> bool {
    let Some(order) = x.order() else {
        return true;
    };
    let long = |axes: &[usize]| -> Vec<usize> {
        let long = axes.iter().filter(|&&a| x.extent(a) > 1);
        long.copied().collect()
    };
    long(&order) == long(&[2, 3, 1])
}

/// Repeats of a value along its axes.
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
