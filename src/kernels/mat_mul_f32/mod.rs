//! Product of two values in f32: matrices over the last two axes, batched over the axes in front of
//! them with NumPy's broadcasting.
//!
//! In: `[.., m, k]` and `[.., k, n]`, neither of them packed. Out: `[.., m, n]`. An element is summed
//! over `k` from front to back, one multiply-add after the other, whichever tile computes it, so
//! that tasks change no bit. Tiles are eight rows by one vector of columns: enough chains of sums to
//! hide their latency. Not here: packing and blocks for the caches, which products with stored
//! weights have (`gemm_f32`).

mod reference;

pub use reference::mat_mul_f32_reference;

use super::elementwise_f32::broadcast::Broadcast;
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, check_len, split};
use crate::tensor::Shape;

/// Rows of a tile.
const TILE: usize = 8;

/// A product of two values, ready to run.
#[derive(Clone, Debug)]
pub struct MatMulF32 {
    isa: Isa,
    /// Which matrix of each operand goes with which.
    batches: Broadcast,
    m: usize,
    k: usize,
    n: usize,
}

impl MatMulF32 {
    /// Prepares the product of values of shapes `a` and `b`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the shapes cannot be multiplied, or are empty or enormous.
    pub fn prepare(isa: Isa, a: &Shape, b: &Shape) -> Result<Self, KernelError> {
        let refuse = || KernelError::Geometry {
            what: "pair of matrices",
            got: format!("{a} and {b}"),
            rule: "the columns of the first must be the rows of the second",
        };
        let ([a_leading @ .., m, k], [b_leading @ .., rows, n]) = (a.dims(), b.dims()) else {
            return Err(refuse());
        };
        if k != rows {
            return Err(refuse());
        }
        check_len("operand 0", a.len())?;
        check_len("operand 1", b.len())?;
        let batches = Broadcast::new(&Shape::new(a_leading), &Shape::new(b_leading))?;
        let len = batches.len.saturating_mul(*m).saturating_mul(*n);
        check_len("matrix product", len)?;
        Ok(Self {
            isa,
            batches,
            m: *m,
            k: *k,
            n: *n,
        })
    }

    /// Rows of all matrices of the result.
    fn rows(&self) -> usize {
        self.batches.len * self.m
    }

    /// The first element of each operand's matrix for a batch of the result.
    #[inline(always)]
    fn starts(&self, batch: usize) -> [usize; 2] {
        let inner = self.batches.inner;
        let starts = self.batches.starts(batch / inner);
        let at = |side: usize| starts[side] + batch % inner * self.batches.steps[side];
        [at(0) * self.m * self.k, at(1) * self.k * self.n]
    }
}

// SAFETY: a task writes its own rows of the result; `prepare` derived the matrices that they are
// computed from from the operands' shapes.
unsafe impl PreparedOp for MatMulF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "mat_mul_f32_8xv")
    }

    fn input_lens(&self) -> Vec<usize> {
        let [a, b] = self.batches.lens;
        vec![a * self.m * self.k, b * self.k * self.n]
    }

    fn output_len(&self) -> usize {
        self.rows() * self.n
    }

    fn tasks(&self, threads: usize) -> usize {
        // About ten multiply-adds a nanosecond.
        let work_ns = self.output_len().saturating_mul(self.k) / 10;
        split::tasks(threads, self.rows(), work_ns)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = Part {
            op: self,
            rows: split::range(task, tasks, self.rows()),
            a: inputs[0],
            b: inputs[1],
            to: output,
        };
        // SAFETY: the caller's contract; each task has its own rows.
        unsafe { dispatch(self.isa, part) }
    }
}

/// Some rows of the result: both operands are readable and the output writable for their lengths.
struct Part<'a> {
    op: &'a MatMulF32,
    rows: std::ops::Range<usize>,
    a: *const f32,
    b: *const f32,
    to: *mut f32,
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let &MatMulF32 { m, k, n, .. } = self.op;
        let mut row = self.rows.start;
        while row < self.rows.end {
            let first = row % m;
            let count = (m - first).min(self.rows.end - row);
            let [a, b] = self.op.starts(row / m);
            // SAFETY: the matrices lie in the operands, and `count` rows from `row` on in one
            // matrix of the result.
            unsafe {
                let a = self.a.add(a + first * k);
                let b = self.b.add(b);
                let to = self.to.add(row * n);
                let whole = count / TILE * TILE;
                for i in (0..whole).step_by(TILE) {
                    strip::<V, TILE>(a.add(i * k), b, to.add(i * n), [k, n]);
                }
                for i in whole..count {
                    strip::<V, 1>(a.add(i * k), b, to.add(i * n), [k, n]);
                }
            }
            row += count;
        }
    }
}

