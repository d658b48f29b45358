//! YAML, JSON and TOML from strangers, as one kind of value that knows its lines.
//!
//! YAML and JSON are read by their parsers; a second, simple pass over the text finds the line of
//! each key in block style. What stands inside brackets has the line of the key around it. Anchors,
//! aliases and tags are refused before the parser sees them (with aliases a few hundred bytes can
//! stand for gigabytes).

use std::collections::BTreeMap;

use crate::artifact::parse_plain_yaml;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Line, from 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, or a kind that no setting has.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Located>),
    /// Keys and values, in their order.
    Map(Vec<(String, Located)>),
}

impl Located {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Located> {
        self.entries()
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Keys and values; none for anything but a map.
    #[must_use]
    pub fn entries(&self) -> &[(String, Located)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Elements; none for anything but a list.
    #[must_use]
    pub fn items(&self) -> &[Located] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Its text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// As an environment variable would hold it.
    #[must_use]
    pub fn as_env(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Line, from 1; 0 where none is known.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads YAML.
///
/// # Errors
/// [`SyntaxError`].
pub fn yaml(text: &str) -> Result<Located, SyntaxError> {
    let plain = fold_block_text(text);
    let value = parse_plain_yaml(&plain).map_err(|message| SyntaxError {
        line: line_in(&message),
        message,
    })?;
    Ok(locate(&value, &lines(&plain)))
}

/// Reads JSON.
///
/// # Errors
/// [`SyntaxError`].
pub fn json(text: &str) -> Result<Located, SyntaxError> {
    let value: serde_yaml::Value = serde_json::from_str(text).map_err(|error| SyntaxError {
        line: error.line(),
        message: error.to_string(),
    })?;
    Ok(locate(&value, &lines(text)))
}

/// Reads TOML.
///
/// # Errors
/// [`SyntaxError`].
pub fn toml(text: &str) -> Result<Located, SyntaxError> {
    let line_of = |at: usize| {
        let before = text.as_bytes().iter().take(at);
        before.filter(|b| **b == b'\n').count() + 1
    };
    let mut value = toml_span::parse(text).map_err(|error| SyntaxError {
        line: line_of(error.span.start),
        message: error.to_string(),
    })?;
    Ok(of_toml(&mut value, &line_of))
}

fn of_toml(value: &mut toml_span::Value<'_>, line_of: &dyn Fn(usize) -> usize) -> Located {
    use toml_span::value::ValueInner;
    let line = line_of(value.span.start);
    let value = match value.take() {
        ValueInner::String(text) => Value::Text(text.into_owned()),
        ValueInner::Integer(number) => Value::Number(number as f64),
        ValueInner::Float(number) => Value::Number(number),
        ValueInner::Boolean(value) => Value::Bool(value),
        ValueInner::Array(items) => Value::List(
            items
                .into_iter()
                .map(|mut item| of_toml(&mut item, line_of))
                .collect(),
        ),
        ValueInner::Table(table) => {
            let mut entries: Vec<_> = table
                .into_iter()
                .map(|(key, mut value)| {
                    let mut value = of_toml(&mut value, line_of);
                    // A table's own span is that of its content.
                    if matches!(value.value, Value::Map(_) | Value::List(_)) {
                        value.line = line_of(key.span.start);
                    }
                    (key.name.into_owned(), value)
                })
                .collect();
            entries.sort_by_key(|(_, value)| value.line);
            Value::Map(entries)
        }
    };
    Located { line, value }
}

/// `... at line 3 column 5`, as the parsers say it.
fn line_in(message: &str) -> usize {
    let at = message.find("line ").map(|at| &message[at + 5..]);
    let digits = at.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        &rest[..end.unwrap_or(rest.len())]
    });
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

/// Lines of values by their path.
type Lines = BTreeMap<Vec<Part>, usize>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Key(String),
    Index(usize),
}

fn locate(value: &serde_yaml::Value, lines: &Lines) -> Located {
    fn walk(
        value: &serde_yaml::Value,
        path: &mut Vec<Part>,
        lines: &Lines,
        line: usize,
    ) -> Located {
        let line = lines.get(path).copied().unwrap_or(line);
        let value = match value {
            serde_yaml::Value::Bool(value) => Value::Bool(*value),
            serde_yaml::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_yaml::Value::String(text) => Value::Text(text.clone()),
            serde_yaml::Value::Sequence(items) => {
                let items = items.iter().enumerate().map(|(i, item)| {
                    path.push(Part::Index(i));
                    let item = walk(item, path, lines, line);
                    path.pop();
                    item
                });
                Value::List(items.collect())
            }
            serde_yaml::Value::Mapping(map) => {
                let entries = map.iter().filter_map(|(key, value)| {
                    let key = match key {
                        serde_yaml::Value::String(key) => key.clone(),
                        serde_yaml::Value::Number(key) => key.to_string(),
                        serde_yaml::Value::Bool(key) => key.to_string(),
                        _ => return None,
                    };
                    path.push(Part::Key(key.clone()));
                    let value = walk(value, path, lines, line);
                    path.pop();
                    Some((key, value))
                });
                Value::Map(entries.collect())
            }
            _ => Value::Null,
        };
        Located { line, value }
    }
    walk(value, &mut Vec::new(), lines, 1)
}

/// The line of each key and list item in block style (and of each key on a line of its own in
/// JSON).
fn lines(text: &str) -> Lines {
    let mut lines = Lines::new();
    let mut open: Vec<(usize, Part)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        while rest == "-" || rest.starts_with("- ") {
            open.truncate(
                open.iter()
                    .rposition(|(at, _)| *at <= indent)
                    .map_or(0, |i| i + 1),
            );
            let index = match open.last() {
                Some((at, Part::Index(index))) if *at == indent => {
                    let next = index + 1;
                    open.pop();
                    next
                }
                _ => 0,
            };
            open.push((indent, Part::Index(index)));
            lines.insert(
                open.iter().map(|(_, part)| part.clone()).collect(),
                number + 1,
            );
            let after = rest[1..].trim_start();
            indent += rest.len() - after.len();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if let Some(key) = key_of(rest) {
            while open.last().is_some_and(|(at, _)| *at >= indent) {
                open.pop();
            }
            open.push((indent, Part::Key(key)));
            let path: Vec<Part> = open.iter().map(|(_, part)| part.clone()).collect();
            lines.entry(path).or_insert(number + 1);
        }
    }
    lines
}

/// The key at the start of a line: `key:`, `"key":`.
fn key_of(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (key, rest) = if let Some(quote) = quote {
        text[1..].split_once(quote)?
    } else {
        let mut colons = text.match_indices(':').map(|(at, _)| at);
        let ends = |at: &usize| matches!(text.as_bytes().get(at + 1), None | Some(b' ' | b'\t'));
        text.split_at(colons.find(ends)?)
    };
    let rest = rest.trim_start().strip_prefix(':')?;
    let ends = rest.is_empty() || rest.starts_with([' ', '\t']) || quote.is_some();
    (ends && !key.starts_with(['{', '['])).then(|| key.trim().to_owned())
}

/// Block text (`|`, `>`) as quoted text on one line, so that every line keeps its number.
fn fold_block_text(text: &str) -> String {
    let all: Vec<&str> = text.lines().collect();
    let mut folded = String::with_capacity(text.len());
    let mut i = 0;
    while i < all.len() {
        let line = all[i];
        let indent_of = |line: &str| line.len() - line.trim_start().len();
        let Some((start, join)) = block_start(line) else {
            folded.push_str(line);
            folded.push('\n');
            i += 1;
            continue;
        };
        let own = indent_of(line);
        let inside = all[i + 1..]
            .iter()
            .take_while(|next| next.trim().is_empty() || indent_of(next) > own)
            .count();
        let words: Vec<&str> = all[i + 1..=i + inside].iter().map(|l| l.trim()).collect();
        let words = words.join(join);
        let quoted = serde_json::to_string(words.trim()).unwrap_or_default();
        folded.push_str(&format!("{start}{quoted}\n"));
        folded.extend(std::iter::repeat_n('\n', inside));
        i += inside + 1;
    }
    folded
}

/// What stands before `|` or `>` at the end of a line, and what joins the lines after it.
fn block_start(line: &str) -> Option<(&str, &'static str)> {
    let code = line.split(" #").next()?.trim_end();
    let code = code.trim_end_matches(['+', '-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let join = match code.chars().last()? {
        '|' => "\n",
        '>' => " ",
        _ => return None,
    };
    let start = &code[..code.len() - 1];
    let begins = start.ends_with(": ") || start.ends_with("- ");
    (begins && !line.trim_start().starts_with('#')).then_some((start, join))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDER: &str = "\
# a comment
services:
  - type: web
    name: 'a: b'
    envVars:
      - key: A
        value: |
          echo &&
          *x
      - {key: B, value: 1}
- odd
";

    #[test]
    fn lines_of_keys_are_found_in_block_style() {
        let text = RENDER.replace("- odd\n", "other: true\n");
        let root = yaml(&text).unwrap();
        let services = root.get("services").unwrap();
        assert_eq!(services.line, 2);
        let service = &services.items()[0];
        assert_eq!(service.line, 3);
        assert_eq!(service.get("type").unwrap().line, 3);
        let name = service.get("name").unwrap();
        assert_eq!((name.line, name.text()), (4, Some("a: b")));
        let variables = service.get("envVars").unwrap().items();
        assert_eq!(variables[0].line, 6);
        let value = variables[0].get("value").unwrap();
        assert_eq!((value.line, value.text()), (7, Some("echo &&\n*x")));
        assert_eq!(variables[1].line, 10);
        assert_eq!(variables[1].get("key").unwrap().line, 10);
        assert_eq!(root.get("other").unwrap().line, 11);
    }

    #[test]
    fn lists_may_stand_under_their_key() {
        let root = yaml("a:\n- b: 1\n- b: 2\nc: 3\n").unwrap();
        let items = root.get("a").unwrap().items();
        assert_eq!([items[0].line, items[1].line], [2, 3]);
        assert_eq!(root.get("c").unwrap().line, 4);
    }

    #[test]
    fn json_and_toml_have_lines_too() {
        let root = json("{\n  \"deploy\": {\n    \"a\": 1,\n    \"b\": [\"x\"]\n  }\n}").unwrap();
        let deploy = root.get("deploy").unwrap();
        assert_eq!(deploy.get("a").unwrap().line, 3);
        assert_eq!(deploy.get("b").unwrap().line, 4);
        let root =
            toml("app = \"x\"\n\n[http_service]\ninternal_port = 80\n[[vm]]\nmemory = \"1gb\"\n")
                .unwrap();
        let service = root.get("http_service").unwrap();
        assert_eq!(service.get("internal_port").unwrap().line, 4);
        assert_eq!(
            root.get("vm").unwrap().items()[0]
                .get("memory")
                .unwrap()
                .line,
            6
        );
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        assert_eq!(yaml("a: 1\nb: *x\n").unwrap_err().line, 2);
        assert!(yaml("a: [1\nb: 2\n").is_err());
        assert_eq!(json("{\n\"a\": }").unwrap_err().line, 2);
        assert_eq!(toml("a = 1\nb = \n").unwrap_err().line, 2);
        let bomb: String = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
            format!("{text}a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)
        });
        assert!(yaml(&bomb).unwrap_err().message.contains("anchor"));
    }
}
