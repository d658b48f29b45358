//! Layer normalization over the last axis in f32:
//! `(x - mean) / sqrt(variance + epsilon) * scale + shift`.
//!
//! Two passes over a row, and a correction. The first pass sums the row, which gives the mean with
//! the rounding of a long sum. The second one sums the differences to it and their squares: the
//! mean of the differences is what the first pass missed, and corrects both mean and variance (Chan,
//! Golub and LeVeque 1983, the corrected two-pass algorithm). So a row far from zero loses nothing
//! that its elements still have. A row is one task's, and is summed in an order that its length
//! alone decides.

mod reference;

pub use reference::layer_norm_f32_reference;

use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, check_len, check_tensor, split};
use crate::tensor::{AlignedF32, PANEL, Tensor};

/// What a layer normalization is prepared from.
#[derive(Clone, Debug)]
pub struct LayerNormParams {
    /// Product of the extents but the last.
    pub rows: usize,
    /// The last extent.
    pub columns: usize,
    /// `[columns]` f32, perhaps filled up to a multiple of 16, or one value for all.
    pub scale: Tensor,
    /// As `scale`.
    pub shift: Tensor,
    /// Added to the variance.
    pub epsilon: f32,
}

/// A layer normalization, ready to run.
#[derive(Clone)]
pub struct LayerNormF32 {
    isa: Isa,
    rows: usize,
    columns: usize,
    scale: AlignedF32,
    shift: AlignedF32,
    epsilon: f32,
}

impl LayerNormF32 {
    /// Prepares the normalization of each row.
    ///
    /// # Errors
    /// [`KernelError`] for an empty or enormous input, a scale or shift that does not fit it, or an
    /// epsilon that is negative or not finite.
    pub fn prepare(isa: Isa, params: &LayerNormParams) -> Result<Self, KernelError> {
        let &LayerNormParams {
            rows,
            columns,
            epsilon,
            ..
        } = params;
        check_len("layer normalization", rows.saturating_mul(columns))?;
        if !(0.0..f32::INFINITY).contains(&epsilon) {
            return Err(KernelError::Geometry {
                what: "epsilon",
                got: epsilon.to_string(),
                rule: "it must be a number from 0",
            });
        }
        Ok(Self {
            isa,
            rows,
            columns,
            scale: each_column("scale", &params.scale, columns)?,
            shift: each_column("shift", &params.shift, columns)?,
            epsilon,
        })
    }
}

/// One value for each column.
fn each_column(
    what: &'static str,
    tensor: &Tensor,
    columns: usize,
) -> Result<AlignedF32, KernelError> {
    let padded = columns.next_multiple_of(PANEL);
    let len = match tensor.shape().dims() {
        [len] if *len == 1 || *len == padded => *len,
        _ => columns,
    };
    check_tensor(what, tensor, &[len])?;
    let values = tensor.as_f32().unwrap_or_default();
    let mut all = AlignedF32::zeroed(columns);
    match values {
        [one] => all.as_mut_slice().fill(*one),
        _ => all.as_mut_slice().copy_from_slice(&values[..columns]),
    }
    Ok(all)
}

// SAFETY: a task reads and writes its own rows of `columns` floats.
unsafe impl PreparedOp for LayerNormF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "layer_norm_f32_row")
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
        split::tasks(threads, self.rows, self.output_len() / 2)
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
            // SAFETY: the row lies in both; each task has its own rows; scale and shift have a
            // value for each column.
            unsafe {
                let row = Row {
                    op: self,
                    from: inputs[0].add(at),
                    to: output.add(at),
                };
                dispatch(self.isa, row);
            }
        }
    }
}

/// One row: as many readable floats at `from` and writable ones at `to` as the operation has
/// columns, the same or apart.
struct Row<'a> {
    op: &'a LayerNormF32,
    from: *const f32,
    to: *mut f32,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let len = self.op.columns;
        let whole = len / V::LANES * V::LANES;
        let (scale, shift) = (self.op.scale.as_slice(), self.op.shift.as_slice());
        // SAFETY: all positions are below `len`; each is read before it is written.
        unsafe {
            let mut sum = V::broadcast(0.0);
            for at in (0..whole).step_by(V::LANES) {
                sum = sum.add(V::load(self.from.add(at)));
            }
            let mut total = total_of(sum);
            for at in whole..len {
                total += f64::from(*self.from.add(at));
            }
            let n = len as f64;
            let near = rounded(total / n);
            let mean = V::broadcast(near);
            let (mut sum, mut squares) = (V::broadcast(0.0), V::broadcast(0.0));
            for at in (0..whole).step_by(V::LANES) {
                let difference = V::load(self.from.add(at)).sub(mean);
                sum = sum.add(difference);
                squares = difference.fma(difference, squares);
            }
            let (mut missed, mut square) = (total_of(sum), total_of(squares));
            for at in whole..len {
                let difference = f64::from(*self.from.add(at) - near);
                missed += difference;
                square += difference * difference;
            }
            let missed = missed / n;
            let variance = (square / n - missed * missed).max(0.0);
            let factor = 1.0 / (variance + f64::from(self.op.epsilon)).sqrt();
            let missed = V::broadcast(rounded(missed));
            let factor = V::broadcast(rounded(factor));
            for at in (0..len).step_by(V::LANES) {
                let lanes = V::LANES.min(len - at);
                let part = |from: *const f32| {
                    if lanes == V::LANES {
                        V::load(from)
                    } else {
                        V::load_first(from, lanes)
                    }
                };
                let unit = part(self.from.add(at)).sub(mean).sub(missed).mul(factor);
                let scale = part(scale.as_ptr().add(at));
                let value = unit.fma(scale, part(shift.as_ptr().add(at)));
                if lanes == V::LANES {
                    value.store(self.to.add(at));
                } else {
                    value.store_first(self.to.add(at), lanes);
                }
            }
        }
    }
}

