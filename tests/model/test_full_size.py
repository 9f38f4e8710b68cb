"""The five published architectures: names and shapes, and outputs with synthetic weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_data import assert_close, load_json, load_tensors
from torch import Tensor

from vim_deploy.model import ClassToken, VisionMamba, create_model, fill_synthetic
from vim_deploy.model.position import resize_position_embedding
from vim_deploy.model.synthetic import synthetic_pixels, synthetic_weight

STATE_DICTS = load_json("full_state_dicts")
CASES = load_json("full_logits")["cases"]
TENSORS = load_tensors("full_logits")
TOLERANCE = 2e-4  # 24 blocks in float32 against float64; largest error of upstream 1.4e-5


@pytest.mark.parametrize("case", STATE_DICTS.values(), ids=list(STATE_DICTS))
def test_names_shapes_and_their_order_equal_the_reference(case):
    with torch.device("meta"):
        model = create_model(case["registered_name"])
    assert [(name, list(value.shape)) for name, value in model.state_dict().items()] == list(
        case["keys"].items()
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == case["num_params"]
    assert not list(model.buffers())
    assert model.config.num_tokens == case["tokens"]
    assert model.config.class_index == case["cls_index"]


def golden_model(case: dict[str, Any]) -> VisionMamba:
    name = STATE_DICTS[case["model"]]["registered_name"]
    model = create_model(name, image_size=case["image_hw"]).eval()
    fill_synthetic(model, case["weights_seed"])
    if case["pos_embed_resized_from"]:
        small = create_model(name, image_size=case["pos_embed_resized_from"])
        table = synthetic_weight("pos_embed", tuple(small.pos_embed.shape), case["weights_seed"])
        grids = small.config.grid, model.config.grid
        resized = resize_position_embedding(torch.from_numpy(table), *grids, ClassToken.MIDDLE, "reference")
        model.pos_embed.data = resized
    return model


def golden_pixels(case: dict[str, Any]) -> Tensor:
    pixels = synthetic_pixels((case["batch"], 3, *case["image_hw"]), case["image_seed"])
    assert_close(pixels[:, :, 0, :8], TENSORS[f"{case['name']}.image_head"], 1e-7)
    return torch.from_numpy(pixels)


def statistics(values: Tensor) -> list[Tensor]:
    return [values.mean(), values.std(), values.abs().max()]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@torch.inference_mode()
def test_logits_features_and_every_block(case):
    model, pixels = golden_model(case), golden_pixels(case)
    expected = {
        name: TENSORS[f"{case['name']}.{name}"] for name in ("probe_hidden", "probe_residual", "block_stats")
    }
    tokens, channels = case["probe_token_indices"], case["probe_channels"]
    for index, (hidden, residual) in enumerate(model.trace(pixels)):
        assert_close(hidden[:, tokens, :channels], expected["probe_hidden"][index], TOLERANCE)
        assert_close(residual[:, tokens, :channels], expected["probe_residual"][index], TOLERANCE)
        for position, values in ((0, hidden), (3, residual)):
            assert_close(
                torch.stack(statistics(values)),
                expected["block_stats"][index, position : position + 3],
                TOLERANCE,
            )
    features = model.pool(model.norm_f(residual + hidden))
    logits = model.classify(features)
    assert_close(features, TENSORS[f"{case['name']}.features"], TOLERANCE)
    assert_close(logits, TENSORS[f"{case['name']}.logits_f64"], TOLERANCE)
    for row, best in zip(logits, case["top5"], strict=True):
        assert row.topk(5).indices.tolist() == best


@pytest.mark.slow
@torch.inference_mode()
def test_logits_in_float64():
    case = next(case for case in CASES if case["name"] == "tiny_224")
    logits = golden_model(case).double()(golden_pixels(case)[:1].double())
    assert_close(logits, TENSORS["tiny_224.logits_f64"][:1], 1e-11)
