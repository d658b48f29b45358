//! Draws a heat map over the photo.

use std::io::Write;

use png::{BitDepth, ColorType, Compression, Encoder, Filter};

use super::{Colormap, HeatMap};
use crate::predict::Region;

/// How to draw a heat map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlay {
    /// The colours.
    pub colormap: Colormap,
    /// Weight of the colour against the photo, 0 to 1.
    pub alpha: f32,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            colormap: Colormap::Jet,
            alpha: 0.4,
        }
    }
}

/// Blends the map over the region that the model saw, in place: `photo` (RGB, row by row) becomes
/// `(1 - alpha) * photo + alpha * colour`, as in matplotlib's `imshow(map, alpha=...)`. The map is
/// enlarged bilinearly between the centres of its cells. Pixels outside the region do not change.
///
/// # Panics
/// If `photo` does not have `3 * width * height` bytes.
pub fn overlay(
    photo: &mut [u8],
    [width, height]: [u32; 2],
    map: &HeatMap,
    region: Region,
    style: Overlay,
) {
    let (width, height) = (width as usize, height as usize);
    assert_eq!(
        photo.len(),
        3 * width * height,
        "an RGB photo of {width} x {height}"
    );
    let columns = positions(width, region.left, region.width, map.width);
    let rows = positions(height, region.top, region.height, map.height);
    let blend = Blend::new(style);
    let mut line = vec![0.0; map.width];
    for (pixels, row) in photo.chunks_exact_mut(3 * width.max(1)).zip(&rows) {
        let Some(row) = row else { continue };
        let cells = |i: usize| &map.intensity[i * map.width..(i + 1) * map.width];
        for ((value, low), high) in line.iter_mut().zip(cells(row.low)).zip(cells(row.high)) {
            *value = low + (high - low) * row.part;
        }
        for (pixel, column) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let Some(column) = column else { continue };
            let (low, high) = (line[column.low], line[column.high]);
            blend.over(pixel, low + (high - low) * column.part);
        }
    }
}

/// The two cells between which a pixel lies, and its position between them.
#[derive(Clone, Copy)]
struct Position {
    low: usize,
    high: usize,
    part: f32,
}

fn positions(pixels: usize, start: f64, len: f64, cells: usize) -> Vec<Option<Position>> {
    let one = |pixel: usize| {
        let inside = (pixel as f64 + 0.5 - start) / len;
        if !(0.0..=1.0).contains(&inside) {
            return None;
        }
        let last = (cells - 1) as f64;
        let at = (inside * cells as f64 - 0.5).clamp(0.0, last);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the cells just before"
        )]
        let (low, part) = (at as usize, (at - at.floor()) as f32);
        Some(Position {
            low,
            high: (low + 1).min(cells - 1),
            part,
        })
    };
    (0..pixels).map(one).collect()
}

/// Colours multiplied by alpha, an entry for each level of intensity.
struct Blend {
    colors: Vec<[f32; 3]>,
    keep: f32,
}

impl Blend {
    fn new(style: Overlay) -> Self {
        let color = |i: u16| {
            let [r, g, b] = style.colormap.color(f32::from(i) / 255.0);
            [r, g, b].map(|v| f32::from(v) * style.alpha + 0.5)
        };
        Self {
            colors: (0..256).map(color).collect(),
            keep: 1.0 - style.alpha,
        }
    }

    fn over(&self, pixel: &mut [u8; 3], intensity: f32) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "intensities are 0 to 1, and casts from float saturate"
        )]
        {
            let color = &self.colors[(intensity * 255.0 + 0.5) as usize & 0xff];
            for (value, color) in pixel.iter_mut().zip(color) {
                *value = (f32::from(*value) * self.keep + color) as u8;
            }
        }
    }
}

