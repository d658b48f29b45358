//! Builds a graph from a file: names are unique, sizes are bounded, weights are finite numbers, and
//! errors name the layer.

use std::collections::{HashMap, HashSet};

use super::affine::Affine;
use super::error::{ImportError, OutputChoice, Place};
use super::names::Names;
use super::options::Limits;
use super::weights::{Element, WeightSource};
use crate::graph::{Graph, Node, NodeId, Op, SourceLayer, Stage};
use crate::quantization::Quantization;
use crate::tensor::{AlignedF32, DType, Shape, Tensor};

/// Most nodes of a graph: nested models that are called twice grow exponentially.
pub(super) const MAX_NODES: usize = 20_000;

/// The layer for which nodes are made.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The place that errors name.
    pub(super) place: Place,
    /// The name of its last node; others are called `<name>/<suffix>`.
    pub(super) name: String,
    /// The prefix of its constants' keys.
    pub(super) constants: String,
}

/// A graph under construction.
pub(super) struct GraphBuilder<'a> {
    graph: Graph,
    limits: &'a Limits,
    names: Names,
    /// The real numbers of values in bytes.
    dequantized: HashMap<NodeId, NodeId>,
    loaded_bytes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> GraphBuilder<'a> {
    /// `progress` gets the number of bytes of weights that have been loaded.
    pub(super) fn new(name: &str, limits: &'a Limits, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            graph: Graph::new(name),
            limits,
            names: Names::default(),
            dequantized: HashMap::new(),
            loaded_bytes: 0,
            progress,
        }
    }

    /// A value's shape.
    pub(super) fn shape(&self, id: NodeId) -> &Shape {
        &self.graph.node(id).shape
    }

    /// A node.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.graph.node(id)
    }

    fn unique(&mut self, name: &str) -> String {
        // Layer names may contain `/`, so `conv/activation` can be a layer as well.
        let variant = |name: &str, n: usize| format!("{name}#{}", n + 1);
        self.names.unique(name, variant)
    }

    /// Appends an input of the model.
    pub(super) fn push_input(
        &mut self,
        place: &Place,
        name: &str,
        shape: Shape,
    ) -> Result<NodeId, ImportError> {
        let name = self.unique(name);
        self.graph
            .push_input(name, shape)
            .map_err(|source| place.graph(source))
    }

    /// Appends a node, named after its site, or `<name>/<suffix>`.
    pub(super) fn push(
        &mut self,
        site: &Site,
        suffix: Option<&str>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, ImportError> {
        let name = self.name_of_node(site, suffix)?;
        self.graph
            .push(name, op, inputs)
            .map_err(|source| site.place.graph(source))
    }

    /// Rounds a value to bytes. What was made of bytes of this map is those bytes again.
    pub(super) fn quantize(
        &mut self,
        site: &Site,
        suffix: Option<&str>,
        input: NodeId,
        map: Quantization,
    ) -> Result<NodeId, ImportError> {
        let source = self.graph.node(input);
        if matches!(source.op, Op::Dequantize)
            && self.graph.node(source.inputs[0]).quantization == Some(map)
        {
            return Ok(source.inputs[0]);
        }
        let node = Node {
            op: Op::Quantize,
            inputs: vec![input],
            shape: source.shape.clone(),
            quantization: Some(map),
            layers: Vec::new(),
            name: self.name_of_node(site, suffix)?,
        };
        self.graph
            .push_node(node)
            .map_err(|source| site.place.graph(source))
    }

    /// The real numbers of a value, if it is stored in bytes; one node for all that ask.
    pub(super) fn dequantize(
        &mut self,
        site: &Site,
        suffix: Option<&str>,
        input: NodeId,
    ) -> Result<NodeId, ImportError> {
        if self.graph.node(input).quantization.is_none() {
            return Ok(input);
        }
        if let Some(&real) = self.dequantized.get(&input) {
            return Ok(real);
        }
        let real = self.push(site, suffix, Op::Dequantize, &[input])?;
        self.dequantized.insert(input, real);
        Ok(real)
    }

    /// A free name for a node of a site.
    fn name_of_node(&mut self, site: &Site, suffix: Option<&str>) -> Result<String, ImportError> {
        if self.graph.nodes().len() >= MAX_NODES {
            return Err(site
                .place
                .invalid(format!("the graph would have more than {MAX_NODES} nodes")));
        }
        Ok(match suffix {
            None => self.unique(&site.name),
            Some(suffix) => self.unique(&format!("{}/{suffix}", site.name)),
        })
    }

    /// Appends a reshape, unless the shape is the same already.
    pub(super) fn reshape(
        &mut self,
        site: &Site,
        suffix: Option<&str>,
        input: NodeId,
        shape: Shape,
    ) -> Result<NodeId, ImportError> {
        if *self.shape(input) == shape {
            return Ok(input);
        }
        self.push(site, suffix, Op::Reshape { shape }, &[input])
    }

    /// Appends `x * scale + shift`; each has one value, or one for each channel.
    pub(super) fn affine(
        &mut self,
        site: &Site,
        suffix: Option<&str>,
        input: NodeId,
        affine: &Affine,
    ) -> Result<NodeId, ImportError> {
        let prefix = match suffix {
            None => site.constants.clone(),
            Some(suffix) => format!("{}/{suffix}", site.constants),
        };
        let [scale, shift] = ["scale", "shift"].map(|part| format!("{prefix}/{part}"));
        for (key, values) in [(&scale, &affine.scale), (&shift, &affine.shift)] {
            let mut buffer = self.zeroed(&site.place, values.len())?;
            for (to, &value) in buffer.as_mut_slice().iter_mut().zip(values) {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "folded in f64, stored as f32"
                )]
                {
                    *to = value as f32;
                }
            }
            self.insert(&site.place, key.clone(), &[values.len()], buffer)?;
        }
        self.push(site, suffix, Op::ScaleShift { scale, shift }, &[input])
    }

    /// The tensors stored so far.
    #[cfg(test)]
    pub(super) fn tensors(&self) -> &std::collections::BTreeMap<String, Tensor> {
        &self.graph.tensors
    }

    /// Whether a tensor has been stored.
    pub(super) fn has_tensor(&self, key: &str) -> bool {
        self.graph.tensors.contains_key(key)
    }

    /// The number in a tensor that has only one.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.graph.tensors.get(key)?.as_f32()? {
            &[value] => Some(f64::from(value)),
            _ => None,
        }
    }

    /// Stores a tensor of finite numbers.
    pub(super) fn insert(
        &mut self,
        place: &Place,
        key: String,
        shape: &[usize],
        buffer: AlignedF32,
    ) -> Result<(), ImportError> {
        check_finite(place, buffer.as_slice(), || format!("`{key}`"))?;
        let tensor = Tensor::from_aligned(Shape::new(shape), buffer)
            .map_err(|e| place.invalid(e.to_string()))?;
        self.graph.tensors.insert(key, tensor);
        Ok(())
    }

    /// Stores a tensor of another element type than f32; its elements are `bytes`, little endian.
    /// They count against the limit of all weights.
    pub(super) fn insert_bytes(
        &mut self,
        place: &Place,
        key: String,
        (dtype, shape): (DType, &[usize]),
        bytes: Vec<u8>,
    ) -> Result<(), ImportError> {
        self.count(place, bytes.len() as u64)?;
        let tensor = Tensor::from_bytes(dtype, Shape::new(shape), bytes)
            .map_err(|e| place.invalid(e.to_string()))?;
        self.graph.tensors.insert(key, tensor);
        Ok(())
    }

    /// Reads a weight of a known shape: `weight` is its name in the layer, `array` in the source.
    pub(super) fn read(
        &mut self,
        source: &dyn WeightSource,
        place: &Place,
        weight: &str,
        array: &str,
        shape: &[usize],
    ) -> Result<AlignedF32, ImportError> {
        let got = source.shape(array).unwrap_or_default();
        if got != shape {
            return Err(ImportError::WeightShape {
                place: place.clone(),
                weight: weight.to_owned(),
                expected: Shape::new(shape),
                got: Shape::new(got),
            });
        }
        if source.element(array) == Some(Element::Integer) {
            return Err(ImportError::Quantized {
                place: place.clone(),
                form: "integer".into(),
            });
        }
        // The shape is the array's own, whose claim was checked against the file's length.
        let mut buffer = self.zeroed(place, Shape::new(shape).len())?;
        source.read(array, buffer.as_mut_slice())?;
        check_finite(place, buffer.as_slice(), || {
            format!("`{weight}` (`{array}`)")
        })?;
        (self.progress)(self.loaded_bytes);
        Ok(buffer)
    }

    /// Room for a weight of `len` numbers, which counts against the limit of all weights.
    pub(super) fn zeroed(&mut self, place: &Place, len: usize) -> Result<AlignedF32, ImportError> {
        self.count(place, (len as u64).saturating_mul(4))?;
        Ok(AlignedF32::zeroed(len))
    }

    fn count(&mut self, place: &Place, bytes: u64) -> Result<(), ImportError> {
        self.loaded_bytes = self.loaded_bytes.saturating_add(bytes);
        if self.loaded_bytes > self.limits.max_weight_bytes {
            return Err(ImportError::TooLarge {
                what: format!("the weights up to {place}"),
                got: self.loaded_bytes,
                limit: self.limits.max_weight_bytes,
            });
        }
        Ok(())
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.graph.nodes().len()
    }

    /// Records that the node's value is a layer's output.
    pub(super) fn mark(&mut self, id: NodeId, name: &str, class: &str) {
        self.graph.layers_mut(id).push(SourceLayer {
            name: name.to_owned(),
            class: class.to_owned(),
            stage: Stage::Output,
        });
    }

    /// The graph that ends in the requested one of `outputs`, or in the only one. Also its position
    /// among them. `outputs` are names and values.
    pub(super) fn finish(
        self,
        outputs: &[(String, NodeId)],
        asked: Option<&str>,
        place: &str,
    ) -> Result<(Graph, usize), ImportError> {
        let choices = || {
            let choice = |(name, id): &(String, NodeId)| OutputChoice {
                name: name.clone(),
                shape: self.graph.node(*id).shape.clone(),
            };
            outputs.iter().map(choice).collect()
        };
        let chosen = match (asked, outputs) {
            (None, [_]) => 0,
            (None, _) => return Err(ImportError::Outputs { outputs: choices() }),
            (Some(asked), _) => outputs
                .iter()
                .position(|(name, _)| name == asked)
                .ok_or_else(|| ImportError::NoSuchOutput {
                    asked: asked.to_owned(),
                    outputs: choices(),
                })?,
        };
        let output = outputs[chosen].1;
        let mut graph = self.graph;
        graph
            .set_output(output)
            .map_err(|e| super::error::invalid(place, e.to_string()))?;
        if outputs.len() > 1 {
            graph = only_what_is_read(&graph, output)
                .map_err(|e| super::error::invalid(place, e.to_string()))?;
        }
        Ok((graph, chosen))
    }
}

