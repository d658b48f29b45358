//! One file for each subcommand: arguments, library calls, a report.
//!
//! Errors become `anyhow` here and nowhere below. [`hint`] finds what to do about one by asking
//! the library's errors in its chain; exit codes are `main`'s.

use std::ffi::OsString;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};
use serde::Serialize;

use crate::artifact::{ArtifactError, FieldMappingError, LoadError, PreprocessingError};
use crate::classifier::ClassifierError;
use crate::cli::{Cli, Command, EngineArgs, environment};
use crate::compress::CompressError;
use crate::engine;
use crate::estimate::EstimateError;
use crate::evaluate::dataset::{DatasetError, RowFilter};
use crate::evaluate::metrics::MetricsError;
use crate::evaluate::trial::TrialError;
use crate::explain::ExplainError;
use crate::file::GuardError;
use crate::file::atomic::AtomicError;
use crate::import::{ImportError, ModelError};
use crate::kernels::{Isa, IsaError};
use crate::memory::budget::CpuBudget;
use crate::predict::{DecodeError, FieldError, InputError, PredictError};
use crate::probe::ProbeError;
use crate::prove::ProveError;
use crate::quantize::QuantizeError;
use crate::quantize::weights::WeightsError;
use crate::readiness::platforms::PlatformError;
use crate::report::{ReportError, SCHEMA_VERSION};
use crate::serve::ServeError;
use crate::survey::SurveyError;
use crate::text::TextError;

mod bench;
mod check;
mod compare;
mod dump;
mod estimate;
mod fields;
mod import;
mod inspect;
mod layers;
mod man;
mod own_process;
mod plan;
mod predict;
mod probe;
mod quantize;
mod report_file;
mod serve;
mod service;
mod spare;
mod watch;
mod worker;

/// How a command ended that could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; if the command answers a question, the answer is yes. Exit code 0.
    Yes,
    /// The answer is no. Exit code 1.
    No,
    /// The command ran, but its data do not suffice for an answer. Exit code 3.
    CannotTell,
}

/// This program, even if its file was replaced in the meantime.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// An error of a command itself, with the next step.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    message: String,
    hint: String,
}

/// A [`Failure`] as an `anyhow` error.
fn failure(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure {
        message: message.into(),
        hint: hint.into(),
    }
    .into()
}

/// How the engine runs: as given, or else on all CPUs that this process may use, with its best
/// kernels.
fn engine_options(args: &EngineArgs) -> Result<engine::Options, IsaError> {
    let isa = args.isa.as_deref();
    let threads = args.threads.map(std::num::NonZero::get);
    Ok(engine::Options {
        threads: threads.unwrap_or_else(|| CpuBudget::detect().threads()),
        isa: isa.map_or_else(|| Ok(Isa::detect()), Isa::by_name)?,
        keep: Vec::new(),
    })
}

/// A document of `--json`: the library's value, and the version of its format.
#[derive(Serialize)]
struct Versioned<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    document: &'a T,
}

impl<'a, T> Versioned<'a, T> {
    fn new(document: &'a T) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            document,
        }
    }
}

/// The filters of `--where`.
fn row_filters(texts: &[String]) -> Result<Vec<RowFilter>, DatasetError> {
    texts.iter().map(|text| text.parse()).collect()
}

/// Reads the command line. `--version` tells the CPU's tiers, too.
///
/// # Errors
/// Usage errors, and requests for help or the version: `clap` prints them.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = environment::ignore_empty_variables(command());
    let matches = command.clone().try_get_matches_from(&args);
    let matches = matches.map_err(|error| {
        // Only a built command can show its arguments.
        let mut command = command.clone();
        command.build();
        environment::name_variable(error, &command, &args)
    })?;
    Cli::from_arg_matches(&matches)
}

/// The command line's definition with the version text of this machine.
fn command() -> clap::Command {
    let tiers: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    let version = env!("CARGO_PKG_VERSION");
    Cli::command().long_version(format!(
        "{version}\nkernels on this CPU: {}",
        tiers.join(", ")
    ))
}

/// Runs a subcommand.
///
/// # Errors
/// Any error that stops the command; [`hint`] knows the next step.
pub fn run(command: &Command) -> Result<Outcome> {
    match command {
        Command::Import(args) => import::run(args),
        Command::Compare(args) => return compare::run(args),
        Command::Quantize(args) => return quantize::run(args),
        Command::Check(args) => return check::run(args),
        Command::Estimate(args) => return estimate::run(args),
        Command::ProofPart(args) => estimate::run_part(&args.part),
        Command::Predict(args) => predict::run(args),
        Command::Probe(args) => return probe::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Worker(args) => worker::run(args),
        Command::Completions { shell } => man::completions(*shell),
        Command::Man(args) => man::run(args),
    }
    .map(|()| Outcome::Yes)
}

/// Whether the reader of stdout has gone away. The command then ends quietly.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| matches!(cause.downcast_ref(), Some(ReportError::Closed)))
}

/// What to do about an error: the hint of the deepest cause that has one, as it knows most. An
/// error about a set of photos speaks for its own causes: it knows where inputs come from.
#[must_use]
pub fn hint(error: &anyhow::Error) -> Option<String> {
    let mut found = None;
    for cause in error.chain() {
        if let Some(hint) = hint_of(cause) {
            found = Some(hint);
        }
        if cause.is::<DatasetError>() {
            break;
        }
    }
    found
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<Failure>() {
        return Some(error.hint.clone());
    }
    if let Some(error) = cause.downcast_ref::<ArtifactError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<AtomicError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<GuardError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ModelError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ImportError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<PreprocessingError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<PredictError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<DecodeError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<InputError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<FieldError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<FieldMappingError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<TextError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<DatasetError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<MetricsError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<SurveyError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ProveError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<EstimateError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<TrialError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<CompressError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<QuantizeError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<WeightsError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<ProbeError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<ServeError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<PlatformError>() {
        return Some(error.hint());
    }
    if cause.is::<IsaError>() {
        return Some(
            "leave `--isa` out: the program then chooses the best that this CPU has".to_owned(),
        );
    }
    if let Some(error) = cause.downcast_ref::<LoadError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ClassifierError>() {
        return error.hint();
    }
    let error = cause.downcast_ref::<ExplainError>()?;
    Some(error.hint())
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn a_command_line_that_is_wrong_is_an_error_and_no_panic() {
        for (line, kind) in [
            (
                "dermal predict a.jpg --json --top 6",
                ErrorKind::ArgumentConflict,
            ),
            ("dermal predict a.jpg --top 0", ErrorKind::ValueValidation),
            ("dermal predict a.jpg --tpo 6", ErrorKind::UnknownArgument),
            ("dermal serve --port many", ErrorKind::ValueValidation),
            ("dermal serve --log-format x", ErrorKind::InvalidValue),
            ("dermal classify", ErrorKind::InvalidSubcommand),
        ] {
            let error = parse(line.split(' ').map(OsString::from)).unwrap_err();
            assert_eq!(error.kind(), kind, "{line}: {error}");
        }
    }
}
