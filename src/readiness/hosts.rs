//! `Procfile`, `fly.toml` and `railway.json` (or `.toml`).

use super::located::{self, Located};
use super::project::{HostFacts, Project};
use super::render::health;
use super::rules::{self, Findings};
use super::schema::{Field, Shape, Speaker};
use super::secrets::Variable;
use super::start::Start;
use crate::units;

const ANY: Shape = Shape::Any;
const TEXT: Shape = Shape::Text;
const BOOL: Shape = Shape::Bool;
const TEXTS: Shape = Shape::List(&TEXT);
const COUNT: Shape = Shape::Int(0, i64::MAX);

/// Judges `Procfile`: `name: command` a line.
pub(super) fn procfile(project: &Project, facts: &mut HostFacts, out: &mut Findings) {
    const FILE: &str = "Procfile";
    let Some(text) = project.text(FILE) else {
        return;
    };
    facts.native |= !project.files.contains_key("Dockerfile");
    let mut web = false;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let plain = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        match line.split_once(':') {
            Some((name, command)) if plain(name) && !command.trim().is_empty() => {
                if name == "web" {
                    web = true;
                    facts
                        .starts
                        .push(Start::of_shell(FILE, i + 1, command.trim()));
                }
            }
            _ => out.add(
                &rules::PROCFILE_SYNTAX,
                FILE,
                i + 1,
                format!("`{}`", crate::text::shorten(line)),
            ),
        }
    }
    if !web {
        out.add(&rules::PROCFILE_WEB, FILE, None, "there is no `web:` line");
    }
}

const FLY: Speaker = Speaker {
    file: "fly.toml",
    unknown: &rules::FLY_UNKNOWN_KEY,
    wrong: &rules::FLY_TYPE,
};

const FLY_CHECK: &[Field] = &[
    ("grace_period", Shape::Scalar),
    ("interval", Shape::Scalar),
    ("timeout", Shape::Scalar),
    ("method", TEXT),
    ("path", TEXT),
    ("port", Shape::Int(1, 65_535)),
    ("protocol", TEXT),
    ("type", TEXT),
    ("processes", TEXTS),
    ("tls_skip_verify", BOOL),
    ("tls_server_name", TEXT),
    ("headers", ANY),
];

const FLY_CONCURRENCY: Shape = Shape::Map(&[
    ("type", Shape::OneOf(&["connections", "requests"])),
    ("hard_limit", COUNT),
    ("soft_limit", COUNT),
]);

const AUTO_STOP: Shape = Shape::Either(&BOOL, &Shape::OneOf(&["off", "stop", "suspend"]));

const FLY_ROOT: Shape = Shape::Map(&[
    ("app", TEXT),
    ("primary_region", TEXT),
    ("kill_signal", TEXT),
    ("kill_timeout", Shape::Scalar),
    ("swap_size_mb", COUNT),
    ("console_command", TEXT),
    ("host_dedication_id", TEXT),
    ("build", ANY),
    ("deploy", ANY),
    ("env", Shape::Named(&Shape::Either(&Shape::Scalar, &BOOL))),
    (
        "http_service",
        Shape::Map(&[
            ("internal_port", Shape::Int(1, 65_535)),
            ("force_https", BOOL),
            ("auto_stop_machines", AUTO_STOP),
            ("auto_start_machines", BOOL),
            ("min_machines_running", COUNT),
            ("processes", TEXTS),
            ("concurrency", FLY_CONCURRENCY),
            ("checks", Shape::List(&Shape::Map(FLY_CHECK))),
            ("machine_checks", ANY),
            ("http_options", ANY),
            ("tls_options", ANY),
        ]),
    ),
    ("services", Shape::List(&ANY)),
    ("checks", Shape::Named(&Shape::Map(FLY_CHECK))),
    (
        "vm",
        Shape::List(&Shape::Map(&[
            ("size", TEXT),
            ("memory", Shape::Scalar),
            ("memory_mb", COUNT),
            ("cpu_kind", Shape::OneOf(&["shared", "performance"])),
            ("cpus", Shape::Int(1, 64)),
            ("gpus", COUNT),
            ("gpu_kind", TEXT),
            ("kernel_args", TEXT),
            ("host_dedication_id", TEXT),
            ("processes", TEXTS),
            ("persist_rootfs", TEXT),
        ])),
    ),
    ("mounts", ANY),
    ("processes", Shape::Named(&TEXT)),
    ("statics", ANY),
    ("files", ANY),
    ("metrics", ANY),
    ("restart", ANY),
    ("experimental", ANY),
]);

