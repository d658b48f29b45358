#!/usr/bin/env python3
"""Makes hostile files, byte by byte, gives each to every command that takes such a file, and checks the promise:
refused by name (exit status 2, a message and a hint), within five seconds and twice the file's size plus 64 MB, and
nothing outside of the model's folder is read.

usage: scripts/hostile_files.py DERMAL [--markdown] [FORMAT...]

DERMAL is a release build. `--markdown` prints the table of docs/fuzzing.md. Memory is the peak of the child's resident
set (`ru_maxrss`), which also counts the mapped file and the program itself: it can only be too large.
"Read" means that inotify saw an open or read in the folder beside the model's. Needs Python 3.9 and Linux, no packages.
"""

import ctypes
import json
import os
import random
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
PHOTO = FIXTURES / "images/mel_08.jpg"
SECONDS = 5
U64 = (1 << 64) - 1

CASES = []


def case(form, kind, name, content, also=None, accepted=False):
    """A file of a format. `content` is its bytes, or a function that makes it at a path; `also` maps names beside it
    to bytes or functions. `accepted` files are valid however odd: they must only stay within bounds."""
    CASES.append((form, kind, name, content, also or {}, accepted))


# ---------------------------------------------------------------- ONNX


def varint(value):
    out = bytearray()
    value &= U64
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, body):
    body = body.encode() if isinstance(body, str) else body
    return varint(number << 3 | 2) + varint(len(body)) + body


def number(n, value):
    return varint(n << 3) + varint(value)


def attribute(name, value):
    if isinstance(value, int):
        return field(1, name) + number(3, value) + number(20, 2)
    if isinstance(value, float):
        return field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, str):
        return field(1, name) + field(4, value) + number(20, 3)
    return field(1, name) + b"".join(number(8, v) for v in value) + number(20, 7)


def node(op, inputs, outputs, domain="", **attributes):
    body = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs)
    body += field(3, "n") + field(4, op)
    body += b"".join(field(5, attribute(k, v)) for k, v in attributes.items())
    return field(1, body + (field(7, domain) if domain else b""))


def info(n, name, dims):
    shape = b"".join(field(1, number(1, d)) for d in dims)
    return field(n, field(1, name) + field(2, field(1, number(1, 1) + field(2, shape))))


def weight(name, dims, data=None, element=1, more=b""):
    raw = field(9, data) if data is not None else b""
    return field(5, b"".join(number(1, d) for d in dims) + number(2, element) + field(8, name) + raw + more)


def floats(count, value=0.5):
    return struct.pack("<f", value) * count


def ints(name, values):
    return weight(name, [len(values)], b"".join(struct.pack("<q", v) for v in values), element=7)


def external(**entries):
    parts = [field(13, field(1, k) + field(2, v)) for k, v in entries.items()]
    return b"".join(parts) + number(14, 1)


X, Y = info(11, "x", [1, 3, 4, 4]), info(12, "y", [1, 3, 4, 4])


def onnx(*parts, opset=17):
    return number(1, 8) + field(2, "hostile") + field(8, number(2, opset)) + field(7, b"".join(parts))


