"""The scan with an efficient gradient, in plain PyTorch.

The arithmetic is the reference's. Automatic differentiation of the reference would save several tensors of
the state's size per step; here only the states are saved, and the backward pass recomputes the decays.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def differentiable_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor,
    *,
    delta_softplus: bool,
    reverse: bool,
    groups: int = 1,
) -> Tensor:
    """`vim_deploy.ops.selective_scan`, without checks."""
    compute = torch.promote_types(u.dtype, torch.float32)
    u_wide = u.to(compute)
    dt = delta.to(compute) + delta_bias
    if delta_softplus:
        dt = F.softplus(dt, threshold=20.0)
    # Length first, so that every step is contiguous.
    inputs = [tensor.to(compute).transpose(0, 1).contiguous() for tensor in (u_wide, dt, B, C)]
    if reverse:
        inputs = [tensor.flip(0) for tensor in inputs]
    y = _recurrence_of_groups(inputs, A, groups)
    y = (y.flip(0) if reverse else y).transpose(0, 1) + D * u_wide
    if z is not None:
        y = y * F.silu(z.to(compute))
    return y.to(u.dtype)


def _recurrence_of_groups(sequences: list[Tensor], A: Tensor, groups: int) -> Tensor:
    """`_Recurrence` of u, dt, B and C; each group is like a scan of its own."""
    parts = zip(*(tensor.chunk(groups, dim=2) for tensor in sequences), A.chunk(groups), strict=True)
    results = [_Recurrence.apply(*(tensor.contiguous() for tensor in part)) for part in parts]
    return results[0] if groups == 1 else torch.cat(results, dim=2)


class _Recurrence(torch.autograd.Function):
    """u, dt and y: (length, batch, channels); B, C: (length, batch, state); A: (channels, state)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor) -> Tensor:
        x = dt * u
        h = u.new_zeros(*u.shape[1:], A.shape[1])
        states = u.new_empty(len(u), *h.shape)
        for t in range(len(u)):
            decay = torch.exp(dt[t, :, :, None] * A)
            h = torch.addcmul(decay.mul_(h), x[t, :, :, None], B[t, :, None], out=states[t])
        ctx.save_for_backward(u, dt, B, C, A, states)
        return torch.matmul(states, C[..., None]).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        u, dt, B, C, A, states = ctx.saved_tensors
        dy = gradients[0].contiguous()
        x = dt * u
        dx, d_dt, dB, dA = torch.empty_like(u), torch.zeros_like(u), torch.empty_like(B), torch.zeros_like(A)
        dh = torch.zeros_like(states[0])
        for t in reversed(range(len(u))):
            dh.addcmul_(dy[t, :, :, None], C[t, :, None])
            dx[t] = torch.matmul(dh, B[t, :, :, None]).squeeze(-1)
            dB[t] = torch.matmul(x[t, :, None], dh).squeeze(1)
            dh.mul_(torch.exp(dt[t, :, :, None] * A))
            if t:  # the state before the first step is zero
                through_decay = dh * states[t - 1]
                d_dt[t] = (through_decay * A).sum(-1)
                dA += (through_decay * dt[t, :, :, None]).sum(0)
        dC = torch.matmul(dy[:, :, None], states).squeeze(2)
        return dx * dt, d_dt + dx * u, dB, dC, dA
