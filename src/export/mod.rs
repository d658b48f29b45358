//! A model as an ONNX file, for other runtimes: the way out of this project's own format.
//!
//! | File | What it does |
//! |---|---|
//! | `ops`, `functions` | what each operator and each activation becomes |
//! | `placed` | how a value of the graph (HWC) lies in a tensor of the file (NCHW) |
//! | `builder` | nodes, constants and names so far |
//! | `weights`, `tensor` | weights in the file's layouts, read from the artifact as they are written |
//! | `photo` | resize and scaling as part of the graph |
//! | `metadata` | labels, recipe and origin |
//! | `file`, `wire` | the file's messages |
//!
//! In: a [`Model`]. Out: an [`OnnxFile`] of opset 17, whose input is NCHW with a batch of one and
//! whose output is the probability of each class. A network of convolutions has no `Transpose`
//! inside. Integer models are QDQ, as ONNX Runtime's own quantizer writes them. `import` reads
//! labels and recipe back from the metadata.
//!
//! Reference: <https://onnx.ai/onnx/operators/>; docs/exporting.md has what each operator becomes.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::artifact::{Head, Model};
use crate::file::atomic;
use crate::graph::Graph;
use crate::tensor::Shape;

mod builder;
mod error;
mod file;
mod functions;
mod metadata;
mod ops;
mod photo;
mod placed;
mod tensor;
mod weights;
mod wire;

pub use error::ExportError;
pub use file::{OPSET, OnnxFile};
pub use metadata::{FIELDS, HEAD, INPUTS, LABELS, PREPROCESSING};
pub use tensor::Element;
pub use weights::Rounded;

use builder::{Builder, IMAGE};
use placed::Placed;

/// The name of the file's output.
const PROBABILITIES: &str = "probabilities";

/// What else the file should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Resize and scaling are part of the graph, whose input is then a photo: `uint8`, RGB,
    /// `[1, height, width, 3]`, of any size.
    pub with_preprocessing: bool,
}

/// An input or output of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Type of its elements: `float32`, or `uint8` for a photo.
    #[serde(rename = "type")]
    pub element: Element,
    /// Its extents, the batch of one first.
    pub shape: Vec<Extent>,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents: Vec<String> = self.shape.iter().map(Extent::to_string).collect();
        write!(f, "{} [{}] {}", self.name, extents.join(", "), self.element)
    }
}

/// An extent of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Extent {
    /// Always this one.
    Fixed(usize),
    /// Any, under this name.
    Open(&'static str),
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => n.fmt(f),
            Self::Open(name) => f.write_str(name),
        }
    }
}

/// Makes an ONNX file of a model. Its weights stay in the model and are read when the file is
/// written.
///
/// ```
/// use dermal::export;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = dermal::artifact::embedded()?;
/// let file = export::onnx(&model, export::Options::default())?;
/// # let folder = std::env::temp_dir().join(format!("dermal-export-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("model.onnx");
/// file.write(&path, &mut |_, _| {})?;
/// assert_eq!(std::fs::metadata(&path)?.len(), file.bytes());
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ExportError`] for the first thing that ONNX cannot say.
pub fn onnx(model: &Model, options: Options) -> Result<OnnxFile<'_>, ExportError> {
    let mut exporter = Exporter {
        model,
        graph: &model.graph,
        options,
        builder: Builder::default(),
        values: Vec::new(),
        inputs: Vec::new(),
        real: HashMap::new(),
        kernels: HashMap::new(),
        rounded: Vec::new(),
        failed: None,
    };
    // The answer's name is taken first, so that no layer has it.
    exporter.builder.unique(PROBABILITIES);
    for id in model.graph.ids() {
        exporter.node(id)?;
    }
    if let Some(error) = exporter.failed.take() {
        return Err(error);
    }
    let output = exporter.answer();
    file::assemble(exporter, output)
}

/// A model on its way into a file.
pub(crate) struct Exporter<'g> {
    model: &'g Model,
    graph: &'g Graph,
    options: Options,
    builder: Builder<'g>,
    /// The value of each node so far.
    values: Vec<Placed>,
    inputs: Vec<Port>,
    /// Real numbers that were made of bytes, by the name of the bytes.
    real: HashMap<String, String>,
    /// Kernels that were written, by tensor and form.
    kernels: HashMap<(String, String), String>,
    rounded: Vec<Rounded>,
    failed: Option<ExportError>,
}

impl Exporter<'_> {
    /// Adds an input of the graph to those of the file.
    fn add_input(&mut self, node: &crate::graph::Node) -> Placed {
        let order = match node.shape.rank() {
            3 => IMAGE.to_vec(),
            rank => (0..rank).collect(),
        };
        if node.shape.rank() == 3 && self.options.with_preprocessing {
            match self.photo(node) {
                Ok(value) => return value,
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        let name = self.builder.unique(&node.name);
        let value = Placed::ordered(name, &node.shape, &order);
        self.inputs.push(Port {
            name: value.name.clone(),
            element: Element::F32,
            shape: value.dims().into_iter().map(Extent::Fixed).collect(),
        });
        value
    }

    /// Appends the head to the graph's output.
    fn answer(&mut self) -> Port {
        let id = self.graph.output();
        let value = self.values[id.0].clone();
        let n = value.shape.len();
        let flat = Shape::new(&[n]);
        let value = value.reshaped(&flat).unwrap_or(value);
        let order: Vec<usize> = (0..value.shape.rank()).collect();
        let value = self.builder.arrange(&value, &order);
        let value = self.real(id, &value);
        let axis = vec![("axis", builder::Attribute::Int(1))];
        let (op, attributes) = match self.model.manifest.head {
            Head::Softmax => ("Softmax", axis),
            Head::BinarySigmoid | Head::MultiLabelSigmoid => ("Sigmoid", vec![]),
            Head::Probabilities => ("Identity", vec![]),
        };
        self.builder
            .push_named(PROBABILITIES, op, &[&value.name], attributes);
        Port {
            name: PROBABILITIES.to_owned(),
            element: Element::F32,
            shape: vec![Extent::Fixed(1), Extent::Fixed(n)],
        }
    }
}

impl OnnxFile<'_> {
    /// Writes the file atomically. `progress` gets the bytes done and the bytes in all.
    ///
    /// # Errors
    /// [`ExportError::File`]; the path is then as it was before.
    pub fn write(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ExportError> {
        Ok(atomic::write(path, |out| self.write_to(out, progress))?)
    }
}
