"""The result for one input, the same record for every task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """`result` is the task's own, see `result.py` in the task's folder; None if the status is "error"."""

    path: str | None  # or URL; None for an image in memory
    status: str  # "ok" or "error"
    reason: str = ""  # why the status is "error"
    size: tuple[int, int] | None = None  # width, height after EXIF rotation
    flags: tuple[str, ...] = ()  # what decoding changed, see data/decode.py
    label: int | None = None  # index of the true class if known
    rank: int | None = None  # number of classes with a higher score than the true one
    result: Any = None
    given: Any = field(default=None, compare=False)  # the input, see data/loading.py; to draw on it
