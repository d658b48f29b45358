//! The options with which `dermal serve` is started.

use std::net::IpAddr;

use super::Served;
use crate::readiness::hosts::{Deployment, Host};
use crate::readiness::image::env::{Env, Place};
use crate::readiness::launch::Launch;
use crate::readiness::launch::serve::{Port, parts};
use crate::readiness::launch::shell::Value;
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings, Rule};
use crate::text as suggest;

/// The port that Render uses if none is set.
const RENDER_PORT: u16 = 10_000;

pub(super) fn check(
    project: &Project,
    deployment: &Deployment,
    launch: &Launch,
    served: &Served,
    out: &mut Findings,
) {
    let say = Say {
        place: &launch.place,
        env: &launch.machine.env,
    };
    words(project, served, &say, out);
    address(served, &say, out);
    port(project, deployment, served, &say, out);
    switches(project, served, &say, out);
    if launch.shell_stays && deployment.image.is_some() {
        let what = "the command is in shell form without `exec`";
        say.here(&rules::START_SHELL, what, out);
    }
    if let Some(key) = served.serve.value("--api-key")
        && !key.runtime
        && !key.text.starts_with('$')
    {
        say.here(&rules::SECRET, "`--api-key` with its value", out);
    }
}

/// The place of a finding: the command, or the variable in question.
struct Say<'a> {
    place: &'a Place,
    env: &'a Env,
}

impl Say<'_> {
    fn here(&self, rule: &'static Rule, what: impl Into<String>, out: &mut Findings) {
        out.add(rule, &self.place.file, self.place.line, what);
    }

    fn at_variable(
        &self,
        name: &str,
        rule: &'static Rule,
        what: impl Into<String>,
        out: &mut Findings,
    ) {
        let place = self.env.known(name).map(|(_, place)| place);
        let place = place
            .filter(|place| !place.file.is_empty())
            .unwrap_or(self.place);
        out.add(rule, &place.file, place.line, what);
    }
}

fn words(project: &Project, served: &Served, say: &Say<'_>, out: &mut Findings) {
    let flags = &project.flags;
    for word in &served.serve.unknown {
        let names: Vec<&str> = flags.iter().map(|flag| flag.name.as_str()).collect();
        let near = suggest::nearest(word, &names)
            .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let what = format!("`dermal serve` has no `{}`{near}", suggest::shorten(word));
        say.here(&rules::START_UNKNOWN_FLAG, what, out);
    }
    for name in &served.serve.without_value {
        let of_port =
            matches!(name.as_str(), "--port" | "--bind") && say.env.get("PORT") == Value::Unset;
        if of_port {
            let what = format!("PORT is not set here, and `{name}` is left without a value");
            say.here(&rules::START_PORT_EMPTY, what, out);
        } else {
            say.here(
                &rules::START_UNKNOWN_FLAG,
                format!("`{name}` has no value"),
                out,
            );
        }
    }
}

fn address(served: &Served, say: &Say<'_>, out: &mut Findings) {
    let Some(bind) = served.serve.bind(say.env) else {
        return;
    };
    let (address, _) = parts(&bind.text);
    if bind.runtime && address.contains('$') {
        return;
    }
    let plain = address.trim_start_matches('[').trim_end_matches(']');
    let local = plain == "localhost" || plain.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if local {
        say.here(&rules::START_LOCALHOST, format!("it binds {address}"), out);
    } else if address.contains('$') {
        let what = format!(
            "no shell replaces the variable in `{}`",
            suggest::shorten(address)
        );
        say.here(&rules::START_PORT_UNEXPANDED, what, out);
    } else if plain.parse::<IpAddr>().is_err() {
        let what = format!("`{}` is not an IP address", suggest::shorten(&bind.text));
        say.here(&rules::START_UNKNOWN_FLAG, what, out);
    }
}

