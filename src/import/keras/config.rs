//! The JSON that describes a model, as a typed tree of layers.
//!
//! In: `config.json` of a `.keras`, the `model_config` attribute of an `.h5`, or the output of
//! `model.to_json()`, from Keras 2 or 3. Out: [`ModelConfig`], with every layer's calls in one
//! form. Attributes stay JSON; `attributes` reads them when a layer is imported.
//!
//! Source: `keras/src/models/functional.py` and `keras/src/saving/serialization_lib.py` (Keras 3),
//! `keras/engine/functional.py` (Keras 2).

use serde_json::{Map, Value};

use super::compile::{self, Losses};
use crate::import::error::{ImportError, Place, invalid};
use crate::text::MAX_VALUES;

/// Deepest nesting of models.
const MAX_DEPTH: usize = 24;
/// Most layers of all models together; EfficientNetV2L has 1028.
const MAX_LAYERS: usize = 20_000;

/// A Sequential or Functional model.
#[derive(Debug)]
pub(super) struct ModelConfig {
    pub(super) sequential: bool,
    pub(super) layers: Vec<LayerConfig>,
    /// Input layers in order; for a Sequential, its `InputLayer` if it has one.
    pub(super) inputs: Vec<InputConfig>,
    pub(super) outputs: Vec<OutputConfig>,
    /// `build_input_shape` of a Sequential without an `InputLayer`.
    pub(super) built_for: Option<Vec<Option<usize>>>,
}

#[derive(Debug)]
pub(super) struct InputConfig {
    /// Its key for a caller: the layer's name unless inputs are a dict.
    pub(super) key: String,
    pub(super) layer: String,
}

#[derive(Debug)]
pub(super) struct OutputConfig {
    /// Its key: the layer's name unless outputs are a dict.
    pub(super) key: String,
    pub(super) tensor: TensorRef,
}

/// A layer, an operation, or a model used as a layer.
#[derive(Debug)]
pub(super) struct LayerConfig {
    pub(super) class: String,
    pub(super) name: String,
    /// Names of the enclosing models (not the outermost) and the layer, joined by `/`.
    pub(super) path: String,
    /// Whether it is a `keras.src.ops` operation, which is not a layer: it is not counted as one
    /// and has no weights.
    pub(super) operation: bool,
    pub(super) attributes: Map<String, Value>,
    pub(super) calls: Vec<Call>,
    pub(super) model: Option<ModelConfig>,
    /// The same number for a layer that several models share.
    pub(super) shared_id: Option<u64>,
}

impl LayerConfig {
    pub(super) fn trainable(&self) -> bool {
        self.attributes.get("trainable") != Some(&Value::Bool(false))
    }

    pub(super) fn place(&self) -> Place {
        place(&self.path, &self.class)
    }
}

/// The place of a layer in messages.
pub(super) fn place(path: &str, class: &str) -> Place {
    Place {
        what: "layer",
        name: path.to_owned(),
        class: class.to_owned(),
    }
}

/// Output `tensor` of the `call`-th call of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorRef {
    pub(super) layer: String,
    pub(super) call: usize,
    pub(super) tensor: usize,
}

/// One application of a layer.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) args: Vec<Argument>,
    pub(super) kwargs: Vec<(String, Argument)>,
}

#[derive(Debug)]
pub(super) enum Argument {
    Tensor(TensorRef),
    List(Vec<Argument>),
    Map(Vec<(String, Argument)>),
    Value(Value),
}

impl Argument {
    pub(super) fn tensors<'a>(&'a self, into: &mut Vec<&'a TensorRef>) {
        match self {
            Self::Tensor(t) => into.push(t),
            Self::List(items) => items.iter().for_each(|i| i.tensors(into)),
            Self::Map(items) => items.iter().for_each(|(_, i)| i.tensors(into)),
            Self::Value(_) => {}
        }
    }
}

impl Call {
    pub(super) fn tensors(&self) -> Vec<&TensorRef> {
        let mut into = Vec::new();
        self.args.iter().for_each(|a| a.tensors(&mut into));
        self.kwargs.iter().for_each(|(_, a)| a.tensors(&mut into));
        into
    }
}

