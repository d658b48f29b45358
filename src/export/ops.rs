//! What each operator of the graph becomes. The match in [`Exporter::op`] has every operator, so
//! that a new one cannot be forgotten.

use super::builder::{Attribute, IMAGE, ints};
use super::placed::Placed;
use super::tensor::Element;
use super::{ExportError, Exporter};
use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Node, NodeId, Op, Padding, PoolKind,
    ReduceKind, ResizeKind, Stage, Window,
};
use crate::tensor::Shape;

/// Numbers from 0 up.
fn row_major(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Where an axis of the graph is in a tensor of the file, whose first axis is the batch.
fn position(order: &[usize], axis: usize) -> usize {
    order.iter().position(|&a| a == axis).map_or(1, |at| at + 1)
}

/// The attributes of a window. Average pooling has no dilations in opset 17.
fn window_attributes(window: &Window, dilations: bool) -> Vec<(&'static str, Attribute)> {
    let p = window.padding;
    let pads = [p.top, p.left, p.bottom, p.right];
    let mut attributes = vec![
        ("kernel_shape", Attribute::Ints(ints(&window.kernel))),
        ("strides", Attribute::Ints(ints(&window.strides))),
        ("pads", Attribute::Ints(ints(&pads))),
    ];
    if dilations {
        attributes.push(("dilations", Attribute::Ints(ints(&window.dilations))));
    }
    attributes
}

impl<'g> Exporter<'g> {
    /// Writes a node of the graph; its value is then in [`Exporter::values`].
    pub(super) fn node(&mut self, id: NodeId) -> Result<(), ExportError> {
        let node = self.graph.node(id);
        let value = self.op(node)?;
        let value = match node.quantization {
            Some(map) if !Self::is_moved(node) && !matches!(node.op, Op::Quantize) => {
                self.quantized(&format!("{}/bytes", node.name), &value, map)
            }
            _ => value,
        };
        self.values.push(value);
        Ok(())
    }

    /// Whether an op only moves elements, so that bytes stay bytes.
    fn is_moved(node: &Node) -> bool {
        matches!(node.op, Op::Reshape { .. } | Op::Transpose { .. })
    }

    fn refused(node: &Node, reason: impl Into<String>) -> ExportError {
        ExportError::Node {
            node: node.name.clone(),
            op: node.op.name(),
            reason: reason.into(),
        }
    }

    /// The real numbers of an input, in the order of the axes that is wanted of its own.
    fn input(
        &mut self,
        node: &Node,
        index: usize,
        order: impl FnOnce(&Placed) -> Vec<usize>,
    ) -> Placed {
        let value = self.values[node.inputs[index].0].clone();
        let order = order(&value);
        let arranged = self.builder.arrange(&value, &order);
        self.real(node.inputs[index], &arranged)
    }

    /// An input as it lies.
    fn as_it_lies(&mut self, node: &Node, index: usize) -> Placed {
        let value = self.values[node.inputs[index].0].clone();
        self.real(node.inputs[index], &value)
    }

    /// An input `[H, W, C]` as NCHW.
    fn image(&mut self, node: &Node, index: usize) -> Placed {
        self.input(node, index, |_| IMAGE.to_vec())
    }

    fn shape_of(&self, node: &Node, index: usize) -> &'g Shape {
        &self.graph.node(node.inputs[index]).shape
    }

    fn push(
        &mut self,
        node: &Node,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        self.builder.push(&node.name, op, inputs, attributes)
    }

    fn op(&mut self, node: &'g Node) -> Result<Placed, ExportError> {
        match &node.op {
            Op::Input => Ok(self.add_input(node)),
            Op::Conv2d(conv) => self.conv(node, conv),
            Op::DepthwiseConv2d(conv) => self.depthwise(node, conv),
            Op::Dense(dense) => self.dense(node, dense),
            Op::ScaleShift { scale, shift } => self.scale_shift(node, scale, shift),
            Op::Activation(activation) => {
                let x = self.as_it_lies(node, 0);
                Ok(self.activation(&node.name, &x, *activation))
            }
            Op::PRelu { alpha } => self.prelu(node, alpha),
            Op::Softmax { axis } => Ok(self.softmax(node, *axis)),
            Op::Binary { kind, activation } => {
                let y = self.binary(node, *kind);
                let name = Self::function_name(node, *activation, &Stage::Output);
                Ok(self.activation(&name, &y, *activation))
            }
            Op::Concat { axis } => Ok(self.concat(node, *axis)),
            Op::Pool2d { kind, window } => self.pool(node, *kind, window),
            Op::GlobalPool { kind, keep_dims } => Ok(self.global_pool(node, *kind, *keep_dims)),
            Op::Pad(padding) => Ok(self.pad(node, *padding)),
            Op::Crop(padding) => {
                let [h, w] = [0, 1].map(|axis| self.shape_of(node, 0).dims()[axis]);
                let rows = (0, padding.top, h.saturating_sub(padding.bottom), 1);
                let columns = (1, padding.left, w.saturating_sub(padding.right), 1);
                Ok(self.sliced(node, &[rows, columns]))
            }
            Op::Slice(slice) => {
                let axes = 0..slice.starts.len();
                let parts = axes.map(|a| (a, slice.starts[a], slice.ends[a], slice.steps[a]));
                let parts: Vec<_> = parts.collect();
                Ok(self.sliced(node, &parts))
            }
            Op::Reshape { shape } => Ok(self.reshape(node, shape)),
            Op::Transpose { permutation } => {
                Ok(self.values[node.inputs[0].0].transposed(permutation))
            }
            Op::MatMul => Ok(self.mat_mul(node)),
            Op::LayerNormalization {
                scale,
                shift,
                epsilon,
            } => self.layer_normalization(node, [scale, shift], *epsilon),
            Op::Reduce {
                kind,
                axes,
                keep_dims,
            } => Ok(self.reduce(node, *kind, axes, *keep_dims)),
            Op::Gather { axis, indices } => {
                let x = self.input(node, 0, Placed::natural_order);
                let order = x.natural_order();
                let name = format!("{}/indices", node.name);
                let indices = self.builder.int_list(&name, &ints(indices));
                let at = ints(&[position(&order, *axis)])[0];
                let axis = vec![("axis", Attribute::Int(at))];
                let y = self.push(node, "Gather", &[&x.name, &indices], axis);
                Ok(Placed::ordered(y, &node.shape, &order))
            }
            Op::Constant { tensor } => {
                let name = self.constant_value(node, tensor)?;
                Ok(Placed::row_major(name, &node.shape))
            }
            Op::Quantize => {
                let Some(map) = node.quantization else {
                    return Err(Self::refused(node, "it does not say into which bytes"));
                };
                let x = self.as_it_lies(node, 0);
                Ok(self.quantized(&node.name, &x, map))
            }
            Op::Dequantize => Ok(self.as_it_lies(node, 0)),
            Op::Resize { kind, size } => Ok(self.resize(node, *kind, *size)),
        }
    }

    /// A name for the function behind a node: that of the layer it stands for, if it has one.
    fn function_name(node: &Node, activation: Activation, stage: &Stage) -> String {
        let mut layers = node.layers.iter().rev();
        let layer = layers.find(|layer| layer.stage == *stage && layer.name != node.name);
        match layer {
            Some(layer) if node.layers.len() > 1 => layer.name.clone(),
            _ => format!("{}/{}", node.name, activation.name()),
        }
    }

    /// `post(activation(sum) + residual)`
    fn epilogue(&mut self, node: &Node, sum: &Placed, epilogue: Epilogue) -> Placed {
        let before = if epilogue.residual.is_some() {
            Stage::BeforeResidual
        } else {
            Stage::Output
        };
        let name = Self::function_name(node, epilogue.activation, &before);
        let y = self.activation(&name, sum, epilogue.activation);
        let Some(post) = epilogue.residual else {
            return y;
        };
        let order = y.natural_order();
        let y = self.builder.arrange(&y, &order);
        let residual = self.input(node, node.inputs.len() - 1, |_| order.clone());
        let stage = if post == Activation::Linear {
            Stage::Output
        } else {
            Stage::BeforePostActivation
        };
        let layers = node.layers.iter().rev();
        let mut layers = layers.filter(|layer| layer.stage == stage && layer.name != node.name);
        let name = layers.next().map(|layer| layer.name.clone());
        let name = name.unwrap_or_else(|| format!("{}/add", node.name));
        // The residual first: an importer that follows the inputs then computes it first, too.
        let sum = self
            .builder
            .push(&name, "Add", &[&residual.name, &y.name], vec![]);
        let sum = Placed::ordered(sum, &node.shape, &order);
        let name = Self::function_name(node, post, &Stage::Output);
        self.activation(&name, &sum, post)
    }

    fn conv(&mut self, node: &'g Node, conv: &'g Conv2d) -> Result<Placed, ExportError> {
        let x = self.image(node, 0);
        let channels = self.shape_of(node, 0).channels();
        let [kh, kw] = conv.window.kernel;
        let groups = conv.groups.max(1);
        let depth = channels / groups;
        let matrix = self.matrix(
            &conv.kernel,
            [groups, kh * kw * depth, conv.filters / groups],
        );
        // OIHW from rows of taps and then input channels.
        let dims = [conv.filters, depth, kh, kw];
        let taps = kh * kw;
        let index = move |i: usize| {
            let (rest, tap) = (i / taps, i % taps);
            let (filter, channel) = (rest / depth, rest % depth);
            matrix.at(tap * depth + channel, filter)
        };
        let weight = self.kernel(
            node,
            &conv.kernel,
            ("OIHW", &dims, 0),
            (matrix.stored_len(), Box::new(index)),
        )?;
        let bias = self.bias(
            node,
            &conv.kernel,
            conv.bias.as_ref(),
            (conv.filters, matrix.k),
            &|row, o| matrix.at(row, o),
        )?;
        let mut attributes = window_attributes(&conv.window, true);
        attributes.push(("group", Attribute::Int(ints(&[groups])[0])));
        let inputs: Vec<&str> = [x.name.as_str(), &weight]
            .into_iter()
            .chain(bias.as_deref())
            .collect();
        let y = self.push(node, "Conv", &inputs, attributes);
        let y = Placed::ordered(y, &node.shape, &IMAGE);
        Ok(self.epilogue(node, &y, conv.epilogue))
    }

    fn depthwise(
        &mut self,
        node: &'g Node,
        conv: &'g DepthwiseConv2d,
    ) -> Result<Placed, ExportError> {
        let x = self.image(node, 0);
        let channels = self.shape_of(node, 0).channels();
        let [kh, kw] = conv.window.kernel;
        let taps = kh * kw;
        let n = channels * conv.multiplier;
        let width = self.row_width(&conv.kernel, n);
        // A filter for each output channel from rows of channels.
        let index = move |i: usize| (i % taps) * width + i / taps;
        let dims = [n, 1, kh, kw];
        let weight = self.kernel(
            node,
            &conv.kernel,
            ("depthwise", &dims, 0),
            (taps * width, Box::new(index)),
        )?;
        let bias = self.bias(
            node,
            &conv.kernel,
            conv.bias.as_ref(),
            (n, taps),
            &|row, o| row * width + o,
        )?;
        let mut attributes = window_attributes(&conv.window, true);
        attributes.push(("group", Attribute::Int(ints(&[channels])[0])));
        let inputs: Vec<&str> = [x.name.as_str(), &weight]
            .into_iter()
            .chain(bias.as_deref())
            .collect();
        let y = self.push(node, "Conv", &inputs, attributes);
        let y = Placed::ordered(y, &node.shape, &IMAGE);
        let name = Self::function_name(node, conv.activation, &Stage::Output);
        Ok(self.activation(&name, &y, conv.activation))
    }

    /// A product over the last axis. If that axis lies in another order, as that of a flattened map
    /// does, the rows of the weights are put in this order.
    fn dense(&mut self, node: &'g Node, dense: &'g Dense) -> Result<Placed, ExportError> {
        let value = self.values[node.inputs[0].0].clone();
        let value = self.builder.last_axis_inside(&value);
        let x = self.real(node.inputs[0], &value);
        let k = self.shape_of(node, 0).channels();
        let n = dense.units;
        let rows = x.last_indices();
        let in_order = rows.iter().enumerate().all(|(i, &row)| i == row);
        let form = if in_order {
            "rows".to_owned()
        } else {
            format!("rows {:?}", x.parts())
        };
        let matrix = self.matrix(&dense.kernel, [1, k, n]);
        let index = move |i: usize| matrix.at(rows[i / n], i % n);
        let weight = self.kernel(
            node,
            &dense.kernel,
            (&form, &[k, n], 1),
            (matrix.stored_len(), Box::new(index)),
        )?;
        let bias = self.bias(
            node,
            &dense.kernel,
            dense.bias.as_ref(),
            (n, k),
            &|row, o| matrix.at(row, o),
        )?;
        let several = node.shape.rank() > 1;
        let mut name = x.name.clone();
        if several {
            let m = node.shape.len() / n.max(1);
            name = self
                .builder
                .reshape(&format!("{}/rows", node.name), &name, &[m, k]);
        }
        let inputs: Vec<&str> = [name.as_str(), &weight]
            .into_iter()
            .chain(bias.as_deref())
            .collect();
        let mut y = self.push(node, "Gemm", &inputs, vec![]);
        if several {
            let dims: Vec<usize> = std::iter::once(1)
                .chain(node.shape.dims().iter().copied())
                .collect();
            y = self
                .builder
                .reshape(&format!("{}/axes", node.name), &y, &dims);
        }
        let y = Placed::row_major(y, &node.shape);
        Ok(self.epilogue(node, &y, dense.epilogue))
    }

    /// `x * scale + shift`: one operator if one of them does nothing, or if a batch normalization
    /// says it.
    fn scale_shift(
        &mut self,
        node: &'g Node,
        scale: &'g str,
        shift: &'g str,
    ) -> Result<Placed, ExportError> {
        let mut x = self.as_it_lies(node, 0);
        let is_vector = node.shape.rank() == 1;
        if is_vector {
            x = self.builder.last_axis_inside(&x);
        }
        let n = node.shape.channels();
        let scale = self.channels(node, scale, n)?;
        let shift = self.channels(node, shift, n)?;
        let scales = scale.iter().any(|&v| v != 1.0);
        let shifts = shift.iter().any(|&v| v != 0.0);
        let last = node.shape.rank().checked_sub(1);
        let order = x.order();
        let channels_second = order.is_some_and(|order| order.first().copied() == last);
        if scales && shifts && (is_vector || channels_second) {
            // A flattened map has its elements in another order.
            let order: Vec<usize> = if is_vector {
                x.last_indices()
            } else {
                (0..n).collect()
            };
            let at = |list: &[f32], i: usize| list[if list.len() == n { i } else { 0 }];
            let full = |list: &[f32]| order.iter().map(|&i| at(list, i)).collect();
            let parts = [
                ("scale", full(&scale)),
                ("shift", full(&shift)),
                ("mean", vec![0.0; n]),
                ("variance", vec![1.0; n]),
            ];
            let parts = parts.map(|(part, list)| {
                self.builder
                    .floats(&format!("{}/{part}", node.name), &[n], &list)
            });
            let [scale, shift, mean, variance] = &parts;
            let epsilon = vec![("epsilon", Attribute::Float(0.0))];
            let inputs = [x.name.as_str(), scale, shift, mean, variance];
            let y = self.push(node, "BatchNormalization", &inputs, epsilon);
            return Ok(x.named(y));
        }
        let mut y = x;
        if scales {
            let name = if shifts {
                format!("{}/scaled", node.name)
            } else {
                node.name.clone()
            };
            let factor = self.broadcast(&format!("{}/scale", node.name), &y, &scale);
            let product = self.builder.push(&name, "Mul", &[&y.name, &factor], vec![]);
            y = y.named(product);
        }
        if shifts {
            let term = self.broadcast(&format!("{}/shift", node.name), &y, &shift);
            let sum = self.push(node, "Add", &[&y.name, &term], vec![]);
            y = y.named(sum);
        }
        Ok(y)
    }

    /// A list of one number or one a channel, as a constant that meets `value`'s elements.
    fn broadcast(&mut self, name: &str, value: &Placed, list: &[f32]) -> String {
        let (dims, elements) = value.broadcast(&[list.len()]);
        let values: Vec<f32> = elements.iter().map(|&i| list[i]).collect();
        if values.len() == 1 {
            return self.builder.scalar(name, values[0]);
        }
        self.builder.floats(name, &dims, &values)
    }

    fn prelu(&mut self, node: &'g Node, alpha: &'g str) -> Result<Placed, ExportError> {
        let x = self.as_it_lies(node, 0);
        let slopes = self.floats(node, alpha)?;
        let shape = self
            .graph
            .tensors
            .get(alpha)
            .map(|tensor| tensor.shape().dims());
        let (dims, elements) = x.broadcast(shape.unwrap_or(&[1]));
        let slopes: Vec<f32> = elements.iter().map(|&i| slopes[i]).collect();
        let slope = self
            .builder
            .floats(&format!("{}/slope", node.name), &dims, &slopes);
        let y = self.push(node, "PRelu", &[&x.name, &slope], vec![]);
        Ok(x.named(y))
    }

    fn softmax(&mut self, node: &Node, axis: Option<usize>) -> Placed {
        let x = self.input(node, 0, Placed::natural_order);
        let order = x.natural_order();
        let axis = axis.unwrap_or_else(|| node.shape.rank().saturating_sub(1));
        let at = ints(&[position(&order, axis)])[0];
        let y = self.push(
            node,
            "Softmax",
            &[&x.name],
            vec![("axis", Attribute::Int(at))],
        );
        Placed::ordered(y, &node.shape, &order)
    }

    fn binary(&mut self, node: &Node, kind: BinaryOp) -> Placed {
        let op = match kind {
            BinaryOp::Add => "Add",
            BinaryOp::Sub => "Sub",
            BinaryOp::Mul => "Mul",
            BinaryOp::Div => "Div",
            BinaryOp::Max => "Max",
            BinaryOp::Min => "Min",
        };
        let sides = [0, 1].map(|i| self.values[node.inputs[i].0].clone());
        let [a, b] = &sides;
        if a.lies_as(b) {
            let [a, b] = [0, 1].map(|i| self.as_it_lies(node, i));
            let y = self.push(node, op, &[&a.name, &b.name], vec![]);
            return a.named(y);
        }
        let rank = node.shape.rank();
        let [a, b] = [a.with_rank(rank), b.with_rank(rank)];
        // The side that is not stretched leads.
        let order = match (a.shape == node.shape, b.shape == node.shape) {
            (true, true) if a.order().is_none() => b.natural_order(),
            (true, _) => a.natural_order(),
            (_, true) => b.natural_order(),
            _ if rank == 3 => IMAGE.to_vec(),
            _ => row_major(rank),
        };
        let names = [(0, a), (1, b)].map(|(i, side)| {
            let side = self.builder.arrange(&side, &order);
            self.real(node.inputs[i], &side).name
        });
        let y = self.push(node, op, &[&names[0], &names[1]], vec![]);
        Placed::ordered(y, &node.shape, &order)
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Placed {
        let orders = node
            .inputs
            .iter()
            .map(|id| self.values[id.0].natural_order());
        // A map decides for vectors of one pixel.
        let order = orders
            .clone()
            .find(|order| *order == IMAGE)
            .or_else(|| orders.clone().next());
        let order = order.unwrap_or_else(|| row_major(node.shape.rank()));
        let names: Vec<String> = (0..node.inputs.len())
            .map(|i| self.input(node, i, |_| order.clone()).name)
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let at = ints(&[position(&order, axis)])[0];
        let y = self.push(node, "Concat", &names, vec![("axis", Attribute::Int(at))]);
        Placed::ordered(y, &node.shape, &order)
    }

    fn pool(
        &mut self,
        node: &Node,
        kind: PoolKind,
        window: &Window,
    ) -> Result<Placed, ExportError> {
        let p = window.padding;
        let span = |axis: usize| (window.kernel[axis] - 1) * window.dilations[axis] + 1;
        if p.top.max(p.bottom) >= span(0) || p.left.max(p.right) >= span(1) {
            return Err(Self::refused(node, "its padding is as large as its window"));
        }
        let (op, dilations) = match kind {
            PoolKind::Max => ("MaxPool", true),
            PoolKind::Average if window.dilations != [1, 1] => {
                return Err(Self::refused(
                    node,
                    "opset 17 has no average pooling with dilations",
                ));
            }
            PoolKind::Average => ("AveragePool", false),
        };
        let x = self.image(node, 0);
        let y = self.push(node, op, &[&x.name], window_attributes(window, dilations));
        Ok(Placed::ordered(y, &node.shape, &IMAGE))
    }

    fn global_pool(&mut self, node: &Node, kind: PoolKind, keep_dims: bool) -> Placed {
        let x = self.image(node, 0);
        if keep_dims {
            let op = match kind {
                PoolKind::Max => "GlobalMaxPool",
                PoolKind::Average => "GlobalAveragePool",
            };
            let y = self.push(node, op, &[&x.name], vec![]);
            return Placed::ordered(y, &node.shape, &IMAGE);
        }
        let op = match kind {
            PoolKind::Max => "ReduceMax",
            PoolKind::Average => "ReduceMean",
        };
        let attributes = vec![
            ("axes", Attribute::Ints(vec![2, 3])),
            ("keepdims", Attribute::Int(0)),
        ];
        let y = self.push(node, op, &[&x.name], attributes);
        Placed::row_major(y, &node.shape)
    }

    fn pad(&mut self, node: &Node, padding: Padding) -> Placed {
        let x = self.input(node, 0, Placed::natural_order);
        let order = x.natural_order();
        let mut pads = vec![0; 2 * (order.len() + 1)];
        let half = pads.len() / 2;
        for (axis, before, after) in [
            (0, padding.top, padding.bottom),
            (1, padding.left, padding.right),
        ] {
            let at = position(&order, axis);
            pads[at] = before;
            pads[half + at] = after;
        }
        let pads = self
            .builder
            .int_list(&format!("{}/pads", node.name), &ints(&pads));
        let y = self.push(node, "Pad", &[&x.name, &pads], vec![]);
        Placed::ordered(y, &node.shape, &order)
    }

    /// Of each axis the elements from a start to an end by a step.
    fn sliced(&mut self, node: &Node, parts: &[(usize, usize, usize, usize)]) -> Placed {
        let x = self.input(node, 0, Placed::natural_order);
        let order = x.natural_order();
        let mut lists = [const { Vec::new() }; 4];
        for &(axis, start, end, step) in parts {
            if (start, end, step) != (0, self.shape_of(node, 0).dims()[axis], 1) {
                let numbers = [start, end, position(&order, axis), step];
                for (list, number) in lists.iter_mut().zip(numbers) {
                    list.push(number);
                }
            }
        }
        if lists[0].is_empty() {
            return x;
        }
        let names = ["starts", "ends", "axes", "steps"];
        let lists = [0, 1, 2, 3].map(|i| {
            self.builder
                .int_list(&format!("{}/{}", node.name, names[i]), &ints(&lists[i]))
        });
        let [starts, ends, axes, steps] = &lists;
        let y = self.push(node, "Slice", &[&x.name, starts, ends, axes, steps], vec![]);
        Placed::ordered(y, &node.shape, &order)
    }

    fn reshape(&mut self, node: &Node, shape: &Shape) -> Placed {
        let x = self.values[node.inputs[0].0].clone();
        if let Some(reshaped) = x.reshaped(shape) {
            let needs_no_move = reshaped.parts_of(&reshaped.natural_order()) == reshaped.parts();
            // A vector waits for its reader, which may take it as it lies.
            if needs_no_move || shape.rank() == 1 {
                return reshaped;
            }
            // The channels of a shuffle: moved once, for all readers.
            let order = reshaped.natural_order();
            return self.builder.arrange(&reshaped, &order);
        }
        let x = self.builder.arrange(&x, &row_major(x.shape.rank()));
        let dims: Vec<usize> = std::iter::once(1)
            .chain(shape.dims().iter().copied())
            .collect();
        let name = self.builder.reshape(&node.name, &x.name, &dims);
        Placed::row_major(name, shape)
    }

    fn mat_mul(&mut self, node: &Node) -> Placed {
        let rank = node.shape.rank();
        let names = [0, 1].map(|i| {
            let side = self.values[node.inputs[i].0].with_rank(rank);
            let side = self.builder.arrange(&side, &row_major(rank));
            self.real(node.inputs[i], &side).name
        });
        let y = self.push(node, "MatMul", &[&names[0], &names[1]], vec![]);
        Placed::row_major(y, &node.shape)
    }

    fn layer_normalization(
        &mut self,
        node: &'g Node,
        keys: [&'g str; 2],
        epsilon: f32,
    ) -> Result<Placed, ExportError> {
        let last = node.shape.rank().saturating_sub(1);
        let x = self.input(node, 0, |value| {
            let order = value.natural_order();
            if order.last() == Some(&last) {
                order
            } else {
                row_major(last + 1)
            }
        });
        let n = node.shape.channels();
        let mut names = Vec::new();
        for (key, part) in keys.into_iter().zip(["scale", "shift"]) {
            let list = self.channels(node, key, n)?;
            let full = if list.len() == n {
                list
            } else {
                vec![list[0]; n]
            };
            names.push(
                self.builder
                    .floats(&format!("{}/{part}", node.name), &[n], &full),
            );
        }
        let attributes = vec![
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(epsilon)),
        ];
        let y = self.push(
            node,
            "LayerNormalization",
            &[&x.name, &names[0], &names[1]],
            attributes,
        );
        Ok(x.named(y))
    }

    fn reduce(&mut self, node: &Node, kind: ReduceKind, axes: &[usize], keep_dims: bool) -> Placed {
        let x = self.input(node, 0, Placed::natural_order);
        let order = x.natural_order();
        let mut over: Vec<usize> = axes.iter().map(|&axis| position(&order, axis)).collect();
        over.sort_unstable();
        let keep = ("keepdims", Attribute::Int(i64::from(keep_dims)));
        let (op, by_input) = match kind {
            ReduceKind::Mean => ("ReduceMean", false),
            ReduceKind::Sum => ("ReduceSum", true),
            ReduceKind::Max => ("ReduceMax", false),
            ReduceKind::L2 => ("ReduceL2", false),
        };
        let y = if by_input {
            let axes = self
                .builder
                .int_list(&format!("{}/axes", node.name), &ints(&over));
            self.push(node, op, &[&x.name, &axes], vec![keep])
        } else {
            let axes = ("axes", Attribute::Ints(ints(&over)));
            self.push(node, op, &[&x.name], vec![axes, keep])
        };
        let left: Vec<usize> = order
            .iter()
            .copied()
            .filter(|a| keep_dims || !axes.contains(a))
            .collect();
        if keep_dims {
            return Placed::ordered(y, &node.shape, &left);
        }
        // The axes that are left are numbered anew.
        let gone_before = |axis: usize| axes.iter().filter(|&&a| a < axis).count();
        let order: Vec<usize> = left.iter().map(|&axis| axis - gone_before(axis)).collect();
        Placed::ordered(y, &node.shape, &order)
    }

    fn resize(&mut self, node: &Node, kind: ResizeKind, [rows, columns]: [usize; 2]) -> Placed {
        let x = self.image(node, 0);
        let sizes = ints(&[1, node.shape.channels(), rows, columns]);
        let sizes = self
            .builder
            .int_list(&format!("{}/sizes", node.name), &sizes);
        let whole = {
            let dims = self.shape_of(node, 0).dims();
            rows.is_multiple_of(dims[0]) && columns.is_multiple_of(dims[1])
        };
        let text = Attribute::Text;
        let attributes = match kind {
            ResizeKind::Bilinear => vec![
                ("mode", text("linear")),
                ("coordinate_transformation_mode", text("half_pixel")),
            ],
            // Each pixel some times over: the common way to say it.
            ResizeKind::Nearest if whole => vec![
                ("mode", text("nearest")),
                ("coordinate_transformation_mode", text("asymmetric")),
                ("nearest_mode", text("floor")),
            ],
            // `floor((i + 0.5) * in / out)` is what is nearest to it less a half, halves upwards.
            ResizeKind::Nearest => vec![
                ("mode", text("nearest")),
                ("coordinate_transformation_mode", text("half_pixel")),
                ("nearest_mode", text("round_prefer_ceil")),
            ],
        };
        let y = self.push(node, "Resize", &[&x.name, "", "", &sizes], attributes);
        Placed::ordered(y, &node.shape, &IMAGE)
    }

    fn constant_value(&mut self, node: &'g Node, key: &'g str) -> Result<String, ExportError> {
        let values = self.floats(node, key)?;
        let dims: Vec<usize> = std::iter::once(1)
            .chain(node.shape.dims().iter().copied())
            .collect();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(self
            .builder
            .constant(&node.name, Element::F32, &dims, bytes))
    }
}
