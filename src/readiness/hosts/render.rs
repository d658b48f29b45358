//! Checks `render.yaml` against the published rules of Render's blueprints
//! (<https://render.com/docs/blueprint-spec>, read 2026-11; the schema is at
//! <https://render.com/schema/render.yaml.json>).

use super::render_schema::{ROOT, SPEAKER};
use super::{Deployment, Host, Hosts, Native, Started, below, health, project_path, variable};
use crate::readiness::image::base::Base;
use crate::readiness::image::env::{Env, Place};
use crate::readiness::image::run::Machine;
use crate::readiness::image::{Form, Recipe};
use crate::readiness::launch::Container;
use crate::readiness::launch::shell::{self, Value as Known, Word};
use crate::readiness::located::{self, Located, Value};
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings};
use crate::text as suggest;

/// The file's name: Render looks for it at the root of the repository.
const FILE: &str = "render.yaml";

/// Names that people use for it by mistake.
const WRONG_NAMES: [&str; 4] = [
    "render.yml",
    "Render.yaml",
    ".render.yaml",
    "render.yaml.yml",
];

/// Keys that only apply to containers, and keys that only apply to native runtimes.
const DOCKER_ONLY: [&str; 3] = ["dockerCommand", "dockerfilePath", "dockerContext"];
const NATIVE_ONLY: [&str; 2] = ["buildCommand", "startCommand"];

/// Keys that the free plan does not have.
const PAID: [&str; 4] = [
    "disk",
    "scaling",
    "maxShutdownDelaySeconds",
    "preDeployCommand",
];

/// A part of the file in which group names are looked up: the file itself, a project, or an
/// environment, each with the groups around it.
#[derive(Clone, Default)]
struct Scope<'a> {
    groups: Vec<&'a Located>,
}

impl<'a> Scope<'a> {
    fn inside(&self, part: &'a Located) -> Self {
        let own = part.get("envVarGroups").map_or(&[][..], Located::items);
        let groups = own.iter().chain(self.groups.iter().copied());
        Self {
            groups: groups.collect(),
        }
    }

    fn group(&self, name: &str) -> Option<&'a Located> {
        let named = |group: &&&Located| group.get("name").and_then(Located::text) == Some(name);
        self.groups.iter().find(named).copied()
    }
}

/// Reads the file: finds its mistakes, and the servers that it starts.
pub(super) fn read(project: &Project, hosts: &mut Hosts, out: &mut Findings) {
    let Some(text) = project.text(FILE) else {
        for name in WRONG_NAMES
            .iter()
            .filter(|name| project.files.contains_key(**name))
        {
            out.add(
                &rules::RENDER_FILE_NAME,
                name,
                None,
                format!("`{name}` is not `{FILE}`"),
            );
        }
        return;
    };
    let root = match located::yaml(text) {
        Ok(root) => root,
        Err(error) => {
            out.add(&rules::RENDER_SYNTAX, FILE, error.line, error.message);
            return;
        }
    };
    SPEAKER.check(FILE, "", &root, &ROOT, out);
    let top = Scope::default().inside(&root);
    let mut parts = vec![(&root, top.clone())];
    parts.extend(root.get("ungrouped").map(|part| (part, top.inside(part))));
    for own in root.get("projects").map_or(&[][..], Located::items) {
        let scope = top.inside(own);
        groups(own, hosts, out);
        for environment in own.get("environments").map_or(&[][..], Located::items) {
            parts.push((environment, scope.inside(environment)));
        }
    }
    let mut answers = false;
    let mut static_site = false;
    for (part, scope) in parts {
        groups(part, hosts, out);
        let services = part.get("services").map_or(&[][..], Located::items);
        duplicates(services, "name", out);
        for item in services {
            let kind = item.get("type").and_then(Located::text).unwrap_or_default();
            let own = item.get("repo").is_none();
            let mut env = Env::default();
            variables(item, &scope, &mut env, hosts, out);
            match kind {
                "web" if runtime_of(item) == Some("static") => static_site = true,
                "web" | "pserv" => {
                    answers = true;
                    if own {
                        service(project, item, env, hosts, out);
                    }
                }
                _ => {}
            }
        }
    }
    if !answers {
        let line = root.get("services").map_or(1, |services| services.line);
        let what = if static_site {
            "the only service of `type: web` is a static site"
        } else {
            "no service has `type: web`"
        };
        out.add(&rules::RENDER_NO_SERVICE, FILE, line, what);
    }
}

