"""Writes what transformers and ConvNeXt are made of: fixtures/keras/tokens, which
tests/library/keras_golden.rs reads beside the layer zoo of scripts/golden_keras.py.

As there, each model is a row of branches on one input, flattened and concatenated; `golden.json` says
which stretch of the output is which branch. Weights and inputs are seeded.

Needs Keras 3 with any backend and h5py (scripts/setup-python.sh has jax):
    KERAS_BACKEND=jax .cache/venv/bin/python scripts/golden_keras_tokens.py
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
import h5py
import keras
import numpy as np
from keras import layers as L
from keras import ops
from keras.src.applications.convnext import LayerScale, StochasticDepth

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "keras" / "tokens"
# Keras finds them for a `.keras`, and not for an `.h5`.
OBJECTS = {"LayerScale": LayerScale, "StochasticDepth": StochasticDepth}
CASES, HDF5 = [], {}


def entry(name):
    return zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))


def renumber(config):
    """Addresses in memory, by which Keras tells shared objects apart, as 1, 2, ..."""
    ids = {}
    number = lambda match: f'"shared_object_id": {ids.setdefault(match[1], len(ids) + 1)}'
    return re.sub(r'"shared_object_id": (\d+)', number, config.decode()).encode()


def repack(source, target):
    """The same `.keras`, deflated and without its date, so that a new run changes little."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "2026-01-01@00:00:00"}).encode()
            if name == "config.json":
                data = renumber(data)
            new.writestr(entry(name), data, zipfile.ZIP_DEFLATED, 9)


def numbers(array):
    return [float(str(v)) for v in np.asarray(array, "float32").reshape(-1)]


class Zoo:
    """A model under construction."""

    def __init__(self, name, shape, formats=(".keras",), turned=False):
        # `turned`: the input is written channels last, and Keras gets it channels first.
        self.name, self.formats, self.turned = name, formats, turned
        self.x = self.input = L.Input(shape, name=f"{name}_in")
        self.branches, self.flat = [], []

    def add(self, name, tensor, exact=False):
        shape = tuple(tensor.shape[1:])
        self.branches.append((name, shape, exact))
        self.flat.append(tensor if len(shape) == 1 else L.Flatten(name=f"{name}_flat")(tensor))
        return tensor

    def finish(self, seed):
        model = keras.Model(self.input, L.Concatenate(name="joined")(self.flat), name=self.name)
        rng = np.random.default_rng(seed)
        for weight in model.weights:
            shape = tuple(weight.shape)
            if "seed_generator" in weight.path:
                continue
            kernel = weight.path.endswith("kernel")
            scale = 1 / np.sqrt(np.prod(shape[:-1])) if kernel else 0.5
            value = rng.normal(0.0, scale, shape)
            if weight.path.endswith("variance"):
                value = 0.2 + abs(value)
            weight.assign(value.astype("float32"))
        # Multiples of 1/64, exact in JSON.
        x = rng.integers(-128, 129, (1, *self.input.shape[1:])).astype("float32") / 64
        expected = np.asarray(model(x, training=False)).reshape(-1)
        assert np.isfinite(expected).all(), self.name
        files = [self.name + suffix for suffix in self.formats]
        for file in files:
            with tempfile.TemporaryDirectory() as folder:
                plain = pathlib.Path(folder) / file
                model.save(plain)
                again = keras.models.load_model(plain, compile=False, custom_objects=OBJECTS)
                assert np.array_equal(np.asarray(again(x, training=False)).reshape(-1), expected), file
                if file.endswith(".keras"):
                    repack(plain, OUT / file)
                else:
                    HDF5[file] = plain.read_bytes()
        listed, start = [], 0
        for name, shape, exact in self.branches:
            stretch = expected[start : start + int(np.prod(shape))]
            start += len(stretch)
            assert stretch.any(), name
            listed.append({"name": name, "shape": list(shape), "exact": exact, "output": numbers(stretch)})
        assert start == len(expected), self.name
        given = x.transpose(0, 2, 3, 1) if self.turned else x
        inputs = {self.input.name: {"shape": list(given.shape[1:]), "values": numbers(given)}}
        CASES.append({"files": [f"{OUT.name}/{file}" for file in files], "inputs": inputs, "branches": listed})


def normalization():
    # Keras cannot read its own `.h5` of a norm over several axes; one over the last is in the block.
    z = Zoo("layer_normalization", (4, 5, 6))
    for name, options in [
        ("plain", {}),
        ("epsilon", {"epsilon": 0.5}),
        ("no_scale", {"scale": False}),
        ("no_center", {"center": False}),
        ("neither", {"scale": False, "center": False}),
        ("two_axes", {"axis": [-2, -1]}),
        ("all_axes", {"axis": [1, 2, 3]}),
    ]:
        z.add(name, L.LayerNormalization(name=f"norm_{name}", **options)(z.x))
    z.finish(400)


