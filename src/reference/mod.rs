//! The same graph on candle tensors: the oracle for the engine's tests, and the source of gradients
//! for `explain`.
//!
//! It is written to be obviously right and not fast, and uses only candle operations that have a
//! gradient: a window is a sum over its taps, and each tap is a slice of the padded image. Values
//! keep the graph's `HWC` shapes throughout.
//!
//! In: values of some nodes. Out: the value of any other node. A given value replaces everything
//! before it, so that a head can run alone from a feature map.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::{DType, Device, IndexOp, Tensor, Var};

use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Graph, Kernel, Node, NodeId, Op, Padding, PoolKind,
    ReduceKind, ResizeKind, Slice, WeightError, Weights, Window,
};
use crate::hint::{Arguments, BUG, Hint, named};
use crate::tensor;

mod activation;
#[cfg(test)]
mod tests;

/// Why the reference cannot compute a value.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A requested value depends on an input that was not given.
    #[error("input `{0}` is needed, but no value was given for it")]
    MissingInput(String),
    /// A given value has the wrong number of elements.
    #[error("node `{node}`: expected {expected} values, got {got}")]
    ValueLen {
        /// The node.
        node: String,
        /// Elements of its shape.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A weight tensor is absent or of a dtype that has no float values.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// Candle refused an operation.
    #[error("node `{node}` ({op}) failed in the reference")]
    Candle {
        /// The node.
        node: String,
        /// Its op.
        op: &'static str,
        /// Candle's reason.
        source: candle_core::Error,
    },
    /// Candle refused the backward pass.
    #[error("the backward pass failed in the reference")]
    Backward(#[source] candle_core::Error),
}

impl Hint for ReferenceError {
    fn kind(&self) -> &'static str {
        match self {
            Self::MissingInput(_) => "missing_input",
            Self::ValueLen { .. } => "value_len",
            Self::Weight(_) => "weight",
            Self::Candle { .. } => "candle",
            Self::Backward(_) => "backward",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::MissingInput(_) | Self::ValueLen { .. } => {
                "give a value of its shape for each input".to_owned()
            }
            Self::Weight(error) => error.hint(),
            Self::Candle { .. } | Self::Backward(_) => BUG.to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::MissingInput(input) => named!(input),
            Self::ValueLen {
                node,
                expected,
                got,
            } => named!(node, expected, got),
            Self::Candle { node, op, .. } => named!(node, op),
            Self::Weight(_) | Self::Backward(_) => named!(),
        }
    }
}

/// A graph to be evaluated with candle.
pub struct Reference<'a> {
    graph: &'a Graph,
}

impl<'a> Reference<'a> {
    /// A reference for a graph in any layout and stage of optimization.
    #[must_use]
    pub fn new(graph: &'a Graph) -> Self {
        Self { graph }
    }

    /// A candle tensor of a node's shape over a copy of `values`.
    ///
    /// # Errors
    /// [`ReferenceError::ValueLen`] if their number does not match the shape.
    pub fn tensor(&self, id: NodeId, values: &[f32]) -> Result<Tensor, ReferenceError> {
        let node = self.graph.node(id);
        let expected = node.shape.len();
        if expected != values.len() {
            let (node, got) = (node.name.clone(), values.len());
            return Err(ReferenceError::ValueLen {
                node,
                expected,
                got,
            });
        }
        Tensor::from_slice(values, node.shape.dims(), &Device::Cpu).map_err(|e| failed(node, e))
    }

    /// The output's values for the inputs' values, by name.
    ///
    /// # Errors
    /// [`ReferenceError`] if an input is missing or has the wrong length.
    pub fn run(&self, inputs: &BTreeMap<&str, &[f32]>) -> Result<Vec<f32>, ReferenceError> {
        let output = self.graph.output();
        let values = self.run_all(inputs, &[output])?;
        Ok(values.into_iter().flatten().collect())
    }

