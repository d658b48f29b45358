//! A graph that is being changed: nodes may be edited, bypassed or left dead; `finish` checks the
//! result.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, GraphError, Node, NodeId, Op, SourceLayer, Stage};
use crate::tensor::Tensor;

pub(super) struct Draft {
    name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) output: NodeId,
}

impl Draft {
    pub(super) fn new(graph: Graph) -> Self {
        Self {
            name: graph.name,
            nodes: graph.nodes,
            tensors: graph.tensors,
            output: graph.output,
        }
    }

    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// How often live nodes read the value; the answer counts as a reader.
    pub(super) fn uses(&self, id: NodeId) -> usize {
        let live = self.live();
        let readers = self.ids().filter(|reader| live[reader.0]);
        let reads = readers.map(|reader| {
            self.node(reader)
                .inputs
                .iter()
                .filter(|&&input| input == id)
                .count()
        });
        reads.sum::<usize>() + usize::from(self.output == id)
    }

    /// Whether only one input of `reader`, and nothing else, reads `value`.
    pub(super) fn only_feeds(&self, value: NodeId, reader: NodeId) -> bool {
        self.node(reader).inputs.contains(&value) && self.uses(value) == 1
    }

    /// Lets every reader of `from` read `to` instead. `to` must come before those readers.
    pub(super) fn redirect(&mut self, from: NodeId, to: NodeId) {
        for node in &mut self.nodes {
            for input in &mut node.inputs {
                if *input == from {
                    *input = to;
                }
            }
        }
        if self.output == from {
            self.output = to;
        }
    }

    /// Moves the layers of `from`, a node that will be removed, after those of `to`.
    pub(super) fn append_layers(&mut self, from: NodeId, to: NodeId) {
        let layers = std::mem::take(&mut self.node_mut(from).layers);
        self.node_mut(to).layers.extend(layers);
    }

    /// Moves every layer whose stage is `Output` to `stage`.
    pub(super) fn demote_layers(layers: &mut [SourceLayer], stage: &Stage) {
        for layer in layers
            .iter_mut()
            .filter(|layer| layer.stage == Stage::Output)
        {
            layer.stage = stage.clone();
        }
    }

    /// Stores a tensor under `key`, or under a variant of it if another node reads that key.
    pub(super) fn store(&mut self, owner: NodeId, key: &str, tensor: Tensor) -> String {
        let taken = |draft: &Self, key: &str| {
            draft.tensors.contains_key(key)
                && draft
                    .ids()
                    .any(|id| id != owner && draft.node(id).tensors().into_iter().any(|k| k == key))
        };
        let mut free = key.to_owned();
        let mut n = 1;
        while taken(self, &free) {
            free = format!("{key}:{n}");
            n += 1;
        }
        self.tensors.insert(free.clone(), tensor);
        free
    }

    fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        live[self.output.0] = true;
        for id in self.ids().rev() {
            // An unused input stays, because callers give it by name.
            live[id.0] |= matches!(self.node(id).op, Op::Input);
            if live[id.0] {
                for input in &self.nodes[id.0].inputs {
                    live[input.0] = true;
                }
            }
        }
        live
    }

    /// Removes dead nodes and unread tensors, renumbers, and checks the result.
    pub(super) fn finish(mut self) -> Result<Graph, GraphError> {
        let live = self.live();
        let mut number = vec![NodeId(usize::MAX); self.nodes.len()];
        for (next, id) in self.ids().filter(|id| live[id.0]).enumerate() {
            number[id.0] = NodeId(next);
        }
        let keys: BTreeSet<String> = self
            .ids()
            .filter(|id| live[id.0])
            .flat_map(|id| {
                self.node(id)
                    .tensors()
                    .into_iter()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        self.tensors.retain(|key, _| keys.contains(key));
        let nodes = std::mem::take(&mut self.nodes).into_iter().enumerate();
        let nodes = nodes.filter(|(i, _)| live[*i]).map(|(_, mut node)| {
            for input in &mut node.inputs {
                *input = number[input.0];
            }
            node
        });
        Graph::from_parts(
            self.name,
            nodes.collect(),
            number[self.output.0],
            self.tensors,
        )
    }
}
