//! Times of the row kernels (everything except matrix products) at the shapes of real models.
//!
//! `cargo bench --bench rows [PART OF A NAME]`. One thread; each row is the fastest of many runs,
//! since other programs can only slow a run down. GB/s counts every input and output byte once.
//! The checksum proves that tiers did equal work.

#![expect(clippy::print_stdout, reason = "a bench's product is its table")]

use std::time::{Duration, Instant};

use dermal::activation::Activation;
use dermal::kernels::activation_f32::{self, ActivationF32};
use dermal::kernels::binary_i8::{BinaryI8, BinaryI8Params};
use dermal::kernels::depthwise_f32::{DepthwiseF32, DepthwiseParams};
use dermal::kernels::depthwise_i8::{DepthwiseI8, DepthwiseI8Params};
use dermal::kernels::elementwise_f32::{Arithmetic, BinaryF32, BinaryParams};
use dermal::kernels::table_i8::TableI8;
use dermal::kernels::{Isa, KernelError, PreparedOp, SlidingWindow};
use dermal::quantization::Quantization;
use dermal::tensor::{AlignedF32, DType, Shape, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let filter = filter.unwrap_or_default();
    println!(
        "{:<44} {:<32} {:>10} {:>8} {:>14}",
        "case", "kernel", "us", "GB/s", "checksum"
    );
    for isa in Isa::available() {
        for (name, op) in cases(isa)? {
            if name.contains(&filter) || op.kernel_name().contains(&filter) {
                time(&name, op.as_ref());
            }
        }
        if "apply".contains(&filter) {
            apply(isa);
        }
        for (name, f32_twin, i8_op) in twins(isa)? {
            if name.contains(&filter) || i8_op.kernel_name().contains(&filter) {
                compare(&name, [f32_twin.as_ref(), i8_op.as_ref()]);
            }
        }
    }
    Ok(())
}

/// Numbers of -2 to 2.
fn numbers(len: usize) -> AlignedF32 {
    let mut buffer = AlignedF32::zeroed(len);
    let mut state = 1_u32;
    for value in buffer.as_mut_slice() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = (state >> 8) as f32 / 4_194_304.0 - 2.0;
    }
    buffer
}

fn fastest(mut run: impl FnMut()) -> Duration {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    best
}

fn time(name: &str, op: &dyn PreparedOp) {
    let inputs: Vec<_> = op.input_lens().into_iter().map(numbers).collect();
    let pointers: Vec<_> = inputs.iter().map(|i| i.as_slice().as_ptr()).collect();
    let mut output = AlignedF32::zeroed(op.output_len());
    let mut scratch = AlignedF32::zeroed(op.scratch_len());
    let to = output.as_mut_slice().as_mut_ptr();
    let scratch = scratch.as_mut_slice().as_mut_ptr();
    // SAFETY: the buffers have the lengths that the operation asks for.
    let best = fastest(|| unsafe { op.run(0, 1, &pointers, to, scratch) });
    let floats = op.input_lens().iter().sum::<usize>() + op.output_len();
    let sum: f64 = output.as_slice().iter().map(|&v| f64::from(v)).sum();
    println!(
        "{name:<44} {:<32} {:>10.1} {:>8.1} {sum:>14.4}",
        op.kernel_name(),
        best.as_secs_f64() * 1e6,
        floats as f64 * 4e-9 / best.as_secs_f64(),
    );
}

/// Rows in the first-level cache, as convolutions call it.
fn apply(isa: Isa) {
    for activation in [
        Activation::Relu,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::HardSwish,
        Activation::Tanh,
        Activation::Elu { alpha: 1.0 },
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Exp,
        Activation::Mish,
    ] {
        for len in [16, 64, 512] {
            let mut row = numbers(len);
            let best = fastest(|| {
                for _ in 0..64 {
                    activation_f32::apply(isa, activation, row.as_mut_slice());
                    std::hint::black_box(row.as_mut_slice());
                }
            });
            println!(
                "apply {:<38} {:<32} {:>10.4} us a row, {:.3} ns an element",
                format!("{activation:?}"),
                format!("{len} floats, {isa}"),
                best.as_secs_f64() * 1e6 / 64.0,
                best.as_secs_f64() * 1e9 / 64.0 / len as f64,
            );
        }
    }
}

