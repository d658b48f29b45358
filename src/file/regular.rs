//! Opens files that must be regular ones. Opening a pipe waits for its writer, for ever if there is
//! none, and reading from one takes bytes away from whoever it was meant for.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Opens a file for reading; `None` if it is a folder, a pipe, a socket or a device. Those are not
/// even opened.
///
/// # Errors
/// If there is no such file, or this user may not read it.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    // Another file may have taken its place meanwhile.
    Ok(file.metadata()?.is_file().then_some(file))
}

/// What [`open_within`] found.
#[derive(Debug)]
pub enum Within {
    /// The open file.
    File(File),
    /// The path leads out of the folder.
    Outside,
    /// It is a folder, a pipe, a socket or a device.
    NotRegular,
}

/// Opens a file only if it is in a folder or below it, wherever links lead.
///
/// # Errors
/// If there is no such file or folder, or this user may not read it.
pub fn open_within(folder: &Path, path: &Path) -> io::Result<Within> {
    let inside = path.canonicalize()?;
    if !inside.starts_with(folder.canonicalize()?) {
        return Ok(Within::Outside);
    }
    Ok(open_regular(&inside)?.map_or(Within::NotRegular, Within::File))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn pipes_and_links_that_lead_out_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        File::create(at("file")).unwrap();
        File::create(outside.path().join("secret")).unwrap();
        symlink(at("file"), at("to_file")).unwrap();
        symlink(outside.path().join("secret"), at("to_secret")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(at("pipe"))
                .status()
                .unwrap()
                .success()
        );
        for (name, regular, within) in [
            ("file", true, true),
            ("to_file", true, true),
            ("to_secret", true, false),
            ("pipe", false, false),
            (".", false, false),
        ] {
            let path = at(name);
            assert_eq!(open_regular(&path).unwrap().is_some(), regular, "{name}");
            let got = open_within(folder.path(), &path).unwrap();
            assert_eq!(matches!(got, Within::File(_)), within, "{name}");
        }
        assert!(open_regular(&at("loop")).is_err());
        assert!(open_within(folder.path(), &at("absent")).is_err());
        assert!(open_regular(Path::new("/dev/zero")).unwrap().is_none());
    }
}
