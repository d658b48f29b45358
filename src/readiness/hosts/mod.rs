//! The files of hosts: what each one orders, sets and starts.
//!
//! In: the project. Out: findings about the files themselves, and a [`Deployment`] for each server
//! that a host starts, with the container as that host makes it. Rules about the started program
//! are in `judge`, not here.

mod compose;
mod fly;
mod procfile;
mod railway;
mod render;
mod render_schema;

use super::image::base::Base;
use super::image::env::{Env, Place};
use super::image::files::{Origin, absolute};
use super::image::run::Machine;
use super::image::{Build, Form, Image, Recipe};
use super::launch::Container;
use super::launch::shell::{self, Value, Word};
use super::located::Located;
use super::project::Project;
use super::rules::{self, Findings, Rule};
use super::secrets::Variable;
use crate::text as suggest;

/// The host that starts a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Render,
    Fly,
    Railway,
    /// Heroku and similar hosts.
    Procfile,
    Compose,
    /// An image that no host's file mentions.
    Docker,
}

/// A port to which a host connects, and the rule to report if nothing listens there.
#[derive(Clone, Debug)]
pub(crate) struct Connects {
    pub(crate) port: u16,
    pub(crate) place: Place,
    pub(crate) key: &'static str,
    pub(crate) rule: &'static Rule,
}

/// A server that a host starts.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) host: Host,
    pub(crate) container: Container,
    /// The commands of the other reading, if a host's documentation allows two.
    pub(crate) otherwise: Option<Vec<Word>>,
    /// The image, if there is one.
    pub(crate) image: Option<Image>,
    pub(crate) connects: Vec<Connects>,
    /// Folders that a disk of the host hides.
    pub(crate) mounts: Vec<String>,
    /// Whether the host's file sets the command.
    pub(crate) overrides: bool,
}

/// The content of the files of hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) builds: Vec<(Recipe, Build)>,
    pub(crate) variables: Vec<Variable>,
    /// Whether a host runs the repository itself, without a container.
    pub(crate) native: bool,
    /// Ordered plans, as platforms, with their places.
    pub(crate) plans: Vec<(String, Place)>,
    /// Whether Fly's file leaves the machine's size to Fly.
    pub(crate) fly_default: bool,
    /// Ordered memory of machines.
    pub(crate) machines: Vec<(u64, Place)>,
    /// Seconds between SIGTERM and SIGKILL, and the rule to report if they are too few.
    pub(crate) graces: Vec<(f64, Place, &'static Rule)>,
}

/// Reads the files of all hosts, and the Dockerfiles that none of them names.
pub(crate) fn read(project: &Project, out: &mut Findings) -> Hosts {
    let mut hosts = Hosts::default();
    render::read(project, &mut hosts, out);
    procfile::read(project, &mut hosts, out);
    fly::read(project, &mut hosts, out);
    railway::read(project, &mut hosts, out);
    compose::read(project, &mut hosts, out);
    for file in project.files.keys().filter(|file| is_dockerfile(file)) {
        let used = hosts.builds.iter().any(|(recipe, _)| recipe.file == *file);
        let overridden = |d: &Deployment| {
            let image = d.image.as_ref();
            d.overrides && image.is_some_and(|image| image.file == *file)
        };
        if !used || hosts.deployments.iter().any(overridden) {
            let recipe = Recipe {
                file: file.clone(),
                context: context_of(project, file),
                ..Recipe::default()
            };
            hosts.alone(project, &recipe, out);
        }
    }
    for (_, build) in &hosts.builds {
        hosts.variables.extend(build.variables.iter().cloned());
    }
    hosts
}

/// The folder that COPY sees if no file says it: the project's, unless only the Dockerfile's own
/// folder has the files that are copied.
fn context_of(project: &Project, file: &str) -> String {
    let Some((folder, _)) = file.rsplit_once('/') else {
        return String::new();
    };
    let missing = |context: &str| {
        let recipe = Recipe {
            file: file.to_owned(),
            context: context.to_owned(),
            ..Recipe::default()
        };
        Build::read(project, &recipe).missing_sources()
    };
    if missing("") > missing(folder) {
        folder.to_owned()
    } else {
        String::new()
    }
}