/// `R` neighbouring rows of a product.
///
/// # Safety
/// `a` has `R` rows of `k`, `b` has `k` rows of `n`, and `to` has room for `R` rows of `n`; `V` fits
/// the CPU.
#[inline(always)]
unsafe fn strip<V: Vector, const R: usize>(
    a: *const f32,
    b: *const f32,
    to: *mut f32,
    [k, n]: [usize; 2],
) {
    for column in (0..n).step_by(V::LANES) {
        let lanes = V::LANES.min(n - column);
        // SAFETY: the caller's bounds; no more than `lanes` columns are touched.
        unsafe {
            let mut sums = [V::broadcast(0.0); R];
            for t in 0..k {
                let from = b.add(t * n + column);
                let y = if lanes == V::LANES {
                    V::load(from)
                } else {
                    V::load_first(from, lanes)
                };
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = V::broadcast(*a.add(row * k + t)).fma(y, *sum);
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                let to = to.add(row * n + column);
                if lanes == V::LANES {
                    sum.store(to);
                } else {
                    sum.store_first(to, lanes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    fn check(a: &Shape, b: &Shape, expected: impl Fn(&[f32], &[f32]) -> Vec<f64>) {
        let (x, y) = (harness::numbers(1, a.len()), harness::numbers(2, b.len()));
        let expected = expected(&x, &y);
        let k = a.channels();
        for isa in Isa::available() {
            let op = MatMulF32::prepare(isa, a, b).unwrap();
            let got = harness::run(&op, &[&x, &y]);
            // Products of up to 16, summed over `k` with at most two roundings each.
            let tolerance = 2.0 * (k * k) as f64 * 16.0 * 2.0_f64.powi(-24);
            harness::assert_close(&got, &expected, |_| tolerance);
        }
    }

    #[test]
    fn every_number_of_rows_and_columns_equals_the_reference() {
        for m in [1, 2, 7, 8, 9, 17] {
            for n in [1, 7, 8, 9, 15, 16, 17, 40] {
                for k in [1, 3, 16] {
                    check(&[m, k].into(), &[k, n].into(), |x, y| {
                        mat_mul_f32_reference(x, y, [m, k, n])
                    });
                }
            }
        }
    }

    #[test]
    fn leading_axes_are_batches() {
        let [m, k, n] = [5, 4, 9];
        for (a, b) in [
            (&[2, 3, m, k][..], &[2, 3, k, n][..]),
            (&[6, m, k], &[k, n]),
            (&[m, k], &[2, 3, k, n]),
            (&[1, 1, m, k], &[2, 3, k, n]),
            (&[2, 1, 3, 1, m, k], &[1, 1, k, n]),
        ] {
            check(&Shape::new(a), &Shape::new(b), |x, y| {
                mat_mul_f32_reference(x, y, [m, k, n])
            });
        }
        // Each side has an axis that the other has not: two by three products.
        let (a, b) = ([2, 1, m, k].into(), [3, k, n].into());
        check(&a, &b, |x, y| {
            let whole = x.chunks_exact(m * k);
            whole
                .flat_map(|x| y.chunks_exact(k * n).map(move |y| (x, y)))
                .flat_map(|(x, y)| mat_mul_f32_reference(x, y, [m, k, n]))
                .collect()
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn any_product_equals_the_reference(
            batch in 1_usize..4,
            [m, k, n] in [1_usize..20, 1_usize..20, 1_usize..40],
        ) {
            check(&[batch, m, k].into(), &[batch, k, n].into(), |x, y| {
                mat_mul_f32_reference(x, y, [m, k, n])
            });
        }
    }

    #[test]
    fn what_cannot_be_multiplied_is_refused() {
        let huge = usize::MAX / 2;
        for (a, b) in [
            (&[4][..], &[4, 1][..]),
            (&[2, 4], &[5, 2]),
            (&[2, 3, 4], &[3, 4, 2]),
            (&[0, 4], &[4, 2]),
            (&[huge, 1], &[1, huge]),
            (&[1 << 40, 1, 1], &[1, 1, 1 << 40]),
        ] {
            let error = MatMulF32::prepare(Isa::Portable, &Shape::new(a), &Shape::new(b));
            assert_eq!(error.unwrap_err().kind(), "geometry", "{a:?} {b:?}");
        }
    }
}
