//! Softmax over the last axis in f32: `e^(x - max) / sum`.
//!
//! The largest element is subtracted first, so that nothing overflows. One task computes a whole
//! row, in an order that depends only on its length.

mod reference;

pub use reference::softmax_f32_reference;

use super::activation_f32::exp;
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, check_len, split};

/// A softmax, ready to run.
#[derive(Clone, Debug)]
pub struct SoftmaxF32 {
    isa: Isa,
    rows: usize,
    columns: usize,
}

impl SoftmaxF32 {
    /// Prepares the softmax of each of `rows` rows of `columns` elements.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous input.
    pub fn prepare(isa: Isa, rows: usize, columns: usize) -> Result<Self, KernelError> {
        check_len("softmax", rows.saturating_mul(columns))?;
        Ok(Self { isa, rows, columns })
    }
}

// SAFETY: a task reads and writes its own rows of `columns` floats.
unsafe impl PreparedOp for SoftmaxF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "softmax_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.rows * self.columns]
    }

    fn output_len(&self) -> usize {
        self.rows * self.columns
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.rows, self.output_len())
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        for row in split::range(task, tasks, self.rows) {
            let at = row * self.columns;
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
