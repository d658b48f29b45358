//! The trained network as an artifact: the same graph that `import` would make from a Keras model
//! of these layers, through the same passes.

use std::path::Path;

use anyhow::{Context, Result};
use dermal::activation::Activation;
use dermal::artifact::{
    ChannelOrder, Filter, Head, InputKind, InputSpec, Manifest, Model, Preprocessing, Provenance,
    Resize,
};
use dermal::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, Kernel, NodeId, Op, Padding,
    PoolKind, SourceLayer, Stage, Window, pass,
};
use dermal::tensor::Tensor;

use crate::net::{BLOCKS, INPUT, Net, STEM, TOP, squeezed};
use crate::ops::{EPSILON, same};
use crate::synthetic::CLASSES;
use crate::{MEAN, SCALE};

/// The model as it is stored. `checkpoint` is the file with the weights.
pub(crate) fn model(net: &Net, checkpoint: &Path, options: Vec<String>) -> Result<Model> {
    let graph = pass::optimize(graph(net)?)?;
    let preprocessing = Preprocessing {
        preset: None,
        resize: Resize::Stretch,
        filter: Filter::PillowBilinear,
        scale: SCALE,
        mean: [MEAN; 3],
        std: [1.0; 3],
        channels: ChannelOrder::Rgb,
        background: None,
    };
    let name = checkpoint.file_name().context("the checkpoint is a file")?;
    let manifest = Manifest::new(
        vec![InputSpec {
            name: "image".to_owned(),
            kind: InputKind::Image { preprocessing },
        }],
        CLASSES.map(str::to_owned).to_vec(),
        Head::Softmax,
        Provenance {
            source_file: name.to_string_lossy().into_owned(),
            source_sha256: dermal::file::sha256_of_file(checkpoint, &mut |_, _| {})?,
            source_format: "examples/train_demo, synthetic pictures, candle 0.11".to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            options,
            warnings: Vec::new(),
        },
    );
    Ok(Model { graph, manifest })
}

/// Layer by layer, nothing folded. Names are those of Keras' EfficientNet.
fn graph(net: &Net) -> Result<Graph> {
    let mut builder = Builder {
        net,
        graph: Graph::new("dermal-demo"),
    };
    let input = builder
        .graph
        .push_input("image", [INPUT, INPUT, 3].into())?;
    let mut x = builder.conv("stem_conv", "stem", input, window(3, 2, INPUT), STEM)?;
    x = builder.batch_norm("stem_bn", "stem", x)?;
    x = builder.silu("stem_activation", x)?;
    for (i, b) in BLOCKS.iter().enumerate() {
        let name = format!("block{}", i + 1);
        let entry = x;
        if b.expand > 1 {
            let filters = builder.channels(x) * b.expand;
            let part = format!("{name}_expand");
            x = builder.conv(&format!("{part}_conv"), &part, x, window(1, 1, 1), filters)?;
            x = builder.batch_norm(&format!("{part}_bn"), &part, x)?;
            x = builder.silu(&format!("{part}_activation"), x)?;
        }
        let part = format!("{name}_dw");
        x = builder.depthwise(&format!("{name}_dwconv"), &part, x, b.kernel, b.stride)?;
        x = builder.batch_norm(&format!("{name}_bn"), &part, x)?;
        x = builder.silu(&format!("{name}_activation"), x)?;
        x = builder.squeeze_and_excite(&name, x)?;
        let part = format!("{name}_project");
        x = builder.conv(
            &format!("{part}_conv"),
            &part,
            x,
            window(1, 1, 1),
            b.filters,
        )?;
        x = builder.batch_norm(&format!("{part}_bn"), &part, x)?;
        if b.stride == 1 && builder.graph.node(x).shape == builder.graph.node(entry).shape {
            x = builder.binary(&format!("{name}_add"), "Add", BinaryOp::Add, [x, entry])?;
        }
    }
    x = builder.conv("top_conv", "top", x, window(1, 1, 1), TOP)?;
    x = builder.batch_norm("top_bn", "top", x)?;
    x = builder.silu("top_activation", x)?;
    x = builder.global_pool("avg_pool", x, false)?;
    builder.dense("predictions", x, CLASSES.len())?;
    Ok(builder.graph)
}

/// A square window padded like Keras' `same` over a square input of `len` rows.
fn window(k: usize, stride: usize, len: usize) -> Window {
    let (before, out) = same(len, k, stride);
    let after = ((out - 1) * stride + k).saturating_sub(len + before);
    Window {
        kernel: [k, k],
        strides: [stride, stride],
        dilations: [1, 1],
        padding: Padding {
            top: before,
            left: before,
            bottom: after,
            right: after,
        },
    }
}

struct Builder<'a> {
    net: &'a Net,
    graph: Graph,
}

