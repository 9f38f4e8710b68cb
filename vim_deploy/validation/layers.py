"""Where a difference starts: every part of every block, by the error it hands on and the error it makes.

`propagated`: root mean square of the difference from the float64 chain, relative to the chain's. It grows
with depth in every correct artifact, and after a fault it is large everywhere.
`own`: the part is computed again in float64 from the artifact's own inputs to it, and compared with what the
artifact made of them. Only a faulty part has a large one, wherever it lies. A part beyond its limit is a
jump; the first one is where a difference starts.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vim_deploy.validation.artifacts import Artifact
from vim_deploy.validation.parts import PIXELS, Part, run_part

# What one part may add, in units of its result's rounding error (2^-24, 2^-11 or 2^-8 of a value). Sums of
# hundreds of products collect some tens of them, and the scan carries its own through the whole sequence.
# A wrong epsilon or one rounded weight is above this, by measurement: docs/parity.md.
OWN_LIMITS = {
    "tokens": 32.0,
    "residual": 4.0,
    "norm": 8.0,
    "in_proj": 32.0,
    "convolution": 16.0,
    "x_proj": 48.0,
    "dt_proj": 32.0,
    "scan": 64.0,
    "sum": 4.0,
    "out_proj": 64.0,
}
_ROUNDING = {"float32": 2.0**-24, "float64": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class PartFigures:
    """`own` and `limit` are relative to the size of the part's result."""

    name: str
    kind: str
    block: int | None
    propagated: float
    own: float
    limit: float

    @property
    def jumps(self) -> bool:
        return not self.own <= self.limit


@dataclass(frozen=True)
class LayerReport:
    """All parts of an artifact in order of execution."""

    label: str
    parts: tuple[PartFigures, ...]

    @property
    def first_jump(self) -> PartFigures | None:
        return next((part for part in self.parts if part.jumps), None)

    @property
    def passed(self) -> bool:
        return self.first_jump is None

    def blocks(self) -> list[tuple[int, PartFigures, PartFigures]]:
        """For each block its number, the part that hands its result on, and the part closest to its limit."""
        numbers = dict.fromkeys(part.block for part in self.parts if part.block is not None)
        rows = []
        for number in numbers:
            inside = self.inside(number)
            rows.append((number, inside[-1], max(inside, key=_closeness)))
        return rows

    def inside(self, block: int) -> list[PartFigures]:
        return [part for part in self.parts if part.block == block]

    def to_dict(self) -> dict[str, Any]:
        jump = self.first_jump
        return {
            "label": self.label,
            "passed": self.passed,
            "first_jump": jump.name if jump else None,
            "parts": [{**dataclasses.asdict(part), "jumps": part.jumps} for part in self.parts],
        }


def compare_layers(
    parts: list[Part],
    reference: dict[str, torch.Tensor],
    artifact: Artifact,
    taps: dict[str, str],
    pixels: np.ndarray,
) -> LayerReport:
    """`reference`: `run_parts(parts, pixels)`; `artifact` and `taps`: from `open_tapped`."""
    found = artifact.run_all(pixels)
    values = {name: found[value] for name, value in taps.items()}
    wide = {name: torch.from_numpy(array.astype(np.float64)) for name, array in values.items()}
    wide[PIXELS] = torch.from_numpy(pixels)
    figures = []
    for part in parts:
        made = wide[part.name].numpy()
        unit = max(_ROUNDING[values[name].dtype.name] for name in (part.name, *part.inputs) if name in values)
        figures.append(
            PartFigures(
                part.name,
                part.kind,
                part.block,
                _relative(reference[part.name].numpy(), made),
                worst_slice(run_part(part, wide).numpy(), made),
                OWN_LIMITS[part.kind] * unit,
            )
        )
    return LayerReport(artifact.label, tuple(figures))


def worst_slice(expected: np.ndarray, found: np.ndarray) -> float:
    """The difference's root mean square in the channel or token where it is largest.

    Both are (batch, tokens, channels).
    One wrong weight spoils one channel: over all values it would drown in rounding errors. Each slice is
    relative to its own size, or the whole's where that is larger.
    """
    if not np.isfinite(found).all():
        return math.inf
    whole = _rms(expected)
    worst = 0.0
    for axes in ((0, 1), (0, 2)):
        size = np.maximum(np.sqrt(np.square(expected).mean(axes)), whole)
        error = np.sqrt(np.square(found - expected).mean(axes))
        worst = max(worst, float((error / np.where(size == 0, 1.0, size)).max()))
    return worst


def _relative(expected: np.ndarray, found: np.ndarray) -> float:
    if not np.isfinite(found).all():
        return math.inf
    return _rms(found - expected) / (_rms(expected) or 1.0)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _closeness(part: PartFigures) -> float:
    return part.own / part.limit
