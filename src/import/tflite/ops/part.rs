//! Parts of values, and values of parts: slicing, splitting, joining, padding, reducing.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Element};
use super::super::importer::{Importer, axes_behind_batch, lying};
use crate::activation::Activation;
use crate::graph::{Op, Padding, PoolKind, ReduceKind, Slice};
use crate::import::error::ImportError;
use crate::import::view::View;

/// What is taken of one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::import::tflite) struct Cut {
    pub(in crate::import::tflite) axis: usize,
    pub(in crate::import::tflite) start: usize,
    /// From one to the next; it may go backwards.
    pub(in crate::import::tflite) step: i64,
    pub(in crate::import::tflite) count: usize,
}

impl Cut {
    /// The positions that are taken.
    pub(in crate::import::tflite) fn positions(&self) -> impl Iterator<Item = usize> + use<> {
        let Self {
            start, step, count, ..
        } = *self;
        let by = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
        (0..count).map(move |i| {
            if step < 0 {
                start.saturating_sub(i.saturating_mul(by))
            } else {
                start.saturating_add(i.saturating_mul(by))
            }
        })
    }
}

/// Appends a part of a value along one axis.
pub(super) fn cut(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    cut: Cut,
) -> Result<View, ImportError> {
    let Cut {
        axis,
        start,
        step,
        count,
    } = cut;
    if count == 0 {
        return Err(call.place().invalid("it takes nothing"));
    }
    let extent = x.extent(axis);
    if start == 0 && step == 1 && count == extent {
        return Ok(x.clone());
    }
    // An axis that counts as the batch is cut as any other.
    let order = if axis == 0 {
        (0..x.rank()).collect()
    } else {
        lying(x)
    };
    let id = importer.arrange(call, x, &order)?;
    let at = order.iter().position(|&a| a == axis).unwrap_or(0);
    let op = match usize::try_from(step) {
        Ok(step) => {
            let mut slice = Slice::whole(importer.graph.shape(id));
            slice.starts[at] = start;
            slice.ends[at] = (start + (count - 1) * step + 1).min(extent);
            slice.steps[at] = step;
            Op::Slice(slice)
        }
        Err(_) => Op::Gather {
            axis: at,
            indices: cut.positions().collect(),
        },
    };
    let id = importer.push(call, suffix, op, &[id])?;
    let mut dims = x.dims();
    dims[axis] = count;
    Ok(View::ordered(id, &dims, &order))
}

fn all_cuts<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    cuts: &[Cut],
) -> Result<View, ImportError> {
    let mut x = call.view(0)?.clone();
    for (i, &next) in cuts.iter().enumerate() {
        let suffix = (i + 1 < cuts.len()).then(|| format!("axis{}", next.axis));
        x = cut(importer, call, suffix.as_deref(), &x, next)?;
    }
    Ok(x)
}

/// What a place in the lists of `STRIDED_SLICE` stands for.
#[derive(Clone, Copy)]
enum Place {
    /// An axis of the input, cut as this place of the lists says.
    Cut(usize),
    /// An axis that is kept whole.
    Whole,
    /// An axis of one element that comes in.
    New,
}

/// The places in their order, with an ellipsis written out. Masks have a bit for each place.
fn places(call: &Call, count: usize, rank: usize) -> Result<Vec<Place>, ImportError> {
    let bit = |mask: i32, place: usize| place < 31 && mask >> place & 1 == 1;
    let (ellipsis, new) = (call.options.int(2, 0)?, call.options.int(3, 0)?);
    let is_axis = |&place: &usize| !bit(ellipsis, place) && !bit(new, place);
    let named = (0..count).filter(is_axis).count();
    let rest = rank.checked_sub(named).ok_or_else(|| {
        let message = "its begin, end and strides do not fit its input";
        call.place().invalid(message)
    })?;
    let mut list = Vec::new();
    let mut is_open = true;
    for place in 0..count {
        if bit(ellipsis, place) {
            if !is_open {
                let expected = "one ellipsis at most";
                return Err(call.place().refused("ellipsis_mask", ellipsis, expected));
            }
            is_open = false;
            list.extend(std::iter::repeat_n(Place::Whole, rest));
        } else if bit(new, place) {
            list.push(Place::New);
        } else {
            list.push(Place::Cut(place));
        }
    }
    if is_open {
        list.extend(std::iter::repeat_n(Place::Whole, rest));
    }
    Ok(list)
}

