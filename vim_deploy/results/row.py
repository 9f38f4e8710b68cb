"""One row of the results file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vim_deploy.prediction import Prediction
from vim_deploy.results.escape import escape

NUMBER_FIELDS = ("rank", "width", "height")


@dataclass(frozen=True)
class Row:
    """`path` is escaped (see escape.py). `rank` is the place of the true class, 1 for the best.

    `result` is the task's part, which its columns write and read (see columns.py); None for an error.
    """

    path: str
    status: str
    reason: str | None = None
    label: str | None = None
    rank: int | None = None
    width: int | None = None
    height: int | None = None
    flags: tuple[str, ...] = ()
    result: Any = None

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
            result=prediction.result,
        )

    def failed(self, reason: object) -> Row:
        """The row as an error."""
        return dataclasses.replace(self, status="error", reason=str(reason), result=None)

    def fields(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}
