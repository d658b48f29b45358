//! `railway.json` or `railway.toml` (<https://railway.com/railway.schema.json>,
//! <https://docs.railway.com/deployments/start-command>). With a Dockerfile, no shell reads the
//! start command, and it replaces the image's entry point.

use super::{Host, Hosts, Native, Started, health, is_dockerfile, project_path, words_of};
use crate::readiness::image::Recipe;
use crate::readiness::image::env::{Env, Place};
use crate::readiness::launch::shell::Value;
use crate::readiness::located::{self, Located};
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings};
use crate::readiness::schema::{Field, Shape, Speaker};
use crate::text as suggest;

const ANY: Shape = Shape::Any;
const TEXT: Shape = Shape::Text;
const BOOL: Shape = Shape::Bool;
const TEXTS: Shape = Shape::List(&TEXT);
const COUNT: Shape = Shape::Int(0, i64::MAX);

const RAILWAY: Speaker = Speaker {
    file: "railway.json",
    unknown: &rules::RAILWAY_UNKNOWN_KEY,
    wrong: &rules::RAILWAY_TYPE,
    extensions: false,
};

const BUILDERS: [&str; 5] = ["NIXPACKS", "DOCKERFILE", "RAILPACK", "HEROKU", "PAKETO"];

const BUILD: &[Field] = &[
    (
        "builder",
        Shape::OneOfOr(&BUILDERS, |text| {
            BUILDERS.contains(&text.to_ascii_uppercase().as_str())
        }),
    ),
    ("buildCommand", TEXT),
    ("dockerfilePath", TEXT),
    ("watchPatterns", TEXTS),
    ("buildEnvironment", TEXT),
    ("nixpacksConfigPath", TEXT),
    ("nixpacksPlan", ANY),
    ("nixpacksVersion", TEXT),
    ("railpackVersion", TEXT),
];

const DEPLOY: &[Field] = &[
    ("startCommand", TEXT),
    ("preDeployCommand", Shape::Either(&TEXTS, &TEXT)),
    ("numReplicas", Shape::Int(1, 200)),
    ("healthcheckPath", TEXT),
    ("healthcheckTimeout", COUNT),
    (
        "restartPolicyType",
        Shape::OneOf(&["ON_FAILURE", "ALWAYS", "NEVER"]),
    ),
    ("restartPolicyMaxRetries", COUNT),
    ("cronSchedule", TEXT),
    ("sleepApplication", BOOL),
    ("multiRegionConfig", ANY),
    ("region", TEXT),
    ("overlapSeconds", COUNT),
    ("drainingSeconds", COUNT),
    ("runtime", TEXT),
    ("requiredMountPath", TEXT),
    ("limitOverride", ANY),
    ("ipv6EgressEnabled", BOOL),
    ("registryCredentials", ANY),
];

const RAILWAY_ROOT: Shape = Shape::Map(&[
    ("$schema", TEXT),
    ("build", Shape::Map(BUILD)),
    ("deploy", Shape::Map(DEPLOY)),
    (
        "environments",
        Shape::Named(&Shape::Map(&[
            ("build", Shape::Map(BUILD)),
            ("deploy", Shape::Map(DEPLOY)),
        ])),
    ),
]);

/// The file of the project, with its text.
fn file(project: &Project) -> Option<(&'static str, &str)> {
    let read = |name: &'static str| Some((name, project.text(name)?));
    read("railway.json").or_else(|| read("railway.toml"))
}

