//! A photo to prove with: of a given number of pixels, as large in bytes as a phone's JPEG, and of
//! nobody's skin.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::memory::estimate::PhotoFacts;

/// Pixels between two corners of the smooth part.
const CELL: usize = 32;

/// Quality of phones' cameras.
const QUALITY: u8 = 85;

/// Writes a seeded JPEG of at least so many pixels, 4:3, and tells what it costs.
pub(super) fn write(path: &Path, pixels: u64) -> Result<PhotoFacts> {
    let mut facts = PhotoFacts::of_pixels(pixels);
    let bytes = padded(encode(pixels)?, facts.file_bytes);
    let mut out =
        File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    out.write_all(&bytes)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    facts.file_bytes = bytes.len() as u64;
    Ok(facts)
}

/// A JPEG made as long as a phone's, by comments behind its first marker: the picture itself is
/// simpler than what phones see.
fn padded(jpeg: Vec<u8>, wanted: u64) -> Vec<u8> {
    const START: usize = 2;
    const MOST: usize = 65_533;
    let missing = usize::try_from(wanted)
        .unwrap_or(0)
        .saturating_sub(jpeg.len());
    if missing < 4 || jpeg.len() < START {
        return jpeg;
    }
    let mut bytes = jpeg[..START].to_vec();
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

/// The picture of [`write`], as it is encoded.
pub(super) fn encode(pixels: u64) -> Result<Vec<u8>> {
    let facts = PhotoFacts::of_pixels(pixels);
    let width = usize::try_from(facts.width).context("the photo is too wide")?;
    let height = usize::try_from(facts.height).context("the photo is too high")?;
    let picture = picture(width, height);
    let size = [facts.width, facts.height].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&picture, size[0], size[1], ExtendedColorType::Rgb8)
        .context("cannot make a photo")?;
    Ok(bytes)
}

/// Smooth colours with fine grain: RGB, row by row.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut pixels = vec![0; width * height * 3];
    let mut state = 1u64;
    for (y, row) in pixels.chunks_exact_mut(width * 3).enumerate() {
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let grain = (state >> 61).to_le_bytes()[0];
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = smooth(x, y, c).to_le_bytes()[0].saturating_add(grain);
            }
        }
    }
    pixels
}

/// Bilinear between hashed corners, 40 to 215.
fn smooth(x: usize, y: usize, channel: usize) -> usize {
    let corner = |i: usize, j: usize| {
        let hash = (i * 73_856_093) ^ (j * 19_349_663) ^ ((channel + 1) * 83_492_791);
        40 + (hash >> 4) % 176
    };
    let (i, j, u, v) = (x / CELL, y / CELL, x % CELL, y % CELL);
    let across = |j: usize| corner(i, j) * (CELL - u) + corner(i + 1, j) * u;
    (across(j) * (CELL - v) + across(j + 1) * v) / (CELL * CELL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{Limits, decode};

    #[test]
    fn the_photo_is_as_large_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jpg");
        let facts = write(&path, 1_000_000).unwrap();
        let photo = decode::read(&path, &Limits::default()).unwrap();
        assert_eq!(photo.width() as u64, facts.width);
        assert_eq!(photo.height() as u64, facts.height);
        assert!((1_000_000..1_002_000).contains(&facts.pixels()));
        let bytes_per_pixel = facts.file_bytes as f64 / facts.pixels() as f64;
        assert!((0.1..0.8).contains(&bytes_per_pixel), "{bytes_per_pixel}");
    }
}
