//! `dermal import --dry-run`: what is in a file, and whether it can be imported.

use std::path::Path;

use serde::Serialize;

use super::import::{self, answer, some_labels};
use super::{Context, Outcome, Result};
use crate::artifact::{self, Head, InputKind, Model, Preprocessing};
use crate::cli::ImportArgs;
use crate::engine::Plan;
use crate::hint::Hint;
use crate::import::{ImportError, Made, ModelError, UnsupportedOperator, Warning, unsupported};
use crate::report::{self, Align, SCHEMA_VERSION, Table};
use crate::text::shorten_to;
use crate::units::{Bytes, Count};

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    source: String,
    importable: bool,
    /// Absent if it cannot be imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Facts>,
    /// Operators or layers that are not supported.
    unsupported: Vec<Unsupported>,
    /// Why it cannot be imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Cause>,
    warnings: Vec<Cause>,
}

#[derive(Serialize)]
struct Facts {
    format: String,
    inputs: Vec<Input>,
    labels: Vec<String>,
    head: Head,
    /// Why it is this head.
    #[serde(skip)]
    answer: String,
    nodes: usize,
    parameters: u64,
    macs: u64,
    artifact_bytes: u64,
    arena_bytes: u64,
}

#[derive(Serialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    /// The recipe of the photo; absent for other inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessing: Option<Preprocessing>,
}

#[derive(Serialize)]
struct Unsupported {
    name: String,
    count: usize,
    example: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'static str,
}

#[derive(Serialize)]
struct Cause {
    kind: &'static str,
    message: String,
    hint: String,
}

/// Whether an error is about what the model is, and not about a file or an option that cannot be
/// read.
fn is_about_the_model(error: &ModelError) -> bool {
    match error {
        ModelError::Import(error) => match error {
            ImportError::UnsupportedOperators { .. }
            | ImportError::Unrepresentable { .. }
            | ImportError::UnsupportedLayer { .. }
            | ImportError::UnsupportedValue { .. }
            | ImportError::Quantized { .. }
            | ImportError::MissingWeights { .. }
            | ImportError::WeightShape { .. }
            | ImportError::NotFinite { .. }
            | ImportError::UnusedWeights { .. }
            | ImportError::InputSize { .. }
            | ImportError::Outputs { .. }
            | ImportError::Graph { .. } => true,
            ImportError::Io { .. }
            | ImportError::Format { .. }
            | ImportError::TooLarge { .. }
            | ImportError::Archive { .. }
            | ImportError::Hdf5 { .. }
            | ImportError::Protobuf { .. }
            | ImportError::FlatBuffer { .. }
            | ImportError::ExternalData { .. }
            | ImportError::NeedsConfig { .. }
            | ImportError::ConfigTwice { .. }
            | ImportError::Config { .. }
            | ImportError::NoSuchOutput { .. } => false,
        },
        ModelError::Graph(_)
        | ModelError::Head(_)
        | ModelError::Inputs { .. }
        | ModelError::NotProbability(_) => true,
        ModelError::Labels(_)
        | ModelError::File(..)
        | ModelError::Text(_)
        | ModelError::NoFile { .. }
        | ModelError::Preprocessing { .. }
        | ModelError::Fields { .. } => false,
    }
}

