"""Average precision of boxes and masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from vim_deploy.errors import MissingDependencyError
from vim_deploy.tasks.detect.annotations import Annotations

# In the order of COCOeval's stats: at IoU 0.5 to 0.95, at 0.5, at 0.75, for small, medium and large objects.
METRICS = ("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge")


class AveragePrecision(NamedTuple):
    """By kind: `bbox`, and `segm` if the annotations have masks. All values are from 0 to 1.

    `metrics`: METRICS, None without such objects. `by_class`: AP of each class that is annotated.
    """

    metrics: dict[str, dict[str, float | None]]
    by_class: dict[str, dict[str, float]]


def average_precision(
    annotations: Annotations, results: list[dict[str, Any]], image_ids: Sequence[int]
) -> AveragePrecision:
    """Only the images `image_ids` are evaluated."""
    coco_class, evaluation_class = _pycocotools()
    kinds = ["bbox"]
    if any(entry.get("segmentation") for entry in annotations.content["annotations"]):
        kinds.append("segm")
    found = AveragePrecision({}, {})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress there
        ground_truth = coco_class()
        ground_truth.dataset = annotations.content
        ground_truth.createIndex()
        for kind in kinds:
            if not results:
                found.metrics[kind] = dict.fromkeys(METRICS, 0.0)
                found.by_class[kind] = dict.fromkeys(_annotated_classes(annotations, image_ids), 0.0)
                continue
            # It adds fields to its argument.
            loaded = ground_truth.loadRes([dict(entry) for entry in results])
            evaluation = evaluation_class(ground_truth, loaded, kind)
            evaluation.params.imgIds = sorted(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            values = [float(value) for value in evaluation.stats[: len(METRICS)]]
            found.metrics[kind] = {
                name: value if value >= 0 else None for name, value in zip(METRICS, values, strict=True)
            }
            found.by_class[kind] = _by_class(annotations, evaluation)
    return found


class Resampled:
    """AP at IoU 0.5 to 0.95 for selections of images; the objects of each image are matched once.

    `kind`: "segm", or "bbox" if the annotations have no masks.
    """

    def __init__(
        self, annotations: Annotations, results: list[dict[str, Any]], image_ids: Sequence[int]
    ) -> None:
        coco_class, evaluation_class = _pycocotools()
        has_masks = any(entry.get("segmentation") for entry in annotations.content["annotations"])
        self.kind = "segm" if has_masks else "bbox"
        self._evaluation: Any = None
        if not results:
            return
        with contextlib.redirect_stdout(io.StringIO()):
            ground_truth = coco_class()
            ground_truth.dataset = annotations.content
            ground_truth.createIndex()
            loaded = ground_truth.loadRes([dict(entry) for entry in results])
            evaluation = evaluation_class(ground_truth, loaded, self.kind)
            # In the given order, which `average_precision` refers to.
            evaluation.params.imgIds = list(image_ids)
            evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
            evaluation.evaluate()
        self._evaluation, self._images = evaluation, len(image_ids)
        # COCOeval sorts the ids.
        place = {number: index for index, number in enumerate(evaluation.params.imgIds)}
        self._order = [place[number] for number in image_ids]
        self._matches = evaluation.evalImgs

    def average_precision(self, chosen: Any) -> float:
        """AP over the images with these numbers, which may repeat; 0 without objects."""
        if self._evaluation is None:
            return 0.0
        evaluation, images = self._evaluation, self._images
        numbers = [self._order[number] for number in chosen]
        # Matches are in the order of categories, areas (one) and images.
        categories = len(self._matches) // images
        evaluation.evalImgs = [
            self._matches[category * images + number] for category in range(categories) for number in numbers
        ]
        ids = list(range(len(numbers)))
        evaluation.params.imgIds = evaluation._paramsEval.imgIds = ids
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        return float(precision[precision >= 0].mean()) if (precision >= 0).any() else 0.0


def _by_class(annotations: Annotations, evaluation: Any) -> dict[str, float]:
    """From COCOeval's array of precisions: (IoUs, recalls, classes, areas, numbers of objects)."""
    names = {entry["id"]: entry["name"] for entry in annotations.content["categories"]}
    by_class = {}
    for number, category in enumerate(evaluation.params.catIds):
        precision = evaluation.eval["precision"][:, :, number, 0, -1]  # all areas, most objects
        if (precision >= 0).any():  # -1: not annotated
            by_class[names[category]] = float(precision[precision >= 0].mean())
    return by_class


def _annotated_classes(annotations: Annotations, image_ids: Sequence[int]) -> list[str]:
    evaluated = set(image_ids)
    used = {
        entry["category_id"] for entry in annotations.content["annotations"] if entry["image_id"] in evaluated
    }
    return [entry["name"] for entry in annotations.content["categories"] if entry["id"] in used]


def encode_rle(mask: Any) -> str:
    """COCO's compressed run-length encoding of a boolean mask (height, width)."""
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
            f"COCO's mask encoding and average precision need pycocotools ({error}); install it with "
            '`pip install "vim-deploy[detect]"`.'
        ) from None
    return pycocotools.mask
