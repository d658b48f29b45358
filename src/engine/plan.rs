//! Decides what to run, in which order, and where each value lies, before anything runs.
//!
//! In: a graph, and the values that callers want to read besides the answer. Out: steps and one
//! arena. The estimates in `memory` compute with this plan and do not model it.

use super::arena::{self, Lifetime};
use crate::activation::Activation;
use crate::graph::{Graph, NodeId, Op};

/// One operation to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node that makes the step's value.
    pub node: NodeId,
    /// A ReLU before a depthwise convolution, which applies it to the values that it loads.
    /// Xception's blocks start this way, and no other node reads the value between them.
    pub relu_on_input: Option<NodeId>,
    /// The convolution or matrix product of this step, if `node` is an activation: it looks the
    /// resulting bytes up in a table before they are stored.
    pub sum: Option<NodeId>,
    /// The values that the step reads, as they are stored. A reshape is never among them.
    pub inputs: Vec<NodeId>,
    /// Whether the result overwrites input 0.
    pub in_place: bool,
}

/// A value's place in the arena, and when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedValue {
    /// The node that makes the value.
    pub node: NodeId,
    /// Its first float in the arena.
    pub offset: usize,
    /// Its length in words of four bytes.
    pub words: usize,
    /// The step that writes it; `None` for an input, which exists before the first step.
    pub first: Option<usize>,
    /// The last step that reads it (its own, if none does); `None` for a value that stays readable
    /// after a run.
    pub last: Option<usize>,
}

/// Steps and offsets of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// For each node, the float of the arena at which its value starts, if it has one.
    offsets: Vec<Option<usize>>,
    /// Floats of the arena.
    pub arena_len: usize,
    /// Floats live during each step.
    pub live_len: Vec<usize>,
    /// Every stored value: the inputs, then those of the steps in order. A value that overwrites
    /// its input has the input's offset.
    pub values: Vec<PlacedValue>,
}

impl Plan {
    /// Plans a graph. The values of `keep` and the output stay readable after a run.
    #[must_use]
    pub fn new(graph: &Graph, keep: &[NodeId]) -> Self {
        let stored = stored_values(graph);
        let mut kept = vec![false; graph.nodes().len()];
        for id in keep.iter().chain([&graph.output()]) {
            kept[stored[id.0].0] = true;
        }
        let mut steps = list_steps(graph, &stored, &kept);
        let last_use = last_uses(graph, &steps, &kept);
        let owner = share_in_place(graph, &mut steps, &last_use);
        place(graph, steps, &stored, &owner, &last_use)
    }

    /// First float of a node's value in the arena; `None` for a value that is never stored.
    #[must_use]
    pub fn offset(&self, id: NodeId) -> Option<usize> {
        self.offsets.get(id.0).copied().flatten()
    }

    /// The step at which most floats are live, and their number. `None` for a graph of inputs only.
    #[must_use]
    pub fn worst_moment(&self) -> Option<(usize, usize)> {
        let steps = self.live_len.iter().copied().enumerate();
        steps.max_by_key(|&(step, len)| (len, std::cmp::Reverse(step)))
    }
}

/// The node in whose memory each node's value lies: a reshape only renames.
fn stored_values(graph: &Graph) -> Vec<NodeId> {
    let mut stored: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let alias = matches!(node.op, Op::Reshape { .. });
        stored.push(if alias { stored[node.inputs[0].0] } else { id });
    }
    stored
}

fn list_steps(graph: &Graph, stored: &[NodeId], kept: &[bool]) -> Vec<Step> {
    let users = graph.users();
    let feeds_depthwise = |id: NodeId| {
        let node = graph.node(id);
        matches!(node.op, Op::Activation(Activation::Relu))
            && node.quantization == graph.node(node.inputs[0]).quantization
            && !kept[id.0]
            && matches!(users[id.0].as_slice(), [one]
                if matches!(graph.node(*one).op, Op::DepthwiseConv2d(_)))
    };
    // Bytes that only a table reads are never stored.
    let feeds_table = |id: NodeId| {
        let node = graph.node(id);
        node.quantization.is_some()
            && node.op.kernel().is_some()
            && !kept[id.0]
            && matches!(users[id.0].as_slice(), [one]
                if matches!(graph.node(*one).op, Op::Activation(_)) && !feeds_depthwise(*one))
    };
    let mut steps = Vec::new();
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let unstored = matches!(node.op, Op::Input | Op::Reshape { .. });
        if unstored || feeds_depthwise(id) || feeds_table(id) {
            continue;
        }
        let sum = match node.op {
            Op::Activation(_) => Some(node.inputs[0]).filter(|&x| feeds_table(x)),
            _ => None,
        };
        let computed = sum.map_or(node, |sum| graph.node(sum));
        let relu = match computed.op {
            Op::DepthwiseConv2d(_) => Some(computed.inputs[0]).filter(|&x| feeds_depthwise(x)),
            _ => None,
        };
        let read = relu.map_or_else(|| computed.inputs.clone(), |r| graph.node(r).inputs.clone());
        steps.push(Step {
            node: id,
            relu_on_input: relu,
            sum,
            inputs: read.iter().map(|input| stored[input.0]).collect(),
            in_place: false,
        });
    }
    steps
}

