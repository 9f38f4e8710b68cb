"""Fused graphs compared with the reference on every instruction set, and graphs that cannot be fused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from golden_data import assert_close, load_tensors
from golden_models import CASES, golden_export

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN
from vim_deploy.engines.fusion.rewrite import fuse
from vim_deploy.export.onnx import to_onnx
from vim_deploy.model import VimConfig, VisionMamba
from vim_deploy.ops.library import usable_instruction_sets
from vim_deploy.ops.signature import OP_NAME
from vim_deploy.tasks.classify.export import ClassifyModule

pytest.importorskip("onnxruntime", reason="running fused graphs needs onnxruntime")

RELATIVE_TOLERANCE = 2e-5  # recommended by the golden data for float32
FUSED_CASES = ("midcls", "rect_64x96")
RUN = """
import sys
import numpy as np
import onnxruntime as ort
from vim_deploy.ops.library import ort_library

model, pixels, logits, threads = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
options.register_custom_ops_library(str(ort_library()))
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
np.save(logits, session.run(None, {"pixels": np.load(pixels)})[0])
"""


def run(model: Path, pixels: np.ndarray, instruction_set: str, threads: int) -> np.ndarray:
    """The logits, from a separate process: the library selects its instruction set when it is loaded."""
    pixels_file, logits_file = model.with_suffix(".pixels.npy"), model.with_suffix(".logits.npy")
    np.save(pixels_file, pixels)
    command = [sys.executable, "-c", RUN, *map(str, (model, pixels_file, logits_file, threads))]
    environment = {**os.environ, "VIM_DEPLOY_ISA": instruction_set}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return np.load(logits_file)


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", FUSED_CASES)
def test_fused_graph_equals_the_reference_on_every_instruction_set(name, tmp_path):
    model = golden_export(name)
    depth = CASES[name]["flags"]["depth"]
    counts = fuse(model)
    assert counts == {"RMSNorm": 1, "AddRMSNorm": depth, "CausalConvPair": depth, "ScanPair": depth}
    left = kinds(model)
    assert not {OP_NAME, "Pad", "Sigmoid", "Split", "Sqrt", "Pow"} & set(left)
    assert left["MatMul"] == 4 * depth
    onnx.checker.check_model(model)
    file = tmp_path / "fused.onnx"
    onnx.save(model, file)
    tensors = load_tensors(f"model_{name}")
    for instruction_set in usable_instruction_sets():
        one = run(file, tensors["image"], instruction_set, threads=1)
        assert_close(one, tensors["logits_f64"], RELATIVE_TOLERANCE)
        if instruction_set == usable_instruction_sets()[0]:
            np.testing.assert_array_equal(run(file, tensors["image"], instruction_set, threads=2), one)


@pytest.fixture
def graph():
    return golden_export("rect_64x96")


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(item for item in model.graph.initializer if item.name == name)


def own_constant(model: onnx.ModelProto, node: onnx.NodeProto, index: int, value: np.ndarray) -> None:
    """Give a node another constant, not shared with other nodes."""
    name = f"{node.name}/own{index}"
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    node.input[index] = name


def shift_slice(model):
    node = first(model, "Pad")
    piece = next(user for user in model.graph.node if node.output[0] in user.input)
    own_constant(model, piece, 1, np.array([1], np.int64))


def pad_with_ones(model):
    node = first(model, "Pad")
    node.input.append("one")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))


def pad_elsewhere(model):
    own_constant(model, first(model, "Pad"), 1, np.array([0, 2, 0, 0, 1, 0], np.int64))


def reverse_a_scan(model):
    node = first(model, OP_NAME)
    next(item for item in node.attribute if item.name == "reverse").i ^= 1


def change_softplus(model):
    node = first(model, OP_NAME)
    next(item for item in node.attribute if item.name == "delta_softplus").i = 0


def exchange_projections(model):
    node = first(model, OP_NAME)
    node.input[3], node.input[4] = node.input[4], node.input[3]


def use_an_inner_value(model):
    node = first(model, "Sigmoid")
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, ["batch", None, None])
    )


def remove_shapes(model):
    del model.graph.value_info[:]


@pytest.mark.parametrize(
    "change",
    [
        shift_slice,
        pad_with_ones,
        pad_elsewhere,
        reverse_a_scan,
        change_softplus,
        exchange_projections,
        use_an_inner_value,
        remove_shapes,
    ],
)
def test_other_mixers_are_not_fused(change, graph):
    depth = kinds(graph)[OP_NAME] // 2
    change(graph)
    counts = fuse(graph)
    fused = 0 if change is remove_shapes else depth - 1
    assert counts.get("ScanPair", 0) == counts.get("CausalConvPair", 0) == fused
    assert kinds(graph)[OP_NAME] == 2 * (depth - fused)


def square_to_cube(model):
    own_constant(model, first(model, "Pow"), 1, np.array(3, np.float32))


def mean_over_tokens(model):
    node = first(model, "ReduceMean")
    next(item for item in node.attribute if item.name == "axes").ints[:] = [1]


@pytest.mark.parametrize("change", [square_to_cube, mean_over_tokens])
def test_other_norms_are_not_fused(change, graph):
    norms = kinds(graph)["Pow"]
    change(graph)
    counts = fuse(graph)
    assert counts["AddRMSNorm"] + counts.get("RMSNorm", 0) == norms - 1
    assert kinds(graph)["Pow"] == 1


def test_sums_without_averaging_are_fused_too(graph):
    divides = [node for node in graph.graph.node if node.op_type == "Div" and node.name.endswith("mixer/Div")]
    assert divides
    for node in divides:
        user = next(other for other in graph.graph.node if node.output[0] in other.input)
        user.input[0] = node.input[0]
        graph.graph.node.remove(node)
    fuse(graph)
    pairs = [node for node in graph.graph.node if node.op_type == "ScanPair"]
    assert len(pairs) == len(divides)
    assert all(item.i == 0 for node in pairs for item in node.attribute if item.name == "average_directions")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"bimamba_type": "v1"}, {"RMSNorm", "AddRMSNorm"}),
        ({"bimamba_type": "none"}, {"RMSNorm", "AddRMSNorm"}),
        ({"rms_norm": False}, {"CausalConvPair", "ScanPair"}),
    ],
)
def test_variants_are_fused_as_far_as_possible(form, expected):
    flags = {**CASES["rect_64x96"]["flags"], **form}
    model = to_onnx(ClassifyModule(VisionMamba(VimConfig.from_reference(flags)).eval()))
    before = kinds(model)[OP_NAME]
    counts = fuse(model)
    assert set(counts) == expected
    if "ScanPair" not in expected:
        assert kinds(model)[OP_NAME] == before
    domains = {node.domain for node in model.graph.node}
    assert FUSED_DOMAIN in domains
