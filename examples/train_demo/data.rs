//! Pictures at the model's input size, and their augmentation during training.

use anyhow::Result;
use image::imageops::{self, FilterType};
use rayon::prelude::*;

use crate::net::INPUT;
use crate::synthetic::{self, CLASSES, Dice, Split};

/// Labelled pictures of `INPUT x INPUT x 3` bytes.
pub(crate) struct Dataset {
    pub(crate) images: Vec<Vec<u8>>,
    pub(crate) labels: Vec<u32>,
}

impl Dataset {
    /// The first `per_class` pictures of each class, through JPEG and the model's resize. Picture
    /// `i` has class `i % 7`.
    pub(crate) fn draw(split: Split, per_class: u32) -> Result<Self> {
        let n_classes = CLASSES.len() as u32;
        let labels: Vec<u32> = (0..per_class * n_classes).map(|i| i % n_classes).collect();
        let images: Result<Vec<_>> = (0..per_class * n_classes)
            .into_par_iter()
            .map(|i| {
                let class = (i % n_classes) as usize;
                input(&synthetic::photo(split, class, i / n_classes)?)
            })
            .collect();
        Ok(Self {
            images: images?,
            labels,
        })
    }
}

/// Decodes and resizes. `Triangle` is Pillow's BILINEAR up to rounding.
fn input(jpeg: &[u8]) -> Result<Vec<u8>> {
    let photo = image::load_from_memory(jpeg)?.into_rgb8();
    let side = INPUT as u32;
    Ok(imageops::resize(&photo, side, side, FilterType::Triangle).into_raw())
}

/// One of the square's eight symmetries, and a small change of light.
pub(crate) fn augment(image: &[u8], dice: &mut Dice) -> Vec<u8> {
    let bits = dice.bits();
    let (gain, offset) = (dice.range(0.94, 1.06), dice.range(-8.0, 8.0));
    let light: Vec<u8> = (0..=255_u8)
        .map(|v| (f32::from(v) * gain + offset).round().clamp(0.0, 255.0) as u8)
        .collect();
    let last = INPUT - 1;
    let mut result = Vec::with_capacity(image.len());
    for row in 0..INPUT {
        for column in 0..INPUT {
            let (mut y, mut x) = (row, column);
            if bits & 1 != 0 {
                y = last - y;
            }
            if bits & 2 != 0 {
                x = last - x;
            }
            if bits & 4 != 0 {
                (y, x) = (x, y);
            }
            let pixel = &image[(y * INPUT + x) * 3..][..3];
            result.extend(pixel.iter().map(|&v| light[usize::from(v)]));
        }
    }
    result
}

/// A shuffled order of `0..n` (Fisher and Yates).
pub(crate) fn shuffled(n: usize, dice: &mut Dice) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, dice.count(0, i as u32) as usize);
    }
    order
}
