//! Elements of a value in another order: the walk that transpositions and slices share.

use super::super::split;

/// A result in order, and where in the input its elements lie. Axes that one stride covers are
/// merged, so that whole rows are copied where the last axis stays.
#[derive(Clone, Debug)]
pub(super) struct Strided {
    input_len: usize,
    output_len: usize,
    /// The input's float that the result's first one is.
    start: usize,
    /// Extent and input stride of each merged output axis, innermost first.
    axes: Vec<(usize, usize)>,
}

impl Strided {
    /// The walk along output axes, innermost first, each with its extent and the input's stride.
    pub(super) fn new(
        input_len: usize,
        start: usize,
        output_axes: impl Iterator<Item = (usize, usize)>,
    ) -> Self {
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (extent, step) in output_axes.filter(|(extent, _)| *extent != 1) {
            match axes.last_mut() {
                Some((inner, inner_step)) if step == *inner * *inner_step => *inner *= extent,
                _ => axes.push((extent, step)),
            }
        }
        if axes.is_empty() {
            axes.push((1, 1));
        }
        Self {
            input_len,
            output_len: axes.iter().map(|(extent, _)| extent).product(),
            start,
            axes,
        }
    }

    pub(super) fn input_len(&self) -> usize {
        self.input_len
    }

    pub(super) fn output_len(&self) -> usize {
        self.output_len
    }

    /// Rows: elements along the innermost axis of the output.
    pub(super) fn rows(&self) -> usize {
        self.output_len / self.axes[0].0
    }

    /// Writes a task's rows of the output.
    ///
    /// # Safety
    /// `from` holds the input and `to` has room for the output, apart; every element of the walk lies
    /// in the input. No other thread touches the task's rows.
    pub(super) unsafe fn copy(&self, [task, tasks]: [usize; 2], from: *const f32, to: *mut f32) {
        let (inner, step) = self.axes[0];
        for row in split::range(task, tasks, self.rows()) {
            let mut rest = row;
            let mut start = self.start;
            for &(extent, step) in &self.axes[1..] {
                start += rest % extent * step;
                rest /= extent;
            }
            // SAFETY: the caller's bounds; the row lies in the output.
            unsafe {
                let from = from.add(start);
                let to = to.add(row * inner);
                if step == 1 {
                    to.copy_from_nonoverlapping(from, inner);
                } else {
                    for i in 0..inner {
                        *to.add(i) = *from.add(i * step);
                    }
                }
            }
        }
    }
}
