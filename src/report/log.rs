//! The log of long-running commands: events of `tracing` to stderr.

use std::io::{self, IsTerminal};

use tracing::Level;

/// Format of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Default for LogForm {
    /// For people on a terminal, otherwise JSON.
    fn default() -> Self {
        if io::stderr().is_terminal() {
            Self::Pretty
        } else {
            Self::Json
        }
    }
}

/// Sends events of this program of at least `level` to stderr. Only the first call in a process has
/// an effect.
pub fn start_log(form: LogForm, level: Level) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false);
    // A second subscriber is refused, so only the first call has an effect.
    let _ = match form {
        LogForm::Pretty => tracing::subscriber::set_global_default(
            builder
                .with_ansi(super::colour_is_wanted() && io::stderr().is_terminal())
                .finish(),
        ),
        LogForm::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
}
