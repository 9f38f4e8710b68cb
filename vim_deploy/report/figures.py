"""What the page shows, folded from the rows; memory does not grow with their number."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vim_deploy.results import Row

MOST_FAILURES = 500
MOST_OTHERS = 1000
MOST_CLASSES = 60  # of a confusion matrix that is still to be looked at
MOST_PAIRS = 200


@dataclass
class Figures:
    """`sample` has the failures (the first MOST_FAILURES) and a random choice of the others, in order."""

    rows: int = 0
    predicted: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    right5: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    sample: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Figures:
        figures = cls()
        failures: list[tuple[int, Row]] = []
        others: list[tuple[int, Row]] = []
        generator = random.Random(0)
        for number, row in enumerate(rows):
            figures._count(row)
            if row.status != "ok":
                if len(failures) < MOST_FAILURES:
                    failures.append((number, row))
            elif len(others) < MOST_OTHERS:
                others.append((number, row))
            elif (place := generator.randrange(number + 1)) < MOST_OTHERS:
                others[place] = (number, row)
        figures.sample = [row for _, row in sorted(failures + others, key=lambda entry: entry[0])]
        return figures

    def _count(self, row: Row) -> None:
        self.rows += 1
        self.flags.update(row.flags)
        if not row.top:
            return
        best = row.top[0].name
        self.predicted[best] += 1
        if row.label is not None and row.rank is not None:
            self.labels[row.label] += 1
            self.right[row.label] += row.rank == 1
            self.right5[row.label] += row.rank <= 5
            self.pairs[row.label, best] += 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the sample."""
        names = sorted({name for pair in self.pairs for name in pair})
        matrix = None
        if 0 < len(names) <= MOST_CLASSES:
            matrix = [[self.pairs[label, found] for found in names] for label in names]
        wrong = Counter({pair: count for pair, count in self.pairs.items() if pair[0] != pair[1]})
        return {
            "rows": self.rows,
            "predicted": self.predicted.most_common(),
            "flags": self.flags.most_common(),
            "per_class": [
                [label, count, self.right[label], self.right5[label], self.predicted[label]]
                for label, count in sorted(self.labels.items())
            ],
            "confusion": {"names": names, "matrix": matrix} if matrix else None,
            "mistakes": [[*pair, count] for pair, count in wrong.most_common(MOST_PAIRS)],
        }
