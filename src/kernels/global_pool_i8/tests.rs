//! Each tier compared with naive pooling, and that with real numbers.

use super::*;
use crate::hint::Hint;
use crate::kernels::global_pool_f32::global_pool_f32_reference;
use crate::kernels::harness::{self, Operand};

const FROM: Quantization = Quantization {
    scale: 0.05,
    zero_point: 100,
};
const TO: Quantization = Quantization {
    scale: 0.011,
    zero_point: 90,
};

fn params(shape: [usize; 3]) -> GlobalPoolI8Params {
    GlobalPoolI8Params {
        pooling: Pooling::Average,
        shape,
        input: FROM,
        output: Output::F32,
    }
}

#[test]
fn every_shape_equals_the_reference_and_the_real_result() {
    let mut shapes: Vec<[usize; 3]> = (1..=70).map(|c| [3, 5, c]).collect();
    shapes.extend([[1, 1, 40], [1, 7, 129], [10, 10, 200], [61, 67, 20]]);
    for shape in shapes {
        let input = harness::bytes(shape[2] as u64, shape.iter().product());
        let real: Vec<f32> = input.iter().map(|&q| FROM.dequantize(q)).collect();
        for pooling in [Pooling::Max, Pooling::Average] {
            let reals = global_pool_f32_reference(pooling, shape, &real);
            for output in [Output::F32, Output::U8(FROM), Output::U8(TO)] {
                let params = GlobalPoolI8Params {
                    pooling,
                    output,
                    ..params(shape)
                };
                let expected = global_pool_i8_reference(&params, &input);
                for (i, &x) in reals.iter().enumerate() {
                    let (value, tolerance) = match output {
                        // A rounding of the multiplier, one of the product.
                        Output::F32 => {
                            let bytes = expected[4 * i..][..4].try_into().unwrap();
                            (f32::from_ne_bytes(bytes), 1e-5 * x.abs().max(1.0))
                        }
                        Output::U8(to) => (to.dequantize(expected[i]), f64::from(to.scale) * 0.501),
                    };
                    let x = match output {
                        Output::F32 => x,
                        Output::U8(to) => {
                            x.clamp(to.dequantize(0).into(), to.dequantize(255).into())
                        }
                    };
                    assert!((f64::from(value) - x).abs() <= tolerance, "{params:?}");
                }
                for isa in Isa::available() {
                    let op = GlobalPoolI8::prepare(isa, &params).unwrap();
                    let got = harness::run_bytes(&op, &[Operand::Bytes(&input)], expected.len());
                    harness::assert_bytes(&got, &expected, &(isa, params));
                }
            }
        }
    }
}

#[test]
fn impossible_poolings_are_refused() {
    let refused = |params: &GlobalPoolI8Params| {
        let error = GlobalPoolI8::prepare(Isa::Portable, params).unwrap_err();
        assert_eq!(error.kind(), "geometry");
    };
    for shape in [[0, 4, 4], [usize::MAX, 2, 2], [4096, 4096, 1]] {
        refused(&params(shape));
    }
    let broken = Quantization { scale: -1.0, ..TO };
    refused(&GlobalPoolI8Params {
        input: broken,
        ..params([2, 2, 2])
    });
    refused(&GlobalPoolI8Params {
        output: Output::U8(broken),
        ..params([2, 2, 2])
    });
}
