//! Trains the embedded demo model on synthetic pictures and writes it as an artifact.
//!
//! ```text
//! cargo run --release --example train_demo                      # train, then export
//! cargo run --release --example train_demo -- --export-only     # export an existing checkpoint
//! ```
//!
//! Everything is seeded, and sums have a fixed order. So a run gives the same weights on one
//! machine (more exactly: with the same vector instructions, which decide the kernel of the matrix
//! product).

#![expect(clippy::print_stderr, reason = "a program that reports to its user")]
// Sizes and labels are tiny; the generator's files explain their own.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod card;
mod data;
mod export;
mod net;
mod ops;
#[allow(
    dead_code,
    reason = "shared with `make_fixtures` and a test, which use other parts"
)]
#[path = "../synthetic/mod.rs"]
mod synthetic;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use clap::Parser;

use dermal::artifact;

use data::Dataset;
use net::{Mode, Net};
use synthetic::{CLASSES, Dice, FIXTURES_PER_CLASS, Split};

/// `pixel * SCALE - MEAN` is the network's input.
pub(crate) const SCALE: f64 = 1.0 / 127.5;
pub(crate) const MEAN: f64 = 1.0;

/// Pictures of each class for the card's second figure.
const HELD_OUT_PER_CLASS: u32 = 150;

/// Trains and exports the embedded demo model.
#[derive(Parser)]
struct Arguments {
    /// Raw trained weights: written after training, read by `--export-only`.
    #[arg(long, default_value = "target/demo_checkpoint.safetensors")]
    checkpoint: PathBuf,
    /// The artifact. Its card is written beside it as `README.md`.
    #[arg(long, default_value = "models/demo.safetensors")]
    out: PathBuf,
    /// Export the checkpoint without training; the options of its training are read from it.
    #[arg(long, conflicts_with = "train_only")]
    export_only: bool,
    /// Stop after the checkpoint is written.
    #[arg(long)]
    train_only: bool,
    #[command(flatten)]
    training: Training,
}

/// The options that decide the weights; stored in the checkpoint.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Training {
    /// Seed of weights, order and augmentation.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u32,
    /// Passes over the training pictures.
    #[arg(long, default_value_t = 13)]
    pub(crate) epochs: u32,
    /// Training pictures of each class.
    #[arg(long, default_value_t = 450)]
    pub(crate) per_class: u32,
    /// Pictures in each step.
    #[arg(long, default_value_t = 32)]
    pub(crate) batch: u32,
}

impl Training {
    fn options(self) -> Vec<String> {
        vec![
            format!("--seed {}", self.seed),
            format!("--epochs {}", self.epochs),
            format!("--per-class {}", self.per_class),
            format!("--batch {}", self.batch),
        ]
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut training = arguments.training;
    let net = Net::new(training.seed.into())?;
    if arguments.export_only {
        training = net.load(&arguments.checkpoint)?;
    } else {
        eprintln!("{} parameters", net.parameters());
        train(&net, training)?;
        net.save(&arguments.checkpoint, training)?;
    }
    if arguments.train_only {
        return Ok(());
    }
    let model = export::model(&net, &arguments.checkpoint, training.options())?;
    let bytes = artifact::write(&arguments.out, &model)?;
    eprintln!("{}: {bytes} bytes", arguments.out.display());
    // This measures the file, not the network in memory.
    let model = artifact::load(&arguments.out)?;
    let facts = card::Facts {
        parameters: net.parameters(),
        fixtures: card::measure(&model, Split::Fixture, FIXTURES_PER_CLASS)?,
        held_out: card::measure(&model, Split::HeldOut, HELD_OUT_PER_CLASS)?,
    };
    for (name, confusion) in [("fixtures", &facts.fixtures), ("held out", &facts.held_out)] {
        eprintln!(
            "{name}: {} of {} right",
            confusion.correct(),
            confusion.total()
        );
    }
    card::write(&arguments.out, &model, &facts)
}

fn train(net: &Net, options: Training) -> Result<()> {
    const PEAK_RATE: f64 = 4e-3;
    let start = Instant::now();
    let train = Dataset::draw(Split::Train, options.per_class)?;
    let validation = Dataset::draw(Split::Validation, 40)?;
    eprintln!(
        "{} pictures drawn in {:.0?}",
        train.images.len(),
        start.elapsed()
    );

    let mut optimizer = AdamW::new(
        net.weights.values().cloned().collect(),
        ParamsAdamW {
            weight_decay: 0.02,
            ..ParamsAdamW::default()
        },
    )?;
    let (batch, epochs) = (options.batch as usize, options.epochs as usize);
    let steps_in_epoch = train.images.len() / batch;
    let steps = steps_in_epoch * epochs;
    let mut dice = Dice::new(u64::from(options.seed) ^ 0x5eed);
    let start = Instant::now();
    for epoch in 0..epochs {
        let order = data::shuffled(train.images.len(), &mut dice);
        let mut losses = 0.0;
        for (i, chosen) in order.chunks_exact(batch).enumerate() {
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
                let left = start
                    .elapsed()
                    .mul_f64((steps - step - 1) as f64 / (step + 1) as f64);
                eprint!("\rstep {} of {steps}, {left:.0?} left   ", step + 1);
            }
        }
        let result = evaluate(net, &validation)?;
        eprintln!(
            "\repoch {}: loss {:.3}, validation {:.1} % of {}, {:.0?}",
            epoch + 1,
            losses / steps_in_epoch as f32,
            100.0 * f64::from(result.correct()) / f64::from(result.total()),
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
#[derive(Default)]
pub(crate) struct Confusion(pub(crate) [[u32; CLASSES.len()]; CLASSES.len()]);

impl Confusion {
    pub(crate) fn count(&mut self, class: usize, predicted: usize) {
        self.0[class][predicted] += 1;
    }

    pub(crate) fn correct(&self) -> u32 {
        (0..CLASSES.len()).map(|i| self.0[i][i]).sum()
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.iter().flatten().sum()
    }
}

fn evaluate(net: &Net, dataset: &Dataset) -> Result<Confusion> {
    let mut confusion = Confusion::default();
    for (images, labels) in dataset.images.chunks(35).zip(dataset.labels.chunks(35)) {
        let logits = net.forward(&net::stem_patches(images)?, images.len(), Mode::Evaluate)?;
        let predicted = logits.argmax(1)?.to_vec1::<u32>()?;
        for (&label, predicted) in labels.iter().zip(predicted) {
            confusion.count(label as usize, predicted as usize);
        }
    }
    Ok(confusion)
}
