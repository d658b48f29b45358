//! Turns the tree of layers into nodes of a graph.
//!
//! A model is processed call by call; a call is ready when its inputs are. A nested model is
//! inlined at each call. A layer that is called again shares its tensors, and the names of its
//! nodes get `:1`, `:2`, ...

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::call::{Builder, LayerCall, Operand};
use super::config::{Argument, Call, LayerConfig, ModelConfig, TensorRef};
use super::layers;
use crate::graph::NodeId;
use crate::import::builder::MAX_NODES;
use crate::import::error::{ImportError, invalid};

/// Processes the models of a file.
pub(super) struct Walker<'a, 'b> {
    pub(super) builder: &'b mut Builder<'a>,
    calls: usize,
}

impl<'a, 'b> Walker<'a, 'b> {
    pub(super) fn new(builder: &'b mut Builder<'a>) -> Self {
        Self { builder, calls: 0 }
    }

    /// Inlines a model. `prefix` is the prefix of its layers' node names. Returns the model's
    /// outputs.
    pub(super) fn model(
        &mut self,
        model: &'a ModelConfig,
        prefix: &str,
        inputs: &[NodeId],
        place: &str,
    ) -> Result<Vec<NodeId>, ImportError> {
        if model.sequential {
            return self.sequential(model, prefix, inputs, place);
        }
        let mut wiring = Wiring::new(model);
        if inputs.len() != model.inputs.len() {
            return Err(invalid(
                place,
                format!(
                    "it has {} inputs, but is called with {}",
                    model.inputs.len(),
                    inputs.len()
                ),
            ));
        }
        for (input, &id) in model.inputs.iter().zip(inputs) {
            let layer = model
                .layers
                .iter()
                .find(|l| l.name == input.layer)
                .ok_or_else(|| {
                    invalid(place, format!("there is no input layer `{}`", input.layer))
                })?;
            self.builder
                .graph
                .mark(id, &format!("{prefix}{}", layer.name), &layer.class);
            wiring.set(&layer.name, 0, vec![id]);
        }
        // Configurations are in topological order, so one pass usually suffices; each further pass
        // must make progress.
        let mut pending: Vec<(&LayerConfig, usize)> = model
            .layers
            .iter()
            .filter(|l| !wiring.is_input(&l.name))
            .flat_map(|l| (0..l.calls.len()).map(move |i| (l, i)))
            .collect();
        let mut passes = 0;
        while !pending.is_empty() {
            let before = pending.len();
            passes += 1;
            let mut waiting = Vec::new();
            for (layer, index) in pending {
                if wiring.ready(&layer.calls[index]) {
                    let outputs = self.call(layer, index, &layer.calls[index], prefix, &wiring)?;
                    wiring.set(&layer.name, index, outputs);
                } else {
                    waiting.push((layer, index));
                }
            }
            if waiting.len() == before || passes > 1000 {
                let (layer, index) = waiting.first().map_or((None, 0), |(l, i)| (Some(*l), *i));
                let missing = layer.and_then(|l| wiring.first_missing(&l.calls[index]));
                return Err(invalid(
                    &layer.map_or_else(|| place.to_owned(), |l| l.place().to_string()),
                    match missing {
                        Some(t) => format!("its input `{}` is never computed", t.layer),
                        None => "its inputs are never computed".into(),
                    },
                ));
            }
            pending = waiting;
        }
        model
            .outputs
            .iter()
            .map(|output| {
                let t = &output.tensor;
                wiring.get(t).ok_or_else(|| {
                    invalid(place, format!("its output `{}` is never computed", t.layer))
                })
            })
            .collect()
    }

    fn sequential(
        &mut self,
        model: &'a ModelConfig,
        prefix: &str,
        inputs: &[NodeId],
        place: &str,
    ) -> Result<Vec<NodeId>, ImportError> {
        let [mut value] = *inputs else {
            return Err(invalid(
                place,
                format!("a Sequential takes 1 input, got {}", inputs.len()),
            ));
        };
        for layer in &model.layers {
            if layer.class == "InputLayer" {
                self.builder
                    .graph
                    .mark(value, &format!("{prefix}{}", layer.name), &layer.class);
                continue;
            }
            let name = format!("{prefix}{}", layer.name);
            let call = LayerCall::new(layer, name, vec![Operand::Node(value)], Vec::new())?;
            value = match self.emit(&call)?.as_slice() {
                [one] => *one,
                other => {
                    return Err(layer.place().invalid(format!(
                        "expected 1 output in a Sequential, got {}",
                        other.len()
                    )));
                }
            };
        }
        Ok(vec![value])
    }

    fn call(
        &mut self,
        layer: &'a LayerConfig,
        index: usize,
        call: &'a Call,
        prefix: &str,
        wiring: &Wiring,
    ) -> Result<Vec<NodeId>, ImportError> {
        let name = match index {
            0 => format!("{prefix}{}", layer.name),
            n => format!("{prefix}{}:{n}", layer.name),
        };
        let args = call.args.iter().map(|a| wiring.operand(a)).collect();
        let kwargs = call
            .kwargs
            .iter()
            .map(|(k, a)| (k.clone(), wiring.operand(a)))
            .collect();
        self.emit(&LayerCall::new(layer, name, args, kwargs)?)
    }