fn runtime_of(service: &Located) -> Option<&str> {
    let text = |key: &str| service.get(key).and_then(Located::text);
    text("runtime").or(text("env"))
}

fn duplicates(items: &[Located], key: &str, out: &mut Findings) {
    let mut seen = Vec::new();
    for item in items {
        let Some(name) = item.get(key) else { continue };
        let Some(text) = name.text() else { continue };
        if seen.contains(&text) {
            let what = format!("`{key}: {text}` is there twice");
            out.add(&rules::RENDER_DUPLICATE, FILE, name.line, what);
        }
        seen.push(text);
    }
}

/// The variables of groups, for rules about their own text.
fn groups(part: &Located, hosts: &mut Hosts, out: &mut Findings) {
    for group in part.get("envVarGroups").map_or(&[][..], Located::items) {
        let variables = group.get("envVars").map_or(&[][..], Located::items);
        duplicates(variables, "key", out);
        for item in variables {
            source(item, true, out);
            if let (Some(name), Some(value)) =
                (item.get("key").and_then(Located::text), item.get("value"))
            {
                variable(
                    hosts,
                    &mut Env::default(),
                    Place::new(FILE, value.line),
                    name,
                    value,
                );
            }
        }
    }
}

/// Whether a variable has one source. In a group it may have none: Render then asks for its value.
fn source(item: &Located, in_group: bool, out: &mut Findings) {
    const SOURCES: [&str; 6] = [
        "value",
        "generateValue",
        "sync",
        "fromService",
        "fromDatabase",
        "fromGroup",
    ];
    if !matches!(item.value, Value::Map(_)) {
        return;
    }
    let sources: Vec<&str> = SOURCES
        .into_iter()
        .filter(|name| item.get(name).is_some())
        .collect();
    let group = item.get("fromGroup").is_some();
    let key = item.get("key").and_then(Located::text);
    let enough = sources.len() == 1 || in_group && sources.is_empty();
    if !enough || key.is_none() != group {
        let found = if sources.is_empty() {
            "no source".to_owned()
        } else {
            sources.join(" and ")
        };
        let what = format!("`{}` has {found}", key.unwrap_or("a variable"));
        out.add(&rules::RENDER_ENV, FILE, item.line, what);
    }
}

/// The environment of a service: its groups, overridden by its own variables.
fn variables(
    service: &Located,
    scope: &Scope<'_>,
    env: &mut Env,
    hosts: &mut Hosts,
    out: &mut Findings,
) {
    let items = service.get("envVars").map_or(&[][..], Located::items);
    duplicates(items, "key", out);
    env.set("PORT", Known::Runtime, FILE, service.line);
    let mut own = Env::default();
    for item in items {
        source(item, false, out);
        if let Some(name) = item.get("fromGroup").and_then(Located::text) {
            match scope.group(name) {
                Some(group) => {
                    for item in group.get("envVars").map_or(&[][..], Located::items) {
                        take(item, env, hosts);
                    }
                }
                None => env.unseen = Some(format!("the group `{}`", suggest::shorten(name))),
            }
        } else {
            take(item, &mut own, hosts);
        }
    }
    env.extend(&own);
}

fn take(item: &Located, env: &mut Env, hosts: &mut Hosts) {
    let Some(name) = item.get("key").and_then(Located::text) else {
        return;
    };
    match item.get("value") {
        Some(value) => variable(hosts, env, Place::new(FILE, value.line), name, value),
        None => env.set(name, Known::Runtime, FILE, item.line),
    }
}

