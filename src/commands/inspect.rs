//! `dermal inspect`: what is in an artifact.

use std::collections::BTreeMap;

use super::Result;
use serde::Serialize;

use super::{layers, plan};
use crate::artifact::fields::{FieldMapping, FieldPart, MissingCategory};
use crate::artifact::{
    EvidenceRecord, Head, InputKind, InputSpec, Model, ModelSource, Preprocessing, Provenance,
    QuantizationRecord, Resize,
};
use crate::cli::InspectArgs;
use crate::engine::Plan;
use crate::graph::{NodeId, SourceLayer};
use crate::predict::fields;
use crate::report::{self, Align, SCHEMA_VERSION, Table};
use crate::tensor::DType;
use crate::text::shorten_to;
use crate::units::{Bytes, Count};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: String,
    name: &'a str,
    inputs: Vec<Input<'a>>,
    labels: &'a [String],
    head: Head,
    /// How named fields become inputs; absent without a mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a FieldMapping>,
    parameters: u64,
    macs: u64,
    /// Weights as they are stored, padding of the packed layout included.
    stored_weight_bytes: u64,
    /// The same, by element type.
    stored_bytes_by_dtype: BTreeMap<DType, u64>,
    size_bytes: Sizes,
    arena: Arena,
    nodes: usize,
    provenance: &'a Provenance,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<&'a QuantizationRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'a EvidenceRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer<'a>>,
}

#[derive(Serialize)]
struct Input<'a> {
    shape: &'a [usize],
    #[serde(flatten)]
    spec: &'a InputSpec,
}

/// Bytes of the parameters in each dtype; int8 counts f32 scales and i32 biases.
#[derive(Serialize)]
struct Sizes {
    f32: u64,
    f16: u64,
    int8: u64,
}

#[derive(Serialize)]
struct Arena {
    bytes: usize,
    /// The node that runs when most bytes are live.
    worst_node: Option<String>,
    worst_live_bytes: usize,
    /// Bytes live during each step, by node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timeline: Vec<(String, usize)>,
}

#[derive(Serialize)]
struct Layer<'a> {
    node: &'a str,
    op: &'static str,
    inputs: Vec<&'a str>,
    shape: &'a [usize],
    parameters: u64,
    macs: u64,
    layers: &'a [SourceLayer],
}

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let source = ModelSource::of(args.model.as_deref());
    let model = source.load()?;
    if args.plan {
        return plan::run(&model, &source.to_string(), args.json);
    }
    if let Some(photo) = &args.check_layers {
        return layers::run(&model, &source.to_string(), photo, args);
    }
    let report = Report::of(&model, source.to_string(), args.layers);
    if args.json {
        return Ok(report::print_json(&report)?);
    }
    report.print()
}

impl<'a> Report<'a> {
    fn of(model: &'a Model, model_name: String, with_layers: bool) -> Self {
        let Model { graph, manifest } = model;
        let stats = graph.total_stats();
        let inputs = manifest.inputs.iter().zip(graph.inputs());
        let mut by_dtype = BTreeMap::new();
        for tensor in graph.tensors.values() {
            *by_dtype.entry(tensor.dtype()).or_default() += tensor.bytes().len() as u64;
        }
        let layer = |id: NodeId| {
            let node = graph.node(id);
            let stats = graph.stats(id);
            Layer {
                node: &node.name,
                op: node.op.name(),
                inputs: node
                    .inputs
                    .iter()
                    .map(|&i| graph.node(i).name.as_str())
                    .collect(),
                shape: node.shape.dims(),
                parameters: stats.parameters,
                macs: stats.macs,
                layers: &node.layers,
            }
        };
        Self {
            schema_version: SCHEMA_VERSION,
            model: model_name,
            name: &graph.name,
            inputs: inputs
                .map(|(spec, (_, node))| Input {
                    shape: node.shape.dims(),
                    spec,
                })
                .collect(),
            labels: &manifest.labels,
            head: manifest.head,
            fields: manifest.fields.as_ref(),
            parameters: stats.parameters,
            macs: stats.macs,
            stored_weight_bytes: by_dtype.values().sum(),
            stored_bytes_by_dtype: by_dtype,
            size_bytes: Sizes {
                f32: stats.f32_bytes(),
                f16: stats.f16_bytes(),
                int8: stats.i8_bytes(),
            },
            arena: Arena::of(model, with_layers),
            nodes: graph.nodes().len(),
            provenance: &manifest.provenance,
            quantization: manifest.quantization.as_ref(),
            evidence: manifest.evidence.as_ref(),
            layers: if with_layers {
                graph.ids().map(layer).collect()
            } else {
                Vec::new()
            },
        }
    }

