"""The reference operator compared with the upstream reference, in every form that it supports."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from golden_data import assert_close, load_json, load_tensors
from torch import Tensor

from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.signature import INPUT_NAMES

CASES = load_json("op_selective_scan")["cases"]
TENSORS = load_tensors("op_selective_scan")
# One rounding of the stored output; float32 rounding of values up to the largest.
TOLERANCE = {"float16": 1e-3, "float32": 1e-5}


def golden_inputs(case: dict[str, Any]) -> dict[str, Any]:
    """The case's inputs with channels last, and its flags."""
    tensors = {
        name: torch.from_numpy(TENSORS[key])
        for name in INPUT_NAMES
        if (key := f"{case['name']}.{name}") in TENSORS
    }
    for name in ("u", "delta", "z"):
        if name in tensors:
            tensors[name] = tensors[name].transpose(1, 2)
    for name in ("B", "C"):
        if case[f"variable_{name}"]:  # (batch, [groups,] state, length) to (batch, length, groups x state)
            tensors[name] = tensors[name].movedim(-1, 1).flatten(2)
    flags = {"delta_softplus": case["delta_softplus"], "groups": case["groups"] or 1}
    return {**tensors, **flags, "return_last_state": True}


def in_float64(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.double() if isinstance(value, Tensor) else value for name, value in inputs.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_operator_equals_upstream(case):
    y, state = selective_scan_reference(**golden_inputs(case))
    assert str(y.dtype) == f"torch.{case['io_dtype']}"
    assert_close(y.transpose(1, 2), TENSORS[f"{case['name']}.out_f64"], TOLERANCE[case["io_dtype"]])
    assert_close(state, TENSORS[f"{case['name']}.last_state_f64"], TOLERANCE["float32"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_operator_equals_upstream_in_float64(case):
    y, state = selective_scan_reference(**in_float64(golden_inputs(case)))
    assert_close(y.transpose(1, 2), TENSORS[f"{case['name']}.out_f64"], 1e-12)
    assert_close(state, TENSORS[f"{case['name']}.last_state_f64"], 1e-12)


def test_two_steps_computed_manually():
    column = torch.tensor([[[2.0], [3.0]]])
    y = selective_scan_reference(
        column,
        torch.tensor([[[1.0], [0.5]]]),
        torch.tensor([[-1.0]]),
        column + 2,
        column,
        torch.tensor([10.0]),
    )
    first = 1.0 * 4 * 2
    second = math.exp(-0.5) * first + 0.5 * 5 * 3
    assert_close(y, [[[2 * first + 20], [3 * second + 30]]], 1e-6)


def test_reverse_equals_the_scan_of_the_flipped_sequence():
    inputs = golden_inputs(next(case for case in CASES if case["name"] == "len17"))
    sequences = ("u", "delta", "B", "C", "z")
    mirrored = {name: value.flip(1) if name in sequences else value for name, value in inputs.items()}
    y, state = selective_scan_reference(**inputs, reverse=True)
    mirrored_y, mirrored_state = selective_scan_reference(**mirrored)
    torch.testing.assert_close(y, mirrored_y.flip(1))
    torch.testing.assert_close(state, mirrored_state)
