//! Options of `dermal compare`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{EngineArgs, parse_points};
use crate::predict::ExtraInput;

/// `dermal compare`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal compare model.safetensors --fixtures labels.csv
  dermal compare model.safetensors model-int8.safetensors --fixtures photos/ --margin 1pp
  dermal compare m.safetensors m8.safetensors --fixtures labels.csv --where split=val --group sex
  dermal compare m.safetensors m8.safetensors --fixtures labels.csv --report verdict.html
  dermal compare m.safetensors m8.safetensors --fixtures labels.csv --attach

Exit status: 0 equivalent, better, or at least not worse; 1 worse; 2 could not be run; 3 these photos
cannot tell (0 with --allow-inconclusive). docs/comparing.md has every formula and the rule of the verdict.")]
pub struct CompareArgs {
    /// The model in use
    #[arg(value_hint = ValueHint::FilePath)]
    pub base: PathBuf,
    /// The model that may replace it; without one, the first model is judged alone
    #[arg(value_hint = ValueHint::FilePath)]
    pub candidate: Option<PathBuf>,
    /// Labelled photos: a folder per class, or a CSV table `file,label,...`
    #[arg(long, value_name = "DIR|labels.csv", value_hint = ValueHint::AnyPath)]
    pub fixtures: PathBuf,
    /// Use only the table's rows with this value (repeatable)
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub filter: Vec<String>,
    /// The largest loss of top-1 accuracy that you accept, in percentage points
    #[arg(long, value_name = "POINTS", default_value = "1pp", value_parser = parse_points)]
    pub margin: f64,
    /// Also compare within each value of this column (repeatable)
    #[arg(long, value_name = "COLUMN", requires = "candidate")]
    pub group: Vec<String>,
    /// Specificity at which each class's sensitivity is reported
    #[arg(long, value_name = "SHARE", default_value = "0.9", value_parser = parse_share)]
    pub specificity: f64,
    /// How many photos to compare heat maps on, evenly spaced; 0 for none
    #[arg(long, value_name = "N", default_value = "16")]
    pub heat_maps: usize,
    /// How named fields become extra inputs: a YAML file [default: the artifact's own mapping]
    #[arg(long, value_name = "FILE.yaml", value_hint = ValueHint::FilePath)]
    pub fields: Option<PathBuf>,
    /// Values of an extra input for all photos (repeatable)
    #[arg(long, value_name = "NAME=v,...")]
    pub input: Vec<ExtraInput>,
    /// How many unreadable photos to leave out before giving up
    #[arg(long, value_name = "N", default_value = "0")]
    pub max_bad: usize,
    /// Also write a report with plots and the photos whose class changed
    #[arg(long, value_name = "FILE.html|FILE.md", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Exit with 0 even if these photos cannot tell
    #[arg(long)]
    pub allow_inconclusive: bool,
    /// Store the result in the candidate (or the only model), so that `dermal check` finds it
    #[arg(long)]
    pub attach: bool,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}
