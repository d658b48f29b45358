"""Writes classifiers of torchvision and timm with random weights as ONNX, by both exporters of torch
and at a reduced size, with what ONNX Runtime answers to 32 images: .cache/onnx, which
tests/library/onnx_golden.rs reads if it is there. That test writes its differences to
.cache/onnx/results.json, of which `--table` makes docs/onnx-architectures.md.

Needs a Python of its own:
    python3 -m venv VENV
    VENV/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 onnxscript torch==2.15.0 \
        torchvision==0.29.2 timm==1.0.31
    VENV/bin/python scripts/onnx_architectures.py [--only NAME,...] [--keep] [FILE.onnx ...]
    cargo test --test library exported_networks
    VENV/bin/python scripts/onnx_architectures.py --table

`--keep` adds to what is there already. Files of other origin can be named, and are measured, too.
"""

import argparse
import collections
import contextlib
import io
import json
import pathlib
import platform
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / ".cache" / "onnx"
TABLE = ROOT / "docs" / "onnx-architectures.md"
PHOTOS = 32
# Images for the statistics of batch normalizations. With 8, those of deep layers, whose maps are
# 2x2 here, fit other images so badly that efficientnet_v2_s amplified every rounding by 10^5.
STATISTICS = 128

# The size of the input: the smallest that the architecture takes, where that is not the whole of it.
TORCHVISION = {
    "alexnet": 64, "convnext_tiny": 64, "densenet121": 64, "efficientnet_b0": 64,
    "efficientnet_v2_s": 64, "googlenet": 64, "inception_v3": 96, "mnasnet0_5": 64,
    "mobilenet_v2": 64, "mobilenet_v3_small": 64, "regnet_y_400mf": 64, "resnet18": 64,
    "resnext50_32x4d": 64, "shufflenet_v2_x0_5": 64, "squeezenet1_1": 64, "swin_t": 64,
    "vgg11_bn": 64, "vit_b_16": 64,
}
# The old exporter cannot say an adaptive pool that enlarges a map, so these take the whole size.
LEGACY = {"alexnet": 224, "vgg11_bn": 224}
# The weights of normalizations, where those of the others make a network that amplifies roundings.
# levit_128s has attention right behind batch normalizations, which then looks at single tokens.
NORMALIZATIONS = {"levit_128s": (0.2, 0.6)}
# The size, and whether the network has to be told.
TIMM = {
    "coatnet_nano_rw_224": (64, True), "convnext_atto": (64, False),
    "convnextv2_atto": (64, False), "deit_tiny_patch16_224": (64, True),
    "edgenext_xx_small": (64, False), "efficientformerv2_s0": (224, False),
    "efficientvit_b0": (64, False), "eva02_tiny_patch14_224": (56, True),
    "fastvit_t8": (64, False), "ghostnet_100": (64, False), "hrnet_w18_small": (64, False),
    "levit_128s": (224, False), "mixer_s32_224": (64, True),
    "mobilenetv4_conv_small": (64, False), "mobileone_s0": (64, False),
    "mobilevit_xxs": (64, False), "nfnet_l0": (64, False), "poolformer_s12": (64, False),
    "pvt_v2_b0": (64, False), "repvgg_a0": (64, False), "resnest14d": (64, False),
    "swin_tiny_patch4_window7_224": (112, True), "swinv2_tiny_window8_256": (64, True),
    "tf_efficientnet_b0": (64, False), "vit_tiny_patch16_224": (64, True),
}


def noise(rng, count, hwc):
    """Images that differ: coarse blotches of colour under fine noise."""
    import numpy as np

    h, w, c = hwc
    coarse = rng.normal(0, 1, (count, 4, 4, c))
    rows, columns = np.arange(h) * 4 // h, np.arange(w) * 4 // w
    return coarse[:, rows][:, :, columns] + rng.normal(0, 0.5, (count, h, w, c))


def photos(hwc):
    """The images of a shape, the same for all models that take it, and the file they are in."""
    import numpy as np

    key = "x".join(map(str, hwc))
    x = noise(np.random.default_rng(7), PHOTOS, hwc).astype("<f4")
    path = OUT / f"blotches_{key}.f32"
    if not path.exists():
        path.write_bytes(x.tobytes())
    return path.name, x


