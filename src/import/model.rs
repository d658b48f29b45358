//! Turns a model file, and facts that it does not contain, into a [`Model`] that runs: all of
//! `dermal import` except the writing.
//!
//! In: the source's path, and labels, recipe, head, defaults and mapping of fields in the forms
//! that users have. Out: a [`Model`] for `artifact::write`, and [`Warning`]s about facts that were
//! not given. [`super::import`] knows the formats; this file joins them with the rest.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::head::{self, HeadError, HeadOrigin, Headed};
use super::labels::{self, LabelsError};
use super::scaling::{self, Fit};
use super::{ImportError, ImportOptions, LabelsFile, Stated, import};
use crate::artifact::{
    self, FieldMapping, FieldMappingError, Head, ImportWarning, InputKind, InputSpec, Manifest,
    Model, Preprocessing, PreprocessingError, Provenance,
};
use crate::file;
use crate::graph::{Graph, GraphError, Node, pass};
use crate::hint::{Arguments, Hint, named};
use crate::predict::PredictError;
use crate::predict::selftest::{self, RecordError};
use crate::text::{self, MAX_SETTINGS_BYTES, TextError};

/// Most classes of a model. ImageNet-21k has 21,841; a model that answers with a map can have millions
/// of outputs, and each would get a name.
const MAX_CLASSES: usize = 100_000;

/// What to import, and the facts that its file does not contain.
///
/// ```
/// use dermal::import::Import;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let made = Import::new("fixtures/import/nested.keras")
///     .labels("benign,malignant")
///     .preprocess("raw")
///     .run(&mut |_, _, _| {})?;
/// assert!(made.warnings.is_empty());
/// assert_eq!(made.model.manifest.labels, ["benign", "malignant"]);
/// # let folder = std::env::temp_dir().join(format!("dermal-import-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("model.safetensors");
/// dermal::artifact::write(&path, &made.model)?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Import {
    source: PathBuf,
    options: ImportOptions,
    labels: Option<OsString>,
    preprocess: Option<OsString>,
    head: Option<Head>,
    defaults: Vec<(String, Vec<f32>)>,
    fields: Option<PathBuf>,
}

/// The result of [`Import::run`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Made {
    /// The model, ready to be written or run.
    pub model: Model,
    /// How its head was determined.
    pub head_origin: HeadOrigin,
    /// Whether the user or the file says how photos are prepared; if not, pixels go in as they are.
    pub found_recipe: bool,
    /// Files beside the source that were read as well.
    pub also_read: Vec<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// The parts of an import that take time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The source is checked and read.
    Reading,
    /// The source is hashed.
    Hashing,
}

/// A reason why answers may be wrong, although the import works.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// Classes are numbered, since no names were given.
    NoLabels {
        /// How many there are.
        classes: usize,
    },
    /// Pixels go in unchanged, and nothing shows that the model expects that.
    NoPreprocessing,
    /// Pixels are scaled as most files of this format expect it, and nothing shows that this one does.
    AssumedPreprocessing {
        /// How.
        preset: &'static str,
    },
    /// Pixels go in unchanged, and the model's own scaling turns them into large numbers.
    NotScaled {
        /// The least value after the model's own scaling.
        low: f64,
        /// The largest.
        high: f64,
    },
    /// Recipe and model both scale or centre the pixels.
    ScaledTwice {
        /// The recipe, by the user's name for it.
        recipe: String,
        /// The least value after both.
        low: f64,
        /// The largest.
        high: f64,
    },
    /// The model ends in raw numbers, and softmax was assumed.
    AssumedSoftmax,
    /// The model does not answer a generated photo, so servers cannot test it.
    NoSelfTest {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLabels { classes } => write!(
                f,
                "no labels given: the classes are called `class_0` to `class_{}`",
                classes.saturating_sub(1)
            ),
            Self::NoPreprocessing => f.write_str(
                "no preprocessing given: pixels go in as 0..255 (`raw`), and the model does not \
                 scale them itself",
            ),
            Self::AssumedPreprocessing { preset } => write!(
                f,
                "the file does not say how pixels are scaled: `{preset}` (-1..1) is assumed, a guess \
                 that fits most such files"
            ),
            Self::NotScaled { low, high } => write!(
                f,
                "pixels go in as they are, and the model's own scaling makes {} to {} of them",
                number(*low),
                number(*high)
            ),
            Self::ScaledTwice { recipe, low, high } => write!(
                f,
                "`{recipe}` scales the pixels, and the model scales them again: its first layer \
                 sees {} to {}",
                number(*low),
                number(*high)
            ),
            Self::AssumedSoftmax => f.write_str(
                "the model ends in raw numbers, and the file does not say how they \
                 become probabilities: softmax (one of the classes) is assumed",
            ),
            Self::NoSelfTest { why } => {
                write!(f, "the model does not answer a generated photo: {why}")
            }
        }
    }
}

