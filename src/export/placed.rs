//! How a value of the graph lies in a tensor of the file: the mirror of `import/onnx/view.rs`.
//!
//! The graph's values are HWC, those of a file NCHW. A [`Placed`] lists the parts of the graph's
//! axes in the order in which the file's tensor has them. Reshaping and transposing change that list
//! and make no node; an operator says in which order it needs the axes, and only if they lie in
//! another one is a `Transpose` written (`Builder::arrange`). A map that is flattened into a matrix
//! product is not even transposed: the rows of the weights are permuted.

use crate::tensor::Shape;

/// A part of an axis of the graph's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    /// The axis.
    pub(super) axis: usize,
    /// Its elements.
    pub(super) extent: usize,
    /// By how much one of its elements moves the index on the axis.
    pub(super) index: usize,
}

/// A tensor of the file that holds a value of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The tensor's name.
    pub(super) name: String,
    /// Shape of the graph's value.
    pub(super) shape: Shape,
    /// The tensor's axes behind the batch: the parts that each consists of, the outermost first.
    groups: Vec<Vec<Part>>,
}

fn product(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.extent).product()
}

impl Placed {
    /// Whole axes of the graph's value in some order, the outermost first.
    pub(super) fn ordered(name: String, shape: &Shape, order: &[usize]) -> Self {
        let group = |&axis: &usize| match shape.dims()[axis] {
            1 => vec![],
            extent => vec![Part {
                axis,
                extent,
                index: 1,
            }],
        };
        Self {
            name,
            shape: shape.clone(),
            groups: order.iter().map(group).collect(),
        }
    }

    /// The axes as they are in the graph.
    pub(super) fn row_major(name: String, shape: &Shape) -> Self {
        let order: Vec<usize> = (0..shape.rank()).collect();
        Self::ordered(name, shape, &order)
    }

    /// Another tensor whose elements lie in the same way.
    pub(super) fn named(&self, name: String) -> Self {
        Self {
            name,
            ..self.clone()
        }
    }

    /// Extents of the tensor, the batch first.
    pub(super) fn dims(&self) -> Vec<usize> {
        let extents = self.groups.iter().map(|group| product(group));
        std::iter::once(1).chain(extents).collect()
    }

    /// Whether the elements of both lie in the same way.
    pub(super) fn lies_as(&self, other: &Self) -> bool {
        self.shape == other.shape && self.groups == other.groups
    }

