//! Quantized models: `QuantizeLinear` and `DequantizeLinear`, the operators on integers of ONNX and
//! of ONNX Runtime (`QLinear...`), and those that quantize while they run.
//!
//! An operator on integers is, by definition, its namesake on the real numbers that they stand for,
//! rounded to the integers of its result. So it becomes that, between `Dequantize` and `Quantize`,
//! and a pass makes integer arithmetic of it (`graph::pass::compute_integers`).
//!
//! A scale that depends on the photo cannot be in an artifact. A model with `DynamicQuantizeLinear`
//! keeps its integer weights, and its values are not rounded: every such scale is 1 here, and every
//! zero point 0. [`dynamic`](super::super::dynamic) has checked that they cancel out.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Form, Kind};
use super::super::importer::Importer;
use super::{arithmetic, conv, dense, elementwise, part, pool, softmax};
use crate::graph::Op;
use crate::import::affine::Affine;
use crate::import::error::ImportError;
use crate::import::quantized::{Integers, value_map};
use crate::import::view::View;
use crate::quantization::Quantization;

/// What an operator on integers does once they are real numbers.
type Emit = for<'a> fn(&mut Importer<'a, '_>, &Call<'_, 'a>) -> Result<Outputs<'a>, ImportError>;

/// Operators that only move or compare their elements, so that integers may go through them as they
/// are.
pub(in crate::import::onnx) const MOVING: &[&str] = &[
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// The type of the integers that a zero point belongs to: u8 without one.
pub(in super::super) fn integers(call: &Call, zero_point: usize) -> Result<Integers, ImportError> {
    let other = |got: String| call.place().refused("zero_point", got, "8-bit integers");
    let asked = call.attributes.int("output_dtype", 0)?;
    match call.optional_constant(zero_point, "zero point")? {
        Some(constant) => match constant.form {
            Some(Form::U8) => Ok(Integers::U8),
            Some(Form::I8) => Ok(Integers::I8),
            Some(form) => Err(other(format!("{form:?}"))),
            None => Err(other("a computed number".into())),
        },
        None => match asked {
            0 | 2 => Ok(Integers::U8),
            3 => Ok(Integers::I8),
            _ => Err(call
                .place()
                .refused("output_dtype", asked, "8-bit integers")),
        },
    }
}

/// The map of a value, whose scale is input `scale` and whose zero point input `zero_point`.
fn map(call: &Call, scale: usize, zero_point: usize) -> Result<Quantization, ImportError> {
    let integers = integers(call, zero_point)?;
    let one = |index: usize, what: &'static str| -> Result<Option<f64>, ImportError> {
        let Some(constant) = call.optional_constant(index, what)? else {
            return Ok(None);
        };
        let single = constant.single().ok_or_else(|| {
            call.refused(
                format!("its value has {} of {what}", constant.len()),
                "values have one scale each; only weights may have one for each channel: quantize \
                 activations per tensor",
            )
        });
        single.map(Some)
    };
    let of_scale =
        one(scale, "the scale")?.ok_or_else(|| call.place().invalid("it has no scale"))?;
    let of_zero = one(zero_point, "the zero point")?.unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "8 bits")]
    value_map(call.place(), integers, of_scale, of_zero as i64)
}

impl Importer<'_, '_> {
    /// The map of a value in bytes.
    pub(in super::super) fn map_of(&self, value: &Value) -> Option<Quantization> {
        match value {
            Value::View(view) => self.graph.node(view.id).quantization,
            _ => None,
        }
    }

    /// A value rounded to bytes.
    pub(in super::super) fn quantized(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        view: &View,
        map: Quantization,
    ) -> Result<View, ImportError> {
        let id = self.graph.quantize(&call.site, suffix, view.id, map)?;
        Ok(view.of(id))
    }

    /// The real numbers of a value in bytes.
    pub(in super::super) fn real(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        view: &View,
    ) -> Result<View, ImportError> {
        let id = self.graph.dequantize(&call.site, suffix, view.id)?;
        Ok(view.of(id))
    }
}

/// Whether an operator reads integers by its own definition.
pub(in super::super) fn reads_integers(op: &str) -> bool {
    matches!(op, "DequantizeLinear" | "ConvInteger" | "MatMulInteger")
        || op.starts_with("QLinear")
        || op.strip_prefix("com.microsoft.").is_some_and(|op| {
            op == "QGemm"
                || op.starts_with("QLinear")
                || op.contains("Quantize")
                || op == "DequantizeLinear"
        })
}

/// Whether an operator only says how a value is stored, so that it is no layer of its own.
pub(in super::super) fn is_rounding(op: &str) -> bool {
    matches!(op, "QuantizeLinear" | "DequantizeLinear")
}

