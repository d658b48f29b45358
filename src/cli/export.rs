//! Arguments of `dermal export`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// `dermal export`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal export model.safetensors -o model.onnx
  dermal export model-int8.safetensors -o model-int8.onnx
  dermal export model.safetensors -o model.onnx --with-preprocessing

The input is one prepared photo, NCHW; the output is the probability of each class. INT8 models become
QDQ, FP16 weights stay 16 bits. Labels and the recipe are in the file's metadata, where `dermal import`
finds them again. docs/exporting.md has the details, and how other runtimes agree.")]
pub struct ExportArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Where to write the ONNX file
    #[arg(short, long = "output", value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Let the graph resize and scale the photo: its input is then RGB bytes of any size
    ///
    /// Only recipes with TensorFlow's filters can be said exactly by ONNX operators; others are
    /// refused. The photo must be upright (after EXIF orientation), `[1, height, width, 3]`.
    #[arg(long)]
    pub with_preprocessing: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
