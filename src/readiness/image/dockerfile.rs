//! The text of a Dockerfile as instructions (<https://docs.docker.com/reference/dockerfile/>):
//! parser directives, the escape character, continued lines, comments, here-documents.

use crate::readiness::launch::shell;
use crate::text as suggest;

const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Its first line, from 1.
    pub(crate) line: usize,
    /// Its name in capitals.
    pub(crate) name: String,
    /// `--name` or `--name=value`, before the arguments.
    pub(crate) flags: Vec<(String, String)>,
    /// The arguments, on one line.
    pub(crate) rest: String,
    /// Here-documents, in their order.
    pub(crate) documents: Vec<Document>,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// `EOF`.
    pub(crate) mark: String,
    /// Its lines.
    pub(crate) text: String,
}

impl Instruction {
    /// The value of a flag; empty if it has none.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let flag = self.flags.iter().find(|(flag, _)| flag == name);
        flag.map(|(_, value)| value.as_str())
    }

    /// The words of the JSON form, if it has that form.
    pub(crate) fn words(&self) -> Option<Vec<String>> {
        let list = self.rest.trim();
        list.starts_with('[')
            .then(|| serde_json::from_str(list).ok())
            .flatten()
    }
}

/// A Dockerfile, read.
#[derive(Debug, Default)]
pub(crate) struct Dockerfile {
    pub(crate) instructions: Vec<Instruction>,
    /// The character that continues lines.
    pub(crate) escape: char,
    /// Lines that Docker refuses, and why.
    pub(crate) problems: Vec<(usize, String)>,
}

/// Reads the text of a Dockerfile.
pub(crate) fn read(text: &str) -> Dockerfile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = Dockerfile {
        escape: escape(text),
        ..Dockerfile::default()
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let Some(whole) = logical_line(&lines, &mut at, file.escape) else {
            continue;
        };
        let (name, rest) = whole
            .split_once(char::is_whitespace)
            .unwrap_or((&whole, ""));
        let name = name.to_ascii_uppercase();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            let near = suggest::nearest(&name, &INSTRUCTIONS)
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            let shown = suggest::shorten(&name);
            let what = format!("there is no instruction `{shown}`{near}");
            file.problems.push((first + 1, what));
            continue;
        }
        let mut rest = rest.trim();
        if rest.is_empty() {
            file.problems
                .push((first + 1, format!("`{name}` needs an argument")));
            continue;
        }
        let mut flags = Vec::new();
        while rest.starts_with("--") && name != "CMD" && name != "ENTRYPOINT" {
            let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let (flag, value) = flag.split_once('=').unwrap_or((flag, ""));
            let value = value.trim_matches('"');
            flags.push((flag.to_owned(), value.to_owned()));
            rest = after.trim_start();
        }
        let mut instruction = Instruction {
            line: first + 1,
            rest: rest.to_owned(),
            name,
            flags,
            documents: Vec::new(),
        };
        if matches!(instruction.name.as_str(), "RUN" | "COPY" | "ADD") {
            for (mark, tabs) in marks(&instruction.rest) {
                match document(&lines, &mut at, &mark, tabs) {
                    Some(text) => instruction.documents.push(Document { mark, text }),
                    None => file.problems.push((
                        first + 1,
                        format!(
                            "the here-document `{}` does not end",
                            suggest::shorten(&mark)
                        ),
                    )),
                }
            }
        }
        file.instructions.push(instruction);
    }
    file
}

/// The escape character from a parser directive at the top.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|l| l.split_once('='))
        else {
            break;
        };
        if name.trim().eq_ignore_ascii_case("escape") {
            return value.trim().chars().next().unwrap_or('\\');
        }
    }
    '\\'
}

/// The instruction that begins at a line, with its continued lines joined; `at` moves past it.
fn logical_line(lines: &[&str], at: &mut usize, escape: char) -> Option<String> {
    let skipped = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let first = lines[*at];
    *at += 1;
    if skipped(first) {
        return None;
    }
    let mut whole = first.trim().to_owned();
    while whole.ends_with(escape) {
        whole.pop();
        // Comments and empty lines between continued lines are left out.
        while lines.get(*at).is_some_and(|line| skipped(line)) {
            *at += 1;
        }
        let Some(next) = lines.get(*at) else { break };
        whole.push_str(next.trim_end());
        *at += 1;
    }
    Some(whole)
}

