//! Typed, strict access to a layer's attributes.
//!
//! Each attribute that is read is recorded. If an attribute is left over that could change the
//! layer's result, [`Attributes::finish`] refuses the layer: an option of a newer Keras is an
//! error, and never ignored.

use serde_json::Value;

use super::config::LayerConfig;
use crate::import::affine::Constant;
use crate::import::axes;
use crate::import::error::ImportError;
use crate::import::read_set::ReadSet;

/// Attributes without influence on inference.
const TRAINING_ONLY: &[&str] = &[
    "autocast",
    "dynamic",
    "name",
    "trainable",
    // The shape for which the layer was built; the graph infers its own.
    "batch_input_shape",
    "batch_shape",
    "input_shape",
    "input_dim",
];
const TRAINING_ONLY_SUFFIXES: &[&str] = &["_initializer", "_regularizer", "_constraint"];

const DTYPES: &[&str] = &[
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "mixed_float16",
    "mixed_bfloat16",
];

pub(super) struct Attributes<'a> {
    layer: &'a LayerConfig,
    read: ReadSet<&'a str>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(layer: &'a LayerConfig) -> Self {
        Self {
            layer,
            read: ReadSet::default(),
        }
    }

    /// The value, unless absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let (key, value) = self.layer.attributes.get_key_value(name)?;
        self.read.mark(key);
        (!value.is_null()).then_some(value)
    }

    /// Marks these attributes as irrelevant for the layer.
    pub(super) fn ignore(&self, names: &[&str]) {
        for name in names {
            self.get(name);
        }
    }

    fn required(&self, name: &str) -> Result<&'a Value, ImportError> {
        self.get(name).ok_or_else(|| {
            self.layer
                .place()
                .invalid(format!("attribute `{name}` is missing"))
        })
    }

    pub(super) fn refuse<T>(
        &self,
        attribute: &str,
        value: &Value,
        expected: &str,
    ) -> Result<T, ImportError> {
        let shown = match value {
            Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        Err(self.layer.place().refused(attribute, shown, expected))
    }

    /// A count above zero.
    pub(super) fn count(&self, name: &str) -> Result<usize, ImportError> {
        let value = self.required(name)?;
        match as_count(value) {
            Some(n) if n > 0 => Ok(n),
            _ => self.refuse(name, value, "a whole number above 0"),
        }
    }

    pub(super) fn count_or(&self, name: &str, default: usize) -> Result<usize, ImportError> {
        match self.get(name) {
            Some(_) => self.count(name),
            None => Ok(default),
        }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, ImportError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => self.refuse(name, other, "true or false"),
        }
    }

    /// A number; old Keras 2 wrapped it as `{"type": "ndarray", "value": 0.3}`.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, ImportError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match numbers(value).as_deref() {
            Some([n]) => Ok(Some(*n)),
            _ => self.refuse(name, value, "one number"),
        }
    }

    /// A number or a list of numbers.
    pub(super) fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>, ImportError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match numbers(value) {
            Some(list) => Ok(Some(list)),
            None => self.refuse(name, value, "numbers"),
        }
    }

    /// `[vertical, horizontal]`, or one number for both; above zero.
    pub(super) fn pair(
        &self,
        name: &str,
        default: Option<[usize; 2]>,
    ) -> Result<[usize; 2], ImportError> {
        let value = match (self.get(name), default) {
            (Some(value), _) => value,
            (None, Some(default)) => return Ok(default),
            (None, None) => self.required(name)?,
        };
        let pair = match value {
            Value::Array(items) => match items.as_slice() {
                [v, h] => as_count(v).zip(as_count(h)),
                _ => None,
            },
            one => as_count(one).map(|n| (n, n)),
        };
        match pair {
            Some((v, h)) if v > 0 && h > 0 => Ok([v, h]),
            _ => self.refuse(name, value, "two whole numbers above 0"),
        }
    }

    /// `[[top, bottom], [left, right]]`, `[vertical, horizontal]` or one number.
    pub(super) fn border(&self, name: &str) -> Result<[[usize; 2]; 2], ImportError> {
        let value = self.required(name)?;
        let side = |v: &Value| match v {
            Value::Array(items) => match items.as_slice() {
                [a, b] => Some([as_count(a)?, as_count(b)?]),
                _ => None,
            },
            one => as_count(one).map(|n| [n, n]),
        };
        let border = match value {
            Value::Array(items) => match items.as_slice() {
                [v, h] => side(v).zip(side(h)).map(|(v, h)| [v, h]),
                _ => None,
            },
            one => side(one).map(|s| [s, s]),
        };
        match border {
            // Bounds the sum of two; the graph bounds the resulting area.
            Some(border) if border.iter().flatten().all(|&n| n < 1 << 24) => Ok(border),
            _ => self.refuse(name, value, "[[top, bottom], [left, right]]"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ImportError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => self.refuse(name, other, "text"),
        }
    }

    /// Reads `data_format`, in which the input is already, as `order` sees to it.
    pub(super) fn data_format(&self) -> Result<(), ImportError> {
        match self.get("data_format") {
            None => Ok(()),
            Some(Value::String(s)) if s == "channels_last" || s == "channels_first" => Ok(()),
            Some(other) => {
                let expected = "`channels_last` or `channels_first`";
                self.refuse("data_format", other, expected)
            }
        }
    }

    /// Refuses `channels_first`.
    pub(super) fn channels_last(&self) -> Result<(), ImportError> {
        match self.get("data_format") {
            None => Ok(()),
            Some(Value::String(s)) if s == "channels_last" => Ok(()),
            Some(other) => self.refuse("data_format", other, "`channels_last`"),
        }
    }

    /// An axis that counts the batch axis or from the end, converted to one without the batch axis.
    /// `rank` is the value's, without the batch axis.
    pub(super) fn axis(&self, name: &str, rank: usize) -> Result<usize, ImportError> {
        let value = self.required(name)?;
        match axis(value, rank) {
            Some(axis) => Ok(axis),
            None => self.refuse(name, value, "an axis other than the batch axis"),
        }
    }

    /// Checks that the axis is the last one, given as a number or a list of one number, or not
    /// given.
    pub(super) fn last_axis(&self, name: &str, rank: usize) -> Result<(), ImportError> {
        let Some(value) = self.get(name) else {
            return Ok(());
        };
        let one = match value {
            Value::Array(items) if items.is_empty() => return Ok(()),
            Value::Array(items) if items.len() == 1 => &items[0],
            other => other,
        };
        match axis(one, rank) {
            Some(axis) if axis + 1 == rank => Ok(()),
            _ => self.refuse(name, value, "the last axis"),
        }
    }

    /// Refuses the attribute unless it is absent, null, false or an empty list.
    pub(super) fn must_be_off(&self, name: &str) -> Result<(), ImportError> {
        match self.get(name) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(Value::Array(items)) if items.is_empty() => Ok(()),
            Some(other) => self.refuse(name, other, "nothing or false"),
        }
    }

    /// Refuses attributes that were not read and could matter.
    pub(super) fn finish(&self) -> Result<(), ImportError> {
        self.dtype()?;
        for (key, value) in &self.layer.attributes {
            let harmless = self.read.has(key.as_str())
                || TRAINING_ONLY.contains(&key.as_str())
                || TRAINING_ONLY_SUFFIXES.iter().any(|s| key.ends_with(s))
                || matches!(value, Value::Null | Value::Bool(false));
            if !harmless {
                return self.refuse(key, value, "no such attribute");
            }
        }
        Ok(())
    }

    /// Weights and arithmetic are f32 whatever the policy says; a quantized policy means another
    /// model.
    fn dtype(&self) -> Result<(), ImportError> {
        let Some(value) = self.get("dtype") else {
            return Ok(());
        };
        let name = match value {
            Value::Object(map) => map.get("config").and_then(|c| c.get("name")),
            other => Some(other),
        };
        match name.and_then(Value::as_str) {
            Some(name) if DTYPES.contains(&name) => Ok(()),
            _ => self.refuse("dtype", value, "a floating-point policy"),
        }
    }
}