impl Warning {
    /// The form that the artifact stores.
    fn recorded(&self) -> ImportWarning {
        ImportWarning {
            kind: self.kind().to_owned(),
            message: self.to_string(),
        }
    }

    /// A stable name of the kind of warning.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoLabels { .. } => "no_labels",
            Self::NoPreprocessing => "no_preprocessing",
            Self::AssumedPreprocessing { .. } => "assumed_preprocessing",
            Self::NotScaled { .. } => "not_scaled",
            Self::ScaledTwice { .. } => "scaled_twice",
            Self::AssumedSoftmax => "assumed_softmax",
            Self::NoSelfTest { .. } => "no_self_test",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoLabels { .. } => {
                "import again with `--labels a,b,c`, in the order of the training folders"
            }
            Self::NoPreprocessing => {
                "if it was trained on scaled pixels its answers are now wrong: import again with \
                 `--preprocess unit`, `keras-mobilenet-v2`, ... (docs/preprocessing.md)"
            }
            Self::AssumedPreprocessing { .. } => {
                "if it was trained on other pixels its answers are now wrong: import again with \
                 `--preprocess unit` (0..1) or `raw` (0..255), as the training code says \
                 (docs/preprocessing.md)"
            }
            Self::NotScaled { .. } => {
                "if it was trained on pixels of 0..1, import again with `--preprocess unit` \
                 (docs/preprocessing.md)"
            }
            Self::ScaledTwice { .. } => {
                "if the training code gave the model pixels of 0..255, import again with \
                 `--preprocess raw`"
            }
            Self::AssumedSoftmax => {
                "say so with `--head softmax`; or give `--head multi-sigmoid` if it was trained \
                 with a binary cross-entropy, which has a sigmoid each"
            }
            Self::NoSelfTest { .. } => {
                "a server will not notice a damaged copy of this file; check `--preprocess` and the \
                 weights"
            }
        }
    }
}

/// Four digits are enough to recognise a range.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

