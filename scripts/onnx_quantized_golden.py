"""Writes small quantized ONNX models and what ONNX Runtime makes of them:
fixtures/import/onnx_quantized, which tests/library/onnx_quantized.rs reads.

Most models are small float networks that onnxruntime.quantization has quantized in one of its ways;
the others are written node by node. Inputs are stored as the graph has them (rows, columns,
channels).

Needs a Python of its own:
    python3 -m venv VENV
    VENV/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 sympy==1.14.0
    VENV/bin/python scripts/onnx_quantized_golden.py
Versions used are written into golden.json.
"""

import json
import pathlib
import platform
import shutil
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static,
)

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "import" / "onnx_quantized"
F, U8, I8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8
CASES, REFUSED, INPUTS = [], [], {}
SHAPE = (10, 9, 3)


class Net:
    """A graph that is written node by node; every method returns the name of a value."""

    def __init__(self, name, element=F, opset=17, contrib=False):
        self.name, self.opset, self.contrib = name, opset, contrib
        self.rng = np.random.default_rng(sum(name.encode()) * 7919 + len(name))
        h, w, c = SHAPE
        self.inputs = [helper.make_tensor_value_info("photo", element, [1, c, h, w])]
        self.nodes, self.weights, self.count = [], [], 0

    def fresh(self, base):
        self.count += 1
        return f"{base}_{self.count}"

    def const(self, value, name=None):
        value = np.asarray(value)
        value = value.astype(np.float32) if value.dtype == np.float64 else value
        name = name or self.fresh("w")
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, *shape, scale=1.0):
        return self.const(self.rng.normal(0, scale, shape).astype(np.float32))

    def op(self, kind, *inputs, n=1, domain="", **attributes):
        outputs = [self.fresh(kind.lower()) for _ in range(n)]
        self.nodes.append(helper.make_node(
            kind, inputs, outputs, name=self.fresh(f"/{kind}"), domain=domain, **attributes))
        return outputs[0] if n == 1 else outputs

    def conv(self, x, c, f, k=3, group=1, bias=True, **attributes):
        w = self.normal(f, c // group, k, k, scale=(k * k * c / group) ** -0.5)
        more = [self.normal(f, scale=0.3)] if bias else []
        attributes.setdefault("pads", [k // 2] * 4)
        return self.op("Conv", x, w, *more, group=group, **attributes)

    def gemm(self, x, k, n, transpose=1):
        w = self.normal(*((n, k) if transpose else (k, n)), scale=k**-0.5)
        return self.op("Gemm", x, w, self.normal(n, scale=0.3), transB=transpose)

    def round(self, x, scale, zero, kind=np.uint8):
        """QuantizeLinear and DequantizeLinear."""
        scale, zero = self.const(np.float32(scale)), self.const(kind(zero))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, scale, zero), scale, zero)

    def model(self, output, element=F):
        made = helper.make_tensor_value_info(output, element, None)
        graph = helper.make_graph(self.nodes, self.name, self.inputs, [made], self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        if self.contrib:
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=opsets, producer_name="dermal")
        model.ir_version = 10
        return model


def photo(seed=0):
    return np.random.default_rng(seed + 1).normal(0, 1, SHAPE).astype(np.float32)


class Photos(CalibrationDataReader):
    def __init__(self):
        self.left = [photo(seed).transpose(2, 0, 1)[None] for seed in range(4)]

    def get_next(self):
        return {"photo": self.left.pop()} if self.left else None


def session(model, integers):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if integers:
        # Products of u8 and i8 saturate at 16 bits on CPUs without VNNI, unless this is set.
        options.add_session_config_entry("session.x64quantprecision", "1")
    else:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(model.SerializeToString(), options)
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        # That setting does not know convolutions of i8 by i8, which do not saturate.
        options.add_session_config_entry("session.x64quantprecision", "0")
        return ort.InferenceSession(model.SerializeToString(), options)


def steps_of(model):
    """The scale of the last value that the file rounds, or none."""
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    for node in reversed(model.graph.node):
        at = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6,
              "QLinearMul": 6, "QLinearSigmoid": 3, "QLinearLeakyRelu": 3, "QLinearSoftmax": 3,
              "QLinearAveragePool": 3, "QLinearGlobalAveragePool": 3, "QLinearConcat": 0}
        if node.op_type in at and len(node.input) > at[node.op_type]:
            return float(weights[node.input[at[node.op_type]]].ravel()[0])
    return None


