"""Decodes in parallel, forms batches and runs the engine: one prediction per input, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable

from vim_deploy.data.decode import Limits
from vim_deploy.data.loading import Loaded, Loader, ThreadLoader, default_workers
from vim_deploy.errors import EngineError
from vim_deploy.pipeline.prefetch import Given, PrefetchQueue
from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import TaskHandler
from vim_deploy.text import plural

_log = logging.getLogger("vim_deploy")


def predict_stream(
    task: TaskHandler,
    inputs: Iterable[Given],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    loader: Loader | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Prediction, None, None]:
    """Predictions as they are computed; memory does not grow with the number of inputs.

    `loader` decodes the inputs and is closed at the end; by default this process decodes them. Once
    `stopped()`, the stream ends, without the predictions of unfinished batches. Raises EngineError for a
    batch size that the engine does not run.
    """
    size = batch_size_of(task, batch_size)
    queue = PrefetchQueue(
        loader or ThreadLoader(task.preparation, Limits()),
        inputs,
        workers or default_workers(Limits()),
        task.prefetch(size),
        stopped,
        chunk=task.chunk(size),
    )

    def predictions() -> Generator[Prediction, None, None]:
        waiting: list[Loaded] = []
        count = 0
        for loaded in queue:
            if loaded is not None:
                waiting.append(loaded)
                count += not loaded.failed
            # The last limit is for long series of damaged files, which do not count.
            if loaded is None or count == size or len(waiting) >= 4 * size:
                yield from task.predict(waiting, size)
                waiting, count = [], 0
        if not stopped():
            yield from task.predict(waiting, size)

    return predictions()


def batch_size_of(task: TaskHandler, requested: int | None) -> int:
    """The requested batch size, or the default. Raises EngineError for one that the engine does not run."""
    if requested is not None and requested < 1:
        raise EngineError(f"batch_size is {requested}; expected 1 or more.")
    batches = task.network.batches
    if requested is None:
        size = batches.nearest(task.default_batch)
        if size != task.default_batch:
            _log.info("batches of %s: the engine runs batches of %s", plural(size, "image"), batches)
        return size
    if not batches.contains(requested):
        verb = "is fixed to" if batches.fixed else "runs"
        raise EngineError(
            f"batch_size is {requested}; the engine {verb} batches of {batches}. Leave the option out, or "
            "build an engine for other batches (vim-export --batch-size; for TensorRT vim-build --max-batch)."
        )
    return requested
