//! What each operator of ONNX becomes in the graph: a file a family.
//!
//! [`OPERATORS`] and [`FOLDED`] are the lists: what neither names is refused by name. Every
//! attribute of a node is read, or the node is refused.

use super::call::{Call, Outputs};
use super::fold::FOLDED;
use super::importer::Importer;
use crate::import::error::ImportError;
use crate::import::ops::SupportedOp;

pub(super) mod arithmetic;
mod attention;
mod choose;
mod classes;
mod conv;
mod dense;
mod einsum;
mod elementwise;
mod fused;
mod normalization;
mod pad;
pub(super) mod part;
mod pool;
pub(super) mod quantized;
pub(super) mod reduce;
mod resize;
pub(super) mod shape;
mod softmax;
mod window;

type Emit = for<'a> fn(&mut Importer<'a, '_>, &Call<'_, 'a>) -> Result<Outputs<'a>, ImportError>;

struct Operator {
    op: SupportedOp,
    emit: Emit,
}

const fn operator(
    name: &'static str,
    becomes: &'static str,
    limits: &'static str,
    emit: Emit,
) -> Operator {
    Operator {
        op: SupportedOp {
            format: "onnx",
            name,
            becomes,
            limits,
        },
        emit,
    }
}

const VIEW: &str = "nothing, or Reshape, Transpose";
const ACTIVATION: &str = "Activation";
const TWO_D: &str = "2-D";
const NCHW: &str = "NCHW";
const AFTER_DYNAMIC: &str = "after DynamicQuantizeLinear";

