//! `Dockerfile` and `.dockerignore`: what is built, what is in it, how it starts
//! (<https://docs.docker.com/reference/dockerfile/>).

use super::project::{HostFacts, Project, Shipped};
use super::rules::{self, Findings};
use super::secrets::Variable;
use super::start::{self, HEALTH_PATHS, Start};
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

/// An instruction with its first line.
struct Instruction {
    line: usize,
    name: String,
    rest: String,
}

/// Judges the Dockerfile, and takes from it what is compared between files.
pub(super) fn check(project: &Project, file: &str, facts: &mut HostFacts, out: &mut Findings) {
    let Some(text) = project.text(file) else {
        return;
    };
    let instructions = read(file, text, out);
    let mut image = Image::default();
    let mut stages: Vec<String> = Vec::new();
    for instruction in &instructions {
        let Instruction { line, name, rest } = instruction;
        let line = *line;
        match name.as_str() {
            "FROM" => {
                let words: Vec<&str> = rest
                    .split_whitespace()
                    .filter(|w| !w.starts_with("--"))
                    .collect();
                let base = words.first().copied().unwrap_or_default();
                base_image(file, line, base, &stages, out);
                let stage = match words.as_slice() {
                    [_, middle, name] if middle.eq_ignore_ascii_case("as") => (*name).to_owned(),
                    _ => stages.len().to_string(),
                };
                let inherited = image.stages_user(base);
                stages.push(stage.clone());
                image.begin(stage, base, inherited);
            }
            "COPY" | "ADD" => copy(project, file, instruction, &stages, &mut image, out),
            "ENV" => {
                for (name, value) in env(rest) {
                    facts.variables.push(Variable {
                        file: file.to_owned(),
                        line,
                        name,
                        value,
                    });
                }
            }
            "ARG" => {
                if let Some((name, value)) = rest.split_once('=') {
                    facts.variables.push(Variable {
                        file: file.to_owned(),
                        line,
                        name: name.trim().to_owned(),
                        value: unquote(value),
                    });
                }
            }
            "EXPOSE" => image.exposed = Some((rest.clone(), line)),
            "USER" => image.user = Some(rest.clone()),
            "CMD" => image.command = Some((rest.clone(), line)),
            "ENTRYPOINT" => image.entry = Some((rest.clone(), line)),
            "HEALTHCHECK" => healthcheck(file, line, rest, out),
            "RUN" if rest.contains("pip install") || rest.contains("pip3 install") => {
                image.python = Some(line);
            }
            _ => {}
        }
    }
    if stages.is_empty() {
        out.add(&rules::DOCKER_SYNTAX, file, 1, "there is no FROM");
        return;
    }
    image.judge(project, file, facts, out);
}

/// The last stage so far: it is what is deployed.
#[derive(Default)]
struct Image {
    first_line: usize,
    base: String,
    user: Option<String>,
    users: Vec<(String, Option<String>)>,
    command: Option<(String, usize)>,
    entry: Option<(String, usize)>,
    exposed: Option<(String, usize)>,
    python: Option<usize>,
    stage: String,
    copies: Vec<String>,
    renamed: Vec<(String, String)>,
}

impl Image {
    fn begin(&mut self, stage: String, base: &str, user: Option<String>) {
        let finished = (std::mem::take(&mut self.stage), self.user.take());
        self.users.push(finished);
        *self = Self {
            base: base.to_owned(),
            stage,
            user,
            users: std::mem::take(&mut self.users),
            ..Self::default()
        };
    }

    /// The user of an earlier stage, if `base` is one.
    fn stages_user(&self, base: &str) -> Option<String> {
        if self.stage == base {
            return self.user.clone();
        }
        let found = self.users.iter().find(|(name, _)| name == base);
        found.and_then(|(_, user)| user.clone())
    }

