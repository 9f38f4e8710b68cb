"""Compares the outputs of two detectors."""

from __future__ import annotations

from vim_deploy.parity.detections import detections_difference
from vim_deploy.parity.difference import Difference
from vim_deploy.tasks.detect.spec import OUTPUTS
from vim_deploy.tasks.spec import Outputs


def difference(reference: Outputs, candidate: Outputs) -> Difference:
    first, second = (tuple(values[name] for name in OUTPUTS) for values in (reference, candidate))
    return detections_difference(first, second)
