//! Padding that depends on the input's size.

use crate::graph::Padding;

/// TensorFlow's `SAME` for windows of `kernel` taps over an input of `hw` rows and columns.
pub(super) fn same_padding(
    hw: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
) -> Padding {
    let along = |axis: usize| same(hw[axis], kernel[axis], strides[axis], dilations[axis]);
    let ([top, bottom], [left, right]) = (along(0), along(1));
    Padding {
        top,
        left,
        bottom,
        right,
    }
}

/// The padding for `ceil(len / stride)` outputs; an odd element goes to the end.
/// <https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2>
fn same(len: usize, kernel: usize, stride: usize, dilation: usize) -> [usize; 2] {
    let span = (kernel - 1).saturating_mul(dilation).saturating_add(1);
    let reach = (len.div_ceil(stride) - 1)
        .saturating_mul(stride)
        .saturating_add(span);
    let total = reach.saturating_sub(len);
    [total / 2, total - total / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_that_of_tensorflow() {
        for (len, kernel, stride, dilation, expected) in [
            (224, 3, 2, 1, [0, 1]),
            (225, 3, 2, 1, [1, 1]),
            (7, 7, 1, 1, [3, 3]),
            (8, 4, 1, 1, [1, 2]),
            (8, 1, 2, 1, [0, 0]),
            (9, 3, 1, 2, [2, 2]),
            (5, 2, 3, 1, [0, 0]),
            (1, 3, 2, 1, [1, 1]),
        ] {
            assert_eq!(
                same(len, kernel, stride, dilation),
                expected,
                "length {len}, kernel {kernel}, stride {stride}, dilation {dilation}"
            );
        }
    }

    #[test]
    fn rows_and_columns_are_padded_apart() {
        let padding = same_padding([224, 7], [3, 7], [2, 1], [1, 1]);
        let expected = Padding {
            top: 0,
            bottom: 1,
            left: 3,
            right: 3,
        };
        assert_eq!(padding, expected);
    }
}
