"""Runs the native CPU kernel on PyTorch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from vim_deploy.errors import OperatorLibraryMissingError
from vim_deploy.ops.library import load_library
from vim_deploy.ops.native import run_scan
from vim_deploy.ops.signature import by_name, sizes_of

# Below this number of state updates, starting threads costs more than it saves.
_THREADING_THRESHOLD = 1 << 18


@cache
def kernel_available() -> bool:
    """Whether the operator library was found; checked once.

    Raises OperatorLibraryError if it was found but cannot be used: falling back would hide that.
    """
    try:
        load_library()
    except OperatorLibraryMissingError:
        return False
    return True


def run_kernel(tensors: Sequence[Tensor | None], delta_softplus: bool, reverse: bool, groups: int) -> Tensor:
    """The scan of checked float32 CPU tensors, in the order of the signature, on PyTorch's threads."""
    inputs = {
        name: _with_dense_rows(tensor) for name, tensor in by_name(tensors).items() if tensor is not None
    }
    u, A = inputs["u"], inputs["A"]
    y = torch.empty(u.shape)
    sequences = {name: tensor for name, tensor in inputs.items() if tensor.dim() == 3}
    run_scan(
        sizes_of(u.shape, A.shape),
        {name: tensor.data_ptr() for name, tensor in {**inputs, "y": y}.items()},
        delta_softplus=delta_softplus,
        reverse=reverse,
        groups=groups,
        threads=torch.get_num_threads() if u.numel() * A.shape[1] >= _THREADING_THRESHOLD else 1,
        pitches={name: tensor.stride(1) for name, tensor in sequences.items()},
    )
    return y


def _with_dense_rows(tensor: Tensor) -> Tensor:
    """`tensor` itself if its rows are dense and evenly spaced (slices of projections are), else a copy."""
    tensor = tensor.detach()
    if tensor.dim() != 3:
        return tensor.contiguous()
    batch, length, width = tensor.shape
    batch_stride, pitch, value_stride = tensor.stride()
    even = batch_stride == length * pitch or batch <= 1
    # A single token has no meaningful pitch.
    if length > 1 and even and value_stride == 1 and pitch >= width:
        return tensor
    return tensor.contiguous()