def attention():
    z = Zoo("attention", (4, 5, 6), (".keras", ".h5"))
    tokens = L.Reshape((20, 6), name="tokens")(z.x)
    few = L.Reshape((10, 12), name="few")(z.x)
    z.add("own", L.MultiHeadAttention(2, 3, name="own")(tokens, tokens))
    z.add("no_bias", L.MultiHeadAttention(1, 4, value_dim=5, use_bias=False, output_shape=7, dropout=0.1, name="no_bias")(tokens, tokens))
    z.add("dropout", L.MultiHeadAttention(3, 2, dropout=0.3, name="dropout")(tokens, tokens))
    z.add("other", L.MultiHeadAttention(2, 4, name="other")(tokens, few))
    z.add("named", L.MultiHeadAttention(2, 4, name="named")(query=few, value=tokens, key=L.ReLU(name="up")(tokens)))
    z.add("map", L.MultiHeadAttention(2, 3, name="map")(z.x, z.x))
    z.finish(401)


def convnext():
    z = Zoo("convnext_block", (7, 9, 4), (".keras", ".h5"))
    x = L.Conv2D(4, 7, padding="same", groups=4, name="depthwise")(z.x)
    x = L.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = L.Dense(16, name="wide")(x)
    x = L.Activation("gelu", name="gelu")(x)
    x = L.Dense(4, name="narrow")(x)
    x = LayerScale(1e-6, 4, name="scale")(x)
    x = StochasticDepth(0.2, name="drop")(x)
    # An `.h5` cannot hold `+`.
    z.add("block", L.Add(name="add")([z.x, x]))
    z.add("bare_scale", LayerScale(1.0, 4, name="bare")(z.x))
    z.finish(402)


def functions():
    z = Zoo("token_functions", (4, 5, 6))
    x = z.x
    positive = z.add("absolute", ops.absolute(x), True) + 0.25
    z.add("sqrt", ops.sqrt(positive))
    z.add("log", ops.log(positive))
    z.add("reciprocal", ops.reciprocal(positive))
    z.add("erf", ops.erf(x))
    z.add("sin", ops.sin(x))
    z.add("cos", ops.cos(x))
    z.add("square", ops.power(x, 2.0))
    z.add("cube", ops.power(x, 3.0))
    z.add("root", ops.power(positive, -0.5))
    z.add("matmul", ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))))
    z.add("matmul_tokens", ops.matmul(L.Reshape((20, 6))(x), L.Reshape((6, 20))(x)))
    z.add("transpose", ops.transpose(x, (0, 3, 1, 2)), True)
    z.add("sum_columns", ops.sum(x, axis=(1, 2)))
    z.add("sum_channels", ops.sum(x, axis=-1, keepdims=True))
    z.add("softmax_rows", ops.softmax(x, axis=1))
    z.add("softmax_layer", L.Softmax(axis=2, name="softmax_layer")(x))
    z.add("softmax_last", L.Softmax(axis=[-1], name="softmax_last")(x))
    z.add("every_second_row", x[:, ::2], True)
    z.add("columns_backwards", x[:, :, ::-1, 1:], True)
    z.finish(403)


def other_norms():
    z = Zoo("other_norms", (4, 5, 6), (".keras", ".h5"))
    tokens = L.Reshape((20, 6), name="tokens")(z.x)
    vector = L.Flatten(name="vector")(z.x)
    for name, options in [
        ("two", {"groups": 2}),
        ("three", {"groups": 3, "epsilon": 0.5, "scale": False}),
        ("one", {"groups": 1, "center": False}),
        ("each", {"groups": -1}),
    ]:
        z.add(f"group_{name}", L.GroupNormalization(name=f"group_{name}", **options)(z.x))
    z.add("group_tokens", L.GroupNormalization(2, name="group_tokens")(tokens))
    z.add("group_vector", L.GroupNormalization(8, name="group_vector")(vector))
    z.add("rms", L.RMSNormalization(name="rms")(z.x))
    z.add("rms_epsilon", L.RMSNormalization(epsilon=0.25, name="rms_epsilon")(tokens))
    z.add("unit", L.UnitNormalization(name="unit")(z.x))
    z.add("unit_vector", L.UnitNormalization(name="unit_vector")(vector))
    z.add("mean_tokens", L.GlobalAveragePooling1D(name="mean_tokens")(L.SpatialDropout1D(0.2, name="drop")(tokens)))
    z.add("mean_kept", L.GlobalAveragePooling1D(keepdims=True, name="mean_kept")(tokens))
    z.add("most_tokens", L.GlobalMaxPooling1D(name="most_tokens")(tokens), True)
    z.finish(404)


def main(models):
    OUT.mkdir(parents=True, exist_ok=True)
    for build in models:
        build()
    versions = {
        "python": sys.version.split()[0],
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "h5py": h5py.__version__,
        "numpy": np.__version__,
    }
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES)
    (OUT / "golden.json").write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n')
    with zipfile.ZipFile(OUT / "h5.zip", "w") as archive:
        for name, data in HDF5.items():
            archive.writestr(entry(name), data, zipfile.ZIP_DEFLATED, 9)
    total = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"{len(CASES)} models, {sum(len(c['branches']) for c in CASES)} branches, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main((normalization, attention, convnext, functions, other_norms))
