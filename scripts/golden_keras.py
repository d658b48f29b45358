"""Writes the layer zoo: fixtures/keras, which tests/library/keras_golden.rs reads.

Each model is a row of branches on one input, flattened and concatenated, because the importer takes
models of one output; `golden.json` says which stretch of the output is which branch. Branches that
only move or compare numbers are marked exact. Weights and inputs are seeded.

Needs Keras 3 with TensorFlow, and tf_keras for Keras 2:  python scripts/golden_keras.py
Versions used are written into golden.json.
"""

import io
import json
import os
import pathlib
import re
import sys
import tempfile
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
# Plain f32 arithmetic in the order of the definition.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import h5py
import keras as keras3
import numpy as np
import tensorflow as tf
import tf_keras as keras2

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "keras"
CORNERS = [0.0, 0.25, 0.5, 1.0, 1.5, 2.5, 3.0, 6.0, -1.0, -3.0, -9.0, 9.0]
CASES, REFUSED, FACTS = [], [], []
# HDF5 is nine parts padding, so these go into one zip.
HDF5 = {}


def entry(name):
    return zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))


def fill(model, seed):
    """Gives every weight a value of its own; variances are positive, kernels keep the scale."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        path = getattr(weight, "path", weight.name).split(":")[0]
        if path.endswith("variance"):
            value = rng.uniform(0.2, 1.5, shape)
        elif path.endswith("gamma"):
            value = rng.uniform(0.5, 1.5, shape)
        elif path.endswith("kernel"):
            fan_in = np.prod(shape[:2]) if "depthwise" in path else np.prod(shape[:-1])
            value = rng.normal(0, 1 / np.sqrt(fan_in), shape)
        elif path.endswith("count") or "seed_generator" in path:
            continue
        else:
            value = rng.uniform(-0.5, 0.5, shape)
        weight.assign(value.astype("float32") if shape else np.float32(value))
    for layer in model.layers:
        # Normalization computes with copies of its weights.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def renumber(config):
    """Addresses in memory, by which Keras tells shared objects apart, as 1, 2, ..."""
    ids = {}
    number = lambda match: f'"shared_object_id": {ids.setdefault(match[1], len(ids) + 1)}'
    return re.sub(r'"shared_object_id": (\d+)', number, config.decode()).encode()


def groups_of_2_13(data):
    """The same weights under the names of groups that Keras 2.13 wrote."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(data)) as old, h5py.File(buffer, "w") as new:

        def copy(path, item):
            if isinstance(item, h5py.Dataset):
                parts = ["_layer_checkpoint_dependencies" if p == "layers" else p for p in path.split("/")]
                new.create_dataset("/".join(parts), data=item[()])

        old.visititems(copy)
    return buffer.getvalue()


def groups_of_windows(data):
    """The same weights as Keras on Windows names them: a group's whole path is one name, with
    backslashes (keras-team/keras issue 18528)."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(data)) as old, h5py.File(buffer, "w") as new:

        def copy(path, item):
            if isinstance(item, h5py.Dataset) and "/vars/" in path:
                group, variable = path.rsplit("/vars/", 1)
                new.create_dataset(f"{group.replace('/', chr(92))}/vars/{variable}", data=item[()])

        old.visititems(copy)
    return buffer.getvalue()


def repack(source, target):
    """The same `.keras`, deflated and without its date, so that a new run changes little."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "2026-01-01@00:00:00"}).encode()
            if name == "config.json":
                data = renumber(data)
            if name == "model.weights.h5" and "_2_13" in target.name:
                data = groups_of_2_13(data)
            if name == "model.weights.h5" and "_windows" in target.name:
                data = groups_of_windows(data)
            new.writestr(entry(name), data, zipfile.ZIP_DEFLATED, 9)


def save(model, path):
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / path.name
        if path.name.endswith("weights.h5"):
            model.save_weights(plain)
            HDF5[f"{model.name}.json"] = model.to_json().encode()
        else:
            model.save(plain)
        if path.suffix == ".keras":
            repack(plain, path)
        else:
            HDF5[path.relative_to(OUT).as_posix()] = plain.read_bytes()


def sample(rng, shape, low, high):
    """Multiples of 1/64, exact in JSON; the first are where piecewise functions change."""
    values = rng.integers(int(low * 64), int(high * 64) + 1, shape).astype("float32") / 64
    corners = np.array([c for c in CORNERS if low <= c <= high], "float32")
    values.flat[: len(corners)] = corners
    return values


def input_name(tensor):
    history = tensor._keras_history
    return (history.operation if hasattr(history, "operation") else history.layer).name


def record(model, branches, formats, seed, span=(-2, 2), twin=None, output=None, objects=None):
    """Fills, saves and runs a model. `branches`: (name, shape, exact).

    `twin` makes the model that is run instead: the same in f32. `output` is the one that is asked
    for, of several.
    """
    fill(model, seed)
    runner = twin and twin(model)
    rng = np.random.default_rng(seed + 1)
    inputs = {input_name(t): sample(rng, (1, *t.shape[1:]), *span) for t in model.inputs}
    values = list(inputs.values())
    if "Sequential" in type(model).__name__:
        values = values[0]
    elif len(values) > 1:
        values = inputs

    def run(runner):
        made = runner(values, training=False)
        if output is not None:
            made = made[output] if isinstance(made, dict) else made[list(model.output_names).index(output)]
        return np.asarray(made).reshape(-1)

    expected = run(runner or model)
    assert np.isfinite(expected).all(), model.name
    names, start, listed = [model.name + f for f in formats], 0, []
    for name in names:
        save(model, OUT / name)
        if name.endswith("weights.h5") or "_2_13" in name or "_windows" in name or twin:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / name
            path.write_bytes(HDF5[name] if name in HDF5 else (OUT / name).read_bytes())
            again = (keras2 if isinstance(model, keras2.Model) else keras3).models.load_model(
                path, compile=False, custom_objects=objects
            )
            assert np.array_equal(run(again), expected), name
    for name, shape, exact in branches:
        stretch = expected[start : start + int(np.prod(shape))]
        start += len(stretch)
        assert stretch.any() or name == "zeros", f"{model.name} {name} is all zeros"
        listed.append({"name": name, "shape": list(shape), "exact": exact, "output": numbers(stretch)})
    assert start == len(expected), (model.name, start, len(expected))
    flat = {k: {"shape": list(v.shape[1:]), "values": numbers(v)} for k, v in inputs.items()}
    case = {"files": names, "inputs": flat, "branches": listed}
    CASES.append(case if output is None else {**case, "output": output})


def numbers(array):
    return [float(str(v)) for v in np.asarray(array, "float32").reshape(-1)]


