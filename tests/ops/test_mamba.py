"""`selective_scan_fn` compared with the upstream reference, in every form that mamba_ssm's function has."""

from __future__ import annotations

import pytest
import torch
from golden_data import assert_close, load_json, load_tensors

from vim_deploy.ops import selective_scan_fn, use_scan
from vim_deploy.ops.signature import INPUT_NAMES

CASES = load_json("op_selective_scan")["cases"]
TENSORS = load_tensors("op_selective_scan")
# One rounding of the stored output; float32 rounding of values up to the largest.
TOLERANCE = {"float16": 1e-3, "float32": 1e-5}


def inputs_of(case):
    """The golden tensors are in mamba_ssm's layout."""
    keys = {name: f"{case['name']}.{name}" for name in INPUT_NAMES}
    return {name: torch.from_numpy(TENSORS[key].copy()) for name, key in keys.items() if key in TENSORS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_result_and_last_state_equal_upstream(case):
    softplus = case["delta_softplus"]
    y, state = selective_scan_fn(**inputs_of(case), delta_softplus=softplus, return_last_state=True)
    assert str(y.dtype) == f"torch.{case['io_dtype']}" and state.dtype == torch.float32
    assert_close(y, TENSORS[f"{case['name']}.out_f64"], TOLERANCE[case["io_dtype"]])
    # The state is a sum over tokens of float32 exponentials of sums.
    assert_close(state, TENSORS[f"{case['name']}.last_state_f64"], 3e-5)


def case_named(name):
    return next(case for case in CASES if case["name"] == name)


def test_the_result_alone_is_a_tensor():
    inputs = inputs_of(case_named("group3_noz"))
    alone = selective_scan_fn(**inputs, delta_softplus=True)
    together, _ = selective_scan_fn(**inputs, delta_softplus=True, return_last_state=True)
    assert torch.equal(alone, together)


def test_positional_arguments_are_those_of_mamba_ssm():
    inputs = inputs_of(case_named("full"))
    y = selective_scan_fn(*(inputs[name] for name in INPUT_NAMES), True, False)
    assert torch.equal(y, selective_scan_fn(**inputs, delta_softplus=True))


def test_mixed_types_give_the_type_of_u():
    inputs = inputs_of(case_named("full"))
    inputs["u"] = inputs["u"].half()
    y = selective_scan_fn(**inputs, delta_softplus=True)
    expected = selective_scan_fn(**{**inputs, "u": inputs["u"].float()}, delta_softplus=True)
    assert y.dtype == torch.float16
    assert torch.equal(y, expected.half())


def test_reverse_equals_the_scan_of_the_flipped_sequence():
    inputs = inputs_of(case_named("group2"))
    flipped = {name: tensor.flip(-1) if tensor.dim() > 2 else tensor for name, tensor in inputs.items()}
    y, state = selective_scan_fn(**inputs, delta_softplus=True, return_last_state=True, reverse=True)
    expected, last = selective_scan_fn(**flipped, delta_softplus=True, return_last_state=True)
    torch.testing.assert_close(y, expected.flip(-1))
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("name", ["full", "group3_noz", "const_BC"])
def test_gradient_equals_the_reference(name):
    given = inputs_of(case_named(name))
    gradients = []
    for implementation in ("auto", "reference"):
        inputs = {key: tensor.clone().requires_grad_() for key, tensor in given.items()}
        with use_scan(implementation):
            y, _ = selective_scan_fn(**inputs, delta_softplus=True, return_last_state=True)
        gradients.append(torch.autograd.grad(y.square().sum(), list(inputs.values())))
    for found, expected in zip(*gradients, strict=True):
        assert_close(found, expected, 1e-5)


def test_a_complex_A_is_refused_by_name():  # noqa: N802
    inputs = inputs_of(case_named("full"))
    with pytest.raises(ValueError, match="A is complex"):
        selective_scan_fn(**{**inputs, "A": inputs["A"].to(torch.complex64)})


def test_a_projection_of_another_rank_is_refused():
    inputs = inputs_of(case_named("full"))
    with pytest.raises(ValueError, match="B has 5 axes"):
        selective_scan_fn(**{**inputs, "B": inputs["B"][None, None]})


def test_shapes_that_do_not_fit_are_named():
    inputs = inputs_of(case_named("full"))
    with pytest.raises(ValueError, match="delta is"):
        selective_scan_fn(**{**inputs, "delta": inputs["delta"][..., 1:]})