/// Most bytes that [`encode_png`] makes of a picture: its rows without compression (PNG
/// specification, 10.1: stored blocks), and the headers around them.
#[must_use]
pub fn most_png_bytes([width, height]: [u64; 2]) -> u64 {
    let rows = width
        .saturating_mul(3)
        .saturating_add(1)
        .saturating_mul(height);
    // Headers of stored blocks and chunks of 32 KiB were measured to take 0.32 %.
    rows.saturating_add(rows / 200).saturating_add(1024)
}

/// A PNG of RGB pixels, without any metadata. It is compressed fast, because a heat map is looked
/// at and thrown away. Besides the PNG itself, at most [`most_png_bytes`] long, only a few rows are
/// in memory.
///
/// # Errors
/// If the size does not fit the pixels.
pub fn encode_png(pixels: &[u8], size: [u32; 2]) -> std::io::Result<Vec<u8>> {
    let most = most_png_bytes(size.map(u64::from));
    let mut out = Capped {
        bytes: Vec::new(),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        is_over: false,
    };
    encode(&mut out, pixels, size, (Compression::Fast, Filter::Sub))?;
    if out.is_over {
        // For noise, the codes of fast compression make the picture half as large again.
        out.bytes.clear();
        out.is_over = false;
        let stored = (Compression::NoCompression, Filter::NoFilter);
        encode(&mut out, pixels, size, stored)?;
    }
    if out.is_over {
        return Err(std::io::Error::other("the PNG is larger than it can be"));
    }
    out.bytes.shrink_to_fit();
    Ok(out.bytes)
}

/// Writes row by row: the encoder holds a whole picture three times.
fn encode(
    out: &mut Capped,
    pixels: &[u8],
    [width, height]: [u32; 2],
    (compression, filter): (Compression, Filter),
) -> std::io::Result<()> {
    let mut encoder = Encoder::new(out, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(compression);
    encoder.set_filter(filter);
    let mut writer = encoder.write_header()?;
    let mut rows = writer.stream_writer()?;
    rows.write_all(pixels)?;
    rows.finish()?;
    writer.finish()?;
    Ok(())
}

/// Takes this many bytes and drops the rest: the compressor would turn an error into a panic.
struct Capped {
    bytes: Vec<u8>,
    most: usize,
    is_over: bool,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.is_over |= self.bytes.len() + piece.len() > self.most;
        if !self.is_over {
            self.bytes.extend_from_slice(piece);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes the file that [`encode_png`] makes.
///
/// # Errors
/// If `out` cannot be written, or the size does not fit the pixels.
pub fn write_png(mut out: impl Write, pixels: &[u8], size: [u32; 2]) -> std::io::Result<()> {
    out.write_all(&encode_png(pixels, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels that no code can compress.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 9_u32;
        let mut one = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn no_picture_is_larger_than_it_may_be() {
        for (width, height) in [
            (1, 1),
            (1, 3000),
            (3000, 1),
            (7, 5),
            (641, 480),
            (1024, 768),
        ] {
            let count = 3 * (width * height) as usize;
            // Bytes with the longest codes, both as they are and as differences.
            let alternating = (0..count).map(|i| [0x60, 0xa3][i / 3 % 2]).collect();
            for pixels in [noise(count), vec![0x60; count], alternating] {
                let png = encode_png(&pixels, [width, height]).unwrap();
                let most = most_png_bytes([width, height].map(u64::from));
                assert!(png.len() as u64 <= most, "{width}x{height}: {}", png.len());
                let read = image::load_from_memory(&png).unwrap().to_rgb8();
                assert_eq!(read.as_raw(), &pixels, "{width}x{height}");
            }
        }
        // Fast compression alone would make more.
        let png = encode_png(&noise(300 * 300 * 3), [300, 300]).unwrap();
        assert!((270_000..273_000).contains(&png.len()), "{}", png.len());
        assert!(encode_png(&[0; 11], [2, 2]).is_err());
        assert!(encode_png(&[0; 13], [2, 2]).is_err());
    }
}
