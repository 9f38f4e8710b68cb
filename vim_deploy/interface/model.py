"""A model that is ready to run: `vim_deploy.load(...).predict(images)`."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from types import NoneType
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np

from vim_deploy.data.decode import Limits
from vim_deploy.data.loading import ThreadLoader
from vim_deploy.data.preprocess import ARRAYS_ONLY
from vim_deploy.engines.base import Runner
from vim_deploy.engines.open import OpenEngine
from vim_deploy.errors import EngineError, ImageError, InputError
from vim_deploy.interface.inputs import (
    Array,
    ImageLike,
    Source,
    Tensor,
    array_of,
    inputs_of,
    is_single_image,
    single_image,
)
from vim_deploy.interface.task_options import python_options
from vim_deploy.pipeline.stream import predict_stream
from vim_deploy.prediction import Prediction
from vim_deploy.registry import load_object
from vim_deploy.results.escape import escape
from vim_deploy.tasks.base import TaskHandler
from vim_deploy.tasks.model_result import Result
from vim_deploy.tasks.open import open_task
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import by, plural

# Engines of another process: freeing one would wait for its threads, which a forked process does not have.
_inherited: list[Runner] = []

AnyResult = TypeVar("AnyResult", bound=Result[Any], covariant=True)


class Model(OpenEngine, Generic[AnyResult]):
    """An opened engine that takes images or pixels; a context manager.

    It can be called from several threads. A pickled model is opened again from its file, and so is a model
    in a forked process when it is used there first.
    """

    def __init__(self, opened: OpenEngine, reopen: Callable[[], OpenEngine], name: str) -> None:
        super().__init__(opened.runner, opened.manifest, opened.path)
        self._reopen, self._name = reopen, name
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def task(self) -> str:
        """What the model computes: "classify", "features", "segment", "detect" or "raw"."""
        return self.metadata.task

    @overload
    def predict(
        self,
        source: Source,
        *,
        stream: Literal[False] = False,
        batch_size: int | None = None,
        workers: int | None = None,
        limits: Limits | None = None,
        **task_options: Any,
    ) -> list[AnyResult]: ...

    @overload
    def predict(
        self,
        source: Source,
        *,
        stream: Literal[True],
        batch_size: int | None = None,
        workers: int | None = None,
        limits: Limits | None = None,
        **task_options: Any,
    ) -> Generator[AnyResult, None, None]: ...

    def predict(
        self,
        source: Source,
        *,
        stream: bool = False,
        batch_size: int | None = None,
        workers: int | None = None,
        limits: Limits | None = None,
        **task_options: Any,
    ) -> list[AnyResult] | Generator[AnyResult, None, None]:
        """One result per image, in order; an image that cannot be read has a result with the `error`.

        `source` is an image, or a list, generator or other iterable of images. An image is a path; a URL that
        fsspec reads; a Pillow image; the content of a file as bytes; a binary file; a numpy array (height,
        width) or (height, width, channels), or a torch tensor (channels, height, width), with RGB values as
        uint8 or as floating-point numbers in 0..1. A folder or a glob stands for all its images. A batch, an
        array or tensor with four axes, is an iterable.

        With `stream`, results are computed while they are iterated over, and memory does not grow with their
        number: the source is consumed a few batches ahead. Without it, all results are kept in a list.
        `batch_size` defaults to that of the task, or the nearest size that the engine runs; `workers` is the
        number of decoding threads; `limits` apply to each image. `task_options` are those of the task:
        `top_k` for classify, `score_threshold` for detect, `scale`, `stride`, `tile` and `max_memory` for
        segment.

        Raises InputError for a source of another type, and EngineError for options that do not fit the model.
        """
        task, chosen = self._open_task(task_options), _checked(limits)
        if workers is not None and workers < 1:
            raise EngineError(f"workers is {workers}; expected 1 or more.")
        predictions = predict_stream(
            task,
            inputs_of(source, chosen),
            batch_size=batch_size,
            workers=1 if workers is None and is_single_image(source) else workers,
            loader=ThreadLoader(task.preparation, chosen),
        )
        results = self._results(task, predictions, chosen)
        return results if stream else list(results)

    def run(self, pixels: Array | Tensor | None = None, **arrays: Array | Tensor) -> dict[str, np.ndarray]:
        """Outputs by name for preprocessed pixels: float32 (batch, channels, height, width).

        A model of the task raw takes its inputs by name instead: `run(tokens=..., mask=...)`. Inputs are
        numpy arrays or torch tensors on any device. Types and shapes are not converted. Raises InputError for
        anything but an array, EngineError for another name, type or shape, and when the runtime fails.
        """
        given = None if pixels is None else array_of(pixels)
        named = {name: array_of(values) for name, values in arrays.items()}
        self._open_after_fork()
        return super().run(given, **named)

    def preprocess(self, image: ImageLike, limits: Limits | None = None) -> np.ndarray:
        """The pixels of one image for `run`: float32 (1, channels, height, width).

        Raises ImageError if the image cannot be read, and EngineError for segmenters, which take windows.
        """
        task, chosen = self._open_task({}), _checked(limits)
        loaded = ThreadLoader(task.preparation, chosen).load(single_image(image, chosen))
        if loaded.pixels is None:
            name = "the image" if loaded.path is None else escape(loaded.path)
            raise ImageError(f"{name}: {loaded.reason}.")
        return task.network_input(loaded.pixels)[None]

    def close(self) -> None:
        """Free the engine; using the model is an error from then on."""
        self._closed = True
        super().close()

    def _open_task(self, options: dict[str, Any]) -> TaskHandler:
        if TASKS.get(self.task).arrays:
            raise EngineError(ARRAYS_ONLY)
        return open_task(self, python_options(TASKS.get(self.task), options))

    def _results(
        self, task: TaskHandler, predictions: Generator[Prediction, None, None], limits: Limits
    ) -> Generator[AnyResult, None, None]:
        kind: Callable[..., AnyResult] = load_object(TASKS.get(self.task).result)
        columns, class_names = task.columns, self.class_names
        with contextlib.closing(predictions):
            for prediction in predictions:
                yield kind(self.task, prediction, task.row(prediction), columns, class_names, limits)

    def _open_after_fork(self) -> None:
        """A forked process has the memory of a session, but not its threads: runs would wait for ever."""
        if self._process == os.getpid() or self._closed:
            return
        with self._lock:
            if self._process != os.getpid():
                _inherited.append(self.runner)
                self.runner = self._reopen().runner
                self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._closed:
            raise EngineError(f"{self._name} is closed, and a closed model cannot be pickled.")
        return _unpickled, (self._reopen, self._name, self.manifest.payload.sha256)

    def __repr__(self) -> str:
        inputs = ", ".join(spec.name for spec in self.inputs)
        if not TASKS.get(self.task).arrays:
            preprocessing = self.metadata.preprocessing
            inputs = by((preprocessing.channels, *preprocessing.image_size))
        parts = [
            repr(escape(self._name)),
            self.task,
            plural(len(self.class_names), "class", "classes") if self.class_names else "",
            f"input {inputs}",
            f"batches of {self.batches}",
            f"{self.manifest.backend} on {self.manifest.device}",
            str(self.manifest.precision),
            "closed" if self._closed else "",
        ]
        return f"Model({', '.join(filter(None, parts))})"


def _checked(limits: Limits | None) -> Limits:
    if not isinstance(limits, (Limits, NoneType)):
        raise InputError(f"limits is {limits!r:.100}; expected vim_deploy.Limits(...).")
    return limits or Limits()


def _unpickled(reopen: Callable[[], OpenEngine], name: str, sha256: str) -> Model[Any]:
    opened = reopen()
    if opened.manifest.payload.sha256 != sha256:
        opened.close()
        raise EngineError(f"{name} has changed since the model was pickled; load and pickle it again.")
    return Model(opened, reopen, name)
