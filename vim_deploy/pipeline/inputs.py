"""Selects the inputs of a run: its shard, without those that have a row, or new files in watched folders."""

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

from vim_deploy.data.discover import FlushMarker, Item
from vim_deploy.errors import ConfigError
from vim_deploy.results import Row
from vim_deploy.results.escape import escape

WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `count`. The hash of a path decides which one it belongs to.

    Shards are therefore independent of each other, of the order of files and of files that are added or
    removed. All shards must be given the same inputs, spelled the same.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`I/N`. Raises ConfigError."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match and 1 <= int(match.group(1)) <= int(match.group(2)):
            return cls(int(match.group(1)), int(match.group(2)))
        raise ConfigError(f"{text!r} is not a valid shard; expected I/N with I from 1 to N, like 2/8.")

    def has(self, path: str) -> bool:
        if self.count == 1:
            return True
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def remaining(
    items: Iterable[Item | FlushMarker], previous: Iterable[Row], count: Callable[[Row], None]
) -> Iterator[Item | FlushMarker]:
    """The items without a row. All `previous` rows are passed to `count` before this returns.

    As long as the items are in the order of the rows, nothing is stored. From the first difference on, rows
    are matched by path, each row with one item.
    """
    source = iter(items)
    done: Counter[str] = Counter()
    unmatched: list[Item] = []
    for row in previous:
        count(row)
        if not unmatched and not done:
            item = next((given for given in source if isinstance(given, Item)), None)
            if item is not None and escape(item.path) == row.path:
                continue
            if item is not None:
                unmatched.append(item)
        done[row.path] += 1
    return _without(done, unmatched, source)


def _without(
    done: Counter[str], items: list[Item], source: Iterator[Item | FlushMarker]
) -> Iterator[Item | FlushMarker]:
    for given in chain(items, source):
        path = escape(given.path) if isinstance(given, Item) else None
        if path is not None and done[path] > 0:
            done[path] -= 1
        else:
            yield given


def watched(
    search: Callable[[], Iterable[Item]],
    done: set[str],
    stopped: Callable[[], bool],
    idle: float | None,
    interval: float = WATCH_SECONDS,
) -> Iterator[Item | FlushMarker]:
    """Items as their files appear, until `stopped()` or until there was no new file for `idle` seconds.

    A file is complete when its size and time are the same in two searches. `done`: the paths that already
    have a row; the paths of all items are added to it.
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
        yield FlushMarker()
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
