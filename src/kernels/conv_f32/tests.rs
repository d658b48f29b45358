//! Every tier compared with the reference, with poisoned memory around everything.

use crate::hint::Hint;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::dense_f32::{DenseF32, DenseParams};
use crate::kernels::gemm_f32::bf16_dot_reference;
use crate::kernels::{PreparedOp, harness};
use crate::panel;
use crate::tensor::{DType, PANEL};

/// Floats of poison before and after every buffer.
const GUARD: usize = 48;

/// A NaN that no computation makes: an element that still has it after a call was not written.
const POISON: u32 = 0x7fc0_dead;

/// Values between guards of poison, deliberately off the alignment that allocators give.
struct Guarded {
    buffer: Vec<f32>,
    len: usize,
}

impl Guarded {
    fn new(values: &[f32]) -> Self {
        let mut buffer = vec![f32::from_bits(POISON); values.len() + 2 * GUARD + 1];
        buffer[GUARD + 1..][..values.len()].copy_from_slice(values);
        Self {
            buffer,
            len: values.len(),
        }
    }

    fn poison(len: usize) -> Self {
        Self::new(&vec![f32::from_bits(POISON); len])
    }

    fn values(&self) -> &[f32] {
        &self.buffer[GUARD + 1..][..self.len]
    }

    fn as_mut_ptr(&mut self) -> *mut f32 {
        self.buffer[GUARD + 1..].as_mut_ptr()
    }

    /// Whether nothing outside the values was written.
    fn intact(&self) -> bool {
        let (before, rest) = self.buffer.split_at(GUARD + 1);
        let after = &rest[self.len..];
        (before.iter().chain(after)).all(|v| v.to_bits() == POISON)
    }
}

/// Runs all tasks, last first, and checks the guards.
fn run(op: &dyn PreparedOp, tasks: usize, inputs: &[&[f32]]) -> Vec<f32> {
    let lens: Vec<_> = inputs.iter().map(|i| i.len()).collect();
    assert_eq!(op.input_lens(), lens);
    let inputs: Vec<_> = inputs.iter().map(|i| Guarded::new(i)).collect();
    let pointers: Vec<_> = inputs.iter().map(|i| i.values().as_ptr()).collect();
    let mut output = Guarded::poison(op.output_len());
    for task in (0..tasks).rev() {
        let mut scratch = Guarded::poison(op.scratch_len());
        // SAFETY: the buffers have the lengths that the operation needs.
        unsafe {
            op.run(
                task,
                tasks,
                &pointers,
                output.as_mut_ptr(),
                scratch.as_mut_ptr(),
            );
        }
        assert!(scratch.intact(), "scratch overflow");
    }
    assert!(output.intact(), "output overflow");
    output.values().to_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Parameters with random weights; `None` if the window does not fit.
fn params(
    rng: &mut ChaCha8Rng,
    window: SlidingWindow,
    groups: usize,
    filters: usize,
    [activation, residual]: [Option<Activation>; 2],
) -> Option<ConvParams> {
    window.output().ok()?;
    let taps: usize = window.kernel.iter().product();
    let (k, n) = (taps * window.input[2] / groups, filters / groups);
    let packed = panel::pack(&random(rng, k * filters), groups, k, n);
    let shape = [groups * n.div_ceil(PANEL), k, PANEL];
    let weights = Tensor::from_aligned(shape, packed).unwrap();
    let bias = rng.random_bool(0.8).then(|| {
        let padded = panel::pad_rows(&random(rng, filters), filters);
        Tensor::from_aligned([filters.next_multiple_of(PANEL)], padded).unwrap()
    });
    Some(ConvParams {
        window,
        groups,
        filters,
        weights,
        scale: None,
        bias,
        activation: activation.unwrap_or_default(),
        residual,
    })
}

/// What weights are stored in.
const STORED: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::I8];

/// The same convolution with its weights rounded to `dtype`.
fn stored(params: &ConvParams, dtype: DType) -> ConvParams {
    let values = params.weights.as_f32().unwrap();
    let bytes: Vec<u8> = match dtype {
        DType::F16 => {
            let halves = values.iter().map(|&v| half::f16::from_f32(v));
            halves.flat_map(half::f16::to_le_bytes).collect()
        }
        DType::BF16 => {
            let halves = values.iter().map(|&v| half::bf16::from_f32(v));
            halves.flat_map(half::bf16::to_le_bytes).collect()
        }
        DType::I8 => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates at the ends of i8"
            )]
            let bytes = values.iter().map(|&v| (v * 100.0) as i8);
            let padded = params.filters.next_multiple_of(PANEL);
            let scale: Vec<f32> = (0..padded).map(|c| 0.01 + 0.001 * (c % 7) as f32).collect();
            return ConvParams {
                weights: Tensor::from_bytes(
                    dtype,
                    params.weights.shape().clone(),
                    bytes.map(i8::cast_unsigned).collect(),
                )
                .unwrap(),
                scale: Some(Tensor::from_f32([padded], &scale).unwrap()),
                ..params.clone()
            };
        }
        _ => return params.clone(),
    };
    ConvParams {
        weights: Tensor::from_bytes(dtype, params.weights.shape().clone(), bytes).unwrap(),
        ..params.clone()
    }
}

