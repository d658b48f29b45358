//! Packs weights into the layout that every kernel reads in place.

use std::collections::BTreeSet;

use super::draft::Draft;
use crate::graph::{
    Conv2d, Dense, DepthwiseConv2d, Graph, GraphError, Kernel, KernelLayout, NodeId, Op, Weights,
};
use crate::panel;
use crate::tensor::{DType, PANEL, Tensor};

/// Packs every plain kernel to [`KernelLayout::Panel16`] and fills channel vectors up to a multiple
/// of 16. Matrices keep their element type: floats of 32 or 16 bits, or i8 with scales. Depthwise
/// kernels, which are small, become f32. Tensors that two nodes share stay shared.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn pack_weights(mut graph: Graph) -> Result<Graph, GraphError> {
    widen_depthwise(&mut graph);
    let mut draft = Draft::new(graph);
    separate_unpacked(&mut draft);
    let mut done = BTreeSet::new();
    for id in draft.ids() {
        match draft.node(id).op.clone() {
            Op::Conv2d(Conv2d {
                window,
                groups,
                filters,
                kernel,
                bias,
                ..
            }) if kernel.layout == KernelLayout::Plain && groups > 0 => {
                let c = draft.node(draft.node(id).inputs[0]).shape.channels();
                let k = window.kernel[0] * window.kernel[1] * c / groups;
                pack_matrix(
                    &mut draft,
                    &mut done,
                    &kernel.tensor,
                    [groups, k, filters / groups],
                );
                pad_scale(&mut draft, &mut done, &kernel, filters);
                finish_node(&mut draft, &mut done, id, bias.as_deref(), filters);
            }
            Op::Dense(Dense {
                units,
                kernel,
                bias,
                ..
            }) if kernel.layout == KernelLayout::Plain => {
                let k = draft.node(draft.node(id).inputs[0]).shape.channels();
                pack_matrix(&mut draft, &mut done, &kernel.tensor, [1, k, units]);
                pad_scale(&mut draft, &mut done, &kernel, units);
                finish_node(&mut draft, &mut done, id, bias.as_deref(), units);
            }
            Op::DepthwiseConv2d(DepthwiseConv2d { kernel, bias, .. })
                if kernel.layout == KernelLayout::Plain =>
            {
                let n = draft.node(id).shape.channels();
                pad_tensor(&mut draft, &mut done, &kernel.tensor, n);
                finish_node(&mut draft, &mut done, id, bias.as_deref(), n);
            }
            Op::ScaleShift { scale, shift } => {
                let n = draft.node(id).shape.channels();
                for key in [scale, shift] {
                    let scalar = draft
                        .tensors
                        .get(&key)
                        .is_some_and(|t| t.shape().len() == 1);
                    if !scalar {
                        pad_tensor(&mut draft, &mut done, &key, n);
                    }
                }
            }
            _ => {}
        }
    }
    draft.finish()
}

/// Gives ops that read a tensor in its own shape a key of their own for it, if another op reads it
/// too: packing may fill it up for that one. (Exporters store equal tensors once.)
fn separate_unpacked(draft: &mut Draft) {
    let unpacked = |op: &Op| match op {
        Op::Constant { tensor: key } | Op::PRelu { alpha: key } => Some(key.clone()),
        _ => None,
    };
    for id in draft.ids() {
        let Some(key) = unpacked(&draft.node(id).op) else {
            continue;
        };
        let mut others = draft.nodes.iter();
        let shared = others
            .any(|node| unpacked(&node.op).is_none() && node.tensors().contains(&key.as_str()));
        let Some(tensor) = draft.tensors.get(&key).filter(|_| shared).cloned() else {
            continue;
        };
        let free = draft.store(id, &format!("{key}.plain"), tensor);
        if let Op::Constant { tensor: own } | Op::PRelu { alpha: own } = &mut draft.node_mut(id).op
        {
            *own = free;
        }
    }
}

fn finish_node(
    draft: &mut Draft,
    done: &mut BTreeSet<String>,
    id: NodeId,
    bias: Option<&str>,
    n: usize,
) {
    if let Some(bias) = bias {
        pad_tensor(draft, done, bias, n);
    }
    match &mut draft.node_mut(id).op {
        Op::Conv2d(Conv2d { kernel, .. })
        | Op::DepthwiseConv2d(DepthwiseConv2d { kernel, .. })
        | Op::Dense(Dense { kernel, .. }) => kernel.layout = KernelLayout::Panel16,
        _ => {}
    }
}

fn pack_matrix(
    draft: &mut Draft,
    done: &mut BTreeSet<String>,
    key: &str,
    [groups, k, n]: [usize; 3],
) {
    if !done.insert(key.to_owned()) {
        return;
    }
    let packed = draft.tensors.get(key).and_then(|stored| {
        let shape = [groups * n.div_ceil(PANEL), k, PANEL];
        let bytes = match stored.dtype() {
            DType::F32 => {
                let buffer = panel::pack(stored.as_f32()?, groups, k, n);
                return Tensor::from_aligned(shape, buffer).ok();
            }
            DType::F16 | DType::BF16 => {
                let plain = stored.bytes().as_chunks::<2>().0;
                panel::pack_elements(plain, groups, k, n).into_flattened()
            }
            DType::I8 => panel::pack_elements(stored.bytes(), groups, k, n),
            DType::I32 => return None,
        };
        Tensor::from_bytes(stored.dtype(), shape, bytes).ok()
    });
    if let Some(packed) = packed {
        draft.tensors.insert(key.to_owned(), packed);
    }
}

fn pad_scale(draft: &mut Draft, done: &mut BTreeSet<String>, kernel: &Kernel, n: usize) {
    if let Some(scale) = &kernel.scale {
        pad_tensor(draft, done, scale, n);
    }
}

/// Makes the weights of depthwise convolutions f32.
fn widen_depthwise(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Op::DepthwiseConv2d(DepthwiseConv2d { kernel, .. }) = &node.op else {
            continue;
        };
        let Some(stored) = graph.tensors.get(&kernel.tensor) else {
            continue;
        };
        if kernel.layout != KernelLayout::Plain || stored.dtype() == DType::F32 {
            continue;
        }
        let n = node.shape.channels();
        let (shape, key) = (stored.shape().clone(), kernel.tensor.clone());
        let rows = [shape.len() / n.max(1), n];
        let wide = Weights::of(graph, node).rows(kernel, rows, None).ok();
        let wide = wide.and_then(|wide| Tensor::from_f32(shape, &wide.weights).ok());
        if let (Some(wide), Some(kernel)) = (wide, graph.nodes[index].op.kernel_mut()) {
            kernel.scale = None;
            graph.tensors.insert(key, wide);
        }
    }
}

fn pad_tensor(draft: &mut Draft, done: &mut BTreeSet<String>, key: &str, channels: usize) {
    if !done.insert(key.to_owned()) {
        return;
    }
    let padded = draft.tensors.get(key).and_then(|tensor| {
        let mut dims = tensor.shape().dims().to_vec();
        *dims.last_mut()? = channels.next_multiple_of(PANEL);
        let buffer = panel::pad_rows(tensor.as_f32()?, channels);
        Tensor::from_aligned(crate::tensor::Shape::new(&dims), buffer).ok()
    });
    if let Some(padded) = padded {
        draft.tensors.insert(key.to_owned(), padded);
    }
}
