//! Turns a photo into the model's input: resize, crop, scale, standardise.

use super::decode::Photo;
use super::resample_pillow::{self, Kernel};
use super::source::Source;
use super::{geometry, resample_tensorflow};
use crate::artifact::{ChannelOrder, Filter, Preprocessing, PreprocessingError};

/// Writes the model's input for `photo` into `output`. `input` is `[height, width, channels]`,
/// tightly packed. Values follow [`Preprocessing`]'s formula.
///
/// Memory besides `photo` and `output`: a few rows of the input.
///
/// # Errors
/// [`PreprocessingError`] if the recipe does not fit `input`.
///
/// # Panics
/// If the length of `output` does not match `input`; the engine's input always does.
pub fn preprocess(
    photo: &Photo,
    recipe: &Preprocessing,
    input: [usize; 3],
    output: &mut [f32],
) -> Result<(), PreprocessingError> {
    recipe.validate(input)?;
    let [height, width, channels] = input;
    assert_eq!(
        output.len(),
        height * width * channels,
        "the output is the model's input of {input:?}"
    );
    let gray = recipe.channels == ChannelOrder::Gray;
    let source = Source::new(photo, recipe.background, gray);
    let axes = geometry::axes(
        recipe.resize,
        [source.height(), source.width()],
        [height, width],
    );
    let row_len = width * channels;
    match recipe.filter {
        Filter::TensorflowBilinear => {
            let normalise = Normalise::new(recipe);
            resample_tensorflow::bilinear(&source, &axes, |y, row| {
                normalise.floats(row, channels, &mut output[y * row_len..][..row_len]);
            });
        }
        filter => {
            let table = Normalise::new(recipe).table();
            let emit = |y: usize, row: &[u8]| {
                look_up(
                    &table,
                    recipe.channels,
                    row,
                    &mut output[y * row_len..][..row_len],
                );
            };
            match filter {
                Filter::PillowNearest => resample_pillow::nearest(&source, &axes, emit),
                Filter::TensorflowNearest => resample_tensorflow::nearest(&source, &axes, emit),
                Filter::PillowBicubic => {
                    resample_pillow::resample(Kernel::Bicubic, &source, &axes, emit);
                }
                Filter::PillowLanczos => {
                    resample_pillow::resample(Kernel::Lanczos, &source, &axes, emit);
                }
                Filter::PillowBilinear | Filter::TensorflowBilinear => {
                    resample_pillow::resample(Kernel::Bilinear, &source, &axes, emit);
                }
            }
        }
    }
    Ok(())
}

/// The formula, for source channels R G B.
struct Normalise {
    scale: f64,
    mean: [f64; 3],
    std: [f64; 3],
    bgr: bool,
}

impl Normalise {
    fn new(recipe: &Preprocessing) -> Self {
        Self {
            scale: recipe.scale,
            mean: recipe.mean,
            std: recipe.std,
            bgr: recipe.channels == ChannelOrder::Bgr,
        }
    }

    /// In `f64` and rounded once, so that the result is the nearest float.
    #[expect(clippy::cast_possible_truncation, reason = "the input is f32")]
    fn value(&self, pixel: f64, channel: usize) -> f32 {
        ((pixel * self.scale - self.mean[channel]) / self.std[channel]) as f32
    }

    fn floats(&self, row: &[f32], channels: usize, output: &mut [f32]) {
        for (pixel, out) in row
            .chunks_exact(channels)
            .zip(output.chunks_exact_mut(channels))
        {
            for (c, &value) in pixel.iter().enumerate() {
                let to = if self.bgr { 2 - c } else { c };
                out[to] = self.value(f64::from(value), c);
            }
        }
    }

    /// The value of each byte, for each channel.
    fn table(&self) -> Box<[[f32; 256]; 3]> {
        let mut table = Box::new([[0.0; 256]; 3]);
        for (c, values) in table.iter_mut().enumerate() {
            for (pixel, value) in (0_u8..=255).zip(values) {
                *value = self.value(f64::from(pixel), c);
            }
        }
        table
    }
}

fn look_up(table: &[[f32; 256]; 3], order: ChannelOrder, row: &[u8], output: &mut [f32]) {
    let [red, green, blue] = table;
    let pixels = row.as_chunks::<3>().0.iter();
    let outputs = output.as_chunks_mut::<3>().0;
    match order {
        ChannelOrder::Gray => {
            for (out, &v) in output.iter_mut().zip(row) {
                *out = red[usize::from(v)];
            }
        }
        ChannelOrder::Rgb => {
            for (out, [r, g, b]) in outputs.iter_mut().zip(pixels) {
                *out = [
                    red[usize::from(*r)],
                    green[usize::from(*g)],
                    blue[usize::from(*b)],
                ];
            }
        }
        ChannelOrder::Bgr => {
            for (out, [r, g, b]) in outputs.iter_mut().zip(pixels) {
                *out = [
                    blue[usize::from(*b)],
                    green[usize::from(*g)],
                    red[usize::from(*r)],
                ];
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, exact in f32")]
mod tests {
    use super::*;
    use crate::hint::Hint;

    fn recipe(text: &str, input: [usize; 3]) -> Preprocessing {
        Preprocessing::from_yaml(text, input).unwrap()
    }

    #[test]
    fn channels_are_standardised_as_rgb_and_then_reordered() {
        let photo = Photo::new(1, 1, vec![10, 20, 30]).unwrap();
        let text = "scale: 2\nmean: [1, 2, 3]\nstd: [1, 2, 3]\nfilter: ";
        for filter in ["pillow_nearest", "tensorflow_bilinear"] {
            let rgb = recipe(&format!("{text}{filter}"), [1, 1, 3]);
            let bgr = recipe(&format!("{text}{filter}\nchannels: bgr"), [1, 1, 3]);
            let mut output = [0.0; 3];
            preprocess(&photo, &rgb, [1, 1, 3], &mut output).unwrap();
            assert_eq!(output, [19.0, 19.0, 19.0]);
            preprocess(&photo, &bgr, [1, 1, 3], &mut output).unwrap();
            assert_eq!(output, [19.0, 19.0, 19.0]);
        }
        let plain = recipe("channels: bgr", [1, 1, 3]);
        let mut output = [0.0; 3];
        preprocess(&photo, &plain, [1, 1, 3], &mut output).unwrap();
        assert_eq!(output, [30.0, 20.0, 10.0]);
    }

    #[test]
    fn a_gray_input_is_made_before_resizing() {
        let photo = Photo::new(2, 1, vec![255, 0, 0, 0, 0, 255]).unwrap();
        let gray = recipe("filter: pillow_bilinear", [1, 1, 1]);
        let mut output = [0.0];
        preprocess(&photo, &gray, [1, 1, 1], &mut output).unwrap();
        // (76 + 29) / 2 = 52.5, rounded half up.
        assert_eq!(output, [53.0]);
    }

    #[test]
    fn a_recipe_for_another_input_is_refused() {
        let photo = Photo::new(1, 1, vec![0; 3]).unwrap();
        let rgb = recipe("preset: unit", [4, 4, 3]);
        let error = preprocess(&photo, &rgb, [4, 4, 1], &mut [0.0; 16]).unwrap_err();
        assert_eq!(error.kind(), "recipe_does_not_fit_input");
    }
}
