"""The mIoU of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vim_deploy.results.row import Row
from vim_deploy.tasks.quality import Quality
from vim_deploy.tasks.segment.ground_truth import OverlapTotals

_RESAMPLES = 2000


def mean_iou(rows: Sequence[Row], class_names: Sequence[str], ground_truth: Path) -> Quality:
    """`rows` of a run with ground truth."""
    counts = np.zeros((len(rows), 3, len(class_names)), np.int64)
    for number, row in enumerate(rows):
        for item in row.result.overlap or ():
            counts[number, :, item.index] = item.intersection, item.predicted, item.ground_truth

    def value(chosen: NDArray[np.intp]) -> float:
        return OverlapTotals(*counts[chosen].sum(axis=0)).miou or 0.0

    return Quality("mIoU", len(rows), value, _RESAMPLES)