def onnx_cases():
    def outside(location, name, also=None, **entries):
        w = weight("w", [3, 1, 1], more=external(location=location, **entries))
        kind = "path out of the folder" if also is None else "link, pipe or device beside the model"
        case("onnx", kind, name, onnx(node("Add", ["x", "w"], ["y"]), w, X, Y), also)

    for i, location in enumerate(
        ["../outside/secret", "..", "../../../../etc/passwd", "/etc/passwd", "a/../../outside/secret", "..\\outside\\secret",
         "", ".", "./../outside/secret", "/proc/self/mem", "/dev/zero", "@OUTSIDE@/secret", "secret\0.data",
         "../model/../outside/secret", "~/.profile", "file:///etc/passwd", "%2e%2e/outside/secret"]):  # fmt: skip
        outside(location, f"external_{i}")
    link = lambda to: lambda path: os.symlink(str(to).replace("@OUTSIDE@", str(path.parent.parent / "outside")), path)
    for name, make in {
        "link_to_file": link("@OUTSIDE@/secret"),
        "link_relative": link("../outside/secret"),
        "link_to_itself": link("w"),
        "link_to_device": link("/dev/zero"),
        "link_to_proc": link("/proc/self/mem"),
        "link_to_environment": link("/proc/self/environ"),
        "pipe": os.mkfifo,
        "socket": make_socket,
        "folder": os.mkdir,
        "sparse_terabyte": sparse(1 << 40),
        "empty": b"",
        "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "unreadable_start": b"\0" * 3,
    }.items():
        outside("w", name, {"w": make})
    outside("w/secret", "link_to_folder", {"w": link("@OUTSIDE@")})
    for i, (offset, length) in enumerate(
        [("56", "12"), (str(U64), "12"), (str(U64 + 1), "12"), ("-4", "12"), ("x", "12"), ("0", str(1 << 63)), ("0", "16"),
         ("0", "-1"), ("1e3", "12"), (str((1 << 63) - 1), str((1 << 63) - 1))]):  # fmt: skip
        w = weight("w", [3, 1, 1], more=external(location="w", offset=offset, length=length))
        case("onnx", "lying offset or length", f"offset_{i}", onnx(node("Add", ["x", "w"], ["y"]), w, X, Y), {"w": b"\0" * 64})
    w = [weight(f"w{i}", [3, 1, 1], more=external(location="w", offset=str(i))) for i in range(3)]
    chain = [node("Add", ["x", "w0"], ["a"]), node("Add", ["a", "w1"], ["b"]), node("Add", ["b", "w2"], ["c"]),
             node("Relu", ["c"], ["y"])]  # fmt: skip
    case("onnx", "overlapping offsets", "overlap", onnx(*chain, *w, X, Y), {"w": b"\0" * 64}, accepted=True)

    for i, dims in enumerate([[1 << 63], [1 << 62, 4], [U64] * 3, [1 << 40], [0, 5], [1 << 31, 1 << 31, 4], [1] * 1000,
                              [(1 << 63) - 1, (1 << 63) - 1]]):  # fmt: skip
        file = onnx(node("Add", ["x", "w"], ["y"]), weight("w", dims, b"\0" * 4), X, Y)
        case("onnx", "dimensions of 2^63", f"dims_{i}", file)
    for i, dims in enumerate([[1, 3, 1 << 40, 1 << 40], [1, 3, 1 << 63, 4], [1, 3, 0, 4], [1, 1 << 62, 4, 4], [U64] * 4,
                              [1, 3, 1 << 20, 1 << 20]]):  # fmt: skip
        case("onnx", "dimensions of 2^63", f"photo_{i}", onnx(node("Relu", ["x"], ["y"]), info(11, "x", dims), Y))
    case("onnx", "a million nodes", "nodes", onnx(node("Relu", ["x"], ["y"]) * 1_000_000, X, Y))
    some = node("Relu", ["x"], ["v0"]) + b"".join(node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(60_000))
    case("onnx", "a million nodes", "nodes_60000", onnx(some, node("Relu", ["v60000"], ["y"]), X, Y))
    few = node("Relu", ["x"], ["v0"]) + b"".join(node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(4_000))
    case("onnx", "a million nodes", "nodes_4000", onnx(few, node("Sigmoid", ["v4000"], ["y"]), X, Y), accepted=True)
    weights = weight("w", [1], floats(1)) * 500_000
    case("onnx", "a million nodes", "weights", onnx(node("Relu", ["x"], ["y"]), weights, X, Y))
    body = field(1, "x") * 1_000_000 + field(2, "y") + field(4, "Sum")
    case("onnx", "a million nodes", "inputs", onnx(field(1, body), X, Y))
    body = field(1, "x") + field(2, "y") + field(4, "Relu") + field(5, attribute("a", 1)) * 500_000
    case("onnx", "a million nodes", "attributes", onnx(field(1, body), X, Y))
    entry = field(14, field(1, "k") + field(2, "v"))
    case("onnx", "a million nodes", "metadata", onnx(node("Relu", ["x"], ["y"]), X, Y) + entry * 600_000)

    case("onnx", "cycle", "self", onnx(node("Relu", ["y"], ["y"]), X, Y))
    case("onnx", "cycle", "two", onnx(node("Relu", ["b"], ["y"]), node("Relu", ["y"], ["b"]), X, Y))
    ring = b"".join(node("Relu", [f"v{i}"], [f"v{(i + 1) % 5000}"]) for i in range(5000))
    case("onnx", "cycle", "ring", onnx(ring, node("Add", ["x", "v7"], ["y"]), X, Y))
    case("onnx", "cycle", "twice", onnx(node("Relu", ["x"], ["y"]), node("Relu", ["x"], ["y"]), X, Y))
    case("onnx", "cycle", "missing", onnx(node("Relu", ["nothing"], ["y"]), X, Y))

    deep = b""
    while len(deep) < 234_000:
        body = field(1, "body") + field(6, deep) + number(20, 5)
        deep = field(1, field(1, "x") + field(2, "y") + field(4, "Loop") + field(5, body))
    case("onnx", "deep nesting", "graphs", onnx(deep, X, Y))
    kind = b""
    while len(kind) < 200_000:
        kind = field(4, field(1, kind))
    case("onnx", "deep nesting", "types", onnx(node("Relu", ["x"], ["y"]), field(11, field(1, "x") + field(2, kind)), Y))
    case("onnx", "deep nesting", "groups", number(1, 8) + field(2, "t") + varint(99 << 3 | 3) * 100_000)
    func = b""
    while len(func) < 100_000:
        func = field(25, field(7, field(5, func)))
    case("onnx", "deep nesting", "functions", onnx(node("Relu", ["x"], ["y"]), X, Y) + func, accepted=True)

    good = onnx(node("Relu", ["x"], ["y"]), X, Y)
    start = number(1, 8) + field(2, "t")
    for name, tail in {
        "graph_2_63": b"\x3a\xff\xff\xff\xff\xff\xff\xff\x7f\x0a",
        "graph_2_64": b"\x3a" + varint(U64),
        "overlong_varint": b"\x3a" + b"\x80" * 20 + b"\x01",
        "field_0": b"\x02\x01a",
        "wire_type_7": b"\x3f",
        "end_of_group": b"\x3c",
        "cut": good[len(start) : len(good) // 2],
        "packed_lengths": field(7, field(5, b"\x0a" + varint(1 << 40) + b"\0")),
    }.items():
        case("onnx", "lying offset or length", name, start + tail)

    relu = node("Relu", ["x"], ["y"])
    constants = {
        "fill": [node("ConstantOfShape", ["s"], ["c"]), ints("s", [1 << 40])],
        "fill_2": [node("ConstantOfShape", ["s"], ["c"]), ints("s", [100_000, 100_000])],
        "fill_negative": [node("ConstantOfShape", ["s"], ["c"]), ints("s", [-5])],
        "expand": [node("Expand", ["o", "s"], ["c"]), ints("o", [1]), ints("s", [1 << 32, 1 << 20])],
        "tile": [node("Tile", ["o", "s"], ["c"]), ints("o", [1, 2, 3]), ints("s", [1 << 45])],
        "range": [node("Range", ["a", "b", "d"], ["c"]), *(weight(n, [], struct.pack("<q", v), 7) for n, v in
                  [("a", 0), ("b", (1 << 63) - 1), ("d", 1)])],
        "range_0": [node("Range", ["a", "b", "d"], ["c"]), *(weight(n, [], struct.pack("<q", v), 7) for n, v in
                    [("a", 0), ("b", 5), ("d", 0)])],
        "one_hot": [node("OneHot", ["a", "b", "d"], ["c"]), ints("a", [0]), weight("b", [], struct.pack("<q", 1 << 40), 7),
                    ints("d", [0, 1])],
        "doubled": [node("ConstantOfShape", ["s"], ["d0"]), ints("s", [4]),
                    *(node("Concat", [f"d{i}"] * 2, [f"d{i + 1}"], axis=0) for i in range(60)),
                    node("Identity", ["d60"], ["c"])],
        "pad": [node("Pad", ["o", "s"], ["c"]), ints("o", [1]), ints("s", [1 << 40, 1 << 40])],
        "divided_by_0": [node("Div", ["a", "b"], ["c"]), ints("a", [5]), ints("b", [0])],
        "mod_0": [node("Mod", ["a", "b"], ["c"]), ints("a", [-(1 << 63)]), ints("b", [0])],
        "least_by_minus_1": [node("Div", ["a", "b"], ["c"]), ints("a", [-(1 << 63)]), ints("b", [-1])],
        "gather_outside": [node("Gather", ["a", "b"], ["c"]), ints("a", [5]), ints("b", [1 << 62])],
    }  # fmt: skip
    for name, parts in constants.items():
        case("onnx", "constant that explodes", name, onnx(*parts, node("Add", ["x", "c"], ["y"]), X, Y), accepted=name == "least_by_minus_1")
    for side in (600, 4096):
        shape = [1, 3, side, side]
        case("onnx", "a million nodes", f"classes_{side}", onnx(node("Flatten", ["x"], ["y"]), info(11, "x", shape), Y))
    for name, part in {
        "reshape": [node("Reshape", ["x", "s"], ["y"]), ints("s", [-1, -1, 1 << 40])],
        "reshape_huge": [node("Reshape", ["x", "s"], ["y"]), ints("s", [1 << 62, 1 << 62])],
        "slice_step_0": [node("Slice", ["x", "s", "e", "a", "t"], ["y"]), ints("s", [0]), ints("e", [9]), ints("a", [2]),
                         ints("t", [0])],
        "slice_least": [node("Slice", ["x", "s", "e", "a", "t"], ["y"]), ints("s", [-(1 << 63)]), ints("e", [(1 << 63) - 1]),
                        ints("a", [-(1 << 63)]), ints("t", [-(1 << 63)])],
        "transpose": [node("Transpose", ["x"], ["y"], perm=[0, 0, 0, 1 << 62])],
        "resize": [node("Resize", ["x", "", "s"], ["y"]), weight("s", [4], struct.pack("<4f", 1, 1, 1e30, 1e30))],
        "resize_nan": [node("Resize", ["x", "", "s"], ["y"]), weight("s", [4], struct.pack("<4f", 1, 1, float("nan"), 0))],
        "pad_photo": [node("Pad", ["x", "s"], ["y"]), ints("s", [0, 0, 1 << 40, 0, 0, 0, 1 << 40, 0])],
        "unsqueeze": [node("Unsqueeze", ["x", "s"], ["y"]), ints("s", [1 << 62, -(1 << 63)])],
        "split": [node("Split", ["x", "s"], ["y", "z"]), ints("s", [1 << 62, -(1 << 62)])],
        "depth_to_space": [node("DepthToSpace", ["x"], ["y"], blocksize=1 << 40)],
        "pool": [node("MaxPool", ["x"], ["y"], kernel_shape=[1 << 40, 1 << 40])],
        "pool_padding": [node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1 << 62] * 4)],
        "softmax_axis": [node("Softmax", ["x"], ["y"], axis=-(1 << 63))],
        "flatten_axis": [node("Flatten", ["x"], ["y"], axis=1 << 40)],
        "lrn": [node("LRN", ["x"], ["y"], size=1 << 40)],
    }.items():  # fmt: skip
        case("onnx", "attribute out of range", name, onnx(*part, X, Y))
    conv = lambda w=(4, 3, 3, 3), b=None, **a: onnx(
        node("Conv", ["x", "w"] + (["b"] if b is not None else []), ["y"], **a), weight("w", w, floats(w[0] * w[1] * w[2] * w[3])),
        *([weight("b", [b], floats(b))] if b is not None else []), X, info(12, "y", [1, 4, 2, 2]))  # fmt: skip
    for name, attributes in {
        "group_0": {"group": 0}, "group_huge": {"group": 1 << 62}, "group_negative": {"group": U64},
        "strides_0": {"strides": [0, 0]}, "strides_huge": {"strides": [1 << 62, 1 << 62]},
        "dilations_huge": {"dilations": [1 << 62, 1 << 62]}, "dilations_0": {"dilations": [0, 0]},
        "pads_huge": {"pads": [1 << 62] * 4}, "pads_negative": {"pads": [-9] * 4}, "pads_least": {"pads": [-(1 << 63)] * 4},
        "kernel_shape": {"kernel_shape": [1 << 40, 1]},
    }.items():  # fmt: skip
        case("onnx", "attribute out of range", f"conv_{name}", conv(**attributes))
    # As torch 2.9.1 wrote them for some layers: the bias has another length than the filters.
    for bias in [0, 1, 3, 5, 1000]:
        case("onnx", "bias of a wrong length", f"conv_{bias}", conv(b=bias))
    flat = node("Flatten", ["x"], ["f"])
    for bias in [1000, 3, 0]:
        parts = [flat, node("Gemm", ["f", "w", "b"], ["y"], transB=1), weight("w", [7, 48], floats(336)), weight("b", [bias], floats(bias))]
        case("onnx", "bias of a wrong length", f"gemm_{bias}", onnx(*parts, X, info(12, "y", [1, 7])))
    for count in [1, 2, 4]:
        names = ["s", "b", "m", "v"]
        parts = [node("BatchNormalization", ["x", *names], ["y"])] + [weight(n, [count], floats(count)) for n in names]
        case("onnx", "bias of a wrong length", f"batch_norm_{count}", onnx(*parts, X, Y))
    for name, value in {"nan": float("nan"), "inf": float("inf")}.items():
        case("onnx", "weight that is not finite", name, onnx(node("Add", ["x", "w"], ["y"]), weight("w", [3, 1, 1], floats(3, value)), X, Y))
    big = onnx(node("Conv", ["x", "w"], ["a"], pads=[1] * 4), weight("w", [64, 3, 3, 3], floats(1728)),
               *(node("Relu" if i % 2 else "Sigmoid", ["a" if i == 0 else f"v{i}"], [f"v{i + 1}"]) for i in range(2000)),
               node("GlobalAveragePool", ["v2000"], ["p"]), node("Flatten", ["p"], ["y"]),
               info(11, "x", [1, 3, 1024, 1024]), info(12, "y", [1, 64]))  # fmt: skip
    case("onnx", "asks for hours of computing", "deep_and_wide", big, accepted=True)
    case("onnx", "control flow", "if", onnx(node("If", ["x"], ["y"]), X, Y))
    case("onnx", "not this format", "relu_of_opset_0", onnx(relu, X, Y, opset=0))
    case("onnx", "not this format", "opset_2_63", onnx(relu, X, Y, opset=1 << 63))