pub(super) fn run(args: &ImportArgs, source: &Path) -> Result<Outcome> {
    let context = || format!("cannot import `{}`", source.display());
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        source: source.display().to_string(),
        importable: false,
        model: None,
        unsupported: Vec::new(),
        problem: None,
        warnings: Vec::new(),
    };
    match import::made(args, source) {
        Ok(made) => {
            report.importable = true;
            report.warnings = made.warnings.iter().map(warning).collect();
            report.model = Some(facts(made).with_context(context)?);
        }
        Err(problem) => match problem.find::<ModelError>() {
            Some(error) if is_about_the_model(error) => {
                report.problem = Some(Cause {
                    kind: error.kind(),
                    message: problem.causes().join(": "),
                    hint: problem.hint(),
                });
                let operators = unsupported(source, &import::options(args));
                let operators = operators.with_context(context)?;
                report.unsupported = operators.into_iter().map(listed).collect();
            }
            _ => return Err(problem).with_context(context),
        },
    }
    if args.json {
        report::print_json(&report)?;
    } else {
        report::print(report::printable(&report.to_text()))?;
    }
    let importable = report.importable;
    Ok(if importable {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

fn warning(warning: &Warning) -> Cause {
    Cause {
        kind: warning.kind(),
        message: warning.to_string(),
        hint: warning.hint().to_owned(),
    }
}

fn listed(operator: UnsupportedOperator) -> Unsupported {
    Unsupported {
        name: operator.name,
        count: operator.count,
        example: operator.example,
        note: operator.note,
    }
}

fn facts(made: Made) -> Result<Facts> {
    let artifact_bytes = artifact::encoded_bytes(&made.model)?;
    let answer = answer(made.model.manifest.head, &made.head_origin);
    let Model { graph, manifest } = made.model;
    let stats = graph.total_stats();
    let plan = Plan::new(&graph, &[]);
    let inputs = manifest.inputs.into_iter().zip(graph.inputs());
    let inputs = inputs.map(|(spec, (_, node))| Input {
        name: spec.name,
        shape: node.shape.dims().to_vec(),
        preprocessing: match spec.kind {
            InputKind::Image { preprocessing } => Some(preprocessing),
            InputKind::Vector { .. } => None,
        },
    });
    Ok(Facts {
        format: manifest.provenance.source_format,
        inputs: inputs.collect(),
        labels: manifest.labels,
        head: manifest.head,
        answer,
        nodes: graph.nodes().len(),
        parameters: stats.parameters,
        macs: stats.macs,
        artifact_bytes,
        arena_bytes: (plan.arena_len * size_of::<f32>()) as u64,
    })
}

impl Report {
    fn to_text(&self) -> String {
        let Some(model) = &self.model else {
            return self.refusal();
        };
        let mut fields = Table::fields();
        fields.row(["importable", "yes"]);
        fields.row(["file", &format!("{} ({})", self.source, model.format)]);
        for input in &model.inputs {
            let what = match &input.preprocessing {
                Some(recipe) => {
                    format!(
                        "photo, {}",
                        recipe.preset.as_deref().unwrap_or("own recipe")
                    )
                }
                None => "numbers".to_owned(),
            };
            fields.row([
                "input",
                &format!("{} {:?} ({what})", input.name, input.shape),
            ]);
        }
        fields.row(["labels", &some_labels(&model.labels)]);
        fields.row(["answer", &model.answer]);
        fields.row(["nodes", &model.nodes.to_string()]);
        fields.row(["parameters", &Count(model.parameters).to_string()]);
        fields.row(["multiply-adds", &Count(model.macs).to_string()]);
        fields.row(["artifact", &Bytes(model.artifact_bytes).to_string()]);
        fields.row(["arena", &Bytes(model.arena_bytes).to_string()]);
        for warning in &self.warnings {
            fields.row(["warning", &warning.message]);
        }
        fields.to_string()
    }

    fn refusal(&self) -> String {
        let mut fields = Table::fields();
        fields.row(["importable", "no"]);
        fields.row(["file", &self.source]);
        if let Some(problem) = &self.problem {
            // A list of operators follows.
            if self.unsupported.is_empty() {
                fields.row(["because", &problem.message]);
            }
            fields.row(["next", &problem.hint]);
        }
        let mut text = fields.to_string();
        if self.unsupported.is_empty() {
            return text;
        }
        let mut table = Table::new(&[
            ("not supported", Align::Left),
            ("nodes", Align::Right),
            ("for example", Align::Left),
            ("what", Align::Left),
        ]);
        for operator in &self.unsupported {
            table.row([
                &shorten_to(&operator.name, 30),
                &operator.count.to_string(),
                &shorten_to(&operator.example, 30),
                operator.note,
            ]);
        }
        text.push('\n');
        text += &table.to_string();
        text
    }
}
