//! YAML from strangers, restricted to what a short file of settings needs.
//!
//! Anchors, aliases, tags and block text are refused before the parser sees the text: with
//! aliases a few hundred bytes can stand for gigabytes. Depth and length are limited for the same
//! reason. Everything else is left to the parser.

use serde_yaml::Value;

/// Bytes that a file of settings may have.
pub(super) const MAX_YAML_BYTES: usize = 64 * 1024;

/// Columns by which a line may be indented, and brackets that may be open: a mapping of fields
/// needs 4 of each.
const MAX_DEPTH: usize = 32;

/// Why a text is not read. `Display` is meant to stand behind "not valid YAML: ".
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum PlainYamlError {
    #[error("at most {MAX_YAML_BYTES} bytes are read, got {got}")]
    TooLong { got: usize },
    #[error(
        "line {line}: {what} (`{character}`) is not supported; put the text in quotes if it is meant"
    )]
    NotPlain {
        line: usize,
        what: &'static str,
        character: char,
    },
    #[error("line {line}: nested deeper than {MAX_DEPTH}")]
    TooDeep { line: usize },
    #[error("{0}")]
    Syntax(String),
}

/// Parses a text whose first document holds only maps, lists and scalars.
pub(super) fn parse(text: &str) -> Result<Value, PlainYamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_YAML_BYTES {
        return Err(PlainYamlError::TooLong { got: text.len() });
    }
    check_plain(text)?;
    serde_yaml::from_str(text).map_err(|error| PlainYamlError::Syntax(error.to_string()))
}

/// Where in a line the scanner is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Where a value or key may begin.
    Start,
    /// Inside an unquoted text.
    Plain,
    /// Inside quotes.
    Quoted(char),
    /// Behind a `#`.
    Comment,
}

/// Finds the first character that starts something that is not plain.
fn check_plain(text: &str) -> Result<(), PlainYamlError> {
    let (mut state, mut line, mut open, mut markers) = (State::Start, 1, 0_usize, 0_usize);
    let mut before = '\n';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied().unwrap_or('\n');
        match (state, character) {
            (State::Quoted(quote), _) if character == quote => state = State::Plain,
            (State::Quoted('"'), '\\') => {
                // Whatever is escaped ends nothing; a line's end is still counted.
                line += usize::from(characters.next() == Some('\n'));
            }
            (State::Quoted(_), '\n') => line += 1,
            (State::Quoted(_), _) => {}
            (_, '\n') => {
                line += 1;
                (state, markers) = (State::Start, 0);
            }
            (_, '#') if before.is_whitespace() => state = State::Comment,
            (State::Comment, _) | (_, ' ' | '\t' | '\r') => {}
            (_, '[' | '{') => {
                open += 1;
                state = State::Start;
            }
            (_, ']' | '}') => {
                open = open.saturating_sub(1);
                state = State::Plain;
            }
            (_, ',') if open > 0 => state = State::Start,
            (_, ':') if next.is_whitespace() || (open > 0 && "[]{},\"'&*!".contains(next)) => {
                state = State::Start;
            }
            (State::Start, '-' | '?') if next.is_whitespace() => markers += 1,
            (State::Start, '"' | '\'') => state = State::Quoted(character),
            (State::Start, '&' | '*' | '!' | '|' | '>' | '%') => {
                let what = match character {
                    '&' => "an anchor",
                    '*' => "an alias",
                    '!' => "a tag",
                    '%' => "a directive",
                    _ => "block text",
                };
                return Err(PlainYamlError::NotPlain {
                    line,
                    what,
                    character,
                });
            }
            _ => state = State::Plain,
        }
        if open > MAX_DEPTH || markers > MAX_DEPTH {
            return Err(PlainYamlError::TooDeep { line });
        }
        before = character;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts_pass_unchanged() {
        for text in [
            "a: b & c\nd: 2 * 3\ne: really!",
            "quoted: '*a'\nother: \"&b \\\" *c\"",
            "list:\n  - a\n  - {b: [1, -2], c: ~}",
            "# *comment &x\na: b # !c",
            "it: patient's\nb: \"two\n  *lines\"",
            "\u{feff}a: b",
            "a: http://example.org/*x",
        ] {
            let plain = text.trim_start_matches('\u{feff}');
            let expected: Value = serde_yaml::from_str(plain).unwrap();
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_named_with_its_line() {
        for (text, says) in [
            ("a: &x 1\nb: *x", "line 1: an anchor"),
            ("a: 1\nb: *x", "line 2: an alias"),
            ("a: [1, *x]", "an alias"),
            ("{a: {b,&x c}}", "an anchor"),
            ("{\"a\":*x}", "an alias"),
            ("- - - &a b", "an anchor"),
            ("a: !!binary aaaa", "a tag"),
            ("a: |\n  *x", "block text"),
            ("%YAML 1.2\n---\na: b", "a directive"),
            ("<<: *x", "an alias"),
            ("'a\n': *x", "line 2: an alias"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn bombs_and_towers_are_refused_at_once() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..30 {
            let before = format!("*a{}, ", i - 1).repeat(9);
            bomb += &format!("a{i}: &a{i} [{before}]\n");
        }
        assert!(parse(&bomb).is_err());
        for tower in ["[".repeat(60_000), "{".repeat(60_000), "- ".repeat(30_000)] {
            let error = parse(&tower).unwrap_err();
            assert_eq!(error, PlainYamlError::TooDeep { line: 1 });
        }
        // Deeper by a column a line: the parser itself has a limit.
        let mut stairs = String::new();
        for i in 0..300 {
            stairs += &" ".repeat(i);
            stairs += "a:\n";
        }
        assert!(matches!(parse(&stairs), Err(PlainYamlError::Syntax(_))));
        let long = "#".repeat(MAX_YAML_BYTES + 1);
        assert!(matches!(parse(&long), Err(PlainYamlError::TooLong { .. })));
    }
}
