//! Joining quantized values along an axis.
//!
//! An input with the result's quantization is copied. Any other input goes through the table of
//! `output.quantize(input.dequantize(q))`.

use super::layout::Join;
use super::requantize::check;
use super::table_i8::{self, Table};
use super::vector::kernel_name;
use super::{Isa, KernelError, PreparedOp, byte_words};
use crate::activation::Activation;
use crate::quantization::Quantization;
use crate::tensor::Shape;

/// Quantized values joined along an axis, ready to run.
#[derive(Clone, Debug)]
pub struct ConcatI8 {
    isa: Isa,
    join: Join,
    /// The table of each input's bytes; `None` if they do not change.
    tables: Vec<Option<Table>>,
}

impl ConcatI8 {
    /// Prepares the concatenation of values of these shapes and quantizations along `axis`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if there is no input, the axis does not exist, the other extents
    /// differ, or a scale is impossible.
    pub fn prepare(
        isa: Isa,
        inputs: &[(Shape, Quantization)],
        axis: usize,
        output: Quantization,
    ) -> Result<Self, KernelError> {
        check("output quantization", output)?;
        for (_, quantization) in inputs {
            check("input quantization", *quantization)?;
        }
        let shapes: Vec<_> = inputs.iter().map(|(shape, _)| shape).collect();
        let table = |&(_, from): &(Shape, Quantization)| {
            (from != output).then(|| Table::of(Activation::Linear, from, output))
        };
        Ok(Self {
            isa,
            join: Join::prepare(&shapes, axis, size_of::<u8>())?,
            tables: inputs.iter().map(table).collect(),
        })
    }
}

// SAFETY: a task writes its own stretches of the output, each from as many bytes of an input.
unsafe impl PreparedOp for ConcatI8 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "concat_i8_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        self.join.input_lens()
    }

    fn output_len(&self) -> usize {
        byte_words(self.join.output_len())
    }

    fn tasks(&self, threads: usize) -> usize {
        // Looking bytes up takes twice as long as moving them.
        self.join.tasks(threads, self.join.output_len() / 8)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        self.join.for_each([task, tasks], |stretch| {
            // SAFETY: the stretch lies in the output and in its input, which are apart; each task
            // has its own stretches.
            unsafe {
                let from = inputs[stretch.input].cast::<u8>().add(stretch.from);
                let to = output.cast::<u8>().add(stretch.to);
                match &self.tables[stretch.input] {
                    None => to.copy_from_nonoverlapping(from, stretch.len),
                    Some(table) => table_i8::map(self.isa, table, from, to, stretch.len),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness::{self, Operand};

    /// Bytes that are copied unchanged, each element to its place.
    fn joined(
        inputs: &[(Shape, Quantization)],
        bytes: &[Vec<u8>],
        axis: usize,
        output: Quantization,
    ) -> Vec<u8> {
        let outer: usize = inputs[0].0.dims()[..axis].iter().product();
        let mut joined = Vec::new();
        for i in 0..outer {
            for ((shape, from), bytes) in inputs.iter().zip(bytes) {
                let chunk = shape.len() / outer;
                let moved = |&q: &u8| {
                    if *from == output {
                        q
                    } else {
                        output.quantize(from.dequantize(q))
                    }
                };
                joined.extend(bytes[i * chunk..][..chunk].iter().map(moved));
            }
        }
        joined
    }

    #[test]
    fn any_axis_number_of_inputs_and_quantization() {
        let maps = [(0.1, 3), (0.05, 128), (0.1, 3), (0.02, 255)];
        let maps = maps.map(|(scale, zero_point)| Quantization { scale, zero_point });
        for axis in 0..3 {
            for extents in [&[1][..], &[3, 1], &[2, 40, 7], &[5, 5, 5, 5]] {
                let inputs: Vec<_> = extents
                    .iter()
                    .zip(maps)
                    .map(|(&extent, map)| {
                        let mut dims = [4, 3, 19];
                        dims[axis] = extent;
                        (Shape::new(&dims), map)
                    })
                    .collect();
                let bytes: Vec<_> = inputs
                    .iter()
                    .enumerate()
                    .map(|(i, (shape, _))| harness::bytes(i as u64, shape.len()))
                    .collect();
                let operands: Vec<_> = bytes.iter().map(|b| Operand::Bytes(b)).collect();
                let expected = joined(&inputs, &bytes, axis, maps[0]);
                for isa in Isa::available() {
                    let op = ConcatI8::prepare(isa, &inputs, axis, maps[0]).unwrap();
                    let got = harness::run_bytes(&op, &operands, expected.len());
                    harness::assert_bytes(&got, &expected, &(isa, axis, extents));
                }
            }
        }
    }

    #[test]
    fn inputs_that_do_not_join_are_refused() {
        let map = Quantization {
            scale: 1.0,
            zero_point: 0,
        };
        let broken = Quantization { scale: 0.0, ..map };
        let input = |dims: &[usize]| (Shape::new(dims), map);
        for (inputs, axis, output) in [
            (vec![], 0, map),
            (vec![input(&[2, 3])], 2, map),
            (vec![input(&[2, 3]), input(&[3, 3])], 1, map),
            (vec![input(&[2, 3]), input(&[2, 3, 1])], 1, map),
            (vec![input(&[2, 0])], 1, map),
            (vec![input(&[usize::MAX, 2])], 1, map),
            (vec![input(&[2, 3])], 1, broken),
            (vec![(Shape::new(&[2, 3]), broken)], 1, map),
        ] {
            let error = ConcatI8::prepare(Isa::Portable, &inputs, axis, output).unwrap_err();
            assert_eq!(error.kind(), "geometry", "{inputs:?}");
        }
    }
}
