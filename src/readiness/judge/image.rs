//! The ports that an image announces, and its user.

use crate::readiness::image::Image;
use crate::readiness::image::base::Has;
use crate::readiness::image::files::Found;
use crate::readiness::launch::Launch;
use crate::readiness::rules::{self, Findings};
use crate::text as suggest;

pub(super) fn check(image: &Image, launch: &Launch, out: &mut Findings) {
    if image.runs_as_root() && !launch.changes_user {
        let what = "the last stage sets no other user";
        out.add(&rules::DOCKER_ROOT, &image.file, image.line, what);
    }
    let Some(user) = image.user.as_ref().filter(|user| !user.value.runtime) else {
        return;
    };
    let name = user.value.text.split(':').next().unwrap_or_default();
    let number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    let made = image
        .machine
        .users
        .iter()
        .any(|made| made == "*" || made == name);
    let listed = !matches!(
        image.machine.tree.find("/etc/passwd"),
        Found::No | Found::Folder
    );
    if !number && !made && !listed && image.base.knows_user(name) == Has::No {
        let (name, base) = (suggest::shorten(name), suggest::shorten(&image.base.name));
        let what = format!("`{base}` has no user `{name}`, and nothing makes one");
        out.add(&rules::DOCKER_USER, &user.place.file, user.place.line, what);
    }
}

/// The ports that EXPOSE names: first and last.
fn ports(image: &Image) -> impl Iterator<Item = Option<(u16, u16)>> + use<'_> {
    image.exposed.iter().map(|said| {
        if said.value.runtime {
            return None;
        }
        let port = said.value.text.split('/').next()?;
        let (from, to) = port.split_once('-').unwrap_or((port, port));
        Some((from.parse().ok()?, to.parse().ok()?))
    })
}

/// Whether EXPOSE names a port.
pub(super) fn exposes(image: &Image, port: u16) -> bool {
    ports(image)
        .flatten()
        .any(|(from, to)| (from..=to).contains(&port))
}

/// Compares EXPOSE with the port that is bound.
pub(super) fn exposed(image: &Image, bound: u16, out: &mut Findings) {
    let all_known = ports(image).all(|port| port.is_some());
    if let Some(first) = image.exposed.first()
        && all_known
        && !exposes(image, bound)
    {
        let what = format!("EXPOSE {}, but the server binds {bound}", first.value.text);
        out.add(
            &rules::DOCKER_PORT,
            &first.place.file,
            first.place.line,
            what,
        );
    }
}
