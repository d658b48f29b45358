//! All output: data to stdout, everything else to stderr. Nothing else in the library prints.
//!
//! If the reader of the output goes away (`dermal ... | head`), that is not an error of the
//! program: [`ReportError::Closed`] lets `main` end quietly. Colours and progress bars appear only
//! on a terminal, and not at all with `NO_COLOR` (<https://no-color.org>).

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::hint::{Arguments, Hint, named};

pub mod document;
mod log;
mod progress;
mod table;

pub use log::{LogForm, start_log};
pub use progress::Progress;
pub use table::{Align, Table, bar, percent};

/// Version of all JSON documents. It rises when a field is renamed, removed or changes its
/// meaning; new fields do not raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// Why output was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The reader of stdout has gone away.
    #[error("the reader of the output has gone away")]
    Closed,
    /// Another failure, such as a full disk behind a redirection.
    #[error("cannot write to standard output")]
    Io(#[source] io::Error),
    /// A report that JSON cannot hold, which is a bug.
    #[error("cannot write the report as JSON")]
    Json(#[source] serde_json::Error),
}

impl Hint for ReportError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Closed => "output_closed",
            Self::Io(_) => "output",
            Self::Json(_) => "document",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Closed => "let the reader take all of the output".to_owned(),
            Self::Io(_) => "check where the output goes: a disk may be full".to_owned(),
            Self::Json(_) => "this is a bug: please report the command".to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        named!()
    }
}

impl From<io::Error> for ReportError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Whether stdout shows colours.
#[must_use]
pub fn stdout_has_colour() -> bool {
    io::stdout().is_terminal() && colour_is_wanted()
}

fn colour_is_wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes data to stdout.
///
/// # Errors
/// [`ReportError`].
pub fn print(data: impl AsRef<[u8]>) -> Result<(), ReportError> {
    let mut out = io::stdout().lock();
    out.write_all(data.as_ref())?;
    Ok(out.flush()?)
}

/// Writes a JSON document to stdout, indented, with a final line break.
///
/// # Errors
/// [`ReportError`].
pub fn print_json(document: &impl Serialize) -> Result<(), ReportError> {
    let mut text = serde_json::to_vec_pretty(document).map_err(ReportError::Json)?;
    text.push(b'\n');
    print(text)
}

/// Writes a line to stderr. If stderr is closed, the command continues.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a warning, and what to do about it, to stderr.
pub fn warn(message: &str, hint: Option<&str>) {
    let label = paint("warning", "33;1");
    let mut text = format!("{label}: {message}\n");
    if let Some(hint) = hint {
        text.push_str(&format_hint(hint));
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes an error to stderr: what failed, why (a line for each deeper cause), what to do.
pub fn print_failure(causes: &[String], hint: &str) {
    let label = paint("error", "31;1");
    let text = format_failure(&label, causes, hint);
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn format_failure(label: &str, causes: &[String], hint: &str) -> String {
    let mut text = String::new();
    let mut previous: Option<&str> = None;
    for cause in causes {
        // Some messages quote their source; the source is then not repeated.
        if previous.is_some_and(|previous| previous.ends_with(cause.as_str())) {
            continue;
        }
        let start = match previous {
            None => format!("{label}: "),
            Some(_) => "  ".to_owned(),
        };
        text.push_str(&start);
        text.push_str(&printable(cause).replace('\n', "\n  "));
        text.push('\n');
        previous = Some(cause);
    }
    text + &format_hint(hint)
}

fn format_hint(hint: &str) -> String {
    format!("{}: {}\n", paint("hint", "36;1"), printable(hint))
}

fn paint(text: &str, code: &str) -> String {
    if io::stderr().is_terminal() && colour_is_wanted() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Text from a file or a file name, without the control characters that could change what the
/// terminal shows. Line breaks stay.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_each_cause_once_and_ends_in_a_hint() {
        let causes = [
            "cannot load `m`",
            "node `x` (Conv): tensor `k` is missing",
            "tensor `k` is missing",
            "gone",
        ]
        .map(str::to_owned);
        assert_eq!(
            format_failure("error", &causes, "copy it again"),
            "error: cannot load `m`\n  node `x` (Conv): tensor `k` is missing\n  gone\n\
             hint: copy it again\n"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\tc\nd"), "a\u{fffd}[2Jb\u{fffd}c\nd");
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        let closed = ReportError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(closed, ReportError::Closed));
        let full = ReportError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, ReportError::Io(_)));
    }
}
