//! Turns named facts about a patient into the numbers of extra inputs, by a [`FieldMapping`].
//!
//! In: texts by field, from `--field age=55` or a row of a table. Out: an [`ExtraInput`] for each
//! mapped input, and the names of the missing fields, so that callers can report them. Pure. A
//! field is missing if it is not given, empty, or one of `missing_values`. Each of its parts then
//! has the value of `missing`; a part without `missing` makes the field required.
//!
//! Numbers are computed in `f64` and rounded once to `f32`.

use std::collections::BTreeSet;

use super::inputs::ExtraInput;
use crate::artifact::fields::{FieldMapping, FieldPart, MissingCategory};
use crate::hint::{Arguments, Hint, named};
use crate::text::{nearest, shorten, suggest};

/// Why fields cannot be turned into a model's inputs.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum FieldError {
    /// Fields are given, but the model has no mapping.
    #[error("the model does not say how field `{field}` becomes an input")]
    NoMapping {
        /// The first field given.
        field: String,
    },
    /// The mapping has no such field.
    #[error("the model has no field `{field}`")]
    Unknown {
        /// As given.
        field: String,
        /// What to do.
        hint: String,
    },
    /// A field is given twice.
    #[error("field `{field}` is given twice")]
    Twice {
        /// The field.
        field: String,
    },
    /// A field is given, and also the numbers of the input that it makes.
    #[error("field `{field}` and `--input {input}=...` give the same input")]
    Conflict {
        /// The field.
        field: String,
        /// The input.
        input: String,
    },
    /// A field is missing, and its parts have no `missing`.
    #[error("field `{field}` is required")]
    Required {
        /// The field.
        field: String,
        /// What it takes.
        takes: String,
    },
    /// A category that the model does not know.
    #[error("field `{field}`: the model does not know `{got}`")]
    UnknownValue {
        /// The field.
        field: String,
        /// As given.
        got: String,
        /// What to do.
        hint: String,
    },
    /// A text instead of a number.
    #[error("field `{field}`: expected a number, got `{got}`")]
    NotANumber {
        /// The field.
        field: String,
        /// As given.
        got: String,
    },
    /// A number outside the bounds.
    #[error("field `{field}`: expected {expected}, got `{got}`")]
    OutOfRange {
        /// The field.
        field: String,
        /// The bounds.
        expected: String,
        /// As given.
        got: String,
    },
}

impl Hint for FieldError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NoMapping { .. } => "no_field_mapping",
            Self::Unknown { .. } => "unknown_field_name",
            Self::Twice { .. } => "field_given_twice",
            Self::Conflict { .. } => "field_and_input",
            Self::Required { .. } => "missing_field",
            Self::UnknownValue { .. } => "unknown_field_value",
            Self::NotANumber { .. } => "field_is_no_number",
            Self::OutOfRange { .. } => "field_out_of_range",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoMapping { .. } => {
                "give the mapping with `--fields mapping.yaml` (docs/fields.md), or the numbers \
                 themselves with `--input NAME=v,...`"
                    .to_owned()
            }
            Self::Unknown { hint, .. } | Self::UnknownValue { hint, .. } => hint.clone(),
            Self::Twice { .. } => "give each field once".to_owned(),
            Self::Conflict { .. } => "leave one of them out".to_owned(),
            Self::Required { field, takes } => format!("give `{field}`: {takes}"),
            Self::NotANumber { .. } => {
                "write decimals with a dot; texts that mean \"not known\" goes into the mapping's \
                 `missing_values`, or leave the field empty"
                    .to_owned()
            }
            Self::OutOfRange { .. } => {
                "check its unit; the mapping's `min` and `max` set these bounds".to_owned()
            }
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NoMapping { field } | Self::Unknown { field, .. } | Self::Twice { field } => {
                named!(field)
            }
            Self::Conflict { field, input } => named!(field, input),
            Self::Required { field, takes } => named!(field, takes),
            Self::UnknownValue { field, got, .. } | Self::NotANumber { field, got } => {
                named!(field, got)
            }
            Self::OutOfRange {
                field,
                expected,
                got,
            } => named!(field, expected, got),
        }
    }
}

