//! Which way up a photo is stored: from EXIF in every form that Pillow reads, or else from XMP.
//!
//! In: the bytes of a photo's EXIF and XMP blocks, or a whole PNG file. Out: the orientation that
//! `ImageOps.exif_transpose` applies. A block that is damaged or has no orientation does not turn
//! the photo, as in Pillow.
//!
//! Sources: EXIF 2.32 (CIPA DC-008), TIFF 6.0, PNG third edition (11.3.3 and 11.3.4); for
//! ImageMagick's text block its `coders/png.c`, which Pillow follows.

use image::metadata::Orientation;

/// The tag in EXIF.
const ORIENTATION: u16 = 0x0112;

/// Most bytes to inflate from a compressed text in a PNG: Pillow's `MAX_TEXT_CHUNK`.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The orientation in a photo's EXIF, or in its XMP if EXIF has none.
pub(super) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let said = exif.and_then(of_exif).or_else(|| xmp.and_then(of_xmp));
    said.and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// The orientation of a PNG file: from `eXIf` before or after the pixels, or else from
/// ImageMagick's raw profile, or else from XMP.
pub(super) fn of_png(bytes: &[u8]) -> Orientation {
    let (mut exif, mut profile, mut xmp) = (None, None, None);
    for (kind, content) in Chunks(bytes.get(8..).unwrap_or_default()) {
        let text = match kind {
            b"eXIf" => {
                exif = Some(content);
                continue;
            }
            b"tEXt" => Text::plain(content),
            b"zTXt" => Text::compressed(content),
            b"iTXt" => Text::international(content),
            b"IEND" => break,
            _ => continue,
        };
        // Only the last block of each kind is inflated: a file may contain thousands.
        match text {
            Some(text) if text.key == b"Raw profile type exif" => profile = Some(text),
            Some(text) if text.key == b"XML:com.adobe.xmp" => xmp = Some(text),
            _ => {}
        }
    }
    let xmp = xmp.and_then(Text::content);
    if let Some(exif) = exif {
        return orientation(Some(exif), xmp.as_deref());
    }
    let exif = profile.and_then(Text::content);
    let exif = exif.as_deref().and_then(raw_profile);
    orientation(exif.as_deref(), xmp.as_deref())
}

/// Chunks of a PNG: kind and content. The decoder checks checksums.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let content = rest.get(..length)?;
        // Four bytes of checksum.
        self.0 = rest.get(length.saturating_add(4)..).unwrap_or_default();
        Some((kind, content))
    }
}

/// A text chunk of a PNG.
#[derive(Clone, Copy)]
struct Text<'a> {
    key: &'a [u8],
    content: &'a [u8],
    compressed: bool,
}

impl<'a> Text<'a> {
    fn plain(chunk: &'a [u8]) -> Option<Self> {
        let (key, content) = until_nul(chunk)?;
        Some(Self {
            key,
            content,
            compressed: false,
        })
    }

    fn compressed(chunk: &'a [u8]) -> Option<Self> {
        let (key, rest) = until_nul(chunk)?;
        // Method 0 is zlib, the only method.
        let content = rest.strip_prefix(b"\0")?;
        Some(Self {
            key,
            content,
            compressed: true,
        })
    }

    fn international(chunk: &'a [u8]) -> Option<Self> {
        let (key, rest) = until_nul(chunk)?;
        let ([compressed, _method], rest) = rest.split_first_chunk::<2>()?;
        let (_language, rest) = until_nul(rest)?;
        let (_translated_key, content) = until_nul(rest)?;
        Some(Self {
            key,
            content,
            compressed: *compressed != 0,
        })
    }

    fn content(self) -> Option<Vec<u8>> {
        if !self.compressed {
            return Some(self.content.to_vec());
        }
        miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(self.content, MAX_TEXT_BYTES).ok()
    }
}

fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// ImageMagick's form: an empty line, the name, the length, then lines of hexadecimal digits.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|&b| b == b'\n').skip(3);
    let digits: Option<Vec<u8>> = lines
        .flatten()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|&b| char::from(b).to_digit(16)?.try_into().ok())
        .collect();
    let digits = digits?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// The value of EXIF's orientation tag, in any numeric type; 0 for a type that is not a number.
