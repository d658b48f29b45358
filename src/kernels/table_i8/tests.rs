//! Each tier compared with the table itself.

use super::*;
use crate::kernels::harness::{self, Operand};

fn map(scale: f32, zero_point: u8) -> Quantization {
    Quantization { scale, zero_point }
}

fn low_byte(i: usize) -> u8 {
    i.to_le_bytes()[0]
}

#[test]
fn every_byte_of_every_length_is_looked_up() {
    // No two rows or columns of the table are equal.
    let table = Table::new(std::array::from_fn(|i| low_byte(i * i / 7 + 13 * i)));
    for isa in Isa::available() {
        for len in (0..=70).chain([255, 256, 257, 1000]) {
            let before: Vec<u8> = (0..len).map(|i| low_byte(i * 37 + len)).collect();
            let mut row = before.clone();
            row.push(0xa5);
            apply(isa, &table, &mut row[..len]);
            let expected: Vec<u8> = before
                .iter()
                .map(|&q| table.values()[usize::from(q)])
                .collect();
            harness::assert_bytes(&row[..len], &expected, &isa);
            assert_eq!(row[len], 0xa5, "{isa}");
        }
    }
}

#[test]
fn a_table_is_the_activation_between_two_maps() {
    let (from, to) = (map(0.05, 120), map(0.03, 10));
    for activation in [
        Activation::Linear,
        Activation::Relu6,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Gelu,
    ] {
        let q = harness::bytes(3, 1000);
        let expected: Vec<u8> = q
            .iter()
            .map(|&q| to.quantize(activation.apply(from.dequantize(q))))
            .collect();
        for isa in Isa::available() {
            let op = TableI8::prepare(isa, activation, q.len(), from, to).unwrap();
            let got = harness::run_bytes(&op, &[Operand::Bytes(&q)], q.len());
            harness::assert_bytes(&got, &expected, &(isa, activation));
        }
    }
    // By hand: silu(0.05 * (q - 120)) at q = 140 is 1 / (1 + e^-1) = 0.7311, 24.4 steps of 0.03.
    assert_eq!(Table::of(Activation::Silu, from, to).values()[140], 34);
}

#[test]
fn the_same_map_is_the_identity() {
    for map in [map(0.1, 0), map(0.013, 200), map(3.0, 255)] {
        assert!(Table::of(Activation::Linear, map, map).is_identity());
        assert!(!Table::of(Activation::Linear, map, super::tests::map(0.2, 1)).is_identity());
    }
    assert!(
        TableI8::prepare(
            Isa::Portable,
            Activation::Linear,
            4,
            map(0.1, 0),
            map(-1.0, 0)
        )
        .is_err()
    );
    assert!(
        TableI8::prepare(
            Isa::Portable,
            Activation::Linear,
            0,
            map(0.1, 0),
            map(1.0, 0)
        )
        .is_err()
    );
}