/// Removes the nodes, inputs and tensors that the output does not need.
pub(super) fn only_what_is_read(
    graph: &Graph,
    output: NodeId,
) -> Result<Graph, crate::graph::GraphError> {
    let mut live = vec![false; graph.nodes().len()];
    live[output.0] = true;
    for id in graph.ids().rev().filter(|id| id.0 <= output.0) {
        if live[id.0] {
            for input in &graph.node(id).inputs {
                live[input.0] = true;
            }
        }
    }
    let mut number = vec![NodeId(0); live.len()];
    let mut nodes: Vec<Node> = Vec::new();
    for id in graph.ids().filter(|id| live[id.0]) {
        number[id.0] = NodeId(nodes.len());
        let mut node = graph.node(id).clone();
        for input in &mut node.inputs {
            *input = number[input.0];
        }
        nodes.push(node);
    }
    let keys: HashSet<&str> = nodes.iter().flat_map(Node::tensors).collect();
    let tensors = graph
        .tensors
        .iter()
        .filter(|(key, _)| keys.contains(key.as_str()))
        .map(|(key, tensor)| (key.clone(), tensor.clone()))
        .collect();
    Graph::from_parts(graph.name.clone(), nodes, number[output.0], tensors)
}

fn check_finite(
    place: &Place,
    values: &[f32],
    name: impl FnOnce() -> String,
) -> Result<(), ImportError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ImportError::NotFinite {
            place: place.clone(),
            weight: name(),
            index,
            value: values[index],
        }),
    }
}
