"""Measures the import of ONNX files of about 100 MB: seconds, and the anonymous memory at the peak.

usage: VENV/bin/python scripts/import_cost.py [--dermal PATH] [--runs N] [FILE.onnx ...]

Without files, it writes torchvision's ResNet50 with random weights in three forms (by both exporters of torch,
and with 16-bit weights) to a temporary folder, which takes the Python of scripts/onnx_architectures.py.
`RssAnon` of /proc/PID/status is read every half a millisecond; pages of the mapped file are not in it, and could be
dropped. Prints rows for docs/import.md. `dermal` is target/release/dermal unless --dermal says another.

exit 0 each import took less than 2 s and 1.3 times the file's size, 1 one did not, 2 usage or a missing program
"""

import argparse
import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS, SHARE = 2.0, 1.3


def make(folder):
    """`(what it is, path)` of each file."""
    import onnx
    import torch
    import torchvision

    torch.manual_seed(1)
    model = torchvision.models.resnet50(weights=None).eval()
    photo = torch.zeros(1, 3, 224, 224)
    made = []
    for what, dynamo in [("by torch's legacy exporter", False), ("by dynamo, weights in a second file", True)]:
        path = folder / f"{'dynamo' if dynamo else 'legacy'}.onnx"
        torch.onnx.export(model, photo, str(path), dynamo=dynamo, opset_version=18, external_data=dynamo)
        made.append((f"ResNet50 {what}", path))
    del model
    file = onnx.load(made[0][1])
    for tensor in file.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            half = onnx.numpy_helper.to_array(tensor).astype("float16")
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
            cast = onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
            file.graph.node.insert(0, cast)
    path = folder / "half.onnx"
    onnx.save(file, path)
    made.append(("the first, with weights in fp16", path))
    return made


def anonymous_kb(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def measure(dermal, path, folder):
    command = [dermal, "import", path, "-o", folder / "model.safetensors", "--head", "softmax"]
    command += ["--preprocess", "imagenet-torchvision"]
    before = os.times().children_user + os.times().children_system
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    most = 0
    while process.poll() is None:
        most = max(most, anonymous_kb(process.pid))
        time.sleep(0.0005)
    seconds = time.perf_counter() - started
    worked = os.times().children_user + os.times().children_system - before
    if process.returncode:
        sys.exit(f"import_cost: {path}: {process.stderr.read().decode()}")
    return seconds, most * 1024, worked


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dermal", type=pathlib.Path, default=ROOT / "target/release/dermal")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    if not options.dermal.exists():
        print(f"import_cost: there is no {options.dermal}; build it, or name one with --dermal", file=sys.stderr)
        return 2
    good = True
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        files = [(path.name, path) for path in options.files] or make(folder)
        print(f"{datetime.date.today()}, {cpu()}, {options.runs} runs each\n")
        print("| File | MB | Import, median s (fastest to slowest) | CPU, s | Anonymous memory at the peak, MB | Of the file's size |")
        print("|---|--:|--:|--:|--:|--:|")
        for what, path in files:
            data = path.with_name(path.name + ".data")
            size = path.stat().st_size + (data.stat().st_size if data.exists() else 0)
            runs = [measure(options.dermal.resolve(), path, folder) for _ in range(options.runs)]
            seconds = sorted(run[0] for run in runs)
            most = max(run[1] for run in runs)
            middle = statistics.median(seconds)
            good &= middle < SECONDS and most <= SHARE * size
            print(
                f"| {what} | {size / 1e6:.1f} | {middle:.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f}) | "
                f"{statistics.median(run[2] for run in runs):.2f} | {most / 1e6:.1f} | {most / size:.2f} |",
                flush=True,
            )
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