class Zoo:
    """A model under construction."""

    def __init__(self, name, *shapes, keras=keras3, formats=(".keras",), span=(-2, 2)):
        self.keras, self.layers, self.name = keras, keras.layers, name
        self.formats, self.span = formats, span
        self.inputs = [self.layers.Input(s, name=f"{name}_in{i}") for i, s in enumerate(shapes)]
        self.x = self.inputs[0]
        self.branches, self.flat = [], []

    def add(self, name, tensor, exact=False):
        shape = tuple(tensor.shape[1:])
        assert name not in [b[0] for b in self.branches], name
        self.branches.append((name, shape, exact))
        flat = tensor if len(shape) == 1 else self.layers.Flatten(name=f"{name}_flat")(tensor)
        self.flat.append(flat)
        return tensor

    def layer(self, name, kind, *args, on=None, exact=False, **kwargs):
        # A plain `elu` would meet the name that Keras gives its own unnamed ELU.
        made = getattr(self.layers, kind)(*args, name=f"zoo_{name}", **kwargs)
        return self.add(name, made(self.x if on is None else on), exact)

    def finish(self, seed):
        # The engine joins up to 64 values at once.
        parts = [self.flat[i : i + 40] for i in range(0, len(self.flat), 40)]
        parts = [p[0] if len(p) == 1 else self.layers.Concatenate(name=f"part{i}")(p) for i, p in enumerate(parts)]
        joined = parts[0] if len(parts) == 1 else self.layers.Concatenate(name="joined")(parts)
        model = self.keras.Model(self.inputs, joined, name=self.name)
        record(model, self.branches, self.formats, seed, self.span)


def convolutions(z):
    conv = lambda name, *a, **k: z.layer(name, "Conv2D", *a, **k)
    for padding in ("same", "valid"):
        for stride in (1, 2, 3):
            conv(f"conv_k3_s{stride}_{padding}", 3, 3, stride, padding)
        conv(f"conv_k2_s1_{padding}", 2, 2, 1, padding)
        conv(f"conv_k4_s2_{padding}", 2, 4, 2, padding)
        conv(f"conv_k5x3_s1x2_{padding}", 2, (5, 3), (1, 2), padding)
        conv(f"conv_k1_s1_{padding}", 5, 1, 1, padding)
        conv(f"conv_k1_s2_{padding}", 5, 1, 2, padding)
        conv(f"conv_dilated2_{padding}", 2, 3, 1, padding, dilation_rate=2)
        conv(f"conv_dilated1x3_{padding}", 2, 2, 1, padding, dilation_rate=(1, 3))
        conv(f"conv_groups2_{padding}", 6, 3, 2, padding, groups=2)
        z.layer(f"depthwise_k3_{padding}", "DepthwiseConv2D", 3, 1, padding)
        z.layer(f"depthwise_k3_s2_{padding}", "DepthwiseConv2D", 3, 2, padding)
        z.layer(f"depthwise_k4_s3_{padding}", "DepthwiseConv2D", 4, 3, padding)
        z.layer(f"depthwise_m2_{padding}", "DepthwiseConv2D", 3, 2, padding, depth_multiplier=2)
        z.layer(f"depthwise_dilated_{padding}", "DepthwiseConv2D", 3, padding=padding, dilation_rate=2)
        z.layer(f"depthwise_k5x2_{padding}", "DepthwiseConv2D", (5, 2), 2, padding)
        z.layer(f"separable_{padding}", "SeparableConv2D", 3, 3, 2, padding)
        z.layer(f"separable_m2_{padding}", "SeparableConv2D", 3, 3, 1, padding, depth_multiplier=2)
        z.layer(f"separable_dilated_{padding}", "SeparableConv2D", 2, 3, padding=padding, dilation_rate=2)
    conv("conv_groups4", 8, 3, 1, "same", groups=4)
    conv("conv_no_bias", 3, 3, use_bias=False)
    conv("conv_relu", 3, 3, activation="relu")
    conv("conv_silu", 3, 3, activation="silu")
    conv("conv_softmax", 3, 1, activation="softmax")
    conv("conv_wide", 19, 3, 2, "same", activation="tanh")
    z.layer("depthwise_no_bias", "DepthwiseConv2D", 3, use_bias=False)
    z.layer("depthwise_relu6", "DepthwiseConv2D", 3, activation="relu6" if z.keras is keras3 else "relu")
    z.layer("separable_no_bias_elu", "SeparableConv2D", 3, 3, use_bias=False, activation="elu")


def pooling(z):
    for padding in ("same", "valid"):
        for kind, short in (("MaxPooling2D", "max"), ("AveragePooling2D", "average")):
            exact = short == "max"
            for size, stride in ((2, 2), (2, 1), (3, 2), (3, 1), (3, 3), (4, 3), (5, 2)):
                z.layer(f"{short}_{size}_s{stride}_{padding}", kind, size, stride, padding, exact=exact)
            z.layer(f"{short}_3x2_s1x2_{padding}", kind, (3, 2), (1, 2), padding, exact=exact)
            z.layer(f"{short}_default_stride_{padding}", kind, (2, 3), padding=padding, exact=exact)
    for kind, short in (("GlobalMaxPooling2D", "max"), ("GlobalAveragePooling2D", "average")):
        exact = short == "max"
        z.layer(f"global_{short}", kind, exact=exact)
        z.layer(f"global_{short}_kept", kind, keepdims=True, exact=exact)


def normalization(z):
    z.layer("batch", "BatchNormalization")
    z.layer("batch_no_scale", "BatchNormalization", scale=False)
    z.layer("batch_no_center", "BatchNormalization", center=False, epsilon=0.1)
    z.layer("batch_bare", "BatchNormalization", center=False, scale=False, axis=3)
    if z.keras is keras3:
        z.layer("batch_synchronized", "BatchNormalization", synchronized=True)
    else:
        z.add("batch_sync_class", z.layers.experimental.SyncBatchNormalization(name="zoo_sync")(z.x))
    z.layer("batch_vector", "BatchNormalization", on=z.layers.GlobalAveragePooling2D()(z.x))
    z.layer("rescaling", "Rescaling", 1 / 127.5, -1.0)
    z.layer("rescaling_scale", "Rescaling", 1 / 255)
    z.layer("rescaling_lists", "Rescaling", [0.5, 2.0, 0.25], [1.0, -0.5, 0.125])
    z.layer("normalization_stored", "Normalization")
    z.layer("normalization_one_mean", "Normalization", axis=None)
    z.layer("normalization_given", "Normalization", mean=[0.5, 0.25, -1.0], variance=[0.5, 2.0, 0.1])
    z.layer("normalization_given_scalar", "Normalization", axis=None, mean=0.5, variance=2.0)
    z.layer("normalization_invert", "Normalization", mean=[0.5, 0.25, 2.0], variance=[0.5, 2.0, 0.1], invert=True)
    z.layer("normalization_no_variance", "Normalization", mean=[0.5, 0.5, 0.5], variance=[0.0, 1.0, 1.0])
    z.layer("normalization_vector", "Normalization", on=z.layers.GlobalMaxPooling2D()(z.x))
    # Folded into a convolution before and after: zeros of `same` padding come after the shift.
    x = z.layers.Rescaling(2.0, 1.0)(z.x)
    x = z.layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = z.layers.BatchNormalization()(x)
    z.add("folded_conv", z.layers.ReLU()(x))
    x = z.layers.BatchNormalization()(z.x)
    x = z.layers.DepthwiseConv2D(3, padding="same", strides=2)(x)
    z.add("folded_depthwise", z.layers.BatchNormalization()(x))
    x = z.layers.BatchNormalization()(z.layers.Flatten()(z.x))
    z.add("folded_dense", z.layers.BatchNormalization()(z.layers.Dense(5)(x)))


