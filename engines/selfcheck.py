"""Comparing a built engine with the file that it was built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from vim_deploy.arrays import example_inputs
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError
from vim_deploy.metadata import ModelMetadata
from vim_deploy.precision import Precision
from vim_deploy.tasks.registry import TASKS

# Engines with int8 matmuls may differ from the file by this factor more than the same matmuls in standard
# operators. Where another order of summation moves a value across a rounding boundary, its integer differs by
# one; deep networks amplify that until both have as much rounding noise, but not the same noise.
INT8_FACTOR = 2.0

Arrays: TypeAlias = "np.ndarray | Mapping[str, np.ndarray]"  # pixels, or inputs by name


def example_shape(spec: TensorSpec, preprocessing: Preprocessing) -> tuple[int, ...]:
    """The input's shape; dynamic axes get two images of the preprocessing's size."""
    default = (2, preprocessing.channels, *preprocessing.image_size)
    return tuple(size or usual for size, usual in zip(spec.shape, default, strict=True))


def example_shapes(
    inputs: Sequence[TensorSpec], metadata: ModelMetadata, source: str
) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs for a comparison, by name. Raises EngineError."""
    if not TASKS.get(metadata.task).arrays:
        return {inputs[0].name: example_shape(inputs[0], metadata.preprocessing)}
    examples = {item.name: item.shape for item in example_inputs(metadata.config, source)}
    for spec in inputs:
        shape = examples.get(spec.name, ())
        if len(shape) != len(spec.shape) or any(
            size not in (None, given) for size, given in zip(spec.shape, shape, strict=True)
        ):
            raise EngineError(
                f"{source}: the input {spec.name!r} has shape {spec.shape}, and its example {shape}; export "
                "the model again."
            )
    return examples


def random_arrays(inputs: Sequence[TensorSpec], metadata: ModelMetadata, source: str) -> Arrays:
    """Random inputs of the example shapes: an array of pixels, or arrays by name."""
    if not TASKS.get(metadata.task).arrays:
        return random_pixels(inputs[0], metadata.preprocessing)
    generator = np.random.default_rng(0)
    return {item.name: item.random(generator) for item in example_inputs(metadata.config, source)}


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
    _check_finite(name, expected, found)
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


def compare_quantized(
    name: str,
    task: str,
    expected: dict[str, np.ndarray],
    quantized: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Compare an engine with int8 matmuls with `quantized`, which computes them in standard operators.

    Both must differ from the file, whose outputs are `expected`, by about the same. Whether that is
    acceptable is a question of accuracy, which random pixels cannot answer. Raises EngineError beyond the
    tolerance.
    """
    _check_finite(name, expected, found)
    spec = TASKS.get(task)
    rounding, tolerance = (
        spec.compare(expected, found),
        INT8_FACTOR * spec.compare(expected, quantized).relative,
    )
    if not rounding.relative <= tolerance:
        raise EngineError(
            f"{name}: the built engine differs from the file by {rounding.relative:.2e} of the largest "
            f"value; expected at most {tolerance:.2e}, {INT8_FACTOR:g} times the difference of int8 matmuls "
            "in standard operators. Try a lower --optimization."
        )
    return {
        "max_abs_diff": rounding.max_abs,
        "max_relative_diff": rounding.relative,
        "tolerance": tolerance,
        "from_standard_operators": spec.compare(quantized, found).relative,
    }


def _check_finite(name: str, expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
    for key, reference in expected.items():
        if not (np.isfinite(reference).all() and np.isfinite(found[key]).all()):
            raise EngineError(f"{name} gives NaN or infinite {key} on random pixels; check the checkpoint.")
