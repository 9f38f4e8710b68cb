"""The selective scan as a PyTorch operator: checks, choice of implementation, gradient.

Contract: plugins/selective_scan/README.md. `vim_deploy::selective_scan` is what exported graphs contain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor

from vim_deploy.ops.kernel import kernel_is_there, run_kernel
from vim_deploy.ops.library import load_library
from vim_deploy.ops.reference import selective_scan_reference

Implementation = Literal["auto", "kernel", "reference"]

_implementation: ContextVar[Implementation] = ContextVar("implementation", default="auto")


@contextmanager
def use_scan(implementation: Implementation) -> Iterator[None]:
    """Choose what computes the scans inside the `with` block.

    "auto": the native kernel where it applies (float32 on the CPU, library present), else the reference;
    "kernel": the native kernel, or an error that says why it cannot be used; "reference": plain PyTorch.
    """
    if implementation not in ("auto", "kernel", "reference"):
        raise ValueError(f"scan {implementation!r}; expected 'auto', 'kernel' or 'reference'.")
    token = _implementation.set(implementation)
    try:
        yield
    finally:
        _implementation.reset(token)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    *,
    delta_softplus: bool,
    reverse: bool,
) -> Tensor:
    """The gated scan over time of every channel.

    u, delta, z: (batch, length, channels); B, C: (batch, length, state); all of one floating type.
    A: (channels, state), D, delta_bias: (channels): float32, or float64 when u is.
    Returns (batch, length, channels) of u's type. Raises ValueError for other shapes or types.
    """
    return _selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)


@torch.library.custom_op("vim_deploy::selective_scan", mutates_args=())
def _selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool,
    reverse: bool,
) -> Tensor:
    _check(u, delta, A, B, C, D, z, delta_bias)
    tensors = (u, delta, A, B, C, D, z, delta_bias)
    if _uses_kernel(u):
        return run_kernel(tensors, delta_softplus, reverse)
    return _reference(*tensors, delta_softplus, reverse)


@_selective_scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool,
    reverse: bool,
) -> Tensor:
    _check(u, delta, A, B, C, D, z, delta_bias)
    return u.new_empty(u.shape)


def _uses_kernel(u: Tensor) -> bool:
    """What `use_scan` asked for, held against what the kernel can do."""
    implementation = _implementation.get()
    if implementation == "reference":
        return False
    fits = u.device.type == "cpu" and u.dtype is torch.float32
    if implementation == "auto":
        return fits and kernel_is_there()
    if not fits:
        raise ValueError(
            f"selective_scan: the kernel takes float32 on the CPU, u is {u.dtype} on {u.device}; "
            "use_scan('auto') takes the reference for it."
        )
    load_library()
    return True


def _reference(*tensors_and_flags: Any) -> Tensor:
    *tensors, delta_softplus, reverse = tensors_and_flags
    result = selective_scan_reference(*tensors, delta_softplus=delta_softplus, reverse=reverse)
    assert isinstance(result, Tensor)
    return result


def _check(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, delta_bias: Tensor
) -> None:
    """Hold the inputs to the contract; sizes may be symbolic."""
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(
            f"selective_scan: u is {tuple(u.shape)}, A is {tuple(A.shape)}; "
            "expected (batch, length, channels) and (channels, state)."
        )
    batch, length, channels = u.shape
    state = A.shape[1]
    if 0 in (length, channels, state):
        raise ValueError(
            f"selective_scan: length {length}, channels {channels}, state {state}; "
            "expected 1 or more of each."
        )
    wide = torch.promote_types(u.dtype, torch.float32)
    expected = {
        "delta": (delta, (batch, length, channels), u.dtype),
        "A": (A, (channels, state), wide),
        "B": (B, (batch, length, state), u.dtype),
        "C": (C, (batch, length, state), u.dtype),
        "D": (D, (channels,), wide),
        "z": (z, (batch, length, channels), u.dtype),
        "delta_bias": (delta_bias, (channels,), wide),
    }
    for name, (tensor, shape, dtype) in expected.items():
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(
                f"selective_scan: {name} is {tensor.dtype} {tuple(tensor.shape)}; expected {dtype} {shape} "
                f"beside u of {u.dtype} {tuple(u.shape)}."
            )


def _save_for_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.delta_softplus, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """By running the reference again; the kernel keeps no intermediate values."""
    with torch.enable_grad():
        tensors = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        y = _reference(*tensors, ctx.delta_softplus, ctx.reverse)
    return (*torch.autograd.grad(y, tensors, grad), None, None)


_selective_scan.register_autograd(_gradient, setup_context=_save_for_gradient)
