"""All that touches a GPU: is there one, and running a TensorRT engine on it.

Device and graph calls go to the driver's library, so that the question whether there is a GPU needs nothing
installed: TensorRT's Runtime ends the process where there is none. Memory and streams are pycuda's.
"""

from __future__ import annotations

import ctypes
import logging
import math
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.engines.tensors import BatchRange, TensorSpec
from vim_deploy.errors import EngineError, MissingDependencyError

_log = logging.getLogger("vim_deploy")

_DRIVER = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on allocating


@dataclass(frozen=True)
class Gpu:
    """The first GPU that this process sees."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability[0]}.{self.capability[1]}"


def gpu() -> Gpu:
    """The GPU in use, the first of CUDA_VISIBLE_DEVICES. Raises EngineError where there is none."""
    driver = _driver()
    status = driver.cuInit(0)
    if status:
        raise _no_gpu(f"the NVIDIA driver does not start (error {status})")
    count = ctypes.c_int(0)
    _check(driver.cuDeviceGetCount(ctypes.byref(count)), "counting GPUs")
    if count.value < 1:
        raise _no_gpu("the NVIDIA driver sees none")
    device = ctypes.c_int(0)
    _check(driver.cuDeviceGet(ctypes.byref(device), 0), "opening the GPU")
    name = ctypes.create_string_buffer(256)
    _check(driver.cuDeviceGetName(name, len(name), device), "naming the GPU")
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int(0)
        _check(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "asking the GPU")
        capability.append(value.value)
    return Gpu(name.value.decode(errors="replace"), (capability[0], capability[1]))


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


def _pycuda() -> Any:
    try:
        import pycuda.driver
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f'pycuda does not load ({error}); install it with `pip install "vim-deploy[tensorrt]"`.'
        ) from None
    return pycuda.driver


class DeviceBackend:
    """A TensorRT engine behind the protocol of all backends.

    `run` may be called from several threads: there are `contexts` execution contexts, each with a stream and
    buffers of its own, so that one batch is copied while another is computed. Batches that come again with
    the same shape run as a CUDA graph. `low` and `high` are the ends of the engine's profile: shapes of the
    input without open sizes.
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
        self._cuda.init()
        self._primary = self._cuda.Device(0).retain_primary_context()
        self._engine = engine
        self._free: queue.Queue[_Lane | None] = queue.Queue()  # None: closed
        self._lanes: list[_Lane] = []
        with self._current():
            for _ in range(contexts):
                lane = _Lane(self._cuda, engine, input, outputs, high)
                self._lanes.append(lane)
                self._free.put(lane)

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """One batch. Raises EngineError for a shape outside the profile, and when TensorRT fails."""
        self._check_profile(pixels.shape)
        lane = self._free.get()
        try:
            if lane is None:
                raise EngineError("the engine is closed; open it again with load_engine.")
            with self._current():
                return lane.run(pixels)
        except self._cuda.Error as error:
            raise EngineError(f"the GPU failed on pixels of shape {pixels.shape}: {error}") from None
        finally:
            self._free.put(lane)

    def computing_seconds(self, shape: tuple[int, ...], repeats: int) -> list[float]:
        """Wall-clock seconds of single runs with pixels of a shape, without copies to or from the GPU.

        For measuring; what is computed of is what the buffers happen to hold. Raises EngineError as `run`.
        """
        self._check_profile(shape)
        lane = self._free.get()
        try:
            if lane is None:
                raise EngineError("the engine is closed; open it again with load_engine.")
            with self._current():
                return [lane.compute_seconds(shape) for _ in range(repeats + 2)][2:]  # first run, recording
        finally:
            self._free.put(lane)

    def _check_profile(self, shape: tuple[int, ...]) -> None:
        if not self.batches.holds(shape[0]):
            raise EngineError(
                f"a batch of {shape[0]} images; the engine was built for {self.batches}. Choose another "
                "--batch-size, or build the engine with other --min-batch and --max-batch."
            )
        ends = zip(self._low[2:], shape[2:], self._high[2:], strict=True)
        if not all(smallest <= side <= largest for smallest, side, largest in ends):
            low, given, high = ("x".join(map(str, sides[2:])) for sides in (self._low, shape, self._high))
            raise EngineError(
                f"pixels of {given}; the engine was built for {low} to {high}. Resize them, or build the "
                "engine with other --min-size and --max-size."
            )

    def close(self) -> None:
        """Waits for batches that are being run, then gives the GPU's memory back."""
        if self._engine is None:
            return
        for _ in self._lanes:
            self._free.get()
        with self._current():
            for lane in self._lanes:
                lane.close()
        self._lanes = []
        self._engine = None
        self._primary.detach()
        self._free.put(None)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The GPU's primary context on this thread; TensorRT uses the one that is current."""
        self._primary.push()
        try:
            yield
        finally:
            self._primary.pop()