/// Inputs made from fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldInputs {
    /// One for each input that was made.
    pub inputs: Vec<ExtraInput>,
    /// The fields that were used and present, in the mapping's order.
    pub used: Vec<String>,
    /// The fields that were missing, in the mapping's order.
    pub missing: Vec<String>,
}

/// Makes each mapped input whose name is not in `given`, from the texts that `look_up` finds.
///
/// # Errors
/// [`FieldError`] naming the field.
pub fn apply<'t>(
    mapping: &FieldMapping,
    given: &[ExtraInput],
    look_up: &dyn Fn(&str) -> Option<&'t str>,
) -> Result<FieldInputs, FieldError> {
    let mut made = FieldInputs::default();
    let mut seen = BTreeSet::new();
    for input in &mapping.inputs {
        if given.iter().any(|extra| extra.name == input.name) {
            continue;
        }
        let mut values = Vec::new();
        for part in &input.parts {
            let field = part.field();
            let text = look_up(field).map(str::trim);
            let text = text.filter(|text| !is_missing(mapping, text));
            push(part, text, &mut values)?;
            if seen.insert(field) {
                let list = if text.is_some() {
                    &mut made.used
                } else {
                    &mut made.missing
                };
                list.push(field.to_owned());
            }
        }
        made.inputs.push(ExtraInput {
            name: input.name.clone(),
            values,
        });
    }
    Ok(made)
}

/// Like [`apply`], for fields given one by one. Each must be known, be given once, and not make an
/// input that is also in `given`. Without a mapping there must be no fields.
///
/// # Errors
/// [`FieldError`] naming the field.
pub fn resolve(
    mapping: Option<&FieldMapping>,
    fields: &[(String, String)],
    given: &[ExtraInput],
) -> Result<FieldInputs, FieldError> {
    let Some(mapping) = mapping else {
        return match fields.first() {
            Some((field, _)) => Err(FieldError::NoMapping {
                field: shorten(field),
            }),
            None => Ok(FieldInputs::default()),
        };
    };
    let known = mapping.fields();
    for (i, (field, _)) in fields.iter().enumerate() {
        if !known.contains(&field.as_str()) {
            return Err(FieldError::Unknown {
                field: shorten(field),
                hint: suggest(field, &known),
            });
        }
        if fields[..i].iter().any(|(other, _)| other == field) {
            return Err(FieldError::Twice {
                field: field.clone(),
            });
        }
        let mut speaks_for = mapping
            .inputs
            .iter()
            .filter(|input| input.parts.iter().any(|part| part.field() == field));
        let taken = |name: &str| given.iter().any(|extra| extra.name == name);
        if let Some(input) = speaks_for.find(|input| taken(&input.name)) {
            return Err(FieldError::Conflict {
                field: field.clone(),
                input: input.name.clone(),
            });
        }
    }
    let look_up = |name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map(|(_, text)| text.as_str())
    };
    apply(mapping, given, &look_up)
}

/// The values of a field, for people: `female, male or unknown`, `a number of 0 to 120`.
#[must_use]
pub fn takes(part: &FieldPart) -> String {
    match part {
        FieldPart::OneHot { values, .. } => format!("one of {}", values.join(", ")),
        FieldPart::Number { min, max, .. } => match (min, max) {
            (Some(min), Some(max)) => format!("a number of {min} to {max}"),
            (Some(min), None) => format!("a number of at least {min}"),
            (None, Some(max)) => format!("a number of at most {max}"),
            (None, None) => "a number".to_owned(),
        },
        FieldPart::MissingFlag { .. } => "anything".to_owned(),
    }
}

fn is_missing(mapping: &FieldMapping, text: &str) -> bool {
    text.is_empty() || mapping.missing_values.iter().any(|m| m == text)
}

