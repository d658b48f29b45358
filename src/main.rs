//! The `dermal` program: parse, dispatch, print errors and hints, exit code.

use std::process::ExitCode;

use dermal::commands::Outcome;
use dermal::{commands, report};

/// The command answered its question with no.
const NO: u8 = 1;

/// Usage errors, files that cannot be read, models that are not supported: the question stays open.
const NOT_DONE: u8 = 2;

/// The command ran, but the photos do not suffice for an answer.
const CANNOT_TELL: u8 = 3;

fn main() -> ExitCode {
    let command = match commands::parse(std::env::args_os()) {
        Ok(cli) => cli.command,
        Err(error) => {
            // `clap` reports help and version as errors, too, with exit code 0. A closed pipe ends
            // them quietly.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(NOT_DONE));
        }
    };
    match commands::run(&command) {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(NO),
        Ok(Outcome::CannotTell) => ExitCode::from(CANNOT_TELL),
        Err(problem) if problem.is_closed_pipe() => ExitCode::SUCCESS,
        Err(problem) => {
            report::print_failure(&problem.causes(), &problem.hint());
            ExitCode::from(NOT_DONE)
        }
    }
}
