//! The settings of a Render blueprint, as data (<https://render.com/docs/blueprint-spec>, read
//! 2026-11).

use crate::readiness::rules;
use crate::readiness::schema::{Field, Shape, Speaker};

pub(super) const SPEAKER: Speaker = Speaker {
    file: "a Render blueprint",
    unknown: &rules::RENDER_UNKNOWN_KEY,
    wrong: &rules::RENDER_TYPE,
    extensions: true,
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

/// The settings of an environment of a project.
const ENVIRONMENT: &[Field] = &[
    ("name", TEXT),
    ("services", Shape::List(&Shape::Map(SERVICE))),
    ("databases", Shape::List(&ANY)),
    ("envVarGroups", GROUPS),
    ("networking", ANY),
    ("permissions", ANY),
    ("networkIsolationEnabled", BOOL),
    ("protectedStatus", TEXT),
    ("ipAllowList", ANY),
];

const PROJECT: &[Field] = &[
    ("name", TEXT),
    ("environments", Shape::List(&Shape::Map(ENVIRONMENT))),
    ("envVarGroups", GROUPS),
];

const GROUPS: Shape = Shape::List(&Shape::Map(&[("name", TEXT), ("envVars", ENVS)]));

pub(super) const ROOT: Shape = Shape::Map(&[
    ("services", Shape::List(&Shape::Map(SERVICE))),
    ("databases", Shape::List(&ANY)),
    ("envVarGroups", GROUPS),
    ("projects", Shape::List(&Shape::Map(PROJECT))),
    ("ungrouped", Shape::Map(ENVIRONMENT)),
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
