//! Every tier compared with the reference, bit for bit.

use crate::hint::Hint;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::reference::Stored;
use super::*;
use crate::kernels::byte_words;
use crate::kernels::harness;
use crate::tensor::{DType, PANEL};

/// A random convolution of a geometry; the seed decides everything else.
fn random(seed: u64, window: SlidingWindow, groups: usize, filters: usize) -> ConvI8Params {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [kh, kw] = window.kernel;
    let k = kh * kw * window.input[2] / groups;
    let (n, padded) = (filters / groups, filters.next_multiple_of(PANEL));
    let panels = groups * n.div_ceil(PANEL);
    let mut weights = vec![0_u8; panels * k.div_ceil(4) * 64];
    for group in 0..groups {
        for (i, t) in (0..n).flat_map(|i| (0..k).map(move |t| (i, t))) {
            let panel = group * n.div_ceil(PANEL) + i / PANEL;
            let at = ((panel * k.div_ceil(4) + t / 4) * PANEL + i % PANEL) * 4 + t % 4;
            weights[at] = rng.random_range(-127_i8..=127).cast_unsigned();
        }
    }
    let scales: Vec<f32> = (0..padded).map(|_| rng.random_range(1e-3..1e-2)).collect();
    let bias: Vec<u8> = (0..padded)
        .flat_map(|_| rng.random_range(-20_000_i32..20_000).to_le_bytes())
        .collect();
    let quantization = |rng: &mut ChaCha8Rng, scale: f32| Quantization {
        scale: scale * rng.random_range(0.5..2.0),
        zero_point: rng.random(),
    };
    let clamps = [Activation::Linear, Activation::Relu, Activation::Relu6];
    let curves = [Activation::Silu, Activation::HardSwish, Activation::Tanh];
    // The sums' spread is near `74 * 74 * sqrt(k)` times the weights' scale.
    let spread = 5e3 * (k as f32).sqrt() * 5e-3 / 255.0 * 6.0;
    let kind = rng.random_range(0..5);
    let input = quantization(&mut rng, 1.0);
    let output = quantization(&mut rng, spread);
    let output = if kind == 0 {
        ConvI8Output::F32 {
            activation: [Activation::Linear, Activation::Silu][rng.random_range(0..2)],
        }
    } else {
        ConvI8Output::U8 {
            output,
            activation: if kind == 4 { curves } else { clamps }[rng.random_range(0..3)],
            residual: (kind == 2).then(|| {
                (
                    quantization(&mut rng, spread),
                    clamps[rng.random_range(0..3)],
                )
            }),
            table: (kind == 3).then(|| Box::new(Table::new(std::array::from_fn(|_| rng.random())))),
        }
    };
    ConvI8Params {
        window,
        groups,
        filters,
        input,
        weights: Tensor::from_bytes(DType::I8, [panels, k.div_ceil(4), PANEL, 4], weights).unwrap(),
        weight_scale: Tensor::from_f32([padded], &scales).unwrap(),
        bias: Tensor::from_bytes(DType::I32, [padded], bias).unwrap(),
        output,
    }
}

