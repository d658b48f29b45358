//! `--report FILE`: writes a report to a file, in addition to the one on the terminal.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::failure;
use crate::file::atomic;
use crate::report::document::{Document, Form};

/// The file that a report will be written to.
pub(super) struct ReportFile {
    path: PathBuf,
    form: Form,
}

impl ReportFile {
    /// Refuses a name or a place that could not be written in the end, before any work is done.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let Some(form) = Form::of(path) else {
            return Err(failure(
                format!("`{}` names no form of report", path.display()),
                "end its name in `.html` or `.md`",
            ));
        };
        atomic::check(path).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            form,
        })
    }

    /// Writes the whole file or nothing.
    pub(super) fn write(&self, document: &Document) -> Result<()> {
        let text = document.render(self.form);
        atomic::write(&self.path, |file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write `{}`", self.path.display()))?;
        Ok(())
    }
}
