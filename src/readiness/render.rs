//! `render.yaml` against the published rules of Render's blueprints
//! (<https://render.com/docs/blueprint-spec>, read 2026-11; the schema is at
//! <https://render.com/schema/render.yaml.json>).

use super::located::{self, Located, Value};
use super::project::{HostFacts, Project};
use super::rules::{self, Findings};
use super::schema::{Field, Shape, Speaker};
use super::secrets::Variable;
use super::start::{HEALTH_PATHS, Start};

/// The file's name: Render looks for it at the root of the repository.
pub(super) const FILE: &str = "render.yaml";

const SPEAKER: Speaker = Speaker {
    file: "a Render blueprint",
    unknown: &rules::RENDER_UNKNOWN_KEY,
    wrong: &rules::RENDER_TYPE,
};

const ANY: Shape = Shape::Any;
const TEXT: Shape = Shape::Text;
const BOOL: Shape = Shape::Bool;
const TEXTS: Shape = Shape::List(&TEXT);

const PLANS: [&str; 8] = [
    "free",
    "starter",
    "standard",
    "pro",
    "pro plus",
    "pro max",
    "pro ultra",
    "starter plus",
];

/// Plans of the newer catalogue: `4c-16g`.
fn is_sized_plan(text: &str) -> bool {
    let number = |part: &str, unit: &str| {
        part.strip_suffix(unit)
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    };
    text.split_once('-').is_some_and(|(cpus, memory)| {
        number(cpus, "c") && (number(memory, "g") || number(memory, "m"))
    })
}

const RUNTIMES: [&str; 9] = [
    "docker", "elixir", "go", "image", "node", "python", "ruby", "rust", "static",
];

const GENERATION: Shape = Shape::OneOf(&["off", "manual", "automatic", "none"]);

const ENV: &[Field] = &[
    ("key", TEXT),
    ("value", Shape::Either(&Shape::Scalar, &BOOL)),
    ("generateValue", BOOL),
    ("sync", BOOL),
    ("fromGroup", TEXT),
    (
        "fromDatabase",
        Shape::Map(&[("name", TEXT), ("property", TEXT)]),
    ),
    (
        "fromService",
        Shape::Map(&[
            ("type", TEXT),
            ("name", TEXT),
            ("property", TEXT),
            ("envVarKey", TEXT),
        ]),
    ),
    ("previewValue", Shape::Either(&Shape::Scalar, &BOOL)),
];
const ENVS: Shape = Shape::List(&Shape::Map(ENV));

const SERVICE: &[Field] = &[
    (
        "type",
        Shape::OneOf(&["web", "pserv", "worker", "cron", "keyvalue", "redis"]),
    ),
    ("name", TEXT),
    ("runtime", Shape::OneOf(&RUNTIMES)),
    ("env", Shape::OneOf(&RUNTIMES)),
    ("plan", Shape::OneOfOr(&PLANS, is_sized_plan)),
    (
        "region",
        Shape::OneOf(&["oregon", "ohio", "virginia", "frankfurt", "singapore"]),
    ),
    ("repo", TEXT),
    ("branch", TEXT),
    ("rootDir", TEXT),
    ("buildCommand", TEXT),
    ("startCommand", TEXT),
    ("preDeployCommand", TEXT),
    ("initialDeployHook", TEXT),
    ("dockerfilePath", TEXT),
    ("dockerContext", TEXT),
    ("dockerCommand", TEXT),
    ("image", Shape::Map(&[("url", TEXT), ("creds", ANY)])),
    ("registryCredential", ANY),
    ("envVars", ENVS),
    ("healthCheckPath", TEXT),
    ("maxShutdownDelaySeconds", Shape::Int(1, 300)),
    ("numInstances", Shape::Int(1, 100)),
    (
        "scaling",
        Shape::Map(&[
            ("minInstances", Shape::Int(1, 100)),
            ("maxInstances", Shape::Int(1, 100)),
            ("targetMemoryPercent", Shape::Int(1, 90)),
            ("targetCPUPercent", Shape::Int(1, 90)),
        ]),
    ),
    (
        "disk",
        Shape::Map(&[
            ("name", TEXT),
            ("mountPath", TEXT),
            ("sizeGB", Shape::Int(1, 100_000)),
        ]),
    ),
    ("domain", TEXT),
    ("domains", TEXTS),
    (
        "renderSubdomainPolicy",
        Shape::OneOf(&["enabled", "disabled"]),
    ),
    ("autoDeploy", BOOL),
    (
        "autoDeployTrigger",
        Shape::OneOf(&["commit", "checksPass", "off"]),
    ),
    (
        "buildFilter",
        Shape::Map(&[("paths", TEXTS), ("ignoredPaths", TEXTS)]),
    ),
    (
        "previews",
        Shape::Map(&[
            ("generation", GENERATION),
            ("numInstances", Shape::Int(1, 100)),
            ("plan", Shape::OneOfOr(&PLANS, is_sized_plan)),
        ]),
    ),
    ("pullRequestPreviewsEnabled", BOOL),
    ("previewPlan", TEXT),
    ("staticPublishPath", TEXT),
    ("headers", ANY),
    ("routes", ANY),
    ("schedule", TEXT),
    ("ipAllowList", ANY),
    ("maxmemoryPolicy", TEXT),
    (
        "maintenanceMode",
        Shape::Map(&[("enabled", BOOL), ("uri", TEXT)]),
    ),
];