/// Bytes in words; the last one is filled up.
fn words(bytes: &[u8]) -> Vec<f32> {
    let mut filled = bytes.to_vec();
    filled.resize(byte_words(bytes.len()) * 4, 0xa5);
    let word = |b: &[u8]| f32::from_bits(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    filled.chunks_exact(4).map(word).collect()
}

fn check(seed: u64, window: SlidingWindow, groups: usize, filters: usize) {
    let params = random(seed, window, groups, filters);
    let mut rng = ChaCha8Rng::seed_from_u64(seed + 1);
    let mut bytes = |len: usize| -> Vec<u8> { (0..len).map(|_| rng.random()).collect() };
    let mut inputs = vec![bytes(window.input.iter().product())];
    let [h, w] = window.output().unwrap();
    if let ConvI8Output::U8 {
        residual: Some(_), ..
    } = params.output
    {
        inputs.push(bytes(h * w * filters));
    }
    let borrowed: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let expected = conv_i8_reference(&params, &borrowed).unwrap();
    let inputs: Vec<Vec<f32>> = inputs.iter().map(|i| words(i)).collect();
    let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    for isa in Isa::available() {
        let op = ConvI8::prepare(isa, &params).unwrap();
        let got = harness::run(&op, &borrowed);
        let what = format!(
            "{} seed {seed} {window:?} {groups} {filters}",
            op.kernel_name()
        );
        match &expected {
            Stored::F32(expected) => {
                for (i, (g, e)) in got.iter().zip(expected).enumerate() {
                    assert_eq!(
                        g.to_bits(),
                        e.to_bits(),
                        "{what}: element {i}: {g}, not {e}"
                    );
                }
            }
            Stored::U8(expected) => {
                let got: Vec<u8> = got.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
                let differ = got.iter().zip(expected).position(|(g, e)| g != e);
                assert_eq!(differ, None, "{what}: {:?}", params.output);
                let middle = expected.iter().filter(|&&b| b > 0 && b < 255).count();
                assert!(
                    middle * 20 > expected.len() || expected.len() < 40 || params_hide(&params),
                    "{what}: a test of saturated bytes shows little"
                );
            }
        }
    }
}

/// Whether a ReLU or a table may make most bytes equal.
fn params_hide(params: &ConvI8Params) -> bool {
    !matches!(
        &params.output,
        ConvI8Output::U8 {
            activation: Activation::Linear,
            residual: None,
            table: None,
            ..
        }
    )
}

fn pointwise(pixels: [usize; 2], channels: usize) -> SlidingWindow {
    SlidingWindow {
        input: [pixels[0], pixels[1], channels],
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        padding: [0; 4],
    }
}

#[test]
fn pointwise_equals_the_reference_at_the_edges_of_tiles_and_panels() {
    let mut seed = 0;
    for rows in [1, 2, 3, 4, 7, 8, 9, 12, 13, 25] {
        for (k, n) in [(1, 1), (3, 16), (4, 17), (8, 40), (31, 100), (64, 48)] {
            seed += 2;
            check(seed, pointwise([rows, 1], k), 1, n);
        }
    }
}

#[test]
fn windows_equal_the_reference() {
    let base = pointwise([9, 7], 5);
    let windows = [
        SlidingWindow {
            kernel: [3, 3],
            padding: [1; 4],
            ..base
        },
        SlidingWindow {
            kernel: [3, 3],
            strides: [2, 2],
            padding: [0, 0, 1, 1],
            ..base
        },
        SlidingWindow {
            kernel: [2, 3],
            dilations: [2, 2],
            padding: [1, 2, 0, 2],
            ..base
        },
        SlidingWindow {
            strides: [2, 1],
            ..base
        },
        SlidingWindow {
            kernel: [5, 1],
            padding: [2, 0, 2, 0],
            ..base
        },
    ];
    for (i, window) in windows.into_iter().enumerate() {
        for (groups, channels, filters) in [(1, 3, 20), (1, 8, 33), (2, 6, 36), (3, 9, 6)] {
            let mut window = window;
            window.input[2] = channels;
            for kind in 0..3 {
                check(
                    1000 + 40 * i as u64 + 8 * groups as u64 + 2 * kind,
                    window,
                    groups,
                    filters,
                );
            }
        }
    }
}

#[test]
fn more_weights_than_a_chunk_equal_the_reference() {
    if harness::is_emulated() {
        return;
    }
    check(77, pointwise([14, 1], 1100), 1, 400);
}

#[test]
fn what_cannot_be_exact_is_refused() {
    let mut params = random(5, pointwise([2, 2], 8), 1, 16);
    let prepare = |params: &ConvI8Params| ConvI8::prepare(Isa::Portable, params).map(|_| ());
    params.input.scale = 0.0;
    assert_eq!(prepare(&params).unwrap_err().kind(), "geometry");
    params.input.scale = 1.0;
    params.output = ConvI8Output::U8 {
        output: params.input,
        activation: Activation::Softsign,
        residual: None,
        table: None,
    };
    assert!(prepare(&params).unwrap_err().to_string().contains("table"));
    params.output = ConvI8Output::F32 {
        activation: Activation::Linear,
    };
    prepare(&params).unwrap();
    let bias: Vec<u8> = (0..16).flat_map(|_| i32::MAX.to_le_bytes()).collect();
    params.bias = Tensor::from_bytes(DType::I32, [16], bias).unwrap();
    assert!(prepare(&params).unwrap_err().to_string().contains("2^30"));
    params.window.input[2] = 40_000;
    assert!(
        prepare(&params)
            .unwrap_err()
            .to_string()
            .contains("32 bits")
    );
}
