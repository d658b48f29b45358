//! Arguments of `dermal diff`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// `dermal diff`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal diff model.safetensors model-int8.safetensors
  dermal diff model.keras model.safetensors
  dermal diff old.safetensors new.safetensors --json

Compares graph, weights by layer (the largest difference first), preprocessing, labels and head. A file
of another format is imported for it; what it does not say (labels, preprocessing) is not compared. Origin,
evidence and self-test do not count. The exit status is 0 if the models are the same, 1 if they differ.
`dermal compare` says whether a difference matters: it measures accuracy on photos.")]
pub struct DiffArgs {
    /// An artifact, or a file that `dermal import` reads
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    pub first: PathBuf,
    /// Another one
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    pub second: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
