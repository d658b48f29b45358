//! Weights in the types and layouts of the file, and values in bytes.
//!
//! | The artifact's weights | In the file |
//! |---|---|
//! | f32 | `FLOAT` |
//! | f16 | `FLOAT16`, and a `Cast` to `FLOAT` |
//! | bf16 | `FLOAT16` and a `Cast`; `FLOAT`, if a value is too large for 16 bits |
//! | i8 with scales, of layers that compute in integers | `UINT8` with the zero point 128, and `DequantizeLinear` along the output channels |
//! | i8 with scales, of other layers | `INT8` and `DequantizeLinear` along the output channels |
//!
//! Why `UINT8`: on a CPU of x86 without VNNI, runtimes add two products of `UINT8` values and `INT8`
//! weights in 16 bits, where they do not fit. ONNX Runtime computes `UINT8` weights exactly.
//!
//! Biases of integer layers are `INT32` with the scale of input times weight, as ONNX Runtime's
//! quantizer writes them.

use half::{bf16, f16};
use serde::Serialize;

use super::builder::Attribute;
use super::placed::Placed;
use super::tensor::{Data, Element, Index, Matrix, SIGN};
use super::{ExportError, Exporter};
use crate::graph::{Kernel, KernelLayout, Node, NodeId, WeightError, Weights};
use crate::quantization::Quantization;
use crate::tensor::{DType, PANEL, Tensor};

/// What became of a bf16 tensor, whose numbers have a larger range than those of f16.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rounded {
    /// The weight's key in the artifact.
    pub tensor: String,
    /// Whether it is f32 in the file, since a value does not fit f16.
    pub stays_f32: bool,
    /// Values that f16 does not have. They are below 0.00007, and move by at most 2^-25.
    pub values: usize,
}

fn missing(node: &Node, key: &str) -> ExportError {
    ExportError::Weight(WeightError {
        node: node.name.clone(),
        key: key.to_owned(),
    })
}

