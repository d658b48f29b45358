//! Runs prepared operations one after the other over one block of memory. Threads share the work of
//! each.
//!
//! All threads go through the same list of calls. Within a call they take tasks from a counter;
//! after it they meet at a barrier. So work is handed to the other threads once for each run, not
//! once for each operation. [`Program::push`] checks once that the memory accesses are sound: every
//! operand lies inside the memory, and no call writes an operand that it reads. It trusts the sizes
//! that an operation states; that is why [`PreparedOp`] is an `unsafe trait`. Results do not depend
//! on which thread runs which task.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{PreparedOp, Threads};
use crate::hint::{Arguments, BUG, Hint, named};
use crate::tensor::AlignedF32;

/// Floats after every operand that kernels may read (and ignore): one register.
pub const SLACK: usize = 16;

/// Rounds of busy waiting before a thread offers its CPU to others: some 10 us, longer than the
/// usual wait at a barrier, shorter than a time slice.
const SPINS: u32 = 2_000;

/// Most inputs of one call.
pub const MAX_INPUTS: usize = 64;

/// Why a call was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProgramError {
    /// The number of operands is wrong for the operation.
    #[error("`{kernel}` takes {expected} inputs, got {got}")]
    Arity {
        /// The operation.
        kernel: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// More operands than [`MAX_INPUTS`].
    #[error("`{kernel}` has {got} inputs; at most {MAX_INPUTS} are supported")]
    TooManyInputs {
        /// The operation.
        kernel: &'static str,
        /// How many it has.
        got: usize,
    },
    /// An operand leaves the memory.
    #[error("`{kernel}`: floats {start}..{end} leave a memory of {len}")]
    Bounds {
        /// The operation.
        kernel: &'static str,
        /// First float.
        start: usize,
        /// One past the last.
        end: usize,
        /// Floats of the memory.
        len: usize,
    },
    /// The output overlaps an input.
    #[error("`{kernel}`: output {output:?} overlaps input {input:?}")]
    Overlap {
        /// The operation.
        kernel: &'static str,
        /// The output's floats.
        output: Range<usize>,
        /// The input's floats.
        input: Range<usize>,
    },
}

impl Hint for ProgramError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Arity { .. } => "input_count",
            Self::TooManyInputs { .. } => "too_many_inputs",
            Self::Bounds { .. } => "bounds",
            Self::Overlap { .. } => "overlap",
        }
    }

    fn hint(&self) -> String {
        BUG.to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Arity {
                kernel,
                expected,
                got,
            } => named!(kernel, expected, got),
            Self::TooManyInputs { kernel, got } => named!(kernel, got).with("limit", &MAX_INPUTS),
            Self::Bounds {
                kernel,
                start,
                end,
                len,
            } => named!(kernel, start, end, len),
            Self::Overlap {
                kernel,
                output,
                input,
            } => named!(kernel, output, input),
        }
    }
}

/// One operation on places in memory.
struct Call {
    op: Box<dyn PreparedOp>,
    inputs: Vec<usize>,
    output: usize,
}

/// A list of calls over a memory of known size.
pub struct Program {
    calls: Vec<Call>,
    memory_len: usize,
    scratch_len: usize,
}

impl Program {
    /// An empty program over `memory_len` floats.
    #[must_use]
    pub fn new(memory_len: usize) -> Self {
        Self {
            calls: Vec::new(),
            memory_len,
            scratch_len: 0,
        }
    }

