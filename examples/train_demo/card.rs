//! Measures the written artifact as it is served, and writes the model card from the results.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use dermal::artifact::Model;
use dermal::engine::{Engine, Options};
use dermal::file::atomic;
use dermal::graph::NodeId;
use dermal::predict::{Limits, Predictor, Run, decode};

use crate::Confusion;
use crate::synthetic::{self, CLASSES, Split};

/// The engine behind a predictor.
struct Served(Engine);

impl Run for Served {
    fn input_mut(&mut self, input: NodeId) -> &mut [f32] {
        self.0.input_mut(input)
    }

    fn run(&mut self) {
        self.0.run();
    }

    fn output(&self) -> &[f32] {
        self.0.output()
    }
}

/// Classifies the first `per_class` pictures of each class: JPEG, decode, resize, engine.
pub(crate) fn measure(model: &Model, split: Split, per_class: u32) -> Result<Confusion> {
    let engine = Engine::new(&model.graph, &Options::default())?;
    let mut predictor = Predictor::new(model, Served(engine))?;
    let mut confusion = Confusion::default();
    for class in 0..CLASSES.len() {
        for index in 0..per_class {
            let jpeg = synthetic::photo(split, class, index)?;
            let photo = decode::decode(&jpeg, &Limits::default())?;
            let predicted = predictor.predict(&photo, &[])?.top1();
            confusion.count(class, predicted);
        }
    }
    Ok(confusion)
}

/// Figures of the card.
pub(crate) struct Facts {
    pub(crate) parameters: usize,
    pub(crate) fixtures: Confusion,
    pub(crate) held_out: Confusion,
}

/// Writes the card of the artifact `path` beside it, as `README.md`.
pub(crate) fn write(path: &Path, model: &Model, facts: &Facts) -> Result<()> {
    let sha256 = dermal::file::sha256_of_file(path, &mut |_, _| {})?;
    let bytes = path.metadata()?.len();
    let options = model.manifest.provenance.options.join(" ");
    let mut card = format!(
        "\
# Model card: `demo.safetensors`

**This is not a medical device, and it knows nothing about skin.** Every picture it has seen was drawn by
a program of this repository. Its class names are those of HAM10000, and its answers about
a real photo are meaningless. It exists so that `dermal` can be tried and tested without anybody's data.

Written by `scripts/make-demo.sh`; do not edit by hand.

| | |
|---|---|
| sha256 | `{sha256}` |
| size | {bytes} bytes, {parameters} trained values in f32 |
| licence | MIT OR Apache-2.0, as the repository: weights and pictures are the project's own |
| made by | `examples/train_demo` (candle-nn, AdamW, cosine schedule), options `{options}` |
| data | pictures drawn by `examples/synthetic`; fixtures, training, validation and held-out pictures have seeds of their own |
| input | 112 x 112 RGB, the whole photo stretched with Pillow's bilinear filter, `pixel / 127.5 - 1` |
| output | logits of {classes}; softmax |
| architecture | 3x3 stem, 7 inverted-residual blocks (depthwise 3x3 and 5x5, squeeze-and-excite, SiLU), 1x1 top of 192 channels at 7 x 7, global mean, dense |

## Accuracy

Measured by the program on the file itself: JPEG, decoder, resize and engine as `dermal predict` runs them.
The interval is Wilson's at 95 %. Classes share signs by design (faint cases, atypical moles), so
that no classifier gets everything right.

| pictures | right | accuracy | 95 % interval |
|---|--:|--:|--:|
",
        parameters = facts.parameters,
        classes = CLASSES.join(", "),
    );
    for (name, confusion) in [
        ("`fixtures/images` (never trained on)", &facts.fixtures),
        ("held out", &facts.held_out),
    ] {
        let (right, total) = (confusion.correct(), confusion.total());
        let [low, high] = wilson(right, total);
        writeln!(
            card,
            "| {name} | {right} of {total} | {:.1} % | {:.1} to {:.1} % |",
            100.0 * f64::from(right) / f64::from(total),
            100.0 * low,
            100.0 * high,
        )?;
    }
    for (name, confusion) in [("Fixtures", &facts.fixtures), ("Held out", &facts.held_out)] {
        write!(
            card,
            "\n{name}, a row for each true class, a column for each answer:\n\n"
        )?;
        card.push_str(&markdown(confusion));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    atomic::write(&folder.join("README.md"), |out| {
        out.write_all(card.as_bytes())
    })?;
    Ok(())
}

fn markdown(confusion: &Confusion) -> String {
    let mut text = format!("| | {} | recall |\n|---|", CLASSES.join(" | "));
    text.push_str(&"--:|".repeat(CLASSES.len() + 1));
    text.push('\n');
    for (i, (name, row)) in CLASSES.iter().zip(&confusion.0).enumerate() {
        let counts: Vec<String> = row.iter().map(u32::to_string).collect();
        let recall = 100.0 * f64::from(row[i]) / f64::from(row.iter().sum::<u32>());
        text.extend([format!(
            "| {name} | {} | {recall:.1} % |\n",
            counts.join(" | ")
        )]);
    }
    text
}

/// Wilson's score interval at 95 % (Wilson 1927).
fn wilson(right: u32, total: u32) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    let (n, p) = (f64::from(total), f64::from(right) / f64::from(total));
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [middle - half, middle + half]
}

#[cfg(test)]
mod tests {
    use super::wilson;

    /// 81 of 263: the worked example of Newcombe 1998, 0.2553 to 0.3662.
    #[test]
    fn wilson_interval_is_the_published_one() {
        let [low, high] = wilson(81, 263);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5);
    }
}