def measured(path, size=None):
    """What ONNX Runtime answers, as a case of golden.json."""
    import numpy as np
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    # The definition itself, not what optimizations make of it.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options)
    [given] = session.get_inputs()
    shape = [d if isinstance(d, int) and d > 0 else None for d in given.shape]
    shape = [1, *[d or size for d in shape[1:]]]
    last = shape[3] in (1, 3) and shape[1] not in (1, 3)
    hwc = shape[1:] if last else [shape[2], shape[3], shape[1]]
    key, x = photos(hwc)
    outputs = []
    for photo in x:
        fed = photo[None] if last else np.ascontiguousarray(photo[None].transpose(0, 3, 1, 2))
        y = session.run(None, {given.name: fed})[0]
        outputs.append([float(v) for v in y.ravel()])
    model = onnx.load(path, load_external_data=False)
    operators = collections.Counter(node.op_type for node in model.graph.node)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return {
        "file": path.name, "input_name": given.name, "input": key, "outputs": outputs,
        "input_size": [size, size] if size else None, "size": hwc[:2], "opset": opset,
        "operators": dict(sorted(operators.items())),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
    }


def shaken(model, size, normalizations):
    """Weights and statistics as training leaves them. Fresh networks have layer scales of 1e-6 and
    statistics of 0 and 1: their answers hardly depend on the image."""
    import numpy as np
    import torch

    norms, statistics = set(), []
    for module in model.modules():
        weight = getattr(module, "weight", None)
        bias = getattr(module, "bias", None)
        if isinstance(getattr(module, "running_mean", None), torch.Tensor):
            statistics.append(module)
        if isinstance(weight, torch.nn.Parameter) and weight.ndim == 1:
            torch.nn.init.uniform_(weight, *normalizations)
            norms.add(weight)
            if isinstance(bias, torch.nn.Parameter):
                torch.nn.init.uniform_(bias, -0.2, 0.2)
                norms.add(bias)
        elif isinstance(weight, torch.nn.Parameter) and weight.std() < 0.03:
            torch.nn.init.normal_(weight, std=(weight.numel() / weight.shape[0]) ** -0.5)
    for parameter in model.parameters():
        if parameter in norms:
            continue
        if parameter.numel() == 1 and parameter.abs() < 0.01:
            torch.nn.init.constant_(parameter, 0.5)
        elif parameter.numel() > 1 and parameter.std() < 0.01:
            # Gains of 1 as well: without them, those of nfnet_l0 would let the signal fade.
            middle = 1.0 if (parameter - 1).abs().max() < 0.01 else 0.0
            torch.nn.init.normal_(parameter, mean=middle, std=0.2)
    if statistics:
        for module in statistics:
            module.momentum = 1.0
            module.train()
        x = noise(np.random.default_rng(8), STATISTICS, [size, size, 3]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            model(torch.tensor(np.ascontiguousarray(x), dtype=torch.float32))
    return model.eval()


def made(library, name, exporter="dynamo"):
    """A network, and the size of its input."""
    import timm
    import torch
    import torchvision

    torch.manual_seed(1)
    if library == "torchvision":
        size = TORCHVISION[name]
        size = LEGACY.get(name, size) if exporter == "legacy" else size
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        more |= {"image_size": size} if name.startswith("vit") else {}
        model = torchvision.models.get_model(name, weights=None, num_classes=7, **more)
    else:
        size, told = TIMM[name]
        more = {"img_size": size} if told else {}
        model = timm.create_model(name, pretrained=False, num_classes=7, **more)
    return shaken(model.eval(), size, NORMALIZATIONS.get(name, (0.7, 1.3))), size


def legacy(model, photo, path):
    """By the exporter of torch before 2.9, with the first opset that it manages: 13, or 14 for fused
    attention. There LayerNormalization and GELU are still written out."""
    import torch

    # The fused layer of torch.nn.TransformerEncoder has no operator; the same written out has.
    torch.backends.mha.set_fastpath_enabled(False)
    fused = [m for m in model.modules() if getattr(m, "fused_attn", False)]
    for opset, is_fused in [(13, True), (14, True), (13, False)]:
        for module in fused:
            module.fused_attn = is_fused
        try:
            torch.onnx.export(model, photo, path, dynamo=False, opset_version=opset)
            break
        # Also a TypeError: a traced condition is a tensor, which fused attention does not take.
        except (torch.onnx.errors.OnnxExporterError, TypeError):
            if not is_fused:
                raise
    for module in fused:
        module.fused_attn = True


def export(model, size, exporter, path):
    import torch

    photo = torch.zeros(1, 3, size, size)
    # The exporters print much.
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        if exporter == "legacy":
            legacy(model, photo, path)
        else:
            torch.onnx.export(model, (photo,), path, dynamo=True, verbose=False)


def degenerate(outputs):
    """Why answers compare nothing, if they do not: a network whose answer does not depend on the
    image agrees with any other in its last bias."""
    span = max(map(max, outputs)) - min(map(min, outputs))
    between = max(max(column) - min(column) for column in zip(*outputs))
    # Not `<`, which would let a NaN pass.
    if not between >= 0.1 * span:
        return f"answers move by {between:.1e} between images, and their range is {span:.1e}"
    return None


def write(golden):
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")


def main():
    every = [("torchvision", n) for n in TORCHVISION] + [("timm", n) for n in TIMM]
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(name for _, name in every))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    if args.table:
        return table()
    import onnx
    import onnxruntime as ort

    OUT.mkdir(parents=True, exist_ok=True)
    golden = {"tools": {}, "cases": [], "failed": []}
    if args.keep and (OUT / "golden.json").exists():
        golden = json.loads((OUT / "golden.json").read_text())
        lost = [c["file"] for c in golden["cases"] if not (OUT / c["file"]).exists()]
        golden["cases"] = [c for c in golden["cases"] if c["file"] not in lost]
        if lost:
            print(f"without a file, to be made again: {', '.join(lost)}", file=sys.stderr)

    def add(case):
        golden["cases"] = [c for c in golden["cases"] if c["file"] != case["file"]] + [case]
        write(golden)

    golden["tools"] |= {"python": platform.python_version(), "onnx": onnx.__version__,
                        "onnxruntime": ort.__version__}
    for path in args.files:
        shutil.copy(path, OUT / path.name)
        add(measured(OUT / path.name) | {"source": "a file"})
    wanted = [name for name in args.only.split(",") if name]
    for library, name in every:
        if name not in wanted:
            continue
        import timm
        import torch
        import torchvision

        golden["tools"] |= {"torch": torch.__version__, "torchvision": torchvision.__version__,
                            "timm": timm.__version__}
        for exporter in ["legacy", "dynamo"]:
            file = f"{name}_{exporter}.onnx"
            golden["failed"] = [f for f in golden["failed"] if f["file"] != file]
            try:
                if exporter == "legacy" or name in LEGACY:
                    model, size = made(library, name, exporter)
                with tempfile.TemporaryDirectory(dir=OUT) as folder:
                    path = pathlib.Path(folder) / file
                    export(model, size, exporter, path)
                    case = measured(path)
                    why = degenerate(case["outputs"])
                    if why:
                        raise ValueError(why)
                    # Only now, so that an interruption leaves no case without its file.
                    for part in pathlib.Path(folder).iterdir():
                        part.replace(OUT / part.name)
                add(case | {"source": library, "exporter": exporter, "model": name})
                print(name, exporter, flush=True)
            except Exception as error:  # noqa: BLE001  # the others are still wanted
                why = " ".join(str(error).split())[:160]
                golden["failed"].append({"file": file, "source": library, "model": name,
                                         "exporter": exporter, "why": why})
                print(f"{name} {exporter}: {why}", file=sys.stderr, flush=True)
    write(golden)
    print(f"{len(golden['cases'])} models in {OUT}")


