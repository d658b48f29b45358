//! Options whose value comes from an environment variable.
//!
//! A variable that is empty counts as not set: `PORT=${PORT}` in a compose file passes an empty one
//! if nobody set `PORT`. An error about a variable's value names the variable, because nobody wrote
//! the option that clap would name.

use std::env::var_os;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use crate::text::shorten;

/// Arguments for which an empty variable is an error. Without a model the program serves the demo
/// model, and nobody means that by `DERMAL_MODEL=`.
const NEVER_EMPTY: [&str; 1] = ["model"];

/// Makes empty variables count as not set.
pub(crate) fn ignore_empty_variables(command: Command) -> Command {
    command.mut_subcommands(|subcommand| {
        subcommand.mut_args(|argument| {
            let is_empty = argument
                .get_env()
                .is_some_and(|name| var_os(name).is_some_and(|value| value.is_empty()));
            if is_empty && !NEVER_EMPTY.contains(&argument.get_id().as_str()) {
                argument.env(None::<&'static str>)
            } else {
                argument
            }
        })
    })
}

/// Rewrites an error about a variable's value, so that it names the variable. `args` is the command
/// line; `command` has been built.
pub(crate) fn name_variable(error: Error, command: &Command, args: &[OsString]) -> Error {
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let is_value = matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
    );
    let subcommand = args.get(1).and_then(|name| name.to_str());
    let subcommand = subcommand.and_then(|name| command.find_subcommand(name));
    let mut arguments = subcommand.into_iter().flat_map(Command::get_arguments);
    let argument = arguments.find(|argument| {
        is_value && argument.to_string() == *wrong && !is_on_command_line(argument, args)
    });
    let Some(argument) = argument else {
        return error;
    };
    let Some((name, value)) = argument.get_env().zip(argument.get_env().and_then(var_os)) else {
        return error;
    };
    let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
    let hint = hint(&value).unwrap_or_else(|| format!("set it to a valid value, or unset {name}"));
    let message = if value.is_empty() {
        format!("{name} (environment variable) is empty")
    } else if argument.is_hide_env_values_set() {
        format!("{name} (environment variable) has a value that cannot be used")
    } else {
        let reason = std::error::Error::source(&error)
            .map_or_else(|| possible_values(argument), ToString::to_string);
        // The hint follows on its own line.
        let reason = reason.replace(&format!("; {hint}"), "");
        format!(
            "{name} (environment variable) is `{}`: {reason}",
            shorten(&value)
        )
    };
    Error::raw(error.kind(), format!("{message}\nhint: {hint}\n"))
}

fn is_on_command_line(argument: &Arg, args: &[OsString]) -> bool {
    let Some(long) = argument.get_long() else {
        // A positional argument: clap reads the variable only if it is not given.
        return false;
    };
    let option = format!("--{long}");
    args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        let rest = arg.strip_prefix(option.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

fn possible_values(argument: &Arg) -> String {
    let values = argument.get_possible_values();
    let names: Vec<_> = values
        .iter()
        .map(clap::builder::PossibleValue::get_name)
        .collect();
    if names.is_empty() {
        "it cannot be used".to_owned()
    } else {
        format!("expected {}", names.join(", "))
    }
}

/// What happened to a value before it reached the program, if the value shows it.
pub(super) fn hint(value: &str) -> Option<String> {
    let value = value.trim();
    if let Some(rest) = value.split_once('$').map(|(_, rest)| rest)
        && rest.starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic())
    {
        return Some(format!(
            "no shell replaced `{}`: quotes, or a command that is a list (`CMD [\"dermal\", ...]`), \
             keep it as it is",
            shorten(value)
        ));
    }
    let is_quoted =
        |quote: char| value.len() >= 2 && value.starts_with(quote) && value.ends_with(quote);
    if is_quoted('"') || is_quoted('\'') {
        return Some("the quotes are part of the value: leave them out".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_shell_replaced_is_seen() {
        for (value, says) in [
            ("$PORT", Some("no shell replaced `$PORT`")),
            ("${PORT}", Some("no shell replaced `${PORT}`")),
            ("${PORT:-8080}", Some("no shell replaced")),
            ("0.0.0.0:$PORT", Some("no shell replaced")),
            ("'$PORT'", Some("no shell replaced")),
            ("\"8080\"", Some("the quotes")),
            ("'8080'", Some("the quotes")),
            ("8080a", None),
            ("$5", None),
            ("\"", None),
            ("", None),
        ] {
            let hint = hint(value);
            assert_eq!(hint.is_some(), says.is_some(), "{value}: {hint:?}");
            assert!(
                hint.unwrap_or_default().contains(says.unwrap_or_default()),
                "{value}"
            );
        }
    }
}
