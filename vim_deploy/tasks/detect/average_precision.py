"""Average precision of boxes and masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from vim_deploy.errors import MissingDependencyError
from vim_deploy.tasks.detect.annotations import Annotations

# In the order of COCOeval's figures: over overlaps 0.5 to 0.95, at 0.5, at 0.75, small, medium, large.
FIGURES = ("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge")


def average_precision(
    annotations: Annotations, results: list[dict[str, Any]], image_ids: Sequence[int]
) -> dict[str, dict[str, float | None]]:
    """`bbox`, and `segm` where the annotations have outlines; figures from 0 to 1, None for no such object.

    Judged over `image_ids` alone.
    """
    coco_class, evaluation_class = _pycocotools()
    kinds = ["bbox"]
    if any(entry.get("segmentation") for entry in annotations.content["annotations"]):
        kinds.append("segm")
    figures: dict[str, dict[str, float | None]] = {}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress there
        truth = coco_class()
        truth.dataset = annotations.content
        truth.createIndex()
        for kind in kinds:
            if not results:
                figures[kind] = dict.fromkeys(FIGURES, 0.0)
                continue
            # It adds fields of its own to what it is given.
            found = truth.loadRes([dict(entry) for entry in results])
            evaluation = evaluation_class(truth, found, kind)
            evaluation.params.imgIds = sorted(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            values = [float(value) for value in evaluation.stats[: len(FIGURES)]]
            figures[kind] = {
                name: value if value >= 0 else None for name, value in zip(FIGURES, values, strict=True)
            }
    return figures


def run_lengths(mask: Any) -> str:
    """COCO's compressed run lengths of a boolean mask (height, width)."""
    import numpy as np

    encode = _mask_module().encode
    counts: bytes = encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def _pycocotools() -> tuple[Any, Any]:
    _mask_module()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _mask_module() -> Any:
    try:
        import pycocotools.mask
    except ImportError as error:
        raise MissingDependencyError(
            f"COCO's run lengths and average precision need pycocotools ({error}); install it with "
            '`pip install "vim-deploy[detect]"`.'
        ) from None
    return pycocotools.mask
