//! The photo with the heat map over it.

use super::{HeatMap, Overlay, encode_png, overlay, shrink};
use crate::predict::{Photo, Region};

/// An RGB picture, 8 bits a channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pixels: Vec<u8>,
    size: [usize; 2],
}

impl Picture {
    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// R G B of each pixel, rows from the top.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The picture as a PNG file, without any metadata.
    ///
    /// # Errors
    /// If a side has more pixels than PNG allows, which no decoded photo has.
    pub fn png(&self) -> std::io::Result<Vec<u8>> {
        encode_png(&self.pixels, self.size.map(side))
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Pixels are private to their sender, so they never reach a log.
        write!(f, "Picture {}x{}", self.size[0], self.size[1])
    }
}

/// Draws `map` over the `region` of `photo` that the model saw. With `most`, the photo is first
/// shrunk until its long side has at most this many pixels.
#[must_use]
pub fn draw(
    photo: Photo,
    mut region: Region,
    map: &HeatMap,
    style: Overlay,
    most: Option<usize>,
) -> Picture {
    let mut size = [photo.width(), photo.height()];
    let mut pixels = photo.into_pixels();
    if let Some((small, to)) = most.and_then(|most| shrink(&pixels, size, most)) {
        region = region.scaled(size, to);
        (pixels, size) = (small, to);
    }
    overlay(&mut pixels, size.map(side), map, region, style);
    Picture { pixels, size }
}

/// Limits keep the sides of photos far below 2^32 pixels.
fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}
