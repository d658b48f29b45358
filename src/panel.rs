//! The packed weight layout, one for every instruction set.
//!
//! A matrix `[k, n]` becomes `[ceil(n / 16), k, 16]`: panels of 16 output channels. In each panel
//! the 16 weights of one `k` lie side by side: one AVX-512 register, two of AVX2, four of NEON.
//! Channels past `n` are zero. Groups follow one another, each padded to whole panels.

use crate::tensor::{AlignedF32, PANEL};

/// The number of neighbouring inputs whose weights an integer panel keeps side by side.
const STEP: usize = 4;

/// Packs the row-major matrix `[k, groups * n]` (`HWIO` flattened) of a grouped convolution into
/// `[groups * ceil(n / 16), k, 16]`. `n` counts the output channels of one group.
///
/// # Panics
/// If `plain` does not have `k * groups * n` elements.
#[must_use]
pub fn pack(plain: &[f32], groups: usize, k: usize, n: usize) -> AlignedF32 {
    assert_eq!(
        plain.len(),
        k * groups * n,
        "a [{k}, {groups} * {n}] matrix"
    );
    let mut packed = AlignedF32::zeroed(groups * n.div_ceil(PANEL) * k * PANEL);
    pack_into(packed.as_mut_slice(), plain, groups, k, n);
    packed
}

/// As [`pack`], for weights of any type, whose default is zero.
///
/// # Panics
/// If `plain` does not have `k * groups * n` elements.
#[must_use]
pub fn pack_elements<T: Copy + Default>(plain: &[T], groups: usize, k: usize, n: usize) -> Vec<T> {
    assert_eq!(
        plain.len(),
        k * groups * n,
        "a [{k}, {groups} * {n}] matrix"
    );
    let mut packed = vec![T::default(); groups * n.div_ceil(PANEL) * k * PANEL];
    pack_into(&mut packed, plain, groups, k, n);
    packed
}

fn pack_into<T: Copy>(out: &mut [T], plain: &[T], groups: usize, k: usize, n: usize) {
    let panels = n.div_ceil(PANEL);
    for (index, row) in out.chunks_exact_mut(PANEL).enumerate() {
        let (block, k_index) = (index / k, index % k);
        let (group, panel) = (block / panels, block % panels);
        let first = panel * PANEL;
        let lanes = PANEL.min(n - first);
        let start = k_index * groups * n + group * n + first;
        row[..lanes].copy_from_slice(&plain[start..start + lanes]);
    }
}

/// The inverse of [`pack`].
///
/// # Panics
/// If `packed` does not have `groups * ceil(n / 16) * k * 16` elements.
#[must_use]
pub fn unpack(packed: &[f32], groups: usize, k: usize, n: usize) -> Vec<f32> {
    let panels = n.div_ceil(PANEL);
    assert_eq!(
        packed.len(),
        groups * panels * k * PANEL,
        "panels of a [{k}, {groups} * {n}]"
    );
    let mut plain = vec![0.0; k * groups * n];
    for (index, row) in packed.chunks_exact(PANEL).enumerate() {
        let (block, k_index) = (index / k, index % k);
        let (group, panel) = (block / panels, block % panels);
        let first = panel * PANEL;
        let lanes = PANEL.min(n - first);
        let start = k_index * groups * n + group * n + first;
        plain[start..start + lanes].copy_from_slice(&row[..lanes]);
    }
    plain
}

/// Packs the row-major integer matrix `[k, groups * n]` of a grouped convolution into `[groups *
/// ceil(n / 16), ceil(k / 4), 16, 4]`: in a step of a panel, the four weights that a channel
/// multiplies with four neighbouring inputs lie side by side.
///
/// # Panics
/// If `plain` does not have `k * groups * n` elements.
#[must_use]
pub fn pack_i8(plain: &[i8], groups: usize, k: usize, n: usize) -> Vec<i8> {
    assert_eq!(
        plain.len(),
        k * groups * n,
        "a [{k}, {groups} * {n}] matrix"
    );
    let mut packed = vec![0; groups * n.div_ceil(PANEL) * k.div_ceil(STEP) * PANEL * STEP];
    for (index, &weight) in plain.iter().enumerate() {
        packed[index_i8(index, groups, k, n)] = weight;
    }
    packed
}

