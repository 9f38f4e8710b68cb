"""What the pipeline needs of a task, and what a run adds to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.data.preparation import Preparation
from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.results import Row

if TYPE_CHECKING:
    from vim_deploy.engines.open import OpenEngine

DEFAULT_BATCH = 8
MOST_CHUNK = 8


class Task(ABC):
    """One kind of engine at work. Raises EngineError where an engine's outputs are not what it says."""

    default_batch = DEFAULT_BATCH  # of one inference

    def __init__(self, engine: OpenEngine) -> None:
        self.engine = engine
        self.preparation: Preparation = engine.metadata.preprocessing

    def chunk(self, batch: int) -> int:
        """Inputs that a worker takes at a time."""
        return min(batch, MOST_CHUNK)

    def ahead(self, batch: int) -> int:
        """Inputs that may wait, decoded, beside those that workers have."""
        return 2 * batch

    @property
    def columns(self) -> str:
        """Which columns the rows have, see results/columns.py."""
        return self.engine.metadata.task

    @abstractmethod
    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        """One prediction for each input, in order; `batch` is the largest that the engine is to be given."""

    # What a run of vim-infer adds.

    def identity(self) -> dict[str, Any]:
        """Plain JSON: options that the rows depend on."""
        return {}

    def begin(self, batch: int, workers: int, report: Callable[[str], None]) -> None:  # noqa: B027
        """Called before the first input, to say what is to be said and to refuse what cannot be done."""

    def row(self, prediction: Prediction) -> Row:
        """The prediction's row; whatever else belongs to it has been written when this returns."""
        return Row.of(prediction, self.engine.class_names)

    def count(self, row: Row) -> None:  # noqa: B027
        """Called for every row, those of an earlier run first."""

    def summary(self) -> dict[str, Any]:
        """Plain JSON: the task's own figures over all rows."""
        return {}

    def summary_lines(self) -> list[str]:
        return []

    def finish(self) -> None:  # noqa: B027
        """Called when the last row is written, before the results are put in place."""

    # Shared by the tasks.

    def refused(self, entry: Loaded, reason: str = "") -> Prediction:
        """What becomes of an input that could not be read, or that `reason` speaks against."""
        item = entry.item
        return Prediction(
            item.path if item else None,
            "error",
            reason or entry.reason,
            size=entry.size,
            flags=entry.flags,
            label=item.label if item else None,
        )

    def run(self, pixels: list[np.ndarray], shape: tuple[int | None, ...]) -> np.ndarray:
        """The engine's output for these, checked against `shape` (without the batch; None: any size).

        A batch that is smaller than the engine's smallest is filled with zeros, whose results are dropped.
        """
        engine = self.engine
        filling = [np.zeros_like(pixels[0])] * (engine.batches.smallest - len(pixels))
        try:
            output = engine.run(np.stack(pixels + filling))[engine.output.name]
        except MemoryError:
            raise EngineError(
                f"not enough memory for a batch of {len(pixels)} images; use a smaller batch size."
            ) from None
        expected = (len(pixels) + len(filling), *shape)
        fits = len(output.shape) == len(expected) and all(
            size is None or size == found for size, found in zip(expected, output.shape, strict=True)
        )
        if output.dtype.kind != "f" or not fits:
            raise EngineError(
                f"{engine.path} gives {engine.output.name} of type {output.dtype} and shape {output.shape}; "
                f"expected floating-point numbers of shape {expected}."
            )
        return output[: len(pixels)]
