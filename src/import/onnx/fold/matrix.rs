//! Products of constant matrices, such as the position tables of Swin V2.

use super::super::call::Call;
use super::super::constant::{Constant, len_of, offsets, strides_of};
use super::super::importer::Importer;
use super::{Array, array, rounded, spend};
use crate::import::error::ImportError;
use crate::import::view::broadcast;

/// Multiplications that cost as much as an element of other arithmetic.
const PRODUCTS_PER_ELEMENT: usize = 16;

/// The product of two arrays with two axes or more; axes in front of those are broadcast.
fn product(
    importer: &mut Importer,
    call: &Call,
    a: &Array,
    b: &Array,
) -> Result<(Vec<usize>, Vec<f64>), ImportError> {
    let wrong = || {
        let message = format!("shapes {:?} and {:?} cannot be multiplied", a.dims, b.dims);
        call.place().invalid(message)
    };
    let (outer_a, [m, k]) = a.dims.split_last_chunk().ok_or_else(wrong)?;
    let (outer_b, [other, n]) = b.dims.split_last_chunk().ok_or_else(wrong)?;
    let (m, k, n) = (*m, *k, *n);
    let outer = broadcast(outer_a, outer_b).ok_or_else(wrong)?;
    if k != *other {
        return Err(wrong());
    }
    spend(importer, call, len_of(&outer))?;
    let work = len_of(&[&outer[..], &[m, k, n]].concat());
    spend(importer, call, work.map(|n| n / PRODUCTS_PER_ELEMENT))?;
    let dims = [&outer[..], &[m, n]].concat();
    spend(importer, call, len_of(&dims))?;
    // Where the matrices of each side start.
    let starts = |own: &[usize], size: usize| {
        let strides = strides_of(own);
        let missing = outer.len() - own.len();
        let step = |i: usize| match i.checked_sub(missing) {
            Some(j) if own[j] != 1 => strides[j] * size,
            _ => 0,
        };
        let steps: Vec<usize> = (0..outer.len()).map(step).collect();
        offsets(&outer, &steps)
    };
    let pairs = starts(outer_a, m * k)
        .into_iter()
        .zip(starts(outer_b, k * n));
    let mut values = Vec::with_capacity(len_of(&dims).unwrap_or(0));
    for (at_a, at_b) in pairs {
        for row in 0..m {
            let mut sums = vec![0.0; n];
            for i in 0..k {
                let factor = a.values[at_a + row * k + i];
                let others = &b.values[at_b + i * n..][..n];
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum += factor * other;
                }
            }
            values.extend(sums);
        }
    }
    Ok((dims, values))
}

pub(super) fn mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let (a, b) = (array(importer, call, 0)?, array(importer, call, 1)?);
    let (dims, values) = product(importer, call, &a, &b)?;
    Ok(rounded(dims, a.kind, values))
}

pub(super) fn gemm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let attributes = &call.attributes;
    let (alpha, beta) = (
        attributes.float("alpha", 1.0)?,
        attributes.float("beta", 1.0)?,
    );
    let mut matrix = |index: usize, flag: &str| -> Result<Array, ImportError> {
        let array = array(importer, call, index)?;
        let turn = attributes.flag(flag, false)?;
        match array.dims[..] {
            [rows, columns] if turn => Ok(Array {
                dims: vec![columns, rows],
                kind: array.kind,
                values: (0..columns)
                    .flat_map(|c| (0..rows).map(move |r| r * columns + c))
                    .map(|at| array.values[at])
                    .collect(),
            }),
            [_, _] => Ok(array),
            _ => Err(call.place().invalid("its inputs are not matrices")),
        }
    };
    let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
    let (dims, mut values) = product(importer, call, &a, &b)?;
    for value in &mut values {
        *value *= f64::from(alpha);
    }
    if call.optional(2).is_some() {
        let added = super::stretched(importer, call, 2, &dims)?;
        for (value, added) in values.iter_mut().zip(added) {
            *value += f64::from(beta) * added;
        }
    }
    Ok(rounded(dims, a.kind, values))
}
