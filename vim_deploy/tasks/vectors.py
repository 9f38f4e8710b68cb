"""Tasks with one vector, or one array, for each image: classification and features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.data.loading import Loaded
from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction, Score
from vim_deploy.results import Row

from .base import Task
from .feature_files import FeatureFiles
from .options import TaskOptions

if TYPE_CHECKING:
    from vim_deploy.engines.engine import Engine


class _VectorTask(Task):
    def __init__(self, engine: Engine, options: TaskOptions) -> None:
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


class Classify(_VectorTask):
    """The best classes of each image."""

    def _shape(self) -> tuple[int | None, ...]:
        return (len(self.engine.class_names),)

    def _parts(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        rank = None
        if label is not None:
            rank = int((output > output[label]).sum() + (output[:label] == output[label]).sum())
        return {"top": _top(output, self.engine.class_names, self._top_k), "rank": rank}


class Features(_VectorTask):
    """What the network gives, as it is: in the rows, or in a file for each image."""

    def __init__(self, engine: Engine, options: TaskOptions) -> None:
        super().__init__(engine, options)
        given = options.features
        self._files = None
        if given.folder is not None:
            self._files = FeatureFiles(given.folder, given.format, options.inputs)
        elif names := given.given():
            raise EngineError(f"{names[0]} is the format of files; give their folder with --arrays.")

    @property
    def columns(self) -> str:
        return "features" if self._files is None else "feature_files"

    def identity(self) -> dict[str, Any]:
        return {} if self._files is None else self._files.identity()

    def begin(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        if self._files is not None:
            self._files.begin()

    def row(self, prediction: Prediction) -> Row:
        row = super().row(prediction)
        return row if self._files is None else self._files.row(row)

    def count(self, row: Row) -> None:
        if self._files is not None:
            self._files.count(row)

    def _parts(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        return {"features": output.copy()}


def _top(logits: np.ndarray, names: tuple[str, ...], top_k: int) -> tuple[Score, ...]:
    """The best classes by softmax, ties in class order."""
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-wide, kind="stable")[:top_k]
    return tuple(Score(int(index), names[index], float(probabilities[index])) for index in order)
