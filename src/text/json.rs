//! Reads JSON into values that know their places.
//!
//! `serde_json` checks the text and finds where each value begins and ends (as a `RawValue`,
//! without recursion). A value's place is the distance of its slice from the start of the text. The
//! text is scanned once for each level of nesting, and there are few levels.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::value::{Entries, Located, Position, SyntaxError, Value, twice};
use super::{MAX_DEPTH, MAX_VALUES};

/// Reads JSON (RFC 8259).
///
/// # Errors
/// [`SyntaxError`], with its place.
pub fn json(text: &str) -> Result<Located, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        let at = Position {
            line: error.line(),
            column: error.column(),
        };
        SyntaxError::invalid(at, message(&error))
    })?;
    let mut reader = Reader {
        text,
        at: 0,
        position: Position { line: 1, column: 1 },
        values: 0,
    };
    reader.value(raw, 0)
}

/// A JSON array of texts.
#[must_use]
pub fn json_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// The parser's message without its own "at line 1 column 2".
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    super::shorten(&text[..end])
}

struct Reader<'a> {
    text: &'a str,
    /// A byte of the text, and its position. Places must be asked for in their order.
    at: usize,
    position: Position,
    values: usize,
}

impl Reader<'_> {
    /// The place of a slice of the text. It must begin after the last one that was asked for.
    fn place(&mut self, slice: &str) -> Position {
        let start = slice
            .as_ptr()
            .addr()
            .saturating_sub(self.text.as_ptr().addr());
        for character in self.text.get(self.at..start).unwrap_or_default().chars() {
            if character == '\n' {
                self.position.line += 1;
                self.position.column = 1;
            } else {
                self.position.column += 1;
            }
        }
        self.at = self.at.max(start);
        self.position
    }

    fn value(&mut self, raw: &RawValue, depth: usize) -> Result<Located, SyntaxError> {
        let at = self.place(raw.get());
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(SyntaxError::too_many(at));
        }
        if depth > MAX_DEPTH {
            return Err(SyntaxError::too_deep(at));
        }
        let bad = |error: serde_json::Error| SyntaxError::invalid(at, message(&error));
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => {
                let object: Object<'_> = serde_json::from_str(text).map_err(bad)?;
                let mut entries = Entries::default();
                for (key, value) in object.0 {
                    let at = self.place(key.get());
                    let key: String = serde_json::from_str(key.get())
                        .map_err(|error| SyntaxError::invalid(at, message(&error)))?;
                    if entries.has(&key) {
                        return Err(twice(at, &key));
                    }
                    let value = self.value(value, depth + 1)?;
                    entries.add(key, value.place(at));
                }
                Ok(Located::new(at, Value::Map(entries.list)))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(bad)?;
                let items = items.into_iter().map(|item| self.value(item, depth + 1));
                Ok(Located::new(
                    at,
                    Value::List(items.collect::<Result<_, _>>()?),
                ))
            }
            Some(b'"') => {
                let text = serde_json::from_str(text).map_err(bad)?;
                Ok(Located::new(at, Value::Text(text)))
            }
            Some(b't') => Ok(Located::written(at, Value::Bool(true), text)),
            Some(b'f') => Ok(Located::written(at, Value::Bool(false), text)),
            Some(b'n') => Ok(Located::written(at, Value::Null, text)),
            _ => {
                let number = serde_json::from_str(text).map_err(bad)?;
                Ok(Located::written(at, Value::Number(number), text))
            }
        }
    }
}

/// Keys and values of an object, unparsed, in their order.
struct Object<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::SyntaxKind;

    #[test]
    fn values_know_their_places() {
        let text = "\u{feff}{\n  \"deploy\": {\n    \"é\": 1, \"b\": [\"x\\n\",\n 2.50]\n  }\n}";
        let root = json(text).unwrap();
        let deploy = root.get("deploy").unwrap();
        assert_eq!((deploy.line, deploy.column), (2, 3));
        let number = deploy.get("é").unwrap();
        assert_eq!(
            (number.line, number.column, number.integer()),
            (3, 5, Some(1))
        );
        let list = deploy.get("b").unwrap();
        assert_eq!((list.line, list.column), (3, 13));
        let [text, number] = list.items() else {
            panic!()
        };
        assert_eq!((text.line, text.text()), (3, Some("x\n")));
        assert_eq!((number.line, number.column), (4, 2));
        assert_eq!(number.as_env().as_deref(), Some("2.50"));
        assert_eq!(number.integer(), None);
    }

    #[test]
    fn what_cannot_be_read_names_its_place() {
        for (text, line, says) in [
            ("{\n\"a\": }", 2, "expected value"),
            ("[1,\n2", 2, "EOF"),
            ("{\"a\": 1,\n\"a\": 2}", 2, "given twice"),
            ("[1] x", 1, "trailing"),
            ("{\"\\ud800\": 1}", 1, ""),
            ("[\"\\q\"]", 1, "escape"),
            ("[1e999]", 1, "out of range"),
            ("", 1, "EOF"),
        ] {
            let error = json(text).unwrap_err();
            assert_eq!(error.kind, SyntaxKind::Invalid, "{text}: {error}");
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.message.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn towers_and_crowds_are_refused() {
        for tower in [
            format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
            format!("[{}0]", "0,".repeat(MAX_VALUES)),
        ] {
            let error = json(&tower).unwrap_err();
            assert_eq!(error.kind, SyntaxKind::TooLarge, "{error}");
        }
        assert!(json(&"[".repeat(100_000)).is_err());
    }
}
