//! The zip of a `.keras` file: `metadata.json`, `config.json`, `model.weights.h5`.
//!
//! Keras stores entries without compression, so the weights are used where they lie in the mapped
//! file. A compressed entry is inflated under a bound. Every entry's CRC-32 is checked once, which
//! finds flipped bits before they become quietly wrong weights.

use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use zip::{CompressionMethod, ZipArchive};

use crate::import::{ImportError, Limits};

/// Bytes that the HDF5 reader can own: a range of the mapped file, or an inflated entry.
#[derive(Clone)]
pub(super) enum SourceBytes {
    Mapped(Arc<Mmap>, Range<usize>),
    Inflated(Arc<Vec<u8>>),
}

impl AsRef<[u8]> for SourceBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => &map[range.clone()],
            Self::Inflated(bytes) => bytes,
        }
    }
}

pub(super) struct Archive {
    pub(super) metadata: Option<Vec<u8>>,
    pub(super) config: Vec<u8>,
    pub(super) weights: SourceBytes,
}

/// `checked` is told the bytes of the weights as they are checked.
pub(super) fn open(
    map: &Arc<Mmap>,
    limits: &Limits,
    checked: &mut dyn FnMut(u64),
) -> Result<Archive, ImportError> {
    let mut zip = ZipArchive::new(Cursor::new(&map[..]))
        .map_err(|e| error("the zip directory", e.to_string()))?;
    let has = |zip: &ZipArchive<_>, name: &str| zip.index_for_name(name).is_some();
    if !has(&zip, "config.json") {
        return Err(error(
            "the zip archive",
            "it has no `config.json`, so it is not a `.keras` file".into(),
        ));
    }
    if !has(&zip, "model.weights.h5") {
        let message = if has(&zip, "model.weights.npz") {
            "its weights are `model.weights.npz`, which is not supported: save it with h5py installed"
        } else {
            "it has no `model.weights.h5`"
        };
        return Err(error("the zip archive", message.into()));
    }
    let metadata = if has(&zip, "metadata.json") {
        Some(small(&mut zip, "metadata.json", 1 << 20)?)
    } else {
        None
    };
    let config = small(&mut zip, "config.json", limits.max_config_bytes)?;
    let weights = weights(map, &mut zip, limits, checked)?;
    Ok(Archive {
        metadata,
        config,
        weights,
    })
}

type Zip<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn small(zip: &mut Zip, name: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
    let place = format!("zip entry `{name}`");
    let entry = zip
        .by_name(name)
        .map_err(|e| error(&place, e.to_string()))?;
    check_size(&place, entry.size(), limit)?;
    inflate(entry, &place, limit)
}

fn weights(
    map: &Arc<Mmap>,
    zip: &mut Zip,
    limits: &Limits,
    checked: &mut dyn FnMut(u64),
) -> Result<SourceBytes, ImportError> {
    let place = "zip entry `model.weights.h5`";
    let mut entry = zip
        .by_name("model.weights.h5")
        .map_err(|e| error(place, e.to_string()))?;
    // The HDF5 file may also hold the optimizer's state, twice the weights for Adam.
    let limit = limits.max_weight_bytes.saturating_mul(4);
    check_size(place, entry.size(), limit)?;
    if entry.compression() != CompressionMethod::Stored {
        return Ok(SourceBytes::Inflated(Arc::new(inflate(
            entry, place, limit,
        )?)));
    }
    let range = entry
        .data_start()
        .and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
            (end <= map.len()).then_some(start..end)
        })
        .ok_or_else(|| error(place, "it reaches past the end of the file".into()))?;
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0u64;
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                done += n as u64;
                checked(done);
            }
            Err(e) => return Err(error(place, e.to_string())),
        }
    }
    Ok(SourceBytes::Mapped(Arc::clone(map), range))
}

/// Reads at most `limit` bytes, whatever the entry claims about itself.
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

fn error(place: &str, message: String) -> ImportError {
    ImportError::Archive {
        place: place.to_owned(),
        message,
    }
}