def shapes(z):
    e = {"exact": True}
    z.layer("pad_1", "ZeroPadding2D", 1, **e)
    z.layer("pad_2x1", "ZeroPadding2D", (2, 1), **e)
    z.layer("pad_uneven", "ZeroPadding2D", ((0, 1), (2, 0)), **e)
    z.layer("crop_1", "Cropping2D", 1, **e)
    z.layer("crop_uneven", "Cropping2D", ((0, 2), (1, 0)), **e)
    z.layer("crop_2x1", "Cropping2D", (2, 1), **e)
    z.layer("center_crop", "CenterCrop", 3, 3, **e)
    z.layer("center_crop_even", "CenterCrop", 4, 2, **e)
    z.layer("reshape_open", "Reshape", (-1, 3), **e)
    z.layer("reshape_flat", "Reshape", (-1,), **e)
    z.layer("reshape_swap", "Reshape", (5, 7, 3), **e)
    z.layer("flatten", "Flatten", **e)
    for dims in ((2, 1, 3), (3, 1, 2), (1, 3, 2), (3, 2, 1), (2, 3, 1)):
        z.layer("permute_" + "".join(map(str, dims)), "Permute", dims, **e)
    rows = z.layers.Reshape((35, 3))(z.x)
    z.layer("permute_matrix", "Permute", (2, 1), on=rows, **e)
    z.layer("up_2", "UpSampling2D", **e)
    z.layer("up_3x1", "UpSampling2D", (3, 1), **e)
    z.layer("up_bilinear", "UpSampling2D", 2, interpolation="bilinear")
    z.layer("up_bilinear_1x3", "UpSampling2D", (1, 3), interpolation="bilinear")
    for size in ((7, 5), (14, 10), (3, 4), (11, 3), (1, 1), (9, 13)):
        for kind in ("bilinear", "nearest"):
            z.layer(f"resize_{kind}_{size[0]}x{size[1]}", "Resizing", *size, interpolation=kind, exact=kind == "nearest")
    # Padding that is folded into what follows, and padding that must not be.
    x = z.layers.ZeroPadding2D(((0, 1), (0, 1)))(z.x)
    z.add("padded_conv", z.layers.Conv2D(3, 3, 2)(x))
    x = z.layers.ZeroPadding2D(1)(z.x)
    z.add("padded_max", z.layers.MaxPooling2D(3, 2)(x), exact=True)
    z.add("padded_average", z.layers.AveragePooling2D(3, 2)(x))
    z.add("padded_same_conv", z.layers.Conv2D(3, 3, 2, padding="same")(x))
    z.add("padded_depthwise", z.layers.DepthwiseConv2D(3, 2)(x))
    # Dense by rank.
    z.layer("dense_image", "Dense", 5)
    z.layer("dense_matrix", "Dense", 4, on=rows, activation="relu")
    z.layer("dense_vector", "Dense", 17, on=z.layers.Flatten()(z.x))
    z.layer("dense_no_bias", "Dense", 4, on=z.layers.Flatten()(z.x), use_bias=False, activation="tanh")


NAMES = (
    "linear relu leaky_relu sigmoid hard_sigmoid swish silu tanh elu selu gelu softplus softsign exponential softmax mish"
).split()
NAMES_3 = "relu6 hard_swish hard_silu celu".split()


def activations(z):
    exact = ("linear", "relu", "relu6")
    for name in NAMES + (NAMES_3 if z.keras is keras3 else []):
        z.layer(f"name_{name}", "Activation", name, exact=name in exact)
        z.layer(f"fused_{name}", "Dense", 3, activation=name)
    z.layer("relu", "ReLU", exact=True)
    z.layer("relu_max6", "ReLU", 6.0, exact=True)
    z.layer("relu_max", "ReLU", max_value=1.5, exact=True)
    z.layer("relu_slope", "ReLU", negative_slope=0.25)
    z.layer("relu_threshold", "ReLU", threshold=1.0, exact=True)
    z.layer("relu_all", "ReLU", max_value=2.5, negative_slope=0.25, threshold=1.0)
    z.layer("relu_slope_max6", "ReLU", max_value=6.0, negative_slope=0.1)
    z.layer("relu_low_max", "ReLU", max_value=0.5, negative_slope=0.5, threshold=1.0)
    z.layer("leaky", "LeakyReLU")
    z.layer("leaky_slope", "LeakyReLU", 0.05)
    z.layer("elu", "ELU")
    z.layer("elu_alpha", "ELU", 0.3)
    z.layer("softmax", "Softmax")
    z.layer("softmax_axis", "Softmax", axis=3)
    z.layer("softmax_vector", "Softmax", on=z.layers.Flatten()(z.x))
    z.layer("prelu", "PReLU")
    z.layer("prelu_rows_columns", "PReLU", shared_axes=[1, 2])
    z.layer("prelu_columns", "PReLU", shared_axes=[2])
    z.layer("prelu_all", "PReLU", shared_axes=[1, 2, 3])
    z.layer("prelu_channels", "PReLU", shared_axes=[3])
    z.layer("prelu_vector", "PReLU", on=z.layers.Flatten()(z.x))
    layer = z.layers.LeakyReLU(0.15) if z.keras is keras3 else z.layers.LeakyReLU(alpha=0.15)
    z.layer("fused_layer_leaky", "Conv2D", 3, 1, activation=layer)
    z.layer("fused_layer_relu", "Dense", 3, activation=z.layers.ReLU(max_value=1.0, threshold=0.25))
    z.layer("fused_layer_elu", "Dense", 3, activation=z.layers.ELU(0.7))
    # Hard swish by hand, as MobileNetV3 in Keras 2 spells it.
    x = z.layers.ReLU(6.0)(z.layers.Rescaling(1.0, 3.0)(z.x))
    x = z.layers.Multiply()([z.x, z.layers.Rescaling(1 / 6)(x)])
    z.add("hard_swish_by_hand", x)


def merges(z):
    a, b = z.inputs
    L = z.layers
    row = L.Cropping2D(((0, 3), (0, 0)))(a)
    column = L.Cropping2D(((0, 0), (2, 2)))(b)
    channel = L.GlobalMaxPooling2D(keepdims=True)(a)
    one = L.Conv2D(1, 1)(b)
    for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        short, exact = kind.lower(), kind in ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
        merge = lambda suffix, items: z.add(f"{short}_{suffix}", getattr(L, kind)(name=f"zoo_{short}_{suffix}")(items), exact)
        merge("same", [a, b])
        merge("row", [a, row])
        merge("column", [column, a])
        merge("channel", [channel, b])
        exact = False
        merge("one", [a, one])
        if kind != "Subtract":
            merge("three", [a, b, a])
        merge("vector", [L.GlobalAveragePooling2D()(a), L.GlobalMaxPooling2D()(b)])
        merge("outer", [row, column])
    for axis in (1, 2, 3, -1, -2):
        z.add(f"concatenate_{axis}", L.Concatenate(axis=axis)([a, b, a]), True)
    z.add("concatenate_uneven", L.Concatenate(axis=1)([a, row, b]), True)
    z.add("concatenate_vectors", L.Concatenate()([L.Flatten()(a), L.Flatten()(b)]), True)
    rows = L.Reshape((20, 3))
    z.add("concatenate_matrices", L.Concatenate(axis=1)([rows(a), rows(b)]), True)
    vector = L.GlobalMaxPooling2D()(b)
    z.add("multiply_ranks", L.Multiply()([a, vector]), True)
    z.add("add_itself", L.Add()([a, a]), True)


