//! A shell's script, walked from top to bottom until something stays in the foreground.

use super::shell::{self, Expander, Join, Step, Value, Word};
use super::{Program, Walk};
use crate::readiness::image::env::Env;
use crate::readiness::image::files::base_name;
use crate::readiness::image::run::assignment;

/// What is known of a condition or of a command's success.
type Known = Option<bool>;

/// Where the walk through a script stands.
struct Position {
    /// `$0`, `$1` and so on.
    arguments: Vec<Word>,
    /// Whether the arguments cannot be told any more.
    arguments_open: bool,
    /// Conditions around the step: `None` is one that only the running container knows.
    conditions: Vec<Known>,
    /// Whether the step stands between `if` and `then`.
    asking: bool,
    /// Whether the last command succeeded.
    success: Known,
}

impl Position {
    /// Whether a step is reached: surely, surely not, or perhaps.
    fn reached(&self, join: Join) -> Known {
        let mut reached = Some(true);
        for condition in &self.conditions {
            reached = both(reached, *condition);
        }
        match join {
            Join::And => reached = both(reached, self.success),
            Join::Or => reached = both(reached, self.success.map(|ok| !ok)),
            Join::Then | Join::Pipe => {}
        }
        reached
    }
}

fn both(a: Known, b: Known) -> Known {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

impl Walk<'_> {
    /// Walks through a script up to the server.
    pub(super) fn script(&mut self, text: &str, arguments: &[Word]) -> Program {
        let mut position = Position {
            arguments: arguments.to_vec(),
            arguments_open: false,
            conditions: Vec::new(),
            asking: false,
            success: Some(true),
        };
        let steps = shell::steps(text);
        let count = steps.len();
        let mut last = Program::Unknown("the script ends without starting a server".to_owned());
        for (step, left) in steps.iter().zip((0..count).rev()) {
            if let Some(program) = self.script_step(step, left == 0, &mut position, &mut last) {
                return program;
            }
        }
        last
    }

    /// One command; a program if it is the one that stays.
    fn script_step(
        &mut self,
        step: &Step,
        is_last: bool,
        position: &mut Position,
        last: &mut Program,
    ) -> Option<Program> {
        let mut raw = step.words.as_slice();
        while let Some(word) = raw.first() {
            match word.as_str() {
                "if" => {
                    position.conditions.push(Some(true));
                    position.asking = true;
                }
                "elif" => {
                    let before = position.conditions.pop().flatten();
                    position.conditions.push(before.map(|known| !known));
                    position.asking = true;
                }
                "then" => {
                    position.asking = false;
                    let condition = position.conditions.pop().flatten();
                    position.conditions.push(both(condition, position.success));
                }
                "else" => {
                    let condition = position.conditions.pop().flatten();
                    position.conditions.push(condition.map(|known| !known));
                }
                "while" | "until" | "for" | "case" | "select" => {
                    position.conditions.push(None);
                    return None;
                }
                "fi" | "done" | "esac" => {
                    position.conditions.pop();
                }
                "do" | "{" | "}" | "!" => {}
                _ => break,
            }
            raw = &raw[1..];
        }
        if raw.is_empty() {
            return None;
        }
        let reached = position.reached(step.join);
        if reached == Some(false) {
            if position.asking {
                position.success = Some(false);
            }
            return None;
        }
        let (words, exec) = self.expand(raw, position);
        let Some(first) = words.first() else {
            position.success = Some(true);
            return None;
        };
        match first.text.as_str() {
            "[" | "test" | "[[" => {
                let known = truth(&words[1..]);
                position.success = if reached.is_none() { None } else { known };
                if step.words.first().is_some_and(|word| word == "!") {
                    position.success = position.success.map(|known| !known);
                }
                return None;
            }
            "set" => {
                if let Some(at) = words.iter().position(|word| word.is("--")) {
                    position.arguments_open |= reached.is_none();
                    position.arguments.truncate(1);
                    position.arguments.extend_from_slice(&words[at + 1..]);
                }
                return None;
            }
            "shift" => {
                if position.arguments.len() > 1 {
                    position.arguments.remove(1);
                }
                return None;
            }
            "." | "source" => return self.source(words.get(1), position, last),
            "exit" if reached == Some(true) && !exec => {
                return Some(Program::Unknown(
                    "the script ends before a server starts".to_owned(),
                ));
            }
            _ => {}
        }
        if exec || self.may_stay(&words) {
            return self.stays(&words, raw, exec, reached, is_last, position);
        }
        let why = "the start script decides";
        self.machine.step(step, &position.arguments, why);
        position.success = if position.asking { None } else { Some(true) };
        *last = self.outcome(&words, raw, position);
        None
    }

    /// A command that may be the server: one that is put in the shell's place, or one that starts it.
    fn stays(
        &mut self,
        words: &[Word],
        raw: &[String],
        exec: bool,
        reached: Known,
        is_last: bool,
        position: &Position,
    ) -> Option<Program> {
        let before = (
            self.machine.clone(),
            self.place.clone(),
            self.problems.len(),
            self.shell_stays,
        );
        let stays = self.first && !exec;
        let depth = self.depth;
        let program = self.exec(words, true);
        let open = position.arguments_open
            && raw
                .iter()
                .any(|word| word.contains('@') || word.contains('$'));
        if reached.is_none() || open {
            let what = match program {
                Program::Serve(_) | Program::Nothing | Program::Other(_) => {
                    "a condition in the script decides what is started".to_owned()
                }
                Program::Unknown(why) => why,
            };
            (self.machine, self.place) = (before.0, before.1);
            self.problems.truncate(before.2);
            self.shell_stays = before.3;
            return Some(Program::Unknown(what));
        }
        if matches!(program, Program::Serve(_)) {
            self.shell_stays |= stays;
            return Some(program);
        }
        if exec || is_last || matches!(program, Program::Nothing) {
            return Some(program);
        }
        // It comes to an end, and the script goes on.
        self.depth = depth;
        (self.machine, self.place) = (before.0, before.1);
        self.problems.truncate(before.2);
        None
    }

    /// What the container runs if this command is the last one.
    fn outcome(&mut self, words: &[Word], raw: &[String], position: &Position) -> Program {
        if raw.iter().any(|word| word.contains("$@")) && position.arguments_open {
            return Program::Unknown(
                "a condition in the script decides what is started".to_owned(),
            );
        }
        let Some((first, rest)) = words.split_first() else {
            return Program::Unknown("the script ends without starting a server".to_owned());
        };
        if first.runtime {
            return Program::Unknown(format!(
                "`{}` is known only when the container runs",
                first.text
            ));
        }
        self.unlisted(first, rest)
    }

    /// Whether a command is worth following: the server, a wrapper in front of it, another script.
    fn may_stay(&self, words: &[Word]) -> bool {
        let Some(first) = words.first() else {
            return false;
        };
        let name = base_name(&first.text);
        let names_server = words.windows(2).any(|pair| {
            let program = base_name(&pair[0].text);
            pair[1].is("serve") && (program == "dermal" || program == name)
        });
        let shell = super::SHELLS.contains(&name) && words.len() > 1;
        names_server
            || shell
            || (name == "dermal" && words.len() > 1 && words[1].runtime)
            || self.text_of(&first.text).is_some()
    }

    /// `. file`: its lines stand in this script.
    fn source(
        &mut self,
        path: Option<&Word>,
        position: &mut Position,
        last: &mut Program,
    ) -> Option<Program> {
        let text = path
            .filter(|path| !path.runtime)
            .and_then(|path| self.text_of(&path.text));
        let Some(text) = text else {
            self.machine.env.unseen = Some("a file that the start script reads".to_owned());
            return None;
        };
        self.depth += 1;
        if self.depth > super::MAX_DEPTH {
            return Some(Program::Unknown(
                "too many scripts read one another".to_owned(),
            ));
        }
        for step in shell::steps(&text) {
            if let Some(program) = self.script_step(&step, false, position, last) {
                return Some(program);
            }
        }
        None
    }

    /// The words of a command, and whether `exec` stands in front. Assignments in front are made.
    fn expand(&mut self, raw: &[String], position: &Position) -> (Vec<Word>, bool) {
        let mut raw = raw;
        let place = self.place.clone();
        while let Some((name, value)) = raw.first().and_then(|word| assignment(word)) {
            let env = self.machine.env.clone();
            let value = expander(&env, position, |expander| expander.word(value));
            self.machine
                .env
                .set(name, value.into(), &place.file, place.line);
            raw = &raw[1..];
        }
        let exec = raw.first().is_some_and(|word| word == "exec");
        if exec {
            raw = &raw[1..];
        }
        let env = self.machine.env.clone();
        let words = expander(&env, position, |expander| {
            raw.iter().flat_map(|word| expander.words(word)).collect()
        });
        (words, exec)
    }
}

fn expander<T>(env: &Env, position: &Position, read: impl FnOnce(&Expander<'_>) -> T) -> T {
    let get = |name: &str| -> Value { env.get(name) };
    read(&Expander {
        get: &get,
        arguments: &position.arguments,
        splits: true,
    })
}

/// The value of a test that depends on nothing but texts: `-n x`, `-z x`, `a = b`.
fn truth(words: &[Word]) -> Known {
    let words: Vec<&Word> = words
        .iter()
        .filter(|word| !matches!(word.text.as_str(), "]" | "]]"))
        .collect();
    if words.iter().any(|word| word.runtime) {
        return None;
    }
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    match texts.as_slice() {
        ["!", rest @ ..] => {
            let rest: Vec<Word> = rest.iter().map(|text| Word::literal(*text)).collect();
            truth(&rest).map(|known| !known)
        }
        ["-n", text] => Some(!text.is_empty()),
        ["-z", text] => Some(text.is_empty()),
        ["-n"] | [] => Some(false),
        ["-z"] => Some(true),
        [a, "=" | "==", b] if !b.contains('*') => Some(a == b),
        [a, "!=", b] if !b.contains('*') => Some(a != b),
        _ => None,
    }
}
