//! Parameters and multiply-adds of a graph: plain counts, however its weights are stored.

use super::{Conv2d, Dense, DepthwiseConv2d, Graph, NodeId, Op};

/// Counts for one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Numbers that training chose, without the zeros that packing adds. The two numbers a channel
    /// of a folded batch normalization count in the convolution's.
    pub parameters: u64,
    /// Multiply-adds of convolutions and matrix products for one photo; 0 for other ops. A
    /// padded position counts like any other, as usual.
    pub macs: u64,
    /// Weights of the kernel alone, without biases: the numbers that quantization stores in fewer
    /// bits.
    pub kernel_weights: u64,
    /// Channels of the kernel's output; each gets a scale when quantized.
    pub kernel_channels: u64,
    /// Biases of convolutions and matrix products.
    pub biases: u64,
}

impl Graph {
    /// Counts for the node `id`.
    #[must_use]
    pub fn stats(&self, id: NodeId) -> NodeStats {
        let node = self.node(id);
        let input = || node.inputs.first().map(|&input| &self.node(input).shape);
        // Packing pads channel vectors with zeros, which are not parameters.
        let stored = |key: &str| match self.tensors.get(key).map(|t| t.shape().len()) {
            None | Some(0) => 0,
            Some(1) => 1,
            Some(_) => node.shape.channels() as u64,
        };
        // For each output channel: weights of the kernel, and whether there is a bias.
        let (channels, weights_each, bias) = match &node.op {
            Op::Conv2d(Conv2d {
                window,
                groups,
                filters,
                bias,
                ..
            }) => {
                let channels_in =
                    input().map_or(0, crate::tensor::Shape::channels) / groups.max(&1);
                let taps = window.kernel[0] * window.kernel[1];
                (*filters, taps * channels_in, bias.is_some())
            }
            Op::DepthwiseConv2d(DepthwiseConv2d { window, bias, .. }) => (
                node.shape.channels(),
                window.kernel[0] * window.kernel[1],
                bias.is_some(),
            ),
            Op::Dense(Dense { units, bias, .. }) => (
                *units,
                input().map_or(0, crate::tensor::Shape::channels),
                bias.is_some(),
            ),
            Op::ScaleShift { scale, shift } | Op::LayerNormalization { scale, shift, .. } => {
                return NodeStats {
                    parameters: stored(scale) + stored(shift),
                    ..NodeStats::default()
                };
            }
            Op::MatMul => {
                let terms = input().map_or(0, crate::tensor::Shape::channels);
                return NodeStats {
                    macs: (node.shape.len() as u64).saturating_mul(terms as u64),
                    ..NodeStats::default()
                };
            }
            Op::PRelu { alpha: tensor } | Op::Constant { tensor } => {
                return NodeStats {
                    parameters: self
                        .tensors
                        .get(tensor)
                        .map_or(0, |t| t.shape().len() as u64),
                    ..NodeStats::default()
                };
            }
            _ => return NodeStats::default(),
        };
        let (channels, weights_each) = (channels as u64, weights_each as u64);
        let kernel_weights = channels * weights_each;
        let positions = node.shape.len() as u64 / channels.max(1);
        let biases = if bias { channels } else { 0 };
        NodeStats {
            parameters: kernel_weights + biases,
            macs: positions.saturating_mul(kernel_weights),
            kernel_weights,
            kernel_channels: channels,
            biases,
        }
    }

    /// Sums over all nodes.
    #[must_use]
    pub fn total_stats(&self) -> NodeStats {
        self.ids().fold(NodeStats::default(), |sum, id| {
            let node = self.stats(id);
            NodeStats {
                parameters: sum.parameters + node.parameters,
                // Of an untrusted file, which may claim anything.
                macs: sum.macs.saturating_add(node.macs),
                kernel_weights: sum.kernel_weights + node.kernel_weights,
                kernel_channels: sum.kernel_channels + node.kernel_channels,
                biases: sum.biases + node.biases,
            }
        })
    }
}