impl Hosts {
    /// The build of a Dockerfile, read once.
    fn build(&mut self, project: &Project, recipe: &Recipe, out: &mut Findings) -> Option<Image> {
        let known = self.builds.iter().position(|(other, _)| other == recipe);
        let at = known.unwrap_or_else(|| {
            self.builds
                .push((recipe.clone(), Build::read(project, recipe)));
            self.builds.len() - 1
        });
        let build = &self.builds[at].1;
        build.report_problems(out);
        let image = build.image(recipe.target.as_deref());
        if let Some(image) = image {
            build.report(image, out);
        } else if let Some(target) = &recipe.target {
            let what = format!("there is no stage `{}` to build", suggest::shorten(target));
            out.add(&rules::DOCKER_STAGE, &recipe.file, None, what);
        }
        image.filter(|_| !build.is_broken()).cloned()
    }

    /// A Dockerfile as it is started without a host's file.
    fn alone(&mut self, project: &Project, recipe: &Recipe, out: &mut Findings) {
        let Some(image) = self.build(project, recipe, out) else {
            return;
        };
        let mut started = Started::of(Host::Docker, image);
        let platform = project.settings.platform.as_deref().unwrap_or_default();
        if started.image.machine.env.get("PORT") == Value::Unset && !platform.starts_with("fly-") {
            // Most hosts set a port, and this file does not say on which host it runs.
            started.env.set("PORT", Value::Runtime, "", 0);
        }
        self.start(started, out);
    }

    fn start(&mut self, started: Started, out: &mut Findings) {
        let Started {
            host,
            image,
            env,
            entry,
            command,
            place,
            connects,
            mounts,
        } = started;
        let overrides = entry.is_some() || command.is_some();
        let (own_entry, own_command) = match (&entry, &command) {
            // A host that gives an entry point drops the image's command.
            (Some(_), _) => (None, None),
            (None, Some(_)) => (image.entry.as_ref(), None),
            (None, None) => (image.entry.as_ref(), image.command.as_ref()),
        };
        let said = own_command.or(own_entry);
        let place = place.or(said.map(|said| said.place.clone()));
        let argv = image.argv(
            entry.as_ref().or(own_entry.map(|said| &said.value)),
            command.as_ref().or(own_command.map(|said| &said.value)),
        );
        let place = place.unwrap_or_else(|| Place::new(&image.file, image.line));
        if argv.is_empty() {
            let (rule, what) = if image.base.may_hold_files() {
                (
                    &rules::START_UNKNOWN,
                    "the base image decides what is started",
                )
            } else {
                (
                    &rules::DOCKER_CMD,
                    "the last stage has neither CMD nor ENTRYPOINT",
                )
            };
            return out.add(rule, &image.file, None, what);
        }
        let mut machine = image.machine.clone();
        machine.env.extend(&env);
        let mut mounts = mounts;
        if host == Host::Docker {
            mounts.extend(image.volumes.iter().cloned());
        }
        self.deployments.push(Deployment {
            host,
            container: Container {
                place,
                argv,
                base: image.base.clone(),
                machine,
            },
            otherwise: None,
            image: Some(image),
            connects,
            mounts,
            overrides,
        });
    }

    /// A server that a host runs in the repository itself, in a shell.
    fn native(&mut self, project: &Project, native: Native<'_>) {
        self.native = true;
        let mut machine = Machine {
            workdir: "/repository".to_owned(),
            env: native.env,
            ..Machine::default()
        };
        for path in project.files.keys() {
            machine.tree.add(
                &absolute(path, "/repository"),
                Origin::Project(path.clone()),
            );
        }
        machine.workdir = absolute(native.folder, "/repository");
        if let Some(build) = native.build {
            machine.run(build, "the build command decides");
            // A build makes programs. Only its downloads show what it does about models.
            if !may_make_models(build) {
                machine.tree.forget_unseen();
            }
        }
        let argv = ["/bin/sh", "-c", native.command]
            .map(Word::literal)
            .to_vec();
        self.deployments.push(Deployment {
            host: native.host,
            container: Container {
                place: native.place,
                argv,
                base: Base::host(),
                machine,
            },
            otherwise: None,
            image: None,
            connects: Vec::new(),
            mounts: native.mounts,
            overrides: true,
        });
    }
}