/// The same convolution with its weights widened to f32.
fn widened(params: &ConvParams) -> ConvParams {
    let values = super::reference::floats(&params.weights);
    ConvParams {
        weights: Tensor::from_f32(params.weights.shape().clone(), &values).unwrap(),
        ..params.clone()
    }
}

/// Whether a kernel multiplies bfloat16, and therefore rounds its input to it.
fn rounds_inputs(kernel_name: &str) -> bool {
    kernel_name.contains("bf16dot")
}

/// [`check`] with every type of weights.
fn check_all(rng: &mut ChaCha8Rng, params: &ConvParams, label: &str) {
    for dtype in STORED {
        check(rng, &stored(params, dtype), label);
    }
}

/// Checks every tier against the reference, and every split into tasks against one task.
fn check(rng: &mut ChaCha8Rng, params: &ConvParams, label: &str) {
    let g = &params.window;
    let [out_h, out_w] = g.output().unwrap();
    let input = random(rng, g.input.iter().product());
    let residual = random(rng, out_h * out_w * params.filters);
    let mut inputs = vec![input.as_slice()];
    if params.residual.is_some() {
        inputs.push(&residual);
    }
    let exact = conv_f32_reference(params, &inputs).unwrap();
    // Tiers that multiply bfloat16 round their input to it.
    let rounded: Vec<f32> = input
        .iter()
        .map(|&x| half::bf16::from_f32(x).to_f32())
        .collect();
    let mut rounded = vec![rounded.as_slice()];
    rounded.extend(&inputs[1..]);
    let of_rounded = conv_f32_reference(params, &rounded).unwrap();
    let k = g.kernel[0] * g.kernel[1] * g.input[2] / params.groups;
    let is_clamp =
        |a: Activation| matches!(a, Activation::Linear | Activation::Relu | Activation::Relu6);
    // The activation kernels' own error, documented with them.
    let slack = if is_clamp(params.activation) && is_clamp(params.residual.unwrap_or_default()) {
        0.0
    } else {
        4e-6
    };
    for isa in Isa::available() {
        let ops: Vec<Box<dyn PreparedOp>> = {
            let mut ops: Vec<Box<dyn PreparedOp>> =
                vec![Box::new(ConvF32::prepare(isa, params).unwrap())];
            if g.kernel == [1, 1]
                && g.strides == [1, 1]
                && g.padding == [0; 4]
                && params.groups == 1
            {
                let dense = DenseParams {
                    rows: g.input[0] * g.input[1],
                    features: g.input[2],
                    units: params.filters,
                    weights: params.weights.clone(),
                    scale: params.scale.clone(),
                    bias: params.bias.clone(),
                    activation: params.activation,
                    residual: params.residual,
                };
                ops.push(Box::new(DenseF32::prepare(isa, &dense).unwrap()));
            }
            if isa == Isa::Portable && params.weights.dtype() == DType::BF16 {
                let ConvF32(gemm) = ConvF32::prepare(isa, params).unwrap();
                ops.push(Box::new(ConvF32(gemm.on_tier(&bf16_dot_reference::TIER))));
            }
            ops
        };
        for op in ops {
            let name = op.kernel_name();
            let got = run(op.as_ref(), 1, &inputs);
            let expected = if rounds_inputs(name) {
                &of_rounded
            } else {
                &exact
            };
            assert_eq!(got.len(), expected.len());
            for (i, (&got, &(want, magnitude))) in got.iter().zip(expected).enumerate() {
                // A sum of k products and a bias in any order errs by at most k + 1 roundings
                // of the sum of magnitudes (Higham 2002, section 4.2); no activation here is
                // steeper than 1.1; the residual's addition and the result round once each.
                let unit = f64::from(f32::EPSILON) / 2.0;
                let want = f64::from(want);
                let bound = 1.1 * (k + 2) as f64 * unit * magnitude
                    + 4.0 * unit * (want.abs() + 1.0)
                    + slack * want.abs().max(1.0);
                let error = (f64::from(got) - want).abs();
                assert!(
                    error <= bound,
                    "{label}: {name}: element {i}: expected {want}, got {got} \
                     (error {error:e}, bound {bound:e}) for {params:?}"
                );
            }
            for tasks in [2, 3, 5, 8, 24, op.tasks(2), op.tasks(7)] {
                let split = run(op.as_ref(), tasks, &inputs);
                assert!(
                    bits(&split) == bits(&got),
                    "{label}: {name}: {tasks} tasks differ from one for {params:?}"
                );
            }
        }
    }
}

