"""The columns of classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vim_deploy.results.columns import COMMON_FIELDS, LABEL_FIELDS, REAL, SIZE_FIELDS, TEXT, Columns
from vim_deploy.results.row import Row
from vim_deploy.tasks.classify.result import Classification, Score


class ScoreColumns(Columns):
    """`top1`, `top1_probability`, `top2` ...; in JSON Lines `top`, a list of objects.

    CSV and Parquet have class names only; reading them gives the class index -1.
    """

    def __init__(self, top_k: int) -> None:
        self._names = [(f"top{place}", f"top{place}_probability") for place in range(1, top_k + 1)]
        types = {name: kind for pair in self._names for name, kind in zip(pair, (TEXT, REAL), strict=True)}
        super().__init__((*COMMON_FIELDS, *LABEL_FIELDS, *SIZE_FIELDS), types)

    def to_cells(self, row: Row) -> dict[str, Any]:
        cells: dict[str, Any] = dict.fromkeys(self.types)
        for (name, probability), score in zip(self._names, _top(row), strict=False):
            cells[name], cells[probability] = score.name, score.probability
        return cells

    def from_cells(self, values: dict[str, Any]) -> Classification:
        return Classification(
            tuple(
                Score(-1, values[name], float(values[probability]))
                for name, probability in self._names
                if values[probability] not in (None, "")
            )
        )

    def to_json(self, row: Row) -> dict[str, Any]:
        return {
            "top": [
                {"class": score.name, "index": score.index, "probability": score.probability}
                for score in _top(row)
            ]
        }

    def from_json(self, values: dict[str, Any]) -> Classification:
        return Classification(
            tuple(Score(score["index"], score["class"], score["probability"]) for score in values["top"])
        )

    def scores(self, row: Row) -> Sequence[tuple[str, float]]:
        return [(score.name, score.probability) for score in _top(row)]

    def predicted(self, row: Row) -> str | None:
        top = _top(row)
        return top[0].name if top else None

    def mistake(self, row: Row) -> float | None:
        """The probability of a wrong class."""
        return _top(row)[0].probability if row.rank is not None and row.rank > 1 and _top(row) else None


def _top(row: Row) -> tuple[Score, ...]:
    return () if row.result is None else row.result.top
