//! A photo and its options as JSON.
//!
//! The body is parsed without building a tree of values: there a number of two bytes would take 32, and
//! a body of ten megabytes hundreds. Lists and objects in unexpected places, and entries beyond a limit,
//! are skipped and not kept.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::base64;
use crate::serve::error::{ApiError, short};
use crate::serve::http::json;
use crate::serve::question::{
    MAX_FIELDS, MAX_TEXT_BYTES, OPTIONS, QuestionBuilder, too_many_fields,
};

/// Most numbers of all inputs besides the photo: far more than any such input has.
const MAX_NUMBERS: usize = 1 << 20;

/// The members of a JSON body.
#[derive(Debug, Default)]
struct JsonQuestion<'a> {
    /// The photo as base64.
    image: Cow<'a, str>,
    options: Vec<(&'static str, String)>,
    fields: Vec<(String, String)>,
    inputs: Vec<(String, Vec<f32>)>,
}

/// Reads a body into `question`, and returns the photo.
pub(super) fn read(body: &[u8], question: &mut QuestionBuilder) -> Result<Bytes, ApiError> {
    let document = parse(body)?;
    for (name, value) in document.options {
        question.set(name, &value)?;
    }
    for (name, value) in document.fields {
        question.set(&format!("field.{name}"), &value)?;
    }
    for (name, values) in document.inputs {
        question.add_input(name, values)?;
    }
    base64::decode("image", document.image.as_bytes())
}

fn parse(body: &[u8]) -> Result<JsonQuestion<'_>, ApiError> {
    let Parsed { question, fault } = json::from_slice(body).map_err(|error| {
        ApiError::bad(
            "bad_json",
            format!("the body is not the expected JSON: {error}"),
        )
        .hint("send {\"image\": \"<base64>\", \"gradcam\": true, \"fields\": {\"age\": 55}}")
    })?;
    match fault {
        None => Ok(question),
        Some(Fault::Unknown(name)) => Err(ApiError::bad(
            "unknown_option",
            format!("there is no option `{name}`"),
        )
        .hint(format!(
            "options are {}; the photo goes into `image`, a patient's data into `fields`",
            OPTIONS.join(", ")
        ))),
        Some(Fault::Nested(name)) => Err(ApiError::bad(
            "bad_option",
            format!("`{name}`: expected a text, a number or a boolean"),
        )),
        Some(Fault::Long(name)) => Err(ApiError::bad(
            "field_too_long",
            format!("`{name}` has more than {MAX_TEXT_BYTES} bytes"),
        )),
        Some(Fault::TooManyFields) => Err(too_many_fields()),
        Some(Fault::TooManyNumbers) => Err(ApiError::bad(
            "too_many_numbers",
            format!("the inputs have more than {MAX_NUMBERS} numbers"),
        )),
    }
}

/// What is wrong with a body that is valid JSON.
#[derive(Debug)]
enum Fault {
    Unknown(String),
    Nested(String),
    Long(String),
    TooManyFields,
    TooManyNumbers,
}

/// A body, and the first thing that is wrong with it.
#[derive(Debug, Default)]
struct Parsed<'a> {
    question: JsonQuestion<'a>,
    fault: Option<Fault>,
}

impl Parsed<'_> {
    fn report(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// The value of an option or field as text.
    fn scalar(&mut self, name: &str, value: Scalar<'_>) -> String {
        match value {
            Scalar::Text(text) if text.len() > MAX_TEXT_BYTES => {
                self.report(Fault::Long(short(name)));
                String::new()
            }
            Scalar::Text(text) => text.into_owned(),
            Scalar::Nested => {
                self.report(Fault::Nested(short(name)));
                String::new()
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Parsed<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Parsed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the photo in `image`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut parsed = Parsed::default();
                let mut seen = [false; 3];
                let mut once = |i: usize, name: &'static str| {
                    let again = std::mem::replace(&mut seen[i], true);
                    (!again)
                        .then_some(())
                        .ok_or_else(|| A::Error::duplicate_field(name))
                };
                while let Some(Text(name)) = map.next_key()? {
                    match &*name {
                        "image" => {
                            once(0, "image")?;
                            let Text(image) = map.next_value()?;
                            parsed.question.image = image;
                        }
                        "fields" => {
                            once(1, "fields")?;
                            let Fields(fields) = map.next_value()?;
                            for (name, value) in fields {
                                let value = parsed.scalar(&name, value);
                                parsed.question.fields.push((name, value));
                            }
                            if parsed.question.fields.len() > MAX_FIELDS {
                                parsed.report(Fault::TooManyFields);
                            }
                        }
                        "inputs" => {
                            once(2, "inputs")?;
                            let Inputs { inputs, fault } = map.next_value()?;
                            parsed.question.inputs = inputs;
                            if let Some(fault) = fault {
                                parsed.report(fault);
                            }
                        }
                        other => match OPTIONS.into_iter().find(|option| *option == other) {
                            None => {
                                map.next_value::<IgnoredAny>()?;
                                parsed.report(Fault::Unknown(short(other)));
                            }
                            Some(option) => {
                                let value = map.next_value()?;
                                let value = parsed.scalar(option, value);
                                // If it is given twice, the last one counts.
                                parsed
                                    .question
                                    .options
                                    .retain(|(known, _)| *known != option);
                                parsed.question.options.push((option, value));
                            }
                        },
                    }
                }
                once(0, "image")
                    .is_err()
                    .then_some(parsed)
                    .ok_or_else(|| A::Error::missing_field("image"))
            }
        }
        from.deserialize_map(Members)
    }
}

