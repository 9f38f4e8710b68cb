"""The files of a segmentation run: label maps, the table of areas; the ground truth."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.errors import ConfigError, ImageError, OutputError
from vim_deploy.prediction import Prediction
from vim_deploy.results.escape import escape
from vim_deploy.results.row import Row
from vim_deploy.tasks.image_files import ImageNames, write_file
from vim_deploy.tasks.segment.ground_truth import GroundTruth, class_overlaps
from vim_deploy.tasks.segment.options import AREA_COLUMNS, GroundTruthValues, SegmentOptions
from vim_deploy.tasks.segment.result import Segmentation, SegmentationRow
from vim_deploy.tasks.segment.statistics import SegmentStatistics
from vim_deploy.tasks.segment.visualization import label_map_png

_log = logging.getLogger("vim_deploy")
_MAP_SUFFIX = ".png"
_MEANINGS = {
    GroundTruthValues.ONE_BASED: "0 is unlabeled, 1 is the first class (as in ADE20K)",
    GroundTruthValues.ZERO_BASED: "0 is the first class",
}


class SegmentFiles:
    """Each image's files are complete before its row is written.

    Raises OutputError for paths that cannot be written and ConfigError for contradictory options.
    """

    def __init__(self, options: SegmentOptions, class_names: Sequence[str], inputs: Sequence[str]) -> None:
        self._options, self._names = options, tuple(class_names)
        self._image_names = ImageNames(inputs)
        self.statistics = SegmentStatistics(self._names)
        self._ground_truth: GroundTruth | None = None
        if options.ground_truth is not None:
            values = options.ground_truth_values or self._default_values()
            self._ground_truth = GroundTruth(options.ground_truth, values, options.ignore)
            if 0 <= (index := options.ignore - values.offset) < len(self._names):
                raise ConfigError(
                    f"--ignore {options.ignore} is the ground-truth value of the class "
                    f"{self._names[index]!r}; give a value that no class has."
                )

    def _default_values(self) -> GroundTruthValues:
        is_ade20k = self._names == ADE20K_CLASSES
        return GroundTruthValues.ONE_BASED if is_ade20k else GroundTruthValues.ZERO_BASED

    def identity(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in ("maps", "ground_truth"):
            path: Path | None = getattr(self._options, name)
            values[name] = None if path is None else escape(os.fspath(path))
        if self._ground_truth is not None:
            values["ground_truth_values"] = self._ground_truth.values.value
            values["ignore"] = self._ground_truth.ignore
        return values

    def start(self) -> None:
        """Raises OutputError if the ground truth is not a folder."""
        if self._ground_truth is not None:
            if not self._ground_truth.folder.is_dir():
                raise OutputError(
                    f"--ground-truth {self._ground_truth.folder} is not a folder; give the folder of the "
                    "label maps."
                )
            _log.info(
                "ground-truth label maps: %s, %d is unlabeled",
                _MEANINGS[self._ground_truth.values],
                self._ground_truth.ignore,
            )

    def files_of(self, path: str) -> tuple[Path, ...]:
        folder = self._options.maps
        return () if folder is None else (folder / f"{self._image_names.name(path)}{_MAP_SUFFIX}",)

    def row(self, prediction: Prediction) -> Row:
        """Writes the image's files; an error row if its ground truth or a file's name cannot be used."""
        row = Row.of(prediction, self._names)
        if prediction.result is None:
            return row
        result: Segmentation = prediction.result
        path, overlap = prediction.path or "", None
        try:
            if self._ground_truth is not None and prediction.size is not None:
                labels = self._ground_truth.labels(
                    self._image_names.name(path), prediction.size, len(self._names)
                )
                overlap = class_overlaps(result.labels, labels, len(self._names))
            for file in self.files_of(path):
                write_file(file, label_map_png(result.labels, len(self._names)))
        except ImageError as error:
            return row.failed(error)
        return dataclasses.replace(row, result=SegmentationRow(result.areas, overlap))

    def count(self, row: Row) -> None:
        self.statistics.count(row)

    def finish(self) -> None:
        """Writes the table of areas."""
        if self._options.areas is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(AREA_COLUMNS)
        writer.writerows(self.statistics.table())
        write_file(self._options.areas, text.getvalue().encode(), replace=True)
