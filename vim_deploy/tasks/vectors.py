"""Shared by tasks whose output is one array per image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import Task
from vim_deploy.tasks.options import TaskOptions

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine


class VectorTask(Task):
    def __init__(self, engine: OpenEngine, options: TaskOptions) -> None:
        super().__init__(engine)
        if options.top_k < 1:
            raise EngineError(f"top_k is {options.top_k}; expected 1 or more.")
        self._top_k = options.top_k

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        pixels = [entry.pixels for entry in loaded if entry.pixels is not None]
        outputs = iter(self.run(pixels, self._shape()) if pixels else ())
        for entry in loaded:
            if entry.pixels is None:
                yield self.refused(entry)
                continue
            output = next(outputs)
            if not np.isfinite(output).all():
                yield self.refused(entry, f"the model gave NaN or infinite {self.engine.output.name}")
            else:
                path, label = (entry.item.path, entry.item.label) if entry.item else (None, None)
                parts = self._parts(output, label)
                yield Prediction(path, "ok", size=entry.size, flags=entry.flags, label=label, **parts)

    def _shape(self) -> tuple[int | None, ...]:
        return self.engine.output.shape[1:]

    @abstractmethod
    def _parts(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        """The fields of the prediction that are this task's own."""
