//! A shell's text: words, quotes, operators and variables, as far as a start command or a RUN line
//! needs them (POSIX shell command language, <https://pubs.opengroup.org/onlinepubs/9799919799/>).
//!
//! A word that depends on a fact which only the running container knows is marked, so that no rule
//! treats it as known.

use super::lex::closing;
pub(crate) use super::lex::{Join, Step, steps};

/// The known facts about a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// It has this value.
    Known(String),
    /// It has a value that only the host knows.
    Runtime,
    /// It is not set.
    Unset,
}

/// A word of a command after the shell has replaced its variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// The text; an unknown value appears as `$NAME`.
    pub(crate) text: String,
    /// Whether a part of it is known only when the container runs.
    pub(crate) runtime: bool,
}

impl Word {
    /// A word in which nothing is replaced.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            runtime: false,
        }
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        !self.runtime && self.text == text
    }
}

/// Words as they are written, joined.
pub(crate) fn literal(words: &[String]) -> Vec<Word> {
    words.iter().map(Word::literal).collect()
}

/// Replaces variables in words.
pub(crate) struct Expander<'a> {
    /// Looks up a variable.
    pub(crate) get: &'a dyn Fn(&str) -> Value,
    /// `$0`, `$1` and so on.
    pub(crate) arguments: &'a [Word],
    /// Whether a shell reads it: a shell splits an unquoted value at its blanks and runs `$(...)`;
    /// a Dockerfile does neither.
    pub(crate) splits: bool,
}

impl Expander<'_> {
    /// The words that a written word becomes: none if nothing is left of it.
    pub(crate) fn words(&self, raw: &str) -> Vec<Word> {
        if matches!(raw, "\"$@\"" | "$@" | "$*" | "\"${@}\"" | "${@}") {
            return self.arguments.get(1..).unwrap_or_default().to_vec();
        }
        let mut building = Building::default();
        self.part(&raw.chars().collect::<Vec<_>>(), false, &mut building);
        building.end();
        building.words
    }

    /// As one word.
    pub(crate) fn word(&self, raw: &str) -> Word {
        let words = self.words(raw);
        let texts: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
        Word {
            text: texts.join(" "),
            runtime: words.iter().any(|word| word.runtime),
        }
    }

    fn part(&self, raw: &[char], quoted: bool, out: &mut Building) {
        let mut at = 0;
        while at < raw.len() {
            let c = raw[at];
            match c {
                '\\' => {
                    let next = raw.get(at + 1).copied();
                    if quoted && !matches!(next, Some('$' | '`' | '"' | '\\')) {
                        out.push('\\');
                    }
                    if let Some(next) = next {
                        out.push(next);
                    }
                    at += 2;
                }
                '\'' if !quoted => {
                    let end = closing(raw, at);
                    out.started = true;
                    let inside = &raw[at + 1..end.saturating_sub(1).max(at + 1)];
                    for c in inside {
                        out.push(*c);
                    }
                    at = end;
                }
                '"' if !quoted => {
                    let end = closing(raw, at);
                    out.started = true;
                    self.part(&raw[at + 1..end.saturating_sub(1).max(at + 1)], true, out);
                    at = end;
                }
                '`' if self.splits => {
                    let end = closing(raw, at);
                    out.unknown(&raw[at..end].iter().collect::<String>());
                    at = end;
                }
                '$' => at = self.variable(raw, at, quoted, out),
                _ => {
                    out.push(c);
                    at += 1;
                }
            }
        }
    }

    /// Replaces the variable at `at`, and returns the place after it.
    fn variable(&self, raw: &[char], at: usize, quoted: bool, out: &mut Building) -> usize {
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        match raw.get(at + 1) {
            Some('(') if self.splits => {
                let end = closing(raw, at + 1);
                out.unknown(&raw[at..end].iter().collect::<String>());
                end
            }
            Some('{') => {
                let end = closing(raw, at + 1);
                let inside: Vec<char> = raw[at + 2..end.saturating_sub(1).max(at + 2)].to_vec();
                let length = inside.iter().take_while(|c| is_name(c)).count();
                let name: String = inside[..length].iter().collect();
                let rest: String = inside[length..].iter().collect();
                self.with_default(&name, &rest, quoted, out);
                end
            }
            Some(c) if c.is_ascii_digit() => {
                self.value(&c.to_string(), quoted, out);
                at + 2
            }
            Some(c) if is_name(c) => {
                let length = raw[at + 1..].iter().take_while(|c| is_name(c)).count();
                let name: String = raw[at + 1..=at + length].iter().collect();
                self.value(&name, quoted, out);
                at + 1 + length
            }
            Some(c @ ('@' | '*' | '#' | '?' | '$' | '!' | '-')) => {
                out.unknown(&format!("${c}"));
                at + 2
            }
            _ => {
                out.push('$');
                at + 1
            }
        }
    }

    fn get(&self, name: &str) -> Value {
        if let Ok(number) = name.parse::<usize>() {
            return match self.arguments.get(number) {
                Some(word) if word.runtime => Value::Runtime,
                Some(word) => Value::Known(word.text.clone()),
                None => Value::Unset,
            };
        }
        (self.get)(name)
    }

    fn value(&self, name: &str, quoted: bool, out: &mut Building) {
        match self.get(name) {
            Value::Known(text) => out.value(&text, quoted || !self.splits),
            Value::Runtime => out.unknown(&format!("${name}")),
            Value::Unset => {}
        }
    }

    /// `${NAME:-default}` and similar forms.
    fn with_default(&self, name: &str, rest: &str, quoted: bool, out: &mut Building) {
        let value = self.get(name);
        let empty_counts = rest.starts_with(':');
        let operator = rest.trim_start_matches(':').chars().next();
        let other: Vec<char> = rest.trim_start_matches(':').chars().skip(1).collect();
        let is_set = match &value {
            Value::Known(text) => Some(!(empty_counts && text.is_empty())),
            Value::Runtime => None,
            Value::Unset => Some(false),
        };
        match (operator, is_set) {
            (None, _) | (Some('?' | '-' | '='), Some(true)) => self.value(name, quoted, out),
            (Some('-' | '='), Some(false)) | (Some('+'), Some(true)) => {
                self.part(&other, quoted, out);
            }
            (Some('-' | '='), None) => out.unknown(&format!("${name}")),
            (Some('+'), Some(false)) => {}
            _ => out.unknown(&format!("${{{name}{rest}}}")),
        }
    }
}

