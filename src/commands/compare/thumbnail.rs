//! Small pictures of photos for a report.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::thumbnail;
use image::{ExtendedColorType, RgbImage};

use crate::predict::{Limits, decode};

/// Long side of a picture in pixels: sharp at twice the width at which it is shown.
const SIDE: u32 = 300;

/// JPEG quality of a picture.
const QUALITY: u8 = 75;

/// The photo, upright and small, as JPEG; `None` if it can no longer be read.
pub(super) fn jpeg(path: &Path) -> Option<Vec<u8>> {
    let photo = decode::read(path, &Limits::default()).ok()?;
    let (width, height) = (
        photo.width().try_into().ok()?,
        photo.height().try_into().ok()?,
    );
    let photo = RgbImage::from_raw(width, height, photo.into_pixels())?;
    let long = width.max(height).max(SIDE);
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(SIDE) / u64::from(long);
        u32::try_from(side.max(1)).unwrap_or(SIDE)
    };
    let small = thumbnail(&photo, scaled(width), scaled(height));
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(
            small.as_raw(),
            small.width(),
            small.height(),
            ExtendedColorType::Rgb8,
        )
        .ok()?;
    Some(bytes)
}