def write(name, model, in_bytes, integers=True, element=F, answer=None, tolerance=None):
    """`in_bytes` are the operators that must compute on bytes."""
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString())
    x = photo()
    if element == U8:
        x = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    key = "bytes" if element == U8 else "photo"
    INPUTS[key] = x
    [y] = session(model, integers).run(None, {"photo": np.ascontiguousarray(x.transpose(2, 0, 1)[None])})
    if answer:
        y = answer(y)
    CASES.append({
        "file": f"{name}.onnx", "input": key, "output": [float(v) for v in y.ravel()],
        "step": steps_of(model), "in_bytes": in_bytes, "tolerance": tolerance,
    })


def small_networks():
    """Float networks by name: what they end in, and what an integer kernel computes of them."""
    nets = {}

    def add(name, build):
        net = Net(name)
        nets[name] = net.model(build(net))

    add("conv", lambda n: n.op("Relu", n.conv("photo", 3, 10)))
    add("conv_relu6", lambda n: n.op(
        "Clip", n.conv("photo", 3, 20, k=5, strides=[2, 2]), n.const(np.float32(0)), n.const(np.float32(6))))
    add("depthwise", lambda n: n.conv(n.op("Relu", n.conv("photo", 3, 18, k=1)), 18, 18, group=18))
    add("grouped", lambda n: n.conv(n.conv("photo", 3, 8, k=1), 8, 12, group=4, strides=[1, 2]))

    def residual(n):
        x = n.op("Relu", n.conv("photo", 3, 12))
        return n.op("Relu", n.op("Add", n.conv(x, 12, 12), x))

    add("residual", residual)

    def gate(n):
        x = n.conv("photo", 3, 8)
        gate = n.op("Sigmoid", n.conv(n.op("GlobalAveragePool", x), 8, 8, k=1))
        return n.op("Mul", x, gate)

    add("gate", gate)

    def pools(n):
        x = n.op("LeakyRelu", n.conv("photo", 3, 8), alpha=0.1)
        a = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        b = n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        return n.op("Concat", a, b, axis=1)

    add("pools", pools)

    def classifier(n):
        x = n.op("Relu", n.conv("photo", 3, 8, strides=[2, 2]))
        x = n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = n.op("Relu", n.gemm(n.op("Flatten", x), 8 * 2 * 2, 24))
        return n.gemm(x, 24, 7)

    add("classifier", classifier)
    add("probabilities", lambda n: n.op("Softmax", n.gemm(n.op(
        "Flatten", n.op("GlobalAveragePool", n.op("Relu", n.conv("photo", 3, 16)))), 16, 5), axis=-1))

    def mat_mul(n):
        x = n.op("Transpose", n.conv("photo", 3, 8), perm=[0, 2, 3, 1])
        x = n.op("MatMul", n.op("Reshape", x, n.const(np.array([1, 90, 8]))), n.normal(8, 12, scale=0.3))
        return n.op("Add", x, n.normal(12, scale=0.3))

    add("mat_mul", mat_mul)
    return nets


WAYS = {
    "qdq": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8),
    "qdq_channel": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, per_channel=True),
    "qdq_s8s8": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8,
                     weight_type=QuantType.QInt8, per_channel=True),
    "qdq_u8u8": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                     weight_type=QuantType.QUInt8),
    "op": dict(quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8,
               weight_type=QuantType.QInt8),
    "op_s8s8": dict(quant_format=QuantFormat.QOperator, activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8, per_channel=True),
}

# What computes on bytes in each network. Asymmetric u8 weights do not fit i8: their layers compute
# in real numbers.
IN_BYTES = {
    "conv": ["Conv"], "conv_relu6": ["Conv"], "depthwise": ["Conv", "DepthwiseConv"],
    "grouped": ["Conv", "Conv"], "residual": ["Conv", "Conv", "Add"],
    "gate": ["Conv", "GlobalAveragePool", "Conv", "Activation", "Mul"],
    "pools": ["Conv", "Activation", "MaxPool", "AveragePool", "Concat"],
    "classifier": ["Conv", "MaxPool", "Gemm", "Gemm"],
    "probabilities": ["Conv", "GlobalAveragePool", "Gemm"],
    "mat_mul": ["Conv", "Gemm"],
}