#[derive(Default)]
struct Building {
    words: Vec<Word>,
    word: Word,
    /// Whether there is a word; it may be empty: `""`.
    started: bool,
}

impl Building {
    fn push(&mut self, c: char) {
        self.word.text.push(c);
        self.started = true;
    }

    fn value(&mut self, text: &str, whole: bool) {
        if whole {
            self.word.text.push_str(text);
            self.started |= !text.is_empty();
            return;
        }
        let mut parts = text.split_whitespace().peekable();
        if text.starts_with(char::is_whitespace) {
            self.end();
        }
        while let Some(part) = parts.next() {
            self.word.text.push_str(part);
            self.started = true;
            if parts.peek().is_some() || text.ends_with(char::is_whitespace) {
                self.end();
            }
        }
    }

    fn unknown(&mut self, shown: &str) {
        self.word.text.push_str(shown);
        self.word.runtime = true;
        self.started = true;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.started) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

/// Words of a line as `docker compose` and Fly split it: quotes keep words together, and nothing is
/// replaced.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut started) = (None, false);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                started = true;
            }
            (Some('"') | None, '\\') => {
                word.extend(characters.next());
                started = true;
            }
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut started) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(raw: &str) -> Vec<String> {
        let get = |name: &str| match name {
            "A" => Value::Known("a b".to_owned()),
            "E" => Value::Known(String::new()),
            "PORT" => Value::Runtime,
            _ => Value::Unset,
        };
        let arguments = [Word::literal("sh"), Word::literal("one")];
        let expander = Expander {
            get: &get,
            arguments: &arguments,
            splits: true,
        };
        let shown = |word: Word| format!("{}{}", word.text, if word.runtime { "?" } else { "" });
        expander.words(raw).into_iter().map(shown).collect()
    }

    #[test]
    fn variables_are_replaced_as_a_shell_does() {
        for (raw, words) in [
            ("x$A", &["xa", "b"][..]),
            ("\"$A\"", &["a b"]),
            ("'$A'", &["$A"]),
            ("\\$A", &["$A"]),
            ("$E", &[]),
            ("\"$E\"", &[""]),
            ("$NOT", &[]),
            ("0.0.0.0:$NOT", &["0.0.0.0:"]),
            ("0.0.0.0:${PORT}", &["0.0.0.0:$PORT?"]),
            ("${NOT:-80}", &["80"]),
            ("${E:-80}", &["80"]),
            ("${E-80}", &[]),
            ("${PORT:-80}", &["$PORT?"]),
            ("${A:+x}", &["x"]),
            ("${1}$0", &["onesh"]),
            ("\"$@\"", &["one"]),
            ("$(cat x)/y", &["$(cat x)/y?"]),
            ("5$", &["5$"]),
        ] {
            assert_eq!(expanded(raw), words, "{raw}");
        }
    }

    #[test]
    fn lines_are_split_at_blanks_outside_of_quotes() {
        assert_eq!(split("a 'b c' \"d\"e '' $F"), ["a", "b c", "de", "", "$F"]);
    }
}
