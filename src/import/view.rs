//! How a value of the file lies in a value of the graph.
//!
//! A file's tensors are NCHW as a rule, the graph's are HWC. A [`View`] says for each axis of the
//! file's tensor by which steps it runs through the graph's value, as the strides of a NumPy array
//! do. Transposing, squeezing and most reshapes are then changes of the view and cost nothing at
//! run time: the flattening of a map, the channel shuffle of ShuffleNet, the heads of an attention.
//! An operator says in which order it wants the axes, and only where the value lies in another one
//! is a `Transpose` put into the graph (`arrange`).
//!
//! An axis of one element has no steps; an axis that a reshape has made of others has several
//! ([`Atom`]s, the outermost first). All atoms together run through every element once.

use crate::graph::NodeId;

/// A part of an axis: `extent` elements that are `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Atom {
    pub(super) extent: usize,
    pub(super) stride: usize,
}

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// The value of the graph that holds its elements.
    pub(super) id: NodeId,
    axes: Vec<Vec<Atom>>,
}

/// An atom with the axis it belongs to, and by how much it moves the index on that axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) axis: usize,
    pub(super) atom: Atom,
    pub(super) index: usize,
}

fn product(atoms: &[Atom]) -> usize {
    atoms.iter().map(|atom| atom.extent).product()
}

/// Joins neighbours that follow each other without a gap.
pub(super) fn merged(atoms: impl IntoIterator<Item = Atom>) -> Vec<Atom> {
    let mut list: Vec<Atom> = Vec::new();
    for atom in atoms {
        match list.last_mut() {
            Some(last) if last.stride == atom.stride.saturating_mul(atom.extent) => {
                last.extent *= atom.extent;
                last.stride = atom.stride;
            }
            _ => list.push(atom),
        }
    }
    list
}

/// Strides of `dims` in row-major order.
pub(super) fn strides_of(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis]);
    }
    strides
}

