//! The operators of the graph and their attributes.
//!
//! Names follow ONNX if it has the op; attributes are resolved (explicit padding, not `same`).
//! Layouts: activations `HWC` (one image), convolution kernels `HWIO`, depthwise kernels `HWC`
//! (`[kh, kw, c_in * multiplier]`, output channel `c * multiplier + m`, as Keras orders them),
//! dense kernels `[in, out]`. After `pass::pack` kernels are packed; see [`KernelLayout`].

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::tensor::Shape;

/// Zero rows and columns added around an `HWC` value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// Whether nothing is added.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// A sliding window over rows and columns, each pair `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between output elements.
    pub strides: [usize; 2],
    /// Distance between taps.
    pub dilations: [usize; 2],
    /// Padding around the input.
    pub padding: Padding,
}

impl Window {
    /// Output rows and columns for an input of `h x w`; `None` if no window fits.
    #[must_use]
    pub fn output(&self, h: usize, w: usize) -> Option<[usize; 2]> {
        let one = |len: usize, before: usize, after: usize, axis: usize| {
            let span = (self.kernel[axis].checked_sub(1)?)
                .checked_mul(self.dilations[axis])?
                .checked_add(1)?;
            let padded = len.checked_add(before)?.checked_add(after)?;
            padded
                .checked_sub(span)?
                .checked_div(self.strides[axis])?
                .checked_add(1)
        };
        let p = self.padding;
        Some([one(h, p.top, p.bottom, 0)?, one(w, p.left, p.right, 1)?])
    }
}

/// How a kernel tensor is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelLayout {
    /// As the op documents (`HWIO`, `HWC`, `[in, out]`).
    #[default]
    Plain,
    /// Matrix kernels: `[groups * ceil(n / 16), k, 16]`, where `k` runs over taps then input
    /// channels of the group and `n` is the group's output channels. Depthwise kernels: `[kh, kw, c
    /// rounded up to 16]`. Padded with zeros. All instruction sets use this layout.
    Panel16,
    /// 8-bit integers. Matrix kernels: `[groups * ceil(n / 16), ceil(k / 4), 16, 4]`; the four
    /// weights that a channel multiplies with four neighbouring inputs lie side by side. Depthwise
    /// kernels: as `Panel16`.
    Panel16x4,
}

/// A weight matrix or depthwise kernel: a tensor of the graph and how it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Key in `Graph::tensors`.
    pub tensor: String,
    /// Its storage.
    #[serde(default)]
    pub layout: KernelLayout,
    /// For i8 weights: key of their f32 scales, one for each output channel, once packed padded with
    /// zeros to a multiple of 16. A weight is its scale times the stored integer. In the layout for integer
    /// inputs (`Panel16x4`) the bias is then i32, in units of input scale times weight scale, minus
    /// the input's zero point times the channel's sum of weights. In `Panel16` the bias stays f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
}

impl Kernel {
    /// A kernel in the plain layout.
    #[must_use]
    pub fn plain(tensor: impl Into<String>) -> Self {
        Self {
            tensor: tensor.into(),
            layout: KernelLayout::Plain,
            scale: None,
        }
    }
}

/// The function that a weighted op applies to its sum before it is stored: `post(activation(sum +
/// bias) + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epilogue {
    /// Applied to the biased sum.
    #[serde(default)]
    pub activation: Activation,
    /// If present, the node's last input is added, then this activation is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Activation>,
}

/// Attributes of [`Op::Conv2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Where the taps lie.
    pub window: Window,
    /// Channel groups; input and output channels are multiples of it.
    pub groups: usize,
    /// Output channels.
    pub filters: usize,
    /// `HWIO` weights, `I` being the input channels of one group.
    pub kernel: Kernel,
    /// `[filters]`, padded with zeros to a multiple of 16 once packed.
    pub bias: Option<String>,
    /// What follows the sum.
    #[serde(default)]
    pub epilogue: Epilogue,
}

