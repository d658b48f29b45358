//! Functions of one byte, as tables of their 256 values.
//!
//! An elementwise function of a quantized value has 256 results. They are computed once, by the
//! scalar definition in [`Activation::apply`], and looked up, so they are the same on every tier.
//! [`apply`] changes a row in place: kernels call it on a row that they just wrote and that is
//! still in the first-level cache. [`TableI8`] is the table as a separate operation.
//! just wrote and that is still in the first-level cache. [`TableI8`] is the operation of its own.

mod lookup;

use super::requantize::check;
use super::vector::kernel_name;
use super::{Isa, KernelError, PreparedOp, byte_words, check_len, split};
use crate::activation::Activation;
use crate::quantization::Quantization;

/// The result for each byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Table([u8; 256]);

impl Table {
    /// `to.quantize(activation(from.dequantize(q)))` for every byte `q`.
    #[must_use]
    pub fn of(activation: Activation, from: Quantization, to: Quantization) -> Self {
        let mut table = [0; 256];
        for (q, value) in (0_u8..=255).zip(&mut table) {
            *value = to.quantize(activation.apply(from.dequantize(q)));
        }
        Self(table)
    }

    /// The table of any function.
    #[must_use]
    pub fn new(values: [u8; 256]) -> Self {
        Self(values)
    }

    /// The 256 values.
    #[must_use]
    pub fn values(&self) -> &[u8; 256] {
        &self.0
    }

    /// Whether no byte changes.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        (0_u8..=255).zip(self.0).all(|(q, value)| q == value)
    }
}

/// Replaces every byte of `row` by its value in the table.
pub fn apply(isa: Isa, table: &Table, row: &mut [u8]) {
    // SAFETY: the row is readable and writable, and lookups may be in place.
    unsafe { lookup::map(isa, table, row.as_ptr(), row.as_mut_ptr(), row.len()) }
}

/// `to[i] = table[from[i]]` for `len` bytes.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `len` bytes; they are the same memory or do
/// not overlap.
pub(super) unsafe fn map(isa: Isa, table: &Table, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's contract.
    unsafe { lookup::map(isa, table, from, to, len) }
}

/// A table on every byte of a value, ready to run.
#[derive(Clone, Debug)]
pub struct TableI8 {
    isa: Isa,
    len: usize,
    table: Table,
}

impl TableI8 {
    /// Prepares an activation of `len` bytes that also changes their quantization.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value, or an impossible scale.
    pub fn prepare(
        isa: Isa,
        activation: Activation,
        len: usize,
        input: Quantization,
        output: Quantization,
    ) -> Result<Self, KernelError> {
        check_len("table input", len)?;
        check("input quantization", input)?;
        check("output quantization", output)?;
        Ok(Self {
            isa,
            len,
            table: Table::of(activation, input, output),
        })
    }
}

// SAFETY: a task reads and writes its own bytes of `len`.
unsafe impl PreparedOp for TableI8 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "table_i8_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.len)]
    }

    fn output_len(&self) -> usize {
        byte_words(self.len)
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, split::byte_lines(self.len), self.len / 4)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = split::bytes(task, tasks, self.len);
        // SAFETY: the part lies in both, and each task has its own.
        unsafe {
            let from = inputs[0].cast::<u8>().add(part.start);
            let to = output.cast::<u8>().add(part.start);
            map(self.isa, &self.table, from, to, part.len());
        }
    }
}

#[cfg(test)]
mod tests;
