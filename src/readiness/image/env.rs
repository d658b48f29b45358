//! Environment variables of a container, each with the place that sets it.

use std::collections::BTreeMap;

use crate::readiness::launch::shell::Value;

/// A place in the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// From 1; 0 if there is none.
    pub(crate) line: usize,
}

impl Place {
    pub(crate) fn new(file: &str, line: usize) -> Self {
        Self {
            file: file.to_owned(),
            line,
        }
    }
}

/// Environment variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Env {
    variables: BTreeMap<String, (Value, Place)>,
    /// Why a variable that is not here may still be set.
    pub(crate) unseen: Option<String>,
}

impl Env {
    pub(crate) fn set(&mut self, name: &str, value: Value, file: &str, line: usize) {
        let place = Place::new(file, line);
        self.variables.insert(name.to_owned(), (value, place));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.variables.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Value {
        match (self.variables.get(name), &self.unseen) {
            (Some((value, _)), _) => value.clone(),
            (None, Some(_)) => Value::Runtime,
            (None, None) => Value::Unset,
        }
    }

    /// The value, if it is known, and its place. An empty value counts as none.
    pub(crate) fn known(&self, name: &str) -> Option<(&str, &Place)> {
        match self.variables.get(name)? {
            (Value::Known(text), place) if !text.is_empty() => Some((text, place)),
            _ => None,
        }
    }

    /// Adopts the variables of another environment.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (name, variable) in &other.variables {
            self.variables.insert(name.clone(), variable.clone());
        }
        if self.unseen.is_none() {
            self.unseen.clone_from(&other.unseen);
        }
    }
}
