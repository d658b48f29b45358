//! The wire format of protocol buffers, read in place.
//!
//! In: bytes of a message. Out: its fields one after the other, each a number or a slice of those
//! bytes. Nothing is copied, allocated or called again for nested messages: a length is checked
//! against the bytes that are there, and a nested message is a slice that its reader may open or
//! not. So neither a claimed length nor deep nesting can cost more than the file has bytes.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use crate::import::error::ImportError;

/// A part of the file, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice<'a> {
    pub(super) bytes: &'a [u8],
    /// Of the first byte, from the start of the file.
    pub(super) offset: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Wire<'a>,
    /// Of its first byte, from the start of the file.
    pub(super) offset: usize,
}

/// A field's value, by its wire type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Slice<'a>),
    Fixed32([u8; 4]),
}

/// The bytes at `offset` are not what the wire format allows.
pub(super) fn damaged(offset: usize, message: impl Into<Box<str>>) -> ImportError {
    ImportError::Protobuf {
        offset,
        message: message.into(),
    }
}

impl<'a> Slice<'a> {
    /// A whole file.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The fields, in the order of the file.
    pub(super) fn fields(self) -> Fields<'a> {
        Fields { rest: self }
    }

    /// The bytes as UTF-8.
    pub(super) fn text(self) -> Result<&'a str, ImportError> {
        std::str::from_utf8(self.bytes).map_err(|error| {
            let at = self.offset + error.valid_up_to();
            damaged(at, "a name or text is not UTF-8")
        })
    }

    /// The numbers of a packed field.
    pub(super) fn varints(self) -> Varints<'a> {
        Varints { rest: self }
    }

    fn advance(&mut self, by: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(by)?;
        self.bytes = rest;
        self.offset += by;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.advance(N)?.try_into().ok()
    }

    fn varint(&mut self) -> Result<u64, ImportError> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some([byte]) = self.array() else {
                return Err(damaged(start, "the file ends inside of a number"));
            };
            // Bits beyond 64 are dropped, as other readers do.
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged(start, "a number has more than ten bytes"))
    }
}

/// The fields of a message; ends at its end or its first error.
pub(super) struct Fields<'a> {
    rest: Slice<'a>,
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, ImportError> {
        let offset = self.rest.offset;
        let tag = self.rest.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(damaged(offset, "a field has the number 0"));
        }
        let short = || damaged(offset, format!("the file ends inside of field {number}"));
        let value = match tag & 7 {
            0 => Wire::Varint(self.rest.varint()?),
            1 => Wire::Fixed64(self.rest.array().ok_or_else(short)?),
            2 => {
                let length = self.rest.varint()?;
                let left = self.rest.bytes.len();
                let length = usize::try_from(length).ok().filter(|&n| n <= left);
                let Some(length) = length else {
                    return Err(damaged(
                        offset,
                        format!("field {number} claims more bytes than the {left} that follow"),
                    ));
                };
                let start = self.rest.offset;
                let bytes = self.rest.advance(length).ok_or_else(short)?;
                Wire::Bytes(Slice {
                    bytes,
                    offset: start,
                })
            }
            5 => Wire::Fixed32(self.rest.array().ok_or_else(short)?),
            // 3 and 4 are groups, which no version of ONNX has.
            other => {
                return Err(damaged(
                    offset,
                    format!("field {number} has wire type {other}"),
                ));
            }
        };
        Ok(Field {
            number,
            value,
            offset,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.bytes.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest.bytes = &[];
        }
        Some(field)
    }
}

/// The numbers of a packed field; ends at its end or its first error.
pub(super) struct Varints<'a> {
    rest: Slice<'a>,
}

impl Iterator for Varints<'_> {
    type Item = Result<u64, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.bytes.is_empty() {
            return None;
        }
        let value = self.rest.varint();
        if value.is_err() {
            self.rest.bytes = &[];
        }
        Some(value)
    }
}

impl<'a> Field<'a> {
    fn wrong(&self, expected: &str) -> ImportError {
        damaged(
            self.offset,
            format!("field {} is not {expected}", self.number),
        )
    }

