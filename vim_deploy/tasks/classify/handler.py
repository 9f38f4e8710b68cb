"""Classification: the best classes of each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from vim_deploy.prediction import Score
from vim_deploy.tasks.vectors import VectorTask


class Classify(VectorTask):
    """The best classes of each image."""

    def _shape(self) -> tuple[int | None, ...]:
        return (len(self.engine.class_names),)

    def _parts(self, output: np.ndarray, label: int | None) -> dict[str, Any]:
        rank = None
        if label is not None:
            rank = int((output > output[label]).sum() + (output[:label] == output[label]).sum())
        return {"top": _top(output, self.engine.class_names, self._top_k), "rank": rank}


def _top(logits: np.ndarray, names: tuple[str, ...], top_k: int) -> tuple[Score, ...]:
    """The best classes by softmax, ties in class order."""
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-wide, kind="stable")[:top_k]
    return tuple(Score(int(index), names[index], float(probabilities[index])) for index in order)
