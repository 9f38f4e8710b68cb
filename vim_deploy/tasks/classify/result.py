"""The result of classification."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """One class of a top-k list."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """`top`: the most probable classes, best first. `probabilities`: of all classes; not in rows."""

    top: tuple[Score, ...] = ()
    probabilities: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
