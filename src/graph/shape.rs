//! Shape inference. It is total: an op whose result has no known shape is an error.

use std::collections::BTreeMap;

use super::op::{Conv2d, Dense, DepthwiseConv2d, Epilogue, Kernel, KernelLayout, Op, Window};
use crate::hint::{Arguments, Hint, named};
use crate::tensor::{MAX_RANK, PANEL, Shape, Tensor};

/// Largest number of elements of a value: 2^28 floats are 1 GiB, four times the largest activation
/// of any classifier at 1024 px.
const MAX_ELEMENTS: usize = 1 << 28;

/// Why an op does not fit its inputs.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    /// A wrong number of inputs.
    #[error("expected {expected} inputs, got {got}")]
    Arity {
        /// How many the op takes.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// An input of the wrong rank.
    #[error("expected an input of shape [H, W, C], got {0}")]
    NotImage(Shape),
    /// The window is larger than the padded input.
    #[error("a window of {kernel:?} (dilation {dilations:?}) does not fit input {input}")]
    Window {
        /// Taps.
        kernel: [usize; 2],
        /// Their distance.
        dilations: [usize; 2],
        /// The input.
        input: Shape,
    },
    /// A weight tensor is absent.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A weight tensor has the wrong shape.
    #[error("tensor `{name}`: expected {expected}, got {got}")]
    TensorShape {
        /// Its key.
        name: String,
        /// The shape that the op needs.
        expected: Shape,
        /// The shape of the tensor.
        got: Shape,
    },
    /// Inputs that cannot be combined.
    #[error("shapes {0} and {1} cannot be combined")]
    Mismatch(Shape, Shape),
    /// An attribute that makes no sense for the input.
    #[error("{what} does not fit input {input}")]
    Attribute {
        /// The attribute and its value.
        what: String,
        /// The input.
        input: Shape,
    },
    /// The result would be empty or enormous.
    #[error("a value of shape {0} is empty or too large (limit {MAX_ELEMENTS} elements)")]
    Size(Shape),
    /// A result of too many axes.
    #[error("a value of {0} axes; at most {MAX_RANK} are supported")]
    Rank(usize),
    /// An input of too few axes for a matrix product.
    #[error("expected an input of shape [.., rows, columns], got {0}")]
    NotMatrix(Shape),
}

impl Hint for ShapeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Arity { .. } => "input_count",
            Self::NotImage(_) => "not_image",
            Self::Window { .. } => "window",
            Self::MissingTensor(_) => "missing_tensor",
            Self::TensorShape { .. } => "tensor_shape",
            Self::Mismatch(..) => "mismatch",
            Self::Attribute { .. } => "attribute",
            Self::Size(_) => "value_size",
            Self::Rank(_) => "value_rank",
            Self::NotMatrix(_) => "not_matrix",
        }
    }

    fn hint(&self) -> String {
        "check that the model loads in the program that made it, and save it again".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Arity { expected, got } => named!(expected, got),
            Self::NotImage(shape) | Self::NotMatrix(shape) => named!(%shape),
            Self::Window {
                kernel,
                dilations,
                input,
            } => named!(kernel, dilations, %input),
            Self::MissingTensor(tensor) => named!(tensor),
            Self::TensorShape {
                name,
                expected,
                got,
            } => named!(name, %expected, %got),
            Self::Mismatch(first, second) => named!(%first, %second),
            Self::Attribute { what, input } => named!(what, %input),
            Self::Size(shape) => named!(%shape).with("limit", &MAX_ELEMENTS),
            Self::Rank(axes) => named!(axes).with("limit", &MAX_RANK),
        }
    }
}

pub(super) fn check_size(shape: &Shape) -> Result<(), ShapeError> {
    if shape.rank() > MAX_RANK {
        return Err(ShapeError::Rank(shape.rank()));
    }
    match shape.checked_len() {
        Some(1..=MAX_ELEMENTS) => Ok(()),
        _ => Err(ShapeError::Size(shape.clone())),
    }
}

