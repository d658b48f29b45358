//! Places values in one block of memory: values that live at the same time never overlap.

use crate::tensor::ALIGNMENT;

/// Floats of one alignment unit.
const UNIT: usize = ALIGNMENT / size_of::<f32>();

/// A value's size, and the steps during which it must keep its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Floats.
    pub len: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it (or `first`, if no step does).
    pub last: usize,
}

impl Lifetime {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The offset that [`place`] chose for each value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// First float of each value, a multiple of 16.
    pub offsets: Vec<usize>,
    /// Floats of the whole block.
    pub len: usize,
}

/// Places the largest value first, each at the lowest offset without a value of an overlapping
/// lifetime. TensorFlow Lite's planner found this greedy order best for convolutional networks
/// (Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size").
#[must_use]
pub fn place(values: &[Lifetime]) -> Placement {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(values[i].len), i));
    let mut offsets = vec![0; values.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(values.len());
    let mut len = 0;
    for index in order {
        let size = values[index].len.next_multiple_of(UNIT);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| values[other].meets(&values[index]))
            .map(|&other| {
                let end = offsets[other] + values[other].len.next_multiple_of(UNIT);
                (offsets[other], end)
            })
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if start >= offset + size {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        len = len.max(offset + size);
        placed.push(index);
    }
    Placement { offsets, len }
}

/// Floats that are live at each of `steps` steps. No placement needs less than the largest of them.
#[must_use]
pub fn live_len(values: &[Lifetime], steps: usize) -> Vec<usize> {
    (0..steps)
        .map(|step| {
            let live = values.iter().filter(|v| v.first <= step && step <= v.last);
            live.map(|v| v.len.next_multiple_of(UNIT)).sum()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_that_never_meet_share_memory() {
        let value = |len, first, last| Lifetime { len, first, last };
        let placed = place(&[value(100, 0, 1), value(50, 1, 2), value(100, 2, 3)]);
        assert_eq!(placed.offsets, [0, 112, 0]);
        assert_eq!(placed.len, 112 + 64);
        assert_eq!(
            live_len(&[value(100, 0, 1), value(16, 1, 2)], 3),
            [112, 128, 16]
        );
    }

    proptest! {
        #[test]
        fn no_two_live_values_share_memory(
            raw in prop::collection::vec((1usize..400, 0usize..30, 0usize..10), 1..60)
        ) {
            let values: Vec<Lifetime> = raw
                .iter()
                .map(|&(len, first, span)| Lifetime { len, first, last: first + span })
                .collect();
            let placed = place(&values);
            let most = live_len(&values, 40).into_iter().max().unwrap_or(0);
            prop_assert!(placed.len >= most);
            for (i, a) in values.iter().enumerate() {
                prop_assert_eq!(placed.offsets[i] % UNIT, 0);
                prop_assert!(placed.offsets[i] + a.len <= placed.len);
                for (j, b) in values.iter().enumerate().skip(i + 1) {
                    let apart = placed.offsets[i] + a.len <= placed.offsets[j]
                        || placed.offsets[j] + b.len <= placed.offsets[i];
                    prop_assert!(apart || !a.meets(b), "{} and {}", i, j);
                }
            }
        }
    }
}
