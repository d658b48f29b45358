//! `dermal import`: turns a model file into an artifact.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{CommandError, Context, Outcome, Result};
use super::{dry_run, dump};
use crate::artifact::{self, Head, InputKind, Model};
use crate::cli::ImportArgs;
use crate::file::{Guard, Output};
use crate::import::head::HeadOrigin;
use crate::import::{Import, ImportOptions, Imported, Made, Stage, import, supported_ops};
use crate::memory::measure;
use crate::report::{self, Align, Progress, Table};
use crate::units::{Bytes, Count, Millis};

pub(super) fn run(args: &ImportArgs) -> Result<Outcome> {
    match &args.source {
        Some(source) if args.dry_run => dry_run::run(args, source),
        _ => write(args).map(|()| Outcome::Yes),
    }
}

fn write(args: &ImportArgs) -> Result<()> {
    if args.list_ops {
        return list_ops();
    }
    if let (Some(source), Some(level)) = (&args.source, args.dump) {
        return dump::run(args, source, level);
    }
    // clap requires both unless `--list-ops` or `--dump` is given.
    let (Some(source), Some(output)) = (&args.source, &args.output) else {
        return Err(CommandError::NothingToImport.into());
    };
    let started = Instant::now();
    let context = || format!("cannot import `{}`", source.display());
    guard(args, source, output, &[]).with_context(context)?;
    let made = made(args, source).with_context(context)?;
    // The model may have named more files.
    let output = guard(args, source, output, &made.also_read).with_context(context)?;
    for warning in &made.warnings {
        report::warn(&warning.to_string(), Some(warning.hint()));
    }
    let mut bar = Progress::bytes("writing");
    let output = output.path();
    let bytes = artifact::write_with_progress(output, &made.model, &mut |done, total| {
        bar.set(done, total);
    })
    .with_context(|| format!("cannot write `{}`", output.display()))?;
    drop(bar);
    summary(source, &made, output, bytes, started)
}

/// The file to write, unless the import reads it.
fn guard(args: &ImportArgs, source: &Path, output: &Path, beside: &[PathBuf]) -> Result<Output> {
    let mut guard = Guard::new();
    guard.reads("the model", source)?;
    for path in beside {
        guard.reads("a file beside the model", path)?;
    }
    guard.may_read("the labels", args.labels.as_ref())?;
    guard.may_read("the recipe", args.preprocess.as_ref())?;
    guard.may_read("the configuration", args.config.as_ref())?;
    guard.may_read("the field mapping", args.fields.as_ref())?;
    Ok(guard.writes("-o", output)?)
}

fn list_ops() -> Result<()> {
    let mut table = Table::new(&[
        ("format", Align::Left),
        ("layer", Align::Left),
        ("becomes", Align::Left),
        ("limits", Align::Left),
    ]);
    for op in supported_ops() {
        table.row([op.format, op.name, op.becomes, op.limits]);
    }
    Ok(report::print(table.to_string())?)
}

/// The graph in a source.
pub(super) fn read(args: &ImportArgs, source: &Path) -> Result<Imported> {
    let mut bar = Progress::bytes("reading");
    import(source, &options(args), &mut |p| {
        bar.set(p.done_bytes, p.total_bytes);
    })
    .with_context(|| format!("cannot import `{}`", source.display()))
}

pub(super) fn options(args: &ImportArgs) -> ImportOptions {
    ImportOptions {
        config: args.config.clone(),
        output: args.output_name.clone(),
        input_size: args.input_size.map(|size| [size.height, size.width]),
        ..ImportOptions::default()
    }
}

pub(super) fn made(args: &ImportArgs, source: &Path) -> Result<Made> {
    let mut import = Import::new(source).options(options(args));
    if let Some(labels) = &args.labels {
        import = import.labels(labels);
    }
    if let Some(recipe) = &args.preprocess {
        import = import.preprocess(recipe);
    }
    if let Some(head) = args.head {
        import = import.head(head);
    }
    if let Some(fields) = &args.fields {
        import = import.fields(fields);
    }
    for given in &args.input_default {
        import = import.input_default(&given.name, given.values.clone());
    }
    let mut bar = (Stage::Reading, Progress::bytes("reading"));
    Ok(import.run(&mut |stage, done, total| {
        if stage != bar.0 {
            bar = (stage, Progress::bytes("hashing"));
        }
        bar.1.set(done, total);
    })?)
}

fn summary(source: &Path, made: &Made, output: &Path, bytes: u64, started: Instant) -> Result<()> {
    let Model { graph, manifest } = &made.model;
    let stats = graph.total_stats();
    let mut fields = Table::fields();
    fields.row([
        "imported",
        &format!(
            "{} ({})",
            source.display(),
            manifest.provenance.source_format
        ),
    ]);
    let is_mapped = |name: &str| {
        let mapping = manifest.fields.as_ref();
        mapping.is_some_and(|mapping| mapping.inputs.iter().any(|input| input.name == name))
    };
    for (spec, (_, node)) in manifest.inputs.iter().zip(graph.inputs()) {
        let what = match &spec.kind {
            InputKind::Image { preprocessing } => {
                format!(
                    "photo, {}",
                    preprocessing.preset.as_deref().unwrap_or("own recipe")
                )
            }
            InputKind::Vector { default: Some(_) } => "numbers, with a default".to_owned(),
            InputKind::Vector { .. } if is_mapped(&spec.name) => "numbers, from fields".to_owned(),
            InputKind::Vector { default: None } => {
                "numbers, to be given with every prediction".to_owned()
            }
        };
        fields.row(["input", &format!("{} {} ({what})", spec.name, node.shape)]);
    }
    fields.row(["labels", &some_labels(&manifest.labels)]);
    fields.row(["answer", &answer(manifest.head, &made.head_origin)]);
    fields.row(["parameters", &Count(stats.parameters).to_string()]);
    fields.row(["multiply-adds", &Count(stats.macs).to_string()]);
    fields.row([
        "written",
        &format!("{} ({})", output.display(), Bytes(bytes)),
    ]);
    let peak = measure::peak_rss_bytes().map_or("unavailable".to_owned(), |b| Bytes(b).to_string());
    let took = Millis(started.elapsed().as_secs_f64() * 1e3);
    fields.row(["took", &format!("{took}, peak RSS {peak}")]);
    Ok(report::print(fields.to_string())?)
}

/// What the answer is, and why.
pub(super) fn answer(head: Head, origin: &HeadOrigin) -> String {
    let meaning = head.meaning();
    match origin {
        HeadOrigin::Graph => meaning.to_owned(),
        HeadOrigin::Loss(loss) => format!("{meaning}, as its loss `{loss}` of logits says"),
        HeadOrigin::Asked => format!("{meaning}, as `--head` says"),
        HeadOrigin::Stated => format!("{meaning}, as the file's metadata says"),
        HeadOrigin::Assumed => format!("{meaning}, assumed"),
    }
}

/// The labels, or the first of them if there are many: `dermal inspect --json` has all.
pub(super) fn some_labels(labels: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    match labels.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown}, and {more} more"),
    }
}