    fn judge(self, project: &Project, file: &str, facts: &mut HostFacts, out: &mut Findings) {
        let root = self.user.as_deref().is_none_or(|user| {
            let name = user.split(':').next().unwrap_or_default().trim();
            name == "root" || name == "0"
        });
        if root && !self.base.contains("nonroot") {
            out.add(
                &rules::DOCKER_ROOT,
                file,
                self.first_line.max(1),
                "the last stage names no other user",
            );
        }
        if let Some(line) = self.python {
            out.add(
                &rules::PYTHON_LEFT,
                file,
                line,
                "`pip install` in the last stage",
            );
        }
        facts.renamed.extend(self.renamed);
        for copy in self.copies {
            facts.shipped.push(Shipped { source: copy });
        }
        let words = |text: &str| -> Option<Vec<String>> {
            text.starts_with('[')
                .then(|| serde_json::from_str(text).ok())
                .flatten()
        };
        let (start, line) = match (&self.entry, &self.command) {
            (None, None) => {
                if facts.starts.is_empty() {
                    out.add(
                        &rules::DOCKER_CMD,
                        file,
                        None,
                        "the last stage has neither CMD nor ENTRYPOINT",
                    );
                }
                return;
            }
            (None, Some((text, line))) | (Some((text, line)), None) => (
                words(text).map_or_else(
                    || Start::of_shell(file, *line, text),
                    |words| Start::of_words(file, *line, words),
                ),
                *line,
            ),
            (Some((entry, line)), Some((command, _))) => match (words(entry), words(command)) {
                (Some(mut entry), Some(command)) => {
                    entry.extend(command);
                    (Start::of_words(file, *line, entry), *line)
                }
                _ => (Start::of_shell(file, *line, entry), *line),
            },
        };
        for text in [&self.entry, &self.command].into_iter().flatten() {
            if text.0.starts_with('[') && words(&text.0).is_none() {
                out.add(
                    &rules::DOCKER_SYNTAX,
                    file,
                    text.1,
                    "the list of words is not valid JSON: a shell would get it as it stands",
                );
                return;
            }
        }
        if let Some(serve) = start.serve(&project.flags) {
            if let (Some((exposed, at)), Some(port)) = (&self.exposed, serve.port())
                && !port.contains("PORT")
                && exposed.split('/').next() != Some(port)
                && !exposed.contains('$')
            {
                out.add(
                    &rules::DOCKER_PORT,
                    file,
                    *at,
                    format!("EXPOSE {exposed}, but the server binds {port}"),
                );
            }
            if let Some(model) = &serve.model
                && !project.is_shipped(model, facts)
                && project.named_like(model, facts).is_some()
            {
                out.add(
                    &rules::DOCKER_MODEL,
                    file,
                    line,
                    format!(
                        "`{}` is not copied into the last stage",
                        suggest::shorten(model)
                    ),
                );
            }
        }
        facts.starts.push(start);
    }
}

fn read(file: &str, text: &str, out: &mut Findings) -> Vec<Instruction> {
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((i, line)) = lines.next() {
        let mut whole = line.trim().to_owned();
        if whole.is_empty() || whole.starts_with('#') {
            continue;
        }
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            if next.trim_start().starts_with('#') {
                whole.push('\\');
            } else {
                whole.push(' ');
                whole.push_str(next.trim());
            }
        }
        // Here-documents: `RUN <<EOF` up to the line `EOF`.
        if let Some((_, mark)) = whole.split_once("<<") {
            let mark: String = mark
                .trim_start_matches(['-', '"', '\''])
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !mark.is_empty() && whole.to_ascii_uppercase().starts_with("RUN") {
                for (_, next) in lines.by_ref() {
                    if next.trim() == mark {
                        break;
                    }
                }
            }
        }
        let (name, rest) = whole
            .split_once(char::is_whitespace)
            .unwrap_or((&whole, ""));
        let name = name.to_ascii_uppercase();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            let near = suggest::nearest(&name, &INSTRUCTIONS)
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            out.add(
                &rules::DOCKER_SYNTAX,
                file,
                i + 1,
                format!(
                    "there is no instruction `{}`{near}",
                    suggest::shorten(&name)
                ),
            );
            continue;
        }
        instructions.push(Instruction {
            line: i + 1,
            name,
            rest: rest.trim().to_owned(),
        });
    }
    instructions
}

fn base_image(file: &str, line: usize, base: &str, stages: &[String], out: &mut Findings) {
    let own = stages.iter().any(|stage| stage == base);
    if own || base == "scratch" || base.contains('$') || base.contains("@sha256:") {
        return;
    }
    let name = base.rsplit('/').next().unwrap_or_default();
    let tag = name.split_once(':').map(|(_, tag)| tag);
    if tag.is_none_or(|tag| tag == "latest") {
        out.add(
            &rules::DOCKER_LATEST,
            file,
            line,
            format!("`FROM {}`", suggest::shorten(base)),
        );
    }
}

