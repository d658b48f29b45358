//! Inputs beside the photo: numbers given as `--input NAME=v,v,...`.

use crate::artifact::{InputKind, Model};
use crate::graph::NodeId;
use crate::hint::{Arguments, Hint, named};
use crate::text::{nearest, shorten};

/// Numbers for one input of the model, by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtraInput {
    /// The input's name.
    pub name: String,
    /// Its values, in order.
    pub values: Vec<f32>,
}

/// The values of every input beside the photo, by node; [`resolve`] makes them for one model.
pub type InputValues = Vec<(NodeId, Vec<f32>)>;

/// Why extra inputs do not fit the model.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InputError {
    /// The text is not `NAME=v,v,...`.
    #[error("`{text}` is not of the form `NAME=v,v,...`")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// One of the values is not a number.
    #[error("input `{name}`: value {position} is `{got}`, expected a finite number")]
    Number {
        /// The input.
        name: String,
        /// Which value, from 1.
        position: usize,
        /// The text of the value.
        got: String,
    },
    /// The model has no such input.
    #[error("the model has no input `{name}`")]
    Unknown {
        /// The name given.
        name: String,
        /// What to do.
        hint: String,
    },
    /// The name is that of the photo's input.
    #[error("input `{name}` is the photo")]
    Photo {
        /// The name given.
        name: String,
    },
    /// An input is given twice.
    #[error("input `{name}` is given twice")]
    Twice {
        /// The name given.
        name: String,
    },
    /// The number of values is wrong.
    #[error("input `{name}`: expected {expected} values, got {got}")]
    Length {
        /// The input.
        name: String,
        /// Values that it takes.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// An input without a default is not given.
    #[error("the model needs input `{name}`: {expected} numbers beside the photo")]
    Missing {
        /// The input.
        name: String,
        /// Values that it takes.
        expected: usize,
    },
}

impl Hint for InputError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "bad_input_syntax",
            Self::Number { .. } => "bad_input_number",
            Self::Unknown { .. } => "unknown_input",
            Self::Photo { .. } => "input_is_the_photo",
            Self::Twice { .. } => "input_given_twice",
            Self::Length { .. } => "wrong_input_length",
            Self::Missing { .. } => "missing_input",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Syntax { .. } => "write for example `--input patient=0,1,0.5`".to_owned(),
            Self::Number { .. } => {
                "separate numbers with commas, and write decimals with a dot".to_owned()
            }
            Self::Unknown { hint, .. } => hint.clone(),
            Self::Photo { .. } => "give the photo's path as an argument".to_owned(),
            Self::Twice { .. } => "give each input once".to_owned(),
            Self::Length { name, expected, .. } => {
                format!("write `--input {}`", example(name, *expected))
            }
            Self::Missing { name, expected } => format!(
                "give `--input {}`, or import the model again with `--input-default {name}=...`",
                example(name, *expected)
            ),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Syntax { text } => named!(text),
            Self::Number {
                name,
                position,
                got,
            } => named!(name, position, got),
            Self::Unknown { name, .. } | Self::Photo { name } | Self::Twice { name } => {
                named!(name)
            }
            Self::Length {
                name,
                expected,
                got,
            } => named!(name, expected, got),
            Self::Missing { name, expected } => named!(name, expected),
        }
    }
}

/// `name=v1,v2,...,v10`.
fn example(name: &str, n: usize) -> String {
    match n {
        0..=4 => {
            let values: Vec<String> = (1..=n).map(|i| format!("v{i}")).collect();
            format!("{name}={}", values.join(","))
        }
        _ => format!("{name}=v1,v2,...,v{n}"),
    }
}

impl std::str::FromStr for ExtraInput {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        // Names of Keras inputs have no `=`; values never do.
        let Some((name, values)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(InputError::Syntax {
                text: shorten(text),
            });
        };
        let values = values
            .split(',')
            .enumerate()
            .map(|(i, value)| {
                let number = value.trim().parse::<f32>().ok().filter(|v| v.is_finite());
                number.ok_or_else(|| InputError::Number {
                    name: shorten(name),
                    position: i + 1,
                    got: shorten(value),
                })
            })
            .collect::<Result<Vec<f32>, InputError>>()?;
        Ok(Self {
            name: name.trim().to_owned(),
            values,
        })
    }
}

/// The values of each input besides the photo: the given ones, or else the model's defaults.
///
/// # Errors
/// [`InputError`] naming the input.
pub fn resolve(model: &Model, given: &[ExtraInput]) -> Result<InputValues, InputError> {
    let specs = &model.manifest.inputs;
    for (i, extra) in given.iter().enumerate() {
        let name = || extra.name.clone();
        match specs.iter().find(|spec| spec.name == extra.name) {
            None => return Err(unknown(model, &extra.name)),
            Some(spec) if matches!(spec.kind, InputKind::Image { .. }) => {
                return Err(InputError::Photo { name: name() });
            }
            Some(_) if given[..i].iter().any(|other| other.name == extra.name) => {
                return Err(InputError::Twice { name: name() });
            }
            Some(_) => {}
        }
    }
    let mut resolved = Vec::new();
    for (spec, (id, node)) in specs.iter().zip(model.graph.inputs()) {
        let InputKind::Vector { default } = &spec.kind else {
            continue;
        };
        let expected = node.shape.len();
        let found = given.iter().find(|extra| extra.name == spec.name);
        let values = found.map(|extra| &extra.values).or(default.as_ref());
        let values = values.ok_or_else(|| InputError::Missing {
            name: spec.name.clone(),
            expected,
        })?;
        if values.len() != expected {
            return Err(InputError::Length {
                name: spec.name.clone(),
                expected,
                got: values.len(),
            });
        }
        resolved.push((id, values.clone()));
    }
    Ok(resolved)
}

fn unknown(model: &Model, name: &str) -> InputError {
    let known: Vec<&str> = model
        .manifest
        .inputs
        .iter()
        .filter(|spec| matches!(spec.kind, InputKind::Vector { .. }))
        .map(|spec| spec.name.as_str())
        .collect();
    let hint = if known.is_empty() {
        "its only input is the photo: leave `--input` out".to_owned()
    } else {
        let list: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
        let list = list.join(", ");
        match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`? Its inputs beside the photo: {list}"),
            None => format!("its inputs beside the photo: {list}"),
        }
    };
    InputError::Unknown {
        name: shorten(name),
        hint,
    }
}
