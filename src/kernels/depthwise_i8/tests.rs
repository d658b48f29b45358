//! Each tier compared with the naive convolution, and that with real numbers.

use crate::hint::Hint;
use proptest::prelude::*;

use super::reference::depthwise_i8_sums;
use super::*;
use crate::kernels::depthwise_f32::{DepthwiseParams, depthwise_f32_reference};
use crate::kernels::harness::{self, Operand};

const FROM: Quantization = Quantization {
    scale: 0.05,
    zero_point: 113,
};

/// A convolution with seeded weights, which include the ends of their range, and outputs that
/// mostly do not saturate.
fn params(window: SlidingWindow, seed: u64) -> DepthwiseI8Params {
    let channels = window.input[2];
    let padded = channels.next_multiple_of(PANEL);
    let [kh, kw] = window.kernel;
    let mut weights = harness::bytes(seed, kh * kw * padded);
    for (i, weight) in weights.iter_mut().enumerate() {
        // -128 is not a symmetric weight, but a file may contain it.
        let least = if seed.is_multiple_of(5) { 128 } else { 129 };
        let w = weight.wrapping_add(128);
        *weight = if w == 128 { least } else { w };
        if i % padded >= channels {
            *weight = 0;
        }
    }
    let bias = |c: usize| -> i32 {
        let sum: i32 = (0..kh * kw)
            .map(|tap| i32::from(weights[tap * padded + c].cast_signed()))
            .sum();
        i32::try_from((c * 937 + usize::try_from(seed).unwrap() * 41) % 4001).unwrap()
            - 2000
            - sum * i32::from(FROM.zero_point)
    };
    let bias: Vec<u8> = (0..padded).flat_map(|c| bias(c).to_le_bytes()).collect();
    let scales: Vec<f32> = (0..padded)
        .map(|c| 0.001 + 0.0001 * (c % 7) as f32)
        .collect();
    DepthwiseI8Params {
        window,
        weights: Tensor::from_bytes(DType::I8, [kh, kw, padded], weights).unwrap(),
        weight_scale: Tensor::from_f32([padded], &scales).unwrap(),
        bias: Tensor::from_bytes(DType::I32, [padded], bias).unwrap(),
        input: FROM,
        input_activation: Activation::Linear,
        output: Quantization {
            scale: 0.004 * ((kh * kw) as f32).sqrt(),
            zero_point: 97,
        },
        activation: Activation::Linear,
        table: None,
    }
}

/// Compares every tier with the reference, and `rows` with the whole.
fn check(params: &DepthwiseI8Params, seed: u64) {
    let input = harness::bytes(seed, params.window.input.iter().product());
    let expected = depthwise_i8_reference(params, &input);
    for isa in Isa::available() {
        let op = DepthwiseI8::prepare(isa, params).unwrap();
        let got = harness::run_bytes(&op, &[Operand::Bytes(&input)], expected.len());
        harness::assert_bytes(&got, &expected, &(isa, params.window));
        let [rows, columns, n] = op.output();
        for (first, count) in [(0, rows), (rows / 2, rows - rows / 2), (rows - 1, 1)] {
            let mut part = vec![0xa5; count * columns * n];
            // SAFETY: the buffers have the sizes that `rows` asks for.
            unsafe { op.rows(first, count, input.as_ptr(), part.as_mut_ptr()) };
            harness::assert_bytes(&part, &got[first * columns * n..][..part.len()], &isa);
        }
    }
}

fn square(k: usize, stride: usize, input: [usize; 3], padding: [usize; 4]) -> SlidingWindow {
    SlidingWindow {
        input,
        kernel: [k; 2],
        strides: [stride; 2],
        dilations: [1; 2],
        padding,
    }
}

#[test]
fn squares_of_every_width_and_channel_count() {
    for k in [3, 5] {
        for stride in [1, 2] {
            for columns in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 21] {
                for channels in [9, 32, 48] {
                    let p = k / 2;
                    let window = square(k, stride, [4, columns, channels], [p; 4]);
                    check(&params(window, 11), columns as u64);
                }
            }
            for channels in 1..=70 {
                let window = square(k, stride, [6, 11, channels], [0, 1, 2, 0]);
                check(&params(window, 12), channels as u64);
            }
        }
    }
}

#[test]
fn activations_before_and_after() {
    let wide = Quantization {
        scale: 0.1,
        zero_point: 128,
    };
    let table = Table::of(Activation::Silu, wide, FROM);
    for (activation, table) in [
        (Activation::Relu, None),
        (Activation::Relu6, None),
        (Activation::Silu, None),
        (Activation::HardSwish, None),
        (Activation::Linear, Some(table)),
    ] {
        for input_activation in [Activation::Linear, Activation::Relu] {
            for k in [2, 3, 5] {
                let mut params = params(square(k, 1, [5, 10, 39], [1; 4]), 5);
                params.activation = activation;
                params.input_activation = input_activation;
                params.table = table;
                check(&params, 6);
            }
        }
    }
}

