//! The JSON of a request of the Open Inference Protocol, parsed in little memory: numbers become floats
//! and not values of 32 bytes, lists have a largest length, and parameters do not nest, because the
//! protocol has only texts, numbers and booleans.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most photos of one request. They are answered one after the other.
pub(super) const MAX_BATCH: usize = 16;

/// Most inputs, and most outputs, of one request.
const MAX_TENSORS: usize = 64;

/// Most extents of a shape.
const MAX_RANK: usize = 8;

/// Most parameters of a request or tensor: fields of a patient, and what clients add.
const MAX_PARAMETERS: usize = 128;

#[derive(Deserialize)]
pub(super) struct InferRequest {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "parameters")]
    pub parameters: Map<String, Value>,
    #[serde(deserialize_with = "list::<_, _, MAX_TENSORS>")]
    pub inputs: Vec<InputTensor>,
    #[serde(default, deserialize_with = "list::<_, _, MAX_TENSORS>")]
    pub outputs: Vec<AskedOutput>,
}

#[derive(Deserialize)]
pub(super) struct InputTensor {
    pub name: String,
    #[serde(deserialize_with = "list::<_, _, MAX_RANK>")]
    pub shape: Vec<u64>,
    pub datatype: String,
    #[serde(default, deserialize_with = "parameters")]
    pub parameters: Map<String, Value>,
    #[serde(default)]
    pub data: Option<Data>,
}

#[derive(Deserialize)]
pub(super) struct AskedOutput {
    pub name: String,
    #[serde(default, deserialize_with = "parameters")]
    pub parameters: Map<String, Value>,
}

/// The values of a tensor. The protocol allows one flat array or nested ones.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Data {
    pub floats: Vec<f32>,
    /// At most one more than a batch may have, which shows that there are too many.
    pub texts: Vec<String>,
}

/// Most bytes that the numbers of a body can take in memory: a comma separates every two of them.
pub(super) fn most_float_bytes(body: &[u8]) -> u64 {
    body.split(|&byte| byte == b',').count() as u64 * 4
}

fn list<'de, D, T, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while let Some(one) = all.next_element()? {
                if kept.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                kept.push(one);
            }
            Ok(kept)
        }
    }
    from.deserialize_seq(List::<T, MOST>(PhantomData))
}

fn parameters<'de, D: Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    struct Parameters;
    impl<'de> Visitor<'de> for Parameters {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of at most {MAX_PARAMETERS}")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut kept = Map::new();
            while let Some((name, Plain(value))) = all.next_entry()? {
                kept.insert(name, value);
                if kept.len() > MAX_PARAMETERS {
                    return Err(A::Error::invalid_length(kept.len(), &self));
                }
            }
            Ok(kept)
        }
    }
    from.deserialize_map(Parameters)
}

/// A text, number or boolean.
struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Plain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain(text.into()))
            }

            fn visit_bool<E: Error>(self, yes: bool) -> Result<Plain, E> {
                Ok(Plain(yes.into()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Plain, E> {
                Ok(Plain(number.into()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Plain, E> {
                Ok(Plain(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Plain, E> {
                Ok(Plain(number.into()))
            }

            fn visit_unit<E: Error>(self) -> Result<Plain, E> {
                Ok(Plain(Value::Null))
            }
        }
        from.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut data = Self::default();
        Leaves(&mut data).deserialize(from)?;
        Ok(data)
    }
}

/// Collects the values of nested arrays. The parser limits how deep they may nest.
struct Leaves<'a>(&'a mut Data);

impl<'de> DeserializeSeed<'de> for Leaves<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaves<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while all.next_element_seed(Leaves(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.0.texts.len() <= MAX_BATCH {
            self.0.texts.push(text.to_owned());
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "inputs are f32")]
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.0.floats.push(number as f32);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "inputs are f32")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.0.floats.push(number as f32);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "inputs are f32")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.0.floats.push(number as f32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_from_any_depth() {
        let data: Data = serde_json::from_str("[[1.0, 2], [[-3]], 4]").unwrap();
        assert_eq!(data.floats, [1.0, 2.0, -3.0, 4.0]);
        let data: Data = serde_json::from_str("[[\"a\"], \"b\"]").unwrap();
        assert_eq!(data.texts, ["a", "b"]);
        let body = b"[[1.0, 2], [[-3]], 4]";
        assert_eq!(most_float_bytes(body), 16);
    }

    #[test]
    fn long_lists_and_nested_parameters_are_refused() {
        let many = |one: &str, n: usize| vec![one; n].join(",");
        let named = |n: usize| -> String {
            let each: Vec<_> = (0..n).map(|i| format!("\"p{i}\":1")).collect();
            each.join(",")
        };
        let tensor = "{\"name\":\"image\",\"shape\":[],\"datatype\":\"\"}";
        for (body, says) in [
            (
                format!("{{\"inputs\":[{}]}}", many(tensor, 65)),
                "at most 64",
            ),
            (
                format!(
                    "{{\"inputs\":[],\"outputs\":[{}]}}",
                    many("{\"name\":\"\"}", 65)
                ),
                "at most 64",
            ),
            (
                format!(
                    "{{\"inputs\":[{{\"name\":\"\",\"shape\":[{}]}}]}}",
                    many("1", 9)
                ),
                "at most 8",
            ),
            (
                format!("{{\"inputs\":[],\"parameters\":{{{}}}}}", named(129)),
                "at most 128",
            ),
            (
                "{\"inputs\":[],\"parameters\":{\"a\":[0]}}".to_owned(),
                "a text, a number",
            ),
            (
                "{\"inputs\":[{\"name\":\"\",\"shape\":[1],\"datatype\":\"\",\"data\":[{}]}]}"
                    .to_owned(),
                "numbers or texts",
            ),
        ] {
            let Err(error) = serde_json::from_str::<InferRequest>(&body) else {
                panic!("{body}");
            };
            assert!(error.to_string().contains(says), "{error}");
        }
        let texts: Data = serde_json::from_str(&format!("[{}]", many("\"\"", 100))).unwrap();
        assert_eq!(texts.texts.len(), MAX_BATCH + 1);
    }
}