fn copy(
    project: &Project,
    file: &str,
    instruction: &Instruction,
    stages: &[String],
    image: &mut Image,
    out: &mut Findings,
) {
    let line = instruction.line;
    let mut words = start::split(&instruction.rest);
    if instruction.rest.starts_with('[') {
        words = serde_json::from_str(&instruction.rest).unwrap_or_default();
    }
    let from = words
        .iter()
        .find_map(|w| w.strip_prefix("--from="))
        .map(str::to_owned);
    let checked = words.iter().any(|w| w.starts_with("--checksum="));
    words.retain(|word| !word.starts_with("--"));
    if words.len() < 2 {
        out.add(
            &rules::DOCKER_SYNTAX,
            file,
            line,
            format!("{} needs a source and a destination", instruction.name),
        );
        return;
    }
    let destination = words.pop().unwrap_or_default();
    if let Some(from) = from {
        // An image of a registry has a slash, a dot or a colon.
        let earlier = &stages[..stages.len().saturating_sub(1)];
        let number = from.parse::<usize>().is_ok_and(|n| n < earlier.len());
        let known = earlier.contains(&from) || number || from.contains(['/', '.', ':', '$']);
        if !known {
            out.add(
                &rules::DOCKER_STAGE,
                file,
                line,
                format!("there is no earlier stage `{}`", suggest::shorten(&from)),
            );
        }
        return;
    }
    let alone = words.len() == 1;
    for source in words {
        if source.contains("://") {
            if !checked {
                out.add(
                    &rules::DOCKER_ADD_URL,
                    file,
                    line,
                    format!("`{}`", suggest::shorten(&source)),
                );
            }
            continue;
        }
        let source = source.trim_start_matches("./").trim_matches('/').to_owned();
        let known = source.contains('$')
            || source.is_empty()
            || source == "."
            || project
                .files
                .keys()
                .any(|path| covers(&source, path) && !project.is_ignored(path));
        if !known {
            out.add(
                &rules::DOCKER_COPY,
                file,
                line,
                format!("there is no `{}` to copy", suggest::shorten(&source)),
            );
        }
        if alone && !destination.ends_with(['/', '.']) {
            image.renamed.push((destination.clone(), source.clone()));
        }
        image.copies.push(source);
    }
}

/// Whether a source of COPY brings a file along.
pub(super) fn covers(source: &str, path: &str) -> bool {
    source.is_empty()
        || source == "."
        || matches_pattern(source, path)
        || path
            .strip_prefix(source)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a pattern with `*`, `?` and `**` is the whole path.
pub(super) fn matches_pattern(pattern: &str, path: &str) -> bool {
    fn inside(pattern: &[u8], path: &[u8], budget: &mut usize) -> bool {
        // Many stars make many ways: a hostile pattern is given up.
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', b'/', rest @ ..] => {
                inside(rest, path, budget)
                    || (0..path.len())
                        .any(|i| path[i] == b'/' && inside(rest, &path[i + 1..], budget))
            }
            [b'*', b'*'] => true,
            [b'*', rest @ ..] => {
                let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                (0..=end).any(|i| inside(rest, &path[i..], budget))
            }
            [b'?', rest @ ..] => {
                path.first().is_some_and(|b| *b != b'/') && inside(rest, &path[1..], budget)
            }
            [c, rest @ ..] => path.first() == Some(c) && inside(rest, &path[1..], budget),
        }
    }
    inside(pattern.as_bytes(), path.as_bytes(), &mut 10_000)
}

/// `NAME=value NAME="b c"`, or `NAME value` in the old form.
fn env(rest: &str) -> Vec<(String, String)> {
    let words = start::split(rest);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        return vec![(name.to_owned(), unquote(value))];
    }
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn unquote(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

fn healthcheck(file: &str, line: usize, rest: &str, out: &mut Findings) {
    let Some(at) = rest.find("://") else { return };
    let url: String = rest[at + 3..]
        .chars()
        .take_while(|c| !c.is_whitespace() && !"\"',]".contains(*c))
        .collect();
    let path = url.find('/').map_or("/", |at| &url[at..]);
    let path = path.split('?').next().unwrap_or_default();
    if !HEALTH_PATHS.contains(&path) {
        out.add(
            &rules::HEALTH_NOT_SERVED,
            file,
            line,
            format!("`{}`", suggest::shorten(path)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, matches) in [
            ("*.h5", "a.h5", true),
            ("*.h5", "b/a.h5", false),
            ("**/*.h5", "b/c/a.h5", true),
            ("**/*.h5", "a.h5", true),
            ("models/*", "models/a", true),
            ("models/**", "models/b/a", true),
            ("?.x", "a.x", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches_pattern(pattern, path), matches, "{pattern} {path}");
        }
        assert!(!matches_pattern(&"*a".repeat(60), &"a".repeat(60_000)));
        assert!(covers("models", "models/x/y") && !covers("model", "models/x"));
    }
}