/// An operator of real numbers that a file applies to integers: it moves them, and they stay
/// integers of the same map.
pub(in super::super) fn moved<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    emit: Emit,
) -> Result<Outputs<'a>, ImportError> {
    let maps: Vec<Option<Quantization>> = (call.inputs.iter().flatten())
        .filter(|value| matches!(value, Value::View(_)))
        .map(|value| importer.map_of(value))
        .collect();
    let first = maps.first().copied().flatten();
    let map = first.filter(|_| MOVING.contains(&call.op) && maps.iter().all(|m| *m == first));
    let Some(map) = map else {
        return Err(call.refused(
            "it computes with integers",
            "quantize the model with `QuantFormat.QDQ`, or import the float model and run \
             `dermal quantize`",
        ));
    };
    let mut inputs = Vec::with_capacity(call.inputs.len());
    for (index, value) in call.inputs.iter().enumerate() {
        inputs.push(match value {
            Some(Value::View(view)) => Some(
                importer
                    .real(call, Some(&format!("real{index}")), view)?
                    .into(),
            ),
            Some(Value::Constant(constant)) if call.op == "Pad" && index == 2 => {
                Some(padded_with(call, constant, map)?.into())
            }
            other => other.clone(),
        });
    }
    let mut on_real = call.taken_as(call.op, inputs);
    on_real.outputs = call.outputs;
    on_real.outputs_read = call.outputs_read;
    let mut made = emit(importer, &on_real)?;
    for value in &mut made {
        if let Value::View(view) = value {
            *value = importer.quantized(call, Some("bytes"), view, map)?.into();
        }
    }
    Ok(made)
}

/// The real number of the integer that a `Pad` fills with.
fn padded_with<'a>(
    call: &Call,
    constant: &Constant<'a>,
    map: Quantization,
) -> Result<Constant<'a>, ImportError> {
    let offset = match constant.form {
        Some(Form::U8) => 0.0,
        Some(Form::I8) => 128.0,
        _ => {
            return Err(call
                .place()
                .refused("constant_value", "another type", "8 bits"));
        }
    };
    let steps = constant.single().unwrap_or(0.0) + offset - f64::from(map.zero_point);
    Ok(Constant::scalar(Kind::Float, steps * f64::from(map.scale)))
}

/// Rounds a value to integers.
pub(super) fn quantize<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.attributes.must_be("block_size", 0)?;
    call.attributes.ignore(&["axis", "saturate", "precision"]);
    let map = map(call, 1, 2)?;
    let x = call.view(0)?.clone();
    Ok(vec![importer.quantized(call, None, &x, map)?.into()])
}

/// The real numbers that integers stand for.
pub(super) fn dequantize<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.attributes.must_be("block_size", 0)?;
    call.attributes.ignore(&["axis", "output_dtype"]);
    Ok(vec![operand(importer, call, None, [0, 1, 2], 1)?])
}

/// The real numbers of an input, with its scale and zero point at these positions. Constants have a
/// scale for each index of `axis` if there are several.
fn operand<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    suffix: Option<&str>,
    [x, scale, zero_point]: [usize; 3],
    axis: usize,
) -> Result<Value<'a>, ImportError> {
    let view = match call.input(x)? {
        Value::Constant(constant) => {
            let scale = call.constant(scale, "scale")?;
            let zero_point = call.optional_constant(zero_point, "zero point")?;
            let zero_point = zero_point.map(std::rc::Rc::as_ref);
            let real = constant
                .dequantized(scale, zero_point, axis)
                .ok_or_else(|| {
                    let shown = format!("{:?}", scale.dims());
                    let expected = format!(
                        "one, or one for each output channel of {:?}",
                        constant.dims()
                    );
                    call.place()
                        .refused("scale of the weights", shown, expected)
                })?;
            return Ok(real.into());
        }
        Value::View(view) => view.clone(),
        Value::Missing => return Err(call.place().unsupported()),
    };
    // Integers that were quantized while the file ran: see above.
    if call.constant(scale, "scale")?.is_dynamic() {
        return Ok(view.into());
    }
    let map = map(call, scale, zero_point)?;
    let got = importer.graph.node(view.id);
    match got.quantization {
        Some(own) if own == map => Ok(importer.real(call, suffix, &view)?.into()),
        Some(_) => Err(call.refused(
            "its scale or zero point is not that of the integers it reads",
            "quantize the float model again with onnxruntime.quantization",
        )),
        // The photo itself comes as integers: its recipe makes numbers of 0 to 255 of it.
        None if matches!(got.op, Op::Input) => {
            let (scale, zero) = (f64::from(map.scale), f64::from(map.zero_point));
            let offset = match integers(call, zero_point)? {
                Integers::U8 => 0.0,
                Integers::I8 => 128.0,
            };
            let affine = Affine::scalar(scale, (offset - zero) * scale);
            let name = Some("pixels");
            let pixels = importer.graph.affine(&call.site, name, view.id, &affine)?;
            let bytes = importer.quantized(call, Some("bytes"), &view.of(pixels), map)?;
            Ok(importer.real(call, suffix, &bytes)?.into())
        }
        None => Err(call.place().invalid("it reads real numbers as integers")),
    }
}

