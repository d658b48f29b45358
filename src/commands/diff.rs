//! `dermal diff`: in what two models differ.

use std::path::Path;

use serde::Serialize;

use super::{Context, Outcome, Result};
use crate::artifact::{self, ArtifactError, Model};
use crate::cli::DiffArgs;
use crate::diff::{Change, Difference, WeightChange, diff};
use crate::import::{Import, ImportError, ImportOptions, Made, ModelError, Warning};
use crate::report::{self, Align, SCHEMA_VERSION, Table};
use crate::text::shorten_to;
use crate::units::{Bytes, Count};

/// Lines of a list that people read; `--json` has all.
const SHOWN: usize = 12;

/// Columns of a terminal.
const WIDTH: usize = 80;

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    models: [Named; 2],
    same: bool,
    differences: usize,
    /// What a source does not say.
    not_compared: &'a [&'static str],
    #[serde(flatten)]
    difference: &'a Difference,
}

#[derive(Clone, Serialize)]
struct Named {
    path: String,
    format: String,
}

/// A model to compare, and what is not known of it.
struct Side {
    model: Model,
    named: Named,
    unknown: Vec<&'static str>,
}

pub(super) fn run(args: &DiffArgs) -> Result<Outcome> {
    let paths = [&args.first, &args.second];
    // Artifacts first: a source may need to be told what its artifact knows.
    let mut sides = [None, None];
    for (side, path) in sides.iter_mut().zip(paths) {
        *side = artifact_at(path)?;
    }
    for i in [0, 1] {
        if sides[i].is_none() {
            let other = sides[1 - i].as_ref().map(|side: &Side| &side.model);
            sides[i] = Some(source_at(paths[i], other)?);
        }
    }
    let [Some(first), Some(second)] = sides else {
        // Each has been set above.
        return Ok(Outcome::CannotTell);
    };
    let mut difference = diff(&first.model, &second.model);
    let mut unknown: Vec<&'static str> = [&first, &second]
        .into_iter()
        .flat_map(|side| side.unknown.iter().copied())
        .collect();
    unknown.dedup();
    if unknown.contains(&"labels") {
        difference.labels.clear();
    }
    if unknown.contains(&"preprocessing") {
        difference
            .inputs
            .retain(|change| change.what.starts_with("input "));
    }
    let same = difference.is_none();
    let names = [first.named, second.named];
    if args.json {
        report::print_json(&Report {
            schema_version: SCHEMA_VERSION,
            models: names,
            same,
            differences: difference.count(),
            not_compared: &unknown,
            difference: &difference,
        })?;
    } else {
        let text = text(&difference, &names, &unknown);
        report::print(report::printable(&text))?;
    }
    Ok(if same { Outcome::Yes } else { Outcome::No })
}

