//! `--report FILE`: writes a report to a file, as well as to the terminal.

use std::path::Path;

use super::{Context, Result};

use super::CommandError;
use crate::file::{Guard, Output};
use crate::report::document::{Document, Form};

/// The file that a report will be written to.
pub(super) struct ReportFile {
    output: Output,
    form: Form,
}

impl ReportFile {
    /// Refuses, before any work is done, a name without a known format, a file that cannot be
    /// written, and a file that the command reads.
    pub(super) fn new(path: &Path, guard: &mut Guard) -> Result<Self> {
        let Some(form) = Form::of(path) else {
            return Err(CommandError::NoReportForm {
                path: path.to_owned(),
            }
            .into());
        };
        let output = guard
            .writes("--report", path)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self { output, form })
    }

    /// Writes the whole file or nothing.
    pub(super) fn write(&self, document: &Document) -> Result<()> {
        let text = document.render(self.form);
        self.output
            .write(|file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write `{}`", self.output.path().display()))?;
        Ok(())
    }
}