/// The outermost model.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) name: String,
    pub(super) model: ModelConfig,
    /// `keras_version` in the JSON itself.
    pub(super) version: Option<String>,
    /// Whether the JSON has the form of Keras 3.
    pub(super) keras3_style: bool,
    /// The losses of the outputs.
    pub(super) losses: Option<Losses>,
}

pub(super) fn parse(json: &[u8], place: &str) -> Result<Root, ImportError> {
    // A value takes up to 50 times its text.
    if json.split(|&byte| byte == b',').count() > MAX_VALUES {
        return Err(invalid(place, format!("more than {MAX_VALUES} values")));
    }
    // serde_json bounds nesting at 128 levels, which bounds the recursion below too.
    let value: Value = serde_json::from_slice(json)
        .map_err(|e| invalid(place, format!("it is not valid JSON: {e}")))?;
    let top = object(&value, place)?;
    let text = String::from_utf8_lossy(json);
    let keras3_style = text.contains("\"__keras_tensor__\"") || text.contains("\"batch_shape\"");
    let class = string(top, "class_name", place)?;
    let mut count = 0;
    let mut parser = Parser { count: &mut count };
    if !is_model(class) {
        return Err(place_of_model(class).unsupported());
    }
    let config = top
        .get("config")
        .ok_or_else(|| invalid(place, "`config` is missing".into()))?;
    let name = config
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or("model")
        .to_owned();
    let model = parser.model(class, config, "", 0, place)?;
    // Names may contain `/` in Keras 2. Two layers with the same path would share their weights.
    let mut paths = Vec::new();
    collect_paths(&model, &mut paths);
    paths.sort_unstable();
    if let Some([twice, ..]) = paths.windows(2).find(|w| w[0] == w[1]) {
        return Err(invalid(
            place,
            format!("two layers have the path `{twice}`"),
        ));
    }
    Ok(Root {
        name,
        model,
        version: top
            .get("keras_version")
            .and_then(Value::as_str)
            .map(str::to_owned),
        keras3_style,
        losses: top.get("compile_config").and_then(compile::losses),
    })
}

