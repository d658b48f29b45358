//! The geometry of a window that slides over the rows and columns of an `HWC` image.

use super::KernelError;

/// A sliding window over an image, each pair `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Rows, columns and channels of the input.
    pub input: [usize; 3],
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between output elements.
    pub strides: [usize; 2],
    /// Distance between taps.
    pub dilations: [usize; 2],
    /// Rows above, columns to the left, rows below, columns to the right.
    pub padding: [usize; 4],
}

impl SlidingWindow {
    /// Output rows and columns.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for a zero extent, a window larger than the padded input, or
    /// more elements than memory can hold.
    pub fn output(&self) -> Result<[usize; 2], KernelError> {
        let refuse = |rule| KernelError::Geometry {
            what: "sliding window",
            got: format!("{self:?}"),
            rule,
        };
        let pairs = [self.kernel, self.strides, self.dilations];
        if self.input.contains(&0) || pairs.as_flattened().contains(&0) {
            return Err(refuse("no extent may be zero"));
        }
        let one = |axis: usize| {
            let span = (self.kernel[axis] - 1)
                .checked_mul(self.dilations[axis])?
                .checked_add(1)?;
            let padded = self.input[axis]
                .checked_add(self.padding[axis])?
                .checked_add(self.padding[axis + 2])?;
            isize::try_from(padded).ok()?;
            Some(padded.checked_sub(span)? / self.strides[axis] + 1)
        };
        let output = [0, 1].map(one);
        let [Some(rows), Some(columns)] = output else {
            return Err(refuse("it must fit into the padded input"));
        };
        let [h, w, c] = self.input;
        let fits = |h: usize, w: usize| {
            let bytes = h.checked_mul(w)?.checked_mul(c)?.checked_mul(4)?;
            isize::try_from(bytes).ok()
        };
        if fits(h, w).is_none() || fits(rows, columns).is_none() {
            return Err(refuse("its values must fit into memory"));
        }
        Ok([rows, columns])
    }

    /// The taps of output position `at` along `axis` that lie inside the input: their numbers,
    /// and the input position of the first.
    pub(super) fn taps(&self, axis: usize, at: usize) -> (std::ops::Range<usize>, usize) {
        let (dilation, padding) = (self.dilations[axis], self.padding[axis]);
        let start = at * self.strides[axis];
        let first = padding.saturating_sub(start).div_ceil(dilation);
        let end = (self.input[axis] + padding)
            .saturating_sub(start)
            .div_ceil(dilation)
            .min(self.kernel[axis]);
        let first = first.min(end);
        (
            first..end,
            (start + first * dilation).saturating_sub(padding),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;

    #[test]
    fn taps_are_those_inside_the_input() {
        for (len, kernel, stride, dilation, before, after) in [
            (5, 3, 1, 1, 1, 1),
            (5, 3, 2, 1, 0, 1),
            (7, 5, 2, 1, 2, 2),
            (4, 3, 1, 2, 2, 2),
            (1, 3, 1, 2, 3, 4),
            (2, 2, 3, 3, 5, 0),
        ] {
            let window = SlidingWindow {
                input: [len, len, 1],
                kernel: [kernel; 2],
                strides: [stride; 2],
                dilations: [dilation; 2],
                padding: [before, before, after, after],
            };
            let [rows, _] = window.output().unwrap();
            for at in 0..rows {
                let inside: Vec<_> = (0..kernel)
                    .filter(|tap| {
                        let p = at * stride + tap * dilation;
                        p >= before && p < before + len
                    })
                    .collect();
                let (taps, start) = window.taps(0, at);
                assert_eq!(
                    taps.clone().collect::<Vec<_>>(),
                    inside,
                    "{window:?} at {at}"
                );
                if let Some(first) = inside.first() {
                    assert_eq!(start, at * stride + first * dilation - before);
                }
            }
        }
    }

    #[test]
    fn impossible_windows_are_refused() {
        let good = SlidingWindow {
            input: [4, 4, 1],
            kernel: [3, 3],
            strides: [1, 1],
            dilations: [1, 1],
            padding: [0; 4],
        };
        assert_eq!(good.output(), Ok([2, 2]));
        for bad in [
            SlidingWindow {
                kernel: [5, 3],
                ..good
            },
            SlidingWindow {
                strides: [0, 1],
                ..good
            },
            SlidingWindow {
                input: [4, 4, 0],
                ..good
            },
            SlidingWindow {
                dilations: [usize::MAX, 1],
                ..good
            },
            SlidingWindow {
                padding: [usize::MAX, 0, 0, 0],
                ..good
            },
            SlidingWindow {
                padding: [1 << 40, 1 << 40, 0, 0],
                ..good
            },
        ] {
            assert_eq!(bad.output().unwrap_err().kind(), "geometry", "{bad:?}");
        }
    }
}
