"""The functions of mamba_ssm and causal_conv1d that public networks call, on our operator.

Names, arguments and results follow the public interfaces of these packages. All sequences are channels first:
(batch, channels, length). Every function runs on any device, and can be exported.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.ops.mamba import selective_scan_fn
from vim_deploy.ops.scan import use_scan

__all__ = [
    "RMSNorm",
    "bimamba_inner_fn",
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "layer_norm_fn",
    "mamba_inner_fn",
    "mamba_inner_fn_no_out_proj",
    "rms_norm_fn",
    "selective_scan_fn",
    "selective_scan_ref",
]


def selective_scan_ref(*arguments: Any, **keywords: Any) -> Tensor | tuple[Tensor, Tensor]:
    """`selective_scan_fn`, computed by the slow reference in plain PyTorch."""
    with use_scan("reference"):
        return selective_scan_fn(*arguments, **keywords)


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    """The causal depthwise convolution of x (batch, channels, length) with weight (channels, width).

    activation: None, "silu" or "swish". Raises ValueError for the arguments of sequences in parts.
    """
    if seq_idx is not None or initial_states is not None or return_final_states:
        raise ValueError(
            "causal_conv1d_fn: seq_idx, initial_states and return_final_states are not supported; expected a "
            "whole sequence."
        )
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"causal_conv1d_fn: activation is {activation!r}; expected None, 'silu' or 'swish'.")
    channels, width = weight.shape
    y = F.conv1d(F.pad(x, (width - 1, 0)), weight[:, None].to(x.dtype), _like(bias, x), groups=channels)
    return y if activation is None else F.silu(y)


def causal_conv1d_update(*arguments: Any, **keywords: Any) -> NoReturn:
    """Networks that generate token by token import it. Raises ValueError."""
    raise ValueError(
        "causal_conv1d_update: convolving one token at a time is not supported; expected a whole sequence "
        "(causal_conv1d_fn)."
    )


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
) -> Tensor:
    """A Mamba mixer after its first projection: xz (batch, 2 x inner, length) to (batch, length, embed)."""
    y = mamba_inner_fn_no_out_proj(
        xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, A, B, C, D, delta_bias,
        B_proj_bias, C_proj_bias, delta_softplus, checkpoint_lvl,
    )  # fmt: skip
    return _project_out(y, out_proj_weight, out_proj_bias)


def mamba_inner_fn_no_out_proj(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
) -> Tensor:
    """Like `mamba_inner_fn` without the last projection: (batch, inner, length)."""
    inputs = _inner_inputs(
        xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, A, B, C, B_proj_bias, C_proj_bias
    )
    u, delta, B, C, z = inputs
    return _scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)


def bimamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    A_b: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
) -> Tensor:
    """Like `mamba_inner_fn`, plus a second scan from the last token to the first with A_b."""
    inputs = _inner_inputs(
        xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, A, B, C, B_proj_bias, C_proj_bias
    )
    u, delta, B, C, z = inputs
    y = _scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    y = y + _scan(u, delta, A_b, B, C, D, z, delta_bias, delta_softplus, reverse=True)
    return _project_out(y, out_proj_weight, out_proj_bias)


def _inner_inputs(
    xz: Tensor, conv1d_weight: Tensor, conv1d_bias: Tensor | None, x_proj_weight: Tensor,
    delta_proj_weight: Tensor, A: Tensor, B: Tensor | None, C: Tensor | None,
    B_proj_bias: Tensor | None, C_proj_bias: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """u, delta, B, C and z of the scan; the projection has the time step and the parts that are not given."""
    if A.is_complex():
        raise ValueError(
            "mamba_inner_fn: A is complex; expected a real A, which is all that the operator has."
        )
    x, z = xz.chunk(2, dim=1)
    weight = conv1d_weight.flatten(1)  # (inner, 1, width) to (inner, width)
    u = causal_conv1d_fn(x, weight, conv1d_bias, activation="silu")
    rank, state = delta_proj_weight.shape[1], A.shape[1]
    projected = F.linear(u.transpose(1, 2), x_proj_weight)
    delta = F.linear(projected[..., :rank], delta_proj_weight).transpose(1, 2)
    if B is None:
        B = _biased(projected[..., rank : rank + state], B_proj_bias).transpose(1, 2)
    if C is None:
        C = _biased(projected[..., projected.shape[-1] - state :], C_proj_bias).transpose(1, 2)
    return u, delta, B, C, z


def _scan(*arguments: Any, reverse: bool = False) -> Tensor:
    y = selective_scan_fn(*arguments, reverse=reverse)
    assert isinstance(y, Tensor)
    return y


def _project_out(y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(y.transpose(1, 2), weight, bias)


def _biased(tensor: Tensor, bias: Tensor | None) -> Tensor:
    return tensor if bias is None else tensor + bias.to(tensor.dtype)


def _like(tensor: Tensor | None, other: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.to(other.dtype)


def layer_norm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The layer norm (or RMS norm) of x + residual; with `prenorm` also that sum."""
    total = x if residual is None else x + residual.to(torch.promote_types(x.dtype, residual.dtype))
    if residual_in_fp32:
        total = total.float()
    wide = total.to(torch.promote_types(total.dtype, torch.float32))
    if is_rms_norm:
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight
        normed = _biased(normed, bias)
    else:
        normed = F.layer_norm(wide, weight.shape, weight.to(wide.dtype), _like(bias, wide), eps)
    y = normed.to(x.dtype)
    return (y, total) if prenorm else y


def rms_norm_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`layer_norm_fn` without subtraction of the mean."""
    return layer_norm_fn(x, weight, bias, residual, eps, prenorm, residual_in_fp32, is_rms_norm=True)


class RMSNorm(nn.Module):
    """The module with `rms_norm_fn`; its only parameter is `weight`."""

    def __init__(self, hidden_size: int, eps: float = 1e-5, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)

    def forward(
        self, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, residual_in_fp32: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        return rms_norm_fn(x, self.weight, None, residual, self.eps, prenorm, residual_in_fp32)