/// A kernel on f32 and the same kernel on bytes, in turns, and how many times as fast the second
/// is: the quotient of the fastest runs, and the median of each pair's.
fn compare(name: &str, ops: [&dyn PreparedOp; 2]) {
    let mut buffers = ops.map(|op| {
        let inputs: Vec<_> = op.input_lens().into_iter().map(numbers).collect();
        let [output, scratch] = [op.output_len(), op.scratch_len()].map(AlignedF32::zeroed);
        (inputs, output, scratch)
    });
    let mut best = [Duration::MAX; 2];
    let mut ratios = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        let mut times = [Duration::ZERO; 2];
        for (i, (inputs, output, scratch)) in buffers.iter_mut().enumerate() {
            let pointers: Vec<_> = inputs.iter().map(|v| v.as_slice().as_ptr()).collect();
            let to = output.as_mut_slice().as_mut_ptr();
            let scratch = scratch.as_mut_slice().as_mut_ptr();
            let start = Instant::now();
            // SAFETY: the buffers have the lengths that the operation asks for.
            unsafe { ops[i].run(0, 1, &pointers, to, scratch) };
            times[i] = start.elapsed();
            best[i] = best[i].min(times[i]);
        }
        ratios.push(times[0].as_secs_f64() / times[1].as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "{name:<44} {:<32} {:>10.1} us, f32 {:>10.1} us: {:.2} times as fast, median {:.2}",
        ops[1].kernel_name(),
        best[1].as_secs_f64() * 1e6,
        best[0].as_secs_f64() * 1e6,
        best[0].as_secs_f64() / best[1].as_secs_f64(),
        ratios[ratios.len() / 2],
    );
}

type Twins = (String, Box<dyn PreparedOp>, Box<dyn PreparedOp>);

fn twins(isa: Isa) -> Result<Vec<Twins>, KernelError> {
    let map = Quantization {
        scale: 0.02,
        zero_point: 120,
    };
    let mut twins: Vec<Twins> = Vec::new();
    for (size, c, k, stride) in [
        (16, 728, 3, 1),
        (125, 128, 3, 1),
        (31, 728, 3, 1),
        (19, 960, 3, 2),
        (28, 240, 5, 1),
        (14, 672, 5, 2),
    ] {
        let padded = c_padded(c);
        let window = window([size, size, c], k, stride);
        let params = DepthwiseParams {
            window,
            multiplier: 1,
            weights: tensor(&[k, k, padded], numbers(k * k * padded))?,
            bias: None,
            input_activation: Activation::Linear,
            activation: Activation::Linear,
        };
        let bytes = |dtype, dims: &[usize], byte: u8| {
            let len = dims.iter().product::<usize>() * if dtype == DType::I8 { 1 } else { 4 };
            Tensor::from_bytes(dtype, Shape::new(dims), vec![byte; len]).map_err(|e| {
                KernelError::Geometry {
                    what: "tensor",
                    got: e.to_string(),
                    rule: "the bench fills its shapes",
                }
            })
        };
        let twin = DepthwiseI8Params {
            window,
            weights: bytes(DType::I8, &[k, k, padded], 77)?,
            weight_scale: tensor(&[padded], AlignedF32::zeroed(padded))?,
            bias: bytes(DType::I32, &[padded], 0)?,
            input: map,
            input_activation: Activation::Linear,
            output: map,
            activation: Activation::Linear,
            table: None,
        };
        twins.push((
            format!("twins depthwise {size}x{size}x{c} {k}x{k} s{stride}"),
            Box::new(DepthwiseF32::prepare(isa, &params)?),
            Box::new(DepthwiseI8::prepare(isa, &twin)?),
        ));
    }
    let len = 19 * 19 * 960;
    twins.push((
        format!("twins silu of {len}"),
        Box::new(ActivationF32::prepare(isa, Activation::Silu, len)?),
        Box::new(TableI8::prepare(isa, Activation::Silu, len, map, map)?),
    ));
    for (arithmetic, b) in [
        (Arithmetic::Add, &[16, 16, 728][..]),
        (Arithmetic::Mul, &[728]),
    ] {
        let [a, b] = [&[16, 16, 728][..], b].map(Shape::new);
        let params = BinaryParams {
            arithmetic,
            a: a.clone(),
            b: b.clone(),
            activation: Activation::Linear,
        };
        let twin = BinaryI8Params {
            arithmetic,
            a: a.clone(),
            b: b.clone(),
            a_quantization: map,
            b_quantization: map,
            output: map,
            activation: Activation::Linear,
        };
        twins.push((
            format!("twins {arithmetic:?} {a} {b}"),
            Box::new(BinaryF32::prepare(isa, &params)?),
            Box::new(BinaryI8::prepare(isa, &twin)?),
        ));
    }
    Ok(twins)
}

