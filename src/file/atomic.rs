//! Files that appear whole or not at all.
//!
//! The content goes to a hidden file beside the target, is fsynced, and replaces the target by a
//! rename. Then the folder is fsynced, so that a power cut leaves either the old file or the new
//! one. The hidden file has a fixed name and is locked while in use. If a killed run left one
//! behind, the missing lock shows it, and the next write of the same target uses it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::hint::{Arguments, Hint, named};

/// Why a file was not written. The target is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum AtomicError {
    /// The path has no file name (`/`, `..`).
    #[error("`{0}` is not the name of a file")]
    NoFileName(PathBuf),
    /// There is a folder with that name.
    #[error("`{0}` is a folder, expected the name of a file")]
    IsFolder(PathBuf),
    /// There is a device, pipe or socket with that name; a rename would replace it.
    #[error("`{0}` is not a regular file")]
    NotRegular(PathBuf),
    /// The folder to write into is missing.
    #[error("the folder `{0}` does not exist")]
    NoFolder(PathBuf),
    /// Another process is writing the same file now.
    #[error("another process is writing `{0}` now")]
    Busy(PathBuf),
    /// The operating system refused.
    #[error("cannot write `{path}`")]
    Io {
        /// The target.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Hint for AtomicError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NoFileName(_) => "no_file_name",
            Self::IsFolder(_) => "is_folder",
            Self::NotRegular(_) => "not_regular",
            Self::NoFolder(_) => "no_folder",
            Self::Busy(_) => "busy",
            Self::Io { .. } => "io",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoFileName(_) | Self::IsFolder(_) => "add a file name to the path".to_owned(),
            Self::NotRegular(_) => "give the name of an ordinary file".to_owned(),
            Self::NoFolder(path) => format!("create it with `mkdir -p {}`", path.display()),
            Self::Busy(_) => "wait for it, or choose another name".to_owned(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a folder that you may write to".to_owned()
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space; nothing was left behind".to_owned()
                }
                _ => "choose another folder".to_owned(),
            },
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NoFileName(path)
            | Self::IsFolder(path)
            | Self::NotRegular(path)
            | Self::NoFolder(path)
            | Self::Busy(path)
            | Self::Io { path, .. } => named!(path),
        }
    }
}

/// Writes `path`; `fill` writes the content. If `fill` fails or panics, the target does not change
/// and the temporary file is removed. An existing file keeps its permissions; a symbolic link is
/// followed.
///
/// # Errors
/// [`AtomicError`] if the target cannot be written, or `fill` fails.
pub fn write<T>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<T>,
) -> Result<T, AtomicError> {
    let target = resolve(path)?;
    let failed = |source| AtomicError::Io {
        path: path.to_owned(),
        source,
    };
    let folder = folder_of(&target);
    let mut partial = Partial::claim(&target, path)?;
    let value = fill(&mut partial.file).map_err(failed)?;
    partial.file.flush().map_err(failed)?;
    if let Ok(old) = fs::metadata(&target) {
        partial
            .file
            .set_permissions(old.permissions())
            .map_err(failed)?;
    }
    partial.file.sync_all().map_err(failed)?;
    fs::rename(&partial.path, &target).map_err(failed)?;
    partial.renamed = true;
    // A folder that cannot be opened for reading cannot be fsynced; the rename is still done.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(value)
}

/// Checks that `path` could be written now, without writing it: for commands that compute for a
/// while before they write.
///
/// # Errors
/// As [`write()`].
pub fn check(path: &Path) -> Result<(), AtomicError> {
    let target = resolve(path)?;
    Partial::claim(&target, path).map(drop)
}

/// The file that the rename will replace: `path`, or the target of the link.
fn resolve(path: &Path) -> Result<PathBuf, AtomicError> {
    if path.file_name().is_none() {
        return Err(AtomicError::NoFileName(path.to_owned()));
    }
    // `file_name` ignores a final slash, by which people mean a folder.
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(AtomicError::IsFolder(path.to_owned()));
    }
    let target = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(_) => path.to_owned(),
    };
    match fs::metadata(&target) {
        Ok(data) if data.is_dir() => return Err(AtomicError::IsFolder(path.to_owned())),
        Ok(data) if !data.is_file() => return Err(AtomicError::NotRegular(path.to_owned())),
        _ => {}
    }
    let folder = folder_of(&target);
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(AtomicError::NoFolder(folder.to_owned()))
        }
        _ => Ok(target),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The temporary file. It is removed on drop unless it was renamed.