    fn maps(&self, input: &str) -> bool {
        let mut inputs = self.fields.iter().flat_map(|mapping| &mapping.inputs);
        inputs.any(|mapped| mapped.name == input)
    }

    fn field_parts(&self) -> impl Iterator<Item = &'a FieldPart> {
        let inputs = self.fields.into_iter().flat_map(|mapping| &mapping.inputs);
        inputs.flat_map(|input| &input.parts)
    }

    fn print(&self) -> Result<()> {
        let mut fields = Table::fields();
        fields.row(["model", &self.model]);
        fields.row(["name", self.name]);
        for input in &self.inputs {
            fields.row(["input", &format!("{} {:?}", input.spec.name, input.shape)]);
            match &input.spec.kind {
                InputKind::Image { preprocessing } => {
                    let recipe = preprocessing.preset.as_deref().unwrap_or("own recipe");
                    fields.row(["  preprocessing", recipe]);
                    fields.row(["  resize", &resize_text(preprocessing)]);
                    fields.row(["  pixels", &pixel_text(preprocessing)]);
                }
                InputKind::Vector {
                    default: Some(values),
                } => {
                    let values: Vec<String> = values.iter().map(f32::to_string).collect();
                    fields.row(["  default", &values.join(",")]);
                }
                InputKind::Vector { default: None } if self.maps(&input.spec.name) => {
                    fields.row([
                        "  made from",
                        "the fields below; or give the numbers with `--input`",
                    ]);
                }
                InputKind::Vector { default: None } => {
                    fields.row(["  default", "none: give it with `--input`"]);
                }
            }
        }
        for part in self.field_parts() {
            let (name, text) = field_text(part);
            fields.row([&format!("field {name}"), &text]);
        }
        fields.row(["labels", &self.labels.join(", ")]);
        fields.row(["answer", self.head.meaning()]);
        fields.row(["parameters", &Count(self.parameters).to_string()]);
        fields.row(["multiply-adds", &Count(self.macs).to_string()]);
        let parts: Vec<String> = self
            .stored_bytes_by_dtype
            .iter()
            .map(|(dtype, &bytes)| format!("{dtype} {}", Bytes(bytes)))
            .collect();
        fields.row([
            "weights",
            &format!(
                "{} as stored ({})",
                Bytes(self.stored_weight_bytes),
                parts.join(", ")
            ),
        ]);
        let Sizes { f32, f16, int8 } = self.size_bytes;
        fields.row([
            "size",
            &format!(
                "f32 {}, f16 {}, int8 {}",
                Bytes(f32),
                Bytes(f16),
                Bytes(int8)
            ),
        ]);
        let arena = &self.arena;
        fields.row([
            "arena",
            &format!(
                "{}; most is live at `{}`: {}",
                Bytes(arena.bytes as u64),
                arena.worst_node.as_deref().unwrap_or("nowhere"),
                Bytes(arena.worst_live_bytes as u64)
            ),
        ]);
        let origin = self.provenance;
        fields.row([
            "source",
            &format!("{} ({})", origin.source_file, origin.source_format),
        ]);
        fields.row(["  sha256", &origin.source_sha256]);
        fields.row(["imported by", &format!("dermal {}", origin.tool_version)]);
        for option in &origin.options {
            fields.row(["  option", option]);
        }
        for warning in &origin.warnings {
            fields.row(["  warning", &shorten_to(&warning.message, 240)]);
        }
        if let Some(record) = self.quantization {
            fields.row(["quantized to", &quantization_text(record)]);
            fields.row(["  from sha256", &record.base_sha256]);
            if !record.kept_float.is_empty() {
                fields.row(["  in float", &record.kept_float.join(", ")]);
            }
        }
        if let Some(record) = self.evidence {
            fields.row([
                "accuracy",
                &format!(
                    "top-1 {:.1} % of {} photos ({})",
                    100.0 * record.top1,
                    record.photos,
                    report::printable(&record.source)
                ),
            ]);
            if let Some(comparison) = &record.comparison {
                let verdict = comparison.verdict.replace('_', " ");
                fields.row(["  verdict", &report::printable(&verdict)]);
                fields.row([
                    "  beside sha256",
                    &report::printable(&comparison.base_sha256),
                ]);
            }
        }
        report::print(fields.to_string())?;
        if self.layers.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&[
            ("node", Align::Left),
            ("op", Align::Left),
            ("output", Align::Left),
            ("parameters", Align::Right),
            ("MACs", Align::Right),
            ("layers of the source", Align::Left),
        ]);
        for layer in &self.layers {
            let sources: Vec<&str> = layer.layers.iter().map(|l| l.name.as_str()).collect();
            let count = |n: u64| {
                if n == 0 {
                    String::new()
                } else {
                    Count(n).to_string()
                }
            };
            table.row([
                layer.node,
                layer.op,
                &format!("{:?}", layer.shape),
                &count(layer.parameters),
                &count(layer.macs),
                &sources.join(" "),
            ]);
        }
        Ok(report::print(format!("\n{table}"))?)
    }
}

