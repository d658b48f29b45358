"""Writes small ONNX models and what ONNX Runtime makes of them: fixtures/import/onnx, which
tests/library/onnx_golden.rs reads.

Each model is one node or one structure that exporters write, with seeded weights. Inputs are shared
by shape and stored as the graph has them (rows, columns, channels).

Needs a Python of its own:
    python3 -m venv VENV && VENV/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
    VENV/bin/python scripts/onnx_golden.py
Versions used are written into golden.json.
"""

import json
import pathlib
import platform
import shutil

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "import" / "onnx"
INPUTS, CASES, REFUSED = {}, [], []
F, I64 = TensorProto.FLOAT, TensorProto.INT64


class Net:
    """A graph that is written node by node; every method returns the name of a value."""

    def __init__(self, name, shape=("N", 3, 8, 9), opset=17, element=F):
        self.name, self.opset, self.element = name, opset, element
        self.rng = np.random.default_rng(sum(name.encode()) * 7919 + len(name))
        self.inputs = [helper.make_tensor_value_info("photo", element, shape)]
        self.shape = [d if isinstance(d, int) else 1 for d in shape]
        self.nodes, self.weights, self.outputs, self.functions = [], [], [], []
        self.count = 0

    def fresh(self, base):
        self.count += 1
        return f"{base}_{self.count}"

    def const(self, value, name=None):
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        name = name or self.fresh("w")
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, *shape, scale=1.0):
        return self.const(self.rng.normal(0, scale, shape).astype(np.float32))

    def positive(self, *shape):
        return self.const(self.rng.uniform(0.2, 1.5, shape).astype(np.float32))

    def op(self, kind, *inputs, n=1, domain="", **attributes):
        outputs = [self.fresh(kind.lower()) for _ in range(n)]
        name = self.fresh(f"/{kind}")
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        )
        return outputs[0] if n == 1 else outputs

    def conv(self, x, c, f, k=3, group=1, bias=True, **attributes):
        w = self.normal(f, c // group, k, k, scale=(k * k * c / group) ** -0.5)
        more = [self.normal(f)] if bias else []
        attributes.setdefault("pads", [k // 2] * 4)
        if attributes.pop("auto_pad_only", False):
            del attributes["pads"]
        return self.op("Conv", x, w, *more, group=group, **attributes)

    def batch_norm(self, x, c, **attributes):
        return self.op(
            "BatchNormalization", x, self.positive(c), self.normal(c), self.normal(c),
            self.positive(c), **attributes,
        )

    def gemm(self, x, k, n, **attributes):
        attributes.setdefault("transB", 1)
        w = self.normal(*((n, k) if attributes["transB"] else (k, n)), scale=k**-0.5)
        return self.op("Gemm", x, w, self.normal(n), **attributes)

    def done(self, *outputs, **options):
        for output in outputs:
            self.outputs.append(helper.make_tensor_value_info(output, F, None))
        write(self, **options)


def seeded(shape):
    """An input by its shape, as the graph has it."""
    key = "x".join(map(str, shape))
    if key not in INPUTS:
        rng = np.random.default_rng(len(INPUTS) + 1)
        INPUTS[key] = rng.normal(0, 1, shape).astype(np.float32)
    return key


def seeded_bytes(shape):
    """As `seeded`, of whole numbers from 0 to 255."""
    key = "bytes " + "x".join(map(str, shape))
    if key not in INPUTS:
        INPUTS[key] = np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)
    return key


def model_of(net, metadata=None):
    graph = helper.make_graph(net.nodes, net.name, net.inputs, net.outputs, net.weights)
    opsets = [helper.make_opsetid("", net.opset)]
    opsets += [helper.make_opsetid(domain, 1) for domain in sorted({node.domain for node in net.nodes} - {""})]
    model = helper.make_model(
        graph, opset_imports=opsets, producer_name="dermal", producer_version="1", functions=net.functions,
    )
    model.ir_version = 10 if net.opset > 22 else 8
    if metadata:
        helper.set_model_props(model, metadata)
    return model


def write(net, nhwc=False, external=False, refused=None, output=None, metadata=None, change=None,
          feed_batch=1, input_size=None, beside=None, inside=None, names=None):
    """`beside` is an output beside others that are none of real numbers, `inside` a value inside of the graph, and
    `names` are the keys of what is made of it."""
    model = model_of(net, metadata)
    if change:
        change(model)
    path = OUT / f"{net.name}.onnx"
    if refused:
        path.write_bytes(model.SerializeToString())
        REFUSED.append({"file": path.name, "kind": refused[0], "says": refused[1]})
        return
    shape = [1] + [d if isinstance(d, int) else 1 for d in net.shape[1:]]
    if input_size:
        spatial = (1, 2) if nhwc else (2, 3)
        for axis, extent in zip(spatial, input_size):
            shape[axis] = extent
    if len(shape) == 4:
        nhwc = nhwc or net.element == TensorProto.UINT8
        n, h, w, c = shape if nhwc else (shape[0], shape[2], shape[3], shape[1])
        key = (seeded_bytes if net.element == TensorProto.UINT8 else seeded)([h, w, c])
        x = INPUTS[key][None]
        x = x if nhwc else x.transpose(0, 3, 1, 2)
    else:
        key = seeded(shape[1:])
        x = INPUTS[key][None]
    options = ort.SessionOptions()
    # The definition itself, not what optimizations make of it.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    run = onnx.ModelProto()
    run.CopyFrom(model)
    if inside:
        run.graph.output.append(helper.make_tensor_value_info(inside, F, None))
    session = ort.InferenceSession(run.SerializeToString(), options)
    x = np.repeat(x, feed_batch, axis=0)
    kind = {"tensor(double)": np.float64, "tensor(uint8)": np.uint8}
    x = x.astype(kind.get(session.get_inputs()[0].type, np.float32))
    asked = output or inside or beside
    [y] = session.run([asked] if asked else None, {"photo": np.ascontiguousarray(x)})
    if names:
        y = np.array([y[0][name] for name in names], np.float32)
    y = y[:1] if feed_batch > 1 else y
    if external:
        onnx.save(
            model, path, save_as_external_data=True, location=f"{path.name}.data",
            size_threshold=0, convert_attribute=False,
        )
    else:
        path.write_bytes(model.SerializeToString())
    case = {"file": path.name, "input": key, "output": [float(v) for v in y.ravel()]}
    if output or inside:
        case["output_name"] = output or inside
    if input_size:
        case["input_size"] = input_size
    CASES.append(case)


def functions_of_one_value():
    """Elementwise operators, each as an attribute or two have it."""
    cases = {
        "relu": ("Relu", 17, {}), "leaky": ("LeakyRelu", 17, {}),
        "leaky_alpha": ("LeakyRelu", 9, {"alpha": 0.2}), "elu": ("Elu", 17, {"alpha": 0.7}),
        "selu": ("Selu", 17, {}), "selu_own": ("Selu", 17, {"alpha": 1.2, "gamma": 0.8}),
        "celu": ("Celu", 17, {"alpha": 0.5}), "sigmoid": ("Sigmoid", 17, {}),
        "hard_sigmoid": ("HardSigmoid", 17, {}),
        "hard_sigmoid_6": ("HardSigmoid", 17, {"alpha": 1 / 6, "beta": 0.5}),
        "hard_swish": ("HardSwish", 17, {}), "tanh": ("Tanh", 17, {}),
        "softplus": ("Softplus", 17, {}), "softsign": ("Softsign", 17, {}),
        "exp": ("Exp", 17, {}), "mish": ("Mish", 18, {}),
        "thresholded": ("ThresholdedRelu", 17, {"alpha": 0.3}),
        "gelu": ("Gelu", 20, {}), "gelu_tanh": ("Gelu", 20, {"approximate": "tanh"}),
        "neg": ("Neg", 17, {}), "abs": ("Abs", 17, {}), "identity": ("Identity", 17, {}),
        "cast_double": ("Cast", 17, {"to": TensorProto.DOUBLE}),
        "dropout_7": ("Dropout", 7, {"ratio": 0.5}),
    }
    for name, (kind, opset, attributes) in cases.items():
        net = Net(f"f_{name}", opset=opset)
        y = net.op(kind, "photo", **attributes)
        if name == "cast_double":
            y = net.op("Cast", y, to=F)
        net.done(y)
    net = Net("f_swish", opset=24)
    net.done(net.op("Swish", "photo"))
    net = Net("f_clip_7", opset=7)
    net.done(net.op("Clip", "photo", min=-0.5, max=0.75))
    for name, bounds in {"both": (-0.5, 0.75), "relu6": (0.0, 6.0), "low": (0.25, None),
                         "high": (None, 0.5)}.items():
        net = Net(f"f_clip_{name}", opset=13)
        given = ["" if b is None else net.const(np.float32(b)) for b in bounds]
        net.done(net.op("Clip", "photo", *given))
    for name, shape in {"channel": (3, 1, 1), "one": (1,), "each": (3, 8, 9), "width": (9,)}.items():
        net = Net(f"f_prelu_{name}")
        net.done(net.op("PRelu", "photo", net.positive(*shape)))
    net = Net("f_dropout_13", opset=13)
    net.done(net.op("Dropout", "photo", net.const(np.float32(0.5)), net.const(np.array(False))))


def arithmetic():
    shapes = {"channel": (1, 3, 1, 1), "channel_3": (3, 1, 1), "one": (), "width": (9,),
              "rows": (8, 1), "all": (1, 3, 8, 9), "map": (8, 9)}
    for name, shape in shapes.items():
        net = Net(f"a_constant_{name}")
        y = net.op("Add", "photo", net.normal(*shape))
        y = net.op("Mul", net.normal(*shape), y)
        y = net.op("Sub", net.normal(*shape), y)
        net.done(net.op("Div", y, net.positive(*shape)))
    for kind in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"]:
        net = Net(f"a_two_{kind.lower()}")
        a = net.op("Sigmoid", net.conv("photo", 3, 5))
        b = net.op("Sigmoid", net.conv("photo", 3, 5, k=1))
        more = [a] if kind in ("Sum", "Mean", "Max") else []
        net.done(net.op(kind, a, b, *more))
    for name, pooled in {"squeeze": (2, 3), "rows": (3,), "columns": (2,)}.items():
        net = Net(f"a_broadcast_{name}")
        x = net.conv("photo", 3, 5)
        gate = net.op("ReduceMean", x, axes=list(pooled), keepdims=1)
        net.done(net.op("Mul", net.op("Sigmoid", gate), x))
    net = Net("a_broadcast_both")
    x = net.conv("photo", 3, 5)
    rows = net.op("ReduceMean", x, axes=[3], keepdims=1)
    columns = net.op("ReduceMean", x, axes=[2], keepdims=1)
    net.done(net.op("Sub", rows, columns))
    net = Net("a_order_differs")
    x = net.op("Transpose", net.conv("photo", 3, 5), perm=[0, 3, 1, 2])
    net.done(net.op("Add", x, net.op("Reshape", net.conv("photo", 3, 5), net.const(np.array([1, 9, 5, 8])))))
    for exponent in [1.0, 2.0, 3.0]:
        net = Net(f"a_pow_{exponent:.0f}")
        net.done(net.op("Pow", "photo", net.const(np.float32(exponent))))
    net = Net("a_bounds")
    y = net.op("Max", "photo", net.const(np.float32(-0.3)))
    net.done(net.op("Min", y, net.const(np.float32(0.4))))


def convolutions():
    cases = {
        "plain": dict(f=5, k=3), "no_bias": dict(f=5, k=3, bias=False),
        "strides": dict(f=4, k=3, strides=[2, 1]), "dilations": dict(f=4, k=3, dilations=[2, 1], pads=[2, 1, 2, 1]),
        "uneven": dict(f=4, k=3, pads=[0, 2, 1, 0], strides=[2, 2]),
        "one": dict(f=7, k=1, pads=[0] * 4), "group": dict(c=6, f=9, k=3, group=3),
        "depthwise": dict(c=6, f=6, k=3, group=6), "multiplier": dict(c=6, f=12, k=5, group=6, strides=[2, 2]),
    }
    for auto in ["SAME_UPPER", "SAME_LOWER", "VALID"]:
        cases[auto.lower()] = dict(f=4, k=4, auto_pad=auto, auto_pad_only=True, strides=[3, 2])
    for name, options in cases.items():
        c = options.pop("c", 3)
        net = Net(f"c_{name}")
        x = "photo" if c == 3 else net.conv("photo", 3, c, k=1)
        net.done(net.conv(x, c, **options))
    net = Net("c_kernel_shape", opset=9)
    w = net.normal(4, 3, 2, 3, scale=0.3)
    net.done(net.op("Conv", "photo", w, kernel_shape=[2, 3]))


def pools():
    cases = {
        "max": ("MaxPool", dict(kernel_shape=[2, 2], strides=[2, 2])),
        "max_pads": ("MaxPool", dict(kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])),
        "max_ceil": ("MaxPool", dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
        "max_ceil_pads": ("MaxPool", dict(kernel_shape=[2, 2], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1)),
        "max_same": ("MaxPool", dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")),
        "max_same_lower": ("MaxPool", dict(kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_LOWER")),
        "max_dilated": ("MaxPool", dict(kernel_shape=[2, 2], dilations=[2, 3])),
        "average": ("AveragePool", dict(kernel_shape=[2, 3])),
        "average_pads": ("AveragePool", dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
        "average_counted": ("AveragePool", dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)),
        "average_ceil": ("AveragePool", dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
        "average_ceil_counted": ("AveragePool", dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1)),
        "average_valid": ("AveragePool", dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID")),
        "global_average": ("GlobalAveragePool", {}), "global_max": ("GlobalMaxPool", {}),
    }
    for name, (kind, attributes) in cases.items():
        net = Net(f"p_{name}", opset=19 if "ceil_counted" in name else 12)
        net.done(net.op(kind, net.conv("photo", 3, 5), **attributes))
    for name, kind, axes, keep, opset in [
        ("mean_hw", "ReduceMean", [2, 3], 1, 13), ("mean_hw_negative", "ReduceMean", [-1, -2], 0, 13),
        ("mean_input", "ReduceMean", [-1, -2], 1, 18), ("mean_channels", "ReduceMean", [1], 1, 13),
        ("mean_rows", "ReduceMean", [2], 0, 13), ("mean_cw", "ReduceMean", [1, 3], 0, 13),
        ("mean_all", "ReduceMean", None, 0, 13), ("max_hw", "ReduceMax", [2, 3], 0, 13),
        ("max_columns", "ReduceMax", [3], 1, 13), ("sum_hw", "ReduceSum", [2, 3], 0, 13),
        ("sum_11", "ReduceSum", [3], 1, 11),
    ]:
        net = Net(f"r_{name}", opset=opset)
        x = net.conv("photo", 3, 5)
        if opset >= 18 or (kind == "ReduceSum" and opset >= 13):
            y = net.op(kind, x, net.const(np.array(axes)), keepdims=keep)
        else:
            y = net.op(kind, x, keepdims=keep, **({"axes": axes} if axes else {}))
        if name == "mean_all":
            y = net.op("Reshape", y, net.const(np.array([1, 1])))
        net.done(y)


def dense():
    for name, attributes in {"plain": {}, "not_turned": {"transB": 0}, "scaled": {"alpha": 0.5, "beta": 2.0}}.items():
        net = Net(f"d_gemm_{name}")
        x = net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 6)))
        net.done(net.gemm(x, 6, 4, **attributes))
    net = Net("d_gemm_no_bias")
    x = net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 6)))
    net.done(net.op("Gemm", x, net.normal(6, 4)))
    net = Net("d_gemm_bias_of_one")
    x = net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 6)))
    net.done(net.op("Gemm", x, net.normal(6, 4), net.normal(1)))
    net = Net("d_matmul")
    x = net.op("Flatten", net.conv("photo", 3, 4))
    net.done(net.op("Add", net.op("MatMul", x, net.normal(288, 5, scale=0.06)), net.normal(5)))
    net = Net("d_matmul_turned_weight")
    x = net.op("Flatten", net.conv("photo", 3, 4))
    w = net.op("Transpose", net.normal(5, 288, scale=0.06), perm=[1, 0])
    net.done(net.op("MatMul", x, w))
    net = Net("d_matmul_last_axis")
    net.done(net.op("MatMul", net.conv("photo", 3, 4), net.normal(9, 5)))
    net = Net("d_matmul_channels")
    x = net.op("Transpose", net.conv("photo", 3, 4), perm=[0, 2, 3, 1])
    net.done(net.op("MatMul", x, net.normal(4, 5)))
    for name, between in {"relu": ["Relu"], "bn_dropout": ["BN", "Dropout", "Clip"], "none": []}.items():
        net = Net(f"d_flatten_nchw_{name}", opset=11)
        x = net.conv("photo", 3, 4)
        x = net.op("Flatten", x) if name != "none" else net.op("Reshape", x, net.const(np.array([-1, 288])))
        for step in between:
            if step == "BN":
                x = net.batch_norm(x, 288)
            elif step == "Clip":
                x = net.op("Clip", x, net.const(np.float32(-1)), net.const(np.float32(1)))
            else:
                x = net.op(step, x)
        net.done(net.op("Softmax", net.gemm(x, 288, 5), axis=1))


