"""Quantizes real ONNX classifiers in the ways of onnxruntime.quantization, and writes what ONNX
Runtime makes of photos: .cache/onnx_quantized, which tests/library/onnx_quantized.rs measures.

    VENV/bin/python scripts/onnx_quantized_models.py MODELS PHOTOS
    cargo test --test library onnx_quantized::real -- --nocapture

MODELS is a folder of `.onnx` files, PHOTOS one of pictures. The test prints the table of
docs/import.md. Needs what scripts/onnx_quantized_golden.py needs, and pillow.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from onnx_quantized_golden import WAYS, session, steps_of

OUT = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "onnx_quantized"
COUNT = 32


class Photos(CalibrationDataReader):
    def __init__(self, name, inputs):
        self.left = [{name: x} for x in inputs]

    def get_next(self):
        return self.left.pop() if self.left else None


def inputs_of(shape, photos):
    """Photos in the file's layout, from 0 to 1; and as the graph has them."""
    nhwc = shape[3] in (1, 3)
    h, w, c = shape[1:] if nhwc else (shape[2], shape[3], shape[1])
    for path in photos:
        picture = Image.open(path).convert("L" if c == 1 else "RGB").resize((w, h), Image.BILINEAR)
        hwc = np.asarray(picture, np.float32).reshape(h, w, c) / 255
        yield hwc, np.ascontiguousarray(hwc if nhwc else hwc.transpose(2, 0, 1))[None]


def main():
    models, photos = map(pathlib.Path, sys.argv[1:])
    photos = sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    calibration, photos = photos[:COUNT], photos[COUNT:2 * COUNT]
    OUT.mkdir(parents=True, exist_ok=True)
    cases = []
    for path in sorted(models.glob("*.onnx")):
        plain = ort.InferenceSession(path.read_bytes())
        [given] = plain.get_inputs()
        shape = [d if isinstance(d, int) else 1 for d in given.shape]
        pairs = list(inputs_of(shape, photos))
        ready = OUT / f"{path.stem}.float.onnx"
        model = onnx.load(path)
        if model.opset_import[0].version < 13:
            # Scales for each channel are as old as opset 13.
            model = version_converter.convert_version(model, 17)
        onnx.save(model, ready)
        quant_pre_process(ready, ready)
        for way, options in {**WAYS, "dynamic": None}.items():
            to = OUT / f"{path.stem}.{way}.onnx"
            if options:
                reader = Photos(given.name, [x for _, x in inputs_of(shape, calibration)])
                quantize_static(ready, to, reader, **options)
            else:
                quantize_dynamic(ready, to, weight_type=QuantType.QInt8)
            model = onnx.load(to)
            run = session(model, True)
            outputs = [run.run(None, {given.name: x})[0].ravel().tolist() for _, x in pairs]
            cases.append({
                "file": to.name, "model": path.name, "way": way, "step": steps_of(model),
                "inputs": path.stem, "outputs": outputs,
            })
        (OUT / f"{path.stem}.f32").write_bytes(np.stack([hwc for hwc, _ in pairs]).tobytes())
        ready.unlink()
        print(path.name, flush=True)
    golden = {"onnxruntime": ort.__version__, "cases": cases}
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
