//! Whether integers are faster than floats on this CPU, measured before anything is converted.

use std::time::Instant;

use crate::activation::Activation;
use crate::kernels::conv_f32::{ConvF32, ConvParams};
use crate::kernels::conv_i8::{ConvI8, ConvI8Output, ConvI8Params};
use crate::kernels::{Isa, KernelError, Memory, Program, SLACK, SlidingWindow, Threads};
use crate::quantization::Quantization;
use crate::tensor::{AlignedF32, DType, PANEL, Tensor, TensorError};

/// A pointwise convolution like most of those in a classifier: 14 x 14 pixels, 256 channels.
const SIDE: usize = 14;
const CHANNELS: usize = 256;

/// Runs of each, in turn.
const RUNS: usize = 9;

/// How many times as fast as in f32 a typical matrix product runs in INT8 on one thread of this
/// CPU: the ratio of medians of a few milliseconds of work. 1 if it cannot be measured.
#[must_use]
pub fn speed_ratio(isa: Isa) -> f64 {
    measure(isa).unwrap_or(1.0)
}

fn measure(isa: Isa) -> Option<f64> {
    let window = SlidingWindow {
        input: [SIDE, SIDE, CHANNELS],
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        padding: [0; 4],
    };
    let len = SIDE * SIDE * CHANNELS;
    let mut programs = Vec::new();
    for op in [float(isa, window).ok()?, integer(isa, window).ok()?] {
        let mut program = Program::new(2 * len + SLACK);
        program.push(op, &[0], len).ok()?;
        programs.push(program);
    }
    let threads = Threads::new(1).ok()?;
    let mut memories: Vec<Memory> = programs
        .iter()
        .map(|program| Memory::new(program, &threads))
        .collect();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for ((program, memory), times) in programs.iter().zip(&mut memories).zip(&mut times) {
            let started = Instant::now();
            program.run(memory, &threads, None);
            times.push(started.elapsed().as_secs_f64());
        }
    }
    let [float, integer] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[RUNS / 2]
    });
    (integer > 0.0).then(|| float / integer)
}

#[derive(Debug, thiserror::Error)]
enum SpeedError {
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

type Op = Box<dyn crate::kernels::PreparedOp>;

fn float(isa: Isa, window: SlidingWindow) -> Result<Op, SpeedError> {
    let weights = AlignedF32::zeroed(CHANNELS * CHANNELS);
    let params = ConvParams {
        window,
        groups: 1,
        filters: CHANNELS,
        weights: Tensor::from_aligned([CHANNELS / PANEL, CHANNELS, PANEL], weights)?,
        scale: None,
        bias: None,
        activation: Activation::Relu,
        residual: None,
    };
    Ok(Box::new(ConvF32::prepare(isa, &params)?))
}

fn integer(isa: Isa, window: SlidingWindow) -> Result<Op, SpeedError> {
    let map = Quantization {
        scale: 1.0,
        zero_point: 0,
    };
    let panels = CHANNELS / PANEL;
    let params = ConvI8Params {
        window,
        groups: 1,
        filters: CHANNELS,
        input: map,
        weights: Tensor::from_bytes(
            DType::I8,
            [panels, CHANNELS / 4, PANEL, 4],
            vec![0; CHANNELS * CHANNELS],
        )?,
        weight_scale: Tensor::from_f32([CHANNELS], &[1.0; CHANNELS])?,
        bias: Tensor::from_bytes(DType::I32, [CHANNELS], vec![0; 4 * CHANNELS])?,
        output: ConvI8Output::U8 {
            output: map,
            activation: Activation::Relu,
            residual: None,
            table: None,
        },
    };
    Ok(Box::new(ConvI8::prepare(isa, &params)?))
}