/// Attributes of [`Op::DepthwiseConv2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthwiseConv2d {
    /// Where the taps lie.
    pub window: Window,
    /// Output channels for each input channel.
    pub multiplier: usize,
    /// `[kh, kw, c_in * multiplier]` weights.
    pub kernel: Kernel,
    /// One per output channel, padded with zeros to a multiple of 16 once packed.
    pub bias: Option<String>,
    /// What follows the sum. The residual is not fused here.
    #[serde(default)]
    pub activation: Activation,
}

/// Attributes of [`Op::Dense`]: `y[.., n] = x[.., k] W[k, n] + bias`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    /// Output features.
    pub units: usize,
    /// `[k, n]` weights.
    pub kernel: Kernel,
    /// `[n]`, padded with zeros to a multiple of 16 once packed.
    pub bias: Option<String>,
    /// What follows the sum.
    #[serde(default)]
    pub epilogue: Epilogue,
}

/// Elementwise op of two values, with NumPy broadcasting (ranks equal, or the shorter one
/// stands for trailing axes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryOp {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

/// Which element a pooling window keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The largest element; padding never wins.
    Max,
    /// The mean of the elements inside the input; padding does not count (Keras' rule).
    Average,
}

/// How [`Op::Resize`] reads between pixels. Coordinates are half-pixel, without antialias,
/// as in `tf.image.resize` and Keras' `UpSampling2D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeKind {
    /// `floor((i + 0.5) * in / out)`.
    Nearest,
    /// Two taps for each axis.
    Bilinear,
}

/// What [`Op::Reduce`] makes of the elements that it joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceKind {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest; NaN if any is.
    Max,
    /// The square root of the sum of their squares.
    L2,
}

/// Attributes of [`Op::Slice`]: along each axis the elements `start`, `start + step`, ... below
/// `end`. All three lists have one number for each axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The first element.
    pub starts: Vec<usize>,
    /// One past the last element that may be taken; at most the extent.
    pub ends: Vec<usize>,
    /// From an element to the next; at least 1.
    pub steps: Vec<usize>,
}

impl Slice {
    /// All of a value of shape `input`, to be narrowed along some axes.
    #[must_use]
    pub fn whole(input: &Shape) -> Self {
        Self {
            starts: vec![0; input.rank()],
            ends: input.dims().to_vec(),
            steps: vec![1; input.rank()],
        }
    }

    /// As it is, but for the elements `start..end` of `axis`: one part of ONNX' `Split`.
    ///
    /// # Panics
    /// If there is no such axis.
    #[must_use]
    pub fn along(mut self, axis: usize, start: usize, end: usize) -> Self {
        self.starts[axis] = start;
        self.ends[axis] = end;
        self
    }

    /// Extents of what is taken of a value of shape `input`; `None` if it does not fit or takes
    /// nothing.
    #[must_use]
    pub fn output(&self, input: &Shape) -> Option<Shape> {
        let rank = input.rank();
        if [&self.starts, &self.ends, &self.steps].map(Vec::len) != [rank; 3] {
            return None;
        }
        let taken = (0..rank).map(|axis| {
            let (start, end) = (self.starts[axis], self.ends[axis]);
            let fits = start < end && end <= input.dims()[axis] && self.steps[axis] > 0;
            fits.then(|| (end - start).div_ceil(self.steps[axis]))
        });
        let taken: Option<Vec<usize>> = taken.collect();
        taken.map(|dims| Shape::new(&dims))
    }
}

