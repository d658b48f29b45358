//! The command line: types and help texts. Nothing is computed here.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::artifact::Head;
use crate::explain::{Colormap, Method};
use crate::predict::ExtraInput;

mod compare;
mod diff;
pub(crate) mod environment;
mod export;
mod import;
mod serve;
mod size;
mod worker;

use size::{parse_bytes, parse_estimated_pixels, parse_pixels};

pub use compare::CompareArgs;
pub use diff::DiffArgs;
pub use export::ExportArgs;
pub use import::ImportArgs;
pub use serve::{BindAddress, LogArgs, LogFormat, LogLevel, ProbeArgs, ServeArgs};
pub use worker::WorkerArgs;

/// Take a trained image classifier to a small server without Python: import, predict, explain,
/// measure.
#[derive(Debug, Parser)]
#[command(
    name = "dermal",
    version,
    propagate_version = false,
    after_help = "An artifact is dermal's own model file (`.safetensors`); `dermal import` writes it.\n\
                  Exit status: 0 done or yes, 1 no, 2 could not be done (usage, files, unsupported models),\n\
                  3 `compare` cannot tell.\n\
                  `dermal COMMAND --help` explains a command with examples."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn a Keras, ONNX or TFLite model into one `.safetensors` artifact
    Import(ImportArgs),
    /// Make an artifact smaller and faster: FP16, BF16 or INT8 weights
    Quantize(Box<QuantizeArgs>),
    /// Measure how good a model is on labelled photos, or whether another model may replace it
    Compare(Box<CompareArgs>),
    /// Classify photos; `--gradcam OUT.png` shows where the model looked
    Predict(Box<PredictArgs>),
    /// Show in what two models differ: graph, weights by layer, preprocessing, labels
    Diff(DiffArgs),
    /// Write a model as an ONNX file, for other runtimes
    Export(ExportArgs),
    /// Show what is in an artifact: inputs, labels, preprocessing, sizes, layers, origin
    Inspect(InspectArgs),
    /// Measure latency, memory and the time of each layer on this machine
    Bench(BenchArgs),
    /// Answer photos over HTTP, within a memory budget
    Serve(Box<ServeArgs>),
    /// Answer the jobs that servers put into Redis, on this or any other machine
    Worker(Box<WorkerArgs>),
    /// Check whether a deployed server is healthy: send it photos, measure latencies and memory
    Probe(ProbeArgs),
    /// Estimate peak memory and latency for a limit or a platform; `--prove` runs the server inside
    /// it
    Estimate(Box<EstimateArgs>),
    /// Check whether a project is ready to deploy: model, accuracy, memory, host files; for CI
    Check(CheckArgs),
    /// Processes that `estimate --prove` starts
    #[command(hide = true)]
    ProofPart(ProofPartArgs),
    /// Print a shell's completion script
    #[command(
        after_long_help = "Example:\n  dermal completions bash > ~/.local/share/bash-completion/completions/dermal"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder
    Man(ManArgs),
}

/// `dermal quantize`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal quantize model.safetensors -o model-fp16.safetensors --to fp16
  dermal quantize model.safetensors -o model-int8.safetensors --to int8 --calibrate photos/
  dermal quantize m.safetensors -o m8.safetensors --to int8 --calibrate labels.csv --where split=train
  dermal quantize m.safetensors -o m8.safetensors --to int8 --calibrate labels.csv --max-drop 0.5pp

