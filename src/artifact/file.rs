//! Reading and writing the artifact file.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::error::ArtifactError;
use super::foreign::Foreign;
use super::header::{self, Entry, Piece};
use super::model::Model;
use crate::file::{atomic, open_regular};
use crate::graph::Node;
use crate::storage::FileBytes;
use crate::tensor::{ALIGNMENT, Tensor, TensorError};

/// Bytes that are written at a time, between two calls of a progress function.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes `model` to `path`, atomically. The same model gives the same bytes. Returns the file's
/// size in bytes.
///
/// # Errors
/// [`ArtifactError`] if the manifest does not fit the graph or the file cannot be written; `path`
/// is then as it was before.
pub fn write(path: &Path, model: &Model) -> Result<u64, ArtifactError> {
    write_with_progress(path, model, &mut |_, _| {})
}

/// Like [`write()`], calling `progress` with the bytes done and the bytes in all. Weights are
/// streamed, so no copy of them is in memory.
///
/// # Errors
/// As [`write()`].
pub fn write_with_progress(
    path: &Path,
    model: &Model,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, ArtifactError> {
    model.validate()?;
    let (header, pieces) = header::encode(model)?;
    let total = header.len() + pieces.iter().map(Piece::bytes).sum::<usize>();
    atomic::write(path, |out| {
        out.write_all(&header)?;
        let mut done = header.len();
        for piece in &pieces {
            match piece {
                Piece::Tensor(tensor) => {
                    for chunk in tensor.bytes().chunks(CHUNK_BYTES) {
                        out.write_all(chunk)?;
                        done += chunk.len();
                        progress(done as u64, total as u64);
                    }
                }
                Piece::Filler(bytes) => {
                    out.write_all(&[0; ALIGNMENT][..*bytes])?;
                    done += bytes;
                }
            }
        }
        Ok(())
    })?;
    Ok(total as u64)
}

/// The size that the file of `model` would have.
///
/// # Errors
/// [`ArtifactError`] if the manifest does not fit the graph.
pub fn encoded_bytes(model: &Model) -> Result<u64, ArtifactError> {
    model.validate()?;
    let (header, pieces) = header::encode(model)?;
    let total = header.len() + pieces.iter().map(Piece::bytes).sum::<usize>();
    Ok(total as u64)
}

/// Opens an artifact. The file is mapped (see [`FileBytes`]), and its weights are used in place.
///
/// The file must not be shortened or overwritten in place while the model is in use; replacing it
/// by a rename, as [`write()`] does, is safe.
///
/// # Errors
/// [`ArtifactError`] for the first fact about the file that is wrong.
pub fn load(path: &Path) -> Result<Model, ArtifactError> {
    let file = open_regular(path).map_err(ArtifactError::Io)?;
    let file = file.ok_or(ArtifactError::NotAFile)?;
    if file.metadata().map_err(ArtifactError::Io)?.len() == 0 {
        // An empty file cannot be mapped.
        return Err(ArtifactError::Foreign(Foreign::Empty));
    }
    decode_shared(&FileBytes::open(&file).map_err(ArtifactError::Io)?)
}

/// Opens an artifact whose bytes are in memory. They are copied once, to a 64-byte boundary.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(bytes: &[u8]) -> Result<Model, ArtifactError> {
    decode_shared(&FileBytes::copy_of(bytes))
}

/// Reads an artifact; the tensors of the model share its bytes.
fn decode_shared(file: &FileBytes) -> Result<Model, ArtifactError> {
    decode(file, |entry| {
        let range = entry.range.clone();
        Tensor::from_file(entry.dtype, entry.shape.clone(), file.clone(), range)
    })
}

/// Opens an artifact that stays in memory for ever: the embedded model.
///
/// # Errors
/// As [`load`]; [`ArtifactError::Misaligned`] if `bytes` does not start on a 64-byte boundary.
pub fn load_static(bytes: &'static [u8]) -> Result<Model, ArtifactError> {
    if !(bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
        return Err(ArtifactError::Misaligned {
            tensor: "(the embedded file)".into(),
            offset: (bytes.as_ptr() as usize % ALIGNMENT) as u64,
        });
    }
    decode(bytes, |entry| {
        Tensor::from_static(entry.dtype, entry.shape.clone(), bytes, entry.range.clone())
    })
}

fn decode(
    bytes: &[u8],
    view: impl Fn(&Entry) -> Result<Tensor, TensorError>,
) -> Result<Model, ArtifactError> {
    if let Some(foreign) = Foreign::sniff(bytes) {
        return Err(ArtifactError::Foreign(foreign));
    }
    let header = header::decode(bytes)?;
    let read: HashSet<&str> = header
        .graph
        .nodes()
        .iter()
        .flat_map(Node::tensors)
        .collect();
    let mut tensors = BTreeMap::new();
    for entry in &header.tensors {
        if !read.contains(entry.name.as_str()) {
            return Err(ArtifactError::UnreadTensor(entry.name.clone()));
        }
        let tensor = view(entry).map_err(|source| ArtifactError::Tensor {
            tensor: entry.name.clone(),
            source,
        })?;
        tensors.insert(entry.name.clone(), tensor);
    }
    let model = Model {
        graph: header.graph.with_tensors(tensors)?,
        manifest: header.manifest,
    };
    model.validate()?;
    Ok(model)
}

impl Piece<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.bytes().len(),
            Self::Filler(bytes) => *bytes,
        }
    }
}