/// One operator. Inputs are listed in `Node::inputs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum Op {
    /// A value the caller gives; the node's name is the input's name.
    Input,
    /// 2-D convolution (cross-correlation). Inputs: `x [H, W, C]`, then the residual if fused.
    Conv2d(Conv2d),
    /// One filter (or `multiplier`) per channel. Inputs: `x [H, W, C]`.
    DepthwiseConv2d(DepthwiseConv2d),
    /// Matrix product over the last axis. Inputs: `x [.., k]`, then the residual if fused.
    Dense(Dense),
    /// `x * scale[c] + shift[c]` along the last axis: batch normalization at inference,
    /// `Normalization`, `Rescaling`. Both tensors have `c` elements, or one for all channels.
    ScaleShift {
        /// Key of the scale.
        scale: String,
        /// Key of the shift.
        shift: String,
    },
    /// Elementwise function.
    Activation(Activation),
    /// `x` where positive, else `alpha * x`; alpha broadcasts over leading axes.
    PRelu {
        /// Key of alpha, shape `[C]`, `[1, 1, C]` or `[H, W, C]`.
        alpha: String,
    },
    /// `e^x / sum(e^x)` along an axis.
    Softmax {
        /// The axis, counted from the front without a batch axis; the last one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        axis: Option<usize>,
    },
    /// Elementwise op of two values.
    Binary {
        /// Which.
        kind: BinaryOp,
        /// Applied to the result.
        #[serde(default)]
        activation: Activation,
    },
    /// Joins values along an axis (0 = rows).
    Concat {
        /// The axis, counted from the front without a batch axis.
        axis: usize,
    },
    /// Pooling by a sliding window.
    Pool2d {
        /// What is kept.
        kind: PoolKind,
        /// Where.
        window: Window,
    },
    /// Pools all rows and columns of `[H, W, C]` to `[C]`, or `[1, 1, C]` with `keep_dims`.
    GlobalPool {
        /// What is kept.
        kind: PoolKind,
        /// Whether the axes stay, with extent 1.
        keep_dims: bool,
    },
    /// Zero padding of `[H, W, C]`.
    Pad(Padding),
    /// Removes rows and columns of `[H, W, C]`.
    Crop(Padding),
    /// Same elements in row-major order, another shape. `Flatten` is one of these.
    Reshape {
        /// The new shape. In JSON it is `to`, because a node has a `shape` of its own.
        #[serde(rename = "to")]
        shape: Shape,
    },
    /// Permutes axes: output axis `i` is input axis `permutation[i]`.
    Transpose {
        /// The permutation.
        permutation: Vec<usize>,
    },
    /// Product of matrices, the last two axes of two values: `[.., m, k]` times `[.., k, n]`. Axes
    /// in front of them are broadcast as NumPy does it.
    MatMul,
    /// `(x - mean) / sqrt(variance + epsilon) * scale + shift`, where mean and variance are those of
    /// the elements along the last axis. Both tensors have as many elements as that axis, or one
    /// for all.
    LayerNormalization {
        /// Key of the scale, gamma.
        scale: String,
        /// Key of the shift, beta.
        shift: String,
        /// Added to the variance; not negative.
        epsilon: f32,
    },
    /// Joins the elements along some axes to one.
    Reduce {
        /// To what.
        kind: ReduceKind,
        /// The axes, in rising order, counted from the front without a batch axis.
        axes: Vec<usize>,
        /// Whether the axes stay, with extent 1.
        keep_dims: bool,
    },
    /// Takes a part of a value. ONNX' `Split` is one of these for each part ([`Slice::along`]).
    Slice(Slice),
    /// Takes elements along an axis, in any order and as often as they are named. It is also a
    /// slice that steps backwards.
    Gather {
        /// The axis, counted from the front without a batch axis.
        axis: usize,
        /// Which elements.
        indices: Vec<usize>,
    },
    /// A stored value that does not depend on the photo, such as a position embedding. No inputs.
    Constant {
        /// Key of the f32 tensor, whose shape is the value's.
        tensor: String,
    },
    /// From real numbers to the bytes of the node's own quantization (ONNX `QuantizeLinear`).
    Quantize,
    /// From bytes of the input's quantization to real numbers (ONNX `DequantizeLinear`).
    Dequantize,
    /// Resizes rows and columns of `[H, W, C]`.
    Resize {
        /// How.
        kind: ResizeKind,
        /// Output rows and columns.
        size: [usize; 2],
    },
}

