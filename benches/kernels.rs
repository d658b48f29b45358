//! Times the matrix kernels with float weights on the shapes of real models: `cargo bench --bench kernels`.
//!
//! Arguments after `--`: `--threads N` (1), `--isa NAME` (the best), `--rounds N` (15), `--weights
//! f32,f16,bf16` (f32; several take turns in each round), and words that select rows by file or
//! shape. Every row prints kernel, shape, threads, ISA, the median rate with its quartiles, the
//! best rate, and a checksum of the output, which is equal on every run and thread count of a tier.
//! A round goes over all rows of a file in turn, as a model would, so that each row finds its
//! weights as cold as in a prediction; a disturbance affects all rows alike.
#![expect(clippy::print_stdout, reason = "a bench prints its rows")]

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dermal::activation::Activation;
use dermal::kernels::conv_f32::{ConvF32, ConvParams};
use dermal::kernels::dense_f32::{DenseF32, DenseParams};
use dermal::kernels::{Isa, PreparedOp, SlidingWindow};
use dermal::tensor::{AlignedF32, DType, PANEL, Tensor};

const FILES: [(&str, &str); 3] = [
    ("xception_254", include_str!("shapes/xception_254.txt")),
    (
        "efficientnetv2s_300",
        include_str!("shapes/efficientnetv2s_300.txt"),
    ),
    ("resnet50_224", include_str!("shapes/resnet50_224.txt")),
];

struct Row {
    line: &'static str,
    op: Box<dyn PreparedOp>,
    macs: f64,
    /// How often the model has this layer.
    count: f64,
    inputs: Vec<AlignedF32>,
    output: AlignedF32,
    seconds: Vec<f64>,
}

struct Options {
    threads: usize,
    isa: Isa,
    rounds: usize,
    weights: Vec<DType>,
    words: Vec<String>,
}

fn main() {
    let options = options();
    for (file, text) in FILES {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter(|line| {
                let shown = format!("{file} {line}");
                options.words.iter().all(|word| shown.contains(word))
            })
            .collect();
        if lines.is_empty() {
            continue;
        }
        let rows_of = |&dtype: &DType| -> Vec<Row> {
            let rows = lines.iter().map(|line| prepare(line, options.isa, dtype));
            rows.collect()
        };
        let mut models: Vec<_> = options.weights.iter().map(rows_of).collect();
        for round in 0..=options.rounds {
            for row in models.iter_mut().flatten() {
                let seconds = time(row, options.threads);
                if round > 0 {
                    row.seconds.push(seconds);
                }
            }
        }
        for (rows, dtype) in models.iter_mut().zip(&options.weights) {
            report(file, rows, *dtype, &options);
        }
    }
}

fn options() -> Options {
    let mut options = Options {
        threads: 1,
        isa: Isa::detect(),
        rounds: 15,
        weights: vec![DType::F32],
        words: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("an option takes a value");
        match arg.as_str() {
            "--threads" => options.threads = value().parse().expect("threads: a number"),
            "--rounds" => options.rounds = value().parse().expect("rounds: a number"),
            "--isa" => options.isa = Isa::by_name(&value()).expect("isa: a tier of this CPU"),
            "--weights" => {
                let names = value();
                options.weights = names.split(',').map(dtype).collect();
            }
            // Cargo passes this to every bench.
            "--bench" => {}
            _ => options.words.push(arg),
        }
    }
    options
}

fn dtype(name: &str) -> DType {
    match name {
        "f32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        _ => panic!("weights: f32, f16 or bf16, not `{name}`"),
    }
}

/// `values` as a tensor of `dtype`.
fn tensor(shape: [usize; 3], values: AlignedF32, dtype: DType) -> Tensor {
    let bytes = |narrow: fn(f32) -> [u8; 2]| values.as_slice().iter().copied().flat_map(narrow);
    let bytes: Vec<u8> = match dtype {
        DType::F16 => bytes(|v| half::f16::from_f32(v).to_le_bytes()).collect(),
        DType::BF16 => bytes(|v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        _ => return Tensor::from_aligned(shape, values).expect("the buffer fills the shape"),
    };
    Tensor::from_bytes(dtype, shape, bytes).expect("the buffer fills the shape")
}

/// Values in -1..1 that look random and are the same on every run.
fn fill(len: usize, seed: u32) -> AlignedF32 {
    let mut buffer = AlignedF32::zeroed(len);
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    for x in buffer.as_mut_slice() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *x = (state >> 8) as f32 / 8_388_608.0 - 1.0;
    }
    buffer
}

