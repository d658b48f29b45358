//! Why a file cannot be imported, in terms that belong to no particular format.

use std::fmt;

use crate::graph::GraphError;
use crate::hint::{Arguments, Hint, named};
use crate::tensor::Shape;
use crate::text::{nearest, shorten};

/// The `activation` of a layer that is an anonymous function.
pub(super) const LAMBDA: &str = "a Python lambda";

/// A place in a model: a layer of Keras, a node of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The format's word for it: `layer`, `node`.
    pub what: &'static str,
    /// Its name, with those of the enclosing models.
    pub name: String,
    /// Its class or operator.
    pub class: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` ({})", self.what, self.name, self.class)
    }
}

impl Place {
    /// For an error about it.
    fn arguments(&self) -> Arguments {
        let Self { what, name, class } = self;
        named!(what, name, class)
    }

    /// What is wrong at this place.
    pub(super) fn invalid(&self, message: impl Into<String>) -> ImportError {
        invalid(&self.to_string(), message.into())
    }

    /// An attribute here has a value that is not implemented.
    pub(super) fn refused(
        &self,
        attribute: impl Into<String>,
        value: impl fmt::Display,
        expected: impl Into<Box<str>>,
    ) -> ImportError {
        ImportError::UnsupportedValue {
            place: self.clone(),
            attribute: attribute.into(),
            value: shorten(&value.to_string()).into(),
            expected: expected.into(),
        }
    }

    /// This class is not supported.
    pub(super) fn unsupported(&self) -> ImportError {
        ImportError::UnsupportedLayer {
            place: self.clone(),
        }
    }

    /// A node of this place is not valid in the graph.
    pub(super) fn graph(&self, source: GraphError) -> ImportError {
        ImportError::Graph {
            place: self.clone(),
            source: Box::new(source),
        }
    }
}

/// The description of a model is wrong at `place`.
pub(super) fn invalid(place: &str, message: String) -> ImportError {
    ImportError::Config {
        place: place.to_owned(),
        message,
    }
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a model that can be imported.
    #[error("`{path}` is {found}, not a model file that can be imported")]
    Format {
        /// The file.
        path: String,
        /// The kind of the file, by its content.
        found: Box<str>,
        /// The next step.
        hint: Box<str>,
    },
    /// A bound of [`Limits`](super::Limits) is exceeded.
    #[error("{what}: {got} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        got: u64,
        /// The bound.
        limit: u64,
    },
    /// The zip archive is damaged or incomplete.
    #[error("{place}: {message}")]
    Archive {
        /// The place: `entry config.json`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The HDF5 file is damaged, or its format does not write such files.
    #[error("{place}: {message}")]
    Hdf5 {
        /// The place: `dataset layers/dense/vars/0`.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The protocol buffer of an ONNX file is damaged, or larger than any model's.
    #[error("byte {offset}: {message}")]
    Protobuf {
        /// From the start of the file.
        offset: usize,
        /// What is wrong there.
        message: Box<str>,
    },
    /// The FlatBuffer of a TFLite file is damaged, or larger than any model's.
    #[error("byte {offset}: {message}")]
    FlatBuffer {
        /// From the start of the file, or of its metadata.
        offset: usize,
        /// What is wrong there.
        message: Box<str>,
    },
    /// Weights that stand in a file beside the model cannot be read.
    #[error("weights are in `{location}`: {message}")]
    ExternalData {
        /// The file, as the model names it.
        location: String,
        /// What is wrong with it.
        message: Box<str>,
        /// The next step.
        hint: Box<str>,
    },
    /// Operators that the importer does not know, all at once.
    #[error("{}", UnsupportedList(operators))]
    UnsupportedOperators {
        /// What there is of each.
        operators: Vec<UnsupportedOperator>,
    },
    /// What a node does cannot be said in the graph.
    #[error("{place}: {message}")]
    Unrepresentable {
        /// The node.
        place: Place,
        /// What it does.
        message: Box<str>,
        /// The next step.
        hint: Box<str>,
    },
    /// A file of weights without the description of the layers.
    #[error("`{path}` holds weights only, not the layers")]
    NeedsConfig {
        /// The file.
        path: String,
    },
    /// `ImportOptions::config` is given for a file that has its own configuration.
    #[error("`{path}` has its own configuration, so no second one is allowed")]
    ConfigTwice {
        /// The file.
        path: String,
    },
    /// The description of the layers is wrong.
    #[error("{place}: {message}")]
    Config {
        /// The place: ``layer `head` (Dense)``.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The importer does not know the class of a layer, or does not run its code.
    #[error("{place} is not supported")]
    UnsupportedLayer {
        /// The layer.
        place: Place,
    },
    /// An attribute whose value is not implemented.
    #[error("{place}: `{attribute}` is `{value}`, expected {expected}")]
    UnsupportedValue {
        /// The layer.
        place: Place,
        /// The attribute.
        attribute: String,
        /// Its value.
        value: Box<str>,
        /// What is supported.
        expected: Box<str>,
    },
    /// The framework has quantized a layer in a way that the importer does not read.
    #[error("{place} has {form} weights of the framework's own quantization, which are not read")]
    Quantized {
        /// The layer.
        place: Place,
        /// How they are stored: `int8`.
        form: String,
    },
    /// A weight that the layer needs is not in the file.
    #[error("{place}: weight `{weight}` is missing{looked_for}")]
    MissingWeights {
        /// The layer.
        place: Place,
        /// The name of the weight.
        weight: String,
        /// The places that were searched, as `: no dataset ...`.
        looked_for: String,
    },
    /// A weight does not have the shape that the layer needs.
    #[error("{place}: weight `{weight}`: expected {expected}, got {got}")]
    WeightShape {
        /// The layer.
        place: Place,
        /// The weight.
        weight: String,
        /// What the layer needs.
        expected: Shape,
        /// What the file has.
        got: Shape,
    },
    /// A weight is not a finite number.
    #[error("{place}: weight {weight} is {value} at element {index}")]
    NotFinite {
        /// The layer.
        place: Place,
        /// The weight in backticks, and the array of the file that contains it.
        weight: String,
        /// The first such element, in row-major order.
        index: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f32,
    },
    /// Weights in the file belong to no layer.
    #[error("weight `{weight}` in the file belongs to no layer of the model")]
    UnusedWeights {
        /// The weight's name in the file.
        weight: String,
    },
    /// An input's shape is not known, or not the requested one.
    #[error("input `{input}` has shape {shape}: {message}")]
    InputSize {
        /// The input.
        input: String,
        /// Its shape, `None` for open extents.
        shape: String,
        /// What is wrong.
        message: String,
    },
    /// The model has several outputs, and the user chose none.
    #[error("the model has {} outputs ({}), expected 1", outputs.len(), OutputNames(outputs))]
    Outputs {
        /// The outputs.
        outputs: Vec<OutputChoice>,
    },
    /// No output has the requested name.
    #[error("the model has no output `{}`", shorten(asked))]
    NoSuchOutput {
        /// The name.
        asked: String,
        /// The outputs.
        outputs: Vec<OutputChoice>,
    },
    /// A layer does not fit its inputs.
    #[error("{place} does not fit its inputs")]
    Graph {
        /// The layer.
        place: Place,
        /// What does not fit.
        #[source]
        source: Box<GraphError>,
    },
}

/// An output that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputChoice {
    /// Its name for `--output-name`.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
}

/// An operator that is not supported, and how often it stands in a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedOperator {
    /// Its name, with the domain if it is not the default one: `com.microsoft.QGemm`.
    pub name: String,
    /// What it is, if that says more than the name: `a function of this file`.
    pub note: &'static str,
    /// Nodes of it.
    pub count: usize,
    /// One of them.
    pub example: String,
}

struct UnsupportedList<'a>(&'a [UnsupportedOperator]);

impl fmt::Display for UnsupportedList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.0.len() == 1 {
            "operator is"
        } else {
            "operators are"
        };
        write!(f, "{} {verb} not supported: ", self.0.len())?;
        for (i, operator) in self.0.iter().take(LISTED).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let name = shorten(&operator.name);
            write!(f, "{comma}`{name}`")?;
            if !operator.note.is_empty() {
                write!(f, " ({})", operator.note)?;
            }
            if operator.count > 1 {
                write!(f, " {} times", operator.count)?;
            }
            write!(f, " (node `{}`)", shorten(&operator.example))?;
        }
        match self.0.len().checked_sub(LISTED) {
            Some(more @ 1..) => write!(f, ", and {more} more"),
            _ => Ok(()),
        }
    }
}

struct OutputNames<'a>(&'a [OutputChoice]);

impl fmt::Display for OutputNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, output) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            f.write_str(&shorten(&output.name))?;
        }
        Ok(())
    }
}

impl Hint for ImportError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Format { .. } => "format",
            Self::TooLarge { .. } => "too_large",
            Self::Archive { .. } => "archive",
            Self::Hdf5 { .. } => "hdf5",
            Self::Protobuf { .. } => "protobuf",
            Self::FlatBuffer { .. } => "flatbuffer",
            Self::ExternalData { .. } => "external_data",
            Self::UnsupportedOperators { .. } => "unsupported_operators",
            Self::Unrepresentable { .. } => "unrepresentable",
            Self::NeedsConfig { .. } => "needs_config",
            Self::ConfigTwice { .. } => "config_twice",
            Self::Config { .. } => "config",
            Self::UnsupportedLayer { .. } => "unsupported_layer",
            Self::UnsupportedValue { .. } => "unsupported_value",
            Self::Quantized { .. } => "quantized",
            Self::MissingWeights { .. } => "missing_weights",
            Self::WeightShape { .. } => "weight_shape",
            Self::NotFinite { .. } => "not_finite",
            Self::UnusedWeights { .. } => "unused_weights",
            Self::InputSize { .. } => "input_size",
            Self::Outputs { .. } | Self::NoSuchOutput { .. } => "outputs",
            Self::Graph { .. } => "graph",
        }
    }

    fn hint(&self) -> String {
        let fixed = match self {
            Self::Format { hint, .. }
            | Self::ExternalData { hint, .. }
            | Self::Unrepresentable { hint, .. } => hint,
            Self::UnsupportedOperators { operators } => unsupported_operators(operators),
            Self::Outputs { outputs } => return choose(outputs),
            Self::NoSuchOutput { asked, outputs } => {
                return match nearest(asked, &names(outputs)) {
                    Some(near) => format!("did you mean `{near}`? {}", choose(outputs)),
                    None => choose(outputs),
                };
            }
            Self::Io { .. } => "check the path and its permissions",
            Self::TooLarge { .. } => {
                "if the file is trustworthy, raise the limit; otherwise do not import it"
            }
            Self::Archive { .. }
            | Self::Hdf5 { .. }
            | Self::Protobuf { .. }
            | Self::FlatBuffer { .. } => {
                "the file looks damaged or truncated: copy it again, or save the model again"
            }
            Self::NeedsConfig { .. } => {
                "give the layers with `--config model.json`, written by \
                 `open('model.json', 'w').write(model.to_json())`"
            }
            Self::ConfigTwice { .. } => "leave out `--config`",
            Self::Config { .. } => "save the model again with the program that made it",
            Self::UnsupportedLayer { place } => unsupported(&place.class),
            Self::UnsupportedValue { value, .. } if **value == *LAMBDA => {
                "a lambda is Python code, which is never run: name a built-in activation such as \
                 `gelu` in its place, load the weights, and save again"
            }
            Self::UnsupportedValue { .. } => UNSUPPORTED,
            Self::Quantized { .. } => {
                "import the model as it was saved before it was quantized, then run \
                 `dermal quantize`"
            }
            Self::MissingWeights { .. } | Self::WeightShape { .. } | Self::UnusedWeights { .. } => {
                "the weights do not belong to this configuration: save both from the same model"
            }
            Self::NotFinite { .. } => {
                "training has diverged, and every answer would be NaN: save the model from an \
                 earlier epoch, or train it again with a lower learning rate"
            }
            Self::InputSize { .. } => {
                "if the file leaves rows and columns open, give them with `--input-size HxW`, as they \
                 were in training; otherwise leave it out"
            }
            Self::Graph { .. } => "check that the file loads in the program that made it",
        };
        fixed.to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Io { path, .. } | Self::NeedsConfig { path } | Self::ConfigTwice { path } => {
                named!(path)
            }
            Self::Format { path, found, .. } => named!(path, found),
            Self::TooLarge { what, got, limit } => named!(what, got, limit),
            Self::Archive { place, message }
            | Self::Hdf5 { place, message }
            | Self::Config { place, message } => named!(place, message),
            Self::Protobuf { offset, message } | Self::FlatBuffer { offset, message } => {
                named!(offset, message)
            }
            Self::ExternalData {
                location, message, ..
            } => named!(location, message),
            Self::UnsupportedOperators { operators } => {
                let names: Vec<&str> = operators.iter().map(|o| o.name.as_str()).collect();
                Arguments::default().with("operators", names.join(", ").as_str())
            }
            Self::Unrepresentable { place, message, .. } => {
                place.arguments().with("message", message)
            }
            Self::UnsupportedLayer { place } | Self::Graph { place, .. } => place.arguments(),
            Self::UnsupportedValue {
                place,
                attribute,
                value,
                expected,
            } => place
                .arguments()
                .with("attribute", attribute)
                .with("value", value)
                .with("expected", expected),
            Self::Quantized { place, form } => place.arguments().with("form", form),
            Self::MissingWeights {
                place,
                weight,
                looked_for,
            } => place
                .arguments()
                .with("weight", weight)
                .with("looked_for", looked_for),
            Self::WeightShape {
                place,
                weight,
                expected,
                got,
            } => place
                .arguments()
                .with("weight", weight)
                .text("expected", expected)
                .text("got", got),
            Self::NotFinite {
                place,
                weight,
                index,
                value,
            } => place
                .arguments()
                .with("weight", weight)
                .with("index", index)
                .with("value", value),
            Self::UnusedWeights { weight } => named!(weight),
            Self::InputSize {
                input,
                shape,
                message,
            } => named!(input, shape, message),
            Self::Outputs { outputs } => named!()
                .with("count", &outputs.len())
                .with("outputs", &names(outputs)),
            Self::NoSuchOutput { asked, outputs } => named!(asked).with("outputs", &names(outputs)),
        }
    }
}

const UNSUPPORTED: &str = "`dermal import --list-ops` shows what is supported; custom code is \
    never run: rebuild the model with built-in layers and save again";

/// What to do about a class that is not supported.
fn unsupported(class: &str) -> &'static str {
    match class {
        "Lambda" => {
            "a Lambda holds Python code, which is never run: rebuild the model with a layer \
             such as `Rescaling` in its place, load the weights, and save again"
        }
        "GroupNormalization" | "UnitNormalization" => {
            "train with BatchNormalization or LayerNormalization in its place"
        }
        _ => UNSUPPORTED,
    }
}

/// What to do about operators that are not supported.
fn unsupported_operators(operators: &[UnsupportedOperator]) -> &'static str {
    let any = |names: &[&str]| operators.iter().any(|o| names.contains(&o.name.as_str()));
    if any(&["If", "Loop", "Scan"]) {
        "control flow is never run: export the model again with a fixed input \
         (`torch.onnx.export` without `torch.jit.script`), or run it through onnxsim"
    } else if operators.iter().any(|o| o.name.contains(".nchwc.")) {
        "ONNX Runtime has saved this model for its own kernels: import the model as it was before, \
         or save it with `graph_optimization_level = ORT_ENABLE_EXTENDED`"
    } else if operators
        .iter()
        .any(|o| o.name.contains("Quant") || o.name.contains("QLinear"))
    {
        "import the model as it was before it was quantized, then run `dermal quantize`"
    } else if any(&["TRANSPOSE_CONV"]) {
        "transposed convolutions are not supported: use `UpSampling2D` and a convolution instead, \
         and convert the model again"
    } else if any(&[
        "ArgMax",
        "TopK",
        "NonMaxSuppression",
        "ARG_MAX",
        "ARG_MIN",
        "TOPK_V2",
    ]) {
        "the model picks its answer itself: export it up to its probabilities, or give the name of \
         that value with `--output-name`"
    } else {
        "`dermal import --list-ops` shows what is supported; rebuild these parts of the model and \
         export it again"
    }
}

/// Most outputs that a hint lists; a model rarely has more than three.
const LISTED: usize = 12;

fn names(outputs: &[OutputChoice]) -> Vec<&str> {
    outputs.iter().map(|output| output.name.as_str()).collect()
}

fn choose(outputs: &[OutputChoice]) -> String {
    let mut listed: Vec<String> = outputs
        .iter()
        .take(LISTED)
        .map(|output| format!("`{}` {}", shorten(&output.name), output.shape))
        .collect();
    if outputs.len() > LISTED {
        listed.push(format!("and {} more", outputs.len() - LISTED));
    }
    format!(
        "choose the one with the classes by `--output-name NAME`: {}",
        listed.join(", ")
    )
}