/// The tables of one environment, which override those of the file.
struct Tables<'a> {
    build: [Option<&'a Located>; 2],
    deploy: [Option<&'a Located>; 2],
}

impl<'a> Tables<'a> {
    /// A setting of `build` or `deploy`; the environment's own comes first.
    fn get(tables: [Option<&'a Located>; 2], key: &str) -> Option<&'a Located> {
        tables
            .into_iter()
            .flatten()
            .find_map(|table| table.get(key))
    }

    fn build(&self, key: &str) -> Option<&'a Located> {
        Self::get(self.build, key)
    }

    fn deploy(&self, key: &str) -> Option<&'a Located> {
        Self::get(self.deploy, key)
    }
}

/// Reads the file: finds its mistakes, and the servers that its environments start.
pub(super) fn read(project: &Project, hosts: &mut Hosts, out: &mut Findings) {
    let Some((file, text)) = file(project) else {
        return;
    };
    let root = if file.ends_with("json") {
        located::json(text)
    } else {
        located::toml(text)
    };
    let root = match root {
        Ok(root) => root,
        Err(error) => {
            out.add(&rules::RAILWAY_SYNTAX, file, error.line, error.message);
            return;
        }
    };
    RAILWAY.check(file, "", &root, &RAILWAY_ROOT, out);
    let own = Tables {
        build: [root.get("build"), None],
        deploy: [root.get("deploy"), None],
    };
    environment(project, file, &own, true, hosts, out);
    for (_, environment_) in root.get("environments").map_or(&[][..], Located::entries) {
        let tables = Tables {
            build: [environment_.get("build"), root.get("build")],
            deploy: [environment_.get("deploy"), root.get("deploy")],
        };
        environment(project, file, &tables, false, hosts, out);
    }
}

fn environment(
    project: &Project,
    file: &'static str,
    tables: &Tables<'_>,
    base: bool,
    hosts: &mut Hosts,
    out: &mut Findings,
) {
    if let Some(builder) = tables.build("builder")
        && let Some(name) = builder.text()
        && !BUILDERS.contains(&name)
        && BUILDERS.contains(&name.to_ascii_uppercase().as_str())
    {
        let what = format!(
            "`{name}` is written `{}` in Railway's schema",
            name.to_ascii_uppercase()
        );
        out.add(&rules::RAILWAY_BUILDER, file, builder.line, what);
    }
    let deploy = tables.deploy.into_iter().flatten().next();
    match tables.deploy("healthcheckPath") {
        Some(path) => health(file, path.line, path.text().unwrap_or_default(), out),
        None if base => out.add(
            &rules::HEALTH_MISSING,
            file,
            deploy.map_or(1, |deploy| deploy.line),
            "there is no `healthcheckPath`",
        ),
        None => {}
    }
    let draining = tables.deploy("drainingSeconds");
    let line = draining.or(deploy).map_or(1, |value| value.line);
    let seconds = draining.and_then(Located::number).unwrap_or(0.0);
    hosts
        .graces
        .push((seconds, Place::new(file, line), &rules::RAILWAY_SHUTDOWN));
    start(project, file, tables, hosts, out);
}

fn start(
    project: &Project,
    file: &'static str,
    tables: &Tables<'_>,
    hosts: &mut Hosts,
    out: &mut Findings,
) {
    let mut env = Env::default();
    env.set("PORT", Value::Runtime, file, 0);
    let command = tables.deploy("startCommand");
    let text = command
        .and_then(Located::text)
        .filter(|text| !text.trim().is_empty());
    let place = command.map_or_else(
        || Place::new(file, 0),
        |command| Place::new(file, command.line),
    );
    let builder = tables
        .build("builder")
        .and_then(Located::text)
        .unwrap_or_default();
    let builder = builder.to_ascii_uppercase();
    let own_file = project
        .files
        .keys()
        .find(|path| is_dockerfile(path) && !path.contains('/'));
    let named = tables.build("dockerfilePath");
    let path = named.and_then(Located::text).map(project_path);
    if let (Some(path), Some(named)) = (&path, named)
        && !project.files.contains_key(path)
    {
        let what = format!("there is no `{}`", suggest::shorten(path));
        return out.add(&rules::RAILWAY_FILE, file, named.line, what);
    }
    let docker =
        builder == "DOCKERFILE" || builder.is_empty() && (own_file.is_some() || path.is_some());
    if !docker {
        if let Some(command) = text {
            let build = tables.build("buildCommand").and_then(Located::text);
            let native = Native {
                host: Host::Railway,
                place,
                command,
                build,
                folder: "",
                env,
                mounts: Vec::new(),
            };
            hosts.native(project, native);
        }
        return;
    }
    let Some(dockerfile) = path.or_else(|| own_file.cloned()) else {
        let line = tables.build("builder").map_or(1, |builder| builder.line);
        return out.add(&rules::RAILWAY_FILE, file, line, "there is no `Dockerfile`");
    };
    let recipe = Recipe {
        file: dockerfile,
        ..Recipe::default()
    };
    let Some(image) = hosts.build(project, &recipe, out) else {
        return;
    };
    let mut started = Started::of(Host::Railway, image);
    started.env = env;
    let mount = tables.deploy("requiredMountPath").and_then(Located::text);
    started.mounts = mount.map(str::to_owned).into_iter().collect();
    if let Some(text) = text {
        started.entry = Some(words_of(text));
        started.place = Some(place);
    }
    hosts.start(started, out);
}
