//! A mapping read from a user's YAML file.

use std::collections::BTreeMap;

use super::{
    FIELDS_VERSION, FieldMapping, FieldMappingError, FieldPart, MappedInput, MissingCategory,
    VectorInput, value,
};
use crate::text::{self, Aliases, Located, MAX_SETTINGS_BYTES, Value, shorten, suggest};

/// Keys that name the kind of a part.
const KINDS: [&str; 3] = ["one_hot", "number", "missing_flag"];

impl FieldMapping {
    /// A mapping from YAML, for a model with the extra inputs `inputs`.
    ///
    /// # Errors
    /// [`FieldMappingError`] naming the place and what it takes.
    pub fn from_yaml(source: &str, inputs: &[VectorInput<'_>]) -> Result<Self, FieldMappingError> {
        if source.len() as u64 > MAX_SETTINGS_BYTES {
            return Err(FieldMappingError::Yaml(format!(
                "at most {MAX_SETTINGS_BYTES} bytes are read, got {}",
                source.len()
            )));
        }
        let document = text::yaml(source, Aliases::Refuse)
            .map_err(|error| FieldMappingError::Yaml(error.to_string()))?;
        let block = block(&document, "the file")?;
        check_keys(block, "the file", &["version", "missing_values", "inputs"])?;
        let version = match block.get("version") {
            Some(found) => found
                .integer()
                .and_then(|version| u64::try_from(version).ok())
                .ok_or_else(|| value("version", format!("{FIELDS_VERSION}"), found.describe()))?,
            None => return Err(value("version", format!("{FIELDS_VERSION}"), "nothing")),
        };
        if version != FIELDS_VERSION {
            return Err(FieldMappingError::Version { got: version });
        }
        let missing_values = match block.get("missing_values") {
            Some(list) => texts(list, "missing_values")?,
            None => Vec::new(),
        };
        let no_inputs = || {
            value(
                "inputs",
                "the model's extra inputs, each with its parts",
                "nothing",
            )
        };
        let found = block.get("inputs").ok_or_else(no_inputs)?;
        let mut mapped = Vec::new();
        for (name, parts) in self::block(found, "inputs")?.entries() {
            let name = name.trim();
            mapped.push(MappedInput {
                parts: self::parts(parts, name)?,
                name: name.to_owned(),
            });
        }
        let mapping = Self {
            version,
            missing_values,
            inputs: mapped,
        };
        mapping.validate(inputs)?;
        Ok(mapping)
    }
}

fn parts(list: &Located, input: &str) -> Result<Vec<FieldPart>, FieldMappingError> {
    let place = format!("inputs.{}", shorten(input));
    let Value::List(items) = &list.value else {
        let expected = "a list of parts, such as `- number: age`";
        return Err(value(place, expected, list.describe()));
    };
    let part = |(i, item): (usize, &Located)| part(item, &format!("{place}, part {}", i + 1));
    items.iter().enumerate().map(part).collect()
}

fn part(item: &Located, place: &str) -> Result<FieldPart, FieldMappingError> {
    let block = block(item, place)?;
    let mut kinds = KINDS
        .iter()
        .filter_map(|kind| Some((*kind, block.get(kind)?)));
    let (kind, field) = match (kinds.next(), kinds.next()) {
        (Some(kind), None) => kind,
        (Some((a, _)), Some((b, _))) => {
            let got = format!("`{a}` and `{b}`");
            return Err(value(place, "one kind of part", got));
        }
        (None, _) => {
            let keys = block.entries().iter().take(8);
            let keys: Vec<String> = keys.map(|(key, _)| format!("`{}`", shorten(key))).collect();
            let expected = format!("one of {}", KINDS.map(|k| format!("`{k}`")).join(", "));
            return Err(value(place, expected, keys.join(", ")));
        }
    };
    let field = self::text(field, &format!("{place}, {kind}"))?;
    let place = format!("{place} ({kind} `{}`)", shorten(&field));
    let number = |key: &str| {
        let found = block.get(key);
        let at = || format!("{place}, {key}");
        found.map(|v| number(v, &at())).transpose()
    };
    match kind {
        "one_hot" => {
            check_keys(block, &place, &["one_hot", "values", "aliases", "missing"])?;
            let at = |key: &str| format!("{place}, {key}");
            let values = block
                .get("values")
                .ok_or_else(|| value(at("values"), "a list of the field's values", "nothing"))?;
            Ok(FieldPart::OneHot {
                values: texts(values, &at("values"))?,
                aliases: match block.get("aliases") {
                    Some(aliases) => self::aliases(aliases, &at("aliases"))?,
                    None => BTreeMap::new(),
                },
                missing: match block.get("missing") {
                    None => None,
                    Some(found) => Some(missing(found, &at("missing"))?),
                },
                field,
            })
        }
        "number" => {
            let keys = ["number", "subtract", "divide_by", "min", "max", "missing"];
            check_keys(block, &place, &keys)?;
            Ok(FieldPart::Number {
                subtract: number("subtract")?.unwrap_or(0.0),
                divide_by: number("divide_by")?.unwrap_or(1.0),
                min: number("min")?,
                max: number("max")?,
                missing: number("missing")?,
                field,
            })
        }
        _ => {
            check_keys(block, &place, &["missing_flag"])?;
            Ok(FieldPart::MissingFlag { field })
        }
    }
}

fn missing(found: &Located, place: &str) -> Result<MissingCategory, FieldMappingError> {
    match &found.value {
        Value::List(none) if none.is_empty() => Ok(MissingCategory::Zeros),
        Value::List(_) | Value::Map(_) | Value::Null => {
            let expected = "a value, or `[]` for zeros only";
            Err(value(place, expected, found.describe()))
        }
        _ => Ok(MissingCategory::Value(text(found, place)?)),
    }
}

fn aliases(found: &Located, place: &str) -> Result<BTreeMap<String, String>, FieldMappingError> {
    let pair =
        |(from, to): &(String, Located)| Ok((from.trim().to_owned(), self::text(to, place)?));
    block(found, place)?.entries().iter().map(pair).collect()
}

/// The value, if it is a block of keys.
fn block<'a>(found: &'a Located, place: &str) -> Result<&'a Located, FieldMappingError> {
    match &found.value {
        Value::Map(_) => Ok(found),
        _ => Err(value(place, "`key: value` lines", found.describe())),
    }
}