/// How Keras itself has quantized a layer, if it has: `int8`, `float8`.
pub(super) fn quantization(layer: &LayerConfig) -> Option<String> {
    let text = |value: Option<&'_ Value>| value.and_then(Value::as_str).map(str::to_owned);
    let dtype = layer.attributes.get("dtype");
    // `{"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", ...}}`, or by one name,
    // `int8_from_float32`.
    let policy = dtype.and_then(|dtype| dtype.get("config"));
    let name = text(policy.and_then(|config| config.get("name")).or(dtype));
    let mode = text(layer.attributes.get("quantization_mode"))
        .or_else(|| text(policy.and_then(|config| config.get("mode"))))
        .or_else(|| Some(name?.split_once("_from_")?.0.to_owned()))?;
    let plain = mode.chars().filter(char::is_ascii_alphanumeric).take(16);
    Some(plain.collect())
}

fn as_count(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

/// See [`Attributes::axis`].
pub(super) fn axis(value: &Value, rank: usize) -> Option<usize> {
    axes::axis(value.as_i64()?, rank)
}

/// A number, nested lists of numbers or a serialised array; `None` if it is ragged.
pub(super) fn constant(value: &Value) -> Option<Constant> {
    fn walk(value: &Value, depth: usize, into: &mut Constant) -> Option<()> {
        match value {
            Value::Number(n) if depth == into.dims.len() => {
                into.values.push(n.as_f64()?);
                Some(())
            }
            Value::Array(items) => match into.dims.get(depth) {
                Some(&extent) if extent == items.len() => {
                    items.iter().try_for_each(|v| walk(v, depth + 1, into))
                }
                // Extents are those of the first items.
                None if into.values.is_empty() => {
                    into.dims.push(items.len());
                    items.iter().try_for_each(|v| walk(v, depth + 1, into))
                }
                _ => None,
            },
            Value::Object(map) if depth == 0 => walk(inner(map)?, 0, into),
            _ => None,
        }
    }
    let mut into = Constant {
        dims: Vec::new(),
        values: Vec::new(),
    };
    walk(value, 0, &mut into)?;
    Some(into)
}

/// The content of a serialised array.
fn inner(map: &serde_json::Map<String, Value>) -> Option<&Value> {
    map.get("value")
        .or_else(|| map.get("config").and_then(|c| c.get("value")))
}

/// All numbers of a number, of nested lists, or of a serialised array, in row-major order.
pub(super) fn numbers(value: &Value) -> Option<Vec<f64>> {
    fn walk(value: &Value, into: &mut Vec<f64>) -> Option<()> {
        match value {
            Value::Number(n) => {
                into.push(n.as_f64()?);
                Some(())
            }
            Value::Array(items) => items.iter().try_for_each(|v| walk(v, into)),
            Value::Object(map) => walk(inner(map)?, into),
            _ => None,
        }
    }
    let mut into = Vec::new();
    walk(value, &mut into)?;
    Some(into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn layers_that_keras_has_quantized_are_told() {
        let policy =
            |config: Value| json!({"class_name": "QuantizedDTypePolicy", "config": config});
        for (dtype, expected) in [
            (json!("float32"), None),
            (
                json!({"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}),
                None,
            ),
            (
                policy(json!({"mode": "int8", "source_name": "float32"})),
                Some("int8"),
            ),
            (
                policy(json!({"name": "float8_from_float32"})),
                Some("float8"),
            ),
            (json!("int8_from_mixed_bfloat16"), Some("int8")),
            (json!(null), None),
        ] {
            let layer = json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
                {"class_name": "Dense", "config": {"name": "d", "dtype": dtype}}]}});
            let root = super::super::config::parse(layer.to_string().as_bytes(), "test").unwrap();
            let got = quantization(&root.model.layers[0]);
            assert_eq!(got.as_deref(), expected, "{dtype}");
        }
    }

    #[test]
    fn constants_keep_their_extents() {
        let dims = |value: Value| constant(&value).map(|c| c.dims);
        assert_eq!(dims(json!(2.0)), Some(vec![]));
        assert_eq!(dims(json!([1, 2, 3])), Some(vec![3]));
        assert_eq!(dims(json!([[[1, 2, 3]]])), Some(vec![1, 1, 3]));
        assert_eq!(dims(json!([[1], [2], [3]])), Some(vec![3, 1]));
        assert_eq!(dims(json!([[1, 2], [3]])), None);
        assert_eq!(dims(json!([1, [2]])), None);
        assert_eq!(dims(json!("x")), None);
        let numpy = json!({"class_name": "__numpy__", "config": {"value": [[1, 2.5]]}});
        assert_eq!(dims(numpy), Some(vec![1, 2]));
    }

    #[test]
    fn numbers_are_found_in_every_wrapping() {
        let numpy = json!({"class_name": "__numpy__", "config": {"value": [[1, 2.5]]}});
        assert_eq!(numbers(&numpy), Some(vec![1.0, 2.5]));
        let old = json!({"type": "ndarray", "value": 0.3});
        assert_eq!(numbers(&old), Some(vec![0.3]));
        assert_eq!(numbers(&json!("x")), None);
    }
}