/// Elements of `dims`; `None` if there are more than can be counted.
pub(super) fn len_of(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Offsets of all elements in row-major order.
pub(super) fn offsets(dims: &[usize], strides: &[usize]) -> Vec<usize> {
    // Without this, the axes in front of an empty one would be spelled out.
    if dims.contains(&0) {
        return Vec::new();
    }
    let mut list = vec![0];
    for (&extent, &stride) in dims.iter().zip(strides) {
        let steps = move |from: usize| (0..extent).map(move |i| from + i * stride);
        list = list.into_iter().flat_map(steps).collect();
    }
    list
}

impl View {
    /// A tensor of `dims` whose axes lie in the graph's value in the given order, the outermost
    /// first. Axes that are not named have one element.
    pub(super) fn ordered(id: NodeId, dims: &[usize], order: &[usize]) -> Self {
        let mut axes = vec![Vec::new(); dims.len()];
        let mut stride = 1;
        for &axis in order.iter().rev() {
            if dims[axis] > 1 {
                axes[axis].push(Atom {
                    extent: dims[axis],
                    stride,
                });
                stride *= dims[axis];
            }
        }
        Self { id, axes }
    }

    /// A tensor of `dims` that lies in the graph as it does in the file.
    pub(super) fn row_major(id: NodeId, dims: &[usize]) -> Self {
        let order: Vec<usize> = (0..dims.len()).collect();
        Self::ordered(id, dims, &order)
    }

    /// The same axes of another value, which has its elements in the same order.
    pub(super) fn of(&self, id: NodeId) -> Self {
        Self {
            id,
            axes: self.axes.clone(),
        }
    }

    pub(super) fn rank(&self) -> usize {
        self.axes.len()
    }

    pub(super) fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| product(axis)).collect()
    }

    pub(super) fn extent(&self, axis: usize) -> usize {
        self.axes.get(axis).map_or(1, |atoms| product(atoms))
    }

    pub(super) fn len(&self) -> usize {
        self.axes.iter().map(|axis| product(axis)).product()
    }

    pub(super) fn atoms(&self, axis: usize) -> &[Atom] {
        self.axes.get(axis).map_or(&[], Vec::as_slice)
    }

    /// Whether both lie in their values in the same way.
    pub(super) fn lies_as(&self, other: &Self) -> bool {
        self.axes == other.axes
    }

    /// Axis `i` is axis `permutation[i]` of this one.
    pub(super) fn transposed(&self, permutation: &[usize]) -> Self {
        Self {
            id: self.id,
            axes: permutation.iter().map(|&a| self.axes[a].clone()).collect(),
        }
    }

    /// With as many axes of one element in front as make the rank.
    pub(super) fn with_rank(&self, rank: usize) -> Self {
        let mut axes = vec![Vec::new(); rank.saturating_sub(self.rank())];
        axes.extend(self.axes.iter().cloned());
        Self { id: self.id, axes }
    }

    /// A value in which all axes but one lie as here, while that one, which lies innermost, has
    /// `extent` elements.
    pub(super) fn with_innermost(&self, id: NodeId, inner: usize, extent: usize) -> Self {
        let before = self.extent(inner);
        let mut view = self.of(id);
        for atom in view.axes.iter_mut().flatten() {
            atom.stride = atom.stride / before * extent;
        }
        if let Some(axis) = view.axes.get_mut(inner) {
            *axis = Vec::new();
            if extent > 1 {
                axis.push(Atom { extent, stride: 1 });
            }
        }
        view
    }

    /// A value that holds only some of the atoms, in the order in which they lie here.
    pub(super) fn kept<'s>(&self, id: NodeId, steps: impl Iterator<Item = &'s Step>) -> Self {
        let mut steps: Vec<Step> = steps.copied().collect();
        let mut stride = 1;
        for step in steps.iter_mut().rev() {
            step.atom.stride = stride;
            stride *= step.atom.extent;
        }
        // On each axis the outermost part first.
        steps.sort_by_key(|step| (step.axis, std::cmp::Reverse(step.index)));
        let mut axes = vec![Vec::new(); self.rank()];
        for step in steps {
            axes[step.axis].push(step.atom);
        }
        Self { id, axes }
    }

    /// The same elements in row-major order with other axes. `None` if no steps through the
    /// graph's value make those axes, or if the number of elements differs.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        let mut waiting = merged(self.axes.iter().flatten().copied());
        waiting.reverse();
        let mut axes = Vec::with_capacity(dims.len());
        for &extent in dims {
            let mut axis = Vec::new();
            let mut missing = extent;
            while missing != 1 {
                let atom = waiting.pop()?;
                if missing.is_multiple_of(atom.extent) {
                    axis.push(atom);
                    missing /= atom.extent;
                } else if missing > 0 && atom.extent.is_multiple_of(missing) {
                    let inner = atom.extent / missing;
                    axis.push(Atom {
                        extent: missing,
                        stride: atom.stride * inner,
                    });
                    waiting.push(Atom {
                        extent: inner,
                        stride: atom.stride,
                    });
                    missing = 1;
                } else {
                    return None;
                }
            }
            axes.push(merged(axis));
        }
        waiting.is_empty().then_some(Self { id: self.id, axes })
    }

    /// All atoms in the order in which they lie in the graph's value, the outermost first.
    pub(super) fn stored(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (axis, atoms) in self.axes.iter().enumerate() {
            let mut index = product(atoms);
            for &atom in atoms {
                index /= atom.extent;
                steps.push(Step { axis, atom, index });
            }
        }
        steps.sort_by_key(|step| std::cmp::Reverse(step.atom.stride));
        steps
    }

    /// The axes in the order in which they lie in the graph's value, those of one element first.
    /// `None` if the parts of an axis lie apart.
    pub(super) fn order(&self) -> Option<Vec<usize>> {
        if self
            .axes
            .iter()
            .any(|axis| merged(axis.iter().copied()).len() > 1)
        {
            return None;
        }
        let mut order: Vec<usize> = (0..self.rank()).collect();
        let outermost = |axis: &usize| self.axes[*axis].first().map_or(usize::MAX, |a| a.stride);
        order.sort_by_key(|axis| std::cmp::Reverse(outermost(axis)));
        Some(order)
    }

    /// The last elements of the graph's value, as many as a constant of `dims` varies over, and
    /// for each of them the number in the constant that meets it. The constant is broadcast to
    /// this tensor as in NumPy, with a rank of at most this one's. `None` if it does not fit, or
    /// if there are more than `limit`.
    pub(super) fn positions(&self, dims: &[usize], limit: usize) -> Option<Vec<usize>> {
        let missing = self.rank().checked_sub(dims.len())?;
        let strides = strides_of(dims);
        for (i, &extent) in dims.iter().enumerate() {
            if extent != 1 && extent != self.extent(missing + i) {
                return None;
            }
        }
        let step = |s: &Step| match s.axis.checked_sub(missing) {
            Some(i) if dims[i] != 1 => s.index * strides[i],
            _ => 0,
        };
        let stored = self.stored();
        let first = stored.iter().position(|s| step(s) != 0);
        let varying = &stored[first.unwrap_or(stored.len())..];
        let extents: Vec<usize> = varying.iter().map(|s| s.atom.extent).collect();
        let steps: Vec<usize> = varying.iter().map(step).collect();
        let len = extents.iter().try_fold(1usize, |n, &e| n.checked_mul(e))?;
        (len <= limit).then(|| offsets(&extents, &steps))
    }
}

