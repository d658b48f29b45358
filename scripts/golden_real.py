"""Golden outputs of real models, by Keras on TensorFlow. Writes fixtures/golden/real/*.json.

usage: python scripts/golden_real.py PART MODEL_DIR PHOTO_DIR
  PART       sklesion, apps, h5 or all
  MODEL_DIR  sklesion.keras (scripts/fetch-real-models.sh), and for h5 the files that `h5` names;
             the models of `apps` are made here
  PHOTO_DIR  HAM10000 photos: labels.csv and images/ (never committed; only outputs are)

Needs tensorflow-cpu, keras, pillow; h5 needs tf_keras too. The committed files name the versions they came from.
"""
import csv
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import PIL
import tensorflow as tf
from PIL import Image

import app_models

if len(sys.argv) != 4 or sys.argv[1] not in ("sklesion", "apps", "h5", "all"):
    raise SystemExit(__doc__)
PART, MODELS, PHOTOS = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
OUT = Path(__file__).parent.parent / "fixtures/golden/real"
VERSIONS = {
    "tensorflow": tf.__version__,
    "keras": keras.__version__,
    "pillow": PIL.__version__,
    "numpy": np.__version__,
}


def uniform(seed, count):
    """SplitMix64 (Steele et al. 2014), its upper 24 bits as a float in [0, 1): Rust makes the same."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def smooth(seed, size):
    """A picture of 8x8 random colours, enlarged bilinearly by nested linear interpolation: more
    like a photo than noise, and still exact to make again."""
    cells = uniform(seed, 8 * 8 * 3).reshape(8, 8, 3).astype(np.float64)
    at = np.arange(size) * 7 / (size - 1)
    low = np.minimum(at.astype(int), 6)
    part = at - low
    rows = cells[low] * (1 - part)[:, None, None] + cells[low + 1] * part[:, None, None]
    both = rows[:, low] * (1 - part)[None, :, None] + rows[:, low + 1] * part[None, :, None]
    return both.astype(np.float32)


def write(name, data):
    OUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"versions": VERSIONS, "script": "scripts/golden_real.py", **data}, indent=1)
    (OUT / name).write_text(text + "\n")
    print("wrote", name, len(text), flush=True)


def find(model, name):
    for layer in model.layers:
        if layer.name == name:
            return layer
        if isinstance(layer, keras.Model) and (found := find(layer, name)) is not None:
            return found
    return None


def feature_map(model, layer, inputs, score):
    """Value of `layer` and the gradient of logit `score` with respect to it. The model's last
    activation must have been made linear."""
    got, original = {}, layer.call

    def hooked(*args, **kwargs):
        got["a"] = original(*args, **kwargs)
        return got["a"]

    layer.call = hooked
    try:
        with tf.GradientTape() as tape:
            logits = model(inputs if len(inputs) > 1 else inputs[0], training=False)
            value = logits[0, score]
        gradient = tape.gradient(value, got["a"])
    finally:
        layer.call = original
    return got["a"][0].numpy().astype(np.float64), gradient[0].numpy().astype(np.float64)


def maps(a, g):
    """The signed map of every method, from its paper's formula."""
    plus = 2 * g**2 + a.sum((0, 1)) * g**3
    alpha = np.divide(g**2, plus, out=np.zeros_like(g), where=plus != 0)
    flat = a.reshape(-1, a.shape[-1])
    u, s, _ = np.linalg.svd(flat, full_matrices=False)
    component = (u[:, 0] * s[0]).reshape(a.shape[:2])
    return {
        "gradcam": (a * g.mean((0, 1))).sum(-1),
        "gradcam++": (a * (alpha * np.maximum(g, 0)).sum((0, 1))).sum(-1),
        "layercam": (a * np.maximum(g, 0)).sum(-1),
        "hirescam": (a * g).sum(-1),
        "eigencam": component * np.sign(component.sum()),
    }


def as_list(values, digits=8):
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, dtype=np.float64).ravel()]


SITES = {
    "upper extremity": "arm",
    "head/neck": "head-or-neck",
    "lower extremity": "leg-or-genital",
    "oral/genital": "leg-or-genital",
    "anterior torso": "trunk",
    "posterior torso": "trunk",
}


def patient_vector(row):
    sex = [row["sex"] == "female", row["sex"] == "male", row["sex"] not in ("female", "male")]
    names = ["arm", "head-or-neck", "leg-or-genital", "trunk", "unknown"]
    site = SITES.get(row["site"], "unknown")
    age = float(row["age"]) if row["age"] else 51.9018
    return [float(v) for v in sex] + [float(site == n) for n in names] + [age / 90, float(not row["age"])]


def photo(name, size):
    """As TensorFlow resizes: half-pixel bilinear without antialiasing, 0..255 as floats."""
    pixels = np.asarray(Image.open(PHOTOS / "images" / name).convert("RGB"))
    return tf.image.resize(pixels[None].astype(np.float32), (size, size), method="bilinear")


def validation_rows():
    rows = [r for r in csv.DictReader(open(PHOTOS / "labels.csv")) if r["split"] == "val"]
    return sorted(rows, key=lambda r: r["file"])