    /// The values of `wanted` nodes for the inputs' values, by name.
    ///
    /// # Errors
    /// As [`Reference::run`].
    pub fn run_all(
        &self,
        inputs: &BTreeMap<&str, &[f32]>,
        wanted: &[NodeId],
    ) -> Result<Vec<Vec<f32>>, ReferenceError> {
        let mut given = BTreeMap::new();
        for (id, node) in self.graph.inputs() {
            if let Some(values) = inputs.get(node.name.as_str()) {
                given.insert(id, self.tensor(id, values)?);
            }
        }
        let values = self.evaluate(&given, wanted)?;
        let flat = wanted.iter().zip(values).map(|(&id, value)| {
            let flat = value.flatten_all().and_then(|flat| flat.to_vec1());
            flat.map_err(|e| failed(self.graph.node(id), e))
        });
        flat.collect()
    }

    /// The value of one node, computed only from the `given` ones.
    ///
    /// # Errors
    /// As [`Reference::evaluate`].
    pub fn values(
        &self,
        given: &BTreeMap<NodeId, Tensor>,
        wanted: NodeId,
    ) -> Result<Vec<f32>, ReferenceError> {
        let value = self.evaluate(given, &[wanted])?;
        let flat: Result<Vec<Vec<f32>>, _> = value
            .iter()
            .map(|value| value.flatten_all().and_then(|flat| flat.to_vec1()))
            .collect();
        let flat = flat.map_err(|e| failed(self.graph.node(wanted), e))?;
        Ok(flat.into_iter().flatten().collect())
    }

    /// The `wanted` values as candle tensors, computed only from the `given` ones: nothing before a
    /// given value is computed. Gradients flow through.
    ///
    /// # Errors
    /// [`ReferenceError::MissingInput`] if a wanted value depends on an input that is not given.
    pub fn evaluate(
        &self,
        given: &BTreeMap<NodeId, Tensor>,
        wanted: &[NodeId],
    ) -> Result<Vec<Tensor>, ReferenceError> {
        let needed = self.needed(given, wanted);
        let mut values: Vec<Option<Tensor>> = vec![None; self.graph.nodes().len()];
        // A value is dropped after its last reader; the values of a large model would not fit
        // otherwise.
        let mut readers = vec![0usize; values.len()];
        for id in self
            .graph
            .ids()
            .filter(|id| needed[id.0] && !given.contains_key(id))
        {
            for input in &self.graph.node(id).inputs {
                readers[input.0] += 1;
            }
        }
        for id in wanted {
            readers[id.0] += 1;
        }
        for (id, node) in self.graph.ids().zip(self.graph.nodes()) {
            if !needed[id.0] {
                continue;
            }
            if let Some(value) = given.get(&id) {
                values[id.0] = Some(value.clone());
                continue;
            }
            let missing = || ReferenceError::MissingInput(node.name.clone());
            let inputs: Option<Vec<Tensor>> = node
                .inputs
                .iter()
                .map(|input| values[input.0].clone())
                .collect();
            let inputs = inputs.ok_or_else(missing)?;
            if matches!(node.op, Op::Input) {
                return Err(missing());
            }
            values[id.0] = Some(self.apply(node, &inputs)?);
            for input in &node.inputs {
                readers[input.0] -= 1;
                if readers[input.0] == 0 {
                    values[input.0] = None;
                }
            }
        }
        let result = wanted.iter().map(|id| {
            let missing = || ReferenceError::MissingInput(self.graph.node(*id).name.clone());
            values[id.0].clone().ok_or_else(missing)
        });
        result.collect()
    }

