"""The files of a detection run: COCO results, and their evaluation against annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vim_deploy.errors import ConfigError, OutputError, os_errors
from vim_deploy.prediction import Prediction
from vim_deploy.results.row import Row
from vim_deploy.results.tables import Table, TaskReport
from vim_deploy.tasks.detect.annotations import Annotations, read_annotations
from vim_deploy.tasks.detect.average_precision import METRICS, average_precision, encode_rle
from vim_deploy.tasks.detect.coco_file import CocoFile
from vim_deploy.tasks.detect.matching import AnnotatedObjects
from vim_deploy.tasks.detect.options import DetectOptions
from vim_deploy.tasks.detect.paste import paste_mask
from vim_deploy.tasks.detect.result import Detections
from vim_deploy.tasks.whole_image import edited_row
from vim_deploy.text import plural

_KINDS = {"bbox": "boxes", "segm": "masks"}  # of COCOeval


class DetectFiles:
    """COCO results are written at the end.

    `annotated`: the annotated objects, if there are annotations. `metrics`: the average precision, after
    `finish`.
    """

    def __init__(self, options: DetectOptions, class_names: Sequence[str]) -> None:
        self._options, self._names = options, tuple(class_names)
        self._annotations: Annotations | None = None
        if options.annotations is not None:
            self._annotations = read_annotations(options.annotations, self._names)
        self.annotated = None if self._annotations is None else AnnotatedObjects(self._annotations)
        self._coco = CocoFile(self._names, self._annotations) if options.needs_masks else None
        self.metrics: dict[str, Any] = {}

    def identity(self) -> dict[str, Any]:
        return {"masks": self._options.needs_masks}

    def start(self) -> None:
        """Raises MissingDependencyError for a missing package that masks need."""
        if self._options.needs_masks:
            encode_rle(np.zeros((1, 1), bool))

    def files_of(self, path: str) -> tuple[Path, ...]:
        return ()

    def row(self, prediction: Prediction) -> Row:
        row = Row.of(prediction, self._names)
        if prediction.result is None:
            return row
        result: Detections = prediction.result
        objects = result.objects
        if self._options.needs_masks:
            assert prediction.size is not None
            width, height = prediction.size
            objects = tuple(
                dataclasses.replace(
                    found, rle=encode_rle(paste_mask(mask, np.array(found.box), height, width))
                )
                for found, mask in zip(objects, result.masks, strict=True)
            )
        return dataclasses.replace(row, result=objects)

    def count(self, row: Row) -> None:
        self._check(row)
        if self._coco is not None:
            self._coco.add(row)

    def _check(self, row: Row) -> None:
        """Raises OutputError for a row of an earlier run that was edited."""
        for found in row.result or ():
            no_mask = self._options.needs_masks and found.rle is None
            if no_mask or not 0 <= found.index < len(self._names):
                what = "an object without a mask" if no_mask else f"the class index {found.index}"
                raise edited_row(row, what, len(self._names))

    def finish(self) -> None:
        """Writes and evaluates the results. Raises OutputError, and ConfigError if no image is annotated."""
        if self._coco is None:
            return
        if self._options.coco is not None:
            with os_errors(OutputError, f"--coco {self._options.coco} cannot be written"):
                self._coco.write(self._options.coco)
        if self._annotations is None:
            return
        evaluated, images = self._coco.evaluated, self._annotations.image_ids
        if not evaluated:
            raise ConfigError(
                f"--annotations {self._annotations.path}: this run has none of its "
                f"{plural(len(images), 'image')} ({', '.join(list(images)[:3])}, ...); images are matched by "
                "file name."
            )
        found = average_precision(self._annotations, list(self._coco), evaluated)
        self.metrics = {
            "annotated_images": len(images),
            "evaluated_images": len(evaluated),
            "average_precision": found.metrics,
            "average_precision_by_class": found.by_class,
        }

    def report(self) -> TaskReport:
        """The average precision, if there are annotations."""
        if not self.metrics:
            return TaskReport()
        found = self.metrics["average_precision"]
        rows = [
            (_KINDS[kind], *("" if values[metric] is None else f"{values[metric]:.3f}" for metric in METRICS))
            for kind, values in found.items()
        ]
        title = (
            f"Average precision over {self.metrics['evaluated_images']} of "
            f"{plural(self.metrics['annotated_images'], 'annotated image')}"
        )
        table = Table(title, ("", *METRICS), rows)
        figures = {f"AP of {_KINDS[kind]}": f"{values['AP'] or 0:.3f}" for kind, values in found.items()}
        return TaskReport(figures, [table, self._by_class()])

    def _by_class(self) -> Table:
        found = self.metrics["average_precision_by_class"]
        names = [name for name in self._names if any(name in values for values in found.values())]
        rows = [(name, *(values.get(name) for values in found.values())) for name in names]
        head = ("class", *(f"AP of {_KINDS[kind]}" for kind in found))
        return Table("Average precision by class", head, rows, tuple(range(1, len(head))), classes=True)

    def summary_lines(self) -> list[str]:
        if not self.metrics:
            return []
        evaluated, annotated = self.metrics["evaluated_images"], self.metrics["annotated_images"]
        lines = [f"average precision over {evaluated} of {plural(annotated, 'annotated image')}:"]
        for kind, values in self.metrics["average_precision"].items():
            name = _KINDS[kind]
            texts = (f"{metric} {values[metric]:.3f}" for metric in METRICS if values[metric] is not None)
            lines.append(f"  {name}: {', '.join(texts)}")
        return lines
