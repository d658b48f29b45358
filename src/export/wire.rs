//! The wire format of protocol buffers, written: the mirror of `import/onnx/wire.rs`.
//!
//! In: numbers, texts and messages, each with the number of its field. Out: bytes. A message is
//! built in memory, since its length comes before it; the weights of a file, which are long, are
//! not part of a message here (see `file`).
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// A message under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    /// `int32`, `int64` or an enum. A negative number takes ten bytes.
    pub(super) fn int(&mut self, field: u64, value: i64) {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
    }

    /// Whole numbers, one by one.
    pub(super) fn ints(&mut self, field: u64, values: &[i64]) {
        for &value in values {
            self.int(field, value);
        }
    }

    /// `float`.
    pub(super) fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    /// The start of a field of `len` bytes, which follow.
    pub(super) fn head(&mut self, field: u64, len: u64) {
        self.varint(field << 3 | 2);
        self.varint(len);
    }

    /// Text or bytes.
    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.head(field, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A message inside of this one.
    pub(super) fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Appends the fields of another message.
    pub(super) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_those_of_the_encoding_guide() {
        let mut message = Message::default();
        message.int(1, 150);
        message.bytes(2, b"testing");
        assert_eq!(message.as_bytes(), b"\x08\x96\x01\x12\x07testing");
        let mut outer = Message::default();
        outer.message(3, &message);
        assert_eq!(outer.as_bytes()[..2], [0x1a, 12]);
        assert_eq!(outer.len(), 14);
        let mut negative = Message::default();
        negative.int(1, -2);
        let bytes = b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(negative.as_bytes(), bytes);
        let mut others = Message::default();
        others.float(2, 1.0);
        others.ints(8, &[1, 300]);
        assert_eq!(others.as_bytes(), b"\x15\0\0\x80\x3f\x40\x01\x40\xac\x02");
    }
}
