//! One file for each subcommand: arguments, library calls, a report.
//!
//! Errors become [`Problem`]s here and nowhere below: what the command was about to do, and the
//! library's error with its next step. Exit codes are `main`'s.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};
use serde::Serialize;

use crate::cli::{Cli, Command, EngineArgs, environment};
use crate::engine;
use crate::evaluate::dataset::{DatasetError, RowFilter};
use crate::kernels::{Isa, IsaError};
use crate::memory::budget::CpuBudget;
use crate::report::SCHEMA_VERSION;

use error::CommandError;
pub use problem::Problem;
use problem::{Context, Result};

mod bench;
mod check;
mod compare;
mod diff;
mod dry_run;
mod dump;
mod error;
mod estimate;
mod export;
mod fields;
mod import;
mod inspect;
mod layers;
mod man;
mod own_process;
mod plan;
mod predict;
mod probe;
mod problem;
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

/// How the engine is to run: as asked, or with every CPU this process may use on its best kernels.
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
/// Whatever stands in its way, with the next step.
pub fn run(command: &Command) -> Result<Outcome> {
    match command {
        Command::Import(args) => return import::run(args),
        Command::Diff(args) => return diff::run(args),
        Command::Compare(args) => return compare::run(args),
        Command::Quantize(args) => return quantize::run(args),
        Command::Check(args) => return check::run(args),
        Command::Estimate(args) => return estimate::run(args),
        Command::ProofPart(args) => estimate::run_part(&args.part).map_err(Problem::from),
        Command::Predict(args) => predict::run(args),
        Command::Probe(args) => return probe::run(args),
        Command::Export(args) => export::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Worker(args) => worker::run(args),
        Command::Completions { shell } => man::completions(*shell),
        Command::Man(args) => man::run(args),
    }
    .map(|()| Outcome::Yes)
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