    /// A message, text or bytes.
    pub(super) fn slice(&self) -> Result<Slice<'a>, ImportError> {
        match self.value {
            Wire::Bytes(slice) => Ok(slice),
            _ => Err(self.wrong("a message or text")),
        }
    }

    /// Text.
    pub(super) fn text(&self) -> Result<&'a str, ImportError> {
        self.slice()?.text()
    }

    /// A whole number: `int32`, `int64` or an enum.
    pub(super) fn int(&self) -> Result<i64, ImportError> {
        match self.value {
            Wire::Varint(value) => Ok(value.cast_signed()),
            _ => Err(self.wrong("a whole number")),
        }
    }

    /// A `float`.
    pub(super) fn float(&self) -> Result<f32, ImportError> {
        match self.value {
            Wire::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong("a number of four bytes")),
        }
    }

    /// A `double`.
    pub(super) fn double(&self) -> Result<f64, ImportError> {
        match self.value {
            Wire::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(self.wrong("a number of eight bytes")),
        }
    }

    /// Appends whole numbers, packed or one by one, up to `limit` of them in all.
    pub(super) fn ints(&self, into: &mut Vec<i64>, limit: usize) -> Result<(), ImportError> {
        let full = || damaged(self.offset, format!("a list has more than {limit} numbers"));
        match self.value {
            Wire::Bytes(slice) => {
                for value in slice.varints() {
                    if into.len() >= limit {
                        return Err(full());
                    }
                    into.push(value?.cast_signed());
                }
                Ok(())
            }
            _ if into.len() >= limit => Err(full()),
            _ => {
                into.push(self.int()?);
                Ok(())
            }
        }
    }

    /// Appends floats, packed or one by one, up to `limit` of them in all.
    pub(super) fn floats(&self, into: &mut Vec<f32>, limit: usize) -> Result<(), ImportError> {
        let values: &[u8] = match &self.value {
            Wire::Bytes(slice) => slice.bytes,
            Wire::Fixed32(bytes) => bytes,
            _ => return Err(self.wrong("numbers of four bytes")),
        };
        let (chunks, []) = values.as_chunks::<4>() else {
            return Err(self.wrong("numbers of four bytes"));
        };
        if chunks.len() > limit.saturating_sub(into.len()) {
            return Err(damaged(
                self.offset,
                format!("a list has more than {limit} numbers"),
            ));
        }
        into.extend(chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<u64>, String> {
        let fields: Result<Vec<Field>, ImportError> = Slice::whole(bytes).fields().collect();
        let fields = fields.map_err(|e| e.to_string())?;
        Ok(fields.iter().map(|field| field.number).collect())
    }

    #[test]
    fn fields_of_every_wire_type_are_read_and_unknown_ones_passed_over() {
        let bytes = b"\x08\x96\x01\x11\0\0\0\0\0\0\0\0\x1a\x02hi\x25\0\0\0\0\xfa\x07\x00";
        assert_eq!(numbers(bytes), Ok(vec![1, 2, 3, 4, 127]));
        let first = Slice::whole(bytes).fields().next().unwrap().unwrap();
        assert_eq!(first.int().unwrap(), 150);
    }

    #[test]
    fn what_is_damaged_is_named_with_its_offset() {
        for (bytes, expected) in [
            (&b"\x08"[..], "byte 1: the file ends inside of a number"),
            (b"\x08\x01\x11\0", "byte 2: the file ends inside of field 2"),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "byte 0: field 1 claims more bytes than the 0 that follow",
            ),
            (
                b"\x0a\x05abc",
                "byte 0: field 1 claims more bytes than the 3",
            ),
            (b"\x0b", "byte 0: field 1 has wire type 3"),
            (b"\x00\x00", "byte 0: a field has the number 0"),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "byte 1: a number has more than ten bytes",
            ),
        ] {
            let got = numbers(bytes).unwrap_err();
            assert!(got.contains(expected), "{bytes:?}: {got}");
        }
    }

    #[test]
    fn lists_are_packed_or_not_and_never_longer_than_allowed() {
        for bytes in [&b"\x0a\x03\x01\x02\x03"[..], b"\x08\x01\x08\x02\x08\x03"] {
            let read = |limit: usize| {
                let mut list = Vec::new();
                for field in Slice::whole(bytes).fields() {
                    field?.ints(&mut list, limit)?;
                }
                Ok::<_, ImportError>(list)
            };
            assert_eq!(read(3).unwrap(), [1, 2, 3]);
            assert!(read(2).is_err());
        }
        let mut list = Vec::new();
        let field = Slice::whole(b"\x0a\x04\0\0\x80\x3f").fields().next();
        field.unwrap().unwrap().floats(&mut list, 1).unwrap();
        assert_eq!(list, [1.0]);
    }
}
