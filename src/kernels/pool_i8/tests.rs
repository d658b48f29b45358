//! Each tier compared with naive pooling, and averages with real numbers.

use crate::hint::Hint;
use proptest::prelude::*;

use super::*;
use crate::kernels::harness::{self, Operand};
use crate::kernels::pool_f32::pool_f32_reference;

const FROM: Quantization = Quantization {
    scale: 0.05,
    zero_point: 100,
};
const TO: Quantization = Quantization {
    scale: 0.04,
    zero_point: 90,
};

fn check(params: &PoolI8Params, seed: u64) {
    let input = harness::bytes(seed, params.window.input.iter().product());
    let expected = pool_i8_reference(params, &input);
    let real: Vec<f32> = input.iter().map(|&q| params.input.dequantize(q)).collect();
    let to = params.output;
    let ends = [to.dequantize(0), to.dequantize(255)].map(f64::from);
    let reals = pool_f32_reference(params.pooling, &params.window, &real);
    for (&q, x) in expected.iter().zip(reals) {
        let error = (f64::from(to.dequantize(q)) - x.clamp(ends[0], ends[1])).abs();
        assert!(
            error <= f64::from(to.scale) * 0.501,
            "{params:?}: {x} became {q}"
        );
    }
    for isa in Isa::available() {
        let op = PoolI8::prepare(isa, params).unwrap();
        let got = harness::run_bytes(&op, &[Operand::Bytes(&input)], expected.len());
        harness::assert_bytes(&got, &expected, &(isa, params));
    }
}

fn params(pooling: Pooling, window: SlidingWindow) -> PoolI8Params {
    PoolI8Params {
        pooling,
        window,
        input: FROM,
        output: FROM,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn any_window_equals_the_reference(
        input in [1_usize..12, 1_usize..12, 1_usize..80],
        kernel in [1_usize..5, 1_usize..5],
        strides in [1_usize..4, 1_usize..4],
        dilations in [1_usize..3, 1_usize..3],
        padding in [0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4],
        seed in 0_u64..1000,
    ) {
        let window = SlidingWindow { input, kernel, strides, dilations, padding };
        let fits = PoolI8::prepare(Isa::Portable, &params(Pooling::Max, window)).is_ok();
        prop_assume!(fits);
        for pooling in [Pooling::Max, Pooling::Average] {
            for output in [FROM, TO] {
                check(&PoolI8Params { output, ..params(pooling, window) }, seed);
            }
        }
    }
}

const SMALL: SlidingWindow = SlidingWindow {
    input: [5, 5, 33],
    kernel: [3, 3],
    strides: [2, 2],
    dilations: [1, 1],
    padding: [1, 1, 1, 1],
};

#[test]
fn every_channel_count_is_pooled() {
    for channels in 1..=100 {
        let window = SlidingWindow {
            input: [4, 5, channels],
            ..SMALL
        };
        for pooling in [Pooling::Max, Pooling::Average] {
            check(&params(pooling, window), 1);
        }
    }
}

#[test]
fn an_average_of_equal_bytes_is_that_byte() {
    for isa in Isa::available() {
        for byte in [0, 99, 100, 101, 255] {
            let op = PoolI8::prepare(isa, &params(Pooling::Average, SMALL)).unwrap();
            let input = vec![byte; 5 * 5 * 33];
            let got = harness::run_bytes(&op, &[Operand::Bytes(&input)], 3 * 3 * 33);
            assert!(got.iter().all(|&q| q == byte), "{isa}: {byte}");
        }
    }
}

#[test]
fn impossible_poolings_are_refused() {
    let good = params(Pooling::Average, SMALL);
    let broken = Quantization {
        scale: f32::INFINITY,
        zero_point: 0,
    };
    for bad in [
        PoolI8Params {
            window: SlidingWindow {
                padding: [3, 0, 0, 0],
                ..SMALL
            },
            ..good
        },
        PoolI8Params {
            window: SlidingWindow {
                input: [4096, 4096, 1],
                kernel: [4096, 4096],
                padding: [0; 4],
                ..SMALL
            },
            ..good
        },
        PoolI8Params {
            input: broken,
            ..good
        },
        PoolI8Params {
            output: broken,
            ..good
        },
    ] {
        let error = PoolI8::prepare(Isa::Portable, &bad).unwrap_err();
        assert_eq!(error.kind(), "geometry");
    }
}
