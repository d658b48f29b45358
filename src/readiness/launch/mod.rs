//! The program that a container starts in the end: the words of its host and its image, followed
//! through wrappers, shells and scripts to `dermal serve`, or to another program.
//!
//! In: a [`Container`]. Out: a [`Launch`], with the environment and the files at that moment. Facts
//! that only the running container knows are never guessed: [`Program::Unknown`] says why.

mod lex;
mod script;
pub(crate) mod serve;
pub(crate) mod shell;

use super::image::base::{Base, Has};
use super::image::env::Place;
use super::image::files::{Found, Origin, absolute, base_name};
use super::image::run::{Machine, assignment};
use super::project::Project;
use super::rules::{self, Rule};
use crate::text as suggest;
use serve::{Flag, Serve};
use shell::Word;

/// A container, or a machine of a host that runs the repository itself, at its start.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// The place of its command.
    pub(crate) place: Place,
    /// The words that the kernel gets.
    pub(crate) argv: Vec<Word>,
    pub(crate) base: Base,
    /// Its files and its environment.
    pub(crate) machine: Machine,
}

/// The program that is started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Program {
    /// `dermal serve`.
    Serve(Serve),
    /// Another program.
    Other(String),
    /// Unknown, and why.
    Unknown(String),
    /// None: a problem says why.
    Nothing,
}

/// The end of the chain.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: Program,
    /// The place of the last command: in a script, if one was read.
    pub(crate) place: Place,
    /// Files, environment and folder when the program is started.
    pub(crate) machine: Machine,
    /// Whether a shell stays before it as process 1 and does not pass signals on.
    pub(crate) shell_stays: bool,
    /// Whether a wrapper changes the user.
    pub(crate) changes_user: bool,
    pub(crate) problems: Vec<(&'static Rule, Place, String)>,
}

