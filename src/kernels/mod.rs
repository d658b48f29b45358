//! Compute kernels: arithmetic on raw rows of memory, chosen by instruction set at run time.
//!
//! Each operation has a folder: `mod.rs` (the contract, and the one place that chooses a tier),
//! `reference.rs` (naive: documentation, oracle, fallback) and one file for each instruction set.
//! Kernels know shapes and pointers, but not the graph. An operation is *prepared* once, at
//! planning time: its geometry, weights and instruction set become a value that implements
//! [`PreparedOp`]. Running it allocates nothing.
//!
//! Activations are `HWC`, tightly packed, one image. Weights are in the `Panel16` layout of
//! `graph::KernelLayout`: `[groups * ceil(n / 16), k, 16]`, padded with zeros. Every tier reads
//! them in place from the mapped artifact. Vectors over channels (bias, scale) are padded with
//! zeros to a multiple of 16.

pub mod activation_f32;
pub mod binary_i8;
pub mod concat_i8;
pub mod conv_f32;
pub mod conv_i8;
pub mod convert_i8;
pub mod dense_f32;
pub mod depthwise_f32;
pub mod depthwise_i8;
pub mod elementwise_f32;
mod error;
pub mod gemm_f32;
mod gemm_i8;
pub mod global_pool_f32;
pub mod global_pool_i8;
mod grid;
#[cfg(test)]
mod harness;
mod isa;
pub mod layer_norm_f32;
mod layout;
pub mod layout_f32;
pub mod mat_mul_f32;
pub mod pad_i8;
pub mod pool_f32;
pub mod pool_i8;
mod program;
pub mod reduce_f32;
mod requantize;
pub mod softmax_f32;
mod split;
pub mod table_i8;
mod threads;
mod vector;
mod window;

pub use error::KernelError;
#[cfg(target_arch = "x86_64")]
pub use isa::{Avx2, Avx512, Avx512Bf16, Avx512Vnni};
pub use isa::{Isa, IsaError};
pub use program::{MAX_INPUTS, Memory, Program, ProgramError, SLACK};
pub use threads::{Threads, ThreadsError};
pub use window::SlidingWindow;

use crate::tensor::{DType, Shape, Tensor};

/// An operation with its geometry and weights, ready to run on any memory of the right size.
///
/// One call is split into tasks so that threads can share it. Tasks of one call may run in any
/// order and at the same time: each writes its own part of the output and nothing else.
///
/// # Safety
/// [`Program`] checks the sizes that an implementation states, then hands out raw pointers, so the
/// statements must be true:
///
/// - `input_lens`, `output_len`, `scratch_len` and `in_place` return the same every time.
/// - `run` reads only the words that `input_lens` names of each input, and [`SLACK`] words behind
///   them whose content it ignores; it writes only the words of `output_len` and `scratch_len`.
/// - Two tasks of one call write no common byte of the output and read none that the other writes,
///   for every number of tasks.
///
/// An implementation without this promise does not compile:
///
/// ```compile_fail,E0200
/// struct Liar;
///
/// impl dermal::kernels::PreparedOp for Liar {
///     fn kernel_name(&self) -> &'static str { "liar" }
///     fn input_lens(&self) -> Vec<usize> { vec![] }
///     fn output_len(&self) -> usize { 1 }
///     fn tasks(&self, _threads: usize) -> usize { 1 }
///     unsafe fn run(&self, _: usize, _: usize, _: &[*const f32], output: *mut f32, _: *mut f32) {
///         unsafe { output.add(1 << 40).write(0.0) }
///     }
/// }
/// ```
pub unsafe trait PreparedOp: Send + Sync {
    /// `{op}_{dtype}_{tile}_{isa}`, as benches and profiles print it.
    fn kernel_name(&self) -> &'static str;

    /// Words of four bytes that each input takes, in order: its elements if they are f32, a
    /// quarter of them, rounded up, if they are u8.
    fn input_lens(&self) -> Vec<usize>;

    /// Words of the output.
    fn output_len(&self) -> usize;

    /// Whether the output may be the very memory of input 0 (elementwise operations).
    fn in_place(&self) -> bool {
        false
    }

    /// Floats of scratch that each thread needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// The best number of tasks of a call for this many threads; at least one.
    fn tasks(&self, threads: usize) -> usize;

    /// Runs task `task` of `tasks` (a number that [`PreparedOp::tasks`] returned).
    ///
    /// # Safety
    /// `inputs[i]` is valid for reads of `input_lens()[i]` words, `output` for reads and writes
    /// of `output_len()` words, `scratch` for reads and writes of `scratch_len()` floats (its
    /// content is undefined on entry). No input overlaps the output, except input 0 being exactly
    /// the output where `in_place()`. No two threads run the same task of one call, or share
    /// scratch, at the same time.
    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        scratch: *mut f32,
    );
}

/// The number of words for `len` bytes.
fn byte_words(len: usize) -> usize {
    len.div_ceil(size_of::<f32>())
}

/// Refuses values without elements, and values that are larger than memory can be.
fn check_len(what: &'static str, len: usize) -> Result<(), KernelError> {
    let bytes = len.checked_mul(4).and_then(|b| isize::try_from(b).ok());
    if len > 0 && bytes.is_some() {
        return Ok(());
    }
    Err(KernelError::Geometry {
        what,
        got: format!("{len} elements"),
        rule: "a value has at least one element and fits into memory",
    })
}

/// Refuses a weight tensor that is not f32 of the given shape.
fn check_tensor(what: &'static str, got: &Tensor, expected: &[usize]) -> Result<(), KernelError> {
    check_typed(what, got, DType::F32, expected)
}

/// Refuses a weight tensor of another element type or shape.
fn check_typed(
    what: &'static str,
    got: &Tensor,
    dtype: DType,
    expected: &[usize],
) -> Result<(), KernelError> {
    if got.dtype() != dtype {
        return Err(KernelError::TensorDType {
            what,
            expected: dtype,
            got: got.dtype(),
        });
    }
    if got.shape().dims() != expected {
        return Err(KernelError::TensorShape {
            what,
            expected: Shape::new(expected),
            got: got.shape().clone(),
        });
    }
    Ok(())
}