def sklesion():
    model = keras.models.load_model(MODELS / "sklesion.keras", compile=False)
    rows = validation_rows()
    vectors = [patient_vector(r) for r in rows]
    photos = [photo(r["file"], 254) for r in rows]
    probabilities = np.concatenate(
        [model([x, tf.constant([v], tf.float32)], training=False).numpy() for x, v in zip(photos, vectors)]
    )
    labels = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    right = [labels[p] == r["label"] for p, r in zip(probabilities.argmax(1), rows)]
    print("sklesion top-1 on val:", np.mean(right), flush=True)
    records = [
        {
            "file": r["file"],
            "label": r["label"],
            "vector": as_list(v),
            "probabilities": as_list(p, 9),
        }
        for r, v, p in zip(rows, vectors, probabilities)
    ]
    model.layers[-1].activation = keras.activations.linear
    layer = find(model, "block14_sepconv2_act")
    heat = []
    for i in range(8):
        inputs = [photos[i], tf.constant([vectors[i]], tf.float32)]
        score = int(probabilities[i].argmax())
        a, g = feature_map(model, layer, inputs, score)
        every = maps(a, g)
        chosen = every if i < 2 else {"gradcam": every["gradcam"]}
        heat.append(
            {
                "file": records[i]["file"],
                "class": score,
                "size": list(a.shape[:2]),
                "maps": {k: as_list(v) for k, v in chosen.items()},
            }
        )
    write(
        "sklesion.json",
        {"labels": labels, "top1_accuracy": float(np.mean(right)), "photos": records,
         "layer": "block14_sepconv2_act", "heat_maps": heat},
    )


def apps():
    made = {}
    for name, (size, scale, shift) in app_models.MODELS.items():
        # Through the file: a Normalization layer takes its mean and variance over only when loaded.
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            app_models.build(name).save(path)
            model = keras.models.load_model(path, compile=False)
        last = model.layers[-1]
        last.activation = keras.activations.linear
        inputs = [smooth(seed, size) * np.float32(scale) + np.float32(shift) for seed in range(4)]
        logits = [model(x[None], training=False).numpy()[0] for x in inputs]
        entry = {"size": size, "scale": scale, "shift": shift, "logits": [as_list(l, 9) for l in logits]}
        print(name, np.ptp(logits), np.std(logits, axis=0).mean(), flush=True)
        if name == "efficientnetv2s":
            layer = find(model, "top_activation")
            a, g = feature_map(model, layer, [tf.constant(inputs[0][None])], int(logits[0].argmax()))
            entry["heat_map"] = {
                "layer": "top_activation",
                "class": int(logits[0].argmax()),
                "size": list(a.shape[:2]),
                "maps": {k: as_list(v) for k, v in maps(a, g).items()},
            }
        made[name] = entry
    write("app_models.json", {"models": made})


def ham7():
    """A small classifier for pixels normalised by the mean and deviation of its training set."""
    model = keras.models.load_model(MODELS / "ham7_cnn28std.h5", compile=False)
    rows = validation_rows()
    labels = ["akiec", "bcc", "bkl", "df", "nv", "vasc", "mel"]
    x = np.concatenate([(photo(r["file"], 28).numpy() - 163.77) / 41.30 for r in rows])
    probabilities = model(x.astype(np.float32), training=False).numpy()
    right = [labels[p] == r["label"] for p, r in zip(probabilities.argmax(1), rows)]
    print("ham7_cnn28std top-1 on val:", np.mean(right), flush=True)
    return {
        "labels": labels,
        "mean": 163.77,
        "std": 41.30,
        "top1_accuracy": float(np.mean(right)),
        "photos": [
            {"file": r["file"], "label": r["label"], "probabilities": as_list(p, 9)}
            for r, p in zip(rows, probabilities)
        ],
    }


def teachable_machine():
    """Sequential > Sequential > Functional of Keras 2.4, which Keras 3 cannot load: by tf_keras,
    which is Keras 2 kept alive."""
    import tf_keras

    VERSIONS["tf_keras"] = tf_keras.__version__
    model = tf_keras.models.load_model(MODELS / "bin_tm_mobilenetv2_035_nested.h5", compile=False)
    size, scale, shift = 224, 2.0, -1.0
    inputs = [smooth(seed, size) * np.float32(scale) + np.float32(shift) for seed in range(4)]
    # Its answers are 0 and 1 to 13 digits: logits say more.
    model.layers[-1].layers[-1].activation = tf_keras.activations.linear
    logits = [model(x[None], training=False).numpy()[0] for x in inputs]
    print("teachable machine:", logits, flush=True)
    return {"size": size, "scale": scale, "shift": shift, "logits": [as_list(l, 9) for l in logits]}


def h5():
    write("h5.json", {"ham7_cnn28std": ham7(), "bin_tm_mobilenetv2_035_nested": teachable_machine()})


if __name__ == "__main__":
    for part in (sklesion, apps, h5):
        if PART in (part.__name__, "all"):
            part()
