//! The bytes of a file that tensors share: mapped, or in memory.
//!
//! With the feature `mmap` (on by default) a file is mapped: a page is read when it is first used,
//! and the kernel may drop it again. Without it, as in a browser, the file is read into memory once.
//! Either way the first byte lies on a 64-byte boundary, and clones share the bytes.
//!
//! This is the only module outside `kernels` that uses `unsafe` for a file, and the only one that
//! asks for the feature `mmap`.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

/// Bytes to which the first byte is aligned: one cache line, one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// The bytes of a file. See the module's documentation.
#[derive(Clone)]
pub struct FileBytes(Arc<Backing>);

enum Backing {
    #[cfg(feature = "mmap")]
    Mapped(memmap2::Mmap),
    Memory {
        lines: Vec<Line>,
        len: usize,
    },
}

/// One cache line: the unit of allocation.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

impl FileBytes {
    /// The bytes of an open file.
    ///
    /// A mapped file must not be shortened or overwritten in place while the bytes are in use;
    /// replacing it by a rename is safe.
    ///
    /// # Errors
    /// If the file is empty, cannot be mapped, or cannot be read.
    #[cfg(feature = "mmap")]
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private and read-only. Nobody in this process writes the file; that no
        // other process shortens it is the documented duty of the caller, and cannot be enforced.
        let map = unsafe { memmap2::Mmap::map(file) }?;
        Ok(Self(Arc::new(Backing::Mapped(map))))
    }

    /// The bytes of an open file, read into memory.
    ///
    /// # Errors
    /// If the file cannot be read.
    #[cfg(not(feature = "mmap"))]
    pub fn open(file: &File) -> io::Result<Self> {
        use std::io::Read;

        let mut file = file;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut lines: Vec<Line> = Vec::new();
        let needed = len.div_ceil(ALIGNMENT);
        lines.try_reserve_exact(needed).map_err(io::Error::other)?;
        lines.resize(needed, Zeroable::zeroed());
        file.read_exact(&mut bytemuck::cast_slice_mut(&mut lines)[..len])?;
        Ok(Self(Arc::new(Backing::Memory { lines, len })))
    }

    /// A copy of `bytes` on a 64-byte boundary.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut lines = bytemuck::zeroed_vec::<Line>(bytes.len().div_ceil(ALIGNMENT));
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        let len = bytes.len();
        Self(Arc::new(Backing::Memory { lines, len }))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            #[cfg(feature = "mmap")]
            Backing::Mapped(map) => map,
            Backing::Memory { lines, len } => &bytemuck::cast_slice(lines)[..*len],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn bytes_are_those_of_the_file_and_aligned() {
        for len in [1, 63, 64, 65, 5000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            for got in [FileBytes::open(&file).unwrap(), FileBytes::copy_of(&bytes)] {
                assert_eq!(&*got, bytes, "{len}");
                assert!((got.as_ptr() as usize).is_multiple_of(ALIGNMENT), "{len}");
                assert_eq!(got.clone().as_ptr(), got.as_ptr(), "a clone shares");
            }
        }
        assert!(FileBytes::copy_of(&[]).is_empty());
    }
}