fn check_keys(block: &Located, place: &str, known: &[&str]) -> Result<(), FieldMappingError> {
    for (name, _) in block.entries() {
        if !known.contains(&name.as_str()) {
            return Err(FieldMappingError::UnknownKey {
                place: place.to_owned(),
                key: shorten(name),
                hint: suggest(name, known),
            });
        }
    }
    Ok(())
}

fn texts(list: &Located, place: &str) -> Result<Vec<String>, FieldMappingError> {
    match &list.value {
        Value::List(items) => items.iter().map(|item| text(item, place)).collect(),
        _ => Err(value(place, "a list such as `[a, b]`", list.describe())),
    }
}

/// A text. Whole numbers are texts, too, so that skin types may be `[1, 2, 3]`.
fn text(found: &Located, place: &str) -> Result<String, FieldMappingError> {
    if let Some(number) = found.integer() {
        return Ok(number.to_string());
    }
    match &found.value {
        Value::Text(text) => Ok(text.trim().to_owned()),
        Value::Bool(_) | Value::Number(_) => {
            let expected = "a text; put it in quotes to keep it as it is written";
            Err(value(place, expected, found.describe()))
        }
        _ => Err(value(place, "a text", found.describe())),
    }
}

fn number(found: &Located, place: &str) -> Result<f64, FieldMappingError> {
    let number = found.number().filter(|v| v.is_finite());
    number.ok_or_else(|| value(place, "a number", found.describe()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;

    const PATIENT: [VectorInput<'static>; 1] = [VectorInput {
        name: "patient",
        len: 4,
        has_default: false,
    }];

    const GOOD: &str = "\
version: 1
missing_values: [NA, unknown]
inputs:
  patient:
    - one_hot: sex
      values: [female, male]
      aliases: {f: female, 1: male}
      missing: []
    - number: age
      subtract: 10
      divide_by: 90
      min: 0
      max: 120
      missing: 51.9
    - missing_flag: age
";

    #[test]
    fn a_file_becomes_a_mapping_and_survives_json() {
        let mapping = FieldMapping::from_yaml(GOOD, &PATIENT).unwrap();
        assert_eq!(mapping.fields(), ["sex", "age"]);
        assert_eq!(mapping.missing_values, ["NA", "unknown"]);
        let aliases = [("1", "male"), ("f", "female")];
        let aliases = aliases.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(
            mapping.inputs[0].parts,
            [
                FieldPart::OneHot {
                    field: "sex".into(),
                    values: vec!["female".into(), "male".into()],
                    aliases: aliases.into(),
                    missing: Some(MissingCategory::Zeros),
                },
                FieldPart::Number {
                    field: "age".into(),
                    subtract: 10.0,
                    divide_by: 90.0,
                    min: Some(0.0),
                    max: Some(120.0),
                    missing: Some(51.9),
                },
                FieldPart::MissingFlag {
                    field: "age".into()
                },
            ]
        );
        let json = serde_json::to_string(&mapping).unwrap();
        let again: FieldMapping = serde_json::from_str(&json).unwrap();
        assert_eq!(again, mapping, "{json}");
    }

    #[test]
    fn every_mistake_names_its_place() {
        let age = "inputs.patient, part 2 (number `age`)";
        let sex = "inputs.patient, part 1 (one_hot `sex`)";
        for (from, to, kind, says) in [
            ("version: 1", "version: 2", "mapping_version", "version 2"),
            (
                "version: 1\n",
                "",
                "bad_mapping_value",
                "version: expected 1, got nothing",
            ),
            (
                "version: 1",
                "version: one",
                "bad_mapping_value",
                "got `one`",
            ),
            (
                "inputs:",
                "imputs:",
                "unknown_mapping_key",
                "did you mean `inputs`?",
            ),
            (
                "patient:",
                "patients:",
                "mapping_of_unknown_input",
                "did you mean `patient`?",
            ),
            (
                "one_hot: sex",
                "onehot: sex",
                "bad_mapping_value",
                "one of `one_hot`",
            ),
            (
                "one_hot: sex",
                "one_hot: sex\n      number: sex",
                "bad_mapping_value",
                "`one_hot` and `number`",
            ),
            (
                "one_hot: sex",
                "one_hot: ''",
                "bad_mapping_value",
                "a field's name",
            ),
            (
                "[female, male]",
                "[female, female]",
                "mapping_contradiction",
                "twice",
            ),
            (
                "[female, male]",
                "[]",
                "bad_mapping_value",
                "one value or more",
            ),
            ("[female, male]", "female", "bad_mapping_value", sex),
            (
                "[female, male]",
                "[female, true]",
                "bad_mapping_value",
                "quotes",
            ),
            (
                "[female, male]",
                "[female, 1.0]",
                "bad_mapping_value",
                "quotes",
            ),
            (
                "[female, male]",
                "[female, male, other]",
                "mapping_does_not_fit_input",
                "expected 4 numbers, got 5 (sex 3, age 1, age 1)",
            ),
            (
                "f: female",
                "f: femal",
                "mapping_contradiction",
                "did you mean `female`?",
            ),
            (
                "f: female",
                "male: female",
                "mapping_contradiction",
                "a value itself",
            ),
            (
                "missing: []",
                "missing: mal",
                "mapping_contradiction",
                "did you mean `male`?",
            ),
            (
                "missing: []",
                "missing:",
                "bad_mapping_value",
                "`[]` for zeros only",
            ),
            (
                "missing: []",
                "missing: [male]",
                "bad_mapping_value",
                "a list of 1",
            ),
            ("divide_by: 90", "divide_by: 0", "bad_mapping_value", age),
            ("divide_by: 90", "divide_by: .nan", "bad_mapping_value", age),
            (
                "divide_by: 90",
                "divided_by: 90",
                "unknown_mapping_key",
                "did you mean `divide_by`?",
            ),
            (
                "divide_by: 90",
                "divide_by: x",
                "bad_mapping_value",
                "a number, got `x`",
            ),
            (
                "subtract: 10",
                "subtract: 1e99",
                "bad_mapping_value",
                "at most 1e9",
            ),
            ("min: 0", "min: 121", "mapping_contradiction", "above `max`"),
            (
                "missing: 51.9",
                "missing: 0.577\n      min: 18",
                "bad_yaml",
                "not valid YAML",
            ),
            (
                "missing: 51.9",
                "missing: 130",
                "mapping_contradiction",
                "outside of `min`",
            ),
            (
                "      missing: 51.9\n",
                "",
                "mapping_contradiction",
                "always 0",
            ),
            (
                "missing_flag: age",
                "missing_flag: age\n      min: 3",
                "unknown_mapping_key",
                "part 3",
            ),
            ("patient:", "patient: &a", "bad_yaml", "an anchor"),
            ("  patient:\n", "", "bad_mapping_value", "inputs: expected"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let text = GOOD.replacen(from, to, 1);
            let error = FieldMapping::from_yaml(&text, &PATIENT).unwrap_err();
            let message = format!("{error}; {}", error.hint());
            assert_eq!(error.kind(), kind, "{to}: {message}");
            assert!(message.contains(says), "{to}: {message}");
        }
        for (text, says) in [
            ("", "the file: expected"),
            ("- a", "a list of 1"),
            ("a: [", "not valid YAML"),
            ("version: 1\ninputs: {}", "an extra input of the model"),
            ("version: 1\ninputs: {patient: 3}", "a list of parts"),
        ] {
            let error = FieldMapping::from_yaml(text, &PATIENT).unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_mapping_of_thousands_of_parts_is_refused_at_once() {
        let mut mapping = FieldMapping::from_yaml(GOOD, &PATIENT).unwrap();
        let part = mapping.inputs[0].parts[2].clone();
        mapping.inputs[0].parts = vec![part; 200_000];
        let error = mapping.validate(&PATIENT).unwrap_err().to_string();
        assert!(error.contains("at most 1024 parts, got 200000"), "{error}");
    }

    #[test]
    fn a_model_must_take_what_is_mapped() {
        let only_photo = FieldMapping::from_yaml(GOOD, &[]).unwrap_err();
        assert!(only_photo.hint().contains("takes no fields"));
        let [patient] = PATIENT;
        let with_default = [VectorInput {
            has_default: true,
            ..patient
        }];
        let error = FieldMapping::from_yaml(GOOD, &with_default).unwrap_err();
        assert_eq!(error.kind(), "mapping_contradiction");
        assert!(error.hint().contains("--input-default"));
    }
}