fn service(project: &Project, service: &Located, env: Env, hosts: &mut Hosts, out: &mut Findings) {
    let text = |key: &str| service.get(key).and_then(Located::text);
    let line_of = |key: &str| service.get(key).map_or(service.line, |value| value.line);
    let plan = text("plan");
    if service.get("plan").is_none() {
        out.add(
            &rules::RENDER_NO_PLAN,
            FILE,
            service.line,
            "no `plan` is named",
        );
    }
    if let Some(plan) = plan {
        hosts
            .plans
            .push((format!("render-{plan}"), Place::new(FILE, line_of("plan"))));
    }
    if plan == Some("free") {
        free_plan(service, out);
    }
    let runtime = runtime_of(service);
    let container = matches!(runtime, Some("docker" | "image"));
    let foreign: &[&str] = if container {
        &NATIVE_ONLY
    } else {
        &DOCKER_ONLY
    };
    for key in foreign.iter().filter(|key| service.get(key).is_some()) {
        let what = format!("`{key}` with `runtime: {}`", runtime.unwrap_or("(none)"));
        out.add(&rules::RENDER_RUNTIME_KEYS, FILE, line_of(key), what);
    }
    let mounts: Vec<String> = service
        .get("disk")
        .and_then(|disk| disk.get("mountPath")?.text())
        .map(str::to_owned)
        .into_iter()
        .collect();
    if container {
        container_service(project, service, env, mounts, hosts, out);
    } else {
        native_service(project, service, env, mounts, hosts, out);
    }
    match service.get("healthCheckPath") {
        None => out.add(
            &rules::HEALTH_MISSING,
            FILE,
            service.line,
            "there is no `healthCheckPath`",
        ),
        Some(path) => health(FILE, path.line, path.text().unwrap_or_default(), out),
    }
    if let Some(delay) = service.get("maxShutdownDelaySeconds")
        && let Some(seconds) = delay.number()
    {
        let place = Place::new(FILE, delay.line);
        hosts.graces.push((seconds, place, &rules::RENDER_SHUTDOWN));
    }
}

fn free_plan(service: &Located, out: &mut Findings) {
    for key in PAID {
        if let Some(value) = service.get(key) {
            let what = format!("`{key}` on the free plan");
            out.add(&rules::RENDER_FREE_LIMIT, FILE, value.line, what);
        }
    }
    if let Some(instances) = service.get("numInstances")
        && instances.number().is_some_and(|n| n > 1.0)
    {
        let what = "more than one instance on the free plan";
        out.add(&rules::RENDER_FREE_LIMIT, FILE, instances.line, what);
    }
    if service.get("type").and_then(Located::text) == Some("pserv") {
        let what = "a private service on the free plan";
        out.add(&rules::RENDER_FREE_LIMIT, FILE, service.line, what);
    }
}

