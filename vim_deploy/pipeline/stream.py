"""The pipeline: decode in parallel, collect batches, run the engine; one prediction per input, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Pause
from vim_deploy.data.loading import Input, Loaded, Loader, ThreadLoader
from vim_deploy.errors import EngineError
from vim_deploy.machine import usable_cpus
from vim_deploy.prediction import Prediction

if TYPE_CHECKING:
    from vim_deploy.tasks.base import Task

MOST_DEFAULT_WORKERS = 8
_POLL_SECONDS = 0.2
_log = logging.getLogger("vim_deploy")


_Given: TypeAlias = Input | Pause


def predict_stream(
    task: Task,
    inputs: Iterable[_Given],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    loader: Loader | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Prediction, None, None]:
    """Predictions as they are made; memory does not grow with the number of inputs.

    `loader` decodes, in this process unless another is given; it is closed at the end. Once `stopped()`, the
    stream ends, without the predictions that were under way. Raises EngineError for options that do not fit
    the task's engine.
    """
    size = batch_size_of(task, batch_size)
    window = Window(
        loader or ThreadLoader(task.preparation, Limits()),
        inputs,
        workers or default_workers(),
        task.ahead(size),
        stopped,
        chunk=task.chunk(size),
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
                yield from task.predict(waiting, size)
                waiting, count = [], 0
        if not stopped():
            yield from task.predict(waiting, size)

    return batches()


def default_workers() -> int:
    return min(usable_cpus(), MOST_DEFAULT_WORKERS)


def batch_size_of(task: Task, asked: int | None) -> int:
    """Raises EngineError for one that the engine does not run."""
    if asked is not None and asked < 1:
        raise EngineError(f"batch_size is {asked}; expected 1 or more.")
    batches = task.engine.batches
    if asked is None:
        size = batches.nearest(task.default_batch)
        if size != task.default_batch:
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