INT8 needs photos like the ones that the model will see (64 are enough): they show in which range
each layer's values lie. With labelled photos and `--max-drop`, layers go back to float until accuracy
holds. If it cannot be held, the exit status is 1, and the best file that was found is still written.
docs/quantization.md explains the scheme.")]
pub struct QuantizeArgs {
    /// The artifact, with f32 weights
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Where to write the smaller artifact (`.safetensors`)
    #[arg(short, long = "output", value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Type of the weights
    #[arg(long, value_name = "TYPE")]
    pub to: NumberType,
    /// Photos that show the range of each layer's values (`int8`): a folder, a folder per class, or
    /// a CSV table
    #[arg(long, value_name = "DIR|labels.csv", value_hint = ValueHint::AnyPath, help_heading = "Calibration")]
    pub calibrate: Option<PathBuf>,
    /// Use only the table's rows with this value (repeatable)
    #[arg(
        long = "where",
        value_name = "COLUMN=VALUE",
        requires = "calibrate",
        help_heading = "Calibration"
    )]
    pub filter: Vec<String>,
    /// Use N of the photos, evenly spaced, instead of all: faster, and often enough
    #[arg(
        long,
        value_name = "N",
        requires = "calibrate",
        help_heading = "Calibration"
    )]
    pub photos: Option<NonZeroUsize>,
    /// How to choose the range of values that the 256 integers cover
    #[arg(
        long,
        value_name = "METHOD",
        default_value = "mse",
        help_heading = "Calibration"
    )]
    pub method: RangeChoice,
    /// Share of the values that `--method percentile` keeps, in percent
    #[arg(long, value_name = "P", default_value = "99.99", value_parser = parse_percentile, help_heading = "Calibration")]
    pub percentile: f64,
    /// How named fields become extra inputs: a YAML file [default: the artifact's own mapping]
    #[arg(long, value_name = "FILE.yaml", value_hint = ValueHint::FilePath, help_heading = "Calibration")]
    pub fields: Option<PathBuf>,
    /// Values of an extra input for all photos (repeatable)
    #[arg(long, value_name = "NAME=v,...", help_heading = "Calibration")]
    pub input: Vec<ExtraInput>,
    /// How many unreadable photos to leave out before giving up
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        help_heading = "Calibration"
    )]
    pub max_bad: usize,
    /// Quantize only the weights; values stay f32 (`int8`). Needs no photos; the file is smaller,
    /// not faster
    #[arg(long, conflicts_with = "calibrate")]
    pub weights_only: bool,
    /// Layers to keep in f32, for example ones that lose too much accuracy
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub keep_float: Vec<String>,
    /// Keep layers in float until top-1 accuracy falls by no more than this: `0.5pp`
    #[arg(long, value_name = "POINTS", value_parser = parse_points, requires = "calibrate", help_heading = "Limits")]
    pub max_drop: Option<f64>,
    /// Stop the search for a better file after N minutes
    #[arg(long, value_name = "N", value_parser = parse_minutes, help_heading = "Limits")]
    pub max_minutes: Option<f64>,
    /// Refuse to start if more memory than this may be needed: `512MB`
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_memory: Option<u64>,
    /// Accept an artifact whose weights are already FP16 or BF16
    #[arg(long)]
    pub again: bool,
    /// Also write a report with plots
    #[arg(long, value_name = "FILE.html|FILE.md", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Type of quantized weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NumberType {
    /// IEEE 754 half precision: half the size, nearly the same answers
    Fp16,
    /// The upper half of f32: faster than fp16 if the CPU multiplies it natively, less precise
    Bf16,
    /// 8-bit integers: a quarter of the size, fastest; needs `--calibrate`
    Int8,
}

/// How to derive the range of the integers from the values that calibration saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RangeChoice {
    /// The whole range that was seen
    Minmax,
    /// The range without outliers (`--percentile`)
    Percentile,
    /// The range with the least mean squared error
    Mse,
}

/// `dermal predict`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("explanation").multiple(true).args(["gradcam", "raw_map"]),
    override_usage = "dermal predict [OPTIONS] [MODEL] <IMAGE>...",
    after_long_help = "\
Examples:
  dermal predict photo.jpg
  dermal predict photo.jpg --gradcam heatmap.png --class mel
  dermal predict model.safetensors photos/ --json > answers.json
  dermal predict a.jpg b.jpg --gradcam 'maps/{stem}.png'
  dermal predict m.safetensors photo.jpg --input patient=0,1,0.5
  dermal predict m.safetensors photo.jpg --field sex=male --field age=55