impl Builder<'_> {
    fn channels(&self, id: NodeId) -> usize {
        self.graph.node(id).shape.channels()
    }

    fn push(&mut self, name: &str, class: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId> {
        let id = self.graph.push(name, op, inputs)?;
        self.graph.layers_mut(id).push(SourceLayer {
            name: name.to_owned(),
            class: class.to_owned(),
            stage: Stage::Output,
        });
        Ok(id)
    }

    /// Stores a trained weight under `key` with another shape of the same order.
    fn weight(&mut self, key: &str, weight: &str, shape: &[usize]) -> Result<Kernel> {
        let values = self.net.weight(weight)?.flatten_all()?.to_vec1::<f32>()?;
        self.store(key, shape, &values)?;
        Ok(Kernel::plain(key))
    }

    fn store(&mut self, key: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        let tensor = Tensor::from_f32(dermal::tensor::Shape::new(shape), values)?;
        self.graph.tensors.insert(key.to_owned(), tensor);
        Ok(())
    }

    fn conv(
        &mut self,
        name: &str,
        weights: &str,
        x: NodeId,
        window: Window,
        filters: usize,
    ) -> Result<NodeId> {
        let [kh, kw] = window.kernel;
        let shape = [kh, kw, self.channels(x), filters];
        let kernel = self.weight(
            &format!("{name}/kernel"),
            &format!("{weights}_kernel"),
            &shape,
        )?;
        let conv = Conv2d {
            window,
            groups: 1,
            filters,
            kernel,
            bias: None,
            epilogue: Epilogue::default(),
        };
        self.push(name, "Conv2D", Op::Conv2d(conv), &[x])
    }

    fn depthwise(
        &mut self,
        name: &str,
        weights: &str,
        x: NodeId,
        k: usize,
        stride: usize,
    ) -> Result<NodeId> {
        let rows = self.graph.node(x).shape.dims()[0];
        let shape = [k, k, self.channels(x)];
        let kernel = self.weight(
            &format!("{name}/kernel"),
            &format!("{weights}_kernel"),
            &shape,
        )?;
        let conv = DepthwiseConv2d {
            window: window(k, stride, rows),
            multiplier: 1,
            kernel,
            bias: None,
            activation: Activation::Linear,
        };
        self.push(name, "DepthwiseConv2D", Op::DepthwiseConv2d(conv), &[x])
    }

    fn batch_norm(&mut self, name: &str, weights: &str, x: NodeId) -> Result<NodeId> {
        let gamma = self
            .net
            .weight(&format!("{weights}_gamma"))?
            .to_vec1::<f32>()?;
        let beta = self
            .net
            .weight(&format!("{weights}_beta"))?
            .to_vec1::<f32>()?;
        let moments = self.net.running(weights)?;
        let (mut scale, mut shift) = (Vec::new(), Vec::new());
        for (i, &gamma) in gamma.iter().enumerate() {
            let deviation = (f64::from(moments.variance[i]) + f64::from(EPSILON)).sqrt();
            let factor = f64::from(gamma) / deviation;
            scale.push(factor as f32);
            shift.push((f64::from(beta[i]) - f64::from(moments.mean[i]) * factor) as f32);
        }
        let keys = [format!("{name}/scale"), format!("{name}/shift")];
        self.store(&keys[0], &[scale.len()], &scale)?;
        self.store(&keys[1], &[shift.len()], &shift)?;
        let [scale, shift] = keys;
        let op = Op::ScaleShift { scale, shift };
        self.push(name, "BatchNormalization", op, &[x])
    }

    fn silu(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.push(name, "Activation", Op::Activation(Activation::Silu), &[x])
    }

    fn binary(
        &mut self,
        name: &str,
        class: &str,
        kind: BinaryOp,
        inputs: [NodeId; 2],
    ) -> Result<NodeId> {
        let activation = Activation::Linear;
        self.push(name, class, Op::Binary { kind, activation }, &inputs)
    }

    fn global_pool(&mut self, name: &str, x: NodeId, keep_dims: bool) -> Result<NodeId> {
        let kind = PoolKind::Average;
        let op = Op::GlobalPool { kind, keep_dims };
        self.push(name, "GlobalAveragePooling2D", op, &[x])
    }

    fn squeeze_and_excite(&mut self, block: &str, x: NodeId) -> Result<NodeId> {
        let channels = self.channels(x);
        let squeeze = self.global_pool(&format!("{block}_se_squeeze"), x, true)?;
        let reduce = squeezed(channels);
        let name = format!("{block}_se_reduce");
        let gate = self.gate_conv(&name, squeeze, reduce, Activation::Silu)?;
        let name = format!("{block}_se_expand");
        let gate = self.gate_conv(&name, gate, channels, Activation::Sigmoid)?;
        let name = format!("{block}_se_excite");
        self.binary(&name, "Multiply", BinaryOp::Mul, [x, gate])
    }

    /// A 1x1 convolution of a single pixel with bias and activation, as Keras builds the two
    /// dense layers of squeeze-and-excite.
    fn gate_conv(
        &mut self,
        name: &str,
        x: NodeId,
        filters: usize,
        activation: Activation,
    ) -> Result<NodeId> {
        let shape = [1, 1, self.channels(x), filters];
        let kernel = self.weight(&format!("{name}/kernel"), &format!("{name}_kernel"), &shape)?;
        let bias = self.weight(&format!("{name}/bias"), &format!("{name}_bias"), &[filters])?;
        let conv = Conv2d {
            window: window(1, 1, 1),
            groups: 1,
            filters,
            kernel,
            bias: Some(bias.tensor),
            epilogue: Epilogue {
                activation,
                residual: None,
            },
        };
        self.push(name, "Conv2D", Op::Conv2d(conv), &[x])
    }

    fn dense(&mut self, name: &str, x: NodeId, units: usize) -> Result<NodeId> {
        let shape = [self.channels(x), units];
        let kernel = self.weight(&format!("{name}/kernel"), &format!("{name}_kernel"), &shape)?;
        let bias = self.weight(&format!("{name}/bias"), &format!("{name}_bias"), &[units])?;
        let dense = Dense {
            units,
            kernel,
            bias: Some(bias.tensor),
            epilogue: Epilogue::default(),
        };
        self.push(name, "Dense", Op::Dense(dense), &[x])
    }
}
