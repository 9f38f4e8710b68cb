"""Compares the outputs of two detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vim_deploy.parity.detections import detections_difference
from vim_deploy.parity.difference import Difference
from vim_deploy.tasks.detect.spec import COUNT, OUTPUTS
from vim_deploy.tasks.spec import Outputs

if TYPE_CHECKING:
    import numpy as np


def difference(reference: Outputs, candidate: Outputs) -> Difference:
    return detections_difference(used_rows(reference), used_rows(candidate))


def used_rows(outputs: Outputs) -> tuple[np.ndarray, ...]:
    """The four outputs; of a fixed number of rows those that are used, also after the last object."""
    values = tuple(outputs[name] for name in OUTPUTS)
    if COUNT not in outputs:
        return values
    used = outputs["scores"] > 0
    return tuple(rows[used] for rows in values)