/// A container that a host starts from an image, with the host's own settings.
struct Started {
    host: Host,
    image: Image,
    env: Env,
    entry: Option<Form>,
    command: Option<Form>,
    /// The place of the host's command.
    place: Option<Place>,
    connects: Vec<Connects>,
    mounts: Vec<String>,
}

impl Started {
    fn of(host: Host, image: Image) -> Self {
        Self {
            host,
            image,
            env: Env::default(),
            entry: None,
            command: None,
            place: None,
            connects: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

/// A server without a container.
struct Native<'a> {
    host: Host,
    place: Place,
    command: &'a str,
    build: Option<&'a str>,
    /// The folder in which it runs.
    folder: &'a str,
    env: Env,
    mounts: Vec<String>,
}

/// Whether a build command may download or make a model.
fn may_make_models(build: &str) -> bool {
    let words = [
        "curl", "wget", "download", "git ", "dermal", ".sh", "make", "python", "aws", "gsutil",
        "unzip", "tar ",
    ];
    words.iter().any(|word| build.contains(word))
}

/// Whether a file's name is that of a Dockerfile.
pub(crate) fn is_dockerfile(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name, "Dockerfile" | "Containerfile" | "dockerfile")
}

/// A path of the project as host files write it: `./a`, `/a`.
fn project_path(text: &str) -> String {
    absolute(text, "/").trim_start_matches('/').to_owned()
}

/// A path below a folder of the project.
fn below(folder: &str, path: &str) -> String {
    project_path(&absolute(path, &format!("/{folder}")))
}

/// Adopts a variable, for rules about secrets and for the container.
fn variable(hosts: &mut Hosts, env: &mut Env, place: Place, name: &str, value: &Located) {
    if let Some(text) = value.as_env() {
        env.set(name, Value::Known(text.clone()), &place.file, place.line);
        hosts.variables.push(Variable {
            file: place.file,
            line: place.line,
            name: name.to_owned(),
            value: text,
        });
    }
}

/// The words of a line that no shell reads.
fn words_of(text: &str) -> Form {
    Form::Words(shell::split(text))
}

/// Paths at which the server says whether it is ready: 503 if a model cannot be loaded.
const READY_PATHS: [&str; 4] = [
    "/health",
    "/readyz",
    "/v2/health/ready",
    "/v2/models/dermal/ready",
];

/// Paths at which it answers as long as it is alive.
const ALIVE_PATHS: [&str; 10] = [
    "/livez",
    "/v2/health/live",
    "/",
    "/metrics",
    "/memory",
    "/version",
    "/v2",
    "/docs",
    "/openapi.json",
    "/page.js",
];

/// Whether a path belongs to the server, and whether it fails for a broken model.
pub(crate) fn health(file: &str, line: usize, path: &str, out: &mut Findings) {
    let plain = path.split(['?', '#']).next().unwrap_or_default();
    let plain = if plain.len() > 1 {
        plain.trim_end_matches('/')
    } else {
        plain
    };
    let model = plain.starts_with("/v2/models/") && plain.ends_with("/ready");
    let shown = format!("`{}`", suggest::shorten(path));
    if ALIVE_PATHS.contains(&plain) {
        out.add(&rules::HEALTH_ALIVE_ONLY, file, line, shown);
    } else if !READY_PATHS.contains(&plain) && !model {
        out.add(&rules::HEALTH_NOT_SERVED, file, line, shown);
    }
}
