"""Writes fixtures/keras/2_13, which tests/library/keras_golden.rs reads: files of TensorFlow 2.13.

Keras up to 2.13 counts a layer with weights twice when it names the groups of a `.keras` or
`.weights.h5` (keras-team/keras issue 18830), and no later version can write such files.

Needs Python 3.8 to 3.11 with tensorflow-cpu 2.13:  python scripts/golden_keras_2_13.py
Versions used are written into golden.json.
"""

import json
import os
import pathlib
import sys
import tempfile
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import keras
import numpy as np
import tensorflow as tf

L = keras.layers
OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "keras" / "2_13"
CASES, HDF5 = [], {}


def entry(name):
    return zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))


def simple():
    """Several layers of a class, with and without weights between them."""
    return keras.Sequential(
        [
            L.Input((8, 8, 3), name="image"),
            L.Conv2D(4, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
            L.Conv2D(6, 3, 2, activation="relu"),
            L.BatchNormalization(),
            L.Conv2D(4, 1, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(5, activation="relu"),
            L.Dropout(0.3),
            L.Dense(3, activation="softmax"),
        ],
        name="simple",
    )


def block(filters, name):
    x = image = L.Input((8, 8, filters))
    x = L.SeparableConv2D(filters, 3, padding="same")(x)
    return keras.Model(image, L.Add()([x, L.Conv2D(filters, 1)(x)]), name=name)


def nested():
    """Models in models, of which some have no weights, or none but those of random generators."""
    augment = keras.Sequential([L.RandomFlip("horizontal"), L.RandomRotation(0.1)], name="augment")
    scale = keras.Sequential([L.Rescaling(1 / 127.5, -1.0)], name="scale")
    trunk = keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization(), block(4, "inner")], name="trunk")
    image = L.Input((10, 10, 3), name="image")
    x = trunk(scale(augment(image)))
    x = block(4, "second")(block(4, "first")(x))
    x = L.GlobalAveragePooling2D()(x)
    head = keras.Sequential([L.Dense(6, activation="relu"), L.Dense(4, activation="sigmoid")], name="head")
    return keras.Model(image, head(x), name="nested")


def shared():
    """A layer called twice, and two inputs of one class."""
    one, two = L.Input((8, 8, 3), name="one"), L.Input((8, 8, 3), name="two")
    first, second = L.Conv2D(4, 3, activation="relu"), L.Conv2D(4, 3, activation="relu")
    x = L.Concatenate()([second(first(one)), second(first(two))])
    x = L.PReLU(shared_axes=[1, 2])(x)
    return keras.Model([one, two], L.Dense(2)(L.GlobalAveragePooling2D()(x)), name="shared")


def numbers(array):
    return [float(str(v)) for v in np.asarray(array, "float32").reshape(-1)]


def record(model, seed):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.dtype.is_floating:
            continue
        shape = tuple(weight.shape)
        low = 0.2 if "variance" in weight.name else -0.5
        weight.assign(rng.uniform(low, 0.8, shape).astype("float32"))
    inputs = {t.name.split(":")[0]: rng.integers(0, 129, (1, *t.shape[1:])).astype("float32") / 64 for t in model.inputs}
    values = list(inputs.values())
    output = np.asarray(model(values if len(values) > 1 else values[0], training=False))
    files = [model.name + suffix for suffix in (".keras", ".weights.h5")]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model.save(folder / files[0], save_format="keras")
        model.save_weights(folder / files[1])
        HDF5[files[1]] = (folder / files[1]).read_bytes()
        HDF5[f"{model.name}.json"] = model.to_json().encode()
        with zipfile.ZipFile(folder / files[0]) as old, zipfile.ZipFile(OUT / files[0], "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if name == "metadata.json":
                    data = json.dumps({**json.loads(data), "date_saved": "2026-01-01@00:00:00"}).encode()
                new.writestr(entry(name), data, zipfile.ZIP_DEFLATED, 9)
        again = keras.models.load_model(OUT / files[0], compile=False)
        same = again(values if len(values) > 1 else values[0], training=False)
        assert np.array_equal(np.asarray(same), output), model.name
    with zipfile.ZipFile(OUT / files[0]) as archive:
        assert b"_layer_checkpoint_dependencies" in archive.read("model.weights.h5"), "not the names of 2.13"
    flat = {k: {"shape": list(v.shape[1:]), "values": numbers(v)} for k, v in inputs.items()}
    branch = {"name": "answer", "shape": list(output.shape[1:]), "exact": False, "output": numbers(output)}
    CASES.append({"files": [f"2_13/{f}" for f in files], "inputs": flat, "branches": [branch]})


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for seed, build in enumerate((simple, nested, shared)):
        keras.backend.clear_session()
        record(build(), 10 + seed)
    with zipfile.ZipFile(OUT / "h5.zip", "w") as archive:
        for name, data in HDF5.items():
            archive.writestr(entry(name), data, zipfile.ZIP_DEFLATED, 9)
    versions = {"python": sys.version.split()[0], "tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES)
    (OUT / "golden.json").write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n')
    total = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"{len(CASES)} models, {total / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
