"""Classification: the most probable classes of each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vim_deploy.errors import EngineError
from vim_deploy.prediction import Prediction
from vim_deploy.results.row import Row
from vim_deploy.tasks.array_output import ArrayOutputHandler
from vim_deploy.tasks.base import Network
from vim_deploy.tasks.classify.columns import ScoreColumns
from vim_deploy.tasks.classify.options import ClassifyOptions
from vim_deploy.tasks.classify.result import Classification, Score
from vim_deploy.text import plural


class ClassifyHandler(ArrayOutputHandler):
    def __init__(self, network: Network, options: ClassifyOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        if options.top_k < 1:
            raise EngineError(f"top_k is {options.top_k}; expected 1 or more.")
        self._options = options
        self._top_k = min(options.top_k, len(network.class_names))

    @property
    def columns(self) -> ScoreColumns:
        return ScoreColumns(self._top_k)

    def row(self, prediction: Prediction) -> Row:
        """Without the probabilities of all classes, which would be most of a row's size."""
        row = super().row(prediction)
        return row if row.result is None else dataclasses.replace(row, result=Classification(row.result.top))

    def identity(self) -> dict[str, Any]:
        return {"top_k": self._top_k}

    def start(self, batch: int, workers: int, report: Callable[[str], None]) -> None:
        if self._top_k < self._options.top_k:
            report(f"top-k is {self._top_k}: the model has {plural(self._top_k, 'class', 'classes')}")

    def _shape(self) -> tuple[int | None, ...]:
        return (len(self.network.class_names),)

    def _fields(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        rank = None
        if label is not None:
            rank = int((output > output[label]).sum() + (output[:label] == output[label]).sum())
        return {"result": _classification(output, self.network.class_names, self._top_k), "rank": rank}


def _classification(logits: np.ndarray, names: tuple[str, ...], top_k: int) -> Classification:
    """The softmax and the best classes, ties in class order."""
    values = logits.astype(np.float64)
    exponentials = np.exp(values - values.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-values, kind="stable")[:top_k]
    top = tuple(Score(int(index), names[index], float(probabilities[index])) for index in order)
    return Classification(top, probabilities)