    fn needed(&self, given: &BTreeMap<NodeId, Tensor>, wanted: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.graph.nodes().len()];
        for id in wanted {
            needed[id.0] = true;
        }
        for id in self.graph.ids().rev() {
            if needed[id.0] && !given.contains_key(&id) {
                for input in &self.graph.node(id).inputs {
                    needed[input.0] = true;
                }
            }
        }
        needed
    }

    fn apply(&self, node: &Node, inputs: &[Tensor]) -> Result<Tensor, ReferenceError> {
        let weights = NodeWeights {
            graph: self.graph,
            node,
            plain: Weights::of(self.graph, node),
        };
        let result = match &node.op {
            Op::Conv2d(conv) => {
                let extents = conv_extents(conv, &inputs[0]);
                let (filters, bias) = weights.matrix(&conv.kernel, extents, conv.bias.as_ref())?;
                conv2d(conv, inputs, &filters, bias.as_ref())
            }
            Op::DepthwiseConv2d(conv) => {
                let n = node.shape.channels();
                let [kh, kw] = conv.window.kernel;
                let (taps, bias) = weights.rows(&conv.kernel, [kh * kw, n], conv.bias.as_ref())?;
                depthwise(conv, &inputs[0], &taps, bias.as_ref())
            }
            Op::Dense(dense) => {
                let k = inputs[0].dims().last().copied().unwrap_or(1);
                let extents = [1, k, dense.units];
                let (kernel, bias) = weights.matrix(&dense.kernel, extents, dense.bias.as_ref())?;
                apply_dense(dense, inputs, &kernel, bias.as_ref())
            }
            Op::ScaleShift { scale, shift } => {
                let n = node.shape.channels();
                let (scale, shift) = (weights.vector(scale, n)?, weights.vector(shift, n)?);
                inputs[0]
                    .broadcast_mul(&scale)
                    .and_then(|y| y.broadcast_add(&shift))
            }
            Op::LayerNormalization {
                scale,
                shift,
                epsilon,
            } => {
                let n = node.shape.channels();
                let (scale, shift) = (weights.vector(scale, n)?, weights.vector(shift, n)?);
                layer_normalization(&inputs[0], &scale, &shift, f64::from(*epsilon))
            }
            Op::Constant { tensor } => Ok(weights.whole(tensor)?),
            Op::PRelu { alpha } => {
                let alpha = weights.whole(alpha)?;
                let parts = || {
                    let negative = inputs[0].neg()?.relu()?.broadcast_mul(&alpha)?;
                    inputs[0].relu()? - negative
                };
                parts()
            }
            op => plain(op, inputs),
        };
        // Parts of a value are views of it, which some of candle's operations refuse.
        let result = result.and_then(|value| value.contiguous());
        result.map_err(|e| failed(node, e))
    }
}

/// Whether this build can compute gradients.
pub const AVAILABLE: bool = true;

/// The gradient of element `element` of the output with respect to the value of node `start`, by
/// candle's backward pass. `values` gives the value of `start`, and of other nodes that the nodes
/// after it read.
///
/// # Errors
/// [`ReferenceError`] if a value is missing, or candle refuses an operation.
pub fn gradient<'v>(
    graph: &Graph,
    start: NodeId,
    others: &[NodeId],
    element: usize,
    values: &dyn Fn(NodeId) -> Cow<'v, [f32]>,
) -> Result<Vec<f32>, ReferenceError> {
    let reference = Reference::new(graph);
    let variable = reference.tensor(start, &values(start))?;
    let variable = Var::from_tensor(&variable).map_err(ReferenceError::Backward)?;
    let mut given = BTreeMap::from([(start, variable.as_tensor().clone())]);
    for &id in others {
        given.insert(id, reference.tensor(id, &values(id))?);
    }
    let output = reference.evaluate(&given, &[graph.output()])?;
    let gradient = || -> Candle<Vec<f32>> {
        let output = Tensor::cat(&output, 0)?.flatten_all()?;
        let gradients = output.narrow(0, element, 1)?.sum_all()?.backward()?;
        match gradients.get(&variable) {
            Some(gradient) => gradient.flatten_all()?.to_vec1(),
            // The output does not depend on the value at all (all weights are zero, for example).
            None => Ok(vec![0.0; graph.node(start).shape.len()]),
        }
    };
    gradient().map_err(ReferenceError::Backward)
}

fn failed(node: &Node, source: candle_core::Error) -> ReferenceError {
    ReferenceError::Candle {
        node: node.name.clone(),
        op: node.op.name(),
        source,
    }
}

