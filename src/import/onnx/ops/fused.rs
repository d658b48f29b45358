//! Operators that ONNX Runtime's optimizer writes into the models that it saves: several of ONNX's
//! in one. Each becomes those again; the graph's own passes fuse what its kernels can fuse.
//!
//! Source: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::{arithmetic, conv, dense, elementwise, normalization};
use crate::activation::Activation;
use crate::graph::BinaryOp;
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::view::View;

/// The one value of a list.
fn single(call: &Call, made: &[Value]) -> Result<View, ImportError> {
    match made {
        [Value::View(view)] => Ok(view.clone()),
        _ => Err(call.place().unsupported()),
    }
}

/// `Conv`, then a sum with a value of the same shape, then a function.
pub(super) fn conv<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let inputs = call.inputs.iter().take(3).cloned().collect();
    let mut sum = call.taken_as("Conv", inputs);
    sum.site.name.push_str("/conv");
    let mut y = single(call, &conv::conv(importer, &sum)?)?;
    if call.optional(3).is_some() {
        let other = importer.value(call, 3)?;
        y = arithmetic::two(importer, call, Some("sum"), BinaryOp::Add, &y, &other)?;
    }
    let numbers = call.attributes.floats("activation_params")?;
    let y = activated(importer, call, &y, &numbers.unwrap_or_default())?;
    Ok(vec![y.into()])
}

/// `Gemm`, then a function.
pub(super) fn gemm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut product = call.taken_as("Gemm", call.inputs.clone());
    product.site.name.push_str("/product");
    let y = single(call, &dense::gemm(importer, &product)?)?;
    let mut numbers = Vec::new();
    for name in ["activation_alpha", "activation_beta", "activation_gamma"] {
        numbers.extend(call.attributes.optional_float(name)?);
    }
    let y = activated(importer, call, &y, &numbers)?;
    Ok(vec![y.into()])
}

/// Appends the function that `activation` names, with its parameters.
fn activated(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    numbers: &[f32],
) -> Result<View, ImportError> {
    let name = call.attributes.text("activation")?.unwrap_or_default();
    let function = match (name.as_str(), numbers) {
        ("", []) => return Ok(x.clone()),
        ("Relu", []) => Activation::Relu,
        ("Sigmoid", []) => Activation::Sigmoid,
        ("Tanh", []) => Activation::Tanh,
        ("LeakyRelu", &[slope]) => functions::relu(None, slope, 0.0),
        ("HardSigmoid", &[alpha, beta]) => Activation::HardSigmoid { alpha, beta },
        ("Clip", &[low, high]) => {
            let [low, high] = [low, high].map(f64::from);
            let bounds = (Some(low), Some(high));
            return arithmetic::bounded(importer, call, x, bounds.0, bounds.1);
        }
        _ => {
            let shown = format!("{name} {numbers:?}");
            let expected = "Relu, LeakyRelu, Clip, HardSigmoid, Sigmoid or Tanh";
            return Err(call.place().refused("activation", shown, expected));
        }
    };
    importer.activation(call, None, x, function)
}

/// The product of two matrices, of which each may be transposed, times `alpha`.
pub(super) fn mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    for name in ["transBatchA", "transBatchB"] {
        call.attributes.must_be(name, 0)?;
    }
    let alpha = call.attributes.float("alpha", 1.0)?;
    let turns = [
        call.attributes.flag("transA", false)?,
        call.attributes.flag("transB", false)?,
    ];
    let mut inputs = Vec::new();
    for (index, turn) in turns.into_iter().enumerate() {
        let value = call.input(index)?;
        let mut order: Vec<usize> = (0..value.dims().len()).collect();
        if turn && order.len() > 1 {
            let last = order.len() - 1;
            order.swap(last, last - 1);
        }
        inputs.push(Some(match value {
            Value::View(view) => view.transposed(&order).into(),
            Value::Constant(constant) => constant.transposed(&order).into(),
            Value::Missing => return Err(call.place().unsupported()),
        }));
    }
    let mut product = call.taken_as("MatMul", inputs);
    if alpha.to_bits() != 1.0f32.to_bits() {
        product.site.name.push_str("/product");
    }
    let y = single(call, &dense::mat_mul(importer, &product)?)?;
    let y = importer.scaled(call, None, &y, f64::from(alpha), 0.0)?;
    Ok(vec![y.into()])
}

/// `Gelu`, also of a sum with a bias, and its approximations.
pub(super) fn gelu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = importer.value(call, 0)?;
    if call.optional(1).is_some() {
        let mut sum = call.taken_as("Add", call.inputs.clone());
        sum.site.name.push_str("/bias");
        sum.site.constants.push_str("/bias");
        x = single(call, &arithmetic::binary(importer, &sum)?)?;
    }
    let y = match call.op {
        "FastGelu" => importer.activation(call, None, &x, Activation::GeluTanh)?,
        "QuickGelu" => {
            let alpha = call.attributes.float("alpha", 1.702)?;
            elementwise::swish(importer, call, &x, alpha)?
        }
        _ => importer.activation(call, None, &x, Activation::Gelu)?,
    };
    Ok(vec![y.into()])
}

/// The normalization of a sum: input, what skipped a layer, scale, shift (none for that without a
/// mean) and bias. The fourth output is the sum.
pub(super) fn skip<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (a, b) = (importer.value(call, 0)?, importer.value(call, 1)?);
    let mut sum = arithmetic::two(importer, call, Some("sum"), BinaryOp::Add, &a, &b)?;
    let by_root = call.op == "SkipSimplifiedLayerNormalization";
    let bias = if by_root { 3 } else { 4 };
    if let Some(value) = call.optional(bias) {
        let inputs = vec![Some(sum.into()), Some(value.clone())];
        let mut added = call.taken_as("Add", inputs);
        added.site.name.push_str("/bias");
        added.site.constants.push_str("/bias");
        sum = single(call, &arithmetic::binary(importer, &added)?)?;
    }
    let mut inputs = vec![Some(sum.clone().into()), call.optional(2).cloned()];
    if !by_root {
        inputs.push(call.optional(3).cloned());
    }
    let epsilon = call.attributes.float("epsilon", 1e-12)?;
    let normalized = call.taken_as("LayerNormalization", inputs);
    let last = sum.rank().saturating_sub(1);
    let y = if by_root {
        normalization::root(importer, &normalized, (last, epsilon))?
    } else {
        normalization::along(importer, &normalized, (last, epsilon))?
    };
    Ok(vec![y.into(), Value::Missing, Value::Missing, sum.into()])
}
