//! Trains the embedded demo model on synthetic pictures and writes it as an artifact.
//!
//! ```text
//! cargo run --release --example train_demo                      # train, then export
//! cargo run --release --example train_demo -- --export-only     # export an existing checkpoint
//! ```
//!
//! Everything is seeded, and sums have a fixed order: on one machine (more exactly: with the same
//! vector instructions, since the matrix product picks its kernel by them) a run gives the same weights.

#![expect(clippy::print_stderr, reason = "a program that reports to its user")]
// Sizes and labels are tiny; the generator's files explain their own.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod data;
mod net;
mod ops;
#[allow(dead_code, reason = "shared with `make_fixtures` and a test, which use other parts")]
#[path = "../synthetic/mod.rs"]
mod synthetic;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use clap::Parser;

use data::Dataset;
use net::{Mode, Net};
use synthetic::{CLASSES, Dice, FIXTURES_PER_CLASS, Split};

/// `pixel * SCALE - MEAN` is the network's input.
pub(crate) const SCALE: f32 = 1.0 / 127.5;
pub(crate) const MEAN: f32 = 1.0;

/// Trains and exports the embedded demo model.
#[derive(Parser)]
struct Arguments {
    /// Raw trained weights: written after training, read by `--export-only`.
    #[arg(long, default_value = "target/demo_checkpoint.safetensors")]
    checkpoint: PathBuf,
    /// Export the checkpoint without training.
    #[arg(long)]
    export_only: bool,
    /// Passes over the training pictures.
    #[arg(long, default_value_t = 16)]
    epochs: usize,
    /// Training pictures of each class.
    #[arg(long, default_value_t = 500)]
    per_class: u32,
    /// Pictures in a step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Seed of weights, order and augmentation.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let net = Net::new(arguments.seed)?;
    eprintln!("{} parameters", net.parameters());
    if arguments.export_only {
        net.load(&arguments.checkpoint)?;
    } else {
        train(&net, &arguments)?;
        net.save(&arguments.checkpoint)?;
    }
    for (split, per_class) in [(Split::Fixture, FIXTURES_PER_CLASS), (Split::HeldOut, 150)] {
        let result = evaluate(&net, &Dataset::draw(split, per_class)?)?;
        eprintln!("{split:?}: {} of {}", result.correct(), result.total());
        eprintln!("{}", result.table());
    }
    Ok(())
}

fn train(net: &Net, arguments: &Arguments) -> Result<()> {
    const PEAK_RATE: f64 = 4e-3;
    let start = Instant::now();
    let train = Dataset::draw(Split::Train, arguments.per_class)?;
    let validation = Dataset::draw(Split::Validation, 40)?;
    eprintln!("{} pictures drawn in {:.0?}", train.images.len(), start.elapsed());

    let mut optimizer = AdamW::new(
        net.weights.values().cloned().collect(),
        ParamsAdamW {
            weight_decay: 0.02,
            ..ParamsAdamW::default()
        },
    )?;
    let steps_in_epoch = train.images.len() / arguments.batch;
    let steps = steps_in_epoch * arguments.epochs;
    let mut dice = Dice::new(arguments.seed ^ 0x5eed);
    let start = Instant::now();
    for epoch in 0..arguments.epochs {
        let order = data::shuffled(train.images.len(), &mut dice);
        let mut losses = 0.0;
        for (i, chosen) in order.chunks_exact(arguments.batch).enumerate() {
            let step = epoch * steps_in_epoch + i;
            optimizer.set_learning_rate(PEAK_RATE * schedule(step, steps));
            let images: Vec<Vec<u8>> = chosen
                .iter()
                .map(|&j| data::augment(&train.images[j], &mut dice))
                .collect();
            let labels: Vec<u32> = chosen.iter().map(|&j| train.labels[j]).collect();
            let labels = Tensor::new(labels, &Device::Cpu)?;
            let logits = net.forward(&net::stem_patches(&images)?, images.len(), Mode::Train)?;
            let loss = candle_nn::loss::cross_entropy(&logits, &labels)?;
            optimizer.backward_step(&loss)?;
            losses += loss.to_scalar::<f32>()?;
            if step % 10 == 9 {
                let left = start.elapsed().mul_f64((steps - step - 1) as f64 / (step + 1) as f64);
                eprint!("\rstep {} of {steps}, {left:.0?} left   ", step + 1);
            }
        }
        let result = evaluate(net, &validation)?;
        eprintln!(
            "\repoch {}: loss {:.3}, validation {:.1} % of {}, {:.0?}",
            epoch + 1,
            losses / steps_in_epoch as f32,
            100.0 * result.correct() as f64 / result.total() as f64,
            result.total(),
            start.elapsed(),
        );
    }
    Ok(())
}

/// Share of the peak rate: a linear rise over the first twentieth, then half a cosine to 0.
fn schedule(step: usize, steps: usize) -> f64 {
    let rise = (steps / 20).max(1);
    if step < rise {
        (step + 1) as f64 / rise as f64
    } else {
        let t = (step - rise) as f64 / (steps - rise) as f64;
        0.5 * (1.0 + libm::cos(std::f64::consts::PI * t))
    }
}

/// Counts by true class, then predicted class.
pub(crate) struct Confusion([[u32; CLASSES.len()]; CLASSES.len()]);

impl Confusion {
    fn correct(&self) -> u32 {
        (0..CLASSES.len()).map(|i| self.0[i][i]).sum()
    }

    fn total(&self) -> u32 {
        self.0.iter().flatten().sum()
    }

    fn table(&self) -> String {
        let mut text = format!("{:>6}", "");
        for name in CLASSES {
            text.push_str(&format!("{name:>6}"));
        }
        for (name, row) in CLASSES.iter().zip(&self.0) {
            text.push_str(&format!("\n{name:>6}"));
            for count in row {
                text.push_str(&format!("{count:>6}"));
            }
        }
        text
    }
}

fn evaluate(net: &Net, dataset: &Dataset) -> Result<Confusion> {
    let mut confusion = Confusion([[0; CLASSES.len()]; CLASSES.len()]);
    for (images, labels) in dataset.images.chunks(35).zip(dataset.labels.chunks(35)) {
        let logits = net.forward(&net::stem_patches(images)?, images.len(), Mode::Evaluate)?;
        let predicted = logits.argmax(1)?.to_vec1::<u32>()?;
        for (&label, predicted) in labels.iter().zip(predicted) {
            confusion.0[label as usize][predicted as usize] += 1;
        }
    }
    Ok(confusion)
}
