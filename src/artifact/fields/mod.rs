//! How named facts about a patient become a model's extra inputs, as data that is stored in the
//! artifact.
//!
//! For each extra input, a [`FieldMapping`] lists the parts that make its numbers, in their order:
//! a category as one 1 among zeros, a number shifted and scaled, or whether a field is missing.
//! `predict` applies it ([`crate::predict::fields`] says how); [`FieldMapping::from_yaml`] reads a
//! user's file. `docs/fields.md` explains the file.
//!
//! Not here: what a field means. Units and names are those of the training data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::hint::{Arguments, Hint, named};
use crate::text::{shorten, suggest};

mod yaml;

/// Value of `version`.
pub const FIELDS_VERSION: u64 = 1;

/// Most parts of a mapping. Patient tables have some ten columns. Checking is quadratic in this
/// number, and a stored mapping may be hostile.
const MAX_PARTS: usize = 1_024;

/// A mapping from named fields to the numbers of extra inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldMapping {
    /// [`FIELDS_VERSION`].
    pub version: u64,
    /// Texts that mean that a field is missing, besides the empty one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_values: Vec<String>,
    /// The inputs that are made from fields.
    pub inputs: Vec<MappedInput>,
}

/// An extra input of the model, and the parts that make it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappedInput {
    /// The graph's input node.
    pub name: String,
    /// In the order of the input's numbers.
    pub parts: Vec<FieldPart>,
}

/// Some consecutive numbers of an input, made from one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum FieldPart {
    /// One number for each value: 1 for the field's value, 0 for the others.
    OneHot {
        /// The field.
        field: String,
        /// Its values, in the order of their numbers.
        values: Vec<String>,
        /// Other words for a value.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        aliases: BTreeMap<String, String>,
        /// The value of a missing field; without it the field is required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<MissingCategory>,
    },
    /// One number: `(field - subtract) / divide_by`.
    Number {
        /// The field.
        field: String,
        /// Subtracted first.
        subtract: f64,
        /// Divides last.
        divide_by: f64,
        /// The smallest value that is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// The largest value that is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        /// The value of a missing field, before `subtract`; without it the field is required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<f64>,
    },
    /// One number: 1 if the field is missing, else 0.
    MissingFlag {
        /// The field.
        field: String,
    },
}

/// The numbers of a one-hot part if its field is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingCategory {
    /// 1 for this value.
    Value(String),
    /// Zeros only.
    Zeros,
}

impl FieldPart {
    /// The field that it reads.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::OneHot { field, .. }
            | Self::Number { field, .. }
            | Self::MissingFlag { field } => field,
        }
    }

    /// How many numbers it makes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a valid part is never empty")]
    pub fn len(&self) -> usize {
        match self {
            Self::OneHot { values, .. } => values.len(),
            Self::Number { .. } | Self::MissingFlag { .. } => 1,
        }
    }

    /// The key of the part in a mapping file.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OneHot { .. } => "one_hot",
            Self::Number { .. } => "number",
            Self::MissingFlag { .. } => "missing_flag",
        }
    }

    /// Whether a prediction can be made without the field.
    #[must_use]
    pub fn may_be_missing(&self) -> bool {
        match self {
            Self::OneHot { missing, .. } => missing.is_some(),
            Self::Number { missing, .. } => missing.is_some(),
            Self::MissingFlag { .. } => true,
        }
    }
}

/// Why a mapping cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum FieldMappingError {
    /// The text is not YAML of the plain kind.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A key that does not exist.
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        /// The place.
        place: String,
        /// The key.
        key: String,
        /// What to do.
        hint: String,
    },
    /// The value of a key is of the wrong kind.
    #[error("{place}: expected {expected}, got {got}")]
    Value {
        /// The place.
        place: String,
        /// What the key takes.
        expected: String,
        /// What it has.
        got: String,
    },
    /// Another version of the mapping.
    #[error("version {got} of a field mapping is not known, expected {FIELDS_VERSION}")]
    Version {
        /// As given.
        got: u64,
    },
    /// The model has no such extra input.
    #[error("the model has no extra input `{input}`")]
    UnknownInput {
        /// As given.
        input: String,
        /// What to do.
        hint: String,
    },
    /// The parts make a different number of numbers than the input takes.
    #[error("inputs.{input}: expected {expected} numbers, got {got} ({parts})")]
    Length {
        /// The input.
        input: String,
        /// Numbers it takes.
        expected: usize,
        /// Numbers the parts make.
        got: usize,
        /// Each part with its numbers.
        parts: String,
    },
    /// A statement that contradicts another.
    #[error("{place}: {problem}")]
    Contradiction {
        /// The place.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
}

