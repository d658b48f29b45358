//! Functions called on tensors: `x + 3.0`, `keras.ops.mean(x, (1, 2))`, `tf.nn.relu6(x)`.
//!
//! Keras 3 saves them as operations (`keras.src.ops.numpy`, class `Add`), Keras 2 as `TFOpLambda`
//! with the function's name. Both are looked up in one table; an argument that is not read is
//! refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::super::attributes::{Attributes, axis, numbers};
use super::super::config::{LayerConfig, invalid};
use super::super::functional::{Builder, LayerCall, Operand};
use super::activation::{self, Function};
use super::{SupportedLayer, shape};
use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Conv2d, Dense, Epilogue, Kernel, NodeId, Op, Padding, PoolKind, ResizeKind, Window,
};
use crate::import::ImportError;
use crate::tensor::{AlignedF32, Shape};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Binary(BinaryOp),
    Negative,
    Square,
    /// By the name in `keras.activations`.
    Activation(&'static str),
    LeakyRelu,
    Elu,
    Gelu,
    Softmax,
    Clip,
    Pool(PoolKind),
    Concatenate,
    Reshape,
    GetItem,
    Resize,
    Cast,
}

struct Entry {
    kind: Kind,
    /// Class of the operation in Keras 3.
    keras3: &'static str,
    /// Functions of TensorFlow, as `TFOpLambda` names them.
    tensorflow: &'static [&'static str],
    becomes: &'static str,
    limits: &'static str,
}

const fn entry(
    kind: Kind,
    keras3: &'static str,
    tensorflow: &'static [&'static str],
    becomes: &'static str,
    limits: &'static str,
) -> Entry {
    Entry {
        kind,
        keras3,
        tensorflow,
        becomes,
        limits,
    }
}

const ADD: Kind = Kind::Binary(BinaryOp::Add);
const DIV: Kind = Kind::Binary(BinaryOp::Div);
const CONSTANT: &str = "a constant has 1 value or one a channel";
const ROWS_AND_COLUMNS: &str = "over rows and columns";

