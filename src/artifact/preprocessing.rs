//! How a photo becomes the model's input, as data that is stored in the artifact.
//!
//! Order: orient (EXIF), drop alpha (or lay the photo over `background`), convert to one channel if
//! `channels` is `gray`, resize and crop, then for each channel `(pixel * scale - mean[c]) /
//! std[c]`, then channel order. `predict` computes it; [`super::PRESETS`] names the common recipes;
//! [`Preprocessing::from_yaml`] reads a user's own.

use serde::{Deserialize, Serialize};

use crate::hint::{Arguments, Hint, named};

/// The recipe. Pixels start as 0..=255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The preset that it came from, if any. It only informs people: the other fields define the
    /// recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// How the photo is resized to the input's size.
    pub resize: Resize,
    /// The resampling filter.
    pub filter: Filter,
    /// Multiplies each pixel. `f64`, so that 1/255 is not rounded twice.
    pub scale: f64,
    /// Subtracted after `scale`, R G B whatever `channels` says; the first for `gray`.
    pub mean: [f64; 3],
    /// Divides last, R G B whatever `channels` says; the first for `gray`.
    pub std: [f64; 3],
    /// Order of the channels in the input.
    #[serde(default)]
    pub channels: ChannelOrder,
    /// Colour under transparent pixels, R G B. Without it alpha is ignored, as Pillow's
    /// `convert("RGB")`, Keras' `load_img` and `tf.io.decode_image(channels=3)` do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
}

/// How a photo is resized to the input's rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Resize {
    /// To the input's size, ignoring the aspect ratio (Keras' `load_img(target_size=...)` and
    /// `image_dataset_from_directory`).
    Stretch,
    /// Short side to `short_side` pixels, then the middle cut out (torchvision's
    /// `Resize(short_side)`, `CenterCrop(input)`).
    ShortSideCenterCrop {
        /// Length of the short side before the crop; at least the input's longer side.
        short_side: u32,
    },
    /// The largest middle rectangle of the input's aspect ratio, then resized
    /// (Keras' `smart_resize`, `crop_to_aspect_ratio`, `keep_aspect_ratio`).
    CropToAspect,
    /// Like `CropToAspect`, but cut at fractions of pixels while resizing: Pillow's `ImageOps.fit`.
    /// Only Pillow's filters can do this.
    Fit,
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

impl Filter {
    /// Whether it is one of Pillow's filters, which can begin and end between pixels.
    #[must_use]
    pub const fn is_pillows(self) -> bool {
        match self {
            Self::PillowNearest
            | Self::PillowBilinear
            | Self::PillowBicubic
            | Self::PillowLanczos => true,
            Self::TensorflowBilinear | Self::TensorflowNearest => false,
        }
    }
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

impl ChannelOrder {
    /// Channels of the input.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// Why a recipe cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum PreprocessingError {
    /// No preset has the name.
    #[error("there is no preprocessing preset `{name}`")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// What to do.
        hint: String,
    },
    /// A field of the YAML file does not exist.
    #[error("unknown field `{field}`")]
    UnknownField {
        /// The field.
        field: String,
        /// What to do.
        hint: String,
    },
    /// The value of a field is not allowed.
    #[error("field `{field}`: expected {expected}, got {got}")]
    Field {
        /// The field.
        field: &'static str,
        /// What the field takes.
        expected: String,
        /// What it has.
        got: String,
    },
    /// The text is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// The file is far larger than any recipe.
    #[error("a preprocessing file has at most {limit} bytes, got {got}")]
    TooLong {
        /// Bytes allowed.
        limit: u64,
        /// Bytes of the file.
        got: usize,
    },
    /// The recipe does not fit the model's input.
    #[error("the model's input is {height}x{width} with {channels} channels: {problem}")]
    Input {
        /// Rows of the input.
        height: usize,
        /// Columns of the input.
        width: usize,
        /// Channels of the input.
        channels: usize,
        /// What does not fit.
        problem: String,
    },
}

