"""Runs the node tests of the `onnx` wheel through dermal: .cache/onnx-node, which
tests/library/onnx_golden.rs reads if it is there and answers in results.json. `--table` makes
docs/onnx-node-tests.md of that.

A node test is one operator, or its definition by other operators, with inputs and outputs. dermal
imports classifiers: one input made of a photo, one output. So a test is written in two ways:

- The first input of real numbers becomes the photo, as a list behind a Reshape to the shape that the test
  has; every other input becomes a constant, as exporters write it; and the outputs of real numbers are
  flattened and joined (of LayerNormalization the first one).
- All inputs become constants, and the outputs are added to a photo of zeros: this is the arithmetic that
  the import evaluates.

A test of an operator that has changed after opset 25 is run as opset 25, and one from before opset 7 as
opset 13, if ONNX's own reference evaluator gives the same there. What cannot be run is listed with the
reason.

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
import re
import shutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / ".cache" / "onnx-node"
TABLE = ROOT / "docs" / "onnx-node-tests.md"
OPSETS = range(7, 26)

# Operators that are not supported, and for what models have them.
KINDS = {
    "text": "RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    "sound and signals": "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    "sequences that are read step by step": "CausalConvWithState GRU LSTM LinearAttention RNN ReverseSequence Scan TensorScatter",
    "language models": "FlexAttention RotaryEmbedding SwiGLU",
    "training": "Adagrad Adam Gradient Momentum NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
    "numbers drawn at random": "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
    "maps as results (segmentation, generation)": "AffineGrid CenterCropPad Col2Im ConvTranspose DeformConv GridSample MaxRoiPool MaxUnpool RoiAlign",
    "boxes as results (detection)": "NonMaxSuppression",
    "the class instead of its probability": "ArgMax ArgMin Hardmax TopK",
    "decoding of photos, which dermal does itself": "ImageDecoder",
    "lists of tensors and optional values": "ConcatFromSequence OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct "
    "SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SplitToSequence Optional",
    "control flow": "If Loop",
    "conditions on values of the photo": "And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Compress Equal Greater GreaterOrEqual "
    "IsInf IsNaN Less LessOrEqual Not NonZero Or Unique Xor Sign",
    "rounding of values of the photo": "Ceil Floor Mod Round",
    "elements moved by values or tables, in no classifier seen": "CumProd CumSum EyeLike GatherElements OneHot Range Scatter "
    "ScatterElements ScatterND Trilu",
    "functions and norms, in no classifier seen": "Acos Acosh Asin Asinh Atan Atanh BitCast Cosh Det GlobalLpPool LpPool Sinh Tan",
}


def array_of(value):
    import numpy as np
    from onnx import TensorProto, numpy_helper

    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    return None


def in_supported_opset(model, inputs, outputs):
    """The model in an opset that is read, or a reason."""
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    imports = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not imports:
        return "operators of ai.onnx.ml and of training"
    opset = imports[0].version
    if opset in OPSETS:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    wanted = 13 if opset < 7 else 25
    next(o for o in changed.opset_import if o.domain in ("", "ai.onnx")).version = wanted
    try:
        onnx.checker.check_model(changed, full_check=True)
        names = [value.name for value in changed.graph.input]
        made = ReferenceEvaluator(changed).run(None, dict(zip(names, inputs)))
        same = all(np.array_equal(np.asarray(a), b) or np.allclose(a, b, rtol=1e-5, atol=1e-6)
                   for a, b in zip(made, outputs))
    except Exception:  # Of whatever kind: the test is not one of that opset.
        same = False
    return changed if same else f"what an opset after {OPSETS[-1]} added" if opset > 25 else f"opset {opset}"


def prepared(case):
    """The model, inputs and outputs as arrays; or a reason."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, outputs = (list(map(array_of, values)) for values in case.data_sets[0])
    if any(a is None for a in inputs + outputs):
        return "lists of tensors or optional values"
    if any(a.dtype.kind in "OUSc" for a in inputs + outputs):
        return "texts or complex numbers"
    model = in_supported_opset(model, inputs, outputs)
    return model if isinstance(model, str) else (model, inputs, outputs)