const TABLE: &[Entry] = &[
    entry(
        ADD,
        "Add",
        &["__operators__.add", "math.add", "nn.bias_add"],
        "Add or ScaleShift",
        CONSTANT,
    ),
    entry(
        Kind::Binary(BinaryOp::Sub),
        "Subtract",
        &["__operators__.sub", "math.subtract"],
        "Sub or ScaleShift",
        CONSTANT,
    ),
    entry(
        Kind::Binary(BinaryOp::Mul),
        "Multiply",
        &["__operators__.mul", "math.multiply"],
        "Mul or ScaleShift",
        CONSTANT,
    ),
    entry(
        DIV,
        "Divide",
        &["math.divide", "realdiv"],
        "Div or ScaleShift",
        CONSTANT,
    ),
    entry(
        DIV,
        "TrueDivide",
        &["__operators__.truediv", "math.truediv"],
        "Div or ScaleShift",
        CONSTANT,
    ),
    entry(
        Kind::Binary(BinaryOp::Max),
        "Maximum",
        &["math.maximum"],
        "Max or Activation",
        "the only constant is 0",
    ),
    entry(
        Kind::Binary(BinaryOp::Min),
        "Minimum",
        &["math.minimum"],
        "Min",
        "no constants",
    ),
    entry(
        Kind::Negative,
        "Negative",
        &["math.negative", "__operators__.neg"],
        "ScaleShift",
        "",
    ),
    entry(Kind::Square, "Square", &["math.square"], "Mul", ""),
    entry(
        Kind::Activation("relu"),
        "Relu",
        &["nn.relu"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("relu6"),
        "Relu6",
        &["nn.relu6"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("sigmoid"),
        "Sigmoid",
        &["math.sigmoid", "nn.sigmoid", "sigmoid"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("hard_sigmoid"),
        "HardSigmoid",
        &[],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("silu"),
        "Silu",
        &["nn.silu", "nn.swish"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("hard_silu"),
        "HardSilu",
        &[],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("tanh"),
        "Tanh",
        &["math.tanh", "nn.tanh", "tanh"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("selu"),
        "Selu",
        &["nn.selu"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("softplus"),
        "Softplus",
        &["math.softplus", "nn.softplus"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("softsign"),
        "Softsign",
        &["nn.softsign"],
        "Activation",
        "",
    ),
    entry(
        Kind::Activation("exponential"),
        "Exp",
        &["math.exp", "exp"],
        "Activation",
        "",
    ),
    entry(
        Kind::LeakyRelu,
        "LeakyRelu",
        &["nn.leaky_relu"],
        "Activation",
        "",
    ),
    entry(Kind::Elu, "Elu", &["nn.elu"], "Activation", ""),
    entry(Kind::Gelu, "Gelu", &["nn.gelu"], "Activation", ""),
    entry(
        Kind::Softmax,
        "Softmax",
        &["nn.softmax"],
        "Softmax",
        "last axis",
    ),
    entry(
        Kind::Clip,
        "Clip",
        &["clip_by_value"],
        "Activation",
        "from 0 upwards",
    ),
    entry(
        Kind::Pool(PoolKind::Average),
        "Mean",
        &["math.reduce_mean"],
        "GlobalAveragePool",
        ROWS_AND_COLUMNS,
    ),
    entry(
        Kind::Pool(PoolKind::Max),
        "Max",
        &["math.reduce_max"],
        "GlobalMaxPool",
        ROWS_AND_COLUMNS,
    ),
    entry(Kind::Concatenate, "Concatenate", &["concat"], "Concat", ""),
    entry(Kind::Reshape, "Reshape", &["reshape"], "Reshape", ""),
    entry(
        Kind::GetItem,
        "GetItem",
        &["__operators__.getitem"],
        "Conv, Gemm or Crop",
        "channels in any step, rows and columns in step 1",
    ),
    entry(
        Kind::Resize,
        "Resize",
        &["image.resize"],
        "Resize",
        "bilinear or nearest, no antialias",
    ),
    entry(Kind::Cast, "Cast", &["cast"], "nothing", "to a float type"),
];

/// Whether the class stands for a function of Keras 2.
pub(super) fn is_function(class: &str) -> bool {
    matches!(class, "TFOpLambda" | "SlicingOpLambda")
}

fn find(layer: &LayerConfig) -> Option<&'static Entry> {
    if layer.operation {
        return TABLE.iter().find(|e| e.keras3 == layer.class);
    }
    let function = layer.attributes.get("function")?.as_str()?;
    TABLE.iter().find(|e| e.tensorflow.contains(&function))
}

pub(super) fn is_supported(layer: &LayerConfig) -> bool {
    find(layer).is_some()
}

/// The class, with the function where the class says nothing.
pub(super) fn shown_class(layer: &LayerConfig) -> String {
    let function = layer.attributes.get("function").and_then(Value::as_str);
    match function {
        _ if layer.operation => format!("keras.ops {}", layer.class),
        Some(function) if is_function(&layer.class) => {
            format!("{} of tf.{function}", layer.class)
        }
        _ => layer.class.clone(),
    }
}

pub(super) fn supported() -> impl Iterator<Item = SupportedLayer> {
    TABLE.iter().flat_map(|e| {
        std::iter::once(e.keras3)
            .chain(e.tensorflow.iter().copied())
            .map(|class| SupportedLayer {
                class,
                becomes: e.becomes,
                limits: e.limits,
            })
    })
}

/// A call's arguments by position, keyword or configuration; each one read is remembered.
struct Arguments<'a> {
    call: &'a LayerCall<'a>,
    attributes: Attributes<'a>,
    positions: RefCell<BTreeSet<usize>>,
    keywords: RefCell<BTreeSet<String>>,
}

impl<'a> Arguments<'a> {
    fn new(call: &'a LayerCall<'a>) -> Self {
        Self {
            call,
            attributes: Attributes::new(call.layer),
            positions: RefCell::default(),
            keywords: RefCell::default(),
        }
    }

    fn operand(&self, position: usize, keywords: &[&str]) -> Option<Operand> {
        if let Some(found) = self.call.args.get(position) {
            self.positions.borrow_mut().insert(position);
            return Some(found.clone());
        }
        for (key, value) in &self.call.kwargs {
            if keywords.contains(&key.as_str()) {
                self.keywords.borrow_mut().insert(key.clone());
                if !matches!(value, Operand::Value(Value::Null)) {
                    return Some(value.clone());
                }
            }
        }
        None
    }

    /// A setting that is no tensor.
    fn value(&self, position: usize, names: &[&str]) -> Result<Option<Value>, ImportError> {
        match self.operand(position, names) {
            Some(Operand::Value(value)) => return Ok((!value.is_null()).then_some(value)),
            Some(_) => {
                return self
                    .attributes
                    .refuse(names[0], &"a tensor".into(), "a constant");
            }
            None => {}
        }
        Ok(names.iter().find_map(|n| self.attributes.get(n)).cloned())
    }

    fn number(&self, position: usize, names: &[&str]) -> Result<Option<f64>, ImportError> {
        let Some(value) = self.value(position, names)? else {
            return Ok(None);
        };
        match numbers(&value).as_deref() {
            Some([n]) => Ok(Some(*n)),
            _ => self.attributes.refuse(names[0], &value, "one number"),
        }
    }

    fn flag(&self, position: usize, names: &[&str]) -> Result<bool, ImportError> {
        match self.value(position, names)? {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(b),
            Some(value) => self.attributes.refuse(names[0], &value, "true or false"),
        }
    }

    fn node(&self, position: usize, names: &[&str]) -> Result<NodeId, ImportError> {
        match self.operand(position, names) {
            Some(Operand::Node(id)) => Ok(id),
            _ => Err(invalid(
                &self.call.layer.place(),
                format!("argument {position} is not a tensor"),
            )),
        }
    }

    fn finish(&self) -> Result<(), ImportError> {
        self.attributes.ignore(&["function"]);
        for (i, argument) in self.call.args.iter().enumerate() {
            if !argument.is_off() && !self.positions.borrow().contains(&i) {
                return self.attributes.refuse(
                    &format!("call argument {i}"),
                    &shown(argument),
                    "nothing",
                );
            }
        }
        for (key, argument) in &self.call.kwargs {
            // The name given to the operation in the TensorFlow graph.
            if !argument.is_off() && key != "name" && !self.keywords.borrow().contains(key) {
                return self.attributes.refuse(
                    &format!("call argument {key}"),
                    &shown(argument),
                    "nothing",
                );
            }
        }
        self.attributes.finish()
    }
}

fn shown(operand: &Operand) -> Value {
    match operand {
        Operand::Value(value) => value.clone(),
        _ => "a tensor".into(),
    }
}

pub(super) fn emit(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let Some(entry) = find(call.layer) else {
        return Err(ImportError::UnsupportedLayer {
            path: call.layer.path.clone(),
            class: shown_class(call.layer),
        });
    };
    let arguments = Arguments::new(call);
    let id = match entry.kind {
        Kind::Binary(kind) => {
            let a = arguments.operand(0, &["x", "x1", "a", "value"]);
            let b = arguments.operand(1, &["y", "x2", "b", "bias"]);
            binary(builder, call, &arguments, kind, [a, b])?
        }
        Kind::Negative => {
            let x = arguments.node(0, &["x"])?;
            builder.scale_shift(call, None, x, &[-1.0], &[0.0])?
        }
        Kind::Square => {
            let x = arguments.node(0, &["x"])?;
            let op = Op::Binary {
                kind: BinaryOp::Mul,
                activation: Activation::Linear,
            };
            builder.push(call, None, op, &[x, x])?
        }
        Kind::Activation(name) => {
            let x = arguments.node(0, &["x", "features"])?;
            match activation::by_name(name, builder.keras2) {
                Some(Function::Elementwise(a)) => {
                    // `tf.nn.silu` has a slope of its own.
                    if let Some(beta) = arguments.number(1, &["beta"])?
                        && (beta - 1.0).abs() > f64::EPSILON
                    {
                        return arguments.attributes.refuse("beta", &beta.into(), "1");
                    }
                    builder.push(call, None, Op::Activation(a), &[x])?
                }
                _ => builder.push(call, None, Op::Softmax, &[x])?,
            }
        }
        Kind::LeakyRelu => {
            let x = arguments.node(0, &["x", "features"])?;
            let slope = arguments.number(1, &["negative_slope", "alpha"])?;
            let slope = narrow(slope.unwrap_or(0.2));
            let op = Op::Activation(Activation::LeakyRelu { slope });
            builder.push(call, None, op, &[x])?
        }
        Kind::Elu => {
            let x = arguments.node(0, &["x", "features"])?;
            let alpha = narrow(arguments.number(1, &["alpha"])?.unwrap_or(1.0));
            builder.push(call, None, Op::Activation(Activation::Elu { alpha }), &[x])?
        }
        Kind::Gelu => {
            let x = arguments.node(0, &["x", "features"])?;
            let op = if arguments.flag(1, &["approximate"])? {
                Activation::GeluTanh
            } else {
                Activation::Gelu
            };
            builder.push(call, None, Op::Activation(op), &[x])?
        }
        Kind::Softmax => {
            let x = arguments.node(0, &["x", "logits"])?;
            let rank = builder.shape(x).rank();
            if let Some(value) = arguments.value(1, &["axis"])?
                && axis(&value, rank).map(|a| a + 1) != Some(rank)
            {
                return arguments.attributes.refuse("axis", &value, "the last axis");
            }
            builder.push(call, None, Op::Softmax, &[x])?
        }
        Kind::Clip => clip(builder, call, &arguments)?,
        Kind::Pool(kind) => pool(builder, call, &arguments, kind)?,
        Kind::Concatenate => concatenate(builder, call, &arguments)?,
        Kind::Reshape => reshape(builder, call, &arguments)?,
        Kind::GetItem => get_item(builder, call, &arguments)?,
        Kind::Resize => resize(builder, call, &arguments)?,
        Kind::Cast => {
            let x = arguments.node(0, &["x"])?;
            let dtype = arguments.value(1, &["dtype"])?.unwrap_or_default();
            let float = dtype.as_str().is_some_and(|d| d.contains("float"));
            if !float {
                return arguments.attributes.refuse("dtype", &dtype, "a float type");
            }
            x
        }
    };
    arguments.finish()?;
    Ok(id)
}

#[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn binary(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
    kind: BinaryOp,
    operands: [Option<Operand>; 2],
) -> Result<NodeId, ImportError> {
    let (node, constant, constant_first) = match operands {
        [Some(Operand::Node(a)), Some(Operand::Node(b))] => {
            let op = Op::Binary {
                kind,
                activation: Activation::Linear,
            };
            return builder.push(call, None, op, &[a, b]);
        }
        [Some(Operand::Node(a)), Some(Operand::Value(b))] => (a, b, false),
        [Some(Operand::Value(a)), Some(Operand::Node(b))] => (b, a, true),
        _ => {
            return Err(invalid(
                &call.layer.place(),
                "expected two operands, of which one or both are tensors".into(),
            ));
        }
    };
    let channels = builder.shape(node).channels();
    let refuse = |expected: &str| {
        arguments
            .attributes
            .refuse("constant operand", &constant, expected)
    };
    let values = match numbers(&constant) {
        Some(values) if values.len() == 1 || values.len() == channels => values,
        _ => return refuse(&format!("1 or {channels} numbers")),
    };
    // More than one value must lie along the channels: [C] or [1, 1, C], not [C, 1].
    if values.len() > 1 && !last_axis_only(&constant) {
        return refuse("numbers along the last axis");
    }
    let map = |f: fn(f64) -> f64| values.iter().copied().map(f).collect::<Vec<_>>();
    let (scale, shift) = match (kind, constant_first) {
        (BinaryOp::Add, _) => (vec![1.0], values),
        (BinaryOp::Sub, false) => (vec![1.0], map(|v| -v)),
        (BinaryOp::Sub, true) => (vec![-1.0], values),
        (BinaryOp::Mul, _) => (values, vec![0.0]),
        (BinaryOp::Div, false) if values.iter().all(|v| *v != 0.0) => (map(|v| 1.0 / v), vec![0.0]),
        (BinaryOp::Max, _) if values == [0.0] => {
            return builder.push(call, None, Op::Activation(Activation::Relu), &[node]);
        }
        (BinaryOp::Div, _) => return refuse("a tensor divided by numbers other than 0"),
        (BinaryOp::Max, _) => return refuse("0"),
        (BinaryOp::Min, _) => return refuse("a tensor"),
    };
    builder.scale_shift(call, None, node, &scale, &shift)
}

/// Whether a nested list has extents other than 1 in its innermost lists only.
fn last_axis_only(value: &Value) -> bool {
    match value {
        Value::Array(items) => match items.as_slice() {
            [one] => last_axis_only(one),
            items => items.iter().all(Value::is_number),
        },
        Value::Object(map) => map
            .get("value")
            .or_else(|| map.get("config").and_then(|c| c.get("value")))
            .is_some_and(last_axis_only),
        _ => true,
    }
}

fn clip(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x", "t"])?;
    let low = arguments.number(1, &["x_min", "clip_value_min"])?;
    let high = arguments.number(2, &["x_max", "clip_value_max"])?;
    match (low, high) {
        (Some(low), Some(high)) if low == 0.0 && high > 0.0 => {
            let activation = activation::general_relu(Some(narrow(high)), 0.0, 0.0);
            builder.push(call, None, Op::Activation(activation), &[x])
        }
        _ => arguments.attributes.refuse(
            "x_min",
            &low.map_or(Value::Null, Value::from),
            "0, below a positive x_max",
        ),
    }
}

fn pool(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
    kind: PoolKind,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x", "input_tensor"])?;
    let rank = builder.shape(x).rank();
    let value = arguments.value(1, &["axis"])?.unwrap_or_default();
    let mut axes: Vec<_> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| axis(v, rank))
        .collect();
    axes.sort_unstable();
    if rank != 3 || axes != [Some(0), Some(1)] {
        return arguments.attributes.refuse("axis", &value, "[1, 2]");
    }
    let keep_dims = arguments.flag(2, &["keepdims"])?;
    builder.push(call, None, Op::GlobalPool { kind, keep_dims }, &[x])
}

fn concatenate(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let mut inputs = Vec::new();
    if let Some(operand) = arguments.operand(0, &["xs", "values"]) {
        // A constant among the tensors would be lost.
        if let Operand::List(items) = &operand
            && let Some(constant) = items.iter().find(|i| !matches!(i, Operand::Node(_)))
        {
            return arguments
                .attributes
                .refuse("input", &shown(constant), "a tensor");
        }
        operand.nodes(&mut inputs);
    }
    let rank = inputs.first().map_or(0, |&id| builder.shape(id).rank());
    let value = arguments.value(1, &["axis"])?.unwrap_or_default();
    match axis(&value, rank) {
        Some(axis) => builder.push(call, None, Op::Concat { axis }, &inputs),
        None => arguments
            .attributes
            .refuse("axis", &value, "an axis other than the batch axis"),
    }
}

fn reshape(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x", "tensor"])?;
    let value = arguments
        .value(1, &["newshape", "shape"])?
        .unwrap_or_default();
    let len = builder.shape(x).len();
    let target = match value.as_array().map(Vec::as_slice) {
        // The batch axis stays open.
        Some([Value::Null, rest @ ..]) => shape::target_shape(rest, len),
        Some([first, rest @ ..]) if *first == -1 => shape::target_shape(rest, len),
        _ => None,
    };
    match target {
        Some(target) => shape::reshape_to(builder, call, x, target),
        None => arguments.attributes.refuse(
            "newshape",
            &value,
            &format!("[-1, ...] with {len} elements after the batch axis"),
        ),
    }
}

fn resize(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["images"])?;
    let value = arguments.value(1, &["size"])?.unwrap_or_default();
    let size = match numbers(&value).as_deref() {
        Some([h, w]) => [*h, *w],
        _ => {
            return arguments
                .attributes
                .refuse("size", &value, "[rows, columns]");
        }
    };
    if size
        .iter()
        .any(|n| *n < 1.0 || *n > 65_536.0 || n.fract() != 0.0)
    {
        return arguments
            .attributes
            .refuse("size", &value, "[rows, columns]");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers in 1..=65536"
    )]
    let size = size.map(|n| n as usize);
    let method = arguments
        .value(2, &["interpolation", "method"])?
        .unwrap_or_else(|| "bilinear".into());
    let kind = match method.as_str() {
        Some("bilinear") => ResizeKind::Bilinear,
        Some("nearest") => ResizeKind::Nearest,
        _ => {
            return arguments.attributes.refuse(
                "interpolation",
                &method,
                "`bilinear` or `nearest`",
            );
        }
    };
    arguments.attributes.channels_last()?;
    // Only used with `pad_to_aspect_ratio`, which is off or refused.
    arguments.attributes.ignore(&["fill_mode", "fill_value"]);
    builder.push(call, None, Op::Resize { kind, size }, &[x])
}

/// Axes longer than this are not sliced: the list of positions is not worth its memory.
const MAX_SLICED: usize = 1 << 20;

/// Positions `start, start + step, ...` that a slice picks from `len`.
fn picked(slice: &Value, len: usize) -> Option<Vec<usize>> {
    if len > MAX_SLICED {
        return None;
    }
    let config = slice.get("config").unwrap_or(slice);
    let bound = |name: &str| match config.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(v) => v.as_i64().map(Some),
    };
    let step = bound("step")?.unwrap_or(1);
    let length = i64::try_from(len).ok()?;
    // Python's rule: negative bounds count from the end, then all are clamped.
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let resolve = |value: Option<i64>, default: i64| match value {
        None => default,
        Some(v) if v < 0 => v.saturating_add(length).clamp(low, high),
        Some(v) => v.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let start = resolve(bound("start")?, first);
    let stop = resolve(bound("stop")?, last);
    let mut at = start;
    let mut list = Vec::new();
    while step != 0 && (if step > 0 { at < stop } else { at > stop }) {
        list.push(usize::try_from(at).ok()?);
        at = at.checked_add(step)?;
    }
    (!list.is_empty()).then_some(list)
}

/// `x[..., ::-1]`, `x[:, 2:10, :, :3]`: rows and columns by cropping, channels by a product with a
/// matrix of zeros and ones, which is exact.
fn get_item(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x", "tensor"])?;
    let value = arguments
        .value(1, &["key", "slice_spec"])?
        .unwrap_or_default();
    let from = builder.shape(x).clone();
    let refuse = || {
        arguments
            .attributes
            .refuse("key", &value, "slices of rows, columns and channels")
    };
    let Some(axes) = slices(&value, &from) else {
        return refuse();
    };
    let mut current = x;
    let whole = |i: usize| axes[i].iter().copied().eq(0..from.dims()[i]);
    let last = from.rank() - 1;
    if !(0..last).all(whole) {
        let contiguous = |list: &[usize]| list.windows(2).all(|w| w[1] == w[0] + 1);
        if from.rank() != 3 || !contiguous(&axes[0]) || !contiguous(&axes[1]) {
            return refuse();
        }
        let cut = |i: usize| [axes[i][0], from.dims()[i] - axes[i][0] - axes[i].len()];
        let ([top, bottom], [left, right]) = (cut(0), cut(1));
        let op = Op::Crop(Padding {
            top,
            left,
            bottom,
            right,
        });
        let suffix = (!whole(last)).then_some("crop");
        current = builder.push(call, suffix, op, &[current])?;
    }
    if !whole(last) {
        current = pick_channels(builder, call, current, &axes[last])?;
    }
    Ok(current)
}

/// The positions picked on each axis without the batch axis, which must be taken whole.
fn slices(value: &Value, shape: &Shape) -> Option<Vec<Vec<usize>>> {
    let items = match value {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    };
    let is_ellipsis = |v: &Value| v.get("class_name").is_some_and(|c| *c == "__ellipsis__");
    let whole = Value::Object(Default::default());
    let with_batch = shape.rank() + 1;
    let missing = with_batch.checked_sub(items.iter().filter(|i| !is_ellipsis(i)).count())?;
    let mut full = Vec::new();
    let mut expanded = false;
    for item in items {
        if is_ellipsis(&item) && !expanded {
            full.extend(std::iter::repeat_n(whole.clone(), missing));
            expanded = true;
        } else if item.is_object() && !is_ellipsis(&item) {
            full.push(item);
        } else {
            // An index drops an axis; a null adds one.
            return None;
        }
    }
    full.resize(with_batch, whole);
    let (batch, axes) = full.split_first()?;
    // Any length: the batch axis is whole when no bound is given.
    if picked(batch, 7)? != [0, 1, 2, 3, 4, 5, 6] {
        return None;
    }
    axes.iter()
        .zip(shape.dims())
        .map(|(slice, &len)| picked(slice, len))
        .collect()
}

fn pick_channels(
    builder: &mut Builder,
    call: &LayerCall,
    input: NodeId,
    channels: &[usize],
) -> Result<NodeId, ImportError> {
    let from = builder.shape(input).clone();
    let (k, n) = (from.channels(), channels.len());
    if k.saturating_mul(n) > 1 << 22 {
        return Err(invalid(
            &call.layer.place(),
            format!("picking {n} of {k} channels is too large"),
        ));
    }
    let mut matrix = AlignedF32::zeroed(k * n);
    for (column, &row) in channels.iter().enumerate() {
        matrix.as_mut_slice()[row * n + column] = 1.0;
    }
    let key = format!("{}/pick", call.name);
    let kernel = Kernel::plain(key.clone());
    let op = if from.rank() == 3 {
        builder.insert(call.layer, key, &[1, 1, k, n], matrix)?;
        Op::Conv2d(Conv2d {
            window: Window {
                kernel: [1, 1],
                strides: [1, 1],
                dilations: [1, 1],
                padding: Padding::default(),
            },
            groups: 1,
            filters: n,
            kernel,
            bias: None,
            epilogue: Epilogue::default(),
        })
    } else {
        builder.insert(call.layer, key, &[k, n], matrix)?;
        Op::Dense(Dense {
            units: n,
            kernel,
            bias: None,
            epilogue: Epilogue::default(),
        })
    };
    builder.push(call, None, op, &[input])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slices_pick_what_python_picks() {
        for (start, stop, step, expected) in [
            (json!(null), json!(null), json!(-1), Some(vec![3, 2, 1, 0])),
            (json!(1), json!(-1), json!(null), Some(vec![1, 2])),
            (json!(-3), json!(null), json!(2), Some(vec![1, 3])),
            (json!(2), json!(0), json!(-1), Some(vec![2, 1])),
            (json!(0), json!(100), json!(1), Some(vec![0, 1, 2, 3])),
            (json!(3), json!(1), json!(1), None),
            (json!(0), json!(1), json!(0), None),
            (
                json!(i64::MIN),
                json!(i64::MAX),
                json!(1),
                Some(vec![0, 1, 2, 3]),
            ),
        ] {
            let slice = json!({"config": {"start": start, "stop": stop, "step": step}});
            assert_eq!(picked(&slice, 4), expected, "{slice}");
        }
    }

    #[test]
    fn the_batch_axis_is_never_sliced() {
        let shape = Shape::new(&[5, 4, 3]);
        let all = json!({"start": null});
        let reverse = json!({"start": null, "stop": null, "step": -1});
        let ellipsis = json!({"class_name": "__ellipsis__"});
        let last = slices(&json!([ellipsis, reverse]), &shape).unwrap();
        assert_eq!(last[2], [2, 1, 0]);
        assert_eq!(last[0], [0, 1, 2, 3, 4]);
        assert!(slices(&json!([reverse, all, all, all]), &shape).is_none());
        assert!(slices(&json!([all, 3, all, all]), &shape).is_none());
        assert!(slices(&json!([all, all, all, all, all]), &shape).is_none());
    }

    #[test]
    fn constants_must_lie_along_the_channels() {
        assert!(last_axis_only(&json!([1, 2, 3])));
        assert!(last_axis_only(&json!([[[1, 2, 3]]])));
        assert!(!last_axis_only(&json!([[1], [2], [3]])));
    }
}
