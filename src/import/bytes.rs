//! Bytes of a file: a range of the map, or a part of the file that was inflated.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes that several readers can own together.
#[derive(Clone)]
pub(super) enum SourceBytes {
    /// A range of the mapped file.
    Mapped(Arc<Mmap>, Range<usize>),
    /// Bytes that were compressed in the file.
    Inflated(Arc<Vec<u8>>),
}

impl SourceBytes {
    /// A whole file.
    pub(super) fn whole(map: Mmap) -> Self {
        let len = map.len();
        Self::Mapped(Arc::new(map), 0..len)
    }

    /// A part, shared and not copied; `None` if it reaches past the end.
    pub(super) fn part(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.as_ref().len() {
            return None;
        }
        Some(match self {
            Self::Mapped(map, whole) => {
                let from = whole.start;
                Self::Mapped(Arc::clone(map), from + range.start..from + range.end)
            }
            Self::Inflated(bytes) => Self::Inflated(Arc::new(bytes[range].to_vec())),
        })
    }
}

impl AsRef<[u8]> for SourceBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => &map[range.clone()],
            Self::Inflated(bytes) => bytes,
        }
    }
}