/// The extents of two tensors together, as NumPy has them.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// The extents that a `Reshape` asks for. 0 copies an extent, unless `allowzero`; -1 stands for
/// what is left.
pub(super) fn shape_asked(from: &[usize], asked: &[i64], allow_zero: bool) -> Option<Vec<usize>> {
    let len = len_of(from)?;
    let mut open = None;
    let mut dims = Vec::with_capacity(asked.len());
    for (i, &extent) in asked.iter().enumerate() {
        dims.push(match extent {
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            0 if !allow_zero => *from.get(i)?,
            n => usize::try_from(n).ok()?,
        });
    }
    if let Some(i) = open {
        let others = len_of(&dims)?;
        dims[i] = len.checked_div(others).filter(|n| n * others == len)?;
    }
    (len_of(&dims) == Some(len)).then_some(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: [usize; 4] = [1, 6, 4, 5];

    /// NCHW in the file, HWC in the graph.
    fn map() -> View {
        View::ordered(NodeId(0), &MAP, &[2, 3, 1])
    }

    fn strides(view: &View) -> Vec<Vec<(usize, usize)>> {
        let axis = |axis: &Vec<Atom>| axis.iter().map(|a| (a.extent, a.stride)).collect();
        view.axes.iter().map(axis).collect()
    }

    #[test]
    fn a_transpose_to_nhwc_lies_as_the_graph_does() {
        let nhwc = map().transposed(&[0, 2, 3, 1]);
        assert_eq!(nhwc, View::row_major(NodeId(0), &[1, 4, 5, 6]));
        let flat = nhwc.reshaped(&[1, 120]).unwrap();
        assert_eq!(strides(&flat), [vec![], vec![(120, 1)]]);
    }

    #[test]
    fn a_map_flattened_in_file_order_keeps_its_steps() {
        let flat = map().reshaped(&[1, 120]).unwrap();
        assert_eq!(strides(&flat), [vec![], vec![(6, 1), (20, 6)]]);
        assert_eq!(flat.dims(), [1, 120]);
        // The graph's element (h, w, c) is number c * 20 + h * 5 + w of the file's.
        let positions = flat.positions(&[120], 1000).unwrap();
        assert_eq!(positions[..7], [0, 20, 40, 60, 80, 100, 1]);
    }

    #[test]
    fn a_channel_shuffle_splits_and_joins_the_channels() {
        let split = map().reshaped(&[1, 2, 3, 4, 5]).unwrap();
        let shuffled = split.transposed(&[0, 2, 1, 3, 4]).reshaped(&MAP).unwrap();
        assert_eq!(
            strides(&shuffled),
            [vec![], vec![(3, 1), (2, 3)], vec![(4, 30)], vec![(5, 6)]]
        );
    }

    #[test]
    fn tokens_of_a_map_lie_as_they_should() {
        let tokens = map().reshaped(&[1, 6, 20]).unwrap().transposed(&[0, 2, 1]);
        assert_eq!(tokens, View::row_major(NodeId(0), &[1, 20, 6]));
    }

    #[test]
    fn axes_have_an_order_unless_their_parts_lie_apart() {
        assert_eq!(map().order(), Some(vec![0, 2, 3, 1]));
        assert_eq!(map().reshaped(&[1, 120]).unwrap().order(), None);
        let tokens = map().reshaped(&[6, 1, 20]).unwrap();
        assert_eq!(tokens.order(), Some(vec![1, 2, 0]));
    }

    #[test]
    fn a_product_changes_the_innermost_axis_alone() {
        let tokens = View::row_major(NodeId(0), &[1, 20, 6]);
        let product = tokens.with_innermost(NodeId(1), 2, 8);
        assert_eq!(product, View::row_major(NodeId(1), &[1, 20, 8]));
    }

    #[test]
    fn what_no_steps_can_make_is_not_made() {
        assert!(map().reshaped(&[1, 4, 6, 5]).is_none());
        assert!(map().reshaped(&[1, 121]).is_none());
        assert!(map().reshaped(&[0]).is_none());
        assert!(map().reshaped(&[1, 1, 6, 1, 20]).is_some());
    }

    #[test]
    fn constants_meet_the_elements_they_meet_in_the_file() {
        // A bias of each channel.
        assert_eq!(
            map().positions(&[6, 1, 1], 100).unwrap(),
            [0, 1, 2, 3, 4, 5]
        );
        // One number.
        assert_eq!(map().positions(&[], 100).unwrap(), [0]);
        // Rank 1 is the width: 5 numbers, each for 6 channels.
        let width = map().positions(&[5], 100).unwrap();
        assert_eq!(width.len(), 30);
        assert_eq!(width[5..8], [0, 1, 1]);
        assert!(map().positions(&[7], 100).is_none());
        assert!(map().positions(&[6, 4, 5], 100).is_none(), "the limit");
    }
}