/// Why no model could be made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The source cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The graph is not valid after a pass.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// It is not known how the output becomes probabilities.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The labels cannot be used.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// The source cannot be read.
    #[error("{0}")]
    File(String, #[source] std::io::Error),
    /// A recipe or a mapping cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A path does not exist.
    #[error("there is no file `{path}`")]
    NoFile {
        /// The path.
        path: String,
        /// What to give instead.
        hint: &'static str,
    },
    /// The recipe does not make the model's input.
    #[error("cannot use preprocessing `{}`", text::shorten(recipe))]
    Preprocessing {
        /// The user's name for it.
        recipe: String,
        /// What is wrong.
        source: PreprocessingError,
    },
    /// The mapping of fields does not fit.
    #[error("cannot use the field mapping `{path}`")]
    Fields {
        /// The file.
        path: String,
        /// What is wrong.
        source: FieldMappingError,
    },
    /// The inputs are not those of a photo classifier, or a default does not fit.
    #[error("{problem}")]
    Inputs {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// The requested head does not fit what the model computes.
    #[error("for a generated photo {0}")]
    NotProbability(PredictError),
}

impl Hint for ModelError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Import(error) => error.kind(),
            Self::Graph(_) => "graph",
            Self::Head(error) => error.kind(),
            Self::Labels(error) => error.kind(),
            Self::File(..) => "io",
            Self::Text(error) => error.kind(),
            Self::NoFile { .. } => "no_file",
            Self::Preprocessing { source, .. } => source.kind(),
            Self::Fields { source, .. } => source.kind(),
            Self::Inputs { .. } => "inputs",
            Self::NotProbability(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Import(error) => error.hint(),
            Self::Graph(_) => "check that the file loads in the program that made it".to_owned(),
            Self::Head(error) => error.hint(),
            Self::Labels(error) => error.hint(),
            Self::File(..) => "check the path and its permissions".to_owned(),
            Self::Text(error) => error.hint(),
            Self::NoFile { hint, .. } => (*hint).to_owned(),
            Self::Preprocessing { source, .. } => source.hint(),
            Self::Fields { source, .. } => source.hint(),
            Self::Inputs { hint, .. } => hint.clone(),
            Self::NotProbability(_) => {
                "the output is not a probability: give `--head softmax`, `sigmoid` or \
                 `multi-sigmoid`, as the training code does"
                    .to_owned()
            }
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Import(error) => error.arguments(),
            Self::Head(error) => error.arguments(),
            Self::Labels(error) => error.arguments(),
            Self::File(message, _) => named!(message),
            Self::Text(error) => error.arguments(),
            Self::NoFile { path, .. } => named!(path),
            Self::Preprocessing { recipe, source } => named!(recipe).and(source),
            Self::Fields { path, source } => named!(path).and(source),
            Self::Inputs { problem, .. } => named!(problem),
            Self::NotProbability(error) => error.arguments(),
            Self::Graph(_) => named!(),
        }
    }
}

