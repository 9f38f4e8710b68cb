"""The function body of the operator, with the same cases as the other implementations."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper
from ops.cases import OPERATOR_CASES, random_inputs

from vim_deploy.ops.function_body import function_body
from vim_deploy.ops.signature import CONTRACT_VERSION, INPUT_NAMES, INPUTS, OP_DOMAIN, OP_NAME

ort = pytest.importorskip("onnxruntime", reason="running a function body needs onnxruntime")

ALWAYS_FLOAT32 = tuple(spec.name for spec in INPUTS if spec.float32)


def body_session(delta_softplus: int, reverse: int, element: int = TensorProto.FLOAT):
    values = [
        helper.make_tensor_value_info(spec.name, TensorProto.FLOAT if spec.float32 else element, None)
        for spec in INPUTS
    ]
    node = helper.make_node(
        OP_NAME, INPUT_NAMES, ["y"], domain=OP_DOMAIN, delta_softplus=delta_softplus, reverse=reverse
    )
    graph = helper.make_graph([node], "scan", values, [helper.make_tensor_value_info("y", element, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function_body()], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sessions():
    return {(softplus, reverse): body_session(softplus, reverse) for softplus in (0, 1) for reverse in (0, 1)}


@pytest.mark.parametrize("case", OPERATOR_CASES, ids=repr)
def test_function_body_equals_the_expected_values(case, sessions):
    if not case.operator_inputs["u"].size:
        pytest.skip("ONNX Runtime's Scan divides by zero if the batch is empty; see the contract's limits")
    session = sessions[int(case.delta_softplus), int(case.reverse)]
    case.check(session.run(None, case.operator_inputs)[0], "function")


def test_half_precision_keeps_the_state_in_float32():
    inputs = random_inputs(1, 197, 8, 16)
    expected = body_session(1, 0).run(None, inputs)[0]
    halves = {
        name: value if name in ALWAYS_FLOAT32 else value.astype("float16") for name, value in inputs.items()
    }
    widened = {name: value.astype("float32") for name, value in halves.items()}
    same_values = body_session(1, 0).run(None, widened)[0]
    found = body_session(1, 0, TensorProto.FLOAT16).run(None, halves)[0]
    assert found.dtype == "float16"
    # Equals the float32 result for the same inputs, except for the rounding of the stored output.
    assert (found == same_values.astype("float16")).all()
    assert abs(found - expected).max() > 0  # the inputs are rounded