/// The weights of one node as candle tensors in the plain layouts.
struct NodeWeights<'a> {
    graph: &'a Graph,
    node: &'a Node,
    plain: Weights<'a>,
}

impl NodeWeights<'_> {
    fn make(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor, ReferenceError> {
        Tensor::from_vec(values, shape, &Device::Cpu).map_err(|e| failed(self.node, e))
    }

    /// `[groups, k, n]` of a matrix kernel, and its bias.
    fn matrix(
        &self,
        kernel: &Kernel,
        [groups, k, n]: [usize; 3],
        bias: Option<&String>,
    ) -> Result<(Tensor, Option<Tensor>), ReferenceError> {
        let plain = self.plain.matrix(kernel, [groups, k, n], bias)?;
        let matrix = self.make(plain.weights, &[k, groups, n])?;
        let grouped = matrix.transpose(0, 1).and_then(|t| t.contiguous());
        let grouped = grouped.map_err(|e| failed(self.node, e))?;
        Ok((grouped, self.row(plain.bias)?))
    }

    /// `[rows, n]` of a depthwise kernel, and its bias.
    fn rows(
        &self,
        kernel: &Kernel,
        extents: [usize; 2],
        bias: Option<&String>,
    ) -> Result<(Tensor, Option<Tensor>), ReferenceError> {
        let plain = self.plain.rows(kernel, extents, bias)?;
        Ok((self.make(plain.weights, &extents)?, self.row(plain.bias)?))
    }

    fn row(&self, values: Option<Vec<f32>>) -> Result<Option<Tensor>, ReferenceError> {
        let tensor = values.map(|values| {
            let n = values.len();
            self.make(values, &[n])
        });
        tensor.transpose()
    }

    /// `[n]`, or `[1]` if one value serves all channels.
    fn vector(&self, key: &str, n: usize) -> Result<Tensor, ReferenceError> {
        let values = self.plain.vector(key, n)?;
        let n = values.len();
        self.make(values, &[n])
    }

    fn whole(&self, key: &str) -> Result<Tensor, ReferenceError> {
        let values = self.plain.floats(key)?;
        // `floats` found the tensor.
        let shape = self.graph.tensors.get(key).map(tensor::Tensor::shape);
        self.make(values, shape.map_or(&[], tensor::Shape::dims))
    }
}

fn conv_extents(conv: &Conv2d, x: &Tensor) -> [usize; 3] {
    let c = x.dims().last().copied().unwrap_or(1);
    let [kh, kw] = conv.window.kernel;
    [
        conv.groups,
        kh * kw * c / conv.groups,
        conv.filters / conv.groups,
    ]
}

type Candle<T> = candle_core::Result<T>;

/// The parts of the padded image under each tap, in row-major order of the taps: `[OH, OW, C]`.
fn taps(x: &Tensor, window: &Window, fill: f32) -> Candle<Vec<Tensor>> {
    let (h, w, _) = x.dims3()?;
    let [oh, ow] = window.output(h, w).unwrap_or_default();
    let padded = pad(x, window.padding, fill)?;
    let [kh, kw] = window.kernel;
    let pick = |count: usize, axis: usize, tap: usize| {
        let first = tap * window.dilations[axis];
        let indices = (0..count).map(|i| u32::try_from(first + i * window.strides[axis]));
        let indices: Vec<u32> = indices.map(Result::unwrap_or_default).collect();
        Tensor::new(indices.as_slice(), &Device::Cpu)
    };
    let mut parts = Vec::with_capacity(kh * kw);
    for i in 0..kh {
        let rows = padded.index_select(&pick(oh, 0, i)?, 0)?;
        for j in 0..kw {
            parts.push(rows.index_select(&pick(ow, 1, j)?, 1)?);
        }
    }
    Ok(parts)
}

