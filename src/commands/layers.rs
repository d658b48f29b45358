//! `dermal inspect --check-layers`: the engine compared with the reference, node by node.

use std::path::Path;

use super::{Context, Result};
use serde::Serialize;

use super::engine_options;
use crate::artifact::Model;
use crate::cli::{EngineArgs, InspectArgs};
use crate::graph::NodeId;
use crate::layer_check::{LayerDifference, check_layers};
use crate::predict::{Limits, PhotoInput, decode, resolve_inputs};
use crate::report::{self, Align, SCHEMA_VERSION, Table};

/// What the differences of a model in floats mean; printed below the table.
const FLOATS: &str = "\
The reference computes each node in real numbers, from the values that the engine's kernel read.
Differences of about 1e-6 of the largest value are rounding.
";

/// The same for a model with values in bytes.
const BYTES: &str = "\
The reference computes each node in real numbers, from the bytes that the engine's kernel read and
the stored weights. A difference of up to half of `step` is the rounding of the result to a byte.
";

/// Why a small difference does not prove that the import is right.
const IMPORT: &str = "\
Both read the model as it was imported. If the import may be wrong, compare `least` and `largest`
with the framework's own output of that layer.
";

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: &'a str,
    photo: String,
    isa: &'static str,
    layers: Vec<LayerDifference>,
}

pub(super) fn run(model: &Model, name: &str, photo: &Path, args: &InspectArgs) -> Result<()> {
    let options = engine_options(&EngineArgs {
        threads: None,
        isa: args.isa.clone(),
    })?;
    let inputs = inputs(model, photo, args)?;
    let layers = check_layers(&model.graph, &inputs, &options)
        .with_context(|| format!("cannot compare the layers of `{name}`"))?;
    let report = Report {
        schema_version: SCHEMA_VERSION,
        model: name,
        photo: photo.display().to_string(),
        isa: options.isa.name(),
        layers,
    };
    if args.json {
        return Ok(report::print_json(&report)?);
    }
    print(&report, model.graph.is_quantized())
}

/// The photo as the model's recipe makes it, and the other inputs.
fn inputs(model: &Model, photo: &Path, args: &InspectArgs) -> Result<Vec<(NodeId, Vec<f32>)>> {
    let mut inputs = resolve_inputs(model, &args.input)?;
    let input = PhotoInput::of(model)?;
    let photo = decode::read(photo, &Limits::default())?;
    let mut values = vec![0.0; input.len()];
    input.prepare(&photo, &mut values)?;
    inputs.push((input.node(), values));
    Ok(inputs)
}

fn print(report: &Report, quantized: bool) -> Result<()> {
    let mut fields = Table::fields();
    fields.row(["model", report.model]);
    fields.row(["photo", &report.photo]);
    fields.row(["kernels", report.isa]);
    let mut columns = vec![
        ("node", Align::Left),
        ("op", Align::Left),
        ("difference", Align::Right),
        ("of largest", Align::Right),
        ("from photo", Align::Right),
        ("least", Align::Right),
        ("largest", Align::Right),
    ];
    if quantized {
        columns.push(("step", Align::Right));
    }
    let mut table = Table::new(&columns);
    for layer in &report.layers {
        let mut row = vec![
            layer.node.clone(),
            layer.op.to_owned(),
            format!("{:.1e}", layer.difference),
            format!("{:.1e}", layer.relative),
            format!("{:.1e}", layer.from_photo),
            format!("{:.4}", layer.least),
            format!("{:.4}", layer.largest),
        ];
        if quantized {
            row.push(layer.scale.map_or_else(String::new, |s| format!("{s:.1e}")));
        }
        table.row(row);
    }
    let what = if quantized { BYTES } else { FLOATS };
    Ok(report::print(format!("{fields}\n{table}\n{what}{IMPORT}"))?)
}