/// `tf_keras` is the name of Keras 2 since Keras 3 is `keras`.
pub(super) fn is_keras_module(module: &str) -> bool {
    ["keras", "tf_keras"].iter().any(|root| {
        module
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn collect_paths<'a>(model: &'a ModelConfig, into: &mut Vec<&'a str>) {
    for layer in &model.layers {
        into.push(&layer.path);
        if let Some(model) = &layer.model {
            collect_paths(model, into);
        }
    }
}

/// `Model` was the name of Functional before TensorFlow 2.3.
pub(super) fn is_model(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

/// Layers that contain layers: models, and a pipeline of augmentations, which is a Sequential with
/// another name.
fn has_layers(class: &str) -> bool {
    is_model(class) || class == "Pipeline"
}

/// A layer of another package that is known to do nothing in prediction: the dropout of
/// `efficientnet` and `segmentation_models`, which differs from Keras' only in the shape of its
/// noise.
pub(super) fn is_fixed_dropout(class: &str, config: &Map<String, Value>) -> bool {
    const OF_DROPOUT: [&str; 7] = [
        "autocast",
        "dtype",
        "name",
        "noise_shape",
        "rate",
        "seed",
        "trainable",
    ];
    class == "FixedDropout" && config.keys().all(|key| OF_DROPOUT.contains(&key.as_str()))
}

struct Parser<'a> {
    count: &'a mut usize,
}

impl Parser<'_> {
    fn model(
        &mut self,
        class: &str,
        config: &Value,
        prefix: &str,
        depth: usize,
        place: &str,
    ) -> Result<ModelConfig, ImportError> {
        if depth > MAX_DEPTH {
            return Err(invalid(
                place,
                format!("models are nested deeper than {MAX_DEPTH}"),
            ));
        }
        let sequential = class != "Functional" && class != "Model";
        // Keras before 2.2.3 wrote a Sequential as the bare list of its layers.
        let list = match config {
            Value::Array(list) if sequential => list,
            _ => match object(config, place)?.get("layers") {
                Some(Value::Array(list)) => list,
                // A subclass of `Model` has code in place of layers.
                _ => {
                    return Err(place_of_model(&format!("{class}, subclassed")).unsupported());
                }
            },
        };
        *self.count += list.len();
        if *self.count > MAX_LAYERS {
            return Err(invalid(place, format!("more than {MAX_LAYERS} layers")));
        }
        let layers = list
            .iter()
            .map(|layer| self.layer(layer, prefix, depth, place))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
        names.sort_unstable();
        if let Some([twice, ..]) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(invalid(place, format!("two layers are named `{twice}`")));
        }
        if sequential {
            let inputs = layers
                .first()
                .filter(|l| l.class == "InputLayer")
                .map(|l| InputConfig {
                    key: l.name.clone(),
                    layer: l.name.clone(),
                });
            let built_for = config.get("build_input_shape").and_then(open_shape);
            return Ok(ModelConfig {
                sequential,
                inputs: inputs.into_iter().collect(),
                outputs: Vec::new(),
                built_for,
                layers,
            });
        }
        let references = |key: &str| {
            let value = config
                .get(key)
                .ok_or_else(|| invalid(place, format!("`{key}` is missing")))?;
            let mut found = Vec::new();
            references(value, None, &mut found)
                .ok_or_else(|| invalid(place, format!("`{key}` is not a list of layers")))?;
            Ok::<_, ImportError>(found)
        };
        let inputs = references("input_layers")?
            .into_iter()
            .map(|(key, t)| InputConfig {
                key: key.unwrap_or_else(|| t.layer.clone()),
                layer: t.layer,
            })
            .collect();
        let outputs = references("output_layers")?
            .into_iter()
            .map(|(key, tensor)| OutputConfig {
                key: key.unwrap_or_else(|| tensor.layer.clone()),
                tensor,
            })
            .collect();
        Ok(ModelConfig {
            sequential,
            layers,
            inputs,
            outputs,
            built_for: None,
        })
    }

    fn layer(
        &mut self,
        value: &Value,
        prefix: &str,
        depth: usize,
        place: &str,
    ) -> Result<LayerConfig, ImportError> {
        let layer = object(value, place)?;
        let class = string(layer, "class_name", place)?.to_owned();
        let config = layer
            .get("config")
            .ok_or_else(|| invalid(place, format!("a {class} has no `config`")))?;
        let name = layer
            .get("name")
            .or_else(|| config.get("name"))
            .and_then(Value::as_str)
            // The bare list of a very old Sequential has no name.
            .or(config.is_array().then_some("sequential"))
            .ok_or_else(|| invalid(place, format!("a {class} has no name")))?
            .to_owned();
        let path = format!("{prefix}{name}");
        let place = self::place(&path, &class).to_string();
        let harmless = config
            .as_object()
            .is_some_and(|config| is_fixed_dropout(&class, config));
        // A registered name such as `my_package>MyDense` is a custom class, whatever its last part.
        if let Some(registered) = layer.get("registered_name").and_then(Value::as_str)
            && registered.contains('>')
            && !harmless
            && !registered.to_ascii_lowercase().starts_with("keras>")
        {
            return Err(self::place(&path, registered).unsupported());
        }
        let module = layer.get("module").and_then(Value::as_str);
        // Keras 3 leaves modules out of an `.h5` (and then cannot load its own operations). Every
        // layer but the spatial dropouts has `trainable`, and no operation has.
        let unmarked_operation = module.is_none()
            && !class.starts_with("SpatialDropout")
            && config.get("trainable").is_none()
            && layer
                .get("inbound_nodes")
                .and_then(|nodes| nodes.get(0)?.get("args"))
                .is_some();
        let operation =
            unmarked_operation || module.is_some_and(|m| m.starts_with("keras.src.ops."));
        if !module.is_none_or(is_keras_module) && !harmless {
            let class = format!("{}.{class}", module.unwrap_or_default());
            return Err(self::place(&path, &class).unsupported());
        }
        let model = if has_layers(&class) {
            Some(self.model(&class, config, &format!("{path}/"), depth + 1, &place)?)
        } else {
            None
        };
        let attributes = match (&model, config) {
            // The layers are parsed already; keeping their JSON as well would double the memory.
            (Some(_), Value::Object(map)) => map
                .iter()
                .filter(|(key, _)| key.as_str() == "trainable")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            (None, Value::Object(map)) => map.clone(),
            (Some(_), _) => Map::new(),
            (None, _) => return Err(invalid(&place, "`config` is not an object".into())),
        };
        let calls = match layer.get("inbound_nodes") {
            Some(Value::Array(nodes)) => nodes
                .iter()
                .map(|node| call(node, &place))
                .collect::<Result<_, _>>()?,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(invalid(&place, "`inbound_nodes` is not a list".into())),
        };
        Ok(LayerConfig {
            class,
            name,
            path,
            operation,
            attributes,
            calls,
            model,
            shared_id: layer.get("shared_object_id").and_then(Value::as_u64),
        })
    }
}