impl Import {
    /// The import of a file, without any options.
    #[must_use]
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            ..Self::default()
        }
    }

    /// Class names in the order of the outputs: `a,b,c`, or a file's path (see [`labels`]).
    #[must_use]
    pub fn labels(mut self, names_or_file: impl Into<OsString>) -> Self {
        self.labels = Some(names_or_file.into());
        self
    }

    /// How photos become the input: a preset's name, or a YAML file's path.
    #[must_use]
    pub fn preprocess(mut self, preset_or_file: impl Into<OsString>) -> Self {
        self.preprocess = Some(preset_or_file.into());
        self
    }

    /// How the output becomes probabilities, if the file does not say it.
    #[must_use]
    pub fn head(mut self, head: Head) -> Self {
        self.head = Some(head);
        self
    }

    /// Values of an extra input for predictions that give none.
    #[must_use]
    pub fn input_default(mut self, input: impl Into<String>, values: Vec<f32>) -> Self {
        self.defaults.push((input.into(), values));
        self
    }

    /// A YAML file that says how named facts become extra inputs.
    #[must_use]
    pub fn fields(mut self, file: impl Into<PathBuf>) -> Self {
        self.fields = Some(file.into());
        self
    }

    /// Options for the reader of the format.
    #[must_use]
    pub fn options(mut self, options: ImportOptions) -> Self {
        self.options = options;
        self
    }

    /// Reads everything. `progress` gets the stage, the bytes done and the bytes in all.
    ///
    /// # Errors
    /// [`ModelError`] for the first thing that cannot be read, or does not fit the rest.
    pub fn run(&self, progress: &mut dyn FnMut(Stage, u64, u64)) -> Result<Made, ModelError> {
        let imported = import(&self.source, &self.options, &mut |p| {
            progress(Stage::Reading, p.done_bytes, p.total_bytes);
        })?;
        let mut warnings = Vec::new();
        let loss = imported.loss.as_ref();
        let stated = &imported.stated;
        // Other heads are at the end of the graph.
        let is_last = stated.head.as_deref() == Some(Head::Probabilities.option());
        let asked = self.head.or(is_last.then_some(Head::Probabilities));
        let mut headed = head::find(imported.graph, loss, asked)?;
        if self.head.is_none() && headed.origin == HeadOrigin::Asked {
            headed.origin = HeadOrigin::Stated;
        }
        if headed.origin == HeadOrigin::Assumed {
            warnings.push(Warning::AssumedSoftmax);
        }
        let found = imported.labels.as_ref();
        let (headed, labels) = self.labelled(headed, found, &mut warnings)?;
        let said = Said {
            preset: imported.preset,
            recipe: imported.recipe.as_deref(),
            likely_preset: imported.likely_preset,
        };
        let inputs = self.inputs(&headed.graph, &said, stated, &mut warnings)?;
        let graph = pass::optimize(headed.graph)?;
        let fields = self.field_mapping(&inputs, stated, &graph)?;
        // Weights in other files are part of the source.
        let also = imported.also_read.iter().map(PathBuf::as_path);
        let files: Vec<&Path> = std::iter::once(self.source.as_path()).chain(also).collect();
        let source_sha256 = file::sha256_of_files(&files, &mut |done, total| {
            progress(Stage::Hashing, done, total);
        })
        .map_err(|source| {
            ModelError::File(format!("cannot read `{}`", self.source.display()), source)
        })?;
        let provenance = Provenance {
            source_file: name_of(&self.source),
            source_sha256,
            source_format: imported.source_format,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            options: self.recorded(),
            warnings: Vec::new(),
        };
        let mut manifest = Manifest::new(inputs, labels, headed.head, provenance);
        manifest.fields = fields;
        let mut model = Model { graph, manifest };
        match selftest::record_portably(&model) {
            Ok(record) => model.manifest.self_test = Some(record),
            Err(RecordError::Predict(error @ PredictError::NotProbability { .. })) => {
                return Err(ModelError::NotProbability(error));
            }
            Err(error) => warnings.push(Warning::NoSelfTest {
                why: error.to_string(),
            }),
        }
        model.manifest.provenance.warnings = warnings.iter().map(Warning::recorded).collect();
        Ok(Made {
            model,
            head_origin: headed.origin,
            found_recipe: self.preprocess.is_some()
                || imported.preset.is_some()
                || imported.recipe.is_some(),
            also_read: imported.also_read,
            warnings,
        })
    }

    /// The labels, and the graph with an output for each of them.
    fn labelled(
        &self,
        headed: Headed,
        found: Option<&LabelsFile>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(Headed, Vec<String>), ModelError> {
        let given = match (&self.labels, found) {
            (Some(given), _) => Some(labels::from_option(given)?),
            (None, Some(file)) => Some(labels::from_bytes(&file.bytes, Path::new(&file.name))?),
            (None, None) => None,
        };
        let outputs = headed.graph.node(headed.graph.output()).shape.len();
        if outputs > MAX_CLASSES {
            return Err(ModelError::Inputs {
                problem: format!(
                    "the model has {outputs} outputs; a classifier has at most {MAX_CLASSES}"
                ),
                hint: "this looks like a model whose answer is a picture: choose another output \
                       with `--output-name`"
                    .to_owned(),
            });
        }
        let (expected, why) = match headed.head {
            Head::BinarySigmoid => (2, " (a sigmoid output has two classes, that of 0 first)"),
            // A single probability belongs to the second of two classes, unless one label shows
            // that there is one class.
            Head::Probabilities if outputs == 1 => match given.as_ref().map(Vec::len) {
                Some(1) => (1, ""),
                _ => (2, " (a probability is that of the second of two classes)"),
            },
            _ => (outputs, ""),
        };
        let labels = if let Some(labels) = given {
            labels::check_count(&labels, expected, why)?;
            labels
        } else {
            warnings.push(Warning::NoLabels { classes: expected });
            (0..expected).map(|i| format!("class_{i}")).collect()
        };
        let complement = headed.head == Head::Probabilities && outputs == 1 && expected == 2;
        let graph = if complement {
            head::with_complement(headed.graph)?
        } else {
            headed.graph
        };
        Ok((Headed { graph, ..headed }, labels))
    }

    /// The photo's recipe and the defaults of other inputs.
    fn inputs(
        &self,
        graph: &Graph,
        said: &Said,
        stated: &Stated,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<InputSpec>, ModelError> {
        let wrong = |problem: String, hint: String| Err(ModelError::Inputs { problem, hint });
        let mut defaults: Vec<&(String, Vec<f32>)> = self.defaults.iter().collect();
        let names: Vec<String> = graph
            .inputs()
            .map(|(_, node)| format!("`{}`", node.name))
            .collect();
        let stated_defaults = stated.inputs.as_deref().map(artifact::defaults_from_json);
        let stated_defaults = stated_defaults.unwrap_or_default();
        let mut specs = Vec::new();
        let mut photos = 0;
        for (_, node) in graph.inputs() {
            let given = defaults.iter().position(|given| given.0 == node.name);
            let given = given.map(|i| defaults.swap_remove(i));
            let kind = match (node.shape.hwc(), given) {
                (Some(_), Some(_)) => {
                    return wrong(
                        format!("input `{}` is the photo and has no default", node.name),
                        "leave out its `--input-default`".to_owned(),
                    );
                }
                (Some(shape), None) => {
                    photos += 1;
                    let given = self.preprocess.as_deref();
                    let preprocessing = said.recipe(graph, given, shape, warnings)?;
                    InputKind::Image { preprocessing }
                }
                (None, given) => {
                    let given = given.or_else(|| stated_defaults.iter().find(|d| d.0 == node.name));
                    InputKind::Vector {
                        default: default_values(node, given)?,
                    }
                }
            };
            specs.push(InputSpec {
                name: node.name.clone(),
                kind,
            });
        }
        if let Some((unknown, _)) = defaults.first() {
            return wrong(
                format!("the model has no input `{unknown}`"),
                format!("its inputs are {}", names.join(", ")),
            );
        }
        if photos != 1 {
            return wrong(
                format!(
                    "the model has {photos} inputs of shape [height, width, channels], not one"
                ),
                format!(
                    "photo classifiers take one photo; the inputs are {}",
                    names.join(", ")
                ),
            );
        }
        Ok(specs)
    }

    fn field_mapping(
        &self,
        inputs: &[InputSpec],
        stated: &Stated,
        graph: &Graph,
    ) -> Result<Option<FieldMapping>, ModelError> {
        let Some(path) = &self.fields else {
            // A mapping of metadata that does not fit is left out: it is not needed to use the model.
            let inputs = artifact::vector_inputs(inputs, graph);
            let text = stated.fields.as_deref().unwrap_or_default();
            return Ok(FieldMapping::from_json(text, &inputs));
        };
        let text = text::read(path, MAX_SETTINGS_BYTES)?;
        FieldMapping::from_yaml(&text, &artifact::vector_inputs(inputs, graph))
            .map(Some)
            .map_err(|source| ModelError::Fields {
                path: path.display().to_string(),
                source,
            })
    }

    /// The options that shaped the artifact. Only the names of files are recorded: their folders
    /// are private, and the same import elsewhere must make the same bytes.
    fn recorded(&self) -> Vec<String> {
        let mut options = Vec::new();
        let files = [
            ("--labels", self.labels.as_deref()),
            ("--preprocess", self.preprocess.as_deref()),
            (
                "--config",
                self.options.config.as_deref().map(Path::as_os_str),
            ),
            ("--fields", self.fields.as_deref().map(Path::as_os_str)),
        ];
        for (name, value) in files {
            if let Some(value) = value {
                options.push(format!("{name} {}", without_folder(value)));
            }
        }
        if let Some(head) = self.head {
            options.push(format!("--head {}", head.option()));
        }
        if let Some(output) = &self.options.output {
            options.push(format!("--output-name {output}"));
        }
        for (name, values) in &self.defaults {
            let values: Vec<String> = values.iter().map(f32::to_string).collect();
            options.push(format!("--input-default {name}={}", values.join(",")));
        }
        if let Some([height, width]) = self.options.input_size {
            options.push(format!("--input-size {height}x{width}"));
        }
        options
    }
}

/// What a file says about its pixels.
struct Said<'a> {
    preset: Option<&'static str>,
    recipe: Option<&'a str>,
    likely_preset: Option<&'static str>,
}