impl NodeStats {
    /// Bytes of the weights if every parameter took four.
    #[must_use]
    pub fn f32_bytes(self) -> u64 {
        self.parameters * 4
    }

    /// Bytes of the weights in half precision.
    #[must_use]
    pub fn f16_bytes(self) -> u64 {
        self.parameters * 2
    }

    /// Bytes of the weights with 8-bit kernels: a byte for each weight, an f32 scale and an i32
    /// bias for each channel, and the parameters of other ops in f32.
    #[must_use]
    pub fn i8_bytes(self) -> u64 {
        let others = self.parameters - self.kernel_weights - self.biases;
        self.kernel_weights + self.kernel_channels * 8 + others * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Epilogue, Kernel, Padding, PoolKind, Window};
    use crate::tensor::{Shape, Tensor};

    fn add_tensor(graph: &mut Graph, name: &str, dims: &[usize]) {
        let shape = Shape::new(dims);
        let tensor = Tensor::from_f32(shape.clone(), &vec![0.0; shape.len()]).unwrap();
        graph.tensors.insert(name.into(), tensor);
    }

    #[test]
    fn a_small_net_summed_by_hand() {
        let mut graph = Graph::new("g");
        add_tensor(&mut graph, "k", &[3, 3, 4, 6]);
        add_tensor(&mut graph, "b", &[6]);
        add_tensor(&mut graph, "dw", &[3, 3, 6]);
        add_tensor(&mut graph, "s", &[6]);
        add_tensor(&mut graph, "t", &[6]);
        add_tensor(&mut graph, "d", &[6, 7]);
        let window = |strides| Window {
            kernel: [3, 3],
            strides,
            dilations: [1, 1],
            padding: Padding {
                top: 1,
                left: 1,
                bottom: 1,
                right: 1,
            },
        };
        let x = graph.push_input("x", [10, 8, 8].into()).unwrap();
        let conv = graph
            .push(
                "conv",
                Op::Conv2d(Conv2d {
                    window: window([2, 2]),
                    groups: 2,
                    filters: 6,
                    kernel: Kernel::plain("k"),
                    bias: Some("b".into()),
                    epilogue: Epilogue::default(),
                }),
                &[x],
            )
            .unwrap();
        let depthwise = graph
            .push(
                "depthwise",
                Op::DepthwiseConv2d(DepthwiseConv2d {
                    window: window([1, 1]),
                    multiplier: 1,
                    kernel: Kernel::plain("dw"),
                    bias: None,
                    activation: Default::default(),
                }),
                &[conv],
            )
            .unwrap();
        let scaled = graph
            .push(
                "scale",
                Op::ScaleShift {
                    scale: "s".into(),
                    shift: "t".into(),
                },
                &[depthwise],
            )
            .unwrap();
        let pool = Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims: false,
        };
        let pooled = graph.push("pool", pool, &[scaled]).unwrap();
        let dense = Op::Dense(Dense {
            units: 7,
            kernel: Kernel::plain("d"),
            bias: None,
            epilogue: Epilogue::default(),
        });
        let dense = graph.push("dense", dense, &[pooled]).unwrap();

        // conv: 6 filters of 3*3*4 at 5x4 positions; depthwise: 6 of 3*3; dense: 6*7.
        assert_eq!(graph.stats(conv).parameters, 6 * 36 + 6);
        assert_eq!(graph.stats(conv).macs, 20 * 216);
        assert_eq!(graph.stats(depthwise).macs, 20 * 54);
        assert_eq!(graph.stats(scaled).parameters, 12);
        assert_eq!(graph.stats(dense).macs, 42);
        let total = graph.total_stats();
        assert_eq!(total.parameters, 222 + 54 + 12 + 42);
        assert_eq!(total.macs, 4320 + 1080 + 42);
        assert_eq!(total.f32_bytes(), 330 * 4);
        // 312 kernel weights, 19 channels of 8 bytes, and 12 numbers of the scale in f32.
        assert_eq!(total.i8_bytes(), 312 + 19 * 8 + 12 * 4);
    }
}