def by_onnxruntime():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, model in small_networks().items():
            onnx.save(model, folder / "float.onnx")
            for way, options in WAYS.items():
                to = folder / "quantized.onnx"
                quantize_static(folder / "float.onnx", to, Photos(), **options)
                in_bytes = IN_BYTES[name]
                if way == "qdq_u8u8":
                    in_bytes = [op for op in in_bytes if op not in ("Conv", "DepthwiseConv", "Gemm")]
                write(f"{name}_{way}", onnx.load(to), in_bytes)
            if name in ("classifier", "conv", "mat_mul"):
                for kind, weight_type in {"i8": QuantType.QInt8, "u8": QuantType.QUInt8}.items():
                    to = folder / "dynamic.onnx"
                    ops = None if name == "classifier" else ["Conv", "MatMul"]
                    quantize_dynamic(folder / "float.onnx", to, weight_type=weight_type,
                                     op_types_to_quantize=ops, per_channel=False)
                    # Values are rounded for each photo there, and not rounded here.
                    write(f"{name}_dynamic_{kind}", onnx.load(to), [], tolerance=0.03)


def by_hand():
    # Weights of u8 around 128 are i8; the default of `axis` is 1.
    net = Net("weights_u8_128")
    w = net.const(net.rng.integers(1, 256, (6, 3, 3, 3)).astype(np.uint8))
    w = net.op("DequantizeLinear", w, net.const(np.float32(0.004)), net.const(np.uint8(128)))
    y = net.op("Conv", net.round("photo", 0.03, 120), w, pads=[1, 1, 1, 1])
    write(net.name, net.model(net.round(y, 0.05, 131)), ["Conv"])

    # i8 with a zero point that fits, for each channel.
    net = Net("weights_i8_zero_points")
    w = net.const(net.rng.integers(-100, 101, (6, 3, 3, 3)).astype(np.int8))
    scale = net.const(net.rng.uniform(0.002, 0.006, 6).astype(np.float32))
    zero = net.const(net.rng.integers(-27, 28, 6).astype(np.int8))
    w = net.op("DequantizeLinear", w, scale, zero, axis=0)
    y = net.op("Conv", net.round("photo", 0.03, 120), w, pads=[1, 1, 1, 1])
    write(net.name, net.model(net.round(y, 0.05, 131)), ["Conv"], integers=False)

    # i8 with a zero point that does not fit: real numbers.
    net = Net("weights_i8_asymmetric")
    w = net.const(net.rng.integers(-128, 128, (6, 3, 3, 3)).astype(np.int8))
    w = net.op("DequantizeLinear", w, net.const(np.float32(0.004)), net.const(np.int8(-90)))
    y = net.op("Conv", net.round("photo", 0.03, 120), w, pads=[1, 1, 1, 1])
    write(net.name, net.model(net.round(y, 0.4, 131)), [], integers=False)

    # Scales along axis 1, the default: columns of a matrix that is not turned.
    net = Net("matrix_default_axis")
    w = net.const(net.rng.integers(-127, 128, (270, 5)).astype(np.int8))
    scale = net.const(net.rng.uniform(0.0005, 0.001, 5).astype(np.float32))
    w = net.op("DequantizeLinear", w, scale, net.const(np.zeros(5, np.int8)))
    x = net.op("Flatten", net.round("photo", 0.03, 120))
    y = net.op("Gemm", x, w, net.normal(5))
    write(net.name, net.model(net.round(y, 0.03, 128)), ["Gemm"])

    # Scales along the inputs of a matrix cannot be those of an integer kernel.
    net = Net("matrix_scales_of_inputs")
    w = net.const(net.rng.integers(-127, 128, (270, 5)).astype(np.int8))
    scale = net.const(net.rng.uniform(0.0005, 0.001, 270).astype(np.float32))
    w = net.op("DequantizeLinear", w, scale, net.const(np.zeros(270, np.int8)), axis=0)
    y = net.op("MatMul", net.op("Flatten", net.round("photo", 0.03, 120)), w)
    write(net.name, net.model(net.round(y, 0.03, 128)), [], integers=False)

    # Weights that are rounded in the file, as some trainers write it.
    net = Net("weights_rounded_here")
    w = net.normal(6, 3, 3, 3, scale=0.2)
    scale = net.const(net.rng.uniform(0.003, 0.006, 6).astype(np.float32))
    zero = net.const(np.zeros(6, np.int8))
    w = net.op("DequantizeLinear", net.op("QuantizeLinear", w, scale, zero, axis=0), scale, zero, axis=0)
    y = net.op("Conv", net.round("photo", 0.03, 120), w, pads=[1, 1, 1, 1])
    write(net.name, net.model(net.round(y, 0.05, 131)), ["Conv"])

    # Integers in, integers out.
    net = Net("bytes_in_and_out", element=U8)
    scale, zero = net.const(np.float32(1 / 128)), net.const(np.uint8(127))
    x = net.op("DequantizeLinear", "photo", scale, zero)
    w = net.const(net.rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8))
    w = net.op("DequantizeLinear", w, net.const(np.float32(0.004)), net.const(np.int8(0)))
    y = net.op("Relu", net.op("Conv", x, w, pads=[1, 1, 1, 1]))
    y = net.op("QuantizeLinear", y, net.const(np.float32(0.015)), net.const(np.int8(-128)))
    write(net.name, net.model(y, I8), ["Conv"], element=U8,
          answer=lambda q: (q.astype(np.float32) + 128) * np.float32(0.015))

    # What has no integer kernel computes real numbers in between.
    net = Net("between_bytes")
    x = net.round(net.op("Softmax", net.round("photo", 0.03, 120), axis=1), 1 / 256, 0)
    x = net.op("Mul", x, net.normal(3, 1, 1))
    y = net.op("Transpose", net.round(x, 0.01, 128), perm=[0, 1, 3, 2])
    write(net.name, net.model(net.round(y, 0.01, 128)), [], integers=False)

    # Padding, cutting and joining of integers.
    net = Net("moved_integers")
    scale, zero = net.const(np.float32(0.03)), net.const(np.int8(-8))
    q = net.op("QuantizeLinear", "photo", scale, zero)
    q = net.op("Pad", q, net.const(np.array([0, 0, 1, 0, 0, 0, 0, 1])), zero)
    a = net.op("Slice", q, net.const(np.array([0])), net.const(np.array([10])), net.const(np.array([2])))
    b = net.op("MaxPool", q, kernel_shape=[2, 1], strides=[1, 1])
    y = net.op("DequantizeLinear", net.op("Concat", a, b, axis=1), scale, zero)
    write(net.name, net.model(y), [], integers=False)

    # ONNX Runtime's own operators for the same.
    net = Net("contributed", contrib=True)
    scale, zero = net.const(np.float32(0.03)), net.const(np.uint8(120))
    x = net.op("QuantizeLinear", "photo", scale, zero, domain="com.microsoft")
    x = net.op("Flatten", net.op("DequantizeLinear", x, scale, zero, domain="com.microsoft"))
    w = net.const(net.rng.integers(-127, 128, (270, 5)).astype(np.int8))
    scale = net.const(net.rng.uniform(0.0005, 0.001, 5).astype(np.float32))
    y = net.op("DynamicQuantizeMatMul", x, w, scale, net.const(np.zeros(5, np.int8)), net.normal(5),
               domain="com.microsoft")
    write(net.name, net.model(y), [], tolerance=0.03)

    # 16 bits stay 16 bits.
    for name, kind in {"half": np.float16}.items():
        net = Net(name)
        w = net.const(net.rng.normal(0, 0.2, (10, 3, 3, 3)).astype(kind))
        y = net.op("Conv", "photo", net.op("Cast", w, to=F), pads=[1, 1, 1, 1])
        y = net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", y)))
        w = net.const(net.rng.normal(0, 0.2, (10, 4)).astype(kind))
        y = net.op("MatMul", y, net.op("Cast", w, to=F))
        write(name, net.model(y), [], integers=False, tolerance=1e-5)
    net = Net("half_throughout")
    x = net.op("Cast", "photo", to=TensorProto.FLOAT16)
    w = net.const(net.rng.normal(0, 0.2, (10, 3, 3, 3)).astype(np.float16))
    y = net.op("Relu", net.op("Conv", x, w, net.const(net.rng.normal(0, 1, 10).astype(np.float16)), pads=[1] * 4))
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    w = net.const(net.rng.normal(0, 0.2, (10, 4)).astype(np.float16))
    y = net.op("Cast", net.op("MatMul", y, w), to=F)
    # ONNX Runtime rounds values to 16 bits, too.
    write(net.name, net.model(y), [], integers=False, tolerance=2e-3)


