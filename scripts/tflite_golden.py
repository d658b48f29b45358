"""Writes small TFLite models and what LiteRT makes of them: fixtures/import/tflite, which
tests/library/tflite_golden.rs reads.

Each model is one operator or one structure that converters write, with seeded weights. They are
written with the schema that LiteRT's package brings, so TensorFlow is not needed. Inputs are shared
by shape and stored as the graph has them (rows, columns, channels).

Needs a Python of its own:
    python3 -m venv VENV && VENV/bin/pip install ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
    VENV/bin/python scripts/tflite_golden.py
Versions used are written into golden.json.
"""

import importlib.metadata
import io
import json
import pathlib
import platform
import shutil
import zipfile

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "import" / "tflite"
INPUTS, CASES, REFUSED = {}, [], []
KINDS = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}
F32 = schema.TensorType.FLOAT32
NONE, RELU, RELU_N1_TO_1, RELU6, TANH = range(5)
SAME, VALID = 0, 1


class Net:
    """A graph that is written operator by operator; every method returns the number of a tensor."""

    def __init__(self, name, shape=(1, 8, 9, 3), element=F32, signature=None):
        self.name, self.shape = name, shape
        self.rng = np.random.default_rng(sum(name.encode()) * 7919 + len(name))
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = b"dermal"
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.model.operatorCodes = []
        self.model.buffers = [schema.BufferT()]
        self.photo = self.tensor("photo", shape, element, signature)
        self.graph.inputs = [self.photo]

    def tensor(self, name, shape, element=F32, signature=None):
        t = schema.TensorT()
        t.name, t.shape, t.type, t.buffer = name.encode(), list(shape), element, 0
        if signature:
            t.shapeSignature = list(signature)
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def const(self, value, scales=None, zero_points=None, axis=0, name=None):
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        index = self.tensor(name or f"w{len(self.graph.tensors)}", value.shape, KINDS[value.dtype])
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        t = self.graph.tensors[index]
        t.buffer = len(self.model.buffers) - 1
        if scales is not None:
            t.quantization = quantization(scales, zero_points, axis)
        return index

    def normal(self, *shape, scale=1.0):
        return self.const(self.rng.normal(0, scale, shape).astype(np.float32))

    def ints(self, *values):
        return self.const(np.array(values, np.int32))

    def op(self, kind, *inputs, options=None, n=1, element=F32, custom=None, version=1, **fields):
        code = schema.OperatorCodeT()
        number = getattr(schema.BuiltinOperator, kind)
        code.builtinCode, code.version = number, version
        code.deprecatedBuiltinCode = min(number, 127)
        if custom:
            code.customCode = custom.encode()
        self.model.operatorCodes.append(code)
        o = schema.OperatorT()
        o.opcodeIndex = len(self.model.operatorCodes) - 1
        o.inputs = list(inputs)
        count = len(self.graph.operators)
        o.outputs = [self.tensor(f"{kind}_{count}_{i}", [], element) for i in range(n)]
        if options:
            o.builtinOptions = getattr(schema, f"{options}T")()
            o.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            for key, value in fields.items():
                assert hasattr(o.builtinOptions, key), key
                setattr(o.builtinOptions, key, value)
        self.graph.operators.append(o)
        return o.outputs[0] if n == 1 else o.outputs

    def conv(self, x, c, f, k=3, bias=True, weights=None, group=1, **fields):
        if weights is None:
            weights = self.normal(f, k, k, c // group, scale=(k * k * c / group) ** -0.5)
        fields = {"strideW": 1, "strideH": 1, "padding": SAME} | fields
        more = [self.normal(f)] if bias else []
        return self.op("CONV_2D", x, weights, *more, options="Conv2DOptions", **fields)

    def depthwise(self, x, c, k=3, multiplier=1, **fields):
        weights = self.normal(1, k, k, c * multiplier, scale=1 / k)
        fields = {"strideW": 1, "strideH": 1, "padding": SAME, "depthMultiplier": multiplier} | fields
        bias = self.normal(c * multiplier)
        return self.op(
            "DEPTHWISE_CONV_2D", x, weights, bias, options="DepthwiseConv2DOptions", **fields
        )

    def dense(self, x, k, n, bias=True, weights=None, **fields):
        if weights is None:
            weights = self.normal(n, k, scale=k**-0.5)
        more = [self.normal(n)] if bias else []
        return self.op("FULLY_CONNECTED", x, weights, *more, options="FullyConnectedOptions", **fields)

    def two(self, kind, a, b, fused=NONE):
        options = {"MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions"}
        if kind in options:
            return self.op(kind, a, b, options=options[kind])
        name = f"{kind.capitalize()}Options"
        return self.op(kind, a, b, options=name, fusedActivationFunction=fused)

    def mean(self, x, *axes, keep=False, kind="MEAN"):
        return self.op(kind, x, self.ints(*axes), options="ReducerOptions", keepDims=keep)

    def reshape(self, x, *shape):
        return self.op("RESHAPE", x, self.ints(*shape))

    def softmax(self, x, beta=1.0):
        return self.op("SOFTMAX", x, options="SoftmaxOptions", beta=beta)

    def transpose(self, x, *order):
        return self.op("TRANSPOSE", x, self.ints(*order))

    def bytes(self):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def done(self, *outputs, **options):
        """Writes the model, with LiteRT's answer. `on_bytes` are the operators that must compute in
        integers, by their names in the graph; `step` is that of the last integers, if the answer is none."""
        self.graph.outputs = list(outputs)
        write(self, **options)

    def refused(self, kind, says, *outputs):
        self.graph.outputs = list(outputs)
        path = OUT / f"refused_{self.name}.tflite"
        path.write_bytes(self.bytes())
        REFUSED.append({"file": path.name, "kind": kind, "says": says})


class Bytes(Net):
    """A net whose values are 8-bit integers."""

    def __init__(self, name, element="INT8"):
        super().__init__(name, element=getattr(schema.TensorType, element))
        self.scales = {}
        self.of_start = (1 / 64, 0 if element == "INT8" else 128)
        self.start = self.q(self.photo, *self.of_start, element)

    def q(self, tensor, scale, zero_point, element="INT8"):
        """Makes a tensor integers."""
        t = self.graph.tensors[tensor]
        t.type = getattr(schema.TensorType, element)
        t.quantization = quantization([scale], [zero_point])
        self.scales[tensor] = scale
        return tensor

    def weights(self, shape, axis):
        """Integers, with a scale for each index of an axis or one for all."""
        n = 1 if axis is None else shape[axis]
        scales = self.rng.uniform(0.002, 0.01, n).astype(np.float32)
        values = self.rng.integers(-127, 128, shape)
        return self.const(values.astype(np.int8), scales, axis=axis or 0), scales

    def bias(self, n, scales, of=None):
        scales = np.float32(self.scales[self.start if of is None else of]) * scales
        return self.const(self.rng.integers(-500, 500, n).astype(np.int32), scales)

    def conv_in_bytes(self, x, c, f, at=(0.05, 10), zero_point=128, **fields):
        element = "INT8"
        if self.graph.tensors[x].type == schema.TensorType.UINT8:
            element, at = "UINT8", (at[0], at[1] + 128)
            scales = np.array([0.007], np.float32)
            w = self.const(self.rng.integers(0, 256, (f, 3, 3, c)).astype(np.uint8), scales, [zero_point])
        else:
            w, scales = self.weights((f, 3, 3, c), 0)
        fields = {"strideW": 1, "strideH": 1} | fields
        y = self.op("CONV_2D", x, w, self.bias(f, scales, x), options="Conv2DOptions", version=3, **fields)
        return self.q(y, *at, element)

    def dense_in_bytes(self, x, k, n, at):
        w, scales = self.weights((n, k), None)
        y = self.op("FULLY_CONNECTED", x, w, self.bias(n, scales, x), options="FullyConnectedOptions", version=4)
        return self.q(y, *at)

    def softmax_in_bytes(self, x):
        return self.q(self.softmax(x), 1 / 256, -128)


def quantization(scales, zero_points=None, axis=0):
    q = schema.QuantizationParametersT()
    q.scale = [float(s) for s in np.ravel(scales)]
    q.zeroPoint = [0] * len(q.scale) if zero_points is None else [int(z) for z in np.ravel(zero_points)]
    q.quantizedDimension = axis
    return q


def numbers(array):
    """Numbers with as many digits as an f32 has."""
    return [float(str(v)) for v in np.asarray(array, np.float32).ravel()]


def seeded(shape):
    """An input by its shape, as the graph has it."""
    key = "x".join(map(str, shape))
    if key not in INPUTS:
        rng = np.random.default_rng(len(INPUTS) + 1)
        INPUTS[key] = rng.normal(0, 1, shape).astype(np.float32)
    return key


def answer_of(data, x, output, size=None):
    # The plain kernels: delegates compute some operators otherwise.
    interpreter = Interpreter(
        model_content=data, num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    given = interpreter.get_input_details()[0]
    if size:
        interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    details = interpreter.get_output_details()
    found = [d for d in details if output is None or d["name"] == output]
    return interpreter.get_tensor(found[0]["index"])


def write(net, nchw=False, output=None, input_size=None, tolerance=None, behind=None, on_bytes=None, step=None):
    data = net.bytes()
    if behind:
        data += behind
    shape = list(net.shape)
    if input_size:
        shape[1:3] = input_size
    if len(shape) == 4:
        _, h, w, c = (shape[0], shape[2], shape[3], shape[1]) if nchw else shape
        key = seeded([h, w, c])
    else:
        key = seeded(shape[1:])
    x = INPUTS[key][None]
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if nchw else x
    kind = net.graph.tensors[net.photo].type
    if kind != F32:
        # Bytes, as photos have them; an int8 is a byte minus 128.
        key = f"{key} bytes"
        if key not in INPUTS:
            INPUTS[key] = np.random.default_rng(len(INPUTS) + 1).integers(0, 256, x.shape[1:])
        x = INPUTS[key][None]
        x = x.astype(np.uint8) if kind == KINDS[np.dtype(np.uint8)] else (x - 128).astype(np.int8)
    y = answer_of(data, x, output, input_size)
    if y.dtype != np.float32:
        of = net.graph.tensors[net.graph.outputs[0]].quantization
        step = float(np.float32(of.scale[0]))
        y = (y.astype(np.float32) - of.zeroPoint[0]) * np.float32(step)
    path = OUT / f"{net.name}.tflite"
    path.write_bytes(data)
    case = {"file": path.name, "input": key, "output": numbers(y)}
    if output:
        case["output_name"] = output
    if input_size:
        case["input_size"] = input_size
    if step:
        case["step"] = step
    if on_bytes is not None:
        case["on_bytes"] = on_bytes.split()
    if tolerance:
        case["tolerance"] = tolerance
    CASES.append(case)


def functions_of_one_value():
    options = {
        "ABS": "AbsOptions", "COS": "CosOptions", "EXP": "ExpOptions", "NEG": "NegOptions",
        "HARD_SWISH": "HardSwishOptions", "SQUARE": "SquareOptions",
    }
    for kind in [
        "ABS", "COS", "ELU", "EXP", "HARD_SWISH", "LOGISTIC", "NEG", "RELU", "RELU6",
        "RELU_0_TO_1", "RELU_N1_TO_1", "SIN", "SQUARE", "TANH",
    ]:
        n = Net(f"f_{kind.lower()}")
        n.done(n.op(kind, n.photo, options=options.get(kind)))
    for kind in ["LOG", "RSQRT", "SQRT"]:
        n = Net(f"f_{kind.lower()}")
        x = n.two("ADD", n.op("SQUARE", n.photo, options="SquareOptions"), n.const(np.float32(0.5)))
        n.done(n.op(kind, x))
    n = Net("f_leaky_relu")
    n.done(n.op("LEAKY_RELU", n.photo, options="LeakyReluOptions", alpha=0.2))
    for name, approximate in [("f_gelu", False), ("f_gelu_tanh", True)]:
        n = Net(name)
        n.done(n.op("GELU", n.photo, options="GeluOptions", approximate=approximate))
    for name, shape in [("one", (1,)), ("channel", (1, 1, 3)), ("each", (8, 9, 3))]:
        n = Net(f"f_prelu_{name}")
        n.done(n.op("PRELU", n.photo, n.normal(*shape)))
    n = Net("f_cast")
    y = n.op("CAST", n.photo, options="CastOptions", inDataType=F32, outDataType=F32)
    n.done(n.op("RELU", y))
    for name, beta in [("f_softmax", 1.0), ("f_softmax_beta", 0.5)]:
        n = Net(name)
        n.done(n.softmax(n.dense(n.reshape(n.photo, 1, -1), 216, 5), beta))
    n = Net("f_softmax_map")
    n.done(n.op("RELU", n.softmax(n.photo)))
    n = Net("f_exponent_2")
    n.done(n.op("POW", n.photo, n.const(np.float32(2)), options="PowOptions"))
    n = Net("f_exponent_3")
    n.done(n.op("POW", n.photo, n.const(np.float32(3)), options="PowOptions"))


def arithmetic():
    for kind in ["ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"]:
        n = Net(f"a_two_{kind.lower()}")
        a, b = n.conv(n.photo, 3, 4), n.conv(n.photo, 3, 4)
        b = n.two("ADD", n.op("ABS", b, options="AbsOptions"), n.const(np.float32(1)))
        n.done(n.two(kind, a, b))
        for name, shape in [("one", ()), ("channel", (3,)), ("map", (1, 8, 9, 3)), ("column", (9, 1))]:
            for first in [False, True]:
                n = Net(f"a_{'first' if first else 'constant'}_{name}_{kind.lower()}")
                c = n.const(n.rng.uniform(0.5, 2, shape).astype(np.float32))
                x = n.two("ADD", n.op("ABS", n.photo, options="AbsOptions"), n.const(np.float32(1)))
                n.done(n.two(kind, c, x) if first else n.two(kind, x, c))
    for fused in [RELU, RELU_N1_TO_1, RELU6]:
        n = Net(f"a_fused_{fused}")
        n.done(n.two("ADD", n.photo, n.conv(n.photo, 3, 3), fused))
    n = Net("a_many")
    n.done(n.op("ADD_N", n.photo, n.conv(n.photo, 3, 3), n.conv(n.photo, 3, 3)))
    n = Net("a_squared_difference")
    n.done(n.op("SQUARED_DIFFERENCE", n.photo, n.conv(n.photo, 3, 3), options="SquaredDifferenceOptions"))
    n = Net("a_broadcast_both")
    rows, columns = n.mean(n.photo, 1, keep=True), n.mean(n.photo, 2, keep=True)
    n.done(n.two("MUL", rows, columns))
    n = Net("a_maximum_0")
    n.done(n.two("MAXIMUM", n.photo, n.const(np.float32(0))))
    n = Net("a_stretched")
    n.done(n.two("MUL", n.mean(n.photo, 1, 2, keep=True), n.normal(8, 9, 3)))


def convolutions():
    cases = {
        "plain": {}, "valid": {"padding": VALID}, "one": {"k": 1},
        "strides": {"strideW": 2, "strideH": 3}, "even": {"k": 4, "strideH": 2},
        "dilations": {"dilationWFactor": 2, "dilationHFactor": 3}, "relu6": {"fusedActivationFunction": RELU6},
    }
    for name, fields in cases.items():
        n = Net(f"c_{name}")
        n.done(n.conv(n.photo, 3, 5, **fields))
    n = Net("c_groups", shape=(1, 7, 7, 6))
    n.done(n.conv(n.photo, 6, 4, group=2))
    for name, fields in {
        "plain": {}, "strides": {"strideW": 2, "strideH": 2}, "valid": {"padding": VALID},
        "multiplier": {"multiplier": 2}, "relu": {"fusedActivationFunction": RELU},
        "dilations": {"dilationWFactor": 2, "dilationHFactor": 2},
    }.items():
        n = Net(f"c_depthwise_{name}")
        n.done(n.depthwise(n.photo, 3, **fields))


def pools():
    for kind in ["AVERAGE_POOL_2D", "MAX_POOL_2D"]:
        for name, fields in {
            "valid": {"padding": VALID, "strideW": 2, "strideH": 2},
            "same": {"padding": SAME, "strideW": 2, "strideH": 2},
            "steps": {"padding": SAME, "strideW": 1, "strideH": 3, "fusedActivationFunction": RELU6},
        }.items():
            n = Net(f"p_{kind.lower()}_{name}")
            fields = {"filterWidth": 2, "filterHeight": 3} | fields
            n.done(n.op(kind, n.photo, options="Pool2DOptions", **fields))
    for kind in ["MEAN", "SUM", "REDUCE_MAX"]:
        for name, axes in {"hw": (1, 2), "h": (1,), "c": (3,), "negative": (-2, -3), "all": (1, 2, 3)}.items():
            for keep in [False, True]:
                n = Net(f"r_{kind.lower()}_{name}{'_kept' if keep else ''}")
                n.done(n.op("RELU", n.mean(n.photo, *axes, keep=keep, kind=kind)))


def dense():
    n = Net("d_plain")
    n.done(n.dense(n.reshape(n.photo, -1, 216), 216, 5, fusedActivationFunction=RELU))
    n = Net("d_no_bias")
    n.done(n.dense(n.reshape(n.photo, 1, 216), 216, 5, bias=False))
    n = Net("d_flattens_itself")
    n.done(n.dense(n.photo, 216, 5))
    n = Net("d_keeps_axes")
    n.done(n.dense(n.photo, 3, 5, keepNumDims=True))
    n = Net("d_bias_left_out")
    n.done(n.op("FULLY_CONNECTED", n.reshape(n.photo, 1, 216), n.normal(5, 216), -1, options="FullyConnectedOptions"))
    n = Net("d_flatten_turned")
    x = n.transpose(n.conv(n.photo, 3, 4), 0, 3, 1, 2)
    n.done(n.dense(n.reshape(x, 1, 288), 288, 5))
    for name, adjoint in [("d_batch_matmul", False), ("d_batch_matmul_turned", True)]:
        n = Net(name)
        w = n.normal(*((5, 3) if adjoint else (3, 5)))
        n.done(n.op("BATCH_MATMUL", n.photo, w, options="BatchMatMulOptions", adjY=adjoint))
    n = Net("d_batch_matmul_two")
    a, b = n.reshape(n.photo, 1, 8, 27), n.reshape(n.conv(n.photo, 3, 3), 1, 8, 27)
    n.done(n.op("BATCH_MATMUL", a, b, options="BatchMatMulOptions", adjY=True))


def shapes():
    n = Net("s_reshape_options")
    n.done(n.op("RESHAPE", n.photo, options="ReshapeOptions", newShape=[1, 216]))
    n = Net("s_squeeze")
    n.done(n.op("SQUEEZE", n.mean(n.photo, 1, keep=True), options="SqueezeOptions", squeezeDims=[1]))
    n = Net("s_expand_dims")
    n.done(n.op("EXPAND_DIMS", n.mean(n.photo, 1), n.ints(1)))
    n = Net("s_transpose")
    n.done(n.op("RELU", n.transpose(n.photo, 0, 2, 1, 3)))
    n = Net("s_nchw", shape=(1, 3, 8, 9))
    y = n.transpose(n.conv(n.transpose(n.photo, 0, 2, 3, 1), 3, 4), 0, 3, 1, 2)
    n.done(n.mean(n.op("RELU", y), 2, 3), nchw=True)
    n = Net("s_depth_to_space", shape=(1, 4, 4, 8))
    n.done(n.op("DEPTH_TO_SPACE", n.photo, options="DepthToSpaceOptions", blockSize=2))
    n = Net("s_space_to_depth", shape=(1, 4, 6, 3))
    n.done(n.op("SPACE_TO_DEPTH", n.photo, options="SpaceToDepthOptions", blockSize=2))
    for name, axis in [("channels", 3), ("rows", 1), ("last", -1)]:
        n = Net(f"s_concat_{name}")
        parts = [n.photo, n.conv(n.photo, 3, 3)]
        n.done(n.op("CONCATENATION", *parts, options="ConcatenationOptions", axis=axis))
    n = Net("s_concat_constant")
    n.done(n.op("CONCATENATION", n.photo, n.normal(1, 8, 9, 2), options="ConcatenationOptions", axis=3))
    n = Net("s_pack")
    n.done(n.op("PACK", n.photo, n.conv(n.photo, 3, 3), options="PackOptions", axis=4, valuesCount=2))
    n = Net("s_unpack")
    parts = n.op("UNPACK", n.photo, options="UnpackOptions", axis=3, num=3, n=3)
    n.done(n.two("SUB", parts[2], parts[0]))
    for kind in ["PAD", "PADV2"]:
        for name, rows in {
            "rows": [[0, 0], [0, 1], [2, 0], [0, 0]], "channels": [[0, 0], [0, 0], [0, 0], [1, 2]],
            "both": [[0, 0], [1, 1], [0, 0], [0, 2]],
        }.items():
            n = Net(f"s_{kind.lower()}_{name}")
            more = [n.const(np.float32(0))] if kind == "PADV2" else []
            n.done(n.op(kind, n.photo, n.const(np.array(rows, np.int32)), *more))
    n = Net("s_slice")
    n.done(n.op("SLICE", n.photo, n.ints(0, 1, 2, 0), n.ints(1, 4, -1, 2), options="SliceOptions"))
    masks = {
        "plain": ((0, 1, 2, 0), (1, 7, 9, 2), (1, 1, 1, 1), {}),
        "steps": ((0, 0, 1, 0), (1, 8, 9, 3), (1, 2, 3, 1), {}),
        "masks": ((0, 3, 3, 1), (0, 1, 2, 3), (1, 1, 1, 1), {"beginMask": 7, "endMask": 3}),
        "backwards": ((0, 7, 0, 0), (1, 1, 9, 3), (1, -2, 1, 1), {}),
        "shrinks": ((0, 2, 0, 0), (1, 3, 9, 3), (1, 1, 1, 1), {"shrinkAxisMask": 2}),
    }
    for name, (begin, end, steps, fields) in masks.items():
        n = Net(f"s_strided_{name}")
        n.done(n.op(
            "STRIDED_SLICE", n.photo, n.ints(*begin), n.ints(*end), n.ints(*steps),
            options="StridedSliceOptions", **fields,
        ))
    n = Net("s_split")
    a, b, c = n.op("SPLIT", n.ints(3), n.photo, options="SplitOptions", numSplits=3, n=3)
    n.done(n.op("CONCATENATION", c, a, b, options="ConcatenationOptions", axis=3))
    n = Net("s_split_v")
    a, b = n.op("SPLIT_V", n.photo, n.ints(2, -1), n.const(np.int32(1)), options="SplitVOptions", numSplits=2, n=2)
    n.done(n.op("CONCATENATION", b, a, options="ConcatenationOptions", axis=1))
    n = Net("s_gather")
    n.done(n.op("GATHER", n.photo, n.ints(2, 0, 1, 0), options="GatherOptions", axis=3))
    for kind, options in [("BILINEAR", "ResizeBilinearOptions"), ("NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")]:
        for name, size, fields in [
            ("half", (13, 5), {"halfPixelCenters": True}), ("legacy", (13, 5), {}),
            ("twice", (16, 18), {}), ("corners", (13, 5), {"alignCorners": True}),
        ]:
            n = Net(f"s_resize_{kind.lower()}_{name}")
            fields = {"halfPixelCenters": False, "alignCorners": False} | fields
            n.done(n.op(f"RESIZE_{kind}", n.photo, n.ints(*size), options=options, **fields))


def weights():
    """Weights that are not f32: the answers are LiteRT's, which computes in f32 behind DEQUANTIZE."""
    n = Net("w_f16")
    w = n.op("DEQUANTIZE", n.const(n.rng.normal(0, 0.2, (5, 3, 3, 3)).astype(np.float16)))
    b = n.op("DEQUANTIZE", n.const(n.rng.normal(0, 1, 5).astype(np.float16)))
    n.done(n.op("CONV_2D", n.photo, w, b, options="Conv2DOptions", strideW=1, strideH=1))
    n = Net("w_uint8")
    w = n.const(n.rng.integers(0, 256, (5, 3, 3, 3)).astype(np.uint8), [0.01], [120])
    w = n.op("DEQUANTIZE", w)
    n.done(n.op("CONV_2D", n.photo, w, n.normal(5), options="Conv2DOptions", strideW=1, strideH=1))
    n = Net("w_int8_channel")
    q = n.rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    w = n.op("DEQUANTIZE", n.const(q, n.rng.uniform(0.001, 0.01, 5), axis=0), version=5)
    n.done(n.op("CONV_2D", n.photo, w, n.normal(5), options="Conv2DOptions", strideW=1, strideH=1))
    # Dynamic range: LiteRT rounds the values to 8 bits on the way in, with a scale of their own for each
    # photo; here they stay real numbers. The largest is 3.1, so a step is 0.012.
    n = Net("w_hybrid_conv")
    q = n.rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    w = n.const(q, n.rng.uniform(0.001, 0.01, 5), axis=0)
    n.done(n.op("CONV_2D", n.photo, w, n.normal(5), options="Conv2DOptions", strideW=1, strideH=1, version=5), tolerance=0.02)
    n = Net("w_hybrid_dense")
    w = n.const(n.rng.integers(-127, 128, (5, 216)).astype(np.int8), [0.002])
    x = n.reshape(n.photo, 1, 216)
    n.done(n.op("FULLY_CONNECTED", x, w, n.normal(5), options="FullyConnectedOptions", asymmetricQuantizeInputs=True, version=9), tolerance=0.02)
    n = Net("w_hybrid_depthwise")
    w = n.const(n.rng.integers(-127, 128, (1, 3, 3, 3)).astype(np.int8), n.rng.uniform(0.001, 0.01, 3), axis=3)
    n.done(n.op("DEPTHWISE_CONV_2D", n.photo, w, n.normal(3), options="DepthwiseConv2DOptions", strideW=1, strideH=1, depthMultiplier=1, version=6), tolerance=0.02)
    # The oldest form: integers with a sign, called UINT8.
    n = Net("w_hybrid_uint8")
    w = n.const(n.rng.integers(-127, 128, (5, 216)).astype(np.int8).view(np.uint8), [0.002])
    x = n.reshape(n.photo, 1, 216)
    n.done(n.op("FULLY_CONNECTED", x, w, n.normal(5), options="FullyConnectedOptions", version=3), tolerance=0.02)
    for name, blocks in [("w_sparse", False), ("w_sparse_blocks", True)]:
        n = Net(name)
        dense = n.rng.normal(0, 0.2, (8, 216)).astype(np.float32)
        if blocks:
            dense *= np.repeat(n.rng.random((8, 54)) < 0.3, 4, axis=1)
        else:
            dense *= n.rng.random(dense.shape) < 0.3
        w = n.const(dense)
        sparse(n, w, dense, 4 if blocks else 1)
        w = n.op("DENSIFY", w, options="DensifyOptions")
        n.done(n.op("FULLY_CONNECTED", n.reshape(n.photo, 1, 216), w, n.normal(8), options="FullyConnectedOptions"))


def sparse(net, index, dense, block):
    """Stores a matrix as its rows, each a list of the blocks that are not zero."""
    rows, columns = dense.shape
    blocked = dense.reshape(rows, columns // block, block)
    there = np.any(blocked != 0, axis=2)
    segments = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    indices = np.concatenate([np.flatnonzero(row) for row in there]).astype(np.uint8)
    p = schema.SparsityParametersT()
    p.traversalOrder = [0, 1, 2] if block > 1 else [0, 1]
    p.blockMap = [1] if block > 1 else []
    first = schema.DimensionMetadataT()
    first.format, first.denseSize = 0, rows
    second = schema.DimensionMetadataT()
    second.format = 1
    second.arraySegmentsType = schema.SparseIndexVector.Int32Vector
    second.arraySegments = schema.Int32VectorT()
    second.arraySegments.values = segments
    second.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
    second.arrayIndices = schema.Uint8VectorT()
    second.arrayIndices.values = indices
    p.dimMetadata = [first, second]
    if block > 1:
        third = schema.DimensionMetadataT()
        third.format, third.denseSize = 0, block
        p.dimMetadata.append(third)
    t = net.graph.tensors[index]
    t.sparsity = p
    net.model.buffers[t.buffer].data = np.frombuffer(blocked[there].tobytes(), np.uint8)


def converters():
    """Structures that converters write."""
    n = Net("x_mobilenet", shape=(1, 16, 16, 3), signature=(-1, 16, 16, 3))
    x = n.op("PAD", n.photo, n.const(np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32)))
    x = n.conv(x, 3, 8, strideW=2, strideH=2, padding=VALID, fusedActivationFunction=RELU6)
    y = n.conv(x, 8, 16, k=1, fusedActivationFunction=RELU6)
    y = n.depthwise(y, 16, fusedActivationFunction=RELU6)
    x = n.two("ADD", x, n.conv(y, 16, 8, k=1))
    x = n.mean(x, 1, 2)
    x = n.dense(x, 8, 10, fusedActivationFunction=RELU)
    n.done(n.softmax(n.dense(x, 10, 3, bias=False)))
    # Keras' Flatten of an open batch.
    n = Net("x_flatten_by_shape")
    shape = n.op("SHAPE", n.photo, options="ShapeOptions", element=schema.TensorType.INT32, outType=schema.TensorType.INT32)
    batch = n.op(
        "STRIDED_SLICE", shape, n.ints(0), n.ints(1), n.ints(1), element=schema.TensorType.INT32,
        options="StridedSliceOptions", shrinkAxisMask=1,
    )
    target = n.op("PACK", batch, n.const(np.int32(216)), options="PackOptions", valuesCount=2, element=schema.TensorType.INT32)
    n.done(n.dense(n.op("RESHAPE", n.photo, target), 216, 4))
    n = Net("x_shape_product")
    shape = n.op("SHAPE", n.photo, options="ShapeOptions", element=schema.TensorType.INT32, outType=schema.TensorType.INT32)
    tail = n.op(
        "STRIDED_SLICE", shape, n.ints(1), n.ints(4), n.ints(1), element=schema.TensorType.INT32,
        options="StridedSliceOptions",
    )
    size = n.op("REDUCE_PROD", tail, n.ints(0), options="ReducerOptions", keepDims=True, element=schema.TensorType.INT32)
    target = n.op("CONCATENATION", n.ints(1), size, options="ConcatenationOptions", axis=0, element=schema.TensorType.INT32)
    n.done(n.dense(n.op("RESHAPE", n.photo, target), 216, 4))
    # Squeeze and excite, SiLU and hard-swish as arithmetic.
    n = Net("x_silu_se")
    x = n.conv(n.photo, 3, 6)
    x = n.two("MUL", x, n.op("LOGISTIC", x))
    s = n.op("LOGISTIC", n.conv(n.mean(x, 1, 2, keep=True), 6, 6, k=1))
    n.done(n.mean(n.two("MUL", x, s), 1, 2))
    n = Net("x_hard_swish")
    x = n.conv(n.photo, 3, 6)
    gate = n.two("MUL", n.two("ADD", x, n.const(np.float32(3)), RELU6), n.const(np.float32(1 / 6)))
    n.done(n.mean(n.two("MUL", x, gate), 1, 2))
    # SELU, ELU and leaky ReLU taken apart, in NCHW.
    for name, scale, alpha in [("selu", 1.0507009873554805, 1.6732632423543772), ("elu", 1.0, 1.0), ("elu_scaled", 1.5, 0.7)]:
        n = Net(f"x_select_{name}", shape=(1, 3, 8, 9))
        x = n.transpose(n.conv(n.transpose(n.photo, 0, 2, 3, 1), 3, 4), 0, 3, 1, 2)
        above = n.op("GREATER", x, n.const(np.float32(0)), options="GreaterOptions", element=schema.TensorType.BOOL)
        line = n.two("MUL", x, n.const(np.float32(scale)))
        curve = n.two("SUB", n.op("EXP", x, options="ExpOptions"), n.const(np.float32(1)))
        curve = n.two("MUL", curve, n.const(np.float32(scale * alpha)))
        y = n.op("SELECT", above, line, curve, options="SelectOptions")
        n.done(n.mean(y, 2, 3), nchw=True)
    n = Net("x_select_leaky")
    above = n.op("GREATER_EQUAL", n.photo, n.const(np.float32(0)), options="GreaterEqualOptions", element=schema.TensorType.BOOL)
    n.done(n.op("SELECT_V2", above, n.photo, n.two("MUL", n.photo, n.const(np.float32(0.3))), options="SelectV2Options"))
    # Layer normalization taken apart.
    n = Net("x_layer_norm")
    mean = n.mean(n.photo, 3, keep=True)
    variance = n.mean(n.op("SQUARED_DIFFERENCE", n.photo, mean, options="SquaredDifferenceOptions"), 3, keep=True)
    factor = n.op("RSQRT", n.two("ADD", variance, n.const(np.float32(1e-3))))
    factor = n.two("MUL", factor, n.normal(3))
    shift = n.two("SUB", n.normal(3), n.two("MUL", mean, factor))
    n.done(n.two("ADD", n.two("MUL", n.photo, factor), shift))
    # Arithmetic on weights that a converter has left.
    n = Net("x_folded")
    w = n.two("MUL", n.normal(5, 3, 3, 3), n.normal(5, 1, 1, 1))
    w = n.two("DIV", n.two("MAXIMUM", w, n.const(np.float32(-1))), n.const(np.float32(2)))
    w = n.two("MINIMUM", w, n.const(np.float32(1)))
    w = n.op("NEG", n.two("SUB", w, n.const(np.float32(0.1))), options="NegOptions")
    b = n.op("RSQRT", n.const(n.rng.uniform(0.5, 2, 10).astype(np.float32)))
    b = n.op("GATHER", b, n.ints(9, 1, 3, 5, 7, 0), options="GatherOptions", axis=0)
    b = n.op("SLICE", b, n.ints(1), n.ints(5), options="SliceOptions")
    b = n.op("SQUEEZE", n.op("EXPAND_DIMS", b, n.ints(0)), options="SqueezeOptions", squeezeDims=[0])
    w = n.transpose(n.transpose(w, 0, 2, 1, 3), 0, 2, 1, 3)
    n.done(n.op("CONV_2D", n.photo, w, b, options="Conv2DOptions", strideW=1, strideH=1))
    n = Net("x_open_size", shape=(1, 1, 1, 3), signature=(-1, -1, -1, 3))
    n.done(n.mean(n.conv(n.photo, 3, 4), 1, 2), input_size=[8, 9])
    n = Net("x_two_outputs")
    a = n.mean(n.conv(n.photo, 3, 4), 1, 2)
    b = n.softmax(a)
    n.done(a, b, output=n.graph.tensors[b].name.decode())
    n = Net("x_log_softmax")
    n.done(n.op("LOG_SOFTMAX", n.mean(n.photo, 1, 2), options="LogSoftmaxOptions"))
    CASES[-1]["output"] = numbers(np.exp(np.array(CASES[-1]["output"], np.float32)))
    n = Net("x_names", shape=(1, 16, 16, 3))
    y = n.conv(n.photo, 3, 4)
    n.graph.tensors[y].name = b"model/first/Conv2D;model/bn/FusedBatchNormV3"
    y = n.softmax(n.dense(n.mean(y, 1, 2), 4, 2))
    n.done(y)
    for name, mean, std in [("x_metadata", 0.0, 255.0), ("x_metadata_own", 127.0, 128.0)]:
        n = Net(name, shape=(1, 16, 16, 3))
        y = n.softmax(n.dense(n.mean(n.conv(n.photo, 3, 4), 1, 2), 4, 2))
        describe(n, mean, std)
        n.done(y, behind=labels("0 benign\n1 malignant\n"))


def labels(text):
    """The zip that some converters append to the file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("labels.txt"), text)
    return packed.getvalue()


def integers():
    """Values of the photo in 8 bits. The photo itself is bytes, whose scale the file says."""
    # The last sigmoid is split off.
    functions = {
        "RELU": (None, 0.02, -128, "Activation"), "LOGISTIC": (None, 1 / 256, -128, ""),
        "TANH": (None, 1 / 128, 0, "Activation"), "HARD_SWISH": ("HardSwishOptions", 0.02, -100, "Activation"),
        "ELU": (None, 0.02, -60, "Activation"),
    }
    for kind, (options, scale, zero_point, on_bytes) in functions.items():
        n = Bytes(f"i_{kind.lower()}")
        n.done(n.q(n.op(kind, n.start, options=options), scale, zero_point), on_bytes=on_bytes)
    n = Bytes("i_leaky_relu")
    y = n.op("LEAKY_RELU", n.start, options="LeakyReluOptions", alpha=0.2)
    n.done(n.q(y, 0.02, -90), on_bytes="Activation")
    fields = {"plain": {}, "relu6": {"fusedActivationFunction": RELU6}, "strides": {"strideW": 2, "strideH": 2}}
    for element in ["INT8", "UINT8"]:
        for name, more in fields.items():
            n = Bytes(f"i_conv_{element.lower()}_{name}", element)
            n.done(n.conv_in_bytes(n.start, 3, 5, **more), on_bytes="Conv")
    # Such weights do not fit into i8.
    n = Bytes("i_conv_uint8_wide", "UINT8")
    n.done(n.conv_in_bytes(n.start, 3, 5, zero_point=121), on_bytes="")
    del fields["relu6"]
    fields["relu"] = {"fusedActivationFunction": RELU}
    for name, more in fields.items():
        n = Bytes(f"i_depthwise_{name}")
        w, of_w = n.weights((1, 3, 3, 3), 3)
        more = {"strideW": 1, "strideH": 1, "depthMultiplier": 1} | more
        y = n.op("DEPTHWISE_CONV_2D", n.start, w, n.bias(3, of_w), options="DepthwiseConv2DOptions", version=3, **more)
        n.done(n.q(y, 0.03, -20), on_bytes="DepthwiseConv")
    for kind, scale in [("ADD", 0.03), ("SUB", 0.03), ("MUL", 0.04)]:
        n = Bytes(f"i_{kind.lower()}")
        other = n.conv_in_bytes(n.start, 3, 3)
        y = n.two(kind, n.start, other)
        n.done(n.q(y, scale, -10), on_bytes=f"Conv {kind.capitalize()}")
        n = Bytes(f"i_{kind.lower()}_constant")
        y = n.two(kind, n.start, n.const(np.int8(40), [0.02], [5]))
        n.done(n.q(y, scale, -10), on_bytes="")
    n = Bytes("i_dense")
    x = n.q(n.reshape(n.start, 1, 216), *n.of_start)
    n.done(n.softmax_in_bytes(n.dense_in_bytes(x, 216, 5, (0.1, 10))), on_bytes="Gemm")
    for kind, name in [("AVERAGE_POOL_2D", "AveragePool"), ("MAX_POOL_2D", "MaxPool")]:
        n = Bytes(f"i_{kind.lower()}")
        y = n.op(kind, n.start, options="Pool2DOptions", filterWidth=2, filterHeight=3, strideW=2, strideH=2)
        n.done(n.q(y, *n.of_start), on_bytes=name)
    n = Bytes("i_mean")
    y = n.mean(n.conv_in_bytes(n.start, 3, 4), 1, 2)
    n.done(n.q(y, 0.01, 3), on_bytes="Conv GlobalAveragePool")
    n = Bytes("i_concat")
    other = n.conv_in_bytes(n.start, 3, 4, at=n.of_start)
    y = n.op("CONCATENATION", n.start, other, options="ConcatenationOptions", axis=3)
    n.done(n.q(y, *n.of_start), on_bytes="Conv Concat")
    n = Bytes("i_split")
    parts = n.op("SPLIT", n.ints(3), n.start, options="SplitOptions", numSplits=3, n=3)
    parts = [n.q(part, *n.of_start) for part in parts[::-1]]
    y = n.op("CONCATENATION", *parts, options="ConcatenationOptions", axis=3)
    n.done(n.q(y, *n.of_start), on_bytes="Concat")
    n = Bytes("i_pad")
    y = n.op("PAD", n.start, n.const(np.array([[0, 0], [1, 1], [0, 2], [0, 0]], np.int32)))
    n.done(n.q(y, *n.of_start), on_bytes="")
    n = Bytes("i_resize")
    y = n.op("RESIZE_NEAREST_NEIGHBOR", n.start, n.ints(16, 18), options="ResizeNearestNeighborOptions")
    n.done(n.q(y, *n.of_start), on_bytes="")
    n = Bytes("i_float_out")
    n.done(n.op("DEQUANTIZE", n.conv_in_bytes(n.start, 3, 4), options="DequantizeOptions"), on_bytes="Conv", step=0.05)
    # What Model Maker writes: pixels as bytes, a network in int8, bytes of probability. The metadata's
    # normalization is for those who do not take bytes.
    n = Bytes("x_bytes_to_bytes", "UINT8")
    n.q(n.start, 1 / 128, 127, "UINT8")
    x = n.q(n.op("QUANTIZE", n.start, options="QuantizeOptions"), 1 / 128, -1)
    x = n.conv_in_bytes(x, 3, 8, strideW=2, strideH=2, fusedActivationFunction=RELU6)
    x = n.q(n.two("ADD", x, n.conv_in_bytes(x, 8, 8)), 0.05, -20)
    x = n.q(n.mean(x, 1, 2), 0.03, -40)
    y = n.softmax_in_bytes(n.dense_in_bytes(x, 8, 3, (0.05, 0)))
    describe(n, 127.0, 128.0)
    y = n.q(n.op("QUANTIZE", y, options="QuantizeOptions"), 1 / 256, 0, "UINT8")
    n.done(y, behind=labels("daisy\nrose\ntulip\n"), on_bytes="Conv Conv Add GlobalAveragePool Gemm")


def rearranged():
    """Elements again, in another order; lengths; parts with masks."""
    def mirrored(n, x, mode):
        sides = n.const(np.array([[0, 0], [2, 3], [1, 0], [0, 0]], np.int32))
        return n.op("MIRROR_PAD", x, sides, options="MirrorPadOptions", mode=mode)

    for mode, name in enumerate(["reflect", "symmetric"]):
        n = Net(f"g_mirror_{name}")
        n.done(n.conv(mirrored(n, n.photo, mode), 3, 4, padding=VALID))
    n = Net("g_mirror_nchw", shape=(1, 3, 8, 9))
    sides = n.const(np.array([[0, 0], [0, 0], [1, 1], [2, 2]], np.int32))
    y = n.op("MIRROR_PAD", n.photo, sides, options="MirrorPadOptions", mode=0)
    n.done(n.transpose(y, 0, 2, 3, 1), nchw=True)
    n = Net("g_tile")
    n.done(n.op("TILE", n.photo, n.ints(1, 2, 1, 3), options="TileOptions"))
    n = Net("g_tile_list")
    n.done(n.op("TILE", n.mean(n.photo, 1, 2), n.ints(1, 4), options="TileOptions"))
    n = Net("g_broadcast")
    x = n.op("BROADCAST_TO", n.mean(n.photo, 1, 2, keep=True), n.ints(1, 8, 9, 3), options="BroadcastToOptions", version=2)
    n.done(n.op("CONCATENATION", n.photo, x, options="ConcatenationOptions", axis=3))
    n = Net("g_broadcast_rank")
    n.done(n.op("BROADCAST_TO", n.mean(n.photo, 1, 2), n.ints(1, 4, 1, 3), options="BroadcastToOptions", version=2))
    n = Net("g_reverse")
    n.done(n.op("REVERSE_V2", n.photo, n.ints(1, 2), options="ReverseV2Options"))
    n = Net("g_length_map")
    n.done(n.op("RELU", n.op("L2_NORMALIZATION", n.photo, options="L2NormOptions")))
    n = Net("g_length_list")
    n.done(n.op("L2_NORMALIZATION", n.mean(n.conv(n.photo, 3, 7), 1, 2), options="L2NormOptions"))
    n = Net("g_length_zero")
    x = n.two("MUL", n.photo, n.const(np.float32(1e-9)))
    n.done(n.op("L2_NORMALIZATION", x, options="L2NormOptions"))
    for name, axes in [("global", (1, 2)), ("rows", (1,)), ("channels", (3,))]:
        n = Net(f"g_min_{name}")
        n.done(n.mean(n.photo, *axes, kind="REDUCE_MIN"))
    masks = {
        "ellipsis": ((0, 1), (0, 3), (1, 1), {"ellipsisMask": 1}),
        "ellipsis_middle": ((0, 0, 2), (1, 0, 0), (1, 1, -1), {"ellipsisMask": 2, "endMask": 4}),
        "new_axis": ((0, 2, 0, 1), (1, 7, 0, 8), (1, 1, 1, 3), {"newAxisMask": 4}),
        "new_axis_shrink": ((0, 2, 0, 0), (1, 3, 0, 0), (1, 1, 1, 1), {"newAxisMask": 4, "shrinkAxisMask": 2, "ellipsisMask": 8}),
        "offset": ((0, 2, 1, 0), (1, 4, 5, 3), (1, 1, 1, 1), {"offset": True}),
    }
    for name, (begin, end, steps, more) in masks.items():
        n = Net(f"g_strided_{name}")
        lists = [n.ints(*values) for values in (begin, end, steps)]
        n.done(n.op("STRIDED_SLICE", n.photo, *lists, options="StridedSliceOptions", **more))


def dilated_by_batches():
    """How TensorFlow writes a convolution with dilation: between two operators that deal pixels out."""
    def dealt(n, x, block, sides, crops, inside):
        x = n.op("SPACE_TO_BATCH_ND", x, n.ints(*block), n.const(np.array(sides, np.int32)), options="SpaceToBatchNDOptions")
        x = inside(x)
        return n.op("BATCH_TO_SPACE_ND", x, n.ints(*block), n.const(np.array(crops, np.int32)), options="BatchToSpaceNDOptions")

    sides, crops = [[2, 2], [2, 3]], [[0, 0], [0, 1]]
    n = Net("d_batches")
    n.done(dealt(n, n.photo, (2, 2), sides, crops, lambda x: n.conv(x, 3, 4, padding=VALID)))
    n = Net("d_batches_relu")
    y = dealt(n, n.photo, (2, 2), sides, crops, lambda x: n.op("RELU", n.conv(x, 3, 4, padding=VALID)))
    n.done(n.conv(n.two("ADD", y, n.normal(4)), 4, 2))
    n = Net("d_batches_scaled")
    inside = lambda x: n.two("MUL", n.conv(x, 3, 4, padding=VALID), n.normal(4))
    n.done(dealt(n, n.photo, (2, 2), sides, crops, inside))
    n = Net("d_batches_depthwise")
    y = dealt(n, n.photo, (3, 3), [[3, 4], [3, 3]], [[0, 1], [0, 0]], lambda x: n.depthwise(x, 3, padding=VALID, fusedActivationFunction=RELU6))
    n.done(y)
    n = Net("d_batches_same")
    n.done(dealt(n, n.photo, (4, 3), [[0, 0], [0, 0]], [[1, 2], [0, 3]], lambda x: n.conv(x, 3, 4, padding=SAME)))
    n = Net("d_batches_columns")
    n.done(dealt(n, n.photo, (1, 3), [[0, 0], [0, 0]], [[0, 0], [0, 0]], lambda x: n.conv(x, 3, 4, padding=SAME)))
    n = Net("d_batches_two")
    inside = lambda x: n.conv(n.conv(x, 3, 4, padding=SAME, fusedActivationFunction=RELU), 4, 5, padding=VALID)
    n.done(dealt(n, n.photo, (2, 2), [[2, 2], [2, 3]], [[0, 0], [0, 1]], inside))
    n = Net("d_batches_alone")
    n.done(dealt(n, n.photo, (2, 3), [[0, 0], [0, 0]], [[1, 0], [0, 2]], lambda x: n.op("TANH", x)))
    n = Bytes("i_batches")
    block, of = n.ints(2, 2), n.of_start
    x = n.op("SPACE_TO_BATCH_ND", n.start, block, n.const(np.array(sides, np.int32)), options="SpaceToBatchNDOptions")
    x = n.conv_in_bytes(n.q(x, *of), 3, 4, padding=VALID)
    y = n.op("BATCH_TO_SPACE_ND", x, block, n.const(np.array(crops, np.int32)), options="BatchToSpaceNDOptions")
    n.done(n.q(y, 0.05, 10), on_bytes="Conv")


def more_integers():
    """Operators on bytes that have no kernel for integers, and rare forms of those that have."""
    functions = {
        "ABS": ("AbsOptions", 0.02, -128), "EXP": ("ExpOptions", 0.05, -128), "GELU": ("GeluOptions", 0.02, -110),
        "RELU6": (None, 0.02, -128), "RELU_N1_TO_1": (None, 1 / 128, 0), "NEG": ("NegOptions", 1 / 64, 0),
    }
    for kind, (options, scale, zero_point) in functions.items():
        n = Bytes(f"j_{kind.lower()}")
        on_bytes = "" if kind == "RELU_N1_TO_1" else "Activation"
        n.done(n.q(n.op(kind, n.start, options=options), scale, zero_point), on_bytes=on_bytes)
    n = Bytes("j_prelu")
    slopes = n.const(np.array([[[20, -30, 100]]], np.int8), [0.01])
    n.done(n.q(n.op("PRELU", n.start, slopes), 0.02, -20), on_bytes="")
    # Squeeze and excitation.
    n = Bytes("j_gate")
    x = n.conv_in_bytes(n.start, 3, 8, fusedActivationFunction=RELU6, at=(0.025, -128))
    gate = n.q(n.mean(x, 1, 2, keep=True), 0.025, -128)
    gate = n.q(n.op("LOGISTIC", n.conv_in_bytes(gate, 8, 8)), 1 / 256, -128)
    n.done(n.q(n.two("MUL", x, gate), 0.02, -128), on_bytes="Conv GlobalAveragePool Conv Activation Mul")
    for kind in ["MAXIMUM", "MINIMUM"]:
        n = Bytes(f"j_{kind.lower()}")
        other = n.conv_in_bytes(n.start, 3, 3, at=n.of_start)
        n.done(n.q(n.two(kind, n.start, other), *n.of_start), on_bytes="Conv " + {"MAXIMUM": "Max", "MINIMUM": "Min"}[kind])
    for kind in ["ADD", "MUL"]:
        n = Bytes(f"j_{kind.lower()}_uint8", "UINT8")
        other = n.conv_in_bytes(n.start, 3, 3)
        y = n.two(kind, n.start, other, RELU)
        n.done(n.q(y, 0.03, 20, "UINT8"), on_bytes=f"Conv {kind.capitalize()}")
        n = Bytes(f"j_{kind.lower()}_row")
        w = n.const(n.rng.integers(-100, 100, (1, 1, 9, 1)).astype(np.int8), [0.02], [7])
        n.done(n.q(n.two(kind, n.start, w), 0.05, 3), on_bytes="")
    n = Bytes("j_squared_difference")
    other = n.conv_in_bytes(n.start, 3, 3)
    y = n.op("SQUARED_DIFFERENCE", n.start, other, options="SquaredDifferenceOptions")
    n.done(n.q(y, 0.2, -128), on_bytes="Conv")
    n = Bytes("j_length")
    n.done(n.q(n.op("L2_NORMALIZATION", n.start, options="L2NormOptions"), 1 / 128, 0), on_bytes="")
    n = Bytes("j_softmax_map")
    n.done(n.op("DEQUANTIZE", n.softmax_in_bytes(n.conv_in_bytes(n.start, 3, 4)), options="DequantizeOptions"), on_bytes="Conv", step=1 / 256)
    n = Bytes("j_reduce_max")
    n.done(n.q(n.mean(n.start, 1, 2, kind="REDUCE_MAX"), *n.of_start), on_bytes="GlobalMaxPool")
    n = Bytes("j_reduce_min")
    n.done(n.q(n.mean(n.start, 3, kind="REDUCE_MIN"), *n.of_start), on_bytes="")
    n = Bytes("j_sum")
    n.done(n.q(n.mean(n.start, 3, kind="SUM"), 0.05, 4), on_bytes="")
    n = Bytes("j_mean_channels")
    n.done(n.q(n.mean(n.start, 3), 0.015, 4), on_bytes="")
    n = Bytes("j_mean_rows")
    n.done(n.q(n.mean(n.start, 1, keep=True), 0.01, -3), on_bytes="")
    n = Bytes("j_mirror")
    sides = n.const(np.array([[0, 0], [1, 1], [2, 2], [0, 0]], np.int32))
    y = n.op("MIRROR_PAD", n.start, sides, options="MirrorPadOptions", mode=0)
    n.done(n.q(y, *n.of_start), on_bytes="")
    n = Bytes("j_tile")
    n.done(n.q(n.op("TILE", n.start, n.ints(1, 1, 2, 1), options="TileOptions"), *n.of_start), on_bytes="")
    n = Bytes("j_slice")
    lists = [n.ints(*v) for v in [(0, 1, 1, 0), (1, 8, 9, 3), (1, 2, 3, 1)]]
    n.done(n.q(n.op("STRIDED_SLICE", n.start, *lists, options="StridedSliceOptions"), *n.of_start), on_bytes="")
    n = Bytes("j_transpose")
    x = n.q(n.transpose(n.start, 0, 2, 1, 3), *n.of_start)
    n.done(n.conv_in_bytes(x, 3, 4), on_bytes="Conv")
    n = Bytes("j_bilinear")
    y = n.op("RESIZE_BILINEAR", n.start, n.ints(16, 18), options="ResizeBilinearOptions", halfPixelCenters=True)
    n.done(n.q(y, *n.of_start), on_bytes="")
    n = Bytes("j_depthwise_multiplier")
    w, of_w = n.weights((1, 3, 3, 6), 3)
    fields = {"strideW": 1, "strideH": 1, "depthMultiplier": 2}
    y = n.op("DEPTHWISE_CONV_2D", n.start, w, n.bias(6, of_w), options="DepthwiseConv2DOptions", version=3, **fields)
    n.done(n.q(y, 0.03, -20), on_bytes="")
    n = Bytes("j_conv_dilated")
    n.done(n.conv_in_bytes(n.start, 3, 5, dilationWFactor=2, dilationHFactor=2), on_bytes="Conv")
    n = Bytes("j_conv_grouped")
    x = n.conv_in_bytes(n.start, 3, 4)
    w, of_w = n.weights((6, 3, 3, 2), 0)
    y = n.op("CONV_2D", x, w, n.bias(6, of_w, x), options="Conv2DOptions", version=3, strideW=1, strideH=1)
    n.done(n.q(y, 0.1, 0), on_bytes="Conv Conv")
    n = Bytes("j_dense_channels")
    x = n.q(n.reshape(n.start, 1, 216), *n.of_start)
    w, of_w = n.weights((5, 216), 0)
    y = n.op("FULLY_CONNECTED", x, w, n.bias(5, of_w, x), options="FullyConnectedOptions", version=12)
    n.done(n.q(y, 0.1, 10), on_bytes="Gemm")
    n = Bytes("j_dense_rows")
    w, of_w = n.weights((5, 3), None)
    y = n.op("FULLY_CONNECTED", n.start, w, n.bias(5, of_w), options="FullyConnectedOptions", version=5, keepNumDims=True, fusedActivationFunction=RELU)
    n.done(n.q(y, 0.02, -128), on_bytes="Gemm")
    n = Bytes("j_requantized")
    n.done(n.q(n.op("QUANTIZE", n.conv_in_bytes(n.start, 3, 4), options="QuantizeOptions"), 0.08, -30), on_bytes="Conv")
    n = Net("x_bytes_cast", element=schema.TensorType.UINT8)
    x = n.op("CAST", n.photo, options="CastOptions", inDataType=schema.TensorType.UINT8, outDataType=F32)
    x = n.two("SUB", n.two("MUL", x, n.const(np.float32(1 / 127.5))), n.const(np.float32(1)))
    n.done(n.softmax(n.dense(n.mean(n.conv(x, 3, 4), 1, 2), 4, 3)))
    n = Bytes("j_bytes_of_floats")
    n.graph.tensors[n.photo].type = F32
    n.graph.tensors[n.photo].quantization = None
    x = n.q(n.op("QUANTIZE", n.photo, options="QuantizeOptions"), 1 / 32, 3)
    n.scales[x] = 1 / 32
    n.done(n.conv_in_bytes(x, 3, 4), on_bytes="Conv")


def outside(n):
    """The file with its weights behind the tables, as those above 2 GB are written."""
    bodies = [bytes(b.data) if b.data is not None else b"" for b in n.model.buffers]
    for buffer, body in zip(n.model.buffers, bodies):
        if body:
            buffer.data, buffer.offset, buffer.size = None, 1 << 40, len(body)
    # The tables do not grow with the numbers in them.
    at = -(-len(n.bytes()) // 16) * 16
    behind = b""
    for buffer, body in zip(n.model.buffers, bodies):
        if body:
            buffer.offset = at + len(behind)
            behind += body + bytes(-len(body) % 16)
    packed = n.bytes()
    return packed + bytes(at - len(packed)) + behind


def far_weights():
    n = Net("w_outside")
    n.graph.outputs = [n.dense(n.mean(n.conv(n.photo, 3, 4), 1, 2), 4, 5)]
    data = outside(n)
    n.bytes = lambda: data
    n.done(*n.graph.outputs)
    n = Net("outside")
    n.graph.outputs = [n.dense(n.mean(n.conv(n.photo, 3, 4), 1, 2), 4, 5)]
    data = outside(n)[:-64]
    n.bytes = lambda: data
    n.refused("flatbuffer", "lies outside of the file", *n.graph.outputs)


def table(builder, *fields):
    """A table of a FlatBuffer whose schema no package here brings: slots and offsets or bytes."""
    builder.StartObject(max(slot for slot, _, _ in fields) + 1)
    for slot, kind, value in fields:
        if kind == "byte":
            builder.PrependUint8Slot(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return builder.EndObject()


def vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def describe(net, mean, std):
    """TFLITE_METADATA: how pixels are scaled, and the name of the file of labels."""
    b = flatbuffers.Builder(256)
    means, stds = (b.CreateNumpyVector(np.array([v], np.float32)) for v in (mean, std))
    options = table(b, (0, "offset", means), (1, "offset", stds))
    unit = table(b, (0, "byte", 1), (1, "offset", options))
    given = table(b, (4, "offset", vector(b, [unit])))
    file = table(b, (0, "offset", b.CreateString("labels.txt")), (2, "byte", 2))
    made = table(b, (6, "offset", vector(b, [file])))
    inputs, outputs = vector(b, [given]), vector(b, [made])
    graph = table(b, (2, "offset", inputs), (3, "offset", outputs))
    version = b.CreateString("v1")
    b.Finish(table(b, (2, "offset", version), (3, "offset", vector(b, [graph]))), file_identifier=b"M001")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(bytes(b.Output()), np.uint8)
    net.model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(net.model.buffers) - 1
    net.model.metadata = [entry]


def refusals():
    n = Net("unknown")
    x = n.op("FLOOR", n.op("FLOOR", n.photo))
    y = n.op("CUSTOM", x, custom="FlexErf")
    n.refused("unsupported_operators", "`FLOOR` 2 times", y)
    n = Net("custom")
    y = n.op("CUSTOM", n.photo, custom="TFLite_Detection_PostProcess")
    n.refused("unsupported_operators", "`TFLite_Detection_PostProcess` (an operator of its author)", y)
    n = Net("best_class")
    n.refused("unsupported_operators", "`ARG_MAX` (it picks the answer)", n.op("ARG_MAX", n.mean(n.photo, 1, 2), n.ints(1), options="ArgMaxOptions"))
    n = Net("transposed")
    y = n.op("TRANSPOSE_CONV", n.ints(1, 16, 18, 4), n.normal(4, 3, 3, 3), n.photo, options="TransposeConvOptions", strideW=2, strideH=2)
    n.refused("unsupported_operators", "`TRANSPOSE_CONV` (it makes a map larger)", y)
    n = Net("mirror_wide")
    sides = n.const(np.array([[0, 0], [8, 0], [0, 0], [0, 0]], np.int32))
    n.refused("unsupported_value", "`paddings` is `[8, 0]`", n.op("MIRROR_PAD", n.photo, sides, options="MirrorPadOptions", mode=0))
    n = Net("batches_stride")
    x = n.op("SPACE_TO_BATCH_ND", n.photo, n.ints(2, 3), n.const(np.zeros((2, 2), np.int32)), options="SpaceToBatchNDOptions")
    n.refused("unsupported_value", "1 between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND", n.conv(x, 3, 4, strideW=2, strideH=2))
    n = Net("batches_uneven")
    x = n.op("SPACE_TO_BATCH_ND", n.photo, n.ints(3, 3), n.const(np.zeros((2, 2), np.int32)), options="SpaceToBatchNDOptions")
    n.refused("unsupported_value", "steps that divide 8 rows and 9 columns", x)
    n = Net("control_flow")
    n.refused("unsupported_operators", "`WHILE` (control flow)", n.op("WHILE", n.photo, options="WhileOptions"))
    n = Net("photos", shape=(4, 8, 8, 3))
    n.refused("unrepresentable", "it takes 4 photos at once", n.op("RELU", n.photo))
    n = Net("sequence", shape=(1, 8, 9, 3))
    y = n.conv(n.reshape(n.photo, 2, 6, 6, 3), 3, 4)
    n.refused("unrepresentable", "expected [1, rows, columns, channels]", y)
    n = Net("select")
    above = n.op("GREATER", n.photo, n.const(np.float32(0)), options="GreaterOptions", element=schema.TensorType.BOOL)
    y = n.op("SELECT", above, n.photo, n.op("EXP", n.photo, options="ExpOptions"), options="SelectOptions")
    n.refused("unrepresentable", "in a way that no activation does", y)
    n = Net("pad_value")
    y = n.op("PADV2", n.photo, n.const(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)), n.const(np.float32(1)))
    n.refused("unsupported_value", "`value` is `1`", y)
    n = Net("dynamic_weights")
    w = n.reshape(n.mean(n.photo, 1), 3, 3, 3, 1)
    y = n.op("CONV_2D", n.photo, w, options="Conv2DOptions", strideW=1, strideH=1)
    n.refused("unrepresentable", "its kernel is computed from the photo", y)
    n = Net("bias_length")
    y = n.op("CONV_2D", n.photo, n.normal(5, 3, 3, 3), n.normal(4), options="Conv2DOptions", strideW=1, strideH=1)
    n.refused("weight_shape", "weight `bias`: expected [5], got [4]", y)
    n = Net("not_finite")
    y = n.two("MUL", n.photo, n.const(np.array([1, np.nan, 1], np.float32)))
    n.refused("not_finite", "is NaN at element 1", y)
    n = Net("constant_output")
    n.refused("config", "it does not depend on the photo", n.normal(1, 3))
    n = Net("outputs")
    n.refused("outputs", "the model has 2 outputs", n.op("RELU", n.photo), n.op("TANH", n.photo))
    n = Net("open_size", shape=(1, 1, 1, 3), signature=(-1, -1, -1, 3))
    n.refused("input_size", "rows and columns are not known", n.mean(n.conv(n.photo, 3, 4), 1, 2))
    n = Net("reshape")
    n.refused("unsupported_value", "a shape that fits [1, 8, 9, 3]", n.reshape(n.photo, 1, 217))
    n = Net("fused_tanh")
    n.refused("unsupported_value", "`fused_activation_function` is `4`", n.two("ADD", n.photo, n.photo, TANH))
    n = Net("state")
    y = n.op("RELU", n.photo)
    n.graph.tensors[y].isVariable = True
    n.refused("config", "from one photo to the next", y)
    n = Net("integers_16", element=schema.TensorType.INT16)
    n.graph.tensors[n.photo].quantization = quantization([1 / 255])
    n.refused("unrepresentable", "its values are of type INT16", n.op("RELU", n.photo))
    n = Net("integers_bare", element=schema.TensorType.UINT8)
    n.refused("unrepresentable", "its input 0 is bytes without a scale", n.op("RELU", n.photo))
    n = Net("integers_bare_signed", element=schema.TensorType.INT8)
    n.refused("config", "its values are integers without a scale", n.op("RELU", n.photo))
    n = Bytes("integers_channels")
    y = n.op("RELU", n.q(n.photo, 1 / 255, 0))
    n.q(y, 1 / 255, 0)
    n.graph.tensors[y].quantization = quantization([0.1, 0.2, 0.3], axis=3)
    n.refused("unsupported_value", "`scale` is `a list of 3`", y)
    n = Bytes("integers_zero_point")
    n.refused("unsupported_value", "`zero_point` is `200`", n.q(n.op("RELU", n.photo), 0.1, 200))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    parts = [functions_of_one_value, arithmetic, convolutions, pools, dense, shapes, weights, converters, integers, rearranged, dilated_by_batches, more_integers, far_weights, refusals]
    for part in parts:
        part()
    version = importlib.metadata.version
    golden = {
        "tools": {"python": platform.python_version(), "numpy": np.__version__}
        | {name: version(name) for name in ["ai-edge-litert", "flatbuffers"]},
        "inputs": {key: numbers(x) for key, x in INPUTS.items()},
        "cases": CASES,
        "refused": REFUSED,
    }
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{len(CASES)} cases, {len(REFUSED)} refused")


if __name__ == "__main__":
    main()
