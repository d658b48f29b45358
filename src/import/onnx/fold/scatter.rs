//! Elements of constants that are picked or replaced by their coordinates: the masks of Swin.

use std::rc::Rc;

use super::super::call::Call;
use super::super::constant::{Constant, Kind, strides_of};
use super::super::importer::Importer;
use super::super::ops::part::coordinates;
use super::{array, rounded, spend};
use crate::import::error::ImportError;

/// `ScatterND`: slices of the first input, at the coordinates of the second, become those of the
/// third.
pub(super) fn scatter<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let mut x = array(importer, call, 0)?;
    let indices = Rc::clone(call.constant(1, "indices")?);
    let updates = array(importer, call, 2)?;
    spend(importer, call, Some(indices.len()))?;
    let reduction = call.attributes.text("reduction")?;
    let join: fn(f64, f64) -> f64 = match reduction.as_deref() {
        None | Some("none") => |_, new| new,
        Some("add") => |old, new| old + new,
        Some("mul") => |old, new| old * new,
        Some("max") => f64::max,
        Some("min") => f64::min,
        Some(other) => {
            let expected = "`none`, `add`, `mul`, `max` or `min`";
            return Err(call.place().refused("reduction", other, expected));
        }
    };
    let picks = coordinates(call, &x.dims, &indices)?;
    if picks.dims != updates.dims {
        let message = format!(
            "its updates have shape {:?}, expected {:?}",
            updates.dims, picks.dims
        );
        return Err(call.place().invalid(message));
    }
    let len: usize = x.dims[picks.indexed..].iter().product();
    if len > 0 {
        for (&at, new) in picks.flat.iter().zip(updates.values.chunks_exact(len)) {
            for (old, &new) in x.values[at * len..].iter_mut().zip(new) {
                *old = join(*old, new);
            }
        }
    }
    Ok(rounded(x.dims, x.kind, x.values))
}

/// `NonZero`: the coordinates of the elements that are not 0, an axis in each row.
pub(super) fn non_zero<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = array(importer, call, 0)?;
    let found: Vec<usize> = (0..x.values.len())
        .filter(|&i| x.values[i] != 0.0)
        .collect();
    let rank = x.dims.len();
    spend(importer, call, found.len().checked_mul(rank))?;
    let strides = strides_of(&x.dims);
    let mut values = Vec::with_capacity(found.len() * rank);
    for (stride, extent) in strides.iter().zip(&x.dims) {
        values.extend(found.iter().map(|at| (at / stride % extent) as f64));
    }
    Ok(Constant::new(vec![rank, found.len()], Kind::Int, values))
}

/// `GatherND`
pub(super) fn gather<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = array(importer, call, 0)?;
    let indices = Rc::clone(call.constant(1, "indices")?);
    spend(importer, call, Some(indices.len()))?;
    let picks = coordinates(call, &x.dims, &indices)?;
    let len: usize = x.dims[picks.indexed..].iter().product();
    spend(importer, call, len.checked_mul(picks.flat.len()))?;
    let slices = picks.flat.iter().map(|&at| &x.values[at * len..][..len]);
    let values = slices.flatten().copied().collect();
    Ok(Constant::new(picks.dims, x.kind, values))
}

/// `Trilu`: zeros above or below a diagonal of the last two axes.
pub(super) fn triangle<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let upper = call.attributes.flag("upper", true)?;
    let mut x = array(importer, call, 0)?;
    let diagonal = match call.optional_constant(1, "diagonal")? {
        Some(constant) => constant
            .single()
            .ok_or_else(|| call.place().invalid("its diagonal is not one number"))?,
        None => 0.0,
    };
    let &[.., rows, columns] = x.dims.as_slice() else {
        return Err(call.place().invalid("its input is not a matrix"));
    };
    for (i, value) in x.values.iter_mut().enumerate() {
        let (row, column) = (i / columns % rows, i % columns);
        let beyond = column as f64 - row as f64 - diagonal;
        let is_outside = if upper { beyond < 0.0 } else { beyond > 0.0 };
        if is_outside {
            *value = 0.0;
        }
    }
    Ok(x.constant())
}
