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

/// How many times its packed size an entry may take, beyond [`SMALL_BYTES`]. Weights of which 95 % are
/// pruned away unpack to 12 times their size, JSON to 30 times; a zip bomb unpacks to 1000 times.
const MAX_EXPANSION: u64 = 50;

/// What any entry may take, however small its packed form is: weights may be all zero.
const SMALL_BYTES: u64 = 16 << 20;

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
        let whole = self.bytes.as_ref().len() as u64;
        let entry = self
            .zip
            .by_index(index)
            .map_err(|e| error(&place, e.to_string()))?;
        let limit = limit.min(expanded(entry.compressed_size(), whole));
        let size = entry.size();
        check_size(&place, size, limit)?;
        inflate(entry, size, &place, limit)
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
        let whole = self.bytes.as_ref().len() as u64;
        let mut entry = self
            .zip
            .by_index(index)
            .map_err(|e| error(&place, e.to_string()))?;
        let packed = entry.compression() != CompressionMethod::Stored;
        let limit = if packed {
            limit.min(expanded(entry.compressed_size(), whole))
        } else {
            limit
        };
        let size = entry.size();
        check_size(&place, size, limit)?;
        if packed {
            let bytes = inflate(entry, size, &place, limit)?;
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

/// Most bytes of an entry with `packed` bytes in a file of `whole` bytes; it may lie about the former.
fn expanded(packed: u64, whole: u64) -> u64 {
    SMALL_BYTES.max(packed.min(whole).saturating_mul(MAX_EXPANSION))
}

/// Reads at most `limit` bytes, of which the entry claims to have `size`.
fn inflate(entry: impl Read, size: u64, place: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
    // Growing step by step could take twice as much. The claim was checked.
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0));
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
