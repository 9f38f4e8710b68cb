"""Counts the reasons of failed images, with equal and similar ones together."""

from __future__ import annotations

import re
from collections import Counter

from vim_deploy.text import plural

# Reasons contain numbers and names. Those that differ only in them are counted together.
_VARYING = re.compile(r"'[^']*'|0x[0-9a-f]+|-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|\b(?:nan|inf)\b)")
_MAX_GROUPS = 1000
_SHOWN = 20


class Reasons:
    """Each group of similar reasons is shown as its first reason."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._varied: set[str] = set()  # groups with different reasons

    def add(self, reason: str) -> None:
        group = _VARYING.sub("…", reason)
        if len(self._counts) >= _MAX_GROUPS and group not in self._counts:
            group = reason = "other reasons"
        if self._first.setdefault(group, reason) != reason:
            self._varied.add(group)
        self._counts[group] += 1

    def to_dict(self) -> dict[str, int]:
        """The number of images by reason, most frequent first."""
        return {self._text(group): count for group, count in self._counts.most_common()}

    def lines(self, most: int = _SHOWN) -> list[str]:
        """The most frequent reasons for people, and how many others there are."""
        found = self.to_dict()
        lines = [f"{count} x {reason}" for reason, count in list(found.items())[:most]]
        rest = list(found.values())[most:]
        if rest:
            lines.append(f"{sum(rest)} x {plural(len(rest), 'other reason')}: see the rows")
        return lines

    def _text(self, group: str) -> str:
        return (
            f"{self._first[group]} (first of several like it)"
            if group in self._varied
            else self._first[group]
        )
