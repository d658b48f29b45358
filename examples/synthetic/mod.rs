//! Pictures that look somewhat like dermatoscopic photos, drawn by arithmetic from a seed.
//!
//! [`photo`] gives the JPEG of picture `index` of a class in a split. The seven classes are named as
//! those of HAM10000 and borrow from each the signs that textbooks list (network, globules, veil,
//! lacunae, milia, arborizing vessels, ...); `traits` draws which signs a picture has, `paint` draws
//! the signs. Classes overlap on purpose: signs are missing, faint, or borrowed from another class
//! with the probabilities in `traits`, so that no classifier can be right every time.
//!
//! These pictures teach nothing about skin. They exist so that the project has labelled images and
//! a trained network of its own, without anybody's photographs.

// Pixels, colours and lattice points go between integers and floats all the time, in known ranges.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::cast_lossless
)]

mod noise;
mod paint;
mod traits;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, RgbImage};

pub(crate) use noise::Dice;

/// Class names in the order of the labels.
pub(crate) const CLASSES: [&str; 7] = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"];

/// Pictures of each class in `fixtures/images`.
pub(crate) const FIXTURES_PER_CLASS: u32 = 30;

/// Which pictures: the splits never share a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// The committed pictures in `fixtures/images`.
    Fixture = 1,
    /// What the demo model learns from.
    Train = 2,
    /// Watched during training, to see that it goes well.
    Validation = 3,
    /// Looked at once, for the model card.
    HeldOut = 4,
}

/// Columns and rows of the pictures; the first is the most common.
const FORMATS: [(u32, u32); 6] = [
    (224, 168),
    (224, 168),
    (200, 150),
    (208, 156),
    (240, 160),
    (176, 176),
];

/// Picture `index` of a class, before JPEG, with the quality at which it is encoded.
fn draw(split: Split, class: usize, index: u32) -> (RgbImage, u8) {
    let seed = (split as u64) << 40 | (class as u64) << 32 | u64::from(index);
    let mut dice = Dice::new(seed);
    let format = FORMATS[dice.count(0, FORMATS.len() as u32 - 1) as usize];
    let quality = dice.count(68, 86) as u8;
    let lesion = traits::lesion(CLASSES[class], &mut dice);
    let scene = traits::scene(&lesion, &mut dice);
    (paint::render(format, &lesion, &scene, &mut dice), quality)
}

/// The JPEG file of picture `index` of a class (an index into [`CLASSES`]).
pub(crate) fn photo(split: Split, class: usize, index: u32) -> Result<Vec<u8>, ImageError> {
    let (picture, quality) = draw(split, class, index);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&picture)?;
    Ok(bytes)
}

/// Name of a committed picture.
pub(crate) fn fixture_name(class: usize, index: u32) -> String {
    format!("{}_{index:02}.jpg", CLASSES[class])
}
