"""What runs in each actor: an opened engine, and decoder processes that stay between the chunks."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vim_deploy.data.discover import Item
from vim_deploy.data.loading import Input, Loaded, Loader, default_workers
from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.errors import VimDeployError, as_user_error
from vim_deploy.pipeline.image_files import ImageFiles
from vim_deploy.pipeline.image_outputs import ImageOutputs
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.pipeline.overlays import overlays_of
from vim_deploy.pipeline.run_report import open_drawings
from vim_deploy.pipeline.stream import predict_stream
from vim_deploy.report import Pictures
from vim_deploy.results import Row
from vim_deploy.tasks.open import open_task

# A row, with pictures if the report may show it.
Answer: TypeAlias = "tuple[Row, Pictures | None]"


@dataclass(frozen=True)
class Chunk:
    """Inputs from number `first` of the run on, each with the reason why its files cannot be written, "" if
    they can."""

    first: int
    items: list[tuple[Item, str]]


@dataclass(frozen=True)
class Sent:
    """What an actor is created with. `engine`: a reference to the content of the engine file in Ray's object
    store, so that the nodes need no common folder. `folder`: what relative paths are relative to."""

    options: InferenceOptions
    engine: Any
    folder: str


class Predictor:
    """Called by Ray Data with one chunk of inputs, returns their rows. A chunk may be computed again."""

    def __init__(self, sent: Sent) -> None:
        self._problem: VimDeployError | None = None
        try:
            self._open(sent)
        except Exception as error:
            # Ray would start the actor again and again.
            self._problem = _user_error(error)

    def _open(self, sent: Sent) -> None:
        import ray

        with contextlib.suppress(FileNotFoundError):  # a node without it can work on storage
            os.chdir(sent.folder)
        options = sent.options
        self._options = options
        self._engine = _open_content(ray.get(sent.engine), options)
        self._task = open_task(self._engine, options.task_options, options.inputs)
        # The driver has checked the names; a file that exists was written by an actor that was killed.
        files = ImageFiles(None, owns_all=True)
        self._outputs = ImageOutputs(self._task, overlays_of(options, self._task), files)
        self._drawings = open_drawings(options, self._task)
        self._loader = self._task.loader(options.limits)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """From `number` and `items` (pickled) of chunks to `number` and `answers`, or an error (pickled)."""
        contents = [pickle.dumps(self._answer(pickle.loads(content))) for content in batch["items"]]
        return {"number": batch["number"], "answers": np.array(contents, dtype=object)}

    def _answer(self, chunk: Chunk) -> list[Answer] | VimDeployError:
        if self._problem is not None:
            return self._problem
        try:
            return list(self._answers(chunk))
        except Exception as error:
            return _user_error(error)

    def _answers(self, chunk: Chunk) -> Iterator[Answer]:
        options = self._options
        workers = options.workers or min(default_workers(options.limits), options.threads or 1)
        stream = predict_stream(
            self._task,
            [item for item, _ in chunk.items],
            batch_size=options.batch_size,
            workers=workers,
            loader=_KeptOpen(self._loader),
        )
        with contextlib.closing(stream):
            for number, (prediction, (_, refused)) in enumerate(
                zip(stream, chunk.items, strict=True), chunk.first
            ):
                if refused and prediction.status == "ok":
                    row = Row.of(prediction, self._engine.class_names).failed(refused)
                else:
                    row = self._outputs.write(prediction)
                yield row, self._drawings.pictures(number, row, prediction)


class _KeptOpen:
    """A loader whose processes go on after the stream that used it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        return self._loader.load_many(inputs)

    def close(self) -> None:
        pass


def _open_content(content: bytes, options: InferenceOptions) -> OpenEngine:
    with tempfile.TemporaryDirectory(prefix="vim-deploy-") as folder:
        file = Path(folder, "sent.engine")
        file.write_bytes(content)
        engine = open_engine(file, threads=options.threads, device=options.device)
    engine.path = str(options.engine)  # as messages name it
    return engine


def _user_error(error: Exception) -> VimDeployError:
    """Raises the error itself if it is a bug."""
    problem = as_user_error(error)
    if problem is None:
        raise error
    return problem
