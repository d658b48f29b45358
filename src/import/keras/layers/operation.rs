//! Functions called on tensors: `x + 3.0`, `keras.ops.mean(x, (1, 2))`, `tf.nn.relu6(x)`.
//!
//! Keras 3 saves them as operations (`keras.src.ops.numpy`, class `Add`), Keras 2 as `TFOpLambda`
//! with the function's name. Both are looked up in one table. An argument that is not read is
//! refused.

use serde_json::Value;

use super::super::attributes::{Attributes, axis, constant, numbers};
use super::super::call::{Builder, LayerCall, Operand};
use super::super::config::{LayerConfig, place};
use super::activation::{self, Function};
use super::shape;
use crate::activation::Activation;
use crate::graph::{BinaryOp, NodeId, Op, PoolKind, ReduceKind, ResizeKind};
use crate::import::affine::{Affine, WithConstant, with_constant};
use crate::import::axes;
use crate::import::error::ImportError;
use crate::import::functions::{self, narrow};
use crate::import::read_set::ReadSet;
use crate::import::reduce;
use crate::import::select::{self, Pick};
use crate::tensor::Shape;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Binary(BinaryOp),
    Negative,
    Square,
    /// By the name in `keras.activations`.
    Activation(&'static str),
    Elementwise(Activation),
    Power,
    MatMul,
    Sum,
    Transpose,
    LeakyRelu,
    Elu,
    Gelu,
    Softmax,
    Clip,
    BiasAdd,
    Pool(PoolKind),
    Concatenate,
    Stack,
    Reshape,
    ExpandDims,
    Squeeze,
    GetItem,
    Resize,
    Cast,
}

struct Entry {
    kind: Kind,
    /// Class of the operation in Keras 3, or empty.
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

const fn elementwise(activation: Activation, keras3: &'static str) -> Entry {
    entry(Kind::Elementwise(activation), keras3, &[], "Activation", "")
}

const ADD: Kind = Kind::Binary(BinaryOp::Add);
const DIV: Kind = Kind::Binary(BinaryOp::Div);
const CONSTANT: &str = "a constant has 1 value or one a channel";
const AXES: &str = "not the batch axis";

const TABLE: &[Entry] = &[
    entry(
        ADD,
        "Add",
        &["__operators__.add", "math.add"],
        "Add or ScaleShift",
        CONSTANT,
    ),
    entry(
        Kind::BiasAdd,
        "",
        &["nn.bias_add"],
        "Add or ScaleShift",
        "NHWC",
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
    elementwise(Activation::Abs, "Absolute"),
    elementwise(Activation::Cos, "Cos"),
    elementwise(Activation::Erf, "Erf"),
    elementwise(Activation::Log, "Log"),
    elementwise(Activation::Reciprocal, "Reciprocal"),
    elementwise(Activation::Sin, "Sin"),
    elementwise(Activation::Sqrt, "Sqrt"),
    entry(Kind::Power, "Power", &[], "Activation", "a constant power"),
    entry(
        Kind::MatMul,
        "Matmul",
        &[],
        "MatMul",
        "two tensors of two axes or more",
    ),
    entry(Kind::Sum, "Sum", &[], "ReduceSum", AXES),
    entry(Kind::Transpose, "Transpose", &[], "Transpose", AXES),
    entry(
        Kind::LeakyRelu,
        "LeakyRelu",
        &["nn.leaky_relu"],
        "Activation",
        "",
    ),
    entry(Kind::Elu, "Elu", &["nn.elu"], "Activation", ""),
    entry(Kind::Gelu, "Gelu", &["nn.gelu"], "Activation", ""),
    entry(Kind::Softmax, "Softmax", &["nn.softmax"], "Softmax", AXES),
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
        "GlobalAveragePool or AveragePool",
        AXES,
    ),
    entry(
        Kind::Pool(PoolKind::Max),
        "Max",
        &["math.reduce_max"],
        "GlobalMaxPool or MaxPool",
        AXES,
    ),
    entry(Kind::Concatenate, "Concatenate", &["concat"], "Concat", ""),
    entry(Kind::Stack, "Stack", &["stack"], "Concat or Conv", AXES),
    entry(Kind::Reshape, "Reshape", &["reshape"], "Reshape", ""),
    entry(
        Kind::ExpandDims,
        "ExpandDims",
        &["expand_dims"],
        "Reshape",
        AXES,
    ),
    entry(
        Kind::Squeeze,
        "Squeeze",
        &["squeeze", "compat.v1.squeeze"],
        "Reshape",
        AXES,
    ),
    entry(
        Kind::GetItem,
        "GetItem",
        &["__operators__.getitem"],
        "Conv, Gemm, Crop, Gather or Reshape",
        AXES,
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

/// The class; or the function, if the class says nothing.
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

/// Name, result, and limits of each function.
pub(super) fn supported() -> impl Iterator<Item = [&'static str; 3]> {
    TABLE.iter().flat_map(|e| {
        (!e.keras3.is_empty())
            .then_some(e.keras3)
            .into_iter()
            .chain(e.tensorflow.iter().copied())
            .map(|name| [name, e.becomes, e.limits])
    })
}

/// A call's arguments by position, keyword or configuration. Each one that is read is recorded.
struct Arguments<'a> {
    call: &'a LayerCall<'a>,
    attributes: Attributes<'a>,
    positions: ReadSet<usize>,
    keywords: ReadSet<String>,
}

impl<'a> Arguments<'a> {
    fn new(call: &'a LayerCall<'a>) -> Self {
        Self {
            call,
            attributes: Attributes::new(call.layer),
            positions: ReadSet::default(),
            keywords: ReadSet::default(),
        }
    }

    fn operand(&self, position: usize, keywords: &[&str]) -> Option<Operand> {
        if let Some(found) = self.call.args.get(position) {
            self.positions.mark(position);
            return Some(found.clone());
        }
        for (key, value) in &self.call.kwargs {
            if keywords.contains(&key.as_str()) {
                self.keywords.mark(key.clone());
                if !matches!(value, Operand::Value(Value::Null)) {
                    return Some(value.clone());
                }
            }
        }
        None
    }

    /// A setting that is not a tensor.
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
            _ => Err(self
                .call
                .site
                .place
                .invalid(format!("argument {position} is not a tensor"))),
        }
    }