/// The here-documents that a line starts: their end marks, and whether leading tabs are dropped.
fn marks(rest: &str) -> Vec<(String, bool)> {
    let mut marks = Vec::new();
    for word in rest.split_whitespace() {
        let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(mark) = word
            .strip_prefix("<<")
            .filter(|mark| !mark.starts_with('<'))
        else {
            continue;
        };
        let tabs = mark.starts_with('-');
        let mark = mark.trim_start_matches('-').replace(['"', '\''], "");
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
        let mark: String = mark.chars().take_while(|c| plain(*c)).collect();
        if !mark.is_empty() {
            marks.push((mark, tabs));
        }
    }
    marks
}

fn document(lines: &[&str], at: &mut usize, mark: &str, tabs: bool) -> Option<String> {
    let mut text = String::new();
    while let Some(line) = lines.get(*at) {
        *at += 1;
        let line = if tabs {
            line.trim_start_matches('\t')
        } else {
            line
        };
        if line == mark {
            return Some(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    None
}

/// `NAME=value NAME="b c"`, or `NAME value` in the old form: names, and values with their quotes.
pub(crate) fn pairs(rest: &str) -> Vec<(String, String)> {
    let words = raw_words(rest);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        return vec![(name.to_owned(), value.trim().to_owned())];
    }
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Words with their quotes.
fn raw_words(text: &str) -> Vec<String> {
    // A newline cannot occur here, and operators have no meaning: only words are needed.
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
        if c == '\\' && quote != Some('\'') {
            word.extend(characters.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The words of COPY and ADD in either form, with their variables.
pub(crate) fn sources(instruction: &Instruction) -> Vec<String> {
    instruction
        .words()
        .unwrap_or_else(|| shell::split(&instruction.rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(usize, String, String)> {
        let read = read(text).instructions.into_iter();
        read.map(|i| (i.line, i.name, i.rest)).collect()
    }

    fn line(line: usize, name: &str, rest: &str) -> (usize, String, String) {
        (line, name.to_owned(), rest.to_owned())
    }

    #[test]
    fn lines_are_put_together() {
        let text =
            "\u{feff}# syntax=docker/dockerfile:1\r\nFrom a\r\nRUN b \\\r\n  # no\r\n\r\n  c\r\n";
        assert_eq!(names(text), [line(2, "FROM", "a"), line(3, "RUN", "b   c")]);
        let text = "# escape=`\nFROM a\nCOPY x `\n  C:\\y\n";
        assert_eq!(names(text)[1], line(3, "COPY", "x   C:\\y"));
        // A directive is only valid at the top.
        assert_eq!(read("FROM a\n# escape=`\n").escape, '\\');
    }

    #[test]
    fn here_documents_belong_to_their_instruction() {
        let file = read("FROM a\nCOPY <<A <<-\"B\" /x/\nFROM b\nA\n\tc\n\tB\nUSER d\n");
        assert!(file.problems.is_empty());
        let copy = &file.instructions[1];
        assert_eq!(copy.documents[0].text, "FROM b\n");
        assert_eq!(copy.documents[1].text, "c\n");
        assert_eq!(file.instructions[2].name, "USER");
        assert_eq!(read("FROM a\nRUN <<E\nx\n").problems.len(), 1);
    }

    #[test]
    fn what_docker_refuses_has_its_line() {
        let problems = read("FROM a\nCOPPY b c\nCMD\n").problems;
        assert_eq!(problems[0].0, 2);
        assert!(
            problems[0].1.contains("did you mean `COPY`?"),
            "{problems:?}"
        );
        assert_eq!(problems[1].0, 3);
    }

    #[test]
    fn environment_has_two_forms() {
        let all = |text| {
            pairs(text)
                .into_iter()
                .map(|(n, v)| format!("{n}:{v}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            all("A=1 B=\"x y\" C=a\\ b"),
            ["A:1", "B:\"x y\"", "C:a\\ b"]
        );
        assert_eq!(all("A x y"), ["A:x y"]);
    }
}
