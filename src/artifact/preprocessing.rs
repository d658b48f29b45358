//! How a photo becomes the model's input, as data that travels in the artifact.
//!
//! Order: orient (EXIF), convert to RGB over `background`, resize, crop, then for each channel
//! `(pixel * scale - mean[c]) / std[c]`, then channel order. `predict` does it.

use serde::{Deserialize, Serialize};

/// The recipe. Pixels start as 0..=255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The preset it came from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// How the photo is brought to the input's size.
    pub resize: Resize,
    /// Between pixels.
    pub filter: Filter,
    /// Multiplies each pixel.
    pub scale: f32,
    /// Subtracted after `scale`, R G B.
    pub mean: [f32; 3],
    /// Divides last, R G B.
    pub std: [f32; 3],
    /// Order of the channels in the input.
    #[serde(default)]
    pub channels: ChannelOrder,
    /// Colour under transparent pixels.
    #[serde(default)]
    pub background: [u8; 3],
}

/// How a photo is brought to the input's rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Resize {
    /// To the input's size, ignoring the aspect ratio (Keras' `load_img(target_size=...)`).
    Stretch,
    /// Short side to `short_side` pixels, then the middle cut out (torchvision).
    ShortSideCenterCrop {
        /// Length of the short side before the crop.
        short_side: u32,
    },
    /// The largest middle rectangle of the input's aspect ratio, then resized
    /// (Keras' `smart_resize`, `crop_to_aspect_ratio`).
    CropToAspect,
}

/// The resampling kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Pillow `NEAREST`.
    PillowNearest,
    /// Pillow `BILINEAR` (antialiased, fixed point).
    PillowBilinear,
    /// Pillow `BICUBIC` (a = -0.5).
    PillowBicubic,
    /// Pillow `LANCZOS` (3 lobes).
    PillowLanczos,
    /// `tf.image.resize(method="bilinear")`: half-pixel, no antialias, float.
    TensorflowBilinear,
    /// `tf.image.resize(method="nearest")`.
    TensorflowNearest,
}

/// Order of the input's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red (Caffe).
    Bgr,
    /// One luma channel, Pillow's `convert("L")`.
    Gray,
}
