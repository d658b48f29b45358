//! Softmax along an axis in f32: `e^(x - max) / sum`.
//!
//! The largest element is subtracted first, so that nothing overflows. Along the last axis a row is
//! one task's, and is summed in an order that its length alone decides. Along another axis each
//! lane sums elements of its own from front to back, whatever the number of tasks.

mod reference;

pub use reference::softmax_f32_reference;

use super::activation_f32::exp;
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, check_len, split};

/// Neighbouring elements of the inner axes that a task's unit has: a cache line.
const LINE: usize = 16;

/// A softmax, ready to run.
#[derive(Clone, Debug)]
pub struct SoftmaxF32 {
    isa: Isa,
    /// Product of the extents in front of the axis.
    rows: usize,
    /// The axis' extent.
    columns: usize,
    /// Product of the extents behind the axis.
    inner: usize,
}

impl SoftmaxF32 {
    /// Prepares the softmax of each of `rows` rows of `columns` elements.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous input.
    pub fn prepare(isa: Isa, rows: usize, columns: usize) -> Result<Self, KernelError> {
        Self::prepare_along(isa, [rows, columns, 1])
    }

    /// Prepares the softmax along the middle one of three axes.
    ///
    /// # Errors
    /// As [`SoftmaxF32::prepare`].
    pub fn prepare_along(
        isa: Isa,
        [rows, columns, inner]: [usize; 3],
    ) -> Result<Self, KernelError> {
        let len = rows.saturating_mul(columns).saturating_mul(inner);
        check_len("softmax", len)?;
        Ok(Self {
            isa,
            rows,
            columns,
            inner,
        })
    }

    /// Indivisible parts: rows, or lines of the inner axes.
    fn units(&self) -> usize {
        self.rows * self.inner.div_ceil(LINE)
    }
}

// SAFETY: a task reads and writes its own rows of `columns` floats, or its own lines of as many rows.
unsafe impl PreparedOp for SoftmaxF32 {
    fn kernel_name(&self) -> &'static str {
        if self.inner == 1 {
            kernel_name!(self.isa, "softmax_f32_row")
        } else {
            kernel_name!(self.isa, "softmax_f32_column")
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.output_len()]
    }

    fn output_len(&self) -> usize {
        self.rows * self.columns * self.inner
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.units(), self.output_len())
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        for unit in split::range(task, tasks, self.units()) {
            if self.inner > 1 {
                let lines = self.inner.div_ceil(LINE);
                let (row, column) = (unit / lines, unit % lines * LINE);
                let at = row * self.columns * self.inner + column;
                // SAFETY: the line lies in each of the row's columns; each task has its own lines.
                unsafe {
                    let columns = Columns {
                        from: inputs[0].add(at),
                        to: output.add(at),
                        len: self.columns,
                        stride: self.inner,
                        width: LINE.min(self.inner - column),
                    };
                    dispatch(self.isa, columns);
                }
                continue;
            }
            let at = unit * self.columns;
            // SAFETY: the row lies in both; each task has its own rows.
            unsafe {
                let row = Row {
                    from: inputs[0].add(at),
                    to: output.add(at),
                    len: self.columns,
                };
                dispatch(self.isa, row);
            }
        }
    }
}

/// One row: `len` readable floats at `from` and writable ones at `to`, the same or apart.
struct Row {
    from: *const f32,
    to: *mut f32,
    len: usize,
}

impl Kernel for Row {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let whole = self.len / V::LANES * V::LANES;
        // SAFETY: all positions are below `len`; each is read before it is written.
        unsafe {
            let mut largest = V::broadcast(f32::NEG_INFINITY);
            for at in (0..whole).step_by(V::LANES) {
                largest = largest.max_or_nan(V::load(self.from.add(at)));
            }
            let mut max = lanes(largest)[..V::LANES]
                .iter()
                .fold(f32::NEG_INFINITY, |a, &b| nan_max(a, b));
            for at in whole..self.len {
                max = nan_max(max, *self.from.add(at));
            }
            let max = V::broadcast(max);
            let mut sum = V::broadcast(0.0);
            for at in (0..whole).step_by(V::LANES) {
                let e = exp(V::load(self.from.add(at)).sub(max));
                e.store(self.to.add(at));
                sum = sum.add(e);
            }
            let mut total: f32 = lanes(sum)[..V::LANES].iter().sum();
            if whole < self.len {
                let rest = self.len - whole;
                let e = exp(V::load_first(self.from.add(whole), rest).sub(max));
                e.store_first(self.to.add(whole), rest);
                total += lanes(e)[..rest].iter().sum::<f32>();
            }
            let total = V::broadcast(total);
            for at in (0..whole).step_by(V::LANES) {
                let to = self.to.add(at);
                V::load(to).div(total).store(to);
            }
            if whole < self.len {
                let (to, rest) = (self.to.add(whole), self.len - whole);
                V::load_first(to, rest).div(total).store_first(to, rest);
            }
        }
    }
}