fn push(part: &FieldPart, text: Option<&str>, out: &mut Vec<f32>) -> Result<(), FieldError> {
    let required = || FieldError::Required {
        field: part.field().to_owned(),
        takes: takes(part),
    };
    match part {
        FieldPart::OneHot {
            field,
            values,
            missing,
            ..
        } => {
            let hot = match (text, missing) {
                (Some(text), _) => Some(category(part, text).ok_or_else(|| {
                    let known: Vec<&str> = values.iter().map(String::as_str).collect();
                    FieldError::UnknownValue {
                        field: field.clone(),
                        got: shorten(text),
                        hint: unknown_value(text, &known),
                    }
                })?),
                (None, Some(MissingCategory::Value(text))) => {
                    values.iter().position(|value| value == text)
                }
                (None, Some(MissingCategory::Zeros)) => None,
                (None, None) => return Err(required()),
            };
            out.extend((0..values.len()).map(|i| f32::from(u8::from(Some(i) == hot))));
        }
        FieldPart::Number {
            field,
            subtract,
            divide_by,
            min,
            max,
            missing,
        } => {
            let number = match (text, missing) {
                (Some(text), _) => {
                    let number = text.parse::<f64>().ok().filter(|v| v.is_finite());
                    let number = number.ok_or_else(|| FieldError::NotANumber {
                        field: field.clone(),
                        got: shorten(text),
                    })?;
                    let inside = min.is_none_or(|min| number >= min)
                        && max.is_none_or(|max| number <= max)
                        && number.abs() <= 1e18;
                    if !inside {
                        return Err(FieldError::OutOfRange {
                            field: field.clone(),
                            expected: takes(part),
                            got: shorten(text),
                        });
                    }
                    number
                }
                (None, Some(missing)) => *missing,
                (None, None) => return Err(required()),
            };
            // At most 1e18 / 1e-9: far inside of f32.
            #[expect(clippy::cast_possible_truncation, reason = "the input is f32")]
            out.push(((number - subtract) / divide_by) as f32);
        }
        FieldPart::MissingFlag { .. } => out.push(f32::from(u8::from(text.is_none()))),
    }
    Ok(())
}

