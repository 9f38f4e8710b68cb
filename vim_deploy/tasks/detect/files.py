"""The files of a run that detects: COCO results, overlays; the comparison with annotations."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from vim_deploy.errors import ConfigError, ImageError, OutputError
from vim_deploy.prediction import FoundObject, Objects, Prediction
from vim_deploy.results import Row
from vim_deploy.results.escape import escape
from vim_deploy.tasks.detect.annotations import Annotations, read_annotations
from vim_deploy.tasks.detect.average_precision import FIGURES, average_precision, run_lengths
from vim_deploy.tasks.detect.coco_results import CocoResults
from vim_deploy.tasks.detect.options import DetectOptions
from vim_deploy.tasks.detect.paste import pasted
from vim_deploy.tasks.detect.visualization import objects_jpeg
from vim_deploy.tasks.image_files import ImageFiles, write_whole

_OVERLAY = ".jpg"


class DetectFiles:
    """An image's overlay is written, whole, before its row is; COCO's results at the end, from all rows.

    `figures`: average precision, once the run is through.
    """

    def __init__(self, options: DetectOptions, class_names: Sequence[str], inputs: Sequence[str]) -> None:
        self._options, self._names = options, tuple(class_names)
        self._files = ImageFiles(inputs)
        self._annotations: Annotations | None = None
        if options.annotations is not None:
            self._annotations = read_annotations(options.annotations, self._names)
        self._results = CocoResults(self._names, self._annotations) if options.outlines else None
        self.figures: dict[str, Any] = {}

    def identity(self) -> dict[str, Any]:
        overlays = self._options.overlays
        return {
            "outlines": self._options.outlines,
            "overlays": None if overlays is None else escape(os.fspath(overlays)),
        }

    def begin(self) -> None:
        """Raises OutputError for places that cannot be written, and MissingDependencyError."""
        if self._options.overlays is not None:
            self._files.make_folder("--overlays", self._options.overlays)
        if self._options.outlines:
            run_lengths(np.zeros((1, 1), bool))
        coco = self._options.coco
        if coco is None:
            return
        if not coco.resolve().parent.is_dir() or (coco.exists() and not coco.is_file()):
            raise OutputError(f"--coco {coco} cannot be written: its folder is missing, or it is no file.")
        if self._annotations is not None and coco.resolve() == self._annotations.path.resolve():
            raise OutputError(f"--coco {coco} would replace the annotations; give another name.")

    def row(self, prediction: Prediction) -> Row:
        """Write what belongs to the prediction."""
        row = Row.of(prediction, self._names)
        objects = prediction.objects
        if objects is None:
            return row
        if self._options.overlays is not None:
            name = self._files.name(prediction.path or "")
            try:
                self._files.claim(name, row.path)
            except ImageError as error:
                return dataclasses.replace(row, status="error", reason=str(error), objects=())
            write_whole(self._options.overlays / f"{name}{_OVERLAY}", self._overlay(objects, row))
        if self._options.outlines:
            assert prediction.size is not None
            width, height = prediction.size
            outlines = [
                run_lengths(pasted(mask, np.array(found.box), height, width))
                for found, mask in zip(objects.found, objects.masks, strict=True)
            ]
            row = dataclasses.replace(
                row,
                objects=tuple(
                    dataclasses.replace(found, outline=outline)
                    for found, outline in zip(objects.found, outlines, strict=True)
                ),
            )
        return row

    def _overlay(self, objects: Objects, row: Row) -> bytes:
        """At the size that the network saw."""
        height, width = objects.seen.shape[:2]
        assert row.width and row.height
        scale = np.array([width / row.width, height / row.height] * 2)
        scaled = [_with_box(found, np.array(found.box) * scale) for found in objects.found]
        masks = [
            pasted(mask, np.array(found.box), height, width)
            for found, mask in zip(scaled, objects.masks, strict=True)
        ]
        return objects_jpeg(objects.seen, scaled, masks, len(self._names))

    def count(self, row: Row) -> None:
        self._check(row)
        if row.status == "ok" and self._options.overlays is not None:
            self._files.remember(row.path)
        if self._results is not None:
            self._results.add(row)

    def _check(self, row: Row) -> None:
        """Raises OutputError for a kept row that no run has written."""
        for found in row.objects:
            lacking = self._options.outlines and found.outline is None
            if lacking or not 0 <= found.index < len(self._names):
                what = "an object without outline" if lacking else f"the class number {found.index}"
                raise OutputError(
                    f"the row of {row.path} has {what}, and the model has {len(self._names)} classes: the "
                    "rows were edited. Begin with --restart."
                )

    def finish(self) -> None:
        """Write the results and judge them. Raises OutputError, ConfigError where nothing can be judged."""
        if self._results is None:
            return
        if self._options.coco is not None:
            try:
                self._results.write(self._options.coco)
            except OSError as error:
                reason = error.strerror or error
                raise OutputError(f"--coco {self._options.coco} cannot be written: {reason}.") from None
        if self._annotations is None:
            return
        judged = self._results.judged
        if not judged:
            some = ", ".join(list(self._annotations.image_ids)[:3])
            raise ConfigError(
                f"--annotations {self._annotations.path}: none of its {len(self._annotations.image_ids)} "
                f"images ({some}, ...) is among those of this run; images are found by their file names."
            )
        precision = average_precision(self._annotations, list(self._results), judged)
        self.figures = {
            "annotated_images": len(self._annotations.image_ids),
            "judged_images": len(judged),
            "average_precision": precision,
        }

    def summary_lines(self) -> list[str]:
        if not self.figures:
            return []
        judged, annotated = self.figures["judged_images"], self.figures["annotated_images"]
        lines = [f"average precision over {judged} of {annotated} annotated images:"]
        for kind, values in self.figures["average_precision"].items():
            named = {"bbox": "boxes", "segm": "masks"}[kind]
            texts = (f"{name} {values[name]:.3f}" for name in FIGURES if values[name] is not None)
            lines.append(f"  {named}: {', '.join(texts)}")
        return lines


def _with_box(found: FoundObject, box: np.ndarray) -> FoundObject:
    left, top, right, bottom = (float(value) for value in box)
    return dataclasses.replace(found, box=(left, top, right, bottom))