impl Hint for FieldMappingError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Yaml(_) => "bad_yaml",
            Self::UnknownKey { .. } => "unknown_mapping_key",
            Self::Value { .. } => "bad_mapping_value",
            Self::Version { .. } => "mapping_version",
            Self::UnknownInput { .. } => "mapping_of_unknown_input",
            Self::Length { .. } => "mapping_does_not_fit_input",
            Self::Contradiction { .. } => "mapping_contradiction",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Yaml(_) | Self::Value { .. } => "docs/fields.md shows a whole file".to_owned(),
            Self::Version { .. } => {
                format!("write `version: {FIELDS_VERSION}`, or update dermal")
            }
            Self::Length { .. } => {
                "list a part for each number in the order in which the model was trained: a \
                 `one_hot` makes one number a value, `number` and `missing_flag` make one"
                    .to_owned()
            }
            Self::UnknownKey { hint, .. }
            | Self::UnknownInput { hint, .. }
            | Self::Contradiction { hint, .. } => hint.clone(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Yaml(problem) => named!(problem),
            Self::UnknownKey { place, key, .. } => named!(place, key),
            Self::Value {
                place,
                expected,
                got,
            } => named!(place, expected, got),
            Self::Version { got } => named!(got).with("expected", &FIELDS_VERSION),
            Self::UnknownInput { input, .. } => named!(input),
            Self::Length {
                input,
                expected,
                got,
                parts,
            } => named!(input, expected, got, parts),
            Self::Contradiction { place, problem, .. } => named!(place, problem),
        }
    }
}

/// The facts about a model's extra input that a mapping needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorInput<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many numbers it takes.
    pub len: usize,
    /// Whether the model has a default for it.
    pub has_default: bool,
}