impl<'g> Exporter<'g> {
    fn stored(&self, node: &Node, key: &str) -> Result<&'g Tensor, ExportError> {
        let graph = self.graph;
        graph.tensors.get(key).ok_or_else(|| missing(node, key))
    }

    /// A tensor's numbers, as f32.
    pub(super) fn floats(&self, node: &'g Node, key: &str) -> Result<Vec<f32>, ExportError> {
        Ok(Weights::of(self.graph, node).floats(key)?)
    }

    /// One number, or one for each of `n` channels.
    pub(super) fn channels(
        &self,
        node: &'g Node,
        key: &str,
        n: usize,
    ) -> Result<Vec<f32>, ExportError> {
        let list = Weights::of(self.graph, node).vector(key, n)?;
        if list.is_empty() {
            return Err(missing(node, key));
        }
        Ok(list)
    }

    #[expect(clippy::unused_self, reason = "reads better beside its siblings")]
    pub(super) fn matrix(&self, kernel: &Kernel, [groups, k, n]: [usize; 3]) -> Matrix {
        Matrix {
            layout: kernel.layout,
            groups,
            k,
            n,
        }
    }

    /// Elements of a row of a depthwise kernel of `n` channels.
    #[expect(clippy::unused_self, reason = "reads better beside its siblings")]
    pub(super) fn row_width(&self, kernel: &Kernel, n: usize) -> usize {
        match kernel.layout {
            KernelLayout::Plain => n,
            KernelLayout::Panel16 | KernelLayout::Panel16x4 => n.next_multiple_of(PANEL),
        }
    }

    /// A kernel as real numbers of the file: the name of its value.
    pub(super) fn kernel(
        &mut self,
        node: &'g Node,
        kernel: &'g Kernel,
        form: (&str, &[usize], usize),
        (stored_len, index): (usize, Index<'g>),
    ) -> Result<String, ExportError> {
        let (form, dims, axis) = form;
        let key = (kernel.tensor.clone(), format!("{form} {dims:?}"));
        if let Some(name) = self.kernels.get(&key) {
            return Ok(name.clone());
        }
        let tensor = self.stored(node, &kernel.tensor)?;
        if tensor.shape().len() < stored_len {
            return Err(missing(node, &kernel.tensor));
        }
        let data = Data::Stored { tensor, index };
        let name = format!("{}/weight", node.name);
        let value = match tensor.dtype() {
            DType::F32 => self.builder.weight(&name, Element::F32, dims, data),
            DType::F16 | DType::BF16 => {
                let element = self.half_or_single(&kernel.tensor, tensor);
                let half = self.builder.weight(&name, element, dims, data);
                self.cast(&half, element)
            }
            DType::I8 => {
                let Some(scale) = &kernel.scale else {
                    return Err(missing(node, &kernel.tensor));
                };
                let n = dims[axis];
                let scales = self.channels(node, scale, n)?;
                let scales = if scales.len() == n {
                    scales
                } else {
                    vec![scales[0]; n]
                };
                let (element, zero_point) = match kernel.layout {
                    KernelLayout::Panel16x4 => (Element::U8, SIGN),
                    KernelLayout::Plain | KernelLayout::Panel16 => (Element::I8, 0),
                };
                let integers = self.builder.weight(&name, element, dims, data);
                let scale = self.builder.floats(&format!("{name}/scale"), &[n], &scales);
                // One for each weight: ONNX Runtime rewrites some in place, and a file whose weights
                // share one is then refused.
                let zeros = Data::Inline(vec![zero_point; n]);
                let zero = format!("{name}/zero_point");
                let zero = self.builder.weight(&zero, element, &[n], zeros);
                let axis = Attribute::Int(i64::try_from(axis).unwrap_or(0));
                let name = format!("{name}/real");
                let inputs = [integers.as_str(), &scale, &zero];
                self.builder
                    .push(&name, "DequantizeLinear", &inputs, vec![("axis", axis)])
            }
            DType::I32 => return Err(missing(node, &kernel.tensor)),
        };
        self.kernels.insert(key, value.clone());
        Ok(value)
    }

    /// The type of the file for a tensor of 16-bit floats.
    fn half_or_single(&mut self, key: &str, tensor: &Tensor) -> Element {
        if tensor.dtype() == DType::F16 {
            return Element::F16;
        }
        let mut values = 0;
        let mut stays_f32 = false;
        for &bytes in tensor.bytes().as_chunks::<2>().0 {
            let value = bf16::from_le_bytes(bytes).to_f32();
            let half = f16::from_f32(value);
            stays_f32 |= !half.is_finite();
            values += usize::from(half.to_f32() != value);
        }
        self.rounded.push(Rounded {
            tensor: key.to_owned(),
            stays_f32,
            values: if stays_f32 { 0 } else { values },
        });
        if stays_f32 {
            Element::F32
        } else {
            Element::F16
        }
    }

    fn cast(&mut self, name: &str, from: Element) -> String {
        if from == Element::F32 {
            return name.to_owned();
        }
        let to = vec![("to", Attribute::Int(Element::F32.number()))];
        self.builder
            .push(&format!("{name}/single"), "Cast", &[name], to)
    }

    /// A bias of `n` channels. For integers it is what their own bias was before the input's zero
    /// point was taken into it: `at` says where the weight of a row and a channel is.
    pub(super) fn bias(
        &mut self,
        node: &'g Node,
        kernel: &'g Kernel,
        bias: Option<&'g String>,
        (n, rows): (usize, usize),
        at: &dyn Fn(usize, usize) -> usize,
    ) -> Result<Option<String>, ExportError> {
        let Some(key) = bias else { return Ok(None) };
        let name = format!("{}/bias", node.name);
        let tensor = self.stored(node, key)?;
        if tensor.dtype() != DType::I32 {
            let list = self.channels(node, key, n)?;
            let list = if list.len() == n {
                list
            } else {
                vec![list[0]; n]
            };
            if tensor.dtype() == DType::F16 {
                let bytes = list.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes());
                let half = self
                    .builder
                    .constant(&name, Element::F16, &[n], bytes.collect());
                return Ok(Some(self.cast(&half, Element::F16)));
            }
            return Ok(Some(self.builder.floats(&name, &[n], &list)));
        }
        let input = self.graph.node(node.inputs[0]).quantization;
        let weights = self.stored(node, &kernel.tensor)?.as_i8();
        let (Some(stored), Some(weights), Some(input), Some(scale)) =
            (tensor.as_i32(), weights, input, &kernel.scale)
        else {
            return Err(missing(node, key));
        };
        let scales = self.channels(node, scale, n)?;
        let scale_of = |channel: usize| input.scale * scales[channel.min(scales.len() - 1)];
        let sum_of = |channel: usize| -> i64 {
            (0..rows)
                .map(|row| i64::from(weights[at(row, channel)]))
                .sum()
        };
        let own: Vec<i64> = (0..n)
            .map(|o| i64::from(stored[o]) + i64::from(input.zero_point) * sum_of(o))
            .collect();
        let narrow: Result<Vec<i32>, _> = own.iter().map(|&v| i32::try_from(v)).collect();
        let Ok(narrow) = narrow else {
            // More than 32 bits: as a real number it is exact enough.
            #[expect(clippy::cast_possible_truncation, reason = "rounded once, from f64")]
            let real = |(o, &v): (usize, &i64)| (v as f64 * f64::from(scale_of(o))) as f32;
            let list: Vec<f32> = own.iter().enumerate().map(real).collect();
            return Ok(Some(self.builder.floats(&name, &[n], &list)));
        };
        let list: Vec<f32> = (0..n).map(scale_of).collect();
        let bytes = narrow.iter().flat_map(|v| v.to_le_bytes()).collect();
        let integers = self.builder.constant(&name, Element::I32, &[n], bytes);
        let scale = self.builder.floats(&format!("{name}/scale"), &[n], &list);
        let zero = self
            .builder
            .constant("zero_points", Element::I32, &[n], vec![0; 4 * n]);
        let axis = vec![("axis", Attribute::Int(0))];
        let inputs = [integers.as_str(), &scale, &zero];
        let real = self
            .builder
            .push(&format!("{name}/real"), "DequantizeLinear", &inputs, axis);
        Ok(Some(real))
    }

    /// Scale and zero point of a value, as constants.
    fn map(&mut self, name: &str, map: Quantization) -> [String; 2] {
        let scale = self.builder.scalar(&format!("{name}/scale"), map.scale);
        let zero = format!("{name}/zero_point");
        let zero = self
            .builder
            .constant(&zero, Element::U8, &[], vec![map.zero_point]);
        [scale, zero]
    }

    /// Appends the rounding of a value to bytes.
    pub(super) fn quantized(&mut self, name: &str, value: &Placed, map: Quantization) -> Placed {
        let [scale, zero] = self.map(name, map);
        let inputs = [value.name.as_str(), &scale, &zero];
        let bytes = self.builder.push(name, "QuantizeLinear", &inputs, vec![]);
        value.named(bytes)
    }

    /// The real numbers of a node's value, which lies as `value` does.
    pub(super) fn real(&mut self, id: NodeId, value: &Placed) -> Placed {
        let Some(map) = self.graph.node(id).quantization else {
            return value.clone();
        };
        if let Some(name) = self.real.get(&value.name) {
            return value.named(name.clone());
        }
        let name = format!("{}/real", value.name);
        let [scale, zero] = self.map(&name, map);
        let inputs = [value.name.as_str(), &scale, &zero];
        let real = self
            .builder
            .push(&name, "DequantizeLinear", &inputs, vec![]);
        self.real.insert(value.name.clone(), real.clone());
        value.named(real)
    }
}
