//! From a step on bytes to the kernel that computes it.

use super::lower::{Boxed, LowerError, arithmetic, boxed, pooling, sides};
use super::plan::Step;
use crate::activation::Activation;
use crate::graph::{Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, Kernel, Node, Op, Window};
use crate::kernels::binary_i8::{BinaryI8, BinaryI8Params};
use crate::kernels::concat_i8::ConcatI8;
use crate::kernels::conv_i8::{ConvI8, ConvI8Output, ConvI8Params};
use crate::kernels::convert_i8::{DequantizeI8, QuantizeI8};
use crate::kernels::depthwise_i8::{DepthwiseI8, DepthwiseI8Params};
use crate::kernels::global_pool_i8::{GlobalPoolI8, GlobalPoolI8Params, Output};
use crate::kernels::pad_i8::PadI8;
use crate::kernels::pool_i8::{PoolI8, PoolI8Params};
use crate::kernels::table_i8::{Table, TableI8};
use crate::kernels::{Isa, SlidingWindow};
use crate::quantization::Quantization;
use crate::tensor::{Shape, Tensor};

/// The kernel of a step that reads or makes bytes.
pub(super) fn prepare(graph: &Graph, step: &Step, isa: Isa) -> Boxed {
    // Where a table follows, the node in front of it says what is computed.
    let computed = graph.node(step.sum.unwrap_or(step.node));
    let context = Context {
        graph,
        step,
        isa,
        node: computed,
    };
    match &computed.op {
        Op::Conv2d(conv) => context.conv(conv),
        Op::Dense(dense) => context.dense(dense),
        Op::DepthwiseConv2d(conv) => context.depthwise(conv),
        Op::Quantize => boxed(QuantizeI8::prepare(
            isa,
            context.input(0).len(),
            context.made()?,
        )),
        Op::Dequantize => boxed(DequantizeI8::prepare(
            isa,
            context.input(0).len(),
            context.stored(0)?,
        )),
        Op::Activation(activation) => boxed(TableI8::prepare(
            isa,
            *activation,
            context.input(0).len(),
            context.stored(0)?,
            context.made()?,
        )),
        Op::Binary { kind, activation } => boxed(BinaryI8::prepare(
            isa,
            &BinaryI8Params {
                arithmetic: arithmetic(*kind),
                a: context.input(0).clone(),
                b: context.input(1).clone(),
                a_quantization: context.stored(0)?,
                b_quantization: context.stored(1)?,
                output: context.made()?,
                activation: *activation,
            },
        )),
        Op::Concat { axis } => {
            let inputs = 0..computed.inputs.len();
            let inputs: Result<Vec<_>, LowerError> = inputs
                .map(|i| Ok((context.input(i).clone(), context.stored(i)?)))
                .collect();
            boxed(ConcatI8::prepare(isa, &inputs?, *axis, context.made()?))
        }
        Op::Pool2d { kind, window } => boxed(PoolI8::prepare(
            isa,
            &PoolI8Params {
                pooling: pooling(*kind),
                window: context.sliding(window)?,
                input: context.stored(0)?,
                output: context.made()?,
            },
        )),
        Op::GlobalPool { kind, .. } => boxed(GlobalPoolI8::prepare(
            isa,
            &GlobalPoolI8Params {
                pooling: pooling(*kind),
                shape: context.image()?,
                input: context.stored(0)?,
                output: computed.quantization.map_or(Output::F32, Output::U8),
            },
        )),
        Op::Pad(padding) => boxed(PadI8::prepare(
            isa,
            context.image()?,
            sides(*padding),
            context.stored(0)?.zero_point,
        )),
        _ => Err(LowerError::NoIntegerKernel),
    }
}

struct Context<'a> {
    graph: &'a Graph,
    step: &'a Step,
    isa: Isa,
    node: &'a Node,
}

