//! The inverse DCT in accurate integers, like libjpeg's default (`JDCT_ISLOW`).
//!
//! Loeffler, Ligtenberg and Moschytz's algorithm in two passes: columns, which keep two fraction
//! bits, then rows. Constants have 13 fraction bits. Sums wrap, so that damaged coefficients
//! cannot panic; those of a photo stay far from the limits.

use std::num::Wrapping;

type Lane = Wrapping<i32>;

const CONSTANT_BITS: usize = 13;
const PASS_BITS: usize = 2;

/// A constant of the algorithm with 13 fraction bits, rounded.
#[expect(
    clippy::cast_possible_truncation,
    reason = "constants below 4 with 13 fraction bits"
)]
const fn fixed(x: f64) -> Lane {
    Wrapping((x * 8192.0 + 0.5) as i32)
}

const F_0_298: Lane = fixed(0.298_631_336);
const F_0_390: Lane = fixed(0.390_180_644);
const F_0_541: Lane = fixed(0.541_196_100);
const F_0_765: Lane = fixed(0.765_366_865);
const F_0_899: Lane = fixed(0.899_976_223);
const F_1_175: Lane = fixed(1.175_875_602);
const F_1_501: Lane = fixed(1.501_321_110);
const F_1_847: Lane = fixed(1.847_759_065);
const F_1_961: Lane = fixed(1.961_570_560);
const F_2_053: Lane = fixed(2.053_119_869);
const F_2_562: Lane = fixed(2.562_915_447);
const F_3_072: Lane = fixed(3.072_711_026);

/// One 1-D transform; results carry `CONSTANT_BITS` fraction bits more than the input.
#[inline]
fn transform(x: [Lane; 8]) -> [Lane; 8] {
    let z1 = (x[2] + x[6]) * F_0_541;
    let even2 = z1 - x[6] * F_1_847;
    let even3 = z1 + x[2] * F_0_765;
    let even0 = (x[0] + x[4]) << CONSTANT_BITS;
    let even1 = (x[0] - x[4]) << CONSTANT_BITS;
    let a = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    let z5 = (x[7] + x[3] + x[5] + x[1]) * F_1_175;
    let z1 = (x[7] + x[1]) * F_0_899;
    let z2 = (x[5] + x[3]) * F_2_562;
    let z3 = z5 - (x[7] + x[3]) * F_1_961;
    let z4 = z5 - (x[5] + x[1]) * F_0_390;
    let b = [
        x[1] * F_1_501 - z1 + z4,
        x[3] * F_3_072 - z2 + z3,
        x[5] * F_2_053 - z2 + z4,
        x[7] * F_0_298 - z1 + z3,
    ];
    [
        a[0] + b[0],
        a[1] + b[1],
        a[2] + b[2],
        a[3] + b[3],
        a[3] - b[3],
        a[2] - b[2],
        a[1] - b[1],
        a[0] - b[0],
    ]
}

/// Rounds away `n` fraction bits.
#[inline]
fn descale(x: Lane, n: usize) -> Lane {
    (x + (Wrapping(1) << (n - 1))) >> n
}

#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn sample(x: Lane) -> u8 {
    (x + Wrapping(128)).0.clamp(0, 255) as u8
}

/// Writes the 8x8 samples of a block of quantized coefficients (natural order) to `output`, whose
/// rows are `stride` apart. `last` is the last index in zigzag order that may not be zero.
pub(super) fn block(
    coefficients: &[i16; 64],
    quantization: &[u16; 64],
    last: usize,
    output: &mut [u8],
    stride: usize,
) {
    if last == 0 {
        // For a block with only a DC the passes below give this value: both are exact up to the
        // last rounding.
        let dc = Wrapping(i32::from(coefficients[0])) * Wrapping(i32::from(quantization[0]));
        let value = sample(descale(dc << PASS_BITS, PASS_BITS + 3));
        for row in output.chunks_mut(stride).take(8) {
            row[..8].fill(value);
        }
        return;
    }
    // The first ten coefficients of the zigzag lie in the upper left 4x4, and most blocks have no
    // others.
    if last < 10 {
        corner::<4>(coefficients, quantization, output, stride);
    } else {
        corner::<8>(coefficients, quantization, output, stride);
    }
}

