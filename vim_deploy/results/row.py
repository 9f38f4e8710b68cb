"""One row: what is written about one input, and what can be read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vim_deploy.predict import Score

from .escape import escape

if TYPE_CHECKING:
    from vim_deploy.predict import Prediction

TEXT_FIELDS = ("path", "status", "reason", "label")
NUMBER_FIELDS = ("rank", "width", "height")


@dataclass(frozen=True)
class Row:
    """`path` is escaped (see escape.py). `rank` is the true class's place, 1 for the best.

    `index` in the scores of rows read back from CSV and Parquet is -1: those formats hold names alone.
    Features are written and not read back.
    """

    path: str
    status: str
    reason: str | None = None
    label: str | None = None
    rank: int | None = None
    width: int | None = None
    height: int | None = None
    flags: tuple[str, ...] = ()
    top: tuple[Score, ...] = ()
    features: np.ndarray | None = None

    @classmethod
    def of(cls, prediction: Prediction, class_names: tuple[str, ...]) -> Row:
        width, height = prediction.size or (None, None)
        return cls(
            path=escape(prediction.path or ""),
            status=prediction.status,
            reason=prediction.reason or None,
            label=None if prediction.label is None else class_names[prediction.label],
            rank=None if prediction.rank is None else prediction.rank + 1,
            width=width,
            height=height,
            flags=prediction.flags,
            top=prediction.top,
            features=prediction.features,
        )

    def fields(self) -> dict[str, Any]:
        """Every field but flags, scores and features."""
        return {name: getattr(self, name) for name in (*TEXT_FIELDS, *NUMBER_FIELDS)}

    def top_columns(self, top_k: int) -> dict[str, Any]:
        """`top1`, `top1_probability`, `top2` ..., None where there are no scores."""
        columns: dict[str, Any] = {}
        for place in range(top_k):
            score = self.top[place] if place < len(self.top) else None
            columns[f"top{place + 1}"] = score.name if score else None
            columns[f"top{place + 1}_probability"] = score.probability if score else None
        return columns


def scores_of(columns: dict[str, Any], top_k: int) -> tuple[Score, ...]:
    """The way back from `top_columns`. Raises KeyError, TypeError or ValueError for anything else."""
    scores = []
    for place in range(1, top_k + 1):
        name, probability = columns[f"top{place}"], columns[f"top{place}_probability"]
        if probability not in (None, ""):
            scores.append(Score(-1, name, float(probability)))
    return tuple(scores)