fn pad(x: &Tensor, p: Padding, fill: f32) -> Candle<Tensor> {
    let (h, w, c) = x.dims3()?;
    let block = |rows: usize, columns: usize| Tensor::full(fill, (rows, columns, c), x.device());
    let mut rows = Vec::new();
    if p.left + p.right > 0 {
        let parts = [block(h, p.left)?, x.clone(), block(h, p.right)?];
        let parts: Vec<_> = parts.into_iter().filter(|t| t.elem_count() > 0).collect();
        rows.push(Tensor::cat(&parts, 1)?);
    } else {
        rows.push(x.clone());
    }
    let width = w + p.left + p.right;
    if p.top > 0 {
        rows.insert(0, block(p.top, width)?);
    }
    if p.bottom > 0 {
        rows.push(block(p.bottom, width)?);
    }
    Tensor::cat(&rows, 0)
}

fn sum(parts: Vec<Tensor>) -> Candle<Tensor> {
    let mut parts = parts.into_iter();
    let first = parts
        .next()
        .ok_or_else(|| candle_core::Error::Msg("no taps".into()))?;
    parts.try_fold(first, |sum, part| sum + part)
}

/// `filters` is `[groups, kh * kw * C, n]`.
fn conv2d(
    conv: &Conv2d,
    inputs: &[Tensor],
    filters: &Tensor,
    bias: Option<&Tensor>,
) -> Candle<Tensor> {
    let parts = taps(&inputs[0], &conv.window, 0.0)?;
    let (oh, ow, c) = parts[0].dims3()?;
    let c = c / conv.groups;
    let mut groups = Vec::with_capacity(conv.groups);
    for group in 0..conv.groups {
        let weights = filters.i(group)?;
        let products = parts.iter().enumerate().map(|(tap, part)| {
            let part = part
                .narrow(2, group * c, c)?
                .contiguous()?
                .reshape((oh * ow, c))?;
            part.matmul(&weights.narrow(0, tap * c, c)?.contiguous()?)
        });
        groups.push(sum(products.collect::<Candle<Vec<_>>>()?)?);
    }
    let result = Tensor::cat(&groups, 1)?.reshape((oh, ow, conv.filters))?;
    let biased = add_bias(&result, bias)?;
    epilogue(
        &biased,
        conv.epilogue.activation,
        conv.epilogue.residual,
        inputs.get(1),
    )
}

fn add_bias(x: &Tensor, bias: Option<&Tensor>) -> Candle<Tensor> {
    bias.map_or(Ok(x.clone()), |bias| x.broadcast_add(bias))
}

fn epilogue(
    biased: &Tensor,
    activation: Activation,
    post: Option<Activation>,
    residual: Option<&Tensor>,
) -> Candle<Tensor> {
    let active = activation::apply(activation, biased)?;
    match (post, residual) {
        (Some(post), Some(residual)) => activation::apply(post, &(active + residual)?),
        _ => Ok(active),
    }
}

/// `weights` is `[kh * kw, C * multiplier]`.
fn depthwise(
    conv: &DepthwiseConv2d,
    x: &Tensor,
    weights: &Tensor,
    bias: Option<&Tensor>,
) -> Candle<Tensor> {
    let parts = taps(x, &conv.window, 0.0)?;
    let (oh, ow, c) = parts[0].dims3()?;
    let m = conv.multiplier;
    let products = parts.iter().enumerate().map(|(tap, part)| {
        let weights = weights.i(tap)?.reshape((c, m))?;
        part.unsqueeze(3)?
            .broadcast_mul(&weights)?
            .reshape((oh, ow, c * m))
    });
    let biased = add_bias(&sum(products.collect::<Candle<Vec<_>>>()?)?, bias)?;
    activation::apply(conv.activation, &biased)
}

/// `kernel` is `[1, k, n]`.
fn apply_dense(
    dense: &Dense,
    inputs: &[Tensor],
    kernel: &Tensor,
    bias: Option<&Tensor>,
) -> Candle<Tensor> {
    let x = &inputs[0];
    let (_, k, n) = kernel.dims3()?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    let rows = x.contiguous()?.reshape((x.elem_count() / k, k))?;
    let product = rows.matmul(&kernel.i(0)?.contiguous()?)?.reshape(dims)?;
    let biased = add_bias(&product, bias)?;
    epilogue(
        &biased,
        dense.epilogue.activation,
        dense.epilogue.residual,
        inputs.get(1),
    )
}

