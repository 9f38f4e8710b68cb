"""The pipeline: decode in parallel, collect batches, run the engine; one prediction per input, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Pause
from vim_deploy.data.loading import Input, Loaded, Loader, ThreadLoader
from vim_deploy.errors import EngineError
from vim_deploy.machine import usable_processors

if TYPE_CHECKING:
    from vim_deploy.engines.engine import Engine

DEFAULT_BATCH = 8
MOST_DEFAULT_WORKERS = 8
MOST_CHUNK = 8
_POLL_SECONDS = 0.2
_log = logging.getLogger("vim_deploy")


_Given: TypeAlias = Input | Pause


@dataclass(frozen=True)
class Score:
    """One class of a top-k list."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What became of one input."""

    path: str | None  # None for an image that was given as an object
    status: str  # "ok" or "error"
    reason: str = ""  # why the status is "error"
    size: tuple[int, int] | None = None  # width, height, upright
    flags: tuple[str, ...] = ()  # what decoding did, see data/decode.py
    label: int | None = None  # index of the true class where known
    rank: int | None = None  # how many classes scored above the true one
    top: tuple[Score, ...] = ()  # best first
    features: np.ndarray | None = None


def predict_stream(
    engine: Engine,
    inputs: Iterable[_Given],
    *,
    top_k: int = 5,
    batch_size: int | None = None,
    workers: int | None = None,
    loader: Loader | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Prediction, None, None]:
    """Predictions as they are made; memory does not grow with the number of inputs.

    A last batch that is smaller than the engine's smallest is filled with zero images, whose results are
    dropped.
    `loader` decodes, in this process unless another is given; it is closed at the end. Once `stopped()`, the
    stream ends, without the predictions that were under way. Raises EngineError for options that do not fit
    the engine.
    """
    size = _batch_size(engine, batch_size)
    if top_k < 1:
        raise EngineError(f"top_k is {top_k}; expected 1 or more.")
    if engine.metadata.preprocessing.channels not in (1, 3):
        raise EngineError(
            f"the model takes {engine.metadata.preprocessing.channels} channels and images have 1 or 3; "
            "prepare the pixels yourself and call Engine.run(pixels)."
        )
    window = Window(
        loader or ThreadLoader(engine.metadata.preprocessing, Limits()),
        inputs,
        workers or default_workers(),
        2 * size,
        stopped,
        chunk=min(size, MOST_CHUNK),
    )

    def batches() -> Generator[Prediction, None, None]:
        waiting: list[Loaded] = []
        count = 0
        for loaded in window:
            if loaded is not None:
                waiting.append(loaded)
                count += loaded.pixels is not None
            # A run of damaged files must not pile up either.
            if loaded is None or count == size or len(waiting) >= 4 * size:
                yield from _run_batch(engine, waiting, top_k)
                waiting, count = [], 0
        if not stopped():
            yield from _run_batch(engine, waiting, top_k)

    return batches()


def default_workers() -> int:
    return min(usable_processors(), MOST_DEFAULT_WORKERS)