A folder means the photos directly in it, sorted by name. If one of several photos cannot be read, it is
reported, the others are still classified, and the exit status is 2.
The answer comes from a statistical model. It is not a diagnosis."
)]
pub struct PredictArgs {
    /// The artifact (a name that ends in `.safetensors`) [default: the embedded demo model], then
    /// photos (JPEG, PNG, WebP, BMP) or folders of them
    #[arg(required = true, value_name = "MODEL|IMAGE", value_hint = ValueHint::AnyPath)]
    pub images: Vec<PathBuf>,
    /// The artifact: the older way to name it
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::FilePath, hide = true)]
    pub model: Option<PathBuf>,
    /// How many classes to show for one photo [default: 5]; `--json` always has all
    #[arg(long, value_name = "K", conflicts_with = "json")]
    pub top: Option<NonZeroUsize>,
    /// Write the photo with a heat map over it, which shows where the model looked (PNG)
    ///
    /// For several photos OUT is an existing folder, or contains `{stem}`, which stands for the
    /// photo's file name without extension.
    #[arg(long, value_name = "OUT.png", value_hint = ValueHint::FilePath, help_heading = "Heat map")]
    pub gradcam: Option<PathBuf>,
    /// Write the heat map's numbers (NumPy, f32, at the layer's resolution)
    ///
    /// For several photos, OUT works as for `--gradcam`.
    #[arg(long, value_name = "OUT.npy", value_hint = ValueHint::FilePath, help_heading = "Heat map")]
    pub raw_map: Option<PathBuf>,
    /// Explain this class [default: the most probable one]
    #[arg(
        long,
        value_name = "NAME",
        requires = "explanation",
        help_heading = "Heat map"
    )]
    pub class: Option<String>,
    /// Explain the output of this layer [default: the last one with rows and columns]
    ///
    /// `dermal inspect MODEL --layers` lists the names. The last part of a nested name is enough if
    /// only one layer's name ends with it.
    #[arg(
        long,
        value_name = "NAME",
        requires = "explanation",
        help_heading = "Heat map"
    )]
    pub layer: Option<String>,
    /// How the map weights the layer's channels [default: gradcam]
    #[arg(
        long,
        value_name = "METHOD",
        requires = "explanation",
        help_heading = "Heat map"
    )]
    pub method: Option<Method>,
    /// Opacity of the heat map, 0 to 1 [default: 0.4]
    #[arg(long, value_name = "A", value_parser = parse_alpha, requires = "gradcam", help_heading = "Heat map")]
    pub alpha: Option<f32>,
    /// Colours of the heat map [default: jet]
    #[arg(
        long,
        value_name = "MAP",
        requires = "gradcam",
        help_heading = "Heat map"
    )]
    pub colormap: Option<Colormap>,
    /// Values of an extra input, for all photos (repeatable)
    #[arg(long, value_name = "NAME=v,...")]
    pub input: Vec<ExtraInput>,
    /// A fact about the patient, for all photos (repeatable): `--field age=55 --field sex=male`
    ///
    /// `dermal inspect` shows the fields that a model knows. A field that is not given counts as
    /// missing: the model's mapping says what it becomes, and a warning names it.
    #[arg(long, value_name = "NAME=VALUE")]
    pub field: Vec<NamedText>,
    /// How fields become inputs, instead of the model's own mapping (docs/fields.md)
    #[arg(long, value_name = "FILE.yaml", value_hint = ValueHint::FilePath)]
    pub fields: Option<PathBuf>,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Refuse photos with more pixels [default: 50MP]
    #[arg(long, value_name = "PIXELS", value_parser = parse_pixels, help_heading = "Limits")]
    pub max_pixels: Option<u64>,
    /// Refuse photo files with more bytes [default: 32 MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_bytes: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// How the engine runs.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// Threads for one photo [default: the CPUs this process may use]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<NonZeroUsize>,
    /// Instruction set: `portable`, `avx2`, `avx512` [default: the best this CPU has]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub isa: Option<String>,
}

/// `dermal inspect`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal inspect model.safetensors
  dermal inspect model.safetensors --layers | less
  dermal inspect model.safetensors --json --layers
  dermal inspect model.safetensors --plan
  dermal inspect model.safetensors --check-layers photo.jpg")]
pub struct InspectArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// List every node with its shape, parameters, multiply-adds and source layers
    #[arg(long)]
    pub layers: bool,
    /// Print where each value lies in the arena, and the steps that write and last read it
    #[arg(long, conflicts_with_all = ["layers", "check_layers"])]
    pub plan: bool,
    /// Compare every layer's kernel with the reference on this photo, the largest difference first
    ///
    /// Both sides read the model as it was imported: a wrong layer of the import shows in `least` and
    /// `largest`, which are to be compared with the framework's own output of that layer.
    #[arg(long, value_name = "PHOTO", value_hint = ValueHint::FilePath, conflicts_with = "layers")]
    pub check_layers: Option<PathBuf>,
    /// Values of an extra input, for `--check-layers` (repeatable)
    #[arg(long, value_name = "NAME=v,...", requires = "check_layers")]
    pub input: Vec<ExtraInput>,
    /// Instruction set, for `--check-layers`: `portable`, `avx2`, `avx512` [default: the best this CPU has]
    #[arg(long, value_name = "NAME", requires = "check_layers")]
    pub isa: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `dermal bench`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal bench model.safetensors
  dermal bench model.safetensors --threads 1 --runs 200 --profile
  dermal bench model.safetensors --json

