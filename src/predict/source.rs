//! Rows of a photo for the resamplers: with three channels or one, and transparent pixels already
//! blended with the background.
//!
//! A row is made when a resampler needs it, so there is never a second copy of the photo.

use super::decode::Photo;

/// A view of the photo with `channels` bytes for each pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    photo: &'a Photo,
    background: Option<[u8; 3]>,
    gray: bool,
}

impl<'a> Source<'a> {
    /// The photo with three channels, or with one as in Pillow's `convert("L")`. Transparent pixels
    /// show `background`, or without it the colour that is stored under them.
    pub(super) fn new(photo: &'a Photo, background: Option<[u8; 3]>, gray: bool) -> Self {
        Self {
            photo,
            background,
            gray,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.photo.width()
    }

    pub(super) fn height(&self) -> usize {
        self.photo.height()
    }

    pub(super) fn channels(&self) -> usize {
        if self.gray { 1 } else { 3 }
    }

    /// Row `y`. It is made in `scratch` if the photo does not store it in this form.
    pub(super) fn row<'s>(&'s self, y: usize, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        let stored = self.photo.row(y);
        let background = self.background.zip(self.photo.alpha_row(y));
        if background.is_none() && !self.gray {
            return stored;
        }
        scratch.clear();
        let pixels = stored.as_chunks::<3>().0;
        match (background, self.gray) {
            (Some((colour, alpha)), false) => {
                for (pixel, &a) in pixels.iter().zip(alpha) {
                    scratch.extend(over(*pixel, a, colour));
                }
            }
            (Some((colour, alpha)), true) => {
                scratch.extend(
                    pixels
                        .iter()
                        .zip(alpha)
                        .map(|(pixel, &a)| luma(over(*pixel, a, colour))),
                );
            }
            (None, _) => scratch.extend(pixels.iter().map(|&pixel| luma(pixel))),
        }
        scratch
    }
}

/// Pillow's `convert("L")`: ITU-R 601-2 luma in 16-bit fixed point, rounded.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000;
    // The weights add up to 65536: the sum is below 256 << 16.
    sum.to_be_bytes()[1]
}

/// A pixel over an opaque background, blended as in Pillow's `paste` with a mask: rounded division
/// by 255.
fn over(pixel: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    std::array::from_fn(|c| {
        let sum = u32::from(pixel[c]) * u32::from(alpha)
            + u32::from(background[c]) * u32::from(255 - alpha)
            + 128;
        let quotient = ((sum >> 8) + sum) >> 8;
        quotient.to_le_bytes()[0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_of_grey_is_grey() {
        for v in 0..=255 {
            assert_eq!(luma([v; 3]), v);
        }
        assert_eq!(luma([255, 0, 0]), 76);
        assert_eq!(luma([0, 255, 0]), 150);
        assert_eq!(luma([0, 0, 255]), 29);
    }

    #[test]
    fn transparent_pixels_show_the_background() {
        let photo = Photo::with_alpha(3, 1, vec![9; 9], Some(vec![0, 255, 128])).unwrap();
        let mut scratch = Vec::new();
        let over_white = Source::new(&photo, Some([255; 3]), false);
        assert_eq!(
            over_white.row(0, &mut scratch),
            [255, 255, 255, 9, 9, 9, 132, 132, 132]
        );
        let ignored = Source::new(&photo, None, false);
        assert_eq!(ignored.row(0, &mut scratch), [9; 9]);
        let gray = Source::new(&photo, Some([255; 3]), true);
        assert_eq!(gray.row(0, &mut scratch), [255, 9, 132]);
    }
}
