//! Puts the elements of a view in the order that an operator wants, and arithmetic with constants
//! that meet the elements of a view.

use std::collections::HashMap;

use super::affine::Affine;
use super::builder::{GraphBuilder, Site};
use super::error::ImportError;
use super::view::{Atom, View, merged};
use crate::graph::{NodeId, Op};
use crate::tensor::Shape;

/// Numbers of an affine map or a slope that is spelled out along more than the channels, such as a
/// position table: 64 MB.
pub(super) const MAX_SPELLED_OUT: usize = 1 << 24;

/// Extents of a constant, and the scale and the shift that each of its elements stands for.
pub(super) type Broadcast<'c> = (
    &'c [usize],
    &'c dyn Fn(usize) -> f64,
    &'c dyn Fn(usize) -> f64,
);

/// The values that have been arranged, so that several readers share one transpose.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    made: HashMap<(NodeId, Vec<Atom>, Vec<usize>), NodeId>,
}

impl Arranged {
    /// A value of the graph whose axes are the groups of the view's axes, each in the order of the
    /// file. It is the view's own if that lies so; otherwise one transpose is appended, once for
    /// all readers.
    pub(super) fn arrange(
        &mut self,
        graph: &mut GraphBuilder,
        site: &Site,
        view: &View,
        groups: &[&[usize]],
    ) -> Result<NodeId, ImportError> {
        let atoms = groups.iter().copied().flatten();
        let atoms = merged(atoms.flat_map(|&axis| view.atoms(axis).iter().copied()));
        let extent = |group: &&[usize]| group.iter().map(|&a| view.extent(a)).product();
        let target: Vec<usize> = groups.iter().map(extent).collect();
        let key = (view.id, atoms, target);
        if let Some(&id) = self.made.get(&key) {
            return Ok(id);
        }
        let (_, atoms, target) = &key;
        let mut id = view.id;
        if atoms.len() > 1 {
            let mut stored: Vec<Atom> = atoms.clone();
            stored.sort_by_key(|atom| std::cmp::Reverse(atom.stride));
            let extents: Vec<usize> = stored.iter().map(|atom| atom.extent).collect();
            id = graph.reshape(site, Some("axes"), id, Shape::new(&extents))?;
            let permutation = atoms
                .iter()
                .filter_map(|atom| stored.iter().position(|s| s == atom))
                .collect();
            let op = Op::Transpose { permutation };
            id = graph.push(site, Some("transpose"), op, &[id])?;
        }
        let id = graph.reshape(site, Some("shape"), id, Shape::new(target))?;
        self.made.insert(key, id);
        Ok(id)
    }

    /// The value with all its elements in the order of the file.
    pub(super) fn in_file_order(
        &mut self,
        graph: &mut GraphBuilder,
        site: &Site,
        view: &View,
    ) -> Result<View, ImportError> {
        let dims = view.dims();
        let axes: Vec<usize> = (0..dims.len()).collect();
        let groups: Vec<&[usize]> = axes.chunks(1).collect();
        let id = self.arrange(graph, site, view, &groups)?;
        Ok(View::row_major(id, &dims))
    }

    /// The value with other axes for the same elements in the order of the file.
    pub(super) fn reshape(
        &mut self,
        graph: &mut GraphBuilder,
        site: &Site,
        view: &View,
        dims: &[usize],
    ) -> Result<View, ImportError> {
        if let Some(reshaped) = view.reshaped(dims) {
            return Ok(reshaped);
        }
        let ordered = self.in_file_order(graph, site, view)?;
        ordered.reshaped(dims).ok_or_else(|| {
            let message = format!("shape {:?} cannot become {dims:?}", view.dims());
            site.place.invalid(message)
        })
    }
}

/// The value with a last axis of `len`, or as it is if that is 1.
pub(super) fn rows(
    graph: &mut GraphBuilder,
    site: &Site,
    view: &View,
    len: usize,
) -> Result<NodeId, ImportError> {
    if len == 1 {
        return Ok(view.id);
    }
    last_axis(graph, site, view, len)
}

/// The value with a last axis of `len`, which divides it.
pub(super) fn last_axis(
    graph: &mut GraphBuilder,
    site: &Site,
    view: &View,
    len: usize,
) -> Result<NodeId, ImportError> {
    let shape = graph.shape(view.id);
    if shape.channels() == len {
        return Ok(view.id);
    }
    let rows = shape.len() / len;
    let shape = if rows == 1 {
        Shape::new(&[len])
    } else {
        Shape::new(&[rows, len])
    };
    graph.reshape(site, Some("rows"), view.id, shape)
}

/// Appends `x * scale + shift` with constants of the file, which are broadcast to the value. `None`
/// if they do not fit it, or spell out too many numbers.
pub(super) fn affine(
    graph: &mut GraphBuilder,
    site: &Site,
    suffix: Option<&str>,
    view: &View,
    (dims, scale, shift): Broadcast<'_>,
) -> Result<Option<View>, ImportError> {
    let Some(positions) = view.positions(dims, MAX_SPELLED_OUT) else {
        return Ok(None);
    };
    let list = |value: &dyn Fn(usize) -> f64| {
        let first = positions.first().map_or(0.0, |&at| value(at));
        if positions.iter().all(|&at| value(at) == first) {
            vec![first]
        } else {
            positions.iter().map(|&at| value(at)).collect()
        }
    };
    let affine = Affine {
        scale: list(scale),
        shift: list(shift),
    };
    if affine.scale == [1.0] && affine.shift == [0.0] {
        return Ok(Some(view.clone()));
    }
    let len = affine.scale.len().max(affine.shift.len());
    let id = rows(graph, site, view, len)?;
    let id = graph.affine(site, suffix, id, &affine)?;
    Ok(Some(view.of(id)))
}