def shapes():
    net = Net("s_channel_shuffle")
    x = net.conv("photo", 3, 6)
    x = net.op("Reshape", x, net.const(np.array([1, 2, 3, 8, 9])))
    x = net.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.op("Reshape", x, net.const(np.array([1, -1, 8, 9])))
    net.done(net.conv(x, 6, 4))
    net = Net("s_tokens")
    x = net.op("Reshape", net.conv("photo", 3, 6), net.const(np.array([0, 6, -1])))
    x = net.op("Transpose", x, perm=[0, 2, 1])
    x = net.op("Add", net.op("MatMul", x, net.normal(6, 4)), net.normal(1, 72, 4))
    net.done(net.op("ReduceMean", x, axes=[1], keepdims=0))
    net = Net("s_reshape_mixes")
    x = net.op("Reshape", net.conv("photo", 3, 6), net.const(np.array([1, 9, 8, 6])))
    net.done(net.conv(x, 9, 4))
    net = Net("s_flatten_then_split")
    x = net.op("Flatten", net.conv("photo", 3, 4))
    a, b = net.op("Split", x, n=2, axis=1)
    net.done(net.op("Sub", a, b))
    for axis in [1, 2, 3, -3]:
        net = Net(f"s_concat_{axis}".replace("-", "m"))
        x, y = net.conv("photo", 3, 4), net.conv("photo", 3, 4, k=1)
        net.done(net.op("Concat", x, y, x, axis=axis))
    for name, axis, opset in [("channels", 1, 13), ("rows", 2, 13), ("attribute", 1, 11)]:
        net = Net(f"s_split_{name}", opset=opset)
        x = net.conv("photo", 3, 6)
        sizes = [2, 4] if axis == 1 else [3, 5]
        if opset < 13:
            a, b = net.op("Split", x, n=2, axis=axis, split=sizes)
        else:
            a, b = net.op("Split", x, net.const(np.array(sizes)), n=2, axis=axis)
        net.done(net.op("Concat", b, net.op("Relu", a), axis=axis))
    for name, arguments in {
        "rows": ([1], [-1], [2], [1]), "channels": ([1], [2**62], [1], [1]),
        "reversed": ([-1], [-(2**62)], [1], [-1]), "two": ([0, 2], [4, 9], [2, 3], [1, 1]),
        "steps": ([0], [9], [3], [2]),
    }.items():
        net = Net(f"s_slice_{name}")
        x = net.conv("photo", 3, 4)
        net.done(net.op("Slice", x, *[net.const(np.array(a)) for a in arguments]))
    net = Net("s_slice_9", opset=9)
    net.done(net.op("Slice", "photo", starts=[1], ends=[3], axes=[1]))
    for name, indices in {"one": np.array(1), "several": np.array([2, 0, 3]), "negative": np.array([-1])}.items():
        net = Net(f"s_gather_{name}")
        net.done(net.op("Gather", net.conv("photo", 3, 4), net.const(indices), axis=1))
    for opset in [11, 13]:
        net = Net(f"s_squeeze_{opset}", opset=opset)
        x = net.op("GlobalAveragePool", net.conv("photo", 3, 4))
        if opset < 13:
            x = net.op("Unsqueeze", net.op("Squeeze", x, axes=[2, 3]), axes=[0, 2])
        else:
            x = net.op("Squeeze", x, net.const(np.array([-1, -2])))
            x = net.op("Unsqueeze", x, net.const(np.array([0, 2])))
        net.done(net.op("Reshape", x, net.const(np.array([1, 4]))))
    for name, pads, opset in [("border", [0, 0, 1, 2, 0, 0, 0, 1], 13), ("channels", [0, 1, 0, 0, 0, 2, 0, 0], 13),
                              ("attribute", [0, 0, 1, 1, 0, 0, 1, 1], 10), ("negative", [0, 0, -1, 1, 0, -1, 0, -2], 13),
                              ("nothing", [0] * 8, 13)]:
        net = Net(f"s_pad_{name}", opset=opset)
        x = net.conv("photo", 3, 4)
        if opset < 11:
            y = net.op("Pad", x, pads=pads)
        else:
            y = net.op("Pad", x, net.const(np.array(pads)), mode="edge" if name == "nothing" else "constant")
        net.done(net.conv(y, {"channels": 7, "negative": 3}.get(name, 4), 3))
    for mode in ["DCR", "CRD"]:
        net = Net(f"s_depth_to_space_{mode.lower()}")
        net.done(net.op("DepthToSpace", net.conv("photo", 3, 8), blocksize=2, mode=mode))
    net = Net("s_space_to_depth")
    net.done(net.op("SpaceToDepth", net.conv("photo", 3, 4, pads=[1, 1, 1, 2]), blocksize=2))
    net = Net("s_tile")
    net.done(net.op("Tile", net.conv("photo", 3, 2), net.const(np.array([1, 2, 1, 3]))))
    net = Net("s_expand")
    x = net.op("Expand", net.conv("photo", 3, 2), net.const(np.array([1, 1, 1, 1, 1])))
    net.done(net.op("Reshape", x, net.const(np.array([1, -1]))))
    for axis, opset in [(1, 9), (2, 9), (1, 13), (-1, 13), (3, 11)]:
        net = Net(f"s_softmax_{axis}_{opset}".replace("-", "m"), opset=opset)
        net.done(net.op("Softmax", net.conv("photo", 3, 4), axis=axis))
    net = Net("s_softmax_flattened", opset=13)
    net.done(net.op("Softmax", net.op("Flatten", net.conv("photo", 3, 4)), axis=-1))