    /// Appends a call: operand `i` starts at float `inputs[i]`, the result at `output`.
    ///
    /// # Errors
    /// [`ProgramError`] if an operand leaves the memory or the output overlaps an input, other
    /// than input 0 exactly, if the operation works in place.
    pub fn push(
        &mut self,
        op: Box<dyn PreparedOp>,
        inputs: &[usize],
        output: usize,
    ) -> Result<(), ProgramError> {
        let kernel = op.kernel_name();
        let lens = op.input_lens();
        if lens.len() != inputs.len() {
            return Err(ProgramError::Arity {
                kernel,
                expected: lens.len(),
                got: inputs.len(),
            });
        }
        if inputs.len() > MAX_INPUTS {
            return Err(ProgramError::TooManyInputs {
                kernel,
                got: inputs.len(),
            });
        }
        let place = |start: usize, len: usize| {
            let end = start.saturating_add(len);
            if end.saturating_add(SLACK) > self.memory_len {
                return Err(ProgramError::Bounds {
                    kernel,
                    start,
                    end,
                    len: self.memory_len,
                });
            }
            Ok(start..end)
        };
        let written = place(output, op.output_len())?;
        for (i, (&start, &len)) in inputs.iter().zip(&lens).enumerate() {
            let read = place(start, len)?;
            let in_place = i == 0 && op.in_place() && read == written;
            if !in_place && read.start < written.end && written.start < read.end {
                return Err(ProgramError::Overlap {
                    kernel,
                    output: written,
                    input: read,
                });
            }
        }
        self.scratch_len = self.scratch_len.max(op.scratch_len());
        self.calls.push(Call {
            op,
            inputs: inputs.to_vec(),
            output,
        });
        Ok(())
    }

    /// The kernel of each call, in order.
    pub fn kernel_names(&self) -> impl Iterator<Item = &'static str> {
        self.calls.iter().map(|call| call.op.kernel_name())
    }

    /// Floats of memory that [`Memory::new`] allocates for every call's operands.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        self.memory_len
    }

    /// Floats of scratch that each thread needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Distance between two threads' scratch: whole cache lines, so that none is shared.
    fn scratch_stride(&self) -> usize {
        (self.scratch_len + SLACK).next_multiple_of(SLACK)
    }

    /// Bytes that [`Memory::new`] allocates for this many threads.
    #[must_use]
    pub fn memory_bytes(&self, threads: usize) -> usize {
        (self.memory_len + self.scratch_stride() * threads) * size_of::<f32>()
    }

    /// Runs every call in order, and allocates nothing. With `times`, element `i` gets the time of
    /// call `i`.
    ///
    /// # Panics
    /// If `memory` was made for another program or number of threads.
    pub fn run(&self, memory: &mut Memory, threads: &Threads, times: Option<&mut [Duration]>) {
        self.run_calls(0..self.calls.len(), memory, threads, times);
    }

    /// Runs some calls in order. The calls before them must have run in this memory.
    ///
    /// # Panics
    /// As [`Program::run`], and if there are no such calls.
    pub fn run_calls(
        &self,
        calls: Range<usize>,
        memory: &mut Memory,
        threads: &Threads,
        times: Option<&mut [Duration]>,
    ) {
        assert!(calls.end <= self.calls.len(), "calls of another program");
        assert_eq!(
            memory.values.as_slice().len(),
            self.memory_len,
            "memory of another program"
        );
        assert_eq!(
            memory.threads,
            threads.count(),
            "memory of another number of threads"
        );
        assert_eq!(
            memory.scratch.as_slice().len(),
            self.scratch_stride() * threads.count(),
            "memory of a program with other operations"
        );
        for next in &mut memory.next_task[calls.clone()] {
            *next.get_mut() = 0;
        }
        let round = Round {
            program: self,
            calls,
            values: Raw(memory.values.as_mut_slice().as_mut_ptr()),
            scratch: Raw(memory.scratch.as_mut_slice().as_mut_ptr()),
            next_task: &memory.next_task,
            arrived: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            threads: threads.count(),
        };
        threads.share(|thread| round.work(thread, None), || round.work(0, times));
    }
}

/// The memory of a program: all operands, each thread's scratch, and the task counters.
pub struct Memory {
    values: AlignedF32,
    scratch: AlignedF32,
    threads: usize,
    next_task: Vec<AtomicUsize>,
}

impl Memory {
    /// Memory for a program and a number of threads, all zeros.
    #[must_use]
    pub fn new(program: &Program, threads: &Threads) -> Self {
        Self {
            values: AlignedF32::zeroed(program.memory_len),
            scratch: AlignedF32::zeroed(program.scratch_stride() * threads.count()),
            threads: threads.count(),
            next_task: program.calls.iter().map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// All operands.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        self.values.as_slice()
    }

    /// All operands, to set inputs.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.values.as_mut_slice()
    }
}

/// A pointer that threads may share; each use says why it is sound.
#[derive(Clone, Copy)]
struct Raw(*mut f32);

// SAFETY: `Raw` is only a number. Every dereference is in `PreparedOp::run`, under the contract
// that `Round::work` upholds.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