    /// All parts, in the order of the tensor.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.groups.iter().flatten().copied().collect()
    }

    /// With as many axes of one element in front as make the rank.
    pub(super) fn with_rank(&self, rank: usize) -> Self {
        let new = rank.saturating_sub(self.shape.rank());
        let mut dims = vec![1; new];
        dims.extend(self.shape.dims());
        let mut value = self.clone();
        value.shape = Shape::new(&dims);
        for part in value.groups.iter_mut().flatten() {
            part.axis += new;
        }
        value
    }

    /// The parts of some axes, each axis in the order of its elements.
    pub(super) fn parts_of(&self, order: &[usize]) -> Vec<Part> {
        let mut wanted = Vec::new();
        for &axis in order {
            let mut parts = self.parts();
            parts.retain(|part| part.axis == axis);
            parts.sort_by_key(|part| std::cmp::Reverse(part.index));
            wanted.extend(parts);
        }
        wanted
    }

    /// The graph's axes in the order of the tensor's, if these are the same axes.
    pub(super) fn order(&self) -> Option<Vec<usize>> {
        let rank = self.shape.rank();
        if self.groups.len() != rank {
            return None;
        }
        let mut order = vec![None; rank];
        for (slot, group) in order.iter_mut().zip(&self.groups) {
            let Some(first) = group.first() else { continue };
            if *group != self.parts_of(&[first.axis]) {
                return None;
            }
            *slot = Some(first.axis);
        }
        // Axes of one element have no parts: each takes a place that is left.
        let mut single = (0..rank).filter(|&axis| !order.contains(&Some(axis)));
        let mut single: Vec<usize> = single.by_ref().collect();
        single.reverse();
        order
            .iter()
            .map(|axis| axis.or_else(|| single.pop()))
            .collect()
    }

    /// The order of axes that moves least: the tensor's own, or that of the first parts of each
    /// axis. A transpose is then only needed if the parts of an axis lie in another order or apart.
    pub(super) fn natural_order(&self) -> Vec<usize> {
        if let Some(order) = self.order() {
            return order;
        }
        let parts = self.parts();
        let place = |axis: &usize| parts.iter().position(|part| part.axis == *axis);
        let mut order: Vec<usize> = (0..self.shape.rank()).collect();
        order.sort_by_key(|axis| place(axis).unwrap_or(usize::MAX));
        order
    }

    /// Output axis `i` is axis `permutation[i]` of this value.
    pub(super) fn transposed(&self, permutation: &[usize]) -> Self {
        let mut value = self.clone();
        let dims: Vec<usize> = permutation.iter().map(|&a| self.shape.dims()[a]).collect();
        value.shape = Shape::new(&dims);
        for part in value.groups.iter_mut().flatten() {
            let to = permutation.iter().position(|&axis| axis == part.axis);
            part.axis = to.unwrap_or(part.axis);
        }
        value
    }

    /// The same elements in row-major order of the graph with other axes. `None` if an axis would
    /// begin or end inside of a part.
    pub(super) fn reshaped(&self, shape: &Shape) -> Option<Self> {
        let order: Vec<usize> = (0..self.shape.rank()).collect();
        let mut waiting = self.parts_of(&order);
        waiting.reverse();
        // What each old part becomes, the outermost first.
        let mut became: Vec<(Part, Vec<Part>)> = Vec::new();
        let mut rest: Option<(Part, usize)> = None;
        for (axis, &extent) in shape.dims().iter().enumerate() {
            let mut missing = extent;
            while missing > 1 {
                let (old, left) = if let Some(rest) = rest.take() {
                    rest
                } else {
                    let old = waiting.pop()?;
                    became.push((old, Vec::new()));
                    (old, old.extent)
                };
                let taken = if missing.is_multiple_of(left) {
                    left
                } else if left.is_multiple_of(missing) {
                    missing
                } else {
                    return None;
                };
                missing /= taken;
                if left > taken {
                    rest = Some((old, left / taken));
                }
                let part = Part {
                    axis,
                    extent: taken,
                    index: missing,
                };
                became.last_mut()?.1.push(part);
            }
        }
        if !waiting.is_empty() || rest.is_some() {
            return None;
        }
        let new_parts = |old: &Part| {
            let found = became.iter().find(|(part, _)| part == old);
            found.map_or_else(Vec::new, |(_, new)| new.clone())
        };
        let groups = self.groups.iter();
        let groups = groups.map(|group| group.iter().flat_map(new_parts).collect());
        Some(Self {
            name: self.name.clone(),
            shape: shape.clone(),
            groups: groups.collect(),
        })
    }

    /// A tensor whose last axis is the graph's last one, with its parts in any order, behind all
    /// others as the graph has them. `None` if they lie otherwise.
    pub(super) fn with_last_axis_inside(&self) -> Option<Self> {
        let last = self.shape.rank().checked_sub(1)?;
        let parts = self.parts();
        let start = parts.iter().position(|part| part.axis == last);
        let start = start.unwrap_or(parts.len());
        let (outer, inner) = parts.split_at(start);
        let others: Vec<usize> = (0..last).collect();
        if inner.iter().any(|part| part.axis != last) || outer != self.parts_of(&others) {
            return None;
        }
        let mut groups: Vec<_> = others.iter().map(|&axis| self.parts_of(&[axis])).collect();
        groups.push(inner.to_vec());
        Some(Self {
            name: self.name.clone(),
            shape: self.shape.clone(),
            groups,
        })
    }

    /// For each element along the last axis of the tensor, its index on the last axis of the graph.
    pub(super) fn last_indices(&self) -> Vec<usize> {
        indices(self.groups.last().map_or(&[], Vec::as_slice))
    }

    /// The extents, without the batch, that a constant needs to meet this value's elements, and
    /// for each of its elements the element of the constant, which the graph broadcasts to the
    /// value: `dims` are the constant's, aligned at the last axis.
    pub(super) fn broadcast(&self, dims: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let missing = self.shape.rank().saturating_sub(dims.len());
        let step = |axis: usize| {
            let at = axis.checked_sub(missing)?;
            let inner: usize = dims[at + 1..].iter().product();
            (dims[at] > 1).then_some(inner)
        };
        let mut extents = Vec::new();
        let mut elements = vec![0];
        for group in &self.groups {
            if group.iter().all(|part| step(part.axis).is_none()) {
                extents.push(1);
                continue;
            }
            extents.push(product(group));
            for part in group {
                let by = step(part.axis).unwrap_or(0) * part.index;
                let along = |from: usize| (0..part.extent).map(move |i| from + i * by);
                elements = elements.into_iter().flat_map(along).collect();
            }
        }
        (extents, elements)
    }
}