fn pointwise(rows: usize, k: usize) -> SlidingWindow {
    SlidingWindow {
        input: [rows, 1, k],
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        padding: [0; 4],
    }
}

const CLAMPED: [Option<Activation>; 2] = [Some(Activation::Relu), None];

#[test]
fn tiles_of_every_height_and_width_agree_with_the_reference() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // All remainders of 2, 6 and 14 rows, and of 16 and 32 channels around their multiples.
    for rows in 1..=29 {
        for n in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48] {
            let k = [1, 2, 3, 4, 5, 7, 8, 9, 19][rng.random_range(0..9)];
            let residual = rng.random_bool(0.5).then_some(Activation::Relu6);
            let activations = [Some(Activation::Linear), residual];
            let params = params(&mut rng, pointwise(rows, k), 1, n, activations).unwrap();
            check_all(&mut rng, &params, &format!("seed 1, {rows} x {n} x {k}"));
        }
    }
}

#[test]
fn long_reductions_and_several_chunks_agree_with_the_reference() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    // A panel of k = 1500 takes 96 kB, so 130 channels are several chunks.
    for (rows, k, n) in [
        (1, 1500, 130),
        (13, 1500, 130),
        (40, 728, 728),
        (3, 4099, 20),
    ] {
        let params = params(&mut rng, pointwise(rows, k), 1, n, CLAMPED).unwrap();
        check_all(&mut rng, &params, &format!("seed 2, {rows} x {n} x {k}"));
    }
}

#[test]
fn random_windows_agree_with_the_reference() {
    let activations = [
        Activation::Linear,
        Activation::Relu,
        Activation::Relu6,
        Activation::Silu,
        Activation::LeakyRelu { slope: 0.1 },
    ];
    let mut tried = 0;
    // Enough for every path; an emulator would take hours for all of them.
    let last = if harness::is_emulated() { 140 } else { 400 };
    for seed in 100..last {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pick =
            |rng: &mut ChaCha8Rng, choices: &[usize]| choices[rng.random_range(0..choices.len())];
        let pair = |rng: &mut ChaCha8Rng, most: usize| {
            [rng.random_range(1..=most), rng.random_range(1..=most)]
        };
        let groups = pick(&mut rng, &[1, 1, 1, 2, 3]);
        let [h, w] = pair(&mut rng, 9);
        let window = SlidingWindow {
            input: [h, w, groups * pick(&mut rng, &[1, 2, 3, 5, 16, 17])],
            kernel: pair(&mut rng, 4),
            strides: pair(&mut rng, 3),
            dilations: pair(&mut rng, 2),
            padding: std::array::from_fn(|_| rng.random_range(0..=2)),
        };
        let filters = groups * pick(&mut rng, &[1, 7, 8, 16, 17, 24, 33]);
        let choose = |rng: &mut ChaCha8Rng| activations[rng.random_range(0..activations.len())];
        let residual = rng.random_bool(0.4).then(|| choose(&mut rng));
        let activations = [Some(choose(&mut rng)), residual];
        if let Some(params) = params(&mut rng, window, groups, filters, activations) {
            let dtype = STORED[usize::try_from(seed).unwrap() % STORED.len()];
            check(&mut rng, &stored(&params, dtype), &format!("seed {seed}"));
            tried += 1;
        }
    }
    assert!(2 * tried > last - 100, "only {tried} windows fit");
}

#[test]
fn halves_compute_what_their_widened_values_do() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (rows, k, n) in [(1, 37, 40), (5, 37, 8), (23, 64, 40)] {
        let params = params(&mut rng, pointwise(rows, k), 1, n, CLAMPED).unwrap();
        let input = random(&mut rng, rows * k);
        for dtype in [DType::F16, DType::BF16] {
            let narrow = stored(&params, dtype);
            for isa in Isa::available() {
                let [narrow, wide] =
                    [&narrow, &widened(&narrow)].map(|p| ConvF32::prepare(isa, p).unwrap());
                if rounds_inputs(narrow.kernel_name()) {
                    continue;
                }
                let [narrow, wide] = [narrow, wide].map(|op| run(&op, 1, &[&input]));
                assert_eq!(bits(&narrow), bits(&wide), "{isa}, {dtype}");
            }
        }
    }
}