def blocks(z):
    """What real networks are made of, for the passes to fold and fuse."""
    L = z.layers

    def norm(x, act=True):
        x = L.BatchNormalization()(x)
        return L.ReLU()(x) if act else x

    x = L.Conv2D(8, 3, 2, "same", use_bias=False)(z.x)
    stem = norm(x)
    y = norm(L.Conv2D(8, 3, padding="same", use_bias=False)(stem))
    y = norm(L.Conv2D(8, 3, padding="same", use_bias=False)(y), False)
    z.add("residual", L.ReLU()(L.Add()([stem, y])))
    y = norm(stem)
    short = L.Conv2D(12, 1, 2)(y)
    y = norm(L.Conv2D(12, 3, 2, "same", use_bias=False)(y))
    y = L.Conv2D(12, 3, padding="same")(y)
    z.add("pre_activation", norm(L.Add()([y, short])))
    y = L.Activation("swish")(L.BatchNormalization()(L.Conv2D(16, 1, use_bias=False)(stem)))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = L.Activation("swish")(L.BatchNormalization()(y))
    gate = L.GlobalAveragePooling2D()(y)
    gate = L.Reshape((1, 1, 16))(gate)
    gate = L.Conv2D(16, 1, activation="sigmoid")(L.Conv2D(4, 1, activation="swish")(gate))
    y = L.Multiply()([y, gate])
    y = L.BatchNormalization()(L.Conv2D(8, 1, use_bias=False)(y))
    z.add("squeeze_and_excite", L.Add()([L.Dropout(0.2)(y), stem]))
    gate = L.Dense(8, activation="hard_sigmoid")(L.Dense(2, activation="relu")(L.GlobalAveragePooling2D()(stem)))
    z.add("gate_by_dense", L.Multiply()([stem, L.Reshape((1, 1, 8))(gate)]))
    y = [stem]
    for _ in range(3):
        x = L.Concatenate()(y) if len(y) > 1 else y[0]
        y.append(L.Conv2D(4, 3, padding="same", use_bias=False)(norm(x)))
    z.add("dense_block", norm(L.Concatenate()(y)))
    y = L.AveragePooling2D(3, 1, "same")(stem)
    z.add("inception", L.Concatenate()([L.Conv2D(3, 1)(y), L.Conv2D(3, (1, 3), padding="same")(stem), L.MaxPooling2D(3, 1, "same")(stem)]))
    y = L.SeparableConv2D(8, 3, padding="same", use_bias=False)(L.ReLU()(stem))
    z.add("xception", L.Add()([norm(y, False), norm(L.Conv2D(8, 1)(stem), False)]))
    # An activation between two uses, and a value that is used before and after it.
    y = L.Conv2D(6, 3)(stem)
    z.add("used_twice", L.Concatenate()([y, L.ReLU()(y), L.BatchNormalization()(y)]))


def nesting(keras, prefix, formats):
    """A Functional in a Sequential in a Functional, one of them called twice; a shared layer."""
    L = keras.layers
    # An `.h5` cannot hold two nested layers of one name; a `.keras` may.
    name = lambda kind, depth: kind if formats == [".keras"] else f"{kind}_{depth}"
    inner_in = L.Input((6, 6, 4), name="inner_in")
    y = L.Conv2D(4, 3, padding="same", name=name("conv", 3))(inner_in)
    y = L.BatchNormalization(name="bn")(y)
    inner = keras.Model(inner_in, L.Add(name="add")([y, inner_in]), name="inner")
    middle = keras.Sequential([L.Input((6, 6, 4)), L.Conv2D(4, 1, name=name("conv", 2)), inner, L.ReLU(name="relu")], name="middle")
    outer_in = L.Input((6, 6, 3), name="outer_in")
    y = L.Conv2D(4, 1, name=name("conv", 1))(outer_in)
    y = middle(middle(y))
    outer = keras.Model(outer_in, y, name="outer")
    photo, patient = L.Input((6, 6, 3), name="photo"), L.Input((5,), name="patient")
    shared = L.Dense(5, activation="tanh", name="shared")
    vector = shared(shared(patient))
    pooled = L.GlobalAveragePooling2D(name="pooled")(outer(photo))
    joined = L.Concatenate(name="joined")([pooled, vector, patient])
    return keras.Model([photo, patient], joined, name=prefix + "nested"), [
        ("depth_3", (4,), False),
        ("shared_twice", (5,), False),
        ("second_input", (5,), True),
    ]


def many(keras, prefix):
    """A model of two inputs and two outputs called twice, in one whose inputs are a dict."""
    L = keras.layers
    first, second = L.Input((4, 4, 2), name="first"), L.Input((3,), name="second")
    outputs = [L.Conv2D(3, 3, name="conv")(first), L.Dense(4, name="dense")(second)]
    pair = keras.Model([first, second], outputs, name="pair")
    photo, patient = L.Input((4, 4, 2), name="photo"), L.Input((3,), name="patient")
    u, v = pair([photo, patient])
    w, x = pair([L.Rescaling(0.5)(photo), L.Dense(3, name="between")(v)])
    joined = L.Concatenate(name="joined")([L.Flatten()(u), v, L.Flatten()(w), x])
    # Not in the order of the alphabet, which Keras 3 sorts a dict's keys into.
    model = keras.Model({"photo": photo, "patient": patient}, joined, name=prefix + "many")
    return model, [("first_conv", (12,), False), ("first_dense", (4,), False), ("second_conv", (12,), False), ("second_dense", (4,), False)]


def transfer(keras, name, frozen, trained):
    """A Sequential around a backbone, as tutorials have it; `.h5` stores by what is frozen."""
    L = keras.layers
    x = image = L.Input((8, 8, 3), name="backbone_input")
    for i in range(3):
        x = L.SeparableConv2D(4, 3, padding="same", use_bias=False, name=f"separable_{i}")(x)
        x = L.BatchNormalization(name=f"norm_{i}")(x)
        x = L.PReLU(shared_axes=[1, 2], name=f"prelu_{i}")(x)
    backbone = keras.Model(image, x, name="backbone")
    if frozen == "all":
        backbone.trainable = False
    if frozen == "some":
        for layer in backbone.layers[:5]:
            layer.trainable = False
    augment = keras.Sequential([L.RandomFlip("horizontal", name="flip"), L.RandomRotation(0.1, name="turn")], name="augment")
    model = keras.Sequential(
        [
            L.Input((8, 8, 3), name="image"),
            augment,
            L.Rescaling(1 / 127.5, offset=-1, name="rescale"),
            backbone,
            L.GlobalAveragePooling2D(name="pooled"),
            L.Dropout(0.2, name="dropout"),
            L.Dense(6, activation="relu", name="hidden"),
            L.Dense(3, activation="softmax", name="answer"),
        ],
        name=name,
    )
    if trained:
        # The optimizer's state is saved as well.
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(np.zeros((4, 8, 8, 3), "float32"), np.zeros(4), verbose=0)
    return model


