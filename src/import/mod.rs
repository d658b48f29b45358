//! Turns model files into a [`Graph`](crate::graph::Graph).
//!
//! In: the path of an untrusted file. Out: a plain graph (nothing folded, nothing fused) whose
//! weights are f32 tensors in the layouts of [`crate::graph`], with the source's layers named on
//! its nodes, and other facts in the file ([`Imported`]). Every file may be hostile: sizes are
//! checked before anything is allocated, nesting is bounded, code in a file is never run, and
//! anything that cannot be reproduced exactly is refused by layer and attribute.
//!
//! The format is found from the content, never from the extension (`sniff`). Each format has its
//! own folder, which turns its layers into calls of the parts that all formats share: a bounded zip
//! (`archive`), sources of weights (`weights`), the graph's builder (`builder`), integers with scales
//! (`quantized`), and the arithmetic of axes, paddings, slices, reductions, folded affine maps and
//! constants. A format refuses features that it does not implement; `read_set` finds attributes that
//! nobody read.
//!
//! [`Import`] joins a graph with labels, recipe and head into a model that runs; the readers of
//! formats only know the graph. Not here: writing (`artifact`).

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

mod affine;
mod archive;
mod arrange;
mod axes;
mod builder;
mod bytes;
mod error;
pub mod facts;
mod functions;
pub mod head;
mod input_size;
mod keras;
pub mod labels;
mod model;
mod names;
mod onnx;
mod ops;
mod options;
mod quantized;
mod read_set;
mod reduce;
mod scaling;
mod select;
mod sniff;
mod tflite;
mod view;
mod weights;
mod window;

pub use error::{ImportError, OutputChoice, Place, UnsupportedOperator};
pub use model::{Import, Made, ModelError, Stage, Warning};
pub use ops::SupportedOp;
pub use options::{ImportOptions, Imported, LabelsFile, Limits, Progress, Stated};

use crate::file::open_regular;

use bytes::SourceBytes;
use sniff::Format;

/// The list of everything that can be imported, by format: the classes of layers in alphabetical
/// order, then the functions that are called on tensors.
#[must_use]
pub fn supported_ops() -> Vec<SupportedOp> {
    let mut ops = keras::supported_ops();
    ops.extend(onnx::supported_ops());
    ops.extend(tflite::supported_ops());
    ops
}

/// Reads a model file, and calls `progress` from time to time.
///
/// # Errors
/// [`ImportError`] names the file, layer, attribute or weight that prevents the import.
pub fn import(
    path: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let shown = path.display().to_string();
    let (format, bytes) = open(path, options)?;
    match format {
        Format::Keras(container) => keras::import(container, &bytes, &shown, options, progress),
        Format::Onnx | Format::Tflite(_) if options.config.is_some() => {
            Err(ImportError::ConfigTwice { path: shown })
        }
        Format::Onnx => onnx::import(bytes.as_ref(), path, options, progress),
        Format::Tflite(file) => tflite::import(file, &bytes, path, options, progress),
    }
}

/// All operators or layers of a file that are not supported: empty if another reason, or none,
/// prevents the import.
///
/// # Errors
/// [`ImportError`] if the file cannot be read.
pub fn unsupported(
    path: &Path,
    options: &ImportOptions,
) -> Result<Vec<UnsupportedOperator>, ImportError> {
    let (format, bytes) = open(path, options)?;
    match format {
        Format::Keras(container) => {
            keras::unsupported(container, &bytes, &path.display().to_string(), options)
        }
        Format::Onnx => Ok(operators_of(onnx::import(
            bytes.as_ref(),
            path,
            options,
            &mut |_| {},
        ))),
        Format::Tflite(file) => Ok(operators_of(tflite::import(
            file,
            &bytes,
            path,
            options,
            &mut |_| {},
        ))),
    }
}

/// The operators that prevented an import.
fn operators_of(result: Result<Imported, ImportError>) -> Vec<UnsupportedOperator> {
    match result {
        Err(ImportError::UnsupportedOperators { operators }) => operators,
        _ => Vec::new(),
    }
}

/// The format of a file, and its bytes.
fn open(path: &Path, options: &ImportOptions) -> Result<(Format, SourceBytes), ImportError> {
    let shown = path.display().to_string();
    let io = |source| ImportError::Io {
        path: shown.clone(),
        source,
    };
    if path.is_dir() {
        return Err(sniff::directory(path, &shown));
    }
    let Some(file) = open_regular(path).map_err(io)? else {
        let hint = "give the path of a `.keras`, `.h5`, `.onnx` or `.tflite` file";
        return Err(sniff::format(&shown, "not a regular file", hint));
    };
    let source_bytes = file.metadata().map_err(io)?.len();
    if source_bytes == 0 {
        let hint = "the download or save did not finish: get the file again";
        return Err(sniff::format(&shown, "empty", hint));
    }
    if source_bytes > options.limits.max_file_bytes {
        return Err(ImportError::TooLarge {
            what: format!("`{shown}`"),
            got: source_bytes,
            limit: options.limits.max_file_bytes,
        });
    }
    let bytes = SourceBytes::whole(map(&file).map_err(io)?);
    Ok((sniff::sniff(&bytes, &shown)?, bytes))
}

/// A file's bytes, read when they are used.
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to one import. Another process that truncates the
    // file meanwhile can make reads fault, as with any mapped file; it cannot break memory safety
    // of what has been copied out.
    unsafe { Mmap::map(file) }
}