#[test]
fn every_half_is_widened_exactly() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for (dtype, rows) in [
        (DType::F16, 1),
        (DType::F16, 2),
        (DType::BF16, 1),
        (DType::BF16, 2),
    ] {
        let units = usize::from(u16::MAX) + 1;
        let weights = Tensor::from_bytes(dtype, [units / PANEL, 1, PANEL], all.clone()).unwrap();
        let expected = super::reference::floats(&weights);
        let params = DenseParams {
            rows,
            features: 1,
            units,
            weights,
            scale: None,
            bias: None,
            activation: Activation::Linear,
            residual: None,
        };
        for isa in Isa::available() {
            let op = DenseF32::prepare(isa, &params).unwrap();
            let got = run(&op, 1, &[&[1.0; 2][..rows]]);
            for (i, (got, want)) in got.iter().zip(expected.iter().cycle()).enumerate() {
                // Compared as numbers: the sum starts from +0, so that -0 comes out as +0.
                let flushed = want.is_subnormal() && rounds_inputs(op.kernel_name());
                let want = if flushed { 0.0 } else { *want };
                let same = *got == want || (got.is_nan() && want.is_nan());
                assert!(same, "{isa}, {dtype}: {i:#06x} is {want:e}, got {got:e}");
            }
        }
    }
}

#[test]
fn nan_is_not_hidden_by_a_clamp() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let activations = [Some(Activation::Relu6), Some(Activation::Relu)];
    for rows in [1, 7] {
        let params = params(&mut rng, pointwise(rows, 5), 1, 20, activations).unwrap();
        let mut input = random(&mut rng, rows * 5);
        input[rows * 5 - 2] = f32::NAN;
        let residual = random(&mut rng, rows * 20);
        for isa in Isa::available() {
            let op = ConvF32::prepare(isa, &params).unwrap();
            let got = run(&op, 1, &[&input, &residual]);
            let (clean, touched) = got.split_at((rows - 1) * 20);
            assert!(clean.iter().all(|v| v.is_finite()), "{isa}");
            assert!(touched.iter().all(|v| v.is_nan()), "{isa}");
        }
    }
}

#[test]
fn a_large_call_is_split_for_all_threads_and_a_small_one_is_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for isa in Isa::available() {
        let mut tasks = |rows, k, n, threads| {
            let params = params(&mut rng, pointwise(rows, k), 1, n, CLAMPED).unwrap();
            ConvF32::prepare(isa, &params).unwrap().tasks(threads)
        };
        assert_eq!(tasks(256, 728, 728, 1), 1);
        for threads in [2, 3, 4] {
            let got = tasks(256, 728, 728, threads);
            assert!(got >= 3 * threads && got.is_multiple_of(threads), "{got}");
        }
        // One row of tiles can only be split over channels.
        assert!(tasks(2, 2048, 4096, 2) >= 4);
        assert!(tasks(1, 2048, 1000, 2) >= 2);
        assert_eq!(tasks(1, 64, 16, 8), 1);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let good = params(&mut rng, pointwise(4, 8), 1, 20, CLAMPED).unwrap();
    let error = |change: &dyn Fn(&mut ConvParams)| {
        let mut params = good.clone();
        change(&mut params);
        let error = ConvF32::prepare(Isa::Portable, &params).err().unwrap();
        (error.kind(), error.to_string())
    };
    let (kind, text) = error(&|p| p.filters = 40);
    assert_eq!(kind, "tensor_shape");
    assert_eq!(text, "weights: expected shape [3, 8, 16], got [2, 8, 16]");
    let (_, text) = error(&|p| p.bias = Some(Tensor::from_f32([20], &[0.0; 20]).unwrap()));
    assert_eq!(text, "bias: expected shape [32], got [20]");
    let (kind, text) = error(&|p| {
        p.weights = Tensor::from_bytes(DType::I8, [2, 8, 16], vec![0; 2 * 8 * 16]).unwrap();
    });
    assert_eq!(kind, "tensor_dtype");
    assert_eq!(text, "weights: expected f32, got i8");
    for change in [
        &(|p: &mut ConvParams| p.groups = 0) as &dyn Fn(&mut ConvParams),
        &|p| p.groups = 3,
        &|p| p.window.kernel = [5, 1],
        &|p| p.window.kernel = [0, 1],
        &|p| p.window.strides = [0, 1],
        &|p| p.window.dilations = [1, 0],
        &|p| p.window.padding = [usize::MAX, 0, 1, 0],
        &|p| p.window.input = [usize::MAX, 2, 8],
        &|p| p.filters = 0,
        &|p| p.filters = usize::MAX,
    ] {
        assert!(matches!(error(change).0, "geometry" | "tensor_shape"));
    }
}