def transfers():
    for keras, prefix in ((keras3, ""), (keras2, "keras2_")):
        for seed, (frozen, trained) in enumerate((("none", True), ("all", False), ("some", True))):
            model = transfer(keras, f"{prefix}transfer_{frozen}", frozen, trained)
            formats = [".keras", ".h5", ".weights.h5"] + (["_old_weights.h5", "_2_13.keras"] if keras is keras2 else [])
            record(model, [("answer", (3,), False)], formats, 70 + seed, (0, 255))


def float32_twin(keras):
    def twin(model):
        other = keras.models.model_from_json(model.to_json().replace("mixed_float16", "float32"))
        other.set_weights(model.get_weights())
        return other

    return twin


def unusual(keras, prefix):
    """Mixed precision, which runs in f32 here, and photos as bytes."""
    L = keras.layers
    keras.mixed_precision.set_global_policy("mixed_float16")
    x = image = L.Input((7, 7, 3), name="image")
    x = L.BatchNormalization()(L.Conv2D(4, 3, 2, activation="swish")(x))
    x = L.Dense(5, activation="softmax", dtype="float32")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x, name=prefix + "mixed")
    keras.mixed_precision.set_global_policy("float32")
    record(model, [("answer", (5,), False)], [".keras", ".h5"], 90, twin=float32_twin(keras))
    model = keras.Sequential([L.Conv2D(3, 3, input_shape=(6, 6, 2)), L.Flatten(), L.Dense(1, activation="sigmoid")], name=prefix + "input_shape")
    record(model, [("answer", (1,), False)], [".keras", ".h5"], 91)


def operators(z):
    """Operations on tensors of Keras 3."""
    x, ops = z.x, keras3.ops
    vector = z.layers.GlobalAveragePooling2D()(x)
    other = z.layers.Conv2D(3, 1)(x)
    z.add("times_plus", x * 2 + 1)
    z.add("minus", x - 0.5, True)
    z.add("from", 0.5 - x, True)
    z.add("negative", -x, True)
    z.add("divided", x / 127.5)
    z.add("divide", ops.divide(x, 4.0), True)
    z.add("channels", x * np.array([0.5, 2.0, 4.0], "float32"), True)
    z.add("channels_image", x - np.array([0.5, 0.25, 0.125], "float32").reshape(1, 1, 1, 3), True)
    z.add("tensors_plus", x + other)
    z.add("tensors_minus", x - other)
    z.add("tensors_times", x * other)
    z.add("tensors_divided", x / (ops.square(other) + 1.0))
    z.add("square", ops.square(x), True)
    z.add("maximum", ops.maximum(x, 0.0), True)
    z.add("maximum_tensors", ops.maximum(x, -x), True)
    z.add("minimum_tensors", ops.minimum(x, -x), True)
    z.add("clip", ops.clip(x, 0.0, 1.0), True)
    z.add("clip_6", ops.clip(x, 0, 6), True)
    for name in "relu relu6 sigmoid hard_sigmoid silu hard_silu tanh selu softplus softsign exp leaky_relu elu gelu softmax".split():
        z.add(f"ops_{name}", getattr(ops, name)(x))
    z.add("ops_gelu_exact", ops.gelu(x, approximate=False))
    z.add("ops_leaky_slope", ops.leaky_relu(x, negative_slope=0.05))
    z.add("ops_elu_alpha", ops.elu(x, alpha=0.5))
    z.add("ops_softmax_vector", ops.softmax(vector, axis=-1))
    z.add("mean", ops.mean(x, axis=(1, 2)))
    z.add("mean_kept", ops.mean(x, axis=[1, 2], keepdims=True))
    z.add("max", ops.max(x, axis=(1, 2)), True)
    z.add("max_kept", ops.max(x, axis=(-3, -2), keepdims=True), True)
    z.add("concatenate", ops.concatenate([x, x], axis=-1), True)
    z.add("concatenate_rows", ops.concatenate([x, x], axis=1), True)
    z.add("reshape", ops.reshape(x, (-1, 30, 3)), True)
    z.add("reversed_channels", x[..., ::-1], True)
    z.add("window", x[:, 1:4, 2:, :], True)
    z.add("window_channels", x[:, :-1, :, 1:], True)
    z.add("vector_slice", vector[:, 1:], False)
    z.add("resize", ops.image.resize(x, (4, 9)))
    z.add("resize_nearest", ops.image.resize(x, (4, 9), interpolation="nearest"), True)
    z.add("cast", ops.cast(x, "float32"), True)
    for name, axis in (("channels", -1), ("rows", 1), ("columns", 2), ("rows_channels", (1, 3)), ("columns_channels", [2, 3])):
        z.add(f"mean_{name}", ops.mean(x, axis=axis))
        z.add(f"mean_{name}_kept", ops.mean(x, axis=axis, keepdims=True))
        z.add(f"max_{name}_kept", ops.max(x, axis=axis, keepdims=True), True)
    z.add("mean_all_kept", ops.mean(x, axis=(1, 2, 3), keepdims=True))
    z.add("max_vector", ops.max(vector, axis=-1, keepdims=True))
    attention = ops.concatenate([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)], axis=-1)
    z.add("spatial_attention", x * ops.sigmoid(attention[..., :1]))
    z.add("expand_dims", ops.expand_dims(vector, 1))
    z.add("expand_dims_twice", ops.expand_dims(ops.expand_dims(vector, 1), 1))
    z.add("squeeze", ops.squeeze(ops.mean(x, axis=(1, 2), keepdims=True), axis=(1, 2)))
    z.add("new_axes", vector[:, None, None, :])
    z.add("one_channel", x[..., 1], True)
    z.add("last_channel", x[:, :, :, -1], True)
    z.add("one_row", x[:, 2], True)
    z.add("one_pixel", x[:, 1, 3, :], True)
    z.add("stacked_reversed", ops.stack([x[..., i] for i in (2, 1, 0)], axis=-1), True)
    z.add("stacked_vectors", ops.stack([vector, vector * 2], axis=1))
    z.add("stacked_channels_of_two", ops.stack([x[..., 0], other[..., 1]], axis=-1))


