"""The CPU kernel through its plain C functions: raw pointers for any framework, arrays for NumPy.

The struct is `vim_scan::Arguments` of plugins/selective_scan/scan.h, which says what each field means.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vim_deploy.errors import OperatorLibraryError
from vim_deploy.ops.library import load_library

INPUTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
_POINTERS = (*INPUTS, "y")
_PITCHED = {
    "u": "channels",
    "delta": "channels",
    "B": "state",
    "C": "state",
    "z": "channels",
    "y": "channels",
}


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "length", "channels", "state")),
        *((name, ctypes.c_int32) for name in ("delta_softplus", "reverse")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((f"{name}_pitch", ctypes.c_int64) for name in _PITCHED),
    )


@dataclass(frozen=True)
class ScanSizes:
    """The four sizes of a scan; each at least 1, batch at least 0."""

    batch: int
    length: int
    channels: int
    state: int


def run_scan(
    sizes: ScanSizes,
    pointers: Mapping[str, int | None],
    *,
    delta_softplus: bool,
    reverse: bool,
    threads: int = 1,
    pitches: Mapping[str, int] | None = None,
) -> None:
    """Write the scan of the tensors at `pointers` (the eight inputs and `y`; all float32) to `y`.

    D, z and delta_bias may be None or absent: no skip term, no gate, no bias. `pitches` are floats from one
    token to the next, for u, delta, B, C, z and y where they are slices of wider tensors; dense by default.
    Shapes cannot be checked here: the memory must be there. The result's bits do not depend on `threads`.
    """
    given = pitches or {}
    dense = {name: getattr(sizes, size) for name, size in _PITCHED.items()}
    arguments = _Arguments(
        **vars(sizes),
        delta_softplus=int(delta_softplus),
        reverse=int(reverse),
        **{name: pointers.get(name) for name in _POINTERS},
        **{f"{name}_pitch": given.get(name, pitch) for name, pitch in dense.items()},
    )
    _run(arguments, threads)


def selective_scan(
    u: NDArray[np.float32],
    delta: NDArray[np.float32],
    A: NDArray[np.float32],
    B: NDArray[np.float32],
    C: NDArray[np.float32],
    D: NDArray[np.float32] | None = None,
    z: NDArray[np.float32] | None = None,
    delta_bias: NDArray[np.float32] | None = None,
    *,
    delta_softplus: bool,
    reverse: bool,
    threads: int = 1,
) -> NDArray[np.float32]:
    """The scan of float32 arrays, shaped as in the contract. Raises ValueError for other shapes or types."""
    arrays = dict(zip(INPUTS, (u, delta, A, B, C, D, z, delta_bias), strict=True))
    sizes = _sizes(arrays)
    dense = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    y = np.empty(u.shape, np.float32)
    pointers = {name: array.ctypes.data for name, array in {**dense, "y": y}.items()}
    run_scan(sizes, pointers, delta_softplus=delta_softplus, reverse=reverse, threads=threads)
    return y


def _sizes(arrays: Mapping[str, NDArray[np.float32] | None]) -> ScanSizes:
    u, A = arrays["u"], arrays["A"]
    if u is None or A is None or u.ndim != 3 or A.ndim != 2:
        raise ValueError("u must be (batch, length, channels) and A (channels, state)")
    batch, length, channels = u.shape
    sizes = ScanSizes(batch, length, channels, A.shape[1])
    if min(sizes.length, sizes.channels, sizes.state) < 1:
        raise ValueError(f"{sizes}: length, channels and state must be at least 1")
    sequence, projection = (batch, length, channels), (batch, length, sizes.state)
    channels = (sizes.channels,)
    shapes = (
        sequence,
        sequence,
        (sizes.channels, sizes.state),
        projection,
        projection,
        channels,
        sequence,
        channels,
    )
    for (name, array), shape in zip(arrays.items(), shapes, strict=True):
        if array is not None and (array.shape != shape or array.dtype != np.float32):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shape}")
    return sizes


def _run(arguments: _Arguments, threads: int) -> None:
    library = _library()
    reference = ctypes.byref(arguments)
    tasks: int = library.vim_deploy_scan_task_count(reference)
    threads = min(threads, tasks)
    if threads <= 1:
        library.vim_deploy_scan_run_tasks(reference, 0, tasks)
        return
    left = itertools.count()

    def work() -> None:
        while (task := next(left)) < tasks:
            library.vim_deploy_scan_run_tasks(reference, task, task + 1)

    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Calls through ctypes release Python's lock, so these run beside the calling thread."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vim_deploy_scan")


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    library.vim_deploy_scan_arguments_size.restype = ctypes.c_int64
    size = library.vim_deploy_scan_arguments_size()
    if size != ctypes.sizeof(_Arguments):
        raise OperatorLibraryError(
            f"the operator library's arguments take {size} bytes, expected {ctypes.sizeof(_Arguments)}: "
            "it belongs to another release; build it again"
        )
    pointer = ctypes.POINTER(_Arguments)
    library.vim_deploy_scan_task_count.argtypes = [pointer]
    library.vim_deploy_scan_task_count.restype = ctypes.c_int64
    library.vim_deploy_scan_run_tasks.argtypes = [pointer, ctypes.c_int64, ctypes.c_int64]
    library.vim_deploy_scan_run_tasks.restype = None
    return library
