//! Wiring: the layer tree to nodes of a graph.
//!
//! A model is walked call by call; a call is ready when its inputs are. A nested model is inlined
//! at each call. A layer called again shares its tensors, and the names of its nodes get `:1`,
//! `:2`, ...

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::config::{Argument, Call, LayerConfig, ModelConfig, TensorRef, invalid};
use super::hdf5::WeightSource;
use super::layers;
use super::weights::WeightMap;
use crate::graph::{Graph, GraphError, NodeId, Op, SourceLayer, Stage};
use crate::import::{ImportError, Limits};
use crate::tensor::{AlignedF32, Shape, Tensor};

/// Nodes above which a graph is refused: nested models called twice grow exponentially.
const MAX_NODES: usize = 20_000;

/// Builds the graph; layers call its methods.
pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    /// Keras 2 and 3 differ in a few formulas.
    pub(super) keras2: bool,
    source: &'a dyn WeightSource,
    weights: &'a WeightMap,
    limits: &'a Limits,
    names: HashSet<String>,
    loaded_bytes: u64,
    calls: usize,
    progress: &'a mut dyn FnMut(u64),
}

/// What a call gets for an argument.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Node(NodeId),
    List(Vec<Operand>),
    Map(Vec<(String, Operand)>),
    Value(Value),
}

impl Operand {
    pub(super) fn nodes(&self, into: &mut Vec<NodeId>) {
        match self {
            Self::Node(id) => into.push(*id),
            Self::List(items) => items.iter().for_each(|i| i.nodes(into)),
            Self::Map(items) => items.iter().for_each(|(_, i)| i.nodes(into)),
            Self::Value(_) => {}
        }
    }
}

impl Operand {
    /// Null, false, or a structure of those: the `mask` of a model with several inputs.
    pub(super) fn is_off(&self) -> bool {
        fn off(value: &Value) -> bool {
            match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(items) => items.iter().all(off),
                _ => false,
            }
        }
        match self {
            Self::Node(_) => false,
            Self::List(items) => items.iter().all(Self::is_off),
            Self::Map(items) => items.iter().all(|(_, item)| item.is_off()),
            Self::Value(value) => off(value),
        }
    }
}

/// One call of a layer, with its inputs resolved.
pub(super) struct LayerCall<'a> {
    pub(super) layer: &'a LayerConfig,
    /// Name of its nodes: path, with `:n` for later calls.
    pub(super) name: String,
    pub(super) args: Vec<Operand>,
    pub(super) kwargs: Vec<(String, Operand)>,
}

