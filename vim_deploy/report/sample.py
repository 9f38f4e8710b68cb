"""The rows that a report shows: failures, mistakes and a random sample of the others, in bounded memory."""

from __future__ import annotations

import heapq
import zlib
from dataclasses import dataclass
from typing import TypeAlias

from vim_deploy.report.pictures import Pictures
from vim_deploy.results import Row

MAX_FAILURES = 500


@dataclass(frozen=True)
class SampleSize:
    """The largest numbers of mistakes and of other rows."""

    mistakes: int
    others: int


WITHOUT_DRAWINGS = SampleSize(mistakes=300, others=200)
WITH_DRAWINGS = SampleSize(mistakes=60, others=40)  # pictures are larger


@dataclass
class Shown:
    """A row with its number in the run. `mistake`: see `Columns.mistake`."""

    number: int
    row: Row
    mistake: float | None
    pictures: Pictures | None = None


_Heap: TypeAlias = "list[tuple[float, int, Shown]]"


class Sample:
    """The first failures, the worst mistakes, and others in the order of a hash of their path: a random
    sample that does not depend on the order of the rows."""

    def __init__(self, size: SampleSize) -> None:
        self._size = size
        self._failures: list[Shown] = []
        self._mistakes: _Heap = []
        self._others: _Heap = []

    def add(self, entry: Shown) -> bool:
        """Whether the row is shown with pictures, as far as is known now."""
        row = entry.row
        if row.status != "ok":
            if len(self._failures) < MAX_FAILURES:
                self._failures.append(entry)
            return False
        if entry.mistake is not None:
            return _kept(self._mistakes, self._size.mistakes, entry.mistake, entry)
        order = -zlib.crc32(row.path.encode("utf-8", "surrogatepass"))
        return _kept(self._others, self._size.others, order, entry)

    def entries(self) -> list[Shown]:
        """In the order of the rows."""
        kept = [entry for heap in (self._mistakes, self._others) for _, _, entry in heap]
        return sorted([*self._failures, *kept], key=lambda entry: entry.number)


def _kept(heap: _Heap, most: int, key: float, entry: Shown) -> bool:
    """Keep the entries with the largest keys, of equal ones the last."""
    if len(heap) >= most and (key, entry.number) < heap[0][:2]:
        return False
    if all(number != entry.number for _, number, _ in heap):
        heapq.heappush(heap, (key, entry.number, entry))
        if len(heap) > most:
            heapq.heappop(heap)
    return True
