//! Joining quantized values along an axis.
//!
//! An input of the result's quantization is copied; any other passes through the table that
//! takes it there: `output.quantize(input.dequantize(q))`.

use super::requantize::check;
use super::table_i8::{self, Table};
use super::vector::kernel_name;
use super::{Isa, KernelError, PreparedOp, byte_words, check_len, split};
use crate::activation::Activation;
use crate::quantization::Quantization;
use crate::tensor::Shape;

/// One input of a concatenation.
#[derive(Clone, Debug)]
struct Chunk {
    /// Bytes of one chunk: the axis' extent and what lies inside.
    len: usize,
    /// What its bytes become.
    table: Option<Table>,
}

/// Quantized values joined along an axis, ready to run.
#[derive(Clone, Debug)]
pub struct ConcatI8 {
    isa: Isa,
    /// Chunks of each input: the product of the axes before.
    outer: usize,
    chunks: Vec<Chunk>,
    /// Bytes of a chunk of every input.
    row: usize,
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
        let refuse = |rule| KernelError::Geometry {
            what: "concatenation",
            got: format!("{inputs:?} along axis {axis}"),
            rule,
        };
        check("output quantization", output)?;
        let Some((first, _)) = inputs.first() else {
            return Err(refuse("it needs an input"));
        };
        if axis >= first.rank() {
            return Err(refuse("the inputs must have the axis"));
        }
        let mut total = 0_usize;
        for (shape, quantization) in inputs {
            let same = shape.rank() == first.rank()
                && (0..first.rank()).all(|i| i == axis || shape.dims()[i] == first.dims()[i]);
            if !same {
                return Err(refuse("extents must be equal on the other axes"));
            }
            check("input quantization", *quantization)?;
            check_len("concatenation input", shape.len())?;
            total = total.saturating_add(shape.len());
        }
        check_len("concatenation", total)?;
        let outer = first.dims()[..axis].iter().product();
        let chunk = |(shape, quantization): &(Shape, Quantization)| Chunk {
            len: shape.len() / outer,
            table: (*quantization != output)
                .then(|| Table::of(Activation::Linear, *quantization, output)),
        };
        Ok(Self {
            isa,
            outer,
            chunks: inputs.iter().map(chunk).collect(),
            row: total / outer,
        })
    }
}

// SAFETY: a task writes its own bytes, each from the input's byte of the same place.
unsafe impl PreparedOp for ConcatI8 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "concat_i8_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        let words = |chunk: &Chunk| byte_words(chunk.len * self.outer);
        self.chunks.iter().map(words).collect()
    }

    fn output_len(&self) -> usize {
        byte_words(self.outer * self.row)
    }

    fn tasks(&self, threads: usize) -> usize {
        let len = self.outer * self.row;
        split::tasks(threads, split::byte_lines(len), len / 8)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = split::bytes(task, tasks, self.outer * self.row);
        let (start, end) = (part.start, part.end);
        for row in start / self.row..end.div_ceil(self.row) {
            let mut at = row * self.row;
            for (chunk, &input) in self.chunks.iter().zip(inputs) {
                // The part of this chunk in `start..end`.
                let (from, to) = (at.max(start), (at + chunk.len).min(end));
                if from < to {
                    // SAFETY: the part lies in the output and in the input's chunk `row`; each
                    // task has its own bytes.
                    unsafe {
                        let source = input.cast::<u8>().add(row * chunk.len + (from - at));
                        let target = output.cast::<u8>().add(from);
                        match &chunk.table {
                            None => target.copy_from_nonoverlapping(source, to - from),
                            Some(table) => {
                                table_i8::map(self.isa, table, source, target, to - from);
                            }
                        }
                    }
                }
                at += chunk.len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::harness::{self, Operand};

    /// Bytes that stand for themselves, and the copy of every element where it belongs.
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