pub(super) fn infer(
    op: &Op,
    inputs: &[&Shape],
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Shape, ShapeError> {
    let context = Context { inputs, tensors };
    let shape = context.infer(op)?;
    check_size(&shape)?;
    Ok(shape)
}

struct Context<'a> {
    inputs: &'a [&'a Shape],
    tensors: &'a BTreeMap<String, Tensor>,
}

impl<'a> Context<'a> {
    fn infer(&self, op: &Op) -> Result<Shape, ShapeError> {
        match op {
            Op::Input => self.arity(0).map(|()| Shape::default()),
            Op::Conv2d(conv) => self.conv2d(conv),
            Op::DepthwiseConv2d(conv) => self.depthwise(conv),
            Op::Dense(dense) => self.dense(dense),
            Op::ScaleShift { scale, shift } => {
                let x = self.one()?;
                self.channel_tensor(scale, x.channels())?;
                self.channel_tensor(shift, x.channels())?;
                Ok(x.clone())
            }
            Op::Activation(_) | Op::Quantize | Op::Dequantize => self.one().cloned(),
            Op::Softmax { axis } => {
                let x = self.one()?;
                match axis {
                    Some(axis) if *axis >= x.rank() => Err(attribute(format!("axis {axis}"), x)),
                    _ => Ok(x.clone()),
                }
            }
            Op::MatMul => self.mat_mul(),
            Op::LayerNormalization {
                scale,
                shift,
                epsilon,
            } => {
                let x = self.one()?;
                if !(0.0..f32::INFINITY).contains(epsilon) {
                    return Err(attribute(format!("epsilon {epsilon}"), x));
                }
                self.channel_tensor(scale, x.channels())?;
                self.channel_tensor(shift, x.channels())?;
                Ok(x.clone())
            }
            Op::Reduce {
                axes, keep_dims, ..
            } => self.reduce(axes, *keep_dims),
            Op::Slice(slice) => {
                let x = self.one()?;
                slice.output(x).ok_or_else(|| {
                    let (starts, ends, steps) = (&slice.starts, &slice.ends, &slice.steps);
                    attribute(format!("slice {starts:?}..{ends:?} by {steps:?}"), x)
                })
            }
            Op::Gather { axis, indices } => {
                let x = self.one()?;
                let mut dims = x.dims().to_vec();
                let Some(extent) = dims.get_mut(*axis) else {
                    return Err(attribute(format!("axis {axis}"), x));
                };
                if let Some(index) = indices.iter().find(|&index| index >= extent) {
                    return Err(attribute(format!("index {index} of axis {axis}"), x));
                }
                *extent = indices.len();
                Ok(Shape::new(&dims))
            }
            Op::Constant { tensor } => {
                self.arity(0)?;
                Ok(self.tensor(tensor)?.shape().clone())
            }
            Op::PRelu { alpha } => {
                let x = self.one()?;
                let got = self.tensor(alpha)?.shape();
                match broadcast(x, got) {
                    Some(shape) if shape == *x => Ok(shape),
                    _ => Err(ShapeError::Mismatch(x.clone(), got.clone())),
                }
            }
            Op::Binary { .. } => {
                self.arity(2)?;
                let (a, b) = (self.inputs[0], self.inputs[1]);
                broadcast(a, b).ok_or_else(|| ShapeError::Mismatch(a.clone(), b.clone()))
            }
            Op::Concat { axis } => self.concat(*axis),
            Op::Pool2d { window, .. } => {
                let x = self.one()?;
                let [_, _, c] = image(x)?;
                let [h, w] = slide(window, x)?;
                Ok([h, w, c].into())
            }
            Op::GlobalPool { keep_dims, .. } => {
                let [_, _, c] = image(self.one()?)?;
                Ok(if *keep_dims {
                    [1, 1, c].into()
                } else {
                    [c].into()
                })
            }
            Op::Pad(p) => {
                let [h, w, c] = image(self.one()?)?;
                // A stored graph can contain any number: a sum that is too large is refused by its
                // size.
                let rows = h.saturating_add(p.top).saturating_add(p.bottom);
                let columns = w.saturating_add(p.left).saturating_add(p.right);
                Ok([rows, columns, c].into())
            }
            Op::Crop(p) => {
                let x = self.one()?;
                let [h, w, c] = image(x)?;
                let cut = |len: usize, a: usize, b: usize| len.checked_sub(a)?.checked_sub(b);
                match (cut(h, p.top, p.bottom), cut(w, p.left, p.right)) {
                    (Some(h), Some(w)) if h > 0 && w > 0 => Ok([h, w, c].into()),
                    _ => Err(attribute(format!("cropping {p:?}"), x)),
                }
            }
            Op::Reshape { shape } => {
                let x = self.one()?;
                if shape.checked_len() != x.checked_len() {
                    return Err(ShapeError::Mismatch(x.clone(), shape.clone()));
                }
                Ok(shape.clone())
            }
            Op::Transpose { permutation } => {
                let x = self.one()?;
                let mut sorted = permutation.clone();
                sorted.sort_unstable();
                if sorted != (0..x.rank()).collect::<Vec<_>>() {
                    return Err(attribute(format!("permutation {permutation:?}"), x));
                }
                let dims: Vec<_> = permutation.iter().map(|&axis| x.dims()[axis]).collect();
                Ok(Shape::new(&dims))
            }
            Op::Resize { size: [h, w], .. } => {
                let [_, _, c] = image(self.one()?)?;
                Ok([*h, *w, c].into())
            }
        }
    }

