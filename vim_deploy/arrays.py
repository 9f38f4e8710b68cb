"""What the metadata says about the inputs of a network that takes named arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vim_deploy.errors import EngineError

INPUTS_KEY = "inputs"  # in the configuration
_MOST_ELEMENTS = 1 << 26  # of an example


@dataclass(frozen=True)
class ArrayInput:
    """`shape`: of the example at export. `low`, `high`: the range of an example of integers, else 0 and 0."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: int = 0
    high: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}

    def random(self, generator: np.random.Generator, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Normal noise, or integers or truth values in the range of the example."""
        size, kind = self.shape if shape is None else shape, np.dtype(self.dtype)
        if kind.kind == "f":
            return generator.standard_normal(size).astype(kind)
        return generator.integers(self.low, self.high, size, endpoint=True).astype(kind)


def example_inputs(config: Mapping[str, Any], source: str) -> tuple[ArrayInput, ...]:
    """The inputs in a configuration, which may be untrusted; `source` names the file. Raises EngineError."""
    try:
        found = tuple(ArrayInput(**{**item, "shape": tuple(item["shape"])}) for item in config[INPUTS_KEY])
        for item in found:
            sides = (*item.shape, item.low, item.high)
            if not all(type(side) is int for side in sides) or type(item.name) is not str:
                raise TypeError("expected integers")
            if (
                min(item.shape, default=1) < 1
                or math.prod(item.shape) > _MOST_ELEMENTS
                or item.low > item.high
            ):
                raise ValueError(f"shape {item.shape}, range {item.low} to {item.high}")
            np.dtype(item.dtype)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EngineError(
            f"{source}: unusable description of the inputs ({error!r:.200}); export the model again."
        ) from None
    return found
