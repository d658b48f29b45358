"""Exports models as ONNX and asks other runtimes: onnx.checker, ONNX Runtime and OpenVINO. Writes the
table of docs/exporting.md, and what it says of `--with-preprocessing`, between their markers.

usage: VENV/bin/python scripts/onnx_export_check.py [--dermal PATH] [--photos N] [--photo FILE]... [--print] [MODEL...]

MODEL is a `.keras`, `.h5` or `.onnx` file, or an artifact; without one, the demo model, the models of
.cache/models and those of .cache/onnx below 30 MB are taken. Each is imported with pixels of 0..1,
exported as FP32, FP16 and calibrated INT8, and run on N random photos. `dermal predict --json` gives the
answer that the others must give. Photos have the size of the input, so that no resize comes between.
Recipes in the graph are tried on photos of fixtures/ and those of `--photo`.

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
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOC = ROOT / "docs" / "exporting.md"
PHOTOS = ROOT / "fixtures"
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


def literally(path, inputs):
    """Each operator as the file says it, in floats between `DequantizeLinear` and `QuantizeLinear`."""
    return in_onnxruntime(path, inputs, optimized=False)


def comes_back(program, artifact, path, folder):
    """What `dermal diff` says of a model and of what it is after an export and an import."""
    back = folder / "back.safetensors"
    dermal(program, "import", path, "-o", back)
    ran = subprocess.run([program, "diff", artifact, back, "--json"], capture_output=True, text=True)
    document = json.loads(ran.stdout)
    lists = {"graph": "nodes", "weights": "weights", "inputs": "inputs", "labels": "labels", "head": "heads"}
    differ = [f"{len(document[key])} {name}" for key, name in lists.items() if document[key]]
    if document["same"] != (not differ):
        raise RuntimeError("dermal diff contradicts itself")
    return ", ".join(differ) + " differ" if differ else "the same"


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
    for run in (in_onnxruntime, literally, in_openvino):
        theirs = run(path, inputs)
        apart = float(np.abs(ours - theirs).max())
        agreement = same_first(ours, theirs, slack)
        results += [f"{apart:.1e}", f"{agreement * 100:.0f} %"]
        # OpenVINO has its own arithmetic for integers; it is shown and not judged.
        judged = limit is not None or run is not in_openvino
        good &= not judged or (agreement == 1.0 and (limit is None or apart <= limit))
    results.append(comes_back(program, artifact, path, folder))
    # Where axes are moved, an import may find another way to the same order.
    good &= results[-1] == "the same" or document["transposes"] > 0
    size = document["bytes"] / 1e6
    cells = [name, form, f"{document['operators']}", f"{document['transposes']}", f"{size:.1f}", *results]
    return "| " + " | ".join(cells) + " |", good


def probe(path, channels):
    """A model whose answers are its input: a sigmoid of every number, in the order of the file."""
    photo = onnx.helper.make_tensor_value_info("photo", onnx.TensorProto.FLOAT, [1, channels, 12, 16])
    answers = onnx.helper.make_tensor_value_info("answers", onnx.TensorProto.FLOAT, [1, channels * 192])
    # Pixels of 0 to 255 would all be 1.
    small = onnx.numpy_helper.from_array(np.float32(1 / 32), "small")
    nodes = [
        onnx.helper.make_node("Mul", ["photo", "small"], ["scaled"]),
        onnx.helper.make_node("Flatten", ["scaled"], ["flat"]),
        onnx.helper.make_node("Sigmoid", ["flat"], ["answers"]),
    ]
    graph = onnx.helper.make_graph(nodes, "probe", [photo], [answers], [small])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def decoded(path):
    """A photo as `--with-preprocessing` takes it: upright, RGB."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))[None]


