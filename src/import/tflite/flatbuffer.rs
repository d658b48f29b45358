//! A bounded reader of FlatBuffers, in place.
//!
//! Everything in the file is reached through offsets. Each offset, table, vector and text is checked
//! to lie inside of the file before it is used, and nothing is copied, so a damaged or hostile file
//! gives an error with the offset of the damage. A table is read slot by slot by code that knows its
//! schema, and no code here calls itself: there is no depth to bound, and a circle of offsets is read
//! once.
//!
//! Source: <https://flatbuffers.dev/internals/>.

use std::borrow::Cow;

use crate::import::error::ImportError;

/// Bytes of a text that are read. Names of fused operators have some hundred.
const LONGEST_TEXT: usize = 4096;

/// The file is damaged at `offset`.
pub(super) fn damaged(offset: usize, message: impl Into<Box<str>>) -> ImportError {
    ImportError::FlatBuffer {
        offset,
        message: message.into(),
    }
}

/// `N` bytes of the file.
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ImportError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk().copied())
        .ok_or_else(|| damaged(at, "an offset leads out of the file"))
}

/// The position to which the offset at `at` leads.
fn followed(bytes: &[u8], at: usize) -> Result<usize, ImportError> {
    let offset = u32::from_le_bytes(bytes_at(bytes, at)?);
    let target = usize::try_from(offset)
        .ok()
        .filter(|&offset| offset > 0)
        .and_then(|offset| at.checked_add(offset))
        .filter(|&target| target < bytes.len());
    target.ok_or_else(|| damaged(at, "an offset leads out of the file"))
}

/// A table: fields by their numbers in the schema, each of which may be left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    /// Where it begins.
    pub(super) at: usize,
    /// Its list of fields.
    fields: &'a [u8],
    /// Bytes of it that stand in place.
    size: usize,
}

impl<'a> Table<'a> {
    /// The table that the file begins with.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Self, ImportError> {
        Self::new(bytes, followed(bytes, 0)?)
    }

    fn new(bytes: &'a [u8], at: usize) -> Result<Self, ImportError> {
        let back = i64::from(i32::from_le_bytes(bytes_at(bytes, at)?));
        let start = i64::try_from(at).unwrap_or(i64::MAX) - back;
        let wrong = || damaged(at, "the fields of a table lie outside of the file");
        let start = usize::try_from(start).map_err(|_| wrong())?;
        let length = usize::from(u16::from_le_bytes(bytes_at(bytes, start)?));
        let size = usize::from(u16::from_le_bytes(bytes_at(
            bytes,
            start.saturating_add(2),
        )?));
        let list = start
            .checked_add(length)
            .and_then(|end| bytes.get(start..end));
        let fields = list.and_then(|list| list.get(4..)).ok_or_else(wrong)?;
        let whole = at.checked_add(size).is_some_and(|end| end <= bytes.len());
        if !whole || size < 4 {
            return Err(wrong());
        }
        Ok(Self {
            bytes,
            at,
            fields,
            size,
        })
    }

    /// The fields that are there, by their numbers.
    pub(super) fn present(&self) -> impl Iterator<Item = usize> {
        let (pairs, _) = self.fields.as_chunks::<2>();
        let there = |(slot, pair): (usize, &[u8; 2])| (*pair != [0, 0]).then_some(slot);
        pairs.iter().enumerate().filter_map(there)
    }

    /// Where a field of some bytes stands, if it is there.
    fn place(&self, slot: usize, len: usize) -> Result<Option<usize>, ImportError> {
        let (pairs, _) = self.fields.as_chunks::<2>();
        let offset = pairs
            .get(slot)
            .map_or(0, |&pair| usize::from(u16::from_le_bytes(pair)));
        match offset {
            0 => Ok(None),
            _ if offset + len <= self.size => Ok(Some(self.at + offset)),
            _ => {
                let message = format!("field {slot} of a table lies outside of it");
                Err(damaged(self.at, message))
            }
        }
    }

    fn scalar<const N: usize>(&self, slot: usize) -> Result<Option<[u8; N]>, ImportError> {
        let at = self.place(slot, N)?;
        at.map(|at| bytes_at(self.bytes, at)).transpose()
    }

    pub(super) fn i8(&self, slot: usize, default: i8) -> Result<i8, ImportError> {
        Ok(self.scalar(slot)?.map_or(default, i8::from_le_bytes))
    }

    pub(super) fn i32(&self, slot: usize, default: i32) -> Result<i32, ImportError> {
        Ok(self.scalar(slot)?.map_or(default, i32::from_le_bytes))
    }

    pub(super) fn u32(&self, slot: usize, default: u32) -> Result<u32, ImportError> {
        Ok(self.scalar(slot)?.map_or(default, u32::from_le_bytes))
    }

    pub(super) fn u64(&self, slot: usize, default: u64) -> Result<u64, ImportError> {
        Ok(self.scalar(slot)?.map_or(default, u64::from_le_bytes))
    }

    pub(super) fn f32(&self, slot: usize, default: f32) -> Result<f32, ImportError> {
        Ok(self.scalar(slot)?.map_or(default, f32::from_le_bytes))
    }

    /// Where the offset in a field leads.
    fn target(&self, slot: usize) -> Result<Option<usize>, ImportError> {
        let at = self.place(slot, 4)?;
        at.map(|at| followed(self.bytes, at)).transpose()
    }

    pub(super) fn table(&self, slot: usize) -> Result<Option<Table<'a>>, ImportError> {
        let at = self.target(slot)?;
        at.map(|at| Table::new(self.bytes, at)).transpose()
    }

    /// A vector of elements of `size` bytes; empty if it is left out.
    pub(super) fn vector(&self, slot: usize, size: usize) -> Result<Vector<'a>, ImportError> {
        let Some(at) = self.target(slot)? else {
            return Ok(Vector::EMPTY);
        };
        let count = u32::from_le_bytes(bytes_at(self.bytes, at)?);
        let start = at + 4;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let len = usize::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(size));
        let Some(elements) = len.and_then(|len| rest.get(..len)) else {
            let left = rest.len();
            let message = format!(
                "a list claims {count} elements of {size} bytes, but only {left} bytes follow"
            );
            return Err(damaged(at, message));
        };
        Ok(Vector {
            file: self.bytes,
            start,
            bytes: elements,
            size,
        })
    }

    /// A list of tables, of which there may be at most `limit`.
    pub(super) fn tables(
        &self,
        slot: usize,
        what: &str,
        limit: usize,
    ) -> Result<impl Iterator<Item = Result<Table<'a>, ImportError>> + use<'a>, ImportError> {
        let vector = self.vector(slot, 4)?;
        if vector.len() > limit {
            let message = format!("it has {} {what}, the limit is {limit}", vector.len());
            return Err(damaged(vector.start, message));
        }
        Ok((0..vector.len()).map(move |i| {
            let at = vector.start + i * 4;
            Table::new(vector.file, followed(vector.file, at)?)
        }))
    }

    /// Text, empty if it is left out. Bytes that are not text are shown as such, and very long texts
    /// are cut: many tables may name the same one.
    pub(super) fn text(&self, slot: usize) -> Result<Cow<'a, str>, ImportError> {
        let bytes = self.vector(slot, 1)?.bytes;
        let cut = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
        Ok(String::from_utf8_lossy(cut))
    }
}

