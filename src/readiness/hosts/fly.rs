//! `fly.toml` (<https://fly.io/docs/reference/configuration/>). Fly gives no PORT: its proxy connects
//! to `internal_port`, and the server must listen there.

use super::{
    Connects, Host, Hosts, Started, health, is_dockerfile, project_path, variable, words_of,
};
use crate::readiness::image::env::{Env, Place};
use crate::readiness::image::{Form, Recipe};
use crate::readiness::launch::shell::Value;
use crate::readiness::located::{self, Located, Value as Kind};
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings};
use crate::readiness::schema::{Field, Shape, Speaker};
use crate::text as suggest;
use crate::units;

const FILE: &str = "fly.toml";

const ANY: Shape = Shape::Any;
const TEXT: Shape = Shape::Text;
const BOOL: Shape = Shape::Bool;
const TEXTS: Shape = Shape::List(&TEXT);
const COUNT: Shape = Shape::Int(0, i64::MAX);

/// Seconds between the signal and the kill without `kill_timeout`.
const DEFAULT_KILL_SECONDS: f64 = 5.0;

const FLY: Speaker = Speaker {
    file: "fly.toml",
    unknown: &rules::FLY_UNKNOWN_KEY,
    wrong: &rules::FLY_TYPE,
    extensions: false,
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

/// Reads the file: finds its mistakes, and the server that it starts.
pub(super) fn read(project: &Project, hosts: &mut Hosts, out: &mut Findings) {
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
    let mut env = Env::default();
    for (name, value) in root.get("env").map_or(&[][..], Located::entries) {
        variable(hosts, &mut env, Place::new(FILE, value.line), name, value);
    }
    let group = web_group(&root);
    let (connects, paths) = services(&root, &group, out);
    for path in paths {
        health(FILE, path.line, path.text().unwrap_or_default(), out);
    }
    machines(&root, &group, hosts, out);
    let grace = match root.get("kill_timeout") {
        Some(timeout) => seconds(timeout).map(|s| (s, timeout.line)),
        None => Some((DEFAULT_KILL_SECONDS, 0)),
    };
    if let Some((seconds, line)) = grace {
        hosts
            .graces
            .push((seconds, Place::new(FILE, line), &rules::FLY_SHUTDOWN));
    }
    start(project, &root, &group, env, connects, hosts, out);
}

/// The process group that gets requests: the first that a service names, or else `app`.
fn web_group(root: &Located) -> String {
    let service = root.get("http_service").into_iter();
    let services = service.chain(root.get("services").map_or(&[][..], Located::items));
    let mut named =
        services.filter_map(|service| service.get("processes")?.items().first()?.text());
    let processes = root.get("processes").map_or(&[][..], Located::entries);
    let has = |name: &str| processes.iter().any(|(group, _)| group == name);
    let first = named.next().map(str::to_owned);
    first.unwrap_or_else(|| match processes {
        [(only, _)] => only.clone(),
        _ if !has("app") && has("web") => "web".to_owned(),
        _ => "app".to_owned(),
    })
}

/// Whether a table belongs to a process group; a table that names none belongs to all.
fn is_of(table: &Located, group: &str) -> bool {
    let named = table.get("processes").map_or(&[][..], Located::items);
    named.is_empty() || named.iter().any(|name| name.text() == Some(group))
}

/// The ports to which the proxy and the checks connect, and the paths of the checks.
fn services<'a>(
    root: &'a Located,
    group: &str,
    out: &mut Findings,
) -> (Vec<Connects>, Vec<&'a Located>) {
    let mut connects = Vec::new();
    let mut checks: Vec<&Located> = Vec::new();
    let http = root
        .get("http_service")
        .filter(|service| is_of(service, group));
    let tables = root.get("services").map_or(&[][..], Located::items);
    let tables = tables.iter().filter(|service| is_of(service, group));
    for service in http.into_iter().chain(tables) {
        // Fly uses 8080 if the file does not name a port.
        let port = service.get("internal_port");
        let line = port.map_or(service.line, |port| port.line);
        let port = port.map_or(Some(8080.0), Located::number);
        connects.extend(connection(port, line, "internal_port"));
        for list in ["checks", "http_checks"] {
            checks.extend(service.get(list).map_or(&[][..], Located::items));
        }
    }
    let named = root.get("checks").map_or(&[][..], Located::entries);
    for (_, check) in named.iter().filter(|(_, check)| is_of(check, group)) {
        checks.push(check);
        if let Some(port) = check.get("port") {
            connects.extend(connection(port.number(), port.line, "port"));
        }
    }
    if connects.is_empty() {
        out.add(
            &rules::FLY_NO_SERVICE,
            FILE,
            None,
            "there is no [http_service]",
        );
    } else if checks.is_empty() {
        let line = http.map_or(1, |service| service.line);
        out.add(&rules::HEALTH_MISSING, FILE, line, "there are no checks");
    }
    let paths = checks.into_iter().filter_map(|check| check.get("path"));
    (connects, paths.collect())
}

