//! `Procfile`: one `name: command` a line (<https://devcenter.heroku.com/articles/procfile>).

use super::{Host, Hosts, Native};
use crate::readiness::image::env::{Env, Place};
use crate::readiness::launch::shell::Value;
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings};
use crate::text as suggest;

const FILE: &str = "Procfile";

pub(super) fn read(project: &Project, hosts: &mut Hosts, out: &mut Findings) {
    let Some(text) = project.text(FILE) else {
        return;
    };
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
                    let mut env = Env::default();
                    env.set("PORT", Value::Runtime, FILE, i + 1);
                    let containers = hosts.native;
                    hosts.native(
                        project,
                        Native {
                            host: Host::Procfile,
                            place: Place::new(FILE, i + 1),
                            command: command.trim(),
                            build: None,
                            folder: "",
                            env,
                            mounts: Vec::new(),
                        },
                    );
                    // Beside a Dockerfile it may be left over from an older way to deploy.
                    hosts.native = containers || !project.files.contains_key("Dockerfile");
                }
            }
            _ => out.add(
                &rules::PROCFILE_SYNTAX,
                FILE,
                i + 1,
                format!("`{}`", suggest::shorten(line)),
            ),
        }
    }
    if !web {
        out.add(&rules::PROCFILE_WEB, FILE, None, "there is no `web:` line");
    }
}
