//! A shell's text as commands: words with their quotes, operators, redirections, here-documents.

/// The operator between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// `;`, a new line, or nothing.
    Then,
    /// `&&`.
    And,
    /// `||`.
    Or,
    /// `|`.
    Pipe,
}

/// A simple command: words as they are written, and the targets of its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Words with their quotes and variables.
    pub(crate) words: Vec<String>,
    /// Files that `>` and `>>` name.
    pub(crate) writes: Vec<String>,
    /// The text of a here-document.
    pub(crate) document: Option<String>,
    /// The operator before it.
    pub(crate) join: Join,
    /// Whether `&` follows it.
    pub(crate) background: bool,
}

/// The commands of a text, in the order in which they are written.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = empty(Join::Then);
    let mut redirect = None;
    for token in lex(text) {
        match token {
            Token::Word(word) => match redirect.take() {
                Some('>') => step.writes.push(word),
                Some(_) => {}
                None => step.words.push(word),
            },
            Token::Redirect(way) => redirect = Some(way),
            Token::Document(text) => step.document = Some(text),
            Token::End(join, background) => {
                step.background = background;
                let done = std::mem::replace(&mut step, empty(join));
                if !done.words.is_empty() || !done.writes.is_empty() {
                    steps.push(done);
                } else if done.join != Join::Then {
                    step.join = done.join;
                }
            }
        }
    }
    if !step.words.is_empty() || !step.writes.is_empty() {
        steps.push(step);
    }
    steps
}

fn empty(join: Join) -> Step {
    Step {
        words: Vec::new(),
        writes: Vec::new(),
        document: None,
        join,
        background: false,
    }
}

enum Token {
    Word(String),
    /// `>` or `<`; a word follows.
    Redirect(char),
    Document(String),
    /// The end of a command, its connection to the next, and whether it goes to the background.
    End(Join, bool),
}

/// Splits a text into words with their quotes, and operators.
#[expect(
    clippy::too_many_lines,
    reason = "one match over the characters of a shell"
)]
fn lex(text: &str) -> Vec<Token> {
    let text: Vec<char> = text.chars().filter(|c| *c != '\r').collect();
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut documents: Vec<(String, bool, usize)> = Vec::new();
    let mut at = 0;
    let end_word = |word: &mut String, tokens: &mut Vec<Token>| {
        if !word.is_empty() {
            tokens.push(Token::Word(std::mem::take(word)));
        }
    };
    while at < text.len() {
        let c = text[at];
        let next = text.get(at + 1).copied();
        match c {
            '\\' if next == Some('\n') => at += 2,
            '\\' => {
                word.push(c);
                word.extend(next);
                at += 2;
            }
            '\'' | '"' | '`' => {
                let end = closing(&text, at);
                word.extend(&text[at..end]);
                at = end;
            }
            '$' if matches!(next, Some('(' | '{')) => {
                let end = closing(&text, at + 1);
                word.extend(&text[at..end]);
                at = end;
            }
            '#' if word.is_empty() => {
                while at < text.len() && text[at] != '\n' {
                    at += 1;
                }
            }
            '\n' => {
                end_word(&mut word, &mut tokens);
                at += 1;
                for (mark, tabs, token) in std::mem::take(&mut documents) {
                    let (document, after) = document(&text, at, &mark, tabs);
                    tokens[token] = Token::Document(document);
                    at = after;
                }
                tokens.push(Token::End(Join::Then, false));
            }
            ' ' | '\t' => {
                end_word(&mut word, &mut tokens);
                at += 1;
            }
            ';' | '(' | ')' => {
                end_word(&mut word, &mut tokens);
                tokens.push(Token::End(Join::Then, false));
                at += 1;
            }
            '&' | '|' => {
                end_word(&mut word, &mut tokens);
                let twice = next == Some(c);
                if c == '&' && next == Some('>') {
                    // `&>file`: both streams.
                    tokens.push(Token::Redirect('>'));
                    at += 2;
                    continue;
                }
                tokens.push(match (c, twice) {
                    ('&', true) => Token::End(Join::And, false),
                    ('&', false) => Token::End(Join::Then, true),
                    (_, true) => Token::End(Join::Or, false),
                    (_, false) => Token::End(Join::Pipe, false),
                });
                at += if twice { 2 } else { 1 };
            }
            '<' | '>' => {
                // The number in `2>` is the stream's.
                if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
                    word.clear();
                }
                end_word(&mut word, &mut tokens);
                at += 1;
                if c == '<' && next == Some('<') {
                    at += 1;
                    let tabs = text.get(at) == Some(&'-');
                    at += usize::from(tabs);
                    while text.get(at) == Some(&' ') {
                        at += 1;
                    }
                    let mut mark = String::new();
                    while text
                        .get(at)
                        .is_some_and(|c| !c.is_whitespace() && !"<>|&;".contains(*c))
                    {
                        mark.push(text[at]);
                        at += 1;
                    }
                    let mark = mark.replace(['"', '\'', '\\'], "");
                    // Its lines come after this one; the command is this line.
                    documents.push((mark, tabs, tokens.len()));
                    tokens.push(Token::Document(String::new()));
                } else {
                    at += usize::from(next == Some('>') || next == Some('|'));
                    if text.get(at) == Some(&'&') {
                        // `2>&1` names no file.
                        at += 1;
                        while text
                            .get(at)
                            .is_some_and(|c| c.is_ascii_digit() || *c == '-')
                        {
                            at += 1;
                        }
                    } else {
                        tokens.push(Token::Redirect(c));
                    }
                }
            }
            _ => {
                word.push(c);
                at += 1;
            }
        }
    }
    end_word(&mut word, &mut tokens);
    tokens
}

/// The end of the quote, bracket or brace at `start`, one character past it.
pub(super) fn closing(text: &[char], start: usize) -> usize {
    let open = text[start];
    let close = match open {
        '(' => ')',
        '{' => '}',
        other => other,
    };
    let mut depth = 0;
    let mut at = start;
    while at < text.len() {
        let c = text[at];
        if c == '\\' && open != '\'' {
            at += 1;
        } else if at > start && c == close {
            if depth == 0 {
                return at + 1;
            }
            depth -= 1;
        } else if at > start && c == open {
            depth += 1;
        }
        at += 1;
    }
    text.len()
}

/// The lines of a here-document from `start`, and where the text continues.
fn document(text: &[char], start: usize, mark: &str, tabs: bool) -> (String, usize) {
    let rest: String = text[start..].iter().collect();
    let mut body = String::new();
    let mut at = start;
    for line in rest.split_inclusive('\n') {
        at += line.chars().count();
        let plain = line.trim_end_matches('\n');
        let plain = if tabs {
            plain.trim_start_matches('\t')
        } else {
            plain
        };
        if plain == mark {
            break;
        }
        body.push_str(plain);
        body.push('\n');
    }
    (body, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart() {
        let text = "cd /x && A=1 exec run 'b c' > log 2>&1; # no\ncat <<EOF >f && true\nin it\nEOF\nlast \\\n y &";
        let steps = steps(text);
        let words: Vec<String> = steps.iter().map(|step| step.words.join(" ")).collect();
        assert_eq!(
            words,
            ["cd /x", "A=1 exec run 'b c'", "cat", "true", "last y"]
        );
        assert_eq!(steps[1].join, Join::And);
        assert_eq!(steps[1].writes, ["log"]);
        assert_eq!(steps[2].document.as_deref(), Some("in it\n"));
        assert_eq!(steps[2].writes, ["f"]);
        assert!(steps[4].background);
    }
}