/// Judges `fly.toml` (<https://fly.io/docs/reference/configuration/>).
pub(super) fn fly(project: &Project, facts: &mut HostFacts, out: &mut Findings) {
    const FILE: &str = "fly.toml";
    let Some(text) = project.text(FILE) else {
        return;
    };
    let root = match located::toml(text) {
        Ok(root) => root,
        Err(error) => {
            out.add(&rules::FLY_SYNTAX, FILE, error.line, error.message);
            return;
        }
    };
    FLY.check(FILE, "", &root, &FLY_ROOT, out);
    for (name, value) in root.get("env").map_or(&[][..], Located::entries) {
        if let Some(text) = value.as_env() {
            facts.variables.push(Variable {
                file: FILE.to_owned(),
                line: value.line,
                name: name.clone(),
                value: text,
            });
        }
    }
    let service = root.get("http_service");
    let mut port = service.and_then(|service| service.get("internal_port"));
    let mut checks: Vec<&Located> = Vec::new();
    if let Some(service) = service {
        checks.extend(service.get("checks").map_or(&[][..], Located::items));
    }
    for service in root.get("services").map_or(&[][..], Located::items) {
        port = port.or(service.get("internal_port"));
        checks.extend(service.get("http_checks").map_or(&[][..], Located::items));
    }
    let named = root.get("checks").map_or(&[][..], Located::entries);
    checks.extend(named.iter().map(|(_, check)| check));
    if service.is_none() && root.get("services").is_none() {
        out.add(
            &rules::FLY_NO_SERVICE,
            FILE,
            None,
            "there is no [http_service]",
        );
    } else if checks.is_empty() {
        let line = service.map_or(1, |service| service.line);
        out.add(&rules::HEALTH_MISSING, FILE, line, "there are no checks");
    }
    for check in checks {
        if let Some(path) = check.get("path") {
            health(FILE, path, out);
        }
    }
    facts.fly_port = port.and_then(|port| Some((port.number()?, port.line)));
    for (name, command) in root.get("processes").map_or(&[][..], Located::entries) {
        if let Some(text) = command.text()
            && matches!(name.as_str(), "app" | "web")
        {
            let mut start = Start::of_shell(FILE, command.line, text);
            // Fly starts processes without a shell, and gives no PORT.
            start.shell = false;
            start.port_given = false;
            facts.starts.push(start);
        }
    }
    facts.fly = true;
    for machine in root.get("vm").map_or(&[][..], Located::items) {
        let memory = machine.get("memory").or(machine.get("memory_mb"));
        if let Some(memory) = memory {
            let megabytes = memory.number().map(|mb| mb * 1e6);
            let text = memory.text().and_then(units::parse_bytes);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive size; a huge one saturates"
            )]
            let bytes = megabytes.map(|b| b as u64).or(text);
            match bytes {
                Some(bytes) => facts.machine = Some((bytes, FILE.to_owned(), memory.line)),
                None => out.add(
                    &rules::FLY_TYPE,
                    FILE,
                    memory.line,
                    "`vm.memory` is no size such as `512mb`",
                ),
            }
        }
    }
    match root.get("kill_timeout") {
        Some(timeout) => {
            let seconds = timeout.number().or_else(|| {
                let text = timeout.text()?;
                let (digits, factor) = match text.strip_suffix('m') {
                    Some(minutes) => (minutes, 60.0),
                    None => (text.strip_suffix('s').unwrap_or(text), 1.0),
                };
                digits.parse::<f64>().ok().map(|n| n * factor)
            });
            facts.fly_grace = seconds.map(|s| (s, timeout.line));
        }
        None => facts.fly_grace = Some((5.0, 0)),
    }
}

const RAILWAY: Speaker = Speaker {
    file: "railway.json",
    unknown: &rules::RAILWAY_UNKNOWN_KEY,
    wrong: &rules::RAILWAY_TYPE,
};

const BUILDERS: [&str; 5] = ["NIXPACKS", "DOCKERFILE", "RAILPACK", "HEROKU", "PAKETO"];

const RAILWAY_ROOT: Shape = Shape::Map(&[
    ("$schema", TEXT),
    (
        "build",
        Shape::Map(&[
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
        ]),
    ),
    (
        "deploy",
        Shape::Map(&[
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
        ]),
    ),
    ("environments", ANY),
]);

/// Judges `railway.json` or `railway.toml` (<https://railway.com/railway.schema.json>).
pub(super) fn railway(project: &Project, facts: &mut HostFacts, out: &mut Findings) {
    let read = |name: &'static str| Some((name, project.text(name)?));
    let Some((file, text)) = read("railway.json").or_else(|| read("railway.toml")) else {
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
    let build = root.get("build");
    let setting = |table: Option<&Located>, key: &str| table.and_then(|t| t.get(key)).cloned();
    if let Some(path) = setting(build, "dockerfilePath")
        && let Some(text) = path.text()
        && !project
            .files
            .contains_key(text.trim_start_matches(['.', '/']))
    {
        out.add(
            &rules::RAILWAY_FILE,
            file,
            path.line,
            format!("there is no `{text}`"),
        );
    }
    let deploy = root.get("deploy");
    if let Some(command) = setting(deploy, "startCommand")
        && let Some(text) = command.text()
    {
        facts.starts.push(Start::of_shell(file, command.line, text));
    }
    match setting(deploy, "healthcheckPath") {
        Some(path) => health(file, &path, out),
        None => out.add(
            &rules::HEALTH_MISSING,
            file,
            deploy.map_or(1, |deploy| deploy.line),
            "there is no `healthcheckPath`",
        ),
    }
    let draining = setting(deploy, "drainingSeconds");
    let line = draining.as_ref().or(deploy).map_or(1, |value| value.line);
    let seconds = draining.and_then(|d| d.number()).unwrap_or(0.0);
    facts.railway = true;
    if let Some(what) = project.drain().against(seconds) {
        out.add(&rules::RAILWAY_SHUTDOWN, file, line, what);
    }
}