fn connection(port: Option<f64>, line: usize, key: &'static str) -> Option<Connects> {
    let number = port.filter(|port| port.fract() == 0.0 && (1.0..=65_535.0).contains(port))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 1 to 65,535"
    )]
    let port = number as u16;
    Some(Connects {
        port,
        place: Place::new(FILE, line),
        key,
        rule: &rules::FLY_PORT,
    })
}

/// Memory that the file orders for the machines of a process group.
fn machines(root: &Located, group: &str, hosts: &mut Hosts, out: &mut Findings) {
    let tables = match root.get("vm") {
        Some(vm) if matches!(vm.value, Kind::Map(_)) => std::slice::from_ref(vm),
        Some(vm) => vm.items(),
        None => {
            hosts.fly_default = true;
            return;
        }
    };
    for machine in tables.iter().filter(|machine| is_of(machine, group)) {
        let memory = machine.get("memory").or(machine.get("memory_mb"));
        let (megabytes, line) = match memory {
            Some(memory) => (megabytes(memory), memory.line),
            None => (preset(machine), machine.line),
        };
        match megabytes {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive size; a huge one saturates"
            )]
            Some(mb) => hosts
                .machines
                .push(((mb * 1e6) as u64, Place::new(FILE, line))),
            None if memory.is_some() => {
                let what = "`vm.memory` is not a size such as `512mb`";
                out.add(&rules::FLY_TYPE, FILE, line, what);
            }
            None => {}
        }
    }
}

/// `512`, `"512"`, `"512mb"`, `"1gb"`: a number without a unit means megabytes.
fn megabytes(memory: &Located) -> Option<f64> {
    let text = memory.text().map(str::trim);
    let plain = memory.number().or_else(|| text?.parse().ok());
    plain.or_else(|| Some(units::parse_bytes(text?)? as f64 / 1e6))
}

/// The memory of a size by its name, or of a number of CPUs of a kind.
fn preset(machine: &Located) -> Option<f64> {
    let size = machine
        .get("size")
        .and_then(Located::text)
        .unwrap_or("shared-cpu-1x");
    let (kind, count) = size.rsplit_once('-')?;
    let named: f64 = count.strip_suffix('x')?.parse().ok()?;
    let cpus = machine
        .get("cpus")
        .and_then(Located::number)
        .unwrap_or(named);
    let said = machine.get("cpu_kind").and_then(Located::text);
    match (said, kind) {
        (Some("performance"), _) | (None, "performance") => Some(2048.0 * cpus),
        (Some("shared"), _) | (None, "shared-cpu") => Some(256.0 * cpus),
        _ => None,
    }
}

/// `30`, `"30s"`, `"1m30s"`.
fn seconds(timeout: &Located) -> Option<f64> {
    if let Some(number) = timeout.number() {
        return Some(number);
    }
    let mut total = 0.0;
    let mut digits = String::new();
    for c in timeout.text()?.trim().chars() {
        let factor = match c {
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            c => {
                digits.push(c);
                continue;
            }
        };
        total += std::mem::take(&mut digits).parse::<f64>().ok()? * factor;
    }
    if digits.is_empty() {
        Some(total)
    } else {
        digits.parse().ok()
    }
}

/// A command as Fly reads it: a text that no shell reads, or a list of words.
fn command(value: &Located) -> Option<Form> {
    match &value.value {
        Kind::Text(text) => Some(words_of(text)),
        Kind::List(items) => {
            let words = items.iter().filter_map(Located::text).map(str::to_owned);
            Some(Form::Words(words.collect()))
        }
        _ => None,
    }
}

