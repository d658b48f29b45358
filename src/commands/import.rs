//! `dermal import`: a Keras file becomes an artifact.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::dump;
use super::failure;
use super::fields::read_field_mapping;
use super::session;
use crate::artifact::{
    self, Head, InputKind, InputSpec, Manifest, Model, Preprocessing, Provenance,
};
use crate::cli::ImportArgs;
use crate::file::{atomic, sha256_of_file};
use crate::graph::pass::{self, Answer};
use crate::graph::{Graph, Op};
use crate::import::{ImportOptions, Imported, import, supported_layers};
use crate::memory::measure;
use crate::predict::ExtraInput;
use crate::report::{self, Align, Progress, Table};
use crate::text::{self, MAX_SETTINGS_BYTES};
use crate::units::{Bytes, Count, Millis};

/// Labels in a file beyond this are no label file.
const MAX_LABEL_BYTES: u64 = 1 << 20;

pub(super) fn run(args: &ImportArgs) -> Result<()> {
    if args.list_ops {
        return list_ops();
    }
    if let (Some(source), Some(level)) = (&args.source, args.dump) {
        return dump::run(args, source, level);
    }
    // clap requires both unless `--list-ops` is given.
    let (Some(source), Some(output)) = (&args.source, &args.output) else {
        return Err(failure(
            "nothing to import",
            "give SOURCE and `-o OUT.safetensors`",
        ));
    };
    let started = Instant::now();
    let context = || format!("cannot import `{}`", source.display());
    atomic::check(output).with_context(context)?;
    let imported = read(args, source)?;
    let source_format = imported.source_format;
    let (graph, answer) = pass::split_head(imported.graph).with_context(context)?;
    let head = head(&graph, answer);
    let outputs = graph.node(graph.output()).shape.len();
    let labels = labels(args.labels.as_deref(), head, outputs)?;
    let inputs = inputs(args, &graph)?;
    let graph = pass::optimize(graph).with_context(context)?;
    let fields = match &args.fields {
        Some(path) => Some(read_field_mapping(
            path,
            &artifact::vector_inputs(&inputs, &graph),
        )?),
        None => None,
    };
    let mut bar = Progress::bytes("hashing");
    let sha256 =
        sha256_of_file(source, &mut |done, total| bar.set(done, total)).with_context(context)?;
    drop(bar);
    let provenance = Provenance {
        source_file: source
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        source_sha256: sha256,
        source_format,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        options: recorded_options(args),
    };
    let mut model = Model {
        graph,
        manifest: Manifest {
            inputs,
            labels,
            head,
            fields,
            provenance,
            quantization: None,
            evidence: None,
            self_test: None,
        },
    };
    model.manifest.self_test = session::self_test(&model);
    let mut bar = Progress::bytes("writing");
    let bytes =
        artifact::write_with_progress(output, &model, &mut |done, total| bar.set(done, total))
            .with_context(|| format!("cannot write `{}`", output.display()))?;
    drop(bar);
    summary(args, &model, output, bytes, started)
}

/// The graph that a source holds.
pub(super) fn read(args: &ImportArgs, source: &Path) -> Result<Imported> {
    let options = ImportOptions {
        config: args.config.clone(),
        input_size: args.input_size.map(|size| [size.height, size.width]),
        ..ImportOptions::default()
    };
    let mut bar = Progress::bytes("reading");
    import(source, &options, &mut |p| {
        bar.set(p.done_bytes, p.total_bytes);
    })
    .with_context(|| format!("cannot import `{}`", source.display()))
}

fn list_ops() -> Result<()> {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("becomes", Align::Left),
        ("limits", Align::Left),
    ]);
    for layer in supported_layers() {
        table.row([layer.class, layer.becomes, layer.limits]);
    }
    Ok(report::print(table.to_string())?)
}

fn head(graph: &Graph, answer: Answer) -> Head {
    let outputs = graph.node(graph.output()).shape.len();
    match answer {
        Answer::Softmax => Head::Softmax,
        Answer::Sigmoid if outputs == 1 => Head::BinarySigmoid,
        Answer::Sigmoid => Head::MultiLabelSigmoid,
        Answer::Logits => Head::Logits,
        Answer::Probabilities => Head::Probabilities,
    }
}

