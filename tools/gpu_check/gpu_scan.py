"""The project's CUDA scan and the baseline scan on PyTorch tensors, through ctypes.

Each is a function with the arguments of `vim_deploy.ops.scan.selective_scan`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vim_deploy.ops.signature import INPUT_NAMES, SIZES

Scan = Callable[..., Tensor]
_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # vim_scan::Type
_POINTERS = (*INPUT_NAMES, "y")


class Arguments(ctypes.Structure):
    """vim_scan::CudaArguments."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in SIZES),
        ("type", ctypes.c_int32),
        ("delta_softplus", ctypes.c_bool),
        ("reverse", ctypes.c_bool),
        *((name, ctypes.c_void_p) for name in (*_POINTERS, "workspace")),
        ("groups", ctypes.c_int32),
    ]


class BaselineArguments(ctypes.Structure):
    """scan_baseline::Arguments."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "channels", "length")),
        ("state", ctypes.c_int),
        ("delta_softplus", ctypes.c_bool),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    ]


def load(path: Path) -> Any:
    """The library built from gpu_library.cu. Raises RuntimeError if its structs differ."""
    library = ctypes.CDLL(str(path))
    library.gpu_check_scan.restype = ctypes.c_char_p
    library.gpu_check_workspace.restype = ctypes.c_int64
    for which, structure in enumerate((Arguments, BaselineArguments)):
        if library.gpu_check_sizes(which) != ctypes.sizeof(structure):
            raise RuntimeError(f"{structure.__name__} differs from the library's; fix gpu_scan.py")
    return library


def scans(path: Path) -> dict[str, Scan]:
    """By name: the project's scan, the baseline, and the public Mamba kernel if mamba_ssm is installed."""
    library = load(path)
    found: dict[str, Scan] = {"ours": _ours(library), "baseline": _channels_first(_baseline(library))}
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return found
    return {**found, "mamba_ssm": _channels_first(_mamba(selective_scan_fn))}


def _stream() -> ctypes.c_void_p:
    return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)


def _addresses(tensors: tuple[Tensor, ...]) -> tuple[ctypes.c_void_p, ...]:
    return tuple(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)


def _ours(library: Any) -> Scan:
    def scan(*tensors: Tensor, delta_softplus: bool, reverse: bool, groups: int = 1) -> Tensor:
        dense = tuple(tensor.contiguous() for tensor in tensors)
        u, A = dense[0], dense[2]
        batch, length, channels = u.shape
        state = A.shape[1]
        y = torch.empty_like(u)
        bytes_needed = library.gpu_check_workspace(ctypes.c_int64(channels), ctypes.c_int64(state))
        workspace = torch.empty(max(1, bytes_needed), dtype=torch.uint8, device=u.device)
        addresses = _addresses((*dense, y, workspace))
        arguments = Arguments(
            batch, length, channels, state, _TYPES[u.dtype], delta_softplus, reverse, *addresses, groups
        )
        if wrong := library.gpu_check_scan(ctypes.byref(arguments), _stream()):
            raise RuntimeError(wrong.decode())
        return y

    return scan


def _baseline(library: Any) -> Scan:
    def scan(*tensors: Tensor, delta_softplus: bool) -> Tensor:
        u, A = tensors[0], tensors[2]
        y = torch.empty_like(u)
        arguments = BaselineArguments(*u.shape, A.shape[1], delta_softplus, *_addresses((*tensors, y)))
        half = int(u.dtype is torch.float16)
        if status := library.scan_baseline_launch(half, ctypes.byref(arguments), _stream()):
            raise RuntimeError(f"the baseline scan failed with CUDA error {status}")
        return y

    return scan


def _mamba(function: Any) -> Scan:
    def scan(*tensors: Tensor, delta_softplus: bool) -> Tensor:
        y: Tensor = function(*tensors, delta_softplus)
        return y

    return scan


def _channels_first(scan: Scan) -> Scan:
    """Adapter for scans with the length last and one direction: copies and flips tensors as needed."""

    def adapted(*tensors: Tensor, delta_softplus: bool, reverse: bool, groups: int = 1) -> Tensor:
        if groups != 1:
            raise ValueError(f"groups is {groups}; expected 1")
        flipped = [tensor.flip(1) if reverse and tensor.dim() == 3 else tensor for tensor in tensors]
        dense = [(tensor.transpose(1, 2) if tensor.dim() == 3 else tensor).contiguous() for tensor in flipped]
        y = scan(*dense, delta_softplus=delta_softplus).transpose(1, 2)
        return y.flip(1) if reverse else y

    return adapted