/// Operators on values of the photo, in alphabetical order.
const OPERATORS: &[Operator] = &[
    operator("Abs", ACTIVATION, "", elementwise::function),
    operator("Add", "Add or ScaleShift", "", arithmetic::binary),
    operator(
        "Attention",
        "MatMul, Softmax",
        "no keys or values of earlier steps",
        attention::attention,
    ),
    operator("AveragePool", "AveragePool", TWO_D, pool::pool),
    operator(
        "BatchNormalization",
        "ScaleShift",
        "inference",
        normalization::batch,
    ),
    operator("Cast", "nothing", "between real numbers", elementwise::cast),
    operator(
        "CastLike",
        "nothing",
        "between real numbers",
        elementwise::cast_like,
    ),
    operator("Celu", ACTIVATION, "", elementwise::celu),
    operator("Clip", ACTIVATION, "constant bounds", elementwise::clip),
    operator("Concat", "Concat", "", part::concat),
    operator(
        "Conv",
        "Conv or DepthwiseConv",
        "2-D, constant weights",
        conv::conv,
    ),
    operator(
        "ConvInteger",
        "Conv with i8 weights",
        AFTER_DYNAMIC,
        quantized::integer_product,
    ),
    operator("Cos", ACTIVATION, "", elementwise::function),
    operator("DepthToSpace", VIEW, "", shape::depth_to_space),
    operator(
        "DequantizeLinear",
        "DequantizeLinear",
        "8 bits",
        quantized::dequantize,
    ),
    operator("Div", "Div or ScaleShift", "", arithmetic::binary),
    operator(
        "Dropout",
        "nothing (training only)",
        "",
        elementwise::dropout,
    ),
    operator(
        "DynamicQuantizeLinear",
        "nothing: values stay real numbers",
        "the scale must cancel out",
        quantized::dynamic_quantize,
    ),
    operator(
        "Einsum",
        "MatMul, Reduce or nothing",
        "one or two values",
        einsum::einsum,
    ),
    operator("Elu", ACTIVATION, "", elementwise::function),
    operator("Erf", ACTIVATION, "", elementwise::function),
    operator("Exp", ACTIVATION, "", elementwise::function),
    operator(
        "Expand",
        "Gather or nothing",
        "constant shape",
        shape::expand,
    ),
    operator("Flatten", VIEW, "", shape::flatten),
    operator(
        "Gather",
        "Crop, Conv, Slice or Gather",
        "constant indices",
        part::gather,
    ),
    operator("GatherND", "Gather", "constant indices", part::gather_nd),
    operator("Gelu", ACTIVATION, "", elementwise::function),
    operator("Gemm", "Gemm or MatMul", "", dense::gemm),
    operator(
        "GlobalAveragePool",
        "GlobalAveragePool",
        TWO_D,
        pool::global,
    ),
    operator("GlobalMaxPool", "GlobalMaxPool", TWO_D, pool::global),
    operator(
        "GroupNormalization",
        "LayerNormalization",
        "",
        normalization::group,
    ),
    operator("HardSigmoid", ACTIVATION, "", elementwise::function),
    operator("HardSwish", ACTIVATION, "", elementwise::function),
    operator("Identity", "nothing", "", elementwise::identity),
    operator(
        "InstanceNormalization",
        "LayerNormalization",
        "",
        normalization::instance,
    ),
    operator(
        "LRN",
        "Gemm, Mul, Activation",
        "",
        normalization::local_response,
    ),
    operator(
        "LayerNormalization",
        "LayerNormalization",
        "constant scale",
        normalization::layer,
    ),
    operator("LeakyRelu", ACTIVATION, "", elementwise::function),
    operator("Log", ACTIVATION, "", elementwise::function),
    operator(
        "LogSoftmax",
        "Softmax; Exp, Log inside of a model",
        "",
        softmax::softmax,
    ),
    operator(
        "LpNormalization",
        "ReduceL2 or ReduceSum, Div",
        "p of 1 or 2",
        normalization::by_norm,
    ),
    operator("MatMul", "Gemm or MatMul", "", dense::mat_mul),
    operator(
        "MatMulInteger",
        "Gemm with i8 weights",
        AFTER_DYNAMIC,
        quantized::integer_product,
    ),
    operator("Max", "Max or Activation", "", arithmetic::variadic),
    operator("MaxPool", "MaxPool", "2-D, no indices", pool::pool),
    operator("Mean", "Add, ScaleShift", "", arithmetic::variadic),
    operator(
        "MeanVarianceNormalization",
        "LayerNormalization",
        "",
        normalization::mean_variance,
    ),
    operator("Min", "Min or Activation", "", arithmetic::variadic),
    operator("Mish", ACTIVATION, "", elementwise::function),
    operator("Mul", "Mul or ScaleShift", "", arithmetic::binary),
    operator("Neg", "ScaleShift", "", elementwise::neg),
    operator("PRelu", "PRelu", "constant slopes", elementwise::prelu),
    operator(
        "Pad",
        "Pad, Crop, Concat or Gather",
        "constant amounts",
        pad::pad,
    ),
    operator(
        "Pow",
        "Mul or Activation",
        "one constant exponent or base",
        arithmetic::pow,
    ),
    operator(
        "QLinearConv",
        "Conv or DepthwiseConv on bytes",
        "2-D, constant weights",
        quantized::qlinear_conv,
    ),
    operator(
        "QLinearMatMul",
        "Gemm on bytes",
        "a constant matrix on the right",
        quantized::qlinear_mat_mul,
    ),
    operator(
        "QuantizeLinear",
        "QuantizeLinear",
        "8 bits, one scale",
        quantized::quantize,
    ),
    operator(
        "RMSNormalization",
        "ReduceMean, Div, ScaleShift",
        "constant scale",
        normalization::root_mean_square,
    ),
    operator("Reciprocal", ACTIVATION, "", elementwise::function),
    operator("ReduceL1", "Activation, ReduceSum", "", reduce::reduce),
    operator("ReduceL2", "ReduceL2", "", reduce::reduce),
    operator("ReduceLogSum", "ReduceSum, Activation", "", reduce::reduce),
    operator(
        "ReduceLogSumExp",
        "ReduceMax, ReduceSum, Activation",
        "",
        reduce::reduce,
    ),
    operator(
        "ReduceMax",
        "GlobalMaxPool or ReduceMax",
        "",
        reduce::reduce,
    ),
    operator(
        "ReduceMean",
        "GlobalAveragePool or ReduceMean",
        "",
        reduce::reduce,
    ),
    operator("ReduceMin", "ReduceMax, ScaleShift", "", reduce::reduce),
    operator("ReduceProd", "Mul", "64 elements", reduce::reduce),
    operator(
        "ReduceSum",
        "GlobalAveragePool, ScaleShift or ReduceSum",
        "",
        reduce::reduce,
    ),
    operator("ReduceSumSquare", "Mul, ReduceSum", "", reduce::reduce),
    operator("Relu", ACTIVATION, "", elementwise::function),
    operator("Reshape", VIEW, "constant shape", shape::reshape),
    operator(
        "Resize",
        "Resize, Gather or Gemm",
        "constant size",
        resize::resize,
    ),
    operator("Selu", ACTIVATION, "", elementwise::selu),
    operator(
        "Shrink",
        "Activation, Sub",
        "bias 0 or lambd",
        elementwise::shrink,
    ),
    operator("Sigmoid", ACTIVATION, "", elementwise::function),
    operator(
        "SimplifiedLayerNormalization",
        "ReduceMean, Div, ScaleShift",
        "constant scale",
        normalization::root_mean_square,
    ),
    operator("Sin", ACTIVATION, "", elementwise::function),
    operator(
        "Slice",
        "Crop, Conv, Slice or Gather",
        "constant bounds",
        part::slice,
    ),
    operator("Softmax", "Softmax", "", softmax::softmax),
    operator("Softplus", ACTIVATION, "", elementwise::function),
    operator("Softsign", ACTIVATION, "", elementwise::function),
    operator("SpaceToDepth", VIEW, "", shape::space_to_depth),
    operator("Split", "Crop", "", part::split),
    operator("Sqrt", ACTIVATION, "", elementwise::function),
    operator("Squeeze", VIEW, "", shape::squeeze),
    operator("Sub", "Sub or ScaleShift", "", arithmetic::binary),
    operator("Sum", "Add", "", arithmetic::variadic),
    operator("Swish", ACTIVATION, "", elementwise::function),
    operator("Tanh", ACTIVATION, "", elementwise::function),
    operator("ThresholdedRelu", ACTIVATION, "", elementwise::function),
    operator("Tile", "Concat", "", part::tile),
    operator("Transpose", VIEW, "", shape::transpose),
    operator("Unsqueeze", VIEW, "", shape::unsqueeze),
    operator(
        "Upsample",
        "Resize, Gather or Gemm",
        "constant size",
        resize::resize,
    ),
    operator(
        "Where",
        "ScaleShift, Add",
        "constant condition",
        choose::choose,
    ),
    operator(
        "ai.onnx.ml.ZipMap",
        "nothing; its names are labels",
        "at the end",
        classes::zip_map,
    ),
    operator(
        "com.microsoft.Attention",
        "Gemm, MatMul, Softmax",
        "without masks",
        attention::projected,
    ),
    operator("com.microsoft.BiasGelu", ACTIVATION, "", fused::gelu),
    operator(
        "com.microsoft.DequantizeLinear",
        "DequantizeLinear",
        "8 bits",
        quantized::dequantize,
    ),
    operator(
        "com.microsoft.DynamicQuantizeMatMul",
        "Gemm with i8 weights",
        "constant weights",
        quantized::dynamic_mat_mul,
    ),
    operator("com.microsoft.FastGelu", ACTIVATION, "", fused::gelu),
    operator(
        "com.microsoft.FusedConv",
        "Conv, Add, Activation",
        "constant weights",
        fused::conv,
    ),
    operator(
        "com.microsoft.FusedGemm",
        "Gemm, Activation",
        "",
        fused::gemm,
    ),
    operator(
        "com.microsoft.FusedMatMul",
        "Gemm or MatMul",
        "",
        fused::mat_mul,
    ),
    operator("com.microsoft.Gelu", ACTIVATION, "", fused::gelu),
    operator(
        "com.microsoft.MultiHeadAttention",
        "MatMul, Softmax",
        "without masks",
        attention::multi_head,
    ),
    operator(
        "com.microsoft.QGemm",
        "Gemm on bytes",
        "constant matrix",
        quantized::q_gemm,
    ),
    operator(
        "com.microsoft.QLinearAdd",
        "Add on bytes",
        "",
        quantized::qlinear_add,
    ),
    operator(
        "com.microsoft.QLinearAveragePool",
        "AveragePool on bytes",
        NCHW,
        quantized::qlinear_pool,
    ),
    operator(
        "com.microsoft.QLinearConcat",
        "Concat on bytes",
        "",
        quantized::qlinear_concat,
    ),
    operator(
        "com.microsoft.QLinearGlobalAveragePool",
        "GlobalAveragePool on bytes",
        NCHW,
        quantized::qlinear_pool,
    ),
    operator(
        "com.microsoft.QLinearLeakyRelu",
        "Activation on bytes",
        "",
        quantized::qlinear_function,
    ),
    operator(
        "com.microsoft.QLinearMul",
        "Mul on bytes",
        "",
        quantized::qlinear_mul,
    ),
    operator(
        "com.microsoft.QLinearSigmoid",
        "Activation on bytes",
        "",
        quantized::qlinear_function,
    ),
    operator(
        "com.microsoft.QLinearSoftmax",
        "Softmax between bytes",
        "",
        quantized::qlinear_softmax,
    ),
    operator(
        "com.microsoft.QuantizeLinear",
        "QuantizeLinear",
        "8 bits, one scale",
        quantized::quantize,
    ),
    operator(
        "com.microsoft.QuickGelu",
        "Activation, Mul",
        "",
        fused::gelu,
    ),
    operator(
        "com.microsoft.SkipLayerNormalization",
        "Add, LayerNormalization",
        "constant scale",
        fused::skip,
    ),
    operator(
        "com.microsoft.SkipSimplifiedLayerNormalization",
        "Add, ReduceMean, Div, ScaleShift",
        "constant scale",
        fused::skip,
    ),
];