def finite(arrays):
    import numpy as np

    return all(np.isfinite(a.astype(np.float32)).all() for a in arrays)


def is_real(array):
    import numpy as np

    return array.dtype == np.float32 and array.size > 0


def of_photo(model, arrays, outputs):
    """The model with one input and one output, the photo, and the expected list; or a reason."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    given = [i for i, a in enumerate(arrays) if is_real(a)]
    wanted = [i for i, a in enumerate(outputs) if is_real(a)]
    if not given or not wanted:
        return "no real numbers"
    single = len(graph.node) == 1
    if graph.node[-1].op_type == "LayerNormalization" or "LayerNormalization" in graph.name:
        # Its statistics are refused, which would hide what it computes.
        wanted = wanted[:1]
    photo = given[0]
    x = arrays[photo]
    if not finite([outputs[i] for i in wanted] + [x]):
        return "infinite or undefined numbers"
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
        if i not in wanted and single:
            graph.node[0].output[i] = ""
    after.append(helper.make_node("Concat", lists, ["answer"], axis=1))
    finish(model, [*before, *graph.node, *after], x.size)
    return model, x.ravel(), np.concatenate([outputs[i].ravel() for i in wanted])


def of_constants(model, arrays, outputs):
    """The model with constants only, whose results are added to a photo of zeros; or a reason."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    wanted = [i for i, a in enumerate(outputs) if a.size > 0]
    if not wanted:
        return "no numbers as results"
    if not finite([outputs[i] for i in wanted]):
        return "infinite or undefined numbers"
    for value, array in zip(graph.input, arrays):
        graph.initializer.append(numpy_helper.from_array(array, value.name))
    graph.initializer.append(numpy_helper.from_array(np.array([1, -1], np.int64), "list_shape"))
    after, lists = [], []
    for i in wanted:
        lists.append(f"list_{i}")
        after.append(helper.make_node("Cast", [graph.output[i].name], [f"real_{i}"], to=TensorProto.FLOAT))
        after.append(helper.make_node("Reshape", [f"real_{i}", "list_shape"], [lists[-1]]))
    after.append(helper.make_node("Concat", lists, ["lists"], axis=1))
    after.append(helper.make_node("Add", ["photo", "lists"], ["answer"]))
    expected = np.concatenate([outputs[i].astype(np.float32).ravel() for i in wanted])
    finish(model, [*graph.node, *after], expected.size)
    return model, np.zeros(expected.size, np.float32), expected


def finish(model, nodes, size):
    from onnx import TensorProto, helper

    graph = model.graph
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, size]))
    graph.output.append(helper.make_tensor_value_info("answer", TensorProto.FLOAT, None))


def collect():
    import onnx
    from onnx.backend.test.case.node import collect_testcases

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    cases, skipped, operators = [], [], {}
    all_cases = sorted(collect_testcases(None), key=lambda case: case.name)
    for case in all_cases:
        if len(case.model.graph.node) == 1 and not case.model.functions:
            operators[case.name] = case.model.graph.node[0].op_type
    for case in all_cases:
        base = re.sub(r"_expanded(_ver\d+)?$", "", case.name)
        operator = operators.get(case.name) or operators.get(base) or case.model.graph.node[-1].op_type
        found = prepared(case)
        if isinstance(found, str):
            skipped.append([case.name, operator, found])
            continue
        reasons = []
        for way, wrap in [("photo", of_photo), ("constants", of_constants)]:
            model = onnx.ModelProto()
            model.CopyFrom(found[0])
            made = wrap(model, *found[1:])
            if isinstance(made, str):
                reasons.append(made)
                continue
            model, x, expected = made
            file = f"{case.name}.{way}.onnx"
            (OUT / file).write_bytes(model.SerializeToString())
            cases.append({"file": file, "test": case.name, "operator": operator, "photo": [float(v) for v in x],
                          "output": [float(v) for v in expected], "atol": case.atol, "rtol": case.rtol})
        if len(reasons) == 2:
            skipped.append([case.name, operator, reasons[1]])
    golden = {"onnx": onnx.__version__, "tests": len(all_cases), "cases": cases, "skipped": skipped}
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{len(all_cases)} node tests: {len(cases)} models, {len(skipped)} tests skipped")