/// For each node, the last step that reads it; for kept values, the number of steps.
fn last_uses(graph: &Graph, steps: &[Step], kept: &[bool]) -> Vec<usize> {
    let mut last = vec![0; graph.nodes().len()];
    for (index, step) in steps.iter().enumerate() {
        last[step.node.0] = index;
        for input in &step.inputs {
            last[input.0] = index;
        }
    }
    for (last, _) in last.iter_mut().zip(kept).filter(|(_, kept)| **kept) {
        *last = steps.len();
    }
    last
}

/// Lets elementwise steps overwrite an input that no later step reads. Returns, for each node, the
/// node whose memory it uses.
fn share_in_place(graph: &Graph, steps: &mut [Step], last_use: &[usize]) -> Vec<NodeId> {
    let mut owner: Vec<NodeId> = graph.ids().collect();
    for (index, step) in steps.iter_mut().enumerate() {
        let op = &graph.node(step.node).op;
        let elementwise = matches!(
            op,
            Op::Activation(_)
                | Op::ScaleShift { .. }
                | Op::Binary { .. }
                | Op::LayerNormalization { .. }
        );
        let Some(&first) = step.inputs.first() else {
            continue;
        };
        let same_len = graph.stored_words(first) == graph.stored_words(step.node);
        let elementwise = elementwise && step.sum.is_none();
        let read_again = step.inputs[1..].contains(&first);
        if elementwise && same_len && last_use[first.0] == index && !read_again {
            step.in_place = true;
            owner[step.node.0] = owner[first.0];
        }
    }
    owner
}

fn place(
    graph: &Graph,
    steps: Vec<Step>,
    stored: &[NodeId],
    owner: &[NodeId],
    last_use: &[usize],
) -> Plan {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; owner.len()];
    let inputs = graph.inputs().map(|(id, _)| (id, 0));
    let results = steps
        .iter()
        .enumerate()
        .map(|(index, step)| (step.node, index));
    for (id, first) in inputs.chain(results.clone()) {
        let len = graph.stored_words(id);
        let last = last_use[id.0].max(first);
        let slot = &mut lifetimes[owner[id.0].0];
        let life = slot.get_or_insert(Lifetime { len, first, last });
        life.last = life.last.max(last);
    }
    let owners: Vec<usize> = (0..lifetimes.len())
        .filter(|&i| lifetimes[i].is_some())
        .collect();
    let values: Vec<Lifetime> = lifetimes.iter().copied().flatten().collect();
    let placement = arena::place(&values);
    let mut offset_of_owner = vec![None; owner.len()];
    for (&node, &offset) in owners.iter().zip(&placement.offsets) {
        offset_of_owner[node] = Some(offset);
    }
    let live_len = arena::live_len(&values, steps.len());
    let offsets: Vec<Option<usize>> = stored
        .iter()
        .map(|value| offset_of_owner[owner[value.0].0])
        .collect();
    let placed = |id: NodeId, first: Option<usize>| {
        let last = last_use[id.0].max(first.unwrap_or(0));
        Some(PlacedValue {
            node: id,
            offset: offsets[id.0]?,
            words: graph.stored_words(id),
            first,
            last: (last < steps.len()).then_some(last),
        })
    };
    let values = graph
        .inputs()
        .filter_map(|(id, _)| placed(id, None))
        .chain(results.filter_map(|(id, first)| placed(id, Some(first))))
        .collect();
    Plan {
        offsets,
        arena_len: placement.len,
        live_len,
        values,
        steps,
    }
}