/// The sum of all lanes.
#[inline(always)]
fn total_of<V: Vector>(v: V) -> f64 {
    let mut lanes = [0.0_f32; 16];
    // SAFETY: no tier has more than sixteen lanes.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes[..V::LANES].iter().map(|&lane| f64::from(lane)).sum()
}

#[expect(clippy::cast_possible_truncation, reason = "values are f32")]
#[inline(always)]
fn rounded(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_f32([values.len()], values).unwrap()
    }

    /// Rows of `columns` numbers of some spread around some middle.
    fn check(columns: usize, middle: f32, spread: f32, vectors: usize) {
        let rows = 3;
        let input = harness::numbers(columns as u64, rows * columns);
        let input: Vec<f32> = input.iter().map(|v| v * spread + middle).collect();
        let scale = harness::numbers(5, vectors);
        let shift = harness::numbers(6, vectors);
        let epsilon = 1e-6;
        let both = (scale.as_slice(), shift.as_slice());
        let expected = layer_norm_f32_reference(&input, columns, both, epsilon);
        let params = LayerNormParams {
            rows,
            columns,
            scale: tensor(&scale),
            shift: tensor(&shift),
            epsilon,
        };
        for isa in Isa::available() {
            let op = LayerNormF32::prepare(isa, &params).unwrap();
            let got = harness::run(&op, &[&input]);
            // The sum of squares has a rounding for every element of a lane, and counts half in
            // the root. What is multiplied by up to 4 has a magnitude of a few.
            let roundings = columns as f64 / 8.0 + 16.0;
            harness::assert_close(&got, &expected, |i| {
                roundings * 2.0_f64.powi(-24) * (expected[i].abs() + 8.0)
            });
        }
    }

    #[test]
    fn rows_of_every_length_equal_the_reference() {
        for columns in (1..=40).chain([96, 768, 1000]) {
            check(columns, 0.0, 1.0, columns);
            check(columns, 0.0, 1.0, 1);
        }
    }

    #[test]
    fn rows_far_from_zero_lose_nothing() {
        for columns in [8, 100, 1000] {
            for middle in [1e3, -1e5] {
                check(columns, middle, 1.0, columns);
            }
        }
    }

    #[test]
    fn equal_elements_become_the_shift_and_nan_shows() {
        for isa in Isa::available() {
            let params = LayerNormParams {
                rows: 1,
                columns: 9,
                scale: tensor(&[2.0]),
                shift: tensor(&[0.5]),
                epsilon: 1e-3,
            };
            let op = LayerNormF32::prepare(isa, &params).unwrap();
            assert_eq!(harness::run(&op, &[&[7.25; 9]]), [0.5; 9]);
            let mut input = [1.0; 9];
            input[8] = f32::NAN;
            assert!(harness::run(&op, &[&input]).iter().all(|v| v.is_nan()));
        }
    }

    #[test]
    fn filled_up_vectors_are_cut_and_others_refused() {
        let params = |scale: &[f32], epsilon| LayerNormParams {
            rows: 1,
            columns: 3,
            scale: tensor(scale),
            shift: tensor(&[0.0]),
            epsilon,
        };
        let mut filled = [0.0; 16];
        filled[..3].copy_from_slice(&[1.0, 2.0, 3.0]);
        let one = LayerNormF32::prepare(Isa::Portable, &params(&filled, 0.0)).unwrap();
        let other = LayerNormF32::prepare(Isa::Portable, &params(&filled[..3], 0.0)).unwrap();
        let input = [1.0, 5.0, 2.0];
        harness::assert_bits(
            &harness::run(&one, &[&input]),
            &harness::run(&other, &[&input]),
        );
        let kind = |params| {
            LayerNormF32::prepare(Isa::Portable, &params)
                .err()
                .unwrap()
                .kind()
        };
        assert_eq!(kind(params(&[1.0, 2.0], 0.0)), "tensor_shape");
        assert_eq!(kind(params(&[1.0], -1.0)), "geometry");
        assert_eq!(kind(params(&[1.0], f32::NAN)), "geometry");
    }
}
