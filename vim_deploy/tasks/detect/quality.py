"""The average precision of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vim_deploy.results.row import Row
from vim_deploy.tasks.detect.annotations import read_annotations
from vim_deploy.tasks.detect.average_precision import Resampled
from vim_deploy.tasks.detect.coco_file import CocoFile
from vim_deploy.tasks.quality import Quality

# Each takes as long as an evaluation without the matching of objects.
_RESAMPLES = 200


def precision_of(rows: Sequence[Row], class_names: Sequence[str], ground_truth: Path) -> Quality:
    """AP of masks, or of boxes if the annotations have no masks. `rows` of a run with annotations."""
    annotations = read_annotations(ground_truth, class_names)
    found = CocoFile(class_names, annotations)
    for row in rows:
        found.add(row)
    evaluation = Resampled(annotations, list(found), found.evaluated)

    def value(chosen: NDArray[np.intp]) -> float:
        return evaluation.average_precision(chosen)

    kind = "masks" if evaluation.kind == "segm" else "boxes"
    return Quality(f"AP of {kind}", len(found.evaluated), value, _RESAMPLES)