impl Said<'_> {
    /// The recipe of the photo: the user's, the file's, or a guess.
    fn recipe(
        &self,
        graph: &Graph,
        given: Option<&OsStr>,
        shape: [usize; 3],
        warnings: &mut Vec<Warning>,
    ) -> Result<Preprocessing, ModelError> {
        if let (None, Some(text)) = (given, self.recipe) {
            let made = Preprocessing::from_yaml(text, shape);
            let made = made.map_err(|source| ModelError::Preprocessing {
                recipe: "metadata".to_owned(),
                source,
            })?;
            judge(graph, Some(OsStr::new("metadata")), &made, warnings);
            return Ok(made);
        }
        let given = given.or(self.preset.map(OsStr::new));
        let made = recipe(given, shape)?;
        if let (None, Some(preset)) = (given, self.likely_preset)
            && scaling::judge(graph, &made) == Fit::NotScaled
        {
            warnings.push(Warning::AssumedPreprocessing { preset });
            return recipe(Some(OsStr::new(preset)), shape);
        }
        judge(graph, given, &made, warnings);
        Ok(made)
    }
}

/// A recipe as the user or the file names it.
fn recipe(given: Option<&OsStr>, shape: [usize; 3]) -> Result<Preprocessing, ModelError> {
    let given = given.unwrap_or(OsStr::new("raw"));
    let recipe = given.to_string_lossy().into_owned();
    let path = Path::new(given);
    let named = if path.is_file() {
        let text = text::read(path, MAX_SETTINGS_BYTES)?;
        Preprocessing::from_yaml(&text, shape)
    } else if recipe.contains(['.', '/', '\\']) {
        return Err(ModelError::NoFile {
            path: recipe,
            hint: "check the path of `--preprocess`, or give a preset's name \
                   (docs/preprocessing.md lists them)",
        });
    } else {
        Preprocessing::preset(&recipe, shape)
    };
    named.map_err(|source| ModelError::Preprocessing { recipe, source })
}

