//! A zip archive that contains a model. Its entries are read under bounds.
//!
//! Entries without compression are used in place, in the mapped file; a compressed entry is
//! inflated under a bound. The CRC-32 of every entry that is read is checked once. This finds
//! flipped bits before they become wrong weights without an error.

use std::io::{Cursor, Read};
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use super::bytes::SourceBytes;
use super::error::ImportError;

/// Most entries of an archive; a SavedModel has about ten.
const MAX_ENTRIES: usize = 100_000;

/// An open archive.
pub(super) struct Archive {
    bytes: SourceBytes,
    zip: ZipArchive<Cursor<SourceBytes>>,
    /// Names as stored, but with `/` in place of Windows' `\`, and without folders and macOS' extra
    /// files.
    names: Vec<(String, usize)>,
}

impl Archive {
    pub(super) fn open(bytes: &SourceBytes) -> Result<Self, ImportError> {
        let place = "the zip directory";
        let zip =
            ZipArchive::new(Cursor::new(bytes.clone())).map_err(|e| error(place, e.to_string()))?;
        if zip.len() > MAX_ENTRIES {
            return Err(error(place, format!("more than {MAX_ENTRIES} entries")));
        }
        let mut names = Vec::with_capacity(zip.len());
        for i in 0..zip.len() {
            let Some(name) = zip.name_for_index(i) else {
                continue;
            };
            let name = name.map_err(|e| error(place, e.to_string()))?;
            let name = name.replace('\\', "/");
            let last = name.rsplit('/').next().unwrap_or_default();
            let added = name.starts_with("__MACOSX/") || last.starts_with("._");
            if !last.is_empty() && !added {
                names.push((name, i));
            }
        }
        Ok(Self {
            bytes: bytes.clone(),
            zip,
            names,
        })
    }

    /// The files in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is a file with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    fn index(&self, name: &str) -> Result<usize, ImportError> {
        let found = self.names.iter().find(|(n, _)| n == name);
        found
            .map(|(_, index)| *index)
            .ok_or_else(|| error(&place(name), "there is no such entry".into()))
    }

    /// A small file, whole.
    pub(super) fn small(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
        let place = place(name);
        let index = self.index(name)?;
        let entry = self
            .zip
            .by_index(index)
            .map_err(|e| error(&place, e.to_string()))?;
        check_size(&place, entry.size(), limit)?;
        inflate(entry, &place, limit)
    }

    /// A large file: in place if it is stored, inflated otherwise. `checked` gets the number of its
    /// bytes that have been checked.
    pub(super) fn large(
        &mut self,
        name: &str,
        limit: u64,
        checked: &mut dyn FnMut(u64),
    ) -> Result<SourceBytes, ImportError> {
        let place = place(name);
        let index = self.index(name)?;
        let mut entry = self
            .zip
            .by_index(index)
            .map_err(|e| error(&place, e.to_string()))?;
        check_size(&place, entry.size(), limit)?;
        if entry.compression() != CompressionMethod::Stored {
            let bytes = inflate(entry, &place, limit)?;
            return Ok(SourceBytes::Inflated(Arc::new(bytes)));
        }
        let part = entry
            .data_start()
            .and_then(|start| {
                let start = usize::try_from(start).ok()?;
                let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
                self.bytes.part(start..end)
            })
            .ok_or_else(|| error(&place, "it reaches past the end of the file".into()))?;
        let mut buffer = vec![0; 1 << 16];
        let mut done = 0u64;
        loop {
            match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    done += n as u64;
                    checked(done);
                }
                Err(e) => return Err(error(&place, e.to_string())),
            }
        }
        Ok(part)
    }
}

/// Reads at most `limit` bytes, whatever size the entry claims.
fn inflate(entry: impl Read, place: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    entry
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| error(place, e.to_string()))?;
    check_size(place, bytes.len() as u64, limit)?;
    Ok(bytes)
}

fn check_size(place: &str, got: u64, limit: u64) -> Result<(), ImportError> {
    if got <= limit {
        return Ok(());
    }
    Err(ImportError::TooLarge {
        what: place.to_owned(),
        got,
        limit,
    })
}

/// An entry's name in messages.
pub(super) fn place(name: &str) -> String {
    format!("zip entry `{name}`")
}

fn error(place: &str, message: String) -> ImportError {
    ImportError::Archive {
        place: place.to_owned(),
        message,
    }
}
