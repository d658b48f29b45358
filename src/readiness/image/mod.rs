//! An image as a Dockerfile makes it: files, environment, user, and the program that it starts.
//!
//! In: the instructions of a Dockerfile and the files of the project. Out: one [`Image`] for each
//! stage, and the mistakes that Docker would refuse. Nothing is built; facts that only a build
//! could show are marked as unknown.

pub(crate) mod base;
pub(crate) mod dockerfile;
pub(crate) mod env;
pub(crate) mod files;
pub(crate) mod pattern;
pub(crate) mod run;
mod stage;

use std::collections::BTreeMap;

use super::project::Project;
use super::rules::{self, Findings, Rule};
use super::secrets::Variable;
use crate::text as suggest;
use base::Base;
use dockerfile::Instruction;
use env::{Env, Place};
use run::Machine;

use super::launch::shell::{Expander, Value, Word};

/// A command as a Dockerfile or a host's file writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A list of words: no shell reads it.
    Words(Vec<String>),
    /// A text for the image's shell.
    Shell(String),
}

/// A word in a file, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A stage of a Dockerfile: the image at its end.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The Dockerfile.
    pub(crate) file: String,
    /// The line of its FROM.
    pub(crate) line: usize,
    /// Its name, in small letters.
    name: Option<String>,
    /// The base image of all stages.
    pub(crate) base: Base,
    /// Files, environment, packages, users.
    pub(crate) machine: Machine,
    pub(crate) user: Option<Said<Word>>,
    pub(crate) shell: Vec<String>,
    pub(crate) entry: Option<Said<Form>>,
    pub(crate) command: Option<Said<Form>>,
    /// `None` in it switches the check off.
    pub(crate) health: Option<Said<Option<Form>>>,
    pub(crate) exposed: Vec<Said<Word>>,
    pub(crate) volumes: Vec<String>,
    /// The line on which Python packages are installed.
    python: Option<usize>,
}

/// The images of one Dockerfile.
#[derive(Debug, Default)]
pub(crate) struct Build {
    pub(crate) file: String,
    pub(crate) stages: Vec<Image>,
    pub(crate) variables: Vec<Variable>,
    /// The file's mistakes, reported once however many hosts use it.
    problems: Vec<(&'static Rule, usize, String)>,
}

/// How a host builds a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) file: String,
    /// The folder that COPY sees, without slashes at its ends; empty for the project's.
    pub(crate) context: String,
    /// The stage, unless it is the last.
    pub(crate) target: Option<String>,
    /// Values of ARG.
    pub(crate) arguments: BTreeMap<String, Value>,
}

impl Build {
    /// Reads a Dockerfile. A host may set any ARG, so an ARG without a default is unknown.
    pub(crate) fn read(project: &Project, recipe: &Recipe) -> Self {
        let text = project.text(&recipe.file).unwrap_or_default();
        let read = dockerfile::read(text);
        let mut builder = Builder {
            project,
            recipe,
            global: Env::default(),
            build: Self {
                file: recipe.file.clone(),
                ..Self::default()
            },
            arguments: Env::default(),
            escape: read.escape,
        };
        for (line, what) in read.problems {
            builder.problem(&rules::DOCKER_SYNTAX, line, what);
        }
        for instruction in &read.instructions {
            builder.take(instruction);
        }
        if builder.build.stages.is_empty() {
            builder.problem(&rules::DOCKER_SYNTAX, 1, "there is no FROM");
        }
        let mut build = builder.build;
        for image in &build.stages {
            let words = [&image.entry, &image.command].into_iter().flatten();
            for said in words {
                if let Form::Shell(text) = &said.value
                    && text.starts_with('[')
                {
                    let what =
                        "this list of words is not valid JSON, so a shell gets it as it is written";
                    build
                        .problems
                        .push((&rules::DOCKER_SYNTAX, said.place.line, what.to_owned()));
                }
            }
        }
        build
    }

    /// The stage that is deployed.
    pub(crate) fn image(&self, target: Option<&str>) -> Option<&Image> {
        match target {
            None => self.stages.last(),
            Some(target) => self.stage(target),
        }
    }

