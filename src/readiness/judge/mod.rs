//! Rules about a container at its start, whatever file sets the command.

mod health;
mod image;
mod model;
mod start;

pub(crate) use model::Served;

use super::hosts::{Deployment, Host, Hosts};
use super::launch::{self, Launch, Program};
use super::project::Project;
use super::rules::{self, Findings};
use crate::text as suggest;

/// The program that each deployment starts in the end.
pub(crate) fn follow(project: &Project, hosts: &Hosts) -> Vec<Launch> {
    hosts
        .deployments
        .iter()
        .map(|deployment| {
            let launch = launch::follow(project, &deployment.container);
            match &deployment.otherwise {
                Some(argv) if !works(&launch) => {
                    let mut container = deployment.container.clone();
                    container.argv.clone_from(argv);
                    let other = launch::follow(project, &container);
                    if works(&other) { other } else { launch }
                }
                _ => launch,
            }
        })
        .collect()
}

fn works(launch: &Launch) -> bool {
    matches!(launch.program, Program::Serve(_)) && launch.problems.is_empty()
}

/// Judges every deployment, and returns the servers that are started.
pub(crate) fn check(project: &Project, hosts: &Hosts, out: &mut Findings) -> Vec<Served> {
    let launches = follow(project, hosts);
    let mut all = Vec::new();
    for (deployment, launch) in hosts.deployments.iter().zip(&launches) {
        let serve = match &launch.program {
            Program::Serve(serve) => Some(serve),
            _ => None,
        };
        let served = serve.map(|serve| Served::of(project, deployment, launch, serve));
        if is_shadow(hosts, deployment) {
            // Another command replaces it: it only counts if the two disagree.
            all.extend(served.map(|served| (served, true)));
            continue;
        }
        for (rule, place, what) in &launch.problems {
            out.add(rule, &place.file, place.line, what.clone());
        }
        if let Some(own) = &deployment.image {
            image::check(own, launch, out);
            health::check(deployment, own, launch, out);
        }
        let place = &launch.place;
        match &launch.program {
            Program::Other(what) if !serves_elsewhere(hosts, &launches, deployment) => out.add(
                &rules::START_OTHER_PROGRAM,
                &place.file,
                place.line,
                format!("`{}` is not `dermal serve`", suggest::shorten(what)),
            ),
            Program::Unknown(why) if !serves_elsewhere(hosts, &launches, deployment) => {
                out.add(&rules::START_UNKNOWN, &place.file, place.line, why.clone());
            }
            _ => {}
        }
        if let Some(served) = served {
            start::check(project, deployment, launch, &served, out);
            model::check(project, deployment, &served, out);
            all.push((served, false));
        }
    }
    disagreements(&all, out);
    all.into_iter()
        .filter(|(_, shadow)| !shadow)
        .map(|(served, _)| served)
        .collect()
}

/// Whether a host starts the image of this deployment with another command.
fn is_shadow(hosts: &Hosts, deployment: &Deployment) -> bool {
    let file = |d: &Deployment| d.image.as_ref().map(|image| image.file.clone());
    deployment.host == Host::Docker
        && hosts
            .deployments
            .iter()
            .any(|other| other.host != Host::Docker && file(other) == file(deployment))
}

/// Whether another service of the same host is the server; this one then runs beside it.
fn serves_elsewhere(hosts: &Hosts, launches: &[Launch], deployment: &Deployment) -> bool {
    hosts
        .deployments
        .iter()
        .zip(launches)
        .any(|(other, launch)| {
            other.host == deployment.host
                && deployment.host != Host::Docker
                && !std::ptr::eq(other, deployment)
                && matches!(launch.program, Program::Serve(_))
        })
}

/// Different models on different hosts.
fn disagreements(all: &[(Served, bool)], out: &mut Findings) {
    let mut named = all
        .iter()
        .filter_map(|(served, _)| Some((served, served.shown()?)));
    let Some((first, model)) = named.next() else {
        return;
    };
    for (served, other) in named {
        if other != model && served.host != first.host {
            out.add(
                &rules::FILES_DISAGREE,
                &served.place.file,
                served.place.line,
                format!(
                    "it serves `{}`, {} serves `{}`",
                    suggest::shorten(other),
                    first.place.file,
                    suggest::shorten(model)
                ),
            );
        }
    }
}
