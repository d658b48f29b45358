//! What each operator of TFLite becomes in the graph: a file a family.
//!
//! [`OPERATORS`] is the list: what it does not name is refused by name. Every option of an operator
//! is read, or the operator is refused.

use super::call::{Call, Outputs};
use super::importer::Importer;
use crate::import::error::ImportError;
use crate::import::ops::SupportedOp;

pub(super) mod arithmetic;
mod batches;
mod conv;
mod dense;
mod elementwise;
pub(super) mod part;
mod pool;
mod repeat;
mod resize;
mod select;
pub(super) mod shape;
mod window;

pub(super) type Emit =
    for<'a> fn(&mut Importer<'a, '_>, &Call<'a>) -> Result<Outputs<'a>, ImportError>;

/// An operator, by its number in `BuiltinOperator`.
pub(super) struct Operator {
    pub(super) number: i32,
    pub(super) op: SupportedOp,
    /// Its table in `BuiltinOptions`; 0 if it has none that matter.
    pub(super) options: i8,
    /// Fewest and most inputs.
    pub(super) inputs: [usize; 2],
    pub(super) emit: Emit,
}

const fn operator(
    (number, name): (i32, &'static str),
    becomes: &'static str,
    limits: &'static str,
    (options, inputs): (i8, [usize; 2]),
    emit: Emit,
) -> Operator {
    Operator {
        number,
        op: SupportedOp {
            format: "tflite",
            name,
            becomes,
            limits,
        },
        options,
        inputs,
        emit,
    }
}

const VIEW: &str = "nothing, or Reshape, Transpose";
const ACTIVATION: &str = "Activation";
const FOLDED: &str = "nothing: it is evaluated";
const ANY: usize = 4096;
const ONE: [usize; 2] = [1, 1];
const TWO: [usize; 2] = [2, 2];

use arithmetic::{binary, square, squared_difference, sum_of_many};
use elementwise::{function, softmax};
use part::{concat, pack, pad, reduce, slice, split, strided_slice};

/// All operators, in alphabetical order.
#[rustfmt::skip]
const OPERATORS: &[Operator] = &[
    operator((101, "ABS"), ACTIVATION, "", (78, ONE), function),
    operator((0, "ADD"), "Add or ScaleShift", "", (11, TWO), binary),
    operator((106, "ADD_N"), "Add", "", (0, [1, ANY]), sum_of_many),
    operator((1, "AVERAGE_POOL_2D"), "AveragePool", "", (5, ONE), pool::pool),
    operator((126, "BATCH_MATMUL"), "Gemm or MatMul", "", (101, TWO), dense::batch_mat_mul),
    operator((37, "BATCH_TO_SPACE_ND"), VIEW, "of one image", (24, [3, 3]), batches::batch_to_space),
    operator((130, "BROADCAST_TO"), "Gather", "constant shape", (104, TWO), repeat::broadcast_to),
    operator((53, "CAST"), "nothing", "between real numbers", (37, ONE), elementwise::cast),
    operator((2, "CONCATENATION"), "Concat", "", (10, [1, ANY]), concat),
    operator((3, "CONV_2D"), "Conv", "constant weights", (1, [2, 3]), conv::conv),
    operator((108, "COS"), ACTIVATION, "", (0, ONE), function),
    operator((124, "DENSIFY"), FOLDED, "of weights", (0, ONE), elementwise::weights_only),
    operator((5, "DEPTH_TO_SPACE"), VIEW, "", (94, ONE), shape::depth_to_space),
    operator((4, "DEPTHWISE_CONV_2D"), "DepthwiseConv", "constant weights", (2, [2, 3]), conv::depthwise),
    operator((6, "DEQUANTIZE"), "DequantizeLinear, or nothing", "", (38, ONE), elementwise::converted),
    operator((42, "DIV"), "Div or ScaleShift", "", (29, TWO), binary),
    operator((111, "ELU"), ACTIVATION, "", (0, ONE), function),
    operator((47, "EXP"), ACTIVATION, "", (33, ONE), function),
    operator((70, "EXPAND_DIMS"), VIEW, "", (52, TWO), shape::expand_dims),
    operator((9, "FULLY_CONNECTED"), "Gemm", "constant weights", (8, [2, 3]), dense::fully_connected),
    operator((36, "GATHER"), "Gather", "constant indices", (23, TWO), part::gather),
    operator((150, "GELU"), ACTIVATION, "", (116, ONE), elementwise::gelu),
    operator((61, "GREATER"), "part of SELECT", "than 0", (44, TWO), select::greater),
    operator((62, "GREATER_EQUAL"), "part of SELECT", "than 0", (45, TWO), select::greater),
    operator((117, "HARD_SWISH"), ACTIVATION, "", (91, ONE), function),
    operator((11, "L2_NORMALIZATION"), "Mul, ReduceSum, Pow", "", (12, ONE), arithmetic::l2_normalization),
    operator((98, "LEAKY_RELU"), ACTIVATION, "", (75, ONE), elementwise::leaky_relu),
    operator((73, "LOG"), ACTIVATION, "", (0, ONE), function),
    operator((50, "LOG_SOFTMAX"), "Softmax", "at the end", (36, ONE), softmax),
    operator((14, "LOGISTIC"), ACTIVATION, "", (0, ONE), function),
    operator((17, "MAX_POOL_2D"), "MaxPool", "", (5, ONE), pool::pool),
    operator((55, "MAXIMUM"), "Max or Activation", "", (39, TWO), binary),
    operator((40, "MEAN"), "GlobalAveragePool or ReduceMean", "", (27, TWO), reduce),
    operator((57, "MINIMUM"), "Min", "", (39, TWO), binary),
    operator((100, "MIRROR_PAD"), "Gather", "constant paddings", (77, TWO), repeat::mirror_pad),
    operator((18, "MUL"), "Mul or ScaleShift", "", (21, TWO), binary),
    operator((59, "NEG"), ACTIVATION, "", (42, ONE), function),
    operator((83, "PACK"), "Concat", "", (59, [1, ANY]), pack),
    operator((34, "PAD"), "Pad or Concat", "", (22, TWO), pad),
    operator((60, "PADV2"), "Pad or Concat", "with zeros", (43, [3, 3]), pad),
    operator((78, "POW"), ACTIVATION, "a constant exponent", (56, TWO), arithmetic::pow),
    operator((54, "PRELU"), "PRelu", "constant slopes", (0, TWO), elementwise::prelu),
    operator((114, "QUANTIZE"), "QuantizeLinear", "to 8 bits", (89, ONE), elementwise::converted),
    operator((82, "REDUCE_MAX"), "GlobalMaxPool or ReduceMax", "", (27, TWO), reduce),
    operator((89, "REDUCE_MIN"), "GlobalMaxPool or ReduceMax", "", (27, TWO), part::reduce_min),
    operator((81, "REDUCE_PROD"), FOLDED, "of shapes", (27, TWO), shape::of_shapes),
    operator((19, "RELU"), ACTIVATION, "", (0, ONE), function),
    operator((152, "RELU_0_TO_1"), ACTIVATION, "", (0, ONE), function),
    operator((20, "RELU_N1_TO_1"), ACTIVATION, "", (0, ONE), elementwise::relu_n1_to_1),
    operator((21, "RELU6"), ACTIVATION, "", (0, ONE), function),
    operator((22, "RESHAPE"), VIEW, "constant shape", (17, [1, 2]), shape::reshape),
    operator((23, "RESIZE_BILINEAR"), "Resize or Gemm", "constant size", (15, TWO), resize::bilinear),
    operator((97, "RESIZE_NEAREST_NEIGHBOR"), "Resize or Gather", "constant size", (74, TWO), resize::nearest),
    operator((105, "REVERSE_V2"), "Gather", "constant axes", (81, TWO), repeat::reverse),
    operator((76, "RSQRT"), ACTIVATION, "", (0, ONE), function),
    operator((64, "SELECT"), ACTIVATION, "ELU, SELU, leaky ReLU taken apart", (47, [3, 3]), select::select),
    operator((123, "SELECT_V2"), ACTIVATION, "ELU, SELU, leaky ReLU taken apart", (98, [3, 3]), select::select),
    operator((77, "SHAPE"), FOLDED, "", (55, ONE), shape::of_shapes),
    operator((66, "SIN"), ACTIVATION, "", (0, ONE), function),
    operator((65, "SLICE"), "Slice", "constant bounds", (48, [3, 3]), slice),
    operator((25, "SOFTMAX"), "Softmax", "", (9, ONE), softmax),
    operator((38, "SPACE_TO_BATCH_ND"), "nothing, or Pad", "of one image", (25, [3, 3]), batches::space_to_batch),
    operator((26, "SPACE_TO_DEPTH"), VIEW, "", (19, ONE), shape::space_to_depth),
    operator((49, "SPLIT"), "Slice", "", (35, TWO), split),
    operator((102, "SPLIT_V"), "Slice", "", (79, [3, 3]), split),
    operator((75, "SQRT"), ACTIVATION, "", (0, ONE), function),
    operator((92, "SQUARE"), "Mul", "", (66, ONE), square),
    operator((99, "SQUARED_DIFFERENCE"), "Sub, Mul", "", (76, TWO), squared_difference),
    operator((43, "SQUEEZE"), VIEW, "", (30, ONE), shape::squeeze),
    operator((45, "STRIDED_SLICE"), "Slice or Gather", "constant bounds", (32, [4, 4]), strided_slice),
    operator((41, "SUB"), "Sub or ScaleShift", "", (28, TWO), binary),
    operator((74, "SUM"), "ReduceSum", "", (27, TWO), reduce),
    operator((28, "TANH"), ACTIVATION, "", (0, ONE), function),
    operator((69, "TILE"), "Gather", "constant multiples", (51, TWO), repeat::tile),
    operator((39, "TRANSPOSE"), VIEW, "", (26, TWO), shape::transpose),
    operator((88, "UNPACK"), "Slice", "", (64, ONE), part::unpack),
];

/// The operators that can be imported, in alphabetical order.
pub(in crate::import) fn supported_ops() -> Vec<SupportedOp> {
    OPERATORS.iter().map(|o| o.op).collect()
}

/// An operator by its number.
pub(super) fn find(number: i32) -> Option<&'static Operator> {
    OPERATORS.iter().find(|o| o.number == number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fold;
    use super::*;

    #[test]
    fn operators_are_sorted_and_have_one_number_each() {
        let names: Vec<String> = OPERATORS
            .iter()
            .map(|o| o.op.name.replace('_', " "))
            .collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        let numbers: BTreeSet<i32> = OPERATORS.iter().map(|o| o.number).collect();
        assert_eq!(numbers.len(), OPERATORS.len());
        assert!(find(3).is_some_and(|o| o.op.name == "CONV_2D") && find(118).is_none());
        let known = |name: &&str| OPERATORS.iter().any(|o| o.op.name == *name);
        assert!(fold::FOLDED.iter().all(known));
    }
}