/// `None` if there is no such tag.
fn of_exif(mut block: &[u8]) -> Option<u8> {
    while let Some(rest) = block.strip_prefix(b"Exif\0\0") {
        block = rest;
    }
    // The second of each pair is a mistake that Pillow also reads.
    let big_endian = match block.first_chunk::<4>()? {
        b"II*\0" | b"II\0*" => false,
        b"MM\0*" | b"MM*\0" => true,
        _ => return None,
    };
    let tiff = Tiff { block, big_endian };
    let directory = tiff.long(4)? as usize;
    let entries = usize::from(tiff.short(directory)?);
    let mut found = None;
    for entry in 0..entries {
        let at = directory.checked_add(2 + entry * 12)?;
        if block.get(at..).is_none_or(|rest| rest.len() < 12) {
            break;
        }
        if tiff.short(at)? == ORIENTATION
            && let Some(value) = tiff.value(at)
        {
            // If there are two, the second counts.
            found = Some(value);
        }
    }
    found
}

struct Tiff<'a> {
    block: &'a [u8],
    big_endian: bool,
}

impl Tiff<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = *self.block.get(at..)?.first_chunk::<N>()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn short(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn long(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    /// The first value of the entry at `at`. Values that do not fit into four bytes are stored
    /// elsewhere.
    fn value(&self, at: usize) -> Option<u8> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        const RATIONAL: u16 = 5;
        const SIGNED_SHORT: u16 = 8;
        const SIGNED_LONG: u16 = 9;
        const SIGNED_RATIONAL: u16 = 10;
        const FLOAT: u16 = 11;
        const DOUBLE: u16 = 12;
        const IFD: u16 = 13;
        let kind = self.short(at + 2)?;
        let count = self.long(at + 4)? as usize;
        let unit = match kind {
            SHORT | SIGNED_SHORT => 2,
            LONG | SIGNED_LONG | FLOAT | IFD => 4,
            RATIONAL | SIGNED_RATIONAL | DOUBLE => 8,
            // The value is a text or bytes: it exists, but turns nothing.
            _ => return Some(0),
        };
        let size = count.checked_mul(unit).filter(|&size| size > 0)?;
        let at = if size <= 4 {
            at + 8
        } else {
            self.long(at + 8)? as usize
        };
        // Pillow ignores an entry whose values reach past the end.
        self.block.get(at..)?.get(..size)?;
        let value = match kind {
            SHORT | SIGNED_SHORT => f64::from(self.short(at)?),
            LONG | SIGNED_LONG | IFD => f64::from(self.long(at)?),
            RATIONAL | SIGNED_RATIONAL => f64::from(self.long(at)?) / f64::from(self.long(at + 4)?),
            FLOAT => f64::from(f32::from_bits(self.long(at)?)),
            _ => f64::from_le_bytes(self.bytes(at)?),
        };
        let whole = (1_u8..=8).find(|&whole| f64::from(whole) == value);
        Some(whole.unwrap_or(0))
    }
}