impl LayerCall<'_> {
    /// The tensors among the positional arguments.
    pub(super) fn inputs(&self) -> Vec<NodeId> {
        let mut into = Vec::new();
        self.args.iter().for_each(|a| a.nodes(&mut into));
        into
    }

    /// The only input.
    pub(super) fn input(&self) -> Result<NodeId, ImportError> {
        match self.inputs().as_slice() {
            [one] => Ok(*one),
            other => Err(invalid(
                &self.layer.place(),
                format!("expected 1 input, got {}", other.len()),
            )),
        }
    }

    /// Refuses keyword arguments that change the result of a layer.
    ///
    /// In Keras 3 `predict` overrides a recorded `training` (and the augmentation layers record
    /// `true` by default); in Keras 2 `training=True` sticks, as Monte Carlo dropout wants it.
    fn check_kwargs(&self, keras2: bool) -> Result<(), ImportError> {
        for (key, value) in &self.kwargs {
            match value {
                Operand::Value(Value::Bool(_)) if key == "training" && !keras2 => {}
                value if value.is_off() => {}
                _ => {
                    return Err(ImportError::UnsupportedValue {
                        path: self.layer.path.clone(),
                        class: self.layer.class.clone(),
                        attribute: format!("call argument {key}"),
                        value: match value {
                            Operand::Value(v) => v.to_string().into(),
                            _ => "a tensor".into(),
                        },
                        expected: "nothing or false".into(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        name: &str,
        keras2: bool,
        source: &'a dyn WeightSource,
        weights: &'a WeightMap,
        limits: &'a Limits,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            graph: Graph::new(name),
            keras2,
            source,
            weights,
            limits,
            names: HashSet::new(),
            loaded_bytes: 0,
            calls: 0,
            progress,
        }
    }

    pub(super) fn shape(&self, id: NodeId) -> &Shape {
        &self.graph.node(id).shape
    }

    fn unique(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut n = 1;
        // Layer names may contain `/` in Keras 2, so `conv/activation` can be a layer as well.
        while !self.names.insert(candidate.clone()) {
            n += 1;
            candidate = format!("{name}#{n}");
        }
        candidate
    }

    /// Appends an input of the outermost model.
    pub(super) fn push_input(
        &mut self,
        layer: &LayerConfig,
        shape: Shape,
    ) -> Result<NodeId, ImportError> {
        let name = self.unique(&layer.name);
        let id = self
            .graph
            .push_input(name, shape)
            .map_err(|source| graph_error(layer, source))?;
        Ok(id)
    }

    /// Appends a node of the call: named after it, or `<name>/<suffix>`.
    pub(super) fn push(
        &mut self,
        call: &LayerCall,
        suffix: Option<&str>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, ImportError> {
        if self.graph.nodes().len() >= MAX_NODES {
            return Err(invalid(
                &call.layer.place(),
                format!("the graph would have more than {MAX_NODES} nodes"),
            ));
        }
        let name = match suffix {
            None => self.unique(&call.name),
            Some(suffix) => self.unique(&format!("{}/{suffix}", call.name)),
        };
        self.graph
            .push(name, op, inputs)
            .map_err(|source| graph_error(call.layer, source))
    }

    /// Loads a variable of the layer under `<layer path>/<variable>`, once. `stored` is its shape
    /// in the file, `shape` the one it gets.
    pub(super) fn weight(
        &mut self,
        call: &LayerCall,
        variable: &str,
        stored: &[usize],
        shape: &[usize],
    ) -> Result<String, ImportError> {
        let key = format!("{}/{variable}", call.layer.path);
        if !self.graph.tensors.contains_key(&key) {
            let buffer = self.read(call.layer, variable, stored)?;
            self.insert(call.layer, key.clone(), shape, buffer)?;
        }
        Ok(key)
    }

    /// Reads a variable to compute with it.
    pub(super) fn read(
        &mut self,
        layer: &LayerConfig,
        variable: &str,
        shape: &[usize],
    ) -> Result<AlignedF32, ImportError> {
        let dataset = self.weights.dataset(layer, variable)?;
        let got = self.source.shape(dataset).unwrap_or_default();
        if got != shape {
            return Err(ImportError::WeightShape {
                path: layer.path.clone(),
                class: layer.class.clone(),
                weight: variable.to_owned(),
                expected: Shape::new(shape),
                got: Shape::new(got),
            });
        }
        // The shape is the dataset's own, whose claim was checked against the file's length.
        let len = Shape::new(shape).len();
        self.loaded_bytes = self.loaded_bytes.saturating_add(len as u64 * 4);
        if self.loaded_bytes > self.limits.max_weight_bytes {
            return Err(ImportError::TooLarge {
                what: format!("the weights up to {}", layer.place()),
                got: self.loaded_bytes,
                limit: self.limits.max_weight_bytes,
            });
        }
        let mut buffer = AlignedF32::zeroed(len);
        self.source.read(dataset, buffer.as_mut_slice())?;
        (self.progress)(self.loaded_bytes);
        Ok(buffer)
    }

    /// The shape of a variable as stored.
    pub(super) fn stored_shape(
        &self,
        layer: &LayerConfig,
        variable: &str,
    ) -> Result<&'a [usize], ImportError> {
        let dataset = self.weights.dataset(layer, variable)?;
        Ok(self.source.shape(dataset).unwrap_or_default())
    }

    /// Stores a tensor that a layer made.
    pub(super) fn insert(
        &mut self,
        layer: &LayerConfig,
        key: String,
        shape: &[usize],
        buffer: AlignedF32,
    ) -> Result<(), ImportError> {
        let tensor = Tensor::from_aligned(Shape::new(shape), buffer)
            .map_err(|e| invalid(&layer.place(), e.to_string()))?;
        self.graph.tensors.insert(key, tensor);
        Ok(())
    }

    /// Appends `x * scale + shift`; each has one value, or one a channel.
    pub(super) fn scale_shift(
        &mut self,
        call: &LayerCall,
        suffix: Option<&str>,
        input: NodeId,
        scale: &[f64],
        shift: &[f64],
    ) -> Result<NodeId, ImportError> {
        // Calls of a weighted layer share its tensors; a constant belongs to its call.
        let owner = if layers::variables(call.layer)?.is_empty() {
            &call.name
        } else {
            &call.layer.path
        };
        let prefix = match suffix {
            None => owner.clone(),
            Some(suffix) => format!("{owner}/{suffix}"),
        };
        let keys = [format!("{prefix}/scale"), format!("{prefix}/shift")];
        for (key, values) in keys.iter().zip([scale, shift]) {
            let mut buffer = AlignedF32::zeroed(values.len());
            for (to, &value) in buffer.as_mut_slice().iter_mut().zip(values) {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "folded in f64, stored as f32"
                )]
                {
                    *to = value as f32;
                }
            }
            self.insert(call.layer, key.clone(), &[values.len()], buffer)?;
        }
        let [scale, shift] = keys;
        self.push(call, suffix, Op::ScaleShift { scale, shift }, &[input])
    }

    /// Records that the layer's output is the node's value.
    fn mark(&mut self, id: NodeId, name: &str, class: &str) {
        self.graph.layers_mut(id).push(SourceLayer {
            name: name.to_owned(),
            class: class.to_owned(),
            stage: Stage::Output,
        });
    }

    /// Inlines a model. `prefix` is that of its layers' node names. Returns its outputs.
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
            self.mark(id, &format!("{prefix}{}", layer.name), &layer.class);
            wiring.set(&layer.name, 0, vec![id]);
        }
        // Configurations are in topological order, so one pass is the rule; each further pass
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
                    &layer.map_or_else(|| place.to_owned(), LayerConfig::place),
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
            .map(|t| {
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
                self.mark(value, &format!("{prefix}{}", layer.name), &layer.class);
                continue;
            }
            let call = LayerCall {
                layer,
                name: format!("{prefix}{}", layer.name),
                args: vec![Operand::Node(value)],
                kwargs: Vec::new(),
            };
            value = match self.emit(&call)?.as_slice() {
                [one] => *one,
                other => {
                    return Err(invalid(
                        &layer.place(),
                        format!("expected 1 output in a Sequential, got {}", other.len()),
                    ));
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
        self.emit(&LayerCall {
            layer,
            name,
            args,
            kwargs,
        })
    }

    fn emit(&mut self, call: &LayerCall<'a>) -> Result<Vec<NodeId>, ImportError> {
        self.calls += 1;
        if self.calls > 4 * MAX_NODES {
            return Err(invalid(
                &call.layer.place(),
                format!("layers are called more than {} times", 4 * MAX_NODES),
            ));
        }
        if !layers::takes_call_arguments(call.layer) {
            call.check_kwargs(self.keras2)?;
        }
        let outputs = if let Some(model) = &call.layer.model {
            let inputs = model_inputs(model, call)?;
            let prefix = format!("{}/", call.name);
            self.model(model, &prefix, &inputs, &call.layer.place())?
        } else {
            vec![layers::emit(self, call)?]
        };
        if let [one] = outputs.as_slice() {
            self.mark(*one, &call.name, &call.layer.class);
        }
        Ok(outputs)
    }
}

/// A nested model's inputs in its own order, also when the caller gives a dict.
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
                _ => Err(invalid(
                    &call.layer.place(),
                    format!("its input `{}` is not given", input.key),
                )),
            }
        })
        .collect()
}

