//! Recipes read from a user's YAML file: a preset and the fields that differ from it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::preprocessing::{ChannelOrder, Preprocessing, PreprocessingError, Resize};
use super::presets::{Preset, RAW, same};
use crate::text::{self, Aliases, Located, MAX_SETTINGS_BYTES, Value, nearest, shorten, suggest};

impl Preprocessing {
    /// The recipe of a preset for an input of `[height, width, channels]`.
    ///
    /// # Errors
    /// [`PreprocessingError`] if there is no such preset or it does not fit the input.
    pub fn preset(name: &str, input: [usize; 3]) -> Result<Self, PreprocessingError> {
        let recipe = Preset::find(name)?.preprocessing(input)?;
        recipe.validate(input)?;
        Ok(recipe)
    }

    /// A recipe from YAML, for an input of `[height, width, channels]`.
    ///
    /// `preset` (default `raw`) gives the start; `resize`, `short_side`, `filter`, `scale`,
    /// `mean`, `std`, `channels` and `background` replace its fields. `mean` and `std` take one
    /// number or three, `background` `#rrggbb` or three numbers.
    ///
    /// # Errors
    /// [`PreprocessingError`] naming the field and what it takes.
    pub fn from_yaml(text: &str, input: [usize; 3]) -> Result<Self, PreprocessingError> {
        if text.len() as u64 > MAX_SETTINGS_BYTES {
            return Err(PreprocessingError::TooLong {
                limit: MAX_SETTINGS_BYTES,
                got: text.len(),
            });
        }
        let document = text::yaml(text, Aliases::Refuse)
            .map_err(|error| PreprocessingError::Yaml(error.to_string()))?;
        if !matches!(document.value, Value::Map(_) | Value::Null) {
            return Err(PreprocessingError::Yaml(format!(
                "expected `field: value` lines, got {}",
                document.describe()
            )));
        }
        let recipe = Self::from_fields(&document, input)?;
        recipe.validate(input)?;
        Ok(recipe)
    }

    /// The recipe as a YAML file that [`Preprocessing::from_yaml`] reads back.
    ///
    /// # Panics
    /// Never: numbers, strings and enums always serialise.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        #[expect(
            clippy::expect_used,
            reason = "plain data without maps always serialises"
        )]
        serde_yaml::to_string(self).expect("plain data")
    }

    fn from_fields(fields: &Located, input: [usize; 3]) -> Result<Self, PreprocessingError> {
        const FIELDS: [&str; 9] = [
            "preset",
            "resize",
            "short_side",
            "filter",
            "scale",
            "mean",
            "std",
            "channels",
            "background",
        ];
        for (name, _) in fields.entries() {
            if !FIELDS.contains(&name.as_str()) {
                return Err(PreprocessingError::UnknownField {
                    field: shorten(name),
                    hint: match KERAS_WORDS.iter().find(|(theirs, _)| name == theirs) {
                        Some((_, hint)) => (*hint).to_owned(),
                        None => suggest(name, &FIELDS),
                    },
                });
            }
        }
        let preset = match fields.get("preset") {
            None => &RAW,
            Some(found) => match found.text() {
                Some(name) => Preset::find(name)?,
                None => return Err(field("preset", "a preset's name", found)),
            },
        };
        // A preset with different numbers for each channel does not fit one channel, unless the
        // file replaces them. So this builds the recipe for three channels first, and `validate`
        // judges the result.
        let [height, width, channels] = input;
        let build_for = if channels == 1 { 3 } else { channels };
        let mut recipe = preset.preprocessing([height, width, build_for])?;
        if channels == 1 {
            recipe.channels = ChannelOrder::Gray;
        }
        if let Some(value) = fields.get("resize") {
            recipe.resize = resize(value, fields.get("short_side"), recipe.resize)?;
        } else if let Some(value) = fields.get("short_side") {
            recipe.resize = Resize::ShortSideCenterCrop {
                short_side: short_side(value)?,
            };
        }
        if let Some(value) = fields.get("filter") {
            recipe.filter = choice("filter", value, FILTERS)?;
        }
        if let Some(value) = fields.get("scale") {
            recipe.scale = number(value).ok_or_else(|| {
                field(
                    "scale",
                    "a number such as 1/255 or 0.00392156862745098",
                    value,
                )
            })?;
        }
        if let Some(value) = fields.get("mean") {
            recipe.mean = triple("mean", value)?;
        }
        if let Some(value) = fields.get("std") {
            recipe.std = triple("std", value)?;
        }
        if let Some(value) = fields.get("channels") {
            recipe.channels = choice("channels", value, CHANNELS)?;
        }
        if let Some(value) = fields.get("background") {
            recipe.background = background(value)?;
        }
        if recipe.channels == ChannelOrder::Gray && !(same(recipe.mean) && same(recipe.std)) {
            return Err(PreprocessingError::Input {
                height,
                width,
                channels,
                problem: format!(
                    "preset `{}` has different numbers for each of three channels; give \
                     `mean` and `std` as one number",
                    preset.name
                ),
            });
        }
        Ok(recipe)
    }
}