def table():
    golden = json.loads((OUT / "golden.json").read_text())
    results = {r["file"]: r for r in json.loads((OUT / "results.json").read_text())}
    ways = collections.defaultdict(dict)
    operators = {}
    for case in golden["cases"]:
        way = case["file"].split(".")[-2]
        ways[case["test"]][way] = results[case["file"]]
        operators[case["test"]] = case["operator"]
    passed, refused, unsupported = collections.defaultdict(lambda: [0, 0, 0]), {}, collections.Counter()
    total = collections.Counter()
    for test, found in ways.items():
        good = [way for way, result in found.items() if result.get("error") is None]
        counts = passed[operators[test]]
        if good:
            counts[0] += 1
            counts[1] += "photo" in good
            counts[2] += "constants" in good
            total["passed"] += 1
            continue
        kinds = {way: result.get("kind") for way, result in found.items()}
        shown = found.get("photo") or found["constants"]
        if all(kind == "unsupported_operators" for kind in kinds.values()) or (
            kinds.get("photo", "unsupported_operators") == "unsupported_operators"
        ):
            unsupported[", ".join(sorted(set(re.findall(r"`([A-Za-z]\w*)`(?: \(of| \(node| \(control| \d)", shown["error"]))))] += 1
            total["unsupported"] += 1
        else:
            refused[test] = shown["error"]
    lines = [
        "# Node tests of ONNX",
        "",
        "Written by `scripts/onnx_backend_test.py --table`; do not edit. These are the node tests of the",
        f"`onnx` wheel {golden['onnx']}, an operator or its definition by other operators each. A test is run with the first",
        "input of real numbers as the photo and all others as constants, and once more with all inputs as constants, which",
        "the import evaluates. The tolerances are those of the suite. A test passes if one of the two gives what the suite",
        "expects and the other does too or is refused by name; a wrong number in either fails the gate.",
        "",
        f"Of {golden['tests']} tests {total['passed']} pass, {len(refused)} are refused because of an attribute or a shape, "
        f"{total['unsupported']} because of an",
        f"operator that is not supported, and {len(golden['skipped'])} are not run.",
        "",
        "| operator | tests passed | with a photo | with constants |",
        "|---|--:|--:|--:|",
        *[f"| {op} | {a} | {b} | {c} |" for op, (a, b, c) in sorted(passed.items()) if a],
        "",
        "## Refused",
        "",
        "| test | why |",
        "|---|---|",
    ]
    clean = lambda text: " ".join(str(text).replace("|", "/").split())[:200]  # noqa: E731
    lines += [f"| {file} | {clean(why)} |" for file, why in sorted(refused.items())]
    lines += ["", "## Operators that are not supported", "", "| for | operators and tests |", "|---|---|"]
    kind_of = {op: kind for kind, ops in KINDS.items() for op in ops.split()}
    groups = collections.defaultdict(list)
    for names, count in unsupported.items():
        kinds = [kind_of.get(name, "other") for name in names.split(", ")]
        kind = next((kind for kind in kinds if kind != "other"), "other")
        groups[kind].append((names.replace(", ", " with "), count))
    for kind, found in sorted(groups.items()):
        lines.append(f"| {kind} | " + ", ".join(f"{name} ({n})" if n > 1 else name for name, n in sorted(found)) + " |")
    lines += ["", "## Not run", ""]
    reasons = collections.defaultdict(list)
    for _, operator, why in golden["skipped"]:
        reasons[why].append(operator)
    for why, names in sorted(reasons.items()):
        counted = collections.Counter(names)
        shown = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in sorted(counted.items()))
        lines += [f"**{why}** ({len(names)}): {shown}", ""]
    TABLE.write_text("\n".join(lines).rstrip() + "\n")
    print(lines[8], lines[9])


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