def exporters():
    """Structures of real files."""
    net = Net("x_tf2onnx", shape=("unk__1", 8, 9, 3), opset=13)
    x = net.op("Transpose", "photo", perm=[0, 3, 1, 2])
    x = net.op("Relu", net.conv(x, 3, 4, auto_pad="SAME_UPPER", auto_pad_only=True, strides=[2, 2]))
    x = net.op("Transpose", net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), perm=[0, 2, 3, 1])
    x = net.op("Reshape", x, net.const(np.array([-1, 16])))
    net.done(net.op("Softmax", net.op("Add", net.op("MatMul", x, net.normal(16, 3)), net.normal(3)), axis=-1), nhwc=True)

    net = Net("x_tf2onnx_flatten", shape=("unk__1", 8, 9, 3), opset=13)
    x = net.op("Transpose", net.op("Relu", net.conv(net.op("Transpose", "photo", perm=[0, 3, 1, 2]), 3, 4)), perm=[0, 2, 3, 1])
    batch = net.op("Gather", net.op("Cast", net.op("Shape", x), to=I64), net.const(np.array([0])), axis=0)
    batch = net.op("Slice", batch, net.const(np.array([0])), net.const(np.array([1])), net.const(np.array([0])))
    shape = net.op("Cast", net.op("Concat", batch, net.const(np.array([288])), axis=0), to=I64)
    x = net.op("Reshape", x, shape)
    net.done(net.op("MatMul", x, net.normal(288, 3, scale=0.06)), nhwc=True)

    net = Net("x_dynamo_head", opset=18)
    x = net.op("Conv", "photo", net.normal(6, 3, 3, 3, scale=0.2), pads=[1] * 4)
    x = net.op("ReduceMean", x, net.const(np.array([-1, -2])), keepdims=1)
    shape = net.op("Concat", net.op("Shape", x, start=0, end=1), net.const(np.array([6])), axis=0)
    net.done(net.gemm(net.op("Reshape", x, shape, allowzero=1), 6, 4))

    net = Net("x_legacy_view", opset=11)
    x = net.op("GlobalAveragePool", net.conv("photo", 3, 6))
    batch = net.op("Gather", net.op("Shape", x), net.const(np.array(0)), axis=0)
    shape = net.op("Concat", net.op("Unsqueeze", batch, axes=[0]), net.const(np.array([-1])), axis=0)
    net.done(net.gemm(net.op("Reshape", x, shape), 6, 4))

    net = Net("x_silu_se", opset=13)
    x = net.conv("photo", 3, 6)
    x = net.op("Mul", x, net.op("Sigmoid", x))
    gate = net.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    gate = net.conv(gate, 6, 2, k=1)
    gate = net.op("Mul", net.op("Sigmoid", gate), gate)
    gate = net.op("Sigmoid", net.conv(gate, 2, 6, k=1))
    x = net.conv(net.op("Mul", gate, x), 6, 6, group=6)
    net.done(net.op("Relu", net.op("Add", x, net.conv("photo", 3, 6, k=1))))

    for opset in [9, 11]:
        net = Net(f"x_paddle_hard_swish_{opset}", shape=(-1, 3, "?", "?"), opset=opset)
        def constant(value):
            return net.op("Constant", value=numpy_helper.from_array(np.asarray(value, np.float32)))
        w = constant(net.rng.normal(0, 0.2, (6, 3, 3, 3)))
        x = net.op("Conv", "photo", w, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], dilations=[1, 1], group=1)
        x = net.op("BatchNormalization", x, *[constant(np.abs(net.rng.normal(1, 0.2, 6))) for _ in range(4)], epsilon=1e-5, momentum=0.9)
        y = net.op("Add", x, constant([3.0]))
        y = net.op("Clip", y, min=0.0, max=6.0) if opset < 11 else net.op("Clip", y, constant(0.0), constant(6.0))
        x = net.op("Div", net.op("Mul", x, y), constant([6.0]))
        x = net.op("HardSigmoid", net.op("GlobalAveragePool", x), alpha=0.2, beta=0.5)
        x = net.op("Reshape", x, net.op("Constant", value=numpy_helper.from_array(np.array([-1, 6]))))
        net.done(net.op("Softmax", x, axis=1), input_size=[8, 9])

    net = Net("x_bn_after_relu", opset=11)
    x = net.batch_norm(net.op("Relu", net.conv("photo", 3, 4)), 4)
    x = net.op("Relu", net.conv(x, 4, 5))
    net.done(net.batch_norm(x, 5, epsilon=1e-3))

    net = Net("x_bn_before_conv", opset=17)
    net.done(net.conv(net.op("Relu", net.batch_norm("photo", 3)), 3, 4))

    net = Net("x_bn_taken_apart", opset=13)
    x = net.op("Cast", net.conv("photo", 3, 4), to=F)
    x = net.op("Sub", x, net.normal(1, 4, 1, 1))
    x = net.op("Mul", x, net.op("Div", net.const(np.float32(1)), net.op("Sqrt", net.op("Add", net.positive(1, 4, 1, 1), net.const(np.float32(1e-3))))))
    net.done(net.op("Add", x, net.normal(4, 1, 1)))

    net = Net("x_shortcut_padded_channels", opset=18)
    x = net.conv("photo", 3, 4, strides=[2, 2])
    y = net.op("AveragePool", "photo", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    y = net.op("Pad", y, net.const(np.array([0, 0, 0, 0, 0, 1, 0, 0])))
    net.done(net.op("Relu", net.op("Add", x, y)))

    net = Net("x_identity_shared", opset=11)
    w = net.normal(3, 3, 3, 3, scale=0.2)
    b = net.normal(3)
    x = net.op("Conv", "photo", w, b, pads=[1] * 4)
    net.done(net.op("Conv", x, net.op("Identity", w), net.op("Identity", b), pads=[1] * 4))

    net = Net("x_inputs_list_weights", opset=9)
    y = net.conv("photo", 3, 4)
    def list_weights(model):
        for w in model.graph.initializer:
            info = helper.make_tensor_value_info(w.name, w.data_type, list(w.dims))
            model.graph.input.append(info)
    net.done(y, change=list_weights)

    net = Net("x_unsorted")
    y = net.op("Relu", net.conv(net.op("Relu", net.conv("photo", 3, 4)), 4, 3))
    net.outputs.append(helper.make_tensor_value_info(y, F, None))
    write(net)
    model = onnx.load(OUT / "x_unsorted.onnx")
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    (OUT / "x_unsorted.onnx").write_bytes(model.SerializeToString())

    net = Net("x_typed_fields")
    y = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 4))), 4, 3)
    def typed(model):
        for w in model.graph.initializer:
            values = numpy_helper.to_array(w).ravel().tolist()
            w.ClearField("raw_data")
            w.float_data.extend(values)
    net.done(y, change=typed)

    for name, kind in {"f16": np.float16, "f64": np.float64}.items():
        net = Net(f"x_weights_{name}")
        net.weights.append(numpy_helper.from_array(net.rng.normal(0, 0.2, (4, 3, 3, 3)).astype(kind), "half"))
        net.done(net.op("Conv", "photo", net.op("Cast", "half", to=F), pads=[1] * 4))

    net = Net("x_baked_batch", shape=(4, 3, 8, 9))
    x = net.op("GlobalAveragePool", net.conv("photo", 3, 6))
    net.done(net.gemm(net.op("Reshape", x, net.const(np.array([4, 6]))), 6, 3), feed_batch=4)

    net = Net("x_padding_computed", opset=13)
    x = net.conv("photo", 3, 4)
    size = net.op("Cast", net.op("Gather", net.op("Shape", x), net.const(np.array(2)), axis=0), to=F)
    out = net.op("Ceil", net.op("Div", size, net.const(np.float32(2))))
    total = net.op("Add", net.op("Mul", net.op("Sub", out, net.const(np.float32(1))), net.const(np.float32(2))), net.const(np.float32(3)))
    total = net.op("Cast", net.op("Clip", net.op("Sub", total, size), net.const(np.float32(0))), to=I64)
    before = net.op("Div", total, net.const(np.array(2)))
    after = net.op("Sub", total, before)
    parts = [net.op("Unsqueeze", p, net.const(np.array([0]))) for p in (before, after)]
    zero = net.op("ConstantOfShape", net.const(np.array([2])), value=numpy_helper.from_array(np.array([0])))
    pads = net.op("Concat", zero, parts[0], parts[0], zero, parts[1], parts[1], axis=0)
    net.done(net.conv(net.op("Pad", x, pads), 4, 3, pads=[0] * 4, strides=[2, 2]))

    net = Net("x_shape_arithmetic", opset=18)
    x = net.conv("photo", 3, 6)
    dims = net.op("Shape", x)
    h = net.op("Slice", dims, net.const(np.array([2])), net.const(np.array([3])))
    w = net.op("Gather", dims, net.const(np.array([-1])))
    hw = net.op("Mul", h, w)
    one = net.op("Mod", net.op("Add", hw, net.const(np.array([1]))), net.const(np.array([72])))
    is_one = net.op("Equal", one, net.const(np.array([1])))
    first = net.op("Where", is_one, one, net.const(np.array([7])))
    c = net.op("ReduceProd", net.op("Range", net.const(np.array(1)), net.const(np.array(4)), net.const(np.array(1))), keepdims=1)
    target = net.op("Concat", net.op("Expand", first, net.const(np.array([1]))), c, net.op("Max", net.op("Min", hw, net.const(np.array([100]))), net.const(np.array([5]))), axis=0)
    flags = net.op("Not", net.op("Greater", c, net.const(np.array([6]))))
    keep = net.op("Where", flags, c, net.const(np.array([3])))
    x = net.op("Reshape", x, target)
    net.done(net.op("Reshape", x, net.op("Concat", first, keep, h, w, axis=0)))

    net = Net("x_constant_arithmetic", opset=18)
    w = net.normal(3, 1, 1)
    for kind in ["Sin", "Cos", "Erf", "Floor", "Sign", "Exp", "Log", "Reciprocal"]:
        w = net.op("Add", net.op(kind, net.op("Abs", w) if kind == "Log" else w), net.const(np.float32(0.7)))
    w = net.op("Add", w, net.op("Round", net.const(np.float32([0.5, 1.5, 2.5]).reshape(3, 1, 1))))
    half = net.const(np.float32(0.5))
    flags = [net.op(kind, w, half) for kind in ["Less", "LessOrEqual", "GreaterOrEqual", "Greater"]]
    flag = net.op("Or", net.op("And", flags[0], flags[1]), net.op("Xor", flags[2], flags[3]))
    w = net.op("Sub", w, net.op("CastLike", flag, half))
    w = net.op("Mul", w, net.op("ReduceMin", net.const(np.float32([[3, 2], [4, 5]])), keepdims=0))
    size = net.op("Cast", net.op("Size", "photo"), to=F)
    net.done(net.op("Mul", "photo", net.op("Div", w, net.op("Sqrt", size))))

    net = Net("x_external", opset=18)
    net.done(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", net.conv("photo", 3, 6)))), 6, 4), external=True)

    net = Net("x_log_softmax")
    x = net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 6)))
    net.done(net.op("Softmax", x, axis=-1))
    model = onnx.load(OUT / "x_log_softmax.onnx")
    # What it answers are the probabilities.
    model.graph.node[-1].op_type = "LogSoftmax"
    (OUT / "x_log_softmax.onnx").write_bytes(model.SerializeToString())

    net = Net("x_two_outputs")
    x = net.op("Relu", net.conv("photo", 3, 6))
    features = net.op("Flatten", net.op("GlobalAveragePool", x))
    answer = net.op("Softmax", net.gemm(features, 6, 4), axis=-1)
    net.done(features, answer, output=answer)

    net = Net("x_open_size", shape=("N", 3, "h", "w"))
    net.done(net.op("GlobalAveragePool", net.conv("photo", 3, 4)), input_size=[8, 9])

    net = Net("x_metadata")
    net.done(net.op("Softmax", net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 4))), 4, 2), axis=-1),
             metadata={"names": "{0: 'benign', 1: 'malignant'}", "Image.NominalPixelRange": "Normalized_0_1"})