    fn emit(&mut self, call: &LayerCall<'a>) -> Result<Vec<NodeId>, ImportError> {
        self.calls += 1;
        if self.calls > 4 * MAX_NODES {
            return Err(call.site.place.invalid(format!(
                "layers are called more than {} times",
                4 * MAX_NODES
            )));
        }
        if !layers::takes_call_arguments(call.layer) {
            call.check_kwargs(self.builder.keras2)?;
        }
        let outputs = if let Some(model) = &call.layer.model {
            let inputs = model_inputs(model, call)?;
            let prefix = format!("{}/", call.site.name);
            self.model(model, &prefix, &inputs, &call.site.place.to_string())?
        } else {
            vec![layers::emit(self.builder, call)?]
        };
        if let [one] = outputs.as_slice() {
            self.builder
                .graph
                .mark(*one, &call.site.name, &call.layer.class);
        }
        Ok(outputs)
    }
}

/// A nested model's inputs in its own order, even if the caller gives a dict.
fn model_inputs(model: &ModelConfig, call: &LayerCall) -> Result<Vec<NodeId>, ImportError> {
    let [Operand::Map(given)] = call.args.as_slice() else {
        return Ok(call.inputs());
    };
    model
        .inputs
        .iter()
        .map(|input| {
            let found = given
                .iter()
                .find(|(key, _)| *key == input.key || *key == input.layer);
            match found {
                Some((_, Operand::Node(id))) => Ok(*id),
                _ => Err(call
                    .site
                    .place
                    .invalid(format!("its input `{}` is not given", input.key))),
            }
        })
        .collect()
}

/// The values of one model while it is processed.
struct Wiring {
    values: HashMap<(String, usize), Vec<NodeId>>,
    inputs: HashSet<String>,
    /// The index by which references name a nested model's first call.
    first_index: BTreeMap<String, usize>,
}

impl Wiring {
    fn new(model: &ModelConfig) -> Self {
        Self {
            values: HashMap::new(),
            inputs: model.inputs.iter().map(|i| i.layer.clone()).collect(),
            first_index: first_indices(model),
        }
    }

    fn is_input(&self, layer: &str) -> bool {
        self.inputs.contains(layer)
    }

    fn set(&mut self, layer: &str, call: usize, outputs: Vec<NodeId>) {
        self.values.insert((layer.to_owned(), call), outputs);
    }

    fn get(&self, t: &TensorRef) -> Option<NodeId> {
        let first = self.first_index.get(&t.layer).copied().unwrap_or(0);
        let call = t.call.checked_sub(first)?;
        self.values
            .get(&(t.layer.clone(), call))?
            .get(t.tensor)
            .copied()
    }

    fn first_missing<'c>(&self, call: &'c Call) -> Option<&'c TensorRef> {
        call.tensors().into_iter().find(|t| self.get(t).is_none())
    }

    fn ready(&self, call: &Call) -> bool {
        self.first_missing(call).is_none()
    }

    /// Of a call whose inputs are ready.
    fn operand(&self, argument: &Argument) -> Operand {
        match argument {
            Argument::Tensor(t) => match self.get(t) {
                Some(id) => Operand::Node(id),
                None => Operand::Value(Value::Null),
            },
            Argument::List(items) => Operand::List(items.iter().map(|i| self.operand(i)).collect()),
            Argument::Map(items) => Operand::Map(
                items
                    .iter()
                    .map(|(k, i)| (k.clone(), self.operand(i)))
                    .collect(),
            ),
            Argument::Value(value) => Operand::Value(value.clone()),
        }
    }
}

/// A nested Functional model has a call number 0, from when it was built. Some versions count it in
/// references and some do not. The references themselves show which: every call that was saved is
/// referred to.
fn first_indices(model: &ModelConfig) -> BTreeMap<String, usize> {
    let mut highest: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lowest: BTreeMap<&str, usize> = BTreeMap::new();
    let references = model
        .layers
        .iter()
        .flat_map(|l| &l.calls)
        .flat_map(Call::tensors)
        .chain(model.outputs.iter().map(|output| &output.tensor));
    for t in references {
        let high = highest.entry(&t.layer).or_insert(t.call);
        *high = t.call.max(*high);
        let low = lowest.entry(&t.layer).or_insert(t.call);
        *low = t.call.min(*low);
    }
    model
        .layers
        .iter()
        .filter(|l| l.model.is_some())
        .filter(|l| {
            let name = l.name.as_str();
            highest.get(name) == Some(&l.calls.len()) && lowest.get(name).is_some_and(|&n| n > 0)
        })
        .map(|l| (l.name.clone(), 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::OutputConfig;
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_models_are_counted_from_the_index_that_is_used() {
        let refer = |call| TensorRef {
            layer: "inner".into(),
            call,
            tensor: 0,
        };
        let first = |calls: usize, references: &[usize]| {
            let layer = json!({"class_name": "Sequential", "config": {
                "name": "outer", "layers": [{"class_name": "Sequential", "config": {
                    "name": "inner", "layers": []}}]}});
            let mut model = super::super::config::parse(layer.to_string().as_bytes(), "test")
                .unwrap()
                .model;
            model.layers[0].calls = (0..calls).map(|_| Call::default()).collect();
            let output = |&i| OutputConfig {
                key: "inner".into(),
                tensor: refer(i),
            };
            model.outputs = references.iter().map(output).collect();
            first_indices(&model).get("inner").copied().unwrap_or(0)
        };
        assert_eq!(first(1, &[0]), 0);
        assert_eq!(first(1, &[1]), 1);
        assert_eq!(first(2, &[0, 1]), 0);
        assert_eq!(first(2, &[1, 2]), 1);
    }
}