/// One entry of `inbound_nodes`, in either notation.
fn call(value: &Value, place: &str) -> Result<Call, ImportError> {
    if let Value::Object(map) = value {
        // Keras 3: {"args": [...], "kwargs": {...}}
        if map.contains_key("args") || map.contains_key("kwargs") {
            let args = match map.get("args") {
                Some(Value::Array(args)) => args.iter().map(|a| argument3(a, place)).collect(),
                None => Ok(Vec::new()),
                Some(_) => Err(invalid(place, "`args` is not a list".into())),
            }?;
            let kwargs = match map.get("kwargs") {
                Some(Value::Object(kwargs)) => kwargs
                    .iter()
                    .map(|(k, v)| Ok((k.clone(), argument3(v, place)?)))
                    .collect(),
                None => Ok(Vec::new()),
                Some(_) => Err(invalid(place, "`kwargs` is not an object".into())),
            }?;
            return Ok(Call { args, kwargs });
        }
    }
    // Keras 2: ["conv", 0, 0, {kwargs}], or a list or dict of those.
    let mut kwargs = Vec::new();
    let argument = argument2(value, &mut kwargs, place)?;
    let kwargs = kwargs
        .into_iter()
        .map(|(key, value)| {
            let argument = match tensor2(value) {
                Some((t, _)) => Argument::Tensor(t),
                None => Argument::Value(value.clone()),
            };
            (key.clone(), argument)
        })
        .collect();
    Ok(Call {
        args: vec![argument],
        kwargs,
    })
}

fn argument3(value: &Value, place: &str) -> Result<Argument, ImportError> {
    Ok(match value {
        Value::Object(map) if map.get("class_name") == Some(&"__keras_tensor__".into()) => {
            let history = map
                .get("config")
                .and_then(|c| c.get("keras_history"))
                .and_then(tensor2)
                .ok_or_else(|| invalid(place, "a tensor without `keras_history`".into()))?;
            Argument::Tensor(history.0)
        }
        // Constants, slices and the like are read when they are used.
        Value::Object(map) if map.contains_key("class_name") => Argument::Value(value.clone()),
        Value::Object(map) => Argument::Map(
            map.iter()
                .map(|(k, v)| Ok((k.clone(), argument3(v, place)?)))
                .collect::<Result<_, ImportError>>()?,
        ),
        Value::Array(items) => {
            let items = items
                .iter()
                .map(|v| argument3(v, place))
                .collect::<Result<Vec<_>, _>>()?;
            if items.iter().all(|i| matches!(i, Argument::Value(_))) {
                Argument::Value(value.clone())
            } else {
                Argument::List(items)
            }
        }
        other => Argument::Value(other.clone()),
    })
}

/// `["layer", call, tensor]` and its keyword arguments.
fn tensor2(value: &Value) -> Option<(TensorRef, Option<&Map<String, Value>>)> {
    let items = value.as_array()?;
    let [Value::String(layer), call, tensor, rest @ ..] = items.as_slice() else {
        return None;
    };
    let index = |v: &Value| usize::try_from(v.as_u64()?).ok();
    let reference = TensorRef {
        layer: layer.clone(),
        call: index(call)?,
        tensor: index(tensor)?,
    };
    Some((reference, rest.first().and_then(Value::as_object)))
}

fn argument2<'a>(
    value: &'a Value,
    kwargs: &mut Vec<(&'a String, &'a Value)>,
    place: &str,
) -> Result<Argument, ImportError> {
    let mut keep = |found: Option<&'a Map<String, Value>>| {
        // Every tensor of a call repeats the call's keyword arguments.
        if let Some(found) = found
            && kwargs.is_empty()
        {
            kwargs.extend(found.iter());
        }
    };
    if let Some((reference, found)) = tensor2(value) {
        keep(found);
        return Ok(Argument::Tensor(reference));
    }
    match value {
        Value::Array(items) => {
            if let [Value::String(tag), _, constant, rest @ ..] = items.as_slice()
                && tag == "_CONSTANT_VALUE"
            {
                keep(rest.first().and_then(Value::as_object));
                return Ok(Argument::Value(constant.clone()));
            }
            items
                .iter()
                .map(|item| argument2(item, kwargs, place))
                .collect::<Result<_, _>>()
                .map(Argument::List)
        }
        Value::Object(items) => items
            .iter()
            .map(|(k, v)| Ok((k.clone(), argument2(v, kwargs, place)?)))
            .collect::<Result<_, _>>()
            .map(Argument::Map),
        _ => Err(invalid(place, format!("`{value}` is not a call"))),
    }
}