impl<'a> Context<'a> {
    /// Shape of an input as the node sees it.
    fn input(&self, i: usize) -> &'a Shape {
        &self.graph.node(self.node.inputs[i]).shape
    }

    fn image(&self) -> Result<[usize; 3], LowerError> {
        let shape = self.input(0);
        shape
            .hwc()
            .ok_or_else(|| LowerError::NotImage(shape.clone()))
    }

    /// How an input that must be bytes is stored.
    fn stored(&self, i: usize) -> Result<Quantization, LowerError> {
        let input = self.graph.node(self.node.inputs[i]);
        input.quantization.ok_or(LowerError::NoIntegerKernel)
    }

    /// How the node's own bytes are stored.
    fn made(&self) -> Result<Quantization, LowerError> {
        self.node.quantization.ok_or(LowerError::NoIntegerKernel)
    }

    fn tensor(&self, key: &str) -> Result<Tensor, LowerError> {
        let tensor = self.graph.tensors.get(key).cloned();
        tensor.ok_or_else(|| LowerError::MissingTensor(key.to_owned()))
    }

    fn scale(&self, kernel: &Kernel) -> Result<Tensor, LowerError> {
        let key = kernel.scale.as_ref();
        self.tensor(key.ok_or_else(|| LowerError::NotPacked(kernel.tensor.clone()))?)
    }

    fn bias(&self, bias: Option<&String>) -> Result<Tensor, LowerError> {
        // Without a bias of the layer there still is the zero point's part.
        self.tensor(bias.ok_or(LowerError::NoIntegerKernel)?)
    }

    fn sliding(&self, window: &Window) -> Result<SlidingWindow, LowerError> {
        Ok(SlidingWindow {
            input: self.image()?,
            kernel: window.kernel,
            strides: window.strides,
            dilations: window.dilations,
            padding: sides(window.padding),
        })
    }

    /// The table that the step's activation looks bytes up in, if it has one.
    fn table(&self) -> Result<Option<Box<Table>>, LowerError> {
        if self.step.sum.is_none() {
            return Ok(None);
        }
        let last = self.graph.node(self.step.node);
        match (&last.op, self.node.quantization, last.quantization) {
            (Op::Activation(activation), Some(from), Some(to)) => {
                Ok(Some(Box::new(Table::of(*activation, from, to))))
            }
            _ => Err(LowerError::NoIntegerKernel),
        }
    }

    fn output(&self, epilogue: Epilogue) -> Result<ConvI8Output, LowerError> {
        let Some(output) = self.node.quantization else {
            return Ok(ConvI8Output::F32 {
                activation: epilogue.activation,
            });
        };
        let residual = match epilogue.residual {
            Some(post) => Some((self.stored(1)?, post)),
            None => None,
        };
        Ok(ConvI8Output::U8 {
            output,
            activation: epilogue.activation,
            residual,
            table: self.table()?,
        })
    }

    fn conv(&self, conv: &Conv2d) -> Boxed {
        let params = ConvI8Params {
            window: self.sliding(&conv.window)?,
            groups: conv.groups,
            filters: conv.filters,
            input: self.stored(0)?,
            weights: self.tensor(&conv.kernel.tensor)?,
            weight_scale: self.scale(&conv.kernel)?,
            bias: self.bias(conv.bias.as_ref())?,
            output: self.output(conv.epilogue)?,
        };
        boxed(ConvI8::prepare(self.isa, &params))
    }

    fn depthwise(&self, conv: &DepthwiseConv2d) -> Boxed {
        let input_activation = match self.step.relu_on_input {
            Some(_) => Activation::Relu,
            None => Activation::Linear,
        };
        let params = DepthwiseI8Params {
            window: self.sliding(&conv.window)?,
            weights: self.tensor(&conv.kernel.tensor)?,
            weight_scale: self.scale(&conv.kernel)?,
            bias: self.bias(conv.bias.as_ref())?,
            input: self.stored(0)?,
            input_activation,
            output: self.made()?,
            activation: conv.activation,
            table: self.table()?.map(|table| *table),
        };
        boxed(DepthwiseI8::prepare(self.isa, &params))
    }

    /// A dense layer is a 1x1 convolution of an image of one column.
    fn dense(&self, dense: &Dense) -> Boxed {
        let features = self.input(0).channels();
        let params = ConvI8Params {
            window: SlidingWindow {
                input: [self.input(0).len() / features, 1, features],
                kernel: [1, 1],
                strides: [1, 1],
                dilations: [1, 1],
                padding: [0; 4],
            },
            groups: 1,
            filters: dense.units,
            input: self.stored(0)?,
            weights: self.tensor(&dense.kernel.tensor)?,
            weight_scale: self.scale(&dense.kernel)?,
            bias: self.bias(dense.bias.as_ref())?,
            output: self.output(dense.epilogue)?,
        };
        boxed(ConvI8::prepare(self.isa, &params))
    }
}