fn layer_normalization(x: &Tensor, scale: &Tensor, shift: &Tensor, epsilon: f64) -> Candle<Tensor> {
    let last = x.rank().saturating_sub(1);
    // In f64, since candle sums from front to back.
    let wide = x.to_dtype(DType::F64)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(last)?)?;
    let variance = centred.sqr()?.mean_keepdim(last)?;
    let unit = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    unit.to_dtype(DType::F32)?
        .broadcast_mul(scale)?
        .broadcast_add(shift)
}

fn reduce(kind: ReduceKind, axes: &[usize], keep_dims: bool, x: &Tensor) -> Candle<Tensor> {
    let wide = x.to_dtype(DType::F64)?;
    let reduced = match kind {
        ReduceKind::Mean => wide.mean_keepdim(axes)?,
        ReduceKind::Sum => wide.sum_keepdim(axes)?,
        ReduceKind::Max => {
            let mut most = wide;
            for &axis in axes {
                most = most.max_keepdim(axis)?;
            }
            most
        }
        ReduceKind::L2 => wide.sqr()?.sum_keepdim(axes)?.sqrt()?,
    };
    let reduced = reduced.to_dtype(DType::F32)?;
    if keep_dims {
        return Ok(reduced);
    }
    let dims = reduced.dims().iter().enumerate();
    let kept = dims.filter(|(axis, _)| !axes.contains(axis));
    let kept: Vec<usize> = kept.map(|(_, &extent)| extent).collect();
    reduced.reshape(kept)
}

/// The elements `indices` along an axis.
fn select(x: &Tensor, axis: usize, indices: impl Iterator<Item = usize>) -> Candle<Tensor> {
    let indices: Vec<u32> = indices
        .map(|index| u32::try_from(index).unwrap_or(u32::MAX))
        .collect();
    x.contiguous()?
        .index_select(&Tensor::new(indices.as_slice(), &Device::Cpu)?, axis)
}

fn slice(slice: &Slice, x: &Tensor) -> Candle<Tensor> {
    let mut part = x.clone();
    for axis in 0..x.rank() {
        let (start, end, step) = (slice.starts[axis], slice.ends[axis], slice.steps[axis]);
        part = if step == 1 {
            part.narrow(axis, start, end - start)?
        } else {
            select(&part, axis, (start..end).step_by(step))?
        };
    }
    Ok(part)
}

/// Ops without weights.
fn plain(op: &Op, inputs: &[Tensor]) -> Candle<Tensor> {
    let x = &inputs[0];
    match op {
        Op::Activation(activation) => activation::apply(*activation, x),
        Op::Softmax { axis } => {
            candle_nn::ops::softmax(x, axis.unwrap_or(x.rank().saturating_sub(1)))
        }
        Op::MatMul => x.contiguous()?.broadcast_matmul(&inputs[1].contiguous()?),
        Op::Reduce {
            kind,
            axes,
            keep_dims,
        } => reduce(*kind, axes, *keep_dims, x),
        Op::Slice(part) => slice(part, x),
        Op::Gather { axis, indices } => select(x, *axis, indices.iter().copied()),
        // The reference computes the real numbers that the bytes represent, without rounding, so
        // that gradients pass.
        Op::Quantize | Op::Dequantize => Ok(x.clone()),
        Op::Binary { kind, activation } => {
            let y = &inputs[1];
            let result = match kind {
                BinaryOp::Add => x.broadcast_add(y),
                BinaryOp::Sub => x.broadcast_sub(y),
                BinaryOp::Mul => x.broadcast_mul(y),
                BinaryOp::Div => x.broadcast_div(y),
                BinaryOp::Max => x.broadcast_maximum(y),
                BinaryOp::Min => x.broadcast_minimum(y),
            };
            activation::apply(*activation, &result?)
        }
        Op::Concat { axis } => {
            let inputs: Candle<Vec<_>> = inputs.iter().map(Tensor::contiguous).collect();
            Tensor::cat(&inputs?, *axis)
        }
        Op::Pool2d { kind, window } => pool(*kind, window, x),
        Op::GlobalPool { kind, keep_dims } => {
            let (h, w, c) = x.dims3()?;
            let flat = x.reshape((h * w, c))?;
            let pooled = match kind {
                PoolKind::Max => flat.max(0)?,
                PoolKind::Average => flat.mean(0)?,
            };
            if *keep_dims {
                pooled.reshape((1, 1, c))
            } else {
                Ok(pooled)
            }
        }
        Op::Pad(padding) => pad(x, *padding, 0.0),
        Op::Crop(p) => {
            let (h, w, _) = x.dims3()?;
            x.narrow(0, p.top, h - p.top - p.bottom)?
                .narrow(1, p.left, w - p.left - p.right)
        }
        Op::Reshape { shape } => x.contiguous()?.reshape(shape.dims()),
        Op::Transpose { permutation } => x.permute(permutation.as_slice())?.contiguous(),
        Op::Resize { kind, size } => resize(*kind, *size, x),
        Op::Input
        | Op::Conv2d(_)
        | Op::DepthwiseConv2d(_)
        | Op::Dense(_)
        | Op::ScaleShift { .. }
        | Op::LayerNormalization { .. }
        | Op::Constant { .. }
        | Op::PRelu { .. } => Err(candle_core::Error::Msg("an op with weights".into())),
    }
}

