//! Joining values along an axis: chunks of each input, in turn.

use super::super::{KernelError, byte_words, check_len, split};
use crate::tensor::Shape;

/// Values joined along an axis.
#[derive(Clone, Debug)]
pub(in crate::kernels) struct Join {
    /// Chunks of each input: the product of the axes before.
    outer: usize,
    /// Bytes of one chunk of each input: the axis' extent times the axes inside.
    chunks: Vec<usize>,
    /// Their sum.
    row: usize,
}

/// Some neighbouring bytes of the result that come from one input.
pub(in crate::kernels) struct Stretch {
    /// The input.
    pub(in crate::kernels) input: usize,
    /// Its first byte.
    pub(in crate::kernels) from: usize,
    /// The result's first byte.
    pub(in crate::kernels) to: usize,
    /// Their number.
    pub(in crate::kernels) len: usize,
}

impl Join {
    /// Checks that values of these shapes can be joined along `axis`; their elements have
    /// `element` bytes.
    pub(in crate::kernels) fn prepare(
        shapes: &[&Shape],
        axis: usize,
        element: usize,
    ) -> Result<Self, KernelError> {
        let refuse = |rule| {
            let shapes: Vec<_> = shapes.iter().map(ToString::to_string).collect();
            KernelError::Geometry {
                what: "concatenation",
                got: format!("{} along axis {axis}", shapes.join(", ")),
                rule,
            }
        };
        let Some(first) = shapes.first() else {
            return Err(refuse("it needs an input"));
        };
        if axis >= first.rank() {
            return Err(refuse("the inputs must have the axis"));
        }
        let mut total = 0_usize;
        for shape in shapes {
            let same = shape.rank() == first.rank()
                && (0..first.rank()).all(|i| i == axis || shape.dims()[i] == first.dims()[i]);
            if !same {
                return Err(refuse("extents must be equal on the other axes"));
            }
            check_len("concatenation input", shape.len())?;
            total = total.saturating_add(shape.len());
        }
        check_len("concatenation", total)?;
        let outer = first.dims()[..axis].iter().product();
        let chunks: Vec<_> = shapes.iter().map(|s| s.len() / outer * element).collect();
        Ok(Self {
            outer,
            row: chunks.iter().sum(),
            chunks,
        })
    }

    /// Words of each input.
    pub(in crate::kernels) fn input_lens(&self) -> Vec<usize> {
        let words = |chunk: &usize| byte_words(chunk * self.outer);
        self.chunks.iter().map(words).collect()
    }

    /// Bytes of the result.
    pub(in crate::kernels) fn output_len(&self) -> usize {
        self.outer * self.row
    }

    /// The best number of tasks for a join that takes `work_ns`.
    pub(in crate::kernels) fn tasks(&self, threads: usize, work_ns: usize) -> usize {
        split::tasks(threads, split::byte_lines(self.output_len()), work_ns)
    }

    /// Calls `copy` for each stretch of a task's bytes of the result. Every stretch lies in the
    /// result and in its input; all tasks together cover the result once.
    #[inline]
    pub(in crate::kernels) fn for_each(
        &self,
        [task, tasks]: [usize; 2],
        mut copy: impl FnMut(Stretch),
    ) {
        let part = split::bytes(task, tasks, self.output_len());
        let (start, end) = (part.start, part.end);
        for row in start / self.row..end.div_ceil(self.row) {
            let mut at = row * self.row;
            for (input, &chunk) in self.chunks.iter().enumerate() {
                // The part of this chunk in `start..end`.
                let (from, to) = (at.max(start), (at + chunk).min(end));
                if from < to {
                    copy(Stretch {
                        input,
                        from: row * chunk + (from - at),
                        to: from,
                        len: to - from,
                    });
                }
                at += chunk;
            }
        }
    }
}
