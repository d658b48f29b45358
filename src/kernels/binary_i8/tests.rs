//! Each tier compared with the naive operation, and that with real numbers.

use crate::hint::Hint;
use proptest::prelude::*;

use super::*;
use crate::kernels::harness::{self, Operand};

const ALL: [Arithmetic; 5] = [
    Arithmetic::Add,
    Arithmetic::Sub,
    Arithmetic::Mul,
    Arithmetic::Max,
    Arithmetic::Min,
];

fn map(scale: f32, zero_point: u8) -> Quantization {
    Quantization { scale, zero_point }
}

fn params(arithmetic: Arithmetic, a: &[usize], b: &[usize]) -> BinaryI8Params {
    BinaryI8Params {
        arithmetic,
        a: Shape::new(a),
        b: Shape::new(b),
        a_quantization: map(0.021, 131),
        b_quantization: map(0.013, 90),
        output: map(0.027, 115),
        activation: Activation::Linear,
    }
}

/// Every tier equals the reference, and the reference is within half a step (and f32's rounding) of
/// the real result.
fn check(params: &BinaryI8Params) {
    let a = harness::bytes(1, params.a.len());
    let b = harness::bytes(2, params.b.len());
    let expected = binary_i8_reference(params, &a, &b);
    let real = |bytes: &[u8], map: Quantization| -> Vec<f32> {
        bytes.iter().map(|&q| map.dequantize(q)).collect()
    };
    let floats = crate::kernels::elementwise_f32::binary_f32_reference(
        params.arithmetic,
        (&params.a, &real(&a, params.a_quantization)),
        (&params.b, &real(&b, params.b_quantization)),
    );
    let to = params.output;
    let (least, most) = (to.dequantize(0), to.dequantize(255));
    for (&q, x) in expected.iter().zip(floats) {
        #[expect(clippy::cast_possible_truncation, reason = "the slack is allowed for")]
        let x = params.activation.apply(x as f32).clamp(least, most);
        let error = (to.dequantize(q) - x).abs();
        // Relu6's bound is a whole step, too.
        assert!(error <= to.scale * 0.501, "{params:?}: {x} became {q}");
    }
    for isa in Isa::available() {
        let op = BinaryI8::prepare(isa, params).unwrap();
        let operands = [Operand::Bytes(&a), Operand::Bytes(&b)];
        let got = harness::run_bytes(&op, &operands, expected.len());
        harness::assert_bytes(&got, &expected, &(isa, params));
    }
}

#[test]
fn every_operation_activation_and_length() {
    for arithmetic in ALL {
        for n in [1, 7, 8, 9, 15, 16, 17, 40, 1000] {
            for activation in [Activation::Linear, Activation::Relu, Activation::Relu6] {
                check(&BinaryI8Params {
                    activation,
                    ..params(arithmetic, &[n], &[n])
                });
            }
        }
    }
}

#[test]
fn gates_and_scalars_broadcast() {
    for arithmetic in [Arithmetic::Mul, Arithmetic::Sub] {
        for c in [1, 3, 8, 16, 37, 130] {
            let image = [5, 6, c];
            for other in [
                &[1, 1, c][..],
                &[c],
                &[5, 6, 1],
                &[5, 1, c],
                &[1, 6, 1],
                &[],
            ] {
                check(&params(arithmetic, &image, other));
                check(&params(arithmetic, other, &image));
            }
        }
    }
}

#[test]
fn results_saturate_and_ties_go_to_even() {
    let one = map(1.0, 10);
    let base = BinaryI8Params {
        a_quantization: one,
        b_quantization: one,
        output: map(2.0, 10),
        ..params(Arithmetic::Add, &[4], &[4])
    };
    // Sums -20, 1, 3 and 490 in steps of 2.
    for isa in Isa::available() {
        let op = BinaryI8::prepare(isa, &base).unwrap();
        let operands = [
            Operand::Bytes(&[0, 10, 12, 255]),
            Operand::Bytes(&[0, 11, 11, 255]),
        ];
        assert_eq!(harness::run_bytes(&op, &operands, 4), [0, 10, 12, 255]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_pair_of_shapes_and_maps_equals_the_reference(
        dims in proptest::collection::vec(1_usize..6, 1..4),
        ones in proptest::collection::vec(any::<(bool, bool)>(), 4),
        scales in [0.001_f32..3.0, 0.001_f32..3.0],
        zeros in any::<[u8; 3]>(),
        arithmetic in 0_usize..5,
    ) {
        let shape = |pick: fn(&(bool, bool)) -> bool| -> Vec<usize> {
            dims.iter().zip(&ones).map(|(&d, one)| if pick(one) { 1 } else { d }).collect()
        };
        // As large as the operands, so that the assertions about real numbers are above f32's
        // noise.
        let scale = scales[0].max(scales[1]).max(255.0 * scales[0] * scales[1] / 50.0);
        check(&BinaryI8Params {
            a_quantization: map(scales[0], zeros[0]),
            b_quantization: map(scales[1], zeros[1]),
            output: map(scale, zeros[2]),
            ..params(ALL[arithmetic], &shape(|one| one.0), &shape(|one| one.1))
        });
    }
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let good = params(Arithmetic::Add, &[4, 3], &[3]);
    for bad in [
        BinaryI8Params {
            arithmetic: Arithmetic::Div,
            ..good.clone()
        },
        BinaryI8Params {
            activation: Activation::Silu,
            ..good.clone()
        },
        BinaryI8Params {
            b: Shape::new(&[4]),
            ..good.clone()
        },
        BinaryI8Params {
            a_quantization: map(f32::NAN, 0),
            ..good.clone()
        },
        BinaryI8Params {
            a_quantization: map(1e30, 0),
            output: map(1e-30, 0),
            ..good.clone()
        },
    ] {
        let error = BinaryI8::prepare(Isa::Portable, &bad).unwrap_err();
        assert_eq!(error.kind(), "geometry", "{bad:?}");
    }
}