type Case = (String, Box<dyn PreparedOp>);

fn window(input: [usize; 3], k: usize, stride: usize) -> SlidingWindow {
    // Keras' `same`.
    let pad = |len: usize| {
        let total = ((len.div_ceil(stride) - 1) * stride + k).saturating_sub(len);
        [total / 2, total - total / 2]
    };
    let ([top, bottom], [left, right]) = (pad(input[0]), pad(input[1]));
    SlidingWindow {
        input,
        kernel: [k, k],
        strides: [stride, stride],
        dilations: [1, 1],
        padding: [top, left, bottom, right],
    }
}

fn cases(isa: Isa) -> Result<Vec<Case>, KernelError> {
    let mut cases: Vec<Case> = Vec::new();
    for (model, size, c, k, stride, activation) in [
        ("xception", 123, 64, 3, 1, Activation::Linear),
        ("xception", 123, 128, 3, 1, Activation::Linear),
        ("xception", 62, 128, 3, 1, Activation::Linear),
        ("xception", 62, 256, 3, 1, Activation::Linear),
        ("xception", 31, 256, 3, 1, Activation::Linear),
        ("xception", 31, 728, 3, 1, Activation::Linear),
        ("xception", 16, 728, 3, 1, Activation::Linear),
        ("xception", 16, 1024, 3, 1, Activation::Linear),
        ("xception", 8, 1024, 3, 1, Activation::Linear),
        ("xception", 8, 1536, 3, 1, Activation::Linear),
        ("efficientnetv2s", 38, 256, 3, 2, Activation::Silu),
        ("efficientnetv2s", 19, 512, 3, 1, Activation::Silu),
        ("efficientnetv2s", 19, 960, 3, 1, Activation::Silu),
        ("efficientnetv2s", 19, 960, 3, 2, Activation::Silu),
        ("efficientnetv2s", 10, 1536, 3, 1, Activation::Silu),
        ("efficientnetb0", 28, 240, 5, 1, Activation::Silu),
        ("efficientnetb0", 14, 672, 5, 1, Activation::Silu),
        ("efficientnetb0", 14, 672, 5, 2, Activation::Silu),
        ("convnext", 56, 96, 7, 1, Activation::Linear),
    ] {
        for input_activation in [Activation::Linear, Activation::Relu] {
            if input_activation != Activation::Linear && model != "xception" {
                continue;
            }
            let padded = c_padded(c);
            let weights = numbers(k * k * padded);
            let params = DepthwiseParams {
                window: window([size, size, c], k, stride),
                multiplier: 1,
                weights: tensor(&[k, k, padded], weights)?,
                bias: None,
                input_activation,
                activation,
            };
            let before = if input_activation == Activation::Linear {
                ""
            } else {
                "relu+"
            };
            cases.push((
                format!("{model} {before}depthwise {size}x{size}x{c} s{stride}"),
                Box::new(DepthwiseF32::prepare(isa, &params)?),
            ));
        }
    }
    for (len, activation) in [
        (150 * 150 * 96, Activation::Silu),
        (19 * 19 * 960, Activation::Silu),
        (123 * 123 * 128, Activation::Relu),
    ] {
        cases.push((
            format!("{activation:?} of {len}"),
            Box::new(ActivationF32::prepare(isa, activation, len)?),
        ));
    }
    Ok(cases)
}

fn c_padded(c: usize) -> usize {
    c.next_multiple_of(16)
}

fn tensor(shape: &[usize], values: AlignedF32) -> Result<Tensor, KernelError> {
    Tensor::from_aligned(dermal::tensor::Shape::new(shape), values).map_err(|e| {
        KernelError::Geometry {
            what: "tensor",
            got: e.to_string(),
            rule: "the bench fills its shapes",
        }
    })
}
