//! Which model a server opens, and whether it exists.

use crate::readiness::hosts::{Deployment, Host};
use crate::readiness::image::env::Place;
use crate::readiness::image::files::{Found, Origin, absolute, base_name, is_below};
use crate::readiness::launch::serve::Serve;
use crate::readiness::launch::{Launch, shell::Word};
use crate::readiness::project::Project;
use crate::readiness::rules::{self, Findings};
use crate::text as suggest;

/// A server and the model that it opens.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) host: Host,
    /// The place of its command.
    pub(crate) place: Place,
    pub(crate) serve: Serve,
    pub(crate) launch: Launch,
    pub(crate) model: ServedModel,
    /// The model as it is named.
    pub(crate) named: Option<Word>,
}

/// The model that a server opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServedModel {
    /// A file of the project.
    Own(String),
    /// The built-in demo, because no model is named.
    Demo,
    /// Unknown, and why.
    Unseen(String),
    /// It does not exist.
    Missing,
    /// The path is a folder.
    Folder,
}

impl Served {
    pub(super) fn of(
        project: &Project,
        deployment: &Deployment,
        launch: &Launch,
        serve: &Serve,
    ) -> Self {
        let env = &launch.machine.env;
        let named = serve.model(env);
        let model = named.as_ref().map_or_else(
            || match &env.unseen {
                Some(why) => ServedModel::Unseen(format!("{why} may name it")),
                None => ServedModel::Demo,
            },
            |word| find(project, deployment, launch, word),
        );
        Self {
            host: deployment.host,
            place: launch.place.clone(),
            serve: serve.clone(),
            launch: launch.clone(),
            model,
            named,
        }
    }

    /// The project's file that is served.
    pub(crate) fn own(&self) -> Option<&str> {
        match &self.model {
            ServedModel::Own(path) => Some(path),
            _ => None,
        }
    }

    /// The name by which two servers are compared.
    pub(super) fn shown(&self) -> Option<&str> {
        match &self.model {
            ServedModel::Own(path) => Some(base_name(path)),
            ServedModel::Demo => Some("the demo"),
            ServedModel::Missing | ServedModel::Folder => {
                Some(base_name(&self.named.as_ref()?.text))
            }
            ServedModel::Unseen(_) => None,
        }
    }
}

fn find(project: &Project, deployment: &Deployment, launch: &Launch, word: &Word) -> ServedModel {
    if word.runtime {
        let shown = suggest::shorten(&word.text);
        return ServedModel::Unseen(format!("`{shown}` is known only when it runs"));
    }
    let machine = &launch.machine;
    let path = absolute(&word.text, &machine.workdir);
    let mounted = deployment
        .mounts
        .iter()
        .find(|mount| is_below(&path, mount.trim_end_matches('/')));
    if let Some(mount) = mounted {
        return ServedModel::Unseen(format!(
            "`{path}` is on the disk that is mounted at `{mount}`"
        ));
    }
    match machine.tree.find(&path) {
        Found::File(Origin::Project(own)) => ServedModel::Own(own.clone()),
        Found::File(Origin::Unseen { why, .. }) => ServedModel::Unseen(format!("`{path}`: {why}")),
        Found::File(Origin::Text(_)) | Found::No => ServedModel::Missing,
        Found::Folder => ServedModel::Folder,
        // The project may have a file with this name: an unknown build probably copied it.
        Found::Perhaps(why) => match project.named_like(&path) {
            Some(own) if deployment.image.is_none() => ServedModel::Own(own.to_owned()),
            _ => ServedModel::Unseen(format!("`{path}`: {why}")),
        },
    }
}

/// Files that `dermal serve` does not open, by the ends of their names.
const OTHER_FORMATS: [&str; 10] = [
    ".keras", ".h5", ".hdf5", ".onnx", ".pt", ".pth", ".tflite", ".pb", ".pkl", ".zip",
];

pub(super) fn check(
    project: &Project,
    deployment: &Deployment,
    served: &Served,
    out: &mut Findings,
) {
    let place = served.place.clone();
    let env = &served.launch.machine.env;
    // The line that names the model is the one to correct.
    let place = match served.serve.model {
        None => env
            .known("DERMAL_MODEL")
            .map_or(place, |(_, place)| place.clone()),
        Some(_) => place,
    };
    let (file, line) = (place.file.as_str(), place.line);
    let shown = served.named.as_ref().map_or("", |word| word.text.as_str());
    match &served.model {
        ServedModel::Demo => out.add(&rules::MODEL_DEMO_SERVED, file, line, "no model is named"),
        ServedModel::Unseen(why) => out.add(&rules::MODEL_UNKNOWN, file, line, why.clone()),
        ServedModel::Folder => {
            let what = format!("`{}` is a folder", suggest::shorten(shown));
            out.add(&rules::MODEL_MISSING, file, line, what);
        }
        ServedModel::Own(own) => {
            if OTHER_FORMATS
                .iter()
                .any(|end| own.to_ascii_lowercase().ends_with(end))
            {
                let what = format!("`{own}` is not an artifact of `dermal import`");
                out.add(&rules::MODEL_INVALID, file, line, what);
            }
        }
        ServedModel::Missing if shown.contains('$') => {
            let what = format!(
                "no shell replaces the variable in `{}`",
                suggest::shorten(shown)
            );
            out.add(&rules::MODEL_MISSING, file, line, what);
        }
        ServedModel::Missing => {
            let like = project.named_like(shown);
            if deployment.image.is_some() && like.is_some() {
                let what = format!("the image has no `{}`", suggest::shorten(shown));
                out.add(&rules::DOCKER_MODEL, file, line, what);
            } else {
                let what = format!("there is no `{}`", suggest::shorten(shown));
                out.add(&rules::MODEL_MISSING, file, line, what);
            }
        }
    }
}
