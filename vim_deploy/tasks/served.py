"""What a service for images returns: the arrays of a prediction, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vim_deploy.prediction import Prediction
from vim_deploy.tasks.base import Tensor

TEXT = "text"  # dtype of outputs with names: arrays of `str` objects


@dataclass(frozen=True)
class ServedOutput:
    """One output. `dtype`: a numpy type name, or TEXT. `shape`: for one image, None where images differ.

    `labeled`: whether the values are class indices.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    labeled: bool = False


# From the network's primary output and the number of classes.
OutputsOf: TypeAlias = "Callable[[Tensor, int], tuple[ServedOutput, ...]]"


@dataclass(frozen=True)
class Served:
    """A task in a service. `arrays`: the outputs by name, for a prediction that has a result."""

    outputs: OutputsOf
    arrays: Callable[[Prediction], dict[str, np.ndarray]]
