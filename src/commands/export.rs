//! `dermal export`: writes a model as an ONNX file.

use std::time::Instant;

use serde::Serialize;

use super::{Context, Result};
use crate::artifact::ModelSource;
use crate::cli::ExportArgs;
use crate::export::{self, OPSET, Options, Port, Rounded};
use crate::file::Guard;
use crate::report::{self, Progress, SCHEMA_VERSION, Table};
use crate::units::{Bytes, Count, Millis};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: String,
    output: String,
    bytes: u64,
    opset: i64,
    inputs: &'a [Port],
    outputs: &'a [Port],
    operators: usize,
    /// Transposes among them.
    transposes: usize,
    with_preprocessing: bool,
    /// What became of bf16 weights.
    rounded: &'a [Rounded],
}

pub(super) fn run(args: &ExportArgs) -> Result<()> {
    let started = Instant::now();
    let source = ModelSource::of(args.model.as_deref());
    let mut guard = Guard::new();
    guard.may_read("the model", args.model.as_ref())?;
    let output = guard
        .writes("-o", &args.output)
        .with_context(|| format!("cannot write `{}`", args.output.display()))?;
    let model = source.load()?;
    let options = Options {
        with_preprocessing: args.with_preprocessing,
    };
    let file = export::onnx(&model, options)
        .with_context(|| format!("cannot export `{source}` as ONNX"))?;
    let mut bar = Progress::bytes("writing");
    output.write(|out| file.write_to(out, &mut |done, all| bar.set(done, all)))?;
    drop(bar);
    if args.json {
        return Ok(report::print_json(&Report {
            schema_version: SCHEMA_VERSION,
            model: source.to_string(),
            output: args.output.display().to_string(),
            bytes: file.bytes(),
            opset: OPSET,
            inputs: file.inputs(),
            outputs: file.outputs(),
            operators: file.nodes(),
            transposes: file.transposes(),
            with_preprocessing: args.with_preprocessing,
            rounded: file.rounded(),
        })?);
    }
    let mut fields = Table::fields();
    fields.row(["exported", &source.to_string()]);
    for input in file.inputs() {
        fields.row(["input", &input.to_string()]);
    }
    for output in file.outputs() {
        fields.row(["output", &output.to_string()]);
    }
    let transposes = match file.transposes() {
        0 => String::new(),
        n => format!(", {n} of them transposes"),
    };
    let operators = Count(file.nodes() as u64);
    fields.row([
        "operators",
        &format!("{operators} of opset {OPSET}{transposes}"),
    ]);
    for text in rounded(file.rounded()) {
        fields.row(["weights", &text]);
    }
    let written = format!("{} ({})", args.output.display(), Bytes(file.bytes()));
    fields.row(["written", &written]);
    fields.row([
        "took",
        &Millis(started.elapsed().as_secs_f64() * 1e3).to_string(),
    ]);
    Ok(report::print(report::printable(&fields.to_string()))?)
}

/// What became of bf16 weights, for people.
fn rounded(all: &[Rounded]) -> Vec<String> {
    let (single, half): (Vec<&Rounded>, Vec<&Rounded>) = all.iter().partition(|r| r.stays_f32);
    let mut texts = Vec::new();
    if !half.is_empty() {
        let values: usize = half.iter().map(|r| r.values).sum();
        texts.push(format!(
            "{} BF16 tensors are FP16: {values} small values moved, by at most 0.00000003",
            half.len()
        ));
    }
    if !single.is_empty() {
        texts.push(format!(
            "{} BF16 tensors are FP32: FP16 is too narrow for their values",
            single.len()
        ));
    }
    texts
}