def functions(z):
    """TensorFlow's functions, which Keras 2 saves as TFOpLambda."""
    x = z.x
    vector = z.layers.GlobalAveragePooling2D()(x)
    other = z.layers.Conv2D(3, 1)(x)
    z.add("times_plus", x * 2.0 + 1.0)
    z.add("minus", x - 0.5, True)
    z.add("from", 0.5 - x, True)
    z.add("negative", -x, True)
    z.add("divided", x / 127.5)
    z.add("tensors_plus", tf.math.add(x, other))
    z.add("tensors_times", tf.math.multiply(x, other))
    z.add("tensors_minus", tf.math.subtract(x, other))
    z.add("tensors_divided", tf.math.divide(x, tf.math.square(other) + 1.0))
    z.add("maximum", tf.math.maximum(x, 0.0), True)
    z.add("minimum_tensors", tf.math.minimum(x, -x), True)
    z.add("clip", tf.clip_by_value(x, 0.0, 1.0), True)
    for name in "relu relu6 sigmoid silu tanh selu softplus softsign leaky_relu elu gelu softmax".split():
        z.add(f"nn_{name}", getattr(tf.nn, name)(x))
    z.add("nn_gelu_tanh", tf.nn.gelu(x, approximate=True))
    z.add("nn_leaky_slope", tf.nn.leaky_relu(x, alpha=0.05))
    z.add("exp", tf.math.exp(x))
    z.add("mean", tf.reduce_mean(x, axis=[1, 2]))
    z.add("mean_kept", tf.reduce_mean(x, [1, 2], keepdims=True))
    z.add("max", tf.reduce_max(x, axis=[1, 2]), True)
    z.add("concat", tf.concat([x, x], axis=-1), True)
    z.add("concat_rows", tf.concat([x, x], 1), True)
    z.add("reshape", tf.reshape(x, [-1, 30, 3]), True)
    z.add("reversed_channels", x[..., ::-1], True)
    z.add("window", x[:, 1:4, 2:, :], True)
    z.add("vector_slice", vector[:, 1:])
    z.add("resize", tf.image.resize(x, [4, 9]))
    z.add("resize_nearest", tf.image.resize(x, (4, 9), method="nearest"), True)
    z.add("cast", tf.cast(x, tf.float32), True)
    z.add("mean_channels_kept", tf.reduce_mean(x, axis=-1, keepdims=True))
    z.add("max_channels_kept", tf.reduce_max(x, axis=-1, keepdims=True), True)
    z.add("mean_rows", tf.reduce_mean(x, axis=[1]))
    z.add("expand_dims", tf.expand_dims(tf.expand_dims(vector, 1), 1))
    z.add("expand_dims_last", tf.expand_dims(vector, -1))
    z.add("squeeze", tf.squeeze(tf.reduce_mean(x, [1, 2], keepdims=True), [1, 2]))
    z.add("bias_add", tf.nn.bias_add(x, tf.constant([0.5, -0.25, 1.0])), True)
    z.add("bias_add_nhwc", tf.nn.bias_add(x, tf.constant([0.5, -0.25, 1.0]), data_format="NHWC"), True)
    z.add("stacked_reversed", tf.stack([x[..., i] for i in (2, 1, 0)], axis=-1), True)
    z.add("new_axes", vector[:, tf.newaxis, tf.newaxis, :])
    z.add("one_channel", x[..., 1], True)
    z.add("hard_swish_by_hand", x * (tf.nn.relu6(x + 3.0) * (1.0 / 6.0)))


IDENTITIES = {
    "ActivityRegularization": {},
    "AlphaDropout": {"rate": 0.5},
    "AugMix": {"value_range": (0, 1)},
    "CutMix": {},
    "Dropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 1.0},
    "Identity": {},
    "MixUp": {},
    "RandAugment": {"value_range": (0, 1)},
    "RandomBrightness": {"factor": 0.5, "value_range": (0, 1)},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomColorJitter": {"value_range": (0, 1), "brightness_factor": 0.5},
    "RandomContrast": {"factor": 0.5},
    "RandomElasticTransform": {},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomGrayscale": {},
    "RandomHeight": {"factor": 0.5},
    "RandomHue": {"factor": 0.5, "value_range": (0, 1)},
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.5},
    "RandomSaturation": {"factor": 0.5},
    "RandomSharpness": {"factor": 0.5},
    "RandomShear": {"x_factor": (0.1, 0.5), "y_factor": (0.1, 0.5)},
    "RandomTranslation": {"height_factor": 0.5, "width_factor": 0.5},
    "RandomWidth": {"factor": 0.5},
    "RandomZoom": {"height_factor": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "Solarization": {"addition_factor": 0.5, "threshold_factor": 0.5, "value_range": (0, 1)},
    "MaxNumBoundingBoxes": {"max_number": 3},
    "RandomCrop": {"height": 6, "width": 6},
}


def fixed_dropout(keras):
    """The class that the package `efficientnet` defines."""

    class FixedDropout(keras.layers.Dropout):
        def _get_noise_shape(self, inputs):
            return self.noise_shape

    return FixedDropout


def identities(z):
    for kind, kwargs in IDENTITIES.items():
        if hasattr(z.layers, kind):
            made = getattr(z.layers, kind)(name=f"zoo_{kind}", **kwargs)
            # Some augmentations only know their output's shape when they run.
            value = made(z.x, training=False) if z.keras is keras2 else made(z.x)
            if None in value.shape[1:]:
                value = z.layers.Reshape(tuple(z.x.shape[1:]), name=f"{kind}_shape")(value)
            z.add(kind, value, True)
    if z.keras is keras3:
        pipeline = [z.layers.RandomFlip(), z.layers.Rescaling(0.5, 0.25), z.layers.RandomHue(0.5, (0, 1))]
        z.add("pipeline", z.layers.Pipeline(pipeline, name="zoo_pipeline")(z.x), True)
    z.layer("after", "Conv2D", 2, 3)


def heads(keras, prefix):
    L = keras.layers
    for name, units, activation in (
        ("softmax", 7, "softmax"),
        ("sigmoid", 1, "sigmoid"),
        ("labels", 5, "sigmoid"),
        ("linear", 3, None),
    ):
        x = image = L.Input((8, 8, 3), name="image")
        x = L.Conv2D(4, 3, 2, activation="relu")(x)
        x = L.Dense(units, activation=activation)(L.Flatten()(x))
        model = keras.Model(image, x, name=f"{prefix}head_{name}")
        record(model, [(name, (units,), False)], [".keras"], 40 + units)
    model = keras.Sequential(
        [
            L.Input((8, 8, 3), name="image"),
            L.Rescaling(1 / 255),
            L.Conv2D(6, 3, activation="relu"),
            L.MaxPooling2D(),
            L.Dropout(0.3),
            L.Flatten(),
            L.Dense(4),
            L.Softmax(),
        ],
        name=f"{prefix}head_sequential",
    )
    record(model, [("softmax", (4,), False)], [".keras", ".h5"], 50, (0, 255))


