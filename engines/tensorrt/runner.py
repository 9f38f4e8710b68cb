"""Running a TensorRT engine on the GPU. Memory and streams are pycuda's."""

from __future__ import annotations

import ctypes
import logging
import math
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from vim_deploy.engines.tensorrt.driver import CudaGraph
from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError, MissingDependencyError
from vim_deploy.text import plural

_log = logging.getLogger("vim_deploy")

_NON_BLOCKING = (
    1  # CU_STREAM_NON_BLOCKING: work on the legacy default stream would break the capture of graphs
)


def _pycuda() -> Any:
    try:
        import pycuda.driver
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f'pycuda does not load ({error}); install it with `pip install "vim-deploy[tensorrt]"`.'
        ) from None
    return pycuda.driver


@cache
def _primary_context(cuda: Any) -> Any:
    """The primary context of the GPU, which TensorRT uses too, retained until the process ends.

    pycuda cannot release it: its `detach` leaves the context current on the thread that retained it, and does
    nothing on other threads. TensorRT retains it until the process ends anyway. The object is never deleted:
    pycuda would detach the context, which the driver does not allow for a primary context.
    """
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
    return context


class TensorrtRunner:
    """A loaded TensorRT engine, see `base.Runner`.

    `run` may be called from several threads: there are `contexts` execution contexts, each with its own
    stream and buffers, so that one batch is copied while another is computed. Repeated batches of the same
    shape run as a CUDA graph. `low` and `high` are the minimum and maximum input shape of the profile.
    """

    def __init__(
        self,
        engine: Any,
        input: TensorSpec,
        outputs: tuple[TensorSpec, ...],
        low: tuple[int, ...],
        high: tuple[int, ...],
        contexts: int = 2,
    ) -> None:
        self.input = input
        self.outputs = outputs
        self.batches = BatchRange(low[0], high[0])
        self._low, self._high = low, high
        self._cuda = _pycuda()
        self._primary = _primary_context(self._cuda)
        self._engine = engine
        self._free: queue.Queue[_Context | None] = queue.Queue()  # None: closed
        self._contexts: list[_Context] = []
        with self._current():
            for _ in range(contexts):
                context = _Context(self._cuda, engine, input, outputs, high)
                self._contexts.append(context)
                self._free.put(context)

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """One batch. Raises EngineError for a shape outside the profile, and when TensorRT fails."""
        self._check_profile(pixels.shape)
        try:
            with self._acquired() as context:
                return context.run(pixels)
        except self._cuda.Error as error:
            raise EngineError(f"the GPU failed on pixels of shape {pixels.shape}: {error}") from None

    def computing_seconds(self, shape: tuple[int, ...], repeats: int) -> list[float]:
        """Wall-clock seconds of single runs for an input shape, without copies to or from the GPU.

        For benchmarks: the input is whatever the buffers contain. Raises EngineError like `run`.
        """
        self._check_profile(shape)
        with self._acquired() as context:
            seconds = [context.compute_seconds(shape) for _ in range(repeats + 2)]
        return seconds[2:]  # the first run does setup work, the second captures the graph

    def _check_profile(self, shape: tuple[int, ...]) -> None:
        if not self.batches.contains(shape[0]):
            raise EngineError(
                f"a batch of {plural(shape[0], 'image')}; the engine was built for {self.batches}. Choose "
                "another --batch-size, or build the engine with other --min-batch and --max-batch."
            )
        ends = zip(self._low[2:], shape[2:], self._high[2:], strict=True)
        if not all(smallest <= side <= largest for smallest, side, largest in ends):
            low, given, high = ("x".join(map(str, sides[2:])) for sides in (self._low, shape, self._high))
            raise EngineError(
                f"pixels of {given}; the engine was built for {low} to {high}. Resize them, or build the "
                "engine with other --min-size and --max-size."
            )

    def close(self) -> None:
        """Wait for running batches, then release the GPU's memory."""
        if self._engine is None:
            return
        for _ in self._contexts:
            self._free.get()
        with self._current():
            for context in self._contexts:
                context.close()
        self._contexts = []
        self._engine = None
        self._free.put(None)

    @contextmanager
    def _acquired(self) -> Iterator[_Context]:
        """A context that no other thread uses. Raises EngineError for a closed engine."""
        context = self._free.get()
        try:
            if context is None:
                raise EngineError("the engine is closed; open it again with load.")
            with self._current():
                yield context
        finally:
            self._free.put(context)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the GPU's primary context current on this thread, as TensorRT requires."""
        self._primary.push()
        try:
            yield
        finally:
            self._primary.pop()


