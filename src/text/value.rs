//! The values in a text of settings, and their places.

use crate::hint::{Arguments, Hint, named};

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

/// A value and its place. The place of a key's value is that of the key, so that a message about
/// the value names the line of the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// The value.
    pub value: Value,
    /// A number, truth value or null as it is written in the text (`1.10`, `0x1F`, `TRUE`).
    pub(super) written: Option<Box<str>>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null, or a kind that no setting has.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Any number; [`Located::integer`] says whether it is written as a whole one.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Located>),
    /// Keys and values, in their order. Every key is there only once.
    Map(Vec<(String, Located)>),
}

impl Located {
    pub(super) fn new(at: Position, value: Value) -> Self {
        Self {
            line: at.line,
            column: at.column,
            value,
            written: None,
        }
    }

    pub(super) fn written(at: Position, value: Value, text: &str) -> Self {
        let plain = matches!(value, Value::Null | Value::Bool(_) | Value::Number(_));
        Self {
            written: plain.then(|| text.into()),
            ..Self::new(at, value)
        }
    }

    pub(super) fn place(mut self, at: Position) -> Self {
        (self.line, self.column) = (at.line, at.column);
        self
    }

    /// Its place.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Located> {
        self.entries()
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Keys and values; none if this is not a map.
    #[must_use]
    pub fn entries(&self) -> &[(String, Located)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Elements; none if this is not a list.
    #[must_use]
    pub fn items(&self) -> &[Located] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Its text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Its whole number, if it is written as one: `3`, not `3.0`.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        match self.value {
            Value::Number(_) => super::scalar::integer(self.written.as_deref()?),
            _ => None,
        }
    }

    /// Its text as an environment variable would have it: numbers and truth values as they are
    /// written.
    #[must_use]
    pub fn as_env(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => self.written.as_deref().map(str::to_owned),
            _ => None,
        }
    }

    /// A short description for messages: `` `abc` ``, "a list of 3", "nothing".
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(_) | Value::Number(_) => {
                let written = self.written.as_deref().unwrap_or_default();
                format!("`{}`", super::shorten(written))
            }
            Value::Text(text) => format!("`{}`", super::shorten(text)),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(_) => "a block of keys".to_owned(),
        }
    }
}

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(*line, *column))]
pub struct SyntaxError {
    /// Line, from 1; 0 if none is known.
    pub line: usize,
    /// Character in the line, from 1; 0 if none is known.
    pub column: usize,
    /// What is wrong, without the place.
    pub message: String,
    /// Whether the text breaks the rules of the format, or ours.
    pub kind: SyntaxKind,
}

impl Hint for SyntaxError {
    fn kind(&self) -> &'static str {
        match self.kind {
            SyntaxKind::Invalid => "invalid_syntax",
            SyntaxKind::Refused => "refused_syntax",
            SyntaxKind::TooLarge => "text_too_large",
        }
    }

    fn hint(&self) -> String {
        let text = match self.kind {
            SyntaxKind::Invalid => "correct the file at this place",
            SyntaxKind::Refused => "write each value out where it is used",
            SyntaxKind::TooLarge => "leave out what is not needed; is it the right file?",
        };
        text.to_owned()
    }

    fn arguments(&self) -> Arguments {
        let Self {
            line,
            column,
            message,
            ..
        } = self;
        named!(line, column, message)
    }
}

fn place(line: usize, column: usize) -> String {
    match (line, column) {
        (0, _) => String::new(),
        (line, 0) => format!("line {line}: "),
        (line, column) => format!("line {line}, column {column}: "),
    }
}

/// The rules that a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxKind {
    /// The format's: no reader accepts it.
    Invalid,
    /// Ours: the text uses a feature that is refused here (an alias in a recipe); other programs
    /// may accept it.
    Refused,
    /// Ours: the text is larger or deeper than this program reads; other programs may accept it.
    TooLarge,
}

impl SyntaxError {
    pub(super) fn new(kind: SyntaxKind, at: Position, message: impl Into<String>) -> Self {
        Self {
            line: at.line,
            column: at.column,
            message: message.into(),
            kind,
        }
    }

    pub(super) fn invalid(at: Position, message: impl Into<String>) -> Self {
        Self::new(SyntaxKind::Invalid, at, message)
    }

    pub(super) fn too_deep(at: Position) -> Self {
        let message = format!("nested deeper than {}", super::MAX_DEPTH);
        Self::new(SyntaxKind::TooLarge, at, message)
    }

    pub(super) fn too_many(at: Position) -> Self {
        let message = format!("more than {} values", super::MAX_VALUES);
        Self::new(SyntaxKind::TooLarge, at, message)
    }
}

/// The keys of one map, to find repeated ones.
#[derive(Debug, Default)]
pub(super) struct Entries {
    seen: std::collections::HashSet<String>,
    pub(super) list: Vec<(String, Located)>,
}

impl Entries {
    pub(super) fn has(&self, key: &str) -> bool {
        self.seen.contains(key)
    }

    /// Adds a key unless it is already there.
    pub(super) fn add(&mut self, key: String, value: Located) {
        self.seen.insert(key.clone());
        self.list.push((key, value));
    }
}

pub(super) fn twice(at: Position, key: &str) -> SyntaxError {
    SyntaxError::invalid(at, format!("key `{}` is given twice", super::shorten(key)))
}
