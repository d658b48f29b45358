//! The memory that a calibration may need, computed before it starts, so that it is refused and not
//! killed halfway.

use super::error::CompressError;
use super::int8::Int8Settings;
use crate::artifact::Model;
use crate::engine::Plan;
use crate::memory::measure;
use crate::predict::{Limits, PhotoInput};
use crate::quantize::{histogram_bytes, separate_tables};

/// The least memory for decoding a photo on each thread.
const LEAST_DECODE_BYTES: u64 = 24 << 20;

/// The limits for photos that keep the whole process below `most` bytes.
///
/// # Errors
/// [`CompressError::Memory`] with what each part needs.
pub(super) fn photo_limits(
    base: &Model,
    settings: &Int8Settings,
    most: u64,
) -> Result<Limits, CompressError> {
    let graph = separate_tables(&base.graph)?;
    let weights: u64 = graph.tensors.values().map(|t| t.bytes().len() as u64).sum();
    let largest = graph.tensors.values().map(|t| t.bytes().len() as u64).max();
    let arena = (Plan::new(&graph, &[]).arena_len * size_of::<f32>()) as u64;
    let threads = settings.engine.threads as u64;
    let waiting = (PhotoInput::of(base)?.len() * size_of::<f32>()) as u64 * (2 * threads + 1);
    let parts = vec![
        ("this process now", measure::rss_bytes().unwrap_or(16 << 20)),
        ("f32 weights (the file, mapped)", weights),
        ("balanced f32 weights", weights),
        ("two INT8 candidates", weights / 2),
        (
            "conversion of the largest layer",
            largest.unwrap_or(0) * 5 / 2,
        ),
        ("values of a photo, twice", arena * 2),
        ("histograms", histogram_bytes(graph.nodes().len()) * 2),
        ("photos that wait", waiting),
    ];
    let fixed: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let each = most.saturating_sub(fixed) / threads;
    if each < LEAST_DECODE_BYTES {
        return Err(CompressError::Memory {
            needed_bytes: fixed + LEAST_DECODE_BYTES * threads,
            allowed_bytes: most,
            parts,
            decode_bytes: LEAST_DECODE_BYTES,
        });
    }
    let given = settings.photo_limits;
    Ok(Limits {
        max_bytes: given.max_bytes.min(each / 4),
        max_memory_bytes: given.max_memory_bytes.min(each - each / 4),
        ..given
    })
}
