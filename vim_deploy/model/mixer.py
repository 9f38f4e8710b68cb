"""The mixer of one block: projections around a gated selective scan in one or both directions.

Source: arXiv 2401.09417 algorithm 1. Tokens stay channels-last (batch, length, channels) throughout, and the
backward direction runs the convolution and the scan from the far end, so that nothing is ever flipped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.model.config import Directions, VimConfig
from vim_deploy.model.norms import widen
from vim_deploy.ops.scan import selective_scan

LAYER_SCALE_START = 0.1
TIME_STEP_START = (0.001, 0.1)  # range of softplus(bias) before training


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """Depthwise convolution in which a token sees itself and the width-1 tokens before it.

    x: (batch, length, channels); weight: (channels, 1, width), last tap on the token itself.
    bias: (channels). With `reverse` a token sees those after it instead; the order of tokens is kept.
    Returns x's shape.
    """
    length, width = x.shape[1], weight.shape[-1]
    padding = (0, 0, 0, width - 1) if reverse else (0, 0, width - 1, 0)
    padded = F.pad(x, padding)
    # A sum of shifted products instead of a convolution operator, which wants channels first: no transpose
    # here means none in the exported graph.
    taps = weight[:, 0].flip(-1) if reverse else weight[:, 0]
    y = padded[:, :length] * taps[:, 0]
    for tap in range(1, width):
        y = y + padded[:, tap : tap + length] * taps[:, tap]
    return y if bias is None else y + bias


class ScanInputs(NamedTuple):
    """What one direction feeds the scan besides decay and gate."""

    u: Tensor  # (batch, length, inner)
    delta: Tensor  # (batch, length, inner), before bias and softplus
    B: Tensor  # (batch, length, state)
    C: Tensor  # (batch, length, state)
    D: Tensor  # (inner)
    delta_bias: Tensor  # (inner)


class Mixer(nn.Module):
    """(batch, length, embed) to the same shape; the parameters' names are the reference implementation's."""

    def __init__(self, config: VimConfig) -> None:
        super().__init__()
        self.config = config
        inner, state, rank = config.inner, config.state, config.dt_rank
        both = config.directions is Directions.SEPARATE
        # In the order of the reference's state dict.
        if config.layer_scale:
            self.gamma = nn.Parameter(torch.full((config.embed_dim,), LAYER_SCALE_START))
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
        # Every block adds to one residual stream; without this its variance would grow with depth.
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(config.depth)

    @property
    def dtype(self) -> torch.dtype:
        """The type this mixer computes in; its input must have it."""
        return self.in_proj.weight.dtype

    def forward(self, tokens: Tensor, reverse: bool = False) -> Tensor:
        """Mix (batch, length, embed); `reverse` exchanges the time order of both directions."""
        x, z = self.in_proj(tokens).chunk(2, dim=-1)
        ahead = self._scan_inputs(x, self.conv1d, self.x_proj, self.dt_proj, self.D, reverse)
        y = _scan(ahead, self.A_log, z, reverse)
        if self.config.directions is Directions.SHARED:
            y = y + _scan(ahead, self.A_b_log, z, not reverse)
        elif self.config.directions is Directions.SEPARATE:
            back = self._scan_inputs(x, self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.D_b, not reverse)
            y = y + _scan(back, self.A_b_log, z, not reverse)
        if self.config.halves_sum:
            y = y / 2
        hidden = self.out_proj(y)
        return hidden * self.gamma if self.config.layer_scale else hidden

    def _scan_inputs(
        self, x: Tensor, conv: nn.Conv1d, x_proj: nn.Linear, dt_proj: nn.Linear, D: Tensor, reverse: bool
    ) -> ScanInputs:
        u = F.silu(causal_conv(x, conv.weight, conv.bias, reverse))
        sizes = [self.config.dt_rank, self.config.state, self.config.state]
        dt, B, C = x_proj(u).split(sizes, dim=-1)
        # The bias is left to the scan, which adds it in float32.
        return ScanInputs(u, F.linear(dt, dt_proj.weight), B, C, widen(D), widen(dt_proj.bias))


def _scan(inputs: ScanInputs, A_log: Tensor, z: Tensor, reverse: bool) -> Tensor:
    u, delta, B, C, D, delta_bias = inputs
    A = -torch.exp(widen(A_log))
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, reverse=reverse)


def _convolution(config: VimConfig) -> nn.Conv1d:
    return nn.Conv1d(config.inner, config.inner, config.conv_width, groups=config.inner)


def _decay(inner: int, state: int) -> nn.Parameter:
    """A_log such that A is -1, -2, ... -state in every channel."""
    return nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))


def _time_step_projection(rank: int, inner: int) -> nn.Linear:
    """Weights that keep the variance, and a bias whose softplus is log-uniform in TIME_STEP_START."""
    projection = nn.Linear(rank, inner)
    nn.init.uniform_(projection.weight, -(rank**-0.5), rank**-0.5)
    low, high = (math.log(limit) for limit in TIME_STEP_START)
    step = torch.empty(inner).uniform_(low, high).exp()
    with torch.no_grad():
        projection.bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of softplus
    return projection
