"""A small exported Vision Mamba of four blocks, and faults to inject into it."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from shared_files import exported_once

from vim_deploy.export.onnx import to_onnx
from vim_deploy.model import create_model
from vim_deploy.model.synthetic import fill_synthetic
from vim_deploy.ops.signature import INPUT_NAMES
from vim_deploy.precision import Precision
from vim_deploy.tasks.classify.export import ClassifyModule
from vim_deploy.validation.artifacts import Artifact, RunMode, Target

CONFIG = {"embed_dim": 32, "depth": 4, "image_size": [32, 48], "num_classes": 5}


def build_model(**changes):
    model = create_model("vim_tiny", **{**CONFIG, **changes})
    fill_synthetic(model, seed=3)
    return model.eval()


@cache
def exported() -> tuple[object, onnx.ModelProto]:
    model = build_model()
    return model, exported_once("validated", lambda: to_onnx(ClassifyModule(model)))


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(item for item in model.graph.node if item.name == name)


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(item for item in model.graph.initializer if item.name == name)).copy()


def set_input(model: onnx.ModelProto, name: str, index: int, value: np.ndarray) -> None:
    """Give one node a separate constant, since equal constants are shared in an exported graph."""
    model.graph.initializer.append(numpy_helper.from_array(value, f"fault in {name}"))
    node(model, name).input[index] = f"fault in {name}"


def swap_directions(model: onnx.ModelProto) -> str:
    for name in ("layers.2.mixer/SelectiveScan", "layers.2.mixer/SelectiveScan_1"):
        flag = next(item for item in node(model, name).attribute if item.name == "reverse")
        flag.i = 1 - flag.i
    return "layers.2.scan forward"


def leave_halving_out(model: onnx.ModelProto) -> str:
    set_input(model, "layers.1.mixer/Div", 1, np.array(1, np.float32))
    return "layers.1.sum"


def change_epsilon(model: onnx.ModelProto) -> str:
    set_input(model, "layers.3.norm/Add", 1, np.array(1e-6, np.float32))
    return "layers.3.norm"


def _round_one(model: onnx.ModelProto, name: str, index: int) -> None:
    """Round one element of a constant to float16, with a typical rounding error."""
    given = node(model, name).input[index]
    weights = constant(model, given)
    flat = weights.reshape(-1)
    errors = np.abs(flat.astype(np.float16).astype(np.float32) - flat)
    # The element at the upper quartile of the rounding errors: neither exact nor the worst.
    chosen = np.argsort(errors)[3 * len(flat) // 4]
    flat[chosen] = np.float32(np.float16(flat[chosen]))
    set_input(model, name, index, weights)


def round_projection_weight(model: onnx.ModelProto) -> str:
    _round_one(model, "layers.2.mixer.in_proj/MatMul", 1)
    return "layers.2.in_proj"


def round_convolution_weight(model: onnx.ModelProto) -> str:
    _round_one(model, "layers.1.mixer/Mul_6", 1)
    return "layers.1.convolution backward"


def round_output_weight(model: onnx.ModelProto) -> str:
    _round_one(model, "layers.3.mixer.out_proj/MatMul", 1)
    return "layers.3.out_proj"


def half_state(model: onnx.ModelProto) -> str:
    """The scan of block 1 stores its state in float16 between steps."""
    half = copy.deepcopy(model.functions[0])
    half.name = "HalfStateScan"
    step = next(item for item in half.node if item.op_type == "Scan").attribute
    body = next(item.g for item in step if item.name == "body")
    update = next(item for item in body.node if item.output[0] == "h_next")
    update.output[0] = "h_float32"
    index = list(body.node).index(update) + 1
    to_float16 = onnx.helper.make_node("Cast", ["h_float32"], ["h_half"], to=onnx.TensorProto.FLOAT16)
    to_float32 = onnx.helper.make_node("Cast", ["h_half"], ["h_next"], to=onnx.TensorProto.FLOAT)
    body.node.insert(index, to_float16)
    body.node.insert(index + 1, to_float32)
    model.functions.append(half)
    node(model, "layers.1.mixer/SelectiveScan_1").op_type = half.name
    return "layers.1.scan backward"


def gate_with_the_wrong_half(model: onnx.ModelProto) -> str:
    """The scan of block 2 is gated with the half of in_proj that the convolution reads."""
    scan = node(model, "layers.2.mixer/SelectiveScan")
    gate = INPUT_NAMES.index("z")
    split = next(item for item in model.graph.node if scan.input[gate] in item.output)
    scan.input[gate] = next(name for name in split.output if name != scan.input[gate])
    return "layers.2.gate forward"


def open_model(model: onnx.ModelProto, library: bool, **about: object) -> Artifact:
    """A graph in memory, opened as an artifact; `about`: changes of its metadata."""
    from small_onnx import metadata

    from vim_deploy.engines.onnxruntime.backend import OrtRunner
    from vim_deploy.engines.onnxruntime.session import make_session
    from vim_deploy.engines.tensors import TensorSpec
    from vim_deploy.ops.library import ort_library

    session = make_session(model.SerializeToString(), library=ort_library() if library else None, threads=1)
    pixels = TensorSpec("pixels", "float32", (None, 3, *CONFIG["image_size"]))
    outputs = tuple(TensorSpec(item.name, "float32", ()) for item in session.get_outputs())
    target = Target(Path("small.onnx"), RunMode.LIBRARY if library else RunMode.FUNCTION_BODY)
    return Artifact(target, OrtRunner(session, pixels, outputs), metadata(**about), Precision.FP32)