impl FieldMapping {
    /// The names of all fields, in the order in which the parts first name them.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let parts = self.inputs.iter().flat_map(|input| &input.parts);
        parts
            .map(FieldPart::field)
            .filter(|field| seen.insert(*field))
            .collect()
    }

    /// A mapping in the form in which an artifact and an exported file store it. `None` if the text is
    /// no such mapping, if it has more than a megabyte, or if it does not fit a model with the extra
    /// inputs `inputs`.
    #[must_use]
    pub fn from_json(text: &str, inputs: &[VectorInput<'_>]) -> Option<Self> {
        const MOST: usize = 1 << 20;
        let text = (text.len() <= MOST).then_some(text)?;
        let mapping: Self = serde_json::from_str(text).ok()?;
        mapping.validate(inputs).is_ok().then_some(mapping)
    }

    /// Checks that the mapping is consistent and makes the numbers that `inputs`, the model's extra
    /// inputs, take.
    ///
    /// # Errors
    /// [`FieldMappingError`] naming the place.
    pub fn validate(&self, inputs: &[VectorInput<'_>]) -> Result<(), FieldMappingError> {
        if self.version != FIELDS_VERSION {
            return Err(FieldMappingError::Version { got: self.version });
        }
        if self.inputs.is_empty() {
            return Err(value("inputs", "an extra input of the model", "nothing"));
        }
        let parts: usize = self.inputs.iter().map(|input| input.parts.len()).sum();
        if parts > MAX_PARTS || self.inputs.len() > MAX_PARTS {
            let got = format!("{parts} for {} inputs", self.inputs.len());
            return Err(value("inputs", format!("at most {MAX_PARTS} parts"), got));
        }
        let mut seen = BTreeSet::new();
        for input in &self.inputs {
            let name = shorten(&input.name);
            let Some(known) = inputs.iter().find(|known| known.name == input.name) else {
                return Err(unknown_input(&name, inputs));
            };
            if !seen.insert(&input.name) {
                let hint = "put its parts in one list, in the order of its numbers";
                return Err(contradiction(format!("inputs.{name}"), "given twice", hint));
            }
            if known.has_default {
                return Err(contradiction(
                    format!("inputs.{name}"),
                    "the model also has a default for this input",
                    "import the model without `--input-default`: `missing` of each part says what \
                     stands for a missing field",
                ));
            }
            for (i, part) in input.parts.iter().enumerate() {
                let place = format!(
                    "inputs.{name}, part {} ({} `{}`)",
                    i + 1,
                    part.kind(),
                    shorten(part.field())
                );
                self.validate_part(part, &place)?;
            }
            let got = input.parts.iter().map(FieldPart::len).sum();
            if got != known.len {
                let part = |p: &FieldPart| format!("{} {}", shorten(p.field()), p.len());
                let parts: Vec<String> = input.parts.iter().take(16).map(part).collect();
                return Err(FieldMappingError::Length {
                    input: name,
                    expected: known.len,
                    got,
                    parts: parts.join(", "),
                });
            }
        }
        Ok(())
    }

    fn validate_part(&self, part: &FieldPart, place: &str) -> Result<(), FieldMappingError> {
        let field = part.field();
        if field.trim() != field || field.is_empty() || field.contains(['=', '\n']) {
            return Err(value(
                place,
                "a field's name",
                format!("`{}`", shorten(field)),
            ));
        }
        match part {
            FieldPart::OneHot {
                values,
                aliases,
                missing,
                ..
            } => one_hot(values, aliases, missing.as_ref(), place),
            FieldPart::Number {
                subtract,
                divide_by,
                min,
                max,
                missing,
                ..
            } => number(*subtract, *divide_by, [*min, *max], *missing, place),
            FieldPart::MissingFlag { .. } => {
                let parts = self.inputs.iter().flat_map(|input| &input.parts);
                match parts
                    .filter(|other| other.field() == field)
                    .find(|other| !other.may_be_missing())
                {
                    Some(strict) => Err(contradiction(
                        place.to_owned(),
                        format!(
                            "it is always 0, since `{}: {}` has no `missing`",
                            strict.kind(),
                            shorten(field)
                        ),
                        "give that part a `missing`, or leave the flag out",
                    )),
                    None => Ok(()),
                }
            }
        }
    }
}

fn one_hot(
    values: &[String],
    aliases: &BTreeMap<String, String>,
    missing: Option<&MissingCategory>,
    place: &str,
) -> Result<(), FieldMappingError> {
    if values.is_empty() {
        return Err(value(
            format!("{place}, values"),
            "one value or more",
            "none",
        ));
    }
    let mut known = BTreeSet::new();
    for text in values {
        if text.trim() != text || text.is_empty() {
            let got = format!("`{}`", shorten(text));
            return Err(value(
                format!("{place}, values"),
                "texts without spaces around them",
                got,
            ));
        }
        if !known.insert(text.as_str()) {
            return Err(contradiction(
                format!("{place}, values"),
                format!("`{}` is listed twice", shorten(text)),
                "each value has its own number",
            ));
        }
    }
    let listed = || -> Vec<&str> { values.iter().take(32).map(String::as_str).collect() };
    for (alias, target) in aliases {
        let place = format!("{place}, aliases");
        if known.contains(alias.as_str()) {
            return Err(contradiction(
                place,
                format!("`{}` is a value itself", shorten(alias)),
                "leave the alias out",
            ));
        }
        if !known.contains(target.as_str()) {
            return Err(contradiction(
                place,
                format!(
                    "`{}` stands for `{}`, which is not among `values`",
                    shorten(alias),
                    shorten(target)
                ),
                suggest(target, &listed()),
            ));
        }
    }
    match missing {
        Some(MissingCategory::Value(text)) if !known.contains(text.as_str()) => Err(contradiction(
            format!("{place}, missing"),
            format!("`{}` is not among `values`", shorten(text)),
            format!("{}; `[]` for zeros only", suggest(text, &listed())),
        )),
        _ => Ok(()),
    }
}

fn number(
    subtract: f64,
    divide_by: f64,
    [min, max]: [Option<f64>; 2],
    missing: Option<f64>,
    place: &str,
) -> Result<(), FieldMappingError> {
    // Far from overflow and underflow in the input's f32.
    let sane = |v: f64| v.abs() <= 1e9;
    for (key, number) in [
        ("subtract", Some(subtract)),
        ("min", min),
        ("max", max),
        ("missing", missing),
    ] {
        if let Some(got) = number.filter(|&v| !sane(v)) {
            let place = format!("{place}, {key}");
            return Err(value(place, "a number of at most 1e9", format!("`{got}`")));
        }
    }
    if !(1e-9..=1e9).contains(&divide_by.abs()) {
        return Err(value(
            format!("{place}, divide_by"),
            "a number other than 0, of 1e-9 to 1e9",
            format!("`{divide_by}`"),
        ));
    }
    let (low, high) = (
        min.unwrap_or(f64::NEG_INFINITY),
        max.unwrap_or(f64::INFINITY),
    );
    if low > high {
        return Err(contradiction(
            place.to_owned(),
            format!("`min` {low} is above `max` {high}"),
            "exchange them",
        ));
    }
    match missing {
        Some(number) if !(low..=high).contains(&number) => Err(contradiction(
            format!("{place}, missing"),
            format!("{number} is outside of `min` and `max`"),
            "`missing` is in the field's own unit, before `subtract` and `divide_by`",
        )),
        _ => Ok(()),
    }
}

fn value(
    place: impl Into<String>,
    expected: impl Into<String>,
    got: impl Into<String>,
) -> FieldMappingError {
    FieldMappingError::Value {
        place: place.into(),
        expected: expected.into(),
        got: got.into(),
    }
}

fn contradiction(
    place: String,
    problem: impl Into<String>,
    hint: impl Into<String>,
) -> FieldMappingError {
    FieldMappingError::Contradiction {
        place,
        problem: problem.into(),
        hint: hint.into(),
    }
}

fn unknown_input(name: &str, inputs: &[VectorInput<'_>]) -> FieldMappingError {
    let known: Vec<&str> = inputs.iter().map(|input| input.name).collect();
    let hint = if known.is_empty() {
        "its only input is the photo: it takes no fields".to_owned()
    } else {
        suggest(name, &known)
    };
    FieldMappingError::UnknownInput {
        input: name.to_owned(),
        hint,
    }
}
