//! The rows of A: the pixels under a window, as runs of contiguous elements.

use super::super::{KernelError, SlidingWindow};

/// Rows of A: one for each output pixel, of `k` elements in the input.
pub(in crate::kernels) struct Source<T = f32> {
    window: SlidingWindow,
    groups: usize,
    output: [usize; 2],
    /// Horizontally adjacent taps are adjacent in memory, so that a kernel row is one run.
    joins_taps: bool,
    /// The elements that padded taps read.
    padding: Vec<T>,
}

impl Source {
    /// The windows over an image whose channels fall into `groups`.
    pub(in crate::kernels) fn new(
        window: SlidingWindow,
        groups: usize,
    ) -> Result<Self, KernelError> {
        Self::padded_with(window, groups, 0.0)
    }
}

impl<T: Copy> Source<T> {
    /// Like [`Source::new`], but padded taps read `padding`.
    pub(in crate::kernels) fn padded_with(
        window: SlidingWindow,
        groups: usize,
        padding: T,
    ) -> Result<Self, KernelError> {
        let output = window.output()?;
        let [kh, kw] = window.kernel;
        let c = window.input[2];
        if groups == 0 || !c.is_multiple_of(groups) {
            return Err(KernelError::Geometry {
                what: "groups",
                got: groups.to_string(),
                rule: "they divide the input channels",
            });
        }
        let channels = c / groups;
        let k = kh
            .checked_mul(kw)
            .and_then(|taps| taps.checked_mul(channels)?.checked_mul(64));
        if k.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            return Err(KernelError::Geometry {
                what: "the window",
                got: format!("{window:?}"),
                rule: "its weights fit into memory",
            });
        }
        let joins_taps = kw == 1 || (groups == 1 && window.dilations[1] == 1);
        let padded = window.padding != [0; 4];
        let run = if joins_taps { kw * channels } else { channels };
        Ok(Self {
            window,
            groups,
            output,
            joins_taps,
            padding: vec![padding; if padded { run } else { 0 }],
        })
    }

    pub(in crate::kernels) fn groups(&self) -> usize {
        self.groups
    }

    /// Output pixels.
    pub(in crate::kernels) fn rows(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Elements of a row: taps times channels of a group.
    pub(in crate::kernels) fn k(&self) -> usize {
        let [kh, kw] = self.window.kernel;
        kh * kw * self.group_channels()
    }

    pub(in crate::kernels) fn input_len(&self) -> usize {
        self.window.input.iter().product()
    }

    pub(in crate::kernels) fn is_pointwise(&self) -> bool {
        let w = &self.window;
        w.kernel == [1, 1] && w.strides == [1, 1] && w.padding == [0; 4]
    }

    /// Most runs of a row.
    pub(in crate::kernels) fn max_runs(&self) -> usize {
        let g = &self.window;
        let split = !self.joins_taps || g.padding[1] > 0 || g.padding[3] > 0;
        if split {
            g.kernel[0] * g.kernel[1]
        } else {
            g.kernel[0]
        }
    }

    /// Positions of the window.
    pub(in crate::kernels) fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    /// Runs of the rows of a tile: one for each row of the kernel if all pixels under the window
    /// lie side by side in the image, for every row of the tile; otherwise one for each tap.
    pub(in crate::kernels) fn runs(&self, mut rows: std::ops::Range<usize>) -> usize {
        let g = &self.window;
        let [kh, kw] = g.kernel;
        let joined = self.joins_taps
            && (g.padding[1] + g.padding[3] == 0
                || rows.all(|row| {
                    let x = row % self.output[1] * g.strides[1];
                    x >= g.padding[1] && x - g.padding[1] + (kw - 1) * g.dilations[1] < g.input[1]
                }));
        if joined { kh } else { kh * kw }
    }

    fn group_channels(&self) -> usize {
        self.window.input[2] / self.groups
    }

    /// Writes the pointers of a tile, `[runs][rows]`.
    ///
    /// # Safety
    /// `input` is valid for `input_len()` elements, `rows` lies in the output, and `pointers` has
    /// room for `runs(rows) * rows.len()`.
    pub(in crate::kernels) unsafe fn fill(
        &self,
        input: *const T,
        group: usize,
        rows: std::ops::Range<usize>,
        pointers: *mut *const T,
    ) {
        let g = &self.window;
        let [_, w, c] = g.input;
        let input = input.wrapping_add(group * self.group_channels());
        let count = rows.len();
        if self.is_pointwise() {
            for (i, row) in rows.enumerate() {
                // SAFETY: one run; the caller's room.
                unsafe { pointers.add(i).write(input.wrapping_add(row * c)) };
            }
            return;
        }
        let kh = g.kernel[0];
        let left = |row: usize| row % self.output[1] * g.strides[1];
        let per_row = self.runs(rows.clone()) / kh;
        for (i, row) in rows.enumerate() {
            let top = row / self.output[1] * g.strides[0];
            for ky in 0..kh {
                for kx in 0..per_row {
                    let at = (ky * per_row + kx) * count + i;
                    // A coordinate below zero wraps around and is then larger than any extent.
                    let y = (top + ky * g.dilations[0]).wrapping_sub(g.padding[0]);
                    let x = (left(row) + kx * g.dilations[1]).wrapping_sub(g.padding[1]);
                    let pointer = if y < g.input[0] && x < w {
                        input.wrapping_add((y * w + x) * c)
                    } else {
                        self.padding.as_ptr()
                    };
                    // SAFETY: `at < runs * count`; the caller's room.
                    unsafe { pointers.add(at).write(pointer) };
                }
            }
        }
    }
}
