//! Reads JSON from outside so that an error never repeats more of it than a few words.
//!
//! serde writes the value that it did not expect into its error: for a body that is one string of four
//! megabytes, an answer of four megabytes, and as much memory that nobody reserved. Here every string
//! is visited with an error type that formats a bounded beginning of it.

use std::fmt::{self, Write as _};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use crate::text::{MAX_ECHO, shorten};

/// Reads one JSON document.
pub(in crate::serve) fn from_slice<'a, T: serde::Deserialize<'a>>(
    text: &'a [u8],
) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = T::deserialize(Bounded(&mut deserializer)).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// An error about a string, with at most a bounded beginning of it.
#[derive(Debug)]
struct BoundedError(String);

impl fmt::Display for BoundedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BoundedError {}

impl Error for BoundedError {
    /// The beginning of a message that may quote its input anywhere.
    fn custom<M: fmt::Display>(message: M) -> Self {
        /// Stops the formatting once there is enough.
        struct Beginning(String);
        impl fmt::Write for Beginning {
            fn write_str(&mut self, more: &str) -> fmt::Result {
                let room = MAX_ECHO.saturating_sub(self.0.chars().count());
                self.0.extend(more.chars().take(room));
                if more.chars().nth(room).is_some() {
                    Err(fmt::Error)
                } else {
                    Ok(())
                }
            }
        }
        let mut beginning = Beginning(String::new());
        if write!(beginning, "{message}").is_err() {
            beginning.0.push_str("...");
        }
        Self(beginning.0)
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong("invalid type", unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong("invalid value", unexpected, expected)
    }
}

impl BoundedError {
    fn wrong(what: &str, unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(match unexpected {
            Unexpected::Str(text) => {
                format!("{what}: string {:?}, expected {expected}", shorten(text))
            }
            other => format!("{what}: {other}, expected {expected}"),
        })
    }
}

/// Wraps a deserializer, visitor, seed or access, so that everything below it is bounded, too.
struct Bounded<T>(T);

macro_rules! forward {
    ($($name:ident($($argument:ident: $kind:ty),*))*) => {
        $(fn $name<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$name($($argument,)* Bounded(visitor))
        })*
    };
}

macro_rules! by_what_is_there {
    ($($name:ident($($argument:ident: $kind:ty),*))*) => {
        $(fn $name<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(Bounded(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<D> {
    type Error = D::Error;

    forward! {
        deserialize_any() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_newtype_struct(name: &'static str)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    // Asked for one of these, serde_json writes its own error about a string that is there instead.
    // JSON says what it holds, so the visitor can be shown that, and the error is ours.
    by_what_is_there! {
        deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_f32()
        deserialize_f64() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_unit_struct(_name: &'static str)
        deserialize_tuple(_len: usize)
        deserialize_tuple_struct(_name: &'static str, _len: usize)
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str])
    }
}

macro_rules! visit {
    ($($name:ident($kind:ty))*) => {
        $(fn $name<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$name::<BoundedError>(value).map_err(E::custom)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_char(char)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Bounded(inner))
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Bounded(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Bounded(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Bounded(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Bounded(data))
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<A> {
    type Error = A::Error;
    // The values of our bodies have no content behind their name.
    type Variant = A::Variant;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, A::Variant), A::Error> {
        self.0.variant_seed(Bounded(seed))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Bounded(from))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Bounded(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Bounded(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Bounded(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Body {
        numbers: Vec<f32>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        First,
    }

    #[test]
    fn documents_are_read_as_serde_reads_them() {
        let body: Body =
            from_slice(br#"{"numbers": [1, 2.5], "name": "a", "kind": "first"}"#).unwrap();
        assert_eq!(body.numbers, [1.0, 2.5]);
        assert_eq!(
            (body.name.as_deref(), body.kind),
            (Some("a"), Some(Kind::First))
        );
        let borrowed: &str = from_slice(b"\"text\"").unwrap();
        assert_eq!(borrowed, "text");
        assert!(from_slice::<Body>(b"{\"numbers\": []} x").is_err());
    }

    #[test]
    fn errors_quote_only_the_beginning() {
        let long = "A".repeat(4_000_000);
        for body in [
            format!("\"{long}\""),
            format!("\"{long}\\n\""),
            format!("{{\"numbers\": \"{long}\"}}"),
            format!("{{\"numbers\": [\"{long}\"]}}"),
            format!("{{\"numbers\": [], \"{long}\": 1}}"),
            format!("{{\"numbers\": [], \"name\": {{\"{long}\": 1}}}}"),
            format!("{{\"numbers\": [], \"kind\": \"{long}\"}}"),
            format!("[\"{long}\"]"),
            long.clone(),
            format!("{}1", "9".repeat(100_000)),
        ] {
            let error = from_slice::<Body>(body.as_bytes()).unwrap_err();
            assert!(
                error.len() < 400,
                "{} bytes: {}",
                error.len(),
                &error[..200]
            );
            let run = error.split(|c| c != 'A').map(str::len).max();
            assert!(run <= Some(MAX_ECHO), "{error}");
        }
        let error = from_slice::<Body>(b"{\"numbers\": \"x\"}").unwrap_err();
        assert!(
            error.contains("string \"x\", expected a sequence"),
            "{error}"
        );
        assert!(error.contains("line 1 column"), "{error}");
    }
}
