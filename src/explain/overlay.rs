//! Draws a heat map over the photo.

use std::io::Write;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::{Colormap, HeatMap};
use crate::predict::Region;

/// How a heat map is drawn.
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
/// `(1 - alpha) * photo + alpha * colour`, as matplotlib's `imshow(map, alpha=...)` does it. The
/// map is enlarged bilinearly between the centres of its cells. Pixels outside the region stay.
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

/// Between which two cells a pixel lies, and how far along.
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

/// Colours with alpha multiplied in, an entry an intensity level.
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

/// Writes a PNG of RGB pixels, without any metadata. Fast compression: a heat map is looked at
/// and thrown away.
///
/// # Errors
/// If `out` cannot be written, or the size does not fit the pixels.
pub fn write_png(
    out: impl Write,
    pixels: &[u8],
    [width, height]: [u32; 2],
) -> Result<(), image::ImageError> {
    PngEncoder::new_with_quality(out, CompressionType::Fast, FilterType::Sub).write_image(
        pixels,
        width,
        height,
        ExtendedColorType::Rgb8,
    )
}