/// What `STRIDED_SLICE` takes, and the extents of the result. Masks have a bit for each place.
pub(in crate::import::tflite) fn strided(
    call: &Call,
    dims: &[usize],
) -> Result<(Vec<Cut>, Vec<usize>), ImportError> {
    let rank = dims.len();
    let begin = call.ints(1, "begin")?;
    let end = call.ints(2, "end")?;
    let steps = call.ints(3, "strides")?;
    let mask = |slot: usize| call.options.int(slot, 0);
    let (no_begin, no_end, gone) = (mask(0)?, mask(1)?, mask(4)?);
    let end_is_length = call.options.flag(5)?;
    if begin.len() > 2 * rank || end.len() != begin.len() || steps.len() != begin.len() {
        return Err(call
            .place()
            .invalid("its begin, end and strides do not fit its input"));
    }
    let bit = |mask: i32, place: usize| place < 31 && mask >> place & 1 == 1;
    let mut cuts = Vec::new();
    let mut kept = Vec::new();
    let mut extents = dims.iter().copied().enumerate();
    for place in places(call, begin.len(), rank)? {
        let Place::Cut(place) = place else {
            kept.push(match place {
                Place::Whole => extents.next().map_or(1, |(_, extent)| extent),
                _ => 1,
            });
            continue;
        };
        let Some((axis, extent)) = extents.next() else {
            break;
        };
        let len = i64::try_from(extent).unwrap_or(i64::MAX);
        let (from, to, step) = (begin[place], end[place], steps[place]);
        let to = if end_is_length {
            from.saturating_add(to)
        } else {
            to
        };
        if step == 0 {
            return Err(call.place().refused("strides", 0, "numbers other than 0"));
        }
        let resolve = |v: i64| if v < 0 { v.saturating_add(len) } else { v };
        if bit(gone, place) {
            let start = call.axis(from, extent)?;
            cuts.push(Cut {
                axis,
                start,
                step: 1,
                count: 1,
            });
            continue;
        }
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let first = if bit(no_begin, place) {
            if step > 0 { 0 } else { len - 1 }
        } else {
            resolve(from).clamp(low, high)
        };
        let last = if bit(no_end, place) {
            if step > 0 { len } else { -1 }
        } else {
            resolve(to).clamp(low, high)
        };
        let span = if step > 0 { last - first } else { first - last };
        let count = usize::try_from(span).unwrap_or(0);
        let by = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
        let count = count.div_ceil(by);
        cuts.push(Cut {
            axis,
            start: usize::try_from(first).unwrap_or(0),
            step,
            count,
        });
        kept.push(count);
    }
    Ok((cuts, kept))
}

pub(super) fn strided_slice<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (cuts, kept) = strided(call, &call.view(0)?.dims())?;
    let y = all_cuts(importer, call, &cuts)?;
    let y = importer.reshape(call, &y, &kept)?;
    Ok(vec![Value::View(y)])
}

/// What `SLICE` takes: from where, and how many of each axis, -1 for the rest.
pub(in crate::import::tflite) fn sliced(
    call: &Call,
    dims: &[usize],
) -> Result<Vec<Cut>, ImportError> {
    let begin = call.ints(1, "begin")?;
    let sizes = call.ints(2, "size")?;
    let wrong = || {
        call.place()
            .invalid("its begin and size do not fit its input")
    };
    if begin.len() != dims.len() || sizes.len() != dims.len() {
        return Err(wrong());
    }
    let one = |axis: usize| {
        let start = usize::try_from(begin[axis]).ok()?;
        let rest = dims[axis].checked_sub(start)?;
        let count = match sizes[axis] {
            -1 => rest,
            n => usize::try_from(n).ok().filter(|&n| n <= rest)?,
        };
        Some(Cut {
            axis,
            start,
            step: 1,
            count,
        })
    };
    let cuts: Option<Vec<Cut>> = (0..dims.len()).map(one).collect();
    cuts.ok_or_else(wrong)
}

