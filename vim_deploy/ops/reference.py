"""The selective scan in plain PyTorch: slow, simple, and what every other implementation is compared with.

Source: the recurrence of arXiv 2312.00752 section 3 with the simplified (Euler) discretization of B, as
specified in plugins/selective_scan/README.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    reverse: bool = False,
    groups: int = 1,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The scan of every channel over time, optionally with the state after the last step.

    u, delta, z: (batch, length, channels); A: (channels, state); D, delta_bias: (channels).
    B, C: (batch, length, groups x state), where channel c belongs to group c // (channels / groups); or
    (channels, state) when constant in time.
    Returns (batch, length, channels) of u's type and, if requested, the state (batch, channels, state).
    Arithmetic is in float32, or in float64 when u is float64. Differentiable.
    """
    compute = torch.promote_types(u.dtype, torch.float32)
    batch, length, channels = u.shape
    A = A.to(compute)
    u_wide = u.to(compute)
    dt = delta.to(compute)
    if delta_bias is not None:
        dt = dt + delta_bias.to(compute)
    if delta_softplus:
        dt = F.softplus(dt, threshold=20.0)
    B = _per_step(B.to(compute), length, channels, groups)
    C = _per_step(C.to(compute), length, channels, groups)

    h = u_wide.new_zeros(batch, channels, A.shape[1])
    sums: list[Tensor] = [h.sum(-1)] * length
    for t in reversed(range(length)) if reverse else range(length):
        dt_t = dt[:, t, :, None]
        h = torch.exp(dt_t * A) * h + dt_t * B[:, t] * u_wide[:, t, :, None]
        sums[t] = (C[:, t] * h).sum(-1)

    y = torch.stack(sums, dim=1)
    if D is not None:
        y = y + D.to(compute) * u_wide
    if z is not None:
        y = y * F.silu(z.to(compute))
    y = y.to(u.dtype)
    return (y, h) if return_last_state else y


def _per_step(projection: Tensor, length: int, channels: int, groups: int) -> Tensor:
    """B or C, in any of its forms, as (batch or 1, length, channels or 1, state)."""
    if projection.dim() == 2:
        return projection.expand(1, length, *projection.shape)
    grouped = projection.unflatten(2, (groups, projection.shape[2] // groups))
    return grouped if groups == 1 else grouped.repeat_interleave(channels // groups, dim=2)
