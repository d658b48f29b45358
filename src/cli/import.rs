//! Arguments of `dermal import`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueHint};

use super::InputSize;
use crate::artifact::Head;
use crate::graph::pass::Level;
use crate::predict::ExtraInput;

/// `dermal import`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal import model.keras -o model.safetensors --labels nv,mel,bkl --preprocess keras-xception
  dermal import weights.h5 --config model.json -o model.safetensors --labels labels.txt
  dermal import model.keras -o m.safetensors --preprocess recipe.yaml --input-default patient=0,1,0.5
  dermal import model.onnx -o model.safetensors --labels a,b --preprocess imagenet-torchvision
  dermal import converted_tflite.zip -o model.safetensors
  dermal import logits.keras -o m.safetensors --labels benign,malignant --head sigmoid
  dermal import model.onnx --dry-run
  dermal import --list-ops

Importing needs no Python and runs no code of the model: operators that are not known, Keras' `Lambda`
and custom layers are refused by name. Weights beside an ONNX file (`model.onnx.data`) are read from its
folder. An existing OUT is replaced as a whole, once everything has succeeded; an error leaves it as it
was. OUT cannot be a file that the import reads. docs/import.md says which models were compared with
their own frameworks.")]
#[command(group(ArgGroup::new("shown").args(["dump", "dry_run"])))]
pub struct ImportArgs {
    /// The model: `.keras`, `.h5`, `.onnx`, `.tflite`, or Teachable Machine's `.zip`
    #[arg(required_unless_present = "list_ops", value_hint = ValueHint::FilePath)]
    pub source: Option<PathBuf>,
    /// Where to write the artifact (`.safetensors`)
    #[arg(short, long = "output", value_name = "OUT", required_unless_present_any = ["list_ops", "dump", "dry_run"],
          value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Class names in the order of the outputs: `a,b,c`, or a file with one name a line
    ///
    /// A file may also number its lines from 0 (`0 benign`), in any order, or be a JSON or YAML list,
    /// or a map such as Keras' `class_indices` (`{"benign": 0, "malignant": 1}`). A model with one
    /// sigmoid output takes two names, that of output 0 first. Without names the classes are called
    /// `class_0`, `class_1`, ...
    #[arg(long, value_name = "NAMES|FILE", value_hint = ValueHint::FilePath)]
    pub labels: Option<OsString>,
    /// How to turn a photo into the model's input: a preset's name, or a YAML file
    ///
    /// Hardly any file says how its photos were prepared, and a wrong guess costs most of the
    /// accuracy without an error. Without this option pixels go in as 0..255 (`raw`).
    /// docs/preprocessing.md has each preset's formula.
    #[arg(long, value_name = "PRESET|FILE.yaml", value_hint = ValueHint::FilePath)]
    pub preprocess: Option<OsString>,
    /// What the outputs mean, if the file does not say it: how to make probabilities of them
    ///
    /// A model that ends in softmax or sigmoid says it, and so does a Keras model's compiled loss with
    /// `from_logits=True`. Models from PyTorch mostly end in logits: `softmax` if they were trained
    /// with `CrossEntropyLoss`, `multi-sigmoid` or `sigmoid` with `BCEWithLogitsLoss`. Otherwise look
    /// at the training code: a wrong head gives wrong probabilities.
    #[arg(long, value_name = "HEAD")]
    pub head: Option<Head>,
    /// The output to use, for a model that has several
    ///
    /// Of an ONNX model it may also be a value inside of the graph: the one that `ArgMax` reads, for
    /// example, if the model picks the class itself.
    #[arg(long, value_name = "NAME")]
    pub output_name: Option<String>,
    /// Values of an extra input for predictions that give none (repeatable)
    #[arg(long, value_name = "NAME=v,...")]
    pub input_default: Vec<ExtraInput>,
    /// How named fields (`--field age=55`) become extra inputs: a YAML file
    ///
    /// The mapping is stored in the artifact. docs/fields.md explains it.
    #[arg(long, value_name = "FILE.yaml", value_hint = ValueHint::FilePath)]
    pub fields: Option<PathBuf>,
    /// The architecture (`model.to_json()`) of a Keras `.h5` that holds weights only
    #[arg(long, value_name = "model.json", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Rows and columns of the photo, if the model leaves them open: `224` or `224x320`
    #[arg(long, value_name = "N|HxW")]
    pub input_size: Option<InputSize>,
    /// Print the graph after this stage of the import, and write nothing
    ///
    /// `imported` is what the file says; `folded` ends in logits, with batch normalization folded
    /// into the weights; `fused` has activations and residual additions fused into the nodes before
    /// them; `packed` is what an artifact holds.
    #[arg(long, value_name = "STAGE", value_parser = level_parser(),
          conflicts_with_all = ["output", "labels", "preprocess", "head", "input_default", "fields"])]
    pub dump: Option<Level>,
    /// Say what is in the file and whether it can be imported, and write nothing
    ///
    /// Shows inputs, labels, head and recipe as the import would take them, and size and arena of the
    /// result; or every operator that is not supported, with its count. The exit status is 0 if the
    /// file can be imported and 1 if not.
    #[arg(long, conflicts_with_all = ["output", "dump"])]
    pub dry_run: bool,
    /// Print one JSON document, with `--dump` or `--dry-run`
    // Without this conflict, clap would demand `--dump` beside `--output`, and the two exclude each
    // other.
    #[arg(long, requires = "shown", conflicts_with = "output")]
    pub json: bool,
    /// List the layers and operators that `import` supports, and stop
    #[arg(long, exclusive = true)]
    pub list_ops: bool,
}

fn level_parser() -> impl TypedValueParser<Value = Level> {
    let names = PossibleValuesParser::new(Level::ALL.map(Level::name));
    names.try_map(|name| Level::by_name(&name).ok_or_else(|| format!("no stage is named `{name}`")))
}
