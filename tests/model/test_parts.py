"""Convolution, norms, rotary embedding and patch embedding compared with the upstream reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from golden_data import assert_close, load_json, load_tensors
from torch import Tensor, nn

from vim_deploy.errors import ConfigError
from vim_deploy.model import VimConfig
from vim_deploy.model.blocks import PatchEmbedding
from vim_deploy.model.mixer import causal_conv
from vim_deploy.model.norms import LayerNorm, RMSNorm
from vim_deploy.model.rope import RotaryEmbedding

CASES = load_json("op_misc")
TENSORS = load_tensors("op_misc")
TOLERANCE = 1e-5  # float32 against float64; largest error of upstream 1.0e-6


def golden(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[kind], ids=lambda case: case["name"])


def tensors_of(kind: str, case: dict[str, Any]) -> dict[str, Tensor]:
    prefix = f"{kind}.{case['name']}."
    return {
        key.removeprefix(prefix): torch.from_numpy(value)
        for key, value in TENSORS.items()
        if key.startswith(prefix)
    }


@golden("causal_conv1d")
@pytest.mark.parametrize("reverse", [False, True])
def test_causal_convolution(case, reverse):
    tensors = tensors_of("causal_conv1d", case)
    x, expected = tensors["x"].transpose(1, 2), tensors["out_f64"].transpose(1, 2)
    if reverse:
        x, expected = x.flip(1), expected.flip(1)
    y = causal_conv(x, tensors["weight"].unsqueeze(1), tensors.get("bias"), reverse)
    assert_close(F.silu(y) if case["silu"] else y, expected, TOLERANCE)


@pytest.mark.parametrize("kind", ["rms_norm", "layer_norm"])
def test_norms(kind):
    make = {"rms_norm": RMSNorm, "layer_norm": LayerNorm}[kind]
    for case in CASES[kind]:
        tensors = tensors_of(kind, case)
        norm = make(case["dim"], case["eps"])
        norm.load_state_dict({name: tensors[name] for name in norm.state_dict()})
        total = tensors["x"] + tensors["residual"] if case["has_residual"] else tensors["x"]
        assert_close(total, tensors["residual_out"], 0)
        assert_close(norm(total).detach(), tensors["out_f64"], TOLERANCE)


@pytest.mark.parametrize("norm", [RMSNorm(8, 1e-5), LayerNorm(8, 1e-5)], ids=["rms", "layer"])
def test_norms_compute_half_precision_in_float32(norm: nn.Module):
    x = torch.full((1, 8), 300.0, dtype=torch.float16)
    x[0, 0] = -300.0  # its square is out of range for float16
    y = norm.half()(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, norm.float()(x.float()))


@golden("rope")
def test_rotary_embedding(case):
    tensors = tensors_of("rope", case)
    rope = RotaryEmbedding(case["embed_dim"], case["ft_hw_seq_len"])
    assert_close(rope.freqs_cos, tensors["freqs_cos"], TOLERANCE)
    assert_close(rope.freqs_sin, tensors["freqs_sin"], TOLERANCE)
    assert_close(rope(tensors["x"]), tensors["out"], TOLERANCE)


def test_rotary_embedding_requires_a_multiple_of_4():
    with pytest.raises(ConfigError, match="embed_dim is 18"):
        RotaryEmbedding(18, 4)


@golden("patch_embed")
def test_patch_embedding(case):
    tensors = tensors_of("patch_embed", case)
    config = VimConfig(
        image_size=tuple(case["img_size"]),
        patch_size=case["patch"],
        stride=case["stride"],
        embed_dim=tensors["weight"].shape[0],
    )
    embedding = PatchEmbedding(config)
    embedding.proj.load_state_dict({name: tensors[name] for name in ("weight", "bias")})
    assert list(config.grid) == case["grid"]
    assert_close(embedding(tensors["x"]).detach(), tensors["out"], TOLERANCE)
