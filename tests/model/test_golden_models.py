"""Reduced classifiers of every variant, compared with the upstream reference layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_data import assert_close, load_json, load_tensors
from torch import Tensor

from vim_deploy.model import VimConfig, VisionMamba, fill_synthetic
from vim_deploy.ops import use_scan

CASES = {case["name"]: case for case in load_json("models")["cases"]}
TOLERANCE = 2e-5  # float32 against float64; largest errors of upstream: logits 1.4e-6, intermediates 4.1e-6
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def golden_tensors(case: dict[str, Any]) -> dict[str, Tensor]:
    tensors = load_tensors(case["file"].removesuffix(".safetensors"))
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


def golden_weights(case: dict[str, Any]) -> dict[str, Tensor]:
    base = golden_weights(CASES[case["weights_from"]]) if case["weights_from"] else {}
    own = {name: value for name, value in golden_tensors(case).items() if name.startswith("weights.")}
    return {**base, **{name.removeprefix("weights."): value for name, value in own.items()}}


def golden_model(case: dict[str, Any]) -> VisionMamba:
    model = VisionMamba(VimConfig.from_reference(case["flags"])).eval()
    model.load_state_dict(golden_weights(case), strict=True)
    return model


def outputs(model: VisionMamba, pixels: Tensor) -> dict[str, Tensor]:
    """All outputs that the golden data may contain, with the names used there."""
    tokens = model.forward_tokens(pixels)
    # The golden data contain the tokens as the first block gets them.
    found = {"tokens": model.rope(tokens) if model.config.rope else tokens}

    def record(index: int, pair: tuple[Tensor, Tensor]) -> None:
        name = f"layer_call{index}" if model.config.paired else f"block{index}"
        # In the golden data, the second of two paired blocks has its tokens in reversed order.
        reverse = model.config.paired and index % 2
        for part, value in zip(("hidden", "residual"), pair, strict=True):
            found[f"{name}.{part}"] = value.flip(1) if reverse else value

    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, pair, index=index: record(index, pair))
        for index, layer in enumerate(model.layers)
    ]
    found["features"] = model.pool(model.forward_features(pixels))
    found["logits"] = model.classify(found["features"])
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("scan", ["auto", "reference"])
@each_case
@torch.no_grad()
def test_all_stored_values(case, scan):
    tensors = golden_tensors(case)
    model = golden_model(case)
    with use_scan(scan):
        found = outputs(model, tensors["image"])
    expected = {
        name: tensors.get(f"{name}_f64", value)
        for name, value in tensors.items()
        if name != "image" and not name.startswith("weights.") and not name.endswith("_f64")
    }
    assert {"features", f"{'layer_call' if model.config.paired else 'block'}0.hidden"} <= set(expected)
    for name, value in expected.items():
        assert_close(found[name], value, TOLERANCE)


@each_case
@torch.no_grad()
def test_outputs_in_float64(case):
    tensors = golden_tensors(case)
    found = outputs(golden_model(case).double(), tensors["image"].double())
    names = [name for name in ("features", "logits") if f"{name}_f64" in tensors]
    assert names
    for name in names:
        assert_close(found[name], tensors[f"{name}_f64"], 1e-12)


@each_case
def test_names_shapes_and_their_order_equal_the_reference(case):
    model = VisionMamba(VimConfig.from_reference(case["flags"]))
    assert [(name, list(value.shape)) for name, value in model.state_dict().items()] == list(
        case["keys"].items()
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == case["params"]


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if not case["weights_from"]], ids=lambda case: case["name"]
)
def test_stored_weights_are_the_synthetic_ones(case):
    model = VisionMamba(VimConfig.from_reference(case["flags"]))
    fill_synthetic(model, case["seed"])
    for name, value in golden_weights(case).items():
        assert_close(model.state_dict()[name], value, 1e-7)


@each_case
@torch.no_grad()
def test_trace_ends_with_the_features(case):
    model = golden_model(case)
    pixels = golden_tensors(case)["image"]
    pairs = list(model.trace(pixels))
    assert len(pairs) == model.config.depth // (2 if model.config.paired else 1)
    hidden, residual = pairs[-1]
    assert torch.equal(model.norm_f(residual + hidden), model.forward_features(pixels))