class _Lane:
    """One execution context with its stream, pinned buffers on the host and buffers on the GPU."""

    def __init__(
        self,
        cuda: Any,
        engine: Any,
        input: TensorSpec,
        outputs: tuple[TensorSpec, ...],
        largest: tuple[int, ...],
    ) -> None:
        self.cuda = cuda
        self.stream = cuda.Stream()
        self.context = engine.create_execution_context()
        if self.context is None:
            raise EngineError(
                "TensorRT gives no execution context: the GPU's memory does not hold its activations. Build "
                "the engine with a smaller --max-batch."
            )
        self.input = input
        self.host: dict[str, np.ndarray] = {}
        self.device: dict[str, Any] = {}
        self._take_shape(largest)
        for spec in (input, *outputs):
            shape = largest if spec is input else self._output_shape(spec.name)
            self.host[spec.name] = cuda.pagelocked_empty(math.prod(shape), np.dtype(spec.dtype))
            self.device[spec.name] = cuda.mem_alloc(self.host[spec.name].nbytes)
            self.context.set_tensor_address(spec.name, int(self.device[spec.name]))
        self.outputs = outputs
        self.shape: tuple[int, ...] = ()
        self.graph: _Graph | None = None
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
        # The pinned buffers are used again by the next batch.
        return {name: values.copy() for name, values in results.items()}

    def compute_seconds(self, shape: tuple[int, ...]) -> float:
        self.stream.synchronize()
        began = time.perf_counter()
        self._compute(shape)
        self.stream.synchronize()
        return time.perf_counter() - began

    def _compute(self, shape: tuple[int, ...]) -> None:
        if shape != self.shape:
            self._drop_graph()
            self._take_shape(shape)
            # The first run with a shape does work that must not be captured.
            self._enqueue()
            self.shape = shape
            return
        if self.graph is None and self.captures:
            self._capture()
        if self.graph is None:
            self._enqueue()
        else:
            self.graph.launch(self.stream.handle)

    def _take_shape(self, shape: tuple[int, ...]) -> None:
        if not self.context.set_input_shape(self.input.name, shape):
            raise EngineError(f"TensorRT refuses pixels of shape {shape}; build the engine for them.")

    def _output_shape(self, name: str) -> tuple[int, ...]:
        """For the input's shape at hand."""
        shape = tuple(self.context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise EngineError(
                f"TensorRT does not know the shape of {name}, found {shape}; export the model again."
            )
        return shape

    def _capture(self) -> None:
        try:
            self.graph = _Graph(self.stream.handle, self._enqueue)
        except EngineError as error:
            self.captures = False
            _log.warning("batches run without a CUDA graph, somewhat slower: %s", error)

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(self.stream.handle):
            raise EngineError("TensorRT failed to run the engine; its log has the reason.")

    def _drop_graph(self) -> None:
        if self.graph is not None:
            self.graph.close()
            self.graph = None

    def close(self) -> None:
        self._drop_graph()
        self.stream.synchronize()
        self.context = None
        for memory in self.device.values():
            memory.free()
        self.device, self.host = {}, {}


class _Graph:
    """Work on a stream, recorded once and launched as one. Raises EngineError where it cannot be recorded."""

    def __init__(self, stream: int, work: Any) -> None:
        self._driver = _driver()
        graph, self._launchable = ctypes.c_void_p(), ctypes.c_void_p()
        _check(
            self._driver.cuStreamBeginCapture_v2(ctypes.c_void_p(stream), _CAPTURE_THREAD_LOCAL), "recording"
        )
        try:
            work()
        finally:
            # In any case: a stream that is left recording refuses everything else.
            status = self._driver.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
        _check(status, "recording")
        status = self._driver.cuGraphInstantiateWithFlags(
            ctypes.byref(self._launchable), graph, ctypes.c_ulonglong(0)
        )
        self._driver.cuGraphDestroy(graph)
        _check(status, "preparing a CUDA graph")

    def launch(self, stream: int) -> None:
        status = self._driver.cuGraphLaunch(self._launchable, ctypes.c_void_p(stream))
        _check(status, "launching a CUDA graph")

    def close(self) -> None:
        self._driver.cuGraphExecDestroy(self._launchable)
