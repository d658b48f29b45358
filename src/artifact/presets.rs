//! Named preprocessing recipes.
//!
//! [`PRESETS`] has the formula and the source of each preset; `docs/preprocessing.md` repeats them
//! for people.
//!
//! The default filter of the Keras presets is TensorFlow's bilinear:
//! `image_dataset_from_directory`, `tf.image.resize` and `keras.layers.Resizing` use it, and
//! OpenCV's default `INTER_LINEAR` is the same up to rounding. Models that were trained with
//! `flow_from_directory` or `load_img` need Pillow's NEAREST, and with `Image.resize` Pillow's
//! BICUBIC: override `filter` for these. torchvision's presets have Pillow's antialiased bilinear,
//! the default of its transforms.

use super::preprocessing::{ChannelOrder, Filter, Preprocessing, PreprocessingError, Resize};
use crate::text::{nearest, shorten, suggest};

/// A named recipe.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name for `--preprocess`.
    pub name: &'static str,
    /// The formula for a pixel x of 0..=255.
    pub formula: &'static str,
    /// The models it belongs to.
    pub models: &'static str,
    /// Where the formula is defined.
    pub source: &'static str,
    scale: f64,
    mean: [f64; 3],
    std: [f64; 3],
    channels: ChannelOrder,
    geometry: Geometry,
}

/// How a preset resizes a photo to the input's size.
#[derive(Clone, Copy, Debug)]
enum Geometry {
    /// Stretched, TensorFlow's bilinear.
    Stretch,
    /// Short side resized, middle cut out, Pillow's bilinear.
    Torchvision,
    /// Pillow's `ImageOps.fit` with LANCZOS.
    Fit,
}

const ZERO: [f64; 3] = [0.0; 3];
const ONE: [f64; 3] = [1.0; 3];
/// Channel means and deviations of ImageNet on 0..=1, as in torchvision and Keras' `torch` mode.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
/// Channel means of ImageNet on 0..=255 (R G B), as in Caffe's models and Keras' `caffe` mode.
const CAFFE_MEAN: [f64; 3] = [123.68, 116.779, 103.939];

/// The start of a recipe that names no preset.
pub(super) const RAW: Preset = Preset {
    name: "raw",
    formula: "x",
    models: "models that scale inside (Rescaling or Normalization layer)",
    source: "none",
    scale: 1.0,
    mean: ZERO,
    std: ONE,
    channels: ChannelOrder::Rgb,
    geometry: Geometry::Stretch,
};

const TF_MODE: Preset = Preset {
    formula: "x / 127.5 - 1",
    scale: 1.0 / 127.5,
    mean: ONE,
    ..RAW
};

const INSIDE: Preset = Preset {
    formula: "x (the model scales inside)",
    ..RAW
};

const CAFFE_MODE: Preset = Preset {
    formula: "x - [123.68, 116.779, 103.939], then B G R",
    mean: CAFFE_MEAN,
    channels: ChannelOrder::Bgr,
    ..RAW
};

const TORCH_MODE: Preset = Preset {
    formula: "(x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]",
    scale: 1.0 / 255.0,
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
    ..RAW
};

/// Every preset, in the order in which they are listed.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "keras-xception",
        models: "Xception",
        source: "keras.applications.xception.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-inception-v3",
        models: "InceptionV3",
        source: "keras.applications.inception_v3.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-inception-resnet-v2",
        models: "InceptionResNetV2",
        source: "keras.applications.inception_resnet_v2.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-mobilenet",
        models: "MobileNet",
        source: "keras.applications.mobilenet.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-mobilenet-v2",
        models: "MobileNetV2",
        source: "keras.applications.mobilenet_v2.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-mobilenet-v3",
        models: "MobileNetV3Small, MobileNetV3Large with include_preprocessing=True",
        source: "keras.applications.mobilenet_v3.preprocess_input (does nothing)",
        ..INSIDE
    },
    Preset {
        name: "keras-efficientnet",
        models: "EfficientNetB0 to B7",
        source: "keras.applications.efficientnet.preprocess_input (does nothing)",
        ..INSIDE
    },
    Preset {
        name: "keras-efficientnet-v2",
        models: "EfficientNetV2 B0 to B3, S, M, L with include_preprocessing=True",
        source: "keras.applications.efficientnet_v2.preprocess_input (does nothing)",
        ..INSIDE
    },
    Preset {
        name: "keras-convnext",
        models: "ConvNeXt Tiny to XLarge with include_preprocessing=True",
        source: "keras.applications.convnext.preprocess_input (does nothing)",
        ..INSIDE
    },
    Preset {
        name: "keras-resnet",
        models: "ResNet50, ResNet101, ResNet152",
        source: "keras.applications.resnet.preprocess_input (mode `caffe`)",
        ..CAFFE_MODE
    },
    Preset {
        name: "keras-resnet-v2",
        models: "ResNet50V2, ResNet101V2, ResNet152V2",
        source: "keras.applications.resnet_v2.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-vgg",
        models: "VGG16, VGG19",
        source: "keras.applications.vgg16.preprocess_input (mode `caffe`)",
        ..CAFFE_MODE
    },
    Preset {
        name: "keras-nasnet",
        models: "NASNetMobile, NASNetLarge",
        source: "keras.applications.nasnet.preprocess_input (mode `tf`)",
        ..TF_MODE
    },
    Preset {
        name: "keras-densenet",
        models: "DenseNet121, DenseNet169, DenseNet201",
        source: "keras.applications.densenet.preprocess_input (mode `torch`)",
        ..TORCH_MODE
    },
    Preset {
        name: "imagenet-torchvision",
        models: "torchvision classifiers, timm models with ImageNet statistics",
        source: "torchvision.transforms: Resize(256), CenterCrop(224), ToTensor, Normalize; \
                 for other inputs the short side is round(256 / 224 * input)",
        geometry: Geometry::Torchvision,
        ..TORCH_MODE
    },
    Preset {
        name: "teachable-machine",
        models: "Keras exports of Teachable Machine, as its sample code feeds them",
        source: "ImageOps.fit(image, size, Image.Resampling.LANCZOS), x / 127.5 - 1",
        geometry: Geometry::Fit,
        ..TF_MODE
    },
    Preset {
        name: "unit",
        formula: "x / 255",
        models: "models trained on pixels of 0..=1 (rescale=1/255, ToTensor alone)",
        source: "none",
        scale: 1.0 / 255.0,
        ..RAW
    },
    Preset {
        name: "signed-unit",
        models: "models trained on pixels of -1..=1",
        source: "none",
        ..TF_MODE
    },
    RAW,
];