/// The name under which an operator of a domain is listed. `None` for domains of which nothing is
/// known.
pub(super) fn listed(domain: &str, op: &str) -> Option<&'static str> {
    let full = match domain {
        "" | "ai.onnx" => op.to_owned(),
        domain => format!("{domain}.{op}"),
    };
    let index = OPERATORS.binary_search_by_key(&full.as_str(), |o| o.op.name);
    let emitted = index.ok().map(|index| OPERATORS[index].op.name);
    emitted.or_else(|| FOLDED.iter().copied().find(|name| *name == full))
}

/// The operators that can be imported, in alphabetical order.
pub(in crate::import) fn supported_ops() -> Vec<SupportedOp> {
    let folded = FOLDED
        .iter()
        .filter(|name| !OPERATORS.iter().any(|o| o.op.name == **name))
        .map(|name| SupportedOp {
            format: "onnx",
            name,
            becomes: "nothing: it is evaluated",
            limits: "of constants and shapes",
        });
    let mut ops: Vec<SupportedOp> = OPERATORS.iter().map(|o| o.op).chain(folded).collect();
    ops.sort_unstable_by_key(|op| op.name);
    ops
}

/// What emits an operator on values of the photo, if anything does.
pub(super) fn emitter(op: &str) -> Option<Emit> {
    let index = OPERATORS.binary_search_by_key(&op, |o| o.op.name).ok()?;
    Some(OPERATORS[index].emit)
}

/// Whether an operator is known at all.
pub(super) fn is_known(op: &str) -> bool {
    emitter(op).is_some() || FOLDED.contains(&op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_sorted_and_named_once() {
        let names: Vec<&str> = OPERATORS.iter().map(|o| o.op.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(FOLDED.is_sorted_by(|a, b| a < b));
        assert!(emitter("Conv").is_some() && emitter("Loop").is_none());
        assert!(is_known("Range"));
    }
}