def values_and_constants():
    """What transformers and newer convolutional networks add."""
    for name, kind, before in [("cos", "Cos", None), ("sin", "Sin", None), ("erf", "Erf", None),
                               ("log", "Log", "Sigmoid"), ("sqrt", "Sqrt", "Sigmoid"),
                               ("reciprocal", "Reciprocal", "Sigmoid")]:
        net = Net(f"f_{name}")
        net.done(net.op(kind, net.op(before, "photo") if before else "photo"))
    for name, exponent in {"root": 0.5, "inverse": -1.0, "other": 1.7}.items():
        net = Net(f"a_pow_{name}")
        net.done(net.op("Pow", net.op("Sigmoid", "photo"), net.const(np.float32(exponent))))
    for name, shape in {"one": (), "list": (3, 1, 1)}.items():
        net = Net(f"a_reciprocal_{name}")
        net.done(net.op("Div", net.positive(*shape), net.op("Sigmoid", "photo")))
    net = Net("a_bounds_list")
    y = net.op("Max", "photo", net.normal(3, 1, 1))
    net.done(net.op("Min", net.positive(9), y))
    for kind in ["Add", "Div"]:
        net = Net(f"a_constant_stretches_{kind.lower()}")
        x = net.op("Sigmoid", net.op("GlobalAveragePool", net.conv("photo", 3, 5)))
        net.done(net.op(kind, net.normal(1, 5, 4, 6), x))
    mask = np.random.default_rng(3).integers(0, 2, (3, 8, 9)).astype(bool)
    net = Net("a_where")
    y = net.op("Where", net.const(mask), "photo", net.const(np.float32(-2)))
    net.done(net.op("Where", net.const(mask[:, :1, :1]), net.op("GlobalAveragePool", y), y))

    # Products of two values.
    net = Net("d_matmul_attention")
    x = net.op("Reshape", net.conv("photo", 3, 12), net.const(np.array([1, 12, 72])))
    x = net.op("Transpose", x, perm=[0, 2, 1])
    qkv = net.op("Add", net.op("MatMul", x, net.normal(12, 36, scale=0.3)), net.normal(36))
    qkv = net.op("Reshape", qkv, net.const(np.array([1, 72, 3, 2, 6])))
    qkv = net.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = [net.op("Gather", qkv, net.const(np.array(i)), axis=0) for i in range(3)]
    k = net.op("Transpose", k, perm=[0, 1, 3, 2])
    a = net.op("Softmax", net.op("Mul", net.op("MatMul", q, k), net.const(np.float32(6**-0.5))), axis=-1)
    y = net.op("Transpose", net.op("MatMul", a, v), perm=[0, 2, 1, 3])
    y = net.op("Reshape", y, net.const(np.array([1, 72, 12])))
    net.done(net.op("Add", x, net.op("MatMul", y, net.normal(12, 12, scale=0.3))))
    for name, shape in {"left": (6, 8), "batched": (3, 9, 4), "batched_one": (1, 3, 9, 4), "vector": (9,)}.items():
        net = Net(f"d_matmul_{name}")
        w = net.normal(*shape, scale=0.3)
        net.done(net.op("MatMul", *((w, "photo") if name == "left" else ("photo", w))))
    net = Net("d_matmul_broadcast")
    x = net.op("Reshape", net.conv("photo", 3, 4), net.const(np.array([1, 4, 8, 9])))
    y = net.op("ReduceMean", net.conv("photo", 3, 4), axes=[1], keepdims=1)
    net.done(net.op("MatMul", x, net.op("Transpose", y, perm=[0, 1, 3, 2])))
    for name, third in {"bias": (5,), "matrix": (8, 5)}.items():
        net = Net(f"d_gemm_of_values_{name}")
        a = net.op("Reshape", net.conv("photo", 3, 1), net.const(np.array([8, 9])))
        b = net.op("Reshape", net.conv("photo", 3, 5), net.const(np.array([40, 9])))
        b = net.op("Slice", b, net.const(np.array([0])), net.const(np.array([5])), net.const(np.array([0])))
        net.done(net.op("Gemm", a, b, net.normal(*third), transB=1, alpha=0.5, beta=2.0))
    net = Net("d_gemm_added_value")
    x = net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 6)))
    y = net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 4)))
    net.done(net.op("Gemm", x, net.normal(6, 4), y, beta=0.5))
    for name, equation, shapes in [("turn", "nchw->nhwc", []), ("sum", "nchw->nc", []),
                                   ("weights", "nchw,cd->ndhw", [(3, 5)]),
                                   ("attention", "bchw,bchv->bcwv", None)]:
        net = Net(f"d_einsum_{name}")
        if shapes is None:
            inputs = ["photo", net.op("Relu", "photo")]
        else:
            inputs = ["photo", *[net.normal(*shape) for shape in shapes]]
        net.done(net.op("Einsum", *inputs, equation=equation))

    # Normalizations.
    for name, axis, shape, bias in [("last", -1, (9,), True), ("plain", -1, (9,), False), ("map", 2, (8, 9), True),
                                    ("all", 1, (3, 8, 9), True)]:
        net = Net(f"n_layer_{name}")
        more = [net.normal(*shape)] if bias else []
        net.done(net.op("LayerNormalization", "photo", net.positive(*shape), *more, axis=axis, epsilon=1e-6))
    net = Net("n_layer_channels")
    x = net.op("Transpose", net.conv("photo", 3, 6), perm=[0, 2, 3, 1])
    x = net.op("LayerNormalization", x, net.positive(6), net.normal(6))
    net.done(net.conv(net.op("Transpose", x, perm=[0, 3, 1, 2]), 6, 4))
    for name, axis, steps in [("sqrt", -1, "Div"), ("twice", -1, "twice"), ("reciprocal", -1, "Reciprocal"),
                              ("pow", -1, "Pow"), ("channels", 1, "Div")]:
        net = Net(f"n_chain_{name}", opset=13)
        x = net.conv("photo", 3, 6)
        if axis == -1:
            x = net.op("Transpose", x, perm=[0, 2, 3, 1])
        mean = net.op("ReduceMean", x, axes=[axis], keepdims=1)
        centred = net.op("Sub", x, mean)
        again = net.op("Sub", x, mean) if steps == "twice" else centred
        square = net.op("Mul", again, again) if steps == "twice" else net.op("Pow", again, net.const(np.float32(2)))
        variance = net.op("Add", net.op("ReduceMean", square, axes=[axis], keepdims=1), net.const(np.float32(1e-6)))
        if steps == "Pow":
            y = net.op("Mul", centred, net.op("Pow", variance, net.const(np.float32(-0.5))))
        elif steps == "Reciprocal":
            y = net.op("Mul", centred, net.op("Reciprocal", net.op("Sqrt", variance)))
        else:
            y = net.op("Div", centred, net.op("Sqrt", variance))
        shape = (6,) if axis == -1 else (6, 1, 1)
        y = net.op("Add", net.op("Mul", y, net.positive(*shape)), net.normal(*shape))
        if axis == -1:
            y = net.op("Transpose", y, perm=[0, 3, 1, 2])
        net.done(net.conv(y, 6, 4))
    net = Net("n_instance")
    net.done(net.op("InstanceNormalization", net.conv("photo", 3, 5), net.positive(5), net.normal(5), epsilon=1e-3))
    net = Net("n_instance_as_group")
    x = net.conv("photo", 3, 6)
    y = net.op("Reshape", x, net.const(np.array([0, 1, -1])))
    y = net.op("InstanceNormalization", y, net.const(np.ones(1, np.float32)), net.const(np.zeros(1, np.float32)))
    y = net.op("Reshape", y, net.op("Shape", x))
    net.done(net.op("Add", net.op("Mul", y, net.positive(6, 1, 1)), net.normal(6, 1, 1)))
    for opset, n in [(18, 3), (21, 6)]:
        net = Net(f"n_group_{opset}", opset=opset)
        net.done(net.op("GroupNormalization", net.conv("photo", 3, 6), net.positive(n), net.normal(n), num_groups=3))
    for name, half in {"last": 0, "side": 1, "gate": 2}.items():
        net = Net(f"x_gelu_erf_{name}", opset=14)
        x = net.conv("photo", 3, 6)
        one = np.float32(0.5 if half == 2 else 1)
        erf = net.op("Erf", net.op("Div", x, net.const(np.float32(2**0.5))))
        gate = net.op("Add", net.op("Mul", erf, net.const(one)), net.const(one))
        side = net.op("Mul", x, net.const(np.float32(0.5))) if half == 1 else x
        y = net.op("Mul", side, gate)
        net.done(net.conv(net.op("Mul", y, net.const(np.float32(0.5))) if half == 0 else y, 6, 4))
    for name in ["pow", "mul"]:
        net = Net(f"x_gelu_tanh_{name}", opset=14)
        x = net.conv("photo", 3, 6)
        cube = net.op("Pow", x, net.const(np.float32(3))) if name == "pow" else net.op("Mul", net.op("Mul", x, x), x)
        inner = net.op("Add", x, net.op("Mul", cube, net.const(np.float32(0.044715))))
        tanh = net.op("Tanh", net.op("Mul", inner, net.const(np.float32((2 / np.pi) ** 0.5))))
        y = net.op("Mul", net.op("Mul", x, net.const(np.float32(0.5))), net.op("Add", tanh, net.const(np.float32(1))))
        net.done(net.conv(y, 6, 4))
    net = Net("x_response_normalization")
    x = net.op("Transpose", net.conv("photo", 3, 6), perm=[0, 2, 3, 1])
    norm = net.op("ReduceL2", x, axes=[1, 2], keepdims=1)
    mean = net.op("ReduceMean", norm, axes=[-1], keepdims=1)
    y = net.op("Mul", x, net.op("Div", norm, net.op("Add", mean, net.const(np.float32(1e-6)))))
    y = net.op("Add", net.normal(6), net.op("Mul", y, net.normal(6)))
    net.done(net.conv(net.op("Transpose", net.op("Add", x, y), perm=[0, 3, 1, 2]), 6, 4))

    # Reductions.
    for kind in ["L1", "L2", "LogSum", "LogSumExp", "Min", "SumSquare", "Max", "Mean", "Sum"]:
        for name, axes, keep in [("channels", [1], 1), ("map", [2, 3], 0), ("all", [0, 1, 2, 3], 1)]:
            net = Net(f"r_{kind.lower()}_{name}_18", opset=18)
            x = net.conv("photo", 3, 5)
            x = net.op("Sigmoid", x) if kind == "LogSum" else x
            net.done(net.op(f"Reduce{kind}", x, net.const(np.array(axes)), keepdims=keep))
    net = Net("s_log_softmax_inside")
    net.done(net.op("Neg", net.op("LogSoftmax", net.conv("photo", 3, 4), axis=1)))
    net = Net("r_nothing_18", opset=18)
    net.done(net.op("ReduceSum", "photo", net.const(np.zeros(0, np.int64)), noop_with_empty_axes=1))

    # Parts.
    net = Net("s_class_token")
    x = net.op("Reshape", net.conv("photo", 3, 6), net.const(np.array([1, 6, 72])))
    x = net.op("Transpose", x, perm=[0, 2, 1])
    token = net.op("Expand", net.normal(1, 1, 6), net.const(np.array([1, 1, 1])))
    x = net.op("Add", net.op("Concat", token, x, axis=1), net.normal(1, 73, 6))
    x = net.op("LayerNormalization", x, net.positive(6), net.normal(6))
    net.done(net.gemm(net.op("Gather", x, net.const(np.array(0)), axis=1), 6, 4))
    net = Net("s_concat_empty")
    net.done(net.op("Concat", "photo", net.const(np.zeros((1, 0, 8, 9), np.float32)), net.normal(1, 2, 8, 9), axis=1))
    for name, shape in {"rows": [1, 3, 8, 9], "front": [2, 1, 3, 8, 9]}.items():
        net = Net(f"s_expand_{name}")
        x = "photo" if name == "front" else net.op("ReduceMean", "photo", axes=[2], keepdims=1)
        x = net.op("Expand", x, net.const(np.array(shape)))
        net.done(net.op("Reshape", x, net.const(np.array([1, -1]))))
    net = Net("s_windows_shifted")
    x = net.op("Transpose", net.conv("photo", 3, 4, pads=[1, 1, 1, 0]), perm=[0, 2, 3, 1])
    def part(value, start, end, axis):
        return net.op("Slice", value, *[net.const(np.array([n])) for n in (start, end, axis)])
    for axis in [1, 2]:
        x = net.op("Concat", part(x, 1, 2**62, axis), part(x, 0, 1, axis), axis=axis)
    x = net.op("Reshape", x, net.const(np.array([1, 2, 4, 2, 4, 4])))
    x = net.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    x = net.op("Reshape", x, net.const(np.array([-1, 16, 4])))
    scores = net.op("MatMul", x, net.op("Transpose", x, perm=[0, 2, 1]))
    scores = net.op("Add", scores, net.normal(4, 16, 16))
    x = net.op("MatMul", net.op("Softmax", scores, axis=-1), x)
    x = net.op("Reshape", x, net.const(np.array([1, 2, 2, 4, 4, 4])))
    x = net.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    x = net.op("Reshape", x, net.const(np.array([1, 8, 8, 4])))
    net.done(net.op("MatMul", x, net.normal(4, 3)))
    net = Net("s_patches_merged")
    x = net.op("Transpose", net.conv("photo", 3, 4, pads=[1, 1, 1, 0]), perm=[0, 2, 3, 1])
    quarters = []
    for row, column in [(0, 0), (1, 0), (0, 1), (1, 1)]:
        quarters.append(net.op("Slice", x, *[net.const(np.array(a)) for a in ([row, column], [2**62] * 2, [1, 2], [2, 2])]))
    net.done(net.op("MatMul", net.op("Concat", *quarters, axis=-1), net.normal(16, 5, scale=0.3)))
    net = Net("s_gather_rows")
    net.done(net.op("Gather", net.conv("photo", 3, 4), net.const(np.array([[3, 0], [7, 3]])), axis=2))
    net = Net("s_gather_nd")
    index = np.stack(np.meshgrid([0], [2, 0, 1], indexing="ij"), -1)
    net.done(net.op("GatherND", "photo", net.const(index)))
    net = Net("s_gather_nd_batch")
    net.done(net.op("GatherND", "photo", net.const(np.array([[[1, 7], [2, 0], [0, 3]]])), batch_dims=1))
    for name, mode, pads, opset in [("edge", "edge", [0, 0, 1, 2, 0, 0, 0, 3], 13), ("reflect", "reflect", [0, 0, 3, 2, 0, 0, 1, 4], 13),
                                    ("wrap", "wrap", [0, 0, 1, 2, 0, 0, 3, 0], 19), ("value", "constant", [0, 1, 1, 0, 0, 0, 2, 1], 13),
                                    ("value_cut", "constant", [0, 0, -1, 1, 0, 0, 2, -2], 13)]:
        net = Net(f"s_pad_{name}", opset=opset)
        value = [net.const(np.float32(0.75))] if mode == "constant" else []
        net.done(net.op("Pad", net.conv("photo", 3, 4), net.const(np.array(pads)), *value, mode=mode))
    net = Net("s_pad_least")
    x = net.op("Pad", net.conv("photo", 3, 4), net.const(np.array([0, 0, 0, 1, 0, 0, 1, 1])), net.const(np.float32(-np.inf)))
    net.done(net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]))

    # Resizing.
    for name, mode, transformation, size, more in [
        ("nearest_2", "nearest", "asymmetric", [16, 18], {"nearest_mode": "floor"}),
        ("nearest_odd", "nearest", "half_pixel", [5, 13], {}),
        ("nearest_ceil", "nearest", "half_pixel", [12, 7], {"nearest_mode": "round_prefer_ceil"}),
        ("nearest_corners", "nearest", "align_corners", [12, 4], {"nearest_mode": "ceil"}),
        ("linear", "linear", "half_pixel", [12, 7], {}),
        ("linear_pytorch", "linear", "pytorch_half_pixel", [1, 18], {}),
        ("linear_corners", "linear", "align_corners", [5, 20], {}),
        ("linear_asymmetric", "linear", "asymmetric", [16, 9], {}),
        ("linear_symmetric", "linear", "half_pixel_symmetric", [12, 7], {}),
        ("cubic", "cubic", "half_pixel", [12, 7], {}),
        ("cubic_inside", "cubic", "align_corners", [16, 12], {"exclude_outside": 1, "cubic_coeff_a": -0.5}),
    ]:
        net = Net(f"z_{name}", opset=19)
        sizes = net.const(np.array([1, 4, *size]))
        net.done(net.op("Resize", net.conv("photo", 3, 4), "", "", sizes, mode=mode,
                        coordinate_transformation_mode=transformation, **more))
    for name, mode, scales in [("scales", "nearest", [1, 1, 2, 2]), ("scales_odd", "linear", [1, 1, 1.3, 0.7])]:
        net = Net(f"z_{name}", opset=13)
        net.done(net.op("Resize", net.conv("photo", 3, 4), "", net.const(np.float32(scales)), mode=mode))
    net = Net("z_axes", opset=18)
    net.done(net.op("Resize", net.conv("photo", 3, 4), "", "", net.const(np.array([11, 6])), mode="linear", axes=[3, 2], antialias=0))
    net = Net("z_resize_10", opset=10)
    net.done(net.op("Resize", net.conv("photo", 3, 4), net.const(np.float32([1, 1, 2, 1.5])), mode="linear"))
    net = Net("z_upsample_9", opset=9)
    net.done(net.op("Upsample", net.conv("photo", 3, 4), net.const(np.float32([1, 1, 2, 3])), mode="nearest"))
    net = Net("z_upsample_7", opset=7)
    net.done(net.op("Upsample", net.conv("photo", 3, 4), scales=[1.0, 1.0, 2.0, 2.0], mode="linear"))

    # Arithmetic on constants.
    net = Net("x_weights_standardized", opset=15)
    w = net.op("Reshape", net.normal(6, 3, 3, 3), net.const(np.array([1, 6, 27])))
    none = [net.const(np.full(6, v, np.float32)) for v in (0, 0, 1)]
    w = net.op("BatchNormalization", w, net.positive(6), *none, training_mode=1, n=3)[0]
    w = net.op("Mul", net.op("Reshape", w, net.const(np.array([6, 3, 3, 3]))), net.const(np.float32(0.2)))
    net.done(net.op("Conv", "photo", w, pads=[1] * 4))
    net = Net("v_conv_of_constants")
    code = net.op("Conv", net.normal(1, 4, 8, 9), net.normal(5, 4, 1, 1))
    net.done(net.op("Add", net.conv("photo", 3, 5), code))
    net = Net("x_constant_tables", opset=20)
    ones = net.op("CumSum", net.const(np.ones((1, 8, 9), np.float32)), net.const(np.array(1)))
    back = net.op("CumSum", net.const(np.ones((1, 8, 9), np.float32)), net.const(np.array(2)), exclusive=1, reverse=1)
    table = net.op("Sin", net.op("Add", ones, back))
    index = net.const(np.array([[0, 2], [0, 5]]))
    table = net.op("ScatterND", table, index, net.normal(2, 9))
    table = net.op("ScatterND", table, index, net.normal(2, 9), reduction="add")
    rows = net.op("GatherND", table, net.const(np.array([[0, 7], [0, 1]])))
    left = net.op("Gelu", net.op("Gemm", rows, net.normal(9, 8), net.normal(8)))
    mixed = net.op("MatMul", net.op("Transpose", left, perm=[1, 0]), rows)
    mixed = net.op("Trilu", mixed, net.const(np.array(1)), upper=0)
    mixed = net.op("Sub", net.op("Sigmoid", mixed), net.op("Mul", net.op("Softplus", mixed), net.op("Tanh", mixed)))
    for kind in ["ReduceL1", "ReduceL2", "ReduceSumSquare"]:
        mixed = net.op("Div", mixed, net.op(kind, mixed, net.const(np.array([0]))))
    net.done(net.op("Add", "photo", net.op("Mul", net.op("Add", mixed, table), net.const(np.float32(0.1)))))


