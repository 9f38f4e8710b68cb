"""Shared by tasks whose networks have one output with one array per image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import TaskHandler


class ArrayOutputHandler(TaskHandler):
    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        pixels = [entry.pixels for entry in loaded if entry.pixels is not None]
        outputs = iter(self.run(pixels, self._shape()) if pixels else ())
        for entry in loaded:
            if entry.pixels is None:
                yield self.failed(entry)
                continue
            output = next(outputs)
            if not np.isfinite(output).all():
                yield self.failed(entry, f"the model returned NaN or infinite {self.network.output.name}")
            else:
                yield self.prediction(entry, **self._fields(output, entry.label))

    def _shape(self) -> tuple[int | None, ...]:
        """Shape of the output without the batch axis."""
        return self.network.output.shape[1:]

    @abstractmethod
    def _fields(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        """The prediction's fields that depend on the output: `result`, and `rank` if there is a label."""