def preprocessed():
    """`preprocess_input` of keras.applications inside of the model: modes caffe, torch and tf."""
    for keras, prefix in ((keras3, ""), (keras2, "keras2_")):
        L, apps = keras.layers, keras.applications
        modes = {"caffe": apps.resnet50, "torch": apps.densenet, "tf": apps.mobilenet_v2}
        for seed, (mode, application) in enumerate(modes.items()):
            x = image = L.Input((8, 8, 3), name="image")
            x = application.preprocess_input(x)
            x = L.Conv2D(4, 3, 2, activation="relu")(x)
            x = L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x))
            model = keras.Model(image, x, name=f"{prefix}preprocessed_{mode}")
            # An `.h5` of Keras 3 does not say which of its layers are operations; a `.keras` of
            # Keras 2 cannot hold `x[..., ::-1]`, by which colours are reversed.
            formats = {keras3: [".keras"], keras2: [".h5"] if mode == "caffe" else [".keras", ".h5"]}[keras]
            record(model, [("answer", (3,), False)], formats, 210 + seed, (0, 255))
            facts(model, formats, scaling="bytes")


def several_outputs():
    """Models of which one output is asked for by name."""
    for keras, prefix in ((keras3, ""), (keras2, "keras2_")):
        L = keras.layers

        def trunk():
            image = L.Input((8, 8, 3), name="image")
            patient = L.Input((4,), name="patient")
            return image, patient, L.Conv2D(4, 3, 2, activation="relu", name="stem")(image)

        image, patient, x = trunk()
        pooled = L.GlobalAveragePooling2D(name="features")(x)
        box = L.Dense(4, name="box")(L.Concatenate(name="beside")([pooled, patient]))
        answer = L.Dense(3, activation="softmax", name="answer")(pooled)
        for output, size in (("answer", 3), ("box", 4), ("features", 4)):
            outputs = [box, answer, pooled]
            model = keras.Model([image, patient], outputs, name=f"{prefix}outputs_{output}")
            record(model, [(output, (size,), False)], [".keras", ".h5"], 220, output=output)
            if output != "box":
                # The other outputs' inputs are not asked for.
                del CASES[-1]["inputs"]["patient"]
    image = keras3.layers.Input((8, 8, 3), name="image")
    pooled = keras3.layers.GlobalAveragePooling2D()(keras3.layers.Conv2D(4, 3, 2, activation="relu")(image))
    outputs = {"risk": keras3.layers.Dense(1, activation="sigmoid", name="dense_a")(pooled), "kind": keras3.layers.Dense(3, name="dense_b")(pooled)}
    model = keras3.Model(image, outputs, name="outputs_dict")
    model.compile("sgd", {"risk": "binary_crossentropy", "kind": keras3.losses.SparseCategoricalCrossentropy(from_logits=True)})
    record(model, [("kind", (3,), False)], [".keras"], 221, output="kind")
    facts(model, [".keras"], output="kind", loss=["categorical", True])
    facts(model, [".keras"], output="risk", loss=["binary", False])


def facts(model, formats, output=None, loss=None, scaling=None):
    """What the importer is to find out about a saved model."""
    for suffix in formats:
        case = {"file": model.name + suffix, "output": output, "loss": loss, "scaling": scaling}
        FACTS.append({key: value for key, value in case.items() if value is not None})


def trained():
    """With which loss a model was compiled, and whether it scales its photo."""
    for keras, prefix in ((keras3, ""), (keras2, "keras2_")):
        L, losses = keras.layers, keras.losses
        for seed, (name, units, activation, loss, says) in enumerate(
            [
                ("logit", 1, None, losses.BinaryCrossentropy(from_logits=True), ["binary", True]),
                ("sigmoid", 1, "sigmoid", "binary_crossentropy", ["binary", False]),
                ("logits", 3, None, losses.SparseCategoricalCrossentropy(from_logits=True), ["categorical", True]),
                ("softmax", 3, "softmax", "categorical_crossentropy", ["categorical", False]),
                ("tanh", 1, "tanh", "mse", ["other", False]),
                ("relu", 3, "relu", losses.CategoricalHinge(), ["other", False]),
            ]
        ):
            x = image = L.Input((8, 8, 3), name="image")
            x = L.Conv2D(4, 3, 2)(L.Rescaling(1 / 255)(x) if units == 1 else x)
            x = L.Dense(units, activation=activation)(L.GlobalAveragePooling2D()(x))
            model = keras.Model(image, x, name=f"{prefix}trained_{name}")
            model.compile("sgd", loss)
            record(model, [(name, (units,), False)], [".keras", ".h5"], 230 + seed)
            facts(model, [".keras", ".h5"], loss=says, scaling="bytes" if units == 1 else None)
        # Nested, and by other arithmetic than a Rescaling.
        inner = keras.Sequential([L.Input((8, 8, 3)), L.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.1, 0.2, 0.1])], name="inner")
        x = image = L.Input((8, 8, 3), name="image")
        x = L.GlobalAveragePooling2D()(inner(L.RandomFlip()(x)))
        model = keras.Model(image, x, name=f"{prefix}scaled_unit")
        record(model, [("answer", (3,), False)], [".keras"], 240)
        facts(model, [".keras"], scaling="unit")
        x = image = L.Input((8, 8, 3), name="image")
        x = L.GlobalAveragePooling2D()(L.Conv2D(3, 1)(x / 127.5 - 1.0))
        model = keras.Model(image, x, name=f"{prefix}scaled_bytes")
        record(model, [("answer", (3,), False)], [".keras"], 241)
        facts(model, [".keras"], scaling="bytes")


def elsewhere():
    """A layer of another package that does nothing in prediction, and weights saved on Windows."""
    for keras, prefix in ((keras3, ""), (keras2, "keras2_")):
        L = keras.layers
        fixed = fixed_dropout(keras)
        x = image = L.Input((8, 8, 3), name="image")
        x = fixed(0.2, noise_shape=(None, 1, 1, 1), name="drop")(L.Conv2D(4, 3, 2, activation="relu")(x))
        x = L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x))
        model = keras.Model(image, x, name=f"{prefix}fixed_dropout")
        record(model, [("answer", (3,), False)], [".keras", ".h5"], 250, objects={"FixedDropout": fixed})
        model = transfer(keras, f"{prefix}transfer", "none", False)
        record(model, [("answer", (3,), False)], ["_windows.keras"], 251, (0, 255))


@keras3.saving.register_keras_serializable("zoo")
def custom_activation(x):
    return keras3.ops.relu(x) * 2.0


def lambda_of_nowhere():
    """A lambda whose byte code does not hold the path of this script."""
    return eval(compile("lambda x: x * 2.0", "zoo", "eval"))


def not_numbers(name, value):
    """A model whose training has diverged."""
    L = keras3.layers
    model = keras3.Sequential([L.Input((8, 8, 3), name="image"), L.Conv2D(4, 3, name="stem"), L.Flatten(), L.Dense(2, name="head")], name=name)
    weights = model.get_weights()
    weights[2][5, 1] = value
    model.set_weights(weights)
    save(model, OUT / "refused" / f"{name}.keras")
    says = "layer `head` (Dense): weight `kernel` (`layers/dense/vars/0`) is " + ("NaN" if np.isnan(value) else "inf") + " at element 11"
    REFUSED.append({"file": f"refused/{name}.keras", "kind": "not_finite", "says": says})