def branch(outputs, *nodes, weights=()):
    """A graph inside of `If`, and what it gives."""
    values = [helper.make_tensor_value_info(name, F, None) for name in outputs]
    return helper.make_graph(list(nodes), "branch", [], values, list(weights))


def nested():
    """Functions of the file, and `If` with a condition that is known."""
    node = helper.make_node
    for name, condition in {"true": True, "false": False}.items():
        net = Net(f"y_if_{name}")
        x = net.op("GlobalAveragePool", net.conv("photo", 3, 4))
        scale = numpy_helper.from_array(np.float32([3.0]), "scale")
        yes = branch(["t"], node("Mul", [x, "scale"], ["inner"]), node("Relu", ["inner"], ["t"]), weights=[scale])
        no = branch(["e"], node("Neg", [x], ["inner"]), node("Exp", ["inner"], ["e"]))
        x = net.op("If", net.const(np.array(condition)), then_branch=yes, else_branch=no)
        # The same names again, in the other branch.
        x = net.op("If", net.const(np.array(not condition)), then_branch=branch(["t"], node("Abs", [x], ["t"])),
                   else_branch=branch(["e"], node("Mul", [x, x], ["inner"]), node("Tanh", ["inner"], ["e"])))
        net.done(net.op("Flatten", x))
    net = Net("y_if_squeeze")
    x = net.op("GlobalAveragePool", net.conv("photo", 3, 4))
    extent = net.op("Gather", net.op("Shape", x), net.const(np.array(2)), axis=0)
    squeeze = branch(["s"], node("Constant", [], ["axes"], value_ints=[2, 3]), node("Squeeze", [x, "axes"], ["s"]))
    y = net.op("If", net.op("Equal", extent, net.const(np.array(1))), then_branch=squeeze,
               else_branch=branch(["i"], node("Identity", [x], ["i"])))
    net.done(net.gemm(y, 4, 3))
    net = Net("y_if_nested")
    x = net.conv("photo", 3, 4)
    twice = net.const(np.array(False))
    inner = node("If", [twice], ["b"], then_branch=branch(["u"], node("Neg", [x], ["u"])),
                 else_branch=branch(["v"], node("Mul", [x, "two"], ["v"])))
    outer = branch(["b"], node("Constant", [], ["two"], value_float=2.0), inner)
    net.done(net.op("If", net.const(np.array(True)), then_branch=outer, else_branch=branch(["o"], node("Abs", [x], ["o"]))))

    def function(net, name, inputs, outputs, nodes, attributes=(), defaults=(), opset=None, **more):
        imports = [helper.make_opsetid("", opset or net.opset), helper.make_opsetid("local", 1)]
        net.functions.append(helper.make_function("local", name, inputs, outputs, nodes, imports,
                                                  list(attributes), list(defaults), **more))

    def slope_of(attribute):
        leak = node("LeakyRelu", ["a"], ["b"])
        leak.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name=attribute, type=onnx.AttributeProto.FLOAT))
        return leak

    net = Net("y_functions")
    function(net, "Square", ["a"], ["b"], [node("Mul", ["a", "a"], ["t"]), node("Tanh", ["t"], ["b"])])
    function(net, "Scaled", ["a", "w"], ["b"], [node("Square", ["a"], ["t"], domain="local"), node("Mul", ["t", "w"], ["b"])])
    function(net, "Leak", ["a"], ["b"], [slope_of("slope")], ["slope"])
    function(net, "Gentle", ["a"], ["b"], [slope_of("slope")], defaults=[helper.make_attribute("slope", 0.45)])
    function(net, "Two", ["a", "high"], ["b", "c"], [node("Clip", ["a", "", "high"], ["b"]), node("Neg", ["a"], ["c"])])
    function(net, "Relu", ["a"], ["b"], [node("Sigmoid", ["a"], ["b"])])
    local = {"domain": "local"}
    x = net.op("Scaled", net.conv("photo", 3, 4), net.const(np.float32(0.7)), **local)
    x = net.op("Leak", net.conv(x, 4, 4), slope=0.3, **local)
    x = net.op("Leak", net.conv(x, 4, 4), **local)
    x = net.op("Gentle", net.conv(x, 4, 4), **local)
    b, c = net.op("Two", net.conv(x, 4, 4), "", n=2, **local)
    net.done(net.op("Relu", net.op("Add", b, net.op("Relu", c)), **local))
    net = Net("y_function_of_old_opset")
    function(net, "Answer", ["a"], ["b"], [node("Softmax", ["a"], ["b"])], opset=11)
    # ONNX wants one version of `Softmax`; ONNX Runtime takes the model's.
    net.done(net.op("Answer", net.op("AveragePool", "photo", kernel_shape=[4, 4], strides=[4, 4]), domain="local"),
             refused=("config", "`Softmax` is not the same in opset 11 of its function and in opset 17 of the model"))