/// `["a", 0, 0]`, a list of those, or a dict of those.
fn references(
    value: &Value,
    key: Option<&str>,
    into: &mut Vec<(Option<String>, TensorRef)>,
) -> Option<()> {
    if let Some((reference, _)) = tensor2(value) {
        into.push((key.map(str::to_owned), reference));
        return Some(());
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|v| references(v, key, into)),
        Value::Object(items) => items
            .iter()
            .try_for_each(|(k, v)| references(v, Some(k), into)),
        _ => None,
    }
}

/// A shape with open extents: `[null, 28, 28, 3]`.
pub(super) fn open_shape(value: &Value) -> Option<Vec<Option<usize>>> {
    value
        .as_array()?
        .iter()
        .map(|v| match v {
            Value::Null => Some(None),
            v => usize::try_from(v.as_u64()?).ok().map(Some),
        })
        .collect()
}

/// The place of errors about a whole model.
fn place_of_model(class: &str) -> Place {
    Place {
        what: "layer",
        name: "the model itself".into(),
        class: class.to_owned(),
    }
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, ImportError> {
    value
        .as_object()
        .ok_or_else(|| invalid(place, "expected a JSON object".into()))
}

fn string<'a>(map: &'a Map<String, Value>, key: &str, place: &str) -> Result<&'a str, ImportError> {
    map.get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| invalid(place, format!("`{key}` is missing or no string")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use serde_json::json;

    fn reference(layer: &str, call: usize) -> TensorRef {
        TensorRef {
            layer: layer.into(),
            call,
            tensor: 0,
        }
    }

    #[test]
    fn calls_are_read_in_both_notations() {
        let keras2 = call(&json!([["a", 0, 0, {}], ["b", 1, 0, {}]]), "p").unwrap();
        let keras3 = json!({"args": [[
            {"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0, 0]}},
            {"class_name": "__keras_tensor__", "config": {"keras_history": ["b", 1, 0]}}
        ]], "kwargs": {}});
        let keras3 = call(&keras3, "p").unwrap();
        let expected = vec![reference("a", 0), reference("b", 1)];
        for call in [keras2, keras3] {
            let got: Vec<_> = call.tensors().into_iter().cloned().collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn keras_2_operators_keep_constants_and_keywords() {
        let scalar = call(&json!(["x", 0, 0, {"y": 3.0, "name": null}]), "p").unwrap();
        assert!(matches!(&scalar.args[..], [Argument::Tensor(_)]));
        assert!(matches!(&scalar.kwargs[1], (k, Argument::Value(v)) if k == "y" && *v == 3.0));
        let tensor = call(&json!(["x", 0, 0, {"y": ["z", 0, 0]}]), "p").unwrap();
        assert_eq!(tensor.tensors(), [&reference("x", 0), &reference("z", 0)]);
        let constant_first = json!(["_CONSTANT_VALUE", -1, 1.0, {"y": ["z", 0, 0]}]);
        let call = call(&constant_first, "p").unwrap();
        assert!(matches!(&call.args[..], [Argument::Value(_)]));
        assert_eq!(call.tensors(), [&reference("z", 0)]);
    }

    #[test]
    fn models_nested_too_deep_are_refused() {
        let mut layer = json!({"class_name": "Dense", "config": {"name": "d"}});
        for _ in 0..40 {
            layer = json!({"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}});
        }
        let error = parse(layer.to_string().as_bytes(), "config").unwrap_err();
        assert_eq!(error.kind(), "config");
        // At a greater depth the JSON parser's own bound answers.
        let bomb = "[".repeat(100_000);
        assert_eq!(
            parse(bomb.as_bytes(), "config").unwrap_err().kind(),
            "config"
        );
    }
}
