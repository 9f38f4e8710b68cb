"""The result of classification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One class of a top-k list."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """`top`: the most probable classes, best first."""

    top: tuple[Score, ...] = ()
