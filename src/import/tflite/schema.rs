//! The tables of a TFLite file that are read: the slots of `schema.fbs` that an importer needs, and
//! no others.
//!
//! Tensors and operators are listed once; what is long in them (names, numbers) stays in the file.
//!
//! Source: <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs>.

use std::borrow::Cow;

use super::flatbuffer::{Table, Vector, damaged};
use crate::import::error::ImportError;

/// The largest file seen has 1,500 tensors and 700 operators.
const MAX_TENSORS: usize = 200_000;
const MAX_OPERATORS: usize = 20_000;
const MAX_CODES: usize = 4096;
const MAX_RANK: usize = 8;
/// Inputs of all operators together; several operators may name one list.
const MAX_LINKS: usize = 1 << 20;
const MAX_METADATA: usize = 1024;

/// A model with its main graph.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) version: u32,
    pub(super) description: Cow<'a, str>,
    codes: Vec<Code<'a>>,
    buffers: Vec<Table<'a>>,
    pub(super) metadata: Vec<(Cow<'a, str>, u32)>,
    pub(super) tensors: Vec<Tensor<'a>>,
    pub(super) operators: Vec<Operator<'a>>,
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
    bytes: &'a [u8],
}

/// Which operator, by its number or by the name that its author gave it.
#[derive(Clone, Debug)]
pub(super) struct Code<'a> {
    pub(super) builtin: i32,
    pub(super) custom: Cow<'a, str>,
}

/// A tensor, or what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: Cow<'a, str>,
    /// `TensorType`
    pub(super) element: i8,
    pub(super) shape: Vec<i32>,
    /// The shape with -1 for extents that are open; empty if none is.
    pub(super) signature: Vec<i32>,
    buffer: u32,
    pub(super) is_external: bool,
    pub(super) is_variable: bool,
    pub(super) sparsity: Option<Table<'a>>,
    pub(super) quantization: Option<Quantization<'a>>,
    pub(super) at: usize,
}

/// How integers stand for real numbers: `(q - zero_point) * scale`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantization<'a> {
    pub(super) scales: Vector<'a>,
    pub(super) zero_points: Vector<'a>,
    pub(super) axis: i32,
}

#[derive(Clone, Debug)]
pub(super) struct Operator<'a> {
    pub(super) code: usize,
    pub(super) inputs: Vector<'a>,
    pub(super) outputs: Vector<'a>,
    /// Which table of options it has; 0 for none.
    pub(super) options_type: i8,
    pub(super) options: Option<Table<'a>>,
    pub(super) at: usize,
}