def _batch_size(engine: Engine, asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise EngineError(f"batch_size is {asked}; expected 1 or more.")
    batches = engine.batches
    if asked is None:
        size = batches.nearest(DEFAULT_BATCH)
        if size != DEFAULT_BATCH:
            _log.info("batches of %d images: the engine runs batches of %s", size, batches)
        return size
    if not batches.holds(asked):
        how = "is fixed to" if batches.fixed else "runs"
        raise EngineError(
            f"batch_size is {asked}; the engine {how} batches of {batches}. Leave the option out, or "
            "build an engine for other batches (vim-export --batch-size; for TensorRT vim-build --max-batch)."
        )
    return asked


class Window:
    """What the loader makes of the inputs, in order; at most `workers * chunk + ahead` are under way.

    A worker takes `chunk` inputs at a time. None stands for a pause of the inputs that has been reached.
    """

    def __init__(
        self,
        loader: Loader,
        inputs: Iterable[_Given],
        workers: int,
        ahead: int,
        stopped: Callable[[], bool],
        chunk: int = 1,
    ) -> None:
        self._loader, self._source = loader, iter(inputs)
        self._workers, self._chunk, self._stopped = workers, chunk, stopped
        self._most = workers * chunk + ahead
        self._pending: deque[Future[list[Loaded]]] = deque()
        self._held = 0  # inputs that are taken and not handed on
        self._paused = False

    def __iter__(self) -> Iterator[Loaded | None]:
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        try:
            self._fill(pool)
            while (self._pending or self._paused) and not self._stopped():
                if self._pending:
                    loaded = self._wait(self._pending.popleft())
                    for entry in loaded:
                        self._held -= 1
                        if not self._paused:
                            self._fill(pool)
                        yield entry
                else:
                    yield None
                    self._paused = False
                    self._fill(pool)
        finally:
            self._loader.close()
            pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self, pool: ThreadPoolExecutor) -> None:
        while self._held + self._chunk <= self._most and not self._paused:
            inputs: list[Input] = []
            for given in islice(self._source, self._chunk):
                if isinstance(given, Pause):
                    self._paused = True
                    break
                inputs.append(given)
            if not inputs:
                return
            self._held += len(inputs)
            self._pending.append(pool.submit(lambda chosen: list(self._loader.load_many(chosen)), inputs))

    def _wait(self, future: Future[list[Loaded]]) -> list[Loaded]:
        """Nothing once stopped."""
        while not self._stopped():
            try:
                return future.result(timeout=_POLL_SECONDS)
            except FutureTimeoutError:
                if future.done():  # just now, or the error was the task's own
                    return future.result()
        return []


def _run_batch(engine: Engine, loaded: list[Loaded], top_k: int) -> Iterator[Prediction]:
    pixels = [entry.pixels for entry in loaded if entry.pixels is not None]
    outputs = iter(_outputs(engine, pixels) if pixels else ())
    for entry in loaded:
        path = entry.item.path if entry.item else None
        label = entry.item.label if entry.item else None
        if entry.pixels is None:
            yield Prediction(path, "error", entry.reason, label=label)
        else:
            yield _prediction(engine, entry, path, label, next(outputs), top_k)


def _outputs(engine: Engine, pixels: list[np.ndarray]) -> np.ndarray:
    """One output per image. Raises EngineError for outputs that are not what the engine says."""
    filling = [np.zeros_like(pixels[0])] * (engine.batches.smallest - len(pixels))
    try:
        output = engine.run(np.stack(pixels + filling))[engine.output.name]
    except MemoryError:
        raise EngineError(
            f"not enough memory for a batch of {len(pixels)} images; use a smaller batch size."
        ) from None
    expected = (len(pixels) + len(filling), len(engine.class_names))
    classify = engine.metadata.task == "classify"
    if output.dtype.kind != "f" or (output.shape != expected if classify else len(output) != expected[0]):
        raise EngineError(
            f"{engine.path} gives {engine.output.name} of type {output.dtype} and shape {output.shape}; "
            f"expected floating-point numbers of shape {expected if classify else (expected[0], '...')}."
        )
    return output


def _prediction(
    engine: Engine, entry: Loaded, path: str | None, label: int | None, output: np.ndarray, top_k: int
) -> Prediction:
    common: dict[str, Any] = {"size": entry.size, "flags": entry.flags, "label": label}
    if not np.isfinite(output).all():
        return Prediction(path, "error", f"the model gave NaN or infinite {engine.output.name}", **common)
    if engine.metadata.task == "features":
        return Prediction(path, "ok", features=output.copy(), **common)
    rank = None
    if label is not None:
        rank = int((output > output[label]).sum() + (output[:label] == output[label]).sum())
    return Prediction(path, "ok", top=_top(output, engine.class_names, top_k), rank=rank, **common)


def _top(logits: np.ndarray, names: tuple[str, ...], top_k: int) -> tuple[Score, ...]:
    """The best classes by softmax, ties in class order."""
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-wide, kind="stable")[:top_k]
    return tuple(Score(int(index), names[index], float(probabilities[index])) for index in order)
