//! One call of a layer, and the graph's builder for layers, with Keras' weights by name.

use std::collections::HashMap;

use serde_json::Value;

use super::config::LayerConfig;
use super::hdf5::Hdf5Weights;
use super::order::{Order, Orders};
use super::variables::variables;
use super::weights::WeightMap;
use crate::graph::{NodeId, Op};
use crate::import::affine::Affine;
use crate::import::builder::{GraphBuilder, Site};
use crate::import::error::ImportError;
use crate::import::weights::WeightSource;
use crate::tensor::{AlignedF32, Shape};

/// Builds the graph; layers call its methods.
pub(super) struct Builder<'a> {
    pub(super) graph: GraphBuilder<'a>,
    /// Keras 2 and 3 differ in a few formulas.
    pub(super) keras2: bool,
    /// Whether a layer is `channels_first`.
    pub(super) channels_first: bool,
    pub(super) orders: Orders,
    source: &'a Hdf5Weights,
    weights: &'a WeightMap,
    /// Values that are one channel of another value.
    channels: HashMap<NodeId, (NodeId, usize)>,
}

/// The value of a call's argument.
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
    /// The operand with other nodes, which are given in its order.
    pub(super) fn with(&self, ids: &mut impl Iterator<Item = NodeId>) -> Self {
        match self {
            Self::Node(id) => Self::Node(ids.next().unwrap_or(*id)),
            Self::List(items) => Self::List(items.iter().map(|item| item.with(ids)).collect()),
            Self::Map(items) => {
                let item = |(key, item): &(String, Self)| (key.clone(), item.with(ids));
                Self::Map(items.iter().map(item).collect())
            }
            Self::Value(value) => Self::Value(value.clone()),
        }
    }

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
    /// The site of its nodes: named by the path, with `:n` for later calls.
    pub(super) site: Site,
    pub(super) args: Vec<Operand>,
    pub(super) kwargs: Vec<(String, Operand)>,
}