def check_preprocessing(program, photos, folder):
    """Whether photos of any size, resized and scaled in the graph, give the answer that dermal gives,
    for every recipe that can be said; and whether the others are refused. Returns a sentence and a verdict."""
    filters = ["tensorflow_bilinear", "tensorflow_nearest"]
    resizes = ["resize: stretch", "resize: crop_to_aspect", "short_side: 16", "short_side: 37"]
    scales = ["scale: 1", "scale: 1/255", "scale: 1/127.5\nmean: 1"]
    coloured = "scale: 1/255\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]"
    refused = [f"filter: {name}" for name in ("pillow_nearest", "pillow_bilinear", "pillow_bicubic", "pillow_lanczos")]
    refused += ["filter: pillow_lanczos\nresize: fit", "preset: imagenet-torchvision", "preset: teachable-machine"]
    recipes = [
        (f"filter: {name}\n{resize}\n{scale}\nchannels: {channels}", channels)
        for name in filters for resize in resizes for channels in ("rgb", "bgr", "gray")
        for scale in (scales if channels == "gray" else [*scales, coloured])
    ]
    recipes += [(recipe, "rgb") for recipe in refused]
    source, yaml = folder / "probe.onnx", folder / "recipe.yaml"
    artifact, path = folder / "probe.safetensors", folder / "with.onnx"
    worst, exact, wrong = 0.0, 0, []
    for recipe, channels in recipes:
        probe(source, 1 if channels == "gray" else 3)
        yaml.write_text(recipe + "\n")
        dermal(program, "import", source, "-o", artifact, "--preprocess", yaml)
        command = [program, "export", artifact, "-o", path, "--with-preprocessing", "--json"]
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if (recipe in refused) != (ran.returncode == 2 and "preprocessing" in ran.stderr):
            wrong.append(f"{recipe}: exit {ran.returncode}, {ran.stderr[:200]}")
            continue
        if recipe in refused:
            continue
        onnx.checker.check_model(str(path), full_check=True)
        ours = answers(program, artifact, photos)
        theirs = in_onnxruntime(path, [decoded(photo) for photo in photos])
        apart = float(np.abs(ours - theirs).max())
        worst, exact = max(worst, apart), exact + 1
        # Of a sigmoid, which both compute in their own way; a wrong pixel is some 0.001 and more.
        if not apart <= 1e-6:
            wrong.append(f"{recipe}: {apart:.1e}")
    for line in wrong:
        print(line.replace("\n", ", "), file=sys.stderr)
    sizes = len({Image.open(photo).size for photo in photos})
    said = (
        f"Of {len(recipes)} recipes, {exact} can be said in the graph and {len(refused)} are refused by name. With "
        f"{len(photos)} photos of {sizes} sizes, decoded by Pillow, ONNX Runtime's answers differ from those of "
        f"`dermal predict` by at most {worst:.1e}, for a model whose answers are the sigmoids of its input."
    )
    return said, not wrong


def cpu():
    """What decides how a runtime multiplies integers here."""
    flags = next((line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    vnni = any(flag in flags.split() for flag in ("avx512_vnni", "avx_vnni"))
    return "The CPU has VNNI" if vnni else "The CPU has AVX2 and no VNNI"


def into_doc(name, text):
    """Replaces what is between two markers of docs/exporting.md."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = DOC.read_text().partition(start)
    _, _, after = rest.partition(end)
    DOC.write_text(f"{before}{start}\n{text}\n{end}{after}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dermal", default=str(ROOT / "target" / "release" / "dermal"))
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--print", action="store_true", help="do not write into docs/exporting.md")
    parser.add_argument("--photo", type=pathlib.Path, action="append", default=[],
                        help="one more photo for the recipes in the graph")
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
        "| model | weights | operators | transposes | MB | ONNX Runtime | top-1 | ONNX Runtime, not optimized | top-1 | OpenVINO | top-1 | comes back |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
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
    text = "\n".join([f"{args.photos} random photos each; {tools}; `onnx.checker` passes every file. {cpu()}.", "", *lines])
    with tempfile.TemporaryDirectory() as folder:
        photos = sorted((PHOTOS / "images").glob("*.jpg"))[::15]
        photos += sorted((PHOTOS / "golden" / "preprocess").glob("exif_[1-8].jpg"))
        said, good = check_preprocessing(args.dermal, photos + args.photo, pathlib.Path(folder))
    print(said)
    all_good &= good
    if not args.print:
        into_doc("measured", text)
        into_doc("preprocessing", said)
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