/// The artifact at a path; `None` if the file is of another format.
fn artifact_at(path: &Path) -> Result<Option<Side>> {
    match artifact::load(path) {
        Ok(model) => Ok(Some(Side {
            model,
            named: Named {
                path: path.display().to_string(),
                format: "artifact".to_owned(),
            },
            unknown: Vec::new(),
        })),
        Err(ArtifactError::Foreign(_)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot load model `{}`", path.display())),
    }
}

/// A file of another format as a model. If it needs to be told a size or a head, those of the other
/// model are taken.
fn source_at(path: &Path, other: Option<&Model>) -> Result<Side> {
    let context = || format!("cannot import `{}`", path.display());
    let mut import = Import::new(path);
    let mut made = import.run(&mut |_, _, _| {});
    if let (Err(ModelError::Import(ImportError::InputSize { .. })), Some(other)) = (&made, other) {
        let inputs = other.graph.inputs();
        let mut images = inputs.filter_map(|(_, node)| node.shape.hwc());
        import = import.options(ImportOptions {
            input_size: images.next().map(|[rows, columns, _]| [rows, columns]),
            ..ImportOptions::default()
        });
        made = import.run(&mut |_, _, _| {});
    }
    if let (Err(ModelError::Head(_)), Some(other)) = (&made, other) {
        import = import.head(other.manifest.head);
        made = import.run(&mut |_, _, _| {});
    }
    let Made {
        model,
        warnings,
        found_recipe,
        ..
    } = made.with_context(context)?;
    let mut unknown = Vec::new();
    if warnings
        .iter()
        .any(|w| matches!(w, Warning::NoLabels { .. }))
    {
        unknown.push("labels");
    }
    if !found_recipe {
        unknown.push("preprocessing");
    }
    let format = model.manifest.provenance.source_format.clone();
    Ok(Side {
        model,
        named: Named {
            path: path.display().to_string(),
            format,
        },
        unknown,
    })
}

fn plural(n: usize, one: &str, many: &str) -> String {
    let word = if n == 1 { one } else { many };
    format!("{n} {word}")
}

/// The answer in a line.
fn answer(difference: &Difference) -> String {
    if difference.is_none() {
        return "the models are the same\n".to_owned();
    }
    let Difference {
        graph,
        weights,
        inputs,
        labels,
        head,
        ..
    } = difference;
    let mut parts = Vec::new();
    if !graph.is_empty() {
        parts.push(plural(graph.len(), "node", "nodes"));
    }
    if !weights.is_empty() {
        let mut layers: Vec<&str> = weights.iter().map(|w| w.node.as_str()).collect();
        layers.sort_unstable();
        layers.dedup();
        let (n, all) = (layers.len(), difference.weighted);
        parts.push(format!("the weights of {n} of {all} layers"));
    }
    if !inputs.is_empty() {
        parts.push(plural(
            inputs.len(),
            "fact of the input",
            "facts of the input",
        ));
    }
    if !labels.is_empty() {
        parts.push(plural(labels.len(), "label", "labels"));
    }
    if !head.is_empty() {
        parts.push("the head".to_owned());
    }
    format!("the models differ in {}\n", parts.join(", "))
}

fn text(difference: &Difference, names: &[Named; 2], unknown: &[&str]) -> String {
    let mut text = answer(difference);
    if !unknown.is_empty() {
        let facts = unknown.join(" and ");
        text += &format!("not compared, since a file does not say it: {facts}\n");
    }
    text.push('\n');
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("nodes", Align::Right),
        ("parameters", Align::Right),
        ("multiply-adds", Align::Right),
        ("weights", Align::Right),
    ]);
    for (name, sizes) in names.iter().zip(difference.sizes) {
        table.row([
            &tail(&name.path, 28),
            &sizes.nodes.to_string(),
            &Count(sizes.parameters).to_string(),
            &Count(sizes.macs).to_string(),
            &Bytes(sizes.weight_bytes).to_string(),
        ]);
    }
    text += &table.to_string();
    if !difference.weights.is_empty() {
        text += "\nweights, the largest difference first\n";
        text += &weights(&difference.weights);
    }
    for (title, changes) in [
        ("graph", &difference.graph),
        ("input", &difference.inputs),
        ("labels", &difference.labels),
        ("head", &difference.head),
    ] {
        if !changes.is_empty() {
            text += &format!("\n{title}\n");
            text += &list(changes);
        }
    }
    text
}

/// The last characters of a text: the end of a path says more than its start.
fn tail(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let end: String = text.chars().skip(count - (width - 3)).collect();
    format!("...{end}")
}

fn weights(changes: &[WeightChange]) -> String {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("part", Align::Left),
        ("differ", Align::Right),
        ("largest", Align::Right),
        ("share", Align::Right),
        ("stored", Align::Left),
    ]);
    for change in changes.iter().take(SHOWN) {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2e}"));
        let stored = match change.stored {
            [Some(a), Some(b)] if a == b => a.to_string(),
            [Some(a), Some(b)] => format!("{a}, {b}"),
            _ => String::new(),
        };
        table.row([
            &tail(&change.node, 26),
            change.part,
            &Count(change.differing as u64).to_string(),
            &number(change.largest),
            &number(change.relative),
            &stored,
        ]);
    }
    table.to_string() + &more(changes.len())
}

fn more(count: usize) -> String {
    match count.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!("and {more} more: `--json` has all\n"),
    }
}

fn list(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes.iter().take(SHOWN) {
        text += &format!("{}\n", shorten_to(&change.what, WIDTH - 2));
        let sides = [&change.first, &change.second];
        let start = common_start(sides);
        for (mark, side) in ["  - ", "  + "].into_iter().zip(sides) {
            let shown = match side {
                None => "(none)".to_owned(),
                Some(side) if start > 0 => format!("...{}", &side[start..]),
                Some(side) => side.clone(),
            };
            text += &format!("{mark}{}\n", shorten_to(&shown, WIDTH - 6));
        }
    }
    text + &more(changes.len())
}

/// How many bytes of two long texts can be left out, since they are the same.
fn common_start(sides: [&Option<String>; 2]) -> usize {
    let [Some(a), Some(b)] = sides else { return 0 };
    if a.len().max(b.len()) <= WIDTH - 6 {
        return 0;
    }
    let pairs = a.char_indices().zip(b.chars());
    let end = pairs.take_while(|((_, x), y)| x == y).last();
    let end = end.map_or(0, |((at, _), _)| at);
    // Some of it shows the place.
    let mut start = end.saturating_sub(24);
    while !(a.is_char_boundary(start) && b.is_char_boundary(start)) {
        start -= 1;
    }
    start
}