impl<'a> Model<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let root = Table::root(bytes)?;
        let graph = root.tables(2, "graphs", MAX_OPERATORS)?.next();
        let graph = graph.ok_or_else(|| damaged(root.at, "it has no graph"))??;
        let codes = root.tables(1, "kinds of operators", MAX_CODES)?;
        let buffers = root.tables(4, "buffers", MAX_TENSORS)?;
        let metadata = root.tables(6, "entries of metadata", MAX_METADATA)?;
        let tensors = graph.tables(0, "tensors", MAX_TENSORS)?;
        let operators = graph.tables(3, "operators", MAX_OPERATORS)?;
        let model = Self {
            version: root.u32(0, 0)?,
            description: root.text(3)?,
            codes: codes.map(|t| code(t?)).collect::<Result<_, _>>()?,
            buffers: buffers.collect::<Result<_, _>>()?,
            metadata: metadata
                .map(|t| t.and_then(|t| Ok((t.text(0)?, t.u32(1, 0)?))))
                .collect::<Result<_, _>>()?,
            tensors: tensors.map(|t| tensor(t?)).collect::<Result<_, _>>()?,
            operators: operators.map(|t| operator(t?)).collect::<Result<_, _>>()?,
            inputs: links(graph.vector(1, 4)?, graph.at)?,
            outputs: links(graph.vector(2, 4)?, graph.at)?,
            bytes,
        };
        let of = |o: &Operator| o.inputs.len() + o.outputs.len();
        if model.operators.iter().map(of).sum::<usize>() > MAX_LINKS {
            return Err(damaged(graph.at, "its operators have too many inputs"));
        }
        Ok(model)
    }

    /// The kind of an operator.
    pub(super) fn code(&self, operator: &Operator) -> Result<&Code<'a>, ImportError> {
        self.codes.get(operator.code).ok_or_else(|| {
            let message = format!(
                "an operator is of kind {}, which does not exist",
                operator.code
            );
            damaged(operator.at, message)
        })
    }

    /// The bytes of a buffer; empty for values that are computed.
    pub(super) fn buffer(&self, index: u32) -> Result<&'a [u8], ImportError> {
        let buffer = usize::try_from(index)
            .ok()
            .and_then(|i| self.buffers.get(i));
        let Some(buffer) = buffer else {
            return Err(damaged(0, format!("there is no buffer {index}")));
        };
        // Files above 2 GB have their weights behind the tables.
        let (offset, size) = (buffer.u64(1, 0)?, buffer.u64(2, 0)?);
        if offset > 1 {
            let start = usize::try_from(offset).ok();
            let end = start.and_then(|s| s.checked_add(usize::try_from(size).ok()?));
            let range = start.zip(end);
            let found = range.and_then(|(start, end)| self.bytes.get(start..end));
            let lost = || damaged(buffer.at, "a buffer lies outside of the file");
            return found.ok_or_else(lost);
        }
        Ok(buffer.vector(0, 1)?.bytes)
    }

    /// The bytes of a tensor that is stored; empty for values that are computed.
    pub(super) fn stored(&self, tensor: &Tensor) -> Result<&'a [u8], ImportError> {
        self.buffer(tensor.buffer)
    }
}

fn code(table: Table) -> Result<Code, ImportError> {
    // Numbers above 127 did not fit in the first field.
    let builtin = i32::from(table.i8(0, 0)?).max(table.i32(3, 0)?);
    Ok(Code {
        builtin,
        custom: table.text(1)?,
    })
}

fn links(list: Vector, at: usize) -> Result<Vec<i32>, ImportError> {
    if list.len() > 4096 {
        return Err(damaged(at, "it has more than 4096 inputs or outputs"));
    }
    Ok(list.ints().collect())
}

fn tensor(table: Table) -> Result<Tensor, ImportError> {
    let extents = |slot| {
        let list = table.vector(slot, 4)?;
        if list.len() > MAX_RANK {
            let message = format!("a tensor has {} axes, the limit is {MAX_RANK}", list.len());
            return Err(damaged(table.at, message));
        }
        Ok(list.ints().collect::<Vec<i32>>())
    };
    let quantization = match table.table(4)? {
        None => None,
        Some(q) => Some(Quantization {
            scales: q.vector(2, 4)?,
            zero_points: q.vector(3, 8)?,
            axis: q.i32(6, 0)?,
        })
        .filter(|q| !q.scales.is_empty()),
    };
    Ok(Tensor {
        shape: extents(0)?,
        element: table.i8(1, 0)?,
        buffer: table.u32(2, 0)?,
        name: table.text(3)?,
        quantization,
        is_variable: table.i8(5, 0)? != 0,
        sparsity: table.table(6)?,
        signature: extents(7)?,
        is_external: table.u32(10, 0)? != 0,
        at: table.at,
    })
}

fn operator(table: Table) -> Result<Operator, ImportError> {
    Ok(Operator {
        code: usize::try_from(table.u32(0, 0)?).unwrap_or(usize::MAX),
        inputs: table.vector(1, 4)?,
        outputs: table.vector(2, 4)?,
        options_type: table.i8(3, 0)?,
        options: table.table(4)?,
        at: table.at,
    })
}

/// What an element type is called.
pub(super) fn element_name(element: i8) -> String {
    const NAMES: [&str; 19] = [
        "FLOAT32",
        "FLOAT16",
        "INT32",
        "UINT8",
        "INT64",
        "STRING",
        "BOOL",
        "INT16",
        "COMPLEX64",
        "INT8",
        "FLOAT64",
        "COMPLEX128",
        "UINT64",
        "RESOURCE",
        "VARIANT",
        "UINT32",
        "UINT16",
        "INT4",
        "BFLOAT16",
    ];
    let name = usize::try_from(element).ok().and_then(|i| NAMES.get(i));
    name.map_or_else(|| format!("type {element}"), |name| (*name).to_owned())
}