    fn finish(&self) -> Result<(), ImportError> {
        self.attributes.ignore(&["function"]);
        for (i, argument) in self.call.args.iter().enumerate() {
            if !argument.is_off() && !self.positions.has(&i) {
                return self.attributes.refuse(
                    &format!("call argument {i}"),
                    &shown(argument),
                    "nothing",
                );
            }
        }
        for (key, argument) in &self.call.kwargs {
            // The name given to the operation in the TensorFlow graph.
            if !argument.is_off() && key != "name" && !self.keywords.has(key) {
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
        return Err(place(&call.layer.path, &shown_class(call.layer)).unsupported());
    };
    let arguments = Arguments::new(call);
    let id = match entry.kind {
        Kind::Binary(kind) => {
            let a = arguments.operand(0, &["x", "x1", "a"]);
            let b = arguments.operand(1, &["y", "x2", "b"]);
            binary(builder, call, &arguments, kind, [a, b])?
        }
        Kind::BiasAdd => {
            let a = arguments.operand(0, &["value"]);
            let b = arguments.operand(1, &["bias"]);
            let format = arguments.value(2, &["data_format"])?;
            // The function's own names of channels_last.
            match format.as_ref().map(Value::as_str) {
                None | Some(Some("NHWC" | "N...C" | "channels_last")) => {}
                Some(_) => {
                    let given = format.unwrap_or_default();
                    return arguments.attributes.refuse("data_format", &given, "`NHWC`");
                }
            }
            binary(builder, call, &arguments, BinaryOp::Add, [a, b])?
        }
        Kind::Negative => {
            let x = arguments.node(0, &["x"])?;
            builder.affine(call, x, &Affine::scalar(-1.0, 0.0))?
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
                    // `tf.nn.silu` has its own slope.
                    if let Some(beta) = arguments.number(1, &["beta"])?
                        && (beta - 1.0).abs() > f64::EPSILON
                    {
                        return arguments.attributes.refuse("beta", &beta.into(), "1");
                    }
                    builder.push(call, None, Op::Activation(a), &[x])?
                }
                _ => builder.push(call, None, Op::Softmax { axis: None }, &[x])?,
            }
        }
        Kind::Elementwise(activation) => {
            let x = arguments.node(0, &["x"])?;
            builder.push(call, None, Op::Activation(activation), &[x])?
        }
        Kind::Power => {
            let x = arguments.node(0, &["x1"])?;
            let Some(exponent) = arguments.number(1, &["x2"])? else {
                let missing = "expected a constant power";
                return Err(call.site.place.invalid(missing));
            };
            let exponent = narrow(exponent);
            builder.push(
                call,
                None,
                Op::Activation(Activation::Pow { exponent }),
                &[x],
            )?
        }
        Kind::MatMul => {
            let a = arguments.node(0, &["x1"])?;
            let b = arguments.node(1, &["x2"])?;
            builder.push(call, None, Op::MatMul, &[a, b])?
        }
        Kind::Sum => sum(builder, call, &arguments)?,
        Kind::Transpose => transpose(builder, call, &arguments)?,
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
            let value = arguments.value(1, &["axis"])?.unwrap_or((-1).into());
            let Some(axis) = axis(&value, rank) else {
                let expected = "one axis other than the batch axis";
                return arguments.attributes.refuse("axis", &value, expected);
            };
            builder.push(call, None, Op::softmax(axis, rank), &[x])?
        }
        Kind::Clip => clip(builder, call, &arguments)?,
        Kind::Pool(kind) => pool(builder, call, &arguments, kind)?,
        Kind::Concatenate => concatenate(builder, call, &arguments)?,
        Kind::Stack => stack(builder, call, &arguments)?,
        Kind::Reshape => reshape(builder, call, &arguments)?,
        Kind::ExpandDims => with_axes(builder, call, &arguments, axes::expanded)?,
        Kind::Squeeze => with_axes(builder, call, &arguments, axes::squeezed)?,
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

fn binary(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
    kind: BinaryOp,
    operands: [Option<Operand>; 2],
) -> Result<NodeId, ImportError> {
    let (node, operand, constant_first) = match operands {
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
            return Err(call
                .site
                .place
                .invalid("expected two operands, and at least one of them a tensor"));
        }
    };
    let channels = builder.shape(node).channels();
    let refuse = |expected: &str| {
        arguments
            .attributes
            .refuse("constant operand", &operand, expected)
    };
    let Some(constant) = constant(&operand) else {
        return refuse(&format!("1 or {channels} numbers"));
    };
    match with_constant(kind, &constant, constant_first, channels) {
        Ok(WithConstant::Affine(affine)) => builder.affine(call, node, &affine),
        Ok(WithConstant::Activation(activation)) => {
            builder.push(call, None, Op::Activation(activation), &[node])
        }
        Err(expected) => refuse(&expected),
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
    match functions::clip(low, high) {
        Some(activation) if high.is_some() => {
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
    let axes = reduced_axes(builder, arguments, x)?;
    let keep_dims = arguments.flag(2, &["keepdims"])?;
    let site = &call.site;
    reduce::reduce(&mut builder.graph, site, x, (kind, &axes), keep_dims)
}

/// The `axis` of a reduction, without the batch axis.
fn reduced_axes(
    builder: &Builder,
    arguments: &Arguments,
    x: NodeId,
) -> Result<Vec<usize>, ImportError> {
    let rank = builder.shape(x).rank();
    let value = arguments.value(1, &["axis"])?.unwrap_or_default();
    match whole_numbers(&value).and_then(|given| axes::axes(&given, rank)) {
        Some(axes) => Ok(axes),
        None => arguments
            .attributes
            .refuse("axis", &value, "axes other than the batch axis"),
    }
}

fn sum(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x"])?;
    let axes = reduced_axes(builder, arguments, x)?;
    let keep_dims = arguments.flag(2, &["keepdims"])?;
    let kind = ReduceKind::Sum;
    let op = Op::Reduce {
        kind,
        axes,
        keep_dims,
    };
    builder.push(call, None, op, &[x])
}

/// The batch axis stays where it is.
fn transpose(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x"])?;
    let rank = builder.shape(x).rank();
    let value = arguments.value(1, &["axes"])?.unwrap_or_default();
    let listed = whole_numbers(&value).unwrap_or_default();
    let permutation: Option<Vec<usize>> = match listed.as_slice() {
        [0, rest @ ..] => rest.iter().map(|&given| axes::axis(given, rank)).collect(),
        _ => None,
    };
    match permutation {
        Some(permutation) => builder.push(call, None, Op::Transpose { permutation }, &[x]),
        None => {
            arguments
                .attributes
                .refuse("axes", &value, "[0, ...], so that the batch axis stays")
        }
    }
}

/// One whole number, or a list of them.
fn whole_numbers(value: &Value) -> Option<Vec<i64>> {
    match value {
        Value::Array(items) => items.iter().map(Value::as_i64).collect(),
        one => one.as_i64().map(|n| vec![n]),
    }
}

/// `expand_dims` and `squeeze`.
fn with_axes(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
    change: fn(&Shape, &[i64]) -> Option<Shape>,
) -> Result<NodeId, ImportError> {
    let x = arguments.node(0, &["x", "input"])?;
    let value = arguments.value(1, &["axis"])?;
    let given = value.as_ref().map_or_else(|| Some(vec![]), whole_numbers);
    let shape = given.and_then(|given| change(builder.shape(x), &given));
    match shape {
        Some(shape) => builder.graph.reshape(&call.site, None, x, shape),
        None => arguments.attributes.refuse(
            "axis",
            &value.unwrap_or_default(),
            "axes of one element, other than the batch axis",
        ),
    }
}

/// Values side by side along a new axis. If they are channels of one value, as in the reversal that
/// `preprocess_input` of `keras.applications` does, they are picked at once.
fn stack(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let inputs = tensors(arguments, &["x", "values"])?;
    let rank = inputs.first().map_or(0, |&id| builder.shape(id).rank());
    let value = arguments.value(1, &["axis"])?.unwrap_or_else(|| 0.into());
    let Some(axis) = axis(&value, rank + 1) else {
        return arguments
            .attributes
            .refuse("axis", &value, "an axis other than the batch axis");
    };
    if axis == rank
        && let Some((of, channels)) = builder.channels_of_one(&inputs)
    {
        return select::pick_channels(&mut builder.graph, &call.site, None, of, &channels);
    }
    let mut layers = Vec::new();
    for (i, &id) in inputs.iter().enumerate() {
        let mut dims = builder.shape(id).dims().to_vec();
        dims.insert(axis.min(dims.len()), 1);
        let name = i.to_string();
        let shape = Shape::new(&dims);
        layers.push(builder.graph.reshape(&call.site, Some(&name), id, shape)?);
    }
    builder.push(call, None, Op::Concat { axis }, &layers)
}

/// The tensors of a list argument, which must contain nothing else.
fn tensors(arguments: &Arguments, names: &[&str]) -> Result<Vec<NodeId>, ImportError> {
    let mut inputs = Vec::new();
    if let Some(operand) = arguments.operand(0, names) {
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
    Ok(inputs)
}

fn concatenate(
    builder: &mut Builder,
    call: &LayerCall,
    arguments: &Arguments,
) -> Result<NodeId, ImportError> {
    let inputs = tensors(arguments, &["xs", "values"])?;
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
        Some(target) => builder.graph.reshape(&call.site, None, x, target),
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

/// The parts of a slice; `None` for tensors and lists of positions.
fn picks(value: &Value) -> Option<Vec<Pick>> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let one = |item: &Value| match item {
        Value::Null => Some(Pick::NewAxis),
        Value::Number(n) => n.as_i64().map(Pick::Index),
        Value::Object(map) if map.get("class_name").is_some_and(|c| *c == "__ellipsis__") => {
            Some(Pick::Ellipsis)
        }
        Value::Object(_) => {
            let config = item.get("config").unwrap_or(item);
            let bound = |name: &str| match config.get(name) {
                None | Some(Value::Null) => Some(None),
                Some(v) => v.as_i64().map(Some),
            };
            Some(Pick::Slice {
                start: bound("start")?,
                stop: bound("stop")?,
                step: bound("step")?,
            })
        }
        _ => None,
    };
    items.iter().map(one).collect()
}

/// `x[..., ::-1]`, `x[:, 2:10, :, :3]`, `x[..., 0]`, `x[:, None]`.
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
    let selection = picks(&value).and_then(|picks| select::selection(&picks, &from));
    let Some(selection) = selection else {
        return arguments
            .attributes
            .refuse("key", &value, "slices of rows, columns and channels");
    };
    let made = select::select(&mut builder.graph, &call.site, x, &selection)?;
    if let Some(channel) = selection.one_channel(&from) {
        builder.is_channel(made, x, channel);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slices_are_read_in_both_notations() {
        let slice = |start, stop, step| Pick::Slice { start, stop, step };
        let ellipsis = json!({"class_name": "__ellipsis__"});
        let keras2 = json!([ellipsis, {"start": null, "stop": null, "step": -1}]);
        let keras3 = json!([ellipsis, {"class_name": "__slice__",
            "config": {"start": null, "stop": null, "step": -1}}]);
        let expected = [Pick::Ellipsis, slice(None, None, Some(-1))];
        assert_eq!(picks(&keras2).unwrap(), expected);
        assert_eq!(picks(&keras3).unwrap(), expected);
        let mixed = json!([{"start": 1, "stop": 3}, null, 2]);
        let expected = [slice(Some(1), Some(3), None), Pick::NewAxis, Pick::Index(2)];
        assert_eq!(picks(&mixed).unwrap(), expected);
        assert_eq!(picks(&json!([[0, 2]])), None);
        assert_eq!(picks(&json!([true])), None);
    }
}