/// `width` neighbouring columns: from each a float at `from` and `to`, and `len - 1` further ones, each
/// `stride` behind the last. `from` is readable and `to` writable; they are the same or apart.
struct Columns {
    from: *const f32,
    to: *mut f32,
    len: usize,
    stride: usize,
    width: usize,
}

impl Kernel for Columns {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for column in (0..self.width).step_by(V::LANES) {
            let lanes = V::LANES.min(self.width - column);
            // SAFETY: the caller's bounds; no more than `lanes` columns are touched, and each element
            // is read before it is written.
            unsafe {
                let (from, to) = (self.from.add(column), self.to.add(column));
                let mut most = V::broadcast(f32::NEG_INFINITY);
                for i in 0..self.len {
                    most = most.max_or_nan(V::load_first(from.add(i * self.stride), lanes));
                }
                let mut sum = V::broadcast(0.0);
                for i in 0..self.len {
                    let e = exp(V::load_first(from.add(i * self.stride), lanes).sub(most));
                    e.store_first(to.add(i * self.stride), lanes);
                    sum = sum.add(e);
                }
                for i in 0..self.len {
                    let to = to.add(i * self.stride);
                    let e = V::load_first(to, lanes);
                    e.div(sum).store_first(to, lanes);
                }
            }
        }
    }
}

#[inline(always)]
fn nan_max(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

#[inline(always)]
fn lanes<V: Vector>(v: V) -> [f32; 16] {
    let mut lanes = [0.0; 16];
    // SAFETY: no tier has more than sixteen lanes.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    #[test]
    fn rows_of_every_length_equal_the_reference() {
        for columns in (1..=40).chain([100, 1000]) {
            for scale in [0.1, 1.0, 20.0] {
                let mut input = harness::numbers(columns as u64, 3 * columns);
                for v in &mut input {
                    *v *= scale;
                }
                let expected = softmax_f32_reference(&input, columns);
                // The difference from the largest, at most 8 scale, is rounded once; the
                // exponential and the quotient a few times; the sum once for each step. Subnormals
                // are rounded to multiples of 2^-149, twice.
                let relative = 8.0 * f64::from(scale) + 8.0 + columns as f64 / 8.0 + 16.0;
                for isa in Isa::available() {
                    let op = SoftmaxF32::prepare(isa, 3, columns).unwrap();
                    let got = harness::run(&op, &[&input]);
                    harness::assert_close(&got, &expected, |i| {
                        relative * 2.0_f64.powi(-24) * expected[i] + 2.0_f64.powi(-149)
                    });
                }
            }
        }
    }

    #[test]
    fn any_axis_equals_the_reference_of_its_rows() {
        for [rows, columns, inner] in [[1, 1, 7], [2, 3, 2], [3, 5, 16], [2, 40, 17], [4, 2, 100]] {
            let input = harness::numbers(inner as u64, rows * columns * inner);
            // The axis last, and back again.
            let at = |r: usize, c: usize, i: usize| (r * columns + c) * inner + i;
            let mut expected = vec![0.0; input.len()];
            for r in 0..rows {
                for i in 0..inner {
                    let row: Vec<f32> = (0..columns).map(|c| input[at(r, c, i)]).collect();
                    for (c, v) in softmax_f32_reference(&row, columns).into_iter().enumerate() {
                        expected[at(r, c, i)] = v;
                    }
                }
            }
            // As for rows, with a sum of one step a column.
            let relative = 16.0 + columns as f64 + 16.0;
            for isa in Isa::available() {
                let op = SoftmaxF32::prepare_along(isa, [rows, columns, inner]).unwrap();
                let got = harness::run(&op, &[&input]);
                harness::assert_close(&got, &expected, |i| {
                    relative * 2.0_f64.powi(-24) * expected[i]
                });
            }
        }
        let huge = SoftmaxF32::prepare_along(Isa::Portable, [1 << 40, 1 << 40, 2]);
        assert_eq!(huge.unwrap_err().kind(), "geometry");
    }

    #[test]
    fn large_numbers_do_not_overflow_and_nan_shows() {
        for isa in Isa::available() {
            let op = SoftmaxF32::prepare(isa, 1, 9).unwrap();
            let got = harness::run(&op, &[&[3e38, -3e38, 3e38, 0., 0., 0., 0., 0., 0.]]);
            assert_eq!(got, [0.5, 0., 0.5, 0., 0., 0., 0., 0., 0.]);
            let low = [-1000.0_f32; 9];
            for v in harness::run(&op, &[&low]) {
                assert!((v - 1.0 / 9.0).abs() < 1e-7);
            }
            for at in [0, 8] {
                let mut input = [1.0; 9];
                input[at] = f32::NAN;
                assert!(harness::run(&op, &[&input]).iter().all(|v| v.is_nan()));
            }
        }
    }
}