fn start(
    project: &Project,
    root: &Located,
    group: &str,
    env: Env,
    connects: Vec<Connects>,
    hosts: &mut Hosts,
    out: &mut Findings,
) {
    let build = root.get("build");
    let said = |key: &str| build.and_then(|build| build.get(key));
    if said("image").is_some() || said("builder").is_some() || said("buildpacks").is_some() {
        let line = build.map_or(1, |build| build.line);
        let what = "the image is not built from a Dockerfile of this project";
        return out.add(&rules::START_UNKNOWN, FILE, line, what);
    }
    let named = said("dockerfile");
    let file = match named.and_then(Located::text) {
        Some(file) => project_path(file),
        None => match project
            .files
            .keys()
            .find(|file| is_dockerfile(file) && !file.contains('/'))
        {
            Some(file) => file.clone(),
            // `fly deploy --image` may deploy it from an image.
            None => return,
        },
    };
    if !project.files.contains_key(&file) {
        let line = named.map_or(1, |named| named.line);
        return out.add(
            &rules::FLY_FILE,
            FILE,
            line,
            format!("there is no `{}`", suggest::shorten(&file)),
        );
    }
    let arguments = said("args").map_or(&[][..], Located::entries).iter();
    let arguments =
        arguments.filter_map(|(name, value)| Some((name.clone(), Value::Known(value.as_env()?))));
    let recipe = Recipe {
        file,
        target: said("build-target")
            .and_then(Located::text)
            .map(str::to_owned),
        arguments: arguments.collect(),
        ..Recipe::default()
    };
    let Some(image) = hosts.build(project, &recipe, out) else {
        return;
    };
    let mut started = Started::of(Host::Fly, image);
    started.env = env;
    started.connects = connects;
    let mounts = root.get("mounts");
    let mounts = mounts.map_or(&[][..], |mounts| match &mounts.value {
        Kind::List(items) => items,
        _ => std::slice::from_ref(mounts),
    });
    let of_group = mounts.iter().filter(|mount| is_of(mount, group));
    started.mounts = of_group
        .filter_map(|mount| Some(mount.get("destination")?.text()?.to_owned()))
        .collect();
    if let Some(experimental) = root.get("experimental") {
        for (key, entry) in [("entrypoint", true), ("cmd", false), ("exec", true)] {
            if let Some(value) = experimental.get(key)
                && let Some(form) = command(value)
            {
                started.place = Some(Place::new(FILE, value.line));
                if entry {
                    started.entry = Some(form);
                } else {
                    started.command = Some(form);
                }
            }
        }
    }
    let processes = root.get("processes").map_or(&[][..], Located::entries);
    if let Some((_, value)) = processes.iter().find(|(name, _)| name == group)
        && let Some(text) = value.text().filter(|text| !text.trim().is_empty())
    {
        // It replaces CMD; ENTRYPOINT stays before it.
        started.command = Some(words_of(text));
        started.place = Some(Place::new(FILE, value.line));
    }
    hosts.start(started, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_several_forms() {
        let root = located::toml(
            "a = '512'\nb = 256\nc = '1gb'\nd = '512mb'\ne = 'much'\nf = '1m30s'\ng = 30\nh = '30'\n",
        )
        .unwrap();
        let mb = |key: &str| megabytes(root.get(key).unwrap());
        assert_eq!(
            ["a", "b", "c", "d", "e"].map(mb),
            [512.0, 256.0, 1000.0, 512.0, -1.0].map(|n| (n > 0.0).then_some(n))
        );
        let s = |key: &str| seconds(root.get(key).unwrap());
        assert_eq!(["f", "g", "h"].map(s), [Some(90.0), Some(30.0), Some(30.0)]);
        let vm = |text: &str| preset(&located::toml(text).unwrap());
        assert_eq!(vm("size = 'shared-cpu-2x'"), Some(512.0));
        assert_eq!(vm("size = 'performance-1x'"), Some(2048.0));
        assert_eq!(vm("cpus = 2\ncpu_kind = 'shared'"), Some(512.0));
    }
}
