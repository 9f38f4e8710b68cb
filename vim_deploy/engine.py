"""The Python interface to an engine: `load_engine(...).predict(images)`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from PIL import Image

from vim_deploy.data.discover import Item
from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.pipeline.stream import predict_stream
from vim_deploy.prediction import Prediction
from vim_deploy.tasks.open import open_task


class Engine(OpenEngine):
    """An opened engine that takes images or arrays; a context manager."""

    def predict(
        self,
        images: str | os.PathLike[str] | Image.Image | Iterable[str | os.PathLike[str] | Image.Image],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        **task_options: Any,
    ) -> list[Prediction]:
        """One prediction per image file or Pillow image, in order.

        An image that cannot be read gives a prediction with status "error" and the reason. `batch_size`
        defaults to 8, or the nearest size that the engine runs; `workers` is the number of decoding threads.
        `task_options` are options of the engine's task, e.g. `top_k=3` for classification; see `options.py`
        in the task's folder. Raises EngineError for options that do not fit the engine.
        """
        given = [images] if isinstance(images, (str, os.PathLike, Image.Image)) else images
        items = (image if isinstance(image, Image.Image) else Item(os.fspath(image)) for image in given)
        task = open_task(self, task_options)
        return list(predict_stream(task, items, batch_size=batch_size, workers=workers))


def load_engine(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str | None = None,
    source: str | os.PathLike[str] | None = None,
) -> Engine:
    """Open an engine made by vim-build, or an ONNX file made by vim-export; see
    `engines.open.open_engine` for the options and errors.
    """
    opened = open_engine(path, threads=threads, device=device, source=source)
    return Engine(opened.runner, opened.manifest, opened.path)