# ---------------------------------------------------------------- TFLite


def flat(part, out):
    """Writes a part of a FlatBuffer behind the rest; returns where it begins. A dict is a table, a list of ints a list
    of i32, a list of others a list of offsets, bytes a list of bytes."""
    out.extend(b"\0" * (-len(out) % 4))
    children = []
    if isinstance(part, bytes):
        start = len(out)
        out.extend(struct.pack("<I", len(part)) + part)
    elif isinstance(part, list) and all(isinstance(v, int) for v in part):
        start = len(out)
        out.extend(struct.pack("<I", len(part)) + b"".join(struct.pack("<i", v) for v in part))
    elif isinstance(part, list):
        start = len(out)
        out.extend(struct.pack("<I", len(part)))
        for child in part:
            children.append((len(out), child))
            out.extend(b"\0" * 4)
    else:
        slots = max(part, default=-1) + 1
        table = len(out)
        out.extend(struct.pack("<HH", 4 + 2 * slots, 4 + 4 * len(part)) + b"\0" * 2 * slots)
        out.extend(b"\0" * (-len(out) % 4))
        start = len(out)
        out.extend(struct.pack("<i", start - table))
        for i, (slot, child) in enumerate(part.items()):
            struct.pack_into("<H", out, table + 4 + 2 * slot, 4 + 4 * i)
            if isinstance(child, int):
                out.extend(struct.pack("<I", child & 0xFFFFFFFF))
            else:
                children.append((len(out), child))
                out.extend(b"\0" * 4)
    for at, child in children:
        struct.pack_into("<I", out, at, flat(child, out) - at)
    return start


def tflite(operators, tensors=(), codes=(19,), buffers=(), photo=(1, 4, 4, 3), outputs=(1,), inputs=(0,)):
    tensor = lambda name, shape: {0: list(shape), 1: 0, 2: 0, 3: name}
    all_tensors = [tensor(b"photo", photo), tensor(b"answer", (1, 4, 4, 3)), *tensors]
    graph = {0: all_tensors, 1: list(inputs), 2: list(outputs), 3: list(operators) or [{}]}
    out = bytearray(b"\0\0\0\0TFL3")
    root = flat({0: 3, 1: [{3: code} for code in codes], 2: [graph], 4: [{}, *buffers]}, out)
    struct.pack_into("<I", out, 0, root)
    return bytes(out)