def refusals():
    def refused(name, build, says, kind="unrepresentable", **options):
        net = Net(f"refused_{name}", **options)
        (OUT / f"{net.name}.onnx").write_bytes(net.model(build(net)).SerializeToString())
        REFUSED.append({"file": f"{net.name}.onnx", "kind": kind, "says": says})

    def sixteen(n):
        return n.round("photo", 0.001, 0, np.uint16)

    refused("16_bits", sixteen, "`zero_point` is `U16`, expected 8-bit integers", "unsupported_value", opset=21)

    def per_channel(n):
        scale, zero = n.const(np.float32([0.1, 0.2, 0.3])), n.const(np.zeros(3, np.uint8))
        q = n.op("QuantizeLinear", "photo", scale, zero, axis=1)
        return n.op("DequantizeLinear", q, scale, zero, axis=1)

    refused("values_per_channel", per_channel, "its value has 3 of the scale")

    def blocked(n):
        scale, zero = n.const(np.float32(0.1)), n.const(np.uint8(0))
        q = n.op("QuantizeLinear", "photo", scale, zero, block_size=2)
        return n.op("DequantizeLinear", q, scale, zero)

    refused("blocks", blocked, "`block_size` is `2`, expected 0", "unsupported_value", opset=21)

    def other_scale(n):
        zero = n.const(np.uint8(0))
        q = n.op("QuantizeLinear", "photo", n.const(np.float32(0.1)), zero)
        return n.op("DequantizeLinear", q, n.const(np.float32(0.2)), zero)

    refused("other_scale", other_scale, "is not that of the integers it reads")

    def arithmetic(n):
        q = n.op("QuantizeLinear", "photo", n.const(np.float32(0.1)), n.const(np.uint8(0)))
        q = n.op("Add", q, q)
        return n.op("DequantizeLinear", q, n.const(np.float32(0.1)), n.const(np.uint8(0)))

    refused("integer_arithmetic", arithmetic, "it computes with integers")

    def scale(value):
        return lambda n: n.round("photo", value, 0)

    refused("no_scale", scale(0.0), "`scale` is `0`, expected a positive number", "unsupported_value")
    refused("negative_scale", scale(-0.1), "expected a positive number", "unsupported_value")

    def dynamic(n):
        q, s, z = n.op("DynamicQuantizeLinear", "photo", n=3)
        y = n.op("Cast", n.op("ConvInteger", q, n.const(np.ones((2, 3, 1, 1), np.int8)), z), to=F)
        return n.op("Mul", y, n.op("Mul", s, s))

    refused("dynamic_scale", dynamic, "the scale does not cancel out")

    def fixed(n):
        q = n.op("QuantizeLinear", "photo", n.const(np.float32(0.1)), n.const(np.uint8(0)))
        return n.op("Cast", n.op("ConvInteger", q, n.const(np.ones((2, 3, 1, 1), np.int8))), to=F)

    refused("bare_integers", fixed, "are not those of `DynamicQuantizeLinear`")

    def bias(n):
        x, s, z = n.op("QuantizeLinear", "photo", n.const(np.float32(0.1)), n.const(np.uint8(0))), n.const(np.float32(0.1)), n.const(np.uint8(0))
        w, ws, wz = n.const(np.ones((2, 3, 1, 1), np.int8)), n.const(np.float32(0.1)), n.const(np.int8(0))
        q = n.op("QLinearConv", x, s, z, w, ws, wz, s, z, n.const(np.zeros(3, np.int32)))
        return n.op("DequantizeLinear", q, s, z)

    refused("bias_length", bias, "weight `bias`: expected [2], got [3]", "weight_shape")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for part in [by_onnxruntime, by_hand, refusals]:
        part()
    golden = {
        "tools": {"python": platform.python_version(), "onnx": onnx.__version__,
                  "onnxruntime": ort.__version__, "numpy": np.__version__},
        "inputs": {key: [float(v) for v in x.ravel()] for key, x in INPUTS.items()},
        "cases": CASES,
        "refused": REFUSED,
    }
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{len(CASES)} cases, {len(REFUSED)} refused")


if __name__ == "__main__":
    main()