fn container_service(
    project: &Project,
    service: &Located,
    env: Env,
    mounts: Vec<String>,
    hosts: &mut Hosts,
    out: &mut Findings,
) {
    let text = |key: &str| service.get(key).and_then(Located::text);
    let line_of = |key: &str| service.get(key).map_or(service.line, |value| value.line);
    let command = text("dockerCommand").filter(|command| !command.trim().is_empty());
    let place = command.map(|_| Place::new(FILE, line_of("dockerCommand")));
    if runtime_of(service) == Some("image") {
        let Some(command) = command else {
            let what = "the image decides what is started";
            return out.add(&rules::START_UNKNOWN, FILE, line_of("image"), what);
        };
        let mut machine = Machine {
            workdir: "/".to_owned(),
            env,
            ..Machine::default()
        };
        machine
            .tree
            .add_unseen("/", "the image is not built from this project");
        hosts.deployments.push(Deployment {
            host: Host::Render,
            container: Container {
                place: place.unwrap_or_default(),
                argv: shell_words(command, &machine.env),
                base: Base::unknown("the image"),
                machine,
            },
            otherwise: None,
            image: None,
            connects: Vec::new(),
            mounts,
            overrides: true,
        });
        return;
    }
    let folder = project_path(text("rootDir").unwrap_or_default());
    let named = text("dockerfilePath").unwrap_or("./Dockerfile");
    let candidates = [project_path(named), below(&folder, named)];
    let Some(file) = candidates
        .iter()
        .find(|path| project.files.contains_key(*path))
    else {
        let what = format!("there is no `{}`", suggest::shorten(&candidates[0]));
        return out.add(&rules::RENDER_FILE, FILE, line_of("dockerfilePath"), what);
    };
    let context = match text("dockerContext") {
        Some(context) if folder.is_empty() || is_folder(project, &project_path(context)) => {
            project_path(context)
        }
        Some(context) => below(&folder, context),
        None => folder.clone(),
    };
    let recipe = Recipe {
        file: file.clone(),
        context,
        ..Recipe::default()
    };
    let Some(image) = hosts.build(project, &recipe, out) else {
        return;
    };
    // Render's documentation does not say whether an entry point stays before `dockerCommand`, nor
    // whether a shell replaces its variables. The reading that works is used.
    let mut whole = image.machine.env.clone();
    whole.extend(&env);
    let words = command.map(|command| shell_words(command, &whole));
    let mut otherwise = None;
    if let (Some(words), Some(entry)) = (&words, &image.entry) {
        let mut all = image.argv(Some(&entry.value), None);
        all.extend(words.iter().cloned());
        otherwise = Some(all);
    }
    let mut started = Started::of(Host::Render, image);
    started.env = env;
    started.mounts = mounts;
    started.place = place;
    if let Some(words) = &words {
        let words = words.iter().map(|word| word.text.clone()).collect();
        started.entry = Some(Form::Words(words));
    }
    hosts.start(started, out);
    if let (Some(words), Some(deployment)) = (words, hosts.deployments.last_mut()) {
        deployment.container.argv = words;
        deployment.otherwise = otherwise;
    }
}

/// The words of a command after its variables are replaced.
fn shell_words(command: &str, env: &Env) -> Vec<Word> {
    let get = |name: &str| env.get(name);
    let expander = shell::Expander {
        get: &get,
        arguments: &[],
        splits: true,
    };
    let steps = shell::steps(command);
    match steps.as_slice() {
        [only] if !only.words.first().is_some_and(|word| word.contains('=')) => {
            let words = only.words.iter().filter(|word| *word != "exec");
            words.flat_map(|word| expander.words(word)).collect()
        }
        _ => ["sh", "-c", command].map(Word::literal).to_vec(),
    }
}

fn is_folder(project: &Project, path: &str) -> bool {
    let below = format!("{path}/");
    path.is_empty() || project.files.keys().any(|file| file.starts_with(&below))
}

fn native_service(
    project: &Project,
    service: &Located,
    env: Env,
    mounts: Vec<String>,
    hosts: &mut Hosts,
    out: &mut Findings,
) {
    let text = |key: &str| service.get(key).and_then(Located::text);
    let line_of = |key: &str| service.get(key).map_or(service.line, |value| value.line);
    let missing = ["runtime", "buildCommand", "startCommand"];
    let missing = missing.iter().filter(|key| {
        service.get(key).is_none() && !(**key == "runtime" && service.get("env").is_some())
    });
    for key in missing {
        let what = format!("there is no `{key}`");
        out.add(&rules::RENDER_START, FILE, service.line, what);
    }
    let build = text("buildCommand");
    if let Some(command) = build.filter(|command| command.contains("pip install")) {
        let what = format!("`{}`", suggest::shorten(command));
        out.add(&rules::PYTHON_LEFT, FILE, line_of("buildCommand"), what);
    }
    hosts.native = true;
    if let Some(command) = text("startCommand") {
        hosts.native(
            project,
            Native {
                host: Host::Render,
                place: Place::new(FILE, line_of("startCommand")),
                command,
                build,
                folder: &project_path(text("rootDir").unwrap_or_default()),
                env,
                mounts,
            },
        );
    }
}
