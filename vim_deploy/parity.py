"""How far two results are apart, and whether that is too far. numpy only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

# Largest difference relative to the largest reference value that a correct artifact stays under.
# float32: full-size models differ from float64 by up to 1.4e-5 in plain eager evaluation, and another order
# of summation costs as much again. float16 and bfloat16: the accumulated rounding of 24 blocks.
RELATIVE_TOLERANCE = {"fp32": 2e-4, "fp16": 2e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Difference:
    """The distance of `candidate` from `reference`, arrays of the same shape (batch, ...).

    `max_abs`: largest absolute difference; `max_reference`: largest reference magnitude; `relative`: their
    ratio; `top1_equal` of `images`: rows with the same largest element (None where rows have no classes).
    """

    max_abs: float
    max_reference: float
    relative: float
    images: int
    top1_equal: int | None

    def within(self, precision: str) -> bool:
        """Whether the difference is what the precision costs. False for anything that is not finite."""
        return bool(self.relative <= RELATIVE_TOLERANCE[precision])

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def difference(reference: np.ndarray, candidate: np.ndarray) -> Difference:
    """Compare two results of the same shape; NaN or infinity on either side gives an infinite difference."""
    if reference.shape != candidate.shape:
        raise ValueError(f"shapes {reference.shape} and {candidate.shape} differ; expected the same.")
    expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
    finite = bool(np.isfinite(expected).all() and np.isfinite(actual).all())
    max_abs = float(np.abs(actual - expected).max(initial=0.0)) if finite else float("inf")
    max_reference = float(np.abs(expected).max(initial=0.0)) if finite else float("inf")
    relative = (max_abs / max_reference if max_reference else max_abs) if finite else float("inf")
    top1 = None
    if finite and expected.ndim == 2 and expected.shape[1] > 1:
        top1 = int((expected.argmax(1) == actual.argmax(1)).sum())
    return Difference(max_abs, max_reference, relative, len(expected), top1)