    fn stage(&self, name: &str) -> Option<&Image> {
        let lower = name.to_ascii_lowercase();
        let named = self
            .stages
            .iter()
            .rposition(|stage| stage.name.as_ref() == Some(&lower));
        let number = || name.parse().ok().filter(|n| *n < self.stages.len());
        named.or_else(number).map(|at| &self.stages[at])
    }

    /// The mistakes in the file itself, and in the stage that is deployed.
    pub(crate) fn report(&self, image: &Image, out: &mut Findings) {
        for (rule, line, what) in &self.problems {
            out.add(rule, &self.file, *line, what.clone());
        }
        if let Some(line) = image.python {
            let what = "`pip install` in the last stage";
            out.add(&rules::PYTHON_LEFT, &self.file, line, what);
        }
    }

    /// Whether the file can be built at all.
    pub(crate) fn is_broken(&self) -> bool {
        let fatal = [&rules::DOCKER_SYNTAX, &rules::DOCKER_STAGE];
        self.stages.is_empty()
            || self
                .problems
                .iter()
                .any(|(rule, ..)| fatal.iter().any(|fatal| fatal.id == rule.id))
    }

    /// How many sources of COPY are missing.
    pub(crate) fn missing_sources(&self) -> usize {
        let missing = |(rule, ..): &&(&Rule, usize, String)| rule.id == rules::DOCKER_COPY.id;
        self.problems.iter().filter(missing).count()
    }

    /// The mistakes in a file without any known stage.
    pub(crate) fn report_problems(&self, out: &mut Findings) {
        for (rule, line, what) in &self.problems {
            out.add(rule, &self.file, *line, what.clone());
        }
    }
}

impl Image {
    /// Whether its processes start as root.
    pub(crate) fn runs_as_root(&self) -> bool {
        let user = self.user.as_ref().map(|user| &user.value);
        let user = match user {
            Some(word) if word.runtime => return false,
            Some(word) => Some(word.text.as_str()),
            None => self.base.user.as_deref(),
        };
        let Some(user) = user else {
            return !self.base.name.contains("nonroot");
        };
        matches!(
            user.split(':').next().unwrap_or_default().trim(),
            "root" | "0" | ""
        )
    }

    /// The words that the kernel gets, unless a host sets others: an entry point before a command;
    /// a text runs in the image's shell.
    pub(crate) fn argv(&self, entry: Option<&Form>, command: Option<&Form>) -> Vec<Word> {
        let words = |form: &Form| match form {
            Form::Words(words) => words.clone(),
            Form::Shell(text) => [self.shell.as_slice(), std::slice::from_ref(text)].concat(),
        };
        let mut all = entry.map_or_else(Vec::new, words);
        // A shell takes the words after its text as arguments, not as a part of it.
        if !matches!(entry, Some(Form::Shell(_))) {
            all.extend(command.map_or_else(Vec::new, words));
        }
        all.into_iter().map(Word::literal).collect()
    }
}

impl Machine {
    /// Whether a program can be started: by an absolute path, or by a name in PATH.
    pub(crate) fn has_program(&self, program: &str, base: &Base) -> base::Has {
        use base::Has;
        use files::{Found, absolute};
        let has = |found: Found<'_>| match found {
            Found::File(_) => Some(Has::Yes),
            Found::Perhaps(_) => Some(Has::Perhaps),
            Found::Folder | Found::No => None,
        };
        let name = files::base_name(program);
        if program.contains('/') {
            let path = absolute(program, &self.workdir);
            if let Some(known) = has(self.tree.find(&path)) {
                return known;
            }
            let system = ["/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin"];
            if !system.contains(&files::parent(&path)) {
                return if base.may_hold_programs() {
                    Has::Perhaps
                } else {
                    Has::No
                };
            }
        } else {
            const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            let path = match self.env.get("PATH") {
                Value::Known(path) => path,
                Value::Runtime => return Has::Perhaps,
                Value::Unset => DEFAULT.to_owned(),
            };
            for folder in path.split(':') {
                let found = self.tree.find(&absolute(name, folder));
                if let Some(known) = has(found) {
                    return known;
                }
            }
        }
        if base == &Base::host() {
            return Has::Perhaps;
        }
        let package = |package: &String| package == "*" || package.contains(name);
        if self.packages.iter().any(package) {
            return if self.packages.contains(name) {
                Has::Yes
            } else {
                Has::Perhaps
            };
        }
        base.has(name)
    }
}

