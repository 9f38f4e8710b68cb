"""`selective_scan_fn` with the interface of the package mamba_ssm, on our operator: channels first.

Source: the documented interface of `mamba_ssm.ops.selective_scan_interface`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vim_deploy.ops.scan import selective_scan


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool | None = False,
    *,
    reverse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan with the arguments, layout and result of mamba_ssm's function. Differentiable.

    u, delta, z: (batch, channels, length); A: (channels, state), real; D, delta_bias: (channels).
    B, C: (batch, state, length), (batch, groups, state, length), or (channels, state) when constant in time.
    Returns (batch, channels, length) of u's type and, if requested, the state after the last token,
    (batch, channels, state) in float32, without a gradient. An exported graph cannot use that state.
    `reverse` is not an argument of mamba_ssm's: it runs the scan from the last token to the first.

    Raises ValueError for other shapes, and for a complex A.
    """
    if A.is_complex():
        raise ValueError(
            "selective_scan_fn: A is complex; expected a real A, which is all that the operator has."
        )
    sequences = [tensor for tensor in (u, delta, B, C, z) if tensor is not None]
    mixed = len({tensor.dtype for tensor in sequences}) > 1
    dtype = torch.promote_types(u.dtype, torch.float32) if mixed else u.dtype
    wide = torch.promote_types(dtype, torch.float32)
    channels = A.shape[0]
    groups = _groups(B, C, channels)
    zeros = torch.zeros(channels, dtype=wide, device=u.device)
    inputs: dict[str, Any] = {
        "u": _channels_last(u, dtype),
        "delta": _channels_last(delta, dtype),
        "A": A.to(wide),
        "B": _projection(B, u, groups, dtype),
        "C": _projection(C, u, groups, dtype),
        "D": zeros if D is None else D.to(wide),
        "z": None if z is None else _channels_last(z, dtype),
        "delta_bias": zeros if delta_bias is None else delta_bias.to(wide),
    }
    y = selective_scan(**inputs, delta_softplus=bool(delta_softplus), reverse=reverse, groups=groups)
    y = y.to(u.dtype).transpose(1, 2)
    if not return_last_state:
        return y
    used = [inputs[name] for name in ("u", "delta", "A", "B", "delta_bias")]
    return y, _last_state(*used, bool(delta_softplus), reverse, groups)


def _channels_last(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype).transpose(1, 2)


def _groups(B: Tensor, C: Tensor, channels: int) -> int:
    """The smallest number of groups with which both projections can be written."""
    counts = []
    for name, tensor in (("B", B), ("C", C)):
        if tensor.dim() not in (2, 3, 4):
            raise ValueError(
                f"selective_scan_fn: {name} has {tensor.dim()} axes; expected (channels, state), "
                "(batch, state, length) or (batch, groups, state, length)."
            )
        counts.append({2: channels, 3: 1}.get(tensor.dim()) or tensor.shape[1])
    return math.lcm(*counts)


def _projection(projection: Tensor, u: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """B or C, in any of its forms, as (batch, length, groups x state)."""
    projection = projection.to(dtype)
    if projection.dim() == 2:
        return projection.flatten().expand(u.shape[0], u.shape[2], projection.numel())
    if projection.dim() == 3:
        if groups == 1:
            return projection.transpose(1, 2)
        projection = projection.unsqueeze(1)
    own, state = projection.shape[1:3]
    projection = projection.movedim(-1, 1)
    if own != groups:
        # (batch, length, own groups, copies, state)
        copies = projection.unsqueeze(3).expand(-1, -1, -1, groups // own, -1)
        return copies.reshape(*copies.shape[:2], groups * state)
    return projection.flatten(2)


_STATE_SCHEMA = (
    "(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor delta_bias, bool delta_softplus, bool reverse, "
    "int groups) -> Tensor"
)


@torch.library.custom_op("vim_deploy::scan_last_state", mutates_args=(), schema=_STATE_SCHEMA)
def _last_state(*arguments: Any) -> Tensor:
    """The state after the last token, (batch, channels, state).

    It is the sum of what each token added, decayed by the time steps after it: no loop over the tokens. As an
    operator of its own it disappears from exported graphs that do not use it.
    """
    u, delta, A, B, delta_bias, delta_softplus, reverse, groups = arguments
    wide = A.dtype
    dt = delta.to(wide) + delta_bias
    if delta_softplus:
        dt = F.softplus(dt, threshold=20.0)
    if reverse:
        u, dt, B = u.flip(1), dt.flip(1), B.flip(1)
    later = dt.flip(1).cumsum(1).flip(1) - dt
    gain = dt * u.to(wide)
    grouped = B.to(wide).unflatten(2, (groups, A.shape[1]))
    state = u.new_empty(u.shape[0], *A.shape, dtype=wide)
    for n in range(A.shape[1]):  # one state at a time, to keep memory low
        B_n = grouped[..., n].repeat_interleave(A.shape[0] // groups, dim=2)
        state[:, :, n] = (torch.exp(later * A[:, n]) * gain * B_n).sum(1)
    return state


@_last_state.register_fake
def _(*arguments: Any) -> Tensor:
    u, A = arguments[0], arguments[2]
    state: Tensor = A.new_empty(u.shape[0], *A.shape)
    return state


def _no_gradient(ctx: Any, grad: Tensor) -> tuple[None, ...]:
    return (None,) * 8


_last_state.register_autograd(_no_gradient)
