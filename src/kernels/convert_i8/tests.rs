//! Each tier against the scalar map.

use super::*;
use crate::hint::Hint;
use crate::kernels::harness::{self, Operand};

const MAPS: [Quantization; 5] = [
    Quantization {
        scale: 0.031,
        zero_point: 128,
    },
    Quantization {
        scale: 0.5,
        zero_point: 0,
    },
    Quantization {
        scale: 2.0,
        zero_point: 255,
    },
    Quantization {
        scale: 1.0 / 255.0,
        zero_point: 7,
    },
    Quantization {
        scale: f32::MIN_POSITIVE,
        zero_point: 3,
    },
];

#[test]
fn quantizing_equals_the_scalar_map() {
    for map in MAPS {
        for len in [1, 7, 8, 9, 16, 17, 63, 64, 65, 1000] {
            let mut x = harness::numbers(len as u64, len);
            // Ties, ends, and numbers outside the range of the map.
            let special = [
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                -0.0,
                map.scale * 0.5,
                map.scale * 1.5,
                map.scale * -0.5,
                map.scale * 2.5,
                f32::MAX,
                f32::MIN,
            ];
            for (x, special) in x.iter_mut().zip(special).skip(len % 3) {
                *x = special;
            }
            let expected: Vec<u8> = x.iter().map(|&x| map.quantize(x)).collect();
            for isa in Isa::available() {
                let op = QuantizeI8::prepare(isa, len, map).unwrap();
                let got = harness::run_bytes(&op, &[Operand::Floats(&x)], len);
                harness::assert_bytes(&got, &expected, &(isa, map));
            }
        }
    }
}

#[test]
fn dequantizing_equals_the_scalar_map_for_every_byte() {
    for map in MAPS {
        for len in [1, 7, 8, 9, 16, 17, 256, 1023] {
            let q: Vec<u8> = (0..len).map(|i| (i % 256).try_into().unwrap()).collect();
            let expected: Vec<u8> = q
                .iter()
                .flat_map(|&q| map.dequantize(q).to_ne_bytes())
                .collect();
            for isa in Isa::available() {
                let op = DequantizeI8::prepare(isa, len, map).unwrap();
                let got = harness::run_bytes(&op, &[Operand::Bytes(&q)], 4 * len);
                harness::assert_bytes(&got, &expected, &(isa, map));
            }
        }
    }
}

#[test]
fn impossible_maps_and_lengths_are_refused() {
    let bad = Quantization {
        scale: 0.0,
        zero_point: 0,
    };
    let isa = Isa::Portable;
    let error = QuantizeI8::prepare(isa, 4, bad).unwrap_err();
    assert_eq!(error.kind(), "geometry");
    assert!(error.to_string().starts_with("output quantization"));
    assert!(DequantizeI8::prepare(isa, 4, bad).is_err());
    assert!(QuantizeI8::prepare(isa, 0, MAPS[0]).is_err());
    assert!(DequantizeI8::prepare(isa, usize::MAX, MAPS[0]).is_err());
}