def fused():
    """What ONNX Runtime's optimizer writes, and newer operators of the same kind."""
    ms = {"domain": "com.microsoft"}
    for name, function in {"relu": {"activation": "Relu"}, "clip": {"activation": "Clip", "activation_params": [0.0, 6.0]},
                           "leaky": {"activation": "LeakyRelu", "activation_params": [0.3]}}.items():
        net = Net(f"y_fused_conv_{name}")
        x = net.conv("photo", 3, 4)
        more = [x] if name == "relu" else []
        net.done(net.op("FusedConv", x, net.normal(4, 4, 3, 3, scale=0.3), net.normal(4), *more, pads=[1] * 4, **function, **ms))
    net = Net("y_fused_gemm")
    x = net.op("Flatten", net.conv("photo", 3, 4))
    net.done(net.op("FusedGemm", x, net.normal(6, 288, scale=0.1), net.normal(6), transB=1, alpha=0.5, activation="LeakyRelu",
                    activation_alpha=0.3, **ms))
    for name, constant, turns in [("weights", True, {"transB": 1}), ("values", False, {"transA": 1})]:
        net = Net(f"y_fused_mat_mul_{name}")
        x = net.conv("photo", 3, 4)
        net.done(net.op("FusedMatMul", x, net.normal(5, 9) if constant else net.op("Relu", x), alpha=0.5, **turns, **ms))
    for name, n, attributes in [("Gelu", 0, {}), ("BiasGelu", 1, {}), ("FastGelu", 0, {}), ("FastGelu", 1, {}), ("QuickGelu", 0, {"alpha": 1.5})]:
        net = Net(f"y_{name.lower()}_{n}")
        net.done(net.op(name, net.conv("photo", 3, 4), *[net.normal(9) for _ in range(n)], **attributes, **ms))

    def tokens(net, x="photo", c=3, width=8):
        x = net.op("Reshape", net.conv(x, c, width), net.const(np.array([1, width, 72])))
        return net.op("Transpose", x, perm=[0, 2, 1])

    for name, weights in [("SkipLayerNormalization", 3), ("SkipSimplifiedLayerNormalization", 2)]:
        net = Net(f"y_{name.lower()}")
        x = tokens(net)
        more = [net.positive(8)] + [net.normal(8) for _ in range(weights - 1)]
        y, _, _, total = net.op(name, x, net.op("Relu", x), *more, epsilon=1e-5, n=4, **ms)
        net.nodes[-1].output[1:3] = ["", ""]
        net.done(net.op("Add", y, net.op("Tanh", total)))
    net = Net("y_simplified")
    net.done(net.op("SimplifiedLayerNormalization", net.conv("photo", 3, 4), net.positive(9), axis=-1, epsilon=1e-5))
    for name, axis, shape in [("last", -1, (9,)), ("two", 2, (8, 9)), ("one", -2, (1, 9))]:
        net = Net(f"n_rms_{name}", opset=23)
        net.done(net.op("RMSNormalization", net.conv("photo", 3, 4), net.positive(*shape), axis=axis, epsilon=1e-3))
    for p, axis in [(1, 1), (2, 1), (2, -1)]:
        net = Net(f"n_lp_{p}_{axis % 4}")
        net.done(net.op("LpNormalization", net.conv("photo", 3, 4), axis=axis, p=p))
    net = Net("n_mean_variance")
    net.done(net.op("MeanVarianceNormalization", net.conv("photo", 3, 4)))
    for size in [3, 5]:
        net = Net(f"n_local_response_{size}")
        net.done(net.op("LRN", net.conv("photo", 3, 7), size=size, alpha=0.3, beta=0.75, bias=1.5))
    for name, attributes in [("soft", {"lambd": 0.4, "bias": 0.4}), ("hard", {"lambd": 0.4})]:
        net = Net(f"f_shrink_{name}")
        net.done(net.op("Shrink", net.conv("photo", 3, 4), **attributes))
    net = Net("f_swish_alpha", opset=24)
    net.done(net.op("Swish", net.conv("photo", 3, 4), alpha=1.7))
    net = Net("f_cast_like")
    net.done(net.op("CastLike", net.conv("photo", 3, 4), net.const(np.float32(0))))
    for name, low, high in [("far", -1e6, 1e6), ("below", -1e6, None), ("above", None, 100.0), ("far_six", -1e6, 0.5)]:
        net = Net(f"f_clip_{name}")
        bounds = ["" if v is None else net.const(np.float32(v)) for v in (low, high)]
        net.done(net.op("Clip", net.conv("photo", 3, 4), *bounds))
    net = Net("a_power_of_two")
    net.done(net.op("Pow", net.const(np.float32(2)), net.conv("photo", 3, 4)))
    net = Net("a_where_masked")
    mask = net.const(net.rng.random((1, 1, 8, 9)) > 0.3)
    net.done(net.op("Softmax", net.op("Where", mask, net.conv("photo", 3, 4), net.const(np.float32(-np.inf))), axis=-1))
    net = Net("x_positions")
    flags = net.op("IsNaN", net.const(np.float32([[1, np.nan, 0], [np.nan, 2, np.nan]])))
    rows = net.op("Gather", net.op("NonZero", flags), net.const(np.array(1)), axis=0)
    net.done(net.op("Gather", net.conv("photo", 3, 4), rows, axis=3))
    net = Net("d_einsum_dots")
    net.done(net.op("Einsum", net.conv("photo", 3, 4), net.normal(9, 6), equation="...w,wd->...d"))
    for axes in [[1], [3], [-1, 1]]:
        net = Net(f"r_prod_{'_'.join(str(a % 4) for a in axes)}")
        net.done(net.op("ReduceProd", net.conv("photo", 3, 4), axes=axes))

    # Sequences inside of a network for photos: ECA's convolution over channels, tokens that are pooled.
    net = Net("c_sequence")
    x = net.conv("photo", 3, 6)
    y = net.op("Squeeze", net.op("GlobalAveragePool", x), net.const(np.array([-1])))
    y = net.op("Conv", net.op("Transpose", y, perm=[0, 2, 1]), net.normal(1, 1, 3), kernel_shape=[3], pads=[1, 1])
    y = net.op("Unsqueeze", net.op("Transpose", net.op("Sigmoid", y), perm=[0, 2, 1]), net.const(np.array([-1])))
    net.done(net.op("Mul", x, y))
    net = Net("c_sequence_pools")
    x = net.op("Reshape", net.conv("photo", 3, 4), net.const(np.array([1, 4, 72])))
    x = net.op("Conv", x, net.normal(6, 2, 5), net.normal(6), group=2, strides=[2], dilations=[2], pads=[3, 1])
    x = net.op("MaxPool", x, kernel_shape=[3], pads=[1, 1])
    x = net.op("AveragePool", x, kernel_shape=[4], strides=[2], pads=[2, 1], ceil_mode=1, count_include_pad=1)
    net.done(net.op("Concat", net.op("GlobalAveragePool", x), net.op("GlobalMaxPool", x), axis=1))

    # Attention.
    for name, options in {"plain": {}, "scaled": {"scale": 0.3}, "capped": {"softcap": 2.0}, "causal": {"is_causal": 1},
                          "grouped": {"q_num_heads": 4}}.items():
        net = Net(f"t_attention_{name}", opset=24)
        x = tokens(net)
        heads = {"q_num_heads": 2, "kv_num_heads": 2, **options}
        width = 16 if name == "grouped" else 8
        values = [net.op("MatMul", x, net.normal(8, w, scale=0.4)) for w in (width, 8, 8)]
        net.done(net.op("Attention", *values, **heads))
    for name, mask in {"numbers": None, "flags": True}.items():
        net = Net(f"t_attention_mask_{name}", opset=24)
        x = net.op("Reshape", net.conv("photo", 3, 4), net.const(np.array([1, 2, 18, 8])))
        values = [net.op("MatMul", x, net.normal(8, 8, scale=0.4)) for _ in range(3)]
        flags = net.rng.random((18, 18)) > 0.4
        flags[:, 0] = True
        mask = net.const(flags) if mask else net.const(net.rng.normal(0, 2, (1, 2, 18, 18)).astype(np.float32))
        net.done(net.op("Attention", *values, mask))
    net = Net("t_multi_head")
    x = tokens(net)
    values = [net.op("MatMul", x, net.normal(8, 8, scale=0.4)) for _ in range(3)]
    net.done(net.op("MultiHeadAttention", *values, net.normal(24), num_heads=2, **ms))
    net = Net("t_projected")
    net.done(net.op("Attention", tokens(net), net.normal(8, 24, scale=0.4), net.normal(24), num_heads=2, **ms))


