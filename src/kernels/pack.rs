//! Weights from the plain layouts to the packed ones that kernels read, and back.
//!
//! `Panel16` of a matrix kernel is `[groups * ceil(n / 16), k, 16]`: for 16 output channels of a
//! group, the weights of each step of the reduction side by side. Filled up with zeros.

use crate::tensor::PANEL;

/// Extents of a matrix kernel: `[k, groups * n]` in the plain layouts (`HWIO` with its first
/// three axes taken together, `[in, out]`), where output channel `g * n + j` belongs to group `g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixExtents {
    /// Groups, 1 for a dense layer.
    pub groups: usize,
    /// Length of the reduction: taps times input channels of a group.
    pub k: usize,
    /// Output channels of a group.
    pub n: usize,
}

impl MatrixExtents {
    /// The packed shape.
    #[must_use]
    pub fn packed(self) -> [usize; 3] {
        [self.groups * self.n.div_ceil(PANEL), self.k, PANEL]
    }

    /// `(plain index, packed index)` of every weight.
    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        let Self { groups, k, n } = self;
        let panels = n.div_ceil(PANEL);
        (0..groups * panels).flat_map(move |panel| {
            let (group, first) = (panel / panels, panel % panels * PANEL);
            (0..k).flat_map(move |t| {
                (first..n.min(first + PANEL)).map(move |j| {
                    let plain = t * groups * n + group * n + j;
                    (plain, (panel * k + t) * PANEL + j - first)
                })
            })
        })
    }
}

/// Packs a plain matrix kernel of any element type; lanes past `n` are `T::default()`.
///
/// # Panics
/// If `plain` does not have `k * groups * n` elements.
#[must_use]
pub fn pack_matrix<T: Copy + Default>(plain: &[T], extents: MatrixExtents) -> Vec<T> {
    assert_eq!(plain.len(), extents.k * extents.groups * extents.n);
    let mut packed = vec![T::default(); extents.packed().iter().product()];
    for (from, to) in extents.pairs() {
        packed[to] = plain[from];
    }
    packed
}

/// Unpacks what [`pack_matrix`] made.
///
/// # Panics
/// If `packed` does not have the packed shape's elements.
#[must_use]
pub fn unpack_matrix<T: Copy + Default>(packed: &[T], extents: MatrixExtents) -> Vec<T> {
    assert_eq!(packed.len(), extents.packed().iter().product::<usize>());
    let mut plain = vec![T::default(); extents.k * extents.groups * extents.n];
    for (to, from) in extents.pairs() {
        plain[to] = packed[from];
    }
    plain
}

/// Fills the last axis up to a multiple of 16: a vector over channels (bias), or a depthwise
/// kernel `[kh, kw, c]`.
///
/// # Panics
/// If `channels` is zero or does not divide the length of `plain`.
#[must_use]
pub fn pad_channels<T: Copy + Default>(plain: &[T], channels: usize) -> Vec<T> {
    assert!(channels > 0 && plain.len().is_multiple_of(channels));
    let padded = channels.next_multiple_of(PANEL);
    let mut out = vec![T::default(); plain.len() / channels * padded];
    for (to, from) in out
        .chunks_exact_mut(padded)
        .zip(plain.chunks_exact(channels))
    {
        to[..channels].copy_from_slice(from);
    }
    out
}

/// Removes what [`pad_channels`] added.
///
/// # Panics
/// If `channels` is zero or its padded count does not divide the length of `padded`.
#[must_use]
pub fn unpad_channels<T: Copy>(padded: &[T], channels: usize) -> Vec<T> {
    let stored = channels.next_multiple_of(PANEL);
    assert!(channels > 0 && padded.len().is_multiple_of(stored));
    padded
        .chunks_exact(stored)
        .flat_map(|row| row[..channels].iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_weight_lies_where_the_layout_says() {
        // k = 2, two groups of 17 channels: panels of 16 and 1 channel for each group.
        let extents = MatrixExtents {
            groups: 2,
            k: 2,
            n: 17,
        };
        let plain: Vec<u32> = (0..68).collect();
        let packed = pack_matrix(&plain, extents);
        assert_eq!(packed.len(), 4 * 2 * 16);
        let at = |panel: usize, t: usize, lane: usize| packed[(panel * 2 + t) * 16 + lane];
        assert_eq!(at(0, 0, 3), 3);
        assert_eq!(at(0, 1, 0), 34);
        assert_eq!(at(1, 0, 0), 16);
        assert_eq!(at(1, 0, 1), 0);
        assert_eq!(at(2, 1, 15), 34 + 17 + 15);
        assert_eq!(at(3, 1, 0), 67);
    }

    #[test]
    fn packing_and_back_is_the_identity() {
        for groups in [1, 3] {
            for k in [1, 5] {
                for n in [1, 15, 16, 17, 40] {
                    let extents = MatrixExtents { groups, k, n };
                    let plain: Vec<usize> = (1..=groups * k * n).collect();
                    let packed = pack_matrix(&plain, extents);
                    assert_eq!(unpack_matrix(&packed, extents), plain, "{extents:?}");
                    let zeros = packed.iter().filter(|&&v| v == 0).count();
                    assert_eq!(zeros, packed.len() - plain.len(), "{extents:?}");
                }
            }
        }
    }

    #[test]
    fn padding_channels_and_back_is_the_identity() {
        for channels in [1, 15, 16, 17] {
            let plain: Vec<usize> = (1..=3 * channels).collect();
            let padded = pad_channels(&plain, channels);
            assert_eq!(padded.len(), 3 * channels.next_multiple_of(16));
            assert_eq!(unpad_channels(&padded, channels), plain);
        }
    }
}