/// A list of numbers, read where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector<'a> {
    file: &'a [u8],
    start: usize,
    /// Its elements.
    pub(super) bytes: &'a [u8],
    size: usize,
}

impl<'a> Vector<'a> {
    pub(super) const EMPTY: Vector<'static> = Vector {
        file: &[],
        start: 0,
        bytes: &[],
        size: 1,
    };

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn element<const N: usize>(&self, index: usize) -> Option<[u8; N]> {
        let start = index.checked_mul(self.size)?;
        self.bytes.get(start..)?.first_chunk().copied()
    }

    /// An element of a list of `int`.
    pub(super) fn i32(&self, index: usize) -> Option<i32> {
        self.element(index).map(i32::from_le_bytes)
    }

    /// An element of a list of `long`.
    pub(super) fn i64(&self, index: usize) -> Option<i64> {
        self.element(index).map(i64::from_le_bytes)
    }

    /// An element of a list of `float`.
    pub(super) fn f32(&self, index: usize) -> Option<f32> {
        self.element(index).map(f32::from_le_bytes)
    }

    /// All elements of a list of `int`.
    pub(super) fn ints(self) -> impl Iterator<Item = i32> + 'a {
        let (chunks, _) = self.bytes.as_chunks::<4>();
        chunks.iter().map(|&bytes| i32::from_le_bytes(bytes))
    }

    /// An element as a whole number, whether the list has one, two or four bytes for each.
    pub(super) fn index(&self, index: usize) -> Option<i64> {
        match self.size {
            1 => self.element(index).map(|b| i64::from(u8::from_le_bytes(b))),
            2 => self
                .element(index)
                .map(|b| i64::from(u16::from_le_bytes(b))),
            _ => self
                .element(index)
                .map(|b| i64::from(i32::from_le_bytes(b))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one table with a byte and a list of two ints.
    const FILE: [u8; 36] = [
        12, 0, 0, 0, // the root table begins at 12
        8, 0, 9, 0, 8, 0, 4, 0, // its fields: 8 bytes, 9 in place, at 8 and at 4
        8, 0, 0, 0, // the fields begin 8 bytes before
        8, 0, 0, 0, // the list begins 8 bytes behind
        7, 0, 0, 0, // the byte
        2, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, // the list
    ];

    #[test]
    fn fields_are_found() {
        let table = Table::root(&FILE).unwrap();
        assert_eq!(table.i8(0, 1).unwrap(), 7);
        assert_eq!(table.i8(5, 1).unwrap(), 1);
        let list: Vec<i32> = table.vector(1, 4).unwrap().ints().collect();
        assert_eq!(list, [5, 6]);
        assert_eq!(table.present().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn whatever_leads_out_of_the_file_is_an_error() {
        for (at, value, says) in [
            (0, 200, "an offset leads out"),
            (0, 0, "an offset leads out"),
            (12, 100, "the fields of a table lie outside"),
            (12, 0x80, "the fields of a table lie outside"),
            (4, 200, "the fields of a table lie outside"),
            (4, 2, "the fields of a table lie outside"),
            (6, 200, "the fields of a table lie outside"),
            (6, 6, "field 0 of a table lies outside of it"),
            (10, 6, "field 1 of a table lies outside of it"),
            (16, 200, "an offset leads out"),
            (
                24,
                3,
                "a list claims 3 elements of 4 bytes, but only 8 bytes follow",
            ),
        ] {
            let mut bytes = FILE;
            bytes[at] = value;
            let read = || {
                let table = Table::root(&bytes)?;
                table.i8(0, 0)?;
                table.vector(1, 4).map(|_| ())
            };
            let error = read().unwrap_err().to_string();
            assert!(error.contains(says), "byte {at} = {value}: {error}");
        }
        for len in 0..FILE.len() {
            let cut = &FILE[..len];
            let read = Table::root(cut).and_then(|t| t.vector(1, 4).map(|_| ()));
            assert!(read.is_err(), "{len} bytes");
        }
    }
}
