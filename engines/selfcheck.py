"""Comparing a built engine with the file that it was built from."""

from __future__ import annotations

from typing import Any

import numpy as np

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.precision import Precision
from vim_deploy.tasks.registry import TASKS


def example_shape(spec: TensorSpec, preprocessing: Preprocessing) -> tuple[int, ...]:
    """The input's shape; dynamic axes get two images of the preprocessing's size."""
    default = (2, preprocessing.channels, *preprocessing.image_size)
    return tuple(size or usual for size, usual in zip(spec.shape, default, strict=True))


def random_pixels(spec: TensorSpec, preprocessing: Preprocessing) -> np.ndarray:
    """Normal noise of the example shape."""
    return np.random.default_rng(0).standard_normal(example_shape(spec, preprocessing), np.float32)


def compare(
    name: str,
    task: str,
    precision: Precision,
    expected: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
) -> dict[str, Any]:
    """The largest differences of all outputs. Raises EngineError beyond the tolerance."""
    for key, reference in expected.items():
        if not (np.isfinite(reference).all() and np.isfinite(found[key]).all()):
            raise EngineError(f"{name} gives NaN or infinite {key} on random pixels; check the checkpoint.")
    difference = TASKS.get(task).compare(expected, found)
    if not difference.within(precision):
        raise EngineError(
            f"{name}: the built engine differs from the file by {difference.relative:.2e} of the largest "
            f"value; expected at most {precision.tolerance:.0e}. Try a lower --optimization."
        )
    return {
        "max_abs_diff": difference.max_abs,
        "max_relative_diff": difference.relative,
        "tolerance": precision.tolerance,
    }