/// The digit after `tiff:Orientation="` or `tiff:Orientation>`.
fn of_xmp(block: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = block;
    while let Some(at) = find(rest, NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest
            .strip_prefix(b"=\"")
            .or_else(|| rest.strip_prefix(b">"));
        if let Some([digit @ b'0'..=b'9', ..]) = value {
            return Some(digit - b'0');
        }
    }
    None
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TIFF block of one directory: entries of tag, type, count and four bytes of value.
    fn tiff(entries: &[(u16, u16, u32, [u8; 4])], behind: &[u8]) -> Vec<u8> {
        let mut block = b"MM\0*\0\0\0\x08".to_vec();
        block.extend(u16::try_from(entries.len()).unwrap().to_be_bytes());
        for (tag, kind, count, value) in entries {
            block.extend(tag.to_be_bytes());
            block.extend(kind.to_be_bytes());
            block.extend(count.to_be_bytes());
            block.extend(value);
        }
        block.extend([0; 4]);
        block.extend(behind);
        block
    }

    #[test]
    fn every_numeric_type_is_read() {
        let at = u32::to_be_bytes(8 + 2 + 12 + 4);
        for (kind, count, value, behind, expected) in [
            (3, 1, [0, 6, 0, 0], &[][..], Some(6)),
            (3, 2, [0, 6, 0, 7], &[], Some(6)),
            (4, 1, [0, 0, 0, 6], &[], Some(6)),
            (8, 1, [0, 6, 0, 0], &[], Some(6)),
            (8, 1, [0xFF, 0xFA, 0, 0], &[], Some(0)),
            (9, 1, [0, 0, 0, 8], &[], Some(8)),
            (5, 1, at, &[0, 0, 0, 12, 0, 0, 0, 2], Some(6)),
            (5, 1, at, &[0, 0, 0, 12, 0, 0, 0, 0], Some(0)),
            (11, 1, 6_f32.to_be_bytes(), &[], Some(6)),
            (12, 1, at, &6_f64.to_be_bytes(), Some(6)),
            (12, 1, at, &[0; 7], None),
            (1, 1, [6, 0, 0, 0], &[], Some(0)),
            (2, 2, *b"6\0\0\0", &[], Some(0)),
            (3, 1, [0, 9, 0, 0], &[], Some(0)),
            (3, 0, [0, 6, 0, 0], &[], None),
            (4, u32::MAX, at, &[], None),
        ] {
            let block = tiff(&[(ORIENTATION, kind, count, value)], behind);
            assert_eq!(of_exif(&block), expected, "type {kind}, count {count}");
        }
        let twice = [
            (ORIENTATION, 3, 1, [0, 6, 0, 0]),
            (ORIENTATION, 3, 1, [0, 3, 0, 0]),
        ];
        assert_eq!(of_exif(&tiff(&twice, &[])), Some(3));
        let mut prefixed = b"Exif\0\0Exif\0\0".to_vec();
        prefixed.extend(tiff(&twice[..1], &[]));
        assert_eq!(of_exif(&prefixed), Some(6));
    }

    #[test]
    fn damaged_blocks_say_nothing() {
        let whole = tiff(&[(ORIENTATION, 3, 1, [0, 6, 0, 0])], &[]);
        for end in 0..22 {
            assert_eq!(of_exif(&whole[..end]), None, "{end} bytes");
        }
        assert_eq!(of_exif(b"II*\0\xFF\xFF\xFF\xFF"), None);
        assert_eq!(of_exif(b"II*\0\x08\0\0\0\xFF\xFF"), None);
        for bytes in [
            &b""[..],
            b"\x89PNG\r\n\x1a\n",
            b"\x89PNG\r\n\x1a\n\xFF\xFF\xFF\xFFeXIf",
        ] {
            assert_eq!(of_png(bytes), Orientation::NoTransforms);
        }
    }

    #[test]
    fn xmp_counts_where_exif_is_silent() {
        let xmp = b"<x tiff:Orientation='8' tiff:Orientation=\"6\"/>";
        assert_eq!(of_xmp(xmp), Some(6));
        assert_eq!(of_xmp(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
        assert_eq!(of_xmp(b"tiff:Orientation"), None);
        let silent = tiff(&[(0x0100, 3, 1, [0, 6, 0, 0])], &[]);
        let upright = tiff(&[(ORIENTATION, 3, 1, [0, 1, 0, 0])], &[]);
        assert_eq!(orientation(Some(&silent), Some(xmp)), Orientation::Rotate90);
        assert_eq!(
            orientation(Some(&upright), Some(xmp)),
            Orientation::NoTransforms
        );
    }

    #[test]
    fn a_compressed_text_is_inflated_once_and_to_a_bound() {
        let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b'0'; 64 << 20], 9);
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut content = b"Raw profile type exif\0\0".to_vec();
        content.extend(&bomb);
        for _ in 0..200 {
            png.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
            png.extend(b"zTXt");
            png.extend(&content);
            png.extend([0; 4]);
        }
        let started = std::time::Instant::now();
        assert_eq!(of_png(&png), Orientation::NoTransforms);
        // All of them together would be 12.8 GB.
        assert!(started.elapsed().as_secs() < 5);
    }
}
