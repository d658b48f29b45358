//! Each tier compared with the naive convolution.

use crate::hint::Hint;
use proptest::prelude::*;

use super::*;
use crate::kernels::harness;

/// A depthwise convolution with seeded weights.
fn params(window: SlidingWindow, multiplier: usize, seed: u64) -> DepthwiseParams {
    let n = window.input[2] * multiplier;
    let padded = n.next_multiple_of(PANEL);
    let [kh, kw] = window.kernel;
    let mut weights = harness::numbers(seed, kh * kw * padded);
    for tap in weights.chunks_mut(padded) {
        tap[n..].fill(0.0);
    }
    let mut bias = harness::numbers(seed + 1, padded);
    bias[n..].fill(0.0);
    DepthwiseParams {
        window,
        multiplier,
        weights: Tensor::from_f32([kh, kw, padded], &weights).unwrap(),
        bias: Some(Tensor::from_f32([padded], &bias).unwrap()),
        input_activation: Activation::Linear,
        activation: Activation::Linear,
    }
}

/// Compares every tier with the reference, and `rows` with the whole.
fn check(params: &DepthwiseParams, seed: u64) {
    let input = harness::numbers(seed, params.window.input.iter().product());
    let expected = depthwise_f32_reference(params, &input);
    // One rounding for each term (two if multiply-add rounds twice), each of a partial sum that is
    // at most the sum of the terms' magnitudes. Then the activation: its slope is at most 1.1, and
    // its own error is a few units in the last place.
    let terms = params.window.kernel.iter().product::<usize>() + 1;
    let values: Vec<f64> = expected
        .iter()
        .map(|&(sum, _)| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the rounding is allowed for"
            )]
            let sum = sum as f32;
            f64::from(params.activation.apply(sum))
        })
        .collect();
    let epsilon = 2.0_f64.powi(-24);
    let tolerance =
        |i: usize| epsilon * (2.2 * (terms + 1) as f64 * expected[i].1 + 8.0 * values[i].abs());
    for isa in Isa::available() {
        let op = DepthwiseF32::prepare(isa, params).unwrap();
        let got = harness::run(&op, &[&input]);
        harness::assert_close(&got, &values, tolerance);
        let [rows, columns, n] = op.output();
        for (first, count) in [(0, rows), (rows / 2, rows - rows / 2), (rows - 1, 1)] {
            let mut part = vec![f32::NAN; count * columns * n];
            // SAFETY: the buffers have the sizes that `rows` asks for.
            unsafe { op.rows(first, count, input.as_ptr(), part.as_mut_ptr()) };
            harness::assert_bits(&part, &got[first * columns * n..][..part.len()]);
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
                let p = k / 2;
                let window = square(k, stride, [4, columns, 9], [p; 4]);
                check(&params(window, 1, 11), columns as u64);
            }
            for channels in 1..=40 {
                let window = square(k, stride, [6, 11, channels], [0, 1, 2, 0]);
                check(&params(window, 1, 12), channels as u64);
            }
        }
    }
}

#[test]
fn activations_before_and_after() {
    for activation in [
        Activation::Relu,
        Activation::Relu6,
        Activation::Silu,
        Activation::HardSwish,
    ] {
        for input_activation in [Activation::Linear, Activation::Relu] {
            for (k, multiplier) in [(3, 1), (5, 1), (2, 1), (3, 3)] {
                let mut params = params(square(k, 1, [5, 10, 19], [1; 4]), multiplier, 5);
                params.activation = activation;
                params.input_activation = input_activation;
                check(&params, 6);
            }
        }
    }
}

#[test]
fn nan_outside_the_image_is_never_read_and_inside_never_lost() {
    for isa in Isa::available() {
        let params = params(square(3, 1, [6, 9, 20], [1; 4]), 1, 1);
        let op = DepthwiseF32::prepare(isa, &params).unwrap();
        let mut input = harness::numbers(2, 6 * 9 * 20);
        // The harness puts NaN around the input: a read outside would show.
        assert!(harness::run(&op, &[&input]).iter().all(|v| v.is_finite()));
        input[(3 * 9 + 4) * 20 + 7] = f32::NAN;
        let got = harness::run(&op, &[&input]);
        let hit: Vec<_> = (0..got.len()).filter(|&i| got[i].is_nan()).collect();
        let around: Vec<_> = (2..5)
            .flat_map(|y| (3..6).map(move |x| (y * 9 + x) * 20 + 7))
            .collect();
        assert_eq!(hit, around, "{isa}");
    }
}

#[test]
fn parameters_that_do_not_fit_are_refused_by_name() {
    let good = params(square(3, 1, [5, 5, 20], [1; 4]), 1, 1);
    let refused = |params: &DepthwiseParams| {
        let error = DepthwiseF32::prepare(Isa::Portable, params).err().unwrap();
        (error.kind(), error.to_string())
    };
    let narrow = Tensor::from_f32([3, 3, 20], &[0.0; 180]).unwrap();
    assert_eq!(
        refused(&DepthwiseParams {
            weights: narrow,
            ..good.clone()
        }),
        (
            "tensor_shape",
            "weights: expected shape [3, 3, 32], got [3, 3, 20]".to_owned()
        )
    );
    let bytes = Tensor::from_bytes(crate::tensor::DType::I8, [32], vec![0; 32]).unwrap();
    assert_eq!(
        refused(&DepthwiseParams {
            bias: Some(bytes),
            ..good.clone()
        })
        .0,
        "tensor_dtype"
    );
    for bad in [
        DepthwiseParams {
            input_activation: Activation::Silu,
            ..good.clone()
        },
        DepthwiseParams {
            multiplier: 0,
            ..good.clone()
        },
        DepthwiseParams {
            multiplier: usize::MAX,
            ..good.clone()
        },
        DepthwiseParams {
            window: square(9, 1, [5, 5, 20], [1; 4]),
            ..good.clone()
        },
    ] {
        assert_eq!(refused(&bad).0, "geometry");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn any_window_equals_the_reference(
        input in [1_usize..12, 1_usize..20, 1_usize..40],
        kernel in [1_usize..6, 1_usize..6],
        strides in [1_usize..4, 1_usize..4],
        dilations in [1_usize..4, 1_usize..4],
        padding in [0_usize..6, 0_usize..6, 0_usize..6, 0_usize..6],
        multiplier in 1_usize..4,
        seed in 0_u64..1000,
    ) {
        let window = SlidingWindow { input, kernel, strides, dilations, padding };
        prop_assume!(window.output().is_ok());
        let mut params = params(window, multiplier, seed);
        if seed % 3 == 0 {
            params.bias = None;
        }
        check(&params, seed);
    }
}
