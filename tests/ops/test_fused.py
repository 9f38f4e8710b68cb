"""The fused operators in ONNX Runtime: what they say about wrong inputs, and empty batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from vim_deploy.engines.fused import FUSED_DOMAIN, FUSED_VERSION
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
XZ = (BATCH, LENGTH, 2 * CHANNELS)
TAPS, BIAS = (WIDTH, CHANNELS), (CHANNELS,)
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "RMSNorm": {"x": ONE["u"], "weight": BIAS},
    "AddRMSNorm": {"x": ONE["u"], "residual": ONE["u"], "weight": BIAS},
    "CausalConvPair": {"xz": XZ, "taps": TAPS, "bias": BIAS, "taps_b": TAPS, "bias_b": BIAS},
    "ScanPair": {"xz": XZ, **ONE, **{f"{name}_b": shape for name, shape in ONE.items()}},
}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "RMSNorm": {"epsilon": 1e-5},
    "AddRMSNorm": {"epsilon": 1e-5},
    "CausalConvPair": {},
    "ScanPair": {"delta_softplus": 1, "halve": 1},
}
OUTPUTS = {"RMSNorm": 1, "AddRMSNorm": 2, "CausalConvPair": 2, "ScanPair": 1}


def session(kind: str, attributes: dict[str, Any] | None = None) -> Any:
    """One node, no shapes."""
    names = [*SHAPES[kind], *(f"out{index}" for index in range(OUTPUTS[kind]))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    inputs, outputs = values[: len(SHAPES[kind])], values[len(SHAPES[kind]) :]
    given = ATTRIBUTES[kind] if attributes is None else attributes
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


def ones(kind: str, **changed: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.ones(shape, np.float32) for name, shape in {**SHAPES[kind], **changed}.items()}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_wrong_shape_is_refused_by_name(kind):
    opened = session(kind)
    assert len(opened.run(None, ones(kind))) == OUTPUTS[kind]
    for name, shape in SHAPES[kind].items():
        with pytest.raises(Exception, match=rf"{FUSED_DOMAIN}::{kind}: input {name} has rank"):
            opened.run(None, ones(kind, **{name: (*shape, 1)}))
        with pytest.raises(Exception, match=rf"{FUSED_DOMAIN}::{kind}: input \w+ has shape"):
            opened.run(None, ones(kind, **{name: (*shape[:-1], shape[-1] + 1)}))


@pytest.mark.parametrize("kind", SHAPES)
def test_an_empty_batch_gives_an_empty_output(kind):
    empty = {name: (0, *shape[1:]) for name, shape in SHAPES[kind].items() if len(shape) == len(XZ)}
    for output in session(kind).run(None, ones(kind, **empty)):
        assert output.shape == (0, LENGTH, CHANNELS)


def test_sizes_of_nothing_are_refused():
    with pytest.raises(Exception, match="only the batch may be 0"):
        session("RMSNorm").run(None, ones("RMSNorm", x=(1, 2, 0), weight=(0,)))
    with pytest.raises(Exception, match="only the batch may be 0"):
        session("CausalConvPair").run(None, ones("CausalConvPair", taps=(0, CHANNELS), taps_b=(0, CHANNELS)))


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("RMSNorm", {}, "epsilon"),
        ("ScanPair", {"delta_softplus": 1}, "attribute halve is missing"),
        ("ScanPair", {"delta_softplus": 2, "halve": 1}, "attribute delta_softplus is 2, expected 0 or 1"),
    ],
)
def test_attributes_are_checked_when_the_session_is_made(kind, attributes, message):
    with pytest.raises(Exception, match=message):
        session(kind, attributes)


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