def op(inputs, outputs, code=0, **more):
    return {0: code, 1: list(inputs), 2: list(outputs), **{int(k[1:]): v for k, v in more.items()}}


def tflite_cases():
    good = tflite([op([0], [1])])
    for offset in [0, 3, 8, 1 << 20, (1 << 32) - 1, 1 << 31, len(good) - 1, len(good) - 4]:
        case("tflite", "bad flatbuffer offsets", f"root_{offset}", struct.pack("<I", offset) + good[4:])
    randoms = random.Random(14)
    root = struct.unpack_from("<I", good)[0]
    for value in [0x7FFFFFFF, -0x80000000, 0, 1, -4, root, len(good)]:
        case("tflite", "bad flatbuffer offsets", f"vtable_{value}", good[:root] + struct.pack("<i", value) + good[root + 4 :])
    for i in range(14):
        at = randoms.randrange(8, len(good) - 4) & ~3
        value = randoms.choice([0xFFFFFFFF, 0x7FFFFFFC, 0x80000000])
        bytes_ = good[:at] + struct.pack("<I", value) + good[at + 4 :]
        case("tflite", "bad flatbuffer offsets", f"word_{i}", bytes_, accepted=True)
    for end in [8, 9, len(good) // 3, len(good) // 2, len(good) - 9]:
        case("tflite", "cut", f"cut_{end}", good[:end])
    add = lambda shape, size=4, **more: tflite([op([0, 2], [1])], [{0: list(shape), 1: 0, 2: 1, 3: b"w", **more}], (0,), [{0: b"\0" * size}])
    for i, shape in enumerate([[-1], [0x7FFFFFFF] * 3, [0], [1 << 30, 4], [1] * 9, [-0x80000000], [0x7FFFFFFF], [5]]):
        case("tflite", "dimensions of 2^31", f"weight_{i}", add(shape))
    for i, shape in enumerate([(1, 0x7FFFFFFF, 0x7FFFFFFF, 3), (1, -5, 4, 3), (0, 0, 0, 0), (1, 4, 4, 0x7FFFFFFF), (1, 1 << 20, 1 << 20, 3)]):
        case("tflite", "dimensions of 2^31", f"photo_{i}", tflite([op([0], [1])], photo=shape))
    case("tflite", "a million nodes", "operators", tflite([op([0], [1])] * 1_000_000))
    row = [op([0 if i == 0 else i + 1], [1 if i == 29_999 else i + 2]) for i in range(30_000)]
    row_tensors = [{0: [1, 4, 4, 3], 1: 0, 2: 0} for _ in range(30_000)]
    case("tflite", "a million nodes", "row", tflite(row, row_tensors))
    case("tflite", "a million nodes", "tensors", tflite([op([0], [1])], [{0: [1], 1: 0, 2: 0}] * 300_000))
    case("tflite", "a million nodes", "buffers", tflite([op([0], [1])], buffers=[{}] * 500_000), accepted=True)
    case("tflite", "a million nodes", "inputs", tflite([op([0] * 1_000_000, [1])], codes=(83,)))
    between = [{0: [1, 4, 4, 3], 1: 0, 2: 0, 3: b"between"}]
    for name, operators in {
        "self": [op([1], [1])],
        "two": [op([2], [1]), op([1], [2])],
        "late": [op([2], [1]), op([0], [2])],
        "twice": [op([0], [1]), op([0], [1])],
        "writes_the_photo": [op([0], [0]), op([0], [1])],
    }.items():
        case("tflite", "cycle", name, tflite(operators, between))
    for name, (inputs, outputs) in {"high": ([0], [99]), "negative": ([-2], [1]), "least": ([-0x80000000], [1]), "none": ([], [])}.items():
        case("tflite", "bad index", name, tflite([op(inputs, outputs)]))
    case("tflite", "bad index", "graph_output", tflite([op([0], [1])], outputs=(77,)))
    case("tflite", "bad index", "graph_input", tflite([op([0], [1])], inputs=(-5,)))
    case("tflite", "bad index", "code", tflite([op([0], [1], code=9)]))
    case("tflite", "bad index", "unknown_operator", tflite([op([0], [1])], codes=(9999,)))
    case("tflite", "bad index", "buffer", tflite([op([0, 2], [1])], [{0: [1], 1: 0, 2: 77, 3: b"w"}], (0,)))
    for bias in [0, 1, 3, 5, 100]:
        tensors = [{0: [4, 1, 1, 3], 1: 0, 2: 1, 3: b"w"}, {0: [bias], 1: 0, 2: 2, 3: b"b"}]
        buffers = [{0: floats(12)}, {0: floats(bias)}]
        options = {1: 1, 2: 1}
        case("tflite", "bias of a wrong length", f"conv_{bias}", tflite([op([0, 2, 3], [1], _3=1, _4=options)], tensors, (3,), buffers))
    level = lambda n: {1: n}
    for i, (shape, order, levels) in enumerate([([1 << 15] * 2, [0, 1], [1 << 15] * 2), ([4, 4], [0, 0], [4, 4]), ([4, 4], [0, 1], [0x7FFFFFFF] * 2)]):
        sparse_ = {0: order, 2: [level(n) for n in levels]}
        case("tflite", "constant that explodes", f"sparse_{i}", add(shape, 64, **{}) if False else tflite(
            [op([0, 2], [1])], [{0: shape, 1: 0, 2: 1, 3: b"w", 6: sparse_}], (0,), [{0: b"\0" * 64}]))  # fmt: skip
    doubled = [op([i + 2, i + 2], [i + 3]) for i in range(60)] + [op([0, 62], [1], code=1)]
    case("tflite", "constant that explodes", "doubled", tflite(doubled, [{0: [1024], 1: 0, 2: 1}] + [{0: [], 1: 0, 2: 0}] * 60, (83, 0), [{0: b"\0" * 4096}]))
    for i, scale in enumerate([0.0, -1.0, float("nan"), float("inf")]):
        bits = struct.unpack("<i", struct.pack("<f", scale))[0]
        tensors = [{0: [1, 4, 4, 3], 1: 9, 2: 0, 3: b"q", 4: {2: [bits], 3: [0, 0]}}]
        case("tflite", "weight that is not finite", f"scale_{i}", tflite([op([0], [2]), op([2], [1])], tensors))
    secret = lambda path: os.symlink(path.parent.parent / "outside/labels.txt", path)
    case("tflite", "link, pipe or device beside the model", "labels_link", good, {"labels.txt": secret}, accepted=True)
    case("tflite", "link, pipe or device beside the model", "labels_pipe", good, {"labels.txt": os.mkfifo}, accepted=True)
    case("tflite", "link, pipe or device beside the model", "labels_sparse", good, {"labels.txt": sparse(1 << 40)}, accepted=True)


# ---------------------------------------------------------------- Keras


def keras_parts():
    with zipfile.ZipFile(FIXTURES / "keras/head_softmax.keras") as archive:
        return json.loads(archive.read("config.json")), archive.read("model.weights.h5"), archive.read("metadata.json")


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def keras_cases():
    config, weights, metadata = keras_parts()
    text = json.dumps(config)
    keras = lambda text: zipped([("metadata.json", metadata), ("config.json", text), ("model.weights.h5", weights)])

    def bomb(name, mib):
        """A zip whose entry inflates to so many MiB, of a thousandth of that."""
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        block = deflate.compress(b" " * (1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
        out, directory, count = b"", b"", 0
        for entry, content in [("config.json", text.encode()), ("model.weights.h5", weights)]:
            raw = len(content)
            if entry == name:
                content, raw = block * mib + zlib.compressobj(9, zlib.DEFLATED, -15).flush(), mib << 20
                method = 8
            else:
                method = 0
            head = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0, zlib.crc32(content), len(content), min(raw, 0xFFFFFFFE), len(entry), 0)
            directory += b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + entry.encode()
            out += b"PK\3\4" + head + entry.encode() + content
            count += 1
        end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(out), 0)
        return out + directory + end

    case("keras", "zip bomb", "config", bomb("config.json", 500))
    case("keras", "zip bomb", "weights", bomb("model.weights.h5", 3000))
    case("keras", "zip bomb", "weights_200_mb", bomb("model.weights.h5", 200))
    # 80 MB of text within the limit on what an entry may take, in a file of a few hundred kilobytes.
    case("keras", "zip bomb", "config_60_mb", lambda p: p.write_bytes(keras('{"a": "' + "x" * (60 << 20) + '"}')))
    case("keras", "zip bomb", "list_60_mb", lambda p: p.write_bytes(keras('{"a": [' + "0," * (30 << 20) + "0]}")))
    case("keras", "zip bomb", "nested", zipped([("model.keras", keras(text))]))
    lying = bytearray(keras(text))
    central = lying.rindex(b"PK\x01\x02")
    for name, at, value in [("size_2_32", 24, 0xFFFFFFFE), ("size_0", 24, 0), ("packed_size", 20, 0xFFFFFFFE), ("offset", 42, 0xFFFFFFF0),
                            ("offset_0", 42, 0)]:  # fmt: skip
        other = bytearray(lying)
        struct.pack_into("<I", other, central + at, value)
        # A size that is too large or too small does no harm: the end of the stream counts.
        case("keras", "lying offset or length", f"zip_{name}", bytes(other), accepted=True)
    stored = bytearray(zipped([("metadata.json", metadata), ("config.json", text), ("model.weights.h5", weights)], zipfile.ZIP_STORED))
    other = bytearray(stored)
    other[other.index(weights) + len(weights) // 2] ^= 1
    case("keras", "lying offset or length", "zip_checksum", bytes(other))
    for name, at, value in [("method", 10, 99), ("encrypted", 8, 1)]:
        other = bytearray(stored)
        second = other.index(b"PK\x01\x02", other.index(b"PK\x01\x02") + 4)
        struct.pack_into("<H", other, second + at, value)
        case("keras", "lying offset or length", f"zip_{name}", bytes(other))
    case("keras", "cut", "half", bytes(stored[: len(stored) // 2]))
    case("keras", "path out of the folder", "entries", zipped([("../../outside/config.json", text), ("/etc/model.weights.h5", weights)]))
    case("keras", "path out of the folder", "entries_2", zipped([("..\\config.json", text), ("../model.weights.h5", weights)]))
    case("keras", "a million nodes", "entries", zipped([(f"e{i}", b"") for i in range(150_000)], zipfile.ZIP_STORED))
    case("keras", "deep nesting", "config_lists", keras("[" * 1_000_000))
    case("keras", "deep nesting", "config_maps", keras('{"config":' * 100_000))
    nested = config
    for _ in range(200):
        nested = {"class_name": "Functional", "module": "keras", "config": {"name": "m", "layers": [nested]}}
    case("keras", "deep nesting", "models", keras(json.dumps(nested)))
    layers = config["config"]["layers"]
    case("keras", "a million nodes", "layers", keras(json.dumps({**config, "config": {**config["config"], "layers": layers[:1] + layers[1:2] * 100_000}})))

    def changed(change):
        copy = json.loads(text)
        change(copy["config"]["layers"])
        return keras(json.dumps(copy))

    def setting(key, value):
        def change(layers):
            found = False
            for layer in layers:
                if key in layer["config"]:
                    layer["config"][key] = value
                    found = True
            assert found, (key, [sorted(layer["config"]) for layer in layers])
        return change

    for i, shape in enumerate([[None, 1 << 63, 4, 3], [None, -1, -1, 3], [None, 1e300, 4, 3], [None, 0, 0, 3], [None] * 500, "x", [None, 1 << 20, 1 << 20, 3]]):
        case("keras", "dimensions of 2^63", f"shape_{i}", changed(setting("batch_shape", shape)))
    for i, units in enumerate([1 << 63, -1, 0, 1e300, "many", None, [3], 1 << 31]):
        case("keras", "dimensions of 2^63", f"units_{i}", changed(setting("units", units)))

    def self_cycle(layers):
        for layer in layers[1:]:
            for call in layer.get("inbound_nodes", []):
                for argument in call.get("args", []):
                    if isinstance(argument, dict):
                        argument["config"]["keras_history"][0] = layer["config"]["name"]
    case("keras", "cycle", "self", changed(self_cycle))
    case("keras", "cycle", "name_twice", changed(lambda layers: layers.append(layers[-1])))
    case("keras", "code in the file", "lambda", changed(lambda layers: layers[-1].update({"class_name": "Lambda"})))
    case("keras", "code in the file", "module", changed(lambda layers: layers[-1].update({"class_name": "system", "module": "os", "registered_name": "os>system"})))
    case("keras", "not this format", "null", keras("null"))
    case("keras", "not this format", "utf_16", keras(text.encode("utf-16")))
    case("keras", "not this format", "number", keras("1e999999"))


# ---------------------------------------------------------------- HDF5


def h5_cases():
    good = (FIXTURES / "import/nested.h5").read_bytes()
    size = len(good)
    case("h5", "cut", "half", good[: size // 2])
    case("h5", "cut", "start", good[:100])
    case("h5", "cut", "magic", good[:8])
    # Every plausible address leads to itself, to the start, or out of the file.
    words = [at for at in range(8, size - 8, 8) if 0 < struct.unpack_from("<Q", good, at)[0] < size]
    addresses = random.Random(14).sample(words, 12)
    for at in addresses:
        for name, value in [("itself", at), ("start", 0), ("outside", U64 - 8)]:
            case("h5", "lying offset or length", f"{name}_{at}", good[:at] + struct.pack("<Q", value) + good[at + 8 :], accepted=True)
    root = good.index(b"TREE")
    child = good[: root + 4] + b"\0\x07" + good[root + 6 :]
    case("h5", "deep nesting", "tree_of_level_7", child, accepted=True)


# ---------------------------------------------------------------- artifacts


def artifact_parts(dermal, work):
    path = work / "base.safetensors"
    subprocess.run([dermal, "import", FIXTURES / "keras/head_softmax.keras", "-o", path, "--labels", "a,b,c,d"], check=False, capture_output=True)
    if not path.exists():
        subprocess.run([dermal, "import", FIXTURES / "keras/head_softmax.keras", "-o", path], check=True, capture_output=True)
    content = path.read_bytes()
    length = struct.unpack_from("<Q", content)[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def artifact_cases(header, data):

    def of(text, tail=data):
        text = text.encode() if isinstance(text, str) else text
        text += b" " * (-(len(text) + 8) % 64)
        return struct.pack("<Q", len(text)) + text + tail

    whole = json.dumps(header)
    for name, length in {"0": 0, "7": 7, "2_63": 1 << 63, "2_64": U64, "past_the_end": len(whole) + len(data) + 1000}.items():
        case("artifact", "lying offset or length", f"header_{name}", struct.pack("<Q", length) + whole.encode() + data)
    case("artifact", "cut", "five_bytes", b"\1\0\0\0\0")
    case("artifact", "cut", "data", of(whole, data[: len(data) // 2]))
    case("artifact", "cut", "header", of(whole)[: len(whole) // 2])
    case("artifact", "deep nesting", "lists", of("[" * 1_000_000))
    case("artifact", "deep nesting", "maps", of('{"a":' * 1_000_000))
    case("artifact", "a million nodes", "header_of_9_mb", of(" " * (9 << 20)))

    def changed(change):
        copy = json.loads(whole)
        graph = json.loads(copy["__metadata__"]["dermal.graph"])
        manifest = json.loads(copy["__metadata__"]["dermal.manifest"])
        change(copy, graph, manifest)
        copy["__metadata__"]["dermal.graph"] = json.dumps(graph)
        copy["__metadata__"]["dermal.manifest"] = json.dumps(manifest)
        return of(json.dumps(copy))

    tensors = [name for name in header if name != "__metadata__" and not name.startswith("dermal.filler")]
    first = tensors[0]
    for i, offsets in enumerate([[0, U64], [1 << 63, 1 << 63], [64, 0], [0, 0], [-64, 0], [0, 1e30], [0], [1, 65], [len(data), len(data) + 64]]):
        def change(header, graph, manifest, offsets=offsets):
            header[first]["data_offsets"] = offsets
        case("artifact", "overlapping offsets", f"offsets_{i}", changed(change))
    def overlap(header, graph, manifest):
        for name in tensors:
            header[name]["data_offsets"] = header[first]["data_offsets"]
    case("artifact", "overlapping offsets", "all_alike", changed(overlap))
    for i, shape in enumerate([[1 << 63], [U64, U64], [1 << 32, 1 << 32], [-1], [0], [1] * 100, "x", [1e300]]):
        def change(header, graph, manifest, shape=shape):
            header[first]["shape"] = shape
        case("artifact", "dimensions of 2^63", f"shape_{i}", changed(change))
    for dtype in ["F128", "", "I64", None]:
        def change(header, graph, manifest, dtype=dtype):
            header[first]["dtype"] = dtype
        case("artifact", "not this format", f"dtype_{dtype}", changed(change))

    def nodes(change):
        return changed(lambda header, graph, manifest: change(graph["nodes"]))
    last = lambda graph_nodes: graph_nodes[-1]
    case("artifact", "cycle", "self", nodes(lambda n: last(n).update(inputs=[len(n) - 1])))
    case("artifact", "cycle", "forward", nodes(lambda n: n[1].update(inputs=[len(n) - 1])))
    case("artifact", "bad index", "input_2_63", nodes(lambda n: last(n).update(inputs=[1 << 63])))
    case("artifact", "bad index", "input_outside", nodes(lambda n: last(n).update(inputs=[10_000])))
    case("artifact", "bad index", "output", changed(lambda h, g, m: g.update(output=1 << 40)))
    case("artifact", "bad index", "no_nodes", nodes(lambda n: n.clear()))
    case("artifact", "a million nodes", "nodes", nodes(lambda n: n.extend([last(n)] * 20_000)))
    least = '{"name":"","op":"input","shape":[1],"inputs":[]},'
    for name, unit in {"nodes_8_mb": least, "numbers_8_mb": "0,", "lists_8_mb": "[],", "maps_8_mb": "{},"}.items():
        count = (8 << 20) // (len(unit) + unit.count('"')) - 2_000
        graph = '{"name":"g","output":0,"nodes":[' + (unit * count).rstrip(",") + "]}"
        case("artifact", "a million nodes", name, of(json.dumps({"__metadata__": {"dermal.format": "1", "dermal.graph": graph, "dermal.manifest": "{}"}})[: 8 << 20], b""))
    entries = ",".join(f'"t{i}":{{"dtype":"F32","shape":[],"data_offsets":[0,0]}}' for i in range(130_000))
    case("artifact", "a million nodes", "tensors_8_mb", of("{" + entries + "}", b""))
    case("artifact", "a million nodes", "labels", changed(lambda h, g, m: m.update(labels=["x"] * 1_000_000)))
    case("artifact", "deep nesting", "graph", changed(lambda h, g, m: g.update(nodes=json.loads("[" * 100 + "]" * 100))))
    case("artifact", "not this format", "unread_tensor", of(json.dumps({**header, "zzz": {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}})))
    case("artifact", "not this format", "missing_tensor", of(json.dumps({k: v for k, v in header.items() if k != first})))
    case("artifact", "not this format", "future_version", of(whole.replace('"dermal.format": "1"', '"dermal.format": "999"')))
    def bias(header, graph, manifest):
        for item in graph["nodes"]:
            for key in ("filters", "units"):
                for holder in [item, item.get("op") if isinstance(item.get("op"), dict) else {}]:
                    if isinstance(holder, dict) and key in holder:
                        holder[key] += 1
    case("artifact", "bias of a wrong length", "units", changed(bias))
    def recipe(**fields):
        def change(header, graph, manifest):
            for spec in manifest["inputs"]:
                for key, value in fields.items():
                    text = json.dumps(spec)
                    assert f'"{key}"' in text, text
                    walk(spec, key, value)
        return change
    def walk(value, key, new):
        if isinstance(value, dict):
            for k in value:
                if k == key:
                    value[k] = new
                else:
                    walk(value[k], key, new)
    for i, (key, value) in enumerate([("scale", 1e300), ("scale", "x"), ("mean", [1e39] * 3), ("std", [0, 0, 0]), ("std", [-1] * 3)]):
        case("artifact", "attribute out of range", f"recipe_{i}", changed(recipe(**{key: value})), accepted=True)


# ---------------------------------------------------------------- photos


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth=8, colour=2, body=None, extra=b""):
    body = zlib.compress(b"\0" * 1000) if body is None else body
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + extra +
            chunk(b"IDAT", body) + chunk(b"IEND", b""))  # fmt: skip


def photo_cases():
    bomb = zlib.compress(b"\0" * (200 << 20), 9)
    for i, (w, h) in enumerate([(100_000, 100_000), (0x7FFFFFFF, 0x7FFFFFFF), (0x7FFFFFFF, 1), (0, 5), (7_000, 7_001)]):
        case("photo", "dimensions of 2^31", f"png_{i}", png(w, h))
    case("photo", "zip bomb", "png_profile", png(4, 4, extra=chunk(b"iCCP", b"p\0\0" + bomb)), accepted=True)
    case("photo", "zip bomb", "png_text", png(4, 4, extra=chunk(b"zTXt", b"t\0\0" + bomb)), accepted=True)
    case("photo", "zip bomb", "png_itxt", png(4, 4, extra=chunk(b"iTXt", b"t\0\1\0\0\0" + bomb)), accepted=True)
    case("photo", "zip bomb", "png_pixels", png(4, 4, body=bomb), accepted=True)
    case("photo", "lying offset or length", "png_chunk", png(4, 4)[:33] + b"\x7f\xff\xff\xffIDAT")
    case("photo", "zip bomb", "png_16_bit", png(7_000, 7_000, 16, 6, zlib.compress(b"\0" * (1 << 20))))
    jpeg = PHOTO.read_bytes()
    sof = jpeg.index(b"\xff\xc0") if b"\xff\xc0" in jpeg else jpeg.index(b"\xff\xc2")
    sized = lambda w, h: jpeg[: sof + 5] + struct.pack(">HH", h, w) + jpeg[sof + 9 :]
    case("photo", "dimensions of 2^31", "jpeg", sized(65_535, 65_535))
    case("photo", "dimensions of 2^31", "jpeg_0", sized(0, 0))
    case("photo", "lying offset or length", "jpeg_7000", sized(7_000, 7_000), accepted=True)
    case("photo", "cut", "jpeg", jpeg[: sof + 12])
    frame = jpeg[sof : sof + 2 + struct.unpack_from(">H", jpeg, sof + 2)[0]]
    case("photo", "a million nodes", "jpeg_frames", jpeg[:sof] + frame * 100_000)
    case("photo", "a million nodes", "jpeg_comments", jpeg[:2] + b"\xff\xfe\0\2" * 2_000_000)
    scan = jpeg.index(b"\xff\xda")
    case("photo", "a million nodes", "jpeg_scans", jpeg[:scan] + jpeg[scan : scan + 14] * 100_000 + jpeg[scan:], accepted=True)
    tiff = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x112, 3, 1, 6) + struct.pack("<I", 8)
    app = b"\xff\xe1" + struct.pack(">H", len(tiff) + 2) + tiff
    case("photo", "cycle", "exif", jpeg[:2] + app + jpeg[2:], accepted=True)
    bmp = lambda w, h, bits=24, compression=0, offset=54, header=40, colours=0: (
        b"BM" + struct.pack("<IHHI", 1000, 0, 0, offset) + struct.pack("<IiiHHIIiiII", header, w, h, 1, bits, compression, 0, 0, 0, colours, 0) + b"\0" * 500)  # fmt: skip
    for i, arguments in enumerate([(0x7FFFFFFF, 0x7FFFFFFF), (-5, 5), (5, -0x80000000), (50_000, 50_000), (0, 0)]):
        case("photo", "dimensions of 2^31", f"bmp_{i}", bmp(*arguments))
    case("photo", "lying offset or length", "bmp_offset", bmp(9, 9, offset=0xFFFFFFFF))
    case("photo", "lying offset or length", "bmp_header", bmp(9, 9, header=0xFFFFFFFF))
    case("photo", "lying offset or length", "bmp_colours", bmp(9, 9, bits=8, colours=0xFFFFFFFF))
    case("photo", "zip bomb", "bmp_rle", bmp(7_000, 7_000, bits=8, compression=1))
    riff = lambda body: b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    vp8l = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", 16383 | 16383 << 14) + b"\0" * 5
    case("photo", "dimensions of 2^31", "webp_lossless", riff(vp8l))
    case("photo", "dimensions of 2^31", "webp_canvas", riff(b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff" * 6))
    case("photo", "lying offset or length", "webp_chunk", riff(b"VP8L\xff\xff\xff\xff\x2f\0\0\0\0"))


# ---------------------------------------------------------------- YAML


def yaml_cases():
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n" for p, c in zip("abcdefgh", "bcdefghi"))
    for name, text in {
        "billion_laughs": laughs,
        "itself": "a: &a [*a]\n",
        "merge_itself": "a: &a {<<: *a}\n",
        "deep_flow": "a: " + "[" * 30_000,
        "deep_block": "".join(" " * i + "a:\n" for i in range(300)),
        "deep_maps": "{a: " * 15_000,
        "keys": "".join(f"k{i}: 1\n" for i in range(6_000)),
        "key_twice": "scale: 1\nscale: 2\n",
        "python": "!!python/object/apply:os.system ['true']\n",
        "number": "scale: 1e999999999999\n",
        "integer": "short_side: 99999999999999999999999999\n",
        "nan": "mean: .nan\n",
        "zero_std": "std: 0\n",
        "unknown_filter": "filter: 5\n",
        "nul": "scale: \0\n",
        "utf_16": "scale: 1\n".encode("utf-16"),
        "long": "# " + "x" * (200 << 10),
        "gigabyte": sparse(1 << 30),
        "tabs": "\t" * 10_000 + "a: b",
        "anchors": "".join(f"- &a{i} x\n" for i in range(5_000)),
    }.items():
        content = text.encode() if isinstance(text, str) else text
        kind = "constant that explodes" if name in ("billion_laughs", "itself", "merge_itself") else "deep nesting" if name.startswith("deep") else "settings that lie"
        case("yaml", kind, name, content)


# ---------------------------------------------------------------- files that are none


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)
        server.bind(path.name)
        os.chdir("/")


def sparse(size):
    def make(path):
        with open(path, "wb") as file:
            file.truncate(size)
    return make


def no_file_cases():
    link = lambda to: lambda path: os.symlink(to, path)
    for name, make in {
        "pipe": os.mkfifo,
        "socket": make_socket,
        "folder": os.mkdir,
        "link_to_itself": link("model"),
        "dev_zero": link("/dev/zero"),
        "dev_urandom": link("/dev/urandom"),
        "dev_null": link("/dev/null"),
        "proc_mem": link("/proc/self/mem"),
        "proc_environ": link("/proc/self/environ"),
        "proc_kcore": link("/proc/kcore"),
        "proc_maps": link("/proc/self/maps"),
        "sparse_terabyte": sparse(1 << 40),
        "sparse_4_gb": sparse(1 << 32),
        "empty": b"",
    }.items():
        case("none", "pipe, device or folder as the model", name, make)


# ---------------------------------------------------------------- running


class Watch:
    """Sees whether files of a folder are opened or read."""

    def __init__(self, folder):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK)
        opened, accessed = 0x20, 0x1
        if self.fd < 0 or self.libc.inotify_add_watch(self.fd, str(folder).encode(), opened | accessed) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def seen(self):
        try:
            return bool(os.read(self.fd, 1 << 16))
        except BlockingIOError:
            return False


def commands(form, path, out):
    keras = FIXTURES / "keras/head_softmax.keras"
    source = [["import", path, "-o", out], ["import", path, "--dry-run"], ["diff", path, "@BASE@"]]
    model = [["predict", path, PHOTO], ["inspect", path], ["export", path, "-o", out], ["diff", "@BASE@", path],
             ["quantize", path, "-o", out, "--to", "fp16"], ["estimate", path],
             ["compare", "@BASE@", path, "--fixtures", FIXTURES / "labels.csv"]]  # fmt: skip
    return {
        "artifact": model,
        "none": source + model,
        "photo": [["predict", path]],
        "yaml": [["import", keras, "-o", out, option, path] for option in ("--preprocess", "--fields")],
    }.get(form, source)


class Runner:
    """Runs commands from a process of its own, which is forked while this script is still small: the peak of a child
    includes that of the process that started it."""

    def __init__(self):
        to_child, self.commands = os.pipe()
        self.answers, from_child = os.pipe()
        if os.fork() == 0:
            os.close(self.commands)
            with open(to_child) as commands, open(from_child, "w") as answers:
                for line in commands:
                    answers.write(json.dumps(run(*json.loads(line))) + "\n")
                    answers.flush()
            os._exit(0)
        os.close(to_child)
        os.close(from_child)
        self.commands, self.answers = open(self.commands, "w"), open(self.answers)

    def run(self, arguments, cwd):
        self.commands.write(json.dumps([arguments, str(cwd)]) + "\n")
        self.commands.flush()
        return json.loads(self.answers.readline())


def run(arguments, cwd):
    """Exit status, standard error, seconds, and the peak resident set in bytes."""
    with tempfile.TemporaryFile() as stderr:
        started = time.monotonic()
        child = subprocess.Popen(arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        status = None
        while time.monotonic() - started < 2 * SECONDS:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.001)
        else:
            child.kill()
            _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        return child.returncode, stderr.read().decode(errors="replace"), seconds, usage.ru_maxrss * 1024


def reason(stderr):
    """The cause, in one line: the last line of the error before its hint."""
    lines = stderr.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("error: ")), None)
    if start is None:
        return ""
    error = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith("  "):
            break
        error.append(line)
    return error[-1].removeprefix("error: ").strip()


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--markdown"]
    if not arguments:
        sys.exit(__doc__)
    dermal, only = str(Path(arguments[0]).resolve()), arguments[1:]
    runner = Runner()
    work = Path(tempfile.mkdtemp(prefix="hostile-"))
    # An abort must not leave a core file of a gigabyte.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    makers = {
        "onnx": onnx_cases,
        "tflite": tflite_cases,
        "keras": keras_cases,
        "h5": h5_cases,
        "artifact": lambda: artifact_cases(header, data),
        "photo": photo_cases,
        "yaml": yaml_cases,
        "none": no_file_cases,
    }
    header, data = artifact_parts(dermal, work)
    for form in only or makers:
        makers[form]()
    outside = work / "outside"
    outside.mkdir()
    for name in ["secret", "labels.txt", "config.json"]:
        (outside / name).write_bytes(b"SECRET\n" * 10)
    watch = Watch(outside)
    rows, failures, runs = {}, [], 0
    for form, kind, name, content, also, accepted in CASES:
        folder = work / "model"
        folder.mkdir()
        path = folder / "model"
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.replace(b"@OUTSIDE@", str(outside).encode()) if b"@OUTSIDE@" in content[:4096] else content)
        for beside, what in also.items():
            what(folder / beside) if callable(what) else (folder / beside).write_bytes(what)
        if form == "onnx" and b"@OUTSIDE@" in (content if isinstance(content, bytes) else b""):
            path.write_bytes(onnx(node("Add", ["x", "w"], ["y"]), weight("w", [3, 1, 1], more=external(location=f"{outside}/secret")), X, Y))
        watch.seen()
        is_file = path.is_file() and not path.is_symlink()
        size = path.stat().st_size if is_file else 0
        # A file with holes takes no space.
        size = min(size, path.stat().st_blocks * 512 + 4096) if is_file else 0
        size += sum(p.stat().st_size for p in folder.iterdir() if p != path and p.is_file() and not p.is_symlink() and p.stat().st_blocks)
        row = rows.setdefault((form, kind), {"files": 0, "reasons": {}, "seconds": 0.0, "memory": 0.0, "size": 0})
        row["files"] += 1
        for command in commands(form, path, work / "out.safetensors"):
            if name == "pipe" and form == "none" and command[0] == "predict":
                # A photo may be a pipe, which is waited for.
                continue
            command = [dermal] + [str(part).replace("@BASE@", str(work / "base.safetensors")) for part in command]
            code, stderr, seconds, memory = runner.run(command, folder)
            runs += 1
            shown = f"{form} {kind}: {name}: {' '.join(Path(part).name if '/' in part else part for part in command[1:])}"
            named = code == 2 and "error: " in stderr and "hint: " in stderr
            bad = []
            # A dry run lists what is in the way, and answers no.
            named = named or code == 1 and "--dry-run" in command
            if not named and not (accepted and code in (0, 1, 3)):
                bad.append(f"exit status {code}")
            if "panicked" in stderr or code < 0:
                bad.append("abort")
            if seconds > SECONDS:
                bad.append(f"{seconds:.1f} s")
            if memory > 2 * size + (64 << 20):
                bad.append(f"{memory >> 20} MB for {size} bytes")
            if watch.seen():
                bad.append("read outside of the folder")
            if bad:
                failures.append(f"{shown}: {', '.join(bad)}: {reason(stderr) or stderr[-200:]}")
                print(failures[-1], file=sys.stderr)
            row["seconds"] = max(row["seconds"], seconds)
            if memory - 2 * size > row["memory"] - 2 * row["size"] or row["memory"] == 0:
                row["memory"], row["size"] = memory, size
            why = reason(stderr) if code == 2 else "accepted"
            row["reasons"].setdefault(why, 0)
            row["reasons"][why] += 1
        shutil.rmtree(folder)
        for left in work.glob("out.safetensors*"):
            left.unlink()
    print(f"{len(CASES)} files, {runs} runs, {len(failures)} failures", file=sys.stderr)
    if "--markdown" in sys.argv:
        print("| Format | Kind | Files | Slowest | Most memory, of a file of | Refused with, for instance |")
        print("|---|---|--:|--:|--:|---|")
        for (form, kind), row in sorted(rows.items()):
            why = max(row["reasons"], key=lambda text: (text != "accepted", row["reasons"][text]))
            why = why.replace("|", "\\|").replace(str(work), "...")
            why = why if len(why) <= 110 else why[:107] + "..."
            print(f"| {form} | {kind} | {row['files']} | {row['seconds']:.2f} s | {row['memory'] / 2**20:.0f} MB, {row['size'] / 2**20:.1f} MB | {why} |")
    shutil.rmtree(work)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