/// The transform of a block whose coefficients outside the upper left `N` x `N` are zero: the same
/// arithmetic without the zeros.
#[inline]
fn corner<const N: usize>(
    coefficients: &[i16; 64],
    quantization: &[u16; 64],
    output: &mut [u8],
    stride: usize,
) {
    let value = |row: usize, column: usize| {
        let at = row * 8 + column;
        Wrapping(i32::from(coefficients[at])) * Wrapping(i32::from(quantization[at]))
    };
    let mut rows = [[Wrapping(0); 8]; 8];
    for column in 0..N {
        let mut x = [Wrapping(0); 8];
        for (row, x) in x.iter_mut().enumerate().take(N) {
            *x = value(row, column);
        }
        for (row, value) in rows.iter_mut().zip(transform(x)) {
            row[column] = descale(value, CONSTANT_BITS - PASS_BITS);
        }
    }
    for (row, out) in rows.iter().zip(output.chunks_mut(stride)) {
        let mut x = [Wrapping(0); 8];
        x[..N].copy_from_slice(&row[..N]);
        for (out, value) in out.iter_mut().zip(transform(x)) {
            *out = sample(descale(value, CONSTANT_BITS + PASS_BITS + 3));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::ZIGZAG;
    use super::*;
    use std::f64::consts::PI;

    /// The definition, in floats.
    fn reference(coefficients: &[i16; 64], quantization: &[u16; 64]) -> [f64; 64] {
        let scale = |k: usize| if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
        std::array::from_fn(|i| {
            let (y, x) = ((i / 8) as f64, (i % 8) as f64);
            let mut sum = 0.0;
            for k in 0..64 {
                let (v, u) = (k / 8, k % 8);
                let c = f64::from(coefficients[k]) * f64::from(quantization[k]);
                sum += scale(u)
                    * scale(v)
                    * c
                    * ((2.0 * x + 1.0) * u as f64 * PI / 16.0).cos()
                    * ((2.0 * y + 1.0) * v as f64 * PI / 16.0).cos();
            }
            (sum / 4.0 + 128.0).clamp(0.0, 255.0)
        })
    }

    #[test]
    fn samples_are_those_of_the_definition() {
        let quantization: [u16; 64] = std::array::from_fn(|i| [3, 5, 9, 14, 19][i % 5]);
        let mut state = 7_u32;
        for round in 0..200 {
            let mut coefficients = [0_i16; 64];
            for (i, c) in (0_i16..).zip(&mut coefficients) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let spread = 1 + 60 / (1 + i);
                *c = i16::try_from(state >> 20).unwrap() % spread;
            }
            let expected = reference(&coefficients, &quantization);
            let mut got = [0; 64];
            block(&coefficients, &quantization, 63, &mut got, 8);
            for (g, e) in got.iter().zip(expected) {
                assert!(
                    (f64::from(*g) - e).abs() < 0.6,
                    "round {round}: {g} and {e}"
                );
            }
        }
    }

    #[test]
    fn a_lone_dc_is_the_same_by_both_ways() {
        let quantization = [8; 64];
        for dc in -300..300 {
            let mut coefficients = [0; 64];
            coefficients[0] = dc;
            let (mut fast, mut full) = ([0; 64], [1; 64]);
            block(&coefficients, &quantization, 0, &mut fast, 8);
            block(&coefficients, &quantization, 63, &mut full, 8);
            assert_eq!(fast, full, "dc {dc}");
        }
    }

    #[test]
    fn a_corner_of_coefficients_is_the_same_by_both_ways() {
        let quantization = [11; 64];
        let mut coefficients = [0; 64];
        for (k, &natural) in ZIGZAG[..10].iter().enumerate() {
            coefficients[usize::from(natural)] = [40, -31, 22, 7, -9, 3, 1, -1, 5, 2][k];
            let (mut small, mut full) = ([0; 64], [1; 64]);
            block(&coefficients, &quantization, k.max(1), &mut small, 8);
            block(&coefficients, &quantization, 63, &mut full, 8);
            assert_eq!(small, full, "up to {k}");
        }
    }

    #[test]
    fn hostile_coefficients_do_not_panic() {
        let mut output = [0; 64];
        block(&[i16::MIN; 64], &[u16::MAX; 64], 63, &mut output, 8);
        block(&[i16::MAX; 64], &[u16::MAX; 64], 63, &mut output, 8);
    }
}
