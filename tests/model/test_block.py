"""One residual block, and the values inside its mixer, compared with the upstream reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_data import assert_close, load_json, load_tensors
from torch import Tensor

from vim_deploy.model import VimConfig, mixer
from vim_deploy.model.blocks import Block
from vim_deploy.ops import use_scan

CASES = load_json("block")["cases"]
WITH_INNER = [case for case in CASES if case["has_inner"]]
TENSORS = load_tensors("block")
TOLERANCE = 1e-5  # float32 against float64; worst measured upstream 7.9e-7


def golden_tensor(case: dict[str, Any], name: str) -> Tensor | None:
    array = TENSORS.get(f"{case['name']}.{name}")
    return None if array is None else torch.from_numpy(array)


def golden_block(case: dict[str, Any]) -> Block:
    block = Block(VimConfig.from_reference({**case["flags"], "embed_dim": case["embed_dim"]}))
    prefix = f"{case['name']}.weights."
    weights = {key.removeprefix(prefix): value for key, value in TENSORS.items() if key.startswith(prefix)}
    assert list(block.state_dict()) == list(case["keys"])
    block.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=True)
    return block


@pytest.mark.parametrize("scan", ["auto", "reference"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@torch.no_grad()
def test_block_equals_the_reference(case, scan):
    with use_scan(scan):
        hidden, residual = golden_block(case)(
            golden_tensor(case, "in.hidden"), golden_tensor(case, "in.residual")
        )
    assert_close(hidden, golden_tensor(case, "out.hidden_f64"), TOLERANCE)
    assert_close(residual, golden_tensor(case, "out.residual"), TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@torch.no_grad()
def test_block_equals_the_reference_in_float64(case):
    residual = golden_tensor(case, "in.residual")
    hidden, _ = golden_block(case).double()(
        golden_tensor(case, "in.hidden").double(), None if residual is None else residual.double()
    )
    assert_close(hidden, golden_tensor(case, "out.hidden_f64"), 1e-12)


@pytest.mark.skipif(not WITH_INNER, reason="values inside a mixer are only in the full set of reference data")
@pytest.mark.parametrize("case", WITH_INNER, ids=lambda case: case["name"])
@torch.no_grad()
def test_values_inside_the_mixer_equal_the_reference(case, monkeypatch):
    convolved: list[Tensor] = []
    scans: list[dict[str, Tensor]] = []
    convolution, scan = mixer.causal_conv, mixer.selective_scan

    def recording_convolution(x: Tensor, *rest: Any) -> Tensor:
        convolved.append(x)
        return convolution(x, *rest)

    def recording_scan(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any, **flags: Any
    ) -> Any:
        y = scan(u, delta, A, B, C, *rest, **flags)
        scans.append(
            {"conv_out": u, "scan_delta": delta, "scan_A": A, "scan_B": B, "scan_C": C, "scan_out": y}
        )
        return y

    monkeypatch.setattr(mixer, "causal_conv", recording_convolution)
    monkeypatch.setattr(mixer, "selective_scan", recording_scan)
    golden_block(case)(golden_tensor(case, "in.hidden"), golden_tensor(case, "in.residual"))

    assert len(convolved) == len(scans) == 2
    for direction, x, values in zip(("fwd", "bwd"), convolved, scans, strict=True):
        for name, value in {"conv_in": x, **values}.items():
            expected = golden_tensor(case, f"inner.{direction}.{name}")
            if name != "scan_A":  # (batch, [1,] channels, length) in the time order of the direction
                expected = expected.flatten(1, -2).transpose(1, 2)
                expected = expected.flip(1) if direction == "bwd" else expected
            assert_close(value, expected, TOLERANCE)