/// The values of one model while it is walked.
struct Wiring {
    values: HashMap<(String, usize), Vec<NodeId>>,
    inputs: HashSet<String>,
    /// The index by which a nested model's first call is referred to.
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

    /// Of a call that is ready.
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

/// A nested Functional model has a call of its own from when it was built, number 0. Some versions
/// count it in references and some do not; the references themselves tell, as every call that was
/// saved is referred to.
fn first_indices(model: &ModelConfig) -> BTreeMap<String, usize> {
    let mut highest: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lowest: BTreeMap<&str, usize> = BTreeMap::new();
    let references = model
        .layers
        .iter()
        .flat_map(|l| &l.calls)
        .flat_map(Call::tensors)
        .chain(&model.outputs);
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

fn graph_error(layer: &LayerConfig, source: GraphError) -> ImportError {
    ImportError::Graph {
        path: layer.path.clone(),
        class: layer.class.clone(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mask_of_nothing_is_nothing() {
        let nothing = || Operand::Value(Value::Null);
        let named = Operand::Map(vec![("p".into(), nothing()), ("q".into(), nothing())]);
        assert!(named.is_off());
        assert!(Operand::Value(json!([null, [false]])).is_off());
        assert!(!Operand::Value(json!([null, true])).is_off());
        assert!(!Operand::List(vec![nothing(), Operand::Node(NodeId(0))]).is_off());
    }

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
            model.outputs = references.iter().map(|&i| refer(i)).collect();
            first_indices(&model).get("inner").copied().unwrap_or(0)
        };
        assert_eq!(first(1, &[0]), 0);
        assert_eq!(first(1, &[1]), 1);
        assert_eq!(first(2, &[0, 1]), 0);
        assert_eq!(first(2, &[1, 2]), 1);
    }
}
