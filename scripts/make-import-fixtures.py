"""Writes the small models in fixtures/import that tests/library/import_structure.rs reads.

Needs Keras 3 with any backend and h5py:  python scripts/make-import-fixtures.py
Versions used are written beside the files.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import h5py
import keras
import numpy as np
from keras import layers

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "import"
OUT.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(7)


def nested():
    """Two inputs, a model in a model, a layer called twice, an operation, a frozen layer."""
    sequential = keras.Sequential(
        [
            layers.Input((4, 4, 4)),
            layers.SeparableConv2D(4, 3, padding="same", name="separable", use_bias=False),
            layers.BatchNormalization(name="bn", trainable=False),
            layers.Dropout(0.2, name="dropout"),
        ],
        name="block",
    )
    x = inner_input = layers.Input((9, 9, 3), name="inner_input")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(x)
    x = layers.Conv2D(4, 3, 2, "same", activation="relu", name="stem")(x)
    x = layers.MaxPooling2D(2, 1, name="pool")(x)
    x = sequential(x)
    backbone = keras.Model(inner_input, x, name="backbone")
    photo = layers.Input((9, 9, 3), name="photo")
    patient = layers.Input((3,), name="patient")
    shared = layers.Dense(3, activation="tanh", name="shared")
    vector = shared(shared(patient))
    x = backbone(photo) * 0.5
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Concatenate(name="join")([x, vector])
    x = layers.Dense(2, activation="softmax", name="head")(x)
    model = keras.Model([photo, patient], x, name="nested")
    # Values that tell every weight apart.
    values, start = [], 0
    for weight in model.get_weights():
        values.append((np.arange(start, start + weight.size) % 97 / 97 + 0.01).reshape(weight.shape))
        start += weight.size
    model.set_weights(values)
    return model


model = nested()
model.save(OUT / "nested.keras")
model.save(OUT / "nested.h5")
model.save_weights(OUT / "nested.weights.h5")
(OUT / "nested.json").write_text(json.dumps(json.loads(model.to_json()), sort_keys=True))
versions = {
    "python": sys.version.split()[0],
    "keras": keras.__version__,
    "h5py": h5py.__version__,
    "numpy": np.__version__,
}
(OUT / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
