"""The function body of the operator, with the same cases as the other implementations."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper
from ops.cases import CASES, random_inputs

from vim_deploy.ops.function_body import body_for
from vim_deploy.ops.signature import CONTRACT_VERSION, INPUT_NAMES, INPUTS, OP_DOMAIN, OP_NAME

ort = pytest.importorskip("onnxruntime", reason="running a function body needs onnxruntime")

ALWAYS_FLOAT32 = tuple(spec.name for spec in INPUTS if spec.float32)


def scan_node(gated: bool = True, **attributes: int) -> onnx.NodeProto:
    names = [name if gated or name != "z" else "" for name in INPUT_NAMES]
    return helper.make_node(OP_NAME, names, ["y"], domain=OP_DOMAIN, **{"groups": 1, **attributes})


def body_session(node: onnx.NodeProto, element: int = TensorProto.FLOAT):
    values = [
        helper.make_tensor_value_info(spec.name, TensorProto.FLOAT if spec.float32 else element, None)
        for spec in INPUTS
        if spec.name in node.input
    ]
    graph = helper.make_graph([node], "scan", values, [helper.make_tensor_value_info("y", element, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[body_for([node])], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sessions():
    return {
        (softplus, reverse): body_session(scan_node(delta_softplus=softplus, reverse=reverse))
        for softplus in (0, 1)
        for reverse in (0, 1)
    }


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_function_body_equals_the_expected_values(case, sessions):
    if not case.operator_inputs["u"].size:
        pytest.skip("ONNX Runtime's Scan divides by zero if the batch is empty; see the contract's limits")
    if case.gated and case.groups == 1:
        session = sessions[int(case.delta_softplus), int(case.reverse)]
    else:
        session = body_session(scan_node(case.gated, **case.attributes))
    case.check(session.run(None, case.operator_inputs)[0], "function")


def test_half_precision_keeps_the_state_in_float32():
    inputs = random_inputs(1, 197, 8, 16)
    node = scan_node(delta_softplus=1, reverse=0)
    expected = body_session(node).run(None, inputs)[0]
    halves = {
        name: value if name in ALWAYS_FLOAT32 else value.astype("float16") for name, value in inputs.items()
    }
    rounded = {name: value.astype("float32") for name, value in halves.items()}
    same_values = body_session(node).run(None, rounded)[0]
    found = body_session(node, TensorProto.FLOAT16).run(None, halves)[0]
    assert found.dtype == "float16"
    # Equals the float32 result for the same inputs, except for the rounding of the stored output.
    assert (found == same_values.astype("float16")).all()
    assert abs(found - expected).max() > 0  # the inputs are rounded


def test_scans_with_and_without_gate_cannot_share_a_body():
    nodes = [scan_node(gated, delta_softplus=1, reverse=0) for gated in (True, False)]
    with pytest.raises(ValueError, match="with and without z"):
        body_for(nodes)


def test_only_grouped_scans_have_the_views_that_groups_need():
    plain, grouped = (body_for([scan_node(groups=groups)]) for groups in (1, 2))
    assert "Reshape" not in str(plain) and "Reshape" in str(grouped)
