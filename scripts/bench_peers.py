"""Latency of dermal beside ONNX Runtime, one photo at a time, interleaved round by round.

usage: python scripts/bench_peers.py FILE FILE [FILE ...] [--rounds 7] [--runs 20] [--threads 1 2]
                                     [--dermal target/release/dermal]

FILE is an artifact (`xception.safetensors`, or `xception.safetensors@avx2` for one instruction
set) or an ONNX file. Every round starts a fresh process of each, one after the other, so that a
slow moment of the machine meets all of them; the figure to quote is the median of the rounds'
ratios to the first file. Each process warms up first and reports the median of its runs.

Needs onnxruntime and numpy. The ONNX file comes from the same Keras model with tf2onnx
(`tf2onnx.convert.from_keras(model, opset=17)`), its INT8 twin from
`onnxruntime.quantization.quantize_static` (QDQ, a scale a channel).
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

WORKER = "--worker"


def worker(path, threads, runs):
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    inputs = {
        i.name: rng.uniform(-1, 1, [1, *i.shape[1:]]).astype(np.float32) for i in session.get_inputs()
    }
    for _ in range(max(2, runs // 5)):
        session.run(None, inputs)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append((time.perf_counter() - start) * 1e3)
    engine = f"onnxruntime {ort.__version__}"
    print(json.dumps({"latency_ms": {"median": statistics.median(times)}, "engine": engine}))


def measured(file, threads, runs, dermal):
    """Median milliseconds of one fresh process, and what ran there."""
    if file.endswith(".onnx"):
        command = [sys.executable, __file__, WORKER, file, str(threads), str(runs)]
    else:
        path, _, isa = file.partition("@")
        command = [dermal, "bench", path, "--threads", str(threads), "--runs", str(runs), "--json"]
        command += ["--isa", isa] if isa else []
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    engine = report.get("engine") or f"dermal {report['isa']}"
    return report["latency_ms"]["median"], engine


def spread(values):
    return f"{statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dermal", default="target/release/dermal")
    args = parser.parse_args()
    for threads in args.threads:
        times, engines = {file: [] for file in args.files}, {}
        for _ in range(args.rounds):
            for file in args.files:
                median, engines[file] = measured(file, threads, args.runs, args.dermal)
                times[file].append(median)
        print(f"{threads} threads, {args.rounds} rounds of {args.runs} runs: ms, ratio to the first")
        for file in args.files:
            ratios = [a / b for a, b in zip(times[file], times[args.files[0]])]
            name = f"{pathlib.Path(file).name} ({engines[file]})"
            print(f"  {name:<52} {spread(times[file])}  {spread(ratios)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == WORKER:
        worker(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
