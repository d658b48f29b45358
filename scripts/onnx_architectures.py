"""Writes torchvision classifiers with random weights as ONNX, by both exporters of torch and at a
reduced size, with what ONNX Runtime makes of them: .cache/onnx, which tests/library/onnx_golden.rs reads if
it is there. Other ONNX files can be put beside them.

Needs a Python of its own:
    python3 -m venv VENV
    VENV/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 onnxscript torch==2.15.0 torchvision==0.29.2
    VENV/bin/python scripts/onnx_architectures.py [--only NAME,...] [FILE.onnx ...]
"""

import argparse
import json
import pathlib
import platform
import shutil
import sys

import numpy as np
import onnx
import onnxruntime as ort

OUT = pathlib.Path(__file__).resolve().parent.parent / ".cache" / "onnx"
# Smallest inputs that the architectures take.
SIZES = {
    "resnet18": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "squeezenet1_1": 64,
    "densenet121": 64, "shufflenet_v2_x0_5": 64, "efficientnet_b0": 64, "mnasnet0_5": 64,
    "regnet_y_400mf": 64, "googlenet": 64, "resnext50_32x4d": 64, "vgg11_bn": 64, "alexnet": 64,
    "inception_v3": 96, "efficientnet_v2_s": 64,
}


def run(path, size=None, output=None):
    """The input as the graph has it, and the outputs."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options)
    [given] = session.get_inputs()
    shape = [d if isinstance(d, int) and d > 0 else None for d in given.shape]
    shape[0] = 1
    shape = [d or size for d in shape]
    last = shape[3] in (1, 3) and shape[1] not in (1, 3)
    hwc = shape[1:] if last else [shape[2], shape[3], shape[1]]
    x = np.random.default_rng(7).normal(0, 1, hwc).astype(np.float32)
    fed = x[None] if last else np.ascontiguousarray(x[None].transpose(0, 3, 1, 2))
    return given.name, x, session.run([output] if output else None, {given.name: fed})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(SIZES))
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    cases, inputs, tools = [], {}, {"python": platform.python_version(), "onnxruntime": ort.__version__}

    def add(path, size=None):
        name, x, [y, *_] = run(path, size)
        key = f"{path.name}"
        inputs[key] = [float(v) for v in x.ravel()]
        cases.append({"file": path.name, "input_name": name, "input": key,
                      "output": [float(v) for v in y.ravel()],
                      "input_size": [size, size] if size else None})

    for path in args.files:
        shutil.copy(path, OUT / path.name)
        add(OUT / path.name)
    names = [name for name in args.only.split(",") if name]
    if names:
        import torch
        import torchvision

        tools |= {"torch": torch.__version__, "torchvision": torchvision.__version__}
        for name in names:
            torch.manual_seed(1)
            more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            model = torchvision.models.get_model(name, weights=None, num_classes=7, **more).eval()
            # Statistics as training leaves them, or a fresh network's answers hardly vary.
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
                    torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
                    torch.nn.init.uniform_(module.weight, 0.7, 1.3)
                    torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            size = SIZES[name]
            photo = torch.zeros(1, 3, size, size)
            for exporter in ["legacy", "dynamo"]:
                path = OUT / f"{name}_{exporter}.onnx"
                try:
                    if exporter == "legacy":
                        torch.onnx.export(model, photo, path, dynamo=False, opset_version=13)
                    else:
                        torch.onnx.export(model, (photo,), path, dynamo=True, verbose=False)
                    add(path)
                    print(name, exporter, flush=True)
                except Exception as error:  # noqa: BLE001  # the others are still wanted
                    print(f"{name} {exporter}: {str(error)[:200]}", file=sys.stderr, flush=True)
    golden = {"tools": tools | {"onnx": onnx.__version__}, "inputs": inputs, "cases": cases, "refused": []}
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{len(cases)} models in {OUT}")


if __name__ == "__main__":
    main()