/// One run of a program.
struct Round<'a> {
    program: &'a Program,
    calls: Range<usize>,
    values: Raw,
    scratch: Raw,
    next_task: &'a [AtomicUsize],
    arrived: AtomicUsize,
    failed: AtomicBool,
    threads: usize,
}

impl Round<'_> {
    /// The calls, from the view of thread `thread`.
    fn work(&self, thread: usize, mut times: Option<&mut [Duration]>) {
        // If a kernel panicked, the others would wait at the barrier for ever.
        let alarm = Alarm(&self.failed);
        let mut since = times.is_some().then(Instant::now);
        let mut pointers = [std::ptr::null(); MAX_INPUTS];
        // SAFETY: `Memory::new` allocated one stride of scratch for each thread.
        let scratch = unsafe { self.scratch.0.add(thread * self.program.scratch_stride()) };
        for index in self.calls.clone() {
            let call = &self.program.calls[index];
            let inputs = &mut pointers[..call.inputs.len()];
            for (pointer, &at) in inputs.iter_mut().zip(&call.inputs) {
                // SAFETY: `push` checked that the operand lies inside the memory, whose length
                // `run` compared.
                *pointer = unsafe { self.values.0.add(at) }.cast_const();
            }
            let tasks = call.op.tasks(self.threads);
            loop {
                let task = self.next_task[index].fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                // SAFETY: `push` checked bounds and overlap; `run` holds the memory exclusively;
                // the counter gives each task to one thread; each thread has its own scratch of
                // the program's largest `scratch_len`; the barrier below orders calls.
                unsafe {
                    let output = self.values.0.add(call.output);
                    call.op.run(task, tasks, inputs, output, scratch);
                }
            }
            if !self.wait(index) {
                break;
            }
            if let (Some(times), Some(start)) = (times.as_deref_mut(), since.as_mut()) {
                let now = Instant::now();
                if let Some(time) = times.get_mut(index) {
                    *time = now - *start;
                }
                *start = now;
            }
        }
        std::mem::forget(alarm);
    }

    /// Waits until every thread has done call `index`; false if one has failed.
    fn wait(&self, index: usize) -> bool {
        if self.threads == 1 {
            return true;
        }
        let all = (index - self.calls.start + 1) * self.threads;
        // Release: a thread that sees the count sees what this one wrote. Acquire: this thread sees
        // what the others wrote.
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0;
        while self.arrived.load(Ordering::Acquire) < all {
            if self.failed.load(Ordering::Relaxed) {
                return false;
            }
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                // There are fewer CPUs than threads, or another program is running: yield the CPU.
                std::thread::yield_now();
            }
        }
        true
    }
}

struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds one to every element, in one task per element.
    struct AddOne {
        len: usize,
    }

    // SAFETY: task `i` reads and writes element `i` of `len`, the length of both operands.
    unsafe impl PreparedOp for AddOne {
        fn kernel_name(&self) -> &'static str {
            "add_one"
        }
        fn input_lens(&self) -> Vec<usize> {
            vec![self.len]
        }
        fn output_len(&self) -> usize {
            self.len
        }
        fn in_place(&self) -> bool {
            true
        }
        fn tasks(&self, _threads: usize) -> usize {
            self.len
        }
        unsafe fn run(
            &self,
            task: usize,
            _tasks: usize,
            inputs: &[*const f32],
            output: *mut f32,
            _scratch: *mut f32,
        ) {
            assert!(self.len != 13, "a kernel with a bug");
            // SAFETY: the contract of `PreparedOp::run`, with `task < len`.
            unsafe { *output.add(task) = *inputs[0].add(task) + 1.0 };
        }
    }

    fn program(len: usize) -> Program {
        let mut program = Program::new(4 * len + SLACK);
        program.push(Box::new(AddOne { len }), &[0], len).unwrap();
        for _ in 0..50 {
            program.push(Box::new(AddOne { len }), &[len], len).unwrap();
            program
                .push(Box::new(AddOne { len }), &[len], 2 * len)
                .unwrap();
            program
                .push(Box::new(AddOne { len }), &[2 * len], len)
                .unwrap();
        }
        program
    }

    #[test]
    fn threads_share_calls_in_order() {
        for threads in [1, 2, 3, 8] {
            let program = program(100);
            let threads = Threads::new(threads).unwrap();
            let mut memory = Memory::new(&program, &threads);
            for round in 1..=20 {
                program.run(&mut memory, &threads, None);
                assert!(
                    memory.values()[100..200].iter().all(|&v| v == 151.0),
                    "round {round}"
                );
            }
        }
    }

    #[test]
    fn times_are_kept_for_each_call() {
        let program = program(10);
        let threads = Threads::new(2).unwrap();
        let mut memory = Memory::new(&program, &threads);
        let mut times = vec![Duration::ZERO; 151];
        program.run(&mut memory, &threads, Some(&mut times));
        assert!(times.iter().all(|t| !t.is_zero()));
    }

    #[test]
    fn calls_that_would_be_unsound_are_refused() {
        let mut program = Program::new(100 + SLACK);
        let op = || Box::new(AddOne { len: 40 });
        assert!(matches!(
            program.push(op(), &[61], 0),
            Err(ProgramError::Bounds { .. })
        ));
        assert!(matches!(
            program.push(op(), &[0], usize::MAX),
            Err(ProgramError::Bounds { .. })
        ));
        assert!(matches!(
            program.push(op(), &[0], 39),
            Err(ProgramError::Overlap { .. })
        ));
        assert!(matches!(
            program.push(op(), &[39], 0),
            Err(ProgramError::Overlap { .. })
        ));
        assert!(matches!(
            program.push(op(), &[0, 40], 0),
            Err(ProgramError::Arity { .. })
        ));
        assert_eq!(program.push(op(), &[40], 40), Ok(()));
        assert_eq!(program.push(op(), &[0], 40), Ok(()));
    }

    /// Writes all of its scratch, and copies what it found there to its output.
    struct Scratchy {
        scratch: usize,
    }

    // SAFETY: `run` writes `scratch` floats of scratch and one float of the output.
    unsafe impl PreparedOp for Scratchy {
        fn kernel_name(&self) -> &'static str {
            "scratchy"
        }
        fn input_lens(&self) -> Vec<usize> {
            vec![]
        }
        fn output_len(&self) -> usize {
            1
        }
        fn scratch_len(&self) -> usize {
            self.scratch
        }
        fn tasks(&self, _threads: usize) -> usize {
            1
        }
        unsafe fn run(
            &self,
            _task: usize,
            _tasks: usize,
            _inputs: &[*const f32],
            output: *mut f32,
            scratch: *mut f32,
        ) {
            // SAFETY: the contract of `PreparedOp::run`.
            unsafe {
                for i in 0..self.scratch {
                    scratch.add(i).write(1.0);
                }
                *output = *scratch.add(self.scratch - 1);
            }
        }
    }

    #[test]
    fn memory_of_another_program_is_refused() {
        let program = |scratch| {
            let mut program = Program::new(100 + SLACK);
            program
                .push(Box::new(Scratchy { scratch }), &[], 0)
                .unwrap();
            program
        };
        let (small, large) = (program(8), program(80_000));
        let [one, two] = [1, 2].map(|n| Threads::new(n).unwrap());
        let run = |program: &Program, mut memory: Memory, threads: &Threads| {
            let run = std::panic::AssertUnwindSafe(|| program.run(&mut memory, threads, None));
            std::panic::catch_unwind(run).is_ok()
        };
        assert!(run(&large, Memory::new(&large, &one), &one));
        assert!(!run(&large, Memory::new(&small, &one), &one), "scratch");
        assert!(!run(&large, Memory::new(&large, &one), &two), "threads");
        let other = Program::new(200);
        assert!(!run(&large, Memory::new(&other, &one), &one), "length");
    }

    #[test]
    fn a_panicking_kernel_ends_the_run_instead_of_hanging_it() {
        let mut program = Program::new(100 + SLACK);
        program
            .push(Box::new(AddOne { len: 13 }), &[0], 13)
            .unwrap();
        program
            .push(Box::new(AddOne { len: 14 }), &[0], 20)
            .unwrap();
        for threads in [1, 2] {
            let threads = Threads::new(threads).unwrap();
            let mut memory = Memory::new(&program, &threads);
            let run = std::panic::AssertUnwindSafe(|| program.run(&mut memory, &threads, None));
            assert!(std::panic::catch_unwind(run).is_err());
        }
    }
}