/// A text, borrowed from the body if it has no escapes. Base64 rarely has any: only `/` may be escaped,
/// and few programs do that.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(One)
    }
}

/// The value of an option or field.
enum Scalar<'a> {
    Text(Cow<'a, str>),
    /// A list or an object, which was skipped.
    Nested,
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        fn text<'a>(text: impl Into<String>) -> Scalar<'a> {
            Scalar::Text(Cow::Owned(text.into()))
        }
        impl<'de> Visitor<'de> for One {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, given: &str) -> Result<Self::Value, E> {
                Ok(text(given))
            }

            fn visit_bool<E: Error>(self, yes: bool) -> Result<Self::Value, E> {
                Ok(text(if yes { "1" } else { "0" }))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(text(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(text(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                let number = Number::from_f64(number).ok_or_else(|| E::custom("not finite"))?;
                Ok(text(number.to_string()))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(text(""))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nested)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nested)
            }
        }
        from.deserialize_any(One)
    }
}

/// Fields of a patient. At most one more than allowed is kept, which shows that there are too many.
struct Fields<'a>(Vec<(String, Scalar<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while fields.len() <= MAX_FIELDS {
                    let Some((name, value)) = map.next_entry::<String, Scalar<'de>>()? else {
                        return Ok(Fields(fields));
                    };
                    fields.push((name, value));
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Each)
    }
}

/// Numbers for inputs besides the photo.
struct Inputs {
    inputs: Vec<(String, Vec<f32>)>,
    fault: Option<Fault>,
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of lists of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inputs, A::Error> {
                let (mut inputs, mut fault) = (Vec::new(), None);
                let mut count = 0;
                while let Some(name) = map.next_key::<String>()? {
                    let Numbers(numbers) = map.next_value()?;
                    count += numbers.len();
                    if inputs.len() >= MAX_FIELDS {
                        fault.get_or_insert(Fault::TooManyFields);
                    } else if count > MAX_NUMBERS {
                        fault.get_or_insert(Fault::TooManyNumbers);
                    } else {
                        inputs.push((name, numbers));
                    }
                }
                Ok(Inputs { inputs, fault })
            }
        }
        from.deserialize_map(Each)
    }
}

/// Numbers of one input. At most one more than allowed is kept, which shows that there are too many.
struct Numbers(Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = list.next_element::<f32>()? {
                    if numbers.len() <= MAX_NUMBERS {
                        numbers.push(number);
                    }
                }
                Ok(Numbers(numbers))
            }
        }
        from.deserialize_seq(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::question::Subject;

    #[test]
    fn json_means_the_same_as_a_form() {
        let mut question = QuestionBuilder::default();
        let body = br#"{"image": "data:image/png;base64,AAEC", "gradcam": true, "top": 3,
            "fields": {"age": 55, "sex": null}, "inputs": {"v": [1, 2.5]}}"#;
        assert_eq!(read(body, &mut question).unwrap().as_ref(), [0, 1, 2]);
        assert_eq!(question.top, Some(3));
        let question = question.finish(Subject::Photo(Bytes::new()), true).unwrap();
        assert!(question.heat_map.is_some());
        assert_eq!(question.fields[0], ("age".to_owned(), "55".to_owned()));
        assert_eq!(question.fields[1], ("sex".to_owned(), String::new()));
        assert_eq!(question.inputs[0].values, [1.0, 2.5]);
        for (body, kind) in [
            (r#"{"image": "A"}"#, "bad_base64"),
            (r#"{"picture": "AAEC"}"#, "bad_json"),
            (r#"{"image": "AAEC", "age": 5}"#, "unknown_option"),
            (r#"{"image": "AAEC", "top": [1, [2], {}]}"#, "bad_option"),
            (
                r#"{"image": "AAEC", "fields": {"a": {"b": [0]}}}"#,
                "bad_option",
            ),
            (r#"{"image": "AAEC", "image": "AAEC"}"#, "bad_json"),
            (
                r#"{"image": "AAEC", "inputs": {"v": [1e99]}}"#,
                "bad_input_number",
            ),
            (r#"{"image": "AAEC", "inputs": {"v": ["1"]}}"#, "bad_json"),
            (r#"{"fields": {}, "age": 5}"#, "bad_json"),
            ("[", "bad_json"),
            ("\"AAEC\"", "bad_json"),
        ] {
            let error = read(body.as_bytes(), &mut QuestionBuilder::default()).unwrap_err();
            assert_eq!(error.kind, kind, "{body}");
        }
        let list =
            |one: &dyn Fn(usize) -> String, n: usize| (0..n).map(one).collect::<Vec<_>>().join(",");
        let field = |i: usize| format!("\"f{i}\":0");
        let numbers = list(&|_| "0".to_owned(), MAX_NUMBERS + 1);
        let long = "a".repeat(MAX_TEXT_BYTES + 1);
        for (member, kind) in [
            (
                format!("\"fields\":{{{}}}", list(&field, 65)),
                "too_many_fields",
            ),
            (
                format!("\"inputs\":{{\"v\":[{numbers}]}}"),
                "too_many_numbers",
            ),
            (
                format!("\"fields\":{{\"age\":\"{long}\"}}"),
                "field_too_long",
            ),
            (format!("\"class\":\"{long}\""), "field_too_long"),
        ] {
            let body = format!("{{\"image\":\"AAEC\",{member}}}");
            let error = read(body.as_bytes(), &mut QuestionBuilder::default()).unwrap_err();
            assert_eq!(error.kind, kind);
        }
    }
}