/// Programs that start the one that their arguments name, and their options that take a value.
const WRAPPERS: [(&str, &[&str]); 22] = [
    ("tini", &["-p", "-e"]),
    ("tini-static", &["-p", "-e"]),
    ("docker-init", &["-p", "-e"]),
    ("dumb-init", &["-r", "--rewrite"]),
    ("catatonit", &[]),
    ("nice", &["-n", "--adjustment"]),
    ("ionice", &["-c", "-n", "--class", "--classdata"]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("time", &[]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("chrt", &["-p"]),
    ("taskset", &[]),
    ("setpriv", &[]),
    ("prlimit", &[]),
    ("sudo", &["-u", "-g"]),
    ("doas", &["-u"]),
    ("busybox", &[]),
    ("catchsegv", &[]),
    ("with-contenv", &[]),
];

/// Programs that take a user or a number first, then the program.
const ONE_WORD_FIRST: [&str; 5] = ["gosu", "su-exec", "timeout", "chroot", "chpst"];

/// Programs that certainly are not the server.
const OTHER_PROGRAMS: [&str; 24] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "waitress-serve",
    "flask",
    "streamlit",
    "python",
    "python2",
    "python3",
    "django-admin",
    "node",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "java",
    "rails",
    "puma",
    "bundle",
    "nginx",
    "tail",
    "cat",
    "true",
    "tensorflow_model_server",
];

const SHELLS: [&str; 5] = ["sh", "bash", "ash", "dash", "zsh"];

/// Longest chain of wrappers, shells and scripts that is followed.
const MAX_DEPTH: usize = 12;

/// Follows a container's command to its end.
pub(crate) fn follow(project: &Project, container: &Container) -> Launch {
    let mut walk = Walk {
        project,
        base: &container.base,
        machine: container.machine.clone(),
        place: container.place.clone(),
        first: true,
        shell_stays: false,
        changes_user: false,
        problems: Vec::new(),
        depth: 0,
    };
    let program = walk.exec(&container.argv, false);
    Launch {
        program,
        place: walk.place,
        machine: walk.machine,
        shell_stays: walk.shell_stays,
        changes_user: walk.changes_user,
        problems: walk.problems,
    }
}

struct Walk<'a> {
    project: &'a Project,
    base: &'a Base,
    machine: Machine,
    place: Place,
    /// Whether the program is still process 1.
    first: bool,
    shell_stays: bool,
    changes_user: bool,
    problems: Vec<(&'static Rule, Place, String)>,
    depth: usize,
}

impl Walk<'_> {
    fn problem(&mut self, rule: &'static Rule, what: impl Into<String>) {
        self.problems.push((rule, self.place.clone(), what.into()));
    }

    fn flags(&self) -> &[Flag] {
        &self.project.flags
    }

    /// Starts a program; `by_shell` says that a shell looks it up.
    fn exec(&mut self, argv: &[Word], by_shell: bool) -> Program {
        self.depth += 1;
        let Some((program, rest)) = argv.split_first() else {
            return Program::Unknown("there is no command after the options".to_owned());
        };
        if self.depth > MAX_DEPTH {
            return Program::Unknown("too many programs start one another".to_owned());
        }
        if program.runtime {
            let shown = suggest::shorten(&program.text);
            return Program::Unknown(format!("`{shown}` is known only when the container runs"));
        }
        let name = base_name(&program.text);
        if let Some(nothing) = self.missing(&program.text) {
            return nothing;
        }
        if name == "dermal" || self.first_name(&program.text).as_deref() == Some("dermal") {
            return self.dermal(program, rest);
        }
        if SHELLS.contains(&name) {
            return self.shell(name, rest);
        }
        if name == "env" {
            return self.env(rest);
        }
        if let Some((_, values)) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name) {
            // An init process passes signals on to the shell that it starts.
            self.first &= !name.contains("init") && name != "tini";
            self.changes_user |= matches!(name, "setpriv" | "sudo" | "doas");
            return self.exec(after_options(rest, values), by_shell);
        }
        if ONE_WORD_FIRST.contains(&name) {
            self.changes_user |= name != "timeout";
            let rest = after_options(rest, &["-s", "-k", "--signal", "--kill-after", "-u"]);
            return self.exec(rest.get(1..).unwrap_or_default(), by_shell);
        }
        if matches!(name, "runuser" | "su") {
            return self.as_user(rest, by_shell);
        }
        if let Some(text) = self.text_of(&program.text) {
            return self.script_file(&program.text, &text, rest, by_shell);
        }
        self.unlisted(program, rest)
    }

    /// A program whose name is not known.
    fn unlisted(&mut self, program: &Word, rest: &[Word]) -> Program {
        let name = base_name(&program.text).to_owned();
        // An unknown wrapper before a known command.
        let wrapped = rest
            .windows(2)
            .position(|pair| base_name(&pair[0].text) == "dermal" && pair[1].is("serve"));
        if let Some(at) = wrapped {
            self.first = false;
            return self.exec(&rest[at..], false);
        }
        let numbered = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        if OTHER_PROGRAMS.contains(&name.as_str()) || OTHER_PROGRAMS.contains(&numbered) {
            let mut words = vec![program.text.clone()];
            words.extend(rest.iter().map(|word| word.text.clone()));
            return Program::Other(words.join(" "));
        }
        if rest.first().is_some_and(|word| word.is("serve")) {
            // The program under another name that a build gave it.
            return Program::Serve(Serve::read(&rest[1..], self.flags()));
        }
        Program::Unknown(format!(
            "what `{}` starts is not in this project",
            suggest::shorten(&program.text)
        ))
    }

    /// Reports that a program is missing, if it is.
    fn missing(&mut self, program: &str) -> Option<Program> {
        if self.machine.has_program(program, self.base) != Has::No {
            return None;
        }
        let name = base_name(program);
        let shown = suggest::shorten(program);
        let base = suggest::shorten(&self.base.name);
        if SHELLS.contains(&name) && self.base.is_empty() {
            self.problem(
                &rules::START_NO_SHELL,
                format!("`{shown}` runs the command, and `{base}` has no shell"),
            );
            return Some(Program::Nothing);
        }
        let system = [
            "/bin/",
            "/usr/bin/",
            "/usr/local/bin/",
            "/sbin/",
            "/usr/sbin/",
        ];
        let own = program.contains('/') && !system.iter().any(|folder| program.starts_with(folder));
        if self.base.is_empty() || own || name == "dermal" {
            self.problem(
                &rules::START_PROGRAM_MISSING,
                format!("there is no `{shown}` in the image"),
            );
            // The options of the server are checked anyway.
            return (name != "dermal").then_some(Program::Nothing);
        }
        self.problem(
            &rules::START_UNKNOWN,
            format!("`{base}` has no `{shown}`, and nothing that can be seen installs it"),
        );
        None
    }

    /// The first name of a program that was copied under another.
    fn first_name(&self, program: &str) -> Option<String> {
        let mut places = vec![absolute(program, &self.machine.workdir)];
        if !program.contains('/') {
            places = ["/usr/local/bin", "/usr/bin", "/bin"]
                .map(|folder| absolute(program, folder))
                .to_vec();
        }
        places
            .iter()
            .find_map(|path| match self.machine.tree.find(path) {
                Found::File(origin) => origin.name().map(str::to_owned),
                _ => None,
            })
    }

    /// The text of a script in the image, if the project has it.
    fn text_of(&self, path: &str) -> Option<String> {
        let path = absolute(path, &self.machine.workdir);
        match self.machine.tree.find(&path) {
            Found::File(Origin::Text(text)) => Some(text.clone()),
            Found::File(Origin::Project(own)) => self.project.text(own).map(str::to_owned),
            _ => None,
        }
    }

    fn dermal(&mut self, program: &Word, rest: &[Word]) -> Program {
        let at = rest.iter().position(|word| !word.text.starts_with('-'));
        match at.map(|at| (&rest[at], &rest[at + 1..])) {
            Some((command, words)) if command.is("serve") => {
                Program::Serve(Serve::read(words, self.flags()))
            }
            Some((command, _)) if command.runtime => Program::Unknown(format!(
                "`{}` is known only when the container runs",
                command.text
            )),
            Some((command, _)) => Program::Other(format!("{} {}", program.text, command.text)),
            None => Program::Other(program.text.clone()),
        }
    }

    fn env(&mut self, words: &[Word]) -> Program {
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            if let Some((name, value)) = assignment(&word.text) {
                let value = Word {
                    text: value.to_owned(),
                    runtime: word.runtime,
                };
                let place = self.place.clone();
                self.machine
                    .env
                    .set(name, value.into(), &place.file, place.line);
                rest = after;
            } else if matches!(word.text.as_str(), "-u" | "--unset") {
                if let Some(name) = after.first() {
                    self.machine.env.remove(&name.text);
                }
                rest = after.get(1..).unwrap_or_default();
            } else if let Some(text) = word
                .text
                .strip_prefix("-S")
                .or(word.text.strip_prefix("--split-string="))
            {
                let split = if text.is_empty() {
                    after.first().map_or("", |word| word.text.as_str())
                } else {
                    text
                };
                return self.exec(&shell::literal(&shell::split(split)), false);
            } else if word.text.starts_with('-') {
                rest = after;
            } else {
                break;
            }
        }
        self.exec(rest, false)
    }

    /// `runuser -u app -- command`, `su app -c "command"`.
    fn as_user(&mut self, words: &[Word], by_shell: bool) -> Program {
        self.changes_user = true;
        if let Some(at) = words.iter().position(|word| word.is("-c")) {
            let text = words.get(at + 1).cloned().unwrap_or_default();
            self.first = false;
            return self.shell_text(&text, &[Word::literal("su")]);
        }
        self.first = false;
        self.exec(after_options(words, &["-u", "-g", "--user"]), by_shell)
    }

    fn shell(&mut self, name: &str, words: &[Word]) -> Program {
        let mut rest = words;
        let mut reads_text = false;
        while let Some((word, after)) = rest.split_first() {
            if matches!(word.text.as_str(), "-o" | "+o" | "-O") {
                rest = after.get(1..).unwrap_or_default();
            } else if word.text.starts_with('-') && word.text.len() > 1 {
                let short = !word.text.starts_with("--");
                reads_text |= short && word.text.contains('c');
                rest = after;
                if short && word.text.ends_with('o') {
                    rest = after.get(1..).unwrap_or_default();
                }
            } else {
                break;
            }
        }
        let Some((first, arguments)) = rest.split_first() else {
            return Program::Unknown(format!("`{name}` waits for commands"));
        };
        if reads_text {
            let own = [Word::literal(name)];
            let arguments = if arguments.is_empty() {
                &own
            } else {
                arguments
            };
            return self.shell_text(first, arguments);
        }
        if first.runtime {
            return Program::Unknown(format!(
                "`{}` is known only when the container runs",
                first.text
            ));
        }
        if let Some(text) = self.text_of(&first.text) {
            return self.script_file(&first.text, &text, arguments, true);
        }
        let path = absolute(&first.text, &self.machine.workdir);
        if self.machine.tree.find(&path) == Found::No && !self.is_host() {
            let what = format!(
                "there is no `{}` in the image",
                suggest::shorten(&first.text)
            );
            self.problem(&rules::START_PROGRAM_MISSING, what);
            return Program::Nothing;
        }
        Program::Unknown(format!(
            "`{}` is not in this project",
            suggest::shorten(&first.text)
        ))
    }

    fn is_host(&self) -> bool {
        self.base == &Base::host()
    }

    fn shell_text(&mut self, text: &Word, arguments: &[Word]) -> Program {
        if text.runtime {
            return Program::Unknown(format!(
                "`{}` is known only when the container runs",
                text.text
            ));
        }
        self.script(&text.text, arguments)
    }

    /// A script of the project, or of a here-document.
    fn script_file(&mut self, path: &str, text: &str, words: &[Word], by_shell: bool) -> Program {
        let own = absolute(path, &self.machine.workdir);
        if let Found::File(Origin::Project(file)) = self.machine.tree.find(&own) {
            let line = text.lines().position(|line| line.contains("serve"));
            self.place = Place::new(file, line.map_or(0, |line| line + 1));
        }
        let shown = suggest::shorten(base_name(path));
        let first_line = text.lines().next().unwrap_or_default();
        let raw_first = text.split('\n').next().unwrap_or_default();
        match first_line.strip_prefix("#!") {
            Some(_) if raw_first.ends_with('\r') && !by_shell => {
                let what =
                    format!("`{shown}` has Windows line ends, so its interpreter is not found");
                self.problem(&rules::START_SCRIPT, what);
                return Program::Nothing;
            }
            Some(line) => {
                let mut words = line.split_whitespace();
                let mut interpreter = words.next().unwrap_or_default();
                if base_name(interpreter) == "env" {
                    interpreter = words.find(|word| !word.starts_with('-')).unwrap_or("sh");
                }
                let name = base_name(interpreter);
                if !SHELLS.contains(&name) {
                    return Program::Unknown(format!("`{shown}` is a program for `{name}`"));
                }
                if !by_shell && self.machine.has_program(interpreter, self.base) == Has::No {
                    let what =
                        format!("`{shown}` needs `{interpreter}`, which is not in the image");
                    self.problem(&rules::START_SCRIPT, what);
                    return Program::Nothing;
                }
            }
            None if !by_shell => {
                let what =
                    format!("`{shown}` does not begin with `#!/bin/sh`, and no shell runs it");
                self.problem(&rules::START_SCRIPT, what);
                return Program::Nothing;
            }
            None => {}
        }
        let mut arguments = vec![Word::literal(path)];
        arguments.extend_from_slice(words);
        self.script(text, &arguments)
    }
}

/// The words after the options of a wrapper: from `--`, or from the first word that is not an
/// option.
fn after_options<'a>(words: &'a [Word], with_value: &[&str]) -> &'a [Word] {
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        if word.is("--") {
            return after;
        }
        if !word.text.starts_with('-') {
            break;
        }
        rest = after;
        if with_value.contains(&word.text.as_str()) {
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    rest
}
