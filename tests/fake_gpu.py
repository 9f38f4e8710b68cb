"""Fakes of the NVIDIA driver's library and of pycuda. They use host memory, not CUDA."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


class FakeGpu:
    """One GPU, or none with `count` 0."""

    def __init__(self, count: int = 1) -> None:
        self.count, self.name, self.capability = count, "Fake GPU", (9, 0)
        self.cuda_version = 13000
        self.init_status = 0
        self.capture_status = 0
        self.memory: dict[int, np.ndarray] = {}
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.current = 0  # contexts pushed and not popped
        self.streams: dict[int, int] = {}  # flags of the streams that exist

    def read(self, address: int, shape: tuple[int, ...], kind: Any = np.float32) -> np.ndarray:
        size = math.prod(shape) * np.dtype(kind).itemsize
        return self.memory[address][:size].view(kind).reshape(shape).copy()

    def write(self, address: int, values: np.ndarray) -> None:
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.memory[address][: flat.size] = flat

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        assert self.current, "work without a current context"
        if stream in self.recording:
            self.recording[stream].append(work)
        else:
            work()

    def driver(self) -> Any:
        """A replacement for `libcuda.so.1`."""
        library: Any = ModuleType("libcuda")
        library.cuInit = lambda flags: self.init_status
        library.cuDeviceGetCount = lambda count: _put(count, self.count)
        library.cuDriverGetVersion = lambda version: _put(version, self.cuda_version)
        library.cuDeviceGet = lambda device, index: _put(device, index)
        library.cuDeviceGetName = self._name
        library.cuDeviceGetAttribute = lambda value, which, device: _put(value, self.capability[which - 75])
        library.cuStreamBeginCapture_v2 = self._begin
        library.cuStreamEndCapture = self._end
        library.cuGraphInstantiateWithFlags = lambda out, graph, flags: _put(out, graph.value)
        library.cuGraphLaunch = self._launch
        library.cuGraphDestroy = lambda graph: 0
        library.cuGraphExecDestroy = lambda graph: 0
        return library

    def _name(self, buffer: Any, size: int, device: Any) -> int:
        buffer.value = self.name.encode()
        return 0

    def _begin(self, stream: ctypes.c_void_p, mode: int) -> int:
        if not self.capture_status:
            self.recording[stream.value or 0] = []
        return self.capture_status

    def _end(self, stream: ctypes.c_void_p, out: Any) -> int:
        number = 1000 + len(self.graphs)
        self.graphs[number] = self.recording.pop(stream.value or 0)
        return _put(out, number)

    def _launch(self, graph: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        self.launches += 1
        for work in self.graphs[graph.value or 0]:
            work()
        return 0

    def pycuda_driver(self) -> Any:
        """A replacement for `pycuda.driver`."""
        gpu = self
        cuda: Any = ModuleType("pycuda.driver")

        class Error(Exception):
            pass

        class Memory:
            def __init__(self, size: int) -> None:
                self.address = 0x1000 * (len(gpu.memory) + 1)
                gpu.memory[self.address] = np.zeros(size, np.uint8)

            def __int__(self) -> int:
                return self.address

            def free(self) -> None:
                gpu.memory[self.address] = np.zeros(0, np.uint8)

        class Stream:
            made = 0

            def __init__(self, flags: int = 0) -> None:
                Stream.made += 1
                self.handle = Stream.made
                gpu.streams[self.handle] = flags

            def __del__(self) -> None:
                if gpu.current:  # pycuda leaks streams without their context
                    del gpu.streams[self.handle]

            def synchronize(self) -> None:
                pass

        class Context:
            def push(self) -> None:
                gpu.current += 1

            def pop(self) -> None:
                gpu.current -= 1

            def detach(self) -> None:
                gpu.current += 1  # pycuda pushes the context that it releases, and does not pop it

        class Device:
            def __init__(self, index: int) -> None:
                assert index < gpu.count

            def retain_primary_context(self) -> Context:
                return Context()

        def to_device(memory: Memory, values: np.ndarray, stream: Stream) -> None:
            gpu.write(int(memory), values)

        def to_host(values: np.ndarray, memory: Memory, stream: Stream) -> None:
            values[...] = gpu.read(int(memory), values.shape, values.dtype)

        cuda.Error, cuda.Stream, cuda.Device, cuda.mem_alloc = Error, Stream, Device, Memory
        cuda.init = lambda: None
        cuda.pagelocked_empty = np.empty
        cuda.memcpy_htod_async, cuda.memcpy_dtoh_async = to_device, to_host
        return cuda


def _put(reference: Any, value: int) -> int:
    """Assign through ctypes.byref."""
    reference._obj.value = value
    return 0