/// Keras' names of some fields.
const KERAS_WORDS: [(&str, &str); 2] = [
    ("rescale", "the field is `scale`: write `scale: 1/255`"),
    (
        "interpolation",
        "the field is `filter`: `pillow_nearest`, `tensorflow_bilinear`, ...",
    ),
];

const FILTERS: &[&str] = &[
    "pillow_nearest",
    "pillow_bilinear",
    "pillow_bicubic",
    "pillow_lanczos",
    "tensorflow_bilinear",
    "tensorflow_nearest",
];
const CHANNELS: &[&str] = &["rgb", "bgr", "gray"];
const RESIZES: &[&str] = &["stretch", "short_side_center_crop", "crop_to_aspect", "fit"];

/// The name under which serde stores a unit variant.
pub(super) fn name_of(value: impl Serialize) -> String {
    match serde_yaml::to_value(value) {
        Ok(serde_yaml::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn field(name: &'static str, expected: impl Into<String>, got: &Located) -> PreprocessingError {
    PreprocessingError::Field {
        field: name,
        expected: expected.into(),
        got: got.describe(),
    }
}

fn choice<T: DeserializeOwned>(
    name: &'static str,
    value: &Located,
    known: &[&str],
) -> Result<T, PreprocessingError> {
    let expected = || format!("one of {}", known.join(", "));
    let Some(text) = value.text() else {
        return Err(field(name, expected(), value));
    };
    let wanted = text.trim().to_ascii_lowercase().replace('-', "_");
    serde_yaml::from_value(serde_yaml::Value::String(wanted.clone())).map_err(|_| {
        let expected = match nearest(&wanted, known) {
            Some(near) => format!("{} (`{near}`?)", expected()),
            None => expected(),
        };
        field(name, expected, value)
    })
}

/// `resize: stretch`, or the form that the artifact stores: `resize: { mode: ..., short_side: ...
/// }`.
fn resize(
    value: &Located,
    side: Option<&Located>,
    preset: Resize,
) -> Result<Resize, PreprocessingError> {
    let known = format!("one of {}", RESIZES.join(", "));
    let (mode, inner) = match &value.value {
        Value::Map(block) => {
            for (key, _) in block {
                if !matches!(key.as_str(), "mode" | "short_side") {
                    return Err(PreprocessingError::UnknownField {
                        field: format!("resize.{}", shorten(key)),
                        hint: "`resize` takes `mode` and `short_side`".to_owned(),
                    });
                }
            }
            let Some(mode) = value.get("mode") else {
                return Err(PreprocessingError::Field {
                    field: "resize",
                    expected: known,
                    got: "nothing".to_owned(),
                });
            };
            (mode, value.get("short_side"))
        }
        _ => (value, None),
    };
    let Some(text) = mode.text() else {
        return Err(field("resize", known, mode));
    };
    let wanted = text.trim().to_ascii_lowercase().replace('-', "_");
    let side = inner.or(side);
    match (wanted.as_str(), side) {
        ("stretch", None) => Ok(Resize::Stretch),
        ("crop_to_aspect", None) => Ok(Resize::CropToAspect),
        ("fit", None) => Ok(Resize::Fit),
        ("stretch" | "crop_to_aspect" | "fit", Some(side)) => Err(field(
            "short_side",
            "nothing, since only `resize: short_side_center_crop` uses it",
            side,
        )),
        ("short_side_center_crop", Some(side)) => Ok(Resize::ShortSideCenterCrop {
            short_side: short_side(side)?,
        }),
        ("short_side_center_crop", None) => match preset {
            keep @ Resize::ShortSideCenterCrop { .. } => Ok(keep),
            _ => Err(PreprocessingError::Field {
                field: "short_side",
                expected: "the short side's length in pixels before the crop".to_owned(),
                got: "nothing".to_owned(),
            }),
        },
        _ => {
            let expected = match nearest(&wanted, RESIZES) {
                Some(near) => format!("{known} (`{near}`?)"),
                None => known,
            };
            Err(field("resize", expected, mode))
        }
    }
}

fn short_side(value: &Located) -> Result<u32, PreprocessingError> {
    value
        .integer()
        .and_then(|v| u32::try_from(v).ok())
        .filter(|&v| v > 0)
        .ok_or_else(|| field("short_side", "a whole number of pixels", value))
}

fn number(value: &Located) -> Option<f64> {
    let number = match value.text() {
        // YAML has no fractions, but everybody writes `1/255`.
        Some(text) => {
            let (above, below) = text.split_once('/')?;
            let number = |text: &str| text.trim().parse::<f64>().ok();
            Some(number(above)? / number(below)?)
        }
        None => value.number(),
    };
    number.filter(|v| v.is_finite())
}

fn triple(name: &'static str, value: &Located) -> Result<[f64; 3], PreprocessingError> {
    let bad = || field(name, "one number, or three for R G B", value);
    if let Value::List(items) = &value.value {
        let numbers: Option<Vec<f64>> = items.iter().take(4).map(number).collect();
        return numbers.and_then(|n| n.try_into().ok()).ok_or_else(bad);
    }
    number(value).map(|v| [v; 3]).ok_or_else(bad)
}

fn background(value: &Located) -> Result<Option<[u8; 3]>, PreprocessingError> {
    let bad = || field("background", "`#rrggbb` or three numbers of 0..=255", value);
    match &value.value {
        Value::Null => Ok(None),
        Value::Text(text) => {
            let digits = text.strip_prefix('#').ok_or_else(bad)?;
            if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            let [_, r, g, b] = u32::from_str_radix(digits, 16)
                .map_err(|_| bad())?
                .to_be_bytes();
            Ok(Some([r, g, b]))
        }
        Value::List(items) => {
            let bytes: Option<Vec<u8>> = items
                .iter()
                .take(4)
                .map(|v| v.integer().and_then(|v| u8::try_from(v).ok()))
                .collect();
            let colour = bytes.and_then(|b| b.try_into().ok()).ok_or_else(bad)?;
            Ok(Some(colour))
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "numbers must pass unchanged")]
mod tests {
    use super::*;
    use crate::artifact::{Filter, PRESETS};
    use crate::hint::Hint;

    const RGB: [usize; 3] = [224, 224, 3];

    fn value(recipe: &Preprocessing, pixel: f64, channel: usize) -> f64 {
        (pixel * recipe.scale - recipe.mean[channel]) / recipe.std[channel]
    }

    #[test]
    fn presets_compute_their_formula() {
        struct Case {
            preset: &'static str,
            pixel: f64,
            channel: usize,
            expected: f64,
        }
        let case = |preset, pixel, channel, expected| Case {
            preset,
            pixel,
            channel,
            expected,
        };
        for c in [
            case("keras-xception", 0.0, 0, -1.0),
            case("keras-xception", 255.0, 2, 1.0),
            case("keras-mobilenet-v2", 51.0, 1, -0.6),
            case("teachable-machine", 255.0, 1, 1.0),
            case("keras-efficientnet-v2", 200.0, 0, 200.0),
            case("keras-resnet", 100.0, 0, -23.68),
            case("keras-resnet", 100.0, 2, -3.939),
            case("keras-densenet", 255.0, 0, (1.0 - 0.485) / 0.229),
            case("imagenet-torchvision", 0.0, 2, -0.406 / 0.225),
            case("unit", 51.0, 0, 0.2),
            case("raw", 17.0, 1, 17.0),
        ] {
            let recipe = Preprocessing::preset(c.preset, RGB).unwrap();
            let got = value(&recipe, c.pixel, c.channel);
            assert!(
                (got - c.expected).abs() < 1e-12,
                "{}: expected {}, got {got}",
                c.preset,
                c.expected
            );
        }
    }

    #[test]
    fn every_preset_fits_a_photo_and_round_trips_through_yaml() {
        for preset in PRESETS {
            let recipe = Preprocessing::preset(preset.name, RGB).unwrap();
            let again = Preprocessing::from_yaml(&recipe.to_yaml(), RGB).unwrap();
            assert_eq!(recipe, again, "{}", recipe.to_yaml());
        }
    }

    #[test]
    fn torchvision_keeps_its_ratio_of_resize_to_crop() {
        for (input, short_side) in [(224, 256), (299, 342), (300, 343), (384, 439)] {
            let recipe = Preprocessing::preset("imagenet-torchvision", [input, input, 3]).unwrap();
            assert_eq!(recipe.resize, Resize::ShortSideCenterCrop { short_side });
        }
    }

    #[test]
    fn yaml_overrides_single_fields() {
        let text = "preset: keras-xception\nfilter: pillow-nearest\nresize: crop_to_aspect\n\
                    background: '#ff8000'\n";
        let recipe = Preprocessing::from_yaml(text, RGB).unwrap();
        assert_eq!(recipe.filter, Filter::PillowNearest);
        assert_eq!(recipe.resize, Resize::CropToAspect);
        assert_eq!(recipe.background, Some([255, 128, 0]));
        assert_eq!(recipe.mean, [1.0; 3]);
        let standardised = "mean: 163.77\nstd: 41.30\n";
        let recipe = Preprocessing::from_yaml(standardised, [28, 28, 1]).unwrap();
        assert_eq!(recipe.channels, ChannelOrder::Gray);
        assert_eq!(recipe.mean, [163.77; 3]);
        assert_eq!(recipe.std, [41.30; 3]);
    }

    #[test]
    fn mistakes_in_yaml_are_named_with_the_next_step() {
        struct Case {
            text: &'static str,
            kind: &'static str,
            says: &'static str,
        }
        let case = |text, kind, says| Case { text, kind, says };
        for c in [
            case(
                "preset: keras-xeption",
                "unknown_preset",
                "did you mean `keras-xception`?",
            ),
            case(
                "preset: xception",
                "unknown_preset",
                "did you mean `keras-xception`?",
            ),
            case(
                "preset: EfficientNetV2B0",
                "unknown_preset",
                "did you mean `keras-efficientnet-v2`?",
            ),
            case("fliter: raw", "unknown_field", "did you mean `filter`?"),
            case("rescale: 1/255", "unknown_field", "the field is `scale`"),
            case("interpolation: nearest", "unknown_field", "`filter`"),
            case("filter: pillow_bilnear", "bad_field", "`pillow_bilinear`?"),
            case("filter: 3", "bad_field", "one of pillow_nearest"),
            case("scale: one", "bad_field", "a number"),
            case("scale: .nan", "bad_field", "a number"),
            case("scale: 0", "bad_field", "other than 0"),
            case("std: [1, 0, 1]", "bad_field", "other than 0"),
            case("mean: [1, 2]", "bad_field", "three for R G B"),
            case("mean: [1, 2, 3, 4]", "bad_field", "three for R G B"),
            case("resize: strech", "bad_field", "`stretch`?"),
            case("resize: short_side_center_crop", "bad_field", "short_side"),
            case(
                "resize: {mode: stretch, side: 3}",
                "unknown_field",
                "resize.side",
            ),
            case(
                "resize: stretch\nshort_side: 256",
                "bad_field",
                "only `resize",
            ),
            case(
                "short_side: 100",
                "recipe_does_not_fit_input",
                "smaller than",
            ),
            case("short_side: 100000", "bad_field", "at most 4096"),
            case("resize: fit", "bad_field", "one of Pillow's filters"),
            case(
                "preset: teachable-machine\nfilter: tensorflow_nearest",
                "bad_field",
                "got `tensorflow_nearest`",
            ),
            case("background: '#12345é'", "bad_field", "#rrggbb"),
            case("background: [256, 0, 0]", "bad_field", "0..=255"),
            case("channels: gray", "recipe_does_not_fit_input", "makes 1"),
            case("- a\n- b", "bad_yaml", "a list of 2"),
            case("a: [", "bad_yaml", "not valid YAML"),
            case(
                "mean: &a 1\nstd: *a",
                "bad_yaml",
                "line 1, column 10: an anchor",
            ),
        ] {
            let error = Preprocessing::from_yaml(c.text, RGB).unwrap_err();
            let message = format!("{error}; {}", error.hint());
            assert_eq!(error.kind(), c.kind, "{}: {message}", c.text);
            assert!(message.contains(c.says), "{}: {message}", c.text);
        }
        let long = "#".repeat(64 * 1024 + 1);
        let error = Preprocessing::from_yaml(&long, RGB).unwrap_err();
        assert_eq!(error.kind(), "file_too_long");
    }

    #[test]
    fn one_channel_wants_one_number() {
        let gray = [64, 64, 1];
        let unit = Preprocessing::preset("unit", gray).unwrap();
        assert_eq!(unit.channels, ChannelOrder::Gray);
        let error = Preprocessing::preset("keras-densenet", gray).unwrap_err();
        assert_eq!(error.kind(), "recipe_does_not_fit_input");
        let text = "preset: keras-densenet\nmean: 0.5\nstd: 0.2";
        assert_eq!(Preprocessing::from_yaml(text, gray).unwrap().mean, [0.5; 3]);
        let two = Preprocessing::preset("unit", [64, 64, 2]).unwrap_err();
        assert!(two.to_string().contains("one or three"));
    }
}
