//! The settings that a file may have, as data, and the one function that checks a file against
//! them.

use super::located::{Located, Value};
use super::rules::{Findings, Rule};
use crate::text as suggest;

/// The kind of a value.
pub(crate) enum Shape {
    Any,
    Bool,
    Text,
    /// A number or a text, the forms of durations and sizes.
    Scalar,
    /// A whole number from ..= to.
    Int(i64, i64),
    OneOf(&'static [&'static str]),
    /// One of the texts, or any text that the function accepts.
    OneOfOr(&'static [&'static str], fn(&str) -> bool),
    List(&'static Shape),
    /// A map of exactly these keys.
    Map(&'static [Field]),
    /// A map whose keys the author chooses.
    Named(&'static Shape),
    /// Either of two kinds.
    Either(&'static Shape, &'static Shape),
}

/// A key and the kind of its value.
pub(crate) type Field = (&'static str, Shape);

/// The rules for the mistakes in a file.
#[derive(Clone, Copy)]
pub(crate) struct Speaker {
    pub(crate) file: &'static str,
    pub(crate) unknown: &'static Rule,
    pub(crate) wrong: &'static Rule,
    /// Whether the author may add top-level keys that begin with `x-`.
    pub(crate) extensions: bool,
}

impl Speaker {
    /// Checks a value against its kind.
    pub(crate) fn check(
        &self,
        file: &str,
        at: &str,
        value: &Located,
        shape: &Shape,
        out: &mut Findings,
    ) {
        if let Shape::Map(fields) = shape
            && let Value::Map(entries) = &value.value
        {
            for (key, value) in entries {
                if self.extensions && at.is_empty() && key.starts_with("x-") {
                    continue;
                }
                let path = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                if let Some((_, shape)) = fields.iter().find(|(name, _)| name == key) {
                    self.check(file, &path, value, shape, out);
                    continue;
                }
                let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                let near = suggest::nearest(key, &names)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let path = suggest::shorten(&path);
                out.add(
                    self.unknown,
                    file,
                    value.line,
                    format!("{} has no setting `{path}`{near}", self.file),
                );
            }
            return;
        }
        match (shape, &value.value) {
            (Shape::List(shape), Value::List(items)) => {
                for (i, item) in items.iter().enumerate() {
                    self.check(file, &format!("{at}[{i}]"), item, shape, out);
                }
            }
            (Shape::Named(shape), Value::Map(entries)) => {
                for (key, value) in entries {
                    self.check(file, &format!("{at}.{key}"), value, shape, out);
                }
            }
            (Shape::Either(a, b), _) => {
                let shape = if a.takes_kind(&value.value) { a } else { b };
                self.check(file, at, value, shape, out);
            }
            _ if shape.holds(&value.value) => {}
            _ => out.add(
                self.wrong,
                file,
                value.line,
                format!(
                    "`{}`: expected {}, got {}",
                    suggest::shorten(at),
                    shape.name(),
                    shown(&value.value)
                ),
            ),
        }
    }
}

impl Shape {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::Text(_))
            | (Self::Scalar, Value::Text(_) | Value::Number(_)) => true,
            (Self::Int(from, to), Value::Number(n)) => {
                n.fract() == 0.0 && *n >= *from as f64 && *n <= *to as f64
            }
            (Self::OneOf(names), Value::Text(text)) => names.contains(&text.as_str()),
            (Self::OneOfOr(names, other), Value::Text(text)) => {
                names.contains(&text.as_str()) || other(text)
            }
            _ => false,
        }
    }

    /// Whether the value is of the right kind, whatever its content.
    fn takes_kind(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::List(_), Value::List(_)) | (Self::Map(_) | Self::Named(_), Value::Map(_)) => {
                true
            }
            _ => self.holds(value),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Text => "text (in quotes if it looks like a number)".to_owned(),
            Self::Scalar => "text or a number".to_owned(),
            Self::Int(from, i64::MAX) => format!("a whole number from {from}"),
            Self::Int(from, to) => format!("a whole number from {from} to {to}"),
            Self::OneOf(names) | Self::OneOfOr(names, _) => format!("one of {}", names.join(", ")),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) | Self::Named(_) => "a map".to_owned(),
            Self::Either(a, b) => format!("{} or {}", a.name(), b.name()),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::Text(text) => format!("`{}`", suggest::shorten(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}
