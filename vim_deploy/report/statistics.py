"""Statistics over rows for the report, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vim_deploy.results import Row
from vim_deploy.results.columns import Columns

MAX_CLASSES = 60  # of a readable confusion matrix
MAX_PAIRS = 200


@dataclass
class ReportStatistics:
    rows: int = 0
    predicted: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    correct: Counter[str] = field(default_factory=Counter)
    correct5: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, row: Row, columns: Columns) -> None:
        self.rows += 1
        self.flags.update(row.flags)
        predicted = columns.predicted(row)
        if predicted is None:
            return
        self.predicted[predicted] += 1
        if row.label is not None and row.rank is not None:
            self.labels[row.label] += 1
            self.correct[row.label] += row.rank == 1
            self.correct5[row.label] += row.rank <= 5
            self.pairs[row.label, predicted] += 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = sorted({name for pair in self.pairs for name in pair})
        matrix = None
        if 0 < len(names) <= MAX_CLASSES:
            matrix = [[self.pairs[label, name] for name in names] for label in names]
        wrong = Counter({pair: count for pair, count in self.pairs.items() if pair[0] != pair[1]})
        return {
            "rows": self.rows,
            "predicted": self.predicted.most_common(),
            "flags": self.flags.most_common(),
            "per_class": [
                [label, count, self.correct[label], self.correct5[label], self.predicted[label]]
                for label, count in sorted(self.labels.items())
            ],
            "confusion": {"names": names, "matrix": matrix} if matrix else None,
            "mistakes": [[*pair, count] for pair, count in wrong.most_common(MAX_PAIRS)],
        }
