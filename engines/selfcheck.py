"""The comparison of a built engine with the file it was built from."""

from __future__ import annotations

from typing import Any

import numpy as np

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.metadata import OUTPUTS
from vim_deploy.parity.detections import detections_difference

# Relative to the largest value, by precision. fp32: reordered sums through 24 blocks (eager evaluation itself
# is within 2e-5 of float64); the others: some steps of their 10 and 7 mantissa bits.
TOLERANCES = {"fp32": 2e-4, "fp16": 2e-2, "bf16": 1e-1, "bf16-products": 2e-1}


def random_pixels(spec: TensorSpec, preprocessing: Preprocessing) -> np.ndarray:
    """Normal noise of the input's shape, two images where the batch is free."""
    usual = (2, preprocessing.channels, *preprocessing.image_size)
    shape = tuple(size or default for size, default in zip(spec.shape, usual, strict=True))
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def compare(
    name: str, precision: str, expected: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Largest absolute and relative difference over all outputs. Raises EngineError beyond the tolerance."""
    if precision not in TOLERANCES:
        raise EngineError(f"{name} has precision {precision!r}; expected one of {', '.join(TOLERANCES)}.")
    tolerance = TOLERANCES[precision]
    for key, reference in expected.items():
        if not (np.isfinite(reference).all() and np.isfinite(found[key]).all()):
            raise EngineError(f"{name} gives NaN or infinite {key} on random pixels; check the checkpoint.")
    largest, relative = _furthest(expected, found)
    if relative > tolerance:
        raise EngineError(
            f"{name}: the built engine differs from the file by {relative:.2e} of the largest value; at most "
            f"{tolerance:.0e} is expected. Try a lower --optimization."
        )
    return {"max_abs_diff": largest, "max_relative_diff": relative, "tolerance": tolerance}


def _furthest(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> tuple[float, float]:
    """The largest absolute and the largest relative difference."""
    if set(OUTPUTS["detect"]) <= expected.keys():
        first, second = (tuple(v[key] for key in OUTPUTS["detect"]) for v in (expected, found))
        apart = detections_difference(first, second)
        return apart.max_abs, apart.relative
    largest = relative = 0.0
    for key, reference in expected.items():
        reference64, found64 = reference.astype(np.float64), found[key].astype(np.float64)
        difference = float(np.abs(found64 - reference64).max(initial=0))
        largest = max(largest, difference)
        if difference:
            relative = max(relative, difference / max(float(np.abs(reference64).max(initial=0)), 1e-30))
    return largest, relative