struct Partial {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Partial {
    fn claim(target: &Path, asked: &Path) -> Result<Self, AtomicError> {
        let path = partial_path(target);
        let failed = |source| AtomicError::Io {
            path: asked.to_owned(),
            source,
        };
        // Each turn of the loop lost a race against another writer that finished in between.
        for _ in 0..16 {
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Never through a link, because that would overwrite another file.
                    match fs::symlink_metadata(&path) {
                        Ok(data) if data.is_file() => {}
                        Ok(_) => return Err(AtomicError::NotRegular(path)),
                        Err(_) => continue,
                    }
                    match OpenOptions::new().write(true).open(&path) {
                        Ok(file) => file,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(failed(error)),
                    }
                }
                Err(error) => return Err(failed(error)),
            };
            match file.try_lock() {
                // A file system without locks: two writers of one target can then write at the same
                // time.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => return Err(AtomicError::Busy(asked.to_owned())),
            }
            if !is_at(&file, &path) {
                continue;
            }
            let partial = Self {
                file,
                path,
                renamed: false,
            };
            partial.file.set_len(0).map_err(failed)?;
            return Ok(partial);
        }
        Err(AtomicError::Busy(asked.to_owned()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` is still the opened file. Its last owner may have renamed or removed it after we
/// opened it and before we locked it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Where the content of `path` is written until it is complete, and the file that it then replaces.
pub(super) fn places(path: &Path) -> Result<[PathBuf; 2], AtomicError> {
    let target = resolve(path)?;
    Ok([partial_path(&target), target])
}

/// `.name.partial`, or a name of fixed length if that would be too long for a file system.
fn partial_path(target: &Path) -> PathBuf {
    const MAX_NAME_BYTES: usize = 255;
    let name = target.file_name().unwrap_or_default();
    let mut partial = std::ffi::OsString::from(".");
    if name.len() + ".".len() + ".partial".len() <= MAX_NAME_BYTES {
        partial.push(name);
    } else {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        partial.push(format!("{:016x}", hasher.finish()));
    }
    partial.push(".partial");
    target.with_file_name(partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, |w| w.write_all(b"a long first content")).unwrap();
        write(&path, |w| w.write_all(b"short")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(listing(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failure_or_panic_leaves_the_old_file_and_no_partial_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, |w| w.write_all(b"old")).unwrap();
        let failed = write(&path, |w| {
            w.write_all(b"half")?;
            Err::<(), _>(io::Error::other("the source ended"))
        });
        assert_eq!(failed.unwrap_err().kind(), "io");
        let panicked = std::panic::catch_unwind(|| {
            let _ = write(&path, |w| -> io::Result<()> {
                w.write_all(b"half")?;
                std::panic::resume_unwind(Box::new("stop"))
            });
        });
        assert!(panicked.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(listing(folder.path()), ["a.bin"]);
    }

    #[test]
    fn the_partial_file_of_a_killed_run_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::File::create(folder.path().join(".a.bin.partial"))
            .unwrap()
            .write_all(&[7; 5000])
            .unwrap();
        write(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(listing(folder.path()), ["a.bin"]);
    }

    #[test]
    fn two_writers_at_once_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let inner = write(&path, |w| {
            w.write_all(b"first")?;
            Ok(write(&path, |w| w.write_all(b"second")))
        });
        assert_eq!(inner.unwrap().unwrap_err().kind(), "busy");
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn places_that_are_no_file_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| write(path, |w| w.write_all(b"x")).unwrap_err().kind();
        assert_eq!(kind(folder.path()), "is_folder");
        assert_eq!(kind(&folder.path().join("new/")), "is_folder");
        assert_eq!(kind(&folder.path().join("none/a.bin")), "no_folder");
        assert_eq!(kind(Path::new("/")), "no_file_name");
        assert_eq!(kind(Path::new("")), "no_file_name");
        assert_eq!(kind(Path::new("/dev/null")), "not_regular");
        let file = folder.path().join("file");
        write(&file, |w| w.write_all(b"x")).unwrap();
        assert_eq!(kind(&file.join("below")), "io");
    }

    #[test]
    fn a_check_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("a.bin")).unwrap();
        assert!(listing(folder.path()).is_empty());
        assert!(check(&folder.path().join("none/a.bin")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_for_the_target_and_never_for_the_partial_file() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("real"), |w| w.write_all(b"old")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        write(&at("link"), |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read(at("real")).unwrap(), b"new");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        symlink(at("real"), at(".trap.partial")).unwrap();
        let trapped = write(&at("trap"), |w| w.write_all(b"bad"));
        assert_eq!(trapped.unwrap_err().kind(), "not_regular");
        assert_eq!(fs::read(at("real")).unwrap(), b"new");
    }

    #[test]
    fn the_longest_file_name_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let name = "n".repeat(255);
        write(&folder.path().join(&name), |w| w.write_all(b"x")).unwrap();
        assert_eq!(listing(folder.path()), [name]);
    }
}