def table():
    """docs/onnx-architectures.md, from golden.json and the test's results.json."""
    golden = json.loads((OUT / "golden.json").read_text())
    results = {r["file"]: r for r in json.loads((OUT / "results.json").read_text())}
    tools = ", ".join(f"{name} {version}" for name, version in sorted(golden["tools"].items()))
    lines = [
        "# Architectures imported from ONNX",
        "",
        "Written by `scripts/onnx_architectures.py --table`; do not edit. Each network has random weights,",
        "batch normalizations with the statistics of 128 images, and 7 classes. Both exporters of torch write it,",
        "at a reduced size. The difference is the largest one from ONNX Runtime's answers, as a part of their range.",
        "The next column counts the images whose first class is the same, and all that were compared; the last",
        "one, how many classes are the first one of some image.",
        "",
        f"Made with {tools}.",
        "",
        "| model | from | exporter | opset | input | operators | difference | same class | classes |",
        "|---|---|---|--:|---|---|--:|--:|--:|",
    ]
    worst, count = 0.0, 0
    for case in sorted(golden["cases"], key=lambda c: c["file"]):
        result = results.get(case["file"])
        operators = ", ".join(f"{n} {k}" if n > 1 else k for k, n in case["operators"].items())
        name = case.get("model", case["file"])
        classes = len({row.index(max(row)) for row in case["outputs"]})
        size = "x".join(map(str, case["size"]))
        if result is None:
            shown = "not measured | "
        elif "error" in result:
            shown = f"not imported: {result['error']} | "
        else:
            shown = f"{result['difference']:.1e} | {result['same']}/{result['photos']}"
            count += 1
            worst = max(worst, result["difference"])
        lines.append(
            f"| {name} | {case['source']} | {case.get('exporter', case['producer'])} | {case['opset']} "
            f"| {size} | {operators} | {shown} | {classes} |"
        )
    for failed in golden["failed"]:
        lines.append(f"| {failed['model']} | {failed['source']} | {failed['exporter']} | | | "
                     f"torch itself cannot export it: {failed['why'].replace('|', '/')} | | | |")
    lines[9:9] = ["", f"{count} files are imported; the largest difference is {worst:.1e}."]
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"{TABLE}: {count} files, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
