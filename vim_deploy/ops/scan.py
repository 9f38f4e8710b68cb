"""The selective scan as the PyTorch operator `vim_deploy::selective_scan`, which exported graphs contain.

Contract: plugins/selective_scan/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from vim_deploy.ops.gradient import differentiable_scan
from vim_deploy.ops.kernel import kernel_available, run_kernel
from vim_deploy.ops.library import load_library
from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.signature import (
    ATTRIBUTES,
    FLAGS,
    INPUT_NAMES,
    INPUTS,
    by_name,
    groups_error,
    input_shapes,
    sizes_of,
)

Implementation: TypeAlias = Literal["auto", "kernel", "reference"]
ScanFunction: TypeAlias = Callable[..., Tensor]  # called like `selective_scan`

_implementation: ContextVar[Implementation | ScanFunction] = ContextVar("implementation", default="auto")


@contextmanager
def use_scan(implementation: Implementation | ScanFunction) -> Iterator[None]:
    """Choose the implementation of the scan inside the `with` block.

    "auto": the native kernel where it applies (float32 on the CPU, library present), else the reference;
    "kernel": the native kernel, or an error if it cannot be used; "reference": plain PyTorch;
    or a function that is called instead of the operator, with checked inputs and the arguments of
    `selective_scan`. The gradient of the function is its own; that of the others is the operator's.
    """
    if not callable(implementation) and implementation not in ("auto", "kernel", "reference"):
        raise ValueError(f"scan {implementation!r}; expected 'auto', 'kernel' or 'reference', or a function.")
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
    z: Tensor | None,
    delta_bias: Tensor,
    *,
    delta_softplus: bool,
    reverse: bool,
    groups: int = 1,
) -> Tensor:
    """The scan of every channel over time, gated if there is a z. Differentiable.

    u, delta, z: (batch, length, channels); B, C: (batch, length, groups x state), where channel c belongs to
    group c // (channels / groups); all of one floating type. A: (channels, state), D, delta_bias: (channels):
    float32, or float64 when u is. Returns (batch, length, channels) of u's type. Raises ValueError for other
    shapes or types.
    """
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    implementation = _implementation.get()
    if callable(implementation):
        _check(inputs, groups)
        return implementation(*inputs, delta_softplus=delta_softplus, reverse=reverse, groups=groups)
    return _operator(*inputs, delta_softplus, reverse, groups)


_SCHEMA = ", ".join(
    [
        *(f"Tensor{'?' if spec.optional else ''} {spec.name}" for spec in INPUTS),
        *(f"{'bool' if name in FLAGS else 'int'} {name}" for name in ATTRIBUTES),
    ]
)


@torch.library.custom_op("vim_deploy::selective_scan", mutates_args=(), schema=f"({_SCHEMA}) -> Tensor")
def _operator(*arguments: Any) -> Tensor:
    inputs, attributes = _split(arguments)
    u = _check(inputs, attributes["groups"])
    if _uses_kernel(u):
        return run_kernel(inputs, **attributes)
    result = selective_scan_reference(*inputs, **attributes)
    assert isinstance(result, Tensor)
    return result


@_operator.register_fake
def _(*arguments: Any) -> Tensor:
    inputs, attributes = _split(arguments)
    u = _check(inputs, attributes["groups"])
    return u.new_empty(u.shape)


def _split(arguments: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """The operator's tensors, of which optional ones may be None, and its attributes by name."""
    count = len(INPUT_NAMES)
    return arguments[:count], dict(zip(ATTRIBUTES, arguments[count:], strict=True))


def _uses_kernel(u: Tensor) -> bool:
    """Whether the native kernel runs the scan; raises where it was requested and cannot."""
    implementation = _implementation.get()
    if implementation == "reference":
        return False
    supported = u.device.type == "cpu" and u.dtype is torch.float32
    if implementation == "auto":
        return supported and kernel_available()
    if not supported:
        raise ValueError(
            f"selective_scan: the kernel takes float32 on the CPU, u is {u.dtype} on {u.device}; "
            "use_scan('auto') runs the reference instead."
        )
    load_library()
    return True


def _check(tensors: Sequence[Tensor | None], groups: int) -> Tensor:
    """Check shapes and types, whose sizes may be symbolic; returns u."""
    inputs = by_name(tensors)
    u, A = inputs["u"], inputs["A"]
    assert u is not None and A is not None
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(
            f"selective_scan: u is {tuple(u.shape)}, A is {tuple(A.shape)}; "
            "expected (batch, length, channels) and (channels, state)."
        )
    sizes = sizes_of(u.shape, A.shape)
    if 0 in (sizes["length"], sizes["channels"], sizes["state"]):
        raise ValueError(
            f"selective_scan: length {sizes['length']}, channels {sizes['channels']}, state "
            f"{sizes['state']}; expected each to be 1 or more."
        )
    if problem := groups_error(groups, sizes["channels"]):
        raise ValueError(f"selective_scan: {problem}.")
    wide = torch.promote_types(u.dtype, torch.float32)
    for spec, shape in zip(INPUTS, input_shapes(sizes, groups).values(), strict=True):
        tensor, dtype = inputs[spec.name], wide if spec.float32 else u.dtype
        if tensor is None and spec.optional:
            continue
        if tensor is None or tensor.shape != shape or tensor.dtype != dtype:
            found = "missing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ValueError(
                f"selective_scan: {spec.name} is {found}; expected {dtype} {shape} to match u, {u.dtype} "
                f"{tuple(u.shape)}."
            )
    return u


def _save_for_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    tensors, ctx.attributes = _split(inputs)
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Recomputes the states, since the kernel does not return them."""
    with torch.enable_grad():
        tensors: list[Any] = [
            None if tensor is None else tensor.detach().requires_grad_() for tensor in ctx.saved_tensors
        ]
        y = differentiable_scan(*tensors, **ctx.attributes)
    given = [tensor for tensor in tensors if tensor is not None]
    found = iter(torch.autograd.grad(y, given, grad))
    gradients = (None if tensor is None else next(found) for tensor in tensors)
    return (*gradients, *(None for _ in ctx.attributes))


_operator.register_autograd(_gradient, setup_context=_save_for_gradient)