fn pool(kind: PoolKind, window: &Window, x: &Tensor) -> Candle<Tensor> {
    match kind {
        PoolKind::Max => {
            let mut parts = taps(x, window, f32::NEG_INFINITY)?.into_iter();
            let first = parts
                .next()
                .ok_or_else(|| candle_core::Error::Msg("no taps".into()))?;
            parts.try_fold(first, |most, part| most.maximum(&part))
        }
        PoolKind::Average => {
            let counted = Tensor::ones_like(x)?;
            sum(taps(x, window, 0.0)?)? / sum(taps(&counted, window, 0.0)?)?
        }
    }
}

fn resize(kind: ResizeKind, size: [usize; 2], x: &Tensor) -> Candle<Tensor> {
    let mut result = x.clone();
    for (axis, &out) in size.iter().enumerate() {
        let len = x.dim(axis)?;
        let at = |i: usize| (i as f64 + 0.5) * len as f64 / out as f64;
        let last = len - 1;
        let select = |indices: &[usize]| {
            let indices: Vec<u32> = indices
                .iter()
                .map(|&i| u32::try_from(i).unwrap_or(u32::MAX))
                .collect();
            result.index_select(&Tensor::new(indices.as_slice(), &Device::Cpu)?, axis)
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positions inside an image, made non-negative first"
        )]
        let floor = |v: f64| v.max(0.0).floor() as usize;
        result = match kind {
            ResizeKind::Nearest => {
                select(&(0..out).map(|i| floor(at(i)).min(last)).collect::<Vec<_>>())?
            }
            ResizeKind::Bilinear => {
                let low: Vec<usize> = (0..out).map(|i| floor(at(i) - 0.5).min(last)).collect();
                let high: Vec<usize> = (0..out)
                    .map(|i| {
                        if at(i) < 0.5 {
                            0
                        } else {
                            (floor(at(i) - 0.5) + 1).min(last)
                        }
                    })
                    .collect();
                let part: Vec<f64> = (0..out)
                    .map(|i| {
                        let p = at(i) - 0.5;
                        if p < 0.0 { 0.0 } else { p - p.floor() }
                    })
                    .collect();
                let shape = if axis == 0 { (out, 1, 1) } else { (1, out, 1) };
                let part = Tensor::from_vec(part, shape, &Device::Cpu)?.to_dtype(DType::F32)?;
                let (low, high) = (select(&low)?, select(&high)?);
                let step = (high - &low)?.broadcast_mul(&part)?;
                (low + step)?
            }
        };
    }
    Ok(result)
}
