#!/usr/bin/env python3
"""Writes the first inputs of every fuzz target from the project's own fixtures, and dictionaries beside them.

usage: scripts/fuzz_seeds.py FOLDER [DERMAL]

DERMAL, a built program, makes the artifacts; without it the target `artifact` starts from its kept corpus alone. Inputs of more than 16 kB are left out: they are slow and rarely reach more code.
"""

import io
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 16 << 10

# Forms that no fixture has.
TEXTS = [
    "preset: unit\nresize: crop\nshort_side: 30\nfilter: bilinear\nmean: [0.5, 0.4, 0.3]\nstd: 0.25\nchannels: bgr\nbackground: '#ff00ff'\n",
    "scale: 1/255\nmean: 0.5\nstd: [1, 2, 3]\nbackground: [1, 2, 3]\n",
    "a: &x {b: [1, 2.5, 0x1f, 1e9, .inf, ~, yes]}\nc: *x\nd: {<<: *x, e: !!str 5}\n---\n- |\n  text\n- >-\n  folded\n",
    '[package]\nname = "x"\n[[bin]]\nn = 1_000\nd = 1979-05-27T07:32:00Z\na = { b = [1.5, true] }\n',
]
KEYS = """class_name config inbound_nodes layers activation build_config padding strides data_format channels_first module
registered_name input_layers output_layers keras_history null true false NaN 1e999 9223372036854775807
18446744073709551616 -1""".split()
ATTRIBUTES = """kernel_shape pads strides dilations group auto_pad SAME_UPPER axis axes perm keepdims epsilon alpha beta transB
ceil_mode mode com.microsoft ai.onnx location offset length allowzero to""".split()
PHOTO = r"""Exif\x00\x00 \xff\xd8\xff \xff\xc0 \xff\xc2 \xff\xda \xff\xc4 \xff\xdb \xff\xdd \xff\xe1 \xff\xee Adobe IHDR IDAT PLTE
tRNS eXIf iCCP RIFF WEBP VP8L VP8X ALPH ANIM ANMF BM""".split()


def keep(to, target, name, content):
    if content and len(content) <= MAX_BYTES:
        (to / target).mkdir(parents=True, exist_ok=True)
        (to / target / name).write_bytes(content)


def keras_parts(content):
    """A `.keras` in the form that the target puts together (fuzz/src/targets.rs)."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read("config.json") + b"\0" + archive.read("model.weights.h5")


def artifact_parts(content):
    """An artifact in the form that the target puts together."""
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    entries = json.dumps(header)[1:-1]
    parts = [metadata["dermal.graph"], metadata["dermal.manifest"], entries]
    return b"\0".join([part.encode() for part in parts] + [content[8 + length :]])


def artifacts(to, dermal, source, name):
    with tempfile.TemporaryDirectory() as folder:
        plain, half = Path(folder) / "plain.safetensors", Path(folder) / "half.safetensors"
        subprocess.run([dermal, "import", source, "-o", plain], capture_output=True, check=False)
        if plain.exists():
            subprocess.run([dermal, "quantize", plain, "-o", half, "--to", "fp16"], capture_output=True, check=False)
        for kind, path in [("", plain), (".f16", half)]:
            if path.exists():
                content = path.read_bytes()
                keep(to, "artifact", f"{name}{kind}.safetensors", content)
                keep(to, "artifact", f"{name}{kind}.parts", artifact_parts(content))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    to = Path(sys.argv[1])
    dermal = sys.argv[2] if len(sys.argv) == 3 else None
    files = sorted(path for path in (ROOT / "fixtures").rglob("*") if path.is_file())
    models = 0
    for path in [*files, ROOT / "dermal.yaml", ROOT / "render.yaml"]:
        name = f"{path.parent.name}-{path.name}"
        content = path.read_bytes()
        target = {".jpg": "photo", ".png": "photo", ".webp": "photo", ".bmp": "photo", ".h5": "h5", ".onnx": "onnx",
                  ".tflite": "tflite", ".keras": "keras", ".yaml": "yaml", ".csv": "yaml"}.get(path.suffix)  # fmt: skip
        if target:
            keep(to, target, name, content)
        if path.suffix == ".keras":
            try:
                keep(to, "keras", f"{name}.parts", keras_parts(content))
            except (KeyError, zipfile.BadZipFile):
                pass
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    if entry.endswith(".h5"):
                        keep(to, "h5", f"{name}-{entry.replace('/', '-')}", archive.read(entry))
        if target in ("onnx", "tflite", "keras"):
            models += 1
            # Importers make much the same graphs of them.
            if dermal and (target == "keras" or models % 4 == 0):
                artifacts(to, dermal, path, name)
    for i, text in enumerate(TEXTS):
        keep(to, "yaml", f"text_{i}", text.encode())
    for target, words in {"keras": KEYS, "h5": KEYS, "artifact": KEYS, "onnx": ATTRIBUTES, "photo": PHOTO}.items():
        lines = [f'"{word}"\n' for word in words if '"' not in word and all(" " < c < "\x7f" for c in word)]
        (to / f"{target}.dict").write_text("".join(lines))


if __name__ == "__main__":
    main()
