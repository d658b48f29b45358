//! Shared by the tests of row kernels: numbers, guarded runs, comparison.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::PreparedOp;

/// Floats before and after a buffer that must not be touched.
const GUARD: usize = 64;

/// Whether an emulated CPU, some hundred times slower, runs the tests; `scripts/test-avx512.sh`
/// sets this.
pub(super) fn is_emulated() -> bool {
    std::env::var_os("DERMAL_TEST_EMULATED").is_some()
}

/// `len` numbers of -4 to 4, the same for the same seed.
pub(super) fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-4.0..4.0)).collect()
}

/// A buffer between guard zones of NaN, at an address without any alignment for vectors.
struct Guarded {
    memory: Vec<f32>,
    len: usize,
}

/// The NaN of guard zones and of memory not yet written.
const POISON: u32 = 0x7fc0_dead;

impl Guarded {
    fn new(len: usize) -> Self {
        Self {
            memory: vec![f32::from_bits(POISON); len + 2 * GUARD + 1],
            len,
        }
    }

    fn with(values: &[f32]) -> Self {
        let mut guarded = Self::new(values.len());
        guarded.memory[GUARD + 1..][..values.len()].copy_from_slice(values);
        guarded
    }

    fn values(&self) -> &[f32] {
        &self.memory[GUARD + 1..][..self.len]
    }

    fn pointer(&mut self) -> *mut f32 {
        self.memory[GUARD + 1..].as_mut_ptr()
    }

    fn assert_intact(&self, name: &str) {
        let outside = self.memory[..=GUARD]
            .iter()
            .chain(&self.memory[GUARD + 1 + self.len..]);
        for v in outside {
            assert_eq!(v.to_bits(), POISON, "{name} wrote outside its memory");
        }
    }
}

/// Runs `op` as one task, then in several splits in shuffled order, then in place if it can.
/// Demands intact guard zones and inputs, a completely written output, and the same bits every
/// time.
pub(super) fn run(op: &dyn PreparedOp, inputs: &[&[f32]]) -> Vec<f32> {
    let name = op.kernel_name();
    let lens: Vec<_> = inputs.iter().map(|input| input.len()).collect();
    assert_eq!(op.input_lens(), lens, "{name}: inputs");
    let mut splits: Vec<usize> = [1, 2, 3, 8].map(|threads| op.tasks(threads)).to_vec();
    assert_eq!(splits[0], 1, "{name}: one thread, one task");
    // Small test shapes would choose one task; the contract holds for any number.
    splits.extend([2, 3, 5, 17]);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut first: Option<Vec<f32>> = None;
    for tasks in splits {
        for in_place in [false, true] {
            if in_place && !op.in_place() {
                continue;
            }
            let mut guarded: Vec<_> = inputs.iter().map(|input| Guarded::with(input)).collect();
            let pointers: Vec<_> = guarded.iter_mut().map(Guarded::pointer).collect();
            let mut output = Guarded::new(op.output_len());
            let to = if in_place {
                pointers[0]
            } else {
                output.pointer()
            };
            let constant: Vec<_> = pointers.iter().map(|p| p.cast_const()).collect();
            let mut order: Vec<_> = (0..tasks).collect();
            order.shuffle(&mut rng);
            for task in order {
                let mut scratch = Guarded::new(op.scratch_len());
                // SAFETY: the buffers have the lengths that the op needs; one thread.
                unsafe { op.run(task, tasks, &constant, to, scratch.pointer()) };
                scratch.assert_intact(name);
            }
            output.assert_intact(name);
            for (i, (after, before)) in guarded.iter().zip(inputs).enumerate() {
                after.assert_intact(name);
                if !(in_place && i == 0) {
                    assert_bits(after.values(), before);
                }
            }
            let got = if in_place {
                guarded[0].values()
            } else {
                output.values()
            };
            assert!(
                in_place || got.iter().all(|v| v.to_bits() != POISON),
                "{name}: an output element was not written with {tasks} tasks"
            );
            match &first {
                Some(first) => assert_bits(got, first),
                None => first = Some(got.to_vec()),
            }
        }
    }
    first.unwrap_or_default()
}

/// `len` bytes, the same for the same seed, with as many 0 and 255 as real values have.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut byte = || rng.random_range(-40_i32..296).clamp(0, 255);
    (0..len).map(|_| byte().try_into().unwrap()).collect()
}

