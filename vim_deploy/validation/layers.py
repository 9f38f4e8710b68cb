"""Locates the origin of a difference: the accumulated and the local error of every part of every block.

Accumulated error: RMS difference from the float64 chain, relative to the chain's RMS. It grows with depth in
every correct artifact, and after a fault it is large everywhere.
Local error: the part is recomputed in float64 from the artifact's own inputs to it and compared with the
artifact's output of it. Only a faulty part has a large local error, at any depth. The first part whose local
error exceeds its limit is where the difference starts.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vim_deploy.families.parts import PIXELS, Part, Values, run_part
from vim_deploy.parity.detections import detections_difference
from vim_deploy.tasks.registry import TASKS
from vim_deploy.validation.artifacts import Artifact

_ROUNDING = {"float32": 2.0**-24, "float64": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class PartFigures:
    """The errors of one part. `local_error` and `limit` are relative to the RMS of the part's output."""

    name: str
    kind: str
    block: int | None
    accumulated_error: float
    local_error: float
    limit: float
    stream: bool = False  # see Part.stream

    @property
    def exceeds_limit(self) -> bool:
        return not self.local_error <= self.limit  # NaN exceeds it too


@dataclass(frozen=True)
class NotCompared:
    """A module that could not be compared, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class LayerReport:
    """All parts of an artifact, in order of execution."""

    label: str
    parts: tuple[PartFigures, ...]
    not_compared: tuple[NotCompared, ...] = ()

    @property
    def first_fault(self) -> PartFigures | None:
        """The first part whose local error exceeds its limit."""
        return next((part for part in self.parts if part.exceeds_limit), None)

    @property
    def passed(self) -> bool:
        return self.first_fault is None

    def blocks(self) -> list[tuple[int, PartFigures, PartFigures]]:
        """For each block its number, its last part, and the part closest to its limit."""
        numbers = dict.fromkeys(part.block for part in self.parts if part.block is not None)
        rows = []
        for number in numbers:
            inside = self.inside(number)
            rows.append((number, inside[-1], max(inside, key=lambda part: part.local_error / part.limit)))
        return rows

    def inside(self, block: int) -> list[PartFigures]:
        return [part for part in self.parts if part.block == block]

    def to_dict(self) -> dict[str, Any]:
        fault = self.first_fault
        return {
            "label": self.label,
            "passed": self.passed,
            "first_fault": fault.name if fault else None,
            "parts": [
                {**dataclasses.asdict(part), "exceeds_limit": part.exceeds_limit} for part in self.parts
            ],
            "not_compared": [dataclasses.asdict(module) for module in self.not_compared],
        }


def compare_layers(
    parts: list[Part],
    reference: dict[str, torch.Tensor],
    artifact: Artifact,
    probes: dict[str, str],
    pixels: np.ndarray,
) -> LayerReport:
    """`reference` is `run_parts(parts, pixels)`; `artifact` and `probes` come from `open_probed`."""
    batchable = TASKS.get(artifact.metadata.task).batchable
    found = artifact.run_all(pixels) if batchable else artifact.run_each(pixels)[0]
    values = {name: found[value] for name, value in probes.items()}
    doubles = {name: torch.from_numpy(array.astype(np.float64)) for name, array in values.items()}
    doubles[PIXELS] = torch.from_numpy(pixels)
    figures = []
    for part in parts:
        names = (*part.values, *part.inputs)
        unit = max(_ROUNDING.get(values[name].dtype.name, 0.0) for name in names if name in values)
        expected, recomputed, actual = (
            tuple(rows.numpy() for rows in given)
            for given in (
                [reference[name] for name in part.values],
                run_part(part, doubles),
                [doubles[name] for name in part.values],
            )
        )
        accumulated, local = _errors(part, expected, recomputed, actual)
        figures.append(
            PartFigures(part.name, part.kind, part.block, accumulated, local, part.limit * unit, part.stream)
        )
    return LayerReport(artifact.label, tuple(figures))


def _errors(part: Part, expected: Values, recomputed: Values, actual: Values) -> tuple[float, float]:
    """Accumulated and local error."""
    if not part.outputs:
        return _relative(expected[0], actual[0]), worst_slice(recomputed[0], actual[0])
    select = part.select or (lambda rows: np.ones(len(rows[0]), bool))
    given, own, found = (
        tuple(rows[select(values)] for rows in values) for values in (expected, recomputed, actual)
    )
    return detections_difference(given, found).relative, detections_difference(own, found).relative


def worst_slice(expected: np.ndarray, found: np.ndarray) -> float:
    """The RMS difference of the worst channel or token; both arrays are (batch, tokens, channels), or maps
    (batch, channels, height, width), whose pixels are the tokens. For other ranks, all axes between the first
    and the last are tokens.

    One wrong weight affects one channel, which an RMS over all values would hide among rounding errors. Each
    slice is relative to its own RMS, or to that of the whole array where that is larger.
    """
    if not np.isfinite(found).all():
        return math.inf
    if expected.ndim == 4:
        expected, found = (
            np.moveaxis(values.reshape(*values.shape[:2], -1), 1, 2) for values in (expected, found)
        )
    elif expected.ndim != 3:
        expected, found = (values.reshape(len(values), -1, values.shape[-1]) for values in (expected, found))
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
