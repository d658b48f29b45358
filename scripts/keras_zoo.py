"""Imports every model of keras.applications, with seeded weights, and compares it with Keras.

usage: VENV/bin/python scripts/keras_zoo.py [--dermal PATH] [--photos N] [--table] [NAME...]

For each model: the largest difference of a logit from that of Keras, as a share of the logits' range, over
N random photos, and whether the best class is the same. Logits are read back from the probabilities that
`dermal predict --json` prints. Models run at a reduced input size; the classifier has 7 outputs. `dermal` is
target/release/dermal unless --dermal says another. Results are kept in .cache/keras-zoo.json, so that models
can be measured in several runs; --table makes docs/keras-zoo.md of them. Models lie in a temporary folder
($TMPDIR), one at a time; the largest takes 1.4 GB.

Needs keras with any backend: KERAS_BACKEND names it, and scripts/setup-python.sh makes a VENV with jax.

exit 0 all models agree within 1e-4 of the range, 1 one does not, 2 usage or a missing program
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "jax")

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "keras-zoo.json"
TABLE = ROOT / "docs" / "keras-zoo.md"
CLASSES = 7
PHOTOS = 32
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
        elif kind == "moving_variance":
            value = rng.uniform(0.8, 1.25, shape)
        elif kind == "mean":
            value = rng.uniform(0.3, 0.6, shape)
        elif kind == "variance":
            # Of photos from 0 to 1.
            value = rng.uniform(0.04, 0.09, shape)
        elif kind == "gamma":
            value = rng.uniform(0.7, 1.3, shape)
        elif len(shape) == 1 and kind not in ("bias", "beta", "moving_mean"):
            # ConvNeXt's LayerScale, whose variable has no name.
            value = rng.uniform(0.1, 0.3, shape)
        else:
            value = rng.normal(0.0, 0.1, shape)
        variable.assign(value.astype("float32"))
    for layer in model._flatten_layers():
        # Normalization computes with copies of its weights.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


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
    """What was measured: the keys of a row, or `error`."""
    import keras
    import numpy as np

    keras.utils.clear_session()
    model, size = build(name)
    draw_weights(model, name)
    row = {"size": size, "photos": count, "date": datetime.date.today().isoformat(), "versions": versions()}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        images = photos(folder, size, count)
        settle(model, images)
        # Logits of a range in which probabilities tell them apart.
        head = next(layer for layer in reversed(model.layers) if layer.weights)
        softmax, head.activation = head.activation, keras.activations.linear
        sub = keras.Model(model.input, head.output)
        logits = np.array(sub.predict_on_batch(images)).reshape(count, -1)
        spread = float(np.abs(logits).max()) or 1.0
        for weight in head.weights:
            weight.assign(np.asarray(weight) * (4.0 / spread))
        expected = logits.astype("float64") * (4.0 / spread)
        head.activation = softmax
        source, artifact = folder / "model.keras", folder / "model.safetensors"
        model.save(source)
        row["bytes"] = source.stat().st_size
        labels = ",".join(f"c{i}" for i in range(CLASSES))
        started = time.time()
        made = subprocess.run(
            [dermal, "import", source, "-o", artifact, "--labels", labels, "--preprocess", "raw"],
            capture_output=True,
            text=True,
        )
        row["seconds"] = time.time() - started
        if made.returncode:
            return row | {"error": f"refused: {made.stderr.strip()[-300:]}"}
        source.unlink()
        paths = [folder / f"photo{i}.png" for i in range(count)]
        ran = subprocess.run([dermal, "predict", artifact, *paths, "--json"], capture_output=True, text=True)
        if ran.returncode:
            return row | {"error": f"failed: {ran.stderr.strip()[-300:]}"}
        got = []
        for answer in answers(ran.stdout):
            by_label = {p["class"]: p["probability"] for p in answer}
            got.append([by_label[f"c{i}"] for i in range(CLASSES)])
        got = np.log(np.array(got))
    expected, got = centred(expected), centred(got)
    span = expected.max() - expected.min()
    return row | {
        "share": float(np.abs(got - expected).max() / span),
        "same": int((got.argmax(-1) == expected.argmax(-1)).sum()),
        "differ": float(np.abs(expected - expected.mean(0)).max() / span),
        "best": len(set(expected.argmax(-1).tolist())),
    }


def versions():
    import keras

    backend = keras.backend.backend()
    for package in [backend, f"{backend}-cpu"]:
        try:
            return f"Keras {keras.__version__} on {backend} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            pass
    return f"Keras {keras.__version__} on {backend}"


def line(name, row):
    if "error" in row:
        return f"| {name} | {row['size']} | | {row['error']} | | | |"
    return (
        f"| {name} | {row['size']} | {row['bytes'] / 1e6:.0f} | {row['share']:.1e} | "
        f"{row['same']} of {row['photos']} | {row['differ']:.2f} | {row['seconds']:.1f} |"
    )


HEAD = """| Model | Input | MB | Largest difference / range | Same top-1 | Photos differ by | Import, s |
|---|--:|--:|--:|--:|--:|--:|"""


def table(results):
    order = [name for name in names() if name in results]
    rows = [results[name] for name in order]
    good = sum("error" not in row and row["share"] <= LIMIT for row in rows)
    missing = [name for name in names() if name not in results]
    more = f"Not measured yet: {', '.join(missing)}.\n\n" if missing else ""
    said = sorted({row["versions"] for row in rows})
    dates = sorted({row["date"] for row in rows})
    return f"""# All of keras.applications beside Keras

Made by `scripts/keras_zoo.py` on {" and ".join(dates)} with {" and ".join(said)}, Python {platform.python_version()},
{platform.machine()}.

{good} of the {len(names())} models of keras.applications agree with Keras within {LIMIT:.0e} of the range of their logits.

{more}Weights are seeded and random, since pretrained ones cannot be had here: kernels keep the signal's scale, and
batch normalizations get the statistics of the photos, as training would give them. Photos are random, too: coarse
squares of colour under noise. The classifier has {CLASSES} outputs, and its logits are scaled to a largest of 4, so that
the probabilities that `dermal predict --json` prints tell them apart.

- **Input**: rows and columns. They are fewer than the models' own, but all layers run.
- **MB**: the size of the `.keras` file.
- **Largest difference / range**: of any logit of any photo, divided by the largest logit minus the smallest.
- **Photos differ by**: how far a photo's logit is from the mean of the photos, at most, in the same unit. If it
  were near 0, the comparison would mean little.
- **Import, s**: the whole command, on a machine that did other work, too.

{HEAD}
""" + "".join(line(name, results[name]) + "\n" for name in order)


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
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.table:
        TABLE.write_text(table(results))
        return int(any("error" in row or row["share"] > LIMIT for row in results.values()))
    if not pathlib.Path(options.dermal).exists():
        print(f"keras_zoo: there is no {options.dermal}; build it, or name one with --dermal", file=sys.stderr)
        return 2
    good = True
    print(versions(), f"\n\n{HEAD}", sep="", flush=True)
    for name in options.names or names():
        row = compare(name, str(options.dermal), options.photos)
        good &= "error" not in row and row["share"] <= LIMIT
        print(line(name, row), flush=True)
        # Read again: another run may have measured other models meanwhile.
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = row
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