impl Hint for PreprocessingError {
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownPreset { .. } => "unknown_preset",
            Self::UnknownField { .. } => "unknown_field",
            Self::Field { .. } => "bad_field",
            Self::Yaml(_) => "bad_yaml",
            Self::TooLong { .. } => "file_too_long",
            Self::Input { .. } => "recipe_does_not_fit_input",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::UnknownPreset { hint, .. } | Self::UnknownField { hint, .. } => hint.clone(),
            Self::Field { .. } | Self::Yaml(_) => {
                "docs/preprocessing.md lists the fields and their values".to_owned()
            }
            Self::TooLong { .. } => {
                "give a short YAML file such as `preset: keras-xception`".to_owned()
            }
            Self::Input { .. } => {
                "choose another preset, or override the field with --preprocess FILE.yaml"
                    .to_owned()
            }
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::UnknownPreset { name, .. } => named!(name),
            Self::UnknownField { field, .. } => named!(field),
            Self::Field {
                field,
                expected,
                got,
            } => named!(field, expected, got),
            Self::Yaml(problem) => named!(problem),
            Self::TooLong { limit, got } => named!(limit, got),
            Self::Input {
                height,
                width,
                channels,
                problem,
            } => named!(height, width, channels, problem),
        }
    }
}

/// Largest short side that a recipe may have before the crop.
const MAX_SHORT_SIDE: u32 = 4_096;

impl Preprocessing {
    /// Checks the numbers, and that the recipe makes an input of `[height, width, channels]`.
    ///
    /// # Errors
    /// [`PreprocessingError::Field`] or [`PreprocessingError::Input`].
    pub fn validate(&self, input: [usize; 3]) -> Result<(), PreprocessingError> {
        let [height, width, channels] = input;
        let unfit = |problem: String| PreprocessingError::Input {
            height,
            width,
            channels,
            problem,
        };
        if height == 0 || width == 0 {
            return Err(unfit("it has no pixels".to_owned()));
        }
        if self.channels.count() != channels {
            return Err(unfit(format!(
                "`channels: {}` makes {}",
                super::preprocessing_yaml::name_of(self.channels),
                self.channels.count()
            )));
        }
        let number = |field, expected: &str, ok: bool, got: f64| {
            if ok {
                return Ok(());
            }
            Err(PreprocessingError::Field {
                field,
                expected: expected.to_owned(),
                got: got.to_string(),
            })
        };
        number(
            "scale",
            "a finite number other than 0",
            usable_divisor(self.scale),
            self.scale,
        )?;
        for mean in self.mean {
            number("mean", "a number of at most 1e6", mean.abs() <= 1e6, mean)?;
        }
        for std in self.std {
            number(
                "std",
                "a finite number other than 0",
                usable_divisor(std),
                std,
            )?;
        }
        if self.resize == Resize::Fit && !self.filter.is_pillows() {
            return Err(PreprocessingError::Field {
                field: "filter",
                expected: "one of Pillow's filters with `resize: fit` (such as `pillow_lanczos`)"
                    .to_owned(),
                got: format!("`{}`", super::preprocessing_yaml::name_of(self.filter)),
            });
        }
        if let Resize::ShortSideCenterCrop { short_side } = self.resize {
            if short_side > MAX_SHORT_SIDE {
                return Err(PreprocessingError::Field {
                    field: "short_side",
                    expected: format!("at most {MAX_SHORT_SIDE}"),
                    got: short_side.to_string(),
                });
            }
            // torchvision pads with black if the crop is larger; nobody trains with that.
            if (short_side as usize) < height.max(width) {
                return Err(unfit(format!(
                    "`short_side: {short_side}` is smaller than the part that is cut out"
                )));
            }
        }
        Ok(())
    }
}

/// Far from overflow and underflow in the input's `f32`.
fn usable_divisor(value: f64) -> bool {
    (1e-9..=1e9).contains(&value.abs())
}
