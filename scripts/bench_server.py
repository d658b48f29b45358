"""Requests a second and memory of `dermal serve` beside FastAPI + ONNX Runtime, interleaved.

usage: python scripts/bench_server.py ARTIFACT.safetensors MODEL.onnx PHOTO.jpg [--large PHOTO.jpg]
                     [--connections 1 8] [--seconds 10] [--rounds 3] [--dermal target/release/dermal]

Needs fastapi, uvicorn, onnxruntime, numpy and Pillow. Both servers answer `POST /predict` with a JPEG as
the body: they decode, resize and run it, and answer with probabilities as JSON. Each has one process and
two threads for the model; dermal runs without its cache of answers. Every round starts a fresh server of
each kind, one after the other, so that a slow moment of the machine affects both. A server answers all
loads in turn: each number of connections, then with `--large` that photo over four connections. Memory is
the VmHWM of the process after each load.
"""
import argparse
import http.client
import pathlib
import statistics
import subprocess
import sys
import threading
import time

PEER = "--peer"


def peer(path, port):
    import io

    import numpy as np
    import onnxruntime as ort
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool
    from PIL import Image

    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    photo = next(i for i in session.get_inputs() if len(i.shape) == 4)
    others = {
        i.name: np.zeros([1, *i.shape[1:]], np.float32) for i in session.get_inputs() if i is not photo
    }
    height, width = photo.shape[1:3]
    app = FastAPI()

    def answer(body):
        image = Image.open(io.BytesIO(body)).convert("RGB").resize((width, height), Image.BILINEAR)
        x = np.asarray(image, np.float32)[None]
        return session.run(None, {photo.name: x, **others})[0][0].tolist()

    @app.get("/readyz")
    def ready():
        return "ok"

    @app.post("/predict")
    async def predict(request: Request):
        body = await request.body()
        return {"probabilities": await run_in_threadpool(answer, body)}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ready(port):
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the server did not get ready")


def load(port, body, connections, seconds):
    """Latencies in ms of all answers with status 200, and the number of other answers."""
    times, refused, end = [], [0], time.perf_counter() + seconds
    lock = threading.Lock()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < end:
            start = time.perf_counter()
            connection.request("POST", "/predict", body, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            response.read()
            with lock:
                if response.status == 200:
                    times.append((time.perf_counter() - start) * 1e3)
                else:
                    refused[0] += 1

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, refused[0]


def peak_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("no VmHWM")


def measure(command, port, loads, seconds):
    """One row for each load, all on the same server."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready(port)
        rows = []
        for body, connections in loads:
            load(port, body, connections, 1)
            times, refused = load(port, body, connections, seconds)
            times.sort()
            rows.append({
                "rps": len(times) / seconds,
                "p50": times[len(times) // 2],
                "p99": times[len(times) * 99 // 100],
                "peak": peak_mb(server.pid),
                "refused": refused,
            })
        return rows
    finally:
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("artifact")
    parser.add_argument("onnx")
    parser.add_argument("photo")
    parser.add_argument("--large")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dermal", default="target/release/dermal")
    args = parser.parse_args()
    loads = [(args.photo, n) for n in args.connections]
    loads += [(args.large, 4)] if args.large else []
    sent = [(pathlib.Path(photo).read_bytes(), connections) for photo, connections in loads]
    seen = {"dermal": [], "fastapi": []}
    for _ in range(args.rounds):
        port = free_port()
        serve = [args.dermal, "serve", args.artifact, "--bind", f"127.0.0.1:{port}", "--cache", "0"]
        seen["dermal"].append(measure(serve, port, sent, args.seconds))
        port = free_port()
        other = [sys.executable, __file__, PEER, args.onnx, str(port)]
        seen["fastapi"].append(measure(other, port, sent, args.seconds))
    print(f"{args.rounds} rounds, {args.seconds:g} s each load")
    for at, (photo, connections) in enumerate(loads):
        print(f"{pathlib.Path(photo).name}, {connections} connections")
        of = {name: [rows[at] for rows in rounds] for name, rounds in seen.items()}
        for name, rows in of.items():
            middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            print(
                f"  {name:8} {middle['rps']:6.1f} requests/s, p50 {middle['p50']:.1f} ms, "
                f"p99 {middle['p99']:.1f} ms, peak {middle['peak']:.1f} MB, {middle['refused']:.0f} refused"
            )
        pairs = list(zip(of["dermal"], of["fastapi"]))
        rate = [a["rps"] / b["rps"] for a, b in pairs]
        memory = [a["peak"] / b["peak"] for a, b in pairs]
        print(
            f"  ratio    {statistics.median(rate):.2f} ({min(rate):.2f} to {max(rate):.2f}) of the requests, "
            f"{statistics.median(memory):.2f} of the memory",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == PEER:
        peer(sys.argv[2], int(sys.argv[3]))
    else:
        main()