impl Preset {
    /// The preset of that name.
    ///
    /// # Errors
    /// [`PreprocessingError::UnknownPreset`], with the nearest name.
    pub fn find(name: &str) -> Result<&'static Self, PreprocessingError> {
        let wanted = name.trim().to_ascii_lowercase().replace('_', "-");
        PRESETS.iter().find(|p| p.name == wanted).ok_or_else(|| {
            let names: Vec<_> = PRESETS.iter().map(|p| p.name).collect();
            let near = Self::near(&wanted).unwrap_or(&wanted);
            PreprocessingError::UnknownPreset {
                name: shorten(name),
                hint: suggest(near, &names),
            }
        })
    }

    /// The preset that a name means if it leaves out the first word or the hyphens: `xception`,
    /// `efficientnetv2`.
    fn near(wanted: &str) -> Option<&'static str> {
        let plain = |name: &str| name.replace('-', "");
        let model = |name: &str| plain(name.split_once('-').map_or(name, |(_, model)| model));
        let models: Vec<String> = PRESETS.iter().map(|p| model(p.name)).collect();
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        let wanted = plain(wanted.strip_prefix("keras-").unwrap_or(wanted));
        let near = nearest(&wanted, &models)?;
        let at = models.iter().position(|model| *model == near)?;
        Some(PRESETS[at].name)
    }

    /// The recipe for an input of `[height, width, channels]`.
    ///
    /// # Errors
    /// [`PreprocessingError::Input`] if the input has neither one nor three channels, or one and
    /// the formula treats channels differently.
    pub fn preprocessing(
        &self,
        [height, width, channels]: [usize; 3],
    ) -> Result<Preprocessing, PreprocessingError> {
        let unfit = |problem: String| PreprocessingError::Input {
            height,
            width,
            channels,
            problem,
        };
        let order = match channels {
            3 => self.channels,
            1 if same(self.mean) && same(self.std) => ChannelOrder::Gray,
            1 => {
                return Err(unfit(format!(
                    "preset `{}` has different numbers for each of three channels",
                    self.name
                )));
            }
            _ => return Err(unfit("a photo makes one or three".to_owned())),
        };
        let (resize, filter) = match self.geometry {
            Geometry::Stretch => (Resize::Stretch, Filter::TensorflowBilinear),
            Geometry::Fit => (Resize::Fit, Filter::PillowLanczos),
            Geometry::Torchvision => {
                let side = height.max(width) as f64;
                // The ratio of 256 to 224 that ImageNet models are evaluated with.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates; `validate` refuses the result"
                )]
                let short_side = (side * 256.0 / 224.0).round() as u32;
                (
                    Resize::ShortSideCenterCrop { short_side },
                    Filter::PillowBilinear,
                )
            }
        };
        Ok(Preprocessing {
            preset: Some(self.name.to_owned()),
            resize,
            filter,
            scale: self.scale,
            mean: self.mean,
            std: self.std,
            channels: order,
            background: None,
        })
    }
}

/// Whether the three channels have the same numbers.
pub(super) fn same(values: [f64; 3]) -> bool {
    values.iter().all(|v| v.to_bits() == values[0].to_bits())
}
