//! Compose files (<https://docs.docker.com/reference/compose-file/>): services that are built from
//! this project. A command's text is split into words, and no shell reads it. `$VARIABLE` is
//! replaced when the file is read, from `.env` or from the shell of the person who starts it.

use super::{Connects, Host, Hosts, Started, below, project_path, words_of};
use crate::readiness::image::env::{Env, Place};
use crate::readiness::image::files::{Origin, absolute};
use crate::readiness::image::{Form, Recipe, Said};
use crate::readiness::launch::shell::{Expander, Value, Word};
use crate::readiness::located::{self, Located, Value as Kind};
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings};
use crate::readiness::secrets::Variable;
use crate::text as suggest;
use crate::units;

const FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

struct File<'a> {
    project: &'a Project,
    name: &'static str,
    /// The variables in `.env` beside the file.
    dotenv: Vec<(String, String)>,
}

/// Reads the file: the services that are built here.
pub(super) fn read(project: &Project, hosts: &mut Hosts, out: &mut Findings) {
    let Some((name, text)) = FILES
        .into_iter()
        .find_map(|name| Some((name, project.text(name)?)))
    else {
        return;
    };
    let root = match located::yaml(text) {
        Ok(root) => root,
        Err(error) => {
            out.add(&rules::COMPOSE_SYNTAX, name, error.line, error.message);
            return;
        }
    };
    let file = File {
        project,
        name,
        dotenv: dotenv(project.text(".env").unwrap_or_default()),
    };
    let services = root.get("services").map_or(&[][..], Located::entries);
    for (_, service) in services {
        if service.get("build").is_some() {
            file.service(service, hosts, out);
        }
    }
}

/// `NAME=value` on each line.
fn dotenv(text: &str) -> Vec<(String, String)> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.trim_start_matches("export ").split_once('='));
    pairs
        .map(|(name, value)| {
            (
                name.trim().to_owned(),
                value.trim().trim_matches(['"', '\'']).to_owned(),
            )
        })
        .collect()
}

/// A list, or a text as its only element.
fn many(value: Option<&Located>) -> Vec<&Located> {
    match value {
        Some(value) if matches!(value.value, Kind::List(_)) => value.items().iter().collect(),
        Some(value) if value.value != Kind::Null => vec![value],
        _ => Vec::new(),
    }
}

