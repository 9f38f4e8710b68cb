"""The mixer of one block: projections around a gated selective scan in one or both directions.

Source: arXiv 2401.09417 algorithm 1. Tokens stay channels-last (batch, length, channels), and the backward
direction runs convolution and scan from the last token, so that no tensor is transposed or flipped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.model.config import Directions, VimConfig
from vim_deploy.model.norms import upcast
from vim_deploy.ops.scan import selective_scan

LAYER_SCALE_INIT = 0.1
TIME_STEP_INIT = (0.001, 0.1)  # range of softplus(bias) at initialization


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """Causal depthwise convolution over a token and the width - 1 tokens before it.

    x: (batch, length, channels); weight: (channels, 1, width), the last element for the token itself;
    bias: (channels). With `reverse`, over the tokens after it; the order of the tokens does not change.
    Returns the shape of x.
    """
    length, width = x.shape[1], weight.shape[-1]
    padding = (0, 0, 0, width - 1) if reverse else (0, 0, width - 1, 0)
    padded = F.pad(x, padding)
    # A weighted sum of shifted inputs, because the convolution operator is channels-first and would need
    # transposes in the exported graph.
    kernel = weight[:, 0].flip(-1) if reverse else weight[:, 0]
    y = padded[:, :length] * kernel[:, 0]
    for shift in range(1, width):
        y = y + padded[:, shift : shift + length] * kernel[:, shift]
    return y if bias is None else y + bias


class ScanInputs(NamedTuple):
    """The inputs of one direction's scan, except A and z."""

    u: Tensor  # (batch, length, inner)
    delta: Tensor  # (batch, length, inner), before bias and softplus
    B: Tensor  # (batch, length, state)
    C: Tensor  # (batch, length, state)
    D: Tensor  # (inner)
    delta_bias: Tensor  # (inner)


class Mixer(nn.Module):
    """(batch, length, embed) to the same shape; parameter names are those of the reference implementation."""

    def __init__(self, config: VimConfig) -> None:
        super().__init__()
        self.config = config
        inner, state, rank = config.inner, config.state, config.dt_rank
        both = config.directions is Directions.SEPARATE
        # In the order of the reference's state dict.
        if config.layer_scale:
            self.gamma = nn.Parameter(torch.full((config.embed_dim,), LAYER_SCALE_INIT))
        self.A_log = _decay(inner, state)
        self.D = nn.Parameter(torch.ones(inner))
        if config.directions is not Directions.FORWARD:
            self.A_b_log = _decay(inner, state)
        if both:
            self.D_b = nn.Parameter(torch.ones(inner))
        self.in_proj = nn.Linear(config.embed_dim, 2 * inner, bias=False)
        self.conv1d = _convolution(config)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = _time_step_projection(rank, inner)
        if both:
            self.conv1d_b = _convolution(config)
            self.x_proj_b = nn.Linear(inner, rank + 2 * state, bias=False)
            self.dt_proj_b = _time_step_projection(rank, inner)
        self.out_proj = nn.Linear(inner, config.embed_dim, bias=False)
        # Scaled, so that the variance of the residual stream does not grow with depth.
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(config.depth)

    @property
    def dtype(self) -> torch.dtype:
        """The type of computation, which the input must have."""
        return self.in_proj.weight.dtype

    def forward(self, tokens: Tensor, reverse: bool = False) -> Tensor:
        """Mix (batch, length, embed); `reverse` swaps the two directions."""
        x, z = self.in_proj(tokens).chunk(2, dim=-1)
        ahead = self._scan_inputs(x, self.conv1d, self.x_proj, self.dt_proj, self.D, reverse)
        y = _scan(ahead, self.A_log, z, reverse)
        if self.config.directions is Directions.SHARED:
            y = y + _scan(ahead, self.A_b_log, z, not reverse)
        elif self.config.directions is Directions.SEPARATE:
            back = self._scan_inputs(x, self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.D_b, not reverse)
            y = y + _scan(back, self.A_b_log, z, not reverse)
        if self.config.averages_directions:
            y = y / 2
        hidden = self.out_proj(y)
        return hidden * self.gamma if self.config.layer_scale else hidden

    def _scan_inputs(
        self, x: Tensor, conv: nn.Conv1d, x_proj: nn.Linear, dt_proj: nn.Linear, D: Tensor, reverse: bool
    ) -> ScanInputs:
        u = F.silu(causal_conv(x, conv.weight, conv.bias, reverse))
        sizes = [self.config.dt_rank, self.config.state, self.config.state]
        dt, B, C = x_proj(u).split(sizes, dim=-1)
        # The scan adds the bias, in float32.
        return ScanInputs(u, F.linear(dt, dt_proj.weight), B, C, upcast(D), upcast(dt_proj.bias))


def _scan(inputs: ScanInputs, A_log: Tensor, z: Tensor, reverse: bool) -> Tensor:
    u, delta, B, C, D, delta_bias = inputs
    A = -torch.exp(upcast(A_log))
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, reverse=reverse)


def _convolution(config: VimConfig) -> nn.Conv1d:
    return nn.Conv1d(config.inner, config.inner, config.conv_width, groups=config.inner)


def _decay(inner: int, state: int) -> nn.Parameter:
    """A_log for A = -1, -2, ... -state in every channel."""
    return nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))


def _time_step_projection(rank: int, inner: int) -> nn.Linear:
    """Weights that preserve the variance, and a bias whose softplus is log-uniform in TIME_STEP_INIT."""
    projection = nn.Linear(rank, inner)
    nn.init.uniform_(projection.weight, -(rank**-0.5), rank**-0.5)
    low, high = (math.log(limit) for limit in TIME_STEP_INIT)
    step = torch.empty(inner).uniform_(low, high).exp()
    with torch.no_grad():
        projection.bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of softplus
    return projection