Measures inference of one photo: pixels of seeded noise, without decoding and preprocessing.")]
pub struct BenchArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// How many runs to measure; a tenth as many run before, to warm up
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub runs: u32,
    /// Show the time of each layer
    #[arg(long)]
    pub profile: bool,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `dermal estimate`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal estimate model.safetensors --platform render-free
  dermal estimate model.safetensors --budget 512MB --concurrency 4 --prove
  dermal estimate model.safetensors --advise
  dermal estimate --platform list

The exit status is 1 if the model does not fit, or did not survive `--prove`. docs/estimating.md
explains every term and how far you can trust the estimate.")]
pub struct EstimateArgs {
    /// The artifact [default: the embedded demo model]
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Memory that the server may use: `512MB` (512,000,000 bytes), `1GiB` [default: this cgroup's limit]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with = "platform", allow_hyphen_values = true)]
    pub budget: Option<u64>,
    /// The hosting platform whose memory, CPU share and limits to use; `list` shows all
    #[arg(long, value_name = "NAME|list")]
    pub platform: Option<String>,
    /// How many photos the server admits at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Whether requests may ask for heat maps
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub gradcam: Switch,
    /// Pixels of the largest photo that the server admits
    #[arg(long, value_name = "PIXELS", default_value = "12MP", value_parser = parse_estimated_pixels)]
    pub max_pixels: u64,
    /// Rows and columns of the model's input, instead of its own: `224` or `224x320`
    #[arg(long, value_name = "N|HxW", conflicts_with = "prove")]
    pub image_size: Option<InputSize>,
    /// How the engine runs.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Also run the server inside the limit, and compare the kernel's counters with the estimate
    #[arg(long)]
    pub prove: bool,
    /// Recommend a platform and a file, cheapest first, and say why not a cheaper one
    #[arg(long, conflicts_with_all = ["budget", "platform", "prove"])]
    pub advise: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `dermal check`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dermal check --init
  dermal check
  dermal check --config service/ --platform fly-512 --prove
  dermal check --format github

Reads dermal.yaml, the artifacts, render.yaml, Dockerfile, Procfile, fly.toml and railway.json of a
folder. The exit status is 0 if the project is ready, 1 if there is an error, 2 if the check could not be
made. docs/checks.md explains every rule.")]
pub struct CheckArgs {
    /// The project's folder, or its dermal.yaml [default: here]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub config: Option<PathBuf>,
    /// The platform, instead of the one in dermal.yaml
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// Also run the model inside the platform's limits
    #[arg(long)]
    pub prove: bool,
    /// How findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: FindingFormat,
    /// Same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Write a dermal.yaml with comments that explain each setting
    #[arg(long, conflicts_with_all = ["platform", "prove", "format", "json"])]
    pub init: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FindingFormat {
    /// For people
    Human,
    /// One JSON document
    Json,
    /// For CI servers
    Junit,
    /// Annotations of GitHub Actions
    Github,
    /// For code hosts (SARIF 2.1.0)
    Sarif,
    /// A Markdown table, for a comment
    Markdown,
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// `dermal proof-part`.
#[derive(Debug, Args)]
pub struct ProofPartArgs {
    /// The part.
    #[command(subcommand)]
    pub part: ProofPart,
}

/// A process that a proof starts.
#[derive(Debug, Subcommand)]
pub enum ProofPart {
    /// Enter cgroups, then become another program
    Enter {
        /// The process with which it ends
        #[arg(long)]
        parent: u32,
        /// Folders of the cgroups
        #[arg(long)]
        group: Vec<PathBuf>,
        /// `RLIMIT_AS`
        #[arg(long)]
        address_space: Option<u64>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Wait for stdin's end, then remove cgroups and a folder
    Guard {
        /// The folder
        #[arg(long)]
        folder: Option<PathBuf>,
        /// Folders of the cgroups
        groups: Vec<PathBuf>,
    },
}

/// `dermal man`.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  dermal man | man -l -\n  dermal man --dir ~/.local/share/man/man1"
)]
pub struct ManArgs {
    /// Write `dermal.1`, `dermal-predict.1`, ... into this folder
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

impl ValueEnum for Method {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::GradCam => "Mean gradient of each channel (Selvaraju et al. 2017)",
            Self::GradCamPlusPlus => {
                "Positive gradients weighted by their higher orders (Chattopadhay et al. 2018)"
            }
            Self::LayerCam => "Gradient at each place, positive part (Jiang et al. 2021)",
            Self::EigenCam => "First principal component, no gradient (Muhammad & Yeasin 2020)",
            Self::HiResCam => "Gradient at each place (Draelos & Carin 2020)",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl ValueEnum for Head {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Softmax => "One of the classes: the outputs are logits of a softmax",
            Self::BinarySigmoid => "One of two classes: the only output is the logit of the second",
            Self::MultiLabelSigmoid => {
                "Any number of the classes: each output is the logit of a sigmoid"
            }
            Self::Probabilities => "The outputs are probabilities as they are",
        };
        Some(PossibleValue::new(self.option()).help(help))
    }
}

impl ValueEnum for Colormap {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Jet => "Blue, green, red, as in matplotlib",
            Self::Turbo => "Like jet with even brightness",
            Self::Viridis => "Purple to yellow, readable in grey and with colour blindness",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedText {
    /// The field.
    pub name: String,
    /// Its text, which may be empty.
    pub text: String,
}

impl FromStr for NamedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, text) = text
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty())
            .ok_or("expected NAME=VALUE")?;
        Ok(Self {
            name: name.trim().to_owned(),
            text: text.trim().to_owned(),
        })
    }
}

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl FromStr for InputSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        match (height.parse(), width.parse()) {
            (Ok(height @ 1..=8192), Ok(width @ 1..=8192)) => Ok(Self { height, width }),
            _ => Err("expected N or HxW, each 1 to 8192".to_owned()),
        }
    }
}

