//! Generated photos to measure with: they have a given number of pixels and as many bytes as a
//! phone's JPEG, and show nobody's skin.

use std::io;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::EstimateError;
use crate::memory::estimate::{OVERLAY_SIDE, PhotoFacts};

/// Pixels between two corners of the smooth part.
const CELL: usize = 32;

/// The JPEG quality of phone cameras.
const QUALITY: u8 = 85;

/// A generated photo.
pub struct SamplePhoto {
    /// A JPEG file.
    pub jpeg: Vec<u8>,
    /// The cost of decoding it.
    pub facts: PhotoFacts,
}

impl SamplePhoto {
    /// A JPEG of at least this many pixels, 4:3, the same each time.
    ///
    /// # Errors
    /// [`EstimateError::Photo`] for a photo too large to be encoded.
    pub fn of_pixels(pixels: u64) -> Result<Self, EstimateError> {
        let mut facts = PhotoFacts::of_pixels(pixels);
        let jpeg = padded(encode(pixels)?, facts.file_bytes);
        facts.file_bytes = jpeg.len() as u64;
        Ok(Self { jpeg, facts })
    }

    /// `count` photos that differ from each other and from earlier ones; `sent` is the number of
    /// earlier ones.
    #[must_use]
    pub fn variants(&self, sent: &mut usize, count: u64) -> Vec<Vec<u8>> {
        let numbers = (0..count).map(|_| {
            *sent += 1;
            *sent - 1
        });
        numbers.map(|number| self.variant(number)).collect()
    }

    /// The same photo in other colours, different for each `number`, so that no cache takes it for
    /// the same photo: the quantization steps of its low frequencies are larger.
    #[must_use]
    pub fn variant(&self, number: usize) -> Vec<u8> {
        let mut jpeg = self.jpeg.clone();
        if let Some(table) = quantization_table(&mut jpeg) {
            // The lowest frequencies, which every block has.
            let places = 1 + number % 10;
            let steps = u8::try_from(number / 10 % 40).unwrap_or(0);
            if let Some(step) = table.get_mut(places) {
                *step = step.saturating_add(1 + steps);
            }
        }
        jpeg
    }
}

/// The first table of quantization steps: one byte each, in zigzag order (ITU-T T.81, B.2.4.1).
fn quantization_table(jpeg: &mut [u8]) -> Option<&mut [u8]> {
    const DQT: [u8; 2] = [0xff, 0xdb];
    let mut at = 2;
    loop {
        let marker = jpeg.get(at..at + 2)?;
        if marker == DQT {
            // Marker, length, precision and number of the table.
            return jpeg.get_mut(at + 5..at + 5 + 64);
        }
        let length: [u8; 2] = jpeg.get(at + 2..at + 4)?.try_into().ok()?;
        at += 2 + usize::from(u16::from_be_bytes(length));
    }
}

/// Makes a JPEG as long as a phone's, by comments after its first marker: the picture itself is
/// simpler than real photos.
fn padded(jpeg: Vec<u8>, wanted: u64) -> Vec<u8> {
    const START: usize = 2;
    const MOST: usize = 65_533;
    let missing = usize::try_from(wanted)
        .unwrap_or(0)
        .saturating_sub(jpeg.len());
    if missing < 4 || jpeg.len() < START {
        return jpeg;
    }
    let mut bytes = Vec::with_capacity(jpeg.len() + missing);
    bytes.extend_from_slice(&jpeg[..START]);
    let mut left = missing;
    while left >= 4 {
        // Marker, and a length that counts itself but not the marker.
        let text = (left - 4).min(MOST);
        bytes.extend([0xff, 0xfe]);
        bytes.extend(u16::try_from(text + 2).unwrap_or(u16::MAX).to_be_bytes());
        bytes.resize(bytes.len() + text, b' ');
        left -= text + 4;
    }
    bytes.extend_from_slice(&jpeg[START..]);
    bytes
}

/// The picture before it is encoded.
fn encode(pixels: u64) -> Result<Vec<u8>, EstimateError> {
    /// JPEG has 16 bits for each side.
    const MAX_SIDE: u64 = 65_535;
    let facts = PhotoFacts::of_pixels(pixels);
    if facts.width.max(facts.height) > MAX_SIDE {
        let reason = format!("a JPEG has at most {MAX_SIDE} pixels on a side");
        return Err(EstimateError::Photo(io::Error::other(reason)));
    }
    let side = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let picture = picture(side(facts.width), side(facts.height));
    let size = [facts.width, facts.height].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&picture, size[0], size[1], ExtendedColorType::Rgb8)
        .map_err(|error| EstimateError::Photo(io::Error::other(error)))?;
    Ok(bytes)
}

/// Smooth colours with fine grain: RGB, row by row. A speck of grain covers about a pixel of the
/// overlay that a server sends, so that the overlay keeps it, as it keeps the texture of skin.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let side = usize::try_from(OVERLAY_SIDE).unwrap_or(usize::MAX);
    let coarse = (width.max(height) / side).max(1);
    let mut pixels = vec![0; width * height * 3];
    for (y, row) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let edges: Vec<[usize; 3]> = (0..width / CELL + 2)
            .map(|i| [0, 1, 2].map(|channel| edge(i, y, channel)))
            .collect();
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (i, u) = (x / CELL, x % CELL);
            let grain = hash(x / coarse, y / coarse, 7) % GRAIN;
            for (c, value) in pixel.iter_mut().enumerate() {
                let smooth = (edges[i][c] * (CELL - u) + edges[i + 1][c] * u) / CELL;
                *value = (smooth + grain).to_le_bytes()[0];
            }
        }
    }
    pixels
}

/// Levels of the grain, chosen so that an overlay compresses like one of skin: 1.3 bytes a pixel as
/// PNG.
const GRAIN: usize = 8;

/// A colour on the left edge of cell `i`, between the hashed corners above and below: 40 to 215.
fn edge(i: usize, y: usize, channel: usize) -> usize {
    let corner = |j: usize| 40 + hash(i, j, channel) % 176;
    let (j, v) = (y / CELL, y % CELL);
    (corner(j) * (CELL - v) + corner(j + 1) * v) / CELL
}

fn hash(i: usize, j: usize, channel: usize) -> usize {
    let mixed = (i.wrapping_mul(73_856_093))
        ^ (j.wrapping_mul(19_349_663))
        ^ ((channel + 1).wrapping_mul(83_492_791));
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d);
    (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39) >> 15 & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{Limits, decode};

    #[test]
    fn the_photo_is_as_large_as_it_says() {
        let photo = SamplePhoto::of_pixels(1_000_000).unwrap();
        let decoded = decode::decode(&photo.jpeg, &Limits::default()).unwrap();
        assert_eq!(decoded.width() as u64, photo.facts.width);
        assert_eq!(decoded.height() as u64, photo.facts.height);
        assert!((1_000_000..1_002_000).contains(&photo.facts.pixels()));
        let bytes_per_pixel = photo.facts.file_bytes as f64 / photo.facts.pixels() as f64;
        assert!((0.3..0.8).contains(&bytes_per_pixel), "{bytes_per_pixel}");
    }

    #[test]
    fn every_variant_is_another_photo_of_the_same_size() {
        let photo = SamplePhoto::of_pixels(40_000).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..100 {
            let jpeg = photo.variant(number);
            assert_eq!(jpeg.len(), photo.jpeg.len());
            let decoded = decode::decode(&jpeg, &Limits::default()).unwrap();
            assert!(seen.insert(decoded.into_pixels()), "{number}");
        }
    }
}
