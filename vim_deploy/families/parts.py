"""A model as a chain of named parts, each a function of the outputs of earlier parts.

With the intermediate values of another implementation, every part can be recomputed from that
implementation's own inputs to it, which separates the error of the part from the error of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vim_deploy.ops import use_scan

PIXELS = "pixels"  # the name of the model input
# Appended to the name of a scan's output: the value before the gate, which the operator does not return.
UNGATED = "/ungated"


@dataclass(frozen=True)
class Part:
    """One part. `compute` takes the values named in `inputs` and returns (batch, tokens, channels).

    `kind`: what parts in several blocks have in common. `block`: the number of its block, None outside of
    blocks. `limit`: the largest local error of a correct artifact, in units of the output's rounding error
    (2^-24 of a value in float32). `stream`: whether it is the residual stream.
    """

    name: str
    kind: str
    block: int | None
    inputs: tuple[str, ...]
    limit: float
    compute: Callable[..., Tensor]
    stream: bool = False


def run_parts(parts: list[Part], pixels: Tensor) -> dict[str, Tensor]:
    """The outputs of all parts in float64, each computed from the outputs before it."""
    values = {PIXELS: pixels.double()}
    for part in parts:
        values[part.name] = run_part(part, values)
    return values


def run_part(part: Part, values: dict[str, Tensor]) -> Tensor:
    """The output of one part for the given values, in float64."""
    with torch.inference_mode(), use_scan("reference"):
        return part.compute(*(values[name].double() for name in part.inputs))