/// Computes `emit` on real numbers, and rounds its result.
fn rounded<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    (op, emit): (&'a str, Emit),
    inputs: Vec<Option<Value<'a>>>,
    map: Quantization,
) -> Result<Outputs<'a>, ImportError> {
    let made = emit(importer, &call.taken_as(op, inputs))?;
    let [Value::View(view)] = made.as_slice() else {
        return Err(call.place().unsupported());
    };
    Ok(vec![
        importer.quantized(call, Some("bytes"), view, map)?.into(),
    ])
}

/// An i32 bias: its scale is that of the input times that of the weights.
fn bias<'a>(
    call: &Call<'_, 'a>,
    index: usize,
    scales: [usize; 2],
) -> Result<Option<Value<'a>>, ImportError> {
    let Some(integers) = call.optional_constant(index, "bias")? else {
        return Ok(None);
    };
    let list = |i: usize| {
        call.constant(i, "scale")
            .map(|c| c.values().unwrap_or_default())
    };
    let (of_input, of_weights) = (list(scales[0])?, list(scales[1])?);
    let Some(&first) = of_input.first() else {
        return Err(call.place().invalid("it has no scale"));
    };
    let product: Vec<f64> = of_weights.iter().map(|w| first * w).collect();
    let n = product.len();
    let scale = Constant::new(vec![n], Kind::Float, product);
    let last = integers.dims().len().saturating_sub(1);
    let real = integers.dequantized(&scale, None, last).ok_or_else(|| {
        let shown = format!("{:?}", integers.dims());
        call.place().refused("bias", shown, format!("{n} numbers"))
    })?;
    Ok(Some(real.into()))
}

/// x, its scale and zero point, w, its scale and zero point, y's scale and zero point, bias.
pub(super) fn qlinear_conv<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = operand(importer, call, Some("real0"), [0, 1, 2], 0)?;
    let w = operand(importer, call, None, [3, 4, 5], 0)?;
    let bias = bias(call, 8, [1, 4])?;
    let map = map(call, 6, 7)?;
    rounded(
        importer,
        call,
        ("Conv", conv::conv),
        vec![Some(x), Some(w), bias],
        map,
    )
}

/// a, b and y, each with scale and zero point.
pub(super) fn qlinear_mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    // Scales of weights belong to the columns, the last axis.
    let columns = call.input(3)?.dims().len().saturating_sub(1);
    let a = operand(importer, call, Some("real0"), [0, 1, 2], 0)?;
    let b = operand(importer, call, Some("real1"), [3, 4, 5], columns)?;
    let map = map(call, 6, 7)?;
    rounded(
        importer,
        call,
        ("MatMul", dense::mat_mul),
        vec![Some(a), Some(b)],
        map,
    )
}

/// a and b, each with scale and zero point, c, y's scale and zero point; real numbers without those.
pub(super) fn q_gemm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let turned = call.attributes.flag("transB", false)?;
    let a = operand(importer, call, Some("real0"), [0, 1, 2], 0)?;
    let b = operand(
        importer,
        call,
        Some("real1"),
        [3, 4, 5],
        usize::from(!turned),
    )?;
    let alpha = call.attributes.float("alpha", 1.0)?;
    if alpha != 1.0 && call.optional(6).is_some() {
        return Err(call.place().refused("alpha", alpha, "1 beside a bias"));
    }
    let inputs = vec![Some(a), Some(b), bias(call, 6, [1, 4])?];
    if call.optional(7).is_none() {
        return dense::gemm(importer, &call.taken_as("Gemm", inputs));
    }
    let map = map(call, 7, 8)?;
    rounded(importer, call, ("Gemm", dense::gemm), inputs, map)
}

/// a, b and c, each with scale and zero point.
fn two<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    op: &'a str,
) -> Result<Outputs<'a>, ImportError> {
    let a = operand(importer, call, Some("real0"), [0, 1, 2], 0)?;
    let b = operand(importer, call, Some("real1"), [3, 4, 5], 0)?;
    let map = map(call, 6, 7)?;
    rounded(
        importer,
        call,
        (op, arithmetic::binary),
        vec![Some(a), Some(b)],
        map,
    )
}

