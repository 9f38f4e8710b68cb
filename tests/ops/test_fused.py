"""The fused operators in ONNX Runtime: errors for invalid inputs, and empty batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from vim_deploy.engines.fusion.domain import FUSED_DOMAIN, FUSED_VERSION
from vim_deploy.ops.library import ort_library

ort = pytest.importorskip("onnxruntime", reason="the operators' tests need onnxruntime")

BATCH, LENGTH, CHANNELS, STATE, RANK, WIDTH = 2, 5, 6, 4, 3, 4
ONE = {
    "u": (BATCH, LENGTH, CHANNELS),
    "projection": (BATCH, LENGTH, RANK + 2 * STATE),
    "delta_weight": (RANK, CHANNELS),
    "A": (STATE, CHANNELS),
    "D": (CHANNELS,),
    "delta_bias": (CHANNELS,),
}
REDUCED = ONE | {"delta_weight": (-(-RANK // 2), 2 * CHANNELS)}
XZ = (BATCH, LENGTH, 2 * CHANNELS)
TAPS, BIAS = (WIDTH, CHANNELS), (CHANNELS,)
COLUMNS = 50
PATCH = (1, 3)  # of 2 channels: as deep as CHANNELS
IMAGES = (BATCH, 2 * LENGTH * PATCH[0], PATCH[1])  # LENGTH patches, one below the other


TYPES = {
    "": TensorProto.FLOAT,
    "Bfloat16": TensorProto.BFLOAT16,
    "Reduced": TensorProto.BFLOAT16,
    "Int8": TensorProto.INT8,
}


def packed(depth: int, columns: int, suffix: str) -> tuple[int, ...]:
    """The shape of a matmul's packed weights."""
    rows = {"": depth, "Bfloat16": 2 * -(-depth // 2), "Int8": 4 * (2 + -(-depth // 4))}[suffix]
    return (rows * 16 * -(-columns // 16),)


def matmuls(suffix: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """The operators with matmuls, for one type of weights."""
    after = packed(CHANNELS, COLUMNS, suffix)
    norm = {"residual": ONE["u"], "weight": BIAS, "after": after}
    conv = {"taps": TAPS, "bias": BIAS, "weights": after}
    shapes = {
        "Project": {"x": ONE["u"], "weights": after},
        "NormProject": {"x": ONE["u"], "weight": BIAS, "after": after},
        "ProjectNormProject": {"x": XZ, "before": packed(XZ[-1], CHANNELS, suffix), **norm},
        "ConvProject": {"xz": XZ, **conv, **{f"{name}_b": shape for name, shape in conv.items()}},
    }
    if suffix:
        shapes["PatchProject"] = {"images": IMAGES, "weights": after}
    if suffix == "Int8":
        shapes["PatchProject"]["smoothing"] = BIAS
        shapes["Project"]["smoothing"] = BIAS
        shapes["ProjectNormProject"]["before_smoothing"] = (XZ[-1],)
        shapes["ConvProject"] |= {"smoothing": BIAS, "smoothing_b": BIAS}
    return {kind + suffix: value for kind, value in shapes.items()}


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "RMSNorm": {"x": ONE["u"], "weight": BIAS},
    "AddRMSNorm": {"x": ONE["u"], "residual": ONE["u"], "weight": BIAS},
    "CausalConvPair": {"xz": XZ, "taps": TAPS, "bias": BIAS, "taps_b": TAPS, "bias_b": BIAS},
    "ScanPair": {"xz": XZ, **ONE, **{f"{name}_b": shape for name, shape in ONE.items()}},
    "ScanPairReduced": {"xz": XZ, **REDUCED, **{f"{name}_b": shape for name, shape in REDUCED.items()}},
    **matmuls(""),
    **matmuls("Bfloat16"),
    **matmuls("Int8"),
}
# Of the type at the end of the operator's name.
PACKED = ("before", "after", "weights", "weights_b", "delta_weight", "delta_weight_b")
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "RMSNorm": {"epsilon": 1e-5},
    "AddRMSNorm": {"epsilon": 1e-5},
    "CausalConvPair": {},
    "ScanPair": {"delta_softplus": 1, "average_directions": 1},
    "Project": {"columns": COLUMNS},
    "NormProject": {"epsilon": 1e-5, "columns": COLUMNS},
    "ProjectNormProject": {"epsilon": 1e-5, "columns": COLUMNS},
    "ConvProject": {"columns": COLUMNS},
    "PatchProject": {"columns": COLUMNS, "channels": 2, "patch_height": PATCH[0], "patch_width": PATCH[1]},
}
OUTPUTS = {
    "RMSNorm": 1, "AddRMSNorm": 2, "CausalConvPair": 2, "ScanPair": 1,
    "Project": 1, "PatchProject": 1, "NormProject": 1, "ProjectNormProject": 2, "ConvProject": 4,
}  # fmt: skip


def plain(kind: str) -> str:
    """The operator's name without the weights' type."""
    return kind.removesuffix("Bfloat16").removesuffix("Int8").removesuffix("Reduced")


def type_of(kind: str, name: str) -> int:
    return TYPES[kind.removeprefix(plain(kind))] if name in PACKED else TensorProto.FLOAT


def session(kind: str, attributes: dict[str, Any] | None = None) -> Any:
    """A session of one node, without shapes."""
    names = [*SHAPES[kind], *(f"out{index}" for index in range(OUTPUTS[plain(kind)]))]
    types = [type_of(kind, name) for name in names]
    values = [helper.make_tensor_value_info(*pair, None) for pair in zip(names, types, strict=True)]
    inputs, outputs = values[: len(SHAPES[kind])], values[len(SHAPES[kind]) :]
    given = ATTRIBUTES[plain(kind)] if attributes is None else attributes
    node = helper.make_node(
        kind, list(SHAPES[kind]), names[len(inputs) :], name="node", domain=FUSED_DOMAIN, **given
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(FUSED_DOMAIN, FUSED_VERSION)]
    graph = helper.make_graph([node], "one", inputs, outputs)
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(ort_library()))
    options.log_severity_level = 4
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def ones(kind: str, **changed: tuple[int, ...]) -> dict[str, Any]:
    shapes = {**SHAPES[kind], **changed}
    return {name: ones_of(shape, type_of(kind, name)) for name, shape in shapes.items()}


def ones_of(shape: tuple[int, ...], kind: int) -> Any:
    if kind != TensorProto.BFLOAT16:
        return ort.OrtValue.ortvalue_from_numpy(np.ones(shape, helper.tensor_dtype_to_np_dtype(kind)))
    bits = np.full(shape, 0x3F80, np.uint16)  # 1 in bfloat16
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)


def run(opened: Any, given: dict[str, Any]) -> list[np.ndarray]:
    return [value.numpy() for value in opened.run_with_ort_values(None, given)]


@pytest.mark.parametrize("kind", SHAPES)
def test_every_wrong_shape_is_named(kind):
    opened = session(kind)
    assert len(run(opened, ones(kind))) == OUTPUTS[plain(kind)]
    for name, shape in SHAPES[kind].items():
        with pytest.raises(Exception, match=rf"{FUSED_DOMAIN}::{kind}: input {name} has rank"):
            run(opened, ones(kind, **{name: (*shape, 1)}))
        with pytest.raises(Exception, match=rf"{FUSED_DOMAIN}::{kind}: input \w+ has shape"):
            run(opened, ones(kind, **{name: (*shape[:-1], shape[-1] + 1)}))


@pytest.mark.parametrize("kind", SHAPES)
def test_an_empty_batch_gives_an_empty_output(kind):
    empty = {
        name: (0, *shape[1:])
        for name, shape in SHAPES[kind].items()
        if len(shape) == len(XZ) and name not in PACKED
    }
    for output in run(session(kind), ones(kind, **empty)):
        assert output.shape[:-1] == (0, LENGTH)


def test_empty_sizes_are_refused():
    with pytest.raises(Exception, match="only the batch may be 0"):
        run(session("RMSNorm"), ones("RMSNorm", x=(1, 2, 0), weight=(0,)))
    with pytest.raises(Exception, match="only the batch may be 0"):
        run(session("CausalConvPair"), ones("CausalConvPair", taps=(0, CHANNELS), taps_b=(0, CHANNELS)))


WITH_MATMULS = [kind for kind in SHAPES if "columns" in ATTRIBUTES[plain(kind)]]


@pytest.mark.parametrize("kind", WITH_MATMULS)
def test_the_largest_number_of_columns_does_not_overflow(kind):
    columns = 2**31 - 1
    opened = session(kind, {**ATTRIBUTES[plain(kind)], "columns": columns})
    (expected,) = packed(CHANNELS, columns, kind.removeprefix(plain(kind)))
    with pytest.raises(Exception, match=rf"expected packed .* = \({expected}\) from the shapes of"):
        run(opened, ones(kind))


@pytest.mark.parametrize("kind", WITH_MATMULS)
def test_weights_of_another_size_are_refused(kind):
    """With a last panel as wide as the others, and with one value less."""
    opened = session(kind)
    given = SHAPES[kind]
    name = next(name for name in ("after", "weights") if name in given)
    (size,) = given[name]
    for other in (size // 64 * 96, size - 1):  # 64: columns with padding
        message = rf"{kind}: input {name} has shape \({other}\), expected packed .* = \({size}\) from"
        with pytest.raises(Exception, match=message):
            run(opened, ones(kind, **{name: (other,)}))


@pytest.mark.parametrize("kind", ["NormProject", "NormProjectBfloat16", "NormProjectInt8"])
def test_matmuls_deeper_than_supported_are_refused(kind):
    depth = 3073
    given = ones(
        kind, x=(1, 1, depth), weight=(depth,), after=packed(depth, COLUMNS, kind.removeprefix(plain(kind)))
    )
    with pytest.raises(Exception, match="matmul of depth 3073; at most 3072 is supported"):
        run(session(kind), given)


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("RMSNorm", {}, "epsilon"),
        ("ScanPair", {"delta_softplus": 1}, "attribute average_directions is missing"),
        (
            "ScanPair",
            {"delta_softplus": 2, "average_directions": 1},
            "attribute delta_softplus is 2, expected 0 or 1",
        ),
        ("NormProject", {"columns": 3}, "epsilon"),
        ("ConvProject", {}, "columns"),
        ("ConvProjectBfloat16", {"columns": 0}, "attribute columns is 0, expected 1 to 2147483647"),
        ("ProjectInt8", {"columns": 2**31}, "attribute columns is 2147483648, expected 1 to 2147483647"),
    ],
)
def test_attributes_are_checked_when_the_session_is_created(kind, attributes, message):
    with pytest.raises(Exception, match=message):
        session(kind, attributes)


@pytest.mark.parametrize("rank", [-1, 0, 65])
def test_ranks_of_reduced_scans_are_checked(rank):
    columns = dict.fromkeys(("projection", "projection_b"), (BATCH, LENGTH, rank + 2 * STATE))
    message = f"rank {rank}, from {rank + 2 * STATE} columns of projection .* expected 1 to 64"
    with pytest.raises(Exception, match=message):
        run(session("ScanPairReduced"), ones("ScanPairReduced", **columns))


def test_norm_of_a_sum():
    generator = np.random.default_rng(0)
    given = {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in SHAPES["AddRMSNorm"].items()
    }
    y, total = session("AddRMSNorm").run(None, given)
    expected = given["x"] + given["residual"]
    np.testing.assert_array_equal(total, expected)
    root = np.sqrt((expected.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected / root * given["weight"], rtol=1e-6, atol=1e-6)
