"""A model as a chain of named parts, each a function of the outputs of earlier parts.

With the intermediate values of another implementation, every part can be recomputed from that
implementation's own inputs to it, which separates the error of the part from the error of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vim_deploy.ops import use_scan

PIXELS = "pixels"  # the name of the model input
# Appended to the name of a scan's output: the value before the gate, which the operator does not return.
UNGATED = "/ungated"


# Values of a part: tensors or arrays, one for each of its `values`.
Values: TypeAlias = "tuple[np.ndarray, ...]"


@dataclass(frozen=True)
class Part:
    """One part. `compute` takes the values named in `inputs` and returns (batch, tokens, channels) or a map
    (batch, channels, height, width).

    `kind`: what parts in several blocks have in common. `block`: the number of its block, None outside of
    blocks. `limit`: the largest local error of a correct artifact, in units of the output's rounding error
    (2^-24 of a value in float32). `stream`: whether its accumulated error is plotted
    against depth, as that of the residual stream.

    A part with `outputs` is a set of rows, such as detections: `compute` returns one tensor for each output,
    with one row per member: boxes, scores, then perhaps classes and masks. `select` says which rows are
    members; by default all.
    """

    name: str
    kind: str
    block: int | None
    inputs: tuple[str, ...]
    limit: float
    compute: Callable[..., Tensor | tuple[Tensor, ...]]
    stream: bool = False
    outputs: tuple[str, ...] = ()
    select: Callable[[Values], np.ndarray] | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """The names of what it computes."""
        return self.outputs or (self.name,)


def run_parts(parts: list[Part], pixels: Tensor) -> dict[str, Tensor]:
    """The values of all parts in float64, each computed from the values before it."""
    values = {PIXELS: pixels.double()}
    for part in parts:
        values.update(zip(part.values, run_part(part, values), strict=True))
    return values


def run_part(part: Part, values: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The values of one part for the given inputs, in float64."""
    with torch.inference_mode(), use_scan("reference"):
        found = part.compute(*(values[name].double() for name in part.inputs))
    return (found,) if isinstance(found, Tensor) else found
