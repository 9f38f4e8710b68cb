"""Run by test_fake_driver.py: TensorrtRunner with the real pycuda.

The engine is a fake whose output is a copy of its input. Real are pycuda, and the calls of the runner and
their order: buffers, streams, CUDA graphs, contexts, threads, closing.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
import pytest
from tensorrt_parsers.driver_library import KINDS

from vim_deploy.engines.tensorrt.runner import TensorrtRunner
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError

DRIVER = ctypes.CDLL("libcuda.so.1")


class FakeEngine:
    def __init__(self) -> None:
        self.fails = self.synchronizes = False

    def create_execution_context(self) -> FakeExecutionContext:
        return FakeExecutionContext(self)


class FakeExecutionContext:
    """The functions of IExecutionContext that the runner calls."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def execute_async_v3(self, stream: int) -> bool:
        handle = ctypes.c_void_p(stream)
        if self.engine.fails or (self.engine.synchronizes and DRIVER.cuStreamSynchronize(handle)):
            return False
        source, target = (ctypes.c_ulonglong(self.addresses[name]) for name in ("x", "y"))
        size = ctypes.c_size_t(4 * int(np.prod(self.shape)))
        return bool(DRIVER.cuMemcpyDtoDAsync_v2(target, source, size, handle) == 0)


def open_runner(contexts: int = 1) -> tuple[TensorrtRunner, FakeEngine]:
    engine = FakeEngine()
    x, y = (TensorSpec(name, "float32", (None, 4)) for name in ("x", "y"))
    return TensorrtRunner(engine, x, (y,), (1, 4), (8, 4), contexts=contexts), engine


def live() -> dict[str, int]:
    return {name: DRIVER.fake_live_objects(kind) for kind, name in enumerate(KINDS)}


def current_context() -> Any:
    context = ctypes.c_void_p()
    DRIVER.cuCtxGetCurrent(ctypes.byref(context))
    return context.value


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert live() == dict.fromkeys(KINDS, 0)
    assert current_context() is None


def numbers(batch: int, start: float = 0) -> np.ndarray:
    return np.arange(start, start + 4 * batch, dtype=np.float32).reshape(batch, 4)


def test_repeated_batches_run_from_one_graph():
    runner, _ = open_runner()
    for turn in range(5):
        assert np.array_equal(runner.run(numbers(3, turn))["y"], numbers(3, turn))
        assert live()["graph executables"] == int(turn > 0)
    assert live() == {
        "device memory": 2, "host memory": 2, "streams": 1, "graphs": 0, "graph executables": 1
    }  # fmt: skip
    runner.close()


def test_a_new_shape_replaces_the_graph():
    runner, _ = open_runner()
    for batch in (2, 2, 8, 8, 8, 1, 2, 2):
        assert np.array_equal(runner.run(numbers(batch, batch))["y"], numbers(batch, batch))
        assert live()["graph executables"] <= 1
    runner.close()


def test_results_belong_to_the_caller():
    runner, _ = open_runner()
    first = runner.run(numbers(8))["y"]
    runner.run(numbers(8, 100))
    assert np.array_equal(first, numbers(8))
    runner.close()


def test_threads_share_contexts():
    runner, _ = open_runner(contexts=2)
    wrong: list[tuple[int, int]] = []

    def work(seed: int) -> None:
        for turn in range(40):
            pixels = numbers(1 + (seed + turn) % 8, 1000 * seed + turn)
            if not np.array_equal(runner.run(pixels)["y"], pixels):
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    runner.close()


def test_an_engine_that_cannot_be_captured_runs_without_a_graph(caplog):
    runner, engine = open_runner()
    engine.synchronizes = True
    for turn in range(3):
        assert np.array_equal(runner.run(numbers(2, turn))["y"], numbers(2, turn))
    assert live()["graph executables"] == 0
    assert "without a CUDA graph" in caplog.text
    caplog.clear()  # its records have the error, whose traceback has the buffers
    runner.close()


def test_a_batch_after_a_failed_one_is_computed_with_its_own_shape():
    runner, engine = open_runner()
    runner.run(numbers(2))
    engine.fails = True
    with pytest.raises(EngineError, match="TensorRT failed"):
        runner.run(numbers(8))
    engine.fails = False
    assert np.array_equal(runner.run(numbers(2, 50))["y"], numbers(2, 50))
    assert np.array_equal(runner.run(numbers(8, 50))["y"], numbers(8, 50))
    runner.close()


def test_work_on_the_legacy_stream_does_not_affect_captures():
    runner, _ = open_runner()
    engine_run = runner._contexts[0].context.execute_async_v3
    memory = np.zeros(4, np.float32)

    def with_legacy_copy(stream: int) -> bool:
        device = ctypes.c_ulonglong(runner._contexts[0].context.addresses["y"])
        assert DRIVER.cuMemcpyDtoH_v2(ctypes.c_void_p(memory.ctypes.data), device, ctypes.c_size_t(16)) == 0
        return bool(engine_run(stream))

    runner._contexts[0].context.execute_async_v3 = with_legacy_copy
    for turn in range(3):
        runner.run(numbers(2, turn))
    assert live()["graph executables"] == 1
    runner.close()


def test_timing_without_copies():
    runner, _ = open_runner()
    assert len(runner.computing_seconds((2, 4), 3)) == 3
    runner.close()


def test_a_closed_runner_refuses_batches_and_can_be_opened_again():
    for _ in range(3):
        runner, _ = open_runner(contexts=2)
        runner.run(numbers(8))
        runner.close()
        with pytest.raises(EngineError, match="closed"):
            runner.run(numbers(1))


def test_another_thread_can_close_it():
    runner, _ = open_runner(contexts=2)
    runner.run(numbers(3))
    thread = threading.Thread(target=runner.close)
    thread.start()
    thread.join()
    assert current_context() is None
