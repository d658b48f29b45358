//! Reads TOML into values that know their places.
//!
//! `toml-span` gives the bytes of each value and bounds its own nesting.

use toml_span::ErrorKind;
use toml_span::value::ValueInner;

use super::MAX_VALUES;
use super::value::{Located, Position, SyntaxError, Value};

/// Reads TOML 1.
///
/// # Errors
/// [`SyntaxError`], with its place.
pub fn toml(text: &str) -> Result<Located, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Places::new(text);
    let mut root = toml_span::parse(text).map_err(|error| {
        let at = places.of(error.span.start);
        match error.kind {
            ErrorKind::ExceededDepthLimit => SyntaxError::too_deep(at),
            _ => SyntaxError::invalid(at, super::shorten(&error.to_string())),
        }
    })?;
    Reader { places, values: 0 }.value(&mut root)
}

/// Where each line of a text begins.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn of(&self, byte: usize) -> Position {
        let line = self.lines.partition_point(|&start| start <= byte).max(1);
        let before = self.text.get(self.lines[line - 1]..byte);
        Position {
            line,
            column: before.map_or(0, |text| text.chars().count()) + 1,
        }
    }
}

struct Reader<'a> {
    places: Places<'a>,
    values: usize,
}

impl Reader<'_> {
    fn value(&mut self, value: &mut toml_span::Value<'_>) -> Result<Located, SyntaxError> {
        let span = value.span;
        let at = self.places.of(span.start);
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(SyntaxError::too_many(at));
        }
        let text = self.places.text;
        let written = text.get(span.start..span.end).unwrap_or_default();
        let value = match value.take() {
            ValueInner::String(text) => Value::Text(text.into_owned()),
            ValueInner::Integer(number) => Value::Number(number as f64),
            ValueInner::Float(number) => Value::Number(number),
            ValueInner::Boolean(value) => Value::Bool(value),
            ValueInner::Array(items) => {
                let items = items.into_iter().map(|mut item| self.value(&mut item));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            ValueInner::Table(table) => {
                let mut entries = Vec::new();
                for (key, mut value) in table {
                    let at = self.places.of(key.span.start);
                    entries.push((key.name.into_owned(), self.value(&mut value)?.place(at)));
                }
                entries.sort_by_key(|(_, value)| value.position());
                Value::Map(entries)
            }
        };
        Ok(Located::written(at, value, written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::SyntaxKind;

    #[test]
    fn values_know_their_places() {
        let text = "\u{feff}app = \"x\"\n\n[http_service]\n  \"é\" = 1\n  internal_port = 8_080\n\
                    [[vm]]\nmemory = \"1gb\"\n";
        let root = toml(text).unwrap();
        let port = root
            .get("http_service")
            .unwrap()
            .get("internal_port")
            .unwrap();
        assert_eq!(
            (port.line, port.column, port.number()),
            (5, 3, Some(8080.0))
        );
        let machine = &root.get("vm").unwrap().items()[0];
        assert_eq!(machine.get("memory").unwrap().line, 7);
        let names: Vec<&str> = root.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, ["app", "http_service", "vm"]);
    }

    #[test]
    fn what_cannot_be_read_names_its_place() {
        for (text, line) in [
            ("a = 1\nb = \n", 2),
            ("a = 1\na = 2", 2),
            ("[a", 1),
            ("a = 1 2", 1),
        ] {
            let error = toml(text).unwrap_err();
            assert_eq!(error.kind, SyntaxKind::Invalid, "{text}: {error}");
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn towers_are_refused() {
        for tower in [
            format!("a = {}", "[".repeat(60_000)),
            format!("a = {}", "{a = ".repeat(12_000)),
            format!("a{} = 1", ".a".repeat(30_000)),
            format!("[a{}]", ".a".repeat(30_000)),
        ] {
            let error = toml(&tower).unwrap_err();
            assert_eq!(error.kind, SyntaxKind::TooLarge, "{error}");
        }
    }
}