class _Context:
    """An execution context with its stream, pinned host buffers and GPU buffers."""

    def __init__(
        self,
        cuda: Any,
        engine: Any,
        input: TensorSpec,
        outputs: tuple[TensorSpec, ...],
        largest: tuple[int, ...],
    ) -> None:
        self.cuda = cuda
        self.stream = cuda.Stream(_NON_BLOCKING)
        self.context = engine.create_execution_context()
        if self.context is None:
            raise EngineError(
                "TensorRT cannot create an execution context: the GPU has not enough memory for the "
                "activations. Build the engine with a smaller --max-batch."
            )
        self.input = input
        self.host: dict[str, np.ndarray] = {}
        self.device: dict[str, Any] = {}
        self._set_shape(largest)
        for spec in (input, *outputs):
            shape = largest if spec is input else self._output_shape(spec.name)
            self.host[spec.name] = cuda.pagelocked_empty(math.prod(shape), np.dtype(spec.dtype))
            self.device[spec.name] = cuda.mem_alloc(self.host[spec.name].nbytes)
            self.context.set_tensor_address(spec.name, int(self.device[spec.name]))
        self.outputs = outputs
        self.shape: tuple[int, ...] = ()
        self.graph: CudaGraph | None = None
        self.captures = True

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        staged = self.host[self.input.name][: pixels.size].reshape(pixels.shape)
        staged[...] = pixels
        self.cuda.memcpy_htod_async(self.device[self.input.name], staged, self.stream)
        self._compute(pixels.shape)
        results = {}
        for spec in self.outputs:
            shape = self._output_shape(spec.name)
            flat = self.host[spec.name][: math.prod(shape)]
            self.cuda.memcpy_dtoh_async(flat, self.device[spec.name], self.stream)
            results[spec.name] = flat.reshape(shape)
        self.stream.synchronize()
        # The pinned buffers are reused by the next batch.
        return {name: values.copy() for name, values in results.items()}

    def compute_seconds(self, shape: tuple[int, ...]) -> float:
        self.stream.synchronize()
        started = time.perf_counter()
        self._compute(shape)
        self.stream.synchronize()
        return time.perf_counter() - started

    def _compute(self, shape: tuple[int, ...]) -> None:
        if shape != self.shape:
            self.shape = ()  # until the first run succeeds: it is repeated after a failure
            self._drop_graph()
            self._set_shape(shape)
            # The first run with a shape does setup work that must not be captured.
            self._enqueue()
            self.shape = shape
            return
        if self.graph is None and self.captures:
            self._capture()
        if self.graph is None:
            self._enqueue()
        else:
            self.graph.launch(self.stream.handle)

    def _set_shape(self, shape: tuple[int, ...]) -> None:
        if not self.context.set_input_shape(self.input.name, shape):
            raise EngineError(
                f"TensorRT rejects pixels of shape {shape}; build the engine with a profile for them."
            )

    def _output_shape(self, name: str) -> tuple[int, ...]:
        """The shape of an output for the current input shape."""
        shape = tuple(self.context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise EngineError(
                f"TensorRT cannot infer the shape of {name}, found {shape}; export the model again."
            )
        return shape

    def _capture(self) -> None:
        try:
            self.graph = CudaGraph(self.stream.handle, self._enqueue)
        except EngineError as error:
            self.captures = False
            _log.warning("running batches without a CUDA graph, which is slightly slower: %s", error)

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(self.stream.handle):
            raise EngineError("TensorRT failed to run the engine; see its log.")

    def _drop_graph(self) -> None:
        if self.graph is not None:
            self.graph.close()
            self.graph = None

    def close(self) -> None:
        self._drop_graph()
        self.stream.synchronize()
        self.context = self.stream = None  # destroyed while the primary context is current
        for memory in self.device.values():
            memory.free()
        self.device, self.host = {}, {}
