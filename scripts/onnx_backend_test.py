"""Runs the node tests of the `onnx` wheel through dermal: .cache/onnx-node, which
tests/library/onnx_golden.rs reads if it is there and answers in results.json. `--table` makes
docs/onnx-node-tests.md of that.

A node test is one operator with its inputs and outputs. dermal imports classifiers: one input made of
a photo, one output. So the first input of real numbers becomes the photo, as a list behind a Reshape
to the shape that the test has; every other input becomes a constant, as exporters write it; and the
outputs of real numbers are flattened and joined (of LayerNormalization the first one). Tests whose data flow cannot be said so are skipped,
and listed with the reason.

Needs a Python of its own:
    python3 -m venv VENV && VENV/bin/pip install onnx==1.23.2 numpy==2.4.6
    VENV/bin/python scripts/onnx_backend_test.py
    cargo test --test library node_tests
    VENV/bin/python scripts/onnx_backend_test.py --table
"""

import argparse
import collections
import json
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / ".cache" / "onnx-node"
TABLE = ROOT / "docs" / "onnx-node-tests.md"
OPSETS = range(7, 26)


def wrapped(case):
    """The model with one input and one output, the photo, and the expected list; or a reason."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        return f"opset {opset}"
    inputs, outputs = case.data_sets[0]
    graph = model.graph
    arrays = [a if isinstance(a, np.ndarray) else None for a in inputs]
    if any(a is None for a in arrays) or any(not isinstance(a, np.ndarray) for a in outputs):
        return "sequences or optional values"
    given = [i for i, a in enumerate(arrays) if a.dtype == np.float32 and a.size > 0]
    if not given:
        return "no input of 32-bit real numbers"
    wanted = [i for i, a in enumerate(outputs) if a.dtype == np.float32 and a.size > 0]
    if not wanted:
        return "no output of 32-bit real numbers"
    if graph.node[0].op_type == "LayerNormalization":
        # Its statistics are refused, which would hide what it computes.
        wanted = wanted[:1]
    photo = given[0]
    x = arrays[photo]
    if not all(np.isfinite(outputs[i]).all() for i in wanted):
        return "infinite or undefined results"
    names = [value.name for value in graph.input]
    for i, (name, array) in enumerate(zip(names, arrays)):
        if i != photo:
            graph.initializer.append(numpy_helper.from_array(array, name))
    before = [helper.make_node("Reshape", ["photo", "photo_shape"], [names[photo]])]
    shapes = [("photo_shape", list(x.shape)), ("list_shape", [1, -1])]
    for name, shape in shapes:
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    after, lists = [], []
    for i in wanted:
        lists.append(f"list_{i}")
        after.append(helper.make_node("Reshape", [graph.output[i].name, "list_shape"], [lists[-1]]))
    for i in range(len(outputs)):
        if i not in wanted:
            graph.node[0].output[i] = ""
    after.append(helper.make_node("Concat", lists, ["answer"], axis=1))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, x.size]))
    graph.output.append(helper.make_tensor_value_info("answer", TensorProto.FLOAT, None))
    expected = np.concatenate([outputs[i].ravel() for i in wanted])
    return model, x.ravel(), expected, case.atol, case.rtol


def collect():
    import onnx
    from onnx.backend.test.case.node import collect_testcases

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    cases, skipped = [], []
    for case in sorted(collect_testcases(None), key=lambda case: case.name):
        operators = {node.op_type for node in case.model.graph.node}
        if len(case.model.graph.node) != 1 or case.model.functions:
            skipped.append([case.name, sorted(operators), "more than one node (an operator as its definition)"])
            continue
        [operator] = operators
        made = wrapped(case)
        if isinstance(made, str):
            skipped.append([case.name, [operator], made])
            continue
        model, x, expected, atol, rtol = made
        (OUT / f"{case.name}.onnx").write_bytes(model.SerializeToString())
        cases.append({"file": f"{case.name}.onnx", "operator": operator, "photo": [float(v) for v in x],
                      "output": [float(v) for v in expected], "atol": atol, "rtol": rtol})
    golden = {"onnx": onnx.__version__, "cases": cases, "skipped": skipped}
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{len(cases)} node tests, {len(skipped)} skipped")


def table():
    golden = json.loads((OUT / "golden.json").read_text())
    results = {r["file"]: r for r in json.loads((OUT / "results.json").read_text())}
    tests = {c["file"]: c["operator"] for c in golden["cases"]}
    for file in list(tests):
        if results[file].get("kind") == "unsupported_operators":
            golden["skipped"].append([file, [tests.pop(file)], "operator not supported"])
    results = {file: results[file].get("error") for file in tests}
    passed = collections.Counter(op for file, op in tests.items() if results[file] is None)
    refused = {file: results[file] for file in tests if results[file] is not None}
    lines = [
        "# Node tests of ONNX",
        "",
        "Written by `scripts/onnx_backend_test.py --table`; do not edit. These are the node tests of the",
        f"`onnx` wheel {golden['onnx']}. Each runs through dermal's import and engine, and is compared with the",
        "tolerances of the suite: the first input of real numbers is the photo, all others are constants.",
        "",
        f"{sum(passed.values())} passed, {len(refused)} were refused by name, {len(golden['skipped'])} skipped.",
        "",
        "| operator | passed |",
        "|---|--:|",
        *[f"| {op} | {n} |" for op, n in sorted(passed.items())],
        "",
        "## Refused",
        "",
        "| test | why |",
        "|---|---|",
    ]
    clean = lambda text: " ".join(str(text).replace("|", "/").split())[:200]  # noqa: E731
    lines += [f"| {file.removesuffix('.onnx')} | {clean(why)} |" for file, why in sorted(refused.items())]
    lines += ["", "## Skipped", ""]
    reasons = collections.defaultdict(list)
    for name, operators, why in golden["skipped"]:
        of_operator = "operator" in why and "definition" not in why
        reasons[why].append(operators[0] if of_operator else name)
    for why, names in sorted(reasons.items()):
        counted = collections.Counter(names)
        shown = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in sorted(counted.items()))
        lines += [f"**{why}** ({len(names)}): {shown}", ""]
    TABLE.write_text("\n".join(lines).rstrip() + "\n")
    print(lines[6])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        table()
    else:
        collect()


if __name__ == "__main__":
    main()
