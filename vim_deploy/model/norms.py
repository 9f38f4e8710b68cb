"""Normalization over the embedding, computed in float32 or wider."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.model.config import VimConfig


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor.to(dtype)`, without a node in the exported graph if the type is the same."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def upcast(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 to float32; other types are unchanged."""
    return cast(tensor, torch.promote_types(tensor.dtype, torch.float32))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        x = upcast(x)
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * upcast(self.weight)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(upcast(x), self.weight.shape, upcast(self.weight), upcast(self.bias), self.eps)


def make_norm(config: VimConfig) -> nn.Module:
    return (RMSNorm if config.rms_norm else LayerNorm)(config.embed_dim, config.norm_eps)
