//! Axes that move, split, join, come and go. Most of it changes how a value is seen and nothing
//! else.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use crate::import::error::ImportError;
use crate::import::view::{View, shape_asked};

fn one<'a>(view: View) -> Outputs<'a> {
    vec![Value::View(view)]
}

/// The extents that a `RESHAPE` asks for: in its options, or as an input. -1 stands for what is left.
pub(in crate::import::tflite) fn target(
    call: &Call,
    from: &[usize],
) -> Result<Vec<usize>, ImportError> {
    let asked: Vec<i64> = match call.optional_constant(1, "shape")? {
        Some(constant) => constant
            .ints()
            .ok_or_else(|| call.place().invalid("its shape is too long"))?,
        None => call.options.ints(0)?.ints().map(i64::from).collect(),
    };
    // Both are written, and the input counts.
    call.options.ignore(&[0]);
    let found = shape_asked(from, &asked, true);
    found.ok_or_else(|| {
        let expected = format!("a shape that fits {from:?}");
        let shown = format!("{asked:?}");
        call.place().refused("shape", shown, expected)
    })
}

pub(super) fn reshape<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let dims = target(call, &x.dims())?;
    importer.reshape(call, x, &dims).map(one)
}

/// The extents without axes of one element: those that are named, or all.
pub(in crate::import::tflite) fn squeezed(
    call: &Call,
    dims: &[usize],
) -> Result<Vec<usize>, ImportError> {
    let named: Vec<i64> = call.options.ints(0)?.ints().map(i64::from).collect();
    let gone = if named.is_empty() {
        (0..dims.len()).filter(|&a| dims[a] == 1).collect()
    } else {
        call.axes(&named, dims.len())?
    };
    if let Some(&long) = gone.iter().find(|&&a| dims[a] != 1) {
        return Err(call
            .place()
            .refused("squeeze_dims", long, "axes of one element"));
    }
    let kept = (0..dims.len()).filter(|a| !gone.contains(a));
    Ok(kept.map(|a| dims[a]).collect())
}

pub(super) fn squeeze<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let dims = squeezed(call, &x.dims())?;
    importer.reshape(call, x, &dims).map(one)
}

/// The extents with an axis of one element put in.
pub(in crate::import::tflite) fn expanded(
    call: &Call,
    dims: &[usize],
) -> Result<Vec<usize>, ImportError> {
    let axis = match call.ints(1, "axis")?.as_slice() {
        [axis] => *axis,
        other => {
            let shown = format!("{other:?}");
            return Err(call.place().refused("axis", shown, "one axis"));
        }
    };
    let axis = call.axis(axis, dims.len() + 1)?;
    let mut dims = dims.to_vec();
    dims.insert(axis, 1);
    Ok(dims)
}

pub(super) fn expand_dims<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let dims = expanded(call, &x.dims())?;
    importer.reshape(call, x, &dims).map(one)
}

/// The order in which the axes are put.
pub(in crate::import::tflite) fn permutation(
    call: &Call,
    rank: usize,
) -> Result<Vec<usize>, ImportError> {
    let given = call.ints(1, "permutation")?;
    let axes: Result<Vec<usize>, _> = given.iter().map(|&a| call.axis(a, rank)).collect();
    let axes = axes?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        let expected = format!("each of {rank} axes once");
        let shown = format!("{given:?}");
        return Err(call.place().refused("perm", shown, expected));
    }
    Ok(axes)
}

pub(super) fn transpose<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let permutation = permutation(call, x.rank())?;
    Ok(one(x.transposed(&permutation)))
}

/// Blocks of channels become squares of pixels.
pub(super) fn depth_to_space<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (x, [n, h, w, c], b) = blocks(call)?;
    if !c.is_multiple_of(b * b) {
        let expected = format!("one that fits {c} channels");
        return Err(call.place().refused("block_size", b, expected));
    }
    let depth = c / (b * b);
    let split = importer.reshape(call, x, &[n, h, w, b, b, depth])?;
    let turned = split.transposed(&[0, 1, 3, 2, 4, 5]);
    importer
        .reshape(call, &turned, &[n, h * b, w * b, depth])
        .map(one)
}

/// Squares of pixels become blocks of channels.
pub(super) fn space_to_depth<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (x, [n, h, w, c], b) = blocks(call)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        let expected = format!("one that fits {h}x{w}");
        return Err(call.place().refused("block_size", b, expected));
    }
    let split = importer.reshape(call, x, &[n, h / b, b, w / b, b, c])?;
    let turned = split.transposed(&[0, 1, 3, 2, 4, 5]);
    importer
        .reshape(call, &turned, &[n, h / b, w / b, c * b * b])
        .map(one)
}

fn blocks<'c>(call: &'c Call) -> Result<(&'c View, [usize; 4], usize), ImportError> {
    let x = call.view(0)?;
    let Ok(dims) = <[usize; 4]>::try_from(x.dims()) else {
        let shown = format!("{:?}", x.dims());
        return Err(call.place().refused("shape", shown, "four axes"));
    };
    let size = call.options.positive(0, "block_size", 0)?;
    match size {
        1..=64 => Ok((x, dims, size)),
        _ => Err(call.place().refused("block_size", size, "1 to 64")),
    }
}

/// Operators that are evaluated, and have no meaning for values of the photo.
pub(super) fn of_shapes<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    Err(call.refused(
        "its input is computed from the photo",
        "only arithmetic on shapes is evaluated: rebuild this part of the model",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_a_reshape_are_completed() {
        assert_eq!(shape_asked(&[1, 6, 4], &[-1, 24], true), Some(vec![1, 24]));
        assert_eq!(shape_asked(&[1, 6, 4], &[2, 12], true), Some(vec![2, 12]));
        assert_eq!(shape_asked(&[1, 6, 4], &[-1, -1], true), None);
        assert_eq!(shape_asked(&[1, 6, 4], &[7, -1], true), None);
        assert_eq!(shape_asked(&[1, 6, 4], &[i64::MAX, i64::MAX], true), None);
        assert_eq!(shape_asked(&[1], &[], true), Some(vec![]));
    }
}