struct Builder<'a> {
    project: &'a Project,
    recipe: &'a Recipe,
    /// ARG before the first FROM.
    global: Env,
    /// ARG of this stage.
    arguments: Env,
    build: Build,
    escape: char,
}

/// Arguments that BuildKit sets.
const BUILT_IN: [&str; 8] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
];

impl Builder<'_> {
    fn problem(&mut self, rule: &'static Rule, line: usize, what: impl Into<String>) {
        self.build.problems.push((rule, line, what.into()));
    }

    fn why(&self, what: &str, line: usize) -> String {
        format!("{what} ({}:{line})", self.recipe.file)
    }

    /// Replaces the variables of a Dockerfile in a word.
    fn word(&self, raw: &str) -> Word {
        let raw = if self.escape == '\\' {
            raw.to_owned()
        } else {
            raw.replace('\\', "\\\\")
        };
        let env = self.build.stages.last().map(|image| &image.machine.env);
        let get = |name: &str| {
            let stage = env.map_or(Value::Unset, |env| env.get(name));
            match stage {
                Value::Unset if BUILT_IN.contains(&name) => Value::Runtime,
                Value::Unset => self.arguments.get(name),
                known => known,
            }
        };
        let expander = Expander {
            get: &get,
            arguments: &[],
            splits: false,
        };
        expander.word(&raw)
    }

    fn take(&mut self, instruction: &Instruction) {
        let line = instruction.line;
        let rest = instruction.rest.as_str();
        let file = self.recipe.file.clone();
        match instruction.name.as_str() {
            "FROM" => return self.from(instruction),
            "ARG" => return self.arg(instruction),
            name if self.build.stages.is_empty() => {
                let what = format!("`{name}` comes before the first FROM");
                return self.problem(&rules::DOCKER_SYNTAX, line, what);
            }
            "COPY" | "ADD" => return self.copy(instruction),
            "RUN" => return self.run(instruction),
            _ => {}
        }
        let place = Place::new(&file, line);
        let form = || {
            instruction
                .words()
                .map_or_else(|| Form::Shell(rest.to_owned()), Form::Words)
        };
        let word = self.word(rest);
        let pairs: Vec<(String, Word)> = dockerfile::pairs(rest)
            .into_iter()
            .map(|(name, value)| (name, self.word(&value)))
            .collect();
        let Some(image) = self.build.stages.last_mut() else {
            return;
        };
        match instruction.name.as_str() {
            "ENV" => {
                for (name, value) in pairs {
                    if !value.runtime {
                        self.build.variables.push(Variable {
                            file: file.clone(),
                            line,
                            name: name.clone(),
                            value: value.text.clone(),
                        });
                    }
                    image.machine.env.set(&name, value.into(), &file, line);
                }
            }
            "WORKDIR" => {
                let path = files::absolute(&word.text, &image.machine.workdir);
                image.machine.tree.add_folder(&path);
                image.machine.workdir = path;
            }
            "USER" => image.user = Some(Said { value: word, place }),
            "EXPOSE" => {
                for part in rest.split_whitespace() {
                    let value = self.word(part);
                    let place = place.clone();
                    if let Some(image) = self.build.stages.last_mut() {
                        image.exposed.push(Said { value, place });
                    }
                }
            }
            "VOLUME" => {
                let paths = instruction.words();
                let paths =
                    paths.unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
                image.volumes.extend(paths);
            }
            "SHELL" => match instruction.words() {
                Some(words) => image.shell = words,
                None => {
                    self.problem(&rules::DOCKER_SYNTAX, line, "SHELL needs the JSON form");
                }
            },
            "CMD" => {
                image.command = Some(Said {
                    value: form(),
                    place,
                });
            }
            "ENTRYPOINT" => {
                image.entry = Some(Said {
                    value: form(),
                    place,
                });
                // An entry point drops the base image's command, but not one of this stage.
                if image
                    .command
                    .as_ref()
                    .is_some_and(|command| command.place.line < image.line)
                {
                    image.command = None;
                }
            }
            "HEALTHCHECK" => {
                let rest = rest.trim();
                let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let value = if kind.eq_ignore_ascii_case("cmd") {
                    let command = Instruction {
                        rest: command.trim().to_owned(),
                        ..Instruction::default()
                    };
                    Some(
                        command
                            .words()
                            .map_or(Form::Shell(command.rest), Form::Words),
                    )
                } else if kind.eq_ignore_ascii_case("none") {
                    None
                } else {
                    let what = format!(
                        "HEALTHCHECK needs `CMD` or `NONE`, got `{}`",
                        suggest::shorten(kind)
                    );
                    return self.problem(&rules::DOCKER_SYNTAX, line, what);
                };
                image.health = Some(Said { value, place });
            }
            _ => {}
        }
    }

    fn arg(&mut self, instruction: &Instruction) {
        let file = self.recipe.file.clone();
        for (name, value) in argument_pairs(&instruction.rest) {
            let given = self.recipe.arguments.get(&name).cloned();
            let default = value.map(|value| self.word(&value));
            if let Some(word) = default.as_ref().filter(|word| !word.runtime) {
                self.build.variables.push(Variable {
                    file: file.clone(),
                    line: instruction.line,
                    name: name.clone(),
                    value: word.text.clone(),
                });
            }
            let global = match self.global.get(&name) {
                Value::Unset => None,
                known => Some(known),
            };
            let value = given
                .or(default.map(Value::from))
                .or(global)
                .unwrap_or(Value::Runtime);
            let scope = if self.build.stages.is_empty() {
                self.arguments
                    .set(&name, value.clone(), &file, instruction.line);
                &mut self.global
            } else {
                &mut self.arguments
            };
            scope.set(&name, value, &file, instruction.line);
        }
    }

    fn run(&mut self, instruction: &Instruction) {
        let why = self.why("a RUN line decides", instruction.line);
        let arguments = self.arguments.clone();
        let Some(image) = self.build.stages.last_mut() else {
            return;
        };
        let text = if instruction.rest.starts_with("<<") {
            instruction
                .documents
                .iter()
                .map(|d| d.text.as_str())
                .collect()
        } else if instruction.documents.is_empty() {
            instruction.words().map_or_else(
                || instruction.rest.clone(),
                |words| {
                    let quoted = words
                        .iter()
                        .map(|word| format!("'{}'", word.replace('\'', "'\\''")));
                    quoted.collect::<Vec<_>>().join(" ")
                },
            )
        } else {
            let documents = instruction.documents.iter();
            let documents: Vec<String> = documents
                .map(|d| format!("{}{}\n", d.text, d.mark))
                .collect();
            format!("{}\n{}", instruction.rest, documents.concat())
        };
        if text.contains("pip install") || text.contains("pip3 install") {
            image.python = Some(instruction.line);
        }
        let env = image.machine.env.clone();
        let mut with_arguments = arguments;
        with_arguments.extend(&env);
        image.machine.env = with_arguments;
        image.machine.run(&text, &why);
        image.machine.env = env;
    }
}

/// `NAME`, `NAME=value`, several on a line.
fn argument_pairs(rest: &str) -> Vec<(String, Option<String>)> {
    let mut pairs = Vec::new();
    for word in rest.split_whitespace() {
        match word.split_once('=') {
            Some(_) => {
                let more = dockerfile::pairs(&rest[rest.find(word).unwrap_or(0)..]);
                pairs.extend(more.into_iter().map(|(name, value)| (name, Some(value))));
                break;
            }
            None => pairs.push((word.to_owned(), None)),
        }
    }
    pairs
}