fn prepare(line: &'static str, isa: Isa, dtype: DType) -> Row {
    let field = |key: &str| {
        line.split(' ')
            .find_map(|f| f.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("`{line}`: no field `{key}`"))
    };
    let numbers = |key: &str| -> Vec<usize> {
        let parts = field(key).split(['x', ',']);
        parts.map(|n| n.parse().expect("a number")).collect()
    };
    let activation = |name: &str| match name {
        "linear" => Activation::Linear,
        "relu" => Activation::Relu,
        "silu" => Activation::Silu,
        "sigmoid" => Activation::Sigmoid,
        _ => panic!("`{line}`: unknown activation `{name}`"),
    };
    let window = SlidingWindow {
        input: numbers("in").try_into().expect("in=HxWxC"),
        kernel: numbers("kernel").try_into().expect("kernel=HxW"),
        strides: numbers("stride").try_into().expect("stride=HxW"),
        dilations: [1, 1],
        padding: numbers("pad").try_into().expect("pad=T,L,B,R"),
    };
    let groups = numbers("groups")[0];
    let filters = numbers("out")[0];
    let n = filters / groups;
    let k = window.kernel.iter().product::<usize>() * window.input[2] / groups;
    let panels = groups * n.div_ceil(PANEL);
    let weights = tensor([panels, k, PANEL], fill(panels * k * PANEL, 1), dtype);
    let padded = filters.next_multiple_of(PANEL);
    let bias = Some(Tensor::from_aligned([padded], fill(padded, 2)).expect("the same"));
    let residual = match field("residual") {
        "no" => None,
        name => Some(activation(name)),
    };
    let activation = activation(field("act"));
    let op: Box<dyn PreparedOp> = if line.starts_with("dense ") {
        let params = DenseParams {
            rows: window.input[0] * window.input[1],
            features: k,
            units: filters,
            weights,
            scale: None,
            bias,
            activation,
            residual,
        };
        Box::new(DenseF32::prepare(isa, &params).expect("a row of the file fits"))
    } else {
        let params = ConvParams {
            window,
            groups,
            filters,
            weights,
            scale: None,
            bias,
            activation,
            residual,
        };
        Box::new(ConvF32::prepare(isa, &params).expect("a row of the file fits"))
    };
    Row {
        line,
        macs: (op.output_len() * k) as f64,
        count: numbers("count")[0] as f64,
        inputs: op.input_lens().iter().map(|&len| fill(len, 3)).collect(),
        output: AlignedF32::zeroed(op.output_len()),
        seconds: Vec::new(),
        op,
    }
}

/// A pointer that threads may share: each task writes its own part.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

impl Shared {
    /// A method, so that closures capture the whole value and with it `Sync`.
    fn pointer(self) -> *mut f32 {
        self.0
    }
}

// SAFETY: different threads run `PreparedOp::run` with different tasks.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Seconds for one call.
fn time(row: &mut Row, threads: usize) -> f64 {
    let Row {
        op, inputs, output, ..
    } = row;
    let op = op.as_ref();
    let tasks = op.tasks(threads);
    let next = AtomicUsize::new(0);
    let start = Barrier::new(threads);
    let inputs: &[AlignedF32] = inputs;
    let output = Shared(output.as_mut_slice().as_mut_ptr());
    let work = || {
        let inputs: Vec<_> = inputs.iter().map(|b| b.as_slice().as_ptr()).collect();
        let mut scratch = AlignedF32::zeroed(op.scratch_len());
        let scratch = scratch.as_mut_slice().as_mut_ptr();
        start.wait();
        let begin = Instant::now();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            // SAFETY: buffers were made to the op's own lengths; tasks are handed out once.
            unsafe { op.run(task, tasks, &inputs, output.pointer(), scratch) };
        }
        begin.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let slowest = |a: f64, b: std::thread::ScopedJoinHandle<'_, f64>| {
            a.max(b.join().expect("a kernel does not panic"))
        };
        others.into_iter().fold(mine, slowest)
    })
}

fn report(file: &str, rows: &mut [Row], dtype: DType, options: &Options) {
    println!(
        "# {file}: {dtype} weights, {} thread(s), {}, {} rounds; GMAC/s median [quartiles] best",
        options.threads, options.isa, options.rounds
    );
    let (mut median_ms, mut best_ms, mut macs) = (0.0, 0.0, 0.0);
    for row in rows {
        row.seconds.sort_by(f64::total_cmp);
        let at = |q: usize| row.seconds[(row.seconds.len() - 1) * q / 4];
        let rate = |seconds: f64| row.macs / seconds / 1e9;
        let sum: f64 = row.output.as_slice().iter().map(|&x| f64::from(x)).sum();
        println!(
            "{:<26} {:6.1} [{:6.1} {:6.1}] {:6.1}  {:9.1} us  sum {sum:e}  {}",
            row.op.kernel_name(),
            rate(at(2)),
            rate(at(3)),
            rate(at(1)),
            rate(at(0)),
            at(0) * 1e6,
            row.line
        );
        median_ms += at(2) * 1e3 * row.count;
        best_ms += at(0) * 1e3 * row.count;
        macs += row.macs * row.count;
    }
    println!(
        "# {file}: {dtype} weights: {:.2} GMAC in {median_ms:.2} ms = {:.1} GMAC/s; best of each {best_ms:.2} ms = {:.1} GMAC/s",
        macs / 1e9,
        macs / median_ms / 1e6,
        macs / best_ms / 1e6
    );
}