const ROOT: Shape = Shape::Map(&[
    ("services", Shape::List(&Shape::Map(SERVICE))),
    ("databases", Shape::List(&ANY)),
    (
        "envVarGroups",
        Shape::List(&Shape::Map(&[("name", TEXT), ("envVars", ENVS)])),
    ),
    ("projects", Shape::List(&ANY)),
    ("ungrouped", ANY),
    (
        "previews",
        Shape::Map(&[
            ("generation", GENERATION),
            ("expireAfterDays", Shape::Int(1, 365)),
        ]),
    ),
    ("previewsEnabled", BOOL),
    ("previewsExpireAfterDays", Shape::Int(1, 365)),
    ("version", Shape::Scalar),
]);

/// Keys that mean something for containers only, and for native runtimes only.
const DOCKER_ONLY: [&str; 3] = ["dockerCommand", "dockerfilePath", "dockerContext"];
const NATIVE_ONLY: [&str; 2] = ["buildCommand", "startCommand"];

/// Keys that the free plan does not have.
const PAID: [&str; 4] = [
    "disk",
    "scaling",
    "maxShutdownDelaySeconds",
    "preDeployCommand",
];

/// Judges the file, and takes from it what is compared between files.
pub(super) fn check(project: &Project, facts: &mut HostFacts, out: &mut Findings) {
    let Some(text) = project.text(FILE) else {
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
    let services = root.get("services").map_or(&[][..], Located::items);
    let of_type =
        |service: &&Located, name: &str| service.get("type").and_then(Located::text) == Some(name);
    if !services.iter().any(|service| of_type(&service, "web")) {
        let line = root.get("services").map_or(1, |services| services.line);
        out.add(
            &rules::RENDER_NO_SERVICE,
            FILE,
            line,
            "no service is of `type: web`",
        );
    }
    duplicates(services, "name", out);
    for group in root.get("envVarGroups").map_or(&[][..], Located::items) {
        variables(group, facts, out);
    }
    for item in services.iter().filter(|service| of_type(service, "web")) {
        service(project, item, facts, out);
    }
    for item in services.iter().filter(|service| !of_type(service, "web")) {
        variables(item, facts, out);
    }
}

fn duplicates(items: &[Located], key: &str, out: &mut Findings) {
    let mut seen = Vec::new();
    for item in items {
        let Some(name) = item.get(key) else { continue };
        let Some(text) = name.text() else { continue };
        if seen.contains(&text) {
            out.add(
                &rules::RENDER_DUPLICATE,
                FILE,
                name.line,
                format!("`{key}: {text}` is there twice"),
            );
        }
        seen.push(text);
    }
}

fn variables(service: &Located, facts: &mut HostFacts, out: &mut Findings) {
    const SOURCES: [&str; 6] = [
        "value",
        "generateValue",
        "sync",
        "fromService",
        "fromDatabase",
        "fromGroup",
    ];
    let variables = service.get("envVars").map_or(&[][..], Located::items);
    duplicates(variables, "key", out);
    for variable in variables {
        if !matches!(variable.value, Value::Map(_)) {
            continue;
        }
        let sources = SOURCES.iter().filter(|name| variable.get(name).is_some());
        let group = variable.get("fromGroup").is_some();
        let key = variable.get("key").and_then(Located::text);
        let name = key.unwrap_or("a variable");
        if sources.clone().count() != 1 || key.is_none() != group {
            let found: Vec<&str> = sources.copied().collect();
            let found = if found.is_empty() {
                "no source".to_owned()
            } else {
                found.join(" and ")
            };
            out.add(
                &rules::RENDER_ENV,
                FILE,
                variable.line,
                format!("`{name}` has {found}"),
            );
        }
        if let (Some(name), Some(value)) = (key, variable.get("value"))
            && let Some(text) = value.as_env()
        {
            facts.variables.push(Variable {
                file: FILE.to_owned(),
                line: value.line,
                name: name.to_owned(),
                value: text,
            });
        }
    }
}

fn service(project: &Project, service: &Located, facts: &mut HostFacts, out: &mut Findings) {
    variables(service, facts, out);
    let text = |key: &str| service.get(key).and_then(Located::text);
    let line_of = |key: &str| service.get(key).map_or(service.line, |value| value.line);
    let plan = text("plan");
    if plan.is_none() && service.get("plan").is_none() {
        out.add(
            &rules::RENDER_NO_PLAN,
            FILE,
            service.line,
            "no `plan` is named",
        );
    }
    if let Some(plan) = plan {
        facts.plan = Some((format!("render-{plan}"), FILE.to_owned(), line_of("plan")));
    }
    let free = plan == Some("free");
    for key in PAID.iter().filter(|key| free && service.get(key).is_some()) {
        out.add(
            &rules::RENDER_FREE_LIMIT,
            FILE,
            line_of(key),
            format!("`{key}` on the free plan"),
        );
    }
    if let Some(instances) = service.get("numInstances")
        && free
        && instances.number().is_some_and(|n| n > 1.0)
    {
        out.add(
            &rules::RENDER_FREE_LIMIT,
            FILE,
            instances.line,
            "more than one instance on the free plan",
        );
    }
    let runtime = text("runtime").or(text("env"));
    let container = matches!(runtime, Some("docker" | "image"));
    let foreign: &[&str] = if container {
        &NATIVE_ONLY
    } else {
        &DOCKER_ONLY
    };
    for key in foreign.iter().filter(|key| service.get(key).is_some()) {
        out.add(
            &rules::RENDER_RUNTIME_KEYS,
            FILE,
            line_of(key),
            format!("`{key}` with `runtime: {}`", runtime.unwrap_or("(none)")),
        );
    }
    if container {
        if let Some(command) = text("dockerCommand") {
            let line = line_of("dockerCommand");
            facts.starts.push(Start::of_shell(FILE, line, command));
        }
        if runtime == Some("docker") {
            let path = text("dockerfilePath").unwrap_or("Dockerfile");
            let path = path.trim_start_matches("./");
            if !project.files.contains_key(path) {
                out.add(
                    &rules::RENDER_FILE,
                    FILE,
                    line_of("dockerfilePath"),
                    format!("there is no `{path}`"),
                );
            }
        }
    } else {
        facts.native = true;
        let missing = ["runtime", "buildCommand", "startCommand"];
        let missing = missing.iter().filter(|key| {
            service.get(key).is_none() && !(**key == "runtime" && service.get("env").is_some())
        });
        for key in missing {
            out.add(
                &rules::RENDER_START,
                FILE,
                service.line,
                format!("there is no `{key}`"),
            );
        }
        if let Some(command) = text("startCommand") {
            let line = line_of("startCommand");
            facts.starts.push(Start::of_shell(FILE, line, command));
        }
        if let Some(command) = text("buildCommand").filter(|c| c.contains("pip install")) {
            out.add(
                &rules::PYTHON_LEFT,
                FILE,
                line_of("buildCommand"),
                format!("`{}`", crate::text::shorten(command)),
            );
        }
    }
    match service.get("healthCheckPath") {
        None => out.add(
            &rules::HEALTH_MISSING,
            FILE,
            service.line,
            "there is no `healthCheckPath`",
        ),
        Some(path) => health(FILE, path, out),
    }
    if let Some(delay) = service.get("maxShutdownDelaySeconds") {
        facts.grace = delay.number().map(|s| (s, FILE.to_owned(), delay.line));
    }
}

/// A path at which a health check is made.
pub(super) fn health(file: &str, path: &Located, out: &mut Findings) {
    let Some(text) = path.text() else { return };
    let plain = text.split('?').next().unwrap_or_default();
    let plain = if plain.len() > 1 {
        plain.trim_end_matches('/')
    } else {
        plain
    };
    if !HEALTH_PATHS.contains(&plain) {
        out.add(
            &rules::HEALTH_NOT_SERVED,
            file,
            path.line,
            format!("`{}`", crate::text::shorten(text)),
        );
    }
}