    fn arity(&self, expected: usize) -> Result<(), ShapeError> {
        if self.inputs.len() == expected {
            Ok(())
        } else {
            Err(ShapeError::Arity {
                expected,
                got: self.inputs.len(),
            })
        }
    }

    fn one(&self) -> Result<&'a Shape, ShapeError> {
        self.arity(1)?;
        Ok(self.inputs[0])
    }

    fn tensor(&self, name: &str) -> Result<&'a Tensor, ShapeError> {
        self.tensors
            .get(name)
            .ok_or_else(|| ShapeError::MissingTensor(name.to_owned()))
    }

    fn expect_tensor(&self, name: &str, expected: &[usize]) -> Result<(), ShapeError> {
        let got = self.tensor(name)?.shape();
        if got.dims() == expected {
            return Ok(());
        }
        Err(ShapeError::TensorShape {
            name: name.to_owned(),
            expected: Shape::new(expected),
            got: got.clone(),
        })
    }

    /// One value for each channel, one for all, or a channel vector that packing has padded.
    fn channel_tensor(&self, name: &str, channels: usize) -> Result<(), ShapeError> {
        let got = self.tensor(name)?.shape();
        let padded = channels.next_multiple_of(PANEL);
        match got.dims() {
            [n] if *n == 1 || *n == channels || *n == padded => Ok(()),
            _ => self.expect_tensor(name, &[channels]),
        }
    }

    fn bias(
        &self,
        bias: Option<&String>,
        n: usize,
        layout: KernelLayout,
    ) -> Result<(), ShapeError> {
        let Some(bias) = bias else { return Ok(()) };
        match layout {
            KernelLayout::Plain => self.expect_tensor(bias, &[n]),
            KernelLayout::Panel16 | KernelLayout::Panel16x4 => {
                self.expect_tensor(bias, &[n.next_multiple_of(PANEL)])
            }
        }
    }

    fn matrix(
        &self,
        kernel: &Kernel,
        plain: &[usize],
        [groups, k, n]: [usize; 3],
    ) -> Result<(), ShapeError> {
        match kernel.layout {
            KernelLayout::Plain => {
                self.expect_tensor(&kernel.tensor, plain)?;
                self.plain_scale(kernel, groups * n)
            }
            KernelLayout::Panel16 => {
                self.expect_tensor(&kernel.tensor, &[groups * n.div_ceil(PANEL), k, PANEL])?;
                match kernel.scale {
                    Some(_) => self.kernel_scale(kernel, groups * n),
                    None => Ok(()),
                }
            }
            KernelLayout::Panel16x4 => {
                let panels = groups * n.div_ceil(PANEL);
                self.expect_tensor(&kernel.tensor, &[panels, k.div_ceil(4), PANEL, 4])?;
                self.kernel_scale(kernel, groups * n)
            }
        }
    }

    fn kernel_scale(&self, kernel: &Kernel, n: usize) -> Result<(), ShapeError> {
        match &kernel.scale {
            Some(scale) => self.expect_tensor(scale, &[n.next_multiple_of(PANEL)]),
            None => Err(ShapeError::MissingTensor(format!(
                "{} scales",
                kernel.tensor
            ))),
        }
    }

    /// The scales of integer weights that are not packed yet.
    fn plain_scale(&self, kernel: &Kernel, n: usize) -> Result<(), ShapeError> {
        match &kernel.scale {
            Some(scale) => self.expect_tensor(scale, &[n]),
            None => Ok(()),
        }
    }

    /// The residual must have the result's shape.
    fn epilogue(&self, epilogue: Epilogue, result: &Shape) -> Result<(), ShapeError> {
        self.arity(1 + usize::from(epilogue.residual.is_some()))?;
        match self.inputs.get(1) {
            Some(&residual) if residual != result => {
                Err(ShapeError::Mismatch(result.clone(), residual.clone()))
            }
            _ => Ok(()),
        }
    }

    fn first(&self) -> Result<&'a Shape, ShapeError> {
        self.inputs.first().copied().ok_or(ShapeError::Arity {
            expected: 1,
            got: 0,
        })
    }

    fn conv2d(&self, conv: &Conv2d) -> Result<Shape, ShapeError> {
        let x = self.first()?;
        let [_, _, c] = image(x)?;
        let groups = conv.groups;
        if groups == 0 || !c.is_multiple_of(groups) || !conv.filters.is_multiple_of(groups) {
            let what = format!("groups {groups} with {} filters", conv.filters);
            return Err(attribute(what, x));
        }
        let [kh, kw] = conv.window.kernel;
        let (cin, n) = (c / groups, conv.filters / groups);
        self.matrix(
            &conv.kernel,
            &[kh, kw, cin, conv.filters],
            [groups, kh.saturating_mul(kw).saturating_mul(cin), n],
        )?;
        self.bias(conv.bias.as_ref(), conv.filters, conv.kernel.layout)?;
        let [h, w] = slide(&conv.window, x)?;
        let result = [h, w, conv.filters].into();
        self.epilogue(conv.epilogue, &result)?;
        Ok(result)
    }

    fn depthwise(&self, conv: &DepthwiseConv2d) -> Result<Shape, ShapeError> {
        let x = self.one()?;
        let [_, _, c] = image(x)?;
        let n = c.saturating_mul(conv.multiplier);
        let [kh, kw] = conv.window.kernel;
        let stored = match conv.kernel.layout {
            KernelLayout::Plain => n,
            KernelLayout::Panel16 | KernelLayout::Panel16x4 => {
                n.div_ceil(PANEL).saturating_mul(PANEL)
            }
        };
        match conv.kernel.layout {
            KernelLayout::Plain => self.plain_scale(&conv.kernel, n)?,
            KernelLayout::Panel16 => {}
            KernelLayout::Panel16x4 => self.kernel_scale(&conv.kernel, n)?,
        }
        self.expect_tensor(&conv.kernel.tensor, &[kh, kw, stored])?;
        self.bias(conv.bias.as_ref(), n, conv.kernel.layout)?;
        let [h, w] = slide(&conv.window, x)?;
        Ok([h, w, n].into())
    }

    fn dense(&self, dense: &Dense) -> Result<Shape, ShapeError> {
        let x = self.first()?;
        let (k, n) = (x.channels(), dense.units);
        self.matrix(&dense.kernel, &[k, n], [1, k, n])?;
        self.bias(dense.bias.as_ref(), n, dense.kernel.layout)?;
        let mut dims = x.dims().to_vec();
        match dims.last_mut() {
            Some(last) => *last = n,
            None => return Err(attribute(format!("a dense layer of {n} units"), x)),
        }
        let result = Shape::new(&dims);
        self.epilogue(dense.epilogue, &result)?;
        Ok(result)
    }

    fn mat_mul(&self) -> Result<Shape, ShapeError> {
        self.arity(2)?;
        let (a, b) = (self.inputs[0], self.inputs[1]);
        let (rows, [m, k]) = matrix(a)?;
        let (columns, [other, n]) = matrix(b)?;
        let mismatch = || ShapeError::Mismatch(a.clone(), b.clone());
        if k != other {
            return Err(mismatch());
        }
        let leading = broadcast(&rows, &columns).ok_or_else(mismatch)?;
        let mut dims = leading.dims().to_vec();
        dims.extend([m, n]);
        Ok(Shape::new(&dims))
    }

    fn reduce(&self, axes: &[usize], keep_dims: bool) -> Result<Shape, ShapeError> {
        let x = self.one()?;
        let rising = axes.windows(2).all(|pair| pair[0] < pair[1]);
        if axes.is_empty() || !rising || axes.iter().any(|&axis| axis >= x.rank()) {
            return Err(attribute(format!("axes {axes:?}"), x));
        }
        let dims = x.dims().iter().enumerate();
        let kept: Vec<usize> = dims
            .filter_map(|(axis, &extent)| {
                let goes = axes.contains(&axis);
                if goes {
                    keep_dims.then_some(1)
                } else {
                    Some(extent)
                }
            })
            .collect();
        Ok(Shape::new(&kept))
    }

    fn concat(&self, axis: usize) -> Result<Shape, ShapeError> {
        let first = self.first()?;
        let mut dims = first.dims().to_vec();
        if axis >= dims.len() {
            return Err(attribute(format!("axis {axis}"), first));
        }
        for &other in &self.inputs[1..] {
            let same = other.rank() == dims.len()
                && (0..dims.len()).all(|i| i == axis || other.dims()[i] == dims[i]);
            if !same {
                return Err(ShapeError::Mismatch(first.clone(), other.clone()));
            }
            dims[axis] = dims[axis].saturating_add(other.dims()[axis]);
        }
        Ok(Shape::new(&dims))
    }
}