pub(super) fn qlinear_add<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    two(importer, call, "Add")
}

pub(super) fn qlinear_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    two(importer, call, "Mul")
}

/// x and y, each with scale and zero point.
fn one<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    on_real: (&'a str, Emit),
) -> Result<Outputs<'a>, ImportError> {
    let x = operand(importer, call, Some("real0"), [0, 1, 2], 0)?;
    let map = map(call, 3, 4)?;
    rounded(importer, call, on_real, vec![Some(x)], map)
}

pub(super) fn qlinear_function<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let op = match call.op {
        "QLinearSigmoid" => "Sigmoid",
        _ => "LeakyRelu",
    };
    one(importer, call, (op, elementwise::function))
}

pub(super) fn qlinear_softmax<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    // The axis means what it means in this version of `Softmax`.
    let opset = call.attributes.int("opset", importer.opset)?;
    let own = std::mem::replace(&mut importer.opset, opset);
    let made = one(importer, call, ("Softmax", softmax::softmax));
    importer.opset = own;
    made
}

pub(super) fn qlinear_pool<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.attributes.must_be("channels_last", 0)?;
    match call.op {
        "QLinearAveragePool" => one(importer, call, ("AveragePool", pool::pool)),
        _ => one(importer, call, ("GlobalAveragePool", pool::global)),
    }
}

/// y's scale and zero point, then each value with scale and zero point.
pub(super) fn qlinear_concat<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let map = map(call, 0, 1)?;
    let mut inputs = Vec::new();
    for first in (2..call.inputs.len()).step_by(3) {
        let name = format!("real{}", inputs.len());
        let at = [first, first + 1, first + 2];
        inputs.push(Some(operand(importer, call, Some(&name), at, 0)?));
    }
    rounded(importer, call, ("Concat", part::concat), inputs, map)
}

/// The value itself, with the scale 1 and the zero point 0: see above.
pub(super) fn dynamic_quantize<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    Ok(vec![
        x.into(),
        Constant::dynamic(Kind::Float, 1.0).into(),
        Constant::dynamic(Kind::Int, 0.0).into(),
    ])
}

/// Integer weights without a scale, minus their zero point.
fn bare_weights<'a>(
    call: &Call<'_, 'a>,
    weights: usize,
    zero_point: usize,
    axis: usize,
) -> Result<Value<'a>, ImportError> {
    let zero_point = call.optional_constant(zero_point, "zero point")?;
    let constant = call.constant(weights, "weights")?;
    let one = Constant::scalar(Kind::Float, 1.0);
    let real = constant.dequantized(&one, zero_point.map(std::rc::Rc::as_ref), axis);
    let real = real.ok_or_else(|| {
        let shown = format!("{:?}", constant.dims());
        call.place().refused(
            "zero point of the weights",
            shown,
            "one for each output channel",
        )
    })?;
    Ok(real.into())
}

/// x, w and their zero points, or a, b and theirs. The value was quantized while the file ran.
pub(super) fn integer_product<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let dynamic = match call.optional_constant(2, "zero point")? {
        Some(zero_point) => zero_point.is_dynamic(),
        None => false,
    };
    if !dynamic || importer.graph.node(x.id).quantization.is_some() {
        return Err(call.refused(
            "its integers are not those of `DynamicQuantizeLinear`",
            "quantize the float model again with onnxruntime.quantization",
        ));
    }
    let columns = call.input(1)?.dims().len().saturating_sub(1);
    let (op, emit, axis): (_, Emit, _) = match call.op {
        "ConvInteger" => ("Conv", conv::conv, 0),
        _ => ("MatMul", dense::mat_mul, columns),
    };
    let weights = bare_weights(call, 1, 3, axis)?;
    emit(
        importer,
        &call.taken_as(op, vec![Some(x.into()), Some(weights)]),
    )
}

/// a, b, b's scale and zero point, bias: the product of a value, quantized while the file runs, and
/// of integer weights.
pub(super) fn dynamic_mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let columns = call.input(1)?.dims().len().saturating_sub(1);
    let b = operand(importer, call, None, [1, 2, 3], columns)?;
    let a = call.input(0)?.clone();
    let made = dense::mat_mul(importer, &call.taken_as("MatMul", vec![Some(a), Some(b)]))?;
    let (Some(Value::View(product)), Some(bias)) = (made.first(), call.optional(4)) else {
        return Ok(made);
    };
    let inputs = vec![Some(product.clone().into()), Some(bias.clone())];
    let mut sum = call.taken_as("Add", inputs);
    sum.site.name.push_str("/bias");
    sum.site.constants.push_str("/bias");
    arithmetic::binary(importer, &sum)
}