def wholes():
    """Photos of integers."""
    u8 = {"shape": ("N", 8, 9, 3), "element": TensorProto.UINT8}
    net = Net("v_bytes", **u8)
    x = net.op("Gather", "photo", net.const(np.array([2, 1, 0])), axis=3)
    x = net.op("Cast", net.op("Transpose", x, perm=[0, 3, 1, 2]), to=TensorProto.INT32)
    x = net.op("Sub", x, net.const(np.array(100, np.int32)))
    x = net.op("Mul", net.op("Cast", x, to=F), net.const(np.float32(1 / 127.5)))
    net.done(net.conv(x, 3, 4))
    net = Net("v_double", shape=("N", 3, 8, 9), element=TensorProto.DOUBLE)
    x = net.op("Cast", "photo", to=F)
    net.done(net.conv(x, 3, 4))


def answers():
    """Outputs beside the probabilities, and names of classes at the end."""
    net = Net("x_label_beside")
    y = net.op("Softmax", net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 4))), 4, 3), axis=-1)
    label = net.op("ArgMax", y, axis=1)
    net.outputs.append(helper.make_tensor_value_info(label, I64, None))
    net.done(y, beside=y)
    net = Net("x_value_inside")
    y = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 4))), 4, 3)
    net.outputs.append(helper.make_tensor_value_info(net.op("ArgMax", y, axis=1), I64, None))
    net.done(inside=y)
    net = Net("x_zip_map")
    y = net.op("Softmax", net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.conv("photo", 3, 4))), 4, 3), axis=-1)
    names = ["akiec", "bcc", "nv"]
    pairs = net.op("ZipMap", y, domain="ai.onnx.ml", classlabels_strings=names)
    label = net.op("ArrayFeatureExtractor", net.const(np.array(names, object)), net.op("ArgMax", y, axis=1), domain="ai.onnx.ml")
    of_pairs = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(F, [])))
    net.outputs.append(helper.make_tensor_value_info(label, TensorProto.STRING, None))
    net.outputs.append(helper.make_value_info(pairs, of_pairs))
    net.done(beside=pairs, names=names)