/// The index of each element of consecutive parts of one axis.
fn indices(parts: &[Part]) -> Vec<usize> {
    let mut list = vec![0];
    for part in parts {
        let along = |from: usize| (0..part.extent).map(move |i| from + i * part.index);
        list = list.into_iter().flat_map(along).collect();
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: [usize; 3] = [2, 0, 1];

    fn map() -> Placed {
        Placed::ordered("map".into(), &[4, 5, 6].into(), &IMAGE)
    }

    #[test]
    fn a_map_is_nchw_and_flattens_without_a_move() {
        assert_eq!(map().dims(), [1, 6, 4, 5]);
        assert_eq!(map().order(), Some(IMAGE.to_vec()));
        let flat = map().reshaped(&[120].into()).unwrap();
        assert_eq!(flat.order(), None);
        let row = flat.with_last_axis_inside().unwrap();
        assert_eq!(row.dims(), [1, 120]);
        // Channel 0, row 0: columns are six apart in the graph.
        assert_eq!(row.last_indices()[..6], [0, 6, 12, 18, 24, 30]);
        assert_eq!(row.last_indices()[20], 1);
    }

    #[test]
    fn a_channel_shuffle_needs_one_transpose() {
        let split = map().reshaped(&[4, 5, 2, 3].into()).unwrap();
        assert_eq!(split.dims(), [1, 6, 4, 5]);
        let turned = split.transposed(&[0, 1, 3, 2]);
        let joined = turned.reshaped(&[4, 5, 6].into()).unwrap();
        let parts = joined.parts_of(&IMAGE);
        assert_eq!(
            parts.iter().map(|p| p.extent).collect::<Vec<_>>(),
            [3, 2, 4, 5]
        );
        assert_ne!(parts, joined.parts());
    }

    #[test]
    fn constants_meet_the_elements_that_they_meet_in_the_graph() {
        let channels = map().broadcast(&[6]);
        assert_eq!(channels, (vec![6, 1, 1], vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(map().broadcast(&[1]), (vec![1, 1, 1], vec![0]));
        let (extents, elements) = map().broadcast(&[5, 1]);
        assert_eq!((extents, elements), (vec![1, 1, 5], vec![0, 1, 2, 3, 4]));
        let flat = map().reshaped(&[120].into()).unwrap();
        let (extents, elements) = flat.broadcast(&[120]);
        assert_eq!(extents, [6, 4, 5]);
        assert_eq!(elements[..3], [0, 6, 12]);
    }

    #[test]
    fn axes_of_one_element_take_the_places_that_are_left() {
        let pooled = Placed::ordered("pooled".into(), &[1, 1, 6].into(), &IMAGE);
        assert_eq!(pooled.order(), Some(IMAGE.to_vec()));
        assert_eq!(pooled.dims(), [1, 6, 1, 1]);
        let vector = pooled.reshaped(&[6].into()).unwrap();
        assert_eq!(vector.with_last_axis_inside().unwrap().dims(), [1, 6]);
        assert!(map().reshaped(&[7, 17].into()).is_none());
    }

    #[test]
    fn tokens_come_from_a_map_by_one_transpose() {
        let tokens = map().reshaped(&[20, 6].into()).unwrap();
        assert_eq!(tokens.natural_order(), [1, 0]);
        assert!(tokens.with_last_axis_inside().is_none());
    }
}
