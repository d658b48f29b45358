//! Converts axes from the count of files, which have the batch axis first, to that of the graph,
//! which has none.

use crate::tensor::Shape;

/// Converts an axis that counts the batch axis, or counts from the end. `None` for the batch axis
/// and for axes that do not exist. `rank` is the value's, without the batch axis.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let with_batch = i64::try_from(rank).ok()?.checked_add(1)?;
    let from_front = if axis < 0 { axis + with_batch } else { axis };
    (1..with_batch)
        .contains(&from_front)
        .then(|| usize::try_from(from_front - 1).ok())?
}

/// Converts several such axes, and sorts them. `None` if one is the batch axis, does not exist or
/// is named twice, or if there are none.
pub(super) fn axes(given: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut axes = given
        .iter()
        .map(|&given| axis(given, rank))
        .collect::<Option<Vec<_>>>()?;
    axes.sort_unstable();
    let twice = axes.windows(2).any(|w| w[0] == w[1]);
    (!axes.is_empty() && !twice).then_some(axes)
}

/// The shape with axes of one element inserted, at these positions of the result; `None` for the
/// batch axis and for axes that do not exist.
pub(super) fn expanded(shape: &Shape, given: &[i64]) -> Option<Shape> {
    let rank = shape.rank() + given.len();
    let places = axes(given, rank)?;
    let mut old = shape.dims().iter();
    let dims: Option<Vec<usize>> = (0..rank)
        .map(|i| {
            if places.contains(&i) {
                Some(1)
            } else {
                old.next().copied()
            }
        })
        .collect();
    dims.map(|dims| Shape::new(&dims))
}

/// The shape without axes of one element; `None` if one is the batch axis, does not exist or is
/// longer. Each axis must be named, because otherwise a batch of one would be dropped, too.
pub(super) fn squeezed(shape: &Shape, given: &[i64]) -> Option<Shape> {
    let dims = shape.dims();
    let gone = axes(given, dims.len())?;
    let long = gone.iter().any(|&i| dims[i] != 1);
    let kept: Vec<usize> = (0..dims.len())
        .filter(|i| !gone.contains(i))
        .map(|i| dims[i])
        .collect();
    (!long && !kept.is_empty()).then(|| Shape::new(&kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_named_once_and_never_the_batch() {
        assert_eq!(axes(&[1, 2], 3), Some(vec![0, 1]));
        assert_eq!(axes(&[-1], 3), Some(vec![2]));
        assert_eq!(axes(&[-2, -3], 3), Some(vec![0, 1]));
        assert_eq!(axes(&[0, 1], 3), None);
        assert_eq!(axes(&[1, -3], 3), None);
        assert_eq!(axes(&[4], 3), None);
        assert_eq!(axes(&[], 3), None);
    }

    #[test]
    fn axes_of_one_element_come_and_go() {
        let vector = Shape::new(&[7]);
        assert_eq!(expanded(&vector, &[1]), Some([1, 7].into()));
        assert_eq!(expanded(&vector, &[-1]), Some([7, 1].into()));
        assert_eq!(expanded(&vector, &[1, 2]), Some([1, 1, 7].into()));
        assert_eq!(expanded(&vector, &[0]), None);
        assert_eq!(squeezed(&[1, 7].into(), &[1]), Some([7].into()));
        assert_eq!(squeezed(&[1, 1, 7].into(), &[1, -2]), Some([7].into()));
        assert_eq!(squeezed(&[1, 7].into(), &[]), None);
        assert_eq!(squeezed(&[1, 7].into(), &[2]), None);
    }

    #[test]
    fn axes_count_the_batch_and_never_name_it() {
        for (given, rank, expected) in [
            (-1, 3, Some(2)),
            (3, 3, Some(2)),
            (1, 3, Some(0)),
            (0, 3, None),
            (-4, 3, None),
            (4, 3, None),
        ] {
            assert_eq!(axis(given, rank), expected, "{given}");
        }
    }
}