#[expect(
    clippy::single_match_else,
    reason = "a setting's two forms stand side by side"
)]
impl File<'_> {
    /// Replaces `$VARIABLE` and `${VARIABLE:-default}`; `$$` is a dollar.
    fn word(&self, text: &str) -> Word {
        let get = |name: &str| {
            let known = self.dotenv.iter().find(|(key, _)| key == name);
            match known {
                Some((_, value)) => Value::Known(value.clone()),
                // A default applies until the variable is set.
                None if text.contains(&format!("{{{name}:-"))
                    || text.contains(&format!("{{{name}-")) =>
                {
                    Value::Unset
                }
                None => Value::Runtime,
            }
        };
        let expander = Expander {
            get: &get,
            arguments: &[],
            splits: false,
        };
        let mut whole = Word::default();
        for (i, part) in text.split("$$").enumerate() {
            if i > 0 {
                whole.text.push('$');
            }
            let protected = part
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\'', "\\'");
            let word = expander.word(&protected);
            whole.text.push_str(&word.text);
            whole.runtime |= word.runtime;
        }
        whole
    }

    fn text(&self, value: Option<&Located>) -> Option<String> {
        let word = self.word(value?.text()?);
        (!word.runtime).then_some(word.text)
    }

    fn form(&self, value: &Located) -> Option<Form> {
        match &value.value {
            Kind::Text(text) => Some(words_of(&self.word(text).text)),
            Kind::List(items) => {
                let words = items.iter().filter_map(Located::as_env);
                Some(Form::Words(
                    words.map(|word| self.word(&word).text).collect(),
                ))
            }
            _ => None,
        }
    }

    fn recipe(&self, service: &Located) -> Recipe {
        let build = service.get("build");
        let said = |key: &str| build.and_then(|build| build.get(key));
        let context = self.text(build).or_else(|| self.text(said("context")));
        let context = project_path(&context.unwrap_or_default());
        let file = self.text(said("dockerfile"));
        let arguments = said("args").map_or(Vec::new(), |args| self.pairs(args));
        Recipe {
            file: match file {
                Some(file) => below(&context, &file),
                None => {
                    let plain = below(&context, "Dockerfile");
                    let other = below(&context, "dockerfile");
                    if self.project.files.contains_key(&other) {
                        other
                    } else {
                        plain
                    }
                }
            },
            context,
            target: self.text(said("target")),
            arguments: arguments
                .into_iter()
                .map(|(name, value, _)| (name, value))
                .collect(),
        }
    }

    /// `NAME: value` or `- NAME=value`; a name alone comes from outside.
    fn pairs(&self, value: &Located) -> Vec<(String, Value, usize)> {
        let known = |text: &str| Value::from(self.word(text));
        match &value.value {
            Kind::Map(entries) => {
                let pair = |(name, value): &(String, Located)| {
                    let text = value.as_env();
                    (
                        name.clone(),
                        text.map_or(Value::Runtime, |text| known(&text)),
                        value.line,
                    )
                };
                entries.iter().map(pair).collect()
            }
            _ => {
                let items = value
                    .items()
                    .iter()
                    .filter_map(|item| Some((item.as_env()?, item.line)));
                items
                    .map(|(text, line)| match text.split_once('=') {
                        Some((name, value)) => (name.to_owned(), known(value), line),
                        None => (text, Value::Runtime, line),
                    })
                    .collect()
            }
        }
    }

    fn environment(&self, service: &Located, hosts: &mut Hosts) -> Env {
        let mut env = Env::default();
        for file in many(service.get("env_file")) {
            let path = file
                .text()
                .or_else(|| file.get("path")?.text())
                .unwrap_or_default();
            match self.project.text(&project_path(path)) {
                Some(text) => {
                    for (name, value) in dotenv(text) {
                        env.set(&name, Value::Known(value), path, 0);
                    }
                }
                None => env.unseen = Some(format!("`{}`", suggest::shorten(path))),
            }
        }
        if service.get("extends").is_some() {
            env.unseen = Some("another service that this one extends".to_owned());
        }
        if let Some(own) = service.get("environment") {
            for (name, value, line) in self.pairs(own) {
                if let Value::Known(text) = &value {
                    hosts.variables.push(Variable {
                        file: self.name.to_owned(),
                        line,
                        name: name.clone(),
                        value: text.clone(),
                    });
                }
                env.set(&name, value, self.name, line);
            }
        }
        env
    }

    fn service(&self, service: &Located, hosts: &mut Hosts, out: &mut Findings) {
        let recipe = self.recipe(service);
        let inline = service
            .get("build")
            .is_some_and(|build| build.get("dockerfile_inline").is_some());
        if !self.project.files.contains_key(&recipe.file) {
            if !inline && !recipe.file.contains('$') {
                let line = service
                    .get("build")
                    .map_or(service.line, |build| build.line);
                let what = format!("there is no `{}`", suggest::shorten(&recipe.file));
                out.add(&rules::COMPOSE_FILE, self.name, line, what);
            }
            return;
        }
        let Some(image) = hosts.build(self.project, &recipe, out) else {
            return;
        };
        let mut started = Started::of(Host::Compose, image);
        started.env = self.environment(service, hosts);
        let place = |value: &Located| Some(Place::new(self.name, value.line));
        if let Some(value) = service.get("command") {
            started.command = self.form(value);
            started.place = place(value);
        }
        if let Some(value) = service.get("entrypoint") {
            started.entry = self.form(value);
            started.place = place(value);
        }
        if let Some(folder) = self.text(service.get("working_dir")) {
            started.image.machine.workdir = folder;
        }
        if let Some(user) = service.get("user").and_then(Located::as_env) {
            let place = Place::new(self.name, service.line);
            started.image.user = Some(Said {
                value: self.word(&user),
                place,
            });
        }
        self.health(service, &mut started);
        self.volumes(service, &mut started);
        for port in many(service.get("ports")) {
            started.connects.extend(self.connection(port));
        }
        let limits = service
            .get("deploy")
            .and_then(|d| d.get("resources")?.get("limits")?.get("memory"));
        if let Some(memory) = service.get("mem_limit").or(limits)
            && let Some(bytes) = memory
                .as_env()
                .and_then(|text| bytes(&self.word(&text).text))
        {
            hosts
                .machines
                .push((bytes, Place::new(self.name, memory.line)));
        }
        hosts.start(started, out);
    }

    fn health(&self, service: &Located, started: &mut Started) {
        let Some(check) = service.get("healthcheck") else {
            return;
        };
        let line = check.get("test").map_or(check.line, |test| test.line);
        let place = Place::new(self.name, line);
        let off = check
            .get("disable")
            .is_some_and(|off| off.value == Kind::Bool(true));
        let form = match check.get("test").and_then(|test| self.form_of_test(test)) {
            Some(form) => Some(form),
            None if off => None,
            None => return,
        };
        started.image.health = Some(Said { value: form, place });
    }

    /// A text is for the shell; the first word of a list says whether it is, too.
    fn form_of_test(&self, test: &Located) -> Option<Form> {
        if let Some(text) = test.text() {
            return Some(Form::Shell(self.word(text).text));
        }
        let words = test.items().iter().filter_map(Located::as_env);
        let words: Vec<String> = words.map(|word| self.word(&word).text).collect();
        match words.split_first() {
            Some((kind, rest)) if kind == "CMD" => Some(Form::Words(rest.to_vec())),
            Some((kind, rest)) if kind == "CMD-SHELL" => Some(Form::Shell(rest.join(" "))),
            _ => None,
        }
    }

    /// Folders and files of the project that are mounted over those of the image, and volumes with
    /// unknown content.
    fn volumes(&self, service: &Located, started: &mut Started) {
        for volume in many(service.get("volumes")) {
            let (source, target) = match volume.text() {
                Some(text) => {
                    let text = self.word(text).text;
                    let mut parts = text.splitn(3, ':');
                    match (parts.next(), parts.next()) {
                        (Some(source), Some(target)) => (source.to_owned(), target.to_owned()),
                        _ => continue,
                    }
                }
                None => {
                    let said =
                        |key: &str| volume.get(key).and_then(Located::text).map(str::to_owned);
                    match (said("source"), said("target")) {
                        (Some(source), Some(target)) if said("type").as_deref() == Some("bind") => {
                            (source, target)
                        }
                        _ => continue,
                    }
                }
            };
            if !source.starts_with('.') {
                // A named volume starts with the image's content at that path; other paths do not
                // belong to the project.
                if source.starts_with(['/', '~', '$']) {
                    started.mounts.push(target);
                }
                continue;
            }
            let tree = &mut started.image.machine.tree;
            let own = project_path(&source);
            tree.remove(&target);
            tree.add_folder(&target);
            for path in self.project.files.keys() {
                if *path == own {
                    tree.add(&target, Origin::Project(path.clone()));
                } else if let Some(inside) = inside(path, &own) {
                    tree.add(&absolute(inside, &target), Origin::Project(path.clone()));
                }
            }
        }
    }

    /// The port inside the container: the last one of `8000:80`.
    fn connection(&self, port: &Located) -> Option<Connects> {
        let target = match port.get("target") {
            Some(target) => target.as_env()?,
            None => {
                let text = self.word(&port.as_env()?);
                let text = text.text.split('/').next()?.to_owned();
                text.rsplit(':').next()?.to_owned()
            }
        };
        Some(Connects {
            port: target.parse().ok()?,
            place: Place::new(self.name, port.line),
            key: "ports",
            rule: &rules::COMPOSE_PORT,
        })
    }
}

/// A path below a folder; every path is below the empty one.
fn inside<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return Some(path);
    }
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// `512m`, `1g`, `512mb`, `536870912`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    units::parse_bytes(&text).or_else(|| units::parse_bytes(&format!("{text}b")))
}
