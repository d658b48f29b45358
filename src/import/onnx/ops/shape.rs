//! Axes that move, split, join, come and go. Most of it changes how a value is seen and nothing
//! else.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::part::pick;
use crate::import::error::ImportError;
use crate::import::view::{View, broadcast, shape_asked};

fn one<'a>(view: View) -> Outputs<'a> {
    vec![Value::View(view)]
}

pub(super) fn reshape<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let allow_zero = call.attributes.flag("allowzero", false)?;
    let asked = call.list("shape", 1)?.unwrap_or_default();
    let from = x.dims();
    // A batch that was baked in at the export is one photo here, also if `[4, -1]` would fit.
    let of_one_photo = || {
        let baked = i64::try_from(importer.batch?).ok()?;
        let (first, rest) = asked.split_first()?;
        let mut single = vec![1];
        single.extend_from_slice(rest);
        let is_batch = *first == baked && from.first() == Some(&1);
        is_batch.then(|| shape_asked(&from, &single, allow_zero))?
    };
    let dims = of_one_photo().or_else(|| shape_asked(&from, &asked, allow_zero));
    let Some(dims) = dims else {
        let expected = format!("a shape that fits {from:?}");
        return Err(call
            .place()
            .refused("shape", format!("{asked:?}"), expected));
    };
    importer.reshape(&call.site, x, &dims).map(one)
}

pub(super) fn flatten<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let dims = x.dims();
    let at = flatten_axis(call, dims.len())?;
    let product = |dims: &[usize]| dims.iter().product::<usize>();
    let dims = [product(&dims[..at]), product(&dims[at..])];
    importer.reshape(&call.site, x, &dims).map(one)
}

/// The axis before which `Flatten` cuts; the rank itself is allowed.
pub(in crate::import::onnx) fn flatten_axis(
    call: &Call,
    rank: usize,
) -> Result<usize, ImportError> {
    let axis = call.attributes.int("axis", 1)?;
    if usize::try_from(axis) == Ok(rank) {
        return Ok(rank);
    }
    call.axis(axis, rank)
}

/// The permutation of `Transpose`, which reverses by default.
pub(in crate::import::onnx) fn permutation(
    call: &Call,
    rank: usize,
) -> Result<Vec<usize>, ImportError> {
    let Some(given) = call.attributes.ints("perm")? else {
        return Ok((0..rank).rev().collect());
    };
    let axes: Option<Vec<usize>> = given.iter().map(|&a| a.try_into().ok()).collect();
    let mut sorted = axes.clone().unwrap_or_default();
    sorted.sort_unstable();
    axes.filter(|_| sorted.iter().copied().eq(0..rank))
        .ok_or_else(|| {
            let expected = format!("each of {rank} axes once");
            call.place().refused("perm", format!("{given:?}"), expected)
        })
}

pub(super) fn transpose<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let permutation = permutation(call, x.rank())?;
    Ok(one(x.transposed(&permutation)))
}

/// The extents without axes of one element: those that are named, or all.
pub(in crate::import::onnx) fn squeezed(
    call: &Call,
    dims: &[usize],
) -> Result<Vec<usize>, ImportError> {
    let gone = match call.list("axes", 1)? {
        Some(axes) => call.axes(&axes, dims.len())?,
        None => (0..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    if let Some(&long) = gone.iter().find(|&&a| dims[a] != 1) {
        return Err(call.place().refused("axes", long, "axes of one element"));
    }
    let kept = (0..dims.len()).filter(|a| !gone.contains(a));
    Ok(kept.map(|a| dims[a]).collect())
}

/// The extents with axes of one element put in.
pub(in crate::import::onnx) fn unsqueezed(
    call: &Call,
    dims: &[usize],
) -> Result<Vec<usize>, ImportError> {
    let axes = call.list("axes", 1)?.unwrap_or_default();
    let rank = dims.len() + axes.len();
    let new = call.axes(&axes, rank)?;
    let mut old = dims.iter().copied();
    Ok((0..rank)
        .map(|a| {
            if new.contains(&a) {
                1
            } else {
                old.next().unwrap_or(1)
            }
        })
        .collect())
}

pub(super) fn squeeze<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let dims = squeezed(call, &x.dims())?;
    importer.reshape(&call.site, x, &dims).map(one)
}

pub(super) fn unsqueeze<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let dims = unsqueezed(call, &x.dims())?;
    importer.reshape(&call.site, x, &dims).map(one)
}