fn labels(given: Option<&OsStr>, head: Head, outputs: usize) -> Result<Vec<String>> {
    let expected = if head == Head::BinarySigmoid {
        2
    } else {
        outputs
    };
    let Some(given) = given else {
        report::warn(
            &format!(
                "no labels given: the classes are called `class_0` to `class_{}`",
                expected - 1
            ),
            Some("import again with `--labels a,b,c`, in the order of the training folders"),
        );
        return Ok((0..expected).map(|i| format!("class_{i}")).collect());
    };
    let path = Path::new(given);
    let labels: Vec<String> = if path.is_file() {
        let context = || format!("cannot read labels `{}`", path.display());
        let size = path.metadata().with_context(context)?.len();
        if size > MAX_LABEL_BYTES {
            return Err(failure(
                format!(
                    "`{}` has {}, too much for labels",
                    path.display(),
                    Bytes(size)
                ),
                "give a text file with one class name a line",
            ));
        }
        let text = std::fs::read_to_string(path).with_context(context)?;
        label_lines(&text)
    } else {
        given
            .to_string_lossy()
            .split(',')
            .map(|label| label.trim().to_owned())
            .collect()
    };
    check_labels(&labels, expected, head)?;
    Ok(labels)
}

/// One label a line; `0 name` and `0: name` lose their number where every line has its own.
fn label_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let named = |(i, line): (usize, &&str)| {
        let rest = line.strip_prefix(&i.to_string())?;
        let name = rest.trim_start_matches([' ', '\t', ':', ',']);
        (name.len() < rest.len() && !name.is_empty()).then(|| name.to_owned())
    };
    let numbered: Option<Vec<String>> = lines.iter().enumerate().map(named).collect();
    numbered.unwrap_or_else(|| lines.iter().map(|&line| line.to_owned()).collect())
}

fn check_labels(labels: &[String], expected: usize, head: Head) -> Result<()> {
    if labels.len() != expected {
        let why = match head {
            Head::BinarySigmoid => " (a sigmoid output has two classes, that of 0 first)",
            _ => "",
        };
        return Err(failure(
            format!(
                "the model has {expected} classes{why}, but {} labels were given",
                labels.len()
            ),
            "give one label a class with `--labels`, in the order of the outputs",
        ));
    }
    if let Some(i) = labels.iter().position(String::is_empty) {
        return Err(failure(
            format!("label {i} is empty"),
            "give every class a name",
        ));
    }
    let mut seen = BTreeSet::new();
    match labels.iter().find(|label| !seen.insert(label.as_str())) {
        Some(label) => Err(failure(
            format!("label `{label}` is given twice"),
            "class names must differ, or answers cannot be told apart",
        )),
        None => Ok(()),
    }
}

/// The photo's recipe and the defaults of other inputs.
fn inputs(args: &ImportArgs, graph: &Graph) -> Result<Vec<InputSpec>> {
    let mut defaults: Vec<&ExtraInput> = args.input_default.iter().collect();
    let names: Vec<String> = graph
        .inputs()
        .map(|(_, node)| format!("`{}`", node.name))
        .collect();
    let mut specs = Vec::new();
    let mut photos = 0;
    for (_, node) in graph.inputs() {
        let given = defaults.iter().position(|given| given.name == node.name);
        let given = given.map(|i| defaults.swap_remove(i));
        let kind = match (node.shape.hwc(), given) {
            (Some(_), Some(_)) => {
                return Err(failure(
                    format!("input `{}` is the photo and has no default", node.name),
                    "leave out its `--input-default`",
                ));
            }
            (Some(shape), None) => {
                photos += 1;
                InputKind::Image {
                    preprocessing: preprocessing(args, graph, shape)?,
                }
            }
            (None, given) => InputKind::Vector {
                default: default_values(node, given)?,
            },
        };
        specs.push(InputSpec {
            name: node.name.clone(),
            kind,
        });
    }
    if let Some(unknown) = defaults.first() {
        return Err(failure(
            format!("the model has no input `{}`", unknown.name),
            format!("its inputs are {}", names.join(", ")),
        ));
    }
    if photos != 1 {
        return Err(failure(
            format!("the model has {photos} inputs of shape [height, width, channels], not one"),
            format!(
                "photo classifiers take one photo; the inputs are {}",
                names.join(", ")
            ),
        ));
    }
    Ok(specs)
}

fn default_values(
    node: &crate::graph::Node,
    given: Option<&ExtraInput>,
) -> Result<Option<Vec<f32>>> {
    let Some(given) = given else { return Ok(None) };
    let expected = node.shape.len();
    if given.values.len() != expected {
        return Err(failure(
            format!(
                "input `{}`: expected {expected} values, got {}",
                node.name,
                given.values.len()
            ),
            "give one value an element with `--input-default NAME=v,v,...`",
        ));
    }
    Ok(Some(given.values.clone()))
}

