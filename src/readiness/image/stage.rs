//! FROM, COPY and ADD: where a stage begins, and which files it gets.

use std::collections::BTreeSet;

use super::base::Base;
use super::dockerfile::{self, Instruction};
use super::env::Env;
use super::files::{Origin, Tree, absolute, base_name};
use super::run::{Machine, is_folder};
use super::{Builder, Image, pattern};
use crate::readiness::launch::shell::Value;
use crate::readiness::rules;
use crate::text as suggest;

/// Names of Docker's library that COPY --from may take from a registry.
const LIBRARY: [&str; 20] = [
    "alpine",
    "busybox",
    "debian",
    "ubuntu",
    "nginx",
    "golang",
    "rust",
    "node",
    "python",
    "ruby",
    "redis",
    "postgres",
    "caddy",
    "traefik",
    "composer",
    "docker",
    "memcached",
    "httpd",
    "gcc",
    "php",
];

/// Archives that ADD unpacks.
const ARCHIVES: [&str; 8] = [
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst",
];

impl Builder<'_> {
    pub(super) fn from(&mut self, instruction: &Instruction) {
        let line = instruction.line;
        let words: Vec<&str> = instruction.rest.split_whitespace().collect();
        let raw = words.first().copied().unwrap_or_default();
        // Only ARGs before the first FROM count here.
        self.arguments = Env::default();
        let global = self.global.clone();
        let stages = std::mem::take(&mut self.build.stages);
        self.arguments = global;
        let base = self.word(raw);
        self.build.stages = stages;
        self.arguments = Env::default();
        let name = match words.as_slice() {
            [_, middle, name] if middle.eq_ignore_ascii_case("as") => {
                Some(name.to_ascii_lowercase())
            }
            [_] => None,
            _ => {
                let what = "FROM takes an image, and `AS name`";
                return self.problem(&rules::DOCKER_SYNTAX, line, what);
            }
        };
        let broken = base.text.is_empty() || base.text.ends_with([':', '@', '/']);
        if broken && !base.runtime {
            let what = format!(
                "no value is given for `{}`, so there is no base image",
                suggest::shorten(raw)
            );
            self.problem(&rules::DOCKER_SYNTAX, line, what);
        }
        let image = match self.build.stage(&base.text).filter(|_| !base.runtime) {
            Some(stage) => Image {
                line,
                name,
                python: None,
                ..stage.clone()
            },
            None => self.fresh(line, name, &base.text, base.runtime || broken),
        };
        self.build.stages.push(image);
    }

    fn fresh(&mut self, line: usize, name: Option<String>, reference: &str, open: bool) -> Image {
        let base = if open {
            Base::unknown(reference)
        } else {
            Base::of(reference)
        };
        let tag = reference
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .split_once(':');
        let floats = tag.is_none_or(|(_, tag)| tag == "latest");
        if !open && reference != "scratch" && !reference.contains("@sha256:") && floats {
            let what = format!("`FROM {}`", suggest::shorten(reference));
            self.problem(&rules::DOCKER_LATEST, line, what);
        }
        let mut machine = Machine {
            workdir: "/".to_owned(),
            ..Machine::default()
        };
        if base.may_hold_files() {
            let why = format!(
                "the base image `{}` is not known",
                suggest::shorten(reference)
            );
            machine.tree.add_unseen("/", &why);
            machine.env.set("PATH", Value::Runtime, "", 0);
        } else {
            let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            machine
                .env
                .set("PATH", Value::Known(path.to_owned()), "", 0);
        }
        Image {
            file: self.recipe.file.clone(),
            line,
            name,
            base,
            machine,
            user: None,
            shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            entry: None,
            command: None,
            health: None,
            exposed: Vec::new(),
            volumes: Vec::new(),
            python: None,
        }
    }

    pub(super) fn copy(&mut self, instruction: &Instruction) {
        let line = instruction.line;
        let mut words: Vec<_> = dockerfile::sources(instruction)
            .iter()
            .map(|word| self.word(word))
            .collect();
        if words.len() < 2 {
            let what = format!("{} needs a source and a destination", instruction.name);
            return self.problem(&rules::DOCKER_SYNTAX, line, what);
        }
        let Some(target) = words.pop() else { return };
        let why = self.why("a file that only a build makes", line);
        let Some(image) = self.build.stages.last() else {
            return;
        };
        let workdir = image.machine.workdir.clone();
        if target.runtime || words.iter().any(|word| word.runtime) {
            return self.tree(|tree| tree.add_unseen("/", &why));
        }
        let path = absolute(&target.text, &workdir);
        let many = words.len() > 1;
        let folder_meant = many || target.text.ends_with(['/', '.']);
        let into = folder_meant || is_folder(&image.machine.tree, &path);
        for (word, at) in words.iter().zip(0..) {
            let place = if into {
                absolute(base_name(&word.text), &path)
            } else {
                path.clone()
            };
            if let Some(mark) = word.text.strip_prefix("<<") {
                let mark = mark.trim_start_matches('-').replace(['"', '\''], "");
                let document = instruction.documents.iter().find(|d| d.mark == mark);
                let place = if into { absolute(&mark, &path) } else { place };
                let text = document.map_or(String::new(), |document| document.text.clone());
                self.tree(|tree| tree.add(&place, Origin::Text(text)));
            } else if let Some(from) = instruction.flag("--from") {
                self.take_from_stage(line, from, &word.text, &path, into);
            } else if word.text.contains("://") || word.text.starts_with("git@") {
                if instruction.flag("--checksum").is_none() && word.text.starts_with("http") {
                    let what = format!("`{}`", suggest::shorten(&word.text));
                    self.problem(&rules::DOCKER_ADD_URL, line, what);
                }
                let url = word.text.split(['?', '#']).next().unwrap_or_default();
                let place = if into {
                    absolute(base_name(url), &path)
                } else {
                    place
                };
                let why = self.why("it is downloaded when the image is built", line);
                let repository = word.text.contains(".git");
                self.tree(|tree| {
                    tree.add(&place, Origin::unseen(url, &why));
                    if repository {
                        tree.add_unseen(&path, &why);
                    }
                });
            } else {
                let first = at == 0 && !many;
                self.take_from_context(instruction, &word.text, &path, into, first);
            }
        }
    }

    fn tree(&mut self, change: impl FnOnce(&mut Tree)) {
        if let Some(image) = self.build.stages.last_mut() {
            change(&mut image.machine.tree);
        }
    }

    fn take_from_stage(&mut self, line: usize, from: &str, source: &str, target: &str, into: bool) {
        let name = self.word(from);
        let current = self.build.stages.len() - 1;
        let earlier = self.build.stages[..current].iter().rposition(|stage| {
            stage.name.as_deref() == Some(name.text.to_ascii_lowercase().as_str())
        });
        let number = name.text.parse::<usize>().ok().filter(|n| *n < current);
        let source = absolute(source, "/");
        let Some(stage) = earlier.or(number) else {
            let reference =
                name.text.contains(['/', '.', ':']) || LIBRARY.contains(&name.text.as_str());
            if !reference && !name.runtime {
                let what = format!(
                    "there is no earlier stage `{}`",
                    suggest::shorten(&name.text)
                );
                self.problem(&rules::DOCKER_STAGE, line, what);
            }
            let why = self.why("it comes from another image", line);
            return self.tree(|tree| {
                let place = if into {
                    absolute(base_name(&source), target)
                } else {
                    target.to_owned()
                };
                tree.add(&place, Origin::unseen(&source, &why));
                tree.add_unseen(target, &why);
            });
        };
        let other = self.build.stages[stage].machine.tree.clone();
        let known_base = !self.build.stages[stage].base.may_hold_files();
        let mut found = true;
        self.tree(|tree| found = tree.copy(&other, &source, target, into));
        if found {
            return;
        }
        let system = [
            "/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/var", "/root", "/opt",
        ];
        let own = system
            .iter()
            .any(|folder| super::files::is_below(&source, folder));
        if known_base && (!own || self.build.stages[stage].base.is_empty()) {
            let what = format!(
                "there is no `{}` in the stage `{}`",
                suggest::shorten(&source),
                suggest::shorten(&name.text)
            );
            self.problem(&rules::DOCKER_COPY, line, what);
        }
        let why = self.why("it comes from another image", line);
        self.tree(|tree| {
            let place = if into {
                absolute(base_name(&source), target)
            } else {
                target.to_owned()
            };
            tree.add(&place, Origin::unseen(&source, &why));
        });
    }

    /// A source in the project: a file, a folder whose content is copied, or a pattern.
    fn take_from_context(
        &mut self,
        instruction: &Instruction,
        source: &str,
        target: &str,
        into: bool,
        alone: bool,
    ) {
        let plain = absolute(source, "/");
        let plain = plain.trim_start_matches('/');
        let excluded: Vec<&str> = instruction
            .flags
            .iter()
            .filter(|(name, _)| name == "--exclude")
            .map(|(_, pattern)| pattern.as_str())
            .collect();
        let files: Vec<(String, String)> = self
            .context()
            .filter(|(inside, _)| pattern::covers(plain, inside))
            .filter(|(inside, _)| {
                !excluded
                    .iter()
                    .any(|pattern| pattern::covers(pattern, inside))
            })
            .collect();
        if files.is_empty() {
            let wild = plain.contains(['*', '?', '[']);
            if !plain.is_empty() && (!wild || alone) {
                let what = format!("there is no `{}` to copy", suggest::shorten(source));
                self.problem(&rules::DOCKER_COPY, instruction.line, what);
            }
        }
        let parents = instruction.flag("--parents").is_some();
        let archive = instruction.name == "ADD" && ARCHIVES.iter().any(|end| plain.ends_with(end));
        let why = self.why("an archive is unpacked", instruction.line);
        let mut folders = BTreeSet::new();
        self.tree(|tree| {
            if archive {
                return tree.add_unseen(target, &why);
            }
            for (inside, own) in files {
                // The part of the path below the source; empty if the source is the file itself.
                let below = below(plain, &inside);
                let place = if parents {
                    absolute(&inside, target)
                } else if below.is_empty() {
                    if into {
                        absolute(base_name(&inside), target)
                    } else {
                        target.to_owned()
                    }
                } else {
                    folders.insert(target.to_owned());
                    absolute(below, target)
                };
                tree.add(&place, Origin::Project(own));
            }
            for folder in folders {
                tree.add_folder(&folder);
            }
        });
    }

    /// Files that COPY sees: their paths in the context and in the project.
    fn context(&self) -> impl Iterator<Item = (String, String)> + use<'_> {
        let context = self.recipe.context.clone();
        let beside = format!("{}.dockerignore", self.recipe.file);
        let own = if context.is_empty() {
            ".dockerignore".to_owned()
        } else {
            format!("{context}/.dockerignore")
        };
        let ignored = self
            .project
            .text(&beside)
            .or_else(|| self.project.text(&own));
        let ignored = ignored.unwrap_or_default();
        self.project.files.keys().filter_map(move |path| {
            let inside = if context.is_empty() {
                path.as_str()
            } else {
                path.strip_prefix(context.as_str())?.strip_prefix('/')?
            };
            (!pattern::is_ignored(ignored, inside)).then(|| (inside.to_owned(), path.clone()))
        })
    }
}

/// The part of a path below the source of COPY.
fn below<'a>(source: &str, path: &'a str) -> &'a str {
    if source.is_empty() {
        return path;
    }
    let mut end = 0;
    for part in path.split('/') {
        end += part.len();
        if pattern::matches(source, &path[..end]) {
            return path[end..].trim_start_matches('/');
        }
        end += 1;
    }
    ""
}