/// Axes of one element are repeated.
pub(super) fn expand<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let asked = call.list("shape", 1)?.unwrap_or_default();
    let sizes: Option<Vec<usize>> = asked.iter().map(|&d| d.try_into().ok()).collect();
    let to = sizes.and_then(|sizes| broadcast(&x.dims(), &sizes));
    let Some(to) = to else {
        let expected = format!("one that fits {:?}", x.dims());
        return Err(call
            .place()
            .refused("shape", format!("{asked:?}"), expected));
    };
    expanded(importer, call, &x, &to).map(one)
}

/// Most repeats of an axis of one element.
const MAX_REPEATS: usize = 1 << 20;

/// Appends a value with its axes of one element repeated to `dims`, which it is broadcast to.
pub(super) fn expanded(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    dims: &[usize],
) -> Result<View, ImportError> {
    let mut x = x.with_rank(dims.len());
    for (axis, &extent) in dims.iter().enumerate() {
        if x.extent(axis) != extent {
            if extent > MAX_REPEATS {
                let expected = format!("at most {MAX_REPEATS} repeats");
                return Err(call.place().refused("shape", extent, expected));
            }
            let suffix = format!("axis{axis}");
            x = pick(importer, call, Some(&suffix), &x, axis, &vec![0; extent])?;
        }
    }
    Ok(x)
}

/// Blocks of channels become squares of pixels.
pub(super) fn depth_to_space<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (x, [n, c, h, w], b) = blocks(call)?;
    if !c.is_multiple_of(b * b) {
        return Err(call
            .place()
            .refused("blocksize", b, format!("one that fits {c} channels")));
    }
    let depth = c / (b * b);
    let (split, order) = match call.attributes.text("mode")?.as_deref() {
        None | Some("DCR") => ([n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2]),
        Some("CRD") => ([n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        Some(other) => return Err(call.place().refused("mode", other, "`DCR` or `CRD`")),
    };
    let x = importer.reshape(&call.site, x, &split)?.transposed(&order);
    importer
        .reshape(&call.site, &x, &[n, depth, h * b, w * b])
        .map(one)
}

/// Squares of pixels become blocks of channels.
pub(super) fn space_to_depth<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (x, [n, c, h, w], b) = blocks(call)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(call
            .place()
            .refused("blocksize", b, format!("one that fits {h}x{w}")));
    }
    let split = [n, c, h / b, b, w / b, b];
    let x = importer
        .reshape(&call.site, x, &split)?
        .transposed(&[0, 3, 5, 1, 2, 4]);
    importer
        .reshape(&call.site, &x, &[n, c * b * b, h / b, w / b])
        .map(one)
}

fn blocks<'c>(call: &'c Call) -> Result<(&'c View, [usize; 4], usize), ImportError> {
    let x = call.view(0)?;
    let Ok(dims) = <[usize; 4]>::try_from(x.dims()) else {
        let shown = format!("{:?}", x.dims());
        return Err(call.place().refused("shape", shown, "four axes"));
    };
    let size = call.attributes.int("blocksize", 0)?;
    match usize::try_from(size) {
        Ok(b @ 1..=64) => Ok((x, dims, b)),
        _ => Err(call.place().refused("blocksize", size, "1 to 64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_a_reshape_are_completed() {
        assert_eq!(shape_asked(&[1, 6, 4], &[0, -1], false), Some(vec![1, 24]));
        assert_eq!(shape_asked(&[1, 6, 4], &[-1, 0], false), Some(vec![4, 6]));
        assert_eq!(shape_asked(&[1, 6, 4], &[2, 12], false), Some(vec![2, 12]));
        assert_eq!(shape_asked(&[1, 6, 4], &[-1, -1], false), None);
        assert_eq!(shape_asked(&[1, 6, 4], &[0, -1], true), None);
        assert_eq!(shape_asked(&[1, 6, 4], &[7, -1], false), None);
        assert_eq!(shape_asked(&[1, 6, 4], &[i64::MAX, i64::MAX], false), None);
        assert_eq!(shape_asked(&[1], &[], false), Some(vec![]));
    }
}
