"""Latency of dermal beside ONNX Runtime, f32, one photo at a time, interleaved round by round.

usage: python scripts/bench_peers.py ARTIFACT.safetensors MODEL.onnx [--rounds 7] [--runs 20]
                                     [--threads 1 2] [--dermal target/release/dermal]

Needs onnxruntime and numpy. The ONNX file comes from the same Keras model with tf2onnx
(`tf2onnx.convert.from_keras(model, opset=17)`). Every round starts a fresh process of each, one
after the other, so that a slow moment of the machine meets both; the figure to quote is the median
of the rounds' ratios. Each process warms up first and reports the median of its runs.
"""
import argparse
import json
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
    print(json.dumps({"median": statistics.median(times), "version": ort.__version__}))


def spread(values):
    return f"{statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("artifact")
    parser.add_argument("onnx")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dermal", default="target/release/dermal")
    args = parser.parse_args()
    for threads in args.threads:
        ours, theirs, version, isa = [], [], "", ""
        for _ in range(args.rounds):
            command = [args.dermal, "bench", args.artifact, "--threads", str(threads)]
            command += ["--runs", str(args.runs), "--json"]
            report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            ours.append(report["latency_ms"]["median"])
            isa = report["isa"]
            command = [sys.executable, __file__, WORKER, args.onnx, str(threads), str(args.runs)]
            report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            theirs.append(report["median"])
            version = report["version"]
        ratios = [a / b for a, b in zip(ours, theirs)]
        print(f"{threads} threads, {isa}, {args.rounds} rounds of {args.runs} runs")
        print(f"  dermal              {spread(ours)} ms")
        print(f"  onnxruntime {version:7} {spread(theirs)} ms")
        print(f"  ratio               {spread(ratios)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == WORKER:
        worker(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
