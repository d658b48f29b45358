"""Imports every model of keras.applications, with seeded weights, and compares it with Keras.

usage: KERAS_BACKEND=jax .cache/venv/bin/python scripts/keras_zoo.py [--dermal PATH] [--photos N] [NAME...]

Prints a table in Markdown: for each model the largest difference of a logit from that of Keras, as a share
of the logits' range, over N random photos, and whether the best class is the same. Logits are read back
from the probabilities that `dermal predict --json` prints. Models run at a reduced input size; the
classifier has 7 outputs. `dermal` is target/release/dermal unless --dermal says another.

exit 0 all models agree within 1e-4 of the range, 1 one does not, 2 usage or a missing program
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "jax")

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLASSES = 7
LIMIT = 1e-4
# Input sizes below which a network has no pixels left, or its layers do not fit together.
SIZES = {"InceptionResNetV2": 139, "InceptionV3": 139, "Xception": 128, "NASNetLarge": 96, "NASNetMobile": 96}


def names():
    import keras

    return [n for n in dir(keras.applications) if n[0].isupper()]


def build(name):
    import keras

    size = SIZES.get(name, 96)
    make = getattr(keras.applications, name)
    model = make(weights=None, classes=CLASSES, input_shape=(size, size, 3))
    return model, size


def draw_weights(model, name):
    """Kernels that keep the signal's scale through ReLU."""
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for variable in model.variables:
        kind, shape = variable.path.split("/")[-1], tuple(variable.shape)
        if "seed" in kind or kind == "count":
            continue
        if kind.endswith("kernel"):
            rows = shape[:2] if "depthwise" in variable.path or "dwconv" in variable.path else shape[:-1]
            value = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(rows))
        elif kind in ("moving_variance", "variance"):
            value = rng.uniform(0.8, 1.25, shape)
        elif kind == "gamma":
            value = rng.uniform(0.7, 1.3, shape)
        elif len(shape) == 1 and kind not in ("bias", "beta", "moving_mean", "mean"):
            # ConvNeXt's LayerScale, whose variable has no name.
            value = rng.uniform(0.1, 0.3, shape)
        else:
            value = rng.normal(0.0, 0.1, shape)
        variable.assign(value.astype("float32"))


def settle(model, images):
    """Batch normalizations get the statistics of these photos: deep random nets then tell them apart."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


def photos(folder, size, count):
    """Random photos as files without loss, and as the numbers that a model gets."""
    import numpy as np

    rng = np.random.default_rng(5)
    made = []
    for i in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3)).repeat(-(-size // 8), 0).repeat(-(-size // 8), 1)
        fine = rng.integers(-40, 41, (size, size, 3))
        pixels = np.clip(coarse[:size, :size] + fine, 0, 255).astype("uint8")
        path = folder / f"photo{i}.png"
        path.write_bytes(png(pixels))
        made.append(pixels.astype("float32"))
    return np.stack(made)


def png(pixels):
    h, w, _ = pixels.shape
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = w.to_bytes(4, "big") + h.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def centred(logits):
    return logits - logits.mean(axis=-1, keepdims=True)


def compare(name, dermal, count):
    """A row of the table, and whether it is good."""
    import keras
    import numpy as np

    keras.utils.clear_session()
    model, size = build(name)
    draw_weights(model, name)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        images = photos(folder, size, count)
        settle(model, images)
        # Logits of a range in which probabilities tell them apart.
        head = next(layer for layer in reversed(model.layers) if layer.weights)
        sub = keras.Model(model.input, head.output)
        before = sub.predict(images, verbose=0).reshape(count, -1)
        kernel = head.weights[0]
        spread = float(np.abs(before).max()) or 1.0
        for weight in head.weights:
            weight.assign(np.asarray(weight) * (4.0 / spread))
        expected = np.log(model.predict(images, verbose=0).reshape(count, -1).astype("float64"))
        source, artifact = folder / "model.keras", folder / "model.safetensors"
        model.save(source)
        labels = ",".join(f"c{i}" for i in range(CLASSES))
        started = time.time()
        made = subprocess.run(
            [dermal, "import", source, "-o", artifact, "--labels", labels, "--preprocess", "raw"],
            capture_output=True,
            text=True,
        )
        seconds = time.time() - started
        if made.returncode:
            return f"| {name} | {size} | refused: {made.stderr.strip()[-300:]} | | | |", False
        paths = [folder / f"photo{i}.png" for i in range(count)]
        ran = subprocess.run(
            [dermal, "predict", artifact, *paths, "--json"], capture_output=True, text=True
        )
        if ran.returncode:
            return f"| {name} | {size} | failed: {ran.stderr.strip()[-300:]} | | | |", False
        got = []
        for answer in answers(ran.stdout):
            by_label = {p["class"]: p["probability"] for p in answer}
            got.append([by_label[f"c{i}"] for i in range(CLASSES)])
        got = np.log(np.array(got))
    expected, got = centred(expected), centred(got)
    span = expected.max() - expected.min()
    share = float(np.abs(got - expected).max() / span)
    same = int((got.argmax(-1) == expected.argmax(-1)).sum())
    differ = float(np.abs(expected - expected.mean(0)).max() / span)
    row = f"| {name} | {size} | {share:.1e} | {same}/{count} | {differ:.2f} | {seconds:.1f} |"
    return row, share <= LIMIT


def answers(text):
    """The predictions of each photo, in order, whatever stands around them."""

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("predictions"), list):
                yield value["predictions"]
            else:
                for item in value.values():
                    yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    documents = []
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        documents.append(value)
        while at < len(text) and text[at].isspace():
            at += 1
    return list(walk(documents))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dermal", default=ROOT / "target/release/dermal")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if not pathlib.Path(options.dermal).exists():
        print(f"keras_zoo: there is no {options.dermal}; build it, or name one with --dermal", file=sys.stderr)
        return 2
    import keras

    print(f"Keras {keras.__version__} on {keras.backend.backend()}\n")
    print("| Model | Input | Largest difference / range | Best class | Photos differ by | Import, s |")
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    good = True
    for name in options.names or names():
        row, fits = compare(name, str(options.dermal), options.photos)
        good &= fits
        print(row, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
