//! How a model was trained, from its `compile_config` (Keras 3) or `training_config` (`.h5`).
//!
//! Nothing here can make an import fail: an unknown loss has the kind `Other`, and a text that
//! cannot be read is ignored.

use serde_json::{Map, Value};

use crate::import::facts::{Loss, LossKind};

/// The losses of a model's outputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Losses {
    /// One loss for all outputs.
    One(Loss),
    /// By the outputs' positions.
    List(Vec<Option<Loss>>),
    /// By the outputs' names.
    Named(Vec<(String, Option<Loss>)>),
}

impl Losses {
    /// The loss of one of several outputs.
    pub(super) fn of(&self, output: usize, names: &[&str]) -> Option<Loss> {
        match self {
            Self::One(loss) => Some(loss.clone()),
            Self::List(list) => list.get(output).cloned().flatten(),
            Self::Named(list) => {
                let name = names.get(output)?;
                let found = list.iter().find(|(key, _)| key == name);
                found.and_then(|(_, loss)| loss.clone())
            }
        }
    }
}

/// The losses of the text of a configuration.
pub(super) fn losses_of_text(json: &str) -> Option<Losses> {
    losses(&serde_json::from_str(json).ok()?)
}

/// The losses of a configuration: `{"loss": ..., "optimizer": ...}`.
pub(super) fn losses(config: &Value) -> Option<Losses> {
    let value = config.get("loss")?;
    match value {
        Value::Array(items) => Some(Losses::List(items.iter().map(loss).collect())),
        Value::Object(map) if !map.contains_key("class_name") => Some(Losses::Named(
            map.iter().map(|(k, v)| (k.clone(), loss(v))).collect(),
        )),
        one => loss(one).map(Losses::One),
    }
}

/// `"binary_crossentropy"`, `{"class_name": "BinaryCrossentropy", "config": {...}}`, or
/// `{"class_name": "function", "config": "binary_crossentropy"}`.
fn loss(value: &Value) -> Option<Loss> {
    let (name, config) = match value {
        Value::String(name) => (name.as_str(), None),
        Value::Object(map) => match (map.get("class_name")?.as_str()?, map.get("config")) {
            ("function", Some(Value::String(name))) => (name.as_str(), None),
            (class, Some(Value::Object(config))) => (class, Some(config)),
            (class, _) => (class, None),
        },
        _ => return None,
    };
    let kind = kind(name);
    // Keras assumes probabilities by default.
    let from_logits = config.and_then(logits).unwrap_or(false);
    let name = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Some(Loss {
        name,
        kind,
        from_logits,
    })
}

fn logits(config: &Map<String, Value>) -> Option<bool> {
    let given = config
        .get("from_logits")
        .or_else(|| config.get("fn_kwargs")?.get("from_logits"));
    given.and_then(Value::as_bool)
}

/// Names and classes alike: `binary_crossentropy`, `BinaryCrossentropy`, `BinaryFocalCrossentropy`.
fn kind(name: &str) -> LossKind {
    let plain: String = name
        .rsplit(['.', '>'])
        .next()
        .unwrap_or(name)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match plain.as_str() {
        "binarycrossentropy" | "binaryfocalcrossentropy" | "bce" => LossKind::Binary,
        "categoricalcrossentropy"
        | "categoricalfocalcrossentropy"
        | "sparsecategoricalcrossentropy" => LossKind::Categorical,
        _ => LossKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn losses_are_read_in_every_notation() {
        let logits = json!({"class_name": "BinaryCrossentropy", "config": {"from_logits": true}});
        for (config, kind, from_logits) in [
            (json!("binary_crossentropy"), LossKind::Binary, false),
            (logits.clone(), LossKind::Binary, true),
            (
                json!({"class_name": "function", "config": "sparse_categorical_crossentropy"}),
                LossKind::Categorical,
                false,
            ),
            (
                json!({"module": "keras.losses", "class_name": "CategoricalCrossentropy",
                    "config": {"from_logits": true}, "registered_name": null}),
                LossKind::Categorical,
                true,
            ),
            (json!("mse"), LossKind::Other, false),
            (json!("my>Loss"), LossKind::Other, false),
        ] {
            let found = losses(&json!({ "loss": config })).unwrap();
            let loss = found.of(0, &["answer"]).unwrap();
            assert_eq!(
                (loss.kind, loss.from_logits),
                (kind, from_logits),
                "{config}"
            );
        }
        let named = json!({"loss": {"box": "mse", "class": logits}});
        let found = losses(&named).unwrap();
        assert_eq!(
            found.of(1, &["box", "class"]).unwrap().kind,
            LossKind::Binary
        );
        assert_eq!(found.of(0, &["other"]), None);
        let list = losses(&json!({"loss": [null, "mse"]})).unwrap();
        assert_eq!(list.of(0, &[]), None);
        assert_eq!(list.of(1, &[]).unwrap().name, "mse");
        assert_eq!(losses(&json!({"loss": null})), None);
        assert_eq!(losses_of_text("{"), None);
    }
}
