//! Entropy-coded data: bits, Huffman codes.

use super::JpegError;

/// Codes of at most this length are found by one look-up.
const FAST_BITS: u32 = 9;

/// A Huffman table.
#[derive(Clone)]
pub(super) struct Huffman {
    /// For each first `FAST_BITS` bits: the length of the code (0: longer) and its symbol.
    fast: Box<[(u8, u8); 1 << FAST_BITS]>,
    /// One past the greatest code of each length, moved to the top of 16 bits.
    limit: [u32; 18],
    /// Index of the first symbol of each length, minus its first code.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table from the number of codes of each length (1 to 16) and the symbols in order of
    /// their codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, JpegError> {
        let mut table = Self {
            fast: Box::new([(0, 0); 1 << FAST_BITS]),
            limit: [0; 18],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let mut code = 0_u32;
        let mut index = 0_usize;
        for (length, &count) in (1_u32..).zip(counts) {
            let count = usize::from(count);
            // Both are below 2^17, so the difference fits.
            table.offset[length as usize] =
                i32::try_from(index).unwrap_or(0) - i32::try_from(code).unwrap_or(0);
            for &symbol in &symbols[index..index + count] {
                if length <= FAST_BITS {
                    let shift = FAST_BITS - length;
                    let first = (code << shift) as usize;
                    let entries = table.fast.get_mut(first..first + (1 << shift));
                    entries
                        .ok_or_else(overfull)?
                        .fill((length_u8(length), symbol));
                }
                code += 1;
            }
            if code > 1 << length {
                return Err(overfull());
            }
            index += count;
            table.limit[length as usize] = code << (16 - length);
            code <<= 1;
        }
        table.limit[17] = u32::MAX;
        Ok(table)
    }
}

fn overfull() -> JpegError {
    JpegError::Corrupt("a Huffman table has more codes than fit".to_owned())
}

fn length_u8(length: u32) -> u8 {
    length.to_le_bytes()[0]
}

/// Reads the entropy-coded data of one scan.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    position: usize,
    /// Next bits at the top.
    buffer: u64,
    /// Valid bits in `buffer`; those below are zero or valid bits of `data[position..]`.
    valid: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], position: usize) -> Self {
        Self {
            data,
            position,
            buffer: 0,
            valid: 0,
        }
    }

    /// Where the unread bytes begin; after a scan, at a marker.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Makes at least 32 bits valid, unless the data ends or there is a marker before.
    #[inline]
    fn refill(&mut self) {
        if self.valid >= 32 {
            return;
        }
        if let Some(next) = self.data.get(self.position..self.position + 4) {
            let word = u32::from_be_bytes([next[0], next[1], next[2], next[3]]);
            // Four bytes without 0xFF need no unstuffing. The test finds a zero byte of !word.
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.buffer |= u64::from(word) << (32 - self.valid);
                self.valid += 32;
                self.position += 4;
                return;
            }
        }
        while self.valid <= 56 {
            let Some(&byte) = self.data.get(self.position) else {
                return;
            };
            if byte == 0xFF {
                match self.data.get(self.position + 1) {
                    Some(0) => self.position += 1,
                    // Any number of 0xFF may come before a marker.
                    Some(0xFF) => {
                        self.position += 1;
                        continue;
                    }
                    _ => return,
                }
            }
            self.position += 1;
            self.buffer |= u64::from(byte) << (56 - self.valid);
            self.valid += 8;
        }
    }

    #[inline]
    fn consume(&mut self, n: u32) -> Result<(), JpegError> {
        if n > self.valid {
            return Err(self.ended());
        }
        self.buffer <<= n;
        self.valid -= n;
        Ok(())
    }

    /// Why there are no more bits.
    #[cold]
    fn ended(&self) -> JpegError {
        if self.position + 1 >= self.data.len() || self.data[self.position + 1] == 0xD9 {
            JpegError::Truncated
        } else {
            JpegError::Corrupt("there is a marker inside the pixels' data".to_owned())
        }
    }

    /// The next `n` (at most 16) bits as a number.
    pub(super) fn take(&mut self, n: u32) -> Result<u32, JpegError> {
        self.refill();
        self.take_buffered(n)
    }

    #[inline]
    fn take_buffered(&mut self, n: u32) -> Result<u32, JpegError> {
        if n == 0 {
            return Ok(0);
        }
        // n is at most 16, so the shifted value fits 32 bits.
        #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
        let value = (self.buffer >> (64 - n)) as u32;
        self.consume(n)?;
        Ok(value)
    }

    /// The next Huffman symbol. Afterwards at least 16 bits are buffered, if there are any.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8, JpegError> {
        self.refill();
        let (length, symbol) = table.fast[(self.buffer >> (64 - FAST_BITS)) as usize];
        if length != 0 {
            self.consume(u32::from(length))?;
            return Ok(symbol);
        }
        self.long_symbol(table)
    }

    fn long_symbol(&mut self, table: &Huffman) -> Result<u8, JpegError> {
        let next = (self.buffer >> 48) as u32;
        let length = (FAST_BITS + 1..17)
            .find(|&l| next < table.limit[l as usize])
            .ok_or_else(|| {
                if self.valid < 16 {
                    self.ended()
                } else {
                    JpegError::Corrupt("a code is in no Huffman table".to_owned())
                }
            })?;
        self.consume(length)?;
        let code = i32::try_from(next >> (16 - length)).unwrap_or(0);
        usize::try_from(code + table.offset[length as usize])
            .ok()
            .and_then(|i| table.symbols.get(i).copied())
            .ok_or_else(|| JpegError::Corrupt("a code is in no Huffman table".to_owned()))
    }

    /// A signed value of `n` (at most 15) bits, as T.81's `EXTEND(RECEIVE(n), n)`, right after a
    /// symbol.
    #[inline]
    pub(super) fn signed(&mut self, n: u32) -> Result<i32, JpegError> {
        let value = self.take_buffered(n)?.cast_signed();
        if n == 0 || value >= 1 << (n - 1) {
            return Ok(value);
        }
        Ok(value - (1 << n) + 1)
    }

    /// Drops the bits up to and including the restart marker `number` (0 to 7).
    pub(super) fn restart(&mut self, number: u8) -> Result<(), JpegError> {
        // Whole bytes of padding may still be buffered only if there is excess data.
        self.buffer = 0;
        self.valid = 0;
        while let Some(&[a, b]) = self.data[self.position.min(self.data.len())..].first_chunk() {
            if a == 0xFF && b == 0xD0 + number {
                self.position += 2;
                return Ok(());
            }
            if a == 0xFF && b != 0 && b != 0xFF {
                let message = format!("expected restart marker {number}, got marker {b:#04x}");
                return Err(JpegError::Corrupt(message));
            }
            self.position += 1;
        }
        Err(JpegError::Truncated)
    }
}
