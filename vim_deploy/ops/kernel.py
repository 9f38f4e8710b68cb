"""PyTorch tensors on the CPU through the native kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from vim_deploy.errors import OperatorLibraryMissingError
from vim_deploy.ops.library import load_library
from vim_deploy.ops.native import INPUTS, ScanSizes, run_scan

# Below this many state updates starting threads costs more than it saves.
_WORTH_THREADS = 1 << 18


@cache
def kernel_is_there() -> bool:
    """Whether the operator library is found; looked for once.

    Raises OperatorLibraryError for one that is there and cannot be used: falling back would hide that.
    """
    try:
        load_library()
    except OperatorLibraryMissingError:
        return False
    return True


def run_kernel(tensors: Sequence[Tensor], delta_softplus: bool, reverse: bool) -> Tensor:
    """The scan of the eight inputs, checked float32 CPU tensors, on PyTorch's number of threads."""
    inputs = {name: _rows(tensor) for name, tensor in zip(INPUTS, tensors, strict=True)}
    u, A = inputs["u"], inputs["A"]
    y = torch.empty(u.shape)
    batch, length, channels = u.shape
    sizes = ScanSizes(batch, length, channels, A.shape[1])
    sequences = {name: tensor for name, tensor in inputs.items() if tensor.dim() == 3}
    run_scan(
        sizes,
        {name: tensor.data_ptr() for name, tensor in {**inputs, "y": y}.items()},
        delta_softplus=delta_softplus,
        reverse=reverse,
        threads=torch.get_num_threads() if u.numel() * A.shape[1] >= _WORTH_THREADS else 1,
        pitches={name: tensor.stride(1) for name, tensor in sequences.items()},
    )
    return y


def _rows(tensor: Tensor) -> Tensor:
    """`tensor` itself where its rows are dense and evenly spaced (slices of projections); else a copy."""
    tensor = tensor.detach()
    if tensor.dim() != 3:
        return tensor.contiguous()
    batch, length, width = tensor.shape
    between_batches, pitch, between_values = tensor.stride()
    even = between_batches == length * pitch or batch <= 1
    # A single token has no meaningful pitch.
    if length > 1 and even and between_values == 1 and pitch >= width:
        return tensor
    return tensor.contiguous()