fn port(
    project: &Project,
    deployment: &Deployment,
    served: &Served,
    say: &Say<'_>,
    out: &mut Findings,
) {
    let port = served.serve.port(say.env);
    let by_word = served
        .serve
        .bind(say.env)
        .is_some_and(|bind| parts(&bind.text).1.is_some())
        || served.serve.has("--port");
    match &port {
        Port::Bad(text) => {
            let shown = suggest::shorten(text);
            let (rule, what) = if text.is_empty() {
                (
                    &rules::START_PORT_EMPTY,
                    "PORT is not set here, so the value has no port".to_owned(),
                )
            } else if text.contains('$') {
                (
                    &rules::START_PORT_UNEXPANDED,
                    format!("no shell replaces `{shown}` here"),
                )
            } else {
                (
                    &rules::START_UNKNOWN_FLAG,
                    format!("`{shown}` is not a port"),
                )
            };
            if by_word {
                say.here(rule, what, out);
            } else {
                say.at_variable("PORT", rule, what, out);
            }
        }
        Port::Fixed(number) => fixed(project, deployment, *number, say, out),
        _ => {}
    }
    let Some(bound) = port.number() else { return };
    for connection in &deployment.connects {
        let same_key = deployment
            .connects
            .iter()
            .filter(|other| other.key == connection.key);
        if same_key.clone().all(|other| other.port != bound) {
            let what = format!(
                "`{} = {}`, but the server binds {bound}",
                connection.key, connection.port
            );
            out.add(
                connection.rule,
                &connection.place.file,
                connection.place.line,
                what,
            );
        }
    }
    // The image does not know what a host sets.
    let own = matches!(port, Port::Fixed(_) | Port::Variable(_))
        || matches!(deployment.host, Host::Fly | Host::Compose);
    if let Some(image) = deployment.image.as_ref().filter(|_| own) {
        super::image::exposed(image, bound, out);
    }
}

/// A port that does not follow the host's.
fn fixed(
    project: &Project,
    deployment: &Deployment,
    number: u16,
    say: &Say<'_>,
    out: &mut Findings,
) {
    let what = format!("it binds port {number}");
    let platform = project.settings.platform.as_deref().unwrap_or_default();
    let exposed = deployment
        .image
        .as_ref()
        .is_some_and(|image| super::image::exposes(image, number));
    let given = say.env.known("PORT").map(|(port, _)| port.to_owned());
    match deployment.host {
        Host::Procfile => say.here(&rules::START_FIXED_PORT, what, out),
        Host::Render if number == RENDER_PORT => {}
        Host::Render | Host::Railway if given.as_deref() != Some(number.to_string().as_str()) => {
            say.here(&rules::START_PORT_ASSUMED, what, out);
        }
        Host::Docker if platform.starts_with("heroku-") => {
            say.here(&rules::START_FIXED_PORT, what, out);
        }
        Host::Docker
            if ["render-", "railway-"]
                .iter()
                .any(|host| platform.starts_with(host))
                && !(exposed || platform.starts_with("render-") && number == RENDER_PORT) =>
        {
            say.here(&rules::START_PORT_ASSUMED, what, out);
        }
        _ => {}
    }
}

/// `true`, `false` and similar words, as the server reads them.
fn switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

fn switches(project: &Project, served: &Served, say: &Say<'_>, out: &mut Findings) {
    let serve = &served.serve;
    let mut lazy = serve.has("--lazy");
    if serve.has("--preload") && lazy {
        say.here(
            &rules::START_CONTRADICTION,
            "`--preload` and `--lazy` are both there",
            out,
        );
        lazy = false;
    } else if lazy {
        say.here(
            &rules::START_LAZY,
            "`--lazy` loads the model at the first photo",
            out,
        );
    }
    if serve.has("--no-gradcam") && project.settings.gradcam {
        say.here(&rules::START_GRADCAM_OFF, "`--no-gradcam`", out);
    }
    for name in [
        "PRELOAD_MODEL",
        "DERMAL_PRELOAD",
        "ENABLE_GRADCAM",
        "DERMAL_GRADCAM",
    ] {
        let Some((text, _)) = say.env.known(name) else {
            continue;
        };
        let Some(on) = switch(text) else {
            let what = format!(
                "`{name}={}` is neither true nor false",
                suggest::shorten(text)
            );
            say.at_variable(name, &rules::START_UNKNOWN_FLAG, what, out);
            continue;
        };
        let shown = format!("`{name}={text}`");
        let of_loading = name.contains("PRELOAD");
        let against = match (of_loading, on) {
            (true, false) => "--preload",
            (true, true) => "--lazy",
            (false, true) => "--no-gradcam",
            (false, false) => "",
        };
        if !against.is_empty() && serve.has(against) {
            let what = format!("{shown}, but the server is started with `{against}`");
            say.at_variable(name, &rules::START_CONTRADICTION, what, out);
        } else if of_loading && !on && !lazy {
            let what = format!("{shown} loads the model at the first photo");
            say.at_variable(name, &rules::START_LAZY, what, out);
        }
        if !of_loading && !on && project.settings.gradcam {
            say.at_variable(name, &rules::START_GRADCAM_OFF, shown, out);
        }
    }
}