fn preprocessing(args: &ImportArgs, graph: &Graph, shape: [usize; 3]) -> Result<Preprocessing> {
    let Some(given) = &args.preprocess else {
        if !normalizes(graph) {
            report::warn(
                "no preprocessing given: pixels go in as 0..255 (`raw`), and the model does not \
                 scale them itself",
                Some(
                    "if it was trained on scaled pixels its answers are now wrong: import again \
                     with `--preprocess unit`, `keras-mobilenet-v2`, ... (docs/preprocessing.md)",
                ),
            );
        }
        return Ok(Preprocessing::preset("raw", shape)?);
    };
    let path = Path::new(given);
    if path.is_file() || looks_like_a_path(path) {
        let context = || format!("cannot use preprocessing `{}`", path.display());
        let text = text::read(path, MAX_SETTINGS_BYTES).with_context(context)?;
        return Preprocessing::from_yaml(&text, shape).with_context(context);
    }
    Ok(Preprocessing::preset(&given.to_string_lossy(), shape)?)
}

/// Whether a file is meant, which may be missing: names of presets have neither folders nor an
/// ending.
fn looks_like_a_path(path: &Path) -> bool {
    path.components().count() > 1 || path.extension().is_some()
}

/// Whether the photo is scaled by the model itself, before anything else is done with it.
fn normalizes(graph: &Graph) -> bool {
    let photo = graph.inputs().find(|(_, node)| node.shape.hwc().is_some());
    let users = graph.users();
    photo.is_some_and(|(id, _)| {
        let mut readers = users[id.0].iter();
        readers.all(|&reader| matches!(graph.node(reader).op, Op::ScaleShift { .. }))
    })
}

/// The options that shaped the artifact. Of files only the name: where they lay is nobody's
/// business, and the same import elsewhere must make the same bytes.
fn recorded_options(args: &ImportArgs) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |name: &str, value: &OsStr| {
        let path = Path::new(value);
        let shown = if path.is_file() {
            path.file_name().unwrap_or(value)
        } else {
            value
        };
        options.push(format!("{name} {}", shown.to_string_lossy()));
    };
    if let Some(labels) = &args.labels {
        add("--labels", labels);
    }
    if let Some(recipe) = &args.preprocess {
        add("--preprocess", recipe);
    }
    if let Some(config) = &args.config {
        add("--config", config.as_os_str());
    }
    if let Some(fields) = &args.fields {
        add("--fields", fields.as_os_str());
    }
    for given in &args.input_default {
        let values: Vec<String> = given.values.iter().map(f32::to_string).collect();
        options.push(format!(
            "--input-default {}={}",
            given.name,
            values.join(",")
        ));
    }
    if let Some(size) = args.input_size {
        options.push(format!("--input-size {}x{}", size.height, size.width));
    }
    options
}

fn summary(
    args: &ImportArgs,
    model: &Model,
    output: &Path,
    bytes: u64,
    started: Instant,
) -> Result<()> {
    let Model { graph, manifest } = model;
    let stats = graph.total_stats();
    let mut fields = Table::fields();
    let source = args.source.as_deref().unwrap_or(Path::new("")).display();
    fields.row([
        "imported",
        &format!("{source} ({})", manifest.provenance.source_format),
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
    fields.row(["labels", &manifest.labels.join(", ")]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_files_may_be_numbered() {
        assert_eq!(
            label_lines("0 benign\n1 malignant\n"),
            ["benign", "malignant"]
        );
        assert_eq!(label_lines("0: a\n1: b c\n\n"), ["a", "b c"]);
        assert_eq!(label_lines("nv\r\nmel\r\n"), ["nv", "mel"]);
        // Not numbers of lines: they belong to the names.
        assert_eq!(label_lines("1 a\n2 b"), ["1 a", "2 b"]);
        assert_eq!(label_lines("0a\n1b"), ["0a", "1b"]);
    }

    #[test]
    fn labels_must_fit_the_outputs() {
        let check = |labels: &[&str], n, head| {
            let labels: Vec<String> = labels.iter().map(|&l| l.to_owned()).collect();
            check_labels(&labels, n, head).map_err(|e| e.to_string())
        };
        assert_eq!(check(&["a", "b"], 2, Head::Softmax), Ok(()));
        assert!(
            check(&["a"], 2, Head::BinarySigmoid)
                .unwrap_err()
                .contains("that of 0 first")
        );
        assert!(
            check(&["a", "a"], 2, Head::Softmax)
                .unwrap_err()
                .contains("twice")
        );
        assert!(
            check(&["a", ""], 2, Head::Softmax)
                .unwrap_err()
                .contains("empty")
        );
    }
}
