"""The rows that a report shows: failures, mistakes and a random sample of the others, in bounded memory."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable
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
        self._count = 0
        self._failures: list[Shown] = []
        self._mistakes: _Heap = []
        self._others: _Heap = []

    def add(self, row: Row, mistake: float | None, pictures: Callable[[], Pictures | None]) -> None:
        """`pictures` is called if the row is shown, as far as is known now."""
        entry = Shown(self._count, row, mistake)
        self._count += 1
        if row.status != "ok":
            if len(self._failures) < MAX_FAILURES:
                self._failures.append(entry)
        elif mistake is not None:
            self._keep(self._mistakes, self._size.mistakes, mistake, entry, pictures)
        else:
            order = -zlib.crc32(row.path.encode("utf-8", "surrogatepass"))
            self._keep(self._others, self._size.others, order, entry, pictures)

    @staticmethod
    def _keep(
        heap: _Heap, most: int, key: float, entry: Shown, pictures: Callable[[], Pictures | None]
    ) -> None:
        item = (key, entry.number, entry)
        if len(heap) < most:
            heapq.heappush(heap, item)
        elif heapq.heappushpop(heap, item) is item:
            return
        entry.pictures = pictures()

    def entries(self) -> list[Shown]:
        """In the order of the rows."""
        kept = [entry for heap in (self._mistakes, self._others) for _, _, entry in heap]
        return sorted([*self._failures, *kept], key=lambda entry: entry.number)