impl<'a> LayerCall<'a> {
    pub(super) fn new(
        layer: &'a LayerConfig,
        name: String,
        args: Vec<Operand>,
        kwargs: Vec<(String, Operand)>,
    ) -> Result<Self, ImportError> {
        // All calls of a weighted layer share its tensors; a constant belongs to one call.
        let constants = if variables(layer)?.is_empty() {
            name.clone()
        } else {
            layer.path.clone()
        };
        let site = Site {
            place: layer.place(),
            name,
            constants,
        };
        Ok(Self {
            layer,
            site,
            args,
            kwargs,
        })
    }
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
            other => Err(self
                .site
                .place
                .invalid(format!("expected 1 input, got {}", other.len()))),
        }
    }

    /// Refuses keyword arguments that change the result of a layer.
    ///
    /// In Keras 3 `predict` overrides a recorded `training` (and the augmentation layers record
    /// `true` by default). In Keras 2 `training=True` has an effect, which Monte Carlo dropout
    /// uses.
    pub(super) fn check_kwargs(&self, keras2: bool) -> Result<(), ImportError> {
        for (key, value) in &self.kwargs {
            match value {
                Operand::Value(Value::Bool(_)) if key == "training" && !keras2 => {}
                value if value.is_off() => {}
                _ => {
                    let shown = match value {
                        Operand::Value(v) => v.to_string(),
                        _ => "a tensor".into(),
                    };
                    return Err(self.site.place.refused(
                        format!("call argument {key}"),
                        shown,
                        "nothing or false",
                    ));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        graph: GraphBuilder<'a>,
        keras2: bool,
        source: &'a Hdf5Weights,
        weights: &'a WeightMap,
    ) -> Self {
        Self {
            graph,
            keras2,
            channels_first: false,
            orders: Orders::default(),
            source,
            weights,
            channels: HashMap::new(),
        }
    }

    pub(super) fn shape(&self, id: NodeId) -> &Shape {
        self.graph.shape(id)
    }

    pub(super) fn order(&self, id: NodeId) -> Order {
        self.orders.order(id)
    }

    pub(super) fn set_order(&mut self, id: NodeId, order: Order) {
        self.orders.set(id, order);
    }

    pub(super) fn is_map(&self, id: NodeId) -> bool {
        self.order(id) == Order::Map
    }

    /// See [`Orders::in_file_order`].
    pub(super) fn in_file_order(&mut self, site: &Site, id: NodeId) -> Result<NodeId, ImportError> {
        self.orders.in_file_order(&mut self.graph, site, id)
    }

    /// See [`Orders::as_map`].
    pub(super) fn as_map(&mut self, site: &Site, id: NodeId) -> Result<NodeId, ImportError> {
        self.orders.as_map(&mut self.graph, site, id)
    }

    /// See [`Orders::in_one_order`].
    pub(super) fn in_one_order(
        &mut self,
        call: &LayerCall,
        ids: &[NodeId],
    ) -> Result<Vec<NodeId>, ImportError> {
        self.orders.in_one_order(&mut self.graph, &call.site, ids)
    }

    /// The same elements as another value of the file.
    pub(super) fn renamed(
        &mut self,
        call: &LayerCall,
        id: NodeId,
        order: Order,
    ) -> Result<NodeId, ImportError> {
        let shape = self.shape(id).clone();
        let made = self.push(call, None, Op::Reshape { shape }, &[id])?;
        self.set_order(made, order);
        Ok(made)
    }

    /// Appends a node of the call: named after it, or `<name>/<suffix>`.
    pub(super) fn push(
        &mut self,
        call: &LayerCall,
        suffix: Option<&str>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, ImportError> {
        self.graph.push(&call.site, suffix, op, inputs)
    }

    /// Appends `x * scale + shift`.
    pub(super) fn affine(
        &mut self,
        call: &LayerCall,
        input: NodeId,
        affine: &Affine,
    ) -> Result<NodeId, ImportError> {
        self.graph.affine(&call.site, None, input, affine)
    }

    /// Loads a variable of the layer under `<layer path>/<variable>`, once. `stored` is its shape
    /// in the file, `shape` its shape in the graph.
    pub(super) fn weight(
        &mut self,
        call: &LayerCall,
        variable: &str,
        stored: &[usize],
        shape: &[usize],
    ) -> Result<String, ImportError> {
        let key = format!("{}/{variable}", call.layer.path);
        if !self.graph.has_tensor(&key) {
            let buffer = self.read(call, variable, stored)?;
            self.graph
                .insert(&call.site.place, key.clone(), shape, buffer)?;
        }
        Ok(key)
    }

    /// Stores numbers that were made of a variable, under a key of their own, once.
    pub(super) fn made_of(
        &mut self,
        call: &LayerCall,
        key: &str,
        shape: &[usize],
        make: impl FnOnce(&mut Self) -> Result<Vec<f32>, ImportError>,
    ) -> Result<String, ImportError> {
        let key = format!("{}/{key}", call.layer.path);
        if !self.graph.has_tensor(&key) {
            let values = make(self)?;
            let place = &call.site.place;
            let mut buffer = AlignedF32::zeroed(values.len());
            buffer.as_mut_slice().copy_from_slice(&values);
            self.graph.insert(place, key.clone(), shape, buffer)?;
        }
        Ok(key)
    }

    /// Reads a variable, to compute with its numbers.
    pub(super) fn read(
        &mut self,
        call: &LayerCall,
        variable: &str,
        shape: &[usize],
    ) -> Result<AlignedF32, ImportError> {
        let dataset = self.weights.dataset(call.layer, variable)?;
        let place = &call.site.place;
        self.graph
            .read(self.source, place, variable, dataset, shape)
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

    /// Records that a value is one channel of another one.
    pub(super) fn is_channel(&mut self, id: NodeId, of: NodeId, channel: usize) {
        self.channels.insert(id, (of, channel));
    }

    /// The value to which these channels belong, and their indices.
    pub(super) fn channels_of_one(&self, ids: &[NodeId]) -> Option<(NodeId, Vec<usize>)> {
        let of = self.channels.get(ids.first()?)?.0;
        let channels = ids.iter().map(|id| match self.channels.get(id) {
            Some((source, channel)) if *source == of => Some(*channel),
            _ => None,
        });
        Some((of, channels.collect::<Option<Vec<_>>>()?))
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
}