/// The leading axes, rows and columns of a stack of matrices.
fn matrix(shape: &Shape) -> Result<(Shape, [usize; 2]), ShapeError> {
    match shape.dims() {
        [leading @ .., rows, columns] => Ok((Shape::new(leading), [*rows, *columns])),
        _ => Err(ShapeError::NotMatrix(shape.clone())),
    }
}

fn image(shape: &Shape) -> Result<[usize; 3], ShapeError> {
    shape
        .hwc()
        .ok_or_else(|| ShapeError::NotImage(shape.clone()))
}

fn slide(window: &Window, x: &Shape) -> Result<[usize; 2], ShapeError> {
    let [h, w, _] = image(x)?;
    let zero = window.kernel.contains(&0) || window.strides.contains(&0);
    window
        .output(h, w)
        .filter(|_| !zero)
        .ok_or_else(|| ShapeError::Window {
            kernel: window.kernel,
            dilations: window.dilations,
            input: x.clone(),
        })
}

fn attribute(what: String, input: &Shape) -> ShapeError {
    ShapeError::Attribute {
        what,
        input: input.clone(),
    }
}

/// NumPy's rule: aligned at the end, extents equal or 1.
fn broadcast(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(1, |j| s.dims()[j]);
    let dims: Option<Vec<_>> = (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect();
    dims.map(|d| Shape::new(&d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, Padding, PoolKind, Slice};

    fn infer_plain(op: &Op, inputs: &[&[usize]]) -> Result<Shape, ShapeError> {
        let shapes: Vec<Shape> = inputs.iter().map(|d| Shape::new(d)).collect();
        infer(op, &shapes.iter().collect::<Vec<_>>(), &BTreeMap::new())
    }

    #[test]
    fn windows_count_as_keras_does() {
        struct Case {
            len: usize,
            kernel: usize,
            stride: usize,
            dilation: usize,
            pad: [usize; 2],
            output: Option<usize>,
        }
        let case = |len, kernel, stride, dilation, pad, output| Case {
            len,
            kernel,
            stride,
            dilation,
            pad,
            output,
        };
        for c in [
            case(254, 3, 2, 1, [0, 0], Some(126)),
            case(224, 3, 2, 1, [0, 1], Some(112)),
            case(7, 7, 1, 1, [3, 3], Some(7)),
            case(5, 3, 1, 2, [0, 0], Some(1)),
            case(4, 3, 1, 2, [0, 0], None),
            case(2, 3, 1, 1, [0, 0], None),
            case(2, 3, 0, 1, [1, 1], None),
        ] {
            let window = Window {
                kernel: [c.kernel, 1],
                strides: [c.stride, 1],
                dilations: [c.dilation, 1],
                padding: Padding {
                    top: c.pad[0],
                    bottom: c.pad[1],
                    ..Padding::default()
                },
            };
            assert_eq!(
                window.output(c.len, 1).map(|o| o[0]),
                c.output,
                "length {}",
                c.len
            );
        }
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let add = Op::Binary {
            kind: BinaryOp::Add,
            activation: Default::default(),
        };
        let ok = |a: &[usize], b: &[usize]| infer_plain(&add, &[a, b]).unwrap();
        assert_eq!(ok(&[4, 5, 6], &[1, 1, 6]), [4, 5, 6].into());
        assert_eq!(ok(&[4, 5, 6], &[6]), [4, 5, 6].into());
        assert_eq!(ok(&[4, 1, 6], &[1, 5, 1]), [4, 5, 6].into());
        assert!(infer_plain(&add, &[&[4, 5, 6], &[5]]).is_err());
    }

    #[test]
    fn matrices_multiply_over_their_last_axes_and_leading_ones_broadcast() {
        let of = |a: &[usize], b: &[usize]| infer_plain(&Op::MatMul, &[a, b]);
        assert_eq!(of(&[4, 5], &[5, 6]).unwrap(), [4, 6].into());
        assert_eq!(of(&[7, 4, 5], &[5, 6]).unwrap(), [7, 4, 6].into());
        assert_eq!(
            of(&[2, 1, 3, 4, 5], &[8, 3, 5, 1]).unwrap(),
            [2, 8, 3, 4, 1].into()
        );
        for (a, b, expected) in [
            (
                &[4, 5][..],
                &[4, 6][..],
                "shapes [4, 5] and [4, 6] cannot be combined",
            ),
            (
                &[2, 4, 5],
                &[3, 5, 6],
                "shapes [2, 4, 5] and [3, 5, 6] cannot be combined",
            ),
            (
                &[5],
                &[5, 6],
                "expected an input of shape [.., rows, columns], got [5]",
            ),
            (
                &[4, 5],
                &[5],
                "expected an input of shape [.., rows, columns], got [5]",
            ),
        ] {
            assert_eq!(of(a, b).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn reductions_and_parts_have_the_shape_that_is_left() {
        let reduce = |axes: &[usize], keep_dims| Op::Reduce {
            kind: super::super::op::ReduceKind::Sum,
            axes: axes.to_vec(),
            keep_dims,
        };
        let x: &[&[usize]] = &[&[2, 3, 4]];
        let of = |op: &Op| infer_plain(op, x).map_err(|error| error.to_string());
        assert_eq!(of(&reduce(&[1], true)), Ok([2, 1, 4].into()));
        assert_eq!(of(&reduce(&[0, 2], false)), Ok([3].into()));
        assert_eq!(of(&reduce(&[0, 1, 2], false)), Ok(Shape::default()));
        for axes in [&[][..], &[3], &[1, 1], &[2, 0], &[usize::MAX]] {
            let error = of(&reduce(axes, true)).unwrap_err();
            assert_eq!(error, format!("axes {axes:?} does not fit input [2, 3, 4]"));
        }
        let slice = |axis, start, end, step| {
            let mut slice = Slice::whole(&[2, 3, 4].into()).along(axis, start, end);
            slice.steps[axis] = step;
            Op::Slice(slice)
        };
        assert_eq!(of(&slice(2, 1, 4, 1)), Ok([2, 3, 3].into()));
        assert_eq!(of(&slice(2, 0, 4, 3)), Ok([2, 3, 2].into()));
        assert_eq!(of(&slice(2, 0, 4, usize::MAX)), Ok([2, 3, 1].into()));
        for (start, end, step) in [
            (0, 5, 1),
            (2, 2, 1),
            (3, 2, 1),
            (0, 4, 0),
            (4, usize::MAX, 1),
        ] {
            let error = of(&slice(2, start, end, step)).unwrap_err();
            assert!(error.ends_with("does not fit input [2, 3, 4]"), "{error}");
        }
        let short = Op::Slice(Slice::whole(&[2, 3].into()));
        assert!(of(&short).is_err());
        let gather = |axis, indices: &[usize]| Op::Gather {
            axis,
            indices: indices.to_vec(),
        };
        assert_eq!(of(&gather(1, &[2, 2, 0, 1])), Ok([2, 4, 4].into()));
        assert_eq!(
            of(&gather(1, &[2, 3])).unwrap_err(),
            "index 3 of axis 1 does not fit input [2, 3, 4]"
        );
        assert!(of(&gather(3, &[0])).is_err());
        assert!(of(&gather(0, &[])).unwrap_err().contains("empty"));
    }

    #[test]
    fn axes_epsilons_and_ranks_that_make_no_sense_are_refused() {
        let of = |op: &Op, dims: &[usize]| infer_plain(op, &[dims]);
        assert!(of(&Op::Softmax { axis: Some(1) }, &[2, 3]).is_ok());
        let error = of(&Op::Softmax { axis: Some(2) }, &[2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "axis 2 does not fit input [2, 3]");
        let one = Tensor::from_f32([1], &[1.0]).unwrap();
        let tensors = BTreeMap::from([("one".to_owned(), one)]);
        for (epsilon, good) in [(0.0, true), (1e-6, true), (-1e-6, false), (f32::NAN, false)] {
            let norm = Op::LayerNormalization {
                scale: "one".into(),
                shift: "one".into(),
                epsilon,
            };
            let shape = infer(&norm, &[&[2, 3].into()], &tensors);
            assert_eq!(shape.is_ok(), good, "{epsilon}");
        }
        let constant = Op::Constant {
            tensor: "one".into(),
        };
        assert_eq!(infer(&constant, &[], &tensors).unwrap(), [1].into());
        assert!(infer(&constant, &[&[1].into()], &tensors).is_err());
        let deep = Op::Reshape {
            shape: [1; 9].into(),
        };
        assert_eq!(
            of(&deep, &[1]).unwrap_err().to_string(),
            "a value of 9 axes; at most 8 are supported"
        );
    }

    #[test]
    fn a_missing_or_misshapen_tensor_is_named() {
        let op = Op::Dense(Dense {
            units: 7,
            kernel: Kernel::plain("head.kernel"),
            bias: None,
            epilogue: Epilogue::default(),
        });
        let x = Shape::new(&[10]);
        let missing = infer(&op, &[&x], &BTreeMap::new()).unwrap_err();
        assert_eq!(missing.to_string(), "tensor `head.kernel` is missing");
        let kernel = Tensor::from_f32([7, 10], &[0.0; 70]).unwrap();
        let tensors = BTreeMap::from([("head.kernel".to_owned(), kernel)]);
        let wrong = infer(&op, &[&x], &tensors).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "tensor `head.kernel`: expected [10, 7], got [7, 10]"
        );
    }

    #[test]
    fn enormous_values_are_refused() {
        let op = Op::Pad(Padding {
            top: 1 << 30,
            ..Padding::default()
        });
        assert!(matches!(
            infer_plain(&op, &[&[1, 1, 3]]),
            Err(ShapeError::Size(_))
        ));
        let pool = Op::GlobalPool {
            kind: PoolKind::Max,
            keep_dims: true,
        };
        assert_eq!(infer_plain(&pool, &[&[5, 5, 8]]).unwrap(), [1, 1, 8].into());
    }
}
