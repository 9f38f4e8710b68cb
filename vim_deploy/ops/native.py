"""Binding of the CPU kernel's C functions: `run_scan` takes raw pointers, `selective_scan` NumPy arrays.

The struct is `vim_scan::Arguments` of plugins/selective_scan/scan.h, which documents the fields.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vim_deploy.errors import OperatorLibraryError
from vim_deploy.ops.library import load_library
from vim_deploy.ops.signature import (
    ATTRIBUTES,
    INPUT_NAMES,
    INPUTS,
    OUTPUT,
    SIZES,
    groups_error,
    input_shapes,
    sizes_of,
)

_POINTERS = (*INPUT_NAMES, OUTPUT.name)
# Tensors with one row per token. The output has the shape of u.
_ROW_TENSORS = tuple(spec.name for spec in (*INPUTS, OUTPUT) if len(spec.shape) == 3)


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_int32) for name in ATTRIBUTES),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((f"{name}_pitch", ctypes.c_int64) for name in _ROW_TENSORS),
    )


def run_scan(
    sizes: Mapping[str, int],
    pointers: Mapping[str, int | None],
    *,
    delta_softplus: bool,
    reverse: bool,
    groups: int = 1,
    threads: int = 1,
    pitches: Mapping[str, int] | None = None,
) -> None:
    """Write the scan of the float32 tensors at `pointers`, one address per input and for `y`, to `y`.

    `sizes`: a value for each of SIZES; each is at least 1, the batch size at least 0.
    Optional inputs may be None or absent. `pitches`: the number of floats from one token to the next, for
    tensors with one row per token that are slices of wider tensors; by default rows are dense. Shapes are not
    checked: the memory must be valid. The result's bits do not depend on `threads`.
    """
    shapes = input_shapes(sizes, groups)
    dense = {name: shapes.get(name, shapes["u"])[-1] for name in _ROW_TENSORS}
    arguments = _Arguments(
        **sizes,
        delta_softplus=int(delta_softplus),
        reverse=int(reverse),
        groups=groups,
        **{name: pointers.get(name) for name in _POINTERS},
        **{f"{name}_pitch": pitch for name, pitch in {**dense, **(pitches or {})}.items()},
    )
    _run(arguments, threads)


def selective_scan(
    inputs: Mapping[str, NDArray[np.float32] | None],
    *,
    delta_softplus: bool,
    reverse: bool,
    groups: int = 1,
    threads: int = 1,
) -> NDArray[np.float32]:
    """The scan of float32 arrays by input name. Optional inputs may be None or absent.

    Returns (batch, length, channels). Raises ValueError for other shapes or types than the contract's.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items() if array is not None}
    sizes = _sizes(arrays, groups)
    y = np.empty(arrays["u"].shape, np.float32)
    pointers = {name: array.ctypes.data for name, array in {**arrays, "y": y}.items()}
    run_scan(sizes, pointers, delta_softplus=delta_softplus, reverse=reverse, groups=groups, threads=threads)
    return y


def _sizes(arrays: Mapping[str, NDArray[np.float32]], groups: int) -> dict[str, int]:
    if missing := [spec.name for spec in INPUTS if spec.name not in arrays and not spec.kernel_optional]:
        raise ValueError(f"missing inputs: {', '.join(missing)}")
    u, A = arrays["u"], arrays["A"]
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError("u must be (batch, length, channels) and A (channels, state)")
    sizes = sizes_of(u.shape, A.shape)
    if min(sizes["length"], sizes["channels"], sizes["state"]) < 1:
        raise ValueError(f"{sizes}: length, channels and state must be at least 1")
    if problem := groups_error(groups, sizes["channels"]):
        raise ValueError(problem)
    shapes = input_shapes(sizes, groups)
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype != np.float32:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shapes[name]}")
    return sizes


def _run(arguments: _Arguments, threads: int) -> None:
    library = _library()
    reference = ctypes.byref(arguments)
    tasks: int = library.vim_deploy_scan_task_count(reference)
    threads = min(threads, tasks)
    if threads <= 1:
        library.vim_deploy_scan_run_tasks(reference, 0, tasks)
        return
    remaining = itertools.count()

    def work() -> None:
        while (task := next(remaining)) < tasks:
            library.vim_deploy_scan_run_tasks(reference, task, task + 1)

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Calls through ctypes release the GIL, so these threads run in parallel with the calling one."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vim_deploy_scan")


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    library.vim_deploy_scan_arguments_size.restype = ctypes.c_int64
    size = library.vim_deploy_scan_arguments_size()
    if size != ctypes.sizeof(_Arguments):
        raise OperatorLibraryError(
            f"the operator library's argument struct has {size} bytes, expected {ctypes.sizeof(_Arguments)}: "
            "it belongs to another release; rebuild it"
        )
    pointer = ctypes.POINTER(_Arguments)
    library.vim_deploy_scan_task_count.argtypes = [pointer]
    library.vim_deploy_scan_task_count.restype = ctypes.c_int64
    library.vim_deploy_scan_run_tasks.argtypes = [pointer, ctypes.c_int64, ctypes.c_int64]
    library.vim_deploy_scan_run_tasks.restype = None
    return library
