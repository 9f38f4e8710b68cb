"""What a run works on: its shard of the inputs, without what an earlier run has done, watched if asked."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vim_deploy.data.discover import Item, Pause
from vim_deploy.errors import ConfigError
from vim_deploy.results import Row
from vim_deploy.results.escape import escape

WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `count`. A path belongs to exactly one, told by its hash alone.

    So shards do not depend on each other, on the order of the files or on files that come and go; they are
    complete when all are given the same inputs in the same words.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`I/N`. Raises ConfigError."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match and 1 <= int(match.group(1)) <= int(match.group(2)):
            return cls(int(match.group(1)), int(match.group(2)))
        raise ConfigError(f"{text!r} is no shard; expected I/N with I from 1 to N, like 2/8.")

    def has(self, path: str) -> bool:
        if self.count == 1:
            return True
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def remaining(
    items: Iterable[Item | Pause], previous: Iterable[Row], count: Callable[[Row], None]
) -> Iterator[Item | Pause]:
    """The items that have no row yet. `previous` is read to its end, into `count`, before this returns.

    While the files are those of the earlier run, its rows are the first items and nothing is remembered; from
    the first difference on, rows are matched by their paths, each row with one item.
    """
    source = iter(items)
    seen: Counter[str] = Counter()
    ahead: list[Item] = []
    for row in previous:
        count(row)
        if not ahead and not seen:
            item = next((given for given in source if isinstance(given, Item)), None)
            if item is not None and escape(item.path) == row.path:
                continue
            if item is not None:
                ahead.append(item)
        seen[row.path] += 1
    return _without(seen, ahead, source)


def _without(seen: Counter[str], ahead: list[Item], source: Iterator[Item | Pause]) -> Iterator[Item | Pause]:
    for given in chain(ahead, source):
        path = escape(given.path) if isinstance(given, Item) else None
        if path is not None and seen[path] > 0:
            seen[path] -= 1
        else:
            yield given


def watched(
    search: Callable[[], Iterable[Item]],
    done: set[str],
    stopped: Callable[[], bool],
    idle: float | None,
    interval: float = WATCH_SECONDS,
) -> Iterator[Item | Pause]:
    """Items as their files appear, until `stopped()` or until nothing has come for `idle` seconds.

    A file counts once its size and time have been the same for two searches. `done` holds the paths that are
    not to come again and grows.
    """
    states: dict[str, tuple[int, int]] = {}
    last = time.monotonic()
    while True:
        before, states = states, {}
        for item in search():
            if item.path in done or (state := _state(item.path)) is None:
                continue
            if before.get(item.path) != state:
                states[item.path] = state
                continue
            done.add(item.path)
            yield item
            last = time.monotonic()
            if stopped():
                return
        yield Pause()
        if idle is not None and time.monotonic() - last >= idle and not states:
            return
        until = time.monotonic() + interval
        while time.monotonic() < until:
            if stopped():
                return
            time.sleep(0.05)


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