pub(super) fn slice<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let cuts = sliced(call, &call.view(0)?.dims())?;
    let y = all_cuts(importer, call, &cuts)?;
    Ok(vec![Value::View(y)])
}

/// `SPLIT` in equal parts, `SPLIT_V` in parts whose lengths are an input, one of which may be -1.
pub(super) fn split<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    // The number of parts is that of the outputs.
    call.options.ignore(&[0]);
    let has_lengths = call.op == "SPLIT_V";
    let (value, axis) = if has_lengths { (0, 2) } else { (1, 0) };
    let x = call.view(value)?.clone();
    let given = call.ints(axis, "axis")?;
    let axis = call.axis(given.first().copied().unwrap_or(0), x.rank())?;
    let extent = x.extent(axis);
    let n = call.outputs;
    let lengths: Vec<usize> = if has_lengths {
        let given = call.ints(1, "lengths")?;
        let known: usize = given.iter().filter_map(|&v| usize::try_from(v).ok()).sum();
        let rest = extent.saturating_sub(known);
        let length = |&v: &i64| usize::try_from(v).unwrap_or(rest);
        given.iter().map(length).collect()
    } else {
        vec![extent / n.max(1); n]
    };
    if lengths.len() != n || lengths.iter().sum::<usize>() != extent {
        let expected = format!("{n} parts of an axis of {extent}");
        let shown = format!("{lengths:?}");
        return Err(call.place().refused("lengths", shown, expected));
    }
    let mut start = 0;
    let mut outputs = Vec::new();
    for (i, count) in lengths.into_iter().enumerate() {
        let part = Cut {
            axis,
            start,
            step: 1,
            count,
        };
        let suffix = i.to_string();
        let part = cut(importer, call, Some(&suffix), &x, part)?;
        outputs.push(Value::View(part));
        start += count;
    }
    Ok(outputs)
}

/// Each element of an axis as a value of its own.
pub(super) fn unpack<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.options.ignore(&[0]);
    let x = call.view(0)?.clone();
    let axis = call.axis(i64::from(call.options.int(1, 0)?), x.rank())?;
    let mut dims = x.dims();
    if dims.remove(axis) != call.outputs {
        let message = "it does not have an output for each element";
        return Err(call.place().invalid(message));
    }
    let mut outputs = Vec::new();
    for start in 0..call.outputs {
        let part = Cut {
            axis,
            start,
            step: 1,
            count: 1,
        };
        let suffix = start.to_string();
        let part = cut(importer, call, Some(&suffix), &x, part)?;
        outputs.push(Value::View(importer.reshape(call, &part, &dims)?));
    }
    Ok(outputs)
}

pub(super) fn gather<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let axis = call.axis(i64::from(call.options.int(0, 0)?), x.rank())?;
    match call.options.int(1, 0)? {
        0 => {}
        other => return Err(call.place().refused("batch_dims", other, "0")),
    }
    let constant = call.constant(1, "indices")?;
    let given = call.ints(1, "indices")?;
    let indices: Result<Vec<usize>, _> = given
        .iter()
        .map(|&i| call.axis(i, x.extent(axis)))
        .collect();
    let y = picked(importer, call, None, &x, (axis, indices?))?;
    let mut dims = y.dims();
    // The indices' own axes take the place of the one they picked from.
    dims.splice(axis..=axis, constant.dims().iter().copied());
    let y = importer.reshape(call, &y, &dims)?;
    Ok(vec![Value::View(y)])
}

/// Appends the elements of an axis that have these indices.
pub(super) fn picked(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    (axis, indices): (usize, Vec<usize>),
) -> Result<View, ImportError> {
    let order = if axis == 0 {
        (0..x.rank()).collect()
    } else {
        lying(x)
    };
    let id = importer.arrange(call, x, &order)?;
    let at = order.iter().position(|&a| a == axis).unwrap_or(0);
    let mut dims = x.dims();
    dims[axis] = indices.len();
    let op = Op::Gather { axis: at, indices };
    let id = importer.push(call, suffix, op, &[id])?;
    Ok(View::ordered(id, &dims, &order))
}

