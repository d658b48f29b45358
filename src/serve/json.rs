//! Questions as JSON, read in no more memory than they have bytes: a number of two bytes would be a
//! value of 32, and a body of ten megabytes hundreds. What nests where nothing nests, and what is
//! more than there can be, is passed over and not kept.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::ask::{MAX_FIELDS, MAX_TEXT_BYTES, OPTIONS, too_many};
use super::error::ApiError;

/// Numbers of all inputs beside the photo: far above any such input.
pub(super) const MAX_NUMBERS: usize = 1 << 20;

/// What a JSON body asks.
#[derive(Debug, Default)]
pub(super) struct JsonAsk<'a> {
    /// Base64.
    pub image: Cow<'a, str>,
    pub options: Vec<(&'static str, String)>,
    pub fields: Vec<(String, String)>,
    pub inputs: Vec<(String, Vec<f32>)>,
}

/// Reads a question.
pub(super) fn read(body: &[u8]) -> Result<JsonAsk<'_>, ApiError> {
    let Parsed { ask, fault } = serde_json::from_slice(body).map_err(|error| {
        ApiError::bad(
            "bad_json",
            format!("the body is not the expected JSON: {error}"),
        )
        .hint("give {\"image\": \"<base64>\", \"gradcam\": true, \"fields\": {\"age\": 55}}")
    })?;
    match fault {
        None => Ok(ask),
        Some(Fault::Unknown(name)) => {
            Err(
                ApiError::bad("unknown_option", format!("`{name}` is no option")).hint(format!(
                    "options are {}; a patient's data goes into `fields`",
                    OPTIONS.join(", ")
                )),
            )
        }
        Some(Fault::Nested(name)) => Err(ApiError::bad(
            "bad_option",
            format!("`{name}`: expected a text, a number or a boolean"),
        )),
        Some(Fault::Long(name)) => Err(ApiError::bad(
            "field_too_long",
            format!("`{name}` has more than {MAX_TEXT_BYTES} bytes"),
        )),
        Some(Fault::TooManyFields) => Err(too_many()),
        Some(Fault::TooManyNumbers) => Err(ApiError::bad(
            "too_many_numbers",
            format!("the inputs have more than {MAX_NUMBERS} numbers"),
        )),
    }
}

/// What is wrong with a body that is JSON.
#[derive(Debug)]
enum Fault {
    Unknown(String),
    Nested(String),
    Long(String),
    TooManyFields,
    TooManyNumbers,
}

/// A question, and the first thing that is wrong with it.
#[derive(Debug, Default)]
struct Parsed<'a> {
    ask: JsonAsk<'a>,
    fault: Option<Fault>,
}

/// The start of a name that may be long.
fn shown(name: &str) -> String {
    crate::text::shorten(name)
}

impl Parsed<'_> {
    fn wrong(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// The value of an option or field as text.
    fn scalar(&mut self, name: &str, value: Scalar<'_>) -> String {
        match value {
            Scalar::Text(text) if text.len() > MAX_TEXT_BYTES => {
                self.wrong(Fault::Long(shown(name)));
                String::new()
            }
            Scalar::Text(text) => text.into_owned(),
            Scalar::Nested => {
                self.wrong(Fault::Nested(shown(name)));
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
                            parsed.ask.image = image;
                        }
                        "fields" => {
                            once(1, "fields")?;
                            let Fields(fields) = map.next_value()?;
                            for (name, value) in fields {
                                let value = parsed.scalar(&name, value);
                                parsed.ask.fields.push((name, value));
                            }
                            if parsed.ask.fields.len() > MAX_FIELDS {
                                parsed.wrong(Fault::TooManyFields);
                            }
                        }
                        "inputs" => {
                            once(2, "inputs")?;
                            let Inputs { inputs, fault } = map.next_value()?;
                            parsed.ask.inputs = inputs;
                            if let Some(fault) = fault {
                                parsed.wrong(fault);
                            }
                        }
                        other => match OPTIONS.into_iter().find(|option| *option == other) {
                            None => {
                                map.next_value::<IgnoredAny>()?;
                                parsed.wrong(Fault::Unknown(shown(other)));
                            }
                            Some(option) => {
                                let value = map.next_value()?;
                                let value = parsed.scalar(option, value);
                                // The last one counts.
                                parsed.ask.options.retain(|(known, _)| *known != option);
                                parsed.ask.options.push((option, value));
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

/// A text, in place where nothing in it is escaped. Base64 has nothing that would be but `/`, which few
/// writers do.
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
    /// A list or an object, which was passed over.
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

/// A patient's data: one more than there may be tells that there are too many.
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

/// Numbers for inputs beside the photo.
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

/// One more than there may be tells that there are too many.
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
