"""Run by test_fake_driver.py: the calls of engines/tensorrt/driver.py, and the rules of the fake driver."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from vim_deploy.engines.tensorrt.driver import CudaGraph, cuda_major, gpu
from vim_deploy.errors import EngineError

DRIVER = ctypes.CDLL("libcuda.so.1")
NOT_ALLOWED, INVALIDATED, IMPLICIT = 900, 901, 906
NON_BLOCKING = 1


@pytest.fixture
def context() -> Iterator[None]:
    assert DRIVER.cuInit(0) == 0
    primary = ctypes.c_void_p()
    assert DRIVER.cuDevicePrimaryCtxRetain(ctypes.byref(primary), 0) == 0
    assert DRIVER.cuCtxPushCurrent_v2(primary) == 0
    yield
    assert DRIVER.cuCtxPopCurrent_v2(None) == 0


class Buffers:
    """Four numbers on the host, and memory for them on the device and for the result."""

    def __init__(self, flags: int = NON_BLOCKING) -> None:
        self.stream, self.device = ctypes.c_void_p(), ctypes.c_ulonglong()
        assert DRIVER.cuStreamCreate(ctypes.byref(self.stream), flags) == 0
        assert DRIVER.cuMemAlloc_v2(ctypes.byref(self.device), ctypes.c_size_t(16)) == 0
        self.given, self.result = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)

    def copy_there_and_back(self, size: int = 16) -> int:
        given, result = (ctypes.c_void_p(array.ctypes.data) for array in (self.given, self.result))
        length = ctypes.c_size_t(size)
        return DRIVER.cuMemcpyHtoDAsync_v2(self.device, given, length, self.stream) or (
            DRIVER.cuMemcpyDtoHAsync_v2(result, self.device, length, self.stream)
        )

    def synchronize(self) -> int:
        return DRIVER.cuStreamSynchronize(self.stream)


def test_the_device_is_named_as_a_fake():
    assert gpu().name == "Fake GPU, no hardware"
    assert cuda_major() == 12


def test_copies_happen_when_their_stream_is_synchronized(context):
    buffers = Buffers()
    assert buffers.copy_there_and_back() == 0
    assert not buffers.result.any()
    assert buffers.synchronize() == 0
    assert np.array_equal(buffers.result, buffers.given)


def test_a_copy_beyond_its_allocation_is_refused(context):
    assert Buffers().copy_there_and_back(20) != 0


def test_calls_without_a_context_are_refused():
    assert DRIVER.cuMemAlloc_v2(ctypes.byref(ctypes.c_ulonglong()), ctypes.c_size_t(16)) == 201


def test_a_captured_graph_repeats_its_copies(context):
    buffers = Buffers()
    graph = CudaGraph(buffers.stream.value, lambda: buffers.copy_there_and_back() and None)
    assert buffers.synchronize() == 0
    assert not buffers.result.any()
    for value in (1.0, 2.0):
        buffers.given[:] = value
        graph.launch(buffers.stream.value)
        assert buffers.synchronize() == 0
        assert (buffers.result == value).all()
    graph.close()


def test_what_invalidates_a_capture_is_reported_and_the_stream_works_again(context):
    buffers = Buffers()
    found = []
    with pytest.raises(EngineError, match=f"capturing .error {INVALIDATED}."):
        CudaGraph(buffers.stream.value, lambda: found.append(buffers.synchronize()))
    assert found == [NOT_ALLOWED]
    assert buffers.copy_there_and_back() == 0 and buffers.synchronize() == 0
    assert np.array_equal(buffers.result, buffers.given)


def test_the_legacy_stream_invalidates_captures_of_blocking_streams_only(context):
    for flags, expected in ((0, IMPLICIT), (NON_BLOCKING, 0)):
        buffers, found = Buffers(flags), []
        nothing, length = ctypes.c_void_p(buffers.given.ctypes.data), ctypes.c_size_t(16)
        work = lambda: found.append(DRIVER.cuMemcpyHtoD_v2(buffers.device, nothing, length))  # noqa: B023, E731
        if expected:
            with pytest.raises(EngineError, match=f"error {INVALIDATED}"):
                CudaGraph(buffers.stream.value, work)
        else:
            CudaGraph(buffers.stream.value, work).close()
        assert found == [expected]


def test_undocumented_tables_are_refused():
    """The CUDA runtime recognizes a genuine driver by them."""
    table = ctypes.c_void_p(1)
    assert DRIVER.cuGetExportTable(ctypes.byref(table), bytes(16)) == 500
    assert table.value is None