/// Joins values along an axis.
fn joined<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    suffix: Option<&str>,
    views: &[View],
    axis: usize,
) -> Result<View, ImportError> {
    let Some(first) = views.first() else {
        return Err(call.place().invalid("it has no inputs"));
    };
    let mut dims = first.dims();
    for view in &views[1..] {
        let same = |a: usize| a == axis || view.extent(a) == dims[a];
        if view.rank() != dims.len() || !(0..dims.len()).all(same) {
            let (a, b) = (first.dims(), view.dims());
            let message = format!("shapes {a:?} and {b:?} do not join");
            return Err(call.place().invalid(message));
        }
    }
    dims[axis] = views.iter().map(|view| view.extent(axis)).sum();
    let order = if axis == 0 {
        (0..dims.len()).collect()
    } else if views.iter().all(|view| lying(view) == lying(first)) {
        lying(first)
    } else {
        axes_behind_batch(first)
    };
    let mut inputs = Vec::new();
    for view in views {
        inputs.push(importer.arrange(call, view, &order)?);
    }
    if let [only] = inputs.as_slice() {
        return Ok(View::ordered(*only, &dims, &order));
    }
    let at = order.iter().position(|&a| a == axis).unwrap_or(0);
    let id = importer.push(call, suffix, Op::Concat { axis: at }, &inputs)?;
    Ok(View::ordered(id, &dims, &order))
}

/// All inputs as views; constants among them are stored.
fn all_views<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Vec<View>, ImportError> {
    let mut views = Vec::new();
    for i in 0..call.inputs.len() {
        views.push(match call.input(i)? {
            Value::Constant(constant) => importer.stored(call, constant)?,
            _ => call.view(i)?.clone(),
        });
    }
    Ok(views)
}

pub(super) fn concat<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let views = all_views(importer, call)?;
    let rank = views.first().map_or(0, View::rank);
    let axis = call.axis(i64::from(call.options.int(0, 0)?), rank)?;
    let y = joined(importer, call, None, &views, axis)?;
    let y = importer.fused(call, &y, call.fused(1)?)?;
    Ok(vec![Value::View(y)])
}

/// Joins values along a new axis.
pub(super) fn pack<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.options.ignore(&[0]);
    let mut views = all_views(importer, call)?;
    let mut dims = views.first().map_or_else(Vec::new, View::dims);
    let axis = call.axis(i64::from(call.options.int(1, 0)?), dims.len() + 1)?;
    dims.insert(axis, 1);
    for view in &mut views {
        *view = importer.reshape(call, view, &dims)?;
    }
    let y = joined(importer, call, None, &views, axis)?;
    Ok(vec![Value::View(y)])
}

/// Zeros before and after.
pub(super) fn pad<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let amounts = call.ints(1, "paddings")?;
    let rank = x.rank();
    let counts: Option<Vec<usize>> = amounts
        .iter()
        .map(|&n| usize::try_from(n).ok().filter(|&n| n < 1 << 20))
        .collect();
    let counts = counts.filter(|list| list.len() == rank * 2);
    let Some(counts) = counts else {
        let shown = format!("{amounts:?}");
        let expected = "two numbers from 0 up for each axis";
        return Err(call.place().refused("paddings", shown, expected));
    };
    if call.op == "PADV2" {
        let value = call.constant(2, "value")?.single();
        if value != Some(0.0) {
            let shown = value.map_or_else(|| "a list".to_owned(), |v| v.to_string());
            return Err(call.place().refused("value", shown, "0"));
        }
    }
    let mut y = x;
    let is_image = rank == 4 && y.extent(0) == 1;
    let around = |axis: usize| [counts[axis * 2], counts[axis * 2 + 1]];
    if is_image && [around(1), around(2)] != [[0; 2]; 2] {
        let (id, _) = importer.image(call, &y)?;
        let ([top, bottom], [left, right]) = (around(1), around(2));
        let padding = Padding {
            top,
            left,
            bottom,
            right,
        };
        let suffix = (around(3) != [0; 2]).then_some("rows");
        let id = importer.push(call, suffix, Op::Pad(padding), &[id])?;
        y = importer.of_image(id);
    }
    // Zeros along other axes are stored and joined.
    for axis in 0..rank {
        if around(axis) == [0; 2] || (is_image && (axis == 1 || axis == 2)) {
            continue;
        }
        let mut views = vec![y];
        for (i, count) in around(axis).into_iter().enumerate() {
            if count > 0 {
                let zeros = zeros(importer, call, &views[0], axis, count)?;
                views.insert(i * views.len(), zeros);
            }
        }
        y = joined(importer, call, Some("joined"), &views, axis)?;
    }
    Ok(vec![Value::View(y)])
}