fn parse_alpha(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(alpha) if (0.0..=1.0).contains(&alpha) => Ok(alpha),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (90.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 90 to 100".to_owned()),
    }
}

/// `0.5pp` or `0.5`, in percentage points; a fraction comes out.
fn parse_points(text: &str) -> Result<f64, String> {
    match text
        .strip_suffix("pp")
        .unwrap_or(text)
        .trim()
        .parse::<f64>()
    {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points / 100.0),
        _ => Err("expected percentage points such as 0.5pp".to_owned()),
    }
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes.is_finite() => Ok(minutes),
        _ => Err("expected a positive number of minutes".to_owned()),
    }
}

fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= 256 => Ok(threads),
        _ => Err("expected 1 to 256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn named_values_are_read_and_refused() {
        let good: ExtraInput = "patient=0, 1,-0.5e1".parse().unwrap();
        assert_eq!(good.name, "patient");
        assert_eq!(good.values, [0.0, 1.0, -5.0]);
        for bad in ["patient", "=1", "p=", "p=1,", "p=nan", "p=1;2", "p=1e99"] {
            assert!(bad.parse::<ExtraInput>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_refused() {
        let size = |text: &str| text.parse::<InputSize>().ok().map(|s| (s.height, s.width));
        assert_eq!(size("224"), Some((224, 224)));
        assert_eq!(size("224x320"), Some((224, 320)));
        for bad in ["0", "9000", "3x", "x3", "-1", "2x3x4", ""] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_option_that_would_do_nothing_is_an_error() {
        let parse = |args: &[&str]| {
            let line = ["dermal", "predict", "a.jpg"].iter().chain(args);
            Cli::try_parse_from(line).is_ok()
        };
        assert!(parse(&[]));
        for option in [
            ["--layer", "x"],
            ["--class", "x"],
            ["--method", "layercam"],
            ["--alpha", "0.5"],
            ["--colormap", "turbo"],
        ] {
            assert!(!parse(&option), "{option:?}");
            let [a, b] = option;
            assert!(parse(&[a, b, "--gradcam", "o.png"]), "{option:?}");
        }
        assert!(parse(&["--layer", "x", "--raw-map", "o.npy"]));
        assert!(!parse(&["--alpha", "0.5", "--raw-map", "o.npy"]));
        assert!(!parse(&["--json", "--top", "3"]));
        assert!(!parse(&["--gradcam", "o.png", "--alpha", "1.5"]));
        assert!(!parse(&["--threads", "0"]));
    }
}
