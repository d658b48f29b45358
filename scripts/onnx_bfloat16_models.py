"""Writes small ONNX models whose weights are bfloat16: fixtures/import/onnx_bfloat16, which
tests/library/onnx_bfloat16.rs reads. `f32.onnx` has the same numbers as floats of 32 bits, so that the
others must give its answers, bit for bit: no other runtime is asked.

    python3 -m venv VENV && VENV/bin/pip install onnx==1.23.2 numpy==2.4.6 ml_dtypes==0.6.0
    VENV/bin/python scripts/onnx_bfloat16_models.py
"""

import pathlib

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "import" / "onnx_bfloat16"
SINGLE, BRAIN = TensorProto.FLOAT, TensorProto.BFLOAT16


def weights():
    rng = np.random.default_rng(3)
    shapes = {"kernel": (4, 3, 3, 3), "bias": (4,), "matrix": (5, 4)}
    return {name: rng.normal(0, 0.5, shape).astype(ml_dtypes.bfloat16) for name, shape in shapes.items()}


def single(name, value):
    return numpy_helper.from_array(value.astype(np.float32), name)


def brain(name, value):
    """As raw bytes, as torch writes it."""
    return helper.make_tensor(name, BRAIN, value.shape, value.tobytes(), raw=True)


def brain_in_ints(name, value):
    """In the field of whole numbers, as onnx' own helpers write it."""
    tensor = TensorProto(name=name, dims=value.shape, data_type=BRAIN)
    tensor.int32_data.extend(value.view(np.uint16).ravel().tolist())
    return tensor


def network(photo, kernel, bias, matrix):
    return [
        helper.make_node("Conv", [photo, kernel, bias], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sums"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["means"]),
        helper.make_node("Flatten", ["means"], ["row"]),
        helper.make_node("Gemm", ["row", matrix], ["logits"], transB=1),
    ]


def write(name, nodes, stored, kind=SINGLE, opset=17):
    photo = helper.make_tensor_value_info("photo", kind, [1, 3, 8, 9])
    logits = helper.make_tensor_value_info("logits", kind, [1, 5])
    constants = [stored(key, value) for key, value in weights().items()]
    graph = helper.make_graph(nodes, name, [photo], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10 if opset > 17 else 8
    onnx.checker.check_model(model, full_check=True)
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    plain = network("photo", "kernel", "bias", "matrix")
    write("f32", plain, single)
    casts = [helper.make_node("Cast", [key], [f"{key}_single"], to=SINGLE) for key in weights()]
    cast = casts + network("photo", "kernel_single", "bias_single", "matrix_single")
    write("weights", cast, brain)
    write("weights_in_ints", cast, brain_in_ints)
    # A network of `model.bfloat16()`: opset 22 has convolutions of it.
    write("whole", plain, brain, kind=BRAIN, opset=22)


if __name__ == "__main__":
    main()