def refusals():
    def one(name, says, kind="unrepresentable", **options):
        net = Net(f"refused_{name}", **options)
        return net, (kind, says)

    net, why = one("unknown", "2 operators are not supported: `Hardmax` (node `/Hardmax_6`), `custom.Mystery` 2 times (node", "unsupported_operators")
    x = net.op("Mystery", "photo", domain="custom")
    x = net.op("Hardmax", net.op("Mystery", x, domain="custom"))
    net.done(net.op("Relu", x), refused=why)
    net, why = one("control_flow", "`If` (control flow)", "unsupported_operators")
    inner = branch(["z"], helper.make_node("Identity", ["photo"], ["z"]))
    condition = net.op("Greater", net.op("ReduceMax", "photo", keepdims=0), net.const(np.float32(0)))
    net.done(net.op("If", condition, then_branch=inner, else_branch=inner), refused=why)
    net, why = one("loop", "`Loop` (control flow)", "unsupported_operators")
    body = helper.make_graph([helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Relu", ["a"], ["b"])], "body", [
        helper.make_tensor_value_info("i", I64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("a", F, None)], [
        helper.make_tensor_value_info("still", TensorProto.BOOL, []), helper.make_tensor_value_info("b", F, None)])
    net.done(net.op("Loop", net.const(np.array(3)), net.const(np.array(True)), "photo", body=body), refused=why)
    net, why = one("calls_itself", "call each other more than 16 deep", "config")
    again = helper.make_node("Again", ["a"], ["b"], domain="local")
    net.functions.append(helper.make_function("local", "Again", ["a"], ["b"], [again], [helper.make_opsetid("local", 1)]))
    net.done(net.op("Again", "photo", domain="local"), refused=why)
    net, why = one("picks", "the model picks the class itself")
    net.done(net.op("ArgMax", net.op("Softmax", "photo", axis=-1), axis=1), refused=why)
    net, why = one("bytes_divided", "it computes with integers of the photo", element=TensorProto.UINT8)
    net.done(net.op("Cast", net.op("Div", "photo", net.const(np.array(7, np.uint8))), to=F), refused=why)
    net, why = one("kernels_of_runtime", "`com.microsoft.nchwc.ReorderInput`", "unsupported_operators")
    net.done(net.op("ReorderInput", "photo", domain="com.microsoft.nchwc"), refused=why)
    net, why = one("attribute", "`future` is `1`, expected no such attribute", "unsupported_value")
    net.done(net.op("Relu", "photo", future=1), refused=why)
    net, why = one("opset", "opset 6, supported are 7 to 25", opset=6)
    net.done(net.op("Relu", "photo"), refused=why)
    net, why = one("training_bn", "as in training", opset=15)
    net.done(net.batch_norm("photo", 3, training_mode=1), refused=why)
    net, why = one("dynamic_weights", "kernel is computed from the photo")
    net.done(net.op("Conv", "photo", net.op("Relu", "photo")), refused=why)
    net, why = one("bias_length", "weight `bias`: expected [4], got [5]", "weight_shape")
    net.done(net.op("Conv", "photo", net.normal(4, 3, 1, 1), net.normal(5)), refused=why)
    net, why = one("pad_mode", "`mode` is `mirror`, expected `constant`, `edge`", "unsupported_value")
    net.done(net.op("Pad", "photo", net.const(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode="mirror"), refused=why)
    net, why = one("antialias", "makes a map smaller with `antialias`", opset=18)
    net.done(net.op("Resize", "photo", "", "", net.const(np.array([1, 3, 4, 4])), mode="linear", antialias=1), refused=why)
    net, why = one("crop_and_resize", "`coordinate_transformation_mode` is `tf_crop_and_resize`", "unsupported_value")
    net.done(net.op("Resize", "photo", net.const(np.float32([0] * 4 + [1] * 4)), "", net.const(np.array([1, 3, 4, 4])), coordinate_transformation_mode="tf_crop_and_resize"), refused=why)
    net, why = one("align_corners", "aligns the corners of a map whose new size is not whole", opset=13)
    net.done(net.op("Resize", "photo", "", net.const(np.float32([1, 1, 0.7, 0.7])), mode="linear", coordinate_transformation_mode="align_corners"), refused=why)
    net, why = one("einsum", "`equation` is `nccw->nw`, expected distinct letters", "unsupported_value")
    net.done(net.op("Einsum", "photo", equation="nccw->nw"), refused=why)
    net, why = one("layer_statistics", "its mean or deviation is used")
    y, mean = net.op("LayerNormalization", "photo", net.positive(9), n=2)
    net.done(net.op("Add", y, mean), refused=why)
    net, why = one("gather_nd", "`axis` is `3`, expected an axis of a value with 3 axes", "unsupported_value")
    net.done(net.op("GatherND", "photo", net.const(np.array([[0, 3]]))), refused=why)
    net, why = one("reshape", "`shape` is `[5, -1]`, expected a shape that fits", "unsupported_value")
    net.done(net.op("Reshape", "photo", net.const(np.array([5, -1]))), refused=why)
    net, why = one("open_size", "rows and columns are not known", "input_size", shape=("N", 3, "h", "w"))
    net.done(net.op("Relu", "photo"), refused=why)
    net, why = one("outputs", "2 outputs", "outputs")
    net.done(net.op("Relu", "photo"), net.op("Tanh", "photo"), refused=why)
    net, why = one("quantized", "`zero_point` is `U16`, expected 8-bit integers", "unsupported_value", opset=21)
    net.done(net.op("QuantizeLinear", "photo", net.const(np.float32(0.1)), net.const(np.uint16(0))), refused=why)
    net, why = one("constant_output", "it does not depend on the photo", "config")
    net.done(net.op("Relu", net.normal(1, 4)), refused=why)
    net, why = one("constant_conv", "it does not depend on the photo", "config")
    net.done(net.op("Conv", net.normal(1, 4, 8, 9), net.normal(5, 4, 1, 1)), refused=why)
    net, why = one("volume", "expected [1, C, H, W]", shape=("N", 3, 8, 8, 8))
    net.done(net.op("MaxPool", "photo", kernel_shape=[2, 2, 2]), refused=why)
    net, why = one("not_finite", "is NaN at element", "not_finite")
    net.done(net.op("Conv", "photo", net.const(np.full((4, 3, 1, 1), np.nan, np.float32))), refused=why)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for part in [functions_of_one_value, arithmetic, convolutions, pools, dense, shapes, exporters, values_and_constants,
                 nested, fused, wholes, answers, refusals]:
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