def refused():
    """Models that Keras runs and the importer must refuse by name."""
    L, ops = keras3.layers, keras3.ops

    def case(name, kind, says, build, shape=(8, 8, 3), keras=keras3, suffix=".keras"):
        x = keras.layers.Input(shape, name="image")
        model = keras.Model(x, build(x), name=name)
        (OUT / "refused").mkdir(exist_ok=True)
        save(model, OUT / "refused" / (name + suffix))
        REFUSED.append({"file": f"refused/{name}{suffix}", "kind": kind, "says": says})

    def layer(name, says, made, kind="unsupported_value", **k):
        case(name, kind, says, lambda x: made(x), **k)

    layer("batch_axis", "`axis`", L.BatchNormalization(axis=1))
    layer("normalization_axes", "`axis`", L.Normalization(axis=(1, 2), mean=np.zeros((8, 8)).tolist(), variance=np.ones((8, 8)).tolist()))
    layer("resize_bicubic", "`interpolation` is `bicubic`", L.Resizing(4, 4, interpolation="bicubic"))
    layer("resize_antialias", "`antialias`", L.Resizing(4, 4, antialias=True))
    layer("resize_crop", "`crop_to_aspect_ratio`", L.Resizing(4, 6, crop_to_aspect_ratio=True))
    layer("up_bicubic", "`interpolation`", L.UpSampling2D(2, interpolation="bicubic"))
    layer("center_crop_up", "`height`", L.CenterCrop(10, 4))
    layer("activation_hard_tanh", "`hard_tanh`", L.Activation("hard_tanh"))
    layer("activation_log_softmax", "`log_softmax`", L.Activation("log_softmax"))
    layer("random_crop", "`height` is `4`", L.RandomCrop(4, 4))
    layer("auto_contrast", "(AutoContrast)", L.AutoContrast(value_range=(0, 1)), "unsupported_layer")
    layer("transposed", "(Conv2DTranspose)", L.Conv2DTranspose(2, 3), "unsupported_layer")
    layer("sorted", "Sort", lambda x: ops.sort(x, axis=-1), "unsupported_layer")
    layer("clip_negative", "`x_min`", lambda x: ops.clip(x, -1.0, 1.0))
    layer("mean_batch", "`axis`", lambda x: ops.mean(x, axis=(0, 1)))
    layer("stack_batch", "`axis`", lambda x: ops.stack([x, x], axis=0))
    layer("maximum_constant", "`constant operand`", lambda x: ops.maximum(x, 1.0))
    layer("lambda", "(Lambda)", L.Lambda(lambda x: x * 2.0), "unsupported_layer")
    layer("conv1d", "(Conv1D)", L.Conv1D(2, 3), "unsupported_layer", shape=(8, 3))
    layer("two_outputs", "the model has 2 outputs", lambda x: [L.ReLU()(x), L.Flatten()(x)], "outputs")
    layer("constant_rows", "`constant operand`", lambda x: x * np.arange(8, dtype="float32").reshape(8, 1, 1))
    layer("custom_activation", "`activation`", L.Dense(2, activation=custom_activation))
    layer("lambda_activation", "`activation` is `a Python lambda`", L.Dense(2, activation=lambda_of_nowhere(), name="answer"))
    layer("three_outputs", "features", lambda x: {"features": L.ReLU()(x), "a": L.Flatten()(x), "b": L.Flatten()(x)}, "outputs")
    not_numbers("weight_nan", np.nan)
    not_numbers("weight_infinite", np.inf)
    x = image = L.Input((8, 8, 3), name="image")
    model = keras3.Model(image, L.Dense(4)(L.Flatten()(L.Conv2D(4, 3, activation="relu")(x))), name="keras_int8")
    model.quantize("int8")
    save(model, OUT / "refused/keras_int8.keras")
    REFUSED.append({"file": "refused/keras_int8.keras", "kind": "quantized", "says": "(Dense) has int8 weights"})
    layer("reduce_sum_keras2", "math.reduce_sum", lambda x: tf.reduce_sum(x, axis=[1, 2]), "unsupported_layer", keras=keras2, suffix=".h5")
    layer("monte_carlo_keras2", "training", lambda x: keras2.layers.Dropout(0.5)(x, training=True), keras=keras2, suffix=".h5")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for seed, (z, build) in enumerate(
        [
            (Zoo("conv_odd", (7, 9, 4)), convolutions),
            (Zoo("conv_even", (8, 6, 4)), convolutions),
            (Zoo("pool_odd", (7, 9, 3)), pooling),
            (Zoo("pool_even", (8, 6, 3)), pooling),
            (Zoo("normalization", (5, 4, 3)), normalization),
            (Zoo("shapes", (7, 5, 3)), shapes),
            (Zoo("activations", (4, 4, 3), span=(-9, 9)), activations),
            (Zoo("merges", (4, 5, 3), (4, 5, 3)), merges),
            (Zoo("blocks", (11, 12, 3), formats=(".keras", ".h5")), blocks),
            (Zoo("operators", (5, 6, 3), span=(-4, 4)), operators),
            (Zoo("identities", (6, 6, 3)), identities),
            (Zoo("keras2_conv", (7, 8, 4), keras=keras2, formats=(".keras", ".h5")), convolutions),
            (Zoo("keras2_normalization", (5, 4, 3), keras=keras2, formats=(".keras", ".h5")), normalization),
            (Zoo("keras2_shapes", (7, 5, 3), keras=keras2, formats=(".keras", ".h5")), shapes),
            (Zoo("keras2_activations", (4, 4, 3), keras=keras2, formats=(".keras", ".h5"), span=(-9, 9)), activations),
            (Zoo("keras2_functions", (5, 6, 3), keras=keras2, formats=(".h5",), span=(-4, 4)), functions),
            (Zoo("keras2_identities", (6, 6, 3), keras=keras2, formats=(".keras", ".h5")), identities),
        ]
    ):
        print(z.name, flush=True)
        build(z)
        z.finish(100 * (seed + 1))
    for keras, prefix in ((keras3, ""), (keras2, "keras2_")):
        for name, formats in ((prefix, [".keras"]), (prefix + "named_", [".keras", ".h5"])):
            model, branches = nesting(keras, name, formats)
            record(model, branches, formats, 30)
        model, branches = many(keras, prefix)
        record(model, branches, [".keras", ".h5"], 35)
        heads(keras, prefix)
        unusual(keras, prefix)
    transfers()
    preprocessed()
    several_outputs()
    trained()
    elsewhere()
    refused()
    versions = {
        "python": sys.version.split()[0],
        "keras": keras3.__version__,
        "tf_keras": keras2.__version__,
        "tensorflow": tf.__version__,
        "h5py": h5py.__version__,
        "numpy": np.__version__,
    }
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES)
    refusals = ",\n".join(json.dumps(case) for case in REFUSED)
    known = ",\n".join(json.dumps(case) for case in FACTS)
    (OUT / "golden.json").write_text(
        f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n],\n"refused": [\n{refusals}\n],\n"facts": [\n{known}\n]}}\n'
    )
    with zipfile.ZipFile(OUT / "h5.zip", "w") as archive:
        for name, data in HDF5.items():
            archive.writestr(entry(name), data, zipfile.ZIP_DEFLATED, 9)
    total = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"{len(CASES)} models, {sum(len(c['branches']) for c in CASES)} branches, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
