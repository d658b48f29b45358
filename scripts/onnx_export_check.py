"""Exports models as ONNX and asks other runtimes: onnx.checker, ONNX Runtime and OpenVINO. Writes the
table of docs/exporting.md, between its two markers.

usage: VENV/bin/python scripts/onnx_export_check.py [--dermal PATH] [--photos N] [--print] [MODEL...]

MODEL is a `.keras`, `.h5` or `.onnx` file, or an artifact; without one, the demo model, the models of
.cache/models and those of .cache/onnx below 30 MB are taken. Each is imported with pixels of 0..1,
exported as FP32, FP16 and calibrated INT8, and run on N random photos. `dermal predict --json` gives the
answer that the others must give. Photos have the size of the input, so that no resize comes between.

Needs a Python of its own:
    python3 -m venv VENV
    VENV/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 pillow
exit 0 all agree, 1 one does not, 2 usage or a missing program
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOC = ROOT / "docs" / "exporting.md"
MARKERS = ("<!-- measured -->", "<!-- /measured -->")
# Of a probability. INT8 rounds each layer to one of 256 steps, in which runtimes may differ by one.
LIMITS = {"f32": 1e-5, "fp16": 1e-5, "int8": None}


def dermal(program, *args):
    ran = subprocess.run([program, *map(str, args)], capture_output=True, text=True)
    if ran.returncode not in (0, 3):
        raise RuntimeError(ran.stderr.strip().replace("\n", " | "))
    return ran.stdout


def recipe(program, model):
    [photo] = [i for i in json.loads(dermal(program, "inspect", model, "--json"))["inputs"] if i["kind"] == "image"]
    return photo["shape"], photo["preprocessing"]


def make_photos(folder, shape, n, seed):
    """Photos of soft shapes and some noise: the noise alone would look the same to every network."""
    rng = np.random.default_rng(seed)
    rows, columns, _ = shape
    for i in range(n):
        small = rng.uniform(0, 255, (4, 4, 3)).astype(np.uint8)
        soft = np.asarray(Image.fromarray(small).resize((columns, rows), Image.BICUBIC), dtype=np.float64)
        noisy = np.clip(soft + rng.normal(0, 20, soft.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:03}.png")
    return sorted(folder.glob("*.png"))


def prepared(path, shape, recipe):
    """The input of the network, as docs/preprocessing.md says it."""
    image = Image.open(path)
    pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"), dtype=np.float64)
    pixels = pixels.reshape(shape)
    channels = shape[2]
    values = (pixels * recipe["scale"] - np.array(recipe["mean"][:channels])) / np.array(recipe["std"][:channels])
    if recipe["channels"] == "bgr":
        values = values[:, :, ::-1]
    return np.ascontiguousarray(values.astype(np.float32).transpose(2, 0, 1)[None])


def answers(program, model, photos):
    document = json.loads(dermal(program, "predict", model, *photos, "--json"))
    rows = []
    for image in document["images"]:
        ordered = sorted(image["predictions"], key=lambda p: p["index"])
        rows.append([p["probability"] for p in ordered])
    return np.array(rows)


def in_onnxruntime(path, inputs, optimized=True):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.array([session.run(None, {name: x})[0][0] for x in inputs])


def in_openvino(path, inputs):
    compiled = ov.compile_model(ov.Core().read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array([compiled(x)[0][0] for x in inputs])


def same_first(a, b, slack=0.0):
    """Whether the likeliest class is the same, or nearly as likely."""
    first, other = a.argmax(1), b.argmax(1)
    rows = np.arange(len(a))
    return float(np.mean((first == other) | (a[rows, first] - a[rows, other] <= slack)))


def check(program, source, form, photos_wanted, folder):
    """A row of the table, and whether the runtimes agree."""
    name = source.name if source else "demo model"
    artifact = folder / "model.safetensors"
    if source is None:
        artifact = ROOT / "models" / "demo.safetensors"
    elif source.suffix == ".safetensors":
        artifact = source
    else:
        yaml = folder / "recipe.yaml"
        yaml.write_text("resize: stretch\nfilter: pillow_nearest\nscale: 1/255\n")
        dermal(program, "import", source, "-o", artifact, "--preprocess", yaml)
    shape, how = recipe(program, artifact)
    pictures = folder / "photos"
    pictures.mkdir(exist_ok=True)
    photos = make_photos(pictures, shape, photos_wanted, zlib.crc32(name.encode()))
    if form != "f32":
        smaller = folder / f"{form}.safetensors"
        calibrate = ["--calibrate", pictures] if form == "int8" else []
        dermal(program, "quantize", artifact, "-o", smaller, "--to", form, *calibrate)
        artifact = smaller
    path = folder / "model.onnx"
    document = json.loads(dermal(program, "export", artifact, "-o", path, "--json"))
    onnx.checker.check_model(str(path), full_check=True)
    inputs = [prepared(photo, shape, how) for photo in photos]
    ours = answers(program, artifact, photos)
    limit = LIMITS[form]
    slack = limit or 0.0
    results, good = [], True
    for run in (in_onnxruntime, in_openvino):
        theirs = run(path, inputs)
        apart = float(np.abs(ours - theirs).max())
        agreement = same_first(ours, theirs, slack)
        results += [f"{apart:.1e}", f"{agreement * 100:.0f} %"]
        # OpenVINO has its own arithmetic for integers; it is shown and not judged.
        judged = limit is not None or run is in_onnxruntime
        good &= not judged or (agreement == 1.0 and (limit is None or apart <= limit))
    size = document["bytes"] / 1e6
    cells = [name, form, f"{document['operators']}", f"{document['transposes']}", f"{size:.1f}", *results]
    return "| " + " | ".join(cells) + " |", good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dermal", default=str(ROOT / "target" / "release" / "dermal"))
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--print", action="store_true", help="do not write into docs/exporting.md")
    parser.add_argument("--forms", default="f32,fp16,int8")
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    if not pathlib.Path(args.dermal).is_file():
        print(f"{args.dermal} is not there: cargo build --release", file=sys.stderr)
        return 2
    models = args.models
    if not models:
        models = [None, *sorted((ROOT / ".cache/models").glob("*.keras"))]
        models += sorted(p for p in (ROOT / ".cache/onnx").glob("*.onnx") if p.stat().st_size < 30e6)
    lines = [
        "| model | weights | operators | transposes | MB | ONNX Runtime, largest difference | top-1 | OpenVINO, largest difference | top-1 |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    all_good, failed = True, []
    for source in models:
        for form in args.forms.split(","):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    line, good = check(args.dermal, source, form, args.photos, pathlib.Path(folder))
                except Exception as error:  # noqa: BLE001  # the others are still wanted
                    failed.append(f"{source or 'demo model'} ({form}): {str(error)[:300]}")
                    print(failed[-1], file=sys.stderr, flush=True)
                    if form == "f32":
                        break
                    continue
            all_good &= good
            lines.append(line)
            print(line if good else f"{line} DIFFERS", flush=True)
    tools = f"onnx {onnx.__version__}, onnxruntime {ort.__version__}, openvino {ov.__version__.split('-')[0]}"
    text = "\n".join([f"{args.photos} random photos each; {tools}; `onnx.checker` passes every file.", "", *lines])
    if not args.print:
        before, _, rest = DOC.read_text().partition(MARKERS[0])
        _, _, after = rest.partition(MARKERS[1])
        DOC.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}")
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
