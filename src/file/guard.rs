//! No command writes over a file that it reads.
//!
//! A command makes one [`Guard`]. It tells the guard every path that it reads, and asks for every
//! path that it writes, in any order, before it writes anything. The guard recognizes a file by its
//! identity and not by its name: `model`, `./a/../model`, a symbolic link to it, a hard link, and
//! the name in another case on a file system that ignores case are one file, as they are for `cp`.
//! A hard link is refused, although the file's other name would keep the old content: nobody wants
//! the result under only one of two names of a file. On systems without such an identity (outside
//! of Unix), files are compared by their canonical paths, and hard links are not noticed.
//!
//! The guard cannot know a file that is made while the command runs. The rule is about the files
//! that exist when the guard is asked.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic::{self, AtomicError};

use crate::hint::{Arguments, Hint, named};

/// Why a path cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The command reads this file.
    #[error("`{output}` would replace {what} `{input}`, from which it is made")]
    Read {
        /// The path that was to be written, as it was given.
        output: PathBuf,
        /// The option that names it: `-o`.
        option: String,
        /// What is read: `the model`.
        what: &'static str,
        /// Its path as given.
        input: PathBuf,
    },
    /// Two options name it.
    #[error("`{output}` is named by `{first}` and by `{second}`")]
    Twice {
        /// The path.
        output: PathBuf,
        /// An option.
        first: String,
        /// Another option.
        second: String,
    },
    /// It cannot be written at all.
    #[error(transparent)]
    Atomic(#[from] AtomicError),
}

impl Hint for GuardError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "output_is_input",
            Self::Twice { .. } => "output_twice",
            Self::Atomic(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Read { option, .. } => format!(
                "give `{option}` another file: a command never writes over a file that it reads"
            ),
            Self::Twice { .. } => "give each its own name".to_owned(),
            Self::Atomic(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Read {
                output,
                option,
                what,
                input,
            } => named!(output, option, what, input),
            Self::Twice {
                output,
                first,
                second,
            } => named!(output, first, second),
            Self::Atomic(error) => error.arguments(),
        }
    }
}

/// A file that a command may write. Only [`Guard::writes`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output(PathBuf);

impl Output {
    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes the file; `fill` writes the content. See [`atomic::write`].
    ///
    /// # Errors
    /// [`AtomicError`] if it cannot be written; it is then as it was before.
    pub fn write<T>(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<T, AtomicError> {
        atomic::write(&self.0, fill)
    }
}

/// All files of a command. See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The files that are read: their names in messages, and their paths.
    read: Vec<(&'static str, PathBuf)>,
    /// The first `indexed` of `read`, by identity. Thousands of photos are indexed only once, and
    /// only if an existing file could be lost.
    known: HashMap<Identity, usize>,
    indexed: usize,
    /// Options by the file that they write.
    targets: HashMap<PathBuf, String>,
    /// Existing files that would be replaced: the option and its path.
    lost: HashMap<Identity, (String, PathBuf)>,
}

/// The identity of a file under all its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    #[cfg(not(unix))]
    canonical: PathBuf,
}

impl Identity {
    /// `None` if there is nothing at `path`.
    fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let data = fs::metadata(path).ok()?;
            Some(Self {
                device_and_inode: (data.dev(), data.ino()),
            })
        }
        #[cfg(not(unix))]
        {
            let canonical = fs::canonicalize(path).ok()?;
            Some(Self { canonical })
        }
    }
}

impl Guard {
    /// A guard without any files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The command reads `path`; messages call it `what`, such as `the model`.
    ///
    /// # Errors
    /// [`GuardError::Read`] if the command also writes it.
    pub fn reads(&mut self, what: &'static str, path: &Path) -> Result<(), GuardError> {
        if self.replaces_files()
            && let Some(identity) = Identity::of(path)
            && let Some((option, output)) = self.lost.get(&identity)
        {
            return Err(GuardError::Read {
                output: output.clone(),
                option: option.clone(),
                what,
                input: path.to_owned(),
            });
        }
        self.read.push((what, path.to_owned()));
        Ok(())
    }

    /// [`Guard::reads`], if there is a path.
    ///
    /// # Errors
    /// As [`Guard::reads`].
    pub fn may_read<P: AsRef<Path>>(
        &mut self,
        what: &'static str,
        path: Option<P>,
    ) -> Result<(), GuardError> {
        path.map_or(Ok(()), |path| self.reads(what, path.as_ref()))
    }

