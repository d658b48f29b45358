//! Slices: the positions that are picked on each axis, as NumPy reads `x[..., ::-1]`.
//!
//! Neighbouring rows and columns are cropped; channels are picked by a product with a matrix of zeros
//! and ones, which is exact. Both have integer kernels. Anything else is gathered.

use super::builder::{GraphBuilder, Site};
use super::error::ImportError;
use crate::graph::{Conv2d, Dense, Epilogue, Kernel, NodeId, Op, Padding, Window};
use crate::tensor::{AlignedF32, Shape};

/// Longest axis that can be sliced; the list of positions takes memory.
const MAX_SLICED: usize = 1 << 20;

/// One part of a slice, in the order of the axes; the batch axis comes first.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pick {
    /// `start:stop:step`
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: Option<i64>,
    },
    /// A number: the axis is dropped.
    Index(i64),
    /// All remaining axes, whole.
    Ellipsis,
    /// A new axis of one element.
    NewAxis,
}

/// `:`
pub(super) const WHOLE: Pick = Pick::Slice {
    start: None,
    stop: None,
    step: None,
};

/// The elements of a value that a slice picks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    /// The positions on each axis of the value.
    positions: Vec<Vec<usize>>,
    /// The shape of the result, with axes dropped and added.
    shape: Vec<usize>,
}

