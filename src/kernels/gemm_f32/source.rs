//! Where the rows of A come from: the pixels under a window, as runs of contiguous floats.

use super::super::KernelError;
use crate::tensor::AlignedF32;

/// The window of a convolution over an `HWC` image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Rows, columns and channels of the input.
    pub input: [usize; 3],
    /// Taps, vertical and horizontal.
    pub kernel: [usize; 2],
    /// Steps between output elements, vertical and horizontal.
    pub strides: [usize; 2],
    /// Distance between taps, vertical and horizontal.
    pub dilations: [usize; 2],
    /// Zero rows above, columns to the left, rows below, columns to the right.
    pub padding: [usize; 4],
    /// Channel groups.
    pub groups: usize,
}

impl ConvGeometry {
    /// Output rows and columns; `None` if an extent is zero, the window does not fit, the groups
    /// do not divide the channels, or a size overflows.
    #[must_use]
    pub fn output(&self) -> Option<[usize; 2]> {
        let one = |axis: usize| {
            let span = (self.kernel[axis].checked_sub(1)?)
                .checked_mul(self.dilations[axis])?
                .checked_add(1)?;
            let padded = self.input[axis]
                .checked_add(self.padding[axis])?
                .checked_add(self.padding[axis + 2])?;
            isize::try_from(padded).ok()?;
            padded
                .checked_sub(span)?
                .checked_div(self.strides[axis])?
                .checked_add(1)
        };
        let [h, w, c] = self.input;
        let bytes = h.checked_mul(w)?.checked_mul(c)?.checked_mul(4)?;
        isize::try_from(bytes).ok()?;
        let extents = [h, w, c, self.groups, self.dilations[0], self.dilations[1]];
        if extents.contains(&0) || !c.is_multiple_of(self.groups) {
            return None;
        }
        let output = [one(0)?, one(1)?];
        output[0].checked_mul(output[1])?;
        Some(output)
    }

    /// Whether output pixels are input pixels: a 1x1 window that visits each in order.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.strides == [1, 1] && self.padding == [0; 4]
    }
}

/// Rows of A: one per output pixel, of `k` floats found in the input.
pub(in crate::kernels) struct Source {
    geometry: ConvGeometry,
    output: [usize; 2],
    /// Horizontally adjacent taps are adjacent in memory, so that a kernel row is one run.
    joins_taps: bool,
    /// What padded taps read.
    zeros: AlignedF32,
}

impl Source {
    pub(in crate::kernels) fn new(geometry: ConvGeometry) -> Result<Self, KernelError> {
        let k = |g: &ConvGeometry| {
            let taps = g.kernel[0].checked_mul(g.kernel[1])?;
            taps.checked_mul(g.input[2] / g.groups)?.checked_mul(16)
        };
        let output = geometry
            .output()
            .filter(|_| k(&geometry).is_some())
            .ok_or_else(|| KernelError::Geometry {
                what: "the window",
                got: format!("{geometry:?}"),
                rule: "it must have positive extents, fit the padded input and be addressable",
            })?;
        let [_, kw] = geometry.kernel;
        let channels = geometry.input[2] / geometry.groups;
        let joins_taps = kw == 1 || (geometry.groups == 1 && geometry.dilations[1] == 1);
        let padded = geometry.padding != [0; 4];
        let run = if joins_taps { kw * channels } else { channels };
        Ok(Self {
            geometry,
            output,
            joins_taps,
            zeros: AlignedF32::zeroed(if padded { run } else { 0 }),
        })
    }

    pub(in crate::kernels) fn groups(&self) -> usize {
        self.geometry.groups
    }

    /// Output pixels.
    pub(in crate::kernels) fn rows(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Floats of a row: taps times channels of a group.
    pub(in crate::kernels) fn k(&self) -> usize {
        let [kh, kw] = self.geometry.kernel;
        kh * kw * self.group_channels()
    }

    pub(in crate::kernels) fn input_len(&self) -> usize {
        self.geometry.input.iter().product()
    }

    pub(in crate::kernels) fn is_pointwise(&self) -> bool {
        self.geometry.is_pointwise()
    }

    /// Runs of a row, at most.
    pub(in crate::kernels) fn max_runs(&self) -> usize {
        let g = &self.geometry;
        let split = !self.joins_taps || g.padding[1] > 0 || g.padding[3] > 0;
        if split {
            g.kernel[0] * g.kernel[1]
        } else {
            g.kernel[0]
        }
    }

    /// Positions of the window.
    pub(in crate::kernels) fn taps(&self) -> usize {
        self.geometry.kernel[0] * self.geometry.kernel[1]
    }

    /// Runs of the rows of a tile: one for each row of the kernel where all pixels under the
    /// window lie side by side in the image, for every row of the tile; else one for each tap.
    pub(in crate::kernels) fn runs(&self, mut rows: std::ops::Range<usize>) -> usize {
        let g = &self.geometry;
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
        self.geometry.input[2] / self.geometry.groups
    }

    /// Writes the pointers of a tile, `[runs][rows]`.
    ///
    /// # Safety
    /// `input` is valid for `input_len()` floats, `rows` lies in the output, and `pointers` has
    /// room for `runs(rows) * rows.len()`.
    pub(in crate::kernels) unsafe fn fill(
        &self,
        input: *const f32,
        group: usize,
        rows: std::ops::Range<usize>,
        pointers: *mut *const f32,
    ) {
        let g = &self.geometry;
        let [_, w, c] = g.input;
        let input = input.wrapping_add(group * self.group_channels());
        let count = rows.len();
        if g.is_pointwise() {
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
                    // Wrapped around below zero, a coordinate is larger than any extent.
                    let y = (top + ky * g.dilations[0]).wrapping_sub(g.padding[0]);
                    let x = (left(row) + kx * g.dilations[1]).wrapping_sub(g.padding[1]);
                    let pointer = if y < g.input[0] && x < w {
                        input.wrapping_add((y * w + x) * c)
                    } else {
                        self.zeros.as_slice().as_ptr()
                    };
                    // SAFETY: `at < runs * count`; the caller's room.
                    unsafe { pointers.add(at).write(pointer) };
                }
            }
        }
    }
}