#[test]
fn the_result_is_that_of_real_numbers() {
    for input_activation in [Activation::Linear, Activation::Relu] {
        for k in [3, 5] {
            let mut params = params(square(k, 1, [7, 9, 20], [1; 4]), 3);
            params.input_activation = input_activation;
            let input = harness::bytes(8, 7 * 9 * 20);
            let real: Vec<f32> = input.iter().map(|&q| FROM.dequantize(q)).collect();
            let scales = params.weight_scale.as_f32().unwrap();
            let each = |i: usize| scales[i % scales.len()];
            let weights: Vec<f32> = (params.weights.bytes().iter().enumerate())
                .map(|(i, &w)| f32::from(w.cast_signed()) * each(i))
                .collect();
            let sum = |c: usize| -> i32 {
                let taps = params.weights.bytes().chunks(scales.len());
                taps.map(|tap| i32::from(tap[c].cast_signed())).sum()
            };
            let bias: Vec<f32> = (params.bias.bytes().chunks(4).enumerate())
                .map(|(c, four)| {
                    let q = i32::from_le_bytes(four.try_into().unwrap());
                    (q + sum(c) * i32::from(FROM.zero_point)) as f32 * FROM.scale * each(c)
                })
                .collect();
            let twin = DepthwiseParams {
                window: params.window,
                multiplier: 1,
                weights: Tensor::from_f32([k, k, scales.len()], &weights).unwrap(),
                bias: Some(Tensor::from_f32([scales.len()], &bias).unwrap()),
                input_activation,
                activation: Activation::Linear,
            };
            let to = params.output;
            let ends = [to.dequantize(0), to.dequantize(255)].map(f64::from);
            let reals = depthwise_f32_reference(&twin, &real);
            let bytes = depthwise_i8_reference(&params, &input);
            let saturated = bytes.iter().filter(|&&q| q == 0 || q == 255).count();
            assert!(
                saturated < bytes.len() / 2,
                "{saturated} of {}",
                bytes.len()
            );
            for (&q, (x, _)) in bytes.iter().zip(reals) {
                let error = (f64::from(to.dequantize(q)) - x.clamp(ends[0], ends[1])).abs();
                assert!(error <= f64::from(to.scale) * 0.51, "{x} became {q}");
            }
        }
    }
}

#[test]
fn extreme_bytes_and_weights_do_not_saturate_inside() {
    // Every product at an end of its range, with every sign: a 16-bit sum of two would lose these.
    for k in [3, 5] {
        for weight in [-128_i8, -127, 127, 1] {
            for byte in [0, 1, 127, 128, 129, 255] {
                let window = square(k, 1, [6, 12, 40], [k / 2; 4]);
                let mut params = params(window, 1);
                let weights = vec![weight.cast_unsigned(); k * k * 48];
                params.weights = Tensor::from_bytes(DType::I8, [k, k, 48], weights).unwrap();
                params.output.scale = 0.05 * 0.0016 * 700.0;
                let input = vec![byte; 6 * 12 * 40];
                let sums = depthwise_i8_sums(&params, &input);
                assert!(sums.iter().any(|&s| s.abs() > 300) || byte < 2);
                let expected = depthwise_i8_reference(&params, &input);
                for isa in Isa::available() {
                    let op = DepthwiseI8::prepare(isa, &params).unwrap();
                    let got = harness::run_bytes(&op, &[Operand::Bytes(&input)], input.len());
                    harness::assert_bytes(&got, &expected, &(isa, k, weight, byte));
                }
            }
        }
    }
}

#[test]
fn parameters_that_do_not_fit_are_refused_by_name() {
    let good = params(square(3, 1, [5, 5, 20], [1; 4]), 1);
    let refused = |params: &DepthwiseI8Params| {
        let error = DepthwiseI8::prepare(Isa::Portable, params).err().unwrap();
        (error.kind(), error.to_string())
    };
    let narrow = Tensor::from_bytes(DType::I8, [3, 3, 20], vec![0; 180]).unwrap();
    assert_eq!(
        refused(&DepthwiseI8Params {
            weights: narrow,
            ..good.clone()
        }),
        (
            "tensor_shape",
            "weights: expected shape [3, 3, 32], got [3, 3, 20]".to_owned()
        )
    );
    let floats = Tensor::from_f32([32], &[0.0; 32]).unwrap();
    assert_eq!(
        refused(&DepthwiseI8Params {
            bias: floats,
            ..good.clone()
        })
        .0,
        "tensor_dtype"
    );
    let most: Vec<u8> = [i32::MIN; 32]
        .iter()
        .flat_map(|b| b.to_le_bytes())
        .collect();
    let negative = Tensor::from_f32([32], &[-1.0; 32]).unwrap();
    for bad in [
        DepthwiseI8Params {
            input_activation: Activation::Silu,
            ..good.clone()
        },
        DepthwiseI8Params {
            activation: Activation::Exp,
            ..good.clone()
        },
        DepthwiseI8Params {
            window: square(9, 1, [5, 5, 20], [1; 4]),
            ..good.clone()
        },
        DepthwiseI8Params {
            bias: Tensor::from_bytes(DType::I32, [32], most).unwrap(),
            ..good.clone()
        },
        DepthwiseI8Params {
            weight_scale: negative,
            ..good.clone()
        },
        DepthwiseI8Params {
            input: Quantization { scale: 0.0, ..FROM },
            ..good.clone()
        },
    ] {
        assert_eq!(refused(&bad).0, "geometry");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_window_equals_the_reference(
        input in [1_usize..12, 1_usize..20, 1_usize..80],
        kernel in [1_usize..6, 1_usize..6],
        strides in [1_usize..4, 1_usize..4],
        dilations in [1_usize..4, 1_usize..4],
        padding in [0_usize..6, 0_usize..6, 0_usize..6, 0_usize..6],
        seed in 0_u64..1000,
    ) {
        let window = SlidingWindow { input, kernel, strides, dilations, padding };
        prop_assume!(window.output().is_ok());
        check(&params(window, seed), seed);
    }

    #[test]
    fn any_square_equals_the_reference(
        input in [1_usize..9, 1_usize..24, 1_usize..100],
        k in 1_usize..3,
        stride in 1_usize..3,
        padding in [0_usize..5, 0_usize..5, 0_usize..5, 0_usize..5],
        seed in 0_u64..1000,
    ) {
        let window = square(2 * k + 1, stride, input, padding);
        prop_assume!(window.output().is_ok());
        check(&params(window, seed), seed);
    }
}