/// A value that an operation on bytes reads.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
}

impl Operand<'_> {
    /// Its words; the rest of the last one is filled with `filler`.
    fn words(self, filler: u8) -> Vec<f32> {
        match self {
            Self::Floats(floats) => floats.to_vec(),
            Self::Bytes(bytes) => {
                let mut filled = bytes.to_vec();
                filled.resize(bytes.len().next_multiple_of(4), filler);
                let word = |four: &[u8]| f32::from_ne_bytes(four.try_into().unwrap());
                filled.chunks_exact(4).map(word).collect()
            }
        }
    }
}

/// Like [`run`] for operations on bytes. Returns the first `len` bytes of the output. They must not
/// depend on the bytes in the output before, nor on those after the inputs' last elements.
pub(super) fn run_bytes(op: &dyn PreparedOp, inputs: &[Operand], len: usize) -> Vec<u8> {
    let name = op.kernel_name();
    assert_eq!(op.output_len(), len.div_ceil(4), "{name}: output");
    let mut splits: Vec<usize> = [1, 2, 3, 8].map(|threads| op.tasks(threads)).to_vec();
    assert_eq!(splits[0], 1, "{name}: one thread, one task");
    splits.extend([1, 2, 3, 5, 17]);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut first: Option<Vec<u8>> = None;
    for (round, tasks) in splits.into_iter().enumerate() {
        let filler = if round % 2 == 0 { 0 } else { 0xff };
        for in_place in [false, true] {
            if in_place && !op.in_place() {
                continue;
            }
            let words: Vec<_> = inputs.iter().map(|input| input.words(filler)).collect();
            let lens: Vec<_> = words.iter().map(Vec::len).collect();
            assert_eq!(op.input_lens(), lens, "{name}: inputs");
            let mut guarded: Vec<_> = words.iter().map(|words| Guarded::with(words)).collect();
            let pointers: Vec<_> = guarded.iter_mut().map(Guarded::pointer).collect();
            let filled = vec![f32::from_ne_bytes([filler; 4]); op.output_len()];
            let mut output = Guarded::with(&filled);
            let to = if in_place {
                pointers[0]
            } else {
                output.pointer()
            };
            let constant: Vec<_> = pointers.iter().map(|p| p.cast_const()).collect();
            let mut order: Vec<_> = (0..tasks).collect();
            order.shuffle(&mut rng);
            for task in order {
                let mut scratch = Guarded::new(op.scratch_len());
                // SAFETY: the buffers have the lengths that the op needs; one thread.
                unsafe { op.run(task, tasks, &constant, to, scratch.pointer()) };
                scratch.assert_intact(name);
            }
            output.assert_intact(name);
            for (i, (after, before)) in guarded.iter().zip(&words).enumerate() {
                after.assert_intact(name);
                if !(in_place && i == 0) {
                    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
                    assert!(after.values().iter().zip(before).all(same), "{name}: input");
                }
            }
            let written = if in_place { &guarded[0] } else { &output };
            let mut got: Vec<u8> = written
                .values()
                .iter()
                .flat_map(|v| v.to_ne_bytes())
                .collect();
            got.truncate(len);
            match &first {
                Some(first) => assert!(got == *first, "{name}: {tasks} tasks differ from one"),
                None => first = Some(got),
            }
        }
    }
    first.unwrap_or_default()
}

/// Demands equal bytes and names the first that differs.
pub(super) fn assert_bytes(got: &[u8], expected: &[u8], what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), expected.len(), "{what:?}");
    let differs = (0..got.len()).find(|&i| got[i] != expected[i]);
    if let Some(i) = differs {
        panic!("{what:?}: byte {i} is {}, not {}", got[i], expected[i]);
    }
}

/// Demands equal bits (any NaN equals any NaN).
pub(super) fn assert_bits(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let same = g.to_bits() == e.to_bits() || (g.is_nan() && e.is_nan());
        assert!(same, "element {i}: {g:e}, not {e:e}");
    }
}

/// Demands `|got - expected| <= tolerance` for each element.
pub(super) fn assert_close(got: &[f32], expected: &[f64], tolerance: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(g) - e).abs();
        assert!(
            error <= tolerance(i),
            "element {i}: {g:e}, not {e:e}: off by {error:e}, allowed {:e}",
            tolerance(i)
        );
    }
}
