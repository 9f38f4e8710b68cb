"""Calls to the NVIDIA driver: finding the GPU, and CUDA graphs.

They use only the driver's library, so that looking for a GPU needs no package: TensorRT's Runtime terminates
the process if there is none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vim_deploy.errors import EngineError

_DRIVER = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads can still allocate


@dataclass(frozen=True)
class Gpu:
    """A GPU's name and compute capability."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability[0]}.{self.capability[1]}"


def gpu() -> Gpu:
    """The first GPU of CUDA_VISIBLE_DEVICES. Raises EngineError if there is none."""
    driver = _driver()
    status = driver.cuInit(0)
    if status:
        raise _no_gpu(f"the NVIDIA driver does not start (error {status})")
    count = ctypes.c_int(0)
    _check(driver.cuDeviceGetCount(ctypes.byref(count)), "counting GPUs")
    if count.value < 1:
        raise _no_gpu("the NVIDIA driver finds none")
    device = ctypes.c_int(0)
    _check(driver.cuDeviceGet(ctypes.byref(device), 0), "opening the GPU")
    name = ctypes.create_string_buffer(256)
    _check(driver.cuDeviceGetName(name, len(name), device), "naming the GPU")
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int(0)
        _check(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "querying the GPU")
        capability.append(value.value)
    return Gpu(name.value.decode(errors="replace"), (capability[0], capability[1]))


def cuda_major() -> int:
    """The latest major version of CUDA that the NVIDIA driver supports."""
    version = ctypes.c_int(0)
    _check(_driver().cuDriverGetVersion(ctypes.byref(version)), "reading its CUDA version")
    return version.value // 1000


def _driver() -> Any:
    try:
        return ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise _no_gpu(f"the NVIDIA driver does not load ({error})") from None


def _no_gpu(reason: str) -> EngineError:
    return EngineError(
        f"no GPU: {reason}. TensorRT needs an NVIDIA GPU and its driver; check nvidia-smi and "
        "CUDA_VISIBLE_DEVICES, or use --backend onnxruntime."
    )


def _check(status: int, doing: str) -> None:
    if status:
        raise EngineError(f"the NVIDIA driver failed at {doing} (error {status}).")


class CudaGraph:
    """Work on a stream, captured once and launched as a graph. Raises EngineError if capturing fails."""

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        self._driver = _driver()
        graph, self._launchable = ctypes.c_void_p(), ctypes.c_void_p()
        _check(
            self._driver.cuStreamBeginCapture_v2(ctypes.c_void_p(stream), _CAPTURE_THREAD_LOCAL), "capturing"
        )
        try:
            work()
        finally:
            # Always: a stream that is still capturing rejects everything else.
            status = self._driver.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
        _check(status, "capturing")
        status = self._driver.cuGraphInstantiateWithFlags(
            ctypes.byref(self._launchable), graph, ctypes.c_ulonglong(0)
        )
        self._driver.cuGraphDestroy(graph)
        _check(status, "instantiating a CUDA graph")

    def launch(self, stream: int) -> None:
        status = self._driver.cuGraphLaunch(self._launchable, ctypes.c_void_p(stream))
        _check(status, "launching a CUDA graph")

    def close(self) -> None:
        self._driver.cuGraphExecDestroy(self._launchable)