/// Operators that are not imported, so that a message can name them: their numbers in
/// `BuiltinOperator`.
#[rustfmt::skip]
pub(super) const OPERATOR_NAMES: &[(i32, &str)] = &[
    (7, "EMBEDDING_LOOKUP"), (8, "FLOOR"), (10, "HASHTABLE_LOOKUP"), (11, "L2_NORMALIZATION"),
    (12, "L2_POOL_2D"), (13, "LOCAL_RESPONSE_NORMALIZATION"), (15, "LSH_PROJECTION"),
    (16, "LSTM"), (24, "RNN"), (27, "SVDF"), (29, "CONCAT_EMBEDDINGS"), (30, "SKIP_GRAM"),
    (31, "CALL"), (33, "EMBEDDING_LOOKUP_SPARSE"), (35, "UNIDIRECTIONAL_SEQUENCE_RNN"),
    (37, "BATCH_TO_SPACE_ND"), (38, "SPACE_TO_BATCH_ND"), (44, "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    (46, "BIDIRECTIONAL_SEQUENCE_RNN"), (48, "TOPK_V2"), (52, "BIDIRECTIONAL_SEQUENCE_LSTM"),
    (56, "ARG_MAX"), (58, "LESS"), (63, "LESS_EQUAL"), (67, "TRANSPOSE_CONV"),
    (68, "SPARSE_TO_DENSE"), (69, "TILE"), (71, "EQUAL"), (72, "NOT_EQUAL"), (79, "ARG_MIN"),
    (80, "FAKE_QUANT"), (84, "LOGICAL_OR"), (85, "ONE_HOT"), (86, "LOGICAL_AND"),
    (87, "LOGICAL_NOT"), (89, "REDUCE_MIN"), (90, "FLOOR_DIV"), (91, "REDUCE_ANY"),
    (93, "ZEROS_LIKE"), (94, "FILL"), (95, "FLOOR_MOD"), (96, "RANGE"), (100, "MIRROR_PAD"),
    (103, "UNIQUE"), (104, "CEIL"), (105, "REVERSE_V2"), (107, "GATHER_ND"), (109, "WHERE"),
    (110, "RANK"), (112, "REVERSE_SEQUENCE"), (113, "MATRIX_DIAG"),
    (115, "MATRIX_SET_DIAG"), (116, "ROUND"), (118, "IF"), (119, "WHILE"),
    (120, "NON_MAX_SUPPRESSION_V4"), (121, "NON_MAX_SUPPRESSION_V5"), (122, "SCATTER_ND"),
    (125, "SEGMENT_SUM"), (128, "CUMSUM"), (129, "CALL_ONCE"), (130, "BROADCAST_TO"),
    (131, "RFFT2D"), (132, "CONV_3D"), (133, "IMAG"), (134, "REAL"), (135, "COMPLEX_ABS"),
    (136, "HASHTABLE"), (137, "HASHTABLE_FIND"), (138, "HASHTABLE_IMPORT"),
    (139, "HASHTABLE_SIZE"), (140, "REDUCE_ALL"), (141, "CONV_3D_TRANSPOSE"), (142, "VAR_HANDLE"),
    (143, "READ_VARIABLE"), (144, "ASSIGN_VARIABLE"), (145, "BROADCAST_ARGS"),
    (146, "RANDOM_STANDARD_NORMAL"), (147, "BUCKETIZE"), (148, "RANDOM_UNIFORM"),
    (149, "MULTINOMIAL"), (151, "DYNAMIC_UPDATE_SLICE"), (153, "UNSORTED_SEGMENT_PROD"),
    (154, "UNSORTED_SEGMENT_MAX"), (155, "UNSORTED_SEGMENT_SUM"), (156, "ATAN2"),
    (157, "UNSORTED_SEGMENT_MIN"), (158, "SIGN"), (159, "BITCAST"), (160, "BITWISE_XOR"),
];