/// Warns if recipe and model together make pixels with which no model is trained.
fn judge(
    graph: &Graph,
    given: Option<&OsStr>,
    recipe: &Preprocessing,
    warnings: &mut Vec<Warning>,
) {
    let raw = !scaling::recipe_changes(recipe);
    match scaling::judge(graph, recipe) {
        Fit::NotScaled if given.is_none() => {
            warnings.push(Warning::NoPreprocessing);
        }
        Fit::TooLarge(reach) if raw => warnings.push(Warning::NotScaled {
            low: reach.low,
            high: reach.high,
        }),
        Fit::Twice(reach) => {
            warnings.push(Warning::ScaledTwice {
                recipe: without_folder(given.unwrap_or_default()),
                low: reach.low,
                high: reach.high,
            });
        }
        Fit::NotScaled | Fit::TooLarge(_) | Fit::Usual => {}
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The name of a file, or the value itself if it does not name a file.
fn without_folder(value: &OsStr) -> String {
    let path = Path::new(value);
    if path.is_file() {
        return name_of(path);
    }
    value.to_string_lossy().into_owned()
}

fn default_values(
    node: &Node,
    given: Option<&(String, Vec<f32>)>,
) -> Result<Option<Vec<f32>>, ModelError> {
    let Some((_, values)) = given else {
        return Ok(None);
    };
    let expected = node.shape.len();
    if values.len() != expected {
        return Err(ModelError::Inputs {
            problem: format!(
                "input `{}`: expected {expected} values, got {}",
                node.name,
                values.len()
            ),
            hint: "give one value an element with `--input-default NAME=v,v,...`".to_owned(),
        });
    }
    Ok(Some(values.clone()))
}