impl Op {
    /// A softmax along `axis` of a value of `rank` axes, in the form that artifacts have for it.
    #[must_use]
    pub fn softmax(axis: usize, rank: usize) -> Self {
        let axis = (axis + 1 != rank).then_some(axis);
        Self::Softmax { axis }
    }

    /// The op's name as ONNX spells it, or its own name if ONNX has none.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Conv2d(_) => "Conv",
            Self::DepthwiseConv2d(_) => "DepthwiseConv",
            Self::Dense(_) => "Gemm",
            Self::ScaleShift { .. } => "ScaleShift",
            Self::Activation(_) => "Activation",
            Self::PRelu { .. } => "PRelu",
            Self::Softmax { .. } => "Softmax",
            Self::Binary { kind, .. } => match kind {
                BinaryOp::Add => "Add",
                BinaryOp::Sub => "Sub",
                BinaryOp::Mul => "Mul",
                BinaryOp::Div => "Div",
                BinaryOp::Max => "Max",
                BinaryOp::Min => "Min",
            },
            Self::Concat { .. } => "Concat",
            Self::Pool2d {
                kind: PoolKind::Max,
                ..
            } => "MaxPool",
            Self::Pool2d {
                kind: PoolKind::Average,
                ..
            } => "AveragePool",
            Self::GlobalPool {
                kind: PoolKind::Max,
                ..
            } => "GlobalMaxPool",
            Self::GlobalPool {
                kind: PoolKind::Average,
                ..
            } => "GlobalAveragePool",
            Self::Pad(_) => "Pad",
            Self::Crop(_) => "Crop",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Resize { .. } => "Resize",
            Self::MatMul => "MatMul",
            Self::LayerNormalization { .. } => "LayerNormalization",
            Self::Reduce { kind, .. } => match kind {
                ReduceKind::Mean => "ReduceMean",
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Max => "ReduceMax",
                ReduceKind::L2 => "ReduceL2",
            },
            Self::Slice(_) => "Slice",
            Self::Gather { .. } => "Gather",
            Self::Constant { .. } => "Constant",
            Self::Quantize => "QuantizeLinear",
            Self::Dequantize => "DequantizeLinear",
        }
    }

    /// The kernel of a convolution or matrix product.
    #[must_use]
    pub fn kernel(&self) -> Option<&Kernel> {
        match self {
            Self::Conv2d(Conv2d { kernel, .. })
            | Self::DepthwiseConv2d(DepthwiseConv2d { kernel, .. })
            | Self::Dense(Dense { kernel, .. }) => Some(kernel),
            _ => None,
        }
    }

    /// Like [`kernel`](Self::kernel), but mutable.
    pub fn kernel_mut(&mut self) -> Option<&mut Kernel> {
        match self {
            Self::Conv2d(Conv2d { kernel, .. })
            | Self::DepthwiseConv2d(DepthwiseConv2d { kernel, .. })
            | Self::Dense(Dense { kernel, .. }) => Some(kernel),
            _ => None,
        }
    }

    /// Keys of the tensors the op reads.
    #[must_use]
    pub fn tensors(&self) -> Vec<&str> {
        match self {
            Self::Conv2d(Conv2d { kernel, bias, .. })
            | Self::DepthwiseConv2d(DepthwiseConv2d { kernel, bias, .. })
            | Self::Dense(Dense { kernel, bias, .. }) => std::iter::once(kernel.tensor.as_str())
                .chain(kernel.scale.as_deref())
                .chain(bias.as_deref())
                .collect(),
            Self::ScaleShift { scale, shift } | Self::LayerNormalization { scale, shift, .. } => {
                vec![scale, shift]
            }
            Self::Constant { tensor } => vec![tensor],
            Self::PRelu { alpha } => vec![alpha],
            _ => Vec::new(),
        }
    }
}
