//! `Pad`: zeros become a padding of rows and columns, other borders pick elements again.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Kind};
use super::super::importer::Importer;
use super::part::{Middle, cut, middle, pick};
use crate::graph::{Op, Padding};
use crate::import::error::ImportError;
use crate::import::view::View;

/// What stands around a value.
#[derive(Clone, Copy, PartialEq)]
enum Border {
    Constant(f64),
    /// The outermost elements again.
    Edge,
    /// Mirrored at the outermost elements.
    Reflect,
    /// From the other end.
    Wrap,
}

/// Elements before and after: attributes before opset 11, inputs since. Negative numbers cut.
pub(super) fn pad<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = call.view(0)?.clone();
    let rank = x.rank();
    let amounts = call.list("pads", 1)?.unwrap_or_default();
    let value = match call.attributes.optional_float("value")? {
        Some(value) => f64::from(value),
        None => match call.optional_constant(2, "value")? {
            Some(constant) => constant.single().unwrap_or(0.0),
            None => 0.0,
        },
    };
    let kind = match call.attributes.text("mode")?.as_deref() {
        None | Some("constant") => Border::Constant(value),
        Some("edge") => Border::Edge,
        Some("reflect") => Border::Reflect,
        Some("wrap") => Border::Wrap,
        Some(other) => {
            let expected = "`constant`, `edge`, `reflect` or `wrap`";
            return Err(call.place().refused("mode", other, expected));
        }
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
    if kind != Border::Constant(0.0) {
        for (axis, &around) in border.iter().enumerate() {
            x = bordered(importer, call, &x, axis, around, kind)?;
        }
        return Ok(vec![Value::View(x)]);
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

/// Numbers in one line of a border that is not of zeros; a map of 1024 columns and 256 channels has a
/// fourth of it.
const MAX_FILLER: usize = 1 << 20;

/// Appends a border of one axis that is not of zeros.
fn bordered<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    x: &View,
    axis: usize,
    around: [i64; 2],
    kind: Border,
) -> Result<View, ImportError> {
    let extent = x.extent(axis);
    if around == [0, 0] {
        return Ok(x.clone());
    }
    let picked = positions(extent, around, kind).ok_or_else(|| {
        let expected = format!("borders that fit an axis of {extent}");
        call.place()
            .refused("pads", format!("{around:?}"), expected)
    })?;
    let suffix = format!("axis{axis}");
    let mut x = x.clone();
    if let Border::Constant(value) = kind
        && picked.contains(&extent)
    {
        // One more element that holds the constant, which is picked as often as it is needed.
        // The least number stands for -inf, which a max pooling is padded with.
        let most = f64::from(f32::MAX);
        let Middle { id, order } = middle(importer, call, &x, axis)?;
        let mut single = importer.graph.shape(id).dims().to_vec();
        single[1] = 1;
        let n = single
            .iter()
            .fold(1usize, |n, &extent| n.saturating_mul(extent));
        if n > MAX_FILLER {
            let message = format!("a border of {n} numbers is too large");
            return Err(call.place().invalid(message));
        }
        let filler = Constant::new(single, Kind::Float, vec![value.clamp(-most, most); n]);
        let filler = importer.stored(call, &format!("{suffix}/value"), &filler)?;
        let op = Op::Concat { axis: 1 };
        let id = importer.push(
            call,
            Some(&format!("{suffix}/joined")),
            op,
            &[id, filler.id],
        )?;
        let mut dims = x.dims();
        dims[axis] += 1;
        x = View::ordered(id, &dims, &order);
    }
    pick(importer, call, Some(&suffix), &x, axis, &picked)
}

/// The elements of an axis with its border; the constant is element number `extent`.
fn positions(extent: usize, [before, after]: [i64; 2], kind: Border) -> Option<Vec<usize>> {
    let len = i64::try_from(extent).ok().filter(|&n| n > 0)?;
    let (first, last) = (before.checked_neg()?, len.checked_add(after)?);
    let count = usize::try_from(last.checked_sub(first)?).ok()?;
    if count == 0 || count > 1 << 20 {
        return None;
    }
    let at = |i: i64| match kind {
        Border::Constant(_) if (0..len).contains(&i) => i,
        Border::Constant(_) => len,
        Border::Edge => i.clamp(0, len - 1),
        Border::Wrap => i.rem_euclid(len),
        Border::Reflect if len == 1 => 0,
        Border::Reflect => {
            let period = 2 * (len - 1);
            let i = i.rem_euclid(period);
            i.min(period - i)
        }
    };
    (first..last).map(|i| usize::try_from(at(i)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_what_numpy_makes_of_them() {
        let of = |extent, around, kind| positions(extent, around, kind).unwrap();
        assert_eq!(of(3, [2, 1], Border::Edge), [0, 0, 0, 1, 2, 2]);
        assert_eq!(of(3, [2, 2], Border::Reflect), [2, 1, 0, 1, 2, 1, 0]);
        assert_eq!(of(3, [1, 2], Border::Wrap), [2, 0, 1, 2, 0, 1]);
        assert_eq!(of(3, [1, -1], Border::Constant(1.0)), [3, 0, 1]);
        assert_eq!(of(1, [1, 1], Border::Reflect), [0, 0, 0]);
        for around in [[-2, -1], [i64::MIN, 0], [i64::MAX, i64::MAX], [0, 1 << 40]] {
            assert_eq!(positions(3, around, Border::Edge), None, "{around:?}");
        }
    }
}
