//! What a command hands to `main` when it could not be carried out.

use std::error::Error;
use std::iter;

use crate::hint::{Arguments, Hint};
use crate::report::ReportError;

#[cfg(test)]
mod tests;

/// The result of a part of a command.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// An error of the library or of a command, and what the command was about to do. `?` makes one of
/// every error that implements [`Hint`] and of no other, so that none reaches a user without a kind
/// and a next step.
#[derive(Debug)]
pub struct Problem {
    /// The innermost first.
    contexts: Vec<String>,
    error: Box<dyn Hint>,
}

impl<E: Hint> From<E> for Problem {
    fn from(error: E) -> Self {
        Self {
            contexts: Vec::new(),
            error: Box::new(error),
        }
    }
}

impl Problem {
    /// What failed, and why: a line for each cause, the outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let contexts = self.contexts.iter().rev().cloned();
        contexts
            .chain(self.errors().map(ToString::to_string))
            .collect()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        self.error.hint()
    }

    /// Whether the reader of stdout went away, which ends a command quietly.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self.find(), Some(ReportError::Closed))
    }

    /// The values in the error's message.
    pub(super) fn arguments(&self) -> Arguments {
        self.error.arguments()
    }

    /// The outermost error of a type.
    pub(super) fn find<E: Error + 'static>(&self) -> Option<&E> {
        self.errors().find_map(|error| error.downcast_ref())
    }

    /// The error and its causes.
    fn errors(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let error: &(dyn Error + 'static) = &*self.error;
        iter::successors(Some(error), |&error| error.source())
    }
}

/// Says what a command was about to do when something failed.
pub(super) trait Context<T> {
    /// As the command would say it: "cannot serve".
    fn context(self, what: &str) -> Result<T>;

    /// The same, for a text that is only made after a failure.
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Problem>> Context<T> for Result<T, E> {
    fn context(self, what: &str) -> Result<T> {
        self.with_context(|| what.to_owned())
    }

    fn with_context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut problem = error.into();
            problem.contexts.push(what());
            problem
        })
    }
}
