//! A shell's script, followed from top to bottom until a program stays in the foreground.

use super::shell::{self, Expander, Join, Step, Value, Word};
use super::{Program, Walk};
use crate::readiness::image::env::Env;
use crate::readiness::image::files::base_name;
use crate::readiness::image::run::assignment;

/// The known result of a condition or a command.
type Known = Option<bool>;

/// The state while a script is followed.
struct Position {
    /// `$0`, `$1` and so on.
    arguments: Vec<Word>,
    /// Whether the arguments are no longer known.
    arguments_open: bool,
    /// Conditions around the step; `None` is a condition that only the running container knows.
    conditions: Vec<Known>,
    /// Whether the step is between `if` and `then`.
    asking: bool,
    /// Whether the last command succeeded.
    success: Known,
}

impl Position {
    /// Whether a step is reached: yes, no, or perhaps.
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
    /// Follows a script up to the server.
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

    /// One command; returns a program if it is the one that stays.
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

    /// A command that may be the server: one that replaces the shell, or one that starts it.
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
        // The command ends, and the script continues.
        self.depth = depth;
        (self.machine, self.place) = (before.0, before.1);
        self.problems.truncate(before.2);
        None
    }

    /// The program of the container if this command is the last one.
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

    /// Whether to follow a command: the server, a wrapper before it, or another script.
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

    /// `. file`: the lines of the file are part of this script.
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

    /// The words of a command, and whether `exec` comes before it. Assignments before it are made.
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

/// The value of a test that depends only on texts: `-n x`, `-z x`, `a = b`.
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
