//! The files of an image, as far as the project shows them.

use std::collections::{BTreeMap, BTreeSet};

/// The origin of a file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A copy of a file of the project.
    Project(String),
    /// A text in the Dockerfile.
    Text(String),
    /// It exists, and only a build shows its content.
    Unseen {
        /// Its first name: a copied program keeps its meaning.
        name: String,
        /// Its origin.
        why: String,
    },
}

impl Origin {
    pub(crate) fn unseen(path: &str, why: &str) -> Self {
        Self::Unseen {
            name: base_name(path).to_owned(),
            why: why.to_owned(),
        }
    }

    /// The name that the file had before it was copied under another.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Project(path) => Some(base_name(path)),
            Self::Unseen { name, .. } => Some(name),
            Self::Text(_) => None,
        }
    }
}

/// The known facts about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A file.
    File(&'a Origin),
    /// A folder.
    Folder,
    /// Perhaps something, and why that is not known.
    Perhaps(&'a str),
    /// Nothing.
    No,
}

/// Files by their absolute path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, Origin>,
    folders: BTreeSet<String>,
    /// Folders that may contain more than is known, and why.
    unseen: Vec<(String, String)>,
}

impl Tree {
    pub(crate) fn add(&mut self, path: &str, origin: Origin) {
        self.add_folder(parent(path));
        self.files.insert(path.to_owned(), origin);
    }

    pub(crate) fn add_folder(&mut self, path: &str) {
        let mut path = path;
        while path != "/" && self.folders.insert(path.to_owned()) {
            path = parent(path);
        }
    }

    /// Records that a command wrote to unknown places below a folder.
    pub(crate) fn add_unseen(&mut self, below: &str, why: &str) {
        if !self.unseen.iter().any(|(known, _)| is_below(below, known)) {
            self.unseen.push((below.to_owned(), why.to_owned()));
        }
    }

    /// Drops all unknown places.
    pub(crate) fn forget_unseen(&mut self) {
        self.unseen.clear();
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.files.retain(|file, _| !is_below(file, path));
        self.folders.retain(|folder| !is_below(folder, path));
    }

    pub(crate) fn find(&self, path: &str) -> Found<'_> {
        if let Some(origin) = self.files.get(path) {
            return Found::File(origin);
        }
        if path == "/" || self.folders.contains(path) {
            return Found::Folder;
        }
        let unseen = self.unseen.iter().find(|(below, _)| is_below(path, below));
        unseen.map_or(Found::No, |(_, why)| Found::Perhaps(why))
    }

    pub(crate) fn is_folder(&self, path: &str) -> bool {
        self.find(path) == Found::Folder
    }

    /// Files and their origins.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.files
            .iter()
            .map(|(path, origin)| (path.as_str(), origin))
    }

    /// Copies the content at a path of another tree (or of this one as it was) to a path here.
    /// `into` says that the target is a folder.
    pub(crate) fn copy(&mut self, from: &Self, source: &str, target: &str, into: bool) -> bool {
        if source.contains(['*', '?', '[']) {
            return self.copy_pattern(from, source, target);
        }
        let place = |name: &str| {
            if into {
                join(target, name)
            } else {
                target.to_owned()
            }
        };
        match from.find(source) {
            Found::File(origin) => {
                let origin = origin.clone();
                self.add(&place(base_name(source)), origin);
            }
            Found::Folder => {
                self.add_folder(target);
                let moved = |path: &str| join(target, path[source.len()..].trim_start_matches('/'));
                let inside = |path: &str| path != source && is_below(path, source);
                for (path, origin) in from.files().filter(|(path, _)| inside(path)) {
                    self.add(&moved(path), origin.clone());
                }
                for (below, why) in &from.unseen {
                    if is_below(below, source) {
                        self.add_unseen(&moved(below), why);
                    } else if is_below(source, below) {
                        self.add_unseen(target, why);
                    }
                }
            }
            Found::Perhaps(why) => {
                // It may be a file or a folder, so both cases are handled.
                let why = why.to_owned();
                self.add(&place(base_name(source)), Origin::unseen(source, &why));
                self.add_unseen(target, &why);
            }
            Found::No => return false,
        }
        true
    }

    fn copy_pattern(&mut self, from: &Self, source: &str, target: &str) -> bool {
        let mut found = false;
        for (path, origin) in from.files() {
            if super::pattern::matches(source, path) {
                self.add(&join(target, base_name(path)), origin.clone());
                found = true;
            }
        }
        let folder = parent(source)
            .split(['*', '?', '['])
            .next()
            .unwrap_or("/")
            .to_owned();
        let unseen = from.unseen.iter().find(|(below, _)| {
            is_below(&folder, below) || is_below(below, folder.trim_end_matches('/'))
        });
        if let Some((_, why)) = unseen {
            let why = why.clone();
            self.add_unseen(target, &why);
            found = true;
        }
        found
    }
}

/// The last part of a path.
pub(crate) fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// The folder that contains a path.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Whether a path is a folder or lies in it.
pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    folder == "/"
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

/// A path from the root, without `.` and `..`.
pub(crate) fn absolute(path: &str, folder: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute() {
        for (path, folder, whole) in [
            ("a", "/x", "/x/a"),
            ("./a/../b/", "/x", "/x/b"),
            ("/a//b", "/x", "/a/b"),
            ("..", "/x", "/"),
            (".", "/", "/"),
        ] {
            assert_eq!(absolute(path, folder), whole);
        }
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a") && !is_below("/ab", "/a"));
    }

    #[test]
    fn what_is_copied_keeps_its_origin() {
        let mut from = Tree::default();
        from.add(
            "/src/m.safetensors",
            Origin::Project("m.safetensors".into()),
        );
        from.add_unseen("/src/target", "a build");
        let mut to = Tree::default();
        assert!(to.copy(&from, "/src", "/app", false));
        assert!(matches!(
            to.find("/app/m.safetensors"),
            Found::File(Origin::Project(_))
        ));
        assert_eq!(to.find("/app/target/x"), Found::Perhaps("a build"));
        assert_eq!(to.find("/app/y"), Found::No);
        assert!(to.copy(&from, "/src/target/release/dermal", "/bin/", true));
        assert!(matches!(to.find("/bin/dermal"), Found::File(o) if o.name() == Some("dermal")));
        assert!(to.copy(&from, "/src/*.safetensors", "/m/", true));
        assert!(matches!(to.find("/m/m.safetensors"), Found::File(_)));
        assert!(!to.copy(&from, "/nothing", "/n", false));
    }
}
