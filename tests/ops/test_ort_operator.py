"""The operator in ONNX Runtime: values, threads, and errors for invalid inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from ops.cases import CASES, random_inputs

from vim_deploy.ops.library import ort_library
from vim_deploy.ops.signature import CONTRACT_VERSION, INPUT_NAMES, OP_DOMAIN, OP_NAME

ort = pytest.importorskip("onnxruntime", reason="the operator's tests need onnxruntime")


def operator_model(element: int = TensorProto.FLOAT, gated: bool = True, **attributes: int) -> bytes:
    """One node, no function body, no shapes."""
    names = [name if gated or name != "z" else "" for name in INPUT_NAMES]
    values = [helper.make_tensor_value_info(name, element, None) for name in (*names, "y") if name]
    node = helper.make_node(OP_NAME, names, ["y"], domain=OP_DOMAIN, **{"groups": 1, **attributes})
    graph = helper.make_graph([node], "scan", values[:-1], values[-1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model.SerializeToString()


def open_session(model: bytes, threads: int = 1) -> Any:
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(ort_library()))
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sessions():
    return {
        (softplus, reverse): open_session(operator_model(delta_softplus=softplus, reverse=reverse))
        for softplus in (0, 1)
        for reverse in (0, 1)
    }


def run(session: Any, inputs: dict[str, Any]) -> Any:
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_operator_equals_the_expected_values(case, sessions):
    if case.gated and case.groups == 1:
        session = sessions[int(case.delta_softplus), int(case.reverse)]
    else:
        session = open_session(operator_model(gated=case.gated, **case.attributes))
    case.check(run(session, case.operator_inputs), "onnxruntime")


def test_bits_do_not_depend_on_the_number_of_threads(sessions):
    inputs = random_inputs(2, 197, 200, 16)
    two = open_session(operator_model(delta_softplus=1, reverse=0), threads=2)
    assert np.array_equal(run(two, inputs), run(sessions[1, 0], inputs))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (5, 8), r"input u has rank 2, expected 3, \(batch, length, channels\)"),
        ("A", (8,), r"input A has rank 1, expected 2, \(channels, state\)"),
        ("delta", (1, 4, 8), r"input delta has shape \(1, 4, 8\), expected .* = \(1, 5, 8\)"),
        ("A", (7, 16), r"input A has shape \(7, 16\), expected \(channels, state\) = \(8, 16\)"),
        ("B", (1, 5, 15), r"input B has shape \(1, 5, 15\), expected .* = \(1, 5, 16\)"),
        ("C", (2, 5, 16), r"input C has shape \(2, 5, 16\), expected .* = \(1, 5, 16\)"),
        ("D", (1,), r"input D has shape \(1\), expected \(channels\) = \(8\)"),
        ("z", (1, 5, 9), r"input z has shape \(1, 5, 9\), expected .* = \(1, 5, 8\)"),
        ("delta_bias", (8, 1), r"input delta_bias has rank 2, expected 1, \(channels\)"),
    ],
)
def test_wrong_shape_is_named(name, shape, message, sessions):
    inputs = random_inputs(1, 5, 8, 16)
    inputs[name] = np.zeros(shape, np.float32)
    with pytest.raises(Exception, match=f"vim_deploy::SelectiveScan: {message}"):
        run(sessions[1, 0], inputs)


@pytest.mark.parametrize("sizes", [(1, 0, 8, 16), (1, 5, 0, 16), (1, 5, 8, 0)])
def test_empty_sizes_are_refused(sizes, sessions):
    with pytest.raises(Exception, match=r"vim_deploy::SelectiveScan: length .* each must be at least 1"):
        run(sessions[1, 0], random_inputs(*sizes))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"delta_softplus": 2, "reverse": 0}, "attribute delta_softplus is 2, expected 0 or 1"),
        ({"delta_softplus": 1, "reverse": -1}, "attribute reverse is -1, expected 0 or 1"),
        ({"delta_softplus": 1}, "attribute reverse is missing; set it on the node"),
        ({"delta_softplus": 1.0, "reverse": 0}, "attribute delta_softplus is missing"),
        ({"delta_softplus": 1, "reverse": 0, "groups": 0}, "attribute groups is 0, expected 1 or more"),
    ],
)
def test_wrong_attribute_is_named(attributes, message):
    with pytest.raises(Exception, match=f"vim_deploy::SelectiveScan: {message}"):
        open_session(operator_model(**attributes))


def test_channels_that_groups_do_not_divide_are_refused():
    session = open_session(operator_model(delta_softplus=1, reverse=0, groups=3))
    with pytest.raises(Exception, match="8 channels cannot be divided into 3 groups"):
        run(session, random_inputs(1, 5, 8, 16, 3))


def test_unsupported_element_type_is_named():
    with pytest.raises(Exception, match=r"tensor\(float16\).*SelectiveScan"):
        open_session(operator_model(TensorProto.FLOAT16, delta_softplus=1, reverse=0))


def test_several_sessions_use_one_library():
    model, inputs = operator_model(delta_softplus=1, reverse=0), random_inputs(1, 9, 8, 16)
    several = [open_session(model) for _ in range(3)]
    expected = run(several[0], inputs)
    del several[0]
    assert all(np.array_equal(run(session, inputs), expected) for session in several)