impl Arena {
    fn of(model: &Model, with_timeline: bool) -> Self {
        const FLOAT: usize = size_of::<f32>();
        let plan = Plan::new(&model.graph, &[]);
        let name = |step: usize| model.graph.node(plan.steps[step].node).name.clone();
        let worst = plan.worst_moment();
        let timeline = plan.live_len.iter().enumerate();
        Self {
            bytes: plan.arena_len * FLOAT,
            worst_node: worst.map(|(step, _)| name(step)),
            worst_live_bytes: worst.map_or(0, |(_, len)| len * FLOAT),
            timeline: if with_timeline {
                timeline
                    .map(|(step, len)| (name(step), len * FLOAT))
                    .collect()
            } else {
                Vec::new()
            },
        }
    }
}

/// A part's field, what it takes, and what it becomes. `int8, calibrated on 64 photos (mse,
/// channels balanced, biases corrected)`.
fn quantization_text(record: &QuantizationRecord) -> String {
    let mut how: Vec<&str> = record.method.as_deref().into_iter().collect();
    if record.equalization.is_some() {
        how.push("channels balanced");
    }
    if record.bias_correction {
        how.push("biases corrected");
    }
    match record.photos {
        Some(photos) => format!(
            "{}, calibrated on {photos} photos ({})",
            record.to,
            how.join(", ")
        ),
        None if record.weights_only => format!("{}, weights only", record.to),
        None => record.to.clone(),
    }
}

fn field_text(part: &FieldPart) -> (String, String) {
    let takes = fields::takes(part);
    let text = match part {
        FieldPart::OneHot { missing, .. } => {
            let missing = match missing {
                None => "required".to_owned(),
                Some(MissingCategory::Zeros) => "missing: none of them".to_owned(),
                Some(MissingCategory::Value(value)) => {
                    format!("missing: {}", report::printable(value))
                }
            };
            format!("{} ({missing})", report::printable(&takes))
        }
        FieldPart::Number {
            subtract,
            divide_by,
            missing,
            ..
        } => {
            let mut formula = "x".to_owned();
            if *subtract != 0.0 {
                formula = format!("(x - {subtract})");
            }
            if *divide_by != 1.0 {
                formula = format!("{formula} / {divide_by}");
            }
            let missing = missing.map_or("required".to_owned(), |m| format!("missing: {m}"));
            format!("{takes}, as {formula} ({missing})")
        }
        FieldPart::MissingFlag { .. } => "1 if it is missing, else 0".to_owned(),
    };
    (report::printable(part.field()), text)
}

fn resize_text(recipe: &Preprocessing) -> String {
    let how = match recipe.resize {
        Resize::Stretch => "stretched to the input's size".to_owned(),
        Resize::ShortSideCenterCrop { short_side } => {
            format!("short side to {short_side}, middle cut out")
        }
        Resize::CropToAspect => "cut to the input's aspect ratio, then resized".to_owned(),
        Resize::Fit => "cut to the input's aspect ratio while resizing".to_owned(),
    };
    format!("{how} ({})", json_name(&recipe.filter))
}

/// The formula without the steps that do nothing.
fn pixel_text(recipe: &Preprocessing) -> String {
    let list = |values: [f64; 3]| match values {
        [a, b, c] if a == b && b == c => a.to_string(),
        [a, b, c] => format!("[{a}, {b}, {c}]"),
    };
    let mut formula = "x".to_owned();
    if recipe.scale != 1.0 {
        let inverse = 1.0 / recipe.scale;
        // 1/255 reads better than 0.00392156862745098.
        formula = if (inverse - inverse.round()).abs() < 1e-9 || inverse == 127.5 {
            format!("x / {}", (inverse * 2.0).round() / 2.0)
        } else {
            format!("x * {}", recipe.scale)
        };
    }
    if recipe.mean != [0.0; 3] {
        formula = format!("{formula} - {}", list(recipe.mean));
    }
    if recipe.std != [1.0; 3] {
        formula = format!("({formula}) / {}", list(recipe.std));
    }
    let order = json_name(&recipe.channels).to_uppercase();
    format!("{formula} for x in 0..255, {order}")
}

/// The name of a unit variant, as JSON and YAML write it.
fn json_name(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value);
    json.ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