    /// Whether an existing file will be replaced. Only then can an input be lost, and only then is
    /// it worth finding every photo that a table names.
    #[must_use]
    pub fn replaces_files(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Lets the command write `path`, which `option` names, if the command does not read this file,
    /// no other option writes it, and it could be written now.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn writes(&mut self, option: &str, path: &Path) -> Result<Output, GuardError> {
        let places = atomic::places(path)?;
        let target = with_real_folder(&places[1]);
        let twice = |first: &String| GuardError::Twice {
            output: path.to_owned(),
            first: first.clone(),
            second: option.to_owned(),
        };
        if let Some(first) = self.targets.get(&target) {
            return Err(twice(first));
        }
        let lost: Vec<Identity> = places.iter().filter_map(|p| Identity::of(p)).collect();
        if !lost.is_empty() {
            self.index();
        }
        for identity in &lost {
            if let Some(&read) = self.known.get(identity) {
                let (what, input) = &self.read[read];
                return Err(GuardError::Read {
                    output: path.to_owned(),
                    option: option.to_owned(),
                    what,
                    input: input.clone(),
                });
            }
            if let Some((first, _)) = self.lost.get(identity) {
                return Err(twice(first));
            }
        }
        atomic::check(path)?;
        self.targets.insert(target, option.to_owned());
        for identity in lost {
            self.lost
                .insert(identity, (option.to_owned(), path.to_owned()));
        }
        Ok(Output(path.to_owned()))
    }

    fn index(&mut self) {
        for (i, (_, path)) in self.read.iter().enumerate().skip(self.indexed) {
            if let Some(identity) = Identity::of(path) {
                self.known.entry(identity).or_insert(i);
            }
        }
        self.indexed = self.read.len();
    }
}

/// The canonical path of a file that may not exist yet, from that of its folder.
fn with_real_folder(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            atomic::write(&path, |file| file.write_all(name.as_bytes())).unwrap();
        }
        folder
    }

    fn kind<T>(result: Result<T, GuardError>) -> Option<&'static str> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_file_is_known_under_all_its_names() {
        let folder = folder_with(&["model", "a/other", ".new.partial"]);
        let at = |name: &str| folder.path().join(name);
        let mut outputs = vec![at("model"), at("a/../model"), at("./model")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("model"), at("link")).unwrap();
            std::os::unix::fs::symlink("link", at("link_to_link")).unwrap();
            std::os::unix::fs::symlink(at("a"), at("b")).unwrap();
            fs::hard_link(at("model"), at("hard")).unwrap();
            outputs.extend([at("link"), at("link_to_link"), at("b/../model"), at("hard")]);
        }
        for output in outputs {
            let mut guard = Guard::new();
            guard.reads("the model", &at("model")).unwrap();
            assert_eq!(
                kind(guard.writes("-o", &output)),
                Some("output_is_input"),
                "{output:?}"
            );
            // The same in the other order, for inputs that are known later.
            let mut guard = Guard::new();
            guard.writes("-o", &output).unwrap();
            assert_eq!(
                kind(guard.reads("the model", &at("model"))),
                Some("output_is_input"),
                "{output:?}"
            );
            assert_eq!(fs::read(at("model")).unwrap(), b"model");
        }
        // The content of `new` would be collected in a file that is read.
        let mut guard = Guard::new();
        guard.reads("the model", &at(".new.partial")).unwrap();
        assert_eq!(
            kind(guard.writes("-o", &at("new"))),
            Some("output_is_input")
        );
        assert_eq!(fs::read(at(".new.partial")).unwrap(), b".new.partial");
    }

    #[test]
    fn other_files_may_be_written_and_replaced() {
        let folder = folder_with(&["model", "old", "photos/a.png", "photos/report.html"]);
        let at = |name: &str| folder.path().join(name);
        let mut guard = Guard::new();
        guard.reads("the model", &at("model")).unwrap();
        guard.reads("the labels", &at("not-there")).unwrap();
        guard.reads("a photo", &at("photos/a.png")).unwrap();
        assert!(!guard.replaces_files());
        for (option, path) in [
            ("-o", "new"),
            ("--report", "old"),
            ("--html", "photos/report.html"),
            ("--map", "photos/b.png"),
        ] {
            let output = guard.writes(option, &at(path)).unwrap();
            output.write(|file| file.write_all(b"x")).unwrap();
        }
        assert!(guard.replaces_files());
        assert_eq!(
            kind(guard.writes("--gradcam", &at("photos/../photos/a.png"))),
            Some("output_is_input")
        );
        assert_eq!(fs::read(at("model")).unwrap(), b"model");
    }

    #[test]
    fn two_outputs_of_one_name_are_refused() {
        let folder = folder_with(&["old"]);
        let at = |name: &str| folder.path().join(name);
        for name in ["old", "new"] {
            let mut guard = Guard::new();
            guard.writes("-o", &at(name)).unwrap();
            let again = folder.path().join(".").join(name);
            let error = guard.writes("--report", &again).unwrap_err();
            assert_eq!(error.kind(), "output_twice");
            assert!(error.to_string().contains("`-o` and by `--report`"));
        }
        let mut guard = Guard::new();
        assert_eq!(kind(guard.writes("-o", &at("none/new"))), Some("no_folder"));
    }
}