fn zeros<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    like: &View,
    axis: usize,
    count: usize,
) -> Result<View, ImportError> {
    let mut dims = like.dims();
    dims[axis] = count;
    let len = crate::import::view::len_of(&dims).filter(|&n| n <= 1 << 20);
    let Some(len) = len else {
        let message = format!("its zeros of shape {dims:?} are too many");
        return Err(call.place().invalid(message));
    };
    importer.stored(call, &Constant::new(dims, Element::F32, &vec![0.0; len]))
}

/// `MEAN`, `SUM`, `REDUCE_MAX`
pub(super) fn reduce<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let y = of_axes(importer, call, None, call.view(0)?)?;
    Ok(vec![Value::View(y)])
}

/// Appends what the operator makes of its axes: over rows and columns of an image a global pool.
fn of_axes(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
) -> Result<View, ImportError> {
    let keeps = call.options.flag(0)?;
    let given = call.ints(1, "axes")?;
    let axes = call.axes(&given, x.rank())?;
    let dims = x.dims();
    let left: Vec<usize> = (0..dims.len()).filter(|a| !axes.contains(a)).collect();
    let mut kept = dims.clone();
    for &axis in &axes {
        kept[axis] = 1;
    }
    let order = lying(x);
    let is_global = x.rank() == 4
        && dims[0] == 1
        && call.op != "SUM"
        && order.len() == 3
        && axes.iter().filter(|&&a| a != 0).count() == 2
        && !axes.contains(&order[2]);
    let y = if is_global {
        let id = importer.arrange(call, x, &order)?;
        let kind = if call.op == "MEAN" {
            PoolKind::Average
        } else {
            PoolKind::Max
        };
        let op = Op::GlobalPool {
            kind,
            keep_dims: true,
        };
        let id = importer.push(call, suffix, op, &[id])?;
        View::ordered(id, &kept, &order)
    } else {
        let kind = match call.op {
            "MEAN" => ReduceKind::Mean,
            "SUM" => ReduceKind::Sum,
            _ => ReduceKind::Max,
        };
        reduced(importer, call, suffix, x, (kind, &axes))?
    };
    if keeps {
        return Ok(y);
    }
    let target: Vec<usize> = left.iter().map(|&a| dims[a]).collect();
    importer.reshape(call, &y, &target)
}

/// Appends the reduction of some axes to one element each. An axis of one element is reduced already.
pub(super) fn reduced(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    (kind, axes): (ReduceKind, &[usize]),
) -> Result<View, ImportError> {
    let mut dims = x.dims();
    let wide: Vec<usize> = axes.iter().copied().filter(|&a| dims[a] > 1).collect();
    if wide.is_empty() {
        return Ok(x.clone());
    }
    let order = if wide.contains(&0) {
        (0..x.rank()).collect()
    } else {
        lying(x)
    };
    let id = importer.arrange(call, x, &order)?;
    let mut places: Vec<usize> = wide
        .iter()
        .filter_map(|axis| order.iter().position(|a| a == axis))
        .collect();
    places.sort_unstable();
    let op = Op::Reduce {
        kind,
        axes: places,
        keep_dims: true,
    };
    let id = importer.push(call, suffix, op, &[id])?;
    for axis in wide {
        dims[axis] = 1;
    }
    Ok(View::ordered(id, &dims, &order))
}

/// The largest of the negated numbers, negated.
pub(super) fn reduce_min<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let negated = importer.activation(call, Some("negated"), call.view(0)?, Activation::Neg)?;
    let most = of_axes(importer, call, Some("most"), &negated)?;
    let y = importer.activation(call, None, &most, Activation::Neg)?;
    Ok(vec![Value::View(y)])
}
