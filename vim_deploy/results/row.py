"""One row: what is written about one input, and what can be read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.prediction import ClassArea, FoundObject, Prediction, Score
from vim_deploy.results.escape import escape
from vim_deploy.tasks.segment.ground_truth import Agreement

NUMBER_FIELDS = ("rank", "width", "height")


@dataclass(frozen=True)
class Row:
    """`path` is escaped (see escape.py). `rank` is the true class's place, 1 for the best.

    Which fields a row has depends on the task, see columns.py.
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
    file: str | None = None  # escaped
    shape: tuple[int, ...] = ()  # of the array in it
    areas: tuple[ClassArea, ...] = ()
    agreement: tuple[Agreement, ...] | None = None
    objects: tuple[FoundObject, ...] = ()

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
            areas=() if prediction.segments is None else prediction.segments.areas,
            objects=() if prediction.objects is None else prediction.objects.found,
        )

    def fields(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}