/// The index of a value or alias: by its exact text, or in another case if only one value fits.
fn category(part: &FieldPart, text: &str) -> Option<usize> {
    let FieldPart::OneHot {
        values, aliases, ..
    } = part
    else {
        return None;
    };
    let index = |wanted: &str| values.iter().position(|value| value == wanted);
    if let Some(found) = index(text).or_else(|| index(aliases.get(text)?)) {
        return Some(found);
    }
    let folded = text.to_lowercase();
    let same = |other: &str| other.to_lowercase() == folded;
    let by_value = values.iter().map(|value| (value, value));
    let mut fitting: Vec<usize> = by_value
        .chain(aliases)
        .filter(|(word, _)| same(word))
        .filter_map(|(_, value)| index(value))
        .collect();
    fitting.sort_unstable();
    fitting.dedup();
    match fitting.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

fn unknown_value(text: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(text, known) {
        Some(near) => format!("did you mean `{near}`? It knows: {list}"),
        None => format!("it knows: {list}; add other words for them to the mapping's `aliases`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fields::VectorInput;

    fn mapping() -> FieldMapping {
        let text = "\
version: 1
missing_values: [NA]
inputs:
  patient:
    - one_hot: sex
      values: [female, male, Other, other]
      aliases: {F: female, weiblich: female}
      missing: []
    - number: age
      subtract: 10
      divide_by: 80
      min: 0
      max: 120
      missing: 50
    - missing_flag: age
  study:
    - number: dose
";
        let input = |name, len| VectorInput {
            name,
            len,
            has_default: false,
        };
        FieldMapping::from_yaml(text, &[input("study", 1), input("patient", 6)]).unwrap()
    }

    fn given(text: &str) -> Vec<(String, String)> {
        let pair = |t: &str| {
            let (field, value) = t.split_once('=').unwrap();
            (field.to_owned(), value.to_owned())
        };
        text.split_whitespace().map(pair).collect()
    }

    #[test]
    fn fields_become_numbers() {
        let mapping = mapping();
        for (text, patient, missing) in [
            (
                "sex=male age=30 dose=2",
                [0., 1., 0., 0., 0.25, 0.],
                &[][..],
            ),
            ("sex=weiblich age=10 dose=2", [1., 0., 0., 0., 0., 0.], &[]),
            ("sex=MALE dose=2", [0., 1., 0., 0., 0.5, 1.], &["age"]),
            ("sex=f age=1e1 dose=2", [1., 0., 0., 0., 0., 0.], &[]),
            ("sex=Other dose=2", [0., 0., 1., 0., 0.5, 1.], &["age"]),
            (
                "sex=NA age= dose=2",
                [0., 0., 0., 0., 0.5, 1.],
                &["sex", "age"],
            ),
        ] {
            let made = resolve(Some(&mapping), &given(text), &[]).unwrap();
            assert_eq!(made.inputs[0].name, "patient");
            assert_eq!(made.inputs[0].values, patient, "{text}");
            assert_eq!(made.inputs[1].values, [2.0], "{text}");
            assert_eq!(made.missing, missing, "{text}");
            assert_eq!(made.used.len() + made.missing.len(), 3, "{text}");
        }
    }

    #[test]
    fn numbers_are_rounded_once() {
        let mapping = mapping();
        let made = resolve(Some(&mapping), &given("age=63 dose=0.1"), &[]).unwrap();
        assert_eq!(made.inputs[0].values[4].to_bits(), 0.6625_f32.to_bits());
        assert_eq!(made.inputs[1].values[0].to_bits(), 0.1_f32.to_bits());
    }

    #[test]
    fn mistakes_are_named_with_the_next_step() {
        let mapping = mapping();
        for (text, kind, says) in [
            ("sex=male", "missing_field", "give `dose`: a number"),
            (
                "sexe=male dose=1",
                "unknown_field_name",
                "did you mean `sex`?",
            ),
            ("dose=1 dose=1", "field_given_twice", "once"),
            (
                "sex=mal dose=1",
                "unknown_field_value",
                "did you mean `male`?",
            ),
            ("sex=x dose=1", "unknown_field_value", "female, male, Other"),
            ("sex=OTHER dose=1", "unknown_field_value", "Other, other"),
            ("age=old dose=1", "field_is_no_number", "missing_values"),
            ("age=55,5 dose=1", "field_is_no_number", "dot"),
            ("age=inf dose=1", "field_is_no_number", "got `inf`"),
            (
                "age=550 dose=1",
                "field_out_of_range",
                "a number of 0 to 120",
            ),
            ("dose=1e300", "field_out_of_range", "1e300"),
        ] {
            let error = resolve(Some(&mapping), &given(text), &[]).unwrap_err();
            let message = format!("{error}; {}", error.hint());
            assert_eq!(error.kind(), kind, "{text}: {message}");
            assert!(message.contains(says), "{text}: {message}");
        }
        let error = resolve(None, &given("age=1"), &[]).unwrap_err();
        assert_eq!(error.kind(), "no_field_mapping");
        assert_eq!(resolve(None, &[], &[]), Ok(FieldInputs::default()));
    }

    #[test]
    fn an_input_given_as_numbers_needs_no_fields() {
        let mapping = mapping();
        let study = [ExtraInput {
            name: "study".into(),
            values: vec![7.0],
        }];
        let made = resolve(Some(&mapping), &given("sex=male"), &study).unwrap();
        assert_eq!(made.inputs.len(), 1);
        assert_eq!(made.missing, ["age"]);
        let error = resolve(Some(&mapping), &given("dose=1"), &study).unwrap_err();
        assert_eq!(error.kind(), "field_and_input");
    }
}