/// The inverse of [`pack_i8`].
///
/// # Panics
/// If `packed` does not have the elements of such panels.
#[must_use]
pub fn unpack_i8(packed: &[i8], groups: usize, k: usize, n: usize) -> Vec<i8> {
    let len = groups * n.div_ceil(PANEL) * k.div_ceil(STEP) * PANEL * STEP;
    assert_eq!(packed.len(), len, "panels of a [{k}, {groups} * {n}]");
    let index = 0..k * groups * n;
    index.map(|i| packed[index_i8(i, groups, k, n)]).collect()
}

/// Where element `index` of the plain matrix lies in the panels of [`pack_i8`].
fn index_i8(index: usize, groups: usize, k: usize, n: usize) -> usize {
    let (t, column) = (index / (groups * n), index % (groups * n));
    let (group, channel) = (column / n, column % n);
    let panel = group * n.div_ceil(PANEL) + channel / PANEL;
    ((panel * k.div_ceil(STEP) + t / STEP) * PANEL + channel % PANEL) * STEP + t % STEP
}

/// Rows of `channels` floats, each padded with zeros to a multiple of 16: depthwise kernels (`rows`
/// taps) and channel vectors (one row).
///
/// # Panics
/// If `plain` is not whole rows of `channels`.
#[must_use]
pub fn pad_rows(plain: &[f32], channels: usize) -> AlignedF32 {
    assert!(
        plain.len().is_multiple_of(channels),
        "whole rows of {channels}"
    );
    let padded = channels.next_multiple_of(PANEL);
    let mut out = AlignedF32::zeroed(plain.len() / channels * padded);
    let rows = out.as_mut_slice().chunks_exact_mut(padded);
    for (to, from) in rows.zip(plain.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_undoes_pack() {
        for (groups, k, n) in [(1, 1, 1), (1, 3, 16), (1, 5, 17), (2, 4, 3), (3, 2, 40)] {
            let plain: Vec<f32> = (0..groups * k * n).map(|i| 1.0 + i as f32).collect();
            let packed = pack(&plain, groups, k, n);
            assert_eq!(
                unpack(packed.as_slice(), groups, k, n),
                plain,
                "{groups} {k} {n}"
            );
        }
    }

    #[test]
    fn a_panel_holds_sixteen_channels_of_one_k_and_zeros_past_the_end() {
        let plain: Vec<f32> = (0..2 * 18).map(|i| i as f32).collect();
        let packed = pack(&plain, 1, 2, 18);
        let packed = packed.as_slice();
        assert_eq!(packed.len(), 2 * 2 * 16);
        assert_eq!(packed[16], 18.0, "panel 0, k 1, channel 0");
        assert_eq!(packed[32..35], [16.0, 17.0, 0.0], "panel 1, k 0");
        assert_eq!(packed[48..51], [34.0, 35.0, 0.0], "panel 1, k 1");
    }

    #[test]
    fn integer_panels_keep_four_inputs_of_a_channel_together() {
        for (groups, k, n) in [(1, 1, 1), (1, 3, 16), (1, 5, 17), (2, 4, 3), (3, 2, 20)] {
            let plain: Vec<i8> = (0..groups * k * n)
                .map(|i| i8::try_from(i % 127 + 1).unwrap())
                .collect();
            let packed = pack_i8(&plain, groups, k, n);
            assert_eq!(unpack_i8(&packed, groups, k, n), plain, "{groups} {k} {n}");
        }
        let plain: Vec<i8> = (0..6 * 17).collect();
        let packed = pack_i8(&plain, 1, 6, 17);
        assert_eq!(packed.len(), 2 * 2 * 64);
        assert_eq!(
            packed[..5],
            [0, 17, 34, 51, 1],
            "channel 0, k 0 to 3; channel 1"
        );
        assert_eq!(packed[64..67], [68, 85, 0], "k 4 and 5, then zeros");
        assert_eq!(packed[128..133], [16, 33, 50, 67, 0], "channel 16");
    }

    #[test]
    fn rows_are_filled_up() {
        let padded = pad_rows(&[1.0, 2.0, 3.0, 4.0], 2);
        assert_eq!(padded.as_slice().len(), 32);
        assert_eq!(padded.as_slice()[..3], [1.0, 2.0, 0.0]);
        assert_eq!(padded.as_slice()[16..18], [3.0, 4.0]);
    }
}