/// Positions `start, start + step, ...` of an axis of `len`.
fn positions(pick: &Pick, len: usize) -> Option<Vec<usize>> {
    let length = i64::try_from(len).ok().filter(|_| len <= MAX_SLICED)?;
    let (start, stop, step) = match *pick {
        Pick::Slice { start, stop, step } => (start, stop, step.unwrap_or(1)),
        Pick::Index(index) => {
            let from_front = if index < 0 { index + length } else { index };
            let inside = (0..length).contains(&from_front);
            return inside.then(|| usize::try_from(from_front).ok().map(|i| vec![i]))?;
        }
        Pick::Ellipsis | Pick::NewAxis => return None,
    };
    // Python's rule: negative bounds count from the end, then all are clamped.
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let resolve = |value: Option<i64>, default: i64| match value {
        None => default,
        Some(v) if v < 0 => v.saturating_add(length).clamp(low, high),
        Some(v) => v.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (start, stop) = (resolve(start, first), resolve(stop, last));
    let mut at = start;
    let mut list = Vec::new();
    while step != 0 && (if step > 0 { at < stop } else { at > stop }) {
        list.push(usize::try_from(at).ok()?);
        at = at.checked_add(step)?;
    }
    (!list.is_empty()).then_some(list)
}

/// The selection from a value of `shape`, which has no batch axis, while `picks` count one. The
/// batch axis must be taken whole.
pub(super) fn selection(picks: &[Pick], shape: &Shape) -> Option<Selection> {
    let used = picks
        .iter()
        .filter(|pick| !matches!(pick, Pick::Ellipsis | Pick::NewAxis))
        .count();
    let missing = (shape.rank() + 1).checked_sub(used)?;
    let mut full = Vec::new();
    let mut expanded = false;
    for pick in picks {
        match pick {
            Pick::Ellipsis if expanded => return None,
            Pick::Ellipsis => {
                full.extend(std::iter::repeat_n(WHOLE, missing));
                expanded = true;
            }
            other => full.push(other.clone()),
        }
    }
    if !expanded {
        full.extend(std::iter::repeat_n(WHOLE, missing));
    }
    let (batch, rest) = full.split_first()?;
    // The length does not matter: the batch axis is whole if no bound is given.
    let is_slice = matches!(batch, Pick::Slice { .. });
    if !is_slice || positions(batch, 7)? != [0, 1, 2, 3, 4, 5, 6] {
        return None;
    }
    let mut extents = shape.dims().iter();
    let mut selection = Selection {
        positions: Vec::new(),
        shape: Vec::new(),
    };
    for pick in rest {
        if *pick == Pick::NewAxis {
            selection.shape.push(1);
            continue;
        }
        let picked = positions(pick, *extents.next()?)?;
        if !matches!(pick, Pick::Index(_)) {
            selection.shape.push(picked.len());
        }
        selection.positions.push(picked);
    }
    (!selection.shape.is_empty()).then_some(selection)
}

impl Selection {
    /// The channel, if the slice picks one channel, drops its axis, and does nothing else.
    pub(super) fn one_channel(&self, of: &Shape) -> Option<usize> {
        let (last, others) = self.positions.split_last()?;
        let whole = others
            .iter()
            .zip(of.dims())
            .all(|(list, &len)| list.len() == len && list.first() == Some(&0));
        let dropped = self.shape == of.dims()[..of.rank() - 1];
        match last.as_slice() {
            [channel] if whole && dropped => Some(*channel),
            _ => None,
        }
    }
}

/// Appends nodes for a selection.
pub(super) fn select(
    builder: &mut GraphBuilder,
    site: &Site,
    x: NodeId,
    selection: &Selection,
) -> Result<NodeId, ImportError> {
    let from = builder.shape(x).clone();
    let lists = &selection.positions;
    let whole = |i: usize| lists[i].iter().copied().eq(0..from.dims()[i]);
    let last = from.rank() - 1;
    let picked: Vec<usize> = lists.iter().map(Vec::len).collect();
    let reshaped = picked != selection.shape;
    let mut value = x;
    if !(0..last).all(whole) {
        let contiguous = |list: &[usize]| list.windows(2).all(|w| w[1] == w[0] + 1);
        if from.rank() != 3 || !contiguous(&lists[0]) || !contiguous(&lists[1]) {
            for axis in (0..from.rank()).filter(|&axis| !whole(axis)) {
                let indices = lists[axis].clone();
                let name = format!("axis{axis}");
                let op = Op::Gather { axis, indices };
                value = builder.push(site, Some(&name), op, &[value])?;
            }
            return builder.reshape(site, None, value, Shape::new(&selection.shape));
        }
        let cut = |i: usize| [lists[i][0], from.dims()[i] - lists[i][0] - lists[i].len()];
        let ([top, bottom], [left, right]) = (cut(0), cut(1));
        let op = Op::Crop(Padding {
            top,
            left,
            bottom,
            right,
        });
        let suffix = (reshaped || !whole(last)).then_some("crop");
        value = builder.push(site, suffix, op, &[value])?;
    }
    if !whole(last) {
        let suffix = reshaped.then_some("channels");
        value = pick_channels(builder, site, suffix, value, &lists[last])?;
    }
    builder.reshape(site, None, value, Shape::new(&selection.shape))
}

/// Appends the choice of channels in any order.
pub(super) fn pick_channels(
    builder: &mut GraphBuilder,
    site: &Site,
    suffix: Option<&str>,
    input: NodeId,
    channels: &[usize],
) -> Result<NodeId, ImportError> {
    let from = builder.shape(input).clone();
    let (k, n) = (from.channels(), channels.len());
    if k.saturating_mul(n) > 1 << 22 {
        return Err(site
            .place
            .invalid(format!("picking {n} of {k} channels is too large")));
    }
    let mut matrix = AlignedF32::zeroed(k * n);
    for (column, &row) in channels.iter().enumerate() {
        matrix.as_mut_slice()[row * n + column] = 1.0;
    }
    let mut key = format!("{}/pick", site.name);
    while builder.has_tensor(&key) {
        key.push('_');
    }
    let kernel = Kernel::plain(key.clone());
    let op = if from.rank() == 3 {
        builder.insert(&site.place, key, &[1, 1, k, n], matrix)?;
        Op::Conv2d(Conv2d {
            window: Window {
                kernel: [1, 1],
                strides: [1, 1],
                dilations: [1, 1],
                padding: Padding::default(),
            },
            groups: 1,
            filters: n,
            kernel,
            bias: None,
            epilogue: Epilogue::default(),
        })
    } else {
        builder.insert(&site.place, key, &[k, n], matrix)?;
        Op::Dense(Dense {
            units: n,
            kernel,
            bias: None,
            epilogue: Epilogue::default(),
        })
    };
    builder.push(site, suffix, op, &[input])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: impl Into<Option<i64>>, stop: impl Into<Option<i64>>, step: i64) -> Pick {
        Pick::Slice {
            start: start.into(),
            stop: stop.into(),
            step: Some(step),
        }
    }

    #[test]
    fn slices_pick_what_python_picks() {
        for (pick, expected) in [
            (slice(None, None, -1), Some(vec![3, 2, 1, 0])),
            (slice(1, -1, 1), Some(vec![1, 2])),
            (slice(-3, None, 2), Some(vec![1, 3])),
            (slice(2, 0, -1), Some(vec![2, 1])),
            (slice(0, 100, 1), Some(vec![0, 1, 2, 3])),
            (slice(3, 1, 1), None),
            (slice(0, 1, 0), None),
            (slice(i64::MIN, i64::MAX, 1), Some(vec![0, 1, 2, 3])),
            (Pick::Index(-1), Some(vec![3])),
            (Pick::Index(4), None),
        ] {
            assert_eq!(positions(&pick, 4), expected, "{pick:?}");
        }
    }

    #[test]
    fn the_batch_axis_is_never_sliced() {
        let shape = Shape::new(&[5, 4, 3]);
        let reverse = slice(None, None, -1);
        let last = selection(&[Pick::Ellipsis, reverse.clone()], &shape).unwrap();
        assert_eq!(last.positions[2], [2, 1, 0]);
        assert_eq!(last.positions[0], [0, 1, 2, 3, 4]);
        assert_eq!(last.shape, [5, 4, 3]);
        assert!(selection(&[reverse, WHOLE, WHOLE, WHOLE], &shape).is_none());
        assert!(selection(&[Pick::Index(0), Pick::Ellipsis], &shape).is_none());
        assert!(selection(&vec![WHOLE; 5], &shape).is_none());
    }

    #[test]
    fn numbers_drop_axes_and_new_ones_come() {
        let shape = Shape::new(&[5, 4, 3]);
        let channel = selection(&[Pick::Ellipsis, Pick::Index(2)], &shape).unwrap();
        assert_eq!(channel.shape, [5, 4]);
        assert_eq!(channel.one_channel(&shape), Some(2));
        let row = selection(&[WHOLE, Pick::Index(1)], &shape).unwrap();
        assert_eq!(row.shape, [4, 3]);
        assert_eq!(row.one_channel(&shape), None);
        let vector = Shape::new(&[7]);
        let gate = [WHOLE, Pick::NewAxis, Pick::NewAxis, WHOLE];
        assert_eq!(selection(&gate, &vector).unwrap().shape, [1, 1, 7]);
        assert!(selection(&[WHOLE, Pick::Index(0)], &vector).is_none());
    }
}
